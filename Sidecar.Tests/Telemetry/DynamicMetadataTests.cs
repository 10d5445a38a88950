using System.Collections.Generic;
using System.Linq;
using Sidecar.Telemetry;
using Xunit;

namespace Sidecar.Tests.Telemetry;

public sealed class DynamicMetadataTests
{
    private readonly DynamicMetadata _metadata = new();

    [Fact]
    public void Set_ReplacesOneFact_AndNoOther()
    {
        _metadata.Set("f", "a", MetadataValue.Of("1"));
        _metadata.Set("f", "b", MetadataValue.Of("2"));
        _metadata.Set("g", "a", MetadataValue.Of("3"));
        _metadata.Set("f", "a", MetadataValue.Of("4"));
        Assert.Equal(("4", "2", "3"), (_metadata.Find("f", "a")!.Text, _metadata.Find("f", "b")!.Text, _metadata.Find("g", "a")!.Text));
        Assert.Null(_metadata.Find("g", "b"));
    }

    [Fact]
    public void Find_FollowsAPath()
    {
        _metadata.Set("f", "a", MetadataValue.Of(new Dictionary<string, MetadataValue> { ["b"] = MetadataValue.Of("c") }));
        Assert.Equal("c", _metadata.Find("f", ["a", "b"])!.Text);
        Assert.Equal(MetadataKind.Fields, _metadata.Find("f", ["a"])!.Kind);
        Assert.Null(_metadata.Find("f", ["a", "c"]));
        Assert.Null(_metadata.Find("f", ["a", "b", "c"]));
        Assert.Null(_metadata.Find("f", ["b", "b"]));
    }

    [Fact]
    public void Reset_ForgetsAll_AndAllocatesNothingLater()
    {
        var value = MetadataValue.Of("v");
        string[] keys = [.. Enumerable.Range(0, 20).Select(i => "k" + i)];
        Fill();
        _metadata.Reset();
        Assert.Null(_metadata.Find("f", "k1"));
        long before = System.GC.GetAllocatedBytesForCurrentThread();
        Fill();
        Assert.Equal(before, System.GC.GetAllocatedBytesForCurrentThread());
        Assert.Equal(value, _metadata.Find("f", "k19"));

        void Fill()
        {
            foreach (string key in keys)
                _metadata.Set("f", key, value);
        }
    }
}
