using System;
using System.Collections.Generic;
using System.Linq;
using System.Text.Json;
using Envoy.Extensions.TransportSockets.Tls.V3;
using Google.Protobuf;
using Sidecar.Config;
using Sidecar.Downstream;
using Sidecar.Tests.Harness;
using Sidecar.Tls;
using Sidecar.Wire;
using Sidecar.Xds;
using Xunit;

namespace Sidecar.Tests.Server;

/// <summary>Secrets by subscription: asked for by name, waited for, rotated, refused; over ADS, over streams of their own, from watched files.</summary>
public sealed class NamedSubscriptionsTests : IDisposable
{
    private const string Ads = """{"ads": {}}""";

    private readonly PipelineHarness _harness = new();
    private readonly TestFolder _folder = new();
    private readonly TestCa _ca = new();
    private readonly TestCert _cert;
    private FakeAds? _plane;

    public NamedSubscriptionsTests() => _cert = _ca.Server("a.test");

    public void Dispose()
    {
        _harness.Pipeline.Stop();
        _plane?.Dispose();
        _harness.Dispose();
        _folder.Dispose();
        _ca.Dispose();
    }

    private static TestSnapshot Secure(string source, string name = "https", string answer = "x") =>
        new TestSnapshot().Http(name, 0, TestSnapshot.Answer(answer)).Tls(name, TestSnapshot.SdsContext(source));

    private TestSnapshot Secrets() => Secrets(_cert);

    private TestSnapshot Secrets(TestCert cert) => new TestSnapshot().Secret("default", cert.Secret).Secret("ROOTCA", _ca.Secret);

    private ListenerConfig? Serving(string name = "https") => _harness.Listeners.Find(name)?.Config;

    private TlsContextSlot Slot(string name = "https")
    {
        var state = _harness.Snapshot.Find(ResourceTypes.Listener, name)!;
        return ((ListenerConfig)(state.Accepted ?? state.Active)!.Translated!).Chains[0].Tls!;
    }

    private string Serial(string name = "https") => Slot(name).Current!.Certificates[0].Info.Sha256;

    /// <summary>A bootstrap whose sds-grpc is a control plane that does what the test says, and everything else answered.</summary>
    private FakeAds StartWithAgent(bool unix)
    {
        string socket = _folder.PathOf("sds");
        _plane = new FakeAds(_harness.Test, unix ? socket : null);
        _harness.Discover(unix ? new TestSnapshot().PipeCluster("sds-grpc", socket) : new TestSnapshot().Cluster("sds-grpc", true, _plane.Address.Port));
        _harness.Push(ResourceTypes.Cluster, new TestSnapshot());
        _harness.Push(ResourceTypes.Listener, new TestSnapshot());
        Assert.True(_harness.Pipeline.IsServing);
        return _plane;
    }

    private Secret Message(string name, string content) =>
        Secret.Parser.ParseFrom(PipelineHarness.Read(new TestSnapshot().Secret(name, content)).Resources.Single().Bytes.Span);

    // ---- warming --------------------------------------------------------------------------------------------------------

    [Fact]
    public void NewListener_ServesWhenAllItsSecretsHaveCome()
    {
        _harness.Start(new TestSnapshot());
        _harness.Push(ResourceTypes.Listener, Secure(Ads));
        Assert.Equal(["secrets ROOTCA,default"], _harness.Asked());
        Assert.Null(Serving());
        _harness.Push(ResourceTypes.Secret, new TestSnapshot().Secret("default", _cert.Secret));
        Assert.Null(Serving());
        _harness.Push(ResourceTypes.Secret, new TestSnapshot().Secret("ROOTCA", _ca.Secret));
        Assert.NotNull(Serving());
        Assert.Equal(_cert.Fingerprint, Serial());
        Assert.Equal(1, _harness.Stat("sds.default.update_success"));
        Assert.NotEqual(0, _harness.Stat("sds.default.version"));
    }

