using System;
using System.IO;
using System.Linq;
using System.Text.Json;
using Sidecar.Config;
using Sidecar.Filters;
using Sidecar.Telemetry.Stats;
using Sidecar.Tests.Harness;
using Sidecar.Tls;
using Xunit;

namespace Sidecar.Tests.Config;

/// <summary>Transport sockets as they stand in listeners and clusters: every field in effect, or refused or reported by its path.</summary>
public sealed class TlsTranslatorTests : IDisposable
{
    private const string Down = "common_tls_context";

    private readonly TestCa _ca = new();
    private readonly TestFolder _folder = new();
    private readonly SecretStore _secrets = new();
    private readonly TestCert _cert;

    public TlsTranslatorTests() => _cert = _ca.Server("a.test");

    [Fact]
    public void Defaults_AreEnvoys()
    {
        var server = Downstream(Own()).Options;
        Assert.Equal((OpenSsl.Tls12, OpenSsl.Tls13), (server.MinVersion, server.MaxVersion));
        Assert.Equal(["X25519", "P-256"], server.Curves);
        Assert.False(server.RequireClientCertificate);
        var client = Upstream("{}").Options;
        Assert.Equal((OpenSsl.Tls12, OpenSsl.Tls12), (client.MinVersion, client.MaxVersion));
        Assert.Equal(1, client.SessionKeysMax);
        Assert.Equal("", client.ServerName);
    }

    [Fact]
    public void Fields_OfAServer_AreInEffect()
    {
        var options = Downstream($$"""
            {"require_client_certificate":true,"session_timeout":"60s","disable_stateful_session_resumption":true,"prefer_client_ciphers":true,"full_scan_certs_on_sni_mismatch":true,
            "disable_stateless_session_resumption":true,
            "common_tls_context":{"alpn_protocols":["h2","http/1.1"],"tls_params":{"tls_minimum_protocol_version":"TLSv1_1","tls_maximum_protocol_version":"TLSv1_2",
            "cipher_suites":["[ECDHE-ECDSA-AES128-GCM-SHA256|ECDHE-ECDSA-CHACHA20-POLY1305]","TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"],"ecdh_curves":["P-384"],"signature_algorithms":["ecdsa_secp256r1_sha256"]},
            "tls_certificates":[{{Certificate()}}],"validation_context":{"trusted_ca":{{Inline(_ca.Pem)}},"max_verify_depth":3} } }
            """).Options;
        Assert.True(options.RequireClientCertificate && options.DisableStatefulResumption && options.DisableStatelessResumption);
        Assert.True(options.PreferClientCiphers && options.ScanCertificatesOnMismatch);
        Assert.Equal(60, options.SessionTimeoutS);
        Assert.Equal((OpenSsl.Tls11, OpenSsl.Tls12), (options.MinVersion, options.MaxVersion));
        Assert.Equal(["h2", "http/1.1"], options.Alpn);
        Assert.Equal(["P-384"], options.Curves);
        Assert.Equal(["ecdsa_secp256r1_sha256"], options.SignatureAlgorithms);
    }

    [Fact]
    public void Fields_OfAClient_AreInEffect()
    {
        var context = Upstream($$"""
            {"sni":"a.test","auto_host_sni":true,"auto_sni_san_validation":true,"allow_renegotiation":true,"max_session_keys":3,
            "common_tls_context":{"tls_params":{"tls_maximum_protocol_version":"TLSv1_3"},"tls_certificates":[{{Certificate()}}],
            "validation_context":{"trusted_ca":{{Inline(_ca.Pem)}},"allow_expired_certificate":true,"trust_chain_verification":"ACCEPT_UNTRUSTED",
            "match_typed_subject_alt_names":[{"san_type":"URI","matcher":{"prefix":"spiffe://td/"} }]} } }
            """);
        var options = context.Options;
        Assert.True(options.ServerNameOfHost && options.VerifyServerName && options.AllowRenegotiation);
        Assert.Equal(("a.test", 3, OpenSsl.Tls13), (options.ServerName, options.SessionKeysMax, options.MaxVersion));
        Assert.True(context.Validation!.AllowExpired && context.Validation.AcceptUntrusted);
        Assert.True(context.Validation.Sans[0].Matches(new SubjectAltName(SanType.Uri, "spiffe://td/x"u8.ToArray())));
        Assert.False(context.Validation.Sans[0].Matches(new SubjectAltName(SanType.Uri, "spiffe://tdx"u8.ToArray())));
    }

