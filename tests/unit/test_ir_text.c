// IR text: what is printed reads back and prints alike; hostile text gives diagnostics.
#include "ir/ir.h"
#include <criterion/criterion.h>

static sq_ctx *ctx;
static sq_arena arena;
static void setup(void) {
  ctx = sq_ctx_new(sq_alloc_libc());
  sq_arena_init(&arena, sq_alloc_libc(), &ctx->guard);
}
static void teardown(void) {
  sq_arena_free(&arena);
  sq_ctx_free(ctx);
}
TestSuite(ir_text, .init = setup, .fini = teardown);

static const char *print(const sq_graph *g) {
  sq_text t = {.arena = &arena};
  sq_graph_print(g, &t);
  return t.v;
}

static sq_graph *read_text(const char *text) {
  sq_graph *g = sq_graph_read(ctx, &arena, "t.sir", text, strlen(text));
  cr_assert(g, "%s", sq_diags_render(&ctx->diags));
  return g;
}

static void same(const char *text) { cr_assert_str_eq(print(read_text(text)), text); }

// In printed form already.
Test(ir_text, everything_round_trips) {
  same(
      "graph tiny f32\n"
      "sym N size\n"
      "sym k size low 1 scalar\n"
      "sym n live limit N + 8\n"
      "sym T grow\n"
      "fact N <= 64\n"
      "fact k == 2 * N\n"
      "site 0 \"index out of range: \\\"wte\\\"\\n\" at \"m.seqm\"[3..9]\n"
      "site 1 \"full\"\n"
      "param @wte : f32[64, 32] as \"a.wte\" | \"wte\" frozen\n"
      "param @block.w : f32[32, 32] x 2 as [\n"
      "  \"h.0.w\",\n"
      "  \"h.1.w\"\n"
      "] written\n"
      "param @\"odd name\" : bf16[2]\n"
      "state @ck : f32[48, 8] x 2 as [\n"
      "  \"block.0.ck\",\n"
      "  \"block.1.ck\"\n"
      "] = @ck.init kept\n"
      "state @log : f32[T, 4] as \"log\" grow T axis 0 = @log.init derived\n"
      "\n"
      "entry @forward(%ids: i32[N], %count \"k\": i32 binds k, %live: i32) -> (logits: f32[N, 32], "
      "\"odd name\": f32[N]) writes {\n"
      "  require N <= 64 site 1\n"
      "  require k == 2 * N\n"
      "  %wte = param @wte : f32[64, 32]\n"
      "  %x = generic (%wte, %ids) [n < N, c < 32] { %wte[i64(%ids[n]), c; site 0] } : f32[N, 32]\n"
      "  %0 = generic () [] { 0_i32 } : i32\n"
      "  %1 = generic () [] { 2_i32 } : i32\n"
      "  live n (%live) site 1\n"
      "  %r = repeat (%0, %1, %x) { (%i: i32, %h: f32[N, 32])\n"
      "    %w = param @block.w[%i] : f32[32, 32]\n"
      "    %y = generic (%h, %w) [n < N, o < 32] sum [k < 32] {\n"
      "      t0 = %h[n - 1, k; if n < k; else 0.0];\n"
      "      where k <= n, t0 < 1.5;\n"
      "      t0 * %w[o, k] + exp(-1.0);\n"
      "      t1 = acc / 3.0;\n"
      "      post t1 * (t1 + t1);\n"
      "    } : f32[N, 32]\n"
      "    state_write @ck[%i] (%y) [n < 48, c < 8] {\n"
      "      at [n, c + dim(N); site 0];\n"
      "      guard not n < 3 and true;\n"
      "      %y[n, c];\n"
      "    }\n"
      "    yield %y\n"
      "  } : f32[N, 32]\n"
      "  %v, %at = topk axis 1 k 8 (%r) : f32[N, 8], i32[N, 8]\n"
      "  %key = generic (%at) [] { i64(%at[0, 0]) } : i64\n"
      "  %u = random normal (%key) : f32[N]\n"
      "  %s = cumulate sum axis 0 (%u) : f32[N]\n"
      "  %sorted = sort axis 0 (%s) : f32[N]\n"
      "  %order = argsort axis 0 (%s) : i32[N]\n"
      "  %bins = generic (%order, %s) [] sum [i < N] keyed {\n"
      "    at [i64(%order[i])];\n"
      "    %s[i];\n"
      "  } : f32[N]\n"
      "  %up = update (%bins, %s) [i < N, j < 2] {\n"
      "    at [i // 2 - j % 3];\n"
      "    select(%s[i] < nan, -inf, -0.0);\n"
      "  } : f32[N]\n"
      "  %again = call @log.init () : f32[1, 4]\n"
      "  param_write @\"odd name\" (%up) [i < 2] { bf16(%up[i]) }\n"
      "  yield %r, %up\n"
      "}\n"
      "\n"
      "init @ck.init(%l: i32) -> (value: f32[48, 8]) {\n"
      "  %0 = generic () [a < 48, b < 8] { 1e-05 } : f32[48, 8]\n"
      "  yield %0\n"
      "}\n"
      "\n"
      "init @log.init() -> (value: f32[1, 4]) {\n"
      "  %0 = generic () [i0 < 1, i1 < 4] { 3.4028234663852886e+38 } : f32[1, 4]\n"
      "  yield %0\n"
      "}\n"
      "\n"
      "func @regions(%c: bool, %x: f32[3]) planned {\n"
      "  slot 64 * N\n"
      "  slot 128\n"
      "  scratch 256\n"
      "  %a, %b = if (%c) {\n"
      "    yield %x, %c\n"
      "  } {\n"
      "    yield %x, %c\n"
      "  } : f32[3] @slot 0, bool @slot 1\n"
      "  %w = while limit 100 (%x) { (%p: f32[3])\n"
      "    yield %c\n"
      "  } { (%q: f32[3])\n"
      "    yield %q\n"
      "  } : f32[3]\n"
      "  %e, %f = scan extent N reversed parallel carried 1 (%x) { (%t: i32, %g: f32[3])\n"
      "    yield %g, %g\n"
      "  } : f32[3], f32[N, 3]\n"
      "  %m = map [i < N, j < 2] { (%i: i32, %j: i32)\n"
      "    yield %x\n"
      "  } : f32[N, 2, 3]\n"
      "  %z = group outer 1 {\n"
      "    %in = generic (%x) [i < 3] { %x[i] * 2.0 } : f32[3] @inner 0\n"
      "    yield %in\n"
      "  } : f32[3] @output 0\n"
      "  %n = state_read @log : f32[T, 4] @state 0\n"
      "  reserve @log (%c)\n"
      "  reset\n"
      "  check (%c) site 1\n"
      "  yield %a, %z\n"
      "}\n");
}

