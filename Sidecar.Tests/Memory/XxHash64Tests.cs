using System.Text;
using Sidecar.Memory;
using Xunit;

namespace Sidecar.Tests.Memory;

public sealed class XxHash64Tests
{
    // Published values of the reference implementation, seed 0: below 4, 8 and 32 bytes, and above.
    [Theory]
    [InlineData("", 0xEF46DB3751D8E999)]
    [InlineData("a", 0xD24EC4F1A98C6E5B)]
    [InlineData("abc", 0x44BC2CF5AD770999)]
    [InlineData("Nobody inspects the spammish repetition", 0xFBCEA83C8A378BF1)]
    public void Hash_PublishedInput_HasPublishedValue(string text, ulong expected) =>
        Assert.Equal(expected, XxHash64.Hash(Encoding.ASCII.GetBytes(text)));
}
