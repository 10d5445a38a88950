using System.Collections.Generic;
using Google.Protobuf.Collections;
using Sidecar.Filters;
using Sidecar.Net;
using Sidecar.Upstream;
using Sidecar.Upstream.Discovery;
using WireCore = Envoy.Config.Core.V3;

namespace Sidecar.Config.Clusters;

using Wire = global::Envoy.Config.Endpoint.V3;

/// <summary>envoy.config.endpoint.v3.ClusterLoadAssignment → <see cref="EndpointSet"/>, from which the hosts of a cluster are built.</summary>
internal static class EndpointTranslator
{
    /// <summary>Highest priority, as in Envoy.</summary>
    internal const uint PriorityMax = 128;

    /// <summary>Bytes of the path of a Unix socket.</summary>
    private const int PipePathMax = 107;

    /// <summary>Translates an assignment; null, with every reason in <paramref name="scope"/>, when it is refused.</summary>
    /// <param name="wire">The assignment, of EDS or of a cluster's load_assignment.</param>
    /// <param name="namesAllowed">The cluster resolves names; otherwise an address must be an IP address or a pipe.</param>
    /// <param name="scope">Where problems go.</param>
    internal static EndpointSet? Translate(Wire.ClusterLoadAssignment wire, bool namesAllowed, ConfigScope scope)
    {
        if (wire.ClusterName.Length == 0)
            scope.Reject("cluster_name", "value length must be at least 1 characters");
        uint overprovisioning = HostSet.DefaultOverprovisioningFactor;
        if (wire.Policy is { } policy)
        {
            var at = scope.At("policy");
            if (policy.OverprovisioningFactor is { } factor)
            {
                if (factor == 0)
                    at.Reject("overprovisioning_factor", "value must be greater than 0");
                overprovisioning = factor;
            }
            for (int i = 0; i < policy.DropOverloads.Count; i++)
                at.Reject($"drop_overloads[{i}]", "dropping a share of the requests is not supported yet");
            if (policy.EndpointStaleAfter is not null)
                at.Ignore("endpoint_stale_after", "endpoints do not expire");
        }
        if (wire.NamedEndpoints.Count > 0)
            scope.Ignore("named_endpoints", "endpoints are used where lb_endpoints has them");

        var localities = new List<LocalitySpec>(wire.Endpoints.Count);
        var seen = wire.Endpoints.Count > 1 ? new HashSet<(Locality, uint)>() : null;
        for (int i = 0; i < wire.Endpoints.Count; i++)
        {
            var at = scope.At("endpoints", i);
            var locality = Translate(wire.Endpoints[i], wire, namesAllowed, at);
            if (locality is null)
                continue;
            // Envoy takes the last of two; nobody means that.
            if (seen is not null && !seen.Add((locality.Locality, locality.Priority)))
                at.Ignore("locality", $"locality {locality.Locality} is given twice for priority {locality.Priority}; both count, each with its own weight");
            localities.Add(locality);
        }
        return scope.IsRejected ? null : new EndpointSet
        {
            Localities = localities,
            OverprovisioningFactor = overprovisioning,
            WeightedPriorityHealth = wire.Policy?.WeightedPriorityHealth ?? false,
        };
    }

    private static LocalitySpec? Translate(Wire.LocalityLbEndpoints wire, Wire.ClusterLoadAssignment all, bool namesAllowed, ConfigScope scope)
    {
        if (wire.Priority > PriorityMax)
        {
            scope.Reject("priority", $"value must be less than or equal to {PriorityMax}");
            return null;
        }
        if (wire.LoadBalancingWeight == 0)
            scope.Reject("load_balancing_weight", "value must be greater than or equal to 1");
        if (wire.LbConfigCase == Wire.LocalityLbEndpoints.LbConfigOneofCase.LedsClusterLocalityConfig)
            scope.Reject("leds_cluster_locality_config", "locality endpoint discovery is not supported");
        if (wire.Proximity is not null)
            scope.Ignore("proximity", "is not used for load balancing");

        bool isList = wire.LbConfigCase == Wire.LocalityLbEndpoints.LbConfigOneofCase.LoadBalancerEndpoints;
        RepeatedField<Wire.LbEndpoint> endpoints = isList ? wire.LoadBalancerEndpoints.LbEndpoints : wire.LbEndpoints;
        string field = isList ? "load_balancer_endpoints.lb_endpoints" : "lb_endpoints";
        var specs = new List<EndpointSpec>(endpoints.Count);
        for (int i = 0; i < endpoints.Count; i++)
        {
            if (Translate(endpoints[i], all, namesAllowed, scope.At(field, i)) is { } spec)
                specs.Add(spec);
        }
        return new LocalitySpec(LocalityOf(wire.Locality), wire.LoadBalancingWeight ?? 0, wire.Priority, specs);
    }

