using System;
using System.Runtime.CompilerServices;
using Sidecar.Memory;
using Sidecar.Telemetry;

namespace Sidecar.Http.H1;

/// <summary>Who gets a body from <see cref="Http1BodyReader"/>: a stream.</summary>
internal interface IHttp1BodyTarget
{
    /// <summary>Where trailers are kept.</summary>
    HeaderMap Trailers { get; }

    /// <summary>Body bytes, or nothing but the end.</summary>
    /// <returns>False when the stream is over: read no more.</returns>
    bool ReceiveBody(ReadOnlySpan<byte> data, bool end);

    /// <summary>The end, with what is now in <see cref="Trailers"/>.</summary>
    void ReceiveTrailers();
}

/// <summary>Reads one message's body in the framing its head announced, and hands it on in as few pieces as the input allows.</summary>
internal struct Http1BodyReader
{
    /// <summary>Chunks up to this size are gathered, so that a body of one-byte chunks does not become one event (and one HTTP/2 frame) a byte.</summary>
    private const int SmallChunk = 128;

    private const int GatherBytes = 512;

    private long _left;
    private Http1Chunked _chunked;
    private Http1Parser _trailers;
    private BodyKind _kind;

    /// <summary>Starts a body that is not empty.</summary>
    internal void Start(BodyFraming framing)
    {
        _kind = framing.Kind;
        _left = framing.Length;
        _chunked = default;
        _trailers = default;
    }

    /// <summary>
    /// Reads from <paramref name="position"/> on. The target is told the end; nothing of this reader is touched after that, so it may be started
    /// anew from inside.
    /// </summary>
    internal Failure Read(ReadOnlySpan<byte> input, scoped ref int position, IHttp1BodyTarget target, Http1Options options)
    {
        switch (_kind)
        {
            case BodyKind.Length:
                int length = (int)Math.Min(_left, input.Length - position);
                if (length == 0)
                    return Failure.None;
                var data = input.Slice(position, length);
                position += length;
                _left -= length;
                target.ReceiveBody(data, _left == 0);
                return Failure.None;
            case BodyKind.Streamed:
                return ReadChunked(input, ref position, target, options);
            default:
                data = input[position..];
                position = input.Length;
                if (data.Length > 0)
                    target.ReceiveBody(data, false);
                return Failure.None;
        }
    }

    [SkipLocalsInit]
    private Failure ReadChunked(ReadOnlySpan<byte> input, scoped ref int position, IHttp1BodyTarget target, Http1Options options)
    {
        Span<byte> gathered = stackalloc byte[GatherBytes];
        int count = 0;
        while (true)
        {
            switch (_chunked.Next(input, ref position, out var data))
            {
                case ChunkedStep.Data:
                    bool end = _chunked.AtChunkEnd && input[position..].StartsWith("\r\n0\r\n\r\n"u8);
                    if (end)
                        position += 7;
                    if (data.Length <= SmallChunk && (count > 0 || !end))
                    {
                        if (count + data.Length > GatherBytes)
                        {
                            if (!target.ReceiveBody(gathered[..count], false))
                                return Failure.None;
                            count = 0;
                        }
                        data.CopyTo(gathered[count..]);
                        count += data.Length;
                        if (!end)
                            continue;
                        target.ReceiveBody(gathered[..count], true);
                        return Failure.None;
                    }
                    if (count > 0 && !target.ReceiveBody(gathered[..count], false))
                        return Failure.None;
                    count = 0;
                    if (!target.ReceiveBody(data, end) || end)
                        return Failure.None;
                    continue;

                case ChunkedStep.Trailers:
                    var rest = input[position..];
                    if (rest.StartsWith("\r\n"u8))
                    {
                        position += 2;
                        target.ReceiveBody(gathered[..count], true);
                        return Failure.None;
                    }
                    if (count > 0 && !target.ReceiveBody(gathered[..count], false))
                        return Failure.None;
                    return ReadTrailers(rest, ref position, target, options);

                case ChunkedStep.NeedMore:
                    if (count > 0)
                        target.ReceiveBody(gathered[..count], false);
                    return Failure.None;

                default:
                    bool goesOn = count == 0 || target.ReceiveBody(gathered[..count], false);
                    return goesOn ? Failure.Http1ChunkedInvalid : Failure.None;
            }
        }
    }

    private Failure ReadTrailers(ReadOnlySpan<byte> rest, scoped ref int position, IHttp1BodyTarget target, Http1Options options)
    {
        var failure = _trailers.FindEnd(rest, options.MaxHeadBytes, out int length);
        if (failure != Failure.None || length == 0)
            return failure;
        position += length;
        failure = Http1Parser.ReadTrailers(rest[..length], target.Trailers, options);
        if (failure != Failure.None)
            return failure;
        if (options.EnableTrailers && !target.Trailers.IsEmpty)
            target.ReceiveTrailers();
        else
            target.ReceiveBody(default, true);
        return Failure.None;
    }
}
