// Trees of scalars over indices: building with the rules of types, substitution, free variables.
#include "frontend/lower.h"

// ---- index variables ---------------------------------------------------------------------------

sq_ivar *sq_ivar_new(sq_low *L, const char *name, sq_span span, sq_dim extent) {
  sq_ivar *v = SQ_NEW(L->a, sq_ivar);
  v->name = name;
  v->span = span;
  v->from = span;
  v->extent = extent;
  v->id = ++L->next_ivar;
  return v;
}

sq_ivar *sq_ivar_root(sq_ivar *v) {
  while (v->is) v = v->is;
  return v;
}

void sq_ivars_sort(sq_ivars *v) {
  for (uint32_t k = 1; k < v->n; k++)
    for (uint32_t j = k; j > 0 && v->v[j]->id < v->v[j - 1]->id; j--) {
      sq_ivar *t = v->v[j];
      v->v[j] = v->v[j - 1];
      v->v[j - 1] = t;
    }
}

// ---- leaves ------------------------------------------------------------------------------------

static sq_sx *node(sq_low *L, sq_sx_kind kind, sq_dtype t) {
  sq_sx *e = SQ_NEW(L->a, sq_sx);
  e->kind = kind;
  e->dtype = t;
  return e;
}

sq_sx *sq_sx_float(sq_low *L, double f, sq_dtype t, bool lit) {
  sq_sx *e = node(L, SQ_SX_FLOAT, t);
  e->f = f;
  e->lit = lit;
  return e;
}

sq_sx *sq_sx_int(sq_low *L, int64_t i, sq_dtype t, bool idx, bool lit) {
  sq_sx *e = node(L, SQ_SX_INT, idx ? SQ_I64 : t);
  e->i = i;
  e->idx = idx;
  e->lit = lit;
  return e;
}

sq_sx *sq_sx_dim(sq_low *L, sq_dim d) {
  int64_t v;
  if (sq_dim_is_const(L->g->dims, d, &v)) return sq_sx_int(L, v, SQ_I64, true, false);
  sq_sx *e = node(L, SQ_SX_DIM, SQ_I64);
  e->dim = d;
  e->idx = true;
  return e;
}

sq_sx *sq_sx_ivar(sq_low *L, sq_ivar *v) {
  sq_sx *e = node(L, SQ_SX_IVAR, SQ_I64);
  e->iv = v;
  e->idx = true;
  e->span = v->span;
  return e;
}

sq_sx *sq_sx_read(sq_low *L, sq_value *v, uint32_t n, sq_sx *const *pos, sq_span span) {
  sq_sx *e = node(L, SQ_SX_READ, v->type.dtype);
  e->v = v;
  e->n_pos = n;
  if (n) {
    e->pos = SQ_ARRAY(L->a, sq_sx *, n);
    memcpy(e->pos, pos, n * sizeof *pos);
  }
  e->span = span;
  return e;
}

sq_sx *sq_sx_ewise(sq_low *L, sq_ewise ew, sq_sx *a, sq_sx *b, sq_dtype t, bool idx) {
  sq_sx *e = node(L, SQ_SX_EWISE, t);
  e->ew = ew;
  e->a[0] = a;
  e->a[1] = b;
  e->idx = idx;
  e->span = a->span;
  return e;
}

bool sq_sx_is_true(const sq_sx *c) { return c->kind == SQ_SX_INT && c->dtype == SQ_BOOL && c->i; }
bool sq_sx_is_false(const sq_sx *c) { return c->kind == SQ_SX_INT && c->dtype == SQ_BOOL && !c->i; }

sq_sx *sq_sx_select(sq_low *L, sq_sx *c, sq_sx *a, sq_sx *b) {
  if (sq_sx_is_true(c)) return a;
  if (sq_sx_is_false(c)) return b;
  sq_sx *e = node(L, SQ_SX_SELECT, a->dtype);
  e->a[0] = c;
  e->a[1] = a;
  e->a[2] = b;
  e->idx = a->idx;
  e->span = c->span;
  return e;
}

