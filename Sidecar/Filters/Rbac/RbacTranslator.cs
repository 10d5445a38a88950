using System;
using System.Collections.Generic;
using System.Text;
using Google.Protobuf;
using Sidecar.Net;
using Sidecar.Routing;
using WireCore = Envoy.Config.Core.V3;
using WireMatcher = Envoy.Type.Matcher.V3;
using WireRoute = Envoy.Config.Route.V3;
using WireTemplate = Envoy.Extensions.Path.Match.UriTemplate.V3;

namespace Sidecar.Filters.Rbac;

using Wire = global::Envoy.Config.Rbac.V3;

/// <summary>envoy.config.rbac.v3.RBAC → <see cref="RbacEngine"/>. What cannot be asked here is refused by its path: a rule left out would let somebody in.</summary>
/// <remarks>Control loop only.</remarks>
internal static class RbacTranslator
{
    private const string TemplateType = "envoy.extensions.path.match.uri_template.v3.UriTemplateMatchConfig";

    /// <summary>Translates policies; null when there are none to enforce, or when they are refused.</summary>
    /// <param name="wire">rules or shadow_rules; null: not set.</param>
    /// <param name="isHttp">There are requests; else it is connections that are judged.</param>
    /// <param name="scope">Where problems go.</param>
    internal static RbacEngine? Translate(Wire.RBAC? wire, bool isHttp, ConfigScope scope)
    {
        if (wire is null)
            return null;
        if (!Enum.IsDefined(wire.Action))
            scope.Reject("action", "must be ALLOW, DENY or LOG");
        if (wire.AuditLoggingOptions is { } audit)
            RefuseAudit(audit, scope.At("audit_logging_options"));
        // Envoy keeps them in a map of its own, ordered by the bytes of their names.
        var named = new List<(byte[] Key, string Name, Wire.Policy Policy)>(wire.Policies.Count);
        foreach (var (name, policy) in wire.Policies)
            named.Add((Encoding.UTF8.GetBytes(name), name, policy));
        named.Sort(static (a, b) => a.Key.AsSpan().SequenceCompareTo(b.Key));
        var policies = new RbacPolicy[named.Count];
        for (int i = 0; i < policies.Length; i++)
            policies[i] = Policy(named[i].Name, i, named[i].Policy, isHttp, scope.At($"policies[{named[i].Name}]"));
        return new RbacEngine((RbacAction)wire.Action, policies);
    }

    /// <summary>A decision by a matcher tree instead of policies: there is none of those.</summary>
    internal static void RefuseMatcher(IMessage? wire, string field, ConfigScope scope)
    {
        if (wire is not null)
            scope.Reject(field, $"a matcher tree is not supported; use {field.Replace("matcher", "rules")}");
    }

    // Who asks for an audit relies on it. A logger that may be missing is one that may be missing.
    private static void RefuseAudit(Wire.RBAC.Types.AuditLoggingOptions wire, ConfigScope scope)
    {
        if (!Enum.IsDefined(wire.AuditCondition))
            scope.Reject("audit_condition", "must be NONE, ON_DENY, ON_ALLOW or ON_DENY_AND_ALLOW");
        for (int i = 0; i < wire.LoggerConfigs.Count; i++)
        {
            var logger = wire.LoggerConfigs[i];
            string problem = Unknown(logger.AuditLogger);
            if (logger.IsOptional)
                scope.Ignore($"logger_configs[{i}]", problem + "; it is optional");
            else
                scope.Reject($"logger_configs[{i}].audit_logger", problem);
        }
        if (wire.AuditCondition != Wire.RBAC.Types.AuditLoggingOptions.Types.AuditCondition.None)
            scope.Ignore("audit_condition", "there is no audit logger here");
    }

    private static string Unknown(WireCore.TypedExtensionConfig? wire) =>
        $"Didn't find a registered implementation for '{wire?.Name}' with type URL: '{ObservingFilters.TypeName(wire?.TypedConfig)}'";

