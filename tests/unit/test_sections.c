// Scans by maps that are cut along time, against the interpreter: lengths at the edges of sections, code for
// several numbers of cores, random maps, what is not finite; the same bits for each number of threads.
#include "ir/sweep_sections.h"
#include "tests/unit/kernel_check.h"
#include "tests/unit/prefix_text.h"

static const char *const targets[] = {"native", "x86-64-v2", "wide"};

static void find_sweep(sq_node *n, void *user) {
  if (n->op == SQ_OP_SWEEP) *(sq_node **)user = n;
}

// The turns that are cut at most.
static int64_t up_to;
// The least: two sections' worth.
static int64_t least_of(const char *text, const char *name) {
  sq_arena arena;
  ctx = sq_ctx_new(sq_alloc_libc());
  sq_arena_init(&arena, sq_alloc_libc(), &ctx->guard);
  sq_graph *g = read_graph(&arena, name, text);
  sq_node *sweep = NULL;
  sq_walk(g->func.v[0]->body, find_sweep, &sweep);
  sq_target t = target_of(name);
  sq_sections c = sq_sections_make(sq_sweep_make(g, sweep), &t.machine);
  cr_assert_null(c.why, "%s", c.why);
  int64_t least = 2 * c.least;
  up_to = c.up_to;
  sq_arena_free(&arena);
  sq_ctx_free(ctx);
  return least;
}

static void check_cut(const char *name, const char *text, inputs kind) {
  static const uint32_t many[] = {2, 3, 8};
  for (size_t t = 0; t < sizeof targets / sizeof *targets; t++) {
    if (!runs_here(targets[t])) continue;
    char size[5][32];
    const char *sizes[5];
    cores = many[t];
    int64_t least = least_of(text, targets[t]);
    const int64_t n[] = {least - 1, least, least + 13, 2 * least + 259, least * cores / 2 + 1};
    for (int i = 0; i < 5; i++) {
      snprintf(size[i], sizeof size[i], "N=%lld", (long long)n[i]);
      sizes[i] = size[i];
    }
    most_threads = 4;
    check_on(name, text, sizes, 5, kind, targets[t]);
  }
  cores = 0;
  most_threads = 0;
}

static void check_form(const char *name, const char *type, const char *how, const char *expr,
                       inputs kind) {
  char text[PREFIX_TEXT];
  prefix_text(text, type, how, expr);
  check_cut(name, text, kind);
}

// Factors of at most 0.8 and terms of at most 4 keep states below 20, so what is rounded does not grow.
Test(sections, forms) {
  check_form("sum", "f32", "", "%c * (0.2 * t0) + t1", PLAIN);
  check_form("sum, backwards", "f32", "reversed", "%c * (0.2 * t0) + t1", PLAIN);
  check_form("sum in f64", "f64", "reversed", "%c * (0.2_f64 * t0) + t1", PLAIN);
  check_form("begun anew", "f32", "", "select(0.0 < t0, t1, 0.5 * %c)", PLAIN);
  check_form("max-plus", "f32", "reversed", "maximum(%c + t0, t1)", PLAIN);
  check_form("running maximum", "f32", "", "maximum(t1, %c)", PLAIN);
  check_form("between bounds", "f32", "", "minimum(maximum(%c + t0, t1 - 2.0), t1 + 2.0)", PLAIN);
  check_form("between bounds, backwards", "f64", "reversed",
             "minimum(maximum(%c - t0, -1.0_f64), 1.0_f64)", PLAIN);
  check_form("min-plus", "f64", "", "minimum(t1, minimum(%c, 3.0_f64) - t0)", PLAIN);
}

// by * c + other, max(c + by, other) or min(..): each drawn from a few.
Test(sections, random_maps) {
  static const char *const factor[] = {"0.2 * t0", "-0.7", "select(t0 < 1.0, 0.5, 0.0)",
                                       "t1 / (8.0 + t0 * t0)", "0.8 * exp(neg(t0 * t0))"};
  static const char *const term[] = {"t1", "t0 * t1", "1.5", "select(t1 < t0, t1, 0.0)", "t0 - t1"};
  uint64_t draw = 1;
  for (int i = 0; i < 8; i++) {
    char expr[200];
    const char *by, *other;
    draw = draw * 6364136223846793005ull + 1442695040888963407ull;
    uint32_t r = (uint32_t)(draw >> 33);
    by = factor[r % 5];
    other = term[r / 5 % 5];
    if (r / 25 % 3)
      snprintf(expr, sizeof expr, "%s(%%c + %s, %s)", r / 25 % 3 == 1 ? "maximum" : "minimum",
               term[r / 75 % 5], other);
    else
      snprintf(expr, sizeof expr, "(%s) * %%c + %s", by, other);
    slack = 4;
    check_form(expr, "f32", r / 1000 % 2 ? "reversed" : "", expr, PLAIN);
  }
}

