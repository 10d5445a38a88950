using Sidecar.Loop;
using Sidecar.Memory;

namespace Sidecar.Filters;

/// <summary>
/// What the overload manager wants of one worker. Shares are 0 to 1: of so many cases, chosen at random. Requests are refused also when the thread has
/// made more memory than the manager allowed for until it looks again: an attack can be faster than that.
/// </summary>
/// <remarks>Worker-owned; set by messages of the control loop.</remarks>
internal sealed class OverloadState(EventLoop loop, FastRandom random)
{
    private bool _isActive;
    private double _refusedRequests;
    private double _endedKeepAlive;
    private double _rejectedConnections;

    /// <summary>Connections stay in the kernel's queue.</summary>
    internal bool StopsAccepting { get; private set; }

    internal void Set(double refusedRequests, double endedKeepAlive, double rejectedConnections, bool stopsAccepting)
    {
        _refusedRequests = refusedRequests;
        _endedKeepAlive = endedKeepAlive;
        _rejectedConnections = rejectedConnections;
        StopsAccepting = stopsAccepting;
        _isActive = refusedRequests > 0 || endedKeepAlive > 0 || rejectedConnections > 0;
    }

    /// <summary>Whether a request that has just come is not to be served.</summary>
    internal bool RefusesRequest() => (_isActive && Hits(_refusedRequests)) || IsMemoryFull;

    /// <summary>The thread has made more memory than it was allowed: a request that has only begun is not to be kept either.</summary>
    internal bool IsMemoryFull => loop.Memory.IsFull;

    /// <summary>Whether a response is to end its connection.</summary>
    internal bool EndsKeepAlive() => _isActive && Hits(_endedKeepAlive);

    /// <summary>Whether a connection that was just accepted is closed at once.</summary>
    internal bool RejectsConnection() => _isActive && Hits(_rejectedConnections);

    private bool Hits(double share) => share >= 1 || (share > 0 && random.Chance((uint)(share * uint.MaxValue), uint.MaxValue));
}
