// What a turn adds to a state, as products of a part for rows and a part for columns. In: a scalar of the
// member that makes the next state. Out: `key` and `column` of each, scalars added to it.
//
//   b[t] * k[t, i] * v[t, j] - k[t, i] * (b[t] * u[j])      key = k[t, i],  column = b[t] * v[t, j] - b[t] * u[j]
//
// It is written as a sum of products; products with the same factors for rows go together. A sum is taken
// apart where it depends on rows: outside of products, everywhere, or only where it depends on what is
// carried, whichever leaves the most columns, and of these the fewest products.
#include "ir/sweep_chunk_inner.h"

enum { MAX_FACTORS = 32, MAX_PRODUCTS = 16, SAME = 4000 };
#define OF_STATE SQ_CHUNK_OF_STATE

typedef struct factor {
  uint32_t id;
  bool divides;
} factor;
typedef struct product {
  bool negative;
  uint32_t n_row, n_column;
  factor row[MAX_FACTORS], column[MAX_FACTORS];
} product;
typedef struct sum {
  uint32_t n;
  product *of;
} sum;

typedef struct splitter {
  sq_chunk_finder *w;
  const sq_sweep_nest *x;
  sq_generic *k;
  int apart; // which sums that depend on rows: those of the state, and
  bool many; // more than is looked at
} splitter;
enum { OUTSIDE, EVERY, NO_OTHER }; // of products; all; none

// ---- sums of products --------------------------------------------------------------------------
static sum nothing(splitter *f) {
  f->many = true;
  return (sum){0};
}

static sum one_factor(splitter *f, uint32_t id, bool divides) {
  sum s = {1, SQ_ARRAY(f->w->g->arena, product, 1)};
  bool row = sq_chunk_depends(f->w, f->x, id) >> f->w->c.row & 1;
  s.of->n_row = row;
  s.of->n_column = !row;
  *(row ? s.of->row : s.of->column) = (factor){id, divides};
  return s;
}

static sum plus(splitter *f, sum a, sum b, bool minus) {
  if (f->many || a.n + b.n > MAX_PRODUCTS) return nothing(f);
  sum s = {a.n + b.n, SQ_ARRAY(f->w->g->arena, product, a.n + b.n)};
  if (a.n) memcpy(s.of, a.of, a.n * sizeof *s.of);
  memcpy(s.of + a.n, b.of, b.n * sizeof *s.of);
  for (uint32_t i = a.n; i < s.n; i++) s.of[i].negative ^= minus;
  return s;
}

static bool times(product *p, const product *q) {
  if (p->n_row + q->n_row > MAX_FACTORS || p->n_column + q->n_column > MAX_FACTORS) return false;
  memcpy(p->row + p->n_row, q->row, q->n_row * sizeof *q->row);
  memcpy(p->column + p->n_column, q->column, q->n_column * sizeof *q->column);
  p->n_row += q->n_row;
  p->n_column += q->n_column;
  p->negative ^= q->negative;
  return true;
}

static sum multiply(splitter *f, sum a, sum b) {
  if (f->many || a.n * b.n > MAX_PRODUCTS) return nothing(f);
  sum s = {a.n * b.n, SQ_ARRAY(f->w->g->arena, product, a.n * b.n + 1)};
  for (uint32_t i = 0; i < a.n; i++)
    for (uint32_t j = 0; j < b.n; j++) {
      s.of[i * b.n + j] = a.of[i];
      if (!times(&s.of[i * b.n + j], &b.of[j])) return nothing(f);
    }
  return s;
}

static sum sum_of(splitter *f, uint32_t id, bool inside, bool divides, int depth);

static bool is_zero(const sq_generic *k, uint32_t id) {
  return k->s.v[id].kind == SQ_SC_FLOAT && k->s.v[id].f == 0;
}

