using System;
using System.Collections.Generic;
using Sidecar.Config;
using Sidecar.Loop;
using Sidecar.Memory;
using Sidecar.Net;
using Sidecar.Telemetry;
using Sidecar.Telemetry.Stats;

namespace Sidecar.Server;

/// <summary>
/// Keeps the process within its memory. Every <see cref="OverloadConfig.RefreshMs"/>, faster while it is getting tight:
/// <code>
///   1 measure    what the kernel says we have, less what lies ready in slabs and pools      pressure of each resource
///   2 shrink     garbage is no load: it is collected before anything is taken for one
///   3 act        actions of the triggers that fired                                         state of each worker
///   4 release    reset_high_memory_stream ends the largest streams
///   5 allow      how much each thread may make new until the next look                      ThreadMemory.GrowthMax
///   6 give back  a calm process lets go of what only the past needed
/// </code>
/// </summary>
/// <remarks>Control loop only; Envoy's overload manager with a budget of its own. Workers are reached by messages, their memory by reading sums.</remarks>
internal sealed class OverloadManager : ITimerOwner
{
    /// <summary>How soon it looks again while more than half of the budget is used, or much was made new.</summary>
    internal const long BusyRefreshMs = 100;

    /// <summary>Garbage is collected before any action from this pressure on…</summary>
    private const double ShrinkPressure = 0.85;

    /// <summary>…where it is at least this part of the budget…</summary>
    private const int ShrinkPart = 16;

    /// <summary>…and not oftener than this: under attack there is always some…</summary>
    private const long ShrinkEveryMs = 1000;

    /// <summary>…but seldom where the last collection found little of what was expected: it costs the workers their time all the same.</summary>
    private const long ShrinkInVainMs = 30_000;

    /// <summary>So much of the budget is collected even then: it may be all that requests are refused for.</summary>
    private const int ShrinkAtOncePart = 4;

    /// <summary>What is worth a collection in quiet times, at most; with a small budget less is.</summary>
    private const long WorthGivingBackBytesMax = 32 * 1024 * 1024;

    /// <summary>A period of the keepers, in quiet times.</summary>
    internal const long PeriodMs = 5_000;

    /// <summary>Garbage that grows less than this from one look to the next is at rest.</summary>
    private const long RestBytes = 1024 * 1024;

    /// <summary>Two collections of quiet times are so far apart at least.</summary>
    internal const long GiveBackEveryMs = 15_000;

    /// <summary>Streams ended by one message: a worker's turn stays short.</summary>
    private const int StreamsPerRelease = 512;

    /// <summary>Streams are ended until the pressure is so much below where that began.</summary>
    private const double ReleaseMargin = 0.05;

    private static readonly StatsSchema s_resource = new(new("pressure", StatKind.Gauge), new("failed_updates"), new("skipped_updates"));
    private static readonly StatsSchema s_action = new(new("active", StatKind.Gauge), new("scale_percent", StatKind.Gauge));
    private static readonly StatsSchema s_reset = new(new("active", StatKind.Gauge), new("scale_percent", StatKind.Gauge), new("count"));
    private static readonly StatsSchema s_memory = new(
        new("budget_bytes", StatKind.Gauge), new("held_bytes", StatKind.Gauge), new("free_bytes", StatKind.Gauge), new("collections"),
        new("given_back_bytes"), new("collection_pause_us", StatKind.Gauge), new("collection_pause_max_us", StatKind.Gauge));

    /// <summary>A pressure that cannot be read any more is believed for so many looks: what it stopped would else be stopped for ever.</summary>
    internal const int FailuresMax = 10;

    private const int Pressure = 0;
    private const int FailedUpdates = 1;
    private const int Active = 0;
    private const int ScalePercent = 1;
    private const int ResetCount = 2;

    private readonly EventLoop _loop;
    private readonly IReadOnlyList<Worker> _workers;
    private readonly ConnectionLimit _connections;
    private readonly OverloadConfig _config;
    private readonly MemoryGauge _gauge;
    private readonly LoopTimer _timer;
    private readonly StatsCells _memory;
    private readonly List<Resource> _resources = [];
    private readonly double[] _values = new double[Enum.GetValues<OverloadAction>().Length];
    private readonly StatsCells?[] _actionStats = new StatsCells?[Enum.GetValues<OverloadAction>().Length];

    // What the managed heap had beyond the keepers' when nothing in it was garbage.
    private long _base;
    private long _lastGarbage;
    private long _lastCollectMs = long.MinValue / 2;
    private long _lastPeriodMs;
    private long _lastGrown;
    private bool _isCollecting;
    private long _shrinkWaitMs = ShrinkEveryMs;
    private long _pauseMaxUs;

