#!/bin/sh
# Compares what a command says with the part `expected` of a test, to the letter.
#   message.sh TEST FOLDER SEQM STATUS ARGUMENT...
# The parts of TEST (`#--- NAME`) are files in FOLDER then, in which the command is run. With
# SEQM_EXPECT=write the part `expected` is written anew instead: read the difference before you
# commit it.
set -eu
test=$1 folder=$2 seqm=$3 status=$4
shift 4
split-file --no-leading-lines "$test" "$folder"
cd "$folder"
got=0
"$seqm" "$@" >said 2>&1 || got=$?
# Where the library lies is the machine's.
sed -i 's|[^ `]*/lang/std/|lang/std/|g' said
if [ "${SEQM_EXPECT:-}" = write ]; then
  sed -i '/^#--- expected$/q' "$test"
  cat said >>"$test"
  exit 0
fi
diff -u expected said || exit 1
[ "$got" = "$status" ] || {
  echo "status $got instead of $status"
  exit 1
}
