// Two scans that do not depend on each other become one: its turns are the turns of both.
//
//   %y = sweep { %h, %e = scan extent N carried 1 (%h0) { ... } yield %e }
//   %z = sweep { %g, %f = scan extent N carried 1 (%g0) { ... } yield %f }
// becomes
//   %y, %z = sweep { %h, %g, %e, %f = scan extent N carried 2 (%h0, %g0) { ... } yield %e, %f }
//
// What both read is read once, what both compute of it is computed once, and what follows both goes along.
// Where a lane's states are few, each turn waits for the one before, and the other scan's work fills the time.
// It must not lose: turns of both go in the same way, over the same lanes, alone and together, and fit where
// they fitted. The joined sweep is made of copies first and asked; nothing is changed where it is refused.
// It stands where the second one stood, and what lies between and reads the first one goes behind it.
#include "ir/sweep_prefix.h"
#include "ir/sweep_team.h"
#include "ir/sweep_tiles.h"
#include "passes/sweep_inner.h"

enum {
  WAITING = 2,     // vectors of lanes whose turns leave a processor idle
  THREADS = 4096,  // the same of a device's threads
  LIGHT = 16,      // cycles of a turn of a vector that hide behind what is read
  NEAR = 16 << 10, // bytes that turns may read again and again
};

typedef struct pair {
  sq_sweeper *w;
  sq_node *a, *b; // a stands first
  sq_node *both;
  const sq_sweep *of_a, *of_b, *of_both;
  SQ_VEC(sq_node *) between; // what uses a
  uint32_t shared;           // reads of a turn that both have
} pair;

static sq_node *scan_of(const sq_node *n) { // of a sweep, or of a scan that is none
  const sq_block *b = n->region[0];
  if (n->op == SQ_OP_SCAN) return (sq_node *)(uintptr_t)n;
  uint32_t k = 0;
  while (b->nodes.v[k]->op != SQ_OP_SCAN) k++;
  return b->nodes.v[k];
}

// ---- may they be one? --------------------------------------------------------------------------
static bool uses(const sq_node *n, const bool *made) {
  for (uint32_t k = 0; k < n->n_in; k++)
    if (made[n->in[k]->id]) return true;
  for (uint32_t r = 0; r < n->n_region; r++)
    for (uint32_t k = 0; k < n->region[r]->nodes.n; k++)
      if (uses(n->region[r]->nodes.v[k], made)) return true;
  return false;
}

static void note_results(const sq_node *n, bool *made) {
  for (uint32_t k = 0; k < n->n_out; k++) made[n->out[k]->id] = true;
}

static uint32_t place_of(const sq_node *n) {
  uint32_t at = 0;
  while (n->block->nodes.v[at] != n) at++;
  return at;
}

// Does the second scan depend on the first, or what follows it on what is made of that? Work that follows both
// may stand in the second one. Finds what lies between and depends on the first.
static bool depends(pair *p) {
  const sq_block *b = p->a->block;
  bool *made = SQ_ARRAY(p->w->g->arena, bool, p->w->g->n_values + 1);
  note_results(p->a, made);
  uint32_t at = place_of(p->a) + 1;
  for (; b->nodes.v[at] != p->b; at++) {
    sq_node *n = b->nodes.v[at];
    if (!uses(n, made)) continue;
    note_results(n, made);
    sq_push(p->w->g->arena, &p->between, n);
  }
  if (uses(scan_of(p->b), made)) return true;
  for (uint32_t k = 0; k < p->a->n_out; k++) made[p->a->out[k]->id] = false;
  return uses(p->b, made);
}

