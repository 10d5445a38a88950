using System;
using System.Collections.Generic;
using System.Linq;
using System.Text;
using Google.Protobuf;
using Sidecar.Config;
using Sidecar.Filters;
using Sidecar.Http;
using Sidecar.Loop;
using Sidecar.Memory;
using Sidecar.Net;
using Sidecar.Routing;
using Sidecar.Telemetry;
using Sidecar.Telemetry.Stats;
using Sidecar.Upstream;
using Xunit;

namespace Sidecar.Tests.Harness;

/// <summary>
/// One HTTP filter on a stream of the test's own: no listener, no connection, time stands still. What the filter does to its stream is written down.
/// </summary>
internal sealed class FilterHarness : IDisposable
{
    private readonly Dictionary<string, object> _routeConfigs = [];
    private readonly Face _face;

    internal FilterHarness(ulong seed = 1)
    {
        Loop = new TestLoop();
        Stats = new StatsRegistry(1);
        var random = new FastRandom(seed);
        Scope = new WorkerScope(Loop, 0, new Clusters(Loop, 0, random), random);
        Config = new ConfigScope(
            new ConfigServices
            {
                Stats = Stats,
                Cluster = new ClusterSlots().Intern,
                RouteSlot = _ => 0,
                RouteTable = (_, _) => null,
                StringMatcher = MatcherTranslator.String,
                HeaderMatcher = MatcherTranslator.Header,
                ClusterProblem = _ => null,
                NodeId = "test-node",
            },
            "test").WithStatPrefix("http.t.");
        _face = new Face(this);
    }

    internal TestLoop Loop { get; }
    internal StatsRegistry Stats { get; }
    internal WorkerScope Scope { get; }

    /// <summary>Where the translation of a configuration notes what is wrong.</summary>
    internal ConfigScope Config { get; }

    internal HttpFilter Filter { get; private set; } = null!;
    internal RequestHead Request { get; } = new();
    internal ResponseHead Response { get; } = new();
    internal StreamInfo Info { get; } = new();

    /// <summary>What the stream came by; null where the filter does not look.</summary>
    internal Connection? Downstream { get; set; }
    internal Address RemoteAddress { get; set; } = Address.Loopback(1);

    /// <summary>What the filter asked of its stream: "continue request", "continue response", "reply 403 details body".</summary>
    internal List<string> Actions { get; } = [];

    /// <summary>Fields of the last reply.</summary>
    internal List<(string Name, string Value)> ReplyFields { get; } = [];

    /// <summary>A message from its JSON.</summary>
    internal static T Parse<T>(MessageParser<T> parser, string json) where T : IMessage<T> => parser.ParseJson(json);

    /// <summary>Makes the filter; a refused configuration fails the test.</summary>
    internal FilterHarness Use(HttpFilterFactory? factory)
    {
        Assert.Empty(Config.Rejections);
        Filter = factory!(Scope);
        Filter.Stream = _face;
        return this;
    }

    /// <summary>What the route says about a filter.</summary>
    internal void OnRoute(string filter, object? config)
    {
        Assert.Empty(Config.Rejections);
        _routeConfigs[filter] = config!;
    }

    /// <summary>A request's head arrives.</summary>
    internal FilterStatus Head(string method, params (string Name, string Value)[] fields)
    {
        Request.Reset();
        Request.Add(HeaderId.Method, Encoding.ASCII.GetBytes(method));
        Request.Add(HeaderId.Path, "/"u8);
        foreach (var (name, value) in fields)
            Request.Add(Encoding.ASCII.GetBytes(name), Encoding.Latin1.GetBytes(value));
        return Filter.OnRequestHead(Request, endStream: true);
    }

    /// <summary>The response's head passes.</summary>
    internal FilterStatus ResponseHead(int status = 200)
    {
        Response.Reset();
        Response.Status = status;
        return Filter.OnResponseHead(Response, endStream: false);
    }

    /// <summary>The stream is over, and the filter is made ready for the next one.</summary>
    internal void End()
    {
        Filter.OnStreamEnd();
        Filter.Reset();
        Info.Reset();
        Actions.Clear();
        ReplyFields.Clear();
    }

    /// <summary>A field of the response.</summary>
    internal string Field(string name) => string.Join(" | ", Copy(Response).Where(f => f.Name == name).Select(f => f.Value));

    /// <summary>A field of the last reply.</summary>
    internal string ReplyField(string name) => string.Join(" | ", ReplyFields.Where(f => f.Name == name).Select(f => f.Value));

    /// <summary>A counter or gauge by its full name.</summary>
    internal long Stat(string name) => Stats.Value(name);

    public void Dispose() => Loop.Dispose();

    private static List<(string Name, string Value)> Copy(HeaderMap map)
    {
        var fields = new List<(string, string)>();
        foreach (var field in map)
            fields.Add((Encoding.ASCII.GetString(field.Name), Encoding.Latin1.GetString(field.Value)));
        return fields;
    }

    private sealed class Face(FilterHarness owner) : FilterStream
    {
        public override RequestHead Request => owner.Request;
        public override ResponseHead? Response => owner.Response;
        public override StreamInfo Info => owner.Info;
        internal override StatsCells Stats => owner.Stats.Scope(HttpStats.Schema, "http.t.").Cells(0);
        internal override Connection Downstream => owner.Downstream ?? throw new InvalidOperationException("there is no connection");
        internal override Address RemoteAddress => owner.RemoteAddress;
        internal override Route? Route => null;
        internal override WeightedCluster? WeightedCluster => null;
        internal override VirtualHost? VirtualHost => null;
        internal override RouteTable? RouteTable => null;
        internal override int BufferLimit => 1024;
        internal override void ClearRoute() => owner.Actions.Add("clear route");
        internal override T? RouteConfig<T>(string filterName) where T : class => owner._routeConfigs.GetValueOrDefault(filterName) as T;

        internal override FilterStatus Reply(Failure failure, scoped in LocalReplyOptions options)
        {
            var row = failure.Row();
            int status = options.Status != 0 ? options.Status : row.Status;
            string body = options.HasBody ? Encoding.UTF8.GetString(options.Body) : row.Body;
            string grpc = options.GrpcStatus >= 0 ? $" grpc {options.GrpcStatus}" : "";
            owner.Info.Fail(failure);
            owner.Actions.Add($"reply {status} {options.Details ?? row.Details}{grpc} '{body}'");
            if (options.Headers is { } headers)
                owner.ReplyFields.AddRange(Copy(headers));
            return FilterStatus.Stop;
        }

        internal override void ContinueRequest() => owner.Actions.Add("continue request");
        internal override void ContinueResponse() => owner.Actions.Add("continue response");
        internal override void SendInformational(ResponseHead head) => owner.Actions.Add($"informational {head.Status}");
        internal override void SendResponseHead(ResponseHead head, bool endStream) => owner.Actions.Add($"head {head.Status}");
        internal override void SendResponseBody(ReadOnlySpan<byte> data, bool endStream) => owner.Actions.Add("body " + Encoding.Latin1.GetString(data));
        internal override void SendResponseTrailers(HeaderMap trailers) => owner.Actions.Add("trailers");
        internal override void PauseRequest() => owner.Actions.Add("pause request");
        internal override void ResumeRequest() => owner.Actions.Add("resume request");
        internal override void ResetDownstream(Failure failure) => owner.Actions.Add($"reset {failure}");
    }
}
