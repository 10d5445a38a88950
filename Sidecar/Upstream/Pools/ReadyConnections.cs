using System;

namespace Sidecar.Upstream.Pools;

/// <summary>
/// The connections of a pool that take another stream, the one used last on top, so that spare ones age and time out. An array and no list: an HTTP/1 connection
/// leaves and comes back with every request, and each link is a store that the collector wants to know of.
/// </summary>
/// <remarks>Worker-owned, part of its <see cref="HttpPool"/>. One that goes from the middle leaves a hole.</remarks>
internal sealed class ReadyConnections
{
    // A struct around each, since storing into an array of references asks for its element type every time.
    private struct Place
    {
        internal HttpPoolConnection? Connection;
    }

    private Place[] _places = [];
    private int _end;

    internal int Count { get; private set; }

    internal bool IsEmpty => Count == 0;

    /// <summary>The one used last; null: there is none.</summary>
    internal HttpPoolConnection? Top => _end > 0 ? _places[_end - 1].Connection : null;

    /// <summary>The one that rests longest; null: there is none.</summary>
    internal HttpPoolConnection? Bottom
    {
        get
        {
            for (int i = 0; i < _end; i++)
            {
                if (_places[i].Connection is { } connection)
                    return connection;
            }
            return null;
        }
    }

    internal void Push(HttpPoolConnection connection)
    {
        if (_end == _places.Length)
            MakeRoom();
        _places[_end].Connection = connection;
        connection.ReadyPlace = _end++;
        Count++;
    }

    /// <summary>Takes one out that is in.</summary>
    internal void Remove(HttpPoolConnection connection)
    {
        _places[connection.ReadyPlace].Connection = null;
        connection.ReadyPlace = HttpPoolConnection.NotReady;
        Count--;
        while (_end > 0 && _places[_end - 1].Connection is null)
            _end--;
    }

    // Holes go first; a table half full of connections doubles.
    private void MakeRoom()
    {
        var places = Count * 2 > _places.Length || _places.Length == 0 ? new Place[Math.Max(4, _places.Length * 2)] : _places;
        int end = 0;
        for (int i = 0; i < _end; i++)
        {
            if (_places[i].Connection is not { } connection)
                continue;
            places[end].Connection = connection;
            connection.ReadyPlace = end++;
        }
        for (int i = end; places == _places && i < _end; i++)
            places[i].Connection = null;
        _places = places;
        _end = end;
    }
}
