using System;
using Sidecar.Http.H2;
using Sidecar.Memory;
using Sidecar.Tests.Harness;
using Xunit;
using H2Frames = Sidecar.Tests.Harness.H2;

namespace Sidecar.Tests.Http.H2;

public sealed class FrameParserTests
{
    [Fact]
    public void Header_ComesBack()
    {
        var bytes = new byte[FrameHeader.Size];
        FrameHeader.Write(bytes, 0xABCDEF, FrameType.GoAway, FrameFlags.EndHeaders, 0x7FFFFFFE);
        var header = FrameHeader.Read(bytes);
        Assert.Equal((0xABCDEF, FrameType.GoAway, FrameFlags.EndHeaders, 0x7FFFFFFEu), (header.Length, header.Type, header.Flags, header.StreamId));
    }

    [Fact]
    public void ReservedBit_IsNotRead() => Assert.Equal(1u, FrameHeader.Read([0, 0, 0, 0, 0, 0x80, 0, 0, 1]).StreamId);

    [Theory]
    [InlineData((int)FrameType.Data, 0, 1u, 16384, (int)Http2Error.NoError)]
    [InlineData((int)FrameType.Data, 0, 1u, 16385, (int)Http2Error.FrameSizeError)]
    [InlineData((int)FrameType.Data, 0, 0u, 1, (int)Http2Error.ProtocolError)]
    [InlineData((int)FrameType.Headers, 0, 0u, 1, (int)Http2Error.ProtocolError)]
    [InlineData((int)FrameType.Priority, 0, 0u, 5, (int)Http2Error.ProtocolError)]
    [InlineData((int)FrameType.Priority, 0, 1u, 4, (int)Http2Error.NoError)]
    [InlineData((int)FrameType.RstStream, 0, 0u, 4, (int)Http2Error.ProtocolError)]
    [InlineData((int)FrameType.RstStream, 0, 1u, 5, (int)Http2Error.FrameSizeError)]
    [InlineData((int)FrameType.Settings, 0, 1u, 0, (int)Http2Error.ProtocolError)]
    [InlineData((int)FrameType.Settings, 0, 0u, 7, (int)Http2Error.FrameSizeError)]
    [InlineData((int)FrameType.Settings, 1, 0u, 6, (int)Http2Error.FrameSizeError)]
    [InlineData((int)FrameType.PushPromise, 0, 0u, 4, (int)Http2Error.ProtocolError)]
    [InlineData((int)FrameType.Ping, 0, 1u, 8, (int)Http2Error.ProtocolError)]
    [InlineData((int)FrameType.Ping, 0, 0u, 7, (int)Http2Error.FrameSizeError)]
    [InlineData((int)FrameType.GoAway, 0, 1u, 8, (int)Http2Error.ProtocolError)]
    [InlineData((int)FrameType.GoAway, 0, 0u, 7, (int)Http2Error.FrameSizeError)]
    [InlineData((int)FrameType.WindowUpdate, 0, 0u, 3, (int)Http2Error.FrameSizeError)]
    [InlineData((int)FrameType.Continuation, 0, 0u, 1, (int)Http2Error.ProtocolError)]
    [InlineData(0x4D, 0, 0u, 0, (int)Http2Error.NoError)]
    [InlineData(0x4D, 0, 0u, 16385, (int)Http2Error.FrameSizeError)]
    public void Frames_AreCheckedByTheirHeader(int type, int flags, uint streamId, int length, int expected) =>
        Assert.Equal((Http2Error)expected, FrameParser.Check(new FrameHeader(length, (FrameType)type, (FrameFlags)flags, streamId), 16384));

