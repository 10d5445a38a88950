using System;
using System.Collections.Generic;
using System.Linq;
using Xunit;

namespace Sidecar.Tests.Tidy;

/// <summary>The checker on made-up sources: each rule is broken once and must say so, and what is allowed must pass.</summary>
public sealed class TidyCheckerTests
{
    private const string Architecture = """
        ## 1. Before
        | Http | Net | not this table |
        ## 2. Who may import whom
        | folder | may import | must not know |
        |---|---|---|
        | Linux | — | everything |
        | Memory | Linux | sockets |
        | Net | base | HTTP |
        | Http | Memory, Telemetry | sockets |
        | Wire | Memory | all |
        | Filters | Http, base, Wire (Create) | listeners |
        | Config | Filters, base, Wire | - |
        | Program | Config | - |
        ## 3. After
        """;

    [Fact]
    public void ImportTable_BaseAndCreateAreReadApart()
    {
        var table = TidyChecker.ReadImportTable(Architecture);
        Assert.Equal(["Filters", "Linux", "Loop", "Memory", "Telemetry"], table["Config"].Always.Where(f => f != "Wire").Order());
        Assert.Equal(["Wire"], table["Filters"].InCreate);
        Assert.DoesNotContain("Wire", table["Filters"].Always);
        Assert.Empty(table["Linux"].Always);
        Assert.Equal(["Memory", "Telemetry"], table["Http"].Always.Order());
    }

    [Theory]
    [InlineData("using Sidecar.Net;\nnamespace Sidecar.Http;")]
    [InlineData("using Address = Sidecar.Net.Address;\nnamespace Sidecar.Http;")]
    [InlineData("using static global::Sidecar.Net.Address;\nnamespace Sidecar.Http;")]
    [InlineData("namespace Sidecar.Http;\ninternal sealed class Parser { Sidecar.Net.Address _a; }")]
    [InlineData("namespace Sidecar.Http;\ninternal sealed class Parser { global::Sidecar.Net.Address _a; }")]
    [InlineData("namespace Sidecar.Http;\ninternal sealed class Parser { Net.Address _a; }")]
    public void Imports_AgainstTheTable_AreNamed(string text)
    {
        var problem = Assert.Single(TidyChecker.Imports([File("Sidecar/Http/Parser.cs", text), Address], Architecture));
        Assert.Contains("Http may not use Net", problem);
    }

    [Theory]
    [InlineData("using Sidecar.Memory;\nnamespace Sidecar.Http;")]
    [InlineData("namespace Sidecar.Http;\n// Sidecar.Net is below\ninternal sealed class Parser { string s = \"Sidecar.Net.Address\"; }")]
    [InlineData("namespace Sidecar.Http.H1;\nusing Sidecar.Http;")]
    [InlineData("namespace Sidecar.Http;\ninternal sealed class Parser { int A(Parser p) => p.Net.Address; }")]
    public void Imports_AlongTheTable_Pass(string text) =>
        Assert.Empty(TidyChecker.Imports([File("Sidecar/Http/Parser.cs", text), Address], Architecture));

    [Fact]
    public void Imports_OfAFolderWithoutARow_AreNamed() =>
        Assert.Contains("no row", Assert.Single(TidyChecker.Imports([File("Sidecar/Quic/Frame.cs", "namespace Sidecar.Quic;")], Architecture)));

    [Theory]
    [InlineData("private Wire.HTTPFault _fault;")]
    [InlineData("public Wire.HTTPFault? Fault { get; set; } = null;")]
    [InlineData("public override void OnRequestHead() { var x = new Wire.HTTPFault(); }")]
    [InlineData("private int Percent() => new Wire.HTTPFault().Abort;")]
    [InlineData("internal sealed record Config(Wire.HTTPFault Fault);")]
    [InlineData("private IMessage _any;")]
    public void GeneratedTypes_PastCreate_AreNamed(string member)
    {
        var text = "using Wire = global::Envoy.Extensions.Filters.Http.Fault.V3;\nnamespace Sidecar.Filters.Http;\ninternal sealed class FaultFilter\n{\n    private int _ok;\n    "
            + member + "\n    public static int Create(Wire.HTTPFault wire) { return wire.Abort; }\n}\n";
        var problem = Assert.Single(TidyChecker.Imports([File("Sidecar/Filters/Http/FaultFilter.cs", text)], Architecture));
        Assert.StartsWith("Sidecar/Filters/Http/FaultFilter.cs:6:", problem);
    }

