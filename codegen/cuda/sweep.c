// Scans as kernels: all turns in one launch, what is carried in registers.
//
//   a team of threads for each index of the lanes (ir/sweep_team.h)
//     states from where the scan begins
//     for each turn: every operation, at the elements that the thread has; results of the turn
//     states to where they end
//
// Each value of a turn is an array of the thread, of so many elements that the loops over them are
// unrolled and it lies in registers. Teams of neighbours have neighbouring indices of the last lane,
// so that they read and write side by side; in a team neighbours have neighbouring indices of what is
// shared out. A sum over that goes through the team in a tree, the same for all sizes.
#include "codegen/cuda/sweep.h"
#include "codegen/cpu/driver.h"

enum { THREADS = 128, TURNS = 4, SMALL = 40 }; // turns at once, of what is small
enum {
  TOGETHER = 2
}; // blocks that a multiprocessor has registers for: as many a thread as there are

typedef sq_cu_sweep sweep;

// ---- arrays ------------------------------------------------------------------------------------
sq_cu_place sq_cu_sweep_array(sweep *w, uint32_t i, const char *prefix) {
  const sq_sweep_value *v = &w->s->value[i];
  sq_graph *g = w->k->g;
  sq_dim *dim = SQ_ARRAY(w->k->a, sq_dim, v->rank + 1);
  bool *shared = SQ_ARRAY(w->k->a, bool, v->rank + 1);
  uint32_t rank = 0;
  for (uint32_t a = 0; a < v->rank; a++) {
    int64_t n = 0;
    if (w->s->lane[v->cls[a]]) continue;
    sq_dim_is_const(g->dims, w->s->size[v->cls[a]], &n);
    shared[rank] = v->cls[a] == w->team.split;
    if (shared[rank]) n = (n + w->team.threads - 1) / w->team.threads;
    dim[rank++] = sq_dim_const(g->dims, n);
  }
  sq_cu_place p = {.base = sq_arena_fmt(w->k->a, "%s%u", prefix, i),
                   .type = v->part,
                   .local = true,
                   .shared = shared};
  p.type.rank = rank;
  p.type.dim = dim;
  return p;
}
void sq_cu_sweep_declare(sweep *w, uint32_t i, const char *name) {
  sq_cu_line(w->k, "%s %s[%u];", sq_cu_type(w->s->value[i].part.dtype), name,
             sq_sweep_team_share(w->s, &w->team, i));
}

