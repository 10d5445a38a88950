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
using WireFault = Envoy.Extensions.Filters.Http.Fault.V3;
using WireFaultCommon = Envoy.Extensions.Filters.Common.Fault.V3;
using WireHcm = Envoy.Extensions.Filters.Network.HttpConnectionManager.V3;
using WireHttp = Envoy.Extensions.Upstreams.Http.V3;
using WireLb = Envoy.Extensions.LoadBalancingPolicies;
using WireListener = Envoy.Config.Listener.V3;
using WireMatcher = Envoy.Type.Matcher.V3;
using WireRbac = Envoy.Config.Rbac.V3;
using WireRoute = Envoy.Config.Route.V3;
using WireRouter = Envoy.Extensions.Filters.Http.Router.V3;
using WireTcp = Envoy.Extensions.Filters.Network.TcpProxy.V3;
using WireType = Envoy.Type.V3;
using MessageDescriptor = Google.Protobuf.Reflection.MessageDescriptor;

namespace Sidecar.Tests.Config;

/// <summary>
/// No field of a resource this proxy takes is passed over in silence: each, set alone in a configuration that is otherwise in order, changes what is made of it, or is
/// reported by its path; the few that do neither stand here with the reason. A field added to the protos fails here until something acts on it.
/// Routes have a test of their own (<see cref="RouteFieldsTests"/>).
/// </summary>
public sealed partial class FieldSweepTests(FieldSweepFiles files) : IClassFixture<FieldSweepFiles>
{
    /// <summary>What need do nothing, and why.</summary>
    private static readonly Dictionary<string, string> s_silent = new()
    {
        ["ClusterLoadAssignment.cluster_name"] = "it is the name of the resource",
        ["Filter.name"] = "the type of typed_config says which filter it is",
        ["HttpFilter.name"] = "the same",
        ["HttpFilter.is_optional"] = "is for a filter that is not known",
        ["LoadBalancingPolicy.policies.typed_extension_config.name"] = "the type of typed_config says which policy it is",
        ["EdsClusterConfig.eds_config.ads"] = "self is the same",
        ["HttpConnectionManager.rds.config_source.ads"] = "self is the same",
    };

    // In every ConfigSource: it asks for what is done in any case.
    private const string SilentEverywhere = ".set_node_on_first_message_only";

    private static readonly HashSet<string> s_elsewhere =
    [
        "envoy.config.listener.v3.Listener", "envoy.config.cluster.v3.Cluster", "envoy.extensions.transport_sockets.tls.v3.Secret", "envoy.config.route.v3.RouteConfiguration", "envoy.config.route.v3.HeaderMatcher", "envoy.type.matcher.v3.StringMatcher",
    ];

    private static readonly WireCore.Address s_address = new() { SocketAddress = new() { Address = "127.0.0.1", PortValue = 7 } };

    private static WireRbac.Policy AnyPolicy() => new() { Permissions = { new WireRbac.Permission { Any = true } }, Principals = { new WireRbac.Principal { Any = true } } };

    private static WireMatcher.MetadataMatcher MetadataValue() =>
        new() { Filter = "f", Path = { new WireMatcher.MetadataMatcher.Types.PathSegment { Key = "k" } }, Value = new() { BoolMatch = false } };

    private static WireListener.ListenerFilterChainMatchPredicate Ports() => new() { DestinationPortRange = new() { Start = 1, End = 10 } };

