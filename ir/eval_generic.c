// `generic` in the interpreter. The scalar part becomes two flat programs over vectors of up to
// LANES elements along one axis (the lane axis):
//   body  the domain and the element, run for every combination of parallel and reduced indices
//   post  the result from the accumulator, and positions and guard of a write
// Instructions are sorted by the innermost loop that they depend on and run only when that loop
// moves. Reads at affine positions that stay inside for all indices become strides; all others go
// through position vectors with their tests. A sum of a product of two such reads has loops of its
// own. A failing test is noted, the lowest site wins, and the call fails when the nest is done.
#include "ir/eval_impl.h"
#include <math.h>

#define LANES 256
#define MAX_AXES (2 * SQ_MAX_RANK)

typedef struct affine {
  bool ok;
  int64_t offset, low, high;
  int64_t *coef; // per axis
} affine;

typedef struct ins {
  const sq_scalar *s;
  bool mask_all;  // not a scalar: the conjunction of the domain
  bool varies;    // one element per lane, else one
  bool masked;    // a read of the body: only where the domain holds
  bool inside;    // a read by strides, never outside
  uint32_t level; // 0: once; k + 1: whenever loop k moves
  uint32_t phase; // among equals: domain 0, its conjunction 1, the rest 2, above the accumulator 3
  uint32_t id;
  sq_cell *r;
  const sq_cell *a[3];
  uint32_t step[3];
  const sq_cell *guard, *other, *mask;
  uint32_t guard_step, other_step, mask_step;
  // reads
  const sq_ten *from;
  int64_t offset;
  int64_t *stride;     // inside: per axis of the nest
  const sq_cell **pos; // otherwise: per axis of the operand
  uint32_t *pos_step;
  int64_t *pos_stride;
} ins;

typedef struct program {
  ins *v;
  uint32_t n;
  uint32_t *start; // [levels + 1]: first instruction of that level or a deeper one
  uint32_t n_levels;
  uint32_t *of;        // per scalar: instruction, or NONE
  const sq_cell *mask; // the domain, NULL: everywhere
  uint32_t mask_step;
} program;
#define NONE UINT32_MAX

typedef struct nest {
  sq_eval *e;
  const sq_node *node;
  const sq_generic *g;
  uint32_t n_axes;
  int64_t *extent; // per axis
  int64_t *index;
  const sq_ten **operand;
  affine *aff;
  sq_cell *acc_cells; // what SQ_SC_ACC reads, one per lane
  // the first failing test of the lowest site
  bool failed;
  uint32_t site, axis;
  int64_t value, bound;
} nest;

// ---- affine positions
// ----------------------------------------------------------------------------

static bool affine_range(const nest *x, affine *f, sq_dtype t) {
  f->low = f->high = f->offset;
  for (uint32_t a = 0; a < x->n_axes; a++) {
    int64_t last = x->extent[a] > 0 ? x->extent[a] - 1 : 0, d;
    if (__builtin_mul_overflow(f->coef[a], last, &d)) return false;
    if (__builtin_add_overflow(d < 0 ? f->low : f->high, d, d < 0 ? &f->low : &f->high))
      return false;
  }
  return f->low >= sq_int_low(t) && f->high <= sq_int_high(t);
}

static bool affine_constant(const nest *x, const affine *f) {
  for (uint32_t a = 0; a < x->n_axes; a++)
    if (f->coef[a]) return false;
  return true;
}

static bool affine_combine(const nest *x, affine *f, const affine *a, int64_t ca, const affine *b,
                           int64_t cb) {
  int64_t p, q;
  if (!a->ok || !b->ok) return false;
  if (__builtin_mul_overflow(a->offset, ca, &p) || __builtin_mul_overflow(b->offset, cb, &q) ||
      __builtin_add_overflow(p, q, &f->offset))
    return false;
  for (uint32_t k = 0; k < x->n_axes; k++)
    if (__builtin_mul_overflow(a->coef[k], ca, &p) || __builtin_mul_overflow(b->coef[k], cb, &q) ||
        __builtin_add_overflow(p, q, &f->coef[k]))
      return false;
  return true;
}

