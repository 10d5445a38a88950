using System.Linq;
using Sidecar.Capture;
using Sidecar.Linux;
using Xunit;

namespace Sidecar.Tests.Capture;

/// <summary>The command as an operator meets it: exit code, standard output, one line per problem.</summary>
public class CaptureMainTests
{
    private readonly TestMachine _machine = new();

    private string[] ErrorLines => _machine.Error.ToString().Split('\n', System.StringSplitOptions.RemoveEmptyEntries);

    // A set of programs NAME, NAME-save, NAME-restore; save answers what the last restore made of it when asked.
    private void Install(string name, string version, System.Func<string>? saved = null, System.Func<string, ProcessResult>? restore = null)
    {
        _machine.Programs[name] = (_, _) => TestMachine.Succeeds();
        _machine.Programs[name + "-save"] = (args, _) => TestMachine.Succeeds(args.Length > 0 ? version : saved?.Invoke() ?? "");
        _machine.Programs[name + "-restore"] = (_, input) => restore?.Invoke(input) ?? TestMachine.Succeeds();
    }

    [Fact]
    public void DryRun_PrintsTheTextAndRunsNothing()
    {
        Assert.Equal(0, _machine.Run("istio-iptables", "-n", "-b", "*"));
        Assert.StartsWith("* nat\n-N ISTIO_INBOUND\n", _machine.Output.ToString());
        Assert.Empty(_machine.Runs);
        Assert.Empty(ErrorLines);
    }

    [Fact]
    public void CleanIptables_IsCleanupOnly()
    {
        Assert.Equal(0, _machine.Run("istio-clean-iptables", "-n"));
        Assert.StartsWith("* nat\n-D OUTPUT -j ISTIO_OUTPUT\n", _machine.Output.ToString());
    }

    [Fact]
    public void Help_ListsFlags()
    {
        Assert.Equal(0, _machine.Run("--help"));
        Assert.Contains("--istio-inbound-ports", _machine.Output.ToString());
    }

    [Fact]
    public void BadArguments_AreALineEach()
    {
        Assert.Equal(1, _machine.Run("-p", "x", "--bogus"));
        Assert.Equal(["istio-iptables: unknown flag --bogus; see --help", "istio-iptables: --envoy-port: \"x\" is not a port; give 1 to 65535"], ErrorLines);
    }

    [Fact]
    public void NoIptables_SaysWhatToInstall()
    {
        Assert.Equal(1, _machine.Run());
        Assert.Equal("istio-iptables: no iptables found (iptables-nft, iptables-legacy and iptables, each with -save and -restore); " +
            "install iptables in the image, or use --native-nftables", Assert.Single(ErrorLines));
    }

    [Fact]
    public void NoNft_SaysWhatToInstall()
    {
        Assert.Equal(1, _machine.Run("--native-nftables"));
        Assert.Equal("istio-iptables: --native-nftables: no nft found; install nftables in the image, or leave the flag out to use iptables", Assert.Single(ErrorLines));
    }

    [Fact]
    public void NoNetAdmin_SaysWhatToAdd()
    {
        _machine.Files["/proc/thread-self/status"] = "Name:\tsidecar\nCapEff:\t00000000a80425fb\n";
        Assert.Equal(1, _machine.Run());
        Assert.StartsWith("istio-iptables: no NET_ADMIN capability; run as root and add NET_ADMIN and NET_RAW", Assert.Single(ErrorLines));
        Assert.Empty(_machine.Runs);
    }

    [Fact]
    public void ProgramDenied_SaysWhatToAdd()
    {
        _machine.Programs["iptables-nft-save"] = (_, _) => TestMachine.Fails(4, "iptables-nft-save v1.8.9: Could not fetch rule set generation id: Permission denied (you must be root)\n");
        Assert.Equal(1, _machine.Run());
        Assert.Contains("Permission denied (you must be root); run as root and add NET_ADMIN", Assert.Single(ErrorLines));
    }

    [Fact]
    public void NoNamespace_SaysSo()
    {
        Assert.Equal(1, _machine.Run("--network-namespace", "/nowhere/at/all"));
        Assert.StartsWith("istio-iptables: --network-namespace: cannot enter /nowhere/at/all (ENOENT", Assert.Single(ErrorLines));
    }

    [Fact]
    public void SkipRuleApply_TouchesNothing()
    {
        Assert.Equal(0, _machine.Run("--skip-rule-apply"));
        Assert.Empty(_machine.Runs);
    }

