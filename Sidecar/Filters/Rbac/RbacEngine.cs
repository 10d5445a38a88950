using Sidecar.Telemetry;

namespace Sidecar.Filters.Rbac;

/// <summary>What is done with what matches a policy.</summary>
internal enum RbacAction : byte
{
    /// <summary>What matches may pass, all else may not.</summary>
    Allow,

    /// <summary>What matches may not pass, all else may.</summary>
    Deny,

    /// <summary>Everything passes; what matches is to be logged.</summary>
    Log,
}

/// <summary>A policy: who may (or may not) do what.</summary>
/// <remarks>Shared immutable.</remarks>
internal sealed class RbacPolicy(string name, int index, RbacRule permissions, RbacRule principals)
{
    /// <summary>Response code details where no policy matched.</summary>
    internal const string NoneDetails = "rbac_access_denied_matched_policy[none]";

    internal string Name => name;

    /// <summary>Place among the policies of its engine.</summary>
    internal int Index => index;

    /// <summary>The name as dynamic metadata.</summary>
    internal MetadataValue NameValue { get; } = MetadataValue.Of(name);

    /// <summary>Response code details of what it denies; a space would end a field of an access log.</summary>
    internal string Details { get; } = $"rbac_access_denied_matched_policy[{name.Replace(' ', '_')}]";

    internal bool Matches(in RbacSubject subject) => permissions.Matches(subject) && principals.Matches(subject);
}

/// <summary>What came of asking.</summary>
/// <param name="IsAllowed">It may pass.</param>
/// <param name="Policy">The first policy that matched, in the order of their names; null when none did.</param>
internal readonly record struct RbacDecision(bool IsAllowed, RbacPolicy? Policy)
{
    internal string Details => Policy?.Details ?? RbacPolicy.NoneDetails;
}

/// <summary>envoy.config.rbac.v3.RBAC: an action, and policies in the order of their names. Serves the network and the HTTP filter.</summary>
/// <remarks>Shared immutable; asked on workers, allocates nothing.</remarks>
internal sealed class RbacEngine(RbacAction action, RbacPolicy[] policies)
{
    internal RbacAction Action => action;
    internal RbacPolicy[] Policies => policies;

    internal RbacDecision Decide(in RbacSubject subject)
    {
        foreach (var policy in policies)
        {
            if (policy.Matches(subject))
                return new RbacDecision(action != RbacAction.Deny, policy);
        }
        return new RbacDecision(action != RbacAction.Allow, null);
    }
}
