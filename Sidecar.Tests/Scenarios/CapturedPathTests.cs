using System;
using System.IO;
using System.Linq;
using Sidecar.Tests.Harness;
using Xunit;

namespace Sidecar.Tests.Scenarios;

/// <summary>
/// Two Pods, a caller and a callee, each with its own capture rules and its own sidecar, in every form capture has: iptables and
/// nftables, REDIRECT and TPROXY, IPv4, IPv6 and both. Rules alone are tested in Capture; here they carry traffic.
/// </summary>
[Trait("Category", "Linux")]
[Collection(ExecutableCollection.Name)]
public sealed class CapturedPathTests
{
    private const int AppUid = 1338, ClientUid = 1339;
    private static readonly Family s_v4 = new("10.244.5.1", "10.244.5.3", "10.244.5.2", "127.0.0.6", "0.0.0.0");
    private static readonly Family s_v6 = new("fd00:5::1", "fd00:5::3", "fd00:5::2", "::6", "::");

    [SkippableTheory]
    [InlineData("REDIRECT", false, "v4")]
    [InlineData("REDIRECT", false, "v6")]
    [InlineData("REDIRECT", true, "v4")]
    [InlineData("REDIRECT", true, "v6")]
    [InlineData("TPROXY", false, "v4")]
    [InlineData("TPROXY", false, "v6")]
    [InlineData("TPROXY", true, "v4")]
    [InlineData("TPROXY", true, "v6")]
    public void TwoHundredRequests_GoThroughBothSidecars(string mode, bool nftables, string family)
    {
        var ip = family == "v4" ? s_v4 : s_v6;
        using var pods = new Pods(mode, nftables, ip);
        var answers = pods.Call($"http://{ip.Host(ip.Callee)}:8888/?n=[1-200]").Expect().Lines;
        Assert.Equal(200, answers.Length);
        // The proxy has seen the caller's address and the one that was called.
        Assert.All(answers, answer => Assert.Equal($"app from {pods.SeenByApp(ip)} for {ip.Caller} {ip.Host(ip.Callee)}:8888", answer));
        Assert.Equal(200, pods.CallerSidecar.Stat("http.outbound.downstream_rq_2xx"));
        Assert.Equal(200, pods.CallerSidecar.Stat("cluster.outbound|8888||callee.upstream_rq_total"));
        Assert.Equal(200, pods.CalleeSidecar.Stat("cluster.inbound|8888||.upstream_rq_total"));
    }

    [SkippableTheory]
    [InlineData("REDIRECT", false, "v6")]
    [InlineData("REDIRECT", true, "v4")]
    [InlineData("TPROXY", false, "v4")]
    [InlineData("TPROXY", false, "v6")]
    [InlineData("TPROXY", true, "v6")]
    public void TcpToAPortNobodyConfigured_PassesThroughBothSidecars(string mode, bool nftables, string family)
    {
        var ip = family == "v4" ? s_v4 : s_v6;
        using var pods = new Pods(mode, nftables, ip);
        var (server, port) = Peers.TcpServer(pods.Callee, AppUid, ip.Any, 9080);
        using (server)
            Assert.Equal("HALF-CLOSE WORKS", Peers.TcpClient(pods.Caller, ClientUid, ip.Callee, port, "half-close works").Expect().Output.Trim());
        Assert.Equal(1, pods.CallerSidecar.Stat("cluster.PassthroughCluster.upstream_cx_total"));
        Assert.Equal(1, pods.CalleeSidecar.Stat("cluster.InboundPassthroughCluster.upstream_cx_total"));
    }

    [SkippableTheory]
    [InlineData("REDIRECT", false)]
    [InlineData("REDIRECT", true)]
    [InlineData("TPROXY", false)]
    [InlineData("TPROXY", true)]
    public void DualStack_OneSidecarTakesBothFamilies(string mode, bool nftables)
    {
        using var pods = new Pods(mode, nftables, s_v4, s_v6);
        foreach (var ip in new[] { s_v4, s_v6 })
        {
            var answers = pods.Call($"http://{ip.Host(ip.Callee)}:8888/?n=[1-100]").Expect().Lines;
            Assert.Equal(100, answers.Count(answer => answer == $"app from {pods.SeenByApp(ip)} for {ip.Caller} {ip.Host(ip.Callee)}:8888"));
        }
        Assert.Equal(200, pods.CallerSidecar.Stat("http.outbound.downstream_rq_2xx"));
        Assert.Equal(200, pods.CalleeSidecar.Stat("cluster.inbound|8888||.upstream_rq_total"));
    }

