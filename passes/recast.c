// recast: attention whose weights are the scores themselves becomes a scan over the keys.
//
//   %s = generic (%q, %k) [i < N, j < N] sum [e < 64] { %q[i, e] * %k[j, e] }
//   %a = generic (%s, %l) [i < N, j < N] { select(j <= i, %s[i, j] * pow(%l[], f32(i - j)), 0.0) }
//   %o = generic (%a, %v) [i < N, c < 64] sum [j < N] { %a[i, j] * %v[j, c] }
// becomes
//   %h = generic () [e < 64, c < 64] { 0.0 }
//   %l, %y = scan extent N carried 1 (%h) { (%t, %s)
//     %n = generic (...) [e < 64, c < 64] { %l[] * %s[e, c] + %k[i64(%t), e] * %v[i64(%t), c] }
//     %p = generic (...) [c < 64] sum [e < 64] { %q[i64(%t), e] * %n[e, c] }
//     yield %n, %p }
//   %o = generic (%y) [i < N, c < 64] { %y[i, c] }
//
// The work grows with N, not with its square. A weight may be the score times factors of the query, of the
// key, and of decays: pow(b, i - j), exp(c * (i - j)), exp(u[i] - u[j]), u[i] / u[j], where the distance may
// be off by a number. Where the keys before a query count alone (j < i) the state before the turn is read.
// Sums of weights without values are states without columns. Where all keys count for all queries, and
// nothing decays, the state is the sum over all keys, and no scan:
//   %n = generic (%k, %v) [e < 64, c < 64] sum [j < M] { %k[j, e] * %v[j, c] }
//   %o = generic (%q, %n) [i < N, c < 64] sum [e < 64] { %q[i, e] * %n[e, c] }
// Recognition of attention is that of `stream`.
#include "passes/recast.h"

typedef sq_recast recast;
typedef sq_recast_state state;

enum { BLOCK = 16 }; // turns that `sweep` does at once

static bool no(recast *w, const char *why) {
  if (!w->why) w->why = why;
  return false;
}

// ---- what a weight is ----------------------------------------------------------------------------
static const sq_scalar *at(const recast *w, uint32_t id) { return sq_attention_at(&w->a, id); }

// Without casts that keep a distance as it is.
static uint32_t bare(const recast *w, uint32_t id) {
  for (const sq_scalar *x; (x = at(w, id))->kind == SQ_SC_CAST; id = x->a[0])
    if (x->dtype != SQ_F32 && x->dtype != SQ_F64 && x->dtype != SQ_I32 && x->dtype != SQ_I64) break;
  return id;
}

static bool is_index(const recast *w, uint32_t id, uint32_t axis) {
  const sq_scalar *x = at(w, bare(w, id));
  return x->kind == SQ_SC_INDEX && x->axis == axis;
}

static bool depends(const recast *w, uint32_t id, uint32_t axis) {
  return sq_scalar_axes(w->a.m.k, id) >> axis & 1;
}

// i - j + offset: +1, j - i + offset: -1, 0: neither. Keys are not after their queries, unless all count.
static int distance(const recast *w, uint32_t id, int64_t *offset) {
  const sq_scalar *x = at(w, id = bare(w, id));
  *offset = 0;
  if (x->kind == SQ_SC_EWISE && x->ew == SQ_EW_ABS && !w->all)
    return distance(w, x->a[0], offset) && !*offset;
  if (x->kind == SQ_SC_EWISE && x->ew == SQ_EW_SUB) {
    if (is_index(w, x->a[0], w->query) && is_index(w, x->a[1], w->a.key)) return 1;
    if (is_index(w, x->a[0], w->a.key) && is_index(w, x->a[1], w->query)) return -1;
  }
  sq_affine f = sq_scalar_affine(w->g, w->a.m.k, id);
  if (!f.ok || !sq_dim_is_const(w->g->dims, f.offset, offset)) return 0;
  for (uint32_t k = 0; k < w->a.m.k->n_par; k++)
    if (k != w->query && k != w->a.key && f.coef[k]) return 0;
  if (f.coef[w->query] != 1 && f.coef[w->query] != -1) return 0;
  return f.coef[w->a.key] == -f.coef[w->query] ? (int)f.coef[w->query] : 0;
}

