using Sidecar.Tests.Harness;
using Xunit;

namespace Sidecar.Tests.Filters.Rbac;

/// <summary>What is refused, and what is said to have no effect, by its path.</summary>
public sealed class RbacTranslatorTests
{
    private const string Any = """{"any": true}""";
    private const string AnyType = "\"typed_config\": {\"@type\": \"type.googleapis.com/google.protobuf.Empty\"}";

    private static string Policy(string members) => $$"""{"rules": {"policies": {"p": { {{members}} } } } }""";

    private static string Permission(string rule) => Policy($$""" "permissions": [{{rule}}], "principals": [{{Any}}] """);

    private static string Principal(string rule) => Policy($$""" "permissions": [{{Any}}], "principals": [{{rule}}] """);

    public static TheoryData<string, string> Refusals() => new()
    {
        { """{"matcher": {} }""", "matcher: a matcher tree is not supported; use rules" },
        { """{"shadow_matcher": {} }""", "shadow_matcher: a matcher tree is not supported; use shadow_rules" },
        { """{"rules": {"action": 7} }""", "rules.action: must be ALLOW, DENY or LOG" },
        { Policy($$""" "principals": [{{Any}}] """), "rules.policies[p].permissions: value must contain at least 1 item(s)" },
        { Policy($$""" "permissions": [{{Any}}] """), "rules.policies[p].principals: value must contain at least 1 item(s)" },
        { Policy($$""" "permissions": [{{Any}}], "principals": [{{Any}}], "condition": {} """), "rules.policies[p].condition: is an expression in CEL, which is not evaluated here" },
        { Policy($$""" "permissions": [{{Any}}], "principals": [{{Any}}], "checked_condition": {} """), "rules.policies[p].checked_condition: is an expression in CEL, which is not evaluated here" },
        { Permission("{}"), "rules.policies[p].permissions[0].rule: is required" },
        { Permission("""{"any": false}"""), "rules.policies[p].permissions[0].any: value must equal true" },
        { Permission("""{"and_rules": {} }"""), "rules.policies[p].permissions[0].and_rules.rules: value must contain at least 1 item(s)" },
        { Permission("""{"or_rules": {} }"""), "rules.policies[p].permissions[0].or_rules.rules: value must contain at least 1 item(s)" },
        { Permission("""{"not_rule": {"and_rules": {"rules": [{"any": true}, {"any": false}]} } }"""), "rules.policies[p].permissions[0].not_rule.and_rules.rules[1].any: value must equal true" },
        { Permission("""{"header": {} }"""), "rules.policies[p].permissions[0].header.name: must not be empty" },
        { Permission("""{"url_path": {} }"""), "rules.policies[p].permissions[0].url_path.rule: is required" },
        { Permission("""{"url_path": {"path": {"safe_regex": {"regex": "("} } } }"""), "rules.policies[p].permissions[0].url_path.path.safe_regex.regex: Invalid regex '(': missing ): (" },
        { Permission("""{"destination_ip": {"address_prefix": "a", "prefix_len": 8} }"""), "rules.policies[p].permissions[0].destination_ip: 'a/8' is not an address range" },
        { Permission("""{"destination_ip": {"address_prefix": "1.2.3.4", "prefix_len": 4294967295} }"""), "rules.policies[p].permissions[0].destination_ip: '1.2.3.4/4294967295' is not an address range" },
        { Permission("""{"destination_port": 65536}"""), "rules.policies[p].permissions[0].destination_port: value must be less than or equal to 65535" },
        { Permission("""{"destination_port_range": {"start": 65537, "end": 65538} }"""), "rules.policies[p].permissions[0].destination_port_range.start: range start 65537 is out of bounds | rules.policies[p].permissions[0].destination_port_range.end: range end 65538 is out of bounds" },
        { Permission("""{"destination_port_range": {"start": 5, "end": 5} }"""), "rules.policies[p].permissions[0].destination_port_range: range start 5 cannot be greater or equal than range end 5" },
        { Permission("""{"metadata": {} }"""), "rules.policies[p].permissions[0].metadata.filter: value length must be at least 1 characters | rules.policies[p].permissions[0].metadata.path: value must contain at least 1 item(s) | rules.policies[p].permissions[0].metadata.value: is required" },
        { Permission("""{"metadata": {"filter": "f", "path": [{}], "value": {} } }"""), "rules.policies[p].permissions[0].metadata.path[0].key: value length must be at least 1 characters | rules.policies[p].permissions[0].metadata.value.match_pattern: is required" },
        { Permission("""{"metadata": {"filter": "f", "path": [{"key": "k"}], "value": {"or_match": {"value_matchers": [{"present_match": true}]} } } }"""), "rules.policies[p].permissions[0].metadata.value.or_match.value_matchers: value must contain at least 2 item(s)" },
        { Permission("""{"metadata": {"filter": "f", "path": [{"key": "k"}], "value": {"list_match": {} } } }"""), "rules.policies[p].permissions[0].metadata.value.list_match.match_pattern: is required" },
        { Permission("""{"metadata": {"filter": "f", "path": [{"key": "k"}], "value": {"double_match": {} } } }"""), "rules.policies[p].permissions[0].metadata.value.double_match.match_pattern: is required" },
        { Permission("""{"sourced_metadata": {"metadata_source": "ROUTE"} }"""), "rules.policies[p].permissions[0].sourced_metadata.metadata_source: only DYNAMIC is supported: metadata of routes is not kept | rules.policies[p].permissions[0].sourced_metadata.metadata_matcher: is required" },
        { Permission("""{"requested_server_name": {} }"""), "rules.policies[p].permissions[0].requested_server_name.match_pattern: is required" },
        { Permission($$"""{"matcher": {"name": "m", {{AnyType}}} }"""), "rules.policies[p].permissions[0].matcher: Didn't find a registered implementation for 'm' with type URL: 'google.protobuf.Empty'" },
        { Permission($$"""{"uri_template": {"name": "u", {{AnyType}}} }"""), "rules.policies[p].permissions[0].uri_template: Didn't find a registered implementation for 'u' with type URL: 'google.protobuf.Empty'" },
        { Permission("""{"uri_template": {"name": "u", "typed_config": {"@type": "type.googleapis.com/envoy.extensions.path.match.uri_template.v3.UriTemplateMatchConfig", "path_template": "/**/*"} } }"""),
            "rules.policies[p].permissions[0].uri_template.typed_config.path_template: '/**/*': Glob after text glob." },
        { Principal("{}"), "rules.policies[p].principals[0].identifier: is required" },
        { Principal("""{"any": false}"""), "rules.policies[p].principals[0].any: value must equal true" },
        { Principal("""{"and_ids": {} }"""), "rules.policies[p].principals[0].and_ids.ids: value must contain at least 1 item(s)" },
        { Principal("""{"authenticated": {"principal_name": {} } }"""), "rules.policies[p].principals[0].authenticated.principal_name.match_pattern: is required" },
        { Principal("""{"filter_state": {} }"""), "rules.policies[p].principals[0].filter_state.key: value length must be at least 1 characters | rules.policies[p].principals[0].filter_state.matcher: is required" },
        { Principal($$"""{"custom": {"name": "envoy.rbac.principals.mtls_authenticated", {{AnyType}}} }"""),
            "rules.policies[p].principals[0].custom: Didn't find a registered implementation for 'envoy.rbac.principals.mtls_authenticated' with type URL: 'google.protobuf.Empty'" },
        { """{"rules": {"audit_logging_options": {"audit_condition": 9} } }""", "rules.audit_logging_options.audit_condition: must be NONE, ON_DENY, ON_ALLOW or ON_DENY_AND_ALLOW" },
        { $$"""{"rules": {"audit_logging_options": {"audit_condition": "ON_DENY", "logger_configs": [{"audit_logger": {"name": "l", {{AnyType}}} }]} } }""",
            "rules.audit_logging_options.logger_configs[0].audit_logger: Didn't find a registered implementation for 'l' with type URL: 'google.protobuf.Empty'" },
        // What would only be noted is held to the same.
        { """{"shadow_rules": {"policies": {"p": {"permissions": [{"any": true}]} } } }""", "shadow_rules.policies[p].principals: value must contain at least 1 item(s)" },
    };

