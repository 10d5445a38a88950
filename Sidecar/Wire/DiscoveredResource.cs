using System;

namespace Sidecar.Wire;

/// <summary>
/// One xDS resource as it arrived, from a file or from the control plane: v3 wire bytes, whatever form it had. Immutable.
/// </summary>
/// <param name="TypeUrl">"type.googleapis.com/envoy.config.listener.v3.Listener".</param>
/// <param name="Name">The resource's name; an endpoint assignment's is its cluster_name.</param>
/// <param name="Version">What the source calls its version; may be empty.</param>
/// <param name="Bytes">The message, v3, for the generated parser.</param>
/// <param name="Source">The file it came from, or the control plane's address.</param>
internal sealed record DiscoveredResource(string TypeUrl, string Name, string Version, ReadOnlyMemory<byte> Bytes, string Source)
{
    /// <summary>What tells its source apart, where others say from which they take it (SDS, ECDS); else empty.</summary>
    public string Origin { get; init; } = "";

    /// <summary>Reading it met only what has its effect here: a walk for what has none would find nothing.</summary>
    public bool IsWhollySupported { get; init; }

    /// <summary>The table's entry of the type.</summary>
    public MessageSchema? Type => SchemaTable.Find(TypeUrl[(TypeUrl.LastIndexOf('/') + 1)..]);
}

/// <summary>The type URLs of the resources Sidecar takes.</summary>
internal static class ResourceTypes
{
    private const string Prefix = "type.googleapis.com/";

    /// <summary>LDS.</summary>
    public const string Listener = Prefix + "envoy.config.listener.v3.Listener";

    /// <summary>CDS.</summary>
    public const string Cluster = Prefix + "envoy.config.cluster.v3.Cluster";

    /// <summary>RDS.</summary>
    public const string RouteConfiguration = Prefix + "envoy.config.route.v3.RouteConfiguration";

    /// <summary>EDS.</summary>
    public const string ClusterLoadAssignment = Prefix + "envoy.config.endpoint.v3.ClusterLoadAssignment";

    /// <summary>SDS.</summary>
    public const string Secret = Prefix + "envoy.extensions.transport_sockets.tls.v3.Secret";

    /// <summary>ECDS.</summary>
    public const string Extension = Prefix + "envoy.config.core.v3.TypedExtensionConfig";

    /// <summary>Not discovered: what a proxy is started with.</summary>
    public const string Bootstrap = Prefix + "envoy.config.bootstrap.v3.Bootstrap";

    /// <summary>Whether the URL is one of the discovered types.</summary>
    public static bool IsResource(string typeUrl) =>
        typeUrl is Listener or Cluster or RouteConfiguration or ClusterLoadAssignment or Secret or Extension;

    /// <summary>"listener", "cluster", …: how messages to people call the type.</summary>
    public static string Noun(string typeUrl) => typeUrl switch
    {
        Listener => "listener",
        Cluster => "cluster",
        RouteConfiguration => "route configuration",
        ClusterLoadAssignment => "endpoints of cluster",
        Secret => "secret",
        Extension => "extension",
        Bootstrap => "bootstrap",
        _ => typeUrl[(typeUrl.LastIndexOf('.') + 1)..],
    };
}
