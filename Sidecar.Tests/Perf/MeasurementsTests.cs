using System.Collections.Generic;
using System.IO;
using System.Linq;
using System.Text.Json;
using System.Threading.Tasks;
using System.Xml.Linq;
using Sidecar.Tests.Harness;
using Xunit;

namespace Sidecar.Tests.Perf;

/// <summary>perf/run.sh works: it starts peers, loads them, writes what it saw. What it saw is nobody's test; the runs are as short as they can be.</summary>
[Trait("Category", "Linux")]
[Collection(ExecutableCollection.Name)]
public sealed class MeasurementsTests : System.IDisposable
{
    private readonly TestFolder _folder = new();

    [SkippableFact]
    public void Saturation_NextToTheRelay_GivesFiguresARatioAndAChart()
    {
        Require();
        string log = Run("h1-h1", "--runs", "1", "--seconds", "1", "--connections", "4", "--sizes", "1024", "--peers", "sidecar,floor").Expect().Output;
        Assert.Contains("[1/1] h1-h1 c=4 b=1024: ", log);
        var result = Results().GetProperty("results")[0];
        foreach (string peer in new[] { "sidecar", "floor" })
        {
            var run = result.GetProperty("peers").GetProperty(peer).GetProperty("runs")[0];
            Assert.Equal(0, run.GetProperty("errors").GetInt32());
            Assert.True(run.GetProperty("cpu_us").GetDouble() > 0);
        }
        Assert.True(result.GetProperty("peers").GetProperty("floor").GetProperty("ratio").GetProperty("median").GetDouble() > 0);
        Assert.Equal(0, result.GetProperty("peers").GetProperty("sidecar").GetProperty("runs")[0].GetProperty("gc_collections").GetInt32());
        Assert.Matches(@"\n\| sidecar \| [0-9.]+ \(", Text("table.md"));
        Assert.Contains(XDocument.Parse(Text("chart.svg")).Descendants(), static element => element.Name.LocalName == "text" && element.Value == "sidecar");
    }

    [SkippableFact]
    public void FixedRate_OffersItsShareAndTrustsOrDiscardsEachTurn()
    {
        Require();
        Run("paced-h1", "--runs", "1", "--seconds", "1", "--peers", "sidecar").Expect();
        var result = Results().GetProperty("results")[0];
        Assert.True(result.GetProperty("offered_rate").GetDouble() > 0);
        var discarded = result.GetProperty("discarded_turns").EnumerateArray().SelectMany(static turn => turn.EnumerateArray()).Select(static reason => reason.GetString()!);
        // A busy machine spoils turns, and they say by what; a request that was not answered would be another reason.
        Assert.All(discarded, static reason => Assert.Matches("^sidecar: (the generator's own p99 is |others took )", reason));
        if (result.GetProperty("peers").TryGetProperty("sidecar", out var ours))
            Assert.True(ours.GetProperty("runs")[0].GetProperty("p99_us").GetDouble() > 0);
        else
            Assert.Equal(2, result.GetProperty("discarded_turns").GetArrayLength());
    }

    [SkippableFact]
    public void Must_WithoutThePeer_IsNoVerdictAndSaysWhy()
    {
        Require();
        Run("--must", "churn", "--runs", "1", "--seconds", "1", "--no-syscalls", "--peers", "sidecar").Expect();
        var figure = Results().GetProperty("must").EnumerateArray().Single();
        Assert.Equal("no verdict: haproxy was not measured", figure.GetProperty("verdict").GetString());
        Assert.StartsWith("| figure | must | aim | measured (spread) | verdict |\n", Text("table.md"));
    }

    [SkippableFact]
    public void Must_WithThePeer_IsAVerdict()
    {
        Require();
        Command.Require("haproxy");
        Run("--must", "churn", "--runs", "1", "--seconds", "1", "--no-syscalls", "--peers", "sidecar,haproxy").Expect();
        var figure = Results().GetProperty("must").EnumerateArray().Single();
        Assert.Contains(figure.GetProperty("verdict").GetString(), new[] { "aim met", "must met", "MISSED" });
        Assert.True(figure.GetProperty("measured").GetDouble() > 0);
    }

    [SkippableTheory]
    [InlineData("no scenario h9-h9", "h9-h9")]
    [InlineData("no peer squid", "h1-h1", "--peers", "sidecar,squid")]
    [InlineData("no scenario h1-h9", "--must", "h1-h9")]
    [InlineData("--runs is 1 or more", "--runs", "0")]
    public void Arguments_ThatMakeNoSense_AreToldAndMeasureNothing(string complaint, params string[] arguments)
    {
        Command.Require("python3");
        var result = Run(arguments);
        Assert.Equal(2, result.ExitCode);
        Assert.Contains(complaint, result.Errors);
        Assert.False(Directory.Exists(Out));
    }

    [SkippableFact]
    public void Help_NamesEveryScenarioAndPeer()
    {
        Command.Require("python3");
        string help = string.Join(' ', Run("--help").Expect().Output.Split((char[]?)null, System.StringSplitOptions.RemoveEmptyEntries));
        foreach (var file in Directory.GetFiles(Path.Combine(ProjectTree.Root, "perf", "load"), "*.json"))
            Assert.Contains(Path.GetFileNameWithoutExtension(file), help);
        Assert.Contains("--must", help);
    }

    private string Out => _folder.PathOf("out");

    private static void Require()
    {
        SidecarProcess.Require();
        Command.Require("python3", "gcc", "taskset", "wrk");
    }

    private CommandResult Run(params string[] arguments)
    {
        // Without real time: other tests want that processor too.
        using var process = Command.Start(null, null, Path.Combine(ProjectTree.Root, "perf", "run.sh"), [.. arguments, "--no-install", "--out", Out],
            new Dictionary<string, string> { ["SIDECAR"] = ProjectTree.Executable, ["PACED_FIRST"] = "0" });
        process.StandardInput.Close();
        var output = Task.Run(process.StandardOutput.ReadToEnd);
        var errors = Task.Run(process.StandardError.ReadToEnd);
        if (!process.WaitForExit(Command.TimeoutMs))
        {
            process.Kill(entireProcessTree: true);
            Assert.Fail($"perf/run.sh {string.Join(' ', arguments)} did not end");
        }
        return new CommandResult(process.ExitCode, output.Result, errors.Result, "perf/run.sh " + string.Join(' ', arguments));
    }

    private string Text(string name) => File.ReadAllText(Path.Combine(Out, name));

    private JsonElement Results()
    {
        using var document = JsonDocument.Parse(Text("results.json"));
        return document.RootElement.Clone();
    }

    public void Dispose() => _folder.Dispose();
}
