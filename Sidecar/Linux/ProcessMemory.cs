using System;
using System.Buffers.Text;
using System.IO;
using Microsoft.Win32.SafeHandles;

namespace Sidecar.Linux;

/// <summary>How much memory of its own this process has, asked often: one read of an open file, nothing allocated. Control side.</summary>
internal sealed class ProcessMemory : IDisposable
{
    private readonly SafeFileHandle? _statm = Open();

    /// <summary>Resident bytes that no file stands behind: heap, stacks, what the C library has. 0 where /proc is not mounted.</summary>
    public long AnonymousBytes()
    {
        if (_statm is null)
            return 0;
        Span<byte> text = stackalloc byte[256];
        int length;
        try
        {
            length = RandomAccess.Read(_statm, text, 0);
        }
        catch (IOException)
        {
            return 0;
        }
        return TryParse(text[..length], out long resident, out long shared) ? (resident - shared) * Environment.SystemPageSize : 0;
    }

    /// <summary>proc(5): size, resident, shared and more, in pages.</summary>
    internal static bool TryParse(ReadOnlySpan<byte> statm, out long residentPages, out long sharedPages)
    {
        residentPages = sharedPages = 0;
        int first = statm.IndexOf((byte)' ');
        if (first < 0)
            return false;
        statm = statm[(first + 1)..];
        if (!Utf8Parser.TryParse(statm, out residentPages, out int used) || used >= statm.Length)
            return false;
        return Utf8Parser.TryParse(statm[(used + 1)..], out sharedPages, out _);
    }

    /// <summary>Has the C library give back what it keeps of freed memory (malloc_trim(3)).</summary>
    public static void TrimMalloc() => Libc.malloc_trim(0);

    public void Dispose() => _statm?.Dispose();

    private static SafeFileHandle? Open()
    {
        try
        {
            return File.OpenHandle("/proc/self/statm");
        }
        catch (Exception failure) when (failure is IOException or UnauthorizedAccessException)
        {
            return null;
        }
    }
}
