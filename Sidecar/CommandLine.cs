using System;
using System.Collections.Generic;

namespace Sidecar;

/// <summary>Flags of a sub-command: <c>--name value</c> or <c>--name=value</c>, and what is left over.</summary>
internal sealed class CommandLine
{
    private readonly Dictionary<string, string> _values = [];

    /// <summary>Arguments that are no flags, in order.</summary>
    internal List<string> Positional { get; } = [];

    /// <summary>Whether --help or -h stands among the flags; then nothing else counts.</summary>
    internal bool WantsHelp { get; private set; }

    /// <summary>What is wrong with the arguments, in one line; null when nothing is.</summary>
    internal string? Problem { get; private set; }

    /// <summary>Reads the arguments.</summary>
    /// <param name="command">The sub-command, whose help a problem points to.</param>
    /// <param name="args">As given.</param>
    /// <param name="known">Flags that take a value, each with the name it is known by.</param>
    /// <param name="positionalMax">How many arguments that are no flags there may be.</param>
    /// <param name="switches">Flags without a value; one that is given has the value "true".</param>
    internal static CommandLine Parse(
        string command, IReadOnlyList<string> args, IReadOnlyDictionary<string, string> known, int positionalMax = 0, IReadOnlySet<string>? switches = null)
    {
        var line = new CommandLine();
        for (int i = 0; i < args.Count; i++)
        {
            string arg = args[i];
            if (!arg.StartsWith('-') || arg.Length == 1)
            {
                line.Positional.Add(arg);
                if (line.Positional.Count > positionalMax)
                    line.Problem ??= $"unexpected argument '{arg}'; see sidecar {command} --help";
                continue;
            }
            if (arg is "--help" or "-h")
            {
                line.WantsHelp = true;
                continue;
            }
            int equals = arg.IndexOf('=');
            string flag = equals < 0 ? arg : arg[..equals];
            if (switches?.Contains(flag) == true)
            {
                if (equals >= 0)
                    line.Problem ??= $"flag '{flag}' takes no value";
                else if (!line._values.TryAdd(flag, "true"))
                    line.Problem ??= $"flag '{flag}' is given twice";
                continue;
            }
            if (!known.TryGetValue(flag, out string? name))
            {
                line.Problem ??= $"unknown flag '{flag}'; see sidecar {command} --help";
                continue;
            }
            if (equals < 0 && i + 1 == args.Count)
            {
                line.Problem ??= $"flag '{flag}' needs a value";
                continue;
            }
            if (!line._values.TryAdd(name, equals < 0 ? args[++i] : arg[(equals + 1)..]))
                line.Problem ??= $"flag '{flag}' is given twice";
        }
        return line;
    }

    internal string? Value(string name) => _values.GetValueOrDefault(name);

    /// <summary>A number within bounds; notes a problem when it is not one.</summary>
    internal long Number(string name, long fallback, long min, long max)
    {
        if (Value(name) is not { } text)
            return fallback;
        if (long.TryParse(text, out long value) && value >= min && value <= max)
            return value;
        Problem ??= $"--{name} must be a number from {min} to {max}, is '{text}'";
        return fallback;
    }
}
