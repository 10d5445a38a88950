using System.IO;
using Sidecar.Linux;
using Xunit;

namespace Sidecar.Tests.Linux;

public class ChildProcessTests
{
    private static ProcessResult Shell(string script, string input = "", string[]? environment = null) =>
        ChildProcess.Run("/bin/sh", ["-c", script], input, environment);

    [Fact]
    public void Run_GivesExitCodeOutputAndError()
    {
        ProcessResult result = Shell("echo out; echo err >&2; exit 7");
        Assert.Equal((7, "out\n", "err\n"), (result.ExitCode, result.Output, result.Error));
        Assert.False(result.Succeeded);
        Assert.True(Shell("true").Succeeded);
    }

    // Both pipes are far smaller than this: feeding and draining must go on at once.
    [Fact]
    public void Run_LargeInputEchoed_ComesBackWhole()
    {
        string input = new('x', 1 << 20);
        Assert.Equal(input, Shell("cat", input).Output);
    }

    [Fact]
    public void Run_ChildIgnoresItsInput_IsNoFailure() => Assert.True(Shell("exec 0<&-; exit 0", new string('x', 1 << 20)).Succeeded);

    [Fact]
    public void Run_ArgumentsAreNotSplit() => Assert.Equal("[a b][][*]", ChildProcess.Run("/bin/sh", ["-c", "printf '[%s]' \"$@\"", "sh", "a b", "", "*"]).Output);

    [Fact]
    public void Run_EnvironmentIsAddedTo() => Assert.Equal("v /", Shell("printf '%s %s' \"$ADDED\" \"$(printf %.1s \"$PATH\")\"", environment: ["ADDED=v"]).Output);

    [Fact]
    public void Run_SignalsAreTheDefaultOnes() => Assert.Equal(128 + 13, Shell("kill -PIPE $$").ExitCode);

    [Fact]
    public void Run_NoSuchProgram_SaysWhy()
    {
        ProcessResult result = ChildProcess.Run("/nowhere/program", []);
        Assert.Equal((-1, Errno.ENOENT), (result.ExitCode, result.StartError));
        Assert.Contains("ENOENT", result.Error);
    }

    [Fact]
    public void Run_LeavesNoDescriptorOpen()
    {
        Shell("true");
        int before = Directory.GetFiles("/proc/self/fd").Length;
        for (int i = 0; i < 20; i++)
        {
            Shell("true", "text");
            ChildProcess.Run("/nowhere/program", []);
        }
        // Others of this test process open and close theirs meanwhile; forty runs times three pipes would show.
        Assert.InRange(Directory.GetFiles("/proc/self/fd").Length, 0, before + 40);
    }

    [Fact]
    public void Find_LooksInPathThenInTheSystemsFolders()
    {
        string folder = Directory.CreateTempSubdirectory().FullName;
        try
        {
            string program = Path.Combine(folder, "sh");
            File.WriteAllText(program, "");
            Assert.NotEqual(program, ChildProcess.Find("sh", folder));          // not executable
            Assert.True(Files.ChangeMode(program, 0b101_000_000).Ok);
            Assert.Equal(program, ChildProcess.Find("sh", "/nowhere:" + folder));
            Assert.EndsWith("/bin/sh", ChildProcess.Find("sh", null));
            Assert.Null(ChildProcess.Find("no-such-program", "/bin"));
            Assert.Equal("/bin/sh", ChildProcess.Find("/bin/sh", null));
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }
    }
}
