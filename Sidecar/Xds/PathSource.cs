using System;
using System.Collections.Generic;
using System.IO;
using Sidecar.Linux;
using Sidecar.Loop;
using Sidecar.Telemetry;
using Sidecar.Telemetry.Stats;
using Sidecar.Wire;

namespace Sidecar.Xds;

/// <summary>
/// A filesystem subscription: a file that holds a DiscoveryResponse as JSON, taken as the state of the world, and taken again when it is replaced (by
/// a move, as Envoy watches it, and also when it is written in place).
/// </summary>
/// <remarks>Control loop.</remarks>
internal sealed class PathSource : SubscribingSource
{
    /// <summary>As for snapshots: keeps a mistaken path from filling the memory.</summary>
    private const long FileBytesMax = 512L * 1024 * 1024;

    private readonly PathOrigin _origin;
    private readonly FileSource _watch;
    private readonly ResponseReader _reader = new();
    private bool _started;
    private bool _hasBeenRead;
    private bool _isAwaited;
    private int _readFor = -1;

    /// <param name="loop">The control loop.</param>
    /// <param name="origin">The file.</param>
    /// <param name="target">Who takes what comes.</param>
    /// <param name="stats">The process's stats.</param>
    /// <param name="fetchTimeoutsMs">initial_fetch_timeout by type, where configured.</param>
    /// <param name="statPrefix">Of its stats; empty unless it is a single resource's.</param>
    internal PathSource(
        EventLoop loop, PathOrigin origin, IDiscoveryTarget target, StatsRegistry stats, IReadOnlyDictionary<string, long> fetchTimeoutsMs, string statPrefix = "")
        : base(loop, target, stats, fetchTimeoutsMs, statPrefix)
    {
        _origin = origin;
        _watch = new FileSource(loop, origin.WatchedDirectory.Length > 0 ? origin.WatchedDirectory : origin.Path, ReadFile);
    }

    internal override void Start()
    {
        _started = true;
        if (!_watch.Start())
            Log.Warning("config", $"{_origin.Path} cannot be watched (inotify): a change is not seen");
        OnInterest();
    }

    internal override void Stop()
    {
        base.Stop();
        _watch.Stop();
    }

    // Read once for an interest; then whenever it changes.
    protected override void OnInterest()
    {
        if (!_started || Subscriptions.Count == 0 || _readFor == Subscriptions[0].InterestNumber)
            return;
        _readFor = Subscriptions[0].InterestNumber;
        ReadFile();
    }

    private void ReadFile()
    {
        if (IsStopped || Subscriptions.Count == 0)
            return;
        var subscription = Subscriptions[0];
        byte[] document;
        try
        {
            document = Files.ReadRegular(_origin.Path, FileBytesMax);
        }
        catch (Exception missing) when (missing is FileNotFoundException or DirectoryNotFoundException && !_hasBeenRead)
        {
            Await(subscription);
            return;
        }
        catch (Exception failure) when (failure is IOException or UnauthorizedAccessException)
        {
            Fail(subscription, failure.Message);
            return;
        }
        var response = ResponseJson.ReadResponse(document, subscription.TypeUrl, _reader, out string problem);
        if (response is null)
        {
            Fail(subscription, problem);
            return;
        }
        _hasBeenRead = true;
        RefuseMissing(subscription, response);
        Deliver(subscription, response, _origin.Path);
    }

    /// <summary>A file has nothing to come after it: what was asked for and is not in it is refused, as in Envoy, and what waits for it goes on without.</summary>
    private static void RefuseMissing(Subscription subscription, ReceivedResponse response)
    {
        foreach (string name in subscription.Names)
        {
            if (response.Resources.Exists(resource => resource.Name == name))
                continue;
            string problem = subscription.TypeUrl == ResourceTypes.Secret ? $"Missing SDS resources for {name} in onConfigUpdate()" : "it is not in the file";
            response.Resources.Add(new ReceivedResource { Name = name, TypeUrl = subscription.TypeUrl, Problem = problem });
        }
    }

    // It could not be read, or is none of what it should be: as in Envoy that is no refusal.
    private void Fail(Subscription subscription, string reason)
    {
        subscription.Stats?.Inc(SubscriptionStats.UpdateAttempt);
        subscription.Stats?.Inc(SubscriptionStats.UpdateFailure);
        string stays = _hasBeenRead ? "what is in use stays" : "nothing of it is in use yet";
        Log.Warning("config", $"Filesystem config update failure: in {_origin.Path}, {reason}; {stays}");
    }

    // Before the file is there for the first time its folder may tell of much else.
    private void Await(Subscription subscription)
    {
        if (_isAwaited)
            return;
        _isAwaited = true;
        Log.Warning("config", $"{_origin.Path} does not exist; the {ResourceTypes.Noun(subscription.TypeUrl)}s in it are waited for");
    }
}
