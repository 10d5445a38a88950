using System;
using System.Globalization;
using Sidecar.Loop;
using Sidecar.Memory;

namespace Sidecar.Filters;

/// <summary>The value of the <c>date</c> field (RFC 9110 section 5.6.7), formatted once a second.</summary>
/// <remarks>Worker-owned.</remarks>
internal sealed class HttpDate(EventLoop loop)
{
    private readonly byte[] _text = new byte[29];
    private long _second = -1;

    internal ReadOnlySpan<byte> Value
    {
        get
        {
            long second = loop.UnixMs / 1000;
            if (second != _second)
                Format(second);
            return _text;
        }
    }

    private void Format(long second)
    {
        _second = second;
        DateTimeOffset.FromUnixTimeSeconds(second).TryFormat(_text, out _, "r", CultureInfo.InvariantCulture);
    }
}
