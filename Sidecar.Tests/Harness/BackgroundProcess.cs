using System;
using System.Collections.Generic;
using System.Diagnostics;
using System.Globalization;
using System.IO;
using System.Linq;
using System.Text.RegularExpressions;
using System.Threading;
using Xunit;

namespace Sidecar.Tests.Harness;

/// <summary>
/// A program that runs while a test does. Everything it writes is kept, waits are for events (a line, a listening port, its
/// end), and it is ended by its own process id.
/// </summary>
internal class BackgroundProcess : IDisposable
{
    // How often a state that cannot be waited for (another process's sockets) is looked at again.
    private const int LookAgainMs = 5;

    private readonly Process _process;
    private readonly List<string> _lines = [];
    private readonly string _name;
    private readonly List<Thread> _readers = [];
    private bool _disposed;

    /// <param name="within">The namespace it runs in; null for the test's own.</param>
    /// <param name="uid">The user and group it runs as; null for the test's own.</param>
    internal BackgroundProcess(NetworkNamespace? within, int? uid, string file, IEnumerable<string> arguments, IReadOnlyDictionary<string, string>? environment = null)
    {
        _name = Path.GetFileName(file);
        _process = Command.Start(within, uid, file, arguments, environment);
        Read(_process.StandardOutput);
        Read(_process.StandardError);
    }

    internal int Id => _process.Id;

    internal bool HasExited => _process.HasExited;

    internal int ExitCode => _process.ExitCode;

    /// <summary>All lines of both streams so far.</summary>
    internal string Log
    {
        get { lock (_lines) return string.Join('\n', _lines); }
    }

    /// <summary>Resident memory in bytes (VmRSS).</summary>
    internal long ResidentBytes => StatusField("VmRSS") * 1024;

    /// <summary>A number of /proc/PID/status.</summary>
    internal long StatusField(string field)
    {
        var line = File.ReadLines($"/proc/{Id}/status").First(line => line.StartsWith(field + ":", StringComparison.Ordinal));
        return long.Parse(line[(field.Length + 1)..].Trim().Split(' ')[0], CultureInfo.InvariantCulture);
    }

    /// <summary>Waits for a line that matches and returns the match.</summary>
    internal Match WaitForLine(string pattern)
    {
        var regex = new Regex(pattern);
        var deadline = Deadline.After(Command.TimeoutMs);
        lock (_lines)
        {
            int seen = 0;
            while (true)
            {
                for (; seen < _lines.Count; seen++)
                {
                    if (regex.Match(_lines[seen]) is { Success: true } match)
                        return match;
                }
                if (_process.HasExited || deadline.IsOver)
                    throw Failed($"never wrote a line like {pattern}");
                Monitor.Wait(_lines, 100);
            }
        }
    }

    /// <summary>Waits until some process in this one's network namespace listens on the TCP port.</summary>
    internal void WaitForListen(int port) => WaitUntil(() => ListensOn(port), $"never listened on port {port}");

    /// <summary>Waits until the condition holds; fails when the process ends first.</summary>
    internal void WaitUntil(Func<bool> condition, string failure)
    {
        var deadline = Deadline.After(Command.TimeoutMs);
        while (!condition())
        {
            if (_process.WaitForExit(LookAgainMs) || deadline.IsOver)
                throw Failed(failure);
        }
    }

    /// <summary>Waits for the end, and for all it wrote, and returns the exit code.</summary>
    internal int WaitForExit(int timeoutMs = Command.TimeoutMs)
    {
        if (!_process.WaitForExit(timeoutMs) || !_readers.TrueForAll(reader => reader.Join(timeoutMs)))
            throw Failed($"did not end within {timeoutMs} ms");
        return _process.ExitCode;
    }

    internal void Signal(string name) => Command.Run("kill", "-" + name, Id.ToString(CultureInfo.InvariantCulture)).Expect();

    // /proc/PID/net/tcp is the table of the process's namespace, so nothing has to connect to find out.
    private bool ListensOn(int port)
    {
        var wanted = ":" + port.ToString("X4", CultureInfo.InvariantCulture);
        foreach (var table in new[] { $"/proc/{Id}/net/tcp", $"/proc/{Id}/net/tcp6" })
        {
            if (!File.Exists(table))
                continue;
            foreach (var line in File.ReadLines(table).Skip(1))
            {
                var columns = line.Split(' ', StringSplitOptions.RemoveEmptyEntries);
                if (columns[1].EndsWith(wanted, StringComparison.Ordinal) && columns[3] == "0A")
                    return true;
            }
        }
        return false;
    }

    private Xunit.Sdk.XunitException Failed(string what) =>
        new($"{_name} {what}{(_process.HasExited ? $" (it ended with {_process.ExitCode})" : "")}; it wrote:\n{Log}");

    private void Read(StreamReader stream)
    {
        var reader = new Thread(() =>
        {
            while (stream.ReadLine() is { } line)
            {
                lock (_lines)
                {
                    _lines.Add(line);
                    Monitor.PulseAll(_lines);
                }
            }
        })
        { IsBackground = true, Name = _name + " output" };
        reader.Start();
        _readers.Add(reader);
    }

    public void Dispose()
    {
        if (_disposed)
            return;
        _disposed = true;
        try
        {
            if (!_process.HasExited)
                _process.Kill();
            _process.WaitForExit(Command.TimeoutMs);
        }
        catch (InvalidOperationException)
        {
            // It ended between the question and the signal.
        }
        _process.Dispose();
        GC.SuppressFinalize(this);
    }
}

/// <summary>A point in time after which a wait gives up.</summary>
internal readonly struct Deadline
{
    private readonly long _at;

    private Deadline(long at) => _at = at;

    internal bool IsOver => Stopwatch.GetTimestamp() > _at;

    internal static Deadline After(int ms) => new(Stopwatch.GetTimestamp() + Stopwatch.Frequency * ms / 1000);
}
