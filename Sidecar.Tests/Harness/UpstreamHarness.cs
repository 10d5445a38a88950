using System;
using System.Collections.Generic;
using System.Linq;
using System.Text;
using Sidecar.Http;
using Sidecar.Linux;
using Sidecar.Memory;
using Sidecar.Net;
using Sidecar.Telemetry;
using Sidecar.Telemetry.Stats;
using Sidecar.Upstream;
using Sidecar.Upstream.Discovery;
using Sidecar.Upstream.LoadBalancing;
using Sidecar.Upstream.Pools;
using Xunit;

namespace Sidecar.Tests.Harness;

/// <summary>A worker's clusters on a test loop, with upstreams on loopback whose every byte the test writes.</summary>
internal sealed class UpstreamHarness : IDisposable
{
    private readonly List<PoolUpstream> _upstreams = [];
    private readonly List<int> _refusing = [];

    public UpstreamHarness(ulong seed = 1, PeerChecks? checks = null)
    {
        Random = new FastRandom(seed);
        Clusters = new Clusters(Test.Loop, 0, Random, checks);
    }

    public TestLoop Test { get; } = new();
    public StatsRegistry Registry { get; } = new(workers: 1);
    public FastRandom Random { get; }
    public Clusters Clusters { get; }

    /// <summary>An upstream that listens; nobody accepts until the test does.</summary>
    public PoolUpstream Listen(int backlog = 128)
    {
        var upstream = new PoolUpstream(Test, backlog);
        _upstreams.Add(upstream);
        return upstream;
    }

    /// <summary>An address that refuses connections, and goes on to: bound, so that nobody else gets it, but not listening.</summary>
    public Address Refusing()
    {
        var made = Sockets.OpenStream(AddressFamily.IPv4);
        Assert.True(made.Ok);
        _refusing.Add(made.Fd);
        Assert.True(Sockets.Bind(made.Fd, Address.Loopback(0).ToSocketAddress()).Ok);
        Assert.True(Sockets.LocalAddress(made.Fd, out var local).Ok);
        return Address.From(local);
    }

    /// <summary>Stats for a cluster of this name.</summary>
    public StatsScope Scope(string name) => Registry.Scope(ClusterStats.Schema, $"cluster.{name}.");

    /// <summary>A cluster's configuration with everything a test does not care for; nothing is bounded.</summary>
    public ClusterConfig Config(
        string name = "test", int slot = 0, LbPolicy policy = LbPolicy.RoundRobin, DiscoveryType type = DiscoveryType.Static, HttpUpstreamOptions? http = null,
        CircuitBreakerThresholds? limits = null, CircuitBreakerThresholds? perHost = null, TransportFactory? transport = null, OriginalDstConfig? originalDst = null,
        double panic = 50, bool localityWeighted = false, bool closeUnhealthy = false, EndpointSet? endpoints = null, DnsRefresh? dns = null, int choices = 2) => new()
    {
        Name = name,
        Slot = slot,
        StatName = name,
        Stats = Scope(name),
        Breakers = new CircuitBreakers(limits ?? Unlimited, Unlimited, perHost, workers: 1),
        Type = type,
        LbPolicy = policy,
        ChoiceCount = choices,
        Http = http ?? HttpUpstreamOptions.Default,
        Transport = transport ?? RawTransportFactory.Instance,
        OriginalDst = originalDst ?? OriginalDstConfig.Default,
        PanicThresholdPercent = panic,
        LocalityWeighted = localityWeighted,
        CloseConnectionsOnHostHealthFailure = closeUnhealthy,
        Endpoints = endpoints,
        Dns = dns ?? DnsRefresh.Default,
    };

    public static CircuitBreakerThresholds Unlimited { get; } = new()
    {
        MaxConnections = uint.MaxValue, MaxPendingRequests = uint.MaxValue, MaxRequests = uint.MaxValue, MaxRetries = uint.MaxValue,
    };