Test(ir_text, hand_written_freedom) {
  sq_graph *g = read_text("# no head: graph, f32\n"
                          "entry @f(%x: f32[N]) -> (y) { # symbols may be declared below\n"
                          "  %7 = generic (%x) [n < N] { ((%x[n]) * 2.0) }\n"
                          "     : f32[N]  yield %7 }\n"
                          "sym N\n");
  cr_assert_str_eq(print(g), "graph graph f32\n"
                             "sym N size\n"
                             "\n"
                             "entry @f(%x: f32[N]) -> (y: f32[N]) {\n"
                             "  %0 = generic (%x) [n < N] { %x[n] * 2.0 } : f32[N]\n"
                             "  yield %0\n"
                             "}\n");
}

Test(ir_text, names_are_made_unique) {
  sq_graph *g = sq_graph_new(ctx, &arena, "g");
  sq_func *f = sq_func_new(g, "f", SQ_FUNC_INNER, (sq_span){0});
  sq_value *x = sq_block_arg(f->body, sq_type_scalar(SQ_F32), "x");
  sq_value *in[3] = {x, x, sq_block_arg(f->body, sq_type_scalar(SQ_F32), "x")};
  sq_block_arg(f->body, sq_type_scalar(SQ_F32), "x.1");
  sq_node *n = sq_node_new(g, f->body, SQ_OP_GENERIC, (sq_span){0}, 3, in);
  n->g = sq_generic_new(g, 0, 0);
  uint32_t a = sq_sc_read(g, n->g, SQ_F32, 1, 0, NULL), b = sq_sc_read(g, n->g, SQ_F32, 2, 0, NULL);
  n->g->body = sq_sc_ewise(g, n->g, SQ_EW_SUB, a, b);
  sq_value *y = sq_node_result(g, n, sq_type_scalar(SQ_F32), "not plain");
  sq_node_new(g, f->body, SQ_OP_YIELD, (sq_span){0}, 1, &y);
  sq_func_new(g, "f", SQ_FUNC_INNER, (sq_span){0});
  const char *text = print(g);
  cr_assert_str_eq(text, "graph g f32\n"
                         "\n"
                         "func @f(%x: f32, %x.1: f32, %x.1.1: f32) {\n"
                         "  %0 = generic (%x, %x, %x.1) [] { in1 - %x.1 } : f32\n"
                         "  yield %0\n"
                         "}\n"
                         "\n"
                         "func @f!1() {\n"
                         "}\n");
  same(text);
}

