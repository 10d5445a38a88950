using Sidecar.Telemetry;

namespace Sidecar.Http;

/// <summary>
/// A response's head: the status is a number beside the map, there is no <c>:status</c> field and no reason phrase. An accepted tunnel has
/// <see cref="BodyKind.Tunnel"/>: 101 from HTTP/1, 200 from HTTP/2; the codec that passes it on says it in its own way.
/// </summary>
/// <remarks>Worker-owned, pooled with its codec stream.</remarks>
internal sealed class ResponseHead : HeaderMap
{
    /// <summary>100..999.</summary>
    internal int Status;

    internal HttpVersion Version;

    /// <summary>How the body ends.</summary>
    internal BodyFraming Framing;

    internal bool IsInformational => Status is >= 100 and < 200 && Status != 101;

    internal override void Reset()
    {
        base.Reset();
        Status = 0;
        Version = HttpVersion.None;
        Framing = default;
    }
}
