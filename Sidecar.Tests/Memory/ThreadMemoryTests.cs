using System;
using System.Collections.Generic;
using System.Runtime.CompilerServices;
using System.Threading;
using Sidecar.Memory;
using Xunit;

namespace Sidecar.Tests.Memory;

/// <summary>What a thread's keepers hold, and what they give back. Each test has a thread, and so a memory, of its own.</summary>
public sealed class ThreadMemoryTests
{
    private static void OnOwnThread(Action<ThreadMemory> test)
    {
        Exception? failure = null;
        var thread = new Thread(() =>
        {
            try
            {
                test(ThreadMemory.Current);
            }
            catch (Exception exception)
            {
                failure = exception;
            }
        });
        thread.Start();
        thread.Join();
        if (failure is not null)
            throw new InvalidOperationException("on its own thread: " + failure.Message, failure);
    }

    private static List<T> Rent<T>(Func<T> rent, int count)
    {
        var items = new List<T>(count);
        for (int i = 0; i < count; i++)
            items.Add(rent());
        return items;
    }

    [Fact]
    public void SlabBlocks_AreHeld_OutOrFree() => OnOwnThread(memory =>
    {
        var slab = new Slab(1000);
        Assert.Equal(0, memory.HeldBytes);
        var blocks = Rent(slab.Rent, 5);
        Assert.Equal((5000, 0, 5000), (memory.HeldBytes, memory.FreeBytes, memory.GrownBytes));
        blocks.ForEach(slab.Return);
        Assert.Equal((5000, 5000, 5000), (memory.HeldBytes, memory.FreeBytes, memory.GrownBytes));
        Rent(slab.Rent, 5);
        Assert.Equal((5000, 0, 5000), (memory.HeldBytes, memory.FreeBytes, memory.GrownBytes));
        GC.KeepAlive(slab);
    });

    [Fact]
    public void PooledObjects_CountAsLargeAsTheyWereMade() => OnOwnThread(memory =>
    {
        var pool = new Pool<byte[]>(() => new byte[100_000]);
        var items = Rent(pool.Rent, 3);
        Assert.InRange(memory.HeldBytes, 300_000, 300_200);
        Assert.Equal(0, memory.FreeBytes);
        pool.Return(items[0]);
        Assert.InRange(memory.FreeBytes, 100_000, 100_100);
        GC.KeepAlive(pool);
    });

    [Theory]
    [InlineData(0, 1024)]
    [InlineData(1, 1024)]
    [InlineData(1024, 1024)]
    [InlineData(1025, 2048)]
    [InlineData(8192, 8192)]
    [InlineData(100_000, 131_072)]
    [InlineData(16 * 1024 * 1024, 16 * 1024 * 1024)]
    [InlineData(16 * 1024 * 1024 + 1, 16 * 1024 * 1024 + 1)]
    public void Array_HasTheNextPowerOfTwo_AndTheLargestAreMadeToMeasure(int wanted, int length) => OnOwnThread(memory =>
    {
        byte[] array = ThreadMemory.RentArray(wanted);
        Assert.Equal(length, array.Length);
        ThreadMemory.ReturnArray(array);
        byte[] again = ThreadMemory.RentArray(wanted);
        Assert.Equal(length <= 16 * 1024 * 1024, ReferenceEquals(array, again));
        Assert.Equal(length <= 16 * 1024 * 1024, memory.HeldBytes >= length);
    });

    [Fact]
    public void GiveBack_WhereMemoryIsShort_LeavesWhatTheLastTwoPeriodsNeeded() => OnOwnThread(memory =>
    {
        var slab = new Slab(1000);
        Rent(slab.Rent, 100).ForEach(slab.Return);
        Assert.True(memory.GiveBack(isTight: true));
        Assert.Equal(100_000, memory.FreeBytes);
        var used = Rent(slab.Rent, 30);
        used.ForEach(slab.Return);
        Assert.True(memory.GiveBack(isTight: true));
        Assert.Equal(100_000, memory.FreeBytes);
        Assert.True(memory.GiveBack(isTight: true));
        Assert.Equal(30_000, memory.FreeBytes);
        Assert.True(memory.GiveBack(isTight: true));
        Assert.Equal(0, memory.HeldBytes);
        GC.KeepAlive(slab);
    });

