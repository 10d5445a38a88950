using System.Collections.Generic;
using Sidecar.Capture;
using Xunit;

namespace Sidecar.Tests.Capture;

public class CaptureFlagsTests
{
    private readonly TestMachine _machine = new();
    private readonly List<string> _errors = [];

    private Dictionary<string, string> Parse(params string[] args) => CaptureFlags.Parse(args, _machine.Host.Variable, _errors);

    [Theory]
    [InlineData("--envoy-port=1", "envoy-port", "1")]
    [InlineData("--envoy-port 1", "envoy-port", "1")]
    [InlineData("-p 1", "envoy-port", "1")]
    [InlineData("-p1", "envoy-port", "1")]
    [InlineData("-p=1", "envoy-port", "1")]
    [InlineData("-b *", "istio-inbound-ports", "*")]
    [InlineData("-b=", "istio-inbound-ports", "")]
    [InlineData("--istio-inbound-ports=", "istio-inbound-ports", "")]
    [InlineData("-x -1", "istio-service-exclude-cidr", "-1")]
    [InlineData("-n", "dry-run", "true")]
    [InlineData("-n=false", "dry-run", "false")]
    [InlineData("--dry-run", "dry-run", "true")]
    [InlineData("--dry-run=F", "dry-run", "false")]
    [InlineData("--dry-run=1", "dry-run", "true")]
    [InlineData("-np2", "envoy-port", "2")]
    [InlineData("-np 2", "envoy-port", "2")]
    [InlineData("-p 1 -p 2", "envoy-port", "2")]
    [InlineData("--log_output_level=default:info -p 3", "envoy-port", "3")]
    [InlineData("--log_output_level default:info --log_as_json -p 3", "envoy-port", "3")]
    public void EveryWayToWriteAFlag_GivesItsValue(string line, string name, string value)
    {
        Assert.Equal(value, Parse(line.Split(' '))[name]);
        Assert.Empty(_errors);
    }

    [Fact]
    public void EmptyArgument_IsAValue()
    {
        Assert.Equal("", Parse("-x", "", "-b", "80")["istio-service-exclude-cidr"]);
        Assert.Empty(_errors);
    }

    [Theory]
    [InlineData("--no-such", "unknown flag --no-such; see --help")]
    [InlineData("-Z", "unknown flag -Z in -Z; see --help")]
    [InlineData("-nZ", "unknown flag -Z in -nZ; see --help")]
    [InlineData("-p", "-p needs a value; see --help")]
    [InlineData("--envoy-port", "--envoy-port needs a value; see --help")]
    [InlineData("--dry-run=maybe", "--dry-run: \"maybe\" is neither true nor false")]
    [InlineData("bin", "unexpected argument \"bin\"; every setting is a flag, see --help (is a * unquoted in a shell?)")]
    [InlineData("--", "unexpected argument \"--\"; every setting is a flag, see --help (is a * unquoted in a shell?)")]
    [InlineData("-", "unexpected argument \"-\"; every setting is a flag, see --help (is a * unquoted in a shell?)")]
    public void Misuse_IsOneLineThatNamesTheFlag(string argument, string error)
    {
        Parse(argument);
        Assert.Equal([error], _errors);
    }

    [Fact]
    public void Precedence_FlagThenSecondVariableThenVariableThenDefault()
    {
        Assert.Equal("false", Parse()["redirect-dns"]);
        _machine.Environment["REDIRECT_DNS"] = "true";
        Assert.Equal("true", Parse()["redirect-dns"]);
        _machine.Environment["ISTIO_META_DNS_CAPTURE"] = "false";
        Assert.Equal("false", Parse()["redirect-dns"]);
        Assert.Equal("true", Parse("--redirect-dns")["redirect-dns"]);
    }

    [Fact]
    public void EveryFlagButEnvoyPort_HasItsVariable()
    {
        foreach (CaptureFlags.Flag flag in CaptureFlags.All)
        {
            _machine.Environment.Clear();
            _machine.Environment[flag.Name.ToUpperInvariant().Replace('-', '_')] = flag.Kind == CaptureFlags.Kind.Bool ? "true" : "7";
            string expected = flag.Name == "envoy-port" ? "15001" : flag.Kind == CaptureFlags.Kind.Bool ? "true" : "7";
            Assert.Equal(expected, Parse()[flag.Name]);
        }
    }

    [Theory]
    [InlineData("ISTIO_META_DNS_CAPTURE", "redirect-dns")]
    [InlineData("INVALID_DROP", "drop-invalid")]
    [InlineData("ISTIO_DUAL_STACK", "dual-stack")]
    public void OlderVariables_StillCount(string variable, string flag)
    {
        _machine.Environment[variable] = "true";
        Assert.Equal("true", Parse()[flag]);
    }

    [Fact]
    public void Variable_Empty_IsUnset()
    {
        _machine.Environment["INBOUND_CAPTURE_PORT"] = "";
        _machine.Environment["DRY_RUN"] = "";
        Assert.Equal("15006", Parse()["inbound-capture-port"]);
        Assert.Empty(_errors);
    }

    [Fact]
    public void Usage_NamesEveryFlag()
    {
        string usage = CaptureFlags.Usage();
        foreach (CaptureFlags.Flag flag in CaptureFlags.All)
            Assert.Contains("--" + flag.Name + " ", usage);
    }
}
