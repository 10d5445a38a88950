using System;
using System.Collections.Generic;
using System.Diagnostics;
using Sidecar.Filters;
using Sidecar.Http;
using Sidecar.Http.H1;
using Sidecar.Http.H2;
using Sidecar.Loop;
using Sidecar.Memory;
using Sidecar.Net;
using Sidecar.Telemetry;

namespace Sidecar.Downstream;

/// <summary>
/// What an HTTP connection has while something goes on: the codec, which it feeds; the chain the codec writes to; the open streams, a
/// <see cref="HttpStream"/> per request.
/// </summary>
/// <remarks>Worker-owned, pooled by version in its <see cref="HttpConnectionManager"/>; belongs to one <see cref="HttpConnection"/> at a time.</remarks>
internal sealed class HttpSession : ServerCodecEvents, IWorkOwner, ITimerOwner, IFaultable
{
    /// <summary>A codec's own timers (flush timeout, keep-alive PING) are checked this often while there is something to time.</summary>
    private const long TickMs = 1000;

    private const int SettleWork = 0;
    private const int MoreInputWork = 1;

    private readonly HttpConnectionManager _manager;
    private readonly EventLoop _loop;

    // Codecs outlive connections, so they write to a chain of their own, which moves to the connection (blocks are relinked) once at the end of the
    // turn: a burst of small frames from many streams costs one send. HTTP/1 answers one request at a time, so nothing is won by waiting for other events:
    // it sends when its own is over, out of a block that then serves the next.
    private readonly BufferChain _output;
    private readonly LoopWork _settle;
    private LoopWork? _moreInput;
    private LoopTimer? _tick;

    // Streams that have not ended; the codec may count more for a moment, those whose end it has still to tell.
    private readonly List<HttpStream> _open = [];

    private HttpConnection _owner = null!;
    private Connection _connection = null!;
    private int _streams;
    private bool _inputPaused;

    internal HttpSession(HttpConnectionManager manager, HttpVersion version)
    {
        _manager = manager;
        _loop = manager.Worker.Loop;
        _output = new BufferChain(_loop.Slab);
        _settle = new LoopWork(this, SettleWork);
        Codec = version == HttpVersion.Http2
            ? new Http2ServerCodec(_output, this, manager.Config.Http2, manager.Worker.Http2Pools)
            : new Http1ServerCodec(_output, this, manager.Config.Http1);
    }

    internal HttpCodec Codec { get; }

    internal int OpenStreams => _open.Count;

    /// <summary>What its open streams and its codec hold.</summary>
    internal long HeldBytes
    {
        get
        {
            long bytes = _output.Length;
            foreach (var stream in _open)
                bytes += stream.HeldBytes;
            return bytes;
        }
    }

    /// <summary>The codec has streams, ended ones of this turn among them.</summary>
    internal bool HasStreams => _streams > 0;

    private bool IsHttp2 => Codec.Version == HttpVersion.Http2;

    internal void Attach(HttpConnection owner)
    {
        _owner = owner;
        _connection = owner.Connection;
        if (_connection.IsAboveHighWatermark)
            Codec.OnOutputBlocked(true);
        if (IsHttp2)
            ScheduleTick();
    }

    /// <summary>As new, for the pool.</summary>
    internal void Detach()
    {
        _loop.Cancel(_settle);
        if (_moreInput is not null)
            _loop.Cancel(_moreInput);
        if (_tick is not null)
            _loop.Cancel(_tick);
        _output.Clear();
        Codec.Reset();
        _owner = null!;
        _connection = null!;
        _streams = 0;
        _inputPaused = false;
    }

    /// <summary>Received bytes go to the codec.</summary>
    /// <returns>Bytes consumed.</returns>
    internal int OnData(ReadOnlySpan<byte> data)
    {
        if (!Codec.WantsInput)
        {
            PauseInput();
            return 0;
        }
        Codec.NowMs = _loop.NowMs;
        // HTTP/1 must know before it answers; HTTP/2 says so after its SETTINGS.
        if (!IsHttp2)
            _owner.PassDrainToCodec();
        var result = Codec.Feed(data);
        if (_owner.IsClosing)
            return data.Length;
        if (result.Error == Failure.None)
            _owner.PassDrainToCodec();
        // A request under way, the usual case, has left nothing to settle.
        if (_open.Count == 0 || !_output.IsEmpty || Codec.IsFinished || Codec.IsOutputEnded)
            Settle();
        _owner.TimeHead(Codec.IsHeadPartial);
        if (result.Error != Failure.None)
        {
            _owner.Fail(result.Error);
            return data.Length;
        }
        if (result.Consumed < data.Length)
        {
            if (!Codec.WantsInput)
                PauseInput();
            else if (Codec.InputDeferred)
                DeferInput();
        }
        return result.Consumed;
    }

    /// <summary>Sends what the codec wrote, and sees whether it is through, at the end of this turn (HTTP/2) or event.</summary>
    internal void Settle()
    {
        if (IsHttp2)
            _loop.RunAtTurnEnd(_settle);
        else
            _loop.RunAfterEvent(_settle);
    }

