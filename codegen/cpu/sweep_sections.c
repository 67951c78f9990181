// A sweep by maps, cut along time (ir/sweep_sections.h): one kernel, launched for each step.
//
//   alone    one section, which begins where the scan does
//   maps     section 0: its turns, its states to the next one's; others but the last: their maps
//   begins   one task, in order: what a section's map makes of the states before it goes to the next one's;
//            where that is not finite: its turns, and it is done
//   turns    sections behind the first that are not done: their turns, from the states before them
//
// In shared memory, for each section of each lane: the states before it; the map of all of its turns; whether
// it is done.
//
// A thread that made the map of a section is likely to do its turns: what it read is still in its cache.
#include "codegen/cpu/sweep_sections.h"

typedef enum step { ALONE, MAPS, BEGINS, TURNS } step;
typedef enum word { STEP, COUNT, UNITS, PER_TASK, N_WORDS } word; // of a launch
enum { SLOT = 8, LINE = 64 };

typedef struct sections {
  sq_semit *e;
  sq_kern *k;
  const sq_sweep *s;
  const sq_sections *c;
  LLVMBuilderRef b;                 // of the entry
  sq_lv lanes, number, first, each; // there: sections, turns of the first one and of others
  sq_lv shared, launch;             // there: memory of the sections and of the words
  sq_lv step, at, lo, hi, last;     // of a unit; last: is it the last section?
  sq_lv here, next;                 // memory of the section and of the next one
} sections;

// ---- in the entry: how many --------------------------------------------------------------------
static sq_lv whole(sections *x, sq_lv v) {
  return LLVMBuildAnd(x->b, v, sq_k_int(x->k, -SQ_SECTION_ALIGN), "");
}

static sq_lv positive(sections *x, sq_dim d) {
  sq_lv v = sq_cg_dim(x->k->cg, d), zero = sq_k_int(x->k, 0);
  return LLVMBuildSelect(x->b, LLVMBuildICmp(x->b, LLVMIntSGT, v, zero, ""), v, zero, "");
}

static sq_lv less_of(sections *x, sq_lv a, sq_lv b) {
  return LLVMBuildSelect(x->b, LLVMBuildICmp(x->b, LLVMIntSLT, a, b, ""), a, b, "");
}

// Gives whether there are several.
static sq_lv cut(sections *x) {
  sq_kern *k = x->k;
  sq_lv one = sq_k_int(k, 1), n = positive(x, x->s->extent);
  sq_lv parts = LLVMBuildUDiv(x->b, n, sq_k_int(k, x->c->least), "");
  parts = less_of(x, parts, sq_k_int(k, x->c->most));
  sq_lv several = LLVMBuildICmp(x->b, LLVMIntSGT, parts, one, "");
  sq_lv fits = LLVMBuildICmp(x->b, LLVMIntSLE, n, sq_k_int(k, x->c->up_to), "");
  several = LLVMBuildAnd(x->b, several, fits, "");
  x->number = LLVMBuildSelect(x->b, several, LLVMBuildAdd(x->b, parts, one, ""), one, "");
  sq_lv share = sq_k_int(k, SQ_SECTION_SHARE), all;
  all = LLVMBuildAdd(x->b, LLVMBuildMul(x->b, parts, share, ""), sq_k_int(k, x->c->first), "");
  x->each = LLVMBuildUDiv(x->b, LLVMBuildMul(x->b, n, share, ""), all, "");
  x->first = LLVMBuildMul(x->b, x->each, sq_k_int(k, x->c->first), "");
  x->first = whole(x, LLVMBuildUDiv(x->b, x->first, share, ""));
  x->each = whole(x, x->each);
  return several;
}

// ---- memory of a section -----------------------------------------------------------------------
typedef enum part { STATE, BY, OTHER, HIGH, PARTS } part;

static uint32_t elements(const sq_sweep *s) {
  uint32_t n = 0;
  for (uint32_t k = 0; k < s->scan->n_carried; k++) n += sq_splan_elements(s, k);
  return n;
}

static int64_t section_bytes(const sq_sweep *s) {
  return (SLOT * (PARTS * (int64_t)elements(s) + 1) + LINE - 1) / LINE * LINE;
}

sq_dim sq_ssections_bytes(const sq_sweep *s, const sq_sections *c) {
  return sq_dim_const(s->g->dims, section_bytes(s) * c->lanes * (c->most + 1));
}

