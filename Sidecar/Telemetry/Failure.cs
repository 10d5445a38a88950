using System;

namespace Sidecar.Telemetry;

/// <summary>Who caused a failure.</summary>
internal enum FailureSource : byte { None, Downstream, Proxy, Upstream }

/// <summary>What a retry policy may do about a failure; a set, matched against the policy's <c>retry_on</c>.</summary>
[Flags]
internal enum RetryClass : byte
{
    None = 0,
    /// <summary>No byte of the request left: connect failures.</summary>
    ConnectFailure = 1,
    /// <summary>The stream or its connection was reset, or the try timed out, before a response head.</summary>
    Reset = 2,
    /// <summary>The upstream said it did not start the stream (REFUSED_STREAM, or GOAWAY with a lower last stream).</summary>
    RefusedStream = 4,
    /// <summary>Reset before the request had been sent whole.</summary>
    ResetBeforeRequest = 8,
    /// <summary>A pooled connection closed as it was reused: always safe to try again on another one.</summary>
    ReusedConnection = 16,
}

/// <summary>
/// Every way a stream or a connection can end other than by completing: one row of <see cref="Failures"/> each. Local replies, retries,
/// stats and access logs read that table and decide nothing themselves.
/// </summary>
internal enum Failure : byte
{
    None,

    // ---- downstream: the request is not acceptable ----------------------------------------------------------
    Http1CodecError,
    Http1HeadersTooLarge,
    Http1TooManyHeaders,
    Http1ContentLengthInvalid,
    Http1TransferEncodingInvalid,
    Http1TransferEncodingUnsupported,
    Http1ContentLengthWithTransferEncoding,
    Http1ChunkedInvalid,
    Http1InvalidCharacters,
    Http1InvalidUrl,
    Http1ConnectionHeaderRejected,
    Http1ResponseFlood,
    Http1VersionUnsupported,
    Http2ProtocolError,
    Http2HeadersTooLarge,
    Http2TooManyHeaders,
    Http2InvalidHeader,
    Http2CompressionError,
    Http2FlowControlError,
    Http2FrameSizeError,
    Http2StreamClosed,
    Http2OutboundFlood,
    Http2OutboundControlFlood,
    Http2InboundEmptyFramesFlood,
    Http2InboundPriorityFlood,
    Http2InboundWindowUpdateFlood,
    Http2InboundSettingsFlood,
    Http2InboundContinuationFlood,
    Http2PrematureResets,
    Http2FlushTimeout,
    Http2PingTimeout,
    MissingHost,
    MissingPath,
    AbsolutePathRejected,
    PathNormalizationFailed,
    PathRedirect,
    UnderscoreHeaderRejected,
    LowVersion,
    UpgradeFailed,
    UnsupportedMethod,
    RequestPayloadTooLarge,
    RequestTimeout,
    RequestHeaderTimeout,
    StreamIdleTimeout,
    MaxDurationTimeout,
    DownstreamDisconnect,
    DownstreamReset,
    ConnectionIdleTimeout,
    ListenerFilterTimeout,
    ListenerFilterRefused,

    // ---- proxy: configuration and policy ---------------------------------------------------------------------
    NoFilterChain,
    NoRoute,
    NoCluster,
    DirectResponse,
    FaultAbort,
    FaultOverflow,
    OverloadManager,
    ResponsePayloadTooLarge,
    FilterRejected,
    RbacDenied,
    NoFilterConfig,
    Draining,
    AdminStop,
    InternalError,

    // ---- upstream --------------------------------------------------------------------------------------------
    NoHealthyUpstream,
    UpstreamOverflow,
    UpstreamConnectFailure,
    UpstreamLocalConnectFailure,
    UpstreamConnectTimeout,
    UpstreamTlsHandshake,
    UpstreamConnectionTermination,
    UpstreamConnectionTerminationOnReuse,
    UpstreamReset,
    UpstreamRefusedStream,
    UpstreamProtocolError,
    UpstreamHeadersTooLarge,
    ResponseTimeout,
    UpstreamPerTryTimeout,
    UpstreamPerTryIdleTimeout,
    UpstreamMaxDuration,
    UpstreamIdleTimeout,
    LocalReset,
    DnsResolutionFailed,