// The scalar with the query's place replaced by `by`, an index of the space.
static uint32_t moved(recast *w, uint32_t id, uint32_t by) {
  uint32_t place[SQ_MAX_RANK];
  for (uint32_t x = 0; x < w->a.m.k->n_par; x++)
    place[x] = x == w->query ? by : sq_maker_index(&w->a.m, x);
  sq_node from = *sq_attention_view(&w->a);
  sq_generic whole = *w->a.m.k; // as it is now
  from.g = &whole;
  sq_graft how = {.from = &from, .axis = place, .acc = SQ_NO_SCALAR, .guard = SQ_NO_SCALAR};
  return sq_maker_graft(&w->a.m, &how, id, sq_maker_map(&w->a.m, &from));
}

// What of an exponent is the distance: its product without it; NO_SCALAR: not of this form.
static uint32_t without_distance(recast *w, uint32_t id, int64_t *offset) {
  const sq_scalar x = *at(w, id);
  int d = distance(w, id, offset);
  if (!depends(w, id, w->query) || !depends(w, id, w->a.key)) return SQ_NO_SCALAR;
  if (d) {
    *offset *= d;
    return sq_maker_float(&w->a.m, x.dtype, d);
  }
  if (x.kind != SQ_SC_EWISE) return SQ_NO_SCALAR;
  if (x.ew == SQ_EW_NEG) {
    uint32_t rest = without_distance(w, x.a[0], offset);
    return rest == SQ_NO_SCALAR ? rest : sq_maker_ewise(&w->a.m, SQ_EW_NEG, rest, SQ_NO_SCALAR);
  }
  if (x.ew != SQ_EW_MUL && x.ew != SQ_EW_DIV) return SQ_NO_SCALAR;
  for (int side = 0; side < (x.ew == SQ_EW_MUL ? 2 : 1); side++) {
    uint32_t other = x.a[!side], rest;
    if (depends(w, other, w->query) || depends(w, other, w->a.key)) continue;
    rest = without_distance(w, x.a[side], offset);
    if (rest != SQ_NO_SCALAR) return sq_maker_ewise(&w->a.m, x.ew, rest, other);
  }
  return SQ_NO_SCALAR;
}

// u at the turn before; at the first turn its own.
static uint32_t last_turn(recast *w, uint32_t u) {
  sq_maker *m = &w->a.m;
  uint32_t turn = sq_maker_index(m, w->query), zero = sq_maker_int(m, SQ_I64, 0);
  uint32_t last = sq_maker_ewise(m, SQ_EW_SUB, turn, sq_maker_int(m, SQ_I64, 1));
  return moved(w, u, sq_maker_ewise(m, SQ_EW_MAX, last, zero));
}

// Is j of the key what i is of the query?
static bool is_same_of_key(recast *w, uint32_t i, uint32_t j) {
  if (depends(w, i, w->a.key) || depends(w, j, w->query)) return false;
  return depends(w, i, w->query) && moved(w, i, sq_maker_index(&w->a.m, w->a.key)) == j;
}

// u[i] - u[j], either way round: u[i] - u[i - 1], at the first turn 0.
static uint32_t difference(recast *w, uint32_t id) {
  sq_maker *m = &w->a.m;
  const sq_scalar x = *at(w, id);
  if (x.kind != SQ_SC_EWISE || x.ew != SQ_EW_SUB) return SQ_NO_SCALAR;
  bool late = depends(w, x.a[0], w->query);
  uint32_t i = x.a[!late], j = x.a[late];
  if (!is_same_of_key(w, i, j)) return SQ_NO_SCALAR;
  uint32_t last = last_turn(w, i);
  return late ? sq_maker_ewise(m, SQ_EW_SUB, i, last) : sq_maker_ewise(m, SQ_EW_SUB, last, i);
}