// Sharing is what it was; a long chain is cut into named pieces instead of nesting without end.
Test(ir_text, scalar_graphs_round_trip) {
  sq_graph *g = sq_graph_new(ctx, &arena, "g");
  sq_func *f = sq_func_new(g, "f", SQ_FUNC_INNER, (sq_span){0});
  sq_node *n = sq_node_new(g, f->body, SQ_OP_GENERIC, (sq_span){0}, 0, NULL);
  n->g = sq_generic_new(g, 0, 0);
  uint32_t s = sq_sc_float(g, n->g, SQ_F32, 0.1), shared = s;
  for (int k = 0; k < 5000; k++) {
    uint32_t c = sq_sc_float(g, n->g, SQ_F32, k);
    s = k % 2 ? sq_sc_ewise(g, n->g, SQ_EW_SUB, c, s) : sq_sc_ewise(g, n->g, SQ_EW_POW, s, c);
    if (k % 7 == 0) s = sq_sc_ewise(g, n->g, SQ_EW_DIV, s, shared);
    if (k % 11 == 0) shared = s;
  }
  n->g->body = s;
  sq_value *y = sq_node_result(g, n, sq_type_scalar(SQ_F32), NULL);
  sq_node_new(g, f->body, SQ_OP_YIELD, (sq_span){0}, 1, &y);
  same(print(g));
}

Test(ir_text, places_round_trip) {
  uint32_t file = sq_diags_source(&ctx->diags, "m.seqm", "one\ntwo\n", 8);
  sq_graph *g = sq_graph_new(ctx, &arena, "g");
  sq_func *f = sq_func_new(g, "f", SQ_FUNC_INNER, (sq_span){file, 0, 3, 0});
  sq_value *c = sq_block_arg(f->body, sq_type_scalar(SQ_BOOL), "c");
  sq_node *n = sq_node_new(g, f->body, SQ_OP_CHECK, (sq_span){file, 4, 7, 0}, 1, &c);
  n->site = sq_site_new(g, (sq_span){file, 4, 7, 0}, "no");
  sq_mark_new(g, (sq_span){file, 2, 3, 0}, 0);
  n->span.mark = sq_mark_new(g, (sq_span){file, 0, 1, 0}, 1);
  sq_node_new(g, f->body, SQ_OP_YIELD, (sq_span){0}, 0, NULL);
  sq_text t = {.arena = &arena}, u = {.arena = &arena};
  sq_graph_print_places(g, &t);
  sq_graph *h = read_text(t.v);
  sq_graph_print_places(h, &u);
  cr_assert_str_eq(t.v, u.v);
  cr_assert_eq(h->func.v[0]->body->nodes.v[0]->span.file, file);
  cr_assert_eq(h->func.v[0]->body->nodes.v[0]->span.begin, 4);
  cr_assert_eq(h->func.v[0]->body->nodes.v[0]->span.mark, 2);
  cr_assert_eq(h->mark.n, 2);
  cr_assert_eq(h->mark.v[0].span.begin, 2);
  cr_assert_eq(h->mark.v[1].outer, 1);
}

static void wrong(const char *text, const char *message) {
  sq_diags_init(&ctx->diags, &ctx->arena);
  cr_assert_null(sq_graph_read(ctx, &arena, "t.sir", text, strlen(text)));
  const char *all = sq_diags_render(&ctx->diags);
  cr_assert(strstr(all, message), "%s\ninstead of %s", all, message);
}

Test(ir_text, mistakes_have_places) {
  wrong("sym N\nsym N\n", "t.sir:2:5: error: two symbols `N`");
  wrong("func @f(%x: f32[M]) { yield }", "no symbol `M`");
  wrong("func @f() { yield %x }", "no value `%x` above");
  wrong("func @f(%x: f32, %x: f32) { yield }", "`%x` is defined twice");
  wrong("func @f() { %x = param @w : f32 yield }", "no parameter `@w`");
  wrong("func @f() { frob }", "expected an operation instead of `frob`");
  wrong("func @f() { %x = generic () [] { t0 } : f32 }", "no scalar `t0` above");
  wrong("func @f() { %x = generic () [] { } : f32 }", "the element is missing");
  wrong("func @f() { %x = generic () [] { exp(1.0 } : f32 }", "expected `)`");
  wrong("func @f() { %x = generic () [n < 1, n < 2] { 1.0 } : f32 }", "two axes `n`");
  wrong("site 1 \"x\"", "this one is 0");
  wrong("func @f() -> (y: f32) { yield }", "is not what the function yields");
  wrong("func @f() { yield", "expected");
  wrong("state @s : f32 = @nowhere", "no function `@nowhere`");
  wrong("sym N size low 99999999999999999999", "too large");
  wrong("func @f() { %x = generic () [] { 1.0 < 2.0 < 3.0 } : bool }", "expected `;`");
  wrong("func @f(%x: f32[1,1,1,1,1,1,1,1,1,1,1,1,1]) { yield }", "more than 12 axes");
  wrong("func @f() { @ }", "means nothing");
  wrong("graph \"x", "does not end");
  wrong("func @f() { frob }\nfunc @g() { frab }", "frab"); // both are reported
}

