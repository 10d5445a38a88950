using System;
using Sidecar.Http;
using Sidecar.Http.H1;
using Sidecar.Memory;
using Sidecar.Telemetry;
using Xunit;

namespace Sidecar.Tests.Http.H1;

/// <summary>Zero managed allocations per exchange in steady state, through a server codec and the client codec it forwards to.</summary>
public class Http1AllocationTests
{
    private const int Exchanges = 10_000;

    [Theory]
    [InlineData("GET /a/b?c=d HTTP/1.1\r\nHost: example.com\r\nUser-Agent: curl/8.5.0\r\nAccept: */*\r\nX-Request-Id: 6b2e4c21-9d3e-9c70\r\nX-Custom: 1\r\n\r\n",
        "HTTP/1.1 200 OK\r\nserver: x\r\ncontent-type: text/plain\r\ncontent-length: 5\r\n\r\nhello")]
    [InlineData("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n1\r\n!\r\n0\r\nx-t: 1\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nx-t: 1\r\n\r\n")]
    [InlineData("POST / HTTP/1.1\r\nHost: a\r\nConnection: x-hop\r\nx-hop: 1\r\nContent-Length: 5\r\n\r\nhello",
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\nno")]
    public void Exchange_AllocatesNothing(string request, string response)
    {
        var relay = new Relay(Ascii.Bytes(request), Ascii.Bytes(response));
        for (int i = 0; i < 100; i++)
            relay.Exchange();
        long before = GC.GetAllocatedBytesForCurrentThread();
        for (int i = 0; i < Exchanges; i++)
            relay.Exchange();
        long allocated = GC.GetAllocatedBytesForCurrentThread() - before;
        Assert.Equal(0, allocated);
        Assert.Equal(Exchanges + 100, relay.Completed);
        Assert.Equal(0, relay.Slab.RentedCount);
    }

    /// <summary>A proxy of two codecs: what the server codec reads the client codec writes, and back.</summary>
    private sealed class Relay
    {
        internal readonly Slab Slab = new();
        private readonly byte[] _request;
        private readonly byte[] _response;
        private readonly Http1ServerCodec _server;
        private readonly Http1ClientCodec _client;
        private readonly ServerEvents _events;

        internal int Completed => _events.Completed;

        internal Relay(byte[] request, byte[] response)
        {
            _request = request;
            _response = response;
            var options = new Http1Options { EnableTrailers = true };
            _client = new Http1ClientCodec(new BufferChain(Slab), new ClientEvents(), options, Http1ClientCodec.NewPool());
            _events = new ServerEvents(_client);
            _server = new Http1ServerCodec(new BufferChain(Slab), _events, options);
        }

        internal void Exchange()
        {
            if (_server.Feed(_request) != new CodecResult(_request.Length, Failure.None) || _client.Output.IsEmpty)
                throw new InvalidOperationException("the request did not pass");
            _client.Output.Clear();
            if (_client.Feed(_response) != new CodecResult(_response.Length, Failure.None) || _server.Output.IsEmpty)
                throw new InvalidOperationException("the response did not pass");
            _server.Output.Clear();
        }
    }

    private sealed class ClientEvents : CodecEvents
    {
        internal override void OnOutput() { }
        internal override void OnWantsInput() { }
        internal override void OnStreamClosed(CodecStream stream) { }
    }

    private sealed class ServerEvents : ServerCodecEvents
    {
        private readonly Http1ClientCodec _client;
        private readonly Upward _up = new();
        private readonly Downward _down = new();
        internal int Completed;

        internal ServerEvents(Http1ClientCodec client) => _client = client;

        internal override void OnOutput() { }
        internal override void OnWantsInput() { }
        internal override void OnStreamClosed(CodecStream stream) => Completed++;

        internal override void OnNewStream(ServerStream stream)
        {
            stream.Sink = _up;
            _down.Target = stream;
            _up.Target = _client.OpenStream(_down);
        }
    }

    private sealed class Upward : RequestSink
    {
        internal ClientStream Target = null!;

        internal override void OnHead(RequestHead head, bool endStream) => Target.SendHead(head, endStream);
        internal override void OnBody(ReadOnlySpan<byte> data, bool endStream) => Target.SendBody(data, endStream);
        internal override void OnTrailers(HeaderMap trailers) => Target.SendTrailers(trailers);
        internal override void OnReset(Failure reason) => throw new InvalidOperationException(reason.ToString());
        internal override void OnSendBlocked() { }
        internal override void OnSendReady() { }
    }

    private sealed class Downward : ResponseSink
    {
        internal ServerStream Target = null!;

        internal override void OnInformational(ResponseHead head) => Target.SendInformational(head);
        internal override void OnHead(ResponseHead head, bool endStream) => Target.SendHead(head, endStream);
        internal override void OnBody(ReadOnlySpan<byte> data, bool endStream) => Target.SendBody(data, endStream);
        internal override void OnTrailers(HeaderMap trailers) => Target.SendTrailers(trailers);
        internal override void OnReset(Failure reason) => throw new InvalidOperationException(reason.ToString());
        internal override void OnSendBlocked() { }
        internal override void OnSendReady() { }
    }
}
