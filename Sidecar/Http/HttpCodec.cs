using System;
using Sidecar.Memory;
using Sidecar.Telemetry;

namespace Sidecar.Http;

/// <summary>What one <see cref="HttpCodec.Feed"/> did.</summary>
/// <param name="Consumed">Bytes used; the caller presents the rest again, contiguous, with what follows.</param>
/// <param name="Error"><see cref="Failure.None"/> unless the connection is over: what the codec had to say (a 400, a GOAWAY) is in Output.</param>
internal readonly record struct CodecResult(int Consumed, Failure Error);

/// <summary>
/// Turns bytes into HTTP events and back. Owns no socket, no timer, no loop: the caller feeds what it read, sends what
/// <see cref="Output"/> holds, and calls <see cref="OnTick"/>. One instance per connection, used by one worker, reusable after Reset.
/// </summary>
/// <remarks>
/// Events go straight to the sinks while <see cref="Feed"/> runs; a sink may send on, pause or reset any stream meanwhile, and may ask the
/// driver to close the connection, but never feeds the codec again from inside.
/// </remarks>
internal abstract class HttpCodec
{
    /// <summary>Bytes ready for the peer: the connection's own send chain.</summary>
    internal abstract BufferChain Output { get; }

    internal abstract HttpVersion Version { get; }

    /// <summary>Streams open or waiting to finish.</summary>
    internal abstract int ActiveStreams { get; }

    /// <summary>
    /// False while input must wait (HTTP/1: the response to the last request is not out yet, or a receiver is paused). When it turns true the
    /// codec calls <see cref="CodecEvents.OnWantsInput"/>.
    /// </summary>
    internal abstract bool WantsInput { get; }

    /// <summary>
    /// True when the last <see cref="Feed"/> stopped before the end of its input so that other connections have their turn: the driver feeds the
    /// rest again in the next turn, without waiting for more bytes.
    /// </summary>
    internal virtual bool InputDeferred => false;

    /// <summary>A server's: a request's head has begun and not ended.</summary>
    internal virtual bool IsHeadPartial => false;

    /// <summary>The driver's clock in milliseconds; set before <see cref="Feed"/>, and by <see cref="OnTick"/>.</summary>
    internal virtual long NowMs { set { } }

    /// <summary>Takes bytes from the peer.</summary>
    internal abstract CodecResult Feed(ReadOnlySpan<byte> input);

    /// <summary>The peer has sent its last byte. Ends a body that runs until close; anything else unfinished is reset.</summary>
    /// <returns>Failure.None when that is a fine moment to end.</returns>
    internal abstract Failure OnEndOfInput();

    /// <summary>The connection is gone: every open stream's sink hears OnReset with this reason.</summary>
    internal abstract void OnConnectionLost(Failure reason);

    /// <summary>Time has passed; call at least every second while streams are open. May queue output or report that the connection is over.</summary>
    internal abstract Failure OnTick(long nowMs);

    /// <summary>The connection's send side filled up or drained: passed on to every open stream's sink as OnSendBlocked/OnSendReady.</summary>
    internal abstract void OnOutputBlocked(bool blocked);

    /// <summary>
    /// Starts to end the connection: HTTP/2 sends GOAWAY with the highest stream id and later, by <see cref="FinishDrain"/>, the final one;
    /// HTTP/1 answers <c>Connection: close</c> from now on.
    /// </summary>
    internal abstract void StartDrain();

    /// <summary>HTTP/2: the final GOAWAY, naming the last stream served. HTTP/1: nothing more to say.</summary>
    internal abstract void FinishDrain();

    /// <summary>
    /// True when no further exchange will happen here and none is under way: after <c>Connection: close</c>, a reset HTTP/1 stream, a tunnel's
    /// end, or GOAWAY with no stream left. The driver sends what <see cref="Output"/> holds, then closes. Look after every call on the codec.
    /// </summary>
    internal abstract bool IsFinished { get; }

