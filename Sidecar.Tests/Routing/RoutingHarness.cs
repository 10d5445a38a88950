using System.Collections.Generic;
using System.Linq;
using System.Text;
using Sidecar.Config;
using Sidecar.Config.Routes;
using Sidecar.Filters;
using Sidecar.Http;
using Sidecar.Memory;
using Sidecar.Routing;
using Sidecar.Telemetry;
using Sidecar.Telemetry.Stats;
using Sidecar.Tests.Wire;
using Xunit;
using WireRoute = Envoy.Config.Route.V3;

namespace Sidecar.Tests.Routing;

/// <summary>One stream's facts, as a test sets them.</summary>
internal sealed class TestFacts : IHeaderFacts
{
    public required RequestHead Request { get; init; }
    public ResponseHead? Response { get; set; }
    public StreamInfo Info { get; } = new();
    internal string Remote { get; set; } = "10.0.0.7";
    internal string RemotePort { get; set; } = "5000";

    /// <summary>Addresses are written as a fixed text: for tests that count allocations.</summary>
    internal bool IsSilent { get; set; }

    public void WriteAddress(AddressFact which, AddressPart part, ref SpanWriter writer)
    {
        if (IsSilent)
        {
            writer.Write("10.0.0.7:5000"u8);
            return;
        }
        string host = which == AddressFact.DownstreamLocal ? "10.0.0.1" : Remote;
        string port = which == AddressFact.DownstreamLocal ? "8080" : RemotePort;
        writer.Write(Encoding.UTF8.GetBytes(part switch
        {
            AddressPart.Host => host,
            AddressPart.Port => port,
            _ => host + ":" + port,
        }));
    }
}

/// <summary>What became of a route configuration.</summary>
internal sealed record Translation(RouteTable? Table, IReadOnlyList<ConfigProblem> Rejections, IReadOnlyList<ConfigProblem> Ignored)
{
    /// <summary>Path and reason of everything refused.</summary>
    internal IEnumerable<string> Refused => Rejections.Select(problem => problem.Path + ": " + problem.Reason);

    internal IEnumerable<string> WithoutEffect => Ignored.Select(problem => problem.Path + ": " + problem.Reason);
}

/// <summary>Requests from text, tables from JSON.</summary>
internal static class RoutingHarness
{
    /// <summary>A request; fields as <c>"name: value"</c>.</summary>
    internal static RequestHead Request(string path, params string[] fields) => RequestTo("a", path, fields);

    internal static RequestHead RequestTo(string authority, string path, params string[] fields)
    {
        var head = new RequestHead { Version = HttpVersion.Http11 };
        head.Add(HeaderId.Method, "GET"u8);
        head.Add(HeaderId.Scheme, "http"u8);
        head.Add(HeaderId.Authority, Encoding.UTF8.GetBytes(authority));
        head.Add(HeaderId.Path, Encoding.UTF8.GetBytes(path));
        AddAll(head, fields);
        return head;
    }

    internal static ResponseHead Response(int status, params string[] fields)
    {
        var head = new ResponseHead { Status = status };
        AddAll(head, fields);
        return head;
    }

    internal static void AddAll(HeaderMap head, params string[] fields)
    {
        foreach (string field in fields)
        {
            int colon = field.IndexOf(':', 1);
            string name = field[..colon].ToLowerInvariant();
            byte[] value = Encoding.UTF8.GetBytes(field[(colon + 1)..].TrimStart());
            // One of each pseudo-header.
            if (name[0] == ':')
                head.Set(Encoding.UTF8.GetBytes(name), value);
            else
                head.Add(Encoding.UTF8.GetBytes(name), value);
        }
    }

    /// <summary>All values of a name, in order, joined by '|'; null when there is none.</summary>
    internal static string? Values(HeaderMap head, string name)
    {
        var values = new List<string>();
        foreach (var field in head)
        {
            if (Encoding.UTF8.GetString(field.Name) == name)
                values.Add(Encoding.UTF8.GetString(field.Value));
        }
        return values.Count == 0 ? null : string.Join('|', values);
    }

    /// <summary>Translates a route configuration's JSON; the clusters named exist.</summary>
    internal static Translation Translate(string json, bool isInline = true, params string[] clusters) =>
        Translate(WireRoute.RouteConfiguration.Parser.ParseFrom(WireHarness.Read(json, "envoy.config.route.v3.RouteConfiguration")), isInline, clusters);

    internal static Translation Translate(WireRoute.RouteConfiguration wire, bool isInline, params string[] clusters)
    {
        var scope = Scope(clusters);
        var table = RouteTranslator.Translate(wire, isInline, scope);
        return new Translation(table, scope.Rejections, scope.Ignored);
    }

    /// <summary>The table of a configuration that nothing is wrong with.</summary>
    internal static RouteTable Table(string json)
    {
        var translation = Translate(json, isInline: true, "c", "d", "e");
        Assert.Empty(translation.Refused);
        return translation.Table!;
    }

    /// <summary>A table of one virtual host for every domain.</summary>
    internal static RouteTable TableOf(string routes) => Table($$"""{"name":"t","virtual_hosts":[{"name":"v","domains":["*"],"routes":[{{routes}}]}]}""");

    internal static RouteMatchResult Match(RouteTable table, RequestHead head, ulong random = 0, ClientCertificate? certificate = null) =>
        table.Match(new RouteInput(head, random, certificate is not null, certificate ?? ClientCertificate.None));

    /// <summary>Name of the route a request takes; "-" for none.</summary>
    internal static string RouteOf(RouteTable table, RequestHead head, ulong random = 0) => Match(table, head, random).Route?.Name ?? "-";

    internal static ConfigScope Scope(params string[] clusters)
    {
        var slots = new ClusterSlots();
        return new ConfigScope(new ConfigServices
        {
            Stats = new StatsRegistry(1),
            Cluster = slots.Intern,
            RouteSlot = _ => 0,
            RouteTable = (_, _) => null,
            StringMatcher = MatcherTranslator.String,
            HeaderMatcher = MatcherTranslator.Header,
            ClusterProblem = name =>
                clusters.Length == 0 || clusters.Contains(name) ? null : $"unknown cluster '{name}': add it to the clusters, or correct the name",
        }, "t");
    }
}
