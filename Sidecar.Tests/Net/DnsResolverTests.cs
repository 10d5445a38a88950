using System;
using System.Buffers.Binary;
using System.Collections.Generic;
using System.Linq;
using System.Text;
using Sidecar.Linux;
using Sidecar.Net;
using Sidecar.Tests.Harness;
using Xunit;

namespace Sidecar.Tests.Net;

public sealed class DnsResolverTests
{
    /// <summary>A DNS server the test turns by hand: UDP and TCP on one port of loopback.</summary>
    private sealed class Server : IDisposable
    {
        private readonly int _udp;
        private readonly int _tcp;
        private readonly List<TestPeer> _tcpPeers = [];

        public Server()
        {
            _tcp = ListenSocket.Bind(new ListenOptions { Address = Address.Loopback(0) }, out string step).Fd;
            Sockets.LocalAddress(_tcp, out SocketAddress bound);
            Address = Address.From(bound);
            _udp = Sockets.OpenDatagram(AddressFamily.IPv4).Fd;
            Assert.True(Sockets.Bind(_udp, Address.ToSocketAddress()).Ok, step);
        }

        public Address Address { get; }
        public List<string> Asked { get; } = [];
        public HashSet<int> Ids { get; } = [];
        public HashSet<Address> Ports { get; } = [];

        /// <summary>The datagrams sent in answer to a query; none when empty.</summary>
        public Func<string, byte[], IEnumerable<byte[]>> Answer { get; set; } = (_, _) => [];

        public Func<string, byte[], byte[]>? AnswerTcp { get; set; }

        public void Turn()
        {
            byte[] buffer = new byte[2048];
            while (Sockets.ReceiveFrom(_udp, buffer, out SocketAddress from) is { Ok: true } got)
            {
                byte[] query = buffer[..(int)got.Value];
                Ids.Add(query[0] << 8 | query[1]);
                Ports.Add(Address.From(from));
                foreach (byte[] response in Answer(Note(query), query))
                    Sockets.SendTo(_udp, response, from);
            }
            while (Sockets.Accept(_tcp, out _) is { Ok: true } accepted)
                _tcpPeers.Add(new TestPeer(accepted.Fd));
            foreach (TestPeer peer in _tcpPeers)
            {
                int before = peer.Received.Count;
                peer.Receive();
                if (peer.Received.Count == before || peer.Received.Count < 2 || AnswerTcp is null)
                    continue;
                byte[] query = [.. peer.Received.Skip(2)];
                byte[] response = AnswerTcp("tcp " + Note(query), query);
                byte[] length = new byte[2];
                BinaryPrimitives.WriteUInt16BigEndian(length, (ushort)response.Length);
                // In three pieces: a message is not a segment.
                peer.TrySend(length.AsSpan(0, 1));
                peer.TrySend(length.AsSpan(1));
                peer.TrySend(response);
            }
        }

        private string Note(byte[] query)
        {
            StringBuilder name = new();
            int at = 12;
            for (; query[at] != 0; at += query[at] + 1)
                name.Append(name.Length > 0 ? "." : "").Append(Encoding.ASCII.GetString(query, at + 1, query[at]));
            string asked = name + (query[at + 2] == 1 ? " A" : " AAAA");
            Asked.Add(asked);
            return asked;
        }

        public void Dispose()
        {
            _tcpPeers.ForEach(peer => peer.Dispose());
            Sockets.Close(_udp);
            Sockets.Close(_tcp);
        }
    }

    private static byte[] V4(byte[] query, uint ttl, params byte[] last) =>
        last.Aggregate(new DnsMessageTests.Answer(query), (answer, b) => answer.Raw([0xc0, 12], 1, ttl, [10, 0, 0, b])).Build();

    private static byte[] V6(byte[] query, uint ttl, byte last) =>
        new DnsMessageTests.Answer(query).Raw([0xc0, 12], 28, ttl, [0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last]).Build();

    private static byte[] Code(byte[] query, int code) => new DnsMessageTests.Answer(query, code).Build();

    private static DnsConfig Config(Server[] servers, string more = "", string hosts = "") =>
        DnsConfig.Parse(more, hosts).WithServers([.. servers.Select(server => server.Address)]);

