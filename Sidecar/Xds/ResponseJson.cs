using System;
using Sidecar.Wire;

namespace Sidecar.Xds;

/// <summary>A DiscoveryResponse written as JSON, as files and REST have it.</summary>
internal static class ResponseJson
{
    private static readonly MessageSchema s_type = SchemaTable.Find("envoy.service.discovery.v3.DiscoveryResponse"u8)!;

    /// <summary>Reads a document that should hold resources of one type.</summary>
    /// <param name="document">The JSON text.</param>
    /// <param name="typeUrl">What is expected; a document need not say it.</param>
    /// <param name="reader">Takes the response apart.</param>
    /// <param name="problem">The first thing that is wrong.</param>
    /// <returns>Null when it is none.</returns>
    internal static ReceivedResponse? ReadResponse(ReadOnlySpan<byte> document, string typeUrl, ResponseReader reader, out string problem)
    {
        var problems = new WireProblems();
        var wire = new WireWriter(document.Length / 2 + 64);
        if (!Transcoder.TryReadJson(document, s_type, problems, wire))
        {
            problem = Reason(problems);
            return null;
        }
        reader.Begin(isDelta: false);
        reader.Feed(wire.Written);
        var response = reader.End();
        problem = reader.Problem;
        if (response is null)
            return null;
        if (response.TypeUrl.Length == 0)
            response.TypeUrl = typeUrl;
        if (response.TypeUrl == typeUrl)
            return response;
        problem = $"it holds {response.TypeUrl}, and {ResourceTypes.Noun(typeUrl)}s are expected";
        return null;
    }

    private static string Reason(WireProblems problems)
    {
        foreach (var problem in problems.List)
        {
            if (problem.IsError)
                return $"line {problem.Line}: {(problem.Path.Length > 0 ? problem.Path + ": " : "")}{problem.Reason}";
        }
        return "it is no DiscoveryResponse";
    }
}
