using System.Collections.Generic;
using System.Runtime.CompilerServices;
using Sidecar.Http.H1;
using Sidecar.Http.H2;
using Sidecar.Net;
using Sidecar.Telemetry;
using Sidecar.Telemetry.Stats;
using Sidecar.Upstream.Discovery;

namespace Sidecar.Upstream;

/// <summary>How a cluster learns its hosts.</summary>
internal enum DiscoveryType : byte { Static, StrictDns, LogicalDns, Eds, OriginalDst }

/// <summary>How a host is chosen. A typed <c>load_balancing_policy</c> is translated to the same values.</summary>
internal enum LbPolicy : byte { RoundRobin, LeastRequest, Random, RingHash, Maglev, ClusterProvided }

/// <summary>Which protocol the hosts are spoken to in.</summary>
internal enum UpstreamProtocol : byte
{
    Http1,
    Http2,

    /// <summary>What the downstream connection speaks (use_downstream_protocol_config).</summary>
    Downstream,

    /// <summary>What the TLS handshake agrees on (auto_config).</summary>
    Negotiated,
}

/// <summary>HTTP towards a cluster's hosts, whichever version.</summary>
internal sealed record HttpUpstreamOptions
{
    internal static readonly HttpUpstreamOptions Default = new();

    internal UpstreamProtocol Protocol { get; init; } = UpstreamProtocol.Http1;
    internal Http1Options Http1 { get; init; } = Http1Options.ClientDefaults;
    internal Http2Options Http2 { get; init; } = Http2Options.ClientDefaults;

    /// <summary>How long a connection without streams is kept; 0: for ever.</summary>
    internal long IdleTimeoutMs { get; init; } = 3_600_000;

    /// <summary>After this a connection takes no more streams; 0: no limit.</summary>
    internal long MaxConnectionDurationMs { get; init; }

    /// <summary>Percent of <see cref="MaxConnectionDurationMs"/> added at random.</summary>
    internal double MaxConnectionDurationJitterPercent { get; init; }

    /// <summary>Streams one connection carries in its life; 0: no limit.</summary>
    internal uint MaxRequestsPerConnection { get; init; }

    /// <summary>TLS asks for the host that the request names.</summary>
    internal bool AutoServerName { get; init; }

    /// <summary>The certificate must be for the host that the request names.</summary>
    internal bool AutoSubjectAltName { get; init; }

    /// <summary>Header that names that host, where a request has it; empty: the authority does.</summary>
    internal byte[] ServerNameHeader { get; init; } = [];

    /// <summary>Longest life of a stream towards this cluster, for the router; 0: no limit.</summary>
    internal long MaxStreamDurationMs { get; init; }
}

/// <summary>How often STRICT_DNS and LOGICAL_DNS clusters ask for their names.</summary>
internal sealed record DnsRefresh
{
    internal static readonly DnsRefresh Default = new();

    internal long RateMs { get; init; } = 5000;

    /// <summary>Up to this much is added to each wait, at random.</summary>
    internal long JitterMs { get; init; }

    /// <summary>First and longest wait after a failure, doubling in between; 0: as <see cref="RateMs"/>.</summary>
    internal long FailureBaseMs { get; init; }
    internal long FailureMaxMs { get; init; }

    /// <summary>The answer's TTL replaces the rate.</summary>
    internal bool RespectTtl { get; init; }
    internal DnsFamily Family { get; init; } = DnsFamily.Auto;
}

/// <summary>Where an ORIGINAL_DST cluster connects to, besides the connection's own original destination.</summary>
internal sealed record OriginalDstConfig
{
    internal static readonly OriginalDstConfig Default = new();

    /// <summary>Header that names the destination as IP:PORT; null: none is read.</summary>
    internal string? HeaderName { get; init; }

    /// <summary>Replaces the destination's port; 0: does not.</summary>
    internal ushort PortOverride { get; init; }
}

