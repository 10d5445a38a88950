using System;
using Sidecar.Routing;
using Sidecar.Server;
using Sidecar.Telemetry.Stats;

namespace Sidecar.Admin;

/// <summary>
/// /stats as text and JSON, and /stats/prometheus; merged over the workers when written. The scopes of a page are those there were when it was asked for,
/// each value is that of the moment in which its row is written.
/// </summary>
internal static class StatsPage
{
    /// <summary>What is told of a histogram outside of Prometheus.</summary>
    internal static readonly double[] Quantiles = [0, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 0.995, 0.999, 1];

    /// <summary>Answers /stats: <c>?filter=REGEX&amp;usedonly&amp;type=TextReadouts|Counters|Gauges|Histograms&amp;format=text|json|prometheus</c>.</summary>
    internal static void Answer(ProxyServer server, AdminRequest request, Action<AdminResponse> answer)
    {
        switch (request.Param("format"))
        {
            case "prometheus":
                AnswerPrometheus(server, request, answer);
                return;
            case "json":
                if (TryFilter(request, KindOf(request), answer, out var jsonFilter))
                    answer(AdminResponse.Paged("application/json", Json(server, jsonFilter)));
                return;
            case null or "" or "text":
                if (TryFilter(request, KindOf(request), answer, out var filter))
                    answer(AdminResponse.Paged("text/plain; charset=UTF-8", Text(server, filter)));
                return;
            default:
                answer(AdminResponse.Text("usage: /stats?format=(text|json|prometheus)\n", 400));
                return;
        }
    }

    /// <summary>Answers /stats/prometheus: <c>?filter=REGEX&amp;usedonly&amp;text_readouts</c>.</summary>
    internal static void AnswerPrometheus(ProxyServer server, AdminRequest request, Action<AdminResponse> answer)
    {
        if (TryFilter(request, kind: null, answer, out var filter))
            answer(AdminResponse.Paged("text/plain; version=0.0.4; charset=UTF-8", Prometheus(server, filter, request.Has("text_readouts"))));
    }

    private static StatKind? KindOf(AdminRequest request) => request.Param("type") switch
    {
        "Counters" => StatKind.Counter,
        "Gauges" => StatKind.Gauge,
        "Histograms" => StatKind.Histogram,
        "TextReadouts" => StatKind.Text,
        _ => null,
    };

    private static bool TryFilter(AdminRequest request, StatKind? kind, Action<AdminResponse> answer, out StatsFilter filter)
    {
        LinearRegex? names = null;
        if (request.Param("filter") is { Length: > 0 } pattern)
        {
            // Linear in the name whatever the pattern is: an operator's filter must not stop the control loop.
            names = LinearRegex.TryCompile(pattern, RegexUse.Search, out string error);
            if (names is null)
            {
                filter = new StatsFilter(usedOnly: false, kind: null, names: null);
                answer(AdminResponse.Text($"Invalid re2 regex: {error}\n", 400));
                return false;
            }
        }
        filter = new StatsFilter(request.Has("usedonly"), kind, names);
        return true;
    }

    // The server's own stats and the clusters' gauges are brought up to date first; that may bring scopes that were not there before.

    private static Prepared Text(ProxyServer server, StatsFilter filter)
    {
        var gauges = ServerStats.Refresh(server);
        var order = server.Stats.View.ByPrefix;
        return new Prepared([gauges.Advance, order.Advance], new StatsTextPage(order, filter));
    }

    private static Prepared Json(ProxyServer server, StatsFilter filter)
    {
        var gauges = ServerStats.Refresh(server);
        return new Prepared([gauges.Advance], new StatsJsonPage(server.Stats.View, filter));
    }

    private static Prepared Prometheus(ProxyServer server, StatsFilter filter, bool textReadouts)
    {
        var gauges = ServerStats.Refresh(server);
        var families = server.Stats.View.Families;
        return new Prepared([gauges.Advance, families.Advance], new PrometheusPage(families, filter, textReadouts));
    }

    /// <summary>A page before whose first row something else is to be done, step by step too.</summary>
    /// <param name="preparations">In this order; each tells how many steps it did, and 0 when nothing was left.</param>
    /// <param name="page">What follows.</param>
    internal sealed class Prepared(Func<int>[] preparations, AdminPage page) : AdminPage
    {
        private int _at;

        internal override bool WriteNext(PageWriter to)
        {
            if (_at == preparations.Length)
                return page.WriteNext(to);
            int steps = preparations[_at]();
            if (steps == 0)
                _at++;
            to.Step(steps);
            return true;
        }
    }
}
