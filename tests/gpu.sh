#!/bin/sh
# The CUDA target on a graphics processor: all operations' tests, the examples against their references,
# then a benchmark whose table is the last output.
#
#   tests/gpu.sh               here: builds, packs and runs
#   tests/gpu.sh pack DIR      on any machine: builds, and compiles all that is run into DIR (NVRTC, no
#                              device); SEQM_GPU_ARCH says for which architecture (sm_90a)
#   tests/gpu.sh run DIR       where the device is: wants python3 with numpy, not the compiler
#
# SEQM_GPU_SECONDS: `run` begins no new step after so many (600). SEQM_GPU_ONLY: a pattern of examples.
# SEQM_TRITON_TUTORIAL: the file of Triton's tutorial on fused attention, a peer of the benchmark.
# A step that fails is told and counted, and the next one runs; the status is 1 when one did.
set -u
here=$(cd "$(dirname "$0")" && pwd)
source=$(dirname "$here")
export PYTHONDONTWRITEBYTECODE=1

say() { printf '\n==== %s\n' "$*"; }

papers() { # SOURCE
  for f in "$1"/tests/models/papers/*.py; do
    name=$(basename "$f" .py)
    [ "$name" = common ] || printf '%s\n' "$name"
  done | grep -E "${SEQM_GPU_ONLY:-.}"
}

pack() { # DIR
  dir=$1
  python="$source/tests/models/python.sh $source/build"
  export SEQM_GPU_DIR="$dir" SEQM_GPU_MODE=pack SEQM="$source/build/seqm"
  export SEQM_GPU_ARCH="${SEQM_GPU_ARCH:-sm_90a}"
  cmake -S "$source" --preset default >/dev/null && cmake --build "$source/build" || exit 3
  mkdir -p "$dir/ops" "$dir/source/tests" || exit 3
  cp "$source/build/tests/seqm_object" "$source/build/tests/run_ops_object" "$dir/"
  strip "$dir/seqm_object" "$dir/run_ops_object"
  for part in ops models bench gpu; do
    rm -rf "$dir/source/tests/$part"
    mkdir -p "$dir/source/tests/$part"
  done
  # A graph `check` would be linked beside the function seqm_model_check.
  for f in "$here"/ops/*.sir; do
    sed 's/^graph /graph op_/' "$f" >"$dir/source/tests/ops/$(basename "$f")"
  done
  cp -r "$here"/models/*.py "$here"/models/papers "$dir/source/tests/models/"
  cp -r "$here"/bench/gpu "$dir/source/tests/bench/"
  cp "$here"/gpu/seqm.py "$dir/source/tests/gpu/"
  cp "$here/gpu.sh" "$dir/source/tests/"
  say "operations"
  for f in "$dir"/source/tests/ops/*.sir; do
    name=op_$(basename "$f" .sir)
    [ -f "$dir/ops/$name.so" ] && continue
    "$SEQM" compile "$f" --target cuda --arch "$SEQM_GPU_ARCH" -o "$dir/ops/$name.so" &&
      strip "$dir/ops/$name.so"
  done
  say "examples"
  for name in $(papers "$source"); do
    sh $python "$here/models/check_papers.py" --seqm "$here/gpu/seqm.py" --source "$source" --target cuda "$name" |
      tail -1 | sed "s/^/$name: /"
  done
  say "benchmark"
  sh $python "$here/bench/gpu/bench.py" --seqm "$here/gpu/seqm.py" --source "$source" --no-peers
  say "packed: $(du -sh "$dir" | cut -f1), $(ls "$dir"/*.so | wc -l) models"
}

failed=0
late() { [ "$(($(date +%s) - begun))" -gt "${SEQM_GPU_SECONDS:-600}" ]; }
step() { # NAME COMMAND...: at most a minute, the end of what it says when it fails
  name=$1
  shift
  if late; then
    echo "left out: $name"
    return
  fi
  if said=$(timeout 60 "$@" 2>&1); then
    echo "ok   $name: $(printf '%s' "$said" | tail -1)"
  else
    failed=$((failed + 1))
    echo "FAIL $name"
    printf '%s\n' "$said" | tail -6 | cut -c1-400 | sed 's/^/     /'
  fi
}

run() { # DIR
  dir=$(cd "$1" && pwd) || exit 2
  begun=$(date +%s)
  src="$dir/source"
  export SEQM_GPU_DIR="$dir" SEQM_GPU_MODE=run SEQM_OPS_OBJECTS="$dir/ops"
  say "device"
  nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader 2>&1
  work=$(mktemp -d) && cd "$work" || exit 3
  say "operations"
  for f in "$src"/tests/ops/*.sir; do
    step "$(basename "$f" .sir)" "$dir/run_ops_object" object "$f"
  done
  say "examples"
  for name in $(papers "$src"); do
    step "$name" python3 "$src/tests/models/check_papers.py" --seqm "$src/tests/gpu/seqm.py" --source "$src" --target cuda "$name"
  done
  say "benchmark ($failed steps have failed so far, $(($(date +%s) - begun)) s)"
  python3 "$src/tests/bench/gpu/bench.py" --seqm "$src/tests/gpu/seqm.py" --source "$src" --seconds 40 \
    ${SEQM_TRITON_TUTORIAL:+--triton "$SEQM_TRITON_TUTORIAL"} || failed=$((failed + 1))
  rm -r "$work"
  [ "$failed" = 0 ]
}

case "${1:-}" in
pack)
  [ $# = 2 ] || exec sed -n '2,13s/^# \{0,1\}//p' "$0"
  pack "$2"
  ;;
run)
  [ $# = 2 ] || exec sed -n '2,13s/^# \{0,1\}//p' "$0"
  run "$2"
  ;;
"")
  pack "$source/build/gpu" && run "$source/build/gpu"
  ;;
*)
  sed -n '2,13s/^# \{0,1\}//p' "$0"
  exit 2
  ;;
esac