    [Theory]
    [InlineData("", 0x8, (int)Http2Error.FrameSizeError)]               // padded, no pad length
    [InlineData("02aabb", 0x8, (int)Http2Error.NoError)]                // all padding
    [InlineData("03aabb", 0x8, (int)Http2Error.ProtocolError)]
    [InlineData("00000001", 0x20, (int)Http2Error.FrameSizeError)]      // priority, four bytes
    [InlineData("000000010f", 0x20, (int)Http2Error.NoError)]
    [InlineData("01000000010f", 0x28, (int)Http2Error.ProtocolError)]   // both, padding longer than what is left
    public void HeadersPayload_IsOpened(string hex, int flags, int expected)
    {
        var payload = Convert.FromHexString(hex);
        Assert.Equal((Http2Error)expected, FrameParser.OpenHeaders(new FrameHeader(payload.Length, FrameType.Headers, (FrameFlags)flags, 1), payload, out _, out _));
    }

    [Theory]
    [InlineData("", (int)PrefaceMatch.Partial)]
    [InlineData("PRI * HTTP/2.0\r\n\r\nSM\r\n\r", (int)PrefaceMatch.Partial)]
    [InlineData("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", (int)PrefaceMatch.Match)]
    [InlineData("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nmore", (int)PrefaceMatch.Match)]
    [InlineData("P", (int)PrefaceMatch.Partial)]
    [InlineData("POST / HTTP/1.1", (int)PrefaceMatch.Mismatch)]
    [InlineData("GET", (int)PrefaceMatch.Mismatch)]
    public void Preface_TellsTheProtocol(string first, int expected) => Assert.Equal((PrefaceMatch)expected, Http2Preface.Detect(H2Frames.Bytes(first)));
}

public sealed class FlowWindowTests
{
    [Fact]
    public void SendWindow_GoesNegative_AndNotBeyondItsMaximum()
    {
        var window = new FlowWindow(10);
        window.Take(10);
        Assert.True(window.TryChange(-5));
        Assert.Equal((-5, 0), (window.Size, window.Available));
        Assert.True(window.TryChange(int.MaxValue));
        Assert.False(window.TryChange(6));
        Assert.True(window.TryChange(5));
    }

    [Fact]
    public void ReceiveWindow_IsGivenBackAtHalf()
    {
        var window = new ReceiveWindow(100);
        Assert.True(window.TryReceive(60));
        window.Consume(49);
        Assert.Equal(0, window.TakeUpdate());
        window.Consume(11);
        Assert.Equal(60, window.TakeUpdate());
        Assert.Equal(100, window.Size);
        Assert.True(window.TryReceive(100));
        Assert.False(window.TryReceive(1));
    }
}

public sealed class FrameWriterTests
{
    [Fact]
    public void PendingFrames_AreNeverCountedTooLow_AndAtMostByAnEighthTooHigh()
    {
        var random = new FastRandom(6);
        var output = new BufferChain(new Slab(512));
        var writer = new FrameWriter(output);
        for (int i = 0; i < 50_000; i++)
        {
            if (random.Next(10) < 6 && output.Length < 900 * 17)
                writer.WritePing(new byte[8], ack: true);
            else if (output.Length > 0)
                output.Drain(1 + random.Next((uint)Math.Min(output.Length, 60)));
            else
                continue;
            long truth = (output.Length + 16) / 17;
            // The writer looks when it writes.
            if (truth > 0)
                Assert.InRange(writer.PendingControlFrames, truth - 1, truth + 130 + 600 / 17);
        }
    }
}

public sealed class Http2SettingsTests
{
    [Fact]
    public void ConnectProtocol_IsNotTakenBack()
    {
        var settings = Http2Settings.Initial;
        Assert.Equal(Http2Error.NoError, settings.Apply(SettingId.EnableConnectProtocol, 1, fromServer: true));
        Assert.Equal(Http2Error.ProtocolError, settings.Apply(SettingId.EnableConnectProtocol, 0, fromServer: true));
        Assert.Equal(Http2Error.ProtocolError, settings.Apply(SettingId.EnableConnectProtocol, 2, fromServer: true));
    }
}
