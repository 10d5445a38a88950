using System;
using System.Collections.Generic;
using System.IO;
using System.Linq;
using Google.Protobuf;
using Sidecar.Config;
using Sidecar.Tests.Harness;
using Sidecar.Wire;
using Xunit;
using WireEndpoint = Envoy.Config.Endpoint.V3;

namespace Sidecar.Tests.Scenarios;

/// <summary>
/// The pair of sidecars for which a real istiod made listeners, routes and clusters, "a" that calls and "httpbin" that is called, each captured in a namespace of
/// its own and configured over ADS with what istiod sent, byte for byte. Two fields of endpoints are touched, since istiod knew other machines:
/// socket_address.address; and in the clear, metadata's envoy.transport_socket_match, by which istiod says that an endpoint speaks its mTLS.
/// </summary>
[Trait("Category", "Linux")]
[Collection(ExecutableCollection.Name)]
public sealed class IstiodMeshTests : IDisposable
{
    private const int AppUid = 1338, ClientUid = 1339;
    private const string AddressOfA = "10.244.7.1", AddressOfV1 = "10.244.7.2", AddressOfV2 = "10.244.7.3", ServiceAddress = "240.0.0.10";
    private const string Service = "httpbin.default.svc.cluster.local";
    private const string IdentityOfA = "spiffe://cluster.local/ns/default/sa/a", IdentityOfHttpbin = "spiffe://cluster.local/ns/default/sa/httpbin";

    private static readonly string[] s_captureArguments =
        ["istio-iptables", "-p", "15001", "-z", "15006", "-u", "1337", "-m", "REDIRECT", "-i", "*", "-x", "", "-b", "*", "-d", "15090,15021,15020"];

    private readonly Owned _owned = new();
    private TestFolder _folder = null!;
    private TestCa _ca = null!;
    private NetworkNamespace _a = null!;
    private NetworkNamespace _httpbin = null!;
    private SidecarProcess _caller = null!;
    private SidecarProcess _callee = null!;

    public void Dispose() => _owned.Dispose();

    [SkippableTheory]
    [InlineData(true, false)]
    [InlineData(false, false)]
    [InlineData(true, true)]
    [InlineData(false, true)]
    public void TwoHundredRequests_AreAnswered_ByTheWayThatIstiodMade(bool delta, bool mutualTls)
    {
        Build(delta, mutualTls, IdentityOfHttpbin);
        using var app = Peers.HttpServer(_httpbin, AppUid, "0.0.0.0", 18080).Server;
        var answers = Call("--resolve", $"{Service}:8000:{ServiceAddress}", $"http://{Service}:8000/get?n=[1-200]").Expect().Lines;
        // The app is called from where istiod says that the proxy calls it.
        Assert.Equal(200, answers.Length);
        Assert.All(answers, answer => Assert.StartsWith("app from 127.0.0.6", answer));

        Assert.Equal(200, _caller.Stat("http.outbound_0.0.0.0_8000.downstream_rq_2xx"));
        Assert.Equal(200, _caller.Stat($"cluster.outbound|8000||{Service};.upstream_rq_total"));
        Assert.Equal(200, _callee.Stat("http.inbound_0.0.0.0_18080.downstream_rq_2xx"));
        Assert.Equal(200, _callee.Stat("cluster.inbound|18080||;.upstream_rq_total"));
        AssertTls(mutualTls, "8000");
    }

    [SkippableTheory]
    [InlineData(false)]
    [InlineData(true)]
    public void Tcp_IsCarriedToItsEnd(bool mutualTls)
    {
        Build(delta: true, mutualTls, IdentityOfHttpbin);
        using var app = Peers.TcpServer(_httpbin, AppUid, "0.0.0.0", 9000).Server;
        Assert.Equal("HALF-CLOSE WORKS", Peers.TcpClient(_a, ClientUid, ServiceAddress, 9000, "half-close works").Expect().Output.Trim());
        Assert.Equal(1, _caller.Stat($"cluster.outbound|9000||{Service};.upstream_cx_total"));
        Assert.Equal(1, _callee.Stat("cluster.inbound|9000||;.upstream_cx_total"));
        AssertTls(mutualTls, "9000");
    }

