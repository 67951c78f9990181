// How a sweep is run: which lanes fill a vector, how many blocks together, registers or memory.
// In: the analysis (ir/sweep.h) and the target. Out: the plan, the same for scratch and for code.
#include "codegen/cpu/sweep.h"

enum {
  MAX_CHUNK = 8,
  LIGHT = 24,   // cycles of a turn of a block
  STRIPE = 256, // bytes of a row that a unit of light work takes at least
};

static bool const_size(const sq_sweep *s, uint32_t cls, int64_t *v) {
  return sq_dim_is_const(s->g->dims, s->size[cls], v);
}

uint32_t sq_splan_elements(const sq_sweep *s, uint32_t value) {
  return sq_sweep_elements(s, value);
}

uint32_t sq_selement_count(const sq_sweep *s, const sq_sweep_nest *x, bool reduced) {
  return sq_sweep_nest_elements(s, x, reduced);
}

static uint32_t carried_elements(const sq_sweep *s) {
  uint32_t n = 0;
  for (uint32_t k = 0; k < s->scan->n_carried; k++) n += sq_splan_elements(s, k);
  return n;
}

// ---- the vector's lanes ------------------------------------------------------------------------
// How a position runs along the axis: 0 not at all, 1 by one, 2 otherwise.
static int along(const sq_sweep *s, const sq_generic *g, uint32_t pos, uint32_t axis) {
  sq_affine f = sq_scalar_affine(s->g, g, pos);
  if (!f.ok) return 2;
  return f.coef[axis] == 0 ? 0 : f.coef[axis] == 1 ? 1 : 2;
}

// Cycles that a vector of w lanes takes for what a nest reads or writes in memory.
static double memory_cost(const sq_sweep *s, const sq_sweep_nest *x, uint32_t cls, uint32_t w) {
  const sq_generic *g = x->n->g;
  uint32_t axis = SQ_SWEEP_NONE;
  double cost = 0;
  for (uint32_t a = 0; a < g->n_par; a++)
    if (x->cls[a] == cls) axis = a;
  for (uint32_t j = 0; j < g->s.n; j++) {
    const sq_scalar *r = &g->s.v[j];
    if (r->kind != SQ_SC_READ || x->inner[r->operand] != SQ_SWEEP_NONE) continue;
    int how = 0;
    bool turn = false;
    for (uint32_t i = 0; i < r->n_pos; i++) {
      int one = axis == SQ_SWEEP_NONE ? 0 : along(s, g, r->pos[i], axis);
      if (one == 1 && i + 1 < r->n_pos) one = 2;
      if (one > how) how = one;
      turn |= x->time != SQ_SWEEP_NONE && along(s, g, r->pos[i], x->time) != 0;
    }
    cost += (how == 0 ? 0.4 : how == 1 ? 1 : 0.75 * w) * (turn ? 1 : 0.1);
  }
  return cost;
}

static double store_cost(const sq_sweep *s, uint32_t cls, uint32_t w) {
  double cost = 0;
  for (uint32_t i = 0; i < s->n_store; i++) {
    const sq_sweep_nest *x = &s->store[i];
    uint32_t n = x->n->g->n_par;
    bool last = n && x->cls[n - 1] == cls, has = false;
    for (uint32_t a = 0; a < n; a++) has |= x->cls[a] == cls;
    cost += last || !has ? 1 : w;
  }
  return cost;
}

static double turn_cost(const sq_sweep *s, uint32_t cls, uint32_t w) {
  double cost = store_cost(s, cls, w);
  for (uint32_t i = 0; i < s->n_member; i++) {
    double inner = 1;
    const sq_sweep_nest *x = &s->member[i];
    for (uint32_t a = 0; a < x->n->g->n_par + x->n->g->n_red; a++) {
      int64_t v;
      if (x->cls[a] == SQ_SWEEP_NONE || s->lane[x->cls[a]]) continue;
      inner *= const_size(s, x->cls[a], &v) ? (double)v : 64;
    }
    cost += 0.5 * sq_sweep_nest_cost(s, x) + inner * memory_cost(s, x, cls, w);
  }
  return cost;
}

