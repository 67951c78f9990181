#!/bin/sh
# Installs the Debian packages that seqm needs, those that are missing, by name. As root, or by sudo.
#   scripts/install_deps.sh          to build and use seqm
#   scripts/install_deps.sh --test   also what the tests need
set -eu

packages="build-essential cmake ninja-build pkg-config flex bison llvm-19-dev libjsmn-dev
libutf8proc-dev uthash-dev libxxhash-dev libdlpack-dev graphviz python3 python3-pip python3-venv unzip"
if [ "${1:-}" = "--test" ]; then
  packages="$packages llvm-19-tools lld-19 libcriterion-dev libjansson-dev libmpfr-dev clang
libclang-rt-14-dev gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user git"
fi

missing=""
for p in $packages; do
  state=$(dpkg-query -W -f '${Status}' "$p" 2>/dev/null || true)
  [ "$state" = "install ok installed" ] || missing="$missing $p"
done
[ -n "$missing" ] || exit 0

run=""
if [ "$(id -u)" != 0 ]; then
  command -v sudo >/dev/null 2>&1 || {
    echo "seqm: these packages are missing, and there is neither root nor sudo to install them:$missing" >&2
    exit 3
  }
  run=sudo
fi
echo "installing:$missing"
$run apt-get update -qq
DEBIAN_FRONTEND=noninteractive $run apt-get install -y -qq --no-install-recommends $missing >/dev/null
