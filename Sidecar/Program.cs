using System;
using System.Collections.Generic;
using Sidecar.Capture;
using Sidecar.Linux;
using Sidecar.Server;

namespace Sidecar;

/// <summary>The sub-command switch of the one executable.</summary>
internal static class Program
{
    private const string Usage = """
        usage: sidecar COMMAND [flags]

          run --snapshot PATH     data plane from a config dump or a folder of resource files, watched
          run -c BOOTSTRAP        data plane from an Envoy bootstrap (JSON) and the control planes it names
          validate PATH           checks a config dump, a folder or a bootstrap; every problem with its path
          istio-iptables          lays the traffic-capture rules; --cleanup-only undoes
          istio-clean-iptables    the same as istio-iptables --cleanup-only
          version                 prints the version
          help                    prints this

        sidecar COMMAND --help tells a command's flags. Exit codes: 0 done, 1 refused or failed, 2 arguments that make no sense.

        """;

    private const string VersionUsage = """
        usage: sidecar version

        Prints the version. It takes no flags.

        """;

    private static readonly Dictionary<string, string> s_noFlags = [];

    private static int Main(string[] args)
    {
        if (args.Length == 0)
        {
            Console.Error.Write(Usage);
            return 2;
        }
        string command = args[0];
        string[] rest = args[1..];
        switch (command)
        {
            case "run":
                FirstPages.BringIn();
                return RunCommand.Run(rest, Console.Out, Console.Error);
            case "validate":
                return ValidateCommand.Run(rest, Console.Out, Console.Error);
            case "istio-iptables":
                return CaptureMain.Run(rest);
            case "istio-clean-iptables":
                return CaptureMain.Run(["--cleanup-only", .. rest]);
            case "version" or "--version":
                return Say("version", rest, $"sidecar {ProductVersion.Long}\n", VersionUsage);
            case "help" or "--help" or "-h":
                return Say("help", rest, Usage, Usage);
            default:
                Console.Error.WriteLine($"sidecar: unknown command '{command}'; see sidecar help");
                return 2;
        }
    }

    /// <summary>A command that takes nothing and prints one text.</summary>
    private static int Say(string command, string[] args, string text, string usage)
    {
        var line = CommandLine.Parse(command, args, s_noFlags);
        if (line.WantsHelp || line.Problem is null)
        {
            Console.Out.Write(line.WantsHelp ? usage : text);
            return 0;
        }
        Console.Error.WriteLine($"sidecar {command}: {line.Problem}");
        return 2;
    }
}
