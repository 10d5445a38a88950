using System.Collections.Generic;
using System.Linq;
using Google.Protobuf;
using Google.Protobuf.WellKnownTypes;
using Sidecar.Tests.Harness;
using Sidecar.Wire;
using WireCluster = Envoy.Config.Cluster.V3;
using WireCore = Envoy.Config.Core.V3;
using WireCors = Envoy.Extensions.Filters.Http.Cors.V3;
using WireEndpoint = Envoy.Config.Endpoint.V3;
using WireFilter = Envoy.Extensions.Filters.Listener;
using WireHcm = Envoy.Extensions.Filters.Network.HttpConnectionManager.V3;
using WireHttp = Envoy.Extensions.Upstreams.Http.V3;
using WireLb = Envoy.Extensions.LoadBalancingPolicies;
using WireListener = Envoy.Config.Listener.V3;
using WireMatcher = Envoy.Type.Matcher.V3;
using WireRbac = Envoy.Config.Rbac.V3;
using WireRbacHttp = Envoy.Extensions.Filters.Http.Rbac.V3;
using WireRbacNetwork = Envoy.Extensions.Filters.Network.Rbac.V3;
using WireRoute = Envoy.Config.Route.V3;
using WireRouter = Envoy.Extensions.Filters.Http.Router.V3;
using WireTcp = Envoy.Extensions.Filters.Network.TcpProxy.V3;
using WireTemplate = Envoy.Extensions.Path.Match.UriTemplate.V3;
using WireTls = Envoy.Extensions.TransportSockets.Tls.V3;

namespace Sidecar.Tests.Config;

// The configurations that are in order, and what is made of them.
public sealed partial class FieldSweepTests
{
    /// <summary>What stands in extensions and in parts of resources that the whole has in another form, by what it is swept as.</summary>
    private Dictionary<string, FieldSweepRoot> Parts() => new FieldSweepRoot[]
    {
        new("Filter", () => Tcp(new()), wire => OfListener(Listener((WireListener.Filter)wire))),
        new("HttpFilter", () => HttpFilter(new WireCors.Cors()), OfHttpFilter),
        new("FilterChainMatch", () => new WireListener.FilterChainMatch(), OfMatch),
        new("OriginalSrc", () => new WireFilter.OriginalSrc.V3.OriginalSrc(), OfListenerFilter),
        new("ProxyProtocol", () => new WireFilter.ProxyProtocol.V3.ProxyProtocol(), OfListenerFilter),
        new("TlsInspector", () => new WireFilter.TlsInspector.V3.TlsInspector(), OfListenerFilter),
        new("ConfigSource", () => new WireCore.ConfigSource { Path = "/b" }, OfSource),
        new("GrpcService", Grpc, wire => OfSource(new WireCore.ConfigSource { ApiConfigSource = Api((WireCore.GrpcService)wire) })),
        new("EdsClusterConfig", () => new WireCluster.Cluster.Types.EdsClusterConfig { EdsConfig = new() { Self = new() } }, OfEds),
        new("OriginalDstLbConfig", () => new WireCluster.Cluster.Types.OriginalDstLbConfig(), OfOriginalDst),
        new("LeastRequestLbConfig", () => new WireCluster.Cluster.Types.LeastRequestLbConfig(), OfLeastRequest),
        new("LoadBalancingPolicy", () => new WireCluster.LoadBalancingPolicy(), OfPolicies),
        new("RoundRobin", () => new WireLb.RoundRobin.V3.RoundRobin(), wire => OfPolicies(Policies(wire))),
        new("LeastRequest", () => new WireLb.LeastRequest.V3.LeastRequest(), wire => OfPolicies(Policies(wire))),
        new("Random", () => new WireLb.Random.V3.Random(), wire => OfPolicies(Policies(wire))),
        new("StringMatcher", () => new WireMatcher.StringMatcher { Exact = "y" }, OfStringMatcher),
        new("HeaderValueOption", () => new WireCore.HeaderValueOption { Header = new() { Key = "k", Value = "v" } }, OfHeaderOption),
        new("RBAC", () => new WireRbacHttp.RBAC { Rules = new(), ShadowRules = new() }, wire => OfListener(Listener(Hcm(Hcm(before: wire))))),
        new("NetworkRBAC", () => new WireRbacNetwork.RBAC { StatPrefix = "s", Rules = new(), ShadowRules = new() }, OfNetworkFilter),
        new("Policy", AnyPolicy, wire => OfPolicy((WireRbac.Policy)wire)),
        new("RBACPerRoute", () => new WireRbacHttp.RBACPerRoute(), wire => OfRoute("envoy.filters.http.rbac", wire)),
        new("UriTemplateMatchConfig", () => new WireTemplate.UriTemplateMatchConfig { PathTemplate = "/a" }, OfTemplate),
        new("DownstreamTlsContext", () => Downstream(Own()), wire => OfDownstream((WireTls.DownstreamTlsContext)wire)),
        new("AutoHttpConfig", () => new WireHttp.HttpProtocolOptions.Types.AutoHttpConfig(), OfAutoHttp),
        new("UpstreamTlsContext", () => new WireTls.UpstreamTlsContext { CommonTlsContext = new() }, OfUpstream),
        new("SPIFFECertValidatorConfig", () => new WireTls.SPIFFECertValidatorConfig { TrustDomains = { files.TrustDomain.Clone() } }, OfValidator),
        new("Secret", () => new WireTls.Secret { Name = "s", TlsCertificate = files.Own.Clone() }, OfSecret),
    }.ToDictionary(root => root.Name);