    [Fact]
    public void GeneratedTypes_InStaticMembers_Pass()
    {
        const string text = """
            using Wire = global::Envoy.Extensions.Filters.Http.Fault.V3;
            namespace Sidecar.Filters.Http;
            internal sealed class FaultFilter(int x) : HttpFilter
            {
                private readonly int[] _table = [1, 2];
                public int Count { get; private set; }
                public override void OnTimer() { if (Count > 0) { Count--; } }
                internal sealed record Config(int DelayMs);
                public static Func<int>? Create(Wire.HTTPFault wire) { var y = new Wire.HTTPFault { A = { 1 } }; return () => y.A; }
                private static int Read(Wire.HTTPFault wire) => wire switch { { A: 1 } => 2, _ => 3 };
            }
            """;
        Assert.Empty(TidyChecker.Imports([File("Sidecar/Filters/Http/FaultFilter.cs", text)], Architecture));
    }

    [Fact]
    public void GeneratedTypes_WhereTheyAreUnknown_AreNamed() =>
        Assert.Contains("may not see", Assert.Single(TidyChecker.Imports([File("Sidecar/Http/Parser.cs", "using Google.Protobuf;\nnamespace Sidecar.Http;")], Architecture)));

    [Theory]
    [InlineData("Sidecar/Loop/EventLoop.cs", "Thread.Sleep(1);", true)]
    [InlineData("Sidecar.Tests/Loop/EventLoopTests.cs", "Thread.Sleep(1);", true)]
    [InlineData("Sidecar/Loop/EventLoop.cs", "// no Thread.Sleep(1);", false)]
    [InlineData("Sidecar/Loop/EventLoop.cs", "var s = \"Thread.Sleep\";", false)]
    [InlineData("Sidecar/Net/Connection.cs", "lock (_gate) { }", true)]
    [InlineData("Sidecar/Net/Connection.cs", "Block(1); Unlock(2);", false)]
    [InlineData("Sidecar/Telemetry/Log.cs", "lock (_gate) { }", false)]
    [InlineData("Sidecar/Admin/AdminServer.cs", "lock (_gate) { }", false)]
    [InlineData("Sidecar/Filters/Http/X.cs", "async Task F() { await G(); }", true)]
    [InlineData("Sidecar/Upstream/X.cs", "using System.Linq;", true)]
    [InlineData("Sidecar/Config/X.cs", "using System.Linq;", false)]
    [InlineData("Sidecar/Upstream/X.cs", "using System.Net.Sockets;", true)]
    [InlineData("Sidecar/Upstream/X.cs", "ThreadPool.QueueUserWorkItem(x);", true)]
    [InlineData("Sidecar/Upstream/X.cs", "Task.Run(F);", true)]
    [InlineData("Sidecar/Config/X.cs", "Console.WriteLine(1);", true)]
    [InlineData("Sidecar/Capture/X.cs", "Console.WriteLine(1);", false)]
    [InlineData("Sidecar/Program.cs", "Console.WriteLine(1);", false)]
    [InlineData("Sidecar/Config/X.cs", "var now = DateTime.UtcNow;", true)]
    [InlineData("Sidecar.Tests/Config/XTests.cs", "var r = new Random();", true)]
    [InlineData("Sidecar.Tests/Config/XTests.cs", "var r = new Random(7);", false)]
    [InlineData("Sidecar/Net/X.cs", "[LibraryImport(\"libc\")]", true)]
    [InlineData("Sidecar/Linux/X.cs", "[LibraryImport(\"libc\")]", false)]
    [InlineData("Sidecar/Linux/X.cs", "[DllImport(\"libc\")]", true)]
    [InlineData("Sidecar/Config/A.cs", "class A { string B(Heap h) => h.Descriptor.FullName; }", true)]
    [InlineData("Sidecar/Config/A.cs", "class A { Any B(Heap h) => Any.Pack(h); }", true)]
    [InlineData("Sidecar/Config/A.cs", "class A { bool B(Any any) => any.TryUnpack(out Heap _); }", true)]
    [InlineData("Sidecar/Config/A.cs", "class A { Heap B(Any any) => any.Unpack<Heap>(); }", true)]
    [InlineData("Sidecar.Tests/Config/ATests.cs", "class A { Any B(Heap h) => Any.Pack(h); }", false)]
    public void BannedCalls_AreFoundWhereTheyAreBanned(string path, string code, bool banned) =>
        Assert.Equal(banned, TidyChecker.BannedCalls([File(path, code)]).Count > 0);

    [Fact]
    public void Registries_FilterTwiceOrNever_IsNamed()
    {
        SourceFile[] sources =
        [
            File("Sidecar/Filters/HttpFilters.cs", "Add<A>(OnceFilter.Create); Add<B>(TwiceFilter.Create); Add<C>(TwiceFilter.Create);"),
            File("Sidecar/Filters/Http/OnceFilter.cs", "internal sealed class OnceFilter(Config c, WorkerScope w) : HttpFilter { }"),
            File("Sidecar/Filters/Http/TwiceFilter.cs", "internal sealed class TwiceFilter : HttpFilter { }"),
            File("Sidecar/Filters/Http/NeverFilter.cs", "internal sealed class NeverFilter : HttpFilter { }"),
            File("Sidecar.Tests/Filters/Http/OnceFilterTests.cs", ""),
            File("Sidecar.Tests/Filters/Http/TwiceFilterTests.cs", ""),
            File("Sidecar.Tests/Filters/Http/NeverFilterTests.cs", ""),
        ];
        var problems = TidyChecker.Registries(sources);
        Assert.Equal(2, problems.Count);
        Assert.Contains(problems, problem => problem.Contains("TwiceFilter is registered 2 times"));
        Assert.Contains(problems, problem => problem.Contains("NeverFilter is registered 0 times"));
    }