static int64_t wrap(int64_t v, sq_dtype t) {
  switch ((int)t) {
  case SQ_I32:
    return (int32_t)v;
  case SQ_I8:
    return (int8_t)v;
  case SQ_U8:
    return (uint8_t)v;
  case SQ_BOOL:
    return v != 0;
  default:
    return v;
  }
}

sq_sx *sq_sx_cast(sq_low *L, sq_sx *a, sq_dtype t, bool idx) {
  if (idx) t = SQ_I64;
  if (a->dtype == t) {
    if (a->idx == idx && !a->lit) return a;
    sq_sx *e = SQ_NEW(L->a, sq_sx);
    *e = *a;
    e->idx = idx;
    e->lit = false;
    return e;
  }
  if (a->kind == SQ_SX_INT && sq_is_float(t)) return sq_sx_float(L, (double)a->i, t, false);
  if (a->kind == SQ_SX_INT) return sq_sx_int(L, wrap(a->i, t), t, idx, false);
  if (a->kind == SQ_SX_FLOAT && sq_is_float(t)) return sq_sx_float(L, a->f, t, false);
  sq_sx *e = node(L, SQ_SX_CAST, t);
  e->a[0] = a;
  e->idx = idx;
  e->span = a->span;
  return e;
}

sq_sx *sq_sx_value_type(sq_low *L, sq_sx *a) {
  if (a->idx || (a->lit && a->kind == SQ_SX_INT && a->dtype != SQ_BOOL))
    return sq_sx_cast(L, a, SQ_I32, false);
  if (a->lit) return sq_sx_cast(L, a, a->dtype, false);
  return a;
}

sq_sx *sq_sx_float_of(sq_low *L, sq_sx *a) {
  if (sq_is_float(a->dtype)) return a;
  return sq_sx_cast(L, a, L->g->float_type, false);
}

// ---- promotion ---------------------------------------------------------------------------------

// The type both sides take; `idx`: computed as an index.
static sq_dtype joined(sq_low *L, const sq_sx *a, const sq_sx *b, bool *idx) {
  *idx = false;
  bool fa = sq_is_float(a->dtype), fb = sq_is_float(b->dtype);
  if (fa && fb) {
    if (a->dtype == b->dtype || b->lit) return a->dtype;
    if (a->lit) return b->dtype;
    int ba = sq_dtype_table[a->dtype].bytes, bb = sq_dtype_table[b->dtype].bytes;
    if (ba == bb) return SQ_F32; // f16 with bf16
    return ba > bb ? a->dtype : b->dtype;
  }
  if (fa) return a->lit ? L->g->float_type : a->dtype;
  if (fb) return b->lit ? L->g->float_type : b->dtype;
  if (a->lit && !b->lit && b->dtype != SQ_BOOL) return *idx = b->idx, b->dtype;
  if (b->lit && !a->lit && a->dtype != SQ_BOOL) return *idx = a->idx, a->dtype;
  if (a->lit && b->lit) return *idx = a->idx && b->idx, a->idx && b->idx ? SQ_I64 : SQ_I32;
  if (a->lit || b->lit) return SQ_I32; // with a bool
  bool ia = a->idx, ib = b->idx;
  if (ia || ib) {
    const sq_sx *o = ia ? b : a;
    if (o->dtype == SQ_I64 && !o->idx) return SQ_I64;
    *idx = true;
    return SQ_I64;
  }
  if (a->dtype == b->dtype) return a->dtype;
  if (a->dtype == SQ_BOOL) return b->dtype;
  if (b->dtype == SQ_BOOL) return a->dtype;
  int ba = sq_dtype_table[a->dtype].bytes, bb = sq_dtype_table[b->dtype].bytes;
  if (ba == bb) return SQ_I32; // i8 with u8
  return ba > bb ? a->dtype : b->dtype;
}