static bool affine_ewise(nest *x, const sq_scalar *s, affine *f) {
  const affine *a = &x->aff[s->a[0]];
  const affine *b = sq_ewise_table[s->ew].arity > 1 ? &x->aff[s->a[1]] : a;
  if (s->ew == SQ_EW_ADD) return affine_combine(x, f, a, 1, b, 1);
  if (s->ew == SQ_EW_SUB) return affine_combine(x, f, a, 1, b, -1);
  if (s->ew == SQ_EW_NEG) return affine_combine(x, f, a, -1, a, 0);
  if (s->ew != SQ_EW_MUL || !a->ok || !b->ok) return false;
  if (affine_constant(x, b)) return affine_combine(x, f, a, b->offset, a, 0);
  return affine_constant(x, a) && affine_combine(x, f, b, a->offset, b, 0);
}

static void find_affine(nest *x) {
  uint32_t n = x->g->s.n;
  x->aff = sq_eval_take(x->e, n + 1, sizeof *x->aff);
  int64_t *coef = sq_eval_take(x->e, (size_t)n * x->n_axes + 1, sizeof *coef);
  memset(coef, 0, ((size_t)n * x->n_axes + 1) * sizeof *coef);
  for (uint32_t k = 0; k < n; k++) {
    const sq_scalar *s = &x->g->s.v[k];
    affine *f = &x->aff[k];
    *f = (affine){.coef = coef + (size_t)k * x->n_axes};
    if (sq_is_float(s->dtype) || s->dtype == SQ_BOOL) continue;
    bool ok = false;
    switch ((int)s->kind) {
    case SQ_SC_INT:
      f->offset = s->i;
      ok = true;
      break;
    case SQ_SC_DIM:
      ok = sq_dim_eval(x->e->g->dims, s->dim, x->e->sym, &f->offset);
      break;
    case SQ_SC_INDEX:
      f->coef[s->axis] = 1;
      ok = true;
      break;
    case SQ_SC_CAST:
      ok = x->aff[s->a[0]].ok && affine_combine(x, f, &x->aff[s->a[0]], 1, &x->aff[s->a[0]], 0);
      break;
    case SQ_SC_EWISE:
      ok = affine_ewise(x, s, f);
      break;
    default:
      break;
    }
    f->ok = ok && affine_range(x, f, s->dtype);
  }
}

// Address of a read as base + strides, when no index leaves the operand.
static bool read_inside(nest *x, const sq_scalar *s, ins *i) {
  const sq_ten *t = x->operand[s->operand];
  int64_t stride = 1;
  if (s->n_pos != t->t.rank) return false;
  for (uint32_t k = 0; k < s->n_pos; k++) {
    const affine *f = &x->aff[s->pos[k]];
    if (!f->ok || f->low < 0 || f->high >= t->t.dim[k]) return false;
  }
  i->stride = sq_eval_take(x->e, x->n_axes + 1, sizeof *i->stride);
  memset(i->stride, 0, (x->n_axes + 1) * sizeof *i->stride);
  i->offset = 0;
  for (uint32_t k = s->n_pos; k-- > 0; stride *= t->t.dim[k]) {
    const affine *f = &x->aff[s->pos[k]];
    i->offset += f->offset * stride;
    for (uint32_t a = 0; a < x->n_axes; a++) i->stride[a] += f->coef[a] * stride;
  }
  return true;
}

// ---- making a program
// ----------------------------------------------------------------------------

typedef struct maker {
  nest *x;
  program *p;
  bool *need;
  uint64_t *deps; // per scalar: axes, and ACC_BIT
  uint8_t *phase;
  bool *inside;
  ins *reads; // per scalar: strides found
  uint64_t domain_deps;
  bool masks;
  uint32_t acc_is; // without reduced axes the accumulator is the body
} maker;
#define ACC_BIT (1ull << 63)

