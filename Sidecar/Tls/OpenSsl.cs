using System;
using System.Runtime.InteropServices;

namespace Sidecar.Tls;

/// <summary>
/// OpenSSL 3 as this program uses it: blittable signatures, nothing marshalled, no policy. Each library is loaded by the first call into it, so a
/// configuration without TLS needs neither; <see cref="TryLoad"/> makes that call and says what to install. A static build names both libraries in
/// DirectPInvoke and links them.
/// </summary>
/// <remarks>
/// Loads of a field are declared SuppressGCTransition; nothing that calls back may be.
/// SSL_CTX, X509, EVP_PKEY and X509_STORE may be used by several threads once they are set up; an SSL belongs to one worker. The error queue is one
/// per thread: whoever sees a failure empties it before anything else is called.
/// </remarks>
internal static unsafe partial class OpenSsl
{
    private const string Ssl = "libssl.so.3";
    private const string Crypto = "libcrypto.so.3";

    // ---- numbers of ssl.h, tls1.h, x509_vfy.h, bio.h -----------------------------------------------------------

    internal const int Tls10 = 0x0301;
    internal const int Tls11 = 0x0302;
    internal const int Tls12 = 0x0303;
    internal const int Tls13 = 0x0304;

    internal const uint ExtensionPreSharedKey = 41;
    internal const int ClientHelloSuccess = 1;

    internal const int ErrorSsl = 1;
    internal const int ErrorWantRead = 2;
    internal const int ErrorWantWrite = 3;
    internal const int ErrorZeroReturn = 6;

    internal const int VerifyPeer = 1;
    internal const int VerifyFailIfNoPeerCert = 2;

    internal const ulong OptionLegacyServerConnect = 1UL << 2;
    internal const ulong OptionNoTicket = 1UL << 14;
    internal const ulong OptionNoCompression = 1UL << 17;
    internal const ulong OptionPrioritizeChacha = 1UL << 21;
    internal const ulong OptionCipherServerPreference = 1UL << 22;
    internal const ulong OptionNoRenegotiation = 1UL << 30;

    internal const long ModeEnablePartialWrite = 1;
    internal const long ModeAcceptMovingWriteBuffer = 2;
    internal const long ModeReleaseBuffers = 0x10;

    internal const long SessionCacheOff = 0;
    internal const long SessionCacheClient = 1;
    internal const long SessionCacheServer = 2;
    internal const long SessionCacheNoInternal = 0x300;

    internal const nuint StoreFlagCrlCheck = 0x4;
    internal const nuint StoreFlagCrlCheckAll = 0x8;
    internal const nuint StoreFlagPartialChain = 0x80000;
    internal const nuint StoreFlagNoCheckTime = 0x200000;

    internal const int VerifyErrorUnspecified = 1;
    internal const int VerifyErrorApplication = 50;

    internal const int ReasonCertificateVerifyFailed = 134;
    internal const int ReasonPeerDidNotReturnACertificate = 199;
    internal const int LibrarySsl = 20;
    internal const int LibrarySystem = 2;

    internal const int TlsExtErrOk = 0;
    internal const int TlsExtErrAlertFatal = 2;
    internal const int TlsExtErrNoAck = 3;

    internal const int KeyRsa = 6;
    internal const int KeyRsaPss = 912;
    internal const int KeyEc = 408;

    internal const int GeneralNameOther = 0;
    internal const int GeneralNameEmail = 1;
    internal const int GeneralNameDns = 2;
    internal const int GeneralNameUri = 6;
    internal const int GeneralNameIp = 7;
    internal const int NidSubjectAltName = 85;
    internal const int NidCommonName = 13;
    internal const int NidTlsFeature = 1020;
    internal const int NidKeyExchangeRsa = 1037;
    internal const nuint NameFlagsRfc2253 = 0x1110317;

    internal const int BioFlagsRead = 1;
    internal const int BioFlagsWrite = 2;
    internal const int BioFlagsRetry = 8;
    internal const int BioCtrlFlush = 11;
    internal const int BioTypeSourceSink = 0x0400;