    /// <summary>Not a failure: number of rows.</summary>
    Count,
}

/// <summary>One failure's meaning, read by everything that reports it.</summary>
/// <param name="Source">Who caused it.</param>
/// <param name="Status">The local reply's HTTP status; 0 when there is nobody to answer, or the connection just closes.</param>
/// <param name="Flag">Access-log flag.</param>
/// <param name="Details">Envoy's response code details.</param>
/// <param name="Retry">What a retry policy may do.</param>
/// <param name="Body">Text of the local reply.</param>
/// <param name="ResetReason">Envoy's name for a try's reset; <paramref name="Details"/> and <paramref name="Body"/> are made of it then.</param>
internal readonly record struct FailureRow(
    FailureSource Source, ushort Status, ResponseFlags Flag, string Details, RetryClass Retry, string Body, string ResetReason = "");

/// <summary>The table behind <see cref="Failure"/>.</summary>
internal static class Failures
{
    private static readonly FailureRow[] s_rows = Build();

    internal static ref readonly FailureRow Row(this Failure failure) => ref s_rows[(int)failure];

    /// <summary>True for failures of the HTTP/2 peer that cost it the connection with GOAWAY ENHANCE_YOUR_CALM.</summary>
    internal static bool IsFlood(this Failure failure) =>
        failure is >= Failure.Http2OutboundFlood and <= Failure.Http2PrematureResets or Failure.Http1ResponseFlood;

    /// <summary>The local reply's text for a try's reset, Envoy's word for word.</summary>
    /// <param name="reason">The row's <see cref="FailureRow.ResetReason"/>.</param>
    /// <param name="transport">What the transport said, or nothing.</param>
    /// <param name="retried">It was not the first try.</param>
    internal static string ResetBody(string reason, string transport, bool retried = false) =>
        "upstream connect error or disconnect/reset before headers. " + (retried ? "retried and the latest " : "") + "reset reason: " + reason
        + (transport.Length > 0 ? ", transport failure reason: " + transport : "");

    /// <summary>The response code details for a try's reset.</summary>
    internal static string ResetDetails(string reason, string transport, bool responseStarted = false) =>
        ((responseStarted ? "upstream_reset_after_response_started{" : "upstream_reset_before_response_started{") + reason
        + (transport.Length > 0 ? "|" + transport : "") + "}").Replace(' ', '_');

    /// <summary>gRPC status a local reply carries for its HTTP status (Envoy's Utility::httpToGrpcStatus).</summary>
    internal static int GrpcStatus(int httpStatus) => httpStatus switch
    {
        400 => 13,
        401 => 16,
        403 => 7,
        404 => 12,
        429 or 502 or 503 or 504 => 14,
        _ => 2,
    };

