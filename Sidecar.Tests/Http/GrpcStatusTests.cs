using System.Text;
using Sidecar.Http;
using Xunit;

namespace Sidecar.Tests.Http;

/// <summary>grpc-status and grpc-message as peers write them.</summary>
public sealed class GrpcStatusTests
{
    private static HeaderMap Fields(HeaderId id, string value)
    {
        var fields = new HeaderMap();
        fields.Add(id, Encoding.ASCII.GetBytes(value));
        return fields;
    }

    [Theory]
    [InlineData("0", GrpcStatus.Ok)]
    [InlineData("14", GrpcStatus.Unavailable)]
    [InlineData("16", GrpcStatus.Unauthenticated)]
    [InlineData("17", GrpcStatus.Unknown)]
    [InlineData("99999999999999999999", GrpcStatus.Unknown)]
    [InlineData("-1", GrpcStatus.Unknown)]
    [InlineData("", GrpcStatus.Unknown)]
    public void Status_IsACode_OrUnknown(string text, object expected)
    {
        Assert.True(GrpcStatusFields.TryGet(Fields(HeaderId.GrpcStatus, text), out var status));
        Assert.Equal(expected, status);
    }

    [Fact]
    public void Status_Missing_IsFalse() => Assert.False(GrpcStatusFields.TryGet(new HeaderMap(), out _));

    [Theory]
    [InlineData("plain text", "plain text")]
    [InlineData("50%25 of %C3%A4", "50% of ä")]
    [InlineData("%zz%4", "%zz%4")]
    [InlineData("%", "%")]
    [InlineData("", "")]
    public void Message_IsPercentDecoded(string text, string expected) => Assert.Equal(expected, GrpcStatusFields.Message(Fields(HeaderId.GrpcMessage, text)));

    [Fact]
    public void Message_IsCut() => Assert.Equal(4096, GrpcStatusFields.Message(Fields(HeaderId.GrpcMessage, new string('x', 100_000))).Length);
}