static sq_lv slot(sections *x, sq_lv section, part p, uint32_t at) {
  uint32_t n = elements(x->s);
  sq_lv off = sq_k_int(x->k, (int64_t)SLOT * (p * n + at));
  return LLVMBuildGEP2(x->k->b, x->k->i8, section, &off, 1, "");
}

static sq_lv done_slot(sections *x, sq_lv section) { return slot(x, section, PARTS, 0); }

static sq_dtype kept(const sections *x, uint32_t k) {
  return sq_semit_kept(x->s->value[k].part.dtype);
}

// ---- a unit ------------------------------------------------------------------------------------
static void begin(sections *x, sq_lv block) {
  sq_kern *k = x->k;
  sq_kif f;
  uint32_t at = 0;
  sq_kif_begin(k, &f, LLVMBuildICmp(k->b, LLVMIntEQ, x->at, sq_k_int(k, 0), ""));
  sq_sregisters_begin(x->e, block, NULL);
  sq_kif_else(k, &f);
  for (uint32_t c = 0; c < x->s->scan->n_carried; c++)
    for (uint32_t j = 0; j < sq_splan_elements(x->s, c); j++) {
      sq_lv h = sq_k_load(k, kept(x, c), slot(x, x->here, STATE, at++));
      sq_sregisters_store(x->e, block, c, j, h);
    }
  sq_kif_end(k, &f, 0, NULL, NULL, NULL);
}

static void end(sections *x, sq_lv block) {
  sq_kern *k = x->k;
  sq_kif f, g;
  uint32_t at = 0;
  sq_kif_begin(k, &f, x->last);
  sq_sregisters_end(x->e, block, NULL);
  sq_kif_else(k, &f);
  // The next section's begin is known already, and may be being read.
  sq_lv known = LLVMBuildICmp(k->b, LLVMIntEQ, x->step, sq_k_int(k, TURNS), "");
  sq_kif_begin(k, &g, LLVMBuildNot(k->b, known, ""));
  for (uint32_t c = 0; c < x->s->scan->n_carried; c++)
    for (uint32_t j = 0; j < sq_splan_elements(x->s, c); j++) {
      sq_lv h = sq_sregisters_load(x->e, block, c, j);
      sq_k_store(k, kept(x, c), slot(x, x->next, STATE, at++), h);
    }
  sq_kif_end(k, &g, 0, NULL, NULL, NULL);
  sq_kif_end(k, &f, 0, NULL, NULL, NULL);
}

static void turns(sq_semit *e, sq_lv block, void *user) {
  sections *x = user;
  sq_sturns all = {x->lo, x->hi};
  begin(x, block);
  sq_sprefix_turns(e, block, &all);
  end(x, block);
}

static const sq_prefix_map *map_of(const sections *x, uint32_t c) {
  return &x->c->f.map[x->s->next[c] - x->s->scan->n_carried];
}

static void map(sections *x) {
  sq_kern *k = x->k;
  sq_sline *all = SQ_ARRAY(k->a, sq_sline, elements(x->s) + 1);
  uint32_t at = 0;
  sq_stotal(x->e, x->lo, x->hi, all);
  for (uint32_t c = 0; c < x->s->scan->n_carried; c++)
    for (uint32_t j = 0; j < sq_splan_elements(x->s, c); j++, at++) {
      if (all[at].by) sq_k_store(k, kept(x, c), slot(x, x->here, BY, at), all[at].by);
      if (all[at].other) sq_k_store(k, kept(x, c), slot(x, x->here, OTHER, at), all[at].other);
      if (all[at].high) sq_k_store(k, kept(x, c), slot(x, x->here, HIGH, at), all[at].high);
    }
}

// The states before the next section, from this one's map. Gives whether they are finite.
static sq_lv apply(sections *x) {
  sq_kern *k = x->k;
  sq_lv good = LLVMConstInt(k->i1, 1, 0);
  uint32_t at = 0;
  for (uint32_t c = 0; c < x->s->scan->n_carried; c++) {
    const sq_prefix_map *p = map_of(x, c);
    for (uint32_t j = 0; j < sq_splan_elements(x->s, c); j++, at++) {
      sq_sline m = {.how = p->how, .type = x->s->value[c].v->type.dtype};
      if (p->by != SQ_NO_SCALAR) m.by = sq_k_load(k, kept(x, c), slot(x, x->here, BY, at));
      if (p->other != SQ_NO_SCALAR) m.other = sq_k_load(k, kept(x, c), slot(x, x->here, OTHER, at));
      if (p->high != SQ_NO_SCALAR) m.high = sq_k_load(k, kept(x, c), slot(x, x->here, HIGH, at));
      sq_lv h = sq_k_load(k, kept(x, c), slot(x, x->here, STATE, at));
      h = sq_sline_apply(x->e, &m, h);
      sq_k_store(k, kept(x, c), slot(x, x->next, STATE, at), h);
      if (sq_sline_compares(p)) continue;
      sq_lv zero = sq_k_fmul(k, h, LLVMConstNull(LLVMTypeOf(h)));
      good = sq_k_and(k, good, LLVMBuildFCmp(k->b, LLVMRealORD, zero, zero, ""));
    }
  }
  return good;
}

