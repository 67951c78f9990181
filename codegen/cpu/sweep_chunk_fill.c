// Between memory and the arrays of a block.
//
//   keys       for each turn: factors, decays and keys by rows, as vectors along the rows; the keys of w
//              turns are transposed together
//   vectors    for each panel and turn: what the columns get; zero in lanes that are none
//   after      for each panel and turn: what follows the sums, with these at hand; stores
#include "codegen/cpu/sweep_chunk.h"

static sq_lv add(sq_kern *k, sq_lv a, int64_t b) {
  return b ? LLVMBuildNSWAdd(k->b, a, sq_k_int(k, b), "") : a;
}
static sq_lv mul(sq_kern *k, sq_lv a, int64_t b) {
  return LLVMBuildNSWMul(k->b, a, sq_k_int(k, b), "");
}
static sq_lv times(sq_kern *k, sq_lv a, sq_lv b) { return LLVMBuildNSWMul(k->b, a, b, ""); }
static sq_lv plus(sq_kern *k, sq_lv a, sq_lv b) { return LLVMBuildNSWAdd(k->b, a, b, ""); }

// ---- elements ----------------------------------------------------------------------------------
static sq_lv find_element(sq_knest *t, const sq_scalar *r) {
  sq_selement *el = (sq_selement *)t;
  uint32_t value = el->x->inner[r->operand];
  if (value == SQ_SWEEP_NONE) return NULL;
  SQ_ASSERT(el->e->value[value][el->set], "a value of a block before it is there");
  return el->e->value[value][el->set];
}

static sq_selement *open_element(sq_schunk_emit *x, const sq_sweep_nest *n, uint32_t set) {
  sq_selement *el = sq_selement_new(x->e, n, set, SQ_SWEEP_NONE);
  x->e->group.find = find_element;
  return el;
}

sq_sweep_nest *sq_schunk_part(sq_schunk_emit *x, uint32_t member, uint32_t scalar) {
  return sq_chunk_part(x->s, x->p->c.type, member, scalar);
}

// ---- parts by rows -----------------------------------------------------------------------------
typedef struct row_part {
  sq_selement *el;
  sq_kplan plan;
  bool rows;
} row_part;

static row_part open_rows(sq_schunk_emit *x, uint32_t member, uint32_t scalar, bool rows) {
  sq_sweep_nest *n = sq_schunk_part(x, member, scalar);
  sq_generic *g = n->n->g;
  row_part r = {.rows = rows};
  uint32_t *pos = SQ_ARRAY(x->k->a, uint32_t, 1);
  for (uint32_t a = 0; a < g->n_par; a++) {
    if (n->cls[a] != x->p->c.row) continue;
    pos[0] = sq_sc_index(x->k->g, g, a);
    g->pos = pos;
    g->n_pos = rows;
  }
  r.el = open_element(x, n, 0);
  sq_knest *t = &r.el->t;
  t->va = SQ_K_NO_AXIS; // nothing of it depends on the columns
  t->w = 1;
  t->mask = NULL;
  if (rows) {
    uint32_t open = t->open;
    sq_knest_open(t, n->time, NULL);
    r.plan = sq_kplan_choose(t, UINT32_MAX);
    r.plan.inner = SQ_K_NO_AXIS;
    t->open = open;
  }
  sq_knest_hoist(t);
  return r;
}

typedef struct row_target {
  sq_schunk_emit *x;
  sq_kplace to;
} row_target;

static void to_row(sq_knest *t, sq_lv v, void *user) {
  row_target *r = user;
  sq_knest_store(t, &r->to, v, t->mask);
}

