using System;
using System.Buffers;
using System.Text;
using System.Text.Json;
using Sidecar.Net;
using Sidecar.Server;

namespace Sidecar.Admin;

/// <summary>/listeners: names and addresses, as text or as JSON (envoy.admin.v3.Listeners).</summary>
internal static class ListenersPage
{
    internal static void Answer(ProxyServer server, AdminRequest request, Action<AdminResponse> answer)
    {
        var listeners = server.Snapshot.ListenersInUse;
        if (request.Param("format") == "json")
        {
            var buffer = new ArrayBufferWriter<byte>();
            using (var json = new Utf8JsonWriter(buffer, new JsonWriterOptions { Indented = true, IndentSize = 1 }))
            {
                json.WriteStartObject();
                json.WriteStartArray("listener_statuses");
                foreach (var listener in listeners)
                {
                    json.WriteStartObject();
                    json.WriteString("name", listener.Name);
                    var addresses = server.Config.AddressesOf(listener);
                    json.WritePropertyName("local_address");
                    WriteAddress(json, addresses[0]);
                    if (addresses.Count > 1)
                    {
                        json.WriteStartArray("additional_local_addresses");
                        for (int i = 1; i < addresses.Count; i++)
                            WriteAddress(json, addresses[i]);
                        json.WriteEndArray();
                    }
                    json.WriteEndObject();
                }
                json.WriteEndArray();
                json.WriteEndObject();
            }
            answer(AdminResponse.Json(buffer.WrittenSpan.ToArray()));
            return;
        }
        var text = new StringBuilder();
        foreach (var listener in listeners)
        {
            foreach (var address in server.Config.AddressesOf(listener))
                text.Append(listener.Name).Append("::").Append(address.ToString()).Append('\n');
        }
        answer(AdminResponse.Text(text.ToString()));
    }

    /// <summary>envoy.config.core.v3.Address.</summary>
    internal static void WriteAddress(Utf8JsonWriter json, in Address address)
    {
        json.WriteStartObject();
        if (address.IsIp)
        {
            json.WriteStartObject("socket_address");
            json.WriteString("address", address.HostString());
            json.WriteNumber("port_value", address.Port);
            json.WriteEndObject();
        }
        else
        {
            json.WriteStartObject("pipe");
            json.WriteString("path", address.Path);
            json.WriteEndObject();
        }
        json.WriteEndObject();
    }
}
