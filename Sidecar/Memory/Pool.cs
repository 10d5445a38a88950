using System;
using System.Runtime.CompilerServices;

namespace Sidecar.Memory;

/// <summary>
/// Objects of one kind kept for reuse by one worker: <see cref="KeptMin"/> of them for good, and as many as were out at once lately
/// (<see cref="RecentNeed"/>), so that steady traffic of any width makes none, while what only a burst needed goes back to the garbage collector.
/// </summary>
/// <remarks>Worker-owned, no locks. Who returns an object has reset it.</remarks>
internal sealed class Pool<T>(Func<T> create, int keptMin = Pool<T>.KeptMin) : IMemoryKeeper where T : class
{
    /// <summary>What is kept however quiet it is.</summary>
    internal const int KeptMin = 1024;

    /// <summary>A period lasts so many returns: time would say nothing about whether the objects are used.</summary>
    private const int PeriodReturns = 1 << 16;

    // A struct around each, since storing into an array of references asks for its element type every time.
    private struct Place
    {
        internal T? Item;
    }

    private Place[] _free = [];
    private int _freeCount;
    private int _rented;
    private RecentNeed _need;
    private int _returns;
    private readonly int _keptMin = keptMin;
    private int _itemBytes;
    private bool _isKnown;

    internal int FreeCount => _freeCount;

    /// <summary>As large as one was when it was made; what it took to it since is not seen.</summary>
    public long HeldBytes => ((long)_rented + _freeCount) * _itemBytes;
    public long FreeBytes => (long)_freeCount * _itemBytes;

    internal T Rent()
    {
        _need.Note(++_rented);
        int last = _freeCount - 1;
        var free = _free;
        if ((uint)last >= (uint)free.Length)
            return Make();
        var item = free[last].Item!;
        free[last].Item = null;
        _freeCount = last;
        return item;
    }

    internal void Return(T item)
    {
        _rented--;
        if (++_returns >= PeriodReturns)
            EndPeriod();
        int count = _freeCount;
        if (count >= FreeLimit)
            return;
        var free = _free;
        if ((uint)count >= (uint)free.Length)
            free = Grow();
        free[count].Item = item;
        _freeCount = count + 1;
    }

    private int FreeLimit => Math.Max(_keptMin, _need.Kept);

    private Place[] Grow()
    {
        Array.Resize(ref _free, Math.Max(4, _free.Length * 2));
        return _free;
    }

    /// <summary>Nothing is kept for good.</summary>
    public int GiveBack(int itemsMax, bool isTight)
    {
        _returns = 0;
        _need.EndPeriod(_rented, isTight);
        int count = Math.Min(itemsMax, _freeCount - (_need.Kept - _rented));
        for (int i = 0; i < count; i++)
            _free[--_freeCount].Item = null;
        if (count > 0 && _freeCount < _free.Length / 4)
            Array.Resize(ref _free, _freeCount);
        return Math.Max(0, count);
    }

    private void EndPeriod()
    {
        _returns = 0;
        _need.EndPeriod(_rented);
        while (_freeCount > FreeLimit)
            _free[--_freeCount].Item = null;
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    private T Make()
    {
        long before = GC.GetAllocatedBytesForCurrentThread();
        var item = create();
        int bytes = (int)(GC.GetAllocatedBytesForCurrentThread() - before);
        // The first one may have brought static things with it.
        if (_itemBytes == 0 || bytes < _itemBytes)
            _itemBytes = bytes;
        ThreadMemory.Current.OnGrowth(this, bytes, ref _isKnown);
        return item;
    }
}
