#!/usr/bin/env bash
# One script for the whole life of the project; `./build.sh help` lists the verbs.
# Everything it makes lies under artifacts/. Two commands matter to a newcomer: `./build.sh demo` and `./build.sh test`.
set -euo pipefail

root="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
artifacts="$root/artifacts"
cd "$root"

# No build process outlives this script, and none writes a banner into a log.
export DOTNET_CLI_TELEMETRY_OPTOUT=1 DOTNET_NOLOGO=1 DOTNET_SKIP_FIRST_TIME_EXPERIENCE=1 DOTNET_CLI_USE_MSBUILD_SERVER=0
export MSBUILDDISABLENODEREUSE=1
dotnet_quiet=(-v quiet -nologo -p:UseSharedCompilation=false)

usage() {
    cat <<'USAGE'
usage: ./build.sh VERB

  setup     install what a fresh Debian or Ubuntu lacks (as root; otherwise print the command to run)
  build     restore and build all projects
  publish   artifacts/sidecar, one stripped executable for linux-x64, its symbols beside it;
            (with SIDECAR_PIE=1 at a random address, see README.md);
            artifacts/sidecar-linux-arm64 too where the cross linker is present and SIDECAR_SKIP_ARM64 is not set
            --static: artifacts/sidecar-static instead, which holds libc and OpenSSL and runs in an empty root
  test      setup, build, publish and every test; skipped tests are listed with their reason
  demo      the sample mesh: capture, two sidecars, 200 requests, their paths, the split and the stats
  image     artifacts/sidecar-image.tar, an OCI image archive made without a container engine
  bench     the measurements of perf/ (bench --must: those that must hold, each with its verdict)
  clean     remove everything that was built
USAGE
}

say()  { printf '%s\n' "$*"; }
fail() { printf 'build.sh: %s\n' "$*" >&2; exit 1; }
have() { command -v "$1" >/dev/null 2>&1; }
is_root() { [ "$(id -u)" -eq 0 ]; }

# ---- setup ----------------------------------------------------------------------------------------------------------

# What is needed, how to see that it is there, and the package that brings it. "build" is needed to build the product,
# "static" for `publish --static` only, "test" is a peer or a tool of the tests: without it the tests that use it skip and say so.
needs=(
    "build  command:clang                                  clang"
    "build  command:ld.lld                                 lld"
    "build  file:/usr/include/zlib.h                       zlib1g-dev"
    "build  file:/etc/ssl/certs/ca-certificates.crt        ca-certificates"
    "static file:/usr/lib/x86_64-linux-gnu/libcrypto.a     libssl-dev"
    "test   command:iptables-restore                       iptables"
    "test   command:nft                                    nftables"
    "test   command:ip                                     iproute2"
    "test   command:setpriv                                util-linux"
    "test   command:curl                                   curl"
    "test   command:openssl                                openssl"
    "test   command:testssl                                testssl.sh"
    "test   command:nghttp                                 nghttp2-client"
    "test   command:nghttpd                                nghttp2-server"
    "test   command:nghttpx                                nghttp2-proxy"
    "test   command:varnishtest                            varnish"
    "test   command:haproxy                                haproxy"
    "test   command:nginx                                  nginx-light"
    "test   command:wrk                                    wrk"
    "test   file:/usr/bin/python3                          python3"
    "test   python:grpc                                    python3-grpcio"
    "test   python:google.protobuf                         python3-protobuf"
    "test   python:websockets                              python3-websockets"
)

is_present() {
    case "$1" in
        command:*) PATH="$PATH:/usr/sbin:/sbin" have "${1#command:}" ;;
        file:*)    [ -e "${1#file:}" ] ;;
        # The distribution's own interpreter: its modules come from the same packages.
        python:*)  [ -x /usr/bin/python3 ] && /usr/bin/python3 -c "import importlib.util, sys
try: found = importlib.util.find_spec('${1#python:}')
except ModuleNotFoundError: found = None
sys.exit(found is None)" ;;
    esac
}

