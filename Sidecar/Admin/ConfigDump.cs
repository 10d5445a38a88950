using System;
using System.Buffers;
using System.Globalization;
using System.Text;
using System.Text.Json;
using Sidecar.Config;
using Sidecar.Routing;
using Sidecar.Server;
using Sidecar.Wire;

namespace Sidecar.Admin;

/// <summary>
/// /config_dump in Envoy's shape (envoy.admin.v3.ConfigDump), written from the resources' own bytes: <c>?include_eds</c> adds endpoints,
/// <c>?resource=dynamic_listeners</c> gives one section's resources, <c>?name_regex=</c> keeps matching names. Secrets are redacted.
/// </summary>
internal static class ConfigDump
{
    private sealed record Section(string TypeUrl, string DumpType, string Dynamic, string Static, string Element);

    private static readonly Section[] s_sections =
    [
        new(ResourceTypes.Cluster, "ClustersConfigDump", "dynamic_active_clusters", "static_clusters", "cluster"),
        new(ResourceTypes.ClusterLoadAssignment, "EndpointsConfigDump", "dynamic_endpoint_configs", "static_endpoint_configs", "endpoint_config"),
        new(ResourceTypes.Listener, "ListenersConfigDump", "dynamic_listeners", "static_listeners", "listener"),
        new(ResourceTypes.RouteConfiguration, "RoutesConfigDump", "dynamic_route_configs", "static_route_configs", "route_config"),
        new(ResourceTypes.Secret, "SecretsConfigDump", "dynamic_active_secrets", "static_secrets", "secret"),
    ];

    internal static void Answer(ProxyServer server, AdminRequest request, Action<AdminResponse> answer)
    {
        LinearRegex? names = null;
        if (request.Param("name_regex") is { Length: > 0 } pattern)
        {
            names = LinearRegex.TryCompile(pattern, RegexUse.FullMatch, out string error);
            if (names is null)
            {
                answer(AdminResponse.Text($"Error while parsing name_regex from {pattern}: {error}\n", 400));
                return;
            }
        }
        if (request.Has("mask"))
        {
            answer(AdminResponse.Text("mask is not supported; use resource or name_regex\n", 400));
            return;
        }
        string? resource = request.Param("resource");
        var buffer = new ArrayBufferWriter<byte>();
        using (var json = new Utf8JsonWriter(buffer, new JsonWriterOptions { Indented = true, IndentSize = 1 }))
        {
            json.WriteStartObject();
            json.WriteStartArray("configs");
            bool found = resource is null ? WriteAll(json, server, request.Has("include_eds"), names) : WriteOne(json, server, resource, names);
            json.WriteEndArray();
            json.WriteEndObject();
            if (!found)
            {
                answer(AdminResponse.Text($"{resource} not found in config dump\n", 404));
                return;
            }
        }
        answer(AdminResponse.Json(buffer.WrittenSpan.ToArray()));
    }

    /// <summary>A time as protobuf's JSON has it.</summary>
    internal static string Time(long unixMs) =>
        DateTimeOffset.FromUnixTimeMilliseconds(unixMs).ToString("yyyy-MM-dd'T'HH:mm:ss.fff'Z'", CultureInfo.InvariantCulture);

    private static bool WriteAll(Utf8JsonWriter json, ProxyServer server, bool includeEds, LinearRegex? names)
    {
        if (server.Bootstrap is { Type: { } bootstrapType } bootstrap)
        {
            json.WriteStartObject();
            json.WriteString("@type", "type.googleapis.com/envoy.admin.v3.BootstrapConfigDump");
            json.WritePropertyName("bootstrap");
            Transcoder.TryWriteJson(bootstrap.Bytes.Span, bootstrapType, json, redact: true);
            json.WriteString("last_updated", Time(server.StartUnixMs));
            json.WriteEndObject();
        }
        foreach (var section in s_sections)
        {
            if (section.TypeUrl == ResourceTypes.ClusterLoadAssignment && !includeEds)
                continue;
            json.WriteStartObject();
            json.WriteString("@type", "type.googleapis.com/envoy.admin.v3." + section.DumpType);
            WriteStates(json, server, section, section.Static, names, isStatic: true);
            WriteStates(json, server, section, section.Dynamic, names, isStatic: false);
            json.WriteEndObject();
        }
        return true;
    }

    private static bool WriteOne(Utf8JsonWriter json, ProxyServer server, string resource, LinearRegex? names)
    {
        foreach (var section in s_sections)
        {
            bool isStatic = resource == section.Static;
            if (!isStatic && resource != section.Dynamic)
                continue;
            foreach (var state in server.Snapshot?.Resources ?? [])
            {
                if (state.TypeUrl == section.TypeUrl && IsStatic(server, state) == isStatic && (names?.IsFullMatch(Encoding.UTF8.GetBytes(state.Name)) ?? true))
                    WriteState(json, section, state, isStatic, withType: true);
            }
            return true;
        }
        return false;
    }

    private static void WriteStates(Utf8JsonWriter json, ProxyServer server, Section section, string name, LinearRegex? names, bool isStatic)
    {
        bool open = false;
        foreach (var state in server.Snapshot?.Resources ?? [])
        {
            if (state.TypeUrl != section.TypeUrl || IsStatic(server, state) != isStatic || !(names?.IsFullMatch(Encoding.UTF8.GetBytes(state.Name)) ?? true))
                continue;
            if (!open)
                json.WriteStartArray(name);
            open = true;
            WriteState(json, section, state, isStatic, withType: false);
        }
        if (open)
            json.WriteEndArray();
    }

    private static bool IsStatic(ProxyServer server, ResourceState state) =>
        server.Options.BootstrapPath is not null || (state.Accepted ?? state.Refused)?.Source == BuiltInListeners.Source;

    private static void WriteState(Utf8JsonWriter json, Section section, ResourceState state, bool isStatic, bool withType)
    {
        json.WriteStartObject();
        if (withType)
            json.WriteString("@type", "type.googleapis.com/envoy.admin.v3." + section.DumpType + "." + ElementType(section, isStatic));
        bool isListener = section.TypeUrl == ResourceTypes.Listener && !isStatic;
        if (isListener)
            json.WriteString("name", state.Name);
        if (state.Accepted is { } accepted)
        {
            if (isListener)
                json.WriteStartObject("active_state");
            if (accepted.Version.Length > 0)
                json.WriteString("version_info", accepted.Version);
            json.WritePropertyName(section.Element);
            if (accepted.Type is not { } type || !Transcoder.TryWriteJson(accepted.Bytes.Span, type, json, redact: true, anyType: true))
                json.WriteNullValue();
            json.WriteString("last_updated", Time(state.AcceptedUnixMs));
            if (isListener)
                json.WriteEndObject();
        }
        if (state.Errors.Count > 0)
        {
            json.WriteStartObject("error_state");
            json.WriteString("last_update_attempt", Time(state.RefusedUnixMs));
            json.WriteString("details", state.Errors[0].ToString());
            if (state.Refused is { } refused)
                json.WriteString("version_info", refused.Version);
            json.WriteEndObject();
            json.WriteString("client_status", "NACKED");
        }
        json.WriteEndObject();
    }

    private static string ElementType(Section section, bool isStatic) => (isStatic ? "Static" : "Dynamic") + section.Element switch
    {
        "cluster" => "Cluster",
        "endpoint_config" => "EndpointConfig",
        "listener" => "Listener",
        "route_config" => "RouteConfig",
        _ => "Secret",
    };
}
