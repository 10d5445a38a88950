using System.Collections.Generic;
using Sidecar.Memory;
using Xunit;

namespace Sidecar.Tests.Memory;

public class SlabTests
{
    [Fact]
    public void ReturnedBlock_IsRentedAgain_Clean()
    {
        var slab = new Slab(16);
        var block = slab.Rent();
        block.Start = 3;
        block.End = 9;
        slab.Return(block);
        var again = slab.Rent();
        Assert.Same(block, again);
        Assert.Equal((0, 0), (again.Start, again.End));
        Assert.Null(again.Next);
        Assert.Equal(1, slab.RentedCount);
    }

    [Fact]
    public void BlocksBeyondTheFreeList_AreLetGo()
    {
        var slab = new Slab(16);
        var blocks = new List<SlabBlock>();
        for (int i = 0; i < Slab.FreeBlocksMax + 10; i++)
            blocks.Add(slab.Rent());
        foreach (var block in blocks)
            slab.Return(block);
        Assert.Equal(0, slab.RentedCount);
        var kept = new HashSet<SlabBlock>(blocks.GetRange(0, Slab.FreeBlocksMax));
        for (int i = 0; i < Slab.FreeBlocksMax; i++)
            Assert.Contains(slab.Rent(), kept);
        Assert.DoesNotContain(slab.Rent(), blocks);
    }

    [Fact]
    public void Blocks_ArePinned_AddressIsTheirs()
    {
        var block = new Slab(64).Rent();
        block.Array[5] = 42;
        unsafe
        {
            Assert.Equal(42, ((byte*)block.Address)[5]);
        }
        Assert.Equal(64, block.Length);
    }
}
