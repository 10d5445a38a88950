#!/usr/bin/env bash
# Two builds of ours in turns: is HEAD cheaper than BASE?
#   perf/compare.sh BASE HEAD [SCENARIO…] [options of run.sh]
# BASE and HEAD are commits, or executables that are there already.
set -euo pipefail
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
root="$(dirname "$here")"
[ $# -ge 2 ] || { sed -n '2,4s/^# //p' "${BASH_SOURCE[0]}" >&2; exit 2; }

# An executable as it is; a commit published from a work tree of its own, once.
executable_of() {
    if [ -f "$1" ] && [ -x "$1" ]; then realpath "$1"; return; fi
    local commit tree file
    commit="$(git -C "$root" rev-parse --short=12 "$1^{commit}")"
    file="$root/artifacts/perf/builds/$commit"
    if [ ! -x "$file" ]; then
        tree="$root/artifacts/perf/tree-$commit"
        mkdir -p "$(dirname "$file")"
        git -C "$root" worktree add --quiet --force --detach "$tree" "$commit" >&2
        trap 'git -C "$root" worktree remove --force "$tree" >&2' RETURN
        dotnet publish "$tree/Sidecar/Sidecar.csproj" -c Release -r linux-x64 -o "$tree/out" -v quiet -nologo >&2
        mv "$tree/out/sidecar" "$file"
    fi
    printf '%s\n' "$file"
}

base="$(executable_of "$1")"
head="$(executable_of "$2")"
shift 2
exec "$here/run.sh" --compare "$base" "$head" "$@"
