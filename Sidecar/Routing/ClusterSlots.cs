using System;
using System.Collections.Generic;

namespace Sidecar.Routing;

/// <summary>A cluster as a route names it: its slot in every worker's table, and its name for reports. Slot -1: only the name is known (cluster_header).</summary>
internal sealed record ClusterRef(int Slot, string Name);

/// <summary>Gives every cluster name a slot for the life of the process, so that tables built from different snapshots agree.</summary>
/// <remarks>Control loop only. A slot costs eight bytes a worker, also after its cluster is gone.</remarks>
internal sealed class ClusterSlots
{
    private readonly Dictionary<string, ClusterRef> _byName = new(StringComparer.Ordinal);

    /// <summary>The slot of a name; the same name always has the same one.</summary>
    internal ClusterRef Intern(string name)
    {
        if (!_byName.TryGetValue(name, out var cluster))
            _byName.Add(name, cluster = new ClusterRef(_byName.Count, name));
        return cluster;
    }
}
