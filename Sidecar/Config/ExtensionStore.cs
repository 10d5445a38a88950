using System;
using System.Collections.Generic;
using Google.Protobuf.WellKnownTypes;
using Sidecar.Filters;

namespace Sidecar.Config;

/// <summary>The discovered configurations of extensions (ECDS) by key, and the filters that are made of each.</summary>
/// <remarks>Control loop only.</remarks>
internal sealed class ExtensionStore
{
    private readonly Dictionary<string, Any> _configs = [];
    private readonly Dictionary<string, List<WeakReference<DiscoveredFilterSlot>>> _slots = [];

    /// <summary>Has a slot filled with what is there under a key, now and whenever it changes.</summary>
    /// <returns>Why what is there cannot be used; empty when it can, or there is nothing yet.</returns>
    internal string Bind(string key, DiscoveredFilterSlot slot)
    {
        if (_configs.TryGetValue(key, out var config))
        {
            if (slot.Make(config, out string problem) is not { } factory)
                return problem;
            slot.Replace(factory);
        }
        if (!_slots.TryGetValue(key, out var slots))
            _slots.Add(key, slots = []);
        slots.Add(new WeakReference<DiscoveredFilterSlot>(slot));
        return "";
    }

    /// <summary>Puts a configuration in the place of the one before: in all filters that take it, or in none.</summary>
    /// <returns>Why it cannot be used, the one before stays; null when it can.</returns>
    internal string? Set(string key, Any config)
    {
        var made = new List<(DiscoveredFilterSlot Slot, HttpFilterFactory Factory)>();
        foreach (var slot in Living(key))
        {
            if (slot.Make(config, out string problem) is not { } factory)
                return problem;
            made.Add((slot, factory));
        }
        _configs[key] = config;
        foreach (var (slot, factory) in made)
            slot.Replace(factory);
        return null;
    }

    /// <summary>A configuration is no more: its filters go back to their defaults.</summary>
    internal void Remove(string key)
    {
        if (!_configs.Remove(key))
            return;
        foreach (var slot in Living(key))
            slot.Replace(null);
    }

    private List<DiscoveredFilterSlot> Living(string key)
    {
        var living = new List<DiscoveredFilterSlot>();
        if (!_slots.TryGetValue(key, out var slots))
            return living;
        slots.RemoveAll(reference => !reference.TryGetTarget(out _));
        foreach (var reference in slots)
        {
            if (reference.TryGetTarget(out var slot))
                living.Add(slot);
        }
        if (slots.Count == 0)
            _slots.Remove(key);
        return living;
    }
}
