using System;
using System.Text;
using Sidecar.Filters;
using Sidecar.Http.H1;
using Sidecar.Upstream;
using WireCore = Envoy.Config.Core.V3;
using WireHttp = Envoy.Extensions.Upstreams.Http.V3;

namespace Sidecar.Config.Clusters;

using Wire = global::Envoy.Config.Cluster.V3;

/// <summary>
/// How a cluster speaks HTTP: envoy.extensions.upstreams.http.v3.HttpProtocolOptions, or the fields of a cluster that said it before → <see cref="HttpUpstreamOptions"/>.
/// </summary>
internal static class HttpProtocolOptionsTranslator
{
    /// <summary>Key in typed_extension_protocol_options, and the type of what stands there.</summary>
    internal const string Key = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";

    /// <summary>The options of a cluster; those of every cluster that asks for nothing special, as most of a mesh, are one object.</summary>
    internal static HttpUpstreamOptions Translate(Wire.Cluster wire, ConfigScope scope)
    {
        WireHttp.HttpProtocolOptions? typed = null;
        foreach (var (key, any) in wire.TypedExtensionProtocolOptions)
        {
            var at = scope.At($"typed_extension_protocol_options[{key}]");
            if (key != Key)
                at.Ignore("", "options of an extension that is not there");
            else if (TypedConfig.TypeName(any) != Key)
                at.Reject("@type", $"must be {Key}, is {TypedConfig.TypeName(any)}");
            else if (TypedConfig.TryParse(WireHttp.HttpProtocolOptions.Parser, any.Value, at, out var given))
                typed = given;
        }
        var options = typed is not null ? Typed(wire, typed, scope) : OfCluster(wire, scope);
        return options == HttpUpstreamOptions.Default ? HttpUpstreamOptions.Default : options;
    }

    // ---- typed_extension_protocol_options -----------------------------------------------------------------------

    private static HttpUpstreamOptions Typed(Wire.Cluster cluster, WireHttp.HttpProtocolOptions wire, ConfigScope scope)
    {
        ReportReplaced(cluster, scope);
        var at = scope.At($"typed_extension_protocol_options[{Key}]");
        ReportUnsupported(wire, at);
        var options = ServerNames(wire.UpstreamHttpProtocolOptions, cluster, at.At("upstream_http_protocol_options"));
        options = OfEveryVersion(wire.CommonHttpProtocolOptions, cluster.MaxRequestsPerConnection, options, at.At("common_http_protocol_options"));
        return Versions(wire, options, at);
    }

    // Fields of the cluster that said it before.
    private static void ReportReplaced(Wire.Cluster wire, ConfigScope scope)
    {
        const string reason = "typed_extension_protocol_options has the HTTP options";
        if (wire.HttpProtocolOptions is not null)
            scope.Ignore("http_protocol_options", reason);
        if (wire.Http2ProtocolOptions is not null)
            scope.Ignore("http2_protocol_options", reason);
        if (wire.CommonHttpProtocolOptions is not null)
            scope.Ignore("common_http_protocol_options", reason);
        if (wire.UpstreamHttpProtocolOptions is not null)
            scope.Ignore("upstream_http_protocol_options", reason);
        if (wire.ProtocolSelection != Wire.Cluster.Types.ClusterProtocolSelection.UseConfiguredProtocol)
            scope.Ignore("protocol_selection", reason);
    }

    private static void ReportUnsupported(WireHttp.HttpProtocolOptions wire, ConfigScope scope)
    {
        for (int i = 0; i < wire.HttpFilters.Count; i++)
        {
            if (wire.HttpFilters[i].Name is not ("envoy.filters.http.upstream_codec" or "upstream_codec"))
                scope.Reject($"http_filters[{i}]", $"upstream HTTP filter '{wire.HttpFilters[i].Name}' is not supported");
        }
        if (wire.HeaderValidationConfig is not null)
            scope.Ignore("header_validation_config", "headers are always validated");
        if (wire.OutlierDetection is not null)
            scope.Ignore("outlier_detection", "outlier detection is not supported yet");
        if (wire.RequestMirrorPolicies.Count > 0)
            scope.Ignore("request_mirror_policies", "mirroring is configured by routes only");
        if (wire.HashPolicy.Count > 0)
            scope.Ignore("hash_policy", "hash policies are configured by routes only");
        if (wire.RetryPolicy is not null)
            scope.Ignore("retry_policy", "retries are configured by routes only");
    }

