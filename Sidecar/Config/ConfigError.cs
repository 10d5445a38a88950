using System.Text;
using Sidecar.Wire;

namespace Sidecar.Config;

/// <summary>How much a problem of the configuration matters.</summary>
internal enum ConfigErrorKind : byte
{
    /// <summary>The resource is refused; what was there before stays.</summary>
    Error,

    /// <summary>Known to Envoy, not supported here: reported (validate, /config_status), not refused.</summary>
    Unsupported,

    /// <summary>Taken without effect, on purpose.</summary>
    Ignored,
}

/// <summary>One thing wrong with the configuration: where it is and what to do. Its text is one line.</summary>
/// <param name="File">The file, or the control plane's address.</param>
/// <param name="Resource">"listener virtualOutbound"; empty when the trouble is with the file.</param>
/// <param name="Path">The field within the resource; empty when the trouble is with all of it.</param>
/// <param name="Reason">What is wrong, and what to do.</param>
internal sealed record ConfigError(string File, string Resource, string Path, string Reason)
{
    /// <summary>How much it matters.</summary>
    public ConfigErrorKind Kind { get; init; }

    /// <summary>From 1; 0 when the file has no lines.</summary>
    public int Line { get; init; }

    /// <summary>From 1, in bytes; 0 when there is none.</summary>
    public int Column { get; init; }

    /// <summary>Refuses the resource.</summary>
    public bool IsError => Kind == ConfigErrorKind.Error;

    /// <summary>The same trouble, told of a resource of a file.</summary>
    public static ConfigError From(WireProblem problem, string file, string resource) =>
        new(file, resource, problem.Path, problem.Reason)
        {
            Kind = problem.Kind switch
            {
                WireProblemKind.Unsupported => ConfigErrorKind.Unsupported,
                WireProblemKind.Ignored => ConfigErrorKind.Ignored,
                _ => ConfigErrorKind.Error,
            },
            Line = problem.Line,
            Column = problem.Column,
        };

    /// <summary>"webapp.json:12:9: listener virtualOutbound: filter_chains[0].fliters: unknown field …".</summary>
    public override string ToString()
    {
        var text = new StringBuilder(File);
        if (Line > 0)
            text.Append(':').Append(Line).Append(':').Append(Column);
        if (Resource.Length > 0)
            text.Append(text.Length > 0 ? ": " : "").Append(Resource);
        if (Path.Length > 0)
            text.Append(text.Length > 0 ? ": " : "").Append(Path);
        text.Append(text.Length > 0 ? ": " : "").Append(Reason);
        // One line, whatever a name in it holds.
        return text.Replace('\n', ' ').Replace('\r', ' ').ToString();
    }
}
