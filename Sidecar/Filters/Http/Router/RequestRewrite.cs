using System;
using Sidecar.Http;
using Sidecar.Memory;
using Sidecar.Routing;

namespace Sidecar.Filters.Http.Router;

/// <summary>What a route changes about a request before it goes upstream, and about the response before it goes down.</summary>
/// <remarks>Pure: changes the heads it is given. Allocates nothing.</remarks>
internal static class RequestRewrite
{
    private const int PathBytesMax = 8192;

    /// <summary>Applies path, host and header operations, in Envoy's order: header operations first, then the rewrites.</summary>
    internal static void Apply(RequestHead head, Route route, WeightedCluster? weighted, FilterStream stream, bool suppressEnvoyHeaders, in Timeouts timeouts)
    {
        var action = route.Action!;
        foreach (byte[] name in route.Table.InternalOnlyHeaders)
        {
            if (!head.Contains(HeaderId.XEnvoyInternal))
                head.Remove(name);
        }
        ApplyMutations(head, route, weighted, stream, isRequest: true);
        if (!suppressEnvoyHeaders && timeouts.ExpectedMs > 0)
            head.SetDecimal(HeaderId.XEnvoyExpectedRequestTimeoutMs, timeouts.ExpectedMs);
        RewritePath(head, route, suppressEnvoyHeaders);
        RewriteHost(head, action, weighted);
    }

    /// <summary>Applies the header operations of all levels to a response's head.</summary>
    internal static void ApplyToResponse(HeaderMap head, Route route, WeightedCluster? weighted, FilterStream stream) =>
        ApplyMutations(head, route, weighted, stream, isRequest: false);

    /// <summary>auto_host_rewrite: the chosen host's name becomes the authority.</summary>
    internal static void RewriteToHost(RequestHead head, RouteAction action, string hostname)
    {
        if (!action.AutoHostRewrite || hostname.Length == 0)
            return;
        Span<byte> text = stackalloc byte[256];
        if (System.Text.Encoding.UTF8.TryGetBytes(hostname, text, out int length))
            SetHost(head, action, text[..length]);
    }

    // Most specific first, so that wider levels may overwrite; the other way round where the most specific is to win.
    private static void ApplyMutations(HeaderMap head, Route route, WeightedCluster? weighted, FilterStream stream, bool isRequest)
    {
        if (route.Table.MostSpecificMutationsWin)
        {
            Apply(route.Table.Mutation);
            Apply(route.VirtualHost.Mutation);
            Apply(route.Mutation);
            Apply(weighted?.Mutation);
        }
        else
        {
            Apply(weighted?.Mutation);
            Apply(route.Mutation);
            Apply(route.VirtualHost.Mutation);
            Apply(route.Table.Mutation);
        }

        void Apply(HeaderMutation? mutation)
        {
            if (mutation is null || mutation == HeaderMutation.None)
                return;
            if (isRequest)
                mutation.ApplyToRequest(head, stream);
            else
                mutation.ApplyToResponse(head, stream);
        }
    }

    private static void RewritePath(RequestHead head, Route route, bool suppressEnvoyHeaders)
    {
        var action = route.Action!;
        if (action.PrefixRewrite.Length == 0 && action.PathRegexRewrite is null)
            return;
        var whole = head.Path;
        var path = RouteInput.WithoutQuery(whole);
        Span<byte> buffer = stackalloc byte[PathBytesMax];
        var writer = new SpanWriter(buffer);
        if (action.PathRegexRewrite is { } rewrite)
        {
            rewrite.ReplaceAll(path, ref writer);
            writer.Write(whole[path.Length..]);
        }
        else
        {
            // An exact or regular-expression match is replaced whole, a prefix by as much as it matched.
            int matched = route.Match.Kind is PathMatchKind.Prefix or PathMatchKind.SeparatedPrefix ? Math.Min(route.Match.Path.Length, whole.Length) : path.Length;
            writer.Write(action.PrefixRewrite);
            writer.Write(whole[matched..]);
        }
        if (writer.Overflowed)
            return;
        if (!suppressEnvoyHeaders && !head.Contains(HeaderId.XEnvoyOriginalPath))
            head.Set(HeaderId.XEnvoyOriginalPath, whole);
        head.Set(HeaderId.Path, writer.Written);
    }

    private static void RewriteHost(RequestHead head, RouteAction action, WeightedCluster? weighted)
    {
        if (weighted is { HostRewrite.Length: > 0 })
        {
            SetHost(head, action, weighted.HostRewrite);
        }
        else if (action.HostRewrite.Length > 0)
        {
            SetHost(head, action, action.HostRewrite);
        }
        else if (action.HostRewriteHeader.Length > 0)
        {
            if (head.TryGet(action.HostRewriteHeader, out var value) && !value.IsEmpty)
                SetHost(head, action, value);
        }
        else if (action.HostRewritePathRegex is { } rewrite)
        {
            Span<byte> buffer = stackalloc byte[512];
            var writer = new SpanWriter(buffer);
            rewrite.ReplaceAll(RouteInput.WithoutQuery(head.Path), ref writer);
            if (!writer.Overflowed && writer.Length > 0)
                SetHost(head, action, writer.Written);
        }
    }

    private static void SetHost(RequestHead head, RouteAction action, ReadOnlySpan<byte> host)
    {
        if (action.AppendXForwardedHost)
            head.AppendValue(HeaderId.XForwardedHost, head.Authority, ","u8);
        head.Set(HeaderId.Authority, host);
    }
}
