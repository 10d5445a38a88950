using System;
using System.Buffers.Binary;

namespace Sidecar.Http;

/// <summary>Takes the messages of a gRPC stream, in parts as they arrive.</summary>
internal abstract class GrpcMessageSink
{
    /// <summary>A message of this many bytes begins.</summary>
    internal abstract void OnMessageStart(int length);

    /// <summary>The next bytes of it, valid during the call only.</summary>
    internal abstract void OnMessagePart(ReadOnlySpan<byte> bytes);

    /// <summary>It is complete.</summary>
    internal abstract void OnMessageEnd();
}

/// <summary>
/// The frame around a gRPC message ("gRPC over HTTP2", Length-Prefixed-Message), and the reader that finds messages in a body. It passes the bytes
/// on as they come and holds none, so a message of a hundred megabytes costs only what its sink keeps of it.
/// <code>
///   | compressed, 1 byte | length, 4 bytes, big-endian | message |
/// </code>
/// </summary>
internal sealed class GrpcFrameReader(GrpcMessageSink sink, int messageBytesMax)
{
    /// <summary>Bytes before each message.</summary>
    internal const int PrefixBytes = 5;

    // The prefix as far as it has arrived: the compressed flag, then the length.
    private int _prefixCount;
    private uint _length;
    private bool _compressed;

    private int _left;
    private bool _inMessage;
    private bool _stopped;

    /// <summary>Between two messages: a fine place for the body to end.</summary>
    internal bool AtBoundary => !_inMessage && _prefixCount == 0;

    /// <summary>Why <see cref="Feed"/> refused.</summary>
    internal string Problem { get; private set; } = "";

    /// <summary>Writes the frame of an uncompressed message.</summary>
    internal static void WritePrefix(Span<byte> prefix, int length)
    {
        prefix[0] = 0;
        BinaryPrimitives.WriteUInt32BigEndian(prefix[1..], (uint)length);
    }

    /// <summary>Takes bytes of the body.</summary>
    /// <returns>Ok; else the status the call ends with, and <see cref="Problem"/> says why. No more may be fed then.</returns>
    internal GrpcStatus Feed(ReadOnlySpan<byte> data)
    {
        while (data.Length > 0 && !_stopped)
        {
            if (_inMessage)
            {
                int part = Math.Min(_left, data.Length);
                _left -= part;
                sink.OnMessagePart(data[..part]);
                data = data[part..];
                EndIfComplete();
                continue;
            }
            if (_prefixCount++ == 0)
                _compressed = data[0] != 0;
            else
                _length = _length << 8 | data[0];
            data = data[1..];
            if (_prefixCount < PrefixBytes)
                continue;
            var refused = Check();
            if (refused != GrpcStatus.Ok)
                return refused;
            _prefixCount = 0;
            _inMessage = true;
            _left = (int)_length;
            _length = 0;
            sink.OnMessageStart(_left);
            EndIfComplete();
        }
        return GrpcStatus.Ok;
    }

    /// <summary>The sink wants no more, from within a call to it: what is left of the data is dropped.</summary>
    internal void Stop() => _stopped = true;

    private GrpcStatus Check()
    {
        // We offer no grpc-accept-encoding, so a compressed message is the peer's mistake.
        if (_compressed)
        {
            Problem = "a message is compressed, though no encoding was offered";
            return GrpcStatus.Internal;
        }
        if (_length > (uint)messageBytesMax)
        {
            Problem = $"a message of {_length} bytes is larger than the limit of {messageBytesMax}";
            return GrpcStatus.ResourceExhausted;
        }
        return GrpcStatus.Ok;
    }

    private void EndIfComplete()
    {
        if (_left > 0 || _stopped)
            return;
        _inMessage = false;
        sink.OnMessageEnd();
    }
}
