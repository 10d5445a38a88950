using System;
using System.Collections.Generic;
using System.Linq;
using System.Text.RegularExpressions;

namespace Sidecar.Tests.Tidy;

/// <summary>
/// Holds source against the tables of <see cref="TidyRules"/>. Each check returns its problems as "path:line: what, and what to do";
/// an empty list is a pass. Sources come as a list, so that the checker itself is tested on made-up ones.
/// </summary>
internal static class TidyChecker
{
    // ---- who may import whom --------------------------------------------------------------------------------------------

    /// <summary>Reads section 2 of ARCHITECTURE.md: for each folder the folders it may use, with Create-only uses apart.</summary>
    internal static Dictionary<string, (HashSet<string> Always, HashSet<string> InCreate)> ReadImportTable(string architecture)
    {
        string[] baseBand = ["Loop", "Telemetry", "Memory", "Linux"];
        var table = new Dictionary<string, (HashSet<string>, HashSet<string>)>();
        var section = Regex.Match(architecture, @"^## 2\. .*?(?=^## )", RegexOptions.Multiline | RegexOptions.Singleline).Value;
        foreach (Match row in Regex.Matches(section, @"^\| (\w+) \| ([^|]*) \|", RegexOptions.Multiline))
        {
            if (row.Groups[1].Value == "folder")
                continue;
            var (always, inCreate) = (new HashSet<string>(), new HashSet<string>());
            foreach (var entry in row.Groups[2].Value.Split(',').Select(part => part.Trim()).Where(part => part != "—"))
            {
                if (entry == "base")
                    always.UnionWith(baseBand);
                else if (entry.EndsWith(" (Create)", StringComparison.Ordinal))
                    inCreate.Add(entry[..^" (Create)".Length]);
                else
                    always.Add(entry);
            }
            always.Remove(row.Groups[1].Value);
            table.Add(row.Groups[1].Value, (always, inCreate));
        }
        return table;
    }

    /// <summary>Every use of one folder's types in another against the import table.</summary>
    internal static List<string> Imports(IReadOnlyList<SourceFile> sources, string architecture)
    {
        var problems = new List<string>();
        var table = ReadImportTable(architecture);
        var typesOf = sources.GroupBy(TopFolder).ToDictionary(group => group.Key, group => group.SelectMany(file => file.TopLevelTypes).Select(type => type.Name).ToHashSet());

        foreach (var file in sources.Where(file => file.Path.StartsWith("Sidecar/", StringComparison.Ordinal)))
        {
            var own = TopFolder(file);
            if (!table.TryGetValue(own, out var allowed))
            {
                problems.Add($"{file.Path}:1: folder {own} has no row in the import table of ARCHITECTURE.md");
                continue;
            }
            foreach (var (folder, line) in UsedFolders(file, own, typesOf))
            {
                if (!allowed.Always.Contains(folder) && !allowed.InCreate.Contains(folder))
                    problems.Add($"{file.Path}:{line}: {own} may not use {folder} (import table, ARCHITECTURE.md section 2)");
            }
            problems.AddRange(GeneratedTypes(file, own, allowed.InCreate.Contains("Wire")));
        }
        return problems;
    }

    private static string TopFolder(SourceFile file) =>
        file.Path.Split('/') is [_, var folder, _, ..] ? folder : "Program";

    private static IEnumerable<(string Folder, int Line)> UsedFolders(SourceFile file, string own, Dictionary<string, HashSet<string>> typesOf)
    {
        // Sidecar.Folder…, in a using line or spelt out.
        foreach (Match match in Regex.Matches(file.Code, @"(?<![\w.])(?:global::)?Sidecar\.(\w+)"))
        {
            if (match.Groups[1].Value != own && !IsNamespaceLine(file, match.Index))
                yield return (match.Groups[1].Value, file.LineOf(match.Index));
        }
        // Folder.Type, which the compiler resolves inside namespace Sidecar without any using line.
        foreach (Match match in Regex.Matches(file.Code, @"(?<![\w.:])([A-Z]\w*)\.(?:[A-Z]\w*\.)*?([A-Z]\w*)"))
        {
            var folder = match.Groups[1].Value;
            if (folder != own && typesOf.TryGetValue(folder, out var types) && types.Contains(match.Groups[2].Value))
                yield return (folder, file.LineOf(match.Index));
        }
    }

