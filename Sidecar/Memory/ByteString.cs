using System;
using System.Collections.Generic;
using System.Text;

namespace Sidecar.Memory;

/// <summary>An immutable byte string with its hash, usable as a dictionary key and, through <see cref="Comparer"/>, found by span without allocation.</summary>
internal sealed class ByteString : IEquatable<ByteString>
{
    private readonly byte[] _bytes;
    private readonly int _hash;

    internal ByteString(ReadOnlySpan<byte> bytes)
    {
        _bytes = bytes.ToArray();
        _hash = Hash(bytes);
    }

    /// <summary>The UTF-8 bytes of a configuration string.</summary>
    internal ByteString(string text) : this(Encoding.UTF8.GetBytes(text)) { }

    internal ReadOnlySpan<byte> Span => _bytes;
    internal int Length => _bytes.Length;

    public bool Equals(ByteString? other) => other is not null && _hash == other._hash && Span.SequenceEqual(other.Span);
    public override bool Equals(object? obj) => Equals(obj as ByteString);
    public override int GetHashCode() => _hash;
    public override string ToString() => Encoding.UTF8.GetString(_bytes);

    // HashCode is seeded per process, so names chosen by a peer cannot be made to collide.
    private static int Hash(ReadOnlySpan<byte> bytes)
    {
        var hash = new HashCode();
        hash.AddBytes(bytes);
        return hash.ToHashCode();
    }

    /// <summary>
    /// Compares byte strings and looks them up by span:
    /// <c>dictionary.GetAlternateLookup&lt;ReadOnlySpan&lt;byte&gt;&gt;()</c>.
    /// </summary>
    internal sealed class Comparer : IEqualityComparer<ByteString>, IAlternateEqualityComparer<ReadOnlySpan<byte>, ByteString>
    {
        internal static readonly Comparer Instance = new();

        public bool Equals(ByteString? x, ByteString? y) => x is null ? y is null : x.Equals(y);
        public int GetHashCode(ByteString obj) => obj.GetHashCode();
        public bool Equals(ReadOnlySpan<byte> alternate, ByteString other) => other.Span.SequenceEqual(alternate);
        public int GetHashCode(ReadOnlySpan<byte> alternate) => Hash(alternate);
        public ByteString Create(ReadOnlySpan<byte> alternate) => new(alternate);
    }
}
