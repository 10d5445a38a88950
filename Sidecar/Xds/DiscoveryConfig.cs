using System;
using System.Collections.Generic;
using Google.Protobuf;
using Sidecar.Wire;
using WireBootstrap = Envoy.Config.Bootstrap.V3;
using WireCore = Envoy.Config.Core.V3;

namespace Sidecar.Xds;

/// <summary>Where the resources of one type come from. Immutable.</summary>
internal abstract record DiscoveryOrigin;

/// <summary>The aggregated stream.</summary>
internal sealed record AdsOrigin : DiscoveryOrigin;

/// <summary>A gRPC stream of this type alone.</summary>
internal sealed record GrpcOrigin(GrpcSourceConfig Config) : DiscoveryOrigin;

/// <summary>This type alone, polled by REST.</summary>
internal sealed record RestOrigin(RestSourceConfig Config) : DiscoveryOrigin;

/// <summary>A file with a DiscoveryResponse.</summary>
/// <param name="Path">The file.</param>
/// <param name="WatchedDirectory">Where a move tells that it has changed; empty: its own folder.</param>
internal sealed record PathOrigin(string Path, string WatchedDirectory) : DiscoveryOrigin;

/// <summary>What a bootstrap says about discovery: its dynamic_resources.</summary>
internal sealed record DiscoveryConfig
{
    private const string TypeName = "envoy.config.core.v3.ApiConfigSource";
    private const string AggregatedService = "/envoy.service.discovery.v3.AggregatedDiscoveryService/";

    /// <summary>ads_config; null: there is no aggregated stream.</summary>
    internal GrpcSourceConfig? Ads { get; private init; }

    /// <summary>cds_config; null: clusters are not discovered.</summary>
    internal DiscoveryOrigin? Clusters { get; private init; }

    /// <summary>lds_config; null: listeners are not discovered.</summary>
    internal DiscoveryOrigin? Listeners { get; private init; }

    /// <summary>initial_fetch_timeout of either, where given.</summary>
    internal IReadOnlyDictionary<string, long> FetchTimeoutsMs { get; private init; } = new Dictionary<string, long>();

    /// <summary>Clusters that stand in for google_grpc services.</summary>
    internal IReadOnlyList<DiscoveredResource> MadeClusters { get; private init; } = [];

    /// <summary>There is something to discover.</summary>
    internal bool IsUsed => Clusters is not null || Listeners is not null || Ads is not null;

    /// <summary>The clusters that control planes are in; they must be among the bootstrap's static ones.</summary>
    internal IEnumerable<string> ControlPlanes
    {
        get
        {
            foreach (var origin in new[] { Ads is null ? null : new GrpcOrigin(Ads), Clusters, Listeners })
            {
                if (origin is GrpcOrigin grpc)
                    yield return grpc.Config.Target.Cluster;
                if (origin is GrpcOrigin { Config.Failover: { } failover })
                    yield return failover.Cluster;
                if (origin is RestOrigin rest)
                    yield return rest.Config.Cluster;
            }
        }
    }

    /// <summary>Reads the dynamic_resources of a bootstrap's wire bytes.</summary>
    /// <param name="bootstrap">envoy.config.bootstrap.v3.Bootstrap.</param>
    /// <param name="problems">What is wrong, by path; an error refuses the bootstrap.</param>
    internal static DiscoveryConfig Read(ReadOnlySpan<byte> bootstrap, WireProblems problems)
    {
        WireBootstrap.Bootstrap wire;
        try
        {
            wire = WireBootstrap.Bootstrap.Parser.ParseFrom(BootstrapBytes.WithoutStaticResources(bootstrap));
        }
        // Google.Protobuf reports a broken wrapper message by InvalidOperationException.
        catch (Exception broken) when (broken is InvalidProtocolBufferException or InvalidOperationException)
        {
            problems.Add(new WireProblem(WireProblemKind.Invalid, "", "malformed bytes: " + broken.Message, 0, 0));
            return new DiscoveryConfig();
        }
        return wire.DynamicResources is { } dynamic ? new Reader(problems, isBootstrap: true).Read(dynamic) : new DiscoveryConfig();
    }

    /// <summary>Reads one ConfigSource, as resources have them for what they take by name.</summary>
    /// <param name="source">envoy.config.core.v3.ConfigSource.</param>
    /// <param name="typeUrl">What is taken from there.</param>
    /// <param name="hasAds">Whether there is an aggregated stream.</param>
    /// <param name="problems">What is wrong, by path from the source.</param>
    /// <returns>Null when it is refused; and its initial_fetch_timeout, where it has one.</returns>
    internal static (DiscoveryOrigin? Origin, long? FetchTimeoutMs) ReadOrigin(ReadOnlySpan<byte> source, string typeUrl, bool hasAds, WireProblems problems)
    {
        var reader = new Reader(problems, isBootstrap: false);
        var origin = reader.ReadSource(WireCore.ConfigSource.Parser.ParseFrom(source), typeUrl, hasAds, "");
        return (origin, reader.FetchTimeoutMs(typeUrl));
    }

