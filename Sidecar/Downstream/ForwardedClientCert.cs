using System;
using System.Text;
using Sidecar.Http;
using Sidecar.Tls;

namespace Sidecar.Downstream;

/// <summary>
/// The x-forwarded-client-cert field: who the caller is, by the certificate it has proved, and who was told so before. Form and order are Envoy's:
/// <c>By=…;Hash=…;Cert="…";Chain="…";Subject="…";URI=…;DNS=…</c>, elements of several proxies separated by commas.
/// </summary>
/// <remarks>Called once per request on its worker; the text is made once per connection.</remarks>
internal static class ForwardedClientCert
{
    /// <summary>Removes, keeps, appends to or replaces the field.</summary>
    /// <param name="head">The request, changed in place.</param>
    /// <param name="tls">The connection's TLS; null when there is none.</param>
    /// <param name="config">The connection manager's configuration.</param>
    internal static void Apply(RequestHead head, TlsTransport? tls, HttpConnectionManagerConfig config)
    {
        var mode = config.ForwardClientCert;
        if (mode == ForwardClientCert.AlwaysForwardOnly)
            return;
        // Without a client's certificate nothing the peer says about one is believed.
        if (mode == ForwardClientCert.Sanitize || tls is null || !tls.HasPeer)
        {
            head.Remove(HeaderId.XForwardedClientCert);
            return;
        }
        if (mode == ForwardClientCert.ForwardOnly)
            return;
        byte[] element = tls.HandlerNote as byte[] ?? Format(tls, config.ClientCertDetails);
        tls.HandlerNote = element;
        if (mode == ForwardClientCert.AppendForward)
            head.AppendValue(HeaderId.XForwardedClientCert, element, ","u8);
        else
            head.Set(HeaderId.XForwardedClientCert, element);
    }

    private static byte[] Format(TlsTransport tls, ClientCertDetails details)
    {
        var text = new StringBuilder();
        if (tls.Peer is { } peer)
        {
            foreach (string uri in tls.Local?.UriSans ?? [])
                Append(text, "By=", uri);
            Append(text, "Hash=", peer.Sha256);
            if (details.HasFlag(ClientCertDetails.Cert))
                Next(text).Append("Cert=\"").Append(peer.UrlEncodedPem).Append('"');
            if (details.HasFlag(ClientCertDetails.Chain))
                Next(text).Append("Chain=\"").Append(tls.PeerChainUrlEncodedPem).Append('"');
            if (details.HasFlag(ClientCertDetails.Subject))
            {
                // RFC 2253's own escapes suffice, and a subject is there even when it is empty.
                Visible(Next(text).Append("Subject=\""), peer.Subject);
                text.Append('"');
            }
            if (details.HasFlag(ClientCertDetails.Uri))
            {
                foreach (string uri in peer.UriSans)
                    Append(text, "URI=", uri);
                if (peer.UriSans.Count == 0)
                    Next(text).Append("URI=");
            }
            if (details.HasFlag(ClientCertDetails.Dns))
            {
                foreach (string name in peer.DnsSans)
                    Append(text, "DNS=", name);
            }
        }
        return Encoding.Latin1.GetBytes(text.ToString());
    }

    private static StringBuilder Next(StringBuilder text) => text.Length > 0 ? text.Append(';') : text;

    private static void Append(StringBuilder text, string key, string value)
    {
        Next(text).Append(key);
        // A name in a certificate may hold anything its authority let pass; it must not turn into elements of its own.
        if (value.AsSpan().IndexOfAny(",;=\"") >= 0)
            Quote(text, value);
        else
            Visible(text, value);
    }

    private static void Quote(StringBuilder text, string value)
    {
        text.Append('"');
        Visible(text, value.Replace("\\", "\\\\").Replace("\"", "\\\""));
        text.Append('"');
    }

    private static void Visible(StringBuilder text, string value)
    {
        foreach (char c in value)
        {
            if (c is < ' ' or '\x7f')
                text.Append('%').Append(((int)c).ToString("X2", System.Globalization.CultureInfo.InvariantCulture));
            else
                text.Append(c <= 0xff ? c : '?');
        }
    }
}
