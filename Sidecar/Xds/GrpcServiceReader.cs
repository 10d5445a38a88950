using System;
using System.Collections.Generic;
using System.Text;
using Google.Protobuf;
using Sidecar.Upstream;
using Sidecar.Wire;
using WireCluster = Envoy.Config.Cluster.V3;
using WireCore = Envoy.Config.Core.V3;

namespace Sidecar.Xds;

/// <summary>Whom a GrpcService means, and how long to wait between attempts.</summary>
internal sealed record GrpcServiceConfig(GrpcTarget Target, long BackoffBaseMs, long BackoffMaxMs);

/// <summary>
/// Reads envoy.config.core.v3.GrpcService. envoy_grpc names a cluster; google_grpc, which in Envoy is another gRPC library, becomes a cluster made for it
/// (<see cref="GoogleGrpcReader"/>), and goes the same way from there.
/// </summary>
/// <param name="problems">Where problems go.</param>
/// <param name="makesClusters">Clusters can be added to what is read: it is a bootstrap.</param>
internal sealed class GrpcServiceReader(FieldProblems problems, bool makesClusters)
{
    private readonly List<WireCluster.Cluster> _made = [];

    /// <summary>The clusters that google_grpc services have become.</summary>
    internal IEnumerable<DiscoveredResource> MadeClusters
    {
        get
        {
            foreach (var cluster in _made)
                yield return new DiscoveredResource(ResourceTypes.Cluster, cluster.Name, "", cluster.ToByteArray(), "(google_grpc)");
        }
    }

    internal GrpcServiceConfig? Read(WireCore.GrpcService service, string path)
    {
        if (service.TargetSpecifierCase == WireCore.GrpcService.TargetSpecifierOneofCase.None)
        {
            problems.Reject(path, "envoy_grpc or google_grpc is expected, to say where the control plane is");
            return null;
        }
        if (service.Timeout is not null)
            problems.Unsupported(path + ".timeout", "a stream of discovery has no end, as in Envoy");
        var target = service.EnvoyGrpc is { } grpc ? ReadEnvoy(grpc, path + ".envoy_grpc") : ReadGoogle(service.GoogleGrpc, path + ".google_grpc");
        if (target is null)
            return null;
        var metadata = new List<(string, byte[])>(target.Metadata);
        for (int i = 0; i < service.InitialMetadata.Count; i++)
            ReadMetadata(service.InitialMetadata[i], $"{path}.initial_metadata[{i}]", metadata);
        if (metadata.Exists(static field => field.Item2.AsSpan().IndexOfAny("\r\n\0"u8) >= 0))
            problems.Reject(path, "a value of its metadata holds a line end or NUL");
        target = target with { Metadata = metadata };
        return service.EnvoyGrpc?.RetryPolicy is { } own
            ? ReadRetries(target, own, path + ".envoy_grpc.retry_policy")
            : ReadRetries(target, service.RetryPolicy, path + ".retry_policy");
    }

    private GrpcTarget ReadEnvoy(WireCore.GrpcService.Types.EnvoyGrpc grpc, string path)
    {
        if (grpc.ClusterName.Length == 0)
            problems.Reject(path + ".cluster_name", "must not be empty");
        var target = new GrpcTarget(grpc.ClusterName, grpc.Authority, []);
        return grpc.MaxReceiveMessageLength is > 0 and <= int.MaxValue and var bytesMax ? target with { MessageBytesMax = (int)bytesMax } : target;
    }

    private GrpcTarget? ReadGoogle(WireCore.GrpcService.Types.GoogleGrpc google, string path)
    {
        if (!makesClusters)
        {
            problems.Reject(path, "is taken only in the bootstrap's dynamic_resources; use envoy_grpc with a cluster");
            return null;
        }
        if (new GoogleGrpcReader(problems).Read(google, path) is not { } made)
            return null;
        var known = _made.Find(cluster => cluster.Name == made.Cluster.Name);
        if (known is null)
            _made.Add(made.Cluster);
        else if (!known.Equals(made.Cluster))
            problems.Reject(path + ".stat_prefix", $"'{google.StatPrefix}' is that of another service, with another target; give each its own");
        return made.Target;
    }

    // As Envoy, values may hold commands between percent signs; what is the same for every stream can stand here as it is.
    private void ReadMetadata(WireCore.HeaderValue value, string path, List<(string, byte[])> metadata)
    {
        string name = value.Key.ToLowerInvariant();
        if (name.Length == 0 || name.StartsWith(':') || name.StartsWith("grpc-", StringComparison.Ordinal))
        {
            problems.Reject(path + ".key", $"'{value.Key}' is not a name of metadata");
            return;
        }
        byte[] bytes = value.RawValue.Length > 0 ? value.RawValue.ToByteArray() : Encoding.UTF8.GetBytes(value.Value.Replace("%%", "%", StringComparison.Ordinal));
        if (value.RawValue.Length == 0 && value.Value.Replace("%%", "", StringComparison.Ordinal).Contains('%'))
            problems.Reject(path + ".value", "commands such as %START_TIME% are not known here; a percent sign itself is written %%");
        else
            metadata.Add((name, bytes));
    }

    private GrpcServiceConfig ReadRetries(GrpcTarget target, WireCore.RetryPolicy? policy, string path)
    {
        const string always = "a stream is opened again for as long as the process lives";
        if (policy?.NumRetries is not null)
            problems.Unsupported(path + ".num_retries", always);
        if (policy is { RetryOn.Length: > 0 })
            problems.Unsupported(path + ".retry_on", always);
        if (policy?.RetryPriority is not null)
            problems.Unsupported(path + ".retry_priority", "each attempt goes to the host that the cluster's load balancer picks");
        if (policy is { RetryHostPredicate.Count: > 0 })
            problems.Unsupported(path + ".retry_host_predicate", "each attempt goes to the host that the cluster's load balancer picks");
        if (policy is { HostSelectionRetryMaxAttempts: not 0 })
            problems.Unsupported(path + ".host_selection_retry_max_attempts", "each attempt goes to the host that the cluster's load balancer picks");
        if (policy?.RetryBackOff is not { } backoff)
            return new GrpcServiceConfig(target, Backoff.DefaultBaseMs, Backoff.DefaultMaxMs);
        path += ".retry_back_off";
        long baseMs = backoff.BaseInterval is { } first ? problems.Milliseconds(first, 1, path + ".base_interval") : Backoff.DefaultBaseMs;
        long maxMs = backoff.MaxInterval is { } longest ? problems.Milliseconds(longest, 1, path + ".max_interval") : baseMs * 10;
        if (maxMs < baseMs)
            problems.Reject(path + ".max_interval", "must be greater than or equal to base_interval");
        return new GrpcServiceConfig(target, baseMs, maxMs);
    }
}