/// <summary>Everything configuration says about one cluster, checked and with defaults filled in.</summary>
/// <remarks>Shared immutable. A cluster whose configuration did not change keeps the same object, and with it its connections.</remarks>
internal sealed record ClusterConfig
{
    internal required string Name { get; init; }

    /// <summary>Position in every worker's <see cref="Clusters"/>; the same name always has the same slot.</summary>
    internal required int Slot { get; init; }

    /// <summary>Name in stats: alt_stat_name, or the name.</summary>
    internal required string StatName { get; init; }
    internal required StatsScope Stats { get; init; }
    internal required CircuitBreakers Breakers { get; init; }

    internal DiscoveryType Type { get; init; }

    /// <summary>Name to look endpoints up by; EDS only.</summary>
    internal string ServiceName { get; init; } = "";

    /// <summary>How long its first endpoints are waited for, where its eds_config says so; 0: for ever. EDS only.</summary>
    internal long? FetchTimeoutMs { get; init; }

    /// <summary>The inline endpoints, for DNS to find the names of. Null for the other types: a STATIC cluster has <see cref="StaticHosts"/>.</summary>
    internal EndpointSet? Endpoints { get; init; }

    /// <summary>The hosts of a STATIC cluster; the other types get theirs beside their configuration, and anew by <see cref="Clusters.ApplyHosts"/>.</summary>
    internal HostSet? StaticHosts { get; set; }

    internal LbPolicy LbPolicy { get; init; }

    /// <summary>LEAST_REQUEST: how many hosts compete.</summary>
    internal int ChoiceCount { get; init; } = 2;

    /// <summary>LEAST_REQUEST with unequal weights: exponent of the active requests.</summary>
    internal double ActiveRequestBias { get; init; } = 1.0;

    /// <summary>Below this percent of available hosts all are used; 0: never.</summary>
    internal double PanicThresholdPercent { get; init; } = 50;

    /// <summary>Localities share traffic by weight.</summary>
    internal bool LocalityWeighted { get; init; }
    internal int ConnectTimeoutMs { get; init; } = 5000;

    /// <summary>High watermark of each connection's send side.</summary>
    internal int BufferLimitBytes { get; init; } = Connection.DefaultHighWatermark;
    internal HttpUpstreamOptions Http { get; init; } = HttpUpstreamOptions.Default;
    internal ConnectOptions Connect { get; init; } = ConnectOptions.Default;

    /// <summary>For hosts that no row of <see cref="TransportMatches"/> fits.</summary>
    internal TransportFactory Transport { get; init; } = RawTransportFactory.Instance;
    internal IReadOnlyList<TransportMatch> TransportMatches { get; init; } = [];

    internal DnsRefresh Dns { get; init; } = DnsRefresh.Default;
    internal OriginalDstConfig OriginalDst { get; init; } = OriginalDstConfig.Default;

    /// <summary>ORIGINAL_DST: how long a destination nobody used is remembered.</summary>
    internal long CleanupIntervalMs { get; init; } = 5000;

    internal bool CloseConnectionsOnHostHealthFailure { get; init; }
    internal Metadata Metadata { get; init; } = Metadata.Empty;

    /// <summary>The settings of a cluster without what is its own, to make others from; no worker ever has it.</summary>
    internal ClusterConfig WithoutIdentity() => this with { Name = "", Slot = -1, StatName = "", ServiceName = "", StaticHosts = null, Metadata = Metadata.Empty };

    // A record for its copies alone: two clusters of the same settings are two.
    public bool Equals(ClusterConfig? other) => ReferenceEquals(this, other);

    public override int GetHashCode() => RuntimeHelpers.GetHashCode(this);

    public override string ToString() => Name;

    /// <summary>The factory for a host with this metadata: the first match, or the cluster's own.</summary>
    internal TransportFactory TransportFor(Metadata metadata)
    {
        foreach (var match in TransportMatches)
        {
            if (match.Matches(metadata))
                return match.Factory;
        }
        return Transport;
    }
}
