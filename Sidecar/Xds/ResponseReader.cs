using System;
using System.Collections.Generic;
using System.Text;
using Sidecar.Wire;

namespace Sidecar.Xds;

/// <summary>One resource of an answer as it came: named and unwrapped, its bytes not looked into further.</summary>
internal struct ReceivedResource
{
    /// <summary>The wrapper's name, or the message's own; empty when neither has one.</summary>
    internal string Name;

    /// <summary>Other names under which it may have been asked for; null for most.</summary>
    internal List<string>? Aliases;

    /// <summary>Its own version; null when it has none (state of the world, not wrapped).</summary>
    internal string? Version;

    /// <summary>How long it may be used; -1: for ever.</summary>
    internal long TtlMs;

    /// <summary>False: a heartbeat, which only renews the time to live.</summary>
    internal bool HasBytes;

    /// <summary>Type of the message.</summary>
    internal string TypeUrl;

    /// <summary>The message.</summary>
    internal ReadOnlyMemory<byte> Bytes;

    /// <summary>Why it cannot be unwrapped; null when it can.</summary>
    internal string? Problem;
}

/// <summary>A DiscoveryResponse or DeltaDiscoveryResponse, unwrapped.</summary>
internal sealed class ReceivedResponse
{
    internal bool IsDelta { get; init; }
    internal string Version { get; set; } = "";
    internal string TypeUrl { get; set; } = "";
    internal string Nonce { get; set; } = "";
    internal string ControlPlane { get; set; } = "";
    internal List<ReceivedResource> Resources { get; } = [];
    internal List<string> Removed { get; } = [];

    /// <summary>Resources the control plane says it cannot give, and why.</summary>
    internal List<ResourceRejection> Errors { get; } = [];
    internal long Bytes { get; set; }
}

/// <summary>
/// Takes a discovery response apart while it arrives. Each resource is gathered in an array of its own, of its exact size; the response as a whole is
/// never held. So a response of 100 MiB costs its resources and no more, a resource that stays in use keeps nothing of its neighbours alive, and what
/// did not change is garbage at once. Slices of one array for the message would keep all of it alive until the last resource of it goes.
/// </summary>
/// <remarks>
/// Control loop; reusable. What it keeps is bounded by the response's length, which the caller bounds, except for what each entry costs besides its
/// bytes: so the number of entries is bounded here.
/// </remarks>
internal sealed class ResponseReader
{
    /// <summary>Entries of one response. A hundred times what a large mesh has; with the fewest bytes an entry needs a response could else fill the memory.</summary>
    internal const int EntriesMax = 1_000_000;

    /// <summary>A field that is not a resource: names, versions, nonces.</summary>
    private const int SmallFieldBytesMax = 1024 * 1024;

    /// <summary>An array grows towards the length that was announced as its bytes come, so that an announcement alone costs nothing.</summary>
    private const int FirstArrayBytes = 256 * 1024;

    private const string ResourceType = "type.googleapis.com/envoy.service.discovery.v3.Resource";

    private bool _isDelta;
    private ReceivedResponse _response = new();
    private int _entries;
    private State _state;
    private ulong _varint;
    private int _varintShift;
    private uint _field;
    private int _left;
    private byte[] _bytes = [];
    private int _count;
    private byte[] _lastUrlBytes = [];
    private string _lastUrl = "";
    private byte[] _lastVersionBytes = [];
    private string _lastVersion = "";

    private enum State : byte { Tag, SkipVarint, Length, Gather, Skip }

    /// <summary>Why the response is not one; empty while it may be.</summary>
    internal string Problem { get; private set; } = "";

    /// <summary>A response begins.</summary>
    internal void Begin(bool isDelta)
    {
        _isDelta = isDelta;
        _response = new ReceivedResponse { IsDelta = isDelta };
        _entries = 0;
        _state = State.Tag;
        _varint = 0;
        _varintShift = 0;
        _bytes = [];
        Problem = "";
    }

