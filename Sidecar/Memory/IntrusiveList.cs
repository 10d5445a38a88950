using System.Diagnostics;

namespace Sidecar.Memory;

/// <summary>A member of one <see cref="IntrusiveList{T}"/> at a time; the links live in the member, so joining allocates nothing.</summary>
internal abstract class IntrusiveNode<T> where T : IntrusiveNode<T>
{
    internal T? ListPrevious;
    internal T? ListNext;
    internal IntrusiveList<T>? List;
}

/// <summary>A doubly linked list whose members carry the links: add, remove and move are O(1) and free of allocation.</summary>
/// <remarks>Worker-owned.</remarks>
internal sealed class IntrusiveList<T> where T : IntrusiveNode<T>
{
    internal T? First { get; private set; }
    internal T? Last { get; private set; }
    internal int Count { get; private set; }
    internal bool IsEmpty => First is null;

    internal void AddLast(T node)
    {
        Debug.Assert(node.List is null);
        node.List = this;
        node.ListPrevious = Last;
        node.ListNext = null;
        if (Last is null)
            First = node;
        else
            Last.ListNext = node;
        Last = node;
        Count++;
    }

    internal void AddFirst(T node)
    {
        Debug.Assert(node.List is null);
        node.List = this;
        node.ListNext = First;
        node.ListPrevious = null;
        if (First is null)
            Last = node;
        else
            First.ListPrevious = node;
        First = node;
        Count++;
    }

    internal void Remove(T node)
    {
        Debug.Assert(node.List == this);
        if (node.ListPrevious is null)
            First = node.ListNext;
        else
            node.ListPrevious.ListNext = node.ListNext;
        if (node.ListNext is null)
            Last = node.ListPrevious;
        else
            node.ListNext.ListPrevious = node.ListPrevious;
        node.List = null;
        node.ListNext = node.ListPrevious = null;
        Count--;
    }

    internal T? RemoveFirst()
    {
        var first = First;
        if (first is not null)
            Remove(first);
        return first;
    }
}
