using Sidecar.Telemetry.Stats;

namespace Sidecar.Upstream;

/// <summary>
/// The stats of a cluster under Envoy's names, prefix <c>cluster.NAME.</c>: one schema, positions as constants, so that counting is an
/// array store. Membership, update and circuit breaker gauges are the control loop's to write; everything else is the workers'.
/// </summary>
internal static class ClusterStats
{
    internal const int MembershipChange = 0;
    internal const int MembershipTotal = 1;
    internal const int MembershipHealthy = 2;
    internal const int MembershipDegraded = 3;
    internal const int MembershipExcluded = 4;
    internal const int MaxHostWeight = 5;
    internal const int Version = 6;
    internal const int UpdateAttempt = 7;
    internal const int UpdateSuccess = 8;
    internal const int UpdateFailure = 9;
    internal const int UpdateEmpty = 10;
    internal const int UpdateNoRebuild = 11;
    internal const int UpdateRejected = 12;
    internal const int CircuitBreakersDefaultCxOpen = 13;
    internal const int CircuitBreakersDefaultCxPoolOpen = 14;
    internal const int CircuitBreakersDefaultRqPendingOpen = 15;
    internal const int CircuitBreakersDefaultRqOpen = 16;
    internal const int CircuitBreakersDefaultRqRetryOpen = 17;
    internal const int CircuitBreakersDefaultRemainingCx = 18;
    internal const int CircuitBreakersDefaultRemainingCxPools = 19;
    internal const int CircuitBreakersDefaultRemainingPending = 20;
    internal const int CircuitBreakersDefaultRemainingRq = 21;
    internal const int CircuitBreakersDefaultRemainingRetries = 22;
    internal const int CircuitBreakersHighCxOpen = 23;
    internal const int CircuitBreakersHighCxPoolOpen = 24;
    internal const int CircuitBreakersHighRqPendingOpen = 25;
    internal const int CircuitBreakersHighRqOpen = 26;
    internal const int CircuitBreakersHighRqRetryOpen = 27;
    internal const int CircuitBreakersHighRemainingCx = 28;
    internal const int CircuitBreakersHighRemainingCxPools = 29;
    internal const int CircuitBreakersHighRemainingPending = 30;
    internal const int CircuitBreakersHighRemainingRq = 31;
    internal const int CircuitBreakersHighRemainingRetries = 32;

    /// <summary>The endpoints of an EDS cluster have not come within its initial_fetch_timeout.</summary>
    internal const int InitFetchTimeout = 33;

    // Up to here the control loop's to write; its cells need no others.

