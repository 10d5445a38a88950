using System;
using System.Collections.Generic;
using System.Linq;
using Sidecar.Downstream;
using Sidecar.Filters;
using Sidecar.Linux;
using Sidecar.Net;
using Sidecar.Telemetry.Stats;
using Sidecar.Tests.Harness;
using Xunit;

namespace Sidecar.Tests.Downstream;

/// <summary>Which chain a connection gets: Istio's inbound sets, Envoy's order of specificity, and a naive model of it on random chains.</summary>
public class FilterChainMatchTests
{
    private static readonly string[] s_mtlsHttp = ["istio-http/1.0", "istio-http/1.1", "istio-h2"];
    private static readonly string[] s_mtlsTcp = ["istio-peer-exchange", "istio"];
    private static readonly string[] s_plainHttp = ["http/1.1", "h2c"];

    // ---- Istio's sets ---------------------------------------------------------------------------------------------

    [Theory]
    [InlineData("tls", "istio-http/1.1,istio", "mtls http")]
    [InlineData("tls", "istio", "mtls tcp")]
    [InlineData("tls", "istio-peer-exchange,istio", "mtls tcp")]
    [InlineData("tls", "h2,http/1.1", "tls passed on")]
    [InlineData("tls", "", "tls passed on")]
    [InlineData("raw_buffer", "http/1.1", "plain http")]
    [InlineData("raw_buffer", "h2c", "plain http")]
    [InlineData("raw_buffer", "", "plain tcp")]
    [InlineData("", "", "plain tcp")]
    public void InboundPermissiveAuto(string transport, string protocols, string chain)
    {
        using var table = new Table();
        table.Add("mtls http", new() { TransportProtocol = "tls", ApplicationProtocols = s_mtlsHttp });
        table.Add("plain http", new() { TransportProtocol = "raw_buffer", ApplicationProtocols = s_plainHttp });
        table.Add("mtls tcp", new() { TransportProtocol = "tls", ApplicationProtocols = s_mtlsTcp });
        table.Add("plain tcp", new() { TransportProtocol = "raw_buffer" });
        table.Add("tls passed on", new() { TransportProtocol = "tls" });
        Assert.Equal(chain, table.Find(transport: transport, protocols: protocols));
    }

    [Theory]
    [InlineData("tls", "istio", "mtls")]
    [InlineData("tls", "h2", "tls passed on")]
    [InlineData("raw_buffer", "http/1.1", "plain")]
    public void InboundPermissiveTcp(string transport, string protocols, string chain)
    {
        using var table = new Table();
        table.Add("mtls", new() { TransportProtocol = "tls", ApplicationProtocols = [.. s_mtlsTcp, .. s_mtlsHttp] });
        table.Add("tls passed on", new() { TransportProtocol = "tls" });
        table.Add("plain", new() { TransportProtocol = "raw_buffer" });
        Assert.Equal(chain, table.Find(transport: transport, protocols: protocols));
    }

    [Theory]
    [InlineData("tls", "anything", "mtls")]
    [InlineData("raw_buffer", "", null)]
    public void InboundStrict_PlainIsRefused(string transport, string protocols, string? chain)
    {
        using var table = new Table();
        table.Add("mtls", new() { TransportProtocol = "tls" });
        Assert.Equal(chain, table.Find(transport: transport, protocols: protocols));
    }

    [Fact]
    public void VirtualInbound_BlackholeServiceAndPassthrough()
    {
        using var table = new Table();
        table.Add("blackhole", new() { DestinationPort = 15006 });
        table.Add("passthrough", new() { TransportProtocol = "raw_buffer" });
        table.Add("service", new() { DestinationPort = 8888, TransportProtocol = "raw_buffer" });
        Assert.Equal("blackhole", table.Find("10.0.0.1", 15006));
        Assert.Equal("service", table.Find("10.0.0.1", 8888));
        Assert.Equal("passthrough", table.Find("10.0.0.1", 9999));
        Assert.Null(table.Find("10.0.0.1", 8888, transport: "tls"));
    }

    // ---- the order -------------------------------------------------------------------------------------------------

    [Fact]
    public void DestinationPort_BeforeDestinationAddress_WithoutAWayBack()
    {
        using var table = new Table();
        table.Add("port", new() { DestinationPort = 80, ServerNames = ["a.org"] });
        table.Add("address", new() { DestinationRanges = [Range("10.0.0.0", 8)] });
        Assert.Equal("port", table.Find("10.1.1.1", 80, server: "a.org"));
        Assert.Null(table.Find("10.1.1.1", 80, server: "b.org"));
        Assert.Equal("address", table.Find("10.1.1.1", 81, server: "b.org"));
    }

    [Fact]
    public void DestinationAddress_LongestPrefixWins()
    {
        using var table = new Table();
        table.Add("all", new() { DestinationRanges = [Range("0.0.0.0", 0)] });
        table.Add("ten", new() { DestinationRanges = [Range("10.0.0.0", 8)] });
        table.Add("host", new() { DestinationRanges = [Range("10.0.0.5", 32)] });
        table.Add("six", new() { DestinationRanges = [Range("2001:db8::", 32)] });
        Assert.Equal("host", table.Find("10.0.0.5", 1));
        Assert.Equal("ten", table.Find("10.0.0.6", 1));
        Assert.Equal("all", table.Find("11.0.0.6", 1));
        Assert.Equal("six", table.Find("2001:db8::7", 1));
        Assert.Null(table.Find("2001:db9::7", 1));
    }

