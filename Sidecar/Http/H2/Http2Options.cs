namespace Sidecar.Http.H2;

/// <summary>
/// Settings of HTTP/2 codecs: names and defaults of Envoy's Http2ProtocolOptions, of its runtime keys, and for the last group our own where Envoy
/// has no limit. Shared, immutable.
/// </summary>
internal sealed record Http2Options
{
    internal static readonly Http2Options ServerDefaults = new();

    /// <summary>A server splits heads over more CONTINUATION frames (Envoy allows an upstream twice as many).</summary>
    internal static readonly Http2Options ClientDefaults = new() { MaxContinuationFrames = 1024 };

    /// <summary>hpack_table_size, bytes, both directions.</summary>
    internal int HpackTableSize { get; init; } = 4096;

    /// <summary>max_concurrent_streams: what we allow a peer; for a client also the most it opens.</summary>
    internal int MaxConcurrentStreams { get; init; } = 1024;

    /// <summary>initial_stream_window_size, bytes.</summary>
    internal int InitialStreamWindowSize { get; init; } = 16 * 1024 * 1024;

    /// <summary>initial_connection_window_size, bytes.</summary>
    internal int InitialConnectionWindowSize { get; init; } = 24 * 1024 * 1024;

    /// <summary>allow_connect: extended CONNECT (RFC 8441) is offered.</summary>
    internal bool AllowConnect { get; init; }

    /// <summary>max_outbound_frames that the peer has not taken yet.</summary>
    internal int MaxOutboundFrames { get; init; } = 10000;

    /// <summary>max_outbound_control_frames: of them PING, SETTINGS and RST_STREAM.</summary>
    internal int MaxOutboundControlFrames { get; init; } = 1000;

    /// <summary>max_consecutive_inbound_frames_with_empty_payload.</summary>
    internal int MaxConsecutiveInboundFramesWithEmptyPayload { get; init; } = 1;

    /// <summary>max_inbound_priority_frames_per_stream: this times one more than the streams opened.</summary>
    internal int MaxInboundPriorityFramesPerStream { get; init; } = 100;

    /// <summary>max_inbound_window_update_frames_per_data_frame_sent: 5 + 2 x (streams opened + this x DATA frames sent).</summary>
    internal int MaxInboundWindowUpdateFramesPerDataFrameSent { get; init; } = 10;

    /// <summary>override_stream_error_on_invalid_http_message: a malformed message costs its stream; otherwise the connection, as in Envoy.</summary>
    internal bool OverrideStreamErrorOnInvalidHttpMessage { get; init; }

    /// <summary>connection_keepalive.interval in milliseconds; 0: no PINGs.</summary>
    internal int KeepaliveIntervalMs { get; init; }

    /// <summary>connection_keepalive.timeout: an unanswered PING ends the connection.</summary>
    internal int KeepaliveTimeoutMs { get; init; }

    /// <summary>max_request_headers_kb in bytes: names, values and 32 for each field, of every field decoded, of a head or trailers.</summary>
    internal int MaxHeaderBytes { get; init; } = 60 * 1024;

    /// <summary>max_headers_count.</summary>
    internal int MaxHeaders { get; init; } = 100;

    /// <summary>CONTINUATION frames of one header block.</summary>
    internal int MaxContinuationFrames { get; init; } = 512;

    /// <summary>overload.premature_reset_total_stream_count: at least half of so many streams reset early end the connection.</summary>
    internal int PrematureResetTotalStreamCount { get; init; } = 500;

    /// <summary>overload.premature_reset_min_stream_lifetime_seconds, in milliseconds: early is before this, without a response.</summary>
    internal int PrematureResetMinStreamLifetimeMs { get; init; } = 1000;

    /// <summary>stream_flush_timeout: how long a stream with bytes to send may stand still.</summary>
    internal int StreamFlushTimeoutMs { get; init; } = 300_000;

    /// <summary>http.max_requests_per_io_cycle: requests taken by one Feed; Envoy has no limit.</summary>
    internal int MaxRequestsPerFeed { get; init; } = 128;

    /// <summary>Entries of one SETTINGS frame (CVE-2020-11080).</summary>
    internal int MaxSettingsPerFrame { get; init; } = 32;

    /// <summary>SETTINGS frames within one second: each can make us walk all open streams.</summary>
    internal int MaxSettingsFramesPerSecond { get; init; } = 16;

    /// <summary>Bytes held for one connection: fields of open streams as they are charged, and bodies that windows keep back.</summary>
    internal long MaxHeldBytes { get; init; } = 64 * 1024 * 1024;

    /// <summary>
    /// Of them fields of open streams, heads and trailers: new streams are refused beyond. More than a hundred heads of the largest size one may have by
    /// default, and a thousand of 8 KiB.
    /// </summary>
    internal long MaxHeldFieldBytes { get; init; } = 8 * 1024 * 1024;

    /// <summary>Bytes kept back on one stream from which its sender is asked to stop, until half of them are gone.</summary>
    internal int StreamSendHighWatermark { get; init; } = 64 * 1024;
}