    [Fact]
    public void Start_WaitsForSecretsOfClustersFirst_ThenForThoseOfListeners()
    {
        var mesh = Secure(Ads, "http").Cluster("up", false, """
            "transport_socket": {"name": "envoy.transport_sockets.tls", "typed_config": {"@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
             "common_tls_context": {"tls_certificate_sds_secret_configs": [{"name": "client", "sds_config": {"ads": {}}}]}}}
            """, 1);
        _harness.Discover();
        _harness.Push(ResourceTypes.Cluster, mesh);
        Assert.Equal(["clusters *", "secrets client"], _harness.Asked());
        Assert.False(_harness.Pipeline.HasClusters);
        _harness.Push(ResourceTypes.Secret, new TestSnapshot().Secret("client", _cert.Secret));
        Assert.NotNull(_harness.Clusters.Find("up"));
        Assert.Equal(["listeners *"], _harness.Asked());
        _harness.Push(ResourceTypes.Listener, mesh);
        Assert.False(_harness.Pipeline.IsServing);
        Assert.Equal(["secrets ROOTCA,client,default"], _harness.Asked());
        _harness.Push(ResourceTypes.Secret, Secrets());
        Assert.True(_harness.Pipeline.IsServing);
        Assert.NotNull(Serving("http"));
    }

    [Fact]
    public void SecretThatDoesNotComeInTime_TheListenerExists_AndRefuses()
    {
        _harness.Start(new TestSnapshot());
        _harness.Push(ResourceTypes.Listener, Secure(Ads));
        _harness.Advance(14_999);
        Assert.Null(Serving());
        _harness.Advance(1);
        Assert.NotNull(Serving());
        Assert.Null(Slot().Take(0));
        Assert.Equal(1, _harness.Stat("sds.default.init_fetch_timeout"));
        Assert.Equal(1, Slot().SecretStats.Sum(TlsSecretStats.NotReady));
        // It may still come.
        _harness.Push(ResourceTypes.Secret, Secrets());
        Assert.Equal(_cert.Fingerprint, Serial());
    }

    [Fact]
    public void FetchTimeoutOfZero_WaitsForEver()
    {
        _harness.Start(new TestSnapshot());
        _harness.Push(ResourceTypes.Listener, Secure("""{"ads": {}, "initial_fetch_timeout": "0s"}"""));
        _harness.Advance(100_000_000);
        Assert.Null(Serving());
        _harness.Push(ResourceTypes.Secret, Secrets());
        Assert.NotNull(Serving());
    }

    [Fact]
    public void ChangedListener_OldOneServesUntilTheSecretsOfTheNewOneHaveCome()
    {
        _harness.Start(new TestSnapshot());
        _harness.Push(ResourceTypes.Listener, new TestSnapshot().Http("https", 0, TestSnapshot.Answer("x")));
        var plain = Serving();
        Assert.NotNull(plain);
        _harness.Push(ResourceTypes.Listener, Secure(Ads));
        Assert.Same(plain, Serving());
        _harness.Push(ResourceTypes.Secret, Secrets());
        Assert.NotNull(Serving()!.Chains[0].Tls);
    }

    [Fact]
    public void SecondUserOfASecretThatIsThere_NeedNotWait_AndItIsUnsubscribedAfterTheLast()
    {
        _harness.Start(new TestSnapshot());
        _harness.Push(ResourceTypes.Listener, Secure(Ads));
        _harness.Push(ResourceTypes.Secret, Secrets());
        _harness.Asked();
        _harness.Push(ResourceTypes.Listener, Secure(Ads, "other"));
        Assert.NotNull(Serving("other"));
        Assert.Empty(_harness.Asked());
        _harness.Push(ResourceTypes.Listener, new TestSnapshot(), "https");
        _harness.Advance(PipelineHarness.DrainMs);
        Assert.Empty(_harness.Asked());
        _harness.Push(ResourceTypes.Listener, new TestSnapshot(), "other");
        _harness.Advance(PipelineHarness.DrainMs);
        Assert.Equal(["secrets "], _harness.Asked());
        Assert.Empty(_harness.Snapshot.Of(ResourceTypes.Secret));
        Assert.DoesNotContain(_harness.Stats.Scopes, scope => scope.Prefix.StartsWith("sds.", StringComparison.Ordinal));
    }

