// Sweeps in blocks: the parts of each turn. In: a sweep. Out: for each state its decay and the pairs of
// vectors that it is given, for each sum over a state what it is weighed by; or what stands in the way.
//
//   %s1 = generic (%s, %k, %v) [i < 64, j < 64] { a * %s[i, j] + b[t] * (%k[t, i] * %v[t, j]) }
// is   by = a,   key[i] = k[t, i],   column[j] = b[t] * v[t, j]     (sweep_chunk_added.c)
#include "ir/sweep_chunk_inner.h"

enum { MAX_TERMS = 4, MAX_PAIRS = 8 };
enum { MAX_ROWS = 1024, MAX_COLUMNS = 8192, MAX_ELEMENTS = 1 << 18 };
#define TURN SQ_CHUNK_TURN
#define OF_STATE SQ_CHUNK_OF_STATE
#define SUM_OF SQ_CHUNK_SUM_OF

typedef sq_chunk_finder finder;

bool sq_chunk_refuse(finder *w, const char *why, sq_span where) {
  if (w->c.why) return false;
  w->c.why = why;
  w->c.where = where;
  return false;
}

const char *sq_chunk_name(const finder *w, uint32_t state) {
  const sq_value *v = w->s->value[state].v;
  return v->name ? sq_arena_fmt(w->g->arena, "`%s`", v->name) : "the state";
}

// ---- on what a scalar depends ------------------------------------------------------------------
static uint64_t value_classes(const sq_sweep *s, uint32_t value) {
  uint64_t all = 0;
  for (uint32_t a = 0; a < s->value[value].rank; a++)
    if (s->lane[s->value[value].cls[a]]) all |= 1ull << s->value[value].cls[a];
  return all;
}

static void need(uint32_t id, void *user) { ((bool *)user)[id] = true; }

uint64_t sq_chunk_depends(const finder *w, const sq_sweep_nest *x, uint32_t id) {
  const sq_generic *k = x->n->g;
  uint64_t all = 0;
  if (id == SQ_NO_SCALAR) return 0;
  bool *used = SQ_ARRAY(w->g->arena, bool, id + 1);
  used[id] = true;
  for (uint32_t j = id + 1; j-- > 0;) { // references go to smaller ids
    const sq_scalar *s = &k->s.v[j];
    if (!used[j]) continue;
    sq_scalar_refs(s, need, used);
    if (s->kind == SQ_SC_INDEX) all |= s->axis == x->time ? TURN : 1ull << x->cls[s->axis];
    if (s->kind != SQ_SC_READ || x->inner[s->operand] == SQ_SWEEP_NONE) continue;
    uint32_t v = x->inner[s->operand];
    all |= w->on[v] | value_classes(w->s, v) | TURN;
  }
  return all;
}

static uint32_t times(finder *w, sq_generic *k, uint32_t a, uint32_t b) {
  if (a == SQ_NO_SCALAR || b == SQ_NO_SCALAR) return a == SQ_NO_SCALAR ? b : a;
  return sq_sc_ewise(w->g, k, SQ_EW_MUL, a, b);
}

// ---- states ------------------------------------------------------------------------------------
static bool has_rows(const sq_sweep *s, uint32_t value) { return s->value[value].part.rank > 0; }

static bool is_next(const sq_sweep *s, uint32_t value) {
  for (uint32_t k = 0; k < s->scan->n_carried; k++)
    if (s->next[k] == value) return true;
  return false;
}

// Vectors of rows that come of sums over states: layers of a network, which is no matrix at all.
static void look_for_layers(finder *w, const sq_sweep_nest *x) {
  for (uint32_t j = 0; j < x->n->n_in; j++) {
    uint32_t v = x->inner[j];
    if (v != SQ_SWEEP_NONE && w->on[v] & SUM_OF && has_rows(w->s, v) && !is_next(w->s, v))
      w->c.matrix = false;
  }
}

