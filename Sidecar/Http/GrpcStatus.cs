using System;
using System.Text;
using Ascii = Sidecar.Memory.Ascii;

namespace Sidecar.Http;

/// <summary>google.rpc.Code: how a gRPC call ended.</summary>
internal enum GrpcStatus : byte
{
    Ok, Cancelled, Unknown, InvalidArgument, DeadlineExceeded, NotFound, AlreadyExists, PermissionDenied, ResourceExhausted, FailedPrecondition,
    Aborted, OutOfRange, Unimplemented, Internal, Unavailable, DataLoss, Unauthenticated,
}

/// <summary>The fields grpc-status and grpc-message ("gRPC over HTTP2", section Responses).</summary>
internal static class GrpcStatusFields
{
    /// <summary>A message longer than this is cut: it goes to logs.</summary>
    private const int MessageBytesMax = 4096;

    /// <summary>Reads grpc-status. False when there is none; a value that is not a known code is Unknown.</summary>
    internal static bool TryGet(HeaderMap fields, out GrpcStatus status)
    {
        status = GrpcStatus.Unknown;
        if (!fields.TryGet(HeaderId.GrpcStatus, out var text))
            return false;
        if (Ascii.TryParseDecimal(text, out long code) && code <= (long)GrpcStatus.Unauthenticated)
            status = (GrpcStatus)code;
        return true;
    }

    /// <summary>Reads grpc-message; it is percent-encoded UTF-8, and what is encoded wrongly stands for itself.</summary>
    internal static string Message(HeaderMap fields)
    {
        var text = fields.Get(HeaderId.GrpcMessage);
        if (text.Length > MessageBytesMax)
            text = text[..MessageBytesMax];
        Span<byte> decoded = new byte[text.Length];
        int length = 0;
        for (int i = 0; i < text.Length; i++)
        {
            if (text[i] == '%' && i + 2 < text.Length && Ascii.HexValue(text[i + 1]) is >= 0 and var high && Ascii.HexValue(text[i + 2]) is >= 0 and var low)
            {
                decoded[length++] = (byte)(high << 4 | low);
                i += 2;
            }
            else
            {
                decoded[length++] = text[i];
            }
        }
        return Encoding.UTF8.GetString(decoded[..length]);
    }
}
