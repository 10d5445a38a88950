using System;
using System.Collections.Generic;
using System.Text;
using Sidecar.Http;
using Sidecar.Http.H1;
using Sidecar.Http.H2;
using Sidecar.Http.H2.Hpack;
using Sidecar.Loop;
using Sidecar.Memory;
using Sidecar.Net;
using Sidecar.Routing;
using Sidecar.Telemetry;
using Sidecar.Telemetry.Stats;
using Sidecar.Upstream;

namespace Sidecar.Micro;

/// <summary>One thing to measure.</summary>
/// <param name="Name">Area and case; the key in expected-allocations.json.</param>
/// <param name="Make">Sets everything up and returns the operation.</param>
internal readonly record struct Bench(string Name, Func<Action> Make);

/// <summary>
/// The parts of a request's way, each without sockets. To add one: a line in <see cref="All"/>, its bytes per operation in expected-allocations.json.
/// </summary>
internal static class Benches
{
    private const int WarmUp = 2_000;
    private const int Counted = 10_000;

    private static readonly byte[] s_request = Encoding.ASCII.GetBytes(
        "GET /products/42?view=full HTTP/1.1\r\nHost: shop.example.com\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36\r\nAccept: text/html,application/json;q=0.9\r\n"
        + "Accept-Language: en\r\nX-Request-Id: 6b2e4c21-7a0e-4cf0-8f0f-2f9d4a5cbb11\r\nX-Forwarded-For: 10.1.2.3\r\nTraceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n\r\n");

    private static readonly byte[] s_response = Encoding.ASCII.GetBytes(
        "HTTP/1.1 200 OK\r\nserver: backend\r\ndate: Thu, 01 Jan 2026 00:00:00 GMT\r\ncontent-type: application/json\r\ncontent-length: 512\r\n\r\n" + new string('x', 512));

    internal static readonly Bench[] All =
    [
        new("http1/exchange", Http1Exchange),
        new("http2/exchange", Http2Exchange),
        new("http2/frames", Http2Frames),
        new("hpack/encode/repeated", () => HpackEncode(HpackEncoder.DefaultTableSize)),
        new("hpack/encode/no-table", () => HpackEncode(0)),
        new("hpack/decode/indexed", () => HpackDecode(HpackEncoder.DefaultTableSize)),
        new("hpack/decode/no-table", () => HpackDecode(0)),
        new("headers/fill-get-set-remove", Headers),
        new("route/match/1-host", () => RouteMatch(1)),
        new("route/match/100-hosts", () => RouteMatch(100)),
        new("route/match/10000-hosts", () => RouteMatch(10_000)),
        new("lb/round-robin/10-hosts", () => Pick(LbPolicy.RoundRobin, 10)),
        new("lb/least-request/10-hosts", () => Pick(LbPolicy.LeastRequest, 10)),
        new("lb/random/10-hosts", () => Pick(LbPolicy.Random, 10)),
        new("lb/round-robin/10000-hosts", () => Pick(LbPolicy.RoundRobin, 10_000)),
        new("lb/round-robin/10-weighted-hosts", () => Pick(LbPolicy.RoundRobin, 10, weighted: true)),
        new("lb/least-request/10-weighted-hosts", () => Pick(LbPolicy.LeastRequest, 10, weighted: true)),
        new("lb/least-request/10000-hosts", () => Pick(LbPolicy.LeastRequest, 10_000)),
        new("filters/pass-through/0", () => FilterChainBench.PassThrough(0)),
        new("filters/pass-through/1", () => FilterChainBench.PassThrough(1)),
        new("filters/pass-through/5", () => FilterChainBench.PassThrough(5)),
        new("filters/cors", FilterChainBench.Cors),
        new("filters/fault", FilterChainBench.Fault),
        new("stats/count", StatsCount),
        new("stats/histogram", StatsHistogram),
        new("slab/rent-return", SlabRent),
        new("timer/move-later", TimerMove),
    ];

