// What the files of the pass `sweep` share.
#pragma once
#include "ir/sweep_prefix.h"
#include "passes/maker.h"
#include "passes/questions.h"

typedef struct sq_sweeper {
  sq_graph *g;
  sq_func *f;
  sq_node *sweep; // the one that is being made
  const sq_pass_options *o;
  bool changed;
} sq_sweeper;

// ---- sweep_wrap.c: what stands in the sweep ----------------------------------------------------
// A new w->sweep around the scan; uses: of each value of the function, by its id.
void sq_sweeper_wrap(sq_sweeper *w, sq_node *scan, const uint32_t *uses);
// Takes an operation that follows w->sweep into it, if one may be; false: there is none.
bool sq_sweeper_take_follower(sq_sweeper *w);
void sq_sweeper_drop_unused(sq_sweeper *w); // results of w->sweep that nothing uses

// ---- sweep_form.c: how its turns go ------------------------------------------------------------
// Marks w->sweep, which has the scan, and says how it goes; taken: operations that follow the scan in it.
void sq_sweeper_choose(sq_sweeper *w, sq_node *scan, uint32_t taken);
// Of a scan that stays as it is: says why it does not go by Newton's method, where that was asked for.
void sq_sweeper_no_newton(sq_sweeper *w, const sq_node *scan, sq_sweep *s);
uint32_t sq_sweeper_vector_bytes(const sq_sweeper *w);
sq_machine sq_sweeper_machine(const sq_sweeper *w);
#define SQ_SWEEPER_GAIN 1.25 // by which maps must be the better way
// Are there some vectors of so many bytes of turns, or is it not known?
bool sq_sweeper_long_enough(sq_graph *g, const sq_sweep *s, uint32_t bytes);

// ---- sweep_dense.c: states that read each other -------------------------------------------------
// Where each has no map of its own, f->why: marks the sweep where maps of all of them together are better, and
// says so in what is returned; else f->why becomes why they are not.
const char *sq_sweeper_dense(sq_sweeper *w, sq_prefix *f);

// ---- sweep_reads.c: what turns make of a matrix element by element -----------------------------
// Has it made where it is read, where turns go one by one; how many there were.
uint32_t sq_sweeper_join_reads(sq_sweeper *w, sq_node *scan);

// ---- sweep_beside.c: two that do not depend on each other --------------------------------------
// Joins sweeps of the block, where that gains; says why others stay apart.
void sq_sweeper_join(sq_sweeper *w, sq_block *b);
