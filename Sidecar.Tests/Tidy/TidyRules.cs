using System.Linq;

namespace Sidecar.Tests.Tidy;

/// <summary>
/// The rules of the house that a machine can check, as tables. To add one: a row here, a case in <see cref="TidyCheckerTests"/>
/// that breaks it. The import table itself is section 2 of ARCHITECTURE.md.
/// </summary>
internal static class TidyRules
{
    /// <summary>Folders whose code runs on workers: one thread each, no locks, no thread pool, no allocation per request.</summary>
    internal static readonly string[] DataPlane =
    [
        "Sidecar/Memory", "Sidecar/Telemetry", "Sidecar/Loop", "Sidecar/Net", "Sidecar/Tls", "Sidecar/Http", "Sidecar/Routing", "Sidecar/Upstream",
        "Sidecar/AccessLog", "Sidecar/Tracing", "Sidecar/Filters", "Sidecar/Downstream",
    ];

    internal static readonly string[] Product = ["Sidecar"];

    internal static readonly string[] Everywhere = ["Sidecar", "Sidecar.Tests", "perf"];

    /// <summary>Calls that are not made, where, and what is done instead. Comments and strings are not looked at.</summary>
    internal static readonly BannedCall[] BannedCalls =
    [
        // Time
        new(@"\bThread\.Sleep\b", Everywhere, "wait for the event itself: a readable descriptor, a timer of the loop, a manual clock in tests"),
        new(@"\bTask\.Delay\b", Everywhere, "wait for the event itself: a timer of the loop, a manual clock in tests"),
        new(@"\bDateTime(Offset)?\.(Utc)?Now\b", Everywhere, "take the time from LoopClock or a parameter", "Sidecar/Telemetry/Log.cs"),
        new(@"\bStopwatch\.|\bEnvironment\.TickCount", Product, "take the time from LoopClock or a parameter"),

        // Randomness
        new(@"\bnew (System\.)?Random\(\)|\bRandom\.Shared\b|\bGuid\.NewGuid\b", Everywhere, "take a seeded source of randomness as a parameter"),

        // Threads: a worker is one thread
        new(@"\bTask\.Run\b|\bThreadPool\b|\bParallel\.", DataPlane, "stay on the loop; another loop is reached through its Mailbox"),
        new(@"\block\s*\(|\bMonitor\.|\bnew (Mutex|SemaphoreSlim|ReaderWriterLockSlim|Lock)\b", DataPlane, "no state is shared between workers; post to a Mailbox", "Sidecar/Telemetry/Log.cs"),
        new(@"\basync\b|\bawait\b", DataPlane, "be called back by the loop (OnX)"),
        new(@"\bnew (System\.Threading\.)?(Timer|PeriodicTimer|Thread)\b", DataPlane, "use the loop's TimerWheel; threads are started by Server/Worker"),

        // What costs an allocation or a hidden loop per request
        new(@"\bSystem\.Linq\b", DataPlane, "write the loop"),
        new(@"\bSystem\.Net\.Sockets\b", DataPlane, "use Linux/Sockets"),

        // What does not belong in the product at all
        new(@"\bConsole\.", Product, "write through Telemetry/Log", "Sidecar/Program.cs", "Sidecar/Telemetry/Log.cs", "Sidecar/Capture/"),
        new(@"\bSystem\.Diagnostics\.Process\b|\bProcess\.Start\b|\bProcessStartInfo\b", Product, "use Linux/Process: the class library's costs megabytes", "Sidecar/Linux/Process.cs"),
        new(@"\bSystem\.Net\.Http\b|\bHttpClient\b", Product, "use Upstream/HttpCall"),
        new(@"\bSystem\.Reflection\b|\bActivator\.CreateInstance\b|\bType\.GetType\b", Product, "register it in a table: reflection is not trimmed safely"),
        new(@"\[DllImport\b", Product, "use [LibraryImport] with a blittable signature"),
        new(@"\[LibraryImport\b", Product, "declare it in Linux/ or Tls/", "Sidecar/Linux/", "Sidecar/Tls/"),
        new(@"\bJsonParser\b|\bJsonFormatter\b|\bTypeRegistry\b", Product, "use Wire/Transcoder"),
        new(@"\.Descriptor\b|\bAny\.Pack\b|\bTryUnpack\b|\.Unpack<", Product,
            "name the type URL and parse the bytes: a descriptor brings the reflection of every message into the executable, 2.7 MB of it"),
        new(@"^\s*#region\b", Everywhere, "split the type or order its members"),
    ];

