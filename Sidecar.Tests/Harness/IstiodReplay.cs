using System;
using System.Collections.Generic;
using System.IO;
using System.Linq;
using Envoy.Service.Discovery.V3;
using Google.Protobuf;
using Google.Protobuf.WellKnownTypes;
using Sidecar.Wire;

namespace Sidecar.Tests.Harness;

/// <summary>
/// A control plane that gives again what a real istiod gave: every request is answered with the resources it names, byte for byte, over aggregated and
/// secret discovery, state of the world and delta alike. It runs on the test's thread, whenever that says <see cref="Pump"/>.
/// </summary>
internal sealed class IstiodReplay : IDisposable
{
    /// <summary>The clusters of <see cref="Bootstrap"/>, named as istio-proxy's.</summary>
    internal static readonly string[] StaticClusters = ["xds-grpc", "sds-grpc"];

    private readonly TestLoop _test = new();
    private readonly FakeAds _plane;
    private readonly IReadOnlyList<DiscoveredResource> _resources;
    private readonly Dictionary<AdsStream, Conversation> _conversations = [];

    /// <param name="socket">The Unix socket it is found at.</param>
    /// <param name="resources">All it has.</param>
    internal IstiodReplay(string socket, IReadOnlyList<DiscoveredResource> resources)
    {
        _resources = resources;
        _plane = new FakeAds(_test, socket);
        if (OperatingSystem.IsLinux())
            File.SetUnixFileMode(socket, (UnixFileMode)0b110_110_110);
    }

    /// <summary>The messages of all refusals so far.</summary>
    internal List<string> Refusals { get; } = [];

    /// <summary>Answers that were acknowledged or refused.</summary>
    internal int Acknowledged { get; private set; }

    /// <summary>Answers given.</summary>
    internal int Answered { get; private set; }

    /// <summary>The types that were asked for.</summary>
    internal IEnumerable<string> Asked => _conversations.Values.SelectMany(conversation => conversation.Names.Keys).Distinct();

    /// <summary>The methods that were called, one for each stream.</summary>
    internal IEnumerable<string> Methods => _conversations.Keys.Select(stream => stream[":path"]);

    /// <summary>Takes what the sockets have, and answers. True when nothing is left open: every answer has its acknowledgement.</summary>
    internal bool Pump()
    {
        _plane.Pump();
        foreach (var stream in _plane.Streams)
        {
            if (!_conversations.TryGetValue(stream, out var conversation))
                _conversations.Add(stream, conversation = new Conversation());
            while (conversation.Read < stream.Messages.Count)
                Take(stream, conversation, stream.Messages[conversation.Read++]);
        }
        return Acknowledged == Answered;
    }

    private void Take(AdsStream stream, Conversation conversation, byte[] message)
    {
        var delta = stream[":path"].Contains("/Delta", StringComparison.Ordinal) ? DeltaDiscoveryRequest.Parser.ParseFrom(message) : null;
        var world = delta is null ? DiscoveryRequest.Parser.ParseFrom(message) : null;
        string typeUrl = delta?.TypeUrl ?? world!.TypeUrl;
        bool isFirst = !conversation.Names.TryGetValue(typeUrl, out var names);
        if (isFirst)
            conversation.Names.Add(typeUrl, names = []);
        string nonce = delta?.ResponseNonce ?? world!.ResponseNonce;
        if (conversation.Open.Remove(nonce))
        {
            Acknowledged++;
            if ((delta is null ? world!.ErrorDetail : delta.ErrorDetail) is { } refused)
                Refusals.Add(refused.Message);
        }
        var asked = (delta is null ? world!.ResourceNames : delta.ResourceNamesSubscribe).Where(names!.Add).ToHashSet();
        if (!isFirst && asked.Count == 0)
            return;
        // A delta answer has what is new to the asker, the state of the world all that it asks for.
        bool isWildcard = names.Count == 0 || names.Contains("*");
        var wanted = _resources.Where(resource => resource.TypeUrl == typeUrl && (isWildcard || (delta is null ? names : asked).Contains(resource.Name))).ToList();
        nonce = $"n{++Answered}";
        conversation.Open.Add(nonce);
        if (delta is null)
        {
            var answer = new DiscoveryResponse { TypeUrl = typeUrl, VersionInfo = "1", Nonce = nonce };
            answer.Resources.AddRange(wanted.Select(Any));
            stream.Send(answer);
            return;
        }
        var wrapped = wanted.Select(resource => new Resource { Name = resource.Name, Version = "1", Resource_ = Any(resource) });
        string[] missing = isWildcard ? [] : [.. asked.Where(name => !wanted.Exists(resource => resource.Name == name))];
        stream.Send(DiscoveryMessages.Delta(typeUrl, "1", nonce, wrapped, missing));
    }

    private static Any Any(DiscoveredResource resource) => new() { TypeUrl = resource.TypeUrl, Value = ByteString.CopyFrom(resource.Bytes.Span) };

    /// <summary>A bootstrap as istio-proxy's: everything by ADS, secrets from the agent's socket, both of which are this one's.</summary>
    /// <param name="node">The node id.</param>
    /// <param name="socket">Where this control plane is.</param>
    /// <param name="delta">The form of xDS.</param>
    internal static string Bootstrap(string node, string socket, bool delta) => TestSnapshot.Fill("""
        {"node": {"id": "$node", "cluster": "default"},
         "dynamic_resources": {
          "lds_config": {"ads": {}, "initial_fetch_timeout": "0s", "resource_api_version": "V3"},
          "cds_config": {"ads": {}, "initial_fetch_timeout": "0s", "resource_api_version": "V3"},
          "ads_config": {"api_type": "$type", "set_node_on_first_message_only": true, "transport_api_version": "V3",
           "grpc_services": [{"envoy_grpc": {"cluster_name": "xds-grpc"}}]}},
         "static_resources": {"clusters": [$clusters]}}
        """, ("node", node), ("type", delta ? "DELTA_GRPC" : "GRPC"), ("clusters", string.Join(',', StaticClusters.Select(name => Cluster(name, socket)))));

    private static string Cluster(string name, string socket) => TestSnapshot.Fill("""
        {"name": "$name", "type": "STATIC", "connect_timeout": "1s", "http2_protocol_options": {},
         "load_assignment": {"cluster_name": "$name", "endpoints": [{"lb_endpoints": [{"endpoint": {"address": {"pipe": {"path": "$path"}}}}]}]}}
        """, ("name", name), ("path", socket));

    public void Dispose()
    {
        _plane.Dispose();
        _test.Dispose();
    }

    /// <summary>What was said on one stream.</summary>
    private sealed class Conversation
    {
        internal int Read { get; set; }
        internal Dictionary<string, HashSet<string>> Names { get; } = [];
        internal HashSet<string> Open { get; } = [];
    }
}
