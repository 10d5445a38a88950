using System;
using System.Collections.Generic;
using System.Diagnostics;
using System.IO;
using System.Linq;
using System.Net.Security;
using System.Net.Sockets;
using System.Security.Cryptography.X509Certificates;
using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;
using System.Threading;
using Envoy.Extensions.TransportSockets.Tls.V3;
using Sidecar.Config;
using Sidecar.Tests.Harness;
using Sidecar.Wire;
using Xunit;
using Xunit.Abstractions;

namespace Sidecar.Tests.Scenarios;

/// <summary>
/// A sidecar that gets its certificates as secrets: from go-control-plane over ADS and over streams of their own, and from a server on a Unix socket as
/// Istio's agent is one, which rotates them under load. Requests go in in the clear, and over mutual TLS from the sidecar's cluster to its own listener.
/// </summary>
[Trait("Category", "Linux")]
[Collection(ExecutableCollection.Name)]
public sealed class SecretDiscoveryTests(ITestOutputHelper output) : IDisposable
{
    private const string Node = "sidecar~10.1.2.3~app.ns~ns.svc.cluster.local";
    private const string Id = "spiffe://cluster.local/ns/a/sa/a";
    private const string AdsSource = """{"ads": {}, "initial_fetch_timeout": "0s", "resource_api_version": "V3"}""";
    private const string Same = """{"san_type": "URI", "matcher": {"exact": "spiffe://cluster.local/ns/a/sa/a"}}""";

    private readonly Owned _owned = new();
    private readonly TestCa _ca = new();
    private readonly int[] _ports = FreePort.Next(2);

    public void Dispose()
    {
        _owned.Dispose();
        _ca.Dispose();
    }

    private int In => _ports[0];
    private int Out => _ports[1];

    /// <summary>"out" takes requests in the clear and sends each, over a connection of its own, to "in", by mutual TLS.</summary>
    private TestSnapshot Mesh(string source) => new TestSnapshot()
        .Http("in", In, TestSnapshot.Answer("inside")).Tls("in", """ "require_client_certificate": true, """ + TestSnapshot.SdsContext(source, Same))
        .Http("out", Out, TestSnapshot.To("up")).Cluster("up", false, TestSnapshot.Fill("""
            "max_requests_per_connection": 1, "transport_socket": {"name": "envoy.transport_sockets.tls", "typed_config": {
             "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext", $context}}
            """, ("context", TestSnapshot.SdsContext(source, Same))), In);

    private TestSnapshot WithSecrets(TestSnapshot snapshot, TestCert cert) => snapshot.Secret("default", cert.Secret).Secret("ROOTCA", _ca.Secret);

    private static string Ask(int port)
    {
        using var client = new RawClient(port);
        var response = client.Get("/");
        return response.Status == 200 ? response.Body : response.Status.ToString();
    }

    // ---- go-control-plane -------------------------------------------------------------------------------------------------

