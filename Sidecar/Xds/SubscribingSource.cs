using System;
using System.Collections.Generic;
using Sidecar.Loop;
using Sidecar.Telemetry;
using Sidecar.Telemetry.Stats;
using Sidecar.Wire;

namespace Sidecar.Xds;

/// <summary>
/// What all sources have in common: the interest as it gathers over a turn, the handing over of answers, the patience for first answers and the
/// time to live of resources.
/// </summary>
/// <remarks>Control loop.</remarks>
internal abstract class SubscribingSource : DiscoverySource, IWorkOwner, ITimerOwner
{
    /// <summary>initial_fetch_timeout where a ConfigSource says none.</summary>
    internal const long DefaultFetchTimeoutMs = 15_000;

    private readonly SortedList<int, Subscription> _subscriptions = [];
    private readonly Dictionary<string, Said> _said = new(StringComparer.Ordinal);
    private readonly PriorityQueue<Wait, long> _waits = new();
    private readonly IDiscoveryTarget _target;
    private readonly StatsRegistry _stats;
    private readonly string _statPrefix;
    private readonly IReadOnlyDictionary<string, long> _fetchTimeoutsMs;
    private readonly LoopWork _turnEnd;
    private readonly LoopTimer _time;

    /// <summary>What was last said in this turn.</summary>
    private readonly record struct Said(bool Wildcard, string[] Names, Func<string, long>? FetchTimeoutMs);

    /// <summary>Who has patience until when; no names: the wildcard.</summary>
    private sealed record Wait(Subscription Subscription, List<string> Names, long EndsMs);

    /// <param name="loop">The control loop.</param>
    /// <param name="target">Who takes what comes.</param>
    /// <param name="stats">The process's stats.</param>
    /// <param name="fetchTimeoutsMs">initial_fetch_timeout by type, where configured.</param>
    /// <param name="statPrefix">Of its stats; empty unless it is a single resource's.</param>
    protected SubscribingSource(
        EventLoop loop, IDiscoveryTarget target, StatsRegistry stats, IReadOnlyDictionary<string, long> fetchTimeoutsMs, string statPrefix)
    {
        _statPrefix = statPrefix;
        Loop = loop;
        _target = target;
        _stats = stats;
        _fetchTimeoutsMs = fetchTimeoutsMs;
        _turnEnd = new LoopWork(this);
        _time = new LoopTimer(this);
    }

    protected EventLoop Loop { get; }
    protected bool IsStopped { get; private set; }

    /// <summary>The types anybody was ever interested in, in the order they are asked for.</summary>
    protected IList<Subscription> Subscriptions => _subscriptions.Values;

    /// <summary>A subscription and each acknowledgement count as update_attempt; false: the source counts its own requests.</summary>
    protected virtual bool CountsAttempts => true;

    /// <summary>The interest in some types changed.</summary>
    protected abstract void OnInterest();

    /// <summary>A type is spoken of for the first time.</summary>
    protected virtual void OnNewType(Subscription subscription)
    {
    }

    internal override void Subscribe(string typeUrl, bool wildcard, IReadOnlyCollection<string> names, Func<string, long>? fetchTimeoutMs = null)
    {
        _said[typeUrl] = new Said(wildcard, [.. names], fetchTimeoutMs);
        Loop.RunAtTurnEnd(_turnEnd);
    }

    internal override void Stop()
    {
        IsStopped = true;
        Loop.Cancel(_turnEnd);
        Loop.Cancel(_time);
    }

    // ---- interest -----------------------------------------------------------------------------------------------

    public void OnWork(LoopWork work)
    {
        if (work == _turnEnd)
            ApplyInterest();
        else
            OnTurnEnd();
    }

    /// <summary>Work of the source's own.</summary>
    protected virtual void OnTurnEnd()
    {
    }

    private void ApplyInterest()
    {
        foreach (var (typeUrl, said) in _said)
        {
            var subscription = Find(typeUrl) ?? Add(typeUrl);
            long ofType = EndsMs(_fetchTimeoutsMs.TryGetValue(typeUrl, out long configured) ? configured : DefaultFetchTimeoutMs);
            bool wildcardIsNew = said.Wildcard && !subscription.IsWildcard;
            bool hadInterest = subscription.HasInterest;
            var changed = subscription.SetInterest(said.Wildcard, said.Names, ofType, said.FetchTimeoutMs is { } ofName ? name => EndsMs(ofName(name)) : _ => ofType);
            if (!hadInterest && subscription.HasInterest && CountsAttempts)
                subscription.Stats?.Inc(SubscriptionStats.UpdateAttempt);
            if (wildcardIsNew && ofType < long.MaxValue)
                _waits.Enqueue(new Wait(subscription, [], ofType), ofType);
            AwaitNames(subscription, changed);
        }
        _said.Clear();
        ArmTime();
        OnInterest();
    }

    private long EndsMs(long fetchTimeoutMs) => fetchTimeoutMs == 0 ? long.MaxValue : Loop.NowMs + fetchTimeoutMs;

    // One wait for all that have the same patience: a mesh has ten thousand names and one or two of it.
    private void AwaitNames(Subscription subscription, List<string> names)
    {
        var waits = new Dictionary<long, List<string>>();
        foreach (string name in names)
        {
            long endsMs = subscription.Waiting[name];
            if (endsMs == long.MaxValue)
                continue;
            if (!waits.TryGetValue(endsMs, out var together))
            {
                waits.Add(endsMs, together = []);
                _waits.Enqueue(new Wait(subscription, together, endsMs), endsMs);
            }
            together.Add(name);
        }
    }

