using Sidecar.Http.H2;
using Sidecar.Linux;
using Sidecar.Net;
using Sidecar.Telemetry;
using Sidecar.Tests.Harness;
using Sidecar.Upstream;
using Xunit;

namespace Sidecar.Tests.Upstream;

/// <summary>What connections of the proxy's own calls do to notice a peer that is gone.</summary>
public sealed class PeerChecksTests
{
    [Fact]
    public void WithoutAWordOfTheConfiguration_TheChecksAreOn()
    {
        var connect = PeerChecks.OwnCalls.Complete(ConnectOptions.Default);
        Assert.Equal((new KeepAlive(30, 10, 3), 60_000), (connect.KeepAlive, connect.UserTimeoutMs));
        var http2 = PeerChecks.OwnCalls.Complete(Http2Options.ClientDefaults);
        Assert.Equal((305_000, 20_000), (http2.KeepaliveIntervalMs, http2.KeepaliveTimeoutMs));
    }

    [Fact]
    public void WhatTheConfigurationSays_Stays()
    {
        var connect = ConnectOptions.Default with { KeepAlive = new KeepAlive(300) };
        Assert.Same(connect, PeerChecks.OwnCalls.Complete(connect));
        var http2 = Http2Options.ClientDefaults with { KeepaliveIntervalMs = 1000, KeepaliveTimeoutMs = 500 };
        Assert.Same(http2, PeerChecks.OwnCalls.Complete(http2));
    }

    [Fact]
    public void ClusterOfALoopWithChecks_HasThem_AndOfAWorkerNot()
    {
        using var with = new UpstreamHarness(checks: PeerChecks.OwnCalls);
        using var without = new UpstreamHarness();
        var address = Address.Loopback(1);
        var own = with.Cluster(with.Config(), address);
        Assert.Equal((30, 305_000), (own.Connect.KeepAlive!.IdleSeconds, own.Http2.KeepaliveIntervalMs));
        var forwarding = without.Cluster(without.Config(), address);
        Assert.Equal((null, 0), (forwarding.Connect.KeepAlive, forwarding.Http2.KeepaliveIntervalMs));
    }

    [Fact]
    public void Socket_HasWhatTheChecksAsk()
    {
        using var harness = new UpstreamHarness();
        var upstream = harness.Listen();
        var connection = Connector.Connect(
            harness.Test.Loop, upstream.Address, null, PeerChecks.OwnCalls.Complete(ConnectOptions.Default), RawTransport.Instance, new Recorder(), 1000);
        Assert.Equal((1, 30, 10, 3, 60_000), (
            Sockets.Get(connection.Fd, SocketOption.KeepAlive).Value, Sockets.Get(connection.Fd, SocketOption.KeepAliveIdle).Value,
            Sockets.Get(connection.Fd, SocketOption.KeepAliveInterval).Value, Sockets.Get(connection.Fd, SocketOption.KeepAliveProbes).Value,
            Sockets.Get(connection.Fd, SocketOption.UserTimeout).Value));
        connection.Close(Failure.LocalReset);
        harness.Test.Settle();
    }
}