    private static RbacPolicy Policy(string name, int index, Wire.Policy wire, bool isHttp, ConfigScope scope)
    {
        const string NoExpressions = "is an expression in CEL, which is not evaluated here";
        if (wire.Condition is not null)
            scope.Reject("condition", NoExpressions);
        if (wire.CheckedCondition is not null)
            scope.Reject("checked_condition", NoExpressions);
        if (wire.CelConfig is not null)
            scope.Ignore("cel_config", "it is about conditions, and there is none");
        return new RbacPolicy(name, index, Any(wire.Permissions, Permission, isHttp, "permissions", scope), Any(wire.Principals, Principal, isHttp, "principals", scope));
    }

    private static RbacRule Permission(Wire.Permission wire, bool isHttp, ConfigScope scope)
    {
        switch (wire.RuleCase)
        {
            case Wire.Permission.RuleOneofCase.AndRules:
                return All(wire.AndRules.Rules, Permission, isHttp, "rules", scope.At("and_rules"));
            case Wire.Permission.RuleOneofCase.OrRules:
                return Any(wire.OrRules.Rules, Permission, isHttp, "rules", scope.At("or_rules"));
            case Wire.Permission.RuleOneofCase.Any:
                return Anything(wire.Any, scope);
            case Wire.Permission.RuleOneofCase.Header:
                return Header(wire.Header, isHttp, scope.At("header"));
            case Wire.Permission.RuleOneofCase.UrlPath:
                return Path(wire.UrlPath, isHttp, scope.At("url_path"));
            case Wire.Permission.RuleOneofCase.DestinationIp:
                return new RbacRule.DestinationAddress(Range(wire.DestinationIp, scope.At("destination_ip")));
            case Wire.Permission.RuleOneofCase.DestinationPort:
                if (wire.DestinationPort > 65535)
                    scope.Reject("destination_port", "value must be less than or equal to 65535");
                return new RbacRule.DestinationPort((int)Math.Min(wire.DestinationPort, 65536), (int)Math.Min(wire.DestinationPort, 65536) + 1);
            case Wire.Permission.RuleOneofCase.DestinationPortRange:
                return PortRange(wire.DestinationPortRange.Start, wire.DestinationPortRange.End, scope.At("destination_port_range"));
            case Wire.Permission.RuleOneofCase.Metadata:
                return Metadata(wire.Metadata, scope.At("metadata"));
            case Wire.Permission.RuleOneofCase.SourcedMetadata:
                return Metadata(wire.SourcedMetadata, scope.At("sourced_metadata"));
            case Wire.Permission.RuleOneofCase.NotRule:
                return new RbacRule.Not(Permission(wire.NotRule, isHttp, scope.At("not_rule")));
            case Wire.Permission.RuleOneofCase.RequestedServerName:
                return Text(wire.RequestedServerName, scope.At("requested_server_name")) is { } name ? new RbacRule.ServerName(name) : RbacRule.Never.Instance;
            case Wire.Permission.RuleOneofCase.UriTemplate:
                return Template(wire.UriTemplate, isHttp, scope.At("uri_template"));
            case Wire.Permission.RuleOneofCase.Matcher:
                return Refused("matcher", Unknown(wire.Matcher), scope);
            default:
                return Refused("rule", "is required", scope);
        }
    }

