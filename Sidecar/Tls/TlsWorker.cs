using System;
using System.Collections.Generic;
using System.Diagnostics;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using Sidecar.Loop;
using Sidecar.Memory;
using Sidecar.Telemetry;

namespace Sidecar.Tls;

/// <summary>
/// What the TLS connections of one loop share, since only one of them is worked on at a time: the buffers ciphertext passes through, the BIO that
/// OpenSSL sees instead of a socket, and the connection its callbacks are about.
/// <code>
///   socket ─recv→ Input ─BIO→ OpenSSL ─→ plaintext
///   socket ←send─ Output ←BIO─ OpenSSL ←─ plaintext
/// </code>
/// One BIO serves every connection of the loop: it has no state but these buffers, and what a connection leaves in them it takes with it when the
/// call is over. So a connection owns no buffer while it is idle, and many records cost one system call.
/// </summary>
/// <remarks>Worker-owned, one per loop, for good.</remarks>
internal sealed unsafe class TlsWorker
{
    /// <summary>A record: 16 KiB of plaintext, its header, and what ciphers add (RFC 8446 section 5.2, RFC 5246 section 6.2.3).</summary>
    internal const int RecordBytesMax = 5 + 16384 + 2048;

#if DEBUG
    private const int InputBytes = 700;
    private const int OutputBytes = RecordBytesMax + 2000;
#else
    private const int InputBytes = 128 * 1024;
    private const int OutputBytes = 128 * 1024;
#endif

    /// <summary>Peers whose certificates are kept parsed: connections of one peer share them.</summary>
    private const int PeersMax = 512;

    private static readonly LoopLocal<TlsWorker> s_workers = new(static loop => new TlsWorker(loop));
    private static readonly nint s_method = MakeMethod();

    private readonly Io* _io;
    private readonly Pool<TlsTransport> _pool;
    private readonly Dictionary<UInt128, CertificateFacts> _peers = [];
    private readonly Dictionary<nint, string> _ciphers = [];
    private readonly ConditionalWeakTable<TlsContext, SessionCache> _sessions = [];
    private readonly byte[] _input = GC.AllocateUninitializedArray<byte>(InputBytes, pinned: true);
    private readonly byte[] _output = GC.AllocateUninitializedArray<byte>(OutputBytes, pinned: true);

    /// <summary>The windows as the BIO's callbacks see them, reached from its data pointer.</summary>
    private struct Io
    {
        public byte* Input;
        public int InputLength;
        public byte* Output;
        public int OutputLength;
        public nint Owner;
    }

    private TlsWorker(EventLoop loop)
    {
        Loop = loop;
        _io = (Io*)NativeMemory.AllocZeroed((nuint)sizeof(Io));
        _io->Output = (byte*)Unsafe.AsPointer(ref MemoryMarshal.GetArrayDataReference(_output));
        _io->Owner = GCHandle.ToIntPtr(GCHandle.Alloc(this));
        Bio = OpenSsl.BIO_new(s_method);
        OpenSsl.BIO_set_data(Bio, (nint)_io);
        OpenSsl.BIO_set_init(Bio, 1);
        _pool = new Pool<TlsTransport>(() => new TlsTransport(this));
    }

    internal EventLoop Loop { get; }
    internal nint Bio { get; }

    /// <summary>The connection OpenSSL is working on; null between calls.</summary>
    internal TlsTransport? Current { get; set; }

    /// <summary>SSL objects in use on this loop, for leak tests.</summary>
    internal int OpenCount { get; set; }

    /// <summary>Where ciphertext is received to.</summary>
    internal Span<byte> Input => _input;

    /// <summary>Where small pieces are put together to one record.</summary>
    internal byte[] Plain { get; } = GC.AllocateUninitializedArray<byte>(16384, pinned: true);

    /// <summary>Ciphertext not read by OpenSSL yet.</summary>
    internal ReadOnlySpan<byte> InputLeft => new(_io->Input, _io->InputLength);

    /// <summary>Ciphertext to be sent.</summary>
    internal ReadOnlySpan<byte> Output => new(_output, 0, _io->OutputLength);

    internal bool HasRoomForRecord => OutputBytes - _io->OutputLength >= RecordBytesMax;

    internal static TlsWorker Of(EventLoop loop) => s_workers[loop];

    /// <summary>The worker of a connection, from a callback.</summary>
    internal static TlsWorker Of(nint ssl) =>
        Unsafe.As<TlsWorker>(GCHandle.FromIntPtr(((Io*)OpenSsl.BIO_get_data(OpenSsl.SSL_get_rbio(ssl)))->Owner).Target!);

    internal TlsTransport Rent() => _pool.Rent();

    internal void Return(TlsTransport transport) => _pool.Return(transport);

    /// <summary>Shows OpenSSL the first <paramref name="length"/> bytes of <see cref="Input"/>.</summary>
    internal void OfferInput(int length)
    {
        _io->Input = (byte*)Unsafe.AsPointer(ref MemoryMarshal.GetArrayDataReference(_input));
        _io->InputLength = length;
    }

    /// <summary>Shows OpenSSL bytes that stay where they are during the call.</summary>
    internal void OfferInput(byte* bytes, int length)
    {
        _io->Input = bytes;
        _io->InputLength = length;
    }

    internal void ClearInput() => _io->InputLength = 0;

    internal void ClearOutput() => _io->OutputLength = 0;

