#!/bin/sh
# Configures and builds the project once more, inside the build folder of the tests, for other tests.
#   sub_build.sh SOURCE BUILD GENERATOR [-D...]
set -eu
source=$1 build=$2 generator=$3
shift 3
cmake -S "$source" -B "$build" -G "$generator" -DSEQM_NESTED=ON "$@"
cmake --build "$build" -j 2
