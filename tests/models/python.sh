#!/bin/sh
# Runs a Python program with the environment in the build folder when there is one.
#   python.sh BUILD PROGRAM ARGS...
build=$1
shift
if [ -x "$build/venv/bin/python" ]; then
  exec "$build/venv/bin/python" "$@"
fi
exec python3 "$@"
