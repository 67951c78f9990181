// The pass manager, translation validation, planning, and random graphs through the whole pipeline.
#include "ir/ir.h"
#include "ir/sweep_check.h"
#include "passes/pipeline.h"
#include "random_graph.h"
#include <criterion/criterion.h>
#include <stdlib.h>
#include <unistd.h>

static sq_ctx *ctx;
static sq_arena arena, own; // `own`: of one random graph

static void setup(void) {
  ctx = sq_ctx_new(sq_alloc_libc());
  cr_assert(ctx);
  sq_arena_init(&arena, sq_alloc_libc(), &ctx->guard);
  if (setjmp(ctx->guard.jmp)) cr_assert_fail("no memory");
}
static void teardown(void) {
  sq_arena_free(&own);
  sq_arena_free(&arena);
  sq_ctx_free(ctx);
}
TestSuite(passes, .init = setup, .fini = teardown);

static sq_graph *read_text(const char *text) {
  sq_graph *g = sq_graph_read(ctx, &arena, "test.sir", text, strlen(text));
  cr_assert(g, "%s", sq_diags_render(&ctx->diags));
  return g;
}

static const char *print(sq_graph *g) {
  sq_text t = {.arena = &arena};
  sq_text_put(&t, "", 0);
  sq_graph_print(g, &t);
  return t.v;
}

static const char add_one[] = "sym N\n"
                              "entry @f(%x: f32[N]) -> (y) {\n"
                              "  %y = generic (%x) [n < N] { %x[n] + 1.0 + 0.0 } : f32[N]\n"
                              "  yield %y\n"
                              "}\n";

Test(passes, every_pass_has_a_row) {
  for (unsigned k = 0; k < sq_pass_count; k++) {
    cr_assert_eq(sq_pass_find(sq_pass_table[k].name), &sq_pass_table[k]);
    cr_assert(sq_pass_table[k].run && *sq_pass_table[k].what);
  }
  cr_assert_null(sq_pass_find("no such pass"));
}

Test(passes, unknown_names_are_usage_errors) {
  const char *message = "";
  sq_pass_options o = {.bisect_limit = -1};
  cr_assert_eq(sq_passes_run(read_text(add_one), "simplify,nonsense", &o, &message), SQ_EUSAGE);
  cr_assert(strstr(message, "nonsense"));
}

Test(passes, bisect_runs_only_so_many) {
  const char *message = "";
  char *text = NULL;
  size_t size = 0;
  FILE *out = open_memstream(&text, &size);
  sq_pass_options o = {.bisect_limit = 1, .dump = out};
  sq_graph *g = read_text(add_one);
  cr_assert_eq(sq_passes_run(g, "simplify,cse,plan", &o, &message), SQ_OK);
  fclose(out);
  cr_assert(strstr(text, "bisect: 1 simplify\n"));
  cr_assert(strstr(text, "bisect: 2 cse (not run)\n"));
  cr_assert(g->func.v[0]->planned, "required passes run all the same");
  free(text);
}

Test(passes, prints_only_what_changed) {
  const char *message = "";
  char *text = NULL;
  size_t size = 0;
  FILE *out = open_memstream(&text, &size);
  sq_pass_options o = {.bisect_limit = -1, .dump = out, .print_changed = true};
  const char *source = "sym N\n"
                       "entry @f(%x: f32[N]) -> (y) {\n"
                       "  %y = generic (%x) [n < N] { %x[n] * 1.0 + 1.0 } : f32[N]\n"
                       "  yield %y\n"
                       "}\n";
  cr_assert_eq(sq_passes_run(read_text(source), "simplify,simplify", &o, &message), SQ_OK);
  fclose(out);
  char *first = strstr(text, "// after simplify");
  cr_assert(first);
  cr_assert_null(strstr(first + 1, "// after"));
  cr_assert_null(strstr(text, "1.0 *"));
  free(text);
}

