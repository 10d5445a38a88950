using System.Collections.Generic;
using Google.Protobuf;
using Sidecar.Wire;
using WireTls = Envoy.Extensions.TransportSockets.Tls.V3;

namespace Sidecar.Tests.Harness;

/// <summary>The two secrets that a sidecar of Istio asks its agent for: its own certificate, and the roots of its mesh.</summary>
internal static class IstiodSecrets
{
    internal static IEnumerable<DiscoveredResource> Resources(TestCa ca, string identity)
    {
        foreach (var secret in Messages(ca, identity))
            yield return new DiscoveredResource(ResourceTypes.Secret, secret.Name, "1", secret.ToByteArray(), "");
    }

    private static IEnumerable<WireTls.Secret> Messages(TestCa ca, string identity)
    {
        var own = ca.Spiffe(identity);
        yield return new WireTls.Secret
        {
            Name = "default",
            TlsCertificate = new() { CertificateChain = new() { InlineString = own.ChainPem }, PrivateKey = new() { InlineString = own.KeyPem } },
        };
        yield return new WireTls.Secret { Name = "ROOTCA", ValidationContext = new() { TrustedCa = new() { InlineString = ca.Pem } } };
    }
}
