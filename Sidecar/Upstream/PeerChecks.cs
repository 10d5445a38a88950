using Sidecar.Http.H2;
using Sidecar.Net;

namespace Sidecar.Upstream;

/// <summary>
/// How a connection notices that its peer is gone without a word (a machine that died, a network that swallows everything), where the cluster's own
/// configuration does not say: tcp_keepalive and connection_keepalive win over this. Immutable.
/// </summary>
/// <param name="Tcp">Probes of the kernel while nothing is sent; they cost the peer's program nothing.</param>
/// <param name="UserTimeoutMs">How long sent bytes may stay without the kernel's acknowledgement (TCP_USER_TIMEOUT).</param>
/// <param name="PingIntervalMs">Between two HTTP/2 PINGs, while there is a stream: for a peer behind a proxy that answers the kernel's probes for it.</param>
/// <param name="PingTimeoutMs">How long the answer to a PING may take.</param>
internal sealed record PeerChecks(KeepAlive Tcp, int UserTimeoutMs, int PingIntervalMs, int PingTimeoutMs)
{
    /// <summary>
    /// For the proxy's own calls, whose streams are silent for hours. The kernel finds a dead peer within a minute. gRPC servers end a connection on
    /// which PINGs come more often than every five minutes, unless they are told otherwise (GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS in C++,
    /// EnforcementPolicy.MinTime in Go), so PINGs come a little less often than that.
    /// </summary>
    internal static readonly PeerChecks OwnCalls = new(new KeepAlive(IdleSeconds: 30, IntervalSeconds: 10, Probes: 3), 60_000, 305_000, 20_000);

    internal ConnectOptions Complete(ConnectOptions options) => options.KeepAlive is not null
        ? options
        : options with { KeepAlive = Tcp, UserTimeoutMs = options.UserTimeoutMs > 0 ? options.UserTimeoutMs : UserTimeoutMs };

    internal Http2Options Complete(Http2Options options) => options.KeepaliveIntervalMs > 0
        ? options
        : options with { KeepaliveIntervalMs = PingIntervalMs, KeepaliveTimeoutMs = PingTimeoutMs };
}
