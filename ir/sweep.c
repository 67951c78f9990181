// Sweeps: members, values, classes of axes, lanes. In: a scan, alone or with elementwise work on
// what it emits. Out: the loop over turns as data, or why it is none.
//
// Axes are joined where one operation reads another's element at its own index. A class of axes is a
// lane when nothing is summed over it and no element is read at another place.
#include "ir/machine.h"
#include "ir/sweep_inner.h"

enum { MAX_VALUES = 512, LACKING = 10, UNKNOWN = 64 };

typedef sq_sweep_maker maker;

static bool refuse(maker *m, const char *why) {
  if (!m->s->why) m->s->why = why;
  return false;
}

// ---- values and members ------------------------------------------------------------------------
static uint32_t add_value(maker *m, const sq_value *v, uint32_t rank) {
  sq_sweep *s = m->s;
  s->value[s->n_value] = (sq_sweep_value){.v = v, .rank = rank};
  m->first[s->n_value] = m->n_axis;
  m->number[v->id] = ++s->n_value;
  return s->n_value - 1;
}

static uint32_t add_axis(maker *m, sq_dim extent) {
  m->extent[m->n_axis] = extent;
  m->up[m->n_axis] = m->n_axis;
  return m->n_axis++;
}

static uint32_t value_of(const maker *m, const sq_value *v) { return m->number[v->id] - 1; }

static bool add_member(maker *m, sq_node *n, uint32_t turn) {
  sq_sweep *s = m->s;
  if (n->op != SQ_OP_GENERIC) return refuse(m, "its body is more than loop nests");
  const sq_generic *k = n->g;
  if (k->keyed || k->pos) return refuse(m, "its body writes at places of its own");
  if (s->n_value == MAX_VALUES) return refuse(m, "its body is too large");
  m->source[s->n_member] = n;
  m->turn[s->n_member] = turn;
  uint32_t rank = k->n_par - (turn != SQ_SWEEP_NONE);
  s->member[s->n_member].value = add_value(m, n->out[0], rank);
  for (uint32_t a = 0; a < k->n_par; a++)
    if (a != turn) add_axis(m, k->axis[a].extent);
  m->red[s->n_member] = m->n_axis;
  for (uint32_t a = 0; a < k->n_red; a++) add_axis(m, k->axis[k->n_par + a].extent);
  s->n_member++;
  return true;
}

// The axis of an operation outside of the scan that runs over the turns: where it reads what the
// scan emits.
static bool find_turn(maker *m, const sq_node *n, uint32_t *turn) {
  *turn = SQ_SWEEP_NONE;
  if (n->op != SQ_OP_GENERIC || n->g->keyed || n->g->pos)
    return refuse(m, "what follows is no work on elements");
  for (uint32_t j = 0; j < n->g->s.n; j++) {
    const sq_scalar *r = &n->g->s.v[j];
    if (r->kind != SQ_SC_READ || !m->number[n->in[r->operand]->id]) continue;
    const sq_scalar *p = r->n_pos ? &n->g->s.v[r->pos[0]] : NULL;
    uint32_t before = value_of(m, n->in[r->operand]);
    bool emitted = m->s->value[before].v != n->in[r->operand];
    // what another operation outside gives has the turn on the axis where that had it
    for (uint32_t i = 0; !emitted && i < m->s->n_member; i++)
      if (m->s->member[i].value == before && m->turn[i] != SQ_SWEEP_NONE)
        p = &n->g->s.v[r->pos[m->turn[i]]];
    if (!p || p->kind != SQ_SC_INDEX || p->axis >= n->g->n_par ||
        (*turn != SQ_SWEEP_NONE && *turn != p->axis) ||
        !sq_dim_same(n->g->axis[p->axis].extent, m->s->extent))
      return refuse(m, "what follows reads other turns");
    *turn = p->axis;
  }
  return *turn != SQ_SWEEP_NONE || refuse(m, "what follows does not use it");
}

static uint32_t count_axes(const sq_block *b) {
  uint32_t n = 0;
  for (uint32_t k = 0; k < b->args.n; k++) n += b->args.v[k]->type.rank;
  for (uint32_t k = 0; k < b->nodes.n; k++) {
    const sq_node *x = b->nodes.v[k];
    if (x->g) n += x->g->n_par + x->g->n_red;
    for (uint32_t r = 0; r < x->n_region; r++) n += count_axes(x->region[r]);
  }
  return n;
}

