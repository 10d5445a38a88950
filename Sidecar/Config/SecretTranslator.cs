using System;
using System.Collections.Generic;
using System.Text;
using Google.Protobuf;
using Sidecar.Filters;
using Sidecar.Tls;
using WireCore = Envoy.Config.Core.V3;

namespace Sidecar.Config;

using Wire = global::Envoy.Extensions.TransportSockets.Tls.V3;

/// <summary>
/// envoy.extensions.transport_sockets.tls.v3.Secret and its parts → certificates, authorities and keys. A secret is tried when it comes, so that one that
/// cannot be used is refused and the one before stays.
/// </summary>
internal static class SecretTranslator
{
    private const string Inline = "<inline>";

    /// <summary>Checks a secret as a resource; null, with the reasons, when it is refused.</summary>
    internal static Wire.Secret? Translate(Wire.Secret wire, SecretStore store, ConfigScope scope)
    {
        if (wire.Name.Length == 0)
            scope.Reject("name", "must not be empty");
        switch (wire.TypeCase)
        {
            case Wire.Secret.TypeOneofCase.TlsCertificate:
                Report(wire.TlsCertificate, scope.At("tls_certificate"));
                if (Certificate(wire.TlsCertificate, store, out string field, out string problem) is null)
                    scope.At("tls_certificate").Reject(field, problem);
                break;
            case Wire.Secret.TypeOneofCase.ValidationContext:
                Report(wire.ValidationContext, scope.At("validation_context"));
                if (Validation(wire.ValidationContext, store, scope.Services, out field, out problem) is null)
                    scope.At("validation_context").Reject(field, problem);
                break;
            case Wire.Secret.TypeOneofCase.SessionTicketKeys:
                if (TicketKeys(wire.SessionTicketKeys, store, out problem) is null)
                    scope.Reject("session_ticket_keys.keys", problem);
                break;
            case Wire.Secret.TypeOneofCase.GenericSecret:
                scope.Ignore("generic_secret", "nothing here asks for one");
                break;
            default:
                scope.Reject("type", "is required: set tls_certificate, validation_context, session_ticket_keys or generic_secret");
                break;
        }
        return scope.IsRejected ? null : wire;
    }

    // ---- certificates ----------------------------------------------------------------------------------------------

    /// <summary>Notes what of a certificate has no effect, and refuses what must have one.</summary>
    internal static void Report(Wire.TlsCertificate wire, ConfigScope scope)
    {
        if (wire.PrivateKeyProvider is { } provider)
        {
            if (provider.Fallback && wire.PrivateKey is not null)
                scope.Ignore("private_key_provider", "private_key is used instead (fallback)");
            else
                scope.Reject("private_key_provider", $"Failed to load private key provider: {provider.ProviderName}: is not supported; use private_key");
        }
        if (wire.OcspStaple?.SpecifierCase == WireCore.DataSource.SpecifierOneofCase.InlineString)
            scope.Reject("ocsp_staple", "OCSP staple cannot be provided via inline_string");
        if (wire.SignedCertificateTimestamp.Count > 0)
            scope.Ignore("signed_certificate_timestamp", "is not sent (Envoy does not either)");
        ReportFolder(wire.WatchedDirectory, scope);
    }

    /// <summary>The certificate and its key; null, with the field to blame and why.</summary>
    internal static TlsCertificate? Certificate(Wire.TlsCertificate wire, SecretStore store, out string field, out string problem)
    {
        Watch(wire.WatchedDirectory, store);
        byte[]? password = null;
        field = "password";
        if (wire.Password is not null && (password = Read(wire.Password, store, out problem)) is null)
            return null;
        field = "ocsp_staple";
        if (Read(wire.OcspStaple, store, out problem) is not { } staple)
            return null;
        if (wire.Pkcs12 is not null)
        {
            field = "pkcs12";
            if (wire.CertificateChain is not null || wire.PrivateKey is not null)
            {
                problem = "pkcs12 cannot be set together with certificate_chain or private_key";
                return null;
            }
            if (Read(wire.Pkcs12, store, out problem) is not { } bundle)
                return null;
            string name = NameOf(wire.Pkcs12);
            return Shared(store, bundle, [], password, staple, () => (TlsCertificate.FromPkcs12(bundle, password, name, out string reason), reason), out problem);
        }
        field = "certificate_chain";
        if (Read(wire.CertificateChain, store, out problem) is not { Length: > 0 } chain)
        {
            problem = problem.Length > 0 ? problem : "is required";
            return null;
        }
        field = "private_key";
        string chainName = NameOf(wire.CertificateChain);
        string keyName = NameOf(wire.PrivateKey);
        if (Read(wire.PrivateKey, store, out problem) is not { Length: > 0 } key)
        {
            problem = problem.Length > 0 ? problem : $"Failed to load incomplete private key from path: {keyName}";
            return null;
        }
        if (key.AsSpan().SequenceEqual("[redacted]"u8))
        {
            problem = "is redacted: this comes from a dump, which hides keys; "
                + "put the key itself in its place, or the path of its file in private_key.filename";
            return null;
        }
        var certificate = Shared(store, chain, key, password, staple, () => (TlsCertificate.FromPem(chain, key, password, chainName, keyName, out string reason), reason), out problem);
        Array.Clear(key);
        // It takes both, and the staple is theirs: the text says which is wrong.
        field = "";
        return certificate;
    }

