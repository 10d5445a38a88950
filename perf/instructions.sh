#!/usr/bin/env bash
# Instructions in user space per request, which a busy machine does not change; see README.md beside this file.
#   perf/instructions.sh [SCENARIO…] [--executable PATH] [--top N]
set -euo pipefail
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
for need in valgrind callgrind_control objcopy h2load gcc; do
    command -v "$need" >/dev/null 2>&1 || { echo "perf: $need is missing: apt-get install valgrind binutils nghttp2-client gcc" >&2; exit 1; }
done
exec python3 "$here/instructions.py" "$@"
