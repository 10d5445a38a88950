using System;
using System.Collections.Generic;
using System.IO;
using System.Text;
using Sidecar.Config;
using Sidecar.Downstream;
using Sidecar.Linux;
using Sidecar.Loop;
using Sidecar.Memory;
using Sidecar.Net;
using Sidecar.Telemetry;
using Sidecar.Telemetry.Stats;
using Sidecar.Tls;
using Sidecar.Wire;
using Sidecar.Xds;

namespace Sidecar.Server;

/// <summary>Where the process is in its life; names are Envoy's (/server_info).</summary>
internal enum ServerState : byte { Initializing, PreInitializing, Live, Draining }

/// <summary>
/// The data plane put together: the control loop with the configuration, and the workers. Its life:
/// <code>
///   Start      read the snapshot, bind, start workers, apply          any error ends the process with its reason
///   Live       a changed snapshot is applied to the running workers   a bad resource keeps its old version
///   Drain      SIGTERM: every response ends its connection            out when the last connection is, or when the time is up
/// </code>
/// </summary>
/// <remarks>Control loop only, which is the thread that calls <see cref="Run"/>.</remarks>
internal sealed class ProxyServer : ITimerOwner
{
    private const int DrainCheckMs = 50;
    private static readonly Dictionary<string, long> s_noTimeouts = [];

    private readonly ServerOptions _options;
    private readonly Worker[] _workers;
    private readonly LoopTimer _drainCheck;
    private readonly List<IDisposable> _signals = [];
    private FileSource? _files;
    private FolderWatch? _secretFiles;
    private long _drainEndMs;
    private bool _drainsInbound;
    private int _exitCode;

    internal ProxyServer(ServerOptions options, LoopClock clock)
    {
        _options = options;
        Loop = new EventLoop("main", clock);
        StartUnixMs = Loop.UnixMs;
        StartMs = Loop.NowMs;
        Stats = new StatsRegistry(options.Concurrency);
        ConnectionLimit = ConnectionLimit.FromOpenFiles(Process.RaiseOpenFiles());
        _drainCheck = new LoopTimer(this);
        _workers = new Worker[options.Concurrency];
        for (int i = 0; i < _workers.Length; i++)
            _workers[i] = new Worker(i, ConnectionLimit, new EventLoop($"worker-{i}", clock), Entropy.Next(), options.DrainTimeMs);
    }

    internal EventLoop Loop { get; }
    internal ServerOptions Options => _options;
    internal StatsRegistry Stats { get; }
    internal ConnectionLimit ConnectionLimit { get; }
    internal IReadOnlyList<Worker> Workers => _workers;
    internal long StartUnixMs { get; }
    internal long StartMs { get; }
    internal ServerState State { get; private set; } = ServerState.PreInitializing;

    /// <summary>False after /healthcheck/fail: /ready then says so.</summary>
    internal bool IsHealthy { get; private set; } = true;

    /// <summary>True while connections are told to end (SIGTERM, or /drain_listeners?graceful).</summary>
    internal bool IsDraining { get; private set; }

    /// <summary>The way of the configuration; made by <see cref="Start"/>, which knows whose it is.</summary>
    internal ConfigPipeline Config { get; private set; } = null!;
    internal Snapshot Snapshot => Config.Snapshot;

    /// <summary>The bootstrap this process was started with, when there was one.</summary>
    internal DiscoveredResource? Bootstrap { get; private set; }

    /// <summary>Keeps the process within its memory; made by <see cref="Start"/>.</summary>
    internal OverloadManager Overload { get; private set; } = null!;

    /// <summary>Where the admin pages are to be: the flag, else the bootstrap's address, else 127.0.0.1:15000.</summary>
    internal Address AdminAddress =>
        _options.AdminAddress ?? (Bootstrap is { } bootstrap ? BootstrapReader.Read(bootstrap).AdminAddress : null) ?? BuiltInListeners.DefaultAdmin;

    internal long ConfigReloads { get; private set; }

    /// <summary>Called on the control loop when the first snapshot is in use on all workers.</summary>
    internal Action? Started { get; set; }

