using System;
using Sidecar.Telemetry;

namespace Sidecar.Http;

/// <summary>
/// A request's head in one form for both protocols: <c>:method</c>, <c>:path</c>, <c>:authority</c> and <c>:scheme</c> are fields of the map (HTTP/1's
/// Host becomes <c>:authority</c>), framing fields are gone, and an HTTP/2 extended CONNECT (RFC 8441) reads as HTTP/1's <c>GET</c> with
/// <c>upgrade</c> and <c>connection</c>; the codecs translate at both borders. Pseudo-headers may stand anywhere in the map: a writer picks them out.
/// </summary>
/// <remarks>Worker-owned, pooled with its codec stream.</remarks>
internal sealed class RequestHead : HeaderMap
{
    /// <summary>The protocol it came in by.</summary>
    internal HttpVersion Version;

    /// <summary>How the body ends; what a codec of the other protocol needs to know to frame it.</summary>
    internal BodyFraming Framing;

    internal ReadOnlySpan<byte> MethodBytes => Get(HeaderId.Method);
    internal Method Method => Methods.Parse(Get(HeaderId.Method));
    internal ReadOnlySpan<byte> Path => Get(HeaderId.Path);
    internal ReadOnlySpan<byte> Authority => Get(HeaderId.Authority);
    internal ReadOnlySpan<byte> Scheme => Get(HeaderId.Scheme);

    /// <summary>True for HTTP/1 Upgrade and for extended CONNECT: both carry <c>upgrade</c> here.</summary>
    internal bool IsUpgrade => Contains(HeaderId.Upgrade) && Contains(HeaderId.Connection);

    internal override void Reset()
    {
        base.Reset();
        Version = HttpVersion.None;
        Framing = default;
    }
}
