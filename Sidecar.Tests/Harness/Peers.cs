using System.Collections.Generic;
using System.Globalization;
using System.IO;

namespace Sidecar.Tests.Harness;

/// <summary>
/// Programs that are not ours on the other end of the wire. Each starts on a port given by the kernel, or on one the test
/// chose for a namespace of its own, and is ready when the method returns. Those in Python are beside this file.
/// </summary>
internal static class Peers
{
    /// <summary>The distribution's interpreter: its modules are the ones that setup installs.</summary>
    internal const string Python = "/usr/bin/python3";

    /// <summary>An HTTP/2 server on a cleartext port (prior knowledge) that serves the files of a folder.</summary>
    internal static BackgroundProcess Nghttpd(string folder, int port, NetworkNamespace? within = null, int? uid = null, string address = "127.0.0.1")
    {
        Command.Require("nghttpd");
        var server = new BackgroundProcess(within, uid, "nghttpd", ["--no-tls", "-a", address, "-d", folder, Text(port)]);
        server.WaitForListen(port);
        return server;
    }

    /// <summary>curl, quiet but for errors; a bound on its time and no proxy of the environment.</summary>
    internal static CommandResult Curl(NetworkNamespace? within, params string[] arguments)
    {
        Command.Require("curl");
        return Command.Run(within, "", "curl", ["-sS", "--max-time", "60", "--noproxy", "*", .. arguments]);
    }

    /// <summary>One varnishtest script; macros are its ${name}s.</summary>
    internal static CommandResult VarnishTest(string script, params (string Name, string Value)[] macros)
    {
        Command.Require("varnishtest");
        var arguments = new List<string> { "-v", "-t", "60" };
        foreach (var (name, value) in macros)
            arguments.AddRange(["-D", name + "=" + value]);
        return Command.Run("varnishtest", [.. arguments, script]);
    }

    /// <summary>h2load: many requests over a few connections.</summary>
    internal static CommandResult H2Load(params string[] arguments)
    {
        Command.Require("h2load");
        return Command.Run("h2load", arguments);
    }

    /// <summary>A gRPC server of the real library: unary, three kinds of streams, deadlines, trailers. Returns it and its port.</summary>
    internal static (BackgroundProcess Server, int Port) GrpcServer(NetworkNamespace? within = null, int? uid = null, int port = 0) =>
        StartPython("grpc_peer.py", "grpc", within, uid, "server", Text(port));

    /// <summary>Runs one call of the real gRPC client and returns what it printed (JSON).</summary>
    internal static CommandResult GrpcClient(NetworkNamespace? within, string target, string call, params string[] arguments)
    {
        Command.RequirePython("grpc");
        return Command.Run(within, "", Python, [Script("grpc_peer.py"), "client", target, call, .. arguments]);
    }

    /// <summary>A WebSocket server that sends back each message. Returns it and its port.</summary>
    internal static (BackgroundProcess Server, int Port) WebSocketServer(NetworkNamespace? within = null, int? uid = null, int port = 0) =>
        StartPython("websocket_peer.py", "websockets", within, uid, "server", Text(port));

    /// <summary>Connects, sends messages of several kinds and sizes, and expects each back.</summary>
    internal static CommandResult WebSocketClient(NetworkNamespace? within, string url)
    {
        Command.RequirePython("websockets");
        return Command.Run(within, "", Python, Script("websocket_peer.py"), "client", url);
    }

    /// <summary>A TCP server that answers what it read in capitals, once the client has closed its side.</summary>
    internal static (BackgroundProcess Server, int Port) TcpServer(NetworkNamespace? within = null, int? uid = null, string address = "127.0.0.1", int port = 0) =>
        StartPython("tcp_peer.py", "socket", within, uid, "server", address, Text(port));

    /// <summary>Sends text, closes its side, prints what comes until the end.</summary>
    internal static CommandResult TcpClient(NetworkNamespace? within, int uid, string address, int port, string text)
    {
        Command.Require(Python);
        return Command.Run(within, "", "setpriv", $"--reuid={uid}", $"--regid={uid}", "--clear-groups", Python, "-c", File.ReadAllText(Script("tcp_peer.py")), "client", address, Text(port), text);
    }

    /// <summary>An HTTP/1.1 server whose answers say which source address it saw.</summary>
    internal static (BackgroundProcess Server, int Port) HttpServer(NetworkNamespace? within = null, int? uid = null, string address = "127.0.0.1", int port = 0) =>
        StartPython("http_peer.py", "http.server", within, uid, "server", address, Text(port));

    /// <summary>
    /// Asks over new connections, and has begun, until <paramref name="endFile"/> is there, then until it is answered, a few times; at the end the process
    /// says how many answers came, and the last.
    /// </summary>
    internal static BackgroundProcess HttpClientUntil(NetworkNamespace within, int uid, string url, string endFile)
    {
        Command.Require(Python);
        var client = new BackgroundProcess(within, uid, Python, ["-u", "-c", File.ReadAllText(Script("http_peer.py")), "client", url, endFile]);
        client.WaitForLine("^going$");
        return client;
    }

    private static (BackgroundProcess, int) StartPython(string script, string module, NetworkNamespace? within, int? uid, params string[] arguments)
    {
        Command.RequirePython(module);
        // The script's text is passed, not its path: the user it runs as may not be able to read the clone.
        var server = new BackgroundProcess(within, uid, Python, ["-u", "-c", File.ReadAllText(Script(script)), .. arguments]);
        var port = int.Parse(server.WaitForLine(@"^listening on (\d+)$").Groups[1].Value, CultureInfo.InvariantCulture);
        return (server, port);
    }

    private static string Script(string name) => Path.Combine(ProjectTree.Root, "Sidecar.Tests", "Harness", name);

    private static string Text(int number) => number.ToString(CultureInfo.InvariantCulture);
}
