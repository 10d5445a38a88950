using System;
using Sidecar.Memory;

namespace Sidecar.Http;

/// <summary>gRPC over HTTP/2 as far as a proxy reads it: content type and deadline ("gRPC over HTTP2", section Requests).</summary>
internal static class GrpcRequest
{
    /// <summary>content-type is application/grpc, alone or with a suffix such as <c>+proto</c>.</summary>
    internal static bool Is(HeaderMap head)
    {
        var type = head.Get(HeaderId.ContentType);
        return type.StartsWith("application/grpc"u8) && (type.Length == 16 || type[16] is (byte)'+' or (byte)';');
    }

    /// <summary>The grpc-timeout field in milliseconds, rounded up: up to eight digits and a unit of H, M, S, m, u or n. False when there is none that is valid.</summary>
    internal static bool TryGetTimeout(HeaderMap head, out long ms)
    {
        ms = 0;
        var text = head.Get(HeaderId.GrpcTimeout);
        if (text.Length is < 2 or > 9 || !Ascii.TryParseDecimal(text[..^1], out long value))
            return false;
        switch (text[^1])
        {
            case (byte)'H':
                ms = value * 3_600_000;
                return true;
            case (byte)'M':
                ms = value * 60_000;
                return true;
            case (byte)'S':
                ms = value * 1000;
                return true;
            case (byte)'m':
                ms = value;
                return true;
            case (byte)'u':
                ms = (value + 999) / 1000;
                return true;
            case (byte)'n':
                ms = (value + 999_999) / 1_000_000;
                return true;
            default:
                return false;
        }
    }
}