// What a factor of query and key makes of the state at each turn, and what of it is left then at what is
// read (NO_SCALAR: nothing): the distance has an offset, or the state is that before the turn.
typedef struct decay {
  uint32_t by, rest;
} decay;
static const decay no_decay = {SQ_NO_SCALAR, SQ_NO_SCALAR};

// b ^ (i - j + offset); a negative power of 0 is left to no state.
static decay of_power(recast *w, uint32_t b, uint32_t exponent, bool divides) {
  sq_maker *m = &w->a.m;
  int64_t offset;
  int sign = distance(w, exponent, &offset);
  if (!sign || (sign > 0) == divides || depends(w, b, w->query) || depends(w, b, w->a.key))
    return no_decay;
  int64_t n = (divides ? -offset : offset) + w->before;
  if (n < 0) return no_decay;
  decay d = {b, SQ_NO_SCALAR};
  if (n) d.rest = sq_maker_ewise(m, SQ_EW_POW, b, sq_maker_float(m, at(w, b)->dtype, (double)n));
  return d;
}

// exp(c * (i - j + offset)), exp(u[i] - u[j])
static decay of_exponential(recast *w, sq_ewise e, uint32_t exponent, bool divides) {
  sq_maker *m = &w->a.m;
  int64_t n = 0;
  uint32_t by = without_distance(w, exponent, &n);
  if (by == SQ_NO_SCALAR) n = 0, by = difference(w, exponent);
  if (by == SQ_NO_SCALAR) return no_decay;
  n += w->before;
  if (divides) by = sq_maker_ewise(m, SQ_EW_NEG, by, SQ_NO_SCALAR);
  decay d = {sq_maker_ewise(m, e, by, SQ_NO_SCALAR), SQ_NO_SCALAR};
  if (!n) return d;
  by = sq_maker_ewise(m, SQ_EW_MUL, by, sq_maker_float(m, at(w, by)->dtype, (double)n));
  d.rest = sq_maker_ewise(m, e, by, SQ_NO_SCALAR);
  return d;
}

static decay decay_of(recast *w, sq_factor f) {
  const sq_scalar x = *at(w, f.id);
  if (w->all || x.kind != SQ_SC_EWISE) return no_decay;
  if (x.ew == SQ_EW_POW) return of_power(w, x.a[0], x.a[1], f.divides);
  if (x.ew != SQ_EW_EXP && x.ew != SQ_EW_EXP2) return no_decay;
  return of_exponential(w, x.ew, x.a[0], f.divides);
}

// The condition of a sum: j <= i, or j < i.
static bool is_causal(recast *w, const sq_term *t, bool *before) {
  if (t->when.n || t->where.n != 1) return false;
  const sq_scalar *c = at(w, t->where.v[0]);
  bool turned = c->kind == SQ_SC_EWISE && c->ew == SQ_EW_NOT; // not i < j: j <= i
  if (turned) c = at(w, c->a[0]);
  if (c->kind != SQ_SC_EWISE || (c->ew != SQ_EW_LE && c->ew != SQ_EW_LT)) return false;
  const sq_generic *k = w->a.m.k;
  sq_affine j = sq_scalar_affine(w->g, k, c->a[turned]),
            i = sq_scalar_affine(w->g, k, c->a[!turned]);
  int64_t least; // j + least <= i
  if (!j.ok || !i.ok) return false;
  if (!sq_dim_is_const(w->g->dims, sq_dim_sub(w->g->dims, j.offset, i.offset), &least))
    return false;
  least += turned == (c->ew == SQ_EW_LE);
  uint32_t query = SQ_NO_AXIS;
  for (uint32_t x = 0; x < k->n_par; x++) {
    int64_t coef = i.coef[x] - j.coef[x];
    if (x == w->a.key ? coef != -1 : coef && (coef != 1 || query != SQ_NO_AXIS)) return false;
    if (x != w->a.key && coef) query = x;
  }
  if (query == SQ_NO_AXIS || (w->query != SQ_NO_AXIS && w->query != query)) return false;
  w->query = query;
  *before = least == 1;
  return least == 0 || least == 1;
}