    private sealed class Resource(OverloadResource kind, StatsCells stats)
    {
        internal readonly OverloadResource Kind = kind;
        internal readonly StatsCells Stats = stats;
        internal double Pressure;

        /// <summary>How often in a row it could not be read.</summary>
        internal int Failures;
    }

    internal OverloadManager(
        EventLoop loop, IReadOnlyList<Worker> workers, ConnectionLimit connections, StatsRegistry stats, OverloadConfig config, MemoryGauge gauge)
    {
        _loop = loop;
        _workers = workers;
        _connections = connections;
        _config = config;
        _gauge = gauge;
        _timer = new LoopTimer(this);
        BudgetBytes = config.MaxHeapBytes ?? OverloadConfig.DefaultHeapBytes(gauge.CgroupLimitBytes, gauge.MachineBytes);
        int writer = stats.ControlWriter;
        _memory = stats.Scope(s_memory, "sidecar.memory.").Cells(writer);
        _memory.Set(0, BudgetBytes);
        if (config.WatchesHeap)
            Watch(OverloadResource.FixedHeap);
        if (config.WatchesCgroup)
            Watch(OverloadResource.CgroupMemory);
        if (config.MaxConnections is not null)
            Watch(OverloadResource.DownstreamConnections);
        foreach (var action in config.Actions)
        {
            var schema = action.Action == OverloadAction.ResetHighMemoryStream ? s_reset : s_action;
            var cells = _actionStats[(int)action.Action] = stats.Scope(schema, $"overload.{OverloadConfig.NameOf(action.Action)}.").Cells(writer);
            cells.Set(Active, 0);
        }

        void Watch(OverloadResource kind) =>
            _resources.Add(new Resource(kind, stats.Scope(s_resource, $"overload.{OverloadConfig.NameOf(kind)}.").Cells(writer)));
    }

    /// <summary>Bytes of memory of our own that are all of it: pressure 1.</summary>
    internal long BudgetBytes { get; }

    /// <summary>What is worth a collection in quiet times.</summary>
    internal long WorthGivingBackBytes => Math.Min(WorthGivingBackBytesMax, BudgetBytes / 16);

    /// <summary>What slabs and pools of all threads hold.</summary>
    internal long HeldBytes { get; private set; }

    /// <summary>What of that lies ready.</summary>
    internal long FreeBytes { get; private set; }

    /// <summary>Collections made here.</summary>
    internal long Collections { get; private set; }

    /// <summary>How far an action is taken, 0 to 1.</summary>
    internal double ValueOf(OverloadAction action) => _values[(int)action];

    /// <summary>Begins to watch; all workers run. What there is now is the base.</summary>
    internal void Start()
    {
        SumUp();
        _base = _gauge.CommittedBytes - HeldBytes;
        _lastPeriodMs = _loop.NowMs;
        _loop.Schedule(_timer, _config.RefreshMs);
    }

    public void OnTimer(LoopTimer timer)
    {
        SumUp();
        long own = _gauge.AnonymousBytes;
        long garbage = Math.Max(0, _gauge.CommittedBytes - _base - HeldBytes);
        if (WantsToShrink(own, garbage))
            Collect(ref own, ref garbage);
        Measure(own);
        bool changed = Decide();
        if (changed)
            TellWorkers();
        ReleaseStreams(own);
        Allow(own, out bool isBusy);
        GiveBack(own, garbage);
        _loop.Schedule(_timer, isBusy ? Math.Min(BusyRefreshMs, _config.RefreshMs) : _config.RefreshMs);
    }

    // ---- 1 measure --------------------------------------------------------------------------------------------------------

    /// <summary>Reads the sums of all threads.</summary>
    internal void SumUp()
    {
        long held = _loop.Memory.HeldBytes;
        long free = _loop.Memory.FreeBytes;
        foreach (var worker in _workers)
        {
            if (worker.Loop.Memory == _loop.Memory)
                continue;
            held += worker.Loop.Memory.HeldBytes;
            free += worker.Loop.Memory.FreeBytes;
        }
        HeldBytes = held;
        FreeBytes = free;
        _memory.Set(1, held);
        _memory.Set(2, free);
    }

    private void Measure(long own)
    {
        foreach (var resource in _resources)
        {
            if (PressureOf(resource.Kind, own) is { } pressure)
            {
                if (resource.Failures >= FailuresMax)
                    Log.Warning("overload", $"resource monitor {OverloadConfig.NameOf(resource.Kind)} can be read again");
                resource.Failures = 0;
                resource.Pressure = pressure;
                resource.Stats.Set(Pressure, (long)(pressure * 100));
                continue;
            }
            resource.Stats.Inc(FailedUpdates);
            if (++resource.Failures != FailuresMax)
                continue;
            Log.Warning("overload", $"resource monitor {OverloadConfig.NameOf(resource.Kind)} cannot be read, {FailuresMax} times: it counts as without pressure");
            resource.Pressure = 0;
            resource.Stats.Set(Pressure, 0);
        }
    }

