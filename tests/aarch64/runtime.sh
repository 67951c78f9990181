#!/bin/sh
# Builds the runtime for aarch64 into FOLDER/libseqm_rt.a, where `seqm compile --target-cpu aarch64`
# finds it when FOLDER is `runtime/aarch64` beside the command.
#   runtime.sh SOURCE FOLDER
set -eu
cmake -S "$1/runtime" -B "$2" -DCMAKE_SYSTEM_NAME=Linux -DCMAKE_SYSTEM_PROCESSOR=aarch64 \
  -DCMAKE_C_COMPILER=aarch64-linux-gnu-gcc >/dev/null
cmake --build "$2"
