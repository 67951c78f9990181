// The model's choice of tiles, blocks and units, from the machine's facts.
//
// A contraction: mr rows of A times nv vectors of B. A step of k reads mr + nv vectors and multiplies
// mr * nv: the larger the tile, the less reading, as long as sums, a row of B and an element of A have
// registers. Between blocks of k the sums pass through memory. A block's part of a panel of B is read by
// each tile of the block of rows: from the first-level cache, or, where a step multiplies so long that
// reading nv vectors from the second-level one is hidden in it, from there, in blocks several times as
// long. The block's rows stay in the second-level cache while all panels pass.
#include "codegen/cpu/cut.h"

enum {
  PANEL_VECTORS = 2,        // as the pass `pack` lays out weights
  PACKED_AT_ONCE = 8 << 20, // bytes of B: packing is hidden in what is done with them
  LEAST_TILES = 4,
  MOST_TILES = 20,
  UNIT_CYCLES = 12000, // a little more than a task
  UNITS_A_CORE = 4,    // so that the last one ends soon after the others
  LEAST_UNITS = 16,
  MOST_UNITS = 512,
  FEW_COLUMNS = 128, // too few to lay out A for them
  TILE_BYTES = 64 << 10,
  LONG_STEP = 24, // multiplications of a step that hide its reading from the second-level cache
  LONG_DEPTH = 4, // first-level caches
};

// Without a multiply-add of its own a machine needs registers for the products.
static uint32_t registers(const sq_machine *m, uint32_t mr, uint32_t nv) {
  return mr * nv + nv + 1 + (m->fma ? 0 : nv);
}

sq_gemm_cut sq_gemm_cut_of(const sq_machine *m) {
  static const uint32_t rows[] = {12, 6, 4, 2, 0};
  uint32_t units = UNITS_A_CORE * m->cores;
  sq_gemm_cut c = {.nv = PANEL_VECTORS,
                   .rows_bytes = m->l2_bytes,
                   .block_bytes = PACKED_AT_ONCE,
                   .least_tiles = LEAST_TILES,
                   .most_tiles = MOST_TILES,
                   .unit_cycles = UNIT_CYCLES,
                   .most_units = units < LEAST_UNITS  ? LEAST_UNITS
                                 : units > MOST_UNITS ? MOST_UNITS
                                                      : units,
                   .few_columns = FEW_COLUMNS,
                   .hidden_rows = sq_machine_hidden_rows(m, 0)};
  uint32_t k = 0;
  while (rows[k + 1] && registers(m, rows[k], c.nv) > m->vector_registers) k++;
  c.mr = rows[k];
  c.depth_bytes = c.mr * c.nv < LONG_STEP ? sq_machine_near(m) : LONG_DEPTH * m->l1_bytes;
  return c;
}

bool sq_gemm_cut_fits(const sq_machine *m, const sq_gemm_cut *c) {
  bool rows = c->mr == 2 || c->mr == 4 || c->mr == 6 || c->mr == 8 || c->mr == 12;
  uint64_t sums = (uint64_t)c->most_tiles * c->mr * c->nv * m->vector_bytes;
  return rows && c->nv >= 1 && c->nv <= 4 && registers(m, c->mr, c->nv) <= m->vector_registers &&
         c->depth_bytes >= 8 * c->nv * m->vector_bytes && c->depth_bytes <= 1 << 20 &&
         c->rows_bytes >= 1 << 12 && c->rows_bytes <= 1 << 26 && c->block_bytes >= 1 << 16 &&
         c->block_bytes <= 1 << 28 && c->least_tiles >= 1 && c->least_tiles <= c->most_tiles &&
         sums <= TILE_BYTES && c->unit_cycles >= 1000 && c->unit_cycles <= 1u << 30 &&
         c->most_units >= 1 && c->most_units <= MOST_UNITS && c->few_columns <= 1u << 30 &&
         c->hidden_rows >= 1 && c->hidden_rows <= 64;
}

// ---- attention ---------------------------------------------------------------------------------
// Sums of three vectors by four columns fill twelve registers, of two by four eight.
sq_stream_cut sq_stream_cut_of(const sq_machine *m) {
  return (sq_stream_cut){.nv = m->vector_registers >= 32 || m->fma ? 3 : 2,
                         .score_bytes = m->l1_bytes / 8 * 3};
}

bool sq_stream_cut_fits(const sq_machine *m, const sq_stream_cut *c) {
  return c->nv >= 1 && c->nv <= 3 && c->score_bytes >= 8 * c->nv * m->vector_bytes &&
         c->score_bytes <= 1 << 18;
}
