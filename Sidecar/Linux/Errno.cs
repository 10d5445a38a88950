namespace Sidecar.Linux;

/// <summary>The error numbers this program tells apart (the generic Linux numbering, the same on x64 and arm64).</summary>
internal enum Errno
{
    None = 0,
    EPERM = 1,
    ENOENT = 2,
    EINTR = 4,
    EIO = 5,
    EBADF = 9,
    EAGAIN = 11,
    ENOMEM = 12,
    EACCES = 13,
    EEXIST = 17,
    EINVAL = 22,
    ENFILE = 23,
    EMFILE = 24,
    EPIPE = 32,
    ENAMETOOLONG = 36,
    ENOSYS = 38,
    EPROTO = 71,
    EOPNOTSUPP = 95,
    EAFNOSUPPORT = 97,
    EADDRINUSE = 98,
    EADDRNOTAVAIL = 99,
    ENETDOWN = 100,
    ENETUNREACH = 101,
    ECONNABORTED = 103,
    ECONNRESET = 104,
    ENOBUFS = 105,
    EISCONN = 106,
    ENOTCONN = 107,
    ETIMEDOUT = 110,
    ECONNREFUSED = 111,
    EHOSTUNREACH = 113,
    EALREADY = 114,
    EINPROGRESS = 115,
}

/// <summary>Words for error numbers.</summary>
internal static class ErrnoText
{
    /// <summary>What the C library's strerror says of it, for texts that other programs are known to write so.</summary>
    public static string Standard(this Errno errno) => errno switch
    {
        Errno.EPERM => "Operation not permitted",
        Errno.ENOENT => "No such file or directory",
        Errno.EACCES => "Permission denied",
        Errno.EINVAL => "Invalid argument",
        Errno.EMFILE => "Too many open files",
        Errno.ENFILE => "Too many open files in system",
        Errno.EPIPE => "Broken pipe",
        Errno.EAFNOSUPPORT => "Address family not supported by protocol",
        Errno.EADDRINUSE => "Address already in use",
        Errno.EADDRNOTAVAIL => "Cannot assign requested address",
        Errno.ENETUNREACH => "Network is unreachable",
        Errno.ECONNRESET => "Connection reset by peer",
        Errno.ENOBUFS => "No buffer space available",
        Errno.ETIMEDOUT => "Connection timed out",
        Errno.ECONNREFUSED => "Connection refused",
        Errno.EHOSTUNREACH => "No route to host",
        _ => $"Unknown error {(int)errno}",
    };

    /// <summary>The name and what it means, for a message to an operator.</summary>
    public static string Describe(this Errno errno) => errno switch
    {
        Errno.None => "no error",
        Errno.EPERM => "EPERM (operation not permitted)",
        Errno.ENOENT => "ENOENT (no such file)",
        Errno.EACCES => "EACCES (permission denied)",
        Errno.EINVAL => "EINVAL (invalid argument)",
        Errno.EMFILE => "EMFILE (this process has too many open files; raise its nofile limit)",
        Errno.ENFILE => "ENFILE (this machine has too many open files)",
        Errno.EPIPE => "EPIPE (broken pipe)",
        Errno.EAFNOSUPPORT => "EAFNOSUPPORT (address family not supported; is IPv6 disabled?)",
        Errno.EADDRINUSE => "EADDRINUSE (address already in use)",
        Errno.EADDRNOTAVAIL => "EADDRNOTAVAIL (this machine does not have that address)",
        Errno.ENETUNREACH => "ENETUNREACH (network unreachable)",
        Errno.ECONNRESET => "ECONNRESET (connection reset by peer)",
        Errno.ETIMEDOUT => "ETIMEDOUT (connection timed out)",
        Errno.ECONNREFUSED => "ECONNREFUSED (connection refused)",
        Errno.EHOSTUNREACH => "EHOSTUNREACH (no route to host)",
        _ => $"errno {(int)errno} ({errno})",
    };
}
