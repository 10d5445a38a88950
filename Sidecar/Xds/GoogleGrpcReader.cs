using System;
using System.Buffers;
using System.Collections.Generic;
using System.Text;
using Google.Protobuf;
using Google.Protobuf.WellKnownTypes;
using Sidecar.Net;
using Sidecar.Upstream;
using WireCluster = Envoy.Config.Cluster.V3;
using WireCore = Envoy.Config.Core.V3;
using WireCredential = Envoy.Config.GrpcCredential.V3;
using WireEndpoint = Envoy.Config.Endpoint.V3;
using WireGoogle = Envoy.Config.Core.V3.GrpcService.Types.GoogleGrpc;
using WireMatcher = Envoy.Type.Matcher.V3;
using WireTls = Envoy.Extensions.TransportSockets.Tls.V3;

namespace Sidecar.Xds;

/// <summary>
/// Makes of a google_grpc service the cluster it means: the target is its host, the channel's credentials its transport, the call's credentials
/// metadata. What needs Google's library (its credentials, its other name systems) is refused by path.
/// </summary>
internal sealed class GoogleGrpcReader(FieldProblems problems)
{
    private const string TlsContextType = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext";

    // gRPC over HTTP/2, "Custom-Metadata": letters, digits and these; "grpc-" is its own.
    private static readonly SearchValues<char> s_metadataNames = SearchValues.Create("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_-.");

    private const int DefaultPort = 443;
    private const string FileCredentials = "envoy.grpc_credentials.file_based_metadata";

    /// <summary>What was made.</summary>
    internal sealed record Made(WireCluster.Cluster Cluster, GrpcTarget Target);

    /// <summary>Where a target is.</summary>
    /// <param name="Address">Its address, of whichever kind.</param>
    /// <param name="Host">The name that its certificate must have.</param>
    /// <param name="Authority">:authority.</param>
    /// <param name="IsLocal">It cannot leave this machine.</param>
    private sealed record Place(WireCore.Address Address, string Host, string Authority, bool IsLocal)
    {
        internal bool NeedsDns => Address.SocketAddress is { } socket && !Sidecar.Net.Address.TryParseIp(socket.Address.AsSpan(), out _);
    }

    internal Made? Read(WireGoogle google, string path)
    {
        if (google.StatPrefix.Length == 0)
            problems.Reject(path + ".stat_prefix", "value length must be at least 1 characters");
        if (ReadTarget(google.TargetUri, path + ".target_uri") is not { } place)
            return null;
        string name = "google_grpc." + google.StatPrefix;
        var cluster = new WireCluster.Cluster
        {
            Name = name,
            Type = place.NeedsDns ? WireCluster.Cluster.Types.DiscoveryType.StrictDns : WireCluster.Cluster.Types.DiscoveryType.Static,
            Http2ProtocolOptions = new WireCore.Http2ProtocolOptions(),
            LoadAssignment = new WireEndpoint.ClusterLoadAssignment { ClusterName = name },
        };
        cluster.LoadAssignment.Endpoints.Add(new WireEndpoint.LocalityLbEndpoints { LbEndpoints = { new WireEndpoint.LbEndpoint { Endpoint = new() { Address = place.Address } } } });
        if (google.PerStreamBufferLimitBytes is { } limit)
            cluster.PerConnectionBufferLimitBytes = limit;
        var target = new GrpcTarget(name, place.Authority, []);
        ReadArguments(google.ChannelArgs, path + ".channel_args", cluster, ref place, ref target);
        bool isSafe = ReadChannel(google.ChannelCredentials, place, path + ".channel_credentials", cluster);
        return ReadCalls(google, isSafe, path, target) is { } complete ? new Made(cluster, complete) : null;
    }

    // ---- target ---------------------------------------------------------------------------------------------------------

