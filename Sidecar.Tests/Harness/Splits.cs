using System;
using System.Collections.Generic;
using System.Linq;
using Sidecar.Http;
using Sidecar.Telemetry;
using Xunit;

namespace Sidecar.Tests.Harness;

/// <summary>Runs one input through a parser whole, byte by byte, and at every split in two: what comes out must not depend on the cut.</summary>
internal static class Splits
{
    /// <summary>Inputs longer than this are split at 64 places spread over them instead of at every one.</summary>
    private const int EverySplitBytes = 4096;

    /// <summary>
    /// Calls <paramref name="run"/> once for every way to cut <paramref name="input"/>; it feeds the pieces to a fresh parser and describes what happened.
    /// </summary>
    /// <returns>The description, the same for all.</returns>
    internal static string Run(byte[] input, Func<IReadOnlyList<ReadOnlyMemory<byte>>, string> run)
    {
        string whole = run([input]);
        string bytes = run(Enumerable.Range(0, input.Length).Select(i => new ReadOnlyMemory<byte>(input, i, 1)).ToList());
        Assert.True(whole == bytes, $"byte by byte differs from whole\nwhole: {whole}\nbytes: {bytes}");
        int step = input.Length <= EverySplitBytes ? 1 : input.Length / 64;
        for (int at = 1; at < input.Length; at += step)
        {
            string split = run([input.AsMemory(0, at), input.AsMemory(at)]);
            Assert.True(whole == split, $"split at {at} differs from whole\nwhole: {whole}\nsplit: {split}");
        }
        return whole;
    }
}

/// <summary>Feeds a codec as a connection does: what it does not use is presented again, contiguous, with what follows.</summary>
internal sealed class CodecFeeder(HttpCodec codec)
{
    private byte[] _pending = [];

    /// <summary>The codec's verdict: the first failure it reported.</summary>
    internal Failure Error { get; private set; }

    internal int PendingBytes => _pending.Length;

    /// <summary>Feeds one piece; nothing after a failure, and nothing while the codec does not want input (it is kept).</summary>
    internal Failure Feed(ReadOnlySpan<byte> piece)
    {
        byte[] joined = new byte[_pending.Length + piece.Length];
        _pending.CopyTo(joined, 0);
        piece.CopyTo(joined.AsSpan(_pending.Length));
        _pending = joined;
        return Pump();
    }

    /// <summary>Presents what is pending while the codec wants it and gets on with it.</summary>
    internal Failure Pump()
    {
        while (Error == Failure.None && _pending.Length > 0 && codec.WantsInput)
        {
            // An exact copy, so that a read past the end is an exception and not luck.
            var result = codec.Feed(_pending);
            Error = result.Error;
            Assert.InRange(result.Consumed, 0, _pending.Length);
            _pending = _pending[result.Consumed..];
            if (result.Consumed == 0)
                break;
        }
        return Error;
    }
}