    [Theory]
    [InlineData("""{}""", Down + ".tls_certificates", "No TLS certificates found for server context")]
    [InlineData("""{"require_sni":true}""", "require_sni", "is not supported")]
    [InlineData("""{"common_tls_context":{"key_log":{"path":""}}}""", Down + ".key_log.path", "at least 1 characters")]
    [InlineData("""{"common_tls_context":{"key_log":{"path":"/x","local_address_range":[{"address_prefix":"a"}]}}}""", Down + ".key_log.local_address_range[0]", "is not an address range")]
    [InlineData("""{"common_tls_context":{"tls_certificates":[{"ocsp_staple":{"inline_string":"x"}}]}}""", Down + ".tls_certificates[0].ocsp_staple", "cannot be provided via inline_string")]
    [InlineData("""{"common_tls_context":{"tls_params":{"tls_minimum_protocol_version":"TLSv1_3","tls_maximum_protocol_version":"TLSv1_2"}}}""", Down + ".tls_params.tls_minimum_protocol_version", "must not be above")]
    [InlineData("""{"common_tls_context":{"tls_params":{"compliance_policies":["FIPS_202205"]}}}""", Down + ".tls_params.compliance_policies", "is not supported")]
    [InlineData("""{"common_tls_context":{"alpn_protocols":[""]}}""", Down + ".alpn_protocols[0]", "1 to 255")]
    [InlineData("""{"common_tls_context":{"custom_handshaker":{"name":"x"}}}""", Down + ".custom_handshaker", "is not supported")]
    [InlineData("""{"common_tls_context":{"tls_certificate_provider_instance":{}}}""", Down + ".tls_certificate_provider_instance", "SDS")]
    [InlineData("""{"common_tls_context":{"tls_certificate_certificate_provider":{}}}""", Down + ".tls_certificate_certificate_provider", "SDS")]
    [InlineData("""{"common_tls_context":{"validation_context_certificate_provider_instance":{}}}""", Down + ".validation_context_certificate_provider_instance", "SDS")]
    [InlineData("""{"common_tls_context":{"validation_context":{"watched_directory":{}}}}""", Down + ".validation_context.watched_directory.path", "at least 1 characters")]
    [InlineData("""{"common_tls_context":{"tls_certificates":[{"watched_directory":{"path":"/\u0000"}}]}}""", Down + ".tls_certificates[0].watched_directory.path", "NUL")]
    [InlineData("""{"common_tls_context":{"tls_certificate_sds_secret_configs":[{"name":"gone"}]}}""", Down + ".tls_certificate_sds_secret_configs[0].name", "Unknown static secret: gone")]
    [InlineData("""{"common_tls_context":{"validation_context_sds_secret_config":{"name":"gone"}}}""", Down + ".validation_context_sds_secret_config.name", "Unknown static certificate validation context: gone")]
    [InlineData("""{"common_tls_context":{"combined_validation_context":{}}}""", Down + ".combined_validation_context.default_validation_context", "is required")]
    [InlineData("""{"common_tls_context":{"validation_context":{"ca_certificate_provider_instance":{}}}}""", Down + ".validation_context.ca_certificate_provider_instance", "not supported")]
    [InlineData("""{"common_tls_context":{"validation_context":{"custom_validator_config":{"name":"x"}}}}""", Down + ".validation_context.custom_validator_config", "only envoy.tls.cert_validator.spiffe")]
    [InlineData("""{"common_tls_context":{"tls_certificates":[{"private_key_provider":{"provider_name":"qat"}}]}}""", Down + ".tls_certificates[0].private_key_provider", "qat")]
    public void Server_RefusedByPath(string json, string path, string reason) => Refused(scope => DownstreamSlot(json, scope), path, reason);

