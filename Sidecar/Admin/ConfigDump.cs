using System;
using System.Collections.Generic;
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
/// <c>?resource=dynamic_listeners</c> gives one list's resources, <c>?mask=</c> some fields of each section, or of each resource of that list, and <c>?name_regex=</c> keeps
/// matching names. Secrets are redacted; those that have not come are warming.
/// </summary>
internal static class ConfigDump
{
    // As Envoy's trackers are called, in their order.
    private static readonly Section[] s_sections =
    [
        new(ResourceTypes.Cluster, "ClustersConfigDump", "cluster", "static_clusters", "dynamic_active_clusters", "dynamic_warming_clusters"),
        new(ResourceTypes.Extension, "EcdsConfigDump", "ecds_filter", null, "ecds_filters", null),
        new(ResourceTypes.ClusterLoadAssignment, "EndpointsConfigDump", "endpoint_config", "static_endpoint_configs", "dynamic_endpoint_configs", null),
        new(ResourceTypes.Listener, "ListenersConfigDump", "listener", "static_listeners", "dynamic_listeners", null),
        new(ResourceTypes.RouteConfiguration, "RoutesConfigDump", "route_config", "static_route_configs", "dynamic_route_configs", null),
        new(ResourceTypes.Secret, "SecretsConfigDump", "secret", "static_secrets", "dynamic_active_secrets", "dynamic_warming_secrets"),
    ];

    private static MessageSchema BootstrapSchema => SchemaTable.Find("envoy.admin.v3.BootstrapConfigDump")!;

    /// <summary>One message of the dump.</summary>
    private sealed record Section(string TypeUrl, string DumpType, string Element, string? Static, string Dynamic, string? Warming)
    {
        internal MessageSchema Schema => SchemaTable.Find("envoy.admin.v3." + DumpType)!;
        internal MessageSchema ResourceSchema => SchemaTable.Find(TypeUrl[(TypeUrl.LastIndexOf('/') + 1)..])!;
        internal bool HasVersion => TypeUrl is ResourceTypes.Cluster or ResourceTypes.Listener;

        /// <summary>Its lists, in the order of their numbers.</summary>
        internal IEnumerable<(Part Part, string Name)> Lists
        {
            get
            {
                if (Static is not null)
                    yield return (Part.Static, Static);
                yield return (Part.Dynamic, Dynamic);
                if (Warming is not null)
                    yield return (Part.Warming, Warming);
            }
        }
    }

    /// <summary>Which resources of a section go into one of its lists.</summary>
    private enum Part : byte { Static, Dynamic, Warming }

    /// <summary>A list of a section, and the section's version, as they were when the page was asked for.</summary>
    private sealed record ResourceList(Section Section, string Version, Part Part, string Name, List<Row> Rows)
    {
        internal MessageSchema ElementSchema => Section.Schema[Name].Message;
    }

    /// <summary>One resource of a list, and what few have besides.</summary>
    private readonly record struct Row(string Name, ResourceVersion? Version, Aside? Aside);

    /// <param name="Warming">A listener has both versions in one element.</param>
    /// <param name="Error">Why the last version was refused.</param>
    /// <param name="Refused">That version.</param>
    /// <param name="UnixMs">When it was refused; or since when a secret has been waited for.</param>
    private sealed record Aside(ResourceVersion? Warming, ConfigError? Error, DiscoveredResource? Refused, long UnixMs);

    internal static void Answer(ProxyServer server, AdminRequest request, Action<AdminResponse> answer) =>
        answer(Answer(server.Config, server.Bootstrap, server.StartUnixMs, request));

