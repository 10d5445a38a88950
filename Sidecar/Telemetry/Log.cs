using System;
using System.Globalization;
using System.IO;
using System.Text;

namespace Sidecar.Telemetry;

/// <summary>Severity, least first; the names are Envoy's.</summary>
internal enum LogLevel : byte { Trace, Debug, Info, Warning, Error, Critical, Off }

/// <summary>
/// The process log: one line per call on standard error, <c>[2026-01-31T12:00:00.000Z] [info] [config] text</c>. Written with one
/// write(2) each, so lines of different threads do not mix and no lock is held. Control characters are escaped: nothing a peer
/// sends can forge a line.
/// </summary>
internal static class Log
{
    private static Stream s_sink = Console.OpenStandardError();

    /// <summary>Lines below this are not made; settable at run time (/logging).</summary>
    internal static LogLevel Level { get; set; } = LogLevel.Info;

    /// <summary>Where lines go; tests put a stream of their own here.</summary>
    internal static Stream Sink { get => s_sink; set => s_sink = value; }

    internal static bool IsEnabled(LogLevel level) => level >= Level;

    internal static void Debug(string component, string text) => Write(LogLevel.Debug, component, text);
    internal static void Info(string component, string text) => Write(LogLevel.Info, component, text);
    internal static void Warning(string component, string text) => Write(LogLevel.Warning, component, text);
    internal static void Error(string component, string text) => Write(LogLevel.Error, component, text);
    internal static void Critical(string component, string text) => Write(LogLevel.Critical, component, text);

    /// <summary>Parses Envoy's level names; false for anything else.</summary>
    internal static bool TryParseLevel(string text, out LogLevel level)
    {
        level = text.ToLowerInvariant() switch
        {
            "trace" => LogLevel.Trace,
            "debug" => LogLevel.Debug,
            "info" => LogLevel.Info,
            "warning" or "warn" => LogLevel.Warning,
            "error" => LogLevel.Error,
            "critical" => LogLevel.Critical,
            "off" => LogLevel.Off,
            _ => (LogLevel)byte.MaxValue,
        };
        return level <= LogLevel.Off;
    }

    /// <summary>The level's name as Envoy prints it.</summary>
    internal static string Name(LogLevel level) => level switch
    {
        LogLevel.Trace => "trace",
        LogLevel.Debug => "debug",
        LogLevel.Info => "info",
        LogLevel.Warning => "warning",
        LogLevel.Error => "error",
        LogLevel.Critical => "critical",
        _ => "off",
    };

    private static void Write(LogLevel level, string component, string text)
    {
        if (level < Level || level == LogLevel.Off)
            return;
        var line = new StringBuilder(64 + text.Length);
        line.Append('[').Append(DateTime.UtcNow.ToString("yyyy-MM-dd'T'HH:mm:ss.fff'Z'", CultureInfo.InvariantCulture)).Append("] [")
            .Append(Name(level)).Append("] [").Append(component).Append("] ");
        foreach (char c in text)
        {
            if (c is >= ' ' and not '\x7f')
                line.Append(c);
            else
                line.Append("\\x").Append(((int)c).ToString("x2", CultureInfo.InvariantCulture));
        }
        line.Append('\n');
        try
        {
            s_sink.Write(Encoding.UTF8.GetBytes(line.ToString()));
        }
        catch (IOException)
        {
            // A closed standard error must not take the proxy down with it.
        }
    }
}