    private static RbacRule Principal(Wire.Principal wire, bool isHttp, ConfigScope scope)
    {
        switch (wire.IdentifierCase)
        {
            case Wire.Principal.IdentifierOneofCase.AndIds:
                return All(wire.AndIds.Ids, Principal, isHttp, "ids", scope.At("and_ids"));
            case Wire.Principal.IdentifierOneofCase.OrIds:
                return Any(wire.OrIds.Ids, Principal, isHttp, "ids", scope.At("or_ids"));
            case Wire.Principal.IdentifierOneofCase.Any:
                return Anything(wire.Any, scope);
            case Wire.Principal.IdentifierOneofCase.Authenticated:
                return Authenticated(wire.Authenticated, scope.At("authenticated"));
            case Wire.Principal.IdentifierOneofCase.SourceIp:
                return new RbacRule.ConnectionAddress(Range(wire.SourceIp, scope.At("source_ip")));
            case Wire.Principal.IdentifierOneofCase.DirectRemoteIp:
                return new RbacRule.PeerAddress(Range(wire.DirectRemoteIp, scope.At("direct_remote_ip")));
            case Wire.Principal.IdentifierOneofCase.RemoteIp:
                return new RbacRule.RemoteAddress(Range(wire.RemoteIp, scope.At("remote_ip")));
            case Wire.Principal.IdentifierOneofCase.Header:
                return Header(wire.Header, isHttp, scope.At("header"));
            case Wire.Principal.IdentifierOneofCase.UrlPath:
                return Path(wire.UrlPath, isHttp, scope.At("url_path"));
            case Wire.Principal.IdentifierOneofCase.Metadata:
                return Metadata(wire.Metadata, scope.At("metadata"));
            case Wire.Principal.IdentifierOneofCase.SourcedMetadata:
                return Metadata(wire.SourcedMetadata, scope.At("sourced_metadata"));
            case Wire.Principal.IdentifierOneofCase.FilterState:
                return FilterState(wire.FilterState, scope.At("filter_state"));
            case Wire.Principal.IdentifierOneofCase.NotId:
                return new RbacRule.Not(Principal(wire.NotId, isHttp, scope.At("not_id")));
            case Wire.Principal.IdentifierOneofCase.Custom:
                return Refused("custom", Unknown(wire.Custom), scope);
            default:
                return Refused("identifier", "is required", scope);
        }
    }

    // ---- several ---------------------------------------------------------------------------------------------

    // Istio wraps nearly every rule into both of these, alone: what is alone needs neither.
    private static RbacRule Any<T>(IReadOnlyList<T> wire, Func<T, bool, ConfigScope, RbacRule> translate, bool isHttp, string field, ConfigScope scope)
    {
        var rules = List(wire, translate, isHttp, field, scope);
        return rules.Length == 1 ? rules[0] : new RbacRule.OneOf(rules);
    }

    private static RbacRule All<T>(IReadOnlyList<T> wire, Func<T, bool, ConfigScope, RbacRule> translate, bool isHttp, string field, ConfigScope scope)
    {
        var rules = List(wire, translate, isHttp, field, scope);
        return rules.Length == 1 ? rules[0] : new RbacRule.All(rules);
    }

    private static RbacRule[] List<T>(IReadOnlyList<T> wire, Func<T, bool, ConfigScope, RbacRule> translate, bool isHttp, string field, ConfigScope scope)
    {
        if (wire.Count == 0)
            scope.Reject(field, "value must contain at least 1 item(s)");
        var rules = new RbacRule[wire.Count];
        for (int i = 0; i < rules.Length; i++)
            rules[i] = translate(wire[i], isHttp, scope.At(field, i));
        return rules;
    }

    // ---- one -------------------------------------------------------------------------------------------------

    private static RbacRule Refused(string field, string reason, ConfigScope scope)
    {
        scope.Reject(field, reason);
        return RbacRule.Never.Instance;
    }

    private static RbacRule Anything(bool value, ConfigScope scope) => value ? RbacRule.Any.Instance : Refused("any", "value must equal true", scope);

    private static RbacRule Header(WireRoute.HeaderMatcher wire, bool isHttp, ConfigScope scope)
    {
        if (!isHttp)
            return Refused("", $"Found header({wire.Name}) rule, not supported by RBAC network filter", scope);
        // One of several values must not hide behind another.
        return scope.Services.HeaderMatcher(wire, scope) is { } matcher ? new RbacRule.Header(matcher.JudgingEachValue()) : RbacRule.Never.Instance;
    }

    private static RbacRule Path(WireMatcher.PathMatcher wire, bool isHttp, ConfigScope scope)
    {
        NoteNoPath(isHttp, scope);
        if (wire.RuleCase != WireMatcher.PathMatcher.RuleOneofCase.Path)
            return Refused("rule", "is required", scope);
        return Text(wire.Path, scope.At("path")) is { } matcher ? new RbacRule.Path(matcher) : RbacRule.Never.Instance;
    }

