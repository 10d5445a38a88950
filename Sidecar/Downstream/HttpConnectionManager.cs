using System;
using System.Collections.Generic;
using Sidecar.Filters;
using Sidecar.Http;
using Sidecar.Http.H1;
using Sidecar.Http.H2;
using Sidecar.Memory;
using Sidecar.Net;
using Sidecar.Routing;
using Sidecar.Telemetry;
using Sidecar.Telemetry.Stats;
using Encoding = System.Text.Encoding;
using WireCore = Envoy.Config.Core.V3;

namespace Sidecar.Downstream;

using Wire = global::Envoy.Extensions.Filters.Network.HttpConnectionManager.V3;

/// <summary>
/// The network filter that turns the bytes of a chain's connections into streams: pools its <see cref="HttpConnection"/>s and
/// <see cref="HttpStream"/>s. Envoy: envoy.filters.network.http_connection_manager.
/// </summary>
/// <remarks>Worker-owned: one per worker and filter chain.</remarks>
internal sealed class HttpConnectionManager : TerminalFilter
{
    private static readonly byte[][] s_failureTexts = BuildFailureTexts();

    private readonly List<HttpConnection> _connections = [];
    private readonly Pool<HttpConnection> _connectionPool;
    private readonly Pool<HttpSession> _http1Sessions;
    private readonly Pool<HttpSession> _http2Sessions;
    private readonly Pool<HttpStream> _streamPool;

    internal HttpConnectionManager(HttpConnectionManagerConfig config, WorkerScope worker, int bufferLimit)
    {
        Config = config;
        Worker = worker;
        BufferLimit = bufferLimit;
        Stats = config.Stats.Cells(worker.Index);
        _connectionPool = new Pool<HttpConnection>(() => new HttpConnection(this));
        _http1Sessions = new Pool<HttpSession>(() => new HttpSession(this, HttpVersion.Http11));
        _http2Sessions = new Pool<HttpSession>(() => new HttpSession(this, HttpVersion.Http2));
        _streamPool = new Pool<HttpStream>(() => new HttpStream(this));
    }

    internal HttpConnectionManagerConfig Config { get; }
    internal WorkerScope Worker { get; }
    internal StatsCells Stats { get; }

    /// <summary>per_connection_buffer_limit_bytes of the listener.</summary>
    internal int BufferLimit { get; }

    /// <summary>The chain is going; responses from now on end their connection.</summary>
    internal bool IsDraining { get; private set; }

    internal override int ActiveConnections => _connections.Count;

    internal override void OnConnection(Connection connection, ConnectionContext context)
    {
        var http = _connectionPool.Rent();
        http.Position = _connections.Count;
        _connections.Add(http);
        http.Attach(connection, context);
    }

    internal override void StartDrain()
    {
        if (IsDraining)
            return;
        IsDraining = true;
        for (int i = _connections.Count - 1; i >= 0; i--)
            _connections[i].StartDrain();
    }

    internal override void CloseAll(Failure reason)
    {
        for (int i = _connections.Count - 1; i >= 0; i--)
            _connections[i].Close(reason);
    }

    internal override void AddHolders(List<MemoryHolder> holders, long bytesMin)
    {
        foreach (var connection in _connections)
        {
            if (connection.HeldBytes is var bytes && bytes >= bytesMin)
                holders.Add(new MemoryHolder(bytes, connection));
        }
    }

    internal void OnConnectionClosed(HttpConnection connection)
    {
        int last = _connections.Count - 1;
        var moved = _connections[last];
        _connections[connection.Position] = moved;
        moved.Position = connection.Position;
        _connections.RemoveAt(last);
    }

    internal void Return(HttpConnection connection) => _connectionPool.Return(connection);

    internal HttpSession RentSession(HttpVersion version) => (version == HttpVersion.Http2 ? _http2Sessions : _http1Sessions).Rent();

    internal void Return(HttpSession session) => (session.Codec.Version == HttpVersion.Http2 ? _http2Sessions : _http1Sessions).Return(session);

    internal HttpStream RentStream() => _streamPool.Rent();

    internal void Return(HttpStream stream) => _streamPool.Return(stream);