    internal const int UpstreamCxTotal = 34;
    internal const int UpstreamCxActive = 35;
    internal const int UpstreamCxHttp1Total = 36;
    internal const int UpstreamCxHttp2Total = 37;
    internal const int UpstreamCxHttp3Total = 38;
    internal const int UpstreamCxConnectFail = 39;
    internal const int UpstreamCxConnectTimeout = 40;
    internal const int UpstreamCxConnectAttemptsExceeded = 41;
    internal const int UpstreamCxConnectWith0Rtt = 42;
    internal const int UpstreamCxOverflow = 43;
    internal const int UpstreamCxPoolOverflow = 44;
    internal const int UpstreamCxIdleTimeout = 45;
    internal const int UpstreamCxMaxDurationReached = 46;
    internal const int UpstreamCxDestroy = 47;
    internal const int UpstreamCxDestroyLocal = 48;
    internal const int UpstreamCxDestroyRemote = 49;
    internal const int UpstreamCxDestroyWithActiveRq = 50;
    internal const int UpstreamCxDestroyLocalWithActiveRq = 51;
    internal const int UpstreamCxDestroyRemoteWithActiveRq = 52;
    internal const int UpstreamCxCloseNotify = 53;
    internal const int UpstreamCxRxBytesTotal = 54;
    internal const int UpstreamCxRxBytesBuffered = 55;
    internal const int UpstreamCxTxBytesTotal = 56;
    internal const int UpstreamCxTxBytesBuffered = 57;
    internal const int UpstreamCxProtocolError = 58;
    internal const int UpstreamCxMaxRequests = 59;
    internal const int UpstreamCxNoneHealthy = 60;
    internal const int UpstreamCxConnectMs = 61;
    internal const int UpstreamCxLengthMs = 62;
    internal const int UpstreamRqTotal = 63;
    internal const int UpstreamRqActive = 64;
    internal const int UpstreamRq0rtt = 65;
    internal const int UpstreamRqPendingTotal = 66;
    internal const int UpstreamRqPendingActive = 67;
    internal const int UpstreamRqPendingOverflow = 68;
    internal const int UpstreamRqPendingFailureEject = 69;
    internal const int UpstreamRqCancelled = 70;
    internal const int UpstreamRqMaintenanceMode = 71;
    internal const int UpstreamRqTimeout = 72;
    internal const int UpstreamRqMaxDurationReached = 73;
    internal const int UpstreamRqPerTryTimeout = 74;
    internal const int UpstreamRqPerTryIdleTimeout = 75;
    internal const int UpstreamRqRxReset = 76;
    internal const int UpstreamRqTxReset = 77;
    internal const int UpstreamRqRetry = 78;
    internal const int UpstreamRqRetryBackoffExponential = 79;
    internal const int UpstreamRqRetryBackoffRatelimited = 80;
    internal const int UpstreamRqRetryLimitExceeded = 81;
    internal const int UpstreamRqRetrySuccess = 82;
    internal const int UpstreamRqRetryOverflow = 83;
    internal const int UpstreamRqDropOverload = 84;
    internal const int UpstreamRqCompleted = 85;
    internal const int UpstreamFlowControlPausedReadingTotal = 86;
    internal const int UpstreamFlowControlResumedReadingTotal = 87;
    internal const int UpstreamFlowControlBackedUpTotal = 88;
    internal const int UpstreamFlowControlDrainedTotal = 89;
    internal const int UpstreamInternalRedirectFailedTotal = 90;
    internal const int UpstreamInternalRedirectSucceededTotal = 91;
    internal const int UpstreamHttp3Broken = 92;
    internal const int BindErrors = 93;
    internal const int OriginalDstHostInvalid = 94;
    internal const int RetryOrShadowAbandoned = 95;
    internal const int AssignmentStale = 96;
    internal const int AssignmentTimeoutReceived = 97;
    internal const int AssignmentUseCached = 98;
    internal const int LbHealthyPanic = 99;
    internal const int LbLocalClusterNotOk = 100;
    internal const int LbRecalculateZoneStructures = 101;
    internal const int LbSubsetsCreated = 102;
    internal const int LbSubsetsRemoved = 103;
    internal const int LbSubsetsSelected = 104;
    internal const int LbSubsetsFallback = 105;
    internal const int LbSubsetsFallbackPanic = 106;
    internal const int LbSubsetsActive = 107;
    internal const int LbZoneClusterTooSmall = 108;
    internal const int LbZoneNoCapacityLeft = 109;
    internal const int LbZoneNumberDiffers = 110;
    internal const int LbZoneRoutingAllDirectly = 111;
    internal const int LbZoneRoutingSampled = 112;
    internal const int LbZoneRoutingCrossZone = 113;
    internal const int UpstreamRqTime = 114;
    internal const int ExternalUpstreamRqTime = 115;
    internal const int InternalUpstreamRqTime = 116;
    internal const int UpstreamRq1xx = 117;
    internal const int UpstreamRq2xx = 118;
    internal const int UpstreamRq3xx = 119;
    internal const int UpstreamRq4xx = 120;
    internal const int UpstreamRq5xx = 121;
    internal const int ExternalUpstreamRq1xx = 122;
    internal const int ExternalUpstreamRq2xx = 123;
    internal const int ExternalUpstreamRq3xx = 124;
    internal const int ExternalUpstreamRq4xx = 125;
    internal const int ExternalUpstreamRq5xx = 126;
    internal const int InternalUpstreamRq1xx = 127;
    internal const int InternalUpstreamRq2xx = 128;
    internal const int InternalUpstreamRq3xx = 129;
    internal const int InternalUpstreamRq4xx = 130;
    internal const int InternalUpstreamRq5xx = 131;

    // One position for each status that has a stat of its own (others count in their class only), in the order of s_codes.
    private const int FirstCode = 132;

    private static readonly ushort[] s_codes =
    [
        100, 101, 200, 201, 202, 204, 206, 300, 301, 302, 303, 304, 307, 308, 400, 401,
        403, 404, 405, 406, 408, 409, 410, 411, 412, 413, 414, 415, 416, 417, 421, 422,
        425, 426, 428, 429, 431, 451, 499, 500, 501, 502, 503, 504, 505, 507,
    ];

