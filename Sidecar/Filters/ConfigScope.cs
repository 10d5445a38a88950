using System;
using System.Collections.Generic;
using Google.Protobuf.WellKnownTypes;
using Sidecar.Routing;
using Sidecar.Telemetry.Stats;
using Sidecar.Tls;
using WireCore = Envoy.Config.Core.V3;
using WireMatcher = Envoy.Type.Matcher.V3;
using WireRoute = Envoy.Config.Route.V3;
using WireTls = Envoy.Extensions.TransportSockets.Tls.V3;

namespace Sidecar.Filters;

/// <summary>A reason why a resource is refused, or what of it has no effect, with the field's path below the resource.</summary>
internal readonly record struct ConfigProblem(string Path, string Reason);

/// <summary>A connection manager takes a route configuration by name.</summary>
/// <param name="Name">The route configuration's.</param>
/// <param name="StatPrefix">The connection manager's.</param>
/// <param name="FetchTimeoutMs">How long the first version is waited for, where its source says so; 0: for ever.</param>
internal readonly record struct RouteUse(string Name, string StatPrefix, long? FetchTimeoutMs);

/// <summary>What the translation of one snapshot offers to every extension's Create: services of the control loop.</summary>
internal sealed class ConfigServices
{
    internal required StatsRegistry Stats { get; init; }

    /// <summary>The stable slot of a cluster name.</summary>
    internal required Func<string, ClusterRef> Cluster { get; init; }

    /// <summary>The stable slot of a route configuration name in <see cref="WorkerScope.RouteTables"/>.</summary>
    internal required Func<string, int> RouteSlot { get; init; }

    /// <summary>Notes that a connection manager takes a route configuration by name, and how.</summary>
    internal Action<RouteUse> RouteUse { get; init; } = static _ => { };

    /// <summary>Translates an inline route configuration; null, with problems noted in the scope, when it is refused.</summary>
    internal required Func<WireRoute.RouteConfiguration, ConfigScope, RouteTable?> RouteTable { get; init; }

    /// <summary>Translates a matcher; null, with the problem noted in the scope, when it is refused.</summary>
    internal required Func<WireMatcher.StringMatcher, ConfigScope, StringMatcher?> StringMatcher { get; init; }

    /// <summary>As <see cref="StringMatcher"/>, for a header.</summary>
    internal required Func<WireRoute.HeaderMatcher, ConfigScope, HeaderMatcher?> HeaderMatcher { get; init; }

    /// <summary>Identifier of this proxy's node (<c>--service-node</c>), which fault injection may be limited to.</summary>
    internal string NodeId { get; init; } = "";

    /// <summary>A chain's TLS context: its configuration, the prefix and label of the listener's stats; null, with the problem noted, when it is refused.</summary>
    internal Func<WireTls.DownstreamTlsContext, string, StatTag, ConfigScope, TlsContextSlot?> DownstreamTls { get; init; } = static (_, _, _, scope) => NoTls(scope);

    /// <summary>As <see cref="DownstreamTls"/>, for a cluster.</summary>
    internal Func<WireTls.UpstreamTlsContext, string, StatTag, ConfigScope, TlsContextSlot?> UpstreamTls { get; init; } = static (_, _, _, scope) => NoTls(scope);

    /// <summary>
    /// Notes that the resource being translated needs another by name: its type, its name, where it comes from. What is wrong with the source is noted in
    /// the scope. Returns what the other one is kept under.
    /// </summary>
    internal Func<string, string, WireCore.ConfigSource, ConfigScope, string> Named { get; init; } = static (_, name, _, _) => name;

    /// <summary>
    /// Has a filter's configuration discovered: its name, where it comes from, and whether the listener waits for it. What is wrong is noted in the scope.
    /// </summary>
    internal Action<string, WireCore.ConfigSource, bool, DiscoveredFilterSlot, ConfigScope> Discover { get; init; } =
        static (_, _, _, _, scope) => scope.Reject("", "extension discovery is not available here");

    private static TlsContextSlot? NoTls(ConfigScope scope)
    {
        scope.Reject("", "TLS is not available here");
        return null;
    }

    /// <summary>Null when a cluster of this name exists in the snapshot being built; else why not, to be read by whoever names it.</summary>
    internal required Func<string, string?> ClusterProblem { get; init; }
}

