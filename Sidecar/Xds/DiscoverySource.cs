using System;
using System.Collections.Generic;

namespace Sidecar.Xds;

/// <summary>Takes what discovery brings. All calls come on the control loop, between two of its turns' events, never from inside of Subscribe.</summary>
internal interface IDiscoveryTarget
{
    /// <summary>An answer came.</summary>
    /// <returns>
    /// What is refused: none makes it an ACK, any a NACK that says each one's name, path and reason. What is not refused counts as accepted: its
    /// version is the one told to a control plane after a reconnect.
    /// </returns>
    IReadOnlyList<ResourceRejection> OnUpdate(DiscoveryUpdate update);

    /// <summary>
    /// initial_fetch_timeout has passed and nothing was heard: of these names, or, when there are none, of the wildcard. Go on without them.
    /// </summary>
    void OnFetchTimeout(string typeUrl, IReadOnlyList<string> names);

    /// <summary>The time to live of these resources is over: they count as removed.</summary>
    void OnExpired(string typeUrl, IReadOnlyList<string> names);

    /// <summary>A source of this type has ended without an answer: for who counts that where its resources are used.</summary>
    void OnFailure(string typeUrl)
    {
    }

    /// <summary>The stream to a control plane is up, or it ended, and why. While there is none, what is there goes on serving.</summary>
    void OnConnection(bool connected, string reason);
}

/// <summary>
/// Where resources come from: a control plane (ADS, state of the world or delta; or one stream for a type; or REST), or files. Brings them to its
/// <see cref="IDiscoveryTarget"/>.
/// </summary>
/// <remarks>Control loop only.</remarks>
internal abstract class DiscoverySource
{
    /// <summary>Starts to ask. Subscriptions may come before and after.</summary>
    internal abstract void Start();

    /// <summary>Ends for good; the target hears nothing more.</summary>
    internal abstract void Stop();

    /// <summary>
    /// Says the whole interest in a type; replaces what was said before. What changes within one turn of the loop is sent together at its end,
    /// clusters first, then endpoints, listeners, routes, secrets, extensions.
    /// </summary>
    /// <param name="typeUrl">One of <see cref="Wire.ResourceTypes"/>.</param>
    /// <param name="wildcard">All resources the control plane has for us, as for listeners and clusters.</param>
    /// <param name="names">These besides. None, and no wildcard: no more interest; resources that were there are then forgotten without a word.</param>
    /// <param name="fetchTimeoutMs">
    /// initial_fetch_timeout by name, for resources whose own ConfigSource says one, asked for what has not come when the interest is said; 0: wait for ever;
    /// null: what the bootstrap says.
    /// </param>
    internal abstract void Subscribe(string typeUrl, bool wildcard, IReadOnlyCollection<string> names, Func<string, long>? fetchTimeoutMs = null);

    /// <summary>What the control plane calls itself (control_plane.identifier); empty until it has said so.</summary>
    internal virtual string ControlPlane => "";
}
