// Sweeps as kernels: units of lanes, stretches of turns, blocks.
// In: a `sweep` operation. Out: one outlined function and its launch.
#include "codegen/cpu/sweep_sections.h"

// ---- for both ways of running ------------------------------------------------------------------
sq_dtype sq_semit_kept(sq_dtype t) { return t == SQ_F16 || t == SQ_BF16 ? SQ_F32 : t; }

bool sq_semit_has_vector(const sq_semit *e, uint32_t value) {
  const sq_sweep_value *v = &e->s->value[value];
  for (uint32_t a = 0; a < v->rank; a++)
    if (v->cls[a] == e->p->va) return true;
  return false;
}

sq_lv sq_semit_turn(sq_semit *e, sq_lv i) {
  sq_kern *k = e->k;
  if (!e->s->reversed) return i;
  sq_lv last = LLVMBuildSub(k->b, sq_kern_dim(k, e->s->extent), sq_k_int(k, 1), "");
  return LLVMBuildSub(k->b, last, i, "");
}

// Written by the first index of lanes that it lacks alone; NULL: by all.
sq_lv sq_semit_first_only(sq_semit *e, const sq_sweep_nest *x) {
  sq_kern *k = e->k;
  sq_lv all = NULL;
  for (uint32_t c = 0; c < e->s->n_class; c++) {
    if (!e->s->lane[c]) continue;
    bool has = false;
    for (uint32_t a = 0; a < x->n->g->n_par; a++) has |= x->cls[a] == c;
    if (has) continue;
    sq_lv at = c == e->p->va ? e->first : e->row[c];
    all = sq_k_and(k, all, LLVMBuildICmp(k->b, LLVMIntEQ, at, sq_k_int(k, 0), ""));
  }
  return all;
}

// ---- blocks of lanes ---------------------------------------------------------------------------
static sq_lv lanes_below(sq_kern *k, sq_lv first, sq_lv hi, uint32_t w) {
  sq_lv left = sq_k_min(k, LLVMBuildSub(k->b, hi, first, ""), sq_k_int(k, w));
  left = sq_k_splat(k, LLVMBuildTrunc(k->b, left, k->i32, ""), w);
  return LLVMBuildICmp(k->b, LLVMIntSLT, sq_k_lane_index(k, w, k->i32), left, "");
}

void sq_semit_blocks(sq_semit *e, sq_lv lo, sq_lv hi, uint32_t sets, sq_sblock fn, void *user) {
  sq_kern *k = e->k;
  uint32_t w = e->p->w;
  e->mask = NULL;
  e->sets = 1;
  e->first = sq_k_int(k, 0);
  if (e->p->va == SQ_SWEEP_NONE) {
    fn(e, sq_k_int(k, 0), user);
    return;
  }
  int64_t extent;
  bool even = sq_dim_is_const(k->g->dims, e->s->size[e->p->va], &extent) && extent % w == 0;
  sq_lv at = lo;
  for (uint32_t n = sets; n > 0; n = n > 1 ? 1 : 0) { // whole blocks
    sq_kloop l;
    sq_lv end = LLVMBuildSub(k->b, hi, sq_k_int(k, (int64_t)n * w - 1), "");
    sq_kloop_begin(k, &l, at, end, (int64_t)n * w, 0, NULL);
    e->sets = n;
    e->first = l.i;
    fn(e, LLVMBuildUDiv(k->b, LLVMBuildSub(k->b, l.i, lo, ""), sq_k_int(k, w), ""), user);
    sq_kloop_end(k, &l, NULL);
    at = l.i;
  }
  if (even) return;
  sq_kif f;
  sq_kif_begin(k, &f, LLVMBuildICmp(k->b, LLVMIntSLT, at, hi, ""));
  e->sets = 1;
  e->first = at;
  e->mask = lanes_below(k, at, hi, w);
  fn(e, LLVMBuildUDiv(k->b, LLVMBuildSub(k->b, at, lo, ""), sq_k_int(k, w), ""), user);
  e->mask = NULL;
  sq_kif_end(k, &f, 0, NULL, NULL, NULL);
}

