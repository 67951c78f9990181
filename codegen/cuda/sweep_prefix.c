// Scans by the maps of turns (ir/sweep_prefix.h) as kernels, for few lanes: a block of threads for each
// index of the lanes, a thread for each turn of a stretch.
//
//   states from where the scan begins, in shared memory
//   for each stretch of 128 turns
//     each member, of the thread's turn; where it makes the next state of a carried one:
//       by, other               of the turn
//       by, other               of all turns of the stretch up to it: 7 steps through shared memory
//       h = by * carry + other; what reads the state before a turn has that of the thread before
//     where all of it is finite: stores; the states of the last turn are carried on
//     otherwise: turn by turn, by one thread, from the states as they were
//   ends
//
// The steps are the same whatever the sizes are.
#include "codegen/cpu/driver.h"
#include "codegen/cuda/sweep.h"
#include "ir/sweep_tiles.h"

enum { THREADS = SQ_PREFIX_THREADS };

typedef struct maps {
  sq_cu *k;
  sq_cu_sweep w;
  sq_sweep *s;
  sq_prefix f;
  bool *before; // per carried value: the state before the turn is there
} maps;

static uint32_t count(maps *x, uint32_t value) {
  return sq_sweep_team_share(x->s, &x->w.team, value);
}
static const char *type_of(maps *x, uint32_t value) {
  return sq_cu_type(x->s->value[value].part.dtype);
}
static const char *array(maps *x, uint32_t value) { return x->w.value[value].base; }
static void declare(maps *x, uint32_t value) { sq_cu_sweep_declare(&x->w, value, array(x, value)); }
static void open_elements(maps *x, uint32_t value) {
  sq_cu_line(x->k, "#pragma unroll");
  sq_cu_open(x->k, "for (int j = 0; j < %u; j++) {", count(x, value));
}

// ---- states between memory and shared memory ---------------------------------------------------
static void share(maps *x) {
  for (uint32_t c = 0; c < x->s->scan->n_carried; c++) {
    sq_cu_line(x->k, "SQ_SHARED(%s, carry%u, %u);", type_of(x, c), c, count(x, c));
    sq_cu_line(x->k, "SQ_SHARED(%s, edge%u, %u);", type_of(x, c), c, THREADS * count(x, c));
  }
  for (int wide = 0; wide < 2; wide++) {
    const char *t = wide ? "double" : "float";
    bool any = !wide; // also what is odd
    for (uint32_t c = 0; c < x->s->scan->n_carried; c++) any |= strcmp(type_of(x, c), t) == 0;
    if (!any) continue;
    sq_cu_line(x->k, "SQ_SHARED(%s, by_%s, %d);", t, t, THREADS);
    sq_cu_line(x->k, "SQ_SHARED(%s, other_%s, %d);", t, t, THREADS);
  }
}
static void from_carry(maps *x, uint32_t c) {
  declare(x, c);
  sq_cu_line(x->k, "#pragma unroll");
  sq_cu_line(x->k, "for (int j = 0; j < %u; j++) %s[j] = SQ_SLD(carry%u, j);", count(x, c),
             array(x, c), c);
}
static void to_carry(maps *x, uint32_t c, const char *from) {
  sq_cu_line(x->k, "#pragma unroll");
  sq_cu_line(x->k, "for (int j = 0; j < %u; j++) SQ_SST(carry%u, j, %s[j]);", count(x, c), c, from);
}
static void begin_states(maps *x) {
  sq_cu_open(x->k, "if (SQ_TID == 0) {");
  for (uint32_t c = 0; c < x->s->scan->n_carried; c++) {
    declare(x, c);
    sq_cu_sweep_emit(&x->w, &x->s->load[c], &x->w.value[c]);
    to_carry(x, c, array(x, c));
  }
  sq_cu_close(x->k);
  sq_cu_line(x->k, "SQ_SYNC();");
}
static void end_states(maps *x) {
  sq_cu_open(x->k, "if (SQ_TID == 0) {");
  sq_cu_line(x->k, "const bool live = true;");
  for (uint32_t c = 0; c < x->s->scan->n_carried; c++) from_carry(x, c);
  for (uint32_t i = 0; i < x->s->n_final; i++) sq_cu_sweep_write(&x->w, &x->s->final[i]);
  sq_cu_close(x->k);
  sq_cu_line(x->k, "SQ_SYNC();"); // before the next unit begins
}

