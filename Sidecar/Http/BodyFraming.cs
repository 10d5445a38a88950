namespace Sidecar.Http;

/// <summary>How a message's body ends (RFC 9112 section 6, RFC 9113 section 8.1).</summary>
internal enum BodyKind : byte
{
    /// <summary>No body at all.</summary>
    None,
    /// <summary>Exactly <see cref="BodyFraming.Length"/> bytes.</summary>
    Length,
    /// <summary>Unknown length, with an end of its own: chunked in HTTP/1, END_STREAM in HTTP/2.</summary>
    Streamed,
    /// <summary>HTTP/1 response that ends with its connection.</summary>
    UntilClose,
    /// <summary>After an accepted Upgrade or CONNECT: raw bytes both ways until either end closes.</summary>
    Tunnel,
}

/// <summary>A body's kind and, for <see cref="BodyKind.Length"/>, its length in bytes.</summary>
internal readonly record struct BodyFraming(BodyKind Kind, long Length = 0);