static void start(maker *m) {
  const sq_block *b = m->s->scan->region[0];
  uint32_t n = b->args.n + b->nodes.n, axes = count_axes(b);
  if (m->sweep) {
    n += m->sweep->region[0]->nodes.n;
    axes += count_axes(m->sweep->region[0]);
  }
  m->number = SQ_ARRAY(m->a, uint32_t, m->g->n_values + 1);
  m->source = SQ_ARRAY(m->a, sq_node *, n + 1);
  m->turn = SQ_ARRAY(m->a, uint32_t, n + 1);
  m->first = SQ_ARRAY(m->a, uint32_t, n + 1);
  m->red = SQ_ARRAY(m->a, uint32_t, n + 1);
  m->up = SQ_ARRAY(m->a, uint32_t, axes + 1);
  m->extent = SQ_ARRAY(m->a, sq_dim, axes + 1);
  m->mixed = SQ_ARRAY(m->a, bool, axes + 1);
  m->used = SQ_ARRAY(m->a, bool, axes + 1);
  m->s->value = SQ_ARRAY(m->a, sq_sweep_value, n + 1);
  m->s->member = SQ_ARRAY(m->a, sq_sweep_nest, n + 1);
}

static bool add_scan(maker *m) {
  sq_sweep *s = m->s;
  const sq_block *b = s->scan->region[0];
  const sq_node *end = sq_block_end(b);
  for (uint32_t k = 0; k < s->scan->n_carried; k++) {
    const sq_value *v = b->args.v[1 + k];
    if (s->n_value == MAX_VALUES) return refuse(m, "it carries too many values");
    add_value(m, v, v->type.rank);
    for (uint32_t a = 0; a < v->type.rank; a++) add_axis(m, v->type.dim[a]);
  }
  for (uint32_t k = 0; k + 1 < b->nodes.n; k++)
    if (!add_member(m, b->nodes.v[k], SQ_SWEEP_NONE)) {
      s->at = b->nodes.v[k];
      return false;
    }
  s->next = SQ_ARRAY(m->a, uint32_t, s->scan->n_carried + 1);
  for (uint32_t k = 0; k < end->n_in; k++) {
    if (!m->number[end->in[k]->id]) return refuse(m, "it yields what is not its own");
    if (k < s->scan->n_carried)
      s->next[k] = value_of(m, end->in[k]);
    else // outside, what is emitted has the number of what is yielded
      m->number[s->scan->out[k]->id] = m->number[end->in[k]->id];
  }
  return true;
}

static bool add_followers(maker *m) {
  const sq_block *b = m->sweep->region[0];
  for (uint32_t k = 0; k + 1 < b->nodes.n; k++) {
    sq_node *n = b->nodes.v[k];
    uint32_t turn;
    if (n == m->s->scan) continue;
    for (uint32_t j = 0; j < n->n_in; j++)
      if (n->in[j]->def == m->s->scan && n->in[j]->index < m->s->scan->n_carried)
        return refuse(m, "what follows reads the last state");
    if (!find_turn(m, n, &turn) || !add_member(m, n, turn)) return false;
  }
  return true;
}

// ---- classes of axes ---------------------------------------------------------------------------
uint32_t sq_sweep_root(maker *m, uint32_t a) {
  while (m->up[a] != a) a = m->up[a] = m->up[m->up[a]];
  return a;
}

static void mix(maker *m, uint32_t a) { m->mixed[sq_sweep_root(m, a)] = true; }

void sq_sweep_join(maker *m, uint32_t a, uint32_t b) {
  a = sq_sweep_root(m, a);
  b = sq_sweep_root(m, b);
  if (a == b) return;
  if (!sq_dim_same(m->extent[a], m->extent[b])) { // one size a class
    m->mixed[a] = m->mixed[b] = true;
    return;
  }
  m->up[a] = b;
  m->mixed[b] |= m->mixed[a];
}

