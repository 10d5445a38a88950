using System;
using System.Diagnostics;
using System.Text;
using Sidecar.Linux;
using Sidecar.Loop;
using Sidecar.Memory;
using Sidecar.Net;
using Sidecar.Telemetry;
using Sidecar.Telemetry.Stats;

namespace Sidecar.Tls;

/// <summary>
/// TLS over one connection's descriptor. Each call lets OpenSSL work on what one receive brought or what one send will take; see <see cref="TlsWorker"/>
/// for the buffers. What a call leaves over is kept here: ciphertext that plaintext had no room for (bounded by what one receive asks for), and
/// ciphertext that the socket did not take (bounded by what one call produces).
/// </summary>
/// <remarks>Worker-owned, pooled by <see cref="TlsWorker"/>. The SSL object exists from the first step of the handshake until <see cref="Release"/>.</remarks>
internal sealed unsafe class TlsTransport : Transport
{
    /// <summary>RFC 8446 section 5.1.</summary>
    private const int RecordPlainBytesMax = 16384;

    /// <summary>
    /// A record cannot be used before its last byte has come. The first ones of a burst therefore fit a segment, so that a peer behind a slow start
    /// begins at once; what follows is bulk, where fewer records cost less.
    /// </summary>
    private const int SmallRecordBytes = 1369;
    private const int SmallRecordsBytes = 16 * 1024;

    /// <summary>After this long without sending, a burst begins.</summary>
    private const long BurstPauseMs = 1000;

    /// <summary>Receives of one call that yield no application byte (tickets, key updates, empty records) before others have their turn.</summary>
    private const int FruitlessReceivesMax = 16;

    /// <summary>Answers to a peer's key updates that it does not read: more than it could need, less than would hurt.</summary>
    private const int UnreadAnswersMax = 64 * 1024;

    private readonly TlsWorker _worker;
    private readonly ByteBuffer _held;
    private readonly BufferChain _unsent;

    private TlsContext _context = null!;
    private StatsCells _stats = null!;
    private object? _host;
    private byte[] _serverName = [];
    private ReadOnlyMemory<byte> _protocols;
    private TlsOverrides? _overrides;
    private nint _ssl;
    private nint _usedSession;
    private int _handshakeFd;
    private long _lastWriteMs;
    private int _smallLeft;
    private bool _ready;
    private bool _broken;
    private string _verifyProblem = "";
    private string _failure = "";
    private TlsFacts? _facts;

    internal TlsTransport(TlsWorker worker)
    {
        _worker = worker;
        _held = new ByteBuffer(worker.Loop.Slab);
        _unsent = new BufferChain(worker.Loop.Slab);
    }

    /// <summary>The server's side of a connection.</summary>
    /// <param name="loop">The connection's loop.</param>
    /// <param name="worker">The writer index of stats.</param>
    /// <param name="context">Options, certificates and verification.</param>
    internal static TlsTransport Accept(EventLoop loop, int worker, TlsContext context)
    {
        Debug.Assert(context.Options.IsServer);
        return Start(loop, worker, context);
    }

    /// <summary>The client's side of a connection.</summary>
    /// <param name="loop">The connection's loop.</param>
    /// <param name="worker">The writer index of stats.</param>
    /// <param name="context">Options, certificates and verification.</param>
    /// <param name="host">Whose sessions may be resumed.</param>
    /// <param name="serverName">Ends in a NUL; asked for instead of the context's own. Empty: the context's.</param>
    /// <param name="protocols">ALPN in its wire form, offered where the context has none. Empty: none.</param>
    /// <param name="overrides">What this connection is to be like whatever the context says; null: nothing.</param>
    internal static TlsTransport Connect(
        EventLoop loop, int worker, TlsContext context, object host, byte[] serverName, ReadOnlyMemory<byte> protocols, TlsOverrides? overrides = null)
    {
        Debug.Assert(!context.Options.IsServer);
        var transport = Start(loop, worker, context);
        transport._host = host;
        transport._serverName = serverName.Length > 0 ? serverName : context.ServerName;
        transport._protocols = context.Options.Alpn.Count > 0 ? default : protocols;
        if (overrides is null)
            return transport;
        transport._overrides = overrides;
        if (overrides.ServerName.Length > 0)
            transport._serverName = overrides.ServerName;
        if (overrides.Alpn.Length > 0)
            transport._protocols = overrides.Alpn;
        return transport;
    }