static bool int_fits(sq_dtype t, int64_t v) {
  switch ((int)t) {
  case SQ_I32:
    return v == (int32_t)v;
  case SQ_I8:
    return v == (int8_t)v;
  case SQ_U8:
    return v == (uint8_t)v;
  default:
    return true;
  }
}

bool sq_sx_fits(sq_low *L, const sq_sx *literal, sq_dtype t, sq_span span) {
  if (!literal->lit || literal->kind != SQ_SX_INT || int_fits(t, literal->i)) return true;
  sq_diag *d = sq_low_error(L, span, "%lld does not fit into %s", (long long)literal->i,
                            sq_dtype_table[t].name);
  sq_label(d, literal->span.file ? literal->span : span,
           "a number takes the type of the other side");
  sq_hint(d, "convert the other side to a wider type, as in `i32(x)`");
  return false;
}

void sq_sx_promote(sq_low *L, sq_sx **a, sq_sx **b) {
  bool idx, lit = (*a)->lit && (*b)->lit;
  sq_dtype t = joined(L, *a, *b, &idx);
  *a = sq_sx_cast(L, *a, t, idx);
  *b = sq_sx_cast(L, *b, t, idx);
  (*a)->lit = (*b)->lit = false;
  if (lit) (*a)->lit = (*b)->lit = true;
}

static bool is_const(const sq_sx *e, int64_t *v) {
  if (e->kind != SQ_SX_INT) return false;
  *v = e->i;
  return true;
}

static sq_sx *power(sq_low *L, sq_sx *a, sq_sx *b) {
  int64_t n = 0;
  bool whole = is_const(b, &n);
  if (b->kind == SQ_SX_FLOAT && b->f == (double)(int64_t)b->f && b->f >= -8 && b->f <= 8 &&
      sq_is_float(a->dtype)) {
    whole = true;
    n = (int64_t)b->f;
  }
  if (b->kind == SQ_SX_FLOAT && b->f == 0.5) {
    a = sq_sx_float_of(L, a);
    return sq_sx_ewise(L, SQ_EW_SQRT, a, NULL, a->dtype, false);
  }
  if (whole && n >= 1 && n <= 64 && (n <= 8 || !sq_is_float(a->dtype))) {
    sq_sx *base = a->dtype == SQ_BOOL ? sq_sx_cast(L, a, SQ_I32, false) : a, *r = NULL;
    for (; n; n >>= 1) {
      if (n & 1) r = r ? sq_sx_ewise(L, SQ_EW_MUL, r, base, base->dtype, base->idx) : base;
      if (n > 1) base = sq_sx_ewise(L, SQ_EW_MUL, base, base, base->dtype, base->idx);
    }
    return r;
  }
  if (!sq_is_float(a->dtype) && !sq_is_float(b->dtype)) a = sq_sx_float_of(L, a);
  bool idx;
  sq_dtype t = joined(L, a, b, &idx);
  a = sq_sx_cast(L, a, t, false);
  b = sq_sx_cast(L, b, t, false);
  return sq_sx_ewise(L, SQ_EW_POW, a, b, t, false);
}

static const struct {
  sq_ewise ew;
  bool compare, swap;
} binary_table[] = {
    [SQ_B_ADD] = {SQ_EW_ADD, false, false},
    [SQ_B_SUB] = {SQ_EW_SUB, false, false},
    [SQ_B_MUL] = {SQ_EW_MUL, false, false},
    [SQ_B_DIV] = {SQ_EW_DIV, false, false},
    [SQ_B_FLOORDIV] = {SQ_EW_FLOORDIV, false, false},
    [SQ_B_MOD] = {SQ_EW_MOD, false, false},
    [SQ_B_LT] = {SQ_EW_LT, true, false},
    [SQ_B_LE] = {SQ_EW_LE, true, false},
    [SQ_B_GT] = {SQ_EW_LT, true, true},
    [SQ_B_GE] = {SQ_EW_LE, true, true},
    [SQ_B_EQ] = {SQ_EW_EQ, true, false},
    [SQ_B_NE] = {SQ_EW_NE, true, false},
};

