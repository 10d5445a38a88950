namespace Sidecar.Server;

/// <summary>The product's version, as the build names it.</summary>
internal static class ProductVersion
{
    internal const string Text = "0.1.0";
}
