using System;
using System.Linq;
using System.Text.Json.Nodes;
using Sidecar.Tests.Harness;
using Xunit;

namespace Sidecar.Tests.Scenarios;

/// <summary>
/// The sample mesh with mutual TLS between its sidecars (STRICT): SPIFFE certificates of one authority, each side verifying the other's name.
/// </summary>
[Trait("Category", "Linux")]
[Collection(ExecutableCollection.Name)]
public sealed class MtlsMeshTests : IDisposable
{
    private const string Webapp = "spiffe://cluster.local/ns/vm/sa/webapp", Calculator = "spiffe://cluster.local/ns/vm/sa/calculator";

    private readonly TestCa _ca = new();
    private readonly TestFolder _folder = new();

    [SkippableFact]
    public void TwoHundredRequests_AreAnswered_OverMutualTls()
    {
        using var mesh = Mesh(Webapp);
        var answers = mesh.Call("--http1.1", $"http://{SampleMesh.Service}/add?n=[1-200]").Expect().Lines;
        Assert.Equal(200, answers.Length);
        int v1 = answers.Count(answer => answer == "calculator v1"), v2 = answers.Count(answer => answer == "calculator v2");
        Assert.Equal(200, v1 + v2);
        Assert.True(v1 > 0 && v2 > 0);

        Assert.Equal(v1, mesh.Webapp.Stat("cluster.outbound|8888|v1|calculator.vm.svc.cluster.local.upstream_rq_total"));
        Assert.True(mesh.Webapp.Stat("cluster.outbound|8888|v1|calculator.vm.svc.cluster.local.ssl.handshake") > 0);
        Assert.True(mesh.V1.Stat("listener.0.0.0.0_15006.ssl.handshake") > 0);
        Assert.Equal(0, mesh.V1.Stat("listener.0.0.0.0_15006.ssl.no_certificate"));
        Assert.Equal(0, mesh.V1.Stat("listener.0.0.0.0_15006.ssl.connection_error"));
    }

    [SkippableFact]
    public void Plaintext_IsRefused()
    {
        using var mesh = Mesh(Webapp);
        // Past webapp's sidecar: as its own user, whose traffic is not captured.
        var direct = mesh.WebappNamespace.RunAs(SidecarProcess.ProxyUid, "curl", "-sS", "--max-time", "20", $"http://{SampleMesh.V1Address}:8888/add");
        Assert.Contains(direct.ExitCode, new[] { 52, 56 }); // closed without an answer, or reset
        Assert.Equal(1, mesh.V1.Stat("listener.0.0.0.0_15006.ssl.connection_error"));
        Assert.Contains("HTTP_REQUEST:TLS_error_end", mesh.V1.Log);
        Assert.Equal(0, mesh.V1.Stat("cluster.inbound|8888|grpc|calculator.vm.svc.cluster.local.upstream_rq_total"));
    }

    [SkippableFact]
    public void AnotherTrustDomain_IsRefused_WithTheReason()
    {
        using var mesh = Mesh("spiffe://elsewhere.local/ns/vm/sa/webapp");
        Assert.Equal("503", mesh.Call("--http1.1", "-o", "/dev/null", "-w", "%{http_code}", $"http://{SampleMesh.Service}/add").Expect().Output.Trim());
        long refused = mesh.V1.Stat("listener.0.0.0.0_15006.ssl.fail_verify_san") + mesh.V2.Stat("listener.0.0.0.0_15006.ssl.fail_verify_san");
        Assert.True(refused > 0);
        Assert.Contains("CERTIFICATE_VERIFY_FAILED:verify cert failed: SAN matcher:TLS_error_end", mesh.V1.Log + mesh.V2.Log);
        Assert.Equal(0, mesh.V1.Stat("cluster.inbound|8888|grpc|calculator.vm.svc.cluster.local.upstream_rq_total"));
    }

    private SampleMesh Mesh(string caller)
    {
        string ca = _folder.Write("ca.pem", _ca.Pem);
        return new SampleMesh(
            (sample, text) =>
            {
                var dump = JsonNode.Parse(text)!;
                var context = Context(sample, sample == "webapp" ? caller : Calculator, ca, sample == "webapp" ? Calculator : "spiffe://cluster.local/", isClient: sample == "webapp");
                foreach (var config in dump["configs"]!.AsArray())
                {
                    foreach (var cluster in config!["dynamic_active_clusters"]?.AsArray() ?? [])
                    {
                        if (((string)cluster!["cluster"]!["name"]!).StartsWith("outbound|", StringComparison.Ordinal))
                            cluster["cluster"]!["tls_context"] = context.DeepClone();
                    }
                    foreach (var listener in config["dynamic_active_listeners"]?.AsArray() ?? [])
                    {
                        foreach (var chain in listener!["listener"]!["filter_chains"]!.AsArray())
                        {
                            if ((int?)chain!["filter_chain_match"]?["destination_port"] == 8888)
                                chain["tls_context"] = context.DeepClone();
                        }
                    }
                }
                return dump.ToJsonString();
            },
            "--log-level", "debug");
    }

    // 2020's form, as the samples have it.
    private JsonNode Context(string name, string id, string ca, string peer, bool isClient)
    {
        var cert = _ca.Spiffe(id);
        string match = isClient ? "exact" : "prefix";
        string own = isClient ? "\"sni\": \"outbound_.8888_._.calculator.vm.svc.cluster.local\"" : "\"require_client_certificate\": true";
        return JsonNode.Parse($$"""
            { {{own}}, "common_tls_context": {
              "alpn_protocols": ["h2", "http/1.1"],
              "tls_certificates": [ {"certificate_chain": {"filename": "{{_folder.Write(name + ".pem", cert.ChainPem)}}"}, "private_key": {"filename": "{{_folder.Write(name + ".key", cert.KeyPem)}}"} } ],
              "validation_context": {"trusted_ca": {"filename": "{{ca}}"}, "match_subject_alt_names": [ {"{{match}}": "{{peer}}"} ]} } }
            """)!;
    }

    public void Dispose()
    {
        _folder.Dispose();
        _ca.Dispose();
    }
}
