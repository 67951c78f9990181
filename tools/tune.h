// `--tune`: looks for faster ways to cut the contractions and attention kernels of what is called, on
// this machine, and keeps what it finds in the cache folder for later compilations.
#pragma once
#include "tools/calls.h"

// Tries kernels on the calls of the command line (its --call, --in, --size), for a minute at most.
// What it found goes to stderr. SQ_EWORLD where it cannot be kept.
sq_status sq_tune(sq_cli *cli);
