using System;
using System.Collections.Generic;
using Sidecar.Http;
using Sidecar.Loop;
using Sidecar.Memory;
using Sidecar.Telemetry;
using Sidecar.Telemetry.Stats;
using Sidecar.Upstream;
using Sidecar.Wire;

namespace Sidecar.Xds;

/// <summary>How a control plane is spoken to by gRPC. Immutable.</summary>
/// <param name="Target">Where it is.</param>
/// <param name="Service">"/envoy.service.discovery.v3.AggregatedDiscoveryService/" or the service of one type.</param>
/// <param name="Method">The method's name after "Stream" or "Delta": "AggregatedResources", "Clusters".</param>
/// <param name="IsDelta">Which of the two forms.</param>
internal sealed record GrpcSourceConfig(GrpcTarget Target, string Service, string Method, bool IsDelta)
{
    /// <summary>The second of two control planes, for when the first does not answer; null: there is none.</summary>
    internal GrpcTarget? Failover { get; init; }

    internal long BackoffBaseMs { get; init; } = Backoff.DefaultBaseMs;
    internal long BackoffMaxMs { get; init; } = Backoff.DefaultMaxMs;
    internal string Path => Service + (IsDelta ? "Delta" : "Stream") + Method;
}

/// <summary>
/// A control plane on a gRPC stream: ADS, or the stream of one type.
/// <code>
///   Start ─→ connecting ─→ open ─→ closed ─┐       requests at the end of each turn in which there is reason for them
///                ↑                         │       an answer is unwrapped as it arrives, handed over, acknowledged
///                └──── jittered wait ──────┘       starting over at 500 ms once an answer came; of two control planes, which: ControlPlaneChoice
/// </code>
/// </summary>
/// <remarks>Control loop.</remarks>
internal sealed class GrpcSource : SubscribingSource
{
    /// <summary>Of the resources that a control plane says it cannot give, so many are named.</summary>
    private const int LoggedErrorsMax = 20;

    private readonly GrpcSourceConfig _config;
    private readonly Clusters _clusters;
    private readonly DiscoveryProtocol _protocol;
    private readonly ResponseReader _reader = new();
    private readonly WireWriter _request = new(1024);
    private readonly Backoff _backoff;
    private readonly ControlPlaneChoice _choice;
    private readonly LoopTimer _retry;
    private readonly LoopTimer _waiting;
    private readonly LoopWork _send;
    private readonly StatsCells _stats;
    private readonly HashSet<string> _unknownTypes = new(StringComparer.Ordinal);
    private GrpcCall? _call;
    private string _controlPlane = "";

    /// <param name="loop">The control loop.</param>
    /// <param name="clusters">Its own clusters, among which the target is.</param>
    /// <param name="config">How to speak to it.</param>
    /// <param name="node">envoy.config.core.v3.Node.</param>
    /// <param name="target">Who takes what comes.</param>
    /// <param name="stats">The process's stats.</param>
    /// <param name="fetchTimeoutsMs">initial_fetch_timeout by type, where configured.</param>
    /// <param name="random">For the waits between attempts.</param>
    /// <param name="statPrefix">Of its stats; empty unless it is a single resource's.</param>
    internal GrpcSource(
        EventLoop loop, Clusters clusters, GrpcSourceConfig config, ReadOnlyMemory<byte> node, IDiscoveryTarget target, StatsRegistry stats,
        IReadOnlyDictionary<string, long> fetchTimeoutsMs, FastRandom random, string statPrefix = "")
        : base(loop, target, stats, fetchTimeoutsMs, statPrefix)
    {
        _clusters = clusters;
        _config = config;
        _protocol = config.IsDelta ? new DeltaDiscovery(node) : new StateOfTheWorld(node);
        _backoff = new Backoff(config.BackoffBaseMs, config.BackoffMaxMs, random);
        _choice = new ControlPlaneChoice(config.Target, config.Failover);
        _retry = new LoopTimer(this);
        _waiting = new LoopTimer(this);
        _send = new LoopWork(this);
        _stats = ControlPlaneStats.Cells(stats, statPrefix);
    }

    internal override string ControlPlane => _controlPlane;

    internal override void Start() => Connect();

    internal override void Stop()
    {
        base.Stop();
        Loop.Cancel(_retry);
        Loop.Cancel(_waiting);
        Loop.Cancel(_send);
        _call?.Cancel();
        _call = null;
        _stats.Set(ControlPlaneStats.ConnectedState, 0);
    }

    protected override void OnNewType(Subscription subscription) => _protocol.Add(subscription);

    protected override void OnInterest() => Send();

    // ---- the stream ---------------------------------------------------------------------------------------------

    protected override void OnOwnTimer(LoopTimer timer)
    {
        if (timer == _waiting)
            Send();
        else
            Connect();
    }