static void choose_lanes(const sq_sweep *s, const sq_target *t, sq_splan *p) {
  uint32_t full = t->machine.vector_bytes / sq_sweep_bytes(s);
  p->va = SQ_SWEEP_NONE;
  p->w = 1;
  p->cost = turn_cost(s, SQ_SWEEP_NONE, 1);
  double best = p->cost;
  for (uint32_t c = 0; c < s->n_class && !p->turns; c++) {
    int64_t v = INT64_MAX;
    uint32_t w = full;
    if (!s->lane[c]) continue;
    if (const_size(s, c, &v))
      while (w > 1 && (int64_t)w / 2 >= v) w /= 2;
    if (w == 1) continue;
    double cost = turn_cost(s, c, w), lanes = v < (int64_t)w ? (double)v : w;
    if (cost / lanes >= 0.95 * best) continue;
    best = cost / lanes;
    p->va = c;
    p->w = w;
    p->cost = cost;
  }
}

// ---- blocks ------------------------------------------------------------------------------------
static void choose_blocks(const sq_sweep *s, const sq_target *t, sq_splan *p) {
  enum { UNITS = 8 };
  int64_t v, units = 1;
  p->sets = p->chunk = 1;
  if (p->va == SQ_SWEEP_NONE || !p->registers) return;
  for (uint32_t c = 0; c < s->n_class; c++)
    if (s->lane[c] && c != p->va) units *= const_size(s, c, &v) && v > 0 ? v : 4;
  int64_t blocks = const_size(s, p->va, &v) ? (v + p->w - 1) / p->w : 64;
  p->chunk = MAX_CHUNK;
  // Light work waits for memory. What a processor fetches unasked is what lies beside: of stripes that are
  // narrower, each core fetches those of the other one as well.
  bool light = p->cost < LIGHT;
  int64_t want = light ? t->machine.cores : UNITS;
  uint32_t least = light ? STRIPE / (p->w * sq_sweep_bytes(s)) : 2;
  while (p->chunk > 2 && p->chunk > least && units * ((blocks + p->chunk - 1) / p->chunk) < want)
    p->chunk /= 2;
  while (p->chunk > blocks && p->chunk > 1) p->chunk /= 2;
  // Chains of operations that wait for each other: several blocks fill the time.
  uint32_t state = carried_elements(s), work = 0;
  for (uint32_t i = 0; i < s->n_member; i++)
    work += sq_selement_count(s, &s->member[i], false) * sq_selement_count(s, &s->member[i], true);
  while (2 * p->sets <= SQ_SWEEP_SETS && 2 * p->sets <= p->chunk && 2 * p->sets * state <= 8 &&
         2 * p->sets * work <= SQ_SWEEP_UNROLLED / 4)
    p->sets *= 2;
}

static uint32_t round_up(uint32_t v, uint32_t by) { return (v + by - 1) / by * by; }

static void place_states(const sq_sweep *s, sq_splan *p, sq_arena *a) {
  p->at = SQ_ARRAY(a, uint32_t, s->scan->n_carried + 1);
  for (uint32_t k = 0; k < s->scan->n_carried; k++) {
    p->at[k] = p->block;
    uint32_t bytes = (uint32_t)sq_dtype_table[s->value[k].part.dtype].bytes;
    if (bytes < 4) bytes = 4;
    p->block = round_up(p->block + sq_splan_elements(s, k) * p->w * bytes, 64);
  }
  p->guess = p->block * p->chunk;
  uint32_t unknowns =
      s->newton ? (SQ_NEWTON_UNKNOWNS + SQ_NEWTON_KEPT) * SQ_SNEWTON_STRETCH * 8 : 0;
  p->scratch = sq_dim_const(s->g->dims, (int64_t)p->guess + unknowns);
}

// ---- in memory ---------------------------------------------------------------------------------
// Reads of carried value k by the nest: 0 none, 1 at the element that it makes, 2 others.
static int reads_state(const sq_sweep_nest *x, uint32_t k) {
  const sq_generic *g = x->n->g;
  int how = 0;
  for (uint32_t j = 0; j < g->s.n; j++) {
    const sq_scalar *r = &g->s.v[j];
    if (r->kind != SQ_SC_READ || x->inner[r->operand] != k) continue;
    uint32_t last = 0;
    how = how < 1 ? 1 : how;
    for (uint32_t i = 0; i < r->n_pos; i++) { // own inner axes in order
      const sq_scalar *p = &g->s.v[r->pos[i]];
      if (p->kind != SQ_SC_INDEX || p->axis >= g->n_par || p->axis < last) return 2;
      last = p->axis + 1;
    }
    if (g->n_red) return 2;
  }
  return how;
}

