using System.Collections.Generic;
using Sidecar.Wire;

namespace Sidecar.Xds;

/// <summary>One resource that is refused, and why: a part of a NACK's error_detail.</summary>
/// <param name="Name">The resource's name; empty when the answer as a whole is meant.</param>
/// <param name="Path">The field within the resource; empty when all of it is meant.</param>
/// <param name="Reason">What is wrong, one line.</param>
internal readonly record struct ResourceRejection(string Name, string Path, string Reason);

/// <summary>One answer of a control plane (or of a file) for one type of resource, unwrapped.</summary>
/// <remarks>Immutable; made and read on the control loop.</remarks>
internal sealed class DiscoveryUpdate
{
    /// <summary>The type of all its resources; <see cref="ResourceTypes"/>.</summary>
    internal required string TypeUrl { get; init; }

    /// <summary>
    /// True: <see cref="Resources"/> is what changed. False: the answer holds the state of the world, as far as it was subscribed to.
    /// </summary>
    internal required bool IsDelta { get; init; }

    /// <summary>version_info, or system_version_info: the version of the whole; for delta only for people to read.</summary>
    internal required string SystemVersion { get; init; }

    /// <summary>The answer's nonce; empty for files.</summary>
    internal string Nonce { get; init; } = "";

    /// <summary>The control plane's address, or the file.</summary>
    internal required string Source { get; init; }

    /// <summary>When its last byte was here, by the loop's clock.</summary>
    internal required long ReceivedNs { get; init; }

    /// <summary>How many bytes the answer had.</summary>
    internal required long Bytes { get; init; }

    /// <summary>
    /// Delta: added or changed. State of the world: all that the answer holds, changed or not (telling which is the taker's: by the bytes).
    /// Each has its version; in the state of the world that is the answer's unless the resource came wrapped with its own.
    /// </summary>
    internal required IReadOnlyList<DiscoveredResource> Resources { get; init; }

    /// <summary>
    /// Names that are no more. Delta: what the control plane said; it may name what nobody here knows. State of the world: listeners and clusters
    /// that an answer had earlier and this one has not. Other types are never removed by absence.
    /// </summary>
    internal IReadOnlyList<string> Removed { get; init; } = [];

    /// <summary>What could not be unwrapped. Already part of the NACK, and here for /config_status: do not return it again.</summary>
    internal IReadOnlyList<ResourceRejection> Malformed { get; init; } = [];
}
