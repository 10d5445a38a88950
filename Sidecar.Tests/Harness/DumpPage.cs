using System;
using System.Collections.Generic;
using System.Linq;
using System.Text.Json.Nodes;
using Sidecar.Admin;
using Sidecar.Server;

namespace Sidecar.Tests.Harness;

/// <summary>The page /config_dump of a pipeline, read to its end.</summary>
internal static class DumpPage
{
    private static readonly AdminRequest s_withEndpoints = new("GET", "/config_dump", new Dictionary<string, string> { ["include_eds"] = "" });

    internal static string Text(ConfigPipeline pipeline) => PageReader.Text(ConfigDump.Answer(pipeline, null, 0, s_withEndpoints).Page!);

    /// <summary>
    /// A page's text without what tells two proxies with the same configuration apart: versions, which count pushes; times; what was refused, which one proxy saw and
    /// another did not; and the order in which things came. All else stays, each list in order.
    /// </summary>
    internal static string WithoutHistory(string page)
    {
        var dump = JsonNode.Parse(page)!;
        foreach (var section in dump["configs"]!.AsArray())
        {
            section!.AsObject().Remove("version_info");
            foreach (var (name, value) in section.AsObject().ToList())
            {
                if (value is not JsonArray list)
                    continue;
                var elements = list.Select(element => WithoutHistory(element!.AsObject())).Where(element => element is not null).Order(StringComparer.Ordinal).ToList();
                section.AsObject().Remove(name);
                if (elements.Count > 0)
                    section[name] = new JsonArray([.. elements.Select(element => JsonNode.Parse(element!))]);
            }
        }
        return dump.ToJsonString();
    }

    // Null for one of which there is only a refused version.
    private static string? WithoutHistory(JsonObject element)
    {
        foreach (var envelope in new[] { element, element["active_state"] as JsonObject, element["warming_state"] as JsonObject })
        {
            foreach (string history in new[] { "version_info", "last_updated", "error_state", "client_status" })
                envelope?.Remove(history);
        }
        return element.All(property => property.Key == "name") ? null : element.ToJsonString();
    }
}
