// The machine that code is made for, as every decision about sizes sees it: register tiles, blocks,
// units of work, whether something is worth computing twice.
//
//   facts   of the processor: read where the code runs (native), else stated for the target's name. They
//           may decide the order of a sum, hence the last bits of a result; a record of compiled code
//           holds for the facts it was made for (sq_machine_key).
//   rates   measured by `seqm bench --calibrate`, else those of a usual processor. They decide what no
//           result depends on: how work is cut into units, and what `seqm explain` expects.
#pragma once
#include "ir/ir.h"

typedef struct sq_rates {
  bool measured;
  double flops;          // f32 multiply-adds counted as 2, per second, all cores
  double memory, l2, l3; // bytes read per second, all cores
} sq_rates;
typedef struct sq_machine {
  uint32_t vector_bytes, vector_registers;
  uint32_t step_bytes; // of a vector, that an operation takes at once: less where it goes in halves
  bool fma, fp16, bf16;
  uint32_t l1_bytes, l2_bytes; // of a core
  uint32_t l3_bytes;           // shared; 0: none
  uint32_t cores;
  sq_rates rates;
} sq_machine;

// Caches, cores and rates of a usual processor where they are 0.
void sq_machine_complete(sq_machine *m);
// The facts of a named level, x86-64-v2 to v4 (2 to 4) or aarch64 (1).
sq_machine sq_machine_level(int level);
// Takes measured rates, those that are numbers.
void sq_machine_calibrate(sq_machine *m, const sq_rates *r);
// All that compiled code depends on, added to a key.
void sq_machine_key(const sq_machine *m, sq_text *key);

// ---- what follows from it
uint32_t sq_machine_lanes(const sq_machine *m, uint32_t bytes); // elements of a vector; at least 1
// The same of vectors along which results wait for one another, so that width costs steps.
uint32_t sq_machine_step_lanes(const sq_machine *m, uint32_t bytes);
uint32_t
sq_machine_near(const sq_machine *m); // bytes that stay in the first-level cache beside others
double
sq_machine_clock(const sq_machine *m); // cycles per second: two multiply-adds of vectors each
// Where so many bytes lie when they are read again and again: their rate, and the place's name.
double sq_machine_reads(const sq_machine *m, double bytes, const char **place);
// Rows of a contraction in whose multiplications the reading of its other operand, so many bytes, is
// hidden.
uint32_t sq_machine_hidden_rows(const sq_machine *m, double bytes);

// Cycles of a function on a vector; additions, comparisons and the like are 1. The one table of what
// functions cost.
uint32_t sq_ewise_cycles(sq_ewise e);

// A task is worth about so many cycles: waking a worker costs a tenth of it.
enum { SQ_TASK_CYCLES = 10000, SQ_MOST_TASKS = 512 };
