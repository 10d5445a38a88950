#!/usr/bin/env bash
# Memory and load time of growing snapshots, then of idle connections; see ../README.md.
#   perf/memory/run.sh [--runs N] [--only TEXT]
set -euo pipefail
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
command -v python3 >/dev/null || { echo "perf: python3 is missing: apt-get install python3" >&2; exit 1; }
python3 "$here/measure.py" "$@"
# A part of it, or the help, was all that was asked for.
for argument in "$@"; do case "$argument" in --only*|-h|--help) exit 0 ;; esac; done
exec "$here/../run.sh" idle-h1 idle-h2
