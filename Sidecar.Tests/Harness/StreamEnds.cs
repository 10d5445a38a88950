using System.Collections.Generic;
using Sidecar.Filters;
using Sidecar.Http;
using Sidecar.Telemetry;
using Xunit;

namespace Sidecar.Tests.Harness;

/// <summary>What an access log would have seen of one stream.</summary>
internal sealed record EndedStream(int Status, string Flags, string Details, int Attempts);

/// <summary>A filter in front of a chain that writes down how each stream ended.</summary>
internal sealed class StreamEnds
{
    internal List<EndedStream> All { get; } = [];

    internal EndedStream Single => Assert.Single(All);

    internal HttpFilter Filter(WorkerScope worker) => new Recording(this);

    private sealed class Recording(StreamEnds owner) : HttpFilter
    {
        internal override void OnStreamEnd()
        {
            var info = Stream.Info;
            owner.All.Add(new EndedStream(info.Status, ResponseFlagNames.Format(info.Flags), info.Details, info.Attempts));
        }

        internal override void Reset() { }
    }
}