    /// <summary>The body text of a local reply, as bytes.</summary>
    internal ReadOnlySpan<byte> FailureText(Failure failure) => s_failureTexts[(int)failure];

    /// <summary>Whether an upgrade type may be served on a route: the route's own list decides, else the manager's.</summary>
    internal bool AllowsUpgrade(ReadOnlySpan<byte> type, Route? route)
    {
        if (type.Length > 64)
            return false;
        Span<char> name = stackalloc char[type.Length];
        for (int i = 0; i < type.Length; i++)
            name[i] = (char)Ascii.ToLower(type[i]);
        // Upgrades are rare and configured ones few; a string per upgraded connection is no matter.
        string key = name.ToString();
        if (route?.Action?.Upgrades is { } own && own.TryGetValue(key, out bool enabled))
            return enabled;
        return Config.Upgrades.TryGetValue(key, out enabled) && enabled;
    }

    private static byte[][] BuildFailureTexts()
    {
        var texts = new byte[(int)Failure.Count][];
        for (int i = 0; i < texts.Length; i++)
            texts[i] = Encoding.ASCII.GetBytes(((Failure)i).Row().Body);
        return texts;
    }

    // ---- configuration: control loop, once per update; immutable afterwards ----------------------------------------

    /// <summary>Translates the wire form; null when something is refused, with all reasons in <paramref name="scope"/>.</summary>
    internal static TerminalFilterFactory? Create(Wire.HttpConnectionManager wire, ConfigScope scope, int bufferLimit)
    {
        if (wire.StatPrefix.Length == 0)
            scope.Reject("stat_prefix", "must not be empty");
        if (wire.CodecType == Wire.HttpConnectionManager.Types.CodecType.Http3)
            scope.Reject("codec_type", "HTTP3 is not served; use AUTO, HTTP1 or HTTP2");
        RejectUnsafe(wire, scope);
        ReportUnused(wire, scope);

        string statPrefix = wire.StatPrefix.TrimEnd(';');
        RouteTable? table = null;
        int routeSlot = -1;
        string routeName = "";
        switch (wire.RouteSpecifierCase)
        {
            case Wire.HttpConnectionManager.RouteSpecifierOneofCase.RouteConfig:
                table = scope.Services.RouteTable(wire.RouteConfig, scope.At("route_config"));
                routeName = wire.RouteConfig.Name;
                break;
            case Wire.HttpConnectionManager.RouteSpecifierOneofCase.Rds:
                routeName = wire.Rds.RouteConfigName;
                if (routeName.Length == 0)
                {
                    scope.Reject("rds.route_config_name", "must not be empty");
                }
                else
                {
                    routeSlot = scope.Services.RouteSlot(routeName);
                    scope.Services.RouteUse(new RouteUse(routeName, statPrefix, wire.Rds.ConfigSource?.InitialFetchTimeout is { } timeout
                        ? scope.Milliseconds("rds.config_source.initial_fetch_timeout", timeout, 0) : null));
                }
                if (wire.Rds.ConfigSource is { } source
                    && source.ConfigSourceSpecifierCase is not (WireCore.ConfigSource.ConfigSourceSpecifierOneofCase.Ads or WireCore.ConfigSource.ConfigSourceSpecifierOneofCase.Self))
                    scope.Ignore("rds.config_source", "routes come from where the listener came from");
                if (wire.Rds.ConfigSource?.ResourceApiVersion == WireCore.ApiVersion.V2)
                    scope.Ignore("rds.config_source.resource_api_version", "control planes are asked for v3 only");
                break;
            case Wire.HttpConnectionManager.RouteSpecifierOneofCase.ScopedRoutes:
                scope.Reject("scoped_routes", "scoped routes are not supported; use rds or route_config");
                break;
            default:
                scope.Reject("route_specifier", "is required: set rds or route_config");
                break;
        }

        var filters = CreateFilters(wire, scope);
        var common = wire.CommonHttpProtocolOptions;
        var commonScope = scope.At("common_http_protocol_options");
        int maxHeaders = HeaderCountReader.Read(common?.MaxHeadersCount, Http1Options.ServerDefaults.MaxHeaders, commonScope);
        var config = new HttpConnectionManagerConfig
        {
            StatPrefix = statPrefix,
            Stats = scope.Services.Stats.Scope(HttpStats.Schema, $"http.{statPrefix}.", new StatTag("envoy.http_conn_manager_prefix", statPrefix)),
            CodecType = wire.CodecType switch
            {
                Wire.HttpConnectionManager.Types.CodecType.Http1 => CodecType.Http1,
                Wire.HttpConnectionManager.Types.CodecType.Http2 => CodecType.Http2,
                _ => CodecType.Auto,
            },
            RouteTable = table,
            RouteSlot = routeSlot,
            RouteConfigName = routeName,
            Filters = filters,
            Http1 = CreateHttp1(wire, maxHeaders),
            Http2 = CreateHttp2(wire, maxHeaders, scope),
            UseRemoteAddress = wire.UseRemoteAddress ?? false,
            XffTrustedHops = (int)Math.Min(wire.XffNumTrustedHops, 1024),
            SkipXffAppend = wire.SkipXffAppend,
            AppendXForwardedPort = wire.AppendXForwardedPort,
            InternalCidrs = CreateCidrs(wire, scope),
            UnixSocketsAreInternal = wire.InternalAddressConfig?.UnixSockets ?? false,
            GenerateRequestId = wire.GenerateRequestId ?? true,
            PreserveExternalRequestId = wire.PreserveExternalRequestId,
            AlwaysSetRequestIdInResponse = wire.AlwaysSetRequestIdInResponse,
            Path = new PathOptions(wire.NormalizePath ?? false, wire.MergeSlashes, wire.PathWithEscapedSlashesAction switch
            {
                Wire.HttpConnectionManager.Types.PathWithEscapedSlashesAction.RejectRequest => EscapedSlashesAction.RejectRequest,
                Wire.HttpConnectionManager.Types.PathWithEscapedSlashesAction.UnescapeAndRedirect => EscapedSlashesAction.UnescapeAndRedirect,
                Wire.HttpConnectionManager.Types.PathWithEscapedSlashesAction.UnescapeAndForward => EscapedSlashesAction.UnescapeAndForward,
                _ => EscapedSlashesAction.KeepUnchanged,
            }),
            StripTrailingHostDot = wire.StripTrailingHostDot,
            StripAnyHostPort = wire.StripAnyHostPort,
            StripMatchingHostPort = wire.StripMatchingHostPort,
            ServerHeader = (ServerHeader)wire.ServerHeaderTransformation,
            ServerName = Encoding.UTF8.GetBytes(wire.ServerName.Length > 0 ? wire.ServerName : "envoy"),
            Via = Encoding.UTF8.GetBytes(wire.Via),
            Proxy100Continue = wire.Proxy100Continue,
            ForwardClientCert = (ForwardClientCert)wire.ForwardClientCertDetails,
            ClientCertDetails = Details(wire.SetCurrentClientCertDetails),
            SchemeOverwrite = Encoding.ASCII.GetBytes(wire.SchemeHeaderTransformation?.SchemeToOverwrite ?? ""),
            Upgrades = CreateUpgrades(wire, scope),
            AppendLocalOverload = wire.AppendLocalOverload,
            StreamIdleTimeoutMs = scope.Milliseconds("stream_idle_timeout", wire.StreamIdleTimeout, 300_000),
            RequestTimeoutMs = scope.Milliseconds("request_timeout", wire.RequestTimeout, 0),
            RequestHeadersTimeoutMs = scope.Milliseconds("request_headers_timeout", wire.RequestHeadersTimeout, 0),
            DrainTimeoutMs = scope.Milliseconds("drain_timeout", wire.DrainTimeout, 5_000),
            DelayedCloseTimeoutMs = (int)Math.Min(scope.Milliseconds("delayed_close_timeout", wire.DelayedCloseTimeout, 1_000), int.MaxValue),
            IdleTimeoutMs = commonScope.Milliseconds("idle_timeout", common?.IdleTimeout, 3_600_000),
            MaxConnectionDurationMs = commonScope.Milliseconds("max_connection_duration", common?.MaxConnectionDuration, 0),
            MaxStreamDurationMs = commonScope.Milliseconds("max_stream_duration", common?.MaxStreamDuration, 0),
            MaxRequestsPerConnection = common?.MaxRequestsPerConnection ?? 0,
        };
        return scope.IsRejected ? null : worker => new HttpConnectionManager(config, worker, bufferLimit);
    }

