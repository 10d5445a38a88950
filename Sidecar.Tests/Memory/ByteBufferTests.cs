using System;
using System.Collections.Generic;
using Sidecar.Memory;
using Xunit;

namespace Sidecar.Tests.Memory;

public class ByteBufferTests
{
    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(3)]
    public void RandomOperations_AgreeWithAList(int seed)
    {
        var random = new Random(seed);
        var slab = new Slab(16);
        var buffer = new ByteBuffer(slab);
        var model = new List<byte>();
        for (int step = 0; step < 50_000; step++)
        {
            switch (random.Next(4))
            {
                case 0 when model.Count < 300:
                    byte[] bytes = new byte[random.Next(40)];
                    random.NextBytes(bytes);
                    buffer.Write(bytes);
                    model.AddRange(bytes);
                    break;
                case 1 when model.Count < 300:
                    int min = random.Next(1, 40);
                    var room = buffer.GetWritable(min);
                    Assert.True(room.Length >= min);
                    int used = random.Next(min + 1);
                    room[..used].Fill((byte)step);
                    buffer.Commit(used);
                    for (int i = 0; i < used; i++)
                        model.Add((byte)step);
                    break;
                case 2:
                    int count = random.Next(model.Count + 1);
                    buffer.Consume(count);
                    model.RemoveRange(0, count);
                    break;
                case 3 when random.Next(20) == 0:
                    buffer.Reset();
                    model.Clear();
                    break;
            }
            Assert.Equal(model.Count, buffer.Length);
            Assert.Equal(model.Count == 0, buffer.IsEmpty);
            Assert.True(buffer.Readable.SequenceEqual(model.ToArray()));
            Assert.InRange(slab.RentedCount, 0, 1);
        }
        buffer.Reset();
        Assert.Equal(0, slab.RentedCount);
    }

    [Fact]
    public void ConsumedWhole_GivesItsMemoryBack()
    {
        var slab = new Slab(16);
        var buffer = new ByteBuffer(slab);
        buffer.Write("0123456789"u8);
        Assert.Equal(1, slab.RentedCount);
        buffer.Consume(10);
        Assert.Equal(0, slab.RentedCount);
    }
}
