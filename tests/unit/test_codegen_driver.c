// The CPU driver: control flow, states, failures, the cache, objects, headers. Graphs are made by
// the builder and every value is given a slot of its own, so that nothing but codegen is under
// test.
#include "codegen/codegen.h"
#include <criterion/criterion.h>
#include <dirent.h>
#include <dlfcn.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

// ---- making graphs -----------------------------------------------------------------------------
static sq_ctx *ctx;
static sq_graph *g;
static sq_target target;
static const char *message;
static const sq_span nowhere = {0};

static void start_with(sq_alloc alloc) {
  ctx = sq_ctx_new(alloc);
  g = sq_graph_new(ctx, &ctx->arena, "test");
}
static void start(void) {
  start_with(sq_alloc_libc());
  cr_assert_eq(sq_target_find(ctx, "native", &target, &message), SQ_OK);
}
static void finish(void) { sq_ctx_free(ctx); }

static sq_func *func(const char *name, sq_func_kind kind) {
  return sq_func_new(g, name, kind, nowhere);
}
static sq_value *input(sq_func *f, const char *name, sq_type t, sq_sym binds) {
  sq_push(g->arena, &f->in_names, name);
  sq_push(g->arena, &f->in_sym, binds);
  return sq_block_arg(f->body, t, name);
}
static void yield(sq_block *b, uint32_t n, sq_value *const *v) {
  sq_node_new(g, b, SQ_OP_YIELD, nowhere, n, v);
}
static sq_type i32(void) { return sq_type_scalar(SQ_I32); }

// x `e` y of two rank-0 values of one type.
static sq_value *binary(sq_block *b, sq_ewise e, sq_value *x, sq_value *y) {
  sq_node *n = sq_node_new(g, b, SQ_OP_GENERIC, nowhere, 0, NULL);
  sq_generic *k = sq_generic_new(g, 0, 0);
  uint32_t r[2];
  sq_value *in[2] = {x, y};
  for (int i = 0; i < 2; i++)
    r[i] = sq_sc_read(g, k, in[i]->type.dtype, sq_node_add_in(g, n, in[i]), 0, NULL);
  k->body = sq_sc_ewise(g, k, e, r[0], r[1]);
  n->g = k;
  return sq_node_result(g, n, sq_type_scalar(k->s.v[k->body].dtype), NULL);
}

// [n: x[n] + y], x of rank 1.
static sq_value *plus(sq_block *b, sq_value *x, double y) {
  sq_node *n = sq_node_new(g, b, SQ_OP_GENERIC, nowhere, 0, NULL);
  sq_generic *k = sq_generic_new(g, 1, 0);
  k->axis[0] = (sq_axis){x->type.dim[0], "n"};
  uint32_t at = sq_sc_index(g, k, 0);
  uint32_t read = sq_sc_read(g, k, x->type.dtype, sq_node_add_in(g, n, x), 1, &at);
  k->body = sq_sc_ewise(g, k, SQ_EW_ADD, read, sq_sc_float(g, k, x->type.dtype, y));
  n->g = k;
  return sq_node_result(g, n, x->type, NULL);
}

static sq_value *node(sq_block *b, sq_opcode op, uint32_t ref, sq_value *instance, sq_type t) {
  sq_node *n = sq_node_new(g, b, op, nowhere, instance ? 1 : 0, &instance);
  n->ref = ref;
  n->has_instance = instance != NULL;
  return sq_node_result(g, n, t, NULL);
}

// state <- v, whole, of rank 0.
static void write_scalar(sq_block *b, uint32_t state, sq_value *v, sq_value *instance) {
  sq_node *n = sq_node_new(g, b, SQ_OP_STATE_WRITE, nowhere, 0, NULL);
  n->ref = state;
  n->g = sq_generic_new(g, 0, 0);
  n->g->body = sq_sc_read(g, n->g, v->type.dtype, sq_node_add_in(g, n, v), 0, NULL);
  if (instance) {
    n->in = memcpy(SQ_ARRAY(g->arena, sq_value *, 2), n->in, sizeof *n->in);
    n->in[n->n_in++] = instance;
    n->has_instance = true;
  }
}

static uint32_t state(const char *name, sq_type t, uint32_t count) {
  sq_state s = {.name = name, .type = t, .count = count, .has_instances = count > 1};
  const char **names = SQ_ARRAY(g->arena, const char *, count);
  for (uint32_t k = 0; k < count; k++) names[k] = sq_arena_fmt(g->arena, "%s.%u", name, k);
  s.names = names;
  s.init = func(sq_arena_fmt(g->arena, "init of %s", name), SQ_FUNC_INIT);
  if (count > 1) input(s.init, "instance", i32(), (sq_sym){0});
  sq_value *zero = sq_const_int(g, s.init->body, t.dtype, 7);
  yield(s.init->body, 1, &zero);
  sq_push(g->arena, &g->state, s);
  return g->state.n - 1;
}

