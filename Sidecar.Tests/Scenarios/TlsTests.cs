using System;
using System.Globalization;
using System.IO;
using Sidecar.Tests.Harness;
using Xunit;

namespace Sidecar.Tests.Scenarios;

/// <summary>TLS through the published executable, with clients and servers that are not ours: curl, openssl, nghttp2's, gRPC's own library.</summary>
[Trait("Category", "Linux")]
[Collection(ExecutableCollection.Name)]
public sealed class TlsTests : IDisposable
{
    private const string TlsType = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.";

    private readonly TestCa _ca = new();
    private readonly TestFolder _folder = new();
    private readonly string _authority;

    public TlsTests()
    {
        _authority = _folder.Write("ca.pem", _ca.Pem);
        Save("server", _ca.Server("localhost", "127.0.0.1"));
        Save("client", _ca.Spiffe("spiffe://cluster.local/ns/a/sa/client"));
    }

    [SkippableTheory]
    [InlineData("--http1.1", "1.1")]
    [InlineData("--http2", "2")]
    public void Curl_IsAnswered_InTheProtocolItNegotiated(string flag, string version)
    {
        int port = FreePort.Next();
        using var sidecar = Run(new TestSnapshot().Http("in", port, TestSnapshot.Answer("hello")).Tls("in", Server("")));
        var answer = Peers.Curl(null, flag, "--cacert", _authority, "-w", " %{http_version} %{ssl_verify_result}", $"https://localhost:{port}/").Expect();
        Assert.Equal($"hello {version} 0", answer.Output);
        Assert.Equal(1, sidecar.Stat($"listener.127.0.0.1_{port}.ssl.handshake"));
        Assert.Equal(1, sidecar.Stat("http.in.downstream_cx_ssl_total"));
    }

    [SkippableFact]
    public void Curl_WithAndWithoutItsCertificate()
    {
        int port = FreePort.Next();
        using var sidecar = Run(new TestSnapshot().Http("in", port, TestSnapshot.Answer("hello"))
            .Tls("in", Server($$""" "require_client_certificate": true, """, $$"""{"trusted_ca": {"filename": "{{_authority}}"} }""")), "--log-level", "debug");
        Assert.Equal("hello", Peers.Curl(null, "--cacert", _authority, "--cert", File("client.pem"), "--key", File("client.key"), $"https://localhost:{port}/").Expect().Output);
        Assert.Contains(Peers.Curl(null, "--cacert", _authority, $"https://localhost:{port}/").ExitCode, new[] { 16, 35, 52, 55, 56 });
        sidecar.WaitForLine("PEER_DID_NOT_RETURN_A_CERTIFICATE:peer did not provide required client certificate:TLS_error_end");
        Assert.Equal(1, sidecar.Stat($"listener.127.0.0.1_{port}.ssl.fail_verify_no_cert"));
    }

    [SkippableFact]
    public void OpensslClient_VersionsResumptionAndProtocols()
    {
        Command.Require("openssl");
        int port = FreePort.Next();
        using var sidecar = Run(new TestSnapshot().Http("in", port, TestSnapshot.Answer("hello")).Tls("in", Server("")));
        string session = _folder.PathOf("session");

        Assert.Contains("Cipher is TLS_AES_128_GCM_SHA256", Connect(port, "Q\n", "-tls1_3", "-sess_out", session));
        Assert.Contains("Cipher is ECDHE-ECDSA-AES128-GCM-SHA256", Connect(port, "Q\n", "-tls1_2", "-sess_out", session));
        Assert.Contains("Reused, TLSv1.2", Connect(port, "Q\n", "-tls1_2", "-sess_in", session));
        Assert.Contains("alert protocol version", Connect(port, "Q\n", "-tls1_1", "-cipher", "ALL:@SECLEVEL=0"));
        Assert.Contains("ALPN protocol: h2", Connect(port, "Q\n", "-alpn", "http/1.1,h2"));
        Assert.Contains("Verification: OK", Connect(port, "Q\n", "-verify_return_error"));
        Assert.Equal(1, sidecar.Stat($"listener.127.0.0.1_{port}.ssl.session_reused"));
    }