    /// <summary>What must not be passed over in silence: each of these changes who is trusted or what is let through.</summary>
    private static void RejectUnsafe(Wire.HttpConnectionManager wire, ConfigScope scope)
    {
        if (wire.OriginalIpDetectionExtensions.Count > 0)
            scope.Reject("original_ip_detection_extensions", "is not supported; use xff_num_trusted_hops");
        if (wire.EarlyHeaderMutationExtensions.Count > 0)
            scope.Reject("early_header_mutation_extensions", "is not supported; use header operations of the route configuration");
        if (wire.PathNormalizationOptions is not null)
            scope.Reject("path_normalization_options", "is not supported; use normalize_path and merge_slashes");
        if (wire.SetCurrentClientCertDetails is { } details)
        {
            if (details.Issuer)
                scope.Ignore("set_current_client_cert_details.issuer", "the issuer is not told");
            if (details.Format != Wire.HttpConnectionManager.Types.ForwardClientCertFormat.Text)
                scope.Reject("set_current_client_cert_details.format", "only TEXT is supported");
        }
        if (!Enum.IsDefined((ForwardClientCert)wire.ForwardClientCertDetails))
            scope.Reject("forward_client_cert_details", "is not a known value");
        if (wire.ForwardClientCertMatcher is not null)
            scope.Reject("forward_client_cert_matcher", "is not supported; use forward_client_cert_details");
        if (wire.UseRemoteAddress == true && wire.XffNumTrustedHops > 1024)
            scope.Reject("xff_num_trusted_hops", "must be at most 1024");
    }

