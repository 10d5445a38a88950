using System;
using System.Buffers;
using System.Collections.Generic;
using System.Text;
using System.Text.Encodings.Web;
using System.Text.Json;
using Sidecar.Wire;
using Xunit;

namespace Sidecar.Tests.Wire;

/// <summary>JSON in and out of the transcoder, for tests.</summary>
internal static class WireHarness
{
    /// <summary>The message a text says; fails the test when the transcoder has anything against it.</summary>
    public static byte[] Read(string json, string type, bool legacy = false)
    {
        byte[]? wire = TryRead(json, type, out List<WireProblem> problems, legacy);
        Assert.True(wire is not null, string.Join("\n", problems));
        Assert.DoesNotContain(problems, problem => problem.IsError);
        return wire!;
    }

    /// <summary>The message, or null with what is wrong.</summary>
    public static byte[]? TryRead(string json, string type, out List<WireProblem> problems, bool legacy = false)
    {
        var collected = new WireProblems();
        var output = new WireWriter();
        byte[] document = Encoding.UTF8.GetBytes(json);
        bool read = Transcoder.TryReadJson(document, 0, document.Length, SchemaTable.Find(type)!, legacy, "", collected, output);
        problems = [.. collected.List];
        return read ? output.Written.ToArray() : null;
    }

    /// <summary>The JSON of a message, not indented.</summary>
    public static string Write(ReadOnlySpan<byte> wire, string type, bool redact = false)
    {
        Assert.True(TryWrite(wire, type, redact, out string json));
        return json;
    }

    /// <summary>The JSON of a message that may be broken; what was written is JSON all the same.</summary>
    public static bool TryWrite(ReadOnlySpan<byte> wire, string type, bool redact, out string json)
    {
        var buffer = new ArrayBufferWriter<byte>();
        bool whole;
        using (var writer = new Utf8JsonWriter(buffer, new JsonWriterOptions { Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping, MaxDepth = 1000 }))
            whole = Transcoder.TryWriteJson(wire, SchemaTable.Find(type)!, writer, redact);
        json = Encoding.UTF8.GetString(buffer.WrittenSpan);
        return whole;
    }

    /// <summary>There and back.</summary>
    public static string RoundTrip(string json, string type) => Write(Read(json, type), type);

    /// <summary>The one problem a text has.</summary>
    public static WireProblem OnlyProblem(string json, string type, bool legacy = false)
    {
        TryRead(json, type, out List<WireProblem> problems, legacy);
        return Assert.Single(problems);
    }
}