Test(sections, not_finite) {
  check_form("sum", "f32", "", "select(t0 < 0.0, t1, 0.5 * %c + t1)", SPECIAL);
  check_form("max-plus", "f32", "reversed", "maximum(%c + select(t0 < 0.0, -1.0, 0.5), t1)",
             SPECIAL);
  check_form("running minimum", "f32", "", "minimum(t1, %c)", SPECIAL);
  check_form("between bounds", "f32", "reversed", "minimum(maximum(%c + t0, -1.0), t1)", SPECIAL);
  // Factors of 1e20 in a row, where the state is 0: no section's map is finite.
  check_form("overflow", "f32", "",
             "t2 = (i64(%t) + 32) % 64; select(t2 < 32, 1e20, select(t2 == 63, 0.0, 0.5)) * %c + "
             "select(t2 < 32, 0.0, select(t2 == 63, 0.0, t1))",
             PLAIN);
  // That of the second section is not, those behind it are.
  check_form("overflow of some", "f32", "",
             "t2 = floordiv(i64(%t), 32) == 400; t3 = i64(%t) == 12799; "
             "select(t2, 1e20, select(t3, 0.0, 0.5)) * %c + select(t2, 0.0, select(t3, 0.0, t1))",
             PLAIN);
}

Test(sections, of_several) {
  check_cut("a sum, a maximum, small states, sums of them",
            "graph t f32\nsym N size\n"
            "entry @f(%x: f32[N], %q: f32[3], %h: f32[3], %g: f32) -> (y: f32[N], z: f32[N], l: "
            "f32[3], m: f32) {\n"
            "  %y, %z, %l, %m = sweep prefix {\n"
            "    %a, %b, %e, %f = scan extent N reversed carried 2 (%h, %g) { (%t: i32, "
            "%s: f32[3], %u: f32)\n"
            "      %v = generic (%x, %t) [] { exp(neg(abs(%x[i64(%t)]))) } : f32\n"
            "      %n = generic (%s, %q, %v) [k < 3] { 0.2 * %q[k] * %s[k] + %v } : f32[3]\n"
            "      %o = generic (%n, %q) [] sum [k < 3] { 0.05 * %q[k] * %n[k] } : f32\n"
            "      %w = generic (%u, %v) [] { maximum(%u - 0.25, %v) } : f32\n"
            "      yield %n, %w, %o, %u\n"
            "    } : f32[3], f32, f32[N], f32[N]\n"
            "    yield %e, %f, %a, %b\n  } : f32[N], f32[N], f32[3], f32\n"
            "  yield %y, %z, %l, %m\n}\n",
            PLAIN);
}

// Three lanes on 8 cores and on 6: two cores for each. Fewer cores cut nothing.
Test(sections, of_lanes) {
  static const char text[] =
      "graph t f32\nsym N size\n"
      "entry @f(%x: f32[3, N], %h: f32[3]) -> (y: f32[N, 3], l: f32[3]) {\n"
      "  %y, %l = sweep prefix {\n"
      "    %a, %e = scan extent N carried 1 (%h) { (%t: i32, %s: f32[3])\n"
      "      %n = generic (%s, %x, %t) [k < 3] { 0.5 * %s[k] + %x[k, i64(%t)] } : f32[3]\n"
      "      yield %n, %n\n    } : f32[3], f32[N, 3]\n"
      "    yield %e, %a\n  } : f32[N, 3], f32[3]\n  yield %y, %l\n}\n";
  static const char *const sizes[] = {"N=0", "N=1", "N=1000", "N=40000", "N=70001"};
  for (uint32_t n = 1; n <= 8; n += n < 5 ? 4 : 1) {
    cores = n;
    most_threads = 4;
    if (n >= 6) least_of(text, "native");
    check_on("lanes", text, sizes, 5, PLAIN, "native");
  }
  cores = 0;
}

// A section's map reads once more what its turns read: up to twice what the last cache holds is cut, 20 bytes
// a turn here, on up to 4 cores.
Test(sections, that_fit_the_cache) {
  static const char text[] =
      "graph t f32\nsym N size\n"
      "entry @f(%a: f32[N], %x: f64[N], %h: f32) -> (y: f32[N], z: f32[N], l: f32) {\n"
      "  %y, %z, %l = sweep prefix {\n"
      "    %p, %e, %f = scan extent N carried 1 (%h) { (%t: i32, %c: f32)\n"
      "      %v = generic (%x, %a, %t) [] { 0.25 * f32(%x[i64(%t)]) + %a[i64(%t)] } : f32\n"
      "      %d = generic (%a, %v, %c, %t) [] { %c * (0.2 * %a[i64(%t)]) + %v } : f32\n"
      "      yield %d, %d, %c\n    } : f32, f32[N], f32[N]\n"
      "    yield %e, %f, %p\n  } : f32[N], f32[N], f32\n  yield %y, %z, %l\n}\n";
  char size[32];
  const char *sizes = size;
  cores = 2;
  l3_bytes = 1 << 20;
  most_threads = 4;
  least_of(text, "native");
  cr_assert_eq(up_to, 2 * (1 << 20) / 20, "%lld", (long long)up_to);
  for (int more = 0; more < 2; more++) {
    snprintf(size, sizeof size, "N=%lld", (long long)up_to + more);
    most_tasks = 0;
    check_on("at the limit", text, &sizes, 1, PLAIN, "native");
    cr_assert_eq(most_tasks > 1, !more, "%lld tasks at %s", (long long)most_tasks, size);
  }
  l3_bytes = 256 << 20; // what a socket has: 16 MiB are of a core
  least_of(text, "native");
  cr_assert_eq(up_to, 2 * 2 * (16 << 20) / 20, "%lld", (long long)up_to);
  cores = 8;
  least_of(text, "native");
  cr_assert_eq(up_to, INT64_MAX);
  cores = l3_bytes = most_threads = 0;
}
