using System;
using System.Diagnostics;
using System.Numerics;
using System.Runtime.CompilerServices;

namespace Sidecar.Loop;

/// <summary>Whoever wants to be called when time has passed.</summary>
internal interface ITimerOwner
{
    /// <summary>The deadline has passed. <paramref name="timer"/> is no longer armed and may be armed again.</summary>
    void OnTimer(LoopTimer timer);
}

/// <summary>
/// One timer: made once with its owner, armed and cancelled any number of times without allocating. <c>kind</c> tells an
/// owner's timers apart. Arm it with <see cref="EventLoop.Schedule"/>.
/// </summary>
/// <remarks>Worker-owned. Belongs to one loop while armed.</remarks>
internal sealed class LoopTimer(ITimerOwner owner, int kind = 0)
{
    public readonly ITimerOwner Owner = owner;
    public readonly int Kind = kind;

    // Filed at a time not later than the deadline: moving a deadline back only stores it, and the wheel files the
    // timer again when the old time comes. An idle timeout that restarts on every byte costs one store. A disarmed timer
    // stays filed too, and is dropped when that time comes: a pooled stream arms and disarms its timeouts for every
    // request, and touches the wheel once in a while.
    internal long DeadlineMs;
    internal long FiledMs;
    internal int Bucket = TimerWheel.NotFiled;
    internal LoopTimer? Previous;
    internal LoopTimer? Next;

    /// <summary>Waiting for its deadline.</summary>
    public bool IsArmed => Bucket != TimerWheel.NotFiled && DeadlineMs != TimerWheel.Disarmed;

    /// <summary>When it will fire, in the loop's <see cref="EventLoop.NowMs"/>; meaningful while armed.</summary>
    public long DueMs => DeadlineMs;
}

/// <summary>
/// All timers of one loop: four wheels of 256 buckets, of 1 ms, 256 ms, 65.5 s and 4.7 h. Arm, cancel and re-arm are O(1).
/// </summary>
/// <remarks>
/// Worker-owned. A timer sits in the finest wheel that reaches its time and moves to a finer one when the hand comes by
/// ("cascade"), so it fires in the very millisecond asked for, never early. A bitmap per wheel finds the next bucket
/// with anything in it, so a quiet wheel skips any distance at once.
/// </remarks>
internal sealed class TimerWheel
{
    internal const int NotFiled = -1;

    /// <summary>The deadline of a timer that is filed and not wanted.</summary>
    internal const long Disarmed = long.MaxValue;

    private const int Levels = 4;
    private const int BucketBits = 8;
    private const int BucketsPerLevel = 1 << BucketBits;
    private const int BucketMask = BucketsPerLevel - 1;

    // The list being fired right now. A timer in it can still be cancelled or moved by an earlier one's callback.
    private const int Firing = Levels * BucketsPerLevel;

    // Deadlines further than the wheels reach (49 days) are filed at their rim and filed again from there.
    private const long ReachMs = (1L << (Levels * BucketBits)) - 1;

    private readonly LoopTimer?[] _heads = new LoopTimer?[Firing + 1];
    private readonly LoopTimer?[] _tails = new LoopTimer?[Firing + 1];
    private readonly ulong[] _occupied = new ulong[Levels * BucketsPerLevel / 64];
    private long _nowMs;
    private int _count;

    public TimerWheel(long nowMs) => _nowMs = nowMs;

    /// <summary>Armed timers.</summary>
    public int Count => _count;

    /// <summary>Timers are due that the last <see cref="Advance"/> did not get to.</summary>
    public bool HasOverdue => _heads[Firing] is not null;

    /// <summary>As <see cref="Schedule"/>, where that takes a store or two: the timer is filed, at a time no later than the deadline.</summary>
    /// <returns>False when it takes more, and nothing was done.</returns>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public bool TryPostpone(LoopTimer timer, long deadlineMs)
    {
        if ((uint)timer.Bucket >= Firing || deadlineMs < timer.FiledMs)
            return false;
        if (timer.DeadlineMs == Disarmed)
            _count++;
        timer.DeadlineMs = deadlineMs;
        return true;
    }

    /// <summary>Arms <paramref name="timer"/>, or moves its deadline.</summary>
    public void Schedule(LoopTimer timer, long deadlineMs)
    {
        if (TryPostpone(timer, deadlineMs))
            return;
        if (!timer.IsArmed)
            _count++;
        timer.DeadlineMs = deadlineMs;
        if (timer.Bucket != NotFiled)
            Unlink(timer);
        File(timer, Math.Max(deadlineMs, _nowMs + 1));
    }

    /// <summary>Disarms <paramref name="timer"/> and forgets it; nothing happens when it is not filed.</summary>
    public void Cancel(LoopTimer timer)
    {
        if (timer.Bucket == NotFiled)
            return;
        if (timer.IsArmed)
            _count--;
        Unlink(timer);
    }

    /// <summary>Disarms <paramref name="timer"/> and leaves it filed; nothing happens when it is not armed.</summary>
    public void Disarm(LoopTimer timer)
    {
        if (!timer.IsArmed)
            return;
        timer.DeadlineMs = Disarmed;
        _count--;
    }

    /// <summary>Forgets what <see cref="Disarm"/> left filed, and with it the owners: a pool may have let go of them, and their time is far away.</summary>
    public void DropDisarmed()
    {
        for (int bucket = 0; bucket < Firing; bucket++)
        {
            for (var timer = _heads[bucket]; timer is not null;)
            {
                var next = timer.Next;
                if (timer.DeadlineMs == Disarmed)
                    Unlink(timer);
                timer = next;
            }
        }
    }