    [SkippableTheory]
    [InlineData(true)]
    [InlineData(false)]
    public void OverAds_ListenersAndClustersWaitForTheirSecrets_ABadOneIsRefused_AndAllStaysWhenTheControlPlaneIsGone(bool delta)
    {
        XdsServer.Require();
        SidecarProcess.Require();
        var folder = _owned.Push(new TestFolder());
        Directory.CreateDirectory(folder.PathOf("xds"));
        string listen = XdsServer.Loopback(FreePort.Next());
        void Serve(TestSnapshot snapshot) => XdsServer.Serve(folder.PathOf("xds"), Node, XdsServer.Resources(snapshot));

        Serve(Mesh(AdsSource));
        var server = _owned.Push(XdsServer.Start(listen, folder.PathOf("xds")));
        int admin = FreePort.Next();
        var sidecar = _owned.Push(SidecarProcess.StartBootstrap(folder.Write("bootstrap.json", XdsServer.Bootstrap(Node, listen, delta)), admin));
        void Until(Func<bool> condition, string failure) => sidecar.WaitUntil(condition, failure + "; the control plane wrote:\n" + server.Log + "\nand the sidecar");

        sidecar.WaitForListen(admin);
        Until(() => sidecar.Admin("/config_dump?resource=dynamic_warming_secrets").Contains("ROOTCA", StringComparison.Ordinal), "does not say what it waits for");
        Assert.False(sidecar.IsReady);
        Assert.Throws<SocketException>(() => Ask(Out));

        var first = _ca.Spiffe(Id);
        Serve(WithSecrets(Mesh(AdsSource), first));
        Until(() => sidecar.IsReady, "did not become ready");
        for (int i = 0; i < 200; i++)
            Assert.Equal("inside", Ask(Out));
        Assert.Equal(200, sidecar.Stat($"listener.127.0.0.1_{In}.ssl.handshake"));
        Assert.Equal(200, sidecar.Stat("cluster.up.ssl.handshake"));
        Assert.Equal(1, sidecar.Stat("sds.default.update_success"));

        string dump = sidecar.Admin("/config_dump");
        Assert.DoesNotContain("PRIVATE", dump);
        var secrets = JsonDocument.Parse(sidecar.Admin("/config_dump?resource=dynamic_active_secrets")).RootElement.GetProperty("configs").EnumerateArray().ToDictionary(
            secret => secret.GetProperty("name").GetString()!);
        Assert.Equal(["ROOTCA", "default"], secrets.Keys.Order(StringComparer.Ordinal));
        Assert.NotEmpty(secrets["default"].GetProperty("version_info").GetString()!);
        Assert.NotEmpty(secrets["default"].GetProperty("last_updated").GetString()!);
        Assert.Contains("[redacted]", dump);

        // A pair that does not belong together: refused with its reason, what is in use stays.
        Serve(WithSecrets(Mesh(AdsSource), new TestCert(first.ChainPem, _ca.Spiffe(Id).KeyPem, first.Der)));
        Until(() => server.Refusals().Count > 0, "did not refuse the bad secret");
        Assert.StartsWith("Error adding/updating secret(s) default: tls_certificate: ", server.Refusals()[0]);
        Assert.Contains("the key does not belong to the certificate", server.Refusals()[0]);
        Assert.DoesNotContain("PRIVATE", server.Refusals()[0] + sidecar.Log);
        Assert.Equal("inside", Ask(Out));

        // Rotated; and without a control plane.
        Serve(WithSecrets(Mesh(AdsSource), _ca.Spiffe(Id)));
        Until(() => sidecar.Stat("sds.default.update_success") == 2, "did not take the new secret");
        Assert.Equal("inside", Ask(Out));
        server.Dispose();
        Until(() => sidecar.Stat("control_plane.connected_state") == 0, "did not see the control plane go");
        Assert.Equal("inside", Ask(Out));
        Assert.Equal(0, sidecar.Stat("cluster.up.ssl.connection_error"));
    }

    /// <summary>The listeners are kept and their secrets are not: a proxy that starts while its control plane is away is not ready for traffic it would have to refuse.</summary>
    [SkippableFact]
    public void LastGoodConfiguration_IsNotReadyBeforeItsSecretsHaveCome_AndSaysWhatItWaitsFor()
    {
        XdsServer.Require();
        SidecarProcess.Require();
        var folder = _owned.Push(new TestFolder());
        Directory.CreateDirectory(folder.PathOf("xds"));
        string listen = XdsServer.Loopback(FreePort.Next());
        XdsServer.Serve(folder.PathOf("xds"), Node, XdsServer.Resources(WithSecrets(Mesh(AdsSource), _ca.Spiffe(Id))));
        string bootstrap = folder.Write("bootstrap.json", XdsServer.Bootstrap(Node, listen, delta: true));
        using (var before = XdsServer.Start(listen, folder.PathOf("xds")))
        using (var first = SidecarProcess.RunBootstrap(bootstrap, 1, "--cache-dir", folder.PathOf("cache")))
            first.WaitUntil(() => first.Admin("/config_status?section=pushes").Contains("\"saved\"", StringComparison.Ordinal), "did not keep its configuration");

        int admin = FreePort.Next();
        var sidecar = _owned.Push(SidecarProcess.StartBootstrap(bootstrap, admin, 1, "--cache-dir", folder.PathOf("cache")));
        sidecar.WaitForListen(admin);
        Assert.False(sidecar.IsReady);
        Assert.NotEqual(0, sidecar.Stat("server.state"));
        var status = JsonDocument.Parse(sidecar.Admin("/config_status")).RootElement;
        // "in" and the cluster wait for secrets; "out", which waits for the cluster, does so with it.
        Assert.Equal(3, status.GetProperty("last_good").GetProperty("resources_waiting").GetInt32());
        var listener = status.GetProperty("resources").EnumerateArray().Single(r => r.GetProperty("name").GetString() == "in");
        Assert.Equal(("LAST_GOOD_WARMING", "secret default"), (listener.GetProperty("status").GetString(), listener.GetProperty("waits_for").GetString()));
        Assert.Contains("3 of them wait for secrets", sidecar.Log);

        _owned.Push(XdsServer.Start(listen, folder.PathOf("xds")));
        sidecar.WaitUntil(() => sidecar.IsReady, "did not become ready");
        Assert.Equal("inside", Ask(Out));
    }

