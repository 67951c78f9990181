// Translation validation: do two forms of a graph mean the same? The interpreter runs both on small
// random inputs of awkward sizes (every symbol 0, 1, a prime of its own), several calls of every
// entry in turn, so that states are compared too.
//
// A call that fails before fails, or is no longer made, after; nothing is said of what follows it.
// Results may differ by rounding, and where there was a NaN there may be a number.
#include "ir/cost.h"
#include "ir/eval.h"
#include "passes/pipeline.h"
#include <math.h>

enum { CALLS = 3, MAX_ELEMENTS = 1 << 22 };
static const double TOLERANCE = 1e-6;

typedef struct validator {
  sq_graph *old, *new_;
  sq_eval *e_old, *e_new;
  uint64_t seed;
  int64_t *sym; // of the old graph
  uint32_t trial;
  const char *difference; // what was found
  // while states are compared: the values of the old graph
  SQ_VEC(const char *) state_name;
  SQ_VEC(sq_tensor64) state_value;
  uint32_t state_at;
} validator;

// ---- random numbers: splitmix64 of a key and a counter -----------------------------------------
static uint64_t mix(uint64_t x) {
  x += 0x9e3779b97f4a7c15ull;
  x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9ull;
  x = (x ^ x >> 27) * 0x94d049bb133111ebull;
  return x ^ x >> 31;
}
static double uniform(uint64_t key, uint64_t at) {
  return ((double)(mix(key ^ mix(at)) >> 11) + 0.5) / 9007199254740992.0;
}
static double normal(uint64_t key, uint64_t at) {
  double u = uniform(key, 2 * at), v = uniform(key, 2 * at + 1);
  return sqrt(-2 * log(u)) * cos(6.283185307179586 * v);
}
static uint64_t key_of(uint64_t seed, const char *name, uint64_t k) {
  uint64_t h = mix(seed + 77 * k);
  for (; *name; name++) h = mix(h ^ (unsigned char)*name);
  return h;
}

static void fill(sq_tensor64 *t, uint64_t key, double scale, int64_t bound) {
  int64_t n = sq_tensor64_count(t);
  for (int64_t k = 0; k < n; k++) {
    if (t->f)
      t->f[k] = uniform(key + 1, (uint64_t)k) < 0.02 ? 0 : scale * normal(key, (uint64_t)k);
    else
      t->i[k] = (int64_t)(mix(key ^ mix((uint64_t)k)) % (uint64_t)bound);
  }
}

static sq_status load(void *user, uint32_t param, uint32_t instance, sq_tensor64 *out) {
  const validator *v = user;
  const sq_param *p = &v->old->param.v[param];
  fill(out, key_of(v->seed, p->name, instance), 0.3, p->type.dtype == SQ_BOOL ? 2 : 3);
  return SQ_OK;
}

// ---- inputs ------------------------------------------------------------------------------------
static void choose_sizes(validator *v) {
  static const int64_t primes[] = {2, 3, 5, 7, 4, 11, 6, 13};
  sq_dims *ds = v->old->dims;
  uint32_t n = sq_sym_count(ds), at = 0;
  v->sym = SQ_ARRAY(v->new_->arena, int64_t, n + 1);
  for (uint32_t k = 1; k <= n; k++) {
    const sq_sym_info *s = sq_sym_at(ds, (sq_sym){k});
    v->sym[k] = INT64_MIN;
    if (s->kind != SQ_SYM_SIZE) continue;
    int64_t x = v->trial == 0   ? 1
                : v->trial == 1 ? primes[at % 8]
                : v->trial == 2 ? 0
                                : primes[(at + 3) % 8];
    v->sym[k] = x < s->low ? s->low : x;
    at++;
  }
}

