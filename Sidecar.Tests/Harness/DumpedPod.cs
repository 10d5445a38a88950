using System;
using System.Collections.Generic;
using System.IO;
using System.Linq;
using System.Text.Json;
using Sidecar.Wire;

namespace Sidecar.Tests.Harness;

/// <summary>A sidecar in a Pod of its own, where its listeners find their ports free, and the control plane that gives it what a dump has.</summary>
internal sealed class DumpedPod : IDisposable
{
    private readonly Owned _owned = new();

    internal DumpedPod(IReadOnlyList<DiscoveredResource> resources, bool delta)
    {
        Command.RequireRoot();
        SidecarProcess.Require();
        Command.Require("ip", "ss", "setpriv", "curl");
        var folder = _owned.Push(new TestFolder());
        string executable = folder.PathOf("sidecar"), socket = folder.PathOf("XDS");
        File.Copy(ProjectTree.Executable, executable);
        Pod = _owned.Push(new NetworkNamespace("pod"));
        Istiod = _owned.Push(new IstiodReplay(socket, resources));
        string bootstrap = folder.Write("bootstrap.json", IstiodReplay.Bootstrap("sidecar~10.1.2.3~a.default~default.svc.cluster.local", socket, delta));
        Sidecar = _owned.Push(SidecarProcess.StartWithin(Pod, executable, bootstrap, isBootstrap: true));
    }

    internal NetworkNamespace Pod { get; }
    internal IstiodReplay Istiod { get; }
    internal SidecarProcess Sidecar { get; }

    /// <summary>Has everything answered and acknowledged.</summary>
    /// <param name="types">What is asked for.</param>
    /// <param name="refusals">At least so many refusals come.</param>
    internal void WaitUntilReady(IReadOnlyCollection<string> types, int refusals = 0) => Sidecar.WaitUntil(
        () => Istiod.Pump() && types.All(Istiod.Asked.Contains) && Istiod.Refusals.Count >= refusals && Sidecar.IsReady, "did not become ready");

    /// <summary>What /config_status tells of each resource.</summary>
    internal List<JsonElement> Status() => [.. JsonDocument.Parse(Sidecar.Admin("/config_status")).RootElement.GetProperty("resources").EnumerateArray()];

    /// <summary>What it tells of one.</summary>
    internal static JsonElement StateOf(DiscoveredResource resource, List<JsonElement> status) =>
        status.Single(s => s.GetProperty("type_url").GetString() == resource.TypeUrl && s.GetProperty("name").GetString() == resource.Name);

    public void Dispose() => _owned.Dispose();
}