uint32_t sq_sweep_member_axis(const maker *m, uint32_t i, uint32_t axis) {
  const sq_generic *k = m->source[i]->g;
  if (axis >= k->n_par) return m->red[i] + axis - k->n_par;
  if (axis == m->turn[i]) return SQ_SWEEP_NONE;
  return m->first[m->s->member[i].value] + axis -
         (m->turn[i] != SQ_SWEEP_NONE && axis > m->turn[i]);
}

// Which position of a read of the value is the turn: of what is emitted the first, of what follows
// its own turn; NONE inside the scan.
static uint32_t turn_position(const maker *m, const sq_value *v) {
  uint32_t number = value_of(m, v);
  if (v->def == m->s->scan) return 0;
  for (uint32_t i = 0; i < m->s->n_member; i++)
    if (m->s->member[i].value == number) return m->turn[i];
  return SQ_SWEEP_NONE;
}

static void join_read(maker *m, uint32_t i, const sq_scalar *r) {
  const sq_node *n = m->source[i];
  const sq_value *v = n->in[r->operand];
  if (!m->number[v->id]) return;
  uint32_t at = m->first[value_of(m, v)], turn = turn_position(m, v);
  for (uint32_t j = 0; j < r->n_pos; j++) {
    if (j == turn) continue;
    const sq_scalar *p = &n->g->s.v[r->pos[j]];
    uint32_t axis = p->kind == SQ_SC_INDEX ? sq_sweep_member_axis(m, i, p->axis) : SQ_SWEEP_NONE;
    if (axis == SQ_SWEEP_NONE)
      mix(m, at);
    else
      sq_sweep_join(m, at, axis);
    at++;
  }
}

// Where turns go in blocks, rows are rows: axes that are summed over are one class.
static void join_rows(maker *m) {
  const sq_sweep *s = m->s;
  uint32_t row = SQ_SWEEP_NONE;
  for (uint32_t i = 0; i < s->n_member; i++) {
    if (m->source[i]->g->n_red != 1) continue;
    if (row == SQ_SWEEP_NONE) row = m->red[i];
    if (sq_dim_same(m->extent[sq_sweep_root(m, row)], m->extent[sq_sweep_root(m, m->red[i])]))
      sq_sweep_join(m, row, m->red[i]);
  }
}

static void join_all(maker *m) {
  sq_sweep *s = m->s;
  if (s->chunk) join_rows(m);
  for (uint32_t k = 0; k < s->scan->n_carried; k++)
    for (uint32_t a = 0; a < s->value[k].rank; a++)
      sq_sweep_join(m, m->first[k] + a, m->first[s->next[k]] + a);
  for (uint32_t i = 0; i < s->n_member; i++) {
    const sq_generic *k = m->source[i]->g;
    for (uint32_t j = 0; j < k->s.n; j++)
      if (k->s.v[j].kind == SQ_SC_READ) join_read(m, i, &k->s.v[j]);
    for (uint32_t a = 0; a < k->n_red; a++) mix(m, m->red[i] + a);
  }
  for (uint32_t i = 0; i < s->n_value; i++) // no element with two indices of one class
    for (uint32_t a = 0; a < s->value[i].rank; a++)
      for (uint32_t b = 0; b < a; b++)
        if (sq_sweep_root(m, m->first[i] + a) == sq_sweep_root(m, m->first[i] + b))
          mix(m, m->first[i] + a);
  if (!s->chunk) sq_sweep_align(m);
}

static void number_classes(maker *m) {
  sq_sweep *s = m->s;
  uint32_t *of = SQ_ARRAY(m->a, uint32_t, m->n_axis + 1);
  s->size = SQ_ARRAY(m->a, sq_dim, m->n_axis + 1);
  s->lane = SQ_ARRAY(m->a, bool, m->n_axis + 1);
  for (uint32_t a = 0; a < m->n_axis; a++) {
    uint32_t r = sq_sweep_root(m, a);
    if (m->used[r]) continue;
    m->used[r] = true;
    of[r] = s->n_class;
    s->size[s->n_class] = m->extent[r];
    s->lane[s->n_class++] = !m->mixed[r];
  }
  uint32_t *cls = SQ_ARRAY(m->a, uint32_t, m->n_axis + 1);
  for (uint32_t a = 0; a < m->n_axis; a++) cls[a] = of[sq_sweep_root(m, a)];
  m->up = cls; // from here on: the class
  for (uint32_t i = 0; i < s->n_value; i++) s->value[i].cls = m->up + m->first[i];
}

