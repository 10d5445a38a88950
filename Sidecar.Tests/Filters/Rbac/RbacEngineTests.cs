using System;
using System.Collections.Generic;
using System.Linq;
using Sidecar.Telemetry;
using Sidecar.Tests.Harness;
using Xunit;

namespace Sidecar.Tests.Filters.Rbac;

/// <summary>Every kind of permission and principal, by a request it holds for and others it does not; and how policies are put together.</summary>
public sealed class RbacEngineTests
{
    private const string Jwt = "envoy.filters.http.jwt_authn";

    private static RbacRequest Get(string path = "/", params (string, string)[] fields) => new() { Path = path, Fields = fields };

    private static RbacRequest Claims(string key, object value) =>
        new() { Metadata = [(Jwt, "payload", RbacHarness.Value(new Dictionary<string, object> { [key] = value }))] };

    private static string Claim(string value, string more = "") =>
        "{\"metadata\": {\"filter\": \"" + Jwt + "\", \"path\": [{\"key\": \"payload\"}, {\"key\": \"c\"}], \"value\": " + value + more + "}}";

    /// <summary>Of each kind: what it asks, what it holds for, what it does not.</summary>
    private static readonly (string Name, string Rule, RbacRequest[] Matching, RbacRequest[] Others)[] s_permissions =
    [
        ("any", """{"any": true}""", [Get()], []),
        ("and", """{"and_rules": {"rules": [{"header": {"name": "a"} }, {"header": {"name": "b"} }]} }""", [Get("/", ("a", "1"), ("b", "1"))], [Get("/", ("a", "1")), Get("/", ("b", "1"))]),
        ("or", """{"or_rules": {"rules": [{"header": {"name": "a"} }, {"header": {"name": "b"} }]} }""", [Get("/", ("a", "1")), Get("/", ("b", "1"))], [Get()]),
        ("not", """{"not_rule": {"header": {"name": "a"} } }""", [Get()], [Get("/", ("a", "1"))]),
        ("method", """{"header": {"name": ":method", "string_match": {"exact": "GET"} } }""", [Get()], [Get() with { Method = "POST" }, Get() with { Method = "get" }]),
        ("authority", """{"header": {"name": ":authority", "string_match": {"exact": "a.org", "ignore_case": true} } }""",
            [Get() with { Authority = "A.org" }], [Get() with { Authority = "a.org:80" }, Get()]),
        ("host is authority", """{"header": {"name": "host", "string_match": {"suffix": ".org"} } }""", [Get() with { Authority = "a.org" }], [Get() with { Authority = "a.com" }]),
        // One value must not hide behind another.
        ("header of several values", """{"header": {"name": "x-role", "string_match": {"exact": "admin"} } }""",
            [Get("/", ("x-role", "user"), ("x-role", "admin")), Get("/", ("x-role", "admin"))], [Get("/", ("x-role", "user")), Get("/", ("x-role", "user,admin"))]),
        ("header of several values, inverted", """{"header": {"name": "x-role", "string_match": {"exact": "admin"}, "invert_match": true} }""",
            [Get("/", ("x-role", "user"))], [Get("/", ("x-role", "user"), ("x-role", "admin")), Get()]),
        ("header's range", """{"header": {"name": "n", "range_match": {"start": "1", "end": "3"} } }""", [Get("/", ("n", "2"))], [Get("/", ("n", "3")), Get("/", ("n", "x"))]),
        ("path", """{"url_path": {"path": {"exact": "/a"} } }""", [Get("/a"), Get("/a?b=/c"), Get("/a#b")], [Get("/a/"), Get("/A"), Get("/b?/a"), Get("")]),
        ("path's regex", """{"url_path": {"path": {"safe_regex": {"regex": "/[ab]+"} } } }""", [Get("/abba?c")], [Get("/abc"), Get("x/a")]),
        ("template", """{"uri_template": {"name": "t", "typed_config": {"@type": "type.googleapis.com/envoy.extensions.path.match.uri_template.v3.UriTemplateMatchConfig", "path_template": "/a/*/c"} } }""",
            [Get("/a/b/c"), Get("/a/b/c?d")], [Get("/a//c"), Get("/a/b/b/c"), Get("")]),
        ("destination_ip", """{"destination_ip": {"address_prefix": "10.1.0.0", "prefix_len": 16} }""", [Get() with { Destination = "10.1.9.9:1" }], [Get() with { Destination = "10.2.0.0:1" }, Get() with { Destination = "::1:1" }]),
        ("destination_ip, IPv6", """{"destination_ip": {"address_prefix": "fd00::", "prefix_len": 8} }""", [Get() with { Destination = "fd12::3:1" }], [Get() with { Destination = "10.2.0.0:1" }]),
        ("destination_ip, any", """{"destination_ip": {"address_prefix": "0.0.0.0"} }""", [Get()], [Get() with { Destination = "fd12::3:1" }]),
        ("destination_port", """{"destination_port": 8080}""", [Get() with { Destination = "10.0.0.1:8080" }], [Get() with { Destination = "10.0.0.1:8081" }]),
        ("destination_port_range", """{"destination_port_range": {"start": 80, "end": 90} }""",
            [Get() with { Destination = "10.0.0.1:80" }, Get() with { Destination = "10.0.0.1:89" }], [Get() with { Destination = "10.0.0.1:90" }, Get() with { Destination = "10.0.0.1:79" }]),
        ("requested_server_name", """{"requested_server_name": {"suffix": ".org"} }""", [Get() with { ServerName = "a.org" }], [Get() with { ServerName = "a.com" }, Get()]),
        ("requested_server_name, none", """{"requested_server_name": {"exact": ""} }""", [Get(), Get() with { IsTls = true }], [Get() with { ServerName = "a.com" }]),
        ("text in metadata", Claim("""{"string_match": {"prefix": "a"} }"""), [Claims("c", "abc")], [Claims("c", "b"), Claims("c", new[] { "abc" }), Claims("d", "abc"), Get()]),
        ("metadata, inverted", Claim("""{"string_match": {"prefix": "a"} }""", ", \"invert\": true"), [Claims("c", "b"), Get()], [Claims("c", "abc")]),
        ("list in metadata", Claim("""{"list_match": {"one_of": {"string_match": {"exact": "x"} } } }"""), [Claims("c", new[] { "w", "x" })], [Claims("c", new[] { "w" }), Claims("c", "x"), Get()]),
        ("one of several in metadata", Claim("""{"or_match": {"value_matchers": [{"string_match": {"exact": "x"} }, {"bool_match": true}]} }"""),
            [Claims("c", "x"), Claims("c", true)], [Claims("c", "y"), Claims("c", false)]),
        ("truth in metadata", Claim("""{"bool_match": false}"""), [Claims("c", false)], [Claims("c", true), Claims("c", "false"), Get()]),
        ("number in metadata", Claim("""{"double_match": {"exact": 1.5} }"""), [Claims("c", 1.5)], [Claims("c", 1.0), Claims("c", "1.5"), Claims("c", true), Get()]),
        ("number's range in metadata", Claim("""{"double_match": {"range": {"start": 1, "end": 2} } }"""), [Claims("c", 1.0), Claims("c", 1.9)], [Claims("c", 2.0), Claims("c", 0.9), Get()]),
        ("nothing in metadata", Claim("""{"null_match": {} }"""), [Claims("c", DBNull.Value)], [Claims("c", ""), Get()]),
        ("anything in metadata", Claim("""{"present_match": true}"""), [Claims("c", DBNull.Value), Claims("c", "")], [Claims("d", ""), Get()]),
        ("present_match: false is no question", Claim("""{"present_match": false}"""), [], [Claims("c", ""), Get()]),
        ("sourced_metadata", """{"sourced_metadata": {"metadata_matcher": {"filter": "f", "path": [{"key": "k"}], "value": {"string_match": {"exact": "v"} } } } }""",
            [Get() with { Metadata = [("f", "k", MetadataValue.Of("v"))] }], [Get() with { Metadata = [("g", "k", MetadataValue.Of("v"))] }, Get()]),
    ];