    [SkippableTheory]
    [InlineData(true)]
    [InlineData(false)]
    public void OverStreamsOfTheirOwn_EachSecretIsAskedForByItsName(bool delta)
    {
        XdsServer.Require();
        SidecarProcess.Require();
        var folder = _owned.Push(new TestFolder());
        Directory.CreateDirectory(folder.PathOf("xds"));
        string socket = folder.PathOf("sds");
        XdsServer.Serve(folder.PathOf("xds"), Node, XdsServer.Resources(WithSecrets(new TestSnapshot(), _ca.Spiffe(Id))));
        var server = _owned.Push(XdsServer.Start("unix:" + socket, folder.PathOf("xds"), "-ads=false"));
        var sidecar = _owned.Push(SidecarProcess.RunBootstrap(folder.Write("bootstrap.json", Bootstrap(Mesh(TestSnapshot.GrpcSource("sds-grpc", delta)).PipeCluster("sds-grpc", socket)))));
        for (int i = 0; i < 20; i++)
            Assert.Equal("inside", Ask(Out));
        Assert.Empty(server.Refusals());
        Assert.Equal(2, server.Events("open").Count);
        XdsServer.Serve(folder.PathOf("xds"), Node, XdsServer.Resources(WithSecrets(new TestSnapshot(), _ca.Spiffe(Id))));
        sidecar.WaitUntil(() => sidecar.Stat($"listener.127.0.0.1_{In}.server_ssl_socket_factory.ssl_context_update_by_sds") == 2, "did not take the new secret\n" + server.Log);
        Assert.Equal("inside", Ask(Out));
    }

    // ---- an agent -----------------------------------------------------------------------------------------------------------

    [SkippableFact]
    public void ThousandRotationsUnderLoad_NoRequestIsLost_OpenConnectionsStay_AndHandshakesUseTheNewPair()
    {
        const int rotations = 1000;
        SidecarProcess.Require();
        var folder = _owned.Push(new TestFolder());
        string socket = folder.PathOf("sds");
        using var loop = new TestLoop { ExpectsOpenConnections = true };
        using var agent = new FakeAds(loop, socket);
        int admin = FreePort.Next();
        var sidecar = _owned.Push(SidecarProcess.StartBootstrap(
            folder.Write("bootstrap.json", Bootstrap(Mesh(TestSnapshot.GrpcSource("sds-grpc")).PipeCluster("sds-grpc", socket))), admin, concurrency: 2));
        var certs = Enumerable.Range(0, 16).Select(_ => _ca.Spiffe(Id)).ToArray();

        var streams = new Dictionary<string, AdsStream>();
        for (int i = 0; i < 2; i++)
        {
            var stream = agent.Accept();
            agent.Until(() => stream.Messages.Count > 0);
            var request = Envoy.Service.Discovery.V3.DiscoveryRequest.Parser.ParseFrom(stream.Messages[0]);
            Assert.Equal(Node, request.Node.Id);
            stream.Expect($"SDS v= n= [{request.ResourceNames.Single()}] node:{Node}");
            streams.Add(request.ResourceNames.Single(), stream);
        }
        Rotate("ROOTCA", 0, _ca.Secret);
        Rotate("default", 0, certs[0].Secret);
        sidecar.WaitUntilReady();

        using var open = Handshake(certs[0]);
        Assert.Equal("inside", open.Ask());
        using var load = new Load(Out);
        long start = Stopwatch.GetTimestamp();
        for (int i = 1; i <= rotations; i++)
        {
            // The authorities too, now and then.
            if (i % 50 == 0)
                Rotate("ROOTCA", i, $$"""
                    "validation_context": {"trusted_ca": {"inline_string": {{JsonSerializer.Serialize(string.Concat(Enumerable.Repeat(_ca.Pem, 1 + i / 50 % 2)))}} } }
                    """);
            Rotate("default", i, certs[i % certs.Length].Secret);
        }
        var elapsed = Stopwatch.GetElapsedTime(start);
        load.Stop();
        output.WriteLine($"{rotations} rotations in {elapsed.TotalMilliseconds:F0} ms, {load.Requests} requests, {sidecar.Stat("cluster.up.ssl.handshake")} handshakes");
        Assert.True(load.Faults.Count == 0, string.Join('\n', load.Faults.Take(3)) + "\n" + sidecar.Log[^Math.Min(sidecar.Log.Length, 4000)..]);
        Assert.InRange(load.Requests, 100, long.MaxValue);
        Assert.Equal(0, sidecar.Stat("cluster.up.ssl.connection_error") + sidecar.Stat($"listener.127.0.0.1_{In}.ssl.connection_error"));
        Assert.Equal(rotations + 1, sidecar.Stat("sds.default.update_success"));
        Assert.Equal(0, sidecar.Stat("sds.default.update_rejected"));

        Assert.Equal("inside", open.Ask());
        Assert.Equal(certs[0].Fingerprint, open.Peer);
        var last = certs[rotations % certs.Length];
        using var fresh = Handshake(last);
        Assert.Equal("inside", fresh.Ask());
        Assert.Equal(last.Fingerprint, fresh.Peer);

        // The agent is gone: what is in use goes on.
        agent.Dispose();
        sidecar.WaitUntil(() => sidecar.Stat("sds.default.control_plane.connected_state") == 0, "did not see the agent go");
        Assert.Equal("inside", Ask(Out));

        void Rotate(string name, int version, string content)
        {
            var secret = Secret.Parser.ParseFrom(Read(new TestSnapshot().Secret(name, content)).Resources.Single().Bytes.Span);
            streams[name].Send(DiscoveryMessages.World(ResourceTypes.Secret, $"v{version}", $"n{version}", secret)).Expect($"SDS v=v{version} n=n{version} [{name}]");
        }
    }

