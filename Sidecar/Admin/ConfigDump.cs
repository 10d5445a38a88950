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
/// /config_dump in Envoy's shape (envoy.admin.v3.ConfigDump), written from the resources' own bytes, the version in use and the one warming: <c>?include_eds</c> adds endpoints,
/// <c>?resource=dynamic_listeners</c> gives one section's resources, <c>?name_regex=</c> keeps matching names. Secrets are redacted; those that have not come are warming.
/// </summary>
internal static class ConfigDump
{
    private sealed record Section(string TypeUrl, string DumpType, string Dynamic, string? Warming, string Static, string Element);

    private static readonly Section[] s_sections =
    [
        new(ResourceTypes.Cluster, "ClustersConfigDump", "dynamic_active_clusters", "dynamic_warming_clusters", "static_clusters", "cluster"),
        new(ResourceTypes.ClusterLoadAssignment, "EndpointsConfigDump", "dynamic_endpoint_configs", null, "static_endpoint_configs", "endpoint_config"),
        new(ResourceTypes.Listener, "ListenersConfigDump", "dynamic_listeners", null, "static_listeners", "listener"),
        new(ResourceTypes.RouteConfiguration, "RoutesConfigDump", "dynamic_route_configs", null, "static_route_configs", "route_config"),
        new(ResourceTypes.Secret, "SecretsConfigDump", "dynamic_active_secrets", "dynamic_warming_secrets", "static_secrets", "secret"),
        new(ResourceTypes.Extension, "EcdsConfigDump", "ecds_filters", null, "", "ecds_filter"),
    ];

