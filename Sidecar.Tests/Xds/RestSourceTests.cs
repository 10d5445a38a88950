using System;
using System.Collections.Generic;
using System.Linq;
using System.Text;
using System.Text.RegularExpressions;
using Envoy.Config.Core.V3;
using Google.Protobuf;
using Sidecar.Memory;
using Sidecar.Telemetry.Stats;
using Sidecar.Tests.Harness;
using Sidecar.Upstream;
using Sidecar.Wire;
using Sidecar.Xds;
using Xunit;

namespace Sidecar.Tests.Xds;

/// <summary>A control plane polled by REST: what it is asked, what it may answer, and when it is asked again.</summary>
public sealed class RestSourceTests : IDisposable
{
    private const int DelayMs = 1000;
    private readonly UpstreamHarness _harness = new();
    private readonly RecordingTarget _target = new();
    private readonly List<FakeAds> _planes = [];
    private readonly PoolUpstream _upstream;
    private RestSource? _source;
    private TestPeer? _peer;
    private int _read;

    public RestSourceTests()
    {
        _upstream = _harness.Listen();
    }

    public void Dispose()
    {
        _source?.Stop();
        foreach (var plane in _planes)
            plane.Dispose();
        _harness.Dispose();
    }

    private void Start(params Sidecar.Net.Address[] hosts)
    {
        _harness.Cluster(_harness.Config(), hosts.Length > 0 ? hosts : [_upstream.Address]);
        StartSource();
    }

    private void StartSource(string cluster = "test")
    {
        byte[] node = new Node { Id = "me", Cluster = "c" }.ToByteArray();
        _source = new RestSource(
            _harness.Test.Loop, _harness.Clusters, new RestSourceConfig(cluster, "/v3/discovery:clusters", DelayMs, 1000), node, _target, _harness.Registry,
            new Dictionary<string, long>(), new FastRandom(7));
        _source.Subscribe(ResourceTypes.Cluster, true, []);
        _source.Start();
        _harness.Test.Step();
    }

    private long Stat(int stat) => SubscriptionStats.Cells(_harness.Registry, ResourceTypes.Cluster)!.Value(stat);

    private string Stats() => $"{Stat(SubscriptionStats.UpdateAttempt)} attempts, {Stat(SubscriptionStats.UpdateSuccess)} taken, "
        + $"{Stat(SubscriptionStats.UpdateRejected)} refused, {Stat(SubscriptionStats.UpdateFailure)} failed";

    /// <summary>Waits for the next request and gives out its head and body.</summary>
    private (string Head, string Body) Request()
    {
        _peer ??= _upstream.Accept();
        Match match = Match.Empty;
        _harness.Test.Until(() =>
        {
            match = Regex.Match(_peer.Read()[_read..], @"^(.*?\r\n\r\n)", RegexOptions.Singleline);
            return match.Success && _peer.Text.Length - _read >= match.Length + Length(match.Value);
        });
        string text = _peer.Text.Substring(_read, match.Length + Length(match.Value));
        _read += text.Length;
        return (match.Value, text[match.Length..]);
    }

    private static int Length(string head) => int.Parse(Regex.Match(head, @"content-length: (\d+)").Groups[1].Value);

    private void Answer(string body, string status = "200 OK") =>
        Send($"HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {Encoding.UTF8.GetByteCount(body)}\r\n\r\n{body}");

    private void Send(string text)
    {
        string before = Stats();
        _peer!.Send(text);
        _harness.Test.Until(() => Stats() != before);
    }

    private void Connected() => Assert.Equal("connected", _target.Events[0]);

    private static string World(string version, params string[] clusters)
    {
        var resources = clusters.Select(name => $$"""{"@type":"{{ResourceTypes.Cluster}}","name":"{{name}}"}""");
        return $$$"""{"version_info":"{{{version}}}","resources":[{{{string.Join(",", resources)}}}],"control_plane":{"identifier":"rest-1"}}""";
    }

    // ---- what is asked ------------------------------------------------------------------------------------------

