using System.Collections.Generic;
using Sidecar.Net;
using Sidecar.Routing;

namespace Sidecar.Filters.Rbac;

/// <summary>One question of a policy, or several joined: Envoy's Permission and Principal, which ask the same of different things.</summary>
/// <remarks>Shared immutable, built on the control loop; asked on workers, allocates nothing.</remarks>
internal abstract class RbacRule
{
    internal abstract bool Matches(in RbacSubject subject);

    internal sealed class Any : RbacRule
    {
        internal static readonly Any Instance = new();

        internal override bool Matches(in RbacSubject subject) => true;
    }

    internal sealed class All(RbacRule[] rules) : RbacRule
    {
        internal override bool Matches(in RbacSubject subject)
        {
            foreach (var rule in rules)
            {
                if (!rule.Matches(subject))
                    return false;
            }
            return true;
        }
    }

    internal sealed class OneOf(RbacRule[] rules) : RbacRule
    {
        internal override bool Matches(in RbacSubject subject)
        {
            foreach (var rule in rules)
            {
                if (rule.Matches(subject))
                    return true;
            }
            return false;
        }
    }

    internal sealed class Not(RbacRule rule) : RbacRule
    {
        internal override bool Matches(in RbacSubject subject) => !rule.Matches(subject);
    }

    // ---- of the request ----------------------------------------------------------------------------------------

    internal sealed class Header(HeaderMatcher matcher) : RbacRule
    {
        internal override bool Matches(in RbacSubject subject) => subject.Head is { } head && matcher.Matches(head);
    }

    /// <summary>The path without query and fragment, as the route sees it.</summary>
    internal sealed class Path(StringMatcher matcher) : RbacRule
    {
        internal override bool Matches(in RbacSubject subject) =>
            subject.Head is { Path: { IsEmpty: false } path } && matcher.Matches(RouteInput.WithoutQuery(path));
    }

    /// <summary>The same by a template.</summary>
    internal sealed class PathTemplate(UriTemplate template) : RbacRule
    {
        internal override bool Matches(in RbacSubject subject) =>
            subject.Head is { Path: { IsEmpty: false } path } && template.Matches(RouteInput.WithoutQuery(path));
    }

    /// <summary>What filters before this one have found out.</summary>
    internal sealed class DynamicMetadata(MetadataMatcher matcher) : RbacRule
    {
        internal override bool Matches(in RbacSubject subject) => matcher.Matches(subject.Metadata);
    }

    // ---- of the connection -------------------------------------------------------------------------------------

    /// <summary>Where the connection was going before it was captured.</summary>
    internal sealed class DestinationAddress(Cidr range) : RbacRule
    {
        internal override bool Matches(in RbacSubject subject) => range.Contains(subject.Connection.LocalAddress);
    }

    /// <summary>Ports from <paramref name="start"/> on, below <paramref name="end"/>; what has no port has none of these.</summary>
    internal sealed class DestinationPort(int start, int end) : RbacRule
    {
        internal override bool Matches(in RbacSubject subject)
        {
            var address = subject.Connection.LocalAddress;
            return address.IsIp && address.Port >= start && address.Port < end;
        }
    }

    internal sealed class ServerName(StringMatcher matcher) : RbacRule
    {
        internal override bool Matches(in RbacSubject subject) => matcher.Matches(subject.ServerName);
    }

    /// <summary>Whose request it is, by x-forwarded-for where that is believed.</summary>
    internal sealed class RemoteAddress(Cidr range) : RbacRule
    {
        internal override bool Matches(in RbacSubject subject) => range.Contains(subject.RemoteAddress);
    }

    /// <summary>Whose connection it is, by a PROXY header where there was one.</summary>
    internal sealed class ConnectionAddress(Cidr range) : RbacRule
    {
        internal override bool Matches(in RbacSubject subject) => range.Contains(subject.Connection.RemoteAddress);
    }

    /// <summary>The peer itself, whoever it speaks for.</summary>
    internal sealed class PeerAddress(Cidr range) : RbacRule
    {
        internal override bool Matches(in RbacSubject subject) => range.Contains(subject.Connection.DirectRemoteAddress);
    }

    /// <summary>
    /// A peer with a certificate that was verified; with a name, one that is called so: by a URI, else by a DNS name, else by its subject. A certificate that
    /// was only let through proves nothing, so whoever shows it is nobody here.
    /// </summary>
    internal sealed class Authenticated(StringMatcher? name) : RbacRule
    {
        internal override bool Matches(in RbacSubject subject)
        {
            if (subject.Peer is not { } peer)
                return false;
            return name is null || AnyMatches(name, peer.UriSans) || AnyMatches(name, peer.DnsSans) || name.Matches(peer.Subject);
        }

        private static bool AnyMatches(StringMatcher name, IReadOnlyList<string> names)
        {
            for (int i = 0; i < names.Count; i++)
            {
                if (name.Matches(names[i]))
                    return true;
            }
            return false;
        }
    }

    /// <summary>
    /// The peer's identity as Istio keeps it in filter state, where whoever ends a tunnel leaves it for what is inside: the first URI of the verified
    /// certificate. Where there is no tunnel, the connection itself is what the peer has come by.
    /// </summary>
    internal sealed class PeerPrincipal(StringMatcher matcher) : RbacRule
    {
        internal const string Key = "io.istio.peer_principal";

        internal override bool Matches(in RbacSubject subject) => subject.Peer is { UriSans: { Count: > 0 } uris } && matcher.Matches(uris[0]);
    }

    /// <summary>Asks for what nobody here sets.</summary>
    internal sealed class Never : RbacRule
    {
        internal static readonly Never Instance = new();

        internal override bool Matches(in RbacSubject subject) => false;
    }
}
