using Sidecar.Net;

namespace Sidecar.Upstream.LoadBalancing;

/// <summary>What a request or TCP session brings to the choice of its host.</summary>
/// <remarks>Worker-owned; asked during <see cref="Cluster.PickHost"/> only.</remarks>
internal abstract class LoadBalancerContext
{
    /// <summary>Hash of what the hash policy names, or null: any host will do.</summary>
    internal virtual ulong? Hash => null;

    /// <summary>Where the downstream connection was going, for ORIGINAL_DST clusters; none when unknown.</summary>
    internal virtual Address OriginalDestination => default;

    /// <summary>The destination named by the request's header <paramref name="name"/>, for ORIGINAL_DST clusters with use_http_header.</summary>
    /// <returns>False when the request has no such header; with true and <see cref="Address.IsNone"/> its value is no address.</returns>
    internal virtual bool TryGetHeaderDestination(string name, out Address destination)
    {
        destination = default;
        return false;
    }

    /// <summary>How often another host may be asked for when <see cref="ShouldSelectAnotherHost"/> says no to one.</summary>
    internal virtual int HostSelectionRetriesMax => 0;

    /// <summary>A retry that does not want the hosts it tried before.</summary>
    internal virtual bool ShouldSelectAnotherHost(Host host) => false;

    /// <summary>A retry that wants no host of a priority it tried before; null: the cluster's own loads hold. One entry per priority, summing to 100.</summary>
    internal virtual uint[]? PriorityLoad(HostSet hosts) => null;
}
