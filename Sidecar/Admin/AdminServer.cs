using System;
using System.Collections.Generic;
using Encoding = System.Text.Encoding;
using Sidecar.Http;
using Sidecar.Http.H1;
using Sidecar.Linux;
using Sidecar.Loop;
using Sidecar.Memory;
using Sidecar.Net;
using Sidecar.Server;
using Sidecar.Telemetry;

namespace Sidecar.Admin;

/// <summary>
/// The admin pages: an HTTP/1.1 server on the control loop, on the codec of the data plane. Listens on loopback unless told otherwise.
/// </summary>
/// <remarks>
/// Control loop only. A long page (<see cref="AdminPage"/>) is sent in pieces, each made when its client has taken the one before: a client costs a piece of
/// memory however long its page is, and a turn of the loop makes one piece however many clients there are.
/// </remarks>
internal sealed class AdminServer : IAcceptHandler, IWorkOwner
{
    /// <summary>More connections at once than any operator has; a flood here must not take descriptors from traffic.</summary>
    private const int ConnectionsMax = 256;

    /// <summary>So many more are kept free for who comes next: of those that wait for something from their client, the oldest gives way.</summary>
    private const int SparesMin = 8;

    private readonly EventLoop _loop;
    private readonly ConnectionLimit _limit = new(ConnectionsMax);

    // Oldest first.
    private readonly LinkedList<AdminConnection> _connections = new();

    // Those whose client is ready for the next piece of its page, first come first served.
    private readonly Queue<AdminConnection> _hungry = new();
    private readonly PageWriter _piece = new();
    private readonly LoopWork _nextPiece;
    private ListenSocket? _socket;

    internal AdminServer(ProxyServer server, Address address)
    {
        Server = server;
        _loop = server.Loop;
        _nextPiece = new LoopWork(this);
        Address = address;
    }

    internal ProxyServer Server { get; }

    /// <summary>Where it listens; with the port the kernel chose once <see cref="Start"/> has bound port 0.</summary>
    internal Address Address { get; private set; }

    /// <summary>Binds and listens.</summary>
    /// <returns>Null, or why not, in one line.</returns>
    internal string? Start()
    {
        var options = new ListenOptions { Address = Address, ReusePort = false };
        var bound = ListenSocket.Bind(options, out string step);
        if (!bound.Ok)
        {
            return bound.Error == Errno.EADDRINUSE
                ? $"admin: cannot bind '{Address}': the address is already in use; stop the other process or choose another with --admin-address"
                : $"admin: cannot bind '{Address}': {step}: {bound.Error.Describe()}; choose another with --admin-address";
        }
        _socket = new ListenSocket(_loop, bound.Fd, options, this, _limit);
        Address = _socket.Address;
        return null;
    }

    public void OnAccepted(ListenSocket socket, int fd, in Address peer)
    {
        var connection = new AdminConnection(this, _loop);
        if (!connection.Open(fd, peer, _limit))
        {
            _limit.Give();
            return;
        }
        connection.Place = _connections.AddLast(connection);
        if (_connections.Count > ConnectionsMax - SparesMin)
            EvictOldest();
    }

    // Whoever opens connections and says nothing must not lock the operator out.
    private void EvictOldest()
    {
        foreach (var connection in _connections)
        {
            if (!connection.TryEvict())
                continue;
            return;
        }
    }

    /// <summary>A connection is gone.</summary>
    internal void Forget(AdminConnection connection)
    {
        if (connection.Place is { } place)
            _connections.Remove(place);
        connection.Place = null;
    }

    /// <summary>A connection wants to send the next piece of its page: it is called back in its turn.</summary>
    internal void AwaitPiece(AdminConnection connection)
    {
        _hungry.Enqueue(connection);
        _loop.RunNextTurn(_nextPiece);
    }

    // One piece in a turn of the loop, also when it is 256 clients that wait: traffic's configuration comes by the same loop.
    public void OnWork(LoopWork work)
    {
        AdminConnection? next;
        while (_hungry.TryDequeue(out next) && !next.WantsPiece)
        {
        }
        if (_hungry.Count > 0)
            _loop.RunNextTurn(_nextPiece);
        _piece.Clear();
        next?.SendPiece(_piece);
    }

