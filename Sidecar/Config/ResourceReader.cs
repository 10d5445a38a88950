using System;
using System.Buffers;
using System.Collections.Generic;
using System.IO;
using System.Text;
using System.Text.Json;
using System.Text.Unicode;
using Sidecar.Linux;
using Sidecar.Wire;

namespace Sidecar.Config;

/// <summary>
/// Reads resources from files: a config dump (v3, and 2020's v2alpha), an Envoy bootstrap, or a folder of resource files
/// (listeners, clusters, routes, endpoints, secrets; .json and .pb). Whatever the form, what comes out is v3 wire bytes.
/// Every problem is collected; one bad resource refuses itself, not its neighbours. A bootstrap is refused whole, as by Envoy.
/// </summary>
internal sealed class ResourceReader
{
    private readonly ResourceSet _set = new();
    private readonly WireProblems _problems = new();
    private readonly WireWriter _wire = new(4096);
    private ResourceDocument _document;
    private bool _isBootstrapKept;

    private ResourceReader(string source, byte[] bytes) => _document = new ResourceDocument(source, bytes, _set);

    /// <summary>Reads a file or a folder; the form is found out.</summary>
    public static ResourceSet Read(string path)
    {
        var reader = new ResourceReader(path, []);
        if (Directory.Exists(path))
            reader.ReadFolder(path);
        else
            reader.ReadFile(path, null);
        if (reader._set.Resources.Count == 0 && reader._set.Bootstrap is null && !reader._set.HasErrors)
            reader._set.Add(new ConfigError(path, "", "", "holds no resources; a config dump, a bootstrap, or a folder with listeners.json, clusters.json, … is expected"));
        return reader._set;
    }

    /// <summary>Reads an Envoy bootstrap (JSON).</summary>
    /// <param name="path">The file.</param>
    /// <param name="isKept">The caller keeps the bootstrap for good: its resources need no bytes of their own.</param>
    public static ResourceSet ReadBootstrap(string path, bool isKept = false)
    {
        var reader = new ResourceReader(path, []) { _isBootstrapKept = isKept };
        if (reader.TryLoad(path) && !reader._document.IsYaml() && !reader.TryReadFaultlessBootstrap() && reader._document.IsJson())
            reader.ReadBootstrapDocument();
        return reader._set;
    }

    /// <summary>Reads a document that is in memory already; the form is found out. For tests and for a bootstrap made by the agent.</summary>
    public static ResourceSet ReadDocument(byte[] document, string file)
    {
        var reader = new ResourceReader(file, document);
        if (reader._document.IsJson())
            reader.ReadDocumentOf(null);
        return reader._set;
    }

    /// <summary>Reads a DiscoveryResponse or DeltaDiscoveryResponse that is in memory already.</summary>
    public static ResourceSet ReadResponse(byte[] response, string file)
    {
        var reader = new ResourceReader(file, response);
        reader.ReadBinaryResponse(null);
        return reader._set;
    }

    // ---- files ----------------------------------------------------------------------------------------------

    private void ReadFolder(string folder)
    {
        foreach (string entry in EntriesOf(folder))
        {
            if (!Directory.Exists(entry))
                ReadFileOfFolder(entry, TypeOfName(Path.GetFileNameWithoutExtension(entry)));
            else if (TypeOfName(Path.GetFileName(entry)) is { } type)
                ReadSubFolder(entry, type);
            else
                Pass(entry, "is not read: folders are named listeners, clusters, routes, endpoints, secrets or extensions");
        }
    }

    private void ReadSubFolder(string folder, string typeUrl)
    {
        foreach (string entry in EntriesOf(folder))
        {
            if (!Directory.Exists(entry))
                ReadFileOfFolder(entry, typeUrl);
            else
                Pass(entry, "is not read: a folder of one type of resource holds only files");
        }
    }

    // In a folder the name says what counts: writers put other files beside, and their own halves before they rename them.
    private void ReadFileOfFolder(string path, string? typeUrl)
    {
        if (Path.GetExtension(path).ToLowerInvariant() is ".json" or ".pb" or ".bin" or ".yaml" or ".yml")
            ReadFile(path, typeUrl);
        else
            Pass(path, "is not read: files of resources end in .json or .pb");
    }

    private void Pass(string path, string reason) => _set.Add(new ConfigError(path, "", "", reason) { Kind = ConfigErrorKind.Ignored });

