using System;
using System.Collections.Generic;
using Sidecar.Http.H2;
using Sidecar.Linux;
using Sidecar.Net;
using Sidecar.Telemetry;
using Sidecar.Tests.Harness;
using Sidecar.Tls;
using Xunit;

namespace Sidecar.Tests.Scenarios;

/// <summary>
/// Steady state allocates nothing: ten thousand requests through the whole data plane, on one loop, counted by the runtime. The two ends are part of the
/// thread and so of the count: they send bytes made before and read into one buffer.
/// </summary>
public class AllocationTests
{
    private const int WarmUp = 2_000;
    private const int Requests = 10_000;

    private static readonly byte[] s_request = "POST /calculate HTTP/1.1\r\nhost: example.org\r\nuser-agent: test\r\nx-b3-traceid: 1\r\ncontent-length: 5\r\n\r\nhello"u8.ToArray();
    private static readonly byte[] s_response = "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\nx-app: 1\r\ncontent-length: 5\r\n\r\nworld"u8.ToArray();

    [Fact]
    public void Http1ToHttp1_TenThousandRequests_AllocateNothing()
    {
        using var plane = DataPlaneHarness.Http(out var upstream);
        using var pair = new Pair(plane, plane.Connect(), upstream, s_request);
        Assert.Equal(0, pair.Measure(new RawEnd(s_request, 150), new RawEnd(s_response, 100)));
    }

    [Fact]
    public void Http1ToHttp2_TenThousandRequests_AllocateNothing()
    {
        using var plane = DataPlaneHarness.Http(out var upstream, http2Upstream: true);
        using var pair = new Pair(plane, plane.Connect(), upstream, s_request);
        Assert.Equal(0, pair.Measure(new RawEnd(s_request, 150), new Http2End(isServer: true)));
    }

    [Fact]
    public void Http2ToHttp2_TenThousandRequests_AllocateNothing()
    {
        using var plane = DataPlaneHarness.Http(out var upstream, http2Upstream: true);
        using var pair = new Pair(plane, plane.Connect(), upstream, Http2End.Opening(isServer: false));
        Assert.Equal(0, pair.Measure(new Http2End(isServer: false), new Http2End(isServer: true)));
    }

    [Fact]
    public void Http2ToHttp1_TenThousandRequests_AllocateNothing()
    {
        using var plane = DataPlaneHarness.Http(out var upstream);
        using var pair = new Pair(plane, plane.Connect(), upstream, Http2End.Opening(isServer: false));
        Assert.Equal(0, pair.Measure(new Http2End(isServer: false), new RawEnd(s_response, 100)));
    }

    [Fact]
    public void Tcp_TenThousandEchoes_AllocateNothing()
    {
        using var plane = new DataPlaneHarness();
        var upstream = plane.Upstream();
        plane.Apply(new TestSnapshot().Cluster("up", false, upstream.Port).Tcp("tcp", 0, "up"));
        using var pair = new Pair(plane, plane.Connect("tcp"), upstream, []);
        Assert.Equal(0, pair.Measure(new RawEnd(new byte[700], 700), new RawEnd(new byte[700], 700)));
    }

    // Policies that ask for all that costs something to ask for; the last one of both engines is the one that matches.
    private static readonly string s_rbac = RbacFilter(
        Policy("a", "{\"url_path\": {\"path\": {\"safe_regex\": {\"regex\": \"/(x|y)+\"}}}}", "{\"any\": true}"),
        Policy("b", "{\"header\": {\"name\": \"x-b3-traceid\", \"string_match\": {\"suffix\": \"2\"}}}", "{\"remote_ip\": {\"address_prefix\": \"10.0.0.0\", \"prefix_len\": 8}}"),
        Policy("c", "{\"destination_port\": 1}", "{\"metadata\": {\"filter\": \"f\", \"path\": [{\"key\": \"k\"}], \"value\": {\"present_match\": true}}}"),
        Policy("d", "{\"header\": {\"name\": \":method\", \"present_match\": true}}", "{\"authenticated\": {\"principal_name\": {\"safe_regex\": {\"regex\": \"spiffe://td/c.*t\"}}}}"));

