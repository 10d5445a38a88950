using System;
using System.Collections.Generic;
using System.IO;
using System.Text;
using System.Text.Json;
using Sidecar.Loop;
using Sidecar.Memory;
using Sidecar.Telemetry;
using Sidecar.Telemetry.Stats;
using Sidecar.Upstream;
using Sidecar.Wire;

namespace Sidecar.Xds;

/// <summary>How one type is polled by REST. Immutable.</summary>
/// <param name="Cluster">Where the control plane is.</param>
/// <param name="Path">"/v3/discovery:clusters" and its like.</param>
/// <param name="RefreshDelayMs">Between an answer and the next request, and up to as much again at random.</param>
/// <param name="RequestTimeoutMs">The patience for one answer.</param>
internal sealed record RestSourceConfig(string Cluster, string Path, long RefreshDelayMs, long RequestTimeoutMs)
{
    /// <summary>request_timeout where nothing is said.</summary>
    internal const long DefaultRequestTimeoutMs = 1000;
}

/// <summary>
/// A control plane that is polled: each request is a DiscoveryRequest as JSON with the version in use, each answer a DiscoveryResponse as JSON, the state
/// of the world. Whatever fails is counted, and what is in use stays until a later answer.
/// <code>
///   Start ─→ POST ─→ 200: taken or refused, 304: nothing new, anything else: failed ─→ refresh_delay, with jitter ─┐
///             ↑                                                                                                   │
///             └───────────────────────────────────────────────────────────────────────────────────────────────────┘
/// </code>
/// </summary>
/// <remarks>Control loop. One type; one request at a time.</remarks>
internal sealed class RestSource : SubscribingSource, IHttpCallEvents
{
    /// <summary>
    /// The longest answer taken. It is gathered whole before it is read, so less of it than of a message by gRPC, which is taken apart as it comes: one without
    /// end costs no more than 100 MB before it is refused. A mesh of 10,000 clusters and their endpoints is some 20 MB of JSON.
    /// </summary>
    internal const int ResponseBytesMax = 64 * 1024 * 1024;

    private static readonly MessageSchema s_requestType = SchemaTable.Find("envoy.service.discovery.v3.DiscoveryRequest"u8)!;

    private readonly RestSourceConfig _config;
    private readonly Clusters _clusters;
    private readonly StateOfTheWorld _protocol;
    private readonly ResponseReader _reader = new();
    private readonly WireWriter _request = new(1024);
    private readonly FastRandom _random;
    private readonly LoopTimer _refresh;
    private HttpCall? _call;
    private bool _started;
    private bool _polls;
    private bool? _connected;

    // What was last logged as wrong: said again at every poll it would fill the log.
    private string _told = "";
    private string _controlPlane = "";

    /// <param name="loop">The control loop.</param>
    /// <param name="clusters">Its own clusters, among which the control plane's is.</param>
    /// <param name="config">How to ask.</param>
    /// <param name="node">envoy.config.core.v3.Node.</param>
    /// <param name="target">Who takes what comes.</param>
    /// <param name="stats">The process's stats.</param>
    /// <param name="fetchTimeoutsMs">initial_fetch_timeout by type, where configured.</param>
    /// <param name="random">For the jitter.</param>
    /// <param name="statPrefix">Of its stats; empty unless it is a single resource's.</param>
    internal RestSource(
        EventLoop loop, Clusters clusters, RestSourceConfig config, ReadOnlyMemory<byte> node, IDiscoveryTarget target, StatsRegistry stats,
        IReadOnlyDictionary<string, long> fetchTimeoutsMs, FastRandom random, string statPrefix = "")
        : base(loop, target, stats, fetchTimeoutsMs, statPrefix)
    {
        _clusters = clusters;
        _config = config;
        _protocol = new StateOfTheWorld(node);
        _random = random;
        _refresh = new LoopTimer(this);
    }

    internal override string ControlPlane => _controlPlane;

    // Every request is an attempt here, so they are counted as they go out.
    protected override bool CountsAttempts => false;

    internal override void Start()
    {
        _started = true;
        OnInterest();
    }

    internal override void Stop()
    {
        base.Stop();
        Loop.Cancel(_refresh);
        _call?.Cancel();
        _call = null;
    }

    protected override void OnNewType(Subscription subscription) => _protocol.Add(subscription);

    // The first interest starts the polling; a later one is told with the next request.
    protected override void OnInterest()
    {
        if (!_started || _polls || Subscriptions.Count == 0 || !Subscriptions[0].HasInterest)
            return;
        _polls = true;
        Poll();
    }

    // ---- request ------------------------------------------------------------------------------------------------

    protected override void OnOwnTimer(LoopTimer timer) => Poll();

    private void Poll()
    {
        Subscriptions[0].Stats?.Inc(SubscriptionStats.UpdateAttempt);
        // Each request stands for itself: it is the first of a stream, and so has the node and no nonce.
        _protocol.OnStreamStart();
        if (!_protocol.TryTakeRequest(_request, Loop.NowMs))
        {
            Schedule();
            return;
        }
        var request = new HttpCallRequest(_config.Path, _config.Cluster, "application/json", Json(_request.Written));
        _call = new HttpCall(_clusters, _config.Cluster, request, ResponseBytesMax, this);
        _call.Start(_config.RequestTimeoutMs);
    }

    private static byte[] Json(ReadOnlySpan<byte> request)
    {
        var text = new MemoryStream();
        using (var json = new Utf8JsonWriter(text))
            Transcoder.TryWriteJson(request, s_requestType, json, redact: false);
        return text.ToArray();
    }

    private void Schedule()
    {
        if (!IsStopped)
            Loop.Schedule(_refresh, _config.RefreshDelayMs + _random.Next((uint)Math.Min(_config.RefreshDelayMs, uint.MaxValue)));
    }

    // ---- answer -------------------------------------------------------------------------------------------------

    public void OnResponse(int status, ReadOnlySpan<byte> body)
    {
        string source = _call!.RemoteAddress.ToString();
        _call = null;
        const int ok = 200, notModified = 304;
        if (status is not (ok or notModified))
        {
            Fail($"HTTP status {status}");
            return;
        }
        if (_connected is not true)
            TellConnection(true, $"{_config.Path} of {source} is polled");
        _connected = true;
        if (status == ok)
            Take(body, source);
        Schedule();
    }

    private void Take(ReadOnlySpan<byte> body, string source)
    {
        var subscription = Subscriptions[0];
        var response = ResponseJson.ReadResponse(body, subscription.TypeUrl, _reader, out string problem);
        if (response is null)
        {
            subscription.Stats?.Inc(SubscriptionStats.UpdateRejected);
            Warn($"REST config for {_config.Path} rejected: {problem}; what is in use stays");
            return;
        }
        _controlPlane = response.ControlPlane.Length > 0 ? response.ControlPlane : _controlPlane;
        // What is refused of it, its taker says.
        Deliver(subscription, response, source);
        _told = "";
    }

    void IHttpCallEvents.OnFailed(string reason)
    {
        _call = null;
        Fail(reason);
    }

    private void Fail(string reason)
    {
        CountFailure();
        string text = $"REST update for {_config.Path} from {_config.Cluster} failed: {reason}";
        Warn(text);
        if (_connected is not false)
            TellConnection(false, text);
        _connected = false;
        Schedule();
    }

    private void Warn(string text)
    {
        if (text != _told)
            Log.Warning("config", text);
        _told = text;
    }
}