    [Fact]
    public void Registries_FilterWithoutTestFile_IsNamed()
    {
        SourceFile[] sources =
        [
            File("Sidecar/Filters/ListenerFilters.cs", "Add<A>(TlsInspector.Create);"),
            File("Sidecar/Filters/Listener/TlsInspector.cs", "internal sealed class TlsInspector : ListenerFilter { }"),
        ];
        Assert.Contains("write Sidecar.Tests/Filters/Listener/TlsInspectorTests.cs", Assert.Single(TidyChecker.Registries(sources)));
    }

    [Theory]
    [InlineData("Sidecar/Http/H1/Parser.cs", "namespace Sidecar.Http.H1;\n/// <summary>x</summary>\ninternal sealed class Parser { }", null)]
    [InlineData("Sidecar/Http/H1/Parser.cs", "namespace Sidecar.Http.H1;\n/// <summary>x</summary>\n[Flags]\ninternal enum Parser { }", null)]
    [InlineData("Sidecar/Http/H1/Parsers.cs", "namespace Sidecar.Http.H1;\n/// <summary>x</summary>\ninternal abstract class Parser { }", null)]
    [InlineData("Sidecar/Http/H1/Parser.Tables.cs", "namespace Sidecar.Http.H1;\n// Tables.\ninternal static partial class Parser { }", null)]
    [InlineData("Sidecar/Http/H1/Parser.cs", "namespace Sidecar.Http;\n/// <summary>x</summary>\ninternal sealed class Parser { }", "namespace Sidecar.Http in folder")]
    [InlineData("Sidecar/Http/H1/Parser.cs", "namespace Sidecar.Http.H1;\n/// <summary>x</summary>\ninternal sealed class Lexer { }", "no type Parser")]
    [InlineData("Sidecar/Http/H1/Parser.cs", "namespace Sidecar.Http.H1;\n\ninternal sealed class Parser { }", "no doc comment")]
    [InlineData("Sidecar/Http/Utils/Parser.cs", "namespace Sidecar.Http.Utils;\n/// <summary>x</summary>\ninternal sealed class Parser { }", "says nothing")]
    [InlineData("Sidecar/Http/HeaderHelpers.cs", "namespace Sidecar.Http;\n/// <summary>x</summary>\ninternal static class HeaderHelpers { }", "says nothing")]
    [InlineData("Sidecar/A/B/C/D/E.cs", "namespace Sidecar.A.B.C.D;\n/// <summary>x</summary>\ninternal static class E { }", "levels of folders")]
    public void Names_OutOfPlace_AreNamed(string path, string text, string? expected)
    {
        var problems = TidyChecker.Names([File(path, text)]);
        if (expected is null)
            Assert.Empty(problems);
        else
            Assert.Contains(expected, Assert.Single(problems));
    }

    [Fact]
    public void ForeignText_IsNamedWithItsLine()
    {
        (string, string)[] files = [("README.md", "fine\nsee /" + "work/main\n"), ("a.cs", "// ../shared/testdata and https://example.org/work/ are fine")];
        Assert.StartsWith("README.md:2:", Assert.Single(TidyChecker.ForeignText(files)));
    }

    [Fact]
    public void TopLevel_SurplusAndMissing_AreNamed()
    {
        IEnumerable<string> entries = TidyRules.TopLevel.Except(["README.md"]).Concat(["notes.txt", ".git", "artifacts"]);
        Assert.Equal(["notes.txt: not an entry of the repository's top level; move it below one", "README.md: missing at the repository's top level"], TidyChecker.TopLevel(entries));
    }

    [Fact]
    public void SourceFile_StringsAndComments_AreBlankedInPlace()
    {
        const string text = "a /* b\nc */ \"d\\\"e\" @\"f\"\"g\" '\"' h // i\n\"\"\"j \" k\"\"\" l";
        var code = File("Sidecar/X.cs", text).Code;
        Assert.Equal(text.Length, code.Length);
        Assert.Equal("a\n\"\"@\"\"''h\n\"\"\"\"\"\"l", code.Replace(" ", "", StringComparison.Ordinal));
    }

    private static readonly SourceFile Address = File("Sidecar/Net/Address.cs", "namespace Sidecar.Net;\ninternal struct Address { }");

    private static SourceFile File(string path, string text) => new(path, text);
}
