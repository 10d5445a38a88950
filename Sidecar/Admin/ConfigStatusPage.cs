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
/// everything in it that has no effect here; and the last pushes, with what each changed and how long it took to translate, to warm, and to be in
/// use on every worker. <c>?section=pushes</c> leaves the resources out, of which a mesh has many.
/// </summary>
internal static class ConfigStatusPage
{
    internal static void Answer(ProxyServer server, AdminRequest request, Action<AdminResponse> answer)
    {
        var buffer = new ArrayBufferWriter<byte>();
        using (var json = new Utf8JsonWriter(buffer, new JsonWriterOptions { Indented = true, IndentSize = 1 }))
        {
            json.WriteStartObject();
            json.WriteNumber("snapshot", server.Snapshot.Number);
            WriteSource(json, server);
            if (request.Param("section") != "pushes")
            {
                json.WriteStartArray("resources");
                foreach (var state in server.Snapshot.Resources)
                    WriteState(json, server, state);
                foreach (var (resource, sinceUnixMs) in server.Config.Awaited)
                    WriteAwaited(json, server, resource, sinceUnixMs);
                json.WriteEndArray();
            }
            json.WriteStartArray("errors");
            foreach (var error in server.Config.LastErrors)
                json.WriteStringValue(error.ToString());
            json.WriteEndArray();
            json.WriteStartArray("pushes");
            foreach (var record in server.Config.Journal.Records)
                WritePush(json, record);
            json.WriteEndArray();
            json.WriteEndObject();
        }
        answer(AdminResponse.Json(buffer.WrittenSpan.ToArray()));
    }

    private static void WriteSource(Utf8JsonWriter json, ProxyServer server)
    {
        if (server.Config.Connection is { } connection)
        {
            json.WriteStartObject("control_plane");
            json.WriteBoolean("connected", connection.IsConnected);
            json.WriteString("reason", connection.Reason);
            json.WriteString("since", ConfigDump.Time(connection.UnixMs));
            json.WriteEndObject();
        }
        if (server.Config.LastGood is not { } file)
            return;
        int unconfirmed = server.Config.UnconfirmedCount;
        json.WriteStartObject("last_good");
        json.WriteString("file", file.Path);
        if (file.SavedUnixMs > 0)
            json.WriteString("saved", ConfigDump.Time(file.SavedUnixMs));
        json.WriteBoolean("serving", unconfirmed > 0);
        json.WriteNumber("resources_not_confirmed", unconfirmed);
        json.WriteNumber("resources_waiting", server.Config.Warming.CountAwaitingFirst());
        json.WriteEndObject();
    }

    private static void WriteState(Utf8JsonWriter json, ProxyServer server, ResourceState state)
    {
        json.WriteStartObject();
        json.WriteString("type_url", state.TypeUrl);
        json.WriteString("kind", ResourceTypes.Noun(state.TypeUrl));
        json.WriteString("name", state.Name);
        if ((state.Accepted ?? state.Active) is { } accepted)
        {
            json.WriteString("source", accepted.Resource.Source);
            json.WriteString("version_info", accepted.Resource.Version);
            json.WriteString("last_updated", ConfigDump.Time(accepted.UnixMs));
        }
        json.WriteString("status", Status(server, state));
        if (state.IsWarming && state.Active is { } active)
            json.WriteString("version_in_use", active.Resource.Version);
        if (server.Config.Warming.AwaitedBy(state) is var (awaitedType, awaitedName))
            json.WriteString("waits_for", ResourceTypes.Noun(awaitedType) + " " + awaitedName);
        if (state.Refused is { } refused)
            json.WriteString("refused_version", refused.Version);
        WriteProblems(json, "errors", state.Errors);
        WriteProblems(json, "without_effect", state.Accepted?.WithoutEffect ?? []);
        json.WriteEndObject();
    }

    /// <summary>A resource that was asked for, and that nothing has been heard of.</summary>
    private static void WriteAwaited(Utf8JsonWriter json, ProxyServer server, NamedResource resource, long sinceUnixMs)
    {
        if (server.Snapshot.Find(resource.TypeUrl, resource.Key) is not null)
            return;
        json.WriteStartObject();
        json.WriteString("type_url", resource.TypeUrl);
        json.WriteString("kind", ResourceTypes.Noun(resource.TypeUrl));
        json.WriteString("name", resource.Name);
        json.WriteString("requested", ConfigDump.Time(sinceUnixMs));
        json.WriteString("status", "REQUESTED");
        json.WriteEndObject();
    }

    private static string Status(ProxyServer server, ResourceState state)
    {
        if (state.Accepted is null)
            return state.Active is null ? "REFUSED" : "REMOVED_STILL_REFERRED_TO";
        if (state.Errors.Count > 0)
            return state.IsStatic ? "STATIC" : "OLD_VERSION_IN_USE";
        if (server.Config.IsUnconfirmed(state))
            return state.IsWarming ? "LAST_GOOD_WARMING" : "LAST_GOOD";
        return state.IsWarming ? "WARMING" : "ACCEPTED";
    }

    private static void WritePush(Utf8JsonWriter json, PushRecord record)
    {
        json.WriteStartObject();
        json.WriteString("time", ConfigDump.Time(record.UnixMs));
        json.WriteString("kind", record.Kind);
        json.WriteString("source", record.Source);
        json.WriteString("version_info", record.Version);
        if (record.Bytes > 0)
            json.WriteNumber("bytes", record.Bytes);
        json.WriteNumber("added", record.Added);
        json.WriteNumber("modified", record.Modified);
        json.WriteNumber("removed", record.Removed);
        json.WriteNumber("unchanged", record.Unchanged);
        json.WriteNumber("refused", record.Refused);
        if (record.Repeated > 0)
            json.WriteNumber("repeated", record.Repeated);
        json.WriteStartArray("names");
        foreach (string name in record.Names)
            json.WriteStringValue(name);
        json.WriteEndArray();
        json.WriteNumber("translate_us", record.TranslateUs);
        // What is still warming or on its way to the workers has no such time yet.
        if (record.WarmUs >= 0)
            json.WriteNumber("warm_us", record.WarmUs);
        else
            json.WriteNumber("warming", record.WaitingCount);
        if (record.SwapUs >= 0)
        {
            json.WriteNumber("swap_us", record.SwapUs);
            json.WriteNumber("worker_stall_us", record.StallUs);
        }
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