    // ---- tools --------------------------------------------------------------------------------------------------------------

    private static ResourceSet Read(TestSnapshot snapshot) => ResourceReader.ReadDocument(Encoding.UTF8.GetBytes(snapshot.ToString()), "test");

    /// <summary>A bootstrap that holds everything itself.</summary>
    private static string Bootstrap(TestSnapshot snapshot)
    {
        JsonArray listeners = [], clusters = [];
        foreach (var resource in JsonNode.Parse(XdsServer.Resources(snapshot))!["resources"]!.AsArray())
        {
            var copy = resource!.DeepClone().AsObject();
            string type = copy["@type"]!.GetValue<string>();
            copy.Remove("@type");
            (type == ResourceTypes.Listener ? listeners : clusters).Add(copy);
        }
        return new JsonObject
        {
            ["node"] = new JsonObject { ["id"] = Node, ["cluster"] = "tests" },
            ["static_resources"] = new JsonObject { ["listeners"] = listeners, ["clusters"] = clusters },
        }.ToJsonString();
    }

    private TlsClient Handshake(TestCert cert) => new(In, cert);

    /// <summary>A client of the listener "in", with a certificate of its own.</summary>
    private sealed class TlsClient : IDisposable
    {
        private readonly TcpClient _tcp;
        private readonly SslStream _tls;

        internal TlsClient(int port, TestCert cert)
        {
            _tcp = new TcpClient("127.0.0.1", port) { ReceiveTimeout = Command.TimeoutMs, SendTimeout = Command.TimeoutMs };
            _tls = new SslStream(_tcp.GetStream(), false, static (_, _, _, _) => true);
            using var certificate = X509Certificate2.CreateFromPem(cert.ChainPem, cert.KeyPem);
            _tls.AuthenticateAsClient(new SslClientAuthenticationOptions { TargetHost = "in", ClientCertificates = [certificate] });
            Peer = Convert.ToHexStringLower(System.Security.Cryptography.SHA256.HashData(_tls.RemoteCertificate!.GetRawCertData()));
        }

        /// <summary>SHA-256 of the listener's certificate.</summary>
        internal string Peer { get; }

        internal string Ask()
        {
            _tls.Write("GET / HTTP/1.1\r\nhost: in\r\n\r\n"u8);
            string text = "";
            byte[] buffer = new byte[4096];
            while (!text.EndsWith("inside", StringComparison.Ordinal))
            {
                int read = _tls.Read(buffer);
                Assert.True(read > 0, "closed after " + text);
                text += Encoding.Latin1.GetString(buffer, 0, read);
            }
            return text[^"inside".Length..];
        }

        public void Dispose()
        {
            _tls.Dispose();
            _tcp.Dispose();
        }
    }

    /// <summary>Two clients that ask all the time, until the first fault.</summary>
    private sealed class Load : IDisposable
    {
        private readonly ManualResetEventSlim _stop = new();
        private readonly List<Thread> _clients = [];
        private long _requests;

        internal Load(int port)
        {
            for (int i = 0; i < 2; i++)
                _clients.Add(new Thread(() => Run(port)));
            _clients.ForEach(client => client.Start());
        }

        internal List<string> Faults { get; } = [];
        internal long Requests => Interlocked.Read(ref _requests);

        internal void Stop()
        {
            _stop.Set();
            _clients.ForEach(client => client.Join());
        }

        public void Dispose() => Stop();

        private void Run(int port)
        {
            try
            {
                using var client = new RawClient(port);
                while (!_stop.IsSet)
                {
                    var response = client.Get("/");
                    Interlocked.Increment(ref _requests);
                    if (response.Status != 200)
                        throw new InvalidOperationException(response.Head + response.Body);
                }
            }
            catch (Exception exception)
            {
                lock (Faults)
                    Faults.Add(exception.ToString());
                _stop.Set();
            }
        }
    }
}
