#!/bin/sh
# Installs what the tests need, builds, and runs the tests. The quick set; --full runs everything.
set -eu
cd "$(dirname "$0")/.."
label=quick
case "$*" in
"") ;;
--full) label=full ;;
*)
  echo "usage: scripts/test.sh [--full]" >&2
  exit 2
  ;;
esac

scripts/install_deps.sh --test
cmake --preset default
cmake --build --preset default
if [ ! -x build/venv/bin/python ]; then
  python3 -m venv build/venv
  build/venv/bin/python -m pip install -q numpy
  # Compiles kernels for CUDA; where it cannot be had, the tests that need it are skipped by name.
  build/venv/bin/python -m pip install -q nvidia-cuda-nvrtc || true
fi
if [ -z "${SEQM_MINILM:-}" ]; then
  if dir=$(scripts/fetch_weights.sh); then
    export SEQM_MINILM="$dir"
  elif [ "${CI:-}" = true ]; then
    echo "the weights are needed in CI" >&2
    exit 3
  fi
fi
ctest --test-dir build -L "$label" --output-on-failure -j 2
