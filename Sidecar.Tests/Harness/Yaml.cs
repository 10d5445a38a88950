using System;
using System.Collections.Generic;
using System.Linq;
using System.Text.Json.Nodes;

namespace Sidecar.Tests.Harness;

/// <summary>YAML as generators write it, as JSON: blocks of mappings and lists, a scalar on each line, documents between lines of <c>---</c>; <c>{}</c> and <c>[]</c>, and no other flow.</summary>
internal sealed class Yaml
{
    private readonly List<(int Indent, string Text)> _lines;
    private int _at;

    private Yaml(IEnumerable<string> lines) =>
        _lines = [.. lines.Where(line => line.Trim().Length > 0).Select(line => (line.Length - line.TrimStart().Length, line.Trim()))];

    internal static List<JsonNode> Documents(string text)
    {
        var documents = new List<JsonNode>();
        foreach (string document in ("\n" + text).Split("\n---"))
        {
            var reader = new Yaml(document.Split('\n'));
            if (reader._lines.Count == 0)
                continue;
            documents.Add(reader.Block(reader._lines[0].Indent)!);
            if (reader._at != reader._lines.Count)
                throw new FormatException($"cannot read '{reader._lines[reader._at].Text}'");
        }
        return documents;
    }

    private JsonNode? Block(int indent) => IsItem(_lines[_at].Text) ? List(indent) : Mapping(indent);

    private JsonArray List(int indent)
    {
        var list = new JsonArray();
        while (_at < _lines.Count && _lines[_at].Indent == indent && IsItem(_lines[_at].Text))
        {
            string rest = _lines[_at].Text[1..].TrimStart();
            int inner = indent + _lines[_at].Text.Length - rest.Length;
            if (!IsItem(rest) && Colon(rest) < 0)
            {
                list.Add(Scalar(rest));
                _at++;
                continue;
            }
            // What follows the dash is the first line of a block that is indented as far as it stands.
            _lines[_at] = (inner, rest);
            list.Add(Block(inner));
        }
        return list;
    }

    private JsonObject Mapping(int indent)
    {
        var mapping = new JsonObject();
        while (_at < _lines.Count && _lines[_at].Indent == indent && !IsItem(_lines[_at].Text))
        {
            string line = _lines[_at++].Text;
            int colon = Colon(line);
            string key = line[..colon].Trim('\'', '"'), rest = line[(colon + 1)..].Trim();
            // A list may stand as far left as its key.
            bool isBlock = rest.Length == 0 && _at < _lines.Count && (_lines[_at].Indent > indent || (_lines[_at].Indent == indent && IsItem(_lines[_at].Text)));
            mapping.Add(key, isBlock ? Block(_lines[_at].Indent) : Scalar(rest));
        }
        return mapping;
    }

    private static bool IsItem(string text) => text == "-" || text.StartsWith("- ", StringComparison.Ordinal);

    // The colon that ends a key: at the end, or before a space; not within quotes.
    private static int Colon(string text)
    {
        int from = text[0] is '\'' or '"' ? text.IndexOf(text[0], 1) : 0;
        int colon = text.IndexOf(": ", from, StringComparison.Ordinal);
        return colon >= 0 ? colon : text.EndsWith(':') ? text.Length - 1 : -1;
    }

    private static JsonNode? Scalar(string text) => text switch
    {
        "" => null,
        "{}" => new JsonObject(),
        "[]" => new JsonArray(),
        "true" => true,
        "false" => false,
        _ when text[0] is '\'' or '"' => text[1..^1],
        _ when double.TryParse(text, System.Globalization.CultureInfo.InvariantCulture, out double number) => number,
        _ => text,
    };
}
