using System;
using System.Collections.Generic;
using System.Diagnostics;
using System.Text;
using Sidecar.Http;
using Sidecar.Loop;
using Sidecar.Net;
using Sidecar.Telemetry;
using Sidecar.Upstream.Pools;

namespace Sidecar.Upstream;

/// <summary>Whom a gRPC service is asked of (envoy.config.core.v3.GrpcService). Immutable.</summary>
/// <param name="Cluster">The cluster's name.</param>
/// <param name="Authority">:authority; empty: the cluster's name, as in Envoy.</param>
/// <param name="Metadata">initial_metadata: fields of every call; names lower case.</param>
internal sealed record GrpcTarget(string Cluster, string Authority, IReadOnlyList<(string Name, byte[] Value)> Metadata)
{
    /// <summary>
    /// The largest message taken (max_receive_message_length). Envoy has no limit; here one, above any real mesh: a control plane that announces
    /// more is refused before a byte of it is kept.
    /// </summary>
    internal int MessageBytesMax { get; init; } = 256 * 1024 * 1024;
}

/// <summary>What happens to a <see cref="GrpcCall"/>. Messages come in parts; after OnClosed nothing comes.</summary>
internal abstract class GrpcCallEvents : GrpcMessageSink
{
    /// <summary>The stream is open on a connection and the head is sent: <see cref="GrpcCall.Send"/> may be called.</summary>
    internal abstract void OnOpened();

    /// <summary>What was sent has gone out: <see cref="GrpcCall.IsSendBlocked"/> is false again.</summary>
    internal virtual void OnSendReady()
    {
    }

    /// <summary>The call is over.</summary>
    /// <param name="status">From the peer, or what the failure amounts to.</param>
    /// <param name="message">From the peer, or Envoy's words for the failure.</param>
    internal abstract void OnClosed(GrpcStatus status, string message);
}

/// <summary>
/// One gRPC call, streaming both ways, to a cluster of this loop: the proxy as a client ("gRPC over HTTP2"). Uses the cluster's pools, and so its
/// transport, protocol options, circuit breakers and stats, as a forwarded request would.
/// <code>
///   Start ─→ waiting for a stream ─→ OnOpened ⇄ Send, messages ─→ OnClosed
///                  └────────────────────────────────────────────────┘
/// </code>
/// </summary>
/// <remarks>Owned by the loop of its clusters. Used once.</remarks>
internal sealed class GrpcCall : HttpPoolWaiter, ITimerOwner
{
    private readonly Clusters _clusters;
    private readonly GrpcTarget _target;
    private readonly GrpcCallEvents _events;
    private readonly GrpcFrameReader _reader;
    private readonly Response _response;

    private string _path = "";
    private long _timeoutMs;
    private LoopTimer? _deadline;
    private EventLoop? _loop;
    private HttpPool? _pool;
    private ClientStream? _stream;
    private State _state;

    private enum State : byte { New, Waiting, Open, Closed }

    internal GrpcCall(Clusters clusters, GrpcTarget target, GrpcCallEvents events)
    {
        _clusters = clusters;
        _target = target;
        _events = events;
        _reader = new GrpcFrameReader(events, target.MessageBytesMax);
        _response = new Response(this);
    }

    internal override ResponseSink Sink => _response;

    internal bool IsOpen => _state == State.Open;

    /// <summary>More waits to be sent than windows and the connection let through: better wait for OnSendReady.</summary>
    internal bool IsSendBlocked { get; private set; }

    /// <summary>Who answers; valid from OnOpened on.</summary>
    internal Address RemoteAddress { get; private set; }

    // ---- for the caller -----------------------------------------------------------------------------------------

    /// <summary>Begins the call. The events may come before this returns.</summary>
    /// <param name="path">"/package.Service/Method".</param>
    /// <param name="timeoutMs">Ends the call with DEADLINE_EXCEEDED, and tells the peer (grpc-timeout); 0: none.</param>
    internal void Start(string path, long timeoutMs = 0)
    {
        Debug.Assert(_state == State.New);
        _path = path;
        _timeoutMs = timeoutMs;
        _state = State.Waiting;
        var cluster = _clusters.Find(_target.Cluster);
        if (cluster is null)
        {
            Close(GrpcStatus.Unavailable, "Cluster not available");
            return;
        }
        if (cluster.Config.Http.Protocol is UpstreamProtocol.Http1)
        {
            Close(GrpcStatus.Unavailable, $"cluster {_target.Cluster} does not speak HTTP/2: give it http2_protocol_options");
            return;
        }
        _loop = cluster.Loop;
        if (timeoutMs > 0)
        {
            _deadline = new LoopTimer(this);
            _loop.Schedule(_deadline, timeoutMs);
        }
        var host = cluster.PickHost();
        if (host is null)
        {
            Close(GrpcStatus.Unavailable, Failure.NoHealthyUpstream.Row().Body);
            return;
        }
        _pool = host.HttpPool(HttpVersion.Http2, RoutingPriority.Default);
        _pool.NewStream(this);
    }

    /// <summary>Sends a message; it is copied.</summary>
    internal void Send(ReadOnlySpan<byte> message)
    {
        Debug.Assert(_state == State.Open);
        Span<byte> prefix = stackalloc byte[GrpcFrameReader.PrefixBytes];
        GrpcFrameReader.WritePrefix(prefix, message.Length);
        _stream!.SendBody(prefix, endStream: false);
        // The first write may have found the connection gone.
        if (_state == State.Open && message.Length > 0)
            _stream!.SendBody(message, endStream: false);
    }