    /// <summary>Reads the messages, with the path of each.</summary>
    private sealed class Reader
    {
        private readonly FieldProblems _problems;
        private readonly GrpcServiceReader _services;
        private readonly Dictionary<string, long> _fetchTimeoutsMs = new(StringComparer.Ordinal);

        internal Reader(WireProblems problems, bool isBootstrap)
        {
            _problems = new FieldProblems(problems);
            _services = new GrpcServiceReader(_problems, makesClusters: isBootstrap);
        }

        internal DiscoveryConfig Read(WireBootstrap.Bootstrap.Types.DynamicResources dynamic)
        {
            const string path = "dynamic_resources";
            var ads = dynamic.AdsConfig is { } config ? ReadGrpc(config, AggregatedService, "AggregatedResources", path + ".ads_config") : null;
            return new DiscoveryConfig
            {
                Ads = ads,
                Clusters = ReadSource(dynamic.CdsConfig, ResourceTypes.Cluster, dynamic.AdsConfig is not null, path + ".cds_config"),
                Listeners = ReadSource(dynamic.LdsConfig, ResourceTypes.Listener, dynamic.AdsConfig is not null, path + ".lds_config"),
                FetchTimeoutsMs = _fetchTimeoutsMs,
                MadeClusters = new List<DiscoveredResource>(_services.MadeClusters),
            };
        }

        internal long? FetchTimeoutMs(string typeUrl) => _fetchTimeoutsMs.TryGetValue(typeUrl, out long ms) ? ms : null;

        internal DiscoveryOrigin? ReadSource(WireCore.ConfigSource? source, string typeUrl, bool hasAds, string path)
        {
            if (source is null)
                return null;
            if (source.InitialFetchTimeout is { } timeout)
                _fetchTimeoutsMs[typeUrl] = _problems.Milliseconds(timeout, 0, path + ".initial_fetch_timeout");
            if (source.ResourceApiVersion == WireCore.ApiVersion.V2)
                _problems.Reject(path + ".resource_api_version", "must be V3: control planes are asked for v3 only");
            switch (source.ConfigSourceSpecifierCase)
            {
                case WireCore.ConfigSource.ConfigSourceSpecifierOneofCase.Ads:
                    if (!hasAds)
                        _problems.Reject(path + ".ads", "there is no dynamic_resources.ads_config to say where ADS is");
                    return new AdsOrigin();
                case WireCore.ConfigSource.ConfigSourceSpecifierOneofCase.PathConfigSource:
                    return ReadPath(source.PathConfigSource.Path, source.PathConfigSource.WatchedDirectory?.Path ?? "", path + ".path_config_source.path");
                case WireCore.ConfigSource.ConfigSourceSpecifierOneofCase.Path:
                    return ReadPath(source.Path, "", path + ".path");
                case WireCore.ConfigSource.ConfigSourceSpecifierOneofCase.ApiConfigSource:
                    return ReadApi(source.ApiConfigSource, typeUrl, path + ".api_config_source");
                case WireCore.ConfigSource.ConfigSourceSpecifierOneofCase.Self:
                    _problems.Reject(path + ".self", "is not supported; say ads, path_config_source or api_config_source");
                    return null;
                default:
                    _problems.Reject(path, "says no source: ads, path_config_source or api_config_source is expected");
                    return null;
            }
        }

        private PathOrigin? ReadPath(string file, string watchedDirectory, string path)
        {
            if (file.Length == 0)
                _problems.Reject(path, "is empty; it must be the path of a file");
            else if (file.EndsWith(".yaml", StringComparison.OrdinalIgnoreCase) || file.EndsWith(".yml", StringComparison.OrdinalIgnoreCase))
                _problems.Reject(path, "YAML is not read; convert it to JSON");
            else
                return new PathOrigin(file, watchedDirectory);
            return null;
        }