    /// <summary>The sessions of one context on this loop.</summary>
    internal SessionCache SessionsOf(TlsContext context) => _sessions.GetValue(context, static c => new SessionCache(c.Options.SessionKeysMax));

    /// <summary>What is written in a certificate; parsed once for all connections that show it.</summary>
    internal CertificateFacts Info(nint x509)
    {
        byte* digest = stackalloc byte[64];
        uint length = 0;
        OpenSsl.X509_digest(x509, OpenSsl.EVP_sha256(), digest, &length);
        var key = *(UInt128*)digest;
        if (_peers.TryGetValue(key, out var info))
            return info;
        if (_peers.Count >= PeersMax)
            _peers.Clear();
        info = CertificateReader.Read(x509);
        _peers.Add(key, info);
        return info;
    }

    /// <summary>The name of a cipher suite, one of OpenSSL's constants.</summary>
    internal string CipherName(nint cipher)
    {
        if (!_ciphers.TryGetValue(cipher, out string? name))
            _ciphers.Add(cipher, name = OpenSsl.Text(OpenSsl.SSL_CIPHER_get_name(cipher)));
        return name;
    }

    // ---- the BIO -----------------------------------------------------------------------------------------------------

    private static nint MakeMethod()
    {
        nint method;
        fixed (byte* name = "worker\0"u8)
            method = OpenSsl.BIO_meth_new(OpenSsl.BIO_get_new_index() | OpenSsl.BioTypeSourceSink, name);
        OpenSsl.BIO_meth_set_read(method, (nint)(delegate* unmanaged<nint, byte*, int, int>)&OnRead);
        OpenSsl.BIO_meth_set_write(method, (nint)(delegate* unmanaged<nint, byte*, int, int>)&OnWrite);
        OpenSsl.BIO_meth_set_ctrl(method, (nint)(delegate* unmanaged<nint, int, nint, void*, nint>)&OnControl);
        return method;
    }

    [UnmanagedCallersOnly]
    private static int OnRead(nint bio, byte* into, int count)
    {
        var io = (Io*)OpenSsl.BIO_get_data(bio);
        int length = Math.Min(count, io->InputLength);
        OpenSsl.BIO_clear_flags(bio, OpenSsl.BioFlagsRead | OpenSsl.BioFlagsWrite | OpenSsl.BioFlagsRetry);
        if (length <= 0)
        {
            OpenSsl.BIO_set_flags(bio, OpenSsl.BioFlagsRead | OpenSsl.BioFlagsRetry);
            return -1;
        }
        Buffer.MemoryCopy(io->Input, into, count, length);
        io->Input += length;
        io->InputLength -= length;
        return length;
    }

    [UnmanagedCallersOnly]
    private static int OnWrite(nint bio, byte* from, int count)
    {
        var io = (Io*)OpenSsl.BIO_get_data(bio);
        int length = Math.Min(count, OutputBytes - io->OutputLength);
        OpenSsl.BIO_clear_flags(bio, OpenSsl.BioFlagsRead | OpenSsl.BioFlagsWrite | OpenSsl.BioFlagsRetry);
        if (length <= 0)
        {
            OpenSsl.BIO_set_flags(bio, OpenSsl.BioFlagsWrite | OpenSsl.BioFlagsRetry);
            return -1;
        }
        Buffer.MemoryCopy(from, io->Output + io->OutputLength, length, length);
        io->OutputLength += length;
        return length;
    }

    [UnmanagedCallersOnly]
    private static nint OnControl(nint bio, int command, nint larg, void* parg) => command == OpenSsl.BioCtrlFlush ? 1 : 0;
}

/// <summary>
/// Sessions a client may resume, by the host that gave them and what was asked of it: a certificate that was verified for one name says nothing about
/// another. TLS 1.3's are used once (RFC 8446 appendix C.4).
/// </summary>
/// <remarks>Worker-owned; lives as long as its context.</remarks>
internal sealed class SessionCache(int perHost)
{
    /// <summary>Hosts remembered; each session is a few KiB.</summary>
    private const int HostsMax = 256;

    private readonly Dictionary<(object, TlsOverrides?), List<nint>> _hosts = [];

    ~SessionCache() => Clear();

    /// <summary>Takes over a reference.</summary>
    internal void Add(object host, TlsOverrides? overrides, nint session)
    {
        if (!_hosts.TryGetValue((host, overrides), out var sessions))
        {
            if (_hosts.Count >= HostsMax)
                Clear();
            _hosts.Add((host, overrides), sessions = new List<nint>(perHost));
        }
        if (sessions.Count >= perHost)
        {
            OpenSsl.SSL_SESSION_free(sessions[0]);
            sessions.RemoveAt(0);
        }
        sessions.Add(session);
        Debug.Assert(sessions.Count <= perHost);
    }

    /// <summary>The newest session of a host, with a reference for the caller; 0 when there is none.</summary>
    internal nint Take(object host, TlsOverrides? overrides)
    {
        if (!_hosts.TryGetValue((host, overrides), out var sessions) || sessions.Count == 0)
            return 0;
        nint session = sessions[^1];
        if (OpenSsl.SSL_SESSION_get_protocol_version(session) == OpenSsl.Tls13)
            sessions.RemoveAt(sessions.Count - 1);
        else
            OpenSsl.SSL_SESSION_up_ref(session);
        return session;
    }

    private void Clear()
    {
        foreach (var sessions in _hosts.Values)
        {
            foreach (nint session in sessions)
                OpenSsl.SSL_SESSION_free(session);
        }
        _hosts.Clear();
    }
}
