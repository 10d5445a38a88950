using System;
using System.Text;
using Sidecar.Routing;
using Sidecar.Telemetry.Stats;

namespace Sidecar.Admin;

/// <summary>Which stats a request wants to see.</summary>
/// <remarks>Control loop only; one request: it keeps the name it looked at last.</remarks>
/// <param name="usedOnly">None that never counted.</param>
/// <param name="kind">One kind only; null: all.</param>
/// <param name="names">Matched against whole names; null: all.</param>
internal sealed class StatsFilter(bool usedOnly, StatKind? kind, LinearRegex? names)
{
    private byte[] _name = new byte[256];
    private StatsScope? _scope;
    private int _prefixBytes;

    /// <summary>Whether any histogram can be wanted.</summary>
    internal bool WantsHistograms => kind is null or StatKind.Histogram;

    /// <summary>Whether a counter or gauge is to be shown, and its value.</summary>
    internal bool ShowsNumber(StatsScope scope, int stat, out long value)
    {
        ref readonly var definition = ref scope.Schema.Definitions[stat];
        value = 0;
        if (definition.Kind is StatKind.Histogram or StatKind.Text || kind is { } one && one != definition.Kind)
            return false;
        value = scope.Sum(stat);
        return (value != 0 || !usedOnly && !definition.OnlyWhenUsed) && IsNamed(scope, stat);
    }

    /// <summary>Whether a text is to be shown.</summary>
    internal bool ShowsText(StatsScope scope, int stat) =>
        scope.Schema.Definitions[stat].Kind == StatKind.Text && kind is null or StatKind.Text && (!usedOnly || scope.Text(stat) is not null) && IsNamed(scope, stat);

    /// <summary>Whether a histogram is to be shown.</summary>
    internal bool ShowsHistogram(StatsScope scope, int stat) =>
        scope.Schema.Definitions[stat].Kind == StatKind.Histogram && WantsHistograms && (!usedOnly || scope.HasHistogram(stat)) && IsNamed(scope, stat);

    /// <summary>A stat's whole name; valid until the next call of this object.</summary>
    internal ReadOnlySpan<byte> NameOf(StatsScope scope, int stat)
    {
        if (_scope != scope)
        {
            _scope = scope;
            _prefixBytes = 0;
            Append(scope.Head, ref _prefixBytes);
            if (scope.Owner.Length > 0)
            {
                Append(scope.Owner, ref _prefixBytes);
                Append(".", ref _prefixBytes);
            }
        }
        int length = _prefixBytes;
        Append(scope.Schema.Definitions[stat].Name, ref length);
        return _name.AsSpan(0, length);
    }

    private bool IsNamed(StatsScope scope, int stat) => names is null || names.IsMatch(NameOf(scope, stat));

    private void Append(string text, ref int length)
    {
        int room = Encoding.UTF8.GetMaxByteCount(text.Length);
        if (_name.Length - length < room)
            Array.Resize(ref _name, Math.Max(2 * _name.Length, length + room));
        length += Encoding.UTF8.GetBytes(text, _name.AsSpan(length));
    }
}