// ---- units -------------------------------------------------------------------------------------
static void run_stretches(sq_semit *e, sq_lv lo, sq_lv hi) {
  sq_kern *k = e->k;
  sq_lv all = sq_kern_dim(k, e->s->extent);
  sq_sturns r = {sq_k_int(k, 0), all};
  if (e->p->chunk == 1) {
    sq_semit_blocks(e, lo, hi, e->p->sets, sq_sregisters_turns, &r);
    return;
  }
  sq_kloop l;
  sq_kloop_begin(k, &l, sq_k_int(k, 0), all, SQ_SWEEP_STRETCH, 0, NULL);
  r.lo = l.i;
  r.hi = sq_k_min(k, all, LLVMBuildAdd(k->b, l.i, sq_k_int(k, SQ_SWEEP_STRETCH), ""));
  sq_semit_blocks(e, lo, hi, e->p->sets, sq_sregisters_turns, &r);
  sq_kloop_end(k, &l, NULL);
}

// By rows: each group of blocks has a place of its own for states and what is fixed, since a stretch of
// turns is taken by all of them before the next one is.
typedef struct rows_part {
  sq_sblock fn;
  void *user;
} rows_part;

static void rows_in_slot(sq_semit *e, sq_lv block, void *user) {
  sq_kern *k = e->k;
  const rows_part *part = user;
  sq_lv unit = e->scratch, sets = sq_k_int(k, e->p->sets);
  sq_lv at = LLVMBuildUDiv(k->b, block, sets, "");
  if (e->sets < e->p->sets) at = LLVMBuildAdd(k->b, at, LLVMBuildURem(k->b, block, sets, ""), "");
  at = LLVMBuildMul(k->b, at, sq_kern_dim(k, e->p->slot), "");
  e->scratch = LLVMBuildGEP2(k->b, k->i8, unit, &at, 1, "");
  part->fn(e, block, part->user);
  e->scratch = unit;
}

static void run_rows(sq_semit *e, sq_lv lo, sq_lv hi) {
  sq_kern *k = e->k;
  uint32_t sets = e->p->sets;
  if (e->p->chunk == sets) {
    sq_semit_blocks(e, lo, hi, sets, sq_srows_all, NULL);
    return;
  }
  sq_lv all = sq_kern_dim(k, e->s->extent);
  sq_sturns r;
  rows_part begin = {sq_srows_begin, NULL}, turns = {sq_srows_turns, &r},
            end = {sq_srows_end, NULL};
  sq_semit_blocks(e, lo, hi, sets, rows_in_slot, &begin);
  sq_kloop l;
  sq_kloop_begin(k, &l, sq_k_int(k, 0), all, SQ_SWEEP_STRETCH, 0, NULL);
  r.lo = l.i;
  r.hi = sq_k_min(k, all, LLVMBuildAdd(k->b, l.i, sq_k_int(k, SQ_SWEEP_STRETCH), ""));
  sq_semit_blocks(e, lo, hi, sets, rows_in_slot, &turns);
  sq_kloop_end(k, &l, NULL);
  sq_semit_blocks(e, lo, hi, sets, rows_in_slot, &end);
}

static void run_vectors_of_turns(sq_semit *e, sq_sweep *s) {
  sq_lv none = sq_k_int(e->k, 0);
  if (s->newton) {
    sq_newton f = sq_newton_make(s);
    SQ_ASSERT(!f.why, "not by Newton's method: %s", f.why);
    sq_semit_blocks(e, none, none, 1, sq_snewton_turns, &f);
    return;
  }
  if (s->dense) {
    sq_dense d = sq_dense_make(s);
    SQ_ASSERT(!d.why, "no maps of all states: %s", d.why);
    sq_semit_blocks(e, none, none, 1, sq_sdense_turns, &d);
    return;
  }
  sq_sturns all = {none, sq_kern_dim(e->k, s->extent)};
  SQ_ASSERT(!e->p->sections->f.why, "no maps: %s", e->p->sections->f.why);
  sq_semit_blocks(e, none, none, 1, sq_sprefix_turns, &all);
}

static sq_lv entry_positive(sq_kern *k, sq_dim d) {
  sq_lv v = sq_cg_dim(k->cg, d);
  LLVMBuilderRef inside = k->b;
  k->b = k->cg->builder;
  v = sq_k_max(k, v, sq_k_int(k, 0));
  k->b = inside;
  return v;
}

