using System;
using System.Collections.Generic;
using System.Linq;
using System.Text;
using Envoy.Service.Discovery.V3;
using Google.Protobuf;
using Sidecar.Http;
using Sidecar.Http.H2;
using Sidecar.Linux;
using Sidecar.Memory;
using Sidecar.Net;
using Sidecar.Telemetry;
using Xunit;

namespace Sidecar.Tests.Harness;

/// <summary>
/// A control plane on the test's own thread, by TCP or a Unix socket: it writes down what it is asked and answers only what the test says, lies
/// included. Every wait of the test pumps it.
/// </summary>
internal sealed class FakeAds : IDisposable
{
    private readonly TestLoop _test;
    private readonly List<AdsConnection> _connections = [];
    private int _fd;

    internal FakeAds(TestLoop test, string? unixPath = null)
    {
        _test = test;
        var options = new ListenOptions { Address = unixPath is null ? Address.Loopback(0) : Address.Pipe(unixPath), ReusePort = false };
        var bound = ListenSocket.Bind(options, out string step);
        Assert.True(bound.Ok, step);
        _fd = bound.Fd;
        Assert.True(Sockets.LocalAddress(_fd, out var local).Ok);
        Address = unixPath is null ? Address.From(local) : options.Address;
    }

    internal Address Address { get; }

    /// <summary>Streams that were ever opened, oldest first.</summary>
    internal List<AdsStream> Streams { get; } = [];

    internal IReadOnlyList<AdsConnection> Connections => _connections;

    /// <summary>Turns the loop, and this, until something holds.</summary>
    internal void Until(Func<bool> condition) => _test.Until(() =>
    {
        Pump();
        return condition();
    });

    /// <summary>Waits for the next stream and gives it out.</summary>
    internal AdsStream Accept()
    {
        int next = Streams.FindIndex(stream => !stream.HandedOut);
        if (next < 0)
            Until(() => (next = Streams.FindIndex(stream => !stream.HandedOut)) >= 0);
        Streams[next].HandedOut = true;
        return Streams[next];
    }

    /// <summary>Takes and gives what the sockets have, without waiting.</summary>
    internal void Pump()
    {
        while (_fd >= 0 && Sockets.Accept(_fd, out _) is { Ok: true } accepted)
            _connections.Add(new AdsConnection(this, new TestPeer(accepted.Fd)));
        foreach (var connection in _connections)
            connection.Pump();
    }

    /// <summary>Gone, as a process that is killed: nothing listens, every connection is reset.</summary>
    public void Dispose()
    {
        if (_fd < 0)
            return;
        Sockets.Close(_fd);
        _fd = -1;
        foreach (var connection in _connections)
            connection.Kill();
    }
}

/// <summary>One connection to a <see cref="FakeAds"/>.</summary>
internal sealed class AdsConnection : ServerSide
{
    private readonly FakeAds _owner;
    private readonly TestPeer _peer;
    private readonly Slab _slab = new(4096);
    private readonly BufferChain _output;
    private readonly Http2ServerCodec _codec;
    private byte[] _rest = [];
    private int _taken;

    internal AdsConnection(FakeAds owner, TestPeer peer)
    {
        _owner = owner;
        _peer = peer;
        _output = new BufferChain(_slab);
        _codec = new Http2ServerCodec(_output, this, Http2Options.ServerDefaults, new Http2Pools(_slab));
    }

    internal FakeAds Owner => _owner;
    internal bool IsOpen => !_peer.End && _peer.Error == Errno.None && _peer.Fd >= 0;

    /// <summary>False: it reads nothing any more, as a control plane that hangs.</summary>
    internal bool Reads { get; set; } = true;

    internal void Pump()
    {
        if (_peer.Fd < 0)
            return;
        if (Reads)
        {
            _peer.Receive();
            byte[] input = [.. _rest, .. _peer.Received.Skip(_taken)];
            _taken = _peer.Received.Count;
            _codec.NowMs = 1;
            var result = _codec.Feed(input);
            Assert.Equal(Failure.None, result.Error);
            _rest = input[result.Consumed..];
        }
        while (!_output.IsEmpty)
        {
            int sent = _peer.TrySend(_output.First);
            if (sent <= 0)
                break;
            _output.Drain(sent);
        }
    }

    internal void Kill()
    {
        if (_peer.Fd >= 0)
            _peer.Reset();
        _output.Clear();
    }

    internal override void OnNewStream(ServerStream stream)
    {
        var ads = new AdsStream(this, stream);
        stream.Sink = ads;
        _owner.Streams.Add(ads);
    }
}

/// <summary>A server codec's driver that has nothing to do.</summary>
internal abstract class ServerSide : ServerCodecEvents
{
    internal override void OnOutput()
    {
    }

    internal override void OnWantsInput()
    {
    }

