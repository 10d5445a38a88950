using System;
using System.Collections.Generic;
using System.Text;

namespace Sidecar.Capture;

/// <summary>
/// The flags of istio-iptables and the environment variables that stand for them, as one table: parsing, the environment and the help
/// text all read it. A flag wins over a variable, a variable over the default; of two variables the second named wins, as in Istio.
/// </summary>
internal static class CaptureFlags
{
    /// <summary>How a flag's value is written.</summary>
    internal enum Kind : byte { Text, Bool }

    /// <summary>One flag. <paramref name="name"/> without dashes is also its environment variable (upper case, '_' for '-') unless <paramref name="inEnvironment"/> is false.</summary>
    internal sealed class Flag(string name, char shorthand, Kind kind, string fallback, string help, string? alsoVariable = null, bool inEnvironment = true)
    {
        public readonly string Name = name;
        public readonly char Shorthand = shorthand;
        public readonly Kind Kind = kind;
        public readonly string Fallback = fallback;
        public readonly string Help = help;
        public readonly string? Variable = inEnvironment ? name.ToUpperInvariant().Replace('-', '_') : null;
        public readonly string? AlsoVariable = alsoVariable;
    }

    private const char None = '\0';

    /// <summary>Every flag that has an effect, in the order the help prints them.</summary>
    public static readonly Flag[] All =
    [
        new("envoy-port", 'p', Kind.Text, "15001", "port to which outbound TCP traffic is redirected", inEnvironment: false),
        new("inbound-capture-port", 'z', Kind.Text, "15006", "port to which inbound TCP traffic is redirected"),
        new("inbound-tunnel-port", 'e', Kind.Text, "15008", "port of the inbound tunnel, never redirected"),
        new("proxy-uid", 'u', Kind.Text, "", "users whose traffic is not captured, comma separated (default: the uid of ENVOY_USER, else 1337)"),
        new("proxy-gid", 'g', Kind.Text, "", "groups whose traffic is not captured, comma separated (default: the same as --proxy-uid)"),
        new("istio-inbound-interception-mode", 'm', Kind.Text, "", "REDIRECT (also when empty) or TPROXY"),
        new("istio-inbound-ports", 'b', Kind.Text, "", "inbound ports to capture, comma separated; * for all, empty for none"),
        new("istio-local-exclude-ports", 'd', Kind.Text, "", "inbound ports left alone when all are captured"),
        new("istio-exclude-interfaces", 'c', Kind.Text, "", "interfaces whose traffic is captured in neither direction"),
        new("istio-service-cidr", 'i', Kind.Text, "", "outbound address ranges to capture; * for all, empty for none"),
        new("istio-service-exclude-cidr", 'x', Kind.Text, "", "outbound address ranges left alone"),
        new("istio-outbound-ports", 'q', Kind.Text, "", "outbound ports to capture besides the address ranges"),
        new("istio-local-outbound-ports-exclude", 'o', Kind.Text, "", "outbound ports left alone"),
        new("kube-virt-interfaces", 'k', Kind.Text, "", "virtual interfaces whose inbound traffic is treated as outbound"),
        new("istio-inbound-tproxy-mark", 't', Kind.Text, "1337", "packet mark of TPROXY"),
        new("istio-inbound-tproxy-route-table", 'r', Kind.Text, "133", "routing table of TPROXY"),
        new("dry-run", 'n', Kind.Bool, "false", "print the text that would be fed to iptables-restore (or nft), change nothing"),
        new("iptables-probe-port", None, Kind.Text, "15002", "port the validation connects to"),
        new("probe-timeout", None, Kind.Text, "5s", "how long the validation may take"),
        new("skip-rule-apply", None, Kind.Bool, "false", "do not touch the rules (with --run-validation, as under a CNI plugin)"),
        new("run-validation", None, Kind.Bool, "false", "check that the kernel really redirects; exit code 126 when it does not"),
        new("redirect-dns", None, Kind.Bool, "false", "capture DNS for the agent's resolver on 15053", "ISTIO_META_DNS_CAPTURE"),
        new("drop-invalid", None, Kind.Bool, "false", "drop packets conntrack calls invalid", "INVALID_DROP"),
        new("dual-stack", None, Kind.Bool, "false", "write IPv6 rules when any local address is IPv6, not only the first", "ISTIO_DUAL_STACK"),
        new("capture-all-dns", None, Kind.Bool, "false", "with --redirect-dns: capture all of port 53, not only the servers of /etc/resolv.conf"),
        new("network-namespace", None, Kind.Text, "", "path of the network namespace to write the rules in"),
        new("cni-mode", None, Kind.Bool, "false", "run on the node's file system in a Pod's network namespace"),
        new("reconcile", None, Kind.Bool, "false", "replace rules of an earlier run that differ, behind a drop-all while it lasts"),
        new("cleanup-only", None, Kind.Bool, "false", "remove everything an earlier run left, write nothing"),
        new("force-apply", None, Kind.Bool, "false", "write the rules even if they seem to be there"),
        new("native-nftables", None, Kind.Bool, "false", "write nftables rules with nft instead of iptables rules"),
        new("force-iptables-binary", None, Kind.Text, "", "legacy or nft: take this iptables and no other"),
    ];

