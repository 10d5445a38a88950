using System.Text;
using Sidecar.Filters;

namespace Sidecar.Config.Routes;

/// <summary>Names of header fields as routes give them; compared in lower case.</summary>
internal static class FieldNameReader
{
    /// <summary>Whether it may name a field of a head (RFC 9110, 5.1), or one of HTTP/2's pseudo-fields.</summary>
    internal static bool IsValid(string name) => Memory.Ascii.IsToken(Encoding.UTF8.GetBytes(name.StartsWith(':') ? name[1..] : name));

    /// <summary>The name in lower case, as UTF-8; refused when it is none.</summary>
    internal static byte[] Read(string field, string name, ConfigScope scope)
    {
        if (!IsValid(name))
            scope.Reject(field, "must be a header name");
        return Lower(name);
    }

    /// <summary>The name in lower case, as UTF-8, valid or not.</summary>
    internal static byte[] Lower(string name) => Encoding.UTF8.GetBytes(name.ToLowerInvariant());
}
