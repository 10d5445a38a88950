using System;
using System.Buffers.Binary;
using System.Runtime.Intrinsics;
using Sidecar.Http;
using Sidecar.Memory;
using Sidecar.Net;

namespace Sidecar.Downstream;

/// <summary>
/// Who a request comes from, and what it may say about itself: Envoy's rules for x-forwarded-for, x-forwarded-proto, x-request-id and the
/// <c>x-envoy-*</c> fields, which only a trusted hop may send.
/// </summary>
/// <remarks>Pure: changes the head it is given and returns the address; called once per request on its worker.</remarks>
internal static class ForwardingRules
{
    /// <summary>Fields by which a caller could steer retries, timeouts or stats: only from an internal address.</summary>
    private static readonly HeaderSet s_internalOnly = new(
        HeaderId.XEnvoyRetriableStatusCodes, HeaderId.XEnvoyRetriableHeaderNames, HeaderId.XEnvoyRetryOn, HeaderId.XEnvoyRetryGrpcOn,
        HeaderId.XEnvoyMaxRetries, HeaderId.XEnvoyUpstreamAltStatName, HeaderId.XEnvoyUpstreamRqTimeoutMs,
        HeaderId.XEnvoyUpstreamRqPerTryTimeoutMs, HeaderId.XEnvoyUpstreamRqTimeoutAltResponse, HeaderId.XEnvoyExpectedRequestTimeoutMs,
        HeaderId.XEnvoyForceTrace, HeaderId.XEnvoyIpTags, HeaderId.XEnvoyOriginalPath, HeaderId.XEnvoyHedgeOnPerTryTimeout,
        HeaderId.XEnvoyIsTimeoutRetry);

    /// <summary>Applies the rules.</summary>
    /// <param name="head">The request, changed in place.</param>
    /// <param name="peer">The connection's other end.</param>
    /// <param name="local">The connection's own address, for x-forwarded-port.</param>
    /// <param name="secure">True when the connection is TLS.</param>
    /// <param name="config">The connection manager's configuration.</param>
    /// <param name="random">For request ids.</param>
    /// <returns>The address the request is taken to come from.</returns>
    internal static Address Apply(RequestHead head, in Address peer, in Address local, bool secure, HttpConnectionManagerConfig config, FastRandom random)
    {
        var remote = peer;
        bool singleXffAddress;

        if (config.UseRemoteAddress)
        {
            // The peer is the client unless trusted proxies stand before us; then it is the address the last of them saw.
            singleXffAddress = !head.Contains(HeaderId.XForwardedFor);
            if (config.XffTrustedHops > 0 && TryFromRight(head.Get(HeaderId.XForwardedFor), config.XffTrustedHops, out var trusted))
                remote = trusted;
            if (!config.SkipXffAppend && peer.IsIp)
                AppendXff(head, peer);
            // The proxy before us may be believed about the scheme only when it is a trusted one.
            if (config.XffTrustedHops == 0 || !head.Contains(HeaderId.XForwardedProto))
                head.Set(HeaderId.XForwardedProto, SchemeOf(secure));
        }
        else
        {
            var xff = head.Get(HeaderId.XForwardedFor);
            singleXffAddress = xff.IndexOf((byte)',') < 0 && !xff.IsEmpty && head.CountOf(HeaderId.XForwardedFor) == 1;
            if (TryFromRight(xff, config.XffTrustedHops + 1, out var claimed))
                remote = claimed;
            if (!IsScheme(head.Get(HeaderId.XForwardedProto)))
                head.Set(HeaderId.XForwardedProto, SchemeOf(secure));
        }

        if (config.AppendXForwardedPort && !head.Contains(HeaderId.XForwardedPort))
            head.SetDecimal(HeaderId.XForwardedPort, local.Port);

        // The scheme of the request is what x-forwarded-proto says, once that can be believed (RFC 9110 section 4.2).
        if (config.SchemeOverwrite.Length > 0)
            head.Set(HeaderId.Scheme, config.SchemeOverwrite);
        else if (!IsScheme(head.Get(HeaderId.Scheme)))
            head.Set(HeaderId.Scheme, head.Get(HeaderId.XForwardedProto));

        bool isInternal = singleXffAddress && IsInternal(in remote, config);
        bool isEdge = !isInternal && config.UseRemoteAddress;
        if (isInternal)
        {
            head.Set(HeaderId.XEnvoyInternal, "true"u8);
        }
        else
        {
            head.Remove(HeaderId.XEnvoyInternal);
            if (isEdge)
            {
                head.Remove(HeaderId.XEnvoyDecoratorOperation);
                head.Remove(HeaderId.XEnvoyDownstreamServiceCluster);
                head.Remove(HeaderId.XEnvoyDownstreamServiceNode);
                SetExternalAddress(head, remote);
            }
            head.Remove(s_internalOnly);
        }

        if (config.GenerateRequestId && (!head.Contains(HeaderId.XRequestId) || (isEdge && !config.PreserveExternalRequestId)))
            SetRequestId(head, random);

        if (config.Via.Length > 0)
            head.AppendValue(HeaderId.Via, config.Via, ", "u8);
        return remote;
    }

