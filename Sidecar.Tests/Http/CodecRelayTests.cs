using System;
using System.Text;
using Sidecar.Http;
using Sidecar.Http.H1;
using Sidecar.Http.H2;
using Sidecar.Memory;
using Sidecar.Telemetry;
using Xunit;

namespace Sidecar.Tests.Http;

/// <summary>
/// A message passed on from either protocol to either: client → (server codec, client codec) → server, all four combinations, over in-memory
/// connections. What a codec reads, the other one can write.
/// </summary>
public class CodecRelayTests
{
    [Theory]
    [InlineData(false, false)]
    [InlineData(false, true)]
    [InlineData(true, false)]
    [InlineData(true, true)]
    public void Exchange_WithBodiesAndTrailers(bool downstream2, bool upstream2)
    {
        var world = new World(downstream2, upstream2);
        var request = NewRequest("POST", ("te", "trailers"), ("x-a", "1"));
        var stream = world.Client.OpenStream(world.Response);
        stream.SendHead(request, false);
        stream.SendBody("ping"u8, false);
        world.Pump();
        Assert.Equal("POST /p a x-a=1 body=ping", world.Server.Seen);
        stream.SendBody("!"u8, false);
        stream.SendTrailers(Trailers("x-req"));
        world.Pump();
        Assert.Equal("POST /p a x-a=1 body=ping! trailers=x-req", world.Server.Seen);

        var server = world.Server.Stream;
        server.SendInformational(new ResponseHead { Status = 103 });
        var head = new ResponseHead { Status = 200 };
        head.Add("x-b"u8, "2"u8);
        server.SendHead(head, false);
        server.SendBody("pong"u8, false);
        server.SendTrailers(Trailers("grpc-status"));
        world.Pump();
        Assert.Equal("103 200 x-b=2 body=pong trailers=grpc-status", world.Response.Seen);
        Assert.Equal(0, world.Client.ActiveStreams);
    }

    [Theory]
    [InlineData(false, false)]
    [InlineData(false, true)]
    [InlineData(true, false)]
    [InlineData(true, true)]
    public void Exchange_WithoutBodies(bool downstream2, bool upstream2)
    {
        var world = new World(downstream2, upstream2);
        for (int i = 0; i < 3; i++)
        {
            world.Server.Seen = world.Response.Seen = "";
            world.Client.OpenStream(world.Response).SendHead(NewRequest("GET"), true);
            world.Pump();
            Assert.Equal("GET /p a x-a= end", world.Server.Seen);
            world.Server.Stream.SendHead(new ResponseHead { Status = 204 }, true);
            world.Pump();
            Assert.Equal("204 x-b= end", world.Response.Seen);
        }
    }

    [Theory]
    [InlineData(false, false)]
    [InlineData(false, true)]
    [InlineData(true, false)]
    [InlineData(true, true)]
    public void Upgrade_BecomesATunnel(bool downstream2, bool upstream2)
    {
        var world = new World(downstream2, upstream2);
        // HTTP/2 may ask for a tunnel only once the server's SETTINGS have offered it (RFC 8441 section 3).
        world.Client.OpenStream(world.Response).SendHead(NewRequest("GET"), true);
        world.Pump();
        world.Server.Stream.SendHead(new ResponseHead { Status = 204 }, true);
        world.Pump();
        world.Response.Seen = "";

        var stream = world.Client.OpenStream(world.Response);
        stream.SendHead(NewRequest("GET", ("connection", "upgrade"), ("upgrade", "websocket")), false);
        stream.SendBody("early"u8, false);
        world.Pump();
        Assert.StartsWith("GET /p a x-a= upgrade=websocket", world.Server.Seen, StringComparison.Ordinal);
        var accepted = new ResponseHead { Status = 101 };
        accepted.Add("upgrade"u8, "websocket"u8);
        accepted.Add("connection"u8, "upgrade"u8);
        world.Server.Stream.SendHead(accepted, false);
        world.Pump();
        world.Server.Stream.SendBody("hello"u8, false);
        stream.SendBody(" late"u8, false);
        world.Pump();
        Assert.Equal("GET /p a x-a= upgrade=websocket body=early late", world.Server.Seen);
        Assert.StartsWith("101 x-b= ", world.Response.Seen, StringComparison.Ordinal);
        Assert.EndsWith("body=hello", world.Response.Seen, StringComparison.Ordinal);
    }