// The part at turn t, at `to` (element `at` of it): the row, or the one element.
static void run_rows(sq_schunk_emit *x, row_part *r, sq_lv t, sq_lv to, sq_lv at) {
  sq_kern *k = x->k;
  sq_dtype type = x->p->c.type;
  sq_selement_turn(r->el, t);
  sq_lv ptr = sq_k_offset(k, to, at, type);
  if (!r->rows) {
    sq_k_store(k, type, ptr, sq_knest_value(&r->el->t, r->el->t.g->body));
    return;
  }
  sq_dim dim = x->s->size[x->p->c.row];
  row_target target = {x, {.base = ptr, .type = sq_type_make(k->g, type, 1, &dim)}};
  if (!sq_dim_same(x->p->stride, x->s->size[x->p->c.row])) { // what is behind the last row is 0
    sq_lv none = LLVMConstNull(sq_k_vec(sq_k_type(k, type), x->w));
    sq_lv last = sq_k_offset(k, ptr, add(k, x->stride, -(int64_t)x->w), type);
    sq_k_store_row(k, type, last, none, NULL);
  }
  sq_knest_run(&r->el->t, &r->plan, NULL, NULL, to_row, &target);
}

// ---- what the next block reads -----------------------------------------------------------------
// Is it memory in which the axis is the last, one element after another, at places that are sums?
static bool runs_along(const sq_schunk_emit *x, const sq_knest *t, const sq_scalar *r,
                       uint32_t axis, uint32_t time) {
  bool moves = false;
  if (r->kind != SQ_SC_READ || r->guard != SQ_NO_SCALAR || r->other != SQ_NO_SCALAR || !r->n_pos)
    return false;
  for (uint32_t j = 0; j < r->n_pos; j++) {
    sq_affine f = sq_scalar_affine(x->k->g, t->g, r->pos[j]);
    if (!f.ok || f.coef[axis] != (j + 1 == r->n_pos)) return false;
    moves |= f.coef[time] != 0;
  }
  return moves;
}

// Reads of the part, of so many elements along the class.
static void add_streams(sq_schunk_emit *x, sq_selement *el, uint32_t cls, uint32_t elements) {
  sq_kern *k = x->k;
  sq_knest *t = &el->t;
  uint32_t axis = SQ_SWEEP_NONE, open = t->open, time = el->x->time;
  for (uint32_t a = 0; a < t->g->n_par; a++)
    if (el->x->cls[a] == cls) axis = a;
  for (uint32_t s = 0; s < t->g->s.n && axis != SQ_SWEEP_NONE; s++) {
    const sq_scalar *r = &t->g->s.v[s];
    if (x->n_stream == SQ_SCHUNK_STREAMS || !t->used[s] || !runs_along(x, t, r, axis, time) ||
        el->x->inner[r->operand] != SQ_SWEEP_NONE)
      continue;
    uint32_t mark = sq_knest_enter(t);
    uint64_t bytes = (uint64_t)sq_dtype_table[t->n->in[r->operand]->type.dtype].bytes;
    sq_schunk_stream *to = &x->stream[x->n_stream++];
    sq_lv next = LLVMBuildAdd(k->b, x->first, sq_k_int(k, x->p->length), "");
    sq_knest_open(t, time, sq_semit_turn(x->e, next));
    if (!(open >> axis & 1)) sq_knest_open(t, axis, sq_k_int(k, 0));
    to->first = sq_knest_read_pointer(t, s);
    sq_lv step = mul(k, sq_knest_read_step(t, s, time), (int64_t)bytes);
    to->step = x->s->reversed ? LLVMBuildNeg(k->b, step, "") : step;
    to->lines = (uint32_t)((elements * bytes + 63) / 64);
    to->writes = false;
    sq_knest_leave(t, mark);
    t->open = open;
  }
}

// ---- members that are free of the states -------------------------------------------------------
typedef sq_schunk_nest nest;

static bool has_columns(const sq_schunk_emit *x, uint32_t value) {
  return sq_semit_has_vector(x->e, value);
}

nest sq_schunk_open(sq_schunk_emit *x, const sq_sweep_nest *from, uint32_t sets) {
  nest n = {.x = from};
  for (uint32_t set = 0; set < sets; set++) {
    n.el[set] = open_element(x, from, set);
    sq_selement_hoist(n.el[set]);
  }
  return n;
}