    private static WireTcp.TcpProxy.Types.WeightedCluster.Types.ClusterWeight Weighted() => new() { Name = "c", Weight = 1 };

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
        ["envoy.config.listener.v3.ListenerFilterChainMatchPredicate"] = [Ports()],
        ["envoy.config.listener.v3.ListenerFilterChainMatchPredicate.MatchSet"] =
            [new WireListener.ListenerFilterChainMatchPredicate.Types.MatchSet { Rules = { Ports(), Ports() } }],
        ["Filter.typed_config"] = [Any.Pack(new WireTcp.TcpProxy { StatPrefix = "u", Cluster = "c" })],
        ["HttpFilter.typed_config"] = [Any.Pack(new WireFault.HTTPFault())],
        ["HttpFilter.config_discovery"] =
            [new WireCore.ExtensionConfigSource { ConfigSource = new() { Path = "/a" }, TypeUrls = { Any.Pack(new WireCors.Cors()).TypeUrl } }],
        ["ExtensionConfigSource.default_config"] = [Any.Pack(new WireCors.Cors())],
        ["HttpConnectionManager.rds"] = [new WireHcm.Rds { RouteConfigName = "r", ConfigSource = new() { Self = new() } }],
        ["Rds.config_source"] = [new WireCore.ConfigSource { Self = new() }],
        ["EdsClusterConfig.eds_config"] = [new WireCore.ConfigSource { Self = new() }],
        ["envoy.config.core.v3.ConfigSource"] = [new WireCore.ConfigSource { Path = "/a" }],
        ["envoy.config.core.v3.PathConfigSource"] = [new WireCore.PathConfigSource { Path = "/c" }],
        ["envoy.config.core.v3.ApiConfigSource"] = [Api()],
        ["envoy.config.core.v3.GrpcService"] = [Grpc()],
        ["envoy.config.core.v3.GrpcService.EnvoyGrpc"] = [Grpc().EnvoyGrpc],
        ["EnvoyGrpc.cluster_name"] = ["other plane"],
        ["envoy.config.core.v3.HeaderValue"] = [new WireCore.HeaderValue { Key = "k", Value = "v" }],
        ["envoy.config.cluster.v3.Cluster.RefreshRate"] = [new WireCluster.Cluster.Types.RefreshRate { BaseInterval = new() { Seconds = 1 } }],
        ["envoy.config.cluster.v3.LoadBalancingPolicy.Policy"] = [Policy(new WireLb.LeastRequest.V3.LeastRequest())],
        ["Policy.typed_extension_config"] = [Policy(new WireLb.LeastRequest.V3.LeastRequest()).TypedExtensionConfig],
        ["typed_extension_config.typed_config"] = [Any.Pack(new WireLb.RoundRobin.V3.RoundRobin())],
        ["envoy.type.matcher.v3.RegexMatcher"] = [new WireMatcher.RegexMatcher { Regex = "x" }],
        ["RegexMatcher.regex"] = ["y"],
        ["envoy.config.cluster.v3.Cluster.TransportSocketMatch"] =
            [new WireCluster.Cluster.Types.TransportSocketMatch { Name = "m", TransportSocket = new() { Name = "raw_buffer" } }],
        ["envoy.config.endpoint.v3.LocalityLbEndpoints"] = [Locality("elsewhere")],
        ["LocalityLbEndpoints.locality"] = [new WireCore.Locality { Region = "further" }],
        ["envoy.config.endpoint.v3.LbEndpoint"] = [Locality().LbEndpoints[0]],
        ["envoy.config.endpoint.v3.Endpoint"] = [Locality().LbEndpoints[0].Endpoint],
        ["HTTPFault.delay"] = [new WireFaultCommon.FaultDelay { FixedDelay = new() { Seconds = 1 }, Percentage = new() { Numerator = 40 } }],
        ["HTTPFault.abort"] = [new WireFault.FaultAbort { HttpStatus = 503, Percentage = new() { Numerator = 40 } }],
        ["HTTPFault.response_rate_limit"] = [new WireFaultCommon.FaultRateLimit { FixedLimit = new() { LimitKbps = 1 }, Percentage = new() { Numerator = 40 } }],
        ["FaultRateLimit.fixed_limit"] = [new WireFaultCommon.FaultRateLimit.Types.FixedLimit { LimitKbps = 2 }],
        ["FaultAbort.http_status"] = [504u],
        ["envoy.config.rbac.v3.RBAC"] = [new WireRbac.RBAC()],
        ["envoy.config.rbac.v3.Policy"] = [AnyPolicy()],
        ["envoy.config.rbac.v3.Permission"] = [new WireRbac.Permission { DestinationPort = 7 }],
        ["envoy.config.rbac.v3.Permission.Set"] = [new WireRbac.Permission.Types.Set { Rules = { new WireRbac.Permission { Any = true } } }],
        ["envoy.config.rbac.v3.Principal"] = [new WireRbac.Principal { Authenticated = new() }],
        ["envoy.config.rbac.v3.Principal.Set"] = [new WireRbac.Principal.Types.Set { Ids = { new WireRbac.Principal { Any = true } } }],
        ["envoy.config.rbac.v3.SourcedMetadata"] = [new WireRbac.SourcedMetadata { MetadataMatcher = MetadataValue() }],
        ["envoy.type.matcher.v3.MetadataMatcher"] = [MetadataValue()],
        ["envoy.type.matcher.v3.MetadataMatcher.PathSegment"] = [new WireMatcher.MetadataMatcher.Types.PathSegment { Key = "k2" }],
        ["PathSegment.key"] = ["k3"],
        ["envoy.type.matcher.v3.ValueMatcher"] = [new WireMatcher.ValueMatcher { DoubleMatch = new() { Exact = 7 } }],
        ["envoy.type.matcher.v3.DoubleMatcher"] = [new WireMatcher.DoubleMatcher { Exact = 1 }],
        ["envoy.type.matcher.v3.ListMatcher"] = [new WireMatcher.ListMatcher { OneOf = new() { BoolMatch = true } }],
        ["envoy.type.matcher.v3.OrMatcher"] = [new WireMatcher.OrMatcher { ValueMatchers = { new WireMatcher.ValueMatcher { BoolMatch = true }, new WireMatcher.ValueMatcher { BoolMatch = false } } }],
        ["envoy.type.matcher.v3.PathMatcher"] = [new WireMatcher.PathMatcher { Path = new() { Exact = "/" } }],
        ["envoy.type.matcher.v3.FilterStateMatcher"] = [new WireMatcher.FilterStateMatcher { Key = "io.istio.peer_principal", StringMatch = new() { Exact = "p" } }],
        ["envoy.type.v3.Int32Range"] = [new WireType.Int32Range { Start = 1, End = 9 }],
        ["TcpProxy.weighted_clusters"] = [new WireTcp.TcpProxy.Types.WeightedCluster { Clusters = { Weighted() } }],
        ["WeightedCluster.clusters"] = [Weighted()],
        ["HttpProtocolOptions.explicit_http_config"] = [new WireHttp.HttpProtocolOptions.Types.ExplicitHttpConfig { Http2ProtocolOptions = new() }],
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

