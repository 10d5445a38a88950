using System;
using System.Collections.Generic;
using System.Threading;
using Sidecar.Http;
using Sidecar.Loop;
using Sidecar.Memory;
using Sidecar.Routing;
using Sidecar.Telemetry;
using Sidecar.Telemetry.Stats;
using WireFault = Envoy.Extensions.Filters.Common.Fault.V3;

namespace Sidecar.Filters.Http;

using Wire = global::Envoy.Extensions.Filters.Http.Fault.V3;

/// <summary>
/// Delays, aborts or slows a share of requests; the route's config wins over the listener's. Envoy: envoy.filters.http.fault.
/// One per stream slot, worker-owned, reused after Reset.
/// </summary>
internal sealed class FaultFilter : HttpFilter, ITimerOwner
{
    private const int DelayTimer = 0;
    private const int RateTimer = 1;

    private readonly Config _fallback;
    private readonly StatsCells _stats;
    private readonly WorkerScope _worker;
    private readonly LoopTimer _delay;
    private readonly LoopTimer _rate;

    private Config _config;
    private bool _countsAsActive;
    private long _bytesPerSecond;

    internal FaultFilter(Config fallback, StatsCells stats, WorkerScope worker)
    {
        _fallback = _config = fallback;
        _stats = stats;
        _worker = worker;
        _delay = new LoopTimer(this, DelayTimer);
        _rate = new LoopTimer(this, RateTimer);
    }

    internal override FilterStatus OnRequestHead(RequestHead head, bool endStream)
    {
        _config = Stream.RouteConfig<Config>("envoy.filters.http.fault") ?? _fallback;
        if (_config.IsIdle || !_config.Applies(head, Stream))
            return FilterStatus.Continue;
        ChooseRate(head);

        long delayMs = _config.DelayFor(head, out uint delayShare);
        if (delayMs > 0 && _worker.Random.Chance(delayShare, 1_000_000) && TryBecomeActive())
        {
            _stats.Inc(DelaysInjected);
            Stream.Info.Flags |= ResponseFlags.DelayInjected;
            _worker.Loop.Schedule(_delay, delayMs);      // comes back as OnTimer
            return FilterStatus.Stop;
        }
        return AbortOrContinue();
    }

    internal override FilterStatus OnResponseBody(ReadOnlySpan<byte> data, bool endStream)
    {
        if (_bytesPerSecond == 0 || data.IsEmpty)
            return FilterStatus.Continue;
        // Each piece waits as long as the limited line would take for it.
        _worker.Loop.Schedule(_rate, Math.Max(1, data.Length * 1000L / _bytesPerSecond));
        return FilterStatus.Stop;
    }

    public void OnTimer(LoopTimer timer)
    {
        if (timer.Kind == RateTimer)
            Stream.ContinueResponse();
        else if (AbortOrContinue() == FilterStatus.Continue)
            Stream.ContinueRequest();
    }

    internal override void OnStreamEnd()
    {
        if (!_countsAsActive)
            return;
        _countsAsActive = false;
        _config.Active.Release();
        _stats.Dec(ActiveFaults);
    }

    internal override void Reset()
    {
        _worker.Loop.Cancel(_delay);
        _worker.Loop.Cancel(_rate);
        _config = _fallback;
        _bytesPerSecond = 0;
    }

    // Status comes from config or header; flag, details and the gRPC mapping come from the Failure row.
    private FilterStatus AbortOrContinue()
    {
        var (status, grpcStatus) = _config.AbortFor(Stream.Request, out uint share);
        if (status == 0 && grpcStatus < 0 || !_worker.Random.Chance(share, 1_000_000) || !TryBecomeActive())
            return FilterStatus.Continue;
        _stats.Inc(AbortsInjected);
        return Stream.Reply(Failure.FaultAbort, new LocalReplyOptions { Status = status == 0 ? 200 : status, GrpcStatus = grpcStatus });
    }

    private void ChooseRate(RequestHead head)
    {
        long kbps = _config.RateFor(head, out uint share);
        if (kbps <= 0 || !_worker.Random.Chance(share, 1_000_000) || !TryBecomeActive())
            return;
        _stats.Inc(ResponseRateLimitInjected);
        _bytesPerSecond = kbps * 1024;
    }