    // Sorted, so that every machine reads them in the same order; without the hidden ones: Kubernetes mounts its volumes by way of "..data".
    private List<string> EntriesOf(string folder)
    {
        var entries = new List<string>();
        try
        {
            foreach (string entry in Directory.EnumerateFileSystemEntries(folder))
            {
                if (!Path.GetFileName(entry).StartsWith('.'))
                    entries.Add(entry);
            }
        }
        catch (Exception failure) when (failure is IOException or UnauthorizedAccessException)
        {
            _set.Add(new ConfigError(folder, "", "", ResourceDocument.Because(failure)));
        }
        entries.Sort(StringComparer.Ordinal);
        return entries;
    }

    private static string? TypeOfName(string name) => name.ToLowerInvariant() switch
    {
        "listeners" or "listener" or "lds" => ResourceTypes.Listener,
        "clusters" or "cluster" or "cds" => ResourceTypes.Cluster,
        "routes" or "route" or "rds" => ResourceTypes.RouteConfiguration,
        "endpoints" or "endpoint" or "eds" => ResourceTypes.ClusterLoadAssignment,
        "secrets" or "secret" or "sds" => ResourceTypes.Secret,
        "extensions" or "ecds" => ResourceTypes.Extension,
        _ => null,
    };

    private void ReadFile(string path, string? typeUrl)
    {
        switch (Path.GetExtension(path).ToLowerInvariant())
        {
            case ".pb" or ".bin":
                if (TryLoad(path))
                    ReadBinaryResponse(typeUrl);
                break;
            default:
                if (TryLoad(path) && !_document.IsYaml() && _document.IsJson())
                    ReadDocumentOf(typeUrl);
                break;
        }
    }

    private bool TryLoad(string path)
    {
        if (ResourceDocument.TryLoad(path, _set) is not { } document)
            return false;
        _document = document;
        return true;
    }

    // ---- JSON documents ---------------------------------------------------------------------------------------
    // Each reading begins on the first token of its value, and leaves on its last or, when it refused the value, still on its first: Skip, which does nothing on a last
    // one, then goes over what was not read, and nothing is gone over twice.

    private void ReadDocumentOf(string? typeUrl)
    {
        var reader = new Utf8JsonReader(_document.Bytes, new JsonReaderOptions { MaxDepth = 512 });
        reader.Read();
        if (reader.TokenType == JsonTokenType.StartArray)
        {
            ReadItems(ref reader, "", typeUrl, "");
            return;
        }
        if (reader.TokenType != JsonTokenType.StartObject)
        {
            _set.Add(new ConfigError(_document.Source, "", "", "expected a JSON object: a config dump, a bootstrap or resources"));
            return;
        }
        MessageSchema? type = null;
        bool typed = false, dump = false, bootstrap = false, response = false;
        Utf8JsonReader keys = reader;
        while (keys.Read() && keys.TokenType == JsonTokenType.PropertyName)
        {
            string name = JsonLookAhead.Text(ref keys);
            keys.Read();
            typed |= name == "@type";
            dump |= name == "configs";
            bootstrap |= name is "static_resources" or "staticResources" or "dynamic_resources" or "dynamicResources" or "admin" or "node";
            response |= name == "resources";
            if (name == "@type" && keys.TokenType == JsonTokenType.String)
                type = SchemaTable.FindType(Encoding.UTF8.GetBytes(JsonLookAhead.Text(ref keys)), out _);
            keys.Skip();
        }
        if (type is not null && IsSection(type))
            ReadSection(ref reader, type, "");
        else if (dump)
            ReadDump(ref reader);
        else if (type?.FullName is "envoy.config.bootstrap.v3.Bootstrap" || !typed && typeUrl is null && bootstrap)
            ReadBootstrapDocument();
        else if (response)
            ReadResponse(reader, typeUrl);
        else
            ReadItem(ref reader, "", typeUrl, "", warming: false);
    }

