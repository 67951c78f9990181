// Contractions: sums of products of two reads, in tiles.
#pragma once
#include "codegen/cuda/cuda.h"

typedef enum sq_cu_role {
  SQ_CU_BATCH,
  SQ_CU_ROW,
  SQ_CU_COLUMN,
  SQ_CU_SUM,
  SQ_CU_N_ROLES
} sq_cu_role;
typedef struct sq_cu_product {
  uint32_t side[2]; // scalars: the factors
  uint32_t read[2]; // their reads
  uint32_t axis[SQ_CU_N_ROLES][SQ_CU_AXES], n[SQ_CU_N_ROLES];
} sq_cu_product;

typedef struct sq_cu_tiles {
  sq_cu *k;
  sq_cu_nest *t;
  const sq_cu_product *p;
  const char *count[SQ_CU_N_ROLES]; // elements of each role, in the kernel
  LLVMValueRef extent[SQ_CU_N_ROLES];
  const char *type; // of accumulators
  LLVMValueRef few; // i1: leave it to another kernel; NULL: never
  int vector;       // on tensor cores: elements of 16 bytes, 8, or 4 of tf32
} sq_cu_tiles;

// Memory of a factor runs along the last summed axis.
bool sq_cu_runs_along_sum(const sq_cu_tiles *x, int side);
// How many tiles of `size` it takes for n, in the entry.
LLVMValueRef sq_cu_tile_count(sq_cu *k, LLVMValueRef n, int64_t size);

// What became of a contraction: nothing, having emitted nothing; a tiled kernel; or one that launches
// nothing when there are few rows or columns, which *few says in the entry (i1).
typedef enum sq_cu_tiled { SQ_CU_UNTILED, SQ_CU_TILED, SQ_CU_TILED_UNLESS } sq_cu_tiled;
sq_cu_tiled sq_cuda_gemm(sq_cg *cg, sq_node *n, LLVMValueRef *few);

// ---- gemm_mma.c: on tensor cores; of type SQ_F32: as tf32
// The type of both factors, where it is one of 16 bits and what is multiplied is what is in memory;
// SQ_DTYPE_COUNT: another.
sq_dtype sq_cu_mma_type(const sq_generic *k, const sq_cu_product *p, const sq_node *n);
enum {
  SQ_CU_MMA_ROWS = 128,
  SQ_CU_MMA_COLUMNS = 64,
  SQ_CU_MMA_THREADS = 256,
  SQ_CU_MMA_DEPTH = 32 // elements of 16 bits
};
typedef struct sq_cu_side { // a factor: how its tiles are made
  int number, rows;
  sq_cu_role role;
  const char *tile, *held, *first; // shared memory, registers, the tile's first row or column
  bool vectors, along; // it is read by 8 elements; memory runs along what is summed over
} sq_cu_side;
// Into the words of `held` (sq_vec8, zeros) the elements of "row" from "depth" on.
void sq_cu_fetch_elements(const sq_cu_tiles *x, const sq_cu_side *s, const char *held);
// The result c[i] of "row" and "column", behind post, to its place.
void sq_cu_store_result(const sq_cu_tiles *x, const sq_cu_place *to);
// gemm_wgmma.c: another body, for processors of sm_90a.
void sq_cu_wgmma_body(const sq_cu_tiles *x, const sq_cu_side *side, const char *across,
                      const char *down, const char *type, const sq_cu_place *to);
enum {
  SQ_CU_WGMMA_ROWS = 128, // and columns
  SQ_CU_WGMMA_DEPTH = 64, // 128 bytes, as far as a swizzle goes
  SQ_CU_WGMMA_STAGES = 3,
  SQ_CU_WGMMA_WORDS = SQ_CU_WGMMA_ROWS * SQ_CU_WGMMA_DEPTH / 2 // of a stage, of either factor
};
// The products of the stage of this number begin.
void sq_cu_wgmma_multiply(sq_cu *k, const char *number, const char *type);
// gemm_bulk.c: its stages by tensor maps, where both factors have one.
typedef struct sq_cu_boxes {
  const char *map[2], *at[2][3]; // names; the indices along the axes behind the first
  uint32_t rank[2];
} sq_cu_boxes;
bool sq_cu_bulk_maps(const sq_cu_tiles *x, const sq_cu_side *side, sq_cu_boxes *boxes);
void sq_cu_bulk_begin(const sq_cu_tiles *x);
void sq_cu_bulk_sum(const sq_cu_tiles *x, const sq_cu_side *side, const sq_cu_boxes *boxes,
                    const char *type);
// Tiles to make, of rows and columns of them: none where it is left to another kernel.
LLVMValueRef sq_cu_tile_units(const sq_cu_tiles *x, LLVMValueRef rows, LLVMValueRef columns);
// The kernel's body and its launch.
void sq_cu_mma_emit(const sq_cu_tiles *x, sq_dtype t, const sq_cu_place *to);
