using System;
using Sidecar.Telemetry;

namespace Sidecar.Routing;

/// <summary>envoy.type.matcher.v3.MetadataMatcher: a question about one value of dynamic metadata.</summary>
/// <param name="filter">Whose metadata.</param>
/// <param name="path">Names that lead to the value; at least one.</param>
/// <param name="value">What the value must be.</param>
/// <param name="invert">Or must not.</param>
/// <remarks>Shared immutable; matching allocates nothing.</remarks>
internal sealed class MetadataMatcher(string filter, string[] path, ValueMatcher value, bool invert)
{
    internal bool Matches(DynamicMetadata metadata) => value.Matches(metadata.Find(filter, path)) != invert;
}

/// <summary>envoy.type.matcher.v3.ValueMatcher. What is not there matches nothing.</summary>
/// <remarks>Shared immutable; matching allocates nothing.</remarks>
internal abstract class ValueMatcher
{
    internal abstract bool Matches(MetadataValue? value);

    internal sealed class Null : ValueMatcher
    {
        internal override bool Matches(MetadataValue? value) => value is { Kind: MetadataKind.Null };
    }

    /// <summary>Numbers from <paramref name="start"/> on, below <paramref name="end"/>.</summary>
    internal sealed class NumberRange(double start, double end) : ValueMatcher
    {
        internal override bool Matches(MetadataValue? value) => value is { Kind: MetadataKind.Number } && value.Number >= start && value.Number < end;
    }

    internal sealed class Number(double exact) : ValueMatcher
    {
        internal override bool Matches(MetadataValue? value) => value is { Kind: MetadataKind.Number } && value.Number == exact;
    }

    internal sealed class Text(StringMatcher matcher) : ValueMatcher
    {
        internal override bool Matches(MetadataValue? value) => value is { Kind: MetadataKind.Text } && matcher.Matches(value.Text);
    }

    internal sealed class Boolean(bool expected) : ValueMatcher
    {
        internal override bool Matches(MetadataValue? value) => value is { Kind: MetadataKind.Boolean } && value.Boolean == expected;
    }

    /// <summary>Whatever is there; not asked for, nothing (Envoy's rule: it is no question for absence).</summary>
    internal sealed class Present(bool expected) : ValueMatcher
    {
        internal override bool Matches(MetadataValue? value) => expected && value is not null;
    }

    /// <summary>A list with an item that matches.</summary>
    internal sealed class OneOf(ValueMatcher item) : ValueMatcher
    {
        internal override bool Matches(MetadataValue? value)
        {
            if (value is not { Kind: MetadataKind.List })
                return false;
            foreach (var member in value.Items)
            {
                if (item.Matches(member))
                    return true;
            }
            return false;
        }
    }

    /// <summary>Any of several.</summary>
    internal sealed class Or(ValueMatcher[] matchers) : ValueMatcher
    {
        internal override bool Matches(MetadataValue? value)
        {
            foreach (var matcher in matchers)
            {
                if (matcher.Matches(value))
                    return true;
            }
            return false;
        }
    }
}
