using System;
using System.Linq;
using System.Net;
using System.Net.Sockets;
using Sidecar.Tests.Harness;
using Xunit;

namespace Sidecar.Tests.Scenarios;

/// <summary>What is wrong is said in one line, with where and what to do, and the program does not end well; a running one keeps what it had.</summary>
[Trait("Category", "Linux")]
[Collection(ExecutableCollection.Name)]
public sealed class BadInputTests
{
    public static TheoryData<string, string, string> BadSnapshots()
    {
        // Nothing of it is ever bound but the listener of a running sidecar, whose port takes the place of 18080.
        var good = new TestSnapshot().Http("in", 18080, TestSnapshot.To("app")).Cluster("app", false, 18081).ToString();
        return new()
        {
            { "truncated", good[..(good.Length / 2)], "bad.json" },
            { "not json", "hello", "bad.json" },
            { "wrong type URL", good.Replace("envoy.config.listener.v3.Listener", "envoy.config.listener.v3.Lissener", StringComparison.Ordinal), "envoy.config.listener.v3.Lissener" },
            { "unknown field", good.Replace("\"stat_prefix\"", "\"stat_prefiks\"", StringComparison.Ordinal), "stat_prefiks" },
            { "unknown cluster", good.Replace("\"cluster\":\"app\"", "\"cluster\":\"gone\"", StringComparison.Ordinal), "gone" },
            { "bad enum", good.Replace("\"stat_prefix\"", "\"codec_type\":\"HTTP9\",\"stat_prefix\"", StringComparison.Ordinal), "HTTP9" },
        };
    }

    [SkippableTheory]
    [MemberData(nameof(BadSnapshots))]
    public void Validate_NamesWhatIsWrong(string what, string text, string named)
    {
        Assert.NotEmpty(what);
        using var folder = new TestFolder();
        AssertOneLine(SidecarProcess.Invoke("validate", folder.Write("bad.json", text)), named);
    }

    [SkippableTheory]
    [MemberData(nameof(BadSnapshots))]
    public void Run_DoesNotStart(string what, string text, string named)
    {
        Assert.NotEmpty(what);
        using var folder = new TestFolder();
        using var sidecar = SidecarProcess.Start(folder.Write("bad.json", text), FreePort.Next());
        Assert.NotEqual(0, sidecar.WaitForExit());
        Assert.Contains(named, sidecar.Log);
    }

    [SkippableTheory]
    [MemberData(nameof(BadSnapshots))]
    public void RunningSidecar_KeepsWhatItHad(string what, string text, string named)
    {
        Assert.NotEmpty(what);
        using var folder = new TestFolder();
        int port = FreePort.Next();
        var path = folder.Write("bad.json", new TestSnapshot().Http("in", port, TestSnapshot.Answer("old")).ToString());
        using var sidecar = SidecarProcess.Run(path);
        using var client = new RawClient(port);
        Assert.Equal("old", client.Get("/").Body);

        folder.Write("bad.json", text.Replace("18080", $"{port}", StringComparison.Ordinal));
        sidecar.Signal("HUP");
        sidecar.WaitForLine(System.Text.RegularExpressions.Regex.Escape(named));
        // The same connection: the listener was not even touched.
        Assert.Equal("old", client.Get("/").Body);

        folder.Write("bad.json", new TestSnapshot().Http("in", port, TestSnapshot.Answer("new")).ToString());
        sidecar.WaitUntil(() => { using var next = new RawClient(port); return next.Get("/").Body == "new"; }, "did not take the repaired file");
    }

    [SkippableFact]
    public void MissingFile_IsNamed() => AssertOneLine(SidecarProcess.Invoke("validate", "/nonexistent/snapshot.json"), "/nonexistent/snapshot.json");

    [SkippableFact]
    public void PortAlreadyBound_IsNamed()
    {
        SidecarProcess.Require();
        using var folder = new TestFolder();
        var holder = new TcpListener(IPAddress.Loopback, 0);
        holder.Start();
        try
        {
            int port = ((IPEndPoint)holder.LocalEndpoint).Port;
            using var sidecar = SidecarProcess.Start(folder.Write("taken.json", new TestSnapshot().Http("in", port, TestSnapshot.Answer("x")).ToString()), FreePort.Next());
            Assert.NotEqual(0, sidecar.WaitForExit());
            Assert.Contains($"{port}", sidecar.Log);
        }
        finally
        {
            holder.Stop();
        }
    }

    [SkippableFact]
    public void IptablesMissing_IsSaid()
    {
        Command.RequireRoot();
        SidecarProcess.Require();
        using var pod = new NetworkNamespace("no-iptables");
        // env keeps the path from reaching any folder with iptables in it.
        AssertOneLine(pod.Run("env", "PATH=/nonexistent", ProjectTree.Executable, "istio-iptables", "-p", "15001", "-z", "15006", "-u", "1337", "-i", "*", "-b", "*"), "iptables");
    }

