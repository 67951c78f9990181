// Scans in blocks of turns on tensor cores: what their files share. Names in the kernel, beside those of
// sweep_blocks.h:
//
//   s<state>[D / 2]     registers: the state turned round, 16 columns a warp; as sq_mma has results,
//                       tile n of 8 rows at n * 4
//   tile<i>             [C][D], pairs of 16 bits in words: keys and factors
//   low<i>              what these leave, where they are no numbers of 16 bits
//   large<state>        NaN where products of decays are large
//
//   sweep_cores.c          what is done so; tiles and shared memory; the kernels
//   sweep_cores_fill.c     from memory to tiles, from registers to memory
//   sweep_cores_product.c  the products
//   sweep_cores_cut.c      cuts in time: what a stretch of turns makes of its state, without what it began with
#pragma once
#include "codegen/cuda/sweep_blocks.h"

enum {
  SQ_CU_CORES_COLUMNS = 64, // of a slice: 16 a warp
  SQ_CU_CORES_ROWS = 128,   // of all states with columns
  SQ_CU_CORES_ARRAYS = 47 * 1024,
  SQ_CU_CORES_UNITS = 396, // blocks of threads to cut for: three for each of 132 multiprocessors
  SQ_CU_CORES_LEAST = 8,   // blocks of turns of a stretch
};
// A block with numbers beyond these goes turn by turn: no sum of others can be infinite.
#define SQ_CU_CORES_INPUT "0x1p33f"
#define SQ_CU_CORES_STATE "0x1p64f"
#define SQ_CU_CORES_DECAY "0x1p16f"

typedef struct sq_cu_tile {
  const sq_sweep_nest *x;
  uint32_t read; // the scalar that reads it; SQ_NO_SCALAR: it is more
  bool exact;    // numbers of bf16
  bool vectors;  // memory runs along rows by 8
} sq_cu_tile;
typedef struct sq_cu_cores {
  uint32_t depth, pitch; // rows, to whole tiles; words from a turn to the next
  uint32_t parts;        // of 16 bits that a number of 32 is taken apart into
  uint32_t n_tile;
  sq_cu_tile *tile;
  uint32_t *key;    // per state: its tile
  uint32_t *factor; // per pair
  bool *exact;      // per state: vectors are numbers of bf16
  bool sums;        // the kernel under construction makes sums; else states alone
  const char *n_cuts, *each, *scratch; // n_cuts NULL: not cut; each: turns; memory for their states
} sq_cu_cores;

static inline uint32_t sq_cu_cores_blocks(const sq_cu_blocks *b) { return b->p.length / 16; }

// ---- sweep_cores.c
void sq_cu_cores_plan(sq_cu_blocks *b); // sets b->cores, and sizes, where it is done so
int64_t sq_cu_cores_bytes(const sq_cu_blocks *b);
void sq_cu_cores_emit(sq_cu_blocks *b, sq_cg *cg);
void sq_cu_cores_open(sq_cu_blocks *b);         // shared memory, the place of the thread
void sq_cu_cores_watch_states(sq_cu_blocks *b); // `bad` where one is large
void sq_cu_cores_block(sq_cu_blocks *b,
                       const char *end); // the block of turns at i0, of those before `end`

// ---- sweep_cores_fill.c
uint32_t sq_cu_cores_read(const sq_cu_blocks *b,
                          const sq_sweep_nest *x); // behind casts, or NO_SCALAR
sq_dtype sq_cu_cores_type(const sq_sweep_nest *x, uint32_t read);
bool sq_cu_cores_runs(const sq_cu_blocks *b, const sq_sweep_nest *x, uint32_t read, uint32_t cls);
void sq_cu_cores_watch(sq_cu_blocks *b, const char *v);    // `bad` where v is large
bool sq_cu_cores_vectors(sq_cu_blocks *b, uint32_t state); // by 8; false: it cannot be
void sq_cu_cores_ask(sq_cu_blocks *b, const char *first);  // tiles that are copied
void sq_cu_cores_tiles(sq_cu_blocks *b);                   // the others; all have come
void sq_cu_cores_take(sq_cu_blocks *b, uint32_t state);    // for turn by turn
void sq_cu_cores_give(sq_cu_blocks *b, uint32_t state);
void sq_cu_cores_begin(sq_cu_blocks *b); // states from where the scan begins
void sq_cu_cores_end(sq_cu_blocks *b);

bool sq_cu_cores_uses(const sq_cu_blocks *b, uint32_t tile); // the kernel under construction

// ---- sweep_cores_product.c
void sq_cu_cores_scores(sq_cu_blocks *b);
void sq_cu_cores_sums(sq_cu_blocks *b, bool solved); // those that are solved, else the others
void sq_cu_cores_states(sq_cu_blocks *b);

// ---- sweep_cores_cut.c
LLVMValueRef sq_cu_cores_cuts(sq_cu_blocks *b, LLVMValueRef units, LLVMValueRef *each);
void sq_cu_cores_stretches(sq_cu_blocks *b, sq_cg *cg, LLVMValueRef units, LLVMValueRef cuts,
                           LLVMValueRef each); // the kernel before
void sq_cu_cores_join(sq_cu_blocks *b);        // states at stretch `part`, or `from` an earlier one
void sq_cu_cores_scratch(sq_cu_blocks *b);