        private DiscoveryOrigin? ReadApi(WireCore.ApiConfigSource api, string typeUrl, string path)
        {
            (string service, string method, string resource) = typeUrl switch
            {
                ResourceTypes.Cluster => ("/envoy.service.cluster.v3.ClusterDiscoveryService/", "Clusters", "clusters"),
                ResourceTypes.Secret => ("/envoy.service.secret.v3.SecretDiscoveryService/", "Secrets", "secrets"),
                ResourceTypes.Extension => ("/envoy.service.extension.v3.ExtensionConfigDiscoveryService/", "ExtensionConfigs", "extension_configs"),
                _ => ("/envoy.service.listener.v3.ListenerDiscoveryService/", "Listeners", "listeners"),
            };
            if (api.ApiType is WireCore.ApiConfigSource.Types.ApiType.Rest)
                return ReadRest(api, "/v3/discovery:" + resource, path) is { } rest ? new RestOrigin(rest) : null;
            if (api.ApiType is WireCore.ApiConfigSource.Types.ApiType.AggregatedGrpc or WireCore.ApiConfigSource.Types.ApiType.AggregatedDeltaGrpc)
                return ReadGrpc(api, AggregatedService, "AggregatedResources", path) is { } aggregated ? new GrpcOrigin(aggregated) : null;
            return ReadGrpc(api, service, method, path) is { } config ? new GrpcOrigin(config) : null;
        }

        private RestSourceConfig? ReadRest(WireCore.ApiConfigSource api, string resource, string path)
        {
            ReadVersion(api, path);
            if (api.GrpcServices.Count > 0)
                _problems.Reject(path + ".grpc_services", TypeName + ", if not a gRPC type, must not have a gRPC service specified");
            if (api.RefreshDelay is null)
                _problems.Reject(path + ".refresh_delay", "refresh_delay is required for REST API configuration sources");
            if (api.ClusterNames.Count != 1 || api.ClusterNames[0].Length == 0)
                _problems.Reject(path + ".cluster_names", TypeName + " must have a singleton cluster name specified");
            if (api.ClusterNames.Count != 1 || api.RefreshDelay is null)
                return null;
            long timeoutMs = api.RequestTimeout is { } timeout ? _problems.Milliseconds(timeout, 1, path + ".request_timeout") : RestSourceConfig.DefaultRequestTimeoutMs;
            return new RestSourceConfig(api.ClusterNames[0], resource, _problems.Milliseconds(api.RefreshDelay, 1, path + ".refresh_delay"), timeoutMs);
        }

        private void ReadVersion(WireCore.ApiConfigSource api, string path)
        {
            if (api.TransportApiVersion != WireCore.ApiVersion.V3)
                _problems.Reject(path + ".transport_api_version", "must be V3: AUTO and V2 are the transport of 2020");
        }

        private GrpcSourceConfig? ReadGrpc(WireCore.ApiConfigSource api, string service, string method, string path)
        {
            bool? isDelta = api.ApiType switch
            {
                WireCore.ApiConfigSource.Types.ApiType.Grpc or WireCore.ApiConfigSource.Types.ApiType.AggregatedGrpc => false,
                WireCore.ApiConfigSource.Types.ApiType.DeltaGrpc or WireCore.ApiConfigSource.Types.ApiType.AggregatedDeltaGrpc => true,
                _ => null,
            };
            if (isDelta is null)
            {
                _problems.Reject(path + ".api_type", path.EndsWith(".ads_config", StringComparison.Ordinal) ? "must be GRPC or DELTA_GRPC" : "must be GRPC, DELTA_GRPC or REST");
                return null;
            }
            ReadVersion(api, path);
            if (api.ClusterNames.Count > 0)
                _problems.Reject(path + ".cluster_names", TypeName + "::(DELTA_)GRPC must not have a cluster name specified");
            if (api.RefreshDelay is not null)
                _problems.Unsupported(path + ".refresh_delay", "a stream is not polled");
            if (api.RequestTimeout is not null)
                _problems.Unsupported(path + ".request_timeout", "a stream has no end");
            if (api.GrpcServices.Count == 0)
            {
                _problems.Reject(path + ".grpc_services", "is empty; a gRPC service must say where the control plane is");
                return null;
            }
            if (api.GrpcServices.Count > 2)
                _problems.Reject(path + ".grpc_services", TypeName + "::(DELTA_)GRPC must have no more than 2 gRPC services specified");
            var first = _services.Read(api.GrpcServices[0], path + ".grpc_services[0]");
            var second = api.GrpcServices.Count == 2 ? _services.Read(api.GrpcServices[1], path + ".grpc_services[1]") : null;
            if (second is { } other && (other.BackoffBaseMs, other.BackoffMaxMs) != (Backoff.DefaultBaseMs, Backoff.DefaultMaxMs))
                _problems.Unsupported(path + ".grpc_services[1].retry_policy.retry_back_off", "attempts wait as the first service says, whichever they go to");
            if (first is null)
                return null;
            return new GrpcSourceConfig(first.Target, service, method, isDelta.Value)
            {
                Failover = second?.Target,
                BackoffBaseMs = first.BackoffBaseMs,
                BackoffMaxMs = first.BackoffMaxMs,
            };
        }
    }
}
