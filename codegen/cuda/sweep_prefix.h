// What the files of scans by the maps of turns share: what a kernel of them is made from, and its text.
#pragma once
#include "codegen/cuda/sweep.h"
#include "ir/sweep_tiles.h"

// Blocks of threads, at most, where there are several chunks: eight a multiprocessor, so that some wait for
// memory and barriers while others go on.
enum { SQ_CU_MAPS_BLOCKS = 1056 };

typedef struct sq_cu_maps {
  sq_cu *k;
  sq_cu_sweep w;
  sq_sweep *s;
  sq_prefix f;
  bool *before;                    // per carried value: the state before the turn is there
  bool chunked;                    // there may be several chunks
  uint32_t n;                      // elements that are carried
  uint32_t *at;                    // per carried value: its first
  LLVMValueRef lanes, chunks, per; // per: turns of a chunk
  const char *part, *count;        // memory of the chunks' maps and of the first states; chunks
} sq_cu_maps;

static inline uint32_t sq_cu_maps_count(sq_cu_maps *x, uint32_t value) { // elements of a thread
  return sq_sweep_team_share(x->s, &x->w.team, value);
}
static inline const char *sq_cu_maps_type(sq_cu_maps *x, uint32_t value) {
  return sq_cu_type(x->s->value[value].part.dtype);
}
static inline const char *sq_cu_maps_array(sq_cu_maps *x, uint32_t value) {
  return x->w.value[value].base;
}
static inline void sq_cu_maps_declare(sq_cu_maps *x, uint32_t value) {
  sq_cu_sweep_declare(&x->w, value, sq_cu_maps_array(x, value));
}
static inline void sq_cu_maps_open(sq_cu_maps *x, uint32_t value) { // a loop over the elements j
  sq_cu_line(x->k, "#pragma unroll");
  sq_cu_open(x->k, "for (int j = 0; j < %u; j++) {", sq_cu_maps_count(x, value));
}

// Has the map that member i makes a bound above, too?
static inline bool sq_cu_maps_is_range(const sq_cu_maps *x, uint32_t i) {
  return x->f.solves[i] != SQ_SWEEP_NONE && x->f.map[i].high != SQ_NO_SCALAR;
}

// ---- sweep_prefix.c: in shared memory, carry<c>: states before a stretch, edge<c>: an element a thread -----
void sq_cu_maps_to_carry(sq_cu_maps *x, uint32_t c, const char *from);
bool sq_cu_maps_is_compared(const sq_cu_maps *x, uint32_t c);
const char *sq_cu_maps_name(sq_cu_maps *x, uint32_t c); // the type of the maps of a carried value
// by<v>, other<v> and, of a range, high<v>: the map that member i makes in the thread's turn, v its value.
void sq_cu_maps_parts(sq_cu_maps *x, uint32_t i);
void sq_cu_maps_open_stretches(sq_cu_maps *x, const char *first); // from turn `first` to `hi`

// ---- sweep_prefix_chunks.c ---------------------------------------------------------------------
// Are there maps of chunks, of two parts? Marks the members that they are made of.
bool sq_cu_maps_find_chunks(sq_cu_maps *x, bool *member);
// As many chunks as fill the device, and are long.
void sq_cu_maps_cut(sq_cu_maps *x, sq_cg *cg);
// For the kernel before, with those members: the map of the chunk, and the first states, into memory.
void sq_cu_maps_of_chunk(sq_cu_maps *x, const bool *member);
void sq_cu_maps_first_states(sq_cu_maps *x);
// The states before the chunk, or before the last one before it where they are finite: `begins`.
void sq_cu_maps_begin_chunk(sq_cu_maps *x);
