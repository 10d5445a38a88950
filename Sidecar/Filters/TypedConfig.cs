using System.Diagnostics.CodeAnalysis;
using Google.Protobuf;
using Google.Protobuf.WellKnownTypes;

namespace Sidecar.Filters;

/// <summary>A google.protobuf.Any in a configuration: which type it names, and the message in it.</summary>
internal static class TypedConfig
{
    /// <summary>The type's full name, without its URL's host; empty when there is none.</summary>
    internal static string TypeName(Any? any) => any is null ? "" : any.TypeUrl[(any.TypeUrl.LastIndexOf('/') + 1)..];

    /// <summary>Reads the message; false, with the problem noted in the scope, when its bytes are malformed.</summary>
    internal static bool TryParse<T>(MessageParser<T> parser, ByteString bytes, ConfigScope scope, [MaybeNullWhen(false)] out T wire) where T : IMessage<T>
    {
        try
        {
            wire = parser.ParseFrom(bytes);
            return true;
        }
        catch (InvalidProtocolBufferException malformed)
        {
            // The only way Google.Protobuf reports malformed bytes; this is the border where it becomes a value.
            scope.Reject("", $"malformed bytes: {malformed.Message}");
            wire = default;
            return false;
        }
    }
}
