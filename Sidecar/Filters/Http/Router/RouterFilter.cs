using System;
using System.Diagnostics;
using Sidecar.Http;
using Sidecar.Loop;
using Sidecar.Memory;
using Sidecar.Net;
using Sidecar.Routing;
using Sidecar.Telemetry;
using Sidecar.Telemetry.Stats;
using Sidecar.Tls;
using Sidecar.Upstream;
using Sidecar.Upstream.LoadBalancing;
using Sidecar.Upstream.Pools;

namespace Sidecar.Filters.Http.Router;

using Wire = global::Envoy.Extensions.Filters.Http.Router.V3;

/// <summary>
/// The terminal HTTP filter: takes a request to a host of its route's cluster and brings the response back.
/// <code>
///   1 route       none: 404. Redirect or direct response: answered here.
///   2 cluster     none: 503. Its host by the load balancer; none: 503.
///   3 rewrite     path, host and header operations of the route; timeouts and retry policy from route and headers.
///   4 try         a stream from the host's pool; the head, then the body as it comes (or what was kept of it).
///   5 outcome     a head, a reset or a timeout: retry (4 again, after a back-off), or pass on.
///   6 response    head with the route's operations, body, trailers, each as it comes.
/// </code>
/// Envoy: envoy.filters.http.router.   One per stream slot, worker-owned, reused after Reset.
/// </summary>
internal sealed class RouterFilter : TerminalHttpFilter, ITimerOwner
{
    private enum Timer { Response, PerTry, PerTryIdle, BackOff, MaxDuration }

    private readonly Config _config;
    private readonly WorkerScope _worker;
    private readonly EventLoop _loop;
    private readonly UpstreamRequest _try;
    private readonly RetryState _retry;
    private readonly HostChoice _choice;
    private readonly LoopTimer _responseTimer;
    private readonly LoopTimer _perTryTimer;
    private readonly LoopTimer _perTryIdleTimer;
    private readonly LoopTimer _backOffTimer;
    private readonly LoopTimer _maxDurationTimer;

    // Body bytes kept: those the try cannot take yet and, while a retry is possible, all of them.
    private readonly BufferChain _kept;

    private RequestHead _request = null!;
    private Route _route = null!;
    private WeightedCluster? _weighted;
    private Cluster _cluster = null!;
    private Timeouts _timeouts;
    private TlsOverrides? _tls;
    private HeaderMap? _trailers;
    private bool _requestHeadEnds;
    private bool _requestEnded;
    private bool _keepsForRetry;
    private bool _requestPaused;
    private bool _downstreamBlocked;
    private bool _responseStarted;
    private bool _done;

    internal RouterFilter(Config config, WorkerScope worker)
    {
        _config = config;
        _worker = worker;
        _loop = worker.Loop;
        _try = new UpstreamRequest(this);
        _retry = new RetryState(worker.Random);
        _choice = new HostChoice(this);
        _kept = new BufferChain(_loop.Slab);
        _responseTimer = new LoopTimer(this, (int)Timer.Response);
        _perTryTimer = new LoopTimer(this, (int)Timer.PerTry);
        _perTryIdleTimer = new LoopTimer(this, (int)Timer.PerTryIdle);
        _backOffTimer = new LoopTimer(this, (int)Timer.BackOff);
        _maxDurationTimer = new LoopTimer(this, (int)Timer.MaxDuration);
    }

    // ---- request ----------------------------------------------------------------------------------------------