    [SkippableFact]
    public void NoNetAdmin_IsSaid()
    {
        Command.RequireRoot();
        SidecarProcess.Require();
        using var pod = new NetworkNamespace("no-net-admin");
        pod.AddAddress("192.0.2.1", "lo");
        using var folder = new TestFolder();
        var executable = folder.PathOf("sidecar");
        System.IO.File.Copy(ProjectTree.Executable, executable);
        AssertOneLine(pod.RunAs(1338, executable, "istio-iptables", "-p", "15001", "-z", "15006", "-u", "1337", "-i", "*", "-b", "*"), "NET_ADMIN");
    }

    [SkippableFact]
    public void OriginalSrcWithoutNetAdmin_RefusesRequests_AndSaysWhy()
    {
        Command.RequireRoot();
        SidecarProcess.Require();
        Command.Require("curl", "setpriv");
        using var pod = new NetworkNamespace("no-net-admin");
        using var folder = new TestFolder();
        var executable = folder.PathOf("sidecar");
        System.IO.File.Copy(ProjectTree.Executable, executable);
        var snapshot = folder.Write("source.json", new TestSnapshot().Cluster("up", false, 8081).Raw("in", 8080, """
            "listener_filters": [{"name": "envoy.filters.listener.original_src",
             "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.listener.original_src.v3.OriginalSrc", "mark": 1337}}],
            "filter_chains": [{"filters": [$tcp]}]
            """).ToString());
        var validated = SidecarProcess.Invoke("validate", snapshot).Expect();
        Assert.Contains("needs: listener in: listener_filters[0]: CAP_NET_ADMIN, to connect from the addresses of others (IP_TRANSPARENT, SO_MARK)", validated.Lines);

        using var sidecar = SidecarProcess.RunWithin(pod, executable, snapshot);
        for (int i = 0; i < 3; i++)
            Assert.NotEqual(0, pod.Run("curl", "-sS", "--max-time", "10", "http://127.0.0.1:8080/").ExitCode);
        sidecar.WaitForLine(
            "no connection to 127\\.0\\.0\\.1:8081: SO_MARK: Operation not permitted; original_src, transparent sources and marks need CAP_NET_ADMIN");
        Assert.Equal(3, sidecar.Stat("cluster.up.upstream_cx_connect_fail"));
        // Said once, not for every connection.
        Assert.Single(sidecar.Log.Split('\n'), line => line.Contains("CAP_NET_ADMIN", StringComparison.Ordinal));
    }

    [SkippableTheory]
    [InlineData]
    [InlineData("fly")]
    [InlineData("run")]
    [InlineData("run", "--snapshot")]
    [InlineData("run", "--snapshot", "/nonexistent", "--concurrency", "many")]
    [InlineData("validate")]
    public void BadCommandLine_SaysHow(params string[] arguments)
    {
        var result = SidecarProcess.Invoke(arguments);
        Assert.NotEqual(0, result.ExitCode);
        Assert.NotEmpty(result.Errors);
        Assert.DoesNotContain("   at ", result.Errors);
    }

    [SkippableTheory]
    [InlineData("usage: sidecar COMMAND", "help")]
    [InlineData("usage: sidecar COMMAND", "--help")]
    [InlineData("usage: sidecar run", "run", "--help")]
    [InlineData("usage: sidecar validate", "validate", "--help")]
    [InlineData("usage: sidecar version", "version", "--help")]
    [InlineData("usage: sidecar istio-iptables", "istio-iptables", "--help")]
    [InlineData("usage: sidecar istio-iptables", "istio-clean-iptables", "--help")]
    public void Help_IsPrinted_AndNoError(string start, params string[] arguments)
    {
        var result = SidecarProcess.Invoke(arguments).Expect();
        Assert.StartsWith(start, result.Output);
        Assert.Equal("", result.Errors);
    }

    [SkippableTheory]
    [InlineData("version", "extra")]
    [InlineData("--version", "extra")]
    [InlineData("help", "extra")]
    [InlineData("validate", "one", "two")]
    [InlineData("run", "--snapshot", "one", "two")]
    [InlineData("istio-iptables", "extra")]
    [InlineData("istio-clean-iptables", "extra")]
    public void ArgumentTooMany_IsAnError(params string[] arguments) => AssertOneLine(SidecarProcess.Invoke(arguments), "unexpected argument");

    private static void AssertOneLine(CommandResult result, string named)
    {
        Assert.NotEqual(0, result.ExitCode);
        var lines = result.Errors.Split('\n', StringSplitOptions.RemoveEmptyEntries);    // standard output has the summary
        Assert.True(lines.Length == 1, "not one line:\n" + string.Join('\n', lines));
        Assert.Contains(named, lines[0]);
    }
}
