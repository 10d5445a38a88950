using System;
using System.Buffers;
using System.Diagnostics;
using System.Numerics;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;
using Sidecar.Memory;
using Sidecar.Telemetry;

namespace Sidecar.Http.H1;

/// <summary>What a head says about its connection and its body, as read by <see cref="Http1Parser"/>.</summary>
internal struct Http1HeadInfo
{
    internal HttpVersion Version;
    internal Method Method;

    /// <summary>-1 when there is no Content-Length.</summary>
    internal long ContentLength;
    internal bool HasTransferEncoding;
    internal bool IsChunked;

    /// <summary>Tokens of Connection.</summary>
    internal bool Close, KeepAlive, ConnectionUpgrade;

    /// <summary>How many of them there are, in all fields together.</summary>
    internal int ConnectionTokens;

    /// <summary>Connection names fields beyond those three tokens.</summary>
    internal bool Nominates;
    internal bool TeTrailers;
    internal bool HasHost, HasAuthority;
    internal int UpgradeOffset, UpgradeLength;

    /// <summary>Upgrade or CONNECT: no body, but a tunnel if the other side agrees.</summary>
    internal bool IsTunnel;

    /// <summary>Whether the connection goes on after this message, as its sender sees it (RFC 9112 section 9.3).</summary>
    internal readonly bool Persists => !Close && (Version == HttpVersion.Http11 || KeepAlive);
}

/// <summary>
/// Finds where a head ends, and remembers how far it looked: bytes of an incomplete head are presented again from the same start, and are not
/// looked at twice. The static part reads complete heads, exactly (RFC 9112; stricter where it lets a recipient choose).
/// </summary>
/// <remarks>
/// A complete head is copied once into its map's block; fields are then described in place. The reader strips what belongs to the connection, so
/// that a map holds only what may travel on: <c>connection</c> (and the fields it names), <c>keep-alive</c>, <c>proxy-connection</c>,
/// <c>transfer-encoding</c>, <c>http2-settings</c>, <c>te</c> unless it says <c>trailers</c>, <c>upgrade</c> unless the message is an upgrade (then
/// <c>connection: upgrade</c> stays too). <c>content-length</c> stays as a field; the framing beside the map decides.
/// </remarks>
internal struct Http1Parser
{
    /// <summary>Bytes a value or a start line must not have: all controls but HTAB (RFC 9110 section 5.5). CR ends them.</summary>
    private static readonly SearchValues<byte> s_controls = SearchValues.Create(
        [0, 1, 2, 3, 4, 5, 6, 7, 8, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31, 127]);

    /// <summary>Fields that are about the message's framing or the connection, not about the message.</summary>
    private static readonly HeaderSet s_framing = new(HeaderId.Connection, HeaderId.ContentLength, HeaderId.TransferEncoding, HeaderId.Host,
        HeaderId.Upgrade, HeaderId.Te, HeaderId.KeepAlive, HeaderId.ProxyConnection, HeaderId.Http2Settings);

    /// <summary>A name's length is kept in 16 bits.</summary>
    private const int NameBytesMax = ushort.MaxValue;

    /// <summary>
    /// Envoy's limit on the tokens of Connection. Each may name a field, and is looked for among all: a head full of them would cost their product.
    /// </summary>
    private const int ConnectionTokensMax = 9;

    /// <summary>Beyond, what may be several requests is not worth a copy of all of them for the first.</summary>
    private const int AloneBytesMax = 1024;

    private enum Section : byte { Request, Response, Trailers }

    private int _checked;

    /// <summary>True when part of a head has been seen.</summary>
    internal readonly bool IsPartial => _checked > 0;