// Can the first one, and what uses it, go behind what lies between?
static const char *stuck(const pair *p) {
  const sq_block *b = p->a->block;
  const char *why = "a write stands between them";
  bool effect = false;
  for (uint32_t at = place_of(p->a) + 1; b->nodes.v[at] != p->b; at++)
    effect |= sq_node_has_effect(b->nodes.v[at]);
  if (effect && sq_node_may_fail(p->a)) return why;
  if (!sq_node_can_sink(p->a, p->b)) return why;
  for (uint32_t k = 0; k < p->between.n; k++) {
    sq_node *n = p->between.v[k];
    if (sq_node_has_effect(n) || (effect && sq_node_may_fail(n)) || !sq_node_can_sink(n, p->b))
      return why;
  }
  return NULL;
}

// ---- both as one, of copies --------------------------------------------------------------------
static sq_value *copy_of(sq_value *const *map, sq_value *v) { return map[v->id] ? map[v->id] : v; }

// Values of the two in a row: what is carried of the first and the second, then what is emitted.
typedef SQ_VEC(sq_value *) values;
static void in_order(sq_arena *a, values *all, sq_value **of_a, uint32_t a_carried, uint32_t n_a,
                     sq_value **of_b, uint32_t b_carried, uint32_t n_b) {
  for (uint32_t k = 0; k < a_carried; k++) sq_push(a, all, of_a[k]);
  for (uint32_t k = 0; k < b_carried; k++) sq_push(a, all, of_b[k]);
  for (uint32_t k = a_carried; k < n_a; k++) sq_push(a, all, of_a[k]);
  for (uint32_t k = b_carried; k < n_b; k++) sq_push(a, all, of_b[k]);
}

static void copy_body(const pair *p, const sq_node *scan, sq_block *to, uint32_t first,
                      sq_value **map) {
  const sq_block *b = scan->region[0];
  map[b->args.v[0]->id] = to->args.v[0];
  for (uint32_t k = 0; k < scan->n_carried; k++)
    map[b->args.v[1 + k]->id] = to->args.v[1 + first + k];
  for (uint32_t k = 0; k + 1 < b->nodes.n; k++)
    sq_node_clone(p->w->g, b->nodes.v[k], to, map, NULL, 0);
}

static void join_scans(const pair *p, sq_block *to, sq_value **map) {
  sq_graph *g = p->w->g;
  sq_node *a = scan_of(p->a), *b = scan_of(p->b);
  uint32_t n_a = a->n_carried, n_b = b->n_carried;
  const sq_node *end_a = sq_block_end(a->region[0]), *end_b = sq_block_end(b->region[0]);
  values in = {0}, out = {0}, yield = {0};
  in_order(g->arena, &in, a->in, n_a, n_a, b->in, n_b, n_b);
  in_order(g->arena, &out, a->out, n_a, a->n_out, b->out, n_b, b->n_out);
  in_order(g->arena, &yield, end_a->in, n_a, a->n_out, end_b->in, n_b, b->n_out);
  sq_node *scan = sq_node_new(g, to, SQ_OP_SCAN, a->span, in.n, in.v);
  scan->extent = a->extent;
  scan->flag = a->flag | b->flag;
  scan->n_carried = n_a + n_b;
  sq_block *body = sq_node_region(g, scan, p->w->f);
  const sq_value *t = a->region[0]->args.v[0];
  sq_block_arg(body, t->type, t->name);
  for (uint32_t k = 0; k < n_a + n_b; k++) {
    const sq_value *v = k < n_a ? a->region[0]->args.v[1 + k] : b->region[0]->args.v[1 + k - n_a];
    sq_block_arg(body, v->type, v->name);
  }
  copy_body(p, a, body, 0, map);
  copy_body(p, b, body, n_a, map);
  for (uint32_t k = 0; k < yield.n; k++) yield.v[k] = copy_of(map, yield.v[k]);
  sq_node_new(g, body, SQ_OP_YIELD, scan->span, yield.n, yield.v);
  for (uint32_t k = 0; k < out.n; k++)
    map[out.v[k]->id] = sq_node_result(g, scan, out.v[k]->type, out.v[k]->name);
}