    [Theory]
    [InlineData("""{"common_tls_context":{"tls_params":{"cipher_suites":["AES128-GCM-SHA256","NONE-SUCH"]}}}""", Down + ".tls_params.cipher_suites", "rejected when tried individually: NONE-SUCH")]
    [InlineData("""{"common_tls_context":{"tls_params":{"ecdh_curves":["P-1"]}}}""", Down + ".tls_params.ecdh_curves", "Failed to initialize ECDH curves P-1")]
    [InlineData("""{"common_tls_context":{"tls_params":{"signature_algorithms":["x"]}}}""", Down + ".tls_params.signature_algorithms", "Failed to initialize TLS signature algorithms x")]
    [InlineData("""{"auto_sni_san_validation":true}""", "auto_sni_san_validation", "without a validation context")]
    [InlineData("""{"common_tls_context":{"validation_context":{"match_typed_subject_alt_names":[{"san_type":"URI","matcher":{"exact":"a"}}]}}}""", Down + ".validation_context.match_typed_subject_alt_names", "without trusted CA is insecure")]
    [InlineData("""{"common_tls_context":{"validation_context":{"verify_certificate_hash":["abc"]}}}""", Down + ".validation_context.verify_certificate_hash[0]", "Invalid hex-encoded SHA-256 abc")]
    [InlineData("""{"common_tls_context":{"validation_context":{"verify_certificate_spki":["abc"]}}}""", Down + ".validation_context.verify_certificate_spki[0]", "Invalid base64-encoded SHA-256 abc")]
    [InlineData("""{"common_tls_context":{"validation_context":{"trusted_ca":{"inline_string":"no pem"}}}}""", Down + ".validation_context.trusted_ca", "Failed to load trusted CA certificates from <inline>")]
    [InlineData("""{"common_tls_context":{"validation_context":{"trusted_ca":{"filename":"/nonexistent/ca.pem"}}}}""", Down + ".validation_context.trusted_ca", "Invalid path: /nonexistent/ca.pem")]
    [InlineData("""{"common_tls_context":{"tls_certificates":[{"certificate_chain":{"inline_string":"x"},"private_key":{"inline_string":"y"}}]}}""", Down + ".tls_certificates[0]", "Failed to load certificate chain from <inline>")]
    [InlineData("{\"common_tls_context\":{\"tls_certificates\":[{\"certificate_chain\":{\"inline_string\":\"x\"},\"private_key\":{\"inline_bytes\":\"W3JlZGFjdGVkXQ==\"}}]}}", Down + ".tls_certificates[0].private_key", "is redacted: this comes from a dump, which hides keys; put the key itself in its place")]
    public void Client_RefusedByPath(string json, string path, string reason) => Refused(scope => UpstreamSlot(json, scope), path, reason);

    [Fact]
    public void Key_OfAnotherCertificate_IsRefused()
    {
        string pair = $$"""{"certificate_chain":{{Inline(_cert.ChainPem)}},"private_key":{{Inline(_ca.Server("b.test").KeyPem)}} }""";
        Refused(scope => DownstreamSlot($$"""{"common_tls_context":{"tls_certificates":[{{pair}}]} }""", scope), Down + ".tls_certificates[0]", "the key does not belong to the certificate of <inline>");
    }

    [Fact]
    public void Key_ThatIsWeak_IsRefused()
    {
        var weak = _ca.Sign("w", san => san.AddDnsName("w"), rsaBits: 1024);
        string pair = $$"""{"certificate_chain":{{Inline(weak.ChainPem)}},"private_key":{{Inline(weak.KeyPem)}} }""";
        Refused(scope => DownstreamSlot($$"""{"common_tls_context":{"tls_certificates":[{{pair}}]} }""", scope), Down + ".tls_certificates[0]", "2048-bit or larger");
    }

    [Fact]
    public void Same_Words_ShareOneSlot()
    {
        var translator = new TlsTranslator(_secrets);
        var services = Services(translator);
        var one = DownstreamSlot(Own(), new ConfigScope(services, "a"));
        var two = DownstreamSlot(Own(), new ConfigScope(services, "a"));
        Assert.Same(one, two);
        var required = DownstreamSlot("""{"require_client_certificate":true,""" + Own()[1..], new ConfigScope(services, "a"));
        Assert.NotSame(one, required);
    }

    // ---- secrets ------------------------------------------------------------------------------------------------------

    [Fact]
    public void Secret_NotThereYet_LeavesTheSlotEmpty_UntilItComes()
    {
        var slot = Accept(scope => DownstreamSlot(Sds, scope));
        Assert.Null(slot.Current);
        Assert.Null(slot.Take(0));
        Assert.Equal(1, slot.SecretStats.Sum(TlsSecretStats.NotReady));

        Set(("default", Secret(_cert)));
        Assert.Null(slot.Current);
        Set(("default", Secret(_cert)), ("ROOTCA", Roots(_ca)));
        Assert.Equal(_cert.Fingerprint, slot.Current!.Certificates[0].Info.Sha256);
        Assert.Equal(1, slot.SecretStats.Sum(TlsSecretStats.UpdateBySds));
    }

