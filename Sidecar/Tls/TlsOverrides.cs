using System;
using System.Collections.Generic;

namespace Sidecar.Tls;

/// <summary>
/// What one request or session asks of the TLS connection it travels on instead of what the context says: Envoy's transport socket options. Connections,
/// pools and sessions with one are not shared with those of another.
/// </summary>
/// <remarks>Immutable; equal by value, since the same names may be made twice.</remarks>
internal sealed class TlsOverrides : IEquatable<TlsOverrides>
{
    private readonly int _hash;

    private TlsOverrides(in Wanted wanted)
    {
        Alpn = wanted.Alpn;
        SubjectAltName = wanted.SubjectAltName.ToArray();
        if (!wanted.ServerName.IsEmpty)
        {
            ServerName = new byte[wanted.ServerName.Length + 1];
            wanted.ServerName.CopyTo(ServerName);
        }
        _hash = wanted.GetHashCode();
    }

    /// <summary>Application protocols to offer, in their wire form; empty: the context's.</summary>
    internal byte[] Alpn { get; }

    /// <summary>Server name to ask for, ending in a NUL; empty: the context's.</summary>
    internal byte[] ServerName { get; } = [];

    /// <summary>DNS name or address that must be among the certificate's names, whatever else is verified; empty: none.</summary>
    internal byte[] SubjectAltName { get; }

    /// <summary>Some of it was named by a peer: there may be any number of such objects.</summary>
    internal bool HasNames => ServerName.Length > 0 || SubjectAltName.Length > 0;

    /// <summary>The same by its parts.</summary>
    internal static TlsOverrides Of(byte[] alpn, ReadOnlySpan<byte> serverName, ReadOnlySpan<byte> subjectAltName) => new(new Wanted(alpn, serverName, subjectAltName));

    public bool Equals(TlsOverrides? other) => other is not null && (ReferenceEquals(this, other) || _hash == other._hash && AsWanted.Is(other));

    public override bool Equals(object? other) => Equals(other as TlsOverrides);

    public override int GetHashCode() => _hash;

    private Wanted AsWanted => new(Alpn, ServerName.Length == 0 ? default : ServerName.AsSpan(0, ServerName.Length - 1), SubjectAltName);

    /// <summary>An object's parts before there is one.</summary>
    private readonly ref struct Wanted(byte[] alpn, ReadOnlySpan<byte> serverName, ReadOnlySpan<byte> subjectAltName)
    {
        internal readonly byte[] Alpn = alpn;
        internal readonly ReadOnlySpan<byte> ServerName = serverName;
        internal readonly ReadOnlySpan<byte> SubjectAltName = subjectAltName;

        internal bool Is(TlsOverrides other)
        {
            var its = other.AsWanted;
            return (Alpn == its.Alpn || Alpn.AsSpan().SequenceEqual(its.Alpn)) && ServerName.SequenceEqual(its.ServerName) && SubjectAltName.SequenceEqual(its.SubjectAltName);
        }

        public override int GetHashCode()
        {
            // Seeded per process: nobody outside can choose names that share a place.
            var hash = new HashCode();
            hash.AddBytes(Alpn);
            hash.Add(ServerName.Length);
            hash.AddBytes(ServerName);
            hash.AddBytes(SubjectAltName);
            return hash.ToHashCode();
        }
    }

    /// <summary>Those in use lately, so that requests for a name that is known allocate nothing.</summary>
    /// <remarks>Worker-owned, one per cluster that needs it.</remarks>
    internal sealed class Cache
    {
        /// <summary>Names come from requests. One that is made anew costs an allocation, no more: equality is by value.</summary>
        private const int KnownMax = 256;

        private readonly Dictionary<TlsOverrides, TlsOverrides> _known = new(new ByParts());
        private TlsOverrides? _last;

        internal TlsOverrides Get(byte[] alpn, ReadOnlySpan<byte> serverName, ReadOnlySpan<byte> subjectAltName)
        {
            var wanted = new Wanted(alpn, serverName, subjectAltName);
            if (_last is not null && wanted.Is(_last))
                return _last;
            if (_known.GetAlternateLookup<Wanted>().TryGetValue(wanted, out var known))
                return _last = known;
            if (_known.Count >= KnownMax)
                _known.Clear();
            var made = new TlsOverrides(wanted);
            _known.Add(made, made);
            return _last = made;
        }
    }

    private sealed class ByParts : IEqualityComparer<TlsOverrides>, IAlternateEqualityComparer<Wanted, TlsOverrides>
    {
        public bool Equals(TlsOverrides? one, TlsOverrides? other) => one!.Equals(other);
        public int GetHashCode(TlsOverrides one) => one.GetHashCode();
        public bool Equals(Wanted wanted, TlsOverrides other) => wanted.Is(other);
        public int GetHashCode(Wanted wanted) => wanted.GetHashCode();
        public TlsOverrides Create(Wanted wanted) => new(wanted);
    }
}
