#!/bin/sh
# Runs a Python program with the environment in the build folder, or the one around it, when there is
# one.
#   python.sh BUILD PROGRAM ARGS...
build=$1
shift
for folder in "$build" "$build/.."; do
  if [ -x "$folder/venv/bin/python" ]; then
    exec "$folder/venv/bin/python" "$@"
  fi
done
exec python3 "$@"