    [Fact]
    public void RestoreFails_IsOneLine()
    {
        Install("iptables-nft", "iptables-nft-save v1.8.9 (nf_tables)", restore: _ => TestMachine.Fails(1, "\niptables-nft-restore: line 7 failed: No chain.\nmore\n"));
        Assert.Equal(1, _machine.Run());
        Assert.Equal("istio-iptables: iptables-nft-restore failed: iptables-nft-restore: line 7 failed: No chain.", Assert.Single(ErrorLines));
    }

    [Fact]
    public void RulesAreNotThereAfterwards_IsAnError()
    {
        int saves = 0;
        Install("iptables-nft", "iptables-nft-save v1.8.9 (nf_tables)", saved: () => saves++ < 2 ? "" : "*nat\n:ISTIO_OUTPUT - [0:0]\nCOMMIT\n");
        Assert.Equal(1, _machine.Run());
        Assert.Contains("after iptables-nft-restore the kernel's rules are not the ones written", Assert.Single(ErrorLines));
    }

    // Which programs are taken, from what is installed and where rules are.
    [Theory]
    [InlineData("nft", "legacy,nft,plain", "")]
    [InlineData("legacy", "legacy,nft,plain", "legacy")]
    [InlineData("nft", "legacy,nft", "empty-legacy")]
    [InlineData("plain", "plain", "")]
    [InlineData("plain", "legacy,plain", "")]
    [InlineData("none", "legacy", "")]
    public void Detect_LegacyWithRulesThenNftThenPlain(string expected, string installed, string rules)
    {
        foreach (string variant in installed.Split(','))
        {
            string saved = variant != "legacy" ? "" : rules switch
            {
                "legacy" => "*nat\n:OUTPUT ACCEPT [0:0]\n-A OUTPUT -j ACCEPT\nCOMMIT\n",
                "empty-legacy" => "# Generated\n*nat\n:OUTPUT ACCEPT [0:0]\nCOMMIT\n",
                _ => "",
            };
            Install(variant == "plain" ? "iptables" : "iptables-" + variant, variant == "nft" ? "v1.8.9 (nf_tables)" : "v1.8.9 (legacy)", () => saved);
        }
        IptablesBinary? found = IptablesBinary.Detect(_machine.Host, ipv6: false, "", out string problem);
        string name = found is null ? "none" : found.RestoreName == "iptables-restore" ? "plain" : found.RestoreName.Split('-')[1];
        Assert.Equal((expected, found is null), (name, problem.Length > 0));
    }

    [Theory]
    [InlineData("iptables-legacy-save v1.8.9 (legacy)", true, true)]
    [InlineData("iptables-save v1.6.1", false, false)]
    [InlineData("iptables-save v1.6.2", true, false)]
    [InlineData("iptables-save v1.8.10 (nf_tables)", false, true)]
    public void Version_DecidesAboutTheLock(string version, bool needsLock, bool takesVariable)
    {
        Install("iptables", version);
        IptablesBinary binary = IptablesBinary.Detect(_machine.Host, ipv6: false, "", out _)!;
        Assert.Equal((needsLock, takesVariable), (binary.NeedsLock, binary.TakesLockFileVariable));
        binary.Restore("");
        Assert.Equal(needsLock ? "iptables-restore --noflush --wait=30" : "iptables-restore --noflush", _machine.Runs.Last());
    }

    [Fact]
    public void Detect_UnusableHere_SaysWhy()
    {
        Install("iptables-nft", "v1.8.9 (nf_tables)");
        _machine.Programs["iptables-nft"] = (_, _) => TestMachine.Fails(3, "iptables v1.8.9 (nf_tables): can't initialize iptables table `nat': Table does not exist\n");
        Assert.Null(IptablesBinary.Detect(_machine.Host, ipv6: false, "", out string problem));
        Assert.StartsWith("iptables-nft cannot be used here: iptables v1.8.9", problem);
    }

    [Fact]
    public void ForcedBinary_IsTakenOrNothing()
    {
        Install("iptables-nft", "v1.8.9 (nf_tables)");
        Assert.Null(IptablesBinary.Detect(_machine.Host, ipv6: false, "legacy", out string problem));
        Assert.Equal("--force-iptables-binary=legacy: iptables-legacy not found", problem);
        Assert.NotNull(IptablesBinary.Detect(_machine.Host, ipv6: false, "nft", out _));
    }
}