missing_packages() {
    local kind check package
    for need in "${needs[@]}"; do
        read -r kind check package <<<"$need"
        is_present "$check" || printf '%s\n' "$package"
    done
    has_dotnet || printf 'dotnet-sdk-10.0\n'
}

has_dotnet() { have dotnet && (cd "$root" && dotnet --version >/dev/null 2>&1); }

setup() {
    local missing
    mapfile -t missing < <(missing_packages)
    if [ "${#missing[@]}" -eq 0 ]; then say "setup: nothing is missing"; return; fi

    have apt-get || fail "missing: ${missing[*]}. This is not Debian or Ubuntu: install the equivalents of these packages."
    if ! is_root; then
        say "setup: missing. Run as root:"
        say "    apt-get update && apt-get install -y --no-install-recommends ${missing[*]}"
        return 1
    fi

    say "setup: installing ${missing[*]}"
    apt-get update -qq
    local known=()
    for package in "${missing[@]}"; do
        if apt-cache show "$package" >/dev/null 2>&1; then known+=("$package"); else
            case "$package" in
                dotnet-sdk-*) fail "the .NET SDK that global.json asks for is neither installed nor offered by this system's packages: install the .NET 10 SDK, then run this again" ;;
                *)            say "setup: this system offers no package $package; the tests that need it will skip" ;;
            esac
        fi
    done
    [ "${#known[@]}" -eq 0 ] || install_without_services "${known[@]}"
}

# The peers are wanted as programs, not as daemons of this machine: none is started now, none at the next boot.
install_without_services() {
    local policy=/usr/sbin/policy-rc.d
    if [ ! -e "$policy" ]; then
        printf '#!/bin/sh\nexit 101\n' >"$policy"; chmod 755 "$policy"
        # shellcheck disable=SC2064  # the path as it is now
        trap "rm -f $policy" EXIT
    fi
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >/dev/null
    rm -f "$policy"; trap - EXIT
    local package service
    for package in "$@"; do
        case "$package" in
            varnish)       service="varnish varnishncsa" ;;
            haproxy)       service=haproxy ;;
            nginx-light)   service=nginx ;;
            nghttp2-proxy) service=nghttpx ;;
            nftables)      continue ;;
            *)             continue ;;
        esac
        # shellcheck disable=SC2086  # a list of words
        if have systemctl; then systemctl disable $service >/dev/null 2>&1 || true; fi
    done
}

# What the product's own build cannot do without, or one of another kind; the test peers may be absent.
require_build_tools() {
    local kind check package absent=()
    for need in "${needs[@]}"; do
        read -r kind check package <<<"$need"
        [ "$kind" != build ] && [ "$kind" != "${1:-build}" ] || is_present "$check" || absent+=("$package")
    done
    has_dotnet || absent+=(dotnet-sdk-10.0)
    [ "${#absent[@]}" -gt 0 ] || return 0
    if is_root; then setup; else fail "missing: ${absent[*]}. Run as root: ./build.sh setup"; fi
}

# ---- build and publish ----------------------------------------------------------------------------------------------

build() {
    require_build_tools
    dotnet build Sidecar.slnx "${dotnet_quiet[@]}"
}

# One number for everything that goes into the executable, so that publishing what is already published costs nothing.
source_digest() {
    {
        find Sidecar -type d \( -name bin -o -name obj -o -name Samples \) -prune -o -type f -print0
        printf '%s\0' Directory.Build.props global.json
    } | sort -z | xargs -0 sha256sum | { cat; dotnet --version; printf '%s\n' "${SIDECAR_PIE:-}"; } | sha256sum | cut -d' ' -f1
}

