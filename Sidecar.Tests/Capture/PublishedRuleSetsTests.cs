using System.Collections.Generic;
using System.IO;
using System.Linq;
using System.Net;
using System.Text.Json;
using Sidecar.Tests.Harness;
using Xunit;

namespace Sidecar.Tests.Capture;

/// <summary>
/// The rule sets Istio publishes for its own istio-iptables, 27 configurations in iptables' language and the same with one more in
/// nftables'. The whole way is driven: arguments and environment in, the text of --dry-run out.
/// </summary>
public class PublishedRuleSetsTests
{
    private const string Iptables = "testdata/istio/iptables";
    private const string Nftables = "testdata/istio/nftables";

    private static readonly Dictionary<string, string> Flags = new()
    {
        ["ProxyPort"] = "-p", ["InboundCapturePort"] = "-z", ["InboundTunnelPort"] = "-e", ["ProxyUID"] = "-u", ["ProxyGID"] = "-g",
        ["InboundInterceptionMode"] = "-m", ["InboundPortsInclude"] = "-b", ["InboundPortsExclude"] = "-d", ["ExcludeInterfaces"] = "-c",
        ["OutboundIPRangesInclude"] = "-i", ["OutboundIPRangesExclude"] = "-x", ["OutboundPortsInclude"] = "-q", ["OutboundPortsExclude"] = "-o",
        ["RerouteVirtualInterfaces"] = "-k", ["InboundTProxyMark"] = "-t", ["InboundTProxyRouteTable"] = "-r",
        ["RedirectDNS"] = "--redirect-dns", ["DropInvalid"] = "--drop-invalid", ["CaptureAllDNS"] = "--capture-all-dns",
    };

    private static readonly Dictionary<string, string> Variables = new()
    {
        ["OwnerGroupsInclude"] = "ISTIO_OUTBOUND_OWNER_GROUPS", ["OwnerGroupsExclude"] = "ISTIO_OUTBOUND_OWNER_GROUPS_EXCLUDE",
        ["HostIPv4LoopbackCidr"] = "ISTIO_OUTBOUND_IPV4_LOOPBACK_CIDR",
    };

    [SkippableFact]
    public void DryRun_EveryPublishedConfiguration_PrintsThePublishedIptablesText()
    {
        int compared = 0;
        foreach (JsonElement published in Cases())
        {
            string name = published.GetProperty("name").GetString()!;
            string golden = File.ReadAllText(ProjectTree.Shared($"{Iptables}/{name}.golden"));
            // Around the texts the golden tells the commands, which a dry run does not make.
            string expected = string.Concat(golden.Split('\n').Where(line => line is not ("iptables-save" or "ip6tables-save" or "")).Select(line => line + "\n"));

            (string text, string file) = DryRun(published.GetProperty("config"), name, "-n");

            Assert.True(expected == text, $"{name}:\n{text}");
            Assert.True(golden == file, $"{name}, DRY_RUN_FILE_PATH:\n{file}");
            compared++;
        }
        Assert.Equal(27, compared);
    }

    [SkippableFact]
    public void DryRun_EveryPublishedConfiguration_PrintsThePublishedNftablesText()
    {
        int compared = 0;
        foreach (JsonElement published in Cases())
        {
            string name = published.GetProperty("name").GetString()!;
            (string text, _) = DryRun(published.GetProperty("config"), name, "-n", "--native-nftables");
            Assert.True(File.ReadAllText(ProjectTree.Shared($"{Nftables}/{name}.golden")) == text, $"{name}:\n{text}");
            compared++;
        }
        Assert.Equal(27, compared);
        var machine = new TestMachine();
        Assert.Equal(0, machine.Run("-n", "--native-nftables", "-m", "TPROXY"));
        Assert.Equal(File.ReadAllText(ProjectTree.Shared($"{Nftables}/inbound-ports-empty-tproxy.golden")), machine.Output.ToString());
    }

    private static IEnumerable<JsonElement> Cases() =>
        JsonDocument.Parse(File.ReadAllText(ProjectTree.Shared($"{Iptables}/cases.json"))).RootElement.GetProperty("cases").EnumerateArray();

    private static (string Text, string File) DryRun(JsonElement config, string name, params string[] extra)
    {
        var machine = new TestMachine();
        List<string> args = [.. extra];
        string resolvers = "search example\n";
        foreach (JsonProperty field in config.EnumerateObject())
        {
            if (Flags.TryGetValue(field.Name, out string? flag))
                args.Add(flag + (field.Value.ValueKind == JsonValueKind.String ? "=" + field.Value.GetString() : "=" + field.Value.GetRawText()));
            else if (Variables.TryGetValue(field.Name, out string? variable))
                machine.Environment[variable] = field.Value.GetString()!;
            else if (field.Name is "DNSServersV4" or "DNSServersV6")
                resolvers += string.Concat(field.Value.EnumerateArray().Select(server => $"nameserver {server.GetString()}\n"));
            else
                Assert.True(field.Name is "EnableIPv6" or "DryRun", "a field this test does not know: " + field.Name);
        }
        if (config.GetProperty("EnableIPv6").GetBoolean())
        {
            machine.Addresses.Add(IPAddress.Parse("fd00::7"));
            args.Add("--dual-stack");
        }
        machine.Files["/etc/resolv.conf"] = resolvers;
        string file = Path.Combine(Path.GetTempPath(), Path.GetRandomFileName());
        machine.Environment["DRY_RUN_FILE_PATH"] = file;
        try
        {
            Assert.True(machine.Run([.. args]) == 0, $"{name}: {machine.Error}");
            return (machine.Output.ToString(), File.ReadAllText(file));
        }
        finally
        {
            File.Delete(file);
        }
    }
}