    [Fact]
    public void Request_IsAPostOfADiscoveryRequestAsJson_WithTheNode_EachTime()
    {
        Start();
        var (head, body) = Request();
        Assert.Equal($"POST /v3/discovery:clusters HTTP/1.1\r\nhost: test\r\ncontent-type: application/json\r\ncontent-length: {body.Length}\r\n\r\n", head);
        Assert.Equal($$"""{"node":{"id":"me","cluster":"c"},"type_url":"{{ResourceTypes.Cluster}}"}""", body);
        Answer(World("1", "x", "y"));
        Connected();
        Assert.Equal("CDS world 1 : x@1 y@1", _target.Events[^1]);
        Assert.Equal("rest-1", _source!.ControlPlane);
        Assert.Equal("1 attempts, 1 taken, 0 refused, 0 failed", Stats());
        _harness.Test.Advance(2 * DelayMs);
        Assert.Equal($$"""{"version_info":"1","node":{"id":"me","cluster":"c"},"type_url":"{{ResourceTypes.Cluster}}"}""", Request().Body);
        Answer(World("2", "y"));
        Assert.Equal("CDS world 2 : y@2 -x", _target.Events[^1]);
        Assert.Equal("2 attempts, 2 taken, 0 refused, 0 failed", Stats());
        // All of it on one connection, and said once to be there.
        Assert.Equal(0, _upstream.AcceptAll());
        Assert.Equal(3, _target.Events.Count);
    }

    [Fact]
    public void NextRequest_ComesAfterTheDelay_AndUpToAsMuchAgain()
    {
        Start();
        var waits = new List<long>();
        for (int i = 0; i < 40; i++)
        {
            Request();
            Answer(World("1"));
            long waited = 0;
            long attempts = Stat(SubscriptionStats.UpdateAttempt);
            for (; Stat(SubscriptionStats.UpdateAttempt) == attempts; waited += 10)
                _harness.Test.Advance(10);
            waits.Add(waited);
        }
        Assert.InRange(waits.Min(), DelayMs, DelayMs * 1.2);
        Assert.InRange(waits.Max(), DelayMs * 1.8, DelayMs * 2 + 10);
    }

    [Theory]
    [InlineData(false, "http")]
    [InlineData(true, "https")]
    public void ControlPlaneByHttp2_IsAskedTheSame_InTheSchemeOfItsTransport(bool secure, string scheme)
    {
        var plane = new FakeAds(_harness.Test);
        _planes.Add(plane);
        _harness.Cluster(_harness.Config(http: HttpUpstreamOptions.Default with { Protocol = UpstreamProtocol.Http2 }, transport: secure ? new SecureInName() : null), plane.Address);
        StartSource();
        var stream = plane.Accept();
        Assert.Equal(scheme, stream[":scheme"]);
        Assert.Equal(("POST", "/v3/discovery:clusters", "test", "application/json"), (stream[":method"], stream[":path"], stream[":authority"], stream["content-type"]));
        plane.Until(() => stream.Ended);
        Assert.Equal($$"""{"node":{"id":"me","cluster":"c"},"type_url":"{{ResourceTypes.Cluster}}"}""", stream.Text());
        stream.SendHead(contentType: "application/json").SendAll(World("1", "x"));
        plane.Until(() => _target.Events.Count == 2);
        Assert.Equal("CDS world 1 : x@1", _target.Events[^1]);
    }

    // ---- what may come ------------------------------------------------------------------------------------------

    [Fact]
    public void Answer_WholeByteByByteAndAtEverySplit_Counts()
    {
        string body = World("1", "x");
        string chunked = $"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{body.Length:x}\r\n{body}\r\n0\r\n\r\n";
        Start();
        int answers = 0;
        for (int split = 1; split <= chunked.Length; split += split < 60 ? 1 : 23)
        {
            Request();
            _peer!.Send(chunked[..split]);
            _harness.Test.Settle();
            if (split < chunked.Length)
                _peer.Send(chunked[split..]);
            answers++;
            _harness.Test.Until(() => Stat(SubscriptionStats.UpdateSuccess) == answers);
            _harness.Test.Advance(2 * DelayMs);
        }
        Request();
        foreach (char c in chunked)
        {
            _peer!.Send(c.ToString());
            _harness.Test.Settle();
        }
        _harness.Test.Until(() => Stat(SubscriptionStats.UpdateSuccess) == answers + 1);
        Assert.Equal(0, Stat(SubscriptionStats.UpdateFailure) + Stat(SubscriptionStats.UpdateRejected));
    }

    [Fact]
    public void NotModified_ChangesNothing_AndCountsAsNeither()
    {
        Start();
        Request();
        Answer(World("1", "x"));
        _harness.Test.Advance(2 * DelayMs);
        Request();
        _peer!.Send("HTTP/1.1 304 Not Modified\r\n\r\n");
        _harness.Test.Settle();
        _harness.Test.Advance(2 * DelayMs);
        Assert.Contains("\"version_info\":\"1\"", Request().Body);
        Assert.Equal("3 attempts, 1 taken, 0 refused, 0 failed", Stats());
    }

