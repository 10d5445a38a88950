using System;
using System.Collections.Generic;
using System.Globalization;
using Encoding = System.Text.Encoding;
using StringBuilder = System.Text.StringBuilder;
using Sidecar.Http;
using Sidecar.Memory;
using Sidecar.Telemetry;

namespace Sidecar.Routing;

/// <summary>An address a format may name.</summary>
internal enum AddressFact : byte { DownstreamRemote, DownstreamDirectRemote, DownstreamLocal }

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
/// A header value with substitutions, <c>client %DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%</c>: Envoy's command operators. What is not there (yet) is written as nothing,
/// as Envoy does in headers; so are the facts this proxy does not gather, and the configuration's report names those.
/// </summary>
/// <remarks>Shared immutable; evaluation allocates nothing.</remarks>
internal sealed class HeaderFormat
{
    private delegate void Operator(IHeaderFacts facts, ref SpanWriter writer);

    /// <summary>Makes an operator of what stands in its parentheses; null when that is not acceptable.</summary>
    private delegate Operator? Factory(string argument);

    /// <param name="Create">Null: a fact that is not gathered.</param>
    /// <param name="Argument">Whether parentheses may, must or must not follow.</param>
    private sealed record Command(Factory? Create, Argument Argument);

    private enum Argument : byte { None, Optional, Required }

    private readonly record struct Piece(byte[] Literal, Operator? Operator, int MaxLength);

    private readonly Piece[] _pieces;

    private HeaderFormat(Piece[] pieces, string[] notGathered)
    {
        _pieces = pieces;
        NotGathered = notGathered;
    }

    /// <summary>Operators in it that always come out empty, because nothing here gathers what they name.</summary>
    internal string[] NotGathered { get; }

