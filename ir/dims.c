// Symbolic sizes: interning, arithmetic to a normal form, evaluation, substitution, text.
//
//   floordiv(4 * N + 6, 4)        ->  N + 1                 (exact parts leave the division)
//   mod(8 * N + 5, 4)             ->  1
//   min(N, N + 3)                 ->  N
//   (N + 1) * (M + 2)             ->  M * N + 2 * N + M + 2
//
// Terms and factors are ordered by structure and not by id, so that equal expressions print alike
// in whatever order they were made. Simplification may remove a division by zero (N // N is 1) but
// never adds one. A constant that leaves the 64-bit range saturates to INT64_MIN or INT64_MAX,
// which absorb all arithmetic and have no value; a coefficient that does makes the whole valueless.
#include "ir/dims_inner.h"
#include "ir/ir_text.h"

// ---- tables ------------------------------------------------------------------------------------

static uint32_t mix(uint32_t h, uint64_t v) {
  uint64_t x = (h ^ v) * 0x9E3779B97F4A7C15u;
  return (uint32_t)(x ^ (x >> 32));
}

static uint32_t hash_node(const sq_dim_node *n) {
  uint32_t h = mix(17, n->kind);
  h = mix(h, (uint64_t)n->value);
  h = mix(h, ((uint64_t)n->sym.i << 32) | n->n);
  h = mix(h, ((uint64_t)n->a.i << 32) | n->b.i);
  for (uint32_t i = 0; n->term && i < n->n; i++) {
    h = mix(h, (uint64_t)n->term[i].coef);
    h = mix(h, n->term[i].prod.i);
  }
  for (uint32_t i = 0; n->factor && i < n->n; i++) h = mix(h, n->factor[i].i);
  return h;
}

static bool node_same(const sq_dim_node *x, const sq_dim_node *y) {
  if (x->kind != y->kind || x->value != y->value || x->sym.i != y->sym.i || x->n != y->n ||
      x->a.i != y->a.i || x->b.i != y->b.i)
    return false;
  for (uint32_t i = 0; x->term && i < x->n; i++)
    if (x->term[i].coef != y->term[i].coef || x->term[i].prod.i != y->term[i].prod.i) return false;
  for (uint32_t i = 0; x->factor && i < x->n; i++)
    if (x->factor[i].i != y->factor[i].i) return false;
  return true;
}

static uint32_t find_node(const sq_dims *ds, const sq_dim_node *n, uint32_t hash) {
  for (uint32_t at = hash & (ds->cap - 1); ds->slot[at]; at = (at + 1) & (ds->cap - 1)) {
    const dim_rec *r = ds->rec.v[ds->slot[at]];
    if (r->hash == hash && node_same(&r->node, n)) return ds->slot[at];
  }
  return 0;
}

static void slots_grow(sq_dims *ds) {
  if ((ds->rec.n + 1) * 2 <= ds->cap) return;
  ds->cap *= 2;
  ds->slot = SQ_ARRAY(ds->arena, uint32_t, ds->cap);
  for (uint32_t id = 1; id < ds->rec.n; id++) {
    uint32_t at = ds->rec.v[id]->hash & (ds->cap - 1);
    while (ds->slot[at]) at = (at + 1) & (ds->cap - 1);
    ds->slot[at] = id;
  }
}

static sq_dim no_value(sq_dims *ds) { return ds->none; }

// The interned node; arrays are copied. Too deep or heavy: `no_value`.
static sq_dim intern(sq_dims *ds, sq_dim_node n) {
  uint32_t hash = hash_node(&n), id = find_node(ds, &n, hash);
  if (id) return (sq_dim){id};
  uint32_t depth = 0, weight = 1;
#define CHILD(d)                                                                                   \
  do {                                                                                             \
    const dim_rec *c = ds->rec.v[(d).i];                                                           \
    if (c->depth > depth) depth = c->depth;                                                        \
    weight += c->weight;                                                                           \
  } while (0)
  for (uint32_t i = 0; n.term && i < n.n; i++) CHILD(n.term[i].prod);
  for (uint32_t i = 0; n.factor && i < n.n; i++) CHILD(n.factor[i]);
  if (n.a.i) CHILD(n.a);
  if (n.b.i) CHILD(n.b);
#undef CHILD
  if (depth + 1 > DIM_MAX_DEPTH || weight > DIM_MAX_WEIGHT) return no_value(ds);
  dim_rec *r = SQ_NEW(ds->arena, dim_rec);
  *r = (dim_rec){n, depth + 1, weight, hash};
  if (n.term) {
    sq_dim_term *t = SQ_ARRAY(ds->arena, sq_dim_term, n.n);
    memcpy(t, n.term, sizeof *t * n.n);
    r->node.term = t;
  }
  if (n.factor) {
    sq_dim *f = SQ_ARRAY(ds->arena, sq_dim, n.n);
    memcpy(f, n.factor, sizeof *f * n.n);
    r->node.factor = f;
  }
  slots_grow(ds);
  uint32_t at = hash & (ds->cap - 1);
  while (ds->slot[at]) at = (at + 1) & (ds->cap - 1);
  ds->slot[at] = ds->rec.n;
  sq_push(ds->arena, &ds->rec, r);
  return (sq_dim){ds->rec.n - 1};
}