// ---- planning by hand --------------------------------------------------------------------------
static void place(sq_func *f, sq_value *v) {
  if (v->store != SQ_STORE_NONE) return;
  if (v->def && (v->def->op == SQ_OP_PARAM || v->def->op == SQ_OP_STATE_READ)) {
    v->store = v->def->op == SQ_OP_PARAM ? SQ_STORE_PARAM : SQ_STORE_STATE;
    return;
  }
  sq_dim bytes = sq_dim_const(g->dims, sq_dtype_table[v->type.dtype].bytes);
  for (uint32_t k = 0; k < v->type.rank; k++) bytes = sq_dim_mul(g->dims, bytes, v->type.dim[k]);
  v->store = SQ_STORE_SLOT;
  v->store_index = f->slot.n;
  sq_push(g->arena, &f->slot, bytes);
}
static void place_node(sq_node *n, void *user) {
  for (uint32_t r = 0; r < n->n_region; r++)
    for (uint32_t k = 0; k < n->region[r]->args.n; k++) place(user, n->region[r]->args.v[k]);
  for (uint32_t k = 0; k < n->n_out; k++) place(user, n->out[k]);
}
static void plan_all(void) {
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

// ---- a runtime of thirty lines -----------------------------------------------------------------
typedef struct machine {
  sq_abi_model *model;
  sq_jit *jit;
  sq_abi_hooks hooks;
  sq_call call;
  int64_t sym[32];
  const void *in[4];
  void *out[4];
  sq_abi_cell cell[8];
  void *param[8];
  char arena[1 << 16] __attribute__((aligned(64)));
  int reserved, resized, resets;
} machine;

static void parallel(void *pool, int64_t n, sq_task fn, void *closure) {
  (void)pool;
  for (int64_t t = n; t-- > 0;) fn(closure, t, 0);
}
static machine *of_call(sq_call *c) {
  return (machine *)(void *)((char *)c - offsetof(machine, call));
}
static int32_t reserve(sq_call *c, uint32_t s, int64_t n) {
  machine *m = of_call(c);
  m->reserved++;
  int64_t *extent = &c->sym[m->model->state[s].grow_sym];
  if (n > 100) return 1;
  if (*extent < n) *extent = n;
  return 0;
}
static int32_t resize(sq_call *c, uint32_t s, int64_t n) {
  machine *m = of_call(c);
  m->resized++;
  if (n > 100) return 1;
  c->sym[m->model->state[s].grow_sym] = n;
  return 0;
}
static int32_t reset(sq_call *c) {
  of_call(c)->resets++;
  return 0;
}

static int64_t value_of(const sq_abi_expr *e, const int64_t *sym) {
  int64_t stack[64];
  int n = 0;
  for (uint32_t k = 0; k < e->n; k++) {
    int64_t op = e->code[k];
    if (op == SQ_X_CONST) {
      stack[n++] = e->code[++k];
    } else if (op == SQ_X_SYM) {
      stack[n++] = sym[e->code[++k]];
    } else {
      int64_t b = stack[--n], a = stack[--n];
      stack[n++] = op == SQ_X_ADD        ? a + b
                   : op == SQ_X_MUL      ? a * b
                   : op == SQ_X_FLOORDIV ? a / b
                   : op == SQ_X_MOD      ? a % b
                   : op == SQ_X_MIN      ? (a < b ? a : b)
                                         : (a > b ? a : b);
    }
  }
  cr_assert_eq(n, 1);
  return stack[0];
}

static machine *machine_new(const char *cache) {
  plan_all();
  machine *m = aligned_alloc(64, sizeof *m);
  memset(m, 0, sizeof *m);
  m->model = sq_codegen_describe(g, &target);
  cr_assert_eq(sq_jit_new(g, &target, cache, &m->jit, &message), SQ_OK, "%s", message);
  m->hooks = sq_jit_hooks(m->jit);
  m->sym[0] = 1;
  m->call = (sq_call){.sym = m->sym,
                      .in = (void *const *)m->in,
                      .out = m->out,
                      .arena = m->arena,
                      .param = m->param,
                      .cell = m->cell,
                      .parallel = parallel,
                      .reserve = reserve,
                      .resize = resize,
                      .reset = reset};
  return m;
}
static void machine_free(machine *m) {
  m->hooks.release(m->hooks.user);
  free(m);
}
static int32_t call(machine *m, uint32_t entry) {
  sq_entry_code code = m->hooks.compile(m->hooks.user, 0, entry, &message);
  cr_assert_not_null(code, "%s", message);
  cr_assert_leq(value_of(&m->model->entry[entry].arena, m->sym), (int64_t)sizeof m->arena);
  m->call.error = 0;
  return code(&m->call);
}

// ---- graphs of the tests -----------------------------------------------------------------------
// total = sum of 0 .. n-1, by a repeat
static void make_total(void) {
  sq_func *f = func("total", SQ_FUNC_ENTRY);
  sq_value *n = input(f, "n", i32(), (sq_sym){0});
  sq_value *in[3] = {sq_const_int(g, f->body, SQ_I32, 0), n, sq_const_int(g, f->body, SQ_I32, 0)};
  sq_node *r = sq_node_new(g, f->body, SQ_OP_REPEAT, nowhere, 3, in);
  sq_block *body = sq_node_region(g, r, f);
  sq_value *i = sq_block_arg(body, i32(), "i"), *acc = sq_block_arg(body, i32(), "acc");
  sq_value *next = binary(body, SQ_EW_ADD, acc, i);
  yield(body, 1, &next);
  sq_value *out = sq_node_result(g, r, i32(), NULL);
  yield(f->body, 1, &out);
  sq_push(g->arena, &f->out_names, "total");
}

Test(codegen_driver, repeat) {
  start();
  make_total();
  machine *m = machine_new(NULL);
  int32_t n = 11, out = -1;
  m->in[0] = &n;
  m->out[0] = &out;
  cr_assert_eq(call(m, 0), 0);
  cr_assert_eq(out, 55);
  n = 0;
  cr_assert_eq(call(m, 0), 0);
  cr_assert_eq(out, 0);
  machine_free(m);
  finish();
}

// doubles x while x < bound, at most `limit` times; a check inside fails when x == 40
static void make_double(bool limited) {
  sq_func *f = func("double", SQ_FUNC_ENTRY);
  sq_value *x = input(f, "x", i32(), (sq_sym){0}), *bound = input(f, "bound", i32(), (sq_sym){0});
  sq_node *w = sq_node_new(g, f->body, SQ_OP_WHILE, nowhere, 1, &x);
  if (limited) w->extent = sq_dim_const(g->dims, 3);
  sq_block *cond = sq_node_region(g, w, f), *body = sq_node_region(g, w, f);
  sq_value *a = sq_block_arg(cond, i32(), "x");
  sq_value *c = binary(cond, SQ_EW_LT, a, bound);
  yield(cond, 1, &c);
  sq_value *b = sq_block_arg(body, i32(), "x");
  sq_value *forty = sq_const_int(g, body, SQ_I32, 40);
  sq_value *ok = binary(body, SQ_EW_NE, b, forty);
  sq_node *check = sq_node_new(g, body, SQ_OP_CHECK, nowhere, 1, &ok);
  check->site = sq_site_new(g, nowhere, "forty");
  sq_value *next = binary(body, SQ_EW_ADD, b, b);
  yield(body, 1, &next);
  sq_value *out = sq_node_result(g, w, i32(), NULL);
  yield(f->body, 1, &out);
}

Test(codegen_driver, loop_on_data) {
  start();
  make_double(false);
  machine *m = machine_new(NULL);
  int32_t x = 3, bound = 100, out = -1;
  m->in[0] = &x;
  m->in[1] = &bound;
  m->out[0] = &out;
  cr_assert_eq(call(m, 0), 0);
  cr_assert_eq(out, 192);
  x = 5;
  cr_assert_neq(call(m, 0), 0);
  cr_assert_eq(m->call.error, 1);
  machine_free(m);
  finish();
}

Test(codegen_driver, loop_limit) {
  start();
  make_double(true);
  machine *m = machine_new(NULL);
  int32_t x = 1, bound = 100, out = -1;
  m->in[0] = &x;
  m->in[1] = &bound;
  m->out[0] = &out;
  cr_assert_eq(call(m, 0), 0);
  cr_assert_eq(out, 8);
  machine_free(m);
  finish();
}

Test(codegen_driver, branches) {
  start();
  sq_func *f = func("larger", SQ_FUNC_ENTRY);
  sq_value *x = input(f, "x", i32(), (sq_sym){0}), *y = input(f, "y", i32(), (sq_sym){0});
  sq_value *c = binary(f->body, SQ_EW_LT, x, y);
  sq_node *n = sq_node_new(g, f->body, SQ_OP_IF, nowhere, 1, &c);
  sq_block *yes = sq_node_region(g, n, f), *no = sq_node_region(g, n, f);
  yield(yes, 1, &y);
  yield(no, 1, &x);
  sq_value *out = sq_node_result(g, n, i32(), NULL);
  yield(f->body, 1, &out);
  machine *m = machine_new(NULL);
  int32_t a = 3, b = 9, r = 0;
  m->in[0] = &a;
  m->in[1] = &b;
  m->out[0] = &r;
  cr_assert_eq(call(m, 0), 0);
  cr_assert_eq(r, 9);
  a = 12;
  cr_assert_eq(call(m, 0), 0);
  cr_assert_eq(r, 12);
  machine_free(m);
  finish();
}

// A scan carries x[n] and emits it before adding 1; in both directions.
static void make_scan(bool reversed) {
  sq_func *f = func("scan", SQ_FUNC_ENTRY);
  sq_sym n = sq_sym_new(g->dims, "N", SQ_SYM_SIZE), t = sq_sym_new(g->dims, "T", SQ_SYM_SIZE);
  sq_sym_at(g->dims, t)->scalar = true;
  sq_dim shape[2] = {sq_dim_sym(g->dims, t), sq_dim_sym(g->dims, n)};
  sq_type row = sq_type_make(g, SQ_F32, 1, &shape[1]), all = sq_type_make(g, SQ_F32, 2, shape);
  sq_value *x = input(f, "x", row, (sq_sym){0});
  input(f, "T", i32(), t);
  sq_node *s = sq_node_new(g, f->body, SQ_OP_SCAN, nowhere, 1, &x);
  s->n_carried = 1;
  s->extent = shape[0];
  s->flag = reversed;
  sq_block *body = sq_node_region(g, s, f);
  sq_block_arg(body, i32(), "t");
  sq_value *h = sq_block_arg(body, row, "h");
  sq_value *yields[2] = {plus(body, h, 1), plus(body, h, 0)};
  yield(body, 2, yields);
  sq_value *out[2] = {sq_node_result(g, s, row, NULL), sq_node_result(g, s, all, NULL)};
  yield(f->body, 2, out);
}

static void scan_test(bool reversed) {
  start();
  make_scan(reversed);
  machine *m = machine_new(NULL);
  float x[5] = {1, 2, 3, 4, 5}, last[5], all[15];
  int32_t t = 3;
  m->in[0] = x;
  m->in[1] = &t;
  m->out[0] = last;
  m->out[1] = all;
  m->sym[1] = 5;
  m->sym[2] = 3;
  cr_assert_eq(call(m, 0), 0);
  for (int k = 0; k < 5; k++) {
    cr_assert_eq(last[k], x[k] + 3);
    for (int r = 0; r < 3; r++) cr_assert_eq(all[r * 5 + k], x[k] + (reversed ? 2 - r : r));
  }
  machine_free(m);
  finish();
}
Test(codegen_driver, scan_forward) { scan_test(false); }
Test(codegen_driver, scan_reversed) { scan_test(true); }

// map i < 2, j < 3: i + j
Test(codegen_driver, map) {
  start();
  sq_func *f = func("map", SQ_FUNC_ENTRY);
  sq_node *n = sq_node_new(g, f->body, SQ_OP_MAP, nowhere, 0, NULL);
  sq_dim shape[2] = {sq_dim_const(g->dims, 2), sq_dim_const(g->dims, 3)};
  n->g = sq_generic_new(g, 2, 0);
  for (int k = 0; k < 2; k++) n->g->axis[k].extent = shape[k];
  sq_block *body = sq_node_region(g, n, f);
  sq_value *i = sq_block_arg(body, i32(), "i"), *j = sq_block_arg(body, i32(), "j");
  sq_value *sum = binary(body, SQ_EW_ADD, binary(body, SQ_EW_ADD, i, i), j);
  yield(body, 1, &sum);
  sq_value *out = sq_node_result(g, n, sq_type_make(g, SQ_I32, 2, shape), NULL);
  yield(f->body, 1, &out);
  machine *m = machine_new(NULL);
  int32_t r[6];
  m->out[0] = r;
  cr_assert_eq(call(m, 0), 0);
  for (int k = 0; k < 6; k++) cr_assert_eq(r[k], k / 3 * 2 + k % 3);
  machine_free(m);
  finish();
}

// counter[k] <- counter[k] + x, then a check that fails for x == 13: the write stands. A write
// after a failed check does not happen.
Test(codegen_driver, states_and_checks) {
  start();
  uint32_t s = state("counter", i32(), 3);
  sq_func *f = func("step", SQ_FUNC_ENTRY);
  f->writes = true;
  sq_value *x = input(f, "x", i32(), (sq_sym){0}), *k = input(f, "k", i32(), (sq_sym){0});
  sq_value *old = node(f->body, SQ_OP_STATE_READ, s, k, i32());
  write_scalar(f->body, s, binary(f->body, SQ_EW_ADD, old, x), k);
  sq_value *ok = binary(f->body, SQ_EW_NE, x, sq_const_int(g, f->body, SQ_I32, 13));
  sq_node *check = sq_node_new(g, f->body, SQ_OP_CHECK, nowhere, 1, &ok);
  sq_site_new(g, nowhere, "unused");
  check->site = sq_site_new(g, nowhere, "thirteen");
  write_scalar(f->body, s, x, k);
  yield(f->body, 0, NULL);
  machine *m = machine_new(NULL);
  int32_t cell[3] = {0, 100, 0}, in = 5, at = 1;
  for (int j = 0; j < 3; j++) m->cell[j].data = (char *)&cell[j];
  m->in[0] = &in;
  m->in[1] = &at;
  cr_assert_eq(call(m, 0), 0);
  cr_assert_eq(cell[1], 5);
  in = 13;
  cr_assert_neq(call(m, 0), 0);
  cr_assert_eq(m->call.error, 2);
  cr_assert_eq(cell[1], 18);
  at = 7; // outside: kept inside the table
  in = 1;
  cr_assert_eq(call(m, 0), 0);
  cr_assert_eq(cell[2], 1);
  // The init gives 7 for every instance.
  sq_entry_code init = m->hooks.compile(m->hooks.user, 1, m->model->state[s].init, &message);
  int32_t first = 0;
  m->out[0] = &first;
  cr_assert_eq(init(&m->call), 0);
  cr_assert_eq(first, 7);
  const sq_abi_entry *e = &m->model->entry[0];
  cr_assert(e->writes && e->n_state == 1 && e->n_param == 0);
  cr_assert_str_eq(m->model->site[1].message, "thirteen");
  cr_assert_null(m->hooks.compile(m->hooks.user, 0, 9, &message));
  machine_free(m);
  finish();
}

Test(codegen_driver, reserve_and_reset) {
  start();
  sq_sym grow = sq_sym_new(g->dims, "rows", SQ_SYM_GROW);
  sq_dim rows = sq_dim_sym(g->dims, grow);
  sq_type t = sq_type_make(g, SQ_F32, 1, &rows);
  sq_dim one = sq_dim_const(g->dims, 1);
  sq_state s = {.name = "cache", .type = t, .count = 1, .grow = grow};
  s.names = SQ_ARRAY(g->arena, const char *, 1);
  s.names[0] = "cache";
  s.init = func("init of cache", SQ_FUNC_INIT);
  sq_node *zero = sq_node_new(g, s.init->body, SQ_OP_GENERIC, nowhere, 0, NULL);
  zero->g = sq_generic_new(g, 1, 0);
  zero->g->axis[0].extent = one;
  zero->g->body = sq_sc_float(g, zero->g, SQ_F32, 0);
  sq_value *row = sq_node_result(g, zero, sq_type_make(g, SQ_F32, 1, &one), NULL);
  yield(s.init->body, 1, &row);
  sq_push(g->arena, &g->state, s);

  sq_func *f = func("grow", SQ_FUNC_ENTRY);
  sq_value *n = input(f, "n", i32(), (sq_sym){0});
  sq_node_new(g, f->body, SQ_OP_RESERVE, nowhere, 1, &n);
  sq_node_new(g, f->body, SQ_OP_RESET, nowhere, 0, NULL);
  sq_value *all = node(f->body, SQ_OP_STATE_READ, 0, NULL, t);
  sq_value *more = plus(f->body, all, 1);
  yield(f->body, 1, &more);
  machine *m = machine_new(NULL);
  cr_assert_eq(m->model->state[0].grow_axis, 0);
  cr_assert_eq(m->model->state[0].dim[0], -1);
  float data[100] = {1, 2, 3}, out[100];
  int32_t want = 3;
  m->cell[0].data = (char *)data;
  m->in[0] = &want;
  m->out[0] = out;
  cr_assert_eq(call(m, 0), 0);
  cr_assert(m->reserved == 1 && m->resets == 1);
  for (int k = 0; k < 3; k++) cr_assert_eq(out[k], data[k] + 1);
  want = 1000;
  cr_assert_neq(call(m, 0), 0);
  cr_assert_eq(m->resets, 1);
  machine_free(m);
  finish();
}

// y = x[n limit N] + 1: n elements are written, n outside 0 .. N fails.
Test(codegen_driver, live) {
  start();
  sq_func *f = func("part", SQ_FUNC_ENTRY);
  sq_sym size = sq_sym_new(g->dims, "N", SQ_SYM_SIZE), live = sq_sym_new(g->dims, "n", SQ_SYM_LIVE);
  sq_dim limit = sq_dim_sym(g->dims, size), extent = sq_dim_sym(g->dims, live);
  sq_sym_at(g->dims, live)->limit = limit;
  sq_value *x = input(f, "x", sq_type_make(g, SQ_F32, 1, &limit), (sq_sym){0});
  sq_value *n = input(f, "n", i32(), (sq_sym){0});
  sq_node *l = sq_node_new(g, f->body, SQ_OP_LIVE, nowhere, 1, &n);
  l->sym = live;
  l->site = sq_site_new(g, nowhere, "n is too large");
  sq_value *y = plus(f->body, x, 1);
  y->def->g->axis[0].extent = extent;
  y->type = sq_type_make(g, SQ_F32, 1, &extent);
  yield(f->body, 1, &y);
  machine *m = machine_new(NULL);
  float in[8] = {1, 2, 3, 4, 5, 6, 7, 8}, out[8] = {0};
  int32_t count = 3;
  m->sym[1] = 8;
  m->in[0] = in;
  m->in[1] = &count;
  m->out[0] = out;
  cr_assert_eq(call(m, 0), 0);
  cr_assert_eq(m->sym[2], 3);
  for (int k = 0; k < 3; k++) cr_assert_eq(out[k], in[k] + 1);
  count = 9;
  cr_assert_neq(call(m, 0), 0);
  cr_assert(m->call.error == 1 && m->call.error_value == 9 && m->call.error_limit == 9 &&
            m->sym[2] == 8);
  count = -2;
  cr_assert_neq(call(m, 0), 0);
  cr_assert(m->call.error_value == -2 && m->sym[2] == 0);
  machine_free(m);
  finish();
}

// ---- the cache ---------------------------------------------------------------------------------
static int files(const char *dir, char *last, size_t size) {
  DIR *d = opendir(dir);
  if (!d) return -1;
  int n = 0;
  for (struct dirent *e; (e = readdir(d));)
    if (e->d_name[0] != '.') {
      n++;
      if (last) snprintf(last, size, "%s/%s", dir, e->d_name);
    }
  closedir(d);
  return n;
}

static void run_total(const char *cache) {
  start();
  make_total();
  machine *m = machine_new(cache);
  int32_t n = 5, out = -1;
  m->in[0] = &n;
  m->out[0] = &out;
  cr_assert_eq(call(m, 0), 0);
  cr_assert_eq(out, 10);
  machine_free(m);
}

Test(codegen_driver, cache) {
  char base[] = "/tmp/seqm-cache-XXXXXX", dir[300], file[900];
  cr_assert_not_null(mkdtemp(base));
  snprintf(dir, sizeof dir, "%s/a/b", base);
  run_total(dir);
  finish();
  cr_assert_eq(files(dir, file, sizeof file), 1);
  struct stat st;
  cr_assert_eq(stat(file, &st), 0);
  ino_t first = st.st_ino;
  run_total(dir); // from the cache: the file stays
  finish();
  cr_assert_eq(stat(file, &st), 0);
  cr_assert_eq(st.st_ino, first);
  FILE *f = fopen(file, "r+");
  cr_assert_eq(fseek(f, 300, SEEK_SET), 0);
  fputs("damaged", f);
  fclose(f);
  run_total(dir); // a damaged file is made again
  finish();
  run_total(dir);
  finish();
  cr_assert_eq(truncate(file, 10), 0);
  run_total(dir);
  finish();
  cr_assert_eq(files(dir, NULL, 0), 1);
  unlink(file);
  rmdir(dir);
  snprintf(dir, sizeof dir, "%s/a", base);
  rmdir(dir);
  rmdir(base);
}

// Enough different kernels for several threads and objects; twice the same one is one.
Test(codegen_driver, many_kernels) {
  char dir[] = "/tmp/seqm-cache-XXXXXX", file[900];
  cr_assert_not_null(mkdtemp(dir));
  for (int turn = 0; turn < 2; turn++) { // compiled, then from the cache
    start();
    sq_func *f = func("chain", SQ_FUNC_ENTRY);
    sq_dim n = sq_dim_sym(g->dims, sq_sym_new(g->dims, "N", SQ_SYM_SIZE));
    sq_value *v = input(f, "x", sq_type_make(g, SQ_F32, 1, &n), (sq_sym){0});
    for (int k = 0; k < 80; k++) v = plus(f->body, v, k / 2);
    yield(f->body, 1, &v);
    machine *m = machine_new(dir);
    float x[30], y[30];
    for (int k = 0; k < 30; k++) x[k] = (float)k;
    m->sym[1] = 30;
    m->in[0] = x;
    m->out[0] = y;
    cr_assert_eq(call(m, 0), 0);
    for (int k = 0; k < 30; k++) cr_assert_eq(y[k], x[k] + 1560);
    machine_free(m);
    finish();
  }
  cr_assert_eq(files(dir, file, sizeof file), 1);
  unlink(file);
  rmdir(dir);
}

Test(codegen_driver, cache_not_writable) {
  run_total("/proc/no/such/place");
  cr_assert_eq(ctx->remarks.n, 1);
  cr_assert_str_eq(ctx->remarks.v[0].pass, "cache");
  finish();
}

// ---- ahead of time -----------------------------------------------------------------------------
Test(codegen_driver, object_and_text) {
  start();
  make_total();
  state("counter", i32(), 2);
  plan_all();
  static const char *const names[] = {"native", "x86-64-v2", "x86-64-v3", "x86-64-v4", "aarch64"};
  for (size_t k = 0; k < sizeof names / sizeof *names; k++) {
    sq_target t;
    cr_assert_eq(sq_target_find(ctx, names[k], &t, &message), SQ_OK);
    char path[] = "/tmp/seqm-object-XXXXXX";
    close(mkstemp(path));
    cr_assert_eq(sq_codegen_object(g, &t, path, &message), SQ_OK, "%s", message);
    struct stat st;
    cr_assert(stat(path, &st) == 0 && st.st_size > 1000);
    unlink(path);
    sq_text text = {.arena = &ctx->arena};
    cr_assert_eq(sq_codegen_text(g, &t, "total", true, &text, &message), SQ_OK);
    cr_assert_not_null(strstr(text.v, "test.total"));
  }
  sq_text text = {.arena = &ctx->arena};
  cr_assert_eq(sq_codegen_text(g, &target, NULL, false, &text, &message), SQ_OK);
  cr_assert_not_null(strstr(text.v, "define i32 @test.total(ptr"));
  cr_assert_eq(sq_codegen_text(g, &target, "nothing", false, &text, &message), SQ_EUSAGE);
  cr_assert_eq(sq_codegen_object(g, &target, "/proc/no/file.o", &message), SQ_EWORLD);
  sq_target t;
  cr_assert_eq(sq_target_find(ctx, "vax", &t, &message), SQ_EUSAGE);
  finish();
}

// The linked object alone: its descriptor and code are used through dlopen.
Test(codegen_driver, linked) {
  start();
  make_total();
  make_scan(false);
  state("counter", i32(), 2);
  plan_all();
  char base[] = "/tmp/seqm-link-XXXXXX", object[100], so[100], empty[100], runtime[100], line[400];
  cr_assert_not_null(mkdtemp(base));
  snprintf(object, sizeof object, "%s/m.o", base);
  snprintf(so, sizeof so, "%s/m.so", base);
  snprintf(empty, sizeof empty, "%s/rt.o", base);
  snprintf(runtime, sizeof runtime, "%s/librt.a", base);
  snprintf(line, sizeof line,
           "echo 'int seqm_hello(void) { return 42; }' | cc -fPIC -x c -c -o %s - && ar rc %s %s",
           empty, runtime, empty);
  cr_assert_eq(system(line), 0);
  cr_assert_eq(sq_codegen_object(g, &target, object, &message), SQ_OK, "%s", message);
  cr_assert_eq(sq_codegen_link(ctx, &target, object, runtime, so, &message), SQ_OK, "%s", message);
  void *lib = dlopen(so, RTLD_NOW | RTLD_LOCAL);
  cr_assert_not_null(lib, "%s", dlerror());
  const sq_abi_model *m = dlsym(lib, "seqm_model"), *mine = sq_codegen_describe(g, &target);
  cr_assert_not_null(m);
  cr_assert_eq(m, dlsym(lib, "seqm_model_test"));
  cr_assert_not_null(dlsym(lib, "seqm_hello"));
  cr_assert_null(dlsym(lib, "test.total"));
  cr_assert_eq(m->version, SQ_ABI_VERSION);
  cr_assert_eq(m->n_entry, 2);
  cr_assert_eq(m->n_feature, mine->n_feature);
  cr_assert_str_eq(m->entry[1].in[0].name, "x");
  cr_assert_str_eq(m->sym_names[1], "T");
  cr_assert_eq(m->entry[1].in[1].binds, 2);
  cr_assert_str_eq(m->state[0].names[1], "counter.1");
  int64_t sym[3] = {4, 5, 3};
  for (int k = 0; k < 2; k++)
    cr_assert_eq(value_of(&m->entry[k].arena, sym), value_of(&mine->entry[k].arena, sym));
  cr_assert_eq(value_of(&m->entry[1].out[1].dim[1], sym), 5);
  static char arena[4096] __attribute__((aligned(64)));
  int32_t n = 4, out = 0;
  void *in = &n, *outs = &out;
  sq_call c = {.sym = sym, .in = &in, .out = &outs, .arena = arena, .parallel = parallel};
  cr_assert_eq(m->entry[0].code(&c), 0);
  cr_assert_eq(out, 6);
  dlclose(lib);
  cr_assert_eq(sq_codegen_link(ctx, &target, "/no/object.o", runtime, so, &message), SQ_EWORLD);
  snprintf(line, sizeof line, "rm -r %s", base);
  cr_assert_eq(system(line), 0);
  finish();
}

Test(codegen_driver, header) {
  start();
  make_total();
  make_scan(false);
  plan_all();
  sq_text text = {.arena = &ctx->arena};
  sq_codegen_header(sq_codegen_describe(g, &target), "TEST-H", &text);
  cr_assert_not_null(strstr(text.v, "static inline int test_total(seqm_model *m, int32_t n, "
                                    "int32_t *total)"));
  cr_assert_not_null(
      strstr(text.v, "test_scan(seqm_model *m, const float *x, int64_t N, int32_t T"));
  cr_assert_not_null(strstr(text.v, "// scan(x: f32[N], T: i32) -> "));
  char path[] = "/tmp/seqm-header-XXXXXX", line[600];
  int fd = mkstemp(path);
  cr_assert_eq(write(fd, text.v, text.n), (ssize_t)text.n);
  close(fd);
  static const char *const compilers[] = {"cc -std=c99 -pedantic -x c", "c++ -x c++"};
  for (int k = 0; k < 2; k++) {
    snprintf(line, sizeof line, "%s -Wall -Wextra -Werror -fsyntax-only -I%s/runtime %s",
             compilers[k], SEQM_SOURCE_DIR, path);
    cr_assert_eq(system(line), 0);
  }
  unlink(path);
  finish();
}

// ---- memory ------------------------------------------------------------------------------------
typedef struct meter {
  long left, live;
} meter;
static void *metered(void *user, void *p, size_t size) {
  meter *m = user;
  if (size == 0) {
    m->live -= p != NULL;
    free(p);
    return NULL;
  }
  if (m->left-- <= 0) return NULL;
  m->live += p == NULL;
  return realloc(p, size);
}

static bool try_all(void) {
  sq_jit *volatile jit = NULL;
  if (setjmp(ctx->guard.jmp)) {
    sq_jit_free(jit);
    return false;
  }
  g = sq_graph_new(ctx, &ctx->arena, "test");
  make_scan(false);
  plan_all();
  sq_jit *made = NULL;
  cr_assert_eq(sq_target_find(ctx, "native", &target, &message), SQ_OK);
  sq_codegen_describe(g, &target);
  sq_text text = {.arena = &ctx->arena};
  cr_assert_eq(sq_codegen_text(g, &target, NULL, true, &text, &message), SQ_OK);
  cr_assert_eq(sq_jit_new(g, &target, NULL, &made, &message), SQ_OK);
  jit = made;
  sq_abi_hooks h = sq_jit_hooks(made);
  bool done = h.compile(h.user, 0, 0, &message) != NULL;
  if (!done) cr_assert_str_eq(message, "out of memory");
  sq_jit_free(made);
  return done;
}

Test(codegen_driver, failing_allocations) {
  bool done = false;
  for (long n = 0; !done; n++) {
    cr_assert_lt(n, 10000);
    meter m = {n, 0};
    ctx = sq_ctx_new((sq_alloc){metered, &m});
    if (ctx) {
      done = try_all();
      sq_ctx_free(ctx);
    }
    cr_assert_eq(m.live, 0);
  }
}
