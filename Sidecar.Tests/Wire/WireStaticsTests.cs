using System;
using System.Collections.Generic;
using System.Linq;
using System.Reflection;
using Envoy.Config.Core.V3;
using Envoy.Config.Route.V3;
using Google.Protobuf;
using Sidecar.Server;
using Xunit;
using WireCluster = Envoy.Config.Cluster.V3;
using WireEndpoint = Envoy.Config.Endpoint.V3;

namespace Sidecar.Tests.Wire;

/// <summary>The generated classes after Wire/Schema/WireClasses.cs: nothing static in them, and the bytes are protobuf's own.</summary>
public sealed class WireStaticsTests
{
    private static IEnumerable<Type> Classes =>
        typeof(ProxyServer).Assembly.GetTypes().Where(type => typeof(IMessage).IsAssignableFrom(type) && type is { IsAbstract: false, IsGenericType: false });

    [Fact]
    public void NoGeneratedClass_HasAStaticField()
    {
        Assert.True(Classes.Count() > 400, "where are the generated classes?");
        var fields = Classes.SelectMany(type => type.GetFields(BindingFlags.Static | BindingFlags.NonPublic | BindingFlags.Public | BindingFlags.DeclaredOnly))
            .Where(field => !field.IsLiteral).Select(field => $"{field.DeclaringType}.{field.Name}");
        Assert.Empty(fields);
    }

    [Fact]
    public void EveryClass_HasAParserOfItsOwn()
    {
        foreach (var type in Classes)
        {
            var parser = (MessageParser)type.GetProperty("Parser", BindingFlags.Static | BindingFlags.Public)!.GetValue(null)!;
            Assert.IsType(type, parser.ParseFrom([]));
            Assert.Same(parser, type.GetProperty("Parser", BindingFlags.Static | BindingFlags.Public)!.GetValue(null));
        }
    }

    [Theory]
    [InlineData(null, "")]
    [InlineData(0u, "2a00")]
    [InlineData(1u, "2a020801")]
    [InlineData(300u, "2a0308ac02")]
    public void Wrapper_IsAMessageOfOneField_AndNoneIsNotZero(uint? value, string bytes)
    {
        var cluster = new WireCluster.Cluster { PerConnectionBufferLimitBytes = value };
        AssertIs(cluster, bytes);
        Assert.Equal(value, WireCluster.Cluster.Parser.ParseFrom(Convert.FromHexString(bytes)).PerConnectionBufferLimitBytes);
    }

    [Fact]
    public void Wrapper_GivenTwice_IsTheLastThatIsNotZero_AsMergingSays()
    {
        Assert.Equal(2u, WireCluster.Cluster.Parser.ParseFrom(Convert.FromHexString("2a0208012a020802")).PerConnectionBufferLimitBytes);
        Assert.Equal(1u, WireCluster.Cluster.Parser.ParseFrom(Convert.FromHexString("2a0208012a00")).PerConnectionBufferLimitBytes);
    }

    [Fact]
    public void Wrapper_InAOneof_KeepsWhichOneIsSet()
    {
        var action = new RouteAction { AutoHostRewrite = false };
        AssertIs(action, "3a00");
        var read = RouteAction.Parser.ParseFrom(Convert.FromHexString("3a020801"));
        Assert.Equal(RouteAction.HostRewriteSpecifierOneofCase.AutoHostRewrite, read.HostRewriteSpecifierCase);
        Assert.True(read.AutoHostRewrite);
    }

    [Fact]
    public void Lists_OfMessagesAndTexts_AreOneFieldForEachElement()
    {
        var host = new VirtualHost { Name = "v", Domains = { "a", "" }, Routes = { new Route { Name = "r" }, new Route() } };
        AssertIs(host, "0a0176" + "120161" + "1200" + "1a03720172" + "1a00");
        Assert.Equal(host, VirtualHost.Parser.ParseFrom(host.ToByteArray()));
        // Between other fields, too, and out of order.
        var mixed = VirtualHost.Parser.ParseFrom(Convert.FromHexString("1a037201721201610a01761a001200"));
        Assert.Equal(host, mixed);
    }

    [Fact]
    public void Lists_OfNumbersAndMaps_GoThroughTheirCodecs()
    {
        var metadata = new Metadata { FilterMetadata = { ["a"] = new() } };
        AssertIs(metadata, "0a050a01611200");
        Assert.Equal(metadata, Metadata.Parser.ParseFrom(metadata.ToByteArray()));
        var retry = new Envoy.Config.Route.V3.RetryPolicy { RetriableStatusCodes = { 1, 300 } };
        AssertIs(retry, "3a0301ac02");
        Assert.Equal(retry, Envoy.Config.Route.V3.RetryPolicy.Parser.ParseFrom(retry.ToByteArray()));
    }

    [Fact]
    public void FieldNumbersAbove15_TakeTwoBytes_InSizeAndTag()
    {
        var cluster = new WireCluster.Cluster { LoadAssignment = new WireEndpoint.ClusterLoadAssignment { Endpoints = { new WireEndpoint.LocalityLbEndpoints() } } };
        AssertIs(cluster, "8a02021200");
    }

    private static void AssertIs(IMessage message, string bytes)
    {
        Assert.Equal(bytes, Convert.ToHexString(message.ToByteArray()).ToLowerInvariant());
        Assert.Equal(bytes.Length / 2, message.CalculateSize());
    }
}