    // { "configs": [ { "@type": "…ListenersConfigDump", … }, … ] }
    private void ReadDump(ref Utf8JsonReader reader)
    {
        while (reader.Read() && reader.TokenType == JsonTokenType.PropertyName)
        {
            bool configs = reader.ValueTextEquals("configs"u8);
            bool known = configs || reader.ValueTextEquals("@type"u8);
            string name = known ? "" : JsonLookAhead.Text(ref reader);
            if (!known)
                Unknown(reader, name, "a config dump has only \"configs\"");
            reader.Read();
            if (!configs)
            {
                reader.Skip();
                continue;
            }
            if (reader.TokenType != JsonTokenType.StartArray)
            {
                _set.Add(new ConfigError(_document.Source, "", "configs", "expected a list"));
                reader.Skip();
                continue;
            }
            for (int index = 0; reader.Read() && reader.TokenType != JsonTokenType.EndArray; index++)
            {
                string path = $"configs[{index}]";
                MessageSchema? type = reader.TokenType == JsonTokenType.StartObject ? JsonLookAhead.TypeOf(reader, out _, out string? url) : Nothing(out url);
                if (type is not null && IsSection(type))
                    ReadSection(ref reader, type, path);
                else
                    AddAt(reader, "", path, url is null ? "\"@type\" is missing" : $"\"@type\" {url} is not a section of a config dump");
                reader.Skip();
            }
        }

        static MessageSchema? Nothing(out string? url)
        {
            url = null;
            return null;
        }
    }

    private static bool IsSection(MessageSchema type) =>
        type.FullName.StartsWith("envoy.admin.v3.", StringComparison.Ordinal) && type.FullName.EndsWith("ConfigDump", StringComparison.Ordinal) &&
        type.FullName != "envoy.admin.v3.ConfigDump";

    // One section: lists of entries, each with a resource and its version.
    private void ReadSection(ref Utf8JsonReader reader, MessageSchema section, string path)
    {
        string sectionVersion = "";
        while (reader.Read() && reader.TokenType == JsonTokenType.PropertyName)
        {
            string name = JsonLookAhead.Text(ref reader);
            FieldSchema? field = section.Find(Encoding.UTF8.GetBytes(name));
            // 2020's listeners stood in lists by state; today they have one entry with its states.
            MessageSchema? entryType = field?.Type == FieldType.Message ? field.Message : null;
            if (field is null && section.FullName == "envoy.admin.v3.ListenersConfigDump" &&
                name is "dynamic_active_listeners" or "dynamic_warming_listeners" or "dynamic_draining_listeners")
                entryType = SchemaTable.Find("envoy.admin.v3.ListenersConfigDump.DynamicListenerState");
            else if (field is null && name != "@type")
                Unknown(reader, Join(path, name), $"unknown field of {section.FullName}");
            reader.Read();
            if (reader.TokenType == JsonTokenType.StartObject && section.FullName == "envoy.admin.v3.BootstrapConfigDump" && name == "bootstrap")
            {
                ReadBootstrapValue(ref reader, Join(path, name));
                reader.Skip();
                continue;
            }
            if (name is "version_info" or "versionInfo" && reader.TokenType == JsonTokenType.String)
                sectionVersion = reader.GetString() ?? "";
            if (reader.TokenType != JsonTokenType.StartArray || entryType is null || name.Contains("draining", StringComparison.Ordinal))
            {
                reader.Skip();
                continue;
            }
            bool warming = name.Contains("warming", StringComparison.OrdinalIgnoreCase);
            for (int index = 0; reader.Read() && reader.TokenType != JsonTokenType.EndArray; index++)
            {
                string at = $"{Join(path, name)}[{index}]";
                if (reader.TokenType == JsonTokenType.StartObject)
                    ReadEntry(ref reader, entryType, at, sectionVersion, warming);
                else
                    AddAt(reader, "", at, "expected an object");
                reader.Skip();
            }
        }
    }

    private void ReadEntry(ref Utf8JsonReader reader, MessageSchema entry, string path, string version, bool warming)
    {
        Utf8JsonReader ahead = reader;
        if (JsonLookAhead.TryFind(ref ahead, "version_info"u8, "versionInfo"u8) && ahead.TokenType == JsonTokenType.String)
            version = ahead.GetString() ?? "";
        while (reader.Read() && reader.TokenType == JsonTokenType.PropertyName)
        {
            string name = JsonLookAhead.Text(ref reader);
            byte[] nameBytes = Encoding.UTF8.GetBytes(name);
            FieldSchema? field = entry.Find(nameBytes);
            if (field is null)
                Unknown(reader, Join(path, name), $"unknown field of {entry.FullName}");
            reader.Read();
            if (field?.Type == FieldType.Message && reader.TokenType is JsonTokenType.StartObject or JsonTokenType.StartArray)
            {
                if (field!.Message.FullName.EndsWith("DynamicListenerState", StringComparison.Ordinal))
                {
                    if (reader.TokenType == JsonTokenType.StartObject && !name.StartsWith("draining", StringComparison.Ordinal))
                        ReadEntry(ref reader, field.Message, Join(path, name), version, name.StartsWith("warming", StringComparison.Ordinal));
                }
                else if (field.Message.WellKnown == WellKnown.Any && field.IsRepeated && reader.TokenType == JsonTokenType.StartArray)
                {
                    ReadItems(ref reader, Join(path, name), null, version);
                }
                else if (field.Message.WellKnown == WellKnown.Any && reader.TokenType == JsonTokenType.StartObject)
                {
                    string? plain = V2Names.PlainType(entry.FullName, field.Name);
                    ReadItem(ref reader, Join(path, name), plain is null ? null : "type.googleapis.com/" + plain, version, warming, plainIsLegacy: true);
                }
            }
            reader.Skip();
        }
    }