    private static string Policy(string name, string permission, string principal) => $"\"{name}\": {{\"permissions\": [{permission}], \"principals\": [{principal}]}}";

    private static string RbacFilter(params string[] policies)
    {
        string rules = "{\"policies\": {" + string.Join(',', policies) + "}}";
        return "{\"name\": \"envoy.filters.http.rbac\", \"typed_config\": {\"@type\": \"type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC\", \"rules\": "
            + rules + ", \"shadow_rules\": " + rules + ", \"track_per_rule_stats\": true}}";
    }

    // The policies of both engines are asked each time that bytes come; the last one is the one that matches.
    [Fact]
    public void TcpBehindRbac_TenThousandEchoes_AllocateNothing()
    {
        string rules = "{\"policies\": {" + string.Join(',',
            Policy("a", "{\"requested_server_name\": {\"safe_regex\": {\"regex\": \"(x|y)+\"}}}", "{\"any\": true}"),
            Policy("b", "{\"destination_port\": 1}", "{\"authenticated\": {\"principal_name\": {\"prefix\": \"spiffe://\"}}}"),
            Policy("c", "{\"any\": true}", "{\"metadata\": {\"filter\": \"f\", \"path\": [{\"key\": \"k\"}], \"value\": {\"present_match\": true}}}"),
            Policy("d", "{\"destination_ip\": {\"address_prefix\": \"127.0.0.0\", \"prefix_len\": 8}}", "{\"direct_remote_ip\": {\"address_prefix\": \"127.0.0.1\", \"prefix_len\": 32}}")) + "}}";
        using var plane = new DataPlaneHarness();
        var upstream = plane.Upstream();
        plane.Apply(new TestSnapshot().Cluster("up", false, upstream.Port).Tcp("tcp", 0, "up").WithNetworkFilter("tcp", TestSnapshot.Fill("""
            {"name": "envoy.filters.network.rbac", "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.network.rbac.v3.RBAC",
             "stat_prefix": "tcp.", "enforcement_type": "CONTINUOUS", "rules": $rules, "shadow_rules": $rules}}
            """, ("rules", rules))));
        using (var pair = new Pair(plane, plane.Connect("tcp"), upstream, []))
            Assert.Equal(0, pair.Measure(new RawEnd(new byte[700], 700), new RawEnd(new byte[700], 700)));
        Assert.InRange(plane.Stat("tcp.rbac.allowed"), Requests, long.MaxValue);
        Assert.Equal((plane.Stat("tcp.rbac.allowed"), 0), (plane.Stat("tcp.rbac.shadow_allowed"), plane.Stat("tcp.rbac.denied")));
    }

    // Certificates on both sides; RBAC by the identity, which goes upstream in x-forwarded-client-cert. The client's own TLS is in the count, too.
    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void HttpOverMutualTls_TenThousandRequests_AllocateNothing(bool http2)
    {
        using var ca = new TestCa();
        using var plane = new DataPlaneHarness();
        var upstream = plane.Upstream();
        string manager = """ "forward_client_cert_details": "APPEND_FORWARD", "set_current_client_cert_details": {"uri": true, "subject": true} """;
        var pair = ca.Server("a.test");
        plane.Apply(new TestSnapshot().Cluster("up", false, upstream.Port).Http("http", 0, TestSnapshot.To("up"), manager).Tls("http", TestSnapshot.Fill("""
            "require_client_certificate": true, "common_tls_context": {"alpn_protocols": ["h2", "http/1.1"],
             "tls_certificates": [{"certificate_chain": {"inline_string": $chain}, "private_key": {"inline_string": $key}}],
             "validation_context": {"trusted_ca": {"inline_string": $ca},
              "match_typed_subject_alt_names": [{"san_type": "URI", "matcher": {"prefix": "spiffe://td/"}}]}}
            """, ("chain", Json(pair.ChainPem)), ("key", Json(pair.KeyPem)), ("ca", Json(ca.Pem)))).WithHttpFilter("http", s_rbac));
        var context = TestTls.Client(ca.Spiffe("spiffe://td/client"), new ValidationOptions { Authorities = TestTls.Authorities(ca) },
            o => o with { MaxVersion = OpenSsl.Tls13, Alpn = [http2 ? "h2" : "http/1.1"] });
        var far = new TlsClient(plane, context);
        End client = http2 ? new Http2End(isServer: false) : new RawEnd(s_request, 150);
        using (var measured = new Pair(plane, far, upstream, http2 ? Http2End.Opening(isServer: false) : s_request))
            Assert.Equal(0, measured.Measure(client, new RawEnd(s_response, 100)));
        Assert.Equal(1, plane.Stat("http.http.downstream_cx_ssl_total"));
        Assert.InRange(plane.Stat("http.http.rbac.policy.d.allowed"), Requests, long.MaxValue);
        Assert.Equal(0, plane.Stat("http.http.rbac.denied"));
    }

