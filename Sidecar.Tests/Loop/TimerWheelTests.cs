using System;
using System.Collections.Generic;
using System.Linq;
using Sidecar.Loop;
using Xunit;

namespace Sidecar.Tests.Loop;

public sealed class TimerWheelTests
{
    private sealed class Owner(List<(int Id, long At)> fired, Func<long> now) : ITimerOwner
    {
        public Action<LoopTimer>? Then { get; set; }

        public void OnTimer(LoopTimer timer)
        {
            fired.Add((timer.Kind, now()));
            Then?.Invoke(timer);
        }
    }

    [Theory]
    [InlineData(1)]
    [InlineData(255)]
    [InlineData(256)]
    [InlineData(257)]
    [InlineData(65_535)]
    [InlineData(65_536)]
    [InlineData(16_777_216)]
    [InlineData(4_294_967_296)]
    [InlineData(20_000_000_000)]
    public void Timer_FiresInTheMillisecondAskedFor_NotEarlier(long delayMs)
    {
        long start = 123_456;
        List<(int, long)> fired = [];
        TimerWheel wheel = new(start);
        LoopTimer timer = new(new Owner(fired, () => 0));
        wheel.Schedule(timer, start + delayMs);

        wheel.Advance(start + delayMs - 1, int.MaxValue, null);
        Assert.Empty(fired);
        Assert.True(timer.IsArmed);
        wheel.Advance(start + delayMs, int.MaxValue, null);
        Assert.Single(fired);
        Assert.False(timer.IsArmed);
        Assert.Equal(0, wheel.Count);
        Assert.Equal(long.MaxValue, wheel.NextMs());
    }

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(3)]
    [InlineData(4)]
    [InlineData(5)]
    public void Wheel_AgreesWithANaiveModel(int seed)
    {
        Random random = new(seed);
        long now = random.NextInt64(1, 1L << 40);
        List<(int Id, long At)> fired = [];
        TimerWheel wheel = new(now);
        Owner owner = new(fired, () => now);
        LoopTimer[] timers = [.. Enumerable.Range(0, 200).Select(id => new LoopTimer(owner, id))];
        Dictionary<int, long> model = [];

        for (int step = 0; step < 20_000; step++)
        {
            int id = random.Next(timers.Length);
            switch (random.Next(10))
            {
                case < 5:
                    // All magnitudes alike: 0, a few ms, … days.
                    long deadline = now + random.NextInt64(0, 1L << random.Next(1, 34));
                    wheel.Schedule(timers[id], deadline);
                    model[id] = Math.Max(deadline, now + 1);
                    break;
                case 5:
                    wheel.Cancel(timers[id]);
                    model.Remove(id);
                    break;
                case 6:
                    wheel.Disarm(timers[id]);
                    model.Remove(id);
                    break;
                default:
                    long next = model.Count == 0 ? long.MaxValue : model.Values.Min();
                    Assert.True(wheel.NextMs() <= next);
                    long to = random.Next(3) == 0 && next != long.MaxValue ? next : now + random.NextInt64(0, 1L << random.Next(1, 30));
                    now = Math.Max(now, to);
                    fired.Clear();
                    wheel.Advance(now, int.MaxValue, null);
                    int[] expected = [.. model.Where(pair => pair.Value <= now).Select(pair => pair.Key).Order()];
                    Assert.Equal(expected, fired.Select(f => f.Id).Order());
                    foreach (int done in expected)
                        model.Remove(done);
                    break;
            }
            Assert.Equal(model.Count, wheel.Count);
            Assert.Equal(model.ContainsKey(id), timers[id].IsArmed);
        }
    }

    [Fact]
    public void RearmToLater_KeepsItsPlaceAndFiresLater()
    {
        List<(int, long)> fired = [];
        TimerWheel wheel = new(0);
        LoopTimer timer = new(new Owner(fired, () => 0));
        wheel.Schedule(timer, 100);
        wheel.Schedule(timer, 5000);
        Assert.Equal(100, wheel.NextMs());
        wheel.Advance(4999, int.MaxValue, null);
        Assert.Empty(fired);
        wheel.Advance(5000, int.MaxValue, null);
        Assert.Single(fired);
    }

    [Fact]
    public void Disarmed_StaysFiled_AndArmsAgainForAStore()
    {
        List<(int, long)> fired = [];
        TimerWheel wheel = new(0);
        LoopTimer timer = new(new Owner(fired, () => 0));
        wheel.Schedule(timer, 100);
        wheel.Disarm(timer);
        Assert.False(timer.IsArmed);
        Assert.Equal(0, wheel.Count);
        Assert.Equal(100, wheel.NextMs());
        wheel.Schedule(timer, 150);
        Assert.Equal(1, wheel.Count);
        Assert.Equal(100, wheel.NextMs());
        wheel.Advance(149, int.MaxValue, null);
        Assert.Empty(fired);
        wheel.Advance(150, int.MaxValue, null);
        Assert.Single(fired);
    }

    [Theory]
    [InlineData(100)]
    [InlineData(1000)]
    [InlineData(100_000)]
    public void Disarmed_IsDroppedWhenItsTimeComes(long delayMs)
    {
        List<(int, long)> fired = [];
        TimerWheel wheel = new(0);
        LoopTimer timer = new(new Owner(fired, () => 0));
        wheel.Schedule(timer, delayMs);
        wheel.Disarm(timer);
        wheel.Disarm(timer);
        wheel.Advance(delayMs, int.MaxValue, null);
        Assert.Empty(fired);
        Assert.Equal(0, wheel.Count);
        Assert.Equal(long.MaxValue, wheel.NextMs());
    }

    [Fact]
    public void CallbackMayCancelAndMoveTimersDueInTheSameMillisecond()
    {
        List<(int Id, long At)> fired = [];
        TimerWheel wheel = new(0);
        Owner owner = new(fired, () => 0);
        LoopTimer first = new(owner, 1), second = new(owner, 2), third = new(owner, 3);
        foreach (LoopTimer timer in new[] { first, second, third })
            wheel.Schedule(timer, 10);
        owner.Then = timer =>
        {
            if (timer != first)
                return;
            wheel.Cancel(second);
            wheel.Schedule(third, 20);
        };
        wheel.Advance(10, int.MaxValue, null);
        Assert.Equal([1], fired.Select(f => f.Id));
        wheel.Advance(20, int.MaxValue, null);
        Assert.Equal([1, 3], fired.Select(f => f.Id));
    }

    [Fact]
    public void ImmediateTimerThatRearmsItself_FiresABoundedNumberOfTimes()
    {
        List<(int, long)> fired = [];
        TimerWheel wheel = new(0);
        Owner owner = new(fired, () => 0);
        owner.Then = timer => wheel.Schedule(timer, 50);
        wheel.Schedule(new LoopTimer(owner), 50);
        wheel.Advance(50, int.MaxValue, null);
        Assert.Single(fired);
    }

    [Fact]
    public void MoreDueThanAllowed_ComesInLaterCalls_NoneLost()
    {
        List<(int Id, long At)> fired = [];
        TimerWheel wheel = new(0);
        Owner owner = new(fired, () => 0);
        for (int i = 0; i < 100; i++)
            wheel.Schedule(new LoopTimer(owner, i), 5 + i / 50);
        wheel.Advance(1000, 30, null);
        Assert.Equal(30, fired.Count);
        Assert.True(wheel.HasOverdue);
        for (int i = 0; i < 3; i++)
            wheel.Advance(1000, 30, null);
        Assert.Equal(Enumerable.Range(0, 100), fired.Select(f => f.Id).Order());
        Assert.False(wheel.HasOverdue);
    }

    [Fact]
    public void DropDisarmed_ForgetsThese_AndNoOthers()
    {
        List<(int Id, long At)> fired = [];
        TimerWheel wheel = new(1000);
        Owner owner = new(fired, () => 0);
        var timers = Enumerable.Range(0, 12).Select(id => new LoopTimer(owner, id)).ToList();
        long[] delays = [5, 5, 5, 900, 900, 900, 300_000, 300_000, 300_000, 30_000_000, 30_000_000, 30_000_000];
        for (int i = 0; i < timers.Count; i++)
            wheel.Schedule(timers[i], 1000 + delays[i]);
        foreach (var timer in timers.Where(timer => timer.Kind % 3 != 1))
            wheel.Disarm(timer);
        wheel.DropDisarmed();
        Assert.Equal(4, timers.Count(timer => timer.Bucket != TimerWheel.NotFiled));
        Assert.Equal(4, wheel.Count);
        wheel.Schedule(timers[0], 1005);
        wheel.Advance(40_000_000, int.MaxValue, null);
        Assert.Equal([0, 1, 4, 7, 10], fired.Select(f => f.Id).Order());
        Assert.Equal(long.MaxValue, wheel.NextMs());
    }
}
