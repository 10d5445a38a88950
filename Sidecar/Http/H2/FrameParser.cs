using System;
using System.Diagnostics;

namespace Sidecar.Http.H2;

/// <summary>
/// What can be said of a frame before its stream is known: RFC 9113 section 6's rules on sizes, stream numbers and padding, and where the payload proper lies.
/// </summary>
internal static class FrameParser
{
    /// <summary>Bytes of the priority fields in HEADERS and of a PRIORITY frame's payload.</summary>
    internal const int PriorityBytes = 5;

    /// <summary>Checks a header against the rules of its type; those of a stream's state come after.</summary>
    /// <param name="header">The frame's header.</param>
    /// <param name="maxFrameSize">Our SETTINGS_MAX_FRAME_SIZE.</param>
    /// <returns>The connection error's code, or NoError. A PRIORITY frame's wrong size is the stream's error, and is left to the caller.</returns>
    internal static Http2Error Check(in FrameHeader header, int maxFrameSize)
    {
        if (header.Length > maxFrameSize)
            return Http2Error.FrameSizeError;
        bool onConnection = header.StreamId == 0;
        switch (header.Type)
        {
            case FrameType.Data:
            case FrameType.Headers:
            case FrameType.Continuation:
            case FrameType.Priority:
            case FrameType.PushPromise:
                return onConnection ? Http2Error.ProtocolError : Http2Error.NoError;
            case FrameType.RstStream:
                return onConnection ? Http2Error.ProtocolError : header.Length != 4 ? Http2Error.FrameSizeError : Http2Error.NoError;
            case FrameType.Settings:
                if (!onConnection)
                    return Http2Error.ProtocolError;
                return header.Length % Http2Settings.EntryBytes != 0 || (header.Has(FrameFlags.Ack) && header.Length != 0)
                    ? Http2Error.FrameSizeError : Http2Error.NoError;
            case FrameType.Ping:
                return !onConnection ? Http2Error.ProtocolError : header.Length != 8 ? Http2Error.FrameSizeError : Http2Error.NoError;
            case FrameType.GoAway:
                return !onConnection ? Http2Error.ProtocolError : header.Length < 8 ? Http2Error.FrameSizeError : Http2Error.NoError;
            case FrameType.WindowUpdate:
                return header.Length != 4 ? Http2Error.FrameSizeError : Http2Error.NoError;
            default:
                return Http2Error.NoError;
        }
    }

    /// <summary>Takes padding and priority fields off a HEADERS payload.</summary>
    /// <param name="header">The frame's header.</param>
    /// <param name="payload">All of its payload.</param>
    /// <param name="fragment">The header block fragment.</param>
    /// <param name="dependsOn">The stream depended on; 0 without priority.</param>
    /// <returns>PROTOCOL_ERROR when the padding is as long as what it pads, FRAME_SIZE_ERROR when fields do not fit (section 6.2).</returns>
    internal static Http2Error OpenHeaders(in FrameHeader header, ReadOnlySpan<byte> payload, out ReadOnlySpan<byte> fragment, out uint dependsOn)
    {
        Debug.Assert(payload.Length == header.Length);
        fragment = payload;
        dependsOn = 0;
        int padding = 0;
        if (header.Has(FrameFlags.Padded))
        {
            if (fragment.IsEmpty)
                return Http2Error.FrameSizeError;
            padding = fragment[0];
            fragment = fragment[1..];
        }
        if (header.Has(FrameFlags.Priority))
        {
            if (fragment.Length < PriorityBytes)
                return Http2Error.FrameSizeError;
            dependsOn = ReadDependency(fragment);
            fragment = fragment[PriorityBytes..];
        }
        if (padding > fragment.Length)
            return Http2Error.ProtocolError;
        fragment = fragment[..^padding];
        return Http2Error.NoError;
    }

    /// <summary>The stream a priority field names, without its exclusive bit.</summary>
    internal static uint ReadDependency(ReadOnlySpan<byte> fields) => ReadUInt31(fields);

    /// <summary>Four bytes without the first, reserved, bit.</summary>
    internal static uint ReadUInt31(ReadOnlySpan<byte> bytes) => System.Buffers.Binary.BinaryPrimitives.ReadUInt32BigEndian(bytes) & 0x7FFFFFFF;
}
