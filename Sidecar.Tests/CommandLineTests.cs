using System.IO;
using Xunit;

namespace Sidecar.Tests;

/// <summary>What the commands make of their arguments: help on standard output and success, a mistake in one line on standard error and 2.</summary>
public class CommandLineTests
{
    private readonly StringWriter _output = new();
    private readonly StringWriter _errors = new();

    [Theory]
    [InlineData("--help")]
    [InlineData("-h")]
    [InlineData("--snapshot", "/nonexistent", "--help")]
    [InlineData("--no-such-flag", "--help")]
    public void Run_Help_IsItsUsage(params string[] arguments)
    {
        Assert.Equal(0, RunCommand.Run(arguments, _output, _errors));
        Assert.StartsWith("usage: sidecar run ", _output.ToString());
        foreach (string flag in new[] { "--snapshot", "-c,", "--config-path", "--concurrency", "-l,", "--log-level", "--admin-address", "--drain-time-s", "--readiness-address", "--prometheus-address" })
            Assert.Contains(flag, _output.ToString());
        Assert.Equal("", _errors.ToString());
    }

    [Fact]
    public void Run_HelpAsAValue_IsAValue()
    {
        Assert.Equal(2, RunCommand.Run(["--snapshot", "/nonexistent", "--log-level", "--help"], _output, _errors));
        Assert.Contains("is '--help'", _errors.ToString());
    }

    [Theory]
    [InlineData("give either --snapshot PATH or -c BOOTSTRAP")]
    [InlineData("give either --snapshot PATH or -c BOOTSTRAP", "--snapshot", "a", "-c", "b")]
    [InlineData("flag '--snapshot' needs a value", "--snapshot")]
    [InlineData("flag '-c' is given twice", "--config-path=a", "-c", "b")]
    [InlineData("unknown flag '--snapshots'; see sidecar run --help", "--snapshots", "a")]
    [InlineData("unexpected argument 'b'; see sidecar run --help", "--snapshot", "a", "b")]
    [InlineData("--concurrency must be a number from 0 to 256, is 'many'", "--snapshot", "a", "--concurrency", "many")]
    [InlineData("--concurrency must be a number from 0 to 256, is '-1'", "--snapshot", "a", "--concurrency", "-1")]
    [InlineData("--concurrency must be a number from 0 to 256, is '257'", "--snapshot", "a", "--concurrency=257")]
    [InlineData("--drain-time-s must be a number from 0 to 86400, is '5s'", "--snapshot", "a", "--drain-time-s", "5s")]
    [InlineData("--log-level must be trace, debug, info, warning, error, critical or off, is 'loud'", "--snapshot", "a", "--log-level", "loud")]
    [InlineData("--admin-address must be IP:PORT or off, is 'localhost:1'", "--snapshot", "a", "--admin-address", "localhost:1")]
    [InlineData("--admin-address cannot be off: readiness and metrics are served from it", "--snapshot", "a", "--admin-address", "off")]
    [InlineData("--readiness-address must be IP:PORT or off, is ''", "--snapshot", "a", "--readiness-address", "")]
    public void Run_Mistake_IsOneLine(string problem, params string[] arguments)
    {
        Assert.Equal(2, RunCommand.Run(arguments, _output, _errors));
        Assert.Equal($"sidecar run: {problem}{_errors.NewLine}", _errors.ToString());
        Assert.Equal("", _output.ToString());
    }

    [Fact]
    public void Validate_Help_IsItsUsage()
    {
        Assert.Equal(0, ValidateCommand.Run(["--help"], _output, _errors));
        Assert.StartsWith("usage: sidecar validate PATH", _output.ToString());
    }

    [Theory]
    [InlineData("give one PATH: a config dump, a folder of resource files, or a bootstrap")]
    [InlineData("unexpected argument 'b'; see sidecar validate --help", "a", "b")]
    [InlineData("unknown flag '--strict'; see sidecar validate --help", "--strict", "a")]
    public void Validate_Mistake_IsOneLine(string problem, params string[] arguments)
    {
        Assert.Equal(2, ValidateCommand.Run(arguments, _output, _errors));
        Assert.Equal($"sidecar validate: {problem}{_errors.NewLine}", _errors.ToString());
    }
}
