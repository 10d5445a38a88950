using Sidecar.Http;
using Sidecar.Memory;
using Sidecar.Telemetry;

namespace Sidecar.Upstream.Pools;

/// <summary>Who waits for a stream to a host: part of the caller's own object, so that waiting allocates nothing.</summary>
/// <remarks>Worker-owned. In one pool at a time; free again when it is called back or cancelled.</remarks>
internal abstract class HttpPoolWaiter : IntrusiveNode<HttpPoolWaiter>
{
    /// <summary>Who will receive the response; asked for when the stream is opened.</summary>
    internal abstract ResponseSink Sink { get; }

    /// <summary>
    /// A stream is open; nothing has been sent on it. The pool keeps the connection's accounts, the caller only uses the stream, to its end or to its
    /// <see cref="CodecStream.Reset"/>.
    /// </summary>
    internal abstract void OnPoolReady(ClientStream stream, HostState host, HttpPoolConnection connection);

    /// <summary>There will be no stream.</summary>
    /// <param name="reason">UpstreamOverflow, or why connecting failed.</param>
    /// <param name="host">The host it was to be.</param>
    /// <param name="transportDetail">Why, in the transport's or the kernel's words; may be empty.</param>
    internal abstract void OnPoolFailure(Failure reason, HostState host, string transportDetail);
}
