using System;
using System.Collections.Generic;
using System.Diagnostics;
using System.Globalization;
using System.Text;
using Sidecar.Http;
using Sidecar.Wire;

namespace Sidecar.Xds;

/// <summary>
/// What one stream to a control plane says about the subscriptions: requests out of interest and answers, in either of the two forms of xDS. No
/// socket, no clock: a stream starts, requests are taken as long as there are any, answers are acknowledged, the stream ends.
/// </summary>
/// <remarks>
/// Control loop. https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol is what both forms follow. Fields that both requests share have
/// their own numbers in each, so the two classes write them.
/// </remarks>
internal abstract class DiscoveryProtocol(ReadOnlyMemory<byte> node)
{
    /// <summary>A control plane that goes on sending and takes no acknowledgement is not worth listening to.</summary>
    internal const int AcknowledgementsMax = 1000;

    /// <summary>error_detail: everything refused is named, up to this; control planes log it.</summary>
    private const int DetailBytesMax = 64 * 1024;

    /// <summary>First and longest wait before a refusal of what was refused already.</summary>
    private const int RepeatedRefusalFirstMs = 50;
    private const int RepeatedRefusalMaxMs = 1000;

    private readonly SortedList<int, TypeState> _types = [];
    private bool _nodeSaid;

    /// <summary>An answer to be acknowledged, or refused when it has a detail.</summary>
    protected readonly record struct Acknowledgement(string Nonce, string? Detail);

    /// <summary>What was said of one type on this stream.</summary>
    protected sealed class TypeState(Subscription subscription)
    {
        internal readonly Subscription Subscription = subscription;
        internal readonly Queue<Acknowledgement> Acknowledgements = new();

        /// <summary>A request of this type has gone out on this stream.</summary>
        internal bool Begun;

        /// <summary>The interest that was last said.</summary>
        internal int InterestNumber = -1;

        /// <summary>The nonce of the last answer; every request carries it, an older one is stale.</summary>
        internal string Nonce = "";

        /// <summary>The wildcard is meant by naming nothing, which only a stream's first requests can.</summary>
        internal bool LegacyWildcard;

        /// <summary>The version of the last answer, when that was refused, and how often it has come again.</summary>
        internal string? RefusedVersion;
        internal int RefusedAgain;

        /// <summary>Nothing of this type is said before.</summary>
        internal long SilentUntilMs;

        /// <summary>Delta: the names said, "*" among them.</summary>
        internal readonly HashSet<string> Said = new(StringComparer.Ordinal);
    }

    /// <summary>Adds a type; all streams speak of it from then on.</summary>
    internal void Add(Subscription subscription) => _types.Add(subscription.Order, new TypeState(subscription));

    /// <summary>Delta: what is here came from the control plane the stream goes to, so that its versions mean something there.</summary>
    protected bool SaysVersions { get; private set; } = true;

    /// <summary>A stream is new: nothing was said on it.</summary>
    /// <param name="saysVersions">initial_resource_versions are worth telling: what is here came from this control plane.</param>
    internal void OnStreamStart(bool saysVersions = true)
    {
        SaysVersions = saysVersions;
        _nodeSaid = false;
        foreach (var state in _types.Values)
        {
            state.Acknowledgements.Clear();
            state.Begun = false;
            state.InterestNumber = -1;
            state.Nonce = "";
            state.LegacyWildcard = false;
            state.RefusedVersion = null;
            state.RefusedAgain = 0;
            state.SilentUntilMs = 0;
            state.Said.Clear();
        }
    }

    /// <summary>
    /// An answer was looked at. Its acknowledgement is due: among the next requests.
    /// </summary>
    /// <remarks>
    /// A control plane that has nothing better may answer a refusal of the state of the world with the same again, at once and without end, as
    /// go-control-plane does. So the refusal of a version that was refused already waits a little, longer each time.
    /// </remarks>
    /// <returns>False when the control plane does not take acknowledgements: the stream had better end.</returns>
    internal bool OnAnswer(Subscription subscription, ReceivedResponse response, IReadOnlyList<ResourceRejection> rejections, long nowMs)
    {
        var state = _types[subscription.Order];
        string nonce = response.Nonce;
        state.Nonce = nonce;
        bool again = rejections.Count > 0 && response.Version == state.RefusedVersion;
        state.RefusedAgain = again ? state.RefusedAgain + 1 : 0;
        state.RefusedVersion = rejections.Count > 0 ? response.Version : null;
        state.SilentUntilMs = again ? nowMs + Math.Min(RepeatedRefusalFirstMs << Math.Min(state.RefusedAgain - 1, 8), RepeatedRefusalMaxMs) : 0;
        if (state.Acknowledgements.Count >= AcknowledgementsMax)
            return false;
        state.Acknowledgements.Enqueue(new Acknowledgement(nonce, rejections.Count == 0 ? null : Detail(subscription.TypeUrl, rejections)));
        return true;
    }