static bool find_state(finder *w, uint32_t state) {
  sq_sweep *s = w->s;
  sq_chunk_state *t = &w->c.state[state];
  uint32_t next = s->next[state];
  const sq_type *part = &s->value[state].part;
  if (next < s->scan->n_carried)
    return sq_chunk_refuse(w, "it carries what another value was", s->scan->span);
  t->member = next - s->scan->n_carried;
  const sq_sweep_nest *x = &s->member[t->member];
  if (part->rank != 1 || s->value[next].part.rank != 1)
    return sq_chunk_refuse(
        w, sq_arena_fmt(w->g->arena, "%s is no matrix of rows", sq_chunk_name(w, state)),
        x->n->span);
  if (part->dtype != w->c.type || s->value[next].part.dtype != w->c.type)
    return sq_chunk_refuse(w, "what it carries is of several types", x->n->span);
  const char *why;
  look_for_layers(w, x);
  sq_prefix_map m = sq_prefix_map_of(s, t->member, state, &why);
  if (why) return sq_chunk_refuse(w, why, x->n->span);
  if (m.how != SQ_PREFIX_SUM && m.how != SQ_PREFIX_NONE)
    return sq_chunk_refuse(
        w,
        sq_arena_fmt(w->g->arena, "a maximum%s of %s",
                     m.how == SQ_PREFIX_LOG ? " or sum of exponentials" : " or minimum",
                     sq_chunk_name(w, state)),
        x->n->span);
  if (m.how == SQ_PREFIX_NONE) {
    if (w->on[next] & OF_STATE) {
      w->c.matrix = false;
      return sq_chunk_refuse(
          w,
          sq_arena_fmt(w->g->arena, "the next %s is made of sums over it", sq_chunk_name(w, state)),
          x->n->span);
    }
    m.by = sq_sc_float(w->g, x->n->g, w->c.type, 0);
    m.other = x->n->g->body;
  }
  uint64_t on = sq_chunk_depends(w, x, m.by);
  if (on & OF_STATE)
    return sq_chunk_refuse(w,
                           sq_arena_fmt(w->g->arena, "what decays %s depends on what is carried",
                                        sq_chunk_name(w, state)),
                           x->n->span);
  t->by = m.by;
  t->by_rows = on >> w->c.row & 1;
  t->by_turns = on & TURN;
  w->by |= on;
  w->c.role[t->member] = SQ_CHUNK_STATE;
  return sq_chunk_split_added(w, state, m.other);
}

static bool find_states(finder *w) {
  sq_sweep *s = w->s;
  for (uint32_t k = 0; k < s->scan->n_carried; k++) {
    for (uint32_t j = 0; j < k; j++)
      if (s->next[j] == s->next[k])
        return sq_chunk_refuse(w, "one value is the next one of two states", s->scan->span);
    if (!find_state(w, k)) return false;
  }
  return true;
}

// ---- sums over states --------------------------------------------------------------------------
typedef struct reader {
  finder *w;
  const sq_sweep_nest *x;
  sq_chunk_read *r;
} reader;

// Which state the inner value is, before the turn or after it.
static bool state_value(const finder *w, uint32_t value, uint32_t *state, bool *before) {
  uint32_t n = w->s->scan->n_carried;
  *before = value < n;
  *state = value;
  for (uint32_t k = 0; k < n && value >= n; k++)
    if (w->s->next[k] == value) *state = k;
  return value != SQ_SWEEP_NONE && *state < n;
}

static bool add_term(reader *r, uint32_t state, bool before, uint32_t factor) {
  sq_chunk_read *to = r->r;
  if (to->n_term == MAX_TERMS) return sq_chunk_refuse(r->w, "a sum of many states", r->x->n->span);
  uint64_t on = sq_chunk_depends(r->w, r->x, factor);
  if (on & OF_STATE) return sq_chunk_refuse(r->w, "a product of two states", r->x->n->span);
  r->w->reads |= on;
  to->term[to->n_term++] = (sq_chunk_term){state, before, factor};
  return true;
}

static bool read_terms(reader *r, uint32_t id, uint32_t factor, int depth);

