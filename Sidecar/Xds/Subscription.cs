using System;
using System.Collections.Generic;
using Sidecar.Telemetry.Stats;
using Sidecar.Wire;

namespace Sidecar.Xds;

/// <summary>
/// One type of resource as its source sees it: what is wanted, what has arrived in which version, what is still waited for. It outlives
/// streams: what one of them says to a control plane is made of this.
/// </summary>
/// <remarks>Control loop. Knows neither time nor streams, so that it is tested by transcripts.</remarks>
internal sealed class Subscription(string typeUrl)
{
    /// <summary>Types in the order they are asked for: what refers comes after what it refers to (make before break).</summary>
    private static readonly string[] s_order =
    [
        ResourceTypes.Cluster, ResourceTypes.ClusterLoadAssignment, ResourceTypes.Listener, ResourceTypes.RouteConfiguration, ResourceTypes.Secret,
        ResourceTypes.Extension,
    ];

    private readonly Dictionary<string, KnownResource> _known = new(StringComparer.Ordinal);
    private HashSet<string> _names = new(StringComparer.Ordinal);

    // Most control planes never give a time to live: then nobody looks for one.
    private bool _anyExpires;

    /// <summary>What is known of a resource that arrived.</summary>
    /// <param name="Version">The version in use; null when none was ever accepted.</param>
    /// <param name="ExpiresMs">When its time to live is over, by the loop's clock; <see cref="long.MaxValue"/>: never.</param>
    internal readonly record struct KnownResource(string? Version, long ExpiresMs);

    internal string TypeUrl { get; } = typeUrl;

    /// <summary>Place in the order of types.</summary>
    internal int Order { get; } = Array.IndexOf(s_order, typeUrl) is >= 0 and var order ? order : s_order.Length;

    /// <summary>update_success and its like; null for types whose stats belong to the single resource.</summary>
    internal StatsCells? Stats { get; init; }

    internal bool IsWildcard { get; private set; }
    internal IReadOnlySet<string> Names => _names;
    internal bool HasInterest => IsWildcard || _names.Count > 0;

    /// <summary>Counts changes of the interest, so that a stream knows whether it has said the present one.</summary>
    internal int InterestNumber { get; private set; }

    /// <summary>What arrived, by name.</summary>
    internal IReadOnlyDictionary<string, KnownResource> Known => _known;

    /// <summary>The version of the last answer that was accepted whole; empty before. State of the world.</summary>
    internal string AcceptedVersion { get; private set; } = "";

    /// <summary>Names asked for and not heard of, with the end of the patience for each.</summary>
    internal Dictionary<string, long> Waiting { get; } = new(StringComparer.Ordinal);

    /// <summary>The wildcard was asked for and nothing was heard: the end of the patience; else null.</summary>
    internal long? WildcardWaiting { get; set; }

    /// <summary>LDS and CDS: a state of the world without a resource says that it is gone.</summary>
    private bool AbsenceRemoves => TypeUrl is ResourceTypes.Listener or ResourceTypes.Cluster;

    // ---- interest -----------------------------------------------------------------------------------------------

    /// <summary>Sets the interest. What is no longer wanted is forgotten.</summary>
    /// <param name="wildcard">Everything there is for us.</param>
    /// <param name="names">And these.</param>
    /// <param name="wildcardEndsMs">How long to wait for an answer to the wildcard, when that is new.</param>
    /// <param name="endsMs">By name, how long to wait for those that have not come. What is waited for already may get less patience, never more.</param>
    /// <returns>The names that have another patience than before: the new ones first of all.</returns>
    internal List<string> SetInterest(bool wildcard, IReadOnlyCollection<string> names, long wildcardEndsMs, Func<string, long> endsMs)
    {
        var wanted = new HashSet<string>(names, StringComparer.Ordinal);
        wanted.Remove("*");
        var added = new List<string>();
        foreach (string name in Waiting.Keys)
        {
            if (wanted.Contains(name) && endsMs(name) < Waiting[name])
                added.Add(name);
        }
        foreach (string name in added)
            Waiting[name] = endsMs(name);
        if (wildcard == IsWildcard && wanted.SetEquals(_names))
            return added;
        InterestNumber++;
        foreach (string name in wanted)
        {
            if (!_names.Contains(name) && !_known.ContainsKey(name))
            {
                Waiting[name] = endsMs(name);
                added.Add(name);
            }
        }
        if (wildcard != IsWildcard)
            WildcardWaiting = wildcard ? wildcardEndsMs : null;
        IsWildcard = wildcard;
        foreach (string name in _names)
        {
            if (wanted.Contains(name))
                continue;
            Waiting.Remove(name);
            if (!wildcard)
                _known.Remove(name);
        }
        _names = wanted;
        if (!wildcard)
            ForgetUnwanted();
        return added;
    }

