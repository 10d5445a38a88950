using System.IO;
using Xunit;

namespace Sidecar.Tests;

/// <summary>What the commands make of their arguments: help on standard output and success, a mistake in one line on standard error and 2.</summary>
public class CommandLineTests
{
    private readonly StringWriter _output = new();
    private readonly StringWriter _errors = new();

    [Theory]
    [InlineData("--help")]
    [InlineData("-h")]
    [InlineData("--snapshot", "/nonexistent", "--help")]
    [InlineData("--no-such-flag", "--help")]
    public void Run_Help_IsItsUsage(params string[] arguments)
    {
        Assert.Equal(0, RunCommand.Run(arguments, _output, _errors));
        Assert.StartsWith("usage: sidecar run ", _output.ToString());
        foreach (string flag in new[] { "--snapshot", "-c,", "--config-path", "--concurrency", "-l,", "--log-level", "--admin-address", "--drain-time-s", "--readiness-address", "--prometheus-address" })
            Assert.Contains(flag, _output.ToString());
        Assert.Equal("", _errors.ToString());
    }

    [Fact]
    public void Run_HelpAsAValue_IsAValue()
    {
        Assert.Equal(2, RunCommand.Run(["--snapshot", "/nonexistent", "--log-level", "--help"], _output, _errors));
        Assert.Contains("is '--help'", _errors.ToString());
    }

    [Theory]
    [InlineData("give either --snapshot PATH or -c BOOTSTRAP")]
    [InlineData("give either --snapshot PATH or -c BOOTSTRAP", "--snapshot", "a", "-c", "b")]
    [InlineData("flag '--snapshot' needs a value", "--snapshot")]
    [InlineData("flag '-c' is given twice", "--config-path=a", "-c", "b")]
    [InlineData("unknown flag '--snapshots'; see sidecar run --help", "--snapshots", "a")]
    [InlineData("unexpected argument 'b'; see sidecar run --help", "--snapshot", "a", "b")]
    [InlineData("--concurrency must be a number from 0 to 256, is 'many'", "--snapshot", "a", "--concurrency", "many")]
    [InlineData("--concurrency must be a number from 0 to 256, is '-1'", "--snapshot", "a", "--concurrency", "-1")]
    [InlineData("--concurrency must be a number from 0 to 256, is '257'", "--snapshot", "a", "--concurrency=257")]
    [InlineData("--drain-time-s must be a number from 0 to 86400, is '5s'", "--snapshot", "a", "--drain-time-s", "5s")]
    [InlineData("--log-level must be trace, debug, info, warning, error, critical or off, is 'loud'", "--snapshot", "a", "--log-level", "loud")]
    [InlineData("--admin-address must be IP:PORT or off, is 'localhost:1'", "--snapshot", "a", "--admin-address", "localhost:1")]
    [InlineData("--admin-address cannot be off: readiness and metrics are served from it", "--snapshot", "a", "--admin-address", "off")]
    [InlineData("--readiness-address must be IP:PORT or off, is ''", "--snapshot", "a", "--readiness-address", "")]
    public void Run_Mistake_IsOneLine(string problem, params string[] arguments)
    {
        Assert.Equal(2, RunCommand.Run(arguments, _output, _errors));
        Assert.Equal($"sidecar run: {problem}{_errors.NewLine}", _errors.ToString());
        Assert.Equal("", _output.ToString());
    }

    [Fact]
    public void Validate_Help_IsItsUsage()
    {
        Assert.Equal(0, ValidateCommand.Run(["--help"], _output, _errors));
        Assert.StartsWith("usage: sidecar validate PATH", _output.ToString());
    }

    [Theory]
    [InlineData("give one PATH: a config dump, a folder of resource files, or a bootstrap")]
    [InlineData("unexpected argument 'b'; see sidecar validate --help", "a", "b")]
    [InlineData("unknown flag '--strict'; see sidecar validate --help", "--strict", "a")]
    public void Validate_Mistake_IsOneLine(string problem, params string[] arguments)
    {
        Assert.Equal(2, ValidateCommand.Run(arguments, _output, _errors));
        Assert.Equal($"sidecar validate: {problem}{_errors.NewLine}", _errors.ToString());
    }

    // ---- flags of Envoy -----------------------------------------------------------------------------------------

    public static TheoryData<string> EnvoysFlags()
    {
        var names = new TheoryData<string>();
        foreach (var flag in EnvoyFlags.All)
            names.Add(flag.Name);
        return names;
    }

