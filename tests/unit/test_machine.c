// The machine's description and how kernels are cut for it: named targets, rates, what --tune found.
#include "codegen/cpu/cut.h"
#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <unistd.h>

static sq_target target_of(sq_ctx *ctx, const char *name) {
  sq_target t;
  const char *message = "";
  cr_assert_eq(sq_target_find(ctx, name, &t, &message), SQ_OK, "%s", message);
  return t;
}

typedef struct expected {
  const char *name;
  uint32_t bytes, registers, mr, stream_nv;
  bool fma;
  int level;
} expected;
static const expected levels[] = {{"x86-64-v2", 16, 16, 4, 2, false, 2},
                                  {"x86-64-v3", 32, 16, 6, 3, true, 3},
                                  {"x86-64-v4", 64, 32, 12, 3, true, 4},
                                  {"aarch64", 16, 32, 12, 3, true, 1}};

static const char *key_of(sq_ctx *ctx, const sq_machine *m) {
  sq_text t = {.arena = &ctx->arena};
  sq_machine_key(m, &t);
  return t.v;
}

Test(machine, named_targets_have_stated_facts_and_tiles_that_fill_the_registers) {
  sq_ctx *ctx = sq_ctx_new(sq_alloc_libc());
  for (unsigned k = 0; k < sizeof levels / sizeof *levels; k++) {
    const expected *e = &levels[k];
    sq_machine m = target_of(ctx, e->name).machine;
    cr_expect_eq(m.vector_bytes, e->bytes, "%s", e->name);
    cr_expect_eq(m.vector_registers, e->registers, "%s", e->name);
    cr_expect_eq(m.fma, e->fma, "%s", e->name);
    cr_expect_eq(sq_machine_step_lanes(&m, 4), e->bytes / 4, "%s", e->name);
    cr_expect(m.l1_bytes == 32 << 10 && m.l2_bytes == 512 << 10 && m.cores && !m.rates.measured);
    sq_machine level = sq_machine_level(e->level);
    cr_expect_str_eq(key_of(ctx, &m), key_of(ctx, &level));
    sq_gemm_cut c = sq_gemm_cut_of(&m);
    cr_expect_eq(c.mr, e->mr, "%s: %u", e->name, c.mr);
    cr_expect(sq_gemm_cut_fits(&m, &c) && c.nv == 2 && c.rows_bytes == 512 << 10);
    cr_expect_eq(c.depth_bytes, (e->mr == 12 ? 128 : 24) << 10, "%s", e->name);
    sq_stream_cut s = sq_stream_cut_of(&m);
    cr_expect(sq_stream_cut_fits(&m, &s) && s.nv == e->stream_nv && s.score_bytes == 12 << 10);
  }
  sq_machine m = target_of(ctx, "native").machine;
  sq_gemm_cut c = sq_gemm_cut_of(&m);
  cr_expect(sq_gemm_cut_fits(&m, &c) && m.cores > 0 && m.rates.flops > 0);
  sq_ctx_free(ctx);
}

// Lanes that wait for one another are as many as an operation takes at once; others fill the vector.
Test(machine, a_vector_that_goes_in_halves_has_half_the_turns) {
  sq_ctx *ctx = sq_ctx_new(sq_alloc_libc());
  sq_machine whole = sq_machine_level(4), halves = whole;
  halves.step_bytes = 32;
  cr_expect(sq_machine_step_lanes(&whole, 4) == 16 && sq_machine_step_lanes(&halves, 4) == 8);
  cr_expect(sq_machine_step_lanes(&halves, 8) == 4 && sq_machine_step_lanes(&halves, 64) == 1);
  cr_expect_eq(sq_machine_lanes(&halves, 4), 16);
  cr_expect_str_neq(key_of(ctx, &whole), key_of(ctx, &halves));
  sq_ctx_free(ctx);
}

