#!/usr/bin/env bash
# Builds Davit's images on a machine that can pull none: davit-manager, davit-scheduler, davit-worker, davit-cli, and
# davit-test/busybox for the tests.
#
#   deploy/build-images.sh [--release] [--no-build] [--tag TAG]
#
#   --release    optimised binaries; without it those of the dev profile, which a developer has anyway
#   --no-build   take the binaries in target/ as they are
#   --tag TAG    tag of Davit's images, `latest` without it
#
# The base is made from this machine: busybox-static, and of its C library just what the binaries link. Everything after
# that is deploy/Dockerfile as it is.
#
# BIN_DIR, when set, is the folder to take the binaries from.
set -euo pipefail

profile=dev build=yes tag=latest
while [ $# -gt 0 ]; do
    case $1 in
        --release) profile=release ;;
        --no-build) build=no ;;
        --tag) tag=${2:?--tag needs a value}; shift ;;
        *) echo "build-images.sh: unknown argument $1" >&2; exit 2 ;;
    esac
    shift
done

cd "$(dirname "${BASH_SOURCE[0]}")/.."
target=${CARGO_TARGET_DIR:-target}
binaries=(davit davit-manager davit-scheduler davit-worker)
say() { echo "images: $*"; }
fail() { echo "images: $*" >&2; exit 1; }

busybox=${DAVIT_TEST_BUSYBOX:-$(command -v busybox || true)}
[ -x "$busybox" ] || fail "busybox is missing: apt-get install busybox-static"
# A dynamic one would need libraries that its image does not have.
if ldd "$busybox" >/dev/null 2>&1; then
    fail "$busybox is linked dynamically: apt-get install busybox-static, or name a static one in DAVIT_TEST_BUSYBOX"
fi
docker version --format '{{.Server.Version}}' >/dev/null || fail "no Docker engine answers"

if [ "$build" = yes ]; then
    say "compiling ($profile profile)"
    cargo build --locked --profile "$profile" --bins -p manager-svc -p scheduler-svc -p worker-svc -p davit
fi
case $profile in dev) folder=debug ;; *) folder=$profile ;; esac
from=${BIN_DIR:-$target/$folder}
for name in "${binaries[@]}"; do
    [ -x "$from/$name" ] || fail "$from/$name is missing: run without --no-build"
done

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# root DIR: the least that a container needs, with every applet of busybox.
root() {
    mkdir -p "$1"/{bin,etc,lib,lib64,proc,sys,dev,run,tmp,root,usr/local/bin,var/lib}
    chmod 1777 "$1/tmp"
    cp "$busybox" "$1/bin/busybox"
    local applet
    for applet in $("$busybox" --list); do
        [ "$applet" = busybox ] || ln -s busybox "$1/bin/$applet"
    done
    printf 'root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n' >"$1/etc/passwd"
    printf 'root:x:0:\nnobody:x:65534:\n' >"$1/etc/group"
    printf 'hosts: files dns\n' >"$1/etc/nsswitch.conf"
}

# image NAME DIR: imports a folder, unless the very same one is there already. Prints the full reference. The tag is the
# content, so the layers that build on it stay cached.
image() {
    local sum reference old
    tar -C "$2" --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner -cf "$work/image.tar" .
    sum=$(sha256sum "$work/image.tar" | cut -c1-12)
    reference=$1:$sum
    if ! docker image inspect "$reference" >/dev/null 2>&1; then
        docker import --change 'ENV PATH=/usr/local/bin:/bin' --change 'CMD ["sh"]' \
            "$work/image.tar" "$reference" >/dev/null
    fi
    docker tag "$reference" "$1:latest"
    for old in $(docker images --format '{{.Repository}}:{{.Tag}}' "$1"); do
        # Only tags that this function made: those of others are not ours to remove.
        if [[ $old != "$reference" && $old =~ :[0-9a-f]{12}$ ]]; then docker rmi "$old" >/dev/null 2>&1 || true; fi
    done
    rm "$work/image.tar"
    echo "$reference"
}

root "$work/busybox"
say "$(image davit-test/busybox "$work/busybox") from $busybox"

root "$work/base"
# The name service modules are opened by name, so ldd does not list them; a C library from 2.34 on has them built in.
libraries=$(for name in "${binaries[@]}"; do ldd "$from/$name" 2>/dev/null || true; done |
    grep -oE '/[^ ]+' | sort -u)
for library in $libraries; do
    mkdir -p "$work/base$(dirname "$library")"
    cp -L "$library" "$work/base$library"
    case $library in
        */libc.so.6)
            for module in libnss_files.so.2 libnss_dns.so.2 libresolv.so.2; do
                beside=$(dirname "$library")/$module
                if [ -e "$beside" ]; then cp -L "$beside" "$work/base$beside"; fi
            done
            ;;
    esac
done
base=$(image davit-local/base "$work/base")
say "$base from busybox and $(echo "$libraries" | wc -w) shared libraries of this machine"

context=$work/context
mkdir -p "$context/prebuilt"
cp deploy/Dockerfile "$context/"
for name in "${binaries[@]}"; do
    # Debug information is most of a dev binary, and nobody debugs in there.
    strip --strip-debug -o "$context/prebuilt/$name" "$from/$name" 2>/dev/null || cp "$from/$name" "$context/prebuilt/$name"
    touch -d @0 "$context/prebuilt/$name"
done
for image in scheduler manager worker cli; do
    docker build --quiet --build-arg "BUILD_IMAGE=$base" --build-arg "BASE_IMAGE=$base" \
        --file "$context/Dockerfile" --target "$image" --tag "davit-$image:$tag" "$context" >/dev/null 2>"$work/log" ||
        { cat "$work/log" >&2; fail "docker build of davit-$image failed"; }
    say "davit-$image:$tag"
done
# What these builds replaced, and nothing else.
docker image prune --force --filter label=dev.davit.image >/dev/null
