using System;
using System.Collections.Generic;
using System.Text;
using Ascii = Sidecar.Memory.Ascii;
using Sidecar.Http;
using Sidecar.Http.H1;
using Sidecar.Memory;
using Sidecar.Telemetry;

namespace Sidecar.Tests.Harness;

/// <summary>
/// The driver and the receiver of an HTTP/1 server codec: writes down what happens, and answers complete requests with an empty 200 unless told
/// otherwise. Body pieces are joined, so that the record does not depend on how they came.
/// </summary>
internal sealed class Http1ServerRecorder : ServerCodecEvents
{
    internal readonly Slab Slab = new();
    internal readonly Http1ServerCodec Codec;
    internal readonly CodecFeeder Feeder;
    internal readonly List<RecordedRequest> Requests = [];
    internal int Outputs, WantsInputs, Closed;

    /// <summary>Called when a request is complete, or its head when it asks for a tunnel.</summary>
    internal Action<RecordedRequest>? OnReady;

    /// <summary>Called instead of the codec's own reply to a bad request.</summary>
    internal Func<ServerStream, Failure, bool>? OnError = null;

    internal Http1ServerRecorder(Http1Options? options = null)
    {
        var output = new BufferChain(Slab);
        Codec = new Http1ServerCodec(output, this, options ?? Http1Options.ServerDefaults);
        Feeder = new CodecFeeder(Codec);
        OnReady = request => request.Reply(200, "", ("content-length", "0"));
    }

    internal Failure Feed(string bytes)
    {
        var error = Feeder.Feed(Encoding.Latin1.GetBytes(bytes));
        return error;
    }

    /// <summary>Everything written since the last call.</summary>
    internal string TakeOutput() => Take(Codec.Output);

    internal static string Take(BufferChain chain)
    {
        byte[] bytes = new byte[chain.Length];
        chain.CopyTo(bytes);
        chain.Clear();
        return Encoding.Latin1.GetString(bytes);
    }

    internal override void OnOutput() => Outputs++;
    internal override void OnWantsInput() => WantsInputs++;
    internal override void OnStreamClosed(CodecStream stream) => Closed++;

    internal override void OnNewStream(ServerStream stream)
    {
        var request = new RecordedRequest(this, stream);
        Requests.Add(request);
        stream.Sink = request;
    }

    internal override bool OnRequestError(ServerStream stream, Failure error) => OnError?.Invoke(stream, error) ?? false;

    /// <summary>Everything that happened, in one string.</summary>
    internal string Transcript(Failure end = Failure.None)
    {
        var text = new StringBuilder();
        foreach (var request in Requests)
            text.Append(request).Append('\n');
        text.Append("error=").Append(Feeder.Error).Append(" end=").Append(end).Append(" finished=").Append(Codec.IsFinished);
        text.Append(" out=").Append(TakeOutput());
        return text.ToString();
    }

    internal sealed class RecordedRequest(Http1ServerRecorder owner, ServerStream stream) : RequestSink
    {
        internal readonly ServerStream Stream = stream;
        internal readonly StringBuilder Body = new();
        internal string Head = "";
        internal string Trailers = "";
        internal bool Ended;
        internal bool IsTunnel;
        internal bool Blocked;
        internal Failure ResetReason;

        internal override void OnHead(RequestHead head, bool endStream)
        {
            IsTunnel = head.Framing.Kind == BodyKind.Tunnel;
            Head = Describe(head.Version.ToString(), head) + $" framing={head.Framing.Kind}:{head.Framing.Length}";
            Ended = endStream;
            if (endStream || IsTunnel)
                owner.OnReady?.Invoke(this);
        }

        internal override void OnBody(ReadOnlySpan<byte> data, bool endStream)
        {
            Body.Append(Encoding.Latin1.GetString(data));
            Ended |= endStream;
            if (endStream && !IsTunnel)
                owner.OnReady?.Invoke(this);
        }

        internal override void OnTrailers(HeaderMap trailers)
        {
            Trailers = Describe("trailers", trailers);
            Ended = true;
            owner.OnReady?.Invoke(this);
        }

        internal override void OnReset(Failure reason) => ResetReason = reason;
        internal override void OnSendBlocked() => Blocked = true;
        internal override void OnSendReady() => Blocked = false;

        internal void Reply(int status, string? body, params (string Name, string Value)[] fields)
        {
            Stream.SendHead(NewResponse(status, fields), endStream: body is { Length: 0 });
            if (!string.IsNullOrEmpty(body))
                Stream.SendBody(Encoding.Latin1.GetBytes(body), endStream: true);
        }

        public override string ToString() => $"{Head} body=\"{Body}\" {Trailers} ended={Ended} reset={ResetReason}";
    }

    internal static string Describe(string first, HeaderMap map)
    {
        var text = new StringBuilder(first);
        foreach (var field in map)
            text.Append(" | ").Append(Ascii.String(field.Name)).Append(": ").Append(Ascii.String(field.Value));
        return text.ToString();
    }

    internal static ResponseHead NewResponse(int status, params (string Name, string Value)[] fields)
    {
        var head = new ResponseHead { Status = status };
        foreach (var (name, value) in fields)
            head.Add(Ascii.Bytes(name), Ascii.Bytes(value));
        return head;
    }
}