    private static DnsAnswer Resolve(TestLoop test, DnsConfig config, string name, DnsFamily family, params Server[] servers)
    {
        DnsAnswer? answer = null;
        DnsResolver resolver = new(test, () => config);
        resolver.Resolve(name, family, a => answer = a);
        Assert.Null(answer); // never before the call returns
        test.Until(() =>
        {
            foreach (Server server in servers)
                server.Turn();
            return answer is not null;
        });
        Assert.Equal(0, test.Loop.TimerCount);
        Assert.Equal(0, test.Loop.HandlerCount);
        return answer!;
    }

    private static string Text(DnsAnswer answer) =>
        $"{answer.Status} {string.Join(" ", answer.Addresses.Select(a => a.HostString()))} ttl {answer.TtlSeconds}";

    [Theory]
    [InlineData(DnsFamily.Auto, "Ok fd00::9 ttl 40")]
    [InlineData(DnsFamily.V4Only, "Ok 10.0.0.1 10.0.0.2 ttl 30")]
    [InlineData(DnsFamily.V6Only, "Ok fd00::9 ttl 40")]
    [InlineData(DnsFamily.V4Preferred, "Ok 10.0.0.1 10.0.0.2 ttl 30")]
    [InlineData(DnsFamily.All, "Ok 10.0.0.1 10.0.0.2 fd00::9 ttl 30")]
    public void Families_AsEnvoyChoosesThem_Sorted(object family, string expected)
    {
        using TestLoop test = new();
        using Server server = new();
        server.Answer = (asked, query) => [asked.EndsWith(" A", StringComparison.Ordinal) ? V4(query, 30, 2, 1, 2) : V6(query, 40, 9)];
        string text = Text(Resolve(test, Config([server]), "svc.example.", (DnsFamily)family, server));
        // Auto and V4Preferred ask for both and say the least TTL of what they were told.
        Assert.Equal(family is DnsFamily.Auto ? "Ok fd00::9 ttl 30" : expected, text);
    }

    [Fact]
    public void Auto_FallsBackToIPv4()
    {
        using TestLoop test = new();
        using Server server = new();
        server.Answer = (asked, query) => [asked.EndsWith(" A", StringComparison.Ordinal) ? V4(query, 30, 1) : Code(query, 0)];
        Assert.Equal("Ok 10.0.0.1 ttl 30", Text(Resolve(test, Config([server]), "a.b", DnsFamily.Auto, server)));
    }

    [Fact]
    public void SearchList_ByDots()
    {
        using TestLoop test = new();
        using Server server = new();
        server.Answer = (asked, query) => [asked.StartsWith("a.b.svc ", StringComparison.Ordinal) ? V4(query, 5, 7) : Code(query, 3)];
        DnsConfig config = Config([server], "search ns.svc svc\noptions ndots:5");
        Assert.Equal("Ok 10.0.0.7 ttl 5", Text(Resolve(test, config, "a.b", DnsFamily.V4Only, server)));
        Assert.Equal(["a.b.ns.svc A", "a.b.svc A"], server.Asked);

        server.Asked.Clear();
        Assert.Equal("NoName  ttl -1", Text(Resolve(test, config, "x.y.", DnsFamily.V4Only, server)));
        Assert.Equal(["x.y A"], server.Asked); // a final dot means: as it is

        server.Asked.Clear();
        config = Config([server], "search svc\noptions ndots:1");
        Assert.Equal("NoName  ttl -1", Text(Resolve(test, config, "x.y", DnsFamily.V4Only, server)));
        Assert.Equal(["x.y A", "x.y.svc A"], server.Asked);
    }

    [Theory]
    [InlineData("10.1.2.3", "Ok 10.1.2.3 ttl -1")]
    [InlineData("fd00::1", "Ok fd00::1 ttl -1")]
    [InlineData("app", "Ok 10.0.0.5 ttl -1")]
    [InlineData("x.localhost", "Ok ::1 ttl -1")]
    [InlineData("a..b", "NoName  ttl -1")]
    public void NotAsked_WhatIsKnown(string name, string expected)
    {
        using TestLoop test = new();
        Assert.Equal(expected, Text(Resolve(test, Config([], hosts: "10.0.0.5 app"), name, DnsFamily.Auto)));
    }

