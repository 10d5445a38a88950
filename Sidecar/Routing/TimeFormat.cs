using System;
using System.Collections.Generic;
using System.Globalization;
using Sidecar.Memory;

namespace Sidecar.Routing;

/// <summary>
/// A point in time as text, by strftime's conversions as far as Envoy's formats use them: <c>%Y-%m-%dT%H:%M:%S.%3fZ</c>, with <c>%3f</c> for that many digits of
/// the second's fraction and <c>%s</c> for seconds since 1970. Always UTC.
/// </summary>
/// <remarks>Shared immutable; writing allocates nothing.</remarks>
internal sealed class TimeFormat
{
    internal static readonly TimeFormat Iso8601 = TryParse("%Y-%m-%dT%H:%M:%S.%3fZ", out _)!;

    /// <summary>A literal byte with conversion 0, or a conversion.</summary>
    private readonly record struct Piece(byte Literal, char Conversion, int Digits);

    private readonly Piece[] _pieces;

    private TimeFormat(Piece[] pieces) => _pieces = pieces;

    /// <summary>Parses a format; null, with the conversion that is not known in <paramref name="unknown"/>.</summary>
    internal static TimeFormat? TryParse(string text, out string unknown)
    {
        var pieces = new List<Piece>();
        unknown = "";
        for (int i = 0; i < text.Length; i++)
        {
            if (text[i] != '%')
            {
                foreach (byte b in System.Text.Encoding.UTF8.GetBytes(text[i].ToString()))
                    pieces.Add(new Piece(b, '\0', 0));
                continue;
            }
            int start = i++;
            int digits = i < text.Length && text[i] is >= '1' and <= '9' ? text[i++] - '0' : 0;
            if (i >= text.Length || "aAbBdDeFHIjmMpsSTyYzZRf%nt".IndexOf(text[i], StringComparison.Ordinal) < 0 || (digits > 0 && text[i] is not ('f' or 's')))
            {
                unknown = text[start..Math.Min(i + 1, text.Length)];
                return null;
            }
            // %f alone is nanoseconds; %3s is the seconds with that much of a fraction run together.
            pieces.Add(new Piece(0, text[i], text[i] == 'f' && digits == 0 ? 9 : digits));
        }
        return new TimeFormat(pieces.ToArray());
    }

    internal void Write(long unixMs, ref SpanWriter writer)
    {
        var time = DateTimeOffset.FromUnixTimeMilliseconds(unixMs);
        Span<byte> text = stackalloc byte[32];
        foreach (var piece in _pieces)
        {
            switch (piece.Conversion)
            {
                case '\0':
                    writer.WriteByte(piece.Literal);
                    break;
                case 'f':
                    WriteFraction(time.Millisecond, piece.Digits, ref writer);
                    break;
                case 's':
                    writer.WriteDecimal(Math.DivRem(unixMs, 1000).Quotient);
                    WriteFraction(time.Millisecond, piece.Digits, ref writer);
                    break;
                case 'e':
                    WritePadded(time.Day, 2, (byte)' ', ref writer);
                    break;
                case 'j':
                    WritePadded(time.DayOfYear, 3, (byte)'0', ref writer);
                    break;
                case '%':
                    writer.WriteByte((byte)'%');
                    break;
                case 'n':
                    writer.WriteByte((byte)' ');
                    break;
                case 't':
                    writer.WriteByte((byte)'\t');
                    break;
                default:
                    if (time.TryFormat(text, out int length, DotNet(piece.Conversion), CultureInfo.InvariantCulture))
                        writer.Write(text[..length]);
                    break;
            }
        }
    }

    private static string DotNet(char conversion) => conversion switch
    {
        'a' => "ddd",
        'A' => "dddd",
        'b' => "MMM",
        'B' => "MMMM",
        'd' => "dd",
        'D' => "MM'/'dd'/'yy",
        'F' => "yyyy'-'MM'-'dd",
        'H' => "HH",
        'I' => "hh",
        'm' => "MM",
        'M' => "mm",
        'p' => "tt",
        'S' => "ss",
        'T' => "HH':'mm':'ss",
        'R' => "HH':'mm",
        'y' => "yy",
        'Y' => "yyyy",
        'z' => "'+0000'",
        _ => "'UTC'",
    };

    // Milliseconds are what the clock gives; further digits are zeros.
    private static void WriteFraction(int millisecond, int digits, ref SpanWriter writer)
    {
        int divisor = 100;
        for (int i = 0; i < digits; i++)
        {
            writer.WriteByte((byte)('0' + (divisor > 0 ? millisecond / divisor % 10 : 0)));
            divisor /= 10;
        }
    }

    private static void WritePadded(int value, int width, byte padding, ref SpanWriter writer)
    {
        for (int bound = (int)Math.Pow(10, width - 1); bound > 1 && value < bound; bound /= 10)
            writer.WriteByte(padding);
        writer.WriteDecimal(value);
    }
}