static bool read_ewise(reader *r, const sq_scalar *x, uint32_t factor, int depth) {
  finder *w = r->w;
  sq_generic *k = r->x->n->g;
  uint32_t a = x->a[0], b = x->a[1];
  switch ((int)x->ew) {
  case SQ_EW_ADD:
    return read_terms(r, a, factor, depth + 1) && read_terms(r, b, factor, depth + 1);
  case SQ_EW_SUB:
  case SQ_EW_NEG: {
    uint32_t minus = times(w, k, factor, sq_sc_float(w->g, k, x->dtype, -1));
    if (x->ew == SQ_EW_NEG) return read_terms(r, a, minus, depth + 1);
    return read_terms(r, a, factor, depth + 1) && read_terms(r, b, minus, depth + 1);
  }
  case SQ_EW_MUL:
    if (!(sq_chunk_depends(w, r->x, a) & OF_STATE))
      return read_terms(r, b, times(w, k, factor, a), depth + 1);
    if (!(sq_chunk_depends(w, r->x, b) & OF_STATE))
      return read_terms(r, a, times(w, k, factor, b), depth + 1);
    return sq_chunk_refuse(w, "a product of two states", r->x->n->span);
  case SQ_EW_DIV:
    if (sq_chunk_depends(w, r->x, b) & OF_STATE)
      return sq_chunk_refuse(w, "a division by a state", r->x->n->span);
    if (factor == SQ_NO_SCALAR) factor = sq_sc_float(w->g, k, x->dtype, 1);
    return read_terms(r, a, sq_sc_ewise(w->g, k, SQ_EW_DIV, factor, b), depth + 1);
  default:
    return sq_chunk_refuse(
        w, sq_arena_fmt(w->g->arena, "`%s` around what is summed", sq_ewise_table[x->ew].name),
        r->x->n->span);
  }
}

static bool read_terms(reader *r, uint32_t id, uint32_t factor, int depth) {
  const sq_scalar x = r->x->n->g->s.v[id];
  uint32_t state, red = r->x->n->g->n_par;
  bool before;
  if (depth > SQ_CHUNK_DEPTH || !(sq_chunk_depends(r->w, r->x, id) & OF_STATE))
    return sq_chunk_refuse(r->w, "a sum of the state and of other things", r->x->n->span);
  if (x.kind == SQ_SC_EWISE) return read_ewise(r, &x, factor, depth);
  if (x.kind == SQ_SC_READ && state_value(r->w, r->x->inner[x.operand], &state, &before)) {
    const sq_scalar *p = x.n_pos == 1 ? &r->x->n->g->s.v[x.pos[0]] : NULL;
    bool plain = x.guard == SQ_NO_SCALAR && x.other == SQ_NO_SCALAR && x.site == SQ_NO_SITE;
    if (plain && p && p->kind == SQ_SC_INDEX && p->axis == red)
      return add_term(r, state, before, factor);
  }
  return sq_chunk_refuse(r->w, "the state is read in another way than by a sum over its rows",
                         r->x->n->span);
}

static bool find_read(finder *w, uint32_t i) {
  const sq_sweep_nest *x = &w->s->member[i];
  const sq_generic *k = x->n->g;
  sq_chunk_read *to = &w->c.read[w->c.n_read++];
  *to = (sq_chunk_read){.member = i};
  to->term = SQ_ARRAY(w->g->arena, sq_chunk_term, MAX_TERMS);
  if (k->monoid != SQ_SUM || k->n_red != 1 || k->domain.n || x->cls[k->n_par] != w->c.row)
    return sq_chunk_refuse(w, "the state is read in another way than by a sum over its rows",
                           x->n->span);
  reader r = {w, x, to};
  w->c.role[i] = SQ_CHUNK_READ;
  if (!read_terms(&r, k->body, SQ_NO_SCALAR, 0)) return false;
  w->c.n_pairs += to->n_term;
  return w->c.n_pairs <= MAX_PAIRS || sq_chunk_refuse(w, "many sums over states", x->n->span);
}

// ---- members -----------------------------------------------------------------------------------
static bool reads(const sq_sweep_nest *x, uint32_t value) {
  for (uint32_t j = 0; j < x->n->n_in; j++)
    if (x->inner[j] == value) return true;
  return false;
}

// What the values depend on, in order.
static void find_dependence(finder *w) {
  sq_sweep *s = w->s;
  for (uint32_t k = 0; k < s->scan->n_carried; k++) w->on[k] = OF_STATE;
  for (uint32_t i = 0; i < s->n_member; i++) {
    const sq_sweep_nest *x = &s->member[i];
    uint64_t on = 0;
    for (uint32_t j = 0; j < x->n->n_in; j++)
      if (x->inner[j] != SQ_SWEEP_NONE) on |= w->on[x->inner[j]];
    if (on && x->n->g->n_red) on |= SUM_OF;
    w->on[x->value] = on;
  }
}

