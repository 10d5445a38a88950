using System;
using System.Buffers.Binary;

namespace Sidecar.Http.H2;

/// <summary>Settings (RFC 9113 section 6.5.2, RFC 8441 section 3); others are ignored.</summary>
internal enum SettingId : ushort
{
    HeaderTableSize = 1, EnablePush = 2, MaxConcurrentStreams = 3, InitialWindowSize = 4, MaxFrameSize = 5, MaxHeaderListSize = 6,
    EnableConnectProtocol = 8,
}

/// <summary>A peer's settings; <see cref="Initial"/> until it says otherwise.</summary>
internal struct Http2Settings
{
    /// <summary>Bytes of one entry: a number and a value.</summary>
    internal const int EntryBytes = 6;

    internal const int FrameSizeMin = 16384;
    internal const int FrameSizeMax = (1 << 24) - 1;

    internal uint HeaderTableSize;
    internal uint MaxConcurrentStreams;
    internal int InitialWindowSize;
    internal int MaxFrameSize;
    internal uint MaxHeaderListSize;
    internal bool EnableConnectProtocol;

    internal static readonly Http2Settings Initial = new()
    {
        HeaderTableSize = 4096,
        MaxConcurrentStreams = uint.MaxValue,
        InitialWindowSize = FlowWindow.InitialSize,
        MaxFrameSize = FrameSizeMin,
        MaxHeaderListSize = uint.MaxValue,
    };

    /// <summary>Reads an entry.</summary>
    internal static (SettingId Id, uint Value) Read(ReadOnlySpan<byte> entry) =>
        ((SettingId)BinaryPrimitives.ReadUInt16BigEndian(entry), BinaryPrimitives.ReadUInt32BigEndian(entry[2..]));

    /// <summary>Takes one entry over.</summary>
    /// <param name="id">Its number.</param>
    /// <param name="value">Its value.</param>
    /// <param name="fromServer">The sender is a server, which cannot enable push (RFC 9113 section 6.5.2).</param>
    /// <returns>The connection error's code, or NoError.</returns>
    internal Http2Error Apply(SettingId id, uint value, bool fromServer)
    {
        switch (id)
        {
            case SettingId.HeaderTableSize:
                HeaderTableSize = value;
                break;
            case SettingId.EnablePush:
                if (value > 1 || (fromServer && value != 0))
                    return Http2Error.ProtocolError;
                break;
            case SettingId.MaxConcurrentStreams:
                MaxConcurrentStreams = value;
                break;
            case SettingId.InitialWindowSize:
                if (value > FlowWindow.SizeMax)
                    return Http2Error.FlowControlError;
                InitialWindowSize = (int)value;
                break;
            case SettingId.MaxFrameSize:
                if (value is < FrameSizeMin or > FrameSizeMax)
                    return Http2Error.ProtocolError;
                MaxFrameSize = (int)value;
                break;
            case SettingId.MaxHeaderListSize:
                MaxHeaderListSize = value;
                break;
            case SettingId.EnableConnectProtocol:
                // Once 1, it stays (RFC 8441 section 3).
                if (value > 1 || (value == 0 && EnableConnectProtocol))
                    return Http2Error.ProtocolError;
                EnableConnectProtocol = value == 1;
                break;
        }
        return Http2Error.NoError;
    }
}