    /// <summary>Namespaces of the classes generated from Sidecar/Wire/Protos, and of the runtime they need.</summary>
    internal static readonly string[] GeneratedNamespaces = ["Google.Protobuf", "Google.Rpc", "Google.Api", "Envoy", "Xds", "Udpa", "Istio", "Opentelemetry"];

    /// <summary>Folders that may use generated wire types anywhere; those marked (Create) in the import table may in static members.</summary>
    internal static readonly string[] GeneratedVisibleIn = ["Wire", "Xds", "Config", "Agent"];

    /// <summary>Classes that speak a gRPC service themselves and so hold its messages.</summary>
    internal static readonly string[] GrpcSpeakers = ["GrpcSink.cs", "OtlpExporter.cs", "ExtAuthzFilter.cs"];

    /// <summary>Files on the border itself: they hand wire types from Config to the Create methods of extensions.</summary>
    internal static readonly string[] BorderFiles = ["ConfigScope.cs"];

    /// <summary>Where extensions are registered; each is named in exactly one of them, once.</summary>
    internal static readonly string[] Registries = ["Sidecar/Filters/HttpFilters.cs", "Sidecar/Filters/ListenerFilters.cs", "Sidecar/Downstream/NetworkFilters.cs"];

    /// <summary>What the top of the repository holds: nothing missing, nothing more.</summary>
    internal static readonly string[] TopLevel =
    [
        "Sidecar", "Sidecar.Tests", "perf", "build.sh", "build.ps1", "global.json", "README.md", "ARCHITECTURE.md", "Dockerfile", ".ci", "Sidecar.slnx",
        ".editorconfig", ".gitignore", "Directory.Build.props",
    ];

    /// <summary>What tools leave behind and .gitignore names.</summary>
    internal static readonly string[] IgnoredFolders = [".git", "bin", "obj", "artifacts", "TestResults", ".vs", ".vscode", ".idea", "results"];

    /// <summary>Names that say nothing: what two folders share goes one band down under its real name.</summary>
    internal const string ShapelessNames = @"(^|/)(Common|Utils?|Utilities|Helpers?|Infrastructure|Misc|Shared)(/|\.cs$)|(Utils?|Helpers?)\.cs$";

    /// <summary>Text that ties the project to one machine or one source of packages. Spelt in halves so that this file passes its own test.</summary>
    internal static readonly (string Pattern, string Why)[] ForeignText =
    [
        (@"(?<![\w.])/work" + "/", "a path of one machine: make it relative to the project's root"),
        (@"(?<![\w.])/home" + @"/\w", "a path of one machine: make it relative to the project's root"),
        ("work" + "place", "a word about how the project is made, not what it is"),
        (@"\bC" + @"EO\b", "a word about how the project is made, not what it is"),
        ("nuget" + @"\.org|npm" + @"js\.|pypi" + @"\.org|deb\." + @"debian\.org|proxy\." + @"golang\.org", "a package registry's host: the clients know theirs"),
    ];

    /// <summary>Files that <see cref="ForeignText"/> is looked for in.</summary>
    internal static readonly string[] TextFiles =
        [".cs", ".csproj", ".props", ".slnx", ".sh", ".ps1", ".md", ".json", ".proto", ".tsv", ".yaml", ".vtc", ".py", ".txt", "run", "Dockerfile", ".editorconfig", ".gitignore"];

    /// <summary>The deepest folder below Sidecar/, in levels. Protos keep the paths of their packages.</summary>
    internal const int FolderLevelsMax = 3;

    internal static bool IsIn(string path, string[] folders) => folders.Any(folder => path.StartsWith(folder + "/", System.StringComparison.Ordinal));
}

/// <summary>One row of <see cref="TidyRules.BannedCalls"/>.</summary>
/// <param name="Pattern">Regular expression over source without comments and strings.</param>
/// <param name="Where">Folders it holds in.</param>
/// <param name="Instead">What to do, as told to the author.</param>
/// <param name="Except">Files, or folders ending in '/', it does not hold in.</param>
internal sealed record BannedCall(string Pattern, string[] Where, string Instead, params string[] Except);
