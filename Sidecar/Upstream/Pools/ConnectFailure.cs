using Sidecar.Linux;
using Sidecar.Net;
using Sidecar.Telemetry;

namespace Sidecar.Upstream.Pools;

/// <summary>Why a connection to a host could not be made, as Envoy's transport failure reason says it.</summary>
internal static class ConnectFailure
{
    /// <summary>The transport's own words, or those for the system's error; empty when there are none.</summary>
    internal static string Describe(Connection connection, Failure reason)
    {
        string words = connection.Transport.FailureReason;
        if (words.Length > 0 || connection.LastError == Errno.None || reason == Failure.UpstreamTlsHandshake)
            return words;
        string error = connection.LastError.Standard();
        return connection.IsStillborn ? $"immediate connect error: {error}|remote address:{connection.RemoteAddress}" : "delayed connect error: " + error;
    }
}