    [Theory]
    [InlineData("")]
    [InlineData("{")]
    [InlineData("[]")]
    [InlineData("<html>")]
    [InlineData("""{"resources":[{"@type":"type.googleapis.com/no.Such"}]}""")]
    [InlineData("""{"type_url":"type.googleapis.com/envoy.config.listener.v3.Listener"}""")]
    public void BodyThatIsNoResponse_IsRejected_AndWhatIsInUseStays(string body)
    {
        Start();
        Request();
        Answer(World("1", "x"));
        _harness.Test.Advance(2 * DelayMs);
        Request();
        Answer(body);
        Assert.Equal("2 attempts, 1 taken, 1 refused, 0 failed", Stats());
        _harness.Test.Advance(2 * DelayMs);
        Assert.Contains("\"version_info\":\"1\"", Request().Body);
        Answer(World("3", "x"));
        Assert.Equal(["connected", "CDS world 1 : x@1", "CDS world 3 : x@3"], _target.Events);
    }

    [Fact]
    public void ResourceThatIsRefused_KeepsTheVersion()
    {
        _target.Refuses.Add(new ResourceRejection("bad", "connect_timeout", "must be positive"));
        Start();
        Request();
        Answer(World("1", "bad", "x"));
        Assert.Equal("1 attempts, 0 taken, 1 refused, 0 failed", Stats());
        _harness.Test.Advance(2 * DelayMs);
        Assert.DoesNotContain("version_info", Request().Body);
    }

    [Theory]
    [InlineData("HTTP/1.1 503 Service Unavailable\r\ncontent-length: 2\r\n\r\nno", "HTTP status 503")]
    [InlineData("HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n", "HTTP status 404")]
    [InlineData("HTTP/1.1 200 OK\r\ncontent-length: 67108865\r\n\r\n", "a response of 67108865 bytes is larger than the limit of 67108864")]
    [InlineData("garbage\r\n\r\n", "upstream connect error or disconnect/reset before headers. reset reason: protocol error")]
    public void AnswerThatIsNone_IsAFailure_AndTheNextPollComes(string answer, string reason)
    {
        Start();
        Request();
        Send(answer);
        Assert.Equal("1 attempts, 0 taken, 0 refused, 1 failed", Stats());
        Assert.Equal(["disconnected REST update for /v3/discovery:clusters from test failed: " + reason], _target.Events);
        _harness.Test.Advance(2 * DelayMs);
        Assert.Equal(2, Stat(SubscriptionStats.UpdateAttempt));
    }

    [Fact]
    public void AnswerThatDoesNotCome_IsGivenUpAfterRequestTimeout()
    {
        Start();
        Request();
        _harness.Test.Advance(999);
        Assert.Equal(0, Stat(SubscriptionStats.UpdateFailure));
        _harness.Test.Advance(1);
        Assert.Equal(["disconnected REST update for /v3/discovery:clusters from test failed: no end within 1000 ms"], _target.Events);
        _harness.Test.Advance(2 * DelayMs);
        _peer = null;
        _read = 0;
        Request();
        Answer(World("1", "x"));
        Assert.Equal(["connected", "CDS world 1 : x@1"], _target.Events.Skip(1));
    }

    [Fact]
    public void ClusterThatRefusesConnections_OrIsUnknown_IsAFailure_EachPoll()
    {
        Start(_harness.Refusing());
        _harness.Test.Until(() => Stat(SubscriptionStats.UpdateFailure) == 1);
        _harness.Test.Advance(2 * DelayMs);
        _harness.Test.Until(() => Stat(SubscriptionStats.UpdateFailure) == 2);
        // Said once; the second failure is no news.
        Assert.Single(_target.Events);
        _source!.Stop();
        StartSource("nowhere");
        Assert.Equal(3, Stat(SubscriptionStats.UpdateFailure));
        Assert.Equal("disconnected REST update for /v3/discovery:clusters from nowhere failed: Cluster not available", _target.Events[^1]);
    }

    [Fact]
    public void NothingHeard_EndsThePatience_AndPollingGoesOn()
    {
        Start();
        _harness.Test.Advance(SubscribingSource.DefaultFetchTimeoutMs);
        Assert.Contains("timeout CDS ", _target.Events);
        Assert.Equal(1, Stat(SubscriptionStats.InitFetchTimeout));
        _harness.Test.Advance(2 * DelayMs);
        Assert.True(Stat(SubscriptionStats.UpdateAttempt) >= 2);
    }

    [Fact]
    public void Stop_EndsTheRequestUnderWay_AndThePolling()
    {
        Start();
        Request();
        _source!.Stop();
        _harness.Test.Advance(100_000);
        Assert.Equal("1 attempts, 0 taken, 0 refused, 0 failed", Stats());
        Assert.Empty(_target.Events);
    }
}
