using System.Runtime.InteropServices;

namespace Sidecar.Memory;

/// <summary>struct iovec of readv(2) and writev(2): a base address and a length in bytes.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct IoVector
{
    internal nint Base;
    internal nint Length;
}