static void need_scalar(maker *m, uint32_t s, uint8_t phase) {
  // Scalars are in topological order: marked here, propagated by one sweep from the last to the
  // first.
  if (s == SQ_NO_SCALAR) return;
  if (!m->need[s] || m->phase[s] > phase) m->phase[s] = phase;
  m->need[s] = true;
}

static void need_operands(maker *m, uint32_t k) {
  const sq_scalar *s = &m->x->g->s.v[k];
  uint8_t phase = m->phase[k];
  switch (s->kind) {
  case SQ_SC_READ:
    if (!m->inside[k]) {
      for (uint32_t j = 0; j < s->n_pos; j++) need_scalar(m, s->pos[j], phase);
      need_scalar(m, s->other, phase);
    }
    need_scalar(m, s->guard, phase);
    break;
  case SQ_SC_EWISE:
    for (int j = 0; j < sq_ewise_table[s->ew].arity; j++) need_scalar(m, s->a[j], phase);
    break;
  case SQ_SC_SELECT:
    for (int j = 0; j < 3; j++) need_scalar(m, s->a[j], phase);
    break;
  case SQ_SC_CAST:
    need_scalar(m, s->a[0], phase);
    break;
  case SQ_SC_ACC:
    need_scalar(m, m->acc_is, phase);
    break;
  case SQ_SC_FLOAT:
  case SQ_SC_INT:
  case SQ_SC_INDEX:
  case SQ_SC_DIM:
    break;
  }
}

static uint64_t deps_of(const maker *m, uint32_t k) {
  const sq_scalar *s = &m->x->g->s.v[k];
  uint64_t d = 0;
  switch (s->kind) {
  case SQ_SC_READ:
    if (m->inside[k]) {
      for (uint32_t a = 0; a < m->x->n_axes; a++)
        if (m->reads[k].stride[a]) d |= 1ull << a;
    } else {
      for (uint32_t j = 0; j < s->n_pos; j++) d |= m->deps[s->pos[j]];
      if (s->other != SQ_NO_SCALAR) d |= m->deps[s->other];
      if (m->masks && m->phase[k] == 2) d |= m->domain_deps;
    }
    if (s->guard != SQ_NO_SCALAR) d |= m->deps[s->guard];
    break;
  case SQ_SC_EWISE:
    for (int j = 0; j < sq_ewise_table[s->ew].arity; j++) d |= m->deps[s->a[j]];
    break;
  case SQ_SC_SELECT:
    for (int j = 0; j < 3; j++) d |= m->deps[s->a[j]];
    break;
  case SQ_SC_CAST:
    d = m->deps[s->a[0]];
    break;
  case SQ_SC_ACC:
    d = m->acc_is != SQ_NO_SCALAR ? m->deps[m->acc_is] : ACC_BIT;
    break;
  case SQ_SC_INDEX:
    d = 1ull << s->axis;
    break;
  case SQ_SC_FLOAT:
  case SQ_SC_INT:
  case SQ_SC_DIM:
    break;
  }
  return d;
}

// Per scalar: whether it stands on the accumulator, which may come before the body in the list.
static bool *above_acc(nest *x) {
  uint32_t n = x->g->s.n;
  bool *above = sq_eval_take(x->e, n + 1, 1);
  for (uint32_t k = 0; k < n; k++) {
    const sq_scalar *s = &x->g->s.v[k];
    int arity = s->kind == SQ_SC_EWISE    ? sq_ewise_table[s->ew].arity
                : s->kind == SQ_SC_SELECT ? 3
                : s->kind == SQ_SC_CAST   ? 1
                                          : 0;
    above[k] = s->kind == SQ_SC_ACC;
    for (int j = 0; j < arity; j++) above[k] |= above[s->a[j]];
    if (s->kind != SQ_SC_READ) continue;
    for (uint32_t j = 0; j < s->n_pos; j++) above[k] |= above[s->pos[j]];
    if (s->guard != SQ_NO_SCALAR) above[k] |= above[s->guard];
    if (s->other != SQ_NO_SCALAR) above[k] |= above[s->other];
  }
  return above;
}

