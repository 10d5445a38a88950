using Sidecar.Filters;
using Sidecar.Filters.Listener;
using Sidecar.Net;
using Sidecar.Tests.Harness;
using Xunit;

namespace Sidecar.Tests.Filters.Listener;

/// <summary>What the filter does with connections that no capture has touched; captured ones are in the scenarios.</summary>
public class OriginalDstFilterTests
{
    [Fact]
    public void Redirect_ConnectionToTheListenerItself_KeepsItsAddress()
    {
        using var loop = new TestLoop();
        var accepted = Accept(loop);
        var before = accepted.Destination;
        Assert.Equal(ListenerFilterStatus.Continue, new OriginalDstFilter(transparent: false).Inspect(accepted, default));
        Assert.False(accepted.IsDestinationRestored);
        Assert.Equal(before, accepted.Destination);
        Assert.True(accepted.Connection.OriginalDestination.IsNone);
    }

    [Fact]
    public void Transparent_TheLocalAddressIsTheDestination()
    {
        using var loop = new TestLoop();
        var accepted = Accept(loop);
        Assert.Equal(ListenerFilterStatus.Continue, new OriginalDstFilter(transparent: true).Inspect(accepted, default));
        Assert.True(accepted.IsDestinationRestored);
        Assert.Equal(accepted.Connection.LocalAddress, accepted.Destination);
        Assert.Equal(accepted.Destination, accepted.Connection.OriginalDestination);
    }

    private static Accepted Accept(TestLoop loop)
    {
        var (connection, _) = loop.ConnectedByTcp(new Recorder());
        return new Accepted(connection) { Destination = connection.LocalAddress, Source = connection.RemoteAddress };
    }

    private sealed class Accepted(Connection connection) : AcceptedConnection
    {
        internal override Connection Connection => connection;
        internal override int WorkerIndex => 0;
    }
}
