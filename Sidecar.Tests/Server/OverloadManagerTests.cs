using System;
using System.Collections.Generic;
using System.Linq;
using Sidecar.Config;
using Sidecar.Memory;
using Sidecar.Net;
using Sidecar.Server;
using Sidecar.Telemetry.Stats;
using Sidecar.Tests.Harness;
using Xunit;

namespace Sidecar.Tests.Server;

/// <summary>What the overload manager makes of memory that a test says there is: one worker on the loop of the control side, time by hand.</summary>
public sealed class OverloadManagerTests : IDisposable
{
    private const long MiB = 1024 * 1024;
    private const long Budget = 1000 * MiB;

    private readonly TestLoop _test = new();
    private readonly StatsRegistry _stats = new(1);
    private readonly Gauge _gauge = new();
    private readonly ConnectionLimit _limit = new(1000);
    private readonly Worker _worker;
    private OverloadManager _manager = null!;

    public OverloadManagerTests()
    {
        // What other tests of this thread have made counts as long as it is there.
        GC.Collect();
        _worker = new Worker(0, _limit, _test.Loop, 7, 1000);
    }

    public void Dispose()
    {
        _test.Loop.Memory.GrowthMax = long.MaxValue;
        _test.Dispose();
    }

    private void Start(OverloadConfig? config = null)
    {
        _manager = new OverloadManager(_test.Loop, [_worker], _limit, _stats, config ?? new OverloadConfig { MaxHeapBytes = Budget }, _gauge);
        // Other tests of this thread may have left things in its memory.
        _gauge.HeapBase = _test.Loop.Memory.HeldBytes;
        _manager.Start();
    }

    private void Look(double pressure)
    {
        _gauge.Own = (long)(pressure * Budget) + _test.Loop.Memory.FreeBytes;
        Pass(1000);
    }

    private void Pass(long ms)
    {
        _test.Advance(ms);
        _test.Settle();
    }

    private long Stat(string name) => _stats.Value(name);

    private string Active() => string.Join(" ", Enum.GetValues<OverloadAction>().Where(action => _manager.ValueOf(action) > 0));

    [Fact]
    public void Defaults_ComeOneAfterTheOther_AndStayUntilThingsAreMuchBetter()
    {
        Start();
        Look(0.5);
        Assert.Equal("", Active());
        Look(0.899);
        Assert.Equal("", Active());
        Look(0.90);
        Assert.Equal("DisableHttpKeepAlive ResetHighMemoryStream", Active());
        Assert.True(_worker.Scope.Overload.EndsKeepAlive());
        Assert.False(_worker.Scope.Overload.RefusesRequest());
        Look(0.95);
        Assert.Equal("DisableHttpKeepAlive ResetHighMemoryStream StopAcceptingRequests", Active());
        Assert.True(_worker.Scope.Overload.RefusesRequest());
        Assert.False(_worker.Scope.Overload.StopsAccepting);
        Look(0.98);
        Assert.Equal("DisableHttpKeepAlive ResetHighMemoryStream StopAcceptingRequests StopAcceptingConnections", Active());
        Assert.True(_worker.Scope.Overload.StopsAccepting);
        Look(0.94);
        Assert.Equal("DisableHttpKeepAlive ResetHighMemoryStream StopAcceptingRequests StopAcceptingConnections", Active());
        Look(0.92);
        Assert.Equal("DisableHttpKeepAlive ResetHighMemoryStream StopAcceptingRequests", Active());
        Look(0.89);
        Assert.Equal("DisableHttpKeepAlive ResetHighMemoryStream", Active());
        Look(0.86);
        Assert.Equal("DisableHttpKeepAlive ResetHighMemoryStream", Active());
        Look(0.84);
        Assert.Equal("", Active());
        Assert.False(_worker.Scope.Overload.EndsKeepAlive() || _worker.Scope.Overload.RefusesRequest() || _worker.Scope.Overload.StopsAccepting);
    }

