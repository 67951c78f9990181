#!/bin/sh
# Fails on an include against the arrows between folders.
set -eu
cd "$(dirname "$0")/.."
bad=0
check() { # FOLDER ALLOWED-PREFIXES
  for f in $(find "$1" -name '*.[chyl]'); do
    for inc in $(sed -n 's/^#include "\([^"]*\)".*/\1/p' "$f"); do
      case "$inc" in */*) ;; *) continue ;; esac
      ok=0
      for allowed in $2; do case "$inc" in "$allowed"*) ok=1 ;; esac; done
      if [ "$ok" = 0 ]; then
        echo "$f includes $inc, but $1/ may only know: $2"
        bad=1
      fi
    done
  done
}
check base "base/"
check ir "base/ ir/"
check frontend "base/ ir/ frontend/"
check passes "base/ ir/ passes/"
check codegen "base/ ir/ codegen/ runtime/abi.h runtime/seqm.h"
check runtime "base/alloc.h base/status.h runtime/ dlpack/"
[ "$bad" = 0 ] && echo "includes point one way"
exit "$bad"
