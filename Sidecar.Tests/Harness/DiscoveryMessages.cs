using System;
using System.Collections.Generic;
using Envoy.Service.Discovery.V3;
using Google.Protobuf;
using Google.Protobuf.WellKnownTypes;
using Sidecar.Wire;
using WireCluster = Envoy.Config.Cluster.V3;
using WireEndpoint = Envoy.Config.Endpoint.V3;

namespace Sidecar.Tests.Harness;

/// <summary>Discovery requests and responses as a control plane has them: made and read by the generated classes, not by the code under test.</summary>
internal static class DiscoveryMessages
{
    internal static WireCluster.Cluster Cluster(string name, string altStatName = "") => new() { Name = name, AltStatName = altStatName };

    internal static WireEndpoint.ClusterLoadAssignment Endpoints(string name) => new() { ClusterName = name };

    internal static Any Pack(IMessage message) => new() { TypeUrl = "type.googleapis.com/" + message.Descriptor.FullName, Value = message.ToByteString() };

    internal static Resource Wrap(string name, string version, IMessage? message, params string[] aliases)
    {
        var resource = new Resource { Name = name, Version = version, Resource_ = message is null ? null : Pack(message) };
        resource.Aliases.AddRange(aliases);
        return resource;
    }

    internal static DiscoveryResponse World(string typeUrl, string version, string nonce, params IMessage[] resources)
    {
        var response = new DiscoveryResponse { TypeUrl = typeUrl, VersionInfo = version, Nonce = nonce };
        foreach (var resource in resources)
            response.Resources.Add(Pack(resource));
        return response;
    }

    internal static DeltaDiscoveryResponse Delta(string typeUrl, string version, string nonce, IEnumerable<Resource> resources, params string[] removed)
    {
        var response = new DeltaDiscoveryResponse { TypeUrl = typeUrl, SystemVersionInfo = version, Nonce = nonce };
        response.Resources.AddRange(resources);
        response.RemovedResources.AddRange(removed);
        return response;
    }

    /// <summary>One line that says all of a request: "CDS v=1 n=2 [a,b] node NACK …".</summary>
    internal static string Text(DiscoveryRequest request) =>
        Join(Short(request.TypeUrl), "v=" + request.VersionInfo, "n=" + request.ResponseNonce, $"[{string.Join(",", request.ResourceNames)}]", Node(request.Node?.Id), Error(request.ErrorDetail));

    /// <summary>The same of a delta request: "CDS n=2 +[a] -[b] {c=1} node NACK …".</summary>
    internal static string Text(DeltaDiscoveryRequest request)
    {
        var versions = new SortedDictionary<string, string>(request.InitialResourceVersions, StringComparer.Ordinal);
        var known = new List<string>();
        foreach (var (name, version) in versions)
            known.Add(name + "=" + version);
        return Join(
            Short(request.TypeUrl), "n=" + request.ResponseNonce, $"+[{string.Join(",", request.ResourceNamesSubscribe)}]", $"-[{string.Join(",", request.ResourceNamesUnsubscribe)}]",
            known.Count > 0 ? $"{{{string.Join(",", known)}}}" : "", Node(request.Node?.Id), Error(request.ErrorDetail));
    }

    internal static string Short(string typeUrl) => typeUrl switch
    {
        ResourceTypes.Cluster => "CDS",
        ResourceTypes.ClusterLoadAssignment => "EDS",
        ResourceTypes.Listener => "LDS",
        ResourceTypes.RouteConfiguration => "RDS",
        ResourceTypes.Secret => "SDS",
        ResourceTypes.Extension => "ECDS",
        _ => typeUrl,
    };

    private static string Node(string? id) => id is null ? "" : "node:" + id;

    private static string Error(Google.Rpc.Status? status) => status is null ? "" : $"NACK {status.Code}: {status.Message}";

    private static string Join(params string[] parts) => string.Join(" ", Array.FindAll(parts, part => part.Length > 0));
}
