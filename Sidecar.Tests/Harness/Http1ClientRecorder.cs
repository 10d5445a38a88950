using System;
using System.Collections.Generic;
using System.Text;
using Ascii = Sidecar.Memory.Ascii;
using Sidecar.Http;
using Sidecar.Http.H1;
using Sidecar.Memory;
using Sidecar.Telemetry;

namespace Sidecar.Tests.Harness;

/// <summary>The driver and the receivers of an HTTP/1 client codec.</summary>
internal sealed class Http1ClientRecorder : CodecEvents
{
    internal readonly Slab Slab = new();
    internal readonly Http1ClientCodec Codec;
    internal readonly CodecFeeder Feeder;
    internal readonly List<RecordedResponse> Responses = [];
    internal int Outputs, WantsInputs, Closed;
    /// <summary>Called when an exchange is over: a pool would hand out the connection here.</summary>
    internal Action<ClientStream>? OnClosed = null;

    internal Http1ClientRecorder(Http1Options? options = null)
    {
        Codec = new Http1ClientCodec(new BufferChain(Slab), this, options ?? Http1Options.ClientDefaults);
        Feeder = new CodecFeeder(Codec);
    }

    /// <summary>Opens a stream and sends a head.</summary>
    internal RecordedResponse Send(string method, string path, bool endStream = true, params (string Name, string Value)[] fields)
    {
        var response = new RecordedResponse();
        response.Stream = Codec.OpenStream(response);
        Responses.Add(response);
        response.Stream.SendHead(NewRequest(method, path, fields), endStream);
        return response;
    }

    internal static RequestHead NewRequest(string method, string path, params (string Name, string Value)[] fields)
    {
        var head = new RequestHead();
        head.Add(HeaderId.Method, Ascii.Bytes(method));
        head.Add(HeaderId.Path, Ascii.Bytes(path));
        head.Add(HeaderId.Authority, "up:80"u8);
        foreach (var (name, value) in fields)
            head.Add(Ascii.Bytes(name), Ascii.Bytes(value));
        return head;
    }

    internal Failure Feed(string bytes) => Feeder.Feed(Encoding.Latin1.GetBytes(bytes));

    internal string TakeOutput() => Http1ServerRecorder.Take(Codec.Output);

    internal override void OnOutput() => Outputs++;
    internal override void OnWantsInput() => WantsInputs++;

    internal override void OnStreamClosed(CodecStream stream)
    {
        Closed++;
        OnClosed?.Invoke((ClientStream)stream);
    }

    internal string Transcript(Failure end = Failure.None)
    {
        var text = new StringBuilder();
        foreach (var response in Responses)
            text.Append(response).Append('\n');
        text.Append("error=").Append(Feeder.Error).Append(" end=").Append(end).Append(" finished=").Append(Codec.IsFinished);
        return text.ToString();
    }

    internal sealed class RecordedResponse : ResponseSink
    {
        internal ClientStream Stream = null!;
        internal readonly StringBuilder Body = new();
        internal readonly List<int> Informational = [];
        internal string Head = "";
        internal string Trailers = "";
        internal int Status;
        internal bool Ended;
        internal bool Blocked;
        internal Failure ResetReason;

        internal override void OnInformational(ResponseHead head) => Informational.Add(head.Status);

        internal override void OnHead(ResponseHead head, bool endStream)
        {
            Status = head.Status;
            Head = Http1ServerRecorder.Describe(head.Status + " " + head.Version, head) + $" framing={head.Framing.Kind}:{head.Framing.Length}";
            Ended = endStream;
        }

        internal override void OnBody(ReadOnlySpan<byte> data, bool endStream)
        {
            Body.Append(Encoding.Latin1.GetString(data));
            Ended |= endStream;
        }

        internal override void OnTrailers(HeaderMap trailers)
        {
            Trailers = Http1ServerRecorder.Describe("trailers", trailers);
            Ended = true;
        }

        internal override void OnReset(Failure reason) => ResetReason = reason;
        internal override void OnSendBlocked() => Blocked = true;
        internal override void OnSendReady() => Blocked = false;

        public override string ToString() =>
            $"{string.Join(',', Informational)} {Head} body=\"{Body}\" {Trailers} ended={Ended} reset={ResetReason}";
    }
}