    private void ForgetUnwanted()
    {
        foreach (string name in new List<string>(_known.Keys))
        {
            if (!_names.Contains(name))
                _known.Remove(name);
        }
    }

    // ---- answers ------------------------------------------------------------------------------------------------

    /// <summary>Makes of an answer what its taker gets: sorts out what is malformed, repeated, unasked for, or a mere heartbeat.</summary>
    /// <param name="response">The answer, of this type.</param>
    /// <param name="source">Who gave it.</param>
    /// <param name="nowMs">The loop's clock, from which times to live count.</param>
    /// <param name="receivedNs">When its last byte came.</param>
    internal DiscoveryUpdate Open(ReceivedResponse response, string source, long nowMs, long receivedNs)
    {
        var resources = new List<DiscoveredResource>(response.Resources.Count);
        var malformed = new MalformedList();
        var places = new Dictionary<string, int>(response.Resources.Count, StringComparer.Ordinal);
        HashSet<string>? twice = null;
        bool nameless = false;
        for (int i = 0; i < response.Resources.Count; i++)
        {
            var resource = response.Resources[i];
            if (resource.Name.Length > 0 && !places.TryAdd(resource.Name, i) && (twice ??= new(StringComparer.Ordinal)).Add(resource.Name))
                malformed.Add(resource.Name, "", $"duplicate name {resource.Name} found among added/updated resources");
            nameless |= resource.Name.Length == 0;
        }
        foreach (string name in response.Removed)
        {
            if (places.ContainsKey(name) && (twice ??= new(StringComparer.Ordinal)).Add(name))
                malformed.Add(name, "", $"duplicate name {name} found in the union of added+removed resources");
        }
        for (int i = 0; i < response.Resources.Count; i++)
        {
            var resource = response.Resources[i];
            string? problem = resource.Problem ?? (resource.HasBytes ? Refusal(resource, response) : null);
            if (problem is not null)
                malformed.Add(resource.Name.Length > 0 ? resource.Name : $"resources[{i}]", "", problem);
            else if (twice is not null && twice.Contains(resource.Name) || !IsWanted(resource))
                continue;
            else if (!resource.HasBytes)
                Renew(resource, nowMs, malformed);
            else
                resources.Add(new DiscoveredResource(TypeUrl, resource.Name, resource.Version ?? response.Version, resource.Bytes, source));
        }
        return new DiscoveryUpdate
        {
            TypeUrl = TypeUrl,
            IsDelta = response.IsDelta,
            SystemVersion = response.Version,
            Nonce = response.Nonce,
            Source = source,
            ReceivedNs = receivedNs,
            Bytes = response.Bytes,
            Resources = resources,
            Removed = response.IsDelta ? Removed(response, twice) : Absent(places, nameless),
            Malformed = malformed.Entries,
        };
    }

    private static string? Refusal(in ReceivedResource resource, ReceivedResponse response)
    {
        if (resource.TypeUrl != response.TypeUrl)
        {
            string message = response.IsDelta ? "DeltaDiscoveryResponse" : "DiscoveryResponse";
            return $"type URL {resource.TypeUrl} embedded in an individual Any does not match the message-wide type URL {response.TypeUrl} in {message}";
        }
        return resource.Name.Length == 0 ? "it has no name" : null;
    }

    // A control plane may send more than was asked for, and what was asked for a moment ago: nobody here waits for it.
    private bool IsWanted(in ReceivedResource resource)
    {
        if (IsWildcard || _names.Contains(resource.Name))
            return true;
        foreach (string alias in resource.Aliases ?? [])
        {
            if (_names.Contains(alias))
                return true;
        }
        return false;
    }