// select(c, x, 0) is x times select(c, 1, 0)
static sum chosen(splitter *f, sq_scalar x, bool inside, int depth) {
  sq_graph *g = f->w->g;
  uint32_t one = sq_sc_float(g, f->k, x.dtype, 1), zero = sq_sc_float(g, f->k, x.dtype, 0);
  sum s = {0};
  for (int j = 1; j < 3; j++) {
    if (is_zero(f->k, x.a[j])) continue;
    uint32_t mask = sq_sc_select(g, f->k, x.a[0], j == 1 ? one : zero, j == 1 ? zero : one);
    sum part = multiply(f, sum_of(f, x.a[j], inside, false, depth + 1), one_factor(f, mask, false));
    s = s.n ? plus(f, s, part, false) : part;
  }
  return s.n ? s : one_factor(f, zero, false);
}

// `inside`: of a product.
static bool apart(const splitter *f, uint32_t id, bool inside) {
  uint64_t on = sq_chunk_depends(f->w, f->x, id);
  return on >> f->w->c.row & 1 &&
         (on & OF_STATE || f->apart == EVERY || (f->apart == OUTSIDE && !inside));
}

// A conversion to a wider float changes nothing: numbers of 16 bits are rounded where they are stored.
static bool widens(const splitter *f, const sq_scalar *x) {
  if (x->kind != SQ_SC_CAST) return false;
  sq_dtype from = f->k->s.v[x->a[0]].dtype;
  return sq_is_float(from) && sq_is_float(x->dtype) &&
         sq_dtype_table[from].bytes < sq_dtype_table[x->dtype].bytes;
}

static sum sum_of(splitter *f, uint32_t id, bool inside, bool divides, int depth) {
  const sq_scalar x = f->k->s.v[id];
  uint32_t a = x.a[0], b = x.a[1];
  if (f->many || depth > SQ_CHUNK_DEPTH) return nothing(f);
  if (widens(f, &x)) return sum_of(f, x.a[0], inside, divides, depth + 1);
  bool zero = x.kind == SQ_SC_SELECT && (is_zero(f->k, x.a[1]) || is_zero(f->k, x.a[2]));
  if (x.kind == SQ_SC_SELECT && !divides && (zero || apart(f, id, inside)))
    return chosen(f, x, inside, depth);
  if (x.kind != SQ_SC_EWISE) return one_factor(f, id, divides);
  if (x.ew == SQ_EW_MUL || x.ew == SQ_EW_DIV)
    return multiply(f, sum_of(f, a, true, divides, depth + 1),
                    sum_of(f, b, true, x.ew == SQ_EW_DIV ? !divides : divides, depth + 1));
  if (x.ew == SQ_EW_NEG) return plus(f, (sum){0}, sum_of(f, a, inside, divides, depth + 1), true);
  if ((x.ew == SQ_EW_ADD || x.ew == SQ_EW_SUB) && !divides && apart(f, id, inside)) {
    sum left = sum_of(f, a, inside, false, depth + 1);
    return plus(f, left, sum_of(f, b, inside, false, depth + 1), x.ew == SQ_EW_SUB);
  }
  return one_factor(f, id, divides);
}

// ---- equal scalars -----------------------------------------------------------------------------
static bool same(const sq_sweep_nest *x, uint32_t a, uint32_t b, int *budget) {
  const sq_scalar *p = &x->n->g->s.v[a], *q = &x->n->g->s.v[b];
  if (a == b) return true;
  if (a == SQ_NO_SCALAR || b == SQ_NO_SCALAR || --*budget < 0) return false;
  if (p->kind != q->kind || p->dtype != q->dtype || p->ew != q->ew || p->axis != q->axis)
    return false;
  if (memcmp(&p->f, &q->f, sizeof p->f) != 0 || p->i != q->i || p->dim.i != q->dim.i) return false;
  if (p->kind == SQ_SC_READ) {
    if (x->n->in[p->operand] != x->n->in[q->operand] ||
        x->inner[p->operand] != x->inner[q->operand] || p->n_pos != q->n_pos || p->site != q->site)
      return false;
    for (uint32_t j = 0; j < p->n_pos; j++)
      if (!same(x, p->pos[j], q->pos[j], budget)) return false;
  }
  if (!same(x, p->guard, q->guard, budget) || !same(x, p->other, q->other, budget)) return false;
  int n = p->kind == SQ_SC_EWISE    ? sq_ewise_table[p->ew].arity
          : p->kind == SQ_SC_SELECT ? 3
                                    : p->kind == SQ_SC_CAST;
  for (int j = 0; j < n; j++)
    if (!same(x, p->a[j], q->a[j], budget)) return false;
  return true;
}

