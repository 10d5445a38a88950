using System;
using System.Linq;
using System.Text;
using Sidecar.Config;
using Sidecar.Tests.Harness;
using Xunit;

namespace Sidecar.Tests.Scenarios;

/// <summary>
/// The mesh of the sample snapshots: webapp calls the calculator's service address, capture and two sidecars carry it. Apps and
/// clients are programs of others.
/// </summary>
[Trait("Category", "Linux")]
[Collection(ExecutableCollection.Name)]
public sealed class SeedMeshTests
{
    private const string WebappAddress = SampleMesh.WebappAddress, V1Address = SampleMesh.V1Address, V2Address = SampleMesh.V2Address, Service = SampleMesh.Service;
    private const int AppUid = SampleMesh.AppUid, ClientUid = SampleMesh.ClientUid;

    [SkippableTheory]
    [InlineData("--http1.1")]
    [InlineData("--http2-prior-knowledge")]
    public void TwoHundredRequests_AreAnsweredAndSplit(string protocol)
    {
        using var mesh = new SampleMesh();
        // A process for each HTTP/2 request: curl before 8.0 breaks off when it uses such a connection again (curl issue 10634).
        var answers = protocol == "--http1.1"
            ? mesh.Call(protocol, $"http://{Service}/add?n=[1-200]").Expect().Lines
            : mesh.Shell($"for n in $(seq 200); do curl -sS --max-time 20 {protocol} http://{Service}/add?n=$n || exit 1; done").Expect().Lines;
        Assert.Equal(200, answers.Length);
        int v1 = answers.Count(answer => answer == "calculator v1"), v2 = answers.Count(answer => answer == "calculator v2");
        Assert.Equal(200, v1 + v2);
        Assert.InRange(v1, 60, 140);

        // The counters of every hop tell the same story.
        Assert.Equal(200, mesh.Webapp.Stat("http.outbound_0.0.0.0_8888.downstream_rq_2xx"));
        Assert.Equal(v1, mesh.Webapp.Stat("cluster.outbound|8888|v1|calculator.vm.svc.cluster.local.upstream_rq_total"));
        Assert.Equal(v2, mesh.Webapp.Stat("cluster.outbound|8888|v2|calculator.vm.svc.cluster.local.upstream_rq_total"));
        Assert.Equal(v1, mesh.V1.Stat("cluster.inbound|8888|grpc|calculator.vm.svc.cluster.local.upstream_rq_total"));
        Assert.Equal(v2, mesh.V2.Stat("cluster.inbound|8888|grpc|calculator.vm.svc.cluster.local.upstream_rq_total"));
    }

    [SkippableTheory]
    [InlineData(true)]
    [InlineData(false)]
    public void ServedByAControlPlane_TheMeshIsTheSame(bool delta)
    {
        using var folder = new TestFolder();
        string socket = "unix:" + folder.PathOf("XDS");
        using var plane = XdsServer.Start(socket, folder.Path);
        Command.Run("chmod", "666", folder.PathOf("XDS")).Expect();
        // One control plane for the three Pods: its socket is reached from every network namespace.
        using var mesh = new SampleMesh(
            (pod, snapshot) =>
            {
                XdsServer.Serve(folder.Path, pod, XdsServer.Resources(ResourceReader.ReadDocument(Encoding.UTF8.GetBytes(snapshot), pod)));
                return XdsServer.Bootstrap(pod, socket, delta);
            },
            isBootstrap: true);
        var answers = mesh.Call($"http://{Service}/add?n=[1-200]").Expect().Lines;
        Assert.Equal(200, answers.Length);
        int v1 = answers.Count(answer => answer == "calculator v1"), v2 = answers.Count(answer => answer == "calculator v2");
        Assert.Equal(200, v1 + v2);
        Assert.InRange(v1, 60, 140);
        Assert.Equal(v1, mesh.V1.Stat("cluster.inbound|8888|grpc|calculator.vm.svc.cluster.local.upstream_rq_total"));
        Assert.Equal(v2, mesh.V2.Stat("cluster.inbound|8888|grpc|calculator.vm.svc.cluster.local.upstream_rq_total"));
        Assert.Empty(plane.Refusals());
        Assert.Empty(plane.Errors());
        foreach (var sidecar in new[] { mesh.Webapp, mesh.V1, mesh.V2 })
            Assert.Equal(1, sidecar.Stat("control_plane.connected_state"));
    }

    [SkippableFact]
    public void TcpOutsideTheMesh_GoesThroughPassthroughOnBothSides()
    {
        using var mesh = new SampleMesh();
        var (server, port) = Peers.TcpServer(mesh.V1Namespace, AppUid, "0.0.0.0", 9080);
        using (server)
            Assert.Equal("HALF-CLOSE WORKS", Peers.TcpClient(mesh.WebappNamespace, ClientUid, V1Address, port, "half-close works").Expect().Output.Trim());
        Assert.Equal(1, mesh.Webapp.Stat("cluster.PassthroughCluster.upstream_cx_total"));
        Assert.Equal(1, mesh.V1.Stat("cluster.InboundPassthroughClusterIpv4.upstream_cx_total"));
    }

    [SkippableFact]
    public void OwnAddress_IsClosedByBlackHole()
    {
        using var mesh = new SampleMesh();
        var result = mesh.Call("-o", "/dev/null", $"http://{WebappAddress}:15001/");
        Assert.Contains(result.ExitCode, new[] { 52, 56 });               // closed without an answer, or reset
        Assert.Equal(0, mesh.Webapp.Stat("cluster.PassthroughCluster.upstream_cx_total"));
    }

    [SkippableFact]
    public void UnknownHostOnAServicePort_GoesWhereItWasGoing()
    {
        using var mesh = new SampleMesh();
        // The route's allow_any host: not the calculator's name, so PassthroughCluster, so straight to v2's address.
        Assert.Equal("calculator v2", mesh.Call("--http2-prior-knowledge", "-H", "host: elsewhere", $"http://{V2Address}:8888/add").Expect().Output.Trim());
    }

    [SkippableFact]
    public void Ports_AreIstiosAndAdminIsLoopbackOnly()
    {
        using var mesh = new SampleMesh();
        var listening = mesh.WebappNamespace.ListeningAddresses();
        foreach (var port in new[] { "15001", "15021", "15090" })
            Assert.Contains("0.0.0.0:" + port, listening);
        // webapp is no service, so its snapshot has no inbound listener; the calculator's has.
        Assert.Contains("0.0.0.0:15006", mesh.V1Namespace.ListeningAddresses());
        Assert.Equal(["127.0.0.1:15000"], listening.Where(address => address.EndsWith(":15000", StringComparison.Ordinal)));
        Assert.Equal("200", mesh.WebappNamespace.Run("curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", $"http://{WebappAddress}:15021/healthz/ready").Output);
        Assert.Contains("envoy_", mesh.WebappNamespace.Run("curl", "-s", $"http://{WebappAddress}:15090/stats/prometheus").Output);
    }

    [SkippableFact]
    public void Drain_SigtermLosesNoRequest()
    {
        using var mesh = new SampleMesh();
        Assert.Equal(10, mesh.Call($"http://{Service}/add?n=[1-10]").Expect().Lines.Length);
        mesh.Webapp.Signal("TERM");
        Assert.Equal(0, mesh.Webapp.WaitForExit());
    }
}