    // Istio's logging options, part of the injected arguments; there is one level here, so they are accepted and change nothing.
    private static readonly Flag[] Ignored =
    [
        new("log_output_level", None, Kind.Text, "", ""), new("log_target", None, Kind.Text, "", ""), new("log_caller", None, Kind.Text, "", ""),
        new("log_stacktrace_level", None, Kind.Text, "", ""), new("log_as_json", None, Kind.Bool, "", ""), new("log_rotate", None, Kind.Text, "", ""),
        new("log_rotate_max_age", None, Kind.Text, "", ""), new("log_rotate_max_backups", None, Kind.Text, "", ""),
        new("log_rotate_max_size", None, Kind.Text, "", ""), new("vklog", None, Kind.Text, "", ""),
    ];

    /// <summary>
    /// The values of every flag of <see cref="All"/> after defaults, environment and arguments, by name. Adds one line to
    /// <paramref name="errors"/> for each argument or variable that cannot be understood.
    /// </summary>
    /// <param name="args">The arguments after the sub-command: --name=value, --name value, -x value, -xvalue, -x=value; a bool may stand alone.</param>
    /// <param name="variable">Environment lookup. An empty variable counts as unset.</param>
    /// <param name="errors">Receives one-line problems.</param>
    public static Dictionary<string, string> Parse(ReadOnlySpan<string> args, Func<string, string?> variable, List<string> errors)
    {
        var values = new Dictionary<string, string>(All.Length, StringComparer.Ordinal);
        foreach (Flag flag in All)
        {
            values[flag.Name] = flag.Fallback;
            TakeVariable(flag, flag.Variable, variable, values, errors);
            TakeVariable(flag, flag.AlsoVariable, variable, values, errors);
        }
        while (args.Length > 0)
        {
            string argument = args[0];
            args = args[1..];
            if (argument.StartsWith("--", StringComparison.Ordinal) && argument.Length > 2)
                TakeLong(argument[2..], ref args, values, errors);
            else if (argument.StartsWith('-') && argument.Length > 1 && argument != "--")
                TakeShort(argument[1..], ref args, values, errors);
            else
                errors.Add($"unexpected argument \"{argument}\"; every setting is a flag, see --help (is a * unquoted in a shell?)");
        }
        return values;
    }

