using System;
using System.IO;

namespace Sidecar.Tests.Harness;

/// <summary>The mesh of the sample snapshots: three namespaces, three captured sidecars, two apps.</summary>
internal sealed class SampleMesh : IDisposable
{
    internal const string WebappAddress = "10.244.2.73", V1Address = "10.244.1.63", V2Address = "10.244.1.64", Service = "10.106.45.142:8888";
    internal const int AppUid = 1338, ClientUid = 1339;

    // What the injector gives to the init container of a Pod.
    private static readonly string[] s_captureArguments =
        ["istio-iptables", "-p", "15001", "-z", "15006", "-u", "1337", "-m", "REDIRECT", "-i", "*", "-x", "", "-b", "*", "-d", "15090,15021,15020"];

    private readonly Owned _owned = new();
    private readonly Func<string, string, string> _change;
    private readonly string[] _flags;
    private readonly bool _isBootstrap;

    /// <param name="change">Changes the snapshot of a pod; given the sample's name and its text.</param>
    /// <param name="flags">Flags of the sidecars besides.</param>
    internal SampleMesh(Func<string, string, string>? change = null, params string[] flags) : this(change, isBootstrap: false, flags)
    {
    }

    /// <param name="change">Makes of a pod's snapshot what its sidecar is started with; given the sample's name and its text.</param>
    /// <param name="isBootstrap">What it makes is a bootstrap.</param>
    /// <param name="flags">Flags of the sidecars besides.</param>
    internal SampleMesh(Func<string, string, string>? change, bool isBootstrap, params string[] flags)
    {
        _isBootstrap = isBootstrap;
        _change = change ?? (static (_, text) => text);
        _flags = flags;
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
            captured.Run(executable, s_captureArguments).Expect();

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
            var snapshot = folder.Write(sample + ".json", _change(sample, File.ReadAllText(Path.Combine(ProjectTree.Root, "Sidecar", "Samples", sample + ".json"))));
            return _owned.Push(SidecarProcess.RunWithin(pod, executable, snapshot, flags: _flags, isBootstrap: _isBootstrap));
        }
    }

    public void Dispose() => _owned.Dispose();
}
