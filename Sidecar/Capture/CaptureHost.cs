using System;
using System.Collections.Generic;
using System.IO;
using System.Net;
using Sidecar.Linux;

namespace Sidecar.Capture;

/// <summary>
/// What capture asks of the machine it runs on. The defaults are the machine; a test replaces the parts it wants to decide.
/// </summary>
internal sealed class CaptureHost
{
    /// <summary>An environment variable, null when unset.</summary>
    public Func<string, string?> Variable { get; init; } = Environment.GetEnvironmentVariable;

    /// <summary>The text of a file, null when it cannot be read.</summary>
    public Func<string, string?> ReadFile { get; init; } = ReadFileOrNull;

    /// <summary>Every local address in the kernel's order, and how asking went.</summary>
    public Func<List<IPAddress>, Errno> LocalAddresses { get; init; } = RouteNetlink.ListAddresses;

    /// <summary>Runs a program to its end: name, arguments, standard input, additions to the environment. Null when there is no such program.</summary>
    public Func<string, string[], string, string[], ProcessResult?> Execute { get; init; } = ExecuteProgram;

    private static string? ReadFileOrNull(string path)
    {
        try
        {
            return File.ReadAllText(path);
        }
        catch (Exception problem) when (problem is IOException or UnauthorizedAccessException)
        {
            return null;
        }
    }

    private static ProcessResult? ExecuteProgram(string program, string[] arguments, string input, string[] environment)
    {
        string? file = ChildProcess.Find(program, Environment.GetEnvironmentVariable("PATH"));
        return file is null ? null : ChildProcess.Run(file, arguments, input, environment);
    }
}
