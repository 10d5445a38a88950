using System;
using System.Buffers.Text;
using System.Collections.Generic;
using System.Diagnostics;
using System.Numerics;
using Sidecar.Http;
using Sidecar.Memory;

namespace Sidecar.Routing;

/// <summary>envoy.config.core.v3.RoutingPriority.</summary>
internal enum RoutePriority : byte { Default, High }

/// <summary>One of several clusters a route spreads requests over.</summary>
/// <param name="Cluster">The cluster; null with <paramref name="ClusterHeader"/>.</param>
/// <param name="ClusterHeader">Request field that names the cluster, lower case; empty with <paramref name="Cluster"/>.</param>
/// <param name="UpTo">Running sum of weights, this one included.</param>
internal sealed record WeightedCluster(ClusterRef? Cluster, byte[] ClusterHeader, ulong UpTo)
{
    internal HeaderMutation Mutation { get; init; } = HeaderMutation.None;
    internal byte[] HostRewrite { get; init; } = [];
    internal IReadOnlyDictionary<string, object> FilterConfigs { get; init; } = RouteTable.NoFilterConfigs;
}

/// <summary>Forward to a cluster, and how. Times in milliseconds; 0 is no limit.</summary>
/// <remarks>Shared immutable.</remarks>
internal sealed class RouteAction
{
    internal ClusterRef? Cluster { get; init; }

    /// <summary>Request field that names the cluster (cluster_header), lower case; empty: none.</summary>
    internal byte[] ClusterHeader { get; init; } = [];
    internal WeightedCluster[] Weighted { get; init; } = [];

    /// <summary>Request field whose decimal value decides among <see cref="Weighted"/> instead of chance, lower case; empty: chance.</summary>
    internal byte[] WeightedRandomHeader { get; init; } = [];
    internal int ClusterNotFoundStatus { get; init; } = 503;
    internal RoutePriority Priority { get; init; }

    internal long TimeoutMs { get; init; } = 15_000;
    internal long? IdleTimeoutMs { get; init; }
    internal long? MaxGrpcTimeoutMs { get; init; }
    internal long GrpcTimeoutOffsetMs { get; init; }
    internal long? MaxStreamDurationMs { get; init; }
    internal long? GrpcTimeoutHeaderMaxMs { get; init; }
    internal long GrpcTimeoutHeaderOffsetMs { get; init; }
    internal RetryPolicy? Retry { get; init; }
    internal HashPolicy[] Hashes { get; init; } = [];

    internal byte[] PrefixRewrite { get; init; } = [];
    internal RegexRewrite? PathRegexRewrite { get; init; }
    internal byte[] HostRewrite { get; init; } = [];

    /// <summary>The chosen host's name becomes the authority.</summary>
    internal bool AutoHostRewrite { get; init; }

    /// <summary>Request field that gives the new authority, lower case; empty: none.</summary>
    internal byte[] HostRewriteHeader { get; init; } = [];
    internal RegexRewrite? HostRewritePathRegex { get; init; }
    internal bool AppendXForwardedHost { get; init; }

    /// <summary>Upgrade types allowed or forbidden on this route, lower case; null: the connection manager decides.</summary>
    internal IReadOnlyDictionary<string, bool>? Upgrades { get; init; }

    internal string SingleClusterName => Cluster?.Name ?? "";

    /// <summary>Chooses among <see cref="Weighted"/>, by their weights; null when there is nothing to choose.</summary>
    internal WeightedCluster? PickWeighted(RequestHead head, ulong random)
    {
        if (Weighted.Length == 0)
            return null;
        Debug.Assert(Weighted[^1].UpTo > 0);
        // Other bits than those that decided about the route's share of requests.
        ulong point = (TryGivenRandom(head, out ulong given) ? given : BitOperations.RotateLeft(random, 32)) % Weighted[^1].UpTo;
        foreach (var candidate in Weighted)
        {
            if (point < candidate.UpTo)
                return candidate;
        }
        return null;
    }

    /// <summary>The cluster for a request; slot -1 where only its name is known. Null when the request does not name one.</summary>
    internal ClusterRef? PickCluster(RequestHead head, WeightedCluster? weighted) =>
        weighted is null ? Cluster ?? Named(head, ClusterHeader) : weighted.Cluster ?? Named(head, weighted.ClusterHeader);

    /// <summary>The hash of a request for consistent load balancing, or null when no policy applies.</summary>
    internal ulong? Hash(IHeaderFacts facts)
    {
        ulong? hash = null;
        foreach (var policy in Hashes)
        {
            if (policy.Evaluate(facts) is { } next)
            {
                // Envoy's combination: the rotation keeps two equal values from cancelling each other out.
                hash = hash is { } old ? BitOperations.RotateLeft(old, 1) ^ next : next;
            }
            if (policy.Terminal && hash is not null)
                break;
        }
        return hash;
    }

    /// <summary>Adds the cookies that clients without one are to come back with (hash_policy cookie with a ttl).</summary>
    internal void SetCookies(IHeaderFacts facts, HeaderMap response)
    {
        foreach (var policy in Hashes)
            policy.SetCookie(facts, response);
    }

    // Only a single value counts, as in Envoy: of several, each proxy on the way might take another.
    private bool TryGivenRandom(RequestHead head, out ulong random)
    {
        random = 0;
        if (WeightedRandomHeader.Length == 0)
            return false;
        int index = -1;
        var id = HeaderNames.Lookup(WeightedRandomHeader);
        return head.TryGetNext(id, WeightedRandomHeader, ref index, out var text)
            && Utf8Parser.TryParse(text, out random, out int used) && used == text.Length
            && !head.TryGetNext(id, WeightedRandomHeader, ref index, out _);
    }

    // The name a request gave last on this thread: a route that takes its cluster from a header mostly sees few of them in a row.
    [ThreadStatic]
    private static ClusterRef? t_lastNamed;

    private static ClusterRef? Named(RequestHead head, byte[] header)
    {
        if (!head.TryGet(header, out var name) || name.IsEmpty)
            return null;
        if (t_lastNamed is { } last && last.Name.Length == name.Length && Same(last.Name, name))
            return last;
        return t_lastNamed = new ClusterRef(-1, Ascii.String(name));
    }

    private static bool Same(string text, ReadOnlySpan<byte> bytes)
    {
        for (int i = 0; i < bytes.Length; i++)
        {
            if (text[i] != bytes[i])
                return false;
        }
        return true;
    }
}