    private double? PressureOf(OverloadResource resource, long own)
    {
        switch (resource)
        {
            case OverloadResource.FixedHeap:
                return (double)Math.Max(0, own - FreeBytes) / BudgetBytes;
            case OverloadResource.CgroupMemory:
                if (_gauge.CgroupUsedBytes is not { } used)
                    return null;
                return CgroupBudget is { } budget ? (double)Math.Max(0, used - FreeBytes) / budget : 0;
            default:
                return (double)_connections.Active / _connections.Max;
        }
    }

    private long? CgroupBudget
    {
        get
        {
            long own = _config.CgroupBytesMax > 0 ? _config.CgroupBytesMax : long.MaxValue;
            long budget = Math.Min(own, _gauge.CgroupLimitBytes ?? long.MaxValue);
            return budget == long.MaxValue ? null : budget;
        }
    }

    // ---- 2 shrink -----------------------------------------------------------------------------------------------------------

    private bool WantsToShrink(long own, long garbage)
    {
        if (_isCollecting)
            return false;
        long sinceMs = _loop.NowMs - _lastCollectMs;
        if (ValueOf(OverloadAction.ShrinkHeap) > 0 && sinceMs >= _config.ShrinkIntervalMs && garbage >= _config.ShrinkBytesMin)
            return true;
        return own >= ShrinkPressure * BudgetBytes && garbage >= BudgetBytes / ShrinkPart && sinceMs >= (garbage >= BudgetBytes / ShrinkAtOncePart ? ShrinkEveryMs : _shrinkWaitMs);
    }

    // What cannot be collected, whatever it was taken for, is part of the base from then on: nothing is collected twice in vain.
    private void Collect(ref long own, ref long garbage)
    {
        long before = own;
        long pauseUs = _gauge.Collect();
        _lastCollectMs = _loop.NowMs;
        Collections++;
        own = _gauge.AnonymousBytes;
        SumUp();
        _base = _gauge.CommittedBytes - HeldBytes;
        _shrinkWaitMs = before - own >= garbage / 2 ? ShrinkEveryMs : ShrinkInVainMs;
        garbage = 0;
        _pauseMaxUs = Math.Max(_pauseMaxUs, pauseUs);
        _memory.Inc(3);
        _memory.Add(4, Math.Max(0, before - own));
        _memory.Set(5, pauseUs);
        _memory.Set(6, _pauseMaxUs);
        if (Log.IsEnabled(LogLevel.Debug))
            Log.Debug("memory", $"collected: {before >> 10} KiB to {own >> 10} KiB, workers stood still for {pauseUs} us");
    }

    // ---- 3 act ----------------------------------------------------------------------------------------------------------------

    private bool Decide()
    {
        bool changed = false;
        foreach (var action in _config.Actions)
        {
            ref double value = ref _values[(int)action.Action];
            double before = value;
            double next = 0;
            foreach (var trigger in action.Triggers)
                next = Math.Max(next, trigger.ValueAt(PressureOf(trigger.Resource), before));
            value = next;
            var stats = _actionStats[(int)action.Action]!;
            stats.Set(Active, next >= 1 ? 1 : 0);
            stats.Set(ScalePercent, (long)(next * 100));
            changed |= next != before;
            if (next > 0 != before > 0)
                Log.Warning("overload", $"overload action {OverloadConfig.NameOf(action.Action)} became {(next > 0 ? "active" : "inactive")}");
        }
        return changed;
    }

    private double PressureOf(OverloadResource kind)
    {
        foreach (var resource in _resources)
        {
            if (resource.Kind == kind)
                return resource.Pressure;
        }
        return 0;
    }

    private void TellWorkers()
    {
        double requests = ValueOf(OverloadAction.StopAcceptingRequests), keepAlive = ValueOf(OverloadAction.DisableHttpKeepAlive);
        double connections = ValueOf(OverloadAction.RejectIncomingConnections);
        bool stops = ValueOf(OverloadAction.StopAcceptingConnections) >= 1;
        foreach (var worker in _workers)
        {
            worker.Loop.Post(() =>
            {
                bool stopped = worker.Scope.Overload.StopsAccepting;
                worker.Scope.Overload.Set(requests, keepAlive, connections, stops);
                if (stopped != stops)
                    worker.Listeners.SetAccepting();
            });
        }
    }

    // ---- 4 release --------------------------------------------------------------------------------------------------------------

