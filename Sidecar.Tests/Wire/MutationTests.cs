using System;
using System.Collections.Generic;
using System.IO;
using System.Text;
using Sidecar.Config;
using Sidecar.Tests.Harness;
using Sidecar.Wire;
using Xunit;

namespace Sidecar.Tests.Wire;

/// <summary>Seeded damage: whatever the bytes, reading ends in a message or in problems, never in an exception.</summary>
public sealed class MutationTests
{
    private const int Rounds = 100_000;

    private static readonly byte[][] Words =
    [
        .. new[]
        {
            "{", "}", "[", "]", ",", ":", "\"", "null", "true", "-1", "1e400", "\\ud800", "\"@type\":", "\"type.googleapis.com/google.protobuf.Any\"",
            "\"type.googleapis.com/envoy.api.v2.Cluster\"", "\"config\":{", "\"name\":", "\"hosts\":[", "\u00e9", "{\"a\":", "[[[[[[[[", "\"0s\"",
        }.AsList(),
    ];

    [Fact]
    public void MutatedJson_EndsInResourcesOrErrors()
    {
        string samples = Path.Combine(ProjectTree.Root, "Sidecar", "Samples");
        byte[][] seeds =
        [
            Compact(Path.Combine(samples, "webapp.json")),
            Compact(Path.Combine(samples, "calculator-v1.json")),
            Encoding.UTF8.GetBytes("""{"node":{"id":"n","metadata":{"A":1}},"static_resources":{"listeners":[{"name":"l","filter_chains":[{"filters":[{"name":"envoy.tcp_proxy","config":{"cluster":"c"}}],"tls_context":{}}]}],"clusters":[{"name":"c","hosts":[{"pipe":{"path":"/x"}}],"connect_timeout":"0.25s"}]}}"""),
            Encoding.UTF8.GetBytes("""{"resources":[{"@type":"type.googleapis.com/envoy.config.route.v3.RouteConfiguration","name":"r","virtual_hosts":[{"name":"v","domains":["*"],"routes":[{"match":{"regex":"x"},"route":{"cluster":"c"},"per_filter_config":{"envoy.fault":{}}}]}]}]}"""),
        ];
        var random = new Random(20200211);
        for (int round = 0; round < Rounds / 4; round++)
        {
            byte[] mutated = Mutate(seeds[round % seeds.Length], random);
            ResourceSet set = ResourceReader.ReadDocument(mutated, "x.json");
            foreach (ConfigError problem in set.Problems)
                Assert.DoesNotContain('\n', problem.ToString());
            Assert.True(set.Resources.Count > 0 || set.Bootstrap is not null || set.HasErrors || set.Problems.Count == 0);
        }
    }

    [Fact]
    public void MutatedWire_IsWalkedAndWrittenWithoutAnException()
    {
        var seeds = new List<(byte[] Bytes, string Type)>();
        foreach (string name in new[] { "webapp", "calculator-v1" })
        {
            foreach (DiscoveredResource resource in ResourceReader.Read(Path.Combine(ProjectTree.Root, "Sidecar", "Samples", name + ".json")).Resources)
                seeds.Add((resource.Bytes.ToArray(), resource.Type!.FullName));
        }
        seeds.Add((WireHarness.Read("""{"typed_config":{"@type":"type.googleapis.com/udpa.type.v1.TypedStruct","type_url":"type.googleapis.com/envoy.extensions.filters.http.router.v3.Router","value":{"start_child_span":true}}}""", "envoy.config.listener.v3.Filter"), "envoy.config.listener.v3.Filter"));
        seeds.Add((WireHarness.Read("""{"name":"s","tls_certificate":{"private_key":{"inline_bytes":"AAAA"},"watched_directory":{"path":"/x"}}}""", "envoy.extensions.transport_sockets.tls.v3.Secret"), "envoy.extensions.transport_sockets.tls.v3.Secret"));
        var random = new Random(1847);
        var problems = new WireProblems();
        for (int round = 0; round < Rounds; round++)
        {
            (byte[] seed, string type) = seeds[round % seeds.Count];
            byte[] mutated = Mutate(seed, random);
            problems.Clear();
            UnsupportedFields.Walk(mutated, SchemaTable.Find(type)!, "", problems);
            WireHarness.TryWrite(mutated, type, round % 2 == 0, out string json);
            if (round % 16 == 0)
            {
                using System.Text.Json.JsonDocument parsed = System.Text.Json.JsonDocument.Parse(json, new System.Text.Json.JsonDocumentOptions { MaxDepth = 1000 });
            }
        }
    }

    private static byte[] Compact(string path) =>
        Encoding.UTF8.GetBytes(System.Text.Json.Nodes.JsonNode.Parse(File.ReadAllText(path))!.ToJsonString());

    private static byte[] Mutate(byte[] seed, Random random)
    {
        var bytes = new List<byte>(seed);
        int changes = random.Next(1, 4);
        for (int i = 0; i < changes && bytes.Count > 0; i++)
        {
            int at = random.Next(bytes.Count);
            switch (random.Next(6))
            {
                case 0:
                    bytes[at] = (byte)random.Next(256);
                    break;
                case 1:
                    bytes[at] ^= (byte)(1 << random.Next(8));
                    break;
                case 2:
                    bytes.RemoveRange(at, Math.Min(bytes.Count - at, random.Next(1, 20)));
                    break;
                case 3:
                    bytes.InsertRange(at, Words[random.Next(Words.Length)]);
                    break;
                case 4:
                    int length = Math.Min(bytes.Count - at, random.Next(1, 200));
                    bytes.InsertRange(random.Next(bytes.Count), bytes.GetRange(at, length));
                    break;
                default:
                    bytes.RemoveRange(at, bytes.Count - at);
                    break;
            }
        }
        return [.. bytes];
    }
}

file static class WordList
{
    public static List<byte[]> AsList(this string[] words)
    {
        var list = new List<byte[]>();
        foreach (string word in words)
            list.Add(Encoding.UTF8.GetBytes(word));
        return list;
    }
}
