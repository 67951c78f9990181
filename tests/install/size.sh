#!/bin/sh
# The runtime's code and data, without symbols and debug information, are below 1 MiB.
#   size.sh LIBRARY
set -eu
bytes=$(size "$1" | awk 'NR > 1 { total += $1 + $2 } END { print total }')
echo "$(basename "$1"): $bytes bytes of code and data"
[ "$bytes" -gt 10000 ] && [ "$bytes" -lt 1048576 ]
