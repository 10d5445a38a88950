using System.Collections.Generic;
using System.Globalization;
using System.Text;
using Sidecar.Filters;
using Sidecar.Routing;
using WireHash = Envoy.Config.Route.V3.RouteAction.Types.HashPolicy;

namespace Sidecar.Config.Routes;

/// <summary>hash_policy of envoy.config.route.v3.RouteAction → <see cref="HashPolicy"/>.</summary>
internal static class HashPolicyTranslator
{
    /// <summary>Translates the list, in its order; those without effect are left out.</summary>
    internal static HashPolicy[] Translate(IReadOnlyList<WireHash> wire, ConfigScope scope)
    {
        var policies = new List<HashPolicy>(wire.Count);
        for (int i = 0; i < wire.Count; i++)
        {
            if (One(wire[i], scope.At("hash_policy", i)) is { } policy)
                policies.Add(policy);
        }
        return policies.ToArray();
    }

    private static HashPolicy? One(WireHash wire, ConfigScope scope)
    {
        switch (wire.PolicySpecifierCase)
        {
            case WireHash.PolicySpecifierOneofCase.Header:
                if (!FieldNameReader.IsValid(wire.Header.HeaderName))
                    scope.Reject("header.header_name", "must be a header name");
                return new HashPolicy(HashSource.Header, wire.Header.HeaderName)
                {
                    Terminal = wire.Terminal,
                    Rewrite = wire.Header.RegexRewrite is { } rewrite ? MatcherTranslator.Rewrite(rewrite, scope.At("header.regex_rewrite")) : null,
                };
            case WireHash.PolicySpecifierOneofCase.Cookie:
                if (wire.Cookie.Name.Length == 0)
                    scope.Reject("cookie.name", "must not be empty");
                return new HashPolicy(HashSource.Cookie, wire.Cookie.Name) { Terminal = wire.Terminal, CookieTail = CookieTail(wire.Cookie, scope.At("cookie")) };
            case WireHash.PolicySpecifierOneofCase.ConnectionProperties:
                return wire.ConnectionProperties.SourceIp ? new HashPolicy(HashSource.SourceIp, "") { Terminal = wire.Terminal } : null;
            case WireHash.PolicySpecifierOneofCase.QueryParameter:
                return new HashPolicy(HashSource.QueryParameter, wire.QueryParameter.Name) { Terminal = wire.Terminal };
            default:
                scope.Reject("", "only header, cookie, connection_properties and query_parameter are supported");
                return null;
        }
    }

    // What follows the value of a cookie made here; null: none is made, because no ttl is given.
    private static byte[]? CookieTail(WireHash.Types.Cookie wire, ConfigScope scope)
    {
        var tail = new StringBuilder();
        long seconds = scope.Milliseconds("ttl", wire.Ttl, 0) / 1000;
        if (seconds > 0)
            tail.Append("; Max-Age=").Append(seconds.ToString(CultureInfo.InvariantCulture));
        if (wire.Path.Length > 0)
            tail.Append("; Path=").Append(wire.Path);
        foreach (var attribute in wire.Attributes)
        {
            tail.Append("; ").Append(attribute.Name);
            if (attribute.Value.Length > 0)
                tail.Append('=').Append(attribute.Value);
        }
        tail.Append("; HttpOnly");
        foreach (char c in tail.ToString() + wire.Name)
        {
            if (!char.IsControl(c))
                continue;
            scope.Reject("", "must not have control characters");
            break;
        }
        if (wire.Ttl is not null)
            return Encoding.UTF8.GetBytes(tail.ToString());
        if (wire.Path.Length > 0)
            scope.Ignore("path", "no cookie is made without a ttl");
        if (wire.Attributes.Count > 0)
            scope.Ignore("attributes", "no cookie is made without a ttl");
        return null;
    }
}
