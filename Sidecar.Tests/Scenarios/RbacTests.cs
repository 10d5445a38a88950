using System;
using System.Collections.Generic;
using System.IO;
using System.Text.Json;
using System.Threading;
using Sidecar.Config;
using Sidecar.Tests.Harness;
using Sidecar.Wire;
using Xunit;

namespace Sidecar.Tests.Scenarios;

/// <summary>
/// Who may call what, by the identities of mutual TLS: two callers behind one sidecar, each with a certificate of its own, and the sidecar of what they call; and
/// the policies that a real istiod made of an AuthorizationPolicy and a STRICT PeerAuthentication.
/// </summary>
[Trait("Category", "Linux")]
[Collection(ExecutableCollection.Name)]
public sealed class RbacTests : IDisposable
{
    private const string Webapp = "spiffe://cluster.local/ns/vm/sa/webapp", Stranger = "spiffe://cluster.local/ns/vm/sa/stranger";
    private const string Calculator = "spiffe://cluster.local/ns/vm/sa/calculator";
    private const string Denied = "RBAC: access denied";
    private const string Node = "sidecar~10.1.2.3~calculator.vm~vm.svc.cluster.local";

    private readonly Owned _owned = new();
    private readonly TestFolder _folder;
    private readonly TestCa _ca;
    private readonly int[] _ports = FreePort.Next(4);

    // One for each identity: a listener whose certificate changes is another one.
    private readonly Dictionary<string, TestCert> _certs = [];

    public RbacTests()
    {
        _folder = _owned.Push(new TestFolder());
        _ca = _owned.Push(new TestCa());
    }

    private int OfWebapp => _ports[0];
    private int OfStranger => _ports[1];
    private int Inbound => _ports[2];
    private int App => _ports[3];

    // ---- requests -----------------------------------------------------------------------------------------------

    [SkippableFact]
    public void IdentityThatThePolicyNames_IsAnswered_AnotherGets403()
    {
        var callee = Run(Callee(HttpRules("\"rules\": " + Allow(Webapp))));
        RunCallers(http2: false);
        for (int i = 0; i < 3; i++)
            Assert.Equal((200, "hello"), Ask(OfWebapp));
        for (int i = 0; i < 2; i++)
            Assert.Equal((403, Denied), Ask(OfStranger));
        Assert.Equal((3, 2), (callee.Stat("http.in.rbac.allowed"), callee.Stat("http.in.rbac.denied")));
        Assert.Equal((3, 2), (callee.Stat("http.in.downstream_rq_2xx"), callee.Stat("http.in.downstream_rq_4xx")));
        Assert.Equal(3, callee.Stat("cluster.app.upstream_rq_total"));
    }

    [SkippableFact]
    public void ShadowPolicy_IsCounted_AndLetsPass()
    {
        var callee = Run(Callee(HttpRules("\"shadow_rules_stat_prefix\": \"istio_dry_run_allow_\", \"shadow_rules\": " + Allow(Webapp))));
        RunCallers(http2: false);
        Assert.Equal((200, "hello"), Ask(OfWebapp));
        for (int i = 0; i < 2; i++)
            Assert.Equal((200, "hello"), Ask(OfStranger));
        const string Shadow = "http.in.rbac.istio_dry_run_allow_.shadow_";
        Assert.Equal((1, 2), (callee.Stat(Shadow + "allowed"), callee.Stat(Shadow + "denied")));
        Assert.Equal((0, 0), (callee.Stat("http.in.rbac.allowed"), callee.Stat("http.in.rbac.denied")));
    }

    [SkippableFact]
    public void GrpcCallThatIsDenied_EndsWithPermissionDenied()
    {
        var (server, port) = Peers.GrpcServer();
        _owned.Push(server);
        var callee = Run(Http(new TestSnapshot().Cluster("app", true, port), HttpRules("\"rules\": " + Allow(Webapp))));
        RunCallers(http2: true);
        Assert.Equal("OK", Call(OfWebapp).GetProperty("code").GetString());
        var denied = Call(OfStranger);
        Assert.Equal(("PERMISSION_DENIED", Denied), (denied.GetProperty("code").GetString(), denied.GetProperty("details").GetString()));
        Assert.Equal((1, 1), (callee.Stat("http.in.rbac.allowed"), callee.Stat("http.in.rbac.denied")));

        static JsonElement Call(int port) => JsonDocument.Parse(Peers.GrpcClient(null, $"127.0.0.1:{port}", "Unary", "1").Expect().Output).RootElement;
    }

