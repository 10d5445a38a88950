using System;
using System.Collections.Generic;
using System.IO;
using System.Linq;
using System.Text;
using System.Text.RegularExpressions;
using Sidecar.Http.H1;
using Sidecar.Telemetry;
using Sidecar.Tests.Harness;
using Xunit;

namespace Sidecar.Tests.Conformance;

/// <summary>
/// The published request and response texts of llhttp: each gets the verdict of its strict mode, or a stricter one that is listed with its reason.
/// Texts for its lenient modes must not be understood as those modes do.
/// </summary>
public class Http1LlhttpTests
{
    /// <summary>One text: what it is, its bytes, and what llhttp's log says.</summary>
    internal sealed record Case(string Name, string Type, string Input, int Messages, bool IsError, int BodyBytes)
    {
        internal bool IsLenient => Type.Contains("lenient", StringComparison.Ordinal);
    }

    [SkippableFact]
    public void Requests_VerdictOfStrictModeOrStricter()
    {
        var cases = Load("request");
        Assert.Equal(166, cases.Count);
        var differences = new SortedDictionary<string, string>(StringComparer.Ordinal);
        foreach (var test in cases)
        {
            // A text without Host is refused for that alone, which proves little: it gets one.
            AssertNoLooser(test, RunRequests(test.Input));
            var ours = RunRequests(AddHost(test.Input));
            AssertNoLooser(test, ours);
            Compare(test, ours, differences);
        }
        AssertListed(RequestDifferences, differences);
    }

    [SkippableFact]
    public void Responses_VerdictOfStrictModeOrStricter()
    {
        var cases = Load("response");
        Assert.Equal(85, cases.Count);
        var differences = new SortedDictionary<string, string>(StringComparer.Ordinal);
        foreach (var test in cases)
        {
            var ours = RunResponses(test.Input);
            AssertNoLooser(test, ours);
            Compare(test, ours, differences);
        }
        AssertListed(ResponseDifferences, differences);
    }

    internal readonly record struct Outcome(int Messages, bool IsError, int BodyBytes, string Transcript);

    // Stricter or equal: never more messages, and where llhttp's strict mode stops with an error no message after it.
    private static void AssertNoLooser(Case test, Outcome ours)
    {
        if (!test.IsLenient)
            Assert.True(ours.Messages <= test.Messages, $"{test.Name}: {ours.Messages} messages, llhttp has {test.Messages}\n{ours.Transcript}");
    }

    private static void Compare(Case test, Outcome ours, SortedDictionary<string, string> differences)
    {
        string? difference = test.IsLenient
            ? ours.IsError ? null : $"lenient text accepted ({ours.Messages} messages)"
            : (test.IsError, ours.IsError) switch
            {
                (true, true) => null,
                (true, false) => $"llhttp errs, we do not ({ours.Messages} of {test.Messages} messages)",
                (false, true) => $"llhttp accepts, we do not",
                _ when ours.Messages != test.Messages => $"{ours.Messages} messages, llhttp {test.Messages}",
                _ when ours.BodyBytes != test.BodyBytes => $"{ours.BodyBytes} body bytes, llhttp {test.BodyBytes}",
                _ => null,
            };
        if (difference is not null)
            differences[test.Name] = difference + "\n    " + ours.Transcript.Replace("\n", "\n    ", StringComparison.Ordinal);
    }

    private static void AssertListed((string Name, string Reason)[] listed, SortedDictionary<string, string> found)
    {
        var names = listed.Select(row => row.Name).ToHashSet();
        var unlisted = found.Where(pair => !names.Contains(pair.Key)).Select(pair => pair.Key + ": " + pair.Value).ToList();
        Assert.True(unlisted.Count == 0, "differences without a reason:\n" + string.Join("\n", unlisted));
        var gone = names.Where(name => !found.ContainsKey(name)).ToList();
        Assert.True(gone.Count == 0, "listed, but no difference:\n" + string.Join("\n", gone));
    }