static void make_both(pair *p) {
  sq_graph *g = p->w->g;
  sq_value **map = SQ_ARRAY(g->arena, sq_value *, g->n_values + 1);
  sq_node *n = p->both = sq_node_new(g, NULL, SQ_OP_SWEEP, p->a->span, 0, NULL);
  n->flag = p->a->flag;
  sq_block *to = sq_node_region(g, n, p->w->f);
  join_scans(p, to, map);
  values all = {0};
  for (int second = 0; second < 2; second++) {
    const sq_node *from = second ? p->b : p->a;
    const sq_block *b = from->region[0];
    for (uint32_t k = 0; k + 1 < b->nodes.n; k++)
      if (b->nodes.v[k]->op != SQ_OP_SCAN) sq_node_clone(g, b->nodes.v[k], to, map, NULL, 0);
    for (uint32_t k = 0; k < from->n_out; k++) {
      sq_push(g->arena, &all, copy_of(map, sq_block_end(b)->in[k]));
      sq_node_result(g, n, from->out[k]->type, from->out[k]->name);
    }
    for (uint32_t k = 0; k < from->n_out; k++)
      map[from->out[k]->id] = all.v[all.n - from->n_out + k];
  }
  sq_node_new(g, to, SQ_OP_YIELD, n->span, all.n, all.v);
}

// ---- what they have in common ------------------------------------------------------------------
static bool same(const sq_sweep_nest *x, uint32_t i, const sq_sweep_nest *y, uint32_t j) {
  if (i == SQ_NO_SCALAR || j == SQ_NO_SCALAR) return i == j;
  const sq_scalar *a = &x->n->g->s.v[i], *b = &y->n->g->s.v[j];
  if (a->kind != b->kind || a->dtype != b->dtype) return false;
  switch ((int)a->kind) {
  case SQ_SC_READ:
    if (x->inner[a->operand] != SQ_SWEEP_NONE || y->inner[b->operand] != SQ_SWEEP_NONE ||
        x->n->in[a->operand] != y->n->in[b->operand])
      return false;
    for (uint32_t k = 0; k < a->n_pos; k++)
      if (!same(x, a->pos[k], y, b->pos[k])) return false;
    return same(x, a->guard, y, b->guard) && same(x, a->other, y, b->other);
  case SQ_SC_INDEX:
    return x->cls[a->axis] == y->cls[b->axis];
  case SQ_SC_EWISE:
    return a->ew == b->ew && same(x, a->a[0], y, b->a[0]) &&
           (sq_ewise_table[a->ew].arity < 2 || same(x, a->a[1], y, b->a[1]));
  case SQ_SC_SELECT:
    return same(x, a->a[0], y, b->a[0]) && same(x, a->a[1], y, b->a[1]) &&
           same(x, a->a[2], y, b->a[2]);
  case SQ_SC_CAST:
    return same(x, a->a[0], y, b->a[0]);
  case SQ_SC_ACC:
    return false;
  default:
    return a->f == b->f && a->i == b->i && sq_dim_same(a->dim, b->dim);
  }
}

// Members of the first scan stand first, those of the second behind them.
static uint32_t members_of(const sq_node *sweep) { return scan_of(sweep)->region[0]->nodes.n - 1; }

static bool is_made_by_first(const pair *p, const sq_sweep_nest *y, uint32_t j) {
  for (uint32_t i = 0; i < members_of(p->a); i++) {
    const sq_sweep_nest *x = &p->of_both->member[i];
    for (uint32_t k = 0; k < x->n->g->s.n; k++)
      if (same(x, k, y, j)) return true;
  }
  return false;
}

static bool is_of_turn(const pair *p, const sq_sweep_nest *x, const sq_scalar *read) {
  for (uint32_t k = 0; k < read->n_pos; k++) {
    sq_affine f = sq_scalar_affine(p->w->g, x->n->g, read->pos[k]);
    if (f.ok && f.coef[x->time]) return true;
  }
  return false;
}