# publish_one RID FILE [PROPERTY…]: FILE and FILE.dbg for one platform. What else the file is made of is named in $parts.
publish_one() {
    local rid="$1" file="$2" digest stamp
    shift 2
    stamp="$artifacts/.$(basename "$file").stamp"
    digest="$( { source_digest; [ -z "${parts:-}" ] || sha256sum $parts; } | sha256sum | cut -d' ' -f1)"
    if [ -x "$file" ] && [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$digest" ]; then
        say "publish: ${file#"$root"/} is up to date"
        return
    fi
    local out="$artifacts/publish/$(basename "$file")"
    rm -rf "$out" "$stamp"
    dotnet publish Sidecar/Sidecar.csproj -c Release -r "$rid" -o "$out" "${dotnet_quiet[@]}" "$@"
    # A rename, so that a running copy keeps its file and nobody sees half of a new one.
    mv -f "$out/sidecar" "$file"
    mv -f "$out/sidecar.dbg" "$file.dbg"
    rm -rf "$artifacts/publish"
    printf '%s\n' "$digest" >"$stamp"
    say "publish: ${file#"$root"/} $(stat -c %s "$file") bytes"
}

has_arm64_linker() {
    have clang && have ld.lld && have aarch64-linux-gnu-objcopy && [ -e /usr/aarch64-linux-gnu/lib/crt1.o ]
}

publish_native() {
    require_build_tools
    [ "$(uname -m)" = x86_64 ] || fail "publish makes the linux-x64 executable on an x86_64 machine; this one is $(uname -m)"
    mkdir -p "$artifacts"
    publish_one linux-x64 "$artifacts/sidecar"
}

# The same program with everything in it. It has its own intermediate files: the two differ by a compile-time symbol.
publish_static() {
    require_build_tools static
    [ "$(uname -m)" = x86_64 ] || fail "publish --static makes a linux-x64 executable on an x86_64 machine; this one is $(uname -m)"
    mkdir -p "$artifacts"
    local libraries=/usr/lib/x86_64-linux-gnu
    parts="$libraries/libssl.a $libraries/libcrypto.a $libraries/libc.a" publish_one linux-x64 "$artifacts/sidecar-static" \
        -p:SidecarStatic=true -p:IntermediateOutputPath=obj/static/
}

publish() {
    case "${1:-}" in
        "")       ;;
        --static) publish_static; return ;;
        *)        fail "publish knows no '$1'; it takes --static or nothing" ;;
    esac
    publish_native
    if [ -n "${SIDECAR_SKIP_ARM64:-}" ]; then
        say "publish: linux-arm64 skipped: SIDECAR_SKIP_ARM64 is set"
    elif has_arm64_linker; then
        publish_one linux-arm64 "$artifacts/sidecar-linux-arm64" -p:LinkerFlavor=lld -p:ObjCopyName=aarch64-linux-gnu-objcopy
    else
        say "publish: linux-arm64 skipped: no cross linker (apt-get install clang lld gcc-aarch64-linux-gnu libc6-dev-arm64-cross)"
    fi
}

# ---- test -----------------------------------------------------------------------------------------------------------

run_tests() {
    if is_root; then setup; else setup || say "test: going on; the tests whose peers are missing will skip"; fi
    build
    publish_native

    local results="$artifacts/test-results" status=0
    rm -rf "$results"
    mkdir -p "$results"
    dotnet test Sidecar.Tests/Sidecar.Tests.csproj --no-build -nologo --results-directory "$results" \
        --logger "trx;LogFileName=tests.trx" --logger "console;verbosity=minimal" \
        --blame-hang --blame-hang-timeout 10m --blame-hang-dump-type none || status=$?
    report_tests "$results/tests.trx" "$status"
}

# Reads the run's own record rather than the runner's console text: counts, then every skipped test with its reason.
report_tests() {
    local trx="$1" status="$2" counters passed failed skipped
    [ -s "$trx" ] || fail "the test run left no record ($trx); it ended with status $status"
    list_skipped "$trx"
    counters="$(grep -o '<Counters [^>]*>' "$trx" | tail -1)"
    passed="$(counter passed)"
    failed=$(( $(counter failed) + $(counter error) + $(counter timeout) + $(counter aborted) ))
    skipped=$(( $(counter total) - $(counter executed) ))
    # A run that broke off after its last counted failure has still failed.
    if [ "$status" -ne 0 ] && [ "$failed" -eq 0 ]; then say "test: the run itself ended with status $status"; failed=1; fi
    say "$passed passed, $failed failed, $skipped skipped"
    [ "$failed" -eq 0 ] || exit 1
    [ "$passed" -gt 0 ] || fail "no test ran"
}

