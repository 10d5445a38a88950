using System;
using System.Collections.Generic;
using System.IO;
using System.Linq;
using System.Text;
using System.Text.RegularExpressions;
using Sidecar.Http;
using Sidecar.Http.H1;
using Sidecar.Memory;
using Sidecar.Telemetry;
using Sidecar.Tests.Harness;
using Xunit;

namespace Sidecar.Tests.Fuzz;

/// <summary>
/// A million seeded mutations of real traffic through the HTTP/1 codecs, each whole and cut in two: they end in success or a Failure, never in an
/// exception, the cut changes nothing, and no buffer leaks. Same seed, same run.
/// </summary>
public class Http1FuzzTests
{
    /// <summary>Mutations per direction: both together are the million, and each is fed twice.</summary>
    private const int Mutations = 500_000;

    [Fact]
    public void MutatedRequests_EndInSuccessOrFailure() => Run(RequestCorpus(), new Random(1), new ServerTarget());

    [Fact]
    public void MutatedResponses_EndInSuccessOrFailure() => Run(ResponseCorpus(), new Random(2), new ClientTarget());

    private static void Run(List<byte[]> corpus, Random random, Target target)
    {
        byte[] mutated = new byte[16 * 1024];
        int failures = 0;
        int messages = 0;
        for (int i = 0; i < Mutations; i++)
        {
            int length = Mutate(corpus, random, mutated);
            var input = mutated.AsSpan(0, length);
            var whole = target.Feed(input, default);
            int cut = length == 0 ? 0 : random.Next(length);
            var split = target.Feed(input[..cut], input[cut..]);
            if (whole != split)
                Assert.Fail($"mutation {i}, cut at {cut}: whole {whole}, split {split}: {Convert.ToBase64String(input)}");
            failures += whole.IsFailure ? 1 : 0;
            messages += whole.Messages;
        }
        // Both ways out must really be taken.
        Assert.InRange(failures, Mutations / 20, Mutations - Mutations / 20);
        Assert.InRange(messages, Mutations / 20, int.MaxValue);
        Assert.Equal(0, target.Slab.RentedCount);
    }

    private static readonly byte[][] s_tokens =
    [
        .. new[]
        {
            "\r\n", "\n", "\r", "\0", " ", "\t", ":", ",", ";", "0", "5\r\n", "0\r\n\r\n", "ffffffffffffffff", "\r\n\r\n", "Content-Length: 5\r\n", "Content-Length: 0\r\n",
            "Transfer-Encoding: chunked\r\n", "Connection: close\r\n", "Connection: upgrade, x-a\r\n", "Upgrade: websocket\r\n", "Host: b\r\n", "Expect: 100-continue\r\n",
            "HTTP/1.0", "HTTP/1.1 100 Continue\r\n\r\n", "HTTP/1.1 101 X\r\n\r\n", "HTTP/1.1 204 X\r\n\r\n", "CONNECT a:1 ", "HEAD ", "http://x?", "*", "\u00ff", "TE: trailers\r\n", ";a=\"b\"",
        }.Select(Encoding.Latin1.GetBytes),
    ];

    private static int Mutate(List<byte[]> corpus, Random random, byte[] into)
    {
        byte[] seed = corpus[random.Next(corpus.Count)];
        int length = Math.Min(seed.Length, into.Length / 2);
        seed.AsSpan(0, length).CopyTo(into);
        if (random.Next(8) == 0)
        {
            byte[] next = corpus[random.Next(corpus.Count)];
            int more = Math.Min(next.Length, into.Length / 4);
            next.AsSpan(0, more).CopyTo(into.AsSpan(length));
            length += more;
        }
        for (int edits = random.Next(4); edits > 0 && length > 0; edits--)
        {
            int at = random.Next(length);
            switch (random.Next(5))
            {
                case 0:
                    into[at] = (byte)random.Next(256);
                    break;
                case 1:
                    into[at] ^= (byte)(1 << random.Next(8));
                    break;
                case 2:
                    int gone = Math.Min(random.Next(1, 9), length - at);
                    into.AsSpan(at + gone, length - at - gone).CopyTo(into.AsSpan(at));
                    length -= gone;
                    break;
                default:
                    byte[] token = s_tokens[random.Next(s_tokens.Length)];
                    if (length + token.Length > into.Length)
                        break;
                    into.AsSpan(at, length - at).CopyTo(into.AsSpan(at + token.Length));
                    token.CopyTo(into.AsSpan(at));
                    length += token.Length;
                    break;
            }
        }
        return length;
    }

    // ---- what is fed -----------------------------------------------------------------------------------------

    private readonly record struct Verdict(bool IsFailure, int Messages, int BodyBytes, int Ended);

