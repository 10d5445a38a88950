using System;
using Sidecar.Memory;

namespace Sidecar.Xds;

/// <summary>Waits between attempts: each at random below a bound that doubles, so that a fleet does not come back all at once.</summary>
/// <remarks>Envoy's JitteredExponentialBackOffStrategy. Control loop.</remarks>
internal sealed class Backoff
{
    /// <summary>Envoy's bounds for a stream to a control plane, unless retry_policy says otherwise.</summary>
    internal const long DefaultBaseMs = 500;
    internal const long DefaultMaxMs = 30_000;

    private readonly long _baseMs;
    private readonly long _maxMs;
    private readonly FastRandom _random;
    private long _boundMs;

    internal Backoff(long baseMs, long maxMs, FastRandom random)
    {
        _baseMs = _boundMs = baseMs;
        _maxMs = maxMs;
        _random = random;
    }

    /// <summary>How long to wait before the next attempt.</summary>
    internal long NextMs()
    {
        long bound = _boundMs;
        _boundMs = Math.Min(bound * 2, _maxMs);
        return _random.Next((uint)Math.Min(bound, uint.MaxValue));
    }

    /// <summary>An attempt succeeded.</summary>
    internal void Reset() => _boundMs = _baseMs;
}
