using System;
using System.Linq;
using Sidecar.Http.H2;
using Sidecar.Tests.Harness;
using Xunit;

namespace Sidecar.Tests.Conformance;

/// <summary>
/// What h2spec's generic group (44 cases) asks of a server, numbered as there: section, then case. Every story runs whole, byte by byte and cut at
/// every place, with malformed messages costing the connection (Envoy's default) and with them costing the stream.
/// </summary>
public sealed class Http2GenericTests
{
    private static readonly Http2Options s_streamErrors = new() { OverrideStreamErrorOnInvalidHttpMessage = true };

    private static void Story(Action<H2ClientPeer> story, bool answers = true)
    {
        void Run(H2ClientPeer peer)
        {
            peer.Handshake();
            story(peer);
        }
        H2ClientPeer.Everywhere(Run, Http2Options.ServerDefaults, answers);
        H2ClientPeer.Everywhere(Run, s_streamErrors, answers);
    }

    private static void Answered(params byte[][] frames) => Story(peer =>
    {
        peer.Send(frames);
        peer.ExpectResponse(1);
        peer.ExpectAlive();
    });

    // ---- 1 Starting HTTP/2, 2 Streams and multiplexing -----------------------------------------------------------

    [Fact]
    public void G1_1_ClientPreface_IsAccepted() => Story(peer => peer.ExpectAlive());

    [Fact]
    public void G2_1_PriorityOnIdleStream_IsAccepted() => Story(peer =>
    {
        peer.Send(H2.Priority(1, 0, 255));
        peer.ExpectAlive();
    });

    [Fact]
    public void G2_2_WindowUpdateOnHalfClosedRemote_IsAccepted() => H2ClientPeer.Everywhere(peer =>
    {
        peer.Handshake((SettingId.InitialWindowSize, 0));
        peer.Send(H2.Headers(1, H2.Get()));
        peer.Send(H2.WindowUpdate(1, 1));
        Assert.Equal("h", peer.Body(1));
    });

    [Fact]
    public void G2_3_PriorityOnHalfClosedRemote_IsAccepted() => H2ClientPeer.Everywhere(peer =>
    {
        peer.Handshake((SettingId.InitialWindowSize, 0));
        peer.Send(H2.Headers(1, H2.Get()), H2.Priority(1, 0, 255), H2.WindowUpdate(1, 1));
        Assert.Equal("h", peer.Body(1));
    });

    [Fact]
    public void G2_4_RstStreamOnHalfClosedRemote_IsAccepted() => Story(peer =>
    {
        peer.Send(H2.Headers(1, H2.Get()), H2.Reset(1));
        peer.ExpectAlive();
    }, answers: false);

    [Fact]
    public void G2_5_PriorityOnClosedStream_IsAccepted() => Story(peer =>
    {
        peer.Send(H2.Headers(1, H2.Get()));
        peer.ExpectResponse(1);
        peer.Send(H2.Priority(1, 0, 255));
        peer.ExpectAlive();
    });

    // ---- 3 Frame definitions -------------------------------------------------------------------------------------

    [Fact]
    public void G3_1_1_Data_IsAccepted() => Answered(H2.Headers(1, H2.Post(), end: false), H2.Data(1, "test", end: true));

    [Fact]
    public void G3_1_2_MultipleData_AreAccepted() => Answered(H2.Headers(1, H2.Post(), end: false), H2.Data(1, "test"), H2.Data(1, "test", end: true));

    [Fact]
    public void G3_1_3_DataWithPadding_IsAccepted() => Answered(H2.Headers(1, H2.Post(), end: false), H2.Data(1, "test", end: true, padding: 8));

    [Fact]
    public void G3_2_1_Headers_IsAccepted() => Answered(H2.Headers(1, H2.Get()));

    [Fact]
    public void G3_2_2_HeadersWithPadding_IsAccepted() =>
        Answered(H2.Headers(1, H2.Join([8], H2.Get(), new byte[8]), more: FrameFlags.Padded));

    [Fact]
    public void G3_2_3_HeadersWithPriority_IsAccepted() =>
        Answered(H2.Headers(1, H2.Join(H2.Word(0), [255], H2.Get()), more: FrameFlags.Priority));

    [Fact]
    public void G3_3_1_PriorityWeight1_IsAccepted() => Answered(H2.Priority(1, 0, 0), H2.Headers(1, H2.Get()));

    [Fact]
    public void G3_3_2_PriorityWeight256_IsAccepted() => Answered(H2.Priority(1, 0, 255), H2.Headers(1, H2.Get()));

    [Fact]
    public void G3_3_3_PriorityWithDependency_IsAccepted() => Answered(H2.Priority(3, 1, 0), H2.Headers(1, H2.Get()));

    [Fact]
    public void G3_3_4_PriorityExclusive_IsAccepted() => Answered(H2.Priority(1, 0, 0, exclusive: true), H2.Headers(1, H2.Get()));

    [Fact]
    public void G3_3_5_PriorityOnHigherIdleStream_LeavesLowerStreamUsable() => Answered(H2.Priority(3, 0, 255), H2.Headers(1, H2.Get()));

    [Fact]
    public void G3_4_1_RstStream_IsAccepted() => Story(peer =>
    {
        peer.Send(H2.Headers(1, H2.Post(), end: false), H2.Reset(1));
        peer.ExpectAlive();
        Assert.Equal(1, peer.ClosedStreams);
    });