sq_lv sq_schunk_value(const nest *n, uint32_t set, sq_lv sum) {
  sq_knest *e = &n->el[set]->t;
  sq_lv v = sum ? sum : sq_knest_value(e, e->g->body);
  if (e->g->post == SQ_NO_SCALAR) return v;
  e->acc = v;
  e->acc_varies = sq_k_is_vec(v);
  return sq_knest_value(e, e->g->post);
}

static void compute(sq_schunk_emit *x, nest *n, sq_lv t, uint32_t sets) {
  for (uint32_t set = 0; set < sets; set++) {
    sq_selement_turn(n->el[set], t);
    x->e->value[n->x->value][set] = sq_schunk_value(n, set, NULL);
  }
}

// Opens the members of a role, without columns alone or all.
static uint32_t open_members(sq_schunk_emit *x, sq_chunk_role role, bool all, nest *out) {
  uint32_t n = 0;
  for (uint32_t i = 0; i < x->s->n_member; i++) {
    const sq_sweep_nest *m = &x->s->member[i];
    if (x->p->c.role[i] != role || (!all && has_columns(x, m->value))) continue;
    out[n++] = sq_schunk_open(x, m, x->e->sets);
  }
  return n;
}

// ---- keys --------------------------------------------------------------------------------------
static void transpose(sq_kern *k, sq_lv *v, uint32_t w) {
  for (uint32_t n = 1; n < w; n *= 2)
    for (uint32_t i = 0; i < w; i++) {
      if (i & n) continue;
      sq_lv lo[64], hi[64], a = v[i], b = v[i + n];
      for (uint32_t l = 0; l < w; l++) {
        lo[l] = LLVMConstInt(k->i32, l & n ? w + l - n : l, 0);
        hi[l] = LLVMConstInt(k->i32, l & n ? w + l : l + n, 0);
      }
      v[i] = LLVMBuildShuffleVector(k->b, a, b, LLVMConstVector(lo, w), "");
      v[i + n] = LLVMBuildShuffleVector(k->b, a, b, LLVMConstVector(hi, w), "");
    }
}

// Rows of w turns from first on, to where the keys of each row lie together.
static void turn_keys(sq_schunk_emit *x, uint32_t add_of, sq_lv first) {
  sq_kern *k = x->k;
  const sq_schunk *p = x->p;
  sq_dtype type = p->c.type;
  sq_lv from = mul(k, x->stride, (int64_t)add_of * x->w);
  sq_kloop i;
  sq_lv v[64];
  sq_kloop_begin(k, &i, sq_k_int(k, 0), x->stride, x->w, 0, NULL);
  for (uint32_t r = 0; r < x->w; r++)
    v[r] = sq_k_load_row(
        k, type, sq_schunk_at(x, p->turned, plus(k, from, plus(k, i.i, mul(k, x->stride, r)))),
        x->w, NULL);
  transpose(k, v, x->w);
  sq_lv at = plus(k, mul(k, i.i, p->length), first);
  for (uint32_t r = 0; r < x->w; r++)
    sq_k_store_row(k, type,
                   sq_schunk_at(x, p->add[add_of].keys, add(k, at, (int64_t)r * p->length)), v[r],
                   NULL);
  sq_kloop_end(k, &i, NULL);
}

// Where a store goes, if the columns are the last axis there.
static void add_target(sq_schunk_emit *x, const sq_sweep_nest *n) {
  sq_kern *k = x->k;
  uint32_t last = n->n->g->n_par - 1;
  if (x->n_stream == SQ_SCHUNK_STREAMS || n->cls[last] != x->p->c.column) return;
  sq_selement *el = open_element(x, n, 0);
  uint64_t bytes = (uint64_t)sq_dtype_table[n->n->out[0]->type.dtype].bytes;
  sq_kplace to = {.base = sq_kern_pointer(k, n->n->out[0]), .type = n->n->out[0]->type};
  sq_schunk_stream *s = &x->stream[x->n_stream++];
  sq_selement_turn(el, sq_semit_turn(x->e, x->first));
  s->first = sq_k_offset(k, to.base, sq_knest_target(&el->t, &to).first, to.type.dtype);
  s->step = mul(k, sq_kplace_stride(k, &to, n->time), (int64_t)bytes);
  if (x->s->reversed) s->step = LLVMBuildNeg(k->b, s->step, "");
  s->lines = (uint32_t)(((uint64_t)x->p->panels * x->w * bytes + 63) / 64);
  s->writes = true;
}

