using System.Collections.Generic;
using Sidecar.Memory;
using Xunit;

namespace Sidecar.Tests.Memory;

public class PoolTests
{
    // What Pool calls a period.
    private const int PeriodReturns = 1 << 16;

    private int _made;

    private Pool<object> NewPool(int keptMin) => new(() => { _made++; return new object(); }, keptMin);

    [Fact]
    public void Returned_IsRentedAgain_LastFirst()
    {
        var pool = NewPool(2);
        object[] items = [pool.Rent(), pool.Rent(), pool.Rent()];
        Assert.Equal(3, _made);
        foreach (object item in items)
            pool.Return(item);
        Assert.Equal(3, pool.FreeCount);
        Assert.Same(items[2], pool.Rent());
        Assert.Same(items[1], pool.Rent());
        Assert.Same(items[0], pool.Rent());
        Assert.Equal(3, _made);
        pool.Rent();
        Assert.Equal(4, _made);
    }

    [Theory]
    [InlineData(1)]
    [InlineData(1024)]
    [InlineData(5000)]
    public void SteadyWidth_MakesNothing_HoweverWide(int width)
    {
        var pool = NewPool(16);
        var held = new Stack<object>();
        for (int round = 0; round < 3 + 3 * PeriodReturns / width; round++)
        {
            for (int i = 0; i < width; i++)
                held.Push(pool.Rent());
            while (held.TryPop(out object? item))
                pool.Return(item);
        }
        Assert.Equal(width, _made);
    }

    [Fact]
    public void Burst_IsLetGo_AfterManyPeriodsWithoutUse()
    {
        var pool = NewPool(16);
        var held = new Stack<object>();
        for (int i = 0; i < 5000; i++)
            held.Push(pool.Rent());
        while (held.TryPop(out object? item))
            pool.Return(item);
        Assert.Equal(5000, pool.FreeCount);
        for (int i = 0; i < RecentNeed.QuietPeriodsMin * PeriodReturns; i++)
            pool.Return(pool.Rent());
        Assert.Equal(5000, pool.FreeCount);
        for (int i = 0; i < PeriodReturns; i++)
            pool.Return(pool.Rent());
        Assert.Equal(16, pool.FreeCount);
        Assert.Equal(5000, _made);
    }
}
