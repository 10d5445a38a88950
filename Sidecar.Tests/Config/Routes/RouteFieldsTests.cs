using System;
using System.Collections;
using System.Collections.Generic;
using System.Linq;
using Google.Protobuf;
using Google.Protobuf.Reflection;
using Google.Protobuf.WellKnownTypes;
using Sidecar.Wire;
using Xunit;
using FieldType = Google.Protobuf.Reflection.FieldType;
using static Sidecar.Tests.Routing.RoutingHarness;
using WireCore = Envoy.Config.Core.V3;
using WireMatcher = Envoy.Type.Matcher.V3;
using WireRoute = Envoy.Config.Route.V3;

namespace Sidecar.Tests.Config.Routes;

/// <summary>
/// No field of a route configuration is passed over in silence: each, set alone in a configuration that is otherwise in order, is either named in the report
/// (refused, or without effect) or stands in the table of what is in effect, and then other tests show its effect. A field added to the protos fails here until somebody decides.
/// </summary>
public sealed class RouteFieldsTests
{
    /// <summary>What does something, by message.</summary>
    private static readonly Dictionary<string, string> s_inEffect = new()
    {
        ["RouteConfiguration"] = """
            name virtual_hosts internal_only_headers response_headers_to_add response_headers_to_remove request_headers_to_add request_headers_to_remove
            most_specific_header_mutations_wins validate_clusters max_direct_response_body_size_bytes ignore_port_in_host_matching ignore_path_parameters_in_path_matching
            """,
        ["VirtualHost"] = """
            name domains routes request_headers_to_add request_headers_to_remove response_headers_to_add response_headers_to_remove cors
            include_request_attempt_count include_attempt_count_in_response retry_policy require_tls
            """,
        ["Route"] = """
            name match route redirect direct_response request_headers_to_add request_headers_to_remove response_headers_to_add response_headers_to_remove
            """,
        ["RouteMatch"] = "prefix path safe_regex connect_matcher path_separated_prefix case_sensitive runtime_fraction headers query_parameters grpc tls_context",
        ["RouteMatch.ConnectMatcher"] = "",
        ["RouteMatch.GrpcRouteMatchOptions"] = "",
        ["RouteMatch.TlsContextMatchOptions"] = "presented validated",
        ["HeaderMatcher"] = """
            name exact_match safe_regex_match range_match present_match prefix_match suffix_match contains_match string_match invert_match treat_missing_header_as_empty
            """,
        ["QueryParameterMatcher"] = "name string_match present_match",
        ["RouteAction"] = """
            cluster cluster_header weighted_clusters cluster_not_found_response_code prefix_rewrite regex_rewrite host_rewrite_literal auto_host_rewrite host_rewrite_header
            host_rewrite_path_regex append_x_forwarded_host timeout idle_timeout retry_policy priority hash_policy cors max_grpc_timeout grpc_timeout_offset upgrade_configs
            max_stream_duration
            """,
        ["RouteAction.MaxStreamDuration"] = "max_stream_duration grpc_timeout_header_max grpc_timeout_header_offset",
        ["RouteAction.UpgradeConfig"] = "upgrade_type enabled",
        ["RouteAction.HashPolicy"] = "header cookie connection_properties query_parameter terminal",
        ["RouteAction.HashPolicy.Header"] = "header_name regex_rewrite",
        // path and attributes need a ttl; without one they are reported.
        ["RouteAction.HashPolicy.Cookie"] = "name ttl",
        ["RouteAction.HashPolicy.CookieAttribute"] = "name value",
        ["RouteAction.HashPolicy.ConnectionProperties"] = "source_ip",
        ["RouteAction.HashPolicy.QueryParameter"] = "name",
        ["WeightedCluster"] = "clusters header_name",
        ["WeightedCluster.ClusterWeight"] = """
            name cluster_header weight request_headers_to_add request_headers_to_remove response_headers_to_add response_headers_to_remove host_rewrite_literal
            """,
        ["RetryPolicy"] = """
            retry_on num_retries per_try_timeout per_try_idle_timeout host_selection_retry_max_attempts retriable_status_codes retry_back_off rate_limited_retry_back_off
            retriable_headers retriable_request_headers
            """,
        ["RetryPolicy.RetryBackOff"] = "base_interval max_interval",
        ["RetryPolicy.RateLimitedRetryBackOff"] = "reset_headers max_interval",
        ["RetryPolicy.ResetHeader"] = "name format",
        // Which one it is; the typed_config of previous_hosts has no fields.
        ["RetryPolicy.RetryHostPredicate"] = "name",
        ["RedirectAction"] = """
            https_redirect scheme_redirect host_redirect port_redirect path_redirect prefix_rewrite regex_rewrite response_code strip_query
            """,
        ["DirectResponseAction"] = "status body",
        ["CorsPolicy"] = """
            allow_origin_string_match allow_methods allow_headers expose_headers max_age allow_credentials filter_enabled shadow_enabled allow_private_network_access
            forward_not_matching_preflights
            """,
        // It is only a wrapper: what it wraps counts.
        ["FilterConfig"] = "config is_optional",
    };

