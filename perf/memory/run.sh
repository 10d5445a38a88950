#!/usr/bin/env bash
# Memory and load time of growing snapshots, then of idle connections; see ../README.md.
#   perf/memory/run.sh [--runs N]
set -euo pipefail
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
python3 "$here/measure.py" "$@"
exec "$here/../run.sh" idle-h1 idle-h2