    public void OnAcceptOverflow(ListenSocket socket) => Log.Warning("admin", $"more than {ConnectionsMax} connections, closing the newest");

    public void OnAcceptFailed(ListenSocket socket, Errno error) => Log.Warning("admin", $"accept failed: {error.Describe()}");
}

/// <summary>One request to the admin pages.</summary>
/// <param name="Method">GET, or POST for what changes something.</param>
/// <param name="Path">Without the query.</param>
/// <param name="Query">Decoded parameters; one without '=' has an empty value.</param>
internal sealed record AdminRequest(string Method, string Path, IReadOnlyDictionary<string, string> Query)
{
    internal string? Param(string name) => Query.GetValueOrDefault(name);
    internal bool Has(string name) => Query.ContainsKey(name);
}

/// <summary>What a page answers; given to the callback of <see cref="AdminEndpoints"/>, at once or later, on the control loop.</summary>
internal sealed record AdminResponse(int Status, string ContentType, byte[] Body)
{
    internal static AdminResponse Text(string text, int status = 200) => new(status, "text/plain; charset=UTF-8", Encoding.UTF8.GetBytes(text));

    internal static AdminResponse Json(byte[] json) => new(200, "application/json", json);

    /// <summary>A page that may be long: it is written while it is sent.</summary>
    internal static AdminResponse Paged(string contentType, AdminPage page) => new(200, contentType, []) { Page = page };

    /// <summary>What is written in place of a body; else null.</summary>
    internal AdminPage? Page { get; private init; }
}

/// <summary>One connection to the admin pages: requests one after the other.</summary>
/// <remarks>
/// A client has its time for each step: HeadMs for a request from its first byte on, and for the first one from the connection's beginning; StallMs
/// without taking a byte of the answer; IdleMs between requests. While a page, or a piece of one, is being made no clock runs.
/// </remarks>
internal sealed class AdminConnection : ConnectionHandler, ITimerOwner
{
    internal const int HeadMs = 15_000;
    internal const int StallMs = 30_000;
    internal const int IdleMs = 60_000;

    private readonly AdminServer _admin;
    private readonly EventLoop _loop;
    private readonly Events _events;
    private readonly Request _request;
    private readonly BufferChain _output;
    private Connection? _connection;
    private Http1ServerCodec? _codec;
    private readonly LoopTimer _patience;
    private bool _paused;

    // A request is being answered; its answer is on the way; nothing has come since the last answer.
    private bool _answering;
    private bool _sending;
    private bool _idle;
    private long _sentBefore;

    // What is left of the answer, and what it began with; null when it is not a page, or there is nothing left.
    private AdminPage? _page;
    private AdminResponse? _pageHead;

    internal AdminConnection(AdminServer admin, EventLoop loop)
    {
        _admin = admin;
        _loop = loop;
        _events = new Events(this);
        _request = new Request(this);
        _output = new BufferChain(loop.Slab);
        _patience = new LoopTimer(this);
    }

    /// <summary>Among the server's connections.</summary>
    internal LinkedListNode<AdminConnection>? Place { get; set; }

    // ---- patience -----------------------------------------------------------------------------------------------

    public void OnTimer(LoopTimer timer)
    {
        if (_connection is not { } connection)
            return;
        if (_sending && connection.BytesSent != _sentBefore)
        {
            _sentBefore = connection.BytesSent;
            _loop.Schedule(_patience, StallMs);
            return;
        }
        connection.Close(_idle ? Failure.ConnectionIdleTimeout : _sending ? Failure.StreamIdleTimeout : Failure.RequestHeaderTimeout);
    }

    /// <summary>Makes room for another client; false while this one is being answered.</summary>
    internal bool TryEvict()
    {
        if (_answering || _connection is null)
            return false;
        // At once: it is told of its end only when this turn is over.
        _admin.Forget(this);
        _connection.Close(Failure.ConnectionIdleTimeout);
        return true;
    }

    internal override void OnFlushed(Connection connection)
    {
        if (!_sending)
            return;
        _sending = false;
        if (_page is not null)
        {
            _loop.Cancel(_patience);
            _admin.AwaitPiece(this);
            return;
        }
        _answering = false;
        _idle = true;
        _loop.Schedule(_patience, IdleMs);
    }