static bool make_input(validator *v, sq_func *f, uint32_t k, uint64_t key, sq_tensor64 *t) {
  const sq_type *type = &f->body->args.v[k]->type;
  *t = (sq_tensor64){.dtype = type->dtype, .rank = type->rank};
  int64_t count = 1;
  for (uint32_t a = 0; a < type->rank; a++) {
    if (!sq_dim_eval(v->old->dims, type->dim[a], v->sym, &t->dim[a]) || t->dim[a] < 0) return false;
    if (__builtin_mul_overflow(count, t->dim[a], &count) || count > MAX_ELEMENTS) return false;
  }
  sq_arena *a = v->new_->arena;
  if (sq_is_float(type->dtype))
    t->f = SQ_ARRAY(a, double, count + 1);
  else
    t->i = SQ_ARRAY(a, int64_t, count + 1);
  int64_t bound = sq_is_float(type->dtype) ? 0 : sq_input_bound(f, k, v->sym);
  fill(t, key, 1, type->dtype == SQ_BOOL ? 2 : bound > 0 ? bound : 3);
  if (k < f->in_sym.n && f->in_sym.v[k].i && t->i) t->i[0] = v->sym[f->in_sym.v[k].i];
  return true;
}

// ---- comparing ---------------------------------------------------------------------------------
static void describe(validator *v, const char *what, const char *name, const sq_tensor64 *t,
                     int64_t at, const char *was, const char *is) {
  sq_text s = {.arena = v->new_->arena};
  int64_t index[SQ_MAX_RANK];
  for (uint32_t a = t->rank; a-- > 0; at /= t->dim[a]) index[a] = at % t->dim[a];
  sq_text_add(&s, "%s `%s`", what, name);
  for (uint32_t a = 0; a < t->rank; a++)
    sq_text_add(&s, "%s%lld%s", a ? ", " : "[", (long long)index[a], a + 1 == t->rank ? "]" : "");
  sq_text_add(&s, " was %s, is %s (sizes:", was, is);
  for (uint32_t k = 1; k <= sq_sym_count(v->old->dims); k++)
    if (v->sym[k] != INT64_MIN)
      sq_text_add(&s, " %s=%lld", sq_sym_at(v->old->dims, (sq_sym){k})->name, (long long)v->sym[k]);
  sq_text_add(&s, ")");
  v->difference = s.v;
}

static bool same_number(double a, double b, double scale) {
  if (isnan(a)) return true;
  if (isinf(a) || isinf(b) || isnan(b)) return a == b;
  return fabs(a - b) <= TOLERANCE * (1 + scale);
}

static bool compare(validator *v, const char *what, const char *name, const sq_tensor64 *a,
                    const sq_tensor64 *b) {
  bool shape = a->rank == b->rank && a->dtype == b->dtype;
  for (uint32_t k = 0; shape && k < a->rank; k++) shape = a->dim[k] == b->dim[k];
  sq_arena *mem = v->new_->arena;
  if (!shape) {
    v->difference = sq_arena_fmt(mem, "%s `%s` has another shape or type", what, name);
    return false;
  }
  int64_t n = sq_tensor64_count(a);
  double scale = 0;
  for (int64_t k = 0; a->f && k < n; k++)
    if (isfinite(a->f[k]) && fabs(a->f[k]) > scale) scale = fabs(a->f[k]);
  for (int64_t k = 0; k < n; k++) {
    if (a->f ? same_number(a->f[k], b->f[k], scale) : a->i[k] == b->i[k]) continue;
    if (a->f)
      describe(v, what, name, a, k, sq_arena_fmt(mem, "%.9g", a->f[k]),
               sq_arena_fmt(mem, "%.9g", b->f[k]));
    else
      describe(v, what, name, a, k, sq_arena_fmt(mem, "%lld", (long long)a->i[k]),
               sq_arena_fmt(mem, "%lld", (long long)b->i[k]));
    return false;
  }
  return true;
}

static sq_status keep_state(void *user, const char *name, sq_tensor64 *t) {
  validator *v = user;
  sq_tensor64 copy = *t;
  size_t n = (size_t)sq_tensor64_count(t);
  sq_arena *a = v->new_->arena;
  if (t->f) memcpy(copy.f = SQ_ARRAY(a, double, n + 1), t->f, n * sizeof *t->f);
  if (t->i) memcpy(copy.i = SQ_ARRAY(a, int64_t, n + 1), t->i, n * sizeof *t->i);
  sq_push(a, &v->state_name, name);
  sq_push(a, &v->state_value, copy);
  return SQ_OK;
}

