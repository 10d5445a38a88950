using System;
using System.Buffers;
using System.Text;
using Sidecar.Http;
using Sidecar.Telemetry;
using Ascii = Sidecar.Memory.Ascii;

namespace Sidecar.Upstream;

/// <summary>What an <see cref="HttpCall"/> asks. Immutable.</summary>
/// <param name="Path">:path.</param>
/// <param name="Authority">:authority.</param>
/// <param name="ContentType">Of the body.</param>
/// <param name="Body">All of it.</param>
internal sealed record HttpCallRequest(string Path, string Authority, string ContentType, ReadOnlyMemory<byte> Body);

/// <summary>What becomes of an <see cref="HttpCall"/>: one of the two, once.</summary>
internal interface IHttpCallEvents
{
    /// <summary>The response is complete.</summary>
    /// <param name="status">Its status, whatever that is.</param>
    /// <param name="body">All of its body; valid during the call.</param>
    void OnResponse(int status, ReadOnlySpan<byte> body);

    /// <summary>There is none.</summary>
    void OnFailed(string reason);
}

/// <summary>A POST with a body that is answered by a whole message, in whichever version of HTTP the cluster speaks.</summary>
/// <remarks>Owned by the loop of its clusters. Used once. Keeps no more of a response than its limit.</remarks>
internal sealed class HttpCall : ClusterCall
{
    private readonly HttpCallRequest _request;
    private readonly IHttpCallEvents _events;
    private readonly int _bodyBytesMax;
    private readonly ArrayBufferWriter<byte> _body = new();
    private int _status;

    /// <param name="clusters">The clusters of the loop it runs on.</param>
    /// <param name="cluster">Which of them is asked.</param>
    /// <param name="request">What it is asked.</param>
    /// <param name="bodyBytesMax">A longer response is a failure.</param>
    /// <param name="events">Who hears of the end.</param>
    internal HttpCall(Clusters clusters, string cluster, HttpCallRequest request, int bodyBytesMax, IHttpCallEvents events)
        : base(clusters, cluster)
    {
        _request = request;
        _events = events;
        _bodyBytesMax = bodyBytesMax;
    }

    /// <summary>Sends it. The events may come before this returns.</summary>
    /// <param name="timeoutMs">For all of it, from here to the response's last byte.</param>
    internal void Start(long timeoutMs) => Begin(timeoutMs);

    protected override HttpVersion? Version(Cluster cluster, out string problem)
    {
        problem = "";
        return cluster.UpstreamVersion(HttpVersion.Http11);
    }

    protected override string Authority => _request.Authority;

    protected override void OnOpened()
    {
        var head = new RequestHead { Version = HttpVersion.Http11, Framing = new BodyFraming(BodyKind.Length, _request.Body.Length) };
        head.Add(HeaderId.Method, "POST"u8);
        head.Add(HeaderId.Scheme, Scheme);
        head.Add(HeaderId.Path, Encoding.UTF8.GetBytes(_request.Path));
        head.Add(HeaderId.Authority, Encoding.UTF8.GetBytes(Authority));
        head.Add(HeaderId.ContentType, Encoding.UTF8.GetBytes(_request.ContentType));
        Span<byte> digits = stackalloc byte[20];
        head.Add(HeaderId.ContentLength, digits[..Ascii.FormatDecimal(_request.Body.Length, digits)]);
        Stream!.SendHead(head, endStream: _request.Body.IsEmpty);
        // The first write may have found the connection gone.
        if (IsOpen && !_request.Body.IsEmpty)
            Stream!.SendBody(_request.Body.Span, endStream: true);
    }

    protected override void OnHead(ResponseHead head, bool endStream)
    {
        _status = head.Status;
        if (head.Framing is { Kind: BodyKind.Length } framing && framing.Length > _bodyBytesMax)
            FailTooLong(framing.Length);
        else if (endStream)
            Succeed();
    }

    protected override void OnBody(ReadOnlySpan<byte> data, bool endStream)
    {
        if (!IsOpen)
            return;
        if (_body.WrittenCount + (long)data.Length > _bodyBytesMax)
        {
            FailTooLong(_body.WrittenCount + (long)data.Length);
            return;
        }
        _body.Write(data);
        if (endStream)
            Succeed();
    }

    protected override void OnTrailers(HeaderMap trailers)
    {
        if (IsOpen)
            Succeed();
    }

    protected override void OnFailed(bool timedOut, string message) => _events.OnFailed(message);

    private void Succeed()
    {
        Complete();
        _events.OnResponse(_status, _body.WrittenSpan);
    }

    private void FailTooLong(long bytes)
    {
        End();
        _events.OnFailed($"a response of {bytes} bytes is larger than the limit of {_bodyBytesMax}");
    }
}
