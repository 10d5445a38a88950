using System;
using System.Collections.Generic;
using System.Text;
using Sidecar.Http;
using Sidecar.Memory;

namespace Sidecar.Routing;

/// <summary>What a request matched.</summary>
/// <param name="Table">The table asked.</param>
/// <param name="VirtualHost">The virtual host of its authority, or null.</param>
/// <param name="Route">The first matching route in it, or null.</param>
/// <param name="Weighted">Of the clusters the route spreads over, the one for this request; null when there is but one.</param>
internal readonly record struct RouteMatchResult(RouteTable? Table, VirtualHost? VirtualHost, Route? Route, WeightedCluster? Weighted)
{
    /// <summary>The configuration of a filter, most specific level first.</summary>
    internal T? FindFilterConfig<T>(string filterName) where T : class =>
        Find<T>(Weighted?.FilterConfigs, filterName) ?? Find<T>(Route?.FilterConfigs, filterName) ?? Find<T>(VirtualHost?.FilterConfigs, filterName) ?? Find<T>(Table?.FilterConfigs, filterName);

    private static T? Find<T>(IReadOnlyDictionary<string, object>? configs, string name) where T : class =>
        configs is not null && configs.Count > 0 && configs.TryGetValue(name, out object? config) ? config as T : null;
}

/// <summary>
/// A route configuration: virtual hosts by domain (exact, then the longest <c>*suffix</c>, then the longest <c>prefix*</c>, then <c>*</c>), and their
/// routes. A pure function of a request's head: it knows cluster names and slots, no clusters.
/// </summary>
/// <remarks>Shared immutable, built on the control loop; matching allocates nothing and costs the same for ten hosts and for ten thousand.</remarks>
internal sealed class RouteTable
{
    internal static readonly IReadOnlyDictionary<string, object> NoFilterConfigs = new Dictionary<string, object>();

    /// <summary>A host longer than this matches no domain but <c>*</c> (DNS allows 255).</summary>
    private const int HostBytesMax = 512;

    private readonly Dictionary<ByteString, VirtualHost> _exact = new(ByteString.Comparer.Instance);
    private readonly AffixIndex<VirtualHost> _suffixes = new(fromEnd: true);
    private readonly AffixIndex<VirtualHost> _prefixes = new();
    private VirtualHost? _any;

    internal string Name { get; init; } = "";
    internal bool IgnorePortInHostMatching { get; init; }
    internal bool IgnorePathParametersInPathMatching { get; init; }
    internal bool MostSpecificMutationsWin { get; init; }
    internal HeaderMutation Mutation { get; init; } = HeaderMutation.None;

    /// <summary>Request fields only internal callers may send (internal_only_headers), lower case.</summary>
    internal byte[][] InternalOnlyHeaders { get; init; } = [];
    internal IReadOnlyDictionary<string, object> FilterConfigs { get; init; } = NoFilterConfigs;

    /// <summary>While the table is built: names a domain; false when another host has it.</summary>
    internal bool TryAdd(string domain, VirtualHost host)
    {
        string lower = domain.ToLowerInvariant();
        if (lower == "*")
        {
            if (_any is not null)
                return false;
            _any = host;
            return true;
        }
        if (lower.StartsWith('*'))
            return _suffixes.TryAdd(Encoding.UTF8.GetBytes(lower[1..]), host);
        if (lower.EndsWith('*'))
            return _prefixes.TryAdd(Encoding.UTF8.GetBytes(lower[..^1]), host);
        return _exact.TryAdd(new ByteString(lower), host);
    }

    /// <summary>The virtual host and the route of a request.</summary>
    internal RouteMatchResult Match(in RouteInput input)
    {
        var host = FindHost(input.Head.Authority);
        var route = IgnorePathParametersInPathMatching ? host?.Match(input.WithoutParameters()) : host?.Match(in input);
        return new RouteMatchResult(this, host, route, route?.Action?.PickWeighted(input.Head, input.Random));
    }

    /// <summary>Takes internal_only_headers off a request of somebody outside, before anything is matched by them.</summary>
    internal void RemoveInternalOnly(RequestHead head)
    {
        if (InternalOnlyHeaders.Length == 0 || head.Contains(HeaderId.XEnvoyInternal))
            return;
        foreach (byte[] name in InternalOnlyHeaders)
            head.Remove(name);
    }

    /// <summary>The virtual host of an authority, compared without regard to case.</summary>
    internal VirtualHost? FindHost(ReadOnlySpan<byte> authority)
    {
        if (IgnorePortInHostMatching)
            authority = WithoutPort(authority);
        if (authority.Length > HostBytesMax || _exact.Count + _suffixes.Count + _prefixes.Count == 0)
            return _any;
        Span<byte> lower = stackalloc byte[HostBytesMax];
        for (int i = 0; i < authority.Length; i++)
            lower[i] = Memory.Ascii.ToLower(authority[i]);

        if (_exact.GetAlternateLookup<ReadOnlySpan<byte>>().TryGetValue(lower[..authority.Length], out var host))
            return host;
        // "*.b" needs something before the dot, "a.*" something after it.
        if (_suffixes.Count > 0 && _suffixes.TryLongest(authority, out host))
            return host;
        if (_prefixes.Count > 0 && _prefixes.TryLongest(authority, out host))
            return host;
        return _any;
    }

    private static ReadOnlySpan<byte> WithoutPort(ReadOnlySpan<byte> authority)
    {
        int colon = authority.LastIndexOf((byte)':');
        if (colon <= 0 || (authority[0] == '[' && authority[colon - 1] != ']'))
            return authority;
        foreach (byte b in authority[(colon + 1)..])
        {
            if (!Memory.Ascii.IsDigit(b))
                return authority;
        }
        return authority[..colon];
    }
}
