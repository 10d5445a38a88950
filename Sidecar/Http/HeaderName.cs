using System;
using System.Buffers.Binary;
using System.Collections.Generic;
using System.Diagnostics;
using System.Numerics;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;
using Sidecar.Memory;

namespace Sidecar.Http;

/// <summary>
/// Header names the proxy itself reads or writes, and those that are common on the wire. Position is identity: a known name is found and
/// compared by number. Pseudo-headers (RFC 9113 section 8.3) come first.
/// </summary>
internal enum HeaderId : byte
{
    /// <summary>A name without a number; compare the bytes.</summary>
    Unknown,
    Method, Scheme, Authority, Path, Protocol,

    Accept, AcceptEncoding, AcceptLanguage, AccessControlAllowCredentials, AccessControlAllowHeaders, AccessControlAllowMethods,
    AccessControlAllowOrigin, AccessControlAllowPrivateNetwork, AccessControlExposeHeaders, AccessControlMaxAge, AccessControlRequestHeaders,
    AccessControlRequestMethod, AccessControlRequestPrivateNetwork, Authorization, CacheControl, Connection, ContentDisposition,
    ContentEncoding, ContentLength, ContentType, Cookie, Date, ETag, Expect, Expires, GrpcEncoding, GrpcMessage, GrpcStatus, GrpcTimeout,
    Host, Http2Settings, IfModifiedSince, IfNoneMatch, KeepAlive, LastModified, Location, Origin, ProxyAuthenticate, ProxyConnection,
    Range, Referer, RetryAfter, Server, SetCookie, Te, Trailer, TransferEncoding, Upgrade, UserAgent, Vary, Via,
    XB3ParentSpanId, XB3Sampled, XB3SpanId, XB3TraceId, TraceParent, TraceState,
    XClientTraceId, XEnvoyAttemptCount, XEnvoyDecoratorOperation, XEnvoyDownstreamServiceCluster, XEnvoyDownstreamServiceNode,
    XEnvoyExpectedRequestTimeoutMs, XEnvoyExternalAddress, XEnvoyForceTrace, XEnvoyHedgeOnPerTryTimeout, XEnvoyInternal, XEnvoyIpTags,
    XEnvoyIsTimeoutRetry, XEnvoyMaxRetries, XEnvoyOriginalDstHost, XEnvoyOriginalMethod, XEnvoyOriginalPath, XEnvoyOverloaded,
    XEnvoyPeerMetadata, XEnvoyPeerMetadataId, XEnvoyRateLimited, XEnvoyRetriableHeaderNames, XEnvoyRetriableStatusCodes, XEnvoyRetryGrpcOn,
    XEnvoyRetryOn, XEnvoyUpstreamAltStatName, XEnvoyUpstreamCanary, XEnvoyUpstreamHealthCheckedCluster, XEnvoyUpstreamRqPerTryTimeoutMs,
    XEnvoyUpstreamRqTimeoutAltResponse, XEnvoyUpstreamRqTimeoutMs, XEnvoyUpstreamServiceTime, XEnvoyDegraded, XEnvoyImmediateHealthCheckFail,
    XEnvoyFaultAbortRequest, XEnvoyFaultAbortRequestPercentage, XEnvoyFaultAbortGrpcRequest, XEnvoyFaultDelayRequest,
    XEnvoyFaultDelayRequestPercentage, XEnvoyFaultThroughputResponse, XEnvoyFaultThroughputResponsePercentage,
    XForwardedClientCert, XForwardedFor, XForwardedHost, XForwardedPort, XForwardedProto, XRealIp, XRequestId,

    /// <summary>Number of ids, not one of them.</summary>
    Count,
}

/// <summary>The bytes of <see cref="HeaderId"/>s, and the way back.</summary>
internal static class HeaderNames
{
    /// <summary>Lookup slots: a power of two, four times the names, so that a miss usually ends at once.</summary>
    private const int TableSize = 512;

    /// <summary>The longest name that is compared as a whole at once.</summary>
    private const int ShortNameBytes = 2 * sizeof(ulong);

    /// <summary>Room for the longest name, what follows it in a field line, and the length of both; whole vectors.</summary>
    internal const int LineStartBytes = 48;

    private static readonly byte[][] s_names = Build();
    private static readonly Ends[] s_ends = BuildEnds();
    private static readonly byte[] s_table = BuildTable();
    private static readonly byte[] s_lineStarts = BuildLineStarts();

    /// <summary>Lower-case bytes of a known name.</summary>
    internal static ReadOnlySpan<byte> Bytes(HeaderId id) => s_names[(int)id];

