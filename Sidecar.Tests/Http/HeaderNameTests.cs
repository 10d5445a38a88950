using System.Collections.Generic;
using Sidecar.Http;
using Sidecar.Memory;
using Xunit;

namespace Sidecar.Tests.Http;

public class HeaderNameTests
{
    [Fact]
    public void EveryId_HasItsOwnLowerCaseName_AndIsFoundByIt()
    {
        var seen = new HashSet<string>();
        for (var id = HeaderId.Unknown + 1; id < HeaderId.Count; id++)
        {
            string name = Ascii.String(HeaderNames.Bytes(id));
            Assert.Equal(name.ToLowerInvariant(), name);
            Assert.True(seen.Add(name), name);
            Assert.Equal(id, HeaderNames.Lookup(HeaderNames.Bytes(id)));
            Assert.Equal(name[0] == ':', HeaderNames.IsPseudo(id));
            Assert.True(name[0] == ':' || Ascii.IsToken(HeaderNames.Bytes(id)), name);
            Assert.Equal(HeaderId.Unknown, HeaderNames.Lookup(Ascii.Bytes(name + "x")));
        }
    }

    [Theory]
    [InlineData("")]
    [InlineData("Host")]
    [InlineData("x-unknown")]
    public void OtherNames_AreUnknown(string name) => Assert.Equal(HeaderId.Unknown, HeaderNames.Lookup(Ascii.Bytes(name)));
}
