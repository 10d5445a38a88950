using System;
using System.Linq;
using System.Reflection;
using Sidecar.Telemetry.Stats;
using Sidecar.Upstream;
using Xunit;

namespace Sidecar.Tests.Upstream;

public sealed class ClusterStatsTests
{
    [Fact]
    public void Positions_NameTheStatsTheyAreCalledAfter()
    {
        var constants = typeof(ClusterStats).GetFields(BindingFlags.Static | BindingFlags.NonPublic).Where(f => f is { IsLiteral: true, Name: not "FirstCode" }).ToArray();
        Assert.True(constants.Length > 100);
        foreach (var constant in constants)
        {
            string name = ClusterStats.Schema.Definitions[(int)constant.GetRawConstantValue()!].Name;
            Assert.Equal(constant.Name, string.Concat(name.Split('_', '.').Select(part => char.ToUpperInvariant(part[0]) + part[1..])));
        }
    }

    [Fact]
    public void Names_AreUnique() =>
        Assert.Equal(ClusterStats.Schema.Count, ClusterStats.Schema.Definitions.Select(d => d.Name).Distinct(StringComparer.Ordinal).Count());

    [Theory]
    [InlineData(200, "upstream_rq_2xx", "upstream_rq_200")]
    [InlineData(503, "upstream_rq_5xx", "upstream_rq_503")]
    [InlineData(507, "upstream_rq_5xx", "upstream_rq_507")]
    [InlineData(299, "upstream_rq_2xx", "")]
    public void CountResponse_CountsClassStatusAndOrigin(int status, string kind, string code)
    {
        var cells = new StatsCells(ClusterStats.Schema);
        ClusterStats.CountResponse(cells, status, isInternal: false);
        var counted = ClusterStats.Schema.Definitions.Where((_, i) => cells.Value(i) == 1).Select(d => d.Name).Order(StringComparer.Ordinal);
        string[] expected = ["upstream_rq_completed", kind, "external." + kind, .. code.Length > 0 ? new[] { code } : []];
        Assert.Equal(expected.Order(StringComparer.Ordinal), counted);
    }

    [Theory]
    [InlineData(0)]
    [InlineData(99)]
    [InlineData(600)]
    [InlineData(999)]
    public void CountResponse_NoClass_CountsCompletedOnly(int status)
    {
        var cells = new StatsCells(ClusterStats.Schema);
        ClusterStats.CountResponse(cells, status, isInternal: true);
        Assert.Equal(1, Enumerable.Range(0, ClusterStats.Schema.Count).Sum(cells.Value));
    }
}
