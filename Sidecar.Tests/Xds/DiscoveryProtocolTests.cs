using System.Collections.Generic;
using System.Linq;
using Sidecar.Tests.Harness;
using Sidecar.Wire;
using Sidecar.Xds;
using Xunit;
using static Sidecar.Tests.Harness.DiscoveryMessages;

namespace Sidecar.Tests.Xds;

/// <summary>What is said on a stream, by transcripts: requests as the control plane reads them.</summary>
public sealed class DiscoveryProtocolTests
{
    private const string Cds = ResourceTypes.Cluster;
    private const string Eds = ResourceTypes.ClusterLoadAssignment;
    private const string Lds = ResourceTypes.Listener;
    private const string Rds = ResourceTypes.RouteConfiguration;
    private const string Sds = ResourceTypes.Secret;
    private const string Ecds = ResourceTypes.Extension;

    private static readonly ResourceRejection s_bad = new("bad", "connect_timeout", "must be positive");

    private static DiscoveryTranscript World() => new(delta: false);

    private static DiscoveryTranscript Delta() => new(delta: true);

    // ---- state of the world -------------------------------------------------------------------------------------

    [Fact]
    public void World_FirstRequestHasTheNode_OthersNot() =>
        World().Want(Cds, true).Want(Lds, true)
            .Sends("CDS v= n= [] node:me", "LDS v= n= []")
            .Answer(DiscoveryMessages.World(Cds, "1", "a", Cluster("x")))
            .Sends("CDS v=1 n=a []");

    [Fact]
    public void World_TypesAreAskedForInTheOrderOfTheirReferences() =>
        World().Want(Ecds, false, "e").Want(Sds, false, "s").Want(Rds, false, "r").Want(Lds, true).Want(Eds, false, "x").Want(Cds, true)
            .Sends("CDS v= n= [] node:me", "EDS v= n= [x]", "LDS v= n= []", "RDS v= n= [r]", "SDS v= n= [s]", "ECDS v= n= [e]");

