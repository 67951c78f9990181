#!/bin/sh
# Installs the build, moves the tree, and uses it as a stranger would: the command from another folder,
# host programs through pkg-config and through find_package.
#   run.sh SOURCE BUILD WORK
set -eu
source=$1 build=$2 work=$3
rm -rf "$work"
mkdir -p "$work/elsewhere"
cmake --install "$build" --prefix "$work/first" >"$work/install.log"
mv "$work/first" "$work/prefix"
prefix=$work/prefix
lib=$(dirname "$(find "$prefix" -name libseqm_rt.a)")
cp "$source/examples/gpt2.seqm" "$source/tests/cli/Inputs/affine.seqm" "$work/elsewhere/"
cd "$work/elsewhere"
export XDG_CACHE_HOME="$work/cache"

echo "== the command finds std and the runtime"
"$prefix/bin/seqm" run gpt2.seqm --random-weights 1 --in ids=1,2,3
"$prefix/bin/seqm" compile affine.seqm -o affine.so --header affine.h
(cd / && "$prefix/bin/seqm" run "$work/elsewhere/affine.so" --random-weights 1 --call add --in v=1,2)

echo "== headers, C and C++"
for header in seqm.h seqm_compiler.h; do
  echo "#include <$header>" | cc -std=c99 -Wall -Wextra -Werror -I"$prefix/include" -fsyntax-only -x c -
  echo "#include <$header>" | c++ -Wall -Wextra -Werror -I"$prefix/include" -fsyntax-only -x c++ -
done
cc -Wall -Wextra -Werror -I"$prefix/include" -fsyntax-only -x c affine.h
c++ -Wall -Wextra -Werror -I"$prefix/include" -fsyntax-only -x c++ affine.h

echo "== pkg-config"
export PKG_CONFIG_PATH="$lib/pkgconfig"
cc "$source/tests/install/host_rt.c" $(pkg-config --cflags --libs seqm) -o pc_host_rt
./pc_host_rt affine.so
cc "$source/tests/install/host.c" $(pkg-config --cflags --libs seqm-compiler) -lm -o pc_host
LD_LIBRARY_PATH="$lib" ./pc_host gpt2.seqm

echo "== find_package"
cmake -S "$source/tests/install/project" -B "$work/project" -DCMAKE_PREFIX_PATH="$prefix" >"$work/cmake.log"
cmake --build "$work/project" >>"$work/cmake.log" || { cat "$work/cmake.log"; exit 1; }
"$work/project/host_rt" affine.so
"$work/project/host" gpt2.seqm
echo "the installed tree works"
