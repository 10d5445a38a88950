using System;
using System.Buffers.Binary;
using System.Collections.Generic;
using System.Diagnostics;
using Sidecar.Linux;
using Sidecar.Loop;
using Sidecar.Telemetry;

namespace Sidecar.Net;

/// <summary>Which addresses are wanted: Envoy's dns_lookup_family.</summary>
internal enum DnsFamily : byte
{
    /// <summary>IPv6 if there is any, else IPv4.</summary>
    Auto,
    V4Only,
    V6Only,

    /// <summary>IPv4 if there is any, else IPv6.</summary>
    V4Preferred,
    All,
}

/// <summary>How a resolution ended.</summary>
/// <param name="Status"><see cref="DnsStatus.Ok"/> with addresses, or why there are none.</param>
/// <param name="Addresses">Sorted, without port, each once; empty unless Ok.</param>
/// <param name="TtlSeconds">How long they hold, or -1 when nobody said (a literal, the hosts file, a failure).</param>
internal sealed record DnsAnswer(DnsStatus Status, IReadOnlyList<Address> Addresses, long TtlSeconds);

/// <summary>
/// A stub resolver (RFC 1034 section 5.3.1) on a loop: hosts file, search list, A and AAAA at once, retries over all
/// servers, TCP when a datagram is too small. Not the C library's, which would block a thread per name.
/// </summary>
/// <remarks>Control loop. Caches nothing: a STRICT_DNS cluster asks when its TTL says so.</remarks>
internal sealed class DnsResolver(EventLoop loop, Func<DnsConfig> config)
{
    /// <summary>Resolves on <paramref name="loop"/> with this machine's files, read anew for each name.</summary>
    internal DnsResolver(EventLoop loop)
        : this(loop, static () => DnsConfig.Load())
    {
    }

    /// <summary>Begins to resolve <paramref name="name"/>; <paramref name="done"/> is called once, never before this returns, unless cancelled.</summary>
    internal DnsQuery Resolve(string name, DnsFamily family, Action<DnsAnswer> done)
    {
        Debug.Assert(loop.IsCurrent);
        DnsQuery query = new(loop, config(), name, family, done);
        loop.Post(query.Start);
        return query;
    }
}

/// <summary>One resolution under way: the names to try in turn, and for each a question per address family.</summary>
/// <remarks>Control loop.</remarks>
internal sealed class DnsQuery
{
    private readonly EventLoop _loop;
    private readonly DnsConfig _config;
    private readonly DnsFamily _family;
    private readonly Action<DnsAnswer> _done;
    private readonly string _name;
    private readonly List<string> _candidates = [];
    private readonly List<Address> _v4 = [];
    private readonly List<Address> _v6 = [];
    private DnsQuestion? _question4;
    private DnsQuestion? _question6;
    private DnsStatus _worst = DnsStatus.NoName;
    private uint _ttl = uint.MaxValue;
    private int _candidate;
    private bool _over;

    internal DnsQuery(EventLoop loop, DnsConfig config, string name, DnsFamily family, Action<DnsAnswer> done)
    {
        _loop = loop;
        _config = config;
        _name = name;
        _family = family;
        _done = done;
    }

    /// <summary>Stops asking; the callback will not come.</summary>
    internal void Cancel()
    {
        _over = true;
        _question4?.Stop();
        _question6?.Stop();
    }

    internal void Start()
    {
        if (_over)
            return;
        string bare = _name.EndsWith('.') ? _name[..^1] : _name;
        if (Address.TryParseIp(bare, out Address literal))
            AnswerFrom([literal]);
        else if (_config.Hosts(bare) is { } fromFile && AnyWanted(fromFile))
            AnswerFrom(fromFile);
        else if (IsLocalhost(bare))
            AnswerFrom([Address.Loopback(0), Address.IPv6(0, 1, 0)]); // RFC 6761 section 6.3: never asked outside
        else
            AskAll(bare);
    }

    private void AskAll(string bare)
    {
        bool absolute = _name.EndsWith('.');
        bool asItIsFirst = absolute || bare.AsSpan().Count('.') >= _config.Dots;
        if (asItIsFirst)
            _candidates.Add(bare);
        for (int i = 0; i < _config.Search.Count && !absolute; i++)
            _candidates.Add($"{bare}.{_config.Search[i]}");
        if (!asItIsFirst)
            _candidates.Add(bare);
        AskNext();
    }