    /// <summary>The page of a pipeline's resources, and of the bootstrap it was started with; or why there is none.</summary>
    internal static AdminResponse Answer(ConfigPipeline config, DiscoveredResource? bootstrap, long startUnixMs, AdminRequest request)
    {
        LinearRegex? names = null;
        if (request.Param("name_regex") is { Length: > 0 } pattern)
        {
            names = LinearRegex.TryCompile(pattern, RegexUse.FullMatch, out string error);
            if (names is null)
                return AdminResponse.Text($"Error while parsing name_regex from {pattern}: {error}\n", 400);
        }
        string paths = request.Param("mask") ?? "";
        var mask = FieldPaths.Parse(paths);
        bool includeEds = request.Has("include_eds");
        if (request.Param("resource") is { Length: > 0 } resource)
            return One(config, resource, includeEds, names, mask, paths);

        var lists = new List<ResourceList>();
        foreach (var section in s_sections)
        {
            if (!IsShown(section, config, includeEds) || !mask.FitsInto(section.Schema))
                continue;
            string version = section.HasVersion && mask.Find("version_info") is not null ? config.VersionOf(section.TypeUrl) ?? "" : "";
            foreach (var (part, name) in section.Lists)
                lists.Add(new ResourceList(section, version, part, name, mask.Find(name) is null ? [] : RowsOf(section, part, config)));
        }
        if (bootstrap is not null && !mask.FitsInto(BootstrapSchema))
            bootstrap = null;
        if (bootstrap is null && lists.Count == 0)
            return AdminResponse.Text($"FieldMask {paths} could not be successfully applied to any configs.", 400);
        return Paged(json => new Writer(json, names, mask).All(bootstrap, startUnixMs, lists));
    }

    private static AdminResponse One(ConfigPipeline config, string resource, bool includeEds, LinearRegex? names, FieldPaths mask, string paths)
    {
        // What the bootstrap's message has, and some have: no list.
        if (resource is "bootstrap" or "last_updated" or "version_info")
            return AdminResponse.Text($"{resource} is not a repeated field. Use ?mask={resource} to get only this field", 400);
        foreach (var section in s_sections)
        {
            foreach (var (part, name) in section.Lists)
            {
                if (name != resource || !IsShown(section, config, includeEds))
                    continue;
                if (!mask.FitsInto(section.Schema[name].Message, section.ResourceSchema))
                    return AdminResponse.Text($"FieldMask {FieldPaths.DebugString(paths)} could not be successfully used.", 400);
                var list = new ResourceList(section, "", part, name, RowsOf(section, part, config));
                return Paged(json => new Writer(json, names, mask).One(list));
            }
        }
        return AdminResponse.Text($"{resource} not found in config dump", 404);
    }

    // Extensions have no tracker before one is asked for.
    private static bool IsShown(Section section, ConfigPipeline config, bool includeEds) => section.TypeUrl switch
    {
        ResourceTypes.ClusterLoadAssignment => includeEds,
        ResourceTypes.Extension => config.Snapshot.Of(section.TypeUrl).Count > 0,
        _ => true,
    };

    /// <summary>A time as protobuf's JSON has it.</summary>
    internal static string Time(long unixMs) =>
        DateTimeOffset.FromUnixTimeMilliseconds(unixMs).ToString("yyyy-MM-dd'T'HH:mm:ss.fff'Z'", CultureInfo.InvariantCulture);

    // ---- what there is ------------------------------------------------------------------------------------------

    private static List<Row> RowsOf(Section section, Part part, ConfigPipeline config)
    {
        var rows = new List<Row>();
        foreach (var state in config.Snapshot.Of(section.TypeUrl).Values)
        {
            if (!IsIn(state, section, part))
                continue;
            bool isListener = section.TypeUrl == ResourceTypes.Listener && part == Part.Dynamic;
            bool isWhatWasAccepted = part == Part.Warming || section.Warming is null && !isListener;
            var warming = isListener && state.IsWarming ? state.Accepted : null;
            var error = part != Part.Warming && state.Errors.Count > 0 ? state.Errors[0] : null;
            var aside = warming is null && error is null ? null : new Aside(warming, error, state.Refused, state.RefusedUnixMs);
            rows.Add(new Row(state.Name, isWhatWasAccepted ? state.Accepted ?? state.Active : state.Active, aside));
        }
        if (section.TypeUrl == ResourceTypes.Secret && part == Part.Warming)
        {
            foreach (var (secret, sinceUnixMs) in config.Awaited)
            {
                if (secret.TypeUrl == section.TypeUrl)
                    rows.Add(new Row(secret.Name, null, new Aside(null, null, null, sinceUnixMs)));
            }
        }
        return rows;
    }

