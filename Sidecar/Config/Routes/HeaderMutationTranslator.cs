using System;
using System.Collections.Generic;
using Google.Protobuf.Collections;
using Sidecar.Filters;
using Sidecar.Routing;
using WireCore = Envoy.Config.Core.V3;

namespace Sidecar.Config.Routes;

/// <summary>request_headers_to_add, request_headers_to_remove and their two siblings of responses → <see cref="HeaderMutation"/>.</summary>
internal static class HeaderMutationTranslator
{
    /// <summary>The four lists; those in which nothing stands are one object. What is refused is left out, and in <paramref name="scope"/>.</summary>
    internal static HeaderMutation Translate(
        RepeatedField<WireCore.HeaderValueOption> requestAdd, RepeatedField<string> requestRemove,
        RepeatedField<WireCore.HeaderValueOption> responseAdd, RepeatedField<string> responseRemove, ConfigScope scope)
    {
        if (requestAdd.Count + requestRemove.Count + responseAdd.Count + responseRemove.Count == 0)
            return HeaderMutation.None;
        return new HeaderMutation
        {
            RequestAdd = Additions(requestAdd, "request_headers_to_add", scope),
            RequestRemove = Removals(requestRemove, "request_headers_to_remove", scope),
            ResponseAdd = Additions(responseAdd, "response_headers_to_add", scope),
            ResponseRemove = Removals(responseRemove, "response_headers_to_remove", scope),
        };
    }

    private static HeaderAddition[] Additions(RepeatedField<WireCore.HeaderValueOption> wire, string field, ConfigScope scope)
    {
        var additions = new List<HeaderAddition>(wire.Count);
        for (int i = 0; i < wire.Count; i++)
        {
            var at = scope.At($"{field}[{i}]");
            string name = wire[i].Header?.Key.ToLowerInvariant() ?? "";
            string value = wire[i].Header is { } header ? header.RawValue.IsEmpty ? header.Value : header.RawValue.ToStringUtf8() : "";
            if (name.StartsWith(':') || name == "host")
                at.Reject("header.key", ":-prefixed or host headers may not be modified");
            else if (!FieldNameReader.IsValid(name))
                at.Reject("header.key", "must be a header name");
            else if (value.AsSpan().IndexOfAny('\r', '\n', '\0') >= 0)
                at.Reject("header.value", "must not have CR, LF or NUL");
            else if (HeaderFormat.TryParse(value, out string error) is { } format)
            {
                additions.Add(new HeaderAddition(FieldNameReader.Lower(name), format, Append(wire[i], at), wire[i].KeepEmptyValue));
                foreach (string fact in format.NotGathered)
                    at.Ignore("header.value", $"%{fact}% is always empty: it is not gathered yet");
            }
            else
            {
                at.Reject("header.value", error);
            }
        }
        return additions.ToArray();
    }

    // The older flag, where it is given, says the same in two values.
    private static HeaderAppend Append(WireCore.HeaderValueOption wire, ConfigScope scope)
    {
        if (wire.Append is { } append)
        {
            if (wire.AppendAction != WireCore.HeaderValueOption.Types.HeaderAppendAction.AppendIfExistsOrAdd)
                scope.Reject("append", "Both append and append_action are set and it's not allowed");
            return append ? HeaderAppend.AppendIfExistsOrAdd : HeaderAppend.OverwriteIfExistsOrAdd;
        }
        if ((uint)wire.AppendAction > (uint)HeaderAppend.OverwriteIfExists)
            scope.Reject("append_action", "is none of the four actions");
        return (HeaderAppend)wire.AppendAction;
    }

    private static byte[][] Removals(RepeatedField<string> wire, string field, ConfigScope scope)
    {
        var names = new List<byte[]>(wire.Count);
        for (int i = 0; i < wire.Count; i++)
        {
            string name = wire[i].ToLowerInvariant();
            if (name.StartsWith(':') || name == "host")
                scope.Reject($"{field}[{i}]", ":-prefixed or host headers may not be removed");
            else if (!FieldNameReader.IsValid(name))
                scope.Reject($"{field}[{i}]", "must be a header name");
            else
                names.Add(FieldNameReader.Lower(name));
        }
        return names.ToArray();
    }
}
