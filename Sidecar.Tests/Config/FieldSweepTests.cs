using System;
using System.Collections.Generic;
using System.Linq;
using System.Text;
using Google.Protobuf;
using Google.Protobuf.WellKnownTypes;
using Sidecar.Config;
using Sidecar.Telemetry.Stats;
using Sidecar.Tests.Harness;
using Sidecar.Wire;
using Sidecar.Xds;
using Xunit;
using WireAlpn = Istio.Alpn.V2Alpha1;
using WireBootstrap = Envoy.Config.Bootstrap.V3;
using WireCluster = Envoy.Config.Cluster.V3;
using WireCore = Envoy.Config.Core.V3;
using WireCors = Envoy.Extensions.Filters.Http.Cors.V3;
using WireEndpoint = Envoy.Config.Endpoint.V3;
using WireFault = Envoy.Extensions.Filters.Http.Fault.V3;
using WireFaultCommon = Envoy.Extensions.Filters.Common.Fault.V3;
using WireHcm = Envoy.Extensions.Filters.Network.HttpConnectionManager.V3;
using WireHttp = Envoy.Extensions.Upstreams.Http.V3;
using WireLb = Envoy.Extensions.LoadBalancingPolicies;
using WireListener = Envoy.Config.Listener.V3;
using WireMatcher = Envoy.Type.Matcher.V3;
using WireRoute = Envoy.Config.Route.V3;
using WireRouter = Envoy.Extensions.Filters.Http.Router.V3;
using WireTcp = Envoy.Extensions.Filters.Network.TcpProxy.V3;
using WireType = Envoy.Type.V3;

namespace Sidecar.Tests.Config;

/// <summary>
/// No field of a resource this proxy takes is passed over in silence: each, set alone in a configuration that is otherwise in order, changes what is made of it, or is
/// reported by its path; the few that do neither stand here with the reason. A field added to the protos fails here until something acts on it.
/// Routes have a test of their own (<see cref="RouteFieldsTests"/>).
/// </summary>
public sealed class FieldSweepTests
{
    /// <summary>What need do nothing, and why.</summary>
    private static readonly Dictionary<string, string> s_silent = new()
    {
        ["ClusterLoadAssignment.cluster_name"] = "it is the name of the resource",
    };

    private static readonly HashSet<string> s_elsewhere =
    [
        "envoy.config.listener.v3.Listener", "envoy.config.cluster.v3.Cluster", "envoy.extensions.transport_sockets.tls.v3.Secret", "envoy.config.route.v3.RouteConfiguration", "envoy.config.route.v3.HeaderMatcher", "envoy.type.matcher.v3.StringMatcher",
    ];

    private static readonly WireCore.Address s_address = new() { SocketAddress = new() { Address = "127.0.0.1", PortValue = 7 } };

    private static readonly Dictionary<string, object[]> s_samples = new()
    {
        ["envoy.config.core.v3.Address"] = [s_address],
        ["envoy.config.core.v3.SocketAddress"] = [s_address.SocketAddress],
        ["envoy.config.core.v3.CidrRange"] = [new WireCore.CidrRange { AddressPrefix = "10.0.0.0", PrefixLen = 8 }],
        ["CidrRange.address_prefix"] = ["11.0.0.0"],
        ["SocketAddress.address"] = ["127.0.0.2"],
        ["Pipe.path"] = ["/x"],
        ["envoy.config.core.v3.Pipe"] = [new WireCore.Pipe { Path = "/y" }],
        ["envoy.type.v3.Percent"] = [new WireType.Percent { Value = 25 }],
        ["envoy.config.route.v3.HeaderMatcher"] = [new WireRoute.HeaderMatcher { Name = "x" }],
        ["envoy.type.matcher.v3.StringMatcher"] = [new WireMatcher.StringMatcher { Exact = "x" }],
        ["envoy.config.listener.v3.Filter"] = [new WireListener.Filter { Name = "mixer" }],
        ["envoy.config.listener.v3.ListenerFilter"] = [new WireListener.ListenerFilter { Name = "envoy.filters.listener.original_dst" }],
        ["envoy.config.listener.v3.FilterChain"] = [new WireListener.FilterChain { Name = "another", FilterChainMatch = new() { DestinationPort = 9 }, Filters = { Tcp(new()) } }],
        ["envoy.config.core.v3.SocketOption"] = [new WireCore.SocketOption { Level = 1, Name = 36, IntValue = 7 }],
        ["envoy.config.cluster.v3.CircuitBreakers.Thresholds"] = [new WireCluster.CircuitBreakers.Types.Thresholds { MaxConnections = 3 }],
        ["envoy.type.v3.FractionalPercent"] = [new WireType.FractionalPercent { Numerator = 50 }],
        ["envoy.config.core.v3.RuntimeFractionalPercent"] = [new WireCore.RuntimeFractionalPercent { DefaultValue = new() { Numerator = 50 } }],
        ["HttpConnectionManager.route_config"] = [new WireRoute.RouteConfiguration { Name = "named" }],
        ["envoy.config.listener.v3.AdditionalAddress"] = [new WireListener.AdditionalAddress { Address = s_address }],
        ["envoy.config.core.v3.TransportSocket"] = [new WireCore.TransportSocket { Name = "raw_buffer" }],
    };