    // A cluster that was changed is in both lists while its new version warms; a listener has both versions in one element.
    private static bool IsIn(ResourceState state, Section section, Part part)
    {
        bool isStatic = state.IsStatic || (state.Accepted?.Resource ?? state.Refused)?.Source == BuiltInListeners.Source;
        return part switch
        {
            Part.Static => isStatic,
            Part.Warming => !isStatic && state.IsWarming && section.TypeUrl != ResourceTypes.Secret,
            _ => !isStatic && (section.Warming is null || state.Active is not null || state.Errors.Count > 0 || state.Accepted is null),
        };
    }

    // ---- how it is written --------------------------------------------------------------------------------------

    private static AdminResponse Paged(Func<Utf8JsonWriter, IEnumerator<bool>> write) => AdminResponse.Paged("application/json", new Page(write));

    /// <summary>A page whose writer stops after each bit.</summary>
    private sealed class Page(Func<Utf8JsonWriter, IEnumerator<bool>> write) : AdminPage
    {
        private Utf8JsonWriter? _json;
        private IEnumerator<bool>? _bits;

        internal override bool WriteNext(PageWriter to)
        {
            to.Step();
            _json ??= new Utf8JsonWriter(to, new JsonWriterOptions { Indented = true, IndentSize = 1 });
            _bits ??= write(_json);
            bool more = _bits.MoveNext();
            _json.Flush();
            return more;
        }
    }

    /// <summary>Writes a dump, at most one resource from one stop to the next. Lives for one page.</summary>
    private sealed class Writer(Utf8JsonWriter json, LinearRegex? names, FieldPaths mask)
    {
        internal IEnumerator<bool> All(DiscoveredResource? bootstrap, long startUnixMs, List<ResourceList> lists)
        {
            json.WriteStartObject();
            json.WriteStartArray("configs");
            if (bootstrap is not null)
            {
                WriteBootstrap(bootstrap, startUnixMs);
                yield return true;
            }
            for (int i = 0; i < lists.Count; i++)
            {
                var list = lists[i];
                if (i == 0 || lists[i - 1].Section != list.Section)
                    StartSection(list);
                var type = list.ElementSchema;
                bool isOpen = false;
                foreach (var row in list.Rows)
                {
                    if (IsNamed(row.Name))
                    {
                        if (!isOpen)
                            json.WriteStartArray(list.Name);
                        isOpen = true;
                        // A mask of the section leads to its lists, and no further.
                        WriteRow(list, row, type, withType: false, FieldPaths.All);
                    }
                    yield return true;
                }
                if (isOpen)
                    json.WriteEndArray();
                if (i == lists.Count - 1 || lists[i + 1].Section != list.Section)
                    json.WriteEndObject();
            }
            json.WriteEndArray();
            json.WriteEndObject();
        }

        internal IEnumerator<bool> One(ResourceList list)
        {
            json.WriteStartObject();
            json.WriteStartArray("configs");
            var type = list.ElementSchema;
            foreach (var row in list.Rows)
            {
                if (IsNamed(row.Name))
                    WriteRow(list, row, type, withType: true, mask);
                yield return true;
            }
            json.WriteEndArray();
            json.WriteEndObject();
        }

        private bool IsNamed(string name) => names?.IsFullMatch(Encoding.UTF8.GetBytes(name)) ?? true;

        private void WriteBootstrap(DiscoveredResource bootstrap, long startUnixMs)
        {
            json.WriteStartObject();
            json.WriteString("@type", BootstrapSchema.TypeUrl);
            if (mask.Find("bootstrap") is { } shown)
            {
                json.WritePropertyName("bootstrap");
                WriteMessage(bootstrap, shown, anyType: false);
            }
            if (mask.Find("last_updated") is not null)
                json.WriteString("last_updated", Time(startUnixMs));
            json.WriteEndObject();
        }

