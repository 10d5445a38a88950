using System;
using System.Collections.Generic;
using System.IO;
using System.Linq;
using System.Text;
using Google.Protobuf;
using Sidecar.Filters.Http;
using Sidecar.Memory;
using Sidecar.Routing;
using Sidecar.Tests.Routing;
using Sidecar.Tests.Wire;
using Sidecar.Wire;
using Xunit;
using static Sidecar.Tests.Routing.RoutingHarness;
using WireRoute = Envoy.Config.Route.V3;

namespace Sidecar.Tests.Config.Routes;

public sealed class RouteTranslatorTests
{
    private const string Route = "virtual_hosts[0].routes[0]";
    private const string Action = Route + ".route";

    private static string OfHost(string fields) => $$"""{"name":"t","virtual_hosts":[{"name":"v","domains":["*"],{{fields}}}]}""";

    private static string OfRoute(string fields) => OfHost($$"""
        "routes":[{{{fields}}}]
        """.Trim());

    private static string OfMatch(string match) => OfRoute($$"""
        "match":{{match}},"route":{"cluster":"c"}
        """);

    private static string OfAction(string fields) => OfRoute($$"""
        "match":{"prefix":"/"},"route":{{{fields}}}
        """);

    // Scope of the braces: the JSON is put together, so that each row reads as the field it is about.
    public static TheoryData<string, string, string> Refused => new()
    {
        // ---- table ------------------------------------------------------------------------------------------
        { """{"name":"t","vhds":{}}""", "vhds", "on-demand virtual hosts are not supported" },
        { """{"name":"t","vhost_header":"x"}""", "vhost_header", "is not supported" },
        { """{"name":"t","cluster_specifier_plugins":[{"extension":{"name":"x"}}]}""", "cluster_specifier_plugins[0]", "cluster specifier plugins are not supported" },
        { """{"name":"t","request_headers_to_add":[{"header":{"key":":path","value":"x"}}]}""", "request_headers_to_add[0].header.key", ":-prefixed or host headers may not be modified" },
        { """{"name":"t","response_headers_to_add":[{"header":{"key":"Host","value":"x"}}]}""", "response_headers_to_add[0].header.key", ":-prefixed or host headers may not be modified" },
        { """{"name":"t","request_headers_to_remove":["x","Host"]}""", "request_headers_to_remove[1]", ":-prefixed or host headers may not be removed" },
        { """{"name":"t","request_headers_to_remove":[":method"]}""", "request_headers_to_remove[0]", ":-prefixed or host headers may not be removed" },
        { """{"name":"t","response_headers_to_remove":["a b"]}""", "response_headers_to_remove[0]", "must be a header name" },
        { """{"name":"t","request_headers_to_add":[{"header":{"key":"a b","value":"x"}}]}""", "request_headers_to_add[0].header.key", "must be a header name" },
        { """{"name":"t","request_headers_to_add":[{}]}""", "request_headers_to_add[0].header.key", "must be a header name" },
        { """{"name":"t","request_headers_to_add":[{"header":{"key":"x","value":"a\r\nb: c"}}]}""", "request_headers_to_add[0].header.value", "must not have CR, LF or NUL" },
        { """{"name":"t","request_headers_to_add":[{"header":{"key":"x","value":"%NO%"}}]}""", "request_headers_to_add[0].header.value", "Not supported field in StreamInfo: NO" },
        { """{"name":"t","request_headers_to_add":[{"header":{"key":"x","value":"5%"}}]}""", "request_headers_to_add[0].header.value", "Incorrect configuration: 5%. Couldn't find valid command at position 1" },
        { """{"name":"t","request_headers_to_add":[{"header":{"key":"x","value":"v"},"append":true,"append_action":"ADD_IF_ABSENT"}]}""", "request_headers_to_add[0].append", "Both append and append_action are set and it's not allowed" },

        // ---- virtual hosts ----------------------------------------------------------------------------------
        { """{"name":"t","virtual_hosts":[{"domains":["a"]}]}""", "virtual_hosts[0].name", "must not be empty" },
        { """{"name":"t","virtual_hosts":[{"name":"v"}]}""", "virtual_hosts[0].domains", "needs at least 1 domain" },
        { """{"name":"t","virtual_hosts":[{"name":"v","domains":["a"]},{"name":"v","domains":["b"]}]}""", "virtual_hosts[1].name", "Only unique names for virtual hosts are permitted. Duplicate entry of virtual host 'v'" },
        { """{"name":"t","virtual_hosts":[{"name":"v","domains":["a"]},{"name":"w","domains":["b","A"]}]}""", "virtual_hosts[1].domains[1]", "Only unique values for domains are permitted. Duplicate entry of domain A in route t" },
        { """{"name":"t","virtual_hosts":[{"name":"v","domains":["*.a","*.A"]}]}""", "virtual_hosts[0].domains[1]", "Only unique values for domains are permitted. Duplicate entry of domain *.A in route t" },
        { """{"name":"t","virtual_hosts":[{"name":"v","domains":["*"]},{"name":"w","domains":["*"]}]}""", "virtual_hosts[1].domains[0]", "Only a single wildcard domain is permitted in route t" },
        { """{"name":"t","virtual_hosts":[{"name":"v","domains":["a*b"]}]}""", "virtual_hosts[0].domains[0]", "'a*b' is not a domain: a wildcard may stand at its start or at its end only" },
        { """{"name":"t","virtual_hosts":[{"name":"v","domains":["*a*"]}]}""", "virtual_hosts[0].domains[0]", "'*a*' is not a domain: a wildcard may stand at its start or at its end only" },
        { """{"name":"t","virtual_hosts":[{"name":"v","domains":[""]}]}""", "virtual_hosts[0].domains[0]", "'' is not a domain: a wildcard may stand at its start or at its end only" },
        { OfHost(""" "matcher":{} """), "virtual_hosts[0].matcher", "a matcher tree is not supported; use routes" },
        { OfHost(""" "require_tls":7 """), "virtual_hosts[0].require_tls", "must be NONE, EXTERNAL_ONLY or ALL" },
        { OfHost(""" "retry_policy_typed_config":{"@type":"type.googleapis.com/google.protobuf.Empty"} """), "virtual_hosts[0].retry_policy_typed_config", "is not supported; use retry_policy" },

        // ---- routes and matches -----------------------------------------------------------------------------
        { OfRoute(""" "match":{"prefix":"/"} """), Route + ".action", "is required: set route, redirect or direct_response" },
        { OfRoute(""" "match":{"prefix":"/"},"non_forwarding_action":{} """), Route + ".non_forwarding_action", "is for gRPC servers; use route, redirect or direct_response" },
        { OfRoute(""" "match":{"prefix":"/"},"filter_action":{} """), Route + ".filter_action", "is not supported" },
        { OfRoute(""" "route":{"cluster":"c"} """), Route + ".match", "is required" },
        { OfMatch("{}"), Route + ".match.path_specifier", "is required: set prefix, path, path_separated_prefix, safe_regex or connect_matcher" },
        { OfMatch("""{"path_separated_prefix":"/a/"}"""), Route + ".match.path_separated_prefix", "must start with '/', not end with it, and have no query" },
        { OfMatch("""{"path_separated_prefix":"a"}"""), Route + ".match.path_separated_prefix", "must start with '/', not end with it, and have no query" },
        { OfMatch("""{"path_separated_prefix":"/a?b"}"""), Route + ".match.path_separated_prefix", "must start with '/', not end with it, and have no query" },
        { OfMatch("""{"safe_regex":{"regex":""}}"""), Route + ".match.safe_regex.regex", "must not be empty" },
        { OfMatch("""{"safe_regex":{"regex":"("}}"""), Route + ".match.safe_regex.regex", "Invalid regex '(': missing ): (" },
        { OfMatch("""{"path_match_policy":{"name":"x"}}"""), Route + ".match.path_match_policy", "path match policies are not supported" },
        { OfMatch("""{"prefix":"/","cookies":[{"name":"x"}]}"""), Route + ".match.cookies", "matching by cookie is not supported; match the cookie header" },
        { OfMatch("""{"prefix":"/","headers":[{"name":"x"},{"exact_match":"a"}]}"""), Route + ".match.headers[1].name", "must not be empty" },
        { OfMatch("""{"prefix":"/","headers":[{"name":"x","string_match":{}}]}"""), Route + ".match.headers[0].string_match.match_pattern", "is required" },
        { OfMatch("""{"prefix":"/","headers":[{"name":"x","string_match":{"prefix":""}}]}"""), Route + ".match.headers[0].string_match.prefix", "must not be empty" },
        { OfMatch("""{"prefix":"/","query_parameters":[{"string_match":{"exact":"a"}}]}"""), Route + ".match.query_parameters[0].name", "must not be empty" },

        // ---- actions ----------------------------------------------------------------------------------------
        { OfAction(""" "timeout":"1s" """), Action + ".cluster_specifier", "is required: set cluster, cluster_header or weighted_clusters" },
        { OfAction(""" "cluster":"missing" """), Action + ".cluster", "route: unknown cluster 'missing': add it to the clusters, or correct the name" },
        { OfAction(""" "cluster":"" """), Action + ".cluster", "must not be empty" },
        { OfAction(""" "cluster_header":"" """), Action + ".cluster_header", "must be a header name" },
        { OfAction(""" "weighted_clusters":{} """), Action + ".weighted_clusters.clusters", "needs at least 1 cluster" },
        { OfAction(""" "weighted_clusters":{"clusters":[{"name":"c","weight":0}]} """), Action + ".weighted_clusters.clusters", "Sum of weights in the weighted_cluster must be greater than 0." },
        { OfAction(""" "weighted_clusters":{"clusters":[{"name":"c","weight":4294967295},{"name":"c","weight":1}]} """), Action + ".weighted_clusters.clusters", "The sum of weights of all weighted clusters of route exceeds 4294967295" },
        { OfAction(""" "weighted_clusters":{"clusters":[{"name":"c","weight":1}],"total_weight":100} """), Action + ".weighted_clusters.total_weight", "Sum of weights in the weighted_cluster should add up to 100, is 1" },
        { OfAction(""" "weighted_clusters":{"clusters":[{"weight":1}]} """), Action + ".weighted_clusters.clusters[0]", "At least one of name or cluster_header need to be specified" },
        { OfAction(""" "weighted_clusters":{"clusters":[{"name":"c","cluster_header":"x","weight":1}]} """), Action + ".weighted_clusters.clusters[0]", "Only one of name or cluster_header can be specified" },
        { OfAction(""" "weighted_clusters":{"clusters":[{"name":"gone","weight":1}]} """), Action + ".weighted_clusters.clusters[0].name", "route: unknown cluster 'gone': add it to the clusters, or correct the name" },
        { OfAction(""" "weighted_clusters":{"clusters":[{"name":"c","weight":1}],"use_hash_policy":true} """), Action + ".weighted_clusters.use_hash_policy", "is not supported; use header_name" },
        { OfAction(""" "cluster":"c","timeout":"-1s" """), Action + ".timeout", "is not a valid duration: it must be 0 to 292 years" },
        { OfAction(""" "cluster":"c","prefix_rewrite":"/","regex_rewrite":{"pattern":{"regex":"a"}} """), Action + ".regex_rewrite", "only one of prefix_rewrite and regex_rewrite can be specified" },
        { OfAction(""" "cluster":"c","regex_rewrite":{"pattern":{"regex":"a"},"substitution":"\\1"} """), Action + ".regex_rewrite.substitution", "Rewrite schema requests 1 matches, but the regexp only has 0 parenthesized subexpressions." },
        { OfAction(""" "cluster":"c","regex_rewrite":{} """), Action + ".regex_rewrite.pattern.regex", "must not be empty" },
        { OfAction(""" "cluster":"c","internal_redirect_policy":{} """), Action + ".internal_redirect_policy", "internal redirects are not supported" },
        { OfAction(""" "cluster":"c","upgrade_configs":[{"upgrade_type":"websocket"},{"upgrade_type":"WebSocket"}] """), Action + ".upgrade_configs[1].upgrade_type", "Duplicate upgrade WebSocket" },
        { OfAction(""" "cluster":"c","hash_policy":[{}] """), Action + ".hash_policy[0]", "only header, cookie, connection_properties and query_parameter are supported" },
        { OfAction(""" "cluster":"c","hash_policy":[{"filter_state":{"key":"k"}}] """), Action + ".hash_policy[0]", "only header, cookie, connection_properties and query_parameter are supported" },
        { OfAction(""" "cluster":"c","hash_policy":[{"header":{}}] """), Action + ".hash_policy[0].header.header_name", "must be a header name" },
        { OfAction(""" "cluster":"c","hash_policy":[{"cookie":{"ttl":"1s"}}] """), Action + ".hash_policy[0].cookie.name", "must not be empty" },
        { OfAction(""" "cluster":"c","hash_policy":[{"cookie":{"name":"s","ttl":"1s","path":"/\r\nx: y"}}] """), Action + ".hash_policy[0].cookie", "must not have control characters" },
        { OfAction(""" "cluster":"c","retry_policy":{"retry_host_predicate":[{"name":"x"}]} """), Action + ".retry_policy.retry_host_predicate[0]", "Didn't find a registered implementation for name: 'x'" },
        { OfAction(""" "cluster":"c","retry_policy":{"retry_back_off":{}} """), Action + ".retry_policy.retry_back_off.base_interval", "is required" },
        { OfAction(""" "cluster":"c","retry_policy":{"retry_back_off":{"base_interval":"0s"}} """), Action + ".retry_policy.retry_back_off.base_interval", "must be greater than 0" },
        { OfAction(""" "cluster":"c","retry_policy":{"retry_back_off":{"base_interval":"2s","max_interval":"1s"}} """), Action + ".retry_policy.retry_back_off.max_interval", "must be greater than or equal to the base_interval" },
        { OfAction(""" "cluster":"c","retry_policy":{"rate_limited_retry_back_off":{}} """), Action + ".retry_policy.rate_limited_retry_back_off.reset_headers", "needs at least 1 header" },
        { OfAction(""" "cluster":"c","retry_policy":{"host_selection_retry_max_attempts":"-1"} """), Action + ".retry_policy.host_selection_retry_max_attempts", "must not be negative" },
        { OfRoute(""" "match":{"prefix":"/"},"redirect":{"port_redirect":65536} """), Route + ".redirect.port_redirect", "must be at most 65535" },
        { OfRoute(""" "match":{"prefix":"/"},"redirect":{"path_rewrite":"/x"} """), Route + ".redirect.path_rewrite", "is not supported; use path_redirect, prefix_rewrite or regex_rewrite" },
        { OfRoute(""" "match":{"prefix":"/"},"direct_response":{} """), Route + ".direct_response.status", "must be 200 to 599, is 0" },
        { OfRoute(""" "match":{"prefix":"/"},"direct_response":{"status":600} """), Route + ".direct_response.status", "must be 200 to 599, is 600" },
        { OfRoute(""" "match":{"prefix":"/"},"direct_response":{"status":200,"body":{"environment_variable":"NO_SUCH_VARIABLE_AT_ALL"}} """), Route + ".direct_response.body.environment_variable", "Environment variable doesn't exist: NO_SUCH_VARIABLE_AT_ALL" },

        // ---- filters' configuration -------------------------------------------------------------------------
        { OfHost(""" "typed_per_filter_config":{"x":{"@type":"type.googleapis.com/google.protobuf.Empty"}} """), "virtual_hosts[0].typed_per_filter_config[x]", "Didn't find a registered implementation for 'x' with type URL: 'google.protobuf.Empty'" },
        { OfHost(""" "typed_per_filter_config":{"envoy.filters.http.cors":{"@type":"type.googleapis.com/envoy.config.route.v3.FilterConfig","disabled":true}} """), "virtual_hosts[0].typed_per_filter_config[envoy.filters.http.cors].disabled", "'envoy.filters.http.cors' cannot be disabled for single routes" },
    };

