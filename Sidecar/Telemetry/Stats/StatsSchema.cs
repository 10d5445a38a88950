namespace Sidecar.Telemetry.Stats;

/// <summary>
/// What a stat measures: a counter only grows, a gauge is a level, a histogram a distribution of milliseconds or bytes; a text is what somebody said last.
/// </summary>
internal enum StatKind : byte { Counter, Gauge, Histogram, Text }

/// <summary>One stat of an owner: its last name segments as Envoy spells them (for example <c>upstream_rq_total</c>), and its kind.</summary>
internal readonly record struct StatDefinition(string Name, StatKind Kind = StatKind.Counter)
{
    /// <summary>One of many names of which few ever count: it is shown once it has.</summary>
    internal bool OnlyWhenUsed { get; init; }
}

/// <summary>
/// The stats one kind of owner has, by position. The owner's file declares the positions as constants beside the schema, so that
/// counting is an array store and no name is looked up per request.
/// </summary>
/// <param name="Definitions">One entry per position.</param>
internal sealed record StatsSchema(params StatDefinition[] Definitions)
{
    internal int Count => Definitions.Length;

    /// <summary>How many positions, from the first, the control loop writes in the ordinary course of things; its cells start with room for these.</summary>
    internal int ControlCount { get; init; } = Definitions.Length;
}