sq_sx *sq_sx_binary(sq_low *L, sq_binop op, sq_sx *a, sq_sx *b, sq_span span) {
  sq_sx *r;
  if (op == SQ_B_AND || op == SQ_B_OR) {
    if (a->dtype != SQ_BOOL || b->dtype != SQ_BOOL) {
      const sq_sx *o = a->dtype != SQ_BOOL ? a : b;
      sq_diag *d =
          sq_low_error(L, span, "`%s` needs bool on both sides", op == SQ_B_AND ? "and" : "or");
      sq_label(d, o->span, "%s here", sq_dtype_table[o->idx ? SQ_I32 : o->dtype].name);
      sq_hint(d, "compare with something: `x != 0`");
      return NULL;
    }
    bool is_and = op == SQ_B_AND;
    if (sq_sx_is_true(a) || sq_sx_is_false(a)) return sq_sx_is_true(a) == is_and ? b : a;
    if (sq_sx_is_true(b) || sq_sx_is_false(b)) return sq_sx_is_true(b) == is_and ? a : b;
    r = sq_sx_ewise(L, is_and ? SQ_EW_AND : SQ_EW_OR, a, b, SQ_BOOL, false);
    r->span = span;
    return r;
  }
  if (op == SQ_B_POW) {
    r = power(L, a, b);
    r->span = span;
    return r;
  }
  bool compare = binary_table[op].compare;
  if (op == SQ_B_DIV) {
    a = sq_is_float(a->dtype) ? a : sq_is_float(b->dtype) ? a : sq_sx_float_of(L, a);
  } else if (!compare && a->dtype == SQ_BOOL && b->dtype == SQ_BOOL) {
    a = sq_sx_cast(L, a, SQ_I32, false); // counts
    b = sq_sx_cast(L, b, SQ_I32, false);
  }
  bool idx;
  sq_dtype common = joined(L, a, b, &idx);
  if (!idx && (!sq_sx_fits(L, a, common, span) || !sq_sx_fits(L, b, common, span))) return NULL;
  sq_sx_promote(L, &a, &b);
  bool lit = a->lit && b->lit;
  int64_t va, vb;
  if ((op == SQ_B_ADD || op == SQ_B_SUB) && is_const(b, &vb) && vb == 0) return a;
  if (op == SQ_B_ADD && is_const(a, &va) && va == 0) return b;
  if (op == SQ_B_MUL && is_const(a, &va) && va == 1) return b;
  if (op == SQ_B_MUL && is_const(b, &vb) && vb == 1) return a;
  if (binary_table[op].swap) {
    sq_sx *t = a;
    a = b;
    b = t;
  }
  r = sq_sx_ewise(L, binary_table[op].ew, a, b, compare ? SQ_BOOL : a->dtype, !compare && a->idx);
  r->lit = lit && !compare;
  r->span = span;
  return r;
}

// ---- walks -------------------------------------------------------------------------------------

typedef struct walker {
  sq_low *L;
  uint32_t n;
  sq_ivar *const *from;
  sq_sx *const *to;
  const sq_ivars *inner; // or NULL: sq_sx_subst_first
  // memo of copies, by a hash of the node's address
  struct {
    const sq_sx *key;
    sq_sx *copy;
  } * slot;
  uint32_t cap, used;
} walker;

static uint32_t slot_of(const walker *w, const sq_sx *e) {
  uint32_t h = (uint32_t)(((uintptr_t)e >> 4) * 2654435761u) & (w->cap - 1);
  while (w->slot[h].key && w->slot[h].key != e) h = (h + 1) & (w->cap - 1);
  return h;
}

static void remember(walker *w, const sq_sx *e, sq_sx *copy) {
  if (w->used * 2 >= w->cap) {
    walker old = *w;
    w->cap = w->cap ? w->cap * 2 : 32;
    w->slot = sq_arena_take(w->L->a, sizeof *w->slot * w->cap);
    for (uint32_t k = 0; k < old.cap; k++)
      if (old.slot[k].key) w->slot[slot_of(w, old.slot[k].key)] = old.slot[k];
  }
  uint32_t h = slot_of(w, e);
  w->slot[h].key = e;
  w->slot[h].copy = copy;
  w->used++;
}

