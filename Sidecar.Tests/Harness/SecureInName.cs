using System;
using Sidecar.Loop;
using Sidecar.Net;
using Sidecar.Tls;
using Sidecar.Upstream;

namespace Sidecar.Tests.Harness;

/// <summary>What counts as TLS to who sends requests over it, and leaves the bytes as they are.</summary>
internal sealed class SecureInName : TransportFactory
{
    internal override string Name => "test.secure";
    internal override bool NegotiatesProtocol => true;

    internal override Transport Create(Host host, EventLoop loop, int worker, ReadOnlyMemory<byte> offered, TlsOverrides? overrides = null) => RawTransport.Instance;
}
