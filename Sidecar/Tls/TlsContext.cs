using System;
using System.Collections.Generic;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Text;
using Sidecar.Telemetry;
using Sidecar.Telemetry.Stats;

namespace Sidecar.Tls;

/// <summary>How handshakes are to be made, apart from certificates; envoy's CommonTlsContext and what surrounds it.</summary>
/// <remarks>Shared immutable.</remarks>
internal sealed record TlsOptions
{
    internal required bool IsServer { get; init; }
    internal int MinVersion { get; init; } = OpenSsl.Tls12;
    internal int MaxVersion { get; init; } = OpenSsl.Tls13;

    /// <summary>Cipher suites of TLS 1.2 and below in order of preference, in BoringSSL's syntax: <c>[A|B]</c> are equally good.</summary>
    internal IReadOnlyList<string> CipherSuites { get; init; } = TlsNames.DefaultCipherSuites;
    internal IReadOnlyList<string> Curves { get; init; } = TlsNames.DefaultCurves;

    /// <summary>Empty: OpenSSL's.</summary>
    internal IReadOnlyList<string> SignatureAlgorithms { get; init; } = [];

    /// <summary>Application protocols in order of preference.</summary>
    internal IReadOnlyList<string> Alpn { get; init; } = [];

    /// <summary>Where secrets of handshakes are written; null: nowhere.</summary>
    internal KeyLog? KeyLog { get; init; }

    // ---- as a server ----

    internal OcspPolicy OcspPolicy { get; init; }
    internal bool RequireClientCertificate { get; init; }
    internal bool PreferClientCiphers { get; init; }

    /// <summary>No session tickets: what is resumed is remembered here.</summary>
    internal bool DisableStatelessResumption { get; init; }
    internal bool DisableStatefulResumption { get; init; }

    /// <summary>A name no certificate has: look for one of a fitting key type instead of taking the first.</summary>
    internal bool ScanCertificatesOnMismatch { get; init; }

    /// <summary>0: OpenSSL's two hours.</summary>
    internal int SessionTimeoutS { get; init; }

    /// <summary>80 bytes each: name, HMAC key, AES key. The first seals, all open. None: keys of this context alone.</summary>
    internal IReadOnlyList<byte[]> TicketKeys { get; init; } = [];

    // ---- as a client ----

    /// <summary>Server name to ask for; empty: none.</summary>
    internal string ServerName { get; init; } = "";

    /// <summary>The host's own name instead of <see cref="ServerName"/>, where it has one.</summary>
    internal bool ServerNameOfHost { get; init; }

    /// <summary>The certificate must be for the name that was asked for.</summary>
    internal bool VerifyServerName { get; init; }
    internal bool AllowRenegotiation { get; init; }

    /// <summary>The server's RSA key must be one for what it did: to sign, or to encrypt (RFC 5280 section 4.2.1.3).</summary>
    internal bool EnforceKeyUsage { get; init; } = true;

    /// <summary>Sessions kept for resumption towards each host.</summary>
    internal int SessionKeysMax { get; init; } = 1;
}

/// <summary>
/// Everything handshakes of one kind share: options, certificates, verification and, unless given, the keys of session tickets. A change of any makes a
/// new one; what was resumable under the old is not under the new, unless verification and given keys are the same.
/// </summary>
/// <remarks>Shared immutable: built on the control loop, used by all workers at once. Freed when no connection uses it any more.</remarks>
internal sealed unsafe class TlsContext
{
    /// <summary>Sessions remembered by a server; each is a few KiB with a client certificate in it.</summary>
    private const int StatefulSessionsMax = 1024;

    /// <summary>RFC 5246 section 7.3, and what OpenSSL makes the ticket of a remembered TLS 1.3 session of: its name.</summary>
    private const int SessionIdBytes = 32;

    private readonly nint _ctx;
    private readonly byte* _alpn;
    private readonly int _alpnLength;

