using Sidecar.Config;
using Sidecar.Wire;
using Sidecar.Xds;

namespace Sidecar.Server;

/// <summary>What a bootstrap says about discovery, checked against the rest of it: the same for running and for validating.</summary>
internal static class BootstrapDiscovery
{
    /// <summary>Reads it. What is wrong joins the problems of the set, and clusters made for google_grpc its resources.</summary>
    /// <param name="set">What was read of the bootstrap.</param>
    /// <param name="facts">Who we are; null without a bootstrap.</param>
    /// <returns>Null when there is nothing to discover.</returns>
    internal static DiscoveryConfig? Read(ResourceSet set, BootstrapFacts? facts)
    {
        if (set.Bootstrap is not { } bootstrap || facts is null)
            return null;
        var problems = new WireProblems();
        var config = DiscoveryConfig.Read(bootstrap.Bytes.Span, problems);
        foreach (var problem in problems.List)
            set.Add(ConfigError.From(problem, bootstrap.Source, "bootstrap"));
        if (!config.IsUsed)
            return null;
        if (facts.NodeProblem is { } missing)
            set.Add(new ConfigError(bootstrap.Source, "bootstrap", "node", missing));
        foreach (var cluster in config.MadeClusters)
            set.Add(cluster, warming: false);
        foreach (string cluster in config.ControlPlanes)
        {
            var found = set.Resources.Find(r => r.TypeUrl == ResourceTypes.Cluster && r.Name == cluster);
            if (cluster.Length > 0 && found is null)
                set.Add(new ConfigError(bootstrap.Source, "bootstrap", "dynamic_resources", $"unknown cluster '{cluster}': add it to static_resources.clusters"));
            else if (found is not null && SnapshotBuilder.IsEdsCluster(found))
                set.Add(new ConfigError(bootstrap.Source, "bootstrap", "dynamic_resources", $"must have a statically defined non-EDS cluster: '{cluster}' is an EDS "
                    + "cluster, whose endpoints only a control plane could say; give it the type STATIC, STRICT_DNS or LOGICAL_DNS"));
        }
        return config;
    }

    /// <summary>Whether what is taken by name (SDS, ECDS) can be asked for where a resource says.</summary>
    internal static ConfigSourceCheck SourceCheck(DiscoveryConfig? discovery) =>
        (source, typeUrl, problems) => DiscoveryConfig.ReadOrigin(source, typeUrl, discovery?.Ads is not null, problems);
}