    private abstract class Target
    {
        internal readonly Slab Slab = new();
        internal abstract Verdict Feed(ReadOnlySpan<byte> first, ReadOnlySpan<byte> second);
    }

    private sealed class ServerTarget : Target
    {
        private readonly Events _events = new();
        private readonly Http1ServerCodec _codec;
        private readonly byte[] _buffer = new byte[16 * 1024];

        internal ServerTarget() => _codec = new Http1ServerCodec(new BufferChain(Slab), _events, new Http1Options { AcceptHttp10 = true, EnableTrailers = true });

        internal override Verdict Feed(ReadOnlySpan<byte> first, ReadOnlySpan<byte> second)
        {
            _events.Clear();
            _codec.Reset();
            bool failed = FeedAll(_codec, _buffer, first, second);
            _codec.OnConnectionLost(Failure.DownstreamDisconnect);
            _codec.Output.Clear();
            return new Verdict(failed, _events.Messages, _events.BodyBytes, _events.Ended);
        }

        private sealed class Events : ServerCodecEvents
        {
            internal int Messages, BodyBytes, Ended;
            private readonly Sink _sink;

            internal Events() => _sink = new Sink(this);

            internal void Clear() => Messages = BodyBytes = Ended = 0;

            internal override void OnOutput() { }
            internal override void OnWantsInput() { }
            internal override void OnStreamClosed(CodecStream stream) { }

            internal override void OnNewStream(ServerStream stream)
            {
                Messages++;
                _sink.Stream = stream;
                stream.Sink = _sink;
            }

            private sealed class Sink(Events events) : RequestSink
            {
                private readonly ResponseHead _ok = new() { Status = 200 };
                private readonly ResponseHead _switching = new() { Status = 101 };
                internal ServerStream Stream = null!;
                private bool _tunnel;

                internal override void OnHead(RequestHead head, bool endStream)
                {
                    foreach (var field in head)
                        Assert.Equal(-1, field.Value.IndexOfAny((byte)'\r', (byte)'\n', (byte)0));
                    _tunnel = head.Framing.Kind == BodyKind.Tunnel;
                    if (_tunnel)
                        Stream.SendHead(head.IsUpgrade ? _switching : _ok, false);
                    else if (endStream)
                        End();
                }

                internal override void OnBody(ReadOnlySpan<byte> data, bool endStream)
                {
                    events.BodyBytes += data.Length;
                    if (_tunnel)
                        Stream.SendBody(data, endStream);
                    else if (endStream)
                        End();
                }

                internal override void OnTrailers(HeaderMap trailers) => End();
                internal override void OnReset(Failure reason) { }
                internal override void OnSendBlocked() { }
                internal override void OnSendReady() { }

                private void End()
                {
                    events.Ended++;
                    Stream.SendHead(_ok, true);
                }
            }
        }
    }

    private sealed class ClientTarget : Target
    {
        private readonly Events _events = new();
        private readonly Sink _sink = new();
        private readonly Http1ClientCodec _codec;
        private readonly RequestHead _request = Http1ClientRecorder.NewRequest("GET", "/", ("connection", "upgrade"), ("upgrade", "websocket"));
        private readonly RequestHead _plain = Http1ClientRecorder.NewRequest("GET", "/");
        private int _count;

        private readonly byte[] _buffer = new byte[16 * 1024];

        internal ClientTarget() => _codec = new Http1ClientCodec(new BufferChain(Slab), _events, new Http1Options { EnableTrailers = true });

        internal override Verdict Feed(ReadOnlySpan<byte> first, ReadOnlySpan<byte> second)
        {
            _sink.Messages = _sink.BodyBytes = _sink.Ended = 0;
            _codec.Reset();
            // Each input is fed twice, whole and split: every other input answers an upgrade.
            bool upgrade = (_count++ & 2) != 0;
            _codec.OpenStream(_sink).SendHead(upgrade ? _request : _plain, !upgrade);
            bool failed = FeedAll(_codec, _buffer, first, second);
            _codec.OnEndOfInput();
            _codec.OnConnectionLost(Failure.UpstreamConnectionTermination);
            _codec.Output.Clear();
            return new Verdict(failed, _sink.Messages, _sink.BodyBytes, _sink.Ended);
        }

        private sealed class Events : CodecEvents
        {
            internal override void OnOutput() { }
            internal override void OnWantsInput() { }
            internal override void OnStreamClosed(CodecStream stream) { }
        }

        private sealed class Sink : ResponseSink
        {
            internal int Messages, BodyBytes, Ended;

            internal override void OnInformational(ResponseHead head) => Messages++;

