#!/bin/sh
# Configures and builds the project once more, inside the build folder of the tests, for other tests.
#   sub_build.sh SOURCE BUILD GENERATOR [-D...] [-- TARGET...]
set -eu
source=$1 build=$2 generator=$3
shift 3
targets=
n=$#
while [ "$n" -gt 0 ]; do
  if [ "$1" = -- ]; then
    shift && n=$((n - 1))
    while [ "$n" -gt 0 ]; do targets="$targets $1" && shift && n=$((n - 1)); done
  else
    set -- "$@" "$1" && shift && n=$((n - 1))
  fi
done
cmake -S "$source" -B "$build" -G "$generator" -DSEQM_NESTED=ON "$@"
cmake --build "$build" -j 2 ${targets:+--target $targets}