    // ---- life -------------------------------------------------------------------------------------------------------

    /// <summary>Reads and applies the first configuration.</summary>
    /// <returns>Every error; empty when the server may <see cref="Run"/>.</returns>
    internal IReadOnlyList<ConfigError> Start()
    {
        Signals.IgnoreBrokenPipe();
        var set = Read(out var facts, out var discovery);
        Config = new ConfigPipeline(Loop, _workers, Stats, _options.NodeId ?? facts?.NodeId ?? "", _options.DrainTimeMs, new FastRandom(Entropy.Next()))
        {
            AllApplied = OnAllApplied,
            Starting = ReleaseStartupGarbage,
        };
        var sources = new SourceFactory(Loop, Config.ControlClusters, facts?.Node ?? default, Stats, new FastRandom(Entropy.Next()));
        // A snapshot has everything there is.
        if (_options.IsBootstrap)
            Config.AllowNamed((origin, target, statPrefix) => sources.Make(origin, target, s_noTimeouts, statPrefix)!, discovery?.Ads is not null);
        if (discovery is not null)
            Config.ExpectDiscovery();
        var result = Config.TakeFile(set, Source, isStatic: _options.IsBootstrap);
        if (result.Errors.Count > 0)
            return result.Errors;
        if (discovery is null)
            Config.AwaitSecrets();
        Config.Flush();
        if (discovery is not null)
        {
            if (MakeCacheFolder() is { } error)
                return [error];
            Config.Discover(DiscoverySources.Create(discovery, sources, Loop, Config), _options.CacheFolder is { } folder ? new LastGoodFile(Loop, Snapshot, folder, facts!.NodeId) : null);
        }
        var overload = facts?.Overload ?? new OverloadConfig();
        // Descriptors remain the limit that nobody can lift.
        if (overload.MaxConnections is { } most)
            ConnectionLimit.Max = Math.Min(most, ConnectionLimit.Max);
        Overload = new OverloadManager(Loop, _workers, ConnectionLimit, Stats, overload, new MemoryGauge());
        ReleaseStartupGarbage();
        foreach (var worker in _workers)
            worker.Start();
        Listen(Signal.Terminate, OnTerminate);
        Listen(Signal.Interrupt, OnTerminate);
        Listen(Signal.HangUp, () => Reload("SIGHUP"));
        if (_options.SnapshotPath is { } path)
        {
            _files = new FileSource(Loop, path, () => Reload("the snapshot changed"));
            if (!_files.Start())
                Log.Warning("config", $"{path} cannot be watched (inotify); send SIGHUP after a change");
        }
        Config.Secrets.FolderFound = WatchSecretFolder;
        WatchSecretFiles();
        // A configuration of nothing brings nothing to apply, and is live all the same.
        if (!Config.IsApplying)
            Loop.Post(OnAllApplied);
        return [];
    }

    private ConfigError? MakeCacheFolder()
    {
        if (_options.CacheFolder is not { } folder)
            return null;
        try
        {
            if (!OperatingSystem.IsWindows())
                Directory.CreateDirectory(folder, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute);
            return null;
        }
        catch (Exception failure) when (failure is IOException or UnauthorizedAccessException or ArgumentException)
        {
            return new ConfigError("--cache-dir " + folder, "", "", failure.Message);
        }
    }

    /// <summary>
    /// Gives back what reading a large configuration left behind. Now, while nobody waits for a worker; later updates leave it to the collector,
    /// since a full collection would stop traffic.
    /// </summary>
    private static void ReleaseStartupGarbage()
    {
        const long worthCollectingBytes = 16 * 1024 * 1024;
        if (GC.GetTotalAllocatedBytes() > worthCollectingBytes)
            GC.Collect(GC.MaxGeneration, GCCollectionMode.Aggressive, blocking: true, compacting: true);
    }

    /// <summary>Certificates, keys and authorities in files are read again when their folders change; the snapshot itself may well be elsewhere.</summary>
    private void WatchSecretFiles()
    {
        foreach (string folder in Config.Secrets.Folders)
            WatchSecretFolder(folder);
    }