    private void Connect()
    {
        _protocol.OnStreamStart(_choice.IsKnown);
        _unknownTypes.Clear();
        _call = new GrpcCall(_clusters, _choice.Current, new Events(this));
        _call.Start(_config.Path);
    }

    private void OnOpened()
    {
        _stats.Set(ControlPlaneStats.ConnectedState, 1);
        Log.Info("config", $"{_config.Method} stream to {Source} is open");
        TellConnection(true, "");
        SendAtTurnEnd();
    }

    private void OnClosed(GrpcStatus status, string message)
    {
        _call = null;
        _stats.Set(ControlPlaneStats.ConnectedState, 0);
        CountFailure();
        string reason = $"{(_config.IsDelta ? "Delta" : "Stream")}{_config.Method} gRPC config stream to {_choice.Current.Cluster} closed: {(int)status}, {message}";
        long waitMs = _choice.OnClosed() ?? _backoff.NextMs();
        Log.Warning("config", $"{reason}; next attempt in {waitMs} ms{(_config.Failover is null ? "" : ", to " + _choice.Current.Cluster)}");
        Loop.Schedule(_retry, waitMs);
        TellConnection(false, reason);
    }

    /// <summary>Ends a stream that makes no sense; the next one comes after a wait.</summary>
    private void GiveUp(GrpcStatus status, string reason)
    {
        _call?.Cancel();
        OnClosed(status, reason);
    }

    private string Source => _call is { IsOpen: true } call ? call.RemoteAddress.ToString() : _choice.Current.Cluster;

    // ---- requests -----------------------------------------------------------------------------------------------

    private void SendAtTurnEnd()
    {
        if (!IsStopped)
            Loop.RunAtTurnEnd(_send);
    }

    protected override void OnTurnEnd() => Send();

    private void Send()
    {
        while (_call is { IsOpen: true, IsSendBlocked: false } call && _protocol.TryTakeRequest(_request, Loop.NowMs))
            call.Send(_request.Written);
        long nextMs = _protocol.NextRequestMs(Loop.NowMs);
        if (nextMs != long.MaxValue && _call is not null)
            Loop.Schedule(_waiting, nextMs - Loop.NowMs);
    }

    // ---- answers ------------------------------------------------------------------------------------------------

    private void OnMessageEnd()
    {
        var response = _reader.End();
        if (response is null)
        {
            GiveUp(GrpcStatus.Internal, $"a message is no {(_config.IsDelta ? "DeltaDiscoveryResponse" : "DiscoveryResponse")}: {_reader.Problem}");
            return;
        }
        if (response.ControlPlane.Length > 0)
            _stats.SetText(ControlPlaneStats.Identifier, _controlPlane = response.ControlPlane);
        var subscription = Find(response.TypeUrl);
        if (subscription is null)
        {
            if (_unknownTypes.Count < 100 && _unknownTypes.Add(response.TypeUrl))
                Log.Warning("config", $"{Source} sent type URL '{response.TypeUrl}', to which nobody is subscribed; ignored");
            return;
        }
        for (int i = 0; i < response.Errors.Count && i < LoggedErrorsMax; i++)
            Log.Warning("config", $"{Source} cannot give {ResourceTypes.Noun(subscription.TypeUrl)} {response.Errors[i].Name}: {response.Errors[i].Reason}");
        if (response.Errors.Count > LoggedErrorsMax)
            Log.Warning("config", $"{Source} cannot give {response.Errors.Count - LoggedErrorsMax} more");
        // An answer is what a control plane is for: the next attempt begins with the shortest wait.
        _backoff.Reset();
        _choice.OnAnswer();
        var rejections = Deliver(subscription, response, Source);
        if (IsStopped || _call is null)
            return;
        if (_protocol.OnAnswer(subscription, response, rejections, Loop.NowMs))
            SendAtTurnEnd();
        else
            GiveUp(GrpcStatus.ResourceExhausted, $"{DiscoveryProtocol.AcknowledgementsMax} acknowledgements are not taken");
    }

    private sealed class Events(GrpcSource owner) : GrpcCallEvents
    {
        internal override void OnOpened() => owner.OnOpened();
        internal override void OnMessageStart(int length) => owner._reader.Begin(owner._config.IsDelta);

        internal override void OnMessagePart(ReadOnlySpan<byte> bytes)
        {
            owner._reader.Feed(bytes);
            if (owner._reader.Problem.Length > 0)
                owner.OnMessageEnd();
        }

        internal override void OnMessageEnd() => owner.OnMessageEnd();
        internal override void OnSendReady() => owner.SendAtTurnEnd();
        internal override void OnClosed(GrpcStatus status, string message) => owner.OnClosed(status, message);
    }
}
