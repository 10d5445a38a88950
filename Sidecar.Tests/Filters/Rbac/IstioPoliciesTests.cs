using System;
using System.Collections.Generic;
using System.IO;
using System.Linq;
using Sidecar.Filters.Network;
using Sidecar.Telemetry;
using Sidecar.Tests.Harness;
using Sidecar.Tests.Wire;
using Xunit;
using WireHttp = Envoy.Extensions.Filters.Http.Rbac.V3;
using WireNetwork = Envoy.Extensions.Filters.Network.Rbac.V3;

namespace Sidecar.Tests.Filters.Rbac;

/// <summary>What a real istiod makes of AuthorizationPolicies: all of it is taken, and requests are let in or not as the policies say.</summary>
public sealed class IstioPoliciesTests
{
    private const string Http = "envoy.extensions.filters.http.rbac.v3.RBAC", Network = "envoy.extensions.filters.network.rbac.v3.RBAC";

    private static List<(string File, string Type, byte[] Config)> Filters()
    {
        var filters = new List<(string, string, byte[])>();
        foreach (string file in Directory.GetFiles(ProjectTree.Shared("testdata/istio/authz"), "*-out*.yaml", SearchOption.AllDirectories).Order(StringComparer.Ordinal))
        {
            foreach (var document in Yaml.Documents(File.ReadAllText(file)))
            {
                var config = document["typedConfig"]!.AsObject();
                string type = ((string)config["@type"]!).Split('/')[1];
                config.Remove("@type");
                if (type is Http or Network)
                    filters.Add((Path.GetFileName(file), type, WireHarness.Read(config.ToJsonString(), type)));
            }
        }
        return filters;
    }

    private static RbacHarness Golden(string name) =>
        new(WireHttp.RBAC.Parser.ParseFrom(Filters().First(filter => filter.File == name + ".yaml" && filter.Type == Http).Config));

    [SkippableFact]
    public void EveryFilter_IsTaken_AndNothingOfItIsWithoutEffect()
    {
        var filters = Filters();
        Assert.InRange(filters.Count(filter => filter.Type == Http), 40, int.MaxValue);
        Assert.InRange(filters.Count(filter => filter.Type == Network), 5, int.MaxValue);
        foreach (var (file, type, config) in filters)
        {
            using var harness = new FilterHarness();
            var problems = new Sidecar.Wire.WireProblems();
            Assert.True(Sidecar.Wire.UnsupportedFields.Walk(config, Sidecar.Wire.SchemaTable.Find(type)!, "", problems));
            object? made = type == Http
                ? Sidecar.Filters.Http.RbacFilter.Create(WireHttp.RBAC.Parser.ParseFrom(config), harness.Config)
                : RbacNetworkFilter.Create(WireNetwork.RBAC.Parser.ParseFrom(config), harness.Config);
            Assert.True(made is not null, file + ": " + string.Join(" | ", harness.Config.Rejections));
            Assert.Equal((file, ""), (file, string.Join(" | ", harness.Config.Ignored) + string.Join(" | ", problems.List)));
        }
    }

    private static RbacRequest From(string principal, string path = "/") => new() { Uris = ["spiffe://" + principal], Path = path };

    private static (string, string, MetadataValue)[] Jwt(params (string Claim, object Value)[] claims) =>
        [("envoy.filters.http.jwt_authn", "payload", RbacHarness.Value(claims.ToDictionary(claim => claim.Claim, claim => claim.Value)))];

