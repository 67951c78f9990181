// A sweep by rows: what turns have in common lies in the scratch, by rows like states, and powers whose
// exponents are products with it go the short way where they are near enough to 1.
//
//   for each row: kept[row] = what is the same in all turns; most = the largest exponent factor of a row
//   bound = 126 / most
//   in each turn: where all |factors of the turn| < bound: 2^x without its ends, else in full
#include "codegen/cpu/math.h"
#include "codegen/cpu/sweep.h"

// Exponents whose powers, and all that leads to them, are normal numbers.
enum { USUAL_EXPONENT = 125 };

// ---- the plan ----------------------------------------------------------------------------------
static bool listed(const sq_sfixed *f, uint32_t id) {
  for (uint32_t i = 0; i < f->n; i++)
    if (f->id[i] == id) return true;
  return false;
}

static sq_dim take(const sq_sweep *s, sq_splan *p, sq_dim rows) {
  sq_dims *ds = s->g->dims;
  sq_dim at = p->scratch, bytes = sq_dim_const(ds, (int64_t)p->sets * p->w * 4);
  bytes = sq_dim_mul(ds, sq_dim_storage(ds, rows), bytes);
  bytes = sq_dim_add(ds, bytes, sq_dim_const(ds, 63));
  bytes = sq_dim_mul(ds, sq_dim_floordiv(ds, bytes, sq_dim_const(ds, 64)), sq_dim_const(ds, 64));
  p->scratch = sq_dim_add(ds, p->scratch, bytes);
  return at;
}

sq_sfixed *sq_sfixed_powers(sq_sweep *s, sq_arena *a) {
  sq_sfixed *all = SQ_ARRAY(a, sq_sfixed, s->n_member + 1);
  for (uint32_t i = 0; i < s->n_member; i++)
    all[i].n_power = sq_sweep_powers(s, &s->member[i], all[i].power);
  return all;
}

void sq_sfixed_find(const sq_sweep *s, uint32_t va, sq_sfixed *all) {
  for (uint32_t i = 0; i < s->n_member; i++) {
    sq_sfixed *f = &all[i];
    f->n = sq_sweep_fixed(s, &s->member[i], va, f->id);
    for (uint32_t j = 0; j < f->n_power; j++)
      if (!listed(f, f->power[j].fixed)) f->id[f->n++] = f->power[j].fixed;
    for (uint32_t j = 0; j < f->n; j++)
      f->lanes[j] = sq_sweep_keeps_lanes(s, &s->member[i], va, f->id[j]);
  }
}

void sq_sfixed_place(const sq_sweep *s, sq_splan *p, sq_dim rows) {
  for (uint32_t i = 0; i < s->n_member; i++) {
    sq_sfixed *f = &p->fixed[i];
    for (uint32_t j = 0; j < f->n; j++) f->place[j] = take(s, p, rows);
    for (uint32_t j = 0; j < f->n_power; j++) f->bound[j] = take(s, p, sq_dim_const(s->g->dims, 1));
  }
}

// ---- rows in the scratch -----------------------------------------------------------------------
static sq_lv pointer(sq_semit *e, sq_dim place, uint32_t set, sq_lv rows, sq_lv row) {
  sq_kern *k = e->k;
  sq_lv off = row;
  if (set) off = LLVMBuildAdd(k->b, LLVMBuildMul(k->b, rows, sq_k_int(k, set), ""), row, "");
  off = LLVMBuildMul(k->b, off, sq_k_int(k, (int64_t)e->p->w * 4), "");
  off = LLVMBuildAdd(k->b, off, sq_kern_dim(k, place), "");
  return LLVMBuildGEP2(k->b, k->i8, e->scratch, &off, 1, "");
}

static void store(sq_semit *e, sq_lv ptr, sq_lv v) {
  if (sq_k_is_vec(v))
    sq_k_store_row(e->k, SQ_F32, ptr, v, NULL);
  else
    sq_k_store(e->k, SQ_F32, ptr, v);
}

static sq_lv load(sq_semit *e, sq_lv ptr, bool lanes) {
  return lanes ? sq_k_load_row(e->k, SQ_F32, ptr, e->p->w, NULL) : sq_k_load(e->k, SQ_F32, ptr);
}

// Magnitudes compare as the bits of their numbers, NaN the largest.
static sq_lv magnitude(sq_kern *k, sq_lv v) {
  return sq_math_bits(k, sq_math_call1(k, "llvm.fabs", v));
}

// The kept scalars of one row; most[]: the largest factors so far.
static void keep_row(sq_semit *e, const sq_sfixed *f, sq_selement **el, sq_lv rows, sq_lv row,
                     sq_lv *most) {
  sq_kern *k = e->k;
  for (uint32_t set = 0; set < e->sets; set++) {
    sq_knest *t = &el[set]->t;
    for (uint32_t j = 0; j < f->n; j++) {
      sq_lv v = f->lanes[j] ? sq_knest_lanes(t, f->id[j]) : sq_knest_uniform(t, f->id[j]);
      store(e, pointer(e, f->place[j], set, rows, row), v);
      for (uint32_t i = 0; i < f->n_power; i++) {
        if (f->power[i].fixed != f->id[j]) continue;
        sq_lv m = magnitude(k, v), *to = &most[i * e->sets + set];
        *to = LLVMBuildSelect(k->b, LLVMBuildICmp(k->b, LLVMIntUGT, m, *to, ""), m, *to, "");
      }
    }
  }
}

