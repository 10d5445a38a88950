using System;
using System.Linq;
using Sidecar.Telemetry.Stats;
using Xunit;

namespace Sidecar.Tests.Telemetry.Stats;

public class HistogramTests
{
    [Fact]
    public void Empty_HasNoQuantiles()
    {
        var histogram = new Histogram();
        Assert.True(double.IsNaN(histogram.Quantile(0.5)));
        Assert.Equal(0, histogram.Total);
        Assert.Equal(0, histogram.CountAtMost(1e9));
    }

    [Theory]
    [InlineData(0)]
    [InlineData(1)]
    [InlineData(7)]
    [InlineData(8)]
    [InlineData(1_000)]
    [InlineData(123_456_789)]
    [InlineData(1L << 39)]
    public void OneValue_IsFoundWithinSixPercent(long value)
    {
        var histogram = new Histogram();
        histogram.Record(value);
        Assert.InRange(histogram.Quantile(0.5), value * 0.94 - 0.5, value * 1.07 + 0.5);
        Assert.Equal(value, histogram.Sum);
        Assert.Equal(1, histogram.CountAtMost(value));
    }

    [Fact]
    public void NegativeValue_CountsAsZero()
    {
        var histogram = new Histogram();
        histogram.Record(-5);
        Assert.Equal(0, histogram.Sum);
        Assert.Equal(1, histogram.CountAtMost(0));
    }

    [Fact]
    public void ValueBeyondTheLastPower_IsKept()
    {
        var histogram = new Histogram();
        histogram.Record(long.MaxValue / 2);
        Assert.Equal(1, histogram.Total);
    }

    [Fact]
    public void Quantiles_OfRandomValues_AreCloseToTheExactOnes()
    {
        var random = new Random(3);
        long[] values = [.. Enumerable.Range(0, 10_000).Select(_ => (long)Math.Exp(random.NextDouble() * 12))];
        var histogram = new Histogram();
        foreach (long value in values)
            histogram.Record(value);
        Array.Sort(values);
        foreach (double quantile in new[] { 0.25, 0.5, 0.9, 0.99 })
        {
            double exact = values[(int)(quantile * values.Length)];
            Assert.InRange(histogram.Quantile(quantile), exact * 0.87, exact * 1.13);
        }
    }

    [Fact]
    public void Merge_AddsUp()
    {
        var one = new Histogram();
        var two = new Histogram();
        one.Record(10);
        two.Record(20);
        two.Record(3000);
        one.Merge(two);
        Assert.Equal(3, one.Total);
        Assert.Equal(3030, one.Sum);
        Assert.Equal(2, one.CountAtMost(100));
    }
}
