using System;
using System.Collections.Generic;
using System.Text;
using Sidecar.Http;
using Xunit;

namespace Sidecar.Tests.Http;

/// <summary>Messages in a body, whole, byte by byte and cut everywhere.</summary>
public sealed class GrpcFrameReaderTests
{
    private sealed class Recorder : GrpcMessageSink
    {
        internal readonly List<string> Events = [];
        private readonly StringBuilder _message = new();
        internal GrpcFrameReader? StopAtEnd;

        internal override void OnMessageStart(int length) => Events.Add($"start {length}");
        internal override void OnMessagePart(ReadOnlySpan<byte> bytes) => _message.Append(Encoding.ASCII.GetString(bytes));

        internal override void OnMessageEnd()
        {
            Events.Add($"end {_message}");
            _message.Clear();
            StopAtEnd?.Stop();
        }
    }

    private static byte[] Frame(string message, byte flag = 0)
    {
        var frame = new byte[GrpcFrameReader.PrefixBytes + message.Length];
        GrpcFrameReader.WritePrefix(frame, message.Length);
        frame[0] = flag;
        Encoding.ASCII.GetBytes(message, frame.AsSpan(GrpcFrameReader.PrefixBytes));
        return frame;
    }

    private static byte[] Join(params byte[][] parts)
    {
        var all = new List<byte>();
        foreach (byte[] part in parts)
            all.AddRange(part);
        return [.. all];
    }

    [Fact]
    public void Messages_InEveryCut_AreTheSame()
    {
        byte[] body = Join(Frame("one"), Frame(""), Frame("three and more"));
        string[] expected = ["start 3", "end one", "start 0", "end ", "start 14", "end three and more"];
        for (int split = 0; split <= body.Length; split++)
        {
            var recorder = new Recorder();
            var reader = new GrpcFrameReader(recorder, 100);
            Assert.Equal(GrpcStatus.Ok, reader.Feed(body.AsSpan(0, split)));
            Assert.Equal(GrpcStatus.Ok, reader.Feed(body.AsSpan(split)));
            Assert.Equal(expected, recorder.Events);
            Assert.True(reader.AtBoundary);
        }
        var single = new Recorder();
        var byteReader = new GrpcFrameReader(single, 100);
        foreach (byte b in body)
            Assert.Equal(GrpcStatus.Ok, byteReader.Feed([b]));
        Assert.Equal(expected, single.Events);
    }

    [Theory]
    [InlineData(1)]
    [InlineData(4)]
    [InlineData(5)]
    [InlineData(7)]
    public void UnfinishedMessage_IsNotABoundary(int bytes)
    {
        var reader = new GrpcFrameReader(new Recorder(), 100);
        reader.Feed(Frame("abc").AsSpan(0, bytes));
        Assert.False(reader.AtBoundary);
    }

    [Fact]
    public void CompressedMessage_IsInternal()
    {
        var recorder = new Recorder();
        var reader = new GrpcFrameReader(recorder, 100);
        Assert.Equal(GrpcStatus.Internal, reader.Feed(Frame("abc", 1)));
        Assert.Equal("a message is compressed, though no encoding was offered", reader.Problem);
        Assert.Empty(recorder.Events);
    }

    [Theory]
    [InlineData(new byte[] { 0, 0, 0, 0, 11 }, "a message of 11 bytes is larger than the limit of 10")]
    [InlineData(new byte[] { 0, 255, 255, 255, 255 }, "a message of 4294967295 bytes is larger than the limit of 10")]
    public void MessageAboveTheLimit_IsResourceExhausted_BeforeAByteOfIt(byte[] prefix, string problem)
    {
        var recorder = new Recorder();
        var reader = new GrpcFrameReader(recorder, 10);
        Assert.Equal(GrpcStatus.ResourceExhausted, reader.Feed(prefix));
        Assert.Equal(problem, reader.Problem);
        Assert.Empty(recorder.Events);
    }

    [Fact]
    public void Stop_DropsTheRest()
    {
        var recorder = new Recorder();
        var reader = new GrpcFrameReader(recorder, 100);
        recorder.StopAtEnd = reader;
        Assert.Equal(GrpcStatus.Ok, reader.Feed(Join(Frame("one"), Frame("two"))));
        Assert.Equal(["start 3", "end one"], recorder.Events);
    }
}