    /// <summary>Looks for the empty line that ends a head (or a trailer section that is not empty).</summary>
    /// <param name="input">From the head's first byte.</param>
    /// <param name="maxBytes">What the head may measure.</param>
    /// <param name="length">Its length with the empty line; 0 when more is needed.</param>
    internal Failure FindEnd(ReadOnlySpan<byte> input, int maxBytes, out int length)
    {
        // Nothing beyond the limit is looked at, so that the verdict does not depend on how the bytes were cut.
        var window = input.Length > maxBytes ? input[..maxBytes] : input;
        int from = Math.Max(0, _checked - 3);
        int end = EndOfEmptyLine(window[from..]);
        if (end >= 0)
        {
            length = from + end;
            _checked = 0;
            return Failure.None;
        }
        length = 0;
        var failure = CheckPartial(window);
        return failure == Failure.None && input.Length > maxBytes ? Failure.Http1HeadersTooLarge : failure;
    }

    /// <summary>
    /// As <see cref="FindEnd"/>, for a request's head. Most come alone: then the bytes end as a head does, and somewhere in them one does end. Where, its reader sees.
    /// </summary>
    /// <param name="input">From the head's first byte.</param>
    /// <param name="maxBytes">What the head may measure.</param>
    /// <param name="length">What to read it from; 0 when more is needed.</param>
    internal Failure FindRequestEnd(ReadOnlySpan<byte> input, int maxBytes, out int length)
    {
        length = input.Length;
        if (!IsPartial && length <= AloneBytesMax && length <= maxBytes && input.EndsWith("\r\n\r\n"u8))
            return Failure.None;
        return FindEnd(input, maxBytes, out length);
    }

    // Where the first CR LF CR LF ends, or -1. Only an LF two bytes behind another, which is rare, is looked at closely: a third of the general search.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static int EndOfEmptyLine(ReadOnlySpan<byte> text)
    {
        int last = text.Length - Vector128<byte>.Count;
        if (last < 2)
        {
            int start = text.IndexOf("\r\n\r\n"u8);
            return start < 0 ? -1 : start + 4;
        }
        // A vector at any place from 2 to last lies in the text, as does the one two bytes before it.
        ref byte first = ref MemoryMarshal.GetReference(text);
        int at = 2;
        for (; at <= last - Vector128<byte>.Count; at += 2 * Vector128<byte>.Count)
        {
            var low = FeedPairs(ref first, at);
            var high = FeedPairs(ref first, at + Vector128<byte>.Count);
            if ((low | high) == Vector128<byte>.Zero)
                continue;
            int end = EndOfEmptyLineAmong(text, at, low.ExtractMostSignificantBits() | high.ExtractMostSignificantBits() << Vector128<byte>.Count);
            if (end >= 0)
                return end;
        }
        for (; ; at = Math.Min(at + Vector128<byte>.Count, last))
        {
            uint found = FeedPairs(ref first, Math.Min(at, last)).ExtractMostSignificantBits();
            int end = found == 0 ? -1 : EndOfEmptyLineAmong(text, Math.Min(at, last), found);
            if (end >= 0 || at >= last)
                return end;
        }
    }

    // Where sixteen bytes have an LF two bytes behind another.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector128<byte> FeedPairs(ref byte first, int at)
    {
        var feed = Vector128.Create((byte)'\n');
        return Vector128.Equals(Vector128.LoadUnsafe(ref first, (nuint)at), feed) & Vector128.Equals(Vector128.LoadUnsafe(ref first, (nuint)at - 2), feed);
    }

    private static int EndOfEmptyLineAmong(ReadOnlySpan<byte> text, int at, uint pairs)
    {
        for (; pairs != 0; pairs &= pairs - 1)
        {
            int end = at + BitOperations.TrailingZeroCount(pairs);
            if (text[end - 1] == '\r' && end >= 3 && text[end - 3] == '\r')
                return end + 1;
        }
        return -1;
    }

    /// <summary>The first byte that no request target has, or -1.</summary>
    internal static int IndexOfNonTarget(ReadOnlySpan<byte> target) => target.IndexOfAnyExceptInRange((byte)'!', (byte)'~');

