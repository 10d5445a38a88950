using Google.Protobuf.WellKnownTypes;
using Sidecar.Wire;

namespace Sidecar.Xds;

/// <summary>What a reader of configuration finds wrong, each by its path, and the values that several of them read.</summary>
internal sealed class FieldProblems(WireProblems problems)
{
    /// <summary>The field is refused, and with it the bootstrap.</summary>
    internal void Reject(string path, string reason) => problems.Add(new WireProblem(WireProblemKind.Invalid, path.TrimStart('.'), reason, 0, 0));

    /// <summary>The field has no effect.</summary>
    internal void Unsupported(string path, string reason) => problems.Add(new WireProblem(WireProblemKind.Unsupported, path.TrimStart('.'), reason, 0, 0));

    /// <summary>A duration, rounded up; refused when it is out of range.</summary>
    internal long Milliseconds(Duration duration, long min, string path)
    {
        // A duration that long is as good as none.
        if (duration.Seconds is >= 0 and < 1_000_000_000 && duration.Nanos is >= 0 and < 1_000_000_000)
        {
            long ms = duration.Seconds * 1000 + (duration.Nanos + 999_999) / 1_000_000;
            if (ms >= min)
                return ms;
        }
        Reject(path, min > 0 ? "must be at least 1 ms" : "must not be negative");
        return min;
    }
}