    /// <summary>
    /// A known name with ": " behind it, for a writer that copies without counting: <see cref="LineStartBytes"/> bytes from the reference may be read, the last of which
    /// says how many count.
    /// </summary>
    internal static ref byte LineStart(HeaderId id) => ref s_lineStarts[(int)id * LineStartBytes];

    /// <summary>Length of a known name.</summary>
    internal static int LengthOf(HeaderId id) => s_names[(int)id].Length;

    /// <summary>True for <c>:method</c> and its like.</summary>
    internal static bool IsPseudo(HeaderId id) => id is >= HeaderId.Method and <= HeaderId.Protocol;

    /// <summary>The number of a lower-case name, or <see cref="HeaderId.Unknown"/>.</summary>
    internal static HeaderId Lookup(ReadOnlySpan<byte> lowerName)
    {
        int length = lowerName.Length;
        if (length == 0)
            return HeaderId.Unknown;
        var ends = EndsOf(lowerName);
        if (length <= ShortNameBytes)
            return LookupShort(ends.First, ends.Last, length);
        byte[] table = s_table;
        for (uint slot = Slot(ends.First, ends.Last, length); ; slot++)
        {
            int id = table[(int)(slot & (TableSize - 1))];
            if (id == 0)
                return HeaderId.Unknown;
            ref readonly var known = ref s_ends[id];
            if (known.First == ends.First && known.Last == ends.Last && known.Length == length && lowerName.SequenceEqual(s_names[id]))
                return (HeaderId)id;
        }
    }

