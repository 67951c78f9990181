// Maps of one element: applied, put one behind another, of the turns of a vector and of several.
#include "codegen/cpu/sweep_sections.h"

bool sq_sline_compares(const sq_prefix_map *p) {
  return (p->how == SQ_PREFIX_MAX || p->how == SQ_PREFIX_MIN) && p->by == SQ_NO_SCALAR;
}

static sq_lv extreme(const sq_semit *e, const sq_sline *m, sq_lv a, sq_lv b) {
  sq_ewise how = m->how == SQ_PREFIX_MAX ? SQ_EW_MAX : SQ_EW_MIN;
  if (!a || !b) return a ? a : b;
  a = sq_k_ewise(e->k, how, m->type, a, b, false, false);
  return m->high ? sq_k_ewise(e->k, SQ_EW_MIN, m->type, a, m->high, false, false) : a;
}

// m of what `first` gives: other part, and what bounds it above.
sq_lv sq_sline_apply(const sq_semit *e, const sq_sline *m, sq_lv first) {
  sq_kern *k = e->k;
  if (m->how != SQ_PREFIX_SUM && first && m->by) first = sq_k_fadd(k, first, m->by);
  if (m->how != SQ_PREFIX_SUM) return extreme(e, m, first, m->other);
  if (!first || !m->other) return !first ? m->other : m->by ? sq_k_fmul(k, first, m->by) : first;
  return m->by ? sq_k_fma(k, m->by, first, m->other) : sq_k_fadd(k, first, m->other);
}

sq_sline sq_sline_then(const sq_semit *e, const sq_sline *first, const sq_sline *next) {
  sq_sline m = *next;
  bool sum = m.how == SQ_PREFIX_SUM;
  m.other = sq_sline_apply(e, next, first->other);
  if (m.high) m.high = sq_sline_apply(e, next, first->high);
  if (m.by)
    m.by = sum ? sq_k_fmul(e->k, next->by, first->by) : sq_k_fadd(e->k, next->by, first->by);
  return m;
}

sq_sline sq_sline_neutral(const sq_semit *e, const sq_sline *m, uint32_t w) {
  LLVMTypeRef t = sq_k_vec(sq_k_type(e->k, m->type), w);
  sq_sline none = *m;
  bool sum = m->how == SQ_PREFIX_SUM;
  double inf = __builtin_inf(), least = m->how == SQ_PREFIX_MIN ? inf : -inf;
  if (m->by) none.by = sq_k_flike(t, sum ? 1 : 0);
  if (m->other) none.other = sq_k_flike(t, sum ? 0 : least);
  if (m->high) none.high = sq_k_flike(t, inf);
  return none;
}

sq_sline sq_sline_up_to(const sq_semit *e, sq_sline m) {
  sq_sline none = sq_sline_neutral(e, &m, e->turns);
  for (uint32_t half = 1; half < e->turns; half *= 2) {
    sq_sline first = m;
    if (m.by) first.by = sq_sturn_first_half(e, m.by, none.by, half);
    if (m.other) first.other = sq_sturn_first_half(e, m.other, none.other, half);
    if (m.high) first.high = sq_sturn_first_half(e, m.high, none.high, half);
    m = sq_sline_then(e, &first, &m);
  }
  return m;
}

// ---- of all turns, without those up to each ----------------------------------------------------
// Neighbours are put together within blocks of 128 bits, which no processor takes a step more for: of n
// vectors with n lanes to a block, pairs of vectors until one is left, in whose blocks lane v is of vector v.
//
//   a = 0 1 2 3 | 4 5 6 7,  b = 8 9 10 11 | 12 13 14 15   ->   01 23 89 1011 | 45 67 1213 1415
static uint32_t block_lanes(const sq_sweep *s) {
  uint32_t most = 4;
  for (uint32_t k = 0; k < s->n_value; k++) {
    uint32_t b = (uint32_t)sq_dtype_table[s->value[k].v->type.dtype].bytes;
    if (b > most) most = b;
  }
  return 16 / most;
}

uint32_t sq_sline_vectors(const sq_sweep *s) { return block_lanes(s); }

static sq_lv shuffle(const sq_semit *e, sq_lv a, sq_lv b, const uint32_t *from) {
  sq_lv at[64];
  if (!a) return a;
  if (!b) b = LLVMGetPoison(LLVMTypeOf(a));
  for (uint32_t i = 0; i < e->turns; i++)
    at[i] =
        from[i] == SQ_SWEEP_NONE ? LLVMGetPoison(e->k->i32) : LLVMConstInt(e->k->i32, from[i], 0);
  return LLVMBuildShuffleVector(e->k->b, a, b, LLVMConstVector(at, e->turns), "");
}

static sq_sline pair(const sq_semit *e, const sq_sline *a, const sq_sline *b, uint32_t n) {
  uint32_t from[2][64];
  for (uint32_t i = 0; i < e->turns; i++) {
    uint32_t j = i % n, at = i - j + 2 * (j % (n / 2)) + (j < n / 2 ? 0 : e->turns);
    for (uint32_t odd = 0; odd < 2; odd++) from[odd][i] = at + (e->s->reversed ? 1 - odd : odd);
  }
  sq_sline first = *a, next = *a;
  first.by = shuffle(e, a->by, b->by, from[0]);
  first.other = shuffle(e, a->other, b->other, from[0]);
  first.high = shuffle(e, a->high, b->high, from[0]);
  next.by = shuffle(e, a->by, b->by, from[1]);
  next.other = shuffle(e, a->other, b->other, from[1]);
  next.high = shuffle(e, a->high, b->high, from[1]);
  return sq_sline_then(e, &first, &next);
}

// The lanes of a vector in the order of time, n to a block, the first of each block being first.
static sq_sline fold(const sq_semit *e, sq_sline m, uint32_t n) {
  uint32_t lane[64], blocks = e->turns / n, left = e->turns;
  for (uint32_t i = 0; i < left; i++) {
    uint32_t block = i % blocks;
    lane[i] = (e->s->reversed ? blocks - 1 - block : block) * n + i / blocks;
  }
  for (; left > 1; left /= 2) {
    uint32_t from[64];
    for (uint32_t i = 0; i < e->turns; i++) from[i] = SQ_SWEEP_NONE;
    for (uint32_t i = 0; i < left; i += 2) {
      from[lane[i]] = lane[i + 1];
      lane[i / 2] = lane[i];
    }
    sq_sline next = m;
    next.by = shuffle(e, m.by, NULL, from);
    next.other = shuffle(e, m.other, NULL, from);
    next.high = shuffle(e, m.high, NULL, from);
    m = sq_sline_then(e, &m, &next);
  }
  sq_lv at = LLVMConstInt(e->k->i32, lane[0], 0);
  if (m.by) m.by = LLVMBuildExtractElement(e->k->b, m.by, at, "");
  if (m.other) m.other = LLVMBuildExtractElement(e->k->b, m.other, at, "");
  if (m.high) m.high = LLVMBuildExtractElement(e->k->b, m.high, at, "");
  return m;
}

sq_sline sq_sline_all(const sq_semit *e, const sq_sline *m, uint32_t n) {
  sq_sline level[4];
  memcpy(level, m, n * sizeof *level);
  for (uint32_t left = n; left > 1; left /= 2)
    for (uint32_t i = 0; i < left; i += 2) level[i / 2] = pair(e, &level[i], &level[i + 1], n);
  return fold(e, level[0], n);
}
