using Sidecar.Telemetry;

namespace Sidecar.Http;

/// <summary>A response's head: the status is a number beside the map, there is no <c>:status</c> field and no reason phrase.</summary>
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
