using System;
using System.Text;
using Sidecar.Filters;
using Sidecar.Routing;
using WireRoute = Envoy.Config.Route.V3;
using WireMatcher = Envoy.Type.Matcher.V3;
namespace Sidecar.Config;
internal static class MatcherTranslator { internal static StringMatcher? String(WireMatcher.StringMatcher w, ConfigScope s) => new(); internal static HeaderMatcher? Header(WireRoute.HeaderMatcher w, ConfigScope s) => new(); }
internal static class RouteTranslator {
  internal static RouteTable? Translate(WireRoute.RouteConfiguration w, bool inline, ConfigScope scope) {
    var t = new RouteTable();
    foreach (var vh in w.VirtualHosts) {
      var host = new VirtualHost { Name = vh.Name }; var routes = new System.Collections.Generic.List<(string?, string?, Route)>();
      foreach (var r in vh.Routes) {
        var route = new Route { Name = r.Name, VirtualHost = host };
        if (r.DirectResponse is { } d) route.DirectResponse = new DirectResponse { Status = (int)d.Status, Body = Encoding.UTF8.GetBytes(d.Body?.InlineString ?? "") };
        if (r.Route_ is { } a) { route.Action = new RouteAction(); if (a.Timeout is { } tt) route.Action.TimeoutMs = tt.Seconds * 1000;
          if (a.WeightedClusters is { } wc) foreach (var c in wc.Clusters) route.Action.Clusters.Add((scope.Services.Cluster(c.Name), c.Weight ?? 0));
          else route.Action.Clusters.Add((scope.Services.Cluster(a.Cluster), 1)); }
        bool isPath = r.Match.PathSpecifierCase == WireRoute.RouteMatch.PathSpecifierOneofCase.Path;
        routes.Add((isPath ? null : r.Match.Prefix, isPath ? r.Match.Path : null, route)); }
      t.Hosts.Add((new(vh.Domains), host, routes)); }
    return t; } }

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