sq_dims *sq_dims_new(sq_arena *a) {
  sq_dims *ds = SQ_NEW(a, sq_dims);
  ds->arena = a;
  ds->cap = 256;
  ds->slot = SQ_ARRAY(a, uint32_t, ds->cap);
  ds->sym_cap = 64;
  ds->sym_slot = SQ_ARRAY(a, uint32_t, ds->sym_cap);
  sq_push(a, &ds->rec, NULL);
  sq_push(a, &ds->sym, NULL);
  sq_dim one = sq_dim_const(ds, 1), zero = sq_dim_const(ds, 0);
  ds->none = intern(ds, (sq_dim_node){.kind = SQ_DIM_FLOORDIV, .a = one, .b = zero});
  return ds;
}

// ---- symbols -----------------------------------------------------------------------------------

static uint32_t hash_name(const char *s) {
  uint32_t h = 2166136261u;
  for (; *s; s++) h = (h ^ (unsigned char)*s) * 16777619u;
  return mix(h, 1);
}

static uint32_t *sym_place(const sq_dims *ds, const char *name) {
  uint32_t at = hash_name(name) & (ds->sym_cap - 1);
  while (ds->sym_slot[at] && strcmp(ds->sym.v[ds->sym_slot[at]]->name, name) != 0)
    at = (at + 1) & (ds->sym_cap - 1);
  return &ds->sym_slot[at];
}

sq_sym sq_sym_find(const sq_dims *ds, const char *name) { return (sq_sym){*sym_place(ds, name)}; }

sq_sym sq_sym_new(sq_dims *ds, const char *name, sq_sym_kind kind) {
  if ((ds->sym.n + 1) * 2 > ds->sym_cap) {
    ds->sym_cap *= 2;
    ds->sym_slot = SQ_ARRAY(ds->arena, uint32_t, ds->sym_cap);
    for (uint32_t i = 1; i < ds->sym.n; i++) *sym_place(ds, ds->sym.v[i]->name) = i;
  }
  const char *unique = sq_arena_str(ds->arena, name, strlen(name));
  for (uint32_t k = 1; *sym_place(ds, unique); k++)
    unique = sq_arena_fmt(ds->arena, "%s.%u", name, (unsigned)k);
  sq_sym_info *info = SQ_NEW(ds->arena, sq_sym_info);
  info->name = unique;
  info->kind = kind;
  *sym_place(ds, unique) = ds->sym.n;
  sq_push(ds->arena, &ds->sym, info);
  return (sq_sym){ds->sym.n - 1};
}

sq_sym_info *sq_sym_at(const sq_dims *ds, sq_sym s) {
  SQ_ASSERT(s.i && s.i < ds->sym.n, "symbol %u out of range", (unsigned)s.i);
  return ds->sym.v[s.i];
}

uint32_t sq_sym_count(const sq_dims *ds) { return ds->sym.n - 1; }

// ---- reading nodes -----------------------------------------------------------------------------

const sq_dim_node *sq_dim_at(const sq_dims *ds, sq_dim d) {
  SQ_ASSERT(d.i && d.i < ds->rec.n, "dimension %u out of range", (unsigned)d.i);
  return &ds->rec.v[d.i]->node;
}

bool sq_dim_is_const(const sq_dims *ds, sq_dim d, int64_t *v) {
  if (!d.i) return false;
  const sq_dim_node *n = sq_dim_at(ds, d);
  if (n->kind != SQ_DIM_CONST) return false;
  if (v) *v = n->value;
  return true;
}

// Structural order: independent of ids, hence of the order of creation.
static int compare(const sq_dims *ds, sq_dim x, sq_dim y) {
  if (x.i == y.i) return 0;
  const sq_dim_node *a = sq_dim_at(ds, x), *b = sq_dim_at(ds, y);
  if (a->kind != b->kind) return a->kind < b->kind ? -1 : 1;
  if (a->sym.i != b->sym.i) return a->sym.i < b->sym.i ? -1 : 1;
  if (a->n != b->n) return a->n < b->n ? -1 : 1;
  for (uint32_t i = 0; i < a->n; i++) {
    sq_dim p = a->term ? a->term[i].prod : a->factor[i];
    sq_dim q = b->term ? b->term[i].prod : b->factor[i];
    int c = compare(ds, p, q);
    if (c) return c;
    if (a->term && a->term[i].coef != b->term[i].coef)
      return a->term[i].coef < b->term[i].coef ? -1 : 1;
  }
  if (a->value != b->value) return a->value < b->value ? -1 : 1;
  if (a->kind == SQ_DIM_CONST || a->kind == SQ_DIM_SYM) return 0;
  if (!a->a.i) return 0;
  int c = compare(ds, a->a, b->a);
  return c ? c : compare(ds, a->b, b->b);
}

// ---- sums --------------------------------------------------------------------------------------

// A linear form being built: sorted terms. `bad`: no value (too large, or a coefficient
// overflowed).
typedef struct form {
  int64_t k;
  uint32_t n;
  bool bad;
  sq_dim_term t[DIM_MAX_TERMS];
} form;

static void form_of(const sq_dims *ds, sq_dim d, form *f) {
  const sq_dim_node *n = sq_dim_at(ds, d);
  f->k = 0, f->n = 0, f->bad = d.i == ds->none.i;
  if (n->kind == SQ_DIM_CONST) {
    f->k = n->value;
  } else if (n->kind == SQ_DIM_SUM) {
    f->k = n->value;
    f->n = n->n;
    memcpy(f->t, n->term, sizeof *f->t * n->n);
  } else {
    f->n = 1;
    f->t[0] = (sq_dim_term){1, d};
  }
}