    /// <summary>Names as gRPC has them (its "Name Resolution"): dns:, ipv4:, ipv6:, unix:, or a bare host.</summary>
    private Place? ReadTarget(string uri, string path)
    {
        int colon = uri.IndexOf(':');
        string scheme = colon < 0 ? "" : uri[..colon];
        string rest = colon < 0 ? uri : uri[(colon + 1)..];
        switch (scheme)
        {
            case "unix":
                string file = rest.StartsWith("///", StringComparison.Ordinal) ? rest[2..] : rest;
                if (file.Length > 0 && !file.StartsWith("//", StringComparison.Ordinal))
                    return new Place(new WireCore.Address { Pipe = new WireCore.Pipe { Path = file } }, "localhost", "localhost", IsLocal: true);
                break;
            case "dns" when rest.StartsWith("//", StringComparison.Ordinal):
                if (rest.StartsWith("///", StringComparison.Ordinal))
                    return ReadHost(rest[3..], path);
                problems.Reject(path, "a name server of its own is not asked: write dns:///HOST:PORT");
                return null;
            case "dns" or "ipv4" or "ipv6":
                if (!rest.Contains(','))
                    return ReadHost(rest, path);
                problems.Reject(path, "several addresses in one target are not taken: use envoy_grpc with a cluster of them");
                return null;
            case "unix-abstract" or "vsock" or "xds" or "google-c2p":
                problems.Reject(path, $"targets of {scheme}: are not known here: use envoy_grpc with a cluster");
                return null;
        }
        return ReadHost(uri, path);
    }

    private Place? ReadHost(string text, string path)
    {
        string host = text;
        int port = DefaultPort;
        int colon = text.LastIndexOf(':');
        // A bare IPv6 address has colons and no port.
        bool hasPort = colon >= 0 && (text.StartsWith('[') ? text[colon - 1 < 0 ? 0 : colon - 1] == ']' : text.IndexOf(':') == colon);
        if (hasPort)
        {
            host = text[..colon];
            if (!int.TryParse(text.AsSpan(colon + 1), System.Globalization.NumberStyles.None, null, out port) || port is 0 or > 65535)
                host = "";
        }
        if (host.StartsWith('[') && host.EndsWith(']'))
            host = host[1..^1];
        // RFC 6761 section 6.3: it is this machine, and no name server is asked.
        string own = host == "localhost" ? "127.0.0.1" : host;
        bool isIp = Address.TryParseIp(own.AsSpan(), out var address);
        if (host.Length == 0 || !isIp && host.AsSpan().IndexOfAny("/:@[] ") >= 0)
        {
            problems.Reject(path, $"'{text}' is no host with a port: write HOST:PORT, dns:///HOST:PORT, ipv4:A.B.C.D:PORT, ipv6:[A]:PORT or unix:PATH");
            return null;
        }
        var wire = new WireCore.Address { SocketAddress = new WireCore.SocketAddress { Address = own, PortValue = (uint)port } };
        return new Place(wire, host, text, IsLocal: isIp && address.IsLoopback);
    }

    // ---- channel --------------------------------------------------------------------------------------------------------

    /// <summary>Arguments that have a counterpart here.</summary>
    private void ReadArguments(WireGoogle.Types.ChannelArgs? arguments, string path, WireCluster.Cluster cluster, ref Place place, ref GrpcTarget target)
    {
        if (arguments is null)
            return;
        foreach (var (name, value) in arguments.Args)
        {
            string text = value.StringValue;
            string at = $"{path}.args[{name}]";
            switch (name)
            {
                case "grpc.default_authority" when text.Length > 0:
                    target = target with { Authority = text };
                    break;
                case "grpc.ssl_target_name_override" when text.Length > 0:
                    place = place with { Host = text };
                    if (!arguments.Args.ContainsKey("grpc.default_authority"))
                        target = target with { Authority = text };
                    break;
                case "grpc.max_receive_message_length" when value.IntValue is > 0 and <= int.MaxValue:
                    target = target with { MessageBytesMax = (int)value.IntValue };
                    break;
                case "grpc.keepalive_time_ms" when value.IntValue is > 0 and < int.MaxValue:
                    var timeout = Milliseconds(20_000);
                    if (arguments.Args.TryGetValue("grpc.keepalive_timeout_ms", out var given) && given.IntValue is > 0 and < int.MaxValue)
                        timeout = Milliseconds(given.IntValue);
                    cluster.Http2ProtocolOptions.ConnectionKeepalive = new WireCore.KeepaliveSettings { Interval = Milliseconds(value.IntValue), Timeout = timeout };
                    break;
                case "grpc.keepalive_timeout_ms" when arguments.Args.ContainsKey("grpc.keepalive_time_ms"):
                    break;
                default:
                    problems.Unsupported(at, "is an argument of another gRPC library");
                    break;
            }
        }
    }

