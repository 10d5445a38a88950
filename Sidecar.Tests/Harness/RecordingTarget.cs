using System;
using System.Collections.Generic;
using System.Linq;
using Sidecar.Wire;
using Sidecar.Xds;

namespace Sidecar.Tests.Harness;

/// <summary>Writes down what discovery brings, one line each, and refuses what the test says.</summary>
internal sealed class RecordingTarget : IDiscoveryTarget
{
    internal DiscoverySource? Source { get; set; }
    internal List<string> Events { get; } = [];
    internal List<DiscoveryUpdate> Updates { get; } = [];
    internal List<ResourceRejection> Refuses { get; } = [];

    /// <summary>The types whose source ended, in order.</summary>
    internal List<string> Failures { get; } = [];

    /// <summary>Called with the names of the clusters that came.</summary>
    internal Action<string[]>? OnCluster { get; set; }

    public IReadOnlyList<ResourceRejection> OnUpdate(DiscoveryUpdate update)
    {
        Updates.Add(update);
        var parts = update.Resources.Select(r => $"{r.Name}@{r.Version}").Concat(update.Removed.Select(n => "-" + n));
        Events.Add($"{DiscoveryMessages.Short(update.TypeUrl)} {(update.IsDelta ? "delta" : "world")} {update.SystemVersion} {update.Nonce}: {string.Join(" ", parts)}");
        if (update.TypeUrl == ResourceTypes.Cluster)
            OnCluster?.Invoke([.. update.Resources.Select(r => r.Name)]);
        return [.. Refuses.Where(refused => update.Resources.Any(r => r.Name == refused.Name))];
    }

    public void OnFetchTimeout(string typeUrl, IReadOnlyList<string> names) => Events.Add($"timeout {DiscoveryMessages.Short(typeUrl)} {string.Join(",", names)}");

    public void OnExpired(string typeUrl, IReadOnlyList<string> names) => Events.Add($"expired {DiscoveryMessages.Short(typeUrl)} {string.Join(",", names)}");

    public void OnFailure(string typeUrl) => Failures.Add(DiscoveryMessages.Short(typeUrl));

    public void OnConnection(bool connected, string reason) => Events.Add(connected ? "connected" : "disconnected " + reason);
}