        private void StartSection(ResourceList first)
        {
            json.WriteStartObject();
            json.WriteString("@type", first.Section.Schema.TypeUrl);
            if (first.Version.Length > 0)
                json.WriteString("version_info", first.Version);
        }

        private void WriteRow(ResourceList list, Row row, MessageSchema type, bool withType, FieldPaths shown)
        {
            var section = list.Section;
            json.WriteStartObject();
            if (withType)
                json.WriteString("@type", type.TypeUrl);
            if (section.TypeUrl == ResourceTypes.Secret || section.TypeUrl == ResourceTypes.Listener && list.Part == Part.Dynamic)
                WriteText("name", row.Name, shown);
            if (section.TypeUrl == ResourceTypes.Listener && list.Part == Part.Dynamic)
            {
                WriteListenerState(section, "active_state", row.Version, shown);
                WriteListenerState(section, "warming_state", row.Aside?.Warming, shown);
            }
            else if (row.Version is null && list.Part == Part.Warming)
            {
                WriteAwaited(section, row.Name, row.Aside!.UnixMs, shown);
            }
            else
            {
                WriteVersion(section, row.Version, shown);
            }
            if (row.Aside is { Error: { } error } aside)
                WriteError(aside, error, shown);
            json.WriteEndObject();
        }

        private void WriteText(string name, string value, FieldPaths shown)
        {
            if (shown.Find(name) is not null)
                json.WriteString(name, value);
        }

        private void WriteListenerState(Section section, string name, ResourceVersion? version, FieldPaths shown)
        {
            if (version is null || shown.Find(name) is not { } state)
                return;
            json.WriteStartObject(name);
            WriteVersion(section, version, state);
            json.WriteEndObject();
        }

        private void WriteVersion(Section section, ResourceVersion? version, FieldPaths shown)
        {
            if (version is null)
                return;
            if (version.Resource.Version.Length > 0)
                WriteText("version_info", version.Resource.Version, shown);
            if (shown.Find(section.Element) is { } inner)
            {
                json.WritePropertyName(section.Element);
                WriteMessage(version.Resource, inner, anyType: true);
            }
            WriteText("last_updated", Time(version.UnixMs), shown);
        }

        private void WriteAwaited(Section section, string name, long sinceUnixMs, FieldPaths shown)
        {
            WriteText("version_info", "uninitialized", shown);
            WriteText("last_updated", Time(sinceUnixMs), shown);
            if (shown.Find(section.Element) is not { } inner)
                return;
            json.WriteStartObject(section.Element);
            json.WriteString("@type", section.TypeUrl);
            WriteText("name", name, inner);
            json.WriteEndObject();
        }

        private void WriteError(Aside aside, ConfigError error, FieldPaths shown)
        {
            if (shown.Find("error_state") is { } state)
            {
                json.WriteStartObject("error_state");
                if (aside.Refused is { } refused && state.Find("failed_configuration") is { } inner)
                {
                    json.WritePropertyName("failed_configuration");
                    WriteMessage(refused, inner, anyType: true);
                }
                WriteText("last_update_attempt", Time(aside.UnixMs), state);
                WriteText("details", error.ToString(), state);
                if (aside.Refused is not null)
                    WriteText("version_info", aside.Refused.Version, state);
                json.WriteEndObject();
            }
            WriteText("client_status", "NACKED", shown);
        }

        private void WriteMessage(DiscoveredResource resource, FieldPaths shown, bool anyType)
        {
            if (resource.Type is not { } type)
            {
                json.WriteNullValue();
                return;
            }
            var bytes = resource.Bytes.Span;
            if (!shown.IsWhole)
            {
                var trimmed = new WireWriter();
                shown.Trim(bytes, type, trimmed);
                bytes = trimmed.Written;
            }
            Transcoder.TryWriteJson(bytes, type, json, redact: true, anyType);
        }
    }
}