    /// <summary>Managed bytes per call once everything is warm; exact, since nothing else runs on this thread.</summary>
    internal static double AllocatedPerOperation(Action run)
    {
        for (int i = 0; i < WarmUp; i++)
            run();
        // The runtime itself may put something on this thread's account, once; what an operation allocates is there every time.
        long least = long.MaxValue;
        for (int round = 0; round < 3; round++)
        {
            long before = GC.GetAllocatedBytesForCurrentThread();
            for (int i = 0; i < Counted; i++)
                run();
            least = Math.Min(least, GC.GetAllocatedBytesForCurrentThread() - before);
        }
        return least / (double)Counted;
    }

    // ---- HTTP/1: a request read and written on, its response read and written back ---------------------------

    private static Action Http1Exchange()
    {
        var slab = new Slab();
        var client = new Http1ClientCodec(new BufferChain(slab), new Quiet(), new Http1Options());
        var server = new Http1ServerCodec(new BufferChain(slab), new Forwarding(client), new Http1Options());
        return () =>
        {
            if (server.Feed(s_request).Consumed != s_request.Length || client.Output.IsEmpty)
                throw new InvalidOperationException("the request did not pass");
            client.Output.Clear();
            if (client.Feed(s_response).Consumed != s_response.Length || server.Output.IsEmpty)
                throw new InvalidOperationException("the response did not pass");
            server.Output.Clear();
        };
    }

    private sealed class Quiet : CodecEvents
    {
        internal override void OnOutput() { }
        internal override void OnWantsInput() { }
        internal override void OnStreamClosed(CodecStream stream) { }
    }

    private sealed class Forwarding(HttpClientCodec client) : ServerCodecEvents
    {
        private readonly Upward _up = new();
        private readonly Downward _down = new();

        internal override void OnOutput() { }
        internal override void OnWantsInput() { }
        internal override void OnStreamClosed(CodecStream stream) { }

        internal override void OnNewStream(ServerStream stream)
        {
            stream.Sink = _up;
            _down.Target = stream;
            _up.Target = client.OpenStream(_down);
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

        internal override void OnInformational(ResponseHead head) { }
        internal override void OnHead(ResponseHead head, bool endStream) => Target.SendHead(head, endStream);
        internal override void OnBody(ReadOnlySpan<byte> data, bool endStream) => Target.SendBody(data, endStream);
        internal override void OnTrailers(HeaderMap trailers) => Target.SendTrailers(trailers);
        internal override void OnReset(Failure reason) => throw new InvalidOperationException(reason.ToString());
        internal override void OnSendBlocked() { }
        internal override void OnSendReady() { }
    }

    // ---- HTTP/2: a request and its response, each encoded, framed, read and decoded --------------------------

    private static Action Http2Exchange()
    {
        var slab = new Slab();
        var pools = new Http2Pools(slab);
        var client = new Http2ClientCodec(new BufferChain(slab), new Quiet(), Http2Options.ServerDefaults, pools);
        var server = new Http2ServerCodec(new BufferChain(slab), new Answering(), Http2Options.ServerDefaults, pools);
        var request = new RequestHead();
        request.Add(HeaderId.Method, "GET"u8);
        request.Add(HeaderId.Scheme, "http"u8);
        request.Add(HeaderId.Authority, "shop.example.com"u8);
        request.Add(HeaderId.Path, "/products/42?view=full"u8);
        request.Add(HeaderId.UserAgent, "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36"u8);
        request.Add(HeaderId.XRequestId, "6b2e4c21-7a0e-4cf0-8f0f-2f9d4a5cbb11"u8);
        var response = new Counting();
        return () =>
        {
            int before = response.Ends;
            client.OpenStream(response).SendHead(request, endStream: true);
            Carry(client.Output, server);
            Carry(server.Output, client);
            if (response.Ends != before + 1)
                throw new InvalidOperationException("the response did not come");
        };
    }

    private static void Carry(BufferChain output, HttpCodec to)
    {
        while (!output.IsEmpty)
            output.Drain(to.Feed(output.First).Consumed);
    }

    private sealed class Counting : ResponseSink
    {
        internal int Ends;