static int64_t add_const(int64_t a, int64_t b) {
  if (dim_is_infinite(a)) return a;
  if (dim_is_infinite(b)) return b;
  return dim_clamp((__int128)a + b);
}

static int64_t mul_const(int64_t a, int64_t b) {
  if (a == 0 || b == 0) return 0;
  return dim_clamp((__int128)a * b);
}

static void form_add_term(const sq_dims *ds, form *f, int64_t coef, sq_dim prod) {
  f->bad |= prod.i == ds->none.i;
  uint32_t lo = 0, hi = f->n;
  while (lo < hi) {
    uint32_t mid = (lo + hi) / 2;
    if (compare(ds, f->t[mid].prod, prod) < 0)
      lo = mid + 1;
    else
      hi = mid;
  }
  if (lo < f->n && f->t[lo].prod.i == prod.i) {
    int64_t c = dim_clamp((__int128)f->t[lo].coef + coef);
    if (dim_is_infinite(c)) f->bad = true;
    f->t[lo].coef = c;
    if (c == 0) memmove(&f->t[lo], &f->t[lo + 1], sizeof *f->t * (--f->n - lo));
    return;
  }
  if (coef == 0) return;
  if (dim_is_infinite(coef) || f->n == DIM_MAX_TERMS) {
    f->bad = true;
    return;
  }
  memmove(&f->t[lo + 1], &f->t[lo], sizeof *f->t * (f->n++ - lo));
  f->t[lo] = (sq_dim_term){coef, prod};
}

static sq_dim form_done(sq_dims *ds, const form *f) {
  if (f->bad) return no_value(ds);
  if (dim_is_infinite(f->k)) return sq_dim_const(ds, f->k);
  if (f->n == 0) return sq_dim_const(ds, f->k);
  if (f->n == 1 && f->k == 0 && f->t[0].coef == 1) return f->t[0].prod;
  return intern(ds, (sq_dim_node){.kind = SQ_DIM_SUM, .value = f->k, .n = f->n, .term = f->t});
}

static void form_add(const sq_dims *ds, form *f, sq_dim d, int64_t coef) {
  const sq_dim_node *n = sq_dim_at(ds, d);
  if (n->kind == SQ_DIM_CONST) {
    f->k = add_const(f->k, mul_const(n->value, coef));
  } else if (n->kind == SQ_DIM_SUM) {
    f->k = add_const(f->k, mul_const(n->value, coef));
    for (uint32_t i = 0; i < n->n && !f->bad; i++)
      form_add_term(ds, f, mul_const(n->term[i].coef, coef), n->term[i].prod);
  } else {
    form_add_term(ds, f, coef, d);
  }
}

sq_dim sq_dim_const(sq_dims *ds, int64_t v) {
  return intern(ds, (sq_dim_node){.kind = SQ_DIM_CONST, .value = v});
}

sq_dim sq_dim_sym(sq_dims *ds, sq_sym s) {
  SQ_ASSERT(s.i && s.i < ds->sym.n, "symbol %u out of range", (unsigned)s.i);
  return intern(ds, (sq_dim_node){.kind = SQ_DIM_SYM, .sym = s});
}

sq_dim sq_dim_add(sq_dims *ds, sq_dim a, sq_dim b) {
  form f;
  form_of(ds, a, &f);
  form_add(ds, &f, b, 1);
  return form_done(ds, &f);
}

sq_dim sq_dim_sub(sq_dims *ds, sq_dim a, sq_dim b) {
  if (a.i == b.i && a.i != ds->none.i && !dim_is_infinite(sq_dim_at(ds, a)->value))
    return sq_dim_const(ds, 0);
  form f;
  form_of(ds, a, &f);
  form_add(ds, &f, b, -1);
  return form_done(ds, &f);
}

// ---- products ----------------------------------------------------------------------------------

static uint32_t factors_of(const sq_dims *ds, const sq_dim *d, const sq_dim **f) {
  const sq_dim_node *n = sq_dim_at(ds, *d);
  *f = n->kind == SQ_DIM_PROD ? n->factor : d;
  return n->kind == SQ_DIM_PROD ? n->n : 1;
}

// The product of two products of atoms; {0} when it has too many factors.
static sq_dim mul_prods(sq_dims *ds, sq_dim a, sq_dim b) {
  const sq_dim *fa, *fb;
  uint32_t na = factors_of(ds, &a, &fa), nb = factors_of(ds, &b, &fb), n = 0;
  if (na + nb > DIM_MAX_FACTORS) return (sq_dim){0};
  sq_dim f[DIM_MAX_FACTORS];
  for (uint32_t i = 0, j = 0; i < na || j < nb;)
    f[n++] = j == nb || (i < na && compare(ds, fa[i], fb[j]) <= 0) ? fa[i++] : fb[j++];
  return intern(ds, (sq_dim_node){.kind = SQ_DIM_PROD, .n = n, .factor = f});
}

sq_dim sq_dim_find_prod(const sq_dims *ds, const sq_dim *f, uint32_t n) {
  if (n == 1) return f[0];
  sq_dim_node p = {.kind = SQ_DIM_PROD, .n = n, .factor = f};
  return (sq_dim){find_node(ds, &p, hash_node(&p))};
}

