using System;
using System.Collections.Generic;
using Sidecar.Http;
using Sidecar.Memory;
using Sidecar.Routing;
using Sidecar.Telemetry;
using Sidecar.Upstream;

namespace Sidecar.Filters.Http.Router;

/// <summary>
/// Whether a request may be tried again, and when. By the route's retry policy and the request's own x-envoy-retry-* fields; and, without any policy, a request
/// that can be repeated safely is tried once more when a pooled connection turned out to be closed as it was reused.
/// </summary>
/// <remarks>Worker-owned, part of its <see cref="RouterFilter"/>.</remarks>
internal sealed class RetryState(FastRandom random)
{
    private static readonly HeaderSet s_fields = new(HeaderId.XEnvoyRetryOn, HeaderId.XEnvoyRetryGrpcOn, HeaderId.XEnvoyMaxRetries,
        HeaderId.XEnvoyRetriableStatusCodes, HeaderId.XEnvoyRetriableHeaderNames);

    private readonly List<Host> _tried = [];
    private RetryPolicy? _policy;
    private Cluster _cluster = null!;
    private RoutingPriority _priority;
    private RetryOn _on;
    private uint _left;
    private uint _retries;
    private bool _replayable;
    private bool _replayed;
    private bool _holdsBreaker;
    private int[] _statusCodes = [];

    /// <summary>A policy applies: the request's body must be kept until the outcome is known.</summary>
    internal bool IsEnabled => _on != RetryOn.None && _left > 0;

    /// <summary>Retries were wanted to the end and did not help.</summary>
    internal bool IsExhausted { get; private set; }

    internal int HostSelectionRetriesMax => _policy is { PreviousHosts: true } policy && _retries > 0 ? policy.HostSelectionAttempts : 0;

    /// <summary>Begins a request; its retry fields are read and taken off.</summary>
    internal void Begin(RequestHead head, RouteAction action, Cluster cluster, bool hasBody)
    {
        _cluster = cluster;
        _priority = (RoutingPriority)action.Priority;
        _left = 1;
        if (action.Retry is { } policy)
        {
            _policy = policy;
            _on = policy.On;
            _left = policy.NumRetries;
            _statusCodes = policy.RetriableStatusCodes;
        }
        if (head.ContainsAny(s_fields))
            ReadFields(head);
        if (_policy is not null && !_policy.AllowsRequest(head))
            _on = RetryOn.None;
        // RFC 9110 section 9.2.2: only what is idempotent may be repeated without the client's word.
        _replayable = !hasBody && head.Method is Method.Get or Method.Head or Method.Options or Method.Trace or Method.Put or Method.Delete;
    }

    private void ReadFields(RequestHead head)
    {
        if (head.TryGet(HeaderId.XEnvoyRetryOn, out var retryOn))
            _on |= RetryPolicy.ParseOn(retryOn);
        if (head.TryGet(HeaderId.XEnvoyRetryGrpcOn, out var grpcOn))
            _on |= RetryPolicy.ParseGrpcOn(grpcOn);
        if (Ascii.TryParseDecimal(head.Get(HeaderId.XEnvoyMaxRetries), out long max))
            _left = (uint)Math.Min(max, uint.MaxValue);
        if (head.TryGet(HeaderId.XEnvoyRetriableStatusCodes, out var codes))
            _statusCodes = RetryPolicy.ParseStatusCodes(codes, _statusCodes);
        head.Remove(s_fields);
    }

    internal void OnHostTried(Host host)
    {
        if (_policy is { PreviousHosts: true })
            _tried.Add(host);
    }

    internal bool WasTried(Host host) => _tried.Contains(host);

    /// <summary>Whether a response's head calls for another try.</summary>
    internal bool WantsRetry(ResponseHead head, out long backOffMs)
    {
        backOffMs = 0;
        if (_on == RetryOn.None || !StatusCalls(head))
            return false;
        return Take(head, out backOffMs);
    }

    /// <summary>Whether a try that ended without a response calls for another one.</summary>
    internal bool WantsRetry(Failure failure, bool requestSentWhole, out long backOffMs)
    {
        backOffMs = 0;
        var kind = failure.Row().Retry;
        if ((kind & RetryClass.ReusedConnection) != 0 && _replayable && !_replayed)
        {
            _replayed = true;
            return true;
        }
        if (_on == RetryOn.None || !FailureCalls(kind, requestSentWhole))
            return false;
        return Take(null, out backOffMs);
    }

