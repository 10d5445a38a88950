using System.Collections.Generic;

namespace Sidecar.Wire;

/// <summary>What kind of trouble a field is.</summary>
internal enum WireProblemKind : byte
{
    /// <summary>Not readable: JSON or protobuf that is broken, or a value that is not of the field's type.</summary>
    Invalid,

    /// <summary>Neither Envoy nor Sidecar knows the field or type. An error, as in Envoy's strict validation.</summary>
    Unknown,

    /// <summary>Known to Envoy, not supported here. Reported, not refused.</summary>
    Unsupported,

    /// <summary>Taken on purpose, without effect; the reason says why.</summary>
    Ignored,
}

/// <summary>One thing wrong with a message, where it is, and what to do.</summary>
/// <param name="Kind">How bad it is: Invalid and Unknown refuse the resource.</param>
/// <param name="Path">The field: "filter_chains[0].filters[0].typed_config.&lt;HttpConnectionManager&gt;.http3_protocol_options".</param>
/// <param name="Reason">What is wrong, one line.</param>
/// <param name="Line">From 1, in the JSON document; 0 when there is none.</param>
/// <param name="Column">From 1, in bytes; 0 when there is none.</param>
internal readonly record struct WireProblem(WireProblemKind Kind, string Path, string Reason, int Line, int Column)
{
    /// <summary>Whether the resource must be refused.</summary>
    public bool IsError => Kind is WireProblemKind.Invalid or WireProblemKind.Unknown;
}

/// <summary>Problems as they are met. Bounded, so that garbage cannot fill the memory with complaints.</summary>
internal sealed class WireProblems
{
    private const int ProblemsMax = 200;
    private readonly List<WireProblem> _list = [];

    /// <summary>In the order they were met.</summary>
    public IReadOnlyList<WireProblem> List => _list;

    /// <summary>How many of them are errors, counted also past the bound.</summary>
    public int ErrorCount { get; private set; }

    /// <summary>Reading JSON met something that <see cref="UnsupportedFields"/> may have to name; where it did not, there is nothing to walk for.</summary>
    public bool MetUnsupported { get; set; }

    /// <summary>Remembers one.</summary>
    public void Add(WireProblem problem)
    {
        if (problem.IsError)
            ErrorCount++;
        if (_list.Count < ProblemsMax)
            _list.Add(problem);
    }

    /// <summary>Forgets all.</summary>
    public void Clear()
    {
        _list.Clear();
        ErrorCount = 0;
        MetUnsupported = false;
    }
}
