#!/usr/bin/env bash
# Measures Sidecar next to its peers; `perf/run.sh --help`, and README.md beside this file.
#   perf/run.sh [SCENARIO…] [--must] [--quick] [--peers A,B,…] [--runs N] [--no-install]
set -euo pipefail
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
export PATH="$PATH:/usr/sbin:/sbin"

# What is needed, and the Debian package that brings it; all but python3 can be absent, and what needs it is then left out.
needs=(python3:python3 gcc:gcc taskset:util-linux wrk:wrk h2load:nghttp2-client haproxy:haproxy nginx:nginx-light nghttpx:nghttp2-proxy strace:strace
       openssl:openssl ip:iproute2 iptables-restore:iptables file:/usr/include/stdio.h:libc6-dev file:/usr/include/openssl/ssl.h:libssl-dev)

missing_packages() {
    local need
    for need in "${needs[@]}"; do
        case "$need" in
            file:*) need="${need#file:}"; [ -e "${need%%:*}" ] || printf '%s\n' "${need##*:}" ;;
            *)      command -v "${need%%:*}" >/dev/null 2>&1 || printf '%s\n' "${need##*:}" ;;
        esac
    done
}

# The peers are wanted as programs, not as daemons of this machine: none is started, now or at the next boot.
install_packages() {
    local policy=/usr/sbin/policy-rc.d
    if [ ! -e "$policy" ]; then
        printf '#!/bin/sh\nexit 101\n' >"$policy"; chmod 755 "$policy"
        # shellcheck disable=SC2064  # the path as it is now
        trap "rm -f $policy" EXIT
    else
        policy=""
    fi
    echo "perf: installing $*" >&2
    { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@"; } >/dev/null ||
        echo "perf: not all could be installed; what needs them is left out" >&2
    [ -z "$policy" ] || { rm -f "$policy"; trap - EXIT; }
    local service
    for service in haproxy nginx nghttpx; do
        case " $* " in *" $service"*|*" nghttp2-proxy "*) if command -v systemctl >/dev/null; then systemctl disable "$service" >/dev/null 2>&1 || true; fi ;; esac
    done
}

may_install="$([ "$(id -u)" -eq 0 ] && command -v apt-get || true)"
for argument in "$@"; do case "$argument" in --no-install|-h|--help) may_install="" ;; esac; done
mapfile -t missing < <(missing_packages)
if [ "${#missing[@]}" -gt 0 ]; then
    if [ -n "$may_install" ]; then install_packages "${missing[@]}"; else
        echo "perf: missing; what needs them is left out. As root: apt-get install --no-install-recommends ${missing[*]}" >&2
    fi
fi
exec python3 "$here/run.py" "$@"
