// Differential testing: one graph, given as IR text, run in every way that there is.
//
//   read, verify, print, read again         the text is the same
//   the float64 interpreter                 the reference
//   every pass alone, after inline          verified, read back, interpreted again
//   the CPU's pipeline, pass by pass        the same
//   the JIT's code on 1, 2 and 7 threads    bit by bit the same; within rounding of the reference
//
// Inputs, parameters and sizes are drawn from a seed; several trials, the first with all sizes 1. A
// trial calls every entry in turn, three times.
#pragma once
#include "ir/ir.h"

typedef struct fz_how {
  uint64_t seed;
  bool exact;         // floats are small whole numbers: results are compared for equality
  bool cpu;           // run compiled code, too
  bool passes;        // run each pass alone and the pipeline with the interpreter between
  bool orders;        // two pipelines in random order as well
  unsigned trials;    // sets of sizes
  unsigned seconds;   // of processor time, for one graph
  const char *target; // "native", "x86-64-v2", ...
  bool cuda;          // kernels in CUDA C under emulation
  bool attention;     // graphs that are attention for the most part
  bool scans;         // scans of many kinds
  bool chains;        // long chains of shared expressions
  const char *only;   // the one stage to check (and what it needs), NULL: all
} fz_how;

typedef enum fz_result { FZ_SAME, FZ_DIFFERS, FZ_INVALID, FZ_LARGE, FZ_SLOW } fz_result;
// Shared with the process that runs the check.
typedef struct fz_report {
  char stage[96]; // "cpu", "pass fuse", "round trip", ...
  char message[4000];
} fz_report;

// Runs the check in a process of its own, so that crashes and endless loops are results too.
fz_result fz_check(const char *text, const fz_how *how, fz_report *report);
fz_report *fz_report_new(void); // in shared memory

// The text with operations dropped, replaced by constants or inputs, for as long as the check fails
// in the same stage.
const char *fz_shrink(sq_arena *a, const char *text, const fz_how *how, const char *stage,
                      unsigned seconds);

// Runs check on texts made from seeds first, first + 1, ... for so many seconds (0: no end) or
// seeds. Prints the seed, the stage, the message and the reduced graph of every failure; returns
// how many there were.
typedef const char *fz_make(sq_ctx *ctx, sq_arena *a, uint64_t seed, fz_how *how,
                            const char **source);
int fz_main(int argc, char **argv, fz_make *make);

// splitmix64
static inline uint64_t fz_mix(uint64_t x) {
  x += 0x9e3779b97f4a7c15ull;
  x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9ull;
  x = (x ^ x >> 27) * 0x94d049bb133111ebull;
  return x ^ x >> 31;
}
