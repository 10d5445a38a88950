using Sidecar.Memory;

namespace Sidecar.Http.H1;

/// <summary>What to do with header names that contain an underscore (Envoy's headers_with_underscores_action).</summary>
internal enum UnderscoreAction : byte { Allow, Reject, DropHeader }

/// <summary>Settings of HTTP/1 codecs; names and defaults of Envoy's Http1ProtocolOptions and HttpConnectionManager. Shared, immutable.</summary>
internal sealed record Http1Options
{
    internal static readonly Http1Options ServerDefaults = new();

    /// <summary>Responses may have larger heads than requests (max_response_headers_kb).</summary>
    internal static readonly Http1Options ClientDefaults = new() { MaxHeadBytes = 80 * 1024 };

    /// <summary>max_request_headers_kb or max_response_headers_kb, in bytes: the whole head, start line and line ends included.</summary>
    internal int MaxHeadBytes { get; init; } = 60 * 1024;

    /// <summary>max_headers_count, for a head and for trailers.</summary>
    internal int MaxHeaders { get; init; } = 100;

    /// <summary>http.max_requests_per_io_cycle: pipelined requests taken by one Feed; Envoy has no limit.</summary>
    internal int MaxRequestsPerFeed { get; init; } = 128;

    /// <summary>accept_http_10: otherwise HTTP/1.0 requests are answered 426.</summary>
    internal bool AcceptHttp10 { get; init; }

    /// <summary>default_host_for_http_10: authority of HTTP/1.0 requests without Host; null: they are refused.</summary>
    internal ByteString? DefaultHostForHttp10 { get; init; }

    /// <summary>allow_absolute_url: otherwise a request target in absolute form is refused.</summary>
    internal bool AllowAbsoluteUrl { get; init; } = true;

    /// <summary>enable_trailers: otherwise trailers are checked and then dropped, both ways.</summary>
    internal bool EnableTrailers { get; init; }

    /// <summary>allow_chunked_length: Content-Length beside Transfer-Encoding: chunked is removed instead of refused.</summary>
    internal bool AllowChunkedLength { get; init; }

    /// <summary>allow_custom_methods: any token is a method; otherwise only those of the IANA registry that Envoy knows.</summary>
    internal bool AllowCustomMethods { get; init; }

    /// <summary>headers_with_underscores_action of common_http_protocol_options.</summary>
    internal UnderscoreAction Underscores { get; init; }

    /// <summary>send_fully_qualified_url: requests go out in absolute form, as a forward proxy wants them.</summary>
    internal bool SendFullyQualifiedUrl { get; init; }
}