sq_dim sq_dim_mul(sq_dims *ds, sq_dim a, sq_dim b) {
  form x, y, f = {.k = 0};
  form_of(ds, a, &x);
  form_of(ds, b, &y);
  if (x.bad || y.bad) return no_value(ds);
  if ((uint64_t)(x.n + 1) * (y.n + 1) > 4 * DIM_MAX_TERMS) return no_value(ds);
  f.k = mul_const(x.k, y.k);
  if (!dim_is_infinite(f.k) && (dim_is_infinite(x.k) || dim_is_infinite(y.k)) && (x.n || y.n))
    return no_value(ds); // infinity times something of unknown sign
  for (uint32_t i = 0; i < x.n && y.k; i++)
    form_add_term(ds, &f, mul_const(x.t[i].coef, y.k), x.t[i].prod);
  for (uint32_t j = 0; j < y.n && x.k; j++)
    form_add_term(ds, &f, mul_const(y.t[j].coef, x.k), y.t[j].prod);
  for (uint32_t i = 0; i < x.n; i++)
    for (uint32_t j = 0; j < y.n && !f.bad; j++) {
      sq_dim p = mul_prods(ds, x.t[i].prod, y.t[j].prod);
      if (!p.i) return no_value(ds);
      form_add_term(ds, &f, mul_const(x.t[i].coef, y.t[j].coef), p);
    }
  return form_done(ds, &f);
}

// p / by as products of atoms: false when `by` does not divide. *rest {0}: the quotient is 1.
static bool prod_divide(sq_dims *ds, sq_dim p, sq_dim by, sq_dim *rest) {
  const sq_dim *fp, *fb;
  uint32_t np = factors_of(ds, &p, &fp), nb = factors_of(ds, &by, &fb), n = 0, j = 0;
  sq_dim f[DIM_MAX_FACTORS];
  for (uint32_t i = 0; i < np; i++) {
    if (j < nb && fp[i].i == fb[j].i)
      j++;
    else
      f[n++] = fp[i];
  }
  if (j < nb) return false;
  *rest = n == 0   ? (sq_dim){0}
          : n == 1 ? f[0]
                   : intern(ds, (sq_dim_node){.kind = SQ_DIM_PROD, .n = n, .factor = f});
  return true;
}

// ---- division ----------------------------------------------------------------------------------

static sq_dim atom2(sq_dims *ds, sq_dim_kind kind, sq_dim a, sq_dim b) {
  return intern(ds, (sq_dim_node){.kind = kind, .a = a, .b = b});
}

static int64_t gcd(int64_t a, int64_t b) {
  uint64_t x = a < 0 ? -(uint64_t)a : (uint64_t)a, y = b < 0 ? -(uint64_t)b : (uint64_t)b;
  while (y) {
    uint64_t r = x % y;
    x = y;
    y = r;
  }
  return x > INT64_MAX ? 1 : (int64_t)x;
}

// Terms of a that are multiples of b go to `quot` (divided), the others stay in `rest`.
static bool split_multiples(sq_dims *ds, sq_dim a, sq_dim b, form *quot, form *rest) {
  form x, y;
  form_of(ds, a, &x);
  form_of(ds, b, &y);
  quot->k = rest->k = 0, quot->n = rest->n = 0, quot->bad = rest->bad = false;
  rest->k = x.k;
  if (y.n != 1 || y.k != 0) { // a sum: only a constant multiple of it
    if (!y.n || !x.n || x.n != y.n || x.t[0].coef % y.t[0].coef) return false;
    int64_t k = x.t[0].coef / y.t[0].coef;
    form_of(ds, a, rest);
    form_add(ds, rest, b, mul_const(k, -1));
    if (rest->n || rest->k || rest->bad) return false;
    quot->k = k;
    return true;
  }
  for (uint32_t i = 0; i < x.n; i++) {
    sq_dim r;
    if (x.t[i].coef % y.t[0].coef || !prod_divide(ds, x.t[i].prod, y.t[0].prod, &r)) {
      rest->t[rest->n++] = x.t[i];
    } else if (r.i) {
      form_add_term(ds, quot, x.t[i].coef / y.t[0].coef, r);
    } else {
      quot->k = add_const(quot->k, x.t[i].coef / y.t[0].coef);
    }
  }
  return quot->n || quot->k;
}

// (a // m + k) // c  ->  (a + k m) // (m c)
static bool floordiv_nested(sq_dims *ds, const form *x, int64_t c, sq_dim *out) {
  if (x->n != 1 || x->t[0].coef != 1) return false;
  const sq_dim_node *n = sq_dim_at(ds, x->t[0].prod);
  int64_t m;
  if (n->kind != SQ_DIM_FLOORDIV || !sq_dim_is_const(ds, n->b, &m) || m <= 0 ||
      dim_is_infinite(mul_const(m, c)) || dim_is_infinite(mul_const(m, x->k)))
    return false;
  sq_dim a = sq_dim_add(ds, n->a, sq_dim_const(ds, m * x->k));
  *out = sq_dim_floordiv(ds, a, sq_dim_const(ds, m * c));
  return true;
}

