using System;
using System.Collections.Generic;
using Sidecar.Http;
using Sidecar.Memory;

namespace Sidecar.Routing;

/// <summary>retry_on and x-envoy-retry-grpc-on, as a set.</summary>
[Flags]
internal enum RetryOn : uint
{
    None = 0,
    ServerError = 1,
    GatewayError = 2,
    Reset = 4,
    ConnectFailure = 8,
    RefusedStream = 16,
    Retriable4xx = 32,
    EnvoyRateLimited = 64,
    RetriableStatusCodes = 128,
    RetriableHeaders = 256,
    ResetBeforeRequest = 512,
    GrpcCancelled = 1 << 10,
    GrpcDeadlineExceeded = 1 << 11,
    GrpcInternal = 1 << 12,
    GrpcResourceExhausted = 1 << 13,
    GrpcUnavailable = 1 << 14,
    AnyGrpc = GrpcCancelled | GrpcDeadlineExceeded | GrpcInternal | GrpcResourceExhausted | GrpcUnavailable,
}

/// <summary>A response field that says when to come back.</summary>
/// <param name="Name">Lower case.</param>
/// <param name="IsUnixTime">Its value is a moment, not a number of seconds.</param>
internal sealed record ResetHeader(byte[] Name, bool IsUnixTime);

/// <summary>envoy.config.route.v3.RetryPolicy. Times in milliseconds.</summary>
/// <remarks>Shared immutable.</remarks>
internal sealed class RetryPolicy
{
    internal RetryOn On { get; init; }
    internal uint NumRetries { get; init; } = 1;
    internal long PerTryTimeoutMs { get; init; }
    internal long PerTryIdleTimeoutMs { get; init; }
    internal int[] RetriableStatusCodes { get; init; } = [];
    internal HeaderMatcher[] RetriableHeaders { get; init; } = [];

    /// <summary>If any, the request must match one of them to be retried at all.</summary>
    internal HeaderMatcher[] RetriableRequestHeaders { get; init; } = [];
    internal long? BackOffBaseMs { get; init; }
    internal long? BackOffMaxMs { get; init; }
    internal ResetHeader[] ResetHeaders { get; init; } = [];
    internal long ResetMaxMs { get; init; } = 300_000;

    /// <summary>retry_host_predicate previous_hosts: hosts tried before are passed over.</summary>
    internal bool PreviousHosts { get; init; }
    internal int HostSelectionAttempts { get; init; } = 1;

    /// <summary>Parses a comma-separated retry_on; unknown names are passed over, as in Envoy.</summary>
    /// <param name="text">For example <c>connect-failure,refused-stream</c>.</param>
    internal static RetryOn ParseOn(ReadOnlySpan<byte> text) => Parse(text, static name =>
        name.SequenceEqual("5xx"u8) ? RetryOn.ServerError
        : name.SequenceEqual("gateway-error"u8) ? RetryOn.GatewayError
        : name.SequenceEqual("reset"u8) ? RetryOn.Reset
        : name.SequenceEqual("connect-failure"u8) ? RetryOn.ConnectFailure
        : name.SequenceEqual("refused-stream"u8) ? RetryOn.RefusedStream
        : name.SequenceEqual("retriable-4xx"u8) ? RetryOn.Retriable4xx
        : name.SequenceEqual("envoy-ratelimited"u8) ? RetryOn.EnvoyRateLimited
        : name.SequenceEqual("retriable-status-codes"u8) ? RetryOn.RetriableStatusCodes
        : name.SequenceEqual("retriable-headers"u8) ? RetryOn.RetriableHeaders
        : name.SequenceEqual("reset-before-request"u8) ? RetryOn.ResetBeforeRequest
        : GrpcName(name));

    /// <summary>Parses x-envoy-retry-grpc-on.</summary>
    internal static RetryOn ParseGrpcOn(ReadOnlySpan<byte> text) => Parse(text, GrpcName);

    /// <summary>Parses x-envoy-retriable-status-codes, added to those of the policy.</summary>
    internal static int[] ParseStatusCodes(ReadOnlySpan<byte> text, int[] configured)
    {
        var codes = new List<int>(configured);
        foreach (var range in text.Split((byte)','))
        {
            if (Ascii.TryParseDecimal(Ascii.TrimOws(text[range]), out long code) && code is >= 100 and < 600)
                codes.Add((int)code);
        }
        return codes.ToArray();
    }

    internal bool MatchesRetriableHeaders(ResponseHead head)
    {
        foreach (var matcher in RetriableHeaders)
        {
            if (matcher.Matches(head))
                return true;
        }
        return false;
    }

    /// <summary>Whether the request may be retried at all (retriable_request_headers).</summary>
    internal bool AllowsRequest(RequestHead head)
    {
        foreach (var matcher in RetriableRequestHeaders)
        {
            if (matcher.Matches(head))
                return true;
        }
        return RetriableRequestHeaders.Length == 0;
    }

    /// <summary>When the upstream asks to be left alone, by a reset header: how long. False when it does not, or for longer than the policy waits.</summary>
    internal bool TryRateLimitedBackOff(ResponseHead head, long unixMs, out long ms)
    {
        ms = 0;
        foreach (var reset in ResetHeaders)
        {
            if (!head.TryGet(reset.Name, out var value) || !Ascii.TryParseDecimal(value, out long number) || number > long.MaxValue / 1000)
                continue;
            ms = reset.IsUnixTime ? number * 1000 - unixMs : number * 1000;
            if (ms >= 0 && ms <= ResetMaxMs)
                return true;
        }
        return false;
    }

    private delegate RetryOn NameParser(ReadOnlySpan<byte> name);

    private static RetryOn Parse(ReadOnlySpan<byte> text, NameParser parse)
    {
        var on = RetryOn.None;
        foreach (var range in text.Split((byte)','))
            on |= parse(Ascii.TrimOws(text[range]));
        return on;
    }

    private static RetryOn GrpcName(ReadOnlySpan<byte> name) =>
        name.SequenceEqual("cancelled"u8) ? RetryOn.GrpcCancelled
        : name.SequenceEqual("deadline-exceeded"u8) ? RetryOn.GrpcDeadlineExceeded
        : name.SequenceEqual("internal"u8) ? RetryOn.GrpcInternal
        : name.SequenceEqual("resource-exhausted"u8) ? RetryOn.GrpcResourceExhausted
        : name.SequenceEqual("unavailable"u8) ? RetryOn.GrpcUnavailable
        : RetryOn.None;
}
