using System.Runtime.InteropServices;
using System.Runtime.Intrinsics.X86;

namespace Sidecar.Linux;

/// <summary>
/// The C library as this program uses it: blittable signatures, nothing marshalled, no policy. The wrappers beside this
/// file turn "-1 and errno" into a <see cref="SysResult"/>; nobody else calls these.
/// </summary>
/// <remarks>
/// No <c>SetLastError</c>: it costs 8 ns on every call, and errno matters only after a failure, where
/// <see cref="SysResult.Of(nint)"/> reads it as the very next thing. No <c>SuppressGCTransition</c> either, but for the two calls
/// of every request: calls spend microseconds in the kernel and would hold up a collection.
/// </remarks>
internal static unsafe partial class Libc
{
    private const string C = "libc";

    // ---- descriptors ----------------------------------------------------------------------------------------

    [LibraryImport(C)] internal static partial int open(byte* path, int flags, int mode);
    [LibraryImport(C)] internal static partial int close(int fd);
    [LibraryImport(C)] internal static partial nint read(int fd, void* buffer, nuint count);
    [LibraryImport(C)] internal static partial nint write(int fd, void* buffer, nuint count);
    [LibraryImport(C)] internal static partial nint readv(int fd, void* vectors, int count);
    [LibraryImport(C)] internal static partial nint writev(int fd, void* vectors, int count);
    [LibraryImport(C)] internal static partial int fcntl(int fd, int command, nint argument);
    [LibraryImport(C)] internal static partial int pipe2(int* fds, int flags);
    [LibraryImport(C)] internal static partial nint splice(int fdIn, long* offsetIn, int fdOut, long* offsetOut, nuint length, uint flags);

    // ---- epoll, eventfd -------------------------------------------------------------------------------------

    [LibraryImport(C)] internal static partial int epoll_create1(int flags);
    [LibraryImport(C)] internal static partial int epoll_ctl(int epfd, int operation, int fd, void* evt);
    [LibraryImport(C)] internal static partial int epoll_wait(int epfd, void* events, int maxEvents, int timeoutMs);
    [LibraryImport(C)] internal static partial int eventfd(uint initial, int flags);

    // ---- sockets --------------------------------------------------------------------------------------------

    [LibraryImport(C)] internal static partial int socket(int family, int type, int protocol);
    [LibraryImport(C)] internal static partial int socketpair(int family, int type, int protocol, int* fds);
    [LibraryImport(C)] internal static partial int bind(int fd, void* address, uint length);
    [LibraryImport(C)] internal static partial int listen(int fd, int backlog);
    [LibraryImport(C)] internal static partial int accept4(int fd, void* address, uint* length, int flags);
    [LibraryImport(C)] internal static partial int connect(int fd, void* address, uint length);
    [LibraryImport(C)] internal static partial int getsockname(int fd, void* address, uint* length);
    [LibraryImport(C)] internal static partial int getpeername(int fd, void* address, uint* length);
    internal static nint recv(int fd, void* buffer, nuint length, int flags) => transfer(RecvFrom, fd, buffer, length, flags, 0, 0);
    internal static nint send(int fd, void* buffer, nuint length, int flags) => transfer(SendTo, fd, buffer, length, flags, 0, 0);
    [LibraryImport(C)] internal static partial nint recvfrom(int fd, void* buffer, nuint length, int flags, void* address, uint* addressLength);
    [LibraryImport(C)] internal static partial nint sendto(int fd, void* buffer, nuint length, int flags, void* address, uint addressLength);
    [LibraryImport(C)] internal static partial nint sendmsg(int fd, void* message, int flags);
    [LibraryImport(C)] internal static partial int shutdown(int fd, int how);
    [LibraryImport(C)] internal static partial int getsockopt(int fd, int level, int name, void* value, uint* length);
    [LibraryImport(C)] internal static partial int setsockopt(int fd, int level, int name, void* value, uint length);

    // recv(3) and send(3) are these two with nulls, and points where a thread may be cancelled, which the library says before and after each: half of what they cost in
    // user space. Nobody cancels threads here. Sockets do not block, so a collection waits for one copy of the kernel's at most.
    [LibraryImport(C, EntryPoint = "syscall"), SuppressGCTransition]
    private static partial nint transfer(nint number, nint fd, void* buffer, nuint length, nint flags, nint address, nint addressLength);

    private static nint SendTo => X86Base.IsSupported ? 44 : 206;
    private static nint RecvFrom => X86Base.IsSupported ? 45 : 207;

    // ---- time, randomness, process --------------------------------------------------------------------------

    [LibraryImport(C)] internal static partial int clock_gettime(int clock, void* timespec);
    [LibraryImport(C)] internal static partial nint getrandom(void* buffer, nuint length, uint flags);
    [LibraryImport(C)] internal static partial nint signal(int number, nint handler);
    [LibraryImport(C)] internal static partial int sched_setaffinity(int pid, nuint size, void* mask);
    [LibraryImport(C)] internal static partial int sched_getaffinity(int pid, nuint size, void* mask);
    [LibraryImport(C)] internal static partial int getrlimit(int resource, void* limits);
    [LibraryImport(C)] internal static partial int setrlimit(int resource, void* limits);
    [LibraryImport(C)] internal static partial uint geteuid();
    [LibraryImport(C)] internal static partial nuint getauxval(nuint type);
    [LibraryImport(C)] internal static partial int madvise(void* address, nuint length, int advice);
    [LibraryImport(C)] internal static partial int mprotect(void* address, nuint length, int protection);
    [LibraryImport(C)] internal static partial int malloc_trim(nuint pad);
    [LibraryImport(C)] internal static partial int chmod(byte* path, uint mode);
    [LibraryImport(C)] internal static partial int unlink(byte* path);
    [LibraryImport(C)] internal static partial int statx(int folder, byte* path, int flags, uint mask, void* answer);
    [LibraryImport(C)] internal static partial int inotify_init1(int flags);
    [LibraryImport(C)] internal static partial int inotify_add_watch(int fd, byte* path, uint mask);
}
