using System;
using System.Collections.Generic;
using System.Linq;
using Sidecar.Memory;
using Xunit;

namespace Sidecar.Tests.Memory;

public class IntrusiveListTests
{
    private sealed class Node(int number) : IntrusiveNode<Node>
    {
        internal readonly int Number = number;
    }

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    public void RandomOperations_AgreeWithALinkedList(int seed)
    {
        var random = new Random(seed);
        IntrusiveList<Node>[] lists = [new(), new()];
        LinkedList<Node>[] models = [new(), new()];
        var nodes = Enumerable.Range(0, 20).Select(i => new Node(i)).ToArray();
        for (int step = 0; step < 20_000; step++)
        {
            var node = nodes[random.Next(nodes.Length)];
            int which = random.Next(2);
            if (node.List is { } list)
            {
                list.Remove(node);
                models[Array.IndexOf(lists, list)].Remove(node);
            }
            switch (random.Next(4))
            {
                case 0:
                    lists[which].AddFirst(node);
                    models[which].AddFirst(node);
                    break;
                case 1:
                    lists[which].AddLast(node);
                    models[which].AddLast(node);
                    break;
                case 2:
                    Assert.Same(models[which].First?.Value, lists[which].RemoveFirst());
                    if (models[which].Count > 0)
                        models[which].RemoveFirst();
                    break;
            }
            for (int i = 0; i < 2; i++)
            {
                Assert.Equal(models[i].Select(n => n.Number), Forward(lists[i]));
                Assert.Equal(models[i].Reverse().Select(n => n.Number), Backward(lists[i]));
                Assert.Equal(models[i].Count, lists[i].Count);
                Assert.Equal(models[i].Count == 0, lists[i].IsEmpty);
            }
        }
    }

    private static IEnumerable<int> Forward(IntrusiveList<Node> list)
    {
        for (var node = list.First; node is not null; node = node.ListNext)
            yield return node.Number;
    }

    private static IEnumerable<int> Backward(IntrusiveList<Node> list)
    {
        for (var node = list.Last; node is not null; node = node.ListPrevious)
            yield return node.Number;
    }
}