    private const int CtrlMode = 33;
    private const int CtrlSessionNumber = 20;
    private const int CtrlSessionCacheSize = 42;
    private const int CtrlGetSessionCacheSize = 43;
    private const int CtrlSessionCacheMode = 44;
    private const int CtrlHostName = 55;
    private const int CtrlStatusCallback = 63;
    private const int CtrlStatusResponse = 71;
    private const int CtrlChainCert = 89;
    private const int CtrlGroupsList = 92;
    private const int CtrlSignatureAlgorithmsList = 98;
    private const int CtrlClientSignatureAlgorithmsList = 102;
    private const int CtrlPeerSignatureNid = 108;
    private const int CtrlMinProtocol = 123;
    private const int CtrlMaxProtocol = 124;
    private const int CtrlStatusType = 127;
    private const int CtrlNegotiatedGroup = 134;

    /// <summary>This is the static build: OpenSSL is in the executable.</summary>
#if OPENSSL_BUILT_IN
    internal const bool IsBuiltIn = true;
#else
    internal const bool IsBuiltIn = false;
#endif

    private static bool s_loaded;

    /// <summary>What the library calls itself, such as "OpenSSL 3.0.19 27 Jan 2026".</summary>
    internal static string VersionText => Text(OpenSSL_version(0));

    /// <summary>Loads both libraries; false, and what to do about it, when they are not there.</summary>
    internal static bool TryLoad(out string problem)
    {
        problem = "";
        if (s_loaded)
            return true;
        try
        {
            // OPENSSL_init_ssl(0) is implied by SSL_CTX_new; asking for versions loads without side effects.
            nuint version = OpenSSL_version_num();
            if (version >> 28 != 3)
            {
                problem = $"OpenSSL {version >> 28} is installed; TLS needs OpenSSL 3 (libssl.so.3)";
                return false;
            }
            _ = TLS_method();
            s_loaded = true;
            return true;
        }
        catch (Exception e) when (e is DllNotFoundException or EntryPointNotFoundException)
        {
            problem = "TLS needs OpenSSL 3 (libssl.so.3 and libcrypto.so.3), which is not installed: apt-get install libssl3, or use the static build";
            return false;
        }
    }

    // ---- SSL_CTX -------------------------------------------------------------------------------------------------

