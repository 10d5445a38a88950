using Sidecar.Memory;
using Xunit;

namespace Sidecar.Tests.Memory;

public sealed class SpanWriterTests
{
    [Fact]
    public void Write_Fits_KeepsOrder()
    {
        var writer = new SpanWriter(new byte[16]);
        writer.Write("ab"u8);
        writer.WriteByte((byte)':');
        writer.WriteDecimal(-42);
        Assert.Equal("ab:-42"u8.ToArray(), writer.Written.ToArray());
        Assert.False(writer.Overflowed);
    }

    [Fact]
    public void Write_DoesNotFit_OverflowsAndKeepsWhatWasThere()
    {
        var writer = new SpanWriter(new byte[3]);
        writer.Write("ab"u8);
        writer.Write("cd"u8);
        Assert.True(writer.Overflowed);
        Assert.Equal("ab"u8.ToArray(), writer.Written.ToArray());
    }

    [Fact]
    public void WriteByte_Full_Overflows()
    {
        var writer = new SpanWriter(new byte[1]);
        writer.WriteByte((byte)'a');
        Assert.False(writer.Overflowed);
        writer.WriteByte((byte)'b');
        Assert.True(writer.Overflowed);
    }

    [Fact]
    public void Truncate_ForgetsTheTail()
    {
        var writer = new SpanWriter(new byte[8]);
        writer.Write("abcd"u8);
        writer.Truncate(2);
        Assert.Equal("ab"u8.ToArray(), writer.Written.ToArray());
    }
}