// ---- members -----------------------------------------------------------------------------------
// The carried value before each turn, in its array.
static void before(maps *x, uint32_t c) {
  sq_cu *k = x->k;
  uint32_t next = x->s->next[c];
  if (x->before[c]) return;
  x->before[c] = true;
  if (next == c) {
    from_carry(x, c);
    return;
  }
  if (next < x->s->scan->n_carried) before(x, next);
  declare(x, c);
  open_elements(x, c);
  sq_cu_line(k, "SQ_SST(edge%u, j * %d + SQ_TID, %s[j]);", c, THREADS, array(x, next));
  sq_cu_close(k);
  sq_cu_line(k, "SQ_SYNC();");
  open_elements(x, c);
  sq_cu_line(k, "if (SQ_TID) %s[j] = SQ_SLD(edge%u, j * %d + SQ_TID - 1);", array(x, c), c,
             THREADS);
  sq_cu_line(k, "else %s[j] = SQ_SLD(carry%u, j);", array(x, c), c);
  sq_cu_close(k);
}
static void read_before(maps *x, const sq_sweep_nest *n, uint32_t but) {
  for (uint32_t j = 0; j < n->n->n_in; j++)
    if (n->inner[j] < x->s->scan->n_carried && n->inner[j] != but) before(x, n->inner[j]);
}
// A scalar of the map at all elements, into an array `name`; what changes nothing where there is none.
static void part(maps *x, uint32_t i, uint32_t scalar, const char *name, const char *none) {
  const sq_sweep_nest *m = &x->s->member[i];
  sq_cu_place to = sq_cu_sweep_array(&x->w, m->value, name);
  sq_cu_sweep_declare(&x->w, m->value, to.base);
  if (scalar != SQ_NO_SCALAR) {
    sq_dtype type = x->s->value[m->value].part.dtype;
    sq_cu_sweep_emit(&x->w, sq_chunk_part(x->s, type, i, scalar), &to);
    return;
  }
  open_elements(x, m->value);
  sq_cu_line(x->k, "%s[j] = %s;", to.base, none);
  sq_cu_close(x->k);
}
static void solve(maps *x, uint32_t i) {
  sq_cu *k = x->k;
  const sq_prefix_map *p = &x->f.map[i];
  uint32_t v = x->s->member[i].value, c = x->f.solves[i];
  bool sum = p->how == SQ_PREFIX_SUM;
  const char *how = sum ? "sq_map_sum" : p->how == SQ_PREFIX_MAX ? "sq_map_max" : "sq_map_min";
  const char *t = type_of(x, v);
  part(x, i, p->by, "by", sum ? "1" : "0");
  part(x, i, p->other, "other", sum ? "0" : sq_arena_fmt(k->a, "%s<%s>::none()", how, t));
  declare(x, v);
  open_elements(x, v);
  sq_cu_line(k, "%s<%s> m = {by%u[j], other%u[j]};", how, t, v, v);
  sq_cu_line(k, "m = sq_block_maps(SQ_ME m, by_%s, other_%s);", t, t);
  sq_cu_line(k, "%s[j] = m.apply(SQ_SLD(carry%u, j));", array(x, v), c);
  if (sum || p->by != SQ_NO_SCALAR) // else comparisons alone
    sq_cu_line(k, "if (live) bad += (float)(%s[j] * 0);", array(x, v));
  sq_cu_close(k);
}
static void members(maps *x) {
  for (uint32_t o = 0; o < x->f.n_order; o++) {
    uint32_t i = x->f.order[o];
    const sq_sweep_nest *m = &x->s->member[i];
    read_before(x, m, x->f.solves[i]);
    if (x->f.solves[i] != SQ_SWEEP_NONE) {
      solve(x, i);
    } else {
      declare(x, m->value);
      sq_cu_sweep_emit(&x->w, m, &x->w.value[m->value]);
    }
  }
  for (uint32_t i = 0; i < x->s->n_store; i++) read_before(x, &x->s->store[i], SQ_SWEEP_NONE);
  for (uint32_t c = 0; c < x->s->scan->n_carried; c++)
    if (x->s->next[c] < x->s->scan->n_carried && x->s->next[c] != c) before(x, x->s->next[c]);
}