    // { "version_info": …, "type_url": …, "resources": […] }: a DiscoveryResponse, a DeltaDiscoveryResponse, or just the list.
    private void ReadResponse(Utf8JsonReader reader, string? typeUrl)
    {
        string version = "";
        Utf8JsonReader ahead = reader;
        if (JsonLookAhead.TryFind(ref ahead, "version_info"u8, "versionInfo"u8) && ahead.TokenType == JsonTokenType.String)
            version = ahead.GetString() ?? "";
        ahead = reader;
        if (JsonLookAhead.TryFind(ref ahead, "type_url"u8, "typeUrl"u8) && ahead.TokenType == JsonTokenType.String)
        {
            string declared = ahead.GetString() ?? "";
            MessageSchema? type = SchemaTable.FindType(Encoding.UTF8.GetBytes(declared), out _);
            if (type is null || !ResourceTypes.IsResource(type.TypeUrl))
            {
                AddAt(ahead, "", "type_url", $"{declared} is not a type of resource that can be loaded");
                return;
            }
            if (typeUrl is not null && type.TypeUrl != typeUrl)
            {
                AddAt(ahead, "", "type_url", $"{declared}: by its name this file holds {ResourceTypes.Noun(typeUrl)}s");
                return;
            }
            typeUrl = type.TypeUrl;
        }
        while (reader.Read() && reader.TokenType == JsonTokenType.PropertyName)
        {
            string name = JsonLookAhead.Text(ref reader);
            bool resources = name == "resources";
            if (!resources && name is not ("@type" or "version_info" or "versionInfo" or "type_url" or "typeUrl" or "nonce" or "canary" or
                "control_plane" or "controlPlane" or "system_version_info" or "systemVersionInfo" or "removed_resources" or "removedResources"))
                Unknown(reader, name, "unknown field of a discovery response");
            reader.Read();
            if (resources && reader.TokenType == JsonTokenType.StartArray)
                ReadItems(ref reader, "resources", typeUrl, version);
            else if (resources)
                AddAt(reader, "", "resources", "expected a list");
            reader.Skip();
        }
    }

    // On StartArray; leaves on its EndArray.
    private void ReadItems(ref Utf8JsonReader reader, string path, string? typeUrl, string version)
    {
        for (int index = 0; reader.Read() && reader.TokenType != JsonTokenType.EndArray; index++)
        {
            if (reader.TokenType == JsonTokenType.StartObject)
                ReadItem(ref reader, $"{path}[{index}]", typeUrl, version, warming: false);
            else
                AddAt(reader, "", $"{path}[{index}]", "expected an object");
            reader.Skip();
        }
    }