// Elementwise members with rows go where they are read.
static void inline_members(finder *w) {
  sq_sweep *s = w->s;
  uint32_t n = s->scan->n_carried;
  for (uint32_t i = 0; i < s->n_member; i++) {
    const sq_generic *k = s->member[i].n->g;
    for (uint32_t j = 0; j < i; j++)
      if (w->c.role[j] == SQ_CHUNK_INLINE && reads(&s->member[i], n + j) &&
          !sq_sweep_inline(s, i, j))
        w->c.role[j] = SQ_CHUNK_FREE;
    if (!k->n_red && k->post == SQ_NO_SCALAR && has_rows(s, s->member[i].value) &&
        !is_next(s, s->member[i].value))
      w->c.role[i] = SQ_CHUNK_INLINE;
  }
}

// Reads of one operation of members that are not plain, or tested.
static bool places_plain(finder *w, const sq_sweep_nest *x) {
  const sq_generic *k = x->n->g;
  for (uint32_t j = 0; j < k->s.n; j++) {
    const sq_scalar *r = &k->s.v[j];
    if (r->kind != SQ_SC_READ) continue;
    if (r->site != SQ_NO_SITE) return sq_chunk_refuse(w, "a place that is tested", x->n->span);
  }
  return true;
}

static bool find_member(finder *w, uint32_t i) {
  sq_sweep *s = w->s;
  const sq_sweep_nest *x = &s->member[i];
  if (!places_plain(w, x)) return false;
  if (is_next(s, x->value) || w->c.role[i] == SQ_CHUNK_INLINE) return true;
  bool of_state = w->on[x->value] & OF_STATE;
  if (of_state && x->n->g->n_red && x->cls[x->n->g->n_par] == w->c.row) {
    bool state_here = false;
    for (uint32_t j = 0; j < x->n->n_in; j++) {
      uint32_t state;
      bool before;
      state_here |= state_value(w, x->inner[j], &state, &before);
    }
    if (state_here) return find_read(w, i);
  }
  if (x->n->g->n_red) return sq_chunk_refuse(w, "a sum of its own in a turn", x->n->span);
  if (has_rows(s, x->value))
    return sq_chunk_refuse(w,
                           of_state ? "the state is read in another way than by a sum over its rows"
                                    : "a vector of rows that is made in a turn",
                           x->n->span);
  for (uint32_t j = 0; j < x->n->n_in; j++)
    if (x->inner[j] != SQ_SWEEP_NONE && has_rows(s, x->inner[j]))
      return sq_chunk_refuse(w, "an element of the state at a place of its own", x->n->span);
  w->c.role[i] = of_state ? SQ_CHUNK_AFTER : SQ_CHUNK_FREE;
  return true;
}

// Each state has columns as what it is summed with has, and is read by some turn.
static bool all_read(finder *w) {
  for (uint32_t k = 0; k < w->s->scan->n_carried; k++) {
    bool read = false;
    for (uint32_t i = 0; i < w->c.n_read; i++)
      for (uint32_t j = 0; j < w->c.read[i].n_term; j++) read |= w->c.read[i].term[j].state == k;
    if (!read)
      return sq_chunk_refuse(w, sq_arena_fmt(w->g->arena, "no turn reads %s", sq_chunk_name(w, k)),
                             w->s->scan->span);
  }
  for (uint32_t i = 0; i < w->c.n_read; i++)
    for (uint32_t j = 1; j < w->c.read[i].n_term; j++)
      if (w->c.state[w->c.read[i].term[j].state].has_columns !=
          w->c.state[w->c.read[i].term[0].state].has_columns)
        return sq_chunk_refuse(w, "a sum of states with columns and without", w->s->scan->span);
  return true;
}

static bool find_members(finder *w) {
  sq_sweep *s = w->s;
  for (uint32_t i = 0; i < s->n_member; i++)
    if (!find_member(w, i)) return false;
  for (uint32_t i = 0; i < s->n_store; i++)
    if (has_rows(s, s->store[i].value))
      return sq_chunk_refuse(w, "the state of every turn is kept", s->scan->span);
  return true;
}

