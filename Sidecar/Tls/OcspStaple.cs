using System;
using Sidecar.Telemetry;

namespace Sidecar.Tls;

/// <summary>What becomes of a client's wish for an OCSP response; envoy's OcspStaplePolicy, same numbers.</summary>
internal enum OcspPolicy : byte
{
    /// <summary>One that is valid is sent.</summary>
    Lenient,

    /// <summary>One that has expired fails the handshake; none at all does not.</summary>
    Strict,

    /// <summary>Without a valid one the handshake fails, and without any the configuration is refused.</summary>
    Must,
}

/// <summary>What a certificate's staple and the policy come to for one handshake.</summary>
internal enum StapleAction : byte { Staple, Omit, Fail }

/// <summary>An OCSP response for one certificate (RFC 6960 section 4.2), as its authority has signed it: sent as it is, by whoever has that certificate.</summary>
/// <remarks>Shared immutable. Its signature is the client's affair.</remarks>
internal sealed unsafe class OcspStaple
{
    private const int Successful = 0;

    private readonly byte[] _bytes;

    private OcspStaple(byte[] bytes, string serial, long thisUpdateUnixS, long? nextUpdateUnixS)
    {
        _bytes = bytes;
        Serial = serial;
        ThisUpdateUnixS = thisUpdateUnixS;
        NextUpdateUnixS = nextUpdateUnixS;
    }

    /// <summary>Of the certificate it is about, as <see cref="CertificateFacts.Serial"/> has it.</summary>
    internal string Serial { get; }
    internal long ThisUpdateUnixS { get; }

    /// <summary>Null: newer information is there all the time (RFC 6960 section 2.4), which nothing that is kept can be.</summary>
    internal long? NextUpdateUnixS { get; }

    internal bool IsExpired(long nowUnixS) => NextUpdateUnixS is not { } next || next < nowUnixS;

    /// <summary>Reads a response in DER; null, and why, when it is not one about a single certificate.</summary>
    internal static OcspStaple? Parse(ReadOnlySpan<byte> der, out string problem)
    {
        nint response;
        fixed (byte* start = der)
        {
            byte* at = start;
            response = OpenSsl.d2i_OCSP_RESPONSE(null, &at, der.Length);
        }
        nint basic = 0;
        OcspStaple? staple = null;
        if (response == 0)
        {
            problem = "OCSP response is malformed";
        }
        else if (OpenSsl.OCSP_response_status(response) != Successful)
        {
            problem = "OCSP response was unsuccessful";
        }
        else if ((basic = OpenSsl.OCSP_response_get1_basic(response)) == 0)
        {
            problem = "OCSP response has no body";
        }
        else if (OpenSsl.OCSP_resp_count(basic) != 1)
        {
            problem = "OCSP Response must be for one certificate only";
        }
        else
        {
            problem = "";
            staple = Read(der.ToArray(), OpenSsl.OCSP_resp_get0(basic, 0));
        }
        OpenSsl.OCSP_BASICRESP_free(basic);
        OpenSsl.OCSP_RESPONSE_free(response);
        OpenSsl.ERR_clear_error();
        return staple;
    }

    private static OcspStaple Read(byte[] bytes, nint single)
    {
        int reason;
        nint revoked = 0, thisUpdate = 0, nextUpdate = 0, serial = 0;
        OpenSsl.OCSP_single_get0_status(single, &reason, &revoked, &thisUpdate, &nextUpdate);
        OpenSsl.OCSP_id_get0_info(null, null, null, &serial, OpenSsl.OCSP_SINGLERESP_get0_id(single));
        return new OcspStaple(
            bytes, Convert.ToHexStringLower(CertificateReader.Bytes(serial)), CertificateReader.Time(thisUpdate), nextUpdate == 0 ? null : CertificateReader.Time(nextUpdate));
    }

    /// <summary>Has a handshake that is under way send it. OpenSSL wants a copy of its own.</summary>
    internal void UseOn(nint ssl)
    {
        void* copy = OpenSsl.CRYPTO_malloc((nuint)_bytes.Length, null, 0);
        _bytes.CopyTo(new Span<byte>(copy, _bytes.Length));
        OpenSsl.SetOcspResponse(ssl, copy, _bytes.Length);
    }
}
