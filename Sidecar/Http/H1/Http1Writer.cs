using System;
using System.Buffers.Binary;
using System.Diagnostics;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;
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
        int length = name.Length + value.Length + 4;
        if (length > _room.Length - _used)
        {
            FieldAcrossBlocks(name, value);
            return;
        }
        var room = _room.Slice(_used, length);
        name.CopyTo(room);
        BinaryPrimitives.WriteUInt16LittleEndian(room[name.Length..], Separator);
        if (!TryCopyValue(value, ref room[name.Length + 2]))
            return;
        BinaryPrimitives.WriteUInt16LittleEndian(room[(length - 2)..], LineEnd);
        _used += length;
    }

    /// <summary>As with the name's bytes, and faster: they lie ready with what follows them.</summary>
    internal void Field(HeaderId id, scoped ReadOnlySpan<byte> value)
    {
        if (HeaderNames.LineStartBytes + value.Length + LineEndBytes > _room.Length - _used)
        {
            Field(HeaderNames.Bytes(id), value);
            return;
        }
        ref byte to = ref Unsafe.Add(ref MemoryMarshal.GetReference(_room), (uint)_used);
        int length = PutLineStart(id, ref to);
        if (!TryCopyValue(value, ref Unsafe.Add(ref to, length)))
            return;
        length += value.Length;
        Unsafe.WriteUnaligned(ref Unsafe.Add(ref to, length), LineEnd);
        _used += length + LineEndBytes;
    }

    // As Field, for a value that lies in a map's block, so that sixteen bytes of it may be read however short it is.
    private void FieldOfMap(HeaderId id, ref byte value, int valueLength)
    {
        if (HeaderNames.LineStartBytes + valueLength + HeaderMap.SlackBytes > _room.Length - _used)
        {
            Field(HeaderNames.Bytes(id), MemoryMarshal.CreateReadOnlySpan(ref value, valueLength));
            return;
        }
        ref byte to = ref Unsafe.Add(ref MemoryMarshal.GetReference(_room), (uint)_used);
        int length = PutLineStart(id, ref to);
        if (valueLength <= Vector128<byte>.Count)
        {
            var bytes = Vector128.LoadUnsafe(ref value);
            bytes.StoreUnsafe(ref Unsafe.Add(ref to, length));
            uint low = BelowSpace(bytes).ExtractMostSignificantBits() & ((1u << valueLength) - 1);
            if (low != 0 && SplitsLines(MemoryMarshal.CreateReadOnlySpan(ref value, valueLength)))
                return;
        }
        else if (!TryCopyValue(MemoryMarshal.CreateReadOnlySpan(ref value, valueLength), ref Unsafe.Add(ref to, length)))
        {
            return;
        }
        length += valueLength;
        Unsafe.WriteUnaligned(ref Unsafe.Add(ref to, length), LineEnd);
        _used += length + LineEndBytes;
    }

    // Writes a known name and ": ", in whole vectors: LineStartBytes may be written.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static int PutLineStart(HeaderId id, ref byte to)
    {
        ref byte start = ref HeaderNames.LineStart(id);
        int length = Unsafe.Add(ref start, HeaderNames.LineStartBytes - 1);
        Vector128.LoadUnsafe(ref start).StoreUnsafe(ref to);
        if (length > Vector128<byte>.Count)
        {
            Vector128.LoadUnsafe(ref start, (nuint)Vector128<byte>.Count).StoreUnsafe(ref to, (nuint)Vector128<byte>.Count);
            Vector128.LoadUnsafe(ref start, 2 * (nuint)Vector128<byte>.Count).StoreUnsafe(ref to, 2 * (nuint)Vector128<byte>.Count);
        }
        return length;
    }

    /// <summary>Writes a request target or its part: anything but visible ASCII is percent-encoded, so that it stays one word.</summary>
    internal void PutTarget(scoped ReadOnlySpan<byte> target)
    {
        int stray = Http1Parser.IndexOfNonTarget(target);
        if (stray >= 0)
            PutEncoded(target, stray);
        else
            Put(target);
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    private void PutEncoded(scoped ReadOnlySpan<byte> target, int stray)
    {
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
        Field(id, digits[..Ascii.FormatDecimal(value, digits)]);
    }

    /// <summary>Writes content-length: as the sender wrote it, where that is how we would.</summary>
    internal void LengthField(scoped ReadOnlySpan<byte> given, long length)
    {
        if (length != 0 && given[0] != '0')
            Field(HeaderId.ContentLength, given);
        else
            DecimalField(HeaderId.ContentLength, length);
    }

    /// <summary>
    /// Writes the fields that may travel on: not pseudo-headers, not framing, not what belongs to one connection. Lines that came from an HTTP/1 peer and were
    /// not changed are copied as they came, neighbours in one piece.
    /// </summary>
    internal void Fields(HeaderMap map)
    {
        ref byte block = ref MemoryMarshal.GetReference(map.Block);
        var skipped = s_connectionFields;
        int from = 0;
        int to = 0;
        foreach (ref readonly var entry in map.Entries)
        {
            if ((entry.State & HeaderMap.EntryState.Removed) != 0 || skipped.Contains(entry.Id))
                continue;
            if ((entry.State & HeaderMap.EntryState.Line) != 0)
            {
                if (entry.NameOffset != to)
                {
                    if (from != to)
                        PutLines(ref Unsafe.Add(ref block, from), to - from);
                    from = entry.NameOffset;
                }
                to = entry.ValueOffset + entry.ValueLength + HeaderMap.LineSeparatorBytes;
                continue;
            }
            if (from != to)
                PutLines(ref Unsafe.Add(ref block, from), to - from);
            from = to;
            if (entry.Id != HeaderId.Unknown)
                FieldOfMap(entry.Id, ref Unsafe.Add(ref block, entry.ValueOffset), entry.ValueLength);
            else
                Field(map.NameOf(in entry), map.ValueOf(in entry));
        }
        if (from != to)
            PutLines(ref Unsafe.Add(ref block, from), to - from);
    }

    // Lines of a map's block, behind which there is something to be read: short ones go in whole vectors.
    private void PutLines(ref byte lines, int length)
    {
        if (length > WholeVectorsMax || length + HeaderMap.SlackBytes > _room.Length - _used)
        {
            Put(MemoryMarshal.CreateReadOnlySpan(ref lines, length));
            return;
        }
        ref byte to = ref Unsafe.Add(ref MemoryMarshal.GetReference(_room), (uint)_used);
        for (nuint at = 0; at < (nuint)length; at += (nuint)Vector128<byte>.Count)
            Vector128.LoadUnsafe(ref lines, at).StoreUnsafe(ref to, at);
        _used += length;
    }

    /// <summary>Beyond, the general copy is faster.</summary>
    private const int WholeVectorsMax = 256;

    /// <summary>Writes the empty line and hands all to the chain.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal void Finish()
    {
        Put("\r\n"u8);
        _chain.Advance(_used);
        _used = 0;
    }

    private static readonly HeaderSet s_connectionFields = new(
        HeaderId.Method, HeaderId.Scheme, HeaderId.Authority, HeaderId.Path, HeaderId.Protocol, HeaderId.Connection, HeaderId.ContentLength,
        HeaderId.TransferEncoding, HeaderId.Upgrade, HeaderId.KeepAlive, HeaderId.ProxyConnection, HeaderId.Te, HeaderId.Host, HeaderId.Http2Settings);

    // As little-endian numbers, which both processors have.
    private const int LineEndBytes = 2;
    private const ushort LineEnd = '\r' | '\n' << 8;
    private const ushort Separator = ':' | ' ' << 8;

    // Copies a value to where there is room for it. False, with part of it copied, when it would split its line. Most are clean and short: whether any byte is below
    // SP is known from what is copied anyway, many bytes at a time, the last ones overlapping those before.
    private static bool TryCopyValue(scoped ReadOnlySpan<byte> value, ref byte to)
    {
        ref byte from = ref MemoryMarshal.GetReference(value);
        nuint length = (nuint)value.Length;
        ulong low = 0;
        if (length >= (nuint)Vector128<byte>.Count)
        {
            nuint last = length - (nuint)Vector128<byte>.Count;
            var tail = Vector128.LoadUnsafe(ref from, last);
            var below = BelowSpace(tail);
            for (nuint at = 0; at < last; at += (nuint)Vector128<byte>.Count)
            {
                var bytes = Vector128.LoadUnsafe(ref from, at);
                bytes.StoreUnsafe(ref to, at);
                below |= BelowSpace(bytes);
            }
            tail.StoreUnsafe(ref to, last);
            low = below.ExtractMostSignificantBits();
        }
        else if (length >= sizeof(ulong))
        {
            ulong first = Unsafe.ReadUnaligned<ulong>(ref from);
            ulong last = Unsafe.ReadUnaligned<ulong>(ref Unsafe.Add(ref from, length - sizeof(ulong)));
            Unsafe.WriteUnaligned(ref to, first);
            Unsafe.WriteUnaligned(ref Unsafe.Add(ref to, length - sizeof(ulong)), last);
            low = BelowSpace(first) | BelowSpace(last);
        }
        else if (length >= sizeof(uint))
        {
            uint first = Unsafe.ReadUnaligned<uint>(ref from);
            uint last = Unsafe.ReadUnaligned<uint>(ref Unsafe.Add(ref from, length - sizeof(uint)));
            Unsafe.WriteUnaligned(ref to, first);
            Unsafe.WriteUnaligned(ref Unsafe.Add(ref to, length - sizeof(uint)), last);
            low = BelowSpace((ulong)first << 32 | last);
        }
        else
        {
            for (nuint i = 0; i < length; i++)
            {
                byte b = Unsafe.Add(ref from, i);
                Unsafe.Add(ref to, i) = b;
                low |= b < ' ' ? 1UL : 0;
            }
        }
        return low == 0 || !SplitsLines(value);
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    private static bool SplitsLines(scoped ReadOnlySpan<byte> value) => value.ContainsAny((byte)'\r', (byte)'\n', (byte)0);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector128<byte> BelowSpace(Vector128<byte> bytes) => Vector128.Equals(Vector128.Min(bytes, Vector128.Create((byte)(' ' - 1))), bytes);

    // Not 0 when any of eight bytes is below 0x20: its subtraction borrows into bit 7, which the byte itself did not have.
    private static ulong BelowSpace(ulong bytes) => (bytes - 0x2020202020202020) & ~bytes & 0x8080808080808080;

    [MethodImpl(MethodImplOptions.NoInlining)]
    private void FieldAcrossBlocks(scoped ReadOnlySpan<byte> name, scoped ReadOnlySpan<byte> value)
    {
        if (SplitsLines(value))
            return;
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
        if (status == 200 && !http10)
        {
            writer.Put("HTTP/1.1 200 OK\r\n"u8);
            return;
        }
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
