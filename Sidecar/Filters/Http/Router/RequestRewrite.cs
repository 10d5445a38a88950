using System;
using System.Buffers;
using Sidecar.Http;
using Sidecar.Memory;
using Sidecar.Routing;
using Sidecar.Telemetry;

namespace Sidecar.Filters.Http.Router;

/// <summary>What a route changes about a request before it goes upstream, and about the response before it goes down.</summary>
/// <remarks>Pure: changes the heads it is given. Allocates nothing.</remarks>
internal static class RequestRewrite
{
    // A substitution may make much of little: the buffer grows up to this.
    private const int RewrittenBytesMin = 8 * 1024;
    private const int RewrittenBytesMax = 1024 * 1024;

    /// <summary>Applies header operations, host and path, in Envoy's order: operations first; the host may still be taken from the old path.</summary>
    internal static void Apply(RequestHead head, Route route, WeightedCluster? weighted, IHeaderFacts facts, bool suppressEnvoyHeaders, in Timeouts timeouts)
    {
        ApplyMutations(head, route, weighted, facts, isRequest: true);
        if (!suppressEnvoyHeaders && timeouts.ExpectedMs > 0)
            head.SetDecimal(HeaderId.XEnvoyExpectedRequestTimeoutMs, timeouts.ExpectedMs);
        RewriteHost(head, route.Action!, weighted);
        RewritePath(head, route, suppressEnvoyHeaders);
    }

    /// <summary>Applies the header operations of all levels to a response's head.</summary>
    internal static void ApplyToResponse(HeaderMap head, Route route, WeightedCluster? weighted, IHeaderFacts facts) =>
        ApplyMutations(head, route, weighted, facts, isRequest: false);

    /// <summary>auto_host_rewrite: the chosen host's name becomes the authority.</summary>
    internal static void RewriteToHost(RequestHead head, RouteAction action, string hostname)
    {
        if (!action.AutoHostRewrite || hostname.Length == 0)
            return;
        Span<byte> text = stackalloc byte[256];
        if (System.Text.Encoding.UTF8.TryGetBytes(hostname, text, out int length))
            SetHost(head, action, text[..length]);
    }

    // Most specific first, so that wider levels may overwrite; the other way round where the most specific is to win, weighted clusters included.
    private static void ApplyMutations(HeaderMap head, Route route, WeightedCluster? weighted, IHeaderFacts facts, bool isRequest)
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
                mutation.ApplyToRequest(head, facts);
            else
                mutation.ApplyToResponse(head, facts);
        }
    }

    private static void RewritePath(RequestHead head, Route route, bool suppressEnvoyHeaders)
    {
        var action = route.Action!;
        if (action.PrefixRewrite.Length == 0 && action.PathRegexRewrite is null)
            return;
        byte[] buffer = [];
        SpanWriter writer;
        int size = RewrittenBytesMin;
        do
        {
            if (buffer.Length > 0)
                ArrayPool<byte>.Shared.Return(buffer);
            buffer = ArrayPool<byte>.Shared.Rent(size);
            writer = new SpanWriter(buffer);
            WritePath(ref writer, head.Path, route);
            size *= 4;
        }
        while (writer.Overflowed && size <= RewrittenBytesMax);

        if (writer.Overflowed)
        {
            Log.Warning("router", $"route {route.Name}: the path is not rewritten: the new one would be longer than {RewrittenBytesMax} bytes");
        }
        else
        {
            if (!suppressEnvoyHeaders)
                head.Set(HeaderId.XEnvoyOriginalPath, head.Path);
            head.Set(HeaderId.Path, writer.Written);
        }
        ArrayPool<byte>.Shared.Return(buffer);
    }

    private static void WritePath(ref SpanWriter writer, ReadOnlySpan<byte> whole, Route route)
    {
        var path = RouteInput.WithoutQuery(whole);
        if (route.Action!.PathRegexRewrite is { } rewrite)
        {
            rewrite.ReplaceAll(path, ref writer);
            writer.Write(whole[path.Length..]);
            return;
        }
        writer.Write(route.Action.PrefixRewrite);
        writer.Write(whole[route.Match.RewrittenLength(path)..]);
    }

    private static void RewriteHost(RequestHead head, RouteAction action, WeightedCluster? weighted)
    {
        // The cluster's own first; the route's, where there is one, goes over it.
        if (weighted is { HostRewrite.Length: > 0 })
            head.Set(HeaderId.Authority, weighted.HostRewrite);
        if (action.HostRewrite.Length > 0)
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
            byte[] buffer = ArrayPool<byte>.Shared.Rent(RewrittenBytesMin);
            var writer = new SpanWriter(buffer);
            rewrite.ReplaceAll(RouteInput.WithoutQuery(head.Path), ref writer);
            if (writer.Overflowed)
                Log.Warning("router", $"the host is not rewritten: it would be longer than {RewrittenBytesMin} bytes");
            else if (writer.Length > 0)
                SetHost(head, action, writer.Written);
            ArrayPool<byte>.Shared.Return(buffer);
        }
    }

    private static void SetHost(RequestHead head, RouteAction action, ReadOnlySpan<byte> host)
    {
        var old = head.Authority;
        if (action.AppendXForwardedHost && !old.IsEmpty && !LastOf(head.Get(HeaderId.XForwardedHost)).SequenceEqual(old))
            head.AppendValue(HeaderId.XForwardedHost, old, ","u8);
        head.Set(HeaderId.Authority, host);
    }

    private static ReadOnlySpan<byte> LastOf(ReadOnlySpan<byte> list) => Ascii.TrimOws(list[(list.LastIndexOf((byte)',') + 1)..]);
}
