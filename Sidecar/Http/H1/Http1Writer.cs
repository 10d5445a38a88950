using System;
using System.Buffers.Binary;
using System.Diagnostics;
using System.Runtime.CompilerServices;
using Sidecar.Memory;
using Sidecar.Telemetry;

namespace Sidecar.Http.H1;

/// <summary>
/// Writes one head into a chain: into one block, contiguous, where it fits. Names are written in lower case, as they are kept.
/// </summary>
/// <remarks>
/// Fields that belong to the connection are never copied from a map; who writes the head adds its own: framing and <c>connection</c>. A value
/// with CR, LF or NUL in it, which no codec lets in, is not written, so that no filter can be made to split a message.
/// </remarks>
internal ref struct Http1Writer
{
    private readonly BufferChain _chain;
    private Span<byte> _room;
    private int _used;

    /// <param name="chain">Where the head goes.</param>
    /// <param name="expected">Upper bound of the head in bytes.</param>
    internal Http1Writer(BufferChain chain, int expected)
    {
        _chain = chain;
        _room = chain.GetSpan(Math.Min(expected, chain.BlockSize));
    }

    /// <summary>An upper bound for the head of <paramref name="map"/>: separators, start line and the codec's own fields included.</summary>
    internal static int Bound(HeaderMap map) => map.ByteSize + 4 * map.Count + 160;

    internal void Put(scoped ReadOnlySpan<byte> bytes)
    {
        if (bytes.Length <= _room.Length - _used)
        {
            bytes.CopyTo(_room[_used..]);
            _used += bytes.Length;
        }
        else
        {
            PutAcrossBlocks(bytes);
        }
    }

    internal void Field(scoped ReadOnlySpan<byte> name, scoped ReadOnlySpan<byte> value)
    {
        if (SplitsLines(value))
            return;
        var room = _room[_used..];
        int length = name.Length + value.Length + 4;
        if (length > room.Length)
        {
            FieldAcrossBlocks(name, value);
            return;
        }
        name.CopyTo(room);
        int at = name.Length;
        room[at++] = (byte)':';
        room[at++] = (byte)' ';
        value.CopyTo(room[at..]);
        at += value.Length;
        room[at++] = (byte)'\r';
        room[at] = (byte)'\n';
        _used += length;
    }

    /// <summary>Writes a request target or its part: anything but visible ASCII is percent-encoded, so that it stays one word.</summary>
    internal void PutTarget(scoped ReadOnlySpan<byte> target)
    {
        int stray = Http1Parser.IndexOfNonTarget(target);
        while (stray >= 0)
        {
            byte b = target[stray];
            Put(target[..stray]);
            Put([(byte)'%', "0123456789ABCDEF"u8[b >> 4], "0123456789ABCDEF"u8[b & 15]]);
            target = target[(stray + 1)..];
            stray = Http1Parser.IndexOfNonTarget(target);
        }
        Put(target);
    }

    internal void DecimalField(HeaderId id, long value)
    {
        Span<byte> digits = stackalloc byte[20];
        Field(HeaderNames.Bytes(id), digits[..Ascii.FormatDecimal(value, digits)]);
    }

    /// <summary>
    /// Writes the fields that may travel on: not pseudo-headers, not framing, not what belongs to one connection. Lines that came from an HTTP/1 peer and were
    /// not changed are copied as they came, neighbours in one piece.
    /// </summary>
    internal void Fields(HeaderMap map)
    {
        var block = map.Block;
        int from = 0;
        int to = 0;
        foreach (ref readonly var entry in map.Entries)
        {
            if ((entry.State & HeaderMap.EntryState.Removed) != 0 || s_connectionFields.Contains(entry.Id))
                continue;
            if ((entry.State & HeaderMap.EntryState.Line) != 0)
            {
                if (entry.NameOffset != to)
                {
                    Put(block[from..to]);
                    from = entry.NameOffset;
                }
                to = entry.ValueOffset + entry.ValueLength + HeaderMap.LineSeparatorBytes;
                continue;
            }
            Put(block[from..to]);
            from = to;
            Field(map.NameOf(in entry), map.ValueOf(in entry));
        }
        Put(block[from..to]);
    }

    /// <summary>Writes the empty line and hands all to the chain.</summary>
    internal void Finish()
    {
        Put("\r\n"u8);
        _chain.Advance(_used);
        _used = 0;
    }

    private static readonly HeaderSet s_connectionFields = new(
        HeaderId.Method, HeaderId.Scheme, HeaderId.Authority, HeaderId.Path, HeaderId.Protocol, HeaderId.Connection, HeaderId.ContentLength,
        HeaderId.TransferEncoding, HeaderId.Upgrade, HeaderId.KeepAlive, HeaderId.ProxyConnection, HeaderId.Te, HeaderId.Host, HeaderId.Http2Settings);

    // Most values are clean and short: whether any byte is below SP is known with a few operations on eight at a time, the last eight overlapping.
    private static bool SplitsLines(scoped ReadOnlySpan<byte> value)
    {
        if (value.Length < sizeof(ulong))
        {
            foreach (byte b in value)
            {
                if (b is (byte)'\r' or (byte)'\n' or 0)
                    return true;
            }
            return false;
        }
        ulong low = BelowSpace(BinaryPrimitives.ReadUInt64LittleEndian(value[^sizeof(ulong)..]));
        for (int at = 0; at + sizeof(ulong) <= value.Length; at += sizeof(ulong))
            low |= BelowSpace(BinaryPrimitives.ReadUInt64LittleEndian(value[at..]));
        return low != 0 && value.ContainsAny((byte)'\r', (byte)'\n', (byte)0);
    }

    // Not 0 when any of eight bytes is below 0x20: its subtraction borrows into bit 7, which the byte itself did not have.
    private static ulong BelowSpace(ulong bytes) => (bytes - 0x2020202020202020) & ~bytes & 0x8080808080808080;

    [MethodImpl(MethodImplOptions.NoInlining)]
    private void FieldAcrossBlocks(scoped ReadOnlySpan<byte> name, scoped ReadOnlySpan<byte> value)
    {
        Put(name);
        Put(": "u8);
        Put(value);
        Put("\r\n"u8);
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    private void PutAcrossBlocks(scoped ReadOnlySpan<byte> bytes)
    {
        _chain.Advance(_used);
        _chain.Write(bytes);
        _used = 0;
        _room = _chain.GetSpan();
    }
}

/// <summary>How the body now being sent is delimited.</summary>
internal enum Http1BodyMode : byte
{
    /// <summary>No bytes may follow the head: none at all, or a HEAD response's, which are dropped.</summary>
    None,
    Length,
    Chunked,
    /// <summary>Until close, or a tunnel.</summary>
    Raw,
}

/// <summary>Writes a body in the framing its head announced.</summary>
internal struct Http1BodyWriter
{
    /// <summary>Hexadecimal digits and two line ends around a chunk.</summary>
    private const int ChunkOverhead = 16 + 4;

    private const int LastChunkBytes = 5;

    private long _left;
    private Http1BodyMode _mode;

    internal readonly bool IsRaw => _mode == Http1BodyMode.Raw;

    internal void Start(Http1BodyMode mode, long length = 0)
    {
        _mode = mode;
        _left = length;
    }

    /// <summary>Writes body bytes, and the end.</summary>
    /// <returns>False when they contradict the announced length: the message cannot be completed and its connection must end.</returns>
    internal bool Write(BufferChain chain, ReadOnlySpan<byte> data, bool end)
    {
        switch (_mode)
        {
            case Http1BodyMode.Chunked:
                WriteChunk(chain, data, end);
                return true;
            case Http1BodyMode.Length:
                bool fits = data.Length <= _left;
                if (!fits)
                    data = data[..(int)_left];
                _left -= data.Length;
                chain.Write(data);
                return fits && (!end || _left == 0);
            case Http1BodyMode.Raw:
                chain.Write(data);
                return true;
            default:
                return true;
        }
    }

    /// <summary>Ends a chunked body with trailers; any other framing just ends.</summary>
    internal bool WriteTrailers(BufferChain chain, HeaderMap trailers, bool enabled)
    {
        if (_mode != Http1BodyMode.Chunked || !enabled)
            return Write(chain, default, true);
        var writer = new Http1Writer(chain, Http1Writer.Bound(trailers));
        writer.Put("0\r\n"u8);
        writer.Fields(trailers);
        writer.Finish();
        return true;
    }

    private static void WriteChunk(BufferChain chain, ReadOnlySpan<byte> data, bool end)
    {
        if (data.Length > 0)
        {
            int bound = data.Length + ChunkOverhead + LastChunkBytes;
            if (bound <= chain.BlockSize)
            {
                var room = chain.GetSpan(bound);
                int at = PutChunkHead(room, data.Length);
                data.CopyTo(room[at..]);
                at += data.Length;
                "\r\n"u8.CopyTo(room[at..]);
                at += 2;
                if (end)
                {
                    "0\r\n\r\n"u8.CopyTo(room[at..]);
                    at += LastChunkBytes;
                }
                chain.Advance(at);
                return;
            }
            Span<byte> head = stackalloc byte[ChunkOverhead];
            chain.Write(head[..PutChunkHead(head, data.Length)]);
            chain.Write(data);
            chain.Write("\r\n"u8);
        }
        if (end)
            chain.Write("0\r\n\r\n"u8);
    }

    private static int PutChunkHead(Span<byte> room, int size)
    {
        Debug.Assert(size > 0);
        int digits = (35 - System.Numerics.BitOperations.LeadingZeroCount((uint)size)) / 4;
        for (int i = digits - 1; i >= 0; i--)
        {
            room[i] = "0123456789abcdef"u8[size & 15];
            size >>= 4;
        }
        room[digits] = (byte)'\r';
        room[digits + 1] = (byte)'\n';
        return digits + 2;
    }
}

/// <summary>Status lines, made once.</summary>
internal static class Http1StatusLines
{
    private const int Lowest = 100;
    private const int Count = 500;

    private static readonly byte[]?[] s_lines = Build();

    /// <summary>Writes the status line; HTTP/1.0 requests are answered in their version.</summary>
    internal static void Put(ref Http1Writer writer, int status, bool http10)
    {
        int index = status - Lowest;
        if (!http10 && (uint)index < Count && s_lines[index] is { } line)
        {
            writer.Put(line);
            return;
        }
        Span<byte> digits = stackalloc byte[20];
        writer.Put(http10 ? "HTTP/1.0 "u8 : "HTTP/1.1 "u8);
        writer.Put(digits[..Ascii.FormatDecimal(status, digits)]);
        writer.Put((uint)index < Count && s_lines[index] is { } known ? known.AsSpan("HTTP/1.1 200".Length) : " Unknown\r\n"u8);
    }

    private static byte[]?[] Build()
    {
        var lines = new byte[]?[Count];
        void Add(int status, string reason) => lines[status - Lowest] = Ascii.Bytes("HTTP/1.1 " + status.ToString(System.Globalization.CultureInfo.InvariantCulture) + " " + reason + "\r\n");

        Add(100, "Continue");
        Add(101, "Switching Protocols");
        Add(102, "Processing");
        Add(103, "Early Hints");
        Add(200, "OK");
        Add(201, "Created");
        Add(202, "Accepted");
        Add(203, "Non-Authoritative Information");
        Add(204, "No Content");
        Add(205, "Reset Content");
        Add(206, "Partial Content");
        Add(207, "Multi-Status");
        Add(208, "Already Reported");
        Add(226, "IM Used");
        Add(300, "Multiple Choices");
        Add(301, "Moved Permanently");
        Add(302, "Found");
        Add(303, "See Other");
        Add(304, "Not Modified");
        Add(305, "Use Proxy");
        Add(307, "Temporary Redirect");
        Add(308, "Permanent Redirect");
        Add(400, "Bad Request");
        Add(401, "Unauthorized");
        Add(402, "Payment Required");
        Add(403, "Forbidden");
        Add(404, "Not Found");
        Add(405, "Method Not Allowed");
        Add(406, "Not Acceptable");
        Add(407, "Proxy Authentication Required");
        Add(408, "Request Timeout");
        Add(409, "Conflict");
        Add(410, "Gone");
        Add(411, "Length Required");
        Add(412, "Precondition Failed");
        Add(413, "Payload Too Large");
        Add(414, "URI Too Long");
        Add(415, "Unsupported Media Type");
        Add(416, "Range Not Satisfiable");
        Add(417, "Expectation Failed");
        Add(421, "Misdirected Request");
        Add(422, "Unprocessable Entity");
        Add(423, "Locked");
        Add(424, "Failed Dependency");
        Add(425, "Too Early");
        Add(426, "Upgrade Required");
        Add(428, "Precondition Required");
        Add(429, "Too Many Requests");
        Add(431, "Request Header Fields Too Large");
        Add(451, "Unavailable For Legal Reasons");
        Add(500, "Internal Server Error");
        Add(501, "Not Implemented");
        Add(502, "Bad Gateway");
        Add(503, "Service Unavailable");
        Add(504, "Gateway Timeout");
        Add(505, "HTTP Version Not Supported");
        Add(506, "Variant Also Negotiates");
        Add(507, "Insufficient Storage");
        Add(508, "Loop Detected");
        Add(510, "Not Extended");
        Add(511, "Network Authentication Required");
        return lines;
    }
}
