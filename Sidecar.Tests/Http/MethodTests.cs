using Sidecar.Http;
using Sidecar.Memory;
using Xunit;

namespace Sidecar.Tests.Http;

public class MethodTests
{
    [Fact]
    public void EveryMethod_IsParsedFromItsUpperCaseName()
    {
        for (var method = Method.Get; method <= Method.Patch; method++)
        {
            string name = method.ToString().ToUpperInvariant();
            Assert.Equal(method, Methods.Parse(Ascii.Bytes(name)));
            Assert.Equal(Method.Other, Methods.Parse(Ascii.Bytes(name.ToLowerInvariant())));
            Assert.Equal(Method.Other, Methods.Parse(Ascii.Bytes(name + "X")));
        }
    }

    [Theory]
    [InlineData("PROPFIND", true)]
    [InlineData("M-SEARCH", true)]
    [InlineData("BREW", false)]
    [InlineData("propfind", false)]
    public void Registered_IsEnvoysList(string name, bool registered) => Assert.Equal(registered, Methods.IsRegistered(Ascii.Bytes(name)));
}
