using System;
using System.Collections.Generic;
using System.Text;
using Sidecar.Http;
using WireRoute = Envoy.Config.Route.V3;
namespace Sidecar.Routing;
internal sealed record ClusterRef(int Slot, string Name);
internal sealed class ClusterSlots { readonly Dictionary<string, ClusterRef> _d = []; internal ClusterRef Intern(string n) { if (!_d.TryGetValue(n, out var r)) _d.Add(n, r = new(_d.Count, n)); return r; } }
internal class RouteTable {
  internal List<(HashSet<string> Domains, VirtualHost Host, List<(string? Prefix, string? Path, Route Route)> Routes)> Hosts = [];
  internal RouteMatchResult Match(in RouteInput i) {
    string a = Encoding.Latin1.GetString(i.Head.Authority); 
    foreach (var h in Hosts) if (h.Domains.Contains(a)) return In(h, i);
    foreach (var h in Hosts) if (h.Domains.Contains("*")) return In(h, i);
    return default; }
  static RouteMatchResult In((HashSet<string> Domains, VirtualHost Host, List<(string? Prefix, string? Path, Route Route)> Routes) h, in RouteInput i) {
    string p = Encoding.Latin1.GetString(i.Head.Path); int q = p.IndexOf('?'); string po = q < 0 ? p : p[..q];
    foreach (var r in h.Routes) if (r.Prefix is not null ? p.StartsWith(r.Prefix, StringComparison.Ordinal) : po == r.Path) return new() { Route = r.Route, VirtualHost = h.Host };
    return default; } }
internal readonly ref struct RouteInput { internal readonly RequestHead Head; internal RouteInput(RequestHead h, ulong r, bool isTls) { Head = h; } }
internal struct RouteMatchResult { internal Route? Route; internal VirtualHost? VirtualHost; internal T? FindFilterConfig<T>(string n) where T : class => null; }
internal class Route { internal string Name = ""; internal RouteAction? Action; internal DirectResponse? DirectResponse; internal RedirectAction? Redirect; internal VirtualHost VirtualHost = null!; }
internal class VirtualHost { internal string Name = ""; internal bool IncludeRequestAttemptCount, IncludeAttemptCountInResponse; }
internal class RouteAction { internal Dictionary<string,bool>? Upgrades; internal string? SingleClusterName; internal int ClusterNotFoundStatus = 503; internal List<(ClusterRef, uint)> Clusters = [];
  internal ClusterRef? PickCluster(RequestHead h, ulong r, out object? w) { w = null; uint t = 0; foreach (var c in Clusters) t += c.Item2; uint p = (uint)(r % t); foreach (var c in Clusters) { if (p < c.Item2) return c.Item1; p -= c.Item2; } return null; }
  internal Upstream.RoutingPriority Priority; internal ulong? Hash(RequestHead h, object s) => null; internal long TimeoutMs = 15000; internal long? MaxGrpcTimeoutMs, MaxStreamDurationMs, GrpcTimeoutHeaderMaxMs; internal long GrpcTimeoutOffsetMs, GrpcTimeoutHeaderOffsetMs; internal RetryPolicy? Retry; }
internal class DirectResponse { internal int Status; internal byte[] Body = []; }
internal class RedirectAction { internal int Status; internal void SetLocation(RequestHead h, HeaderMap m) {} }
internal class StringMatcher { internal bool Matches(ReadOnlySpan<byte> v) => false; internal bool IsAnyOf(ReadOnlySpan<byte> v) => false; }
internal class HeaderMatcher { internal bool Matches(RequestHead h) => false; }

[Flags] internal enum RetryOn { None=0, ServerError=1, GatewayError=2, Reset=4, ConnectFailure=8, RefusedStream=16, Retriable4xx=32, EnvoyRateLimited=64, RetriableStatusCodes=128, RetriableHeaders=256, ResetBeforeRequest=512, GrpcCancelled=1024, GrpcDeadlineExceeded=2048, GrpcResourceExhausted=4096, GrpcInternal=8192, GrpcUnavailable=16384, AnyGrpc=31744 }
internal class RetryPolicy { internal RetryOn On; internal uint NumRetries; internal int[] RetriableStatusCodes=[]; internal bool PreviousHosts; internal int HostSelectionAttempts; internal long PerTryTimeoutMs, PerTryIdleTimeoutMs; internal long? BackOffBaseMs, BackOffMaxMs;
 internal static RetryOn ParseOn(ReadOnlySpan<byte> s)=>0; internal static RetryOn ParseGrpcOn(ReadOnlySpan<byte> s)=>0; internal static int[] ParseStatusCodes(ReadOnlySpan<byte> s, int[] b)=>b; internal bool MatchesRetriableHeaders(ResponseHead h)=>false; internal bool TryRateLimitedBackOff(ResponseHead h, out long ms){ms=0;return false;} }
