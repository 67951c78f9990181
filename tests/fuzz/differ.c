// One graph run in every way: see differ.h.
#include "tests/fuzz/differ.h"
#include "ir/cost.h"
#include "ir/eval.h"
#include "passes/plan.h"
#include "tools/jit_model.h"
#include "tools/values.h"
#include <math.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { MAX_TRIALS = 8, MAX_CALLS = 24, CALLS = 3, SYMS = 64 };

// What one call gave.
typedef struct outcome {
  bool failed;
  const char *message;
  uint32_t n;
  sq_tensor64 *out;
  seqm_tensor *raw; // of compiled code
} outcome;
typedef struct trial {
  int64_t sym[SYMS];
  uint32_t n_calls;
  outcome call[MAX_CALLS];
  outcome rounded[MAX_CALLS]; // each float operation rounded to its type
} trial;

typedef struct differ {
  const fz_how *how;
  fz_report *report;
  sq_ctx *ctx;
  sq_arena *a;
  const char *text;
  sq_graph *g; // as read
  trial trial[MAX_TRIALS];
  unsigned n_trials;
  jmp_buf *leave;
  const sq_func *entry[MAX_CALLS];
  uint32_t n_entries;
} differ;

static void stage(differ *d, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void stage(differ *d, const char *fmt, ...) {
  va_list ap;
  va_start(ap, fmt);
  vsnprintf(d->report->stage, sizeof d->report->stage, fmt, ap);
  va_end(ap);
}
static _Noreturn void fail(differ *d, fz_result r, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
static _Noreturn void fail(differ *d, fz_result r, const char *fmt, ...) {
  va_list ap;
  va_start(ap, fmt);
  vsnprintf(d->report->message, sizeof d->report->message, fmt, ap);
  va_end(ap);
  longjmp(*d->leave, (int)r + 1);
}

static const char *print(differ *d, const sq_graph *g) {
  sq_text t = {.arena = d->a};
  sq_text_put(&t, "", 0);
  sq_graph_print(g, &t);
  return t.v;
}
static sq_graph *read_text(differ *d, const char *name, const char *text) {
  sq_graph *g = sq_graph_read(d->ctx, d->a, name, text, strlen(text));
  if (!g) fail(d, FZ_INVALID, "%s", sq_diags_render(&d->ctx->diags));
  return g;
}

// ---- sizes and data ----------------------------------------------------------------------------
static uint64_t key_of(uint64_t seed, const char *name, uint64_t k) {
  uint64_t h = fz_mix(seed + 77 * k);
  for (; *name; name++) h = fz_mix(h ^ (unsigned char)*name);
  return h;
}

static void choose_sizes(differ *d, unsigned number) {
  static const int64_t set[][6] = {{1, 1, 1, 1, 1, 1},    {5, 3, 7, 2, 4, 6},
                                   {67, 13, 31, 5, 2, 3}, {13, 64, 8, 3, 1, 2},
                                   {31, 7, 67, 11, 3, 1}, {2, 37, 19, 16, 1, 5}};
  static const int64_t odd[] = {0, 0, 1, 2, 3, 17, 70};
  sq_dims *ds = d->g->dims;
  int64_t *sym = d->trial[number].sym;
  for (int k = 0; k < SYMS; k++) sym[k] = INT64_MIN;
  for (uint32_t k = 1, at = 0; k <= sq_sym_count(ds) && k < SYMS; k++) {
    const sq_sym_info *s = sq_sym_at(ds, (sq_sym){k});
    if (s->kind != SQ_SYM_SIZE) continue;
    uint64_t h = fz_mix(d->how->seed * 31 + number * 7 + at);
    int64_t x = number == 0                            ? 1
                : number == 1                          ? set[1][at % 6]
                : number == 2 || number % 3 == 0       ? odd[h % 7]
                : number == 4 && d->how->seed % 3 == 0 ? (at ? 3 : 517)
                                                       : set[(d->how->seed + number) % 6][at % 6];
    sym[k] = x < s->low ? s->low : x;
    at++;
  }
}

static void fill(const differ *d, sq_tensor64 *t, uint64_t key, int64_t bound) {
  int64_t n = sq_tensor64_count(t);
  for (int64_t k = 0; k < n; k++) {
    uint64_t h = fz_mix(key ^ fz_mix((uint64_t)k));
    if (t->f)
      t->f[k] = d->how->exact ? (double)(int64_t)(h % 9) - 4 : ((double)(h % 513) - 256) / 128;
    else if (t->dtype == SQ_BOOL)
      t->i[k] = (int64_t)(h % 2);
    else
      t->i[k] =
          (int64_t)(h % (uint64_t)(bound ? bound : 11)) - (bound || t->dtype == SQ_U8 ? 0 : 3);
  }
}

static sq_status load(void *user, uint32_t param, uint32_t instance, sq_tensor64 *out) {
  const differ *d = user;
  const sq_param *p = &d->g->param.v[param];
  fill(d, out, key_of(d->how->seed, p->name, instance), 3);
  if (!d->how->exact && out->f)
    for (int64_t k = sq_tensor64_count(out); k-- > 0;) out->f[k] *= 0.25;
  return SQ_OK;
}

// False: a size without a value, or too large.
static bool make_input(differ *d, const sq_func *f, uint32_t k, const trial *t, uint64_t turn,
                       sq_tensor64 *x) {
  const sq_type *type = &f->body->args.v[k]->type;
  *x = (sq_tensor64){.dtype = type->dtype, .rank = type->rank};
  int64_t n = 1;
  for (uint32_t a = 0; a < type->rank; a++) {
    if (!sq_dim_eval(d->g->dims, type->dim[a], t->sym, &x->dim[a]) || x->dim[a] < 0) return false;
    if (__builtin_mul_overflow(n, x->dim[a], &n) || n > 1 << 24) return false;
  }
  if (sq_is_float(type->dtype))
    x->f = SQ_ARRAY(d->a, double, n + 1);
  else
    x->i = SQ_ARRAY(d->a, int64_t, n + 1);
  fill(d, x, key_of(d->how->seed + (uint64_t)(t - d->trial), f->name, 100 * k + turn),
       x->i && !d->how->exact ? sq_input_bound(f, k, t->sym) : 0);
  if (k < f->in_sym.n && f->in_sym.v[k].i) x->i[0] = t->sym[f->in_sym.v[k].i];
  return true;
}

static bool make_inputs(differ *d, const sq_func *f, const trial *t, uint64_t turn,
                        sq_tensor64 **in) {
  uint32_t n = f->body->args.n;
  *in = SQ_ARRAY(d->a, sq_tensor64, n + 1);
  for (uint32_t k = 0; k < n; k++)
    if (!make_input(d, f, k, t, turn, &(*in)[k])) return false;
  return true;
}

// ---- the interpreter ---------------------------------------------------------------------------
// Compiled code gives a result of a live extent in its storage's shape, with zeros behind.
static sq_tensor64 padded(differ *d, const sq_func *f, uint32_t k, const trial *t,
                          const sq_tensor64 *x) {
  const sq_type *type = &sq_block_end(f->body)->in[k]->type;
  sq_tensor64 to = *x;
  for (uint32_t a = 0; a < x->rank; a++) {
    int64_t n;
    if (sq_dim_eval(d->g->dims, sq_dim_storage(d->g->dims, type->dim[a]), t->sym, &n) &&
        n > x->dim[a])
      to.dim[a] = n;
  }
  size_t n_to = (size_t)sq_tensor64_count(&to);
  int64_t n = sq_tensor64_count(x);
  if (x->f) to.f = SQ_ARRAY(d->a, double, n_to + 1);
  if (x->i) to.i = SQ_ARRAY(d->a, int64_t, n_to + 1);
  for (int64_t i = 0; i < n; i++) {
    int64_t rest = i, at = 0, step = 1;
    for (uint32_t a = x->rank; a-- > 0; rest /= x->dim[a], step *= to.dim[a])
      at += rest % x->dim[a] * step;
    if (x->f) to.f[at] = x->f[i];
    if (x->i) to.i[at] = x->i[i];
  }
  return to;
}

// Calls every entry of g in turn; stops at the first failure. Returns the calls made.
static uint32_t interpret(differ *d, sq_graph *g, const trial *t, outcome *out) {
  sq_eval *volatile e = sq_eval_new(g, load, d);
  if (!e) fail(d, FZ_LARGE, "no memory");
  jmp_buf here, *outer = d->leave;
  int code = setjmp(here);
  if (code) {
    sq_eval_free(e);
    d->leave = outer;
    longjmp(*outer, code);
  }
  d->leave = &here;
  uint32_t done = 0;
  bool failed = false;
  for (uint32_t turn = 0; turn < CALLS && !failed; turn++)
    for (uint32_t k = 0; k < d->n_entries && !failed && done < MAX_CALLS; k++) {
      sq_func *f = sq_func_find(g, d->entry[k]->name);
      if (!f) fail(d, FZ_DIFFERS, "entry `%s` is gone", d->entry[k]->name);
      sq_tensor64 *in, *res;
      outcome *o = &out[done++];
      *o = (outcome){0};
      if (!make_inputs(d, d->entry[k], t, turn, &in)) fail(d, FZ_INVALID, "no inputs");
      failed = sq_eval_call(e, f, in, f->body->args.n, &res, &o->n) != SQ_OK;
      o->failed = failed;
      if (failed) {
        o->n = 0;
        o->message = sq_arena_fmt(d->a, "%s", sq_eval_message(e));
        continue;
      }
      o->out = SQ_ARRAY(d->a, sq_tensor64, o->n + 1);
      for (uint32_t j = 0; j < o->n; j++) o->out[j] = padded(d, d->entry[k], j, t, &res[j]);
    }
  sq_eval_free(e);
  d->leave = outer;
  return done;
}

// ---- rounding: a copy of the graph in which every float operation rounds to its type -----------
static void round_node(sq_node *n, void *user) {
  sq_graph *g = user;
  if (!n->g || !n->g->s.n) return;
  sq_generic *k = n->g;
  uint32_t n_old = k->s.n, *to = SQ_ARRAY(g->arena, uint32_t, n_old + 1);
  sq_scalar *old = SQ_ARRAY(g->arena, sq_scalar, n_old + 1);
  memcpy(old, k->s.v, n_old * sizeof *old);
  k->s.n = 0;
#define TO(x) ((x) == SQ_NO_SCALAR ? SQ_NO_SCALAR : to[x])
  for (uint32_t i = 0; i < n_old; i++) {
    sq_scalar s = old[i];
    int arity = s.kind == SQ_SC_EWISE    ? sq_ewise_table[s.ew].arity
                : s.kind == SQ_SC_SELECT ? 3
                                         : s.kind == SQ_SC_CAST;
    for (int j = 0; j < arity; j++) s.a[j] = to[s.a[j]];
    if (s.kind == SQ_SC_READ) {
      uint32_t *pos = SQ_ARRAY(g->arena, uint32_t, s.n_pos + 1);
      for (uint32_t j = 0; j < s.n_pos; j++) pos[j] = to[s.pos[j]];
      s.pos = pos;
      s.guard = TO(s.guard);
      s.other = TO(s.other);
    }
    to[i] = sq_scalar_add(g, k, s);
    if (!sq_is_float(s.dtype) ||
        (s.kind != SQ_SC_EWISE && s.kind != SQ_SC_ACC && s.kind != SQ_SC_READ))
      continue;
    s.kind = SQ_SC_CAST; // to its own type: sq_sc_cast would leave it out
    s.a[0] = to[i];
    s.a[1] = s.a[2] = SQ_NO_SCALAR;
    to[i] = sq_scalar_add(g, k, s);
  }
  k->body = to[k->body];
  k->post = TO(k->post);
  k->write_guard = TO(k->write_guard);
  for (uint32_t i = 0; i < k->domain.n; i++) k->domain.v[i] = to[k->domain.v[i]];
  for (uint32_t i = 0; i < k->n_pos; i++) k->pos[i] = to[k->pos[i]];
#undef TO
}
static sq_graph *rounding(differ *d) {
  sq_graph *g = read_text(d, "rounded", d->text);
  for (uint32_t k = 0; k < g->func.n; k++) sq_walk(g->func.v[k]->body, round_node, g);
  return g;
}

// ---- comparing ---------------------------------------------------------------------------------
static double eps_of(sq_dtype t) {
  return t == SQ_F64 ? 0x1p-52 : t == SQ_F32 ? 0x1p-23 : t == SQ_F16 ? 0x1p-10 : 0x1p-7;
}
static double largest(const sq_tensor64 *t) {
  double m = 0;
  for (int64_t k = sq_tensor64_count(t); k-- > 0;)
    if (isfinite(t->f[k]) && fabs(t->f[k]) > m) m = fabs(t->f[k]);
  return m;
}

// What rounding may change in a result: many times what it changed when every operation rounded
// once, and not less than some units in the last place of its largest element.
static double allowed(const differ *d, const sq_tensor64 *x, const sq_tensor64 *rounded) {
  if (d->how->exact) return 0;
  double most = 0, lowest = x->dtype == SQ_F64 ? 0x1p-52 : 0x1p-23;
  for (int64_t k = sq_tensor64_count(x); k-- > 0;) {
    double e = fabs(x->f[k] - rounded->f[k]);
    if (isfinite(e) && e > most) most = e;
  }
  double eps = eps_of(x->dtype) > lowest ? 2 * eps_of(x->dtype) : 256 * lowest;
  return 64 * most + eps * (0.01 + largest(x));
}

static bool same(double a, double b, double tol) {
  if (isnan(a) || isnan(b)) return isnan(a) && isnan(b);
  if (isinf(a) || isinf(b)) return a == b;
  return fabs(a - b) <= tol;
}

static const char *sizes_text(differ *d, const trial *t) {
  sq_text s = {.arena = d->a};
  sq_text_put(&s, "", 0);
  for (uint32_t k = 1; k <= sq_sym_count(d->g->dims) && k < SYMS; k++)
    if (t->sym[k] != INT64_MIN)
      sq_text_add(&s, " %s=%lld", sq_sym_at(d->g->dims, (sq_sym){k})->name, (long long)t->sym[k]);
  return s.v;
}

static void compare_tensor(differ *d, const trial *t, uint32_t call, uint32_t k,
                           const sq_tensor64 *want, const sq_tensor64 *have, double tol) {
  const sq_func *f = d->entry[call % d->n_entries];
  const char *name = k < f->out_names.n && f->out_names.v[k] ? f->out_names.v[k] : "?";
  bool shape = want->rank == have->rank && want->dtype == have->dtype;
  for (uint32_t a = 0; shape && a < want->rank; a++) shape = want->dim[a] == have->dim[a];
  if (!shape)
    fail(d, FZ_DIFFERS, "call %u of `%s`: `%s` has another shape or type; sizes%s", call, f->name,
         name, sizes_text(d, t));
  int64_t n = sq_tensor64_count(want), wrong = 0, first = -1;
  for (int64_t i = 0; i < n; i++) {
    bool ok = want->f ? same(want->f[i], have->f[i], tol) : want->i[i] == have->i[i];
    if (!ok && wrong++ == 0) first = i;
  }
  if (!wrong) return;
  sq_text at = {.arena = d->a};
  sq_text_put(&at, "", 0);
  int64_t index[SQ_MAX_RANK], rest = first;
  for (uint32_t a = want->rank; a-- > 0; rest /= want->dim[a]) index[a] = rest % want->dim[a];
  for (uint32_t a = 0; a < want->rank; a++)
    sq_text_add(&at, "%s%lld of %lld", a ? ", " : "", (long long)index[a], (long long)want->dim[a]);
  double x = want->f ? want->f[first] : (double)want->i[first];
  double y = have->f ? have->f[first] : (double)have->i[first];
  fail(d, FZ_DIFFERS,
       "call %u of `%s`: `%s`[%s] is %.9g instead of %.9g (allowed %.3g); %lld of "
       "%lld differ; sizes%s",
       call, f->name, name, at.v, y, x, tol, (long long)wrong, (long long)n, sizes_text(d, t));
}

// A call that failed before may succeed now: what nobody needs may go. Never the other way.
static void compare_run(differ *d, const trial *t, uint32_t n, const outcome *have, bool cpu) {
  // A pass may leave out the rounding of what has a narrow type already.
  bool narrow = !d->how->exact && strstr(d->text, "f16");
  for (uint32_t c = 0; c < t->n_calls; c++) {
    const outcome *want = &t->call[c];
    if (want->failed) return;
    if (c >= n) fail(d, FZ_DIFFERS, "call %u was not made", c);
    if (have[c].failed)
      fail(d, FZ_DIFFERS, "call %u of `%s` fails now: %s; sizes%s", c,
           d->entry[c % d->n_entries]->name, have[c].message, sizes_text(d, t));
    if (have[c].n != want->n) fail(d, FZ_DIFFERS, "call %u has %u results", c, have[c].n);
    for (uint32_t k = 0; k < want->n; k++) {
      double tol = 0;
      if (want->out[k].f && (cpu || narrow))
        tol = c < t->n_calls && !t->rounded[c].failed && t->rounded[c].n == want->n
                  ? allowed(d, &want->out[k], &t->rounded[c].out[k])
                  : 1e-3 * (1 + largest(&want->out[k]));
      else if (want->out[k].f && !d->how->exact)
        tol = 1e-7 * (1 + largest(&want->out[k]));
      compare_tensor(d, t, c, k, &want->out[k], &have[c].out[k], tol);
    }
  }
}

static void check_meaning(differ *d, sq_graph *g, unsigned trials) {
  outcome *out = SQ_ARRAY(d->a, outcome, MAX_CALLS);
  for (unsigned k = 0; k < d->n_trials && k < trials; k++)
    compare_run(d, &d->trial[k], interpret(d, g, &d->trial[k], out), out, false);
}

// ---- passes ------------------------------------------------------------------------------------
static void run_passes(differ *d, sq_graph *g, const char *list) {
  const char *message = "";
  sq_pass_options o = {
      .bisect_limit = -1, .verify_each = true, .roundtrip_each = true, .machine.vector_bytes = 32};
  if (sq_passes_run(g, list, &o, &message) != SQ_OK) fail(d, FZ_DIFFERS, "%s", message);
}

static void check_pass(differ *d, const char *list) {
  stage(d, "passes %s", list);
  sq_graph *g = read_text(d, list, d->text);
  run_passes(d, g, list);
  check_meaning(d, g, 4);
}

static void check_orders(differ *d) {
  for (unsigned k = 0; k < 2; k++) {
    sq_text t = {.arena = d->a};
    sq_text_put(&t, "inline", 6);
    for (unsigned j = 0; j < 8; j++) {
      const char *name = sq_pass_table[fz_mix(d->how->seed * 64 + k * 8 + j) % sq_pass_count].name;
      if (strcmp(name, "group") && strcmp(name, "stream") && strcmp(name, "plan"))
        sq_text_add(&t, ",%s", name);
    }
    sq_text_add(&t, ",group,plan");
    check_pass(d, t.v);
  }
}

// The pipeline, interpreted after every pass that changed something.
static sq_graph *check_pipeline(differ *d) {
  sq_graph *g = read_text(d, "pipeline", d->text);
  const char *before = d->text;
  for (const char *s = d->how->cuda ? sq_pipeline_device : sq_pipeline_cpu; *s;) {
    size_t n = strcspn(s, ",");
    const char *name = sq_arena_str(d->a, s, n);
    s += n + (s[n] == ',');
    stage(d, "pipeline at %s", name);
    run_passes(d, g, name);
    const char *after = print(d, g);
    if (strcmp(before, after) != 0 && d->how->passes &&
        (!d->how->only || !strncmp(d->how->only, "pipeline", 8)))
      check_meaning(d, g, 4);
    before = after;
  }
  return g;
}

// ---- compiled code -----------------------------------------------------------------------------
static const char *weight_name(differ *d, const sq_param *p, uint32_t k) {
  if (p->n_alt) return p->names[(size_t)k * p->n_alt];
  return p->has_instances ? sq_arena_fmt(d->a, "%s.%u", p->name, k) : p->name;
}

// The parameters as a safetensors file; false: it cannot be written.
static bool write_weights(differ *d, sq_graph *g, const char *path) {
  static const char *const names[SQ_DTYPE_COUNT] = {"F64", "F32", "F16", "BF16", "I64",
                                                    "I32", "I8",  "U8",  "BOOL"};
  sq_text head = {.arena = d->a}, data = {.arena = d->a};
  sq_text_put(&head, "{", 1);
  sq_text_put(&data, "", 0);
  for (uint32_t p = 0; p < g->param.n; p++)
    for (uint32_t k = 0; k < g->param.v[p].count; k++) {
      const sq_param *q = &g->param.v[p];
      seqm_tensor t;
      int64_t dim[SQ_MAX_RANK];
      for (uint32_t j = 0; j < q->type.rank; j++) sq_dim_is_const(g->dims, q->type.dim[j], &dim[j]);
      if (!sq_value_new(d->ctx, q->type.dtype, q->type.rank, dim, &t)) return false;
      sq_tensor64 w;
      sq_value_to64(d->a, &t, &w);
      load(d, p, k, &w);
      int64_t n = sq_value_count(&t);
      for (int64_t j = 0; j < n; j++) sq_value_set(&t, j, w.f ? w.f[j] : 0, w.f ? 0 : w.i[j]);
      sq_text_add(&head, "%s\"%s\":{\"dtype\":\"%s\",\"shape\":[", head.n > 1 ? "," : "",
                  weight_name(d, q, k), names[q->type.dtype]);
      for (uint32_t j = 0; j < q->type.rank; j++)
        sq_text_add(&head, j ? ",%lld" : "%lld", (long long)dim[j]);
      size_t begin = data.n;
      sq_text_put(&data, t.data, (size_t)n * seqm_dtype_size(t.dtype));
      sq_text_add(&head, "],\"data_offsets\":[%zu,%zu]}", begin, data.n);
    }
  sq_text_put(&head, "}", 1);
  while (head.n % 8) sq_text_put(&head, " ", 1);
  FILE *f = fopen(path, "wb");
  if (!f) return false;
  uint64_t size = head.n;
  bool ok = fwrite(&size, 8, 1, f) == 1 && fwrite(head.v, 1, head.n, f) == head.n &&
            (!data.n || fwrite(data.v, 1, data.n, f) == data.n);
  return !fclose(f) && ok;
}

static uint32_t run_compiled(differ *d, seqm_context *rt, seqm_model *m, const trial *t,
                             outcome *out) {
  uint32_t done = 0;
  for (uint32_t turn = 0; turn < CALLS; turn++)
    for (uint32_t k = 0; k < d->n_entries && done < MAX_CALLS; k++) {
      const sq_func *f = d->entry[k];
      const seqm_entry *e = seqm_model_entry(m, f->name);
      if (!e) fail(d, FZ_DIFFERS, "entry `%s` is gone", f->name);
      outcome *o = &out[done++];
      *o = (outcome){.n = (uint32_t)seqm_entry_outputs(e)};
      sq_tensor64 *in;
      if (!make_inputs(d, f, t, turn, &in)) fail(d, FZ_INVALID, "no inputs");
      uint32_t n_in = f->body->args.n;
      seqm_tensor *x = SQ_ARRAY(d->a, seqm_tensor, n_in + 1);
      for (uint32_t j = 0; j < n_in; j++)
        if (!sq_value_from64(d->ctx, &in[j], &x[j])) fail(d, FZ_LARGE, "inputs are too large");
      o->raw = SQ_ARRAY(d->a, seqm_tensor, o->n + 1);
      o->out = SQ_ARRAY(d->a, sq_tensor64, o->n + 1);
      o->failed = seqm_call(m, e, x, n_in, o->raw, o->n) != 0;
      if (o->failed) {
        o->message = sq_arena_fmt(d->a, "%s", seqm_message(rt));
        return done;
      }
      for (uint32_t j = 0; j < o->n; j++) {
        seqm_tensor *r = &o->raw[j];
        sq_value_to64(d->a, r, &o->out[j]);
        size_t bytes = (size_t)sq_value_count(r) * seqm_dtype_size(r->dtype);
        void *copy = SQ_ARRAY(d->a, char, bytes + 1);
        if (bytes) memcpy(copy, r->data, bytes);
        seqm_tensor_free(rt, r);
        r->data = copy;
      }
    }
  return done;
}

static void compare_threads(differ *d, const trial *t, uint32_t n_a, const outcome *a, uint32_t n_b,
                            const outcome *b) {
  if (n_a != n_b)
    fail(d, FZ_DIFFERS, "%u calls succeed, %u did; sizes%s", n_b, n_a, sizes_text(d, t));
  for (uint32_t c = 0; c < n_a; c++) {
    // The value shown may be that of any element that failed at the place.
    if (a[c].failed != b[c].failed ||
        (a[c].failed && strncmp(a[c].message, b[c].message, strcspn(a[c].message, ":")) != 0))
      fail(d, FZ_DIFFERS, "call %u: `%s`, was `%s`", c, b[c].failed ? b[c].message : "done",
           a[c].failed ? a[c].message : "done");
    for (uint32_t k = 0; !a[c].failed && k < a[c].n; k++) {
      const seqm_tensor *x = &a[c].raw[k], *y = &b[c].raw[k];
      size_t bytes = (size_t)sq_value_count(x) * seqm_dtype_size(x->dtype);
      if (sq_value_count(x) != sq_value_count(y) || memcmp(x->data, y->data, bytes) != 0)
        fail(d, FZ_DIFFERS, "call %u: result %u is not bit by bit the same; sizes%s", c, k,
             sizes_text(d, t));
    }
  }
}

// Tests that compiled code may leave out where their outcome does not matter: of one condition of a
// domain where another fails, and of elements whose key is dropped.
static void may_skip(sq_node *n, void *user) {
  bool *skip = user;
  const sq_generic *k = n->g;
  if (!k || (!k->keyed && k->domain.n < 2)) return;
  for (uint32_t i = 0; i < k->s.n; i++)
    *skip |= k->s.v[i].kind == SQ_SC_READ && k->s.v[i].site != SQ_NO_SITE;
}

// Where the planned graph fails in the interpreter, compiled code fails; it may go on to a later
// test of a lower number, which is reported then.
static void compare_failure(differ *d, const sq_graph *g, const trial *t, uint32_t n,
                            const outcome *planned, uint32_t n_cpu, const outcome *cpu) {
  if (!n || !planned[n - 1].failed) return;
  const outcome *c = n_cpu == n ? &cpu[n - 1] : NULL;
  bool skip = false;
  for (uint32_t k = 0; k < g->func.n; k++) sq_walk(g->func.v[k]->body, may_skip, &skip);
  if (!skip && (!c || !c->failed))
    fail(d, FZ_DIFFERS, "call %u should fail: %s; sizes%s", n - 1, planned[n - 1].message,
         sizes_text(d, t));
}

static void check_compiled(differ *d, sq_graph *g) {
  static const int threads[] = {1, 2, 7};
  const char *message = NULL;
  sq_target target;
  stage(d, "compile");
  if (sq_target_find(d->ctx, d->how->target ? d->how->target : "native", &target, &message))
    fail(d, FZ_INVALID, "%s", message);
  if (d->how->cuda) target.device = SQ_DEVICE_CUDA_EMU;
  char weights[64], start[64];
  snprintf(weights, sizeof weights, "fuzz-%ld.safetensors", (long)getpid());
  snprintf(start, sizeof start, "fuzz-%ld-start.safetensors", (long)getpid());
  seqm_context *rt = seqm_context_new(&(seqm_options){.threads = 2});
  seqm_model *m = NULL;
  if (sq_jit_model(d->ctx, false, rt, g, &target, NULL, &m, &message))
    fail(d, FZ_DIFFERS, "%s", message ? message : seqm_message(rt));
  if (g->param.n) {
    int s = write_weights(d, g, weights) ? seqm_model_weights(m, weights) : 3;
    unlink(weights);
    if (s) fail(d, FZ_INVALID, "the parameters cannot be given");
  }
  stage(d, "cpu start");
  for (uint32_t k = 0; k < d->n_entries; k++) // saved are the parameters that have been used
    if (!d->entry[k]->writes && !d->entry[k]->body->args.n) {
      seqm_tensor out[64] = {0};
      uint32_t n = d->entry[k]->out_names.n;
      seqm_call(m, seqm_model_entry(m, d->entry[k]->name), NULL, 0, out, n);
      for (uint32_t j = 0; j < n; j++) seqm_tensor_free(rt, &out[j]);
    }
  if (seqm_save_state(m, start)) fail(d, FZ_DIFFERS, "%s", seqm_message(rt));
  outcome *first = SQ_ARRAY(d->a, outcome, MAX_CALLS), *other = SQ_ARRAY(d->a, outcome, MAX_CALLS);
  outcome *planned = SQ_ARRAY(d->a, outcome, MAX_CALLS);
  for (unsigned k = 0; k < d->n_trials; k++) {
    const trial *t = &d->trial[k];
    uint32_t n_first = 0;
    for (int i = 0; i < 3; i++) {
      stage(d, "cpu start");
      if (seqm_load_state(m, start)) fail(d, FZ_DIFFERS, "%s", seqm_message(rt));
      stage(d, "cpu");
      seqm_set_threads(rt, threads[i]);
      uint32_t n = run_compiled(d, rt, m, t, i ? other : first);
      if (i == 0) {
        n_first = n;
        compare_run(d, t, n, first, true);
        if (t->n_calls && t->call[t->n_calls - 1].failed) {
          uint32_t n_planned = interpret(d, g, t, planned);
          compare_failure(d, g, t, n_planned, planned, n, first);
        }
      } else {
        stage(d, "cpu, %d threads", threads[i]);
        compare_threads(d, t, n_first, first, n, other);
      }
    }
  }
  unlink(start);
  seqm_model_free(m);
  seqm_context_free(rt);
}

// ---- all of it ---------------------------------------------------------------------------------
static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void check(differ *d) {
  stage(d, "read");
  d->g = read_text(d, "graph", d->text);
  sq_text faults = {.arena = d->a};
  stage(d, "verify");
  if (!sq_graph_verify(d->g, &faults)) fail(d, FZ_INVALID, "%s", faults.v);
  stage(d, "round trip");
  const char *again = print(d, d->g);
  if (strcmp(print(d, read_text(d, "again", again)), again) != 0)
    fail(d, FZ_DIFFERS, "the printed graph reads as another one");
  for (uint32_t k = 0; k < d->g->func.n && d->n_entries < MAX_CALLS; k++)
    if (d->g->func.v[k]->kind == SQ_FUNC_ENTRY) d->entry[d->n_entries++] = d->g->func.v[k];
  sq_graph *rounded = d->how->exact ? NULL : rounding(d);
  stage(d, "interpreter");
  double begin = now();
  for (unsigned k = 0; k < d->how->trials && k < MAX_TRIALS && now() - begin < 0.3; k++) {
    trial *t = &d->trial[k];
    choose_sizes(d, k);
    t->n_calls = interpret(d, d->g, t, t->call);
    if (rounded && interpret(d, rounded, t, t->rounded) != t->n_calls)
      t->rounded[t->n_calls - 1].failed = true;
    d->n_trials = k + 1;
  }
  const char *only = d->how->only;
  if (only && !strncmp(only, "passes ", 7)) {
    check_pass(d, only + 7);
    return;
  }
  if (d->how->passes && !only)
    for (unsigned k = 0; k < sq_pass_count; k++)
      check_pass(d, strcmp(sq_pass_table[k].name, "inline")
                        ? sq_arena_fmt(d->a, "inline,%s", sq_pass_table[k].name)
                        : "inline");
  if (d->how->orders && !only) check_orders(d);
  sq_graph *g = check_pipeline(d);
  if (d->how->cpu) check_compiled(d, g);
}

static fz_result check_here(const char *text, const fz_how *how, fz_report *report) {
  sq_ctx *ctx = sq_ctx_new(sq_alloc_libc());
  sq_arena arena;
  jmp_buf leave;
  differ *d = calloc(1, sizeof *d);
  if (!ctx || !d) return FZ_LARGE;
  *d = (differ){
      .how = how, .report = report, .ctx = ctx, .a = &arena, .text = text, .leave = &leave};
  sq_arena_init(&arena, sq_alloc_libc(), &ctx->guard);
  if (setjmp(ctx->guard.jmp)) return FZ_LARGE;
  int code = setjmp(leave);
  if (code) return (fz_result)(code - 1);
  check(d);
  sq_arena_free(&arena);
  sq_ctx_free(ctx);
  free(d);
  return FZ_SAME;
}

fz_report *fz_report_new(void) {
  void *p =
      mmap(NULL, sizeof(fz_report), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  return p == MAP_FAILED ? NULL : p;
}

fz_result fz_check(const char *text, const fz_how *how, fz_report *report) {
  *report = (fz_report){0};
  fflush(NULL);
  pid_t child = fork();
  if (child < 0) return FZ_LARGE;
  if (child == 0) {
    unsigned seconds = how->seconds ? how->seconds : 60;
    setrlimit(RLIMIT_CPU, &(struct rlimit){seconds, seconds + 5});
    alarm(20 * seconds); // for what waits
    _exit((int)check_here(text, how, report));
  }
  int status = 0;
  waitpid(child, &status, 0);
  char name[64];
  snprintf(name, sizeof name, "fuzz-%ld-start.safetensors", (long)child);
  unlink(name);
  if (WIFEXITED(status) && WEXITSTATUS(status) <= FZ_LARGE) return (fz_result)WEXITSTATUS(status);
  if (WIFSIGNALED(status) && (WTERMSIG(status) == SIGALRM || WTERMSIG(status) == SIGXCPU)) {
    snprintf(report->message, sizeof report->message, "it takes too long");
    return FZ_SLOW;
  }
  snprintf(report->message, sizeof report->message, "crash: %s",
           WIFSIGNALED(status) ? strsignal(WTERMSIG(status)) : "exit");
  return FZ_DIFFERS;
}
