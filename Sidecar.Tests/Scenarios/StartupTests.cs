using System;
using System.Diagnostics;
using System.Collections.Generic;
using System.IO;
using System.Linq;
using Sidecar.Tests.Harness;
using Xunit;
using Xunit.Abstractions;

namespace Sidecar.Tests.Scenarios;

/// <summary>From exec to the first answer, and what an idle sidecar costs; then its end.</summary>
[Trait("Category", "Linux")]
[Collection(ExecutableCollection.Name)]
public sealed class StartupTests(ITestOutputHelper output)
{
    private const long ExecutableBytesMax = 10 << 20, IdleResidentBytesMax = 10 << 20;

    [SkippableFact]
    public void Executable_IsSmallStrippedAndAlone()
    {
        SidecarProcess.Require();
        long bytes = new FileInfo(ProjectTree.Executable).Length;
        output.WriteLine($"executable: {bytes} bytes");
        Assert.InRange(bytes, 1, ExecutableBytesMax);
        Assert.True(File.Exists(ProjectTree.Executable + ".dbg"), "no symbols beside the executable");
        var linked = Command.Run("ldd", ProjectTree.Executable).Expect().Lines.Select(line => line.Trim().Split(' ')[0]);
        Assert.All(linked, library => Assert.Matches(@"^(linux-vdso|libc|libm|.*/ld-linux|libdl|libpthread|librt)", library));
    }

    [SkippableFact]
    public void Idle_StaysSmall()
    {
        using var folder = new TestFolder();
        int port = FreePort.Next();
        var began = Stopwatch.GetTimestamp();
        using var sidecar = SidecarProcess.Start(folder.Write("s.json", Sample(port)), FreePort.Next());
        sidecar.WaitForListen(port);
        // Printed, not asserted: perf/ measures it; a shared machine may be slow today.
        output.WriteLine($"exec to listening, to within a look at /proc every few ms: {Stopwatch.GetElapsedTime(began).TotalMilliseconds:F1} ms");
        sidecar.WaitUntilReady();
        output.WriteLine($"resident: {sidecar.ResidentBytes} bytes");
        Assert.InRange(sidecar.ResidentBytes, 1, IdleResidentBytesMax);
    }

    /// <summary>Two of the runtime's own, the control loop, the workers; no pool has begun, and OpenSSL waits for who configures TLS.</summary>
    [SkippableFact]
    public void WithoutTls_NoLibraryIsLoaded_AndThereAreTheThreadsOneNames()
    {
        using var folder = new TestFolder();
        using var sidecar = SidecarProcess.Run(folder.Write("s.json", Sample(FreePort.Next())), concurrency: 2);
        sidecar.WaitUntilReady();
        var threads = Directory.GetDirectories($"/proc/{sidecar.Id}/task").Select(task => File.ReadAllText(Path.Combine(task, "comm")).TrimEnd()).Order(StringComparer.Ordinal);
        Assert.Equal([".NET Finalizer", ".NET SigHandler", "sidecar", "worker-0", "worker-1"], threads);
        var libraries = File.ReadLines($"/proc/{sidecar.Id}/maps").Where(line => line.Contains(".so", StringComparison.Ordinal)).Select(line => Path.GetFileName(line)).Distinct();
        Assert.All(libraries, library => Assert.Matches(@"^(libc|libm|ld-linux)\b", library));
    }

