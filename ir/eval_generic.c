// `generic` in the interpreter. The scalar part becomes two flat programs over vectors of elements
// along one axis, the lane axis (eval_program.h):
//   body  the domain and the element, run for every combination of parallel and reduced indices
//   post  the result from the accumulator, and positions and guard of a write
// A sum of a product of two reads by strides has loops of its own. A failing test is noted, the
// lowest site wins, and the call fails when the nest is done.
#include "ir/eval_program.h"
#include <math.h>

// ---- monoids -----------------------------------------------------------------------------------

typedef struct acc {
  sq_cell v;
  int64_t n;  // mean: how many; argmax, argmin: where (-1: nowhere)
  double sum; // logsumexp: sum of exp(x - v)
} acc;

static acc acc_start(sq_monoid m, sq_dtype t) {
  acc a = {.n = m == SQ_ARGMAX || m == SQ_ARGMIN ? -1 : 0};
  bool f = sq_is_float(t);
  switch (m) {
  case SQ_PROD:
    if (f)
      a.v.f = 1;
    else
      a.v.i = 1;
    break;
  case SQ_ALL:
    a.v.i = 1;
    break;
  case SQ_MAX:
  case SQ_LOGSUMEXP:
    if (f)
      a.v.f = -INFINITY;
    else
      a.v.i = sq_int_low(t);
    break;
  case SQ_MIN:
    if (f)
      a.v.f = INFINITY;
    else
      a.v.i = sq_int_high(t);
    break;
  case SQ_SUM:
  case SQ_MEAN:
  case SQ_ANY:
  case SQ_ARGMAX:
  case SQ_ARGMIN:
  case SQ_MONOID_NONE:
  case SQ_MONOID_COUNT:
    break;
  }
  return a;
}

static void acc_logsumexp(acc *a, double x) {
  if (isnan(a->v.f) || x == -INFINITY) return;
  if (isnan(x)) {
    a->v.f = x;
  } else if (x > a->v.f) {
    a->sum = a->sum * exp(a->v.f - x) + 1;
    a->v.f = x;
  } else {
    a->sum += x == a->v.f ? 1 : exp(x - a->v.f);
  }
}

static void acc_best(acc *a, bool f, bool largest, sq_cell x, int64_t at) {
  bool better;
  if (a->n < 0)
    better = true;
  else if (f)
    better = !isnan(a->v.f) && (isnan(x.f) || (largest ? x.f > a->v.f : x.f < a->v.f));
  else
    better = largest ? x.i > a->v.i : x.i < a->v.i;
  if (!better) return;
  a->v = x;
  a->n = at;
}

static void acc_one(sq_monoid m, bool f, acc *a, sq_cell x, int64_t at) {
  switch (m) {
  case SQ_SUM:
  case SQ_MEAN:
    a->n++;
    if (f)
      a->v.f += x.f;
    else
      a->v.i = (int64_t)((uint64_t)a->v.i + (uint64_t)x.i);
    break;
  case SQ_PROD:
    if (f)
      a->v.f *= x.f;
    else
      a->v.i = (int64_t)((uint64_t)a->v.i * (uint64_t)x.i);
    break;
  case SQ_MAX:
    if (f ? isnan(x.f) || x.f > a->v.f : x.i > a->v.i)
      if (!f || !isnan(a->v.f)) a->v = x;
    break;
  case SQ_MIN:
    if (f ? isnan(x.f) || x.f < a->v.f : x.i < a->v.i)
      if (!f || !isnan(a->v.f)) a->v = x;
    break;
  case SQ_ANY:
    a->v.i |= x.i != 0;
    break;
  case SQ_ALL:
    a->v.i &= x.i != 0;
    break;
  case SQ_ARGMAX:
  case SQ_ARGMIN:
    acc_best(a, f, m == SQ_ARGMAX, x, at);
    break;
  case SQ_LOGSUMEXP:
    acc_logsumexp(a, x.f);
    break;
  case SQ_MONOID_NONE:
  case SQ_MONOID_COUNT:
    break;
  }
}

