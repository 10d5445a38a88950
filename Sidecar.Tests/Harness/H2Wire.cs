using System;
using System.Collections.Generic;
using System.Linq;
using System.Text;
using Sidecar.Http.H2;
using Sidecar.Http.H2.Hpack;
using Xunit;

namespace Sidecar.Tests.Harness;

/// <summary>HTTP/2 by hand over a socket, as either end: frames in, frames out, heads decoded.</summary>
internal sealed class H2Wire
{
    private readonly DataPlaneHarness _plane;
    private readonly bool _isServer;
    private readonly HpackDecoder _hpack = new(new HpackScratch(), 4096);
    private int _at;
    private bool _prefaceSeen;

    internal H2Wire(DataPlaneHarness plane, TestPeer peer, bool isServer)
    {
        _plane = plane;
        Peer = peer;
        _isServer = isServer;
        if (!isServer)
            Peer.Send(H2.Preface);
        Send(H2.Settings(), H2.WindowUpdate(0, 1 << 20));
    }

    internal TestPeer Peer { get; }
    internal List<H2Frame> Frames { get; } = [];

    /// <summary>All header blocks of a stream, one after the other.</summary>
    internal Dictionary<uint, List<(string Name, string Value)>> Heads { get; } = [];

    internal void Send(params byte[][] frames) => Peer.Send(H2.Join(frames));

    /// <summary>The fields of a stream's heads and trailers with this name.</summary>
    internal string Header(uint stream, string name) => string.Join(" | ", Heads.GetValueOrDefault(stream, []).Where(f => f.Name == name).Select(f => f.Value));

    internal string Body(uint stream) =>
        Encoding.Latin1.GetString(Frames.Where(f => f.Type == FrameType.Data && f.StreamId == stream).SelectMany(f => f.Payload).ToArray());

    /// <summary>Turns until a frame came that fits.</summary>
    internal H2Frame Expect(Func<H2Frame, bool> fits)
    {
        _plane.Loop.Until(() => { Read(); return Frames.Any(fits) || Peer.End; });
        Assert.True(Frames.Any(fits), $"not among [{string.Join(", ", Frames)}]");
        return Frames.First(fits);
    }

    internal H2Frame Expect(FrameType type, uint stream) => Expect(f => f.Type == type && f.StreamId == stream);

    /// <summary>Turns until a stream's peer has ended it.</summary>
    internal void ExpectEnd(uint stream) => Expect(f => f.StreamId == stream && f.EndStream);

    private void Read()
    {
        Peer.Receive();
        var bytes = Peer.Received.Skip(_at).ToArray();
        int at = 0;
        if (_isServer && !_prefaceSeen)
        {
            if (bytes.Length < H2.Preface.Length)
                return;
            Assert.Equal(H2.Preface, bytes[..H2.Preface.Length]);
            _prefaceSeen = true;
            at = H2.Preface.Length;
        }
        while (bytes.Length - at >= FrameHeader.Size)
        {
            var header = FrameHeader.Read(bytes.AsSpan(at));
            if (bytes.Length - at < FrameHeader.Size + header.Length)
                break;
            var frame = new H2Frame(header.Type, header.Flags, header.StreamId, bytes.AsSpan(at + FrameHeader.Size, header.Length).ToArray());
            Frames.Add(frame);
            at += FrameHeader.Size + header.Length;
            if (frame.Type == FrameType.Headers)
                ReadBlock(frame);
            if (frame.Type == FrameType.Settings && !frame.IsAck)
                Send(H2.Frame(FrameType.Settings, FrameFlags.Ack, 0));
        }
        _at += at;
    }

    private void ReadBlock(H2Frame frame)
    {
        Assert.True((frame.Flags & FrameFlags.EndHeaders) != 0);
        _hpack.BeginBlock();
        int position = 0;
        HpackStatus status;
        if (!Heads.TryGetValue(frame.StreamId, out var fields))
            Heads.Add(frame.StreamId, fields = []);
        while ((status = _hpack.Next(frame.Payload, ref position, true, out var field)) == HpackStatus.Field)
            fields.Add((Encoding.Latin1.GetString(field.Name), Encoding.Latin1.GetString(field.Value)));
        Assert.Equal(HpackStatus.End, status);
    }
}