        internal override void OnInformational(ResponseHead head) { }
        internal override void OnHead(ResponseHead head, bool endStream) { }
        internal override void OnBody(ReadOnlySpan<byte> data, bool endStream) => Ends += endStream ? 1 : 0;
        internal override void OnTrailers(HeaderMap trailers) { }
        internal override void OnReset(Failure reason) => throw new InvalidOperationException(reason.ToString());
        internal override void OnSendBlocked() { }
        internal override void OnSendReady() { }
    }

    private sealed class Answering : ServerCodecEvents
    {
        private readonly byte[] _body = new byte[512];
        private readonly ResponseHead _head = Head();
        private readonly Unheard _request = new();

        internal override void OnOutput() { }
        internal override void OnWantsInput() { }
        internal override void OnStreamClosed(CodecStream stream) { }

        internal override void OnNewStream(ServerStream stream)
        {
            stream.Sink = _request;
            stream.SendHead(_head, endStream: false);
            stream.SendBody(_body, endStream: true);
        }

        private static ResponseHead Head()
        {
            var head = new ResponseHead { Status = 200 };
            head.Add(HeaderId.ContentType, "application/json"u8);
            head.Add(HeaderId.ContentLength, "512"u8);
            head.Add(HeaderId.Server, "backend"u8);
            return head;
        }
    }

    private sealed class Unheard : RequestSink
    {
        internal override void OnHead(RequestHead head, bool endStream) { }
        internal override void OnBody(ReadOnlySpan<byte> data, bool endStream) { }
        internal override void OnTrailers(HeaderMap trailers) { }
        internal override void OnReset(Failure reason) => throw new InvalidOperationException(reason.ToString());
        internal override void OnSendBlocked() { }
        internal override void OnSendReady() { }
    }

    /// <summary>Frames alone: written, then read back and checked, without a codec.</summary>
    private static Action Http2Frames()
    {
        var output = new BufferChain(new Slab());
        var writer = new FrameWriter(output);
        byte[] block = new byte[40], body = new byte[1024], read = new byte[2048];
        return () =>
        {
            writer.WriteHeaders(1, block, endStream: false, Http2Settings.FrameSizeMin);
            writer.WriteData(1, body, endStream: true);
            writer.WriteWindowUpdate(0, body.Length);
            writer.WritePing(block.AsSpan(0, 8), ack: true);
            int length = (int)output.Length, at = 0, frames = 0;
            output.CopyTo(read);
            output.Clear();
            writer.Reset();
            for (; at < length; frames++)
            {
                var header = FrameHeader.Read(read.AsSpan(at));
                if (FrameParser.Check(in header, Http2Settings.FrameSizeMin) != Http2Error.NoError)
                    throw new InvalidOperationException("a frame was refused");
                at += FrameHeader.Size + header.Length;
            }
            if (frames != 4 || at != length)
                throw new InvalidOperationException("the frames did not pass");
        };
    }

    // ---- HPACK ----------------------------------------------------------------------------------------------

    private static RequestHead FilledHead()
    {
        var head = new RequestHead();
        head.Add(HeaderId.Method, "GET"u8);
        head.Add(HeaderId.Scheme, "http"u8);
        head.Add(HeaderId.Authority, "host7.example.com"u8);
        head.Add(HeaderId.Path, "/products/42?view=full"u8);
        head.Add("user-agent"u8, "Mozilla/5.0 (X11; Linux x86_64)"u8);
        head.Add("accept"u8, "application/json"u8);
        head.Add("x-team"u8, "payments"u8);
        head.Add("x-request-id"u8, "6b2e4c21-7a0e-4cf0-8f0f-2f9d4a5cbb11"u8);
        return head;
    }

    private static Action HpackEncode(int tableSize)
    {
        var encoder = new HpackEncoder(new HpackScratch(), tableSize);
        var head = FilledHead();
        return () => Encode(encoder, head);
    }

    private static void Encode(HpackEncoder encoder, RequestHead head)
    {
        encoder.Begin();
        foreach (var field in head)
            encoder.Add(field.Id, field.Name, field.Value, field.NeverIndexed);
    }

