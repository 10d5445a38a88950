using Sidecar.Upstream;

namespace Sidecar.Xds;

/// <summary>
/// Which of two control planes is asked, as Envoy's xDS failover chooses: the first, and after two failures in a row before it ever answered, the
/// second; from then on in turns, until one answers. The second is left when its stream ends; once the first has answered, only it is asked.
/// </summary>
/// <remarks>Control loop. No clock, no stream.</remarks>
internal sealed class ControlPlaneChoice
{
    /// <summary>How long after the second control plane's end the first is asked again.</summary>
    internal const long ReturnMs = 500;

    private const int FailuresMax = 2;

    private readonly GrpcTarget _first;
    private readonly GrpcTarget? _second;
    private bool _firstAnswered;
    private int _failures;
    private GrpcTarget? _lastToAnswer;

    internal ControlPlaneChoice(GrpcTarget first, GrpcTarget? second)
    {
        _first = Current = first;
        _second = second;
    }

    /// <summary>Who is asked, or to be asked next.</summary>
    internal GrpcTarget Current { get; private set; }

    /// <summary>What is here came from <see cref="Current"/>, or nothing came yet.</summary>
    internal bool IsKnown => _lastToAnswer is null || ReferenceEquals(_lastToAnswer, Current);

    /// <summary><see cref="Current"/> has answered.</summary>
    internal void OnAnswer()
    {
        _lastToAnswer = Current;
        _firstAnswered |= ReferenceEquals(Current, _first);
    }

    /// <summary>The stream to <see cref="Current"/> is over, or never came to be.</summary>
    /// <returns>The wait before the next attempt; null: as usual.</returns>
    internal long? OnClosed()
    {
        if (_second is null || _firstAnswered)
            return null;
        if (!ReferenceEquals(Current, _first))
        {
            Current = _first;
            return ReturnMs;
        }
        if (++_failures < FailuresMax)
            return null;
        Current = _second;
        return 0;
    }
}