// May the member that makes the next value of k write over the present one?
static bool made_in_place(const sq_sweep *s, uint32_t k) {
  if (s->next[k] == k) return true;
  uint32_t i = 0;
  while (i < s->n_member && s->member[i].value != s->next[k]) i++;
  if (i == s->n_member || reads_state(&s->member[i], k) == 2) return false;
  for (uint32_t j = 0; j < s->scan->n_carried; j++)
    if (j != k && s->next[j] == s->next[k]) return false;
  for (uint32_t j = i + 1; j < s->n_member; j++)
    if (reads_state(&s->member[j], k)) return false;
  for (uint32_t j = 0; j < s->n_store; j++)
    if (s->store[j].value == k) return false;
  return s->value[k].part.rank == s->value[s->next[k]].part.rank;
}

static sq_dim align_up(sq_dims *ds, sq_dim d) {
  sq_dim up = sq_dim_add(ds, d, sq_dim_const(ds, 63));
  sq_dim by = sq_dim_const(ds, 64);
  return sq_dim_mul(ds, sq_dim_floordiv(ds, up, by), by);
}

static sq_dim part_bytes(const sq_sweep *s, const sq_splan *p, uint32_t value) {
  sq_dims *ds = s->g->dims;
  const sq_sweep_value *v = &s->value[value];
  int64_t bytes = sq_dtype_table[v->part.dtype].bytes;
  sq_dim n = sq_dim_const(ds, bytes == 2 ? 4 : bytes);
  for (uint32_t a = 0; a < v->part.rank; a++)
    n = sq_dim_mul(ds, n, sq_dim_storage(ds, v->part.dim[a]));
  for (uint32_t a = 0; a < v->rank; a++)
    if (v->cls[a] == p->va) n = sq_dim_mul(ds, n, sq_dim_const(ds, p->w));
  return align_up(ds, n);
}

static void place_values(const sq_sweep *s, sq_splan *p, sq_arena *a) {
  sq_dims *ds = s->g->dims;
  p->place = SQ_ARRAY(a, sq_dim, s->n_value + 1);
  p->in_place = SQ_ARRAY(a, bool, s->scan->n_carried + 1);
  p->scratch = sq_dim_const(ds, 0);
  for (uint32_t k = 0; k < s->scan->n_carried; k++) p->in_place[k] = made_in_place(s, k);
  for (uint32_t v = 0; v < s->n_value; v++) {
    p->place[v] = p->scratch;
    bool own = true;
    for (uint32_t k = 0; k < s->scan->n_carried && v >= s->scan->n_carried; k++)
      if (p->in_place[k] && s->next[k] == v) {
        p->place[v] = p->place[k];
        own = false;
      }
    if (own) p->scratch = sq_dim_add(ds, p->scratch, part_bytes(s, p, v));
  }
}

// ---- by rows -----------------------------------------------------------------------------------
// A row has the room of a vector, with the vector's lanes or without.
static sq_dim column_bytes(const sq_sweep *s, const sq_splan *p, uint32_t value) {
  sq_dims *ds = s->g->dims;
  const sq_type *part = &s->value[value].part;
  int64_t bytes = sq_dtype_table[part->dtype].bytes;
  sq_dim n = sq_dim_const(ds, (bytes == 2 ? 4 : bytes) * p->w);
  for (uint32_t a = 0; a < part->rank; a++) n = sq_dim_mul(ds, n, sq_dim_storage(ds, part->dim[a]));
  return align_up(ds, n);
}

// Groups of `sets` blocks in a unit, which take stretches of turns one after another: the lanes of a unit lie
// side by side in memory, so that what one group reads a line of, the next one finds in the second-level
// cache, with what the processor fetched unasked. As many as leave each core two units, and as fit there.
static void choose_groups(const sq_sweep *s, const sq_target *t, sq_splan *p, int64_t rows) {
  enum { STREAMS = 4, UNITS = 2 };
  sq_dims *ds = s->g->dims;
  int64_t v, units = 1, groups = 1, lanes = (int64_t)p->sets * p->w;
  for (uint32_t c = 0; c < s->n_class; c++)
    if (s->lane[c] && c != p->va) units *= const_size(s, c, &v) && v > 0 ? v : 4;
  int64_t all = const_size(s, p->va, &v) ? v / lanes : 16;
  int64_t bytes = lanes * 4 * (SQ_SWEEP_STRETCH * STREAMS + rows);
  while (units * (all / (groups + 1)) >= UNITS * (int64_t)t->machine.cores &&
         (groups + 1) * bytes <= t->machine.l2_bytes / 2)
    groups++;
  p->chunk = (uint32_t)groups * p->sets;
  p->slot = p->scratch;
  // Blocks behind the last whole group have a place each.
  if (groups > 1) p->scratch = sq_dim_mul(ds, p->slot, sq_dim_const(ds, groups + p->sets));
}

