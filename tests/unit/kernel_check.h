// CPU kernels against the interpreter: each graph, given as IR text, runs compiled for several
// targets with tasks in both orders, and by sq_eval; results agree within rounding, bit by bit
// between orders. For the tests that include it.
#pragma once
#include "codegen/codegen.h"
#include "ir/eval.h"
#include "runtime/pool.h"
#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>

static sq_ctx *ctx;
static const char *message;

// ---- every value in a slot of its own ----------------------------------------------------------
static void place(sq_func *f, sq_graph *g, sq_value *v) {
  if (v->store != SQ_STORE_NONE) return;
  if (v->def && (v->def->op == SQ_OP_PARAM || v->def->op == SQ_OP_STATE_READ)) {
    v->store = v->def->op == SQ_OP_PARAM ? SQ_STORE_PARAM : SQ_STORE_STATE;
    return;
  }
  if (v->def && v->def->op == SQ_OP_UPDATE && v->def->in[0]->store == SQ_STORE_SLOT) {
    v->store = SQ_STORE_SLOT;
    v->store_index = v->def->in[0]->store_index;
    return;
  }
  sq_node *owner = v->def ? v->def->block->owner : NULL;
  if (owner && owner->op == SQ_OP_STREAM) return;
  uint32_t skip = owner && owner->op == SQ_OP_GROUP ? owner->n_outer : 0;
  sq_dim bytes = sq_dim_const(g->dims, sq_dtype_table[v->type.dtype].bytes);
  for (uint32_t k = skip; k < v->type.rank; k++)
    bytes = sq_dim_mul(g->dims, bytes, sq_dim_storage(g->dims, v->type.dim[k]));
  if (owner && owner->op == SQ_OP_GROUP) {
    v->store = SQ_STORE_INNER;
    v->store_index = f->scratch.n;
    sq_push(g->arena, &f->scratch, bytes);
    return;
  }
  v->store = SQ_STORE_SLOT;
  v->store_index = f->slot.n;
  sq_push(g->arena, &f->slot, bytes);
}
static void place_node(sq_node *n, void *user) {
  sq_func *f = user;
  for (uint32_t k = 0; k < n->n_out; k++) place(f, f->graph, n->out[k]);
  for (uint32_t k = 0; n->op == SQ_OP_GROUP && !n->n_outer && k < n->n_out; k++) {
    sq_value *v = sq_block_end(n->region[0])->in[k]; // made where the group's result lies
    v->store = n->out[k]->store;
    v->store_index = n->out[k]->store_index;
  }
  if (n->op != SQ_OP_SCAN || n->block->owner) return; // one in a sweep is a part of its kernel
  for (uint32_t k = 0; k < n->region[0]->args.n; k++) place(f, f->graph, n->region[0]->args.v[k]);
}
static void plan(sq_graph *g) {
  for (uint32_t i = 0; i < g->func.n; i++) {
    sq_func *f = g->func.v[i];
    for (uint32_t k = 0; k < f->body->args.n; k++) {
      f->body->args.v[k]->store = SQ_STORE_INPUT;
      f->body->args.v[k]->store_index = k;
    }
    sq_walk(f->body, place_node, f);
    f->planned = true;
  }
}

