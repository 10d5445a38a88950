using System;
using System.Collections.Generic;
using System.Diagnostics;
using System.Globalization;
using System.Text.Json;
using Sidecar.Admin;
using Sidecar.Loop;
using Sidecar.Net;
using Sidecar.Server;
using Xunit;

namespace Sidecar.Tests.Harness;

/// <summary>A whole server with one worker on a thread of its own, its control loop turned by the test; asked by its admin pages.</summary>
internal sealed class ServerHarness : IDisposable
{
    private readonly TestFolder _folder = new();
    private readonly AdminServer _admin;

    internal ServerHarness(TestSnapshot snapshot)
    {
        string path = _folder.Write("snapshot.json", snapshot.ToString());
        Server = new ProxyServer(
            new ServerOptions { SnapshotPath = path, AdminAddress = Address.Loopback(0), ReadinessAddress = null, PrometheusAddress = null }, Clock);
        Assert.Empty(Server.Start());
        _admin = new AdminServer(Server, Address.Loopback(0));
        Assert.Null(_admin.Start());
        Until(() => Server.State == ServerState.Live);
    }

    internal ProxyServer Server { get; }
    internal ManualClock Clock { get; } = new();

    /// <summary>A connection to the admin pages on which the test writes by hand.</summary>
    internal TestPeer Connect() => TestPeer.Connect(_admin.Address);

    /// <summary>Replaces the snapshot and has it applied.</summary>
    internal void Change(string text)
    {
        _folder.Write("snapshot.json", text);
        long before = Server.ConfigReloads;
        Server.Reload("a test");
        Assert.Equal(before + 1, Server.ConfigReloads);
    }

    /// <summary>Asks an admin page over a connection of its own.</summary>
    internal RawResponse Ask(string target, string method = "GET")
    {
        using var client = TestPeer.Connect(_admin.Address);
        client.Send($"{method} {target} HTTP/1.1\r\nhost: admin\r\nconnection: close\r\n\r\n");
        Until(() => { client.Receive(); return client.End; });
        string text = client.Text;
        int head = text.IndexOf("\r\n\r\n", StringComparison.Ordinal);
        var response = new RawResponse(int.Parse(text.Substring(9, 3)), text[..head], text[(head + 4)..]);
        return response.Header("transfer-encoding") == "chunked" ? response with { Body = string.Concat(Chunks(response.Body)) } : response;
    }

    /// <summary>The chunks of a body that must be whole, its last chunk included, and end there.</summary>
    internal static List<string> Chunks(string body)
    {
        var chunks = new List<string>();
        int at = 0;
        while (true)
        {
            int line = body.IndexOf("\r\n", at, StringComparison.Ordinal);
            Assert.True(line > at, "the last chunk is missing");
            int length = int.Parse(body.AsSpan(at, line - at), NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture);
            at = line + 2;
            Assert.Equal("\r\n", body.Substring(at + length, 2));
            if (length == 0)
                break;
            chunks.Add(body.Substring(at, length));
            at += length + 2;
        }
        Assert.Equal(body.Length, at + 2);
        return chunks;
    }

    /// <summary>Asks a page that answers in JSON.</summary>
    internal JsonElement AskJson(string target)
    {
        var response = Ask(target);
        Assert.Equal(200, response.Status);
        Assert.Equal("application/json", response.Header("content-type"));
        return JsonDocument.Parse(response.Body).RootElement;
    }

    /// <summary>Turns the control loop until something holds.</summary>
    internal void Until(Func<bool> condition)
    {
        long start = Stopwatch.GetTimestamp();
        while (!condition())
        {
            Server.Loop.Turn(20);
            Assert.True(Stopwatch.GetElapsedTime(start) < TimeSpan.FromSeconds(30), "waited in vain");
        }
    }

    public void Dispose()
    {
        Server.Quit();
        Server.Run();
        _folder.Dispose();
    }
}
