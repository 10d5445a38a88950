using System;
using System.Globalization;
using System.Linq;

namespace Sidecar.Tests.Harness;

/// <summary>A network namespace of the test's own. When it goes, every process in it and every rule in it goes too.</summary>
internal sealed class NetworkNamespace : IDisposable
{
    private static int s_count;

    internal NetworkNamespace(string purpose)
    {
        Name = string.Create(CultureInfo.InvariantCulture, $"sidecar-test-{Environment.ProcessId}-{System.Threading.Interlocked.Increment(ref s_count)}-{purpose}");
        Command.Run("ip", "netns", "add", Name).Expect();
        Ip("link", "set", "lo", "up");
    }

    internal string Name { get; }

    /// <summary>Runs a program inside, to its end.</summary>
    internal CommandResult Run(string file, params string[] arguments) => Command.Run(this, "", file, arguments);

    /// <summary>Runs a program inside as another user.</summary>
    internal CommandResult RunAs(int uid, string file, params string[] arguments) =>
        Run("setpriv", ["--reuid=" + uid, "--regid=" + uid, "--clear-groups", file, .. arguments]);

    /// <summary>Runs <c>ip -n NAME …</c> and expects it to succeed.</summary>
    internal void Ip(params string[] arguments) => Command.Run("ip", ["-n", Name, .. arguments]).Expect();

    /// <summary>Lays a cable to another namespace with an address at each end, and the host routes that make both reachable.</summary>
    internal void Connect(NetworkNamespace other, string ownAddress, string otherAddress, string linkName)
    {
        Ip("link", "add", linkName, "type", "veth", "peer", "name", "eth0", "netns", other.Name);
        Ip("link", "set", linkName, "up");
        other.Ip("link", "set", "eth0", "up");
        ConnectAlso(other, ownAddress, otherAddress, linkName);
    }

    /// <summary>Gives a cable that is there a second pair of addresses, of the other IP version.</summary>
    internal void ConnectAlso(NetworkNamespace other, string ownAddress, string otherAddress, string linkName)
    {
        AddAddress(ownAddress, linkName);
        other.AddAddress(otherAddress, "eth0");
        Ip("route", "add", otherAddress + (ownAddress.Contains(':') ? "/128" : "/32"), "dev", linkName, "src", ownAddress);
        other.Ip(ownAddress.Contains(':') ? "-6" : "-4", "route", "add", "default", "dev", "eth0", "src", otherAddress);
    }

    /// <summary>Adds a host address, usable at once (no duplicate address detection).</summary>
    internal void AddAddress(string address, string link)
    {
        if (address.Contains(':'))
            Ip("address", "add", address + "/128", "dev", link, "nodad");
        else
            Ip("address", "add", address + "/32", "dev", link);
    }

    /// <summary>TCP ports listened on, each with its local address, as ss prints them.</summary>
    internal string[] ListeningAddresses() =>
        [.. Run("ss", "-Hltn").Expect().Lines.Select(line => line.Split(' ', StringSplitOptions.RemoveEmptyEntries)[3]).Distinct()];

    public void Dispose()
    {
        foreach (var pid in Command.Run("ip", "netns", "pids", Name).Lines)
            Command.Run("kill", "-KILL", pid);
        Command.Run("ip", "netns", "delete", Name);
    }
}