void sq_schunk_decays(sq_schunk_emit *x) {
  sq_kern *k = x->k;
  const sq_schunk *p = x->p;
  x->e->sets = 1;
  x->e->mask = NULL;
  for (uint32_t st = 0; st < p->n_state; st++) {
    const sq_chunk_state *c = &p->c.state[st];
    if (c->by_turns) continue;
    row_part by = open_rows(x, c->member, c->by, c->by_rows);
    sq_kloop l;
    sq_kloop_begin(k, &l, sq_k_int(k, 0), sq_k_int(k, p->length), 1, 0, NULL);
    run_rows(x, &by, sq_k_int(k, 0), sq_schunk_at(x, p->state[st].decays, sq_k_int(k, 0)),
             c->by_rows ? times(k, l.i, x->stride) : l.i);
    sq_kloop_end(k, &l, NULL);
    if (!c->by_rows) sq_schunk_ranges(x, st);
  }
}

// Streams of keys, factors and vectors; the nest of these is opened for it alone.
static void find_streams(sq_schunk_emit *x, const row_part *key, const row_part *by,
                         const row_part *factor) {
  const sq_schunk *p = x->p;
  uint32_t rows = p->c.rows ? p->c.rows : SQ_CHUNK_GUESS;
  x->n_stream = 0;
  for (uint32_t st = 0; st < p->n_state; st++) {
    const sq_chunk_state *c = &p->c.state[st];
    for (uint32_t i = c->first; i < c->first + c->n_add; i++)
      add_streams(x, key[i].el, p->c.row, rows);
    if (c->by_turns) add_streams(x, by[st].el, p->c.row, rows);
    for (uint32_t i = c->first; c->has_columns && i < c->first + c->n_add; i++) {
      sq_selement *el = open_element(x, sq_schunk_part(x, c->member, p->c.add[i].column), 0);
      add_streams(x, el, p->c.column, p->panels * x->w);
    }
  }
  for (uint32_t q = 0; q < p->n_pair; q++) add_streams(x, factor[q].el, p->c.row, rows);
  for (uint32_t i = 0; i < x->s->n_store; i++) add_target(x, &x->s->store[i]);
}