static bool before(const ins *a, const ins *b) {
  if (a->level != b->level) return a->level < b->level;
  if (a->phase != b->phase) return a->phase < b->phase;
  return a->id < b->id;
}

static void sort_ins(sq_eval *e, ins *v, uint32_t n) {
  ins *t = sq_eval_take(e, n + 1, sizeof *t);
  for (uint32_t w = 1; w < n; w *= 2) {
    for (uint32_t lo = 0; lo < n; lo += 2 * w) {
      uint32_t i = lo, mid = lo + w < n ? lo + w : n, j = mid, hi = lo + 2 * w < n ? lo + 2 * w : n;
      for (uint32_t k = lo; k < hi; k++)
        t[k] = i < mid && (j >= hi || !before(&v[j], &v[i])) ? v[i++] : v[j++];
    }
    memcpy(v, t, n * sizeof *v);
  }
}

// The loops in order: order[axis] = position, order of the lane axis included. `lane`: its bits.
typedef struct loops {
  uint32_t n;
  uint32_t axis[MAX_AXES]; // outermost first
  uint64_t lane;           // axes (or ACC_BIT) that vary along the lanes
  uint32_t lane_at;        // position of the lane loop; == n: none
} loops;

static uint32_t level_of(const loops *l, uint64_t deps) {
  uint32_t level = 0;
  for (uint32_t k = 0; k < l->n; k++)
    if (deps >> l->axis[k] & 1) level = k + 1;
  if (deps & ACC_BIT) level = l->lane_at + 1;
  return level;
}

static void link_ins(maker *m, ins *i) {
  program *p = m->p;
  const sq_scalar *s = i->s;
#define LINK(field, stepfield, scalar)                                                             \
  do {                                                                                             \
    const ins *src = &p->v[p->of[scalar]];                                                         \
    (field) = src->r;                                                                              \
    (stepfield) = src->varies;                                                                     \
  } while (0)
  int arity = s->kind == SQ_SC_EWISE    ? sq_ewise_table[s->ew].arity
              : s->kind == SQ_SC_SELECT ? 3
              : s->kind == SQ_SC_CAST   ? 1
                                        : 0;
  for (int k = 0; k < arity; k++) LINK(i->a[k], i->step[k], s->a[k]);
  if (arity == 1) {
    i->a[1] = i->a[0];
    i->step[1] = i->step[0];
  }
  if (s->kind == SQ_SC_ACC && m->acc_is != SQ_NO_SCALAR) LINK(i->a[0], i->step[0], m->acc_is);
  if (s->kind != SQ_SC_READ) return;
  if (s->guard != SQ_NO_SCALAR) LINK(i->guard, i->guard_step, s->guard);
  if (i->inside) return;
  if (s->other != SQ_NO_SCALAR) LINK(i->other, i->other_step, s->other);
  sq_eval *e = m->x->e;
  i->pos = sq_eval_take(e, s->n_pos + 1, sizeof *i->pos);
  i->pos_step = sq_eval_take(e, s->n_pos + 1, sizeof *i->pos_step);
  i->pos_stride = sq_eval_take(e, s->n_pos + 1, sizeof *i->pos_stride);
  int64_t stride = 1;
  for (uint32_t k = s->n_pos; k-- > 0; stride *= i->from->t.dim[k]) {
    LINK(i->pos[k], i->pos_step[k], s->pos[k]);
    i->pos_stride[k] = stride;
  }
  if (i->masked) {
    i->mask = p->mask;
    i->mask_step = p->mask_step;
  }
#undef LINK
}

