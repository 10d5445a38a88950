using System.Collections.Generic;
using Google.Protobuf.WellKnownTypes;
using Sidecar.Filters;
using Sidecar.Net;
using Sidecar.Telemetry.Stats;
using Sidecar.Upstream;
using WireCore = Envoy.Config.Core.V3;
using WireTls = Envoy.Extensions.TransportSockets.Tls.V3;

namespace Sidecar.Config.Clusters;

using Wire = global::Envoy.Config.Cluster.V3;

/// <summary>What is spoken below HTTP on the connections of a cluster: transport_socket, and transport_socket_matches by metadata of the host.</summary>
internal static class TransportSocketTranslator
{
    /// <summary>A transport socket; raw where none is set. One that this cannot do refuses the cluster: sending its bytes in the clear would be worse.</summary>
    /// <param name="wire">The socket of the cluster, or of one of its matches.</param>
    /// <param name="statName">The cluster's name in stats.</param>
    /// <param name="scope">Where problems go.</param>
    internal static TransportFactory Translate(WireCore.TransportSocket? wire, string statName, ConfigScope scope)
    {
        if (wire is null)
            return RawTransportFactory.Instance;
        string type = TypedConfig.TypeName(wire.TypedConfig);
        if (type.Length == 0 && wire.Name is "envoy.transport_sockets.raw_buffer" or "raw_buffer" || type == "envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer")
            return RawTransportFactory.Instance;
        if (type == "envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext")
        {
            var context = WireTls.UpstreamTlsContext.Parser.ParseFrom(wire.TypedConfig!.Value);
            var slot = scope.Services.UpstreamTls(context, $"cluster.{statName}.", new StatTag("envoy.cluster_name", statName), scope.At("typed_config"));
            return slot is null ? RawTransportFactory.Instance : new TlsTransportFactory(slot);
        }
        if (type.Length == 0 && wire.Name is "tls" or "envoy.transport_sockets.tls")
            scope.Reject("typed_config", "is required: an UpstreamTlsContext");
        else
            scope.Reject("", $"transport socket {(type.Length > 0 ? type : wire.Name)} is not supported");
        return RawTransportFactory.Instance;
    }

    /// <summary>transport_socket_matches, in their order.</summary>
    internal static List<TransportMatch> Matches(Wire.Cluster wire, string statName, ConfigScope scope)
    {
        var matches = new List<TransportMatch>(wire.TransportSocketMatches.Count);
        for (int i = 0; i < wire.TransportSocketMatches.Count; i++)
        {
            var match = wire.TransportSocketMatches[i];
            var at = scope.At($"transport_socket_matches[{i}]");
            if (match.Name.Length == 0)
                at.Reject("name", "value length must be at least 1 characters");
            matches.Add(new TransportMatch(match.Name, MetadataTranslator.Fields(match.Match ?? new Struct()), Translate(match.TransportSocket, statName, at.At("transport_socket"))));
        }
        if (wire.TransportSocketMatcher is not null)
            scope.Reject("transport_socket_matcher", "is not supported; use transport_socket_matches");
        return matches;
    }
}
