using System;
using System.Collections.Generic;
using System.Text;
using Sidecar.Filters;
using Sidecar.Routing;
using WireRoute = Envoy.Config.Route.V3;

namespace Sidecar.Config.Routes;

/// <summary>envoy.config.route.v3.RetryPolicy → <see cref="RetryPolicy"/>.</summary>
internal static class RetryPolicyTranslator
{
    private const string PreviousHostsType = "envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate";
    private const string PreviousHostsName = "envoy.retry_host_predicates.previous_hosts";

    /// <summary>Translates a policy of a route or a virtual host; what is refused is in <paramref name="scope"/>.</summary>
    internal static RetryPolicy Translate(WireRoute.RetryPolicy wire, ConfigScope scope)
    {
        if (wire.RetryPriority is not null)
            scope.Ignore("retry_priority", "retries use the cluster's own priorities");
        if (wire.RetryOptionsPredicates.Count > 0)
            scope.Reject("retry_options_predicates", "is not supported");
        if (wire.RefreshClusterOnRetry)
            scope.Ignore("refresh_cluster_on_retry", "all tries go to the cluster that was chosen first");
        if (wire.HostSelectionRetryMaxAttempts < 0)
            scope.Reject("host_selection_retry_max_attempts", "must not be negative");
        var (baseMs, maxMs) = BackOff(wire.RetryBackOff, scope.At("retry_back_off"));
        return new RetryPolicy
        {
            On = RetryPolicy.ParseOn(Encoding.ASCII.GetBytes(wire.RetryOn)),
            NumRetries = wire.NumRetries ?? 1,
            PerTryTimeoutMs = scope.Milliseconds("per_try_timeout", wire.PerTryTimeout, 0),
            PerTryIdleTimeoutMs = scope.Milliseconds("per_try_idle_timeout", wire.PerTryIdleTimeout, 0),
            RetriableStatusCodes = StatusCodes(wire.RetriableStatusCodes),
            RetriableHeaders = MatcherTranslator.Headers(wire.RetriableHeaders, "retriable_headers", scope),
            RetriableRequestHeaders = MatcherTranslator.Headers(wire.RetriableRequestHeaders, "retriable_request_headers", scope),
            BackOffBaseMs = baseMs,
            BackOffMaxMs = maxMs,
            ResetHeaders = ResetHeaders(wire.RateLimitedRetryBackOff, scope.At("rate_limited_retry_back_off")),
            ResetMaxMs = scope.Milliseconds("rate_limited_retry_back_off.max_interval", wire.RateLimitedRetryBackOff?.MaxInterval, 300_000),
            PreviousHosts = PreviousHosts(wire, scope),
            HostSelectionAttempts = (int)Math.Clamp(wire.HostSelectionRetryMaxAttempts, 1, 100),
        };
    }

    // Null: as without retry_back_off.
    private static (long? BaseMs, long? MaxMs) BackOff(WireRoute.RetryPolicy.Types.RetryBackOff? wire, ConfigScope scope)
    {
        if (wire is null)
            return (null, null);
        long? baseMs = wire.BaseInterval is null ? null : scope.Milliseconds("base_interval", wire.BaseInterval, 25);
        long? maxMs = wire.MaxInterval is null ? null : scope.Milliseconds("max_interval", wire.MaxInterval, 250);
        if (baseMs is null)
            scope.Reject("base_interval", "is required");
        if (baseMs < 1)
            scope.Reject("base_interval", "must be greater than 0");
        if (maxMs < (baseMs ?? 0))
            scope.Reject("max_interval", "must be greater than or equal to the base_interval");
        return (baseMs, maxMs);
    }

    private static ResetHeader[] ResetHeaders(WireRoute.RetryPolicy.Types.RateLimitedRetryBackOff? wire, ConfigScope scope)
    {
        if (wire is null)
            return [];
        if (wire.ResetHeaders.Count == 0)
            scope.Reject("reset_headers", "needs at least 1 header");
        var headers = new List<ResetHeader>(wire.ResetHeaders.Count);
        foreach (var header in wire.ResetHeaders)
        {
            byte[] name = FieldNameReader.Read($"reset_headers[{headers.Count}].name", header.Name, scope);
            headers.Add(new ResetHeader(name, header.Format == WireRoute.RetryPolicy.Types.ResetHeaderFormat.UnixTimestamp));
        }
        return headers.ToArray();
    }

    private static bool PreviousHosts(WireRoute.RetryPolicy wire, ConfigScope scope)
    {
        bool given = false;
        for (int i = 0; i < wire.RetryHostPredicate.Count; i++)
        {
            // By its type, as Envoy now does, or by its name, as it did.
            var predicate = wire.RetryHostPredicate[i];
            string type = TypedConfig.TypeName(predicate.TypedConfig);
            if (type.Length > 0 ? type == PreviousHostsType : predicate.Name == PreviousHostsName)
                given = true;
            else
                scope.Reject($"retry_host_predicate[{i}]", $"Didn't find a registered implementation for name: '{predicate.Name}'");
        }
        return given;
    }

    private static int[] StatusCodes(IReadOnlyList<uint> wire)
    {
        var codes = new int[wire.Count];
        for (int i = 0; i < codes.Length; i++)
            codes[i] = (int)Math.Min(wire[i], 1000);
        return codes;
    }
}
