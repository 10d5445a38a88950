using Sidecar.Http.H2;
using Sidecar.Loop;
using Sidecar.Memory;
using Sidecar.Routing;
using Sidecar.Upstream;

namespace Sidecar.Filters;

/// <summary>What a filter may use of its worker. Filled by Server/Worker; tests fill one of their own.</summary>
/// <remarks>Worker-owned.</remarks>
internal sealed class WorkerScope(EventLoop loop, int index, Clusters clusters, FastRandom random)
{
    internal EventLoop Loop { get; } = loop;

    /// <summary>The worker's number, from 0: the writer index of its stats cells.</summary>
    internal int Index { get; } = index;

    internal Clusters Clusters { get; } = clusters;
    internal FastRandom Random { get; } = random;

    /// <summary>Route tables by RDS slot (<see cref="ConfigServices.RouteSlot"/>); replaced as a whole when a snapshot is applied, between turns.</summary>
    internal RouteTable?[] RouteTables = [];

    /// <summary>True once the process drains: new streams are told to end their connection.</summary>
    internal bool IsDraining;

    /// <summary>True from /healthcheck/fail to /healthcheck/ok: responses of listeners with drain_type DEFAULT end their connection.</summary>
    internal bool FailsHealthChecks;

    internal OverloadState Overload { get; } = new(loop, random);

    internal HttpDate Date { get; } = new(loop);

    /// <summary>What the HTTP/2 codecs of this worker share, so that an idle connection holds none of it.</summary>
    internal Http2Pools Http2Pools { get; } = new(loop.Slab);
}
