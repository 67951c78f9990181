// Sections of turns. In: a sweep by maps and the machine. Out: whether time is cut, and by what measures.
#include "ir/sweep_sections.h"

enum {
  UP_TO =
      4, // times the cycles of the map of all turns of a vector, those of the maps up to each of them
  LEAST = 2 * SQ_TASK_CYCLES, // cycles that a section's turns are worth
  CACHES = 2,                 // times the last cache, what turns that are cut read and write
  OF_A_CORE = 16 << 20,       // bytes of it, at most
  FEW = 4,                    // cores, of which one draws a good part of what memory gives
};

// ---- maps without states -----------------------------------------------------------------------
static void mark(uint32_t id, void *user) { ((bool *)user)[id] = true; }

// Marks members that the scalar is made of; false: a state is among what it is made of.
static bool needs(const sq_sweep *s, const sq_sweep_nest *n, uint32_t scalar, bool *member) {
  const sq_generic *g = n->n->g;
  bool *used = SQ_ARRAY(s->g->arena, bool, g->s.n + 1);
  if (scalar == SQ_NO_SCALAR) return true;
  used[scalar] = true;
  for (uint32_t j = scalar + 1; j-- > 0;) {
    const sq_scalar *r = &g->s.v[j];
    if (!used[j]) continue;
    sq_scalar_refs(r, mark, used);
    if (r->kind != SQ_SC_READ || n->inner[r->operand] == SQ_SWEEP_NONE) continue;
    if (n->inner[r->operand] < s->scan->n_carried) return false;
    uint32_t i = n->inner[r->operand] - s->scan->n_carried;
    const sq_sweep_nest *m = &s->member[i];
    if (member[i]) continue;
    member[i] = true;
    const sq_generic *of = m->n->g;
    if (!needs(s, m, of->body, member) || !needs(s, m, of->post, member)) return false;
    for (uint32_t d = 0; d < of->domain.n; d++)
      if (!needs(s, m, of->domain.v[d], member)) return false;
  }
  return true;
}

const char *sq_prefix_tied(const sq_sweep *s, const sq_prefix *f, bool *member) {
  uint32_t n = s->scan->n_carried;
  for (uint32_t c = 0; c < n; c++) {
    uint32_t next = s->next[c];
    if (next < n || f->solves[next - n] != c) return "a state is what another value of a turn was";
    const sq_prefix_map *p = &f->map[next - n];
    const sq_sweep_nest *m = &s->member[next - n];
    if (!needs(s, m, p->by, member) || !needs(s, m, p->other, member) ||
        !needs(s, m, p->high, member))
      return "what a turn does to a state depends on another state";
  }
  return n > 0 ? NULL : "there is no state";
}

// ---- bytes of a turn ---------------------------------------------------------------------------
// Does a member before i read the value?
static bool is_read_before(const sq_sweep *s, uint32_t i, const sq_value *v) {
  for (uint32_t m = 0; m < i; m++)
    for (uint32_t j = 0; j < s->member[m].n->n_in; j++)
      if (s->member[m].n->in[j] == v) return true;
  return false;
}

// Of what member i reads in each turn of a lane: of each tensor once.
static double bytes_read(const sq_sweep *s, uint32_t i) {
  const sq_sweep_nest *x = &s->member[i];
  const sq_generic *g = x->n->g;
  bool *seen = SQ_ARRAY(s->g->arena, bool, x->n->n_in + 1);
  double elements = sq_sweep_nest_elements(s, x, false) * sq_sweep_nest_elements(s, x, true), n = 0;
  for (uint32_t j = 0; j < g->s.n; j++) {
    const sq_scalar *r = &g->s.v[j];
    if (r->kind != SQ_SC_READ || x->inner[r->operand] != SQ_SWEEP_NONE) continue;
    const sq_value *v = x->n->in[r->operand];
    bool moves = false;
    for (uint32_t p = 0; p < r->n_pos; p++) {
      sq_affine f = sq_scalar_affine(s->g, g, r->pos[p]);
      moves = moves || !f.ok || f.coef[x->time];
    }
    if (!moves || seen[r->operand] || is_read_before(s, i, v)) continue;
    seen[r->operand] = true;
    n += elements * (double)sq_dtype_table[v->type.dtype].bytes;
  }
  return n;
}

