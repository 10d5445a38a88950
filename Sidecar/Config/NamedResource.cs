using System;
using System.Collections.Generic;
using Google.Protobuf;
using Sidecar.Wire;
using WireCore = Envoy.Config.Core.V3;

namespace Sidecar.Config;

/// <summary>
/// A resource that others take by its name and from a source that they say themselves: a secret (SDS), the configuration of an extension (ECDS).
/// </summary>
/// <param name="TypeUrl">What it is.</param>
/// <param name="Name">Its name, as its source knows it.</param>
/// <param name="Origin">What tells sources apart; <see cref="ResourceOrigins.Ads"/>: the aggregated stream.</param>
/// <param name="Source">envoy.config.core.v3.ConfigSource, for who subscribes.</param>
/// <remarks>Immutable.</remarks>
internal sealed record NamedResource(string TypeUrl, string Name, string Origin, ReadOnlyMemory<byte> Source)
{
    /// <summary>What it is kept under: two sources may have something else by the same name.</summary>
    internal string Key { get; } = ResourceOrigins.Key(Name, Origin);

    /// <summary>Whether who names it serves only once it has come.</summary>
    internal bool Waits { get; init; } = true;
}

/// <summary>Checks an envoy.config.core.v3.ConfigSource, in wire bytes, as a source of a type: what is wrong with it goes to the problems.</summary>
internal delegate void ConfigSourceCheck(ReadOnlySpan<byte> source, string typeUrl, WireProblems problems);

/// <summary>Gives each source of named resources a name of its own.</summary>
/// <remarks>Control loop only.</remarks>
internal sealed class ResourceOrigins
{
    /// <summary>The aggregated stream.</summary>
    internal const string Ads = "ads";

    private readonly Dictionary<ByteString, string> _known = [];

    /// <summary>What a resource is kept under. Without an origin, as the configuration's own have none, that is its name.</summary>
    internal static string Key(string name, string origin) => origin.Length == 0 ? name : name + "\n" + origin;

    /// <summary>The name of a source. How long its first answer is waited for makes no other source of it.</summary>
    internal string Of(WireCore.ConfigSource source)
    {
        if (source.ConfigSourceSpecifierCase == WireCore.ConfigSource.ConfigSourceSpecifierOneofCase.Ads)
            return Ads;
        var same = source.Clone();
        same.InitialFetchTimeout = null;
        same.ResourceApiVersion = default;
        var bytes = same.ToByteString();
        if (!_known.TryGetValue(bytes, out string? origin))
            _known.Add(bytes, origin = $"source {_known.Count + 1}");
        return origin;
    }
}