// Have the products the same factors for rows, in any order?
static bool same_rows(const splitter *f, const product *p, const product *q) {
  bool used[MAX_FACTORS] = {false};
  if (p->n_row != q->n_row) return false;
  for (uint32_t i = 0; i < p->n_row; i++) {
    bool found = false;
    for (uint32_t j = 0; j < q->n_row && !found; j++) {
      int budget = SAME;
      if (used[j] || p->row[i].divides != q->row[j].divides ||
          !same(f->x, p->row[i].id, q->row[j].id, &budget))
        continue;
      used[j] = found = true;
    }
    if (!found) return false;
  }
  return true;
}

// ---- key and column ----------------------------------------------------------------------------
static uint32_t product_of(splitter *f, const factor *of, uint32_t n) {
  sq_graph *g = f->w->g;
  uint32_t p = SQ_NO_SCALAR;
  for (uint32_t i = 0; i < n; i++) {
    uint32_t one = sq_sc_cast(g, f->k, of[i].id, f->w->c.type);
    if (p == SQ_NO_SCALAR && of[i].divides) p = sq_sc_float(g, f->k, f->w->c.type, 1);
    p = p == SQ_NO_SCALAR ? one
                          : sq_sc_ewise(g, f->k, of[i].divides ? SQ_EW_DIV : SQ_EW_MUL, p, one);
  }
  return p;
}

static uint32_t column_of(splitter *f, sum s) {
  sq_graph *g = f->w->g;
  uint32_t all = SQ_NO_SCALAR;
  for (uint32_t i = 0; i < s.n; i++) {
    uint32_t one = product_of(f, s.of[i].column, s.of[i].n_column);
    if (one == SQ_NO_SCALAR && (s.n > 1 || s.of[i].negative))
      one = sq_sc_float(g, f->k, f->w->c.type, 1);
    if (!i)
      all = s.of[i].negative ? sq_sc_ewise(g, f->k, SQ_EW_NEG, one, SQ_NO_SCALAR) : one;
    else
      all = sq_sc_ewise(g, f->k, s.of[i].negative ? SQ_EW_SUB : SQ_EW_ADD, all, one);
  }
  return all;
}

// Puts products with the same factors for rows next to each other; how many kinds there are, and in `first`
// where each begins; ADDS + 1: too many.
static uint32_t gather(const splitter *f, sum s, uint32_t *first) {
  uint32_t n = 0;
  for (uint32_t i = 0; i < s.n; n++) {
    if (n == SQ_CHUNK_ADDS) return n + 1;
    first[n] = i++;
    for (uint32_t j = i; j < s.n; j++) {
      if (!same_rows(f, &s.of[first[n]], &s.of[j])) continue;
      product p = s.of[j];
      memmove(&s.of[i + 1], &s.of[i], (j - i) * sizeof p);
      s.of[i++] = p;
    }
    first[n + 1] = i;
  }
  return n;
}

// A way of taking apart what is added. As columns it has at most the largest lane on which neither decays nor
// keys depend.
typedef struct way {
  sum s;
  uint32_t kinds, first[SQ_CHUNK_ADDS + 1]; // ADDS + 1: too many
  bool of_state;                            // a key depends on what is carried
  int64_t columns;
  uint32_t axes; // of all keys
} way;

