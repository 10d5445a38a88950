using System;

namespace Sidecar.Upstream.LoadBalancing;

/// <summary>
/// Earliest deadline first: each member comes up in proportion to its weight, evenly interleaved. A pick takes the member with the
/// earliest deadline and puts it back at <c>now + 1/weight</c>; O(log n), no allocation.
/// </summary>
/// <remarks>Worker-owned. Members are numbers 0..n-1; ties go to the one that was put in first.</remarks>
internal sealed class EdfScheduler
{
    private readonly Entry[] _heap;
    private double _now;
    private long _order;
    private int _count;

    private readonly record struct Entry(double Deadline, long Order, int Member)
    {
        internal bool IsBefore(in Entry other) => Deadline < other.Deadline || Deadline == other.Deadline && Order < other.Order;
    }

    internal EdfScheduler(int members) => _heap = new Entry[members];

    internal int Count => _count;

    /// <summary>Puts a member in, to come up <c>1/weight</c> from now.</summary>
    internal void Add(int member, double weight)
    {
        var entry = new Entry(_now + 1.0 / weight, _order++, member);
        int at = _count++;
        while (at > 0)
        {
            int parent = (at - 1) / 2;
            if (!entry.IsBefore(_heap[parent]))
                break;
            _heap[at] = _heap[parent];
            at = parent;
        }
        _heap[at] = entry;
    }

    /// <summary>Takes out the member whose turn it is; the caller puts it back with its present weight. The scheduler must not be empty.</summary>
    internal int Take()
    {
        var top = _heap[0];
        _now = top.Deadline;
        var last = _heap[--_count];
        int at = 0;
        while (true)
        {
            int child = at * 2 + 1;
            if (child >= _count)
                break;
            if (child + 1 < _count && _heap[child + 1].IsBefore(_heap[child]))
                child++;
            if (!_heap[child].IsBefore(last))
                break;
            _heap[at] = _heap[child];
            at = child;
        }
        _heap[at] = last;
        return top.Member;
    }
}