    internal override FilterStatus OnRequestHead(RequestHead head, bool endStream)
    {
        // :: Step 1, the route
        Stream.Stats.Inc(HttpStats.RouterRqTotal);
        var route = Stream.Route;
        if (MustUseTls(head))
            return ReplyRedirect(route, s_toHttps);
        if (route is null)
            return Stream.Reply(Failure.NoRoute);
        if (route.DirectResponse is { } direct)
            return ReplyDirect(route, direct);
        if (route.Redirect is { } redirect)
            return ReplyRedirect(route, redirect);

        // :: Step 2, the cluster
        // Each reference kept is a store that the collector hears of: what is null most of the time is kept only where it is not.
        _route = route;
        _request = head;
        _requestHeadEnds = endStream;
        _requestEnded = endStream;
        var action = route.Action!;
        if (Stream.WeightedCluster is { } weighted)
            _weighted = weighted;
        var target = action.PickCluster(head, _weighted);
        var cluster = target is null ? null : target.Slot >= 0 ? _worker.Clusters[target.Slot] : _worker.Clusters.Find(target.Name);
        if (cluster is null)
            return Stream.Reply(Failure.NoCluster, new LocalReplyOptions { Status = action.ClusterNotFoundStatus });
        _cluster = cluster;
        Stream.Info.ClusterName = cluster.Config.Name;

        // :: Step 3, what goes out
        _timeouts = Timeouts.Read(head, action, cluster.Config.Http.MaxStreamDurationMs);
        _retry.Begin(head, action, cluster, hasBody: !endStream);
        RequestRewrite.Apply(head, route, _weighted, Stream, _config.SuppressEnvoyHeaders, in _timeouts);
        if (ServerNames.Overrides(cluster, head, Stream.UpstreamAlpn) is { } tls)
            _tls = tls;
        _keepsForRetry = _retry.IsEnabled && !endStream;
        if (_timeouts.MaxStreamMs > 0)
            _loop.Schedule(_maxDurationTimer, _timeouts.MaxStreamMs);
        if (endStream)
            OnRequestEnd();

        // :: Step 4, the first try
        StartTry();
        return FilterStatus.Continue;
    }

    internal override FilterStatus OnRequestBody(ReadOnlySpan<byte> data, bool endStream)
    {
        if (_done)
            return FilterStatus.Continue;
        _requestEnded |= endStream;
        bool direct = _try.CanSend && (_keepsForRetry || _kept.IsEmpty);
        if (direct)
            _try.SendBody(data, endStream);
        if (!_done && (!direct || _keepsForRetry))
            Keep(data);
        if (endStream && !_done)
            OnRequestEnd();
        return FilterStatus.Continue;
    }

    internal override FilterStatus OnRequestTrailers(HeaderMap trailers)
    {
        if (_done)
            return FilterStatus.Continue;
        _trailers = trailers;
        _requestEnded = true;
        if (_try.CanSend)
            _try.SendTrailers(trailers);
        if (!_done)
            OnRequestEnd();
        return FilterStatus.Continue;
    }

    internal override void OnDownstreamBlocked(bool blocked)
    {
        _downstreamBlocked = blocked;
        _try.PauseReceiving(blocked);
    }

    internal override void Abort()
    {
        if (_done)
            return;
        _done = true;
        CancelTimers();
        _loop.Cancel(_try.RetryWork);
        _try.Cancel(Failure.LocalReset);
        _retry.End();
        _kept.Clear();
    }

    internal override void OnStreamEnd() => Abort();

    internal override void Reset()
    {
        Debug.Assert(_try.IsIdle);
        _kept.Clear();
        _retry.Reset();
        _choice.HasHashed = false;
        _request = null!;
        _route = null!;
        _weighted = null;
        _cluster = null!;
        _tls = null;
        _trailers = null;
        _requestHeadEnds = _requestEnded = _keepsForRetry = _requestPaused = _downstreamBlocked = _responseStarted = _done = false;
    }

    public void OnTimer(LoopTimer timer)
    {
        if (_done)
            return;
        switch ((Timer)timer.Kind)
        {
            case Timer.Response:
                _cluster.Stats.Inc(ClusterStats.UpstreamRqTimeout);
                _try.CountTimeout();
                Fail(Failure.ResponseTimeout);
                break;
            case Timer.PerTry:
                _cluster.Stats.Inc(ClusterStats.UpstreamRqPerTryTimeout);
                _try.CountTimeout();
                FailTry(Failure.UpstreamPerTryTimeout);
                break;
            case Timer.PerTryIdle:
                _cluster.Stats.Inc(ClusterStats.UpstreamRqPerTryIdleTimeout);
                FailTry(Failure.UpstreamPerTryIdleTimeout);
                break;
            case Timer.MaxDuration:
                _cluster.Stats.Inc(ClusterStats.UpstreamRqMaxDurationReached);
                Fail(Failure.UpstreamMaxDuration);
                break;
            case Timer.BackOff:
                StartTry();
                break;
        }
    }

    // ---- a try -------------------------------------------------------------------------------------------------