// ---- calling -----------------------------------------------------------------------------------
static bool backwards;
static int threads;        // of a pool; 0: one task after another
static int64_t most_tasks; // of the launches so far
static void parallel(void *pool, int64_t n, sq_task fn, void *closure) {
  if (n > most_tasks) most_tasks = n;
  if (pool) {
    sq_pool_run(pool, n, fn, closure);
    return;
  }
  for (int64_t i = 0; i < n; i++) fn(closure, backwards ? n - 1 - i : i, backwards ? i % 3 : 0);
}
static int64_t value_of(const sq_abi_expr *e, const int64_t *sym) {
  int64_t stack[64];
  int n = 0;
  for (uint32_t k = 0; k < e->n; k++) {
    int64_t op = e->code[k];
    if (op == SQ_X_CONST)
      stack[n++] = e->code[++k];
    else if (op == SQ_X_SYM)
      stack[n++] = sym[e->code[++k]];
    else {
      int64_t b = stack[--n], a = stack[--n];
      stack[n++] = op == SQ_X_ADD        ? a + b
                   : op == SQ_X_MUL      ? a * b
                   : op == SQ_X_FLOORDIV ? a / b
                   : op == SQ_X_MOD      ? a % b
                   : op == SQ_X_MIN      ? (a < b ? a : b)
                                         : (a > b ? a : b);
    }
  }
  return stack[0];
}
static uint64_t seed;
static uint32_t rnd(void) {
  seed = seed * 6364136223846793005ull + 1442695040888963407ull;
  return (uint32_t)(seed >> 33);
}
static uint16_t to_half(double x) { // x: a multiple of 2^-6 below 16
  if (x == 0) return 0;
  int e;
  double m = frexp(fabs(x), &e);
  return (uint16_t)((x < 0) << 15 | (e + 14) << 10 | ((int)(m * 2048) & 1023));
}
static double from_half(uint16_t h) {
  int e = h >> 10 & 31, m = h & 1023;
  double v = e == 31 ? (m ? NAN : INFINITY) : e ? ldexp(1024 + m, e - 25) : ldexp(m, -24);
  return h >> 15 ? -v : v;
}
static void put(sq_dtype t, void *data, int64_t k, double f, int64_t i) {
  union {
    float f;
    uint32_t u;
  } b = {.f = (float)f};
  switch ((int)t) {
  case SQ_F64:
    ((double *)data)[k] = f;
    break;
  case SQ_F32:
    ((float *)data)[k] = (float)f;
    break;
  case SQ_F16:
    ((uint16_t *)data)[k] = to_half(f);
    break;
  case SQ_BF16:
    ((uint16_t *)data)[k] = (uint16_t)(b.u >> 16);
    break;
  case SQ_I64:
    ((int64_t *)data)[k] = i;
    break;
  case SQ_I32:
    ((int32_t *)data)[k] = (int32_t)i;
    break;
  default:
    ((int8_t *)data)[k] = (int8_t)i;
  }
}
static void get(sq_dtype t, const void *data, int64_t k, double *f, int64_t *i) {
  union {
    uint32_t u;
    float f;
  } b;
  *f = 0, *i = 0;
  switch ((int)t) {
  case SQ_F64:
    *f = ((const double *)data)[k];
    break;
  case SQ_F32:
    *f = ((const float *)data)[k];
    break;
  case SQ_F16:
    *f = from_half(((const uint16_t *)data)[k]);
    break;
  case SQ_BF16:
    b.u = (uint32_t)((const uint16_t *)data)[k] << 16;
    *f = b.f;
    break;
  case SQ_I64:
    *i = ((const int64_t *)data)[k];
    break;
  case SQ_I32:
    *i = ((const int32_t *)data)[k];
    break;
  case SQ_I8:
    *i = ((const int8_t *)data)[k];
    break;
  default:
    *i = ((const uint8_t *)data)[k];
  }
}
typedef enum inputs { PLAIN, SPECIAL } inputs;
static void fill(sq_tensor64 *t, inputs kind) {
  static const double odd[] = {0, -0.0, INFINITY, -INFINITY, NAN, 1, -1, 0.5};
  for (int64_t k = 0; k < sq_tensor64_count(t); k++) {
    if (t->f) {
      double v = ((int)(rnd() % 513) - 256) / 64.0;
      t->f[k] = kind == SPECIAL && rnd() % 4 == 0 && t->dtype != SQ_F16 ? odd[rnd() % 8] : v;
    } else {
      t->i[k] = t->dtype == SQ_BOOL ? rnd() % 2 : rnd() % 5;
    }
  }
}

