using System;
using System.Collections.Generic;
using Sidecar.Config;
using Sidecar.Telemetry;

namespace Sidecar.Server;

/// <summary>
/// What is wrong with configurations, as the log has it: each error once until it is mended, wherever in its file it stands, and of one push no more than a
/// screenful. /config_status has all of them, always.
/// </summary>
/// <param name="isInUse">Whether there is a version in use of a resource, as errors call it; null: it is no resource.</param>
/// <remarks>Control loop.</remarks>
internal sealed class ErrorLog(Func<string, bool?> isInUse)
{
    /// <summary>Errors of one push in full; of more only the number is said.</summary>
    internal const int LinesMax = 20;

    /// <summary>More than that is not remembered: said again is better than kept for ever.</summary>
    private const int RememberedMax = 20_000;

    // By where they came from, so that one source's errors do not stand for another's.
    private readonly Dictionary<string, HashSet<ConfigError>> _told = new(StringComparer.Ordinal);

    /// <summary>Says what is new.</summary>
    /// <param name="source">Whose errors: what is said of one source replaces what was said of it before.</param>
    /// <param name="errors">All there are now; with <paramref name="isPart"/> those of what changed.</param>
    /// <param name="isPart">The others remain as they are, but for resources of these names, which are mended.</param>
    /// <param name="isSilent">Only remembers.</param>
    /// <returns>How many are new.</returns>
    internal int Tell(string source, IReadOnlyList<ConfigError> errors, IReadOnlySet<string>? isPart = null, bool isSilent = false)
    {
        var before = _told.GetValueOrDefault(source);
        if (errors.Count == 0 && before is null)
            return 0;
        before ??= [];
        var now = new HashSet<ConfigError>(errors.Count);
        int fresh = 0;
        foreach (var error in errors)
        {
            var what = error with { Line = 0, Column = 0 };
            if (!now.Add(what) || before.Contains(what))
                continue;
            fresh++;
            if (fresh <= LinesMax && !isSilent)
                Log.Error("config", $"{error}; {Consequence(error)}");
        }
        if (fresh > LinesMax && !isSilent)
            Log.Error("config", $"and {fresh - LinesMax} more; see /config_status");
        if (isPart is not null)
        {
            foreach (var error in before)
            {
                if (!isPart.Contains(error.Resource))
                    now.Add(error);
            }
        }
        if (now.Count is 0 or > RememberedMax)
            _told.Remove(source);
        else
            _told[source] = now;
        return fresh;
    }

    private string Consequence(ConfigError error) => isInUse(error.Resource) switch
    {
        true => "the version in use stays",
        false => "there is none in use",
        null => "what is in use stays",
    };
}
