using Sidecar.Net;

namespace Sidecar.Server;

/// <summary>How the server was started.</summary>
internal sealed record ServerOptions
{
    /// <summary>A snapshot: config dump or folder; watched. Null with <see cref="BootstrapPath"/>.</summary>
    internal string? SnapshotPath { get; init; }

    /// <summary>An Envoy bootstrap; read once.</summary>
    internal string? BootstrapPath { get; init; }

    /// <summary>A bootstrap given on the command line instead.</summary>
    internal byte[]? BootstrapText { get; init; }

    /// <summary>A bootstrap, and no snapshot.</summary>
    internal bool IsBootstrap => BootstrapPath is not null || BootstrapText is not null;

    /// <summary>Where the last good configuration of a control plane is kept; null: it is not.</summary>
    internal string? CacheFolder { get; init; }

    /// <summary>Workers.</summary>
    internal int Concurrency { get; init; } = 1;

    /// <summary>Where the admin pages are; null: as the bootstrap says, else 127.0.0.1:15000.</summary>
    internal Address? AdminAddress { get; init; }

    /// <summary>How long connections may go on after SIGTERM, or after their chain is gone.</summary>
    internal long DrainTimeMs { get; init; } = 5_000;

    /// <summary>Where the built-in readiness and metrics listeners are, with a snapshot; null: there is none.</summary>
    internal Address? ReadinessAddress { get; init; } = Address.IPv4(0, 15021);
    internal Address? PrometheusAddress { get; init; } = Address.IPv4(0, 15090);

    /// <summary>Who we are to control planes, in place of the bootstrap's node; null: as it says.</summary>
    internal string? NodeId { get; init; }
    internal string? NodeCluster { get; init; }
    internal string? NodeZone { get; init; }
}