    /// <summary>When the wheel next has something to do (fire, cascade or drop), or <see cref="long.MaxValue"/>. Never later than the earliest deadline.</summary>
    public long NextMs()
    {
        if (HasOverdue)
            return _nowMs;
        long next = long.MaxValue;
        for (int level = 0; level < Levels; level++)
        {
            int shift = level * BucketBits;
            long hand = _nowMs >> shift;
            int distance = NextOccupied(level, (int)(hand & BucketMask));
            if (distance > 0)
                next = Math.Min(next, (hand + distance) << shift);
        }
        return next;
    }

    /// <summary>
    /// Moves time to <paramref name="toMs"/> and fires what is due, at most <paramref name="firesMax"/> timers; when more
    /// are due, time stops short and the next call goes on from there.
    /// </summary>
    /// <returns>Timers fired.</returns>
    public int Advance(long toMs, int firesMax, EventLoop? guard)
    {
        int fired = FireList(firesMax, guard);
        while (!HasOverdue)
        {
            long next = NextMs();
            if (next > toMs)
            {
                _nowMs = Math.Max(_nowMs, toMs);
                break;
            }
            _nowMs = next;
            for (int level = Levels - 1; level > 0; level--)
            {
                int shift = level * BucketBits;
                if ((next & ((1L << shift) - 1)) == 0)
                    Cascade(level * BucketsPerLevel + (int)(next >> shift & BucketMask));
            }
            MoveBucketToFiring((int)(next & BucketMask));
            fired += FireList(firesMax - fired, guard);
        }
        return fired;
    }

    private int FireList(int firesMax, EventLoop? guard)
    {
        int fired = 0;
        while (fired < firesMax && _heads[Firing] is { } timer)
        {
            Unlink(timer);
            if (timer.DeadlineMs == Disarmed)
                continue;
            if (timer.DeadlineMs > _nowMs)
            {
                File(timer, timer.DeadlineMs);
                continue;
            }
            _count--;
            fired++;
            if (guard is null)
                timer.Owner.OnTimer(timer);
            else
                guard.CallTimer(timer);
        }
        return fired;
    }

    // A deadline of exactly now lands in the finest wheel's current bucket, which is fired right after the cascade.
    private void Cascade(int bucket)
    {
        while (_heads[bucket] is { } timer)
        {
            Unlink(timer);
            if (timer.DeadlineMs != Disarmed)
                File(timer, Math.Max(timer.DeadlineMs, _nowMs));
        }
    }

    private void MoveBucketToFiring(int bucket)
    {
        while (_heads[bucket] is { } timer)
        {
            Unlink(timer);
            Link(timer, Firing);
        }
    }

    private void File(LoopTimer timer, long whenMs)
    {
        long delta = Math.Min(whenMs - _nowMs, ReachMs);
        Debug.Assert(delta >= 0, "a timer filed in the past");
        long filed = _nowMs + delta;
        int level = delta < 1L << BucketBits ? 0 : delta < 1L << (2 * BucketBits) ? 1 : delta < 1L << (3 * BucketBits) ? 2 : 3;
        timer.FiledMs = filed;
        Link(timer, level * BucketsPerLevel + (int)(filed >> (level * BucketBits) & BucketMask));
    }

    private void Link(LoopTimer timer, int bucket)
    {
        Debug.Assert(timer.Bucket == NotFiled, "a timer in two buckets");
        LoopTimer? tail = _tails[bucket];
        timer.Bucket = bucket;
        timer.Previous = tail;
        timer.Next = null;
        _tails[bucket] = timer;
        if (tail is not null)
        {
            tail.Next = timer;
            return;
        }
        _heads[bucket] = timer;
        if (bucket != Firing)
            _occupied[bucket >> 6] |= 1UL << (bucket & 63);
    }

    private void Unlink(LoopTimer timer)
    {
        int bucket = timer.Bucket;
        if (timer.Previous is null)
            _heads[bucket] = timer.Next;
        else
            timer.Previous.Next = timer.Next;
        if (timer.Next is null)
            _tails[bucket] = timer.Previous;
        else
            timer.Next.Previous = timer.Previous;
        timer.Previous = timer.Next = null;
        timer.Bucket = NotFiled;
        if (_heads[bucket] is null && bucket != Firing)
            _occupied[bucket >> 6] &= ~(1UL << (bucket & 63));
    }

    // Buckets from the one after `from` (distance 1) around to `from` itself (distance 256); 0 when all are empty.
    private int NextOccupied(int level, int from)
    {
        ReadOnlySpan<ulong> words = _occupied.AsSpan(level * (BucketsPerLevel / 64), BucketsPerLevel / 64);
        int start = from + 1 & BucketMask;
        ulong word = words[start >> 6] & ulong.MaxValue << (start & 63);
        for (int i = 0; i <= words.Length; i++)
        {
            if (word != 0)
            {
                int bucket = (((start >> 6) + i & 3) << 6) + BitOperations.TrailingZeroCount(word);
                int distance = bucket - from & BucketMask;
                return distance == 0 ? BucketsPerLevel : distance;
            }
            word = words[(start >> 6) + i + 1 & 3];
        }
        return 0;
    }
}
