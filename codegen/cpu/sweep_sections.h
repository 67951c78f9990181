// What the files of sweeps by maps share: the map of an element, of all turns of a vector or of a section
// (ir/sweep_sections.h).
#pragma once
#include "codegen/cpu/sweep.h"

typedef struct sq_sline { // h -> by * h + other, or as `how` says; NULL: changes nothing
  sq_prefix_how how;
  sq_dtype type;
  sq_lv by, other, high;
} sq_sline;

// ---- sweep_line.c ------------------------------------------------------------------------------
sq_lv sq_sline_apply(const sq_semit *e, const sq_sline *m,
                     sq_lv first); // first: NULL for a map without
sq_sline sq_sline_then(const sq_semit *e, const sq_sline *first, const sq_sline *next);
sq_sline sq_sline_neutral(const sq_semit *e, const sq_sline *m, uint32_t w); // with what m has
sq_sline sq_sline_up_to(const sq_semit *e, sq_sline m); // vectors: of all turns up to each
// Of `n` vectors of turns one after another, all of the turns, as scalars; n: sq_sline_vectors.
sq_sline sq_sline_all(const sq_semit *e, const sq_sline *m, uint32_t n);
uint32_t sq_sline_vectors(const sq_sweep *s);
// Are states compared alone? Then whatever comes is right.
bool sq_sline_compares(const sq_prefix_map *p);

// ---- sweep_total.c -----------------------------------------------------------------------------
// The maps of all carried elements, one after another, of the turns lo .. hi: whole groups of vectors.
void sq_stotal(sq_semit *e, sq_lv lo, sq_lv hi, sq_sline *all);

// ---- sweep_sections.c --------------------------------------------------------------------------
void sq_ssections_kernel(sq_semit *e);
sq_dim sq_ssections_bytes(const sq_sweep *s, const sq_sections *c);