    // A head that cannot become a good one is refused at once instead of when its sender gives up: bare LF, bare CR, controls.
    private Failure CheckPartial(ReadOnlySpan<byte> window)
    {
        int position = _checked;
        while (true)
        {
            int at = window[position..].IndexOfAny(s_controls);
            if (at < 0)
            {
                _checked = window.Length;
                return Failure.None;
            }
            position += at;
            if (window[position] != '\r')
                return Stray(window[position]);
            if (position + 1 == window.Length)
            {
                _checked = position;
                return Failure.None;
            }
            if (window[position + 1] != '\n')
                return Failure.Http1CodecError;
            position += 2;
        }
    }

    // What a byte that ought not to be there is called: the same wherever it is met, however the input was cut.
    private static Failure Stray(byte b) => b is >= 0x20 and not 0x7F or (byte)'\r' or (byte)'\n' ? Failure.Http1CodecError : Failure.Http1InvalidCharacters;

    /// <summary>Reads a request head into <paramref name="head"/>, whose framing it sets.</summary>
    /// <param name="bytes">From its first byte; they end with an empty line, if not its own.</param>
    /// <param name="head">An empty one.</param>
    /// <param name="options">What is allowed.</param>
    /// <param name="info">What it says about connection and body.</param>
    /// <param name="length">Bytes that it measures.</param>
    internal static Failure ReadRequest(ReadOnlySpan<byte> bytes, RequestHead head, Http1Options options, out Http1HeadInfo info, out int length)
    {
        length = bytes.Length;
        info = new Http1HeadInfo { ContentLength = -1 };
        int origin = head.AppendRaw(bytes);
        var block = head.Raw(origin, bytes.Length);
        var failure = ReadRequestLine(block, origin, head, options, ref info, out int position);
        if (failure == Failure.None)
            failure = ReadFields(head.Raw(0, origin + bytes.Length), origin + position, head, options, Section.Request, ref info, out length);
        length -= origin;
        if (failure == Failure.None)
            failure = CheckHost(head, options, in info);
        if (failure == Failure.None)
            failure = CheckTransferEncoding(head, options, in info);
        if (failure == Failure.None)
            failure = info.Nominates ? RemoveNominated(head) : Failure.None;
        if (failure != Failure.None)
            return failure;

        head.Version = info.Version;
        if (info.Method == Method.Connect)
        {
            if (info.ContentLength > 0)
                return Failure.Http1ContentLengthInvalid;
            head.Remove(HeaderId.ContentLength);
            info.IsTunnel = true;
        }
        else if (WantsUpgrade(head, in info))
        {
            head.AddAt(HeaderId.Upgrade, -1, HeaderNames.LengthOf(HeaderId.Upgrade), info.UpgradeOffset, info.UpgradeLength);
            head.Set(HeaderId.Connection, "upgrade"u8);
            head.Remove(HeaderId.ContentLength);
            info.IsTunnel = true;
        }
        head.Framing = info.IsTunnel ? new BodyFraming(BodyKind.Tunnel)
            : info.IsChunked ? new BodyFraming(BodyKind.Streamed)
            : info.ContentLength > 0 ? new BodyFraming(BodyKind.Length, info.ContentLength)
            : default;
        return Failure.None;
    }

    /// <summary>Reads a complete response head into <paramref name="head"/>. Framing is left to who knows the request.</summary>
    internal static Failure ReadResponse(ReadOnlySpan<byte> bytes, ResponseHead head, Http1Options options, out Http1HeadInfo info)
    {
        info = new Http1HeadInfo { ContentLength = -1 };
        int origin = head.AppendRaw(bytes);
        var block = head.Raw(origin, bytes.Length);
        var failure = ReadStatusLine(block, head, ref info, out int position);
        if (failure == Failure.None)
            failure = ReadFields(head.Raw(0, origin + bytes.Length), origin + position, head, options, Section.Response, ref info, out _);
        if (failure == Failure.None)
            failure = CheckTransferEncoding(head, options, in info);
        if (failure == Failure.None)
            failure = info.Nominates ? RemoveNominated(head) : Failure.None;
        if (failure != Failure.None)
            return failure;
        head.Version = info.Version;
        if (head.Status == 101 && info.UpgradeLength > 0 && info.ConnectionUpgrade)
        {
            head.AddAt(HeaderId.Upgrade, -1, HeaderNames.LengthOf(HeaderId.Upgrade), info.UpgradeOffset, info.UpgradeLength);
            head.Set(HeaderId.Connection, "upgrade"u8);
        }
        return Failure.None;
    }