    // ---- configurations in order ------------------------------------------------------------------------------------

    private static WireListener.Listener Listener(WireListener.Filter? filter = null) => new()
    {
        Name = "l", Address = s_address.Clone(), FilterChains = { new WireListener.FilterChain { Name = "one", Filters = { filter ?? Tcp(new()) } } },
    };

    private static WireListener.Filter Tcp(WireTcp.TcpProxy wire)
    {
        if (wire.StatPrefix.Length == 0)
            wire = new() { StatPrefix = "t", Cluster = "c" };
        return new() { Name = "envoy.filters.network.tcp_proxy", TypedConfig = Any.Pack(wire) };
    }

    private static WireListener.Filter Hcm(WireHcm.HttpConnectionManager wire) => new() { Name = "envoy.filters.network.http_connection_manager", TypedConfig = Any.Pack(wire) };

    private static WireHcm.HttpConnectionManager Hcm(IMessage? router = null, IMessage? before = null)
    {
        var wire = new WireHcm.HttpConnectionManager { StatPrefix = "h", RouteConfig = new() };
        if (before is not null)
            wire.HttpFilters.Add(HttpFilter(before));
        wire.HttpFilters.Add(new WireHcm.HttpFilter { Name = "envoy.filters.http.router", TypedConfig = Any.Pack(router ?? new WireRouter.Router()) });
        return wire;
    }

    private static WireHcm.HttpFilter HttpFilter(IMessage config) => new() { Name = "before", TypedConfig = Any.Pack(config) };

    private static WireCluster.Cluster Cluster(string name = "c") => new()
    {
        Name = name, Type = WireCluster.Cluster.Types.DiscoveryType.Static, LoadAssignment = new() { ClusterName = name, Endpoints = { Locality() } },
    };

    private static WireEndpoint.ClusterLoadAssignment Assignment() => new() { ClusterName = "c", Endpoints = { Locality() } };

    private static WireEndpoint.LocalityLbEndpoints Locality(string region = "") => new()
    {
        Locality = new() { Region = region }, LbEndpoints = { new WireEndpoint.LbEndpoint { Endpoint = new() { Address = s_address.Clone() } } },
    };

    private static WireCluster.LoadBalancingPolicy Policies(IMessage policy) => new() { Policies = { Policy(policy) } };

    private static WireCluster.LoadBalancingPolicy.Types.Policy Policy(IMessage policy) => new() { TypedExtensionConfig = new() { Name = "p", TypedConfig = Any.Pack(policy) } };

    private static WireCore.ApiConfigSource Api(WireCore.GrpcService? service = null) => new()
    {
        ApiType = WireCore.ApiConfigSource.Types.ApiType.Grpc, TransportApiVersion = WireCore.ApiVersion.V3, GrpcServices = { service ?? Grpc() },
    };

