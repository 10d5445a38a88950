using System;
using System.Collections.Generic;
using System.Globalization;
using System.IO;
using System.Linq;
using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;
using Sidecar.Config;
using Sidecar.Wire;

namespace Sidecar.Tests.Harness;

/// <summary>
/// A control plane nobody here wrote: go-control-plane behind a folder of files, laid beside the project. Each request, acknowledgement and refusal is
/// a line of its output.
/// </summary>
internal sealed class XdsServer : BackgroundProcess
{
    private XdsServer(string executable, string listen, string folder, string[] more)
        : base(null, null, executable, ["-listen", listen, "-dir", folder, "-poll", "20ms", .. more])
    {
    }

    /// <summary>Skips the test when it is not there.</summary>
    internal static string Require() => ProjectTree.Shared("tools/xds-server/xds-server");

    /// <summary>Starts it on a port of loopback, or on a Unix socket ("unix:/path").</summary>
    internal static XdsServer Start(string listen, string folder, params string[] more)
    {
        var server = new XdsServer(Require(), listen, folder, more);
        server.WaitForLine("\"ev\":\"listening\"");
        return server;
    }

    /// <summary>All lines of one kind so far.</summary>
    internal List<JsonElement> Events(string kind)
    {
        var events = new List<JsonElement>();
        foreach (string line in Log.Split('\n'))
        {
            if (line.StartsWith('{') && JsonDocument.Parse(line).RootElement is var element && element.GetProperty("ev").GetString() == kind)
                events.Add(element);
        }
        return events;
    }

    /// <summary>The messages of all refusals so far.</summary>
    internal List<string> Refusals() =>
        [.. Events("request").Where(e => e.GetProperty("kind").GetString() == "NACK").Select(e => e.GetProperty("error").GetProperty("message").GetString()!)];

    /// <summary>What it could not read or serve itself.</summary>
    internal List<string> Errors() => [.. Events("error").Select(e => e.ToString())];

    // ---- files ------------------------------------------------------------------------------------------------------

    /// <summary>Puts a snapshot in place, at once, for one node.</summary>
    internal static void Serve(string folder, string node, string resources)
    {
        string file = Path.Combine(folder, node + ".json");
        File.WriteAllText(file + ".new", resources);
        File.Move(file + ".new", file, overwrite: true);
    }

    /// <summary>A test's snapshot in the server's form.</summary>
    internal static string Resources(TestSnapshot snapshot) => Resources(ResourceReader.ReadDocument(Encoding.UTF8.GetBytes(snapshot.ToString()), "test"));

    /// <summary>Resources that were read, as v3 JSON; filters of types that nobody knows any more are left out, since the server does not know them either.</summary>
    internal static string Resources(ResourceSet set)
    {
        var list = new JsonArray();
        foreach (var resource in set.Resources)
        {
            using var bytes = new MemoryStream();
            using (var writer = new Utf8JsonWriter(bytes))
                Xunit.Assert.True(Transcoder.TryWriteJson(resource.Bytes.Span, resource.Type!, writer, redact: false, anyType: true), resource.Name);
            var node = JsonNode.Parse(bytes.ToArray())!;
            LeaveOutOpaqueFilters(node);
            list.Add(node);
        }
        return new JsonObject { ["resources"] = list }.ToJsonString();
    }

    private static void LeaveOutOpaqueFilters(JsonNode? node)
    {
        if (node is JsonArray array)
        {
            for (int i = array.Count - 1; i >= 0; i--)
            {
                if (array[i] is JsonObject entry && entry["typed_config"]?["@type"]?.GetValue<string>() is { } type && type.EndsWith("TypedStruct", StringComparison.Ordinal))
                    array.RemoveAt(i);
                else
                    LeaveOutOpaqueFilters(array[i]);
            }
        }
        foreach (var (_, value) in node as JsonObject ?? [])
            LeaveOutOpaqueFilters(value);
    }

    // ---- the other side ---------------------------------------------------------------------------------------------

    /// <summary>A bootstrap as Istio's: everything by ADS from a control plane on a port of loopback or a Unix socket.</summary>
    internal static string Bootstrap(string node, string listen, bool delta, string more = "")
    {
        string address = listen.StartsWith("unix:", StringComparison.Ordinal)
            ? TestSnapshot.Fill("""{"pipe": {"path": "$path"}}""", ("path", listen[5..]))
            : TestSnapshot.Fill("""{"socket_address": {"address": "127.0.0.1", "port_value": $port}}""", ("port", listen[(listen.LastIndexOf(':') + 1)..]));
        return TestSnapshot.Fill("""
            {"node": {"id": "$node", "cluster": "tests"},
             "dynamic_resources": {
              "lds_config": {"ads": {}, "initial_fetch_timeout": "0s", "resource_api_version": "V3"},
              "cds_config": {"ads": {}, "initial_fetch_timeout": "0s", "resource_api_version": "V3"},
              "ads_config": {"api_type": "$type", "set_node_on_first_message_only": true, "transport_api_version": "V3",
               "grpc_services": [{"envoy_grpc": {"cluster_name": "xds-grpc"}}]}},
             "static_resources": {"clusters": [{"name": "xds-grpc", "type": "STATIC", "connect_timeout": "1s", "http2_protocol_options": {},
              "load_assignment": {"cluster_name": "xds-grpc", "endpoints": [{"lb_endpoints": [{"endpoint": {"address": $address}}]}]}}]} $more}
            """, ("node", node), ("type", delta ? "DELTA_GRPC" : "GRPC"), ("address", address), ("more", more));
    }

    internal static string Loopback(int port) => "127.0.0.1:" + port.ToString(CultureInfo.InvariantCulture);
}
