using System;
using Sidecar.Http;
using Sidecar.Loop;
using Sidecar.Memory;
using Sidecar.Net;
using Sidecar.Routing;
using Sidecar.Telemetry;
using Sidecar.Telemetry.Stats;

namespace Sidecar.Filters;

/// <summary>What a filter wants done with the part of a message it was shown.</summary>
internal enum FilterStatus : byte
{
    /// <summary>On to the next filter.</summary>
    Continue,

    /// <summary>
    /// Hold this part and all that follows in this direction, until the filter calls <see cref="FilterStream.ContinueRequest"/> (or
    /// <see cref="FilterStream.ContinueResponse"/>) or answers itself. Bytes that arrive meanwhile are buffered up to the stream's limit.
    /// </summary>
    Stop,
}

/// <summary>
/// An HTTP extension: sees every request on its way in, in configured order, and every response on its way out, in reverse. One object per
/// stream slot, worker-owned, used again after <see cref="Reset"/>, so it keeps plain fields and allocates nothing per request.
/// </summary>
internal abstract class HttpFilter : IFaultable
{
    /// <summary>The stream this filter serves; set once, when the chain it belongs to is built.</summary>
    internal FilterStream Stream = null!;

    internal virtual FilterStatus OnRequestHead(RequestHead head, bool endStream) => FilterStatus.Continue;
    internal virtual FilterStatus OnRequestBody(ReadOnlySpan<byte> data, bool endStream) => FilterStatus.Continue;
    internal virtual FilterStatus OnRequestTrailers(HeaderMap trailers) => FilterStatus.Continue;
    internal virtual FilterStatus OnResponseHead(ResponseHead head, bool endStream) => FilterStatus.Continue;
    internal virtual FilterStatus OnResponseBody(ReadOnlySpan<byte> data, bool endStream) => FilterStatus.Continue;
    internal virtual FilterStatus OnResponseTrailers(HeaderMap trailers) => FilterStatus.Continue;

    /// <summary>
    /// The stream is over, however it ended; the last call before <see cref="Reset"/>. Heads and <see cref="FilterStream.Info"/> are still there to read.
    /// </summary>
    internal virtual void OnStreamEnd() { }

    /// <summary>Timers cancelled, references dropped: ready for the next stream.</summary>
    internal abstract void Reset();

    /// <summary>An exception left one of the filter's own timers or works: its stream ends.</summary>
    public void OnFault() => Stream.ResetDownstream(Failure.InternalError);
}

/// <summary>The last filter of a chain: it takes the request for good and produces the response.</summary>
internal abstract class TerminalHttpFilter : HttpFilter
{
    /// <summary>The downstream cannot take more response for now, or can again.</summary>
    internal abstract void OnDownstreamBlocked(bool blocked);

    /// <summary>Somebody else has answered: whatever runs upstream for this stream is to be dropped. May come more than once.</summary>
    internal abstract void Abort();
}

/// <summary>A local reply's changeable parts besides its failure row.</summary>
internal ref struct LocalReplyOptions
{
    /// <summary>Overrides the row's status when not 0.</summary>
    internal int Status;

    /// <summary>Overrides the row's body when <see cref="HasBody"/>.</summary>
    internal ReadOnlySpan<byte> Body;
    internal bool HasBody;

    /// <summary>Overrides the gRPC status derived from the HTTP status when not negative.</summary>
    internal int GrpcStatus;

    /// <summary>Overrides the row's details when not null.</summary>
    internal string? Details;

    /// <summary>Fields to add to the reply, or null.</summary>
    internal HeaderMap? Headers;

    public LocalReplyOptions() => GrpcStatus = -1;
}

/// <summary>
/// What a filter may do with its stream. Declared here and implemented by the connection manager, so that filters know no listener
/// and run in a test with a face of the test's own.
/// </summary>
internal abstract class FilterStream : IHeaderFacts
{
    /// <summary>The request's head, changeable by filters until it has been sent upstream.</summary>
    public abstract RequestHead Request { get; }

    /// <summary>The response's head once there is one.</summary>
    public abstract ResponseHead? Response { get; }

    public abstract StreamInfo Info { get; }

    /// <summary>Writes an address of this stream, for header values and hashes.</summary>
    public void WriteAddress(AddressFact which, AddressPart part, ref SpanWriter writer)
    {
        var address = which switch
        {
            AddressFact.DownstreamRemote => RemoteAddress,
            AddressFact.DownstreamDirectRemote => Downstream.DirectRemoteAddress,
            _ => Downstream.OriginalDestination.IsNone ? Downstream.LocalAddress : Downstream.OriginalDestination,
        };
        Span<byte> text = stackalloc byte[Address.TextBytesMax];
        if (part == AddressPart.Port)
            writer.WriteDecimal(address.Port);
        else
            writer.Write(text[..(part == AddressPart.Whole ? address.Format(text) : address.FormatHost(text))]);
    }

    /// <summary>Protocols that TLS towards the upstream is to offer instead of the configured ones, in their wire form; empty: the configured ones.</summary>
    internal byte[] UpstreamAlpn { get; set; } = [];

    /// <summary>The connection manager's cells on this worker, by <see cref="HttpStats"/>.</summary>
    internal abstract StatsCells Stats { get; }
    internal abstract Connection Downstream { get; }

    /// <summary>The address this stream is taken to come from (after x-forwarded-for rules).</summary>
    internal abstract Address RemoteAddress { get; }

    /// <summary>The matched route, found on first use; null when none matches. <see cref="ClearRoute"/> after changing what it was matched by.</summary>
    internal abstract Route? Route { get; }

    /// <summary>Of the clusters the route spreads over, the one for this request; null when there is but one.</summary>
    internal abstract WeightedCluster? WeightedCluster { get; }
    internal abstract VirtualHost? VirtualHost { get; }
    internal abstract RouteTable? RouteTable { get; }
    internal abstract void ClearRoute();

    /// <summary>The route's own configuration of a filter, most specific level first; null when there is none.</summary>
    internal abstract T? RouteConfig<T>(string filterName) where T : class;

    /// <summary>Body bytes a filter or the router may hold for this stream (per_connection_buffer_limit_bytes).</summary>
    internal abstract int BufferLimit { get; }

    /// <summary>
    /// Answers from here: the chain's later filters never see the request, earlier ones see the reply. After the response has
    /// started, resets the stream instead. Returns <see cref="FilterStatus.Stop"/> for the caller's convenience.
    /// </summary>
    internal abstract FilterStatus Reply(Failure failure, scoped in LocalReplyOptions options);

    internal FilterStatus Reply(Failure failure) => Reply(failure, new LocalReplyOptions());

    /// <summary>Resumes after <see cref="FilterStatus.Stop"/> at the filter after the stopped one.</summary>
    internal abstract void ContinueRequest();
    internal abstract void ContinueResponse();

    // ---- for the terminal filter: the response, which then passes the filters in reverse ---------------------
    internal abstract void SendInformational(ResponseHead head);
    internal abstract void SendResponseHead(ResponseHead head, bool endStream);
    internal abstract void SendResponseBody(ReadOnlySpan<byte> data, bool endStream);
    internal abstract void SendResponseTrailers(HeaderMap trailers);

    /// <summary>Backpressure to the downstream's sender; counted, as many resumes as pauses.</summary>
    internal abstract void PauseRequest();
    internal abstract void ResumeRequest();

    /// <summary>
    /// The upstream failed after the response had started: the downstream stream is reset (HTTP/1: its connection closed).
    /// </summary>
    internal abstract void ResetDownstream(Failure failure);
}