    [Theory]
    [MemberData(nameof(Refusals))]
    public void Refused_ByPath(string config, string expected) =>
        Assert.Equal(expected, string.Join(" | ", RbacHarness.Problems(RbacHarness.Message(config), out _)));

    public static TheoryData<string, string> NoEffects() => new()
    {
        { Policy($$""" "permissions": [{{Any}}], "principals": [{{Any}}], "cel_config": {} """), "rules.policies[p].cel_config: it is about conditions, and there is none" },
        { Principal("""{"filter_state": {"key": "k", "string_match": {"exact": "v"} } }"""), "rules.policies[p].principals[0].filter_state: nothing here sets the filter state 'k' to what is asked for: it never matches" },
        { """{"rules": {"audit_logging_options": {"audit_condition": "ON_DENY_AND_ALLOW", "logger_configs": [{"is_optional": true, "audit_logger": {"name": "l"} }]} } }""",
            "rules.audit_logging_options.logger_configs[0]: Didn't find a registered implementation for 'l' with type URL: ''; it is optional | rules.audit_logging_options.audit_condition: there is no audit logger here" },
    };

    [Theory]
    [MemberData(nameof(NoEffects))]
    public void WithoutEffect_IsSaid(string config, string expected)
    {
        Assert.Empty(RbacHarness.Problems(RbacHarness.Message(config), out var ignored));
        Assert.Equal(expected, string.Join(" | ", ignored));
    }

    [Fact]
    public void EveryProblem_IsNamedAtOnce() =>
        Assert.Equal(3, RbacHarness.Problems(RbacHarness.Message(Policy(""" "permissions": [{"any": false}, {}], "principals": [] """)), out _).Length);
}