// ---- nests at elements -------------------------------------------------------------------------
// Might what is written to `out` change `in`?
static bool meets(const sq_value *out, const sq_value *in) {
  bool cell = in->store == SQ_STORE_STATE || in->store == SQ_STORE_PARAM;
  if (cell) return out->store == SQ_STORE_STATE || out->store == SQ_STORE_PARAM;
  return in->store == SQ_STORE_INNER || sq_cg_same_place(out, in);
}
// What no turn writes: such loads go before the stores of earlier turns, and several turns wait for memory at
// once.
static bool is_steady(const sweep *w, const sq_value *in) {
  for (uint32_t i = 0; i < w->s->n_store; i++)
    if (meets(w->s->store[i].n->out[0], in)) return false;
  for (uint32_t i = 0; i < w->s->n_final; i++)
    if (meets(w->s->final[i].n->out[0], in)) return false;
  return true;
}
void sq_cu_sweep_begin(sweep *w, sq_cu_nest *t, const sq_sweep_nest *x) {
  sq_cu_nest_begin(t, w->k, x->n, NULL);
  bool *steady = SQ_ARRAY(w->k->a, bool, x->n->n_in + 1);
  t->steady = steady;
  for (uint32_t i = 0; i < x->n->n_in; i++) {
    if (x->inner[i] != SQ_SWEEP_NONE)
      t->place[i] = w->value[x->inner[i]];
    else
      steady[i] = is_steady(w, x->n->in[i]);
  }
  for (uint32_t a = 0; a < t->n_axes; a++) {
    if (x->cls[a] == SQ_SWEEP_NONE)
      t->index[a] = "turn";
    else if (w->s->lane[x->cls[a]])
      t->index[a] = sq_arena_fmt(w->k->a, "l%u", x->cls[a]);
  }
}
static bool is_inner(const sweep *w, const sq_sweep_nest *x, uint32_t axis) {
  return x->cls[axis] != SQ_SWEEP_NONE && !w->s->lane[x->cls[axis]];
}
// Opens the loops over inner axes from `first` to before `end` that this thread has. An axis whose extent is
// not known is one that sums run over, and no value has.
static uint32_t open_axes(sweep *w, sq_cu_nest *t, const sq_sweep_nest *x, uint32_t first,
                          uint32_t end) {
  sq_cu *k = w->k;
  uint32_t n = 0;
  for (uint32_t a = first; a < end; a++) {
    if (!is_inner(w, x, a)) continue;
    int64_t size = 0;
    if (!sq_dim_is_const(k->g->dims, w->s->size[x->cls[a]], &size)) {
      sq_cu_open(k, "for (sq_i64 %s = 0; %s < %s; %s++) {", t->index[a], t->index[a],
                 sq_cu_dim(k, w->s->size[x->cls[a]]), t->index[a]);
      n++;
      continue;
    }
    bool split = x->cls[a] == w->team.split;
    const char *i = sq_cu_temp(k, "j");
    sq_cu_line(k, w->rolled ? "#pragma unroll 1" : "#pragma unroll");
    int64_t team = split ? w->team.threads : 1;
    sq_cu_open(k, "for (int %s = 0; %s < %lld; %s++) {", i, i,
               (long long)((size + team - 1) / team), i);
    if (split)
      sq_cu_line(k, "const sq_i64 %s = %s * %u + mate;", t->index[a], i, w->team.threads);
    else
      sq_cu_line(k, "const sq_i64 %s = %s;", t->index[a], i);
    if (size % team) {
      sq_cu_open(k, "if (%s < %lld) {", t->index[a], (long long)size);
      n++;
    }
    t->local[a] = i;
    n++;
  }
  return n;
}
// What the sums run over is lanes too, turns never.
static const char *reduced(sweep *w, sq_cu_nest *t, const sq_sweep_nest *x) {
  sq_cu *k = w->k;
  const sq_generic *g = t->g;
  const char *acc = sq_cu_temp(k, "acc"), *flat = "0";
  bool team = false;
  sq_cu_line(k, "%s %s;", sq_cu_acc(k, g), acc);
  sq_cu_line(k, "%s.begin();", acc);
  uint32_t opened = open_axes(w, t, x, g->n_par, t->n_axes), mark = sq_cu_nest_enter(t);
  for (uint32_t a = g->n_par; a < t->n_axes; a++) {
    team |= x->cls[a] == w->team.split && w->team.threads > 1;
    flat = sq_arena_fmt(k->a, "(%s * %s + %s)", flat, sq_cu_dim(k, g->axis[a].extent), t->index[a]);
  }
  uint32_t tests = sq_cu_nest_domain(t);
  sq_cu_line(k, "%s.step(%s, %s);", acc, sq_cu_nest_value(t, g->body), flat);
  while (tests--) sq_cu_close(k);
  sq_cu_nest_leave(t, mark);
  while (opened--) sq_cu_close(k);
  if (team) {
    sq_cu_line(k, "#pragma unroll");
    sq_cu_line(k, "for (int m = 1; m < %u; m *= 2) %s.merge(sq_shuffle_xor(SQ_ME %s, m));",
               w->team.threads, acc, acc);
  }
  return sq_arena_fmt(k->a, "%s.result()", acc);
}
static const char *element(sweep *w, sq_cu_nest *t, const sq_sweep_nest *x) {
  const sq_generic *g = t->g;
  if (!g->n_red) return sq_cu_nest_value(t, g->post != SQ_NO_SCALAR ? g->post : g->body);
  const char *sum = reduced(w, t, x), *v = sq_cu_temp(w->k, "v");
  sq_dtype d = sq_monoid_result(g->monoid, g->s.v[g->body].dtype);
  sq_cu_line(w->k, "const %s %s = %s;", sq_cu_type(d), v, sum);
  t->acc = v;
  return g->post != SQ_NO_SCALAR ? sq_cu_nest_value(t, g->post) : v;
}
// Where this thread has the element, in the array of a value.
static const char *own_place(sweep *w, sq_cu_nest *t, const sq_sweep_nest *x,
                             const sq_cu_place *to) {
  const char *pos[SQ_CU_AXES];
  uint32_t n = 0;
  for (uint32_t a = 0; a < t->g->n_par; a++)
    if (is_inner(w, x, a)) pos[n++] = t->local[a];
  return sq_cu_flat(w->k, to, pos, n);
}
// The nest at all its elements into the array `to`.
void sq_cu_sweep_emit(sweep *w, const sq_sweep_nest *x, const sq_cu_place *to) {
  sq_cu_nest t;
  sq_cu_sweep_begin(w, &t, x);
  sq_cu_open(w->k, "{");
  uint32_t opened = open_axes(w, &t, x, 0, t.g->n_par);
  const char *v = element(w, &t, x);
  sq_cu_line(w->k, "%s[%s] = %s;", to->base, own_place(w, &t, x, to), v);
  while (opened--) sq_cu_close(w->k);
  sq_cu_close(w->k);
}
// Which threads write what lacks lanes, or what is not shared out: the first of them.
const char *sq_cu_sweep_writers(sweep *w, const sq_sweep_nest *x) {
  sq_text t = {.arena = w->k->a};
  bool split = w->team.threads == 1;
  sq_text_add(&t, "live");
  for (uint32_t c = 0; c < w->s->n_class; c++) {
    bool has = false;
    for (uint32_t a = 0; a < x->n->g->n_par; a++) has |= x->cls[a] == c;
    if (w->s->lane[c] && !has) sq_text_add(&t, " && l%u == 0", c);
    split |= has && c == w->team.split;
  }
  if (!split) sq_text_add(&t, " && mate == 0");
  return t.v;
}
void sq_cu_sweep_write(sweep *w, const sq_sweep_nest *x) {
  sq_cu_nest t;
  sq_cu_place to = sq_cu_place_of(w->k, NULL, x->n->out[0]);
  sq_cu_sweep_begin(w, &t, x);
  sq_cu_open(w->k, "if (%s) {", sq_cu_sweep_writers(w, x));
  uint32_t opened = open_axes(w, &t, x, 0, t.g->n_par);
  sq_cu_nest_store(&t, &to, element(w, &t, x));
  while (opened--) sq_cu_close(w->k);
  sq_cu_close(w->k);
}