    /// <summary>As <see cref="Lookup(ReadOnlySpan{byte})"/>, for a name of 1 to 16 bytes in a vector with zeroes behind it: a scanner has it at hand.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal static HeaderId Lookup(Vector128<byte> lowerName, int length)
    {
        Debug.Assert(length is > 0 and <= ShortNameBytes);
        var halves = lowerName.AsUInt64();
        return LookupShort(halves.ToScalar(), halves.GetElement(1), length);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static HeaderId LookupShort(ulong first, ulong last, int length)
    {
        // A slot is below the table's size and an entry below the names' number, so neither is checked against it.
        ref byte table = ref MemoryMarshal.GetArrayDataReference(s_table);
        ref var ends = ref MemoryMarshal.GetArrayDataReference(s_ends);
        for (uint slot = Slot(first, last, length); ; slot++)
        {
            uint id = Unsafe.Add(ref table, slot & (TableSize - 1));
            if (id == 0)
                return HeaderId.Unknown;
            ref readonly var known = ref Unsafe.Add(ref ends, id);
            if (known.First == first && known.Last == last && known.Length == length)
                return (HeaderId)id;
        }
    }

    /// <summary>What is compared first: all of a name up to <see cref="ShortNameBytes"/>, with zeroes behind it, or the first and last eight bytes of a longer one.</summary>
    private struct Ends
    {
        internal ulong First;
        internal ulong Last;
        internal int Length;
    }

    private static Ends EndsOf(ReadOnlySpan<byte> name)
    {
        int length = name.Length;
        var ends = new Ends { Length = length };
        if (length >= sizeof(ulong))
        {
            ends.First = BinaryPrimitives.ReadUInt64LittleEndian(name);
            ends.Last = BinaryPrimitives.ReadUInt64LittleEndian(name[^sizeof(ulong)..]);
            // What both have is kept once.
            if (length < ShortNameBytes)
                ends.Last = length == sizeof(ulong) ? 0 : ends.Last >> (ShortNameBytes - length) * 8;
        }
        else if (length >= sizeof(uint))
        {
            ends.First = BinaryPrimitives.ReadUInt32LittleEndian(name) | (ulong)BinaryPrimitives.ReadUInt32LittleEndian(name[^sizeof(uint)..]) << (length - sizeof(uint)) * 8;
        }
        else
        {
            ends.First = name[0] | (uint)name[length / 2] << length / 2 * 8 | (uint)name[length - 1] << (length - 1) * 8;
        }
        return ends;
    }

    // Known names only need to spread well among themselves; a peer's names cannot lengthen a probe.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static uint Slot(ulong first, ulong last, int length) => (uint)((first ^ BitOperations.RotateLeft(last, 27) ^ (uint)length) * 0x9E3779B97F4A7C15 >> 55);

    private static Ends[] BuildEnds()
    {
        var ends = new Ends[s_names.Length];
        for (int id = 1; id < ends.Length; id++)
            ends[id] = EndsOf(s_names[id]);
        return ends;
    }

    private static byte[] BuildTable()
    {
        var table = new byte[TableSize];
        for (int id = 1; id < s_names.Length; id++)
        {
            uint slot = Slot(s_ends[id].First, s_ends[id].Last, s_ends[id].Length);
            while (table[slot & (TableSize - 1)] != 0)
                slot++;
            table[slot & (TableSize - 1)] = (byte)id;
        }
        return table;
    }

    private static byte[] BuildLineStarts()
    {
        var lines = new byte[s_names.Length * LineStartBytes];
        for (int id = 0; id < s_names.Length; id++)
        {
            var line = lines.AsSpan(id * LineStartBytes, LineStartBytes);
            s_names[id].CopyTo(line);
            ": "u8.CopyTo(line[s_names[id].Length..]);
            line[^1] = (byte)(s_names[id].Length + 2);
        }
        return lines;
    }

    private static byte[][] Build()
    {
        var names = new byte[(int)HeaderId.Count][];
        names[0] = [];
        void Add(HeaderId id, string name) => names[(int)id] = Ascii.Bytes(name);

        Add(HeaderId.Method, ":method");
        Add(HeaderId.Scheme, ":scheme");
        Add(HeaderId.Authority, ":authority");
        Add(HeaderId.Path, ":path");
        Add(HeaderId.Protocol, ":protocol");
        Add(HeaderId.Accept, "accept");
        Add(HeaderId.AcceptEncoding, "accept-encoding");
        Add(HeaderId.AcceptLanguage, "accept-language");
        Add(HeaderId.AccessControlAllowCredentials, "access-control-allow-credentials");
        Add(HeaderId.AccessControlAllowHeaders, "access-control-allow-headers");
        Add(HeaderId.AccessControlAllowMethods, "access-control-allow-methods");
        Add(HeaderId.AccessControlAllowOrigin, "access-control-allow-origin");
        Add(HeaderId.AccessControlAllowPrivateNetwork, "access-control-allow-private-network");
        Add(HeaderId.AccessControlExposeHeaders, "access-control-expose-headers");
        Add(HeaderId.AccessControlMaxAge, "access-control-max-age");
        Add(HeaderId.AccessControlRequestHeaders, "access-control-request-headers");
        Add(HeaderId.AccessControlRequestMethod, "access-control-request-method");
        Add(HeaderId.AccessControlRequestPrivateNetwork, "access-control-request-private-network");
        Add(HeaderId.Authorization, "authorization");
        Add(HeaderId.CacheControl, "cache-control");
        Add(HeaderId.Connection, "connection");
        Add(HeaderId.ContentDisposition, "content-disposition");
        Add(HeaderId.ContentEncoding, "content-encoding");
        Add(HeaderId.ContentLength, "content-length");
        Add(HeaderId.ContentType, "content-type");
        Add(HeaderId.Cookie, "cookie");
        Add(HeaderId.Date, "date");
        Add(HeaderId.ETag, "etag");
        Add(HeaderId.Expect, "expect");
        Add(HeaderId.Expires, "expires");
        Add(HeaderId.GrpcEncoding, "grpc-encoding");
        Add(HeaderId.GrpcMessage, "grpc-message");
        Add(HeaderId.GrpcStatus, "grpc-status");
        Add(HeaderId.GrpcTimeout, "grpc-timeout");
        Add(HeaderId.Host, "host");
        Add(HeaderId.Http2Settings, "http2-settings");
        Add(HeaderId.IfModifiedSince, "if-modified-since");
        Add(HeaderId.IfNoneMatch, "if-none-match");
        Add(HeaderId.KeepAlive, "keep-alive");
        Add(HeaderId.LastModified, "last-modified");
        Add(HeaderId.Location, "location");
        Add(HeaderId.Origin, "origin");
        Add(HeaderId.ProxyAuthenticate, "proxy-authenticate");
        Add(HeaderId.ProxyConnection, "proxy-connection");
        Add(HeaderId.Range, "range");
        Add(HeaderId.Referer, "referer");
        Add(HeaderId.RetryAfter, "retry-after");
        Add(HeaderId.Server, "server");
        Add(HeaderId.SetCookie, "set-cookie");
        Add(HeaderId.Te, "te");
        Add(HeaderId.Trailer, "trailer");
        Add(HeaderId.TransferEncoding, "transfer-encoding");
        Add(HeaderId.Upgrade, "upgrade");
        Add(HeaderId.UserAgent, "user-agent");
        Add(HeaderId.Vary, "vary");
        Add(HeaderId.Via, "via");
        Add(HeaderId.XB3ParentSpanId, "x-b3-parentspanid");
        Add(HeaderId.XB3Sampled, "x-b3-sampled");
        Add(HeaderId.XB3SpanId, "x-b3-spanid");
        Add(HeaderId.XB3TraceId, "x-b3-traceid");
        Add(HeaderId.TraceParent, "traceparent");
        Add(HeaderId.TraceState, "tracestate");
        Add(HeaderId.XClientTraceId, "x-client-trace-id");
        Add(HeaderId.XEnvoyAttemptCount, "x-envoy-attempt-count");
        Add(HeaderId.XEnvoyDecoratorOperation, "x-envoy-decorator-operation");
        Add(HeaderId.XEnvoyDownstreamServiceCluster, "x-envoy-downstream-service-cluster");
        Add(HeaderId.XEnvoyDownstreamServiceNode, "x-envoy-downstream-service-node");
        Add(HeaderId.XEnvoyExpectedRequestTimeoutMs, "x-envoy-expected-rq-timeout-ms");
        Add(HeaderId.XEnvoyExternalAddress, "x-envoy-external-address");
        Add(HeaderId.XEnvoyForceTrace, "x-envoy-force-trace");
        Add(HeaderId.XEnvoyHedgeOnPerTryTimeout, "x-envoy-hedge-on-per-try-timeout");
        Add(HeaderId.XEnvoyInternal, "x-envoy-internal");
        Add(HeaderId.XEnvoyIpTags, "x-envoy-ip-tags");
        Add(HeaderId.XEnvoyIsTimeoutRetry, "x-envoy-is-timeout-retry");
        Add(HeaderId.XEnvoyMaxRetries, "x-envoy-max-retries");
        Add(HeaderId.XEnvoyOriginalDstHost, "x-envoy-original-dst-host");
        Add(HeaderId.XEnvoyOriginalMethod, "x-envoy-original-method");
        Add(HeaderId.XEnvoyOriginalPath, "x-envoy-original-path");
        Add(HeaderId.XEnvoyOverloaded, "x-envoy-overloaded");
        Add(HeaderId.XEnvoyPeerMetadata, "x-envoy-peer-metadata");
        Add(HeaderId.XEnvoyPeerMetadataId, "x-envoy-peer-metadata-id");
        Add(HeaderId.XEnvoyRateLimited, "x-envoy-ratelimited");
        Add(HeaderId.XEnvoyRetriableHeaderNames, "x-envoy-retriable-header-names");
        Add(HeaderId.XEnvoyRetriableStatusCodes, "x-envoy-retriable-status-codes");
        Add(HeaderId.XEnvoyRetryGrpcOn, "x-envoy-retry-grpc-on");
        Add(HeaderId.XEnvoyRetryOn, "x-envoy-retry-on");
        Add(HeaderId.XEnvoyUpstreamAltStatName, "x-envoy-upstream-alt-stat-name");
        Add(HeaderId.XEnvoyUpstreamCanary, "x-envoy-upstream-canary");
        Add(HeaderId.XEnvoyUpstreamHealthCheckedCluster, "x-envoy-upstream-healthchecked-cluster");
        Add(HeaderId.XEnvoyUpstreamRqPerTryTimeoutMs, "x-envoy-upstream-rq-per-try-timeout-ms");
        Add(HeaderId.XEnvoyUpstreamRqTimeoutAltResponse, "x-envoy-upstream-rq-timeout-alt-response");
        Add(HeaderId.XEnvoyUpstreamRqTimeoutMs, "x-envoy-upstream-rq-timeout-ms");
        Add(HeaderId.XEnvoyUpstreamServiceTime, "x-envoy-upstream-service-time");
        Add(HeaderId.XEnvoyDegraded, "x-envoy-degraded");
        Add(HeaderId.XEnvoyImmediateHealthCheckFail, "x-envoy-immediate-health-check-fail");
        Add(HeaderId.XEnvoyFaultAbortRequest, "x-envoy-fault-abort-request");
        Add(HeaderId.XEnvoyFaultAbortRequestPercentage, "x-envoy-fault-abort-request-percentage");
        Add(HeaderId.XEnvoyFaultAbortGrpcRequest, "x-envoy-fault-abort-grpc-request");
        Add(HeaderId.XEnvoyFaultDelayRequest, "x-envoy-fault-delay-request");
        Add(HeaderId.XEnvoyFaultDelayRequestPercentage, "x-envoy-fault-delay-request-percentage");
        Add(HeaderId.XEnvoyFaultThroughputResponse, "x-envoy-fault-throughput-response");
        Add(HeaderId.XEnvoyFaultThroughputResponsePercentage, "x-envoy-fault-throughput-response-percentage");
        Add(HeaderId.XForwardedClientCert, "x-forwarded-client-cert");
        Add(HeaderId.XForwardedFor, "x-forwarded-for");
        Add(HeaderId.XForwardedHost, "x-forwarded-host");
        Add(HeaderId.XForwardedPort, "x-forwarded-port");
        Add(HeaderId.XForwardedProto, "x-forwarded-proto");
        Add(HeaderId.XRealIp, "x-real-ip");
        Add(HeaderId.XRequestId, "x-request-id");
        return names;
    }
}