static sq_cell acc_end(sq_monoid m, sq_dtype t, const acc *a) {
  sq_cell r = a->v;
  if (m == SQ_ARGMAX || m == SQ_ARGMIN)
    r.i = sq_wrap(SQ_I32, a->n);
  else if (m == SQ_MEAN && sq_is_float(t))
    r.f = a->n ? a->v.f / (double)a->n : 0;
  else if (m == SQ_MEAN)
    r.i = a->n ? a->v.i / a->n : 0;
  else if (m == SQ_LOGSUMEXP)
    r.f = a->sum > 0 && isfinite(a->v.f) ? a->v.f + log(a->sum) : a->v.f;
  else if (!sq_is_float(t) && (m == SQ_SUM || m == SQ_PROD))
    r.i = sq_wrap(t, a->v.i);
  return r;
}

// All lanes into one accumulator, in order; at, at + 1, ... are their numbers.
static void acc_fold(sq_monoid m, bool f, acc *a, const ins *x, const program *p, size_t n,
                     int64_t at) {
  if (m == SQ_SUM && f && !p->mask) {
    double s = a->v.f;
    for (size_t l = 0; l < n; l++) s += x->r[l * x->varies].f;
    a->v.f = s;
    return;
  }
  for (size_t l = 0; l < n; l++)
    if (!p->mask || p->mask[l * p->mask_step].i)
      acc_one(m, f, a, x->r[l * x->varies], at + (int64_t)l);
}

// Lane l into accumulator l.
static void acc_lanes(sq_monoid m, bool f, acc *a, const ins *x, const program *p, size_t n,
                      int64_t at) {
  if (m == SQ_SUM && f && !p->mask) {
    for (size_t l = 0; l < n; l++) a[l].v.f += x->r[l * x->varies].f;
    return;
  }
  for (size_t l = 0; l < n; l++)
    if (!p->mask || p->mask[l * p->mask_step].i) acc_one(m, f, &a[l], x->r[l * x->varies], at);
}

// ---- contractions ------------------------------------------------------------------------------

// sum of one read, or of the product of two, by strides, everywhere: no program is needed.
typedef struct product {
  bool ok;
  ins a, b;
} product;

static product find_product(nest *x) {
  const sq_generic *g = x->g;
  product p = {0};
  const sq_scalar *s = &g->s.v[g->body];
  if (g->keyed || g->domain.n || (g->monoid != SQ_SUM && g->monoid != SQ_MEAN) ||
      !sq_is_float(s->dtype) || s->kind != SQ_SC_EWISE || s->ew != SQ_EW_MUL)
    return p;
  const sq_scalar *a = &g->s.v[s->a[0]], *b = &g->s.v[s->a[1]];
  if (a->kind != SQ_SC_READ || b->kind != SQ_SC_READ || a->guard != SQ_NO_SCALAR ||
      b->guard != SQ_NO_SCALAR || !sq_nest_strides(x, a, &p.a) || !sq_nest_strides(x, b, &p.b))
    return p;
  p.a.from = x->operand[a->operand];
  p.b.from = x->operand[b->operand];
  p.ok = true;
  return p;
}

static double dot(const sq_cell *a, int64_t sa, const sq_cell *b, int64_t sb, int64_t n) {
  double s0 = 0, s1 = 0, s2 = 0, s3 = 0;
  int64_t k = 0;
  for (; k + 4 <= n; k += 4) {
    s0 += a[k * sa].f * b[k * sb].f;
    s1 += a[(k + 1) * sa].f * b[(k + 1) * sb].f;
    s2 += a[(k + 2) * sa].f * b[(k + 2) * sb].f;
    s3 += a[(k + 3) * sa].f * b[(k + 3) * sb].f;
  }
  for (; k < n; k++) s0 += a[k * sa].f * b[k * sb].f;
  return (s0 + s1) + (s2 + s3);
}

static void axpy(double *to, const sq_cell *a, int64_t sa, const sq_cell *b, int64_t sb, size_t n) {
  if (sa == 0 && sb == 1) {
    double v = a->f;
    for (size_t l = 0; l < n; l++) to[l] += v * b[l].f;
  } else {
    for (size_t l = 0; l < n; l++) to[l] += a[(int64_t)l * sa].f * b[(int64_t)l * sb].f;
  }
}

