using System;
using System.Globalization;
using System.IO;

namespace Sidecar.Linux;

/// <summary>What the control groups of this process allow it of memory, and what of that is used; version 2, and 1 where that is in use. Control side.</summary>
internal sealed class Cgroup
{
    private readonly string _folder;
    private readonly string _top;
    private readonly bool _isVersion2;

    private Cgroup(string folder, string top, bool isVersion2)
    {
        _folder = folder;
        _top = top;
        _isVersion2 = isVersion2;
    }

    /// <summary>The memory group of this process; null where there is none to be seen.</summary>
    /// <param name="mounts">Where the hierarchies are mounted.</param>
    /// <param name="membership">/proc/self/cgroup.</param>
    public static Cgroup? Find(string mounts = "/sys/fs/cgroup", string membership = "/proc/self/cgroup")
    {
        string? path1 = null, path2 = null;
        try
        {
            // cgroups(7): hierarchy:controllers:path, and 0::path for version 2.
            foreach (string line in File.ReadLines(membership))
            {
                string[] parts = line.Split(':', 3);
                if (parts.Length != 3)
                    continue;
                if (parts[0] == "0" && parts[1].Length == 0)
                    path2 = parts[2];
                else if (Array.IndexOf(parts[1].Split(','), "memory") >= 0)
                    path1 = parts[2];
            }
        }
        catch (Exception failure) when (failure is IOException or UnauthorizedAccessException)
        {
            return null;
        }
        if (path1 is not null && Directory.Exists(mounts + "/memory"))
            return new Cgroup(Existing(mounts + "/memory", path1), mounts + "/memory", isVersion2: false);
        return path2 is not null && Directory.Exists(mounts) ? new Cgroup(Existing(mounts, path2), mounts, isVersion2: true) : null;
    }

    // In a container the path is often the host's, and what is mounted is the group itself.
    private static string Existing(string mount, string path) => path.Length > 1 && Directory.Exists(mount + path) ? mount + path : mount;

    /// <summary>The tightest limit from here up, in bytes; null when there is none.</summary>
    public long? LimitBytes
    {
        get
        {
            long? limit = null;
            for (string folder = _folder; folder.Length >= _top.Length; folder = folder[..Math.Max(0, folder.LastIndexOf('/'))])
            {
                if (ReadNumber(folder + (_isVersion2 ? "/memory.max" : "/memory.limit_in_bytes")) is { } own && own < Unlimited && own < (limit ?? long.MaxValue))
                    limit = own;
            }
            return limit;
        }
    }

    /// <summary>What the group uses now, in bytes, the page cache of its files included; null when it cannot be read.</summary>
    public long? UsedBytes => ReadNumber(_folder + (_isVersion2 ? "/memory.current" : "/memory.usage_in_bytes"));

    /// <summary>Version 1 says "no limit" by the largest number of whole pages.</summary>
    private const long Unlimited = long.MaxValue / 2;

    private static long? ReadNumber(string file)
    {
        try
        {
            return long.TryParse(File.ReadAllText(file).AsSpan().Trim(), NumberStyles.None, CultureInfo.InvariantCulture, out long number) ? number : null;
        }
        catch (Exception failure) when (failure is IOException or UnauthorizedAccessException)
        {
            return null;
        }
    }
}
