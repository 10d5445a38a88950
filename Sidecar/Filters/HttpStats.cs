using Sidecar.Telemetry.Stats;

namespace Sidecar.Filters;

/// <summary>
/// Stats of one HTTP connection manager, under <c>http.&lt;stat_prefix&gt;.</c>: what the manager counts, and what its router counts.
/// Positions first, names (Envoy's) in the same order below.
/// </summary>
internal static class HttpStats
{
    internal const int CxTotal = 0;
    internal const int CxActive = 1;
    internal const int CxHttp1Total = 2;
    internal const int CxHttp1Active = 3;
    internal const int CxHttp2Total = 4;
    internal const int CxHttp2Active = 5;
    internal const int CxDestroy = 6;
    internal const int CxDestroyLocal = 7;
    internal const int CxDestroyRemote = 8;
    internal const int CxDestroyActiveRq = 9;
    internal const int CxDestroyLocalActiveRq = 10;
    internal const int CxDestroyRemoteActiveRq = 11;
    internal const int CxRxBytes = 12;
    internal const int CxTxBytes = 13;
    internal const int CxProtocolError = 14;
    internal const int CxIdleTimeout = 15;
    internal const int CxMaxDurationReached = 16;
    internal const int CxMaxRequestsReached = 17;
    internal const int CxDrainClose = 18;
    internal const int CxUpgradesTotal = 19;
    internal const int CxUpgradesActive = 20;
    internal const int CxLengthMs = 21;
    internal const int RqTotal = 22;
    internal const int RqActive = 23;
    internal const int RqHttp1Total = 24;
    internal const int RqHttp2Total = 25;
    internal const int Rq1xx = 26;
    internal const int Rq2xx = 27;
    internal const int Rq3xx = 28;
    internal const int Rq4xx = 29;
    internal const int Rq5xx = 30;
    internal const int RqCompleted = 31;
    internal const int RqTime = 32;
    internal const int RqTimeout = 33;
    internal const int RqIdleTimeout = 34;
    internal const int RqHeaderTimeout = 35;
    internal const int RqMaxDurationReached = 36;
    internal const int RqRxReset = 37;
    internal const int RqTxReset = 38;
    internal const int RqNonRelativePath = 39;
    internal const int RqTooLarge = 40;
    internal const int RqOverloadClose = 41;
    internal const int RqFailedPathNormalization = 42;
    internal const int RqResponseBeforeRqComplete = 43;
    internal const int RqWsOnNonWsRoute = 44;
    internal const int RsTooLarge = 45;
    internal const int RouterNoRoute = 46;
    internal const int RouterNoCluster = 47;
    internal const int RouterRqDirectResponse = 48;
    internal const int RouterRqRedirect = 49;
    internal const int RouterRqTotal = 50;
    internal const int RouterRqResetAfterResponseStarted = 51;
    internal const int CxSslTotal = 52;
    internal const int CxSslActive = 53;
    internal const int CxOverloadDisableKeepAlive = 54;

    internal static readonly StatsSchema Schema = new(
        new("downstream_cx_total"),
        new("downstream_cx_active", StatKind.Gauge),
        new("downstream_cx_http1_total"),
        new("downstream_cx_http1_active", StatKind.Gauge),
        new("downstream_cx_http2_total"),
        new("downstream_cx_http2_active", StatKind.Gauge),
        new("downstream_cx_destroy"),
        new("downstream_cx_destroy_local"),
        new("downstream_cx_destroy_remote"),
        new("downstream_cx_destroy_active_rq"),
        new("downstream_cx_destroy_local_active_rq"),
        new("downstream_cx_destroy_remote_active_rq"),
        new("downstream_cx_rx_bytes_total"),
        new("downstream_cx_tx_bytes_total"),
        new("downstream_cx_protocol_error"),
        new("downstream_cx_idle_timeout"),
        new("downstream_cx_max_duration_reached"),
        new("downstream_cx_max_requests_reached"),
        new("downstream_cx_drain_close"),
        new("downstream_cx_upgrades_total"),
        new("downstream_cx_upgrades_active", StatKind.Gauge),
        new("downstream_cx_length_ms", StatKind.Histogram),
        new("downstream_rq_total"),
        new("downstream_rq_active", StatKind.Gauge),
        new("downstream_rq_http1_total"),
        new("downstream_rq_http2_total"),
        new("downstream_rq_1xx"),
        new("downstream_rq_2xx"),
        new("downstream_rq_3xx"),
        new("downstream_rq_4xx"),
        new("downstream_rq_5xx"),
        new("downstream_rq_completed"),
        new("downstream_rq_time", StatKind.Histogram),
        new("downstream_rq_timeout"),
        new("downstream_rq_idle_timeout"),
        new("downstream_rq_header_timeout"),
        new("downstream_rq_max_duration_reached"),
        new("downstream_rq_rx_reset"),
        new("downstream_rq_tx_reset"),
        new("downstream_rq_non_relative_path"),
        new("downstream_rq_too_large"),
        new("downstream_rq_overload_close"),
        new("downstream_rq_failed_path_normalization"),
        new("downstream_rq_response_before_rq_complete"),
        new("downstream_rq_ws_on_non_ws_route"),
        new("rs_too_large"),
        new("no_route"),
        new("no_cluster"),
        new("rq_direct_response"),
        new("rq_redirect"),
        new("rq_total"),
        new("rq_reset_after_downstream_response_started"),
        new("downstream_cx_ssl_total"),
        new("downstream_cx_ssl_active", StatKind.Gauge),
        new("downstream_cx_overload_disable_keepalive"));
}