// What decides the order of sums does not look at what was measured.
Test(machine, rates_change_units_alone) {
  sq_ctx *ctx = sq_ctx_new(sq_alloc_libc());
  sq_machine a = sq_machine_level(3), b = a;
  a.l3_bytes = b.l3_bytes = 16 << 20;
  sq_machine_calibrate(&b, &(sq_rates){true, 2e11, 2e10, 2e11, 1e11});
  cr_assert(b.rates.measured);
  cr_expect_eq(sq_machine_hidden_rows(&a, 1e9), 4);
  cr_expect_gt(sq_machine_hidden_rows(&b, 1e9), sq_machine_hidden_rows(&b, 1e4));
  sq_gemm_cut x = sq_gemm_cut_of(&a), y = sq_gemm_cut_of(&b);
  y.hidden_rows = x.hidden_rows;
  cr_expect_eq(memcmp(&x, &y, sizeof x), 0);
  cr_expect_str_neq(key_of(ctx, &a), key_of(ctx, &b));
  sq_machine c = b; // a little slower on another day: the same code
  c.rates.flops *= 1.01;
  cr_expect_str_eq(key_of(ctx, &c), key_of(ctx, &b));
  const double bad[] = {NAN, INFINITY, -1, 0};
  for (unsigned k = 0; k < 4; k++) {
    sq_machine d = a;
    sq_machine_calibrate(&d, &(sq_rates){true, bad[k], 1e10, 0, 0});
    cr_expect(!d.rates.measured && d.rates.flops > 0);
  }
  sq_ctx_free(ctx);
}

Test(machine, functions_cost_more_than_sums) {
  cr_expect_eq(sq_ewise_cycles(SQ_EW_ADD), 1);
  cr_expect_gt(sq_ewise_cycles(SQ_EW_EXP), sq_ewise_cycles(SQ_EW_DIV));
  cr_expect_gt(sq_ewise_cycles(SQ_EW_POW), sq_ewise_cycles(SQ_EW_SIN));
}

// ---- what --tune found -------------------------------------------------------------------------
static sq_tuned_row row_of(const char *class, uint32_t mr, float gain) {
  sq_machine m = sq_machine_level(3);
  sq_gemm_cut c = sq_gemm_cut_of(&m);
  c.mr = mr;
  return sq_tuned_of_gemm(class, &c, gain);
}

Test(tuned, rows_are_found_replaced_and_kept) {
  sq_ctx *ctx = sq_ctx_new(sq_alloc_libc());
  sq_arena *a = &ctx->arena;
  sq_target t = target_of(ctx, "x86-64-v3");
  char dir[] = "/tmp/seqm-tuned-XXXXXX";
  cr_assert(mkdtemp(dir));
  bool broken;
  cr_expect(!sq_tuned_load(a, dir, &t, &broken) && !broken);
  const sq_tuned *all = NULL;
  for (int k = 0; k < 20; k++) {
    sq_tuned_row r = row_of(sq_arena_fmt(a, "class %d", k % 10), k < 10 ? 6 : 4, 1.5f);
    all = sq_tuned_with(a, all, &r);
  }
  cr_assert_eq(all->n, 10);
  cr_assert(sq_tuned_store(a, dir, &t, all));
  t.tuned = sq_tuned_load(a, dir, &t, &broken);
  cr_assert(t.tuned && !broken);
  for (int k = 0; k < 10; k++) {
    const sq_tuned_row *r = sq_tuned_find(&t, sq_arena_fmt(a, "class %d", k));
    sq_gemm_cut c = sq_gemm_cut_of(&t.machine);
    cr_assert(r && sq_tuned_gemm(&t.machine, r, &c));
    cr_expect_eq(c.mr, 4);
  }
  cr_expect(!sq_tuned_find(&t, "class 10"));
  sq_target other = target_of(ctx, "x86-64-v4"); // another machine has a file of its own
  cr_expect(!sq_tuned_load(a, dir, &other, &broken) && !broken);
  cr_assert_eq(system(sq_arena_fmt(a, "rm -r %s", dir)), 0);
  sq_ctx_free(ctx);
}

