using System;
using System.Globalization;
using System.IO;
using System.Linq;
using System.Text.Json;
using Sidecar.Linux;
using Sidecar.Tests.Harness;
using Xunit;

namespace Sidecar.Tests.Scenarios;

/// <summary>testssl.sh, which knows what scanners look for, at a TLS port in the default configuration.</summary>
[Trait("Category", "Linux")]
[Collection(ExecutableCollection.Name)]
public sealed class TestsslTests : IDisposable
{
    /// <summary>It is a shell script of some two minutes' work: a bound against hanging for ever.</summary>
    private const int TimeoutMs = 15 * 60_000;

    // What it says of anything but the proxy.
    private static readonly string[] s_notOfTheProxy =
    [
        "engine_problem", // its own openssl lacks GOST
        "cert_revocation", // the test's authority publishes no revocations
    ];

    private readonly TestCa _ca = new();
    private readonly TestFolder _folder = new();

    /// <summary>Protocols, cipher categories, server preferences, server defaults and vulnerabilities; not the answer's headers, which are the application's.</summary>
    [SkippableFact]
    public void Testssl_FindsNothingOfSeverityMediumOrAbove()
    {
        Command.Require("testssl", "openssl");
        var now = DateTimeOffset.FromUnixTimeSeconds(SystemTime.RealtimeNs / 1_000_000_000); // the scanner's own clock
        var pair = _ca.Sign("localhost", san => san.AddDnsName("localhost"), purposes: ["1.3.6.1.5.5.7.3.1"], from: now.AddDays(-1), until: now.AddDays(89));
        _folder.Write("server.pem", pair.ChainPem);
        _folder.Write("server.key", pair.KeyPem);
        string authority = _folder.Write("ca.pem", _ca.Pem), report = _folder.PathOf("report.json");
        int port = FreePort.Next();
        string snapshot = new TestSnapshot().Http("in", port, TestSnapshot.Answer("hello")).Tls("in", TestSnapshot.Fill("""
            "common_tls_context": {"alpn_protocols": ["h2", "http/1.1"],
             "tls_certificates": [{"certificate_chain": {"filename": "$chain"}, "private_key": {"filename": "$key"}}]}
            """, ("chain", _folder.PathOf("server.pem")), ("key", _folder.PathOf("server.key")))).ToString();
        using var sidecar = SidecarProcess.Run(_folder.Write("snapshot.json", snapshot));

        using var scanner = new BackgroundProcess(null, null, "testssl",
        [
            "--quiet", "--color", "0", "--warnings", "batch", "--nodns", "none", "--ip", "127.0.0.1", "--add-ca", authority, "--severity", "MEDIUM", "--jsonfile", report,
            "--protocols", "--std", "--server-preference", "--server-defaults", "--vulnerable", "localhost:" + port.ToString(CultureInfo.InvariantCulture),
        ]);
        scanner.WaitForExit(TimeoutMs);

        // All checks were made, and against a server that spoke.
        foreach (string line in new[] { "TLS 1.2    offered (OK)", "TLS 1.3    offered (OK): final", "Chain of trust               Ok", "Heartbleed", "Secure Client-Initiated Renegotiation     not vulnerable (OK)", "RC4" })
            Assert.Contains(line, scanner.Log);
        using var found = JsonDocument.Parse(File.ReadAllText(report));
        Assert.Empty(found.RootElement.EnumerateArray().Where(finding => !s_notOfTheProxy.Contains(finding.GetProperty("id").GetString())).Select(finding => finding.ToString()));
        Assert.True(sidecar.IsReady);
    }

    public void Dispose()
    {
        _folder.Dispose();
        _ca.Dispose();
    }
}