    [Fact]
    public void SecretNobodyAskedFor_IsNotKept()
    {
        _harness.Start(new TestSnapshot());
        Assert.Empty(_harness.Push(ResourceTypes.Secret, Secrets()));
        Assert.Empty(_harness.Snapshot.Of(ResourceTypes.Secret));
    }

    // ---- rotation -------------------------------------------------------------------------------------------------------

    [Fact]
    public void Rotation_GivesANewContextToTheSameChain_AndTheSameSecretAgainDoesNothing()
    {
        _harness.Start(new TestSnapshot());
        _harness.Push(ResourceTypes.Listener, Secure(Ads));
        _harness.Push(ResourceTypes.Secret, Secrets());
        var chain = Serving()!.Chains[0];
        var next = _ca.Server("a.test");
        _harness.Push(ResourceTypes.Secret, Secrets(next));
        Assert.Equal(next.Fingerprint, Serial());
        Assert.Same(chain, Serving()!.Chains[0]);
        var context = Slot().Current;
        long updates = Slot().SecretStats.Sum(TlsSecretStats.UpdateBySds);
        _harness.Push(ResourceTypes.Secret, Secrets(next));
        Assert.Same(context, Slot().Current);
        Assert.Equal(updates, Slot().SecretStats.Sum(TlsSecretStats.UpdateBySds));
    }

    [Fact]
    public void BadSecret_IsRefusedWithItsPath_AndTheOldOneStays()
    {
        _harness.Start(new TestSnapshot());
        _harness.Push(ResourceTypes.Listener, Secure(Ads));
        _harness.Push(ResourceTypes.Secret, Secrets());
        var bad = new TestCert(_cert.ChainPem, _ca.Server("b.test").KeyPem, _cert.Der);
        var refused = Assert.Single(_harness.Push(ResourceTypes.Secret, Secrets(bad)));
        Assert.Equal(("default", "tls_certificate"), (refused.Name, refused.Path));
        Assert.Contains("the key does not belong to the certificate", refused.Reason);
        Assert.DoesNotContain("PRIVATE", refused.Reason);
        Assert.Equal(_cert.Fingerprint, Serial());
        Assert.Equal(1, _harness.Stat("sds.default.update_rejected"));
        Assert.NotEmpty(_harness.Snapshot.Resources.Single(state => state.Name == "default").Errors);
    }

    [Fact]
    public void FirstSecretThatIsBad_HoldsNothingBack_AndTheChainRefuses()
    {
        _harness.Start(new TestSnapshot());
        _harness.Push(ResourceTypes.Listener, Secure("""{"ads": {}, "initial_fetch_timeout": "0s"}"""));
        _harness.Push(ResourceTypes.Secret, new TestSnapshot().Secret("ROOTCA", _ca.Secret).Secret("default", """ "tls_certificate": {} """));
        Assert.NotNull(Serving());
        Assert.Null(Slot().Current);
        _harness.Push(ResourceTypes.Secret, Secrets());
        Assert.Equal(_cert.Fingerprint, Serial());
    }

    [Fact]
    public void SecretThatTheControlPlaneSaysIsGone_Stays_AndOneThatNeverWasHoldsNothingBack()
    {
        _harness.Start(new TestSnapshot());
        _harness.Push(ResourceTypes.Listener, Secure(Ads));
        _harness.Push(ResourceTypes.Secret, new TestSnapshot().Secret("default", _cert.Secret));
        _harness.Push(ResourceTypes.Secret, new TestSnapshot(), "ROOTCA");
        Assert.NotNull(Serving());
        _harness.Push(ResourceTypes.Secret, Secrets());
        _harness.Push(ResourceTypes.Secret, new TestSnapshot(), "default");
        _harness.Pipeline.OnExpired(ResourceTypes.Secret, ["default"]);
        Assert.Equal(_cert.Fingerprint, Serial());
        _harness.Push(ResourceTypes.Listener, Secure(Ads, "late"));
        Assert.Equal(_cert.Fingerprint, Serial("late"));
    }

