using System;
using System.Collections.Generic;
using Sidecar.Linux;
using Sidecar.Net;

namespace Sidecar.Tls;

/// <summary>
/// Where the secrets of handshakes are written, a line each in NSS's key log format, for tools like Wireshark to decrypt captured traffic with, and of which
/// connections: envoy's TlsKeyLog. Its presence in a configuration is a wish to see private matters; without it none leave this process.
/// </summary>
/// <remarks>Shared immutable, used by all workers: a line is one appending write, so that they do not mix theirs.</remarks>
internal sealed class KeyLog
{
    private readonly int _fd;
    private readonly IReadOnlyList<Cidr> _local;
    private readonly IReadOnlyList<Cidr> _remote;

    private KeyLog(int fd, IReadOnlyList<Cidr> local, IReadOnlyList<Cidr> remote)
    {
        _fd = fd;
        _local = local;
        _remote = remote;
    }

    ~KeyLog() => AppendFile.Close(_fd);

    /// <summary>Opens the file, which is made for its owner's eyes alone; null, and why, when that is not possible.</summary>
    /// <param name="path">Appended to.</param>
    /// <param name="local">Our addresses whose connections are logged; none: all.</param>
    /// <param name="remote">The same for peers.</param>
    /// <param name="problem">Why not.</param>
    internal static KeyLog? Open(string path, IReadOnlyList<Cidr> local, IReadOnlyList<Cidr> remote, out string problem)
    {
        var opened = AppendFile.Open(path);
        problem = opened.Ok ? "" : $"unable to open file '{path}': {opened.Error.Standard()}";
        return opened.Ok ? new KeyLog(opened.Fd, local, remote) : null;
    }

    /// <summary>Writes a line if the connection of this socket is one of those that are wanted. One that cannot be written is lost, as in Envoy.</summary>
    internal void Write(int socket, ReadOnlySpan<byte> line)
    {
        if (IsWanted(_local, Sockets.LocalAddress(socket, out var local).Ok, local) && IsWanted(_remote, Sockets.PeerAddress(socket, out var remote).Ok, remote))
            AppendFile.Write(_fd, [.. line, (byte)'\n']);
    }

    private static bool IsWanted(IReadOnlyList<Cidr> ranges, bool isKnown, in SocketAddress address)
    {
        if (ranges.Count == 0)
            return true;
        foreach (var range in ranges)
        {
            if (isKnown && range.Contains(Address.From(address)))
                return true;
        }
        return false;
    }
}