    /// <summary>Which resources of a section go into one of its lists.</summary>
    private enum Part : byte { Static, Dynamic, Warming }

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
            if (section.TypeUrl == ResourceTypes.ClusterLoadAssignment && !includeEds || section.TypeUrl == ResourceTypes.Extension && server.Snapshot.Of(section.TypeUrl).Count == 0)
                continue;
            json.WriteStartObject();
            json.WriteString("@type", "type.googleapis.com/envoy.admin.v3." + section.DumpType);
            if (section.TypeUrl is ResourceTypes.Cluster or ResourceTypes.Listener && server.Config.VersionOf(section.TypeUrl) is { Length: > 0 } version)
                json.WriteString("version_info", version);
            WriteStates(json, server, section, Part.Static, section.Static, names);
            WriteStates(json, server, section, Part.Dynamic, section.Dynamic, names);
            if (section.TypeUrl == ResourceTypes.Secret)
                WriteAwaited(json, server, section, names);
            else if (section.Warming is not null)
                WriteStates(json, server, section, Part.Warming, section.Warming, names);
            json.WriteEndObject();
        }
        return true;
    }

    private static bool WriteOne(Utf8JsonWriter json, ProxyServer server, string resource, LinearRegex? names)
    {
        foreach (var section in s_sections)
        {
            Part part;
            if (resource == section.Static)
                part = Part.Static;
            else if (resource == section.Dynamic)
                part = Part.Dynamic;
            else if (resource == section.Warming)
                part = Part.Warming;
            else
                continue;
            foreach (var state in server.Snapshot.Of(section.TypeUrl).Values)
            {
                if (IsIn(state, section, part, names))
                    WriteState(json, section, state, part, withType: true);
            }
            if (part == Part.Warming && section.TypeUrl == ResourceTypes.Secret)
            {
                foreach (var (secret, sinceUnixMs) in server.Config.Awaited)
                {
                    if (secret.TypeUrl == section.TypeUrl && Matches(secret.Name, names))
                        WriteAwaited(json, section, secret, sinceUnixMs, withType: true);
                }
            }
            return true;
        }
        return false;
    }

    private static void WriteStates(Utf8JsonWriter json, ProxyServer server, Section section, Part part, string name, LinearRegex? names)
    {
        bool open = false;
        foreach (var state in server.Snapshot.Of(section.TypeUrl).Values)
        {
            if (!IsIn(state, section, part, names))
                continue;
            if (!open)
                json.WriteStartArray(name);
            open = true;
            WriteState(json, section, state, part, withType: false);
        }
        if (open)
            json.WriteEndArray();
    }

    private static void WriteAwaited(Utf8JsonWriter json, ProxyServer server, Section section, LinearRegex? names)
    {
        bool open = false;
        foreach (var (secret, sinceUnixMs) in server.Config.Awaited)
        {
            if (secret.TypeUrl != section.TypeUrl || !Matches(secret.Name, names))
                continue;
            if (!open)
                json.WriteStartArray(section.Warming!);
            open = true;
            WriteAwaited(json, section, secret, sinceUnixMs, withType: false);
        }
        if (open)
            json.WriteEndArray();
    }

    private static void WriteAwaited(Utf8JsonWriter json, Section section, NamedResource secret, long sinceUnixMs, bool withType)
    {
        json.WriteStartObject();
        if (withType)
            json.WriteString("@type", "type.googleapis.com/envoy.admin.v3." + section.DumpType + "." + ElementType(section, isStatic: false));
        json.WriteString("name", secret.Name);
        json.WriteString("version_info", "uninitialized");
        json.WriteString("last_updated", Time(sinceUnixMs));
        json.WriteStartObject(section.Element);
        json.WriteString("@type", secret.TypeUrl);
        json.WriteString("name", secret.Name);
        json.WriteEndObject();
        json.WriteEndObject();
    }

    private static bool Matches(string name, LinearRegex? names) => names?.IsFullMatch(Encoding.UTF8.GetBytes(name)) ?? true;

    // A cluster that was changed is in both lists while its new version warms; a listener has both versions in one element.
    private static bool IsIn(ResourceState state, Section section, Part part, LinearRegex? names)
    {
        if (!Matches(state.Name, names))
            return false;
        bool isStatic = state.IsStatic || (state.Accepted?.Resource ?? state.Refused)?.Source == BuiltInListeners.Source;
        return part switch
        {
            Part.Static => isStatic,
            Part.Warming => !isStatic && state.IsWarming,
            _ => !isStatic && (section.Warming is null || state.Active is not null || state.Errors.Count > 0 || state.Accepted is null),
        };
    }

    private static void WriteState(Utf8JsonWriter json, Section section, ResourceState state, Part part, bool withType)
    {
        json.WriteStartObject();
        if (withType)
            json.WriteString("@type", "type.googleapis.com/envoy.admin.v3." + section.DumpType + "." + ElementType(section, part == Part.Static));
        if (section.TypeUrl == ResourceTypes.Listener && part == Part.Dynamic)
        {
            json.WriteString("name", state.Name);
            WriteListenerState(json, section, "active_state", state.Active);
            WriteListenerState(json, section, "warming_state", state.IsWarming ? state.Accepted : null);
        }
        else
        {
            if (section.TypeUrl == ResourceTypes.Secret)
                json.WriteString("name", state.Name);
            WriteVersion(json, section, part == Part.Warming || section.Warming is null ? state.Accepted ?? state.Active : state.Active);
        }
        if (state.Errors.Count > 0 && part != Part.Warming)
            WriteError(json, state);
        json.WriteEndObject();
    }

    private static void WriteListenerState(Utf8JsonWriter json, Section section, string name, ResourceVersion? version)
    {
        if (version is null)
            return;
        json.WriteStartObject(name);
        WriteVersion(json, section, version);
        json.WriteEndObject();
    }

    private static void WriteVersion(Utf8JsonWriter json, Section section, ResourceVersion? version)
    {
        if (version is null)
            return;
        var resource = version.Resource;
        if (resource.Version.Length > 0)
            json.WriteString("version_info", resource.Version);
        json.WritePropertyName(section.Element);
        WriteAny(json, resource);
        json.WriteString("last_updated", Time(version.UnixMs));
    }

    private static void WriteError(Utf8JsonWriter json, ResourceState state)
    {
        json.WriteStartObject("error_state");
        if (state.Refused is { } refused)
        {
            json.WritePropertyName("failed_configuration");
            WriteAny(json, refused);
        }
        json.WriteString("last_update_attempt", Time(state.RefusedUnixMs));
        json.WriteString("details", state.Errors[0].ToString());
        if (state.Refused is not null)
            json.WriteString("version_info", state.Refused.Version);
        json.WriteEndObject();
        json.WriteString("client_status", "NACKED");
    }

    private static void WriteAny(Utf8JsonWriter json, DiscoveredResource resource)
    {
        if (resource.Type is not { } type || !Transcoder.TryWriteJson(resource.Bytes.Span, type, json, redact: true, anyType: true))
            json.WriteNullValue();
    }

    private static string ElementType(Section section, bool isStatic) => section.TypeUrl == ResourceTypes.Extension ? "EcdsFilterConfig" : (isStatic ? "Static" : "Dynamic") + section.Element switch
    {
        "cluster" => "Cluster",
        "endpoint_config" => "EndpointConfig",
        "listener" => "Listener",
        "route_config" => "RouteConfig",
        _ => "Secret",
    };
}
