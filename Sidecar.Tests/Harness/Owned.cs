using System;
using System.Collections.Generic;

namespace Sidecar.Tests.Harness;

/// <summary>What a test has made, undone in reverse order; each undoing is tried even when one before it failed.</summary>
internal sealed class Owned : IDisposable
{
    private readonly Stack<IDisposable> _owned = new();

    internal T Push<T>(T owned)
        where T : IDisposable
    {
        _owned.Push(owned);
        return owned;
    }

    public void Dispose()
    {
        Exception? first = null;
        while (_owned.TryPop(out var owned))
        {
            try
            {
                owned.Dispose();
            }
            catch (Exception exception)
            {
                first ??= exception;
            }
        }
        if (first is not null)
            throw new InvalidOperationException("undoing what the test made failed", first);
    }
}