    [LibraryImport(Crypto)] internal static partial nuint OpenSSL_version_num();
    [LibraryImport(Crypto)] private static partial byte* OpenSSL_version(int what);
    [LibraryImport(Ssl)] internal static partial nint TLS_method();
    [LibraryImport(Ssl)] internal static partial nint SSL_CTX_new(nint method);
    [LibraryImport(Ssl)] internal static partial void SSL_CTX_free(nint ctx);
    [LibraryImport(Ssl)] internal static partial nint SSL_CTX_ctrl(nint ctx, int command, nint larg, void* parg);
    [LibraryImport(Ssl)] internal static partial nint SSL_CTX_callback_ctrl(nint ctx, int command, nint callback);
    [LibraryImport(Ssl)] internal static partial ulong SSL_CTX_set_options(nint ctx, ulong options);
    [LibraryImport(Ssl)] internal static partial ulong SSL_CTX_clear_options(nint ctx, ulong options);
    [LibraryImport(Ssl)] internal static partial void SSL_CTX_set_security_level(nint ctx, int level);
    [LibraryImport(Ssl)] internal static partial int SSL_CTX_set_cipher_list(nint ctx, byte* list);
    [LibraryImport(Ssl)] internal static partial int SSL_CTX_set_ciphersuites(nint ctx, byte* list);
    [LibraryImport(Ssl)] internal static partial int SSL_CTX_use_certificate(nint ctx, nint x509);
    [LibraryImport(Ssl)] internal static partial int SSL_CTX_use_PrivateKey(nint ctx, nint key);
    [LibraryImport(Ssl)] internal static partial int SSL_CTX_check_private_key(nint ctx);
    [LibraryImport(Ssl)] internal static partial nint SSL_CTX_get_cert_store(nint ctx);
    [LibraryImport(Ssl)] internal static partial void SSL_CTX_set_verify(nint ctx, int mode, nint callback);
    [LibraryImport(Ssl)] internal static partial void SSL_CTX_set_cert_verify_callback(nint ctx, nint callback, nint argument);
    [LibraryImport(Ssl)] internal static partial void SSL_CTX_set_cert_cb(nint ctx, nint callback, nint argument);
    [LibraryImport(Ssl)] internal static partial int SSL_CTX_set_alpn_protos(nint ctx, byte* protocols, uint length);
    [LibraryImport(Ssl)] internal static partial void SSL_CTX_set_alpn_select_cb(nint ctx, nint callback, nint argument);
    [LibraryImport(Ssl)] internal static partial int SSL_CTX_set_session_id_context(nint ctx, byte* id, uint length);
    [LibraryImport(Ssl)] internal static partial nint SSL_CTX_set_timeout(nint ctx, nint seconds);
    [LibraryImport(Ssl)] internal static partial void SSL_CTX_sess_set_new_cb(nint ctx, nint callback);
    [LibraryImport(Ssl)] internal static partial int SSL_CTX_set_tlsext_ticket_key_evp_cb(nint ctx, nint callback);
    [LibraryImport(Ssl)] internal static partial int SSL_CTX_set_num_tickets(nint ctx, nuint count);
    [LibraryImport(Ssl)] internal static partial void SSL_CTX_set_client_hello_cb(nint ctx, nint callback, nint argument);
    [LibraryImport(Ssl)] internal static partial int SSL_CTX_set_session_ticket_cb(nint ctx, nint generate, nint decrypt, nint argument);
    [LibraryImport(Ssl)] internal static partial int SSL_CTX_remove_session(nint ctx, nint session);
    [LibraryImport(Ssl)] internal static partial int SSL_CTX_add_client_CA(nint ctx, nint x509);
    [LibraryImport(Ssl)] internal static partial void SSL_CTX_set_keylog_callback(nint ctx, nint callback);
    [LibraryImport(Ssl)] internal static partial byte* OPENSSL_cipher_name(byte* standardName);

    internal static bool SetMinProtocol(nint ctx, int version) => SSL_CTX_ctrl(ctx, CtrlMinProtocol, version, null) == 1;
    internal static bool SetMaxProtocol(nint ctx, int version) => SSL_CTX_ctrl(ctx, CtrlMaxProtocol, version, null) == 1;
    internal static bool SetGroups(nint ctx, byte* list) => SSL_CTX_ctrl(ctx, CtrlGroupsList, 0, list) == 1;
    internal static bool SetSignatureAlgorithms(nint ctx, byte* list) => SSL_CTX_ctrl(ctx, CtrlSignatureAlgorithmsList, 0, list) == 1;
    internal static bool SetClientSignatureAlgorithms(nint ctx, byte* list) => SSL_CTX_ctrl(ctx, CtrlClientSignatureAlgorithmsList, 0, list) == 1;
    internal static void SetMode(nint ctx, long mode) => SSL_CTX_ctrl(ctx, CtrlMode, (nint)mode, null);
    internal static void SetSessionCacheMode(nint ctx, long mode) => SSL_CTX_ctrl(ctx, CtrlSessionCacheMode, (nint)mode, null);
    internal static int RememberedSessions(nint ctx) => (int)SSL_CTX_ctrl(ctx, CtrlSessionNumber, 0, null);
    internal static int SessionCacheSize(nint ctx) => (int)SSL_CTX_ctrl(ctx, CtrlGetSessionCacheSize, 0, null);
    internal static void SetSessionCacheSize(nint ctx, int sessions) => SSL_CTX_ctrl(ctx, CtrlSessionCacheSize, sessions, null);