// Has it to do the turns?
static sq_lv is_due(sections *x) {
  sq_kern *k = x->k;
  sq_lv yes = LLVMConstInt(k->i1, 1, 0), begins, due;
  sq_kif f, g;
  sq_kif_begin(k, &f, LLVMBuildICmp(k->b, LLVMIntEQ, x->step, sq_k_int(k, BEGINS), ""));
  sq_lv strange = LLVMBuildNot(k->b, apply(x), "");
  LLVMBuildStore(k->b, LLVMBuildZExt(k->b, strange, k->i64, ""), done_slot(x, x->here));
  sq_kif_else(k, &f);
  sq_lv later = LLVMBuildICmp(k->b, LLVMIntEQ, x->step, sq_k_int(k, TURNS), "");
  later = LLVMBuildAnd(k->b, later, LLVMBuildNot(k->b, x->last, ""), "");
  sq_kif_begin(k, &g, later);
  sq_lv done = LLVMBuildLoad2(k->b, k->i64, done_slot(x, x->here), "");
  done = LLVMBuildICmp(k->b, LLVMIntEQ, done, sq_k_int(k, 0), "");
  sq_kif_end(k, &g, 1, &done, &yes, &due);
  sq_kif_end(k, &f, 1, &strange, &due, &begins);
  return begins;
}

static void unit(sections *x) {
  sq_kern *k = x->k;
  sq_lv zero = sq_k_int(k, 0), is_map;
  sq_kif f, g;
  is_map = LLVMBuildICmp(k->b, LLVMIntEQ, x->step, sq_k_int(k, MAPS), "");
  is_map = LLVMBuildAnd(k->b, is_map, LLVMBuildICmp(k->b, LLVMIntNE, x->at, zero, ""), "");
  sq_kif_begin(k, &f, is_map);
  map(x);
  sq_kif_else(k, &f);
  sq_kif_begin(k, &g, is_due(x));
  sq_semit_blocks(x->e, zero, zero, 1, turns, x);
  sq_kif_end(k, &g, 0, NULL, NULL, NULL);
  sq_kif_end(k, &f, 0, NULL, NULL, NULL);
}

static sq_lv section_at(sections *x, sq_lv at) {
  sq_kern *k = x->k;
  at = LLVMBuildMul(k->b, at, sq_k_int(k, section_bytes(x->s)), "");
  return LLVMBuildGEP2(k->b, k->i8, sq_kern_pass(k, x->shared), &at, 1, "");
}

// Which section, where it begins and ends. In `turns` the last one stands for the first, which is done.
static void open_unit(sections *x, sq_lv lane, sq_lv at) {
  sq_kern *k = x->k;
  sq_lv zero = sq_k_int(k, 0), one = sq_k_int(k, 1), number = sq_kern_pass(k, x->number);
  sq_lv first = sq_kern_pass(k, x->first), each = sq_kern_pass(k, x->each);
  sq_lv begins = LLVMBuildICmp(k->b, LLVMIntEQ, x->step, sq_k_int(k, BEGINS), "");
  sq_lv swap = LLVMBuildICmp(k->b, LLVMIntEQ, x->step, sq_k_int(k, TURNS), "");
  swap = LLVMBuildAnd(k->b, swap, LLVMBuildICmp(k->b, LLVMIntEQ, at, zero, ""), "");
  sq_lv last = LLVMBuildSub(k->b, number, one, "");
  at = LLVMBuildAdd(k->b, at, LLVMBuildZExt(k->b, begins, k->i64, ""), "");
  x->at = at = LLVMBuildSelect(k->b, swap, last, at, "");
  x->last = LLVMBuildICmp(k->b, LLVMIntEQ, at, last, "");
  x->hi = LLVMBuildAdd(k->b, first, LLVMBuildMul(k->b, at, each, ""), "");
  x->lo = LLVMBuildSelect(k->b, LLVMBuildICmp(k->b, LLVMIntEQ, at, zero, ""), zero,
                          LLVMBuildSub(k->b, x->hi, each, ""), "");
  x->hi = LLVMBuildSelect(k->b, x->last, sq_kern_dim(k, x->s->extent), x->hi, "");
  sq_lv section = LLVMBuildAdd(k->b, LLVMBuildMul(k->b, lane, number, ""), at, "");
  x->here = section_at(x, section);
  x->next = section_at(x, LLVMBuildAdd(k->b, section, one, ""));
}

