using System;
using System.IO;
using System.Net.Sockets;
using System.Text;

namespace Sidecar.Tests.Harness;

/// <summary>
/// A blocking TCP client for byte scripts: what it sends is exactly what the test says, in the pieces the test says, and what it
/// reads is what came.
/// </summary>
internal sealed class RawClient : IDisposable
{
    private readonly Socket _socket;
    private byte[] _buffer = new byte[16 * 1024];
    private int _start, _end;

    /// <summary>Takes over a connected socket.</summary>
    internal RawClient(Socket socket)
    {
        _socket = socket;
        _socket.NoDelay = true;
        _socket.ReceiveTimeout = _socket.SendTimeout = Command.TimeoutMs;
    }

    internal RawClient(int port, string address = "127.0.0.1")
        : this(new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp))
    {
        _socket.Connect(address, port);
    }

    /// <summary>Sends text as ISO-8859-1: each character one byte.</summary>
    internal RawClient Send(string text) => Send(Encoding.Latin1.GetBytes(text));

    internal RawClient Send(ReadOnlySpan<byte> bytes)
    {
        while (bytes.Length > 0)
            bytes = bytes[_socket.Send(bytes)..];
        return this;
    }

    /// <summary>Sends each byte in a write of its own.</summary>
    internal RawClient SendByteByByte(string text)
    {
        foreach (var b in Encoding.Latin1.GetBytes(text))
            Send([b]);
        return this;
    }

    /// <summary>Says that nothing more will be sent; reading goes on.</summary>
    internal RawClient ShutdownSend()
    {
        _socket.Shutdown(SocketShutdown.Send);
        return this;
    }

    /// <summary>Closes with a reset instead of an orderly end.</summary>
    internal void Reset() => _socket.Close(0);

    /// <summary>Reads exactly so many bytes.</summary>
    internal string Read(int count)
    {
        while (_end - _start < count)
        {
            if (!Fill())
                throw new EndOfStreamException($"the peer closed after {_end - _start} of {count} bytes: {Pending}");
        }
        return Take(count);
    }

    /// <summary>Reads to and with a text.</summary>
    internal string ReadThrough(string end)
    {
        int from = 0;
        while (true)
        {
            int found = Pending.IndexOf(end, from, StringComparison.Ordinal);
            if (found >= 0)
                return Take(found + end.Length);
            from = Math.Max(0, _end - _start - end.Length);
            if (!Fill())
                throw new EndOfStreamException($"the peer closed before '{end}': {Pending}");
        }
    }

    /// <summary>Reads until the peer closes, in order or by reset.</summary>
    internal string ReadToEnd()
    {
        while (Fill())
        {
        }
        return Take(_end - _start);
    }

    /// <summary>Reads one HTTP/1.1 response: its head, and its body by Content-Length or chunks.</summary>
    internal RawResponse ReadResponse(bool toHead = false)
    {
        var head = ReadThrough("\r\n\r\n");
        int status = int.Parse(head.AsSpan(9, 3), System.Globalization.CultureInfo.InvariantCulture);
        var response = new RawResponse(status, head, "");
        if (toHead || status is 204 or 304 or (>= 100 and < 200))
            return response;
        if (response.Header("transfer-encoding") == "chunked")
        {
            var body = new StringBuilder();
            while (true)
            {
                int size = Convert.ToInt32(ReadThrough("\r\n").TrimEnd().Split(';')[0], 16);
                if (size == 0)
                    break;
                body.Append(Read(size));
                Read(2);
            }
            string trailers = "";
            while (ReadThrough("\r\n") is var line && line != "\r\n")
                trailers += line;
            return response with { Body = body.ToString(), Trailers = trailers };
        }
        if (response.Header("content-length") is { } length)
            return response with { Body = Read(int.Parse(length, System.Globalization.CultureInfo.InvariantCulture)) };
        return response with { Body = ReadToEnd() };
    }

    /// <summary>Sends a GET and reads its response.</summary>
    internal RawResponse Get(string path, string host = "test", string headers = "") =>
        Send($"GET {path} HTTP/1.1\r\nhost: {host}\r\n{headers}\r\n").ReadResponse();

    private string Pending => Encoding.Latin1.GetString(_buffer, _start, _end - _start);

    private string Take(int count)
    {
        var text = Encoding.Latin1.GetString(_buffer, _start, count);
        _start += count;
        if (_start == _end)
            _start = _end = 0;
        return text;
    }

    private bool Fill()
    {
        if (_end == _buffer.Length)
        {
            Array.Copy(_buffer, _start, _buffer, 0, _end - _start);
            _end -= _start;
            _start = 0;
            if (_end == _buffer.Length)
                Array.Resize(ref _buffer, _buffer.Length * 2);
        }
        int count;
        try
        {
            count = _socket.Receive(_buffer, _end, _buffer.Length - _end, SocketFlags.None);
        }
        catch (SocketException exception) when (exception.SocketErrorCode == SocketError.ConnectionReset)
        {
            return false;
        }
        _end += count;
        return count > 0;
    }

    public void Dispose() => _socket.Dispose();
}

/// <summary>A response as it came: status, the head's own bytes, the body without its framing.</summary>
internal sealed record RawResponse(int Status, string Head, string Body, string Trailers = "")
{
    /// <summary>The first value of a header, or null.</summary>
    internal string? Header(string name)
    {
        foreach (var line in Head.Split("\r\n"))
        {
            if (line.Length > name.Length && line[name.Length] == ':' && line.StartsWith(name, StringComparison.OrdinalIgnoreCase))
                return line[(name.Length + 1)..].Trim();
        }
        return null;
    }
}