static sq_status check_state(void *user, const char *name, sq_tensor64 *t) {
  validator *v = user;
  uint32_t k = v->state_at++; // both are visited in one order
  if (k >= v->state_name.n || strcmp(v->state_name.v[k], name) != 0)
    v->difference = sq_arena_fmt(v->new_->arena, "state `%s` is new", name);
  else if (!v->difference)
    compare(v, "state", name, &v->state_value.v[k], t);
  return SQ_OK;
}

// ---- running -----------------------------------------------------------------------------------
// Calls one entry in both; false when the rest of this trial says nothing.
static bool call(validator *v, sq_func *f, uint32_t turn) {
  sq_arena *a = v->new_->arena;
  sq_func *g = sq_func_find(v->new_, f->name);
  if (!g) {
    v->difference = sq_arena_fmt(a, "entry `%s` is gone", f->name);
    return false;
  }
  uint32_t n = f->body->args.n, n_old, n_new;
  sq_tensor64 *in = SQ_ARRAY(a, sq_tensor64, n + 1), *old, *new_;
  for (uint32_t k = 0; k < n; k++)
    if (!make_input(v, f, k, key_of(v->seed + v->trial, f->name, 100 * k + turn), &in[k]))
      return true;
  if (sq_eval_call(v->e_old, f, in, n, &old, &n_old) != SQ_OK) return false;
  sq_status status = sq_eval_call(v->e_new, g, in, n, &new_, &n_new);
  if (status == SQ_EWORLD) return false; // no memory says nothing of the graph
  if (status != SQ_OK) {
    v->difference = sq_arena_fmt(a, "entry `%s` fails now: %s", f->name, sq_eval_message(v->e_new));
    return false;
  }
  if (n_old != n_new) {
    v->difference = sq_arena_fmt(a, "entry `%s` has %u results, had %u", f->name, n_new, n_old);
    return false;
  }
  for (uint32_t k = 0; k < n_old; k++) {
    const char *out = k < f->out_names.n && f->out_names.v[k] ? f->out_names.v[k] : "?";
    if (!compare(v, sq_arena_fmt(a, "entry `%s`: output", f->name), out, &old[k], &new_[k]))
      return false;
  }
  return true;
}

static void one_trial(validator *v) {
  choose_sizes(v);
  v->e_old = sq_eval_new(v->old, load, v);
  v->e_new = sq_eval_new(v->new_, load, v);
  if (!v->e_old || !v->e_new) return;
  bool go = true;
  for (uint32_t turn = 0; turn < CALLS; turn++)
    for (uint32_t k = 0; k < v->old->func.n && go; k++)
      if (v->old->func.v[k]->kind == SQ_FUNC_ENTRY) go = call(v, v->old->func.v[k], turn);
  if (!go || v->difference) return;
  v->state_name.n = v->state_value.n = v->state_at = 0;
  if (sq_eval_states(v->e_old, keep_state, v) != SQ_OK) return;
  if (sq_eval_states(v->e_new, check_state, v) != SQ_OK && !v->difference)
    v->difference =
        sq_arena_fmt(v->new_->arena, "the states fail now: %s", sq_eval_message(v->e_new));
}

const char *sq_validate(sq_graph *before, sq_graph *after, uint64_t seed) {
  validator v = {.old = before, .new_ = after, .seed = seed};
  // An allocation that fails leaves by the guard; the interpreters go first.
  sq_ctx *ctx = after->ctx;
  sq_guard outer = ctx->guard;
  validator *volatile held = &v;
  if (setjmp(ctx->guard.jmp)) {
    sq_eval_free(held->e_old);
    sq_eval_free(held->e_new);
    ctx->guard = outer;
    longjmp(ctx->guard.jmp, 1);
  }
  for (v.trial = 0; v.trial < 4 && !v.difference; v.trial++) {
    one_trial(&v);
    sq_eval_free(v.e_old);
    sq_eval_free(v.e_new);
    v.e_old = v.e_new = NULL;
  }
  ctx->guard = outer;
  return v.difference;
}