    /// <summary>Each is taken, so that it is the missing file that ends the command; or refused with what is so instead.</summary>
    [Theory]
    [MemberData(nameof(EnvoysFlags))]
    public void Run_FlagOfEnvoy_IsTakenOrRefusedWithAdvice(string name)
    {
        var flag = EnvoyFlags.Find(name)!;
        string[] given = flag.HasValue ? [name, flag.Accepts?[0] ?? "1"] : [name];
        Assert.Equal(flag.IsRefused ? 2 : 1, RunCommand.Run(["-c", "/nonexistent/bootstrap.json", .. given], _output, _errors));
        Assert.StartsWith(flag.IsRefused ? $"sidecar run: {name}: {flag.Note}" : "sidecar run: /nonexistent/bootstrap.json", _errors.ToString());
    }

    [Fact]
    public void Run_AsIstiosAgentStartsEnvoy_IsUnderstood()
    {
        Assert.Equal(1, RunCommand.Run(
            [
                "-c", "/nonexistent/bootstrap.json", "--drain-time-s", "45", "--drain-strategy", "immediate", "--local-address-ip-version", "v4", "--file-flush-interval-msec",
                "1000", "--disable-hot-restart", "--allow-unknown-static-fields", "-l", "warning", "--component-log-level", "misc:error", "--skip-deprecated-logs",
                "--concurrency", "2",
            ], _output, _errors));
        Assert.StartsWith("sidecar run: /nonexistent/bootstrap.json", _errors.ToString());
        Sidecar.Telemetry.Log.Level = Sidecar.Telemetry.LogLevel.Info;
    }

    [Theory]
    [InlineData("flag '--disable-hot-restart' takes no value", "-c", "a", "--disable-hot-restart=1")]
    [InlineData("--mode must be serve or validate, is 'init_only'", "-c", "a", "--mode", "init_only")]
    [InlineData("--config-yaml: YAML is not read; convert it to JSON", "--config-yaml", "admin: {}")]
    [InlineData("--config-yaml is not merged with another configuration: give one of --snapshot, -c and --config-yaml", "-c", "a", "--config-yaml", "{}")]
    [InlineData("--restart-epoch must be 0, is '1': a new process does not take over from an old one: start it beside, and end the old one with SIGTERM, which drains", "-c", "a", "--restart-epoch", "1")]
    public void Run_MistakeWithAFlagOfEnvoy_IsOneLine(string problem, params string[] arguments)
    {
        Assert.Equal(2, RunCommand.Run(arguments, _output, _errors));
        Assert.Equal($"sidecar run: {problem}{_errors.NewLine}", _errors.ToString());
    }

    // ---- validate says what run would -----------------------------------------------------------------------------

    private const string Ads = """
        {"node": {"id": "a", "cluster": "b"}, "dynamic_resources": {"lds_config": {"ads": {}, "resource_api_version": "V3"}, "cds_config": {"ads": {}, "resource_api_version": "V3"},
         "ads_config": {"api_type": "GRPC", "transport_api_version": "V3", "set_node_on_first_message_only": true, "grpc_services": [{"envoy_grpc": {"cluster_name": "plane"}}]}}}
        """;

    [Fact]
    public void Validate_ControlPlaneInNoCluster_IsRefused_AsRunDoes()
    {
        using var folder = new Harness.TestFolder();
        string path = folder.Write("b.json", Ads);
        string problem = $"{path}: bootstrap: dynamic_resources: unknown cluster 'plane': add it to static_resources.clusters";
        Assert.Equal(1, ValidateCommand.Run([path], _output, _errors));
        Assert.Equal($"error: {problem}{_errors.NewLine}", _errors.ToString());
        // Fields that ask for what is done anyway are no noise.
        Assert.Equal($"REFUSED: 0 listeners, 0 clusters, 0 resources; 1 error, 0 without effect{_output.NewLine}", _output.ToString());
        _errors.GetStringBuilder().Clear();
        Assert.Equal(1, RunCommand.Run(["-c", path], _output, _errors));
        Assert.Equal($"sidecar run: {problem}{_errors.NewLine}", _errors.ToString());
        _errors.GetStringBuilder().Clear();
        Assert.Equal(1, RunCommand.Run(["--config-yaml", Ads, "--mode", "validate"], _output, _errors));
        Assert.Equal($"error: {problem.Replace(path, "--config-yaml")}{_errors.NewLine}", _errors.ToString());
    }