    /// <summary>The n-th address of an x-forwarded-for list, counted from the right, from 1.</summary>
    internal static bool TryFromRight(ReadOnlySpan<byte> xff, int position, out Address address)
    {
        address = default;
        while (!xff.IsEmpty)
        {
            int comma = xff.LastIndexOf((byte)',');
            if (position == 1)
                return Address.TryParseIp(Ascii.TrimOws(xff[(comma + 1)..]), out address);
            if (comma < 0)
                return false;
            xff = xff[..comma];
            position--;
        }
        return false;
    }

    /// <summary>A random UUID (RFC 9562 version 4) as x-request-id.</summary>
    internal static void SetRequestId(HeaderMap head, FastRandom random)
    {
        Span<byte> text = stackalloc byte[36];
        FormatUuid(random.NextUInt64(), random.NextUInt64(), text);
        head.Set(HeaderId.XRequestId, text);
    }

    /// <summary>Formats 128 random bits as a version 4, variant 1 UUID.</summary>
    internal static void FormatUuid(ulong high, ulong low, Span<byte> text)
    {
        high = (high & ~0xF000UL) | 0x4000;
        low = (low & ~(3UL << 62)) | (2UL << 62);
        text = text[..36];
        var bytes = Vector128.Create(BinaryPrimitives.ReverseEndianness(high), BinaryPrimitives.ReverseEndianness(low)).AsByte();
        var upper = HexDigits((bytes.AsUInt16() >> 4).AsByte());
        var lower = HexDigits(bytes);
        // The digits in order: of each byte the upper half's before the lower's.
        var front = (Vector128.WidenLower(upper) | Vector128.WidenLower(lower) << 8).AsUInt64();
        var back = (Vector128.WidenUpper(upper) | Vector128.WidenUpper(lower) << 8).AsUInt64();
        BinaryPrimitives.WriteUInt64LittleEndian(text, front[0]);
        text[8] = (byte)'-';
        BinaryPrimitives.WriteUInt32LittleEndian(text[9..], (uint)front[1]);
        text[13] = (byte)'-';
        BinaryPrimitives.WriteUInt32LittleEndian(text[14..], (uint)(front[1] >> 32));
        text[18] = (byte)'-';
        BinaryPrimitives.WriteUInt32LittleEndian(text[19..], (uint)back[0]);
        text[23] = (byte)'-';
        BinaryPrimitives.WriteUInt32LittleEndian(text[24..], (uint)(back[0] >> 32));
        BinaryPrimitives.WriteUInt64LittleEndian(text[28..], back[1]);
    }

    // The digit of each byte's lower half.
    private static Vector128<byte> HexDigits(Vector128<byte> bytes) =>
        Vector128.ShuffleNative(Vector128.Create("0123456789abcdef"u8), bytes & Vector128.Create((byte)0x0F));

    private static void AppendXff(RequestHead head, in Address peer)
    {
        Span<byte> text = stackalloc byte[Address.TextBytesMax];
        head.AppendValue(HeaderId.XForwardedFor, text[..peer.FormatHost(text)], ","u8);
    }

    private static void SetExternalAddress(RequestHead head, in Address remote)
    {
        if (!remote.IsIp)
            return;
        Span<byte> text = stackalloc byte[Address.TextBytesMax];
        head.Set(HeaderId.XEnvoyExternalAddress, text[..remote.FormatHost(text)]);
    }

    private static bool IsInternal(in Address address, HttpConnectionManagerConfig config)
    {
        if (!address.IsIp)
            return config.UnixSocketsAreInternal;
        foreach (var cidr in config.InternalCidrs)
        {
            if (cidr.Contains(in address))
                return true;
        }
        return false;
    }

    private static bool IsScheme(ReadOnlySpan<byte> value) => value.SequenceEqual("http"u8) || value.SequenceEqual("https"u8);

    private static ReadOnlySpan<byte> SchemeOf(bool secure) => secure ? "https"u8 : "http"u8;
}