// ---- a stretch ---------------------------------------------------------------------------------
static void agree(maps *x) {
  sq_cu *k = x->k;
  sq_cu_line(k, "#pragma unroll");
  sq_cu_line(k, "for (int m = 1; m < 32; m *= 2) bad += sq_shuffle_xor(SQ_ME bad, m);");
  sq_cu_line(k, "if (SQ_TID %% 32 == 0) SQ_SST(by_float, SQ_TID / 32, bad);");
  sq_cu_line(k, "SQ_SYNC();");
  sq_cu_line(k, "bad = 0;");
  sq_cu_line(k, "for (int m = 0; m < %d; m++) bad += SQ_SLD(by_float, m);", THREADS / 32);
}
static void keep(maps *x) {
  sq_cu *k = x->k;
  for (uint32_t i = 0; i < x->s->n_store; i++) sq_cu_sweep_write(&x->w, &x->s->store[i]);
  sq_cu_open(k, "if (SQ_TID == last) {");
  for (uint32_t c = 0; c < x->s->scan->n_carried; c++)
    if (x->s->next[c] != c) to_carry(x, c, array(x, x->s->next[c]));
  sq_cu_close(k);
}
static void turn_by_turn(maps *x) {
  sq_cu *k = x->k;
  x->w.rolled = true;
  sq_cu_open(k, "if (SQ_TID == 0) {");
  for (uint32_t c = 0; c < x->s->scan->n_carried; c++) from_carry(x, c);
  sq_cu_line(k, "#pragma unroll 1");
  sq_cu_open(k, "for (sq_i64 i = i0; i <= i0 + last; i++) {");
  sq_cu_line(k, "const sq_i64 turn = %s;", sq_cu_sweep_turn_of(&x->w, "i"));
  sq_cu_sweep_turn(&x->w);
  sq_cu_close(k);
  for (uint32_t c = 0; c < x->s->scan->n_carried; c++) to_carry(x, c, array(x, c));
  sq_cu_close(k);
  x->w.rolled = false;
}
static void stretch(maps *x) {
  sq_cu *k = x->k;
  const char *n = sq_cu_dim(k, x->s->extent);
  sq_cu_line(k, "#pragma unroll 1");
  sq_cu_open(k, "for (sq_i64 i0 = 0; i0 < %s; i0 += %d) {", n, THREADS);
  sq_cu_line(k, "const sq_i64 last = i0 + %d < %s ? %d : %s - 1 - i0;", THREADS, n, THREADS - 1, n);
  sq_cu_line(k, "const bool live = SQ_TID <= last;");
  sq_cu_line(k, "const sq_i64 i = i0 + (live ? SQ_TID : last);");
  sq_cu_line(k, "const sq_i64 turn = %s;", sq_cu_sweep_turn_of(&x->w, "i"));
  sq_cu_line(k, "float bad = 0;");
  members(x);
  sq_cu_line(k, "SQ_SYNC();"); // all have read what is carried
  agree(x);
  sq_cu_open(k, "if (bad == bad) {");
  keep(x);
  sq_cu_close(k);
  sq_cu_open(k, "else {");
  turn_by_turn(x);
  sq_cu_close(k);
  sq_cu_line(k, "SQ_SYNC();");
  sq_cu_close(k);
}

// ---- the kernel --------------------------------------------------------------------------------
static void open_unit(maps *x, const char *units) {
  sq_cu *k = x->k;
  sq_cu_open(k, "for (sq_i64 u0 = SQ_BLOCK; u0 < %s; u0 += SQ_GRID) {", units);
  sq_cu_line(k, "sq_i64 u = u0;");
  for (uint32_t c = x->s->n_class; c-- > 0;) {
    if (!x->s->lane[c]) continue;
    const char *n = sq_cu_dim(k, x->s->size[c]);
    sq_cu_line(k, "const sq_i64 l%u = u %% %s;", c, n);
    sq_cu_line(k, "u /= %s;", n);
  }
}
static LLVMValueRef units(maps *x) {
  sq_axis axis[SQ_MAX_RANK + 1];
  sq_generic all = {.axis = axis};
  uint32_t n = 0;
  for (uint32_t c = 0; c < x->s->n_class; c++)
    if (x->s->lane[c]) axis[n++].extent = x->s->size[c];
  return sq_cu_units(x->k, &all, n);
}
static bool plan(maps *x, sq_graph *g, sq_node *n) {
  x->s = sq_sweep_make(g, n);
  if (!x->s->prefix) return false;
  if (sq_prefix_tiles(x->s)) return false;
  x->f = sq_prefix_make(x->s);
  return !x->f.why;
}
bool sq_cuda_sweep_prefix(sq_cg *cg, sq_node *n) {
  sq_cu kern, *k = &kern;
  maps all = {.k = k}, *x = &all;
  if (!plan(x, cg->graph, n)) return false;
  sq_cu_begin(k, cg, "maps", n->n_out ? n->out[0] : NULL, THREADS);
  k->syncs = true;
  x->w = (sq_cu_sweep){.k = k, .s = x->s};
  x->w.team = (sq_sweep_team){.split = SQ_SWEEP_NONE, .threads = 1};
  x->w.value = SQ_ARRAY(k->a, sq_cu_place, x->s->n_value + 1);
  x->before = SQ_ARRAY(k->a, bool, x->s->scan->n_carried + 1);
  for (uint32_t i = 0; i < x->s->n_value; i++) x->w.value[i] = sq_cu_sweep_array(&x->w, i, "w");
  LLVMValueRef n_units = units(x);
  share(x);
  open_unit(x, sq_cu_number(k, n_units));
  begin_states(x);
  stretch(x);
  end_states(x);
  sq_cu_close(k);
  sq_cu_launch(k, n_units, 1, 0);
  return true;
}