bool sq_sweep_has_lanes(const sq_sweep *s, uint32_t value) {
  uint32_t have = 0, all = 0;
  for (uint32_t c = 0; c < s->n_class; c++) all += s->lane[c];
  for (uint32_t a = 0; a < s->value[value].rank; a++) have += s->lane[s->value[value].cls[a]];
  return have == all;
}

// ---- cost --------------------------------------------------------------------------------------
static double weight(const sq_scalar *x) {
  if (x->kind == SQ_SC_READ || x->kind == SQ_SC_SELECT || x->kind == SQ_SC_CAST) return 1;
  if (x->kind != SQ_SC_EWISE || !sq_is_float(x->dtype)) return x->kind == SQ_SC_EWISE ? 0.25 : 0;
  return sq_ewise_cycles(x->ew);
}

static double scalars_cost(const sq_generic *k) {
  double sum = 0;
  for (uint32_t j = 0; j < k->s.n; j++) sum += weight(&k->s.v[j]);
  return sum;
}

static double size_of(const sq_sweep *s, uint32_t cls) {
  int64_t e;
  return sq_dim_is_const(s->g->dims, s->size[cls], &e) ? (double)e : UNKNOWN;
}

static double source_cost(const maker *m, uint32_t i) {
  const sq_generic *k = m->source[i]->g;
  double cost = scalars_cost(k) + (k->n_red ? 1 : 0);
  for (uint32_t a = 0; a < k->n_par + k->n_red; a++) {
    uint32_t id = sq_sweep_member_axis(m, i, a);
    if (id != SQ_SWEEP_NONE && !m->s->lane[m->up[id]]) cost *= size_of(m->s, m->up[id]);
  }
  return cost;
}

double sq_sweep_nest_cost(const sq_sweep *s, const sq_sweep_nest *x) {
  const sq_generic *k = x->n->g;
  double cost = scalars_cost(k) + (k->n_red ? 1 : 0);
  for (uint32_t a = 0; a < k->n_par + k->n_red; a++)
    if (x->cls[a] != SQ_SWEEP_NONE && !s->lane[x->cls[a]]) cost *= size_of(s, x->cls[a]);
  return cost;
}

double sq_sweep_cost(const sq_sweep *s) {
  double sum = 0;
  for (uint32_t i = 0; i < s->n_member; i++) sum += sq_sweep_nest_cost(s, &s->member[i]);
  for (uint32_t i = 0; i < s->n_store; i++) sum += sq_sweep_nest_cost(s, &s->store[i]);
  return sum;
}

// The cost of members that lack the class, which is spent again for each of its indices, and that of
// those that have it.
static double lacking(const maker *m, uint32_t c, double *having) {
  double sum = 0;
  *having = 0;
  for (uint32_t i = 0; i < m->s->n_member; i++) {
    const sq_sweep_value *v = &m->s->value[m->s->member[i].value];
    bool has = false;
    for (uint32_t a = 0; a < v->rank; a++) has |= v->cls[a] == c;
    *(has ? having : &sum) += source_cost(m, i);
  }
  return sum;
}

static bool all_have(const sq_sweep *s, uint32_t c) {
  for (uint32_t i = 0; i < s->n_value; i++) {
    bool has = false;
    for (uint32_t a = 0; a < s->value[i].rank; a++) has |= s->value[i].cls[a] == c;
    if (!has) return false;
  }
  return true;
}

// Lanes are the classes that all members have, then those that cheap members alone lack (all, where turns
// go in blocks: what lacks the columns is done once for a block). Without any index of a lane nothing is
// done, so what lacks it needs that there is one.
static void choose_lanes(maker *m) {
  sq_sweep *s = m->s;
  bool *can = SQ_ARRAY(m->a, bool, s->n_class + 1);
  uint32_t n = 0;
  double having;
  for (uint32_t c = 0; c < s->n_class; c++) {
    can[c] = s->lane[c] && (sq_dim_low(s->g->dims, s->size[c]) > 0 || all_have(s, c));
    s->lane[c] = can[c] && lacking(m, c, &having) == 0;
    n += s->lane[c];
  }
  for (uint32_t c = 0; c < s->n_class; c++) {
    if (!can[c] || s->lane[c] || n == SQ_MAX_RANK) continue;
    s->lane[c] = true; // what the others cost in one of its lanes
    double lost = lacking(m, c, &having);
    s->lane[c] = s->chunk || lost <= LACKING || lost <= having / 2;
    n += s->lane[c];
  }
}