// Cycles of a turn of a vector that are spent once; counts what is read once.
static double in_common(pair *p) {
  const sq_sweep *s = p->of_both;
  uint32_t first = members_of(p->a), end = first + members_of(p->b);
  double cycles = 0;
  for (uint32_t m = first; m < end; m++) {
    const sq_sweep_nest *y = &s->member[m];
    for (uint32_t j = 0; j < y->n->g->s.n; j++) {
      const sq_scalar *v = &y->n->g->s.v[j];
      bool read = v->kind == SQ_SC_READ && y->inner[v->operand] == SQ_SWEEP_NONE;
      if (!(read || v->kind == SQ_SC_EWISE) || !is_made_by_first(p, y, j)) continue;
      p->shared += read && is_of_turn(p, y, v);
      cycles += read ? 1 : sq_is_float(v->dtype) ? sq_ewise_cycles(v->ew) : 0;
    }
  }
  return 0.5 * cycles;
}

// ---- is it worth it, and does it not lose? -----------------------------------------------------
static bool same_lanes(const sq_sweep *s, const sq_sweep *t) {
  bool *met = SQ_ARRAY(s->g->arena, bool, t->n_class + 1);
  uint32_t left = 0;
  for (uint32_t c = 0; c < t->n_class; c++) left += t->lane[c];
  for (uint32_t c = 0; c < s->n_class; c++) {
    if (!s->lane[c]) continue;
    uint32_t d = 0;
    while (d < t->n_class && (met[d] || !t->lane[d] || !sq_dim_same(s->size[c], t->size[d]))) d++;
    if (d == t->n_class) return false;
    met[d] = true;
    left--;
  }
  return !left;
}

// Lanes, or where `vectors` is not 0 vectors of so many; 0: not known.
static double lanes_of(const sq_sweep *s, uint32_t width) {
  double lanes = 1, widest = 1;
  for (uint32_t c = 0; c < s->n_class; c++) {
    int64_t v;
    if (!s->lane[c]) continue;
    if (!sq_dim_is_const(s->g->dims, s->size[c], &v)) return 0;
    lanes *= (double)v;
    if ((double)v > widest) widest = (double)v;
  }
  return lanes / widest * (double)(((int64_t)widest + width - 1) / width);
}

static bool has_lanes(const sq_sweep *s) { return lanes_of(s, 1) != 1; }

static uint32_t carried(const sq_sweep *s) {
  uint32_t n = 0;
  for (uint32_t k = 0; k < s->scan->n_carried; k++) n += sq_sweep_elements(s, k);
  return n;
}

// Bytes that every turn reads in sums over what is carried, about.
static double summed(const sq_sweep *s) {
  double bytes = 0;
  for (uint32_t m = 0; m < s->n_member; m++) {
    const sq_sweep_nest *x = &s->member[m];
    double terms = 4;
    for (uint32_t a = 0; a < x->n->g->n_par + x->n->g->n_red; a++) {
      int64_t v;
      if (x->cls[a] == SQ_SWEEP_NONE || s->lane[x->cls[a]]) continue;
      terms *= sq_dim_is_const(s->g->dims, s->size[x->cls[a]], &v) ? (double)v : NEAR;
    }
    if (x->n->g->n_red) bytes += terms;
  }
  return bytes;
}

static const char *unfit_device(const pair *p) {
  if (p->both->flag & 1) {
    sq_prefix f = sq_prefix_make(sq_sweep_make(p->w->g, p->both));
    return f.why                         ? f.why
           : f.solved > SQ_PREFIX_SOLVED ? "their maps together do not fit a block of threads"
                                         : NULL;
  }
  sq_sweep_team a = sq_sweep_team_make(p->of_a), b = sq_sweep_team_make(p->of_b);
  sq_sweep_team both = sq_sweep_team_make(p->of_both);
  if (a.why || b.why) return "a turn of one of them is no kernel";
  if (both.why || both.threads != a.threads || both.threads != b.threads)
    return "together they do not fit the registers of the same threads";
  return NULL;
}

