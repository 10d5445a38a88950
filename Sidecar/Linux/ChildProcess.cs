using System;
using System.Collections;
using System.Collections.Generic;
using System.IO;
using System.Runtime.InteropServices;
using System.Text;

namespace Sidecar.Linux;

/// <summary>What a finished child process left behind.</summary>
/// <param name="exitCode">Its exit code; 128 + signal when a signal ended it; -1 when it never started (see <paramref name="startError"/>).</param>
/// <param name="startError">Why it could not be started, None when it was.</param>
/// <param name="output">All it wrote to standard output, as UTF-8.</param>
/// <param name="error">All it wrote to standard error, as UTF-8.</param>
internal sealed class ProcessResult(int exitCode, Errno startError, string output, string error)
{
    public readonly int ExitCode = exitCode;
    public readonly Errno StartError = startError;
    public readonly string Output = output;
    public readonly string Error = error;

    /// <summary>Started, and ended with exit code 0.</summary>
    public bool Succeeded => ExitCode == 0;
}

/// <summary>
/// Runs one child process to its end: text in, text out. posix_spawn and three pipes; System.Diagnostics.Process would add half a
/// megabyte to the binary. Blocks the calling thread, so it is for commands and the control side, never for a worker. The child
/// inherits the calling thread's network namespace and credentials, which is what a caller that entered a namespace wants.
/// </summary>
internal static unsafe partial class ChildProcess
{
    // Administration programs live here, and the PATH of a container without a shell often leaves them out.
    private static readonly string[] SystemFolders = ["/usr/local/sbin", "/usr/sbin", "/sbin", "/usr/local/bin", "/usr/bin", "/bin"];

    /// <summary>The full path of a program: looked up in <paramref name="path"/> (PATH's syntax), then in the system folders; null when absent.</summary>
    public static string? Find(string program, string? path)
    {
        if (program.Contains('/'))
            return IsExecutable(program) ? program : null;
        foreach (string folder in (path ?? "").Split(':', StringSplitOptions.RemoveEmptyEntries))
        {
            if (IsExecutable(folder + "/" + program))
                return folder + "/" + program;
        }
        foreach (string folder in SystemFolders)
        {
            if (IsExecutable(folder + "/" + program))
                return folder + "/" + program;
        }
        return null;
    }

    /// <summary>Runs <paramref name="file"/> (a path) with these arguments and this standard input, and waits for its end.</summary>
    /// <param name="file">Path of the program; also its argv[0].</param>
    /// <param name="arguments">argv[1] and on.</param>
    /// <param name="input">Fed to standard input, which is then closed.</param>
    /// <param name="environment">Additions to this process's environment, NAME=value.</param>
    public static ProcessResult Run(string file, IReadOnlyList<string> arguments, string input = "", IReadOnlyList<string>? environment = null)
    {
        int* pipes = stackalloc int[6] { -1, -1, -1, -1, -1, -1 };
        for (int i = 0; i < 3; i++)
        {
            SysResult made = SysResult.Of(Libc.pipe2(pipes + 2 * i, Sockets.CloseOnExec));
            if (!made.Ok)
            {
                CloseAll(pipes);
                return NotStarted(made.Error);
            }
        }

        Errno error = Spawn(file, arguments, environment, pipes[0], pipes[3], pipes[5], out int pid);
        Close(ref pipes[0]);
        Close(ref pipes[3]);
        Close(ref pipes[5]);
        if (error != Errno.None)
        {
            CloseAll(pipes);
            return NotStarted(error);
        }

        Exchange(pipes, Encoding.UTF8.GetBytes(input), out string output, out string errorText);
        CloseAll(pipes);
        return new ProcessResult(Wait(pid), Errno.None, output, errorText);
    }

    private static ProcessResult NotStarted(Errno error) => new(-1, error, "", "cannot be started: " + error.Describe());

