using System;
using Sidecar.Telemetry.Stats;
using WireCore = Envoy.Config.Core.V3;

namespace Sidecar.Filters.Listener;

using Wire = global::Envoy.Extensions.Filters.Listener.ProxyProtocol.V3;

/// <summary>
/// Takes the header of the PROXY protocol off the front of a connection; its addresses are the connection's from then on: for filter chain matches, but
/// direct_source_prefix_ranges, which are about who sent the header; for x-forwarded-for, access rules, and ORIGINAL_DST clusters. Without one the connection
/// is refused, unless told otherwise: anybody could send it.
/// Envoy: envoy.filters.listener.proxy_protocol.
/// </summary>
/// <remarks>Shared immutable.</remarks>
internal sealed class ProxyProtocolFilter(ProxyProtocolFilter.Config config, StatsScope stats) : ListenerFilter
{
    internal override int InspectBytesMax => ProxyHeader.BytesMax;

    internal override ListenerFilterStatus Inspect(AcceptedConnection connection, ReadOnlySpan<byte> data)
    {
        var cells = stats.Cells(connection.WorkerIndex);
        var one = ProxyHeaderStatus.None;
        var two = ProxyHeaderStatus.None;
        ProxyHeader header = default;
        // Where a connection may come without a header, one that is not allowed is no header (Envoy's rule).
        if (config.AllowsV1 || !config.AllowsNone)
            one = ProxyHeader.TryReadV1(data, out header);
        if (one is ProxyHeaderStatus.None or ProxyHeaderStatus.Incomplete && (config.AllowsV2 || !config.AllowsNone))
            two = ProxyHeader.TryReadV2(data, out header);
        if (one == ProxyHeaderStatus.Incomplete || two == ProxyHeaderStatus.Incomplete)
        {
            // Its last bytes: nothing more will make them a header.
            if (!connection.Connection.EndReceived)
                return ListenerFilterStatus.NeedMore;
            return WithoutHeader(cells);
        }
        if (one == ProxyHeaderStatus.None && two == ProxyHeaderStatus.None)
            return WithoutHeader(cells);

        bool isOne = one != ProxyHeaderStatus.None;
        bool isAllowed = isOne ? config.AllowsV1 : config.AllowsV2;
        bool isMalformed = (isOne ? one : two) == ProxyHeaderStatus.Malformed;
        cells.Inc((isOne ? ProxyProtocolStats.V1Found : ProxyProtocolStats.V2Found) + (isAllowed ? isMalformed ? 2 : 0 : 1));
        if (isMalformed || !isAllowed)
            return ListenerFilterStatus.Close;
        Apply(connection, header);
        connection.TakenBytes = header.Size;
        return ListenerFilterStatus.Continue;
    }

    private ListenerFilterStatus WithoutHeader(StatsCells cells)
    {
        cells.Inc(config.AllowsNone ? ProxyProtocolStats.NotFoundAllowed : ProxyProtocolStats.NotFoundDisallowed);
        return config.AllowsNone ? ListenerFilterStatus.Continue : ListenerFilterStatus.Close;
    }

    private static void Apply(AcceptedConnection connection, in ProxyHeader header)
    {
        if (header.Source.IsNone)
            return;
        connection.Source = header.Source;
        connection.Connection.SpeaksFor(header.Source);
        if (header.Destination == connection.Destination)
            return;
        connection.Destination = header.Destination;
        connection.IsDestinationRestored = true;
        connection.Connection.OriginalDestination = header.Destination;
    }

    // ---- configuration ------------------------------------------------------------------------------------------

    /// <param name="AllowsNone">A connection may come without a header.</param>
    /// <param name="AllowsV1">Version 1 is understood.</param>
    /// <param name="AllowsV2">The same for version 2.</param>
    internal sealed record Config(bool AllowsNone = false, bool AllowsV1 = true, bool AllowsV2 = true);

    internal static ListenerFilter? Create(Wire.ProxyProtocol wire, bool transparent, ConfigScope scope)
    {
        var config = new Config(wire.AllowRequestsWithoutProxyProtocol);
        for (int i = 0; i < wire.DisallowedVersions.Count; i++)
        {
            if (wire.DisallowedVersions[i] == WireCore.ProxyProtocolConfig.Types.Version.V1)
                config = config with { AllowsV1 = false };
            else if (wire.DisallowedVersions[i] == WireCore.ProxyProtocolConfig.Types.Version.V2)
                config = config with { AllowsV2 = false };
            else
                scope.Reject($"disallowed_versions[{i}]", $"unknown version {(int)wire.DisallowedVersions[i]}");
        }
        if (wire.Rules.Count > 0)
            scope.Ignore("rules", "type-length-values are passed over: there is no dynamic metadata yet");
        if (wire.PassThroughTlvs is not null)
            scope.Ignore("pass_through_tlvs", "type-length-values are passed over: upstreams get no PROXY header");
        if (wire.TlvLocation != Wire.ProxyProtocol.Types.TlvLocation.DynamicMetadata)
            scope.Ignore("tlv_location", "type-length-values are passed over");
        string prefix = wire.StatPrefix.Length > 0 ? $"proxy_proto.{wire.StatPrefix}." : "proxy_proto.";
        return new ProxyProtocolFilter(config, scope.Services.Stats.Scope(ProxyProtocolStats.Schema, prefix));
    }
}

/// <summary>Stats of PROXY headers, under <c>proxy_proto.</c> and the filter's stat_prefix, Envoy's names.</summary>
internal static class ProxyProtocolStats
{
    internal const int NotFoundDisallowed = 0;
    internal const int NotFoundAllowed = 1;

    /// <summary>Then disallowed, then error; and so for the next.</summary>
    internal const int V1Found = 2;
    internal const int V2Found = 5;

    internal static readonly StatsSchema Schema = new(
        new("not_found_disallowed"),
        new("not_found_allowed"),
        new("versions.v1.found"),
        new("versions.v1.disallowed"),
        new("versions.v1.error"),
        new("versions.v2.found"),
        new("versions.v2.disallowed"),
        new("versions.v2.error"));
}
