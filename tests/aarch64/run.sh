#!/bin/sh
# Models compiled for a target give the results that they give on this machine, to 1e-5.
#   run.sh SOURCE BUILD WORK TARGET        TARGET: aarch64 (under qemu), x86-64-v2, x86-64-v3, x86-64-v4
# Ends with 77 when what is needed to run the target is missing.
set -eu
source=$1 build=$2 work=$3 target=$4
seqm=$build/seqm
rm -rf "$work"
mkdir -p "$work"
cd "$work"

skip() {
  echo "SKIP $target: $*"
  [ "${CI:-}" = true ] && exit 1
  exit 77
}
here() { # a C compiler for this machine and how its programs are run
  cc=cc run= runtime=$build/runtime/libseqm_rt.a
}
there() {
  here
  if [ "$target" = aarch64 ]; then
    cc=aarch64-linux-gnu-gcc run="qemu-aarch64 -L /usr/aarch64-linux-gnu"
    runtime=$build/runtime/aarch64/libseqm_rt.a
  fi
}
case $target in
aarch64)
  command -v aarch64-linux-gnu-gcc >/dev/null || skip "no aarch64-linux-gnu-gcc"
  command -v qemu-aarch64 >/dev/null || skip "no qemu-aarch64"
  sh "$source/tests/aarch64/runtime.sh" "$source" "$build/runtime/aarch64"
  sh "$source/tests/install/size.sh" "$build/runtime/aarch64/libseqm_rt.a"
  ;;
esac

# gives NAME FILE CPU COMPILE-OPTIONS... -- DRIVER-ARGUMENTS...: compiles, links, runs; prints.
gives() {
  name=$1 file=$2 cpu=$3
  shift 3
  options=
  while [ "$1" != -- ]; do options="$options $1" && shift; done
  shift
  "$seqm" compile "$source/$file" $options --target-cpu "$cpu" -o "$name-$cpu.o" --header "$name.h"
  $cc -O1 -Wall -Wextra -I"$source/runtime" -DMODEL="seqm_model_$name" \
    "$source/tests/aarch64/driver.c" "$name-$cpu.o" "$runtime" -lm -lpthread -ldl -o "$name-$cpu"
  $run "./$name-$cpu" "$@" >"$name-$cpu.txt"
}
same() { # FILE FILE
  paste -d' ' "$1" "$2" | awk '
    $1 != $3 { print "not the same elements: " $0; bad = 1; exit }
    { d = $2 - $4; if (d < 0) d = -d
      a = $2 < 0 ? -$2 : $2; if (a < 1) a = 1
      if (!(d <= 1e-5 * a)) { print "differs: " $0; if (++bad > 5) exit }
      if (d / a > worst) worst = d / a }
    END { if (!NR) bad = 1; printf "%d elements, worst difference %.2g\n", NR, worst; exit bad != 0 }'
}
model() {
  name=$1 file=$2
  shift 2
  echo "== $name on $target"
  here
  gives "$name" "$file" native "$@"
  there
  gives "$name" "$file" "$target" "$@"
  same "$name-native.txt" "$name-$target.txt"
}

if [ "$target" = x86-64-v4 ] && ! grep -q avx512vl /proc/cpuinfo; then
  # Not for this machine: refused, by name, before any of its code runs.
  here
  status=0
  gives affine tests/cli/Inputs/affine.seqm x86-64-v4 -- --random 1 add v=2:1,2 2>said || status=$?
  cat said
  [ "$status" = 1 ] && grep -qi avx512 said
  echo "refused, as it should be"
  exit 0
fi

model affine tests/cli/Inputs/affine.seqm -- --random 1 forward x=2,3:1,-2,3,0.5,0.25,7 \
  -- add v=2:1,2 -- add v=2:0.5,0.25 -- row x=2,3:1,2,3,4,5,6 at=:1
model gpt2 examples/gpt2.seqm -- --weights "$source/tests/models/data/gpt2.safetensors" \
  forward ids=7:5,1,2,63,0,7,7 -- step id=:5 -- step id=:1 -- generate prompt=3:5,1,2 max_new=:8
model minilm examples/minilm.seqm -- --random 3 \
  forward ids=2,5:1,2,3,4,5,6,7,8,9,10 mask=2,5:1,1,1,1,1,1,1,1,0,0
model llama examples/llama.seqm -D rope_factor=8 -D rope_orig=64 -- --random 5 \
  forward ids=6:9,8,7,6,5,4 -- prefill ids=3:9,8,7 -- step id=:6 -- generate prompt=2:1,2 max_new=:6

echo "== a shared object for $target"
there
"$seqm" compile "$source/tests/cli/Inputs/affine.seqm" --target-cpu "$target" -o affine.so
$cc -O1 -I"$source/runtime" "$source/tests/aarch64/driver.c" "$runtime" -lm -lpthread -ldl -o driver
$run ./driver ./affine.so --random 1 forward x=2,3:1,-2,3,0.5,0.25,7 -- add v=2:1,2 \
  -- add v=2:0.5,0.25 -- row x=2,3:1,2,3,4,5,6 at=:1 >affine-so.txt
same affine-native.txt affine-so.txt