    private static WireCore.GrpcService Grpc() => new() { EnvoyGrpc = new() { ClusterName = "plane" } };

    private static WireTls.DownstreamTlsContext Downstream(WireTls.CommonTlsContext common) => new() { CommonTlsContext = common };

    private WireTls.CommonTlsContext Own() => new() { TlsCertificates = { files.Own.Clone() } };

    // ---- what is made of them ---------------------------------------------------------------------------------------

    private static Translated OfHttpFilter(IMessage wire)
    {
        var manager = Hcm();
        manager.HttpFilters.Insert(0, (WireHcm.HttpFilter)wire);
        return OfListener(Listener(Hcm(manager)));
    }

    private static Translated OfMatch(IMessage wire)
    {
        var listener = Listener();
        listener.FilterChains[0].FilterChainMatch = (WireListener.FilterChainMatch)wire;
        return OfListener(listener);
    }

    private static Translated OfListenerFilter(IMessage wire)
    {
        var listener = Listener();
        listener.ListenerFilters.Add(new WireListener.ListenerFilter { Name = "f", TypedConfig = Any.Pack(wire) });
        return OfListener(listener);
    }

    private static Translated OfRoute(string filter, IMessage config) => Of(Resource(ResourceTypes.RouteConfiguration, "r", new WireRoute.RouteConfiguration
    {
        Name = "r", VirtualHosts = { new WireRoute.VirtualHost { Name = "v", Domains = { "*" }, TypedPerFilterConfig = { [filter] = Any.Pack(config) } } },
    }));

    private static Translated OfStringMatcher(IMessage wire) =>
        OfRoute("envoy.filters.http.cors", new WireCors.CorsPolicy { AllowOriginStringMatch = { (WireMatcher.StringMatcher)wire } });

    private static Translated OfHeaderOption(IMessage wire) => Of(Resource(ResourceTypes.RouteConfiguration, "r", new WireRoute.RouteConfiguration
    {
        Name = "r", RequestHeadersToAdd = { (WireCore.HeaderValueOption)wire },
    }));

    private static Translated OfNetworkFilter(IMessage wire)
    {
        var listener = Listener();
        listener.FilterChains[0].Filters.Insert(0, new WireListener.Filter { Name = "before", TypedConfig = Any.Pack(wire) });
        return OfListener(listener);
    }

    private static Translated OfTemplate(IMessage wire)
    {
        var policy = AnyPolicy();
        policy.Permissions[0].UriTemplate = new() { Name = "t", TypedConfig = Any.Pack(wire) };
        return OfPolicy(policy);
    }

    private static Translated OfPolicy(WireRbac.Policy policy) =>
        OfListener(Listener(Hcm(Hcm(before: new WireRbacHttp.RBAC { Rules = new() { Policies = { ["p"] = policy } } }))));

    private static Translated OfCluster(WireCluster.Cluster wire) => Of(Resource(ResourceTypes.Cluster, wire.Name, wire));

    private static Translated OfHttpOptions(IMessage wire) => OfHttpOptions(wire, Cluster());

    // It is negotiated in TLS.
    private static Translated OfAutoHttp(IMessage wire)
    {
        var cluster = Cluster();
        cluster.TransportSocket = Socket(new WireTls.UpstreamTlsContext());
        return OfHttpOptions(new WireHttp.HttpProtocolOptions { AutoConfig = (WireHttp.HttpProtocolOptions.Types.AutoHttpConfig)wire }, cluster);
    }

    private static Translated OfHttpOptions(IMessage wire, WireCluster.Cluster cluster)
    {
        cluster.TypedExtensionProtocolOptions["envoy.extensions.upstreams.http.v3.HttpProtocolOptions"] = Any.Pack(wire);
        return OfCluster(cluster);
    }

    private static Translated OfEds(IMessage wire) => OfCluster(new()
    {
        Name = "c", Type = WireCluster.Cluster.Types.DiscoveryType.Eds, EdsClusterConfig = (WireCluster.Cluster.Types.EdsClusterConfig)wire,
    });