bool sq_sx_goes_first(sq_low *L, sq_sx *e, const sq_ivars *inner) {
  if (e->kind != SQ_SX_REDUCE && e->kind != SQ_SX_AXIS) return false;
  for (uint32_t k = 0; k < inner->n; k++)
    if (sq_sx_uses(L, e, inner->v[k])) return false;
  return !sq_needs_guards(L, e, NULL);
}

static sq_sx *subst(walker *w, sq_sx *e) {
  if (!e) return NULL;
  if (e->kind == SQ_SX_FLOAT || e->kind == SQ_SX_INT || e->kind == SQ_SX_DIM) return e;
  if (e->kind == SQ_SX_IVAR) {
    sq_ivar *v = sq_ivar_root(e->iv);
    for (uint32_t k = 0; k < w->n; k++)
      if (sq_ivar_root(w->from[k]) == v) return w->to[k];
    return e;
  }
  if (w->cap) {
    uint32_t h = slot_of(w, e);
    if (w->slot[h].key) return w->slot[h].copy;
  }
  if (w->inner && sq_sx_goes_first(w->L, e, w->inner)) {
    sq_ivars order = {0};
    sq_sx *read = subst(w, sq_emit_inner(w->L, e, &order, NULL));
    remember(w, e, read);
    return read;
  }
  bool changed = false;
  sq_sx c = *e;
  for (int k = 0; k < 3; k++) {
    c.a[k] = subst(w, e->a[k]);
    changed |= c.a[k] != e->a[k];
  }
  if (e->n_pos) {
    c.pos = SQ_ARRAY(w->L->a, sq_sx *, e->n_pos);
    for (uint32_t k = 0; k < e->n_pos; k++) {
      c.pos[k] = subst(w, e->pos[k]);
      changed |= c.pos[k] != e->pos[k];
    }
    c.other = subst(w, e->other);
    changed |= c.other != e->other;
  }
  if (e->n_where) {
    c.where = SQ_ARRAY(w->L->a, sq_sx *, e->n_where);
    for (uint32_t k = 0; k < e->n_where; k++) {
      c.where[k] = subst(w, e->where[k]);
      changed |= c.where[k] != e->where[k];
    }
  }
  if (e->kind == SQ_SX_AXIS) {
    // The axis that it runs along stands for all of them: a position other than an index is taken
    // of the whole result by the caller (sq_val_part computes such trees first).
    for (uint32_t k = 0; k < w->n; k++)
      if (sq_ivar_root(w->from[k]) == sq_ivar_root(e->iv) && w->to[k]->kind == SQ_SX_IVAR) {
        c.iv = w->to[k]->iv;
        changed = true;
      }
  }
  sq_sx *copy = e;
  if (changed) {
    copy = SQ_NEW(w->L->a, sq_sx);
    *copy = c;
    copy->mark = copy->memo_gen = 0;
    copy->made = NULL;
  }
  remember(w, e, copy);
  return copy;
}

sq_sx *sq_sx_subst(sq_low *L, sq_sx *e, uint32_t n, sq_ivar *const *from, sq_sx *const *to) {
  if (!n) return e;
  walker w = {.L = L, .n = n, .from = from, .to = to};
  return subst(&w, e);
}

sq_sx *sq_sx_subst_first(sq_low *L, sq_sx *e, uint32_t n, sq_ivar *const *from, sq_sx *const *to,
                         const sq_ivars *inner) {
  walker w = {.L = L, .n = n, .from = from, .to = to, .inner = inner};
  return subst(&w, e);
}