    /// <summary>The rules of a route, which comes by ADS or in a snapshot that is moved into place.</summary>
    [SkippableTheory]
    [InlineData("delta")]
    [InlineData("state of the world")]
    [InlineData("file")]
    public void PolicyOfARoute_ReplacedUnderTraffic_TakesEffect_AndNoConnectionIsClosed(string source)
    {
        string listen = "unix:" + _folder.PathOf("XDS"), served = Directory.CreateDirectory(_folder.PathOf("xds")).FullName;
        var plane = source == "file" ? null : _owned.Push(XdsServer.Start(listen, served));
        Serve(Webapp);
        var callee = plane is null
            ? _owned.Push(SidecarProcess.Run(_folder.PathOf("callee.json")))
            : _owned.Push(SidecarProcess.RunBootstrap(_folder.Write("bootstrap.json", XdsServer.Bootstrap(Node, listen, source == "delta"))));
        RunCallers(http2: false);
        using (var webapp = new Traffic(OfWebapp))
        using (var stranger = new Traffic(OfStranger))
        {
            Until("200", "403");
            Serve(Stranger);
            Until("200 403", "403 200");
            Serve(Webapp);
            Until("200 403 200", "403 200 403");

            void Until(string ofWebapp, string ofStranger) => callee.WaitUntil(
                () => (webapp.Answers, stranger.Answers) == (ofWebapp, ofStranger), $"did not take the policy: {webapp.Answers}, {stranger.Answers}");
        }
        // One connection of each caller, from the first request to the last.
        Assert.Equal((2, 0), (callee.Stat("http.in.downstream_cx_total"), callee.Stat("http.in.downstream_cx_destroy")));
        Assert.Equal(callee.Stat("http.in.downstream_rq_total"), callee.Stat("http.in.rbac.allowed") + callee.Stat("http.in.rbac.denied"));
        Assert.Empty(plane?.Refusals() ?? []);
        Assert.Empty(plane?.Errors() ?? []);

        void Serve(string allowed)
        {
            var snapshot = Applied(new TestSnapshot().HttpByName("in", Inbound, "routes"), HttpRules("\"rules\": {}")).Routes("routes", OfRoute(allowed));
            if (plane is null)
                _folder.Write("callee.json", snapshot.ToString());
            else
                XdsServer.Serve(served, Node, XdsServer.Resources(snapshot));
        }
    }

    // ---- connections --------------------------------------------------------------------------------------------

    [SkippableFact]
    public void TcpConnectionThatIsDenied_EndsWithoutAByte_OneThatIsAllowedPassesBothWays()
    {
        var (server, port) = Peers.TcpServer();
        _owned.Push(server);
        var callee = Run(new TestSnapshot().Cluster("app", false, port).Tcp("in", Inbound, "app").WithNetworkFilter("in", TestSnapshot.Fill("""
            {"name": "envoy.filters.network.rbac", "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.network.rbac.v3.RBAC",
             "stat_prefix": "tcp.", "rules": $rules}}
            """, ("rules", Allow(Webapp)))).Tls("in", Context(Calculator, true, false)));
        RunCallers(http2: false, isTcp: true);
        Assert.Equal("", Say(OfStranger));
        Assert.Equal((0, 1), (callee.Stat("tcp.rbac.allowed"), callee.Stat("tcp.rbac.denied")));
        Assert.Equal("HALF-CLOSE WORKS", Say(OfWebapp));
        Assert.Equal((1, 1), (callee.Stat("tcp.rbac.allowed"), callee.Stat("tcp.rbac.denied")));
        // The app has read and written for the one that was allowed.
        Assert.Equal((16, 16), (callee.Stat("cluster.app.upstream_cx_tx_bytes_total"), callee.Stat("cluster.app.upstream_cx_rx_bytes_total")));

        static string Say(int port)
        {
            using var client = new RawClient(port);
            return client.Send("half-close works").ShutdownSend().ReadToEnd();
        }
    }

    // ---- istiod's -----------------------------------------------------------------------------------------------