    [SkippableTheory]
    [InlineData(false)]
    [InlineData(true)]
    public void Tproxy_TwoCallers_NoneIsEverTakenForTheOther(bool nftables)
    {
        using var pods = new Pods("TPROXY", nftables, s_v4, s_v6);
        foreach (var ip in new[] { s_v4, s_v6 })
        {
            pods.Caller.AddAddress(ip.OtherCaller, "cable");
            // As the proxy's user, which is not captured: the callee's sidecar is called from both addresses.
            foreach (string caller in new[] { ip.Caller, ip.OtherCaller, ip.Caller, ip.OtherCaller })
            {
                var url = $"http://{ip.Host(ip.Callee)}:8888/?n=[1-5]";
                var answers = pods.Caller.RunAs(SidecarProcess.ProxyUid, "curl", "-sS", "--max-time", "60", "--interface", caller, url).Expect().Lines;
                Assert.Equal(5, answers.Count(answer => answer == $"app from {caller} for {caller} {ip.Host(ip.Callee)}:8888"));
            }
        }
        // Each caller's second client has found the first one's connection to the app.
        Assert.Equal(4, pods.CalleeSidecar.Stat("cluster.inbound|8888||.upstream_cx_total"));
    }

    [SkippableTheory]
    [InlineData("REDIRECT", false)]
    [InlineData("REDIRECT", true)]
    [InlineData("TPROXY", false)]
    [InlineData("TPROXY", true)]
    public void CleanupWhileTrafficFlows_LeavesNothing_AndCaptureCanComeBack(string mode, bool nftables)
    {
        using var pods = new Pods(mode, nftables, s_v4, s_v6);
        var end = pods.PathOf("end");
        using var v4 = Peers.HttpClientUntil(pods.Caller, ClientUid, $"http://{s_v4.Callee}:8888/", end);
        using var v6 = Peers.HttpClientUntil(pods.Caller, ClientUid, $"http://[{s_v6.Callee}]:8888/", end);

        foreach (var pod in new[] { pods.Callee, pods.Caller })
        {
            pods.Capture(pod, "--cleanup-only").Expect();
            Assert.Equal(pods.Before(pod), Pods.State(pod));
            pods.Capture(pod, "--cleanup-only").Expect();
            Assert.Equal(pods.Before(pod), Pods.State(pod));
        }
        // A new connection now goes from client to app, with nobody between. (One that was redirected is reset: with the last rule
        // that needs it the kernel ends connection tracking in the Pod, and the translation of addresses with it.)
        foreach (var ip in new[] { s_v4, s_v6 })
            Assert.Equal($"app from {ip.Caller}", pods.Call($"http://{ip.Host(ip.Callee)}:8888/").Expect().Output.Trim());

        pods.Capture(pods.Callee).Expect();
        pods.Capture(pods.Caller).Expect();
        File.WriteAllText(end, "");
        foreach (var (client, ip) in new[] { (v4, s_v4), (v6, s_v6) })
        {
            Assert.Equal(0, client.WaitForExit());
            // By a sidecar again. What the caller's has open from before does not survive the callee's capture going or coming, and costs the request
            // that finds out: by REDIRECT it is reset; by TPROXY, whose target in the kernel gives packets of a connection that it does not know
            // to transparent sockets only, a connection to the app itself from the time between is silent until the client gives up.
            Assert.EndsWith($" for {ip.Caller} {ip.Host(ip.Callee)}:8888", client.Log);
        }
    }

    /// <summary>The addresses of one IP version: the two Pods (a second one of the caller), what the proxy binds towards its app, and the wildcard.</summary>
    private sealed record Family(string Caller, string OtherCaller, string Callee, string ProxySource, string Any)
    {
        internal bool IsV6 => Any == "::";
        internal string Host(string address) => IsV6 ? $"[{address}]" : address;
        internal string Prefix(string address) => TestSnapshot.Fill("""{"address_prefix": "$address", "prefix_len": $length}""", ("address", address), ("length", IsV6 ? "128" : "32"));
    }

    /// <summary>Two captured Pods joined by a cable, a sidecar in each, the app in the callee.</summary>
    private sealed class Pods : IDisposable
    {
        private readonly Owned _owned = new();
        private readonly string[] _captureArguments;
        private readonly bool _tproxy;
        private readonly Family[] _families;
        private TestFolder _folder = null!;
        private string _executable = "", _callerBefore = "", _calleeBefore = "";

        internal Pods(string mode, bool nftables, params Family[] families)
        {
            Command.RequireRoot();
            SidecarProcess.Require();
            Command.Require("ip", "ss", "setpriv", "iptables-restore", "iptables-save", "ip6tables-restore", "ip6tables-save", "nft", "curl");
            _tproxy = mode == "TPROXY";
            _families = families;
            // What the injector gives, and for the other address family what the operator adds.
            _captureArguments =
            [
                "istio-iptables", "-p", "15001", "-z", "15006", "-u", "1337", "-m", mode, "-i", "*", "-x", "", "-b", "*", "-d", "15090,15021,15020",
                .. families.Length > 1 ? ["--dual-stack"] : Array.Empty<string>(), .. nftables ? ["--native-nftables"] : Array.Empty<string>(),
            ];
            try
            {
                Build();
            }
            catch
            {
                Dispose();
                throw;
            }
        }