    private static RbacRequest Called(params string[] uris) => new() { Uris = uris };

    private static readonly (string Name, string Rule, RbacRequest[] Matching, RbacRequest[] Others)[] s_principals =
    [
        ("any", """{"any": true}""", [Get()], []),
        ("and", """{"and_ids": {"ids": [{"header": {"name": "a"} }, {"header": {"name": "b"} }]} }""", [Get("/", ("a", "1"), ("b", "1"))], [Get("/", ("a", "1"))]),
        ("or", """{"or_ids": {"ids": [{"header": {"name": "a"} }, {"header": {"name": "b"} }]} }""", [Get("/", ("b", "1"))], [Get()]),
        ("header", """{"header": {"name": ":method", "string_match": {"exact": "GET"} } }""", [Get()], [Get() with { Method = "PUT" }]),
        ("not", """{"not_id": {"header": {"name": "a"} } }""", [Get()], [Get("/", ("a", "1"))]),
        ("path", """{"url_path": {"path": {"prefix": "/a"} } }""", [Get("/ab?c")], [Get("/b")]),
        ("authenticated", """{"authenticated": {} }""", [Called("spiffe://a"), new() { Subject = "CN=a" }],
            [Get(), new() { IsTls = true }, Called("spiffe://a") with { IsVerified = false }]),
        ("authenticated by URI", """{"authenticated": {"principal_name": {"exact": "spiffe://a"} } }""", [Called("spiffe://a"), Called("spiffe://b", "spiffe://a")],
            [Called("spiffe://b"), Called("spiffe://A"), Called("spiffe://a") with { IsVerified = false }, Get(), new() { IsTls = true }]),
        ("authenticated by DNS", """{"authenticated": {"principal_name": {"exact": "a.org"} } }""", [new() { Dns = ["b.org", "a.org"] }, new() { Uris = ["spiffe://a"], Dns = ["a.org"] }], [new() { Dns = ["b.org"] }]),
        ("authenticated by subject", """{"authenticated": {"principal_name": {"exact": "CN=a"} } }""", [new() { Subject = "CN=a" }, new() { Uris = ["spiffe://a"], Subject = "CN=a" }], [new() { Subject = "CN=b" }]),
        // Whoever shows no certificate has no name, not an empty one.
        ("authenticated by any name", """{"authenticated": {"principal_name": {"safe_regex": {"regex": ".*"} } } }""", [Called("spiffe://a")], [new() { IsTls = true }, Get()]),
        ("not authenticated", """{"not_id": {"authenticated": {} } }""", [Get(), new() { IsTls = true }, Called("spiffe://a") with { IsVerified = false }], [Called("spiffe://a")]),
        ("source_ip", """{"source_ip": {"address_prefix": "1.0.0.0", "prefix_len": 8} }""", [new() { Connection = "1.2.3.4", Peer = "2.2.2.2", Remote = "3.3.3.3" }],
            [new() { Connection = "2.2.2.2", Peer = "1.2.3.4" }, new() { Remote = "1.2.3.4" }]),
        ("direct_remote_ip", """{"direct_remote_ip": {"address_prefix": "1.0.0.0", "prefix_len": 8} }""", [new() { Peer = "1.2.3.4", Connection = "2.2.2.2", Remote = "3.3.3.3" }],
            [new() { Peer = "2.2.2.2", Connection = "1.2.3.4" }, new() { Remote = "1.2.3.4" }]),
        ("remote_ip", """{"remote_ip": {"address_prefix": "1.0.0.0", "prefix_len": 8} }""", [new() { Remote = "1.2.3.4" }], [new() { Peer = "1.2.3.4", Connection = "1.2.3.4", Remote = "2.2.2.2" }]),
        ("metadata", Claim("""{"string_match": {"exact": "x"} }"""), [Claims("c", "x")], [Claims("c", "y"), Get()]),
        ("sourced_metadata", """{"sourced_metadata": {"metadata_source": "DYNAMIC", "metadata_matcher": {"filter": "f", "path": [{"key": "k"}], "value": {"string_match": {"exact": "v"} } } } }""",
            [Get() with { Metadata = [("f", "k", MetadataValue.Of("v"))] }], [Get()]),
        ("Istio's peer principal", """{"filter_state": {"key": "io.istio.peer_principal", "string_match": {"prefix": "spiffe://td/"} } }""", [Called("spiffe://td/a", "spiffe://b")],
            [Called("spiffe://b", "spiffe://td/a"), Called("spiffe://td/a") with { IsVerified = false }, new() { Dns = ["spiffe://td/a"] }, Get()]),
        ("filter state nobody sets", """{"filter_state": {"key": "x", "string_match": {"prefix": "y"} } }""", [], [Get(), Called("y")]),
        ("an address in filter state", """{"filter_state": {"key": "io.istio.peer_principal", "address_match": {"invert_match": true} } }""", [], [Get(), Called("y")]),
    ];

