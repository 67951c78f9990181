// What the files of sweeps share: how one is run, and its emission.
//
//   unit: one index of every lane class but the vector's, and a chunk of blocks of the vector's lanes
//   for each stretch of turns            (a stretch of all of them where a chunk is one block)
//     for each block                     (`sets` blocks at once where there are as many)
//       states from the worker's scratch
//       for each turn: every member, every store
//       states to the scratch
//
// Prefix: a lane is a unit, and its turns fill vectors:
//   for each stretch of turns
//     for each vector of them: every member, the maps of states put together and applied; every store
//     its last turns, or all where something was not finite: one after another (registers)
// Where lanes are few, a unit is a section of a lane's turns (ir/sweep_sections.h, sweep_sections.c).
//
// Newton: a lane is a unit, and the states of a stretch of turns are unknowns:
//   for each stretch of turns
//     until it converges: for each vector of turns: members, their derivatives, the maps put together
//     for each vector of turns: every store
//     its last turns, or all where it did not converge: one after another (registers)
//
// Dense: a lane is a unit, and its states read each other: see sweep_dense.c.
//
// Registers: all elements of a lane are values of their own, members are unrolled over them.
// Blocks: see sweep_chunk.h.
// Rows: states lie in scratch by rows, of which every loop does all that can be done at once. A chunk of several
// groups of `sets` blocks goes by stretches as above, each group with a slot of the scratch.
// Memory: the parts of values lie in scratch, members loop over them.
#pragma once
#include "codegen/cpu/kernel.h"
#include "ir/sweep_dense.h"
#include "ir/sweep_newton.h"
#include "ir/sweep_sections.h"

// Most blocks done together; turns that they take before the next ones do.
enum { SQ_SWEEP_SETS = 4, SQ_SWEEP_STRETCH = 64 };

// Of a member: what is the same in all turns, by rows in the scratch (sweep_fixed.c).
typedef struct sq_sfixed {
  uint32_t n, id[2 * SQ_SWEEP_POWERS]; // scalars
  bool lanes[2 * SQ_SWEEP_POWERS];     // of a vector's lanes each
  sq_dim place[2 * SQ_SWEEP_POWERS];
  uint32_t n_power;
  sq_sweep_power power[SQ_SWEEP_POWERS];
  sq_dim bound[SQ_SWEEP_POWERS]; // of the turn's factor: 1 row
} sq_sfixed;

typedef struct sq_splan {
  uint32_t va;           // class whose lanes fill a vector, or NONE
  uint32_t w;            // lanes, 1 without
  uint32_t sets;         // blocks of w lanes done together
  uint32_t chunk;        // blocks in a unit
  bool registers, rows;  // neither: in memory
  uint32_t turns;        // prefix, newton, dense: how many fill a vector; else 0
  uint32_t guess;        // newton: byte offset of the stretch's unknowns in the scratch
  double cost;           // cycles of one turn of one block
  sq_sections *sections; // prefix: its maps, and whether time is cut; else NULL
  // Turns in blocks: how (sweep_chunk.h), or NULL. The unit keeps its states by rows then.
  const struct sq_schunk *blocks;
  sq_dim scratch; // bytes of states that a unit keeps, per worker
  uint32_t *at;   // per carried value: byte offset of its elements inside a block's scratch
  uint32_t block; // bytes of a block's scratch (registers)
  sq_dim slot;    // bytes of the scratch of `sets` blocks (rows)
  sq_dim lines;   // blocks: lines of a block of lanes of a state
  // Rows, memory: where the part of each value lies in the scratch. Memory: per carried value, whether its
  // next value is made in its place.
  sq_dim *place;
  bool *in_place;
  sq_sfixed *fixed; // per member; NULL where turns go by vectors or in blocks
} sq_splan;
sq_splan sq_splan_make(sq_sweep *s, const sq_target *t, sq_arena *a);
// Elements of a value's part when it is known, else 0.
uint32_t sq_splan_elements(const sq_sweep *s, uint32_t value);