    private static HttpUpstreamOptions Versions(WireHttp.HttpProtocolOptions wire, HttpUpstreamOptions options, ConfigScope at)
    {
        switch (wire.UpstreamProtocolOptionsCase)
        {
            case WireHttp.HttpProtocolOptions.UpstreamProtocolOptionsOneofCase.ExplicitHttpConfig:
                var chosen = wire.ExplicitHttpConfig;
                var within = at.At("explicit_http_config");
                if (chosen.ProtocolConfigCase == WireHttp.HttpProtocolOptions.Types.ExplicitHttpConfig.ProtocolConfigOneofCase.None)
                    within.Reject("protocol_config", "is required: http_protocol_options or http2_protocol_options");
                return chosen.Http2ProtocolOptions is not null
                    ? WithCodecs(options with { Protocol = UpstreamProtocol.Http2 }, null, chosen.Http2ProtocolOptions, within)
                    : WithCodecs(options with { Protocol = UpstreamProtocol.Http1 }, chosen.HttpProtocolOptions, null, within);
            case WireHttp.HttpProtocolOptions.UpstreamProtocolOptionsOneofCase.UseDownstreamProtocolConfig:
                var downstream = wire.UseDownstreamProtocolConfig;
                // Without http2_protocol_options there is no HTTP/2 to follow, as in Envoy.
                var protocol = downstream.Http2ProtocolOptions is null ? UpstreamProtocol.Http1 : UpstreamProtocol.Downstream;
                return WithCodecs(options with { Protocol = protocol }, downstream.HttpProtocolOptions, downstream.Http2ProtocolOptions, at.At("use_downstream_protocol_config"));
            case WireHttp.HttpProtocolOptions.UpstreamProtocolOptionsOneofCase.AutoConfig:
                var auto = wire.AutoConfig;
                if (auto.AlternateProtocolsCacheOptions is not null)
                    at.Ignore("auto_config.alternate_protocols_cache_options", "HTTP/3 is not supported");
                return WithCodecs(options with { Protocol = UpstreamProtocol.Negotiated }, auto.HttpProtocolOptions, auto.Http2ProtocolOptions, at.At("auto_config"));
            default:
                at.Reject("upstream_protocol_options", "is required: explicit_http_config, use_downstream_protocol_config or auto_config");
                return options;
        }
    }

    // ---- fields of the cluster ------------------------------------------------------------------------------------

    private static HttpUpstreamOptions OfCluster(Wire.Cluster wire, ConfigScope scope)
    {
        var options = ServerNames(wire.UpstreamHttpProtocolOptions, wire, scope.At("upstream_http_protocol_options"));
        options = OfEveryVersion(wire.CommonHttpProtocolOptions, wire.MaxRequestsPerConnection, options, scope.At("common_http_protocol_options"));
        bool follows = wire.ProtocolSelection == Wire.Cluster.Types.ClusterProtocolSelection.UseDownstreamProtocol;
        if (!follows && wire.HttpProtocolOptions is not null && wire.Http2ProtocolOptions is not null)
            scope.Reject("http2_protocol_options", "cluster: Both HTTP1 and HTTP2 options may only be configured with non-default 'protocol_selection' values");
        var protocol = follows ? UpstreamProtocol.Downstream : wire.Http2ProtocolOptions is not null ? UpstreamProtocol.Http2 : UpstreamProtocol.Http1;
        return WithCodecs(options with { Protocol = protocol }, wire.HttpProtocolOptions, wire.Http2ProtocolOptions, scope);
    }

    // ---- parts of both --------------------------------------------------------------------------------------------

