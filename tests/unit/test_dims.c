// Symbolic sizes: normal forms, proofs (checked against random values), evaluation, text, limits.
#include "ir/dims.h"
#include <criterion/criterion.h>

static sq_arena arena;
static sq_dims *ds;
static sq_dim N, M, K, L;

static void setup(void) {
  sq_arena_init(&arena, sq_alloc_libc(), NULL);
  ds = sq_dims_new(&arena);
  N = sq_dim_sym(ds, sq_sym_new(ds, "N", SQ_SYM_SIZE));
  M = sq_dim_sym(ds, sq_sym_new(ds, "M", SQ_SYM_SIZE));
  sq_sym k = sq_sym_new(ds, "K", SQ_SYM_SIZE);
  sq_sym_at(ds, k)->low = 1;
  K = sq_dim_sym(ds, k);
  sq_sym l = sq_sym_new(ds, "L", SQ_SYM_LIVE);
  sq_sym_at(ds, l)->limit = sq_dim_add(ds, N, sq_dim_const(ds, 8));
  L = sq_dim_sym(ds, l);
}
static void teardown(void) { sq_arena_free(&arena); }
TestSuite(dims, .init = setup, .fini = teardown);

static sq_dim c(int64_t v) { return sq_dim_const(ds, v); }
static sq_dim add(sq_dim a, sq_dim b) { return sq_dim_add(ds, a, b); }
static sq_dim mul(sq_dim a, sq_dim b) { return sq_dim_mul(ds, a, b); }
static sq_dim fdiv(sq_dim a, sq_dim b) { return sq_dim_floordiv(ds, a, b); }
static sq_dim mod(sq_dim a, sq_dim b) { return sq_dim_mod(ds, a, b); }
static sq_dim min(sq_dim a, sq_dim b) { return sq_dim_min(ds, a, b); }
static sq_dim max(sq_dim a, sq_dim b) { return sq_dim_max(ds, a, b); }
#define SAYS(d, text) cr_assert_str_eq(sq_dim_text(ds, (d)), (text))

Test(dims, normal_form) {
  SAYS(add(add(N, c(3)), mul(c(2), N)), "3 * N + 3");
  SAYS(sq_dim_sub(ds, add(N, M), N), "M");
  SAYS(mul(add(N, c(1)), add(M, c(2))), "2 * N + M + N * M + 2");
  SAYS(sq_dim_sub(ds, c(3), N), "3 - N");
  SAYS(sq_dim_sub(ds, N, c(1)), "N - 1");
  cr_assert(sq_dim_same(mul(N, M), mul(M, N)));
  cr_assert(
      sq_dim_same(mul(add(N, M), add(N, M)), add(add(mul(N, N), mul(c(2), mul(N, M))), mul(M, M))));
}

Test(dims, division) {
  SAYS(fdiv(mul(c(4), N), c(4)), "N");
  SAYS(fdiv(add(mul(c(4), N), c(6)), c(4)), "N + 1");
  SAYS(fdiv(add(mul(c(4), N), mul(c(2), M)), c(4)), "N + floordiv(M, 2)");
  SAYS(fdiv(fdiv(N, c(3)), c(5)), "floordiv(N, 15)");
  SAYS(fdiv(add(fdiv(add(N, c(1)), c(2)), c(1)), c(2)), "floordiv(N + 3, 4)");
  SAYS(fdiv(mul(N, M), N), "M");
  SAYS(fdiv(N, N), "1");
  SAYS(fdiv(mul(c(6), add(N, M)), add(N, M)), "6");
  SAYS(fdiv(N, c(-2)), "floordiv(-N, 2)");
  SAYS(mod(N, c(1)), "0");
  SAYS(mod(add(mul(c(8), N), c(5)), c(4)), "1");
  SAYS(mod(mul(c(4), N), c(6)), "2 * mod(2 * N, 3)");
  SAYS(mod(mod(N, c(8)), c(4)), "mod(N, 4)");
  SAYS(mod(mul(N, M), M), "0");
  SAYS(fdiv(mod(N, c(4)), c(4)), "0");
  SAYS(fdiv(c(-7), c(2)), "-4");
  SAYS(mod(c(-7), c(2)), "1");
}

Test(dims, extrema) {
  SAYS(min(N, N), "N");
  SAYS(min(N, add(N, c(3))), "N");
  SAYS(max(N, add(N, c(3))), "N + 3");
  SAYS(min(c(4), c(9)), "4");
  cr_assert(sq_dim_same(min(N, min(M, K)), min(min(K, N), M)));
  SAYS(min(mod(N, c(4)), c(7)), "mod(N, 4)");
}

