using System;
using Sidecar.Memory;

namespace Sidecar.Http.H2.Hpack;

/// <summary>The 61 entries of RFC 7541 appendix A, by index and by name.</summary>
internal static class StaticTable
{
    /// <summary>The last static index; dynamic entries follow it.</summary>
    internal const int Count = 61;

    internal const int MethodGet = 2;
    internal const int MethodPost = 3;

    /// <summary>Index of <c>:status 200</c>; the six others follow in the order 204, 206, 304, 400, 404, 500.</summary>
    internal const int Status200 = 8;

    private static readonly byte[][] s_names = new byte[Count + 1][];
    private static readonly byte[][] s_values = new byte[Count + 1][];
    private static readonly HeaderId[] s_ids = new HeaderId[Count + 1];
    private static readonly byte[] s_firstOfId = new byte[(int)HeaderId.Count];

    // The few names of which the table has a value.
    private static readonly HeaderSet s_withValues;

    static StaticTable()
    {
        string[] entries =
        [
            ":authority", ":method GET", ":method POST", ":path /", ":path /index.html", ":scheme http", ":scheme https", ":status 200",
            ":status 204", ":status 206", ":status 304", ":status 400", ":status 404", ":status 500", "accept-charset",
            "accept-encoding gzip, deflate", "accept-language", "accept-ranges", "accept", "access-control-allow-origin", "age", "allow",
            "authorization", "cache-control", "content-disposition", "content-encoding", "content-language", "content-length",
            "content-location", "content-range", "content-type", "cookie", "date", "etag", "expect", "expires", "from", "host", "if-match",
            "if-modified-since", "if-none-match", "if-range", "if-unmodified-since", "last-modified", "link", "location", "max-forwards",
            "proxy-authenticate", "proxy-authorization", "range", "referer", "refresh", "retry-after", "server", "set-cookie",
            "strict-transport-security", "transfer-encoding", "user-agent", "vary", "via", "www-authenticate",
        ];
        s_names[0] = s_values[0] = [];
        for (int i = 0; i < entries.Length; i++)
        {
            int space = entries[i].IndexOf(' ');
            int index = i + 1;
            s_names[index] = Ascii.Bytes(space < 0 ? entries[i] : entries[i][..space]);
            s_values[index] = space < 0 ? [] : Ascii.Bytes(entries[i][(space + 1)..]);
            s_ids[index] = HeaderNames.Lookup(s_names[index]);
            ref byte first = ref s_firstOfId[(int)s_ids[index]];
            if (s_ids[index] != HeaderId.Unknown && first == 0)
                first = (byte)index;
            if (s_ids[index] != HeaderId.Unknown && space >= 0)
                s_withValues.Add(s_ids[index]);
        }
    }

    internal static ReadOnlySpan<byte> Name(int index) => s_names[index];

    internal static ReadOnlySpan<byte> Value(int index) => s_values[index];

    internal static HeaderId Id(int index) => s_ids[index];

    /// <summary>The first index with this name; 0 when the table has none.</summary>
    internal static int IndexOf(HeaderId id) => s_firstOfId[(int)id];

    /// <summary>The index of exactly this field; 0 when the table has none.</summary>
    internal static int IndexOf(HeaderId id, ReadOnlySpan<byte> value) => s_withValues.Contains(id) ? IndexOfValue(id, value) : 0;

    private static int IndexOfValue(HeaderId id, ReadOnlySpan<byte> value)
    {
        for (int index = s_firstOfId[(int)id]; index <= Count && s_ids[index] == id; index++)
        {
            if (s_values[index].Length > 0 && value.SequenceEqual(s_values[index]))
                return index;
        }
        return 0;
    }

    /// <summary>The index of a name that has no <see cref="HeaderId"/>; 0 when the table has none.</summary>
    internal static int IndexOfUnknown(ReadOnlySpan<byte> lowerName)
    {
        // Fourteen rare names; their lengths and first letters decide almost always at once.
        for (int index = 15; index <= Count; index++)
        {
            if (s_ids[index] == HeaderId.Unknown && lowerName.SequenceEqual(s_names[index]))
                return index;
        }
        return 0;
    }
}
