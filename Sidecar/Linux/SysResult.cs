using System.Diagnostics;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace Sidecar.Linux;

/// <summary>
/// What a system call answered: a value of at least 0, or an errno. Never an exception: a refused connection or a full
/// socket is an ordinary answer here. Kept in one word the way the kernel itself returns it (an errno is negative).
/// </summary>
internal readonly struct SysResult
{
    private readonly nint _raw;

    private SysResult(nint raw) => _raw = raw;

    /// <summary>True when the call succeeded.</summary>
    public bool Ok => _raw >= 0;

    /// <summary>The value of a call that succeeded: a descriptor, a count of bytes, or 0.</summary>
    public nint Value
    {
        get
        {
            Debug.Assert(_raw >= 0, "the value of a failed system call");
            return _raw;
        }
    }

    /// <summary>The value as a descriptor.</summary>
    public int Fd => (int)Value;

    /// <summary>Why the call failed, or <see cref="Errno.None"/> when it did not.</summary>
    public Errno Error => _raw >= 0 ? Errno.None : (Errno)(int)-_raw;

    /// <summary>The call would have blocked: try again when epoll says so.</summary>
    public bool WouldBlock => _raw == -(nint)(int)Errno.EAGAIN;

    /// <summary>A success with a value.</summary>
    public static SysResult Success(nint value = 0) => new(value);

    /// <summary>A failure with its errno.</summary>
    public static SysResult Fail(Errno error) => new(-(nint)(int)error);

    /// <summary>Reads what libc returned; must be the first thing after the call, since errno is read here.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static SysResult Of(nint returned) => returned >= 0 ? new SysResult(returned) : FromErrno();

    /// <summary>Compiles the failure path ahead of its first use, so that compiling it (tests run under a JIT) cannot disturb an errno.</summary>
    public static void Prepare()
    {
        Marshal.SetLastSystemError((int)Errno.EAGAIN);
        _ = Of(-1);
    }

    /// <summary>"ok 3" or "EADDRINUSE (address already in use)".</summary>
    public override string ToString() => Ok ? $"ok {_raw}" : Error.Describe();

    [MethodImpl(MethodImplOptions.NoInlining)]
    private static SysResult FromErrno()
    {
        int errno = Marshal.GetLastSystemError();
        return new SysResult(errno > 0 ? -errno : -(int)Errno.EIO);
    }
}