    private TlsContext(nint ctx, TlsOptions options, IReadOnlyList<TlsCertificate> certificates, CertificateVerifier? verifier, ValidationOptions? validation, StatsScope stats)
    {
        _ctx = ctx;
        Options = options;
        Certificates = certificates;
        Verifier = verifier;
        Validation = validation;
        Stats = stats;
        byte[] alpn = TlsNames.AlpnWire(options.Alpn);
        _alpnLength = alpn.Length;
        _alpn = (byte*)NativeMemory.Alloc((nuint)Math.Max(1, alpn.Length));
        alpn.CopyTo(new Span<byte>(_alpn, alpn.Length));
        ServerName = options.ServerName.Length == 0 ? [] : Encoding.UTF8.GetBytes(options.ServerName + '\0');
        LiveCount.Add(1);
    }

    ~TlsContext()
    {
        OpenSsl.SSL_CTX_free(_ctx);
        NativeMemory.Free(_alpn);
        LiveCount.Add(-1);
    }

    /// <summary>How many there are, for leak tests.</summary>
    internal static HandleCount LiveCount { get; } = new();

    internal nint Handle => _ctx;
    internal TlsOptions Options { get; }
    internal IReadOnlyList<TlsCertificate> Certificates { get; }
    internal ValidationOptions? Validation { get; }

    /// <summary>Null: the peer's certificate is not asked for, or not looked at.</summary>
    internal CertificateVerifier? Verifier { get; }

    /// <summary>
    /// Sessions of clients that come back are remembered. A ticket holds the client's certificate, and to read that costs OpenSSL more than all the rest
    /// of a resumed handshake. So who has resumed by such a ticket gets one that only names the session, while there is room. Who never comes back
    /// costs no memory, and given ticket keys, which must serve elsewhere too, seal every ticket.
    /// </summary>
    internal bool RemembersSessions =>
        Options.IsServer && Verifier is not null && Options.TicketKeys.Count == 0 && !Options.DisableStatelessResumption && !Options.DisableStatefulResumption;

    /// <summary>By <see cref="TlsStats"/>.</summary>
    internal StatsScope Stats { get; }

    /// <summary>The fixed server name with a NUL at its end; empty for none.</summary>
    internal byte[] ServerName { get; }

    /// <summary>Makes a context; null, with the field that is to blame and why, when OpenSSL does not accept it.</summary>
    internal static TlsContext? Create(
        TlsOptions options, IReadOnlyList<TlsCertificate> certificates, ValidationOptions? validation, StatsScope stats, out string field, out string problem)
    {
        field = "";
        if (!OpenSsl.TryLoad(out problem))
            return null;
        nint ctx = OpenSsl.SSL_CTX_new(OpenSsl.TLS_method());
        var verifier = validation is null ? null : new CertificateVerifier(validation, options.IsServer);
        var context = new TlsContext(ctx, options, certificates, verifier, validation, stats);
        (field, problem) = context.Configure();
        OpenSsl.ERR_clear_error();
        return problem.Length == 0 ? context : null;
    }

    // ---- set-up ----------------------------------------------------------------------------------------------------

    private (string Field, string Problem) Configure()
    {
        OpenSsl.SetMode(_ctx, OpenSsl.ModeEnablePartialWrite | OpenSsl.ModeAcceptMovingWriteBuffer | OpenSsl.ModeReleaseBuffers);
        OpenSsl.SSL_CTX_set_options(_ctx, OpenSsl.OptionNoCompression);
        OpenSsl.SSL_CTX_clear_options(_ctx, OpenSsl.OptionLegacyServerConnect);
        if (!Options.AllowRenegotiation)
            OpenSsl.SSL_CTX_set_options(_ctx, OpenSsl.OptionNoRenegotiation);
        // TLS 1.0 and 1.1 sign with SHA-1, which OpenSSL 3 allows at level 0 only: asked for by name, they are spoken. Otherwise 112 bits, as Debian's own default.
        OpenSsl.SSL_CTX_set_security_level(_ctx, Options.MinVersion < OpenSsl.Tls12 ? 0 : 2);
        if (!OpenSsl.SetMinProtocol(_ctx, Options.MinVersion) || !OpenSsl.SetMaxProtocol(_ctx, Options.MaxVersion))
            return ("tls_params", $"Failed to set the protocol versions: {OpenSsl.TakeError()}");

        if (ConfigureAlgorithms() is { Problem.Length: > 0 } refused)
            return refused;
        foreach (var certificate in Certificates)
        {
            if (!certificate.UseIn(_ctx))
                return ("tls_certificates", $"Failed to use certificate {certificate.Info.Subject}: {OpenSsl.TakeError()}");
        }
        if (Options.IsServer && MissingStaple() is { Length: > 0 } missing)
            return ("tls_certificates", missing);
        ConfigureVerification();
        if (Options.KeyLog is not null)
            OpenSsl.SSL_CTX_set_keylog_callback(_ctx, (nint)(delegate* unmanaged<nint, byte*, void>)&OnKeyLog);
        if (Options.IsServer)
            ConfigureServer();
        else
            ConfigureClient();
        return ("", "");
    }