// a // c for a constant c > 1 and a that is not a constant.
static sq_dim floordiv_const(sq_dims *ds, sq_dim a, int64_t c) {
  form x, quot = {.k = 0}, rest = {.k = 0};
  form_of(ds, a, &x);
  sq_dim nested;
  if (floordiv_nested(ds, &x, c, &nested)) return nested;
  quot.k = dim_floordiv(x.k, c);
  rest.k = dim_mod(x.k, c);
  int64_t g = c;
  for (uint32_t i = 0; i < x.n; i++) {
    int64_t q = x.t[i].coef / c, r = x.t[i].coef % c;
    if (q) form_add_term(ds, &quot, q, x.t[i].prod);
    if (r) form_add_term(ds, &rest, r, x.t[i].prod);
    g = gcd(g, r);
  }
  bool moved = quot.n || quot.k;
  if (rest.n && g > 1) {
    for (uint32_t i = 0; i < rest.n; i++) rest.t[i].coef /= g;
    rest.k /= g;
    c /= g;
  }
  sq_dim r = form_done(ds, &rest), q;
  dim_range range = sq_dim_form_range(ds, r);
  if (!rest.n || (range.lo >= 0 && range.hi < c))
    q = sq_dim_const(ds, 0);
  else if (moved || g > 1)
    q = sq_dim_floordiv(ds, r, sq_dim_const(ds, c));
  else
    q = atom2(ds, SQ_DIM_FLOORDIV, r, sq_dim_const(ds, c));
  return sq_dim_add(ds, form_done(ds, &quot), q);
}

sq_dim sq_dim_floordiv(sq_dims *ds, sq_dim a, sq_dim b) {
  if (a.i == ds->none.i || b.i == ds->none.i) return no_value(ds);
  int64_t x, y;
  bool ca = sq_dim_is_const(ds, a, &x), cb = sq_dim_is_const(ds, b, &y);
  if ((ca && dim_is_infinite(x)) || (cb && dim_is_infinite(y))) return no_value(ds);
  if (cb && y == 0) return atom2(ds, SQ_DIM_FLOORDIV, a, b);
  if (ca && cb) return sq_dim_const(ds, dim_floordiv(x, y));
  if (ca && x == 0) return a;
  if (cb && y == 1) return a;
  sq_dim zero = sq_dim_const(ds, 0);
  if (cb && y < 0) return sq_dim_floordiv(ds, sq_dim_sub(ds, zero, a), sq_dim_const(ds, -y));
  if (cb) return floordiv_const(ds, a, y);
  form quot, rest;
  if (!split_multiples(ds, a, b, &quot, &rest)) return atom2(ds, SQ_DIM_FLOORDIV, a, b);
  return sq_dim_add(ds, form_done(ds, &quot), sq_dim_floordiv(ds, form_done(ds, &rest), b));
}

static sq_dim mod_const(sq_dims *ds, sq_dim a, int64_t c) {
  const sq_dim_node *n = sq_dim_at(ds, a);
  int64_t inner;
  if (n->kind == SQ_DIM_MOD && sq_dim_is_const(ds, n->b, &inner) && inner > 0 && inner % c == 0)
    return sq_dim_mod(ds, n->a, sq_dim_const(ds, c));
  form x, rest = {.k = 0};
  form_of(ds, a, &x);
  rest.k = dim_mod(x.k, c);
  int64_t g = c;
  for (uint32_t i = 0; i < x.n; i++) {
    int64_t r = dim_mod(x.t[i].coef, c);
    if (r) form_add_term(ds, &rest, r, x.t[i].prod);
    g = gcd(g, r);
  }
  sq_dim r = form_done(ds, &rest);
  dim_range range = sq_dim_form_range(ds, r);
  if (!rest.n || (range.lo >= 0 && range.hi < c)) return r;
  if (g > 1) { // (g X + k) % (g c) = g * ((X + k / g) % c) + k % g
    int64_t low = rest.k % g;
    for (uint32_t i = 0; i < rest.n; i++) rest.t[i].coef /= g;
    rest.k /= g;
    sq_dim m = sq_dim_mod(ds, form_done(ds, &rest), sq_dim_const(ds, c / g));
    return sq_dim_add(ds, sq_dim_mul(ds, m, sq_dim_const(ds, g)), sq_dim_const(ds, low));
  }
  return r.i == a.i ? atom2(ds, SQ_DIM_MOD, r, sq_dim_const(ds, c))
                    : sq_dim_mod(ds, r, sq_dim_const(ds, c));
}

sq_dim sq_dim_mod(sq_dims *ds, sq_dim a, sq_dim b) {
  if (a.i == ds->none.i || b.i == ds->none.i) return no_value(ds);
  int64_t x, y;
  bool ca = sq_dim_is_const(ds, a, &x), cb = sq_dim_is_const(ds, b, &y);
  if ((ca && dim_is_infinite(x)) || (cb && dim_is_infinite(y))) return no_value(ds);
  if (cb && y == 0) return atom2(ds, SQ_DIM_MOD, a, b);
  if (ca && cb) return sq_dim_const(ds, dim_mod(x, y));
  if ((ca && x == 0) || (cb && (y == 1 || y == -1))) return sq_dim_const(ds, 0);
  if (cb && y > 0) return mod_const(ds, a, y);
  form quot, rest;
  if (cb || !split_multiples(ds, a, b, &quot, &rest)) return atom2(ds, SQ_DIM_MOD, a, b);
  return sq_dim_mod(ds, form_done(ds, &rest), b);
}

// ---- min and max -------------------------------------------------------------------------------

enum { MAX_ARGS = 16 };
typedef struct args {
  sq_dim v[MAX_ARGS];
  uint32_t n;
  bool full;
} args;

