// The same contractions where a group of four warps multiplies at once (sm_90a). In: what gemm_mma.c has
// found. Out: the kernel's body for such a processor; the launch is the same.
//
//   a block: 2 groups of 4 warps, each 64 x 128 results in its registers
//            a ring of 3 stages, each A's 128 x 64 and B's 128 x 64 in shared memory, 96 KiB in all,
//            which the launch brings; two blocks have room on a multiprocessor
//            for each 64 of k:  stage k has come | barrier | four products of 64 x 16 by 128 x 16 begin |
//                               stage k + 2 is asked for (cp.async), where k - 1 was | products end
//            post, results stored
//
// A row of a stage is 64 elements, 128 bytes: eight pieces of 16, of which piece v lies where v ^ (row % 8)
// is, as a descriptor of swizzle 128 has it. Tiles are twice as wide as the launch takes them to be:
// half of its blocks have nothing to do.
#include "codegen/cpu/driver.h"
#include "codegen/cuda/gemm.h"

enum {
  ROWS = SQ_CU_MMA_ROWS,
  COLUMNS = 2 * SQ_CU_MMA_COLUMNS,
  THREADS = SQ_CU_MMA_THREADS,
  DEPTH = SQ_CU_WGMMA_DEPTH,
  STAGES = SQ_CU_WGMMA_STAGES,
  WORDS = SQ_CU_WGMMA_WORDS,
  VECTOR = 8,
};
_Static_assert((int)ROWS == (int)SQ_CU_WGMMA_ROWS && ROWS == COLUMNS,
               "both factors have stages of one size");

// Asks for what `from` has of a factor, for the stage at word `stage`.
static void bring(const sq_cu_tiles *x, const sq_cu_side *s, const char *from) {
  sq_cu *k = x->k;
  const int pieces = DEPTH / VECTOR;
  sq_cu_line(k, "#pragma unroll");
  sq_cu_open(k, "for (int f = 0; f < %d; f++) {", ROWS * pieces / THREADS);
  sq_cu_line(k, "const int e = f * %d + (int)SQ_TID;", THREADS);
  if (s->along)
    sq_cu_line(k, "const int m = e / %d, v = e %% %d;", pieces, pieces);
  else
    sq_cu_line(k, "const int m = e %% %d, v = e / %d;", ROWS, ROWS);
  sq_cu_line(k, "const int to = stage + m * %d + (v ^ m %% 8) * 4;", DEPTH / 2);
  sq_cu_line(k, "const sq_i64 row = %s + m, depth = %s + v * %d;", s->first, from, VECTOR);
  const char *ok =
      sq_arena_fmt(k->a, "row < %s && depth < %s", x->count[s->role], x->count[SQ_CU_SUM]);
  if (s->vectors) {
    uint32_t mark = sq_cu_nest_enter(x->t);
    sq_cu_nest_unflatten(x->t, x->p->axis[s->role], x->p->n[s->role], "row");
    sq_cu_nest_unflatten(x->t, x->p->axis[SQ_CU_SUM], 1, "depth");
    sq_cu_line(k, "SQ_COPY(%s, to, %s, %s);", s->tile,
               sq_cu_nest_place(x->t, x->p->read[s->number]), ok);
    sq_cu_nest_leave(x->t, mark);
  } else {
    sq_cu_line(k, "sq_vec8 held = sq_vec8{{0, 0, 0, 0}};");
    sq_cu_open(k, "if (%s) {", ok);
    sq_cu_fetch_elements(x, s, "held");
    sq_cu_close(k);
    sq_cu_line(k, "SQ_SST_VEC(%s, to, held);", s->tile);
  }
  sq_cu_close(k);
}
static void bring_both(const sq_cu_tiles *x, const sq_cu_side *side, const char *at) {
  sq_cu *k = x->k;
  sq_cu_open(k, "if (%s < stages) {", at);
  sq_cu_line(k, "const int stage = (int)((%s) %% %d) * %d;", at, STAGES, WORDS);
  const char *from = sq_arena_fmt(k->a, "(%s) * %d", at, DEPTH);
  bring(x, &side[0], from);
  bring(x, &side[1], from);
  sq_cu_close(k);
  sq_cu_line(k, "SQ_COPY_GROUP();");
}

