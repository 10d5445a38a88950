using System;
using System.Collections.Generic;
using System.Globalization;
using System.IO;
using System.Linq;
using System.Text;
using System.Text.RegularExpressions;
using Microsoft.Build.Framework;
using Microsoft.Build.Utilities;

namespace Sidecar.Wire.Schema
{
    /// <summary>
    /// Build step: takes the static fields out of the classes that protoc generated. Each class has a parser and a codec for each repeated field, map and wrapper, and the
    /// runtime makes room for the statics of every class before Main, used or not, and for those of each generic type a codec brings with it: five hundred objects. What is
    /// needed of them lies in the one array of Wire/WireStatics.cs, made when first asked for; most codecs are replaced by what they do.
    /// Compiled by MSBuild (RoslynCodeTaskFactory), not part of the product. Works in place, once per file; a line it does not understand is a build error.
    /// </summary>
    public sealed class WireClasses : Task
    {
        private const string Done = "// Static fields: see Wire/Schema/WireClasses.cs.";
        private const string Statics = "global::Sidecar.Wire.WireStatics.";
        private const int CellsMax = 1024;   // WireStatics.Cells

        [Required] public ITaskItem[] Sources { get; set; } = Array.Empty<ITaskItem>();

        private enum Kind { Message, Text, Wrapper, Kept }

        /// <summary>What a codec does: Type is the element's, Tag its number and encoding as on the wire.</summary>
        private sealed class Codec
        {
            public Kind Kind;
            public string Type = "";
            public uint Tag;
        }

        private static readonly Regex s_parser = new Regex(@"^\s*private static readonly pb::MessageParser<(\w+)> _parser = ");
        private static readonly Regex s_parserUse = new Regex(@"^(\s*public static pb::MessageParser<(\w+)> Parser \{ get \{ return )_parser; \} \}$");
        private static readonly Regex s_codec = new Regex(@"^(\s*)private static readonly (\S.*) (_(?:repeated|single|oneof|map)_\w+_codec)(?: =|$)");
        private static readonly Regex s_message = new Regex(@"^pb::FieldCodec\.ForMessage\((\d+), (\S+)\.Parser\)$");
        private static readonly Regex s_text = new Regex(@"^pb::FieldCodec\.ForString\((\d+)\)$");
        private static readonly Regex s_wrapper = new Regex(@"^pb::FieldCodec\.ForStructWrapper<(\w+)>\((\d+)\)$");
        private static readonly Regex s_use = new Regex(@"^(\s*)(.*?)(_(?:repeated|single|oneof|map)_\w+_codec)(.*)$");
        private static readonly Regex s_cell = new Regex(@"(?<=cell: )\d+");

        public override bool Execute()
        {
            string[] paths = Sources.Select(source => source.ItemSpec).OrderBy(path => path, StringComparer.Ordinal).ToArray();
            var texts = new Dictionary<string, string>();
            bool changed = false;
            foreach (string path in paths)
            {
                string text = File.ReadAllText(path);
                if (!text.Contains(Done))
                {
                    text = Rewrite(path, text);
                    changed = true;
                }
                texts.Add(path, text);
            }
            // A file that was generated anew has cells without numbers; all are numbered again, so that no two are the same.
            int cells = 0;
            foreach (string path in changed ? paths : new string[0])
            {
                string before = texts[path];
                string text = s_cell.Replace(before, _ => (cells++).ToString(CultureInfo.InvariantCulture));
                if (text != File.ReadAllText(path))
                    File.WriteAllText(path, text);
            }
            if (cells > CellsMax)
                Log.LogError("the generated classes keep {0} parsers and codecs; raise WireStatics.Cells and WireClasses.CellsMax, which are {1}", cells, CellsMax);
            return !Log.HasLoggedErrors;
        }