    private static RbacRule Template(WireCore.TypedExtensionConfig wire, bool isHttp, ConfigScope scope)
    {
        NoteNoPath(isHttp, scope);
        if (ObservingFilters.TypeName(wire.TypedConfig) != TemplateType)
            return Refused("", Unknown(wire), scope);
        WireTemplate.UriTemplateMatchConfig config;
        try
        {
            config = WireTemplate.UriTemplateMatchConfig.Parser.ParseFrom(wire.TypedConfig.Value);
        }
        catch (InvalidProtocolBufferException e)
        {
            return Refused("typed_config", $"malformed bytes: {e.Message}", scope);
        }
        var template = UriTemplate.TryParse(config.PathTemplate, out string error);
        return template is not null ? new RbacRule.PathTemplate(template) : Refused("typed_config.path_template", $"'{config.PathTemplate}': {error}", scope);
    }

    private static void NoteNoPath(bool isHttp, ConfigScope scope)
    {
        if (!isHttp)
            scope.Ignore("", "a connection has no path: it never matches");
    }

    private static RbacRule PortRange(int start, int end, ConfigScope scope)
    {
        if (start is < 0 or > 65536)
            scope.Reject("start", $"range start {start} is out of bounds");
        if (end is < 0 or > 65536)
            scope.Reject("end", $"range end {end} is out of bounds");
        if (start >= end)
            scope.Reject("", $"range start {start} cannot be greater or equal than range end {end}");
        return new RbacRule.DestinationPort(start, end);
    }

    private static RbacRule Authenticated(Wire.Principal.Types.Authenticated wire, ConfigScope scope)
    {
        if (wire.PrincipalName is null)
            return new RbacRule.Authenticated(null);
        return Text(wire.PrincipalName, scope.At("principal_name")) is { } name ? new RbacRule.Authenticated(name) : RbacRule.Never.Instance;
    }

    private static RbacRule FilterState(WireMatcher.FilterStateMatcher wire, ConfigScope scope)
    {
        if (wire.Key.Length == 0)
            scope.Reject("key", "value length must be at least 1 characters");
        switch (wire.MatcherCase)
        {
            case WireMatcher.FilterStateMatcher.MatcherOneofCase.StringMatch:
                var text = Text(wire.StringMatch, scope.At("string_match"));
                if (text is not null && wire.Key == RbacRule.PeerPrincipal.Key)
                    return new RbacRule.PeerPrincipal(text);
                break;
            case WireMatcher.FilterStateMatcher.MatcherOneofCase.AddressMatch:
                break;
            default:
                return Refused("matcher", "is required", scope);
        }
        scope.Ignore("", $"nothing here sets the filter state '{wire.Key}' to what is asked for: it never matches");
        return RbacRule.Never.Instance;
    }

    private static RbacRule Metadata(Wire.SourcedMetadata wire, ConfigScope scope)
    {
        if (wire.MetadataSource != Wire.MetadataSource.Dynamic)
            scope.Reject("metadata_source", "only DYNAMIC is supported: metadata of routes is not kept");
        if (wire.MetadataMatcher is null)
            return Refused("metadata_matcher", "is required", scope);
        return Metadata(wire.MetadataMatcher, scope.At("metadata_matcher"));
    }

    private static RbacRule Metadata(WireMatcher.MetadataMatcher wire, ConfigScope scope) =>
        MetadataMatcherReader.Read(wire, scope) is { } matcher ? new RbacRule.DynamicMetadata(matcher) : RbacRule.Never.Instance;

    private static StringMatcher? Text(WireMatcher.StringMatcher wire, ConfigScope scope) => scope.Services.StringMatcher(wire, scope);

    private static Cidr Range(WireCore.CidrRange wire, ConfigScope scope)
    {
        uint length = wire.PrefixLen ?? 0;
        if (length > 128 || !Address.TryParseIp(wire.AddressPrefix.AsSpan(), out var address) || !Cidr.TryCreate(address, (int)length, out var range))
        {
            scope.Reject("", $"'{wire.AddressPrefix}/{length}' is not an address range");
            return default;
        }
        return range;
    }
}
