using System;
using System.IO;
using System.Linq;
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
    private const string WebappAddress = "10.244.2.73", V1Address = "10.244.1.63", V2Address = "10.244.1.64", Service = "10.106.45.142:8888";
    private const int AppUid = 1338, ClientUid = 1339;

    // What the injector gives to the init container of a Pod.
    private static readonly string[] CaptureArguments =
        ["istio-iptables", "-p", "15001", "-z", "15006", "-u", "1337", "-m", "REDIRECT", "-i", "*", "-x", "", "-b", "*", "-d", "15090,15021,15020"];

    [SkippableTheory]
    [InlineData("--http1.1")]
    [InlineData("--http2-prior-knowledge")]
    public void TwoHundredRequests_AreAnsweredAndSplit(string protocol)
    {
        using var mesh = new Mesh();
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

    [SkippableFact]
    public void TcpOutsideTheMesh_GoesThroughPassthroughOnBothSides()
    {
        using var mesh = new Mesh();
        var (server, port) = Peers.TcpServer(mesh.V1Namespace, AppUid, "0.0.0.0", 9080);
        using (server)
            Assert.Equal("HALF-CLOSE WORKS", Peers.TcpClient(mesh.WebappNamespace, ClientUid, V1Address, port, "half-close works").Expect().Output.Trim());
        Assert.Equal(1, mesh.Webapp.Stat("cluster.PassthroughCluster.upstream_cx_total"));
        Assert.Equal(1, mesh.V1.Stat("cluster.InboundPassthroughClusterIpv4.upstream_cx_total"));
    }

    [SkippableFact]
    public void OwnAddress_IsClosedByBlackHole()
    {
        using var mesh = new Mesh();
        var result = mesh.Call("-o", "/dev/null", $"http://{WebappAddress}:15001/");
        Assert.Contains(result.ExitCode, new[] { 52, 56 });               // closed without an answer, or reset
        Assert.Equal(0, mesh.Webapp.Stat("cluster.PassthroughCluster.upstream_cx_total"));
    }

    [SkippableFact]
    public void UnknownHostOnAServicePort_GoesWhereItWasGoing()
    {
        using var mesh = new Mesh();
        // The route's allow_any host: not the calculator's name, so PassthroughCluster, so straight to v2's address.
        Assert.Equal("calculator v2", mesh.Call("--http2-prior-knowledge", "-H", "host: elsewhere", $"http://{V2Address}:8888/add").Expect().Output.Trim());
    }

    [SkippableFact]
    public void Ports_AreIstiosAndAdminIsLoopbackOnly()
    {
        using var mesh = new Mesh();
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
        using var mesh = new Mesh();
        Assert.Equal(10, mesh.Call($"http://{Service}/add?n=[1-10]").Expect().Lines.Length);
        mesh.Webapp.Signal("TERM");
        Assert.Equal(0, mesh.Webapp.WaitForExit());
    }

    /// <summary>Three namespaces, three captured sidecars, two apps.</summary>
    private sealed class Mesh : IDisposable
    {
        private readonly Owned _owned = new();

        internal Mesh()
        {
            Command.RequireRoot();
            SidecarProcess.Require();
            Command.Require("ip", "ss", "setpriv", "iptables-restore", "nghttpd", "curl");
            try
            {
                Build();
            }
            catch
            {
                Dispose();
                throw;
            }
        }

        internal NetworkNamespace WebappNamespace { get; private set; } = null!;
        internal NetworkNamespace V1Namespace { get; private set; } = null!;
        internal SidecarProcess Webapp { get; private set; } = null!;
        internal SidecarProcess V1 { get; private set; } = null!;
        internal SidecarProcess V2 { get; private set; } = null!;

        internal CommandResult Call(params string[] arguments) =>
            WebappNamespace.RunAs(ClientUid, "curl", ["-sS", "--max-time", "60", .. arguments]);

        internal CommandResult Shell(string script) => WebappNamespace.RunAs(ClientUid, "sh", "-c", script);

        private void Build()
        {
            var folder = _owned.Push(new TestFolder());
            var executable = folder.PathOf("sidecar");
            File.Copy(ProjectTree.Executable, executable);

            WebappNamespace = _owned.Push(new NetworkNamespace("webapp"));
            V1Namespace = _owned.Push(new NetworkNamespace("v1"));
            var v2Namespace = _owned.Push(new NetworkNamespace("v2"));
            WebappNamespace.Connect(V1Namespace, WebappAddress, V1Address, "to-v1");
            WebappNamespace.Connect(v2Namespace, WebappAddress, V2Address, "to-v2");
            // The service's address belongs to nobody; it only has to be routable for a connection to begin.
            WebappNamespace.Ip("route", "add", Service.Split(':')[0], "dev", "to-v1");

            foreach (var captured in new[] { WebappNamespace, V1Namespace, v2Namespace })
                captured.Run(executable, CaptureArguments).Expect();

            V1 = RunPod(V1Namespace, "calculator-v1", "calculator v1");
            V2 = RunPod(v2Namespace, "calculator-v2", "calculator v2");
            Webapp = RunPod(WebappNamespace, "webapp", null);

            SidecarProcess RunPod(NetworkNamespace pod, string sample, string? answer)
            {
                if (answer is not null)
                {
                    var files = Directory.CreateDirectory(folder.PathOf(sample)).FullName;
                    File.WriteAllText(Path.Combine(files, "add"), answer + "\n");
                    _owned.Push(Peers.Nghttpd(files, 8888, pod, AppUid));
                }
                var snapshot = folder.Write(sample + ".json", File.ReadAllText(Path.Combine(ProjectTree.Root, "Sidecar", "Samples", sample + ".json")));
                return _owned.Push(SidecarProcess.RunWithin(pod, executable, snapshot));
            }
        }

        public void Dispose() => _owned.Dispose();
    }
}