    /// <summary>The help text: one line per flag.</summary>
    public static string Usage()
    {
        var text = new StringBuilder();
        text.Append("usage: sidecar istio-iptables [flags]\n\nWrites the rules that bring a Pod's traffic to the sidecar, or with --cleanup-only removes them.\n\n");
        foreach (Flag flag in All)
        {
            string dashes = (flag.Shorthand == None ? "    " : $"-{flag.Shorthand}, ") + "--" + flag.Name;
            text.Append("  ").Append(dashes.PadRight(44)).Append(flag.Help);
            if (flag.Kind == Kind.Text && flag.Fallback.Length > 0)
                text.Append(" (default ").Append(flag.Fallback).Append(')');
            text.Append('\n');
        }
        text.Append("""

            Each flag but --envoy-port has an environment variable: upper case, '_' for '-'; besides those ISTIO_META_DNS_CAPTURE (--redirect-dns),
            INVALID_DROP (--drop-invalid) and ISTIO_DUAL_STACK (--dual-stack). A flag wins over a variable. Only as variables:
              ENVOY_USER                           user whose uid --proxy-uid defaults to (default istio-proxy)
              ISTIO_OUTBOUND_OWNER_GROUPS          groups whose outbound traffic is captured (default *)
              ISTIO_OUTBOUND_OWNER_GROUPS_EXCLUDE  groups whose outbound traffic is not, when all are
              ISTIO_OUTBOUND_IPV4_LOOPBACK_CIDR    IPv4 loopback range that stays in the Pod (default 127.0.0.1/32)
              DRY_RUN_FILE_PATH                    with --dry-run: file that receives the commands and texts

            """);
        return text.ToString();
    }

    private static void TakeVariable(Flag flag, string? name, Func<string, string?> variable, Dictionary<string, string> values, List<string> errors)
    {
        if (name is not null && variable(name) is { Length: > 0 } value)
            Take(flag, value, name, values, errors);
    }

    private static void TakeLong(string text, ref ReadOnlySpan<string> args, Dictionary<string, string> values, List<string> errors)
    {
        int equals = text.IndexOf('=');
        string name = equals < 0 ? text : text[..equals];
        Flag? flag = FindLong(name);
        if (flag is null)
        {
            errors.Add($"unknown flag --{name}; see --help");
            return;
        }
        if (equals >= 0)
            Take(flag, text[(equals + 1)..], "--" + name, values, errors);
        else if (flag.Kind == Kind.Bool)
            values[flag.Name] = "true";
        else
            TakeNext(flag, "--" + name, ref args, values, errors);
    }

    // -n -p 15001 may be written -np15001: bools stand alone, the first flag with a value takes the rest.
    private static void TakeShort(string text, ref ReadOnlySpan<string> args, Dictionary<string, string> values, List<string> errors)
    {
        for (int i = 0; i < text.Length; i++)
        {
            Flag? flag = FindShort(text[i]);
            string shown = "-" + text[i];
            if (flag is null)
            {
                errors.Add($"unknown flag {shown} in -{text}; see --help");
                return;
            }
            if (i + 1 < text.Length && text[i + 1] == '=')
            {
                Take(flag, text[(i + 2)..], shown, values, errors);
                return;
            }
            if (flag.Kind == Kind.Bool)
            {
                values[flag.Name] = "true";
                continue;
            }
            if (i + 1 < text.Length)
                Take(flag, text[(i + 1)..], shown, values, errors);
            else
                TakeNext(flag, shown, ref args, values, errors);
            return;
        }
    }

    private static void TakeNext(Flag flag, string shown, ref ReadOnlySpan<string> args, Dictionary<string, string> values, List<string> errors)
    {
        if (args.Length == 0)
        {
            errors.Add($"{shown} needs a value; see --help");
            return;
        }
        Take(flag, args[0], shown, values, errors);
        args = args[1..];
    }

    private static void Take(Flag flag, string value, string shown, Dictionary<string, string> values, List<string> errors)
    {
        if (flag.Kind == Kind.Bool)
        {
            switch (value)
            {
                case "1" or "t" or "T" or "TRUE" or "true" or "True":
                    value = "true";
                    break;
                case "0" or "f" or "F" or "FALSE" or "false" or "False":
                    value = "false";
                    break;
                default:
                    errors.Add($"{shown}: \"{value}\" is neither true nor false");
                    return;
            }
        }
        values[flag.Name] = value;
    }

    private static Flag? FindLong(string name)
    {
        foreach (Flag flag in All)
        {
            if (flag.Name == name)
                return flag;
        }
        foreach (Flag flag in Ignored)
        {
            if (flag.Name == name)
                return flag;
        }
        return null;
    }

    private static Flag? FindShort(char shorthand)
    {
        foreach (Flag flag in All)
        {
            if (flag.Shorthand == shorthand)
                return flag;
        }
        return null;
    }
}