    /// <summary>Writes the next request there is reason for, in the order of types.</summary>
    /// <returns>False when there is none; <see cref="NextRequestMs"/> may know of one later.</returns>
    internal bool TryTakeRequest(WireWriter request, long nowMs)
    {
        foreach (var state in _types.Values)
        {
            if (state.SilentUntilMs > nowMs)
                continue;
            if (state.Acknowledgements.TryDequeue(out var acknowledgement))
            {
                Write(request, state, acknowledgement);
                return true;
            }
            if (state.InterestNumber == state.Subscription.InterestNumber)
                continue;
            // Naming nothing would mean everything, so a type nobody is interested in is not mentioned.
            if (!state.Begun && !state.Subscription.HasInterest || !NeedsSaying(state))
            {
                state.InterestNumber = state.Subscription.InterestNumber;
                continue;
            }
            Write(request, state, null);
            return true;
        }
        return false;
    }

    /// <summary>When a request that waits may be taken; <see cref="long.MaxValue"/>: none waits.</summary>
    internal long NextRequestMs(long nowMs)
    {
        long next = long.MaxValue;
        foreach (var state in _types.Values)
        {
            if (state.SilentUntilMs > nowMs)
                next = Math.Min(next, state.SilentUntilMs);
        }
        return next;
    }

    /// <summary>The interest differs from what the control plane was told.</summary>
    protected abstract bool NeedsSaying(TypeState state);

    /// <summary>Writes a request; without an acknowledgement it is of our own accord, because the interest changed.</summary>
    protected abstract void WriteRequest(WireWriter request, TypeState state, Acknowledgement? acknowledgement);

    private void Write(WireWriter request, TypeState state, Acknowledgement? acknowledgement)
    {
        request.Clear();
        WriteRequest(request, state, acknowledgement);
        state.Begun = true;
        state.InterestNumber = state.Subscription.InterestNumber;
    }

    /// <summary>The node as a field. Every control plane must remember it from a stream's first message, so no other has it.</summary>
    protected void WriteNode(WireWriter request, int number)
    {
        if (_nodeSaid)
            return;
        _nodeSaid = true;
        request.Field(number, node.Span);
    }

    protected static void WriteText(WireWriter request, int number, string text)
    {
        if (text.Length > 0)
            request.Field(number, Encoding.UTF8.GetBytes(text));
    }

    /// <summary>google.rpc.Status { code = 1, message = 2 }; Envoy's code for a refusal is INTERNAL.</summary>
    protected static void WriteDetail(WireWriter request, int number, string? detail)
    {
        if (detail is null)
            return;
        request.Tag(number, 2);
        int begun = request.Begin();
        request.Tag(1, 0);
        request.Varint((ulong)GrpcStatus.Internal);
        WriteText(request, 2, detail);
        request.End(begun);
    }

    /// <summary>"Error adding/updating cluster(s) a: connect_timeout: must be positive, b: …", as Envoy words it, with the field's path.</summary>
    internal static string Detail(string typeUrl, IReadOnlyList<ResourceRejection> rejections, int bytesMax = DetailBytesMax)
    {
        var text = new StringBuilder("Error adding/updating ").Append(ResourceTypes.Noun(typeUrl)).Append("(s) ");
        for (int i = 0; i < rejections.Count; i++)
        {
            var rejection = rejections[i];
            if (i > 0)
                text.Append(", ");
            if (text.Length > bytesMax)
                return text.Append(CultureInfo.InvariantCulture, $"and {rejections.Count - i} more").ToString();
            if (rejection.Name.Length > 0)
                text.Append(rejection.Name).Append(": ");
            if (rejection.Path.Length > 0)
                text.Append(rejection.Path).Append(": ");
            text.Append(rejection.Reason);
        }
        return text.ToString();
    }
}

/// <summary>StreamAggregatedResources and its like: each request says the whole interest, each answer the whole state.</summary>
internal sealed class StateOfTheWorld(ReadOnlyMemory<byte> node) : DiscoveryProtocol(node)
{
    protected override bool NeedsSaying(TypeState state) => true;

