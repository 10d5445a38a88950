using System.Collections.Generic;
using System.Linq;
using Sidecar.Http.H2;
using Sidecar.Memory;
using Xunit;

namespace Sidecar.Tests.Http.H2;

public sealed class Http2StreamTableTests
{
    [Theory]
    [InlineData(1u)]        // ids in order, as clients take them
    [InlineData(512u)]      // ids chosen to fall into one slot
    public void AnyOrderOfAddingAndRemoving_FindsWhatIsThere(uint stride)
    {
        var pools = new Http2Pools(new Slab(512));
        var table = new Http2StreamTable();
        var model = new Dictionary<uint, Http2Stream>();
        var random = new FastRandom(stride);
        uint next = 1;
        for (int i = 0; i < 20_000; i++)
        {
            if (model.Count < 100 && random.Next(2) == 0)
            {
                var stream = new Http2ServerStream(pools).Core;
                stream.Id = next;
                next += 2 * stride;
                table.Add(stream);
                model.Add(stream.Id, stream);
            }
            else if (model.Count > 0)
            {
                var victim = table[(int)random.Next((uint)table.Count)];
                table.Remove(victim);
                Assert.True(model.Remove(victim.Id));
                Assert.Null(table.Find(victim.Id));
            }
            Assert.Equal(model.Count, table.Count);
            if (i % 100 == 0)
                Assert.All(model, pair => Assert.Same(pair.Value, table.Find(pair.Key)));
        }
        Assert.Equal(model.Keys.Order(), Enumerable.Range(0, table.Count).Select(i => table[i].Id).Order());
        Assert.Null(table.Find(next));
    }

    [Fact]
    public void EmptyTable_FindsNothing() => Assert.Null(new Http2StreamTable().Find(1));
}

public sealed class StreamHistoryTests
{
    [Fact]
    public void Ends_AreRemembered_SkippedOnesToo()
    {
        var history = new StreamHistory();
        history.Open(1);
        history.Close(1, StreamEnd.Ended);
        history.Open(7);
        history.Close(7, StreamEnd.ResetByPeer);
        Assert.Equal(StreamEnd.Ended, history[1]);
        Assert.Equal(StreamEnd.Skipped, history[3]);
        Assert.Equal(StreamEnd.Skipped, history[5]);
        Assert.Equal(StreamEnd.ResetByPeer, history[7]);
    }

    [Fact]
    public void WhatIsTooLongAgo_IsTakenForOurReset()
    {
        var history = new StreamHistory();
        for (uint id = 1; id < 10_001; id += 2)
        {
            history.Open(id);
            history.Close(id, StreamEnd.Ended);
        }
        Assert.Equal(StreamEnd.Ended, history[9_999]);
        Assert.Equal(StreamEnd.Ended, history[9_999 - 2 * 2047]);
        Assert.Equal(StreamEnd.ResetByUs, history[9_999 - 2 * 2048]);
        // A stream that was open all the while does not write into another's place.
        history.Close(1, StreamEnd.ResetByPeer);
        Assert.DoesNotContain(StreamEnd.ResetByPeer, Enumerable.Range(0, 2048).Select(i => history[9_999 - 2 * (uint)i]));
    }

    [Fact]
    public void HugeStep_SkipsAllBetween()
    {
        var history = new StreamHistory();
        history.Open(1);
        history.Close(1, StreamEnd.Ended);
        history.Open(0x7FFFFFFF);
        Assert.Equal(StreamEnd.Skipped, history[0x7FFFFFFD]);
        Assert.Equal(StreamEnd.ResetByUs, history[1]);
    }
}
