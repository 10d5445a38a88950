using System.Diagnostics;

namespace Sidecar.Http.H2;

/// <summary>Flow control windows (RFC 9113 section 5.2): what may still be sent.</summary>
internal struct FlowWindow(int size)
{
    /// <summary>What both sides start with, in bytes (section 6.9.2).</summary>
    internal const int InitialSize = 65535;

    /// <summary>The largest a window may become.</summary>
    internal const int SizeMax = int.MaxValue;

    // Negative after a smaller SETTINGS_INITIAL_WINDOW_SIZE (section 6.9.2).
    private int _size = size;

    internal readonly int Size => _size;
    internal readonly int Available => _size > 0 ? _size : 0;

    internal void Take(int bytes)
    {
        Debug.Assert(bytes <= _size);
        _size -= bytes;
    }

    /// <summary>Widens or narrows the window.</summary>
    /// <returns>False when it would exceed <see cref="SizeMax"/>: FLOW_CONTROL_ERROR.</returns>
    internal bool TryChange(long delta)
    {
        long size = _size + delta;
        if (size is > SizeMax or < int.MinValue)
            return false;
        _size = (int)size;
        return true;
    }
}

/// <summary>
/// What the peer may still send, and what we owe it: consumed bytes are given back once they are half the window, so that one WINDOW_UPDATE serves
/// many frames and the peer never waits for a window that is open.
/// </summary>
internal struct ReceiveWindow(int size)
{
    private readonly int _target = size;
    private int _size = size;
    private int _consumed;

    internal readonly int Size => _size;

    /// <summary>Consumed, not given back yet.</summary>
    internal readonly int Owed => _consumed;

    /// <summary>Counts a frame's payload, padding included.</summary>
    /// <returns>False when the peer sent more than it may.</returns>
    internal bool TryReceive(int bytes)
    {
        if (bytes > _size)
            return false;
        _size -= bytes;
        return true;
    }

    /// <summary>Bytes have been dealt with.</summary>
    internal void Consume(int bytes) => _consumed += bytes;

    /// <summary>Takes the increment of a WINDOW_UPDATE that is due; 0 when none is.</summary>
    internal int TakeUpdate()
    {
        if (_consumed < (_target + 1) / 2 || _consumed == 0)
            return 0;
        int increment = _consumed;
        _consumed = 0;
        _size += increment;
        return increment;
    }
}