    // DiscoveryRequest { version_info = 1, node = 2, resource_names = 3, type_url = 4, response_nonce = 5, error_detail = 6 }
    protected override void WriteRequest(WireWriter request, TypeState state, Acknowledgement? acknowledgement)
    {
        var subscription = state.Subscription;
        // The version is that of the last answer accepted, also in a refusal.
        WriteText(request, 1, subscription.AcceptedVersion);
        WriteNode(request, 2);
        if (subscription.IsWildcard && subscription.Names.Count == 0 && (!state.Begun || state.LegacyWildcard))
        {
            state.LegacyWildcard = true;
        }
        else
        {
            // Once anything was named, naming nothing means nothing.
            state.LegacyWildcard = false;
            if (subscription.IsWildcard)
                WriteText(request, 3, "*");
            foreach (string name in Sorted(subscription.Names))
                WriteText(request, 3, name);
        }
        WriteText(request, 4, subscription.TypeUrl);
        // Also a change of interest names the last answer: with an older one's nonce, or none, it would count as stale.
        WriteText(request, 5, acknowledgement?.Nonce ?? state.Nonce);
        WriteDetail(request, 6, acknowledgement?.Detail);
    }

    // The same interest is the same bytes.
    private static List<string> Sorted(IReadOnlySet<string> names)
    {
        var sorted = new List<string>(names);
        sorted.Sort(StringComparer.Ordinal);
        return sorted;
    }
}

/// <summary>DeltaAggregatedResources and its like: requests and answers say what changed.</summary>
internal sealed class DeltaDiscovery(ReadOnlyMemory<byte> node) : DiscoveryProtocol(node)
{
    private readonly List<string> _subscribe = [];
    private readonly List<string> _unsubscribe = [];

    protected override bool NeedsSaying(TypeState state)
    {
        FindChanges(state);
        return _subscribe.Count > 0 || _unsubscribe.Count > 0;
    }

    // DeltaDiscoveryRequest { node = 1, type_url = 2, resource_names_subscribe = 3, resource_names_unsubscribe = 4, initial_resource_versions = 5,
    // response_nonce = 6, error_detail = 7 }
    protected override void WriteRequest(WireWriter request, TypeState state, Acknowledgement? acknowledgement)
    {
        var subscription = state.Subscription;
        Debug.Assert(state.Begun || acknowledgement is null);
        FindChanges(state);
        WriteNode(request, 1);
        WriteText(request, 2, subscription.TypeUrl);
        foreach (string name in _subscribe)
        {
            // The wildcard alone, on a stream's first request of a type, is meant by silence: every control plane understands that.
            if (!state.Begun && _subscribe.Count == 1 && name == "*")
                state.LegacyWildcard = true;
            else
                WriteText(request, 3, name);
            state.Said.Add(name);
        }
        foreach (string name in _unsubscribe)
        {
            WriteText(request, 4, name);
            state.Said.Remove(name);
        }
        // What is here from an earlier stream need not come again.
        if (!state.Begun && SaysVersions)
            WriteVersions(request, subscription);
        // Other than in the state of the world, only an acknowledgement has a nonce.
        WriteText(request, 6, acknowledgement?.Nonce ?? "");
        WriteDetail(request, 7, acknowledgement?.Detail);
    }

    private static void WriteVersions(WireWriter request, Subscription subscription)
    {
        foreach (var (name, known) in subscription.Known)
        {
            if (known.Version is null)
                continue;
            request.Tag(5, 2);
            int begun = request.Begin();
            WriteText(request, 1, name);
            WriteText(request, 2, known.Version);
            request.End(begun);
        }
    }

    private void FindChanges(TypeState state)
    {
        var subscription = state.Subscription;
        _subscribe.Clear();
        _unsubscribe.Clear();
        if (state.InterestNumber == subscription.InterestNumber)
            return;
        if (subscription.IsWildcard && !state.Said.Contains("*"))
            _subscribe.Add("*");
        foreach (string name in subscription.Names)
        {
            if (!state.Said.Contains(name))
                _subscribe.Add(name);
        }
        foreach (string name in state.Said)
        {
            if (name == "*" ? !subscription.IsWildcard : !subscription.Names.Contains(name))
                _unsubscribe.Add(name);
        }
        _subscribe.Sort(StringComparer.Ordinal);
        _unsubscribe.Sort(StringComparer.Ordinal);
    }
}