    private static FailureRow[] Build()
    {
        var rows = new FailureRow[(int)Failure.Count];
        const FailureSource D = FailureSource.Downstream;
        const FailureSource P = FailureSource.Proxy;
        const FailureSource U = FailureSource.Upstream;
        const ResponseFlags Dpe = ResponseFlags.DownstreamProtocolError;
        const RetryClass No = RetryClass.None;
        const RetryClass Connect = RetryClass.ConnectFailure | RetryClass.Reset | RetryClass.ResetBeforeRequest;

        void Row(Failure failure, FailureSource source, ushort status, ResponseFlags flag, string details, RetryClass retry, string body) =>
            rows[(int)failure] = new FailureRow(source, status, flag, details, retry, body);

        // A try that ended before its response.
        void Reset(Failure failure, ushort status, ResponseFlags flag, RetryClass retry, string reason) =>
            rows[(int)failure] = new FailureRow(U, status, flag, ResetDetails(reason, ""), retry, ResetBody(reason, ""), reason);

        rows[0] = new FailureRow(FailureSource.None, 0, ResponseFlags.None, "", No, "");

        Row(Failure.Http1CodecError, D, 400, Dpe, "http1.codec_error", No, "Bad Request");
        Row(Failure.Http1HeadersTooLarge, D, 431, Dpe, "http1.headers_too_large", No, "Request Header Fields Too Large");
        Row(Failure.Http1TooManyHeaders, D, 431, Dpe, "http1.too_many_headers", No, "Request Header Fields Too Large");
        Row(Failure.Http1ContentLengthInvalid, D, 400, Dpe, "http1.content_length_not_allowed", No, "Bad Request");
        Row(Failure.Http1TransferEncodingInvalid, D, 400, Dpe, "http1.invalid_transfer_encoding", No, "Bad Request");
        Row(Failure.Http1TransferEncodingUnsupported, D, 501, Dpe, "http1.invalid_transfer_encoding", No, "Not Implemented");
        Row(Failure.Http1ContentLengthWithTransferEncoding, D, 400, Dpe, "http1.content_length_and_chunked_not_allowed", No, "Bad Request");
        Row(Failure.Http1ChunkedInvalid, D, 400, Dpe, "http1.invalid_chunked", No, "Bad Request");
        Row(Failure.Http1InvalidCharacters, D, 400, Dpe, "http1.invalid_characters", No, "Bad Request");
        Row(Failure.Http1InvalidUrl, D, 400, Dpe, "http1.invalid_url", No, "Bad Request");
        Row(Failure.Http1ConnectionHeaderRejected, D, 400, Dpe, "http1.connection_header_rejected", No, "Bad Request");
        Row(Failure.Http1ResponseFlood, D, 0, Dpe, "http1.response_flood", No, "");
        Row(Failure.Http1VersionUnsupported, D, 505, Dpe, "http1.unsupported_version", No, "HTTP Version Not Supported");
        Row(Failure.Http2ProtocolError, D, 0, Dpe, "http2.protocol_error", No, "");
        Row(Failure.Http2HeadersTooLarge, D, 431, Dpe, "http2.headers_too_large", No, "Request Header Fields Too Large");
        Row(Failure.Http2TooManyHeaders, D, 431, Dpe, "http2.too_many_headers", No, "Request Header Fields Too Large");
        Row(Failure.Http2InvalidHeader, D, 400, Dpe, "http2.invalid.header.field", No, "Bad Request");
        Row(Failure.Http2CompressionError, D, 0, Dpe, "http2.compression_error", No, "");
        Row(Failure.Http2FlowControlError, D, 0, Dpe, "http2.flow_control_error", No, "");
        Row(Failure.Http2FrameSizeError, D, 0, Dpe, "http2.frame_size_error", No, "");
        Row(Failure.Http2StreamClosed, D, 0, Dpe, "http2.stream_closed", No, "");
        Row(Failure.Http2OutboundFlood, D, 0, Dpe, "http2.outbound_flood", No, "");
        Row(Failure.Http2OutboundControlFlood, D, 0, Dpe, "http2.outbound_control_flood", No, "");
        Row(Failure.Http2InboundEmptyFramesFlood, D, 0, Dpe, "http2.inbound_empty_frames_flood", No, "");
        Row(Failure.Http2InboundPriorityFlood, D, 0, Dpe, "http2.inbound_priority_frames_flood", No, "");
        Row(Failure.Http2InboundWindowUpdateFlood, D, 0, Dpe, "http2.inbound_window_update_frames_flood", No, "");
        Row(Failure.Http2InboundSettingsFlood, D, 0, Dpe, "http2.inbound_settings_flood", No, "");
        Row(Failure.Http2InboundContinuationFlood, D, 0, Dpe, "http2.inbound_continuation_flood", No, "");
        Row(Failure.Http2PrematureResets, D, 0, Dpe, "http2.too_many_premature_resets", No, "");
        Row(Failure.Http2FlushTimeout, D, 0, ResponseFlags.StreamIdleTimeout, "http2.flush_timeout", No, "");
        Row(Failure.Http2PingTimeout, D, 0, ResponseFlags.None, "http2.ping_timeout", RetryClass.Reset, "");
        Row(Failure.MissingHost, D, 400, Dpe, "missing_host_header", No, "");
        Row(Failure.MissingPath, D, 404, ResponseFlags.None, "missing_path_rejected", No, "");
        Row(Failure.AbsolutePathRejected, D, 404, ResponseFlags.None, "absolute_path_rejected", No, "");
        Row(Failure.PathNormalizationFailed, D, 400, ResponseFlags.None, "path_normalization_failed", No, "");
        Row(Failure.PathRedirect, D, 307, ResponseFlags.None, "path_normalization_failed", No, "");
        Row(Failure.UnderscoreHeaderRejected, D, 400, Dpe, "unexpected_underscore", No, "Bad Request");
        Row(Failure.LowVersion, D, 426, Dpe, "low_version", No, "");
        Row(Failure.UpgradeFailed, D, 403, ResponseFlags.None, "upgrade_failed", No, "");
        Row(Failure.UnsupportedMethod, D, 501, Dpe, "unsupported_method", No, "Not Implemented");
        Row(Failure.RequestPayloadTooLarge, D, 413, ResponseFlags.None, "request_payload_too_large", No, "Payload Too Large");
        Row(Failure.RequestTimeout, D, 408, ResponseFlags.None, "request_overall_timeout", No, "request timeout");
        Row(Failure.RequestHeaderTimeout, D, 408, ResponseFlags.None, "request_header_timeout", No, "request header timeout");
        Row(Failure.StreamIdleTimeout, D, 408, ResponseFlags.StreamIdleTimeout, "stream_idle_timeout", No, "stream timeout");
        Row(Failure.MaxDurationTimeout, D, 408, ResponseFlags.DurationTimeout, "max_duration_timeout", No, "downstream duration timeout");
        Row(Failure.DownstreamDisconnect, D, 0, ResponseFlags.DownstreamConnectionTermination, "downstream_remote_disconnect", No, "");
        Row(Failure.DownstreamReset, D, 0, ResponseFlags.DownstreamRemoteReset, "downstream_remote_reset", No, "");
        Row(Failure.ConnectionIdleTimeout, D, 0, ResponseFlags.None, "connection_idle_timeout", No, "");
        Row(Failure.ListenerFilterTimeout, D, 0, ResponseFlags.None, "listener_filter_timeout", No, "");
        Row(Failure.ListenerFilterRefused, D, 0, ResponseFlags.None, "listener_filter_refused", No, "");

        Row(Failure.NoFilterChain, P, 0, ResponseFlags.NoRouteFound, "filter_chain_not_found", No, "");
        Row(Failure.NoRoute, P, 404, ResponseFlags.NoRouteFound, "route_not_found", No, "");
        Row(Failure.NoCluster, P, 503, ResponseFlags.NoClusterFound, "cluster_not_found", No, "");
        Row(Failure.DirectResponse, P, 0, ResponseFlags.None, "direct_response", No, "");
        Row(Failure.FaultAbort, P, 503, ResponseFlags.FaultInjected, "fault_filter_abort", No, "fault filter abort");
        Row(Failure.FaultOverflow, P, 0, ResponseFlags.None, "fault_filter_overflow", No, "");
        Row(Failure.OverloadManager, P, 503, ResponseFlags.OverloadManager, "overload", No, "envoy overloaded");
        Row(Failure.ResponsePayloadTooLarge, P, 500, ResponseFlags.None, "response_payload_too_large", No, "Internal Server Error");
        Row(Failure.FilterRejected, P, 403, ResponseFlags.None, "filter_rejected", No, "");
        Row(Failure.RbacDenied, P, 403, ResponseFlags.None, "rbac_access_denied", No, "RBAC: access denied");
        Row(Failure.NoFilterConfig, P, 500, ResponseFlags.NoFilterConfigFound, "no_filter_config_found", No, "");
        Row(Failure.Draining, P, 503, ResponseFlags.None, "draining", No, "");
        Row(Failure.AdminStop, P, 0, ResponseFlags.None, "server_stop", No, "");
        Row(Failure.InternalError, P, 500, ResponseFlags.None, "internal_error", No, "Internal Server Error");

        Row(Failure.NoHealthyUpstream, U, 503, ResponseFlags.NoHealthyUpstream, "no_healthy_upstream", No, "no healthy upstream");
        Reset(Failure.UpstreamOverflow, 503, ResponseFlags.UpstreamOverflow, No, "overflow");
        Reset(Failure.UpstreamConnectFailure, 503, ResponseFlags.UpstreamConnectionFailure, Connect, "remote connection failure");
        Reset(Failure.UpstreamLocalConnectFailure, 503, ResponseFlags.UpstreamConnectionFailure, Connect, "local connection failure");
        Reset(Failure.UpstreamConnectTimeout, 503, ResponseFlags.UpstreamConnectionFailure, Connect, "connection timeout");
        Reset(Failure.UpstreamTlsHandshake, 503, ResponseFlags.UpstreamConnectionFailure, Connect, "remote connection failure");
        Reset(Failure.UpstreamConnectionTermination, 503, ResponseFlags.UpstreamConnectionTermination, RetryClass.Reset, "connection termination");
        Reset(Failure.UpstreamConnectionTerminationOnReuse, 503, ResponseFlags.UpstreamConnectionTermination, RetryClass.Reset | RetryClass.ReusedConnection, "connection termination");
        Reset(Failure.UpstreamReset, 503, ResponseFlags.UpstreamRemoteReset, RetryClass.Reset, "remote reset");
        Reset(Failure.UpstreamRefusedStream, 503, ResponseFlags.UpstreamRemoteReset, RetryClass.Reset | RetryClass.RefusedStream, "remote refused stream reset");
        Reset(Failure.UpstreamProtocolError, 502, ResponseFlags.UpstreamProtocolError, RetryClass.Reset, "protocol error");
        Reset(Failure.UpstreamHeadersTooLarge, 502, ResponseFlags.UpstreamProtocolError, RetryClass.Reset, "protocol error");
        Row(Failure.ResponseTimeout, U, 504, ResponseFlags.UpstreamRequestTimeout, "response_timeout", RetryClass.Reset, "upstream request timeout");
        Row(Failure.UpstreamPerTryTimeout, U, 504, ResponseFlags.UpstreamRequestTimeout, "upstream_per_try_timeout", RetryClass.Reset, "upstream request timeout");
        Row(Failure.UpstreamPerTryIdleTimeout, U, 504, ResponseFlags.StreamIdleTimeout, "upstream_per_try_idle_timeout", RetryClass.Reset, "upstream per try idle timeout");
        Row(Failure.UpstreamMaxDuration, U, 504, ResponseFlags.UpstreamMaxStreamDurationReached, "upstream_max_stream_duration_reached", No, "upstream max stream duration reached");
        Row(Failure.UpstreamIdleTimeout, U, 0, ResponseFlags.None, "upstream_idle_timeout", No, "");
        Reset(Failure.LocalReset, 503, ResponseFlags.LocalReset, RetryClass.Reset, "local reset");
        Row(Failure.DnsResolutionFailed, U, 503, ResponseFlags.DnsResolutionFailed, "dns_resolution_failure", No, "DNS resolution failure");
        return rows;
    }
}
