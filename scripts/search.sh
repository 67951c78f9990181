#!/bin/sh
# Installs what seqm needs, builds it, fetches the public MiniLM weights, and answers a question over
# the project's own documents by meaning.
#   scripts/search.sh ["your question"] [FILE...]
set -eu
cd "$(dirname "$0")/.."
question=${1:-how do I load the weights of a model?}
[ $# -gt 0 ] && shift

scripts/install_deps.sh
cmake --preset default
cmake --build --preset default
dir=$(scripts/fetch_weights.sh)
if [ $# -eq 0 ]; then
  set -- README.md ARCHITECTURE.md HACKING.md lang/*.md */README.md
fi
build/semantic_search --weights "$dir/model.safetensors" --vocab "$dir/vocab.txt" "$question" "$@"
