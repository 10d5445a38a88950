using System;
using System.Collections.Generic;
using Google.Protobuf;
using Sidecar.Filters;
using Sidecar.Routing;
using WireCore = Envoy.Config.Core.V3;
using WireRoute = Envoy.Config.Route.V3;

namespace Sidecar.Config.Routes;

/// <summary>envoy.config.route.v3.RouteConfiguration → <see cref="RouteTable"/>.</summary>
internal static class RouteTranslator
{
    /// <summary>max_direct_response_body_size_bytes when it is not set.</summary>
    private const uint DirectBodyBytesMax = 4096;

    /// <summary>Translates a route configuration; null, with every reason in <paramref name="scope"/>, when it is refused.</summary>
    /// <param name="wire">The resource, or the inline one of a connection manager.</param>
    /// <param name="isInline">Inline configurations validate their clusters unless told not to; those of RDS only when told to.</param>
    /// <param name="scope">Where problems go.</param>
    internal static RouteTable? Translate(WireRoute.RouteConfiguration wire, bool isInline, ConfigScope scope)
    {
        ReportUnsupported(wire, scope);
        var context = new RouteTableContext(wire.ValidateClusters ?? isInline, wire.MaxDirectResponseBodySizeBytes ?? DirectBodyBytesMax);
        context.ReportMetadata(wire.Metadata, scope);
        var internalOnly = new List<byte[]>();
        foreach (string name in wire.InternalOnlyHeaders)
            internalOnly.Add(FieldNameReader.Lower(name));
        var table = new RouteTable
        {
            Name = wire.Name,
            IgnorePortInHostMatching = wire.IgnorePortInHostMatching,
            IgnorePathParametersInPathMatching = wire.IgnorePathParametersInPathMatching,
            MostSpecificMutationsWin = wire.MostSpecificHeaderMutationsWins,
            Mutation = HeaderMutationTranslator.Translate(wire.RequestHeadersToAdd, wire.RequestHeadersToRemove, wire.ResponseHeadersToAdd, wire.ResponseHeadersToRemove, scope),
            InternalOnlyHeaders = internalOnly.ToArray(),
            FilterConfigs = RouteFilterConfigTranslator.Translate(wire.TypedPerFilterConfig, scope),
        };
        for (int i = 0; i < wire.VirtualHosts.Count; i++)
            VirtualHostTranslator.AddTo(table, wire.VirtualHosts[i], context, scope.At("virtual_hosts", i));
        return scope.IsRejected ? null : table;
    }

    private static void ReportUnsupported(WireRoute.RouteConfiguration wire, ConfigScope scope)
    {
        if (wire.Vhds is not null)
            scope.Reject("vhds", "on-demand virtual hosts are not supported");
        for (int i = 0; i < wire.ClusterSpecifierPlugins.Count; i++)
        {
            if (wire.ClusterSpecifierPlugins[i].IsOptional)
                scope.Ignore($"cluster_specifier_plugins[{i}]", "cluster specifier plugins are not supported; this one is optional");
            else
                scope.Reject($"cluster_specifier_plugins[{i}]", "cluster specifier plugins are not supported");
        }
        if (wire.VhostHeader.Length > 0)
            scope.Reject("vhost_header", "is not supported");
        if (wire.RequestMirrorPolicies.Count > 0)
            scope.Ignore("request_mirror_policies", VirtualHostTranslator.RequestsNotMirrored);
    }
}

/// <summary>What holds for a whole route configuration while it is translated.</summary>
/// <param name="validateClusters">A cluster that does not exist refuses the configuration.</param>
/// <param name="directBodyBytesMax">The longest body of a direct_response.</param>
internal sealed class RouteTableContext(bool validateClusters, uint directBodyBytesMax)
{
    private readonly HashSet<string> _noted = new(StringComparer.Ordinal);

    internal bool ValidateClusters => validateClusters;
    internal uint DirectBodyBytesMax => directBodyBytesMax;

    /// <summary>Names of the virtual hosts so far.</summary>
    internal HashSet<string> HostNames { get; } = new(StringComparer.Ordinal);

    internal void ReportMetadata(WireCore.Metadata? wire, ConfigScope scope) => IgnoreOnce("metadata", wire, "nothing here reads metadata of routes yet", scope);

    internal void ReportDecorator(WireRoute.Decorator? wire, ConfigScope scope) =>
        IgnoreOnce("decorator", wire, "it names spans, and traces are not produced yet", scope);

    // Istio puts metadata and a decorator on every route: one line for a table says as much as ten thousand.
    private void IgnoreOnce(string field, IMessage? wire, string reason, ConfigScope scope)
    {
        if (wire is not null && _noted.Add(field))
            scope.Ignore(field, reason + " (named once for the whole table)");
    }
}
