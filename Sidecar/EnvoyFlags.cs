using System;
using System.Collections.Generic;

namespace Sidecar;

/// <summary>
/// Flags of Envoy that <c>sidecar run</c> takes because those who start Envoy pass them, and that change nothing here: each with what is so instead, which
/// the log says. Those that would have to change something are refused with advice. Flags with the same meaning are RunCommand's own.
/// </summary>
internal static class EnvoyFlags
{
    /// <summary>One flag.</summary>
    /// <param name="Name">With its dashes.</param>
    /// <param name="HasValue">It is followed by a value.</param>
    /// <param name="Note">What is so here.</param>
    /// <param name="Accepts">The values with which that is all; null: any. Others are refused.</param>
    /// <param name="IsRefused">It would have to change something.</param>
    internal sealed record Flag(string Name, bool HasValue, string Note, string[]? Accepts = null, bool IsRefused = false);

    private const string NoHotRestart = "a new process does not take over from an old one: start it beside, and end the old one with SIGTERM, which drains";

    internal static IReadOnlyList<Flag> All { get; } =
    [
        new("--disable-hot-restart", false, NoHotRestart),
        new("--skip-hot-restart-on-no-parent", false, NoHotRestart),
        new("--skip-hot-restart-parent-stats", false, NoHotRestart),
        new("--use-dynamic-base-id", false, NoHotRestart),
        new("--base-id", true, NoHotRestart),
        new("--base-id-path", true, NoHotRestart, IsRefused: true),
        new("--restart-epoch", true, NoHotRestart, Accepts: ["0"]),
        new("--parent-shutdown-time-s", true, NoHotRestart),
        new("--socket-path", true, NoHotRestart),
        new("--socket-mode", true, NoHotRestart),
        new("--hot-restart-version", false, "there is no hot restart; sidecar version prints the version", IsRefused: true),
        new("--drain-strategy", true, "connections are told to end at once (immediate)", Accepts: ["immediate", "gradual"]),
        new("--local-address-ip-version", true, "addresses are what the configuration says", Accepts: ["v4", "v6"]),
        new("--file-flush-interval-msec", true, "there are no access log files yet"),
        new("--file-flush-min-size-kb", true, "there are no access log files yet"),
        new("--component-log-level", true, "there is one logger; --log-level sets it"),
        new("--enable-fine-grain-logging", false, "there is one logger; --log-level sets it"),
        new("--log-format", true, "lines begin with [time] [level] [component]"),
        new("--log-format-escaped", false, "what is not printable is always escaped"),
        new("--skip-deprecated-logs", false, "deprecated fields are not logged"),
        new("--allow-unknown-fields", false, "what only Envoy knows is reported; what nobody knows is refused all the same"),
        new("--allow-unknown-static-fields", false, "what only Envoy knows is reported; what nobody knows is refused all the same"),
        new("--ignore-unknown-dynamic-fields", false, "what only Envoy knows is reported, by /config_status"),
        new("--reject-unknown-dynamic-fields", false, "what nobody knows is refused always"),
        new("--bootstrap-version", true, "v3 and 2020's v2 are told apart by their names", Accepts: ["2", "3"]),
        new("--cpuset-threads", false, "the default of --concurrency heeds the cpuset already"),
        new("--enable-mutex-tracing", false, "there are no locks to trace"),
        new("--enable-core-dump", false, "core dumps are as ulimit -c says"),
        new("--max-stats", true, "stats have no limit"),
        new("--max-obj-name-len", true, "names have no limit"),
        new("--disable-extensions", true, "extensions are fixed: leave the filter out of the configuration", IsRefused: true),
        new("--stats-tag", true, "labels of stats are fixed: add them where metrics are scraped", IsRefused: true),
    ];

    /// <summary>The row of a flag; null when it is none of these.</summary>
    internal static Flag? Find(string name)
    {
        foreach (var flag in All)
        {
            if (flag.Name == name)
                return flag;
        }
        return null;
    }

    /// <summary>What is to be said of the flags that were given; null with the problem when one cannot be had.</summary>
    internal static List<string>? Notes(CommandLine line, out string? problem)
    {
        problem = null;
        var notes = new List<string>();
        foreach (var flag in All)
        {
            if (line.Value(flag.Name) is not { } value)
                continue;
            bool isAccepted = flag.Accepts is null || Array.IndexOf(flag.Accepts, value) >= 0;
            if (flag.IsRefused || !isAccepted)
            {
                problem = flag.IsRefused ? $"{flag.Name}: {flag.Note}" : $"{flag.Name} must be {string.Join(" or ", flag.Accepts!)}, is '{value}': {flag.Note}";
                return null;
            }
            notes.Add($"{flag.Name}: {flag.Note}");
        }
        return notes;
    }
}