    [Theory]
    [InlineData("a.example.org", "exact")]
    [InlineData("b.example.org", "sub")]
    [InlineData("c.b.example.org", "sub")]
    [InlineData("example.org", "top")]
    [InlineData("x.deep.example.org", "deep")]
    [InlineData("other.net", "any")]
    [InlineData("", "any")]
    public void ServerName_ExactThenLongestSuffixThenNone(string server, string chain)
    {
        using var table = new Table();
        table.Add("exact", new() { ServerNames = ["a.example.org"] });
        table.Add("sub", new() { ServerNames = ["*.example.org"] });
        table.Add("deep", new() { ServerNames = ["*.deep.example.org"] });
        table.Add("top", new() { ServerNames = ["*.org"] });
        table.Add("any", new());
        Assert.Equal(chain, table.Find(server: server));
    }

    [Fact]
    public void SourceType_LocalExternalAny()
    {
        using var table = new Table();
        table.Add("local", new() { SourceType = SourceType.SameIpOrLoopback });
        table.Add("external", new() { SourceType = SourceType.External });
        Assert.Equal("local", table.Find("10.0.0.1", 1, source: "127.0.0.1"));
        Assert.Equal("local", table.Find("10.0.0.1", 1, source: "10.0.0.1"));
        Assert.Equal("external", table.Find("10.0.0.1", 1, source: "10.0.0.2"));
    }

    [Fact]
    public void SourceAddressThenSourcePort()
    {
        using var table = new Table();
        table.Add("port", new() { SourceRanges = [Range("10.0.0.0", 8)], SourcePorts = [7] });
        table.Add("range", new() { SourceRanges = [Range("10.0.0.0", 8)] });
        table.Add("any", new());
        Assert.Equal("port", table.Find(source: "10.9.9.9", sourcePort: 7));
        Assert.Equal("range", table.Find(source: "10.9.9.9", sourcePort: 8));
        Assert.Equal("any", table.Find(source: "11.9.9.9", sourcePort: 7));
    }

    [Fact]
    public void SameCriteria_AreReportedOnce()
    {
        using var table = new Table();
        table.Add("one", new() { DestinationPort = 80, ApplicationProtocols = ["a", "b"] });
        table.Add("two", new() { DestinationPort = 80, ApplicationProtocols = ["b", "a"] });
        table.Add("three", new() { DestinationPort = 80, ApplicationProtocols = ["c"] });
        Assert.Equal([("one", "two")], table.Overlaps());
    }

    // ---- against a model ------------------------------------------------------------------------------------------

    [Fact]
    public void RandomChains_AgreeWithANaiveModel()
    {
        var random = new Random(20250114);
        string[] addresses = ["10.0.0.1", "10.0.1.1", "10.1.0.1", "192.168.0.1", "127.0.0.1"];
        Cidr[] ranges = [Range("10.0.0.1", 32), Range("10.0.0.0", 24), Range("10.0.0.0", 16), Range("10.0.0.0", 8), Range("0.0.0.0", 0)];
        string[] names = ["a.x.org", "b.x.org", "*.x.org", "*.org"];
        string[] servers = ["a.x.org", "b.x.org", "c.x.org", "y.org", ""];
        string[] protocols = ["h2", "http/1.1", "istio"];
        int found = 0;
        for (int round = 0; round < 300; round++)
        {
            using var table = new Table();
            int count = random.Next(1, 9);
            for (int i = 0; i < count; i++)
            {
                table.Add($"chain {i}", new FilterChainCriteria
                {
                    DestinationPort = random.Next(3) == 0 ? random.Next(1, 3) : 0,
                    DestinationRanges = Some(ranges),
                    ServerNames = Some(names),
                    TransportProtocol = new[] { "", "", "tls", "raw_buffer" }[random.Next(4)],
                    ApplicationProtocols = Some(protocols),
                    SourceType = (SourceType)(random.Next(3) == 0 ? random.Next(3) : 0),
                    SourceRanges = Some(ranges),
                    SourcePorts = random.Next(4) == 0 ? [random.Next(1, 3)] : [],
                });
            }
            if (table.Overlaps().Count > 0)
                continue;
            for (int query = 0; query < 60; query++)
            {
                string destination = addresses[random.Next(addresses.Length)];
                int port = random.Next(1, 4);
                string server = servers[random.Next(servers.Length)];
                string transport = new[] { "tls", "raw_buffer" }[random.Next(2)];
                string offered = string.Join(',', protocols.Where(_ => random.Next(2) == 0));
                string source = addresses[random.Next(addresses.Length)];
                int sourcePort = random.Next(1, 4);
                string? got = table.Find(destination, port, server, transport, offered, source, sourcePort);
                Assert.Equal(table.Model(), got);
                if (got is not null)
                    found++;
            }
        }
        Assert.True(found > 1000, $"the model was hardly asked: {found}");

        T[] Some<T>(T[] all) => random.Next(3) > 0 ? [] : [.. all.Where(_ => random.Next(3) == 0)];
    }