    /// <summary>The next bytes of it. Does nothing once there is a <see cref="Problem"/>.</summary>
    internal void Feed(ReadOnlySpan<byte> data)
    {
        _response.Bytes += data.Length;
        while (data.Length > 0 && Problem.Length == 0)
        {
            switch (_state)
            {
                case State.Gather:
                    Gather(ref data);
                    break;
                case State.Skip:
                    int skipped = Math.Min(_left, data.Length);
                    _left -= skipped;
                    data = data[skipped..];
                    if (_left == 0)
                        _state = State.Tag;
                    break;
                default:
                    byte b = data[0];
                    data = data[1..];
                    if (_varintShift == 63 && b > 1)
                        Problem = "a number has more than 64 bits";
                    _varint |= (ulong)(b & 0x7F) << _varintShift;
                    _varintShift += 7;
                    if (b < 0x80 && Problem.Length == 0)
                        OnVarint();
                    break;
            }
        }
    }

    /// <summary>It is complete.</summary>
    /// <returns>Null when it is no response; <see cref="Problem"/> says why.</returns>
    internal ReceivedResponse? End()
    {
        if (Problem.Length == 0 && (_state != State.Tag || _varintShift > 0))
            Problem = "it ends within a field";
        var response = _response;
        _response = new ReceivedResponse();
        _bytes = [];
        return Problem.Length == 0 ? response : null;
    }

    // ---- fields as they come ------------------------------------------------------------------------------------

    private void OnVarint()
    {
        ulong value = _varint;
        _varint = 0;
        _varintShift = 0;
        switch (_state)
        {
            case State.SkipVarint:
                _state = State.Tag;
                break;
            case State.Tag:
                OnTag(value);
                break;
            default:
                OnLength(value);
                break;
        }
    }

    private void OnTag(ulong tag)
    {
        if (tag >> 3 is 0 or > 0x1FFFFFFF)
        {
            Problem = "a field has no valid number";
            return;
        }
        _field = (uint)(tag >> 3);
        switch (tag & 7)
        {
            case 0:
                _state = State.SkipVarint;
                break;
            case 1:
                _left = 8;
                _state = State.Skip;
                break;
            case 2:
                _state = State.Length;
                break;
            case 5:
                _left = 4;
                _state = State.Skip;
                break;
            default:
                Problem = "a field has no valid encoding";
                break;
        }
    }

    private void OnLength(ulong length)
    {
        if (length > int.MaxValue)
        {
            Problem = $"field {_field} announces {length} bytes";
            return;
        }
        _left = (int)length;
        if (!IsKnown)
        {
            _state = _left == 0 ? State.Tag : State.Skip;
            return;
        }
        bool isEntry = _field is 2 or 6 or 8 or 9 || !_isDelta && _field == 7;
        if (isEntry && ++_entries > EntriesMax)
            Problem = $"it has more than {EntriesMax} entries";
        else if (_field != 2 && _left > SmallFieldBytesMax)
            Problem = $"field {_field} announces {_left} bytes";
        if (Problem.Length > 0)
            return;
        _count = 0;
        _bytes = _left == 0 ? [] : GC.AllocateUninitializedArray<byte>(Math.Min(_left, FirstArrayBytes));
        _state = State.Gather;
        if (_left == 0)
            OnField();
    }

    private bool IsKnown => _isDelta ? _field is 1 or 2 or (>= 4 and <= 9) : _field is 1 or 2 or (>= 4 and <= 7);

    private void Gather(ref ReadOnlySpan<byte> data)
    {
        int part = Math.Min(_left, data.Length);
        if (_bytes.Length - _count < part)
            Array.Resize(ref _bytes, Math.Max(_count + part, (int)Math.Min((long)_bytes.Length * 2, (long)_count + _left)));
        data[..part].CopyTo(_bytes.AsSpan(_count));
        _count += part;
        _left -= part;
        data = data[part..];
        if (_left == 0)
            OnField();
    }