    private static Duration Milliseconds(long ms) => Duration.FromTimeSpan(TimeSpan.FromMilliseconds(ms));

    /// <summary>The transport. As in Envoy a channel without credentials is plain.</summary>
    /// <returns>Whether tokens may be sent on it.</returns>
    private bool ReadChannel(WireGoogle.Types.ChannelCredentials? credentials, Place place, string path, WireCluster.Cluster cluster)
    {
        switch (credentials?.CredentialSpecifierCase)
        {
            case null:
                return false;
            case WireGoogle.Types.ChannelCredentials.CredentialSpecifierOneofCase.SslCredentials:
                // Not by Any.Pack, which asks the descriptor for the name, and with that brings the reflection of all messages into the executable.
                var tls = new Any { TypeUrl = TlsContextType, Value = Tls(credentials.SslCredentials, place).ToByteString() };
                cluster.TransportSocket = new WireCore.TransportSocket { Name = "envoy.transport_sockets.tls", TypedConfig = tls };
                return true;
            case WireGoogle.Types.ChannelCredentials.CredentialSpecifierOneofCase.LocalCredentials:
                if (!place.IsLocal)
                    problems.Reject(path + ".local_credentials", "are for a Unix socket or a loopback address; use ssl_credentials");
                return true;
            default:
                problems.Reject(path, "ssl_credentials or local_credentials is required; no others are known here");
                return true;
        }
    }

    // What gRPC does by itself: the target's name in SNI and in the certificate, and the machine's authorities where none are given.
    private static WireTls.UpstreamTlsContext Tls(WireGoogle.Types.SslCredentials ssl, Place place)
    {
        bool isIp = Address.TryParseIp(place.Host.AsSpan(), out _);
        var common = new WireTls.CommonTlsContext { AlpnProtocols = { "h2" } };
        if (ssl.CertChain is not null || ssl.PrivateKey is not null)
            common.TlsCertificates.Add(new WireTls.TlsCertificate { CertificateChain = ssl.CertChain, PrivateKey = ssl.PrivateKey });
        var validation = new WireTls.CertificateValidationContext();
        if (ssl.RootCerts is not null)
            validation.TrustedCa = ssl.RootCerts;
        else
            validation.SystemRootCerts = new();
        validation.MatchTypedSubjectAltNames.Add(new WireTls.SubjectAltNameMatcher
        {
            SanType = isIp ? WireTls.SubjectAltNameMatcher.Types.SanType.IpAddress : WireTls.SubjectAltNameMatcher.Types.SanType.Dns,
            Matcher = new WireMatcher.StringMatcher { Exact = place.Host },
        });
        common.ValidationContext = validation;
        return new WireTls.UpstreamTlsContext { CommonTlsContext = common, Sni = isIp ? "" : place.Host };
    }

    // ---- calls ----------------------------------------------------------------------------------------------------------

    private GrpcTarget? ReadCalls(WireGoogle google, bool isSafe, string path, GrpcTarget target)
    {
        // Without what a plugin would give, the channel would be less than was asked for.
        if (google.ChannelCredentialsPlugin.Count > 0)
            problems.Reject(path + ".channel_credentials_plugin", "plugins are not known here; use channel_credentials");
        if (google.CallCredentialsPlugin.Count > 0)
            problems.Reject(path + ".call_credentials_plugin", "plugins are not known here; use call_credentials");
        if (google.CredentialsFactoryName is not ("" or "envoy.grpc_credentials.default" or FileCredentials))
        {
            problems.Reject(path + ".credentials_factory_name", $"'{google.CredentialsFactoryName}' is not known here; {FileCredentials} is");
            return null;
        }
        if (google.CallCredentials.Count > 0 && !isSafe)
        {
            problems.Reject(path + ".call_credentials", "tokens are not sent in the clear: give channel_credentials, ssl_credentials or local_credentials");
            return null;
        }
        var metadata = new List<(string, byte[])>(target.Metadata);
        var files = new List<FileMetadata>();
        for (int i = 0; i < google.CallCredentials.Count; i++)
            ReadCall(google.CallCredentials[i], $"{path}.call_credentials[{i}]", metadata, files);
        return target with { Metadata = metadata, Files = files };
    }

