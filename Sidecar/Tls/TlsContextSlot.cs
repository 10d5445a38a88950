using System.Threading;
using Sidecar.Linux;
using Sidecar.Memory;
using Sidecar.Net;
using Sidecar.Telemetry.Stats;

namespace Sidecar.Tls;

/// <summary>
/// Where a filter chain or a cluster finds the context for its next handshake. Rotating a certificate replaces the context here and nowhere else:
/// connections that are open keep theirs, and the chain, its listener and the cluster stay the same objects.
/// </summary>
/// <remarks>Cross-thread: written by the control loop, one reference; read by workers.</remarks>
internal sealed class TlsContextSlot(StatsScope secretStats)
{
    private TlsContext? _current;

    /// <summary>Null while a secret it needs is not there: then nothing is served, least of all in the clear.</summary>
    internal TlsContext? Current => Volatile.Read(ref _current);

    /// <summary>By <see cref="TlsSecretStats"/>.</summary>
    internal StatsScope SecretStats => secretStats;

    /// <summary>Whatever must live as long as this slot. Control loop.</summary>
    internal object? Owner { get; set; }

    /// <summary>Counts that a secret gave a new context. Control loop.</summary>
    internal void CountUpdate() => secretStats.Cells(secretStats.Writers - 1).Inc(TlsSecretStats.UpdateBySds);

    /// <summary>Puts a context in use. Control loop.</summary>
    internal void Replace(TlsContext context) => Volatile.Write(ref _current, context);

    /// <summary>The context for a handshake; null, and counted, while there is none.</summary>
    internal TlsContext? Take(int worker)
    {
        var context = Current;
        if (context is null)
            secretStats.Cells(worker).Inc(TlsSecretStats.NotReady);
        return context;
    }
}

/// <summary>Stands in while a context's secrets are not there: every connection fails, with the reason.</summary>
/// <remarks>Without state, one for all.</remarks>
internal sealed class NotReadyTransport : Transport
{
    internal static readonly NotReadyTransport Instance = new();

    internal override bool IsReady => false;
    internal override string FailureReason => "TLS error: Secret is not supplied by SDS";

    internal override IoResult Handshake(int fd) => IoResult.Failed(Errno.EPROTO);
    internal override IoResult Read(int fd, System.Span<byte> into) => IoResult.Failed(Errno.EPROTO);
    internal override IoResult Write(int fd, BufferChain from) => IoResult.Failed(Errno.EPROTO);
    internal override IoResult WriteDirect(int fd, System.ReadOnlySpan<byte> bytes) => IoResult.Failed(Errno.EPROTO);

    internal override void ShutdownWrite(int fd)
    {
    }

    internal override void Preload(System.ReadOnlySpan<byte> received)
    {
    }
}