// ---- what columns get of sums over states ------------------------------------------------------
// Marks members that the value is made of; sums take their rows elsewhere.
static bool solve(finder *w, uint32_t value) {
  sq_sweep *s = w->s;
  uint32_t n = s->scan->n_carried, i = value - n;
  if (value < n || has_rows(s, value)) // other than by a sum
    return sq_chunk_refuse(w, "an element of the state at a place of its own", s->scan->span);
  if (w->c.solve[i]) return true;
  w->c.solve[i] = true;
  const sq_sweep_nest *x = &s->member[i];
  for (uint32_t j = 0; j < x->n->n_in; j++) {
    uint32_t v = x->inner[j];
    if (v == SQ_SWEEP_NONE || (w->c.role[i] == SQ_CHUNK_READ && has_rows(s, v))) continue;
    if (!solve(w, v)) return false;
  }
  return true;
}

static bool find_solved(finder *w) {
  sq_sweep *s = w->s;
  for (uint32_t k = 0; k < w->c.n_add; k++) {
    const sq_chunk_add *t = &w->c.add[k];
    const sq_sweep_nest *x = &s->member[w->c.state[t->state].member];
    if (!t->solved) continue;
    w->c.n_solved++;
    if (!w->c.state[t->state].has_columns)
      return sq_chunk_refuse(
          w,
          sq_arena_fmt(w->g->arena,
                       "what is added to %s, which has no columns, depends on what is carried",
                       sq_chunk_name(w, t->state)),
          x->n->span);
    bool *used = SQ_ARRAY(w->g->arena, bool, t->column + 1);
    used[t->column] = true;
    for (uint32_t j = t->column + 1; j-- > 0;) {
      const sq_scalar *r = &x->n->g->s.v[j];
      if (!used[j]) continue;
      sq_scalar_refs(r, need, used);
      if (r->kind == SQ_SC_READ && x->inner[r->operand] != SQ_SWEEP_NONE &&
          !solve(w, x->inner[r->operand]))
        return false;
    }
  }
  return true;
}

// ---- rows and columns --------------------------------------------------------------------------
static bool find_rows(finder *w) {
  sq_sweep *s = w->s;
  int64_t n;
  w->c.row = SQ_SWEEP_NONE;
  if (!s->scan->n_carried) return sq_chunk_refuse(w, "nothing is carried", s->scan->span);
  if (s->n_class > SQ_CHUNK_CLASSES) return sq_chunk_refuse(w, "many axes", s->scan->span);
  w->c.type = s->value[0].part.dtype;
  if (w->c.type != SQ_F32 && w->c.type != SQ_F64)
    return sq_chunk_refuse(w, "what it carries is rounded in every turn", s->scan->span);
  for (uint32_t k = 0; k < s->scan->n_carried; k++)
    for (uint32_t a = 0; a < s->value[k].rank; a++) {
      uint32_t c = s->value[k].cls[a];
      if (s->lane[c] || c == w->c.row) continue;
      if (w->c.row != SQ_SWEEP_NONE)
        return sq_chunk_refuse(w, "more than one axis of the state is summed over", s->scan->span);
      w->c.row = c;
    }
  if (w->c.row == SQ_SWEEP_NONE)
    return sq_chunk_refuse(w, "the state is not summed over", s->scan->span);
  if (!sq_dim_is_const(w->g->dims, s->size[w->c.row], &n)) return true;
  if (n < 1 || n > MAX_ROWS) return sq_chunk_refuse(w, "the number of rows", s->scan->span);
  w->c.rows = (uint32_t)n;
  return true;
}

// Why no lane is one of columns: of one that no sum is weighed by, else of none.
static const char *no_columns(const finder *w) {
  const sq_sweep *s = w->s;
  bool lanes = false;
  for (uint32_t c = 0; c < s->n_class; c++) {
    if (!s->lane[c]) continue;
    lanes = true;
    if (w->reads >> c & 1) continue;
    if (w->keys >> c & 1)
      return "what is added is no product of a part for rows and one for columns";
    if (!(w->by >> c & 1)) return "the number of columns";
    return w->by >> w->c.row & 1 ? "the decay depends on rows and columns at once"
                                 : "the decay depends on columns";
  }
  return lanes ? "all of its axes are in what it is read by" : "it has no columns";
}