    [Fact]
    public void Secret_Rotated_GivesANewContext_AndABadOneLeavesTheOld()
    {
        Set(("default", Secret(_cert)), ("ROOTCA", Roots(_ca)));
        var slot = Accept(scope => DownstreamSlot(Sds, scope));
        var first = slot.Current;
        var next = _ca.Server("a.test");
        Set(("default", Secret(next)), ("ROOTCA", Roots(_ca)));
        Assert.NotSame(first, slot.Current);
        Assert.Equal(next.Fingerprint, slot.Current!.Certificates[0].Info.Sha256);
        var second = slot.Current;
        Set(("default", Secret(next)), ("ROOTCA", Roots(_ca)));
        Assert.Same(second, slot.Current);
        Assert.Contains("the key does not belong to the certificate", TrySet("default", Secret(new TestCert(_cert.ChainPem, next.KeyPem, _cert.Der))));
        Assert.Same(second, slot.Current);
        _secrets.Remove("default");
        Assert.Same(second, slot.Current);
    }

    [Fact]
    public void Secret_ThatOneContextCannotUse_ChangesNoneOfThem()
    {
        Set(("default", Secret(_cert)), ("ROOTCA", Roots(_ca)));
        var plain = Accept(scope => DownstreamSlot(Sds.Replace("""{"match_typed_subject_alt_names":[{"san_type":"URI","matcher":{"prefix":"spiffe://cluster.local/"} }]}""", "{}", StringComparison.Ordinal), scope));
        var named = Accept(scope => DownstreamSlot(Sds, scope));
        var before = (plain.Current, named.Current);
        // Names without authorities to believe them.
        Assert.Contains("without trusted CA is insecure", TrySet("ROOTCA", """{"validation_context":{} }"""));
        Assert.Equal(before, (plain.Current, named.Current));
        // What was refused is not what a change is compared with.
        Set(("ROOTCA", Roots(_ca)));
        Assert.Equal(before, (plain.Current, named.Current));
    }

    [Fact]
    public void Folders_AreFoundOnce_AlsoThoseOfASecretThatMovesToFiles()
    {
        using var other = new TestFolder();
        var found = new System.Collections.Generic.List<string>();
        _secrets.FolderFound = found.Add;
        Set(("default", Secret(_cert)), ("ROOTCA", Roots(_ca)));
        var slots = Enumerable.Range(0, 3).Select(_ => Accept(scope => DownstreamSlot(Sds, scope))).ToArray();
        Assert.Empty(found);
        string chain = other.Write("tls.crt", _cert.ChainPem), key = other.Write("tls.key", _cert.KeyPem);
        Set(("default", $$"""{"tls_certificate":{"certificate_chain":{"filename":"{{chain}}"},"private_key":{"filename":"{{key}}"} } }"""));
        Assert.Equal([other.Path], found);
        var next = _ca.Server("a.test");
        var failed = new System.Collections.Generic.List<string>();
        _secrets.RotationFailed = failed.Add;
        other.Write("tls.crt", next.ChainPem);
        Assert.Equal(0, _secrets.RefreshFiles());
        Assert.Contains("default", failed);
        other.Write("tls.key", next.KeyPem);
        Assert.Equal(3, _secrets.RefreshFiles());
        Assert.All(slots, slot => Assert.Equal(next.Fingerprint, slot.Current!.Certificates[0].Info.Sha256));
        Assert.Single(found);
    }

    [Fact]
    public void Combined_TheSecretsAuthoritiesWithTheDefaultsNames()
    {
        Set(("default", Secret(_cert)), ("ROOTCA", Roots(_ca)));
        var context = Accept(scope => DownstreamSlot(Sds, scope)).Current!;
        Assert.NotNull(context.Validation!.Authorities);
        Assert.True(context.Validation.Sans[0].Matches(new SubjectAltName(SanType.Uri, "spiffe://cluster.local/x"u8.ToArray())));
    }

