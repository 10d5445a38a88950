using System;
using System.Numerics;
using System.Runtime.CompilerServices;

namespace Sidecar.Memory;

/// <summary>Something that keeps memory for reuse and can say how much: a <see cref="Slab"/>, a <see cref="Pool{T}"/>.</summary>
/// <remarks>Owned by one thread. The two properties may be read by any: they are sums of plain numbers, as old or new as the other thread's caches have them.</remarks>
internal interface IMemoryKeeper
{
    /// <summary>All it has made and not let go of, at its owners or free.</summary>
    long HeldBytes { get; }

    /// <summary>Of these, what lies ready.</summary>
    long FreeBytes { get; }

    /// <summary>A period is over: lets go of what lies ready beyond the need of late (<see cref="RecentNeed"/>).</summary>
    /// <param name="itemsMax">The most to let go of in one call.</param>
    /// <param name="isTight">Memory is short: the need of this period and the one before.</param>
    /// <returns>Items let go; <paramref name="itemsMax"/> when there may be more.</returns>
    int GiveBack(int itemsMax, bool isTight);
}

/// <summary>
/// What one thread keeps in memory for its connections: every slab and pool that has made something on it, and arrays too large for a block. Nothing is
/// counted per request: keepers know how many items are out and ready anyway, and what is new passes <see cref="OnGrowth"/>.
/// </summary>
/// <remarks>
/// Owned by its thread. The control loop reads the sums, and reads and writes <see cref="GrownBytes"/> and <see cref="GrowthMax"/>, which are single words.
/// </remarks>
internal sealed class ThreadMemory
{
    /// <summary>Arrays are powers of two from here…</summary>
    private const int ArrayBytesMin = 1024;

    /// <summary>…to here; larger ones are made to measure and not kept.</summary>
    private const int ArrayBytesMax = 16 * 1024 * 1024;

    /// <summary>Of each size, arrays of so many bytes together are kept for good; above that as many as were out at once lately.</summary>
    private const int ArrayBytesKept = 256 * 1024;

    /// <summary>Items let go in one call, so that the loop's turn stays short: about 0.1 ms.</summary>
    internal const int GiveBackItemsMax = 4096;

    private const int KeepersMin = 16;

    private static readonly int s_firstArrayBits = BitOperations.Log2(ArrayBytesMin);

    [ThreadStatic]
    private static ThreadMemory? t_current;

    private readonly Pool<byte[]>?[] _arrays = new Pool<byte[]>?[BitOperations.Log2(ArrayBytesMax) - BitOperations.Log2(ArrayBytesMin) + 1];

    // Filled in place and replaced when full, since another thread may be walking it. Weak: pools go with the configuration they were made for.
    private WeakReference<IMemoryKeeper>?[] _keepers = new WeakReference<IMemoryKeeper>?[KeepersMin];
    private int _keeperCount;
    private int _nextKeeper;

    /// <summary>Places for keepers, those that are gone and not left out yet among them.</summary>
    internal int KeeperPlaces => _keepers.Length;

    /// <summary>The calling thread's.</summary>
    internal static ThreadMemory Current
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        get => t_current ?? MakeCurrent();
    }

    /// <summary>Bytes made new since the start, whatever became of them.</summary>
    internal long GrownBytes { get; private set; }

    /// <summary>How far <see cref="GrownBytes"/> may go until the control loop has looked again.</summary>
    internal long GrowthMax { get; set; } = long.MaxValue;

    /// <summary>More has been made than was foreseen: nothing new is begun until the control loop has looked.</summary>
    internal bool IsFull => GrownBytes > GrowthMax;

    /// <summary>Sum of <see cref="IMemoryKeeper.HeldBytes"/>. Any thread.</summary>
    internal long HeldBytes
    {
        get
        {
            long sum = 0;
            foreach (var reference in _keepers)
                sum += reference is not null && reference.TryGetTarget(out var keeper) ? keeper.HeldBytes : 0;
            return sum;
        }
    }

    /// <summary>Sum of <see cref="IMemoryKeeper.FreeBytes"/>. Any thread.</summary>
    internal long FreeBytes
    {
        get
        {
            long sum = 0;
            foreach (var reference in _keepers)
                sum += reference is not null && reference.TryGetTarget(out var keeper) ? keeper.FreeBytes : 0;
            return sum;
        }
    }

    /// <summary>A keeper made something new on this thread, for the first time or again.</summary>
    internal void OnGrowth(IMemoryKeeper keeper, int bytes, ref bool isKnown)
    {
        GrownBytes += bytes;
        if (isKnown)
            return;
        isKnown = true;
        Add(keeper);
    }

    /// <summary>
    /// Ends a period for every keeper, from where the last call stopped, and lets go of at most <see cref="GiveBackItemsMax"/> items.
    /// </summary>
    /// <param name="isTight">See <see cref="IMemoryKeeper.GiveBack"/>.</param>
    /// <returns>True when all keepers have been asked; false: call again, in another turn.</returns>
    internal bool GiveBack(bool isTight)
    {
        int left = GiveBackItemsMax;
        while (_nextKeeper < _keeperCount)
        {
            if (_keepers[_nextKeeper]!.TryGetTarget(out var keeper))
                left -= keeper.GiveBack(left, isTight);
            if (left == 0)
                return false;
            _nextKeeper++;
        }
        _nextKeeper = 0;
        return true;
    }

    /// <summary>An array of at least <paramref name="bytesMin"/>, not cleared, of this thread; give it back to the same thread.</summary>
    internal static byte[] RentArray(int bytesMin) =>
        bytesMin <= ArrayBytesMax ? Current.ArraysOf(BitsOf(bytesMin)).Rent() : GC.AllocateUninitializedArray<byte>(bytesMin);

    /// <summary>Takes back what <see cref="RentArray"/> gave.</summary>
    internal static void ReturnArray(byte[] array)
    {
        if (array.Length <= ArrayBytesMax)
            Current.ArraysOf(BitsOf(array.Length)).Return(array);
    }

    private static int BitsOf(int bytes) => Math.Max(0, BitOperations.Log2((uint)Math.Max(bytes, 1) * 2 - 1) - s_firstArrayBits);

    private Pool<byte[]> ArraysOf(int bits) => _arrays[bits] ?? MakeArrays(bits);

    [MethodImpl(MethodImplOptions.NoInlining)]
    private Pool<byte[]> MakeArrays(int bits)
    {
        int size = ArrayBytesMin << bits;
        return _arrays[bits] = new Pool<byte[]>(() => GC.AllocateUninitializedArray<byte>(size), Math.Max(1, ArrayBytesKept / size));
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    private static ThreadMemory MakeCurrent() => t_current = new ThreadMemory();

    [MethodImpl(MethodImplOptions.NoInlining)]
    private void Add(IMemoryKeeper keeper)
    {
        if (_keeperCount == _keepers.Length)
            LeaveOutTheGone();
        _keepers[_keeperCount++] = new WeakReference<IMemoryKeeper>(keeper);
    }

    // Room for as many again as there are, however many have come and gone: each new configuration has pools of its own.
    private void LeaveOutTheGone()
    {
        int count = 0;
        var living = new WeakReference<IMemoryKeeper>?[_keepers.Length];
        foreach (var reference in _keepers)
        {
            if (reference!.TryGetTarget(out _))
                living[count++] = reference;
        }
        Array.Resize(ref living, Math.Max(KeepersMin, count * 2));
        _keepers = living;
        _keeperCount = count;
        _nextKeeper = 0;
    }
}