    public static TheoryData<string, string> Kinds()
    {
        var kinds = new TheoryData<string, string>();
        foreach (var row in s_permissions)
            kinds.Add("permission", row.Name);
        foreach (var row in s_principals)
            kinds.Add("principal", row.Name);
        return kinds;
    }

    [Theory]
    [MemberData(nameof(Kinds))]
    public void Rule_HoldsForWhatItNames_AndForNothingElse(string side, string name)
    {
        bool isPermission = side == "permission";
        var row = (isPermission ? s_permissions : s_principals).Single(row => row.Name == name);
        using var rbac = isPermission ? RbacHarness.Of(permission: row.Rule) : RbacHarness.Of(principal: row.Rule);
        Assert.All(row.Matching, request => Assert.True(rbac.Allows(request), request.ToString()));
        Assert.All(row.Others, request => Assert.False(rbac.Allows(request), request.ToString()));
    }

    [Fact]
    public void EachKindOfTheProtos_IsInTheTable()
    {
        Assert.Equal(
            Envoy.Config.Rbac.V3.Permission.Descriptor.Fields.InDeclarationOrder().Select(field => field.Name).Except(["matcher"]).Order(),
            KindsOf(s_permissions.Select(row => row.Rule), Envoy.Config.Rbac.V3.Permission.Descriptor));
        Assert.Equal(
            Envoy.Config.Rbac.V3.Principal.Descriptor.Fields.InDeclarationOrder().Select(field => field.Name).Except(["custom"]).Order(),
            KindsOf(s_principals.Select(row => row.Rule), Envoy.Config.Rbac.V3.Principal.Descriptor));
    }