Test(passes, dumps_a_file_a_pass) {
  char dir[] = "/tmp/seqm-passes-XXXXXX";
  cr_assert(mkdtemp(dir));
  const char *message = "";
  sq_pass_options o = {.bisect_limit = -1, .dump_dir = dir};
  cr_assert_eq(sq_passes_run(read_text(add_one), "simplify,plan", &o, &message), SQ_OK);
  const char *names[] = {"01-simplify.sir", "02-plan.sir"};
  for (int k = 0; k < 2; k++) {
    const char *path = sq_arena_fmt(&arena, "%s/%s", dir, names[k]), *why;
    char *text;
    size_t size;
    cr_assert_eq(sq_file_read(&arena, path, &text, &size, &why), SQ_OK, "%s", path);
    cr_assert(sq_graph_read(ctx, &arena, path, text, size));
    unlink(path);
  }
  rmdir(dir);
  o.dump_dir = "/nonexistent/folder";
  cr_assert_eq(sq_passes_run(read_text(add_one), "simplify", &o, &message), SQ_EWORLD);
}

// ---- validation --------------------------------------------------------------------------------
static const char *compare(const char *old, const char *new_) {
  return sq_validate(read_text(old), read_text(new_), 1);
}

Test(passes, validation_accepts_the_same) { cr_assert_null(compare(add_one, add_one)); }

Test(passes, validation_finds_another_value) {
  const char *other = "sym N\n"
                      "entry @f(%x: f32[N]) -> (y) {\n"
                      "  %y = generic (%x) [n < N] { select(n < 2, %x[n] + 1.0, 0.0) } : f32[N]\n"
                      "  yield %y\n"
                      "}\n";
  const char *difference = compare(add_one, other);
  cr_assert(difference);
  cr_assert(strstr(difference, "`f`"), "%s", difference);
  cr_assert(strstr(difference, "`y`[2]"), "%s", difference);
}

Test(passes, validation_finds_another_state) {
  const char *form = "state @s : f32 = @s.init\n"
                     "entry @f() -> (y) writes {\n"
                     "  %%v = state_read @s : f32\n"
                     "  state_write @s (%%v) [] { %%v + %s }\n"
                     "  %%y = generic () [] { 0.0 } : f32\n"
                     "  yield %%y\n"
                     "}\n"
                     "init @s.init() -> (v) {\n"
                     "  %%0 = generic () [] { 0.0 } : f32\n"
                     "  yield %%0\n"
                     "}\n";
  const char *one = sq_arena_fmt(&arena, form, "1.0"), *two = sq_arena_fmt(&arena, form, "2.0");
  cr_assert_null(compare(one, one));
  const char *difference = compare(one, two);
  cr_assert(difference && strstr(difference, "state `s`"), "%s", difference);
}

Test(passes, validation_finds_a_new_failure) {
  const char *gather = "sym N\n"
                       "site 0 \"out of range\"\n"
                       "entry @f(%%x: f32[N]) -> (y) {\n"
                       "  %%y = generic (%%x) [n < N] { %%x[n + %s; site 0] + 1.0 } : f32[N]\n"
                       "  yield %%y\n"
                       "}\n";
  const char *difference = compare(add_one, sq_arena_fmt(&arena, gather, "1"));
  cr_assert(difference && strstr(difference, "fails now"), "%s", difference);
  cr_assert_null(compare(sq_arena_fmt(&arena, gather, "1"), add_one),
                 "what failed may do anything");
}

// ---- forms of turns ----------------------------------------------------------------------------
static sq_sweep *sweep_of(const char *text) {
  sq_graph *g = read_text(text);
  for (uint32_t k = 0; k < g->func.v[0]->body->nodes.n; k++)
    if (g->func.v[0]->body->nodes.v[k]->op == SQ_OP_SWEEP)
      return sq_sweep_make(g, g->func.v[0]->body->nodes.v[k]);
  cr_assert_fail("no sweep");
  return NULL;
}
static const char line[] =
    "sym N\nentry @f(%a: f32[N], %x: f32[N], %h: f32) -> (y) {\n"
    "  %y = sweep prefix {\n"
    "    %l, %e = scan extent N carried 1 (%h) { (%t: i32, %c: f32)\n"
    "      %d = generic (%a, %c, %x, %t) [] { t0 = i64(%t); OF } : f32\n"
    "      yield %d, %d\n    } : f32, f32[N]\n    yield %e\n  } : f32[N]\n  yield %y\n}\n";