    private static Action HpackDecode(int tableSize)
    {
        var encoder = new HpackEncoder(new HpackScratch(), tableSize);
        var decoder = new HpackDecoder(new HpackScratch(), tableSize);
        var head = FilledHead();
        byte[] block = [];
        // The first rounds fill both tables; the block after them stays the same for ever.
        for (int i = 0; i < 4; i++)
        {
            Encode(encoder, head);
            block = encoder.Block.ToArray();
            Decode(decoder, block);
        }
        return () =>
        {
            if (Decode(decoder, block) != 8)
                throw new InvalidOperationException("the block did not decode");
        };
    }

    private static int Decode(HpackDecoder decoder, byte[] block)
    {
        decoder.BeginBlock();
        int position = 0, fields = 0;
        while (decoder.Next(block, ref position, last: true, out _) == HpackStatus.Field)
            fields++;
        return fields;
    }

    // ---- header map, routing --------------------------------------------------------------------------------

    private static Action Headers()
    {
        var head = new RequestHead();
        return () =>
        {
            head.Reset();
            head.Add(HeaderId.Method, "GET"u8);
            head.Add(HeaderId.Authority, "shop.example.com"u8);
            head.Add(HeaderId.Path, "/products/42"u8);
            head.Add("user-agent"u8, "Mozilla/5.0"u8);
            head.Add("x-team"u8, "payments"u8);
            head.Add("accept"u8, "*/*"u8);
            head.Set("x-team"u8, "checkout"u8);
            head.Remove("accept"u8);
            if (!head.TryGet("x-team"u8, out var value) || value.Length != 8)
                throw new InvalidOperationException("the field is not there");
        };
    }

    private static Action RouteMatch(int hosts)
    {
        var table = new RouteTable { Name = "all" };
        for (int i = 0; i < hosts; i++)
        {
            var route = new Route { Match = new Routing.RouteMatch { Kind = PathMatchKind.Prefix, Path = [(byte)'/'] }, Action = new RouteAction() };
            var host = new VirtualHost($"host{i}", [route]);
            table.TryAdd(hosts == 1 ? "*" : $"host{i}.example.com", host);
        }
        var head = FilledHead();
        return () =>
        {
            if (table.Match(new RouteInput(head, 7, isTls: false)).Route is null)
                throw new InvalidOperationException("no route matched");
        };
    }

    // ---- load balancing -------------------------------------------------------------------------------------

    private static Action Pick(LbPolicy policy, int count, bool weighted = false)
    {
        var hosts = new Host[count];
        for (int i = 0; i < count; i++)
            hosts[i] = new Host(Address.IPv4(0x0a000000u + (uint)i, 80), "", 1) { Weight = weighted ? 1 + (uint)i : 1 };
        var stats = new StatsRegistry(1);
        var config = new ClusterConfig
        {
            Name = "c",
            Slot = 0,
            StatName = "c",
            Stats = stats.Scope(ClusterStats.Schema, "cluster.c."),
            Breakers = new CircuitBreakers(new(), new(), null, 1),
            LbPolicy = policy,
            StaticHosts = new HostSet([new(hosts, [new(Locality.None, 1, hosts)])], 140, false),
        };
        var cluster = new Cluster(new EventLoop("micro", SystemClock.Instance), config, config.StaticHosts ?? HostSet.Empty, 0, new FastRandom(1));
        return () =>
        {
            if (cluster.PickHost() is null)
                throw new InvalidOperationException("no host was picked");
        };
    }

    // ---- stats, memory, time --------------------------------------------------------------------------------

    private static Action StatsCount()
    {
        var cells = new StatsCells(ClusterStats.Schema);
        return () => cells.Inc(0);
    }

    private static Action StatsHistogram()
    {
        var cells = new StatsCells(ClusterStats.Schema);
        long value = 0;
        return () => cells.Record(0, value++ & 1023);
    }

    private static Action SlabRent()
    {
        var slab = new Slab();
        return () => slab.Return(slab.Rent());
    }

    private static Action TimerMove()
    {
        var loop = new EventLoop("micro", SystemClock.Instance);
        var timer = new LoopTimer(new NoTimer());
        return () => loop.Schedule(timer, 60_000);
    }

    private sealed class NoTimer : ITimerOwner
    {
        public void OnTimer(LoopTimer timer) { }
    }
}