    /// <summary>Messages that stand only below a field which is reported as a whole, or in no route configuration at all.</summary>
    private static readonly string[] s_neverReached =
    [
        "ClusterSpecifierPlugin", "CookieMatcher", "Decorator", "FilterAction", "HedgePolicy", "InternalRedirectPolicy", "NonForwardingAction", "RateLimit", "RouteList",
        "ScopedRouteConfiguration", "Tracing", "Vhds", "VirtualCluster", "RouteAction.RequestMirrorPolicy", "RouteAction.UpgradeConfig.ConnectConfig",
        "RouteAction.HashPolicy.FilterState", "RetryPolicy.RetryPriority",
    ];

    private const string Package = "envoy.config.route.v3.";

    private static string Local(MessageDescriptor message) => message.FullName[Package.Length..];

    private static IEnumerable<MessageDescriptor> Messages(IEnumerable<MessageDescriptor> from) =>
        from.Where(m => !(m.GetOptions()?.MapEntry ?? false)).SelectMany(m => Messages(m.NestedTypes).Prepend(m));

    private static bool IsReached(string message) => !s_neverReached.Any(never => message == never || message.StartsWith(never + ".", StringComparison.Ordinal));

    public static TheoryData<string, string> Fields()
    {
        var data = new TheoryData<string, string>();
        foreach (var message in Messages(WireRoute.RouteConfiguration.Descriptor.File.MessageTypes).Where(m => IsReached(Local(m))))
        {
            foreach (var field in message.Fields.InDeclarationOrder())
                data.Add(Local(message), field.Name);
        }
        return data;
    }

    [Theory]
    [MemberData(nameof(Fields))]
    public void FieldSetAlone_IsInEffectOrReported(string message, string field)
    {
        var (configuration, target) = Place(message, field);
        var descriptor = target.Descriptor.FindFieldByName(field);
        if (field != "clusters" && field != "domains" && field != "virtual_hosts" && field != "routes")
            Set(target, descriptor);

        var translation = Translate(configuration, isInline: false);
        var problems = new WireProblems();
        UnsupportedFields.Walk(configuration.ToByteArray(), SchemaTable.Find("envoy.config.route.v3.RouteConfiguration")!, "", problems);
        string[] report = [.. translation.Refused, .. translation.WithoutEffect, .. problems.List.Select(problem => problem.ToString())];

        bool inEffect = s_inEffect.TryGetValue(message, out string? fields) && fields.Split([' ', '\n'], StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries).Contains(field);
        bool reported = report.Any(line => line.Contains(field, StringComparison.Ordinal)
            || field is "inline_cluster_specifier_plugin" && line.Contains("cluster_specifier_plugin", StringComparison.Ordinal)
            || field is "filter_state" && line.Contains("hash_policy[0]: only", StringComparison.Ordinal)
            || field is "typed_config" && line.Contains("retry_host_predicate[0]: ", StringComparison.Ordinal));
        Assert.True(inEffect != reported, inEffect ? $"{message}.{field} is said to be in effect and is reported:\n{string.Join('\n', report)}" : $"{message}.{field} is neither in effect nor reported");
        if (inEffect)
            Assert.Empty(report);
    }

    [Fact]
    public void EveryMessage_IsPlacedOrNeverReached()
    {
        var known = Messages(WireRoute.RouteConfiguration.Descriptor.File.MessageTypes).Select(Local).ToList();
        Assert.Equal([], s_inEffect.Keys.Except(known));
        Assert.Equal([], known.Where(IsReached).Except(s_inEffect.Keys));
    }