    private void Renew(in ReceivedResource resource, long nowMs, MalformedList malformed)
    {
        if (_known.TryGetValue(resource.Name, out var known) && known.Version is not null && known.Version == (resource.Version ?? ""))
            _known[resource.Name] = known with { ExpiresMs = Expiry(resource.TtlMs, nowMs) };
        else
            malformed.Add(resource.Name, "", $"it is empty, and no heartbeat: version '{resource.Version}' is not the one in use, '{known.Version}'");
    }

    private static List<string> Removed(ReceivedResponse response, HashSet<string>? twice)
    {
        if (twice is null)
            return response.Removed;
        var removed = new List<string>();
        foreach (string name in response.Removed)
        {
            if (!twice.Contains(name))
                removed.Add(name);
        }
        return removed;
    }

    // A resource whose name cannot be read may be any of those that seem to be absent: then none of them is.
    private List<string> Absent(Dictionary<string, int> present, bool nameless)
    {
        var absent = new List<string>();
        if (!AbsenceRemoves || nameless)
            return absent;
        foreach (string name in _known.Keys)
        {
            if (!present.ContainsKey(name))
                absent.Add(name);
        }
        return absent;
    }

    /// <summary>Notes what became of an answer.</summary>
    /// <param name="response">The answer.</param>
    /// <param name="update">What <see cref="Open"/> made of it.</param>
    /// <param name="rejections">Everything refused, the malformed included.</param>
    /// <param name="nowMs">The loop's clock.</param>
    internal void Settle(ReceivedResponse response, DiscoveryUpdate update, IReadOnlyList<ResourceRejection> rejections, long nowMs)
    {
        HashSet<string>? refused = null;
        bool refusedWhole = false;
        foreach (var rejection in rejections)
        {
            refusedWhole |= rejection.Name.Length == 0;
            (refused ??= new(StringComparer.Ordinal)).Add(rejection.Name);
        }
        var versions = new Dictionary<string, string>(update.Resources.Count, StringComparer.Ordinal);
        foreach (var resource in update.Resources)
            versions.Add(resource.Name, resource.Version);
        foreach (var resource in response.Resources)
        {
            Heard(resource.Name);
            foreach (string alias in resource.Aliases ?? [])
                Heard(alias);
            if (!versions.TryGetValue(resource.Name, out string? version) || !IsWanted(resource))
                continue;
            if (!refusedWhole && (refused is null || !refused.Contains(resource.Name)))
                _known[resource.Name] = new KnownResource(version, Expiry(resource.TtlMs, nowMs));
            else
                _known.TryAdd(resource.Name, new KnownResource(null, long.MaxValue));
        }
        foreach (string name in update.Removed)
        {
            Heard(name);
            _known.Remove(name);
        }
        foreach (var error in response.Errors)
            Heard(error.Name);
        if (!response.IsDelta && AbsenceRemoves)
            Waiting.Clear();
        WildcardWaiting = null;
        if (rejections.Count == 0)
            AcceptedVersion = response.Version;
    }

    /// <summary>Forgets resources whose time to live is over.</summary>
    internal List<string> TakeExpired(long nowMs)
    {
        var expired = new List<string>();
        foreach (var (name, known) in _known)
        {
            if (known.ExpiresMs <= nowMs)
                expired.Add(name);
        }
        foreach (string name in expired)
            _known.Remove(name);
        return expired;
    }

    /// <summary>When the next resource expires; <see cref="long.MaxValue"/>: none does.</summary>
    internal long NextExpiryMs()
    {
        long next = long.MaxValue;
        if (!_anyExpires)
            return next;
        foreach (var known in _known.Values)
            next = Math.Min(next, known.ExpiresMs);
        _anyExpires = next != long.MaxValue;
        return next;
    }

    private void Heard(string name)
    {
        if (Waiting.Count > 0)
            Waiting.Remove(name);
    }

    private long Expiry(long ttlMs, long nowMs)
    {
        _anyExpires |= ttlMs >= 0;
        return ttlMs < 0 ? long.MaxValue : nowMs + ttlMs;
    }

    /// <summary>What is malformed in one answer: bounded, for an answer may be nothing else.</summary>
    private sealed class MalformedList
    {
        private const int Max = 1000;

        internal List<ResourceRejection> Entries { get; } = [];

        internal void Add(string name, string path, string reason)
        {
            if (Entries.Count < Max)
                Entries.Add(new ResourceRejection(name, path, reason));
        }
    }
}