    /// <summary>Adds an intermediate certificate to the one set last; takes a reference of its own.</summary>
    internal static bool AddChainCertificate(nint ctx, nint x509) => SSL_CTX_ctrl(ctx, CtrlChainCert, 1, (void*)x509) == 1;

    // ---- SSL -------------------------------------------------------------------------------------------------------

    [LibraryImport(Ssl)] internal static partial nint SSL_new(nint ctx);
    [LibraryImport(Ssl)] internal static partial void SSL_free(nint ssl);
    [LibraryImport(Ssl)] internal static partial void SSL_set_bio(nint ssl, nint read, nint write);
    [LibraryImport(Ssl)] [SuppressGCTransition] internal static partial nint SSL_get_rbio(nint ssl);
    [LibraryImport(Ssl)] internal static partial void SSL_set_accept_state(nint ssl);
    [LibraryImport(Ssl)] internal static partial void SSL_set_connect_state(nint ssl);
    [LibraryImport(Ssl)] internal static partial int SSL_do_handshake(nint ssl);
    [LibraryImport(Ssl)] internal static partial int SSL_read_ex(nint ssl, void* buffer, nuint count, nuint* read);
    [LibraryImport(Ssl)] internal static partial int SSL_write_ex(nint ssl, void* buffer, nuint count, nuint* written);
    [LibraryImport(Ssl)] internal static partial int SSL_shutdown(nint ssl);
    [LibraryImport(Ssl)] internal static partial void SSL_set_shutdown(nint ssl, int mode);
    [LibraryImport(Ssl)] internal static partial int SSL_get_error(nint ssl, int returned);
    [LibraryImport(Ssl)] [SuppressGCTransition] internal static partial int SSL_pending(nint ssl);
    [LibraryImport(Ssl)] internal static partial int SSL_key_update(nint ssl, int type);
    [LibraryImport(Ssl)] internal static partial nint SSL_ctrl(nint ssl, int command, nint larg, void* parg);
    [LibraryImport(Ssl)] internal static partial int SSL_version(nint ssl);
    [LibraryImport(Ssl)] internal static partial nint SSL_get_current_cipher(nint ssl);
    [LibraryImport(Ssl)] internal static partial byte* SSL_CIPHER_get_name(nint cipher);
    [LibraryImport(Ssl)] internal static partial uint SSL_CIPHER_get_id(nint cipher);
    [LibraryImport(Ssl)] internal static partial int SSL_CIPHER_get_kx_nid(nint cipher);
    [LibraryImport(Ssl)] internal static partial int SSL_session_reused(nint ssl);
    [LibraryImport(Ssl)] internal static partial nint SSL_get0_peer_certificate(nint ssl);
    [LibraryImport(Ssl)] internal static partial nint SSL_get_verify_result(nint ssl);
    [LibraryImport(Ssl)] internal static partial nint SSL_get_peer_cert_chain(nint ssl);
    [LibraryImport(Ssl)] internal static partial nint SSL_get_certificate(nint ssl);
    [LibraryImport(Ssl)] internal static partial void SSL_get0_alpn_selected(nint ssl, byte** data, uint* length);
    [LibraryImport(Ssl)] internal static partial void SSL_set_verify(nint ssl, int mode, nint callback);
    [LibraryImport(Ssl)] internal static partial int SSL_set_alpn_protos(nint ssl, byte* protocols, uint length);
    [LibraryImport(Ssl)] internal static partial byte* SSL_get_servername(nint ssl, int type);
    [LibraryImport(Ssl)] internal static partial int SSL_get_peer_signature_type_nid(nint ssl, int* nid);
    [LibraryImport(Ssl)] internal static partial int SSL_set_session(nint ssl, nint session);
    [LibraryImport(Ssl)] internal static partial nint SSL_get_session(nint ssl);
    [LibraryImport(Ssl)] internal static partial nint SSL_get1_session(nint ssl);
    [LibraryImport(Ssl)] internal static partial ulong SSL_set_options(nint ssl, ulong options);
    [LibraryImport(Ssl)] internal static partial ulong SSL_clear_options(nint ssl, ulong options);
    [LibraryImport(Ssl)] internal static partial int SSL_client_hello_get0_ext(nint ssl, uint type, byte** data, nuint* length);
    [LibraryImport(Ssl)] internal static partial nint SSL_SESSION_get_time(nint session);
    [LibraryImport(Ssl)] internal static partial nint SSL_SESSION_get_timeout(nint session);
    [LibraryImport(Ssl)] internal static partial nint SSL_SESSION_set_timeout(nint session, nint seconds);
    [LibraryImport(Ssl)] internal static partial int SSL_SESSION_up_ref(nint session);
    [LibraryImport(Ssl)] internal static partial void SSL_SESSION_free(nint session);
    [LibraryImport(Ssl)] internal static partial int SSL_SESSION_is_resumable(nint session);
    [LibraryImport(Ssl)] internal static partial byte* SSL_SESSION_get_id(nint session, uint* length);
    [LibraryImport(Ssl)] internal static partial int SSL_SESSION_get_protocol_version(nint session);
    [LibraryImport(Ssl)] internal static partial void SSL_certs_clear(nint ssl);
    [LibraryImport(Ssl)] internal static partial int SSL_use_cert_and_key(nint ssl, nint x509, nint key, nint chain, int replace);
    [LibraryImport(Ssl)] internal static partial int SSL_get_ex_data_X509_STORE_CTX_idx();
    [LibraryImport(Ssl)] internal static partial int SSL_get_shared_sigalgs(nint ssl, int index, int* sign, int* hash, int* signHash, byte* raw, byte* rawHash);

