using System.Text;
using Sidecar.Wire;
using Xunit;

namespace Sidecar.Tests.Wire;

public sealed class SchemaTableTests
{
    [Fact]
    public void EveryMessage_FindsItselfAndAllItsFieldsByBothNamesAndByNumber()
    {
        Assert.True(SchemaTable.Count > 1100, $"only {SchemaTable.Count} messages");
        for (int i = 0; i < SchemaTable.Count; i++)
        {
            MessageSchema message = SchemaTable.Message(i);
            Assert.Same(message, SchemaTable.Find(message.FullName));
            foreach (FieldSchema field in message.Fields)
            {
                Assert.Same(field, message.Find(field.Name));
                Assert.Same(field, message.Find((uint)field.Number));
                Assert.True(field.JsonName.Length <= field.Name.Length);
                Assert.NotNull(message.Find(field.JsonName));
                if (field.Type == FieldType.Message)
                    Assert.NotEmpty(field.Message.FullName);
                if (field.Type == FieldType.Enum)
                    Assert.NotEmpty(field.Enum.AllNames());
            }
            Assert.Null(message.Find("no_such_field"u8));
            Assert.Null(message.Find(536_870_911u));
        }
    }

    [Fact]
    public void Fields_CarryWhatTheDeclarationsSay()
    {
        MessageSchema listener = SchemaTable.Find("envoy.config.listener.v3.Listener")!;
        Assert.Equal("Listener", listener.ShortName);
        Assert.Equal(Support.Supported, listener.Support);
        FieldSchema original = listener["use_original_dst"];
        Assert.Equal(4, original.Number);
        Assert.Equal("useOriginalDst", Encoding.UTF8.GetString(original.JsonName));
        Assert.Equal("google.protobuf.BoolValue", original.Message.FullName);
        Assert.True(listener["filter_chains"].IsRepeated);
        Assert.Equal(Support.Unsupported, listener["udp_listener_config"].Support);
        Assert.Equal(Support.Accepted, listener["deprecated_v1"].Support);
        Assert.NotNull(listener["deprecated_v1"].Note);
        Assert.True(SchemaTable.Find("envoy.extensions.transport_sockets.tls.v3.TlsCertificate")!["private_key"].Sensitive);
        Assert.True(SchemaTable.Find("envoy.config.core.v3.SocketAddress")!["port_value"].HasPresence);
        Assert.False(SchemaTable.Find("envoy.config.core.v3.SocketAddress")!["address"].HasPresence);
        Assert.True(SchemaTable.Find("envoy.config.route.v3.Route")!["typed_per_filter_config"].IsMap);
    }

    [Theory]
    [InlineData("type.googleapis.com/envoy.config.cluster.v3.Cluster", "envoy.config.cluster.v3.Cluster", false)]
    [InlineData("type.googleapis.com/envoy.api.v2.Cluster", "envoy.config.cluster.v3.Cluster", true)]
    [InlineData("type.googleapis.com/envoy.admin.v2alpha.ListenersConfigDump", "envoy.admin.v3.ListenersConfigDump", true)]
    [InlineData("envoy.config.filter.network.tcp_proxy.v2.TcpProxy", "envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy", true)]
    public void FindType_KnowsTodaysNamesAndThoseOf2020(string url, string fullName, bool legacy)
    {
        Assert.Equal(fullName, SchemaTable.FindType(Encoding.UTF8.GetBytes(url), out bool isLegacy)?.FullName);
        Assert.Equal(legacy, isLegacy);
    }

    [Fact]
    public void FindType_Unknown_IsNull() => Assert.Null(SchemaTable.FindType("type.googleapis.com/envoy.Nothing"u8, out _));
}