    private static IEnumerable<string> KindsOf(IEnumerable<string> rules, Google.Protobuf.Reflection.MessageDescriptor type) =>
        rules.Select(rule => System.Text.Json.JsonDocument.Parse(rule).RootElement.EnumerateObject().First().Name)
            .Where(name => type.FindFieldByName(name) is not null).Distinct().Order();

    // ---- policies ----------------------------------------------------------------------------------------------

    private static string Policy(string name, string header, string principal = """{"any": true}""") =>
        $$""" "{{name}}": {"permissions": [{"header": {"name": "{{header}}"} }, {"header": {"name": "{{header}}-too"} }], "principals": [{"header": {"name": "nobody"} }, {{principal}}]} """;

    [Fact]
    public void Policy_HoldsForAnyOfItsPermissionsByAnyOfItsPrincipals()
    {
        using var rbac = new RbacHarness("{\"rules\": {\"policies\": {" + Policy("p", "a", """{"header": {"name": "me"} }""") + "} } }");
        Assert.True(rbac.Allows(Get("/", ("a", "1"), ("me", "1"))));
        Assert.True(rbac.Allows(Get("/", ("a-too", "1"), ("nobody", "1"))));
        Assert.False(rbac.Allows(Get("/", ("a", "1"))));
        Assert.False(rbac.Allows(Get("/", ("me", "1"))));
    }

    [Fact]
    public void FirstPolicyInTheOrderOfNamesBytes_Decides()
    {
        // U+FF21 sorts before U+10000 by its bytes, and behind it by its UTF-16 units.
        using var rbac = new RbacHarness("{\"rules\": {\"action\": \"DENY\", \"policies\": {" + string.Join(',',
            Policy("b", "x"), Policy("\U00010000", "y"), Policy("a", "x"), Policy("\uFF21", "y"), Policy("B", "x")) + "} } }");
        Assert.False(rbac.Allows(Get("/", ("x", "1"), ("y", "1"))));
        Assert.Equal(["reply 403 rbac_access_denied_matched_policy[B] 'RBAC: access denied'"], rbac.Filter.Actions);
        Assert.False(rbac.Allows(Get("/", ("y", "1"))));
        Assert.Equal(["reply 403 rbac_access_denied_matched_policy[\uFF21] 'RBAC: access denied'"], rbac.Filter.Actions);
    }

    [Theory]
    [InlineData("ALLOW", true, false)]
    [InlineData("DENY", false, true)]
    [InlineData("LOG", true, true)]
    public void Action_DecidesWhatBecomesOfWhatMatches(string action, bool matching, bool other)
    {
        using var rbac = new RbacHarness($$"""{"rules": {"action": "{{action}}", "policies": { {{Policy("p", "a")}} } } }""");
        Assert.Equal(matching, rbac.Allows(Get("/", ("a", "1"))));
        Assert.Equal(other, rbac.Allows(Get()));
    }

    [Theory]
    [InlineData("""{"rules": {} }""", false)]
    [InlineData("""{"rules": {"action": "DENY"} }""", true)]
    [InlineData("{}", true)]
    public void WithoutPolicies_TheActionDecides_AndWithoutRulesNobody(string config, bool allowed)
    {
        using var rbac = new RbacHarness(config);
        Assert.Equal(allowed, rbac.Allows(Get()));
    }
}
