using System.Text;
using Sidecar.Wire;
using Xunit;

namespace Sidecar.Tests.Wire;

public sealed class V2NamesTests
{
    [Fact]
    public void EveryExtension_NamesTypesThatTheTableKnows()
    {
        foreach (V2Names.Extension extension in V2Names.Extensions)
        {
            Assert.NotNull(SchemaTable.Find(extension.Type));
            if (extension.RouteType.Length > 0)
                Assert.NotNull(SchemaTable.Find(extension.RouteType));
        }
    }

    [Fact]
    public void EveryLegacyField_BecomesAFieldThatExists()
    {
        int count = 0;
        for (int i = 0; i < SchemaTable.Count; i++)
        {
            MessageSchema message = SchemaTable.Message(i);
            foreach (V2Names.LegacyField field in message.Legacy ?? [])
            {
                count++;
                if (field.Upgrade == V2Names.Upgrade.TlsContext)
                    Assert.NotNull(SchemaTable.Find(field.Target));
                else if (field.Upgrade is not (V2Names.Upgrade.Gone or V2Names.Upgrade.Sibling))
                    Assert.NotNull(message.Find(Encoding.UTF8.GetBytes(field.Target)));
            }
        }
        Assert.True(count >= 45, $"only {count} legacy fields are attached to messages of the table");
    }
}
