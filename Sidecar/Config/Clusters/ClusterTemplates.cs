using System;
using System.Collections.Generic;
using Sidecar.Filters;
using Sidecar.Memory;
using Sidecar.Upstream;
using Sidecar.Upstream.Discovery;
using Sidecar.Wire;
using WireCluster = Envoy.Config.Cluster.V3;

namespace Sidecar.Config.Clusters;

/// <summary>
/// Ten thousand clusters of a mesh differ in their names, endpoints and metadata, and in little else. The rest is parsed, checked and translated once: a cluster whose
/// rest is, byte for byte, that of one before it gets the settings of that one.
/// </summary>
/// <remarks>Control loop only.</remarks>
internal sealed class ClusterTemplates
{
    // A mesh has a handful. Where every cluster is another, that is soon known, and the room is small.
    private const int TemplatesMax = 64;

    // envoy.config.cluster.v3.Cluster and, in eds_cluster_config, the service's name.
    private const uint Name = 1;
    private const uint EdsClusterConfig = 3;
    private const uint EdsServiceName = 2;
    private const uint TransportSocket = 24;
    private const uint ClusterMetadata = 25;
    private const uint AltStatName = 28;
    private const uint LoadAssignment = 33;
    private const uint TransportSocketMatches = 43;

    private readonly Dictionary<ulong, Template> _templates = [];
    private readonly WireWriter _rest = new();

    /// <summary>What clusters of the same rest have in common: settings, and what of the rest has no effect.</summary>
    private sealed record Template(byte[] Rest, ClusterConfig Settings, ConfigProblem[] Ignored);

    /// <summary>Translates a cluster; null, with every reason in <paramref name="scope"/>, when it is refused.</summary>
    internal ClusterConfig? Translate(ReadOnlySpan<byte> bytes, int workers, ConfigScope scope)
    {
        if (!TrySplit(bytes, scope.ResourceName, out var assignment, out var metadataBytes) || !MetadataTranslator.TryTranslate(metadataBytes, out var metadata))
            return Parse(bytes, workers, scope);
        bool hasAssignment = assignment.Length > 0;
        var endpoints = hasAssignment ? PlainEndpoints.Read(assignment) : EndpointSet.Empty;
        if (endpoints is null)
            return Parse(bytes, workers, scope);

        ulong hash = XxHash64.Hash(_rest.Written);
        if (_templates.TryGetValue(hash, out var template) && _rest.Written.SequenceEqual(template.Rest))
        {
            foreach (var problem in template.Ignored)
                scope.Ignore(problem.Path, problem.Reason);
            return ClusterTranslator.Like(template.Settings, endpoints, metadata!, workers, scope);
        }
        byte[] rest = _rest.Written.ToArray();
        var config = Parse(bytes, workers, scope);
        // Endpoints of other types may be names, and those have rules of their own.
        if (config is null || hasAssignment && config.Type != DiscoveryType.Static)
            return config;
        if (_templates.Count >= TemplatesMax)
            _templates.Clear();
        _templates[hash] = new Template(rest, config.WithoutIdentity(), [.. scope.Ignored]);
        return config;
    }

    private static ClusterConfig? Parse(ReadOnlySpan<byte> bytes, int workers, ConfigScope scope) =>
        ClusterTranslator.Translate(WireCluster.Cluster.Parser.ParseFrom(bytes), workers, scope);

    /// <summary>Takes out of a cluster what it has of its own; what is left is in _rest.</summary>
    /// <returns>False where other things than these depend on its name, or anything is not as expected.</returns>
    private bool TrySplit(ReadOnlySpan<byte> cluster, string name, out ReadOnlySpan<byte> assignment, out ReadOnlySpan<byte> metadata)
    {
        assignment = metadata = default;
        _rest.Clear();
        bool isNamed = false, hasEds = false;
        var reader = new WireReader(cluster);
        while (!reader.AtEnd)
        {
            int start = reader.Position;
            ReadOnlySpan<byte> value = default;
            if (!reader.TryTag(out uint number, out int encoding) || !(encoding == 2 ? reader.TryBytes(out value) : reader.TrySkip(encoding)))
                return false;
            switch (number)
            {
                case Name when !isNamed && value.Length > 0 && System.Text.Ascii.Equals(value, name):
                    isNamed = true;
                    break;
                case EdsClusterConfig when !hasEds && encoding == 2 && TryKeepEds(value, name):
                    hasEds = true;
                    break;
                case LoadAssignment when assignment.Length == 0 && value.Length > 0:
                    assignment = value;
                    break;
                case ClusterMetadata when metadata.Length == 0 && encoding == 2:
                    metadata = value;
                    break;
                case Name or EdsClusterConfig or LoadAssignment or ClusterMetadata or AltStatName or TransportSocket or TransportSocketMatches:
                    return false;
                default:
                    Keep(cluster[start..reader.Position]);
                    break;
            }
        }
        return isNamed;
    }

    // Endpoints are looked up by the cluster's own name where none is given, or where it is given again.
    private bool TryKeepEds(ReadOnlySpan<byte> eds, string name)
    {
        _rest.Tag((int)EdsClusterConfig, 2);
        int begun = _rest.Begin();
        var reader = new WireReader(eds);
        while (!reader.AtEnd)
        {
            int start = reader.Position;
            ReadOnlySpan<byte> value = default;
            if (!reader.TryTag(out uint number, out int encoding) || !(encoding == 2 ? reader.TryBytes(out value) : reader.TrySkip(encoding)))
                return false;
            if (number != EdsServiceName)
                Keep(eds[start..reader.Position]);
            else if (!System.Text.Ascii.Equals(value, name))
                return false;
        }
        _rest.End(begun);
        return true;
    }

    private void Keep(ReadOnlySpan<byte> field)
    {
        field.CopyTo(_rest.Reserve(field.Length));
        _rest.Commit(field.Length);
    }
}