// Blocks side by side share what they read of other memory, as long as their states are near, and the
// constants of powers and what each block adds up stay in registers.
static void choose_sets(sq_sweep *s, const sq_target *t, sq_splan *p, sq_arena *a) {
  int64_t v, rows = 0, columns = 0;
  sq_dim height = {0};
  for (uint32_t k = 0; k < s->n_value; k++) {
    const sq_type *part = &s->value[k].part;
    if (part->rank) height = part->dim[0];
    columns += part->rank && k < s->scan->n_carried;
  }
  sq_sfixed_find(s, p->va, p->fixed);
  uint32_t powers = 0, most = SQ_SWEEP_SETS;
  for (uint32_t i = 0; i < s->n_member; i++) columns += p->fixed[i].n;
  for (uint32_t i = 0; i < s->n_member; i++) powers += p->fixed[i].n_power;
  if (powers && t->machine.vector_registers < 32) most = 2;
  if (height.i) rows = columns * (sq_dim_is_const(s->g->dims, height, &v) ? v : 64);
  int64_t blocks = const_size(s, p->va, &v) ? v / p->w : SQ_SWEEP_SETS;
  uint32_t parts = 1;
  for (uint32_t i = 0; i < s->n_member; i++) parts += s->member[i].n->g->n_red ? SQ_K_PARTS : 0;
  p->sets = 1;
  while (2 * p->sets <= most && 2 * p->sets <= blocks &&
         2 * p->sets * rows * p->w * 4 <= sq_machine_near(&t->machine) &&
         2 * p->sets * parts <= SQ_K_CARRIED)
    p->sets *= 2;
  p->place = SQ_ARRAY(a, sq_dim, s->n_value + 1);
  p->scratch = sq_dim_const(s->g->dims, 0);
  for (uint32_t k = 0; k < s->scan->n_carried; k++) {
    p->place[k] = p->scratch;
    sq_dim all = sq_dim_mul(s->g->dims, column_bytes(s, p, k), sq_dim_const(s->g->dims, p->sets));
    p->scratch = sq_dim_add(s->g->dims, p->scratch, all);
  }
  sq_sfixed_place(s, p, height);
  choose_groups(s, t, p, rows);
}

// A place that is tested, or not an index, is left to the code for whole nests.
static bool plain_places(const sq_sweep *s) {
  for (uint32_t i = 0; i < s->n_member; i++)
    if (!sq_sweep_places_known(&s->member[i])) return false;
  return true;
}

static bool has_powers(const sq_sweep *s, const sq_splan *p) {
  for (uint32_t i = 0; p->fixed && i < s->n_member; i++)
    if (p->fixed[i].n_power) return true;
  return false;
}

sq_splan sq_splan_make(sq_sweep *s, const sq_target *t, sq_arena *a) {
  sq_splan p = {0};
  if (sq_schunk_plan(s, t, &p, a)) return p;
  if (!s->prefix && !s->newton && !s->dense) p.fixed = sq_sfixed_powers(s, a);
  p.registers = sq_sweep_unrolls(s);
  // Newton's method is mostly functions of lanes that do not wait for each other.
  if (p.registers && s->prefix) p.turns = sq_prefix_turns(s, &t->machine);
  if (p.registers && s->newton) p.turns = sq_machine_lanes(&t->machine, sq_sweep_bytes(s));
  if (p.registers && s->dense) p.turns = sq_dense_turns(s, &t->machine);
  choose_lanes(s, t, &p);
  // States that leave no registers for the work on them are as well in the first-level cache. Powers want
  // constants and a factor for each state besides, and go the short way by rows alone.
  uint32_t held = 2 * carried_elements(s) + (has_powers(s, &p) ? 1 : 0);
  if (!p.turns && p.va != SQ_SWEEP_NONE && held > t->machine.vector_registers && sq_srows_fit(s, a))
    p.registers = false;
  p.rows = !p.registers && p.va != SQ_SWEEP_NONE && sq_srows_fit(s, a);
  if (!p.registers && !p.rows && !plain_places(s)) {
    p.va = SQ_SWEEP_NONE;
    p.w = 1;
  }
  choose_blocks(s, t, &p);
  if (p.registers)
    place_states(s, &p, a);
  else if (p.rows)
    choose_sets(s, t, &p, a);
  else
    place_values(s, &p, a);
  if (p.turns && s->prefix) { // behind all that asks for costs
    p.sections = SQ_NEW(a, sq_sections);
    *p.sections = sq_sections_make(s, &t->machine);
  }
  return p;
}