    private static bool IsNamespaceLine(SourceFile file, int offset)
    {
        int lineStart = offset == 0 ? 0 : file.Code.LastIndexOf('\n', offset - 1) + 1;
        return file.Code.AsSpan(lineStart).StartsWith("namespace ");
    }

    // Generated wire types: anywhere in some folders, in static members of others, nowhere else.
    private static IEnumerable<string> GeneratedTypes(SourceFile file, string own, bool inCreate)
    {
        if (TidyRules.GeneratedVisibleIn.Contains(own) || TidyRules.GrpcSpeakers.Contains(file.Name) || TidyRules.BorderFiles.Contains(file.Name))
            yield break;

        var generated = file.Usings.Where(line => IsGenerated(line.Target)).ToList();
        if (!inCreate)
        {
            foreach (var (_, target, line) in generated)
                yield return $"{file.Path}:{line}: {own} may not see generated wire types ({target}): turn them into its own types in Config or in a Create method";
            yield break;
        }
        var words = new List<string> { @"\b(IMessage|MessageParser|MessageDescriptor|CodedInputStream|WellKnownTypes)\b" };
        foreach (var (alias, target, line) in generated)
        {
            if (alias is not null)
                words.Add($@"(?<![\w.]){alias}\b");
            else if (!target.StartsWith("Google.Protobuf", StringComparison.Ordinal))
                yield return $"{file.Path}:{line}: name generated types by an alias (using Wire = global::{target};), so that each use shows";
        }
        var pattern = new Regex(string.Join('|', words));
        foreach (var (text, isStatic, offset) in file.Members())
        {
            if (!isStatic && !text.StartsWith("using ", StringComparison.Ordinal) && pattern.Match(text) is { Success: true } match)
                yield return $"{file.Path}:{file.LineOf(offset + match.Index)}: {match.Value.Trim()} outside a static member: wire types end in Create";
        }
    }

    private static bool IsGenerated(string name) =>
        TidyRules.GeneratedNamespaces.Any(root => name == root || name.StartsWith(root + ".", StringComparison.Ordinal));

    // ---- calls that are not made ----------------------------------------------------------------------------------------

    internal static List<string> BannedCalls(IReadOnlyList<SourceFile> sources)
    {
        var problems = new List<string>();
        foreach (var rule in TidyRules.BannedCalls)
        {
            var pattern = new Regex(rule.Pattern, RegexOptions.Multiline);
            foreach (var file in sources.Where(file => TidyRules.IsIn(file.Path, rule.Where)))
            {
                if (rule.Except.Any(except => file.Path == except || (except.EndsWith('/') && file.Path.StartsWith(except, StringComparison.Ordinal))))
                    continue;
                foreach (Match match in pattern.Matches(file.Code))
                    problems.Add($"{file.Path}:{file.LineOf(match.Index)}: {match.Value.Trim()} is not used here; {rule.Instead}");
            }
        }
        return problems;
    }

    // ---- extensions -----------------------------------------------------------------------------------------------------

    /// <summary>Every filter under Filters/ is registered exactly once and has a test file of its own.</summary>
    internal static List<string> Registries(IReadOnlyList<SourceFile> sources)
    {
        var problems = new List<string>();
        var registries = sources.Where(file => TidyRules.Registries.Contains(file.Path)).ToList();
        var paths = sources.Select(file => file.Path).ToHashSet();
        var extends = new Regex(@"(?<!abstract\s)\bclass\s+(\w+)(?:\s*\([^{;]*?\))?\s*:\s*(HttpFilter|NetworkFilter|ListenerFilter)\b");

        foreach (var file in sources.Where(file => file.Path.StartsWith("Sidecar/Filters/", StringComparison.Ordinal)))
        {
            foreach (Match match in extends.Matches(file.Code))
            {
                var filter = match.Groups[1].Value;
                int line = file.LineOf(match.Index);
                int registered = registries.Sum(registry => Regex.Count(registry.Code, $@"\b{filter}\.Create\b"));
                if (registered != 1)
                    problems.Add($"{file.Path}:{line}: {filter} is registered {registered} times; name it once in {string.Join(", ", TidyRules.Registries)}");
                var test = "Sidecar.Tests" + file.Folder["Sidecar".Length..] + "/" + filter + "Tests.cs";
                if (!paths.Contains(test))
                    problems.Add($"{file.Path}:{line}: {filter} has no test file; write {test}");
            }
        }
        return problems;
    }

