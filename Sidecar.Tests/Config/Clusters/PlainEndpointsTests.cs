using System;
using System.Linq;
using Google.Protobuf;
using Sidecar.Config;
using Sidecar.Config.Clusters;
using Sidecar.Memory;
using Sidecar.Tests.Wire;
using Sidecar.Upstream.Discovery;
using Xunit;
using WireEndpoint = Envoy.Config.Endpoint.V3;

namespace Sidecar.Tests.Config.Clusters;

/// <summary>What is read straight from the bytes of an assignment is what its messages say, or it is left to them. Single quotes stand for double ones.</summary>
public sealed class PlainEndpointsTests
{
    private const string Type = "envoy.config.endpoint.v3.ClusterLoadAssignment";
    private const string Address = "'address':{'socket_address':{'address':'10.0.0.1','port_value':80}}";
    private const string Meta = "'metadata':{'filter_metadata':{'istio':{'workload':'a;b;c','n':1.5,'on':true,'none':null,'list':['x',{'y':'z'}]},'envoy.lb':{}}}";

    private static readonly string[] s_plain =
    [
        "{'cluster_name':'c'}",
        "{'cluster_name':'c','endpoints':[{'lb_endpoints':[{'endpoint':{" + Address + "}}]}]}",
        "{'cluster_name':'c','endpoints':[{'locality':{'region':'r','zone':'z','sub_zone':'s'},'priority':2,'load_balancing_weight':7,'lb_endpoints':[" +
            "{'endpoint':{" + Address + ",'hostname':'h'},'health_status':'DRAINING','load_balancing_weight':3," + Meta + "}," +
            "{'endpoint':{'address':{'socket_address':{'address':'2001:db8::1','port_value':0}}}," + Meta + "}]}," +
            "{'locality':{},'priority':2},{'locality':{'zone':'other'},'lb_endpoints':[{'endpoint':{" + Address + "},'metadata':{}}]}]}",
    ];

    private static readonly string[] s_other =
    [
        "{}",
        "{'cluster_name':'c','policy':{'overprovisioning_factor':100}}",
        "{'cluster_name':'c','endpoints':[{'priority':129}]}",
        "{'cluster_name':'c','endpoints':[{'load_balancing_weight':0}]}",
        "{'cluster_name':'c','endpoints':[{'proximity':1}]}",
        "{'cluster_name':'c','endpoints':[{},{}]}",
        "{'cluster_name':'c','endpoints':[{'load_balancer_endpoints':{'lb_endpoints':[]}}]}",
        "{'cluster_name':'c','endpoints':[{'lb_endpoints':[{}]}]}",
        "{'cluster_name':'c','endpoints':[{'lb_endpoints':[{'endpoint':{" + Address + "},'load_balancing_weight':0}]}]}",
        "{'cluster_name':'c','endpoints':[{'lb_endpoints':[{'endpoint':{" + Address + ",'health_check_config':{}}}]}]}",
        "{'cluster_name':'c','endpoints':[{'lb_endpoints':[{'endpoint':{'address':{'pipe':{'path':'/p'}}}}]}]}",
        "{'cluster_name':'c','endpoints':[{'lb_endpoints':[{'endpoint':{'address':{'socket_address':{'address':'name','port_value':80}}}}]}]}",
        "{'cluster_name':'c','endpoints':[{'lb_endpoints':[{'endpoint':{'address':{'socket_address':{'address':'10.0.0.1'}}}}]}]}",
        "{'cluster_name':'c','endpoints':[{'lb_endpoints':[{'endpoint':{'address':{'socket_address':{'protocol':'UDP','address':'10.0.0.1','port_value':80}}}}]}]}",
        "{'cluster_name':'c','endpoints':[{'lb_endpoints':[{'endpoint':{'address':{'socket_address':{'address':'10.0.0.1','port_value':70000}}}}]}]}",
    ];

    private static byte[] Bytes(string json) => WireHarness.TryRead(json.Replace('\'', '"'), Type, out var problems) ?? throw new InvalidOperationException(string.Join("; ", problems));

    private static EndpointSet? OfMessages(byte[] bytes, out string complaints)
    {
        var scope = ClusterTemplatesTests.Scope("c");
        EndpointSet? set;
        try
        {
            set = EndpointTranslator.Translate(WireEndpoint.ClusterLoadAssignment.Parser.ParseFrom(bytes), namesAllowed: false, scope);
        }
        catch (Exception broken) when (broken is InvalidProtocolBufferException or InvalidOperationException)
        {
            complaints = broken.Message;
            return null;
        }
        complaints = string.Join("; ", scope.Rejections.Concat(scope.Ignored));
        return set;
    }

    private static void Same(EndpointSet expected, EndpointSet plain)
    {
        Assert.Equal(expected.OverprovisioningFactor, plain.OverprovisioningFactor);
        Assert.Equal(expected.WeightedPriorityHealth, plain.WeightedPriorityHealth);
        Assert.Equal(expected.Localities.Count, plain.Localities.Count);
        foreach (var (one, other) in expected.Localities.Zip(plain.Localities))
        {
            Assert.Equal((one.Locality, one.Weight, one.Priority), (other.Locality, other.Weight, other.Priority));
            Assert.Equal(one.Endpoints, other.Endpoints);
        }
    }

    [Fact]
    public void WhatNearlyEveryMeshHas_IsReadFromTheBytes()
    {
        foreach (string json in s_plain)
        {
            byte[] bytes = Bytes(json);
            var plain = PlainEndpoints.Read(bytes);
            Assert.True(plain is not null, json);
            Same(OfMessages(bytes, out string complaints)!, plain);
            Assert.Equal("", complaints);
        }
    }

    [Fact]
    public void WhatItMayBeWrongWith_IsLeftToTheMessages()
    {
        foreach (string json in s_other)
            Assert.True(PlainEndpoints.Read(Bytes(json)) is null, json);
    }

    [Fact]
    public void NeighboursWithTheSameMetadata_ShareIt()
    {
        var endpoints = PlainEndpoints.Read(Bytes(s_plain[2]))!.Localities[0].Endpoints;
        Assert.Same(endpoints[0].Metadata, endpoints[1].Metadata);
    }

    // Whatever bytes are read without the messages: the messages have nothing against them, and say the same.
    [Fact]
    public void MutatedBytes_AreReadAsTheMessagesReadThem_OrNotAtAll()
    {
        var random = new FastRandom(7);
        byte[][] corpus = [.. s_plain.Skip(1).Select(Bytes)];
        int read = 0;
        for (int i = 0; i < 20_000; i++)
        {
            byte[] bytes = [.. corpus[i % corpus.Length]];
            for (int n = (int)random.Next(3) + 1; n > 0; n--)
                bytes[random.Next((uint)bytes.Length)] = random.Next(2) == 0 ? (byte)random.Next(256) : (byte)random.Next(12);
            if (PlainEndpoints.Read(bytes) is not { } plain)
                continue;
            read++;
            var expected = OfMessages(bytes, out string complaints);
            Assert.True(expected is not null && complaints.Length == 0, $"mutation {i}: {complaints}");
            Same(expected, plain);
        }
        Assert.True(read > 500, $"{read} read");
    }
}
