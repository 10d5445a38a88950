using Sidecar.Linux;

namespace Sidecar.Loop;

/// <summary>
/// The owner of one registered descriptor. The loop knows it by slot and generation, never by address, so an event that
/// was already fetched when its handler went away finds nobody.
/// </summary>
/// <remarks>Worker-owned: called on the loop's thread only.</remarks>
internal abstract class LoopHandler : IFaultable
{
    /// <summary>Index in the loop's table while registered, else -1. The loop's business.</summary>
    internal int Slot = -1;

    /// <summary>Registered with a loop.</summary>
    public bool IsRegistered => Slot >= 0;

    /// <summary>The descriptor became ready. Edges: whatever is not used up now must be remembered.</summary>
    public abstract void OnReady(EpollEvents events);

    /// <inheritdoc/>
    public abstract void OnFault();
}
