using Sidecar.Http;
using Sidecar.Net;
using Sidecar.Telemetry;
using Sidecar.Tls;

namespace Sidecar.Filters.Rbac;

/// <summary>What a decision is about: one request, or one connection as a whole.</summary>
internal readonly ref struct RbacSubject
{
    /// <summary>A request.</summary>
    internal RbacSubject(FilterStream stream)
    {
        Connection = stream.Downstream;
        Tls = stream.Info.DownstreamTls;
        Head = stream.Request;
        RemoteAddress = stream.RemoteAddress;
        Metadata = stream.Info.DynamicMetadata;
    }

    /// <summary>A connection.</summary>
    /// <param name="connection">The connection; its handshake, if it has one, is complete.</param>
    /// <param name="metadata">What filters have found out about it.</param>
    internal RbacSubject(Connection connection, DynamicMetadata metadata)
    {
        Connection = connection;
        Tls = (connection.Transport as TlsTransport)?.Facts;
        Head = null;
        RemoteAddress = connection.RemoteAddress;
        Metadata = metadata;
    }

    internal readonly Connection Connection;

    /// <summary>Null without TLS.</summary>
    internal readonly TlsFacts? Tls;

    /// <summary>Null for a connection.</summary>
    internal readonly RequestHead? Head;

    /// <summary>Whom it is taken to come from: of a request by the rules of x-forwarded-for.</summary>
    internal readonly Address RemoteAddress;
    internal readonly DynamicMetadata Metadata;

    /// <summary>The certificate by which the peer has proved who it is; null when it has not, or when nobody looked.</summary>
    internal CertificateFacts? Peer => Tls is { IsPeerVerified: true } ? Tls.Peer : null;

    /// <summary>The server name that was asked for, whether TLS ends here or not; may be empty.</summary>
    internal string ServerName => Tls?.ServerName ?? Connection.RequestedServerName;
}
