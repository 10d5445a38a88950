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
    public void BlocksOutAtOnce_AreKept_UntilManyPeriodsHadNoUseForHalfOfThem()
    {
        var slab = new Slab(16, freeBlocksMax: 4);
        var blocks = RentAll(slab, 10);
        ReturnAll(slab, blocks);
        Assert.Equal(0, slab.RentedCount);
        Assert.Subset(new HashSet<SlabBlock>(blocks), new HashSet<SlabBlock>(Again(slab, 10)));

        for (int period = 0; period < 3 * RecentNeed.QuietPeriodsMin; period++)
        {
            slab.Trim();
            Assert.Subset(new HashSet<SlabBlock>(blocks), new HashSet<SlabBlock>(Again(slab, period % 8 == 0 ? 10 : 6)));
        }

        slab.Trim();
        for (int period = 0; period < RecentNeed.QuietPeriodsMin; period++)
            slab.Trim();
        var later = RentAll(slab, 10);
        Assert.Equal(4, later.FindAll(blocks.Contains).Count);
    }

    private static List<SlabBlock> Again(Slab slab, int count)
    {
        var blocks = RentAll(slab, count);
        ReturnAll(slab, blocks);
        return blocks;
    }

    private static List<SlabBlock> RentAll(Slab slab, int count)
    {
        var blocks = new List<SlabBlock>();
        for (int i = 0; i < count; i++)
            blocks.Add(slab.Rent());
        return blocks;
    }

    private static void ReturnAll(Slab slab, List<SlabBlock> blocks) => blocks.ForEach(slab.Return);

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