    /// <summary>No more messages from us.</summary>
    internal void CloseSend()
    {
        if (_state == State.Open)
            _stream!.SendBody(default, endStream: true);
    }

    /// <summary>Ends the call without a word to the events.</summary>
    internal void Cancel() => End();

    // ---- from the pool ------------------------------------------------------------------------------------------

    internal override void OnPoolReady(ClientStream stream, HostState host, HttpPoolConnection connection)
    {
        _stream = stream;
        _state = State.Open;
        RemoteAddress = host.Host.Address;
        var head = new RequestHead { Version = HttpVersion.Http2, Framing = new BodyFraming(BodyKind.Streamed) };
        head.Add(HeaderId.Method, "POST"u8);
        head.Add(HeaderId.Scheme, "http"u8);
        head.Add(HeaderId.Path, Encoding.UTF8.GetBytes(_path));
        head.Add(HeaderId.Authority, Encoding.UTF8.GetBytes(_target.Authority.Length > 0 ? _target.Authority : _target.Cluster));
        head.Add(HeaderId.Te, "trailers"u8);
        head.Add(HeaderId.ContentType, "application/grpc"u8);
        if (_timeoutMs > 0)
            head.Add(HeaderId.GrpcTimeout, TimeoutText(_timeoutMs));
        foreach (var (name, value) in _target.Metadata)
            head.Add(Encoding.UTF8.GetBytes(name), value);
        stream.SendHead(head, endStream: false);
        if (_state == State.Open)
            _events.OnOpened();
    }

    internal override void OnPoolFailure(Failure reason, HostState host, string transportDetail) =>
        Close(GrpcStatus.Unavailable, Words(reason, transportDetail));

    /// <summary>The value has at most eight digits: what does not fit is said in seconds.</summary>
    private static byte[] TimeoutText(long ms) =>
        Encoding.ASCII.GetBytes(ms <= 99_999_999 ? $"{ms}m" : $"{Math.Min((ms + 999) / 1000, 99_999_999)}S");

    // ---- from the stream ----------------------------------------------------------------------------------------

    private void OnHead(ResponseHead head, bool endStream)
    {
        // Trailers-Only, and a proxy's answer that still knows gRPC.
        if (endStream && GrpcStatusFields.TryGet(head, out var status))
        {
            Close(status, GrpcStatusFields.Message(head));
            return;
        }
        if (head.Status != 200)
            Close((GrpcStatus)Failures.GrpcStatus(head.Status), $"HTTP status {head.Status}");
        else if (!GrpcRequest.Is(head))
            Close(GrpcStatus.Unknown, $"content-type is '{Encoding.UTF8.GetString(head.Get(HeaderId.ContentType))}', not application/grpc");
        else if (endStream)
            Close(GrpcStatus.Unknown, "the response ended without grpc-status");
    }

    private void OnBody(ReadOnlySpan<byte> data, bool endStream)
    {
        var status = _reader.Feed(data);
        if (_state != State.Open)
            return;
        if (status != GrpcStatus.Ok)
            Close(status, _reader.Problem);
        else if (endStream)
            Close(GrpcStatus.Unknown, "the response ended without grpc-status");
    }

    private void OnTrailers(HeaderMap trailers)
    {
        if (!GrpcStatusFields.TryGet(trailers, out var status))
            Close(GrpcStatus.Unknown, "the response ended without grpc-status");
        else if (status == GrpcStatus.Ok && !_reader.AtBoundary)
            Close(GrpcStatus.Internal, "the response ended within a message");
        else
            Close(status, GrpcStatusFields.Message(trailers));
    }

    private void OnReset(Failure reason)
    {
        // The stream's own end: it must not be reset again.
        _stream = null;
        Close(GrpcStatus.Unavailable, Words(reason, ""));
    }

    // A failure as Envoy's own calls tell it.
    private static string Words(Failure reason, string transport)
    {
        ref readonly var row = ref reason.Row();
        return row.ResetReason.Length > 0 ? Failures.ResetBody(row.ResetReason, transport) : row.Body.Length > 0 ? row.Body : row.Details;
    }

    public void OnTimer(LoopTimer timer) => Close(GrpcStatus.DeadlineExceeded, $"no end within {_timeoutMs} ms");

    private void Close(GrpcStatus status, string message)
    {
        if (_state == State.Closed)
            return;
        End();
        _events.OnClosed(status, message);
    }

    private void End()
    {
        if (_state == State.Closed)
            return;
        bool waiting = _state == State.Waiting;
        _state = State.Closed;
        _reader.Stop();
        if (_deadline is not null)
            _loop!.Cancel(_deadline);
        if (waiting)
            _pool?.Cancel(this);
        _pool = null;
        // The peer may be done while we are not, or the other way round: either is the end.
        var stream = _stream;
        _stream = null;
        stream?.Reset(Failure.LocalReset);
    }

    private sealed class Response(GrpcCall owner) : ResponseSink
    {
        internal override void OnInformational(ResponseHead head)
        {
        }

        internal override void OnHead(ResponseHead head, bool endStream) => owner.OnHead(head, endStream);

        internal override void OnBody(ReadOnlySpan<byte> data, bool endStream) => owner.OnBody(data, endStream);

        internal override void OnTrailers(HeaderMap trailers) => owner.OnTrailers(trailers);

        internal override void OnReset(Failure reason) => owner.OnReset(reason);

        internal override void OnSendBlocked() => owner.IsSendBlocked = true;

        internal override void OnSendReady()
        {
            owner.IsSendBlocked = false;
            if (owner.IsOpen)
                owner._events.OnSendReady();
        }
    }
}