    private (string Field, string Problem) ConfigureAlgorithms()
    {
        fixed (byte* suites = "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256\0"u8)
            OpenSsl.SSL_CTX_set_ciphersuites(_ctx, suites); // BoringSSL's order, which no configuration changes
        string list = TlsNames.CipherList(Options.CipherSuites, out bool chachaIsEqual);
        foreach (string name in list.Split(':'))
        {
            fixed (byte* one = Terminated(name))
            {
                if (OpenSsl.SSL_CTX_set_cipher_list(_ctx, one) == 1)
                    continue;
            }
            string all = string.Join(':', Options.CipherSuites);
            return ("tls_params.cipher_suites", $"Failed to initialize cipher suites {all}. The following ciphers were rejected when tried individually: {name}");
        }
        fixed (byte* ciphers = Terminated(list))
            OpenSsl.SSL_CTX_set_cipher_list(_ctx, ciphers);
        if (Options.IsServer && !Options.PreferClientCiphers)
            OpenSsl.SSL_CTX_set_options(_ctx, OpenSsl.OptionCipherServerPreference | (chachaIsEqual ? OpenSsl.OptionPrioritizeChacha : 0));
        fixed (byte* curves = Terminated(string.Join(':', Options.Curves)))
        {
            if (!OpenSsl.SetGroups(_ctx, curves))
                return ("tls_params.ecdh_curves", $"Failed to initialize ECDH curves {string.Join(':', Options.Curves)}");
        }
        if (Options.SignatureAlgorithms.Count == 0)
            return ("", "");
        string algorithms = string.Join(':', Options.SignatureAlgorithms);
        fixed (byte* names = Terminated(algorithms))
        {
            if (!OpenSsl.SetSignatureAlgorithms(_ctx, names) || Options.IsServer && !OpenSsl.SetClientSignatureAlgorithms(_ctx, names))
                return ("tls_params.signature_algorithms", $"Failed to initialize TLS signature algorithms {algorithms}");
        }
        return ("", "");
    }

    // As Envoy: authorities alone make a client's certificate optional; a name or a hash to be makes it required, unless untrusted ones are accepted.
    private void ConfigureVerification()
    {
        int mode = 0;
        if (Validation is { } validation)
        {
            if (validation.VerifiesChain || validation.AcceptUntrusted)
                mode = OpenSsl.VerifyPeer;
            bool hasConditions = validation.Sans.Count > 0 || validation.Hashes.Count > 0 || validation.KeyHashes.Count > 0;
            if (hasConditions)
                mode = OpenSsl.VerifyPeer | (validation.AcceptUntrusted ? 0 : OpenSsl.VerifyFailIfNoPeerCert);
            Verifier!.FillStore(OpenSsl.SSL_CTX_get_cert_store(_ctx));
        }
        if (Options.IsServer && Options.RequireClientCertificate)
            mode |= OpenSsl.VerifyPeer | OpenSsl.VerifyFailIfNoPeerCert;
        OpenSsl.SSL_CTX_set_verify(_ctx, mode, 0);
        OpenSsl.SSL_CTX_set_cert_verify_callback(_ctx, (nint)(delegate* unmanaged<nint, nint, int>)&OnVerify, 0);
    }

    private string MissingStaple()
    {
        foreach (var certificate in Certificates)
        {
            if (certificate.Staple is null && certificate.MustStaple)
                return "OCSP response is required for must-staple certificate";
            if (certificate.Staple is null && Options.OcspPolicy == OcspPolicy.Must)
                return "Required OCSP response is missing from TLS context";
        }
        return "";
    }