counter() { sed -E "s/.* $1=\"([0-9]+)\".*/\1/" <<<"$counters"; }

list_skipped() {
    local list
    list="$(awk '
        /<UnitTestResult / && /outcome="NotExecuted"/ {
            name = $0; sub(/.*testName="/, "", name); sub(/".*/, "", name); skipped = 1 }
        skipped && /<(StdOut|Message)>/ {
            reason = $0; sub(/.*<(StdOut|Message)>/, "", reason); sub(/<\/(StdOut|Message)>.*/, "", reason)
            print "  " name "\n      " reason; skipped = 0 }
        /<\/UnitTestResult>/ { if (skipped) print "  " name; skipped = 0 }' "$1" |
        sed 's/&quot;/"/g; s/&apos;/'"'"'/g; s/&#39;/'"'"'/g; s/&lt;/</g; s/&gt;/>/g; s/&amp;/\&/g')"
    [ -n "$list" ] || return 0
    say ""
    say "SKIPPED, because something they need is not here:"
    say "$list"
    say ""
}

# ---- image ----------------------------------------------------------------------------------------------------------

# An OCI image archive is a tar of blobs named by their SHA-256 with three small JSON files; no engine is needed to write
# one. Times, owners and order are fixed, so the same executable and libraries give the same bytes.
image() {
    publish_native
    local work="$artifacts/image" tree="$artifacts/image/root" layout="$artifacts/image/layout"
    rm -rf "$work"
    mkdir -p "$tree" "$layout/blobs/sha256"
    image_root "$tree"

    local layer diff_id layer_digest layer_size config_digest config_size manifest_digest manifest_size
    layer="$work/layer.tar"
    plain_tar "$layer" "$tree"
    diff_id="$(digest_of "$layer")"
    gzip -n -9 "$layer"
    layer_size="$(stat -c %s "$layer.gz")"
    layer_digest="$(store_blob "$layer.gz")"

    cat >"$work/config.json" <<JSON
{"architecture":"amd64","os":"linux","config":{"User":"1337:1337","Entrypoint":["/usr/local/bin/sidecar"],"Env":["PATH=/usr/local/bin","SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt"],"WorkingDir":"/"},"rootfs":{"type":"layers","diff_ids":["sha256:$diff_id"]}}
JSON
    config_size="$(stat -c %s "$work/config.json")"
    config_digest="$(store_blob "$work/config.json")"
    cat >"$work/manifest.json" <<JSON
{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"sha256:$config_digest","size":$config_size},"layers":[{"mediaType":"application/vnd.oci.image.layer.v1.tar+gzip","digest":"sha256:$layer_digest","size":$layer_size}]}
JSON
    manifest_size="$(stat -c %s "$work/manifest.json")"
    manifest_digest="$(store_blob "$work/manifest.json")"
    printf '{"imageLayoutVersion":"1.0.0"}\n' >"$layout/oci-layout"
    cat >"$layout/index.json" <<JSON
{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"sha256:$manifest_digest","size":$manifest_size,"platform":{"architecture":"amd64","os":"linux"},"annotations":{"org.opencontainers.image.ref.name":"sidecar:latest"}}]}
JSON
    plain_tar "$artifacts/sidecar-image.tar" "$layout"
    say "image: artifacts/sidecar-image.tar $(stat -c %s "$artifacts/sidecar-image.tar") bytes, sha256:$manifest_digest"
    prove_image "$work" "$layer_digest"
}

