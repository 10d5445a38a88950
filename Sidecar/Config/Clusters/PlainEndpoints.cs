using System;
using System.Collections.Generic;
using System.Text;
using Sidecar.Net;
using Sidecar.Telemetry;
using Sidecar.Upstream;
using Sidecar.Upstream.Discovery;
using Sidecar.Wire;

namespace Sidecar.Config.Clusters;

/// <summary>
/// Reads an envoy.config.endpoint.v3.ClusterLoadAssignment straight from its bytes where it has only what nearly every assignment has: localities with weight and
/// priority, and in them IP addresses with port, host name, health, weight and metadata. A mesh has a hundred thousand such endpoints, and each as messages would be
/// half a kilobyte to clear away. For anything else, and for whatever may be wrong, there is no result: then <see cref="EndpointTranslator"/> reads the messages, and
/// has the words for it.
/// </summary>
/// <remarks>Control loop; lives for one call.</remarks>
internal ref struct PlainEndpoints
{
    // Two localities alike are to be told of, and few are looked through faster than hashed.
    private const int LocalitiesMax = 16;

    // What neighbours have alike is kept once.
    private ReadOnlySpan<byte> _metadataBytes;
    private Metadata? _metadata;

    /// <summary>The endpoints; null where the messages have to be read.</summary>
    internal static EndpointSet? Read(ReadOnlySpan<byte> assignment) => new PlainEndpoints().ReadAssignment(assignment);

    // { cluster_name = 1, endpoints = 2 }
    private EndpointSet? ReadAssignment(ReadOnlySpan<byte> assignment)
    {
        var localities = new List<LocalitySpec>(1);
        bool isNamed = false;
        var reader = new WireReader(assignment);
        while (!reader.AtEnd)
        {
            if (!reader.TryTag(out uint number, out int encoding) || encoding != 2 || !reader.TryBytes(out var value))
                return null;
            if (number == 1 && !isNamed && value.Length > 0 && Ascii.IsValid(value))
                isNamed = true;
            else if (number == 2 && localities.Count < LocalitiesMax && ReadLocality(value) is { } locality && !IsThere(localities, locality))
                localities.Add(locality);
            else
                return null;
        }
        return isNamed ? new EndpointSet { Localities = localities } : null;
    }

    private static bool IsThere(List<LocalitySpec> localities, LocalitySpec locality)
    {
        foreach (var other in localities)
        {
            if (other.Priority == locality.Priority && other.Locality == locality.Locality)
                return true;
        }
        return false;
    }

    // { locality = 1, lb_endpoints = 2, load_balancing_weight = 3 (wrapped), priority = 5 }
    private LocalitySpec? ReadLocality(ReadOnlySpan<byte> wire)
    {
        Locality? locality = null;
        uint? weight = null;
        ulong priority = 0;
        var endpoints = new List<EndpointSpec>(Count(wire, 2));
        var reader = new WireReader(wire);
        while (!reader.AtEnd)
        {
            if (!reader.TryTag(out uint number, out int encoding))
                return null;
            if (number == 5 && encoding == 0 && priority == 0 && reader.TryVarint(out priority) && priority <= EndpointTranslator.PriorityMax)
                continue;
            if (encoding != 2 || !reader.TryBytes(out var value))
                return null;
            bool isPlain = number switch
            {
                1 => locality is null && TryLocality(value, out locality),
                2 => TryEndpoint(value, endpoints),
                3 => weight is null && TryWeight(value, out weight),
                _ => false,
            };
            if (!isPlain)
                return null;
        }
        return new LocalitySpec(locality ?? Locality.None, weight ?? 0, (uint)priority, endpoints);
    }

    // { region = 1, zone = 2, sub_zone = 3 }
    private static bool TryLocality(ReadOnlySpan<byte> wire, out Locality? locality)
    {
        string region = "", zone = "", subZone = "";
        locality = null;
        var reader = new WireReader(wire);
        while (!reader.AtEnd)
        {
            if (!reader.TryTag(out uint number, out int encoding) || encoding != 2 || !reader.TryBytes(out var value) || !Ascii.IsValid(value))
                return false;
            if (number == 1 && region.Length == 0)
                region = Encoding.ASCII.GetString(value);
            else if (number == 2 && zone.Length == 0)
                zone = Encoding.ASCII.GetString(value);
            else if (number == 3 && subZone.Length == 0)
                subZone = Encoding.ASCII.GetString(value);
            else
                return false;
        }
        locality = new Locality(region, zone, subZone);
        return true;
    }

    // { endpoint = 1, health_status = 2, metadata = 3, load_balancing_weight = 4 (wrapped) }
    private bool TryEndpoint(ReadOnlySpan<byte> wire, List<EndpointSpec> endpoints)
    {
        ReadOnlySpan<byte> endpoint = default, metadata = default;
        uint? weight = null;
        ulong health = 0;
        var reader = new WireReader(wire);
        while (!reader.AtEnd)
        {
            if (!reader.TryTag(out uint number, out int encoding))
                return false;
            if (number == 2 && encoding == 0 && health == 0 && reader.TryVarint(out health) && health <= (ulong)EdsHealth.Degraded)
                continue;
            if (encoding != 2 || !reader.TryBytes(out var value))
                return false;
            if (number == 1 && endpoint.Length == 0)
                endpoint = value;
            else if (number == 3 && metadata.Length == 0)
                metadata = value;
            else if (number != 4 || weight is not null || !TryWeight(value, out weight))
                return false;
        }
        if (!TryAddress(endpoint, out var address, out string hostname) || !TryMetadata(metadata))
            return false;
        endpoints.Add(new EndpointSpec(address, "", address.Port, hostname, weight ?? 1, (EdsHealth)health, _metadata!));
        return true;
    }

    // { address = 1 { socket_address = 1 }, hostname = 3 }
    private static bool TryAddress(ReadOnlySpan<byte> wire, out Address address, out string hostname)
    {
        ReadOnlySpan<byte> socket = default;
        hostname = "";
        address = default;
        var reader = new WireReader(wire);
        while (!reader.AtEnd)
        {
            if (!reader.TryTag(out uint number, out int encoding) || encoding != 2 || !reader.TryBytes(out var value))
                return false;
            if (number == 1 && socket.Length == 0)
                socket = value;
            else if (number == 3 && hostname.Length == 0 && Ascii.IsValid(value))
                hostname = Encoding.ASCII.GetString(value);
            else
                return false;
        }
        reader = new WireReader(socket);
        return reader.TryTag(out uint field, out int way) && field == 1 && way == 2 && reader.TryBytes(out socket) && reader.AtEnd && TrySocketAddress(socket, out address);
    }

    // { address = 2, port_value = 3 }
    private static bool TrySocketAddress(ReadOnlySpan<byte> wire, out Address address)
    {
        ReadOnlySpan<byte> host = default;
        ulong? port = null;
        address = default;
        var reader = new WireReader(wire);
        while (!reader.AtEnd)
        {
            if (!reader.TryTag(out uint number, out int encoding))
                return false;
            if (number == 3 && encoding == 0 && port is null && reader.TryVarint(out ulong value) && value <= ushort.MaxValue)
                port = value;
            else if (number != 2 || encoding != 2 || host.Length > 0 || !reader.TryBytes(out host))
                return false;
        }
        return port is { } known && host.Length <= Address.TextBytesMax && Address.TryParseIp(host, out address, (ushort)known);
    }

    // google.protobuf.UInt32Value { value = 1 }; a weight of zero is to be refused.
    private static bool TryWeight(ReadOnlySpan<byte> wire, out uint? weight)
    {
        weight = null;
        var reader = new WireReader(wire);
        if (!reader.TryTag(out uint number, out int encoding) || number != 1 || encoding != 0 || !reader.TryVarint(out ulong value) || value is 0 or > uint.MaxValue || !reader.AtEnd)
            return false;
        weight = (uint)value;
        return true;
    }

    // Into _metadata.
    private bool TryMetadata(ReadOnlySpan<byte> wire)
    {
        if (_metadata is not null && wire.SequenceEqual(_metadataBytes))
            return true;
        if (!MetadataTranslator.TryTranslate(wire, out _metadata))
            return false;
        _metadataBytes = wire;
        return true;
    }

    private static int Count(ReadOnlySpan<byte> wire, uint field)
    {
        int count = 0;
        var reader = new WireReader(wire);
        while (!reader.AtEnd && reader.TryTag(out uint number, out int encoding) && reader.TrySkip(encoding))
            count += number == field ? 1 : 0;
        return count;
    }
}
