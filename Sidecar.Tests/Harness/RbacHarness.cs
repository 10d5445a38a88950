using System;
using System.Collections.Generic;
using System.Linq;
using System.Text;
using Sidecar.Filters;
using Sidecar.Filters.Http;
using Sidecar.Http;
using Sidecar.Net;
using Sidecar.Telemetry;
using Sidecar.Tests.Wire;
using Xunit;
using WireRbac = Envoy.Extensions.Filters.Http.Rbac.V3;

namespace Sidecar.Tests.Harness;

/// <summary>What a request brings that policies ask about; each test names what it needs.</summary>
internal sealed record RbacRequest
{
    internal string Method { get; init; } = "GET";
    internal string Path { get; init; } = "/";
    internal string Authority { get; init; } = "";
    internal (string Name, string Value)[] Fields { get; init; } = [];

    /// <summary>TLS without a certificate where there is no name.</summary>
    internal bool IsTls { get; init; }
    internal string[] Uris { get; init; } = [];
    internal string[] Dns { get; init; } = [];
    internal string Subject { get; init; } = "";
    internal bool IsVerified { get; init; } = true;
    internal string ServerName { get; init; } = "";

    internal string Destination { get; init; } = "10.0.0.9:80";

    /// <summary>Whose request, whose connection, and the peer itself.</summary>
    internal string Remote { get; init; } = "10.0.0.1";
    internal string Connection { get; init; } = "10.0.0.1";
    internal string Peer { get; init; } = "10.0.0.1";

    internal (string Filter, string Key, MetadataValue Value)[] Metadata { get; init; } = [];
}

/// <summary>The HTTP filter for RBAC on requests of the test's own.</summary>
internal sealed class RbacHarness : IDisposable
{
    private readonly FilterHarness _harness = new();
    private Connection _connection = null!;
    private TestPeer _peer = null!;

    /// <param name="config">envoy.extensions.filters.http.rbac.v3.RBAC in JSON.</param>
    internal RbacHarness(string config) : this(Message(config))
    {
    }

    internal RbacHarness(WireRbac.RBAC config)
    {
        Connect();
        _harness.Use(RbacFilter.Create(config, _harness.Config));
    }

    internal FilterHarness Filter => _harness;

    /// <summary>A filter whose policy "p" has one permission and one principal.</summary>
    internal static RbacHarness Of(string permission = """{"any": true}""", string principal = """{"any": true}""") =>
        new($$"""{"rules": {"policies": {"p": {"permissions": [{{permission}}], "principals": [{{principal}}]} } } }""");

    internal static WireRbac.RBAC Message(string json) => WireRbac.RBAC.Parser.ParseFrom(WireHarness.Read(json, "envoy.extensions.filters.http.rbac.v3.RBAC"));

    /// <summary>What is wrong with a configuration, as "path: reason".</summary>
    internal static string[] Problems(WireRbac.RBAC config, out string[] ignored)
    {
        using var harness = new FilterHarness();
        Assert.Equal(RbacFilter.Create(config, harness.Config) is null, harness.Config.IsRejected);
        ignored = [.. harness.Config.Ignored.Select(problem => $"{problem.Path}: {problem.Reason}")];
        return [.. harness.Config.Rejections.Select(problem => $"{problem.Path}: {problem.Reason}")];
    }

    /// <summary>Whether the request may pass.</summary>
    internal bool Allows(RbacRequest request) => Ask(request) == FilterStatus.Continue;

    /// <summary>Shows the request to the filter; what came of it is in <see cref="Filter"/> until the next.</summary>
    internal FilterStatus Ask(RbacRequest request)
    {
        _harness.End();
        Disconnect();
        Connect();
        _connection.RemoteAddress = Ip(request.Peer);
        if (request.Connection != request.Peer)
            _connection.SpeaksFor(Ip(request.Connection));
        _harness.RemoteAddress = Ip(request.Remote);
        int colon = request.Destination.LastIndexOf(':');
        Assert.True(Address.TryParseIp(request.Destination.AsSpan(0, colon), out var destination, ushort.Parse(request.Destination.AsSpan(colon + 1))));
        _connection.OriginalDestination = destination;
        _harness.Info.DownstreamTls = Tls(request);
        foreach (var (filter, key, value) in request.Metadata)
            _harness.Info.DynamicMetadata.Set(filter, key, value);
        var head = _harness.Request;
        head.Reset();
        head.Add(HeaderId.Method, Encoding.ASCII.GetBytes(request.Method));
        if (request.Path.Length > 0)
            head.Add(HeaderId.Path, Encoding.Latin1.GetBytes(request.Path));
        if (request.Authority.Length > 0)
            head.Add(HeaderId.Authority, Encoding.ASCII.GetBytes(request.Authority));
        foreach (var (name, value) in request.Fields)
            head.Add(Encoding.ASCII.GetBytes(name.ToLowerInvariant()), Encoding.Latin1.GetBytes(value));
        return _harness.Filter.OnRequestHead(head, endStream: true);
    }

    /// <summary>Metadata from a tree of JSON shape: texts, lists of texts, mappings.</summary>
    internal static MetadataValue Value(object tree) => tree switch
    {
        string text => MetadataValue.Of(text),
        string[] texts => MetadataValue.Of([.. texts.Select(MetadataValue.Of)]),
        Dictionary<string, object> fields => MetadataValue.Of(fields.ToDictionary(field => field.Key, field => Value(field.Value))),
        bool value => MetadataValue.Of(value),
        double number => MetadataValue.Of(number),
        _ => MetadataValue.Null,
    };

    public void Dispose()
    {
        Disconnect();
        _harness.Dispose();
    }

    private void Connect()
    {
        (_connection, _peer) = _harness.Loop.Connected(new Recorder());
        _harness.Downstream = _connection;
    }

    private void Disconnect()
    {
        _connection.Close(Failure.None);
        _peer.Dispose();
        _harness.Loop.Settle();
    }

    private static Address Ip(string text)
    {
        Assert.True(Address.TryParseIp(text, out var address, 1234), text);
        return address;
    }

    private static TlsFacts? Tls(RbacRequest request)
    {
        bool hasCertificate = request.Uris.Length + request.Dns.Length + request.Subject.Length > 0;
        if (!hasCertificate && !request.IsTls && request.ServerName.Length == 0)
            return null;
        return new TlsFacts
        {
            Version = "TLSv1.3", Cipher = "", SessionId = [], ServerName = request.ServerName, Local = null, IsPeerVerified = hasCertificate && request.IsVerified,
            Peer = hasCertificate ? new CertificateFacts([]) { UriSans = request.Uris, DnsSans = request.Dns, Subject = request.Subject } : null,
        };
    }
}
