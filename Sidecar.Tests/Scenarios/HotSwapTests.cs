using System;
using System.Collections.Generic;
using System.Linq;
using System.Threading;
using Sidecar.Tests.Harness;
using Xunit;
using Xunit.Abstractions;

namespace Sidecar.Tests.Scenarios;

/// <summary>A snapshot that changes all the time under load: no request is lost, and who was not changed is not disturbed.</summary>
[Trait("Category", "Linux")]
[Collection(ExecutableCollection.Name)]
public sealed class HotSwapTests(ITestOutputHelper output)
{
    private const int SwapsPerSecond = 14, Seconds = 10, Clients = 4;

    [SkippableFact]
    public void FourteenSwapsASecond_NoRequestLost_NoUnchangedConnectionClosed()
    {
        using var owned = new Owned();
        var folder = owned.Push(new TestFolder());
        var ports = FreePort.Next(5);
        (int still, int changing, int appA, int appB) = (ports[0], ports[1], ports[2], ports[3]);
        owned.Push(SidecarProcess.Run(folder.Write("app.json",
            new TestSnapshot().Http("a", appA, TestSnapshot.Answer("app")).Http("b", appB, TestSnapshot.Answer("app")).ToString())));

        folder.Write("s.json", Snapshot(0));
        var sidecar = owned.Push(SidecarProcess.Run(folder.PathOf("s.json"), concurrency: 2));

        using var stop = new ManualResetEventSlim();
        var faults = new List<string>();
        long requests = 0, reopened = 0;
        var clients = Enumerable.Range(0, Clients).SelectMany(_ => new[] { new Thread(KeepOneConnection), new Thread(ReopenWhenTold) }).ToList();
        clients.ForEach(client => client.Start());

        int swaps = 0;
        while (swaps < SwapsPerSecond * Seconds)
        {
            folder.Write("s.json", Snapshot(++swaps));
            if (stop.Wait(1000 / SwapsPerSecond))
                break;                                                    // a client gave up; its reason follows
        }
        // The last one is taken, so swapping went on to the end and did not merely stop failing.
        if (!stop.IsSet)
            sidecar.WaitUntil(() => { using var client = new RawClient(changing); return client.Get("/version").Body == $"{swaps}"; }, "did not take the last snapshot");
        stop.Set();
        clients.ForEach(client => client.Join());

        output.WriteLine($"{swaps} swaps, {requests} requests, {reopened} connections reopened on the listener that changed");
        Assert.True(faults.Count == 0, string.Join('\n', faults.Take(5)) + "\n" + sidecar.Log);
        Assert.True(requests > swaps);

        // A listener that never changes, whose routes by name and cluster do change; and one that changes each time.
        string Snapshot(int version) => new TestSnapshot()
            .HttpByName("still", still, "routes")
            .Routes("routes", TestSnapshot.To(version % 2 == 0 ? "even" : "odd", $"\"timeout\": \"{10 + version % 5}s\""))
            .EdsCluster("even", http2: false, version % 3 == 0 ? [appA] : [appA, appB])
            .EdsCluster("odd", http2: version % 4 == 1, appB)
            .Http("changing", changing, TestSnapshot.Answer($"{version}", "/version") + "," + TestSnapshot.To("even"))
            .ToString();

        // One connection for the whole test: a close of any kind is a fault.
        void KeepOneConnection() => Client(() =>
        {
            using var client = new RawClient(still);
            while (!stop.IsSet)
            {
                var response = client.Get("/");
                Interlocked.Increment(ref requests);
                if (response.Status != 200 || response.Body != "app" || response.Header("connection") == "close")
                    throw new InvalidOperationException("on the unchanged listener: " + response.Head + response.Body);
            }
        });

        // The listener changed, so its connections drain: each is told by an answer, never by a lost request.
        void ReopenWhenTold() => Client(() =>
        {
            while (!stop.IsSet)
            {
                using var client = new RawClient(changing);
                Interlocked.Increment(ref reopened);
                bool open = true;
                while (open && !stop.IsSet)
                {
                    var response = client.Get("/");
                    Interlocked.Increment(ref requests);
                    if (response.Status != 200 || response.Body != "app")
                        throw new InvalidOperationException("on the changing listener: " + response.Head + response.Body);
                    open = response.Header("connection") != "close";
                }
            }
        });

        void Client(Action work)
        {
            try
            {
                work();
            }
            catch (Exception exception)
            {
                lock (faults)
                    faults.Add(exception.ToString());
                stop.Set();
            }
        }
    }

    [SkippableFact]
    public void Sighup_ReappliesTheSnapshot()
    {
        using var folder = new TestFolder();
        int port = FreePort.Next();
        folder.Write("s.json", new TestSnapshot().Http("in", port, TestSnapshot.Answer("one")).ToString());
        using var sidecar = SidecarProcess.Run(folder.PathOf("s.json"));
        folder.Write("s.json", new TestSnapshot().Http("in", port, TestSnapshot.Answer("two")).ToString());
        sidecar.Signal("HUP");
        sidecar.WaitUntil(() => { using var client = new RawClient(port); return client.Get("/").Body == "two"; }, "did not take the new snapshot");
    }
}