    private void WatchSecretFolder(string folder)
    {
        _secretFiles ??= new FolderWatch(Loop, RefreshSecretFiles, "reading changed certificate files failed once; SIGHUP reads them again");
        if (!_secretFiles.Watch(folder))
            Log.Warning("config", $"{folder} cannot be watched (inotify); send SIGHUP after a change of certificates");
    }

    private void RefreshSecretFiles()
    {
        // A folder that was deleted and has come again is another.
        WatchSecretFiles();
        int changed = Config.Secrets.RefreshFiles();
        if (changed > 0)
            Log.Info("config", $"certificate files changed: {changed} TLS contexts are new");
    }

    /// <summary>TLS contexts in use.</summary>
    internal IEnumerable<TlsContext> TlsContexts => Config.Secrets.Contexts;

    /// <summary>Runs the control loop until the end of the process.</summary>
    /// <returns>The exit code.</returns>
    internal int Run()
    {
        Loop.Run();
        foreach (var worker in _workers)
            worker.Stop();
        return _exitCode;
    }

    /// <summary>Ends the process now.</summary>
    internal void Quit(int exitCode = 0)
    {
        _exitCode = exitCode;
        foreach (var worker in _workers)
            worker.Loop.Post(() => worker.Listeners.CloseAll(Failure.AdminStop));
        Loop.RequestStop();
    }

    /// <summary>Reads the configuration again and applies what changed.</summary>
    internal void Reload(string why)
    {
        if (State == ServerState.Draining)
            return;
        long startNs = Loop.NowNs;
        int hadErrors = Config.LastErrors.Count;
        RefreshSecretFiles();
        var result = Config.TakeFile(Read(out _, out _), Source, isStatic: _options.IsBootstrap);
        Config.Flush();
        ConfigReloads++;
        string changed = result.Changed == 0 ? "nothing changed" : $"{Counted.Of(result.Changed, "resource")} changed";
        string errors = result.Errors.Count > 0 ? Counted.Of(result.Errors.Count, "error") : hadErrors > 0 ? $"{Counted.Of(hadErrors, "error")} mended" : "no errors";
        Log.Info("config", $"{why}: read {Source}: {changed}, {errors}, in {(Loop.NowNs - startNs) / 1000} us");
    }

    /// <summary>Tells every connection to end after what it is doing; accepting goes on unless <paramref name="stopAccepting"/>.</summary>
    internal void StartDrain(bool stopAccepting, Predicate<ListenerConfig>? only = null)
    {
        if (only is null)
            IsDraining = true;
        if (stopAccepting)
        {
            foreach (var listener in Snapshot.ListenersInUse)
                Config.Warming.Counts.ListenerStopped += only is null || only(listener) ? 1 : 0;
        }
        ForEachWorker(worker =>
        {
            worker.Scope.IsDraining |= only is null;
            worker.Listeners.StartDrain(stopAccepting, only);
        });
    }

    /// <summary>
    /// /drain_listeners?graceful: responses end their connections from now on, new ones are accepted until the drain time is over. Said again meanwhile
    /// it changes nothing.
    /// </summary>
    /// <param name="inboundOnly">Leaves listeners of other directions alone.</param>
    /// <param name="thenStop">Whether the listeners close after the drain time (without skip_exit).</param>
    internal void DrainGracefully(bool inboundOnly, bool thenStop)
    {
        if (IsDraining || (inboundOnly && _drainsInbound))
            return;
        _drainsInbound = true;
        Predicate<ListenerConfig>? only = inboundOnly ? IsInbound : null;
        StartDrain(stopAccepting: false, only);
        if (thenStop)
            Loop.Schedule(new LoopTimer(new DrainEnd(this, only)), _options.DrainTimeMs);
    }

    internal static bool IsInbound(ListenerConfig listener) => listener.Direction == TrafficDirection.Inbound;

    /// <summary>The end of a graceful drain: its listeners close, their connections do as they have been told.</summary>
    private sealed class DrainEnd(ProxyServer server, Predicate<ListenerConfig>? only) : ITimerOwner
    {
        public void OnTimer(LoopTimer timer) => server.StartDrain(stopAccepting: true, only);
    }

