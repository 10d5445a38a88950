using System;
using Sidecar.Http;
using Sidecar.Memory;

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
/// <remarks>Shared immutable; applying allocates nothing.</remarks>
internal sealed class HeaderMutation
{
    internal static readonly HeaderMutation None = new();

    /// <summary>A value longer than this is not added.</summary>
    private const int ValueBytesMax = 4096;

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
        Span<byte> buffer = stackalloc byte[ValueBytesMax];
        foreach (var addition in additions)
        {
            var writer = new SpanWriter(buffer);
            addition.Value.Write(facts, ref writer);
            if (writer.Overflowed || (writer.Length == 0 && !addition.KeepEmpty))
                continue;
            switch (addition.Append)
            {
                case HeaderAppend.AppendIfExistsOrAdd:
                    headers.Add(addition.Name, writer.Written);
                    break;
                case HeaderAppend.AddIfAbsent when !headers.TryGet(addition.Name, out _):
                    headers.Add(addition.Name, writer.Written);
                    break;
                case HeaderAppend.OverwriteIfExistsOrAdd:
                    headers.Set(addition.Name, writer.Written);
                    break;
                case HeaderAppend.OverwriteIfExists when headers.TryGet(addition.Name, out _):
                    headers.Set(addition.Name, writer.Written);
                    break;
            }
        }
    }
}
