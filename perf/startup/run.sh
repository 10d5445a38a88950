#!/usr/bin/env bash
# From exec to the first accepted connection on the sample snapshot, idle memory and the size of the executable; see ../README.md.
#   perf/startup/run.sh [--runs N] [EXECUTABLE…]       (default: artifacts/sidecar; several are interleaved)
set -euo pipefail
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
# The sample's ports are Istio's; in a network namespace of its own nobody else has them.
if [ "$(id -u)" -eq 0 ]; then enter=(unshare -n); else enter=(unshare -rn); fi
exec "${enter[@]}" sh -c 'PATH="$PATH:/usr/sbin:/sbin"; ip link set lo up && exec python3 "$@"' sh "$here/measure.py" "$@"