    private static readonly FieldSweepRoot[] s_roots =
    [
        new("Listener", () => Listener(), wire => OfListener((WireListener.Listener)wire)),
        new("HttpConnectionManager", () => Hcm(), wire => OfListener(Listener(Hcm((WireHcm.HttpConnectionManager)wire)))),
        new("TcpProxy", () => new WireTcp.TcpProxy { StatPrefix = "t", Cluster = "c" }, wire => OfListener(Listener(Tcp((WireTcp.TcpProxy)wire)))),
        new("Router", () => new WireRouter.Router(), wire => OfListener(Listener(Hcm(Hcm(wire))))),
        new("Cors", () => new WireCors.CorsPolicy(), wire => OfRoute("envoy.filters.http.cors", wire)),
        new("Alpn", () => new WireAlpn.FilterConfig(), wire => OfListener(Listener(Hcm(Hcm(new WireRouter.Router(), wire))))),
        new("Fault", () => new WireFault.HTTPFault(), wire => OfListener(Listener(Hcm(Hcm(new WireRouter.Router(), wire))))),
        new("Cluster", () => Cluster(), wire => OfCluster((WireCluster.Cluster)wire)),
        new("HttpProtocolOptions", () => new WireHttp.HttpProtocolOptions { ExplicitHttpConfig = new() { HttpProtocolOptions = new() } }, OfHttpOptions),
        new("ClusterLoadAssignment", Assignment, OfAssignment),
        new("Bootstrap", () => new WireBootstrap.Bootstrap { Node = new() { Id = "n", Cluster = "c" } }, OfBootstrap),
    ];

    public static TheoryData<string> Roots() => [.. s_roots.Select(root => root.Name)];

    [Theory]
    [MemberData(nameof(Roots))]
    public void FieldSetAlone_IsInEffectOrReported(string name)
    {
        var root = s_roots.Single(r => r.Name == name);
        Assert.Equal(root.Translate(root.Make()).Result, root.Translate(root.Make()).Result);
        var sweep = new FieldSweep(root.Translate, s_samples, s_elsewhere);
        sweep.Run(root.Make());
        var known = s_silent.Keys.Where(path => path.StartsWith(root.Make().Descriptor.Name + ".", StringComparison.Ordinal)).ToList();
        Assert.True(!sweep.Silent.Except(known).Any(), "neither in effect nor reported:\n" + string.Join('\n', sweep.Silent.Except(known)));
        Assert.True(!known.Except(sweep.Silent).Any(), "in effect or reported, against the list:\n" + string.Join('\n', known.Except(sweep.Silent)));
    }

    /// <summary>The same for what only the list of Envoy's fields knows: of a message that is taken, a field that is not declared here is reported by its name.</summary>
    [SkippableFact]
    public void FieldOfEnvoyNotDeclaredHere_IsReported()
    {
        int seen = 0;
        var silent = new List<string>();
        foreach (string[] row in System.IO.File.ReadLines(ProjectTree.Shared("facts/xds-fields.tsv")).Skip(1).Select(line => line.Split('\t')))
        {
            // Reserved numbers have no name.
            if (row[2].Length == 0 || !int.TryParse(row[3], out int number) || SchemaTable.Find(row[0] + "." + row[1]) is not { } message || !message.Fields.Any(f => f.Support == Support.Supported))
                continue;
            seen++;
            var problems = new WireProblems();
            if (message.Find((uint)number) is not { } field || field.ToString() != row[2])
                silent.Add(message.FullName + "." + row[2] + " is not in the schema");
            else if (field.Support != Support.Supported && !(UnsupportedFields.Walk(Alone(field), message, "", problems) && problems.List.Any(p => p.Path == row[2])))
                silent.Add(message.FullName + "." + row[2]);
        }
        Assert.NotEqual(0, seen);
        Assert.True(silent.Count == 0, string.Join('\n', silent));
    }

    // The field with a value of no bytes, or of zeros.
    private static byte[] Alone(FieldSchema field)
    {
        var (encoding, length) = field.IsMap || field.IsRepeated ? (2, 1) : field.Type switch
        {
            FieldType.Double or FieldType.Fixed64 or FieldType.SFixed64 => (1, 8),
            FieldType.Float or FieldType.Fixed32 or FieldType.SFixed32 => (5, 4),
            FieldType.String or FieldType.Bytes or FieldType.Message => (2, 1),
            _ => (0, 1),
        };
        var bytes = new List<byte>();
        for (uint tag = (uint)(field.Number << 3 | encoding); ; tag >>= 7)
        {
            bytes.Add((byte)(tag > 127 ? tag & 127 | 128 : tag));
            if (tag <= 127)
                break;
        }
        bytes.AddRange(new byte[length]);
        return [.. bytes];
    }