    private static RequestHead NewRequest(string method, params (string Name, string Value)[] fields)
    {
        var head = new RequestHead();
        head.Add(HeaderId.Method, Memory(method));
        head.Add(HeaderId.Path, "/p"u8);
        head.Add(HeaderId.Authority, "a"u8);
        head.Add(HeaderId.Scheme, "http"u8);
        foreach (var (name, value) in fields)
            head.Add(Memory(name), Memory(value));
        return head;
    }

    private static byte[] Memory(string text) => Encoding.Latin1.GetBytes(text);

    private static HeaderMap Trailers(string name)
    {
        var map = new HeaderMap();
        map.Add(Memory(name), "0"u8);
        return map;
    }

    private static string Text(HeaderMap map, string name) => Encoding.Latin1.GetString(map.TryGet(Memory(name), out var value) ? value : default);

    /// <summary>Client, proxy and server, joined by two connections.</summary>
    private sealed class World
    {
        private static readonly Http1Options s_http1 = new() { EnableTrailers = true };
        private static readonly Http2Options s_http2 = new() { AllowConnect = true };

        private readonly Slab _slab = new();
        private readonly HttpCodec _proxyServer;
        private readonly HttpClientCodec _proxyClient;
        private readonly HttpCodec _server;

        internal readonly HttpClientCodec Client;
        internal readonly ResponseRecord Response = new();
        internal readonly RequestRecord Server = new();

        internal World(bool downstream2, bool upstream2)
        {
            Client = NewClient(downstream2);
            _proxyClient = NewClient(upstream2);
            _proxyServer = NewServer(downstream2, new Accept(stream => stream.Sink = new Up(stream, _proxyClient)));
            _server = NewServer(upstream2, new Accept(stream =>
            {
                Server.Stream = stream;
                stream.Sink = Server;
            }));
            Pump();
        }

        private HttpClientCodec NewClient(bool http2)
        {
            var output = new BufferChain(_slab);
            return http2 ? new Http2ClientCodec(output, new Quiet(), s_http2, new Http2Pools(_slab)) : new Http1ClientCodec(output, new Quiet(), s_http1);
        }

        private HttpCodec NewServer(bool http2, ServerCodecEvents events)
        {
            var output = new BufferChain(_slab);
            return http2 ? new Http2ServerCodec(output, events, s_http2, new Http2Pools(_slab)) : new Http1ServerCodec(output, events, s_http1);
        }

        private readonly byte[][] _pending = [[], [], [], []];

        /// <summary>Carries bytes both ways over both connections until nothing moves.</summary>
        internal void Pump()
        {
            while (Carry(0, Client, _proxyServer) | Carry(1, _proxyServer, Client) | Carry(2, _proxyClient, _server) | Carry(3, _server, _proxyClient))
            {
            }
        }

        private bool Carry(int wire, HttpCodec from, HttpCodec to)
        {
            byte[] more = new byte[from.Output.Length];
            from.Output.CopyTo(more);
            from.Output.Clear();
            _pending[wire] = [.. _pending[wire], .. more];
            if (_pending[wire].Length == 0 || !to.WantsInput)
                return false;
            var result = to.Feed(_pending[wire]);
            Assert.Equal(Failure.None, result.Error);
            _pending[wire] = _pending[wire][result.Consumed..];
            return result.Consumed > 0 || more.Length > 0;
        }
    }