    internal static void SetHostName(nint ssl, byte* name) => SSL_ctrl(ssl, CtrlHostName, 0, name);
    /// <summary>Has the callback asked whenever a client wants an OCSP response (RFC 6066 section 8).</summary>
    internal static void SetStatusCallback(nint ctx, nint callback) => SSL_CTX_callback_ctrl(ctx, CtrlStatusCallback, callback);

    /// <summary>The client wants an OCSP response.</summary>
    internal static bool AsksForStatus(nint ssl) => SSL_ctrl(ssl, CtrlStatusType, 0, null) == 1;

    /// <summary>Takes over the bytes, which are of <see cref="CRYPTO_malloc"/>.</summary>
    internal static void SetOcspResponse(nint ssl, void* bytes, int length) => SSL_ctrl(ssl, CtrlStatusResponse, length, bytes);

    internal static int NegotiatedGroup(nint ssl) => (int)SSL_ctrl(ssl, CtrlNegotiatedGroup, 0, null);
    internal static bool PeerSignatureHash(nint ssl, int* nid) => SSL_ctrl(ssl, CtrlPeerSignatureNid, 0, nid) == 1;

    // ---- BIO ---------------------------------------------------------------------------------------------------------

    [LibraryImport(Crypto)] internal static partial nint BIO_meth_new(int type, byte* name);
    [LibraryImport(Crypto)] internal static partial int BIO_meth_set_write(nint method, nint callback);
    [LibraryImport(Crypto)] internal static partial int BIO_meth_set_read(nint method, nint callback);
    [LibraryImport(Crypto)] internal static partial int BIO_meth_set_ctrl(nint method, nint callback);
    [LibraryImport(Crypto)] internal static partial int BIO_get_new_index();
    [LibraryImport(Crypto)] internal static partial nint BIO_new(nint method);
    [LibraryImport(Crypto)] internal static partial int BIO_free(nint bio);
    [LibraryImport(Crypto)] internal static partial int BIO_up_ref(nint bio);
    [LibraryImport(Crypto)] internal static partial void BIO_set_data(nint bio, nint data);
    [LibraryImport(Crypto)] [SuppressGCTransition] internal static partial nint BIO_get_data(nint bio);
    [LibraryImport(Crypto)] internal static partial void BIO_set_init(nint bio, int init);
    [LibraryImport(Crypto)] [SuppressGCTransition] internal static partial void BIO_set_flags(nint bio, int flags);
    [LibraryImport(Crypto)] [SuppressGCTransition] internal static partial void BIO_clear_flags(nint bio, int flags);
    [LibraryImport(Crypto)] internal static partial nint BIO_new_mem_buf(void* buffer, int length);
    [LibraryImport(Crypto)] internal static partial nint BIO_s_mem();
    [LibraryImport(Crypto)] internal static partial nint BIO_ctrl(nint bio, int command, nint larg, void* parg);