// acc_cells[l] = the sum for lane l of the chunk at x->index.
static void run_product(nest *x, const product *p, uint32_t lane_axis, size_t n) {
  const sq_generic *g = x->g;
  uint32_t inner = x->n_axes - 1;
  int64_t la = lane_axis < x->n_axes ? p->a.stride[lane_axis] : 0;
  int64_t lb = lane_axis < x->n_axes ? p->b.stride[lane_axis] : 0;
  int64_t ra = p->a.stride[inner], rb = p->b.stride[inner], k_n = x->extent[inner], turns = 1;
  // Along the lanes when that is the way of the memory; the one that stands still comes first.
  bool across = n >= 4 && ((la == 0 && lb == 1 && rb != 1) || (lb == 0 && la == 1 && ra != 1));
  double sum[LANES] = {0};
  for (uint32_t a = g->n_par; a < inner; a++) {
    x->index[a] = 0;
    turns *= x->extent[a];
  }
  x->index[inner] = 0;
  int64_t count = turns * k_n;
  for (int64_t t = 0; t < turns; t++) {
    const sq_cell *a = p->a.from->data + p->a.offset, *b = p->b.from->data + p->b.offset;
    for (uint32_t k = 0; k < x->n_axes; k++) {
      a += p->a.stride[k] * x->index[k];
      b += p->b.stride[k] * x->index[k];
    }
    if (across && la == 0)
      for (int64_t k = 0; k < k_n; k++) axpy(sum, a + k * ra, la, b + k * rb, lb, n);
    else if (across)
      for (int64_t k = 0; k < k_n; k++) axpy(sum, b + k * rb, lb, a + k * ra, la, n);
    else
      for (size_t l = 0; l < n; l++)
        sum[l] += dot(a + (int64_t)l * la, ra, b + (int64_t)l * lb, rb, k_n);
    for (uint32_t k = inner; k-- > g->n_par && ++x->index[k] == x->extent[k];) x->index[k] = 0;
  }
  for (size_t l = 0; l < n; l++)
    x->acc_cells[l].f = g->monoid == SQ_MEAN ? (count ? sum[l] / (double)count : 0) : sum[l];
}

// ---- the nest ----------------------------------------------------------------------------------

static void open_nest(nest *x, sq_eval *e, const sq_node *n) {
  const sq_generic *g = n->g;
  *x = (nest){.e = e, .node = n, .g = g, .n_axes = g->n_par + g->n_red};
  sq_eval_work_reset(e);
  if (x->n_axes > MAX_AXES)
    sq_eval_fail(e, SQ_EMODEL, n->span, "a loop nest of %u axes", x->n_axes);
  x->extent = sq_eval_take(e, x->n_axes + 1, sizeof *x->extent);
  x->index = sq_eval_take(e, x->n_axes + 1, sizeof *x->index);
  x->operand = sq_eval_take(e, n->n_in + 1, sizeof *x->operand);
  x->acc_cells = sq_eval_take(e, LANES, sizeof *x->acc_cells);
  for (uint32_t a = 0; a < x->n_axes; a++) {
    x->index[a] = 0;
    // A reduction over a range that ends before it begins is one over nothing.
    int64_t v = a < g->n_par ? sq_eval_extent(e, g->axis[a].extent, n->span)
                             : sq_eval_dim(e, g->axis[a].extent, n->span);
    x->extent[a] = v < 0 ? 0 : v;
  }
  for (uint32_t k = 0; k < n->n_in; k++) x->operand[k] = sq_eval_get(e, n->in[k], n->span);
  sq_nest_affine(x);
}

static void close_nest(nest *x) {
  if (!x->failed) return;
  sq_eval *e = x->e;
  if (x->site >= e->g->site.n)
    sq_eval_fail(e, SQ_EMODEL, x->node->span,
                 "a position that was taken to be inside is not: axis %u, index %lld, extent %lld",
                 x->axis, (long long)x->value, (long long)x->bound);
  sq_eval_fail_outside(e, x->site, x->node->span, x->value, x->bound);
}

static int64_t red_count(const nest *x) {
  int64_t n = 1;
  for (uint32_t a = x->g->n_par; a < x->n_axes; a++)
    if (__builtin_mul_overflow(n, x->extent[a], &n)) n = INT64_MAX;
  for (uint32_t a = x->g->n_par; a < x->n_axes; a++)
    if (!x->extent[a]) n = 0;
  return n;
}

// The reduction: its program and how its lanes lie.
typedef struct reducer {
  loops l;
  program p;
  product product;
  bool across;        // lanes along the last parallel axis, one accumulator each
  uint32_t lane_axis; // of the body
  int64_t count;
  acc *acc;
  sq_dtype type;
} reducer;

