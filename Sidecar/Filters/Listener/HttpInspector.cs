using System;
using Sidecar.Http.H2;
using Sidecar.Telemetry.Stats;

namespace Sidecar.Filters.Listener;

using Wire = global::Envoy.Extensions.Filters.Listener.HttpInspector.V3;

/// <summary>
/// Tells HTTP in the clear from anything else by the first line, and notes the version as an application protocol: <c>http/1.0</c>, <c>http/1.1</c>,
/// <c>h2c</c>. Passed over when the bytes are known to be TLS. Envoy: envoy.filters.listener.http_inspector.
/// </summary>
/// <remarks>Shared immutable.</remarks>
internal sealed class HttpInspector(StatsScope stats) : ListenerFilter
{
    /// <summary>Envoy's bound: a request line that has no end by then is nobody's.</summary>
    private const int LineBytesMax = 64 * 1024;

    /// <summary>IANA's registry, as far as Envoy's parsers know it. Anything else in front of a line is not HTTP: it may be the first word of another protocol.</summary>
    private static readonly string[] s_methods =
    [
        "GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH", "CONNECT", "TRACE", "COPY", "LOCK", "MKCOL", "MOVE", "PROPFIND", "PROPPATCH", "SEARCH",
        "UNLOCK", "BIND", "REBIND", "UNBIND", "ACL", "REPORT", "MKACTIVITY", "CHECKOUT", "MERGE", "M-SEARCH", "NOTIFY", "SUBSCRIBE", "UNSUBSCRIBE", "PURGE",
        "MKCALENDAR", "LINK", "UNLINK", "SOURCE",
    ];

    private enum Line : byte { Incomplete, NotHttp, Http10, Http11, Http2 }

    internal override int InspectBytesMax => LineBytesMax;

    internal override ListenerFilterStatus Inspect(AcceptedConnection connection, ReadOnlySpan<byte> data)
    {
        if (connection.TransportProtocol is not ("" or "raw_buffer"))
            return ListenerFilterStatus.Continue;
        var line = Read(data);
        if (line == Line.Incomplete && data.Length < LineBytesMax)
            return ListenerFilterStatus.NeedMore;
        var cells = stats.Cells(connection.WorkerIndex);
        switch (line)
        {
            case Line.Incomplete:
                cells.Inc(HttpInspectorStats.ReadError);
                return ListenerFilterStatus.Close;
            case Line.NotHttp:
                cells.Inc(HttpInspectorStats.HttpNotFound);
                return ListenerFilterStatus.Continue;
        }
        var (stat, protocol) = line switch
        {
            Line.Http10 => (HttpInspectorStats.Http10Found, "http/1.0"),
            Line.Http11 => (HttpInspectorStats.Http11Found, "http/1.1"),
            _ => (HttpInspectorStats.Http2Found, "h2c"),
        };
        cells.Inc(stat);
        connection.ApplicationProtocols.Clear();
        connection.ApplicationProtocols.Add(protocol);
        return ListenerFilterStatus.Continue;
    }

    // RFC 9112 section 3, but for leniency: method SP target SP HTTP-version, and then an end of the line. Judged by as much of it as is there, so that a
    // protocol whose client speaks first and waits is not held up.
    private static Line Read(ReadOnlySpan<byte> data)
    {
        switch (Http2Preface.Detect(data))
        {
            case PrefaceMatch.Match:
                return Line.Http2;
            case PrefaceMatch.Partial:
                return Line.Incomplete;
        }
        int at = data.IndexOf((byte)' ');
        if (at < 0)
            return IsMethod(data, whole: false) ? Line.Incomplete : Line.NotHttp;
        if (!IsMethod(data[..at], whole: true))
            return Line.NotHttp;

        while (at < data.Length && data[at] == ' ')
            at++;
        int target = at;
        while (at < data.Length && data[at] > ' ' && data[at] != 0x7F)
            at++;
        if (at == data.Length)
            return Line.Incomplete;
        if (at == target)
            return Line.NotHttp;
        // HTTP/0.9 had no version; it is answered as 1.0.
        if (data[at] is (byte)'\r' or (byte)'\n')
            return Line.Http10;
        while (at < data.Length && data[at] == ' ')
            at++;
        return Version(data[at..]);
    }

    private static bool IsMethod(ReadOnlySpan<byte> bytes, bool whole)
    {
        foreach (string method in s_methods)
        {
            if (bytes.Length > method.Length || whole && bytes.Length < method.Length)
                continue;
            int i = 0;
            while (i < bytes.Length && bytes[i] == method[i])
                i++;
            if (i == bytes.Length)
                return true;
        }
        return false;
    }

    private static Line Version(ReadOnlySpan<byte> data)
    {
        var name = "HTTP/"u8;
        int length = Math.Min(data.Length, name.Length);
        if (!data[..length].SequenceEqual(name[..length]))
            return Line.NotHttp;
        data = data[length..];
        if (data.Length > 0 && !char.IsAsciiDigit((char)data[0]) || data.Length > 1 && data[1] != '.' || data.Length > 2 && !char.IsAsciiDigit((char)data[2])
            || data.Length > 3 && data[3] is not ((byte)'\r' or (byte)'\n'))
            return Line.NotHttp;
        return data.Length < 4 ? Line.Incomplete : data[..3].SequenceEqual("1.1"u8) ? Line.Http11 : Line.Http10;
    }

    // ---- configuration ------------------------------------------------------------------------------------------

    internal static ListenerFilter? Create(Wire.HttpInspector wire, bool transparent, ConfigScope scope) =>
        new HttpInspector(scope.Services.Stats.Scope(HttpInspectorStats.Schema, "http_inspector."));
}

/// <summary>Stats of all HTTP inspectors, under <c>http_inspector.</c>, Envoy's names.</summary>
internal static class HttpInspectorStats
{
    internal const int ReadError = 0;
    internal const int Http10Found = 1;
    internal const int Http11Found = 2;
    internal const int Http2Found = 3;
    internal const int HttpNotFound = 4;

    internal static readonly StatsSchema Schema = new(
        new("read_error"),
        new("http10_found"),
        new("http11_found"),
        new("http2_found"),
        new("http_not_found"));
}
