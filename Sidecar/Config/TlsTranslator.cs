using System;
using System.Collections.Generic;
using System.Text;
using Google.Protobuf;
using Sidecar.Filters;
using Sidecar.Net;
using Sidecar.Telemetry.Stats;
using Sidecar.Tls;
using Sidecar.Wire;

namespace Sidecar.Config;

using Wire = global::Envoy.Extensions.TransportSockets.Tls.V3;

/// <summary>
/// envoy.extensions.transport_sockets.tls.v3: DownstreamTlsContext and UpstreamTlsContext → <see cref="TlsContextSlot"/>. Chains and clusters that say
/// the same in the same words share one slot.
/// </summary>
/// <remarks>Control loop only.</remarks>
internal sealed class TlsTranslator(SecretStore secrets)
{
    private readonly Dictionary<string, WeakReference<TlsContextSlot>> _slots = [];

    // ---- what a listener or a cluster asks for ---------------------------------------------------------------------

    /// <summary>The context of a filter chain; null, with every reason in <paramref name="scope"/>, when it is refused.</summary>
    /// <param name="wire">The transport socket's configuration.</param>
    /// <param name="prefix">Of the listener's stats, as in <c>listener.0.0.0.0_443.</c>.</param>
    /// <param name="tag">The label for that.</param>
    /// <param name="scope">Where problems go.</param>
    internal TlsContextSlot? Downstream(Wire.DownstreamTlsContext wire, string prefix, StatTag tag, ConfigScope scope)
    {
        var common = wire.CommonTlsContext ?? new Wire.CommonTlsContext();
        var at = scope.At("common_tls_context");
        var keys = ReportCommon(common, at);
        if (wire.RequireSni == true)
            scope.Reject("require_sni", "is not supported (Envoy does not either)");
        if (!Enum.IsDefined(wire.OcspStaplePolicy))
            scope.Reject("ocsp_staple_policy", $"unknown policy {(int)wire.OcspStaplePolicy}");
        if (wire.SessionTicketKeysTypeCase == Wire.DownstreamTlsContext.SessionTicketKeysTypeOneofCase.SessionTicketKeysSdsSecretConfig)
            keys = keys with { TicketKeys = KeyOf(wire.SessionTicketKeysSdsSecretConfig, "session ticket keys", scope.At("session_ticket_keys_sds_secret_config")) };
        if (common.TlsCertificates.Count + common.TlsCertificateSdsSecretConfigs.Count == 0)
            at.Reject("tls_certificates", "No TLS certificates found for server context");
        long timeoutMs = scope.Milliseconds("session_timeout", wire.SessionTimeout, 0);

        var options = Options(common, isServer: true, at) with
        {
            RequireClientCertificate = wire.RequireClientCertificate ?? false,
            OcspPolicy = (OcspPolicy)wire.OcspStaplePolicy,
            PreferClientCiphers = wire.PreferClientCiphers,
            DisableStatelessResumption = wire.DisableStatelessSessionResumption,
            DisableStatefulResumption = wire.DisableStatefulSessionResumption,
            ScanCertificatesOnMismatch = wire.FullScanCertsOnSniMismatch ?? false,
            SessionTimeoutS = (int)Math.Min(timeoutMs / 1000, int.MaxValue),
        };
        var keyLog = KeyLogOf(common.KeyLog, at.At("key_log"));
        return Slot(wire.ToByteArray(), prefix, "server_ssl_socket_factory.", TlsSecretStats.Downstream, tag, scope, (StatsScope stats, out string field, out string problem) =>
        {
            var all = options;
            if (!keyLog.TryOpen(ref all, out field, out problem))
                return null;
            if (!TicketKeys(wire, keys, out var tickets, out field, out problem))
                return null;
            return Context(common, keys, all with { TicketKeys = tickets }, scope.Services, stats, out field, out problem);
        });
    }