        internal NetworkNamespace Caller { get; private set; } = null!;
        internal NetworkNamespace Callee { get; private set; } = null!;
        internal SidecarProcess CallerSidecar { get; private set; } = null!;
        internal SidecarProcess CalleeSidecar { get; private set; } = null!;

        internal CommandResult Call(string url) => Caller.RunAs(ClientUid, "curl", "-sS", "--max-time", "60", url);

        internal CommandResult Capture(NetworkNamespace pod, params string[] more) => pod.Run(_executable, [.. _captureArguments, .. more]);

        /// <summary>By REDIRECT a request comes to the app from the proxy's own loopback address, by TPROXY with original_src from the caller's.</summary>
        internal string SeenByApp(Family ip) => _tproxy ? ip.Caller : ip.ProxySource;

        internal string PathOf(string name) => _folder.PathOf(name);

        /// <summary>The pod's state as it was before capture.</summary>
        internal string Before(NetworkNamespace pod) => pod == Caller ? _callerBefore : _calleeBefore;

        /// <summary>
        /// Everything that capture writes to: rules of both kinds, routing rules, routes, addresses. Of iptables the rules and the chains
        /// that are nobody's but ours; the kernel's own chains appear when somebody looks.
        /// </summary>
        internal static string State(NetworkNamespace pod)
        {
            var rules = new[] { "iptables-save", "ip6tables-save" }.SelectMany(save => pod.Run(save).Expect().Lines)
                .Where(line => line.StartsWith("-A ", StringComparison.Ordinal) || line.StartsWith(":ISTIO_", StringComparison.Ordinal));
            var tables = pod.Run("nft", "list", "tables").Expect().Lines.Where(line => line.Contains("istio", StringComparison.Ordinal));
            return string.Join('\n',
            [
                .. rules, .. tables, pod.Run("ip", "rule").Expect().Output, pod.Run("ip", "-6", "rule").Expect().Output,
                pod.Run("ip", "route", "show", "table", "all", "dev", "lo").Expect().Output, pod.Run("ip", "-br", "address", "show", "dev", "lo").Expect().Output,
            ]);
        }

        private void Build()
        {
            _folder = _owned.Push(new TestFolder());
            _executable = _folder.PathOf("sidecar");
            File.Copy(ProjectTree.Executable, _executable);

            Caller = _owned.Push(new NetworkNamespace("caller"));
            Callee = _owned.Push(new NetworkNamespace("callee"));
            Caller.Connect(Callee, _families[0].Caller, _families[0].Callee, "cable");
            foreach (var ip in _families.Skip(1))
                Caller.ConnectAlso(Callee, ip.Caller, ip.Callee, "cable");

            _callerBefore = State(Caller);
            _calleeBefore = State(Callee);
            Capture(Caller).Expect();
            Capture(Callee).Expect();
            Assert.NotEqual(_callerBefore, State(Caller));
            Assert.NotEqual(_calleeBefore, State(Callee));

            // The app listens on the Pod's addresses, as apps do; ORIGINAL_DST brings a connection where it was going.
            foreach (var ip in _families)
                _owned.Push(Peers.HttpServer(Callee, AppUid, ip.Callee, 8888).Server);
            CalleeSidecar = Run(Callee, "callee");
            CallerSidecar = Run(Caller, "caller");
        }

        private SidecarProcess Run(NetworkNamespace pod, string name)
        {
            var snapshot = _folder.Write(name + ".json", Snapshot());
            return _owned.Push(_tproxy ? SidecarProcess.RunTransparentWithin(pod, _executable, snapshot) : SidecarProcess.RunWithin(pod, _executable, snapshot));
        }