    /// <summary>Of a file: requests that its policies (beside it, in -in.yaml) let in, and others.</summary>
    private static readonly Dictionary<string, (RbacRequest[] Allowed, RbacRequest[] Denied)> s_cases = new()
    {
        ["allow-empty-rule-out"] = ([new(), From("x")], []),
        ["allow-nil-rule-out"] = ([], [new(), From("x")]),
        ["deny-empty-rule-out"] = ([], [new(), From("x")]),
        // principals: deny; principals: allow.
        ["deny-and-allow-out1"] = ([new(), From("allow"), From("deny/x")], [From("deny")]),
        ["deny-and-allow-out2"] = ([From("allow")], [new(), From("deny")]),
        // notPaths holds "*", and so no request is allowed at all.
        ["allow-path-out"] = ([], [new() { Path = "/exact" }, new() { Path = "/path/template/x" }, new() { Path = "/" }]),
        ["allow-host-before-111-out"] = ([], [new() { Authority = "example.com" }, new()]),
        ["multiple-policies-out"] = (
            [
                new() { Method = "GET" }, new() { Method = "POST" }, Put() with { Path = "/v1" }, Put() with { Path = "/v2?x" }, Put() with { Authority = "Google.com" },
                Put() with { Destination = "10.0.0.1:90" }, Put() with { Uris = ["spiffe://principals1"] }, Put() with { Uris = ["spiffe://td/ns/namespaces2/sa/x"] },
                Put() with { Peer = "1.2.3.4" }, Put() with { Peer = "5.6.7.99" }, Put() with { Fields = [("X-abc", "abc2")] }, Put() with { Fields = [("X-abc", "z"), ("X-abc", "abc1")] },
            ],
            [
                Put(), Put() with { Path = "/v1/x" }, Put() with { Authority = "google.com.evil" }, Put() with { Uris = ["spiffe://principals1"], IsVerified = false },
                Put() with { Uris = ["spiffe://td/ns/other/sa/x"] }, Put() with { Peer = "1.2.3.5", Connection = "1.2.3.4", Remote = "1.2.3.4" }, Put() with { Fields = [("X-abc", "abc")] },
            ]),
        ["trust-domains-out"] = ([From("cluster.local/ns/a/sa/b"), From("another.local/x"), From("other/x")], [From("badger/x"), From("untrusted/x")]),
        // Its first source takes whoever has a name, the second certain service accounts.
        ["simple-policy-principal-with-wildcard-out"] = ([From("a"), From("td/ns/foo/sa/x")], [new(), new() { IsTls = true }]),
        ["dry-run-mix-out"] = ([new() { Path = "/another" }], [new() { Path = "/allow" }, new()]),
        ["audit-full-rule-out"] = ([new(), From("x")], []),
    };

    private static RbacRequest Put() => new() { Method = "PUT", Destination = "10.0.0.1:8080" };

    public static TheoryData<string> Cases()
    {
        var names = new TheoryData<string>();
        foreach (string name in s_cases.Keys)
            names.Add(name);
        return names;
    }

    [SkippableTheory]
    [MemberData(nameof(Cases))]
    public void Requests_AreLetInAsThePoliciesSay(string file)
    {
        using var rbac = Golden(file);
        Assert.All(s_cases[file].Allowed, request => Assert.True(rbac.Allows(request), string.Join(' ', rbac.Filter.Actions)));
        Assert.All(s_cases[file].Denied, request => Assert.False(rbac.Allows(request)));
    }

    /// <summary>single-policy, rule[1]: one source of two, one operation of two.</summary>
    [SkippableFact]
    public void SingleRequest_HasToMeetOfEverythingOne()
    {
        using var rbac = Golden("single-policy-out");
        string rule = "rule[1]-";
        var met = new RbacRequest
        {
            Uris = [$"spiffe://td/ns/{rule}from[1]-ns[2]/sa/x", $"spiffe://{rule}from[1]-principal[1]"], Peer = "10.1.1.1", Connection = "10.1.1.1", Remote = "192.168.4.7",
            Metadata = Jwt(("iss", $"{rule}from[1]-requestPrincipal[2]"), ("sub", "")),
            Method = $"{rule}to[1]-method[1]", Authority = $"{rule}to[1]-host[2]", Destination = "10.0.0.1:9112", Path = $"{rule}to[1]-path[1]",
        };
        Assert.True(rbac.Allows(met));
        RbacRequest[] missing =
        [
            met with { Peer = "10.1.1.2", Connection = "10.1.1.2" }, met with { Remote = "192.168.5.7" }, met with { Metadata = [] }, met with { Method = "GET" }, met with { Authority = "x" },
            met with { Destination = "10.0.0.1:9102" }, met with { Path = "/" }, met with { IsVerified = false }, met with { Uris = [$"spiffe://{rule}from[1]-principal[1]"] },
        ];
        Assert.All(missing, request => Assert.False(rbac.Allows(request)));
    }

    [SkippableFact]
    public void DryRun_IsCountedByItsOwnName()
    {
        using var rbac = Golden("dry-run-mix-out");
        rbac.Allows(new() { Path = "/allow" });
        Assert.Equal("allowed", rbac.Filter.Info.DynamicMetadata.Find("envoy.filters.http.rbac", "istio_dry_run_allow_shadow_engine_result")!.Text);
        Assert.Equal((1, 1), (rbac.Filter.Stat("http.t.rbac.istio_dry_run_allow_.shadow_allowed"), rbac.Filter.Stat("http.t.rbac.denied")));
    }
}
