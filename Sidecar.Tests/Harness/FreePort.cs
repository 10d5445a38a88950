using System;
using System.Linq;
using System.Net;
using System.Net.Sockets;

namespace Sidecar.Tests.Harness;

/// <summary>Ports of the loopback interface that the kernel says are free.</summary>
internal static class FreePort
{
    internal static int Next() => Next(1)[0];

    /// <summary>Different ports, all free at once: each is held until the last is known.</summary>
    internal static int[] Next(int count)
    {
        var held = Enumerable.Range(0, count).Select(_ => new TcpListener(IPAddress.Loopback, 0)).ToArray();
        try
        {
            foreach (var listener in held)
                listener.Start();
            return [.. held.Select(listener => ((IPEndPoint)listener.LocalEndpoint).Port)];
        }
        finally
        {
            Array.ForEach(held, listener => listener.Stop());
        }
    }
}
