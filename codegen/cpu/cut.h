// How kernels are cut: register tiles, blocks for the caches, units of work.
//
//   machine (ir/machine.h) --cut.c: rules--> the model's choice --tuned.c: what --tune found--> a cut
//
// Numbers marked (order) decide in which order sums are added: they follow from the machine's facts
// alone, or from --tune. The others change no result.
#pragma once
#include "codegen/codegen.h"

typedef struct sq_gemm_cut {
  uint32_t mr; // (order of the rows behind the last whole tile) rows of a tile in registers
  uint32_t nv; // the same: its vectors; two where B lies in panels since load
  uint32_t depth_bytes; // (order of single rows) of a panel, that all rows of a block pass
  uint32_t rows_bytes;  // of A that stay in the second-level cache
  uint32_t block_bytes; // of B, packed at a time
  uint32_t least_tiles, most_tiles; // of a block of rows
  uint32_t unit_cycles, most_units; // a unit of work: about so many cycles; at most so many
  uint32_t few_columns;             // fewer than these: rows of A are read where they are
  uint32_t hidden_rows;             // rows in whose multiplications the reading of B is hidden
} sq_gemm_cut;
typedef struct sq_stream_cut {
  uint32_t nv;          // (order) vectors of rows that share a block of keys
  uint32_t score_bytes; // (order) of scores that stay in the first-level cache: how long a block is
} sq_stream_cut;

// The model's choice.
sq_gemm_cut sq_gemm_cut_of(const sq_machine *m);
sq_stream_cut sq_stream_cut_of(const sq_machine *m);
// Can a machine's code be cut so? Tiles fit its registers, blocks its memory.
bool sq_gemm_cut_fits(const sq_machine *m, const sq_gemm_cut *c);
bool sq_stream_cut_fits(const sq_machine *m, const sq_stream_cut *c);

// ---- what --tune found (tuned.c; the table's form is in codegen.h) --------------------------------
uint64_t sq_tuned_class(const char *class);
const sq_tuned_row *sq_tuned_find(const sq_target *t, const char *class);
sq_tuned_row sq_tuned_of_gemm(const char *class, const sq_gemm_cut *c, float gain);
sq_tuned_row sq_tuned_of_stream(const char *class, const sq_stream_cut *c, float gain);
// What a row holds put over the model's choice; false when it fits the machine no more.
bool sq_tuned_gemm(const sq_machine *m, const sq_tuned_row *r, sq_gemm_cut *c);
bool sq_tuned_stream(const sq_machine *m, const sq_tuned_row *r, sq_stream_cut *c);