    private void ReadCall(WireGoogle.Types.CallCredentials call, string path, List<(string, byte[])> metadata, List<FileMetadata> files)
    {
        switch (call.CredentialSpecifierCase)
        {
            case WireGoogle.Types.CallCredentials.CredentialSpecifierOneofCase.AccessToken:
                metadata.Add(("authorization", Encoding.UTF8.GetBytes("Bearer " + call.AccessToken)));
                break;
            case WireGoogle.Types.CallCredentials.CredentialSpecifierOneofCase.GoogleIam:
                metadata.Add(("x-goog-iam-authorization-token", Encoding.UTF8.GetBytes(call.GoogleIam.AuthorizationToken)));
                metadata.Add(("x-goog-iam-authority-selector", Encoding.UTF8.GetBytes(call.GoogleIam.AuthoritySelector)));
                break;
            case WireGoogle.Types.CallCredentials.CredentialSpecifierOneofCase.FromPlugin:
                ReadPlugin(call.FromPlugin, path + ".from_plugin", metadata, files);
                break;
            default:
                problems.Reject(path, $"access_token, google_iam or from_plugin with {FileCredentials} is required; no others are known here");
                break;
        }
    }

    private void ReadPlugin(WireGoogle.Types.CallCredentials.Types.MetadataCredentialsFromPlugin plugin, string path, List<(string, byte[])> metadata, List<FileMetadata> files)
    {
        if (plugin.Name != FileCredentials || plugin.TypedConfig is null)
        {
            problems.Reject(path + ".name", $"'{plugin.Name}' is not known here; {FileCredentials} with its typed_config is");
            return;
        }
        if (!plugin.TypedConfig.TypeUrl.EndsWith("/envoy.config.grpc_credential.v3.FileBasedMetadataConfig", StringComparison.Ordinal))
        {
            problems.Reject(path + ".typed_config", "must be envoy.config.grpc_credential.v3.FileBasedMetadataConfig");
            return;
        }
        WireCredential.FileBasedMetadataConfig config;
        try
        {
            config = WireCredential.FileBasedMetadataConfig.Parser.ParseFrom(plugin.TypedConfig.Value);
        }
        // Google.Protobuf reports a broken wrapper message by InvalidOperationException.
        catch (Exception broken) when (broken is InvalidProtocolBufferException or InvalidOperationException)
        {
            problems.Reject(path + ".typed_config", "malformed bytes: " + broken.Message);
            return;
        }
        if (config.HeaderKey.AsSpan().ContainsAnyExcept(s_metadataNames) || config.HeaderKey.StartsWith("grpc-", StringComparison.OrdinalIgnoreCase))
        {
            problems.Reject(path + ".typed_config.header_key", $"'{config.HeaderKey}' is not a name of metadata");
            return;
        }
        string name = config.HeaderKey.Length > 0 ? config.HeaderKey.ToLowerInvariant() : "authorization";
        switch (config.SecretData?.SpecifierCase)
        {
            case WireCore.DataSource.SpecifierOneofCase.Filename:
                files.Add(new FileMetadata(name, config.HeaderPrefix, config.SecretData.Filename));
                break;
            case WireCore.DataSource.SpecifierOneofCase.InlineString:
                metadata.Add((name, Encoding.UTF8.GetBytes(config.HeaderPrefix + config.SecretData.InlineString)));
                break;
            case WireCore.DataSource.SpecifierOneofCase.InlineBytes:
                metadata.Add((name, [.. Encoding.UTF8.GetBytes(config.HeaderPrefix), .. config.SecretData.InlineBytes.Span]));
                break;
            default:
                problems.Reject(path + ".typed_config.secret_data", "must be filename, inline_string or inline_bytes");
                break;
        }
    }
}