    private static TlsTransport Start(EventLoop loop, int worker, TlsContext context)
    {
        var transport = TlsWorker.Of(loop).Rent();
        transport._context = context;
        transport._stats = context.Stats.Cells(worker);
        return transport;
    }

    // ---- facts -------------------------------------------------------------------------------------------------------

    internal TlsContext Context => _context;

    /// <summary>OpenSSL's object; 0 before the handshake begins.</summary>
    internal nint Handle => _ssl;
    internal override bool IsReady => _ready;
    internal override bool HasUnsent => !_unsent.IsEmpty;
    internal override string FailureReason => _failure;

    internal override ReadOnlySpan<byte> Protocol
    {
        get
        {
            if (_ssl == 0)
                return default;
            byte* data;
            uint length;
            OpenSsl.SSL_get0_alpn_selected(_ssl, &data, &length);
            return new ReadOnlySpan<byte>(data, (int)length);
        }
    }

    /// <summary>The peer has presented a certificate.</summary>
    internal bool HasPeer => _ssl != 0 && OpenSsl.SSL_get0_peer_certificate(_ssl) != 0;

    /// <summary>The client's ticket names a session that the context may remember. Set by OpenSSL's callback.</summary>
    internal bool NamesSession { get; set; }

    /// <summary>Free for whoever handles the connection: something made once of the peer's certificate; null on a new connection.</summary>
    internal object? HandlerNote { get; set; }

    /// <summary>The peer's certificate as it was presented (on a resumed connection: when the session began); null when there was none.</summary>
    internal CertificateFacts? Peer => _ssl != 0 && OpenSsl.SSL_get0_peer_certificate(_ssl) is not 0 and var x509 ? _worker.Info(x509) : null;

    /// <summary>The peer's certificate was verified as the configuration asks, not merely let through.</summary>
    internal bool IsPeerVerified =>
        _context.Validation is { VerifiesChain: true } or { Sans.Count: > 0 } or { Hashes.Count: > 0 } or { KeyHashes.Count: > 0 }
        && _ssl != 0 && OpenSsl.SSL_get0_peer_certificate(_ssl) != 0 && OpenSsl.SSL_get_verify_result(_ssl) == 0;

    /// <summary>Our own certificate on this connection; null when we presented none.</summary>
    internal CertificateFacts? Local => _ssl != 0 && OpenSsl.SSL_get_certificate(_ssl) is not 0 and var x509 ? _worker.Info(x509) : null;

    /// <summary>All certificates the peer presented, in PEM and URL-encoded, leaf first.</summary>
    internal string PeerChainUrlEncodedPem
    {
        get
        {
            var text = new StringBuilder();
            if (Peer is { } leaf)
                text.Append(leaf.UrlEncodedPem);
            // OpenSSL leaves the leaf out of a client's chain, as RFC 5246 names them.
            nint chain = _ssl == 0 ? 0 : OpenSsl.SSL_get_peer_cert_chain(_ssl);
            int count = chain == 0 ? 0 : OpenSsl.OPENSSL_sk_num(chain);
            for (int i = _context.Options.IsServer ? 0 : 1; i < count; i++)
                text.Append(_worker.Info(OpenSsl.OPENSSL_sk_value(chain, i)).UrlEncodedPem);
            return text.ToString();
        }
    }

    internal string VersionName => _ssl == 0 ? "" : TlsStats.VersionName(OpenSsl.SSL_version(_ssl));
    internal bool IsResumed => _ssl != 0 && OpenSsl.SSL_session_reused(_ssl) == 1;