// What would be done otherwise together, and perhaps worse.
static const char *unfit(const pair *p) {
  const sq_sweep *s = p->of_both;
  if (s->why) return s->why;
  if (!same_lanes(p->of_a, p->of_b) || !same_lanes(p->of_a, s)) return "their lanes differ";
  if (p->w->o->device) return unfit_device(p);
  bool alone = sq_sweep_unrolls(p->of_a), all = sq_sweep_unrolls(s);
  uint32_t registers = sq_sweeper_vector_bytes(p->w) < 64 ? 16 : 32;
  if (alone != sq_sweep_unrolls(p->of_b) || alone != all || (!all && has_lanes(s)) ||
      (has_lanes(s) && 2 * carried(s) > registers))
    return "their states together do not fit the registers";
  if (p->both->flag & 1) return sq_prefix_make(sq_sweep_make(p->w->g, p->both)).why;
  if (summed(s) > NEAR) return "what turns of both sum would not stay near";
  return NULL;
}

// Is there elementwise work that reads both at the same places, or what the first one gives in the second?
static bool is_followed(const pair *p) {
  const sq_block *b = p->b->block;
  bool *made = SQ_ARRAY(p->w->g->arena, bool, p->w->g->n_values + 1);
  note_results(p->a, made);
  if (uses(p->b, made)) return true;
  for (uint32_t at = place_of(p->b) + 1; at < b->nodes.n; at++) {
    const sq_node *n = b->nodes.v[at];
    if (!sq_node_is_elementwise(n)) continue;
    const sq_scalar *of_a = NULL, *of_b = NULL;
    for (uint32_t j = 0; j < n->g->s.n; j++) {
      const sq_scalar *r = &n->g->s.v[j];
      if (r->kind != SQ_SC_READ || r->n_pos == 0) continue;
      if (n->in[r->operand]->def == p->a) of_a = r;
      if (n->in[r->operand]->def == p->b) of_b = r;
    }
    bool alike = of_a && of_b && of_a->n_pos == of_b->n_pos;
    for (uint32_t k = 0; alike && k < of_a->n_pos; k++) {
      const sq_scalar *x = &n->g->s.v[of_a->pos[k]], *y = &n->g->s.v[of_b->pos[k]];
      alike = x->kind == SQ_SC_INDEX && y->kind == SQ_SC_INDEX && x->axis == y->axis;
    }
    if (alike) return true;
  }
  return false;
}

// What is gained, in words, or NULL and why nothing is.
static const char *gain(pair *p, const char **why) {
  const sq_sweep *s = p->of_both;
  bool device = p->w->o->device, maps = p->both->flag & 1;
  double few = lanes_of(s, device ? 1 : sq_sweeper_vector_bytes(p->w) / 4);
  double common = in_common(p), cost = 0.5 * sq_sweep_cost(s);
  if (is_followed(p)) return "what follows reads both";
  if (!maps && few > 0 && few <= (device ? THREADS : WAITING))
    return "a turn of so few lanes waits for the one before";
  if (p->shared && (maps || device || cost - common <= LIGHT))
    return sq_arena_fmt(p->w->g->arena, "%u of what turns read %s the same", p->shared,
                        p->shared == 1 ? "is" : "are");
  *why = p->shared ? "turns of either have work for all that they wait for"
                   : "turns of both read nothing in common";
  return NULL;
}

// ---- the step ----------------------------------------------------------------------------------
static void refuse(const pair *p, const char *why) {
  const sq_node *a = scan_of(p->a), *b = scan_of(p->b);
  sq_text t = {.arena = p->w->g->arena};
  sq_say_place(p->w->g, a->span, b->span, " at ", &t, "");
  sq_remark_add(p->w->g->ctx, "sweep", false, b->span, sq_pass_entry(p->w->f),
                "apart from the scan%s: %s", t.n ? t.v : "", why);
  p->w->g->ctx->remarks.v[p->w->g->ctx->remarks.n - 1].obstacle = a->span;
}