static sq_sweep *line_of(const char *next) {
  char text[1000];
  const char *of = strstr(line, "OF");
  snprintf(text, sizeof text, "%.*s%s%s", (int)(of - line), line, next, of + 2);
  return sweep_of(text);
}

Test(passes, maps_are_checked_at_points) {
  static const char *const next[] = {"%c + %a[t0] * (%x[t0] - %c)",
                                     "select(%x[t0] < 0.0, %a[t0], %a[t0] * %c)",
                                     "maximum(%c - %a[t0], %x[t0])",
                                     "minimum(%x[t0], 2.0 + %c)",
                                     "minimum(maximum(%c - %a[t0], -0.5), %x[t0])",
                                     "log(exp(%c + %a[t0]) + exp(%x[t0]))"};
  for (int k = 0; k < 6; k++) {
    sq_sweep *s = line_of(next[k]);
    sq_prefix f = sq_prefix_make(s);
    cr_assert_null(f.why);
    cr_assert_null(sq_prefix_check(s, &f, 1), "%s: %s", next[k], sq_prefix_check(s, &f, 1));
    sq_prefix_map right = f.map[0];
    f.map[0].by = right.other;
    cr_assert(sq_prefix_check(s, &f, 1), "%s: another factor", next[k]);
    f.map[0] = right;
    f.map[0].other = SQ_NO_SCALAR;
    cr_assert(sq_prefix_check(s, &f, 1), "%s: nothing added", next[k]);
    f.map[0] = right;
    f.map[0].how = right.how == SQ_PREFIX_SUM ? SQ_PREFIX_MAX : SQ_PREFIX_SUM;
    cr_assert(sq_prefix_check(s, &f, 1), "%s: another way", next[k]);
    f.map[0] = right;
    f.map[0].other = s->member[0].n->g->body;
    const char *why = sq_prefix_check(s, &f, 1);
    cr_assert(why && (right.high != SQ_NO_SCALAR || strstr(why, "depends on the state")), "%s",
              why);
  }
}

Test(passes, blocks_are_checked_at_points) {
  sq_sweep *s = sweep_of(
      "sym N\nentry @f(%q: f32[N, 8], %k: f32[N, 8], %a: f32[N], %v: f32[N, 4], %h: f32[8, 4]) -> "
      "(y) "
      "{\n"
      "  %y = sweep chunk 16 {\n"
      "    %l, %e = scan extent N carried 1 (%h) { (%t: i32, %s: f32[8, 4])\n"
      "      %n = generic (%s, %a, %k, %v, %t) [i < 8, j < 4] { t0 = i64(%t); %a[t0] * %s[i, j] + "
      "%k[t0, i] * %v[t0, j] } : f32[8, 4]\n"
      "      %o = generic (%n, %s, %q, %k, %t) [j < 4] sum [i < 8] { t0 = i64(%t); %q[t0, i] * "
      "%n[i, "
      "j] - 2.0 * (%s[i, j] * %k[t0, i]) } : f32[4]\n"
      "      yield %n, %o\n    } : f32[8, 4], f32[N, 4]\n    yield %e\n  } : f32[N, 4]\n"
      "  yield %y\n}\n");
  sq_chunk c = sq_chunk_make(s);
  cr_assert_null(c.why, "%s", c.why);
  cr_assert_null(sq_chunk_check(s, &c, 1), "%s", sq_chunk_check(s, &c, 1));
  sq_chunk_state right = c.state[0];
  c.state[0].by = SQ_NO_SCALAR;
  cr_assert(sq_chunk_check(s, &c, 1));
  c.state[0] = right;
  uint32_t key = c.add[0].key;
  c.add[0].key = c.add[0].column;
  cr_assert(sq_chunk_check(s, &c, 1));
  c.add[0].key = key;
  cr_assert_eq(c.read[0].n_term, 2);
  c.read[0].term[1].before = !c.read[0].term[1].before;
  cr_assert(sq_chunk_check(s, &c, 1));
  c.read[0].term[1].before = !c.read[0].term[1].before;
  c.read[0].n_term = 1;
  cr_assert(sq_chunk_check(s, &c, 1));
}