    /// <summary>Everything above for who reports; made once. Null before the handshake is complete.</summary>
    internal TlsFacts? Facts => _facts ??= _ready ? ReadFacts() : null;

    private TlsFacts ReadFacts()
    {
        nint cipher = OpenSsl.SSL_get_current_cipher(_ssl);
        byte[] id = [];
        if (OpenSsl.SSL_get_session(_ssl) is not 0 and var session)
        {
            uint length;
            byte* bytes = OpenSsl.SSL_SESSION_get_id(session, &length);
            id = new ReadOnlySpan<byte>(bytes, (int)length).ToArray();
        }
        return new TlsFacts
        {
            Version = VersionName,
            Cipher = cipher == 0 ? "" : _worker.CipherName(cipher),
            SessionId = id,
            ServerName = OpenSsl.Text(OpenSsl.SSL_get_servername(_ssl, 0)).ToLowerInvariant(),
            Peer = Peer,
            IsPeerVerified = IsPeerVerified,
            Local = Local,
        };
    }

    // ---- handshake ---------------------------------------------------------------------------------------------------

    internal override void Preload(ReadOnlySpan<byte> received) => _held.Write(received);

    internal override IoResult Handshake(int fd)
    {
        if (!TryFlush(fd, out var blocked))
            return blocked;
        if (_ssl == 0)
            Begin();
        _handshakeFd = fd;
        Enter();
        IoResult result;
        while (true)
        {
            int returned = OpenSsl.SSL_do_handshake(_ssl);
            int error = returned == 1 ? 0 : OpenSsl.SSL_get_error(_ssl, returned);
            bool sent = TrySend(fd, out var sending);
            if (returned == 1)
            {
                result = HasUnfitKey() && RefusesKey() ? IoResult.Failed(Errno.EPROTO) : IoResult.Ok(0);
                if (result.Status == IoStatus.Ok)
                    Complete();
                break;
            }
            if (error is not (OpenSsl.ErrorWantRead or OpenSsl.ErrorWantWrite))
            {
                Fail(fd);
                result = IoResult.Failed(Errno.EPROTO);
                break;
            }
            if (NamesSession && _usedSession == 0 && OpenSsl.SSL_session_reused(_ssl) == 1)
                _usedSession = OpenSsl.SSL_get1_session(_ssl);
            if (!sent)
            {
                result = sending;
                break;
            }
            if (error == OpenSsl.ErrorWantWrite)
                continue;
            result = Receive(fd, _worker.Input.Length, out _);
            if (result.Status == IoStatus.Ok)
                continue;
            // Nothing of TLS went wrong: the peer is gone, which whoever waits for it counts.
            if (result.Status == IoStatus.EndOfStream)
                result = IoResult.Failed(Errno.ECONNRESET);
            break;
        }
        Leave();
        return result;
    }

    private void Begin()
    {
        _ssl = OpenSsl.SSL_new(_context.Handle);
        _worker.OpenCount++;
        OpenSsl.BIO_up_ref(_worker.Bio);
        OpenSsl.SSL_set_bio(_ssl, _worker.Bio, _worker.Bio);
        if (_context.Options.IsServer)
        {
            OpenSsl.SSL_set_accept_state(_ssl);
            return;
        }
        OpenSsl.SSL_set_connect_state(_ssl);
        if (_serverName.Length > 0)
        {
            fixed (byte* name = _serverName)
                OpenSsl.SetHostName(_ssl, name);
        }
        if (!_protocols.IsEmpty)
        {
            fixed (byte* protocols = _protocols.Span)
                OpenSsl.SSL_set_alpn_protos(_ssl, protocols, (uint)_protocols.Length);
        }
        // As Envoy: a name that must be there is looked for even where nothing else is verified.
        if (_overrides is { SubjectAltName.Length: > 0 })
            OpenSsl.SSL_set_verify(_ssl, OpenSsl.VerifyPeer | OpenSsl.VerifyFailIfNoPeerCert, 0);
        if (_context.Options.SessionKeysMax == 0)
            return;
        nint session = _worker.SessionsOf(_context).Take(_host!, _overrides);
        if (session == 0)
            return;
        OpenSsl.SSL_set_session(_ssl, session);
        OpenSsl.SSL_SESSION_free(session);
    }