    [Theory]
    [MemberData(nameof(Refused))]
    public void Refused_ByPathAndEnvoysText(string json, string path, string reason)
    {
        var translation = Translate(json, isInline: true, "c");
        Assert.Null(translation.Table);
        Assert.Equal([path + ": " + reason], translation.Refused);
    }

    [Fact]
    public void EveryProblem_IsNamedInOnePass()
    {
        var translation = Translate("""
            {"name":"t","vhost_header":"x","virtual_hosts":[{"name":"","domains":[],"routes":[{"match":{},"route":{"cluster":"c"}},{"match":{"prefix":"/"},"redirect":{"port_redirect":70000}}]}]}
            """);
        Assert.Equal(
            ["vhost_header", "virtual_hosts[0].name", "virtual_hosts[0].domains", "virtual_hosts[0].routes[0].match.path_specifier", "virtual_hosts[0].routes[1].redirect.port_redirect"],
            translation.Rejections.Select(problem => problem.Path));
    }

    [Theory]
    // validate_clusters  inline  refused
    [InlineData(null, true, true)]
    [InlineData(null, false, false)]
    [InlineData("true", false, true)]
    [InlineData("false", true, false)]
    public void UnknownCluster_IsRefused_InlineOrWhenToldTo(string? validate, bool isInline, bool refused)
    {
        string field = validate is null ? "" : "\"validate_clusters\":" + validate + ",";
        var translation = Translate($$"""{"name":"t",{{field}}"virtual_hosts":[{"name":"v","domains":["*"],"routes":[{"match":{"prefix":"/"},"route":{"cluster":"missing"} }]}]}""", isInline, "c");
        Assert.Equal(refused, translation.Table is null);
    }