static double bytes_of_turn(const sq_sweep *s) {
  double n = 0;
  for (uint32_t i = 0; i < s->n_member; i++) n += bytes_read(s, i);
  for (uint32_t i = 0; i < s->n_store; i++)
    n += sq_sweep_nest_elements(s, &s->store[i], false) *
         (double)sq_dtype_table[s->store[i].n->out[0]->type.dtype].bytes;
  return n;
}

// Turns of so many bytes that are cut at most. A system may say of the third level what a whole socket has,
// or nothing.
static int64_t most_turns(const sq_machine *m, double bytes) {
  double share = (double)OF_A_CORE * m->cores, cache = m->l3_bytes;
  if (m->cores > FEW || bytes < 1) return INT64_MAX;
  if (!m->l3_bytes || cache > share) cache = share;
  return (int64_t)(CACHES * cache / bytes);
}

// ---- whether and how ---------------------------------------------------------------------------
static int64_t lanes(const sq_sweep *s) { // 0: not known
  int64_t lanes = 1, v;
  for (uint32_t c = 0; c < s->n_class; c++) {
    if (!s->lane[c]) continue;
    if (!sq_dim_is_const(s->g->dims, s->size[c], &v) || v < 1 || v > INT32_MAX / lanes) return 0;
    lanes *= v;
  }
  return lanes;
}

static const char *no_sections(const sq_sweep *s, const sq_machine *m, sq_sections *c) {
  int64_t all = lanes(s);
  c->lanes = (uint32_t)all;
  c->most = all ? (uint32_t)(m->cores / all) : 0;
  if (c->f.why) return c->f.why;
  if (m->cores < 2) return "there is no other";
  if (!all) return "how many lanes there are is not known";
  if (c->most < 2) return "the others are for other lanes";
  for (uint32_t i = 0; i < s->n_member; i++)
    if (c->f.solves[i] != SQ_SWEEP_NONE && c->f.map[i].how == SQ_PREFIX_LOG)
      return "maps of logarithms take as long as the turns";
  return sq_prefix_tied(s, &c->f, c->member);
}

// A member as it was before the steps that make a next state were put into one.
typedef struct before {
  double cost;
  const uint32_t *inner;
  uint32_t n_in;
} before;

// Cycles of a turn for all that next states are made of.
static double cost_of_maps(const sq_sweep *s, const sq_sections *c, const before *was) {
  bool *wanted = SQ_ARRAY(s->g->arena, bool, s->n_member + 1);
  uint32_t n = s->scan->n_carried;
  double cost = 0;
  for (uint32_t i = s->n_member; i-- > 0;) {
    if (!wanted[i] && c->f.solves[i] == SQ_SWEEP_NONE) continue;
    cost += was[i].cost;
    for (uint32_t j = 0; j < was[i].n_in; j++)
      if (was[i].inner[j] != SQ_SWEEP_NONE && was[i].inner[j] >= n)
        wanted[was[i].inner[j] - n] = true;
  }
  return cost;
}

sq_sections sq_sections_make(sq_sweep *s, const sq_machine *m) {
  sq_arena *a = s->g->arena;
  before *was = SQ_ARRAY(a, before, s->n_member + 1);
  uint32_t w = sq_prefix_turns(s, m);
  double bytes = bytes_of_turn(s);
  for (uint32_t i = 0; i < s->n_member; i++) {
    const sq_sweep_nest *x = &s->member[i];
    was[i] = (before){0.5 * sq_sweep_nest_cost(s, x), x->inner, x->n->n_in};
  }
  sq_sections c = {.member = SQ_ARRAY(a, bool, s->n_member + 1), .f = sq_prefix_make(s)};
  c.why = no_sections(s, m, &c);
  if (c.why) return c;
  double turns = c.f.work + c.f.together, cores = c.most;
  double first = (cost_of_maps(s, &c, was) + c.f.together / UP_TO) / turns;
  if (first > 1) first = 1;
  c.first = (uint32_t)(first * SQ_SECTION_SHARE);
  c.alone = cores * (1 + first) / (cores + first);
  c.together = (1 + first) / (cores + first);
  c.least = (int64_t)((double)LEAST * w / turns) + SQ_SECTION_ALIGN;
  c.up_to = most_turns(m, bytes * c.lanes);
  if (c.up_to < 2 * c.least) c.why = "so many turns do not stay in the last cache";
  return c;
}
