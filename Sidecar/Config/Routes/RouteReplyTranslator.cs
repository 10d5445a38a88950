using System;
using System.Globalization;
using System.IO;
using System.Text;
using Sidecar.Filters;
using Sidecar.Linux;
using Sidecar.Routing;
using WireCore = Envoy.Config.Core.V3;
using WireRoute = Envoy.Config.Route.V3;

namespace Sidecar.Config.Routes;

/// <summary>What a route answers itself: redirect and direct_response.</summary>
internal static class RouteReplyTranslator
{
    // What is read of a file before the limit of the route configuration is looked at.
    private const long BodyFileBytesMax = 16 * 1024 * 1024;

    /// <summary>redirect.</summary>
    internal static RedirectAction Redirect(WireRoute.RedirectAction wire, ConfigScope scope)
    {
        if (wire.HasPathRewrite)
            scope.Reject("path_rewrite", "is not supported; use path_redirect, prefix_rewrite or regex_rewrite");
        if (wire.PortRedirect > 65535)
            scope.Reject("port_redirect", "must be at most 65535");
        return new RedirectAction
        {
            Status = wire.ResponseCode switch
            {
                WireRoute.RedirectAction.Types.RedirectResponseCode.Found => 302,
                WireRoute.RedirectAction.Types.RedirectResponseCode.SeeOther => 303,
                WireRoute.RedirectAction.Types.RedirectResponseCode.TemporaryRedirect => 307,
                WireRoute.RedirectAction.Types.RedirectResponseCode.PermanentRedirect => 308,
                _ => 301,
            },
            Scheme = Encoding.ASCII.GetBytes(wire.HttpsRedirect ? "https" : wire.HasSchemeRedirect ? wire.SchemeRedirect : ""),
            Host = Encoding.UTF8.GetBytes(wire.HostRedirect),
            Port = wire.PortRedirect,
            StripQuery = wire.StripQuery,
            Path = wire.HasPathRedirect && wire.PathRedirect.Length > 0 ? Encoding.UTF8.GetBytes(wire.PathRedirect) : null,
            PrefixRewrite = wire.HasPrefixRewrite && wire.PrefixRewrite.Length > 0 ? Encoding.UTF8.GetBytes(wire.PrefixRewrite) : null,
            RegexRewrite = wire.RegexRewrite is null ? null : MatcherTranslator.Rewrite(wire.RegexRewrite, scope.At("regex_rewrite")),
        };
    }

    /// <summary>direct_response; null, with every reason in <paramref name="scope"/>, when it is refused.</summary>
    /// <param name="wire">The action.</param>
    /// <param name="bodyBytesMax">max_direct_response_body_size_bytes of the route configuration.</param>
    /// <param name="scope">Where problems go.</param>
    internal static DirectResponse? Direct(WireRoute.DirectResponseAction wire, uint bodyBytesMax, ConfigScope scope)
    {
        if (wire.Status is < 200 or > 599)
            scope.Reject("status", $"must be 200 to 599, is {wire.Status.ToString(CultureInfo.InvariantCulture)}");
        if (wire.BodyFormat is not null)
            scope.Reject("body_format", "formatted bodies are not supported; use body");
        byte[] body = wire.Body is null ? [] : Body(wire.Body, scope.At("body"));
        if (body.Length > bodyBytesMax)
            scope.Reject("body", $"response body size is {body.Length} bytes; maximum is {bodyBytesMax}; raise max_direct_response_body_size_bytes");
        return scope.IsRejected ? null : new DirectResponse((int)wire.Status, body);
    }

    private static byte[] Body(WireCore.DataSource wire, ConfigScope scope)
    {
        switch (wire.SpecifierCase)
        {
            case WireCore.DataSource.SpecifierOneofCase.InlineString:
                return Encoding.UTF8.GetBytes(wire.InlineString);
            case WireCore.DataSource.SpecifierOneofCase.InlineBytes:
                return wire.InlineBytes.ToByteArray();
            case WireCore.DataSource.SpecifierOneofCase.Filename:
                return BodyOfFile(wire, scope);
            case WireCore.DataSource.SpecifierOneofCase.EnvironmentVariable:
                string? value = Environment.GetEnvironmentVariable(wire.EnvironmentVariable);
                if (!string.IsNullOrEmpty(value))
                    return Encoding.UTF8.GetBytes(value);
                scope.Reject("environment_variable", $"Environment variable doesn't exist: {wire.EnvironmentVariable}");
                return [];
            default:
                return [];
        }
    }

    private static byte[] BodyOfFile(WireCore.DataSource wire, ConfigScope scope)
    {
        try
        {
            byte[] body = Files.ReadRegular(wire.Filename, BodyFileBytesMax);
            if (wire.WatchedDirectory is not null)
                scope.Ignore("watched_directory", "the file is read once");
            return body;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or ArgumentException)
        {
            scope.Reject("filename", $"cannot be read: {e.Message}");
            return [];
        }
    }
}