    // Their names need no files.
    public static TheoryData<string> Roots() => [.. s_roots.Select(root => root.Name), .. new FieldSweepTests(null!).Parts().Keys];

    private FieldSweepRoot Root(string name) => s_roots.SingleOrDefault(root => root.Name == name) ?? Parts()[name];

    private FieldSweep Sweep(FieldSweepRoot root)
    {
        if (files.Done.TryGetValue(root.Name, out var done))
            return done;
        var sweep = new FieldSweep(root.Translate, s_samples.Concat(files.Samples).ToDictionary(), s_elsewhere);
        sweep.Run(root.Make());
        files.Done.Add(root.Name, sweep);
        return sweep;
    }

    [Theory]
    [MemberData(nameof(Roots))]
    public void FieldSetAlone_IsInEffectOrReported(string name)
    {
        var root = Root(name);
        Assert.Equal(root.Translate(root.Make()).Result, root.Translate(root.Make()).Result);
        var sweep = Sweep(root);
        var known = s_silent.Keys.Where(path => path.StartsWith(root.Make().Descriptor.Name + ".", StringComparison.Ordinal)).ToList();
        var unexpected = sweep.Silent.Except(known).Where(path => !path.EndsWith(SilentEverywhere, StringComparison.Ordinal)).ToList();
        Assert.True(unexpected.Count == 0, "neither in effect nor reported:\n" + string.Join('\n', unexpected));
        Assert.Equal(sweep.Swept.Where(path => path.EndsWith(SilentEverywhere, StringComparison.Ordinal)), sweep.Silent.Where(path => path.EndsWith(SilentEverywhere, StringComparison.Ordinal)));
        Assert.True(!known.Except(sweep.Silent).Any(), "in effect or reported, against the list:\n" + string.Join('\n', known.Except(sweep.Silent)));
    }

    /// <summary>The same for what only the list of Envoy's fields knows: of a message that is taken, a field that is not declared here is reported by its name.</summary>
    [SkippableFact]
    public void FieldOfEnvoyNotDeclaredHere_IsReported()
    {
        int seen = 0;
        var silent = new List<string>();
        foreach (var (message, name, number) in FieldsOfEnvoy().Where(row => row.Message.Fields.Any(f => f.Support == Support.Supported)))
        {
            seen++;
            var problems = new WireProblems();
            if (message.Find(number) is not { } field || field.ToString() != name)
                silent.Add(message.FullName + "." + name + " is not in the schema");
            else if (field.Support != Support.Supported && !(UnsupportedFields.Walk(Alone(field), message, "", problems) && problems.List.Any(p => p.Path == name)))
                silent.Add(message.FullName + "." + name);
        }
        Assert.NotEqual(0, seen);
        Assert.True(silent.Count == 0, string.Join('\n', silent));
    }

