using System;
using System.Collections.Generic;
using System.Threading;
using Google.Protobuf;
using Google.Protobuf.WellKnownTypes;
using Sidecar.Http;
using Sidecar.Telemetry;
using WireCore = Envoy.Config.Core.V3;

namespace Sidecar.Filters;

/// <summary>
/// Where an HTTP filter whose configuration is discovered (ECDS) has it. A new one is put here and nowhere else: the listener, its chains and their
/// connections stay, and each request that begins afterwards is served by it.
/// </summary>
/// <param name="fallback">default_config, or null: while there is nothing better, requests are answered 500.</param>
/// <param name="make">Makes the filter of a configuration; null, and why, when it cannot be.</param>
/// <remarks>Cross-thread: written by the control loop, one reference; read by workers.</remarks>
internal sealed class DiscoveredFilterSlot(HttpFilterFactory? fallback, DiscoveredFilterSlot.Recipe make)
{
    private readonly HttpFilterFactory? _fallback = fallback;
    private HttpFilterFactory? _current = fallback;

    internal delegate HttpFilterFactory? Recipe(Any config, out string problem);

    internal HttpFilterFactory? Current => Volatile.Read(ref _current);

    internal HttpFilterFactory? Make(Any config, out string problem) => make(config, out problem);

    /// <summary>Puts a filter in use; null: back to the default. Control loop.</summary>
    internal void Replace(HttpFilterFactory? factory) => Volatile.Write(ref _current, factory ?? _fallback);
}

/// <summary>An HTTP filter whose configuration is discovered: each request goes through the filter that is configured when it begins.</summary>
/// <remarks>One per stream, worker-owned; what it stands for is made again only after a change.</remarks>
internal sealed class DiscoveredFilter(DiscoveredFilterSlot slot, WorkerScope worker) : HttpFilter
{
    private HttpFilterFactory? _factory;
    private HttpFilter? _made;

    // What serves the present request.
    private HttpFilter? _filter;

    internal override FilterStatus OnRequestHead(RequestHead head, bool endStream)
    {
        var factory = slot.Current;
        if (factory is null)
            return Stream.Reply(Failure.NoFilterConfig);
        if (factory != _factory)
        {
            _factory = factory;
            _made = factory(worker);
            _made.Stream = Stream;
        }
        _filter = _made!;
        return _filter.OnRequestHead(head, endStream);
    }

    internal override FilterStatus OnRequestBody(ReadOnlySpan<byte> data, bool endStream) => _filter?.OnRequestBody(data, endStream) ?? FilterStatus.Continue;

    internal override FilterStatus OnRequestTrailers(HeaderMap trailers) => _filter?.OnRequestTrailers(trailers) ?? FilterStatus.Continue;

    internal override FilterStatus OnResponseHead(ResponseHead head, bool endStream) => _filter?.OnResponseHead(head, endStream) ?? FilterStatus.Continue;

    internal override FilterStatus OnResponseBody(ReadOnlySpan<byte> data, bool endStream) => _filter?.OnResponseBody(data, endStream) ?? FilterStatus.Continue;

    internal override FilterStatus OnResponseTrailers(HeaderMap trailers) => _filter?.OnResponseTrailers(trailers) ?? FilterStatus.Continue;

    internal override void OnStreamEnd() => _filter?.OnStreamEnd();

    internal override void Reset()
    {
        _filter?.Reset();
        _filter = null;
    }

    // ---- configuration: control loop, once per update; immutable afterwards ----------------------------------------

    /// <summary>What the registry knows of a type of filter.</summary>
    internal sealed record Kind(bool IsTerminal, Func<ByteString, ConfigScope, HttpFilterFactory?> Create);

    /// <summary>The factory of a filter whose configuration is discovered; null, with the reasons in the scope, when it is refused.</summary>
    /// <param name="name">The filter's name, by which its configuration is asked for.</param>
    /// <param name="wire">config_discovery.</param>
    /// <param name="find">The registry.</param>
    /// <param name="scope">Where problems go.</param>
    internal static HttpFilterFactory? Create(string name, WireCore.ExtensionConfigSource wire, Func<string, Kind?> find, ConfigScope scope)
    {
        if (wire.ConfigSource is null)
            scope.Reject("config_source", "is required");
        if (wire.TypeUrls.Count == 0)
            scope.Reject("type_urls", "value must contain at least 1 item(s)");
        if (wire.ApplyDefaultConfigWithoutWarming && wire.DefaultConfig is null)
            scope.Reject("apply_default_config_without_warming", "is set, and there is no default_config to apply");
        var kinds = new Dictionary<string, Kind>(wire.TypeUrls.Count);
        for (int i = 0; i < wire.TypeUrls.Count; i++)
        {
            var kind = find(TypeName(wire.TypeUrls[i]));
            if (kind is null)
                scope.Reject($"type_urls[{i}]", $"Error: no factory found for a required type URL {wire.TypeUrls[i]}.");
            else if (kind.IsTerminal)
                scope.Reject($"type_urls[{i}]", "a terminal filter is not taken by discovery; set typed_config");
            else
                kinds[TypeName(wire.TypeUrls[i])] = kind;
        }
        string expected = string.Join(", ", wire.TypeUrls);
        HttpFilterFactory? fallback = null;
        if (wire.DefaultConfig is { } config && !scope.IsRejected)
        {
            fallback = Make(config, out string problem);
            if (fallback is null)
                scope.Reject("default_config", problem);
        }
        if (scope.IsRejected)
            return null;
        var slot = new DiscoveredFilterSlot(fallback, Make);
        scope.Services.Discover(name, wire.ConfigSource!, !wire.ApplyDefaultConfigWithoutWarming, slot, scope);
        return worker => new DiscoveredFilter(slot, worker);

        HttpFilterFactory? Make(Any any, out string problem)
        {
            if (!kinds.TryGetValue(TypeName(any.TypeUrl), out var kind))
            {
                problem = $"Error: filter config has type URL {any.TypeUrl} but expect {expected}.";
                return null;
            }
            var within = new ConfigScope(scope.Services, scope.ResourceName).WithStatPrefix(scope.StatPrefix).OfFilter(name, "");
            var factory = kind.Create(any.Value, within);
            problem = "";
            if (!within.IsRejected && factory is not null)
                return factory;
            problem = within.IsRejected ? $"{within.Rejections[0].Path}: {within.Rejections[0].Reason}" : "is refused";
            return null;
        }
    }

    private static string TypeName(string url) => url[(url.LastIndexOf('/') + 1)..];
}