// Adds d, or drops it or others, where the difference decides by its form.
static void args_add(sq_dims *ds, args *l, sq_dim_kind kind, sq_dim d) {
  const sq_dim_node *n = sq_dim_at(ds, d);
  if (n->kind == kind) {
    args_add(ds, l, kind, n->a);
    args_add(ds, l, kind, n->b);
    return;
  }
  for (uint32_t i = 0; i < l->n; i++) {
    dim_range r = sq_dim_form_range(ds, sq_dim_sub(ds, d, l->v[i]));
    bool below = r.hi != INT64_MAX && r.hi <= 0, above = r.lo != INT64_MIN && r.lo >= 0;
    bool drop_new = kind == SQ_DIM_MIN ? above : below;
    bool drop_old = kind == SQ_DIM_MIN ? below : above;
    if (drop_new) return;
    if (drop_old) {
      memmove(&l->v[i], &l->v[i + 1], sizeof *l->v * (--l->n - i));
      i--;
    }
  }
  if (l->n == MAX_ARGS) {
    l->full = true;
    return;
  }
  uint32_t at = l->n++;
  for (; at > 0 && compare(ds, l->v[at - 1], d) > 0; at--) l->v[at] = l->v[at - 1];
  l->v[at] = d;
}

static sq_dim extremum(sq_dims *ds, sq_dim_kind kind, sq_dim a, sq_dim b) {
  int64_t v;
  if (a.i == ds->none.i || b.i == ds->none.i) return no_value(ds);
  if ((sq_dim_is_const(ds, a, &v) && dim_is_infinite(v)) ||
      (sq_dim_is_const(ds, b, &v) && dim_is_infinite(v)))
    return no_value(ds);
  args l = {.n = 0};
  args_add(ds, &l, kind, a);
  args_add(ds, &l, kind, b);
  if (l.full) return no_value(ds);
  sq_dim d = l.v[l.n - 1];
  for (uint32_t i = l.n - 1; i-- > 0;) d = atom2(ds, kind, l.v[i], d);
  return d;
}

sq_dim sq_dim_min(sq_dims *ds, sq_dim a, sq_dim b) { return extremum(ds, SQ_DIM_MIN, a, b); }
sq_dim sq_dim_max(sq_dims *ds, sq_dim a, sq_dim b) { return extremum(ds, SQ_DIM_MAX, a, b); }

// ---- evaluation --------------------------------------------------------------------------------

bool sq_dim_eval(const sq_dims *ds, sq_dim d, const int64_t *sym, int64_t *out) {
  const sq_dim_node *n = sq_dim_at(ds, d);
  int64_t a = 0, b = 0, acc;
  switch (n->kind) {
  case SQ_DIM_CONST:
    *out = n->value;
    return !dim_is_infinite(n->value);
  case SQ_DIM_SYM:
    *out = sym[n->sym.i];
    return !dim_is_infinite(*out);
  case SQ_DIM_SUM:
    acc = n->value;
    for (uint32_t i = 0; i < n->n; i++)
      if (!sq_dim_eval(ds, n->term[i].prod, sym, &a) ||
          __builtin_mul_overflow(a, n->term[i].coef, &a) || __builtin_add_overflow(acc, a, &acc))
        return false;
    *out = acc;
    return !dim_is_infinite(acc);
  case SQ_DIM_PROD:
    acc = 1;
    for (uint32_t i = 0; i < n->n; i++)
      if (!sq_dim_eval(ds, n->factor[i], sym, &a) || __builtin_mul_overflow(acc, a, &acc))
        return false;
    *out = acc;
    return !dim_is_infinite(acc);
  case SQ_DIM_FLOORDIV:
  case SQ_DIM_MOD:
  case SQ_DIM_MIN:
  case SQ_DIM_MAX:
    if (!sq_dim_eval(ds, n->a, sym, &a) || !sq_dim_eval(ds, n->b, sym, &b)) return false;
    if (n->kind == SQ_DIM_MIN || n->kind == SQ_DIM_MAX) {
      *out = (n->kind == SQ_DIM_MIN) == (a < b) ? a : b;
      return true;
    }
    if (b == 0) return false;
    *out = n->kind == SQ_DIM_FLOORDIV ? dim_floordiv(a, b) : dim_mod(a, b);
    return !dim_is_infinite(*out);
  }
  return false;
}

// ---- substitution ------------------------------------------------------------------------------

typedef sq_dim (*combine)(sq_dims *ds, sq_dim a, sq_dim b);
static combine combine_of(sq_dim_kind k) {
  return k == SQ_DIM_FLOORDIV ? sq_dim_floordiv
         : k == SQ_DIM_MOD    ? sq_dim_mod
         : k == SQ_DIM_MIN    ? sq_dim_min
                              : sq_dim_max;
}