    // Traffic that needs now more, now half of it, and has pauses of almost the time after which something goes.
    [Fact]
    public void GiveBack_LeavesWhatSteadyTrafficNeeds() => OnOwnThread(memory =>
    {
        var slab = new Slab(1000);
        var pool = new Pool<byte[]>(() => new byte[1000], keptMin: 1);
        var random = new Random(7);
        Rent(slab.Rent, 200).ForEach(slab.Return);
        Rent(pool.Rent, 200).ForEach(pool.Return);
        long grown = memory.GrownBytes;
        for (int round = 0; round < 50; round++)
        {
            int count = random.Next(101, 201);
            Rent(slab.Rent, count).ForEach(slab.Return);
            Rent(pool.Rent, count).ForEach(pool.Return);
            for (int pause = random.Next(RecentNeed.QuietPeriodsMin); pause >= 0; pause--)
                Assert.True(memory.GiveBack(isTight: false));
        }
        Assert.Equal(grown, memory.GrownBytes);
        GC.KeepAlive(slab);
    });

    [Fact]
    public void GiveBack_LeavesTwiceWhatALongQuietTimeNeeded() => OnOwnThread(memory =>
    {
        var slab = new Slab(1000);
        Rent(slab.Rent, 200).ForEach(slab.Return);
        Assert.True(memory.GiveBack(isTight: false));
        for (int period = 1; period <= RecentNeed.QuietPeriodsMin; period++)
        {
            Assert.Equal(200_000, memory.FreeBytes);
            Rent(slab.Rent, period == 5 ? 60 : 20).ForEach(slab.Return);
            Assert.True(memory.GiveBack(isTight: false));
        }
        Assert.Equal(2 * 60_000, memory.FreeBytes);
        GC.KeepAlive(slab);
    });

    [Fact]
    public void GiveBack_CountsWhatIsOut_AsPartOfTheNeed() => OnOwnThread(memory =>
    {
        var pool = new Pool<byte[]>(() => new byte[1000], keptMin: 1000);
        var items = Rent(pool.Rent, 100);
        items.GetRange(0, 60).ForEach(pool.Return);
        memory.GiveBack(isTight: true);
        memory.GiveBack(isTight: true);
        Assert.Equal(60, pool.FreeCount);
        memory.GiveBack(isTight: true);
        Assert.Equal(0, pool.FreeCount);
        Assert.InRange(memory.HeldBytes, 40_000, 42_000);
    });

    [Fact]
    public void GiveBack_IsBounded_AndGoesOnWhereItStopped() => OnOwnThread(memory =>
    {
        var first = new Slab(16);
        var second = new Slab(16);
        foreach (var slab in new[] { first, second })
            Rent(slab.Rent, 6000).ForEach(slab.Return);
        Assert.True(memory.GiveBack(isTight: true));
        Assert.True(memory.GiveBack(isTight: true));
        int calls = 1;
        long before = memory.HeldBytes;
        Assert.Equal(2 * 6000 * 16, before);
        while (!memory.GiveBack(isTight: true))
        {
            calls++;
            Assert.InRange(before - memory.HeldBytes, 0, ThreadMemory.GiveBackItemsMax * 16);
            before = memory.HeldBytes;
        }
        Assert.Equal(0, memory.HeldBytes);
        Assert.Equal(3, calls);
        GC.KeepAlive(first);
        GC.KeepAlive(second);
    });

    [Fact]
    public void Growth_BeyondWhatIsAllowed_IsFull_UntilMoreIsAllowed() => OnOwnThread(memory =>
    {
        var slab = new Slab(1000);
        memory.GrowthMax = 2000;
        var blocks = Rent(slab.Rent, 2);
        Assert.False(memory.IsFull);
        blocks.Add(slab.Rent());
        Assert.True(memory.IsFull);
        blocks.ForEach(slab.Return);
        Rent(slab.Rent, 3);
        Assert.True(memory.IsFull);
        memory.GrowthMax = 3000;
        Assert.False(memory.IsFull);
    });

    [Fact]
    public void KeepersThatAreGone_AreHeldNoMore() => OnOwnThread(memory =>
    {
        MakeAndForget();
        GC.Collect();
        Assert.Equal(0, memory.HeldBytes);
        Assert.True(memory.GiveBack(isTight: true));

        static void MakeAndForget() => new Slab(1000).Rent();
    });

    [Fact]
    public void KeepersThatAreGone_LeaveTheirPlaces() => OnOwnThread(memory =>
    {
        for (int round = 0; round < 40; round++)
        {
            for (int i = 0; i < 100; i++)
                MakeAndForget();
            GC.Collect();
        }
        Assert.InRange(memory.KeeperPlaces, 1, 1000);

        [MethodImpl(MethodImplOptions.NoInlining)]
        static void MakeAndForget() => new Slab(16).Rent();
    });
}