    private static Outcome RunRequests(string input)
    {
        var outcome = default(Outcome);
        string transcript = Splits.Run(Encoding.Latin1.GetBytes(input), pieces =>
        {
            var server = new Http1ServerRecorder(new Http1Options { AcceptHttp10 = true });
            foreach (var piece in pieces)
                server.Feeder.Feed(piece.Span);
            int messages = server.Requests.Count(request => request.Ended || request.IsTunnel);
            outcome = new Outcome(messages, server.Feeder.Error != Failure.None, server.Requests.Sum(request => request.Body.Length), "");
            return server.Transcript(server.Codec.OnEndOfInput());
        });
        return outcome with { Transcript = transcript };
    }

    private static Outcome RunResponses(string input)
    {
        var outcome = default(Outcome);
        string transcript = Splits.Run(Encoding.Latin1.GetBytes(input), pieces =>
        {
            var client = new Http1ClientRecorder();
            client.Send("GET", "/");
            foreach (var piece in pieces)
                client.Feeder.Feed(piece.Span);
            int messages = client.Responses.Sum(response => (response.Ended ? 1 : 0) + response.Informational.Count);
            outcome = new Outcome(messages, client.Feeder.Error != Failure.None, client.Responses.Sum(response => response.Body.Length), "");
            return client.Transcript(client.Codec.OnEndOfInput());
        });
        return outcome with { Transcript = transcript };
    }

    private static string AddHost(string input) => input.Contains("host:", StringComparison.OrdinalIgnoreCase)
        ? input
        : Regex.Replace(input, @"(?<=^|\n)([A-Z\-]+ [^\r\n]* HTTP/1\.[01]\r\n)", "$1Host: h\r\n");

    private static List<Case> Load(string kind)
    {
        var cases = new List<Case>();
        string folder = ProjectTree.Shared("testdata/llhttp/test/" + kind);
        foreach (string file in Directory.GetFiles(folder, "*.md").Order(StringComparer.Ordinal))
        {
            string text = File.ReadAllText(file).ReplaceLineEndings("\n");
            foreach (Match match in Regex.Matches(text, @"<!-- meta=(?<meta>\{.*?\}) -->\s*```http\n(?<http>.*?)\n?```.*?```log\n(?<log>.*?)```", RegexOptions.Singleline))
            {
                string heading = Regex.Matches(text[..match.Index], @"^#+ (.*)$", RegexOptions.Multiline)[^1].Groups[1].Value;
                string type = Regex.Match(match.Groups["meta"].Value, "\"type\": ?\"([a-z-]+)\"").Groups[1].Value;
                string log = match.Groups["log"].Value;
                // Codes 21 to 23 are pauses of that parser's interface, not verdicts.
                bool isError = Regex.IsMatch(log, @"error code=(?!2[123] )");
                int body = Regex.Matches(log, @"len=(\d+) span\[body\]").Sum(span => int.Parse(span.Groups[1].Value));
                cases.Add(new Case($"{Path.GetFileNameWithoutExtension(file)}: {heading}", type, Unescape(match.Groups["http"].Value),
                    Regex.Matches(log, "message complete").Count, isError, body));
            }
        }
        return cases;
    }

    // The texts' own notation: a backslash at a line's end joins lines, every line ends with CRLF, \r \n \t \f \xHH are characters.
    private static string Unescape(string text)
    {
        text = text.Replace("\\\n", "", StringComparison.Ordinal).Replace("\n", "\r\n", StringComparison.Ordinal);
        text = text.Replace("\\r", "\r", StringComparison.Ordinal).Replace("\\n", "\n", StringComparison.Ordinal);
        text = text.Replace("\\t", "\t", StringComparison.Ordinal).Replace("\\f", "\f", StringComparison.Ordinal);
        text = Regex.Replace(text, @"\\x([0-9a-fA-F]{2})", hex => ((char)Convert.ToInt32(hex.Groups[1].Value, 16)).ToString());
        return Encoding.Latin1.GetString(Encoding.UTF8.GetBytes(text));
    }

    private const string AfterClose = "the request before is answered, with connection: close; what follows is dropped unread instead of being called an error";
    private const string Unfinished = "the text stops before the empty line; a head is judged when it is complete (a control character or a bare line end at once), and nothing is dispatched";
    private const string NotHttp = "HTTP only: no RTSP, ICE or HTTP/2 on an HTTP/1 connection (the preface is recognised before this codec)";
    private const string ChunkedOnly = "transfer codings other than chunked are not decoded, so not accepted: 501, as Envoy";

