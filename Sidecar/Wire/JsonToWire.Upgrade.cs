using System;
using System.Diagnostics;
using System.Text;
using System.Text.Json;

namespace Sidecar.Wire;

/// <summary>The part that upgrades 2020's fields while they are read; V2Names says which become what.</summary>
internal ref partial struct JsonToWire
{
    // On the value of a legacy field of this message, whose StartObject `start` stands on; leaves on the value's last token.
    private void Upgrade(MessageSchema owner, V2Names.LegacyField old, in Utf8JsonReader start)
    {
        FieldSchema? target = old.Upgrade is V2Names.Upgrade.Gone or V2Names.Upgrade.TlsContext or V2Names.Upgrade.Sibling ? null : owner[old.Target];
        if (target is not null)
            Push(target);
        switch (old.Upgrade)
        {
            case V2Names.Upgrade.Rename:
                ReadField(owner, target!, legacy: true);
                break;

            case V2Names.Upgrade.Gone:
                ReportAt(WireProblemKind.Ignored, "has no effect: " + old.Target, _start + (int)_json.TokenStartIndex, Encoding.UTF8.GetString(old.Name));
                _json.Skip();
                break;

            case V2Names.Upgrade.Sibling:
                _json.Skip();
                break;

            case V2Names.Upgrade.Config:
                UpgradeConfig(owner, target!, start);
                break;

            case V2Names.Upgrade.ConfigMap:
                UpgradeConfigMap(target!);
                break;

            case V2Names.Upgrade.TlsContext:
                UpgradeTlsContext(owner["transport_socket"], old.Target);
                break;

            case V2Names.Upgrade.Hosts:
                UpgradeHosts(target!, start);
                break;

            case V2Names.Upgrade.Regex:
                WriteRegex(target!.Number);
                break;

            case V2Names.Upgrade.ExactList:
            case V2Names.Upgrade.RegexList:
                UpgradeStringMatchers(target!, regex: old.Upgrade == V2Names.Upgrade.RegexList);
                break;

            case V2Names.Upgrade.BindToPort:
                UpgradeBindToPort(target!);
                break;

            case V2Names.Upgrade.QueryValue:
                UpgradeQueryValue(target!, start);
                break;

            case V2Names.Upgrade.ToList:
                if (_json.TokenType == JsonTokenType.StartArray)
                    ReadList(target!, legacy: true);
                else
                    ReadOne(target!, legacy: true, null);
                break;

            case V2Names.Upgrade.IdleTimeout:
                {
                    // A second occurrence of a message merges with the first, so common_http_protocol_options may stand beside it.
                    _out.Tag(target!.Number, 2);
                    int begun = _out.Begin();
                    ReadOne(target.Message["idle_timeout"], legacy: true, null);
                    _out.End(begun);
                    break;
                }

            case V2Names.Upgrade.HeaderTags:
                UpgradeHeaderTags(target!);
                break;

            case V2Names.Upgrade.Prefix:
                {
                    _out.Tag(target!.Number, 2);
                    int begun = _out.Begin();
                    ReadScalar(target.Message["prefix"], writeZero: true);
                    _out.End(begun);
                    break;
                }

            case V2Names.Upgrade.UseHttp2:
                if (TryBool(out bool http2) && http2 && target!.Enum.TryNumber("HTTP2"u8, out int codec))
                {
                    _out.Tag(target.Number, 0);
                    _out.Varint((uint)codec);
                }
                break;

            case V2Names.Upgrade.PathHeader:
            case V2Names.Upgrade.MethodHeader:
                UpgradeHeader(target!, path: old.Upgrade == V2Names.Upgrade.PathHeader);
                break;

            case V2Names.Upgrade.CorsEnabled:
                // Absent and true mean the same; false is "never", a RuntimeFractionalPercent with a default of 0.
                if (TryBool(out bool enabled) && !enabled)
                {
                    _out.Tag(target!.Number, 2);
                    int begun = _out.Begin();
                    _out.Field(target.Message["default_value"].Number, []);
                    _out.End(begun);
                }
                break;

            case V2Names.Upgrade.MirrorKey:
                {
                    _out.Tag(target!.Number, 2);
                    int begun = _out.Begin();
                    _out.Field(target.Message["default_value"].Number, []);
                    ReadScalar(target.Message["runtime_key"], writeZero: false);
                    _out.End(begun);
                    break;
                }

            default:
                Debug.Fail("no upgrade for " + old.Upgrade);
                break;
        }
        if (target is not null)
            Pop();
    }

    // { "name": "envoy.router", "config": {…} }: the name says what the object is.
    private void UpgradeConfig(MessageSchema owner, FieldSchema target, in Utf8JsonReader start)
    {
        if (_json.TokenType != JsonTokenType.StartObject)
        {
            FailValue("expected an object");
            return;
        }
        byte[] name = FindText(start, "name"u8) ?? [];
        V2Names.TryPlace(owner.FullName, out V2Names.Place place);
        MessageSchema? type = ConfigType(place, name, out _);
        _out.Tag(target.Number, 2);
        if (!Enter())
            return;
        int begun = _out.Begin();
        if (type is not null)
        {
            WriteAny(type, legacy: true, typed: false);
        }
        else
        {
            // A filter nobody knows keeps its words: the report names it, and the translator decides by the name.
            _out.Field(1, "type.googleapis.com/google.protobuf.Struct"u8);
            _out.Tag(2, 2);
            int value = _out.Begin();
            ReadStruct();
            _out.End(value);
        }
        _out.End(begun);
        _depth--;
    }

    private readonly MessageSchema? ConfigType(V2Names.Place place, ReadOnlySpan<byte> name, out V2Names.Extension extension)
    {
        if (V2Names.TryExtension(place, name, out extension))
            return SchemaTable.Find(extension.Type);
        if (place == V2Names.Place.TransportSocket && (name.SequenceEqual("tls"u8) || name.SequenceEqual("envoy.transport_sockets.tls"u8)))
        {
            return SchemaTable.Find(_downstream
                ? "envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext"
                : "envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext");
        }
        return null;
    }

    // At the end of { "name": "envoy.router" }: an empty typed_config, when the name is known and nothing else was said.
    private void WriteEmptyConfig(MessageSchema type, V2Names.Place place, in Utf8JsonReader start)
    {
        byte[]? name = FindText(start, "name"u8);
        FieldSchema? typedConfig = type.Find("typed_config"u8);
        if (name is null || typedConfig is null || FindText(start, "config_discovery"u8) is not null || !V2Names.TryExtension(place, name, out V2Names.Extension extension))
            return;
        // These two mean nothing without a configuration; an empty one would hide the mistake.
        if (extension.Type.EndsWith(".TcpProxy", StringComparison.Ordinal) || extension.Type.EndsWith(".HttpConnectionManager", StringComparison.Ordinal))
            return;
        _out.Tag(typedConfig.Number, 2);
        int begun = _out.Begin();
        _out.Field(1, Encoding.UTF8.GetBytes("type.googleapis.com/" + extension.Type));
        _out.End(begun);
    }

    // The name of an extension, if 2020 called it differently; false when the token is to be read as it is.
    private readonly bool TryWriteExtensionName(FieldSchema field)
    {
        if (_json.TokenType != JsonTokenType.String || _json.ValueIsEscaped)
            return false;
        foreach (V2Names.Extension extension in V2Names.Extensions)
        {
            // Old names are unique enough without their place: where one is taken twice, the last word is the same.
            if (extension.OldName != extension.Name && _json.ValueTextEquals(extension.OldName) && IsPlace(extension.Place))
            {
                _out.Field(field.Number, Encoding.UTF8.GetBytes(extension.Name));
                return true;
            }
        }
        return false;
    }

    // Whether the message whose name is being read holds extensions of this place: by the field that holds the message.
    private readonly bool IsPlace(V2Names.Place place)
    {
        for (int i = _pathLength - 2; i >= 0; i--)
        {
            if (_path[i].Field is { Type: FieldType.Message } field)
                return V2Names.TryPlace(field.Message.FullName, out V2Names.Place here) && here == place;
            if (_path[i].Type is not null)
                return false;
        }
        return false;
    }

    // "typed_per_filter_config": {"envoy.fault": …}; false when the key is to be read as it is.
    private readonly bool TryWriteFilterKey(FieldSchema field)
    {
        if (_json.ValueIsEscaped || !field.Name.SequenceEqual("typed_per_filter_config"u8) ||
            !V2Names.TryExtension(V2Names.Place.Http, _json.ValueSpan, out V2Names.Extension extension))
            return false;
        _out.Field(1, Encoding.UTF8.GetBytes(extension.Name));
        return true;
    }

    private void UpgradeConfigMap(FieldSchema target)
    {
        if (_json.TokenType != JsonTokenType.StartObject)
        {
            FailValue("expected an object (map)");
            return;
        }
        PushKey();
        while (_json.Read() && _json.TokenType == JsonTokenType.PropertyName)
        {
            SetKey();
            byte[] name = Unescape().ToArray();
            MessageSchema? type = V2Names.TryExtension(V2Names.Place.Http, name, out V2Names.Extension extension) && extension.RouteType.Length > 0
                ? SchemaTable.Find(extension.RouteType)
                : null;
            _json.Read();
            if (_json.TokenType != JsonTokenType.StartObject)
            {
                FailValue("expected an object");
                continue;
            }
            _out.Tag(target.Number, 2);
            int entry = _out.Begin();
            _out.Field(1, type is null ? name : Encoding.UTF8.GetBytes(extension.Name));
            _out.Tag(2, 2);
            int any = _out.Begin();
            if (type is not null)
            {
                WriteAny(type, legacy: true, typed: false);
            }
            else
            {
                _out.Field(1, "type.googleapis.com/google.protobuf.Struct"u8);
                _out.Tag(2, 2);
                int value = _out.Begin();
                ReadStruct();
                _out.End(value);
            }
            _out.End(any);
            _out.End(entry);
        }
        Pop();
    }

    private void UpgradeTlsContext(FieldSchema target, string contextType)
    {
        if (_json.TokenType != JsonTokenType.StartObject)
        {
            FailValue("expected an object");
            return;
        }
        Push(target);
        _out.Tag(target.Number, 2);
        int begun = _out.Begin();
        _out.Field(target.Message["name"].Number, "envoy.transport_sockets.tls"u8);
        _out.Tag(target.Message["typed_config"].Number, 2);
        int any = _out.Begin();
        WriteAny(SchemaTable.Find(contextType)!, legacy: true, typed: false);
        _out.End(any);
        _out.End(begun);
        Pop();
    }

    // "hosts": [Address] is one locality with one endpoint each.
    private void UpgradeHosts(FieldSchema target, in Utf8JsonReader start)
    {
        if (_json.TokenType != JsonTokenType.StartArray)
        {
            FailValue("expected a list");
            return;
        }
        FieldSchema endpoints = target.Message["endpoints"], lbEndpoints = endpoints.Message["lb_endpoints"];
        FieldSchema endpoint = lbEndpoints.Message["endpoint"], address = endpoint.Message["address"];
        _out.Tag(target.Number, 2);
        int assignment = _out.Begin();
        if (FindText(start, "name"u8) is { } name)
            _out.Field(target.Message["cluster_name"].Number, name);
        _out.Tag(endpoints.Number, 2);
        int locality = _out.Begin();
        int index = 0;
        PushIndex();
        while (_json.Read() && _json.TokenType != JsonTokenType.EndArray)
        {
            _path[_pathLength - 1].Index = index++;
            _out.Tag(lbEndpoints.Number, 2);
            int lbEndpoint = _out.Begin();
            _out.Tag(endpoint.Number, 2);
            int one = _out.Begin();
            ReadOne(address, legacy: true, null);
            _out.End(one);
            _out.End(lbEndpoint);
        }
        Pop();
        _out.End(locality);
        _out.End(assignment);
    }

    // A RegexMatcher of the token's text: google_re2 = 1 (empty), regex = 2.
    private void WriteRegex(int number)
    {
        _out.Tag(number, 2);
        int begun = _out.Begin();
        _out.Field(1, []);
        _out.Tag(2, 2);
        WriteTextOrBytes(bytes: false);
        _out.End(begun);
    }

    private void UpgradeStringMatchers(FieldSchema target, bool regex)
    {
        if (_json.TokenType != JsonTokenType.StartArray)
        {
            FailValue("expected a list");
            return;
        }
        FieldSchema exact = target.Message["exact"], safeRegex = target.Message["safe_regex"];
        int index = 0;
        PushIndex();
        while (_json.Read() && _json.TokenType != JsonTokenType.EndArray)
        {
            _path[_pathLength - 1].Index = index++;
            _out.Tag(target.Number, 2);
            int begun = _out.Begin();
            if (regex)
                WriteRegex(safeRegex.Number);
            else
                ReadScalar(exact, writeZero: true);
            _out.End(begun);
        }
        Pop();
    }

    // "deprecated_v1": {"bind_to_port": false}
    private void UpgradeBindToPort(FieldSchema target)
    {
        if (_json.TokenType != JsonTokenType.StartObject)
        {
            FailValue("expected an object");
            return;
        }
        while (_json.Read() && _json.TokenType == JsonTokenType.PropertyName)
        {
            bool known = _json.ValueTextEquals("bind_to_port"u8) || _json.ValueTextEquals("bindToPort"u8);
            string name = known ? "" : Encoding.UTF8.GetString(_json.ValueSpan);
            int at = _start + (int)_json.TokenStartIndex;
            _json.Read();
            if (known && _json.TokenType != JsonTokenType.Null)
            {
                ReadOne(target, legacy: true, null);
                continue;
            }
            if (!known)
                ReportAt(WireProblemKind.Unknown, "unknown field of deprecated_v1: only bind_to_port was ever there", at, name);
            _json.Skip();
        }
    }

    private void UpgradeQueryValue(FieldSchema target, in Utf8JsonReader start)
    {
        Utf8JsonReader sibling = start;
        bool regex = TryFind(ref sibling, "regex"u8) && sibling.TokenType == JsonTokenType.True;
        _out.Tag(target.Number, 2);
        int begun = _out.Begin();
        if (regex)
            WriteRegex(target.Message["safe_regex"].Number);
        else
            ReadScalar(target.Message["exact"], writeZero: true);
        _out.End(begun);
    }

    // A custom_tag per header: tag = 1, request_header = 4 { name = 1 }.
    private void UpgradeHeaderTags(FieldSchema target)
    {
        if (_json.TokenType != JsonTokenType.StartArray)
        {
            FailValue("expected a list");
            return;
        }
        FieldSchema header = target.Message["request_header"];
        int index = 0;
        PushIndex();
        while (_json.Read() && _json.TokenType != JsonTokenType.EndArray)
        {
            _path[_pathLength - 1].Index = index++;
            _out.Tag(target.Number, 2);
            int begun = _out.Begin();
            ReadScalar(target.Message["tag"], writeZero: true);
            _out.Tag(header.Number, 2);
            int inner = _out.Begin();
            if (_json.TokenType == JsonTokenType.String)
                ReadScalar(header.Message["name"], writeZero: true);
            _out.End(inner);
            _out.End(begun);
        }
        Pop();
    }

    // A HeaderMatcher { name = 1, string_match { safe_regex | exact } }.
    private void UpgradeHeader(FieldSchema target, bool path)
    {
        FieldSchema match = target.Message["string_match"];
        _out.Tag(target.Number, 2);
        int begun = _out.Begin();
        _out.Field(target.Message["name"].Number, path ? ":path"u8 : ":method"u8);
        _out.Tag(match.Number, 2);
        int inner = _out.Begin();
        if (path)
            WriteRegex(match.Message["safe_regex"].Number);
        else
            ReadScalar(match.Message["exact"], writeZero: true);
        _out.End(inner);
        _out.End(begun);
    }

    private static int TypedConfigNumber(MessageSchema type) => type.Find("typed_config"u8)?.Number ?? -1;

    // The text of a property of the object whose StartObject the reader stands on; empty for one that is not text, null when absent.
    private static byte[]? FindText(Utf8JsonReader at, ReadOnlySpan<byte> name)
    {
        if (!TryFind(ref at, name))
            return null;
        if (at.TokenType != JsonTokenType.String)
            return [];
        var text = new byte[at.ValueSpan.Length];
        return text.AsSpan(0, at.CopyString(text)).ToArray();
    }

    private static bool TryFind(ref Utf8JsonReader at, ReadOnlySpan<byte> name)
    {
        while (at.Read() && at.TokenType == JsonTokenType.PropertyName)
        {
            bool found = at.ValueTextEquals(name);
            at.Read();
            if (found)
                return true;
            at.Skip();
        }
        return false;
    }
}