    /// <summary>One locality of one priority.</summary>
    public static EndpointSet Endpoints(params Address[] addresses)
    {
        var specs = new List<EndpointSpec>();
        foreach (var address in addresses)
            specs.Add(Spec(address));
        return new EndpointSet { Localities = [new LocalitySpec(Locality.None, 0, 0, specs)] };
    }

    public static EndpointSpec Spec(Address address, uint weight = 1, EdsHealth health = EdsHealth.Unknown) =>
        new(address, "", 0, "", weight, health, Metadata.Empty);

    /// <summary>Makes a cluster of these hosts the only one there is.</summary>
    public Cluster Cluster(ClusterConfig config, params Address[] hosts)
    {
        if (hosts.Length > 0)
            config.StaticHosts = Endpoints(hosts).Build(config, null, 1);
        foreach (var other in Clusters.All.ToArray())
        {
            if (other.Config!.Name != config.Name)
                Clusters.Remove(other.Config.Name);
        }
        Clusters.Set(config);
        return Clusters[config.Slot]!;
    }

    /// <summary>Sum of a stat over all workers.</summary>
    public long Stat(Cluster cluster, int stat) => cluster.Config.Stats.Sum(stat);

    /// <summary>No stream, connection or waiter is left, and every gauge and breaker is back at zero.</summary>
    public void AssertIdle(Cluster cluster)
    {
        Assert.Equal(0, Stat(cluster, ClusterStats.UpstreamCxActive));
        AssertNoStreams(cluster);
        Assert.Equal(Stat(cluster, ClusterStats.UpstreamCxTotal), Stat(cluster, ClusterStats.UpstreamCxDestroy));
        Assert.Equal(
            Stat(cluster, ClusterStats.UpstreamCxDestroy), Stat(cluster, ClusterStats.UpstreamCxDestroyLocal) + Stat(cluster, ClusterStats.UpstreamCxDestroyRemote));
        Assert.Equal(0, cluster.Config.Breakers.Count(Resource.Connections, RoutingPriority.Default));
        Assert.Equal(0, cluster.Config.Breakers.Count(Resource.ConnectionPools, RoutingPriority.Default));
    }

    /// <summary>No stream and no waiter is left.</summary>
    public void AssertNoStreams(Cluster cluster)
    {
        Assert.Equal(0, Stat(cluster, ClusterStats.UpstreamRqActive));
        Assert.Equal(0, Stat(cluster, ClusterStats.UpstreamRqPendingActive));
        Assert.Equal(0, cluster.Config.Breakers.Count(Resource.PendingRequests, RoutingPriority.Default));
        Assert.Equal(0, cluster.Config.Breakers.Count(Resource.Requests, RoutingPriority.Default));
    }

    public void Dispose()
    {
        foreach (var entry in Clusters.All.ToArray())
            Clusters.Remove(entry.Config!.Name);
        Test.Settle();
        foreach (var upstream in _upstreams)
            upstream.Dispose();
        foreach (int fd in _refusing)
            Sockets.Close(fd);
        Test.Settle();
        Test.Dispose();
    }
}

/// <summary>A listening socket on loopback; the test accepts by hand.</summary>
internal sealed class PoolUpstream : IDisposable
{
    private readonly TestLoop _test;
    private int _fd;
    private int _handedOut;

    public PoolUpstream(TestLoop test, int backlog)
    {
        _test = test;
        var bound = ListenSocket.Bind(new ListenOptions { Address = Address.Loopback(0), ReusePort = false, Backlog = backlog }, out string step);
        Assert.True(bound.Ok, step);
        _fd = bound.Fd;
        Assert.True(Sockets.LocalAddress(_fd, out var local).Ok);
        Address = Address.From(local);
    }

    public Address Address { get; }
    public List<TestPeer> Peers { get; } = [];

    /// <summary>Accepts what the kernel has; how many that were.</summary>
    public int AcceptAll()
    {
        int accepted = 0;
        while (Sockets.Accept(_fd, out _) is { Ok: true } got)
        {
            Peers.Add(new TestPeer(got.Fd));
            accepted++;
        }
        return accepted;
    }