    /// <summary>Parses a value.</summary>
    /// <returns>Null, with Envoy's text for what is wrong in <paramref name="error"/>.</returns>
    internal static HeaderFormat? TryParse(string text, out string error)
    {
        var pieces = new List<Piece>();
        var notGathered = new List<string>();
        var literal = new StringBuilder();
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
            Flush(pieces, literal);
            int end = TryCommand(text, at, out string name, out string? argument, out int maxLength);
            if (end < 0)
            {
                error = $"Incorrect configuration: {text}. Couldn't find valid command at position {at}";
                return null;
            }
            if (!s_commands.TryGetValue(name, out var command))
            {
                error = $"Not supported field in StreamInfo: {name}";
                return null;
            }
            if (argument is null ? command.Argument == Argument.Required : command.Argument == Argument.None)
            {
                error = argument is null ? $"{name} requires parameters" : $"{name} does not take any parameters";
                return null;
            }
            if (command.Create is null)
            {
                notGathered.Add(name);
            }
            else if (command.Create(argument ?? "") is { } made)
            {
                pieces.Add(new Piece([], made, maxLength));
            }
            else
            {
                error = $"Incorrect configuration: {text}. Invalid parameters of {name} at position {at}";
                return null;
            }
            at = end;
        }
        Flush(pieces, literal);
        error = "";
        return new HeaderFormat(pieces.ToArray(), notGathered.ToArray());
    }

    internal void Write(IHeaderFacts facts, ref SpanWriter writer)
    {
        foreach (ref readonly var piece in _pieces.AsSpan())
        {
            if (piece.Operator is null)
            {
                writer.Write(piece.Literal);
                continue;
            }
            int start = writer.Length;
            piece.Operator(facts, ref writer);
            if (piece.MaxLength > 0)
                writer.Truncate(start + piece.MaxLength);
        }
    }

    private static void Flush(List<Piece> pieces, StringBuilder literal)
    {
        if (literal.Length == 0)
            return;
        pieces.Add(new Piece(Encoding.UTF8.GetBytes(literal.ToString()), null, 0));
        literal.Clear();
    }

    // %NAME%, %NAME(ARGUMENT)%, %NAME(ARGUMENT):LENGTH%; the argument may hold '%' (START_TIME) but no ')'. Returns the position after it, or -1.
    private static int TryCommand(string text, int percent, out string name, out string? argument, out int maxLength)
    {
        int at = percent + 1;
        while (at < text.Length && (char.IsAsciiLetterUpper(text[at]) || char.IsAsciiDigit(text[at]) || text[at] == '_'))
            at++;
        name = text[(percent + 1)..at];
        argument = null;
        maxLength = 0;
        if (at < text.Length && text[at] == '(')
        {
            int close = text.IndexOf(')', at);
            if (close < 0)
                return -1;
            argument = text[(at + 1)..close];
            at = close + 1;
        }
        if (at < text.Length && text[at] == ':')
        {
            int digits = at + 1;
            while (digits < text.Length && char.IsAsciiDigit(text[digits]))
                digits++;
            if (!int.TryParse(text.AsSpan(at + 1, digits - at - 1), NumberStyles.None, CultureInfo.InvariantCulture, out maxLength) || maxLength == 0)
                return -1;
            at = digits;
        }
        return name.Length > 0 && at < text.Length && text[at] == '%' ? at + 1 : -1;
    }

    // ---- the operators: one line each -----------------------------------------------------------------------------

    private static readonly Dictionary<string, Command> s_commands = new(StringComparer.Ordinal)
    {
        ["REQ"] = With(text => Field(text, static facts => facts.Request)),
        ["REQ_WITHOUT_QUERY"] = With(text => Field(text, static facts => facts.Request, withoutQuery: true)),
        ["RESP"] = With(text => Field(text, static facts => facts.Response)),
        ["START_TIME"] = new(StartTime, Argument.Optional),
        ["ENVIRONMENT"] = With(static name => Constant(Environment.GetEnvironmentVariable(name) ?? "")),
        ["HOSTNAME"] = new(static _ => Constant(Environment.MachineName), Argument.None),
        ["PROTOCOL"] = Plain(static (IHeaderFacts facts, ref SpanWriter writer) => writer.Write(ProtocolName(facts.Info.Protocol))),
        ["REQUEST_PROTOCOL"] = Plain(static (IHeaderFacts facts, ref SpanWriter writer) => writer.Write(ProtocolName(facts.Info.Protocol))),

        ["DOWNSTREAM_REMOTE_ADDRESS"] = Address(AddressFact.DownstreamRemote, AddressPart.Whole),
        ["DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT"] = Address(AddressFact.DownstreamRemote, AddressPart.Host),
        ["DOWNSTREAM_REMOTE_PORT"] = Address(AddressFact.DownstreamRemote, AddressPart.Port),
        ["DOWNSTREAM_DIRECT_REMOTE_ADDRESS"] = Address(AddressFact.DownstreamDirectRemote, AddressPart.Whole),
        ["DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT"] = Address(AddressFact.DownstreamDirectRemote, AddressPart.Host),
        ["DOWNSTREAM_DIRECT_REMOTE_PORT"] = Address(AddressFact.DownstreamDirectRemote, AddressPart.Port),
        ["DOWNSTREAM_LOCAL_ADDRESS"] = Address(AddressFact.DownstreamLocal, AddressPart.Whole),
        ["DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT"] = Address(AddressFact.DownstreamLocal, AddressPart.Host),
        ["DOWNSTREAM_LOCAL_PORT"] = Address(AddressFact.DownstreamLocal, AddressPart.Port),

        ["UPSTREAM_HOST"] = Plain(static (IHeaderFacts facts, ref SpanWriter writer) => WriteText(facts.Info.UpstreamHost, ref writer)),
        ["UPSTREAM_REMOTE_ADDRESS"] = Plain(static (IHeaderFacts facts, ref SpanWriter writer) => WriteText(facts.Info.UpstreamHost, ref writer)),
        ["UPSTREAM_REMOTE_ADDRESS_WITHOUT_PORT"] = Plain(static (IHeaderFacts facts, ref SpanWriter writer) => WriteText(facts.Info.UpstreamHost.AsSpan(0, PortColon(facts.Info.UpstreamHost)), ref writer)),
        ["UPSTREAM_REMOTE_PORT"] = Plain(static (IHeaderFacts facts, ref SpanWriter writer) => WriteText(AfterColon(facts.Info.UpstreamHost), ref writer)),
        ["UPSTREAM_CLUSTER"] = Plain(static (IHeaderFacts facts, ref SpanWriter writer) => WriteText(facts.Info.ClusterName, ref writer)),
        ["UPSTREAM_CLUSTER_RAW"] = Plain(static (IHeaderFacts facts, ref SpanWriter writer) => WriteText(facts.Info.ClusterName, ref writer)),
        ["UPSTREAM_REQUEST_ATTEMPT_COUNT"] = Plain(static (IHeaderFacts facts, ref SpanWriter writer) => writer.WriteDecimal(facts.Info.Attempts)),
        ["UPSTREAM_TRANSPORT_FAILURE_REASON"] = Plain(static (IHeaderFacts facts, ref SpanWriter writer) => WriteText(facts.Info.UpstreamTransportFailure, ref writer)),

        ["ROUTE_NAME"] = Plain(static (IHeaderFacts facts, ref SpanWriter writer) => WriteText(facts.Info.RouteName, ref writer)),
        ["FILTER_CHAIN_NAME"] = Plain(static (IHeaderFacts facts, ref SpanWriter writer) => WriteText(facts.Info.FilterChainName, ref writer)),
        ["RESPONSE_CODE"] = Plain(static (IHeaderFacts facts, ref SpanWriter writer) => writer.WriteDecimal(facts.Response?.Status ?? 0)),
        ["RESPONSE_CODE_DETAILS"] = Plain(static (IHeaderFacts facts, ref SpanWriter writer) => WriteText(facts.Info.Details, ref writer)),
        ["RESPONSE_FLAGS"] = Plain(static (IHeaderFacts facts, ref SpanWriter writer) => WriteText(ResponseFlagNames.Format(facts.Info.Flags), ref writer)),
        ["BYTES_RECEIVED"] = Plain(static (IHeaderFacts facts, ref SpanWriter writer) => writer.WriteDecimal(facts.Info.BytesReceived)),
        ["BYTES_SENT"] = Plain(static (IHeaderFacts facts, ref SpanWriter writer) => writer.WriteDecimal(facts.Info.BytesSent)),

        // Facts of a stream that has ended: a header is written before, by Envoy as well.
        ["TRAILER"] = With(static _ => Nothing),
        ["DURATION"] = Plain(Nothing),
        ["RESPONSE_TX_DURATION"] = Plain(Nothing),
        ["GRPC_STATUS"] = new(static _ => Nothing, Argument.Optional),
        ["GRPC_STATUS_NUMBER"] = Plain(Nothing),

        // What only TLS connections have; without one nothing is written, as in Envoy.
        ["DOWNSTREAM_TLS_VERSION"] = Plain(static (IHeaderFacts facts, ref SpanWriter writer) => WriteText(facts.Info.DownstreamTls?.Version, ref writer)),
        ["DOWNSTREAM_TLS_CIPHER"] = Plain(static (IHeaderFacts facts, ref SpanWriter writer) => WriteText(facts.Info.DownstreamTls?.Cipher, ref writer)),
        ["DOWNSTREAM_TLS_SESSION_ID"] = Plain(static (IHeaderFacts facts, ref SpanWriter writer) => WriteHex(facts.Info.DownstreamTls?.SessionId, ref writer)),
        ["DOWNSTREAM_PEER_CERT"] = Plain(static (IHeaderFacts facts, ref SpanWriter writer) => WriteText(facts.Info.DownstreamTls?.Peer?.UrlEncodedPem, ref writer)),
        ["DOWNSTREAM_PEER_CERT_V_START"] = NotGatheredYet(Argument.Optional),
        ["DOWNSTREAM_PEER_CERT_V_END"] = NotGatheredYet(Argument.Optional),
        ["DOWNSTREAM_PEER_FINGERPRINT_1"] = Plain(static (IHeaderFacts facts, ref SpanWriter writer) => WriteText(facts.Info.DownstreamTls?.Peer?.Sha1, ref writer)),
        ["DOWNSTREAM_PEER_FINGERPRINT_256"] = Plain(static (IHeaderFacts facts, ref SpanWriter writer) => WriteText(facts.Info.DownstreamTls?.Peer?.Sha256, ref writer)),
        ["DOWNSTREAM_PEER_SERIAL"] = Plain(static (IHeaderFacts facts, ref SpanWriter writer) => WriteText(facts.Info.DownstreamTls?.Peer?.Serial, ref writer)),
        ["DOWNSTREAM_PEER_SUBJECT"] = Plain(static (IHeaderFacts facts, ref SpanWriter writer) => WriteName(facts.Info.DownstreamTls?.Peer?.Subject, ref writer)),
        ["DOWNSTREAM_PEER_ISSUER"] = Plain(static (IHeaderFacts facts, ref SpanWriter writer) => WriteName(facts.Info.DownstreamTls?.Peer?.Issuer, ref writer)),
        ["DOWNSTREAM_PEER_URI_SAN"] = Plain(static (IHeaderFacts facts, ref SpanWriter writer) => WriteList(facts.Info.DownstreamTls?.Peer?.UriSans, ref writer)),
        ["DOWNSTREAM_PEER_DNS_SAN"] = Plain(static (IHeaderFacts facts, ref SpanWriter writer) => WriteList(facts.Info.DownstreamTls?.Peer?.DnsSans, ref writer)),
        ["DOWNSTREAM_PEER_IP_SAN"] = Plain(static (IHeaderFacts facts, ref SpanWriter writer) => WriteList(facts.Info.DownstreamTls?.Peer?.IpSans, ref writer)),
        ["DOWNSTREAM_LOCAL_SUBJECT"] = Plain(static (IHeaderFacts facts, ref SpanWriter writer) => WriteName(facts.Info.DownstreamTls?.Local?.Subject, ref writer)),
        ["DOWNSTREAM_LOCAL_URI_SAN"] = Plain(static (IHeaderFacts facts, ref SpanWriter writer) => WriteList(facts.Info.DownstreamTls?.Local?.UriSans, ref writer)),
        ["DOWNSTREAM_LOCAL_DNS_SAN"] = Plain(static (IHeaderFacts facts, ref SpanWriter writer) => WriteList(facts.Info.DownstreamTls?.Local?.DnsSans, ref writer)),
        ["DOWNSTREAM_LOCAL_IP_SAN"] = Plain(static (IHeaderFacts facts, ref SpanWriter writer) => WriteList(facts.Info.DownstreamTls?.Local?.IpSans, ref writer)),
        ["DOWNSTREAM_TRANSPORT_FAILURE_REASON"] = NotGatheredYet(Argument.None),
        ["TLS_JA3_FINGERPRINT"] = NotGatheredYet(Argument.None),
        ["TLS_JA4_FINGERPRINT"] = NotGatheredYet(Argument.None),
        ["REQUESTED_SERVER_NAME"] = new(static argument => argument.Length > 0 ? null : static (IHeaderFacts facts, ref SpanWriter writer) => WriteName(facts.Info.DownstreamTls?.ServerName, ref writer), Argument.Optional),
        ["UPSTREAM_TLS_VERSION"] = Plain(static (IHeaderFacts facts, ref SpanWriter writer) => WriteText(facts.Info.UpstreamTls?.Version, ref writer)),
        ["UPSTREAM_TLS_CIPHER"] = Plain(static (IHeaderFacts facts, ref SpanWriter writer) => WriteText(facts.Info.UpstreamTls?.Cipher, ref writer)),
        ["UPSTREAM_TLS_SESSION_ID"] = Plain(static (IHeaderFacts facts, ref SpanWriter writer) => WriteHex(facts.Info.UpstreamTls?.SessionId, ref writer)),
        ["UPSTREAM_PEER_CERT"] = Plain(static (IHeaderFacts facts, ref SpanWriter writer) => WriteText(facts.Info.UpstreamTls?.Peer?.UrlEncodedPem, ref writer)),
        ["UPSTREAM_PEER_CERT_V_START"] = NotGatheredYet(Argument.Optional),
        ["UPSTREAM_PEER_CERT_V_END"] = NotGatheredYet(Argument.Optional),
        ["UPSTREAM_PEER_SUBJECT"] = Plain(static (IHeaderFacts facts, ref SpanWriter writer) => WriteName(facts.Info.UpstreamTls?.Peer?.Subject, ref writer)),
        ["UPSTREAM_PEER_ISSUER"] = Plain(static (IHeaderFacts facts, ref SpanWriter writer) => WriteName(facts.Info.UpstreamTls?.Peer?.Issuer, ref writer)),
        ["UPSTREAM_PEER_URI_SAN"] = Plain(static (IHeaderFacts facts, ref SpanWriter writer) => WriteList(facts.Info.UpstreamTls?.Peer?.UriSans, ref writer)),
        ["UPSTREAM_PEER_DNS_SAN"] = Plain(static (IHeaderFacts facts, ref SpanWriter writer) => WriteList(facts.Info.UpstreamTls?.Peer?.DnsSans, ref writer)),
        ["UPSTREAM_PEER_IP_SAN"] = Plain(static (IHeaderFacts facts, ref SpanWriter writer) => WriteList(facts.Info.UpstreamTls?.Peer?.IpSans, ref writer)),
        ["UPSTREAM_LOCAL_SUBJECT"] = Plain(static (IHeaderFacts facts, ref SpanWriter writer) => WriteName(facts.Info.UpstreamTls?.Local?.Subject, ref writer)),
        ["UPSTREAM_LOCAL_URI_SAN"] = Plain(static (IHeaderFacts facts, ref SpanWriter writer) => WriteList(facts.Info.UpstreamTls?.Local?.UriSans, ref writer)),
        ["UPSTREAM_LOCAL_DNS_SAN"] = Plain(static (IHeaderFacts facts, ref SpanWriter writer) => WriteList(facts.Info.UpstreamTls?.Local?.DnsSans, ref writer)),
        ["UPSTREAM_LOCAL_IP_SAN"] = Plain(static (IHeaderFacts facts, ref SpanWriter writer) => WriteList(facts.Info.UpstreamTls?.Local?.IpSans, ref writer)),

        // Others that are Envoy's and not gathered here.
        ["DYNAMIC_METADATA"] = NotGatheredYet(Argument.Required),
        ["CLUSTER_METADATA"] = NotGatheredYet(Argument.Required),
        ["UPSTREAM_METADATA"] = NotGatheredYet(Argument.Required),
        ["METADATA"] = NotGatheredYet(Argument.Required),
        ["FILTER_STATE"] = NotGatheredYet(Argument.Required),
        ["UPSTREAM_FILTER_STATE"] = NotGatheredYet(Argument.Required),
        ["PER_REQUEST_STATE"] = NotGatheredYet(Argument.Required),
        ["COMMON_DURATION"] = NotGatheredYet(Argument.Required),
        ["CUSTOM_FLAGS"] = NotGatheredYet(Argument.None),
        ["RESPONSE_FLAGS_LONG"] = NotGatheredYet(Argument.None),
        ["CONNECTION_TERMINATION_DETAILS"] = NotGatheredYet(Argument.None),
        ["CONNECTION_ID"] = NotGatheredYet(Argument.None),
        ["STREAM_ID"] = NotGatheredYet(Argument.None),
        ["UNIQUE_ID"] = NotGatheredYet(Argument.None),
        ["TRACE_ID"] = NotGatheredYet(Argument.None),
        ["SPAN_ID"] = NotGatheredYet(Argument.None),
        ["VIRTUAL_CLUSTER_NAME"] = NotGatheredYet(Argument.None),
        ["UPSTREAM_CONNECTION_ID"] = NotGatheredYet(Argument.None),
        ["UPSTREAM_CONNECTION_POOL_READY_DURATION"] = NotGatheredYet(Argument.None),
        ["UPSTREAM_HOST_NAME"] = NotGatheredYet(Argument.None),
        ["UPSTREAM_HOST_NAME_WITHOUT_PORT"] = NotGatheredYet(Argument.None),
        ["UPSTREAM_PROTOCOL"] = NotGatheredYet(Argument.None),
        ["UPSTREAM_LOCAL_ADDRESS"] = NotGatheredYet(Argument.None),
        ["UPSTREAM_LOCAL_ADDRESS_WITHOUT_PORT"] = NotGatheredYet(Argument.None),
        ["UPSTREAM_LOCAL_PORT"] = NotGatheredYet(Argument.None),
        ["UPSTREAM_LOCAL_CLOSE_REASON"] = NotGatheredYet(Argument.None),
        ["UPSTREAM_DETECTED_CLOSE_TYPE"] = NotGatheredYet(Argument.None),
        ["DOWNSTREAM_LOCAL_CLOSE_REASON"] = NotGatheredYet(Argument.None),
        ["DOWNSTREAM_DETECTED_CLOSE_TYPE"] = NotGatheredYet(Argument.None),
        ["REQUEST_DURATION"] = NotGatheredYet(Argument.None),
        ["REQUEST_TX_DURATION"] = NotGatheredYet(Argument.None),
        ["RESPONSE_DURATION"] = NotGatheredYet(Argument.None),
        ["DOWNSTREAM_HANDSHAKE_DURATION"] = NotGatheredYet(Argument.None),
        ["ROUNDTRIP_DURATION"] = NotGatheredYet(Argument.None),
        ["REQUEST_HEADERS_BYTES"] = NotGatheredYet(Argument.None),
        ["RESPONSE_HEADERS_BYTES"] = NotGatheredYet(Argument.None),
        ["RESPONSE_TRAILERS_BYTES"] = NotGatheredYet(Argument.None),
        ["BYTES_RETRANSMITTED"] = NotGatheredYet(Argument.None),
        ["PACKETS_RETRANSMITTED"] = NotGatheredYet(Argument.None),
        ["UPSTREAM_WIRE_BYTES_SENT"] = NotGatheredYet(Argument.None),
        ["UPSTREAM_WIRE_BYTES_RECEIVED"] = NotGatheredYet(Argument.None),
        ["UPSTREAM_HEADER_BYTES_SENT"] = NotGatheredYet(Argument.None),
        ["UPSTREAM_HEADER_BYTES_RECEIVED"] = NotGatheredYet(Argument.None),
        ["DOWNSTREAM_WIRE_BYTES_SENT"] = NotGatheredYet(Argument.None),
        ["DOWNSTREAM_WIRE_BYTES_RECEIVED"] = NotGatheredYet(Argument.None),
        ["DOWNSTREAM_HEADER_BYTES_SENT"] = NotGatheredYet(Argument.None),
        ["DOWNSTREAM_HEADER_BYTES_RECEIVED"] = NotGatheredYet(Argument.None),
        ["LOCAL_REPLY_BODY"] = NotGatheredYet(Argument.None),
        ["PATH"] = NotGatheredYet(Argument.Optional),
        ["QUERY_PARAM"] = NotGatheredYet(Argument.Required),
        ["QUERY_PARAMS"] = NotGatheredYet(Argument.Optional),
        ["EMIT_TIME"] = NotGatheredYet(Argument.Optional),
        ["ACCESS_LOG_TYPE"] = NotGatheredYet(Argument.None),
    };

    private static Command With(Factory create) => new(create, Argument.Required);

    private static Command Plain(Operator write) => new(_ => write, Argument.None);

    private static Command NotGatheredYet(Argument argument) => new(null, argument);

    private static Command Address(AddressFact which, AddressPart part) =>
        Plain((IHeaderFacts facts, ref SpanWriter writer) => facts.WriteAddress(which, part, ref writer));

    private static Operator Constant(string text)
    {
        byte[] bytes = Encoding.UTF8.GetBytes(text);
        return (IHeaderFacts _, ref SpanWriter writer) => writer.Write(bytes);
    }

    private static void Nothing(IHeaderFacts facts, ref SpanWriter writer) { }

    private static Operator? StartTime(string argument) =>
        (argument.Length == 0 ? TimeFormat.Iso8601 : TimeFormat.TryParse(argument, out _)) is { } format
            ? (IHeaderFacts facts, ref SpanWriter writer) => format.Write(facts.Info.StartUnixMs, ref writer)
            : null;

    // NAME or NAME?ALTERNATIVE
    private static Operator? Field(string text, Func<IHeaderFacts, HeaderMap?> message, bool withoutQuery = false)
    {
        string names = text.ToLowerInvariant();
        int question = names.IndexOf('?');
        byte[] first = FieldName(question < 0 ? names : names[..question]);
        byte[] second = FieldName(question < 0 ? "" : names[(question + 1)..]);
        if (first.Length == 0)
            return null;
        return (IHeaderFacts facts, ref SpanWriter writer) =>
        {
            if (message(facts) is not { } map || (!map.TryGet(first, out var value) && (second.Length == 0 || !map.TryGet(second, out value))))
                return;
            writer.Write(withoutQuery ? RouteInput.WithoutQuery(value) : value);
        };
    }

    private static byte[] FieldName(string name) => Ascii.Bytes(name == "host" ? ":authority" : name);

    // Position of the colon before the port of "1.2.3.4:80", or the text's length.
    private static int PortColon(string address)
    {
        int colon = address.LastIndexOf(':');
        return colon < 0 ? address.Length : colon;
    }

    private static ReadOnlySpan<char> AfterColon(string address) => address.AsSpan(Math.Min(PortColon(address) + 1, address.Length));

    // What an authority has let into a certificate must not end a header field or a line.
    private static void WriteName(string? name, ref SpanWriter writer)
    {
        if (name is null)
            return;
        bool harmless = true;
        foreach (char c in name)
            harmless &= c is >= ' ' and not '\x7f';
        if (harmless)
        {
            WriteText(name, ref writer);
            return;
        }
        var escaped = new StringBuilder(name.Length + 8);
        foreach (char c in name)
        {
            if (c is < ' ' or '\x7f')
                escaped.Append('%').Append(((int)c).ToString("X2", CultureInfo.InvariantCulture));
            else
                escaped.Append(c);
        }
        WriteText(escaped.ToString(), ref writer);
    }

    private static void WriteList(IReadOnlyList<string>? names, ref SpanWriter writer)
    {
        for (int i = 0; i < (names?.Count ?? 0); i++)
        {
            if (i > 0)
                writer.Write(","u8);
            WriteName(names![i], ref writer);
        }
    }

    private static void WriteHex(byte[]? bytes, ref SpanWriter writer)
    {
        foreach (byte b in bytes ?? [])
            writer.Write(["0123456789abcdef"u8[b >> 4], "0123456789abcdef"u8[b & 15]]);
    }

    private static void WriteText(ReadOnlySpan<char> text, ref SpanWriter writer)
    {
        // In pieces, so that no length is too long; a pair of surrogates is not cut apart.
        Span<byte> bytes = stackalloc byte[3 * 64];
        while (!text.IsEmpty)
        {
            int take = Math.Min(text.Length, 64);
            if (take < text.Length && char.IsHighSurrogate(text[take - 1]))
                take--;
            writer.Write(bytes[..Encoding.UTF8.GetBytes(text[..take], bytes)]);
            text = text[take..];
        }
    }

    private static ReadOnlySpan<byte> ProtocolName(HttpVersion version) => version switch
    {
        HttpVersion.Http10 => "HTTP/1.0"u8,
        HttpVersion.Http2 => "HTTP/2"u8,
        _ => "HTTP/1.1"u8,
    };
}