static bool in_lanes(const sq_sfixed *f, uint32_t power) {
  for (uint32_t j = 0; j < f->n; j++)
    if (f->id[j] == f->power[power].fixed) return f->lanes[j];
  return false;
}

static void keep(sq_semit *e, const sq_sfixed *f, const sq_sweep_nest *x, uint32_t axis,
                 sq_lv rows) {
  sq_kern *k = e->k;
  sq_selement *el[SQ_SWEEP_SETS];
  sq_lv most[SQ_SWEEP_POWERS * SQ_SWEEP_SETS];
  for (uint32_t set = 0; set < e->sets; set++) {
    el[set] = sq_selement_new(e, x, set, SQ_SWEEP_NONE);
    sq_selement_hoist(el[set]);
    for (uint32_t i = 0; i < f->n_power; i++)
      most[i * e->sets + set] = LLVMConstNull(sq_k_vec(k->i32, in_lanes(f, i) ? e->p->w : 1));
  }
  sq_kloop l;
  sq_kloop_begin(k, &l, sq_k_int(k, 0), rows, 1, f->n_power * e->sets, most);
  memcpy(most, l.phi, f->n_power * e->sets * sizeof *most);
  uint32_t mark[SQ_SWEEP_SETS];
  for (uint32_t set = 0; set < e->sets; set++) {
    mark[set] = sq_knest_enter(&el[set]->t);
    sq_knest_open(&el[set]->t, axis, l.i);
  }
  keep_row(e, f, el, rows, l.i, most);
  sq_kloop_end(k, &l, most);
  for (uint32_t set = 0; set < e->sets; set++) sq_knest_leave(&el[set]->t, mark[set]);
  for (uint32_t i = 0; i < f->n_power; i++)
    for (uint32_t set = 0; set < e->sets; set++) {
      sq_lv m = l.phi[i * e->sets + set];
      LLVMTypeRef t = sq_k_vec(k->f32, sq_k_lanes(m));
      m = LLVMBuildBitCast(k->b, m, t, "");
      m = LLVMBuildFDiv(k->b, sq_k_flike(t, USUAL_EXPONENT), m, "");
      store(e, pointer(e, f->bound[i], set, sq_k_int(k, 1), sq_k_int(k, 0)), m);
    }
}

void sq_sfixed_begin(sq_semit *e, const sq_sfixed *f, const sq_sweep_nest *x, sq_lv rows) {
  const sq_generic *g = x->n->g;
  for (uint32_t a = 0; f->n && a < g->n_par + g->n_red; a++)
    if (x->cls[a] != SQ_SWEEP_NONE && !e->s->lane[x->cls[a]]) keep(e, f, x, a, rows);
}

// ---- in a turn ---------------------------------------------------------------------------------
sq_lv sq_sfixed_usual(sq_semit *e, const sq_sfixed *f, sq_selement **el) {
  sq_kern *k = e->k;
  sq_lv all = NULL;
  for (uint32_t i = 0; i < f->n_power; i++)
    for (uint32_t set = 0; set < e->sets; set++) {
      sq_lv ptr = pointer(e, f->bound[i], set, sq_k_int(k, 1), sq_k_int(k, 0));
      sq_lv bound = load(e, ptr, in_lanes(f, i));
      sq_lv by = sq_math_call1(k, "llvm.fabs", sq_knest_value(&el[set]->t, f->power[i].by));
      uint32_t w = sq_k_lanes(by) > sq_k_lanes(bound) ? sq_k_lanes(by) : sq_k_lanes(bound);
      by = sq_k_splat(k, by, w);
      all = sq_k_and(k, all, LLVMBuildFCmp(k->b, LLVMRealOLT, by, sq_k_splat(k, bound, w), ""));
    }
  return all ? LLVMBuildNot(k->b, sq_k_any(k, LLVMBuildNot(k->b, all, "")), "") : NULL;
}

void sq_sfixed_row(sq_semit *e, const sq_sfixed *f, sq_selement *el, sq_lv rows, sq_lv row,
                   const sq_lv *power) {
  sq_kern *k = e->k;
  sq_knest *t = &el->t;
  for (uint32_t j = 0; j < f->n; j++)
    sq_knest_put(t, f->id[j], load(e, pointer(e, f->place[j], el->set, rows, row), f->lanes[j]));
  for (uint32_t i = 0; power && i < f->n_power; i++) {
    const sq_sweep_power *p = &f->power[i];
    sq_lv by = sq_knest_value(t, p->by), fixed = sq_knest_value(t, p->fixed);
    uint32_t w = sq_knest_varies(t, p->at) ? t->w : 1;
    sq_knest_put(t, p->at, sq_math_power(k, sq_k_splat(k, by, w), sq_k_splat(k, fixed, w), power));
  }
}