sq_dim sq_dim_subst(sq_dims *ds, sq_dim d, const sq_dim *with, uint32_t n_with) {
  if (!d.i) return d;
  const sq_dim_node *n = sq_dim_at(ds, d);
  if (n->kind == SQ_DIM_CONST) return d;
  if (n->kind == SQ_DIM_SYM) return n->sym.i < n_with && with[n->sym.i].i ? with[n->sym.i] : d;
  if (n->kind == SQ_DIM_SUM) {
    sq_dim sum = sq_dim_const(ds, n->value);
    for (uint32_t i = 0; i < n->n; i++) {
      sq_dim p = sq_dim_subst(ds, n->term[i].prod, with, n_with);
      sum = sq_dim_add(ds, sum, sq_dim_mul(ds, p, sq_dim_const(ds, n->term[i].coef)));
    }
    return sum;
  }
  if (n->kind == SQ_DIM_PROD) {
    sq_dim prod = sq_dim_const(ds, 1);
    for (uint32_t i = 0; i < n->n; i++)
      prod = sq_dim_mul(ds, prod, sq_dim_subst(ds, n->factor[i], with, n_with));
    return prod;
  }
  sq_dim a = sq_dim_subst(ds, n->a, with, n_with), b = sq_dim_subst(ds, n->b, with, n_with);
  return a.i == n->a.i && b.i == n->b.i ? d : combine_of(n->kind)(ds, a, b);
}

static bool mentions_live(const sq_dims *ds, sq_dim d) {
  if (!d.i) return false;
  const sq_dim_node *n = sq_dim_at(ds, d);
  if (n->kind == SQ_DIM_SYM) return ds->sym.v[n->sym.i]->kind == SQ_SYM_LIVE;
  for (uint32_t i = 0; n->term && i < n->n; i++)
    if (mentions_live(ds, n->term[i].prod)) return true;
  for (uint32_t i = 0; n->factor && i < n->n; i++)
    if (mentions_live(ds, n->factor[i])) return true;
  return mentions_live(ds, n->a) || mentions_live(ds, n->b);
}

static sq_dim bound_live(sq_dims *ds, sq_dim d, bool up, uint32_t nest);

// One factor of unknown sign is bounded towards its own side of 0; of two nothing is known.
static sq_dim bound_product(sq_dims *ds, const sq_dim_node *n, bool up, uint32_t nest) {
  sq_dim prod = sq_dim_const(ds, 1), zero = sq_dim_const(ds, 0);
  uint32_t unknown = 0;
  for (uint32_t i = 0; i < n->n; i++) unknown += sq_dim_low(ds, n->factor[i]) < 0;
  if (unknown > 1) return no_value(ds);
  for (uint32_t i = 0; i < n->n; i++) {
    bool is_unknown = sq_dim_low(ds, n->factor[i]) < 0;
    sq_dim f = bound_live(ds, n->factor[i], up || (unknown && !is_unknown), nest + 1);
    if (is_unknown)
      f = up ? sq_dim_max(ds, f, zero) : sq_dim_min(ds, f, zero);
    else if (!up && !unknown && mentions_live(ds, n->factor[i]))
      f = sq_dim_max(ds, f, zero);
    prod = sq_dim_mul(ds, prod, f);
  }
  return prod;
}

// An expression without live symbols that is never below d (up) or never above it (not up).
static sq_dim bound_live(sq_dims *ds, sq_dim d, bool up, uint32_t nest) {
  if (!mentions_live(ds, d)) return d;
  const sq_dim_node *n = sq_dim_at(ds, d);
  if (nest > 2 * DIM_MAX_DEPTH || ++ds->steps > DIM_MAX_WEIGHT) return no_value(ds);
  if (n->kind == SQ_DIM_SYM) {
    const sq_sym_info *info = ds->sym.v[n->sym.i];
    if (!up) return sq_dim_const(ds, info->low > 0 ? info->low : 0);
    return info->limit.i ? bound_live(ds, info->limit, true, nest + 1) : no_value(ds);
  }
  if (n->kind == SQ_DIM_SUM) {
    sq_dim sum = sq_dim_const(ds, n->value);
    for (uint32_t i = 0; i < n->n; i++) {
      sq_dim p = bound_live(ds, n->term[i].prod, (n->term[i].coef > 0) == up, nest + 1);
      sum = sq_dim_add(ds, sum, sq_dim_mul(ds, p, sq_dim_const(ds, n->term[i].coef)));
    }
    return sum;
  }
  if (n->kind == SQ_DIM_PROD) return bound_product(ds, n, up, nest);
  sq_dim zero = sq_dim_const(ds, 0);
  if ((n->kind == SQ_DIM_MOD || n->kind == SQ_DIM_FLOORDIV) && sq_dim_low(ds, n->b) < 0)
    return no_value(ds);
  if (n->kind == SQ_DIM_MOD)
    return up ? sq_dim_sub(ds, bound_live(ds, n->b, true, nest + 1), sq_dim_const(ds, 1)) : zero;
  sq_dim a = bound_live(ds, n->a, up, nest + 1);
  if (n->kind != SQ_DIM_FLOORDIV)
    return combine_of(n->kind)(ds, a, bound_live(ds, n->b, up, nest + 1));
  if (!mentions_live(ds, n->b)) return sq_dim_floordiv(ds, a, n->b);
  if (up) return sq_dim_max(ds, a, zero); // the divisor is at least 1
  return sq_dim_min(ds, a, sq_dim_floordiv(ds, a, bound_live(ds, n->b, true, nest + 1)));
}

sq_dim sq_dim_storage(sq_dims *ds, sq_dim d) { return d.i ? bound_live(ds, d, true, 0) : d; }