    // ---- streams of their own -------------------------------------------------------------------------------------------

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void AgentOnASocket_IsAskedForEachSecretOnAStreamOfItsOwn_SharedByAllUsers(bool unix)
    {
        var plane = StartWithAgent(unix);
        _harness.Push(ResourceTypes.Listener, Secure(TestSnapshot.GrpcSource("sds-grpc")));
        _harness.Push(ResourceTypes.Listener, Secure(TestSnapshot.GrpcSource("sds-grpc"), "other"));
        var first = plane.Accept().Expect("SDS v= n= [default] node:node");
        var second = plane.Accept().Expect("SDS v= n= [ROOTCA] node:node");
        Assert.Equal("/envoy.service.secret.v3.SecretDiscoveryService/StreamSecrets", first[":path"]);
        first.Send(DiscoveryMessages.World(ResourceTypes.Secret, "v1", "n1", Message("default", _cert.Secret))).Expect("SDS v=v1 n=n1 [default]");
        Assert.Null(Serving());
        second.Send(DiscoveryMessages.World(ResourceTypes.Secret, "v1", "n1", Message("ROOTCA", _ca.Secret))).Expect("SDS v=v1 n=n1 [ROOTCA]");
        Assert.NotNull(Serving());
        Assert.NotNull(Serving("other"));
        Assert.Equal(_cert.Fingerprint, Serial("other"));
        Assert.Equal(2, plane.Streams.Count);
        Assert.Equal((1, 1), (_harness.Stat("sds.default.update_success"), _harness.Stat("sds.default.control_plane.connected_state")));
        // The aggregated stream is not asked.
        Assert.DoesNotContain(_harness.Asked(), asked => asked.StartsWith("secrets", StringComparison.Ordinal));
        // After the last user the streams end.
        _harness.Push(ResourceTypes.Listener, new TestSnapshot(), "https", "other");
        _harness.Advance(PipelineHarness.DrainMs);
        plane.Until(() => first.ResetReason is not null && second.ResetReason is not null);
    }

    [Fact]
    public void Agent_Delta_AndARefusalSaysWhy()
    {
        var plane = StartWithAgent(unix: true);
        _harness.Push(ResourceTypes.Listener, Secure(TestSnapshot.GrpcSource("sds-grpc", delta: true)));
        var stream = plane.Accept().Expect("SDS n= +[default] -[] node:node");
        Assert.Equal("/envoy.service.secret.v3.SecretDiscoveryService/DeltaSecrets", stream[":path"]);
        plane.Accept().Send(DiscoveryMessages.Delta(ResourceTypes.Secret, "1", "a", [DiscoveryMessages.Wrap("ROOTCA", "1", Message("ROOTCA", _ca.Secret))]));
        stream.Send(DiscoveryMessages.Delta(ResourceTypes.Secret, "1", "a", [DiscoveryMessages.Wrap("default", "1", Message("default", _cert.Secret))]))
            .Expect("SDS n=a +[] -[]");
        plane.Until(() => Serving() is not null);
        stream.Send(DiscoveryMessages.Delta(ResourceTypes.Secret, "2", "b", [DiscoveryMessages.Wrap("default", "2", Message("default", """ "tls_certificate": {} """))]))
            .Expect("SDS n=b +[] -[] NACK 13: Error adding/updating secret(s) default: tls_certificate.certificate_chain: is required");
        Assert.Equal(_cert.Fingerprint, Serial());
    }

