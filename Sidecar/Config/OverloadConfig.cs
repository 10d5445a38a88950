using System;
using System.Collections.Generic;

namespace Sidecar.Config;

/// <summary>What can run short.</summary>
internal enum OverloadResource : byte { FixedHeap, CgroupMemory, DownstreamConnections }

/// <summary>What is done about it.</summary>
internal enum OverloadAction : byte
{
    ShrinkHeap,
    DisableHttpKeepAlive,
    ResetHighMemoryStream,
    StopAcceptingRequests,
    StopAcceptingConnections,
    RejectIncomingConnections,
}

/// <summary>From which pressure of a resource an action is taken, and how far.</summary>
/// <param name="Resource">The resource.</param>
/// <param name="Start">Above it the action begins: 1 is all of the resource.</param>
/// <param name="Full">From here on it is taken in all cases; a threshold trigger has the same here.</param>
/// <param name="Release">Once begun, it goes on until the pressure is below this.</param>
/// <remarks>Shared immutable.</remarks>
internal sealed record OverloadTrigger(OverloadResource Resource, double Start, double Full, double Release)
{
    /// <summary>How far the action is to be taken, 0 to 1, at a pressure, after it was taken as far as <paramref name="last"/>.</summary>
    internal double ValueAt(double pressure, double last)
    {
        if (pressure >= Full)
            return 1;
        if (Full > Start)
            return pressure <= Start ? 0 : (pressure - Start) / (Full - Start);
        return last > 0 && pressure >= Release ? last : 0;
    }
}

/// <summary>An action with its triggers: it is taken as far as the strongest of them says.</summary>
/// <remarks>Shared immutable.</remarks>
internal sealed record OverloadActionConfig(OverloadAction Action, IReadOnlyList<OverloadTrigger> Triggers);

/// <summary>
/// What is watched and what is done when it runs short. There is always a budget of memory: where a bootstrap's overload_manager watches none, ours
/// does, with the actions of <see cref="DefaultActions"/> that the bootstrap does not have.
/// </summary>
/// <remarks>Shared immutable.</remarks>
internal sealed record OverloadConfig
{
    /// <summary>refresh_interval.</summary>
    internal long RefreshMs { get; init; } = 1000;

    /// <summary>FixedHeapConfig.max_heap_size_bytes; null: nobody has said, so it is <see cref="DefaultHeapBytes"/>.</summary>
    internal long? MaxHeapBytes { get; init; }

    /// <summary>Whether memory is watched by fixed_heap.</summary>
    internal bool WatchesHeap { get; init; } = true;

    /// <summary>Whether what the control group uses is watched.</summary>
    internal bool WatchesCgroup { get; init; }

    /// <summary>CgroupMemoryConfig.max_memory_bytes; 0: only the group's own limit counts.</summary>
    internal long CgroupBytesMax { get; init; }

    /// <summary>DownstreamConnectionsConfig.max_active_downstream_connections; null: not watched.</summary>
    internal long? MaxConnections { get; init; }

    internal IReadOnlyList<OverloadActionConfig> Actions { get; init; } = DefaultActions;

    /// <summary>buffer_factory_config.minimum_account_to_track_power_of_two: streams that hold less are not reset.</summary>
    internal long ResetBytesMin { get; init; } = 16 * 1024;

    /// <summary>ShrinkHeapConfig.timer_interval.</summary>
    internal long ShrinkIntervalMs { get; init; } = 10_000;

    /// <summary>ShrinkHeapConfig.max_unfreed_memory_bytes.</summary>
    internal long ShrinkBytesMin { get; init; } = 100 * 1024 * 1024;

    /// <summary>
    /// The budget where nobody set one: the share of the control group's limit that the runtime lets its heap have, since the kernel's buffers of our
    /// sockets are charged to the group too; without a limit the same share of the machine, but no more than a sidecar could have a use for.
    /// </summary>
    internal static long DefaultHeapBytes(long? cgroupLimit, long machineBytes)
    {
        const long withoutLimitMax = 4L * 1024 * 1024 * 1024;
        return cgroupLimit is { } limit ? Math.Min(limit, machineBytes) / 4 * 3 : Math.Min(machineBytes / 4 * 3, withoutLimitMax);
    }

    /// <summary>
    /// First clients are asked to come by another connection and the largest streams go, then requests are refused, then connections. Each goes on until
    /// the pressure is well below its start, or it would flap.
    /// </summary>
    internal static IReadOnlyList<OverloadActionConfig> DefaultActions { get; } = new[]
    {
        Default(OverloadAction.DisableHttpKeepAlive, 0.90),
        Default(OverloadAction.ResetHighMemoryStream, 0.90),
        Default(OverloadAction.StopAcceptingRequests, 0.95),
        Default(OverloadAction.StopAcceptingConnections, 0.98),
    };

    private static OverloadActionConfig Default(OverloadAction action, double start) =>
        new(action, new[] { new OverloadTrigger(OverloadResource.FixedHeap, start, start, start - 0.05) });

    /// <summary>Envoy's name.</summary>
    internal static string NameOf(OverloadResource resource) => resource switch
    {
        OverloadResource.FixedHeap => "envoy.resource_monitors.fixed_heap",
        OverloadResource.CgroupMemory => "envoy.resource_monitors.cgroup_memory",
        _ => "envoy.resource_monitors.global_downstream_max_connections",
    };

    /// <summary>Envoy's name.</summary>
    internal static string NameOf(OverloadAction action) => action switch
    {
        OverloadAction.ShrinkHeap => "envoy.overload_actions.shrink_heap",
        OverloadAction.DisableHttpKeepAlive => "envoy.overload_actions.disable_http_keepalive",
        OverloadAction.ResetHighMemoryStream => "envoy.overload_actions.reset_high_memory_stream",
        OverloadAction.StopAcceptingRequests => "envoy.overload_actions.stop_accepting_requests",
        OverloadAction.StopAcceptingConnections => "envoy.overload_actions.stop_accepting_connections",
        _ => "envoy.overload_actions.reject_incoming_connections",
    };
}