    private void ConfigureServer()
    {
        if (Validation is { HideAuthorities: false, Authorities: { } authorities })
        {
            foreach (nint authority in authorities.Authorities)
                OpenSsl.SSL_CTX_add_client_CA(_ctx, authority);
        }
        if (_alpnLength > 0)
            OpenSsl.SSL_CTX_set_alpn_select_cb(_ctx, (nint)(delegate* unmanaged<nint, byte**, byte*, byte*, uint, nint, int>)&OnSelectProtocol, 0);
        OpenSsl.SetStatusCallback(_ctx, (nint)(delegate* unmanaged<nint, nint, int>)&OnStatusRequest);
        if (Certificates.Count > 1)
            OpenSsl.SSL_CTX_set_cert_cb(_ctx, (nint)(delegate* unmanaged<nint, nint, int>)&OnSelectCertificate, 0);

        // A session carries the verdict on the client's certificate, so it is bound to what that verdict was made by.
        fixed (byte* id = TlsNames.SessionContext(Options, Certificates, Validation))
            OpenSsl.SSL_CTX_set_session_id_context(_ctx, id, 32);
        if (Options.DisableStatelessResumption)
            OpenSsl.SSL_CTX_set_options(_ctx, OpenSsl.OptionNoTicket);
        else if (Options.TicketKeys.Count > 0)
            OpenSsl.SSL_CTX_set_tlsext_ticket_key_evp_cb(_ctx, (nint)(delegate* unmanaged<nint, byte*, byte*, nint, nint, int, int>)&OnTicketKey);
        // Without tickets TLS 1.3 still hands out session ids, unless it hands out nothing at all.
        bool none = Options.DisableStatelessResumption && Options.DisableStatefulResumption;
        OpenSsl.SSL_CTX_set_num_tickets(_ctx, none ? 0u : 1u);
        OpenSsl.SetSessionCacheMode(_ctx, Options.DisableStatefulResumption ? OpenSsl.SessionCacheOff : OpenSsl.SessionCacheServer);
        OpenSsl.SetSessionCacheSize(_ctx, StatefulSessionsMax);
        if (Options.SessionTimeoutS > 0)
            OpenSsl.SSL_CTX_set_timeout(_ctx, Options.SessionTimeoutS);
        if (Verifier is not null)
            OpenSsl.SSL_CTX_set_session_ticket_cb(_ctx, (nint)(delegate* unmanaged<nint, nint, int>)&OnMakeTicket, 0, 0);
        if (RemembersSessions)
            OpenSsl.SSL_CTX_set_client_hello_cb(_ctx, (nint)(delegate* unmanaged<nint, int*, nint, int>)&OnClientHello, 0);
    }

    private void ConfigureClient()
    {
        if (_alpnLength > 0)
            OpenSsl.SSL_CTX_set_alpn_protos(_ctx, _alpn, (uint)_alpnLength);
        if (Options.SessionKeysMax == 0)
        {
            OpenSsl.SetSessionCacheMode(_ctx, OpenSsl.SessionCacheOff);
            return;
        }
        OpenSsl.SetSessionCacheMode(_ctx, OpenSsl.SessionCacheClient | OpenSsl.SessionCacheNoInternal);
        OpenSsl.SSL_CTX_sess_set_new_cb(_ctx, (nint)(delegate* unmanaged<nint, nint, int>)&OnNewSession);
    }

    private static byte[] Terminated(string text) => Encoding.UTF8.GetBytes(text + '\0');

    // ---- what OpenSSL asks in the middle of a handshake; always of the connection its worker is working on -------------

    [UnmanagedCallersOnly]
    private static int OnVerify(nint store, nint argument)
    {
        nint ssl = OpenSsl.X509_STORE_CTX_get_ex_data(store, OpenSsl.SSL_get_ex_data_X509_STORE_CTX_idx());
        return TlsWorker.Of(ssl).Current!.VerifyPeer(store) ? 1 : 0;
    }

    [UnmanagedCallersOnly]
    private static int OnNewSession(nint ssl, nint session) => TlsWorker.Of(ssl).Current!.KeepSession(session) ? 1 : 0;