    [Fact]
    public void DirectResponse_BodyFromTextBytesFileAndEnvironment()
    {
        DirectResponse Direct(string body) => TableOf($$"""{"match":{"prefix":"/"},"direct_response":{"status":503,"body":{{body}} } }""").FindHost("a"u8)!.Routes[0].DirectResponse!;
        string file = Path.GetTempFileName();
        try
        {
            File.WriteAllText(file, "from file");
            Assert.Equal("text", Encoding.UTF8.GetString(Direct("""{"inline_string":"text"}""").Body));
            Assert.Equal("bytes", Encoding.UTF8.GetString(Direct("""{"inline_bytes":"Ynl0ZXM="}""").Body));
            Assert.Equal("from file", Encoding.UTF8.GetString(Direct($$"""{"filename":"{{file}}"}""").Body));
            Assert.Equal(Environment.GetEnvironmentVariable("PATH"), Encoding.UTF8.GetString(Direct("""{"environment_variable":"PATH"}""").Body));
            Assert.Equal((503, 0), (Direct("{}").Status, Direct("{}").Body.Length));
        }
        finally
        {
            File.Delete(file);
        }
        var missing = Translate(OfRoute($$"""
            "match":{"prefix":"/"},"direct_response":{"status":200,"body":{"filename":"{{file}}"} }
            """));
        Assert.StartsWith(Route + ".direct_response.body.filename: cannot be read:", Assert.Single(missing.Refused), StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(4096, "", true)]
    [InlineData(4097, "", false)]
    [InlineData(4097, """ "max_direct_response_body_size_bytes":4097, """, true)]
    [InlineData(11, """ "max_direct_response_body_size_bytes":10, """, false)]
    public void DirectResponse_BodyIsLimited(int length, string limit, bool accepted)
    {
        var translation = Translate($$"""{"name":"t",{{limit}}"virtual_hosts":[{"name":"v","domains":["*"],"routes":[{"match":{"prefix":"/"},"direct_response":{"status":200,"body":{"inline_string":"{{new string('x', length)}}"} } }]}]}""");
        Assert.Equal(accepted, translation.Table is not null);
        if (!accepted)
            Assert.StartsWith($"{Route}.direct_response.body: response body size is {length} bytes; maximum is ", Assert.Single(translation.Refused), StringComparison.Ordinal);
    }

    private static string Cors(string methods) =>
        $$"""{"envoy.filters.http.cors":{"@type":"type.googleapis.com/envoy.extensions.filters.http.cors.v3.CorsPolicy","allow_methods":"{{methods}}"} }""";

    private static string Fault(int status) =>
        $$"""{"envoy.filters.http.fault":{"@type":"type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault","abort":{"http_status":{{status}},"percentage":{"numerator":100} } } }""";

    [Theory]
    [InlineData(4, "cluster", 504)]
    [InlineData(3, "route", 503)]
    [InlineData(2, "host", 502)]
    [InlineData(1, "table", 501)]
    [InlineData(0, null, null)]
    public void FilterConfig_MostSpecificLevelWins(int levels, string? methods, int? status)
    {
        string Config(int level, string config) => levels >= level ? $$"""
            "typed_per_filter_config":{{config}},
            """ : "";
        foreach (bool cors in new[] { true, false })
        {
            string Of(int level, string name) => Config(level, cors ? Cors(name) : Fault(500 + level));
            var table = Table($$"""
                {"name":"t",{{Of(1, "table")}}"virtual_hosts":[{"name":"v",{{Of(2, "host")}}"domains":["*"],"routes":[
                  {"match":{"prefix":"/"},{{Of(3, "route")}}"route":{"weighted_clusters":{"clusters":[{"name":"c",{{Of(4, "cluster")}}"weight":1}]} } }]}]}
                """);
            var match = Match(table, Request("/"));
            if (cors)
                Assert.Equal(methods, match.FindFilterConfig<CorsFilter.Config>("envoy.filters.http.cors") is { } policy ? Encoding.UTF8.GetString(policy.AllowMethods) : null);
            else
                Assert.Equal(status, match.FindFilterConfig<FaultFilter.Config>("envoy.filters.http.fault")?.AbortStatus);
        }
    }

    [Fact]
    public void Cors_OlderPlace_CountsWhereThereIsNoNewer()
    {
        const string Older = """ "cors":{"allow_methods":"older"} """;
        string? Methods(string json) => Match(Table(json), Request("/")).FindFilterConfig<CorsFilter.Config>("envoy.filters.http.cors") is { } policy ? Encoding.UTF8.GetString(policy.AllowMethods) : null;
        Assert.Equal("older", Methods(OfHost(Older + """ ,"routes":[{"match":{"prefix":"/"},"route":{"cluster":"c"}}] """)));
        Assert.Equal("older", Methods(OfAction(""" "cluster":"c", """ + Older)));
        string both = OfRoute($$"""
            "match":{"prefix":"/"},"route":{"cluster":"c",{{Older}}},"typed_per_filter_config":{{Cors("newer")}}
            """);
        Assert.Equal("newer", Methods(both));
        Assert.Contains(Route + ".route.cors: typed_per_filter_config has a policy as well, and that one counts", Translate(both, true, "c").WithoutEffect);
    }

    [Fact]
    public void FilterConfig_Wrapped_IsUnwrapped_OptionalUnknownIsNamed()
    {
        var table = Table(OfHost($$"""
            "typed_per_filter_config":{"envoy.filters.http.cors":{"@type":"type.googleapis.com/envoy.config.route.v3.FilterConfig","config":{"@type":"type.googleapis.com/envoy.extensions.filters.http.cors.v3.CorsPolicy","allow_methods":"inner"} } },
            "routes":[{"match":{"prefix":"/"},"route":{"cluster":"c"} }]
            """));
        Assert.Equal("inner", Encoding.UTF8.GetString(Match(table, Request("/")).FindFilterConfig<CorsFilter.Config>("envoy.filters.http.cors")!.AllowMethods));

        const string Optional = """ "typed_per_filter_config":{"x":{"@type":"type.googleapis.com/envoy.config.route.v3.FilterConfig","is_optional":true,"config":{"@type":"type.googleapis.com/google.protobuf.Empty"}}} """;
        var translation = Translate(OfHost(Optional));
        Assert.NotNull(translation.Table);
        Assert.Equal(["virtual_hosts[0].typed_per_filter_config[x].config: Didn't find a registered implementation for 'x' with type URL: 'google.protobuf.Empty'"], translation.WithoutEffect);
    }

    /// <summary>Were they only noted, the listener's rules would hold where the route's were meant to.</summary>
    [Theory]
    [InlineData("rbac.v3.RBACPerRoute", ""","rbac":{"matcher":{}}""", ".rbac.matcher: a matcher tree is not supported; use rules")]
    [InlineData("fault.v3.HTTPFault", ""","abort":{"http_status":99}""", ".abort.http_status: must be 200 to 599")]
    [InlineData("jwt_authn.v3.PerRouteConfig", "", ": Didn't find a registered implementation for 'x' with type URL: 'envoy.extensions.filters.http.jwt_authn.v3.PerRouteConfig'")]
    public void FilterConfig_Optional_ExcusesAFilterThatNobodyKnows_NotRulesThatAreRefused(string type, string fields, string problem)
    {
        var translation = Translate(OfHost($$"""
            "typed_per_filter_config":{"x":{"@type":"type.googleapis.com/envoy.config.route.v3.FilterConfig","is_optional":true,
              "config":{"@type":"type.googleapis.com/envoy.extensions.filters.http.{{type}}"{{fields}}} } }
            """));
        Assert.Equal(["virtual_hosts[0].typed_per_filter_config[x].config" + problem], translation.Refused);
    }

    [Fact]
    public void Metadata_OfManyRoutes_IsNamedOnce()
    {
        const string One = """{"match":{"prefix":"/"},"route":{"cluster":"c"},"metadata":{"filter_metadata":{"istio":{"config":"x"}}},"decorator":{"operation":"o"}}""";
        var translation = Translate(OfHost($$"""
            "routes":[{{One}},{{One}},{{One}}]
            """), true, "c");
        Assert.Equal([Route + ".decorator", Route + ".metadata"], translation.Ignored.Select(problem => problem.Path).Order(StringComparer.Ordinal));
    }

    [Fact]
    public void HeaderValue_NotGathered_IsNamed() =>
        Assert.Equal(["request_headers_to_add[0].header.value: %TLS_JA3_FINGERPRINT% is always empty: it is not gathered yet"],
            Translate("""{"name":"t","request_headers_to_add":[{"header":{"key":"x","value":"%TLS_JA3_FINGERPRINT%"}}]}""").WithoutEffect);

    [Fact]
    public void Settings_OfHostAndAction_AreTaken()
    {
        var host = Table(OfHost("""
            "require_tls":"EXTERNAL_ONLY","include_request_attempt_count":true,"include_attempt_count_in_response":true,
            "routes":[{"name":"r","match":{"prefix":"/"},"route":{"cluster":"c","priority":"HIGH","cluster_not_found_response_code":"NOT_FOUND","idle_timeout":"5s","auto_host_rewrite":true,
              "upgrade_configs":[{"upgrade_type":"WebSocket"},{"upgrade_type":"spdy","enabled":false}]}}]
            """)).FindHost("a"u8)!;
        Assert.Equal((TlsRequirement.ExternalOnly, true, true), (host.RequireTls, host.IncludeRequestAttemptCount, host.IncludeAttemptCountInResponse));
        var action = host.Routes[0].Action!;
        Assert.Equal((RoutePriority.High, 404, 5000L, true), (action.Priority, action.ClusterNotFoundStatus, action.IdleTimeoutMs, action.AutoHostRewrite));
        Assert.Equal([("websocket", true), ("spdy", false)], action.Upgrades!.Select(pair => (pair.Key, pair.Value)));
        Assert.Same(host, host.Routes[0].VirtualHost);
        Assert.Equal("t", host.Routes[0].Table.Name);
    }

    private static readonly MessageSchema s_type = SchemaTable.Find("envoy.config.route.v3.RouteConfiguration")!;

    /// <summary>Whatever a control plane sends: a table or reasons, never an exception.</summary>
    [Fact]
    public void MutatedBytes_HundredThousand_NeverThrow()
    {
        byte[][] seeds =
        [
            .. Refused.Select(row => WireHarness.Read((string)row[0], "envoy.config.route.v3.RouteConfiguration")),
            WireHarness.Read(OfAction("""
                "weighted_clusters":{"clusters":[{"name":"c","weight":1,"host_rewrite_literal":"h"}]},"hash_policy":[{"cookie":{"name":"s","ttl":"3s","path":"/"}}],
                "retry_policy":{"retry_on":"5xx","retriable_headers":[{"name":"x","safe_regex_match":{"regex":"a+(b|c)*"}}]},"regex_rewrite":{"pattern":{"regex":"^/(.*)$"},"substitution":"/\\1"}
                """), "envoy.config.route.v3.RouteConfiguration"),
        ];
        var random = new Random(21);
        int parsed = 0, accepted = 0;
        for (int i = 0; i < 100_000; i++)
        {
            byte[] bytes = (byte[])seeds[random.Next(seeds.Length)].Clone();
            for (int n = random.Next(1, 5); n > 0 && bytes.Length > 0; n--)
            {
                switch (random.Next(3))
                {
                    case 0:
                        bytes[random.Next(bytes.Length)] ^= (byte)(1 << random.Next(8));
                        break;
                    case 1:
                        bytes[random.Next(bytes.Length)] = (byte)random.Next(256);
                        break;
                    default:
                        bytes = bytes[..random.Next(bytes.Length)];
                        break;
                }
            }
            // As the reader of resources does: what the walk finds broken goes no further.
            var problems = new WireProblems();
            if (!UnsupportedFields.Walk(bytes, s_type, "", problems) || problems.ErrorCount > 0)
                continue;
            WireRoute.RouteConfiguration wire;
            try
            {
                wire = WireRoute.RouteConfiguration.Parser.ParseFrom(bytes);
            }
            catch (InvalidProtocolBufferException)
            {
                continue;
            }
            parsed++;
            var translation = Translate(wire, isInline: (i & 1) == 0, "c");
            Assert.Equal(translation.Table is null, translation.Rejections.Count > 0);
            if (translation.Table is null)
                continue;
            accepted++;
            Match(translation.Table, Request("/a/b?q=1", "x: 1"), (ulong)i);
        }
        Assert.InRange(parsed, 10_000, 100_000);
        Assert.InRange(accepted, 1_000, 100_000);
    }
}
