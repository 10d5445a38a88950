using System;
using System.Collections.Generic;
using Encoding = System.Text.Encoding;
using StringBuilder = System.Text.StringBuilder;
using Sidecar.Http;
using Sidecar.Memory;
using Sidecar.Telemetry;

namespace Sidecar.Routing;

/// <summary>An address a format may name.</summary>
internal enum AddressFact : byte { DownstreamRemote, DownstreamDirectRemote, DownstreamLocal, UpstreamRemote }

/// <summary>How much of it.</summary>
internal enum AddressPart : byte { Whole, Host, Port }

/// <summary>What the operators of a <see cref="HeaderFormat"/> and the hash policies read: one stream's facts.</summary>
internal interface IHeaderFacts
{
    RequestHead Request { get; }
    ResponseHead? Response { get; }
    StreamInfo Info { get; }

    /// <summary>Writes nothing when there is no such address.</summary>
    void WriteAddress(AddressFact which, AddressPart part, ref SpanWriter writer);
}

/// <summary>
/// A header value with substitutions, <c>client %DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%</c>: Envoy's command operators as far as they make sense before the
/// stream is over.
/// </summary>
/// <remarks>Shared immutable; evaluation allocates nothing.</remarks>
internal sealed class HeaderFormat
{
    private delegate void Operator(IHeaderFacts facts, ref SpanWriter writer);

    private readonly record struct Piece(byte[] Literal, Operator? Operator, byte[] First, byte[] Second, int MaxLength);

    private readonly Piece[] _pieces;

    private HeaderFormat(Piece[] pieces) => _pieces = pieces;

    /// <summary>Parses a value.</summary>
    /// <returns>Null, with what is wrong in <paramref name="error"/>, for an unknown operator or an unpaired %.</returns>
    internal static HeaderFormat? TryParse(string text, out string error)
    {
        var pieces = new List<Piece>();
        var literal = new StringBuilder();
        error = "";
        int at = 0;
        while (at < text.Length)
        {
            if (text[at] != '%')
            {
                literal.Append(text[at++]);
                continue;
            }
            if (at + 1 < text.Length && text[at + 1] == '%')
            {
                literal.Append('%');
                at += 2;
                continue;
            }
            int end = text.IndexOf('%', at + 1);
            if (end < 0)
            {
                error = $"invalid header configuration. Un-terminated variable expression '{text[(at + 1)..]}'";
                return null;
            }
            Flush(pieces, literal);
            if (TryOperator(text[(at + 1)..end]) is not { } piece)
            {
                error = $"unsupported command operator '%{text[(at + 1)..end]}%'";
                return null;
            }
            pieces.Add(piece);
            at = end + 1;
        }
        Flush(pieces, literal);
        return new HeaderFormat(pieces.ToArray());
    }

    internal void Write(IHeaderFacts facts, ref SpanWriter writer)
    {
        foreach (ref readonly var piece in _pieces.AsSpan())
        {
            if (piece.Operator is not null)
                piece.Operator(facts, ref writer);
            else if (piece.First.Length > 0)
                WriteRequestField(in piece, facts.Request, ref writer);
            else
                writer.Write(piece.Literal);
        }
    }

    private static void Flush(List<Piece> pieces, StringBuilder literal)
    {
        if (literal.Length == 0)
            return;
        pieces.Add(new Piece(Encoding.UTF8.GetBytes(literal.ToString()), null, [], [], 0));
        literal.Clear();
    }

    private static void WriteRequestField(in Piece piece, RequestHead head, ref SpanWriter writer)
    {
        if (!head.TryGet(piece.First, out var value) && (piece.Second.Length == 0 || !head.TryGet(piece.Second, out value)))
            return;
        writer.Write(piece.MaxLength > 0 && value.Length > piece.MaxLength ? value[..piece.MaxLength] : value);
    }

