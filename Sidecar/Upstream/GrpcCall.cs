using System;
using System.Collections.Generic;
using System.Diagnostics;
using System.IO;
using System.Text;
using Sidecar.Http;
using Sidecar.Linux;
using Sidecar.Telemetry;

namespace Sidecar.Upstream;

/// <summary>A field of a call whose value stands in a file, and may be replaced there while the process lives: a token.</summary>
/// <param name="Name">Lower case.</param>
/// <param name="Prefix">Before the file's text: "Bearer ".</param>
/// <param name="File">Read for each call.</param>
internal sealed record FileMetadata(string Name, string Prefix, string File);

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

    /// <summary>More fields of every call, from files.</summary>
    internal IReadOnlyList<FileMetadata> Files { get; init; } = [];
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

/// <summary>One gRPC call, streaming both ways, to a cluster of this loop: the proxy as a client ("gRPC over HTTP2").</summary>
/// <remarks>Owned by the loop of its clusters. Used once.</remarks>
internal sealed class GrpcCall : ClusterCall
{
    private const int TokenBytesMax = 1024 * 1024;

    private readonly GrpcTarget _target;
    private readonly GrpcCallEvents _events;
    private readonly GrpcFrameReader _reader;
    private readonly List<(string Name, byte[] Value)> _fromFiles = [];
    private string _path = "";

    internal GrpcCall(Clusters clusters, GrpcTarget target, GrpcCallEvents events)
        : base(clusters, target.Cluster)
    {
        _target = target;
        _events = events;
        _reader = new GrpcFrameReader(events, target.MessageBytesMax);
    }

    // ---- for the caller -----------------------------------------------------------------------------------------

    /// <summary>Begins the call. The events may come before this returns.</summary>
    /// <param name="path">"/package.Service/Method".</param>
    /// <param name="timeoutMs">Ends the call with DEADLINE_EXCEEDED, and tells the peer (grpc-timeout); 0: none.</param>
    internal void Start(string path, long timeoutMs = 0)
    {
        _path = path;
        if (TryReadFiles(out string problem))
            Begin(timeoutMs);
        else
            Close(GrpcStatus.Unavailable, problem);
    }

    // A small file, and only when a call begins.
    private bool TryReadFiles(out string problem)
    {
        problem = "";
        foreach (var (name, prefix, file) in _target.Files)
        {
            try
            {
                string text = Encoding.UTF8.GetString(Files.ReadRegular(file, TokenBytesMax)).TrimEnd();
                if (text.Length == 0 || text.AsSpan().IndexOfAny("\r\n\0") >= 0)
                    throw new InvalidDataException($"{file}: it holds no token of one line");
                _fromFiles.Add((name, Encoding.UTF8.GetBytes(prefix + text)));
            }
            catch (Exception failure) when (failure is IOException or UnauthorizedAccessException or InvalidDataException)
            {
                problem = failure.Message;
                return false;
            }
        }
        return true;
    }

    /// <summary>Sends a message; it is copied.</summary>
    internal void Send(ReadOnlySpan<byte> message)
    {
        Debug.Assert(IsOpen);
        Span<byte> prefix = stackalloc byte[GrpcFrameReader.PrefixBytes];
        GrpcFrameReader.WritePrefix(prefix, message.Length);
        Stream!.SendBody(prefix, endStream: false);
        // The first write may have found the connection gone.
        if (IsOpen && message.Length > 0)
            Stream!.SendBody(message, endStream: false);
    }

    /// <summary>No more messages from us.</summary>
    internal void CloseSend()
    {
        if (IsOpen)
            Stream!.SendBody(default, endStream: true);
    }

    // ---- the exchange -------------------------------------------------------------------------------------------

    protected override HttpVersion? Version(Cluster cluster, out string problem)
    {
        problem = $"cluster {_target.Cluster} does not speak HTTP/2: give it http2_protocol_options";
        return cluster.Config.Http.Protocol is UpstreamProtocol.Http1 ? null : cluster.UpstreamVersion(HttpVersion.Http2);
    }

    protected override string Authority => _target.Authority.Length > 0 ? _target.Authority : _target.Cluster;

    protected override void OnOpened()
    {
        var head = new RequestHead { Version = HttpVersion.Http2, Framing = new BodyFraming(BodyKind.Streamed) };
        head.Add(HeaderId.Method, "POST"u8);
        head.Add(HeaderId.Scheme, Scheme);
        head.Add(HeaderId.Path, Encoding.UTF8.GetBytes(_path));
        head.Add(HeaderId.Authority, Encoding.UTF8.GetBytes(Authority));
        head.Add(HeaderId.Te, "trailers"u8);
        head.Add(HeaderId.ContentType, "application/grpc"u8);
        if (TimeoutMs > 0)
            head.Add(HeaderId.GrpcTimeout, TimeoutText(TimeoutMs));
        foreach (var (name, value) in _target.Metadata)
            head.Add(Encoding.UTF8.GetBytes(name), value);
        foreach (var (name, value) in _fromFiles)
            head.Add(Encoding.UTF8.GetBytes(name), value);
        Stream!.SendHead(head, endStream: false);
        if (IsOpen)
            _events.OnOpened();
    }

    /// <summary>The value has at most eight digits: what does not fit is said in seconds.</summary>
    private static byte[] TimeoutText(long ms) =>
        Encoding.ASCII.GetBytes(ms <= 99_999_999 ? $"{ms}m" : $"{Math.Min((ms + 999) / 1000, 99_999_999)}S");

    protected override void OnSendReady() => _events.OnSendReady();

    protected override void OnHead(ResponseHead head, bool endStream)
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

    protected override void OnBody(ReadOnlySpan<byte> data, bool endStream)
    {
        var status = _reader.Feed(data);
        if (!IsOpen)
            return;
        if (status != GrpcStatus.Ok)
            Close(status, _reader.Problem);
        else if (endStream)
            Close(GrpcStatus.Unknown, "the response ended without grpc-status");
    }

    protected override void OnTrailers(HeaderMap trailers)
    {
        if (!GrpcStatusFields.TryGet(trailers, out var status))
            Close(GrpcStatus.Unknown, "the response ended without grpc-status");
        else if (status == GrpcStatus.Ok && !_reader.AtBoundary)
            Close(GrpcStatus.Internal, "the response ended within a message");
        else
            Close(status, GrpcStatusFields.Message(trailers));
    }

    // Also from within a message, whose rest is dropped.
    protected override void OnEnd() => _reader.Stop();

    protected override void OnFailed(bool timedOut, string message) =>
        _events.OnClosed(timedOut ? GrpcStatus.DeadlineExceeded : GrpcStatus.Unavailable, message);

    private void Close(GrpcStatus status, string message)
    {
        // The peer may be done while we are not, or the other way round: either is the end.
        if (End())
            _events.OnClosed(status, message);
    }
}