    /// <summary>The context of a cluster, or of one of its transport socket matches; null, with every reason in <paramref name="scope"/>, when it is refused.</summary>
    internal TlsContextSlot? Upstream(Wire.UpstreamTlsContext wire, string prefix, StatTag tag, ConfigScope scope)
    {
        var common = wire.CommonTlsContext ?? new Wire.CommonTlsContext();
        var at = scope.At("common_tls_context");
        var keys = ReportCommon(common, at);
        if (wire.Sni.Contains('\0'))
            scope.Reject("sni", "SNI names containing NULL-byte are not allowed");
        else if (wire.Sni.Length > 255)
            scope.Reject("sni", "value length must be at most 255 bytes");
        if (common.TlsCertificates.Count + common.TlsCertificateSdsSecretConfigs.Count > 1)
            at.Reject("tls_certificates", "Multiple TLS certificates are not supported for client contexts");
        if (wire.AutoSniSanValidation && common.ValidationContextTypeCase == Wire.CommonTlsContext.ValidationContextTypeOneofCase.None)
            scope.Reject("auto_sni_san_validation", "'auto_sni_san_validation' was configured without a validation context");

        var options = Options(common, isServer: false, at) with
        {
            ServerName = wire.Sni,
            ServerNameOfHost = wire.AutoHostSni,
            VerifyServerName = wire.AutoSniSanValidation,
            AllowRenegotiation = wire.AllowRenegotiation,
            EnforceKeyUsage = wire.EnforceRsaKeyUsage ?? true,
            SessionKeysMax = (int)Math.Min(wire.MaxSessionKeys ?? 1, 1024),
        };
        var keyLog = KeyLogOf(common.KeyLog, at.At("key_log"));
        return Slot(wire.ToByteArray(), prefix, "client_ssl_socket_factory.", TlsSecretStats.Upstream, tag, scope, (StatsScope stats, out string field, out string problem) =>
        {
            var all = options;
            return keyLog.TryOpen(ref all, out field, out problem) ? Context(common, keys, all, scope.Services, stats, out field, out problem) : null;
        });
    }

    private delegate TlsContext? ContextRecipe(StatsScope stats, out string field, out string problem);

    private TlsContextSlot? Slot(byte[] wire, string prefix, string factory, StatsSchema factorySchema, StatTag tag, ConfigScope scope, ContextRecipe recipe)
    {
        var stats = scope.Services.Stats.Scope(TlsStats.Schema, prefix + "ssl.", tag);
        var secretStats = scope.Services.Stats.Scope(factorySchema, prefix + factory, tag);
        if (scope.IsRejected)
            return null;
        if (!OpenSsl.TryLoad(out string missing))
        {
            scope.Reject("", missing);
            return null;
        }
        string identity = prefix + Convert.ToHexString(OpenSsl.Sha256(wire));
        if (_slots.TryGetValue(identity, out var known) && known.TryGetTarget(out var shared) && shared.SecretStats == secretStats)
            return shared;
        var slot = new TlsContextSlot(secretStats);
        (string field, string problem) = secrets.Bind(slot, (out string where, out string what) => recipe(stats, out where, out what));
        if (problem.Length > 0)
        {
            scope.Reject(field, problem);
            return null;
        }
        _slots[identity] = new WeakReference<TlsContextSlot>(slot);
        return slot;
    }

    // ---- fields both sides have --------------------------------------------------------------------------------------

    /// <summary>What the store has a context's secrets under.</summary>
    private sealed record SecretKeys(string[] Certificates)
    {
        internal string Validation { get; set; } = "";
        internal string TicketKeys { get; init; } = "";
    }