    private static Piece? TryOperator(string text)
    {
        if (text.StartsWith("REQ(", StringComparison.Ordinal))
            return TryRequestField(text);
        Operator? known = text switch
        {
            "DOWNSTREAM_REMOTE_ADDRESS" => Address(AddressFact.DownstreamRemote, AddressPart.Whole),
            "DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT" => Address(AddressFact.DownstreamRemote, AddressPart.Host),
            "DOWNSTREAM_REMOTE_PORT" => Address(AddressFact.DownstreamRemote, AddressPart.Port),
            "DOWNSTREAM_DIRECT_REMOTE_ADDRESS" => Address(AddressFact.DownstreamDirectRemote, AddressPart.Whole),
            "DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT" => Address(AddressFact.DownstreamDirectRemote, AddressPart.Host),
            "DOWNSTREAM_DIRECT_REMOTE_PORT" => Address(AddressFact.DownstreamDirectRemote, AddressPart.Port),
            "DOWNSTREAM_LOCAL_ADDRESS" => Address(AddressFact.DownstreamLocal, AddressPart.Whole),
            "DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT" => Address(AddressFact.DownstreamLocal, AddressPart.Host),
            "DOWNSTREAM_LOCAL_PORT" => Address(AddressFact.DownstreamLocal, AddressPart.Port),
            "UPSTREAM_HOST" => static (IHeaderFacts facts, ref SpanWriter writer) => WriteText(facts.Info.UpstreamHost, ref writer),
            "UPSTREAM_CLUSTER" or "UPSTREAM_CLUSTER_RAW" => static (IHeaderFacts facts, ref SpanWriter writer) => WriteText(facts.Info.ClusterName, ref writer),
            "ROUTE_NAME" => static (IHeaderFacts facts, ref SpanWriter writer) => WriteText(facts.Info.RouteName, ref writer),
            "PROTOCOL" => static (IHeaderFacts facts, ref SpanWriter writer) => writer.Write(ProtocolName(facts.Info.Protocol)),
            "RESPONSE_CODE" => static (IHeaderFacts facts, ref SpanWriter writer) => writer.WriteDecimal(facts.Response?.Status ?? 0),
            "RESPONSE_CODE_DETAILS" => static (IHeaderFacts facts, ref SpanWriter writer) => WriteText(facts.Info.Details, ref writer),
            "RESPONSE_FLAGS" => static (IHeaderFacts facts, ref SpanWriter writer) => WriteText(ResponseFlagNames.Format(facts.Info.Flags), ref writer),
            "START_TIME" => WriteStartTime,
            "HOSTNAME" => static (IHeaderFacts facts, ref SpanWriter writer) => WriteText(Environment.MachineName, ref writer),
            _ => null,
        };
        return known is null ? null : new Piece([], known, [], [], 0);
    }

    // REQ(NAME?ALTERNATIVE):MAX
    private static Piece? TryRequestField(string text)
    {
        int close = text.IndexOf(')');
        if (close < 5)
            return null;
        int max = 0;
        if (close + 1 < text.Length && (text[close + 1] != ':' || !int.TryParse(text.AsSpan(close + 2), out max) || max <= 0))
            return null;
        string names = text[4..close].ToLowerInvariant();
        int question = names.IndexOf('?');
        string first = question < 0 ? names : names[..question];
        string second = question < 0 ? "" : names[(question + 1)..];
        return first.Length == 0 ? null : new Piece([], null, Ascii.Bytes(first), Ascii.Bytes(second), max);
    }

    private static Operator Address(AddressFact which, AddressPart part) =>
        (IHeaderFacts facts, ref SpanWriter writer) => facts.WriteAddress(which, part, ref writer);

    private static void WriteStartTime(IHeaderFacts facts, ref SpanWriter writer)
    {
        Span<byte> text = stackalloc byte[32];
        var time = DateTimeOffset.FromUnixTimeMilliseconds(facts.Info.StartUnixMs);
        if (time.TryFormat(text, out int length, "yyyy-MM-dd'T'HH:mm:ss.fff'Z'", System.Globalization.CultureInfo.InvariantCulture))
            writer.Write(text[..length]);
    }

    private static void WriteText(string text, ref SpanWriter writer)
    {
        Span<byte> bytes = stackalloc byte[512];
        if (Encoding.UTF8.TryGetBytes(text, bytes, out int length))
            writer.Write(bytes[..length]);
    }

    private static ReadOnlySpan<byte> ProtocolName(HttpVersion version) => version switch
    {
        HttpVersion.Http10 => "HTTP/1.0"u8,
        HttpVersion.Http2 => "HTTP/2"u8,
        _ => "HTTP/1.1"u8,
    };
}