Test(dims, saturation) {
  cr_assert(sq_dim_same(add(c(INT64_MAX - 1), c(10)), c(INT64_MAX)));
  cr_assert(sq_dim_same(mul(c(INT64_MAX / 2), c(-10)), c(INT64_MIN)));
  int64_t v, sym[5] = {0, 5, 6, 7, 8};
  cr_assert_not(sq_dim_eval(ds, add(c(INT64_MAX), N), sym, &v));
  sym[1] = INT64_MAX / 2;
  cr_assert_not(sq_dim_eval(ds, mul(N, c(3)), sym, &v));
  sym[1] = INT64_MIN;
  cr_assert_not(sq_dim_eval(ds, N, sym, &v));
  sym[2] = 0;
  cr_assert_not(sq_dim_eval(ds, fdiv(K, M), sym, &v));
}

Test(dims, proofs) {
  cr_assert_eq(sq_prove_le(ds, N, add(N, M)), 1);
  cr_assert_eq(sq_prove_le(ds, add(N, c(1)), N), -1);
  cr_assert_eq(sq_prove_le(ds, N, M), 0);
  cr_assert_eq(sq_prove_eq(ds, mul(c(2), N), add(mul(c(2), M), c(1))), -1);
  cr_assert_eq(sq_prove_le(ds, N, mul(N, K)), 1);
  cr_assert_eq(sq_prove_le(ds, L, add(N, c(8))), 1);
  cr_assert_eq(sq_prove_le(ds, add(mod(N, M), c(1)), M), 1);
  cr_assert_eq(sq_prove_le(ds, mul(c(4), fdiv(N, c(4))), N), 1);
  cr_assert_eq(sq_prove_le(ds, N, mul(c(4), fdiv(add(N, c(3)), c(4)))), 1);
  cr_assert_eq(sq_prove_le(ds, fdiv(N, K), N), 1);
  cr_assert_eq(sq_prove_le(ds, min(N, M), N), 1);
  cr_assert_eq(sq_prove_le(ds, N, max(N, M)), 1);
  cr_assert_eq(sq_prove_le(ds, add(min(N, M), c(-1)), min(N, add(M, c(2)))), 1);
  cr_assert_eq(sq_prove_eq(ds, add(mul(c(4), fdiv(N, c(4))), mod(N, c(4))), N), 1);
  cr_assert_eq(sq_dim_low(ds, add(mul(c(3), K), c(2))), 5);
  cr_assert_eq(sq_dim_high(ds, mod(N, c(8))), 7);
  cr_assert_eq(sq_dim_high(ds, N), INT64_MAX);
}

Test(dims, facts) {
  sq_fact_le(ds, N, M);
  sq_fact_le(ds, M, K);
  cr_assert_eq(sq_prove_le(ds, N, K), 1);
  cr_assert_eq(sq_prove_eq(ds, min(N, K), N), 1);
  sq_fact_le(ds, K, c(100));
  cr_assert_eq(sq_dim_high(ds, N), 100);
  cr_assert_eq(sq_prove_le(ds, c(101), N), -1);
  sq_fact_eq(ds, mul(c(2), N), M);
  cr_assert_eq(sq_prove_eq(ds, add(M, c(1)), add(mul(c(2), N), c(1))), 1);
  cr_assert_eq(sq_fact_count(ds), 4);
}

Test(dims, substitution_and_storage) {
  sq_dim with[3] = {{0}, mul(c(4), K), {0}};
  SAYS(sq_dim_subst(ds, fdiv(N, c(4)), with, 3), "K");
  SAYS(sq_dim_storage(ds, mul(L, M)), "8 * M + N * M");
  SAYS(sq_dim_storage(ds, sq_dim_sub(ds, add(N, c(8)), L)), "N + 8");
  cr_assert(sq_dim_mentions(ds, fdiv(mul(N, M), K), (sq_sym){3}));
  cr_assert_not(sq_dim_mentions(ds, fdiv(mul(N, M), K), (sq_sym){4}));
}

Test(dims, symbols_are_unique) {
  sq_sym again = sq_sym_new(ds, "N", SQ_SYM_SIZE);
  cr_assert_str_eq(sq_sym_at(ds, again)->name, "N.1");
  for (int i = 0; i < 200; i++) sq_sym_new(ds, sq_arena_fmt(&arena, "s%d", i), SQ_SYM_SIZE);
  cr_assert_eq(sq_sym_find(ds, "s150").i, again.i + 151);
  cr_assert_eq(sq_sym_find(ds, "none").i, 0);
}

// Nothing that a program can write grows without end.
Test(dims, hostile_sizes_end) {
  sq_dim x = add(N, M), y = N;
  for (int i = 0; i < 200; i++) x = mul(x, add(x, c(i)));
  for (int i = 0; i < 2000; i++) y = add(fdiv(mul(y, add(M, c(i))), c(3 + i % 5)), mod(y, c(7)));
  int64_t v, sym[5] = {0, 2, 3, 4, 5};
  cr_assert_not(sq_dim_eval(ds, x, sym, &v));
  cr_assert_not(sq_dim_eval(ds, y, sym, &v));
  cr_assert_eq(sq_prove_le(ds, x, N), 0);
  cr_assert_lt(strlen(sq_dim_text(ds, y)), 1000000u);
  for (int i = 0; i < 300; i++) {
    sq_dim s = sq_dim_sym(ds, sq_sym_new(ds, "h", SQ_SYM_SIZE));
    sq_fact_le(ds, s, add(min(N, s), fdiv(s, c(3))));
    y = i ? add(y, s) : s;
  }
  cr_assert_eq(sq_prove_eq(ds, y, mul(N, M)), 0);
}

