#!/usr/bin/env bash
# The main job, shown: a client (webapp) calls a service (calculator, two versions) and every byte goes through two sidecars.
#
#   root      three network namespaces with the addresses of the sample snapshots, traffic capture by `sidecar istio-iptables`,
#             one sidecar in each as user 1337, and an app behind each inbound listener.
#   not root  the same sidecars on loopback ports, without capture.
#
# usage: demo.sh [EXECUTABLE] [REQUESTS]
# Whatever happens, nothing stays behind: no namespace, no process, no rule, no file.
set -euo pipefail

samples="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
executable="$(readlink -f "${1:-$samples/../../artifacts/sidecar}")"
requests="${2:-200}"
[ -x "$executable" ] || { echo "demo: no executable at $executable: run ./build.sh publish first" >&2; exit 1; }

# The addresses of the sample snapshots.
webapp_ip=10.244.2.73 v1_ip=10.244.1.63 v2_ip=10.244.1.64 service_ip=10.106.45.142 service_port=8888
# The arguments that Istio's injector gives to the init container of a Pod.
capture_arguments=(-p 15001 -z 15006 -u 1337 -m REDIRECT -i '*' -x '' -b '*' -d '15090,15021,15020')
proxy_uid=1337 app_uid=1338 client_uid=1339

work="$(mktemp -d "${TMPDIR:-/tmp}/sidecar-demo.XXXXXX")"
chmod 755 "$work"                                          # the sidecars read their snapshots as another user
namespaces=() processes=()

say() { printf '%s\n' "$*"; }
title() { printf '\n== %s\n' "$*"; }
fail() { printf 'demo: %s\n' "$*" >&2; exit 1; }

clean_up() {
    trap - EXIT INT TERM HUP
    exec 2>/dev/null                                       # what the shell says of each process that it ends
    local namespace pid
    for pid in "${processes[@]:-}"; do [ -z "$pid" ] || kill -TERM "$pid" 2>/dev/null || true; done
    for namespace in "${namespaces[@]:-}"; do
        [ -n "$namespace" ] || continue
        # Everything in a namespace that this script made is this script's.
        for pid in $(ip netns pids "$namespace" 2>/dev/null); do kill -KILL "$pid" 2>/dev/null || true; done
        ip netns delete "$namespace" 2>/dev/null || true
    done
    for pid in "${processes[@]:-}"; do [ -z "$pid" ] || kill -KILL "$pid" 2>/dev/null || true; done
    wait 2>/dev/null || true
    rm -rf "$work"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

# ---- snapshots the demo writes itself -------------------------------------------------------------------------------

# http_listener NAME ADDRESS PORT ROUTES [CLUSTER…]: a config dump with one HTTP listener and the named clusters
http_listener() {
    local name="$1" address="$2" port="$3" routes="$4"
    shift 4
    cat <<JSON
{"configs": [
 {"@type": "type.googleapis.com/envoy.admin.v3.ClustersConfigDump", "dynamic_active_clusters": [$(IFS=,; echo "$*")]},
 {"@type": "type.googleapis.com/envoy.admin.v3.ListenersConfigDump", "dynamic_listeners": [{"name": "$name", "active_state": {"listener": {
  "@type": "type.googleapis.com/envoy.config.listener.v3.Listener", "name": "$name",
  "address": {"socket_address": {"address": "$address", "port_value": $port}},
  "filter_chains": [{"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": {
   "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
   "stat_prefix": "$name",
   "route_config": {"name": "$name", "virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [$routes]}]},
   "http_filters": [{"name": "envoy.filters.http.router", "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"}}]
  }}]}]}}}]}
]}
JSON
}