    /// <summary>The runtime writes its stack cookie into a page of constants; a frame that began before the page was lost ended the process.</summary>
    [SkippableFact]
    public void PagesGivenBackAfterStart_AreNotThoseTheRuntimeWrote()
    {
        using var folder = new TestFolder();
        using var sidecar = SidecarProcess.Run(folder.Write("s.json", Sample(FreePort.Next())));
        sidecar.Admin("/server_info");
        var segments = new List<(string Permissions, long WrittenKiB)>();
        foreach (string line in File.ReadLines($"/proc/{sidecar.Id}/smaps"))
        {
            string[] words = line.Split(' ', System.StringSplitOptions.RemoveEmptyEntries);
            if (words[0].Contains('-', System.StringComparison.Ordinal))
                segments.Add((line.EndsWith(ProjectTree.Executable, System.StringComparison.Ordinal) ? words[1] : "", 0));
            // Swapped out it is still there.
            if (words[0] is "Private_Dirty:" or "Swap:")
                segments[^1] = (segments[^1].Permissions, segments[^1].WrittenKiB + long.Parse(words[1], System.Globalization.CultureInfo.InvariantCulture));
        }
        // What the dynamic loader locks after relocation (PT_GNU_RELRO) lies right before the writable data and is always written: it proves nothing.
        long written = 0;
        for (int i = 0; i + 1 < segments.Count; i++)
            written += segments[i].Permissions == "r--p" && segments[i + 1].Permissions != "rw-p" ? segments[i].WrittenKiB : 0;
        output.WriteLine($"written pages in read-only segments: {written} KiB");
        Assert.True(written > 0, "no page that the runtime wrote is left in the read-only segments");
    }

    [SkippableFact]
    public void Version_IsPrinted() => Assert.Matches(@"\d+\.\d+\.\d+", SidecarProcess.Invoke("version").Expect().Output);

    [SkippableFact]
    public void Sigterm_FinishesWhatIsRunning_SaysClose_Exits()
    {
        using var folder = new TestFolder();
        var ports = FreePort.Next(2);
        using var upstream = new RawServer();
        using var sidecar = SidecarProcess.Run(folder.Write("s.json",
            new TestSnapshot().Http("in", ports[0], TestSnapshot.To("app")).Http("probe", ports[1], TestSnapshot.Answer("draining"))
                .Cluster("app", false, upstream.Port).ToString()));
        using var client = new RawClient(ports[0]);
        client.Send("GET / HTTP/1.1\r\nhost: test\r\n\r\n");
        using var arrived = upstream.Accept();
        arrived.ReadThrough("\r\n\r\n");

        sidecar.Signal("TERM");
        sidecar.WaitUntil(() => sidecar.Admin("/server_info").Contains("DRAINING", System.StringComparison.Ordinal), "never said that it drains");
        // The control loop knows it first; the worker has heard of it when its other answers say so.
        sidecar.WaitUntil(() => Probe(ports[1]).Header("connection") == "close", "the worker never drained");
        arrived.Send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
        var response = client.ReadResponse();
        Assert.Equal("ok", response.Body);
        Assert.Equal("close", response.Header("connection"));
        Assert.Equal("", client.ReadToEnd());
        Assert.Equal(0, sidecar.WaitForExit());
    }

    private static RawResponse Probe(int port)
    {
        using var client = new RawClient(port);
        return client.Get("/");
    }

    [SkippableFact]
    public void SecondSignal_ExitsAtOnce()
    {
        using var folder = new TestFolder();
        int port = FreePort.Next();
        using var upstream = new RawServer();
        using var sidecar = SidecarProcess.Run(folder.Write("s.json",
            new TestSnapshot().Http("in", port, TestSnapshot.To("app")).Cluster("app", false, upstream.Port).ToString()));
        using var client = new RawClient(port);
        client.Send("GET / HTTP/1.1\r\nhost: test\r\n\r\n");
        using var arrived = upstream.Accept();                            // never answered
        sidecar.Signal("TERM");
        sidecar.WaitUntil(() => sidecar.Admin("/server_info").Contains("DRAINING", System.StringComparison.Ordinal), "never said that it drains");
        sidecar.Signal("TERM");
        sidecar.WaitForExit();
        Assert.Equal("", client.ReadToEnd());
    }

    private static string Sample(int port) => new TestSnapshot().Http("in", port, TestSnapshot.Answer("hello")).ToString();
}