Test(ir_text, deep_nesting_ends) {
  sq_text t = {.arena = &arena};
  sq_text_add(&t, "func @f() { %%x = generic () [] { ");
  for (int k = 0; k < 100000; k++) sq_text_add(&t, "(");
  wrong(t.v, "nested too deeply");
  t.n = 0;
  sq_text_add(&t, "func @f(%%x: f32[");
  for (int k = 0; k < 100000; k++) sq_text_add(&t, "min(1, ");
  wrong(t.v, "nested too deeply");
  t.n = 0;
  sq_text_add(&t, "func @f(%%c: bool) { ");
  for (int k = 0; k < 100000; k++) sq_text_add(&t, "if (%%c) { ");
  wrong(t.v, "nested too deeply");
}

// Every prefix of a good text, and the text with one token changed, is read without harm.
Test(ir_text, damaged_text_is_harmless) {
  const char *good = "sym N\nsite 0 \"x\"\nparam @w : f32[N] x 2 as [\"a\", \"b\"]\n"
                     "state @s : f32[4] = @i\ninit @i() { yield }\n"
                     "func @f(%x: f32[N]) -> (y) { require N <= 4 site 0\n"
                     "%y = generic (%x) [n < N] sum [k < 3] { t0 = %x[n; else 0.0]; where t0 < "
                     "1.0; t0 * t0; post acc; } : f32[N] @slot 1 yield %y }\n";
  size_t n = strlen(good);
  char *text = sq_arena_take(&arena, n + 1);
  const char *marks = "%@{}()[]<=;,.0xN\"\\#-";
  for (size_t k = 0; k < n; k++) {
    sq_diags_init(&ctx->diags, &ctx->arena);
    sq_graph_read(ctx, &arena, "t.sir", good, k);
    for (const char *m = marks; *m; m++) {
      memcpy(text, good, n);
      text[k] = *m;
      sq_graph *g = sq_graph_read(ctx, &arena, "t.sir", text, n);
      if (!g) continue;
      sq_text faults = {.arena = &arena};
      print(g);
      sq_graph_verify(g, &faults);
    }
  }
}

Test(ir_text, drawing) {
  sq_graph *g = read_text("entry @f(%c: bool, %x: f32[4]) -> (y) {\n"
                          "  %y = if (%c) { yield %x } { %z = sort axis 0 (%x) : f32[4] yield %z }"
                          " : f32[4]\n  yield %y\n}\n");
  sq_text t = {.arena = &arena}, none = {.arena = &arena};
  sq_graph_dot(g, "f", &t);
  cr_assert(strstr(t.v, "digraph \"f\" {"), "%s", t.v);
  cr_assert(strstr(t.v, "label=\"if: else\""), "%s", t.v);
  cr_assert(strstr(t.v, "[shape=box, label=\"sort\\nz: f32[4]\"];"), "%s", t.v);
  sq_graph_dot(g, "nowhere", &none);
  cr_assert(strstr(none.v, "digraph"));
}

// A pass can break what no text can say.
Test(ir_text, verifier_sees_broken_links) {
  sq_graph *g = read_text("func @f(%x: f32) -> (y) {\n"
                          "  %y = generic (%x) [] { exp(%x) } : f32\n  yield %y\n}\n"
                          "func @g(%x: f32) { yield }\n");
  sq_text faults = {.arena = &arena};
  cr_assert(sq_graph_verify(g, &faults), "%s", faults.v);
  sq_block *b = g->func.v[0]->body;
  sq_node *n = b->nodes.v[0];
  n->g->s.v[1].a[0] = 1;
  cr_assert_not(sq_graph_verify(g, &faults));
  cr_assert(strstr(faults.v, "scalar.order"), "%s", faults.v);
  print(g);
  n->g->s.v[1].a[0] = 0;
  n->in[0] = g->func.v[1]->body->args.v[0];
  cr_assert_not(sq_graph_verify(g, &faults));
  cr_assert(strstr(faults.v, "value.order"), "%s", faults.v);
  n->in[0] = b->args.v[0];
  n->block = g->func.v[1]->body;
  cr_assert_not(sq_graph_verify(g, &faults));
  cr_assert(strstr(faults.v, "node.block"), "%s", faults.v);
  n->block = b;
  n->out[0]->id = 99;
  cr_assert_not(sq_graph_verify(g, &faults));
  cr_assert(strstr(faults.v, "value.once"), "%s", faults.v);
}
