using System;
using System.Collections.Generic;
using Sidecar.Memory;
using Xunit;

namespace Sidecar.Tests.Memory;

public class BufferChainTests
{
    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(3)]
    public void RandomOperations_AgreeWithLists(int seed)
    {
        var random = new Random(seed);
        var slab = new Slab(16);
        BufferChain[] chains = [new(slab), new(slab)];
        List<byte>[] models = [[], []];
        var vectors = new IoVector[64];
        for (int step = 0; step < 10_000; step++)
        {
            int which = random.Next(2);
            var chain = chains[which];
            var model = models[which];
            int count = model.Count == 0 ? 0 : random.Next(model.Count + 1);
            switch (random.Next(9))
            {
                case 0 when model.Count < 500:
                    byte[] bytes = new byte[random.Next(50)];
                    random.NextBytes(bytes);
                    chain.Write(bytes);
                    model.AddRange(bytes);
                    break;
                case 1 when model.Count < 500:
                    chain.WriteByte((byte)step);
                    model.Add((byte)step);
                    break;
                case 2 when model.Count < 500:
                    int hint = random.Next(1, 17);
                    var room = chain.GetSpan(hint);
                    Assert.True(room.Length >= hint);
                    int used = random.Next(hint + 1);
                    room[..used].Fill((byte)step);
                    chain.Advance(used);
                    for (int i = 0; i < used; i++)
                        model.Add((byte)step);
                    break;
                case 3:
                    chain.Drain(count);
                    model.RemoveRange(0, count);
                    break;
                case 4:
                    chain.MoveTo(chains[1 - which], count);
                    models[1 - which].AddRange(model[..count]);
                    model.RemoveRange(0, count);
                    break;
                case 5:
                    chain.MoveAllTo(chains[1 - which]);
                    models[1 - which].AddRange(model);
                    model.Clear();
                    break;
                case 6 when random.Next(10) == 0:
                    chain.Clear();
                    model.Clear();
                    Assert.Equal(0, chain.FirstAddress);
                    break;
                case 7:
                    byte[] copy = new byte[random.Next(model.Count + 10)];
                    int copied = chain.CopyTo(copy);
                    Assert.Equal(Math.Min(copy.Length, model.Count), copied);
                    break;
            }
            for (int i = 0; i < 2; i++)
            {
                Assert.Equal(models[i].Count, chains[i].Length);
                Assert.Equal(models[i].Count == 0, chains[i].IsEmpty);
                Assert.Equal(models[i].Count == 0, chains[i].First.IsEmpty);
                byte[] all = new byte[models[i].Count];
                chains[i].CopyTo(all);
                Assert.True(all.AsSpan().SequenceEqual(models[i].ToArray()));
                int length = 0;
                int filled = chains[i].FillIovecs(vectors);
                for (int v = 0; v < filled; v++)
                    length += (int)vectors[v].Length;
                Assert.True(filled == vectors.Length || length == models[i].Count);
                if (filled > 0)
                    Assert.Equal(chains[i].FirstAddress, vectors[0].Base);
            }
        }
        chains[0].Clear();
        chains[1].Clear();
        Assert.Equal(0, slab.RentedCount);
    }

    [Fact]
    public void DrainedChain_HoldsNoBlock()
    {
        var slab = new Slab(16);
        var chain = new BufferChain(slab);
        chain.Write(new byte[100]);
        Assert.Equal(7, slab.RentedCount);
        Assert.False(chain.IsSingle);
        chain.Drain(100);
        Assert.Equal(0, slab.RentedCount);
        Assert.True(chain.IsSingle);
    }

    [Fact]
    public void Move_RelinksWholeBlocks()
    {
        var slab = new Slab(16);
        var from = new BufferChain(slab);
        var to = from.NewSibling();
        from.Write(new byte[64]);
        nint address = from.FirstAddress;
        from.MoveTo(to, 32);
        Assert.Equal(address, to.FirstAddress);
        Assert.Equal(4, slab.RentedCount);
    }

    [Fact]
    public void MoveUpToAnEmptyBlock_FirstIsWhatIsLeft()
    {
        var slab = new Slab(16);
        var chain = new BufferChain(slab);
        var other = new BufferChain(slab);
        chain.Write(new byte[10]);
        chain.GetSpan(16);
        other.WriteByte(7);
        other.MoveAllTo(chain);
        chain.MoveTo(other, 10);
        Assert.Equal([7], chain.First.ToArray());
    }

    [Fact]
    public void MoveBehindASpanThatWasNotWritten_FirstIsTheMovedBytes()
    {
        var slab = new Slab(16);
        var from = new BufferChain(slab);
        var to = new BufferChain(slab);
        to.GetSpan();
        from.WriteByte(7);
        from.MoveAllTo(to);
        Assert.Equal([7], to.First.ToArray());
    }
}