    private static string Json(string text) => System.Text.Json.JsonSerializer.Serialize(text);

    /// <summary>A socket's far end.</summary>
    private abstract class FarEnd : IDisposable
    {
        internal abstract void Send(ReadOnlySpan<byte> bytes);

        /// <summary>Bytes that are there; 0 for none.</summary>
        internal abstract int Receive(Span<byte> into);
        public abstract void Dispose();
    }

    private sealed class PlainEnd(TestPeer peer) : FarEnd
    {
        internal override void Send(ReadOnlySpan<byte> bytes)
        {
            var sent = Sockets.Send(peer.Fd, bytes);
            if (!sent.Ok || sent.Value != bytes.Length)
                Assert.Fail("the test's own socket is full");
        }

        internal override int Receive(Span<byte> into) => Sockets.Receive(peer.Fd, into) is { Ok: true } got ? (int)got.Value : 0;

        public override void Dispose() => peer.Dispose();
    }

    /// <summary>A connection of our own over TLS, in the same loop.</summary>
    private sealed class TlsClient : FarEnd
    {
        private readonly Received _received = new();
        private readonly Connection _connection;

        internal TlsClient(DataPlaneHarness plane, TlsContext context)
        {
            var address = plane.Listeners.Find("http")!.Sockets[0].Address;
            var made = Sockets.OpenStream(address.Family);
            Sockets.Connect(made.Fd, address.ToSocketAddress());
            _connection = Connection.Connecting(plane.Loop, made.Fd, address, TlsTransport.Connect(plane.Loop, 0, context, this, [], default), _received, 0)!;
            plane.Loop.Until(() => _received.IsConnected);
        }

        internal override void Send(ReadOnlySpan<byte> bytes) => _connection.Write(bytes);

        internal override int Receive(Span<byte> into) => _received.Take(into);

        public override void Dispose() => _connection.Close(Failure.None);

        private sealed class Received : ConnectionHandler
        {
            private readonly byte[] _bytes = new byte[64 * 1024];
            private int _length;

            internal bool IsConnected { get; private set; }

            internal int Take(Span<byte> into)
            {
                int length = _length;
                _bytes.AsSpan(0, length).CopyTo(into);
                _length = 0;
                return length;
            }

            internal override void OnConnected(Connection connection) => IsConnected = true;

            internal override int OnData(Connection connection, ReadOnlySpan<byte> data)
            {
                data.CopyTo(_bytes.AsSpan(_length));
                _length += data.Length;
                return data.Length;
            }

            internal override void OnEndOfStream(Connection connection)
            {
            }

            internal override void OnClosed(Connection connection, Failure reason)
            {
            }
        }
    }

    /// <summary>What one end says, and when the other has said all: allocates nothing.</summary>
    private abstract class End
    {
        internal abstract ReadOnlySpan<byte> Next();
        internal abstract bool IsComplete(ReadOnlySpan<byte> received);
    }

    /// <summary>The same bytes every time; the other side's message is at least so long.</summary>
    private sealed class RawEnd(byte[] bytes, int awaitedMin) : End
    {
        internal override ReadOnlySpan<byte> Next() => bytes;
        internal override bool IsComplete(ReadOnlySpan<byte> received) => received.Length >= awaitedMin;
    }

    /// <summary>A request or response on the next stream, and the window for what came.</summary>
    private sealed class Http2End : End
    {
        private readonly byte[] _message;
        private readonly bool _isServer;
        private uint _stream;

