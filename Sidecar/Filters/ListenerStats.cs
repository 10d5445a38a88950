using Sidecar.Telemetry.Stats;

namespace Sidecar.Filters;

/// <summary>Stats of one listener, under <c>listener.&lt;address&gt;.</c>, Envoy's names.</summary>
internal static class ListenerStats
{
    internal const int CxTotal = 0;
    internal const int CxActive = 1;
    internal const int CxDestroy = 2;
    internal const int CxOverflow = 3;
    internal const int GlobalCxOverflow = 4;
    internal const int PreCxTimeout = 5;
    internal const int PreCxActive = 6;
    internal const int NoFilterChainMatch = 7;
    internal const int ListenerFilterError = 8;
    internal const int ListenerFilterRemoteClose = 9;
    internal const int AcceptFailed = 10;
    internal const int CxOverloadReject = 11;

    internal static readonly StatsSchema Schema = new(
        new("downstream_cx_total"),
        new("downstream_cx_active", StatKind.Gauge),
        new("downstream_cx_destroy"),
        new("downstream_cx_overflow"),
        new("downstream_global_cx_overflow"),
        new("downstream_pre_cx_timeout"),
        new("downstream_pre_cx_active", StatKind.Gauge),
        new("no_filter_chain_match"),
        new("downstream_listener_filter_error"),
        new("downstream_listener_filter_remote_close"),
        new("downstream_cx_accept_failed"),
        new("downstream_cx_overload_reject"));
}