    private bool TryBecomeActive()
    {
        if (_countsAsActive)
            return true;
        if (!_config.Active.TryTake(_config.MaxActiveFaults))
        {
            _stats.Inc(FaultsOverflow);
            return false;
        }
        _countsAsActive = true;
        _stats.Inc(ActiveFaults);
        return true;
    }

    // ---- stats: http.<prefix>.fault.* --------------------------------------------------------------------------

    private const int DelaysInjected = 0;
    private const int AbortsInjected = 1;
    private const int ResponseRateLimitInjected = 2;
    private const int FaultsOverflow = 3;
    private const int ActiveFaults = 4;

    internal static readonly StatsSchema Schema = new(
        new("delays_injected"), new("aborts_injected"), new("response_rl_injected"), new("faults_overflow"), new("active_faults", StatKind.Gauge));

    // ---- configuration: control loop, once per update; immutable afterwards; may reject -------------------

    /// <summary>Faults under way over all workers; faults are rare, so one shared number will do.</summary>
    internal sealed class ActiveCount
    {
        private int _count;

        internal bool TryTake(uint max)
        {
            if (Interlocked.Increment(ref _count) <= max || max > int.MaxValue)
                return true;
            Interlocked.Decrement(ref _count);
            return false;
        }

        internal void Release() => Interlocked.Decrement(ref _count);
    }

    /// <summary>Faults as configured for a listener or a route.</summary>
    internal sealed class Config
    {
        internal long DelayMs { get; init; }
        internal bool DelayByHeader { get; init; }
        internal uint DelayPerMillion { get; init; }
        internal int AbortStatus { get; init; }
        internal int AbortGrpcStatus { get; init; } = -1;
        internal bool AbortByHeader { get; init; }
        internal uint AbortPerMillion { get; init; }
        internal long RateKbps { get; init; }
        internal bool RateByHeader { get; init; }
        internal uint RatePerMillion { get; init; }
        internal string UpstreamCluster { get; init; } = "";
        internal bool NodeMatches { get; init; } = true;
        internal HeaderMatcher[] Headers { get; init; } = [];
        internal uint MaxActiveFaults { get; init; } = uint.MaxValue;
        internal ActiveCount Active { get; } = new();

        internal bool IsIdle => DelayPerMillion == 0 && AbortPerMillion == 0 && RatePerMillion == 0;

        internal bool Applies(RequestHead head, FilterStream stream)
        {
            if (!NodeMatches)
                return false;
            if (UpstreamCluster.Length > 0 && stream.Route?.Action?.SingleClusterName != UpstreamCluster)
                return false;
            foreach (var matcher in Headers)
            {
                if (!matcher.Matches(head))
                    return false;
            }
            return true;
        }

        internal long DelayFor(RequestHead head, out uint share)
        {
            share = DelayPerMillion;
            if (!DelayByHeader)
                return DelayMs;
            share = Percentage(head, HeaderId.XEnvoyFaultDelayRequestPercentage, share);
            return Ascii.TryParseDecimal(head.Get(HeaderId.XEnvoyFaultDelayRequest), out long ms) ? ms : 0;
        }

        internal (int Status, int GrpcStatus) AbortFor(RequestHead head, out uint share)
        {
            share = AbortPerMillion;
            if (!AbortByHeader)
                return (AbortStatus, AbortGrpcStatus);
            share = Percentage(head, HeaderId.XEnvoyFaultAbortRequestPercentage, share);
            if (Ascii.TryParseDecimal(head.Get(HeaderId.XEnvoyFaultAbortRequest), out long status) && status is >= 200 and < 600)
                return ((int)status, -1);
            return Ascii.TryParseDecimal(head.Get(HeaderId.XEnvoyFaultAbortGrpcRequest), out long grpc) && grpc <= 16 ? (0, (int)grpc) : (0, -1);
        }