    // One resource: typed by "@type", wrapped as { name, version, resource }, or plain where the place says what it is.
    private void ReadItem(ref Utf8JsonReader reader, string path, string? typeUrl, string version, bool warming, bool plainIsLegacy = false)
    {
        MessageSchema? type = JsonLookAhead.TypeOf(reader, out bool legacy, out string? url);
        if (type?.FullName == "envoy.service.discovery.v3.Resource" || url is null && JsonLookAhead.Has(reader, "resource"u8))
        {
            Utf8JsonReader ahead = reader;
            if (JsonLookAhead.TryFind(ref ahead, "version"u8, "version"u8) && ahead.TokenType == JsonTokenType.String)
                version = ahead.GetString() ?? "";
            ahead = reader;
            if (JsonLookAhead.TryFind(ref ahead, "resource"u8, "resource"u8) && ahead.TokenType == JsonTokenType.StartObject)
                ReadItem(ref ahead, Join(path, "resource"), typeUrl, version, warming);
            else
                AddAt(reader, "", path, "\"resource\" is missing or not an object");
            return;
        }
        bool plain = url is null;
        if (plain)
        {
            if (typeUrl is null)
            {
                AddAt(reader, "", path, "\"@type\" is missing: nothing else says which type of resource this is");
                return;
            }
            type = SchemaTable.FindType(Encoding.UTF8.GetBytes(typeUrl), out _);
        }
        else if (type is null)
        {
            AddAt(reader, "", path, $"unknown type {url}; check \"@type\"");
            return;
        }
        if (!ResourceTypes.IsResource(type!.TypeUrl))
        {
            AddAt(reader, "", path, $"{type.FullName} is not a type of resource that can be loaded");
            return;
        }
        if (!plain && typeUrl is not null && type.TypeUrl != typeUrl)
        {
            AddAt(reader, "", path, $"{type.FullName}: a {ResourceTypes.Noun(typeUrl)} is expected here");
            return;
        }
        string name = JsonLookAhead.NameOf(reader, type);
        string resource = ResourceTypes.Noun(type.TypeUrl) + " " + (name.Length > 0 ? name : path);
        bool? names = plain ? plainIsLegacy ? true : null : legacy;
        if (TryTranscode(ref reader, type, names, "", resource, typed: !plain))
            Keep(type, name, version, resource, warming);
    }

    // The message under the reader into _wire. Without a type URL nothing says whose names are used: v3's first, 2020's if those do not fit.
    private bool TryTranscode(ref Utf8JsonReader reader, MessageSchema type, bool? legacy, string path, string resource, bool typed)
    {
        int start = (int)reader.TokenStartIndex;
        reader.Skip();
        int length = (int)reader.BytesConsumed - start;
        _problems.Clear();
        _wire.Clear();
        bool whole = Transcoder.TryReadJson(_document.Bytes, start, length, type, legacy ?? false, path, _problems, _wire, typed);
        if (!whole && legacy is null)
        {
            var second = new WireProblems();
            var output = new WireWriter(_wire.Length + 64);
            if (Transcoder.TryReadJson(_document.Bytes, start, length, type, legacy: true, path, second, output, typed))
            {
                Report(second, resource);
                _wire.Clear();
                output.Written.CopyTo(_wire.Reserve(output.Length));
                _wire.Commit(output.Length);
                return true;
            }
            // Neither fits: the names with fewer mistakes are the ones that were meant.
            if (second.ErrorCount < _problems.ErrorCount)
            {
                Report(second, resource);
                return false;
            }
        }
        Report(_problems, resource);
        return whole;
    }

    private void Report(WireProblems problems, string resource)
    {
        foreach (WireProblem problem in problems.List)
            _set.Add(ConfigError.From(problem, _document.Source, resource));
    }

    // _wire is a whole resource: reports what of it has no effect, and keeps it.
    private void Keep(MessageSchema type, string name, string version, string resource, bool warming)
    {
        byte[] bytes = _wire.Written.ToArray();
        if (!TryWalk(bytes, type, "", resource))
            return;
        // Envoy's dumps hide private keys: such a secret cannot be used, and must come from where it came from.
        if (type.TypeUrl == ResourceTypes.Secret && bytes.AsSpan().IndexOf("[redacted]"u8) >= 0)
        {
            _set.Add(new ConfigError(_document.Source, resource, "", "its key is redacted in the dump; the secret is left out") { Kind = ConfigErrorKind.Ignored });
            return;
        }
        // What was walked without a find need not be walked again.
        _set.Add(new DiscoveredResource(type.TypeUrl, name, version, bytes, _document.Source) { IsWhollySupported = _problems.List.Count == 0 }, warming);
    }

    private bool TryWalk(ReadOnlySpan<byte> bytes, MessageSchema type, string path, string resource)
    {
        _problems.Clear();
        bool whole = UnsupportedFields.Walk(bytes, type, path, _problems) && _problems.ErrorCount == 0;
        Report(_problems, resource);
        return whole;
    }

    // ---- bootstrap --------------------------------------------------------------------------------------------