// The only axis on which the query's side of a score depends, and the key's does not.
static bool find_query(recast *w) {
  const sq_generic *k = w->a.score->g;
  const sq_scalar *body = &k->s.v[k->body];
  uint32_t key = 1u << w->a.key, one = sq_scalar_axes(k, body->a[0]),
           two = sq_scalar_axes(k, body->a[1]);
  uint32_t own = one & key ? two & ~one : one & ~two;
  for (uint32_t x = 0; x < k->n_par; x++)
    if (own == 1u << x) w->query = x;
  return w->query != SQ_NO_AXIS;
}

// Which keys count: all for all queries, or those up to the query, in all sums.
static bool find_keys(recast *w) {
  const sq_attention *a = &w->a;
  w->query = SQ_NO_AXIS;
  for (uint32_t j = 0; j < a->sum.n; j++) {
    const sq_term *t = &a->sum.v[j].t;
    bool all = !t->where.n && !t->when.n, before = false;
    if (!all && !is_causal(w, t, &before))
      return no(w, "the keys that count are not all those up to the query");
    if (j && (before != w->before || all != w->all))
      return no(w, "its sums run over different keys");
    w->before = before;
    w->all = all;
  }
  return !w->all || find_query(w) || no(w, "it has queries along several axes");
}

// u[i] / u[j], where u[i] was taken out of the sum: u[i] / u[i - 1] in each turn.
static bool take_ratio(recast *w, state *x, sq_factor j) {
  for (uint32_t k = 0; !w->all && x->n_decay < SQ_RECAST_DECAYS && k < x->out.n; k++) {
    sq_factor i = x->out.v[k];
    if (i.divides == j.divides || !is_same_of_key(w, i.id, j.id)) continue;
    uint32_t last = last_turn(w, i.id), a = i.divides ? last : i.id, b = i.divides ? i.id : last;
    x->decay[x->n_decay] = sq_maker_ewise(&w->a.m, SQ_EW_DIV, a, b);
    if (w->before)
      x->out.v[k] = (sq_factor){x->decay[x->n_decay], false};
    else
      x->out.v[k] = x->out.v[--x->out.n];
    x->n_decay++;
    return true;
  }
  return false;
}

static bool take_factors(recast *w, state *x) {
  const sq_term *t = &x->s->t;
  for (uint32_t k = 0; k < t->out.n; k++) sq_push(w->g->arena, &x->out, t->out.v[k]);
  for (uint32_t k = 0; k < t->in.n; k++) {
    sq_factor f = t->in.v[k];
    if (f.id == w->a.read) continue;
    if (!depends(w, f.id, w->query)) {
      const sq_scalar *r = at(w, f.id);
      bool of_scores = r->kind == SQ_SC_READ && w->a.tainted[w->a.m.in.v[r->operand]->id];
      if (of_scores) return no(w, "its weights are not linear in the scores");
      if (!take_ratio(w, x, f)) sq_push(w->g->arena, &x->key, f);
      continue;
    }
    decay d = decay_of(w, f);
    if (d.by == SQ_NO_SCALAR || x->n_decay == SQ_RECAST_DECAYS)
      return no(w, "a factor of query and key is no decay");
    x->decay[x->n_decay++] = d.by;
    if (d.rest != SQ_NO_SCALAR) sq_push(w->g->arena, &x->out, ((sq_factor){d.rest, false}));
  }
  return true;
}

static void mark(uint32_t id, void *user) { ((bool *)user)[id] = true; }
static bool has_sum(const recast *w, uint32_t root) {
  const sq_generic *k = w->a.score->g;
  bool *seen = SQ_ARRAY(w->g->arena, bool, root + 1);
  seen[root] = true;
  for (uint32_t id = root + 1; id-- > 0;) {
    if (seen[id] && k->s.v[id].kind == SQ_SC_ACC) return true;
    if (seen[id]) sq_scalar_refs(&k->s.v[id], mark, seen);
  }
  return false;
}
// What a score ends with: its sum, times what does not depend on it.
static bool is_linear(const recast *w, uint32_t id) {
  const sq_scalar *x = &w->a.score->g->s.v[id];
  if (x->kind == SQ_SC_ACC) return true;
  if (x->kind != SQ_SC_EWISE) return false;
  if (x->ew == SQ_EW_NEG) return is_linear(w, x->a[0]);
  if (x->ew != SQ_EW_DIV && x->ew != SQ_EW_MUL) return false;
  bool second = x->ew == SQ_EW_MUL && has_sum(w, x->a[1]);
  return !has_sum(w, x->a[!second]) && is_linear(w, x->a[second]);
}