    // As BoringSSL, for RSA alone: OpenSSL asks only that a key may be used with TLS in some way. A resumed session was judged when it began.
    private bool HasUnfitKey()
    {
        const uint digitalSignature = 0x80, keyEncipherment = 0x20;
        nint leaf = _context.Options.IsServer || OpenSsl.SSL_session_reused(_ssl) == 1 ? 0 : OpenSsl.SSL_get0_peer_certificate(_ssl);
        if (leaf == 0 || OpenSsl.EVP_PKEY_get_base_id(OpenSsl.X509_get0_pubkey(leaf)) != OpenSsl.KeyRsa)
            return false;
        bool encrypts = OpenSsl.SSL_CIPHER_get_kx_nid(OpenSsl.SSL_get_current_cipher(_ssl)) == OpenSsl.NidKeyExchangeRsa;
        // Without the extension all uses are allowed, and all bits are set.
        return (OpenSsl.X509_get_key_usage(leaf) & (encrypts ? keyEncipherment : digitalSignature)) == 0;
    }

    private bool RefusesKey()
    {
        if (!_context.Options.EnforceKeyUsage)
        {
            _stats.Inc(TlsStats.WasKeyUsageInvalid);
            return false;
        }
        _broken = true;
        _failure = "TLS_error:|SSL routines:OPENSSL_internal:KEY_USAGE_BIT_INCORRECT:TLS_error_end";
        _stats.Inc(TlsStats.ConnectionError);
        return true;
    }

    /// <summary>Called by OpenSSL with a ClientHello, of a context with several certificates.</summary>
    internal bool SelectCertificate() => _context.SelectCertificate(_ssl, _worker.Loop.UnixMs / 1000).UseOn(_ssl);

    /// <summary>Called by OpenSSL with a line of secrets.</summary>
    internal void LogKeys(ReadOnlySpan<byte> line) => _context.Options.KeyLog!.Write(_handshakeFd, line);

    /// <summary>Called by OpenSSL when the client wants an OCSP response.</summary>
    internal int AnswerStatusRequest()
    {
        _stats.Inc(TlsStats.OcspStaplingRequests);
        var certificate = _context.CertificateOf(OpenSsl.SSL_get_certificate(_ssl));
        switch (certificate?.ActionFor(_context.Options.OcspPolicy, _worker.Loop.UnixMs / 1000) ?? StapleAction.Omit)
        {
            case StapleAction.Staple:
                _stats.Inc(TlsStats.OcspStaplingResponses);
                certificate!.Staple!.UseOn(_ssl);
                return OpenSsl.TlsExtErrOk;
            case StapleAction.Fail:
                _stats.Inc(TlsStats.OcspStaplingFailed);
                return OpenSsl.TlsExtErrAlertFatal;
            default:
                _stats.Inc(TlsStats.OcspStaplingOmitted);
                return OpenSsl.TlsExtErrNoAck;
        }
    }

    private void Complete()
    {
        _ready = true;
        OpenSsl.ERR_clear_error();
        _stats.Inc(TlsStats.Handshake);
        if (OpenSsl.SSL_session_reused(_ssl) == 1)
            _stats.Inc(TlsStats.SessionReused);
        if (OpenSsl.SSL_get0_peer_certificate(_ssl) == 0)
            _stats.Inc(TlsStats.NoCertificate);
        _stats.Inc(TlsStats.OfVersion(OpenSsl.SSL_version(_ssl)));
        _stats.Inc(TlsStats.OfCipher((int)(OpenSsl.SSL_CIPHER_get_id(OpenSsl.SSL_get_current_cipher(_ssl)) & 0xFFFF)));
        int group = OpenSsl.NegotiatedGroup(_ssl);
        if (group != 0)
            _stats.Inc(TlsStats.OfCurve(group));
        int type = 0, hash = 0;
        if (OpenSsl.SSL_get_peer_signature_type_nid(_ssl, &type) == 1)
        {
            OpenSsl.PeerSignatureHash(_ssl, &hash);
            _stats.Inc(TlsStats.OfSignature(type, hash));
        }
    }

