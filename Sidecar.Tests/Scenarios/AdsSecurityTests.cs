using System;
using System.Text.Json.Nodes;
using Sidecar.Tests.Harness;
using Xunit;

namespace Sidecar.Tests.Scenarios;

/// <summary>
/// A control plane that asks for a certificate and a token, as istiod does: go-control-plane behind a sidecar that terminates mutual TLS and lets through
/// only streams with the token.
/// </summary>
[Trait("Category", "Linux")]
[Collection(ExecutableCollection.Name)]
public sealed class AdsSecurityTests : IDisposable
{
    private const string Node = "sidecar~10.1.2.3~app.ns~ns.svc.cluster.local", Token = "eyJ0b2tlbg";

    private readonly Owned _owned = new();
    private readonly TestCa _ca = new();
    private readonly TestFolder _folder;
    private readonly int _guard = FreePort.Next(), _app = FreePort.Next();

    public AdsSecurityTests()
    {
        _folder = _owned.Push(new TestFolder());
    }

    public void Dispose()
    {
        _owned.Dispose();
        _ca.Dispose();
    }

    private void StartControlPlane()
    {
        XdsServer.Require();
        SidecarProcess.Require();
        System.IO.Directory.CreateDirectory(_folder.PathOf("xds"));
        XdsServer.Serve(_folder.PathOf("xds"), Node, XdsServer.Resources(new TestSnapshot().Http("app", _app, TestSnapshot.Answer("served"))));
        int plane = FreePort.Next();
        _owned.Push(XdsServer.Start(XdsServer.Loopback(plane), _folder.PathOf("xds")));
        var server = _ca.Server("127.0.0.1", "istiod.test");
        string route = TestSnapshot.Fill("""
            {"match": {"prefix": "/", "headers": [{"name": "authorization", "string_match": {"exact": "Bearer $token"}}]}, "route": {"cluster": "plane", "timeout": "0s"}}
            """, ("token", Token));
        var guard = new TestSnapshot().Http("guard", _guard, route).Cluster("plane", http2: true, plane).Tls("guard", TestSnapshot.Fill("""
            "require_client_certificate": true, "common_tls_context": {"alpn_protocols": ["h2"],
              "tls_certificates": [{"certificate_chain": {"filename": "$chain"}, "private_key": {"filename": "$key"}}], "validation_context": {"trusted_ca": {"filename": "$ca"}}}
            """, ("chain", _folder.Write("server.pem", server.ChainPem)), ("key", _folder.Write("server.key", server.KeyPem)), ("ca", _folder.Write("ca.pem", _ca.Pem))));
        _owned.Push(SidecarProcess.Run(_folder.Write("guard.json", guard.ToString())));
        var own = _ca.Spiffe("spiffe://cluster.local/ns/ns/sa/app");
        _folder.Write("own.pem", own.ChainPem);
        _folder.Write("own.key", own.KeyPem);
        _folder.Write("token", Token + "\n");
    }

    /// <summary>A bootstrap whose control plane is an envoy_grpc cluster with TLS, and the token in initial_metadata.</summary>
    private string EnvoyGrpc(bool hasCertificate, string token)
    {
        var bootstrap = JsonNode.Parse(XdsServer.Bootstrap(Node, XdsServer.Loopback(_guard), delta: true))!;
        string certificate = TestSnapshot.Fill("""
            "tls_certificates": [{"certificate_chain": {"filename": "$chain"}, "private_key": {"filename": "$key"}}],
            """, ("chain", _folder.PathOf("own.pem")), ("key", _folder.PathOf("own.key")));
        bootstrap["static_resources"]!["clusters"]![0]!["transport_socket"] = JsonNode.Parse(TestSnapshot.Fill("""
            {"name": "envoy.transport_sockets.tls", "typed_config": {"@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext", "sni": "istiod.test",
              "common_tls_context": {$certificate "alpn_protocols": ["h2"], "validation_context": {"trusted_ca": {"filename": "$ca"},
               "match_typed_subject_alt_names": [{"san_type": "DNS", "matcher": {"exact": "istiod.test"}}]}}}}
            """, ("certificate", hasCertificate ? certificate : ""), ("ca", _folder.PathOf("ca.pem"))));
        Service(bootstrap)["initial_metadata"] = new JsonArray(new JsonObject { ["key"] = "authorization", ["value"] = "Bearer " + token });
        return bootstrap.ToJsonString();
    }

    /// <summary>A bootstrap whose control plane is a google_grpc target, and the token in a file.</summary>
    private string GoogleGrpc()
    {
        var bootstrap = JsonNode.Parse(XdsServer.Bootstrap(Node, XdsServer.Loopback(_guard), delta: false))!;
        bootstrap.AsObject().Remove("static_resources");
        var service = Service(bootstrap);
        service.AsObject().Remove("envoy_grpc");
        service["google_grpc"] = JsonNode.Parse(TestSnapshot.Fill("""
            {"target_uri": "127.0.0.1:$port", "stat_prefix": "istiod",
             "channel_credentials": {"ssl_credentials": {"root_certs": {"filename": "$ca"}, "private_key": {"filename": "$key"}, "cert_chain": {"filename": "$chain"}}},
             "call_credentials": [{"from_plugin": {"name": "envoy.grpc_credentials.file_based_metadata", "typed_config": {
               "@type": "type.googleapis.com/envoy.config.grpc_credential.v3.FileBasedMetadataConfig", "secret_data": {"filename": "$token"}, "header_prefix": "Bearer "}}}]}
            """, ("port", _guard.ToString()), ("ca", _folder.PathOf("ca.pem")), ("key", _folder.PathOf("own.key")), ("chain", _folder.PathOf("own.pem")), ("token", _folder.PathOf("token"))));
        return bootstrap.ToJsonString();
    }

    private static JsonNode Service(JsonNode bootstrap) => bootstrap["dynamic_resources"]!["ads_config"]!["grpc_services"]![0]!;

    [SkippableTheory]
    [InlineData(false)]
    [InlineData(true)]
    public void CertificateAndToken_AreShown_AndTheConfigurationComes(bool google)
    {
        StartControlPlane();
        var sidecar = _owned.Push(SidecarProcess.RunBootstrap(_folder.Write("bootstrap.json", google ? GoogleGrpc() : EnvoyGrpc(hasCertificate: true, Token))));
        using var client = new RawClient(_app);
        Assert.Equal("served", client.Get("/").Body);
        Assert.Equal(1, sidecar.Stat("control_plane.connected_state"));
        Assert.Equal(1, sidecar.Stat($"cluster.{(google ? "google_grpc.istiod" : "xds-grpc")}.ssl.handshake"));
    }

    [SkippableTheory]
    [InlineData(true, "wrong", "gRPC config stream to xds-grpc closed: 12, ;")]
    [InlineData(false, Token, "gRPC config stream to xds-grpc closed: 14")]
    public void WithoutTheTokenOrTheCertificate_NothingComes(bool hasCertificate, string token, string reason)
    {
        StartControlPlane();
        var sidecar = _owned.Push(SidecarProcess.StartBootstrap(_folder.Write("bootstrap.json", EnvoyGrpc(hasCertificate, token)), FreePort.Next()));
        sidecar.WaitUntil(() => sidecar.Log.Contains(reason, StringComparison.Ordinal), "no stream was refused");
        Assert.DoesNotContain("cds: version", sidecar.Log);
    }
}