// A nest at one element: of a set, of the parts' and of the reduction's axes.
typedef struct sq_selement {
  sq_knest t; // first: a nest that asks for a value of the sweep leads to its element
  struct sq_semit *e;
  const sq_sweep_nest *x;
  uint32_t set;
} sq_selement;

typedef struct sq_semit {
  sq_kern *k;
  const sq_sweep *s;
  const sq_splan *p;
  sq_kgroup group;
  sq_lv row[SQ_K_AXES]; // per class but the vector's: its index in this unit
  sq_lv first;          // first lane of the present block
  sq_lv mask;           // of lanes, NULL: all
  uint32_t sets;        // present
  uint32_t turns;       // in a vector, 0: one at a time
  sq_lv **value;        // per value of the sweep: [sets][elements]
  sq_lv scratch;        // of the worker, for this unit
} sq_semit;

// ---- kernel_sweep.c ----------------------------------------------------------------------------
sq_dtype sq_semit_kept(sq_dtype t); // the type that scratch holds values of type t in
bool sq_semit_has_vector(const sq_semit *e, uint32_t value); // has it the vector's lanes?
sq_lv sq_semit_turn(sq_semit *e, sq_lv i);                   // the turn that is done as the i-th
// What nest x writes is written by the first index of lanes that it lacks alone; NULL: by all.
sq_lv sq_semit_first_only(sq_semit *e, const sq_sweep_nest *x);
// Work on a block of lanes, the block-th of its unit.
typedef void (*sq_sblock)(sq_semit *e, sq_lv block, void *user);
// Calls fn for all blocks of lo .. hi, `sets` at a time while there are as many whole ones.
void sq_semit_blocks(sq_semit *e, sq_lv lo, sq_lv hi, uint32_t sets, sq_sblock fn, void *user);
typedef struct sq_sturns {
  sq_lv lo, hi;
} sq_sturns;