    private static Translated OfOriginalDst(IMessage wire) => OfCluster(new()
    {
        Name = "c", Type = WireCluster.Cluster.Types.DiscoveryType.OriginalDst, LbPolicy = WireCluster.Cluster.Types.LbPolicy.ClusterProvided,
        OriginalDstLbConfig = (WireCluster.Cluster.Types.OriginalDstLbConfig)wire,
    });

    private static Translated OfLeastRequest(IMessage wire)
    {
        var cluster = Cluster();
        cluster.LbPolicy = WireCluster.Cluster.Types.LbPolicy.LeastRequest;
        cluster.LeastRequestLbConfig = (WireCluster.Cluster.Types.LeastRequestLbConfig)wire;
        return OfCluster(cluster);
    }

    private static Translated OfPolicies(IMessage wire)
    {
        var cluster = Cluster();
        cluster.LoadBalancingPolicy = (WireCluster.LoadBalancingPolicy)wire;
        return OfCluster(cluster);
    }

    private static Translated OfAssignment(IMessage wire)
    {
        var cluster = new WireCluster.Cluster
        {
            Name = "c", Type = WireCluster.Cluster.Types.DiscoveryType.Eds, EdsClusterConfig = new() { EdsConfig = new() { Ads = new() } },
        };
        return Of(Resource(ResourceTypes.ClusterLoadAssignment, ((WireEndpoint.ClusterLoadAssignment)wire).ClusterName, wire), Resource(ResourceTypes.Cluster, "c", cluster));
    }

    // A source of what is taken by name.
    private Translated OfSource(IMessage wire)
    {
        var secret = new WireTls.SdsSecretConfig { Name = "s", SdsConfig = (WireCore.ConfigSource)wire };
        return OfDownstream(Downstream(new() { TlsCertificateSdsSecretConfigs = { secret } }));
    }

    private Translated OfDownstream(WireTls.DownstreamTlsContext wire)
    {
        var listener = Listener();
        listener.FilterChains[0].TransportSocket = Socket(wire);
        return OfListener(listener, Secrets());
    }

    private Translated OfUpstream(IMessage wire)
    {
        var cluster = Cluster();
        cluster.TransportSocket = Socket(wire);
        return Of(Resource(ResourceTypes.Cluster, "c", cluster), Secrets());
    }

    private Translated OfValidator(IMessage wire)
    {
        var common = Own();
        common.ValidationContext = new() { CustomValidatorConfig = new() { Name = "envoy.tls.cert_validator.spiffe", TypedConfig = Any.Pack(wire) } };
        return OfDownstream(Downstream(common));
    }

    // Whatever a secret is, one of the chains is made of it.
    private Translated OfSecret(IMessage wire)
    {
        var secret = (WireTls.Secret)wire;
        var reference = new WireTls.SdsSecretConfig { Name = "s" };
        var validates = Own();
        validates.ValidationContextSdsSecretConfig = reference;
        var tickets = Downstream(Own());
        tickets.SessionTicketKeysSdsSecretConfig = reference;
        var chains = new[] { Downstream(new() { TlsCertificateSdsSecretConfigs = { reference } }), Downstream(validates), tickets };
        var listener = Listener();
        listener.FilterChains.Clear();
        for (int i = 0; i < chains.Length; i++)
        {
            listener.FilterChains.Add(new WireListener.FilterChain
            {
                Name = "chain " + i, FilterChainMatch = new() { DestinationPort = (uint)i + 1 }, Filters = { Tcp(new()) }, TransportSocket = Socket(chains[i]),
            });
        }
        return OfListener(listener, Resource(ResourceTypes.Secret, secret.Name, secret));
    }

    private static WireCore.TransportSocket Socket(IMessage wire) => new() { Name = "tls", TypedConfig = Any.Pack(wire) };

    private DiscoveredResource[] Secrets() =>
    [
        Secret(new() { Name = "certificate", TlsCertificate = files.Own }),
        Secret(new() { Name = "authorities", ValidationContext = files.Validation }),
        Secret(new() { Name = "hashes", ValidationContext = new() { VerifyCertificateHash = { new string('a', 64) } } }),
        Secret(new() { Name = "tickets", SessionTicketKeys = files.TicketKeys }),
    ];

    private static DiscoveredResource Secret(WireTls.Secret wire) => Resource(ResourceTypes.Secret, wire.Name, wire);
}
