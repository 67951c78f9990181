// Scans in blocks of turns on tensor cores: what their files share. Names in the kernel, beside those of
// sweep_blocks.h:
//
//   s<state>[D / 2]     registers: the state turned round, 16 columns a warp; as sq_mma has results,
//                       tile n of 8 rows at n * 4
//   tile<p>_<i>         [C][D], pairs of 16 bits in words: keys and factors; part p, where they are no numbers
//                       of 16 bits
//   large<state>        NaN where products of decays are large
//
//   sweep_cores.c          what is done so; tiles and shared memory; the kernels
//   sweep_cores_fill.c     from memory to tiles, from registers to memory
//   sweep_cores_product.c  the products
//   sweep_cores_cut.c      cuts in time: what a stretch of turns makes of its state, without what it began with
#pragma once
#include "codegen/cuda/sweep_blocks.h"
#include "ir/sweep_cores.h"

enum {
  SQ_CU_CORES_TOGETHER = 3,                       // blocks of threads that a multiprocessor has
  SQ_CU_CORES_UNITS = 132 * SQ_CU_CORES_TOGETHER, // to cut for
  SQ_CU_CORES_LEAST = 8,                          // blocks of turns of a stretch
};
// A block with numbers beyond these goes turn by turn: no sum of others can be infinite.
#define SQ_CU_CORES_INPUT "0x1p33f"
#define SQ_CU_CORES_STATE "0x1p64f"
#define SQ_CU_CORES_DECAY "0x1p16f"

typedef struct sq_cu_cores {
  sq_sweep_cores p;
  bool sums; // the kernel under construction makes sums; else states alone
  const char *n_cuts, *each, *scratch; // n_cuts NULL: not cut; each: turns; memory for their states
} sq_cu_cores;

static inline uint32_t sq_cu_cores_blocks(const sq_cu_blocks *b) { return b->p.length / 16; }

// ---- sweep_cores.c
void sq_cu_cores_plan(sq_cu_blocks *b); // sets b->cores, and sizes, where it is done so
int64_t sq_cu_cores_bytes(const sq_cu_blocks *b);
void sq_cu_cores_emit(sq_cu_blocks *b, sq_cg *cg);
void sq_cu_cores_open(sq_cu_blocks *b);         // shared memory, the place of the thread
void sq_cu_cores_watch_states(sq_cu_blocks *b); // `bad` where one is large
// The block of turns at i0, of those before `end`.
void sq_cu_cores_block(sq_cu_blocks *b, const char *end);

// ---- sweep_cores_fill.c
bool sq_cu_cores_uses(const sq_cu_blocks *b, uint32_t tile); // the kernel under construction
void sq_cu_cores_watch(sq_cu_blocks *b, const char *v);      // `bad` where v is large
bool sq_cu_cores_vectors(sq_cu_blocks *b, uint32_t state);   // by 8; false: it cannot be
void sq_cu_cores_ask(sq_cu_blocks *b, const char *first);    // tiles that are copied
void sq_cu_cores_tiles(sq_cu_blocks *b);                     // the others; all have come
void sq_cu_cores_take(sq_cu_blocks *b, uint32_t state);      // for turn by turn
void sq_cu_cores_give(sq_cu_blocks *b, uint32_t state);
void sq_cu_cores_begin(sq_cu_blocks *b); // states from where the scan begins
void sq_cu_cores_end(sq_cu_blocks *b);

// ---- sweep_cores_product.c
void sq_cu_cores_scores(sq_cu_blocks *b);
void sq_cu_cores_sums(sq_cu_blocks *b,
                      bool solved); // those that are solved, else the others
void sq_cu_cores_states(sq_cu_blocks *b);

// ---- sweep_cores_cut.c
LLVMValueRef sq_cu_cores_cuts(sq_cu_blocks *b, LLVMValueRef units, LLVMValueRef *each);
void sq_cu_cores_stretches(sq_cu_blocks *b, sq_cg *cg, LLVMValueRef units, LLVMValueRef cuts,
                           LLVMValueRef each); // the kernel before
void sq_cu_cores_join(sq_cu_blocks *b);        // states at stretch `part`, or `from` an earlier one
void sq_cu_cores_scratch(sq_cu_blocks *b);