// ---- sweep_registers.c: states begin and end in memory, and take turns (user: sq_sturns) -------
void sq_sregisters_begin(sq_semit *e, sq_lv block, void *user);
void sq_sregisters_turns(sq_semit *e, sq_lv block, void *user);
void sq_sregisters_end(sq_semit *e, sq_lv block, void *user);
// State k's element `at` in the scratch of block number `block` of the unit.
sq_lv sq_sregisters_load(sq_semit *e, sq_lv block, uint32_t k, uint32_t at);
void sq_sregisters_store(sq_semit *e, sq_lv block, uint32_t k, uint32_t at, sq_lv v);
typedef struct sq_sunrolled { // a nest, at all elements of the present sets
  const sq_sweep_nest *x;
  uint32_t par, red;
  sq_selement **at;   // [sets][par][red]
  sq_selement **post; // [sets][par], where it reduces and has a post
} sq_sunrolled;
sq_sunrolled sq_sunroll(sq_semit *e, const sq_sweep_nest *x);
void sq_sunrolled_hoist(const sq_sunrolled *u, uint32_t sets);
void sq_sunrolled_open(const sq_sunrolled *u, uint32_t sets, sq_lv turn);
sq_lv sq_sunrolled_element(sq_semit *e, const sq_sunrolled *u, uint32_t i);
// The same with other scalars as the body (NONE: the post reads none of it) and the post (NONE: there is none).
sq_lv sq_sunrolled_of(sq_semit *e, const sq_sunrolled *u, uint32_t i, uint32_t body, uint32_t post);
void sq_sunrolled_write(sq_semit *e, const sq_sunrolled *u);
void sq_sunrolled_forget(const sq_sunrolled *u, uint32_t sets);
// ---- sweep_turns.c: vectors of e->turns turns --------------------------------------------------
sq_lv sq_sturn_last(const sq_semit *e, sq_lv v); // the last turn's, in all lanes
// Each turn's value before it: of the first the last one of `earlier`.
sq_lv sq_sturn_before(const sq_semit *e, sq_lv v, sq_lv earlier);
// The second half of each 2 * half turns gets the value at the end of the first half, the first half
// `neutral` (all lanes alike).
sq_lv sq_sturn_first_half(const sq_semit *e, sq_lv v, sq_lv neutral, uint32_t half);
// ---- sweep_dense.c: all turns of a lane, from and to its scratch (user: sq_dense) --------------
void sq_sdense_turns(sq_semit *e, sq_lv block, void *user);
// ---- sweep_newton.c: all turns of a lane, from and to its scratch (user: sq_newton) ------------
enum { SQ_SNEWTON_STRETCH = 128 };
void sq_snewton_turns(sq_semit *e, sq_lv block, void *user);
// ---- sweep_prefix.c: turns of a lane by maps, from and to its scratch (user: sq_sturns) --------
void sq_sprefix_turns(sq_semit *e, sq_lv block, void *user);
// ---- sweep_rows.c: all turns of a block --------------------------------------------------------
bool sq_srows_fit(const sq_sweep *s, sq_arena *a);
void sq_srows_all(sq_semit *e, sq_lv block, void *user);
// Its parts: states from where the scan begins; turns (user: sq_sturns); ends.
void sq_srows_begin(sq_semit *e, sq_lv block, void *user);
void sq_srows_turns(sq_semit *e, sq_lv block, void *user);
void sq_srows_end(sq_semit *e, sq_lv block, void *user);
// ---- sweep_ahead.c: a nest's memory of later turns; its turn and lanes are open ----------------
void sq_sahead_reads(sq_semit *e, sq_selement **el, const sq_sweep_nest *x);
void sq_sahead_writes(sq_semit *e, sq_selement **el, const sq_sweep_nest *x);
// ---- sweep_fixed.c: what turns have in common, by rows ------------------------------------------
sq_sfixed *sq_sfixed_powers(sq_sweep *s, sq_arena *a); // per member
void sq_sfixed_find(const sq_sweep *s, uint32_t va, sq_sfixed *all);
void sq_sfixed_place(const sq_sweep *s, sq_splan *p, sq_dim rows);
// Before the turns: the rows are made.
void sq_sfixed_begin(sq_semit *e, const sq_sfixed *f, const sq_sweep_nest *x, sq_lv rows);
// In a turn: i1, are all exponents so small that their powers can go the short way? NULL: none.
// el: the member's nest, per set.
sq_lv sq_sfixed_usual(sq_semit *e, const sq_sfixed *f, sq_selement **el);
// In a row of a set: what is kept is the nest's; powers go the short way where `power` is not NULL: what
// sq_math_power_begin gave.
void sq_sfixed_row(sq_semit *e, const sq_sfixed *f, sq_selement *el, sq_lv rows, sq_lv row,
                   const sq_lv *power);
// ---- sweep_chunk.c: turns in blocks ------------------------------------------------------------
// Sets the plan where it can be done.
bool sq_schunk_plan(sq_sweep *s, const sq_target *t, sq_splan *p, sq_arena *a);
// All turns of a unit, whose columns are lo .. hi.
void sq_schunk_unit(sq_semit *e, sq_lv lo, sq_lv hi);
// ---- sweep_memory.c: all turns of a block ------------------------------------------------------
void sq_smemory_all(sq_semit *e, sq_lv block, void *user);

// ---- sweep_element.c: nests at elements --------------------------------------------------------
// Lets the nest know that what it reads of the sweep varies with the turn and with lanes.
void sq_sweep_depend(const sq_sweep *s, sq_knest *t, const sq_sweep_nest *x);
// The nest of x opened at element `at` of its inner axes (reduced ones last; NONE: they stay closed),
// lanes of `set`.
sq_selement *sq_selement_new(sq_semit *e, const sq_sweep_nest *x, uint32_t set, uint32_t at);
// Emits what does not change from turn to turn.
void sq_selement_hoist(sq_selement *el);
// Opens the turn; of vectors of turns that of the first set.
void sq_selement_turn(sq_selement *el, sq_lv t);
// Which element of its value a read of the sweep means.
uint32_t sq_selement_place(sq_knest *t, const sq_scalar *read);
uint32_t sq_selement_count(const sq_sweep *s, const sq_sweep_nest *x, bool reduced);

void sq_kernel_sweep(sq_cg *cg, sq_node *n);
sq_kernel_scratch sq_kernel_sweep_need(sq_graph *g, const sq_target *t, const sq_node *n);
