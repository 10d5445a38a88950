using System;
using System.Buffers.Binary;
using System.Diagnostics;

namespace Sidecar.Http.H2;

/// <summary>Frame types (RFC 9113 section 6); any other is ignored.</summary>
internal enum FrameType : byte { Data, Headers, Priority, RstStream, Settings, PushPromise, Ping, GoAway, WindowUpdate, Continuation }

/// <summary>Flags; one bit can mean two things, by frame type.</summary>
[Flags]
internal enum FrameFlags : byte { None = 0, EndStream = 0x1, Ack = 0x1, EndHeaders = 0x4, Padded = 0x8, Priority = 0x20 }

/// <summary>Error codes (RFC 9113 section 7); an unknown one is treated as its number says, nothing special.</summary>
internal enum Http2Error : uint
{
    NoError, ProtocolError, InternalError, FlowControlError, SettingsTimeout, StreamClosed, FrameSizeError, RefusedStream, Cancel,
    CompressionError, ConnectError, EnhanceYourCalm, InadequateSecurity, Http11Required,
}

/// <summary>The nine bytes every frame starts with.</summary>
/// <remarks>
/// RFC 9113 section 4.1:
/// <code>
/// Length (24) | Type (8) | Flags (8) | R (1) Stream Identifier (31)
/// </code>
/// The reserved bit is ignored.
/// </remarks>
internal readonly struct FrameHeader(int length, FrameType type, FrameFlags flags, uint streamId)
{
    /// <summary>Bytes of a frame header.</summary>
    internal const int Size = 9;

    /// <summary>Bytes after the header.</summary>
    internal readonly int Length = length;
    internal readonly FrameType Type = type;
    internal readonly FrameFlags Flags = flags;
    internal readonly uint StreamId = streamId;

    internal bool Has(FrameFlags flag) => (Flags & flag) != 0;

    /// <summary>Reads a header from the first nine bytes.</summary>
    internal static FrameHeader Read(ReadOnlySpan<byte> bytes)
    {
        Debug.Assert(bytes.Length >= Size);
        uint lengthAndType = BinaryPrimitives.ReadUInt32BigEndian(bytes);
        return new FrameHeader((int)(lengthAndType >> 8), (FrameType)(byte)lengthAndType, (FrameFlags)bytes[4],
            BinaryPrimitives.ReadUInt32BigEndian(bytes[5..]) & 0x7FFFFFFF);
    }

    /// <summary>Writes a header into the first nine bytes.</summary>
    internal static void Write(Span<byte> bytes, int length, FrameType type, FrameFlags flags, uint streamId)
    {
        Debug.Assert((uint)length < 1 << 24);
        BinaryPrimitives.WriteUInt32BigEndian(bytes[5..], streamId);
        BinaryPrimitives.WriteUInt32BigEndian(bytes, ((uint)length << 8) | (byte)type);
        bytes[4] = (byte)flags;
    }
}