    [Fact]
    public void AgentThatIsGone_SecretsStay_AndItIsAskedAgainWithWhatIsThere()
    {
        var plane = StartWithAgent(unix: false);
        _harness.Push(ResourceTypes.Listener, Secure(TestSnapshot.GrpcSource("sds-grpc")));
        var first = plane.Accept();
        var second = plane.Accept();
        second.Send(DiscoveryMessages.World(ResourceTypes.Secret, "v1", "n1", Message("ROOTCA", _ca.Secret)));
        first.Send(DiscoveryMessages.World(ResourceTypes.Secret, "v1", "n1", Message("default", _cert.Secret)));
        plane.Until(() => Serving() is not null);
        // Over one name that it does not know, as Istio's agent does: the other stream goes on.
        first.SendStatus(5, "unknown secret");
        plane.Until(() => _harness.Stat("sds.default.update_failure") == 1);
        Assert.Null(second.ResetReason);
        Assert.Equal(_cert.Fingerprint, Serial());
        _harness.Advance(Backoff.DefaultMaxMs);
        var again = plane.Accept().Expect("SDS v=v1 n= [default] node:node");
        var next = _ca.Server("a.test");
        again.Send(DiscoveryMessages.World(ResourceTypes.Secret, "v2", "n1", Message("default", next.Secret))).Expect("SDS v=v2 n=n1 [default]");
        Assert.Equal(next.Fingerprint, Serial());
    }

    [Fact]
    public void SameNameFromTwoSources_IsTwoSecrets()
    {
        var plane = StartWithAgent(unix: false);
        _harness.Push(ResourceTypes.Listener, Secure(Ads));
        _harness.Push(ResourceTypes.Listener, Secure(TestSnapshot.GrpcSource("sds-grpc"), "agent"));
        var other = _ca.Server("b.test");
        _harness.Push(ResourceTypes.Secret, Secrets());
        plane.Accept().Send(DiscoveryMessages.World(ResourceTypes.Secret, "1", "1", Message("default", other.Secret)));
        plane.Accept().Send(DiscoveryMessages.World(ResourceTypes.Secret, "1", "1", Message("ROOTCA", _ca.Secret)));
        plane.Until(() => Serving("agent") is not null);
        Assert.Equal((_cert.Fingerprint, other.Fingerprint), (Serial(), Serial("agent")));
        Assert.Equal(4, _harness.Snapshot.Of(ResourceTypes.Secret).Count);
    }

    [Fact]
    public void BootstrapWithoutDiscovery_ServesWhenItsSecretsHaveCome()
    {
        _plane = new FakeAds(_harness.Test);
        var bootstrap = Secure(TestSnapshot.GrpcSource("sds-grpc")).Cluster("sds-grpc", true, _plane.Address.Port).Http("plain", 0, TestSnapshot.Answer("x"));
        Assert.Empty(_harness.Pipeline.TakeFile(PipelineHarness.Read(bootstrap), "bootstrap.json", isStatic: true).Errors);
        _harness.Pipeline.AwaitSecrets();
        _harness.Pipeline.Flush();
        Assert.False(_harness.Pipeline.IsServing);
        Assert.Null(Serving());
        _plane.Accept().Send(DiscoveryMessages.World(ResourceTypes.Secret, "1", "1", Message("default", _cert.Secret)));
        _plane.Accept().Send(DiscoveryMessages.World(ResourceTypes.Secret, "1", "1", Message("ROOTCA", _ca.Secret)));
        _plane.Until(() => _harness.Pipeline.IsServing);
        Assert.NotNull(Serving());
    }

    // ---- files ----------------------------------------------------------------------------------------------------------

    [Theory]
    [InlineData("path_config_source")]
    [InlineData("path")]
    public void File_IsReadAndWatched(string kind)
    {
        string file = _folder.PathOf("secrets.json");
        Write(_cert);
        _harness.Start(new TestSnapshot());
        string source = kind == "path" ? $$"""{"path": "{{file}}"}""" : $$"""{"path_config_source": {"path": "{{file}}"} }""";
        _harness.Push(ResourceTypes.Listener, Secure(source));
        _harness.Test.Until(() => Serving() is not null);
        Assert.Equal(_cert.Fingerprint, Serial());
        var next = _ca.Server("a.test");
        Write(next);
        _harness.Test.Until(() =>
        {
            _harness.Test.Advance(20);
            return Serial() == next.Fingerprint;
        });

        void Write(TestCert cert)
        {
            string resources = XdsServer.Resources(Secrets(cert));
            System.IO.File.WriteAllText(file + ".new", """{"version_info": "1",""" + resources[1..]);
            System.IO.File.Move(file + ".new", file, overwrite: true);
        }
    }

