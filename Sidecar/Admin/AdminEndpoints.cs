using System;
using System.Collections.Generic;
using System.Text;
using Sidecar.Server;
using Sidecar.Telemetry;

namespace Sidecar.Admin;

/// <summary>The admin pages, one row each; paths, parameters and answers are Envoy's. To add one: a row in <c>s_endpoints</c> and a test.</summary>
/// <remarks>Control loop only. A page answers by its callback, at once or after it has asked the workers.</remarks>
internal static class AdminEndpoints
{
    private delegate void Page(ProxyServer server, AdminRequest request, Action<AdminResponse> answer);

    private sealed record Endpoint(string Path, bool Changes, string Help, Page Page);

    private static readonly Endpoint[] s_endpoints =
    [
        new("/certs", false, "print certs on machine", CertsPage.Answer),
        new("/clusters", false, "upstream cluster status", ClustersPage.Answer),
        new("/config_dump", false, "dump current Envoy configs; ?include_eds, ?resource=, ?mask=, ?name_regex=", ConfigDump.Answer),
        new("/config_status", false, "what of the configuration is refused, unsupported or ignored, by path", ConfigStatusPage.Answer),
        new("/drain_listeners", true, "drain listeners; ?inboundonly, ?graceful, ?skip_exit", DrainListeners),
        new("/healthcheck/fail", true, "cause the server to fail health checks", (server, _, answer) => SetHealth(server, false, answer)),
        new("/healthcheck/ok", true, "cause the server to pass health checks", (server, _, answer) => SetHealth(server, true, answer)),
        new("/healthz/ready", false, "readiness as Istio's agent answers it", Ready),
        new("/help", false, "print out list of admin commands", (_, _, answer) => answer(AdminResponse.Text(HelpText()))),
        new("/listeners", false, "print listener info; ?format=json", ListenersPage.Answer),
        new("/logging", true, "query/change logging levels; ?level=", Logging),
        new("/memory", false, "print current allocation/heap usage", (server, _, answer) => answer(ServerInfoPage.Memory(server))),
        new("/quitquitquit", true, "exit the server", Quit),
        new("/ready", false, "print server state, return 200 if LIVE, otherwise return 503", Ready),
        new("/reset_counters", true, "not supported: counters only grow", (_, _, answer) => answer(AdminResponse.Text("counters are not reset here; take differences\n", 501))),
        new("/server_info", false, "print server version/status information", (server, _, answer) => answer(ServerInfoPage.Info(server))),
        new("/stats", false, "print server stats; ?filter=, ?usedonly, ?format=json|prometheus|text, ?type=", StatsPage.Answer),
        new("/stats/prometheus", false, "print server stats in prometheus format; ?filter=, ?usedonly, ?text_readouts", StatsPage.AnswerPrometheus),
    ];

    /// <summary>Finds the page and has it answer.</summary>
    internal static void Answer(ProxyServer server, AdminRequest request, Action<AdminResponse> answer)
    {
        if (request.Path == "/")
        {
            answer(AdminResponse.Text(HelpText()));
            return;
        }
        foreach (var endpoint in s_endpoints)
        {
            if (endpoint.Path != request.Path)
                continue;
            if (endpoint.Changes && request.Method != "POST")
                answer(AdminResponse.Text($"Method {request.Method} not allowed, POST required.\n", 405));
            else if (!endpoint.Changes && request.Method is not ("GET" or "HEAD" or "POST"))
                answer(AdminResponse.Text($"Method {request.Method} not allowed, GET required.\n", 405));
            else
                endpoint.Page(server, request, answer);
            return;
        }
        answer(AdminResponse.Text("invalid path. " + HelpText(), 404));
    }

    private static string HelpText()
    {
        var text = new StringBuilder("admin commands are:\n");
        foreach (var endpoint in s_endpoints)
            text.Append("  ").Append(endpoint.Path).Append(endpoint.Changes ? " (POST)" : "").Append(": ").Append(endpoint.Help).Append('\n');
        return text.ToString();
    }

    private static void Ready(ProxyServer server, AdminRequest request, Action<AdminResponse> answer)
    {
        string state = ServerInfoPage.StateName(server);
        answer(AdminResponse.Text(state + "\n", state == "LIVE" ? 200 : 503));
    }

    private static void SetHealth(ProxyServer server, bool healthy, Action<AdminResponse> answer)
    {
        server.SetHealth(healthy);
        answer(AdminResponse.Text("OK\n"));
    }

    private static void DrainListeners(ProxyServer server, AdminRequest request, Action<AdminResponse> answer)
    {
        bool inboundOnly = request.Has("inboundonly"), graceful = request.Has("graceful"), skipExit = request.Has("skip_exit");
        if (skipExit && !graceful)
        {
            answer(AdminResponse.Text("skip_exit requires graceful\n", 400));
            return;
        }
        // Without graceful the listeners close at once; with it they go on accepting, while every response ends its connection, until the drain time is over.
        if (graceful)
            server.DrainGracefully(inboundOnly, thenStop: !skipExit);
        else
            server.StartDrain(stopAccepting: true, inboundOnly ? ProxyServer.IsInbound : null);
        answer(AdminResponse.Text("OK\n"));
    }

    private static void Logging(ProxyServer server, AdminRequest request, Action<AdminResponse> answer)
    {
        if (request.Param("level") is { } level)
        {
            if (!Log.TryParseLevel(level, out var parsed))
            {
                answer(AdminResponse.Text("error: unknown logger level; one of trace, debug, info, warning, error, critical, off\n", 400));
                return;
            }
            Log.Level = parsed;
        }
        else if (request.Query.Count > 0)
        {
            answer(AdminResponse.Text("usage: /logging?level=<level> (change all levels); there is one logger\n", 400));
            return;
        }
        answer(AdminResponse.Text($"active loggers:\n  all: {Log.Name(Log.Level)}\n"));
    }

    private static void Quit(ProxyServer server, AdminRequest request, Action<AdminResponse> answer)
    {
        answer(AdminResponse.Text("OK\n"));
        // The answer leaves at the end of this turn, the process with the next.
        server.Loop.Post(() => server.Loop.Post(() => server.Quit()));
    }
}
