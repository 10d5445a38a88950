using System;

namespace Sidecar.Linux;

/// <summary>Randomness nobody can guess, from getrandom(2). For seeds and protocol ids; not per request.</summary>
internal static unsafe class Entropy
{
    /// <summary>Fills the whole span.</summary>
    public static void Fill(Span<byte> into)
    {
        fixed (byte* p = into)
        {
            int done = 0;
            while (done < into.Length)
            {
                SysResult got = SysResult.Of(Libc.getrandom(p + done, (nuint)(into.Length - done), 0));
                if (got.Ok)
                    done += (int)got.Value;
                else if (got.Error != Errno.EINTR)
                    Environment.FailFast($"getrandom: {got}: without randomness no identifier of this process can be trusted");
            }
        }
    }

    /// <summary>One random word.</summary>
    public static ulong Next()
    {
        ulong word = 0;
        Fill(new Span<byte>(&word, sizeof(ulong)));
        return word;
    }
}
