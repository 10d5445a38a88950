using System;
using System.Collections.Generic;
using System.Globalization;
using System.IO;

namespace Sidecar.Net;

/// <summary>
/// What resolv.conf(5) and hosts(5) say. Immutable. Lines that make no sense are passed over, as everywhere else these
/// files are read.
/// </summary>
internal sealed class DnsConfig
{
    private const int ServersMax = 3;
    private const int SearchMax = 32;

    private Dictionary<string, List<Address>> _hosts = new(StringComparer.OrdinalIgnoreCase);

    /// <summary>Servers in the order to ask them, with their port.</summary>
    internal IReadOnlyList<Address> Servers { get; init; } = [Address.Loopback(53)];

    /// <summary>Domains tried behind a short name, without leading or trailing dot.</summary>
    internal IReadOnlyList<string> Search { get; init; } = [];

    /// <summary>A name with at least as many dots is first tried as it is.</summary>
    internal int Dots { get; init; } = 1;

    /// <summary>How long to wait for one server.</summary>
    internal int TimeoutMs { get; init; } = 5000;

    /// <summary>How many times all servers are asked.</summary>
    internal int Attempts { get; init; } = 2;

    /// <summary>Reads both files; a missing one counts as empty.</summary>
    internal static DnsConfig Load(string resolvConf = "/etc/resolv.conf", string hosts = "/etc/hosts") =>
        Parse(ReadOrEmpty(resolvConf), ReadOrEmpty(hosts));

    /// <summary>Reads the text of both files.</summary>
    internal static DnsConfig Parse(string resolvConf, string hosts)
    {
        List<Address> servers = [];
        List<string> search = [];
        int dots = 1;
        int timeoutMs = 5000;
        int attempts = 2;
        foreach (string line in resolvConf.Split('\n'))
        {
            string[] words = Words(line, '#', ';');
            if (words.Length < 2)
                continue;
            switch (words[0])
            {
                case "nameserver" when servers.Count < ServersMax && Address.TryParseIp(words[1], out Address server, 53):
                    servers.Add(server);
                    break;
                case "domain" or "search":
                    search.Clear(); // the last one counts
                    for (int i = 1; i < words.Length && search.Count < SearchMax; i++)
                    {
                        if (words[i].Trim('.').Length > 0)
                            search.Add(words[i].Trim('.'));
                    }
                    break;
                case "options":
                    foreach (string option in words.AsSpan(1))
                    {
                        if (TryOption(option, "ndots:", 15, out int value))
                            dots = value;
                        else if (TryOption(option, "timeout:", 30, out value))
                            timeoutMs = Math.Max(1, value) * 1000;
                        else if (TryOption(option, "attempts:", 5, out value))
                            attempts = Math.Max(1, value);
                    }
                    break;
            }
        }
        DnsConfig config = new()
        {
            Servers = servers.Count > 0 ? servers : [Address.Loopback(53)],
            Search = search,
            Dots = dots,
            TimeoutMs = timeoutMs,
            Attempts = attempts,
        };
        foreach (string line in hosts.Split('\n'))
        {
            string[] words = Words(line, '#', '#');
            if (words.Length < 2 || !Address.TryParseIp(words[0], out Address address))
                continue;
            foreach (string name in words.AsSpan(1))
            {
                if (!config._hosts.TryGetValue(name, out List<Address>? addresses))
                    config._hosts[name] = addresses = [];
                if (!addresses.Contains(address))
                    addresses.Add(address);
            }
        }
        return config;
    }

    /// <summary>The same, but asking <paramref name="servers"/> (a cluster's own dns_resolvers).</summary>
    internal DnsConfig WithServers(IReadOnlyList<Address> servers) => new()
    {
        Servers = servers,
        Search = Search,
        Dots = Dots,
        TimeoutMs = TimeoutMs,
        Attempts = Attempts,
        _hosts = _hosts,
    };

    /// <summary>Addresses the hosts file gives <paramref name="name"/>, or null.</summary>
    internal IReadOnlyList<Address>? Hosts(string name) => _hosts.GetValueOrDefault(name);

    private static bool TryOption(string text, string prefix, int max, out int value)
    {
        value = 0;
        if (!text.StartsWith(prefix, StringComparison.Ordinal)
            || !int.TryParse(text.AsSpan(prefix.Length), NumberStyles.None, CultureInfo.InvariantCulture, out value))
            return false;
        value = Math.Min(value, max);
        return true;
    }

    private static string[] Words(string line, char comment, char otherComment)
    {
        int end = line.AsSpan().IndexOfAny(comment, otherComment);
        string text = end < 0 ? line : line[..end];
        return text.Split([' ', '\t', '\r'], StringSplitOptions.RemoveEmptyEntries);
    }

    private static string ReadOrEmpty(string path)
    {
        try
        {
            return File.ReadAllText(path);
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException)
        {
            return "";
        }
    }
}