    private static HttpUpstreamOptions ServerNames(WireCore.UpstreamHttpProtocolOptions? wire, Wire.Cluster cluster, ConfigScope scope)
    {
        if (wire is null)
            return HttpUpstreamOptions.Default;
        if (cluster.TransportSocket is null && cluster.TransportSocketMatches.Count == 0)
        {
            if (wire.AutoSni)
                scope.Ignore("auto_sni", "has no effect without TLS");
            if (wire.AutoSanValidation)
                scope.Ignore("auto_san_validation", "has no effect without TLS");
        }
        string header = wire.OverrideAutoSniHeader.ToLowerInvariant();
        if (header.Length > 0 && !(header == ":authority" || Memory.Ascii.IsToken(Encoding.UTF8.GetBytes(header))))
            scope.Reject("override_auto_sni_header", "must be the name of a header");
        else if (header.Length > 0 && !wire.AutoSni && !wire.AutoSanValidation)
            scope.Ignore("override_auto_sni_header", "has no effect without auto_sni or auto_san_validation");
        return HttpUpstreamOptions.Default with
        {
            AutoServerName = wire.AutoSni,
            AutoSubjectAltName = wire.AutoSanValidation,
            ServerNameHeader = header.Length == 0 ? HttpUpstreamOptions.Default.ServerNameHeader : Encoding.UTF8.GetBytes(header),
        };
    }

    private static HttpUpstreamOptions OfEveryVersion(WireCore.HttpProtocolOptions? wire, uint? legacyRequestsMax, HttpUpstreamOptions options, ConfigScope scope)
    {
        options = options with { MaxRequestsPerConnection = legacyRequestsMax ?? 0 };
        if (wire is null)
            return options;
        var http1 = options.Http1;
        var http2 = options.Http2;
        if (wire.MaxHeadersCount is not null)
        {
            int headers = HeaderCountReader.Read(wire.MaxHeadersCount, http1.MaxHeaders, scope);
            (http1, http2) = (http1 with { MaxHeaders = headers }, http2 with { MaxHeaders = headers });
        }
        if (wire.MaxResponseHeadersKb is { } kilobytes)
        {
            if (kilobytes is 0 or > 8192)
                scope.Reject("max_response_headers_kb", "value must be greater than 0 and less than or equal to 8192");
            int bytes = (int)Math.Min(kilobytes, 8192) * 1024;
            (http1, http2) = (http1 with { MaxHeadBytes = bytes }, http2 with { MaxHeaderBytes = bytes });
        }
        if (wire.HeadersWithUnderscoresAction != WireCore.HttpProtocolOptions.Types.HeadersWithUnderscoresAction.Allow)
            scope.Ignore("headers_with_underscores_action", "is for requests that come in, not for a cluster");
        return options with
        {
            Http1 = http1,
            Http2 = http2,
            IdleTimeoutMs = scope.Milliseconds("idle_timeout", wire.IdleTimeout, options.IdleTimeoutMs),
            MaxConnectionDurationMs = scope.Milliseconds("max_connection_duration", wire.MaxConnectionDuration, 0),
            MaxConnectionDurationJitterPercent = scope.Percent("max_connection_duration_jitter", wire.MaxConnectionDurationJitter, 0),
            MaxRequestsPerConnection = wire.MaxRequestsPerConnection ?? options.MaxRequestsPerConnection,
            MaxStreamDurationMs = scope.Milliseconds("max_stream_duration", wire.MaxStreamDuration, 0),
        };
    }

    private static HttpUpstreamOptions WithCodecs(
        HttpUpstreamOptions options, WireCore.Http1ProtocolOptions? http1, WireCore.Http2ProtocolOptions? http2, ConfigScope scope) => options with
    {
        Http1 = Http1(http1, options.Http1, scope.At("http_protocol_options")),
        Http2 = Http2OptionsReader.Read(http2, options.Http2, scope.At("http2_protocol_options")),
    };

    private static Http1Options Http1(WireCore.Http1ProtocolOptions? wire, Http1Options options, ConfigScope scope)
    {
        if (wire is null)
            return options;
        const string reason = "is for requests that come in, not for a cluster";
        if (wire.AllowAbsoluteUrl is not null)
            scope.Ignore("allow_absolute_url", reason);
        if (wire.AcceptHttp10)
            scope.Ignore("accept_http_10", reason);
        if (wire.AllowCustomMethods)
            scope.Ignore("allow_custom_methods", reason);
        if (wire.DefaultHostForHttp10.Length > 0)
            scope.Ignore("default_host_for_http_10", reason);
        return options with
        {
            EnableTrailers = wire.EnableTrailers,
            AllowChunkedLength = wire.AllowChunkedLength,
            SendFullyQualifiedUrl = wire.SendFullyQualifiedUrl,
        };
    }
}
