using System;
using Sidecar.Memory;

namespace Sidecar.Http.H1;

/// <summary>What <see cref="Http1Chunked.Next"/> met.</summary>
internal enum ChunkedStep : byte
{
    /// <summary>The input is used up.</summary>
    NeedMore,
    /// <summary>A run of body bytes.</summary>
    Data,
    /// <summary>The last chunk is over: what follows is the trailer section.</summary>
    Trailers,
    /// <summary>Not chunked coding.</summary>
    Invalid,
}

/// <summary>
/// Chunked transfer coding, receive side (RFC 9112 section 7.1), without its trailer section. Every byte is used as it comes, so nothing need be
/// presented twice. Exact: CRLF only, no white space around sizes, extensions by their grammar.
/// </summary>
internal struct Http1Chunked
{
    /// <summary>Hexadecimal digits of a size, leading zeros included: fifteen cannot overflow.</summary>
    private const int DigitsMax = 15;

    /// <summary>Bytes of chunk extensions in one body: nobody uses them, so more is an attempt to make us read without end.</summary>
    private const int ExtensionBytesMax = 4096;

    private enum State : byte
    {
        Size, ExtensionStart, ExtensionName, ExtensionValue, ExtensionToken, ExtensionQuoted, ExtensionQuotedPair, ExtensionQuotedEnd,
        SizeLf, Data, DataCr, DataLf, Trailers,
    }

    private long _left;
    private int _extensionBytes;
    private byte _digits;
    private State _state;

    /// <summary>True right after the last byte of a chunk's data.</summary>
    internal readonly bool AtChunkEnd => _state == State.DataCr;

    /// <summary>Advances through <paramref name="input"/> from <paramref name="position"/> to the next thing worth telling.</summary>
    internal ChunkedStep Next(ReadOnlySpan<byte> input, scoped ref int position, out ReadOnlySpan<byte> data)
    {
        data = default;
        while (_state != State.Trailers)
        {
            if (position == input.Length)
                return ChunkedStep.NeedMore;
            if (_state == State.Data)
            {
                int length = (int)Math.Min(_left, input.Length - position);
                data = input.Slice(position, length);
                position += length;
                _left -= length;
                if (_left == 0)
                    _state = State.DataCr;
                return ChunkedStep.Data;
            }
            if (!Accept(input[position]))
                return ChunkedStep.Invalid;
            position++;
        }
        return ChunkedStep.Trailers;
    }

    private bool Accept(byte b)
    {
        if (_state is >= State.ExtensionStart and <= State.ExtensionQuotedEnd && ++_extensionBytes > ExtensionBytesMax)
            return false;
        switch (_state)
        {
            case State.Size:
                int digit = Ascii.HexValue(b);
                if (digit >= 0)
                {
                    _left = (_left << 4) | (uint)digit;
                    return ++_digits <= DigitsMax;
                }
                return _digits > 0 && EndElement(b);
            case State.ExtensionStart:
                return Ascii.TokenBytes.Contains(b) && Go(State.ExtensionName);
            case State.ExtensionName:
                if (Ascii.TokenBytes.Contains(b))
                    return true;
                if (b == '=')
                    return Go(State.ExtensionValue);
                return EndElement(b);
            case State.ExtensionValue:
                if (b == '"')
                    return Go(State.ExtensionQuoted);
                return Ascii.TokenBytes.Contains(b) && Go(State.ExtensionToken);
            case State.ExtensionToken:
                return Ascii.TokenBytes.Contains(b) || EndElement(b);
            case State.ExtensionQuoted:
                if (b == '"')
                    return Go(State.ExtensionQuotedEnd);
                if (b == '\\')
                    return Go(State.ExtensionQuotedPair);
                return IsText(b);
            case State.ExtensionQuotedPair:
                return IsText(b) && Go(State.ExtensionQuoted);
            case State.ExtensionQuotedEnd:
                return EndElement(b);
            case State.SizeLf:
                return b == '\n' && Go(_left == 0 ? State.Trailers : State.Data);
            case State.DataCr:
                return b == '\r' && Go(State.DataLf);
            default:
                _digits = 0;
                return b == '\n' && Go(State.Size);
        }
    }

    private bool EndElement(byte b) => b switch
    {
        (byte)';' => Go(State.ExtensionStart),
        (byte)'\r' => Go(State.SizeLf),
        _ => false,
    };

    private static bool IsText(byte b) => b is >= 0x20 and not 0x7F or (byte)'\t';

    private bool Go(State state)
    {
        _state = state;
        return true;
    }
}
