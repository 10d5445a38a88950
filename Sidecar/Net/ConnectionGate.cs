namespace Sidecar.Net;

/// <summary>Stands before a connection's handler, whoever that is at the time: what is received goes on only when it is let through.</summary>
/// <remarks>Worker-owned; set with <see cref="Connection.Gate"/> before there is anything to receive, and gone with the connection at the latest.</remarks>
internal abstract class ConnectionGate
{
    /// <summary>
    /// Bytes, or the end, are to be presented. False: they are not, because the connection was closed, or because it is paused and will be. May be asked again
    /// about what it has let through. To be asked no more it takes itself off the connection.
    /// </summary>
    internal abstract bool Admits(Connection connection);

    /// <summary>The connection is over.</summary>
    internal abstract void OnClosed();
}
