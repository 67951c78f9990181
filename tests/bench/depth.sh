#!/bin/sh
# How much a deep model costs to check and to compile, against a shallow one: medians of five,
# alternating.   tests/bench/depth.sh build/seqm [examples/gpt2.seqm]
set -eu
seqm=$1
model=${2:-$(dirname "$0")/../../examples/gpt2.seqm}
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
now() { date +%s%N; }
one() { # NAME LAYERS COMMAND...
  name=$1
  shift
  begin=$(now)
  "$@" >/dev/null
  end=$(now)
  echo $(((end - begin) / 1000)) >>"$tmp/$name"
}
for turn in 1 2 3 4 5; do
  for layers in 2 48; do
    one check$layers "$seqm" check "$model" -D layers=$layers
    one compile$layers "$seqm" compile "$model" -D layers=$layers -o "$tmp/m.o"
  done
done
median() { sort -n "$tmp/$1" | sed -n 3p; }
for what in check compile; do
  a=$(median ${what}2)
  b=$(median ${what}48)
  echo "$what: 2 layers $a us, 48 layers $b us, ratio $(awk "BEGIN { printf \"%.2f\", $b / $a }")"
done