    /// <summary>A response goes downstream: the retries, if any, have helped.</summary>
    internal void OnResponse(ResponseHead head)
    {
        if (_retries > 0 && head.Status < 500)
            _cluster.Stats.Inc(ClusterStats.UpstreamRqRetrySuccess);
        End();
    }

    /// <summary>No more tries: the circuit breaker's place is given back.</summary>
    internal void End()
    {
        if (!_holdsBreaker)
            return;
        _holdsBreaker = false;
        _cluster.EndRetry(_priority);
    }

    internal void Reset()
    {
        if (_tried.Count > 0)
            _tried.Clear();
        if (_statusCodes.Length > 0)
            _statusCodes = [];
        _policy = null;
        _cluster = null!;
        _on = RetryOn.None;
        _left = _retries = 0;
        _replayable = _replayed = IsExhausted = false;
    }

    private bool StatusCalls(ResponseHead head)
    {
        int status = head.Status;
        if ((_on & RetryOn.ServerError) != 0 && status >= 500)
            return true;
        if ((_on & RetryOn.GatewayError) != 0 && status is 502 or 503 or 504)
            return true;
        if ((_on & RetryOn.Retriable4xx) != 0 && status == 409)
            return true;
        if ((_on & RetryOn.EnvoyRateLimited) != 0 && head.Contains(HeaderId.XEnvoyRateLimited))
            return true;
        if ((_on & RetryOn.RetriableStatusCodes) != 0 && Array.IndexOf(_statusCodes, status) >= 0)
            return true;
        if ((_on & RetryOn.RetriableHeaders) != 0 && _policy is not null && _policy.MatchesRetriableHeaders(head))
            return true;
        if ((_on & RetryOn.AnyGrpc) != 0 && Ascii.TryParseDecimal(head.Get(HeaderId.GrpcStatus), out long grpc))
        {
            return grpc switch
            {
                1 => (_on & RetryOn.GrpcCancelled) != 0,
                4 => (_on & RetryOn.GrpcDeadlineExceeded) != 0,
                8 => (_on & RetryOn.GrpcResourceExhausted) != 0,
                13 => (_on & RetryOn.GrpcInternal) != 0,
                14 => (_on & RetryOn.GrpcUnavailable) != 0,
                _ => false,
            };
        }
        return false;
    }

    private bool FailureCalls(RetryClass kind, bool requestSentWhole)
    {
        if ((_on & (RetryOn.ServerError | RetryOn.GatewayError | RetryOn.Reset)) != 0 && (kind & RetryClass.Reset) != 0)
            return true;
        if ((_on & RetryOn.ConnectFailure) != 0 && (kind & RetryClass.ConnectFailure) != 0)
            return true;
        if ((_on & RetryOn.RefusedStream) != 0 && (kind & RetryClass.RefusedStream) != 0)
            return true;
        return (_on & RetryOn.ResetBeforeRequest) != 0 && (kind & RetryClass.Reset) != 0 && !requestSentWhole;
    }

    private bool Take(ResponseHead? head, out long backOffMs)
    {
        backOffMs = 0;
        End();
        if (_left == 0)
        {
            IsExhausted = _retries > 0;
            _cluster.Stats.Inc(ClusterStats.UpstreamRqRetryLimitExceeded);
            return false;
        }
        if (!_cluster.TryBeginRetry(_priority))
            return false;
        _left--;
        _retries++;
        _holdsBreaker = true;
        _cluster.Stats.Inc(ClusterStats.UpstreamRqRetry);
        if (head is not null && _policy is not null && _policy.TryRateLimitedBackOff(head, _cluster.Loop.UnixMs, out backOffMs))
        {
            _cluster.Stats.Inc(ClusterStats.UpstreamRqRetryBackoffRatelimited);
            return true;
        }
        _cluster.Stats.Inc(ClusterStats.UpstreamRqRetryBackoffExponential);
        backOffMs = BackOff();
        return true;
    }

    // Fully jittered: uniform below min(base * (2^retries - 1), max), Envoy's JitteredExponentialBackOff with its defaults 25 ms and 10 times that.
    private long BackOff()
    {
        long baseMs = Math.Max(1, _policy?.BackOffBaseMs ?? 25);
        long maxMs = Math.Max(baseMs, _policy?.BackOffMaxMs ?? 10 * baseMs);
        long ceiling = Math.Min(maxMs, baseMs * ((1L << (int)Math.Min(_retries, 30)) - 1));
        return random.Next((uint)Math.Max(1, Math.Min(ceiling, int.MaxValue)));
    }
}