    /// <summary>
    /// Every field of the list that belongs to what is taken (resources, what stands in them, and the configuration of extensions there are) was set in one of
    /// the sweeps, or belongs to something that is reported as a whole, or is one of those that are reported by their name wherever they stand.
    /// </summary>
    [SkippableFact]
    public void FieldOfEnvoyInWhatIsTaken_IsSwept()
    {
        var rows = FieldsOfEnvoy().ToList();
        // A bootstrap is no resource; what it has in common with them is swept there.
        var roots = s_roots.Where(root => root.Name != "Bootstrap").Concat(Parts().Values).ToList();
        var taken = new HashSet<string>();
        foreach (var root in roots)
            AddBelow(root.Make().Descriptor, taken);
        var sweeps = roots.ConvertAll(Sweep);
        var swept = sweeps.SelectMany(sweep => sweep.Fields).ToHashSet();
        var whole = sweeps.SelectMany(sweep => sweep.Whole).ToHashSet();
        var missing = new List<string>();
        int seen = 0;
        foreach (var (message, name, number) in rows)
        {
            bool isExtension = message.FullName.StartsWith("envoy.extensions.", StringComparison.Ordinal) && message.Support == Support.Supported;
            if (!taken.Contains(message.FullName) && (!isExtension || s_unused.Any(unused => message.FullName.StartsWith(unused, StringComparison.Ordinal))))
                continue;
            seen++;
            if (message.Find(number) is { Support: Support.Supported } && !swept.Contains(message.FullName + "." + name) && !whole.Contains(message.FullName))
                missing.Add(message.FullName + "." + name);
        }
        Assert.InRange(seen, 500, int.MaxValue);
        Assert.True(missing.Count == 0, "in no sweep:\n" + string.Join('\n', missing));
    }

    /// <summary>Extensions of which no resource that is taken is made, by the start of their names.</summary>
    private static readonly string[] s_unused =
    [
        // The bootstrap's.
        "envoy.extensions.resource_monitors.",
        // Of matchers and load balancing policies that are not there.
        "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager.ForwardClientCertConfig",
        "envoy.extensions.load_balancing_policies.common.v3.ConsistentHashingLbConfig", "envoy.extensions.load_balancing_policies.common.v3.OrcaOobReportingConfig",
    ];

    // Routes have a test of their own.
    private static void AddBelow(MessageDescriptor message, HashSet<string> taken)
    {
        if (message.File.Package is "google.protobuf" or "envoy.config.route.v3" || message.GetOptions()?.MapEntry != true && !taken.Add(message.FullName))
            return;
        foreach (var field in message.Fields.InDeclarationOrder().Where(field => field.FieldType == Google.Protobuf.Reflection.FieldType.Message))
            AddBelow(field.MessageType, taken);
    }

    // The rows of the list that are fields of messages in the schema. Reserved numbers have no name.
    private static IEnumerable<(MessageSchema Message, string Name, uint Number)> FieldsOfEnvoy()
    {
        foreach (string[] row in System.IO.File.ReadLines(ProjectTree.Shared("facts/xds-fields.tsv")).Skip(1).Select(line => line.Split('\t')))
        {
            if (row[2].Length > 0 && uint.TryParse(row[3], out uint number) && SchemaTable.Find(row[0] + "." + row[1]) is { } message)
                yield return (message, row[2], number);
        }
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

    // ---- from a configuration to what came of it ------------------------------------------------------------------------

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

    private static Translated OfListener(WireListener.Listener wire, params DiscoveredResource[] others) =>
        Of(Resource(ResourceTypes.Listener, wire.Name, wire), [Resource(ResourceTypes.Cluster, "c", Cluster()), .. others]);

    private static DiscoveredResource Resource(string type, string name, IMessage wire) => new(type, name, "", wire.ToByteArray(), "");

    private static Translated Of(DiscoveredResource subject, params DiscoveredResource[] others)
    {
        var sources = new StringBuilder();
        var builder = new SnapshotBuilder(new StatsRegistry(1), 1, "node", () => 0)
        {
            Sources = (source, typeUrl, problems) => sources.Append(ObjectGraph.Print(DiscoveryConfig.ReadOrigin(source, typeUrl, hasAds: true, problems))),
        };
        // Control planes are in clusters of the bootstrap.
        builder.Build(Set(Resource(ResourceTypes.Cluster, "plane", Cluster("plane")), Resource(ResourceTypes.Cluster, "other plane", Cluster("other plane"))), isStatic: true);
        var result = builder.Build(Set([subject, .. others]));
        var state = result.Snapshot.Find(subject.TypeUrl, subject.Name);
        return new Translated(
            [.. result.Errors.Concat(result.WithoutEffect).Select(problem => problem.ToString())],
            state?.Accepted is { } accepted ? ObjectGraph.Print(accepted.Translated) + sources + string.Join(' ', accepted.Routes) : "");
    }

    private static ResourceSet Set(params DiscoveredResource[] resources)
    {
        var set = new ResourceSet();
        foreach (var resource in resources)
            set.Add(resource, warming: false);
        return set;
    }
}