    // ---- certificates, keys, stores --------------------------------------------------------------------------------

    [LibraryImport(Crypto)] internal static partial nint PEM_read_bio_X509_AUX(nint bio, nint* x, nint callback, void* user);
    [LibraryImport(Crypto)] internal static partial nint PEM_read_bio_X509(nint bio, nint* x, nint callback, void* user);
    [LibraryImport(Crypto)] internal static partial nint PEM_read_bio_X509_CRL(nint bio, nint* x, nint callback, void* user);
    [LibraryImport(Crypto)] internal static partial nint PEM_read_bio_PrivateKey(nint bio, nint* x, nint callback, void* user);
    [LibraryImport(Crypto)] internal static partial nint d2i_PKCS12_bio(nint bio, nint* p12);
    [LibraryImport(Crypto)] internal static partial int PKCS12_parse(nint p12, byte* password, nint* key, nint* x509, nint* chain);
    [LibraryImport(Crypto)] internal static partial void PKCS12_free(nint p12);
    [LibraryImport(Crypto)] internal static partial void X509_free(nint x509);
    [LibraryImport(Crypto)] internal static partial int X509_up_ref(nint x509);
    [LibraryImport(Crypto)] internal static partial void X509_CRL_free(nint crl);
    [LibraryImport(Crypto)] internal static partial void EVP_PKEY_free(nint key);
    [LibraryImport(Crypto)] internal static partial int X509_check_private_key(nint x509, nint key);
    [LibraryImport(Crypto)] internal static partial nint X509_get0_pubkey(nint x509);
    [LibraryImport(Crypto)] internal static partial int EVP_PKEY_get_base_id(nint key);
    [LibraryImport(Crypto)] internal static partial int EVP_PKEY_get_bits(nint key);
    [LibraryImport(Crypto)] internal static partial int X509_digest(nint x509, nint digest, byte* into, uint* length);
    [LibraryImport(Crypto)] internal static partial int X509_pubkey_digest(nint x509, nint digest, byte* into, uint* length);
    [LibraryImport(Crypto)] internal static partial nint X509_get_X509_PUBKEY(nint x509);
    [LibraryImport(Crypto)] internal static partial int i2d_X509_PUBKEY(nint key, byte** into);
    [LibraryImport(Crypto)] internal static partial int i2d_X509(nint x509, byte** into);
    [LibraryImport(Crypto)] internal static partial int i2d_X509_NAME(nint name, byte** into);
    [LibraryImport(Crypto)] internal static partial nint X509_get_subject_name(nint x509);
    [LibraryImport(Crypto)] internal static partial nint X509_get_issuer_name(nint x509);
    [LibraryImport(Crypto)] internal static partial int X509_NAME_print_ex(nint bio, nint name, int indent, nuint flags);
    [LibraryImport(Crypto)] internal static partial int X509_NAME_get_text_by_NID(nint name, int nid, byte* into, int length);
    [LibraryImport(Crypto)] internal static partial nint X509_get0_serialNumber(nint x509);
    [LibraryImport(Crypto)] internal static partial nint X509_get0_notBefore(nint x509);
    [LibraryImport(Crypto)] internal static partial nint X509_get0_notAfter(nint x509);
    [LibraryImport(Crypto)] internal static partial nint X509_get_ext_d2i(nint x509, int nid, int* critical, int* index);
    [LibraryImport(Crypto)] internal static partial int X509_check_ca(nint x509);
    [LibraryImport(Crypto)] internal static partial int ASN1_TIME_to_tm(nint time, void* tm);
    [LibraryImport(Crypto)] internal static partial byte* ASN1_STRING_get0_data(nint text);
    [LibraryImport(Crypto)] internal static partial int ASN1_STRING_length(nint text);
    [LibraryImport(Crypto)] internal static partial nint GENERAL_NAME_get0_value(nint name, int* type);
    [LibraryImport(Crypto)] internal static partial int GENERAL_NAME_get0_otherName(nint name, nint* oid, nint* value);
    [LibraryImport(Crypto)] internal static partial void GENERAL_NAMES_free(nint names);
    [LibraryImport(Crypto)] internal static partial int OBJ_obj2txt(byte* into, int length, nint oid, int noName);
    [LibraryImport(Crypto)] internal static partial int ASN1_TYPE_get(nint type);
    [LibraryImport(Crypto)] internal static partial nint EVP_sha256();
    [LibraryImport(Crypto)] internal static partial int EVP_Digest(void* data, nuint count, byte* into, uint* length, nint digest, nint engine);
    [LibraryImport(Crypto)] internal static partial nint EVP_sha1();
    [LibraryImport(Crypto)] internal static partial int OPENSSL_sk_num(nint stack);
    [LibraryImport(Crypto)] internal static partial nint OPENSSL_sk_value(nint stack, int index);
    [LibraryImport(Crypto)] internal static partial nint OPENSSL_sk_new_null();
    [LibraryImport(Crypto)] internal static partial int OPENSSL_sk_push(nint stack, nint item);
    [LibraryImport(Crypto)] internal static partial void OPENSSL_sk_free(nint stack);
    [LibraryImport(Crypto)] internal static partial nint X509_STORE_new();
    [LibraryImport(Crypto)] internal static partial void X509_STORE_free(nint store);
    [LibraryImport(Crypto)] internal static partial int X509_STORE_add_cert(nint store, nint x509);
    [LibraryImport(Crypto)] internal static partial int X509_STORE_add_crl(nint store, nint crl);
    [LibraryImport(Crypto)] internal static partial int X509_STORE_set_flags(nint store, nuint flags);
    [LibraryImport(Crypto)] internal static partial int X509_STORE_set_depth(nint store, int depth);
    [LibraryImport(Crypto)] internal static partial int X509_STORE_set_default_paths(nint store);
    [LibraryImport(Crypto)] internal static partial nint X509_STORE_CTX_new();
    [LibraryImport(Crypto)] internal static partial void X509_STORE_CTX_free(nint context);
    [LibraryImport(Crypto)] internal static partial int X509_STORE_CTX_init(nint context, nint store, nint x509, nint untrusted);
    [LibraryImport(Crypto)] internal static partial int X509_STORE_CTX_set_default(nint context, byte* name);
    [LibraryImport(Crypto)] internal static partial nint X509_STORE_CTX_get_ex_data(nint context, int index);
    [LibraryImport(Crypto)] internal static partial nint X509_STORE_CTX_get0_cert(nint context);
    [LibraryImport(Crypto)] internal static partial nint X509_STORE_CTX_get0_untrusted(nint context);
    [LibraryImport(Crypto)] internal static partial int X509_STORE_CTX_get_error(nint context);
    [LibraryImport(Crypto)] internal static partial void X509_STORE_CTX_set_error(nint context, int error);
    [LibraryImport(Crypto)] internal static partial int X509_STORE_CTX_get_error_depth(nint context);
    [LibraryImport(Crypto)] internal static partial int X509_verify_cert(nint context);
    [LibraryImport(Crypto)] internal static partial byte* X509_verify_cert_error_string(nint error);

