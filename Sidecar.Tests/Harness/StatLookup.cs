using Sidecar.Telemetry.Stats;
using Xunit;

namespace Sidecar.Tests.Harness;

/// <summary>Stats by the names that the admin pages give them.</summary>
internal static class StatLookup
{
    /// <summary>Where a stat is; null where there is none of the name.</summary>
    internal static (StatsScope Scope, int Position)? Find(this StatsRegistry stats, string name)
    {
        foreach (var scope in stats.Scopes)
        {
            for (int i = 0; i < scope.Schema.Count; i++)
            {
                if (scope.Prefix + scope.Schema.Definitions[i].Name == name)
                    return (scope, i);
            }
        }
        return null;
    }

    /// <summary>Where a stat is that must be there.</summary>
    internal static (StatsScope Scope, int Position) FindExisting(this StatsRegistry stats, string name)
    {
        var found = stats.Find(name);
        Assert.True(found is not null, $"there is no stat {name}");
        return found.Value;
    }

    /// <summary>The value of a counter or gauge that must be there.</summary>
    internal static long Value(this StatsRegistry stats, string name)
    {
        var (scope, position) = stats.FindExisting(name);
        return scope.Sum(position);
    }
}
