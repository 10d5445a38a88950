namespace Sidecar.Telemetry;

/// <summary>A number with its noun, as lines for people tell it: "1 error", "2 errors".</summary>
internal static class Counted
{
    /// <summary>The number and the noun, which gets an s unless there is one of it.</summary>
    internal static string Of(int count, string noun) => count == 1 ? $"1 {noun}" : $"{count} {noun}s";
}
