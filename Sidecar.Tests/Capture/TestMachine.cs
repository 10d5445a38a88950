using System;
using System.Collections.Generic;
using System.IO;
using System.Net;
using Sidecar.Capture;
using Sidecar.Linux;

namespace Sidecar.Tests.Capture;

/// <summary>A machine made of tables: environment, files, addresses, and programs that answer as told and remember what they were asked.</summary>
internal sealed class TestMachine
{
    public readonly Dictionary<string, string> Environment = [];
    public readonly Dictionary<string, string> Files = [];
    public readonly List<IPAddress> Addresses = [IPAddress.Loopback, IPAddress.Parse("10.244.0.7")];

    /// <summary>Programs by name: arguments and input to result. A name that is absent is not installed.</summary>
    public readonly Dictionary<string, Func<string[], string, ProcessResult>> Programs = [];

    /// <summary>Every program run, as "name arguments".</summary>
    public readonly List<string> Runs = [];
    public readonly StringWriter Output = new();
    public readonly StringWriter Error = new();

    public CaptureHost Host => new()
    {
        Variable = name => Environment.GetValueOrDefault(name),
        ReadFile = path => Files.GetValueOrDefault(path),
        LocalAddresses = into =>
        {
            into.AddRange(Addresses);
            return Errno.None;
        },
        Execute = (program, arguments, input, _) =>
        {
            if (!Programs.TryGetValue(program, out Func<string[], string, ProcessResult>? answer))
                return null;
            Runs.Add((program + " " + string.Join(' ', arguments)).Trim());
            return answer(arguments, input);
        },
    };

    public int Run(params string[] args) => CaptureMain.Run(args, Output, Error, Host);

    /// <summary>The configuration of these arguments; throws with the errors when there are any.</summary>
    public CaptureConfig Config(params string[] args)
    {
        List<string> errors = [];
        return CaptureConfig.Create(args, Host, [], errors) ?? throw new InvalidOperationException(string.Join('\n', errors));
    }

    /// <summary>The errors of these arguments.</summary>
    public List<string> Errors(params string[] args)
    {
        List<string> errors = [];
        CaptureConfig.Create(args, Host, [], errors);
        return errors;
    }

    public static ProcessResult Succeeds(string output = "") => new(0, Errno.None, output, "");

    public static ProcessResult Fails(int exitCode, string error) => new(exitCode, Errno.None, "", error);
}
