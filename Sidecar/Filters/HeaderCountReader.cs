using System;
using Sidecar.Http;

namespace Sidecar.Filters;

/// <summary>max_headers_count of envoy.config.core.v3.HttpProtocolOptions as a limit of codecs; used for both ends of a stream.</summary>
internal static class HeaderCountReader
{
    /// <summary>Translates what is set, or keeps <paramref name="fallback"/>; <paramref name="scope"/> is that of the options.</summary>
    internal static int Read(uint? wire, int fallback, ConfigScope scope)
    {
        if (wire is not { } count)
            return fallback;
        if (count == 0)
            scope.Reject("max_headers_count", "value must be greater than or equal to 1");
        if (count > HeaderMap.ReceivedMax)
            scope.Ignore("max_headers_count", $"beyond {HeaderMap.ReceivedMax}: no message may have more headers than that");
        return (int)Math.Min(count, HeaderMap.ReceivedMax);
    }
}