    /// <summary>What the codec wrote goes to the connection.</summary>
    internal void MoveOutput()
    {
        if (!_output.IsEmpty)
            _output.MoveAllTo(_connection.Output);
    }

    public void OnWork(LoopWork work)
    {
        if (_owner.IsClosing)
            return;
        if (work.Kind == MoreInputWork)
        {
            if (_inputPaused && Codec.WantsInput)
                ResumeInput();
            return;
        }
        if (Codec.IsFinished)
        {
            _owner.CloseAfterOutput();
            return;
        }
        if (!_output.IsEmpty)
        {
            _connection.SendGathered(_output);
            if (_owner.IsClosing)
                return;
        }
        if (Codec.IsOutputEnded && !_connection.WriteEnded)
            _connection.ShutdownWrite();
        // Between two requests an HTTP/1 connection needs none of this.
        if (_open.Count == 0 && Codec is Http1ServerCodec { IsAtRest: true } && !_inputPaused && _connection.BufferedInput == 0)
            _owner.EndSession();
    }

    public void OnFault() => _connection.OnFault();

    public void OnTimer(LoopTimer timer)
    {
        if (_owner.IsClosing)
            return;
        var failure = Codec.OnTick(_loop.NowMs);
        Settle();
        if (failure != Failure.None)
            _owner.Fail(failure);
        else if (_streams > 0 || _manager.Config.Http2.KeepaliveIntervalMs > 0)
            ScheduleTick();
    }

    /// <summary>The connection is gone.</summary>
    /// <param name="toCodec">What the codec is told.</param>
    /// <param name="toStreams">What streams are told that the codec forgot.</param>
    /// <param name="broken">An exception left the codec: it is told nothing, and used no more.</param>
    internal void OnConnectionLost(Failure toCodec, Failure toStreams, bool broken)
    {
        if (!broken)
            Codec.OnConnectionLost(toCodec);
        while (_open.Count > 0)
            _open[^1].OnConnectionLost(toStreams);
        Debug.Assert(_streams == 0 || broken);
        if (broken)
            _output.Clear();
    }

    /// <summary>A stream has ended, whichever way.</summary>
    internal void OnStreamEnded(HttpStream stream)
    {
        int last = _open.Count - 1;
        if (stream.Position != last)
        {
            var moved = _open[last];
            _open[stream.Position] = moved;
            moved.Position = stream.Position;
        }
        _open.RemoveAt(last);
    }

    /// <summary>For <see cref="IMemoryReleaser"/>.</summary>
    internal (int Streams, long Bytes) Release(long bytesWanted, long bytesMin, int streamsMax)
    {
        int streams = 0;
        long freed = 0;
        for (int i = _open.Count - 1; i >= 0 && freed < bytesWanted && streams < streamsMax; i--)
        {
            // The end of one may take others with it.
            if (i >= _open.Count)
                continue;
            long bytes = _open[i].HeldBytes;
            if (bytes < bytesMin)
                continue;
            freed += bytes;
            streams++;
            _open[i].ResetDownstream(Failure.OverloadManager);
        }
        return (streams, freed);
    }

    private void ScheduleTick() => _loop.Schedule(_tick ??= new LoopTimer(this), TickMs);

    // Requests beyond one turn's share wait until the others have had their turn. Reading waits too, or each further read of this turn would take
    // another share.
    private void DeferInput()
    {
        PauseInput();
        _loop.RunNextTurn(_moreInput ??= new LoopWork(this, MoreInputWork));
    }

    private void PauseInput()
    {
        if (_inputPaused)
            return;
        _inputPaused = true;
        _connection.PauseReading();
    }

    private void ResumeInput()
    {
        _inputPaused = false;
        _connection.ResumeReading();
    }

    // ---- from the codec -----------------------------------------------------------------------------------------

    internal override void OnOutput() => Settle();

    internal override void OnWantsInput()
    {
        if (_inputPaused)
            ResumeInput();
    }

    // A head, its stream and an answer that is not taken would be there until the turn ends, and one turn may bring thousands.
    internal override bool RefusesStream()
    {
        if (!_manager.Worker.Overload.IsMemoryFull || _owner.Context.BypassesOverload)
            return false;
        _manager.Stats.Inc(HttpStats.RqOverloadClose);
        return true;
    }

    internal override void OnNewStream(ServerStream stream)
    {
        _streams++;
        _owner.OnNewStream();
        if (IsHttp2 && _tick is not { IsArmed: true })
            ScheduleTick();
        var http = _manager.RentStream();
        http.Position = _open.Count;
        _open.Add(http);
        http.Attach(_owner, stream);
        stream.Sink = http.RequestSink;
    }

    internal override void OnStreamClosed(CodecStream stream)
    {
        if (--_streams == 0)
            _owner.OnStreamsEnded();
        if (((ServerStream)stream).Sink is HttpStream.Receiver receiver)
            receiver.Stream.OnCodecClosed();
    }

    internal override bool OnRequestError(ServerStream stream, Failure error)
    {
        // A request too broken to be announced is one nevertheless: it is counted, logged and answered like any other.
        if (stream.Sink is null && error.Row().Status != 0)
            OnNewStream(stream);
        return stream.Sink is HttpStream.Receiver receiver && receiver.Stream.TryAnswerError(error);
    }
}