# static_cluster NAME PORT [h2]: one endpoint on loopback
static_cluster() {
    local protocol=""
    [ "${3:-}" != h2 ] || protocol='"http2_protocol_options": {},'
    printf '{"cluster": {"@type": "type.googleapis.com/envoy.config.cluster.v3.Cluster", "name": "%s", "type": "STATIC", "connect_timeout": "1s", %s
  "load_assignment": {"cluster_name": "%s", "endpoints": [{"lb_endpoints": [{"endpoint": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": %s}}}}]}]}}}' \
        "$1" "$protocol" "$1" "$2"
}

answer() { printf '{"match": {"prefix": "/"}, "direct_response": {"status": 200, "body": {"inline_string": "%s\\n"}}}' "$1"; }
route_to() { printf '{"match": {"prefix": "/"}, "route": {"cluster": "%s"}}' "$1"; }

# ---- processes ------------------------------------------------------------------------------------------------------

# start LOG COMMAND…: in the background, remembered for the end
start() {
    local log="$1"
    shift
    "$@" >"$log" 2>&1 </dev/null &
    processes+=("$!")
}

# wait_ready NAME ADMIN_PORT LOG [PREFIX…]: until the sidecar says it serves
wait_ready() {
    local name="$1" port="$2" log="$3" pid="${processes[-1]}"
    shift 3
    for _ in $(seq 200); do
        if [ "$("$@" curl -s -o /dev/null -w '%{http_code}' "http://127.0.0.1:$port/ready" || true)" = 200 ]; then return; fi
        kill -0 "$pid" 2>/dev/null || break
        sleep 0.05
    done
    cat "$log" >&2
    fail "the sidecar of $name did not become ready"
}

# send_requests URL [PREFIX…]: the bodies of all answers, one a line
send_requests() {
    local url="$1"
    shift
    # Twenty connections of ten requests each: a mesh sees many clients, and load balancing is per request, not per connection.
    local each=$(( (requests + 19) / 20 )) sent=0 count
    while [ "$sent" -lt "$requests" ]; do
        count=$(( requests - sent < each ? requests - sent : each ))
        "$@" curl -sS --max-time 20 "$url?n=[1-$count]" || true
        sent=$(( sent + count ))
    done
}

# report ANSWERS PATH_V1 PATH_V2: each request's version in order, the paths, the split
report() {
    local answers="$1" v1 v2 total
    v1="$(grep -c -x 'calculator v1' "$answers" || true)"
    v2="$(grep -c -x 'calculator v2' "$answers" || true)"
    total=$(( v1 + v2 ))
    title "the version that answered each request"
    sed 's/^calculator //' "$answers" | paste -sd' ' | fold -s -w 100
    title "the paths"
    printf '%5d requests: %s\n' "$v1" "$2"
    printf '%5d requests: %s\n' "$v2" "$3"
    title "the split"
    say "$total of $requests answered: v1 $v1, v2 $v2 (the route says 50/50)"
    [ "$total" -eq "$requests" ] || fail "$(( requests - total )) requests were not answered by the calculator"
}

# stats TITLE ADMIN_PORT PATTERN [PREFIX…]
stats() {
    local name="$1" port="$2" pattern="$3"
    shift 3
    title "stats of $name"
    "$@" curl -sS "http://127.0.0.1:$port/stats" | grep -E "$pattern" | grep -v -E ': 0$|No recorded' || say "(none)"
}

# ---- with capture ---------------------------------------------------------------------------------------------------

demo_captured() {
    local ns_webapp="sidecar-demo-$$-webapp" ns_v1="sidecar-demo-$$-v1" ns_v2="sidecar-demo-$$-v2" name namespace
    say "a mesh of three network namespaces: webapp $webapp_ip, calculator v1 $v1_ip, v2 $v2_ip, service address $service_ip:$service_port"
    for namespace in "$ns_webapp" "$ns_v1" "$ns_v2"; do
        ip netns add "$namespace" || fail "cannot make a network namespace: root without CAP_SYS_ADMIN?"
        namespaces+=("$namespace")
        ip -n "$namespace" link set lo up
    done
    join "$ns_webapp" to-v1 "$ns_v1" "$v1_ip"
    join "$ns_webapp" to-v2 "$ns_v2" "$v2_ip"
    # The service's address belongs to nobody: it only has to be routable, so that the kernel lets a connection begin.
    ip -n "$ns_webapp" route add "$service_ip" dev to-v1

    # The sidecars run as users who may not be able to read where the project was cloned.
    install -m 755 "$executable" "$work/sidecar"
    for name in webapp calculator-v1 calculator-v2; do install -m 644 "$samples/$name.json" "$work/$name.json"; done
    for name in v1 v2; do
        http_listener "app" 0.0.0.0 8888 "$(answer "calculator $name")" >"$work/app-$name.json"
        http_listener "other" 0.0.0.0 9080 "$(answer "not a service of the mesh, on $name")" >"$work/other-$name.json"
    done

    for namespace in "$ns_webapp" "$ns_v1" "$ns_v2"; do
        ip netns exec "$namespace" "$work/sidecar" istio-iptables "${capture_arguments[@]}" >"$work/capture.log" 2>&1 ||
            { cat "$work/capture.log" >&2; fail "capture failed in $namespace"; }
    done
    run_captured "$ns_v1" calculator-v1; run_captured "$ns_v2" calculator-v2; run_captured "$ns_webapp" webapp
    run_app "$ns_v1" app-v1 15100; run_app "$ns_v2" app-v2 15100
    run_app "$ns_v1" other-v1 15101

    local client=(ip netns exec "$ns_webapp" setpriv --reuid="$client_uid" --regid="$client_uid" --clear-groups)
    title "$requests requests from webapp to http://$service_ip:$service_port"
    send_requests "http://$service_ip:$service_port/add" "${client[@]}" >"$work/answers"
    local out="webapp → iptables → 15001 → 0.0.0.0_8888 → route 8888 → outbound|8888" in="iptables → 15006 → inbound|8888|grpc|calculator → 127.0.0.1:8888"
    report "$work/answers" "$out|v1 → $v1_ip:8888 → $in" "$out|v2 → $v2_ip:8888 → $in"

    title "other destinations"
    printf '%-58s ' "outside the mesh, $v1_ip:9080, through Passthrough:"
    "${client[@]}" curl -sS --max-time 10 "http://$v1_ip:9080/" || say "NO ANSWER"
    printf '%-58s ' "the pod's own address on 15001, through BlackHole:"
    local status=0
    "${client[@]}" curl -s --max-time 10 -o /dev/null "http://$webapp_ip:15001/" || status=$?
    case "$status" in 52|56) say "closed" ;; *) say "NOT CLOSED (curl's status $status)" ;; esac

    title "ports of webapp's sidecar"
    ip netns exec "$ns_webapp" ss -Hltn | awk '{ print $4 }' | sort -t: -k2 -n | uniq | paste -sd' '

    local enter=(ip netns exec)
    stats webapp 15000 '^(cluster\.(outbound|Passthrough|BlackHole)[^:]*\.(upstream_(cx|rq)_total|upstream_rq_2xx)|http\.outbound[^:]*\.downstream_rq_(total|2xx))' "${enter[@]}" "$ns_webapp"
    stats "calculator v1" 15000 '^(cluster\.(inbound|InboundPassthrough)[^:]*\.(upstream_(cx|rq)_total|upstream_rq_2xx)|http\.inbound[^:]*\.downstream_rq_(total|2xx))' "${enter[@]}" "$ns_v1"
    stats "calculator v2" 15000 '^(cluster\.(inbound|InboundPassthrough)[^:]*\.(upstream_(cx|rq)_total|upstream_rq_2xx)|http\.inbound[^:]*\.downstream_rq_(total|2xx))' "${enter[@]}" "$ns_v2"
}

# join HUB LINK LEAF ADDRESS: a cable from webapp's namespace to the calculator's, and routes both ways
join() {
    local hub="$1" link="$2" leaf="$3" address="$4"
    ip -n "$hub" link add "$link" type veth peer name eth0 netns "$leaf"
    ip -n "$hub" address add "$webapp_ip/32" dev "$link"
    ip -n "$hub" link set "$link" up
    ip -n "$leaf" address add "$address/32" dev eth0
    ip -n "$leaf" link set eth0 up
    ip -n "$hub" route add "$address" dev "$link" src "$webapp_ip"
    ip -n "$leaf" route add default dev eth0 src "$address"
}

run_captured() {
    local namespace="$1" name="$2"
    start "$work/$name.log" ip netns exec "$namespace" setpriv --reuid="$proxy_uid" --regid="$proxy_uid" --clear-groups \
        "$work/sidecar" run --snapshot "$work/$name.json" --concurrency 1 --log-level warning
    wait_ready "$name" 15000 "$work/$name.log" ip netns exec "$namespace"
}

# An app is any HTTP server of another user; a second copy of the same executable needs nothing installed.
run_app() {
    local namespace="$1" name="$2" admin_port="$3"
    start "$work/$name.log" ip netns exec "$namespace" setpriv --reuid="$app_uid" --regid="$app_uid" --clear-groups \
        "$work/sidecar" run --snapshot "$work/$name.json" --concurrency 1 --log-level warning --admin-address "127.0.0.1:$admin_port" \
        --readiness-address off --prometheus-address off
    wait_ready "$name" "$admin_port" "$work/$name.log" ip netns exec "$namespace"
}

# ---- without capture ------------------------------------------------------------------------------------------------

demo_on_loopback() {
    say "$1: no namespaces and no capture. The same sidecars run on loopback ports, and webapp's client calls its sidecar's port."
    local base name
    base="$(free_block)"
    local out=$base in_v1=$((base + 1)) in_v2=$((base + 2)) app_v1=$((base + 3)) app_v2=$((base + 4)) admin=$((base + 5))

    http_listener app 127.0.0.1 "$app_v1" "$(answer 'calculator v1')" >"$work/app-v1.json"
    http_listener app 127.0.0.1 "$app_v2" "$(answer 'calculator v2')" >"$work/app-v2.json"
    http_listener inbound_8888 127.0.0.1 "$in_v1" "$(route_to 'inbound|8888||calculator')" "$(static_cluster 'inbound|8888||calculator' "$app_v1" h2)" >"$work/calculator-v1.json"
    http_listener inbound_8888 127.0.0.1 "$in_v2" "$(route_to 'inbound|8888||calculator')" "$(static_cluster 'inbound|8888||calculator' "$app_v2" h2)" >"$work/calculator-v2.json"
    http_listener outbound_8888 127.0.0.1 "$out" \
        '{"match": {"prefix": "/"}, "route": {"weighted_clusters": {"clusters": [{"name": "outbound|8888|v1|calculator", "weight": 50}, {"name": "outbound|8888|v2|calculator", "weight": 50}]}}}' \
        "$(static_cluster 'outbound|8888|v1|calculator' "$in_v1" h2)" "$(static_cluster 'outbound|8888|v2|calculator' "$in_v2" h2)" >"$work/webapp.json"

    local admin_port=$admin
    for name in app-v1 app-v2 calculator-v1 calculator-v2 webapp; do
        start "$work/$name.log" "$executable" run --snapshot "$work/$name.json" --concurrency 1 --log-level warning \
            --admin-address "127.0.0.1:$admin_port" --readiness-address off --prometheus-address off
        wait_ready "$name" "$admin_port" "$work/$name.log"
        admin_port=$((admin_port + 1))
    done

    title "$requests requests from webapp to http://127.0.0.1:$out"
    send_requests "http://127.0.0.1:$out/add" >"$work/answers"
    report "$work/answers" "client → 127.0.0.1:$out → outbound|8888|v1 → 127.0.0.1:$in_v1 → inbound|8888 → 127.0.0.1:$app_v1" \
        "client → 127.0.0.1:$out → outbound|8888|v2 → 127.0.0.1:$in_v2 → inbound|8888 → 127.0.0.1:$app_v2"
    stats webapp $((admin + 4)) '^(cluster\.outbound[^:]*\.(upstream_(cx|rq)_total|upstream_rq_2xx)|http\.outbound[^:]*\.downstream_rq_(total|2xx))'
    stats "calculator v1" $((admin + 2)) '^(cluster\.inbound[^:]*\.(upstream_(cx|rq)_total|upstream_rq_2xx)|http\.inbound[^:]*\.downstream_rq_(total|2xx))'
    stats "calculator v2" $((admin + 3)) '^(cluster\.inbound[^:]*\.(upstream_(cx|rq)_total|upstream_rq_2xx)|http\.inbound[^:]*\.downstream_rq_(total|2xx))'
}

# Ten neighbouring ports nobody listens on, below the range the kernel gives to clients.
free_block() {
    local base port taken
    for base in $(seq 18800 10 19800); do
        taken=0
        for port in $(seq "$base" $((base + 9))); do
            if (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then taken=1; break; fi
        done
        if [ "$taken" -eq 0 ]; then echo "$base"; return; fi
    done
    fail "no ten free ports between 18800 and 19800"
}

if [ "$(id -u)" -ne 0 ]; then
    demo_on_loopback "not root"
elif ! PATH="$PATH:/sbin:/usr/sbin" command -v ip >/dev/null || ! unshare -n true 2>/dev/null; then
    demo_on_loopback "root, but without the right to make network namespaces"
else
    demo_captured
fi
title "done; nothing is left behind"