// ---- copies ------------------------------------------------------------------------------------
static sq_type part_type(maker *m, const sq_sweep_value *v) {
  sq_dim dim[SQ_MAX_RANK];
  uint32_t rank = 0;
  for (uint32_t a = 0; a < v->rank; a++)
    if (!m->s->lane[v->cls[a]]) dim[rank++] = m->s->size[v->cls[a]];
  return sq_type_make(m->g, v->v->type.dtype, rank, dim);
}

static sq_value *fake_value(maker *m, sq_type t, const char *name) {
  sq_value *v = SQ_NEW(m->a, sq_value);
  v->type = t;
  v->name = name;
  return v;
}

typedef struct copier {
  maker *m;
  sq_node *n; // being made
  uint32_t *inner, n_in;
  uint32_t *map;                      // per scalar of the source
  uint32_t axis[2 * SQ_MAX_RANK + 1]; // per axis of the source
} copier;

static uint32_t operand(copier *c, sq_value *v, uint32_t inner) {
  c->n->in[c->n_in] = v;
  c->inner[c->n_in] = inner;
  return c->n_in++;
}

static uint32_t mapped(const copier *c, uint32_t id) {
  return id == SQ_NO_SCALAR ? id : c->map[id];
}

// The turn itself; 0 where the read is guarded and does not happen.
static uint32_t copy_turn(copier *c, const sq_scalar *x) {
  sq_graph *g = c->m->g;
  uint32_t id = sq_sc_cast(g, c->n->g, sq_sc_index(g, c->n->g, 0), x->dtype);
  if (x->guard == SQ_NO_SCALAR) return id;
  uint32_t zero = sq_sc_int(g, c->n->g, x->dtype, 0);
  return sq_sc_select(g, c->n->g, mapped(c, x->guard), id, zero);
}

static uint32_t copy_read(copier *c, const sq_node *from, sq_scalar x) {
  maker *m = c->m;
  sq_value *v = from->in[x.operand];
  const sq_block *body = m->s->scan->region[0];
  if (!v->def && v->block == body && v->index == 0) return copy_turn(c, &x);
  x.guard = mapped(c, x.guard);
  x.other = mapped(c, x.other);
  uint32_t *pos = SQ_ARRAY(m->a, uint32_t, x.n_pos + 1), kept = 0;
  if (!m->number[v->id]) {
    for (uint32_t j = 0; j < x.n_pos; j++) pos[j] = c->map[x.pos[j]];
    x.pos = pos;
    x.operand = operand(c, v, SQ_SWEEP_NONE);
    return sq_scalar_add(m->g, c->n->g, x);
  }
  uint32_t number = value_of(m, v), turn = turn_position(m, v), at = 0;
  const sq_sweep_value *w = &m->s->value[number];
  bool plain = true;
  for (uint32_t j = 0; j < x.n_pos; j++) {
    if (j == turn || m->s->lane[w->cls[at++]]) continue;
    pos[kept] = c->map[x.pos[j]];
    const sq_scalar *p = &c->n->g->s.v[pos[kept++]];
    plain &= p->kind == SQ_SC_INDEX && sq_dim_same(c->n->g->axis[p->axis].extent, v->type.dim[j]);
  }
  x.pos = pos;
  x.n_pos = kept;
  x.operand = operand(c, fake_value(m, w->part, v->name), number);
  if (plain) x.other = SQ_NO_SCALAR; // of the same extent: always inside
  return sq_scalar_add(m->g, c->n->g, x);
}

// i64 of the turn, which is an i32: the index itself.
static bool is_wide_turn(const copier *c, const sq_node *from, const sq_scalar *x) {
  if (x->kind != SQ_SC_CAST || x->dtype != SQ_I64) return false;
  const sq_scalar *r = &from->g->s.v[x->a[0]];
  if (r->kind != SQ_SC_READ || r->guard != SQ_NO_SCALAR) return false;
  const sq_value *v = from->in[r->operand];
  return !v->def && v->block == c->m->s->scan->region[0] && v->index == 0;
}

