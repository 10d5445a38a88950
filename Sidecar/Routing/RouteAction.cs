using System;
using System.Collections.Generic;
using Sidecar.Http;
using Sidecar.Memory;

namespace Sidecar.Routing;

/// <summary>envoy.config.core.v3.RoutingPriority.</summary>
internal enum RoutePriority : byte { Default, High }

/// <summary>One of several clusters a route spreads requests over.</summary>
/// <param name="Cluster">The cluster; null with <paramref name="ClusterHeader"/>.</param>
/// <param name="ClusterHeader">Request field that names the cluster, or null.</param>
/// <param name="UpTo">Running sum of weights, this one included.</param>
internal sealed record WeightedCluster(ClusterRef? Cluster, string? ClusterHeader, ulong UpTo)
{
    internal HeaderMutation Mutation { get; init; } = HeaderMutation.None;
    internal byte[] HostRewrite { get; init; } = [];
    internal IReadOnlyDictionary<string, object> FilterConfigs { get; init; } = RouteTable.NoFilterConfigs;
}

/// <summary>A copy of requests sent to another cluster, whose answers nobody sees.</summary>
internal sealed record MirrorPolicy(ClusterRef Cluster, uint PerMillion, bool AppendShadowSuffix);

/// <summary>Forward to a cluster, and how. Times in milliseconds; 0 is no limit.</summary>
/// <remarks>Shared immutable.</remarks>
internal sealed class RouteAction
{
    internal ClusterRef? Cluster { get; init; }

    /// <summary>Request field that names the cluster (cluster_header), or null.</summary>
    internal string? ClusterHeader { get; init; }
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
    internal MirrorPolicy[] Mirrors { get; init; } = [];

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

    /// <summary>The cluster for a request; slot -1 where only its name is known. Null when the request does not name one.</summary>
    internal ClusterRef? PickCluster(RequestHead head, ulong random, out WeightedCluster? weighted)
    {
        weighted = null;
        if (Cluster is not null)
            return Cluster;
        if (ClusterHeader is not null)
            return Named(head, ClusterHeader);
        if (WeightedRandomHeader.Length > 0 && head.TryGet(WeightedRandomHeader, out var text) && Ascii.TryParseDecimal(text, out long given))
            random = (ulong)given;
        ulong point = random % Weighted[^1].UpTo;
        foreach (var candidate in Weighted)
        {
            if (point >= candidate.UpTo)
                continue;
            weighted = candidate;
            break;
        }
        return weighted!.Cluster ?? Named(head, weighted.ClusterHeader!);
    }

    /// <summary>The hash of a request for consistent load balancing, or null when no policy applies.</summary>
    internal ulong? Hash(IHeaderFacts facts)
    {
        ulong? hash = null;
        foreach (var policy in Hashes)
        {
            if (policy.Evaluate(facts) is { } next)
            {
                // Envoy's combination: rotate, then exclusive or.
                hash = hash is { } old ? (old << 1 | old >> 63) ^ next : next;
                if (policy.Terminal)
                    break;
            }
        }
        return hash;
    }

    // A cluster named by the request is looked up by name; such routes are rare and pay for a string.
    private static ClusterRef? Named(RequestHead head, string header) =>
        head.TryGet(Ascii.Bytes(header), out var name) && !name.IsEmpty ? new ClusterRef(-1, Ascii.String(name)) : null;
}