// roots: scalars that are wanted; the node's domain is in the program when `domain` is.
static program make_program(nest *x, const loops *l, const uint32_t *roots, uint32_t n_roots,
                            bool domain) {
  sq_eval *e = x->e;
  const sq_generic *g = x->g;
  uint32_t n = g->s.n;
  program p = {.n_levels = l->n + 2};
  maker m = {.x = x, .p = &p, .masks = domain && g->domain.n};
  m.acc_is = g->n_red || g->keyed ? SQ_NO_SCALAR : g->body;
  m.need = sq_eval_take(e, n + 1, 1);
  m.phase = sq_eval_take(e, n + 1, 1);
  m.inside = sq_eval_take(e, n + 1, 1);
  m.deps = sq_eval_take(e, n + 1, sizeof *m.deps);
  m.reads = sq_eval_take(e, n + 1, sizeof *m.reads);
  p.of = sq_eval_take(e, n + 1, sizeof *p.of);
  memset(m.need, 0, n);
  memset(m.phase, 3, n);
  memset(m.deps, 0, n * sizeof *m.deps);
  memset(m.reads, 0, n * sizeof *m.reads);
  for (uint32_t k = 0; k < n; k++)
    m.inside[k] = g->s.v[k].kind == SQ_SC_READ && read_inside(x, &g->s.v[k], &m.reads[k]);
  for (uint32_t k = 0; domain && k < g->domain.n; k++) need_scalar(&m, g->domain.v[k], 0);
  for (uint32_t k = 0; k < n_roots; k++) need_scalar(&m, roots[k], 2);
  // ACC may stand before the body in the list: a second sweep brings its needs to the operands.
  for (int sweep = 0; sweep < 2; sweep++)
    for (uint32_t k = n; k-- > 0;)
      if (m.need[k]) need_operands(&m, k);
  for (int sweep = 0; sweep < 2; sweep++) {
    for (uint32_t k = 0; k < n; k++)
      if (m.need[k]) m.deps[k] = deps_of(&m, k);
    if (sweep == 0 && m.masks) {
      for (uint32_t k = 0; k < g->domain.n; k++) m.domain_deps |= m.deps[g->domain.v[k]];
    }
  }
  // A third time, for reads that took the domain's axes and whatever stands on them.
  if (m.masks)
    for (uint32_t k = 0; k < n; k++)
      if (m.need[k]) m.deps[k] = deps_of(&m, k);

  p.v = sq_eval_take(e, n + 2, sizeof *p.v);
  bool *above = above_acc(x);
  for (uint32_t k = 0; k < n; k++) {
    p.of[k] = NONE;
    if (!m.need[k]) continue;
    ins i = m.reads[k];
    i.s = &g->s.v[k];
    i.id = k;
    i.level = level_of(l, m.deps[k]);
    i.varies = (m.deps[k] & l->lane) != 0;
    i.phase = above[k] ? 3 : m.phase[k];
    i.inside = m.inside[k];
    i.masked = m.masks && m.phase[k] == 2;
    if (i.s->kind == SQ_SC_READ) i.from = x->operand[i.s->operand];
    p.v[p.n++] = i;
  }
  if (m.masks) {
    ins i = {.mask_all = true, .phase = 1, .level = level_of(l, m.domain_deps)};
    i.varies = (m.domain_deps & l->lane) != 0;
    p.v[p.n++] = i;
  }
  sort_ins(e, p.v, p.n);
  for (uint32_t k = 0; k < p.n; k++) {
    ins *i = &p.v[k];
    i->r = sq_eval_take(e, i->varies ? LANES : 1, sizeof(sq_cell));
    if (i->mask_all) {
      p.mask = i->r;
      p.mask_step = i->varies;
    } else {
      if (i->s->kind == SQ_SC_ACC && m.acc_is == SQ_NO_SCALAR) i->r = x->acc_cells;
      p.of[i->id] = k;
    }
  }
  for (uint32_t k = 0; k < p.n; k++)
    if (!p.v[k].mask_all) link_ins(&m, &p.v[k]);
  p.start = sq_eval_take(e, p.n_levels + 1, sizeof *p.start);
  uint32_t at = 0;
  for (uint32_t level = 0; level <= p.n_levels; level++) {
    while (at < p.n && p.v[at].level < level) at++;
    p.start[level] = at;
  }
  return p;
}

