#!/usr/bin/env bash
# A generated mesh over ADS: connect to serving, single endpoints changing, everything sent again; see ../README.md.
#   perf/xds/run.sh [--clusters N] [--endpoints N] [--routes N] [--listeners N] [--rate PER_SECOND] [--seconds N] [--concurrency N]
set -euo pipefail
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
for python in python3 /usr/bin/python3; do
    if "$python" -c 'import grpc' 2>/dev/null; then
        exec "$python" "$here/measure.py" "$@"
    fi
done
echo "perf/xds: needs Python's grpcio: ./build.sh setup, or apt-get install python3-grpcio" >&2
exit 1
