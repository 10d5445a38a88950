using System;
using System.Globalization;
using System.Net;
using System.Net.Sockets;
using System.Text;
using Sidecar.Tests.Harness;
using Xunit;

namespace Sidecar.Tests.Scenarios;

/// <summary>
/// One port of the published executable for everything: TLS handed on by its server name to servers that terminate it themselves, TLS terminated here, HTTP in
/// the clear of both versions, and bytes that are none of these; with clients and servers that are not ours, curl and openssl.
/// </summary>
[Trait("Category", "Linux")]
[Collection(ExecutableCollection.Name)]
public sealed class InspectionTests : IDisposable
{
    private const string Types = "type.googleapis.com/envoy.extensions.";

    private readonly TestCa _ca = new();
    private readonly TestFolder _folder = new();
    private readonly Owned _owned = new();
    private readonly int _port = FreePort.Next();
    private readonly string _authority;

    public InspectionTests() => _authority = _folder.Write("ca.pem", _ca.Pem);

    [SkippableFact]
    public void OnePort_TlsByServerName_TlsTerminated_HttpAndBytes()
    {
        SidecarProcess.Require();
        Command.Require("openssl", "curl");
        int a = Server("a.test"), b = Server("x.b.test");
        Save("mesh", _ca.Server("mesh.test"));
        var (capitals, bytes) = Peers.TcpServer();
        _owned.Push(capitals);
        var snapshot = new TestSnapshot().Cluster("a", false, a).Cluster("b", false, b).Cluster("bytes", false, bytes).Raw("in", _port, $$"""
            "listener_filters": [
             {"name": "envoy.filters.listener.tls_inspector", "typed_config": {"@type": "{{Types}}filters.listener.tls_inspector.v3.TlsInspector"} },
             {"name": "envoy.filters.listener.http_inspector", "typed_config": {"@type": "{{Types}}filters.listener.http_inspector.v3.HttpInspector"} }],
            "filter_chains": [
             {"filter_chain_match": {"server_names": ["a.test"]}, "filters": [{{Tcp("a")}}]},
             {"filter_chain_match": {"server_names": ["*.b.test"], "transport_protocol": "tls"}, "filters": [{{Tcp("b")}}]},
             {"filter_chain_match": {"server_names": ["mesh.test"]}, "filters": [{{Http("terminated")}}], "transport_socket": {"name": "envoy.transport_sockets.tls", "typed_config": {
              "@type": "{{Types}}transport_sockets.tls.v3.DownstreamTlsContext", "common_tls_context": {"alpn_protocols": ["h2", "http/1.1"],
               "tls_certificates": [{"certificate_chain": {"filename": "{{_folder.PathOf("mesh.pem")}}"}, "private_key": {"filename": "{{_folder.PathOf("mesh.key")}}"} }]} } } },
             {"filter_chain_match": {"transport_protocol": "raw_buffer", "application_protocols": ["http/1.1", "h2c"]}, "filters": [{{Http("plain")}}]},
             {"filter_chain_match": {"transport_protocol": "raw_buffer"}, "filters": [{{Tcp("bytes")}}]}]
            """);
        var sidecar = _owned.Push(SidecarProcess.Run(_folder.Write("s.json", snapshot.ToString())));

        // Each server has its own certificate, and curl and openssl accept no other for the name.
        Assert.Contains("s_server", Curl("https://a.test").Output);
        Assert.Contains("Verification: OK", Connect("x.b.test", "-tls1_3"));
        Assert.Contains("Verification: OK", Connect("x.b.test", "-tls1_2", "-alpn", "istio,http/1.1"));
        Assert.Equal("terminated", Curl("https://mesh.test", "--http1.1").Output);
        Assert.Equal("terminated", Curl("https://mesh.test", "--http2").Output);
        Assert.Equal("plain", Curl("http://a.test", "--http1.1").Output);
        Assert.Equal("plain", Curl("http://a.test", "--http2-prior-knowledge").Output);
        Assert.Equal("EHLO THERE", SendAndClose("ehlo there"));
        Assert.Contains(Peers.Curl(null, "--resolve", $"c.test:{_port}:127.0.0.1", $"https://c.test:{_port}/").ExitCode, new[] { 35, 56 });

        Assert.Equal(6, sidecar.Stat("tls_inspector.tls_found"));
        Assert.Equal(6, sidecar.Stat("tls_inspector.sni_found"));
        Assert.Equal(3, sidecar.Stat("tls_inspector.tls_not_found"));
        Assert.Equal(1, sidecar.Stat("http_inspector.http11_found"));
        Assert.Equal(1, sidecar.Stat("http_inspector.http2_found"));
        Assert.Equal(1, sidecar.Stat("http_inspector.http_not_found"));
        Assert.Equal(1, sidecar.Stat($"listener.127.0.0.1_{_port}.no_filter_chain_match"));
        Assert.Equal(2, sidecar.Stat($"listener.127.0.0.1_{_port}.ssl.handshake"));
    }

