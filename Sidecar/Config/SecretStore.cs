using System;
using System.Collections.Generic;
using System.IO;
using Sidecar.Linux;
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
    private readonly Dictionary<string, List<WeakReference<Dependent>>> _dependentsOfSecret = [];
    private readonly Dictionary<string, WeakReference<TlsCertificate>> _certificates = [];
    private readonly Dictionary<string, WeakReference<TrustBundle>> _bundles = [];
    private readonly HashSet<string> _folders = [];
    private Ingredients? _reading;

    /// <summary>Makes a context of the secrets as they are now.</summary>
    /// <returns>The context, or null with a problem, or null without one when a secret is missing.</returns>
    internal delegate TlsContext? Recipe(out string field, out string problem);

    /// <summary>Told of each folder that has a file of the configuration and had none before.</summary>
    internal Action<string> FolderFound { get; set; } = static _ => { };

    /// <summary>Told the key of each secret whose changed files cannot be used.</summary>
    internal Action<string> RotationFailed { get; set; } = static _ => { };

    /// <summary>What a context is made of.</summary>
    private sealed class Ingredients
    {
        internal HashSet<string> Secrets { get; } = [];

        /// <summary>SHA-256 of what was read; empty where nothing could be.</summary>
        internal Dictionary<string, string> Files { get; } = [];

        /// <summary>Folders to watch besides those the files are in.</summary>
        internal HashSet<string> Folders { get; } = [];
    }

    /// <summary>A slot, how its context is made, and of what it was made last.</summary>
    private sealed class Dependent
    {
        internal Dependent(TlsContextSlot slot, Recipe recipe)
        {
            Slot = slot;
            Recipe = recipe;
            Reference = new WeakReference<Dependent>(this);
        }

        internal TlsContextSlot Slot { get; }
        internal Recipe Recipe { get; }
        internal WeakReference<Dependent> Reference { get; }
        internal Ingredients Of { get; set; } = new();
    }

    /// <summary>A context that is made and not in place yet; none when a secret is missing.</summary>
    private readonly record struct Made(Dependent Dependent, TlsContext? Context, Ingredients Of);

    // ---- for translators -------------------------------------------------------------------------------------------

    /// <summary>The secret under a key, which the context being made then depends on; null when there is none.</summary>
    internal Wire.Secret? Find(string key)
    {
        _reading?.Secrets.Add(key);
        return _secrets.GetValueOrDefault(key);
    }

    internal bool Exists(string key) => _secrets.ContainsKey(key);

    /// <summary>The content of a file, which the context being made then depends on; null, and why, when it cannot be read.</summary>
    internal byte[]? ReadFile(string path, out string problem)
    {
        byte[]? bytes = Content(path, out problem);
        if (_reading is not null)
            _reading.Files[path] = bytes is null ? "" : Convert.ToHexString(OpenSsl.Sha256(bytes));
        return bytes;
    }

    /// <summary>Has the files of the context being made read again whenever something changes in this folder, too.</summary>
    internal void WatchFolder(string folder) => _reading?.Folders.Add(Path.GetFullPath(folder));

    /// <summary>The certificate a text stands for; the same object for the same text, as long as somebody uses it.</summary>
    internal TlsCertificate? Certificate(string identity, Func<TlsCertificate?> parse) => Shared(_certificates, identity, parse);

    /// <summary>As <see cref="Certificate"/>, for authorities and CRLs.</summary>
    internal TrustBundle? Bundle(string identity, Func<TrustBundle?> parse) => Shared(_bundles, identity, parse);

    /// <summary>Makes a slot's context now, and again whenever something it was made of changes.</summary>
    /// <returns>Why it cannot be made; an empty problem when it was, or when a secret is missing.</returns>
    internal (string Field, string Problem) Bind(TlsContextSlot slot, Recipe recipe)
    {
        var dependent = new Dependent(slot, recipe);
        var refused = Make(dependent, out var made);
        if (refused.Problem.Length > 0)
            return refused;
        // The slot keeps its dependent alive, so that what is gone from the configuration is gone from here.
        slot.Owner = dependent;
        _dependents.Add(dependent.Reference);
        Put(made);
        return refused;
    }

    // ---- changes -----------------------------------------------------------------------------------------------------

    /// <summary>Puts a secret in the place of the one before. The contexts made of it are made first, and all of them or none are put in use.</summary>
    /// <returns>Why it cannot be used, the one before stays; null when it can.</returns>
    internal string? Set(string key, Wire.Secret secret)
    {
        bool existed = _secrets.TryGetValue(key, out var old);
        if (existed && old!.Equals(secret))
            return null;
        _secrets[key] = secret;
        var all = new List<Made>();
        foreach (var dependent in DependentsOf(key))
        {
            string problem = Make(dependent, out var made).Problem;
            if (problem.Length == 0)
            {
                all.Add(made);
                continue;
            }
            if (existed)
                _secrets[key] = old!;
            else
                _secrets.Remove(key);
            return $"{dependent.Slot.SecretStats.Prefix[..^1]}: {problem}";
        }
        foreach (var made in all)
            Put(made);
        return null;
    }

    /// <summary>A secret is no more. Contexts made of it stay in use until they can be made of something else.</summary>
    internal void Remove(string key) => _secrets.Remove(key);

    /// <summary>Reads files again; contexts made of those that have changed are made again.</summary>
    /// <returns>How many contexts are new.</returns>
    internal int RefreshFiles()
    {
        var now = new Dictionary<string, string>();
        int count = 0;
        foreach (var dependent in Living())
        {
            bool changed = false;
            foreach (var (path, digest) in dependent.Of.Files)
            {
                if (!now.TryGetValue(path, out string? current))
                {
                    byte[]? bytes = Content(path, out _);
                    now.Add(path, current = bytes is null ? "" : Convert.ToHexString(OpenSsl.Sha256(bytes)));
                }
                changed |= current != digest;
            }
            if (changed && Remake(dependent))
                count++;
        }
        return count;
    }

    /// <summary>The folders that files of the configuration are in, or were.</summary>
    internal IReadOnlyCollection<string> Folders => _folders;

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

    // Files have changed and nobody is there to be refused.
    private bool Remake(Dependent dependent)
    {
        string problem = Make(dependent, out var made).Problem;
        if (problem.Length == 0)
        {
            Put(made);
            return made.Context is not null;
        }
        // What was read now is what a further change is compared with.
        Note(made);
        Log.Error("config", $"{dependent.Slot.SecretStats.Prefix[..^1]}: a changed secret is not used: {problem}; the one in use stays");
        foreach (string key in made.Of.Secrets)
            RotationFailed(key);
        return false;
    }

    private (string Field, string Problem) Make(Dependent dependent, out Made made)
    {
        var ingredients = new Ingredients();
        var outer = _reading;
        _reading = ingredients;
        var context = dependent.Recipe(out string field, out string problem);
        _reading = outer;
        made = new Made(dependent, context, ingredients);
        return context is null ? (field, problem) : ("", "");
    }

    private void Put(in Made made)
    {
        Note(made);
        if (made.Context is not { } context)
            return;
        var slot = made.Dependent.Slot;
        bool isUpdate = slot.Current is not null || made.Of.Secrets.Count > 0;
        slot.Replace(context);
        if (isUpdate)
            slot.CountUpdate();
    }

    private void Note(in Made made)
    {
        foreach (string key in made.Of.Secrets)
        {
            if (made.Dependent.Of.Secrets.Contains(key))
                continue;
            if (!_dependentsOfSecret.TryGetValue(key, out var list))
                _dependentsOfSecret.Add(key, list = []);
            list.Add(made.Dependent.Reference);
        }
        made.Dependent.Of = made.Of;
        foreach (string path in made.Of.Files.Keys)
            NoteFolder(Path.GetDirectoryName(Path.GetFullPath(path)) ?? "/");
        foreach (string folder in made.Of.Folders)
            NoteFolder(folder);
    }

    private void NoteFolder(string folder)
    {
        if (_folders.Add(folder))
            FolderFound(folder);
    }

    /// <summary>Whose contexts are made of a secret, each once; those that are not any more are forgotten.</summary>
    private List<Dependent> DependentsOf(string key)
    {
        var living = new List<Dependent>();
        if (!_dependentsOfSecret.TryGetValue(key, out var list))
            return living;
        var seen = new HashSet<Dependent>(list.Count);
        list.RemoveAll(reference => !reference.TryGetTarget(out var dependent) || !dependent.Of.Secrets.Contains(key) || !seen.Add(dependent));
        if (list.Count == 0)
            _dependentsOfSecret.Remove(key);
        foreach (var reference in list)
        {
            if (reference.TryGetTarget(out var dependent))
                living.Add(dependent);
        }
        return living;
    }

    private List<Dependent> Living()
    {
        var living = new List<Dependent>(_dependents.Count);
        _dependents.RemoveAll(reference =>
        {
            bool lives = reference.TryGetTarget(out var dependent);
            if (lives)
                living.Add(dependent!);
            return !lives;
        });
        return living;
    }

    private static byte[]? Content(string path, out string problem)
    {
        problem = "";
        try
        {
            return Files.ReadRegular(path, FileBytesMax);
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
