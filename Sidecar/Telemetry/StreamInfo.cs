namespace Sidecar.Telemetry;

/// <summary>Protocol a connection or stream speaks.</summary>
internal enum HttpVersion : byte { None, Http10, Http11, Http2 }

/// <summary>
/// What happened to one stream, or to one TCP session: a passive record, written by whoever knows a fact, read by access logs, stats and
/// tracing. Names are references to configuration strings; nothing is formatted until a reporter asks.
/// </summary>
/// <remarks>Worker-owned, pooled with its stream; <see cref="Reset"/> between uses. Times are loop milliseconds (monotonic) unless said otherwise.</remarks>
internal sealed class StreamInfo
{
    internal HttpVersion Protocol;
    internal ResponseFlags Flags;
    internal Failure Failure;

    /// <summary>Response code details; the row's text of <see cref="Failure"/>, or <c>via_upstream</c>, or a filter's own.</summary>
    internal string Details = "";

    /// <summary>HTTP status sent downstream; 0 before that.</summary>
    internal int Status;

    internal long StartUnixMs;
    internal long StartMs;
    internal long RequestCompleteMs;
    internal long UpstreamStartMs;
    internal long FirstUpstreamByteMs;
    internal long ResponseStartMs;
    internal long EndMs;

    /// <summary>Body bytes, without heads and framing.</summary>
    internal long BytesReceived;
    internal long BytesSent;

    internal string RouteName = "";
    internal string VirtualHostName = "";
    internal string ClusterName = "";
    internal string FilterChainName = "";

    /// <summary>Address of the chosen host as <c>10.0.0.1:80</c>; empty before one is chosen.</summary>
    internal string UpstreamHost = "";
    internal string UpstreamTransportFailure = "";

    /// <summary>TLS of the connection the stream came by; null without TLS.</summary>
    internal TlsFacts? DownstreamTls;

    /// <summary>TLS of the connection the last try went by; null without TLS, or before there is one.</summary>
    internal TlsFacts? UpstreamTls;

    /// <summary>Tries sent upstream, the first included.</summary>
    internal int Attempts;

    /// <summary>What filters have found out, for filters behind them and for reporters.</summary>
    internal readonly DynamicMetadata DynamicMetadata = new();

    /// <summary>Notes a failure: its flag and details, unless an earlier one already has given the details.</summary>
    internal void Fail(Failure failure)
    {
        ref readonly var row = ref failure.Row();
        Flags |= row.Flag;
        if (Failure != Failure.None)
            return;
        Failure = failure;
        Details = row.Details;
    }

    internal void Reset()
    {
        Protocol = HttpVersion.None;
        Flags = ResponseFlags.None;
        Failure = Failure.None;
        Details = "";
        Status = 0;
        StartUnixMs = StartMs = RequestCompleteMs = UpstreamStartMs = FirstUpstreamByteMs = ResponseStartMs = EndMs = 0;
        BytesReceived = BytesSent = 0;
        RouteName = VirtualHostName = ClusterName = FilterChainName = UpstreamHost = UpstreamTransportFailure = "";
        DownstreamTls = UpstreamTls = null;
        Attempts = 0;
        DynamicMetadata.Reset();
    }
}