    [Fact]
    public void Stats_HaveEnvoysNames()
    {
        Start();
        Look(0.953);
        Assert.Equal(95, Stat("overload.envoy.resource_monitors.fixed_heap.pressure"));
        Assert.Equal(0, Stat("overload.envoy.resource_monitors.fixed_heap.failed_updates"));
        Assert.Equal(1, Stat("overload.envoy.overload_actions.stop_accepting_requests.active"));
        Assert.Equal(100, Stat("overload.envoy.overload_actions.stop_accepting_requests.scale_percent"));
        Assert.Equal(0, Stat("overload.envoy.overload_actions.stop_accepting_connections.active"));
        Assert.Equal(0, Stat("overload.envoy.overload_actions.reset_high_memory_stream.count"));
        Assert.Equal(Budget, Stat("sidecar.memory.budget_bytes"));
    }

    [Fact]
    public void ScaledTrigger_IsTakenInPart_ThresholdTriggerOfABootstrapHasNoMargin()
    {
        Start(new OverloadConfig
        {
            MaxHeapBytes = Budget,
            Actions =
            [
                new(OverloadAction.RejectIncomingConnections, [new OverloadTrigger(OverloadResource.FixedHeap, 0.5, 0.9, 0.5)]),
                new(OverloadAction.StopAcceptingRequests, [new OverloadTrigger(OverloadResource.FixedHeap, 0.8, 0.8, 0.8)]),
            ],
        });
        Look(0.5);
        Assert.Equal("", Active());
        Look(0.6);
        Assert.Equal(0.25, _manager.ValueOf(OverloadAction.RejectIncomingConnections), 3);
        Assert.Equal(0, Stat("overload.envoy.overload_actions.reject_incoming_connections.active"));
        Assert.InRange(Stat("overload.envoy.overload_actions.reject_incoming_connections.scale_percent"), 24, 25);
        int rejected = Enumerable.Range(0, 10_000).Count(_ => _worker.Scope.Overload.RejectsConnection());
        Assert.InRange(rejected, 2_300, 2_700);
        Look(0.8);
        Assert.Equal(1, _manager.ValueOf(OverloadAction.StopAcceptingRequests));
        Look(0.799);
        Assert.Equal(0, _manager.ValueOf(OverloadAction.StopAcceptingRequests));
        Look(0.95);
        Assert.Equal(1, _manager.ValueOf(OverloadAction.RejectIncomingConnections));
    }

    [Fact]
    public void Garbage_IsCollectedBeforeItCountsAsLoad()
    {
        Start();
        long ready = _test.Loop.Memory.FreeBytes;
        _gauge.Own = 970 * MiB + ready;
        _gauge.Garbage = 600 * MiB;
        _gauge.Collected = () => (_gauge.Own, _gauge.Garbage) = (370 * MiB + ready, 0);
        Pass(1000);
        Assert.Equal(1, _gauge.Collections);
        Assert.Equal("", Active());
        Assert.Equal(600 * MiB, Stat("sidecar.memory.given_back_bytes"));
        Assert.Equal(37, Stat("overload.envoy.resource_monitors.fixed_heap.pressure"));
    }

    [Fact]
    public void CollectionInVain_IsNotRepeated_AndTheLoadIsOne()
    {
        Start();
        _gauge.Own = 970 * MiB;
        _gauge.Garbage = 600 * MiB;
        for (int i = 0; i < 20; i++)
            Pass(1000);
        Assert.Equal(1, _gauge.Collections);
        Assert.Contains("StopAcceptingRequests", Active());
    }

    [Fact]
    public void MuchNewGarbage_IsCollectedSoon_AfterACollectionInVainToo()
    {
        Start();
        _gauge.Own = 970 * MiB;
        _gauge.Garbage = 600 * MiB;
        Pass(1000);
        Assert.Equal(1, _gauge.Collections);
        _gauge.Garbage = 700 * MiB;
        for (int i = 0; i < 20; i++)
            Pass(100);
        Assert.Equal(1, _gauge.Collections);
        _gauge.Garbage = 900 * MiB;
        _gauge.Collected = () => (_gauge.Own, _gauge.Garbage) = (370 * MiB, 0);
        Pass(100);
        Assert.Equal(2, _gauge.Collections);
        Assert.Equal("", Active());
    }

    [Fact]
    public void UnderAttack_CollectionsAreASecondApart()
    {
        Start();
        _gauge.Own = 970 * MiB;
        _gauge.Collected = () => (_gauge.Own, _gauge.Garbage) = (370 * MiB, 0);
        for (int i = 0; i < 40; i++)
        {
            _gauge.Own = 970 * MiB;
            _gauge.Garbage = 600 * MiB;
            Pass(100);
        }
        Assert.InRange(_gauge.Collections, 3, 4);
    }