    private void StartTry()
    {
        var host = _cluster.PickHost(_choice);
        if (host is null)
        {
            Fail(Failure.NoHealthyUpstream);
            return;
        }
        RequestRewrite.RewriteToHost(_request, _route.Action!, host.Host.Hostname);
        Stream.Info.Attempts++;
        Stream.Info.UpstreamHost = host.Host.Name;
        if (Stream.Info.UpstreamStartMs == 0)
            Stream.Info.UpstreamStartMs = _loop.NowMs;
        _retry.OnHostTried(host.Host);
        if (_route.VirtualHost.IncludeRequestAttemptCount)
            _request.SetDecimal(HeaderId.XEnvoyAttemptCount, Stream.Info.Attempts);
        if (_timeouts.PerTryMs > 0)
            _loop.Schedule(_perTryTimer, _timeouts.PerTryMs);
        if (_timeouts.PerTryIdleMs > 0)
            _loop.Schedule(_perTryIdleTimer, _timeouts.PerTryIdleMs);
        _try.Start(_cluster.HttpPool(host, _request.Version, (RoutingPriority)_route.Action!.Priority, Stream.Downstream.OriginalSource, _tls));
    }

    /// <summary>The stream is open: the head, and as much of the body as there is.</summary>
    internal void OnTryReady()
    {
        bool bodyFollows = !_requestHeadEnds;
        _try.SendHead(_request, endStream: !bodyFollows);
        if (!bodyFollows || !_try.CanSend)
            return;
        bool endsWithBody = _requestEnded && _trailers is null;
        long left = _kept.Length;
        if (left == 0 && endsWithBody)
            _try.SendBody(default, endStream: true);
        foreach (var piece in _kept)
        {
            left -= piece.Length;
            _try.SendBody(piece, endsWithBody && left == 0);
            if (!_try.CanSend && left > 0)
                return;
        }
        if (_trailers is not null)
            _try.SendTrailers(_trailers);
        if (!_keepsForRetry)
            _kept.Clear();
        ResumeRequest();
    }

    internal void OnTryFailed(Failure failure) => FailTry(failure);

    internal void OnTrySendBlocked(bool blocked)
    {
        if (blocked)
            PauseRequest();
        else
            ResumeRequest();
    }

    internal void OnUpstreamInformational(ResponseHead head) => Stream.SendInformational(head);

    /// <summary>The response's head has come from upstream.</summary>
    internal void OnUpstreamHead(ResponseHead head, bool endStream)
    {
        var info = Stream.Info;
        if (info.FirstUpstreamByteMs == 0)
            info.FirstUpstreamByteMs = _loop.NowMs;
        _loop.Disarm(_perTryTimer);
        // :: Step 5, the outcome
        if (CanSendAgain && _retry.WantsRetry(head, out long backOffMs))
        {
            TryAgain(backOffMs);
            return;
        }
        if (_retry.IsExhausted)
            info.Flags |= ResponseFlags.UpstreamRetryLimitExceeded;
        _retry.OnResponse(head);

        // :: Step 6, the response
        _responseStarted = true;
        info.Details = "via_upstream";
        EndKeeping();
        if (!_config.SuppressEnvoyHeaders)
            head.SetDecimal(HeaderId.XEnvoyUpstreamServiceTime, _loop.NowMs - info.UpstreamStartMs);
        if (_route.VirtualHost.IncludeAttemptCountInResponse)
            head.SetDecimal(HeaderId.XEnvoyAttemptCount, info.Attempts);
        RequestRewrite.ApplyToResponse(head, _route, _weighted, Stream);
        if (_choice.HasHashed)
            _route.Action!.SetCookies(Stream, head);
        if (endStream)
            RecordTime();
        Stream.SendResponseHead(head, endStream);
        if (endStream)
            OnResponseEnd();
    }

    internal void OnUpstreamBody(ReadOnlySpan<byte> data, bool endStream)
    {
        if (_timeouts.PerTryIdleMs > 0)
            _loop.Schedule(_perTryIdleTimer, _timeouts.PerTryIdleMs);
        if (endStream)
            RecordTime();
        Stream.SendResponseBody(data, endStream);
        if (endStream)
            OnResponseEnd();
    }

    internal void OnUpstreamTrailers(HeaderMap trailers)
    {
        RecordTime();
        Stream.SendResponseTrailers(trailers);
        OnResponseEnd();
    }

    // Before the last part is passed on, since the stream is over then. From the request's end, as in Envoy; who answers sooner took no time to be told.
    private void RecordTime()
    {
        if (_requestEnded)
            ClusterStats.RecordTime(_cluster.Stats, _loop.NowMs - Stream.Info.RequestCompleteMs, isInternal: false);
    }