Test(tuned, what_does_not_fit_leaves_the_models_choice) {
  sq_ctx *ctx = sq_ctx_new(sq_alloc_libc());
  sq_arena *a = &ctx->arena;
  sq_target t = target_of(ctx, "x86-64-v3");
  for (uint32_t at = 0; at < SQ_TUNED_NUMBERS; at++) {
    static const uint32_t hostile[] = {0, UINT32_MAX, 1u << 31};
    for (unsigned k = 0; k < 3; k++) {
      sq_tuned_row r = row_of("c", 6, 1);
      sq_gemm_cut c = sq_gemm_cut_of(&t.machine), before = c;
      r.number[at] = hostile[k];
      bool taken = sq_tuned_gemm(&t.machine, &r, &c);
      if (!taken) cr_expect_eq(memcmp(&c, &before, sizeof c), 0);
      cr_expect(taken == (at == 9 && hostile[k] == 0), "number %u = %u", at, hostile[k]);
    }
  }
  sq_tuned_row r = row_of("c", 6, 1);
  sq_stream_cut s = sq_stream_cut_of(&t.machine);
  cr_expect(!sq_tuned_stream(&t.machine, &r, &s)); // of another kind
  char dir[] = "/tmp/seqm-tuned-XXXXXX";
  cr_assert(mkdtemp(dir));
  sq_tuned_row twice[] = {row_of("c", 6, 1), row_of("c", 6, 1)}, odd = row_of("c", 6, NAN);
  odd.kind = 77;
  const sq_tuned bad[] = {{.n = 2, .row = twice}, {.n = 1, .row = &odd}};
  for (unsigned k = 0; k < 2; k++) {
    bool broken;
    cr_assert(sq_tuned_store(a, dir, &t, &bad[k]));
    cr_expect(!sq_tuned_load(a, dir, &t, &broken) && broken);
  }
  cr_assert_eq(system(sq_arena_fmt(a, "rm -r %s", dir)), 0);
  sq_ctx_free(ctx);
}

// A contraction of known columns and depth, and of any number of rows.
static const char product[] =
    "graph t f32\nsym N size\n"
    "entry @f(%x: f32[N, 300], %w: f32[200, 300]) -> (y: f32[N, 200]) {\n"
    "  %y = generic (%x, %w) [n < N, m < 200] sum [k < 300] { %x[n, k] * %w[m, k] } : f32[N, 200]\n"
    "  yield %y\n}\n";
static void is_kernel(sq_node *n, void *user) {
  if (n->g) *(sq_node **)user = n;
}

Test(tuned, a_row_changes_the_cut_of_its_class_alone) {
  sq_ctx *ctx = sq_ctx_new(sq_alloc_libc());
  sq_target t = target_of(ctx, "x86-64-v3");
  sq_graph *g = sq_graph_read(ctx, &ctx->arena, "t", product, strlen(product));
  cr_assert(g, "%s", sq_diags_render(&ctx->diags));
  sq_node *n = NULL;
  sq_walk(g->func.v[0]->body, is_kernel, &n);
  sq_cut_info c;
  cr_assert(n && sq_cut_explain(g, &t, n, NULL, &c) && !c.tuned);
  cr_expect(strstr(c.words, "tiles of 6 rows by 16 columns"), "%s", c.words);
  cr_expect_str_eq(c.class, "contraction f32 unpacked f32, batch 1 rows * columns 200 depth 300");
  int64_t sym[8] = {0, 1000};
  cr_assert(sq_cut_explain(g, &t, n, sym, &c));
  double peak = 2.0 * 1000 * 200 * 300 / t.machine.rates.flops; // the last panel is half full
  cr_expect(c.seconds >= peak && c.seconds < 1.6 * peak, "%g of %g", c.seconds, peak);
  cr_expect_str_eq(c.bound, "multiplications");
  sq_tuned_row other = row_of("contraction of something else", 4, 1.25f),
               row = row_of(c.class, 4, 1.25f);
  t.tuned = sq_tuned_with(&ctx->arena, NULL, &other);
  cr_assert(sq_cut_explain(g, &t, n, NULL, &c) && !c.tuned);
  t.tuned = sq_tuned_with(&ctx->arena, t.tuned, &row);
  cr_assert(sq_cut_explain(g, &t, n, NULL, &c) && c.tuned);
  cr_expect(strstr(c.words, "tiles of 4 rows by 16 columns"), "%s", c.words);
  row.kind = 0; // taken out
  t.tuned = sq_tuned_with(&ctx->arena, t.tuned, &row);
  cr_assert(sq_cut_explain(g, &t, n, NULL, &c) && !c.tuned && t.tuned->n == 1);
  sq_tuned_row try[SQ_CUT_TRIES];
  uint32_t tries = sq_cut_candidates(g, &t, n, try);
  cr_expect(tries > 4);
  for (uint32_t k = 0; k < tries; k++) {
    sq_gemm_cut cut = sq_gemm_cut_of(&t.machine);
    cr_expect(sq_tuned_gemm(&t.machine, &try[k], &cut), "%u", k);
  }
  sq_ctx_free(ctx);
}