    // Feeds and drains at the same time: a child that writes before it has read all its input must not block us both.
    private static void Exchange(int* pipes, byte[] input, out string output, out string error)
    {
        using var outputBytes = new MemoryStream();
        using var errorBytes = new MemoryStream();
        byte* block = stackalloc byte[4096];
        PollFd* polled = stackalloc PollFd[3];
        int written = 0;
        if (input.Length == 0)
            Close(ref pipes[1]);
        else
            Libc.fcntl(pipes[1], F_SETFL, Sockets.NonBlocking);

        while (pipes[1] >= 0 || pipes[2] >= 0 || pipes[4] >= 0)
        {
            polled[0] = new PollFd { Fd = pipes[1], Events = POLLOUT };
            polled[1] = new PollFd { Fd = pipes[2], Events = POLLIN };
            polled[2] = new PollFd { Fd = pipes[4], Events = POLLIN };
            SysResult ready = SysResult.Of(poll(polled, 3, -1));
            if (ready.Error == Errno.EINTR)
                continue;
            if (!ready.Ok)
                break;
            if (polled[0].Returned != 0)
            {
                SysResult sent;
                fixed (byte* start = input)
                    sent = SysResult.Of(Libc.write(pipes[1], start + written, (nuint)(input.Length - written)));
                if (sent.Ok)
                    written += (int)sent.Value;
                // A child that exits without reading its input is its own affair: the exit code tells.
                if (written == input.Length || sent.Error is not (Errno.None or Errno.EAGAIN or Errno.EINTR))
                    Close(ref pipes[1]);
            }
            if (polled[1].Returned != 0)
                Drain(ref pipes[2], outputBytes, block);
            if (polled[2].Returned != 0)
                Drain(ref pipes[4], errorBytes, block);
        }

        output = Encoding.UTF8.GetString(outputBytes.GetBuffer(), 0, (int)outputBytes.Length);
        error = Encoding.UTF8.GetString(errorBytes.GetBuffer(), 0, (int)errorBytes.Length);
    }

    private static void Drain(ref int fd, MemoryStream into, byte* block)
    {
        SysResult got = SysResult.Of(Libc.read(fd, block, 4096));
        if (got.Ok && got.Value > 0)
            into.Write(new ReadOnlySpan<byte>(block, (int)got.Value));
        else if (got.Error != Errno.EINTR)
            Close(ref fd);
    }

    private static Errno Spawn(string file, IReadOnlyList<string> arguments, IReadOnlyList<string>? environment,
        int stdin, int stdout, int stderr, out int pid)
    {
        // Larger than posix_spawn_file_actions_t and posix_spawnattr_t are in glibc (80 and 336 bytes) and in musl.
        byte* actions = stackalloc byte[512];
        byte* attributes = stackalloc byte[512];
        byte* signals = stackalloc byte[128];
        var argv = new CStringArray(arguments.Count + 1);
        var envp = new CStringArray(64);
        try
        {
            argv.Add(file);
            foreach (string argument in arguments)
                argv.Add(argument);
            foreach (DictionaryEntry entry in Environment.GetEnvironmentVariables())
                envp.Add((string)entry.Key + "=" + (string?)entry.Value);
            foreach (string addition in environment ?? [])
                envp.Add(addition);

            posix_spawn_file_actions_init(actions);
            posix_spawn_file_actions_adddup2(actions, stdin, 0);
            posix_spawn_file_actions_adddup2(actions, stdout, 1);
            posix_spawn_file_actions_adddup2(actions, stderr, 2);
            posix_spawnattr_init(attributes);
            // The runtime ignores SIGPIPE, and what is ignored stays ignored over exec; a child starts with defaults and nothing blocked.
            new Span<byte>(signals, 128).Clear();
            posix_spawnattr_setsigmask(attributes, signals);
            new Span<byte>(signals, 128).Fill(0xff);
            posix_spawnattr_setsigdefault(attributes, signals);
            posix_spawnattr_setflags(attributes, POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK);

            int child;
            int error = posix_spawn(&child, argv[0], actions, attributes, argv.Pointer, envp.Pointer);
            posix_spawn_file_actions_destroy(actions);
            posix_spawnattr_destroy(attributes);
            pid = error == 0 ? child : -1;
            return (Errno)error;
        }
        finally
        {
            argv.Free();
            envp.Free();
        }
    }