    /// <summary>Health checks are answered as failed, or no more: /ready, and listeners with drain_type DEFAULT, whose responses end their connections.</summary>
    internal void SetHealth(bool isHealthy)
    {
        IsHealthy = isHealthy;
        ForEachWorker(worker => worker.Scope.FailsHealthChecks = !isHealthy);
    }

    public void OnTimer(LoopTimer timer)
    {
        if (Loop.NowMs >= _drainEndMs)
        {
            Log.Info("main", "drain time is over, closing the remaining connections");
            Quit();
            return;
        }
        CountConnections(active =>
        {
            if (active == 0)
                Quit();
            else
                Loop.Schedule(_drainCheck, DrainCheckMs);
        });
    }

    /// <summary>Adds up the open downstream connections of all workers; the answer comes on the control loop.</summary>
    internal void CountConnections(Action<int> answer) =>
        AskWorkers(worker => worker.Listeners.ActiveConnections, counts =>
        {
            int sum = 0;
            foreach (int count in counts)
                sum += count;
            answer(sum);
        });

    /// <summary>Asks something of every worker, each on its own thread; the answers come together on the control loop.</summary>
    internal void AskWorkers<T>(Func<Worker, T> question, Action<T[]> answers)
    {
        var gathered = new T[_workers.Length];
        int missing = _workers.Length;
        foreach (var worker in _workers)
        {
            worker.Loop.Post(() =>
            {
                var answer = question(worker);
                Loop.Post(() =>
                {
                    gathered[worker.Index] = answer;
                    if (--missing == 0)
                        answers(gathered);
                });
            });
        }
    }

    /// <summary>Does something on every worker, each on its own thread, between two turns of traffic.</summary>
    internal void ForEachWorker(Action<Worker> action)
    {
        foreach (var worker in _workers)
            worker.Loop.Post(() => action(worker));
    }

    // ---- configuration --------------------------------------------------------------------------------------------------

    private ResourceSet Read(out BootstrapFacts? facts, out DiscoveryConfig? discovery)
    {
        var set = _options.BootstrapText is { } text ? ResourceReader.ReadDocument(text, Source)
            : _options.BootstrapPath is { } bootstrap ? ResourceReader.ReadBootstrap(bootstrap, isKept: Bootstrap is null)
            : ResourceReader.Read(_options.SnapshotPath!);
        Bootstrap ??= set.Bootstrap;
        if (!_options.IsBootstrap)
            BuiltInListeners.AddTo(set, _options);
        facts = Bootstrap is null ? null : BootstrapReader.Read(Bootstrap, new NodeOverrides(_options.NodeId, _options.NodeCluster, _options.NodeZone), ProductVersion.Text);
        discovery = BootstrapDiscovery.Read(set, facts);
        return set;
    }

    private string Source => _options.BootstrapPath ?? _options.SnapshotPath ?? "--config-yaml";

    private void OnAllApplied()
    {
        if (State is ServerState.Live or ServerState.Draining)
            return;
        if (Config.HasClusters)
            State = ServerState.Initializing;
        if (!Config.IsServing)
            return;
        State = ServerState.Live;
        Overload.Start();
        if (Snapshot.CountWithoutEffect() is > 0 and var withoutEffect)
            Log.Warning("config", $"{Counted.Of(withoutEffect, "setting")} without effect here; /config_status and sidecar validate name each");
        Started?.Invoke();
    }

    private void Listen(Signal signal, Action action) => _signals.Add(Signals.On(signal, _ => Loop.Post(action)));

    private void OnTerminate()
    {
        if (State == ServerState.Draining)
        {
            Log.Warning("main", "second signal, exiting at once");
            Quit();
            return;
        }
        Log.Info("main", $"caught SIGTERM, draining for up to {_options.DrainTimeMs} ms");
        State = ServerState.Draining;
        _files?.Stop();
        _secretFiles?.Stop();
        Config.Stop();
        _drainEndMs = Loop.NowMs + _options.DrainTimeMs;
        StartDrain(stopAccepting: false);
        Loop.Schedule(_drainCheck, DrainCheckMs);
    }
}