    internal bool Open(int fd, in Address peer, ConnectionLimit limit)
    {
        _connection = Connection.Open(_loop, fd, peer, RawTransport.Instance, this);
        if (_connection is null)
            return false;
        _connection.Limit = limit;
        _codec = new Http1ServerCodec(_output, _events, Http1Options.ServerDefaults with { AcceptHttp10 = true });
        _loop.Schedule(_patience, HeadMs);
        return true;
    }

    internal override int OnData(Connection connection, ReadOnlySpan<byte> data)
    {
        var codec = _codec!;
        if (_idle)
        {
            _idle = false;
            _loop.Schedule(_patience, HeadMs);
        }
        if (!codec.WantsInput)
        {
            Pause();
            return 0;
        }
        var result = codec.Feed(data);
        Flush(connection);
        if (result.Error != Failure.None || codec.IsFinished)
        {
            connection.CloseAfterFlush(1000);
            return data.Length;
        }
        if (result.Consumed < data.Length)
        {
            if (!codec.WantsInput)
                Pause();
            else if (codec.InputDeferred)
                connection.ProcessBuffered();
        }
        return result.Consumed;
    }

    internal override void OnEndOfStream(Connection connection)
    {
        _codec!.OnEndOfInput();
        Flush(connection);
        connection.CloseAfterFlush(1000);
    }

    internal override void OnClosed(Connection connection, Failure reason)
    {
        _connection = null;
        _page = null;
        _loop.Cancel(_patience);
        _admin.Forget(this);
        _codec!.OnConnectionLost(Failure.DownstreamDisconnect);
        _output.Clear();
    }

    private void Flush(Connection connection)
    {
        _output.MoveAllTo(connection.Output);
        connection.ScheduleFlush();
    }

    private void Pause()
    {
        if (_paused)
            return;
        _paused = true;
        _connection!.PauseReading();
    }

    private void Dispatch(ServerStream stream, RequestHead head)
    {
        var request = Parse(head);
        bool isHead = head.Method == Method.Head;
        long id = stream.Id;
        _answering = true;
        _sending = false;
        _loop.Cancel(_patience);
        AdminEndpoints.Answer(_admin.Server, request, response =>
        {
            if (_connection is not null && _request.Stream == stream && stream.Id == id)
                Send(stream, response, isHead);
        });
        // Nothing is read until the answer is out. So a client that has ended its own direction gets all of it; one that is gone is noticed by what is sent to it.
        if (_answering && !_sending && _connection is not null)
            Pause();
    }

    private void Send(ServerStream stream, AdminResponse response, bool isHead)
    {
        if (response.Page is null)
        {
            SendHead(stream, response, response.Body.Length, isHead || response.Body.Length == 0);
            if (!isHead && response.Body.Length > 0)
                stream.SendBody(response.Body, true);
            AfterSend();
        }
        else if (isHead)
        {
            // How long the page would be only its last piece tells; a HEAD may leave that out (RFC 9110 section 8.6).
            SendHead(stream, response, length: null, endStream: true);
            AfterSend();
        }
        else
        {
            _page = response.Page;
            _pageHead = response;
            _admin.AwaitPiece(this);
        }
    }

    // Without a length the codec sends chunks, or to HTTP/1.0 the end of the connection.
    private static void SendHead(ServerStream stream, AdminResponse response, long? length, bool endStream)
    {
        var framing = length is { } known ? new BodyFraming(BodyKind.Length, known) : new BodyFraming(BodyKind.Streamed);
        var head = new ResponseHead { Status = response.Status, Framing = framing };
        head.Add(HeaderId.ContentType, Encoding.ASCII.GetBytes(response.ContentType));
        head.Add(HeaderId.CacheControl, "no-cache, max-age=0"u8);
        head.Add("x-content-type-options"u8, "nosniff"u8);
        head.Add(HeaderId.Server, "envoy"u8);
        if (length is { } bytes)
            head.SetDecimal(HeaderId.ContentLength, bytes);
        stream.SendHead(head, endStream);
    }