    private static int Wait(int pid)
    {
        int status;
        SysResult ended;
        do
            ended = SysResult.Of(waitpid(pid, &status, 0));
        while (ended.Error == Errno.EINTR);
        if (!ended.Ok)
            return -1;
        int signal = status & 0x7f;
        return signal == 0 ? (status >> 8) & 0xff : 128 + signal;
    }

    private static bool IsExecutable(string path)
    {
        if (!File.Exists(path))
            return false;
        fixed (byte* p = Encoding.UTF8.GetBytes(path + '\0'))
            return SysResult.Of(access(p, X_OK)).Ok;
    }

    private static void Close(ref int fd)
    {
        if (fd >= 0)
            Libc.close(fd);
        fd = -1;
    }

    private static void CloseAll(int* pipes)
    {
        for (int i = 0; i < 6; i++)
            Close(ref pipes[i]);
    }

    /// <summary>A null-terminated array of C strings, as argv and envp are.</summary>
    private struct CStringArray(int capacity)
    {
        private byte** _items = (byte**)NativeMemory.AllocZeroed((nuint)capacity + 1, (nuint)sizeof(byte*));
        private int _capacity = capacity;
        private int _count;

        public readonly byte** Pointer => _items;

        public readonly byte* this[int index] => _items[index];

        public void Add(string text)
        {
            if (_count == _capacity)
            {
                _items = (byte**)NativeMemory.Realloc(_items, (nuint)(_capacity * 2 + 1) * (nuint)sizeof(byte*));
                new Span<nint>(_items + _capacity, _capacity + 1).Clear();
                _capacity *= 2;
            }
            _items[_count++] = (byte*)Marshal.StringToCoTaskMemUTF8(text);
        }

        public readonly void Free()
        {
            for (int i = 0; i < _count; i++)
                Marshal.FreeCoTaskMem((nint)_items[i]);
            NativeMemory.Free(_items);
        }
    }

    [StructLayout(LayoutKind.Sequential)]
    private struct PollFd
    {
        public int Fd;
        public short Events;
        public short Returned;
    }

    private const int F_SETFL = 4;
    private const int X_OK = 1;
    private const short POLLIN = 1;
    private const short POLLOUT = 4;
    private const short POSIX_SPAWN_SETSIGDEF = 0x04;
    private const short POSIX_SPAWN_SETSIGMASK = 0x08;

    // What only this file needs of libc. posix_spawn and its kin return the error instead of setting errno.
    private const string C = "libc";

    [LibraryImport(C)] private static partial int poll(PollFd* fds, nuint count, int timeoutMs);
    [LibraryImport(C)] private static partial int waitpid(int pid, int* status, int options);
    [LibraryImport(C)] private static partial int access(byte* path, int mode);
    [LibraryImport(C)] private static partial int posix_spawn(int* pid, byte* path, byte* actions, byte* attributes, byte** argv, byte** envp);
    [LibraryImport(C)] private static partial int posix_spawn_file_actions_init(byte* actions);
    [LibraryImport(C)] private static partial int posix_spawn_file_actions_destroy(byte* actions);
    [LibraryImport(C)] private static partial int posix_spawn_file_actions_adddup2(byte* actions, int from, int to);
    [LibraryImport(C)] private static partial int posix_spawnattr_init(byte* attributes);
    [LibraryImport(C)] private static partial int posix_spawnattr_destroy(byte* attributes);
    [LibraryImport(C)] private static partial int posix_spawnattr_setflags(byte* attributes, short flags);
    [LibraryImport(C)] private static partial int posix_spawnattr_setsigmask(byte* attributes, byte* signals);
    [LibraryImport(C)] private static partial int posix_spawnattr_setsigdefault(byte* attributes, byte* signals);
}