# The root file system: the executable, what it loads, whom to trust, who it runs as. No shell, no package manager.
image_root() {
    local tree="$1" library
    install -D -m 755 "$artifacts/sidecar" "$tree/usr/local/bin/sidecar"
    while read -r library; do
        install -D -m 755 "$(readlink -f "$library")" "$tree$library"
    done < <(loaded_libraries "$artifacts/sidecar")
    install -D -m 644 /etc/ssl/certs/ca-certificates.crt "$tree/etc/ssl/certs/ca-certificates.crt"
    printf 'root:x:0:0:root:/:/nonexistent\nistio-proxy:x:1337:1337:istio-proxy:/:/nonexistent\n' >"$tree/etc/passwd"
    printf 'root:x:0:\nistio-proxy:x:1337:\n' >"$tree/etc/group"
    chmod 644 "$tree/etc/passwd" "$tree/etc/group"
}

# Paths under which the loader will ask for each library: those linked, and OpenSSL where the executable names it (in
# UTF-8 or in the UTF-16 of a string literal), since that one is opened on first use.
loaded_libraries() {
    local executable="$1" name path
    ldd "$executable" | awk '$2 == "=>" && $3 ~ /^\// { print $3 } $1 ~ /^\// { print $1 }'
    LC_ALL=C grep -q -a -P 'l\x00?i\x00?b\x00?s\x00?s\x00?l\x00?\.\x00?s\x00?o' "$executable" || return 0
    for name in libcrypto.so.3 libssl.so.3; do
        path="$(PATH="$PATH:/sbin:/usr/sbin" ldconfig -p | awk -v name="$name" '$1 == name && /x86-64/ { print $NF; exit }')"
        [ -n "$path" ] || fail "the executable opens $name, which is not installed here"
        printf '%s\n' "$path"
    done
}

plain_tar() {
    tar --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner --mode='u+rwX,go+rX,go-w' --format=ustar -cf "$1" -C "$2" .
}

digest_of() { sha256sum "$1" | cut -d' ' -f1; }

store_blob() {
    local digest
    digest="$(digest_of "$1")"
    mv "$1" "$layout/blobs/sha256/$digest"
    printf '%s\n' "$digest"
}

# The proof is made from the archive, not from the folder it was packed from.
prove_image() {
    local work="$1" layer_digest="$2" proof="$1/proof" enter=()
    mkdir -p "$proof/layout" "$proof/root"
    tar -xf "$artifacts/sidecar-image.tar" -C "$proof/layout"
    [ "$(digest_of "$proof/layout/blobs/sha256/$layer_digest")" = "$layer_digest" ] || fail "image: the archive's layer does not match its digest"
    tar -xzf "$proof/layout/blobs/sha256/$layer_digest" -C "$proof/root"
    if ! is_root; then
        if unshare -r true 2>/dev/null; then enter=(unshare -r); else
            say "image: not proven: running inside its root takes root or a user namespace, and neither is to be had here"
            rm -rf "$work/layout" "$proof"; return
        fi
    fi
    "${enter[@]}" chroot "$proof/root" /usr/local/bin/sidecar version || fail "image: the executable does not run inside the image's root"
    say "image: 'sidecar version' ran inside the unpacked root ($(find "$proof/root" -type f | wc -l) files)"
    rm -rf "$work/layout" "$proof"
}

# ---- demo, bench, clean ---------------------------------------------------------------------------------------------

demo() {
    if is_root; then setup; fi
    publish_native
    exec "$root/Sidecar/Samples/demo.sh" "$artifacts/sidecar" "$@"
}

bench() {
    [ -x perf/run.sh ] || fail "perf/run.sh is not there yet: nothing to measure"
    publish_native
    exec perf/run.sh "$@"
}

clean() {
    rm -rf "$artifacts"
    find . -type d \( -name bin -o -name obj -o -name TestResults \) -not -path './.git/*' -prune -exec rm -rf {} +
}

verb="${1:-help}"
[ $# -eq 0 ] || shift
case "$verb" in
    setup)             setup ;;
    build)             build ;;
    publish)           publish "$@" ;;
    test)              run_tests ;;
    demo)              demo "$@" ;;
    image)             image ;;
    bench)             bench "$@" ;;
    clean)             clean ;;
    help|-h|--help)    usage ;;
    *)                 usage >&2; fail "no verb '$verb'" ;;
esac