    // ---- names and places -----------------------------------------------------------------------------------------------

    /// <summary>Folder = namespace, file = main type, every type at the outermost level documented, no shapeless names, no deep folders.</summary>
    internal static List<string> Names(IReadOnlyList<SourceFile> sources)
    {
        var problems = new List<string>();
        foreach (var file in sources.Where(file => TidyRules.IsIn(file.Path, ["Sidecar", "Sidecar.Tests"])))
        {
            var expected = file.Folder.Replace('/', '.');
            if (file.Namespace is null)
            {
                // Attributes of the assembly and top-level statements have no namespace, and no type either.
                if (file.TopLevelTypes.Any())
                    problems.Add($"{file.Path}:1: no file-scoped namespace; say 'namespace {expected};'");
                continue;
            }
            if (file.Namespace != expected)
                problems.Add($"{file.Path}:1: namespace {file.Namespace} in folder {file.Folder}; say 'namespace {expected};'");

            var main = file.Name[..file.Name.IndexOf('.', StringComparison.Ordinal)];
            // HeaderName.cs may hold HeaderNames, and LoadBalancers.cs the LoadBalancer and its kinds.
            if (file.TopLevelTypes.All(type => type.Name != main && type.Name + "s" != main && type.Name != main + "s"))
                problems.Add($"{file.Path}:1: no type {main} in it; a file is named after its main type");

            if (file.Path.StartsWith("Sidecar/", StringComparison.Ordinal))
            {
                foreach (var (name, offset) in file.TopLevelTypes.Where(type => !IsDocumented(file.Text, type.Offset)))
                    problems.Add($"{file.Path}:{file.LineOf(offset)}: {name} has no doc comment: say what it is, its thread and its lifetime");
                int levels = file.Folder.Count(c => c == '/');
                if (levels > TidyRules.FolderLevelsMax)
                    problems.Add($"{file.Path}:1: {levels} levels of folders; at most {TidyRules.FolderLevelsMax}");
            }
            if (Regex.IsMatch(file.Path, TidyRules.ShapelessNames))
                problems.Add($"{file.Path}:1: a name that says nothing; put what is shared one band down under its real name");
        }
        return problems;
    }

    // A doc comment may have attributes, and the lines of attributes, between it and the declaration. A partial type is
    // documented in one of its files only, so a second part with a note of its own in any comment form passes too.
    private static bool IsDocumented(string text, int offset)
    {
        var above = text[..offset].TrimEnd().Split('\n');
        for (int i = above.Length - 1; i >= 0; i--)
        {
            var line = above[i].Trim();
            if (line.StartsWith("//", StringComparison.Ordinal))
                return true;
            if (!(line.StartsWith('[') || line.EndsWith(']') || line.EndsWith(',')))
                return false;
        }
        return false;
    }

    // ---- text and top level ---------------------------------------------------------------------------------------------

    internal static List<string> ForeignText(IEnumerable<(string Path, string Text)> files)
    {
        var problems = new List<string>();
        foreach (var (path, text) in files)
        {
            foreach (var (pattern, why) in TidyRules.ForeignText)
            {
                foreach (Match match in Regex.Matches(text, pattern))
                    problems.Add($"{path}:{1 + text.AsSpan(0, match.Index).Count('\n')}: '{match.Value}': {why}");
            }
        }
        return problems;
    }

    internal static List<string> TopLevel(IEnumerable<string> entries)
    {
        var present = entries.Where(entry => !TidyRules.IgnoredFolders.Contains(entry)).ToHashSet();
        var surplus = present.Except(TidyRules.TopLevel).Order().Select(entry => $"{entry}: not an entry of the repository's top level; move it below one");
        var missing = TidyRules.TopLevel.Except(present).Order().Select(entry => $"{entry}: missing at the repository's top level");
        return [.. surplus, .. missing];
    }
}