    protected Subscription? Find(string typeUrl)
    {
        foreach (var subscription in _subscriptions.Values)
        {
            if (subscription.TypeUrl == typeUrl)
                return subscription;
        }
        return null;
    }

    private Subscription Add(string typeUrl)
    {
        var subscription = new Subscription(typeUrl) { Stats = SubscriptionStats.Cells(_stats, typeUrl, _statPrefix) };
        _subscriptions.Add(subscription.Order, subscription);
        OnNewType(subscription);
        return subscription;
    }

    // ---- answers ------------------------------------------------------------------------------------------------

    /// <summary>Gives an answer to the target.</summary>
    /// <returns>Everything refused, the malformed included; none: it is accepted.</returns>
    protected IReadOnlyList<ResourceRejection> Deliver(Subscription subscription, ReceivedResponse response, string source)
    {
        long receivedNs = Loop.NowNs;
        var update = subscription.Open(response, source, Loop.NowMs, receivedNs);
        var refused = _target.OnUpdate(update);
        if (IsStopped)
            return [];
        IReadOnlyList<ResourceRejection> rejections = refused.Count == 0 ? update.Malformed : [.. update.Malformed, .. refused];
        subscription.Settle(response, update, rejections, Loop.NowMs);
        Count(subscription, response, rejections, receivedNs);
        ArmTime();
        return rejections;
    }

    private void Count(Subscription subscription, ReceivedResponse response, IReadOnlyList<ResourceRejection> rejections, long receivedNs)
    {
        if (subscription.Stats is not { } stats)
            return;
        if (CountsAttempts)
            stats.Inc(SubscriptionStats.UpdateAttempt);
        stats.Inc(rejections.Count == 0 ? SubscriptionStats.UpdateSuccess : SubscriptionStats.UpdateRejected);
        if (rejections.Count > 0)
            return;
        stats.Set(SubscriptionStats.UpdateTime, Loop.UnixMs);
        stats.Record(SubscriptionStats.UpdateDuration, (Loop.NowNs - receivedNs) / 1_000_000);
        SubscriptionStats.SetVersion(stats, response.Version);
    }

    /// <summary>Nothing came, for whatever reason: counted for every type there is interest in.</summary>
    protected void CountFailure()
    {
        foreach (var subscription in _subscriptions.Values)
        {
            if (!subscription.HasInterest)
                continue;
            subscription.Stats?.Inc(SubscriptionStats.UpdateFailure);
            _target.OnFailure(subscription.TypeUrl);
        }
    }

    protected void TellConnection(bool connected, string reason) => _target.OnConnection(connected, reason);

    // ---- time ---------------------------------------------------------------------------------------------------

    public void OnTimer(LoopTimer timer)
    {
        if (timer != _time)
        {
            OnOwnTimer(timer);
            return;
        }
        EndPatience();
        if (!IsStopped)
            Expire();
        if (!IsStopped)
            ArmTime();
    }

    /// <summary>A timer of the source's own.</summary>
    protected virtual void OnOwnTimer(LoopTimer timer)
    {
    }

    private void ArmTime()
    {
        long next = _waits.TryPeek(out _, out long endsMs) ? endsMs : long.MaxValue;
        foreach (var subscription in _subscriptions.Values)
            next = Math.Min(next, subscription.NextExpiryMs());
        if (next == long.MaxValue)
            Loop.Cancel(_time);
        else
            Loop.Schedule(_time, next - Loop.NowMs);
    }

    private void EndPatience()
    {
        while (!IsStopped && _waits.TryPeek(out var wait, out long endsMs) && endsMs <= Loop.NowMs)
        {
            _waits.Dequeue();
            var subscription = wait.Subscription;
            if (wait.Names.Count == 0)
            {
                if (subscription.WildcardWaiting != wait.EndsMs)
                    continue;
                subscription.WildcardWaiting = null;
                subscription.Stats?.Inc(SubscriptionStats.InitFetchTimeout);
                Log.Warning("config", $"no answer about {ResourceTypes.Noun(subscription.TypeUrl)}s within initial_fetch_timeout; the start goes on without");
                _target.OnFetchTimeout(subscription.TypeUrl, []);
                continue;
            }
            // A name that was dropped and wanted again has new patience.
            wait.Names.RemoveAll(name => !subscription.Waiting.TryGetValue(name, out long ends) || ends != wait.EndsMs);
            if (wait.Names.Count == 0)
                continue;
            foreach (string name in wait.Names)
                subscription.Waiting.Remove(name);
            subscription.Stats?.Inc(SubscriptionStats.InitFetchTimeout);
            TellTimeout(subscription.TypeUrl, wait.Names);
            _target.OnFetchTimeout(subscription.TypeUrl, wait.Names);
        }
    }

    private static void TellTimeout(string typeUrl, List<string> names)
    {
        const int shown = 5;
        string more = names.Count > shown ? $" and {names.Count - shown} more" : "";
        string some = string.Join(", ", names.GetRange(0, Math.Min(shown, names.Count)));
        Log.Warning("config", $"no {ResourceTypes.Noun(typeUrl)} {some}{more} within initial_fetch_timeout; what waits for it goes on without");
    }

    private void Expire()
    {
        foreach (var subscription in new List<Subscription>(_subscriptions.Values))
        {
            if (IsStopped || subscription.NextExpiryMs() > Loop.NowMs)
                continue;
            _target.OnExpired(subscription.TypeUrl, subscription.TakeExpired(Loop.NowMs));
        }
    }
}
