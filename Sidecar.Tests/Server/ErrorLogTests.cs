using System;
using System.Collections.Generic;
using System.IO;
using System.Linq;
using System.Text;
using Sidecar.Config;
using Sidecar.Server;
using Sidecar.Telemetry;
using Xunit;

namespace Sidecar.Tests.Server;

/// <summary>How much of what is wrong is logged, and how often.</summary>
[Collection(nameof(ErrorLogTests))]
public sealed class ErrorLogTests : IDisposable
{
    private readonly Stream _before = Log.Sink;
    private readonly MemoryStream _lines = new();
    private readonly ErrorLog _log = new(resource => resource.Length == 0 ? null : resource != "cluster new");

    public ErrorLogTests()
    {
        Log.Sink = _lines;
    }

    public void Dispose() => Log.Sink = _before;

    private static ConfigError Error(int i, int line = 0) => new("f.json", $"cluster c{i}", "name", "is bad") { Line = line };

    private static List<ConfigError> Errors(int count, int line = 0) => [.. Enumerable.Range(0, count).Select(i => Error(i, line))];

    // Other tests of the process may log meanwhile; these errors are only here.
    private string[] Taken()
    {
        string[] lines = [.. Encoding.UTF8.GetString(_lines.ToArray()).Split('\n').Where(line => line.Contains("is bad") || line.Contains("more; see"))];
        _lines.SetLength(0);
        return lines;
    }

    [Fact]
    public void FiveThousandErrors_AreTwentyLines_AndTheNumberOfTheRest()
    {
        Assert.Equal(5000, _log.Tell("f", Errors(5000)));
        var lines = Taken();
        Assert.Equal(ErrorLog.LinesMax + 1, lines.Length);
        Assert.EndsWith("[config] f.json: cluster c0: name: is bad; the version in use stays", lines[0]);
        Assert.EndsWith("[config] and 4980 more; see /config_status", lines[^1]);
    }

    [Fact]
    public void WhatStaysInUse_IsSaidAsItIs()
    {
        _log.Tell("f", [new ConfigError("f.json", "cluster new", "", "is bad"), new ConfigError("f.json", "", "", "is bad too")]);
        var lines = Taken();
        Assert.EndsWith("cluster new: is bad; there is none in use", lines[0]);
        Assert.EndsWith("f.json: is bad too; what is in use stays", lines[1]);
    }

    [Fact]
    public void UnchangedErrors_AreNotSaidAgain_WhereverTheyStand_UntilMended()
    {
        _log.Tell("f", Errors(3));
        Taken();
        Assert.Equal(0, _log.Tell("f", Errors(3, line: 7)));
        Assert.Equal(1, _log.Tell("f", Errors(4)));
        Assert.Single(Taken());
        _log.Tell("f", []);
        Assert.Equal(3, _log.Tell("f", Errors(3)));
        Assert.Equal(3, Taken().Length);
    }

    [Fact]
    public void SourcesDoNotStandForEachOther()
    {
        _log.Tell("f", Errors(1));
        Assert.Equal(1, _log.Tell("g", Errors(1)));
        Assert.Equal(0, _log.Tell("f", Errors(1)));
    }

    [Fact]
    public void PartOfASource_LeavesTheOthersAsTheyWere()
    {
        _log.Tell("f", Errors(3));
        Assert.Equal(0, _log.Tell("f", [], isPart: new HashSet<string> { "cluster c1" }));
        // c1 was mended: it is news again; c0 and c2 are not.
        Assert.Equal(1, _log.Tell("f", Errors(3), isPart: new HashSet<string> { "cluster c0", "cluster c1", "cluster c2" }));
    }
}
