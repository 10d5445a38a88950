using System; using Sidecar.Http; using Sidecar.Routing;
namespace Sidecar.Filters.Http.Router;
internal static class RequestRewrite { internal static void Apply(RequestHead h, Route r, object? w, FilterStream s, bool x, in Timeouts t) {} internal static void ApplyToResponse(ResponseHead h, Route r, FilterStream s) {} internal static void AddResponseHeaders(HeaderMap h, Route r, FilterStream s) {} }