    // After the last part has been passed on: the stream may be over by now, and with it everything here.
    private void OnResponseEnd()
    {
        if (_done)
            return;
        CancelTimers();
        // The request may still be coming; what remains of it has nowhere to go.
        if (!_requestEnded)
            _try.ResetAfterResponse();
        _done = _requestEnded || _done;
        if (_done)
            _retry.End();
    }

    private void OnRequestEnd()
    {
        // The route's timeout runs from here (Envoy's rule): a slow upload is the client's own affair.
        if (_timeouts.ResponseMs > 0 && !_responseStarted)
            _loop.Schedule(_responseTimer, _timeouts.ResponseMs);
        if (_responseStarted && _try.IsIdle)
        {
            _done = true;
            _retry.End();
        }
    }

    // ---- failure ----------------------------------------------------------------------------------------------

    private void FailTry(Failure failure)
    {
        _try.Cancel(failure);
        _loop.Disarm(_perTryTimer);
        _loop.Disarm(_perTryIdleTimer);
        if (!_responseStarted && CanSendAgain && _retry.WantsRetry(failure, requestSentWhole: _requestEnded && _try.HasSentAll, out long backOffMs))
        {
            TryAgain(backOffMs);
            return;
        }
        Fail(failure);
    }

    private void Fail(Failure failure)
    {
        bool started = _responseStarted;
        Abort();
        if (started)
            Break(failure);
        else
            Reply(failure);
    }

    // The response has begun: it cannot be taken back, only broken off.
    private void Break(Failure failure)
    {
        Stream.Info.Fail(failure);
        string reason = failure.Row().ResetReason;
        if (reason.Length > 0)
            Stream.Info.Details = Failures.ResetDetails(reason, "", responseStarted: true);
        Stream.ResetDownstream(failure);
    }

    private void Reply(Failure failure)
    {
        var info = Stream.Info;
        if (_retry.IsExhausted)
            info.Flags |= ResponseFlags.UpstreamRetryLimitExceeded;
        ref readonly var row = ref failure.Row();
        ClusterStats.CountResponse(_cluster.Stats, row.Status, isInternal: false);
        string transport = _try.FailureDetail;
        bool retried = info.Attempts > 1;
        if (row.ResetReason.Length == 0 || (transport.Length == 0 && !retried))
        {
            Stream.Reply(failure);
            return;
        }
        info.UpstreamTransportFailure = transport;
        Stream.Reply(failure, new LocalReplyOptions
        {
            Body = System.Text.Encoding.UTF8.GetBytes(Failures.ResetBody(row.ResetReason, transport, retried)),
            HasBody = true,
            Details = Failures.ResetDetails(row.ResetReason, transport),
        });
    }

    /// <summary>Lets go of the present try and starts another, now or after a back-off.</summary>
    private void TryAgain(long backOffMs)
    {
        _try.Cancel(Failure.LocalReset);
        _loop.Disarm(_perTryTimer);
        _loop.Disarm(_perTryIdleTimer);
        if (backOffMs > 0)
            _loop.Schedule(_backOffTimer, backOffMs);
        else
            _loop.RunNextTurn(_try.RetryWork);
    }

    /// <summary>The whole request is there to be sent once more.</summary>
    private bool CanSendAgain => _keepsForRetry || _requestHeadEnds;

    internal void OnRetryWork()
    {
        if (!_done)
            StartTry();
    }

    // ---- kept body and back-pressure -------------------------------------------------------------------------------

    private void Keep(ReadOnlySpan<byte> data)
    {
        _kept.Write(data);
        if (_kept.Length <= Stream.BufferLimit)
            return;
        if (_try.CanSend && _keepsForRetry)
        {
            // Too large to send twice: the try under way is the last.
            _cluster.Stats.Inc(ClusterStats.RetryOrShadowAbandoned);
            EndKeeping();
            return;
        }
        PauseRequest();
    }

    private void EndKeeping()
    {
        if (!_keepsForRetry)
            return;
        _keepsForRetry = false;
        if (_try.CanSend || _requestEnded)
            _kept.Clear();
    }

    private void PauseRequest()
    {
        if (_requestPaused || _done)
            return;
        _requestPaused = true;
        Stream.PauseRequest();
    }