    /// <summary>The policy: GET by the account "a". The mesh is STRICT; a port that speaks no HTTP is nobody's, since the policy's rule cannot be asked there.</summary>
    [SkippableFact]
    public void IstiodsPolicies_LetPassWhatTheyName_AndNothingElse()
    {
        const int appUid = 1338;
        const string addressOfClient = "10.244.8.1", address = "10.244.8.2";
        string dump = ProjectTree.Shared("testdata/istio/istiod-1.30/strict-authz.httpbin-v1.config_dump.json");
        Command.Require("iptables-restore");
        List<DiscoveredResource> resources = [.. ResourceReader.Read(dump).Resources, .. IstiodSecrets.Resources(_ca, "spiffe://cluster.local/ns/default/sa/httpbin")];
        using var pod = new DumpedPod(resources, delta: true);
        using var outside = new NetworkNamespace("outside");
        outside.Connect(pod.Pod, addressOfClient, address, "cable");
        pod.Pod.Run(ProjectTree.Executable,
            "istio-iptables", "-p", "15001", "-z", "15006", "-u", "1337", "-m", "REDIRECT", "-i", "*", "-x", "", "-b", "*", "-d", "15090,15021,15020").Expect();
        pod.WaitUntilReady([ResourceTypes.Listener]);
        _owned.Push(Peers.HttpServer(pod.Pod, appUid, "0.0.0.0", 18080).Server);
        _owned.Push(Peers.TcpServer(pod.Pod, appUid, "0.0.0.0", 9000).Server);
        Save("a", "spiffe://cluster.local/ns/default/sa/a");
        Save("b", "spiffe://cluster.local/ns/default/sa/b");
        long Stat(string name) => pod.Sidecar.Stat(name);

        Assert.Equal("app from 127.0.0.6\n200", Call("a", "--http1.1", $"https://{address}:18080/get").Expect().Output);
        Assert.Equal("app from 127.0.0.6\n200", Call("a", "--http2", $"https://{address}:18080/get").Expect().Output);
        Assert.Equal(Denied + "403", Call("a", "-X", "POST", $"https://{address}:18080/get").Expect().Output);
        Assert.Equal(Denied + "403", Call("b", $"https://{address}:18080/get").Expect().Output);
        Assert.Equal((2, 2), (Stat("http.inbound_0.0.0.0_18080.rbac.allowed"), Stat("http.inbound_0.0.0.0_18080.rbac.denied")));
        Assert.Equal(2, Stat("cluster.inbound|18080||;.upstream_rq_total"));

        // Every call of gRPC is a POST.
        var grpc = Call("a", "--http2", "-X", "POST", "-H", "content-type: application/grpc", "-D", "-", $"https://{address}:7070/a.B/C").Expect().Output;
        Assert.Contains("grpc-status: 7\r\n", grpc);
        Assert.Contains("grpc-message: " + Denied, grpc);
        Assert.Equal((0, 1), (Stat("http.inbound_0.0.0.0_7070.rbac.allowed"), Stat("http.inbound_0.0.0.0_7070.rbac.denied")));

        AssertNothingCame(Call("a", "--http1.1", $"https://{address}:9000/"));
        Assert.Equal((0, 1), (Stat("tcp.rbac.allowed"), Stat("tcp.rbac.denied")));
        Assert.Equal(0, Stat("cluster.inbound|9000||;.upstream_cx_tx_bytes_total"));

        // STRICT: neither without TLS nor without a certificate, on a port that is declared and on one that is not.
        foreach (int port in new[] { 18080, 9000, 12345 })
            AssertNothingCame(Peers.Curl(outside, $"http://{address}:{port}/get"));
        var nameless = Peers.Curl(outside, "-k", $"https://{address}:18080/get");
        Assert.NotEqual(0, nameless.ExitCode);
        Assert.Equal("", nameless.Output);
        Assert.Equal(1, Stat("listener.0.0.0.0_15006.ssl.fail_verify_no_cert"));
        Assert.Equal((4, 1), (Stat("http.inbound_0.0.0.0_18080.downstream_rq_total"), Stat("tcp.rbac.denied")));

        CommandResult Call(string identity, params string[] arguments) =>
            Peers.Curl(outside, ["-k", "--cert", _folder.PathOf(identity + ".pem"), "--key", _folder.PathOf(identity + ".key"), "-w", "%{http_code}", .. arguments]);

        // Closed without an answer, or reset; curl's 000 is of -w.
        static void AssertNothingCame(CommandResult result)
        {
            Assert.Contains(result.ExitCode, new[] { 52, 56 });
            Assert.Contains(result.Output, new[] { "", "000" });
        }
    }

    private void Save(string name, string identity)
    {
        var cert = _ca.Spiffe(identity);
        _folder.Write(name + ".pem", cert.ChainPem);
        _folder.Write(name + ".key", cert.KeyPem);
    }

    // ---- the two sidecars ---------------------------------------------------------------------------------------

    private SidecarProcess Run(TestSnapshot snapshot) => _owned.Push(SidecarProcess.Run(_folder.Write("callee.json", snapshot.ToString())));

    /// <summary>What is called: its app is a listener of the same sidecar, in the clear.</summary>
    private TestSnapshot Callee(string filter) => Http(new TestSnapshot().Cluster("app", false, App).Http("app", App, TestSnapshot.Answer("hello")), filter);

