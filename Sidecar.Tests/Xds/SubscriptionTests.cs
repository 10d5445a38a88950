using System.Linq;
using Envoy.Service.Discovery.V3;
using Google.Protobuf.WellKnownTypes;
using Sidecar.Tests.Harness;
using Sidecar.Wire;
using Sidecar.Xds;
using Xunit;
using static Sidecar.Tests.Harness.DiscoveryMessages;

namespace Sidecar.Tests.Xds;

/// <summary>What becomes of an answer: who is updated, removed, refused, renewed, and what is waited for.</summary>
public sealed class SubscriptionTests
{
    private const string Cds = ResourceTypes.Cluster;
    private const string Eds = ResourceTypes.ClusterLoadAssignment;
    private const string Rds = ResourceTypes.RouteConfiguration;

    private static DiscoveryTranscript World(string typeUrl, bool wildcard, params string[] names) => new DiscoveryTranscript(delta: false).Want(typeUrl, wildcard, names);

    private static DiscoveryTranscript Delta(string typeUrl, bool wildcard, params string[] names) => new DiscoveryTranscript(delta: true).Want(typeUrl, wildcard, names);

    // ---- what is updated and removed ----------------------------------------------------------------------------

    [Fact]
    public void World_ClustersThatAreAbsent_AreRemoved()
    {
        var stream = World(Cds, true).Answer(DiscoveryMessages.World(Cds, "1", "a", Cluster("x"), Cluster("y")));
        Assert.Equal("x@1 y@1", stream.Updated);
        stream.Answer(DiscoveryMessages.World(Cds, "2", "b", Cluster("y"), Cluster("z")));
        Assert.Equal("y@2 z@2 -x", stream.Updated);
        Assert.Equal("y@2 z@2", stream.Known(Cds));
    }

    [Fact]
    public void World_EndpointsThatAreAbsent_AreNotRemoved()
    {
        var stream = World(Eds, false, "x", "y").Answer(DiscoveryMessages.World(Eds, "1", "a", Endpoints("x"), Endpoints("y")));
        stream.Answer(DiscoveryMessages.World(Eds, "2", "b", Endpoints("y")));
        Assert.Equal("y@2", stream.Updated);
        Assert.Equal("x@1 y@2", stream.Known(Eds));
    }

    [Fact]
    public void World_NamelessResource_MayBeAnyOfTheAbsent_SoNoneIsRemoved()
    {
        var stream = World(Cds, true).Answer(DiscoveryMessages.World(Cds, "1", "a", Cluster("x"), Cluster("y")));
        stream.Answer(DiscoveryMessages.World(Cds, "2", "b", Cluster("y"), Cluster("")));
        Assert.Equal("y@2", stream.Updated);
        Assert.Equal("resources[1]: it has no name", stream.Malformed);
    }

    [Fact]
    public void World_RefusedNewcomerThatLeavesAgain_IsRemoved()
    {
        var stream = World(Cds, true);
        stream.Refuses.Add("x", new ResourceRejection("x", "", "no"));
        stream.Answer(DiscoveryMessages.World(Cds, "1", "a", Cluster("x")));
        Assert.Equal("x@none", stream.Known(Cds));
        stream.Answer(DiscoveryMessages.World(Cds, "2", "b"));
        Assert.Equal("-x", stream.Updated);
    }

    [Fact]
    public void World_WrappedResource_HasItsOwnVersion()
    {
        var stream = World(Cds, true).Answer(DiscoveryMessages.World(Cds, "1", "a", Wrap("x", "own", Cluster("x")), Cluster("y")));
        Assert.Equal("x@own y@1", stream.Updated);
    }

    [Fact]
    public void Delta_RemovedIsWhatTheControlPlaneSays()
    {
        var stream = Delta(Cds, true).Answer(DiscoveryMessages.Delta(Cds, "1", "a", [Wrap("x", "1", Cluster("x"))], "never-seen"));
        Assert.Equal("x@1 -never-seen", stream.Updated);
        stream.Answer(DiscoveryMessages.Delta(Cds, "2", "b", [], "x"));
        Assert.Equal("-x", stream.Updated);
        Assert.Equal("", stream.Known(Cds));
    }

    [Fact]
    public void Delta_RemovedByResourceName_IsTheSame()
    {
        var response = DiscoveryMessages.Delta(Cds, "1", "a", []);
        response.RemovedResourceNames.Add(new ResourceName { Name = "x" });
        Assert.Equal("-x", Delta(Cds, true).Answer(response).Updated);
    }