    [Fact]
    public void FileWithoutTheSecret_IsRefused_AndTheListenerGoesOnWithoutIt()
    {
        string file = _folder.Write("secrets.json", "{" + XdsServer.Resources(new TestSnapshot().Secret("default", _cert.Secret))[1..]);
        _harness.Start(new TestSnapshot());
        _harness.Push(ResourceTypes.Listener, Secure($$"""{"path": "{{file}}", "initial_fetch_timeout": "0s"}"""));
        _harness.Test.Until(() => Serving() is not null);
        Assert.Equal((0, 1), (_harness.Stat("sds.ROOTCA.update_success"), _harness.Stat("sds.ROOTCA.update_rejected")));
        Assert.Equal((1, 0), (_harness.Stat("sds.default.update_success"), _harness.Stat("sds.default.update_rejected")));
        Assert.Equal("Missing SDS resources for ROOTCA in onConfigUpdate()", Assert.Single(_harness.Snapshot.Resources.Single(state => state.Name == "ROOTCA").Errors).Reason);
    }

    // ---- what cannot be asked ---------------------------------------------------------------------------------------------

    [Theory]
    [InlineData("""{}""", "", "says no source")]
    [InlineData("""{"path": ""}""", ".path", "is empty")]
    [InlineData("""{"api_config_source": {"api_type": "GRPC", "transport_api_version": "V3"}}""", ".api_config_source.grpc_services", "is empty")]
    [InlineData("""{"api_config_source": {"api_type": "GRPC", "transport_api_version": "V2", "grpc_services": [{"envoy_grpc": {"cluster_name": "sds-grpc"}}]}}""",
        ".api_config_source.transport_api_version", "must be V3")]
    [InlineData("""{"api_config_source": {"api_type": "GRPC", "transport_api_version": "V3", "grpc_services": [{"envoy_grpc": {"cluster_name": "nowhere"}}]}}""",
        ".api_config_source", "must have a statically defined non-EDS cluster: 'nowhere' does not exist, was added via api, or is an EDS cluster")]
    [InlineData("""{"api_config_source": {"api_type": "GRPC", "transport_api_version": "V3", "grpc_services": [{"google_grpc": {"target_uri": "a:1", "stat_prefix": "a"}}]}}""",
        ".api_config_source.grpc_services[0].google_grpc", "is taken in dynamic_resources only")]
    public void SourceThatCannotBeAsked_RefusesTheListener_ByPath(string source, string path, string reason)
    {
        _harness.Discover(new TestSnapshot().Cluster("sds-grpc", true, 1));
        _harness.Push(ResourceTypes.Cluster, new TestSnapshot());
        var refused = _harness.Push(ResourceTypes.Listener, Secure(source));
        string at = "filter_chains[0].transport_socket.typed_config.common_tls_context.tls_certificate_sds_secret_configs[0].sds_config" + path;
        Assert.Contains(refused, rejection => rejection.Path == at && rejection.Reason.Contains(reason, StringComparison.Ordinal));
    }

