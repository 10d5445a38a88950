using System;
using System.Buffers;
using Sidecar.Http;
using Sidecar.Memory;
using Sidecar.Telemetry;

namespace Sidecar.Routing;

/// <summary>append_action of a header to add.</summary>
internal enum HeaderAppend : byte { AppendIfExistsOrAdd, AddIfAbsent, OverwriteIfExistsOrAdd, OverwriteIfExists }

/// <summary>One field to add.</summary>
/// <param name="Name">Lower case.</param>
/// <param name="Value">With substitutions.</param>
/// <param name="Append">What to do where there is one already.</param>
/// <param name="KeepEmpty">Add it also when its value turns out empty.</param>
internal sealed record HeaderAddition(byte[] Name, HeaderFormat Value, HeaderAppend Append, bool KeepEmpty);

/// <summary>Header operations of one level: table, virtual host, route or weighted cluster.</summary>
/// <remarks>
/// In Envoy's order: first the removals; then every value and every condition is worked out on the message as it then is, before any of them is written; then
/// those that replace, then those that add. Shared immutable; applying allocates nothing.
/// </remarks>
internal sealed class HeaderMutation
{
    internal static readonly HeaderMutation None = new();

    /// <summary>All values of one level together; one that does not fit is left out, which is logged.</summary>
    internal const int ValueBytesMax = 64 * 1024;

    internal HeaderAddition[] RequestAdd { get; init; } = [];

    /// <summary>Lower case.</summary>
    internal byte[][] RequestRemove { get; init; } = [];
    internal HeaderAddition[] ResponseAdd { get; init; } = [];
    internal byte[][] ResponseRemove { get; init; } = [];

    internal void ApplyToRequest(HeaderMap headers, IHeaderFacts facts) => Apply(headers, facts, RequestAdd, RequestRemove);

    internal void ApplyToResponse(HeaderMap headers, IHeaderFacts facts) => Apply(headers, facts, ResponseAdd, ResponseRemove);

    private static void Apply(HeaderMap headers, IHeaderFacts facts, HeaderAddition[] additions, byte[][] removals)
    {
        foreach (byte[] name in removals)
            headers.Remove(name);
        if (additions.Length > 0)
            Add(headers, facts, additions);
    }

    private static void Add(HeaderMap headers, IHeaderFacts facts, HeaderAddition[] additions)
    {
        byte[] buffer = ArrayPool<byte>.Shared.Rent(ValueBytesMax);
        // Where the value of each addition ends; -1: it is not to be written.
        Span<int> ends = additions.Length <= 64 ? stackalloc int[additions.Length] : new int[additions.Length];
        int used = 0;
        for (int i = 0; i < additions.Length; i++)
        {
            ends[i] = Evaluate(additions[i], headers, facts, buffer.AsSpan(used));
            if (ends[i] >= 0)
                ends[i] = used += ends[i];
        }
        Write(headers, additions, ends, buffer, replacing: true);
        Write(headers, additions, ends, buffer, replacing: false);
        ArrayPool<byte>.Shared.Return(buffer);
    }

    // The value's length, or -1 when the field is not to be written.
    private static int Evaluate(HeaderAddition addition, HeaderMap headers, IHeaderFacts facts, Span<byte> into)
    {
        bool wanted = addition.Append switch
        {
            HeaderAppend.AddIfAbsent => !headers.TryGet(addition.Name, out _),
            HeaderAppend.OverwriteIfExists => headers.TryGet(addition.Name, out _),
            _ => true,
        };
        if (!wanted)
            return -1;
        var writer = new SpanWriter(into);
        addition.Value.Write(facts, ref writer);
        if (writer.Overflowed)
        {
            Log.Warning("router", $"header {Ascii.String(addition.Name)} is not added: its value is too long");
            return -1;
        }
        return writer.Length > 0 || addition.KeepEmpty ? writer.Length : -1;
    }

    private static void Write(HeaderMap headers, HeaderAddition[] additions, ReadOnlySpan<int> ends, byte[] values, bool replacing)
    {
        int start = 0;
        for (int i = 0; i < additions.Length; i++)
        {
            if (ends[i] < 0)
                continue;
            var value = values.AsSpan(start, ends[i] - start);
            start = ends[i];
            bool replaces = additions[i].Append is HeaderAppend.OverwriteIfExistsOrAdd or HeaderAppend.OverwriteIfExists;
            if (replaces != replacing)
                continue;
            if (replaces)
                headers.Set(additions[i].Name, value);
            else
                headers.Add(additions[i].Name, value);
        }
    }
}
