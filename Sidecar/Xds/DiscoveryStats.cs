using Sidecar.Loop;
using Sidecar.Memory;
using Sidecar.Telemetry.Stats;
using Sidecar.Wire;

namespace Sidecar.Xds;

/// <summary>What is counted of one subscription; names are Envoy's.</summary>
internal static class SubscriptionStats
{
    internal const int InitFetchTimeout = 0;
    internal const int UpdateAttempt = 1;
    internal const int UpdateFailure = 2;
    internal const int UpdateRejected = 3;
    internal const int UpdateSuccess = 4;

    /// <summary>When the last update succeeded, Unix milliseconds.</summary>
    internal const int UpdateTime = 5;

    /// <summary>A hash of the last version that was accepted.</summary>
    internal const int Version = 6;

    /// <summary>Milliseconds from the last byte of an answer to its acknowledgement.</summary>
    internal const int UpdateDuration = 7;

    /// <summary>The last version that was accepted.</summary>
    internal const int VersionText = 8;

    internal static readonly StatsSchema Schema = new(
        new StatDefinition("init_fetch_timeout"),
        new StatDefinition("update_attempt"),
        new StatDefinition("update_failure"),
        new StatDefinition("update_rejected"),
        new StatDefinition("update_success"),
        new StatDefinition("update_time", StatKind.Gauge),
        new StatDefinition("version", StatKind.Gauge),
        new StatDefinition("update_duration", StatKind.Histogram),
        new StatDefinition("version_text", StatKind.Text));

    /// <summary>
    /// The cells of a source of a single resource, or of a type that has stats of its own: clusters and listeners. Endpoints and routes are counted where
    /// each is used.
    /// </summary>
    internal static StatsCells? Cells(StatsRegistry registry, string typeUrl, string prefix = "") => typeUrl switch
    {
        _ when prefix.Length > 0 => DiscoveryStats.Permanent(registry, Schema, prefix),
        ResourceTypes.Cluster => DiscoveryStats.Permanent(registry, Schema, "cluster_manager.cds."),
        ResourceTypes.Listener => DiscoveryStats.Permanent(registry, Schema, "listener_manager.lds."),
        _ => null,
    };

    /// <summary>Notes a version that was accepted.</summary>
    internal static void SetVersion(StatsCells cells, string version)
    {
        cells.Set(Version, (long)(XxHash64.Hash(System.Text.Encoding.UTF8.GetBytes(version)) & long.MaxValue));
        cells.SetText(VersionText, version);
    }

    /// <summary>Counts what an answer of the aggregated stream said about one resource.</summary>
    /// <param name="cells">The resource's.</param>
    /// <param name="isRefused">It was refused.</param>
    /// <param name="version">Its version; null when there is none such, or it was refused.</param>
    /// <param name="loop">The control loop.</param>
    /// <param name="receivedNs">When the answer was here, by the loop's clock.</param>
    internal static void Count(StatsCells cells, bool isRefused, string? version, EventLoop loop, long receivedNs)
    {
        cells.Inc(UpdateAttempt);
        cells.Inc(isRefused ? UpdateRejected : UpdateSuccess);
        if (isRefused || version is null)
            return;
        cells.Set(UpdateTime, loop.UnixMs);
        cells.Record(UpdateDuration, (loop.NowNs - receivedNs) / 1_000_000);
        SetVersion(cells, version);
    }
}

/// <summary>What is counted of a secret besides its subscription; names are Envoy's.</summary>
internal static class SecretStats
{
    /// <summary>Changed files of it could not be used.</summary>
    internal const int KeyRotationFailed = 0;

    internal static readonly StatsSchema Schema = new(new StatDefinition("key_rotation_failed"));
}

/// <summary>What is counted of a discovered route configuration besides its subscription; names are Envoy's.</summary>
internal static class RouteStats
{
    /// <summary>It has come, and was another one than before.</summary>
    internal const int ConfigReload = 0;

    /// <summary>There was nothing in an answer, which we do not take for one about it.</summary>
    internal const int UpdateEmpty = 1;

    /// <summary>When <see cref="ConfigReload"/> last counted, Unix milliseconds.</summary>
    internal const int ConfigReloadTimeMs = 2;

    internal static readonly StatsSchema Schema = new(
        new StatDefinition("config_reload"), new StatDefinition("update_empty"), new StatDefinition("config_reload_time_ms", StatKind.Gauge));
}

/// <summary>What is counted of a discovered configuration of an extension besides its subscription; names are Envoy's.</summary>
internal static class ExtensionStats
{
    /// <summary>It was taken.</summary>
    internal const int ConfigReload = 0;

    /// <summary>It was refused.</summary>
    internal const int ConfigFail = 1;

    internal static readonly StatsSchema Schema = new(new StatDefinition("config_reload"), new StatDefinition("config_fail"));
}

/// <summary>What is counted of the stream to a control plane; names are Envoy's.</summary>
internal static class ControlPlaneStats
{
    internal const int ConnectedState = 0;
    internal const int PendingRequests = 1;
    internal const int RateLimitEnforced = 2;

    /// <summary>What the control plane calls itself.</summary>
    internal const int Identifier = 3;

    internal static readonly StatsSchema Schema = new(
        new StatDefinition("connected_state", StatKind.Gauge),
        new StatDefinition("pending_requests", StatKind.Gauge),
        new StatDefinition("rate_limit_enforced"),
        new StatDefinition("identifier", StatKind.Text));

    internal static StatsCells Cells(StatsRegistry registry, string prefix) => DiscoveryStats.Permanent(registry, Schema, prefix + "control_plane.");
}

/// <summary>Stats that no snapshot owns.</summary>
internal static class DiscoveryStats
{
    /// <summary>The control loop's cells of a scope that lives as long as the process.</summary>
    internal static StatsCells Permanent(StatsRegistry registry, StatsSchema schema, string prefix) => registry.Scope(schema, prefix).Cells(registry.ControlWriter);
}
