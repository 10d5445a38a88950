using System;
using System.Buffers;
using System.Collections.Generic;
using Sidecar.Http;
using Sidecar.Memory;

namespace Sidecar.Routing;

/// <summary>A match, and what to do with what matches: one of <see cref="Action"/>, <see cref="Redirect"/> and <see cref="DirectResponse"/>.</summary>
/// <remarks>Shared immutable.</remarks>
internal sealed class Route
{
    internal string Name { get; init; } = "";
    internal required RouteMatch Match { get; init; }
    internal RouteAction? Action { get; init; }
    internal RedirectAction? Redirect { get; init; }
    internal DirectResponse? DirectResponse { get; init; }
    internal HeaderMutation Mutation { get; init; } = HeaderMutation.None;

    /// <summary>decorator.operation, for x-envoy-decorator-operation and traces; empty without one.</summary>
    internal byte[] DecoratorOperation { get; init; } = [];
    internal bool PropagateDecorator { get; init; } = true;
    internal IReadOnlyDictionary<string, object> FilterConfigs { get; init; } = RouteTable.NoFilterConfigs;

    /// <summary>Set once, by the virtual host it belongs to.</summary>
    internal VirtualHost VirtualHost { get; set; } = null!;

    /// <summary>The table above; set once, when it is complete.</summary>
    internal RouteTable Table { get; set; } = null!;
}

/// <summary>An answer without an upstream.</summary>
/// <param name="Status">200..599.</param>
/// <param name="Body">May be empty.</param>
internal sealed record DirectResponse(int Status, byte[] Body);

/// <summary>An answer that sends the client elsewhere.</summary>
/// <remarks>Shared immutable.</remarks>
internal sealed class RedirectAction
{
    // What the fields of a request can make of it; a rewrite of each byte may make more, and then there is no location to give.
    private const int LocationBytesMax = 256 * 1024;

    internal int Status { get; init; } = 301;

    /// <summary>Empty keeps the request's.</summary>
    internal byte[] Scheme { get; init; } = [];
    internal byte[] Host { get; init; } = [];
    internal uint Port { get; init; }
    internal bool StripQuery { get; init; }

    /// <summary>The new path; what of it applies is not null.</summary>
    internal byte[]? Path { get; init; }
    internal byte[]? PrefixRewrite { get; init; }
    internal RegexRewrite? RegexRewrite { get; init; }

    /// <summary>Writes the <c>location</c> field.</summary>
    /// <param name="request">The request.</param>
    /// <param name="match">What it matched; decides how much of the path a prefix rewrite replaces.</param>
    /// <param name="into">The response's fields.</param>
    /// <returns>False when the location would be absurdly long; it is then not written.</returns>
    internal bool SetLocation(RequestHead request, RouteMatch? match, HeaderMap into)
    {
        byte[] buffer = ArrayPool<byte>.Shared.Rent(LocationBytesMax);
        var writer = new SpanWriter(buffer);
        var scheme = Scheme.Length > 0 ? Scheme : request.Scheme;
        writer.Write(scheme);
        writer.Write("://"u8);
        WriteHost(ref writer, request, scheme);
        WritePath(ref writer, request, match);
        if (!writer.Overflowed)
            into.Set(HeaderId.Location, writer.Written);
        ArrayPool<byte>.Shared.Return(buffer);
        return !writer.Overflowed;
    }

    private void WriteHost(ref SpanWriter writer, RequestHead request, ReadOnlySpan<byte> scheme)
    {
        if (Host.Length > 0)
        {
            writer.Write(Host);
        }
        else
        {
            var authority = request.Authority;
            int colon = authority.LastIndexOf((byte)':');
            bool hasPort = colon > 0 && (authority[0] != '[' || authority[colon - 1] == ']');
            writer.Write(hasPort && (Port != 0 || IsDefaultOfOldScheme(request, scheme, authority[colon..])) ? authority[..colon] : authority);
        }
        if (Port != 0)
        {
            writer.WriteByte((byte)':');
            writer.WriteDecimal(Port);
        }
    }

    // http://a:80 redirected to https must not become https://a:80. What the client spoke is what x-forwarded-proto says.
    private static bool IsDefaultOfOldScheme(RequestHead request, ReadOnlySpan<byte> scheme, ReadOnlySpan<byte> port)
    {
        var old = request.TryGet(HeaderId.XForwardedProto, out var forwarded) ? forwarded : request.Scheme;
        return !scheme.SequenceEqual(old)
            && ((old.SequenceEqual("http"u8) && port.SequenceEqual(":80"u8)) || (old.SequenceEqual("https"u8) && port.SequenceEqual(":443"u8)));
    }

    private void WritePath(ref SpanWriter writer, RequestHead request, RouteMatch? match)
    {
        var whole = request.Path;
        var path = RouteInput.WithoutQuery(whole);
        var query = StripQuery ? default : whole[path.Length..];
        if (Path is not null)
        {
            writer.Write(Path);
            // A query of its own replaces the request's.
            if (Path.AsSpan().IndexOf((byte)'?') < 0)
                writer.Write(query);
            return;
        }
        if (PrefixRewrite is not null)
        {
            writer.Write(PrefixRewrite);
            writer.Write(path[(match?.RewrittenLength(path) ?? path.Length)..]);
        }
        else if (RegexRewrite is not null)
        {
            int start = writer.Length;
            RegexRewrite.ReplaceAll(path, ref writer);
            // A rewrite to nothing is none (Envoy's rule).
            if (writer.Length == start)
                writer.Write(path);
        }
        else
        {
            writer.Write(path);
        }
        writer.Write(query);
    }
}
