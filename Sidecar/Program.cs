using System;
using Sidecar.Capture;
using Sidecar.Server;

namespace Sidecar;

/// <summary>The sub-command switch of the one executable.</summary>
internal static class Program
{
    private const string Usage = """
        usage: sidecar COMMAND [flags]

          run --snapshot PATH     data plane from a config dump or a folder of resource files, watched
          run -c BOOTSTRAP        data plane from the static resources of an Envoy bootstrap (JSON)
              --concurrency N     worker threads (default: the processors there are)
              --log-level L       trace, debug, info, warning, error, critical, off
              --admin-address A   admin pages (default 127.0.0.1:15000)
              --drain-time-s N    how long connections may go on after SIGTERM (default 5)
              --readiness-address A   /healthz/ready, with --snapshot (default 0.0.0.0:15021; off: none)
              --prometheus-address A  /stats/prometheus, with --snapshot (default 0.0.0.0:15090; off: none)
          validate PATH           checks a config dump, a folder or a bootstrap; every problem with its path
          istio-iptables          lays the traffic-capture rules; --help for its flags, --cleanup-only undoes
          istio-clean-iptables    the same as istio-iptables --cleanup-only
          version                 prints the version

        """;

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
                return RunCommand.Run(rest, Console.Out, Console.Error);
            case "validate":
                return ValidateCommand.Run(rest, Console.Out, Console.Error);
            case "istio-iptables":
                return CaptureMain.Run(rest);
            case "istio-clean-iptables":
                return CaptureMain.Run(["--cleanup-only", .. rest]);
            case "version" or "--version":
                Console.Out.WriteLine($"sidecar {ProductVersion.Text}");
                return 0;
            case "help" or "--help" or "-h":
                Console.Out.Write(Usage);
                return 0;
            default:
                Console.Error.WriteLine($"sidecar: unknown command '{command}'; see sidecar help");
                return 2;
        }
    }
}
