using System;
using System.Text;
using Sidecar.Filters;
using Sidecar.Routing;
using WireRoute = Envoy.Config.Route.V3;
using WireMatcher = Envoy.Type.Matcher.V3;
namespace Sidecar.Config;
internal static class ClusterTranslator { internal static Upstream.ClusterConfig? Translate(Envoy.Config.Cluster.V3.Cluster w, int workers, ConfigScope s) {
  var r = s.Services.Cluster(w.Name);
  return new Upstream.ClusterConfig { Name = w.Name, Slot = r.Slot, StatName = w.Name, Stats = s.Services.Stats.Scope(Upstream.ClusterStats.Schema, "cluster." + w.Name + "."), 
   Breakers = new Upstream.CircuitBreakers(new() { MaxConnections = uint.MaxValue, MaxPendingRequests = uint.MaxValue, MaxRequests = uint.MaxValue }, new(), null, workers), Type = w.Type == Envoy.Config.Cluster.V3.Cluster.Types.DiscoveryType.OriginalDst ? Upstream.DiscoveryType.OriginalDst : w.Type == Envoy.Config.Cluster.V3.Cluster.Types.DiscoveryType.Eds ? Upstream.DiscoveryType.Eds : Upstream.DiscoveryType.Static,
   Http = new Upstream.HttpUpstreamOptions { Protocol = w.Http2ProtocolOptions is not null ? Upstream.UpstreamProtocol.Http2 : Upstream.UpstreamProtocol.Http1 },
   StaticHosts = w.LoadAssignment is { } la ? EndpointTranslator.Hosts(la, workers) : null, LbPolicy = w.Type == Envoy.Config.Cluster.V3.Cluster.Types.DiscoveryType.OriginalDst ? Upstream.LbPolicy.ClusterProvided : Upstream.LbPolicy.RoundRobin, ServiceName = w.EdsClusterConfig?.ServiceName ?? "" }; } }
internal static class EndpointTranslator { internal static Upstream.HostSet Hosts(Envoy.Config.Endpoint.V3.ClusterLoadAssignment la, int workers) {
  var l = new System.Collections.Generic.List<Upstream.Host>();
  foreach (var e in la.Endpoints) foreach (var x in e.LbEndpoints) { Net.Address.TryParseIp(x.Endpoint.Address.SocketAddress.Address.AsSpan(), out var a, (ushort)x.Endpoint.Address.SocketAddress.PortValue); l.Add(new Upstream.Host(a, "", workers)); }
  var h = l.ToArray(); return new Upstream.HostSet([new(h, [new(Upstream.Locality.None, 1, h)])], 140, false); } }