    [Fact]
    public void G3_5_1_Settings_IsAccepted() => Story(peer =>
    {
        peer.Send(H2.Settings((SettingId.MaxConcurrentStreams, 100)));
        Assert.True(peer.Expect(FrameType.Settings, 0).IsAck);
    });

    [Fact]
    public void G3_7_1_Ping_IsAccepted() => Story(peer => peer.ExpectAlive());

    [Fact]
    public void G3_8_1_GoAway_IsAccepted() => Story(peer =>
    {
        peer.Send(H2.GoAway(0));
        peer.ExpectAlive();
        Assert.Equal(1, peer.GoAways);
    });

    [Fact]
    public void G3_9_1_WindowUpdateOnConnection_IsAccepted() => Story(peer =>
    {
        peer.Send(H2.WindowUpdate(0, 1));
        peer.ExpectAlive();
    });

    [Fact]
    public void G3_9_2_WindowUpdateOnStream_IsAccepted() => Story(peer =>
    {
        peer.Send(H2.Headers(1, H2.Get()), H2.WindowUpdate(1, 1));
        peer.ExpectAlive();
    });

    [Fact]
    public void G3_10_1_Continuation_IsAccepted() =>
        Answered(H2.Headers(1, H2.Get(), endHeaders: false), H2.Continuation(1, H2.Block(("x-dummy", "1"))));

    [Fact]
    public void G3_10_2_MultipleContinuations_AreAccepted() =>
        Answered(H2.Headers(1, H2.Get(), endHeaders: false), H2.Continuation(1, H2.Block(("x-dummy", "1")), endHeaders: false), H2.Continuation(1, H2.Block(("x-dummy", "2"))));

    // ---- 4 HTTP message exchanges --------------------------------------------------------------------------------

    [Fact]
    public void G4_1_Get_IsAnswered() => Answered(H2.Headers(1, H2.Get()));

    [Fact]
    public void G4_2_Head_IsAnsweredWithoutBody() => Story(peer =>
    {
        peer.Send(H2.Headers(1, H2.Block((":method", "HEAD"), (":scheme", "http"), (":path", "/"), (":authority", "example.org"))));
        peer.ExpectResponse(1);
        Assert.DoesNotContain(peer.Frames, f => f.Type == FrameType.Data);
    });

    [Fact]
    public void G4_3_Post_IsAnswered() => Answered(H2.Headers(1, H2.Post(), end: false), H2.Data(1, "test", end: true));

    [Fact]
    public void G4_4_PostWithTrailers_IsAnswered() => Story(peer =>
    {
        peer.Send(H2.Headers(1, H2.Post(("trailer", "x-test")), end: false), H2.Data(1, "test"), H2.Headers(1, H2.Block(("x-test", "ok"))));
        peer.ExpectResponse(1);
        Assert.Equal(("x-test", "ok"), Assert.Single(peer.Requests[1].Trailers));
        Assert.Equal("test", peer.Requests[1].Body.ToString());
    });

    // ---- 5 HPACK: each representation of a field, raw and Huffman-coded ------------------------------------------

    [Theory]
    [InlineData("5.1 indexed field", "ba", "user-agent")]
    [InlineData("5.2 incremental indexing, indexed name", "7a06683273706563", "user-agent")]
    [InlineData("5.3 incremental indexing, indexed name, Huffman", "7a849c48aca4", "user-agent")]
    [InlineData("5.4 incremental indexing, new name", "4006782d7465737406683273706563", "x-test")]
    [InlineData("5.5 incremental indexing, new name, Huffman", "4085f2b24a84ff849c48aca4", "x-test")]
    [InlineData("5.6 without indexing, indexed name", "0f2b06683273706563", "user-agent")]
    [InlineData("5.7 without indexing, indexed name, Huffman", "0f2b849c48aca4", "user-agent")]
    [InlineData("5.8 without indexing, new name", "0006782d7465737406683273706563", "x-test")]
    [InlineData("5.9 without indexing, new name, Huffman", "0085f2b24a84ff849c48aca4", "x-test")]
    [InlineData("5.10 never indexed, indexed name", "1f2b06683273706563", "user-agent")]
    [InlineData("5.11 never indexed, indexed name, Huffman", "1f2b849c48aca4", "user-agent")]
    [InlineData("5.12 never indexed, new name", "1006782d7465737406683273706563", "x-test")]
    [InlineData("5.13 never indexed, new name, Huffman", "1085f2b24a84ff849c48aca4", "x-test")]
    public void G5_FieldRepresentation_IsAccepted(string number, string representation, string name) => Story(peer =>
    {
        peer.Send(H2.Headers(1, H2.Join(H2.Get(), Convert.FromHexString(representation))));
        peer.ExpectResponse(1);
        Assert.Equal(number.StartsWith("5.1 ", StringComparison.Ordinal) ? "" : "h2spec", peer.Requests[1][name]);
    });

    [Fact]
    public void G5_14_TableSizeUpdate_IsAccepted() => Answered(H2.Headers(1, H2.Join([0x20], H2.Get())));

    [Fact]
    public void G5_15_MultipleTableSizeUpdates_AreAccepted() => Answered(H2.Headers(1, H2.Join([0x20, 0x3E], H2.Get())));
}
