using System;
using System.Buffers;
using System.Collections.Generic;
using System.Text.Json;
using Sidecar.Config;
using Sidecar.Server;
using Sidecar.Wire;

namespace Sidecar.Admin;

/// <summary>
/// /config_status, which Envoy has not: for every resource the version in use, the version refused with its reasons by field path, and
/// everything in it that has no effect here.
/// </summary>
internal static class ConfigStatusPage
{
    internal static void Answer(ProxyServer server, AdminRequest request, Action<AdminResponse> answer)
    {
        var buffer = new ArrayBufferWriter<byte>();
        using (var json = new Utf8JsonWriter(buffer, new JsonWriterOptions { Indented = true, IndentSize = 1 }))
        {
            json.WriteStartObject();
            json.WriteNumber("snapshot", server.Snapshot?.Number ?? 0);
            json.WriteStartArray("resources");
            foreach (var state in server.Snapshot?.Resources ?? [])
                WriteState(json, state);
            json.WriteEndArray();
            json.WriteStartArray("errors");
            foreach (var error in server.LastErrors)
                json.WriteStringValue(error.ToString());
            json.WriteEndArray();
            json.WriteEndObject();
        }
        answer(AdminResponse.Json(buffer.WrittenSpan.ToArray()));
    }

    private static void WriteState(Utf8JsonWriter json, ResourceState state)
    {
        json.WriteStartObject();
        json.WriteString("type_url", state.TypeUrl);
        json.WriteString("kind", ResourceTypes.Noun(state.TypeUrl));
        json.WriteString("name", state.Name);
        if (state.Accepted is { } accepted)
        {
            json.WriteString("source", accepted.Source);
            json.WriteString("version_info", accepted.Version);
            json.WriteString("last_updated", ConfigDump.Time(state.AcceptedUnixMs));
        }
        json.WriteString("status", state.Accepted is null ? "REFUSED" : state.Errors.Count > 0 ? "OLD_VERSION_IN_USE" : "ACCEPTED");
        WriteProblems(json, "errors", state.Errors);
        WriteProblems(json, "without_effect", state.WithoutEffect);
        json.WriteEndObject();
    }

    private static void WriteProblems(Utf8JsonWriter json, string name, IReadOnlyList<ConfigError> problems)
    {
        if (problems.Count == 0)
            return;
        json.WriteStartArray(name);
        foreach (var problem in problems)
        {
            json.WriteStartObject();
            json.WriteString("path", problem.Path);
            json.WriteString("reason", problem.Reason);
            json.WriteEndObject();
        }
        json.WriteEndArray();
    }
}