        private string Rewrite(string path, string text)
        {
            var output = new StringBuilder(text.Length);
            // A nested class comes behind all uses in the one around it, so the codec meant is the last one of its name.
            var codecs = new Dictionary<string, Codec>();
            string[] lines = text.Replace("\r\n", "\n").TrimEnd('\n').Split('\n');
            output.Append(Done).Append('\n');
            for (int i = 0; i < lines.Length; i++)
            {
                string line = lines[i];
                if (s_parser.IsMatch(line))
                    continue;
                Match match = s_parserUse.Match(line);
                if (match.Success)
                {
                    output.Append(match.Groups[1].Value).Append(Statics).Append("Parser<").Append(match.Groups[2].Value).Append(">(cell: 0); } }\n");
                    continue;
                }
                match = s_codec.Match(line);
                if (match.Success)
                {
                    string value = line.EndsWith(";", StringComparison.Ordinal) ? line : line + " " + lines[++i].Trim();
                    value = value.Substring(value.IndexOf(" = ", StringComparison.Ordinal) + 3).TrimEnd(';');
                    Codec codec = Read(value);
                    codecs[match.Groups[3].Value] = codec;
                    if (codec.Kind == Kind.Kept)
                    {
                        output.Append(match.Groups[1].Value).Append("private static ").Append(match.Groups[2].Value).Append(' ').Append(match.Groups[3].Value)
                            .Append(" { get { return ").Append(Statics).Append("Kept(cell: 0, static () => ").Append(value).Append("); } }\n");
                    }
                    continue;
                }
                match = s_use.Match(line);
                output.Append(match.Success && line.Contains("codec") ? Use(path, i, match, codecs) : line).Append('\n');
            }
            return output.ToString();
        }

        private static Codec Read(string value)
        {
            Match match = s_message.Match(value);
            if (match.Success)
                return new Codec { Kind = Kind.Message, Tag = Number(match.Groups[1]), Type = match.Groups[2].Value };
            match = s_text.Match(value);
            if (match.Success)
                return new Codec { Kind = Kind.Text, Tag = Number(match.Groups[1]) };
            match = s_wrapper.Match(value);
            if (match.Success)
                return new Codec { Kind = Kind.Wrapper, Tag = Number(match.Groups[2]), Type = match.Groups[1].Value };
            return new Codec { Kind = Kind.Kept };
        }

        // The line in terms of what the codec would do. The half of a class that is written for compilers without ref structs is not compiled, and left alone.
        private string Use(string path, int line, Match match, Dictionary<string, Codec> codecs)
        {
            string indent = match.Groups[1].Value, before = match.Groups[2].Value, name = match.Groups[3].Value, after = match.Groups[4].Value;
            Codec codec;
            if (!codecs.TryGetValue(name, out codec))
                return match.Value;
            if (codec.Kind == Kind.Kept || after.StartsWith(".Read(input)", StringComparison.Ordinal) || before.Contains("(input, ") || before.Contains("(output, ") || after.Contains("(output, "))
                return match.Value;
            string tag = codec.Tag.ToString(CultureInfo.InvariantCulture) + "u";
            string size = Size(codec.Tag).ToString(CultureInfo.InvariantCulture);
            if (before.EndsWith(".AddEntriesFrom(ref input, ", StringComparison.Ordinal))
            {
                string list = before.Substring(0, before.IndexOf('.'));
                return indent + (codec.Kind == Kind.Text
                    ? list + ".Add(input.ReadString());"
                    : "var one = new " + codec.Type + "(); input.ReadMessage(one); " + list + ".Add(one);");
            }
            if (before.EndsWith(".WriteTo(ref output, ", StringComparison.Ordinal))
            {
                string list = before.Substring(0, before.IndexOf('.'));
                return indent + "for (int at = 0; at < " + list + ".Count; at++) { output.WriteTag(" + tag + "); output.Write" + (codec.Kind == Kind.Text ? "String" : "Message") + "(" + list + "[at]); }";
            }
            if (before.EndsWith(".CalculateSize(", StringComparison.Ordinal))
            {
                string list = before.Substring("size += ".Length, before.IndexOf('.') - "size += ".Length);
                return indent + "for (int at = 0; at < " + list + ".Count; at++) { size += " + size + " + pb::CodedOutputStream.Compute" + (codec.Kind == Kind.Text ? "String" : "Message") + "Size(" + list + "[at]); }";
            }
            if (after == ".Read(ref input);")
                return indent + before + Statics + "Read" + codec.Type + "(ref input);";
            if (after.StartsWith(".WriteTagAndValue(ref output, ", StringComparison.Ordinal))
                return indent + before + Statics + "Write(ref output, " + tag + ", " + after.Substring(".WriteTagAndValue(ref output, ".Length);
            if (after.StartsWith(".CalculateSizeWithTag(", StringComparison.Ordinal))
                return indent + before + size + " + " + Statics + "Size(" + after.Substring(".CalculateSizeWithTag(".Length);
            Log.LogError(null, null, null, path, line + 1, 0, 0, 0, "{0} is used in a way that WireClasses does not know; protoc writes other code than it did", name);
            return match.Value;
        }

        private static uint Number(Group group) => uint.Parse(group.Value, CultureInfo.InvariantCulture);

        private static int Size(uint tag) => tag < 1u << 7 ? 1 : tag < 1u << 14 ? 2 : tag < 1u << 21 ? 3 : tag < 1u << 28 ? 4 : 5;
    }
}