    internal override void OnStreamClosed(CodecStream stream)
    {
    }
}

/// <summary>One call: its requests as they came, and what the test answers.</summary>
internal sealed class AdsStream(AdsConnection connection, ServerStream stream) : RequestSink
{
    private readonly List<byte> _body = [];
    private int _taken;

    internal bool HandedOut { get; set; }
    internal AdsConnection Connection => connection;
    internal List<(string Name, string Value)> Head { get; } = [];
    internal string this[string name] => string.Join(" | ", Head.Where(field => field.Name == name).Select(field => field.Value));

    /// <summary>Messages in full, without their frames.</summary>
    internal List<byte[]> Messages { get; } = [];

    /// <summary>The client has said its last.</summary>
    internal bool Ended { get; private set; }

    internal Failure? ResetReason { get; private set; }
    internal bool IsDelta => this[":path"].Contains("/Delta", StringComparison.Ordinal);

    /// <summary>Waits for exactly these requests to come next.</summary>
    internal AdsStream Expect(params string[] requests)
    {
        connection.Owner.Until(() => Messages.Count >= _taken + requests.Length || ResetReason is not null);
        Assert.Equal(requests, Messages.Skip(_taken).Select(Text));
        _taken = Messages.Count;
        return this;
    }

    private string Text(byte[] message) => IsDelta
        ? DiscoveryMessages.Text(DeltaDiscoveryRequest.Parser.ParseFrom(message))
        : DiscoveryMessages.Text(DiscoveryRequest.Parser.ParseFrom(message));

    internal AdsStream SendHead(int status = 200, string contentType = "application/grpc", bool end = false, params (string Name, string Value)[] more)
    {
        var head = new ResponseHead { Status = status };
        if (contentType.Length > 0)
            head.Add(HeaderId.ContentType, H2.Bytes(contentType));
        foreach (var (name, value) in more)
            head.Add(H2.Bytes(name), H2.Bytes(value));
        stream.SendHead(head, end);
        connection.Pump();
        return this;
    }

    /// <summary>Answers; the head goes first where it has not.</summary>
    internal AdsStream Send(IMessage response) => SendMessage(response.ToByteArray());

    internal AdsStream SendMessage(byte[] message)
    {
        var prefix = new byte[GrpcFrameReader.PrefixBytes];
        GrpcFrameReader.WritePrefix(prefix, message.Length);
        return SendRaw([.. prefix, .. message]);
    }

    /// <summary>The request's body as it came, where it is no gRPC.</summary>
    internal string Text() => Encoding.UTF8.GetString(_body.ToArray());

    /// <summary>Sends a whole body that is no gRPC, after its head.</summary>
    internal void SendAll(string body)
    {
        stream.SendBody(Encoding.UTF8.GetBytes(body), endStream: true);
        connection.Pump();
    }

    /// <summary>Sends bytes of the body, whatever they are.</summary>
    internal AdsStream SendRaw(byte[] bytes)
    {
        if (!_headSent)
            SendHead();
        _headSent = true;
        stream.SendBody(bytes, endStream: false);
        connection.Pump();
        return this;
    }

    private bool _headSent;

    internal void SendStatus(int status, string message = "")
    {
        if (!_headSent)
            SendHead();
        var trailers = new HeaderMap();
        trailers.Add(HeaderId.GrpcStatus, Encoding.ASCII.GetBytes(status.ToString()));
        if (message.Length > 0)
            trailers.Add(HeaderId.GrpcMessage, Encoding.ASCII.GetBytes(message));
        stream.SendTrailers(trailers);
        connection.Pump();
    }

    internal void Reset()
    {
        stream.Reset(Failure.LocalReset);
        connection.Pump();
    }

    internal override void OnHead(RequestHead head, bool endStream)
    {
        TestRequest.Copy(head, Head);
        Ended = endStream;
    }

    internal override void OnBody(ReadOnlySpan<byte> data, bool endStream)
    {
        _body.AddRange(data);
        Ended = endStream;
        while (_body.Count >= GrpcFrameReader.PrefixBytes && this["content-type"] == "application/grpc")
        {
            int length = _body[1] << 24 | _body[2] << 16 | _body[3] << 8 | _body[4];
            Assert.Equal(0, _body[0]);
            if (_body.Count < GrpcFrameReader.PrefixBytes + length)
                return;
            Messages.Add([.. _body.Skip(GrpcFrameReader.PrefixBytes).Take(length)]);
            _body.RemoveRange(0, GrpcFrameReader.PrefixBytes + length);
        }
    }

    internal override void OnTrailers(HeaderMap trailers) => Ended = true;

    internal override void OnReset(Failure reason) => ResetReason = reason;

    internal override void OnSendBlocked()
    {
    }

    internal override void OnSendReady()
    {
    }
}