    // A mesh of ten thousand clusters as static resources is nearly always one without fault, and then one pass reads it. Whatever there is to say about a
    // document is left to the readings that say it; an escape may be half of a surrogate pair, for which they look first.
    private bool TryReadFaultlessBootstrap()
    {
        _document.RemoveByteOrderMark();
        if (!_document.StartsAsJson() || !Utf8.IsValid(_document.Bytes) || _document.Bytes.AsSpan().IndexOf("\\u"u8) >= 0)
            return false;
        MessageSchema type = SchemaTable.Find("envoy.config.bootstrap.v3.Bootstrap")!;
        _problems.Clear();
        _wire.Clear();
        // What is written is shorter than its JSON.
        _wire.Reserve(_document.Bytes.Length);
        if (!Transcoder.TryReadJson(_document.Bytes, type, _problems, _wire) || _problems.List.Count > 0)
            return false;
        KeepBootstrap(type, path: "", isWhollySupported: !_problems.MetUnsupported);
        return true;
    }

    private void ReadBootstrapDocument()
    {
        var reader = new Utf8JsonReader(_document.Bytes, new JsonReaderOptions { MaxDepth = 512 });
        reader.Read();
        if (reader.TokenType == JsonTokenType.StartObject)
            ReadBootstrapValue(ref reader, "");
        else
            _set.Add(new ConfigError(_document.Source, "", "", "expected a JSON object: an Envoy bootstrap"));
    }

    private void ReadBootstrapValue(ref Utf8JsonReader reader, string path)
    {
        MessageSchema type = SchemaTable.Find("envoy.config.bootstrap.v3.Bootstrap")!;
        JsonLookAhead.TypeOf(reader, out bool legacy, out string? url);
        if (TryTranscode(ref reader, type, legacy ? true : null, path, "", typed: url is not null))
            KeepBootstrap(type, path, isWhollySupported: false);
    }

    // _wire is a bootstrap.
    private void KeepBootstrap(MessageSchema type, string path, bool isWhollySupported)
    {
        ReadOnlyMemory<byte> memory = _wire.Take();
        ReadOnlySpan<byte> bytes = memory.Span;
        if (!isWhollySupported && !TryWalkBootstrap(bytes, type, path))
            return;
        _set.Bootstrap = new DiscoveredResource(ResourceTypes.Bootstrap, "", "", memory, _document.Source);
        // Inside of a dump the static resources are told again, in their sections: here only the rest counts.
        if (path.Length > 0)
            return;
        _set.IsBootstrap = true;
        foreach (var problem in BootstrapReader.Problems(_set.Bootstrap))
            _set.Add(problem);
        var reader2 = new WireReader(bytes);
        int staticNumber = type["static_resources"].Number;
        MessageSchema statics = type["static_resources"].Message;
        while (!reader2.AtEnd && reader2.TryTag(out uint number, out int encoding))
        {
            if (number != staticNumber || encoding != 2 || !reader2.TryBytes(out ReadOnlySpan<byte> value))
            {
                if ((number != staticNumber || encoding != 2) && reader2.TrySkip(encoding))
                    continue;
                return;
            }
            int start = reader2.Position - value.Length;
            var inner = new WireReader(value);
            while (!inner.AtEnd && inner.TryTag(out uint field, out int innerEncoding) && innerEncoding == 2 && inner.TryBytes(out ReadOnlySpan<byte> resource))
            {
                MessageSchema? resourceType = statics.Find(field)?.Message;
                if (resourceType is null || !ResourceTypes.IsResource(resourceType.TypeUrl) || !TypedStructs.TrySplit(resource, out _, out _))
                    continue;
                ReadOnlyMemory<byte> own = _isBootstrapKept ? memory.Slice(start + inner.Position - resource.Length, resource.Length) : resource.ToArray();
                _set.Add(
                    new DiscoveredResource(resourceType.TypeUrl, NameOf(resource), "", own, _document.Source) { IsWhollySupported = isWhollySupported }, warming: false);
            }
        }
    }

    // What of a static resource has no effect is told of the resource, by its name, when it is taken.
    private bool TryWalkBootstrap(ReadOnlySpan<byte> bytes, MessageSchema type, string path)
    {
        string statics = path.Length == 0 ? "static_resources." : path + ".static_resources.";
        _problems.Clear();
        bool whole = UnsupportedFields.Walk(bytes, type, path, _problems) && _problems.ErrorCount == 0;
        foreach (var problem in _problems.List)
        {
            if (problem.IsError || !problem.Path.StartsWith(statics, StringComparison.Ordinal) || problem.Path.AsSpan(statics.Length).IndexOf('[') < 0)
                _set.Add(ConfigError.From(problem, _document.Source, ""));
        }
        return whole;
    }