    private SecretKeys ReportCommon(Wire.CommonTlsContext wire, ConfigScope scope)
    {
        var keys = new SecretKeys(new string[wire.TlsCertificateSdsSecretConfigs.Count]);
        const string noProviders = "certificate providers are not supported; use tls_certificates or SDS";
        if (wire.TlsCertificateProviderInstance is not null)
            scope.Reject("tls_certificate_provider_instance", noProviders);
        if (wire.TlsCertificateCertificateProvider is not null)
            scope.Reject("tls_certificate_certificate_provider", noProviders);
        if (wire.TlsCertificateCertificateProviderInstance is not null)
            scope.Reject("tls_certificate_certificate_provider_instance", noProviders);
        if (wire.CustomTlsCertificateSelector is not null)
            scope.Reject("custom_tls_certificate_selector", "is not supported");
        if (wire.CustomHandshaker is not null)
            scope.Reject("custom_handshaker", "is not supported");
        if (wire.KeyLog is { Path.Length: 0 })
            scope.Reject("key_log.path", "value length must be at least 1 characters");
        for (int i = 0; i < wire.TlsCertificates.Count; i++)
            SecretTranslator.Report(wire.TlsCertificates[i], scope.At($"tls_certificates[{i}]"));
        for (int i = 0; i < wire.TlsCertificateSdsSecretConfigs.Count; i++)
            keys.Certificates[i] = KeyOf(wire.TlsCertificateSdsSecretConfigs[i], "secret", scope.At($"tls_certificate_sds_secret_configs[{i}]"));
        switch (wire.ValidationContextTypeCase)
        {
            case Wire.CommonTlsContext.ValidationContextTypeOneofCase.ValidationContext:
                SecretTranslator.Report(wire.ValidationContext, scope.At("validation_context"));
                break;
            case Wire.CommonTlsContext.ValidationContextTypeOneofCase.ValidationContextSdsSecretConfig:
                keys.Validation = KeyOf(wire.ValidationContextSdsSecretConfig, "certificate validation context", scope.At("validation_context_sds_secret_config"));
                break;
            case Wire.CommonTlsContext.ValidationContextTypeOneofCase.CombinedValidationContext:
                var combined = wire.CombinedValidationContext;
                var at = scope.At("combined_validation_context");
                if (combined.DefaultValidationContext is null)
                    at.Reject("default_validation_context", "is required");
                else
                    SecretTranslator.Report(combined.DefaultValidationContext, at.At("default_validation_context"));
                if (combined.ValidationContextCertificateProvider is not null)
                    at.Reject("validation_context_certificate_provider", "certificate providers are not supported; use SDS");
                if (combined.ValidationContextCertificateProviderInstance is not null)
                    at.Reject("validation_context_certificate_provider_instance", "certificate providers are not supported; use SDS");
                if (combined.ValidationContextSdsSecretConfig is null)
                    at.Reject("validation_context_sds_secret_config", "is required");
                else
                    keys.Validation = KeyOf(combined.ValidationContextSdsSecretConfig, "certificate validation context", at.At("validation_context_sds_secret_config"));
                break;
            case Wire.CommonTlsContext.ValidationContextTypeOneofCase.ValidationContextCertificateProvider:
                scope.Reject("validation_context_certificate_provider", "certificate providers are not supported; use validation_context or SDS");
                break;
            case Wire.CommonTlsContext.ValidationContextTypeOneofCase.ValidationContextCertificateProviderInstance:
                scope.Reject("validation_context_certificate_provider_instance", "certificate providers are not supported; use validation_context or SDS");
                break;
        }
        return keys;
    }

    // Without a source the secret must be among the configuration's own, now; with one it may come later.
    private string KeyOf(Wire.SdsSecretConfig wire, string kind, ConfigScope scope)
    {
        if (wire.Name.Length == 0)
            scope.Reject("name", "value length must be at least 1 characters");
        else if (wire.SdsConfig is not null)
            return scope.Services.Named(ResourceTypes.Secret, wire.Name, wire.SdsConfig, scope.At("sds_config"));
        else if (!secrets.Exists(wire.Name))
            scope.Reject("name", $"Unknown static {kind}: {wire.Name}");
        return wire.Name;
    }