    private CommandResult Curl(string origin, string version = "--http1.1")
    {
        string host = origin[(origin.LastIndexOf('/') + 1)..];
        return Peers.Curl(null, version, "--cacert", _authority, "--resolve", $"{host}:{_port}:127.0.0.1", $"{origin}:{_port}/").Expect();
    }

    private string Connect(string name, params string[] more) => Command.Run(null, "Q\n", "openssl",
        ["s_client", "-connect", $"127.0.0.1:{_port}", "-servername", name, "-verify_hostname", name, "-CAfile", _authority, "-verify_return_error", .. more]).Expect().Output;

    private string SendAndClose(string text)
    {
        using var socket = new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp);
        socket.Connect(IPAddress.Loopback, _port);
        socket.Send(Encoding.ASCII.GetBytes(text));
        socket.Shutdown(SocketShutdown.Send);
        var answer = new StringBuilder();
        byte[] buffer = new byte[1024];
        while (socket.Receive(buffer) is > 0 and int got)
            answer.Append(Encoding.ASCII.GetString(buffer, 0, got));
        return answer.ToString();
    }

    /// <summary>openssl's own server, which answers every request with a page about the connection.</summary>
    private int Server(string name)
    {
        Save(name, _ca.Server(name));
        int port = FreePort.Next();
        var server = _owned.Push(new BackgroundProcess(null, null, "openssl", ["s_server", "-accept", "127.0.0.1:" + port.ToString(CultureInfo.InvariantCulture),
            "-cert", _folder.PathOf(name + ".pem"), "-key", _folder.PathOf(name + ".key"), "-www"]));
        server.WaitForListen(port);
        return port;
    }

    private void Save(string name, TestCert certificate)
    {
        _folder.Write(name + ".pem", certificate.ChainPem);
        _folder.Write(name + ".key", certificate.KeyPem);
    }

    private static string Tcp(string cluster) => $$"""
        {"name": "envoy.filters.network.tcp_proxy", "typed_config": {"@type": "{{Types}}filters.network.tcp_proxy.v3.TcpProxy", "stat_prefix": "{{cluster}}", "cluster": "{{cluster}}"} }
        """;

    private static string Http(string answer) => $$"""
        {"name": "envoy.filters.network.http_connection_manager", "typed_config": {
         "@type": "{{Types}}filters.network.http_connection_manager.v3.HttpConnectionManager", "stat_prefix": "{{answer}}",
         "route_config": {"name": "{{answer}}", "virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [{{TestSnapshot.Answer(answer)}}]}]},
         "http_filters": [{"name": "envoy.filters.http.router", "typed_config": {"@type": "{{Types}}filters.http.router.v3.Router"} }]} }
        """;

    public void Dispose()
    {
        _owned.Dispose();
        _folder.Dispose();
        _ca.Dispose();
    }
}
