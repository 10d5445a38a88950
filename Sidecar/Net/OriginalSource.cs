namespace Sidecar.Net;

/// <summary>
/// Where the upstream side of a downstream connection is to come from: the caller's own address instead of ours, and the mark (SO_MARK; 0: none)
/// by which routing rules bring the answers, which are addressed to the caller, back here.
/// </summary>
/// <remarks>Immutable. Part of the key of pools: what comes from one caller's address carries no other caller's requests.</remarks>
internal sealed record OriginalSource(Address Address, int Mark);