    // ---- OCSP responses ---------------------------------------------------------------------------------------------

    [LibraryImport(Crypto)] internal static partial nint d2i_OCSP_RESPONSE(nint* into, byte** bytes, nint length);
    [LibraryImport(Crypto)] internal static partial void OCSP_RESPONSE_free(nint response);
    [LibraryImport(Crypto)] internal static partial int OCSP_response_status(nint response);
    [LibraryImport(Crypto)] internal static partial nint OCSP_response_get1_basic(nint response);
    [LibraryImport(Crypto)] internal static partial void OCSP_BASICRESP_free(nint basic);
    [LibraryImport(Crypto)] internal static partial int OCSP_resp_count(nint basic);
    [LibraryImport(Crypto)] internal static partial nint OCSP_resp_get0(nint basic, int index);
    [LibraryImport(Crypto)] internal static partial int OCSP_single_get0_status(nint single, int* reason, nint* revoked, nint* thisUpdate, nint* nextUpdate);
    [LibraryImport(Crypto)] internal static partial nint OCSP_SINGLERESP_get0_id(nint single);
    [LibraryImport(Crypto)] internal static partial int OCSP_id_get0_info(nint* nameHash, nint* algorithm, nint* keyHash, nint* serial, nint id);
    [LibraryImport(Crypto)] internal static partial void* CRYPTO_malloc(nuint length, byte* file, int line);
    [LibraryImport(Crypto)] internal static partial int X509_get_ext_by_NID(nint x509, int nid, int after);
    [LibraryImport(Crypto)] internal static partial nint X509_get_ext(nint x509, int index);
    [LibraryImport(Crypto)] internal static partial nint X509_EXTENSION_get_data(nint extension);
    [LibraryImport(Crypto)] internal static partial uint X509_get_key_usage(nint x509);

