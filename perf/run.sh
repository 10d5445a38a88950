#!/usr/bin/env bash
# Measures Sidecar next to its peers; see README.md beside this file.
#   perf/run.sh [SCENARIO…] [--peers A,B,…] [--runs N] [--quick]
set -euo pipefail
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
missing=()
for need in python3:python3 gcc:gcc taskset:util-linux wrk:wrk h2load:nghttp2-client haproxy:haproxy nginx:nginx-light nghttpx:nghttp2-proxy strace:strace; do
    PATH="$PATH:/usr/sbin:/sbin" command -v "${need%%:*}" >/dev/null 2>&1 || missing+=("${need##*:}")
done
if [ "${#missing[@]}" -gt 0 ]; then
    if [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null; then
        apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
    else
        echo "perf: missing ${missing[*]}; what needs them is skipped. As root: apt-get install ${missing[*]}" >&2
    fi
fi
exec python3 "$here/run.py" "$@"