    [Fact]
    public void World_RefusalKeepsTheAcceptedVersion_AndNamesResourcePathAndReason()
    {
        var stream = World().Want(Cds, true).Sends("CDS v= n= [] node:me").Answer(DiscoveryMessages.World(Cds, "1", "a", Cluster("x"))).Sends("CDS v=1 n=a []");
        stream.Refuses.Add("bad", s_bad);
        stream.Answer(DiscoveryMessages.World(Cds, "2", "b", Cluster("x"), Cluster("bad")))
            .Sends("CDS v=1 n=b [] NACK 13: Error adding/updating cluster(s) bad: connect_timeout: must be positive");
        stream.Refuses.Clear();
        stream.Answer(DiscoveryMessages.World(Cds, "3", "c", Cluster("x"))).Sends("CDS v=3 n=c []");
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void VersionRefusedAlready_IsRefusedAgainOnlyAfterAWait(bool delta)
    {
        var stream = new DiscoveryTranscript(delta).Want(Cds, true);
        stream.Sends(delta ? "CDS n= +[] -[] node:me" : "CDS v= n= [] node:me");
        stream.Refuses.Add("bad", s_bad);
        void Answer(string version, string nonce) => stream.Answer(
            delta ? DiscoveryMessages.Delta(Cds, version, nonce, [Wrap("bad", version, Cluster("bad"))]) : DiscoveryMessages.World(Cds, version, nonce, Cluster("bad")));
        string Refusal(string nonce) =>
            $"CDS {(delta ? $"n={nonce} +[] -[]" : $"v= n={nonce} []")} NACK 13: Error adding/updating cluster(s) bad: connect_timeout: must be positive";

        Answer("1", "a");
        stream.Sends(Refusal("a"));
        int[] waits = [50, 100, 200, 400, 800, 1000, 1000];
        for (int i = 0; i < waits.Length; i++)
        {
            Answer("1", $"again{i}");
            stream.NowMs += waits[i] - 1;
            stream.Sends();
            stream.NowMs++;
            stream.Sends(Refusal($"again{i}"));
        }
        // What is new is answered at once.
        Answer("2", "b");
        stream.Sends(Refusal("b"));
        stream.Refuses.Clear();
        Answer("2", "c");
        stream.Sends(delta ? "CDS n=c +[] -[]" : "CDS v=2 n=c []");
    }

    [Fact]
    public void World_RefusedFirstAnswer_HasNoVersion()
    {
        var stream = World().Want(Cds, true).Sends("CDS v= n= [] node:me");
        stream.Refuses.Add("bad", s_bad);
        stream.Answer(DiscoveryMessages.World(Cds, "1", "a", Cluster("bad")))
            .Sends("CDS v= n=a [] NACK 13: Error adding/updating cluster(s) bad: connect_timeout: must be positive");
    }

    [Fact]
    public void World_ChangeOfInterest_HasTheLastAnswersNonce_SoThatItIsNotStale() =>
        World().Want(Eds, false, "x").Sends("EDS v= n= [x] node:me")
            .Answer(DiscoveryMessages.World(Eds, "1", "a", Endpoints("x")))
            .Answer(DiscoveryMessages.World(Eds, "2", "b", Endpoints("x")))
            .Sends("EDS v=2 n=a [x]", "EDS v=2 n=b [x]")
            .Want(Eds, false, "x", "y")
            .Sends("EDS v=2 n=b [x,y]");

    [Fact]
    public void World_InterestThatChangesWithAnAnswer_GoesWithItsAcknowledgement() =>
        World().Want(Eds, false, "x").Sends("EDS v= n= [x] node:me")
            .Answer(DiscoveryMessages.World(Eds, "1", "a", Endpoints("x"))).Want(Eds, false, "y")
            .Sends("EDS v=1 n=a [y]");

    [Fact]
    public void World_SameInterestAgain_SaysNothing() =>
        World().Want(Eds, false, "x", "y").Sends("EDS v= n= [x,y] node:me").Want(Eds, false, "y", "x").Sends();

    [Fact]
    public void World_NobodyInterested_TypeIsNotMentioned() => World().Want(Eds, false).Want(Cds, true).Sends("CDS v= n= [] node:me");

    [Fact]
    public void World_LastNameGone_IsSaidAsNone() =>
        World().Want(Eds, false, "x").Sends("EDS v= n= [x] node:me").Want(Eds, false).Sends("EDS v= n= []");

    [Fact]
    public void World_WildcardWithNames_IsSaidByStar_AndStaysSo() =>
        World().Want(Cds, true).Sends("CDS v= n= [] node:me")
            .Want(Cds, true, "late").Sends("CDS v= n= [*,late]")
            .Want(Cds, true).Sends("CDS v= n= [*]");

    [Fact]
    public void World_AfterReconnect_SaysVersionWithoutNonce_AndTheNodeAgain() =>
        World().Want(Cds, true).Want(Eds, false, "x").Sends("CDS v= n= [] node:me", "EDS v= n= [x]")
            .Answer(DiscoveryMessages.World(Cds, "1", "a", Cluster("x"))).Sends("CDS v=1 n=a []")
            .Reconnect()
            .Sends("CDS v=1 n= [] node:me", "EDS v= n= [x]");

    [Fact]
    public void World_AcknowledgementNotYetSentWhenTheStreamBreaks_IsForgotten() =>
        World().Want(Cds, true).Sends("CDS v= n= [] node:me")
            .Answer(DiscoveryMessages.World(Cds, "1", "a", Cluster("x")))
            .Reconnect().Sends("CDS v=1 n= [] node:me");

    // ---- delta --------------------------------------------------------------------------------------------------

    [Fact]
    public void Delta_WildcardIsMeantBySilence_OnTheFirstRequest() =>
        Delta().Want(Cds, true).Sends("CDS n= +[] -[] node:me")
            .Answer(DiscoveryMessages.Delta(Cds, "1", "a", [Wrap("x", "1", Cluster("x"))]))
            .Sends("CDS n=a +[] -[]");

    [Fact]
    public void Delta_LateNames_AreSubscribedToWithoutANonce() =>
        Delta().Want(Eds, false, "x").Sends("EDS n= +[x] -[] node:me")
            .Answer(DiscoveryMessages.Delta(Eds, "1", "a", [Wrap("x", "1", Endpoints("x"))])).Sends("EDS n=a +[] -[]")
            .Want(Eds, false, "x", "z", "y").Sends("EDS n= +[y,z] -[]")
            .Want(Eds, false, "z").Sends("EDS n= +[] -[x,y]");

    [Fact]
    public void Delta_WildcardAndNames_AreNamedTogether() =>
        Delta().Want(Cds, true, "n").Sends("CDS n= +[*,n] -[] node:me").Want(Cds, false, "n").Sends("CDS n= +[] -[*]");

    [Fact]
    public void Delta_NamesOnTopOfASilentWildcard_LeaveItAsItIs() =>
        Delta().Want(Cds, true).Sends("CDS n= +[] -[] node:me").Want(Cds, true, "n").Sends("CDS n= +[n] -[]").Want(Cds, true).Sends("CDS n= +[] -[n]");

    [Fact]
    public void Delta_WildcardDroppedAndWantedAgain_IsNamed() =>
        Delta().Want(Cds, true).Sends("CDS n= +[] -[] node:me").Want(Cds, false).Sends("CDS n= +[] -[*]").Want(Cds, true).Sends("CDS n= +[*] -[]");

    [Fact]
    public void Delta_EveryAnswerIsAcknowledgedByItself()
    {
        var stream = Delta().Want(Cds, true).Sends("CDS n= +[] -[] node:me");
        stream.Refuses.Add("bad", s_bad);
        stream.Answer(DiscoveryMessages.Delta(Cds, "1", "a", [Wrap("bad", "1", Cluster("bad")), Wrap("x", "1", Cluster("x"))]))
            .Answer(DiscoveryMessages.Delta(Cds, "2", "b", [Wrap("y", "1", Cluster("y"))]))
            .Sends("CDS n=a +[] -[] NACK 13: Error adding/updating cluster(s) bad: connect_timeout: must be positive", "CDS n=b +[] -[]");
    }

    [Fact]
    public void Delta_AfterReconnect_SaysTheVersionsOfWhatIsInUse()
    {
        var stream = Delta().Want(Cds, true).Want(Eds, false, "x").Sends("CDS n= +[] -[] node:me", "EDS n= +[x] -[]");
        stream.Answer(DiscoveryMessages.Delta(Cds, "1", "a", [Wrap("x", "x1", Cluster("x")), Wrap("bad", "b1", Cluster("bad")), Wrap("gone", "g1", Cluster("gone"))]))
            .Sends("CDS n=a +[] -[]");
        stream.Refuses.Add("bad", s_bad);
        stream.Refuses.Add("new", s_bad with { Name = "new" });
        stream.Answer(DiscoveryMessages.Delta(Cds, "2", "b", [Wrap("bad", "b2", Cluster("bad")), Wrap("new", "n1", Cluster("new"))], "gone"));
        // The refused update keeps its old version, the refused newcomer has none, what was removed is not mentioned.
        stream.Reconnect().Sends("CDS n= +[] -[] {bad=b1,x=x1} node:me", "EDS n= +[x] -[]");
    }

    [Fact]
    public void Delta_RefusedAsAWhole_ChangesNoVersion()
    {
        var stream = Delta().Want(Cds, true).Sends("CDS n= +[] -[] node:me");
        stream.Answer(DiscoveryMessages.Delta(Cds, "1", "a", [Wrap("x", "x1", Cluster("x"))])).Sends("CDS n=a +[] -[]");
        stream.Refuses.Add("x", new ResourceRejection("", "", "not now"));
        stream.Answer(DiscoveryMessages.Delta(Cds, "2", "b", [Wrap("x", "x2", Cluster("x"))])).Sends("CDS n=b +[] -[] NACK 13: Error adding/updating cluster(s) not now");
        Assert.Equal("x@x1", stream.Known(Cds));
    }

    [Fact]
    public void Delta_NamesWantedWhileThereIsNoStream_AreSaidOnTheNext() =>
        Delta().Want(Eds, false, "x").Sends("EDS n= +[x] -[] node:me").Want(Eds, false, "x", "y").Reconnect().Sends("EDS n= +[x,y] -[] node:me");

    // ---- both ---------------------------------------------------------------------------------------------------

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void ControlPlaneThatTakesNoAcknowledgement_IsGivenUp(bool delta)
    {
        DiscoveryProtocol protocol = delta ? new DeltaDiscovery(default) : new StateOfTheWorld(default);
        var subscription = new Subscription(Cds);
        protocol.Add(subscription);
        protocol.OnStreamStart();
        for (int i = 0; i < DiscoveryProtocol.AcknowledgementsMax; i++)
            Assert.True(protocol.OnAnswer(subscription, new ReceivedResponse { Nonce = "n" }, [], 0));
        Assert.False(protocol.OnAnswer(subscription, new ReceivedResponse { Nonce = "n" }, [], 0));
    }

    [Fact]
    public void Detail_IsBounded_AndSaysHowManyMoreThereAre()
    {
        var rejections = new List<ResourceRejection>();
        for (int i = 0; i < 10_000; i++)
            rejections.Add(new ResourceRejection($"cluster-{i}", "a.b[3].c", "must be positive"));
        string detail = DiscoveryProtocol.Detail(Cds, rejections);
        Assert.InRange(detail.Length, 60_000, 70_000);
        Assert.StartsWith("Error adding/updating cluster(s) cluster-0: a.b[3].c: must be positive, cluster-1: ", detail);
        Assert.Matches(@", and \d+ more$", detail);
        Assert.Equal("Error adding/updating listener(s) l: it has no name", DiscoveryProtocol.Detail(Lds, rejections.Take(0).Append(new ResourceRejection("l", "", "it has no name")).ToList()));
    }
}
