using System;

namespace Sidecar.Wire;

/// <summary>The wire bytes of an envoy.config.bootstrap.v3.Bootstrap in two parts: its static resources, which may be a whole mesh and are read one by one, and the rest.</summary>
internal static class BootstrapBytes
{
    // Bootstrap.static_resources.
    private const uint StaticResources = 2;

    /// <summary>The bootstrap without its static resources; broken bytes as they are, for the parser to complain of.</summary>
    public static byte[] WithoutStaticResources(ReadOnlySpan<byte> bootstrap)
    {
        var rest = new WireWriter();
        var reader = new WireReader(bootstrap);
        while (!reader.AtEnd)
        {
            int start = reader.Position;
            if (!reader.TryTag(out uint number, out int encoding) || !reader.TrySkip(encoding))
                return bootstrap.ToArray();
            if (number == StaticResources)
                continue;
            ReadOnlySpan<byte> field = bootstrap[start..reader.Position];
            field.CopyTo(rest.Reserve(field.Length));
            rest.Commit(field.Length);
        }
        return rest.Written.ToArray();
    }
}