void sq_schunk_keys(sq_schunk_emit *x) {
  sq_kern *k = x->k;
  const sq_schunk *p = x->p;
  sq_lv zero = sq_k_int(k, 0);
  x->e->sets = 1;
  x->e->mask = NULL;
  nest *free = SQ_ARRAY(k->a, nest, x->s->n_member + 1);
  uint32_t n_free = open_members(x, SQ_CHUNK_FREE, false, free);
  row_part *key = SQ_ARRAY(k->a, row_part, p->c.n_add + 1);
  row_part *by = SQ_ARRAY(k->a, row_part, p->n_state + 1);
  row_part *one = SQ_ARRAY(k->a, row_part, p->c.n_add + 1);
  row_part *factor = SQ_ARRAY(k->a, row_part, p->n_pair + 1);
  sq_kloop s, r;
  for (uint32_t st = 0; st < p->n_state; st++) {
    const sq_chunk_state *c = &p->c.state[st];
    if (c->by_turns) by[st] = open_rows(x, c->member, c->by, c->by_rows);
    for (uint32_t i = c->first; i < c->first + c->n_add; i++) {
      key[i] = open_rows(x, c->member, p->c.add[i].key, true);
      if (!c->has_columns) one[i] = open_rows(x, c->member, p->c.add[i].column, false);
    }
  }
  for (uint32_t q = 0; q < p->n_pair; q++)
    factor[q] = open_rows(x, p->c.read[p->pair[q].read].member, p->pair[q].term->factor, true);
  find_streams(x, key, by, factor);
  sq_kloop_begin(k, &s, zero, sq_k_int(k, p->length), x->w, 0, NULL);
  sq_kloop_begin(k, &r, zero, sq_k_int(k, x->w), 1, 0, NULL);
  sq_lv at = plus(k, s.i, r.i), t = sq_semit_turn(x->e, plus(k, x->first, at));
  for (uint32_t i = 0; i < n_free; i++) compute(x, &free[i], t, 1);
  for (uint32_t st = 0; st < p->n_state; st++) {
    const sq_chunk_state *c = &p->c.state[st];
    if (c->by_turns)
      run_rows(x, &by[st], t, sq_schunk_at(x, p->state[st].decays, zero),
               c->by_rows ? times(k, at, x->stride) : at);
  }
  for (uint32_t i = 0; i < p->c.n_add; i++) {
    sq_lv line = add(k, r.i, (int64_t)i * x->w);
    run_rows(x, &key[i], t, sq_schunk_at(x, p->turned, zero), times(k, line, x->stride));
    if (!p->c.state[p->c.add[i].state].has_columns)
      run_rows(x, &one[i], t, sq_schunk_at(x, p->add[i].vectors, zero), at);
  }
  for (uint32_t q = 0; q < p->n_pair; q++)
    run_rows(x, &factor[q], t, sq_schunk_at(x, p->pair[q].factors, zero), times(k, at, x->stride));
  sq_kloop_end(k, &r, NULL);
  for (uint32_t i = 0; i < p->c.n_add; i++) turn_keys(x, i, s.i);
  sq_kloop_end(k, &s, NULL);
}

// ---- vectors -----------------------------------------------------------------------------------
static sq_lv panel_turn(sq_schunk_emit *x, sq_lv block, uint32_t set, sq_lv turn) {
  sq_kern *k = x->k;
  sq_lv at = mul(k, add(k, block, set), x->p->length);
  return mul(k, plus(k, at, turn), x->w);
}

static void panel_vectors(sq_semit *e, sq_lv block, void *user) {
  sq_schunk_emit *x = user;
  sq_kern *k = e->k;
  const sq_schunk *p = x->p;
  nest *free = SQ_ARRAY(k->a, nest, x->s->n_member + 1);
  nest *column = SQ_ARRAY(k->a, nest, p->c.n_add + 1);
  uint32_t n_free = open_members(x, SQ_CHUNK_FREE, true, free);
  for (uint32_t i = 0; i < p->c.n_add; i++) {
    const sq_chunk_add *v = &p->c.add[i];
    if (sq_schunk_fills(p, i))
      column[i] =
          sq_schunk_open(x, sq_schunk_part(x, p->c.state[v->state].member, v->column), e->sets);
  }
  sq_kloop l;
  sq_kloop_begin(k, &l, sq_k_int(k, 0), sq_k_int(k, p->length), 1, 0, NULL);
  sq_lv t = sq_semit_turn(e, plus(k, x->first, l.i));
  for (uint32_t i = 0; i < n_free; i++) compute(x, &free[i], t, e->sets);
  for (uint32_t i = 0; i < p->c.n_add; i++) {
    if (!sq_schunk_fills(p, i)) continue;
    for (uint32_t set = 0; set < e->sets; set++) {
      sq_knest *n = &column[i].el[set]->t;
      sq_selement_turn(column[i].el[set], t);
      sq_lv v = sq_k_splat(k, sq_knest_value(n, n->g->body), x->w);
      if (e->mask) v = LLVMBuildSelect(k->b, e->mask, v, LLVMConstNull(LLVMTypeOf(v)), "");
      sq_lv to = sq_schunk_at(x, p->add[i].vectors, panel_turn(x, block, set, l.i));
      sq_k_store_row(k, p->c.type, to, v, NULL);
    }
  }
  sq_kloop_end(k, &l, NULL);
}