            internal override void OnHead(ResponseHead head, bool endStream)
            {
                foreach (var field in head)
                    Assert.Equal(-1, field.Value.IndexOfAny((byte)'\r', (byte)'\n', (byte)0));
                Messages++;
                Ended += endStream ? 1 : 0;
            }

            internal override void OnBody(ReadOnlySpan<byte> data, bool endStream)
            {
                BodyBytes += data.Length;
                Ended += endStream ? 1 : 0;
            }

            internal override void OnTrailers(HeaderMap trailers) => Ended++;
            internal override void OnReset(Failure reason) { }
            internal override void OnSendBlocked() { }
            internal override void OnSendReady() { }
        }
    }

    private static bool FeedAll(HttpCodec codec, byte[] buffer, ReadOnlySpan<byte> first, ReadOnlySpan<byte> second)
    {
        int pending = 0;
        for (int piece = 0; piece < 2; piece++)
        {
            var bytes = piece == 0 ? first : second;
            bytes.CopyTo(buffer.AsSpan(pending));
            pending += bytes.Length;
            while (pending > 0 && codec.WantsInput)
            {
                var result = codec.Feed(buffer.AsSpan(0, pending));
                if (result.Error != Failure.None)
                    return true;
                if (result.Consumed == 0)
                    break;
                pending -= result.Consumed;
                buffer.AsSpan(result.Consumed, pending).CopyTo(buffer);
            }
        }
        return false;
    }

    // ---- real traffic ----------------------------------------------------------------------------------------

    private static List<byte[]> RequestCorpus()
    {
        string[] own =
        [
            "GET / HTTP/1.1\r\nHost: localhost:8080\r\nUser-Agent: curl/8.5.0\r\nAccept: */*\r\n\r\n",
            "GET /status/200?x=y HTTP/1.1\r\nHost: httpbin:8000\r\nx-forwarded-proto: http\r\nx-request-id: 6b2e4c21-9d3e-9c70-a3a5-2a1f0e2f3b14\r\nx-envoy-attempt-count: 1\r\nx-b3-traceid: 0af7651916cd43dd8448eb211c80319c\r\n\r\n",
            "POST /post HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 13\r\n\r\n{\"a\": [1, 2]}",
            "POST /c HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTrailer: x-t\r\n\r\n7\r\nMozilla\r\n9;x=y\r\nDeveloper\r\n0\r\nx-t: v\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET /ws HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n\u0081\u0085abcd",
            "CONNECT example.com:443 HTTP/1.1\r\nHost: example.com:443\r\n\r\n\u0016\u0003\u0001",
            "GET / HTTP/1.0\r\nHost: ab\r\nConnection: Keep-Alive\r\n\r\nHEAD /x HTTP/1.1\r\nHost: [::1]:80\r\nConnection: close\r\n\r\n",
            "PUT http://a.b/c?d HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 3\r\nTE: trailers\r\nConnection: TE, x-hop\r\nx-hop: 1\r\n\r\nabc",
        ];
        return Corpus(own, "request");
    }

    private static List<byte[]> ResponseCorpus()
    {
        string[] own =
        [
            "HTTP/1.1 200 OK\r\nserver: envoy\r\ndate: Tue, 01 Jul 2025 10:00:00 GMT\r\ncontent-type: text/html; charset=utf-8\r\ncontent-length: 5\r\nx-envoy-upstream-service-time: 3\r\n\r\nhello",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n6;e\r\n world\r\n0\r\nx-t: 1\r\n\r\n",
            "HTTP/1.1 304 Not Modified\r\nETag: \"x\"\r\nContent-Length: 100\r\n\r\n",
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 201 Created\r\nLocation: /x\r\nContent-Length: 0\r\n\r\n",
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n\u0081\u0005hello",
            "HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\nuntil the end",
            "HTTP/1.1 503 Service Unavailable\r\nconnection: close\r\ncontent-length: 19\r\n\r\nno healthy upstream",
        ];
        return Corpus(own, "response");
    }

    // The published texts join when they are there; without them the run is the same size over our own.
    private static List<byte[]> Corpus(string[] own, string kind)
    {
        var corpus = own.Select(Encoding.Latin1.GetBytes).ToList();
        string folder = Path.Combine(ProjectTree.SharedRoot, "testdata/llhttp/test", kind);
        if (!Directory.Exists(folder))
            return corpus;
        foreach (string file in Directory.GetFiles(folder, "*.md").Order(StringComparer.Ordinal))
        {
            foreach (Match match in Regex.Matches(File.ReadAllText(file), @"```http\n(.*?)\n?```", RegexOptions.Singleline))
                corpus.Add(Encoding.Latin1.GetBytes(match.Groups[1].Value.ReplaceLineEndings("\r\n")));
        }
        return corpus;
    }
}