Test(passes, recursion_is_an_error) {
  const char *message = "";
  sq_pass_options o = {.bisect_limit = -1};
  sq_graph *g = read_text("entry @f(%x: f32) -> (y) {\n"
                          "  %y = call @g (%x) : f32\n"
                          "  yield %y\n"
                          "}\n"
                          "func @g(%x: f32) {\n"
                          "  %y = call @g (%x) : f32\n"
                          "  yield %y\n"
                          "}\n");
  cr_assert_eq(sq_passes_run(g, "inline", &o, &message), SQ_EMODEL);
  cr_assert(strstr(message, "calls itself"), "%s", message);
}

// ---- planning ----------------------------------------------------------------------------------
Test(passes, the_check_of_plans_finds_faults) {
  sq_graph *g =
      read_text("sym N\n"
                "entry @f(%x: f32[N]) -> (y) {\n"
                "  %a = generic (%x) [n < N] { exp(%x[n]) } : f32[N]\n"
                "  %s = generic (%a) [] sum [n < N] { %a[n] } : f32\n"
                "  %b = generic (%a, %s) [n < N] { %a[n] + %s } : f32[N]\n"
                "  %y = generic (%b, %a) [n < N] { %b[n] * %a[dim(N) - 1 - n] } : f32[N]\n"
                "  yield %y\n"
                "}\n");
  const char *message = "";
  sq_pass_options o = {.bisect_limit = -1};
  cr_assert_eq(sq_passes_run(g, "plan", &o, &message), SQ_OK);
  sq_func *f = g->func.v[0];
  sq_text faults = {.arena = &arena};
  cr_assert(sq_plan_verify(f, &faults), "%s", faults.v);
  sq_value *a = f->body->nodes.v[0]->out[0], *b = f->body->nodes.v[2]->out[0];
  uint32_t good = b->store_index;
  sq_store where = b->store;
  b->store = a->store;
  b->store_index = a->store_index;
  cr_assert_not(sq_plan_verify(f, &faults), "%%a is still read");
  b->store = SQ_STORE_NONE;
  cr_assert_not(sq_plan_verify(f, &faults), "a place is missing");
  b->store = where;
  b->store_index = good;
  cr_assert(sq_plan_verify(f, &faults));
}

// ---- random graphs -----------------------------------------------------------------------------
static void check_random(uint64_t seed, const char *pipeline) {
  sq_arena_init(&own, sq_alloc_libc(), &ctx->guard);
  sq_graph *g = rg_make(ctx, &own, seed);
  sq_text faults = {.arena = &own};
  sq_text_put(&faults, "", 0);
  cr_assert(sq_graph_verify(g, &faults), "seed %llu: %s", (unsigned long long)seed, faults.v);
  const char *before = print(g), *message = "";
  sq_pass_options o = {.bisect_limit = -1,
                       .verify_each = true,
                       .roundtrip_each = true,
                       .validate_each = true,
                       .seed = seed};
  sq_status s = sq_passes_run(g, pipeline, &o, &message);
  cr_assert_eq(s, SQ_OK, "seed %llu: %s\n%s", (unsigned long long)seed, message, before);
  sq_arena_free(&own);
}

Test(passes, random_graphs_keep_their_meaning, .timeout = 300) {
  const char *many = getenv("SEQM_RANDOM_GRAPHS"), *first = getenv("SEQM_RANDOM_SEED");
  uint64_t from = first ? strtoull(first, NULL, 10) : 1, n = many ? strtoull(many, NULL, 10) : 200;
  for (uint64_t seed = from; seed < from + n; seed++) check_random(seed, sq_pipeline_cpu);
}

Test(passes, random_graphs_in_any_order, .timeout = 300) {
  const char *many = getenv("SEQM_RANDOM_GRAPHS");
  uint64_t n = many ? strtoull(many, NULL, 10) : 60;
  for (uint64_t seed = 5001; seed < 5001 + n; seed++) {
    rg order = {.rng = seed};
    sq_text t = {.arena = &arena};
    sq_text_put(&t, "inline", 6);
    for (int k = 0; k < 10; k++) {
      const char *name = sq_pass_table[rg_next(&order, sq_pass_count)].name;
      if (strcmp(name, "group") && strcmp(name, "stream") && strcmp(name, "plan"))
        sq_text_add(&t, ",%s", name);
    }
    sq_text_add(&t, ",group,plan");
    check_random(seed, t.v);
  }
}