static reducer make_reducer(nest *x) {
  const sq_generic *g = x->g;
  reducer r = {.count = red_count(x), .type = g->s.v[g->body].dtype};
  if (!r.count) return r;
  r.product = find_product(x);
  if (r.product.ok) return r;
  uint32_t last_par = g->n_par - 1, last_red = x->n_axes - 1;
  r.across = g->n_par && x->extent[last_par] > x->extent[last_red];
  r.lane_axis = r.across ? last_par : last_red;
  r.l.n = x->n_axes;
  for (uint32_t a = 0; a < x->n_axes; a++) r.l.axis[a] = a;
  r.l.lane = 1ull << r.lane_axis;
  r.l.lane_at = r.lane_axis;
  r.p = sq_nest_program(x, &r.l, &g->body, 1, true);
  r.acc = sq_eval_take(x->e, LANES, sizeof *r.acc);
  return r;
}

// Moves the reduced axes [first, end) on by one; gives the loop that moved, or NONE at the end.
static uint32_t next_red(nest *x, uint32_t first, uint32_t end) {
  for (uint32_t a = end; a-- > first;) {
    if (++x->index[a] < x->extent[a]) return a;
    x->index[a] = 0;
  }
  return NONE;
}

// One accumulator per lane: the lanes are the chunk of the last parallel axis. `from`: the level of
// the first instruction that has to run.
static void reduce_across(nest *x, reducer *r, uint32_t from, size_t n) {
  const sq_generic *g = x->g;
  bool f = sq_is_float(r->type);
  for (size_t l = 0; l < n; l++) r->acc[l] = acc_start(g->monoid, r->type);
  const ins *body = &r->p.v[r->p.of[g->body]];
  int64_t at = 0;
  for (;;) {
    sq_eval_nest_run(x, &r->p, from, r->lane_axis, n);
    acc_lanes(g->monoid, f, r->acc, body, &r->p, n, at++);
    uint32_t moved = next_red(x, g->n_par, x->n_axes);
    if (moved == NONE) break;
    from = moved + 1;
  }
  for (size_t l = 0; l < n; l++) x->acc_cells[l] = acc_end(g->monoid, r->type, &r->acc[l]);
}

// One accumulator: the lanes are chunks of the last reduced axis.
static sq_cell reduce_along(nest *x, reducer *r, uint32_t from) {
  const sq_generic *g = x->g;
  bool f = sq_is_float(r->type);
  acc a = acc_start(g->monoid, r->type);
  const ins *body = &r->p.v[r->p.of[g->body]];
  uint32_t lane = r->lane_axis;
  int64_t at = 0, extent = x->extent[lane];
  for (;;) {
    for (int64_t c = 0; c < extent; c += LANES) {
      size_t n = extent - c < LANES ? (size_t)(extent - c) : LANES;
      x->index[lane] = c;
      sq_eval_nest_run(x, &r->p, from, lane, n);
      acc_fold(g->monoid, f, &a, body, &r->p, n, at);
      at += (int64_t)n;
      from = lane + 1;
    }
    x->index[lane] = 0;
    uint32_t moved = next_red(x, g->n_par, lane);
    if (moved == NONE) break;
    from = moved + 1;
  }
  return acc_end(g->monoid, r->type, &a);
}

static void reduce_chunk(nest *x, reducer *r, uint32_t *from, uint32_t lane_axis, size_t n) {
  const sq_generic *g = x->g;
  if (!r->count) {
    acc a = acc_start(g->monoid, r->type);
    for (size_t l = 0; l < n; l++) x->acc_cells[l] = acc_end(g->monoid, r->type, &a);
  } else if (r->product.ok) {
    run_product(x, &r->product, lane_axis, n);
  } else if (r->across) {
    reduce_across(x, r, *from, n);
  } else {
    for (size_t l = 0; l < n; l++) {
      x->acc_cells[l] = reduce_along(x, r, *from);
      if (g->n_par) {
        x->index[g->n_par - 1]++;
        *from = g->n_par;
      }
    }
    if (g->n_par) x->index[g->n_par - 1] -= (int64_t)n;
  }
}

