using Sidecar.Http;
using Sidecar.Memory;
using Sidecar.Routing;

namespace Sidecar.Filters.Http.Router;

/// <summary>How long a request may take, in milliseconds; 0 is no limit. From the route, the request's fields and the cluster, by Envoy's rules.</summary>
internal readonly struct Timeouts
{
    /// <summary>From the request's end to the response's end.</summary>
    internal long ResponseMs { get; private init; }
    internal long PerTryMs { get; private init; }
    internal long PerTryIdleMs { get; private init; }

    /// <summary>The whole stream.</summary>
    internal long MaxStreamMs { get; private init; }

    /// <summary>What the upstream is told it has (x-envoy-expected-rq-timeout-ms).</summary>
    internal long ExpectedMs => PerTryMs > 0 ? PerTryMs : ResponseMs;

    /// <summary>Reads the route's timeouts and those the caller asks for, whose fields are taken off the request.</summary>
    internal static Timeouts Read(RequestHead head, RouteAction action, long clusterMaxStreamMs)
    {
        bool grpc = GrpcRequest.Is(head);
        long response = action.TimeoutMs;
        bool hasGrpcTimeout = GrpcRequest.TryGetTimeout(head, out long grpcMs);
        if (grpc && action.MaxGrpcTimeoutMs is { } maxGrpcMs)
            response = CapGrpc(hasGrpcTimeout ? grpcMs : 0, action.GrpcTimeoutOffsetMs, maxGrpcMs);

        if (TakeMs(head, HeaderId.XEnvoyUpstreamRqTimeoutMs, out long asked))
            response = asked;
        long perTry = action.Retry?.PerTryTimeoutMs ?? 0;
        if (TakeMs(head, HeaderId.XEnvoyUpstreamRqPerTryTimeoutMs, out asked))
            perTry = asked;
        // A try that may last as long as the whole is no limit of its own.
        if (perTry >= response && response != 0)
            perTry = 0;

        long maxStream = action.MaxStreamDurationMs ?? clusterMaxStreamMs;
        if (grpc && hasGrpcTimeout && action.GrpcTimeoutHeaderMaxMs is { } headerMaxMs)
            maxStream = CapGrpc(grpcMs, action.GrpcTimeoutHeaderOffsetMs, headerMaxMs);
        return new Timeouts { ResponseMs = response, PerTryMs = perTry, PerTryIdleMs = action.Retry?.PerTryIdleTimeoutMs ?? 0, MaxStreamMs = maxStream };
    }

    // The offset applies only where something is left, and a cap of 0 is none.
    private static long CapGrpc(long grpcMs, long offsetMs, long maxMs)
    {
        if (offsetMs > 0 && offsetMs < grpcMs)
            grpcMs -= offsetMs;
        return maxMs != 0 && (grpcMs == 0 || grpcMs > maxMs) ? maxMs : grpcMs;
    }

    private static bool TakeMs(RequestHead head, HeaderId id, out long ms)
    {
        ms = 0;
        if (!head.Contains(id))
            return false;
        bool given = Ascii.TryParseDecimal(head.Get(id), out ms);
        head.Remove(id);
        return given;
    }
}
