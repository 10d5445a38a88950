using Sidecar.Tls;

namespace Sidecar.Server;

/// <summary>The product's version, as the build names it.</summary>
internal static class ProductVersion
{
    internal const string Text = "0.1.0";

    /// <summary>The version, and in the static build which OpenSSL is in it: a new one of the system's does not reach it.</summary>
    internal static string Long => OpenSsl.IsBuiltIn ? $"{Text} (static, {OpenSsl.VersionText} built in)" : Text;
}