    private static TlsOptions Options(Wire.CommonTlsContext wire, bool isServer, ConfigScope scope)
    {
        var parameters = wire.TlsParams ?? new Wire.TlsParameters();
        var at = scope.At("tls_params");
        if (parameters.CompliancePolicies.Count > 0)
            at.Reject("compliance_policies", "is not supported; set versions, cipher_suites, ecdh_curves and signature_algorithms");
        // A client's default maximum is Envoy's.
        int min = Version(parameters.TlsMinimumProtocolVersion, OpenSsl.Tls12, at.At("tls_minimum_protocol_version"));
        int max = Version(parameters.TlsMaximumProtocolVersion, isServer ? OpenSsl.Tls13 : Math.Max(OpenSsl.Tls12, min), at.At("tls_maximum_protocol_version"));
        if (min > max)
            at.Reject("tls_minimum_protocol_version", "must not be above tls_maximum_protocol_version");
        for (int i = 0; i < wire.AlpnProtocols.Count; i++)
        {
            if (wire.AlpnProtocols[i].Length == 0 || Encoding.UTF8.GetByteCount(wire.AlpnProtocols[i]) > 255)
                scope.Reject($"alpn_protocols[{i}]", "must be 1 to 255 bytes long");
        }
        return new TlsOptions
        {
            IsServer = isServer,
            MinVersion = min,
            MaxVersion = max,
            CipherSuites = parameters.CipherSuites.Count > 0 ? parameters.CipherSuites : TlsNames.DefaultCipherSuites,
            Curves = parameters.EcdhCurves.Count > 0 ? parameters.EcdhCurves : TlsNames.DefaultCurves,
            SignatureAlgorithms = parameters.SignatureAlgorithms,
            Alpn = wire.AlpnProtocols,
        };
    }

    private static int Version(Wire.TlsParameters.Types.TlsProtocol wire, int fallback, ConfigScope scope)
    {
        switch (wire)
        {
            case Wire.TlsParameters.Types.TlsProtocol.TlsAuto: return fallback;
            case Wire.TlsParameters.Types.TlsProtocol.Tlsv10: return OpenSsl.Tls10;
            case Wire.TlsParameters.Types.TlsProtocol.Tlsv11: return OpenSsl.Tls11;
            case Wire.TlsParameters.Types.TlsProtocol.Tlsv12: return OpenSsl.Tls12;
            case Wire.TlsParameters.Types.TlsProtocol.Tlsv13: return OpenSsl.Tls13;
            default:
                scope.Reject("", $"unknown version {(int)wire}");
                return fallback;
        }
    }

    // Opened with the first context and kept for those that follow.
    private sealed class LazyKeyLog(Wire.TlsKeyLog? wire, IReadOnlyList<Cidr> local, IReadOnlyList<Cidr> remote)
    {
        private KeyLog? _opened;

        internal bool TryOpen(ref TlsOptions options, out string field, out string problem)
        {
            field = "common_tls_context.key_log.path";
            problem = "";
            if (wire is not null && (_opened ??= KeyLog.Open(wire.Path, local, remote, out problem)) is null)
                return false;
            options = options with { KeyLog = _opened };
            return true;
        }
    }

    private static LazyKeyLog KeyLogOf(Wire.TlsKeyLog? wire, ConfigScope scope) => new(
        wire, ListenerTranslator.Ranges(wire?.LocalAddressRange ?? [], scope.At("local_address_range")), ListenerTranslator.Ranges(wire?.RemoteAddressRange ?? [], scope.At("remote_address_range")));

    // ---- what secrets make of it, each time one of them changes ------------------------------------------------------------

    private TlsContext? Context(Wire.CommonTlsContext wire, SecretKeys keys, TlsOptions options, ConfigServices services, StatsScope stats, out string field, out string problem)
    {
        var context = Make(wire, keys, options, services, stats, out string within, out problem);
        field = Join("common_tls_context", within);
        return context;
    }

