using System;
using System.Collections.Generic;
using System.IO;
using System.Linq;
using System.Text.RegularExpressions;
using Sidecar.Tests.Harness;
using Xunit;

namespace Sidecar.Tests.Conformance.H1;

/// <summary>
/// The varnishtest scripts of this folder, one test each: varnishtest is the client and the upstream, byte by byte, and the
/// published executable is between. A script names the kind of listener it needs in a "# listener:" line.
/// </summary>
[Trait("Category", "Linux")]
[Collection(ExecutableCollection.Name)]
public sealed class ScriptTests(ScriptTests.Mesh mesh) : IClassFixture<ScriptTests.Mesh>
{
    private static string Folder => Path.Combine(ProjectTree.Root, "Sidecar.Tests", "Conformance", "H1");

    public static TheoryData<string> Scripts() =>
        [.. Directory.EnumerateFiles(Folder, "*.vtc").Select(file => Path.GetFileNameWithoutExtension(file)).Order(StringComparer.Ordinal)];

    [SkippableTheory]
    [MemberData(nameof(Scripts))]
    public void Script_Passes(string script)
    {
        SidecarProcess.Require();
        Command.Require("varnishtest");
        var (port, upstream) = mesh.PortsOf(script);
        var result = Peers.VarnishTest(Path.Combine(Folder, script + ".vtc"), ("sidecar_port", $"{port}"), ("upstream_port", $"{upstream}"));
        Assert.True(result.ExitCode == 0, result.Output + result.Errors + "\nsidecar:\n" + mesh.Log);
    }

    /// <summary>One sidecar for all scripts, with a listener and a cluster for each: no script sees another's connections.</summary>
    public sealed class Mesh : IDisposable
    {
        private readonly Dictionary<string, (int Port, int Upstream)> _ports = [];
        private readonly TestFolder _folder = new();
        private SidecarProcess? _sidecar;

        internal string Log => _sidecar?.Log ?? "";

        // Started by the first script, inside a test, so that what is missing skips the tests instead of failing the class.
        internal (int Port, int Upstream) PortsOf(string script)
        {
            _sidecar ??= Start();
            return _ports[script];
        }

        private SidecarProcess Start()
        {
            var files = Directory.GetFiles(Folder, "*.vtc");
            var free = FreePort.Next(files.Length * 2);
            var snapshot = new TestSnapshot();
            for (int i = 0; i < files.Length; i++)
            {
                var name = Path.GetFileNameWithoutExtension(files[i]);
                var (port, upstream) = (free[2 * i], free[2 * i + 1]);
                _ports[name] = (port, upstream);
                var kind = Regex.Match(File.ReadAllText(files[i]), @"^# listener: (\w+)$", RegexOptions.Multiline).Groups[1].Value;
                var (routes, more) = Listener(kind, name);
                snapshot.Http(name, port, routes, more).Cluster(name, http2: false, upstream);
            }
            return SidecarProcess.Run(_folder.Write("scripts.json", snapshot.ToString()));
        }

        private static (string Routes, string More) Listener(string kind, string cluster) => kind switch
        {
            "" => (TestSnapshot.To(cluster), ""),
            "upgrade" => (TestSnapshot.To(cluster), """ "upgrade_configs": [{"upgrade_type": "websocket"}] """),
            "http10" => (TestSnapshot.To(cluster), """ "http_protocol_options": {"accept_http_10": true, "default_host_for_http_10": "default.test"} """),
            "connect" => (
                """{"match": {"connect_matcher": {}}, "route": {"cluster": "$", "upgrade_configs": [{"upgrade_type": "CONNECT"}]}}"""
                    .Replace("$", cluster, StringComparison.Ordinal),
                """ "upgrade_configs": [{"upgrade_type": "CONNECT"}] """),
            _ => throw new InvalidOperationException($"no listener of the kind '{kind}'"),
        };

        public void Dispose()
        {
            _sidecar?.Dispose();
            _folder.Dispose();
        }
    }
}
