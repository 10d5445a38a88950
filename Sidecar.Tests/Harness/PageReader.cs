using System;
using System.Collections.Generic;
using System.Text;
using Sidecar.Admin;
using Sidecar.Telemetry.Stats;

namespace Sidecar.Tests.Harness;

/// <summary>Reads a page to its end, piece by piece as the server does.</summary>
internal static class PageReader
{
    internal static string Text(AdminPage page)
    {
        var bytes = new List<byte>();
        Read(page, piece => bytes.AddRange(piece.Written));
        return Encoding.UTF8.GetString(bytes.ToArray());
    }

    /// <summary>Shows every piece, empty ones too.</summary>
    internal static void Read(AdminPage page, Action<PageWriter> piece)
    {
        var writer = new PageWriter();
        bool more = true;
        while (more)
        {
            writer.Clear();
            while (more && !writer.IsFull)
                more = page.WriteNext(writer);
            piece(writer);
        }
    }
}

/// <summary>The stats pages of given scopes, without a server.</summary>
internal static class StatsPages
{
    internal static AdminPage Text(StatsScope[] scopes, StatsFilter filter)
    {
        var order = new StatsView(scopes).ByPrefix;
        return new StatsPage.Prepared([order.Advance], new StatsTextPage(order, filter));
    }

    internal static AdminPage Json(StatsScope[] scopes, StatsFilter filter) => new StatsJsonPage(new StatsView(scopes), filter);

    internal static AdminPage Prometheus(StatsScope[] scopes, StatsFilter filter)
    {
        var families = new StatsView(scopes).Families;
        return new StatsPage.Prepared([families.Advance], new PrometheusPage(families, filter));
    }
}
