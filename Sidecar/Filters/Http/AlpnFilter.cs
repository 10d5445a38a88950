using System;
using System.Text;
using Sidecar.Http;
using Sidecar.Telemetry;
using Sidecar.Tls;
using Sidecar.Upstream;

namespace Sidecar.Filters.Http;

using Wire = global::Istio.Alpn.V2Alpha1;

/// <summary>
/// Tells TLS towards the upstream what to offer by ALPN, according to the protocol the request will be sent in. The mesh's own names, istio-http/1.1 and
/// its like, let the other side's listener tell requests of the mesh from tunnelled TLS; a cluster whose metadata has istio.alpn_override "false" is
/// outside the mesh and keeps its own. Istio: istio.alpn.
/// </summary>
/// <remarks>One per stream, worker-owned; has no state.</remarks>
internal sealed class AlpnFilter(AlpnFilter.Config config, WorkerScope worker) : HttpFilter
{
    internal override FilterStatus OnRequestHead(RequestHead head, bool endStream)
    {
        if (Stream.Route?.Action is not { } action || action.PickCluster(head, Stream.WeightedCluster) is not { } target)
            return FilterStatus.Continue;
        var cluster = target.Slot >= 0 ? worker.Clusters[target.Slot] : worker.Clusters.Find(target.Name);
        if (cluster is null || cluster.Config.Metadata.Find("istio", "alpn_override") is { Text: "false" })
            return FilterStatus.Continue;
        var alpn = config.Of(Protocol(cluster, head.Version));
        if (alpn.Length > 0)
            Stream.UpstreamAlpn = alpn;
        return FilterStatus.Continue;
    }

    internal override void Reset()
    {
    }

    // Where the handshake decides HTTP/2 is asked for first; HTTP/1.0 goes out as such only where the upstream follows the downstream.
    private static HttpVersion Protocol(Cluster cluster, HttpVersion downstream) => cluster.Config.Http.Protocol switch
    {
        UpstreamProtocol.Http2 or UpstreamProtocol.Negotiated => HttpVersion.Http2,
        UpstreamProtocol.Downstream => downstream,
        _ => HttpVersion.Http11,
    };

    // ---- configuration ----------------------------------------------------------------------------------------

    /// <summary>What to offer for each protocol, in its wire form; empty: what the cluster's configuration says.</summary>
    internal sealed record Config
    {
        internal byte[] Http10 { get; init; } = [];
        internal byte[] Http11 { get; init; } = [];
        internal byte[] Http2 { get; init; } = [];

        internal byte[] Of(HttpVersion protocol) => protocol switch
        {
            HttpVersion.Http10 => Http10,
            HttpVersion.Http2 => Http2,
            _ => Http11,
        };
    }

    internal static HttpFilterFactory? Create(Wire.FilterConfig wire, ConfigScope scope)
    {
        var offers = new byte[3][];
        for (int i = 0; i < wire.AlpnOverride.Count; i++)
        {
            var row = wire.AlpnOverride[i];
            var at = scope.At("alpn_override", i);
            for (int j = 0; j < row.AlpnOverride_.Count; j++)
            {
                if (row.AlpnOverride_[j].Length == 0 || Encoding.UTF8.GetByteCount(row.AlpnOverride_[j]) > 255)
                    at.Reject($"alpn_override[{j}]", "must be 1 to 255 bytes long");
            }
            if (!Enum.IsDefined(row.UpstreamProtocol))
                at.Reject("upstream_protocol", $"unknown protocol {(int)row.UpstreamProtocol}");
            if (scope.IsRejected)
                continue;
            // Of two for one protocol the first counts, as Istio.
            offers[(int)row.UpstreamProtocol] ??= TlsNames.AlpnWire(row.AlpnOverride_);
        }
        if (scope.IsRejected)
            return null;
        var config = new Config { Http10 = offers[0] ?? [], Http11 = offers[1] ?? [], Http2 = offers[2] ?? [] };
        return worker => new AlpnFilter(config, worker);
    }
}