// ---- turns -------------------------------------------------------------------------------------
static void each(sweep *w, uint32_t state, const char *to, const char *from) {
  sq_cu_line(w->k, w->rolled ? "#pragma unroll 1" : "#pragma unroll");
  sq_cu_line(w->k, "for (int j = 0; j < %u; j++) %s[j] = %s[j];",
             sq_sweep_team_share(w->s, &w->team, state), to, from);
}
void sq_cu_sweep_turn(sweep *w) {
  sq_cu *k = w->k;
  const sq_sweep *s = w->s;
  for (uint32_t i = 0; i < s->n_member; i++) {
    sq_cu_sweep_declare(w, s->member[i].value, w->value[s->member[i].value].base);
    sq_cu_sweep_emit(w, &s->member[i], &w->value[s->member[i].value]);
  }
  for (uint32_t i = 0; i < s->n_store; i++) sq_cu_sweep_write(w, &s->store[i]);
  for (uint32_t c = 0; c < s->scan->n_carried; c++) { // all at once: one may become another
    const char *next = sq_arena_fmt(k->a, "next%u", c);
    sq_cu_sweep_declare(w, c, next);
    each(w, c, next, w->value[s->next[c]].base);
  }
  for (uint32_t c = 0; c < s->scan->n_carried; c++)
    each(w, c, w->value[c].base, sq_arena_fmt(k->a, "next%u", c));
}
const char *sq_cu_sweep_turn_of(sweep *w, const char *i) {
  if (!w->s->reversed) return i;
  return sq_arena_fmt(w->k->a, "%s - 1 - (%s)", sq_cu_dim(w->k, w->s->extent), i);
}
static void turns(sweep *w) {
  sq_cu *k = w->k;
  bool small = w->team.threads == 1 && w->team.elements <= SMALL;
  sq_cu_line(k, "#pragma unroll %d", small ? TURNS : 1);
  sq_cu_open(k, "for (sq_i64 i = 0; i < %s; i++) {", sq_cu_dim(k, w->s->extent));
  sq_cu_line(k, "const sq_i64 turn = %s;", sq_cu_sweep_turn_of(w, "i"));
  sq_cu_sweep_turn(w);
  sq_cu_close(k);
}
static LLVMValueRef lanes(sweep *w) {
  sq_axis axis[SQ_MAX_RANK + 1];
  sq_generic all = {.axis = axis};
  uint32_t n = 0;
  for (uint32_t c = 0; c < w->s->n_class; c++)
    if (w->s->lane[c]) axis[n++].extent = w->s->size[c];
  return sq_cu_units(w->k, &all, n);
}
// The lanes' indices, from the number of the team. Threads of a warp stay together: those beyond the
// end do as the last one does, and write nothing.
static void open_team(sweep *w, const char *units) {
  sq_cu *k = w->k;
  uint32_t t = w->team.threads;
  sq_cu_open(k, "for (sq_i64 u0 = SQ_BLOCK * %u; u0 < %s; u0 += SQ_GRID * %u) {", THREADS / t,
             units, THREADS / t);
  sq_cu_line(k, "const int mate = (int)SQ_TID %% %u;", t);
  sq_cu_line(k, "sq_i64 u = u0 + SQ_TID / %u;", t);
  sq_cu_line(k, "const bool live = u < %s;", units);
  if (t == 1)
    sq_cu_line(k, "if (!live) break;");
  else
    sq_cu_line(k, "if (!live) u = %s - 1;", units);
  for (uint32_t c = w->s->n_class; c-- > 0;) {
    if (!w->s->lane[c]) continue;
    const char *n = sq_cu_dim(k, w->s->size[c]);
    sq_cu_line(k, "const sq_i64 l%u = u %% %s;", c, n);
    sq_cu_line(k, "u /= %s;", n);
  }
}
static void by_turns(sq_cg *cg, sq_node *n) {
  sq_cu kern, *k = &kern;
  const sq_sweep *s = sq_sweep_make(cg->graph, n);
  sweep w = {.k = k, .s = s, .team = sq_sweep_team_make(s)};
  SQ_ASSERT(!w.team.why, "sweep %u does not fit a team: %s", n->id, w.team.why);
  sq_cu_begin(k, cg, "sweep", n->n_out ? n->out[0] : NULL, THREADS);
  k->blocks = TOGETHER;
  k->syncs = w.team.threads > 1;
  w.value = SQ_ARRAY(k->a, sq_cu_place, s->n_value + 1);
  for (uint32_t i = 0; i < s->n_value; i++) w.value[i] = sq_cu_sweep_array(&w, i, "w");
  LLVMValueRef units = lanes(&w);
  open_team(&w, sq_cu_number(k, units));
  for (uint32_t c = 0; c < s->scan->n_carried; c++) {
    sq_cu_sweep_declare(&w, c, w.value[c].base);
    sq_cu_sweep_emit(&w, &s->load[c], &w.value[c]);
  }
  if (k->syncs) sq_cu_line(k, "SQ_SYNC();"); // where it ends may be where mates have begun
  turns(&w);
  for (uint32_t i = 0; i < s->n_final; i++) sq_cu_sweep_write(&w, &s->final[i]);
  sq_cu_close(k);
  sq_cu_launch(k, units, THREADS / w.team.threads, 0);
}
void sq_cuda_sweep(sq_cg *cg, sq_node *n) {
  if (sq_cuda_sweep_blocks(cg, n) || sq_cuda_sweep_prefix(cg, n) || sq_cuda_sweep_dense(cg, n))
    return;
  if (!sq_cuda_sweep_newton(cg, n)) by_turns(cg, n);
}