static const char *other_ways(const pair *p) {
  const sq_node *a = p->a, *b = p->b;
  if ((scan_of(a)->flag ^ scan_of(b)->flag) & 1) return "one of them goes backwards";
  if (a->flag != b->flag || !a->extent.i != !b->extent.i) return "their turns go in different ways";
  if (a->extent.i) return "a block of turns has the caches for itself";
  if (a->flag & 4) return "maps of several states together have the registers for themselves";
  return a->flag & 2 ? "each has its own number of iterations" : NULL;
}

static void replace(pair *p) {
  sq_sweeper *w = p->w;
  sq_node_insert_before(p->b, p->both);
  for (uint32_t k = 0; k < p->between.n; k++) {
    sq_node_remove(p->between.v[k]);
    sq_node_insert_before(p->b, p->between.v[k]);
  }
  for (uint32_t k = 0; k < p->both->n_out; k++) {
    bool first = k < p->a->n_out;
    sq_replace_uses(w->f, first ? p->a->out[k] : p->b->out[k - p->a->n_out], p->both->out[k]);
  }
  sq_node_remove(p->a);
  sq_node_remove(p->b);
  w->sweep = p->both;
  sq_sweeper_drop_unused(w);
  while (sq_sweeper_take_follower(w))
    ;
}

static bool has_product(sq_graph *g, const sq_node *scan) {
  const sq_block *b = scan->region[0];
  for (uint32_t k = 0; k < b->nodes.n; k++)
    if (sq_is_product(g, b->nodes.v[k])) return true;
  return false;
}

// Of scans that are no sweeps: says why they stay apart, where each has a product in its turns.
static void tell(sq_sweeper *w, sq_node *a, sq_node *b) {
  pair p = {.w = w, .a = a, .b = b};
  if (sq_dim_same(a->extent, b->extent) && has_product(w->g, a) && has_product(w->g, b) &&
      !depends(&p))
    refuse(&p, "in the turns of each is a matrix product with a kernel of its own, which all "
               "threads share");
}

static sq_node *try_pair(sq_sweeper *w, sq_node *a, sq_node *b) {
  pair p = {.w = w, .a = a, .b = b};
  const sq_node *first = scan_of(a), *second = scan_of(b);
  if (!sq_dim_same(first->extent, second->extent) || depends(&p)) return NULL;
  const char *why = other_ways(&p), *what = NULL;
  if (!why) why = stuck(&p);
  if (!why) {
    make_both(&p);
    p.of_a = sq_sweep_make(w->g, a);
    p.of_b = sq_sweep_make(w->g, b);
    p.of_both = sq_sweep_make(w->g, p.both);
    why = unfit(&p);
  }
  if (!why) what = gain(&p, &why);
  if (!what) {
    refuse(&p, why);
    return NULL;
  }
  sq_text t = {.arena = w->g->arena};
  sq_say_place(w->g, second->span, first->span, " at ", &t, "");
  replace(&p);
  sq_remark_add(w->g->ctx, "sweep", true, first->span, sq_pass_entry(w->f),
                "one loop with the scan%s: %s", t.n ? t.v : "", what);
  return p.both;
}

void sq_sweeper_join(sq_sweeper *w, sq_block *b) {
  for (uint32_t k = 0; k < b->nodes.n; k++) {
    sq_node *second = b->nodes.v[k];
    for (uint32_t j = 0; second->op == SQ_OP_SCAN && j < k; j++)
      if (b->nodes.v[j]->op == SQ_OP_SCAN) tell(w, b->nodes.v[j], second);
    if (second->op != SQ_OP_SWEEP) continue;
    for (uint32_t j = 0; j < place_of(second); j++) {
      sq_node *first = b->nodes.v[j];
      sq_node *both = first->op == SQ_OP_SWEEP ? try_pair(w, first, second) : NULL;
      if (!both) continue;
      second = both;
      j--; // what stood behind the first one
    }
    k = place_of(second);
  }
}