    /// <summary>Called by OpenSSL when it has the peer's certificate.</summary>
    internal bool VerifyPeer(nint store)
    {
        var name = _context.Options.VerifyServerName && _serverName.Length > 0 ? _serverName.AsSpan(0, _serverName.Length - 1) : default;
        if (_overrides is { SubjectAltName.Length: > 0 })
            name = _overrides.SubjectAltName;
        if ((_context.Verifier ?? (name.IsEmpty ? null : CertificateVerifier.NameOnly)) is not { } verifier)
        {
            OpenSsl.X509_STORE_CTX_set_error(store, 0);
            return true;
        }
        var failure = verifier.Verify(store, name, out _verifyProblem);
        if (failure == VerifyFailure.None)
        {
            EndSessionWithCertificate(OpenSsl.X509_STORE_CTX_get0_cert(store));
            OpenSsl.X509_STORE_CTX_set_error(store, 0);
            return true;
        }
        _stats.Inc(failure switch
        {
            VerifyFailure.San => TlsStats.FailVerifySan,
            VerifyFailure.Hash => TlsStats.FailVerifyCertHash,
            _ => TlsStats.FailVerifyError,
        });
        // A chain's own error chooses the alert; ours has none of its own and becomes certificate_unknown (RFC 8446 section 6.2).
        if (failure != VerifyFailure.Error || OpenSsl.X509_STORE_CTX_get_error(store) == 0)
            OpenSsl.X509_STORE_CTX_set_error(store, UnlistedVerifyError);
        // Accepted, it is still remembered as failed, also by the session.
        return verifier.AcceptsUntrusted;
    }

    /// <summary>A remembered session serves once (RFC 8446 section 8.1): its successor, of which OpenSSL has its own copy now, takes its place.</summary>
    internal void ForgetUsedSession()
    {
        if (_usedSession == 0)
            return;
        OpenSsl.SSL_CTX_remove_session(_context.Handle, _usedSession);
        OpenSsl.SSL_SESSION_free(_usedSession);
        _usedSession = 0;
    }

    /// <summary>A session carries the verdict on a certificate: it must not outlive it, however often it is renewed.</summary>
    internal void EndSessionWithCertificate(nint x509)
    {
        if (x509 == 0 || _context.Validation is not { VerifiesChain: true, AllowExpired: false })
            return;
        nint session = OpenSsl.SSL_get_session(_ssl);
        long left = Math.Max(0, CertificateReader.NotAfterUnixS(x509) - OpenSsl.SSL_SESSION_get_time(session));
        if (left < OpenSsl.SSL_SESSION_get_timeout(session))
            OpenSsl.SSL_SESSION_set_timeout(session, (nint)left);
    }

    /// <summary>A number OpenSSL has no alert for.</summary>
    private const int UnlistedVerifyError = 0x1000;

    /// <summary>Called by OpenSSL when the server has given a session; true takes its reference over.</summary>
    internal bool KeepSession(nint session)
    {
        if (_host is null || OpenSsl.SSL_SESSION_is_resumable(session) != 1)
            return false;
        _worker.SessionsOf(_context).Add(_host, _overrides, session);
        return true;
    }

    // ---- data ----------------------------------------------------------------------------------------------------------

