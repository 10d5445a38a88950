
using System; using System.Collections.Generic; using Sidecar.Loop; using Sidecar.Config; using Sidecar.Upstream;
namespace Sidecar.Server;
internal class ClusterDiscovery { internal ClusterDiscovery(EventLoop l, Action<ClusterHosts> a) {} internal void Apply(IReadOnlyList<ClusterConfig> c) {} }
