using System;
using Sidecar.Http;
using Sidecar.Http.H2;
using Sidecar.Memory;
using Sidecar.Telemetry;
using Xunit;

namespace Sidecar.Tests.Http.H2;

/// <summary>In steady state a request and its response through both codecs allocate nothing.</summary>
public sealed class Http2AllocationTests
{
    [Theory]
    [InlineData(1, false)]
    [InlineData(100, false)]
    [InlineData(10, true)]
    public void RequestsAndResponses_AllocateNothing(int concurrent, bool narrowWindows)
    {
        var link = new Http2Link(narrowWindows ? new Http2Options { InitialStreamWindowSize = 300, InitialConnectionWindowSize = 65535 } : Http2Options.ServerDefaults);
        for (int i = 0; i < 2000; i += concurrent)
            link.Exchange(concurrent);
        long before = GC.GetAllocatedBytesForCurrentThread();
        for (int i = 0; i < 10_000; i += concurrent)
            link.Exchange(concurrent);
        Assert.Equal(0, GC.GetAllocatedBytesForCurrentThread() - before);
        Assert.Equal(12_000, link.Completed);
    }
}

/// <summary>A client codec and a server codec back to back, with gRPC-like exchanges: changing ids, bodies both ways, trailers.</summary>
internal sealed class Http2Link
{
    private readonly Slab _slab = new(256 * 1024);
    private readonly Http2ClientCodec _client;
    private readonly Http2ServerCodec _server;
    private readonly RequestHead _request = new();
    private readonly Response _response;
    private readonly Answering _answering = new();
    private long _serial;

    internal Http2Link(Http2Options options)
    {
        var pools = new Http2Pools(_slab);
        _client = new Http2ClientCodec(new BufferChain(_slab), _answering, options, pools);
        _server = new Http2ServerCodec(new BufferChain(_slab), _answering, options, pools);
        _response = new Response(this);
        _request.Add(HeaderId.Method, "POST"u8);
        _request.Add(HeaderId.Scheme, "http"u8);
        _request.Add(HeaderId.Path, "/calculator.Calculator/Add"u8);
        _request.Add(HeaderId.Authority, "calculator.default.svc.cluster.local:8888"u8);
        _request.Add(HeaderId.ContentType, "application/grpc"u8);
        _request.Add(HeaderId.Te, "trailers"u8);
        _request.Add(HeaderId.UserAgent, "grpc-go/1.60.0"u8);
        _request.Add(HeaderId.XForwardedProto, "http"u8);
        _request.Add(HeaderId.XRequestId, "00000000-0000-4000-8000-000000000000"u8);
        _request.Add(HeaderId.GrpcTimeout, "15S"u8);
    }

    internal int Completed { get; private set; }
    internal static ReadOnlySpan<byte> Message => "\0\0\0\0\u0010sixteen bytes..."u8;

    /// <summary>So many requests at once, each until its response is complete.</summary>
    internal void Exchange(int concurrent)
    {
        Span<byte> id = stackalloc byte[36];
        "00000000-0000-4000-8000-000000000000"u8.CopyTo(id);
        int target = Completed + concurrent;
        for (int i = 0; i < concurrent; i++)
        {
            Ascii.FormatDecimal(10_000_000 + ++_serial * 7919 % 89_999_999, id);
            _request.Set(HeaderId.XRequestId, id);
            var stream = _client.OpenStream(_response);
            stream.SendHead(_request, false);
            stream.SendBody(Message, true);
        }
        for (int turn = 0; Completed < target; turn++)
        {
            _server.NowMs = _client.NowMs = _serial;
            Carry(_client.Output, _server);
            Carry(_server.Output, _client);
            Assert.True(turn < 10_000);
        }
    }

    private static void Carry(BufferChain output, HttpCodec to)
    {
        while (!output.IsEmpty)
        {
            var result = to.Feed(output.First);
            if (result.Error != Failure.None || result.Consumed == 0)
                throw new InvalidOperationException(result.Error.ToString());
            output.Drain(result.Consumed);
        }
    }

    private sealed class Response(Http2Link link) : ResponseSink
    {
        internal override void OnInformational(ResponseHead head) { }
        internal override void OnHead(ResponseHead head, bool endStream) { }
        internal override void OnBody(ReadOnlySpan<byte> data, bool endStream) { }
        internal override void OnTrailers(HeaderMap trailers) => link.Completed++;
        internal override void OnReset(Failure reason) => throw new InvalidOperationException(reason.ToString());
        internal override void OnSendBlocked() { }
        internal override void OnSendReady() { }
    }

    /// <summary>Answers every complete request; the sinks are few and go round, as pooled ones do.</summary>
    private sealed class Answering : ServerCodecEvents
    {
        private readonly ResponseHead _head = new() { Status = 200 };
        private readonly HeaderMap _trailers = new();
        private readonly Pool<Request> _sinks;

        internal Answering()
        {
            _sinks = new Pool<Request>(() => new Request(this));
            _head.Add(HeaderId.ContentType, "application/grpc"u8);
            _head.Add(HeaderId.Server, "envoy"u8);
            _head.Add(HeaderId.Date, "Tue, 24 Nov 2026 07:00:00 GMT"u8);
            _head.Add(HeaderId.XEnvoyUpstreamServiceTime, "3"u8);
            _trailers.Add(HeaderId.GrpcStatus, "0"u8);
            _trailers.Add(HeaderId.GrpcMessage, ""u8);
        }

        internal override void OnOutput() { }
        internal override void OnWantsInput() { }
        internal override void OnStreamClosed(CodecStream stream)
        {
            if (stream is ServerStream { Sink: Request sink })
                _sinks.Return(sink);
        }

        internal override void OnNewStream(ServerStream stream)
        {
            var sink = _sinks.Rent();
            sink.Stream = stream;
            stream.Sink = sink;
        }

        private sealed class Request(Answering owner) : RequestSink
        {
            internal ServerStream Stream = null!;

            internal override void OnHead(RequestHead head, bool endStream) { }

            internal override void OnBody(ReadOnlySpan<byte> data, bool endStream)
            {
                if (!endStream)
                    return;
                Stream.SendHead(owner._head, false);
                Stream.SendBody(Message, false);
                for (int i = 0; i < 20; i++)
                    Stream.SendBody(Message, false);
                Stream.SendTrailers(owner._trailers);
            }

            internal override void OnTrailers(HeaderMap trailers) { }
            internal override void OnReset(Failure reason) => throw new InvalidOperationException(reason.ToString());
            internal override void OnSendBlocked() { }
            internal override void OnSendReady() { }
        }
    }
}