    private static EndpointSpec? Translate(Wire.LbEndpoint wire, Wire.ClusterLoadAssignment all, bool namesAllowed, ConfigScope scope)
    {
        // A hundred thousand endpoints have nothing to complain of: their paths are made when one has.
        var endpoint = wire.Endpoint;
        string field = "endpoint";
        if (wire.HostIdentifierCase == Wire.LbEndpoint.HostIdentifierOneofCase.EndpointName)
        {
            field = "endpoint_name";
            if (!all.NamedEndpoints.TryGetValue(wire.EndpointName, out endpoint))
            {
                scope.Reject(field, $"there is no '{wire.EndpointName}' in named_endpoints");
                return null;
            }
        }
        if (endpoint is null)
        {
            scope.Reject("endpoint", "is required");
            return null;
        }
        if (wire.LoadBalancingWeight == 0)
            scope.Reject("load_balancing_weight", "value must be greater than or equal to 1");
        if (endpoint.AdditionalAddresses.Count > 0)
            scope.At(field).Ignore("additional_addresses", "only the first address is used");
        if (endpoint.HealthCheckConfig is not null)
            scope.At(field).Ignore("health_check_config", "active health checks are not supported yet");
        if (!TryPlainAddress(endpoint.Address, out var address, out string name, out ushort port)
            && !TryAddress(endpoint.Address, namesAllowed, scope.At(field).At("address"), out address, out name, out port))
        {
            return null;
        }
        var health = (int)wire.HealthStatus is >= 0 and <= 5 ? (EdsHealth)wire.HealthStatus : EdsHealth.Unknown;
        return new EndpointSpec(address, name, port, endpoint.Hostname, wire.LoadBalancingWeight ?? 1, health, MetadataTranslator.Translate(wire.Metadata));
    }

    // An IP address with a port and nothing else: what nearly all endpoints have, and nothing that could be wrong with it.
    private static bool TryPlainAddress(WireCore.Address? wire, out Address address, out string name, out ushort port)
    {
        name = "";
        port = 0;
        address = default;
        if (wire is not { AddressCase: WireCore.Address.AddressOneofCase.SocketAddress, SocketAddress: { } socket }
            || socket.PortSpecifierCase != WireCore.SocketAddress.PortSpecifierOneofCase.PortValue || socket.PortValue > ushort.MaxValue
            || socket.Protocol != WireCore.SocketAddress.Types.Protocol.Tcp || socket.ResolverName.Length > 0 || socket.NetworkNamespaceFilepath.Length > 0
            || socket.Ipv4Compat)
        {
            return false;
        }
        port = (ushort)socket.PortValue;
        return Address.TryParseIp(socket.Address, out address, port);
    }

    /// <summary>Reads an endpoint's address: an IP address with a port, a pipe, or (if allowed) a name with a port.</summary>
    internal static bool TryAddress(WireCore.Address? wire, bool namesAllowed, ConfigScope scope, out Address address, out string name, out ushort port)
    {
        address = default;
        name = "";
        port = 0;
        switch (wire?.AddressCase)
        {
            case WireCore.Address.AddressOneofCase.Pipe:
                if (wire.Pipe.Path.Length is 0 or > PipePathMax)
                {
                    scope.Reject("pipe.path", $"must have 1 to {PipePathMax} bytes");
                    return false;
                }
                if (wire.Pipe.Mode != 0)
                    scope.Ignore("pipe.mode", "is for sockets that are listened on");
                address = Address.Pipe(wire.Pipe.Path);
                return true;
            case WireCore.Address.AddressOneofCase.SocketAddress:
                return TrySocketAddress(wire.SocketAddress, namesAllowed, scope.At("socket_address"), out address, out name, out port);
            case WireCore.Address.AddressOneofCase.EnvoyInternalAddress:
                scope.Reject("envoy_internal_address", "internal listeners are not supported yet");
                return false;
            default:
                scope.Reject("", "an address is required");
                return false;
        }
    }

    private static bool TrySocketAddress(
        WireCore.SocketAddress wire, bool namesAllowed, ConfigScope scope, out Address address, out string name, out ushort port)
    {
        address = default;
        name = "";
        port = (ushort)wire.PortValue;
        if (wire.PortValue > ushort.MaxValue)
        {
            scope.Reject("port_value", $"value must be less than or equal to {ushort.MaxValue}");
            return false;
        }
        if (wire.PortSpecifierCase == WireCore.SocketAddress.PortSpecifierOneofCase.None)
        {
            scope.Reject("port_specifier", "value is required: set port_value");
            return false;
        }
        if (wire.PortSpecifierCase == WireCore.SocketAddress.PortSpecifierOneofCase.NamedPort)
        {
            scope.Reject("named_port", "named ports are not resolved; use port_value");
            return false;
        }
        if (wire.Protocol == WireCore.SocketAddress.Types.Protocol.Udp)
        {
            scope.Reject("protocol", "UDP endpoints are not supported");
            return false;
        }
        if (wire.ResolverName.Length > 0)
            scope.Ignore("resolver_name", "addresses are resolved by the cluster's type alone");
        if (wire.Ipv4Compat)
            scope.Ignore("ipv4_compat", "is for addresses that are listened on");
        if (wire.NetworkNamespaceFilepath.Length > 0)
        {
            scope.Reject("network_namespace_filepath", "other network namespaces are not supported");
            return false;
        }
        if (Address.TryParseIp(wire.Address, out address, port))
            return true;
        if (wire.Address.Length == 0)
        {
            scope.Reject("address", "value length must be at least 1 characters");
            return false;
        }
        if (!namesAllowed)
        {
            scope.Reject("address", $"malformed IP address: {wire.Address}. Consider setting resolver_name or setting cluster type to 'STRICT_DNS' or 'LOGICAL_DNS'");
            return false;
        }
        name = wire.Address;
        return true;
    }

    private static Locality LocalityOf(WireCore.Locality? wire) =>
        wire is null ? Locality.None : new Locality(wire.Region, wire.Zone, wire.SubZone);
}