        internal long RateFor(RequestHead head, out uint share)
        {
            share = RatePerMillion;
            if (!RateByHeader)
                return RateKbps;
            share = Percentage(head, HeaderId.XEnvoyFaultThroughputResponsePercentage, share);
            return Ascii.TryParseDecimal(head.Get(HeaderId.XEnvoyFaultThroughputResponse), out long kbps) ? kbps : 0;
        }

        // A header can lower the configured share, never raise it (Envoy's rule).
        private static uint Percentage(RequestHead head, HeaderId id, uint configured) =>
            Ascii.TryParseDecimal(head.Get(id), out long percent) ? (uint)Math.Min(configured, Math.Min(percent, 100) * 10_000) : configured;
    }

    internal static HttpFilterFactory? Create(Wire.HTTPFault wire, ConfigScope scope)
    {
        if (CreateRouteConfig(wire, scope) is not Config config)
            return null;
        var stats = scope.Services.Stats.Scope(Schema, scope.StatPrefix + "fault.");
        return worker => new FaultFilter(config, stats.Cells(worker.Index), worker);
    }

    internal static object? CreateRouteConfig(Wire.HTTPFault wire, ConfigScope scope)
    {
        var delay = wire.Delay;
        long delayMs = 0;
        if (delay is not null)
        {
            if (delay.FaultDelaySecifierCase == WireFault.FaultDelay.FaultDelaySecifierOneofCase.None)
                scope.Reject("delay", "needs fixed_delay or header_delay");
            delayMs = scope.Milliseconds("delay.fixed_delay", delay.FixedDelay, 0);
            if (delay.FixedDelay is not null && delayMs == 0)
                scope.Reject("delay.fixed_delay", "must be greater than 0");
        }
        var abort = wire.Abort;
        if (abort is not null)
        {
            if (abort.ErrorTypeCase == Wire.FaultAbort.ErrorTypeOneofCase.None)
                scope.Reject("abort", "needs http_status, grpc_status or header_abort");
            if (abort.HasHttpStatus && abort.HttpStatus is < 200 or >= 600)
                scope.Reject("abort.http_status", "must be 200 to 599");
            if (abort.HasGrpcStatus && abort.GrpcStatus > 16)
                scope.Reject("abort.grpc_status", "must be 0 to 16");
        }
        var rate = wire.ResponseRateLimit;
        if (rate is { LimitTypeCase: WireFault.FaultRateLimit.LimitTypeOneofCase.None })
            scope.Reject("response_rate_limit", "needs fixed_limit or header_limit");
        if (rate?.FixedLimit is { LimitKbps: 0 })
            scope.Reject("response_rate_limit.fixed_limit.limit_kbps", "must be at least 1");

        var headers = new List<HeaderMatcher>();
        for (int i = 0; i < wire.Headers.Count; i++)
        {
            if (scope.Services.HeaderMatcher(wire.Headers[i], scope.At($"headers[{i}]")) is { } matcher)
                headers.Add(matcher);
        }
        if (scope.IsRejected)
            return null;
        return new Config
        {
            DelayMs = delayMs,
            DelayByHeader = delay?.HeaderDelay is not null,
            DelayPerMillion = delay?.Percentage is { } delayShare ? Fractions.PerMillion(delayShare) : 0,
            AbortStatus = abort is { HasHttpStatus: true } ? (int)abort.HttpStatus : 0,
            AbortGrpcStatus = abort is { HasGrpcStatus: true } ? (int)abort.GrpcStatus : -1,
            AbortByHeader = abort?.HeaderAbort is not null,
            AbortPerMillion = abort?.Percentage is { } abortShare ? Fractions.PerMillion(abortShare) : 0,
            RateKbps = (long)Math.Min(rate?.FixedLimit?.LimitKbps ?? 0, 1UL << 40),
            RateByHeader = rate?.HeaderLimit is not null,
            RatePerMillion = rate?.Percentage is { } rateShare ? Fractions.PerMillion(rateShare) : 0,
            UpstreamCluster = wire.UpstreamCluster,
            NodeMatches = wire.DownstreamNodes.Count == 0 || wire.DownstreamNodes.Contains(scope.Services.NodeId),
            Headers = headers.ToArray(),
            MaxActiveFaults = wire.MaxActiveFaults ?? uint.MaxValue,
        };
    }
}
