using System.Threading;

namespace Sidecar.Loop;

/// <summary>Something one thread tells a loop. Made by the sender, delivered once on the loop's thread, then garbage.</summary>
internal abstract class LoopMessage
{
    internal LoopMessage? Next;

    /// <summary>Runs on the receiving loop's thread.</summary>
    public abstract void Deliver(EventLoop loop);
}

/// <summary>
/// The way into a loop for other threads: many senders, one receiver, no lock. Senders push on a list with one
/// compare-and-swap; the receiver takes the whole list with one exchange.
/// </summary>
/// <remarks>Cross-thread.</remarks>
internal sealed class Mailbox
{
    private LoopMessage? _newest;       // any thread: what has been posted since the last take, newest first
    private LoopMessage? _oldest;       // receiver only: what was taken and not delivered yet, in order

    /// <summary>Nothing to deliver. Receiver.</summary>
    public bool IsEmpty => _oldest is null && Volatile.Read(ref _newest) is null;

    /// <summary>Adds a message. Any thread.</summary>
    /// <returns>True when the receiver may not know yet that there is something, and must be woken.</returns>
    public bool Post(LoopMessage message)
    {
        while (true)
        {
            LoopMessage? newest = Volatile.Read(ref _newest);
            message.Next = newest;
            if (Interlocked.CompareExchange(ref _newest, message, newest) == newest)
                return newest is null;
        }
    }

    /// <summary>The next message in the order of posting, or null. Receiver.</summary>
    public LoopMessage? Take()
    {
        if (_oldest is null)
            Fetch();
        LoopMessage? message = _oldest;
        if (message is null)
            return null;
        _oldest = message.Next;
        message.Next = null;
        return message;
    }

    private void Fetch()
    {
        LoopMessage? message = Interlocked.Exchange(ref _newest, null);
        while (message is not null)
        {
            LoopMessage? older = message.Next;
            message.Next = _oldest;
            _oldest = message;
            message = older;
        }
    }
}
