using System;
using System.Collections.Generic;
using System.Diagnostics;
using System.Globalization;
using System.IO;
using System.Linq;
using Google.Protobuf;
using Sidecar.Config;
using Sidecar.Telemetry.Stats;
using Sidecar.Tests.Harness;
using Sidecar.Upstream.Discovery;
using Sidecar.Wire;
using Sidecar.Xds;
using Xunit;
using Xunit.Abstractions;

namespace Sidecar.Tests.Fuzz;

/// <summary>
/// Discovery responses that are nearly right, in both forms of xDS, on the whole way from the bytes of a stream through the translators. Each ends in
/// resources, or in problems of one line; never in an exception, nor in memory without bound; and the same seed ends the same.
/// SIDECAR_FUZZ_ROUNDS=1000000 runs more of them than the suite has time for.
/// </summary>
public sealed class DiscoveryFuzzTests(ITestOutputHelper output)
{
    private const int Rounds = 20_000;

    /// <summary>A control plane's life: after so many answers everything is new again.</summary>
    private const int RoundsOfALife = 500;

    /// <summary>What an answer of some KiB may cost to take apart, to translate, and to tell what is wrong with it; the dearest of a million has taken 1.8 MB.</summary>
    private const long BytesMax = 16 << 20;

    private static readonly string[] s_types =
        [ResourceTypes.Cluster, ResourceTypes.ClusterLoadAssignment, ResourceTypes.RouteConfiguration, ResourceTypes.Listener, ResourceTypes.Secret];

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void MutatedResponses_EndInResourcesOrProblems(bool delta)
    {
        string? asked = Environment.GetEnvironmentVariable("SIDECAR_FUZZ_ROUNDS");
        int rounds = (asked is null ? Rounds : int.Parse(asked, CultureInfo.InvariantCulture)) / 2;
        var seeds = Seeds(delta);
        long before = GC.GetTotalMemory(forceFullCollection: true);
        long start = Stopwatch.GetTimestamp();
        var run = Run(seeds, delta, 0, rounds);
        output.WriteLine(
            $"{rounds} mutations of {seeds.Count} responses in {Stopwatch.GetElapsedTime(start).TotalSeconds:F1} s, {run.LargestAllocation} bytes allocated at most: {run}");
        // Nothing is kept: neither of what was taken nor of what was refused.
        Assert.InRange(GC.GetTotalMemory(forceFullCollection: true) - before, long.MinValue, 32 << 20);
        // Each way that an answer can go was gone often.
        int[] ways = [run.NoResponse, run.OfAnotherType, run.Malformed, run.Refused, run.Accepted, run.WithoutEffect];
        Assert.All(ways, count => Assert.True(count > rounds / 200, run.ToString()));
        Assert.Equal(Run(seeds, delta, 0, RoundsOfALife * 2).ToString(), Run(seeds, delta, 0, RoundsOfALife * 2).ToString());
    }

    private static Outcome Run(List<byte[]> seeds, bool delta, int first, int rounds)
    {
        var outcome = new Outcome();
        Proxy? proxy = null;
        for (int round = first; round < first + rounds; round++)
        {
            if (round % RoundsOfALife == 0 || proxy is null)
                proxy = new Proxy();
            var random = new Random(round);
            byte[] seed = seeds[round % seeds.Count];
            byte[] mutated = WireMutation.Mutate(seed, random);
            long allocated = GC.GetAllocatedBytesForCurrentThread();
            try
            {
                proxy.Take(mutated, delta, random, outcome);
            }
            catch (Exception exception) when (exception is not Xunit.Sdk.XunitException)
            {
                Assert.Fail($"mutation {round} ({(delta ? "delta" : "state of the world")}): {exception}");
            }
            allocated = GC.GetAllocatedBytesForCurrentThread() - allocated;
            outcome.LargestAllocation = Math.Max(outcome.LargestAllocation, allocated);
            Assert.True(allocated < BytesMax, $"mutation {round} of {mutated.Length} bytes allocated {allocated}");
        }
        return outcome;
    }

    /// <summary>What came of many answers.</summary>
    private sealed class Outcome
    {
        internal int NoResponse, OfAnotherType, Malformed, Refused, Accepted, WithoutEffect;
        internal long LargestAllocation;
        private ulong _digest = 1;

        /// <summary>A word of the outcome: every one counts, and their order.</summary>
        internal void Note(string text)
        {
            Assert.True(text.AsSpan().IndexOfAny('\r', '\n') < 0, text);
            foreach (char c in text)
                _digest = (_digest ^ c) * 1099511628211;
        }