sq_ex sq_ex_fresh(sq_low *L, const sq_ex *e) {
  if (!e->n_own) return *e;
  sq_ex r = {.n_own = e->n_own, .own = SQ_ARRAY(L->a, sq_ivar *, e->n_own)};
  sq_sx **to = SQ_ARRAY(L->a, sq_sx *, e->n_own);
  for (uint32_t k = 0; k < e->n_own; k++) {
    sq_ivar *old = sq_ivar_root(e->own[k]);
    r.own[k] = sq_ivar_new(L, old->name, old->span, old->extent);
    r.own[k]->from = old->from;
    to[k] = sq_sx_ivar(L, r.own[k]);
  }
  r.root = sq_sx_subst(L, e->root, e->n_own, e->own, to);
  return r;
}

static void collect(sq_low *L, sq_sx *e, sq_ivars *out, uint32_t mark, const sq_ivars *bound) {
  if (!e || e->mark == mark) return;
  e->mark = mark;
  if (e->kind == SQ_SX_IVAR || e->kind == SQ_SX_AXIS) {
    sq_ivar *v = sq_ivar_root(e->iv);
    bool have = false;
    for (uint32_t k = 0; k < bound->n; k++) have |= bound->v[k] == v;
    for (uint32_t k = 0; k < out->n; k++) have |= out->v[k] == v;
    if (!have) sq_push(L->a, out, v);
  }
  sq_ivars inner = *bound;
  if (e->kind == SQ_SX_REDUCE) {
    inner = (sq_ivars){0};
    for (uint32_t k = 0; k < bound->n; k++) sq_push(L->a, &inner, bound->v[k]);
    for (uint32_t k = 0; k < e->n_red; k++) sq_push(L->a, &inner, sq_ivar_root(e->red[k]));
  }
  for (int k = 0; k < 3; k++) collect(L, e->a[k], out, mark, &inner);
  for (uint32_t k = 0; k < e->n_pos; k++) collect(L, e->pos[k], out, mark, &inner);
  for (uint32_t k = 0; k < e->n_where; k++) collect(L, e->where[k], out, mark, &inner);
  collect(L, e->other, out, mark, &inner);
}

void sq_sx_free(sq_low *L, sq_sx *e, sq_ivars *out) {
  sq_ivars none = {0};
  collect(L, e, out, ++L->walk, &none);
}

bool sq_sx_uses(sq_low *L, sq_sx *e, sq_ivar *v) {
  sq_ivars free_vars = {0};
  sq_sx_free(L, e, &free_vars);
  v = sq_ivar_root(v);
  for (uint32_t k = 0; k < free_vars.n; k++)
    if (free_vars.v[k] == v) return true;
  return false;
}

static uint32_t weight(const sq_sx *e, uint32_t limit) {
  if (!e) return 0;
  if (e->kind == SQ_SX_REDUCE || e->kind == SQ_SX_AXIS) return limit + 1;
  uint32_t n = 1;
  for (int k = 0; k < 3 && n <= limit; k++) n += weight(e->a[k], limit);
  for (uint32_t k = 0; k < e->n_pos && n <= limit; k++) n += weight(e->pos[k], limit);
  if (e->other && n <= limit) n += weight(e->other, limit);
  return n;
}

bool sq_sx_cheap(sq_low *L, sq_sx *e) {
  (void)L;
  return weight(e, 40) <= 40;
}

bool sq_sx_same(const sq_sx *a, const sq_sx *b) {
  if (a == b) return true;
  if (!a || !b || a->kind != b->kind || a->dtype != b->dtype) return false;
  switch (a->kind) {
  case SQ_SX_FLOAT:
    return !memcmp(&a->f, &b->f, sizeof a->f);
  case SQ_SX_INT:
    return a->i == b->i;
  case SQ_SX_DIM:
    return sq_dim_same(a->dim, b->dim);
  case SQ_SX_IVAR:
    return sq_ivar_root(a->iv) == sq_ivar_root(b->iv);
  case SQ_SX_READ:
    if (a->v != b->v || a->n_pos != b->n_pos || a->other || b->other) return false;
    for (uint32_t k = 0; k < a->n_pos; k++)
      if (!sq_sx_same(a->pos[k], b->pos[k])) return false;
    return true;
  case SQ_SX_EWISE:
  case SQ_SX_SELECT:
  case SQ_SX_CAST:
    if (a->kind == SQ_SX_EWISE && a->ew != b->ew) return false;
    for (int k = 0; k < 3; k++)
      if ((a->a[k] || b->a[k]) && !sq_sx_same(a->a[k], b->a[k])) return false;
    return true;
  case SQ_SX_REDUCE:
  case SQ_SX_AXIS:
    return false;
  }
  return false;
}

