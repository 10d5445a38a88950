using System;
using Sidecar.Memory;

namespace Sidecar.Http;

/// <summary>Request methods the proxy treats by meaning (RFC 9110 section 9.3, RFC 5789); any other token is <see cref="Other"/>.</summary>
internal enum Method : byte { Other, Get, Head, Post, Put, Delete, Connect, Options, Trace, Patch }

/// <summary>Methods from and to bytes; methods are case-sensitive.</summary>
internal static class Methods
{
    internal static Method Parse(ReadOnlySpan<byte> token) => token.Length switch
    {
        3 when token.SequenceEqual("GET"u8) => Method.Get,
        3 when token.SequenceEqual("PUT"u8) => Method.Put,
        4 when token.SequenceEqual("POST"u8) => Method.Post,
        4 when token.SequenceEqual("HEAD"u8) => Method.Head,
        5 when token.SequenceEqual("PATCH"u8) => Method.Patch,
        5 when token.SequenceEqual("TRACE"u8) => Method.Trace,
        6 when token.SequenceEqual("DELETE"u8) => Method.Delete,
        7 when token.SequenceEqual("OPTIONS"u8) => Method.Options,
        7 when token.SequenceEqual("CONNECT"u8) => Method.Connect,
        _ => Method.Other,
    };

    /// <summary>
    /// True for the methods Envoy's HTTP/1 codec knows besides those of <see cref="Method"/> (WebDAV and its relatives of the IANA registry, and
    /// a few that caches and UPnP use).
    /// </summary>
    internal static bool IsRegistered(ReadOnlySpan<byte> token)
    {
        foreach (byte[] method in s_registered)
        {
            if (token.SequenceEqual(method))
                return true;
        }
        return false;
    }

    private static readonly byte[][] s_registered = Names(
        "ACL", "BIND", "CHECKOUT", "COPY", "LINK", "LOCK", "MERGE", "MKACTIVITY", "MKCALENDAR", "MKCOL", "MOVE", "M-SEARCH", "NOTIFY", "PROPFIND",
        "PROPPATCH", "PURGE", "REBIND", "REPORT", "SEARCH", "SOURCE", "SUBSCRIBE", "UNBIND", "UNLINK", "UNLOCK", "UNSUBSCRIBE");

    private static byte[][] Names(params string[] names) => Array.ConvertAll(names, Ascii.Bytes);
}