// What takes the elements of a chunk: linear number of the first, the post program having run.
typedef struct sink {
  sq_ten *result; // element by element, in order
  sq_ten *places; // where each goes, NULL: no positions wanted
  const sq_ten *target;
} sink;

static void store_places(nest *x, const program *p, const sink *to, int64_t at, size_t n) {
  const sq_generic *g = x->g;
  const ins *guard = g->write_guard != SQ_NO_SCALAR ? &p->v[p->of[g->write_guard]] : NULL;
  const sq_tensor64 *t = &to->target->t;
  for (size_t l = 0; l < n; l++) {
    sq_cell *place = &to->places->data[at + (int64_t)l];
    place->i = -1;
    if (guard && !guard->r[l * guard->varies].i) continue;
    int64_t offset = 0;
    uint32_t k = 0;
    for (; k < t->rank; k++) {
      int64_t pos;
      if (g->pos) {
        const ins *i = &p->v[p->of[g->pos[k]]];
        pos = i->r[l * i->varies].i;
      } else {
        pos = x->index[k] + (k + 1 == g->n_par ? (int64_t)l : 0);
      }
      if (pos < 0 || pos >= t->dim[k]) {
        sq_nest_failure(x, g->pos_site, k, pos, t->dim[k]);
        break;
      }
      offset = offset * t->dim[k] + pos;
    }
    if (k == t->rank) place->i = offset;
  }
}

static void run_nest(nest *x, const sink *to) {
  const sq_generic *g = x->g;
  bool reduces = g->n_red > 0;
  uint32_t roots[SQ_MAX_RANK + 3], n_roots = 0;
  uint32_t value = g->post != SQ_NO_SCALAR ? g->post : reduces ? SQ_NO_SCALAR : g->body;
  roots[n_roots++] = value;
  if (to->places) {
    roots[n_roots++] = g->write_guard;
    for (uint32_t k = 0; g->pos && k < g->n_pos; k++) roots[n_roots++] = g->pos[k];
  }
  reducer r = {0};
  if (reduces) r = make_reducer(x);
  uint32_t lane = g->n_par ? g->n_par - 1 : NONE;
  loops l = {.n = g->n_par, .lane = ACC_BIT | (g->n_par ? 1ull << lane : 0)};
  for (uint32_t a = 0; a < g->n_par; a++) l.axis[a] = a;
  l.lane_at = g->n_par ? lane : 0;
  program post = sq_nest_program(x, &l, roots, n_roots, false);
  const ins *element = value != SQ_NO_SCALAR ? &post.v[post.of[value]] : NULL;

  int64_t total = to->result->count, extent = g->n_par ? x->extent[lane] : 1, at = 0;
  uint32_t moved = 0, from = 0; // levels to run again
  while (at < total) {
    for (int64_t c = 0; c < extent; c += LANES) {
      size_t n = extent - c < LANES ? (size_t)(extent - c) : LANES;
      if (g->n_par) x->index[lane] = c;
      if (reduces) {
        uint32_t body_from = moved;
        reduce_chunk(x, &r, &body_from, lane, n);
      }
      sq_eval_nest_run(x, &post, from, lane, n);
      sq_cell *out = to->result->data + at;
      if (element)
        for (size_t k = 0; k < n; k++) out[k] = element->r[k * element->varies];
      else
        memcpy(out, x->acc_cells, n * sizeof *out);
      if (to->places) store_places(x, &post, to, at, n);
      at += (int64_t)n;
      moved = from = g->n_par;
    }
    if (!g->n_par) break;
    x->index[lane] = 0;
    uint32_t axis = next_red(x, 0, lane);
    if (axis == NONE) break;
    moved = from = axis + 1;
  }
}

// ---- keyed -------------------------------------------------------------------------------------

static int64_t key_place(const program *p, const sq_generic *g, const sq_tensor64 *t, size_t l) {
  int64_t offset = 0;
  for (uint32_t k = 0; k < t->rank; k++) {
    const ins *i = &p->v[p->of[g->pos[k]]];
    int64_t pos = i->r[l * i->varies].i;
    if (pos < 0 || pos >= t->dim[k]) return -1;
    offset = offset * t->dim[k] + pos;
  }
  return offset;
}

