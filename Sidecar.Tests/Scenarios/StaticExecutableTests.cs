using System;
using System.Collections.Generic;
using System.IO;
using Sidecar.Tests.Harness;
using Xunit;

namespace Sidecar.Tests.Scenarios;

/// <summary>
/// The static build in a root with nothing but itself, its configuration and certificates: no loader, no library, no /proc, no /etc, as in an image
/// made FROM scratch.
/// </summary>
[Trait("Category", "Linux")]
[Collection(ExecutableCollection.Name)]
public sealed class StaticExecutableTests : IDisposable
{
    private readonly TestCa _ca = new();
    private readonly TestFolder _outside = new();
    private readonly TestFolder _root = new();
    private readonly string _authority;

    public StaticExecutableTests()
    {
        _authority = _outside.Write("ca.pem", _ca.Pem);
    }

    [SkippableFact]
    public void Version_NamesTheOpenSslThatIsBuiltIn_AndNothingIsLoaded()
    {
        Enter();
        string[] command = [.. SidecarProcess.InRoot(_root.Path), "version"];
        Assert.Matches(@"^sidecar \d+\.\d+\.\d+ \(static, OpenSSL 3\.\d+\.\d+ .* built in\)\n$", Command.Run(command[0], command[1..]).Expect().Output);
        // elf(5): a static executable has no PT_INTERP, which names the loader.
        byte[] file = File.ReadAllBytes(ProjectTree.StaticExecutable);
        int at = (int)BitConverter.ToInt64(file, 32), size = BitConverter.ToUInt16(file, 54), count = BitConverter.ToUInt16(file, 56);
        var types = new List<int>();
        for (int i = 0; i < count; i++)
            types.Add(BitConverter.ToInt32(file, at + i * size));
        const int load = 1, interpreter = 3;
        Assert.Contains(load, types);
        Assert.DoesNotContain(interpreter, types);
    }

    [SkippableFact]
    public void Tls_IsTerminatedAndOriginated()
    {
        Enter();
        Command.Require("curl", "openssl");
        int port = FreePort.Next(), inner = FreePort.Next();
        Save("server", _ca.Server("localhost"));
        Save("client", _ca.Spiffe("spiffe://cluster.local/ns/a/sa/client"));
        _root.Write("ca.pem", _ca.Pem);
        // Client ─TLS→ outer ─mutual TLS→ inner, which answers.
        string upstream = TestSnapshot.Fill("""
            "transport_socket": {"name": "envoy.transport_sockets.tls", "typed_config": {
             "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext", $context}}
            """, ("context", Context("client")));
        _root.Write("snapshot.json", new TestSnapshot()
            .Http("outer", port, TestSnapshot.To("hop")).Tls("outer", Context("server")).Cluster("hop", true, upstream, inner)
            .Http("inner", inner, TestSnapshot.Answer("hello")).Tls("inner", "\"require_client_certificate\": true, " + Context("server")).ToString());

        using var sidecar = SidecarProcess.RunInRoot(_root.Path, "/snapshot.json");
        Assert.Equal("hello 0", Peers.Curl(null, "--cacert", _authority, "-w", " %{ssl_verify_result}", $"https://localhost:{port}/").Expect().Output);
        Assert.Equal(1, sidecar.Stat("cluster.hop.ssl.handshake"));
        Assert.Equal(0, sidecar.Stat($"listener.127.0.0.1_{inner}.ssl.no_certificate"));
        foreach (string version in new[] { "-tls1_2", "-tls1_3" })
        {
            string[] client = ["s_client", "-connect", $"127.0.0.1:{port}", "-CAfile", _authority, "-verify_return_error", version];
            Assert.Contains("Verification: OK", Command.Run(null, "Q\n", "openssl", client).Expect().Output);
        }
        Assert.Equal(3, sidecar.Stat($"listener.127.0.0.1_{port}.ssl.handshake"));
    }

    private void Enter()
    {
        SidecarProcess.Require();
        Skip.IfNot(File.Exists(ProjectTree.StaticExecutable), "artifacts/sidecar-static is not there: run ./build.sh publish --static");
        string[] probe = ["unshare", "-r", "true"];
        Skip.IfNot(Environment.UserName == "root" || Command.Run(probe[0], probe[1..]).ExitCode == 0, "a root of its own takes root or a user namespace");
        File.Copy(ProjectTree.StaticExecutable, _root.PathOf("sidecar"));
    }

    // Paths as the executable sees them.
    private static string Context(string name) => TestSnapshot.Fill("""
        "common_tls_context": {"tls_certificates": [{"certificate_chain": {"filename": "/$name.pem"}, "private_key": {"filename": "/$name.key"}}],
         "validation_context": {"trusted_ca": {"filename": "/ca.pem"}}}
        """, ("name", name));

    private void Save(string name, TestCert cert)
    {
        _root.Write(name + ".pem", cert.ChainPem);
        _root.Write(name + ".key", cert.KeyPem);
    }

    public void Dispose()
    {
        _root.Dispose();
        _outside.Dispose();
        _ca.Dispose();
    }
}