        public override string ToString() =>
            $"{NoResponse} no response, {OfAnotherType} of no known type, {Malformed} malformed, {Refused} refused, {Accepted} accepted, {WithoutEffect} without effect; {_digest:x16}";
    }

    /// <summary>The taking end: one of each subscription, and all translators behind them.</summary>
    private sealed class Proxy
    {
        private readonly SnapshotBuilder _builder = new(new StatsRegistry(1), 1, "node", () => 0);
        private readonly Dictionary<string, Subscription> _subscriptions = [];
        private readonly ResponseReader _reader = new();

        internal Proxy()
        {
            foreach (string type in s_types)
            {
                _subscriptions.Add(type, new Subscription(type));
                _subscriptions[type].SetInterest(true, [], long.MaxValue, _ => long.MaxValue);
            }
        }

        internal void Take(byte[] message, bool delta, Random random, Outcome outcome)
        {
            _reader.Begin(delta);
            for (int at = 0; at < message.Length;)
            {
                int length = Math.Min(random.Next(1, message.Length + 1), message.Length - at);
                _reader.Feed(message.AsSpan(at, length));
                at += length;
            }
            if (_reader.End() is not { } response)
            {
                outcome.NoResponse++;
                outcome.Note(_reader.Problem);
                return;
            }
            if (!_subscriptions.TryGetValue(response.TypeUrl, out var subscription))
            {
                outcome.OfAnotherType++;
                return;
            }
            var update = subscription.Open(response, "test", 0, 0);
            var result = _builder.Take(update.TypeUrl, update.Resources, update.Removed);
            outcome.Malformed += update.Malformed.Count;
            outcome.Refused += result.Errors.Count;
            outcome.Accepted += result.Accepted.Count;
            outcome.WithoutEffect += result.WithoutEffect.Count;
            foreach (var error in result.Errors)
                outcome.Note(error.ToString());
            foreach (var error in result.WithoutEffect)
                outcome.Note(error.ToString());
            IReadOnlyList<ResourceRejection> rejections = [.. update.Malformed, .. result.Errors.Select(error => new ResourceRejection(error.Resource, error.Path, error.Reason))];
            Assert.InRange(DiscoveryProtocol.Detail(update.TypeUrl, rejections).Length, 0, 70_000);
            subscription.Settle(response, update, rejections, 0);
            foreach (var state in result.Accepted.Where(state => state.TypeUrl == ResourceTypes.ClusterLoadAssignment))
                _builder.EndpointsOf(state.Accepted!);
        }
    }

    /// <summary>Answers of up to three resources: of the samples always, of a real istiod where its are at hand.</summary>
    private static List<byte[]> Seeds(bool delta)
    {
        var files = new List<string>(Directory.GetFiles(Path.Combine(ProjectTree.Root, "Sidecar", "Samples"), "*.json").Order(StringComparer.Ordinal));
        foreach (string folder in new[] { "istiod-1.30", "config-dumps" })
        {
            if (Path.Combine(ProjectTree.SharedRoot, "testdata/istio", folder) is var path && Directory.Exists(path))
                files.AddRange(Directory.GetFiles(path, "*.json").Order(StringComparer.Ordinal));
        }
        var seeds = new List<byte[]>();
        foreach (string file in files)
        {
            foreach (var ofType in ResourceReader.Read(file).Resources.Where(resource => s_types.Contains(resource.TypeUrl)).GroupBy(resource => resource.TypeUrl))
                seeds.AddRange(ofType.Chunk(3).Select(resources => Response(ofType.Key, resources, delta)));
        }
        return seeds;
    }

    private static byte[] Response(string typeUrl, DiscoveredResource[] resources, bool delta)
    {
        if (!delta)
        {
            var world = new Envoy.Service.Discovery.V3.DiscoveryResponse { TypeUrl = typeUrl, VersionInfo = "7", Nonce = "n", ControlPlane = new() { Identifier = "istiod" } };
            world.Resources.AddRange(resources.Select(Any));
            return world.ToByteArray();
        }
        var response = DiscoveryMessages.Delta(
            typeUrl, "7", "n", resources.Select(resource => new Envoy.Service.Discovery.V3.Resource { Name = resource.Name, Version = "7", Resource_ = Any(resource) }), "gone");
        response.ControlPlane = new() { Identifier = "istiod" };
        return response.ToByteArray();
    }

    private static Google.Protobuf.WellKnownTypes.Any Any(DiscoveredResource resource) =>
        new() { TypeUrl = resource.TypeUrl, Value = ByteString.CopyFrom(resource.Bytes.Span) };
}