    internal static readonly StatsSchema Schema = new(
        [
            new("membership_change"),
            new("membership_total", StatKind.Gauge),
            new("membership_healthy", StatKind.Gauge),
            new("membership_degraded", StatKind.Gauge),
            new("membership_excluded", StatKind.Gauge),
            new("max_host_weight", StatKind.Gauge),
            new("version", StatKind.Gauge),
            new("update_attempt"),
            new("update_success"),
            new("update_failure"),
            new("update_empty"),
            new("update_no_rebuild"),
            new("update_rejected"),
            new("circuit_breakers.default.cx_open", StatKind.Gauge),
            new("circuit_breakers.default.cx_pool_open", StatKind.Gauge),
            new("circuit_breakers.default.rq_pending_open", StatKind.Gauge),
            new("circuit_breakers.default.rq_open", StatKind.Gauge),
            new("circuit_breakers.default.rq_retry_open", StatKind.Gauge),
            new("circuit_breakers.default.remaining_cx", StatKind.Gauge),
            new("circuit_breakers.default.remaining_cx_pools", StatKind.Gauge),
            new("circuit_breakers.default.remaining_pending", StatKind.Gauge),
            new("circuit_breakers.default.remaining_rq", StatKind.Gauge),
            new("circuit_breakers.default.remaining_retries", StatKind.Gauge),
            new("circuit_breakers.high.cx_open", StatKind.Gauge),
            new("circuit_breakers.high.cx_pool_open", StatKind.Gauge),
            new("circuit_breakers.high.rq_pending_open", StatKind.Gauge),
            new("circuit_breakers.high.rq_open", StatKind.Gauge),
            new("circuit_breakers.high.rq_retry_open", StatKind.Gauge),
            new("circuit_breakers.high.remaining_cx", StatKind.Gauge),
            new("circuit_breakers.high.remaining_cx_pools", StatKind.Gauge),
            new("circuit_breakers.high.remaining_pending", StatKind.Gauge),
            new("circuit_breakers.high.remaining_rq", StatKind.Gauge),
            new("circuit_breakers.high.remaining_retries", StatKind.Gauge),
            new("init_fetch_timeout"),
            new("upstream_cx_total"),
            new("upstream_cx_active", StatKind.Gauge),
            new("upstream_cx_http1_total"),
            new("upstream_cx_http2_total"),
            new("upstream_cx_http3_total"),
            new("upstream_cx_connect_fail"),
            new("upstream_cx_connect_timeout"),
            new("upstream_cx_connect_attempts_exceeded"),
            new("upstream_cx_connect_with_0_rtt"),
            new("upstream_cx_overflow"),
            new("upstream_cx_pool_overflow"),
            new("upstream_cx_idle_timeout"),
            new("upstream_cx_max_duration_reached"),
            new("upstream_cx_destroy"),
            new("upstream_cx_destroy_local"),
            new("upstream_cx_destroy_remote"),
            new("upstream_cx_destroy_with_active_rq"),
            new("upstream_cx_destroy_local_with_active_rq"),
            new("upstream_cx_destroy_remote_with_active_rq"),
            new("upstream_cx_close_notify"),
            new("upstream_cx_rx_bytes_total"),
            new("upstream_cx_rx_bytes_buffered", StatKind.Gauge),
            new("upstream_cx_tx_bytes_total"),
            new("upstream_cx_tx_bytes_buffered", StatKind.Gauge),
            new("upstream_cx_protocol_error"),
            new("upstream_cx_max_requests"),
            new("upstream_cx_none_healthy"),
            new("upstream_cx_connect_ms", StatKind.Histogram),
            new("upstream_cx_length_ms", StatKind.Histogram),
            new("upstream_rq_total"),
            new("upstream_rq_active", StatKind.Gauge),
            new("upstream_rq_0rtt"),
            new("upstream_rq_pending_total"),
            new("upstream_rq_pending_active", StatKind.Gauge),
            new("upstream_rq_pending_overflow"),
            new("upstream_rq_pending_failure_eject"),
            new("upstream_rq_cancelled"),
            new("upstream_rq_maintenance_mode"),
            new("upstream_rq_timeout"),
            new("upstream_rq_max_duration_reached"),
            new("upstream_rq_per_try_timeout"),
            new("upstream_rq_per_try_idle_timeout"),
            new("upstream_rq_rx_reset"),
            new("upstream_rq_tx_reset"),
            new("upstream_rq_retry"),
            new("upstream_rq_retry_backoff_exponential"),
            new("upstream_rq_retry_backoff_ratelimited"),
            new("upstream_rq_retry_limit_exceeded"),
            new("upstream_rq_retry_success"),
            new("upstream_rq_retry_overflow"),
            new("upstream_rq_drop_overload"),
            new("upstream_rq_completed"),
            new("upstream_flow_control_paused_reading_total"),
            new("upstream_flow_control_resumed_reading_total"),
            new("upstream_flow_control_backed_up_total"),
            new("upstream_flow_control_drained_total"),
            new("upstream_internal_redirect_failed_total"),
            new("upstream_internal_redirect_succeeded_total"),
            new("upstream_http3_broken"),
            new("bind_errors"),
            new("original_dst_host_invalid"),
            new("retry_or_shadow_abandoned"),
            new("assignment_stale"),
            new("assignment_timeout_received"),
            new("assignment_use_cached"),
            new("lb_healthy_panic"),
            new("lb_local_cluster_not_ok"),
            new("lb_recalculate_zone_structures"),
            new("lb_subsets_created"),
            new("lb_subsets_removed"),
            new("lb_subsets_selected"),
            new("lb_subsets_fallback"),
            new("lb_subsets_fallback_panic"),
            new("lb_subsets_active", StatKind.Gauge),
            new("lb_zone_cluster_too_small"),
            new("lb_zone_no_capacity_left"),
            new("lb_zone_number_differs"),
            new("lb_zone_routing_all_directly"),
            new("lb_zone_routing_sampled"),
            new("lb_zone_routing_cross_zone"),
            new("upstream_rq_time", StatKind.Histogram),
            new("external.upstream_rq_time", StatKind.Histogram),
            new("internal.upstream_rq_time", StatKind.Histogram),
            new("upstream_rq_1xx"),
            new("upstream_rq_2xx"),
            new("upstream_rq_3xx"),
            new("upstream_rq_4xx"),
            new("upstream_rq_5xx"),
            new("external.upstream_rq_1xx"),
            new("external.upstream_rq_2xx"),
            new("external.upstream_rq_3xx"),
            new("external.upstream_rq_4xx"),
            new("external.upstream_rq_5xx"),
            new("internal.upstream_rq_1xx"),
            new("internal.upstream_rq_2xx"),
            new("internal.upstream_rq_3xx"),
            new("internal.upstream_rq_4xx"),
            new("internal.upstream_rq_5xx"),
            .. CodeDefinitions(),
        ]) { ControlCount = InitFetchTimeout + 1 };