    private static TlsCertificate? Shared(
        SecretStore store, byte[] chain, byte[] key, byte[]? password, byte[] staple, Func<(TlsCertificate?, string)> parse, out string problem)
    {
        if (!OpenSsl.TryLoad(out problem))
            return null;
        byte[] all = [.. OpenSsl.Sha256(chain), .. OpenSsl.Sha256(key), .. OpenSsl.Sha256(password ?? []), .. OpenSsl.Sha256(staple)];
        string reason = "";
        var certificate = store.Certificate(Convert.ToHexString(OpenSsl.Sha256(all)), () =>
        {
            (var made, reason) = parse();
            return made is null || staple.Length == 0 || made.TryStaple(staple, out reason) ? made : null;
        });
        problem = reason;
        return certificate;
    }

    // ---- validation ---------------------------------------------------------------------------------------------------

    /// <summary>Notes what of a validation context has no effect, and refuses what must have one.</summary>
    internal static void Report(Wire.CertificateValidationContext wire, ConfigScope scope)
    {
        if (wire.CaCertificateProviderInstance is not null)
            scope.Reject("ca_certificate_provider_instance", "certificate providers are not supported; use trusted_ca or SDS");
        if (wire.RequireSignedCertificateTimestamp == true)
            scope.Reject("require_signed_certificate_timestamp", "is not supported (Envoy ignores it)");
        if (wire.CustomValidatorConfig is { } custom && TypedConfig.TypeName(custom.TypedConfig) != SpiffeType)
            scope.Reject("custom_validator_config", $"Failed to get certificate validator factory {custom.Name}: only envoy.tls.cert_validator.spiffe is supported");
        if (wire.MatchSubjectAltNames.Count > 0 && wire.MatchTypedSubjectAltNames.Count > 0)
            scope.Reject("match_subject_alt_names", "SAN-based verification of peer certificates without a type and with one exclude each other; use match_typed_subject_alt_names");
        if (wire.TrustedCa is not null && wire.SystemRootCerts is not null)
            scope.Reject("system_root_certs", "trusted_ca is set too; one of them");
        ReportFolder(wire.WatchedDirectory, scope);
    }

    private const string SpiffeType = "envoy.extensions.transport_sockets.tls.v3.SPIFFECertValidatorConfig";

    /// <summary>How peers are verified; null, with the field to blame and why.</summary>
    internal static ValidationOptions? Validation(
        Wire.CertificateValidationContext wire, SecretStore store, ConfigServices services, out string field, out string problem)
    {
        field = "";
        if (!OpenSsl.TryLoad(out problem))
            return null;
        Watch(wire.WatchedDirectory, store);
        var identity = new StringBuilder(Convert.ToHexString(OpenSsl.Sha256(wire.ToByteArray())));
        var options = new ValidationOptions
        {
            SystemAuthorities = wire.SystemRootCerts is not null,
            CrlOnlyForLeaf = wire.OnlyVerifyLeafCertCrl,
            AllowExpired = wire.AllowExpiredCertificate,
            AcceptUntrusted = wire.TrustChainVerification == Wire.CertificateValidationContext.Types.TrustChainVerification.AcceptUntrusted,
            DepthMax = wire.MaxVerifyDepth is { } depth ? (int)Math.Min(depth, 100) : null,
            HideAuthorities = wire.SuppressClientCaList,
        };
        if (wire.TrustedCa is not null)
        {
            field = "trusted_ca";
            if (Bundle(wire.TrustedCa, isCrl: false, store, identity, out problem) is not { } authorities)
                return null;
            options = options with { Authorities = authorities };
        }
        if (wire.Crl is not null)
        {
            field = "crl";
            if (Bundle(wire.Crl, isCrl: true, store, identity, out problem) is not { } crls)
                return null;
            options = options with { Crls = crls };
        }
        if (wire.CustomValidatorConfig is { } custom && TypedConfig.TypeName(custom.TypedConfig) == SpiffeType)
        {
            field = "custom_validator_config";
            if (TrustDomains(Wire.SPIFFECertValidatorConfig.Parser.ParseFrom(custom.TypedConfig.Value), store, identity, out problem) is not { } domains)
                return null;
            options = options with { TrustDomains = domains };
        }
        if (Hashes(wire.VerifyCertificateHash, "verify_certificate_hash", isBase64: false, out field, out problem) is not { } hashes
            || Hashes(wire.VerifyCertificateSpki, "verify_certificate_spki", isBase64: true, out field, out problem) is not { } keys
            || Sans(wire, services, out field, out problem) is not { } sans)
            return null;
        if (sans.Count > 0 && !options.VerifiesChain && !options.AcceptUntrusted)
        {
            // Anybody can make a certificate with any name.
            field = "match_typed_subject_alt_names";
            problem = "SAN-based verification of peer certificates without trusted CA is insecure and not allowed";
            return null;
        }
        if (options.Crls is not null && !options.VerifiesChain)
        {
            field = "crl";
            problem = "CRLs are looked up only for certificates that are verified; set trusted_ca";
            return null;
        }
        return options with { Hashes = hashes, KeyHashes = keys, Sans = sans, Identity = identity.ToString() };
    }