    private void OnField()
    {
        _state = State.Tag;
        ReadOnlySpan<byte> value = _bytes.AsSpan(0, _count);
        switch (_field)
        {
            case 1:
                _response.Version = Encoding.UTF8.GetString(value);
                break;
            case 2:
                _response.Resources.Add(_isDelta ? ReadResource(_bytes.AsMemory(0, _count)) : ReadAny(_bytes.AsMemory(0, _count)));
                break;
            case 4:
                _response.TypeUrl = Encoding.UTF8.GetString(value);
                break;
            case 5:
                _response.Nonce = Encoding.UTF8.GetString(value);
                break;
            case 6 when _isDelta:
                _response.Removed.Add(Encoding.UTF8.GetString(value));
                break;
            case 8:
                if (TryField(value, 1, out var removed))
                    _response.Removed.Add(Encoding.UTF8.GetString(removed));
                break;
            case 9:
            case 7 when !_isDelta:
                ReadError(value);
                break;
            default:
                if (TryField(value, 1, out var identifier))
                    _response.ControlPlane = Encoding.UTF8.GetString(identifier);
                break;
        }
        _bytes = [];
    }

    // ---- what is in a field -------------------------------------------------------------------------------------

    // ResourceError { resource_name = 1 { name = 1 }, error_detail = 2 { message = 2 } }
    private void ReadError(ReadOnlySpan<byte> error)
    {
        TryField(error, 1, out var name);
        TryField(name, 1, out name);
        TryField(error, 2, out var detail);
        TryField(detail, 2, out var message);
        _response.Errors.Add(new ResourceRejection(Encoding.UTF8.GetString(name), "", Encoding.UTF8.GetString(message)));
    }

    // Any { type_url = 1, value = 2 }: the resource, or a Resource around it.
    private ReceivedResource ReadAny(ReadOnlyMemory<byte> any)
    {
        if (!TrySplit(any, out string url, out var value))
            return new ReceivedResource { Name = "", TypeUrl = "", TtlMs = -1, Problem = "the protobuf bytes are broken" };
        if (url == ResourceType)
            return ReadResource(value);
        var resource = new ReceivedResource { TtlMs = -1 };
        Take(ref resource, url, value);
        return resource;
    }

    // Resource { version = 1, resource = 2 (Any), name = 3, aliases = 4, ttl = 6 (Duration), resource_name = 8 { name = 1 } }
    private ReceivedResource ReadResource(ReadOnlyMemory<byte> wire)
    {
        var resource = new ReceivedResource { Name = "", TypeUrl = "", Version = "", TtlMs = -1 };
        ReadOnlyMemory<byte>? any = null;
        var reader = new WireReader(wire.Span);
        while (!reader.AtEnd)
        {
            ReadOnlySpan<byte> value = default;
            if (!reader.TryTag(out uint number, out int encoding) || !(encoding == 2 ? reader.TryBytes(out value) : reader.TrySkip(encoding)))
                return resource with { Problem = "the protobuf bytes are broken" };
            if (encoding != 2)
                continue;
            switch (number)
            {
                case 1:
                    resource.Version = Interned(value, ref _lastVersionBytes, ref _lastVersion);
                    break;
                case 2:
                    any = wire.Slice(reader.Position - value.Length, value.Length);
                    break;
                case 3:
                    resource.Name = Encoding.UTF8.GetString(value);
                    break;
                case 4 when ++_entries <= EntriesMax:
                    (resource.Aliases ??= []).Add(Encoding.UTF8.GetString(value));
                    break;
                case 6 when !TryDuration(value, out resource.TtlMs):
                    return resource with { Problem = "ttl: the protobuf bytes are broken" };
                case 8 when resource.Name.Length == 0 && TryField(value, 1, out var name):
                    resource.Name = Encoding.UTF8.GetString(name);
                    break;
            }
        }
        if (any is null)
            return resource;
        if (!TrySplit(any.Value, out string url, out var message))
            return resource with { Problem = "resource: the protobuf bytes are broken" };
        Take(ref resource, url, message);
        return resource;
    }