    /// <summary>
    /// True when nothing more will be written though the peer may still send: one direction of an HTTP/1 tunnel is over. The driver shuts its
    /// write side down once <see cref="Output"/> is out.
    /// </summary>
    internal virtual bool IsOutputEnded => false;

    /// <summary>As new, for the next connection of the same owner (the same output chain and events). No stream may be open.</summary>
    internal abstract void Reset();
}

/// <summary>A codec whose side of the connection sends the requests.</summary>
internal abstract class HttpClientCodec : HttpCodec
{
    /// <summary>
    /// Informational heads before one response; more are a stuck or hostile server. No window holds them back, so a client that reads slowly would
    /// have them pile up here.
    /// </summary>
    protected internal const int InformationalMax = 32;

    /// <summary>True while <see cref="OpenStream"/> may be called: HTTP/1 idle and reusable, HTTP/2 below the peer's limit and not going away.</summary>
    internal abstract bool CanOpenStream { get; }

    /// <summary>Streams the peer allows at once: 1 for HTTP/1, the peer's SETTINGS for HTTP/2.</summary>
    internal abstract int MaxConcurrentStreams { get; }

    /// <summary>Opens the next exchange; nothing is written before <see cref="ClientStream.SendHead"/>.</summary>
    internal abstract ClientStream OpenStream(ResponseSink sink);
}

/// <summary>What a codec tells the driver of its connection.</summary>
internal abstract class CodecEvents
{
    /// <summary>The codec wrote to Output outside Feed (a stream sent something): flush at the end of this turn.</summary>
    internal abstract void OnOutput();

    /// <summary>Input held back earlier may be fed again now.</summary>
    internal abstract void OnWantsInput();

    /// <summary>A stream is finished both ways and its object goes back to the codec's pool after this call.</summary>
    internal abstract void OnStreamClosed(CodecStream stream);

    /// <summary>HTTP/2: the peer sent GOAWAY; no new streams on this connection. HTTP/1: this connection ends with the current exchange.</summary>
    internal virtual void OnGoAway() { }

    /// <summary>HTTP/2: the peer's SETTINGS changed how many streams may be open.</summary>
    internal virtual void OnMaxStreamsChanged() { }
}

/// <summary>Events of a server codec: besides the rest, new requests.</summary>
internal abstract class ServerCodecEvents : CodecEvents
{
    /// <summary>
    /// HTTP/2: a request's head begins. True when memory is so short that nothing may be kept of it; the codec then refuses the stream, of which nobody
    /// hears. Asked once for each that would be taken otherwise.
    /// </summary>
    internal virtual bool RefusesStream() => false;

    /// <summary>
    /// A request's head is complete. The receiver set as <see cref="ServerStream.Sink"/> by this call gets the head and all that follows.
    /// </summary>
    internal abstract void OnNewStream(ServerStream stream);

    /// <summary>
    /// A request breaks the protocol, before or after its stream was announced (<see cref="ServerStream.Sink"/> tells). No more of it will be
    /// read. The receiver may answer on <paramref name="stream"/>, completely and before it returns; the codec adds <c>connection: close</c>.
    /// </summary>
    /// <param name="stream">Holds as much of the head as was understood; a field may be missing.</param>
    /// <param name="error">Its row has the status to answer with.</param>
    /// <returns>True when answered, and then the sink hears nothing more. False: the codec writes a minimal reply where one is still possible, and
    /// the sink, if there is one, hears <see cref="MessageSink.OnReset"/>.</returns>
    internal virtual bool OnRequestError(ServerStream stream, Failure error) => false;
}

/// <summary>What server and client streams of both protocols have in common.</summary>
internal abstract class CodecStream
{
    /// <summary>HTTP/2 stream id; for HTTP/1 the ordinal of the exchange on its connection.</summary>
    internal abstract long Id { get; }

    /// <summary>Sends body bytes (copied into Output, or held back by flow control).</summary>
    internal abstract void SendBody(ReadOnlySpan<byte> data, bool endStream);