// Sizes of symbols by name: "N=5 M=3".
static int64_t size_of(const char *sizes, const char *name) {
  size_t n = strlen(name);
  for (const char *p = sizes; p; p = strchr(p, ' ')) {
    while (*p == ' ') p++;
    if (strncmp(p, name, n) == 0 && p[n] == '=') return atoll(p + n + 1);
  }
  return INT64_MIN;
}
// Memory with a fence behind it, all of one odd byte.
enum { FENCE = 4096 };
static void *fenced(int64_t bytes) {
  size_t all = (size_t)((bytes + FENCE + 63) / 64 * 64);
  return memset(aligned_alloc(64, all), 0xA5, all);
}
static bool intact(const void *p, int64_t bytes) {
  const uint8_t *at = (const uint8_t *)p + bytes;
  for (int i = 0; i < FENCE; i++)
    if (at[i] != 0xA5) return false;
  return true;
}
static sq_call last_call;       // for its counts
static const sq_device *device; // what compiled code calls, and its kernels; NULL: none
static void *kernels;
typedef struct result {
  uint64_t error;
  void *out[8];
  int64_t bytes[8];
} result;
static result run_compiled(const sq_graph *g, const sq_abi_model *m, sq_entry_code code,
                           const int64_t *sym_in, void **in, bool back) {
  result r = {0};
  sq_func *f = g->func.v[0];
  int64_t sym[32];
  memcpy(sym, sym_in, sizeof sym);
  sym[0] = threads ? threads : back ? 3 : 1;
  sq_node *yield = sq_block_end(f->body);
  for (uint32_t k = 0; k < yield->n_in; k++) {
    int64_t n = sq_dtype_table[yield->in[k]->type.dtype].bytes, d;
    for (uint32_t a = 0; a < yield->in[k]->type.rank; a++) {
      sq_dim_eval(g->dims, sq_dim_storage(g->dims, yield->in[k]->type.dim[a]), sym, &d);
      n *= d;
    }
    r.out[k] = fenced(n);
    r.bytes[k] = n;
  }
  backwards = back;
  sq_call call = {.sym = sym, .in = in, .out = r.out, .parallel = parallel};
  int64_t arena = value_of(&m->entry[0].arena, sym);
  call.arena = fenced(arena); // what nothing wrote is small numbers in one run, none in the other
  if (back) memset(call.arena, 0xFF, (size_t)arena);
  call.device = device;
  call.kernels = kernels;
  if (threads) call.pool = sq_pool_new(sq_alloc_libc(), threads);
  code(&call);
  if (threads) sq_pool_free(call.pool);
  cr_assert_null(call.trouble, "%s", call.trouble);
  last_call = call;
  cr_assert(intact(call.arena, arena), "written beyond the arena");
  for (uint32_t k = 0; k < yield->n_in; k++)
    cr_assert(intact(r.out[k], r.bytes[k]), "written beyond result %u", k);
  r.error = call.error;
  free(call.arena);
  return r;
}
static double slack = 1;  // times the usual tolerance
static int most_threads;  // pools of 1 .. so many threads give the same bits, too
static uint32_t cores;    // that code is made for; 0: what the target says
static uint32_t l3_bytes; // the same
static void compare(const char *name, const char *target, const sq_graph *g, const result *r,
                    sq_tensor64 *want, uint32_t n) {
  for (uint32_t k = 0; k < n; k++) {
    sq_tensor64 *t = &want[k];
    double eps = t->dtype == SQ_F64   ? 1e-13
                 : t->dtype == SQ_F32 ? 3e-6
                 : t->dtype == SQ_F16 ? 2e-3
                                      : 1e-2;
    for (int64_t i = 0; i < sq_tensor64_count(t); i++) {
      double f;
      int64_t v;
      get(t->dtype, r->out[k], i, &f, &v);
      if (!t->f) {
        cr_assert_eq(v, t->i[i], "%s on %s: result %u [%ld]: %ld, want %ld", name, target, k,
                     (long)i, (long)v, (long)t->i[i]);
        continue;
      }
      double w = t->f[i];
      bool ok = isnan(w)   ? isnan(f)
                : isinf(w) ? f == w
                           : fabs(f - w) <= slack * eps * (1 + fabs(w));
      cr_assert(ok, "%s on %s: result %u [%ld]: %.9g, want %.9g", name, target, k, (long)i, f, w);
    }
  }
  (void)g;
}
static void check_sizes(const char *name, const char *target_name, sq_graph *g, sq_eval *e,
                        const sq_abi_model *m, sq_entry_code code, const char *sizes, inputs kind) {
  sq_func *f = g->func.v[0];
  int64_t sym[32];
  for (int i = 0; i < 32; i++) sym[i] = INT64_MIN;
  for (uint32_t s = 1; s <= sq_sym_count(g->dims); s++)
    sym[s] = size_of(sizes, sq_sym_at(g->dims, (sq_sym){s})->name);
  sq_tensor64 in64[8];
  void *in[8];
  seed = 1;
  for (uint32_t k = 0; k < f->body->args.n; k++) {
    const sq_type *t = &f->body->args.v[k]->type;
    in64[k] = (sq_tensor64){.dtype = t->dtype, .rank = t->rank};
    for (uint32_t a = 0; a < t->rank; a++)
      cr_assert(sq_dim_eval(g->dims, t->dim[a], sym, &in64[k].dim[a]));
    int64_t n = sq_tensor64_count(&in64[k]);
    in64[k].f = sq_is_float(t->dtype) ? calloc((size_t)n + 1, 8) : NULL;
    in64[k].i = sq_is_float(t->dtype) ? NULL : calloc((size_t)n + 1, 8);
    fill(&in64[k], kind);
    in[k] = calloc((size_t)n + 1, (size_t)sq_dtype_table[t->dtype].bytes);
    for (int64_t i = 0; i < n; i++) {
      put(t->dtype, in[k], i, in64[k].f ? in64[k].f[i] : 0, in64[k].i ? in64[k].i[i] : 0);
      int64_t unused;
      if (in64[k].f) get(t->dtype, in[k], i, &in64[k].f[i], &unused);
    }
  }
  sq_tensor64 *want;
  uint32_t n_want;
  sq_status s = sq_eval_call(e, f, in64, f->body->args.n, &want, &n_want);
  result a = run_compiled(g, m, code, sym, in, false), b = run_compiled(g, m, code, sym, in, true);
  cr_assert_eq(a.error != 0, s != SQ_OK, "%s on %s: error %lu, interpreter: %s", name, target_name,
               (unsigned long)a.error, sq_eval_message(e));
  cr_assert_eq(a.error, b.error);
  for (threads = 1; s == SQ_OK && threads <= most_threads; threads++) {
    result c = run_compiled(g, m, code, sym, in, false);
    for (uint32_t k = 0; k < n_want; k++)
      cr_assert_arr_eq(a.out[k], c.out[k], (size_t)a.bytes[k], "%s on %s, %s: %d threads", name,
                       target_name, sizes, threads);
    for (int k = 0; k < 8; k++) free(c.out[k]);
  }
  threads = 0;
  if (s == SQ_OK) {
    compare(name, target_name, g, &a, want, n_want);
    for (uint32_t k = 0; k < n_want; k++)
      cr_assert_arr_eq(a.out[k], b.out[k], (size_t)a.bytes[k],
                       "%s: the order of tasks matters, or what nothing wrote", name);
  }
  for (int k = 0; k < 8; k++) free(a.out[k]), free(b.out[k]);
  for (uint32_t k = 0; k < f->body->args.n; k++) free(in[k]), free(in64[k].f), free(in64[k].i);
}
// "wide" and "many": the shapes of code for processors with other vectors, made of what there is
// here.
static sq_target target_of(const char *name) {
  sq_target t;
  bool wide = strcmp(name, "wide") == 0, many = strcmp(name, "many") == 0;
  bool emulated =
      strncmp(name, "cuda-emu", 8) == 0; // "cuda-emu tf32": products as of `--float tf32`
  const char *base = wide || many || emulated ? "native" : name;
  cr_assert_eq(sq_target_find(ctx, base, &t, &message), SQ_OK, "%s", message);
  if (wide) t.machine.vector_bytes = 64;
  if (many) t.machine.vector_bytes = 16;
  if (wide || many) t.machine.step_bytes = t.machine.vector_bytes;
  if (wide || many) t.machine.vector_registers = 32;
  if (wide || many) t.machine.bf16 = true; // products of pairs, written out
  if (emulated) t.device = SQ_DEVICE_CUDA_EMU;
  t.tf32 = emulated && strstr(name, "tf32");
  if (cores) t.machine.cores = cores;
  if (l3_bytes) t.machine.l3_bytes = l3_bytes;
  return t;
}
// Which of the ways to cut its kernels; 0: the model's choice.
static uint32_t cut_try;
static void add_try(sq_node *n, void *user) {
  sq_target *t = user;
  sq_tuned_row row[SQ_CUT_TRIES];
  sq_graph *g = n->block->func->graph;
  uint32_t count = sq_cut_candidates(g, t, n, row);
  if (cut_try < count) t->tuned = sq_tuned_with(g->arena, t->tuned, &row[cut_try]);
}
// Codegen relies on what the verifier makes sure of.
static sq_graph *read_graph(sq_arena *arena, const char *name, const char *text) {
  sq_text faults = {.arena = arena};
  sq_graph *g = sq_graph_read(ctx, arena, name, text, strlen(text));
  cr_assert(g, "%s: %s", name, sq_diags_render(&ctx->diags));
  cr_assert(sq_graph_verify(g, &faults), "%s: %s", name, faults.v);
  return g;
}
static void check_on(const char *name, const char *text, const char *const *sizes, size_t n_sizes,
                     inputs kind, const char *target_name) {
  sq_arena arena;
  ctx = sq_ctx_new(sq_alloc_libc());
  sq_arena_init(&arena, sq_alloc_libc(), &ctx->guard);
  sq_graph *g = read_graph(&arena, name, text);
  sq_target target;
  target = target_of(target_name);
  sq_eval *e = sq_eval_new(g, NULL, NULL);
  plan(g);
  for (uint32_t i = 0; cut_try && i < g->func.n; i++) sq_walk(g->func.v[i]->body, add_try, &target);
  sq_abi_model *m = sq_codegen_describe(g, &target);
  sq_jit *jit;
  cr_assert_eq(sq_jit_new(g, &target, NULL, &jit, &message), SQ_OK, "%s", message);
  sq_abi_hooks hooks = sq_jit_hooks(jit);
  sq_entry_code code = hooks.compile(hooks.user, 0, 0, &message);
  cr_assert_not_null(code, "%s: %s", name, message);
  device = hooks.device;
  kernels = device ? hooks.kernels(hooks.user, 0, 0) : NULL;
  for (size_t i = 0; i < n_sizes; i++)
    check_sizes(name, target_name, g, e, m, code, sizes[i], kind);
  hooks.release(hooks.user);
  sq_eval_free(e);
  sq_arena_free(&arena);
  sq_ctx_free(ctx);
}
static bool runs_here(const char *target) {
#ifdef __x86_64__
  __builtin_cpu_init();
  if (strcmp(target, "x86-64-v3") == 0) return __builtin_cpu_supports("avx2");
  if (strcmp(target, "x86-64-v4") == 0) return __builtin_cpu_supports("avx512vl");
  return true;
#else
  return strncmp(target, "x86", 3) != 0;
#endif
}
static void check_many(const char *name, const char *text, const char *const *sizes, size_t n,
                       inputs kind) {
#ifndef CHECK_TARGETS
#define CHECK_TARGETS "native", "x86-64-v2", "x86-64-v4", "wide", "many"
#endif
  static const char *const targets[] = {CHECK_TARGETS};
  if (cut_try) {
    check_on(name, text, sizes, n, kind, "native");
    return;
  }
  for (size_t i = 0; i < sizeof targets / sizeof *targets; i++)
    if (runs_here(targets[i])) check_on(name, text, sizes, n, kind, targets[i]);
}
__attribute__((unused)) static void check(const char *name, const char *text, const char *sizes,
                                          inputs kind) {
  check_many(name, text, &sizes, 1, kind);
}

#define HEAD "graph t f32" REST
#define REST "\nsym N size\nsym M size\nsym K size\nsite 0 \"outside\"\nsite 1 \"other\"\n"
static const char *const many_sizes[] = {"N=5 M=3 K=7", "N=1 M=1 K=1", "N=37 M=67 K=131",
                                         "N=0 M=4 K=5", "N=4 M=0 K=3", "N=16 M=64 K=32"};
__attribute__((unused)) static void each_size(const char *name, const char *text, inputs kind) {
  check_many(name, text, many_sizes, sizeof many_sizes / sizeof *many_sizes, kind);
}