// ---- is it worth it, and does it fit? --------------------------------------------------------------
static bool size_of(const recast *w, sq_dim d, int64_t *v) {
  return sq_dim_is_const(w->g->dims, d, v);
}
// Multiplications for a query in both forms, where all sizes are known.
static bool is_less(const recast *w, const state *x) {
  const sq_generic *k = w->a.score->g;
  int64_t keys, queries, e, c = 1;
  if (!size_of(w, k->axis[k->n_par].extent, &e)) return !w->all;
  if (x->columns && !size_of(w, w->a.value->g->axis[w->a.column].extent, &c)) return !w->all;
  bool few = size_of(w, k->axis[w->query].extent, &queries) && queries * (e + c) <= 2 * e * c;
  if (w->all && few) return false;
  if (!size_of(w, k->axis[w->a.key].extent, &keys)) return true;
  if (w->all) return keys * (e + c) > 2 * e * c;
  return keys / 2 * (e + c) > 2 * e * c + BLOCK * (e + c);
}

static bool is_float(sq_dtype t) { return t == SQ_F32 || t == SQ_F64; }
static bool fits(recast *w) {
  const sq_attention *a = &w->a;
  const sq_generic *k = a->score->g;
  const sq_scalar *body = &k->s.v[k->body];
  sq_dtype t = a->score->out[0]->type.dtype;
  if (!is_float(t) || body->dtype != t) return false;
  if (!w->all && !sq_dim_same(k->axis[w->query].extent, k->axis[a->key].extent)) return false;
  for (int side = 0; side < 2; side++) {
    uint32_t axes = sq_scalar_axes(k, body->a[side]);
    if ((axes >> w->query & 1) == (axes >> a->key & 1)) return false;
  }
  if (k->domain.n || k->n_par + 1 > SQ_MAX_RANK) return false;
  if (k->post != SQ_NO_SCALAR &&
      (sq_scalar_axes(k, k->post) >> a->key & 1 || !is_linear(w, k->post)))
    return no(w, "its weights are not linear in the scores");
  for (uint32_t j = 0; j < a->v.n; j++) {
    uint32_t axes = sq_scalar_axes(a->own.g, a->v.v[j].id);
    for (uint32_t x = 0; x < a->value->g->n_par; x++)
      for (uint32_t s = 0; axes >> x & 1 && s < a->sum.n; s++)
        if (a->sum.v[s].n == a->value && a->sum.v[s].axis[x] == w->query)
          return no(w, "a value depends on the query");
  }
  return true;
}

// ---- placing it ------------------------------------------------------------------------------------
static uint32_t place_of(const sq_block *b, sq_node *n) {
  n = sq_node_in_block(n, b);
  for (uint32_t k = 0; k < b->nodes.n; k++)
    if (b->nodes.v[k] == n) return k;
  return UINT32_MAX;
}

typedef struct early {
  const recast *w;
  const sq_block *b;
  uint32_t end;
  bool found;
} early;
static void look_for_user(sq_node *n, void *user) {
  early *e = user;
  const sq_attention *a = &e->w->a;
  if (n == a->score || sq_attention_holds(a, n)) return;
  for (uint32_t k = 0; k < n->n_in; k++)
    for (uint32_t s = 0; s < a->sum.n; s++)
      if (n->in[k] == a->sum.v[s].n->out[0] && place_of(e->b, n) < e->end) e->found = true;
}