    private sealed class Quiet : CodecEvents
    {
        internal override void OnOutput() { }
        internal override void OnWantsInput() { }
        internal override void OnStreamClosed(CodecStream stream) { }
    }

    private sealed class Accept(Action<ServerStream> onStream) : ServerCodecEvents
    {
        internal override void OnOutput() { }
        internal override void OnWantsInput() { }
        internal override void OnStreamClosed(CodecStream stream) { }
        internal override void OnNewStream(ServerStream stream) => onStream(stream);
    }

    private sealed class Up(ServerStream downstream, HttpClientCodec codec) : RequestSink
    {
        private ClientStream _upstream = null!;

        internal override void OnHead(RequestHead head, bool endStream)
        {
            _upstream = codec.OpenStream(new Down(downstream));
            _upstream.SendHead(head, endStream);
        }

        internal override void OnBody(ReadOnlySpan<byte> data, bool endStream) => _upstream.SendBody(data, endStream);
        internal override void OnTrailers(HeaderMap trailers) => _upstream.SendTrailers(trailers);
        internal override void OnReset(Failure reason) => Assert.Fail(reason.ToString());
        internal override void OnSendBlocked() { }
        internal override void OnSendReady() { }
    }

    private sealed class Down(ServerStream downstream) : ResponseSink
    {
        internal override void OnInformational(ResponseHead head) => downstream.SendInformational(head);
        internal override void OnHead(ResponseHead head, bool endStream) => downstream.SendHead(head, endStream);
        internal override void OnBody(ReadOnlySpan<byte> data, bool endStream) => downstream.SendBody(data, endStream);
        internal override void OnTrailers(HeaderMap trailers) => downstream.SendTrailers(trailers);
        internal override void OnReset(Failure reason) => Assert.Fail(reason.ToString());
        internal override void OnSendBlocked() { }
        internal override void OnSendReady() { }
    }

    private sealed class RequestRecord : RequestSink
    {
        private bool _hasBody;
        internal ServerStream Stream = null!;
        internal string Seen = "";

        internal override void OnHead(RequestHead head, bool endStream)
        {
            Seen = $"{Text(head, ":method")} {Encoding.Latin1.GetString(head.Path)} {Encoding.Latin1.GetString(head.Authority)} x-a={Text(head, "x-a")}"
                + (head.IsUpgrade ? " upgrade=" + Text(head, "upgrade") : "") + (endStream ? " end" : "");
            _hasBody = false;
        }

        internal override void OnBody(ReadOnlySpan<byte> data, bool endStream)
        {
            Seen += (_hasBody ? "" : " body=") + Encoding.Latin1.GetString(data);
            _hasBody = true;
        }

        internal override void OnTrailers(HeaderMap trailers)
        {
            foreach (var field in trailers)
                Seen += " trailers=" + Encoding.Latin1.GetString(field.Name);
        }

        internal override void OnReset(Failure reason) => Seen += " reset=" + reason;
        internal override void OnSendBlocked() { }
        internal override void OnSendReady() { }
    }

    private sealed class ResponseRecord : ResponseSink
    {
        private bool _hasBody;
        internal string Seen = "";

        internal override void OnInformational(ResponseHead head) => Seen += head.Status + " ";

        internal override void OnHead(ResponseHead head, bool endStream)
        {
            Seen += $"{head.Status} x-b={Text(head, "x-b")}" + (endStream ? " end" : "");
            _hasBody = false;
        }

        internal override void OnBody(ReadOnlySpan<byte> data, bool endStream)
        {
            Seen += (_hasBody ? "" : " body=") + Encoding.Latin1.GetString(data);
            _hasBody = true;
        }

        internal override void OnTrailers(HeaderMap trailers)
        {
            foreach (var field in trailers)
                Seen += " trailers=" + Encoding.Latin1.GetString(field.Name);
        }

        internal override void OnReset(Failure reason) => Seen += " reset=" + reason;
        internal override void OnSendBlocked() { }
        internal override void OnSendReady() { }
    }
}