// ---- marks -------------------------------------------------------------------------------------
static void mark_some(sq_node *n, void *user) {
  if (sq_op_is_work(n->op)) n->span.mark = rg_next(user, 4);
}

static const char *without_marks(sq_graph *g) {
  sq_text t = {.arena = &own};
  sq_text_put(&t, "", 0);
  for (const char *s = print(g); *s;) {
    size_t n = strcspn(s, "\n"), keep = n;
    for (size_t k = 0; k + 8 < n; k++)
      if (!strncmp(s + k, " marked ", 8)) keep = k;
    if (strncmp(s, "mark ", 5)) sq_text_add(&t, "%.*s\n", (int)keep, s);
    s += n + (s[n] != 0);
  }
  return t.v;
}

// What is marked becomes what it becomes without marks, and what is said of it is fused or not.
Test(passes, marks_change_nothing, .timeout = 300) {
  for (uint64_t seed = 1; seed <= 80; seed++) {
    sq_arena_init(&own, sq_alloc_libc(), &ctx->guard);
    sq_graph *plain = rg_make(ctx, &own, seed), *g = rg_make(ctx, &own, seed);
    rg r = {.rng = seed};
    sq_pass_options o = {.bisect_limit = -1, .verify_each = true, .roundtrip_each = true};
    const char *message = "";
    for (uint32_t m = 0; m < 3; m++) sq_mark_new(g, (sq_span){0}, m == 2 ? 2 : 0);
    for (uint32_t k = 0; k < g->func.n; k++) sq_walk(g->func.v[k]->body, mark_some, &r);
    cr_assert_eq(sq_passes_run(plain, sq_pipeline_cpu, &o, &message), SQ_OK, "%s", message);
    uint32_t first = ctx->remarks.n, said = 0;
    o.require_fused = true;
    sq_status s = sq_passes_run(g, sq_pipeline_cpu, &o, &message);
    for (uint32_t k = first; k < ctx->remarks.n; k++)
      said += !strcmp(ctx->remarks.v[k].pass, "require");
    cr_assert(s == SQ_OK || (s == SQ_EMODEL && strstr(message, "not fused: ")), "%s", message);
    cr_assert_eq(said, 3);
    cr_assert_str_eq(without_marks(g), without_marks(plain), "seed %llu", (unsigned long long)seed);
    sq_arena_free(&own);
  }
}

// ---- failing allocations -----------------------------------------------------------------------
typedef struct limited {
  sq_alloc libc;
  long left; // allocations that succeed
} limited;
static void *limited_fn(void *user, void *p, size_t size) {
  limited *l = user;
  if (size && l->left-- <= 0) return NULL;
  return l->libc.fn(l->libc.user, p, size);
}

// The whole pipeline with `left` allocations; true when that was enough. Leaks are found by the
// sanitizer.
static bool run_limited(long left, uint64_t seed) {
  limited l = {sq_alloc_libc(), left};
  sq_ctx *c = sq_ctx_new((sq_alloc){limited_fn, &l});
  if (!c) return false;
  volatile bool done = false;
  if (!setjmp(c->guard.jmp)) {
    const char *message = "";
    sq_pass_options o = {.bisect_limit = -1,
                         .verify_each = true,
                         .roundtrip_each = true,
                         .validate_each = true,
                         .seed = seed};
    sq_graph *g = rg_make(c, &c->arena, seed);
    done = sq_passes_run(g, sq_pipeline_cpu, &o, &message) == SQ_OK && l.left >= 0;
  }
  sq_ctx_free(c);
  return done;
}

Test(passes, failing_allocations_leave_cleanly, .timeout = 300) {
  for (uint64_t seed = 7; seed < 9; seed++) {
    long n = 0, step = 1;
    while (!run_limited(n, seed)) {
      n += step;
      if (n > 60) step = 1 + n / 12;
      cr_assert_lt(n, 100000000);
    }
    cr_assert_gt(n, 10);
  }
}