    [SkippableFact]
    public void Nghttpd_UpstreamOverTls_IsVerified()
    {
        Command.Require("nghttpd");
        var files = Directory.CreateDirectory(_folder.PathOf("files")).FullName;
        System.IO.File.WriteAllText(Path.Combine(files, "x"), "from upstream");
        int backend = FreePort.Next();
        using var server = new BackgroundProcess(null, null, "nghttpd", ["-a", "127.0.0.1", "-d", files, backend.ToString(CultureInfo.InvariantCulture), File("server.key"), File("server.pem")]);
        server.WaitForListen(backend);
        int port = FreePort.Next(), strict = FreePort.Next();
        using var sidecar = Run(new TestSnapshot()
            .Http("out", port, TestSnapshot.To("good")).Cluster("good", true, Client("localhost"), backend)
            .Http("strict", strict, TestSnapshot.To("bad")).Cluster("bad", true, Client("elsewhere"), backend));

        Assert.Equal("from upstream", Peers.Curl(null, $"http://127.0.0.1:{port}/x").Expect().Output);
        Assert.Equal(1, sidecar.Stat("cluster.good.ssl.handshake"));
        var refused = Peers.Curl(null, "-w", " %{http_code}", $"http://127.0.0.1:{strict}/x").Expect().Output;
        Assert.EndsWith("CERTIFICATE_VERIFY_FAILED:verify cert failed: SAN matcher:TLS_error_end 503", refused);
        Assert.True(sidecar.Stat("cluster.bad.ssl.fail_verify_san") > 0);
    }

    [SkippableFact]
    public void Grpc_OverTls_BothWaysAndStreams()
    {
        var (server, backend) = Peers.GrpcServer();
        using (server)
        {
            int outer = FreePort.Next(), inner = FreePort.Next();
            // Client ─TLS→ first ─mutual TLS→ second ─→ server, both hops in one process.
            using var sidecar = Run(new TestSnapshot()
                .Http("outer", outer, TestSnapshot.To("hop")).Tls("outer", Server("")).Cluster("hop", true, Hop(), inner)
                .Http("inner", inner, TestSnapshot.To("up")).Tls("inner", Server("\"require_client_certificate\": true,", $$"""{"trusted_ca": {"filename": "{{_authority}}"} }"""))
                .Cluster("up", true, backend));
            string target = $"{_authority}@localhost:{outer}";
            Assert.Contains("same", Peers.GrpcClient(null, target, "Unary", "100000").Expect().Output);
            Assert.Contains("MESSAGE 199", Peers.GrpcClient(null, target, "BothStream", "200").Expect().Output);
            Assert.True(sidecar.Stat("cluster.hop.ssl.handshake") > 0);
            Assert.Equal(0, sidecar.Stat($"listener.127.0.0.1_{inner}.ssl.no_certificate"));
        }
    }

    // .NET's own TLS on the client's side: it ends its direction by close_notify and still hears the answer.
    [SkippableFact]
    public void Tcp_OverTlsOnBothSides_KeepsHalfCloses()
    {
        var (server, backend) = Peers.TcpServer();
        using (server)
        {
            int outer = FreePort.Next(), inner = FreePort.Next();
            using var sidecar = Run(new TestSnapshot()
                .Tcp("outer", outer, "hop").Tls("outer", Server("")).Cluster("hop", false, Hop(), inner)
                .Tcp("inner", inner, "up").Tls("inner", Server("\"require_client_certificate\": true,", $$"""{"trusted_ca": {"filename": "{{_authority}}"} }"""))
                .Cluster("up", false, backend));
            using var client = new System.Net.Sockets.TcpClient("127.0.0.1", outer);
            using var tls = new System.Net.Security.SslStream(client.GetStream(), false, static (_, _, _, _) => true);
            tls.AuthenticateAsClient("localhost");
            tls.Write("half-close works"u8);
            tls.ShutdownAsync().GetAwaiter().GetResult();
            using var reader = new StreamReader(tls);
            Assert.Equal("HALF-CLOSE WORKS", reader.ReadToEnd());
        }
    }

    [SkippableFact]
    public void Rotation_UnderLoad_LosesNothing_AndNewHandshakesHaveTheNewPair()
    {
        Command.Require("openssl", "h2load");
        int port = FreePort.Next();
        using var sidecar = Run(new TestSnapshot().Http("in", port, TestSnapshot.Answer("hello")).Tls("in", Server("")));
        string url = $"https://127.0.0.1:{port}/";
        using var load = new BackgroundProcess(null, null, "h2load", ["-n", "20000", "-c", "20", "-t", "1", "--h1", url]);
        string last = "";
        for (int i = 0; i < 20; i++)
        {
            var next = _ca.Server("localhost", "127.0.0.1", $"rotation-{i}");
            Save("server", next);
            last = next.Fingerprint;
            sidecar.WaitUntil(() => Presented(port) == last, $"rotation {i} was not used");
        }
        Assert.Equal(0, load.WaitForExit());
        Assert.Contains("20000 succeeded, 0 failed, 0 errored", load.Log);
        Assert.Equal(last, Presented(port));

        // Half a pair, or rubbish, is not used.
        _folder.Write("server.key", _ca.Server("localhost").KeyPem);
        sidecar.WaitForLine("a changed secret is not used: Failed to load private key from .*the one in use stays");
        Assert.Equal(last, Presented(port));
    }

