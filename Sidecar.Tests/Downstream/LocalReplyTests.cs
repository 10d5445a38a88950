using System;
using System.Text;
using Sidecar.Downstream;
using Sidecar.Filters;
using Sidecar.Http;
using Sidecar.Telemetry;
using Xunit;

namespace Sidecar.Tests.Downstream;

public class LocalReplyTests
{
    [Fact]
    public void Plain_HasStatusTypeAndLength()
    {
        var (head, body) = Build("GET", "", Failure.NoHealthyUpstream, "no healthy upstream");
        Assert.Equal(503, head.Status);
        Assert.Equal("text/plain", Field(head, HeaderId.ContentType));
        Assert.Equal("19", Field(head, HeaderId.ContentLength));
        Assert.Equal("no healthy upstream", body);
    }

    [Fact]
    public void EmptyBody_HasNoType()
    {
        var (head, body) = Build("GET", "", Failure.NoRoute, "");
        Assert.Equal(404, head.Status);
        Assert.False(head.Contains(HeaderId.ContentType));
        Assert.Equal("0", Field(head, HeaderId.ContentLength));
        Assert.Equal("", body);
    }

    [Fact]
    public void Head_HasTheLengthAndNoBody()
    {
        var (head, body) = Build("HEAD", "", Failure.NoHealthyUpstream, "no healthy upstream");
        Assert.Equal("19", Field(head, HeaderId.ContentLength));
        Assert.Equal("", body);
    }

    [Theory]
    [InlineData(204)]
    [InlineData(304)]
    public void StatusWithoutBody_HasNeitherLengthNorBody(int status)
    {
        var (head, body) = Build("GET", "", Failure.DirectResponse, "ignored", status);
        Assert.Equal(status, head.Status);
        Assert.False(head.Contains(HeaderId.ContentLength));
        Assert.Equal("", body);
    }

    [Theory]
    [InlineData(nameof(Failure.NoHealthyUpstream), 14)]
    [InlineData(nameof(Failure.NoRoute), 12)]
    [InlineData(nameof(Failure.FilterRejected), 7)]
    [InlineData(nameof(Failure.ResponseTimeout), 14)]
    [InlineData(nameof(Failure.InternalError), 2)]
    [InlineData(nameof(Failure.MissingHost), 13)]
    public void Grpc_IsTrailersOnly(string name, int grpcStatus)
    {
        var failure = Enum.Parse<Failure>(name);
        var (head, body) = Build("POST", "application/grpc", failure, "text");
        Assert.Equal(200, head.Status);
        Assert.Equal("application/grpc", Field(head, HeaderId.ContentType));
        Assert.Equal(grpcStatus.ToString(), Field(head, HeaderId.GrpcStatus));
        Assert.Equal("text", Field(head, HeaderId.GrpcMessage));
        Assert.False(head.Contains(HeaderId.ContentLength));
        Assert.Equal("", body);
    }

    [Theory]
    [InlineData("application/grpc+proto", true)]
    [InlineData("application/grpc; charset=utf-8", true)]
    [InlineData("application/grpc-web", false)]
    [InlineData("application/json", false)]
    public void Grpc_ByContentType(string type, bool grpc) =>
        Assert.Equal(grpc, Build("POST", type, Failure.NoRoute, "").Head.Status == 200);

    [Fact]
    public void GrpcMessage_IsPercentEncoded() =>
        Assert.Equal("50%25 r%C3%A4t%0A%7F~", Field(Build("POST", "application/grpc", Failure.NoRoute, "50% rät\n\u007f~").Head, HeaderId.GrpcMessage));

    [Fact]
    public void Overflow_SaysOverloaded() => Assert.Equal("true", Field(Build("GET", "", Failure.UpstreamOverflow, "").Head, HeaderId.XEnvoyOverloaded));

    /// <summary>Every way to fail that is answered has Envoy's flag and details where the published tables name them.</summary>
    [Theory]
    [InlineData(nameof(Failure.NoRoute), 404, "NR", "route_not_found")]
    [InlineData(nameof(Failure.NoCluster), 503, "NC", "cluster_not_found")]
    [InlineData(nameof(Failure.NoHealthyUpstream), 503, "UH", "no_healthy_upstream")]
    [InlineData(nameof(Failure.UpstreamOverflow), 503, "UO", "upstream_reset_before_response_started{overflow}")]
    [InlineData(nameof(Failure.UpstreamConnectFailure), 503, "UF", "upstream_reset_before_response_started{remote_connection_failure}")]
    [InlineData(nameof(Failure.UpstreamConnectTimeout), 503, "UF", "upstream_reset_before_response_started{connection_timeout}")]
    [InlineData(nameof(Failure.UpstreamConnectionTermination), 503, "UC", "upstream_reset_before_response_started{connection_termination}")]
    [InlineData(nameof(Failure.UpstreamReset), 503, "UR", "upstream_reset_before_response_started{remote_reset}")]
    [InlineData(nameof(Failure.ResponseTimeout), 504, "UT", "response_timeout")]
    [InlineData(nameof(Failure.StreamIdleTimeout), 408, "SI", "stream_idle_timeout")]
    [InlineData(nameof(Failure.MaxDurationTimeout), 408, "DT", "max_duration_timeout")]
    [InlineData(nameof(Failure.RequestTimeout), 408, "-", "request_overall_timeout")]
    [InlineData(nameof(Failure.FaultAbort), 503, "FI", "fault_filter_abort")]
    [InlineData(nameof(Failure.UpgradeFailed), 403, "-", "upgrade_failed")]
    [InlineData(nameof(Failure.MissingHost), 400, "DPE", "missing_host_header")]
    public void Row_IsEnvoys(string failure, int status, string flag, string details)
    {
        var row = Enum.Parse<Failure>(failure).Row();
        Assert.Equal(status, row.Status);
        Assert.Equal(flag, ResponseFlagNames.Format(row.Flag));
        Assert.Equal(details, row.Details);
    }

    [Fact]
    public void Row_EveryFailureHasOne()
    {
        for (var failure = Failure.None + 1; failure < Failure.Count; failure++)
        {
            Assert.False(string.IsNullOrEmpty(failure.Row().Details), $"{failure} has no row");
            Assert.NotEqual(FailureSource.None, failure.Row().Source);
        }
    }

    private static (ResponseHead Head, string Body) Build(string method, string contentType, Failure failure, string text, int status = 0)
    {
        var request = new RequestHead();
        request.Add(HeaderId.Method, Encoding.ASCII.GetBytes(method));
        if (contentType.Length > 0)
            request.Add(HeaderId.ContentType, Encoding.ASCII.GetBytes(contentType));
        var head = new ResponseHead();
        var body = LocalReply.Build(request, head, failure, new LocalReplyOptions { Status = status }, Encoding.UTF8.GetBytes(text));
        return (head, Encoding.UTF8.GetString(body));
    }

    private static string Field(HeaderMap map, HeaderId id) => Encoding.Latin1.GetString(map.Get(id));
}
