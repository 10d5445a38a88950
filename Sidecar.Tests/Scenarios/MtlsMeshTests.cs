using System;
using System.Collections.Generic;
using System.IO;
using System.Linq;
using System.Security.Cryptography.X509Certificates;
using System.Text;
using System.Text.Json.Nodes;
using System.Threading;
using Sidecar.Config;
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

    /// <summary>
    /// Certificates and authority come as secrets from a control plane, and every certificate of the mesh is replaced time and again while requests go through it, each
    /// on a connection of its own, so that it meets whatever is in place just then.
    /// </summary>
    [SkippableTheory]
    [InlineData(true)]
    [InlineData(false)]
    public void SecretsFromAControlPlane_AreRotatedUnderLoad_AndNoRequestIsLost(bool delta)
    {
        const int rotations = 8;
        string socket = "unix:" + _folder.PathOf("XDS"), answers = _folder.PathOf("answers"), stop = _folder.PathOf("stop");
        using var plane = XdsServer.Start(socket, _folder.Path);
        Command.Run("chmod", "666", _folder.PathOf("XDS")).Expect();
        var snapshots = new Dictionary<string, string>();
        using var mesh = new SampleMesh(
            (sample, text) =>
            {
                bool isClient = sample == "webapp";
                snapshots[sample] = WithTls(text, SecretContext(isClient), requestsEach: 1);
                Serve(sample, snapshots[sample]);
                return XdsServer.Bootstrap(sample, socket, delta);
            },
            isBootstrap: true);
        SidecarProcess[] sidecars = [mesh.Webapp, mesh.V1, mesh.V2];
        AssertTwoHundred(mesh);

        // Bounded, should nobody stop it.
        var load = new Thread(() => mesh.Shell($"for n in $(seq 100000); do [ -e {stop} ] && exit 0; curl -sS --max-time 20 http://{SampleMesh.Service}/add?n=$n >> {answers} || exit 1; done"));
        Command.Run("touch", answers).Expect();
        Command.Run("chmod", "777", _folder.Path, answers).Expect();
        load.Start();
        var certs = new Dictionary<string, TestCert>();
        int seen = 0;
        for (int rotation = 1; rotation <= rotations; rotation++)
        {
            foreach (var (sample, snapshot) in snapshots)
                certs[sample] = Serve(sample, snapshot);
            foreach (var sidecar in sidecars)
                sidecar.WaitUntil(() => sidecar.Stat("sds.default.update_success") == 1 + rotation, $"did not take certificate {rotation}; the control plane wrote:\n{plane.Log}\nand the sidecar");
            // Some requests meet each of them.
            int before = seen;
            mesh.Webapp.WaitUntil(() => (seen = File.ReadAllLines(answers).Length) >= before + 5 || !load.IsAlive, "no request was answered");
        }
        File.WriteAllText(stop, "");
        load.Join();
        string[] lines = File.ReadAllLines(answers);
        Assert.True(lines.Length >= rotations * 5, $"only {lines.Length} requests");
        Assert.All(lines, line => Assert.Contains(line, new[] { "calculator v1", "calculator v2" }));
        AssertTwoHundred(mesh);

        Assert.Equal(400 + lines.Length, mesh.Webapp.Stat("http.outbound_0.0.0.0_8888.downstream_rq_2xx"));
        Assert.Equal(0, mesh.Webapp.Stat("http.outbound_0.0.0.0_8888.downstream_rq_5xx"));
        Assert.Equal(400 + lines.Length, mesh.V1.Stat("listener.0.0.0.0_15006.ssl.handshake") + mesh.V2.Stat("listener.0.0.0.0_15006.ssl.handshake"));
        foreach (var (sidecar, sample) in sidecars.Zip(["webapp", "calculator-v1", "calculator-v2"]))
        {
            string serial = X509CertificateLoader.LoadCertificate(certs[sample].Der).SerialNumber;
            Assert.Contains(serial, sidecar.Admin("/certs"), StringComparison.OrdinalIgnoreCase);
            Assert.Equal(0, sidecar.Stat("sds.default.update_rejected"));
        }
        foreach (var callee in new[] { mesh.V1, mesh.V2 })
            Assert.Equal(0, callee.Stat("listener.0.0.0.0_15006.ssl.connection_error"));
        Assert.Empty(plane.Refusals());
        Assert.Empty(plane.Errors());
    }

    private static void AssertTwoHundred(SampleMesh mesh)
    {
        var answers = mesh.Call("--http1.1", $"http://{SampleMesh.Service}/add?n=[1-200]").Expect().Lines;
        Assert.Equal(200, answers.Length);
        Assert.All(answers, answer => Assert.Contains(answer, new[] { "calculator v1", "calculator v2" }));
        Assert.Equal(2, answers.Distinct().Count());
    }

    /// <summary>Serves a pod its configuration with a new certificate.</summary>
    private TestCert Serve(string sample, string snapshot)
    {
        var cert = _ca.Spiffe(sample == "webapp" ? Webapp : Calculator);
        var set = ResourceReader.ReadDocument(Encoding.UTF8.GetBytes(snapshot), sample);
        var secrets = new TestSnapshot().Secret("default", cert.Secret).Secret("ROOTCA", _ca.Secret);
        set.Resources.AddRange(ResourceReader.ReadDocument(Encoding.UTF8.GetBytes(secrets.ToString()), sample).Resources);
        XdsServer.Serve(_folder.Path, sample, XdsServer.Resources(set));
        return cert;
    }

    private static JsonNode SecretContext(bool isClient)
    {
        string peer = isClient ? $$"""{"exact": "{{Calculator}}"}""" : """{"prefix": "spiffe://cluster.local/"}""";
        string own = isClient ? "\"sni\": \"outbound_.8888_._.calculator.vm.svc.cluster.local\"" : "\"require_client_certificate\": true";
        return JsonNode.Parse($$"""
            { {{own}}, "common_tls_context": {
              "alpn_protocols": ["h2", "http/1.1"],
              "tls_certificate_sds_secret_configs": [ {"name": "default", "sds_config": {"ads": {} } } ],
              "combined_validation_context": {
               "default_validation_context": {"match_subject_alt_names": [ {{peer}} ]},
               "validation_context_sds_secret_config": {"name": "ROOTCA", "sds_config": {"ads": {} } } } } }
            """)!;
    }

    private SampleMesh Mesh(string caller)
    {
        string ca = _folder.Write("ca.pem", _ca.Pem);
        return new SampleMesh(
            (sample, text) =>
            {
                bool isClient = sample == "webapp";
                return WithTls(text, Context(sample, isClient ? caller : Calculator, ca, isClient ? Calculator : "spiffe://cluster.local/", isClient));
            },
            "--log-level", "debug");
    }

    /// <summary>A sample whose calls to the mesh, and whose port that is called, have TLS.</summary>
    /// <param name="requestsEach">How many requests a connection has; 0: any number.</param>
    private static string WithTls(string sample, JsonNode context, int requestsEach = 0)
    {
        var dump = JsonNode.Parse(sample)!;
        foreach (var config in dump["configs"]!.AsArray())
        {
            foreach (var cluster in config!["dynamic_active_clusters"]?.AsArray() ?? [])
            {
                if (!((string)cluster!["cluster"]!["name"]!).StartsWith("outbound|", StringComparison.Ordinal))
                    continue;
                cluster["cluster"]!["tls_context"] = context.DeepClone();
                if (requestsEach > 0)
                    cluster["cluster"]!["max_requests_per_connection"] = requestsEach;
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
