using System;

namespace Sidecar.Filters;

using Wire = global::Envoy.Type.V3;

/// <summary>envoy.type.v3.FractionalPercent as a share of a million.</summary>
internal static class Fractions
{
    /// <summary>0 to 1,000,000; more than the whole is the whole.</summary>
    internal static uint PerMillion(Wire.FractionalPercent wire)
    {
        ulong factor = wire.Denominator switch
        {
            Wire.FractionalPercent.Types.DenominatorType.Hundred => 10_000,
            Wire.FractionalPercent.Types.DenominatorType.TenThousand => 100,
            _ => 1,
        };
        return (uint)Math.Min(wire.Numerator * factor, 1_000_000);
    }
}