    // RFC 8446 section 4.2.11: the first identity is the ticket. OpenSSL looks in its memory for one of this length when it may not make tickets itself.
    [UnmanagedCallersOnly]
    private static int OnClientHello(nint ssl, int* alert, nint argument)
    {
        byte* data;
        nuint length;
        if (OpenSsl.SSL_client_hello_get0_ext(ssl, OpenSsl.ExtensionPreSharedKey, &data, &length) == 1 && length > 4 && (data[2] << 8 | data[3]) == SessionIdBytes)
        {
            OpenSsl.SSL_set_options(ssl, OpenSsl.OptionNoTicket);
            TlsWorker.Of(ssl).Current!.NamesSession = true;
        }
        return OpenSsl.ClientHelloSuccess;
    }

    [UnmanagedCallersOnly]
    private static int OnMakeTicket(nint ssl, nint argument)
    {
        var transport = TlsWorker.Of(ssl).Current!;
        var context = transport.Context;
        transport.EndSessionWithCertificate(OpenSsl.SSL_get0_peer_certificate(ssl));
        if (!context.RemembersSessions || OpenSsl.SSL_version(ssl) != OpenSsl.Tls13)
            return 1;
        transport.ForgetUsedSession();
        bool hasRoom = OpenSsl.RememberedSessions(context.Handle) < OpenSsl.SessionCacheSize(context.Handle);
        if (hasRoom && OpenSsl.SSL_session_reused(ssl) == 1 && OpenSsl.SSL_get0_peer_certificate(ssl) != 0)
            OpenSsl.SSL_set_options(ssl, OpenSsl.OptionNoTicket);
        else
            OpenSsl.SSL_clear_options(ssl, OpenSsl.OptionNoTicket);
        return 1;
    }

    // RFC 7301 section 3.2: our order decides. Nothing in common: the handshake goes on without, as in Envoy.
    [UnmanagedCallersOnly]
    private static int OnSelectProtocol(nint ssl, byte** chosen, byte* chosenLength, byte* offered, uint offeredLength, nint argument)
    {
        var context = TlsWorker.Of(ssl).Current!.Context;
        for (int ours = 0; ours < context._alpnLength; ours += 1 + context._alpn[ours])
        {
            var wanted = new ReadOnlySpan<byte>(context._alpn + ours + 1, context._alpn[ours]);
            for (uint theirs = 0; theirs < offeredLength; theirs += 1u + offered[theirs])
            {
                if (theirs + 1 + offered[theirs] > offeredLength)
                    break;
                if (!wanted.SequenceEqual(new ReadOnlySpan<byte>(offered + theirs + 1, offered[theirs])))
                    continue;
                *chosen = context._alpn + ours + 1;
                *chosenLength = context._alpn[ours];
                return OpenSsl.TlsExtErrOk;
            }
        }
        return OpenSsl.TlsExtErrNoAck;
    }

    // Called once the certificate is chosen, for a client that asks.
    [UnmanagedCallersOnly]
    private static int OnStatusRequest(nint ssl, nint argument) => TlsWorker.Of(ssl).Current!.AnswerStatusRequest();

    [UnmanagedCallersOnly]
    private static void OnKeyLog(nint ssl, byte* line) => TlsWorker.Of(ssl).Current!.LogKeys(MemoryMarshal.CreateReadOnlySpanFromNullTerminated(line));

    /// <summary>The certificate that a handshake has come to, by OpenSSL's object.</summary>
    internal TlsCertificate? CertificateOf(nint x509)
    {
        foreach (var certificate in Certificates)
        {
            if (certificate.Leaf == x509)
                return certificate;
        }
        return null;
    }

    [UnmanagedCallersOnly]
    private static int OnSelectCertificate(nint ssl, nint argument) => TlsWorker.Of(ssl).Current!.SelectCertificate() ? 1 : 0;