static uint64_t rng_state = 88172645463325252u;
static uint32_t rng(uint32_t n) {
  rng_state ^= rng_state << 13;
  rng_state ^= rng_state >> 7;
  rng_state ^= rng_state << 17;
  return (uint32_t)(rng_state >> 33) % n;
}

// A random expression, and beside it its value computed directly (false: it has none).
typedef struct pair {
  sq_dim d;
  int64_t v[8];
  bool ok[8];
} pair;
static int64_t floor_div(int64_t a, int64_t b) {
  int64_t q = a / b;
  return a % b && (a % b < 0) != (b < 0) ? q - 1 : q;
}
static pair random_pair(int64_t sym[8][5], int depth) {
  pair p = {.d = {0}};
  uint32_t pick = depth ? rng(10) : rng(3);
  if (pick == 0) {
    int64_t v = (int64_t)rng(12) - 4;
    p.d = c(v);
    for (int i = 0; i < 8; i++) p.v[i] = v, p.ok[i] = true;
    return p;
  }
  if (pick < 3) {
    uint32_t s = 1 + rng(4);
    p.d = sq_dim_sym(ds, (sq_sym){s});
    for (int i = 0; i < 8; i++) p.v[i] = sym[i][s], p.ok[i] = true;
    return p;
  }
  pair a = random_pair(sym, depth - 1), b = random_pair(sym, depth - 1);
  uint32_t op = rng(7);
  p.d = op == 0   ? sq_dim_add(ds, a.d, b.d)
        : op == 1 ? sq_dim_sub(ds, a.d, b.d)
        : op == 2 ? sq_dim_mul(ds, a.d, b.d)
        : op == 3 ? sq_dim_floordiv(ds, a.d, b.d)
        : op == 4 ? sq_dim_mod(ds, a.d, b.d)
        : op == 5 ? sq_dim_min(ds, a.d, b.d)
                  : sq_dim_max(ds, a.d, b.d);
  for (int i = 0; i < 8; i++) {
    int64_t x = a.v[i], y = b.v[i];
    p.ok[i] = a.ok[i] && b.ok[i] && ((op != 3 && op != 4) || y != 0);
    if (!p.ok[i]) continue;
    p.v[i] = op == 0   ? x + y
             : op == 1 ? x - y
             : op == 2 ? x * y
             : op == 3 ? floor_div(x, y)
             : op == 4 ? x - floor_div(x, y) * y
             : op == 5 ? (x < y ? x : y)
                       : (x > y ? x : y);
    if (p.v[i] > 1000000 || p.v[i] < -1000000) p.ok[i] = false;
  }
  return p;
}

Test(dims, random_expressions_agree_with_numbers) {
  int proved = 0;
  for (int round = 0; round < 6000; round++) {
    int64_t sym[8][5];
    for (int i = 0; i < 8; i++) {
      sym[i][1] = rng(9), sym[i][2] = rng(9), sym[i][3] = 1 + rng(8);
      sym[i][4] = rng((uint32_t)sym[i][1] + 9);
    }
    pair a = random_pair(sym, 4), b = random_pair(sym, 3);
    int le = sq_prove_le(ds, a.d, b.d), eq = sq_prove_eq(ds, a.d, b.d);
    int64_t low = sq_dim_low(ds, a.d), high = sq_dim_high(ds, a.d);
    sq_dim store = sq_dim_storage(ds, a.d);
    proved += le != 0;
    for (int i = 0; i < 8; i++) {
      int64_t v;
      if (!a.ok[i]) continue;
      cr_assert(sq_dim_eval(ds, a.d, sym[i], &v), "%s", sq_dim_text(ds, a.d));
      cr_assert_eq(v, a.v[i], "%s", sq_dim_text(ds, a.d));
      cr_assert(low <= v && v <= high, "%s", sq_dim_text(ds, a.d));
      if (v >= 0 && sq_dim_eval(ds, store, sym[i], &v))
        cr_assert_geq(v, a.v[i], "%s -> %s", sq_dim_text(ds, a.d), sq_dim_text(ds, store));
      if (!b.ok[i]) continue;
      if (le) cr_assert_eq(le > 0, a.v[i] <= b.v[i]);
      if (eq) cr_assert_eq(eq > 0, a.v[i] == b.v[i]);
    }
  }
  cr_assert_gt(proved, 1000);
}