    internal override IoResult Read(int fd, Span<byte> into)
    {
        if (_broken)
            return IoResult.Failed(Errno.EPROTO);
        if (_unsent.Length > UnreadAnswersMax)
        {
            _failure = "TLS_error:unread answers to key updates:TLS_error_end";
            return IoResult.Failed(Errno.EPROTO);
        }
        Enter();
        int total = 0;
        int receives = 0;
        bool emptied = false;
        bool ended = false;
        var result = IoResult.WouldBlock();
        while (total < into.Length)
        {
            nuint got = 0;
            int returned;
            fixed (byte* to = into)
                returned = OpenSsl.SSL_read_ex(_ssl, to + total, (nuint)(into.Length - total), &got);
            if (returned == 1)
            {
                total += (int)got;
                continue;
            }
            int error = OpenSsl.SSL_get_error(_ssl, returned);
            if (error is OpenSsl.ErrorWantRead or OpenSsl.ErrorWantWrite)
            {
                if (total > 0 || emptied)
                    break;
                if (receives++ == FruitlessReceivesMax)
                {
                    result = IoResult.Ok(0);
                    break;
                }
                result = Receive(fd, Math.Max(into.Length, ReceiveBytesMin), out emptied);
                if (result.Status == IoStatus.Ok)
                    continue;
                // RFC 8446 section 6.1: without close_notify anybody may have ended it, so it is not the end of what the peer had to say.
                if (result.Status == IoStatus.EndOfStream)
                    result = IoResult.Failed(Errno.ECONNRESET);
                break;
            }
            if (error == OpenSsl.ErrorZeroReturn)
            {
                result = IoResult.EndOfStream;
            }
            else
            {
                Fail(fd);
                result = IoResult.Failed(Errno.EPROTO);
            }
            ended = true;
            break;
        }
        bool more = ended || !emptied || !_worker.InputLeft.IsEmpty || total == into.Length && OpenSsl.SSL_pending(_ssl) > 0;
        // Answers to what was read (a key update, an alert); how they fare shows in the next write.
        TrySend(fd, out _);
        Leave();
        if (total > 0)
            return IoResult.Ok(total, drained: !more);
        return result.Status == IoStatus.Ok && emptied ? IoResult.WouldBlock() : result;
    }

    /// <summary>Asked of the socket at least, however small the reader's buffer: a record comes whole more often than not.</summary>
    private const int ReceiveBytesMin = 4096;

    internal override IoResult Write(int fd, BufferChain from)
    {
        if (!TryFlush(fd, out var blocked))
            return blocked;
        if (_broken)
            return IoResult.Failed(Errno.EPROTO);
        Enter();
        int taken = 0;
        bool failed = false;
        while (!from.IsEmpty && _worker.HasRoomForRecord)
        {
            int size = RecordSize();
            var chunk = from.First;
            if (chunk.Length >= size)
                chunk = chunk[..size];
            else if (!from.IsSingle)
                chunk = _worker.Plain.AsSpan(0, from.CopyTo(_worker.Plain.AsSpan(0, size)));
            int written = Encrypt(fd, chunk);
            if (written < 0)
            {
                failed = true;
                break;
            }
            from.Drain(written);
            taken += written;
        }
        return Finish(fd, taken, failed);
    }

    internal override IoResult WriteDirect(int fd, ReadOnlySpan<byte> bytes)
    {
        if (_broken)
            return IoResult.Failed(Errno.EPROTO);
        Enter();
        int taken = 0;
        bool failed = false;
        while (taken < bytes.Length && _worker.HasRoomForRecord)
        {
            var chunk = bytes[taken..];
            int written = Encrypt(fd, chunk[..Math.Min(chunk.Length, RecordSize())]);
            if (written < 0)
            {
                failed = true;
                break;
            }
            taken += written;
        }
        var result = Finish(fd, taken, failed);
        // Not all was taken though the socket is willing: the rest is queued by the caller and follows at the end of the turn.
        return result;
    }

    internal override void ShutdownWrite(int fd)
    {
        if (_ssl != 0 && _ready && !_broken)
        {
            Enter();
            OpenSsl.SSL_shutdown(_ssl);
            OpenSsl.ERR_clear_error();
            TrySend(fd, out _);
            Leave();
        }
        Sockets.Shutdown(fd, ShutdownHow.Write);
    }

