using System;
using System.Buffers;
using System.IO;
using System.Text;
using System.Text.Json;
using System.Text.Unicode;
using Sidecar.Linux;
using Sidecar.Wire;

namespace Sidecar.Config;

/// <summary>The bytes of one file, and whether they are text that can be read at all; what is wrong with them is told by line and column.</summary>
/// <remarks>Control loop only.</remarks>
internal sealed class ResourceDocument(string file, byte[] bytes, ResourceSet set)
{
    // Far above any real mesh (a dump of 10,000 services is about 200 MB); keeps a mistaken path from filling the memory.
    private const long FileBytesMax = 512L * 1024 * 1024;

    // White space, and the bytes of a byte order mark.
    private static readonly byte[] s_blank = [(byte)' ', (byte)'\t', (byte)'\r', (byte)'\n', 0xEF, 0xBB, 0xBF];

    internal string Source => file;

    /// <summary>Without a byte order mark once that was taken off.</summary>
    internal byte[] Bytes { get; private set; } = bytes;

    /// <summary>Reads a file; null, with the reason in <paramref name="set"/>, when it cannot be read or is empty.</summary>
    internal static ResourceDocument? TryLoad(string path, ResourceSet set)
    {
        byte[] bytes;
        try
        {
            if (path.Length == 0)
                return Refuse("the path is empty; give a file or a folder");
            if (!File.Exists(path))
                return Refuse("does not exist; check the path");
            var problem = FileProblem.None;
            if (IsHandedOver(path))
                bytes = File.ReadAllBytes(path);
            else
                problem = Files.TryReadRegular(path, FileBytesMax, out bytes);
            if (problem == FileProblem.NotRegular)
                return Refuse("is not a regular file; give a file or a folder");
            if (problem == FileProblem.TooLarge || bytes.Length > FileBytesMax)
                return Refuse($"is larger than {FileBytesMax >> 20} MiB; is this a configuration?");
        }
        catch (Exception failure) when (failure is IOException or UnauthorizedAccessException)
        {
            return Refuse(Because(failure));
        }
        return bytes.Length > 0 ? new ResourceDocument(path, bytes, set) : Refuse("is empty");

        ResourceDocument? Refuse(string reason)
        {
            set.Add(new ConfigError(path, "", "", reason));
            return null;
        }
    }

    // What a shell hands over as <(command) or by a pipe is read to its end.
    private static bool IsHandedOver(string path) => path == "/dev/stdin" || path.StartsWith("/dev/fd/", StringComparison.Ordinal);

    /// <summary>Why a file cannot be read, without the class library's words, which tell the path again.</summary>
    internal static string Because(Exception failure) => failure switch
    {
        UnauthorizedAccessException => "cannot be read: permission denied; let the user that sidecar runs as read it",
        FileNotFoundException or DirectoryNotFoundException => "does not exist; check the path, and where a link in it leads",
        _ => "cannot be read: " + (failure.Message.IndexOf(" : '", StringComparison.Ordinal) is > 0 and int cut ? failure.Message[..cut] : failure.Message),
    };

    /// <summary>Whether it is YAML, which is then told. JSON is YAML, so a file of that name may well be JSON.</summary>
    internal bool IsYaml()
    {
        if (Path.GetExtension(file).ToLowerInvariant() is not (".yaml" or ".yml") || StartsAsJson())
            return false;
        set.Add(new ConfigError(file, "", "", "YAML is not read; convert it to JSON"));
        return true;
    }

    internal bool StartsAsJson() => Bytes.AsSpan().TrimStart(s_blank) is [(byte)'{' or (byte)'[', ..];

    /// <summary>A byte order mark is not JSON, but editors write it.</summary>
    internal void RemoveByteOrderMark()
    {
        ReadOnlySpan<byte> document = Bytes;
        if (document.StartsWith((ReadOnlySpan<byte>)[0xEF, 0xBB, 0xBF]))
            Bytes = document[3..].ToArray();
    }

    /// <summary>Looks the whole document over before anything of it counts: a truncated file is refused whole, and what is wrong with it told.</summary>
    internal bool IsJson()
    {
        RemoveByteOrderMark();
        if (!Utf8.IsValid(Bytes))
        {
            int valid = 0;
            while (Rune.DecodeFromUtf8(Bytes.AsSpan(valid), out _, out int used) == OperationStatus.Done)
                valid += used;
            AddAt(valid, "", "", "is not valid UTF-8; save it as UTF-8");
            return false;
        }
        var reader = new Utf8JsonReader(Bytes, new JsonReaderOptions { MaxDepth = 512 });
        byte[] scratch = [];
        try
        {
            while (reader.Read())
            {
                // An escaped half of a surrogate pair is JSON, but no text. Found here, it cannot surprise a later reading.
                if (reader.TokenType is JsonTokenType.PropertyName or JsonTokenType.String && reader.ValueIsEscaped)
                {
                    if (scratch.Length < reader.ValueSpan.Length)
                        scratch = new byte[reader.ValueSpan.Length * 2];
                    reader.CopyString(scratch);
                }
            }
            return true;
        }
        catch (InvalidOperationException)
        {
            AddAt((int)reader.TokenStartIndex, "", "", "the text is not valid Unicode (half of a surrogate pair)");
            return false;
        }
        catch (JsonException broken)
        {
            string also = StartsAsJson() || Bytes.Length == 0 ? "" : "; if this is YAML, convert it to JSON";
            set.Add(new ConfigError(file, "", "", JsonToWire.SyntaxReason(broken) + also)
            {
                Line = (int)(broken.LineNumber ?? 0) + 1,
                Column = (int)(broken.BytePositionInLine ?? 0) + 1,
            });
            return false;
        }
    }

    /// <summary>Tells a problem by its place: line and column, from 1.</summary>
    /// <param name="offset">Bytes from the start.</param>
    /// <param name="resource">Kind and name of the resource; empty where there is none.</param>
    /// <param name="path">The field; may be empty.</param>
    /// <param name="reason">What is wrong, and what to do.</param>
    internal void AddAt(int offset, string resource, string path, string reason)
    {
        ReadOnlySpan<byte> before = Bytes.AsSpan(0, offset);
        set.Add(new ConfigError(file, resource, path, reason)
        {
            Line = before.Count((byte)'\n') + 1,
            Column = before.Length - (before.LastIndexOf((byte)'\n') + 1) + 1,
        });
    }
}
