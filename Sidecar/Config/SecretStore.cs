using System;
using System.Collections.Generic;
using System.IO;
using Sidecar.Telemetry;
using Sidecar.Tls;

namespace Sidecar.Config;

using Wire = global::Envoy.Extensions.TransportSockets.Tls.V3;

/// <summary>
/// Secrets by name, the files that TLS configuration refers to, and who is made of which. When one changes, the contexts made of it are made again and
/// put in place; nothing else of the configuration is touched. A change that cannot be used leaves the old context in place and is reported.
/// </summary>
/// <remarks>Control loop only. Keeps no private key longer than it takes to read it.</remarks>
internal sealed class SecretStore
{
    /// <summary>Larger than any chain or bundle of authorities; a path may lead anywhere.</summary>
    private const int FileBytesMax = 16 * 1024 * 1024;

    private readonly Dictionary<string, Wire.Secret> _secrets = [];
    private readonly List<WeakReference<Dependent>> _dependents = [];
    private readonly Dictionary<string, WeakReference<TlsCertificate>> _certificates = [];
    private readonly Dictionary<string, WeakReference<TrustBundle>> _bundles = [];
    private Dependent? _reading;

    /// <summary>Makes a context of the secrets as they are now.</summary>
    /// <returns>The context, or null with a problem, or null without one when a secret is missing.</returns>
    internal delegate TlsContext? Recipe(out string field, out string problem);

    /// <summary>Told that files may have to be watched that were not before.</summary>
    internal Action FilesChanged { get; set; } = static () => { };

    /// <summary>A slot, how its context is made, and of what it was made last.</summary>
    private sealed class Dependent(TlsContextSlot slot, Recipe recipe)
    {
        internal TlsContextSlot Slot => slot;
        internal Recipe Recipe => recipe;
        internal HashSet<string> Secrets { get; } = [];

        /// <summary>SHA-256 of what was read; empty where nothing could be.</summary>
        internal Dictionary<string, string> Files { get; } = [];
    }

    // ---- for translators -------------------------------------------------------------------------------------------

    /// <summary>The secret of a name, which the context being made then depends on; null when there is none.</summary>
    internal Wire.Secret? Find(string name)
    {
        _reading?.Secrets.Add(name);
        return _secrets.GetValueOrDefault(name);
    }

    internal bool Exists(string name) => _secrets.ContainsKey(name);

    /// <summary>The content of a file, which the context being made then depends on; null, and why, when it cannot be read.</summary>
    internal byte[]? ReadFile(string path, out string problem)
    {
        byte[]? bytes = Content(path, out problem);
        if (_reading is not null)
            _reading.Files[path] = bytes is null ? "" : Convert.ToHexString(OpenSsl.Sha256(bytes));
        return bytes;
    }

    /// <summary>The certificate a text stands for; the same object for the same text, as long as somebody uses it.</summary>
    internal TlsCertificate? Certificate(string identity, Func<TlsCertificate?> parse) => Shared(_certificates, identity, parse);

    /// <summary>As <see cref="Certificate"/>, for authorities and CRLs.</summary>
    internal TrustBundle? Bundle(string identity, Func<TrustBundle?> parse) => Shared(_bundles, identity, parse);

    /// <summary>Makes a slot's context now, and again whenever something it was made of changes.</summary>
    /// <returns>Why it cannot be made; an empty problem when it was, or when a secret is missing.</returns>
    internal (string Field, string Problem) Bind(TlsContextSlot slot, Recipe recipe)
    {
        var dependent = new Dependent(slot, recipe);
        var refused = Make(dependent);
        if (refused.Problem.Length > 0)
            return refused;
        // The slot keeps its dependent alive, so that what is gone from the configuration is gone from here.
        slot.Owner = dependent;
        _dependents.Add(new WeakReference<Dependent>(dependent));
        if (dependent.Files.Count > 0)
            FilesChanged();
        return refused;
    }

    // ---- changes -----------------------------------------------------------------------------------------------------

