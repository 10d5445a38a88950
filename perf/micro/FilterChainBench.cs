using System;
using System.Collections.Generic;
using System.Text;
using Sidecar.Downstream;
using Sidecar.Filters;
using Sidecar.Filters.Http;
using Sidecar.Http;
using Sidecar.Http.H1;
using Sidecar.Http.H2;
using Sidecar.Linux;
using Sidecar.Loop;
using Sidecar.Memory;
using Sidecar.Net;
using Sidecar.Routing;
using Sidecar.Telemetry.Stats;
using Sidecar.Upstream;

namespace Sidecar.Micro;

/// <summary>
/// A request through a connection manager of the product's own: read, admitted, through the filters, answered by a terminal one that asks nobody, back
/// through them, written. Its connection reads and writes nothing; a turn of the loop is part of each operation.
/// </summary>
internal static class FilterChainBench
{
    private static readonly byte[] s_request = Encoding.ASCII.GetBytes(
        "GET /products/42?view=full HTTP/1.1\r\nHost: shop.example.com\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64)\r\nAccept: application/json\r\n"
        + "Origin: https://shop.example.com\r\nX-Request-Id: 6b2e4c21-7a0e-4cf0-8f0f-2f9d4a5cbb11\r\n\r\n");

    /// <summary>With filters that do nothing but be there.</summary>
    internal static Action PassThrough(int count)
    {
        var filters = new HttpFilterFactory[count];
        Array.Fill(filters, static _ => new Passing());
        return Exchange(filters, RouteTable.NoFilterConfigs);
    }

    /// <summary>With a policy on the route that allows the request's origin: the response is marked.</summary>
    internal static Action Cors()
    {
        var cells = new StatsCells(CorsFilter.Schema);
        var policy = new CorsFilter.Config
        {
            Origins = [new StringMatcher(StringMatchKind.Exact, "https://shop.example.com")],
            ExposeHeaders = "x-seen"u8.ToArray(),
            AllowCredentials = true,
        };
        return Exchange([worker => new CorsFilter(cells, worker)], new Dictionary<string, object> { ["envoy.filters.http.cors"] = policy });
    }

    /// <summary>With faults that requests ask for by header, and one that does not.</summary>
    internal static Action Fault()
    {
        var cells = new StatsCells(FaultFilter.Schema);
        var config = new FaultFilter.Config { DelayByHeader = true, DelayPerMillion = 1_000_000, AbortByHeader = true, AbortPerMillion = 1_000_000 };
        return Exchange([worker => new FaultFilter(config, cells, worker)], RouteTable.NoFilterConfigs);
    }

    private static Action Exchange(HttpFilterFactory[] filters, IReadOnlyDictionary<string, object> routeConfigs)
    {
        var loop = new EventLoop("micro", new ManualClock());
        var random = new FastRandom(1);
        var worker = new WorkerScope(loop, 0, new Clusters(loop, 0, random), random);
        var stats = new StatsRegistry(1);
        var route = new Route
        {
            Match = new RouteMatch { Kind = PathMatchKind.Prefix, Path = [(byte)'/'] },
            Action = new RouteAction(),
            FilterConfigs = routeConfigs,
        };
        var table = new RouteTable { Name = "all" };
        table.TryAdd("*", new VirtualHost("all", [route]));
        var manager = new HttpConnectionManager(
            new HttpConnectionManagerConfig
            {
                StatPrefix = "micro",
                Stats = stats.Scope(HttpStats.Schema, "http.micro."),
                CodecType = CodecType.Http1,
                RouteTable = table,
                Filters = [.. filters, static _ => new Answering()],
                Http1 = Http1Options.ServerDefaults,
                Http2 = Http2Options.ServerDefaults,
            },
            worker,
            Connection.DefaultHighWatermark);
        if (!Sockets.OpenPair(out int own, out _).Ok)
            throw new InvalidOperationException("no descriptor for the connection");
        var line = new Nowhere();
        var connection = Connection.Open(loop, own, Address.Loopback(1), line, new Unattached())
            ?? throw new InvalidOperationException("the connection did not open");
        manager.OnConnection(connection, new ConnectionContext("micro", "", stats.Scope(ListenerStats.Schema, "listener.micro.")));
        return () =>
        {
            long before = line.Written;
            if (connection.Handler.OnData(connection, s_request) != s_request.Length)
                throw new InvalidOperationException("the request did not pass");
            loop.Turn(0);
            if (line.Written - before <= Answering.BodyBytes)
                throw new InvalidOperationException("the response did not pass");
        };
    }

    private sealed class Passing : HttpFilter
    {
        internal override void Reset() { }
    }

    private sealed class Answering : TerminalHttpFilter
    {
        internal const int BodyBytes = 512;

        private readonly byte[] _body = new byte[BodyBytes];
        private readonly ResponseHead _head = new();

        internal override FilterStatus OnRequestHead(RequestHead head, bool endStream)
        {
            if (Stream.Route is null)
                throw new InvalidOperationException("no route matched");
            _head.Reset();
            _head.Status = 200;
            _head.Add(HeaderId.ContentType, "application/json"u8);
            _head.Add(HeaderId.ContentLength, "512"u8);
            Stream.SendResponseHead(_head, endStream: false);
            Stream.SendResponseBody(_body, endStream: true);
            return FilterStatus.Continue;
        }

        internal override void OnDownstreamBlocked(bool blocked) { }
        internal override void Abort() { }
        internal override void Reset() { }
    }

    private sealed class Nowhere : Transport
    {
        internal long Written;

        internal override IoResult Read(int fd, Span<byte> into) => IoResult.WouldBlock();

        internal override IoResult Write(int fd, BufferChain from)
        {
            int length = (int)from.Length;
            from.Drain(length);
            Written += length;
            return IoResult.Ok(length);
        }

        internal override IoResult WriteDirect(int fd, ReadOnlySpan<byte> bytes)
        {
            Written += bytes.Length;
            return IoResult.Ok(bytes.Length);
        }

        internal override void ShutdownWrite(int fd) { }
    }

    private sealed class Unattached : ConnectionHandler
    {
        internal override int OnData(Connection connection, ReadOnlySpan<byte> data) => 0;
        internal override void OnEndOfStream(Connection connection) { }
        internal override void OnClosed(Connection connection, Sidecar.Telemetry.Failure reason) { }
    }
}