    internal override void Release()
    {
        if (_ssl != 0)
        {
            // Both sides' close_notify is taken as seen: otherwise OpenSSL forgets the session, which has done nothing wrong.
            if (_ready)
                OpenSsl.SSL_set_shutdown(_ssl, 3);
            OpenSsl.SSL_free(_ssl);
            _worker.OpenCount--;
            _ssl = 0;
            if (_usedSession != 0)
                OpenSsl.SSL_SESSION_free(_usedSession);
            _usedSession = 0;
        }
        _held.Reset();
        _unsent.Clear();
        _context = null!;
        _stats = null!;
        _host = null;
        _serverName = [];
        _protocols = default;
        _overrides = null;
        _ready = _broken = NamesSession = false;
        _smallLeft = 0;
        _lastWriteMs = 0;
        _verifyProblem = _failure = "";
        _facts = null;
        HandlerNote = null;
        _worker.Return(this);
    }

    private int RecordSize()
    {
        long now = _worker.Loop.NowMs;
        if (now - _lastWriteMs > BurstPauseMs)
            _smallLeft = SmallRecordsBytes;
        _lastWriteMs = now;
        return _smallLeft > 0 ? SmallRecordBytes : RecordPlainBytesMax;
    }

    private int Encrypt(int fd, ReadOnlySpan<byte> chunk)
    {
        nuint written = 0;
        int returned;
        fixed (byte* from = chunk)
            returned = OpenSsl.SSL_write_ex(_ssl, from, (nuint)chunk.Length, &written);
        if (returned == 1)
        {
            _smallLeft -= (int)written;
            return (int)written;
        }
        // As Envoy: a renegotiation that begins in the middle of a write is not waited for.
        bool renegotiates = OpenSsl.SSL_get_error(_ssl, returned) == OpenSsl.ErrorWantRead;
        Fail(fd);
        if (renegotiates)
            _failure = "TLS_error:renegotiation during a write:TLS_error_end";
        return -1;
    }

    private IoResult Finish(int fd, int taken, bool failed)
    {
        bool sent = TrySend(fd, out var result);
        Leave();
        if (failed)
            return IoResult.Failed(Errno.EPROTO);
        if (sent)
            return IoResult.Ok(taken);
        return result.Status == IoStatus.WouldBlock ? IoResult.WouldBlock(taken) : result;
    }

    // ---- between the socket and the worker's buffers --------------------------------------------------------------------

    private void Enter()
    {
        Debug.Assert(_worker.Current is null);
        _worker.Current = this;
        if (_held.IsEmpty)
            return;
        // Slab blocks and pooled arrays: the bytes are shown from a copy, because OpenSSL's calls outlast no pin of ours.
        int length = Math.Min(_held.Length, _worker.Input.Length);
        _held.Readable[..length].CopyTo(_worker.Input);
        _held.Consume(length);
        _worker.OfferInput(length);
    }

    private void Leave()
    {
        var left = _worker.InputLeft;
        if (!left.IsEmpty)
            KeepInput(left);
        _worker.ClearInput();
        _worker.Current = null;
    }

    private void KeepInput(ReadOnlySpan<byte> left)
    {
        if (_held.IsEmpty)
        {
            _held.Write(left);
            return;
        }
        // What is held came after what is left (only when more was held than the window takes).
        byte[] later = _held.Readable.ToArray();
        _held.Reset();
        _held.Write(left);
        _held.Write(later);
    }

