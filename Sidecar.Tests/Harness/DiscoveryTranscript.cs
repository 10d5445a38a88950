using System;
using System.Collections.Generic;
using System.Linq;
using Envoy.Config.Core.V3;
using Envoy.Service.Discovery.V3;
using Google.Protobuf;
using Sidecar.Wire;
using Sidecar.Xds;
using Xunit;

namespace Sidecar.Tests.Harness;

/// <summary>
/// The protocol of discovery without a socket: says the interest, hands answers over, and reads what a stream would send, one line a request.
/// </summary>
internal sealed class DiscoveryTranscript
{
    private readonly bool _delta;
    private readonly DiscoveryProtocol _protocol;
    private readonly Dictionary<string, Subscription> _subscriptions = [];
    private readonly ResponseReader _reader = new();

    internal DiscoveryTranscript(bool delta)
    {
        _delta = delta;
        byte[] node = new Node { Id = "me", Cluster = "c" }.ToByteArray();
        _protocol = delta ? new DeltaDiscovery(node) : new StateOfTheWorld(node);
        _protocol.OnStreamStart();
    }

    /// <summary>What the taker refuses, by name.</summary>
    internal Dictionary<string, ResourceRejection> Refuses { get; } = [];

    internal long NowMs { get; set; }

    /// <summary>The last update that was handed over.</summary>
    internal DiscoveryUpdate Update { get; private set; } = null!;

    internal Subscription this[string typeUrl] => _subscriptions[typeUrl];

    internal DiscoveryTranscript Want(string typeUrl, bool wildcard, params string[] names)
    {
        if (!_subscriptions.TryGetValue(typeUrl, out var subscription))
        {
            _subscriptions.Add(typeUrl, subscription = new Subscription(typeUrl));
            _protocol.Add(subscription);
        }
        subscription.SetInterest(wildcard, names, NowMs + 15_000, _ => NowMs + 15_000);
        return this;
    }

    /// <summary>An answer comes; its acknowledgement is among the next requests.</summary>
    internal DiscoveryTranscript Answer(IMessage response)
    {
        var received = Read(response);
        var subscription = _subscriptions[received.TypeUrl];
        Update = subscription.Open(received, "test", NowMs, 0);
        var refused = Update.Resources.Where(r => Refuses.ContainsKey(r.Name)).Select(r => Refuses[r.Name]);
        ResourceRejection[] rejections = [.. Update.Malformed, .. refused];
        subscription.Settle(received, Update, rejections, NowMs);
        Assert.True(_protocol.OnAnswer(subscription, received, rejections, NowMs));
        return this;
    }

    internal ReceivedResponse Read(IMessage response)
    {
        _reader.Begin(_delta);
        _reader.Feed(response.ToByteArray());
        var received = _reader.End();
        Assert.True(received is not null, _reader.Problem);
        return received;
    }

    /// <summary>The stream broke, and another begins.</summary>
    internal DiscoveryTranscript Reconnect()
    {
        _protocol.OnStreamStart();
        return this;
    }

    /// <summary>What is sent now, exactly this.</summary>
    internal DiscoveryTranscript Sends(params string[] requests)
    {
        var sent = new List<string>();
        var request = new WireWriter();
        while (_protocol.TryTakeRequest(request, NowMs))
        {
            Assert.True(sent.Count < 10_000, "requests without end");
            byte[] bytes = request.Written.ToArray();
            sent.Add(_delta ? DiscoveryMessages.Text(DeltaDiscoveryRequest.Parser.ParseFrom(bytes)) : DiscoveryMessages.Text(DiscoveryRequest.Parser.ParseFrom(bytes)));
        }
        Assert.Equal(requests, sent);
        return this;
    }

    /// <summary>The resources of the last update, by name, and the removed with a minus.</summary>
    internal string Updated => string.Join(" ", Update.Resources.Select(r => $"{r.Name}@{r.Version}").Concat(Update.Removed.Select(name => "-" + name)));

    internal string Malformed => string.Join(" | ", Update.Malformed.Select(r => $"{r.Name}: {r.Reason}"));

    internal string Known(string typeUrl) =>
        string.Join(" ", _subscriptions[typeUrl].Known.OrderBy(k => k.Key, StringComparer.Ordinal).Select(k => $"{k.Key}@{k.Value.Version ?? "none"}"));
}
