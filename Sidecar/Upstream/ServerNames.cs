using System;
using Sidecar.Http;
using Sidecar.Net;
using Sidecar.Tls;

namespace Sidecar.Upstream;

/// <summary>What a request asks of the TLS connection it is to travel on: <c>auto_sni</c>, <c>auto_san_validation</c>, and the protocols of <c>istio.alpn</c>.</summary>
/// <remarks>Pure but for the cluster's cache, which makes each answer once.</remarks>
internal static class ServerNames
{
    /// <summary>What OpenSSL takes; a longer name is nobody's (RFC 1035 section 2.3.4).</summary>
    private const int ServerNameBytesMax = 255;

    /// <summary>Null when it asks for nothing.</summary>
    /// <param name="cluster">Its options say whether names are wanted, and whether a header has them.</param>
    /// <param name="head">After the route's rewrites: the host it names is the one that is meant.</param>
    /// <param name="alpn">Protocols in their wire form; empty: none are asked for.</param>
    internal static TlsOverrides? Overrides(Cluster cluster, RequestHead head, byte[] alpn)
    {
        var http = cluster.Config.Http;
        if (!http.AutoServerName && !http.AutoSubjectAltName && alpn.Length == 0)
            return null;
        var header = http.ServerNameHeader;
        var named = header.Length > 0 && head.TryGet(header, out var value) && value.Length > 0 ? value : head.Get(HeaderId.Authority);
        return Overrides(cluster, named, alpn);
    }

    /// <summary>The same for a request of our own, by its authority.</summary>
    internal static TlsOverrides? Overrides(Cluster cluster, ReadOnlySpan<byte> authority, byte[] alpn)
    {
        var http = cluster.Config.Http;
        if (!http.AutoServerName && !http.AutoSubjectAltName)
            return alpn.Length == 0 ? null : cluster.Overrides(alpn, default, default);
        var host = Authority.HostOf(authority);
        if (host.Length > 2 && host[0] == '[')
            host = host[1..^1];
        // RFC 6066 section 3: an address is no server name. A certificate may well be for one.
        bool isName = host.Length is > 0 and <= ServerNameBytesMax && !Address.TryParseIp(host, out _);
        return cluster.Overrides(alpn, http.AutoServerName && isName ? host : default, http.AutoSubjectAltName ? host : default);
    }
}
