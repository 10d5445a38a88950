// The peer on the class library's own sockets: YARP with one route, as its documentation starts. Ports and versions come from the
// command line: LISTEN_PORT UPSTREAM_PORT h1|h2 h1|h2.
using System.Net;
using Microsoft.AspNetCore.Server.Kestrel.Core;
using Yarp.ReverseProxy.Configuration;
using Yarp.ReverseProxy.Forwarder;

var builder = WebApplication.CreateSlimBuilder();
builder.Logging.ClearProviders();
builder.WebHost.ConfigureKestrel(kestrel => kestrel.Listen(IPAddress.Loopback, int.Parse(args[0]),
    listen => listen.Protocols = args[2] == "h2" ? HttpProtocols.Http2 : HttpProtocols.Http1));
builder.Services.AddReverseProxy().LoadFromMemory(
    [new RouteConfig { RouteId = "all", ClusterId = "backend", Match = new RouteMatch { Path = "{**rest}" } }],
    [new ClusterConfig
    {
        ClusterId = "backend",
        Destinations = new Dictionary<string, DestinationConfig> { ["one"] = new() { Address = $"http://127.0.0.1:{args[1]}" } },
        HttpRequest = new ForwarderRequestConfig
        {
            Version = args[3] == "h2" ? HttpVersion.Version20 : HttpVersion.Version11,
            VersionPolicy = HttpVersionPolicy.RequestVersionExact,
        },
    }]);
var app = builder.Build();
app.MapReverseProxy();
app.Run();
