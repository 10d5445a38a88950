using System;
using System.Net;
using System.Net.Sockets;

namespace Sidecar.Tests.Harness;

/// <summary>A loopback TCP server for byte scripts: each accepted connection is a <see cref="RawClient"/> of the other side.</summary>
internal sealed class RawServer : IDisposable
{
    private readonly TcpListener _listener = new(IPAddress.Loopback, 0);

    internal RawServer() => _listener.Start();

    internal int Port => ((IPEndPoint)_listener.LocalEndpoint).Port;

    /// <summary>Waits for the next connection.</summary>
    internal RawClient Accept() => new(_listener.AcceptSocket());

    public void Dispose() => _listener.Stop();
}
