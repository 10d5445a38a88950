#!/usr/bin/env bash
# Two builds of ours in turns: is HEAD cheaper than BASE?
#   perf/compare.sh BASE HEAD [SCENARIO…] [options of run.sh]
# BASE and HEAD are commits, or executables that are there already. A commit is published once, from a work tree of its own, and kept in
# artifacts/perf/builds. `sidecar ÷ peer` in the table is head ÷ base, pair by pair. Example: perf/compare.sh main HEAD h1-h1 h2-h2 --runs 7
set -euo pipefail
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
root="$(dirname "$here")"
usage() { sed -n '2,/^set /{s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}"; }
case "${1:-}" in -h|--help) usage; exit 0 ;; esac
[ $# -ge 2 ] || { usage >&2; exit 2; }

publish() {
    local need
    for need in git:git dotnet:dotnet-sdk-10.0 clang:clang ld.lld:lld; do
        command -v "${need%%:*}" >/dev/null || { echo "perf: ${need%%:*} is missing: apt-get install ${need##*:}" >&2; return 1; }
    done
    git -C "$root" worktree add --quiet --force --detach "$1" "$2" >&2 || return 1
    dotnet publish "$1/Sidecar/Sidecar.csproj" -c Release -r linux-x64 -o "$1/out" -v quiet -nologo >&2
}

# An executable as it is; a commit's, published if it was not before.
executable_of() {
    if [ -f "$1" ] && [ -x "$1" ]; then realpath "$1"; return; fi
    local commit tree file status=0
    commit="$(git -C "$root" rev-parse --quiet --verify --short=12 "$1^{commit}")" || { echo "perf: $1 is neither an executable nor a commit" >&2; return 1; }
    file="$root/artifacts/perf/builds/$commit"
    if [ ! -x "$file" ]; then
        tree="$root/artifacts/perf/tree-$commit"
        mkdir -p "$(dirname "$file")"
        { publish "$tree" "$commit" && mv "$tree/out/sidecar" "$file"; } || status=1
        git -C "$root" worktree remove --force "$tree" >&2 || true
        [ "$status" -eq 0 ] || { echo "perf: $1 could not be published" >&2; return 1; }
    fi
    printf '%s\n' "$file"
}

base="$(executable_of "$1")"
head="$(executable_of "$2")"
shift 2
exec "$here/run.sh" --compare "$base" "$head" "$@"
