using System;
using System.Collections.Generic;
using Sidecar.Http.H2;
using Sidecar.Telemetry;
using Sidecar.Tests.Harness;
using Xunit;

namespace Sidecar.Tests.Conformance;

/// <summary>What h2spec's hpack group (8 cases) asks of a server, by section of RFC 7541: every decoding error ends the connection with COMPRESSION_ERROR.</summary>
public sealed class Http2HpackTests
{
    private static void IsDecodingError(params byte[] block) => H2ClientPeer.Everywhere(peer =>
    {
        peer.Handshake();
        peer.Send(H2.Headers(1, block));
        peer.ExpectConnectionError(Failure.Http2CompressionError, Http2Error.CompressionError);
    });

    [Fact]
    public void H2_3_3_1_IndexedField_InvalidIndex_IsDecodingError() => IsDecodingError(H2.Join(H2.Get(), [0xC6]));

    [Fact]
    public void H2_3_3_2_Literal_InvalidIndex_IsDecodingError() => IsDecodingError(H2.Join(H2.Get(), [0x7F, 0x09, 0x01, 0x61]));

    [Fact]
    public void H4_2_1_TableSizeUpdateAtTheEnd_IsDecodingError() => IsDecodingError(H2.Join(H2.Get(), [0x20]));

    [Fact]
    public void H5_2_1_HuffmanPaddingLongerThan7Bits_IsDecodingError() =>
        IsDecodingError(H2.Join(H2.Get(), [0x00, 0x85, 0xF2, 0xB2, 0x4A, 0x84, 0xFF, 0x84, 0x9C, 0x48, 0xFF, 0xFF]));

    [Fact]
    public void H5_2_2_HuffmanPaddedByZero_IsDecodingError() => IsDecodingError(H2.Join(H2.Get(), [0x00, 0x81, 0x18, 0x01, 0x61]));

    [Fact]
    public void H5_2_3_HuffmanWithEndOfString_IsDecodingError() =>
        IsDecodingError(H2.Join(H2.Get(), [0x00, 0x85, 0xF2, 0xB2, 0x4A, 0x87, 0xFF, 0x84, 0xFF, 0xFF, 0xFF, 0xFF]));

    [Fact]
    public void H6_1_1_IndexedFieldWithIndex0_IsDecodingError() => IsDecodingError(H2.Join(H2.Get(), [0x80]));

    [Fact]
    public void H6_3_1_TableSizeUpdateLargerThanTheSetting_IsDecodingError()
    {
        var update = new List<byte>();
        H2.Integer(update, 0x20, 5, 4097);
        IsDecodingError(H2.Join(update.ToArray(), H2.Get()));
    }
}