    // ---- binary -----------------------------------------------------------------------------------------------

    // DiscoveryResponse { version_info = 1, resources = 2 (Any), type_url = 4 }, or the delta form, whose resources
    // are { version = 1, resource = 2 (Any), name = 3 }.
    private void ReadBinaryResponse(string? typeUrl)
    {
        var reader = new WireReader(_document.Bytes);
        string version = "";
        var resources = new List<ReadOnlyMemory<byte>>();
        while (!reader.AtEnd)
        {
            ReadOnlySpan<byte> value = default;
            if (!reader.TryTag(out uint number, out int encoding) || !(encoding == 2 ? reader.TryBytes(out value) : reader.TrySkip(encoding)))
            {
                _set.Add(new ConfigError(_document.Source, "", "", "is not a binary DiscoveryResponse" + (_document.StartsAsJson() ? "; if it is JSON, name it .json" : " (truncated?)")));
                return;
            }
            if (encoding != 2)
                continue;
            if (number == 1)
                version = Encoding.UTF8.GetString(value);
            else if (number == 2)
                resources.Add(new ReadOnlyMemory<byte>(_document.Bytes, reader.Position - value.Length, value.Length));
        }
        for (int index = 0; index < resources.Count; index++)
            ReadBinaryItem(resources[index].Span, $"resources[{index}]", version, typeUrl);
    }

    private void ReadBinaryItem(ReadOnlySpan<byte> item, string path, string version, string? typeUrl)
    {
        if (!TypedStructs.TrySplit(item, out ReadOnlySpan<byte> url, out ReadOnlySpan<byte> value))
        {
            _set.Add(new ConfigError(_document.Source, "", path, "the protobuf bytes are broken"));
            return;
        }
        MessageSchema? type = SchemaTable.FindType(url, out bool legacy);
        if (type is null && TypedStructs.TrySplit(value, out ReadOnlySpan<byte> innerUrl, out ReadOnlySpan<byte> innerValue) && SchemaTable.FindType(innerUrl, out legacy) is { } inner)
        {
            version = Encoding.UTF8.GetString(url);
            type = inner;
            value = innerValue;
        }
        if (type is null || !ResourceTypes.IsResource(type.TypeUrl))
        {
            _set.Add(new ConfigError(_document.Source, "", path, $"{(type is null ? "unknown type " + Encoding.UTF8.GetString(url) : type.FullName)} is not a type of resource that can be loaded"));
            return;
        }
        if (legacy)
        {
            _set.Add(new ConfigError(_document.Source, "", path, $"2020's {Encoding.UTF8.GetString(url)} is read as JSON only; write the response as JSON"));
            return;
        }
        if (typeUrl is not null && type.TypeUrl != typeUrl)
        {
            _set.Add(new ConfigError(_document.Source, "", path, $"{type.FullName}: a {ResourceTypes.Noun(typeUrl)} is expected here"));
            return;
        }
        string name = NameOf(value);
        _wire.Clear();
        value.CopyTo(_wire.Reserve(value.Length));
        _wire.Commit(value.Length);
        Keep(type, name, version, ResourceTypes.Noun(type.TypeUrl) + " " + (name.Length > 0 ? name : path), warming: false);
    }

    // ---- small readings ---------------------------------------------------------------------------------------

    // Field 1 is the name of every type of resource.
    private static string NameOf(ReadOnlySpan<byte> wire)
    {
        var reader = new WireReader(wire);
        while (!reader.AtEnd && reader.TryTag(out uint number, out int encoding))
        {
            if (number == 1 && encoding == 2)
                return reader.TryBytes(out ReadOnlySpan<byte> name) ? Encoding.UTF8.GetString(name) : "";
            if (!reader.TrySkip(encoding))
                break;
        }
        return "";
    }

    private static string Join(string path, string name) => path.Length == 0 ? name : path + "." + name;

    private void Unknown(in Utf8JsonReader reader, string path, string reason) => AddAt(reader, "", path, reason + "; check the spelling or remove it");

    private void AddAt(in Utf8JsonReader reader, string resource, string path, string reason) =>
        _document.AddAt((int)reader.TokenStartIndex, resource, path, reason);


}