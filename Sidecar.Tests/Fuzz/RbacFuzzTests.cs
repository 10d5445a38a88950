using System;
using System.Linq;
using Google.Protobuf;
using Sidecar.Filters.Network;
using Sidecar.Tests.Harness;
using Sidecar.Wire;
using Xunit;
using WireHttp = Envoy.Extensions.Filters.Http.Rbac.V3;
using WireNetwork = Envoy.Extensions.Filters.Network.Rbac.V3;

namespace Sidecar.Tests.Fuzz;

/// <summary>Policies that are nearly right: each is taken, or refused with reasons of one line; and what is taken can be asked.</summary>
public sealed class RbacFuzzTests
{
    private const int Rounds = 3_000;

    private static readonly byte[] s_seed = RbacHarness.Message("""
        {"rules": {"action": "DENY", "policies": {"a": {"permissions": [{"and_rules": {"rules": [{"header": {"name": "h", "string_match": {"exact": "1"} } }, {"url_path": {"path": {"safe_regex": {"regex": "/a+"} } } },
          {"destination_port_range": {"start": 1, "end": 9} }, {"destination_ip": {"address_prefix": "10.0.0.0", "prefix_len": 8} }, {"not_rule": {"requested_server_name": {"prefix": "x"} } }]} },
          {"uri_template": {"name": "t", "typed_config": {"@type": "type.googleapis.com/envoy.extensions.path.match.uri_template.v3.UriTemplateMatchConfig", "path_template": "/{a=b/*}/**/c"} } }],
         "principals": [{"or_ids": {"ids": [{"authenticated": {"principal_name": {"suffix": "y"} } }, {"filter_state": {"key": "io.istio.peer_principal", "string_match": {"contains": "z"} } }]} },
          {"metadata": {"filter": "f", "path": [{"key": "k"}, {"key": "l"}], "value": {"or_match": {"value_matchers": [{"list_match": {"one_of": {"double_match": {"exact": 1} } } }, {"null_match": {} }]} } } }]} } },
         "shadow_rules": {"policies": {"b": {"permissions": [{"destination_port": 80}], "principals": [{"remote_ip": {"address_prefix": "::", "prefix_len": 1} }]} } }, "shadow_rules_stat_prefix": "s", "track_per_rule_stats": true}
        """).ToByteArray();

    [Fact]
    public void MutatedPolicies_AreTakenOrRefused_AndCanBeAsked()
    {
        int taken = 0, refused = 0;
        for (int round = 0; round < Rounds; round++)
        {
            byte[] mutated = WireMutation.Mutate(s_seed, new Random(round));
            // As with all that comes: what is not whole is never parsed.
            if (!UnsupportedFields.Walk(mutated, SchemaTable.Find("envoy.extensions.filters.http.rbac.v3.RBAC")!, "", new WireProblems()))
                continue;
            WireHttp.RBAC wire;
            try
            {
                wire = WireHttp.RBAC.Parser.ParseFrom(mutated);
            }
            catch (InvalidProtocolBufferException)
            {
                continue;
            }
            string[] problems = RbacHarness.Problems(wire, out var ignored);
            Assert.All(problems.Concat(ignored), problem => Assert.True(problem.AsSpan().IndexOfAny('\r', '\n') < 0 || mutated.AsSpan().IndexOfAny((byte)'\r', (byte)'\n') >= 0, problem));
            using var network = new FilterHarness();
            bool isMade = RbacNetworkFilter.Create(new WireNetwork.RBAC { StatPrefix = "n", Rules = wire.Rules, ShadowRules = wire.ShadowRules }, network.Config) is not null;
            Assert.Equal(isMade, !network.Config.IsRejected);
            if (problems.Length > 0)
            {
                refused++;
                continue;
            }
            taken++;
            using var rbac = new RbacHarness(wire);
            rbac.Ask(new RbacRequest { Path = "/aaa", Fields = [("h", "1")], Uris = ["spiffe://y"] });
        }
        Assert.True(taken > Rounds / 50 && refused > Rounds / 50, $"{taken} taken, {refused} refused");
    }
}