    // ---- session tickets --------------------------------------------------------------------------------------------

    [LibraryImport(Crypto)] internal static partial nint EVP_aes_256_cbc();
    [LibraryImport(Crypto)] internal static partial int EVP_EncryptInit_ex(nint context, nint cipher, nint engine, byte* key, byte* iv);
    [LibraryImport(Crypto)] internal static partial int EVP_DecryptInit_ex(nint context, nint cipher, nint engine, byte* key, byte* iv);
    [LibraryImport(Crypto)] internal static partial int EVP_MAC_CTX_set_params(nint context, void* parameters);
    [LibraryImport(Crypto)] internal static partial int RAND_bytes(byte* into, int count);
    [LibraryImport(Crypto)] internal static partial void OPENSSL_cleanse(void* memory, nuint length);

    // ---- errors -------------------------------------------------------------------------------------------------------

    [LibraryImport(Crypto)] internal static partial nuint ERR_get_error();
    [LibraryImport(Crypto)] internal static partial nuint ERR_peek_error();
    [LibraryImport(Crypto)] internal static partial void ERR_clear_error();
    [LibraryImport(Crypto)] internal static partial byte* ERR_lib_error_string(nuint error);
    [LibraryImport(Crypto)] internal static partial byte* ERR_reason_error_string(nuint error);

    // ERR_SYSTEM_FLAG: errno's own numbers, without a library.
    private const nuint SystemErrorFlag = 0x80000000;

    internal static int ErrorLibrary(nuint error) => (error & SystemErrorFlag) != 0 ? LibrarySystem : (int)(error >> 23 & 0xFF);
    internal static int ErrorReason(nuint error) => (error & SystemErrorFlag) != 0 ? (int)(error & ~SystemErrorFlag) : (int)(error & 0x7FFFFF);

    /// <summary>A C string as text; empty for null.</summary>
    internal static string Text(byte* text) => Marshal.PtrToStringUTF8((nint)text) ?? "";

    internal static byte[] Sha256(ReadOnlySpan<byte> data)
    {
        byte[] digest = new byte[32];
        fixed (byte* from = data, into = digest)
        {
            uint length = 0;
            EVP_Digest(from, (nuint)data.Length, into, &length, EVP_sha256(), 0);
        }
        return digest;
    }

    /// <summary>Takes the oldest error off the queue and drops the rest; its words, or empty when there was none.</summary>
    internal static string TakeError()
    {
        nuint error = ERR_get_error();
        ERR_clear_error();
        return error == 0 ? "" : $"{Text(ERR_lib_error_string(error))}: {Text(ERR_reason_error_string(error))}";
    }
}