    /// <summary>Fields of messages shared with clusters that mean nothing on this side, or are used on that side only.</summary>
    private static void ReportUnused(Wire.HttpConnectionManager wire, ConfigScope scope)
    {
        if (wire.CommonHttpProtocolOptions?.MaxConnectionDurationJitter is not null)
            scope.Ignore("common_http_protocol_options.max_connection_duration_jitter", "max_connection_duration is the same for all downstream connections");
        if (wire.CommonHttpProtocolOptions?.MaxResponseHeadersKb is not null)
            scope.Ignore("common_http_protocol_options.max_response_headers_kb", "is for responses of upstreams: set it in the cluster");
        if (wire.HttpProtocolOptions?.SendFullyQualifiedUrl == true)
            scope.Ignore("http_protocol_options.send_fully_qualified_url", "is for requests that go out: set it in the cluster");
    }

    private static ClientCertDetails Details(Wire.HttpConnectionManager.Types.SetCurrentClientCertDetails? wire) =>
        wire is null ? ClientCertDetails.None
        : (wire.Cert ? ClientCertDetails.Cert : 0) | (wire.Chain ? ClientCertDetails.Chain : 0) | (wire.Subject == true ? ClientCertDetails.Subject : 0)
            | (wire.Uri ? ClientCertDetails.Uri : 0) | (wire.Dns ? ClientCertDetails.Dns : 0);

    private static HttpFilterFactory[] CreateFilters(Wire.HttpConnectionManager wire, ConfigScope scope)
    {
        var factories = new List<HttpFilterFactory>(wire.HttpFilters.Count);
        if (wire.HttpFilters.Count == 0)
            scope.Reject("http_filters", "must not be empty: the last filter must be a terminal one such as envoy.filters.http.router");
        bool terminal = false;
        for (int i = 0; i < wire.HttpFilters.Count; i++)
        {
            bool last = i == wire.HttpFilters.Count - 1;
            var filterScope = scope.At($"http_filters[{i}]").WithStatPrefix($"http.{wire.StatPrefix.TrimEnd(';')}.");
            var made = HttpFilters.Create(wire.HttpFilters[i], filterScope);
            if (made.Factory is not null)
                factories.Add(made.Factory);
            terminal = made.IsTerminal;
            if (made.IsTerminal && !last)
                filterScope.Reject("", $"terminal filter '{wire.HttpFilters[i].Name}' must be the last filter in an http filter chain");
        }
        if (!terminal && wire.HttpFilters.Count > 0 && !scope.IsRejected)
            scope.Reject($"http_filters[{wire.HttpFilters.Count - 1}]", $"non-terminal filter '{wire.HttpFilters[^1].Name}' is the last filter in an http filter chain; add envoy.filters.http.router");
        return factories.ToArray();
    }