    private static TrustBundle? Bundle(WireCore.DataSource source, bool isCrl, SecretStore store, StringBuilder identity, out string problem)
    {
        if (Read(source, store, out problem) is not { } bytes)
            return null;
        string name = NameOf(source);
        string digest = (isCrl ? "crl:" : "ca:") + Convert.ToHexString(OpenSsl.Sha256(bytes));
        identity.Append(digest);
        string reason = "";
        var bundle = store.Bundle(digest, () => isCrl ? TrustBundle.CrlsFromPem(bytes, name, out reason) : TrustBundle.FromPem(bytes, name, out reason));
        problem = reason;
        return bundle;
    }

    private static Dictionary<string, TrustBundle>? TrustDomains(Wire.SPIFFECertValidatorConfig wire, SecretStore store, StringBuilder identity, out string problem)
    {
        problem = "";
        var domains = new Dictionary<string, TrustBundle>();
        if (wire.TrustBundles is not null)
        {
            problem = "trust_bundles is not supported; list trust_domains";
            return null;
        }
        for (int i = 0; i < wire.TrustDomains.Count; i++)
        {
            var domain = wire.TrustDomains[i];
            if (domain.Name.Length == 0 || domain.TrustBundle is null || domain.WorkloadTrustDomain.Length > 0)
            {
                problem = domain.WorkloadTrustDomain.Length > 0 ? "workload_trust_domain is not supported" : "trust_domains: name and trust_bundle are required";
                return null;
            }
            if (Bundle(domain.TrustBundle, isCrl: false, store, identity, out problem) is not { } bundle)
            {
                problem = $"trust_domains[{i}].trust_bundle: {problem}";
                return null;
            }
            if (!domains.TryAdd(domain.Name.ToLowerInvariant(), bundle))
            {
                problem = $"Multiple trust bundles are given for one trust domain for {domain.Name}";
                return null;
            }
        }
        if (domains.Count == 0)
        {
            problem = "trust_domains: at least one is required";
            return null;
        }
        return domains;
    }

    // Hexadecimal, with colons between bytes or without; or base64.
    private static List<byte[]>? Hashes(IReadOnlyList<string> wire, string name, bool isBase64, out string field, out string problem)
    {
        field = problem = "";
        var hashes = new List<byte[]>(wire.Count);
        for (int i = 0; i < wire.Count; i++)
        {
            byte[] hash = [];
            try
            {
                hash = isBase64 ? Convert.FromBase64String(wire[i]) : Convert.FromHexString(wire[i].Replace(":", ""));
            }
            catch (FormatException)
            {
            }
            if (hash.Length != 32)
            {
                field = $"{name}[{i}]";
                problem = isBase64 ? $"Invalid base64-encoded SHA-256 {wire[i]}" : $"Invalid hex-encoded SHA-256 {wire[i]}";
                return null;
            }
            hashes.Add(hash);
        }
        return hashes;
    }

