using Xunit;

namespace Sidecar.Tests.Harness;

/// <summary>Tests that run other programs run one after the other: they measure, and the machine may have two cores.</summary>
[CollectionDefinition(Name)]
public sealed class ExecutableCollection
{
    internal const string Name = "published executable";
}