void sq_cu_wgmma_multiply(sq_cu *k, const char *number, const char *type) {
  sq_cu_line(k, "const int stage = (int)(%s %% %d) * %d;", number, STAGES, WORDS);
  sq_cu_line(k, "sq_hold<64>(c);");
  sq_cu_line(k, "SQ_WGMMA_BEGIN();");
  sq_cu_line(k, "#pragma unroll");
  // 16 of k are 32 bytes, 8 words.
  sq_cu_line(k,
             "for (int d = 0; d < %d; d += 8) sq_wgmma<%s>(SQ_ME flying, c, SQ_TILE(ring_a, stage "
             "+ group * %d + d), SQ_TILE(ring_b, stage + d));",
             DEPTH / 2, type, 64 * DEPTH / 2);
  sq_cu_line(k, "SQ_WGMMA_END(flying);");
}

static void sum(const sq_cu_tiles *x, const sq_cu_side *side, const char *type) {
  sq_cu *k = x->k;
  sq_cu_line(k, "const sq_i64 stages = (%s + %d) / %d;", x->count[SQ_CU_SUM], DEPTH - 1, DEPTH);
  sq_cu_line(k, "sq_wgmma_list flying;");
  for (int n = 0; n < STAGES - 1; n++) bring_both(x, side, sq_arena_fmt(k->a, "%d", n));
  sq_cu_open(k, "for (sq_i64 n = 0; n < stages; n++) {");
  sq_cu_line(k, "SQ_COPIED_BUT(%d);", STAGES - 2);
  sq_cu_line(k, "SQ_ASYNC_FENCE();");
  sq_cu_line(k, "SQ_SYNC();");
  sq_cu_wgmma_multiply(k, "n", type);
  bring_both(x, side, sq_arena_fmt(k->a, "n + %d", STAGES - 1));
  sq_cu_line(k, "sq_wgmma_wait<%s>(SQ_ME flying);", type);
  sq_cu_line(k, "sq_hold<64>(c);");
  sq_cu_close(k);
  sq_cu_line(k, "SQ_COPIED();");
  sq_cu_line(k, "SQ_SYNC();");
}

void sq_cu_wgmma_body(const sq_cu_tiles *x, const sq_cu_side *side, const char *across,
                      const char *down, const char *type, const sq_cu_place *to) {
  sq_cu *k = x->k;
  sq_cu_dynamic(k, true, "sq_u32", "ring_a", STAGES * WORDS, STAGES * WORDS * 4, 1024);
  sq_cu_dynamic(k, true, "sq_u32", "ring_b", STAGES * WORDS, STAGES * WORDS * 4, 1024);
  sq_cu_boxes boxes;
  const bool bulk = sq_cu_bulk_maps(x, side, &boxes);
  if (bulk) sq_cu_bulk_begin(x);
  sq_cu_line(k, "const int g = (int)(SQ_TID %% 32) / 4, q = (int)(SQ_TID %% 4);");
  sq_cu_line(k, "const int group = (int)(SQ_TID / 128), wm = (int)(SQ_TID / 32) * 16;");
  sq_cu_line(k, "const sq_i64 across = (%s + 1) / 2;", across);
  sq_cu_open(k, "for (sq_i64 t = SQ_BLOCK; t < across * %s * %s; t += SQ_GRID) {", down,
             x->count[SQ_CU_BATCH]);
  sq_cu_line(k, "const sq_i64 column0 = t %% across * %d, rest = t / across;", COLUMNS);
  sq_cu_line(k, "const sq_i64 row0 = rest %% %s * %d, z = rest / %s;", down, ROWS, down);
  sq_cu_nest_unflatten(x->t, x->p->axis[SQ_CU_BATCH], x->p->n[SQ_CU_BATCH], "z");
  sq_cu_line(k, "float c[64];");
  sq_cu_line(k, "#pragma unroll");
  sq_cu_line(k, "for (int i = 0; i < 64; i++) c[i] = 0;");
  if (bulk)
    sq_cu_bulk_sum(x, side, &boxes, type);
  else
    sum(x, side, type);
  sq_cu_line(k, "#pragma unroll");
  sq_cu_open(k, "for (int i = 0; i < 64; i++) {");
  sq_cu_line(k, "const sq_i64 row = row0 + wm + i / 2 %% 2 * 8 + g;");
  sq_cu_line(k, "const sq_i64 column = column0 + i / 4 * 8 + 2 * q + i %% 2;");
  sq_cu_store_result(x, to);
  sq_cu_close(k);
  sq_cu_close(k);
}