    /// <summary>Sends trailers, which end the message. Dropped, with an empty end, where the peer cannot get any (HTTP/1 with a length).</summary>
    internal abstract void SendTrailers(HeaderMap trailers);

    /// <summary>
    /// Ends the stream without finishing it. HTTP/2: RST_STREAM with the code that fits <paramref name="reason"/>. HTTP/1: the connection cannot
    /// be used any more; the driver closes it. The sink hears nothing.
    /// </summary>
    internal abstract void Reset(Failure reason);

    /// <summary>
    /// The receiver wants no more body for now (counted: as many resumes as pauses). HTTP/2 stops giving window; HTTP/1 stops
    /// wanting input. Bytes already fed are still delivered.
    /// </summary>
    internal abstract void PauseReceiving();

    internal abstract void ResumeReceiving();

    /// <summary>Bytes accepted for sending that flow control still holds back, in this stream.</summary>
    internal abstract long SendPending { get; }
}

/// <summary>A stream as a server sees it: a request comes in, a response goes out.</summary>
internal abstract class ServerStream : CodecStream
{
    /// <summary>Who receives the request; set in <see cref="ServerCodecEvents.OnNewStream"/>.</summary>
    internal RequestSink? Sink;

    /// <summary>The request's head; the stream's own, valid and changeable until the stream closes.</summary>
    internal abstract RequestHead Request { get; }

    /// <summary>Sends 100, 103 or another informational head, any number of times before the response.</summary>
    internal abstract void SendInformational(ResponseHead head);

    /// <summary>Sends the response's head. <paramref name="head"/> is read during the call only, and not changed.</summary>
    internal abstract void SendHead(ResponseHead head, bool endStream);

    /// <summary>
    /// The whole response was given to the stream and nobody waits for the rest of the request. HTTP/2 still checks it, drops it, and stops it with
    /// RST_STREAM(NO_ERROR) when it goes on for long; there is no more pausing then. HTTP/1 ends the connection behind such a response anyway.
    /// </summary>
    internal virtual void DiscardRequest() { }
}

/// <summary>A stream as a client sees it: a request goes out, a response comes in.</summary>
internal abstract class ClientStream : CodecStream
{
    /// <summary>Who receives the response.</summary>
    internal ResponseSink? Sink;

    /// <summary>The response's head; the stream's own, valid and changeable until the stream closes.</summary>
    internal abstract ResponseHead Response { get; }

    /// <summary>Sends the request's head. <paramref name="head"/> is read during the call only, and not changed.</summary>
    internal abstract void SendHead(RequestHead head, bool endStream);
}

/// <summary>Receives what belongs to one stream, whichever way the message flows.</summary>
internal abstract class MessageSink
{
    /// <summary>Body bytes, valid during the call only.</summary>
    internal abstract void OnBody(ReadOnlySpan<byte> data, bool endStream);

    /// <summary>Trailers, which end the message; the stream's own, valid until it closes.</summary>
    internal abstract void OnTrailers(HeaderMap trailers);

    /// <summary>The stream ended before its time: the peer reset it, broke the protocol, or the connection went. Last event of the stream.</summary>
    internal abstract void OnReset(Failure reason);

    /// <summary>What is sent on this stream piles up (window or connection full): stop producing.</summary>
    internal abstract void OnSendBlocked();

    internal abstract void OnSendReady();
}

/// <summary>Receives a request.</summary>
internal abstract class RequestSink : MessageSink
{
    /// <summary>The head is complete; <see cref="ServerStream.Request"/>.</summary>
    internal abstract void OnHead(RequestHead head, bool endStream);
}

/// <summary>Receives a response.</summary>
internal abstract class ResponseSink : MessageSink
{
    /// <summary>An informational head (100, 103…); any number of them.</summary>
    internal abstract void OnInformational(ResponseHead head);

    /// <summary>The final head (101 included); <see cref="ClientStream.Response"/>.</summary>
    internal abstract void OnHead(ResponseHead head, bool endStream);
}