static sq_ktasks make_tasks(sq_semit *e, sq_kouter *o, const uint32_t *cls) {
  sq_kern *k = e->k;
  LLVMBuilderRef b = k->cg->builder;
  sq_lv units = sq_k_int(k, 1);
  for (uint32_t i = 0; i < o->n; i++) {
    sq_lv extent = entry_positive(k, e->s->size[cls[i]]);
    if (cls[i] == e->p->va)
      extent = sq_k_ceil_div(k, b, extent, sq_k_int(k, (int64_t)e->p->chunk * e->p->w));
    o->extent[i] = sq_kern_pass(k, extent);
    units = LLVMBuildMul(b, units, extent, "");
  }
  sq_lv turn = sq_k_int(k, (int64_t)(e->p->cost * e->p->chunk) + 1);
  sq_lv work = LLVMBuildMul(b, entry_positive(k, e->s->extent), turn, "");
  return sq_ktasks_make(k, units, LLVMBuildAdd(b, work, sq_k_int(k, 20), ""));
}

void sq_kernel_sweep(sq_cg *cg, sq_node *n) {
  sq_kern kern, *k = &kern;
  sq_kern_begin(k, cg, "sweep");
  sq_sweep *s = sq_sweep_make(k->g, n);
  SQ_ASSERT(!s->why, "no sweep: %s", s->why);
  sq_splan p = sq_splan_make(s, cg->target, k->a);
  sq_semit em = {.k = k, .s = s, .p = &p, .group = {.n = n, .k = k}}, *e = &em;
  e->value = SQ_ARRAY(k->a, sq_lv *, s->n_value + 1);
  if (p.sections && !p.sections->why) {
    sq_ssections_kernel(e);
    return;
  }
  sq_kouter o = {0};
  uint32_t cls[SQ_K_AXES];
  for (uint32_t c = 0; c < s->n_class; c++)
    if (s->lane[c] && c != p.va) cls[o.n++] = c;
  if (p.va != SQ_SWEEP_NONE) cls[o.n++] = p.va;
  sq_ktasks tasks = make_tasks(e, &o, cls);
  sq_lv stride, first = sq_cg_private(cg, &stride);
  stride = sq_kern_pass(k, stride);
  sq_lv off = LLVMBuildMul(k->pb, k->worker, stride, "");
  e->scratch = LLVMBuildGEP2(k->pb, k->i8, sq_kern_pass(k, first), &off, 1, "");
  sq_kouter_begin(k, &o, &tasks);
  sq_lv lo = sq_k_int(k, 0), hi = sq_k_int(k, 1);
  for (uint32_t i = 0; i < o.n; i++) {
    if (cls[i] != p.va) {
      e->row[cls[i]] = o.index[i];
      continue;
    }
    sq_lv lanes = sq_k_int(k, (int64_t)p.chunk * p.w);
    lo = LLVMBuildMul(k->b, o.index[i], lanes, "");
    hi = sq_k_min(k, LLVMBuildAdd(k->b, lo, lanes, ""), sq_kern_dim(k, s->size[p.va]));
  }
  if (p.blocks) {
    sq_schunk_unit(e, lo, hi);
  } else if (p.registers) {
    sq_semit_blocks(e, lo, hi, 1, sq_sregisters_begin, NULL);
    if (p.turns)
      run_vectors_of_turns(e, s);
    else
      run_stretches(e, lo, hi);
    sq_semit_blocks(e, lo, hi, 1, sq_sregisters_end, NULL);
  } else if (p.rows) {
    run_rows(e, lo, hi);
  } else {
    sq_semit_blocks(e, lo, hi, p.sets, sq_smemory_all, NULL);
  }
  sq_kouter_end(k, &o);
  sq_kern_launch(k, tasks.n_tasks);
}

sq_kernel_scratch sq_kernel_sweep_need(sq_graph *g, const sq_target *t, const sq_node *n) {
  sq_sweep *s = sq_sweep_make(g, (sq_node *)(uintptr_t)n);
  if (s->why) return (sq_kernel_scratch){0};
  sq_splan p = sq_splan_make(s, t, g->arena);
  sq_kernel_scratch need = {.per_worker = p.scratch};
  if (p.sections && !p.sections->why) need.shared = sq_ssections_bytes(s, p.sections);
  return need;
}