    // A configuration in which an empty message of that type stands, as valid as it can be.
    private static (WireRoute.RouteConfiguration Whole, IMessage Target) Place(string message, string field)
    {
        var action = new WireRoute.RouteAction { Cluster = "c" };
        var route = new WireRoute.Route { Match = new WireRoute.RouteMatch { Prefix = "/" }, Route_ = action };
        var host = new WireRoute.VirtualHost { Name = "v", Domains = { "*" }, Routes = { route } };
        var table = new WireRoute.RouteConfiguration { Name = "t", VirtualHosts = { host } };
        IMessage target;
        switch (message)
        {
            case "RouteConfiguration":
                target = table;
                break;
            case "VirtualHost":
                target = host;
                break;
            case "Route":
                target = route;
                break;
            case "RouteMatch":
                target = route.Match;
                break;
            case "RouteMatch.TlsContextMatchOptions":
                target = route.Match.TlsContext = new();
                break;
            case "HeaderMatcher":
                route.Match.Headers.Add(new WireRoute.HeaderMatcher { Name = "x" });
                target = route.Match.Headers[0];
                break;
            case "QueryParameterMatcher":
                route.Match.QueryParameters.Add(new WireRoute.QueryParameterMatcher { Name = "x" });
                target = route.Match.QueryParameters[0];
                break;
            case "RouteAction":
                target = action;
                break;
            case "RouteAction.MaxStreamDuration":
                target = action.MaxStreamDuration = new();
                break;
            case "RouteAction.UpgradeConfig":
                action.UpgradeConfigs.Add(new WireRoute.RouteAction.Types.UpgradeConfig { UpgradeType = "websocket" });
                target = action.UpgradeConfigs[0];
                break;
            case "WeightedCluster":
            case "WeightedCluster.ClusterWeight":
                action.WeightedClusters = new() { Clusters = { new WireRoute.WeightedCluster.Types.ClusterWeight { Name = "c", Weight = 1 } } };
                target = message == "WeightedCluster" ? action.WeightedClusters : action.WeightedClusters.Clusters[0];
                if (field == "cluster_header")
                    action.WeightedClusters.Clusters[0].Name = "";
                break;
            case "RetryPolicy":
                target = action.RetryPolicy = new();
                break;
            case "RetryPolicy.RetryBackOff":
                action.RetryPolicy = new() { RetryBackOff = new() { BaseInterval = new Duration { Seconds = 1 } } };
                target = action.RetryPolicy.RetryBackOff;
                break;
            case "RetryPolicy.RateLimitedRetryBackOff":
            case "RetryPolicy.ResetHeader":
                action.RetryPolicy = new() { RateLimitedRetryBackOff = new() { ResetHeaders = { new WireRoute.RetryPolicy.Types.ResetHeader { Name = "x" } } } };
                target = message == "RetryPolicy.ResetHeader" ? action.RetryPolicy.RateLimitedRetryBackOff.ResetHeaders[0] : action.RetryPolicy.RateLimitedRetryBackOff;
                break;
            case "RetryPolicy.RetryHostPredicate":
                action.RetryPolicy = new() { RetryHostPredicate = { new WireRoute.RetryPolicy.Types.RetryHostPredicate { Name = "envoy.retry_host_predicates.previous_hosts" } } };
                target = action.RetryPolicy.RetryHostPredicate[0];
                break;
            case "RedirectAction":
                target = route.Redirect = new();
                break;
            case "DirectResponseAction":
                target = route.DirectResponse = new() { Status = 200 };
                break;
            case "CorsPolicy":
                target = host.Cors = new();
                break;
            case "FilterConfig":
                // Packed when it is complete: see Set.
                target = new WireRoute.FilterConfig { Config = Any.Pack(new Envoy.Extensions.Filters.Http.Cors.V3.CorsPolicy()) };
                host.TypedPerFilterConfig["envoy.filters.http.cors"] = Any.Pack(target);
                s_repack = () => host.TypedPerFilterConfig["envoy.filters.http.cors"] = Any.Pack(target);
                return (table, target);
            default:
                var hash = new WireRoute.RouteAction.Types.HashPolicy { Header = new() { HeaderName = "x" } };
                action.HashPolicy.Add(hash);
                switch (message)
                {
                    case "RouteAction.HashPolicy":
                        target = hash;
                        break;
                    case "RouteAction.HashPolicy.Header":
                        target = hash.Header;
                        break;
                    case "RouteAction.HashPolicy.Cookie":
                        target = hash.Cookie = new() { Name = "s" };
                        break;
                    case "RouteAction.HashPolicy.CookieAttribute":
                        hash.Cookie = new() { Name = "s", Ttl = new Duration(), Attributes = { new WireRoute.RouteAction.Types.HashPolicy.Types.CookieAttribute { Name = "Secure" } } };
                        target = hash.Cookie.Attributes[0];
                        break;
                    case "RouteAction.HashPolicy.ConnectionProperties":
                        target = hash.ConnectionProperties = new();
                        break;
                    case "RouteAction.HashPolicy.QueryParameter":
                        target = hash.QueryParameter = new() { Name = "q" };
                        break;
                    default:
                        throw new InvalidOperationException(message + " has no place: add one, or list it as never reached");
                }
                break;
        }
        s_repack = null;
        return (table, target);
    }

    [ThreadStatic]
    private static Action? s_repack;