    [Fact]
    public void ResourceNobodyAskedFor_IsLeftOut()
    {
        var stream = Delta(Eds, false, "x").Answer(DiscoveryMessages.Delta(Eds, "1", "a", [Wrap("x", "1", Endpoints("x")), Wrap("other", "1", Endpoints("other"))]));
        Assert.Equal("x@1", stream.Updated);
        Assert.Equal("x@1", stream.Known(Eds));
        Assert.Equal("", stream.Malformed);
    }

    [Fact]
    public void NameNoLongerWanted_IsForgotten()
    {
        var stream = Delta(Eds, false, "x", "y").Answer(DiscoveryMessages.Delta(Eds, "1", "a", [Wrap("x", "1", Endpoints("x")), Wrap("y", "1", Endpoints("y"))]));
        stream.Want(Eds, false, "y");
        Assert.Equal("y@1", stream.Known(Eds));
    }

    [Fact]
    public void Alias_IsAnsweredByTheResource()
    {
        var stream = Delta(Eds, false, "short").Answer(DiscoveryMessages.Delta(Eds, "1", "a", [Wrap("long", "1", Endpoints("long"), "short")]));
        Assert.Equal("long@1", stream.Updated);
        Assert.Empty(stream[Eds].Waiting);
    }

    // ---- what is malformed --------------------------------------------------------------------------------------

    [Fact]
    public void DuplicateName_IsRefused_ItsNeighboursAreNot()
    {
        var stream = World(Cds, true).Answer(DiscoveryMessages.World(Cds, "1", "a", Cluster("x"), Cluster("twice"), Cluster("twice", "other")));
        Assert.Equal("x@1", stream.Updated);
        Assert.Equal("twice: duplicate name twice found among added/updated resources", stream.Malformed);
        stream.Sends("CDS v= n=a [] node:me NACK 13: Error adding/updating cluster(s) twice: duplicate name twice found among added/updated resources");
    }

    [Fact]
    public void DuplicateName_KeepsItsOldVersion()
    {
        var stream = World(Cds, true).Answer(DiscoveryMessages.World(Cds, "1", "a", Cluster("twice"))).Answer(DiscoveryMessages.World(Cds, "2", "b", Cluster("twice"), Cluster("twice")));
        Assert.Equal("", stream.Updated);
        Assert.Equal("twice@1", stream.Known(Cds));
    }

    [Fact]
    public void NameAddedAndRemoved_IsRefused()
    {
        var stream = Delta(Cds, true).Answer(DiscoveryMessages.Delta(Cds, "1", "a", [Wrap("x", "1", Cluster("x"))], "x", "y"));
        Assert.Equal("-y", stream.Updated);
        Assert.Equal("x: duplicate name x found in the union of added+removed resources", stream.Malformed);
    }

    [Fact]
    public void ResourceOfAnotherType_IsRefused()
    {
        var stream = World(Cds, true).Answer(DiscoveryMessages.World(Cds, "1", "a", Endpoints("x"), Cluster("y")));
        Assert.Equal("y@1", stream.Updated);
        Assert.Equal(
            "x: type URL type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment embedded in an individual Any does not match the message-wide type URL "
            + "type.googleapis.com/envoy.config.cluster.v3.Cluster in DiscoveryResponse", stream.Malformed);
    }

    [Fact]
    public void ResourceThatIsNotNamedAsItsWrapper_IsRefused()
    {
        var stream = Delta(Cds, true).Answer(DiscoveryMessages.Delta(Cds, "1", "a", [Wrap("x", "1", Cluster("y"))]));
        Assert.Equal("x: the message is named 'y'", stream.Malformed);
        Assert.Equal("", stream.Updated);
    }

    [Fact]
    public void MalformedResources_AreCountedUpToABound()
    {
        var response = DiscoveryMessages.World(Cds, "1", "a");
        for (int i = 0; i < 5000; i++)
            response.Resources.Add(Pack(Cluster("")));
        Assert.Equal(1000, World(Cds, true).Answer(response).Update.Malformed.Count);
    }

    // ---- time to live -------------------------------------------------------------------------------------------

