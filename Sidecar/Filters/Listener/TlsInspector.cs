using System;
using Sidecar.Loop;
using Sidecar.Memory;
using Sidecar.Telemetry.Stats;
using Sidecar.Tls;

namespace Sidecar.Filters.Listener;

using Wire = global::Envoy.Extensions.Filters.Listener.TlsInspector.V3;

/// <summary>
/// Tells TLS from anything else by the ClientHello, and notes the server name and the application protocols in it, without terminating.
/// Envoy: envoy.filters.listener.tls_inspector.
/// </summary>
/// <remarks>
/// Shared immutable. The hello lies in what the connection has read anyway and hands on to the chain: no second read of the same bytes, as peeking at the
/// socket would be, and in the usual case, a hello in one piece, no copy. Names come from a bounded cache of the worker.
/// </remarks>
internal sealed class TlsInspector(int helloBytesMax, bool closesWhatIsNot, StatsScope stats) : ListenerFilter
{
    /// <summary>Envoy's TLS_MAX_CLIENT_HELLO, and the most that max_client_hello_size allows.</summary>
    private const int HelloBytesMax = 16 * 1024;

    private static readonly LoopLocal<Worker> s_workers = new(static _ => new Worker());

    /// <summary>What the connections of one worker share.</summary>
    private sealed class Worker
    {
        internal readonly byte[] Joined = new byte[HelloBytesMax];
        internal readonly NameCache Names = new();
    }

    internal override int InspectBytesMax => helloBytesMax;

    internal override ListenerFilterStatus Inspect(AcceptedConnection connection, ReadOnlySpan<byte> data)
    {
        if (data.IsEmpty)
            return ListenerFilterStatus.NeedMore;
        var worker = s_workers[connection.Connection.Loop];
        var cells = stats.Cells(connection.WorkerIndex);
        switch (ClientHello.TryRead(data, helloBytesMax, worker.Joined, out var hello))
        {
            case ClientHelloStatus.Incomplete:
                return ListenerFilterStatus.NeedMore;
            case ClientHelloStatus.TooLarge:
                cells.Inc(TlsInspectorStats.ClientHelloTooLarge);
                cells.Record(TlsInspectorStats.BytesProcessed, Math.Min(data.Length, helloBytesMax));
                return ListenerFilterStatus.Close;
            case ClientHelloStatus.NotTls:
                cells.Inc(TlsInspectorStats.TlsNotFound);
                cells.Record(TlsInspectorStats.BytesProcessed, Math.Min(data.Length, helloBytesMax));
                connection.TransportProtocol = "raw_buffer";
                return closesWhatIsNot ? ListenerFilterStatus.Close : ListenerFilterStatus.Continue;
            default:
                Note(connection, hello, worker.Names, cells);
                return ListenerFilterStatus.Continue;
        }
    }

    internal override void OnPeerClosed(AcceptedConnection connection) => stats.Cells(connection.WorkerIndex).Inc(TlsInspectorStats.ConnectionClosed);

    private static void Note(AcceptedConnection connection, ClientHello hello, NameCache names, StatsCells cells)
    {
        connection.TransportProtocol = "tls";
        connection.ServerName = names.Get(hello.ServerName, lower: true);
        connection.ApplicationProtocols.Clear();
        for (var protocols = hello.Protocols; !protocols.IsEmpty; protocols = protocols[(1 + protocols[0])..])
            connection.ApplicationProtocols.Add(names.Get(protocols.Slice(1, protocols[0]), lower: false));

        cells.Inc(TlsInspectorStats.TlsFound);
        cells.Inc(hello.ServerName.IsEmpty ? TlsInspectorStats.SniNotFound : TlsInspectorStats.SniFound);
        cells.Inc(hello.Protocols.IsEmpty ? TlsInspectorStats.AlpnNotFound : TlsInspectorStats.AlpnFound);
        cells.Record(TlsInspectorStats.BytesProcessed, hello.Size);
    }

    // ---- configuration ------------------------------------------------------------------------------------------

    internal static ListenerFilter? Create(Wire.TlsInspector wire, bool transparent, ConfigScope scope)
    {
        if (wire.InitialReadBufferSize is < 256 or > 65536)
            scope.Reject("initial_read_buffer_size", "must be 256 to 65536");
        if (wire.MaxClientHelloSize is < 256 or > HelloBytesMax)
            scope.Reject("max_client_hello_size", $"must be 256 to {HelloBytesMax}");
        if (wire.EnableJa3Fingerprinting == true)
            scope.Ignore("enable_ja3_fingerprinting", "fingerprints are not made: nothing here could show them");
        if (wire.EnableJa4Fingerprinting == true)
            scope.Ignore("enable_ja4_fingerprinting", "fingerprints are not made: nothing here could show them");
        return new TlsInspector((int)(wire.MaxClientHelloSize ?? HelloBytesMax), wire.CloseConnectionOnClientHelloParsingErrors,
            scope.Services.Stats.Scope(TlsInspectorStats.Schema, "tls_inspector."));
    }
}

/// <summary>Stats of all TLS inspectors, under <c>tls_inspector.</c>, Envoy's names.</summary>
internal static class TlsInspectorStats
{
    /// <summary>The peer went before it was known what it speaks; Envoy has it only as the listener's <c>downstream_listener_filter_remote_close</c> by now.</summary>
    internal const int ConnectionClosed = 0;
    internal const int ClientHelloTooLarge = 1;
    internal const int TlsFound = 2;
    internal const int TlsNotFound = 3;
    internal const int AlpnFound = 4;
    internal const int AlpnNotFound = 5;
    internal const int SniFound = 6;
    internal const int SniNotFound = 7;
    internal const int BytesProcessed = 8;

    internal static readonly StatsSchema Schema = new(
        new("connection_closed"),
        new("client_hello_too_large"),
        new("tls_found"),
        new("tls_not_found"),
        new("alpn_found"),
        new("alpn_not_found"),
        new("sni_found"),
        new("sni_not_found"),
        new("bytes_processed", StatKind.Histogram));
}
