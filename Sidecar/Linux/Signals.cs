using System;
using System.Runtime.InteropServices;

namespace Sidecar.Linux;

/// <summary>The signals the program answers.</summary>
internal enum Signal
{
    HangUp = 1,
    Interrupt = 2,
    User1 = 10,
    Terminate = 15,
}

/// <summary>
/// Signals as calls. Not signalfd: the runtime's own threads exist before Main with these signals unblocked, and the
/// kernel would hand a process-wide SIGTERM to one of them, with its default action. The runtime's registration has a
/// thread that reads them from a pipe; the callback runs outside every loop and only posts to one.
/// </summary>
internal static class Signals
{
    private const int SigPipe = 13;

    /// <summary>
    /// Calls <paramref name="handler"/> on each arrival of <paramref name="signal"/>, on a thread of the runtime, instead
    /// of the signal's default action, until the result is disposed.
    /// </summary>
    public static IDisposable On(Signal signal, Action<Signal> handler) =>
        PosixSignalRegistration.Create((PosixSignal)(int)signal, context =>
        {
            context.Cancel = true;
            handler(signal);
        });

    /// <summary>Ignores SIGPIPE. Sends ask for that one by one, but splice(2) into a closed socket has no such flag.</summary>
    public static void IgnoreBrokenPipe() => Libc.signal(SigPipe, 1);
}
