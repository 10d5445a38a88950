using System;
using Google.Protobuf;
using Google.Protobuf.WellKnownTypes;

namespace Sidecar.Wire;

/// <summary>
/// What the generated classes had in static fields (Wire/Schema/WireClasses.cs rewrites them): parsers and the codecs of maps and packed fields, each made when first
/// asked for. A cell that two threads fill at once holds one of two equal objects. Any thread.
/// </summary>
internal static class WireStatics
{
    // As many as WireClasses numbers, rounded up; it says when there are more.
    private const int Cells = 1024;

    private static readonly object?[] s_cells = new object?[Cells];

    /// <summary>The parser of a class.</summary>
    public static MessageParser<T> Parser<T>(int cell) where T : class, IMessage<T>, new() =>
        (MessageParser<T>)(s_cells[cell] ??= new MessageParser<T>(new Maker<T>().Make));

    /// <summary>A codec that is needed as an object.</summary>
    public static T Kept<T>(int cell, Func<T> make) where T : class => (T)(s_cells[cell] ??= make());

    // Not a lambda: that would bring a static field back for each class.
    private sealed class Maker<T> where T : new()
    {
        public T Make() => new();
    }

    // ---- wrappers: google.protobuf.UInt32Value and its like, a message of one field ----------------------------------------

    public static bool? Readbool(ref ParseContext input)
    {
        var wrapper = new BoolValue();
        input.ReadMessage(wrapper);
        return wrapper.Value;
    }

    public static uint? Readuint(ref ParseContext input)
    {
        var wrapper = new UInt32Value();
        input.ReadMessage(wrapper);
        return wrapper.Value;
    }

    public static ulong? Readulong(ref ParseContext input)
    {
        var wrapper = new UInt64Value();
        input.ReadMessage(wrapper);
        return wrapper.Value;
    }

    public static double? Readdouble(ref ParseContext input)
    {
        var wrapper = new DoubleValue();
        input.ReadMessage(wrapper);
        return wrapper.Value;
    }

    public static void Write(ref WriteContext output, uint tag, bool? value) => Write(ref output, tag, new BoolValue { Value = value.GetValueOrDefault() });

    public static void Write(ref WriteContext output, uint tag, uint? value) => Write(ref output, tag, new UInt32Value { Value = value.GetValueOrDefault() });

    public static void Write(ref WriteContext output, uint tag, ulong? value) => Write(ref output, tag, new UInt64Value { Value = value.GetValueOrDefault() });

    public static void Write(ref WriteContext output, uint tag, double? value) => Write(ref output, tag, new DoubleValue { Value = value.GetValueOrDefault() });

    private static void Write(ref WriteContext output, uint tag, IMessage wrapper)
    {
        output.WriteTag(tag);
        output.WriteMessage(wrapper);
    }

    public static int Size(bool? value) => CodedOutputStream.ComputeMessageSize(new BoolValue { Value = value.GetValueOrDefault() });

    public static int Size(uint? value) => CodedOutputStream.ComputeMessageSize(new UInt32Value { Value = value.GetValueOrDefault() });

    public static int Size(ulong? value) => CodedOutputStream.ComputeMessageSize(new UInt64Value { Value = value.GetValueOrDefault() });

    public static int Size(double? value) => CodedOutputStream.ComputeMessageSize(new DoubleValue { Value = value.GetValueOrDefault() });
}