    private TlsContext? Make(Wire.CommonTlsContext wire, SecretKeys keys, TlsOptions options, ConfigServices services, StatsScope stats, out string field, out string problem)
    {
        field = problem = "";
        var certificates = new List<TlsCertificate>();
        for (int i = 0; i < wire.TlsCertificates.Count; i++)
        {
            if (SecretTranslator.Certificate(wire.TlsCertificates[i], secrets, out string within, out problem) is not { } certificate)
            {
                field = Join($"tls_certificates[{i}]", within);
                return null;
            }
            certificates.Add(certificate);
        }
        for (int i = 0; i < wire.TlsCertificateSdsSecretConfigs.Count; i++)
        {
            field = $"tls_certificate_sds_secret_configs[{i}]";
            // Not there yet: no context, and no problem either. All names are looked up, for each to be waited for.
            if (secrets.Find(keys.Certificates[i])?.TlsCertificate is not { } secret)
                continue;
            if (SecretTranslator.Certificate(secret, secrets, out _, out problem) is not { } certificate)
                return null;
            certificates.Add(certificate);
        }
        bool complete = certificates.Count == wire.TlsCertificates.Count + wire.TlsCertificateSdsSecretConfigs.Count;
        complete &= TryValidation(wire, keys, services, out var validation, out field, out problem);
        if (!complete || problem.Length > 0)
            return null;
        field = "";
        return TlsContext.Create(options, certificates, validation, stats, out field, out problem);
    }

    private bool TryValidation(Wire.CommonTlsContext wire, SecretKeys keys, ConfigServices services, out ValidationOptions? validation, out string field, out string problem)
    {
        validation = null;
        field = problem = "";
        string path;
        Wire.CertificateValidationContext? context;
        switch (wire.ValidationContextTypeCase)
        {
            case Wire.CommonTlsContext.ValidationContextTypeOneofCase.ValidationContext:
                path = "validation_context";
                context = wire.ValidationContext;
                break;
            case Wire.CommonTlsContext.ValidationContextTypeOneofCase.ValidationContextSdsSecretConfig:
                path = "validation_context_sds_secret_config";
                context = secrets.Find(keys.Validation)?.ValidationContext;
                break;
            case Wire.CommonTlsContext.ValidationContextTypeOneofCase.CombinedValidationContext:
                path = "combined_validation_context";
                context = secrets.Find(keys.Validation)?.ValidationContext;
                if (context is not null)
                {
                    // The secret's fields over the default's; lists of both.
                    var merged = wire.CombinedValidationContext.DefaultValidationContext.Clone();
                    merged.MergeFrom(context);
                    context = merged;
                }
                break;
            default:
                return true;
        }
        if (context is null)
            return false;
        validation = SecretTranslator.Validation(context, secrets, services, out string within, out problem);
        field = Join(path, within);
        return validation is not null;
    }

    private static string Join(string path, string field) => field.Length > 0 ? path + "." + field : path;

    private bool TicketKeys(Wire.DownstreamTlsContext wire, SecretKeys names, out IReadOnlyList<byte[]> keys, out string field, out string problem)
    {
        keys = [];
        field = problem = "";
        Wire.TlsSessionTicketKeys? source;
        switch (wire.SessionTicketKeysTypeCase)
        {
            case Wire.DownstreamTlsContext.SessionTicketKeysTypeOneofCase.SessionTicketKeys:
                field = "session_ticket_keys.keys";
                source = wire.SessionTicketKeys;
                break;
            case Wire.DownstreamTlsContext.SessionTicketKeysTypeOneofCase.SessionTicketKeysSdsSecretConfig:
                field = "session_ticket_keys_sds_secret_config";
                source = secrets.Find(names.TicketKeys)?.SessionTicketKeys;
                break;
            default:
                return true;
        }
        if (source is null || SecretTranslator.TicketKeys(source, secrets, out problem) is not { } read)
            return false;
        keys = read;
        return true;
    }
}