// The largest lane on which neither decays, keys nor factors depend, or one whose size a call tells.
static bool find_columns(finder *w) {
  sq_sweep *s = w->s;
  uint64_t shared = w->by | w->keys | w->reads;
  w->c.column = SQ_SWEEP_NONE;
  for (uint32_t c = 0; c < s->n_class; c++) {
    int64_t n;
    if (!s->lane[c] || shared >> c & 1) continue;
    if (!sq_dim_is_const(w->g->dims, s->size[c], &n)) {
      if (w->c.column == SQ_SWEEP_NONE) w->c.column = c;
      continue;
    }
    if (n <= w->c.columns || n > MAX_COLUMNS || n * w->c.rows > MAX_ELEMENTS) continue;
    w->c.columns = n;
    w->c.column = c;
  }
  if (w->c.column == SQ_SWEEP_NONE) return sq_chunk_refuse(w, no_columns(w), s->scan->span);
  for (uint32_t k = 0; k < s->scan->n_carried; k++)
    w->c.state[k].has_columns = value_classes(s, k) >> w->c.column & 1;
  return true;
}

// A state with rows and lanes that is carried on into its next value.
static void find_matrix(finder *w) {
  sq_sweep *s = w->s;
  for (uint32_t k = 0; k < s->scan->n_carried; k++) {
    if (!has_rows(s, k) || !value_classes(s, k) || s->next[k] < s->scan->n_carried) continue;
    const sq_sweep_nest *x = &s->member[s->next[k] - s->scan->n_carried];
    for (uint32_t j = 0; j < x->n->n_in; j++) w->c.matrix |= x->inner[j] == k && !x->n->g->n_red;
  }
}

sq_chunk sq_chunk_make(sq_sweep *s) {
  finder w = {.s = s, .g = s->g};
  sq_arena *a = s->g->arena;
  w.on = SQ_ARRAY(a, uint64_t, s->n_value + 1);
  w.c.state = SQ_ARRAY(a, sq_chunk_state, s->scan->n_carried + 1);
  w.c.add = SQ_ARRAY(a, sq_chunk_add, s->scan->n_carried * SQ_CHUNK_ADDS + 1);
  w.c.read = SQ_ARRAY(a, sq_chunk_read, s->n_member + 1);
  w.c.solve = SQ_ARRAY(a, bool, s->n_member + 1);
  w.c.role = SQ_ARRAY(a, sq_chunk_role, s->n_member + 1);
  inline_members(&w);
  find_matrix(&w);
  if (!find_rows(&w)) return w.c;
  find_dependence(&w);
  for (uint32_t i = 0; i < s->n_member; i++)
    w.c.n_made += w.c.role[i] == SQ_CHUNK_INLINE && w.on[s->member[i].value] & OF_STATE;
  if (!find_states(&w) || !find_members(&w)) return w.c;
  if (find_columns(&w) && find_solved(&w)) all_read(&w);
  return w.c;
}

sq_sweep_nest *sq_chunk_part(const sq_sweep *s, sq_dtype type, uint32_t member, uint32_t scalar) {
  sq_arena *a = s->g->arena;
  const sq_sweep_nest *from = &s->member[member];
  sq_sweep_nest *n = SQ_NEW(a, sq_sweep_nest);
  *n = *from;
  n->n = SQ_NEW(a, sq_node);
  *n->n = *from->n;
  n->n->g = SQ_NEW(a, sq_generic);
  sq_generic *g = n->n->g;
  *g = *from->n->g;
  memset(&g->s, 0, sizeof g->s); // more are added
  for (uint32_t j = 0; j < from->n->g->s.n; j++) sq_push(a, &g->s, from->n->g->s.v[j]);
  g->n_par += g->n_red;
  g->n_red = 0;
  g->monoid = SQ_MONOID_NONE;
  g->domain.n = 0;
  g->post = SQ_NO_SCALAR;
  g->body = scalar != SQ_NO_SCALAR ? scalar : sq_sc_float(s->g, g, type, 1);
  return n;
}