        internal Http2End(bool isServer)
        {
            _isServer = isServer;
            var head = isServer ? H2.Block((":status", "200"), ("content-type", "text/plain")) : H2.Post(("user-agent", "test"));
            _message = H2.Join(H2.Headers(1, head, end: false), H2.Data(1, isServer ? "world" : "hello", end: true), H2.WindowUpdate(0, 5));
            _stream = 1;
        }

        internal static byte[] Opening(bool isServer) =>
            H2.Join(isServer ? [] : H2.Preface, H2.Settings(), H2.Frame(FrameType.Settings, FrameFlags.Ack, 0));

        internal override ReadOnlySpan<byte> Next()
        {
            int data = FrameHeader.Size + ((_message[0] << 16) | (_message[1] << 8) | _message[2]);
            Put(5);
            Put(data + 5);
            _stream += 2;
            return _message;
        }

        // Whole frames only, the last of them ends a stream.
        internal override bool IsComplete(ReadOnlySpan<byte> received)
        {
            bool ended = false;
            while (received.Length >= FrameHeader.Size)
            {
                var header = FrameHeader.Read(received);
                if (received.Length < FrameHeader.Size + header.Length)
                    return false;
                ended |= header.Type is FrameType.Data or FrameType.Headers && (header.Flags & FrameFlags.EndStream) != 0;
                received = received[(FrameHeader.Size + header.Length)..];
            }
            return ended;
        }

        private void Put(int at)
        {
            _message[at] = (byte)(_stream >> 24);
            _message[at + 1] = (byte)(_stream >> 16);
            _message[at + 2] = (byte)(_stream >> 8);
            _message[at + 3] = (byte)_stream;
        }
    }

    /// <summary>A client and the server behind the proxy, turn by turn.</summary>
    private sealed class Pair(DataPlaneHarness plane, FarEnd client, FakeUpstream upstream, byte[] opening) : IDisposable
    {
        internal Pair(DataPlaneHarness plane, TestPeer client, FakeUpstream upstream, byte[] opening)
            : this(plane, new PlainEnd(client), upstream, opening)
        {
        }

        private readonly byte[] _buffer = new byte[64 * 1024];

        internal long Measure(End clientEnd, End serverEnd)
        {
            if (opening.Length > 0 && clientEnd is Http2End)
                client.Send(opening);
            client.Send(clientEnd.Next());
            var accepted = upstream.Accept();
            if (serverEnd is Http2End)
            {
                accepted.Send(Http2End.Opening(isServer: true));
                SkipPreface(accepted);
            }
            var server = new PlainEnd(accepted);
            Finish(server, serverEnd, clientEnd);
            Run(server, clientEnd, serverEnd, WarmUp);
            long before = GC.GetAllocatedBytesForCurrentThread();
            Run(server, clientEnd, serverEnd, Requests);
            return GC.GetAllocatedBytesForCurrentThread() - before;
        }

        private void Run(FarEnd server, End clientEnd, End serverEnd, int count)
        {
            for (int i = 0; i < count; i++)
            {
                client.Send(clientEnd.Next());
                Finish(server, serverEnd, clientEnd);
            }
        }

        private void Finish(FarEnd server, End serverEnd, End clientEnd)
        {
            Await(server, serverEnd);
            server.Send(serverEnd.Next());
            Await(client, clientEnd);
            plane.Loop.Step(2);
        }

        private void Await(FarEnd peer, End end)
        {
            int length = 0;
            for (int turn = 0; turn < 10_000; turn++)
            {
                plane.Loop.Step();
                length += peer.Receive(_buffer.AsSpan(length));
                if (length > 0 && end.IsComplete(_buffer.AsSpan(0, length)))
                    return;
            }
            Assert.Fail($"nothing came: {System.Text.Encoding.Latin1.GetString(_buffer, 0, length)} {plane.Loop.FirstFault}");
        }

        private void SkipPreface(TestPeer server)
        {
            plane.Loop.Until(() =>
            {
                server.Receive(H2.Preface.Length - server.Received.Count);
                return server.Received.Count == H2.Preface.Length;
            });
        }

        public void Dispose() => client.Dispose();
    }
}
