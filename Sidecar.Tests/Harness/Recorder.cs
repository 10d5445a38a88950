using System;
using System.Collections.Generic;
using System.Text;
using Sidecar.Net;
using Sidecar.Telemetry;

namespace Sidecar.Tests.Harness;

/// <summary>A connection handler that writes down what happens to it; what it does then is the test's.</summary>
internal sealed class Recorder : ConnectionHandler
{
    /// <summary>The callbacks in their order: "connected", "data abc", "end", "above", "below", "flushed", "closed None".</summary>
    public List<string> Events { get; } = [];

    /// <summary>All bytes consumed.</summary>
    public List<byte> Bytes { get; } = [];

    /// <summary>What to do with data; answers how much is consumed. All, when null.</summary>
    public Func<Connection, byte[], int>? Data { get; set; }

    public Action<Connection>? Connected { get; set; }
    public Action<Connection>? End { get; set; }
    public Action<Connection>? Above { get; set; }
    public Action<Connection>? Below { get; set; }

    public Failure? Closed { get; private set; }
    public string Text => Encoding.Latin1.GetString(Bytes.ToArray());
    public string Story => string.Join(", ", Events);

    internal override void OnConnected(Connection connection)
    {
        Events.Add("connected");
        Connected?.Invoke(connection);
    }

    internal override int OnData(Connection connection, ReadOnlySpan<byte> data)
    {
        byte[] copy = data.ToArray();
        Events.Add("data " + Encoding.Latin1.GetString(copy));
        int used = Data?.Invoke(connection, copy) ?? copy.Length;
        Bytes.AddRange(copy.AsSpan(0, used));
        return used;
    }

    internal override void OnEndOfStream(Connection connection)
    {
        Events.Add("end");
        End?.Invoke(connection);
    }

    internal override void OnClosed(Connection connection, Failure reason)
    {
        Events.Add("closed " + reason);
        Closed = reason;
    }

    internal override void OnAboveHighWatermark(Connection connection)
    {
        Events.Add("above");
        Above?.Invoke(connection);
    }

    internal override void OnBelowLowWatermark(Connection connection)
    {
        Events.Add("below");
        Below?.Invoke(connection);
    }

    internal override void OnFlushed(Connection connection) => Events.Add("flushed");
}