    private static void Take(ref ReceivedResource resource, string url, ReadOnlyMemory<byte> message)
    {
        resource.TypeUrl = url;
        resource.Bytes = message;
        resource.HasBytes = true;
        // Field 1 is the name of every type of resource.
        if (!TryField(message.Span, 1, out var own))
            resource.Problem = "the protobuf bytes are broken";
        string? name = string.IsNullOrEmpty(resource.Name) ? Encoding.UTF8.GetString(own) : null;
        if (name is not null)
            resource.Name = name;
        else if (own.Length > 0 && !Same(own, resource.Name))
            resource.Problem ??= $"the message is named '{Encoding.UTF8.GetString(own)}'";
    }

    private static bool Same(ReadOnlySpan<byte> utf8, string text)
    {
        if (utf8.Length != Encoding.UTF8.GetByteCount(text))
            return false;
        Span<byte> bytes = utf8.Length <= 512 ? stackalloc byte[utf8.Length] : new byte[utf8.Length];
        Encoding.UTF8.GetBytes(text, bytes);
        return bytes.SequenceEqual(utf8);
    }

    private bool TrySplit(ReadOnlyMemory<byte> any, out string typeUrl, out ReadOnlyMemory<byte> value)
    {
        typeUrl = "";
        value = default;
        var reader = new WireReader(any.Span);
        while (!reader.AtEnd)
        {
            ReadOnlySpan<byte> bytes = default;
            if (!reader.TryTag(out uint number, out int encoding) || !(encoding == 2 ? reader.TryBytes(out bytes) : reader.TrySkip(encoding)))
                return false;
            if (encoding == 2 && number == 1)
                typeUrl = Interned(bytes, ref _lastUrlBytes, ref _lastUrl);
            else if (encoding == 2 && number == 2)
                value = any.Slice(reader.Position - bytes.Length, bytes.Length);
        }
        return true;
    }

    // Neighbours have the same type, and most often the same version: one string for all of them.
    private static string Interned(ReadOnlySpan<byte> utf8, ref byte[] lastBytes, ref string last)
    {
        if (!utf8.SequenceEqual(lastBytes))
        {
            lastBytes = utf8.ToArray();
            last = Encoding.UTF8.GetString(utf8);
        }
        return last;
    }

    // The last of a length-delimited field, as protobuf has it; empty when there is none. False when the bytes are broken.
    private static bool TryField(ReadOnlySpan<byte> message, uint wanted, out ReadOnlySpan<byte> field)
    {
        field = default;
        var reader = new WireReader(message);
        while (!reader.AtEnd)
        {
            ReadOnlySpan<byte> value = default;
            if (!reader.TryTag(out uint number, out int encoding) || !(encoding == 2 ? reader.TryBytes(out value) : reader.TrySkip(encoding)))
                return false;
            if (encoding == 2 && number == wanted)
                field = value;
        }
        return true;
    }

    // Duration { seconds = 1, nanos = 2 }, rounded up.
    private static bool TryDuration(ReadOnlySpan<byte> duration, out long ms)
    {
        ulong seconds = 0, nanos = 0;
        ms = -1;
        var reader = new WireReader(duration);
        while (!reader.AtEnd)
        {
            if (!reader.TryTag(out uint number, out int encoding))
                return false;
            bool read = number == 1 ? reader.TryNumber(encoding, out seconds) : number == 2 ? reader.TryNumber(encoding, out nanos) : reader.TrySkip(encoding);
            if (!read)
                return false;
        }
        if (seconds > 315_576_000_000 || nanos > 999_999_999)
            return false;
        ms = (long)(seconds * 1000 + (nanos + 999_999) / 1_000_000);
        return true;
    }
}
