using Sidecar.Http.H2;

namespace Sidecar.Filters;

using Wire = global::Envoy.Config.Core.V3;

/// <summary>envoy.config.core.v3.Http2ProtocolOptions as codec options; used for both ends of a stream.</summary>
internal static class Http2OptionsReader
{
    /// <summary>Translates what is set and keeps <paramref name="defaults"/> for the rest; bounds are those of the field's definition in Envoy.</summary>
    internal static Http2Options Read(Wire.Http2ProtocolOptions? wire, Http2Options defaults, ConfigScope scope)
    {
        if (wire is null)
            return defaults;
        if (wire.AllowMetadata)
            scope.Ignore("allow_metadata", "METADATA frames are not forwarded");
        for (int i = 0; i < wire.CustomSettingsParameters.Count; i++)
            scope.Ignore($"custom_settings_parameters[{i}]", "custom SETTINGS are not sent");
        var keepalive = wire.ConnectionKeepalive;
        return defaults with
        {
            HpackTableSize = (int)Bounded(scope, "hpack_table_size", wire.HpackTableSize, 0, 1 << 20, (uint)defaults.HpackTableSize),
            MaxConcurrentStreams = (int)Bounded(scope, "max_concurrent_streams", wire.MaxConcurrentStreams, 1, int.MaxValue, (uint)defaults.MaxConcurrentStreams),
            InitialStreamWindowSize = (int)Bounded(scope, "initial_stream_window_size", wire.InitialStreamWindowSize, 65535, int.MaxValue, (uint)defaults.InitialStreamWindowSize),
            InitialConnectionWindowSize = (int)Bounded(scope, "initial_connection_window_size", wire.InitialConnectionWindowSize, 65535, int.MaxValue, (uint)defaults.InitialConnectionWindowSize),
            AllowConnect = wire.AllowConnect,
            MaxOutboundFrames = (int)Bounded(scope, "max_outbound_frames", wire.MaxOutboundFrames, 1, int.MaxValue, (uint)defaults.MaxOutboundFrames),
            MaxOutboundControlFrames = (int)Bounded(scope, "max_outbound_control_frames", wire.MaxOutboundControlFrames, 1, int.MaxValue, (uint)defaults.MaxOutboundControlFrames),
            MaxConsecutiveInboundFramesWithEmptyPayload = (int)Bounded(scope, "max_consecutive_inbound_frames_with_empty_payload", wire.MaxConsecutiveInboundFramesWithEmptyPayload, 0, int.MaxValue, (uint)defaults.MaxConsecutiveInboundFramesWithEmptyPayload),
            MaxInboundPriorityFramesPerStream = (int)Bounded(scope, "max_inbound_priority_frames_per_stream", wire.MaxInboundPriorityFramesPerStream, 0, int.MaxValue, (uint)defaults.MaxInboundPriorityFramesPerStream),
            MaxInboundWindowUpdateFramesPerDataFrameSent = (int)Bounded(scope, "max_inbound_window_update_frames_per_data_frame_sent", wire.MaxInboundWindowUpdateFramesPerDataFrameSent, 1, int.MaxValue, (uint)defaults.MaxInboundWindowUpdateFramesPerDataFrameSent),
            OverrideStreamErrorOnInvalidHttpMessage = wire.OverrideStreamErrorOnInvalidHttpMessage ?? wire.StreamErrorOnInvalidHttpMessaging,
            KeepaliveIntervalMs = (int)scope.Milliseconds("connection_keepalive.interval", keepalive?.Interval, 0),
            KeepaliveTimeoutMs = (int)scope.Milliseconds("connection_keepalive.timeout", keepalive?.Timeout, 0),
        };
    }

    private static uint Bounded(ConfigScope scope, string field, uint? value, uint min, uint max, uint fallback)
    {
        if (value is not { } given)
            return fallback;
        if (given >= min && given <= max)
            return given;
        scope.Reject(field, $"must be between {min} and {max}, is {given}");
        return fallback;
    }
}