    [Fact]
    public void Validate_ControlPlaneInAnEdsCluster_IsRefused_AsRunDoes()
    {
        using var folder = new Harness.TestFolder();
        string path = folder.Write("b.json", Ads.TrimEnd()[..^1] + """
            ,"static_resources": {"clusters": [{"name": "plane", "type": "EDS", "eds_cluster_config": {"eds_config": {"ads": {}}}, "http2_protocol_options": {}}]}}
            """);
        Assert.Equal(1, ValidateCommand.Run([path], _output, _errors));
        Assert.StartsWith($"error: {path}: bootstrap: dynamic_resources: must have a statically defined non-EDS cluster: 'plane' is an EDS cluster", _errors.ToString());
        _errors.GetStringBuilder().Clear();
        Assert.Equal(1, RunCommand.Run(["-c", path], _output, _errors));
        Assert.Contains("'plane' is an EDS cluster", _errors.ToString());
    }

    [Fact]
    public void Validate_EmptyBootstrap_IsOne_WhenItIsCalledOne()
    {
        using var folder = new Harness.TestFolder();
        string path = folder.Write("b.json", "{}");
        Assert.Equal(0, ValidateCommand.Run(["-c", path], _output, _errors));
        Assert.Equal($"OK: 0 listeners, 0 clusters, 0 resources; 0 errors, 0 without effect{_output.NewLine}", _output.ToString());
        Assert.Equal(1, ValidateCommand.Run(["--snapshot", path], _output, _errors));
    }

    [Fact]
    public void Validate_WhatHasNoEffect_IsSaidOnce()
    {
        using var folder = new Harness.TestFolder();
        Assert.Equal(0, ValidateCommand.Run([folder.Write("b.json", """{"stats_sinks": [{"name": "x"}], "admin": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": 1, "ipv4_compat": true}}}}""")], _output, _errors));
        var lines = _output.ToString().Split('\n');
        Assert.Equal(lines.Length, new System.Collections.Generic.HashSet<string>(lines).Count);
        Assert.Contains(lines, line => line.Contains("stats_sinks"));
    }

    [Fact]
    public void Validate_StaticResource_SaysWhatHasNoEffect_ByItsNameAlone()
    {
        using var folder = new Harness.TestFolder();
        string path = folder.Write("b.json", """
            {"static_resources": {"clusters": [{"name": "a", "type": "STATIC", "load_assignment": {"cluster_name": "a"}, "stats_matcher": {"reject_all": true}, "lrs_server": {"self": {}}}]}}
            """);
        Assert.Equal(0, ValidateCommand.Run([path], _output, _errors));
        string said = _output.ToString();
        Assert.Contains("cluster a: lrs_server: ", said);
        Assert.DoesNotContain("static_resources.", said);
        Assert.EndsWith($"0 errors, 2 without effect{_output.NewLine}", said);
    }

    [Fact]
    public void Validate_SourcesOfSecrets_AreChecked_AsRunDoes()
    {
        using var folder = new Harness.TestFolder();
        string Bootstrap(string source) => $$"""
            {"static_resources": {"clusters": [{"name": "a", "type": "STATIC", "load_assignment": {"cluster_name": "a"},
             "transport_socket": {"name": "envoy.transport_sockets.tls", "typed_config": {"@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
              "common_tls_context": {"validation_context_sds_secret_config": {"name": "s", "sds_config": {{source}} } } } } }]} }
            """;
        const string ads = """{"ads": {}}""";
        const string plane = """{"api_config_source": {"api_type": "GRPC", "transport_api_version": "V3", "grpc_services": [{"envoy_grpc": {"cluster_name": "nowhere"}}]}}""";
        foreach (var (source, reason) in new[] { (ads, "there is no dynamic_resources.ads_config"), (plane, "'nowhere' does not exist") })
        {
            string path = folder.Write("b.json", Bootstrap(source));
            foreach (string[] arguments in new string[][] { [path], ["-c", path] })
            {
                _errors.GetStringBuilder().Clear();
                Assert.Equal(1, ValidateCommand.Run(arguments, _output, _errors));
                Assert.Contains(reason, _errors.ToString());
            }
        }
        Assert.Equal(0, ValidateCommand.Run([folder.Write("b.json", Bootstrap("{\"path\": \"/run/s.json\"}"))], _output, _errors));
    }
}