    [SkippableFact]
    public void CalleeOfAnotherIdentity_GetsNoRequest()
    {
        Build(delta: true, mutualTls: true, "spiffe://cluster.local/ns/default/sa/somebody");
        using var app = Peers.HttpServer(_httpbin, AppUid, "0.0.0.0", 18080).Server;
        var answer = Call("-o", "/dev/null", "-w", "%{http_code}", "--resolve", $"{Service}:8000:{ServiceAddress}", $"http://{Service}:8000/get");
        Assert.Equal("503", answer.Expect().Output.Trim());
        Assert.NotEqual(0, _caller.Stat($"cluster.outbound|8000||{Service};.ssl.fail_verify_san"));
        Assert.Equal(0, _callee.Stat("cluster.inbound|18080||;.upstream_rq_total"));
    }

    private void AssertTls(bool mutualTls, string port)
    {
        Assert.Equal(mutualTls, _caller.Stat($"cluster.outbound|{port}||{Service};.ssl.handshake") > 0);
        Assert.Equal(mutualTls, _callee.Stat("listener.0.0.0.0_15006.ssl.handshake") > 0);
        Assert.Equal(0, _callee.Stat("listener.0.0.0.0_15006.ssl.no_certificate"));
        Assert.Equal(0, _callee.Stat("listener.0.0.0.0_15006.ssl.connection_error"));
    }

    private CommandResult Call(params string[] arguments) => _a.RunAs(ClientUid, "curl", ["-sS", "--max-time", "60", "--noproxy", "*", .. arguments]);

    // ---- the pair -------------------------------------------------------------------------------------------------------

    private void Build(bool delta, bool mutualTls, string calleesIdentity)
    {
        ProjectTree.Shared("testdata/istio/istiod-1.30");
        Command.RequireRoot();
        SidecarProcess.Require();
        Command.Require("ip", "ss", "setpriv", "iptables-restore", "curl");
        _folder = _owned.Push(new TestFolder());
        _ca = _owned.Push(new TestCa());
        string executable = _folder.PathOf("sidecar");
        File.Copy(ProjectTree.Executable, executable);
        _a = _owned.Push(new NetworkNamespace("a"));
        _httpbin = _owned.Push(new NetworkNamespace("httpbin"));
        _a.Connect(_httpbin, AddressOfA, AddressOfV1, "cable");
        _httpbin.AddAddress(AddressOfV2, "eth0");
        _a.Ip("route", "add", AddressOfV2, "dev", "cable");
        // The service's address belongs to nobody; it only has to be routable for a connection to begin.
        _a.Ip("route", "add", ServiceAddress, "dev", "cable");
        foreach (var pod in new[] { _a, _httpbin })
            pod.Run(executable, s_captureArguments).Expect();
        _callee = Run(_httpbin, executable, "httpbin-v1", calleesIdentity, delta, mutualTls);
        _caller = Run(_a, executable, "a", IdentityOfA, delta, mutualTls);
    }

    private SidecarProcess Run(NetworkNamespace pod, string executable, string name, string identity, bool delta, bool mutualTls)
    {
        var dump = ResourceReader.Read(ProjectTree.Shared($"testdata/istio/istiod-1.30/default.{name}.config_dump.json")).Resources;
        List<DiscoveredResource> resources =
        [
            .. dump.Select(resource => resource.TypeUrl == ResourceTypes.ClusterLoadAssignment ? Reachable(resource, mutualTls) : resource),
            .. IstiodSecrets.Resources(_ca, identity),
        ];
        string socket = _folder.PathOf(name);
        var istiod = _owned.Push(new IstiodReplay(socket, resources));
        string node = $"sidecar~{AddressOfA}~{name}.default~default.svc.cluster.local";
        string bootstrap = _folder.Write(name + ".json", IstiodReplay.Bootstrap(node, socket, delta));
        var sidecar = _owned.Push(SidecarProcess.StartWithin(pod, executable, bootstrap, isBootstrap: true));
        sidecar.WaitUntil(() => istiod.Pump() && istiod.Asked.Contains(ResourceTypes.Listener) && sidecar.IsReady, "did not become ready");
        Assert.Empty(istiod.Refusals);
        return sidecar;
    }

    private static DiscoveredResource Reachable(DiscoveredResource resource, bool mutualTls)
    {
        var assignment = WireEndpoint.ClusterLoadAssignment.Parser.ParseFrom(resource.Bytes.Span);
        foreach (var endpoint in assignment.Endpoints.SelectMany(locality => locality.LbEndpoints))
        {
            var address = endpoint.Endpoint.Address.SocketAddress;
            address.Address = address.Address switch { "127.0.0.1" => AddressOfV1, "127.0.0.2" => AddressOfV2, var other => other };
            if (!mutualTls)
                endpoint.Metadata.FilterMetadata.Remove("envoy.transport_socket_match");
        }
        return resource with { Bytes = assignment.ToByteArray() };
    }
}