    [Fact]
    public void Files_BothOfAPair_AreReadAgainWhenTheyChange()
    {
        string chain = _folder.Write("tls.crt", _cert.ChainPem), key = _folder.Write("tls.key", _cert.KeyPem);
        string files = $$"""{"common_tls_context":{"tls_certificates":[{"certificate_chain":{"filename":"{{chain}}"},"private_key":{"filename":"{{key}}"} }]} }""";
        var slot = Accept(scope => DownstreamSlot(files, scope));
        var first = slot.Current;
        Assert.Equal([_folder.Path], _secrets.Folders);
        Assert.Equal(0, _secrets.RefreshFiles());
        Assert.Same(first, slot.Current);

        var next = _ca.Server("a.test");
        _folder.Write("tls.crt", next.ChainPem);
        Assert.Equal(0, _secrets.RefreshFiles()); // the key is still the old one
        Assert.Same(first, slot.Current);
        _folder.Write("tls.key", next.KeyPem);
        Assert.Equal(1, _secrets.RefreshFiles());
        Assert.Equal(next.Fingerprint, slot.Current!.Certificates[0].Info.Sha256);

        File.Delete(key);
        Assert.Equal(0, _secrets.RefreshFiles());
        _folder.Write("tls.key", next.KeyPem);
        Assert.Equal(1, _secrets.RefreshFiles());
    }

    [Fact]
    public void WatchedDirectory_IsWatchedToo()
    {
        string chain = _folder.Write("tls.crt", _cert.ChainPem), key = _folder.Write("tls.key", _cert.KeyPem), ca = _folder.Write("ca.crt", _ca.Pem);
        Downstream($$"""
            {"common_tls_context":{"tls_certificates":[{"certificate_chain":{"filename":"{{chain}}"},"private_key":{"filename":"{{key}}"},"watched_directory":{"path":"/certificate"} }],
            "validation_context":{"trusted_ca":{"filename":"{{ca}}","watched_directory":{"path":"/source"} },"watched_directory":{"path":"/authorities"} } } }
            """);
        Assert.Equal([_folder.Path, "/authorities", "/certificate", "/source"], _secrets.Folders.Order(StringComparer.Ordinal).OrderBy(folder => folder != _folder.Path));
    }

    [Fact]
    public void TicketKeys_OfTheRightLength()
    {
        string keys(int bytes) => $$"""{"session_ticket_keys":{"keys":[{"inline_bytes":"{{Convert.ToBase64String(new byte[bytes])}}"}]},""" + Own()[1..];
        Assert.Single(Downstream(keys(80)).Options.TicketKeys);
        Refused(scope => DownstreamSlot(keys(48), scope), "session_ticket_keys.keys", "Incorrect TLS session ticket key length. Length 48, expected length 80.");
    }

    // ---- OCSP and key log -------------------------------------------------------------------------------------------------

    [Fact]
    public void OcspStaple_IsRead_AndAMissingOneIsRefusedWhereItMustBe()
    {
        byte[] response = _ca.Ocsp(_cert, new DateTimeOffset(2024, 1, 1, 0, 0, 0, TimeSpan.Zero), new DateTimeOffset(2024, 2, 1, 0, 0, 0, TimeSpan.Zero));
        var context = Downstream(Stapled(response, "MUST_STAPLE"));
        Assert.Equal(OcspPolicy.Must, context.Options.OcspPolicy);
        Assert.Equal(new DateTimeOffset(2024, 2, 1, 0, 0, 0, TimeSpan.Zero).ToUnixTimeSeconds(), context.Certificates[0].Staple!.NextUpdateUnixS);

        Refused(scope => DownstreamSlot("""{"ocsp_staple_policy":"MUST_STAPLE",""" + Own()[1..], scope), Down + ".tls_certificates", "Required OCSP response is missing from TLS context");
        Refused(scope => DownstreamSlot(Stapled(_ca.Ocsp(_ca.Server("b.test"), default, null)), scope), Down + ".tls_certificates[0]", "OCSP response does not match its TLS certificate");
    }

    [Fact]
    public void KeyLog_IsOpenedWithTheContext()
    {
        string log = $$"""{"common_tls_context":{"key_log":{"path":"PATH"},"tls_certificates":[{{Certificate()}}]} }""";
        Assert.NotNull(Downstream(log.Replace("PATH", _folder.PathOf("keys"))).Options.KeyLog);
        Assert.True(File.Exists(_folder.PathOf("keys")));
        Refused(scope => DownstreamSlot(log.Replace("PATH", _folder.PathOf("no/such/folder")), scope), Down + ".key_log.path", "unable to open file");
    }

    [Theory]
    [InlineData("{}", true)]
    [InlineData("""{"enforce_rsa_key_usage":true}""", true)]
    [InlineData("""{"enforce_rsa_key_usage":false}""", false)]
    public void KeyUsage_IsEnforcedUnlessToldOtherwise(string json, bool enforced) => Assert.Equal(enforced, Upstream(json).Options.EnforceKeyUsage);