bool sq_dim_mentions(const sq_dims *ds, sq_dim d, sq_sym s) {
  if (!d.i) return false;
  const sq_dim_node *n = sq_dim_at(ds, d);
  if (n->kind == SQ_DIM_SYM) return n->sym.i == s.i;
  for (uint32_t i = 0; n->term && i < n->n; i++)
    if (sq_dim_mentions(ds, n->term[i].prod, s)) return true;
  for (uint32_t i = 0; n->factor && i < n->n; i++)
    if (sq_dim_mentions(ds, n->factor[i], s)) return true;
  return sq_dim_mentions(ds, n->a, s) || sq_dim_mentions(ds, n->b, s);
}

// ---- text --------------------------------------------------------------------------------------

bool sq_ir_name_plain(const char *s) {
  if (!((*s >= 'a' && *s <= 'z') || (*s >= 'A' && *s <= 'Z') || *s == '_')) return false;
  for (; *s; s++)
    if (!((*s >= 'a' && *s <= 'z') || (*s >= 'A' && *s <= 'Z') || (*s >= '0' && *s <= '9') ||
          *s == '_' || *s == '.'))
      return false;
  return true;
}

void sq_ir_string_print(sq_text *t, const char *s) {
  sq_text_put(t, "\"", 1);
  for (; *s; s++) {
    unsigned char c = (unsigned char)*s;
    if (c == '"' || c == '\\')
      sq_text_add(t, "\\%c", c);
    else if (c == '\n')
      sq_text_put(t, "\\n", 2);
    else if (c < 32 || c == 127)
      sq_text_add(t, "\\x%02x", c);
    else
      sq_text_put(t, s, 1);
  }
  sq_text_put(t, "\"", 1);
}

void sq_ir_name_print(sq_text *t, const char *name) {
  if (sq_ir_name_plain(name))
    sq_text_put(t, name, strlen(name));
  else
    sq_ir_string_print(t, name);
}

static const char *const dim_functions[] = {[SQ_DIM_FLOORDIV] = "floordiv",
                                            [SQ_DIM_MOD] = "mod",
                                            [SQ_DIM_MIN] = "min",
                                            [SQ_DIM_MAX] = "max"};

void sq_ir_symbol_print(sq_text *t, const char *name) {
  bool clash = !strcmp(name, "none") || !strcmp(name, "sym");
  for (int k = SQ_DIM_FLOORDIV; k <= SQ_DIM_MAX; k++) clash |= !strcmp(name, dim_functions[k]);
  if (clash)
    sq_ir_string_print(t, name);
  else
    sq_ir_name_print(t, name);
}

static void print_term(const sq_dims *ds, sq_dim_term term, bool first, sq_text *t) {
  bool negative = term.coef < 0;
  sq_text_put(t, first ? (negative ? "-" : "") : (negative ? " - " : " + "), first ? negative : 3);
  uint64_t c = negative ? -(uint64_t)term.coef : (uint64_t)term.coef;
  if (c != 1) sq_text_add(t, "%llu * ", (unsigned long long)c);
  sq_dim_print(ds, term.prod, t);
}

void sq_dim_print(const sq_dims *ds, sq_dim d, sq_text *t) {
  if (!d.i) {
    sq_text_put(t, "none", 4);
    return;
  }
  const sq_dim_node *n = sq_dim_at(ds, d);
  switch (n->kind) {
  case SQ_DIM_CONST:
    sq_text_add(t, "%lld", (long long)n->value);
    return;
  case SQ_DIM_SYM:
    sq_ir_symbol_print(t, ds->sym.v[n->sym.i]->name);
    return;
  case SQ_DIM_SUM: {
    bool first = true;
    if (n->value > 0 && n->term[0].coef < 0) {
      sq_text_add(t, "%lld", (long long)n->value);
      first = false;
    }
    for (uint32_t i = 0; i < n->n; i++) print_term(ds, n->term[i], first && i == 0, t);
    if (first && n->value > 0) sq_text_add(t, " + %lld", (long long)n->value);
    if (n->value < 0) sq_text_add(t, " - %lld", (long long)-n->value);
    return;
  }
  case SQ_DIM_PROD:
    for (uint32_t i = 0; i < n->n; i++) {
      if (i) sq_text_put(t, " * ", 3);
      sq_dim_print(ds, n->factor[i], t);
    }
    return;
  case SQ_DIM_FLOORDIV:
  case SQ_DIM_MOD:
  case SQ_DIM_MIN:
  case SQ_DIM_MAX:
    sq_text_add(t, "%s(", dim_functions[n->kind]);
    sq_dim_print(ds, n->a, t);
    sq_text_put(t, ", ", 2);
    sq_dim_print(ds, n->b, t);
    sq_text_put(t, ")", 1);
    return;
  }
}

const char *sq_dim_text(sq_dims *ds, sq_dim d) {
  sq_text t = {.arena = ds->arena};
  sq_text_add(&t, "%s", "");
  sq_dim_print(ds, d, &t);
  return t.v;
}

const char *sq_dim_source_text(sq_dims *ds, sq_dim d) {
  sq_text t = {.arena = ds->arena};
  sq_text_add(&t, "%s", "");
  bool name = false;
  for (const char *s = sq_dim_text(ds, d); *s; s++) {
    bool letter = (*s >= 'a' && *s <= 'z') || (*s >= 'A' && *s <= 'Z') || *s == '_';
    bool digit = *s >= '0' && *s <= '9';
    if (name && *s == '.') {
      while (s[1] >= '0' && s[1] <= '9') s++;
      continue;
    }
    name = letter || (name && digit);
    sq_text_put(&t, s, 1);
  }
  return t.v;
}