/// <summary>
/// The place in a resource that is being translated: collects what is wrong with it, by path, so that one pass names every problem.
/// </summary>
/// <remarks>Control loop only.</remarks>
internal sealed class ConfigScope
{
    private readonly List<ConfigProblem> _rejections;
    private readonly List<ConfigProblem> _ignored;

    // Paths are for problems, and most fields have none: a scope knows where it hangs and spells that out when asked.
    private readonly ConfigScope? _parent;
    private readonly string _field;
    private readonly int _index = NoIndex;

    private const int NoIndex = -1;

    internal ConfigScope(ConfigServices services, string resourceName)
    {
        Services = services;
        ResourceName = resourceName;
        StatPrefix = "";
        _field = "";
        _rejections = [];
        _ignored = [];
    }

    private ConfigScope(ConfigScope parent, string field, string statPrefix, int index = NoIndex)
    {
        _index = index;
        Services = parent.Services;
        ResourceName = parent.ResourceName;
        StatPrefix = statPrefix;
        _parent = parent;
        _field = field;
        _rejections = parent._rejections;
        _ignored = parent._ignored;
    }

    internal ConfigServices Services { get; }

    /// <summary>Name of the resource (the listener) being translated.</summary>
    internal string ResourceName { get; }

    /// <summary>What the filter being translated is called in its chain, which is what routes call it by; empty elsewhere.</summary>
    internal string FilterName { get; private init; } = "";

    /// <summary>Where the stats of a filter belong, for example <c>http.inbound_0.0.0.0_80.</c>; empty outside a connection manager.</summary>
    internal string StatPrefix { get; }

    /// <summary>From the resource to here, as in <c>filter_chains[0].filters[1]</c>.</summary>
    internal string Path => _parent is null ? _field : _parent.Join(_index == NoIndex ? _field : $"{_field}[{_index}]");

    internal IReadOnlyList<ConfigProblem> Rejections => _rejections;
    internal IReadOnlyList<ConfigProblem> Ignored => _ignored;
    internal bool IsRejected => _rejections.Count > 0;

    /// <summary>The scope of a field below this one; <paramref name="field"/> as in <c>filters[0]</c>.</summary>
    internal ConfigScope At(string field) => new(this, field, StatPrefix);

    /// <summary>The scope of one member of a list field.</summary>
    internal ConfigScope At(string field, int index) => new(this, field, StatPrefix, index);

    /// <summary>The scope of the configuration of a filter, in <paramref name="field"/>.</summary>
    internal ConfigScope OfFilter(string name, string field) => new(this, field, StatPrefix) { FilterName = name };

    /// <summary>This scope with the stats prefix of the connection manager whose filters are translated.</summary>
    internal ConfigScope WithStatPrefix(string prefix) => new(this, "", prefix);

    /// <summary>Refuses the resource.</summary>
    internal void Reject(string field, string reason) => _rejections.Add(new ConfigProblem(Join(field), reason));

    /// <summary>A duration field in milliseconds, rounded up so that a tiny timeout does not turn into none; <paramref name="fallback"/> when it is not set.</summary>
    internal long Milliseconds(string field, Duration? value, long fallback)
    {
        if (value is null)
            return fallback;
        // Envoy's own bound, 2^63 nanoseconds; and a time must not run backwards.
        if (value.Seconds is < 0 or > 9_223_372_036 || value.Nanos is < 0 or > 999_999_999)
        {
            Reject(field, "is not a valid duration: it must be 0 to 292 years");
            return fallback;
        }
        return value.Seconds * 1000 + (value.Nanos + 999_999) / 1_000_000;
    }

    /// <summary>A percentage; <paramref name="fallback"/> when it is not set.</summary>
    internal double Percent(string field, global::Envoy.Type.V3.Percent? wire, double fallback)
    {
        if (wire is null)
            return fallback;
        if (wire.Value is >= 0 and <= 100)
            return wire.Value;
        Reject(field + ".value", "value must be inside range [0, 100]");
        return fallback;
    }

    /// <summary>Notes that a field has no effect here; shown in /config_status and by validate.</summary>
    internal void Ignore(string field, string reason) => _ignored.Add(new ConfigProblem(Join(field), reason));

    private string Join(string field)
    {
        string path = Path;
        return field.Length == 0 ? path : path.Length == 0 || field[0] == '[' ? path + field : path + "." + field;
    }
}
