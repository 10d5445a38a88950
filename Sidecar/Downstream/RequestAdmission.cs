using System;
using Sidecar.Http;
using Sidecar.Http.H1;
using Sidecar.Memory;
using Sidecar.Net;
using Sidecar.Telemetry;
using Sidecar.Tls;

namespace Sidecar.Downstream;

/// <summary>
/// What happens to a request's head before any filter sees it, in this order: its shape, its host, its path in canonical form, then who
/// it comes from (<see cref="ForwardingRules"/>). Router, policies and logs all read the result.
/// </summary>
internal static class RequestAdmission
{
    /// <summary>Checks and rewrites the head.</summary>
    /// <param name="head">The request, changed in place.</param>
    /// <param name="downstream">Its connection.</param>
    /// <param name="config">The connection manager's configuration.</param>
    /// <param name="random">For request ids.</param>
    /// <param name="remote">The address the request is taken to come from.</param>
    /// <returns>Why the request is refused, or <see cref="Failure.None"/>.</returns>
    internal static Failure Admit(RequestHead head, Connection downstream, HttpConnectionManagerConfig config, FastRandom random, out Address remote)
    {
        remote = downstream.RemoteAddress;
        if (head.Authority.IsEmpty)
            return Failure.MissingHost;
        bool connect = head.Method == Method.Connect;
        if (head.Version == HttpVersion.Http2 && config.Http1.Underscores != UnderscoreAction.Allow && !AdmitUnderscores(head, config.Http1.Underscores))
            return Failure.UnderscoreHeaderRejected;
        if (!connect || head.Contains(HeaderId.Path))
        {
            var failure = AdmitPath(head, config);
            if (failure != Failure.None)
                return failure;
        }
        if (config.StripTrailingHostDot || config.StripAnyHostPort || config.StripMatchingHostPort)
            StripHost(head, downstream, config);
        var tls = downstream.Transport as TlsTransport;
        remote = ForwardingRules.Apply(head, downstream.RemoteAddress, downstream.LocalAddress, secure: tls is not null, config, random);
        ForwardedClientCert.Apply(head, tls, config);
        return Failure.None;
    }

    // The HTTP/1 codec has looked at the names while it parsed them.
    private static bool AdmitUnderscores(RequestHead head, UnderscoreAction action)
    {
        while (true)
        {
            ReadOnlySpan<byte> found = default;
            foreach (var field in head)
            {
                if (field.Name.IndexOf((byte)'_') < 0)
                    continue;
                found = field.Name;
                break;
            }
            if (found.IsEmpty)
                return true;
            if (action == UnderscoreAction.Reject)
                return false;
            head.Remove(found);
        }
    }

    private static Failure AdmitPath(RequestHead head, HttpConnectionManagerConfig config)
    {
        var path = head.Path;
        if (path.IsEmpty)
            return Failure.MissingPath;
        if (path[0] != '/')
        {
            // The asterisk-form is only for OPTIONS (RFC 9112 section 3.2.4).
            return path.SequenceEqual("*"u8) && head.Method == Method.Options ? Failure.None : Failure.AbsolutePathRejected;
        }
        return PathNormalizer.Normalize(head, config.Path) switch
        {
            PathResult.Reject => Failure.PathNormalizationFailed,
            PathResult.Redirect => Failure.PathRedirect,
            _ => Failure.None,
        };
    }

    private static void StripHost(RequestHead head, Connection downstream, HttpConnectionManagerConfig config)
    {
        var authority = head.Authority;
        int colon = authority.LastIndexOf((byte)':');
        bool hasPort = colon > 0 && authority[^1] != ']' && (authority[0] != '[' || authority[colon - 1] == ']');
        var host = hasPort ? authority[..colon] : authority;
        var port = hasPort ? authority[colon..] : default;

        bool dropPort = hasPort && (config.StripAnyHostPort
            || (Ascii.TryParseDecimal(port[1..], out long number) && number == downstream.LocalAddress.Port));
        bool dropDot = config.StripTrailingHostDot && host.Length > 1 && host[^1] == '.';
        if (!dropPort && !dropDot)
            return;
        if (dropDot)
            host = host[..^1];

        Span<byte> stripped = authority.Length <= 256 ? stackalloc byte[256] : new byte[authority.Length];
        host.CopyTo(stripped);
        int length = host.Length;
        if (!dropPort)
        {
            port.CopyTo(stripped[length..]);
            length += port.Length;
        }
        head.Set(HeaderId.Authority, stripped[..length]);
    }
}
