using System;
using System.Collections.Generic;
using System.Linq;
using Google.Protobuf;
using Google.Protobuf.WellKnownTypes;
using Sidecar.Wire;
using Heap = Envoy.Extensions.ResourceMonitors.FixedHeap.V3;
using CgroupMemory = Envoy.Extensions.ResourceMonitors.CgroupMemory.V3;
using Connections = Envoy.Extensions.ResourceMonitors.DownstreamConnections.V3;

namespace Sidecar.Config;

using Wire = global::Envoy.Config.Overload.V3;

/// <summary>
/// Reads the overload_manager of a bootstrap. What Envoy refuses is an error in its words; monitors and actions that Envoy has and we do not are
/// reported as without effect, so that a bootstrap made for Envoy starts.
/// </summary>
/// <remarks>Control loop only; one for one bootstrap.</remarks>
internal sealed class OverloadTranslator(string file)
{
    private const string MonitorPackage = "envoy.extensions.resource_monitors.";
    private const string ShrinkHeapType = "envoy.config.overload.v3.ShrinkHeapConfig";

    private static readonly string[] s_otherMonitors = ["envoy.resource_monitors.injected_resource", "envoy.resource_monitors.cpu_utilization"];
    private static readonly string[] s_otherActions = ["envoy.overload_actions.reduce_timeouts", "envoy.overload_actions.close_idle_http_connections"];

    private readonly List<ConfigError> _problems = [];
    private readonly HashSet<OverloadResource> _resources = [];
    private readonly HashSet<string> _otherResources = [];

    internal IReadOnlyList<ConfigError> Problems => _problems;

    /// <summary>The configuration; defaults in place of what is wrong with it.</summary>
    internal OverloadConfig Read(Wire.OverloadManager? wire)
    {
        if (wire is null)
            return new OverloadConfig();
        var config = new OverloadConfig { RefreshMs = Milliseconds("refresh_interval", wire.RefreshInterval, 1000) };
        for (int i = 0; i < wire.ResourceMonitors.Count; i++)
            config = ReadMonitor(wire.ResourceMonitors[i], $"resource_monitors[{i}]", config);
        if (wire.BufferFactoryConfig is { } factory)
        {
            // Envoy's own bounds: 1 MiB to 2^56 was the rule once, 10 to 56 is now.
            if (factory.MinimumAccountToTrackPowerOfTwo is < 10 or > 56)
                Reject("buffer_factory_config.minimum_account_to_track_power_of_two", "must be 10 to 56");
            else
                config = config with { ResetBytesMin = 1L << (int)factory.MinimumAccountToTrackPowerOfTwo };
        }
        var actions = new List<OverloadActionConfig>();
        var names = new HashSet<string>();
        for (int i = 0; i < wire.Actions.Count; i++)
        {
            string path = $"actions[{i}]";
            if (!names.Add(wire.Actions[i].Name))
                Reject(path + ".name", $"Duplicate overload action {wire.Actions[i].Name}");
            else if (ReadAction(wire.Actions[i], path, ref config) is { } action)
                actions.Add(action);
        }
        bool watchesMemory = _resources.Contains(OverloadResource.FixedHeap) || _resources.Contains(OverloadResource.CgroupMemory);
        if (!watchesMemory)
            actions.AddRange(OverloadConfig.DefaultActions.Where(own => !names.Contains(OverloadConfig.NameOf(own.Action))));
        return config with { Actions = actions, WatchesHeap = !watchesMemory || _resources.Contains(OverloadResource.FixedHeap) };
    }

    private OverloadConfig ReadMonitor(Wire.ResourceMonitor monitor, string path, OverloadConfig config)
    {
        if (Array.IndexOf(s_otherMonitors, monitor.Name) >= 0)
        {
            _otherResources.Add(monitor.Name);
            Report(path, $"{monitor.Name} is not watched");
            return config;
        }
        OverloadResource resource;
        switch (monitor.Name)
        {
            case "envoy.resource_monitors.fixed_heap":
                resource = OverloadResource.FixedHeap;
                var heap = Unpack(Heap.FixedHeapConfig.Parser, MonitorPackage + "fixed_heap.v3.FixedHeapConfig", monitor.TypedConfig, path);
                if (heap is { MaxHeapSizeBytes: 0 or > long.MaxValue })
                    Reject(path + ".typed_config.max_heap_size_bytes", "value must be greater than 0");
                else if (heap is not null)
                    config = config with { MaxHeapBytes = (long)heap.MaxHeapSizeBytes };
                break;
            case "envoy.resource_monitors.cgroup_memory":
                resource = OverloadResource.CgroupMemory;
                var group = Unpack(CgroupMemory.CgroupMemoryConfig.Parser, MonitorPackage + "cgroup_memory.v3.CgroupMemoryConfig", monitor.TypedConfig, path) ?? new();
                config = config with { WatchesCgroup = true, CgroupBytesMax = (long)Math.Min(group.MaxMemoryBytes, long.MaxValue) };
                break;
            case "envoy.resource_monitors.global_downstream_max_connections":
                resource = OverloadResource.DownstreamConnections;
                var connections = Unpack(
                    Connections.DownstreamConnectionsConfig.Parser, MonitorPackage + "downstream_connections.v3.DownstreamConnectionsConfig", monitor.TypedConfig, path);
                if (connections is { MaxActiveDownstreamConnections: <= 0 })
                    Reject(path + ".typed_config.max_active_downstream_connections", "value must be greater than 0");
                else if (connections is not null)
                    config = config with { MaxConnections = connections.MaxActiveDownstreamConnections };
                break;
            default:
                Reject(path + ".name", $"Didn't find a registered implementation for name: '{monitor.Name}'");
                return config;
        }
        if (!_resources.Add(resource))
            Reject(path + ".name", $"Duplicate resource monitor {monitor.Name}");
        return config;
    }