static uint32_t copy_scalar(copier *c, const sq_node *from, sq_scalar x) {
  if (x.kind == SQ_SC_READ) return copy_read(c, from, x);
  if (is_wide_turn(c, from, &x)) return sq_sc_index(c->m->g, c->n->g, 0);
  if (x.kind == SQ_SC_INDEX) x.axis = c->axis[x.axis];
  for (int k = 0; k < 3; k++) x.a[k] = mapped(c, x.a[k]);
  return sq_scalar_add(c->m->g, c->n->g, x);
}

static sq_node *copy_node(maker *m, const sq_node *from, uint32_t n_par, uint32_t n_red,
                          uint32_t reads) {
  sq_node *n = SQ_NEW(m->a, sq_node);
  n->op = SQ_OP_GENERIC;
  n->span = from->span;
  n->site = SQ_NO_SITE;
  n->g = sq_generic_new(m->g, n_par, n_red);
  n->in = SQ_ARRAY(m->a, sq_value *, reads + 1);
  n->out = SQ_ARRAY(m->a, sq_value *, 1);
  n->n_out = 1;
  return n;
}

static void copy_member(maker *m, uint32_t i) {
  const sq_node *from = m->source[i];
  const sq_generic *k = from->g;
  sq_sweep_nest *x = &m->s->member[i];
  uint32_t has = m->turn[i] == SQ_SWEEP_NONE, n_axes = k->n_par + k->n_red, to = 1;
  copier c = {.m = m};
  c.n = copy_node(m, from, k->n_par + has, k->n_red, k->s.n);
  c.inner = SQ_ARRAY(m->a, uint32_t, k->s.n + 1);
  uint32_t *cls = SQ_ARRAY(m->a, uint32_t, n_axes + 2);
  cls[0] = SQ_SWEEP_NONE;
  c.n->g->axis[0] = (sq_axis){m->s->extent, "t"};
  for (uint32_t a = 0; a < n_axes; a++) {
    if (a == m->turn[i]) {
      c.axis[a] = 0;
      continue;
    }
    c.n->g->axis[to] = k->axis[a];
    cls[to] = m->up[sq_sweep_member_axis(m, i, a)];
    c.axis[a] = to++;
  }
  c.map = SQ_ARRAY(m->a, uint32_t, k->s.n + 1);
  for (uint32_t j = 0; j < k->s.n; j++) c.map[j] = copy_scalar(&c, from, k->s.v[j]);
  c.n->g->monoid = k->monoid;
  c.n->g->body = mapped(&c, k->body);
  c.n->g->post = mapped(&c, k->post);
  for (uint32_t j = 0; j < k->domain.n; j++)
    sq_push(m->a, &c.n->g->domain, mapped(&c, k->domain.v[j]));
  c.n->n_in = c.n_in;
  c.n->out[0] = fake_value(m, m->s->value[x->value].part, from->out[0]->name);
  x->n = c.n;
  x->time = 0;
  x->cls = cls;
  x->inner = c.inner;
}

// An element moved between memory and the sweep: axes of the whole value, the turn at `turn`.
// inward: `memory` is read; else the sweep's value is, and what is made has the type of `memory`.
static sq_sweep_nest move_nest(maker *m, uint32_t value, sq_value *memory, uint32_t turn,
                               bool inward) {
  const sq_sweep_value *v = &m->s->value[value];
  bool has = turn != SQ_SWEEP_NONE;
  sq_node *n = copy_node(m, m->s->scan, v->rank + has, 0, 1);
  uint32_t *cls = SQ_ARRAY(m->a, uint32_t, v->rank + 1), *inner = SQ_ARRAY(m->a, uint32_t, 1);
  uint32_t all[SQ_MAX_RANK + 1], part[SQ_MAX_RANK + 1], n_part = 0, at = 0;
  for (uint32_t a = 0; a < v->rank + has; a++) {
    n->g->axis[a].extent = a == turn ? m->s->extent : m->s->size[v->cls[at]];
    cls[a] = a == turn ? SQ_SWEEP_NONE : v->cls[at++];
    all[a] = sq_sc_index(m->g, n->g, a);
    if (a != turn && !m->s->lane[cls[a]]) part[n_part++] = all[a];
  }
  n->in[0] = inward ? memory : fake_value(m, v->part, v->v->name);
  inner[0] = inward ? SQ_SWEEP_NONE : value;
  n->n_in = 1;
  n->g->body = inward ? sq_sc_read(m->g, n->g, memory->type.dtype, 0, v->rank + has, all)
                      : sq_sc_read(m->g, n->g, v->v->type.dtype, 0, n_part, part);
  n->out[0] = inward ? fake_value(m, v->part, v->v->name) : memory;
  return (sq_sweep_nest){.n = n, .time = turn, .cls = cls, .inner = inner, .value = value};
}