    [Fact]
    public void FailingServer_IsPassedOver_ASilentOneAfterItsTimeout()
    {
        using TestLoop test = new();
        using Server failing = new();
        using Server silent = new();
        using Server good = new();
        failing.Answer = (_, query) => [Code(query, 2)];
        good.Answer = (_, query) => [V4(query, 5, 7)];
        DnsAnswer? answer = null;
        new DnsResolver(test, () => Config([failing, silent, good])).Resolve("a.b", DnsFamily.V4Only, a => answer = a);
        test.Until(() =>
        {
            failing.Turn();
            silent.Turn();
            return silent.Asked.Count == 1;
        });
        test.Advance(4999);
        Assert.Single(silent.Asked);
        test.Advance(1);
        test.Until(() =>
        {
            good.Turn();
            return answer is not null;
        });
        Assert.Equal("Ok 10.0.0.7 ttl 5", Text(answer!));
    }

    [Fact]
    public void NobodyAnswers_TimesOutAfterAllAttempts()
    {
        using TestLoop test = new();
        using Server server = new();
        DnsAnswer? answer = null;
        new DnsResolver(test, () => Config([server], "options timeout:1 attempts:3")).Resolve("a.b", DnsFamily.V4Only, a => answer = a);
        for (int i = 1; i <= 3; i++)
        {
            int expected = i;
            test.Until(() =>
            {
                server.Turn();
                return server.Asked.Count == expected;
            });
            Assert.Null(answer);
            test.Advance(1000);
        }
        Assert.Equal("TimedOut  ttl -1", Text(answer!));
        Assert.Equal(3, server.Ports.Count); // a new port for each try, and a new id, which may repeat by chance
        Assert.InRange(server.Ids.Count, 2, 3);
    }

    [Fact]
    public void ClosedPort_FailsWithoutWaiting()
    {
        using TestLoop test = new();
        Server gone = new();
        gone.Dispose();
        Assert.Equal("ServerFailure  ttl -1", Text(Resolve(test, Config([gone]), "a.b", DnsFamily.V4Only)));
    }

    [Fact]
    public void Truncated_IsAskedByTcp()
    {
        using TestLoop test = new();
        using Server server = new();
        server.Answer = (_, query) => [new DnsMessageTests.Answer(query, truncated: true).Build()];
        server.AnswerTcp = (_, query) => V4(query, 9, [.. Enumerable.Range(1, 200).Select(i => (byte)i)]);
        DnsAnswer answer = Resolve(test, Config([server]), "big.x", DnsFamily.V4Only, server);
        Assert.Equal(200, answer.Addresses.Count);
        Assert.Equal(9, answer.TtlSeconds);
        Assert.Equal(2, server.Asked.Count);
    }

    [Fact]
    public void Guesses_AreIgnored_TheRealAnswerStillCounts()
    {
        using TestLoop test = new();
        using Server server = new();
        server.Answer = (_, query) =>
        {
            byte[] wrongId = V4(query, 1, 66);
            wrongId[0] ^= 0xff;
            byte[] wrongQuestion = V4(query, 1, 66);
            wrongQuestion[13] ^= 1;
            return [wrongId, wrongQuestion, [], V4(query, 5, 1)];
        };
        Assert.Equal("Ok 10.0.0.1 ttl 5", Text(Resolve(test, Config([server]), "a.b", DnsFamily.V4Only, server)));
    }

    [Fact]
    public void MalformedAnswers_NeverBreakTheLoop()
    {
        Random random = new(7);
        using TestLoop test = new();
        using Server server = new();
        server.Answer = (_, query) =>
        {
            byte[] mutant = V4(query, 5, 1, 2, 3);
            for (int i = random.Next(0, 8); i > 0; i--)
                mutant[random.Next(2, mutant.Length)] = (byte)random.Next(256);
            return [mutant[..random.Next(2, mutant.Length + 1)], Code(query, 2)];
        };
        int ok = 0;
        for (int round = 0; round < 300; round++)
        {
            DnsAnswer answer = Resolve(test, Config([server], "options attempts:1"), "a.b", DnsFamily.V4Only, server);
            Assert.True(answer.Status == DnsStatus.Ok == answer.Addresses.Count > 0);
            ok += answer.Status == DnsStatus.Ok ? 1 : 0;
        }
        Assert.InRange(ok, 1, 299);
    }

    [Fact]
    public void Cancelled_IsNotCalledBack_AndLeavesNothing()
    {
        using TestLoop test = new();
        using Server server = new();
        DnsQuery query = new DnsResolver(test, () => Config([server])).Resolve("a.b", DnsFamily.All, _ => Assert.Fail("called"));
        test.Step();
        query.Cancel();
        test.Advance(60_000);
        Assert.Equal(0, test.Loop.TimerCount);
        Assert.Equal(0, test.Loop.HandlerCount);
    }
}