    private static List<SanMatcher>? Sans(Wire.CertificateValidationContext wire, ConfigServices services, out string field, out string problem)
    {
        field = problem = "";
        var matchers = new List<SanMatcher>();
        var scope = new ConfigScope(services, "");
        for (int i = 0; i < wire.MatchTypedSubjectAltNames.Count; i++)
        {
            var san = wire.MatchTypedSubjectAltNames[i];
            string path = $"match_typed_subject_alt_names[{i}]";
            if (san.SanType is Wire.SubjectAltNameMatcher.Types.SanType.Unspecified || !Enum.IsDefined(san.SanType))
                scope.Reject(path + ".san_type", "is required");
            if ((san.SanType == Wire.SubjectAltNameMatcher.Types.SanType.OtherName) != (san.Oid.Length > 0))
                scope.Reject(path + ".oid", "must be set for OTHER_NAME, and only for it");
            if (services.StringMatcher(san.Matcher ?? new Envoy.Type.Matcher.V3.StringMatcher(), scope.At(path + ".matcher")) is { } text)
                matchers.Add(new SanMatcher { Type = (SanType)san.SanType, Text = text.Matches, ExactDns = ExactOf(san.Matcher!), Oid = san.Oid });
        }
        for (int i = 0; i < wire.MatchSubjectAltNames.Count; i++)
        {
            if (services.StringMatcher(wire.MatchSubjectAltNames[i], scope.At($"match_subject_alt_names[{i}]")) is { } text)
                matchers.Add(new SanMatcher { Type = SanType.Unspecified, Text = text.Matches, ExactDns = ExactOf(wire.MatchSubjectAltNames[i]) });
        }
        if (!scope.IsRejected)
            return matchers;
        field = scope.Rejections[0].Path;
        problem = scope.Rejections[0].Reason;
        return null;
    }

    private static byte[]? ExactOf(Envoy.Type.Matcher.V3.StringMatcher wire) =>
        wire.MatchPatternCase == Envoy.Type.Matcher.V3.StringMatcher.MatchPatternOneofCase.Exact ? Encoding.UTF8.GetBytes(wire.Exact) : null;

    // ---- ticket keys ----------------------------------------------------------------------------------------------------

    /// <summary>Keys that seal and open session tickets; null, and why.</summary>
    internal static List<byte[]>? TicketKeys(Wire.TlsSessionTicketKeys wire, SecretStore store, out string problem)
    {
        problem = "";
        var keys = new List<byte[]>(wire.Keys.Count);
        foreach (var source in wire.Keys)
        {
            if (Read(source, store, out problem) is not { } key)
                return null;
            if (key.Length != 80)
            {
                problem = $"Incorrect TLS session ticket key length. Length {key.Length}, expected length 80.";
                return null;
            }
            keys.Add(key);
        }
        if (keys.Count == 0)
            problem = "at least one key is required";
        return keys.Count == 0 ? null : keys;
    }

    // ---- sources --------------------------------------------------------------------------------------------------------

    /// <summary>The bytes of a source, the caller's own copy; empty when there is no source; null, and why, when they cannot be had.</summary>
    internal static byte[]? Read(WireCore.DataSource? source, SecretStore store, out string problem)
    {
        problem = "";
        Watch(source?.WatchedDirectory, store);
        switch (source?.SpecifierCase)
        {
            case WireCore.DataSource.SpecifierOneofCase.InlineBytes:
                return source.InlineBytes.ToByteArray();
            case WireCore.DataSource.SpecifierOneofCase.InlineString:
                return Encoding.UTF8.GetBytes(source.InlineString);
            case WireCore.DataSource.SpecifierOneofCase.Filename:
                return store.ReadFile(source.Filename, out problem);
            case WireCore.DataSource.SpecifierOneofCase.EnvironmentVariable:
                if (Environment.GetEnvironmentVariable(source.EnvironmentVariable) is { } value)
                    return Encoding.UTF8.GetBytes(value);
                problem = $"Environment variable doesn't exist: {source.EnvironmentVariable}";
                return null;
            default:
                return [];
        }
    }

    // A folder that is named is watched as well as that of each file; Envoy watches one or the other.
    private static void Watch(WireCore.WatchedDirectory? wire, SecretStore store)
    {
        if (wire is { Path.Length: > 0 } && !wire.Path.Contains('\0'))
            store.WatchFolder(wire.Path);
    }

    private static void ReportFolder(WireCore.WatchedDirectory? wire, ConfigScope scope)
    {
        if (wire is { Path.Length: 0 })
            scope.Reject("watched_directory.path", "value length must be at least 1 characters");
        else if (wire is not null && wire.Path.Contains('\0'))
            scope.Reject("watched_directory.path", "must not contain NUL");
    }

    private static string NameOf(WireCore.DataSource? source) =>
        source?.SpecifierCase == WireCore.DataSource.SpecifierOneofCase.Filename ? source.Filename : Inline;
}