    /// <summary>Takes the secrets of a new set of resources.</summary>
    internal void Update(IReadOnlyDictionary<string, Wire.Secret> secrets)
    {
        var changed = new HashSet<string>();
        foreach (var (name, secret) in secrets)
        {
            if (!_secrets.TryGetValue(name, out var old) || !old.Equals(secret))
                changed.Add(name);
        }
        foreach (string name in _secrets.Keys)
        {
            if (!secrets.ContainsKey(name))
                changed.Add(name);
        }
        if (changed.Count == 0)
            return;
        _secrets.Clear();
        foreach (var (name, secret) in secrets)
            _secrets.Add(name, secret);
        foreach (var dependent in Living())
        {
            if (dependent.Secrets.Overlaps(changed))
                Remake(dependent);
        }
    }

    /// <summary>Reads files again; contexts made of those that have changed are made again.</summary>
    /// <returns>How many contexts are new.</returns>
    internal int RefreshFiles()
    {
        var now = new Dictionary<string, string>();
        int made = 0;
        foreach (var dependent in Living())
        {
            bool changed = false;
            foreach (var (path, digest) in dependent.Files)
            {
                if (!now.TryGetValue(path, out string? current))
                {
                    byte[]? bytes = Content(path, out _);
                    now.Add(path, current = bytes is null ? "" : Convert.ToHexString(OpenSsl.Sha256(bytes)));
                }
                changed |= current != digest;
            }
            if (changed && Remake(dependent))
                made++;
        }
        return made;
    }

    /// <summary>The folders that files of the configuration are in.</summary>
    internal IReadOnlyCollection<string> Folders
    {
        get
        {
            var folders = new HashSet<string>();
            foreach (var dependent in Living())
            {
                foreach (string path in dependent.Files.Keys)
                    folders.Add(Path.GetDirectoryName(Path.GetFullPath(path)) ?? "/");
            }
            return folders;
        }
    }

    /// <summary>Contexts in use, for /certs.</summary>
    internal IEnumerable<TlsContext> Contexts
    {
        get
        {
            foreach (var dependent in Living())
            {
                if (dependent.Slot.Current is { } context)
                    yield return context;
            }
        }
    }

    private bool Remake(Dependent dependent)
    {
        string problem = Make(dependent).Problem;
        if (problem.Length > 0)
            Log.Error("config", $"{dependent.Slot.SecretStats.Prefix[..^1]}: a changed secret is not used: {problem}; the one in use stays");
        return problem.Length == 0;
    }

    private (string Field, string Problem) Make(Dependent dependent)
    {
        dependent.Secrets.Clear();
        dependent.Files.Clear();
        var outer = _reading;
        _reading = dependent;
        var context = dependent.Recipe(out string field, out string problem);
        _reading = outer;
        if (context is null)
            return (field, problem);
        bool isUpdate = dependent.Slot.Current is not null || dependent.Secrets.Count > 0;
        dependent.Slot.Replace(context);
        if (isUpdate)
            dependent.Slot.CountUpdate();
        return ("", "");
    }

    private List<Dependent> Living()
    {
        var living = new List<Dependent>(_dependents.Count);
        for (int i = _dependents.Count - 1; i >= 0; i--)
        {
            if (_dependents[i].TryGetTarget(out var dependent))
                living.Add(dependent);
            else
                _dependents.RemoveAt(i);
        }
        living.Reverse();
        return living;
    }

    private static byte[]? Content(string path, out string problem)
    {
        problem = "";
        try
        {
            using var file = File.OpenRead(path);
            if (file.Length > FileBytesMax)
            {
                problem = $"{path} is larger than {FileBytesMax} bytes";
                return null;
            }
            byte[] bytes = new byte[file.Length];
            file.ReadExactly(bytes);
            return bytes;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or NotSupportedException or ArgumentException)
        {
            problem = $"Invalid path: {path}: {e.Message}";
            return null;
        }
    }

    private static T? Shared<T>(Dictionary<string, WeakReference<T>> known, string identity, Func<T?> parse) where T : class
    {
        if (known.TryGetValue(identity, out var reference) && reference.TryGetTarget(out var value))
            return value;
        value = parse();
        if (value is not null)
            known[identity] = new WeakReference<T>(value);
        return value;
    }
}