    [Fact]
    public void LastGoodFile_HasNoSecret_NorAResourceWithAKeyInIt()
    {
        _harness.Start(new TestSnapshot(), _folder.Path);
        string Inline(string key) => $$"""
            "common_tls_context": {"tls_certificates": [{"certificate_chain": {"inline_string": {{JsonSerializer.Serialize(_cert.ChainPem)}} }, "private_key": {{key}} }]}
            """;
        string inline = Inline($$"""{"inline_string": {{JsonSerializer.Serialize(_cert.KeyPem)}} }""");
        string file = Inline($$"""{"filename": "{{_folder.Write("tls.key", _cert.KeyPem)}}"}""");
        _harness.Push(ResourceTypes.Listener, Secure(Ads));
        _harness.Push(ResourceTypes.Secret, Secrets());
        Assert.Empty(_harness.Push(ResourceTypes.Listener, new TestSnapshot().Http("inline", 0, TestSnapshot.Answer("x")).Tls("inline", inline)));
        Assert.Empty(_harness.Push(ResourceTypes.Listener, new TestSnapshot().Http("file", 0, TestSnapshot.Answer("x")).Tls("file", file)));
        _harness.Advance(Sidecar.Server.LastGoodFile.IntervalMs);
        _harness.Test.Until(() => _harness.Pipeline.LastGood is { SavedUnixMs: > 0, IsWriting: false });
        Assert.DoesNotContain("PRIVATE KEY", System.Text.Encoding.Latin1.GetString(System.IO.File.ReadAllBytes(_harness.Pipeline.LastGood!.Path)));
        Assert.Equal(["file", "https"], _harness.Pipeline.LastGood.Read()!.Select(resource => resource.Name).Order());
    }

    /// <summary>Starts with what a proxy before this one kept: a listener whose secrets come from a source, and a plain one.</summary>
    private void Restart(string source)
    {
        using (var first = new PipelineHarness())
        {
            first.Start(new TestSnapshot(), _folder.Path);
            first.Push(ResourceTypes.Listener, Secure(source).Http("plain", 0, TestSnapshot.Answer("x")));
            first.Push(ResourceTypes.Secret, Secrets());
            first.Advance(Sidecar.Server.LastGoodFile.IntervalMs);
            first.Test.Until(() => first.Pipeline.LastGood is { SavedUnixMs: > 0, IsWriting: false });
        }
        _harness.Discover(lastGoodFolder: _folder.Path);
    }

    [Fact]
    public void LastGoodListener_WaitsForItsSecrets_AndTheServerIsNotReadyBeforeTheyCome()
    {
        Restart("""{"ads": {}, "initial_fetch_timeout": "0s"}""");
        Assert.NotNull(Serving("plain"));
        Assert.Null(Serving());
        Assert.False(_harness.Pipeline.IsServing);
        Assert.Equal(1, _harness.Pipeline.Warming.CountAwaitingFirst());
        Assert.Equal((ResourceTypes.Secret, "default"), _harness.Pipeline.Warming.AwaitedBy(_harness.Snapshot.Find(ResourceTypes.Listener, "https")!));
        Assert.Null(_harness.Pipeline.Warming.AwaitedBy(_harness.Snapshot.Find(ResourceTypes.Listener, "plain")!));
        Assert.Contains("secrets ROOTCA,default", _harness.Asked());
        _harness.Advance(100_000_000);
        Assert.False(_harness.Pipeline.IsServing);
        bool toldOfReadiness = false;
        _harness.Pipeline.AllApplied = () => toldOfReadiness |= _harness.Pipeline.IsServing;
        _harness.Push(ResourceTypes.Secret, Secrets());
        Assert.NotNull(Serving());
        Assert.True(_harness.Pipeline.IsServing);
        Assert.True(toldOfReadiness);
    }

    [Fact]
    public void LastGoodListener_WhoseSecretsDoNotComeInTime_Opens_AndRefuses_AndTheServerIsReady()
    {
        Restart(Ads);
        _harness.Advance(14_999);
        Assert.False(_harness.Pipeline.IsServing);
        Assert.Null(Serving());
        _harness.Advance(1);
        Assert.True(_harness.Pipeline.IsServing);
        Assert.NotNull(Serving());
        Assert.Null(Slot().Take(0));
        Assert.Equal(1, Slot().SecretStats.Sum(TlsSecretStats.NotReady));
        // A listener that comes later and waits does not make a ready server unready.
        _harness.Push(ResourceTypes.Listener, new TestSnapshot().Http("late", 0, TestSnapshot.Answer("x")).Tls("late", TestSnapshot.SdsContext(TestSnapshot.GrpcSource("xds"))));
        Assert.True(_harness.Pipeline.IsServing);
    }
}
