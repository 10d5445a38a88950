using System;
using System.Collections.Generic;
using System.IO;
using System.Security.Cryptography;
using System.Text;
using Google.Protobuf;
using Sidecar.Tests.Harness;
using WireCore = Envoy.Config.Core.V3;
using WireTls = Envoy.Extensions.TransportSockets.Tls.V3;

namespace Sidecar.Tests.Config;

/// <summary>What TLS configurations are swept with: keys, certificates and lists, in files. And the sweeps that were made, which cost seconds.</summary>
public sealed class FieldSweepFiles : IDisposable
{
    private readonly TestCa _ca = new();
    private readonly TestFolder _folder = new();
    private readonly Dictionary<string, object[]> _samples = [];

    public FieldSweepFiles()
    {
        var own = _ca.Server("a.test");
        Own = new() { CertificateChain = Write("own.crt", own.Chain), PrivateKey = Write("own.key", own.Key) };

        // Another, with a key that its password opens, and an OCSP response.
        var other = _ca.Server("b.test");
        Other = new()
        {
            CertificateChain = Source("TlsCertificate", "certificate_chain", other.Chain),
            PrivateKey = Source("TlsCertificate", "private_key", Encrypted(other.KeyPem, "secret")),
            Password = Source("TlsCertificate", "password", "secret"u8.ToArray()),
        };
        Source("TlsCertificate", "ocsp_staple", _ca.Ocsp(other, new DateTimeOffset(2024, 1, 1, 0, 0, 0, TimeSpan.Zero), null));
        Validation = new() { TrustedCa = Source("CertificateValidationContext", "trusted_ca", Encoding.ASCII.GetBytes(_ca.Pem)) };
        Source("CertificateValidationContext", "crl", Encoding.ASCII.GetBytes(_ca.Crl(other)));
        TicketKeys = new() { Keys = { Source("TlsSessionTicketKeys", "keys", Encoding.ASCII.GetBytes(new string('k', 80)), Encoding.ASCII.GetBytes(new string('i', 80))) } };
        using var foreign = new TestCa("another root");
        // Not the same bytes as trusted_ca: of equal ones whoever comes first is kept, with its file's name, for as long as somebody uses it.
        TrustDomain = new() { Name = "td", TrustBundle = Source("TrustDomain", "trust_bundle", Encoding.ASCII.GetBytes(_ca.Pem + "\n"), Encoding.ASCII.GetBytes(foreign.Pem)) };
        var combined = new WireTls.CommonTlsContext.Types.CombinedCertificateValidationContext
        {
            DefaultValidationContext = Validation.Clone(), ValidationContextSdsSecretConfig = new() { Name = "hashes" },
        };

        const string package = "envoy.extensions.transport_sockets.tls.v3.";
        _samples[package + "TlsCertificate"] = [Other];
        _samples[package + "CertificateValidationContext"] = [Validation];
        _samples[package + "TlsSessionTicketKeys"] = [TicketKeys];
        _samples[package + "SdsSecretConfig"] = [new WireTls.SdsSecretConfig { Name = "certificate" }];
        _samples["CommonTlsContext.validation_context_sds_secret_config"] = [new WireTls.SdsSecretConfig { Name = "authorities" }];
        _samples["CombinedCertificateValidationContext.validation_context_sds_secret_config"] = [combined.ValidationContextSdsSecretConfig];
        _samples["DownstreamTlsContext.session_ticket_keys_sds_secret_config"] = [new WireTls.SdsSecretConfig { Name = "tickets" }];
        _samples[package + "CommonTlsContext.CombinedCertificateValidationContext"] = [combined];
        _samples[package + "SPIFFECertValidatorConfig.TrustDomain"] =
            [new WireTls.SPIFFECertValidatorConfig.Types.TrustDomain { Name = "td2", TrustBundle = TrustDomain.TrustBundle }];
        _samples[package + "SubjectAltNameMatcher"] =
            [new WireTls.SubjectAltNameMatcher { SanType = WireTls.SubjectAltNameMatcher.Types.SanType.Dns, Matcher = new() { Exact = "c.test" } }];
        _samples[package + "TlsKeyLog"] = [new WireTls.TlsKeyLog { Path = _folder.PathOf("keys") }];
        _samples["TlsKeyLog.path"] = [_folder.PathOf("no/such/folder")];
        _samples["DownstreamTlsContext.common_tls_context"] = [new WireTls.CommonTlsContext { TlsCertificates = { Own } }];
        _samples["envoy.config.core.v3.WatchedDirectory"] = [new WireCore.WatchedDirectory { Path = _folder.PathOf("watched") }];
    }

    internal WireTls.TlsCertificate Own { get; }
    internal WireTls.TlsCertificate Other { get; }
    internal WireTls.CertificateValidationContext Validation { get; }
    internal WireTls.TlsSessionTicketKeys TicketKeys { get; }
    internal WireTls.SPIFFECertValidatorConfig.Types.TrustDomain TrustDomain { get; }

    /// <summary>Values for a sweep.</summary>
    internal IReadOnlyDictionary<string, object[]> Samples => _samples;

    /// <summary>The sweeps that were made, by what was swept.</summary>
    internal Dictionary<string, FieldSweep> Done { get; } = [];

    // A file, and content from wherever else a field can have it from: the same, or another where one of the same stands beside it.
    private WireCore.DataSource Source(string message, string field, byte[] content, byte[]? inline = null)
    {
        var source = Write(field, content);
        _samples[message + "." + field] = [source];
        _samples[field + ".filename"] = [Write(field + ".copy", content).Filename];
        _samples[field + ".inline_bytes"] = [ByteString.CopyFrom(inline ?? content)];
        _samples[field + ".inline_string"] = [Encoding.Latin1.GetString(inline ?? content)];
        return source;
    }

    private WireCore.DataSource Write(string name, byte[] content)
    {
        File.WriteAllBytes(_folder.PathOf(name), content);
        return new() { Filename = _folder.PathOf(name) };
    }

    private static byte[] Encrypted(string keyPem, string password)
    {
        using var key = ECDsa.Create();
        key.ImportFromPem(keyPem);
        var parameters = new PbeParameters(PbeEncryptionAlgorithm.Aes256Cbc, HashAlgorithmName.SHA256, iterationCount: 100);
        return Encoding.ASCII.GetBytes(key.ExportEncryptedPkcs8PrivateKeyPem(password, parameters) + "\n");
    }

    public void Dispose()
    {
        _folder.Dispose();
        _ca.Dispose();
    }
}
