using System;
using System.Collections.Generic;
using Google.Protobuf;
using Sidecar.Net;
using Sidecar.Wire;
using WireBootstrap = Envoy.Config.Bootstrap.V3;
using WireCore = Envoy.Config.Core.V3;

namespace Sidecar.Config;

/// <summary>What the process itself takes from an Envoy bootstrap, besides the static resources in it.</summary>
/// <param name="NodeId">node.id; may be empty.</param>
/// <param name="NodeCluster">node.cluster; may be empty.</param>
/// <param name="Node">envoy.config.core.v3.Node, as control planes are told who we are.</param>
/// <param name="AdminAddress">admin.address, or null.</param>
/// <param name="Overload">overload_manager, with our defaults.</param>
internal sealed record BootstrapFacts(string NodeId, string NodeCluster, ReadOnlyMemory<byte> Node, Address? AdminAddress, OverloadConfig Overload)
{
    /// <summary>Why no control plane can be asked; null when nothing is missing. Envoy's words.</summary>
    internal string? NodeProblem => NodeId.Length > 0 && NodeCluster.Length > 0
        ? null
        : "node 'id' and 'cluster' are required. Set it either in 'node' config or via --service-node and --service-cluster options.";
}

/// <summary>What the command line says about the node, in place of the bootstrap; null where it says nothing.</summary>
/// <param name="NodeId">--service-node.</param>
/// <param name="NodeCluster">--service-cluster.</param>
/// <param name="NodeZone">--service-zone: node.locality.zone.</param>
internal readonly record struct NodeOverrides(string? NodeId, string? NodeCluster, string? NodeZone = null);

/// <summary>Reads <see cref="BootstrapFacts"/>. Its dynamic_resources are read where discovery is done.</summary>
internal static class BootstrapReader
{
    /// <summary>Who we are, where a bootstrap does not say otherwise.</summary>
    private const string UserAgent = "sidecar";

    /// <summary>We take resources wrapped in envoy.service.discovery.v3.Resource also in the state of the world.</summary>
    private const string WrappedResources = "xds.config.resource-in-sotw";

    /// <summary>The facts of a bootstrap that <see cref="ResourceReader"/> has read; malformed bytes have none.</summary>
    /// <param name="bootstrap">The bootstrap.</param>
    /// <param name="overrides">What the command line says.</param>
    /// <param name="version">This product's version, for the node.</param>
    internal static BootstrapFacts Read(DiscoveredResource bootstrap, NodeOverrides overrides = default, string version = "")
    {
        var wire = Parse(bootstrap);
        Address? admin = null;
        if (wire.Admin?.Address?.SocketAddress is { } socket && Address.TryParseIp(socket.Address.AsSpan(), out var parsed, (ushort)Math.Min(socket.PortValue, 65535)))
            admin = parsed;
        var node = ReadNode(wire.Node ?? new WireCore.Node(), overrides, version);
        return new BootstrapFacts(node.Id, node.Cluster, node.ToByteArray(), admin, new OverloadTranslator(bootstrap.Source).Read(wire.OverloadManager));
    }

    /// <summary>What is wrong with what the process itself takes from a bootstrap.</summary>
    internal static IEnumerable<ConfigError> Problems(DiscoveredResource bootstrap)
    {
        var wire = Parse(bootstrap);
        foreach (var problem in AdminProblems(bootstrap, wire))
            yield return problem;
        var overload = new OverloadTranslator(bootstrap.Source);
        overload.Read(wire.OverloadManager);
        foreach (var problem in overload.Problems)
            yield return problem;
    }

    // Where it wants the admin pages.
    private static IEnumerable<ConfigError> AdminProblems(DiscoveredResource bootstrap, WireBootstrap.Bootstrap wire)
    {
        if (wire.Admin?.Address is not { AddressCase: not WireCore.Address.AddressOneofCase.None } address)
            yield break;
        const string choose = "give an IP address and a port here, or with --admin-address";
        if (address.SocketAddress is not { } socket)
            yield return Problem("", $"is not an IP address: {choose}");
        else if (socket.PortSpecifierCase != WireCore.SocketAddress.PortSpecifierOneofCase.PortValue || socket.PortValue > 65535)
            yield return Problem("socket_address.port_value", "value is required, and at most 65535");
        else if (!Address.TryParseIp(socket.Address.AsSpan(), out _))
            yield return Problem("socket_address.address", $"malformed IP address: {socket.Address}; {choose}");
        else if (socket.Protocol != WireCore.SocketAddress.Types.Protocol.Tcp)
            yield return Problem("socket_address.protocol", "the admin pages are served on TCP");
        else if (socket.NetworkNamespaceFilepath.Length > 0)
            yield return Problem("socket_address.network_namespace_filepath", "other network namespaces are not supported");
        else if (socket.ResolverName.Length > 0)
            yield return Problem("socket_address.resolver_name", "it is an IP address, which needs no resolver", ConfigErrorKind.Ignored);
        else if (socket.Ipv4Compat)
            yield return Problem("socket_address.ipv4_compat", "the admin pages are served to the address as it is", ConfigErrorKind.Ignored);

        ConfigError Problem(string field, string reason, ConfigErrorKind kind = ConfigErrorKind.Error) =>
            new(bootstrap.Source, "bootstrap", field.Length == 0 ? "admin.address" : "admin.address." + field, reason) { Kind = kind };
    }

    private static WireBootstrap.Bootstrap Parse(DiscoveredResource bootstrap)
    {
        try
        {
            return WireBootstrap.Bootstrap.Parser.ParseFrom(BootstrapBytes.WithoutStaticResources(bootstrap.Bytes.Span));
        }
        // Google.Protobuf reports a broken wrapper message by InvalidOperationException.
        catch (Exception broken) when (broken is InvalidProtocolBufferException or InvalidOperationException)
        {
            return new WireBootstrap.Bootstrap();
        }
    }

    private static WireCore.Node ReadNode(WireCore.Node node, NodeOverrides overrides, string version)
    {
        node.Id = overrides.NodeId ?? node.Id;
        node.Cluster = overrides.NodeCluster ?? node.Cluster;
        if (overrides.NodeZone is { } zone)
            (node.Locality ??= new WireCore.Locality()).Zone = zone;
        if (node.UserAgentName.Length == 0)
            node.UserAgentName = UserAgent;
        if (node.UserAgentVersionTypeCase == WireCore.Node.UserAgentVersionTypeOneofCase.None && version.Length > 0)
            node.UserAgentVersion = version;
        if (!node.ClientFeatures.Contains(WrappedResources))
            node.ClientFeatures.Add(WrappedResources);
        return node;
    }
}
