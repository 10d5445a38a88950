using Sidecar.Memory;
using Xunit;

namespace Sidecar.Tests.Memory;

public class PoolTests
{
    [Fact]
    public void Returned_IsRentedAgain_UpToTheLimit()
    {
        int made = 0;
        var pool = new Pool<object>(() => { made++; return new object(); }, max: 2);
        object[] items = [pool.Rent(), pool.Rent(), pool.Rent()];
        Assert.Equal(3, made);
        foreach (object item in items)
            pool.Return(item);
        Assert.Equal(2, pool.FreeCount);
        Assert.Same(items[1], pool.Rent());
        Assert.Same(items[0], pool.Rent());
        Assert.Equal(3, made);
        pool.Rent();
        Assert.Equal(4, made);
    }
}