    private void AskNext()
    {
        if (_candidate == _candidates.Count)
        {
            Finish(new DnsAnswer(_worst, [], -1));
            return;
        }
        string name = _candidates[_candidate++];
        _question4 = _family == DnsFamily.V6Only ? null : new DnsQuestion(_loop, _config, name, DnsType.A, _v4, OnAnswered);
        _question6 = _family == DnsFamily.V4Only ? null : new DnsQuestion(_loop, _config, name, DnsType.Aaaa, _v6, OnAnswered);
        _question4?.Ask();
        _question6?.Ask();
        // A question that could not be asked at all has ended without a call.
        OnAnswered();
    }

    private void OnAnswered()
    {
        if (_over || _question4 is { IsOver: false } || _question6 is { IsOver: false })
            return;
        Note(_question4);
        Note(_question6);
        _question4 = _question6 = null;
        if (_v4.Count + _v6.Count == 0)
        {
            AskNext();
            return;
        }
        Answer(_ttl);
    }

    private void Note(DnsQuestion? question)
    {
        if (question is null)
            return;
        if (question.Status == DnsStatus.Ok)
            _ttl = Math.Min(_ttl, question.TtlSeconds);
        else if (Weight(question.Status) > Weight(_worst))
            _worst = question.Status;
    }

    private bool AnyWanted(IReadOnlyList<Address> addresses)
    {
        foreach (Address address in addresses)
        {
            if (IsWanted(address))
                return true;
        }
        return false;
    }

    private bool IsWanted(in Address address) =>
        _family != (address.Kind == AddressKind.IPv4 ? DnsFamily.V6Only : DnsFamily.V4Only);

    private void AnswerFrom(IReadOnlyList<Address> addresses)
    {
        foreach (Address address in addresses)
        {
            if (IsWanted(address))
                (address.Kind == AddressKind.IPv4 ? _v4 : _v6).Add(address.WithPort(0));
        }
        if (_v4.Count + _v6.Count > 0)
            Answer(uint.MaxValue);
        else
            Finish(new DnsAnswer(DnsStatus.NoData, [], -1));
    }

    private void Answer(uint ttl)
    {
        List<Address> chosen = [];
        bool v6 = _family is DnsFamily.V6Only or DnsFamily.All || _family == DnsFamily.Auto || _family == DnsFamily.V4Preferred && _v4.Count == 0;
        bool v4 = _family is DnsFamily.V4Only or DnsFamily.All || _family == DnsFamily.V4Preferred || _family == DnsFamily.Auto && _v6.Count == 0;
        if (v4)
            chosen.AddRange(_v4);
        if (v6)
            chosen.AddRange(_v6);
        chosen.Sort(ByNumber);
        int kept = 0;
        for (int i = 0; i < chosen.Count; i++)
        {
            if (kept == 0 || chosen[i] != chosen[kept - 1])
                chosen[kept++] = chosen[i];
        }
        chosen.RemoveRange(kept, chosen.Count - kept);
        Finish(new DnsAnswer(DnsStatus.Ok, chosen, ttl == uint.MaxValue ? -1 : ttl));
    }

    private void Finish(DnsAnswer answer)
    {
        if (_over)
            return;
        _over = true;
        _done(answer);
    }

    // What to report of several failures: that a server failed says more than that some name of the search list does
    // not exist, and a name without addresses exists all the same.
    private static int Weight(DnsStatus status) => status == DnsStatus.NoName ? 0 : (int)status;

    private static bool IsLocalhost(string name) =>
        name.Equals("localhost", StringComparison.OrdinalIgnoreCase) || name.EndsWith(".localhost", StringComparison.OrdinalIgnoreCase);

    // A stable order, so that an unchanged answer is an unchanged host set.
    private static int ByNumber(Address left, Address right)
    {
        int order = left.Kind.CompareTo(right.Kind);
        if (order == 0)
            order = left.High.CompareTo(right.High);
        return order == 0 ? left.Low.CompareTo(right.Low) : order;
    }
}