    private static readonly (string Name, string Reason)[] RequestDifferences =
    [
        ("connection: CRLF between requests, explicit `close`", AfterClose),
        ("connection: CRLF between requests, explicit `close` (lenient)", AfterClose),
        ("connection: CRLF between requests, explicit `close` followed by tab", AfterClose),
        ("connection: No restart when keep-alive is off (1.0)", AfterClose),
        ("connection: Resetting flags when keep-alive is off (1.0, lenient)", AfterClose),
        ("content-length: Content-Length reset when no body is received", "that run tells its parser to skip bodies; here the second message is the first one's body"),
        ("content-length: Error on `Content-Length` overflow", Unfinished),
        ("content-length: Error on duplicate `Content-Length`", Unfinished),
        ("invalid: Invalid HTTP version", Unfinished),
        ("invalid: Invalid space after start line", Unfinished),
        ("lenient-header-value-relaxed: Space after start line must still fail", Unfinished),
        ("method: ANNOUNCE request with RTSP", NotHttp),
        ("method: OPTIONS request with RTSP", NotHttp),
        ("method: PRI request HTTP2", NotHttp),
        ("method: SOURCE request with ICE", NotHttp),
        ("method: CONNECT request", "accepted by both; here the bytes behind an accepted CONNECT are the tunnel's"),
        ("method: CONNECT with body", "a CONNECT has no body (RFC 9110 section 9.3.6): 400, as Envoy"),
        ("method: M-SEARCH request", "the asterisk form is for OPTIONS only (RFC 9112 section 3.2.4)"),
        ("method: QUERY request", "not among the methods Envoy knows; allow_custom_methods admits it"),
        ("sample: No HTTP version", "HTTP/0.9 is not spoken (RFC 9112 section 3 requires the version)"),
        ("transfer-encoding: POST with `chunked` as last transfer-encoding", ChunkedOnly),
        ("transfer-encoding: POST with `chunked` as last transfer-encoding (multiple headers)", ChunkedOnly),
        ("uri: `host:port` and basic auth", "userinfo in an http URI is refused (RFC 9110 section 4.2.4)"),
    ];

    private const string OneResponse = "one request was sent, so the second response answers nothing: the first is delivered, the connection is not used again";
    private const string LastResponse = "the response is delivered; what follows the last response of a connection is dropped unread";

    private static readonly (string Name, string Reason)[] ResponseDifferences =
    [
        ("connection: HTTP 101 response with Upgrade and Content-Length header", "no upgrade was asked for, and a 101 has no body"),
        ("connection: HTTP 101 response with Upgrade and Transfer-Encoding header", "no upgrade was asked for, and a 101 has no body"),
        ("connection: HTTP 304 with Content-Length", OneResponse),
        ("connection: HTTP 304 with Transfer-Encoding", OneResponse),
        ("connection: HTTP/1.0 with keep-alive and 204 status", OneResponse),
        ("connection: HTTP/1.1 with 204 status", OneResponse),
        ("pipelining: Should parse multiple events", OneResponse),
        ("connection: HTTP/1.1 with keep-alive disabled and 204 status", LastResponse),
        ("connection: HTTP/1.1 with keep-alive disabled and 204 status (lenient)", LastResponse),
        ("connection: HTTP/1.1 with keep-alive disabled, content-length", LastResponse),
        ("connection: HTTP/1.1 with keep-alive disabled, content-length (lenient)", LastResponse),
        ("content-length: Content-Length reset when no body is received", "that run tells its parser to skip bodies; here the second message is the first one's body"),
        ("invalid: Invalid space after start line", Unfinished),
        ("sample: HTTP version 0.9", "HTTP/1.0 and HTTP/1.1 only"),
        ("sample: ICE response", NotHttp),
        ("sample: RTSP response", NotHttp),
        ("transfer-encoding: `chunked` before other transfer-encoding", ChunkedOnly),
        ("transfer-encoding: `chunkedchunked` transfer-encoding does not enable chunked enconding", ChunkedOnly),
        ("transfer-encoding: multiple transfer-encoding where chunked is not the last one", ChunkedOnly),
    ];
}
