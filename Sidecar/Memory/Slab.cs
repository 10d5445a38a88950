using System;
using System.Diagnostics;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace Sidecar.Memory;

/// <summary>
/// One fixed-size pinned block of a <see cref="Slab"/>. While it is part of a <see cref="BufferChain"/> it carries its own
/// readable range and the link to the next block, so a chain needs no nodes of its own.
/// </summary>
/// <remarks>Worker-owned: a block belongs to one slab and, while rented, to exactly one owner.</remarks>
internal sealed class SlabBlock
{
    internal readonly byte[] Array;
    internal readonly nint Address;

    /// <summary>Readable range [Start, End) while the block is in a chain.</summary>
    internal int Start;
    internal int End;
    internal SlabBlock? Next;

    internal SlabBlock(int size)
    {
        Array = GC.AllocateUninitializedArray<byte>(size, pinned: true);
        Address = Marshal.UnsafeAddrOfPinnedArrayElement(Array, 0);
    }

    internal int Length => Array.Length;
    internal Span<byte> Span => Array;
    internal ReadOnlySpan<byte> Readable => new(Array, Start, End - Start);
}

/// <summary>
/// A worker's supply of pinned blocks of one size, with a free list. Blocks are made on demand and kept for reuse: <see cref="FreeBlocksMax"/>
/// of them for good, and as many as were out at once lately (<see cref="RecentNeed"/>), so that steady traffic of any width allocates nothing while
/// a burst that has passed goes back to the garbage collector.
/// </summary>
/// <remarks>Worker-owned, no locks. Addresses are stable, so system calls take them without pinning.</remarks>
internal sealed class Slab : IMemoryKeeper
{
    /// <summary>Small in DEBUG so that growth, chaining and wrap-around run in every test.</summary>
#if DEBUG
    internal const int DefaultBlockSize = 512;
#else
    internal const int DefaultBlockSize = 16 * 1024;
#endif

    /// <summary>How many free blocks are kept: 4 MiB a worker at the default size, the working set of a busy sidecar.</summary>
    internal const int FreeBlocksMax = 256;

    private readonly int _blockSize;
    private readonly int _freeBlocksMax;

    // An array and no list of links: each link is a store the collector wants to know of.
    private Place[] _free = [];
    private int _freeCount;
    private int _rentedCount;
    private RecentNeed _need;
    private bool _isKnown;

    // A struct around each, since storing into an array of references asks for its element type every time.
    private readonly struct Place(SlabBlock? block)
    {
        internal readonly SlabBlock? Block = block;
    }

    internal Slab(int blockSize = DefaultBlockSize, int freeBlocksMax = FreeBlocksMax)
    {
        Debug.Assert(blockSize > 0);
        _blockSize = blockSize;
        _freeBlocksMax = freeBlocksMax;
    }

    internal int BlockSize => _blockSize;

    /// <summary>Blocks out at their owners; a leak test compares it before and after.</summary>
    internal int RentedCount => _rentedCount;

    public long HeldBytes => ((long)_rentedCount + _freeCount) * _blockSize;
    public long FreeBytes => (long)_freeCount * _blockSize;

    internal SlabBlock Rent()
    {
        _need.Note(++_rentedCount);
        int last = _freeCount - 1;
        var free = _free;
        if ((uint)last >= (uint)free.Length)
            return NewBlock();
        var block = free[last].Block!;
        free[last] = default;
        _freeCount = last;
        return block;
    }

    internal void Return(SlabBlock block)
    {
        Debug.Assert(block.Length == _blockSize);
        _rentedCount--;
        block.Start = block.End = 0;
        block.Next = null;
        int count = _freeCount;
        if (count >= _freeBlocksMax && count >= FreeLimit)
            return;
        var free = _free;
        if ((uint)count >= (uint)free.Length)
            free = Grow();
        free[count] = new Place(block);
        _freeCount = count + 1;
    }

    /// <summary>A period is over: lets go of free blocks that there has been no use for. The loop calls it every few seconds.</summary>
    internal void Trim()
    {
        _need.EndPeriod(_rentedCount);
        LetGo(_freeCount - FreeLimit);
    }

    /// <summary>As <see cref="Trim"/>, and nothing is kept for good.</summary>
    public int GiveBack(int itemsMax, bool isTight)
    {
        _need.EndPeriod(_rentedCount, isTight);
        return LetGo(Math.Min(itemsMax, _freeCount - (_need.Kept - _rentedCount)));
    }

    private int LetGo(int count)
    {
        for (int i = 0; i < count; i++)
            _free[--_freeCount] = default;
        if (count > 0 && _freeCount < _free.Length / 4)
            Array.Resize(ref _free, _freeCount);
        return Math.Max(0, count);
    }

    private int FreeLimit => Math.Max(_freeBlocksMax, _need.Kept);

    [MethodImpl(MethodImplOptions.NoInlining)]
    private Place[] Grow()
    {
        Array.Resize(ref _free, Math.Max(16, _free.Length * 2));
        return _free;
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    private SlabBlock NewBlock()
    {
        ThreadMemory.Current.OnGrowth(this, _blockSize, ref _isKnown);
        return new SlabBlock(_blockSize);
    }
}