// May all be computed where the last part stands?
static bool is_placed(recast *w, sq_node *last) {
  const sq_attention *a = &w->a;
  early e = {.w = w, .b = last->block, .end = place_of(last->block, last)};
  bool fails = sq_node_may_fail(a->score);
  for (uint32_t k = 0; k < a->all.n; k++) fails |= sq_node_may_fail(a->all.v[k]);
  if (fails) return no(w, "it may fail");
  if (!sq_node_can_sink(a->score, last))
    return no(w, "something that it reads is written before its end");
  for (uint32_t k = 0; k + 1 < a->all.n; k++)
    if (!sq_node_can_sink(a->all.v[k], last))
      return no(w, "something that it reads is written before its end");
  sq_walk(w->f->body, look_for_user, &e);
  return !e.found || no(w, "a sum over the keys is used before the last one is taken");
}

// ---- the pass --------------------------------------------------------------------------------------
// Is each weight the score times something? All else is attention that stays.
static bool is_of_scores(const recast *w) {
  const sq_attention *a = &w->a;
  for (uint32_t j = 0; j < a->sum.n; j++) {
    const sq_term *t = &a->sum.v[j].t;
    uint32_t scores = 0;
    for (uint32_t k = 0; k < t->in.n; k++)
      scores += t->in.v[k].id == a->read && !t->in.v[k].divides;
    if (scores != 1 || a->sum.v[j].n->g->monoid != SQ_SUM) return false;
  }
  return a->sum.n && a->weight == SQ_NO_SCALAR && !a->max && !a->logsumexp;
}

static bool understand(recast *w, state *x) {
  const sq_attention *a = &w->a;
  if (!find_keys(w)) return false;
  for (uint32_t k = 0; k < a->m.k->n_par; k++)
    if (k != w->query && k != a->key) w->batch[w->n_batch++] = k;
  if (!fits(w)) return no(w, "its operands have another form");
  for (uint32_t j = 0; j < a->sum.n; j++) {
    x[j].s = &a->sum.v[j];
    x[j].columns = a->sum.v[j].n == a->value;
    if (a->sum.v[j].n->out[0]->type.dtype != a->score->out[0]->type.dtype)
      return no(w, "its operands have another form");
    if (!take_factors(w, &x[j])) return false;
    if (x[j].columns && !is_less(w, &x[j]))
      return no(w, "for so few of them the scores are less work");
  }
  return is_placed(w, a->all.v[a->all.n - 1]);
}

static bool try_score(sq_graph *g, sq_func *f, sq_node *score) {
  recast w = {.g = g, .f = f};
  if (!sq_attention_find(&w.a, g, f, score, true) || !is_of_scores(&w)) return false;
  state *x = SQ_ARRAY(g->arena, state, w.a.sum.n);
  if (!understand(&w, x)) {
    sq_remark_add(g->ctx, "recast", false, w.a.value->span, sq_pass_entry(f),
                  "attention with weights linear in the scores stays: %s", w.why);
    return false;
  }
  sq_recast_make(&w, x, w.a.sum.n);
  sq_attention_remark(
      f, &w.a, "recast", true,
      w.all ? "attention with weights linear in the scores: values are summed over the keys "
              "first, then over the width of a key"
            : "attention with weights linear in the scores becomes a scan over the keys: its "
              "work grows with them, not with their square");
  return true;
}

// Nodes below `end` alone: not those that are made here.
static bool do_block(sq_graph *g, sq_func *f, sq_block *b, uint32_t end) {
  bool any = false;
  for (uint32_t k = 0; k < b->nodes.n; k++) {
    sq_node *n = b->nodes.v[k];
    if (sq_node_is_kernel(n) || n->id >= end) continue;
    for (uint32_t r = 0; r < n->n_region; r++) any |= do_block(g, f, n->region[r], end);
    if (n->op == SQ_OP_GENERIC) any |= try_score(g, f, n);
  }
  return any;
}

bool sq_pass_recast(sq_graph *g, const sq_pass_options *o) {
  bool any = false;
  if (o->sequential_scans) return false;
  for (uint32_t k = 0; k < g->func.n; k++) {
    sq_func *f = g->func.v[k];
    any |= do_block(g, f, f->body, g->n_nodes);
  }
  if (any) sq_pass_dce(g, o);
  return any;
}