    private sealed record FieldSweepRoot(string Name, Func<IMessage> Make, Func<IMessage, Translated> Translate);

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
            wire.HttpFilters.Add(new WireHcm.HttpFilter { Name = "before", TypedConfig = Any.Pack(before) });
        wire.HttpFilters.Add(new WireHcm.HttpFilter { Name = "envoy.filters.http.router", TypedConfig = Any.Pack(router ?? new WireRouter.Router()) });
        return wire;
    }

    private static WireCluster.Cluster Cluster() => new()
    {
        Name = "c", Type = WireCluster.Cluster.Types.DiscoveryType.Static, LoadAssignment = new() { ClusterName = "c", Endpoints = { Locality() } },
    };

    private static WireEndpoint.ClusterLoadAssignment Assignment() => new() { ClusterName = "c", Endpoints = { Locality() } };

    private static WireEndpoint.LocalityLbEndpoints Locality() => new() { LbEndpoints = { new WireEndpoint.LbEndpoint { Endpoint = new() { Address = s_address.Clone() } } } };

    // ---- what is made of them ---------------------------------------------------------------------------------------

    private static Translated OfListener(WireListener.Listener wire) => Of(Resource(ResourceTypes.Listener, wire.Name, wire), Resource(ResourceTypes.Cluster, "c", Cluster()));

    private static Translated OfRoute(string filter, IMessage config) => Of(Resource(ResourceTypes.RouteConfiguration, "r", new WireRoute.RouteConfiguration
    {
        Name = "r", VirtualHosts = { new WireRoute.VirtualHost { Name = "v", Domains = { "*" }, TypedPerFilterConfig = { [filter] = Any.Pack(config) } } },
    }));

    private static Translated OfCluster(WireCluster.Cluster wire) => Of(Resource(ResourceTypes.Cluster, wire.Name, wire));

    private static Translated OfHttpOptions(IMessage wire)
    {
        var cluster = Cluster();
        cluster.TypedExtensionProtocolOptions["envoy.extensions.upstreams.http.v3.HttpProtocolOptions"] = Any.Pack(wire);
        return OfCluster(cluster);
    }

    private static Translated OfAssignment(IMessage wire)
    {
        var cluster = new WireCluster.Cluster { Name = "c", Type = WireCluster.Cluster.Types.DiscoveryType.Eds, EdsClusterConfig = new() { EdsConfig = new() { Ads = new() } } };
        return Of(Resource(ResourceTypes.ClusterLoadAssignment, ((WireEndpoint.ClusterLoadAssignment)wire).ClusterName, wire), Resource(ResourceTypes.Cluster, "c", cluster));
    }

    private static Translated OfBootstrap(IMessage wire)
    {
        byte[] json = Encoding.UTF8.GetBytes(Wire.WireHarness.Write(wire.ToByteArray(), "envoy.config.bootstrap.v3.Bootstrap"));
        var set = ResourceReader.ReadDocument(json, "");
        if (set.Bootstrap is not { } bootstrap)
            return new Translated([.. set.Problems.Select(problem => problem.ToString())], "");
        var problems = new WireProblems();
        var discovery = DiscoveryConfig.Read(bootstrap.Bytes.Span, problems);
        var facts = BootstrapReader.Read(bootstrap);
        string resources = string.Join(' ', set.Resources.Select(resource => resource.TypeUrl + resource.Name));
        return new Translated(
            [.. set.Problems.Select(problem => problem.ToString()), .. problems.List.Select(problem => problem.ToString())],
            set.HasErrors ? "" : ObjectGraph.Print(discovery) + ObjectGraph.Print(facts) + resources);
    }

    private static DiscoveredResource Resource(string type, string name, IMessage wire) => new(type, name, "", wire.ToByteArray(), "");

    private static Translated Of(DiscoveredResource subject, params DiscoveredResource[] others)
    {
        var set = new ResourceSet();
        set.Add(subject, warming: false);
        foreach (var other in others)
            set.Add(other, warming: false);
        var result = new SnapshotBuilder(new StatsRegistry(1), 1, "node", () => 0).Build(set);
        var state = result.Snapshot.Find(subject.TypeUrl, subject.Name);
        return new Translated(
            [.. result.Errors.Concat(result.WithoutEffect).Select(problem => problem.ToString())], state?.Accepted is { } accepted ? ObjectGraph.Print(accepted.Translated) : "");
    }
}