    private static Cidr Range(string prefix, int length)
    {
        Assert.True(Address.TryParseIp(prefix, out var address));
        Assert.True(Cidr.TryCreate(address, length, out var cidr));
        return cidr;
    }

    private sealed class Table : IDisposable
    {
        private static readonly StatsScope s_stats = new StatsRegistry(1).Scope(ListenerStats.Schema, "listener.t.");
        private readonly List<(FilterChainCriteria Criteria, FilterChainConfig Chain)> _chains = [];
        private readonly TestLoop _loop = new();
        private readonly Accepted _connection;
        private FilterChainMatch? _match;

        internal Table()
        {
            _loop.ExpectsOpenConnections = true;
            var (connection, peer) = _loop.Connected(new Recorder());
            Peer = peer;
            _connection = new Accepted(connection);
        }

        private TestPeer Peer { get; }

        internal void Add(string name, FilterChainCriteria criteria) => _chains.Add((criteria, new FilterChainConfig
        {
            Name = name,
            Context = new ConnectionContext("t", name, s_stats),
            Terminal = _ => throw new InvalidOperationException(),
            WireBytes = [],
        }));

        internal List<(string, string)> Overlaps()
        {
            var overlaps = new List<(string, string)>();
            _match = FilterChainMatch.Build(_chains, (first, second) => overlaps.Add((first.Name, second.Name)));
            return overlaps;
        }

        internal string? Find(
            string destination = "10.0.0.1", int port = 80, string server = "", string transport = "raw_buffer", string protocols = "", string source = "10.0.0.2", int sourcePort = 40000)
        {
            if (_match is null)
                Assert.Empty(Overlaps());
            Assert.True(Address.TryParseIp(destination, out _connection.Destination, (ushort)port));
            Assert.True(Address.TryParseIp(source, out _connection.Source, (ushort)sourcePort));
            _connection.Connection.RemoteAddress = _connection.Source;
            _connection.ServerName = server;
            _connection.TransportProtocol = transport;
            _connection.ApplicationProtocols.Clear();
            _connection.ApplicationProtocols.AddRange(protocols.Split(',', StringSplitOptions.RemoveEmptyEntries));
            return _match!.Find(_connection)?.Name;
        }

        /// <summary>The same question by elimination: of the chains left, those with the best answer to each criterion in turn stay.</summary>
        internal string? Model()
        {
            var left = _chains.Select(c => (c.Criteria, c.Chain.Name)).ToList();
            var c = _connection;
            bool local = c.Source.IsLoopback || c.Source.SameHost(c.Destination);
            Keep(m => m.DestinationPort == 0 ? 0 : m.DestinationPort == c.Destination.Port ? 1 : -1);
            Keep(m => Longest(m.DestinationRanges, c.Destination));
            Keep(m => Name(m.ServerNames, c.ServerName));
            Keep(m => m.TransportProtocol.Length == 0 ? 0 : m.TransportProtocol == c.TransportProtocol ? 1 : -1);
            Keep(m => Protocol(m.ApplicationProtocols));
            Keep(m => m.SourceType == SourceType.Any ? 0 : (m.SourceType == SourceType.SameIpOrLoopback) == local ? 1 : -1);
            Keep(m => Longest(m.SourceRanges, c.Source));
            Keep(m => m.SourcePorts.Count == 0 ? 0 : m.SourcePorts.Contains(c.Source.Port) ? 1 : -1);
            return left.Count == 0 ? null : left[0].Name;

            void Keep(Func<FilterChainCriteria, int> score)
            {
                int best = left.Count == 0 ? -1 : left.Max(m => score(m.Criteria));
                left.RemoveAll(m => score(m.Criteria) != best || best < 0);
            }

            static int Longest(IReadOnlyList<Cidr> ranges, Address address) =>
                ranges.Count == 0 ? 0 : ranges.Max(r => r.Contains(address) ? r.PrefixLength + 1 : -1);

            static int Name(IReadOnlyList<string> names, string server) => names.Count == 0 ? 0 : names.Max(n =>
                n == server ? 1000 : n.StartsWith("*.", StringComparison.Ordinal) && server.EndsWith(n[1..], StringComparison.Ordinal) ? n.Length : -1);

            int Protocol(IReadOnlyList<string> protocols)
            {
                if (protocols.Count == 0)
                    return 0;
                int best = -1;
                for (int i = 0; i < c.ApplicationProtocols.Count; i++)
                {
                    if (protocols.Contains(c.ApplicationProtocols[i]))
                        best = Math.Max(best, 100 - i);
                }
                return best;
            }
        }

        public void Dispose()
        {
            _connection.Connection.Close(Sidecar.Telemetry.Failure.None);
            Peer.Dispose();
            _loop.Dispose();
        }
    }

    private sealed class Accepted(Connection connection) : AcceptedConnection
    {
        internal override Connection Connection => connection;
        internal override int WorkerIndex => 0;
    }
}
