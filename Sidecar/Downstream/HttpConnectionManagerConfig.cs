using System;
using System.Collections.Generic;
using Sidecar.Filters;
using Sidecar.Http;
using Sidecar.Net;
using Sidecar.Routing;
using Sidecar.Telemetry.Stats;

namespace Sidecar.Downstream;

/// <summary>codec_type.</summary>
internal enum CodecType : byte { Auto, Http1, Http2 }

/// <summary>server_header_transformation.</summary>
internal enum ServerHeader : byte { Overwrite, AppendIfAbsent, PassThrough }

/// <summary>forward_client_cert_details.</summary>
internal enum ForwardClientCert : byte { Sanitize, ForwardOnly, AppendForward, SanitizeSet, AlwaysForwardOnly }

/// <summary>set_current_client_cert_details: what of the client's certificate is told, besides its hash.</summary>
[Flags]
internal enum ClientCertDetails : byte { None = 0, Cert = 1, Chain = 2, Subject = 4, Uri = 8, Dns = 16 }

/// <summary>
/// An HTTP connection manager as configured: defaults applied, units in milliseconds and bytes, 0 meaning off for every timeout.
/// </summary>
/// <remarks>Shared immutable.</remarks>
internal sealed record HttpConnectionManagerConfig
{
    internal required string StatPrefix { get; init; }
    internal required StatsScope Stats { get; init; }

    internal CodecType CodecType { get; init; }

    /// <summary>The inline route table, or null when <see cref="RouteSlot"/> names one of RDS.</summary>
    internal RouteTable? RouteTable { get; init; }

    /// <summary>Slot in <see cref="WorkerScope.RouteTables"/>; -1 with an inline table.</summary>
    internal int RouteSlot { get; init; } = -1;
    internal string RouteConfigName { get; init; } = "";

    /// <summary>In configured order; the last makes the terminal filter.</summary>
    internal required HttpFilterFactory[] Filters { get; init; }

    internal required Http.H1.Http1Options Http1 { get; init; }
    internal required Http.H2.Http2Options Http2 { get; init; }

    internal bool UseRemoteAddress { get; init; }
    internal int XffTrustedHops { get; init; }
    internal bool SkipXffAppend { get; init; }
    internal bool AppendXForwardedPort { get; init; }

    /// <summary>internal_address_config: nothing is internal unless configured.</summary>
    internal Cidr[] InternalCidrs { get; init; } = [];
    internal bool UnixSocketsAreInternal { get; init; }

    internal bool GenerateRequestId { get; init; } = true;
    internal bool PreserveExternalRequestId { get; init; }
    internal bool AlwaysSetRequestIdInResponse { get; init; }

    internal PathOptions Path { get; init; }
    internal bool StripTrailingHostDot { get; init; }
    internal bool StripAnyHostPort { get; init; }

    /// <summary>strip_matching_host_port: the port is dropped only where it is the listener's own.</summary>
    internal bool StripMatchingHostPort { get; init; }

    internal ServerHeader ServerHeader { get; init; }
    internal byte[] ServerName { get; init; } = [];
    internal byte[] Via { get; init; } = [];
    internal bool Proxy100Continue { get; init; }
    internal ForwardClientCert ForwardClientCert { get; init; }
    internal ClientCertDetails ClientCertDetails { get; init; }

    /// <summary>scheme_header_transformation; empty leaves the scheme alone.</summary>
    internal byte[] SchemeOverwrite { get; init; } = [];

    /// <summary>Upgrade types served, lower case (<c>websocket</c>, <c>connect</c>); a route may allow more or fewer.</summary>
    internal IReadOnlyDictionary<string, bool> Upgrades { get; init; } = new Dictionary<string, bool>();

    /// <summary>append_local_overload: requests refused for want of memory are told so by a header.</summary>
    internal bool AppendLocalOverload { get; init; }

    internal long StreamIdleTimeoutMs { get; init; } = 300_000;
    internal long RequestTimeoutMs { get; init; }
    internal long RequestHeadersTimeoutMs { get; init; }

    /// <summary>What a head that has begun is given to be complete: the shorter of the two; Envoy's streams are idle from their first byte on too. 0: no end.</summary>
    internal long HeadTimeoutMs =>
        RequestHeadersTimeoutMs == 0 || StreamIdleTimeoutMs > 0 && StreamIdleTimeoutMs < RequestHeadersTimeoutMs ? StreamIdleTimeoutMs : RequestHeadersTimeoutMs;

    internal long IdleTimeoutMs { get; init; } = 3_600_000;
    internal long MaxConnectionDurationMs { get; init; }
    internal long MaxStreamDurationMs { get; init; }
    internal long DrainTimeoutMs { get; init; } = 5_000;
    internal int DelayedCloseTimeoutMs { get; init; } = 1_000;
    internal long MaxRequestsPerConnection { get; init; }
}