    private string Stapled(byte[] response, string policy = "LENIENT_STAPLING") => $$"""
        {"ocsp_staple_policy":"{{policy}}","common_tls_context":{"tls_certificates":[{"ocsp_staple":{"inline_bytes":"{{Convert.ToBase64String(response)}}"},{{Certificate()[1..]}}]} }
        """;

    // ---- tools ----------------------------------------------------------------------------------------------------------

    private const string Sds = """
        {"common_tls_context":{"tls_certificate_sds_secret_configs":[{"name":"default","sds_config":{"ads":{} } }],
        "combined_validation_context":{"default_validation_context":{"match_typed_subject_alt_names":[{"san_type":"URI","matcher":{"prefix":"spiffe://cluster.local/"} }]},
        "validation_context_sds_secret_config":{"name":"ROOTCA","sds_config":{"ads":{} } } } } }
        """;

    private string Own() => $$"""{"common_tls_context":{"tls_certificates":[{{Certificate()}}]} }""";

    private string Certificate() => $$"""{"certificate_chain":{{Inline(_cert.ChainPem)}},"private_key":{{Inline(_cert.KeyPem)}} }""";

    private static string Inline(string text) => $$"""{"inline_string":{{JsonSerializer.Serialize(text)}} }""";

    private static string Secret(TestCert cert) => $$"""{"tls_certificate":{"certificate_chain":{{Inline(cert.ChainPem)}},"private_key":{{Inline(cert.KeyPem)}} } }""";

    private static string Roots(TestCa ca) => $$"""{"validation_context":{"trusted_ca":{{Inline(ca.Pem)}} } }""";

    private void Set(params (string Name, string Json)[] secrets)
    {
        foreach (var (name, json) in secrets)
            Assert.Null(TrySet(name, json));
    }

    private string? TrySet(string name, string json) =>
        _secrets.Set(name, Envoy.Extensions.TransportSockets.Tls.V3.Secret.Parser.ParseFrom(Bytes("Secret", json)));

    private TlsContext Downstream(string json) => Accept(scope => DownstreamSlot(json, scope)).Current!;

    private TlsContext Upstream(string json) => Accept(scope => UpstreamSlot(json, scope)).Current!;

    private static TlsContextSlot? DownstreamSlot(string json, ConfigScope scope) => scope.Services.DownstreamTls(
        Envoy.Extensions.TransportSockets.Tls.V3.DownstreamTlsContext.Parser.ParseFrom(Bytes("DownstreamTlsContext", json)), "listener.a.", new StatTag("l", "a"), scope);

    private static TlsContextSlot? UpstreamSlot(string json, ConfigScope scope) => scope.Services.UpstreamTls(
        Envoy.Extensions.TransportSockets.Tls.V3.UpstreamTlsContext.Parser.ParseFrom(Bytes("UpstreamTlsContext", json)), "cluster.a.", new StatTag("c", "a"), scope);

    private TlsContextSlot Accept(Func<ConfigScope, TlsContextSlot?> translate)
    {
        var scope = new ConfigScope(Services(new TlsTranslator(_secrets)), "a");
        var slot = translate(scope);
        Assert.True(slot is not null && !scope.IsRejected, string.Join("\n", scope.Rejections));
        return slot;
    }

    private void Refused(Func<ConfigScope, TlsContextSlot?> translate, string path, string reason)
    {
        var scope = new ConfigScope(Services(new TlsTranslator(_secrets)), "a");
        Assert.Null(translate(scope));
        Assert.Contains(scope.Rejections, problem => problem.Path == path && problem.Reason.Contains(reason, StringComparison.Ordinal));
    }

    private static ConfigServices Services(TlsTranslator translator)
    {
        var stats = new StatsRegistry(1);
        return new ConfigServices
        {
            Stats = stats,
            Cluster = _ => throw new InvalidOperationException(),
            RouteSlot = _ => 0,
            RouteTable = (_, _) => null,
            StringMatcher = MatcherTranslator.String,
            HeaderMatcher = MatcherTranslator.Header,
            ClusterProblem = _ => null,
            DownstreamTls = translator.Downstream,
            UpstreamTls = translator.Upstream,
        };
    }

    private static byte[] Bytes(string message, string json) => Sidecar.Tests.Wire.WireHarness.Read(json, "envoy.extensions.transport_sockets.tls.v3." + message);

    public void Dispose()
    {
        _folder.Dispose();
        _ca.Dispose();
    }
}