static void split(sq_low *L, sq_sx *c, sq_sx ***out, uint32_t *n, uint32_t *cap) {
  if (sq_sx_is_true(c)) return;
  if (c->kind == SQ_SX_EWISE && c->ew == SQ_EW_AND) {
    split(L, c->a[0], out, n, cap);
    split(L, c->a[1], out, n, cap);
    return;
  }
  sq_vec_grow(L->a, (void **)out, *n, cap, sizeof **out);
  (*out)[(*n)++] = c;
}

void sq_sx_conjuncts(sq_low *L, sq_sx *c, sq_sx ***out, uint32_t *n) {
  uint32_t cap = *n;
  if (*out && *n) { // continue a list
    sq_sx **copy = SQ_ARRAY(L->a, sq_sx *, *n + 1);
    memcpy(copy, *out, *n * sizeof *copy);
    *out = copy;
    cap = *n + 1;
  } else {
    *out = NULL;
    cap = 0;
  }
  split(L, c, out, n, &cap);
}

// ---- own axes ----------------------------------------------------------------------------------

bool sq_ex_align(sq_low *L, sq_ex *a, sq_ex *b, sq_span span_a, sq_span span_b) {
  uint32_t m = a->n_own < b->n_own ? a->n_own : b->n_own;
  for (uint32_t k = 1; k <= m; k++) {
    sq_ivar *x = sq_ivar_root(a->own[a->n_own - k]), *y = sq_ivar_root(b->own[b->n_own - k]);
    if (x == y) continue;
    if (sq_prove_eq(L->g->dims, x->extent, y->extent) != 1) {
      if (x->bad || y->bad) return false;
      x->bad = y->bad = true;
      bool apart = memcmp(&span_a, &span_b, sizeof span_a) != 0;
      sq_diag *d = sq_low_error(L, span_a, "axes differ: %s and %s", sq_dim_str(L, x->extent),
                                sq_dim_str(L, y->extent));
      sq_label(d, span_a, "%s%s here", k == 1 ? "the last axis is " : "",
               k == 1
                   ? sq_dim_str(L, x->extent)
                   : sq_arena_fmt(L->a, "axis %u from the end is %s", k, sq_dim_str(L, x->extent)));
      if (apart) sq_label(d, span_b, "%s here", sq_dim_str(L, y->extent));
      int64_t one;
      if ((sq_dim_is_const(L->g->dims, x->extent, &one) && one == 1) ||
          (sq_dim_is_const(L->g->dims, y->extent, &one) && one == 1))
        sq_hint(d, "an axis of extent 1 is never stretched; read it at index 0");
      else if (!sq_dim_is_const(L->g->dims, x->extent, &one) ||
               !sq_dim_is_const(L->g->dims, y->extent, &one))
        sq_hint(d, "if they are equal, say so before: check %s == %s, \"...\"",
                sq_dim_str(L, x->extent), sq_dim_str(L, y->extent));
      else
        sq_hint(d, "without indices, axes are aligned at the end");
      return false;
    }
    if (y->id < x->id && !y->name) { // the earlier one stays
      x->is = y;
    } else {
      y->is = x;
    }
  }
  if (a->n_own < b->n_own) {
    a->n_own = b->n_own;
    a->own = b->own;
  } else {
    b->n_own = a->n_own;
    b->own = a->own;
  }
  return true;
}