    private void ResumeRequest()
    {
        if (!_requestPaused || _done)
            return;
        _requestPaused = false;
        Stream.ResumeRequest();
    }

    private void CancelTimers()
    {
        _loop.Disarm(_responseTimer);
        _loop.Disarm(_perTryTimer);
        _loop.Disarm(_perTryIdleTimer);
        _loop.Disarm(_backOffTimer);
        _loop.Disarm(_maxDurationTimer);
    }

    /// <summary>What the request brings to the choice of its host.</summary>
    private sealed class HostChoice(RouterFilter owner) : LoadBalancerContext
    {
        /// <summary>The load balancer went by the hash, so that the client's next request must bring the same one.</summary>
        internal bool HasHashed;

        internal override ulong? Hash
        {
            get
            {
                HasHashed = true;
                return owner._route.Action!.Hash(owner.Stream);
            }
        }

        internal override Address OriginalDestination => owner.Stream.Downstream.OriginalDestination;

        internal override bool TryGetHeaderDestination(string name, out Address destination)
        {
            destination = default;
            Span<byte> lower = stackalloc byte[128];
            if (name.Length > lower.Length)
                return false;
            for (int i = 0; i < name.Length; i++)
                lower[i] = Ascii.ToLower((byte)name[i]);
            if (!owner._request.TryGet(lower[..name.Length], out var value))
                return false;
            Span<char> text = stackalloc char[Address.TextBytesMax];
            if (value.Length <= text.Length)
            {
                for (int i = 0; i < value.Length; i++)
                    text[i] = (char)value[i];
                Address.TryParse(text[..value.Length], out destination);
            }
            return true;
        }

        internal override int HostSelectionRetriesMax => owner._retry.HostSelectionRetriesMax;

        internal override bool ShouldSelectAnotherHost(Host host) => owner._retry.WasTried(host);
    }

    private FilterStatus ReplyDirect(Route route, DirectResponse direct)
    {
        Stream.Stats.Inc(HttpStats.RouterRqDirectResponse);
        _extra.Reset();
        RequestRewrite.ApplyToResponse(_extra, route, null, Stream);
        return Stream.Reply(Failure.DirectResponse, new LocalReplyOptions { Status = direct.Status, Body = direct.Body, HasBody = true, Headers = _extra });
    }

    private static readonly RedirectAction s_toHttps = new() { Scheme = "https"u8.ToArray() };

    // require_tls of the virtual host, by what x-forwarded-proto says (Envoy's rule).
    private bool MustUseTls(RequestHead head) => Stream.VirtualHost?.RequireTls switch
    {
        TlsRequirement.All => !head.Get(HeaderId.XForwardedProto).SequenceEqual("https"u8),
        TlsRequirement.ExternalOnly => !head.Contains(HeaderId.XEnvoyInternal) && !head.Get(HeaderId.XForwardedProto).SequenceEqual("https"u8),
        _ => false,
    };

    private FilterStatus ReplyRedirect(Route? route, RedirectAction redirect)
    {
        Stream.Stats.Inc(HttpStats.RouterRqRedirect);
        _extra.Reset();
        redirect.SetLocation(Stream.Request, route?.Match, _extra);
        if (route is not null)
            RequestRewrite.ApplyToResponse(_extra, route, null, Stream);
        return Stream.Reply(Failure.DirectResponse, new LocalReplyOptions { Status = redirect.Status, Headers = _extra });
    }

    private readonly HeaderMap _extra = new();

    // ---- configuration: control loop, once per update; immutable afterwards; may reject -------------------

    internal sealed record Config(bool SuppressEnvoyHeaders);

    internal static HttpFilterFactory? Create(Wire.Router wire, ConfigScope scope)
    {
        if (wire.UpstreamHttpFilters.Count > 0)
            scope.Reject("upstream_http_filters", "filters on the upstream side are not supported yet");
        if (wire.UpstreamLog.Count > 0)
            scope.Ignore("upstream_log", "upstream requests are not logged yet");
        if (wire.StrictCheckHeaders.Count > 0)
            scope.Reject("strict_check_headers", "is not supported; malformed x-envoy-* headers are ignored");
        if (scope.IsRejected)
            return null;
        var config = new Config(wire.SuppressEnvoyHeaders);
        return worker => new RouterFilter(config, worker);
    }
}