// ---- running a program
// ---------------------------------------------------------------------------

static void note_failure(nest *x, uint32_t site, uint32_t axis, int64_t value, int64_t bound) {
  if (x->failed && site >= x->site) return;
  x->failed = true;
  x->site = site;
  x->axis = axis;
  x->value = value;
  x->bound = bound;
}

static void run_read_inside(const nest *x, const ins *i, uint32_t lane_axis, size_t n) {
  int64_t at = i->offset;
  for (uint32_t a = 0; a < x->n_axes; a++) at += i->stride[a] * x->index[a];
  const sq_cell *from = i->from->data + at;
  int64_t stride = lane_axis < x->n_axes ? i->stride[lane_axis] : 0;
  if (i->guard) {
    for (size_t l = 0; l < n; l++)
      i->r[l] = i->guard[l * i->guard_step].i ? from[(int64_t)l * stride] : (sq_cell){.i = 0};
  } else if (stride == 1) {
    memcpy(i->r, from, n * sizeof *i->r);
  } else {
    for (size_t l = 0; l < n; l++) i->r[l] = from[(int64_t)l * stride];
  }
}

static void run_read(nest *x, const ins *i, size_t n) {
  const sq_scalar *s = i->s;
  const sq_ten *t = i->from;
  for (size_t l = 0; l < n; l++) {
    i->r[l].i = 0; // also 0.0
    if (i->mask && !i->mask[l * i->mask_step].i) continue;
    if (i->guard && !i->guard[l * i->guard_step].i) continue;
    int64_t at = 0;
    uint32_t k = 0;
    for (; k < s->n_pos; k++) {
      int64_t pos = i->pos[k][l * i->pos_step[k]].i;
      if (pos < 0 || pos >= t->t.dim[k]) {
        if (i->other)
          i->r[l] = i->other[l * i->other_step];
        else
          note_failure(x, s->site, k, pos, t->t.dim[k]);
        break;
      }
      at += pos * i->pos_stride[k];
    }
    if (k == s->n_pos) i->r[l] = t->data[at];
  }
}

static void run_mask(const nest *x, const program *p, const ins *i, size_t n) {
  for (size_t l = 0; l < n; l++) i->r[l].i = 1;
  for (uint32_t k = 0; k < x->g->domain.n; k++) {
    const ins *d = &p->v[p->of[x->g->domain.v[k]]];
    for (size_t l = 0; l < n; l++) i->r[l].i &= d->r[l * d->varies].i != 0;
  }
}

static void run_ins(nest *x, const program *p, const ins *i, uint32_t lane_axis, size_t lanes) {
  const sq_scalar *s = i->s;
  size_t n = i->varies ? lanes : 1;
  if (i->mask_all) {
    run_mask(x, p, i, n);
    return;
  }
  switch (s->kind) {
  case SQ_SC_FLOAT:
    i->r->f = s->f;
    break;
  case SQ_SC_INT:
    if (sq_is_float(s->dtype))
      i->r->f = (double)s->i;
    else
      i->r->i = s->i;
    break;
  case SQ_SC_INDEX:
    for (size_t l = 0; l < n; l++)
      i->r[l].i = x->index[s->axis] + (s->axis == lane_axis ? (int64_t)l : 0);
    break;
  case SQ_SC_DIM:
    i->r->i = sq_eval_dim(x->e, s->dim, x->node->span);
    break;
  case SQ_SC_READ:
    if (i->inside)
      run_read_inside(x, i, lane_axis, n);
    else
      run_read(x, i, n);
    break;
  case SQ_SC_EWISE:
    sq_cells_ewise(s->ew, x->g->s.v[s->a[0]].dtype, n, i->r, i->a[0], i->step[0], i->a[1],
                   i->step[1]);
    break;
  case SQ_SC_SELECT:
    for (size_t l = 0; l < n; l++)
      i->r[l] = i->a[0][l * i->step[0]].i ? i->a[1][l * i->step[1]] : i->a[2][l * i->step[2]];
    break;
  case SQ_SC_CAST:
    sq_cells_cast(x->g->s.v[s->a[0]].dtype, s->dtype, n, i->r, i->a[0], i->step[0]);
    break;
  case SQ_SC_ACC:
    for (size_t l = 0; i->a[0] && l < n; l++) i->r[l] = i->a[0][l * i->step[0]];
    break;
  }
}