static bool add_results(maker *m) {
  sq_sweep *s = m->s;
  sq_node *scan = s->scan;
  const sq_node *end = m->sweep ? sq_block_end(m->sweep->region[0]) : NULL;
  uint32_t n = end ? end->n_in : scan->n_out;
  s->store = SQ_ARRAY(m->a, sq_sweep_nest, n + 1);
  s->final = SQ_ARRAY(m->a, sq_sweep_nest, n + 1);
  s->load = SQ_ARRAY(m->a, sq_sweep_nest, scan->n_carried + 1);
  for (uint32_t k = 0; k < scan->n_carried; k++)
    s->load[k] = move_nest(m, k, scan->in[k], SQ_SWEEP_NONE, true);
  for (uint32_t k = 0; k < n; k++) {
    sq_value *v = end ? end->in[k] : scan->out[k], *to = m->sweep ? m->sweep->out[k] : v;
    if (v->def == scan && v->index < scan->n_carried) {
      s->final[s->n_final] = move_nest(m, v->index, to, SQ_SWEEP_NONE, false);
      s->final[s->n_final++].result = k;
      continue;
    }
    if (!m->number[v->id]) return refuse(m, "it gives what is not its own");
    uint32_t turn = turn_position(m, v);
    if (turn == SQ_SWEEP_NONE) return refuse(m, "it gives what is not its own");
    s->store[s->n_store] = move_nest(m, value_of(m, v), to, turn, false);
    s->store[s->n_store++].result = k;
  }
  return true;
}

sq_sweep *sq_sweep_make(sq_graph *g, sq_node *n) {
  maker m = {.g = g, .a = g->arena};
  sq_sweep *s = m.s = SQ_NEW(g->arena, sq_sweep);
  s->g = g;
  s->scan = n->op == SQ_OP_SCAN ? n : NULL;
  m.sweep = n->op == SQ_OP_SCAN ? NULL : n;
  for (uint32_t k = 0; m.sweep && k < n->region[0]->nodes.n; k++) {
    sq_node *x = n->region[0]->nodes.v[k];
    if (x->op != SQ_OP_SCAN) continue;
    if (s->scan) refuse(&m, "two scans");
    s->scan = x;
  }
  if (!s->scan) refuse(&m, "no scan");
  if (s->why) return s;
  s->extent = s->scan->extent;
  s->reversed = s->scan->flag & 1;
  s->prefix = m.sweep && n->flag & 1;
  int64_t chunk = 0;
  if (m.sweep && n->extent.i) sq_dim_is_const(g->dims, n->extent, &chunk);
  s->chunk = (uint32_t)chunk;
  s->newton = m.sweep && n->flag & 2;
  s->dense = m.sweep && n->flag & 4;
  start(&m);
  if (!add_scan(&m) || (m.sweep && !add_followers(&m))) return s;
  join_all(&m);
  number_classes(&m);
  choose_lanes(&m);
  for (uint32_t k = 0; k < s->n_value; k++) s->value[k].part = part_type(&m, &s->value[k]);
  for (uint32_t k = 0; k < s->n_member; k++) copy_member(&m, k);
  add_results(&m);
  return s;
}

uint32_t sq_sweep_bytes(const sq_sweep *s) {
  uint32_t most = 4;
  for (uint32_t k = 0; k < s->n_value; k++) {
    uint32_t b = (uint32_t)sq_dtype_table[s->value[k].v->type.dtype].bytes;
    if (b > most) most = b;
  }
  return most;
}
