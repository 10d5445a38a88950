using System;
using System.Collections.Generic;
using Sidecar.Telemetry;

namespace Sidecar.Tls;

/// <summary>When what contexts are made of ends to be valid.</summary>
internal static class TlsExpiry
{
    private const long DaySeconds = 24 * 60 * 60;

    /// <summary>
    /// The first to expire among our certificates and the authorities, in whole days (0: it has; without any, as in Envoy, the most 32 bits hold), and
    /// among OCSP responses, in seconds (0 too where there are none).
    /// </summary>
    internal static (long CertificateDays, long OcspSeconds) First(IEnumerable<TlsContext> contexts, long nowUnixS)
    {
        long days = uint.MaxValue;
        long? seconds = null;
        foreach (var context in contexts)
        {
            foreach (var info in context.Validation?.Authorities?.Infos ?? [])
                days = Math.Min(days, DaysUntil(info, nowUnixS));
            foreach (var certificate in context.Certificates)
            {
                days = Math.Min(days, DaysUntil(certificate.Info, nowUnixS));
                if (certificate.Staple is { } staple)
                    seconds = Math.Min(seconds ?? long.MaxValue, Math.Max(0, (staple.NextUpdateUnixS ?? 0) - nowUnixS));
            }
        }
        return (days, seconds ?? 0);
    }

    internal static long DaysUntil(CertificateFacts info, long nowUnixS) => Math.Max(0, (info.NotAfterUnixS - nowUnixS) / DaySeconds);
}