    private static void Set(IMessage target, FieldDescriptor field)
    {
        object value = Sample(field);
        if (field.IsMap)
            ((IDictionary)field.Accessor.GetValue(target)).Add("x", Any.Pack(new Empty()));
        else if (field.IsRepeated)
            ((IList)field.Accessor.GetValue(target)).Add(value);
        else
            field.Accessor.SetValue(target, value);
        s_repack?.Invoke();
    }

    // A value that means something, valid where its type has rules.
    private static object Sample(FieldDescriptor field) => field.FieldType switch
    {
        _ when field.IsMap => "",
        FieldType.Bool => true,
        FieldType.UInt32 => field.Name is "status" ? 404u : 5u,
        FieldType.UInt64 => 5UL,
        FieldType.Int64 => 5L,
        FieldType.Enum => field.EnumType.Values[1].Number,
        FieldType.String => field.Name switch
        {
            "path_separated_prefix" or "path" => "/x",
            "name" when field.ContainingType.Name == "RetryHostPredicate" => "envoy.retry_host_predicates.previous_hosts",
            _ => "x",
        },
        FieldType.Message => SampleMessage(field),
        _ => throw new InvalidOperationException(field.FieldType.ToString()),
    };

    private static object SampleMessage(FieldDescriptor field) => field.MessageType.FullName switch
    {
        "google.protobuf.BoolValue" => true,
        "google.protobuf.UInt32Value" => 5u,
        "google.protobuf.UInt64Value" => 5UL,
        "google.protobuf.Duration" => new Duration { Seconds = 9 },
        "google.protobuf.Any" when field.Name == "config" => Any.Pack(new Envoy.Extensions.Filters.Http.Cors.V3.CorsPolicy()),
        "google.protobuf.Any" => Any.Pack(new Empty()),
        "envoy.type.matcher.v3.RegexMatcher" => new WireMatcher.RegexMatcher { Regex = "x" },
        "envoy.type.matcher.v3.StringMatcher" => new WireMatcher.StringMatcher { Exact = "x" },
        "envoy.type.matcher.v3.RegexMatchAndSubstitute" => new WireMatcher.RegexMatchAndSubstitute { Pattern = new WireMatcher.RegexMatcher { Regex = "x" }, Substitution = "y" },
        "envoy.config.core.v3.HeaderValueOption" => new WireCore.HeaderValueOption { Header = new WireCore.HeaderValue { Key = "x", Value = "y" } },
        "envoy.config.route.v3.RouteAction" => new WireRoute.RouteAction { Cluster = "c" },
        "envoy.config.route.v3.DirectResponseAction" => new WireRoute.DirectResponseAction { Status = 200 },
        "envoy.config.route.v3.RouteMatch" => new WireRoute.RouteMatch { Prefix = "/" },
        "envoy.config.route.v3.HeaderMatcher" => new WireRoute.HeaderMatcher { Name = "x" },
        "envoy.config.route.v3.QueryParameterMatcher" => new WireRoute.QueryParameterMatcher { Name = "x" },
        "envoy.config.route.v3.WeightedCluster" => new WireRoute.WeightedCluster { Clusters = { new WireRoute.WeightedCluster.Types.ClusterWeight { Name = "c", Weight = 1 } } },
        "envoy.config.route.v3.RouteAction.HashPolicy" => new WireRoute.RouteAction.Types.HashPolicy { Header = new() { HeaderName = "x" } },
        "envoy.config.route.v3.RouteAction.HashPolicy.Header" => new WireRoute.RouteAction.Types.HashPolicy.Types.Header { HeaderName = "x" },
        "envoy.config.route.v3.RouteAction.HashPolicy.Cookie" => new WireRoute.RouteAction.Types.HashPolicy.Types.Cookie { Name = "x" },
        "envoy.config.route.v3.RouteAction.HashPolicy.CookieAttribute" => new WireRoute.RouteAction.Types.HashPolicy.Types.CookieAttribute { Name = "x" },
        "envoy.config.route.v3.RetryPolicy.RetryBackOff" => new WireRoute.RetryPolicy.Types.RetryBackOff { BaseInterval = new Duration { Seconds = 1 } },
        "envoy.config.route.v3.RetryPolicy.RateLimitedRetryBackOff" =>
            new WireRoute.RetryPolicy.Types.RateLimitedRetryBackOff { ResetHeaders = { new WireRoute.RetryPolicy.Types.ResetHeader { Name = "x" } } },
        "envoy.config.route.v3.RetryPolicy.ResetHeader" => new WireRoute.RetryPolicy.Types.ResetHeader { Name = "x" },
        "envoy.config.route.v3.RouteAction.UpgradeConfig" => new WireRoute.RouteAction.Types.UpgradeConfig { UpgradeType = "websocket" },
        _ => field.MessageType.Parser.ParseFrom(ByteString.Empty),
    };
}