void sq_schunk_vectors(sq_schunk_emit *x, sq_lv lo, sq_lv hi) {
  sq_semit_blocks(x->e, lo, hi, x->e->p->sets, panel_vectors, x);
}

// ---- what follows ------------------------------------------------------------------------------
static void write(sq_schunk_emit *x, nest *n, sq_lv t) {
  sq_kern *k = x->k;
  sq_lv only = sq_semit_first_only(x->e, n->x);
  bool wide = false;
  for (uint32_t a = 0; a < n->x->n->g->n_par; a++) wide |= n->x->cls[a] == x->e->p->va;
  sq_kplace to = {.base = sq_kern_pointer(k, n->x->n->out[0]), .type = n->x->n->out[0]->type};
  sq_kif f;
  if (only) sq_kif_begin(k, &f, only);
  for (uint32_t set = 0; set < (wide ? x->e->sets : 1); set++) {
    sq_knest *e = &n->el[set]->t;
    sq_selement_turn(n->el[set], t);
    sq_knest_store(e, &to, sq_knest_value(e, e->g->body), e->mask);
  }
  if (only) sq_kif_end(k, &f, 0, NULL, NULL, NULL);
}

// The sum of a read at the turn, then what its `post` makes of it.
static void take_sum(sq_schunk_emit *x, uint32_t read, nest *n, sq_lv block, sq_lv at, sq_lv t) {
  sq_kern *k = x->k;
  const sq_schunk *p = x->p;
  bool wide = sq_schunk_read_columns(p, read);
  for (uint32_t set = 0; set < x->e->sets; set++) {
    sq_selement_turn(n->el[set], t);
    sq_lv from = sq_schunk_at(x, p->sums[read], wide ? panel_turn(x, block, set, at) : at);
    sq_lv v = wide ? sq_k_load_row(k, p->c.type, from, x->w, NULL) : sq_k_load(k, p->c.type, from);
    x->e->value[n->x->value][set] = sq_schunk_value(n, set, v);
  }
}

static void panel_after(sq_semit *e, sq_lv block, void *user) {
  sq_schunk_emit *x = user;
  sq_kern *k = e->k;
  const sq_sweep *s = x->s;
  nest *member = SQ_ARRAY(k->a, nest, s->n_member + 1);
  nest *store = SQ_ARRAY(k->a, nest, s->n_store + 1);
  for (uint32_t i = 0; i < s->n_member; i++)
    if (x->p->c.role[i] != SQ_CHUNK_STATE && x->p->c.role[i] != SQ_CHUNK_INLINE)
      member[i] = sq_schunk_open(x, &s->member[i], e->sets);
  for (uint32_t i = 0; i < s->n_store; i++) store[i] = sq_schunk_open(x, &s->store[i], e->sets);
  sq_kloop l;
  sq_kloop_begin(k, &l, sq_k_int(k, 0), sq_k_int(k, x->p->length), 1, 0, NULL);
  sq_lv t = sq_semit_turn(e, plus(k, x->first, l.i));
  uint32_t read = 0;
  for (uint32_t i = 0; i < s->n_member; i++) {
    if (x->p->c.role[i] == SQ_CHUNK_READ) take_sum(x, read++, &member[i], block, l.i, t);
    if (x->p->c.role[i] == SQ_CHUNK_FREE || x->p->c.role[i] == SQ_CHUNK_AFTER)
      compute(x, &member[i], t, e->sets);
  }
  for (uint32_t i = 0; i < s->n_store; i++) write(x, &store[i], t);
  sq_kloop_end(k, &l, NULL);
}

void sq_schunk_after(sq_schunk_emit *x, sq_lv lo, sq_lv hi) {
  sq_semit_blocks(x->e, lo, hi, x->e->p->sets, panel_after, x);
}