    // The certificate with the name that was asked for, else one with a wildcard for it, else the first; of two the ECDSA one where the client takes it.
    // One that may not be shown without the OCSP response the client asks for, and has none, is passed over.
    internal TlsCertificate SelectCertificate(nint ssl, long nowUnixS)
    {
        byte* text = OpenSsl.SSL_get_servername(ssl, 0);
        var name = text == null ? default : MemoryMarshal.CreateReadOnlySpanFromNullTerminated(text);
        bool takesEcdsa = TakesEcdsa(ssl);
        bool asksForStatus = OpenSsl.AsksForStatus(ssl);
        TlsCertificate? best = null;
        int bestScore = 0;
        foreach (var certificate in Certificates)
        {
            if (asksForStatus && certificate.ActionFor(Options.OcspPolicy, nowUnixS) == StapleAction.Fail)
                continue;
            int score = NameScore(certificate.Info, name);
            if (score == 0 && !Options.ScanCertificatesOnMismatch)
                continue;
            // Both kinds of key serve a client that takes ECDSA, one kind another.
            score = score * 4 + (certificate.IsEcdsa ? takesEcdsa ? 2 : -3 : 1);
            if (score <= bestScore)
                continue;
            best = certificate;
            bestScore = score;
        }
        return best ?? Certificates[0];
    }

    private static int NameScore(CertificateFacts info, ReadOnlySpan<byte> name)
    {
        if (name.IsEmpty)
            return 0;
        int score = 0;
        var names = info.DnsSans.Count > 0 ? info.DnsSans : [info.CommonName];
        foreach (string candidate in names)
        {
            if (candidate.StartsWith("*.", StringComparison.Ordinal))
                score = Math.Max(score, SanMatcher.MatchesDns(name, Encoding.Latin1.GetBytes(candidate)) ? 1 : 0);
            else if (Memory.Ascii.EqualsIgnoreCase(name, Encoding.Latin1.GetBytes(candidate)))
                score = 2;
        }
        return score;
    }

    private static bool TakesEcdsa(nint ssl)
    {
        int sign = 0;
        for (int i = 0; OpenSsl.SSL_get_shared_sigalgs(ssl, i, &sign, null, null, null, null) > i; i++)
        {
            if (sign == OpenSsl.KeyEc)
                return true;
        }
        return false;
    }

    [StructLayout(LayoutKind.Sequential)]
    private struct Parameter
    {
        public byte* Key;
        public uint Type;
        public void* Data;
        public nuint Size;
        public nuint Returned;
    }

    // RFC 5077 section 4: AES-256-CBC, then HMAC-SHA-256 over it.
    [UnmanagedCallersOnly]
    private static int OnTicketKey(nint ssl, byte* name, byte* iv, nint cipher, nint mac, int seal)
    {
        const int nameBytes = 16, hmacBytes = 32, ivBytes = 16;
        var keys = TlsWorker.Of(ssl).Current!.Context.Options.TicketKeys;
        int index = 0;
        if (seal == 0)
        {
            while (index < keys.Count && !keys[index].AsSpan(0, nameBytes).SequenceEqual(new ReadOnlySpan<byte>(name, nameBytes)))
                index++;
            if (index == keys.Count)
                return 0;
        }
        else
        {
            keys[0].AsSpan(0, nameBytes).CopyTo(new Span<byte>(name, nameBytes));
            if (OpenSsl.RAND_bytes(iv, ivBytes) != 1)
                return -1;
        }
        fixed (byte* key = keys[index], keyName = "key\0"u8, digestName = "digest\0"u8, sha256 = "SHA256\0"u8)
        {
            const uint utf8 = 4, octets = 5;
            Parameter* parameters = stackalloc Parameter[3];
            parameters[0] = new Parameter { Key = keyName, Type = octets, Data = key + nameBytes, Size = hmacBytes };
            parameters[1] = new Parameter { Key = digestName, Type = utf8, Data = sha256, Size = 6 };
            parameters[2] = default;
            byte* aes = key + nameBytes + hmacBytes;
            int set = seal == 1 ? OpenSsl.EVP_EncryptInit_ex(cipher, OpenSsl.EVP_aes_256_cbc(), 0, aes, iv) : OpenSsl.EVP_DecryptInit_ex(cipher, OpenSsl.EVP_aes_256_cbc(), 0, aes, iv);
            if (set != 1 || OpenSsl.EVP_MAC_CTX_set_params(mac, parameters) != 1)
                return -1;
        }
        // 2: a new ticket is due, because an older key opened this one, or since a client of TLS 1.3 uses each once (RFC 8446 appendix C.4).
        return index == 0 && OpenSsl.SSL_version(ssl) != OpenSsl.Tls13 ? 1 : 2;
    }
}