    [Fact]
    public void WhatLiesReady_IsNoLoad()
    {
        Start();
        var slab = new Slab(1 << 20, freeBlocksMax: 1000);
        var blocks = Enumerable.Range(0, 100).Select(_ => slab.Rent()).ToList();
        _gauge.Own = 950 * MiB + _test.Loop.Memory.FreeBytes;
        Pass(1000);
        Assert.Contains("StopAcceptingRequests", Active());
        blocks.ForEach(slab.Return);
        Pass(1000);
        Assert.Equal(85, Stat("overload.envoy.resource_monitors.fixed_heap.pressure"));
        GC.KeepAlive(slab);
    }

    [Fact]
    public void CalmProcess_GivesBackGarbage_OnceItIsAtRest()
    {
        Start();
        _gauge.Own = 100 * MiB;
        Pass(20_000);
        for (int i = 1; i <= 10; i++)
        {
            _gauge.Garbage = i * 10 * MiB;
            Pass(1000);
        }
        Assert.Equal(0, _gauge.Collections);
        _gauge.Collected = () => (_gauge.Own, _gauge.Garbage) = (20 * MiB, 0);
        Pass(1000);
        Assert.Equal(1, _gauge.Collections);
        Assert.Equal(80 * MiB, Stat("sidecar.memory.given_back_bytes"));
        for (int i = 0; i < 60; i++)
            Pass(1000);
        Assert.Equal(1, _gauge.Collections);
    }

    [Fact]
    public void SteadyUse_IsNeverTrimmedNorCollected()
    {
        Start();
        var slab = new Slab(1 << 20);
        int made = 0;
        var pool = new Pool<byte[]>(() => { made++; return new byte[100_000]; }, keptMin: 1);
        for (int second = 0; second < 120; second++)
        {
            var blocks = Enumerable.Range(0, 100).Select(_ => slab.Rent()).ToList();
            var objects = Enumerable.Range(0, 500).Select(_ => pool.Rent()).ToList();
            blocks.ForEach(slab.Return);
            objects.ForEach(pool.Return);
            Look(0.3);
        }
        Assert.Equal(0, _gauge.Collections);
        Assert.Equal(500, made);
        Assert.Equal(100 * MiB, slab.HeldBytes);
    }

    [Fact]
    public void AfterABurst_SlabsAndPoolsLetGo_AndTheRestIsCollected()
    {
        Start();
        var slab = new Slab(1 << 20, freeBlocksMax: 256);
        var blocks = Enumerable.Range(0, 100).Select(_ => slab.Rent()).ToList();
        _gauge.Own = 200 * MiB;
        _gauge.HeapBase += 100 * MiB;
        Pass(1000);
        blocks.ForEach(slab.Return);
        Assert.Equal(100 * MiB, slab.FreeBytes);
        int seconds = 0;
        for (; _gauge.Collections == 0 && seconds < 120; seconds++)
            Pass(1000);
        Assert.Equal(0, slab.HeldBytes);
        // Twelve periods, the one of the burst, and when there is time for a collection.
        Assert.InRange(seconds, 60, 80);
        GC.KeepAlive(slab);
    }

    [Fact]
    public void Growth_IsAllowedUpToWhereRequestsAreRefused_AndIsNotWaitedFor()
    {
        Start();
        Look(0.85);
        var slab = new Slab(1 << 20);
        var blocks = Enumerable.Range(0, 99).Select(_ => slab.Rent()).ToList();
        Assert.False(_worker.Scope.Overload.RefusesRequest());
        blocks.Add(slab.Rent());
        blocks.Add(slab.Rent());
        Assert.True(_worker.Scope.Overload.RefusesRequest());
        Look(0.85);
        Assert.False(_worker.Scope.Overload.RefusesRequest());
        GC.KeepAlive(blocks);
    }

    [Fact]
    public void MoreThanHalfUsed_IsLookedAtOftener()
    {
        Start();
        Look(0.4);
        int looks = _gauge.Looks;
        for (int i = 0; i < 10; i++)
            Pass(100);
        Assert.Equal(looks + 1, _gauge.Looks);
        Look(0.6);
        looks = _gauge.Looks;
        for (int i = 0; i < 10; i++)
            Pass(100);
        Assert.Equal(looks + 10, _gauge.Looks);
    }

