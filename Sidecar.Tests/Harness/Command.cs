using System;
using System.Collections.Generic;
using System.Diagnostics;
using System.IO;
using System.Linq;
using System.Text;
using System.Threading.Tasks;
using Xunit;

namespace Sidecar.Tests.Harness;

/// <summary>Runs a program to its end and keeps all it said.</summary>
internal static class Command
{
    /// <summary>How long any program of a test may take: a bound against hanging for ever, not an expectation.</summary>
    internal const int TimeoutMs = 120_000;

    internal static CommandResult Run(string file, params string[] arguments) => Run(null, "", file, arguments);

    /// <summary>Runs a program in a namespace (or here, when null) with the given standard input.</summary>
    internal static CommandResult Run(NetworkNamespace? within, string input, string file, params string[] arguments)
    {
        using var process = Start(within, null, file, arguments);
        var output = Task.Factory.StartNew(process.StandardOutput.ReadToEnd, TaskCreationOptions.LongRunning);
        var errors = Task.Factory.StartNew(process.StandardError.ReadToEnd, TaskCreationOptions.LongRunning);
        try
        {
            process.StandardInput.Write(input);
            process.StandardInput.Close();
        }
        catch (IOException)
        {
            // The program ended without reading its input; its exit code says whether that was wrong.
        }
        if (!process.WaitForExit(TimeoutMs))
        {
            process.Kill(entireProcessTree: true);
            throw new TimeoutException($"{file} {string.Join(' ', arguments)} did not end within {TimeoutMs} ms");
        }
        return new CommandResult(process.ExitCode, output.Result, errors.Result, $"{file} {string.Join(' ', arguments)}");
    }

    /// <summary>Starts a program with its three streams redirected, in a namespace and as another user where given.</summary>
    internal static Process Start(NetworkNamespace? within, int? uid, string file, IEnumerable<string> arguments, IReadOnlyDictionary<string, string>? environment = null)
    {
        var line = new List<string>();
        if (within is not null)
            line.AddRange(["ip", "netns", "exec", within.Name]);
        if (uid is not null)
            line.AddRange(["setpriv", $"--reuid={uid}", $"--regid={uid}", "--clear-groups"]);
        line.Add(file);
        line.AddRange(arguments);

        var start = new ProcessStartInfo(Find(line[0])) { RedirectStandardInput = true, RedirectStandardOutput = true, RedirectStandardError = true, WorkingDirectory = Path.GetTempPath() };
        foreach (var argument in line.Skip(1))
            start.ArgumentList.Add(argument);
        start.StandardOutputEncoding = start.StandardErrorEncoding = Encoding.UTF8;
        // Programs of the system's administrator are not on everybody's path.
        start.Environment["PATH"] = Environment.GetEnvironmentVariable("PATH") + ":/usr/local/sbin:/usr/sbin:/sbin";
        foreach (var (name, value) in environment ?? new Dictionary<string, string>())
            start.Environment[name] = value;
        return Process.Start(start) ?? throw new InvalidOperationException("could not start " + file);
    }

    /// <summary>Skips the test when a program it needs is not installed.</summary>
    internal static void Require(params string[] programs)
    {
        Skip.IfNot(OperatingSystem.IsLinux(), "needs Linux");
        foreach (var program in programs)
            Skip.If(TryFind(program) is null, $"{program} is not installed: run ./build.sh setup as root");
    }

    /// <summary>Skips the test when a program is not installed that no package of the distribution brings.</summary>
    internal static void RequireOwnBuild(string program, string source) =>
        Skip.If(TryFind(program) is null, $"{program} is not on the path: build it from {source}");

    /// <summary>Skips the test when it is not run by root: it makes network namespaces and rules in them.</summary>
    internal static void RequireRoot() =>
        Skip.IfNot(OperatingSystem.IsLinux() && Environment.UserName == "root", "needs root: it makes network namespaces of its own");

    /// <summary>Skips the test when the distribution's Python lacks a module.</summary>
    internal static void RequirePython(string module)
    {
        Require(Peers.Python);
        Skip.IfNot(Run(Peers.Python, "-c", "import " + module).ExitCode == 0, $"Python's module {module} is not installed: run ./build.sh setup as root");
    }

    private static string Find(string program) => TryFind(program) ?? program;

    private static string? TryFind(string program)
    {
        if (program.Contains('/'))
            return File.Exists(program) ? program : null;
        var path = Environment.GetEnvironmentVariable("PATH") + ":/usr/local/sbin:/usr/sbin:/sbin";
        return path.Split(':').Select(folder => Path.Combine(folder, program)).FirstOrDefault(File.Exists);
    }
}

/// <summary>How a program ended and what it wrote.</summary>
internal sealed record CommandResult(int ExitCode, string Output, string Errors, string CommandLine)
{
    /// <summary>This result, or a failed test with everything the program said.</summary>
    internal CommandResult Expect(int exitCode = 0)
    {
        Assert.True(ExitCode == exitCode, $"{CommandLine}\nended with {ExitCode} instead of {exitCode}\n{Output}\n{Errors}");
        return this;
    }

    internal string[] Lines => Output.Split('\n', StringSplitOptions.RemoveEmptyEntries);
}
