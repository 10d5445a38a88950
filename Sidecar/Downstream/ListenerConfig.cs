using System.Collections.Generic;
using Sidecar.Filters;
using Sidecar.Net;
using Sidecar.Telemetry.Stats;
using Sidecar.Tls;

namespace Sidecar.Downstream;

/// <summary>traffic_direction.</summary>
internal enum TrafficDirection : byte { Unspecified, Inbound, Outbound }

/// <summary>A listener as configured.</summary>
/// <remarks>Shared immutable. Chains whose configuration did not change are the same objects in the next version, and keep their connections.</remarks>
internal sealed class ListenerConfig
{
    internal required string Name { get; init; }

    /// <summary>The address, and any additional ones.</summary>
    internal required IReadOnlyList<ListenOptions> Addresses { get; init; }

    /// <summary>False: no socket of its own; it is given connections by listeners with <see cref="UseOriginalDst"/>.</summary>
    internal bool BindToPort { get; init; } = true;

    /// <summary>Connections are handed to the listener of their original destination where there is one.</summary>
    internal bool UseOriginalDst { get; init; }
    internal bool Transparent { get; init; }
    internal TrafficDirection Direction { get; init; }

    internal IReadOnlyList<ListenerFilters.Configured> ListenerFilters { get; init; } = [];

    /// <summary>How long listener filters may wait for bytes; 0: for ever.</summary>
    internal long ListenerFiltersTimeoutMs { get; init; } = 15_000;
    internal bool ContinueOnListenerFiltersTimeout { get; init; }

    internal required IReadOnlyList<FilterChainConfig> Chains { get; init; }
    internal FilterChainConfig? DefaultChain { get; init; }
    internal required FilterChainMatch Match { get; init; }

    /// <summary>per_connection_buffer_limit_bytes: high watermark of each connection's send side.</summary>
    internal int BufferLimitBytes { get; init; } = Connection.DefaultHighWatermark;

    /// <summary>drain_type DEFAULT: its connections drain also while health checks are failed by /healthcheck/fail.</summary>
    internal bool DrainsUnhealthy { get; init; } = true;
    internal bool IgnoreGlobalLimit { get; init; }

    /// <summary>bypass_overload_manager: it serves, however short memory is.</summary>
    internal bool BypassesOverload { get; init; }
    internal required StatsScope Stats { get; init; }

    /// <summary>What the process must be allowed to do to run it, for the operator.</summary>
    internal IEnumerable<string> Needs()
    {
        if (Transparent)
            yield return "transparent: CAP_NET_ADMIN, to accept connections to the addresses of others (IP_TRANSPARENT)";
        for (int i = 0; i < ListenerFilters.Count; i++)
        {
            if (ListenerFilters[i].Filter.Needs is { Length: > 0 } needs)
                yield return $"listener_filters[{i}]: {needs}";
        }
    }
}

/// <summary>One filter chain.</summary>
/// <remarks>Shared immutable; identity matters: the same object is the same chain, whose connections go on.</remarks>
internal sealed class FilterChainConfig
{
    internal required string Name { get; init; }
    internal required ConnectionContext Context { get; init; }
    internal required TerminalFilterFactory Terminal { get; init; }

    /// <summary>Terminates TLS; null: bytes as they are.</summary>
    internal TlsContextSlot? Tls { get; init; }

    /// <summary>transport_socket_connect_timeout: how long a handshake may take; 0: for ever.</summary>
    internal int HandshakeTimeoutMs { get; init; }

    /// <summary>The wire bytes it was made from, to find it unchanged in the next version.</summary>
    internal required byte[] WireBytes { get; init; }
}