    [Fact]
    public void ControlGroup_IsWatchedByItsOwnLimit_OrALowerOne()
    {
        Start(new OverloadConfig
        {
            WatchesHeap = false,
            WatchesCgroup = true,
            CgroupBytesMax = 500 * MiB,
            Actions = [new(OverloadAction.StopAcceptingRequests, [new OverloadTrigger(OverloadResource.CgroupMemory, 0.9, 0.9, 0.9)])],
        });
        const string stat = "overload.envoy.resource_monitors.cgroup_memory.";
        Pass(1000);
        Assert.Equal(1, Stat(stat + "failed_updates"));
        _gauge.CgroupUsed = 250 * MiB + _test.Loop.Memory.FreeBytes;
        Pass(1000);
        Assert.Equal(50, Stat(stat + "pressure"));
        _gauge.CgroupLimit = 270 * MiB;
        Pass(1000);
        Assert.Equal(92, Stat(stat + "pressure"));
        Assert.Equal("StopAcceptingRequests", Active());
    }

    [Fact]
    public void ResourceThatCannotBeReadAnyMore_IsBelievedForAWhile_AndThenHasNoPressure()
    {
        Start(new OverloadConfig
        {
            WatchesHeap = false,
            WatchesCgroup = true,
            CgroupBytesMax = 500 * MiB,
            Actions = [new(OverloadAction.StopAcceptingRequests, [new OverloadTrigger(OverloadResource.CgroupMemory, 0.9, 0.9, 0.9)])],
        });
        const string stat = "overload.envoy.resource_monitors.cgroup_memory.";
        _gauge.CgroupUsed = 480 * MiB + _test.Loop.Memory.FreeBytes;
        Pass(1000);
        Assert.Equal("StopAcceptingRequests", Active());
        _gauge.CgroupUsed = null;
        long failed = Stat(stat + "failed_updates");
        while (Stat(stat + "failed_updates") < failed + OverloadManager.FailuresMax - 1)
        {
            Pass(100);
            Assert.Equal((96, "StopAcceptingRequests"), (Stat(stat + "pressure"), Active()));
        }
        Pass(1000);
        Assert.Equal((0, ""), (Stat(stat + "pressure"), Active()));
        _gauge.CgroupUsed = 480 * MiB + _test.Loop.Memory.FreeBytes;
        Pass(1000);
        Assert.Equal("StopAcceptingRequests", Active());
    }

    [Fact]
    public void ConnectionsAreAResource()
    {
        _limit.Max = 4;
        Start(new OverloadConfig
        {
            MaxHeapBytes = Budget,
            MaxConnections = 4,
            Actions = [new(OverloadAction.DisableHttpKeepAlive, [new OverloadTrigger(OverloadResource.DownstreamConnections, 0.7, 0.7, 0.7)])],
        });
        for (int i = 0; i < 3; i++)
            Assert.True(_limit.TryTake());
        Pass(1000);
        Assert.Equal(75, Stat("overload.envoy.resource_monitors.global_downstream_max_connections.pressure"));
        Assert.Equal("DisableHttpKeepAlive", Active());
    }

    [Theory]
    [InlineData(null, 8L << 30, 4L << 30)]
    [InlineData(null, 4L << 30, 3L << 30)]
    [InlineData(1L << 30, 8L << 30, 768L << 20)]
    [InlineData(128L << 20, 8L << 30, 96L << 20)]
    [InlineData(1L << 40, 8L << 30, 6L << 30)]
    public void Budget_IsAShareOfWhatThereIs(long? limit, long machine, long budget) => Assert.Equal(budget, OverloadConfig.DefaultHeapBytes(limit, machine));

    private sealed class Gauge : MemoryGauge
    {
        internal long Own, Garbage, HeapBase;
        internal long? CgroupUsed, CgroupLimit;
        internal int Looks, Collections;
        internal Action Collected = () => { };

        internal override long AnonymousBytes
        {
            get
            {
                Looks++;
                return Own;
            }
        }

        internal override long ManagedBytes => HeapBase + Garbage;
        internal override long CommittedBytes => HeapBase + Garbage;
        internal override long MachineBytes => 8L << 30;
        internal override long? CgroupUsedBytes => CgroupUsed;
        internal override long? CgroupLimitBytes => CgroupLimit;

        internal override long Collect()
        {
            Collections++;
            Collected();
            return 1;
        }
    }
}
