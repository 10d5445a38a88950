using System;
using Sidecar.Filters;
using Sidecar.Http;
using Sidecar.Memory;
using Sidecar.Telemetry;

namespace Sidecar.Downstream;

/// <summary>
/// Responses the proxy makes itself, all made here: status, flag, details and gRPC status come from the failure's row. A gRPC
/// request gets a trailers-only answer (status 200, grpc-status, grpc-message), anything else text.
/// </summary>
internal static class LocalReply
{
    /// <summary>Fills <paramref name="head"/>.</summary>
    /// <returns>The body to send after it; empty for HEAD and for gRPC.</returns>
    internal static ReadOnlySpan<byte> Build(RequestHead request, ResponseHead head, Failure failure, scoped in LocalReplyOptions options, ReadOnlySpan<byte> body)
    {
        ref readonly var row = ref failure.Row();
        int status = options.Status != 0 ? options.Status : row.Status != 0 ? row.Status : 503;
        if (options.Headers is { } extra)
            head.CopyFrom(extra);
        if (failure == Failure.UpstreamOverflow)
            head.Set(HeaderId.XEnvoyOverloaded, "true"u8);

        if (GrpcRequest.Is(request))
        {
            head.Status = 200;
            head.Set(HeaderId.ContentType, "application/grpc"u8);
            head.SetDecimal(HeaderId.GrpcStatus, options.GrpcStatus >= 0 ? options.GrpcStatus : Failures.GrpcStatus(status));
            if (!body.IsEmpty)
                SetGrpcMessage(head, body);
            head.Framing = new BodyFraming(BodyKind.None);
            return default;
        }

        head.Status = status;
        if (status is 204 or 304 or < 200)
        {
            head.Framing = new BodyFraming(BodyKind.None);
            return default;
        }
        if (!body.IsEmpty && !head.Contains(HeaderId.ContentType))
            head.Set(HeaderId.ContentType, "text/plain"u8);
        head.SetDecimal(HeaderId.ContentLength, body.Length);
        head.Framing = new BodyFraming(BodyKind.Length, body.Length);
        return request.Method == Method.Head ? default : body;
    }

    // grpc-message is percent-encoded outside printable ASCII (gRPC over HTTP/2, "Status-Message").
    private static void SetGrpcMessage(ResponseHead head, ReadOnlySpan<byte> text)
    {
        const int MessageBytesMax = 1024;
        Span<byte> encoded = stackalloc byte[3 * MessageBytesMax];
        int length = 0;
        foreach (byte b in text[..Math.Min(text.Length, MessageBytesMax)])
        {
            if (b is >= 0x20 and <= 0x7e and not (byte)'%')
            {
                encoded[length++] = b;
                continue;
            }
            encoded[length++] = (byte)'%';
            encoded[length++] = "0123456789ABCDEF"u8[b >> 4];
            encoded[length++] = "0123456789ABCDEF"u8[b & 15];
        }
        head.Set(HeaderId.GrpcMessage, encoded[..length]);
    }
}