    /// <summary>Reads a complete trailer section with its empty line. Fields that only make sense in a head are left out.</summary>
    internal static Failure ReadTrailers(ReadOnlySpan<byte> bytes, HeaderMap trailers, Http1Options options)
    {
        var info = new Http1HeadInfo { ContentLength = -1 };
        int origin = trailers.AppendRaw(bytes);
        return ReadFields(trailers.Raw(0, origin + bytes.Length), origin, trailers, options, Section.Trailers, ref info, out _);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Failure ReadRequestLine(
        Span<byte> block, int origin, RequestHead head, Http1Options options, ref Http1HeadInfo info, out int position)
    {
        // method SP request-target SP HTTP-version CRLF (RFC 9112 section 3), single spaces, nothing else.
        position = 0;
        int methodLength = 3;
        if (block.StartsWith("GET "u8))
        {
            info.Method = Method.Get;
        }
        else
        {
            methodLength = block.IndexOfAnyExcept(Ascii.TokenBytes);
            if (methodLength <= 0 || block[methodLength] != ' ')
                return Stray(block[methodLength]);
            info.Method = Methods.Parse(block[..methodLength]);
            if (info.Method == Method.Other && !options.AllowCustomMethods && !Methods.IsRegistered(block[..methodLength]))
                return Failure.Http1CodecError;
        }

        int target = methodLength + 1;
        int targetLength = EndOfTarget(block, target) - target;
        int version = target + targetLength + 1;
        if (targetLength <= 0 || block[version - 1] != ' ')
        {
            byte stray = block[target + targetLength];
            return stray >= 0x80 ? Failure.Http1InvalidUrl : Stray(stray);
        }
        if (block.Length < version + 12 || !ReadVersion(block.Slice(version, 8), out info.Version) || !IsLineEnd(ref block[version + 8]))
            return Failure.Http1CodecError;
        if (info.Version == HttpVersion.None)
            return Failure.Http1VersionUnsupported;
        position = version + 10;

        head.AddAt(HeaderId.Method, -1, 7, origin, methodLength);
        if (info.Version == HttpVersion.Http10 && !options.AcceptHttp10)
            return Failure.LowVersion;
        return ReadTarget(block.Slice(target, targetLength), origin + target, head, options, ref info);
    }

    // The four forms of RFC 9112 section 3.2.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Failure ReadTarget(Span<byte> target, int offset, RequestHead head, Http1Options options, ref Http1HeadInfo info)
    {
        if (target[0] != '/' || info.Method == Method.Connect)
            return ReadRareTarget(target, offset, head, options, ref info);
        head.AddAt(HeaderId.Path, -1, 5, offset, target.Length);
        return Failure.None;
    }

    private static Failure ReadRareTarget(Span<byte> target, int offset, RequestHead head, Http1Options options, ref Http1HeadInfo info)
    {
        if (info.Method == Method.Connect)
        {
            if (!Authority.TrySplit(target, out _, out int port) || port < 0)
                return Failure.Http1InvalidUrl;
            head.AddAt(HeaderId.Authority, -1, 10, offset, target.Length);
            info.HasAuthority = true;
            return Failure.None;
        }
        if (target.Length == 1 && target[0] == '*')
        {
            if (info.Method != Method.Options)
                return Failure.Http1InvalidUrl;
            head.AddAt(HeaderId.Path, -1, 5, offset, 1);
            return Failure.None;
        }
        int scheme = target.IndexOf("://"u8);
        if (scheme < 0 || !(Ascii.EqualsIgnoreCase(target[..scheme], "http"u8) || Ascii.EqualsIgnoreCase(target[..scheme], "https"u8)))
            return Failure.Http1InvalidUrl;
        if (!options.AllowAbsoluteUrl)
            return Failure.AbsolutePathRejected;

        int authority = scheme + 3;
        int length = target[authority..].IndexOfAny("/?#"u8);
        if (length < 0)
            length = target.Length - authority;
        int path = authority + length;
        if (path == target.Length || target[path] != '/')
        {
            // No path before the query: the authority moves over the second slash of "//", which makes room for one.
            target.Slice(authority, length).CopyTo(target[(authority - 1)..]);
            authority--;
            path--;
            target[path] = (byte)'/';
        }
        if (!Authority.IsValid(target.Slice(authority, length)))
            return Failure.Http1InvalidUrl;
        Ascii.ToLowerInPlace(target[..scheme]);
        head.AddAt(HeaderId.Scheme, -1, 7, offset, scheme);
        head.AddAt(HeaderId.Authority, -1, 10, offset + authority, length);
        head.AddAt(HeaderId.Path, -1, 5, offset + path, target.Length - path);
        info.HasAuthority = true;
        return Failure.None;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Failure ReadStatusLine(Span<byte> block, ResponseHead head, ref Http1HeadInfo info, out int position)
    {
        // HTTP-version SP 3DIGIT [SP reason] CRLF (RFC 9112 section 4); the second space is forgiven when there is no reason.
        position = 0;
        if (block.Length < 14 || !ReadVersion(block[..8], out info.Version) || info.Version == HttpVersion.None || block[8] != ' ')
            return Failure.Http1CodecError;
        if (!Ascii.IsDigit(block[9]) || !Ascii.IsDigit(block[10]) || !Ascii.IsDigit(block[11]))
            return Failure.Http1CodecError;
        int status = (block[9] - '0') * 100 + (block[10] - '0') * 10 + (block[11] - '0');
        if (status < 100 || block[12] is not ((byte)' ' or (byte)'\r'))
            return Failure.Http1CodecError;
        int end = 12 + LengthOfText(ref block[12]);
        if (!IsLineEnd(ref block[end]))
            return Stray(block[end]);
        head.Status = status;
        position = end + 2;
        return Failure.None;
    }

    // False: not HTTP/d.d at all. None: another version of HTTP.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static bool ReadVersion(ReadOnlySpan<byte> text, out HttpVersion version)
    {
        version = HttpVersion.None;
        if (text.SequenceEqual("HTTP/1.1"u8))
            version = HttpVersion.Http11;
        else if (text.SequenceEqual("HTTP/1.0"u8))
            version = HttpVersion.Http10;
        else
            return text.StartsWith("HTTP/"u8) && Ascii.IsDigit(text[5]) && text[6] == '.' && Ascii.IsDigit(text[7]);
        return true;
    }

    // Reads from position, an offset into the map's block, to the first empty line. The block ends with one, at whose CR every search below stops, and a vector at any
    // byte of it lies in memory that may be read (HeaderMap.SlackBytes): so within a line no place is compared with the block's length.
    private static Failure ReadFields(
        Span<byte> block, int position, HeaderMap map, Http1Options options, Section section, ref Http1HeadInfo info, out int end)
    {
        end = block.Length;
        Debug.Assert(block.EndsWith("\r\n\r\n"u8));
        ref byte text = ref MemoryMarshal.GetReference(block);
        var framing = s_framing;
        int fieldsLeft = options.MaxHeaders;
        while (block[position] != '\r')
        {
            // field-name ":" OWS field-value OWS CRLF: no space before the colon, no folding (RFC 9112 section 5).
            int name = position;
            ref byte line = ref Unsafe.Add(ref text, (uint)name);
            int length = Ascii.FoldToken(ref line, out var folded);
            HeaderId id;
            if (length is > 0 and < 16)
                id = HeaderNames.Lookup(folded, length);
            else
                length = ReadLongName(block, name, length, out id);
            ref byte colon = ref Unsafe.Add(ref line, (uint)length);
            if (colon != ':' || length == 0)
                return Stray(colon);
            if (length > NameBytesMax)
                return Failure.Http1HeadersTooLarge;

            // Nearly always one space and then a value.
            int start = name + length + HeaderMap.LineSeparatorBytes;
            bool isLine = true;
            if (Unsafe.Add(ref colon, 1) != ' ' || Unsafe.Add(ref colon, HeaderMap.LineSeparatorBytes) <= ' ')
            {
                isLine = Unsafe.Add(ref colon, 1) == ' ';
                int value = SkipOws(block, name + length + 1);
                isLine &= start == value;
                start = value;
            }
            int valueEnd = start + LengthOfText(ref Unsafe.Add(ref text, (uint)start));
            ref byte behind = ref Unsafe.Add(ref text, (uint)valueEnd);
            if (!IsLineEnd(ref behind))
                return Stray(behind);
            position = valueEnd + 2;
            if (Unsafe.Subtract(ref behind, 1) <= ' ')
            {
                valueEnd = TrimOws(block, start, valueEnd);
                isLine &= position == valueEnd + 2;
            }
            if (--fieldsLeft < 0)
                return Failure.Http1TooManyHeaders;

            if (framing.Contains(id))
            {
                // In trailers they would come too late to mean anything, so they do not travel on.
                var failure = section == Section.Trailers ? Failure.None : ReadFraming(id, block[start..valueEnd], start, map, section, ref info);
                if (failure != Failure.None)
                    return failure;
            }
            else if (id == HeaderId.Unknown && options.Underscores != UnderscoreAction.Allow && block.Slice(name, length).Contains((byte)'_'))
            {
                if (options.Underscores == UnderscoreAction.Reject)
                    return Failure.UnderscoreHeaderRejected;
            }
            else if (isLine)
            {
                map.AddLine(id, name, length, valueEnd - start);
            }
            else
            {
                map.AddAt(id, name, length, start, valueEnd - start);
            }
        }
        if (!IsLineEnd(ref block[position]))
            return Failure.Http1CodecError;
        end = position + 2;
        if (info.TeTrailers)
            map.Add(HeaderId.Te, "trailers"u8);
        return Failure.None;
    }

    // A name of sixteen bytes or more, the first of which are folded already; or none at all.
    [MethodImpl(MethodImplOptions.NoInlining)]
    private static int ReadLongName(Span<byte> block, int name, int folded, out HeaderId id)
    {
        int length = folded == 0 ? 0 : Ascii.ToLowerToken(block, name + folded) - name;
        id = HeaderNames.Lookup(block.Slice(name, length));
        return length;
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    private static int SkipOws(ReadOnlySpan<byte> block, int start)
    {
        while (block[start] is (byte)' ' or (byte)'\t')
            start++;
        return start;
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    private static int TrimOws(ReadOnlySpan<byte> block, int start, int end)
    {
        while (end > start && block[end - 1] is (byte)' ' or (byte)'\t')
            end--;
        return end;
    }

    // Bytes before the first of s_controls, which is sure to come. Values are short, and this knows what it looks for, so it is faster than the general search.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static int LengthOfText(ref byte text)
    {
        for (nuint at = 0; ; at += (nuint)Vector128<byte>.Count)
        {
            var bytes = Vector128.LoadUnsafe(ref text, at);
            var low = Vector128.Equals(Vector128.Min(bytes, Vector128.Create((byte)0x1F)), bytes);
            var controls = Vector128.AndNot(low, Vector128.Equals(bytes, Vector128.Create((byte)'\t'))) | Vector128.Equals(bytes, Vector128.Create((byte)0x7F));
            uint found = controls.ExtractMostSignificantBits();
            if (found != 0)
                return (int)at + BitOperations.TrailingZeroCount(found);
        }
    }

    // The first byte of a head from a place on that no target has, which is anything but visible ASCII. As signed numbers those are what is above SP, but for DEL.
    private static int EndOfTarget(Span<byte> block, int from)
    {
        ref byte text = ref MemoryMarshal.GetReference(block);
        for (int at = from; ; at += Vector128<byte>.Count)
        {
            var bytes = Vector128.LoadUnsafe(ref text, (nuint)at);
            var visible = Vector128.AndNot(Vector128.GreaterThan(bytes.AsSByte(), Vector128.Create((sbyte)' ')).AsByte(), Vector128.Equals(bytes, Vector128.Create((byte)0x7F)));
            uint strays = visible.ExtractMostSignificantBits() ^ 0xFFFF;
            if (strays != 0)
                return at + BitOperations.TrailingZeroCount(strays);
        }
    }

    // CR LF, as a little-endian number, which both processors have.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static bool IsLineEnd(ref byte at) => Unsafe.ReadUnaligned<ushort>(ref at) == ('\r' | '\n' << 8);

    private static Failure ReadFraming(HeaderId id, Span<byte> value, int offset, HeaderMap map, Section section, ref Http1HeadInfo info)
    {
        switch (id)
        {
            case HeaderId.ContentLength:
                // Equal duplicates and lists of equal numbers would be allowed (RFC 9110 section 8.6); nobody honest sends them.
                if (info.ContentLength >= 0 || !Ascii.TryParseDecimal(value, out info.ContentLength))
                    return Failure.Http1ContentLengthInvalid;
                map.AddAt(id, -1, HeaderNames.LengthOf(id), offset, value.Length);
                return Failure.None;
            case HeaderId.Host:
                if (section == Section.Response)
                {
                    map.AddAt(id, -1, HeaderNames.LengthOf(id), offset, value.Length);
                    return Failure.None;
                }
                if (info.HasHost || (value.Length > 0 && !Authority.IsValid(value)))
                    return Failure.Http1CodecError;
                info.HasHost = true;
                if (!info.HasAuthority && value.Length > 0)
                    map.AddAt(HeaderId.Authority, -1, 10, offset, value.Length);
                return Failure.None;
            default:
                return ReadRareFraming(id, value, offset, map, ref info);
        }
    }

    // Apart, so that the two fields of nearly every message need no room for what these need.
    [MethodImpl(MethodImplOptions.NoInlining)]
    private static Failure ReadRareFraming(HeaderId id, Span<byte> value, int offset, HeaderMap map, ref Http1HeadInfo info)
    {
        switch (id)
        {
            case HeaderId.TransferEncoding:
                info.IsChunked = !info.HasTransferEncoding && Ascii.EqualsIgnoreCase(value, "chunked"u8);
                info.HasTransferEncoding = true;
                return Failure.None;
            case HeaderId.Connection:
                if (!ReadConnection(value, ref info))
                    return Failure.Http1ConnectionHeaderRejected;
                if (info.Nominates)
                    map.AddAt(id, -1, HeaderNames.LengthOf(id), offset, value.Length);
                return Failure.None;
            case HeaderId.Upgrade:
                // Several fields offer several protocols; one is enough to forward.
                if (info.UpgradeLength == 0)
                    (info.UpgradeOffset, info.UpgradeLength) = (offset, value.Length);
                return Failure.None;
            case HeaderId.Te:
                info.TeTrailers |= HasToken(value, "trailers"u8);
                return Failure.None;
            default:
                return Failure.None;
        }
    }

    /// <returns>False when there are too many tokens.</returns>
    private static bool ReadConnection(Span<byte> value, ref Http1HeadInfo info)
    {
        Ascii.ToLowerInPlace(value);
        ReadOnlySpan<byte> rest = value;
        while (NextToken(ref rest, out var token))
        {
            // A list may have empty elements (RFC 9110 section 5.6.1.2); they say nothing.
            if (token.IsEmpty)
                continue;
            if (++info.ConnectionTokens > ConnectionTokensMax)
                return false;
            if (token.SequenceEqual("close"u8))
                info.Close = true;
            else if (token.SequenceEqual("keep-alive"u8))
                info.KeepAlive = true;
            else if (token.SequenceEqual("upgrade"u8))
                info.ConnectionUpgrade = true;
            else
                info.Nominates = true;
        }
        return true;
    }

    // Removes the fields that Connection names (RFC 9110 section 7.6.1). A peer may not use it to take away what routing and identity rest on, nor
    // what the map keeps under a pseudo-header's name: without :method, the request line we write would be another one.
    private static Failure RemoveNominated(HeaderMap map)
    {
        int index = -1;
        while (map.TryGetNext(HeaderId.Connection, default, ref index, out var value))
        {
            while (NextToken(ref value, out var token))
            {
                if (token.Length > 0 && token[0] == ':')
                    return Failure.Http1ConnectionHeaderRejected;
                switch (HeaderNames.Lookup(token))
                {
                    case HeaderId.Connection or HeaderId.Te or HeaderId.Upgrade:
                        break;
                    case HeaderId.Host or HeaderId.ContentLength or HeaderId.XForwardedFor or HeaderId.XForwardedHost or HeaderId.XForwardedProto
                        or HeaderId.XForwardedClientCert or HeaderId.Authorization or HeaderId.Cookie:
                        return Failure.Http1ConnectionHeaderRejected;
                    default:
                        map.Remove(token);
                        break;
                }
            }
        }
        map.Remove(HeaderId.Connection);
        return Failure.None;
    }

    private static Failure CheckHost(RequestHead head, Http1Options options, in Http1HeadInfo info)
    {
        if (head.Contains(HeaderId.Authority))
            return Failure.None;
        if (info.Version != HttpVersion.Http10 || info.HasHost || options.DefaultHostForHttp10 is not { } host)
            return Failure.MissingHost;
        head.Add(HeaderId.Authority, host.Span);
        return Failure.None;
    }

    // RFC 9112 sections 6.1 and 6.3, without their leniencies.
    private static Failure CheckTransferEncoding(HeaderMap head, Http1Options options, in Http1HeadInfo info)
    {
        if (!info.HasTransferEncoding)
            return Failure.None;
        if (info.Version == HttpVersion.Http10)
            return Failure.Http1TransferEncodingInvalid;
        if (!info.IsChunked || info.Method == Method.Connect)
            return Failure.Http1TransferEncodingUnsupported;
        if (info.ContentLength < 0)
            return Failure.None;
        if (!options.AllowChunkedLength)
            return Failure.Http1ContentLengthWithTransferEncoding;
        head.Remove(HeaderId.ContentLength);
        return Failure.None;
    }

    // A server may ignore Upgrade (RFC 9110 section 7.8). It is ignored with a body, whose end and the tunnel's start could be disputed, from
    // HTTP/1.0, and for h2c, which starts with prior knowledge only.
    private static bool WantsUpgrade(HeaderMap head, in Http1HeadInfo info)
    {
        if (info.UpgradeLength == 0 || !info.ConnectionUpgrade || info.IsChunked || info.ContentLength > 0 || info.Version != HttpVersion.Http11)
            return false;
        return !HasToken(head.Raw(info.UpgradeOffset, info.UpgradeLength), "h2c"u8);
    }

    private static bool HasToken(ReadOnlySpan<byte> list, ReadOnlySpan<byte> wanted)
    {
        while (NextToken(ref list, out var token))
        {
            if (Ascii.EqualsIgnoreCase(token, wanted))
                return true;
        }
        return false;
    }

    private static bool NextToken(ref ReadOnlySpan<byte> list, out ReadOnlySpan<byte> token)
    {
        if (list.IsEmpty)
        {
            token = default;
            return false;
        }
        int comma = list.IndexOf((byte)',');
        token = Ascii.TrimOws(comma < 0 ? list : list[..comma]);
        list = comma < 0 ? default : list[(comma + 1)..];
        return true;
    }
}
