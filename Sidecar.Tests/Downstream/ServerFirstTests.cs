using Sidecar.Tests.Harness;
using Xunit;

namespace Sidecar.Tests.Downstream;

/// <summary>Protocols in which the server speaks first (MySQL, SMTP), on listeners that look at what the client says: time stands still unless told.</summary>
public sealed class ServerFirstTests
{
    private const string Greeting = "220 mail.example ESMTP";

    // As Istio has it for ports that are known to be such: the inspectors are off for them, so that nothing is waited for.
    [Theory]
    [InlineData(""" "filter_disabled": {"destination_port_range": {"start": 1, "end": 65536}} """)]
    [InlineData(""" "filter_disabled": {"any_match": true} """)]
    [InlineData(""" "filter_disabled": {"not_match": {"destination_port_range": {"start": 1, "end": 2}}} """)]
    public void InspectorsThatAreOff_DoNotDelayTheGreeting(string disabled)
    {
        using var plane = Listening(disabled, """ "listener_filters_timeout": "15s" """, out var upstream);
        var client = plane.Connect("mail");
        upstream.Accept().Send(Greeting);
        plane.Expect(client, Greeting);
    }

    [Fact]
    public void InspectorsThatAreOn_DelayTheGreeting_ByTheirTimeoutAndNoLonger()
    {
        const int timeoutMs = 100;
        using var plane = Listening("", """ "listener_filters_timeout": "0.1s", "continue_on_listener_filters_timeout": true """, out var upstream);
        var client = plane.Connect("mail");
        plane.Loop.Settle();
        plane.Loop.Advance(timeoutMs - 1);
        Assert.False(upstream.TryAccept(out _));
        plane.Loop.Advance(2);
        upstream.Accept().Send(Greeting);
        plane.Expect(client, Greeting);
        // What the client then says is no longer looked at.
        client.Send("EHLO a\r\n");
        plane.Expect(upstream.Peers[0], "EHLO a\r\n");
    }

    [Fact]
    public void WithoutContinuing_TheConnectionEndsAtTheTimeout()
    {
        using var plane = Listening("", """ "listener_filters_timeout": "0.1s" """, out var upstream);
        var client = plane.Connect("mail");
        plane.Loop.Settle();
        plane.Loop.Advance(101);
        Assert.Equal("", plane.ExpectEnd(client));
        Assert.False(upstream.TryAccept(out _));
    }

    private static DataPlaneHarness Listening(string disabled, string members, out FakeUpstream upstream)
    {
        var plane = new DataPlaneHarness();
        upstream = plane.Upstream();
        string more = disabled.Length == 0 ? "" : ", " + disabled;
        plane.Apply(new TestSnapshot().Cluster("up", false, upstream.Port).Tcp("mail", 0, "up").WithListener("mail", TestSnapshot.Fill("""
            "listener_filters": [
             {"name": "envoy.filters.listener.tls_inspector",
              "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector"} $more},
             {"name": "envoy.filters.listener.http_inspector",
              "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.listener.http_inspector.v3.HttpInspector"} $more}], $members
            """, ("more", more), ("members", members))));
        return plane;
    }
}