        // The shapes that istiod sends, for both Pods alike: what belongs to the other direction is not used.
        private string Snapshot() => TestSnapshot.Fill("""
            {"configs": [
             {"@type": "type.googleapis.com/envoy.admin.v3.ClustersConfigDump", "dynamic_active_clusters": [$clusters]},
             {"@type": "type.googleapis.com/envoy.admin.v3.ListenersConfigDump", "dynamic_listeners": [$outbound, $service, $inbound]}
            ]}
            """,
            ("clusters", string.Join(',', OriginalDst("PassthroughCluster", towardsApp: false), OriginalDst("outbound|8888||callee", towardsApp: false),
                OriginalDst("inbound|8888||", towardsApp: true), OriginalDst("InboundPassthroughCluster", towardsApp: true))),
            ("outbound", Listener("virtualOutbound", 15001, TestSnapshot.Fill("""
                "traffic_direction": "OUTBOUND", "use_original_dst": true, "filter_chains": [{"filters": [$tcp]}]
                """, ("tcp", TcpTo("PassthroughCluster"))))),
            ("service", Listener("callee_8888", 8888, TestSnapshot.Fill("""
                "traffic_direction": "OUTBOUND", "bind_to_port": false, "filter_chains": [{"filters": [$http]}]
                """, ("http", HttpTo("outbound", "outbound|8888||callee"))))),
            ("inbound", Listener("virtualInbound", 15006, TestSnapshot.Fill("""
                "traffic_direction": "INBOUND", "transparent": $transparent,
                "listener_filters": [{"name": "envoy.filters.listener.original_dst", "typed_config": {
                 "@type": "type.googleapis.com/envoy.extensions.filters.listener.original_dst.v3.OriginalDst"}} $source],
                "filter_chains": [
                 {"filter_chain_match": {"destination_port": 8888, "prefix_ranges": [$own]}, "filters": [$http]},
                 {"filter_chain_match": {"prefix_ranges": [{"address_prefix": "0.0.0.0", "prefix_len": 0}, {"address_prefix": "::", "prefix_len": 0}]}, "filters": [$tcp]}]
                """, ("transparent", _tproxy ? "true" : "false"), ("source", !_tproxy ? "" : """
                , {"name": "envoy.filters.listener.original_src", "typed_config": {
                 "@type": "type.googleapis.com/envoy.extensions.filters.listener.original_src.v3.OriginalSrc", "mark": 1337}}
                """), ("own", string.Join(',', _families.Select(ip => ip.Prefix(ip.Callee)))),
                ("http", HttpTo("inbound", "inbound|8888||")), ("tcp", TcpTo("InboundPassthroughCluster"))))));

        private string Listener(string name, int port, string members) => TestSnapshot.Fill("""
            {"name": "$name", "active_state": {"listener": {"@type": "type.googleapis.com/envoy.config.listener.v3.Listener", "name": "$name",
             "address": $address, "additional_addresses": [$others], $members}}}
            """, ("name", name), ("members", members), ("address", SocketAddress(_families[0].Any, port)),
            ("others", string.Join(',', _families.Skip(1).Select(ip => TestSnapshot.Fill("""{"address": $address}""", ("address", SocketAddress(ip.Any, port)))))));

        private static string HttpTo(string prefix, string cluster) => TestSnapshot.Fill("""
            {"name": "envoy.filters.network.http_connection_manager", "typed_config": {
             "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager", "stat_prefix": "$prefix",
             "route_config": {"name": "$prefix", "virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "$cluster"}}]}],
              "request_headers_to_add": [{"header": {"key": "x-seen", "value": "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT% %DOWNSTREAM_LOCAL_ADDRESS%"},
                                          "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}]},
             "http_filters": [{"name": "envoy.filters.http.router", "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"}}]}}
            """, ("prefix", prefix), ("cluster", cluster));

        private static string TcpTo(string cluster) => TestSnapshot.Fill("""
            {"name": "envoy.filters.network.tcp_proxy", "typed_config": {
             "@type": "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy", "stat_prefix": "$cluster", "cluster": "$cluster"}}
            """, ("cluster", cluster));

        // Towards the app a connection comes from the address by which the rules know the proxy's; there is one in each family.
        private string OriginalDst(string name, bool towardsApp) => TestSnapshot.Fill("""
            {"cluster": {"@type": "type.googleapis.com/envoy.config.cluster.v3.Cluster", "name": "$name", "type": "ORIGINAL_DST", "lb_policy": "CLUSTER_PROVIDED",
             "connect_timeout": "10s", "upstream_bind_config": $bind}}
            """, ("name", name), ("bind", !towardsApp ? "null" : TestSnapshot.Fill("""
            {"source_address": $source, "extra_source_addresses": [$others]}
            """, ("source", Source(_families[0])),
            ("others", string.Join(',', _families.Skip(1).Select(ip => TestSnapshot.Fill("""{"address": $address}""", ("address", Source(ip)))))))));

        private static string Source(Family ip) => TestSnapshot.Fill("""{"address": "$address", "port_value": 0}""", ("address", ip.ProxySource));

        private static string SocketAddress(string address, int port) => TestSnapshot.Fill("""{"socket_address": {"address": "$address", "port_value": $port}}""",
            ("address", address), ("port", port.ToString(System.Globalization.CultureInfo.InvariantCulture)));

        public void Dispose() => _owned.Dispose();
    }
}