    private static Resource Mortal(Resource resource, int seconds)
    {
        resource.Ttl = new Duration { Seconds = seconds };
        return resource;
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void Heartbeat_RenewsTheTimeToLive_AndUpdatesNothing(bool delta)
    {
        var stream = delta ? Delta(Cds, true) : World(Cds, true);
        Answer(stream, delta, "a", Mortal(Wrap("x", "1", Cluster("x")), 10));
        Assert.Equal(10_000, stream[Cds].NextExpiryMs());
        stream.NowMs = 6000;
        Answer(stream, delta, "b", Mortal(Wrap("x", "1", null), 10));
        Assert.Equal("", stream.Updated);
        Assert.Equal("", stream.Malformed);
        Assert.Equal(16_000, stream[Cds].NextExpiryMs());
        Assert.Empty(stream[Cds].TakeExpired(15_999));
        Assert.Equal(["x"], stream[Cds].TakeExpired(16_000));
        Assert.Equal(long.MaxValue, stream[Cds].NextExpiryMs());
        Assert.Equal("", stream.Known(Cds));
    }

    [Fact]
    public void HeartbeatWithoutTimeToLive_EndsIt()
    {
        var stream = Delta(Cds, true).Answer(DiscoveryMessages.Delta(Cds, "1", "a", [Mortal(Wrap("x", "1", Cluster("x")), 10)]));
        stream.Answer(DiscoveryMessages.Delta(Cds, "1", "b", [Wrap("x", "1", null)]));
        Assert.Equal(long.MaxValue, stream[Cds].NextExpiryMs());
    }

    [Fact]
    public void HeartbeatOfAnotherVersion_IsRefused()
    {
        var stream = Delta(Cds, true).Answer(DiscoveryMessages.Delta(Cds, "1", "a", [Wrap("x", "1", Cluster("x"))]));
        stream.Answer(DiscoveryMessages.Delta(Cds, "2", "b", [Wrap("x", "2", null)]));
        Assert.Equal("x: it is empty, and no heartbeat: version '2' is not the one in use, '1'", stream.Malformed);
        Assert.Equal("x@1", stream.Known(Cds));
    }

    private static void Answer(DiscoveryTranscript stream, bool delta, string nonce, Resource resource)
    {
        if (delta)
            stream.Answer(DiscoveryMessages.Delta(Cds, "1", nonce, [resource]));
        else
            stream.Answer(DiscoveryMessages.World(Cds, "1", nonce, resource));
    }

    // ---- what is waited for -------------------------------------------------------------------------------------

    [Fact]
    public void NewNames_AreWaitedForUntilHeardOf()
    {
        var stream = Delta(Eds, false, "a", "b", "c", "d");
        stream.Refuses.Add("b", new ResourceRejection("b", "", "no"));
        stream.Answer(DiscoveryMessages.Delta(Eds, "1", "n", [Wrap("a", "1", Endpoints("a")), Wrap("b", "1", Endpoints("b"))], "c"));
        // Accepted, refused, or said not to be there: all three are answers.
        Assert.Equal(["d"], stream[Eds].Waiting.Keys);
    }

    [Fact]
    public void ResourceError_IsAnAnswer()
    {
        var stream = Delta(Eds, false, "a");
        var response = DiscoveryMessages.Delta(Eds, "1", "n", []);
        response.ResourceErrors.Add(new ResourceError { ResourceName = new ResourceName { Name = "a" }, ErrorDetail = new Google.Rpc.Status { Message = "forbidden" } });
        stream.Answer(response);
        Assert.Empty(stream[Eds].Waiting);
        Assert.Equal(new ResourceRejection("a", "", "forbidden"), stream.Read(response).Errors.Single());
    }

    [Fact]
    public void World_ClusterNamedAndNotInTheAnswer_IsAnAnswer()
    {
        var stream = World(Cds, true, "late");
        Assert.Equal(["late"], stream[Cds].Waiting.Keys);
        stream.Answer(DiscoveryMessages.World(Cds, "1", "a", Cluster("x")));
        Assert.Empty(stream[Cds].Waiting);
        Assert.Null(stream[Cds].WildcardWaiting);
    }

    [Fact]
    public void World_RouteNotInTheAnswer_IsStillWaitedFor()
    {
        var stream = World(Rds, false, "a");
        stream.Answer(DiscoveryMessages.World(Rds, "1", "n"));
        Assert.Equal(["a"], stream[Rds].Waiting.Keys);
    }

    [Fact]
    public void NameThatIsKnown_IsNotWaitedForAgain()
    {
        var stream = Delta(Cds, true).Answer(DiscoveryMessages.Delta(Cds, "1", "n", [Wrap("x", "1", Cluster("x"))]));
        Assert.Empty(stream[Cds].SetInterest(true, ["x"], 1, _ => 1));
        Assert.Equal(["y"], stream[Cds].SetInterest(true, ["x", "y"], 1, _ => 1));
    }
}