// Instructions of level `from` and deeper, with `lanes` elements from x->index[lane_axis] on.
static void run_program(nest *x, const program *p, uint32_t from, uint32_t lane_axis,
                        size_t lanes) {
  for (uint32_t k = p->start[from]; k < p->n; k++) run_ins(x, p, &p->v[k], lane_axis, lanes);
}

// ---- monoids
// -------------------------------------------------------------------------------------

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

// ---- contractions
// --------------------------------------------------------------------------------

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
      b->guard != SQ_NO_SCALAR || !read_inside(x, a, &p.a) || !read_inside(x, b, &p.b))
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

// ---- the nest
// ------------------------------------------------------------------------------------

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
  find_affine(x);
}

static void close_nest(nest *x) {
  if (!x->failed) return;
  if (x->site < x->e->g->site.n)
    sq_eval_fail_site(x->e, x->site, x->node->span, "index %lld, extent %lld", (long long)x->value,
                      (long long)x->bound);
  sq_eval_fail(x->e, SQ_EMODEL, x->node->span,
               "a position that was taken to be inside is not: axis %u, index %lld, extent %lld",
               x->axis, (long long)x->value, (long long)x->bound);
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
  r.p = make_program(x, &r.l, &g->body, 1, true);
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
    run_program(x, &r->p, from, r->lane_axis, n);
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
      run_program(x, &r->p, from, lane, n);
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
        note_failure(x, g->pos_site, k, pos, t->dim[k]);
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
  program post = make_program(x, &l, roots, n_roots, false);
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
      run_program(x, &post, from, lane, n);
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

// ---- keyed
// ---------------------------------------------------------------------------------------

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
    program p = make_program(x, &l, roots, g->n_pos + 1, true);
    const ins *body = &p.v[p.of[g->body]];
    uint32_t from = 0;
    int64_t at = 0;
    for (;;) {
      for (int64_t c = 0; c < x->extent[lane]; c += LANES) {
        size_t n = x->extent[lane] - c < LANES ? (size_t)(x->extent[lane] - c) : LANES;
        x->index[lane] = c;
        run_program(x, &p, from, lane, n);
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
  if (g->post != SQ_NO_SCALAR) post = make_program(x, &none, &g->post, 1, false);
  for (int64_t c = 0; c < result->count; c += LANES) {
    size_t n = result->count - c < LANES ? (size_t)(result->count - c) : LANES;
    for (size_t k = 0; k < n; k++) x->acc_cells[k] = acc_end(g->monoid, type, &all[c + (int64_t)k]);
    const sq_cell *from = x->acc_cells;
    uint32_t step = 1;
    if (g->post != SQ_NO_SCALAR) {
      run_program(x, &post, 0, NONE, n);
      from = post.v[post.of[g->post]].r;
      step = post.v[post.of[g->post]].varies;
    }
    for (size_t k = 0; k < n; k++) result->data[c + (int64_t)k] = from[k * step];
  }
}

// ---- what others call
// ----------------------------------------------------------------------------

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