    private static Http1Options CreateHttp1(Wire.HttpConnectionManager wire, int maxHeaders)
    {
        var http1 = wire.HttpProtocolOptions;
        var common = wire.CommonHttpProtocolOptions;
        return Http1Options.ServerDefaults with
        {
            MaxHeadBytes = (int)(wire.MaxRequestHeadersKb ?? 60) * 1024,
            MaxHeaders = maxHeaders,
            AcceptHttp10 = http1?.AcceptHttp10 ?? false,
            DefaultHostForHttp10 = http1 is { DefaultHostForHttp10.Length: > 0 } ? new ByteString(http1.DefaultHostForHttp10) : null,
            AllowAbsoluteUrl = http1?.AllowAbsoluteUrl ?? true,
            EnableTrailers = http1?.EnableTrailers ?? false,
            AllowChunkedLength = http1?.AllowChunkedLength ?? false,
            AllowCustomMethods = http1?.AllowCustomMethods ?? false,
            Underscores = common?.HeadersWithUnderscoresAction switch
            {
                WireCore.HttpProtocolOptions.Types.HeadersWithUnderscoresAction.RejectRequest => UnderscoreAction.Reject,
                WireCore.HttpProtocolOptions.Types.HeadersWithUnderscoresAction.DropHeader => UnderscoreAction.DropHeader,
                _ => UnderscoreAction.Allow,
            },
        };
    }

    private static Http2Options CreateHttp2(Wire.HttpConnectionManager wire, int maxHeaders, ConfigScope scope)
    {
        var limits = Http2Options.ServerDefaults with
        {
            MaxHeaderBytes = (int)(wire.MaxRequestHeadersKb ?? 60) * 1024,
            MaxHeaders = maxHeaders,
        };
        if (wire.MaxRequestHeadersKb is 0 or > 8192)
            scope.Reject("max_request_headers_kb", "must be greater than 0 and at most 8192");
        return Http2OptionsReader.Read(wire.Http2ProtocolOptions, limits, scope.At("http2_protocol_options"));
    }

    private static Cidr[] CreateCidrs(Wire.HttpConnectionManager wire, ConfigScope scope)
    {
        var ranges = wire.InternalAddressConfig?.CidrRanges;
        if (ranges is null)
            return [];
        var cidrs = new List<Cidr>(ranges.Count);
        for (int i = 0; i < ranges.Count; i++)
        {
            if (Address.TryParseIp(ranges[i].AddressPrefix.AsSpan(), out var address) && Cidr.TryCreate(address, (int)(ranges[i].PrefixLen ?? 0), out var cidr))
                cidrs.Add(cidr);
            else
                scope.Reject($"internal_address_config.cidr_ranges[{i}]", $"'{ranges[i].AddressPrefix}/{ranges[i].PrefixLen}' is not an address range");
        }
        return cidrs.ToArray();
    }

    private static Dictionary<string, bool> CreateUpgrades(Wire.HttpConnectionManager wire, ConfigScope scope)
    {
        var upgrades = new Dictionary<string, bool>();
        for (int i = 0; i < wire.UpgradeConfigs.Count; i++)
        {
            var upgrade = wire.UpgradeConfigs[i];
            if (upgrade.Filters.Count > 0)
                scope.Reject($"upgrade_configs[{i}].filters", "a filter chain of its own for an upgrade is not supported; the manager's http_filters serve it");
            if (!upgrades.TryAdd(upgrade.UpgradeType.ToLowerInvariant(), upgrade.Enabled ?? true))
                scope.Reject($"upgrade_configs[{i}].upgrade_type", $"Error: multiple upgrade configs with the same name: '{upgrade.UpgradeType}'");
        }
        return upgrades;
    }
}