    [SkippableFact]
    public void Secret_NotThere_RefusesEveryConnection_AndNeverAnswersInTheClear()
    {
        int port = FreePort.Next();
        string context = $$""" "common_tls_context": {"tls_certificate_sds_secret_configs": [ {"name": "default", "sds_config": {"ads": {} } } ] } """;
        using var sidecar = Run(new TestSnapshot().Http("in", port, TestSnapshot.Answer("hello")).Tls("in", context));
        Assert.NotEqual(0, Peers.Curl(null, $"http://127.0.0.1:{port}/").ExitCode);
        Assert.NotEqual(0, Peers.Curl(null, "-k", $"https://127.0.0.1:{port}/").ExitCode);
        Assert.Equal(2, sidecar.Stat($"listener.127.0.0.1_{port}.server_ssl_socket_factory.downstream_context_secrets_not_ready"));
        Assert.Equal(0, sidecar.Stat("http.in.downstream_rq_total"));
    }

    [SkippableFact]
    public void Key_IsNeverShown()
    {
        int port = FreePort.Next();
        string key = System.IO.File.ReadAllText(File("server.key"));
        string context = $$"""
             "common_tls_context": {"tls_certificates": [ {"certificate_chain": {"filename": "{{File("server.pem")}}"},
              "private_key": {"inline_string": {{System.Text.Json.JsonSerializer.Serialize(key)}} } } ] }
            """;
        using var sidecar = Run(new TestSnapshot().Http("in", port, TestSnapshot.Answer("hello")).Tls("in", context), "--log-level", "trace");
        Peers.Curl(null, "--cacert", _authority, $"https://localhost:{port}/").Expect();
        string secret = key.Split('\n')[1];
        string dump = Peers.Curl(null, $"http://127.0.0.1:{sidecar.AdminPort}/config_dump").Expect().Output;
        Assert.Contains("[redacted]", dump);
        foreach (string text in new[] { dump, sidecar.Log, Peers.Curl(null, $"http://127.0.0.1:{sidecar.AdminPort}/certs").Expect().Output })
            Assert.DoesNotContain(secret, text);
    }

    private string Presented(int port)
    {
        string pem = Command.Run(null, "Q\n", "openssl", ["s_client", "-connect", $"127.0.0.1:{port}"]).Output;
        int begin = pem.IndexOf("-----BEGIN CERTIFICATE-----", StringComparison.Ordinal);
        if (begin < 0)
            return "";
        using var certificate = System.Security.Cryptography.X509Certificates.X509Certificate2.CreateFromPem(pem.AsSpan(begin));
        return certificate.GetCertHashString(System.Security.Cryptography.HashAlgorithmName.SHA256).ToLowerInvariant();
    }

    private string Connect(int port, string input, params string[] arguments)
    {
        var result = Command.Run(null, input, "openssl", ["s_client", "-connect", $"127.0.0.1:{port}", "-CAfile", _authority, "-ign_eof", .. arguments]);
        return result.Output + result.Errors;
    }

    private string Server(string more, string? validation = null) => $$"""
        {{more}} "common_tls_context": {"alpn_protocols": ["h2", "http/1.1"],
         "tls_certificates": [ {"certificate_chain": {"filename": "{{File("server.pem")}}"}, "private_key": {"filename": "{{File("server.key")}}"} } ]
         {{(validation is null ? "" : ", \"validation_context\": " + validation)}} }
        """;

    private string Client(string name) => $$"""
        "transport_socket": {"name": "envoy.transport_sockets.tls", "typed_config": {"@type": "{{TlsType}}UpstreamTlsContext", "sni": "{{name}}",
         "common_tls_context": {"validation_context": {"trusted_ca": {"filename": "{{_authority}}"}, "match_typed_subject_alt_names": [ {"san_type": "DNS", "matcher": {"exact": "{{name}}"} } ]} } } }
        """;

    private string Hop() => $$"""
        "transport_socket": {"name": "envoy.transport_sockets.tls", "typed_config": {"@type": "{{TlsType}}UpstreamTlsContext", "sni": "localhost",
         "common_tls_context": {"tls_params": {"tls_maximum_protocol_version": "TLSv1_3"},
          "tls_certificates": [ {"certificate_chain": {"filename": "{{File("client.pem")}}"}, "private_key": {"filename": "{{File("client.key")}}"} } ],
          "validation_context": {"trusted_ca": {"filename": "{{_authority}}"} } } } }
        """;

    private SidecarProcess Run(TestSnapshot snapshot, params string[] flags) => SidecarProcess.Run(_folder.Write("snapshot.json", snapshot.ToString()), 1, flags);

    private string File(string name) => _folder.PathOf(name);

    private void Save(string name, TestCert cert)
    {
        _folder.Write(name + ".pem", cert.ChainPem);
        _folder.Write(name + ".key", cert.KeyPem);
    }

    public void Dispose()
    {
        _folder.Dispose();
        _ca.Dispose();
    }
}
