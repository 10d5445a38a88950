using Sidecar.Linux;
using Xunit;

namespace Sidecar.Tests.Linux;

public sealed class SysResultTests
{
    [Fact]
    public void Success_HasAValueAndNoError()
    {
        SysResult result = SysResult.Success(42);
        Assert.True(result.Ok);
        Assert.Equal(42, result.Value);
        Assert.Equal(Errno.None, result.Error);
        Assert.False(result.WouldBlock);
    }

    [Fact]
    public void Failure_CarriesItsErrno()
    {
        SysResult closed = Sockets.Bind(-1, SocketAddress.Ip([127, 0, 0, 1], 0));
        Assert.False(closed.Ok);
        Assert.Equal(Errno.EBADF, closed.Error);
        Assert.True(SysResult.Fail(Errno.EAGAIN).WouldBlock);
        Assert.Contains("EADDRINUSE", SysResult.Fail(Errno.EADDRINUSE).ToString());
    }

    [Fact]
    public void EmptySocket_WouldBlock()
    {
        Assert.True(Sockets.OpenPair(out int one, out int other).Ok);
        Assert.True(Sockets.Receive(one, new byte[8]).WouldBlock);
        Sockets.Close(one);
        Sockets.Close(other);
    }
}