    private OverloadActionConfig? ReadAction(Wire.OverloadAction wire, string path, ref OverloadConfig config)
    {
        if (Array.IndexOf(s_otherActions, wire.Name) >= 0)
        {
            Report(path, $"{wire.Name} is not taken");
            return null;
        }
        if (ActionOf(wire.Name) is not { } action)
        {
            Reject(path + ".name", $"Unknown Overload Manager Action {wire.Name}");
            return null;
        }
        if (action == OverloadAction.ShrinkHeap && wire.TypedConfig is not null
            && Unpack(Wire.ShrinkHeapConfig.Parser, ShrinkHeapType, wire.TypedConfig, path) is { } shrink)
        {
            config = config with
            {
                ShrinkIntervalMs = Milliseconds(path + ".typed_config.timer_interval", shrink.TimerInterval, config.ShrinkIntervalMs),
                ShrinkBytesMin = (long)Math.Min(shrink.MaxUnfreedMemoryBytes ?? (ulong)config.ShrinkBytesMin, long.MaxValue),
            };
        }
        else if (action != OverloadAction.ShrinkHeap && wire.TypedConfig is not null)
        {
            Reject(path + ".typed_config", $"Overload action {wire.Name} has no configuration");
        }
        if (wire.Triggers.Count == 0)
            Reject(path + ".triggers", "must have at least one");
        var triggers = new List<OverloadTrigger>();
        var names = new HashSet<string>();
        for (int i = 0; i < wire.Triggers.Count; i++)
        {
            string at = $"{path}.triggers[{i}]";
            if (!names.Add(wire.Triggers[i].Name))
                Reject(at + ".name", $"Duplicate trigger resource for overload action {wire.Name}");
            else if (ReadTrigger(wire.Triggers[i], at, wire.Name) is { } trigger)
                triggers.Add(trigger);
        }
        return new OverloadActionConfig(action, triggers);
    }

    private OverloadTrigger? ReadTrigger(Wire.Trigger wire, string path, string action)
    {
        if (_otherResources.Contains(wire.Name))
            return null;
        OverloadResource? known = null;
        foreach (var candidate in _resources)
            known = OverloadConfig.NameOf(candidate) == wire.Name ? candidate : known;
        if (known is not { } resource)
        {
            Reject(path + ".name", $"Unknown trigger resource {wire.Name} for overload action {action}");
            return null;
        }
        switch (wire.TriggerOneofCase)
        {
            case Wire.Trigger.TriggerOneofOneofCase.Threshold:
                double value = wire.Threshold.Value;
                if (!IsShare(value))
                    Reject(path + ".threshold.value", "value must be inside range [0, 1]");
                return new OverloadTrigger(resource, value, value, value);
            case Wire.Trigger.TriggerOneofOneofCase.Scaled:
                var (start, full) = (wire.Scaled.ScalingThreshold, wire.Scaled.SaturationThreshold);
                if (!IsShare(start))
                    Reject(path + ".scaled.scaling_threshold", "value must be inside range [0, 1]");
                else if (!IsShare(full))
                    Reject(path + ".scaled.saturation_threshold", "value must be inside range [0, 1]");
                else if (start >= full)
                    Reject(path + ".scaled", "scaling_threshold must be less than saturation_threshold");
                return new OverloadTrigger(resource, start, full, start);
            default:
                Reject(path, "threshold or scaled is required");
                return null;
        }
    }

    private static bool IsShare(double value) => value is >= 0 and <= 1;

    private static OverloadAction? ActionOf(string name)
    {
        foreach (var action in System.Enum.GetValues<OverloadAction>())
        {
            if (OverloadConfig.NameOf(action) == name)
                return action;
        }
        return null;
    }

    // The type is named here: a descriptor, which knows its name, would bring the reflection of all messages into the executable.
    private T? Unpack<T>(MessageParser<T> parser, string type, Any? packed, string path) where T : class, IMessage<T>
    {
        try
        {
            if (packed is not null && packed.TypeUrl.AsSpan(packed.TypeUrl.LastIndexOf('/') + 1).SequenceEqual(type))
                return parser.ParseFrom(packed.Value);
        }
        // Google.Protobuf reports a broken wrapper message by InvalidOperationException.
        catch (Exception broken) when (broken is InvalidProtocolBufferException or InvalidOperationException)
        {
            Reject(path + ".typed_config", "is malformed");
            return null;
        }
        Reject(path + ".typed_config", "must be " + type);
        return null;
    }

    private long Milliseconds(string path, Duration? value, long fallback)
    {
        if (value is null)
            return fallback;
        if (value.Seconds is < 0 or > 9_223_372_036 || value.Nanos is < 0 or > 999_999_999)
        {
            Reject(path, "is not a valid duration: it must be 0 to 292 years");
            return fallback;
        }
        return Math.Max(1, value.Seconds * 1000 + (value.Nanos + 999_999) / 1_000_000);
    }

    private void Reject(string path, string reason) => _problems.Add(new ConfigError(file, "bootstrap", "overload_manager." + path, reason));

    private void Report(string path, string reason) =>
        _problems.Add(new ConfigError(file, "bootstrap", "overload_manager." + path, reason) { Kind = ConfigErrorKind.Unsupported });
}
