using System;

namespace Sidecar.Telemetry;

/// <summary>Why a stream did not simply come back from upstream; a set, in Envoy's order. The short names are Envoy's.</summary>
[Flags]
internal enum ResponseFlags : uint
{
    None = 0,
    FailedLocalHealthCheck = 1u << 0,
    NoHealthyUpstream = 1u << 1,
    UpstreamRequestTimeout = 1u << 2,
    LocalReset = 1u << 3,
    UpstreamRemoteReset = 1u << 4,
    UpstreamConnectionFailure = 1u << 5,
    UpstreamConnectionTermination = 1u << 6,
    UpstreamOverflow = 1u << 7,
    NoRouteFound = 1u << 8,
    DelayInjected = 1u << 9,
    FaultInjected = 1u << 10,
    RateLimited = 1u << 11,
    UnauthorizedExternalService = 1u << 12,
    RateLimitServiceError = 1u << 13,
    DownstreamConnectionTermination = 1u << 14,
    UpstreamRetryLimitExceeded = 1u << 15,
    StreamIdleTimeout = 1u << 16,
    InvalidEnvoyRequestHeaders = 1u << 17,
    DownstreamProtocolError = 1u << 18,
    UpstreamMaxStreamDurationReached = 1u << 19,
    ResponseFromCacheFilter = 1u << 20,
    NoFilterConfigFound = 1u << 21,
    DurationTimeout = 1u << 22,
    UpstreamProtocolError = 1u << 23,
    NoClusterFound = 1u << 24,
    OverloadManager = 1u << 25,
    DnsResolutionFailed = 1u << 26,
    DropOverload = 1u << 27,
    DownstreamRemoteReset = 1u << 28,
    UnconditionalDropOverload = 1u << 29,
}

/// <summary>The short names of <see cref="ResponseFlags"/>, as access logs and metrics show them.</summary>
internal static class ResponseFlagNames
{
    // By bit position.
    private static readonly string[] s_names =
    [
        "LH", "UH", "UT", "LR", "UR", "UF", "UC", "UO", "NR", "DI", "FI", "RL", "UAEX", "RLSE", "DC", "URX", "SI", "IH", "DPE",
        "UMSDR", "RFCF", "NFCF", "DT", "UPE", "NC", "OM", "DF", "DO", "DR", "UDO",
    ];

    internal static int Count => s_names.Length;

    /// <summary>The name of one bit.</summary>
    internal static string Name(int bit) => s_names[bit];

    /// <summary>The set as <c>UF,URX</c>, or <c>-</c> when empty.</summary>
    internal static string Format(ResponseFlags flags)
    {
        if (flags == ResponseFlags.None)
            return "-";
        string text = "";
        for (int bit = 0; bit < s_names.Length; bit++)
        {
            if (((uint)flags >> bit & 1) != 0)
                text = text.Length == 0 ? s_names[bit] : text + "," + s_names[bit];
        }
        return text;
    }
}