    // status - 100 → position of upstream_rq_STATUS, or 0.
    private static readonly short[] s_positions = Positions();

    /// <summary>Counts a response: <c>upstream_rq_completed</c>, its class, its status, and <c>external.</c> or <c>internal.</c> of the class.</summary>
    internal static void CountResponse(StatsCells cells, int status, bool isInternal)
    {
        cells.Inc(UpstreamRqCompleted);
        int kind = status / 100 - 1;
        if ((uint)kind > 4)
            return;
        cells.Inc(UpstreamRq1xx + kind);
        cells.Inc((isInternal ? InternalUpstreamRq1xx : ExternalUpstreamRq1xx) + kind);
        int position = s_positions[status - 100];
        if (position != 0)
            cells.Inc(position);
    }

    /// <summary>Records how long an upstream took to answer.</summary>
    internal static void RecordTime(StatsCells cells, long ms, bool isInternal)
    {
        cells.Record(UpstreamRqTime, ms);
        cells.Record(isInternal ? InternalUpstreamRqTime : ExternalUpstreamRqTime, ms);
    }

    private static StatDefinition[] CodeDefinitions()
    {
        var definitions = new StatDefinition[s_codes.Length];
        for (int i = 0; i < s_codes.Length; i++)
            definitions[i] = new StatDefinition("upstream_rq_" + s_codes[i].ToString(System.Globalization.CultureInfo.InvariantCulture));
        return definitions;
    }

    private static short[] Positions()
    {
        var positions = new short[500];
        for (int i = 0; i < s_codes.Length; i++)
            positions[s_codes[i] - 100] = (short)(FirstCode + i);
        return positions;
    }
}
