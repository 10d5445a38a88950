using System.Collections.Generic;
using Sidecar.Wire;

namespace Sidecar.Config;

/// <summary>What was read from files: the resources that are whole, and everything that is wrong with the others.</summary>
internal sealed class ResourceSet
{
    private readonly Dictionary<(string TypeUrl, string Name), int> _byName = [];

    /// <summary>Every resource that could be read, each name of a type once.</summary>
    public List<DiscoveredResource> Resources { get; } = [];

    /// <summary>Every problem met; a refused resource is not in Resources.</summary>
    public List<ConfigError> Problems { get; } = [];

    /// <summary>It was a bootstrap, not a dump of one among other things.</summary>
    public bool IsBootstrap { get; set; }

    /// <summary>The bootstrap, when there was one; its static resources are in Resources, too.</summary>
    public DiscoveredResource? Bootstrap { get; internal set; }

    /// <summary>Whether anything was refused.</summary>
    public bool HasErrors { get; private set; }

    internal void Add(ConfigError problem)
    {
        HasErrors |= problem.IsError;
        Problems.Add(problem);
    }

    // A dump may hold the same resource warming and active: the active one counts, and comes first or replaces.
    internal void Add(DiscoveredResource resource, bool warming)
    {
        if (resource.Name.Length == 0 || _byName.TryAdd((resource.TypeUrl, resource.Name), warming ? -1 - Resources.Count : Resources.Count))
        {
            Resources.Add(resource);
            return;
        }
        int known = _byName[(resource.TypeUrl, resource.Name)];
        if (warming)
            return;
        if (known < 0)
        {
            Resources[-1 - known] = resource;
            _byName[(resource.TypeUrl, resource.Name)] = -1 - known;
            return;
        }
        Add(new ConfigError(
            resource.Source, ResourceTypes.Noun(resource.TypeUrl) + " " + resource.Name, "",
            Resources[known].Source == resource.Source
                ? "the name is given twice in this file; remove one of the two"
                : $"the name is given also in {Resources[known].Source}; remove one of the two"));
    }
}