    /// <summary>Turns until there is one more connection, and gives it out, in the order they came.</summary>
    public TestPeer Accept()
    {
        _test.Until(() => AcceptAll() > 0 || _handedOut < Peers.Count);
        return Peers[_handedOut++];
    }

    /// <summary>Turns until one more complete head has come, and takes it.</summary>
    public void ExpectRequests(TestPeer peer, int count) =>
        _test.Until(() => peer.Read().Split("\r\n\r\n").Length - 1 >= count);

    public void Dispose()
    {
        foreach (var peer in Peers)
            peer.Dispose();
        if (_fd >= 0)
            Sockets.Close(_fd);
        _fd = -1;
    }
}

/// <summary>Asks a pool for a stream and sends a GET on it; writes down what comes back.</summary>
internal sealed class PoolRequest : HttpPoolWaiter
{
    private readonly Response _sink;

    public PoolRequest(string path = "/")
    {
        _sink = new Response(this);
        Path = path;
    }

    public string Path { get; }

    /// <summary>The head is sent without the end of the request.</summary>
    public bool KeepsOpen { get; init; }

    /// <summary>Called when the stream is there, instead of sending a GET.</summary>
    public Action<PoolRequest>? Ready { get; init; }

    /// <summary>Called when the stream ends, however.</summary>
    public Action<PoolRequest>? Over { get; init; }

    public ClientStream? Stream { get; private set; }
    public HttpPoolConnection? Connection { get; private set; }
    public ulong ConnectionId { get; private set; }
    public bool WasReused { get; private set; }
    public Failure? PoolFailure { get; private set; }
    public string Detail { get; private set; } = "";
    public int Status { get; private set; }
    public string Body { get; private set; } = "";
    public bool Ended { get; private set; }
    public Failure? ResetReason { get; private set; }
    public bool IsOver => Ended || ResetReason is not null || PoolFailure is not null;

    internal override ResponseSink Sink => _sink;

    internal override void OnPoolReady(ClientStream stream, HostState host, HttpPoolConnection connection)
    {
        Stream = stream;
        Connection = connection;
        ConnectionId = connection.Id;
        WasReused = connection.IsReused;
        if (Ready is not null)
            Ready(this);
        else
            SendHead(!KeepsOpen);
    }

    public void SendHead(bool end)
    {
        var head = new RequestHead();
        head.Add(HeaderId.Method, "GET"u8);
        head.Add(HeaderId.Scheme, "http"u8);
        head.Add(HeaderId.Path, Encoding.ASCII.GetBytes(Path));
        head.Add(HeaderId.Authority, "test"u8);
        head.Framing = end ? default : new BodyFraming(BodyKind.Streamed);
        Stream!.SendHead(head, end);
    }

    /// <summary>Gives up a stream, as a router does.</summary>
    public void Reset()
    {
        Stream!.Reset(Failure.LocalReset);
        Finish();
    }

    internal override void OnPoolFailure(Failure reason, HostState host, string transportDetail)
    {
        PoolFailure = reason;
        Detail = transportDetail;
        Over?.Invoke(this);
    }

    private void Finish()
    {
        Stream = null;
        Over?.Invoke(this);
    }

    private sealed class Response(PoolRequest owner) : ResponseSink
    {
        internal override void OnInformational(ResponseHead head)
        {
        }

        internal override void OnHead(ResponseHead head, bool endStream)
        {
            owner.Status = head.Status;
            End(endStream);
        }

        internal override void OnBody(ReadOnlySpan<byte> data, bool endStream)
        {
            owner.Body += Encoding.Latin1.GetString(data);
            End(endStream);
        }

        internal override void OnTrailers(HeaderMap trailers) => End(true);

        internal override void OnReset(Failure reason)
        {
            owner.ResetReason = reason;
            owner.Finish();
        }

        internal override void OnSendBlocked()
        {
        }

        internal override void OnSendReady()
        {
        }

        private void End(bool end)
        {
            if (!end)
                return;
            owner.Ended = true;
            owner.Finish();
        }
    }
}
