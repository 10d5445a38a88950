using System;
using System.Collections.Generic;
using System.Text;
using Google.Protobuf.WellKnownTypes;
using Sidecar.Wire;

namespace Sidecar.Filters;

/// <summary>
/// Filters, of all kinds, that only observe, or whose work another part of this proxy does: taken without effect, and said so. A filter that decides about
/// access is never here: not implemented, it refuses what it stands in. So what counts is the type of a filter's configuration; its name is whatever its author
/// likes, and says something only where there is no type.
/// </summary>
internal static class ObservingFilters
{
    private const string Mixer = "replaced by istio.stats; no effect yet";
    private const string Exchange = "peer metadata is not exchanged; no effect yet";
    private const string Stats = "istio metrics are not produced; no effect yet";
    private const string GrpcStats = "gRPC message counts are not produced; no effect yet";

    private static readonly Dictionary<string, string> s_byType = new()
    {
        ["istio.mixer.v1.config.client.HttpClientConfig"] = Mixer,
        ["istio.mixer.v1.config.client.TcpClientConfig"] = Mixer,
        ["istio.mixer.v1.config.client.ServiceConfig"] = Mixer,
        ["io.istio.http.peer_metadata.Config"] = Exchange,
        ["envoy.tcp.metadataexchange.config.MetadataExchange"] = Exchange,
        ["stats.PluginConfig"] = Stats,
        ["envoy.extensions.filters.http.grpc_stats.v3.FilterConfig"] = GrpcStats,
    };

    // Without a configuration: one that authenticates, too, has nothing to ask for then.
    private static readonly Dictionary<string, string> s_byName = new()
    {
        ["mixer"] = Mixer,
        ["istio_authn"] = "replaced by the mTLS identity; no effect yet",
        ["istio.metadata_exchange"] = Exchange,
        ["istio.stats"] = Stats,
        ["envoy.filters.http.grpc_stats"] = GrpcStats,
    };

    /// <summary>Why a filter has no effect; null when it is none of these.</summary>
    internal static string? Find(string name, Any? config)
    {
        string type = TypeName(config);
        return type.Length == 0 ? s_byName.GetValueOrDefault(name) : s_byType.GetValueOrDefault(type);
    }

    /// <summary>Whether Envoy, as Istio builds it, has a filter with this type of configuration.</summary>
    internal static bool IsEnvoys(string type) => type.StartsWith("envoy.", StringComparison.Ordinal) || SchemaTable.Find(type) is not null;

    /// <summary>
    /// The type of a configuration, without its URL's host; of a TypedStruct the type that it stands for. Empty when there is none; what cannot be read is
    /// of a type that nobody has.
    /// </summary>
    internal static string TypeName(Any? config)
    {
        string type = TypedConfig.TypeName(config);
        bool isStruct = SchemaTable.Find(type) is { } schema && TypedStructs.IsTypedStruct(schema);
        if (!isStruct || !TypedStructs.TrySplit(config!.Value.Span, out ReadOnlySpan<byte> inner, out _))
            return type;
        return Encoding.UTF8.GetString(inner[(inner.LastIndexOf((byte)'/') + 1)..]);
    }
}