    private IoResult Receive(int fd, int bytesMax, out bool emptied)
    {
        emptied = false;
        if (!_held.IsEmpty)
        {
            int length = Math.Min(_held.Length, _worker.Input.Length);
            _held.Readable[..length].CopyTo(_worker.Input);
            _held.Consume(length);
            _worker.OfferInput(length);
            return IoResult.Ok(length);
        }
        var into = _worker.Input[..Math.Min(_worker.Input.Length, bytesMax)];
        while (true)
        {
            var got = Sockets.Receive(fd, into);
            if (got.Ok)
            {
                int bytes = (int)got.Value;
                if (bytes == 0)
                    return IoResult.EndOfStream;
                emptied = bytes < into.Length;
                _worker.OfferInput(bytes);
                return IoResult.Ok(bytes);
            }
            if (got.Error != Errno.EINTR)
                return got.WouldBlock ? IoResult.WouldBlock() : IoResult.Failed(got.Error);
        }
    }

    /// <summary>Sends what earlier calls left; false when some is still left or the socket is broken.</summary>
    private bool TryFlush(int fd, out IoResult result)
    {
        result = IoResult.Ok(0);
        while (!_unsent.IsEmpty)
        {
            result = RawTransport.Instance.Write(fd, _unsent);
            if (result.Status == IoStatus.Ok)
                continue;
            if (result.Status == IoStatus.WouldBlock)
                result = IoResult.WouldBlock();
            return false;
        }
        return true;
    }

    /// <summary>Sends what this call has produced, behind what earlier ones left; keeps what the socket does not take.</summary>
    private bool TrySend(int fd, out IoResult result)
    {
        result = IoResult.Ok(0);
        var output = _worker.Output;
        if (output.IsEmpty)
            return _unsent.IsEmpty || TryFlush(fd, out result);
        int done = 0;
        if (_unsent.IsEmpty)
        {
            var sent = Sockets.Send(fd, output);
            if (sent.Ok)
                done = (int)sent.Value;
            else if (!sent.WouldBlock && sent.Error != Errno.EINTR)
                result = IoResult.Failed(sent.Error);
        }
        if (result.Status == IoStatus.Ok && done < output.Length)
        {
            _unsent.Write(output[done..]);
            result = IoResult.WouldBlock();
        }
        _worker.ClearOutput();
        return result.Status == IoStatus.Ok;
    }

    // ---- failures ------------------------------------------------------------------------------------------------------

    // The words and the counting are Envoy's; the numbers are OpenSSL's.
    private void Fail(int fd)
    {
        _broken = true;
        var text = new StringBuilder();
        bool counted = false;
        bool verify = false;
        bool noCertificate = false;
        nuint error;
        while ((error = OpenSsl.ERR_get_error()) != 0)
        {
            int library = OpenSsl.ErrorLibrary(error);
            int reason = OpenSsl.ErrorReason(error);
            if (library == OpenSsl.LibrarySsl && reason == OpenSsl.ReasonPeerDidNotReturnACertificate)
            {
                _stats.Inc(TlsStats.FailVerifyNoCert);
                counted = noCertificate = true;
            }
            else if (library == OpenSsl.LibrarySsl && reason == OpenSsl.ReasonCertificateVerifyFailed)
            {
                counted = verify = true;
            }
            else if (library == OpenSsl.LibrarySystem)
            {
                counted = true;
            }
            string words = OpenSsl.Text(OpenSsl.ERR_reason_error_string(error)).Replace(' ', '_').ToUpperInvariant();
            text.Append(text.Length == 0 ? "TLS_error:|" : "|").Append(error).Append(':').Append(OpenSsl.Text(OpenSsl.ERR_lib_error_string(error)))
                .Append(":OPENSSL_internal:").Append(words);
        }
        if (text.Length == 0)
            return;
        if (verify && _verifyProblem.Length > 0)
            text.Append(':').Append(_verifyProblem);
        else if (noCertificate)
            text.Append(":peer did not provide required client certificate");
        _failure = text.Append(":TLS_error_end").ToString();
        if (!counted)
            _stats.Inc(TlsStats.ConnectionError);
        if (Log.IsEnabled(LogLevel.Debug) && Sockets.PeerAddress(fd, out var remote).Ok)
            Log.Debug("connection", $"remote address:{Address.From(remote)},{_failure}");
    }
}