static void run_keyed(nest *x, sq_ten *result) {
  const sq_generic *g = x->g;
  sq_dtype type = g->s.v[g->body].dtype;
  bool f = sq_is_float(type);
  acc *all = sq_eval_take(x->e, (size_t)result->count + 1, sizeof *all);
  for (int64_t k = 0; k < result->count; k++) all[k] = acc_start(g->monoid, type);
  uint32_t lane = x->n_axes - 1;
  if (red_count(x) && g->n_pos == result->t.rank) {
    loops l = {.n = x->n_axes, .lane = 1ull << lane, .lane_at = lane};
    uint32_t roots[SQ_MAX_RANK + 1] = {g->body};
    for (uint32_t a = 0; a < x->n_axes; a++) l.axis[a] = a;
    for (uint32_t k = 0; k < g->n_pos; k++) roots[k + 1] = g->pos[k];
    program p = sq_nest_program(x, &l, roots, g->n_pos + 1, true);
    const ins *body = &p.v[p.of[g->body]];
    uint32_t from = 0;
    int64_t at = 0;
    for (;;) {
      for (int64_t c = 0; c < x->extent[lane]; c += LANES) {
        size_t n = x->extent[lane] - c < LANES ? (size_t)(x->extent[lane] - c) : LANES;
        x->index[lane] = c;
        sq_eval_nest_run(x, &p, from, lane, n);
        for (size_t k = 0; k < n; k++, at++) {
          if (p.mask && !p.mask[k * p.mask_step].i) continue;
          int64_t place = key_place(&p, g, &result->t, k);
          if (place >= 0) acc_one(g->monoid, f, &all[place], body->r[k * body->varies], at);
        }
        from = lane + 1;
      }
      x->index[lane] = 0;
      uint32_t moved = next_red(x, 0, lane);
      if (moved == NONE) break;
      from = moved + 1;
    }
  }
  program post = {0};
  loops none = {.lane = ACC_BIT};
  if (g->post != SQ_NO_SCALAR) post = sq_nest_program(x, &none, &g->post, 1, false);
  for (int64_t c = 0; c < result->count; c += LANES) {
    size_t n = result->count - c < LANES ? (size_t)(result->count - c) : LANES;
    for (size_t k = 0; k < n; k++) x->acc_cells[k] = acc_end(g->monoid, type, &all[c + (int64_t)k]);
    const sq_cell *from = x->acc_cells;
    uint32_t step = 1;
    if (g->post != SQ_NO_SCALAR) {
      sq_eval_nest_run(x, &post, 0, NONE, n);
      from = post.v[post.of[g->post]].r;
      step = post.v[post.of[g->post]].varies;
    }
    for (size_t k = 0; k < n; k++) result->data[c + (int64_t)k] = from[k * step];
  }
}

// ---- what others call --------------------------------------------------------------------------

static sq_dtype element_type(const sq_generic *g) {
  if (g->post != SQ_NO_SCALAR) return g->s.v[g->post].dtype;
  sq_dtype t = g->s.v[g->body].dtype;
  return g->n_red || g->keyed ? sq_monoid_result(g->monoid, t) : t;
}

sq_ten *sq_eval_generic(sq_eval *e, const sq_node *n) {
  nest x;
  open_nest(&x, e, n);
  sq_ten *result;
  if (n->g->keyed) {
    result = sq_ten_of_type(e, n->span, &n->out[0]->type);
    run_keyed(&x, result);
  } else {
    result = sq_ten_new(e, n->span, element_type(n->g), n->g->n_par, x.extent);
    run_nest(&x, &(sink){.result = result});
  }
  close_nest(&x);
  return result;
}

void sq_eval_elements(sq_eval *e, const sq_node *n, const sq_ten *target, sq_ten **values,
                      sq_ten **places) {
  nest x;
  open_nest(&x, e, n);
  const sq_generic *g = n->g;
  uint32_t positions = g->pos ? g->n_pos : g->n_par;
  if (positions != target->t.rank)
    sq_eval_fail(e, SQ_EMODEL, n->span, "%s: %u positions for %u axes", sq_op_table[n->op].name,
                 positions, target->t.rank);
  *values = sq_ten_new(e, n->span, element_type(g), g->n_par, x.extent);
  *places = sq_ten_new(e, n->span, SQ_I64, g->n_par, x.extent);
  run_nest(&x, &(sink){.result = *values, .places = *places, .target = target});
  close_nest(&x);
}