/// <summary>One name and type, asked of one server after the other until somebody knows.</summary>
/// <remarks>Control loop. Each try has a socket, and so a source port, of its own, and a new random id.</remarks>
internal sealed class DnsQuestion(
    EventLoop loop, DnsConfig config, string name, DnsType type, List<Address> addresses, Action answered) : LoopHandler, ITimerOwner
{
    private readonly byte[] _query = new byte[DnsMessage.QueryBytesMax];
    private LoopTimer? _timer;
    private Connection? _tcp;
    private int _queryBytes;
    private int _try;
    private int _fd = -1;
    private bool _asking;
    private DnsStatus _last = DnsStatus.ServerFailure;

    internal bool IsOver { get; private set; }
    internal DnsStatus Status { get; private set; }
    internal uint TtlSeconds { get; private set; }

    private Address Server => config.Servers[_try % config.Servers.Count];

    /// <summary>Asks the first server. Ends without a call when no server can be asked at all.</summary>
    internal void Ask()
    {
        _asking = true;
        _timer = new LoopTimer(this);
        if (DnsMessage.WriteQuery(_query, 0, name, type) == 0)
            End(DnsStatus.NoName, 0); // not a name that DNS could hold
        else
            AskServer();
        _asking = false;
    }

    internal void Stop()
    {
        IsOver = true;
        StopTry();
    }

    private void AskServer()
    {
        while (_try < config.Servers.Count * config.Attempts)
        {
            _queryBytes = DnsMessage.WriteQuery(_query, (ushort)Entropy.Next(), name, type);
            if (TrySend())
            {
                loop.Schedule(_timer!, config.TimeoutMs);
                return;
            }
            StopTry();
            _try++;
        }
        End(_last, 0);
    }

    private void AskNextServer(DnsStatus why)
    {
        StopTry();
        _last = why;
        _try++;
        AskServer();
    }

    private bool TrySend()
    {
        SysResult made = Sockets.OpenDatagram(Server.Family);
        if (!made.Ok)
            return false;
        _fd = made.Fd;
        // Connected, so that the kernel drops datagrams of anybody else and reports a closed port.
        return Sockets.Connect(_fd, Server.ToSocketAddress()).Ok
            && loop.Register(_fd, this, EpollEvents.In | EpollEvents.EdgeTriggered).Ok
            && Sockets.Send(_fd, _query.AsSpan(0, _queryBytes)).Ok;
    }

    public override void OnReady(EpollEvents events)
    {
        while (_fd >= 0)
        {
            SysResult got = Sockets.Receive(_fd, loop.Scratch);
            if (got.WouldBlock)
                return;
            if (!got.Ok)
            {
                AskNextServer(DnsStatus.ServerFailure);
                return;
            }
            Take(loop.Scratch.AsSpan(0, (int)got.Value), isTcp: false);
        }
    }

    private void Take(ReadOnlySpan<byte> response, bool isTcp)
    {
        DnsStatus status = DnsMessage.Read(response, _query.AsSpan(0, _queryBytes), addresses, out uint ttl);
        switch (status)
        {
            case DnsStatus.NotOurs when !isTcp:
                break; // a guess or a latecomer: the real answer may still come
            case DnsStatus.Truncated when !isTcp:
                AskByTcp();
                break;
            case DnsStatus.Ok or DnsStatus.NoData or DnsStatus.NoName:
                End(status, ttl);
                break;
            default:
                AskNextServer(status is DnsStatus.Malformed ? DnsStatus.Malformed : DnsStatus.ServerFailure);
                break;
        }
    }

    // RFC 7766: the same question, with a length before it.
    private void AskByTcp()
    {
        CloseSocket();
        _tcp = Connector.Connect(loop, Server, null, ConnectOptions.Default, RawTransport.Instance, new TcpSide(this), config.TimeoutMs);
        Span<byte> length = stackalloc byte[2];
        BinaryPrimitives.WriteUInt16BigEndian(length, (ushort)_queryBytes);
        _tcp.Write(length);
        _tcp.Write(_query.AsSpan(0, _queryBytes));
        loop.Schedule(_timer!, config.TimeoutMs);
    }

    public void OnTimer(LoopTimer timer) => AskNextServer(DnsStatus.TimedOut);

    public override void OnFault() => End(DnsStatus.ServerFailure, 0);

    private void End(DnsStatus status, uint ttl)
    {
        if (IsOver)
            return;
        IsOver = true;
        Status = status;
        TtlSeconds = ttl;
        StopTry();
        if (!_asking)
            answered();
    }

    private void StopTry()
    {
        if (_timer is not null)
            loop.Cancel(_timer);
        CloseSocket();
        Connection? tcp = _tcp;
        _tcp = null;
        tcp?.Close(Failure.None);
    }

    private void CloseSocket()
    {
        if (_fd < 0)
            return;
        loop.Unregister(_fd, this, closing: true);
        Sockets.Close(_fd);
        _fd = -1;
    }

    /// <summary>The connection of a question that is asked by TCP.</summary>
    private sealed class TcpSide(DnsQuestion question) : ConnectionHandler
    {
        internal override int OnData(Connection connection, ReadOnlySpan<byte> data)
        {
            int length = data.Length < 2 ? int.MaxValue : BinaryPrimitives.ReadUInt16BigEndian(data);
            if (data.Length - 2 < length)
                return 0;
            question.Take(data.Slice(2, length), isTcp: true);
            return data.Length;
        }

        internal override void OnEndOfStream(Connection connection) => connection.Close(Failure.None);

        internal override void OnClosed(Connection connection, Failure reason)
        {
            if (question._tcp != connection)
                return; // we closed it
            question._tcp = null;
            question.AskNextServer(DnsStatus.ServerFailure);
        }
    }
}