    private void ReleaseStreams(long own)
    {
        if (ValueOf(OverloadAction.ResetHighMemoryStream) <= 0)
            return;
        long wanted = 0;
        foreach (var action in _config.Actions)
        {
            if (action.Action != OverloadAction.ResetHighMemoryStream)
                continue;
            foreach (var trigger in action.Triggers)
            {
                long budget = trigger.Resource switch
                {
                    OverloadResource.FixedHeap => BudgetBytes,
                    OverloadResource.CgroupMemory => CgroupBudget ?? 0,
                    _ => 0,
                };
                double over = PressureOf(trigger.Resource) - Math.Max(0, Math.Min(trigger.Start, trigger.Release) - ReleaseMargin);
                wanted = Math.Max(wanted, (long)(Math.Min(over, 1) * budget));
            }
        }
        long used = Math.Max(1, HeldBytes - FreeBytes);
        if (wanted <= 0)
            return;
        foreach (var worker in _workers)
        {
            var memory = worker.Loop.Memory;
            long share = _workers.Count == 1 ? wanted : (long)((double)wanted * (memory.HeldBytes - memory.FreeBytes) / used);
            if (share > 0)
                worker.Loop.Post(() => CountReset(worker.Listeners.ReleaseMemory(share, _config.ResetBytesMin, StreamsPerRelease)));
        }
    }

    private void CountReset(int streams)
    {
        if (streams > 0)
            _loop.Post(() => _actionStats[(int)OverloadAction.ResetHighMemoryStream]!.Add(ResetCount, streams));
    }

    // ---- 5 allow ------------------------------------------------------------------------------------------------------------------

    // Up to where requests would be refused anyway. Two threads may take the whole of it each: the work is seldom spread evenly, and a refusal
    // without need is worse than a peak between two looks.
    private void Allow(long own, out bool isBusy)
    {
        double end = double.MaxValue;
        foreach (var action in _config.Actions)
        {
            if (action.Action != OverloadAction.StopAcceptingRequests)
                continue;
            foreach (var trigger in action.Triggers)
            {
                if (trigger.Resource == OverloadResource.FixedHeap)
                    end = Math.Min(end, trigger.Full);
            }
        }
        long room = end > 1 ? long.MaxValue / 4 : Math.Max(0, (long)(end * BudgetBytes) - own) / Math.Clamp(_workers.Count, 1, 2);
        long grown = 0;
        foreach (var worker in _workers)
        {
            var memory = worker.Loop.Memory;
            grown += memory.GrownBytes;
            memory.GrowthMax = memory.GrownBytes + room;
        }
        isBusy = own - FreeBytes > BudgetBytes / 2 || grown - _lastGrown > BudgetBytes / 16;
        _lastGrown = grown;
    }

    // ---- 6 give back ----------------------------------------------------------------------------------------------------------------

    // Steady traffic comes here with nothing to give: keepers keep what each period needs, and garbage is what nobody keeps.
    private void GiveBack(long own, long garbage)
    {
        long growth = garbage - _lastGarbage;
        _lastGarbage = garbage;
        if (_isCollecting)
            return;
        // What lies ready is no load, but it is memory: when that is short, the past counts for seconds only.
        bool isTight = own >= ShrinkPressure * BudgetBytes;
        if (FreeBytes >= WorthGivingBackBytes && _loop.NowMs - _lastPeriodMs >= (isTight ? ShrinkEveryMs : PeriodMs))
        {
            _lastPeriodMs = _loop.NowMs;
            EndPeriods(isTight, () => { });
            return;
        }
        if (garbage < WorthGivingBackBytes || growth > RestBytes || _loop.NowMs - _lastCollectMs < GiveBackEveryMs)
            return;
        _isCollecting = true;
        EndPeriods(isTight, () =>
        {
            _isCollecting = false;
            long own = _gauge.AnonymousBytes;
            Collect(ref own, ref garbage);
            _lastGarbage = 0;
        });
    }

    /// <summary>Has every thread let go of what there has been no use for, each in turns of its own; the answer comes on the control loop.</summary>
    private void EndPeriods(bool isTight, Action done)
    {
        int missing = _workers.Count;
        bool isOwn = true;
        foreach (var worker in _workers)
            isOwn &= worker.Loop.Memory != _loop.Memory;
        if (isOwn)
            _loop.Memory.GiveBack(isTight);
        foreach (var worker in _workers)
        {
            worker.Loop.Post(() =>
            {
                worker.Loop.DropDisarmedTimers();
                GiveBackOn(worker, isTight, () => _loop.Post(() => { if (--missing == 0) done(); }));
            });
        }
    }

    private static void GiveBackOn(Worker worker, bool isTight, Action done)
    {
        if (worker.Loop.Memory.GiveBack(isTight))
            done();
        else
            worker.Loop.Post(() => GiveBackOn(worker, isTight, done));
    }
}