    private TestSnapshot Http(TestSnapshot snapshot, string filter) => Applied(snapshot.Http("in", Inbound, TestSnapshot.To("app")), filter);

    private TestSnapshot Applied(TestSnapshot snapshot, string filter) => snapshot.WithHttpFilter("in", filter).Tls("in", Context(Calculator, true, true));

    private void RunCallers(bool http2, bool isTcp = false)
    {
        var snapshot = new TestSnapshot();
        foreach (var (name, identity, port) in new[] { ("webapp", Webapp, OfWebapp), ("stranger", Stranger, OfStranger) })
        {
            snapshot.Cluster("as " + name, http2, TestSnapshot.Fill("""
                "transport_socket": {"name": "envoy.transport_sockets.tls", "typed_config": {
                 "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext", $context}}
                """, ("context", Context(identity, false, http2))), Inbound);
            if (isTcp)
                snapshot.Tcp(name, port, "as " + name);
            else
                snapshot.Http(name, port, TestSnapshot.To("as " + name));
        }
        _owned.Push(SidecarProcess.Run(_folder.Write("callers.json", snapshot.ToString())));
    }

    /// <summary>Members of a TLS context with an identity, which believes those of this mesh.</summary>
    private string Context(string identity, bool isServer, bool http2)
    {
        if (!_certs.TryGetValue(identity, out var cert))
            _certs.Add(identity, cert = _ca.Spiffe(identity));
        return TestSnapshot.Fill("""
            $own "common_tls_context": {$protocols "tls_certificates": [{"certificate_chain": {"inline_string": $chain}, "private_key": {"inline_string": $key}}],
             "validation_context": {"trusted_ca": {"inline_string": $ca},
              "match_typed_subject_alt_names": [{"san_type": "URI", "matcher": {"prefix": "spiffe://cluster.local/"}}]}}
            """,
            ("own", isServer ? "\"require_client_certificate\": true, " : ""), ("protocols", http2 ? "\"alpn_protocols\": [\"h2\", \"http/1.1\"]," : ""),
            ("chain", JsonSerializer.Serialize(cert.ChainPem)), ("key", JsonSerializer.Serialize(cert.KeyPem)), ("ca", JsonSerializer.Serialize(_ca.Pem)));
    }

    /// <summary>Rules that let one identity do everything.</summary>
    private static string Allow(string identity) => TestSnapshot.Fill("""
        {"policies": {"p": {"permissions": [{"any": true}], "principals": [{"authenticated": {"principal_name": {"exact": "$identity"}}}]}}}
        """, ("identity", identity));

    private static string HttpRules(string members) => TestSnapshot.Fill("""
        {"name": "envoy.filters.http.rbac", "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC", $members}}
        """, ("members", members));

    /// <summary>A route that answers by itself whom its own rules let.</summary>
    private static string OfRoute(string allowed) => TestSnapshot.Answer("hello")[..^1] + TestSnapshot.Fill("""
        , "typed_per_filter_config": {"envoy.filters.http.rbac": {
         "@type": "type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBACPerRoute", "rbac": {"rules": $rules}}}}
        """, ("rules", Allow(allowed)));

    private static (int Status, string Body) Ask(int port)
    {
        using var client = new RawClient(port);
        var response = client.Get("/");
        return (response.Status, response.Body);
    }

    public void Dispose() => _owned.Dispose();

    /// <summary>Requests without a pause over one connection, until this goes or the connection does.</summary>
    private sealed class Traffic : IDisposable
    {
        private readonly RawClient _client;
        private readonly Thread _thread;
        private volatile bool _stop;
        private volatile string _answers = "";

        internal Traffic(int port)
        {
            _client = new RawClient(port);
            _thread = new Thread(Ask);
            _thread.Start();
        }

        /// <summary>The statuses in order, each as often as it changed; what ended the traffic, if something did.</summary>
        internal string Answers => _answers;

        private void Ask()
        {
            try
            {
                while (!_stop)
                {
                    var response = _client.Get("/");
                    string status = response.Header("connection") == "close" ? "closing" : response.Status.ToString(System.Globalization.CultureInfo.InvariantCulture);
                    if (!_answers.EndsWith(status, StringComparison.Ordinal))
                        _answers += (_answers.Length > 0 ? " " : "") + status;
                }
            }
            catch (Exception exception) when (exception is IOException or System.Net.Sockets.SocketException)
            {
                _answers += " " + exception.Message;
            }
        }

        public void Dispose()
        {
            _stop = true;
            _thread.Join();
            _client.Dispose();
        }
    }
}