// ---- launches ----------------------------------------------------------------------------------
static sq_lv word_of(sections *x, word w) {
  sq_lv at = sq_k_int(x->k, w);
  at = LLVMBuildInBoundsGEP2(x->k->pb, x->k->i64, sq_kern_pass(x->k, x->launch), &at, 1, "");
  return LLVMBuildLoad2(x->k->pb, x->k->i64, at, "");
}

static void launch(sections *x, sq_kready *r, step s, sq_lv count, sq_lv per_task, sq_lv n_tasks) {
  sq_lv units = LLVMBuildMul(x->b, x->lanes, count, "");
  sq_lv value[N_WORDS] = {[STEP] = sq_k_int(x->k, s), [COUNT] = count, [UNITS] = units};
  value[PER_TASK] = per_task ? per_task : units;
  for (uint32_t w = 0; w < N_WORDS; w++) {
    sq_lv at = sq_k_int(x->k, w);
    LLVMBuildStore(x->b, value[w], LLVMBuildInBoundsGEP2(x->b, x->k->i64, x->launch, &at, 1, ""));
  }
  r->n_tasks = n_tasks ? n_tasks : units;
  sq_kready_launch(x->k->cg, r);
}

void sq_ssections_kernel(sq_semit *e) {
  sq_kern *k = e->k, entry;
  sq_cg *cg = k->cg;
  sections em = {.e = e, .k = k, .s = e->s, .c = e->p->sections, .b = cg->builder}, *x = &em;
  sq_kouter o = {0};
  uint32_t cls[SQ_K_AXES];
  sq_lv one = sq_k_int(k, 1);
  x->lanes = sq_k_int(k, x->c->lanes);
  for (uint32_t c = 0; c < x->s->n_class; c++) {
    if (!x->s->lane[c]) continue;
    o.extent[o.n] = sq_kern_dim(k, x->s->size[c]);
    cls[o.n++] = c;
  }
  sq_lv several = cut(x), n = positive(x, x->s->extent);
  sq_lv work = LLVMBuildMul(x->b, n, sq_k_int(k, (int64_t)e->p->cost + 1), "");
  sq_ktasks alone = sq_ktasks_make(k, x->lanes, LLVMBuildAdd(x->b, work, sq_k_int(k, 20), ""));
  x->shared = sq_cg_shared(cg);
  x->launch = sq_kern_entry_alloca(k, N_WORDS);
  sq_lv stride, private = sq_cg_private(cg, &stride);
  sq_lv off = LLVMBuildMul(k->pb, k->worker, sq_kern_pass(k, stride), "");
  e->scratch = LLVMBuildGEP2(k->pb, k->i8, sq_kern_pass(k, private), &off, 1, "");
  x->step = word_of(x, STEP);
  sq_ktasks tasks = {.units = word_of(x, UNITS), .per_task = word_of(x, PER_TASK)};
  sq_lv count = o.extent[o.n++] = word_of(x, COUNT);
  sq_kouter_begin(k, &o, &tasks);
  for (uint32_t i = 0; i + 1 < o.n; i++) e->row[cls[i]] = o.index[i];
  open_unit(x, LLVMBuildUDiv(k->b, o.loop.phi[o.n], count, ""), o.index[o.n - 1]);
  unit(x);
  sq_kouter_end(k, &o);
  sq_kready ready = sq_kern_ready(k, &alone);
  sq_kern_begin_here(&entry, cg);
  sq_kif f;
  sq_kif_begin(&entry, &f, several);
  sq_lv rest = LLVMBuildSub(x->b, x->number, one, "");
  launch(x, &ready, MAPS, rest, one, NULL);
  launch(x, &ready, BEGINS, LLVMBuildSub(x->b, rest, one, ""), NULL, one);
  launch(x, &ready, TURNS, rest, one, NULL);
  sq_kif_else(&entry, &f);
  sq_lv some = sq_k_max(&entry, alone.n_tasks, one);
  launch(x, &ready, ALONE, one, sq_k_ceil_div(k, x->b, x->lanes, some), alone.n_tasks);
  sq_kif_end(&entry, &f, 0, NULL, NULL, NULL);
}