static void look_at_keys(const splitter *f, way *y) {
  const sq_sweep *sweep = f->w->s;
  uint64_t on = 0;
  for (uint32_t i = 0; i < y->s.n; i++)
    for (uint32_t j = 0; j < y->s.of[i].n_row; j++)
      on |= sq_chunk_depends(f->w, f->x, y->s.of[i].row[j].id);
  y->of_state = on & OF_STATE;
  for (uint32_t c = 0; c < sweep->n_class; c++) {
    int64_t n;
    y->axes += on >> c & 1;
    if (!sweep->lane[c] || (on | f->w->by | f->w->keys) >> c & 1) continue;
    if (!sq_dim_is_const(f->w->g->dims, sweep->size[c], &n)) n = SQ_CHUNK_GUESS;
    if (n > y->columns) y->columns = n;
  }
}

static bool better(const way *a, const way *b) {
  if (a->of_state != b->of_state) return b->of_state;
  if (a->columns != b->columns) return a->columns > b->columns;
  return a->kinds != b->kinds ? a->kinds < b->kinds : a->axes < b->axes;
}

// Why a key that depends on what is carried is none: it may be a matrix itself, as a momentum is.
static const char *no_key(const splitter *f, sum s, uint32_t state) {
  const sq_sweep *sweep = f->w->s;
  const char *name = sq_chunk_name(f->w, state);
  for (uint32_t i = 0; i < s.of->n_row; i++) {
    const sq_scalar *r = &f->k->s.v[s.of->row[i].id];
    if (r->kind != SQ_SC_READ || f->x->inner[r->operand] == SQ_SWEEP_NONE) continue;
    for (uint32_t k = 0; k < sweep->scan->n_carried; k++)
      if (k != state && (f->x->inner[r->operand] == k || f->x->inner[r->operand] == sweep->next[k]))
        return sq_arena_fmt(f->w->g->arena,
                            "what is added to %s is made of %s, which is carried too", name,
                            sq_chunk_name(f->w, k));
  }
  return sq_arena_fmt(f->w->g->arena, "the key of what is added to %s depends on what is carried",
                      name);
}

static way best_way(splitter *f, uint32_t other) {
  way best = {0}; // nothing: more than is looked at
  for (f->apart = OUTSIDE; f->apart <= NO_OTHER; f->apart++) {
    f->many = false;
    way y = {.s = sum_of(f, other, false, false, 0)};
    if (f->many) continue;
    y.kinds = gather(f, y.s, y.first);
    look_at_keys(f, &y);
    if (!best.s.n || better(&y, &best)) best = y;
  }
  return best;
}

bool sq_chunk_split_added(sq_chunk_finder *w, uint32_t state, uint32_t other) {
  sq_chunk_state *t = &w->c.state[state];
  const sq_sweep_nest *x = &w->s->member[t->member];
  splitter f = {.w = w, .x = x, .k = x->n->g};
  if (other == SQ_NO_SCALAR) // nothing is added
    other = sq_sc_float(w->g, f.k, w->c.type, 0);
  way y = best_way(&f, other);
  if (!y.s.n) return sq_chunk_refuse(w, "more factors than are looked at", x->n->span);
  if (y.kinds > SQ_CHUNK_ADDS)
    return sq_chunk_refuse(
        w, sq_arena_fmt(w->g->arena, "a turn adds products of more than %d keys", SQ_CHUNK_ADDS),
        x->n->span);
  t->first = w->c.n_add;
  t->n_add = y.kinds;
  for (uint32_t i = 0; i < t->n_add; i++) {
    sum one = {y.first[i + 1] - y.first[i], y.s.of + y.first[i]};
    sq_chunk_add *a = &w->c.add[w->c.n_add++];
    a->state = state;
    a->key = product_of(&f, one.of->row, one.of->n_row);
    a->column = column_of(&f, one);
    uint64_t keys = sq_chunk_depends(w, x, a->key);
    if (keys & OF_STATE) return sq_chunk_refuse(w, no_key(&f, one, state), x->n->span);
    w->keys |= keys;
    a->solved = sq_chunk_depends(w, x, a->column) & OF_STATE;
  }
  return true;
}