    /// <summary>There is still a client, and more of its page.</summary>
    internal bool WantsPiece => _page is not null;

    /// <summary>Sends the next piece; for the server, when it is this connection's turn. A page that one piece holds has its length told.</summary>
    internal void SendPiece(PageWriter piece)
    {
        if (_page is not { } page || _request.Stream is not { } stream)
            return;
        bool more = true;
        try
        {
            while (more && !piece.IsFull)
                more = page.WriteNext(piece);
        }
        catch (Exception exception)
        {
            // What is missing must not look like the end of the page: no last chunk, only the connection's end.
            _loop.ReportFault(exception);
            _connection!.Close(Failure.InternalError, reset: true);
            return;
        }
        if (!more)
            _page = null;
        if (_pageHead is { } head)
        {
            bool empty = !more && piece.Length == 0;
            SendHead(stream, head, more ? null : piece.Length, endStream: empty);
            _pageHead = null;
            if (!empty)
                stream.SendBody(piece.Written, !more);
        }
        else if (more && piece.Length == 0)
        {
            _admin.AwaitPiece(this);
            return;
        }
        else
        {
            stream.SendBody(piece.Written, !more);
        }
        AfterSend();
    }

    private void AfterSend()
    {
        if (_connection is not { } connection)
            return;
        _sending = true;
        _sentBefore = connection.BytesSent;
        _loop.Schedule(_patience, StallMs);
        Flush(connection);
        if (_codec!.IsFinished)
            connection.CloseAfterFlush(1000);
    }

    private static AdminRequest Parse(RequestHead head)
    {
        string target = Ascii.String(head.Path);
        int question = target.IndexOf('?');
        var query = new Dictionary<string, string>();
        if (question >= 0)
        {
            foreach (string pair in target[(question + 1)..].Split('&', StringSplitOptions.RemoveEmptyEntries))
            {
                int equals = pair.IndexOf('=');
                string name = equals < 0 ? pair : pair[..equals];
                query[Decode(name)] = equals < 0 ? "" : Decode(pair[(equals + 1)..].Replace('+', ' '));
            }
        }
        return new AdminRequest(Ascii.String(head.MethodBytes), question < 0 ? target : target[..question], query);
    }

    // Percent-decoding (RFC 3986 section 2.1); what is no escape stays as it is.
    private static string Decode(string text)
    {
        if (!text.Contains('%'))
            return text;
        var bytes = new List<byte>(text.Length);
        for (int i = 0; i < text.Length; i++)
        {
            int high = text[i] == '%' && i + 2 < text.Length ? Ascii.HexValue((byte)text[i + 1]) : -1;
            int low = high >= 0 ? Ascii.HexValue((byte)text[i + 2]) : -1;
            bytes.Add(low >= 0 ? (byte)(high << 4 | low) : (byte)text[i]);
            if (low >= 0)
                i += 2;
        }
        return Encoding.UTF8.GetString(bytes.ToArray());
    }

    private sealed class Request(AdminConnection owner) : RequestSink
    {
        internal ServerStream? Stream;

        internal override void OnHead(RequestHead head, bool endStream)
        {
            if (endStream)
                owner.Dispatch(Stream!, head);
        }

        internal override void OnBody(ReadOnlySpan<byte> data, bool endStream)
        {
            if (endStream)
                owner.Dispatch(Stream!, Stream!.Request);
        }

        internal override void OnTrailers(HeaderMap trailers) => owner.Dispatch(Stream!, Stream!.Request);
        internal override void OnReset(Failure reason) => Stream = null;
        internal override void OnSendBlocked() { }
        internal override void OnSendReady() { }
    }

    private sealed class Events(AdminConnection owner) : ServerCodecEvents
    {
        internal override void OnOutput()
        {
            if (owner._connection is { } connection)
                owner.Flush(connection);
        }

        internal override void OnWantsInput()
        {
            if (!owner._paused)
                return;
            owner._paused = false;
            owner._connection?.ResumeReading();
        }

        internal override void OnNewStream(ServerStream stream)
        {
            owner._request.Stream = stream;
            stream.Sink = owner._request;
        }

        internal override void OnStreamClosed(CodecStream stream) => owner._request.Stream = null;
    }
}
