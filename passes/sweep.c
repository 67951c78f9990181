// sweep: a scan becomes one kernel, with the elementwise work on what it emits.
//
//   %h, %e = scan extent N carried 1 (%h0) { (%t, %a) ... yield %b, %o }
//   %y = generic (%e, %z) [c < 8, t < N] { %e[t, c] * %z[t, c] }
// becomes
//   %h, %y = sweep {
//     %1, %2 = scan extent N carried 1 (%h0) { (%t, %a) ... yield %b, %o }
//     %3 = generic (%2, %z) [c < 8, t < N] { %2[t, c] * %z[t, c] }
//     yield %1, %3 }
//
// Nothing is launched per turn then, what is carried stays near the processor, and what is emitted
// for a single elementwise use is never stored; so it is with sums over what is emitted, where that is larger
// than all that turns read. The body must be loop nests (ir/sweep.h says which).
// Where a turn is worth more than one core, or is a matrix product with a kernel of its own, it
// stays as it is.
//
// Where lanes are too few to fill vectors, and the maps of turns can be put together
// (ir/sweep_prefix.h), it becomes a `sweep prefix`: vectors of turns instead of lanes; where states read each
// other linearly (ir/sweep_dense.h), a `sweep dense`. Where what is
// carried is a matrix that each turn adds products of two vectors to, and that is read by sums, it
// becomes a `sweep chunk 32`: blocks of turns as matrix products (ir/sweep_chunk.h). Where a state goes
// through a function that is no line, and the source says `parallel`, or --parallel-rnn is given and it
// is the faster way, it becomes a `sweep newton` (ir/sweep_newton.h).
#include "ir/sweep_chunk.h"
#include "ir/sweep_cores.h"
#include "ir/sweep_newton.h"
#include "ir/sweep_sections.h"
#include "ir/sweep_team.h"
#include "passes/sweep_inner.h"

enum {
  PRODUCT = 4096,    // terms of a product, in a turn of a lane, that its own kernel is better at
  ONE_CORE = 400000, // operations of a turn that cannot be split into lanes
  FEW_TURNS = 4,     // vectors of turns: less is not worth it
};

typedef sq_sweeper sweeper;

// ---- is it worth it? ---------------------------------------------------------------------------
static double size_of(sq_graph *g, sq_dim d) {
  int64_t e;
  return sq_dim_is_const(g->dims, d, &e) ? (double)e : 64;
}

// Terms of member k in one turn of one lane.
static double terms_of(sq_graph *g, const sq_sweep *s, uint32_t k) {
  const sq_sweep_nest *x = &s->member[k];
  double terms = 1;
  for (uint32_t a = 0; a < x->n->g->n_par + x->n->g->n_red; a++)
    if (x->cls[a] != SQ_SWEEP_NONE && !s->lane[x->cls[a]]) terms *= size_of(g, s->size[x->cls[a]]);
  return terms;
}

static const char *unwanted(sq_graph *g, const sq_sweep *s, const sq_node **at) {
  const sq_block *b = s->scan->region[0];
  for (uint32_t k = 0; k + 1 < b->nodes.n; k++) // the first members are these nodes
    if (sq_is_product(g, b->nodes.v[k]) && terms_of(g, s, k) > PRODUCT) {
      *at = b->nodes.v[k];
      return "a matrix product in every turn has a kernel of its own";
    }
  bool lanes = false;
  for (uint32_t c = 0; c < s->n_class; c++) lanes |= s->lane[c] && size_of(g, s->size[c]) > 1;
  return !lanes && sq_sweep_cost(s) > ONE_CORE ? "a turn is worth more than one core" : NULL;
}

// ---- what the scan yields is its own -----------------------------------------------------------
// Made by an operation of the body, or carried on unchanged.
static bool made_inside(const sq_node *scan, uint32_t k, const sq_value *v) {
  const sq_block *b = scan->region[0];
  if (!v->def) return v->block == b && (k < scan->n_carried ? v->index == k + 1 : v->index > 0);
  return v->def->block == b && v->def->op == SQ_OP_GENERIC;
}

static void own_yields(sweeper *w, sq_node *scan) {
  sq_node *end = sq_block_end(scan->region[0]);
  for (uint32_t k = 0; k < end->n_in; k++)
    if (!made_inside(scan, k, end->in[k]))
      end->in[k] = sq_copy_before(w->g, end, end->in[k])->out[0];
}
// A scan that stays as it is makes no copies.
static void disown_yields(sq_node *scan, sq_value *const *old) {
  sq_node *end = sq_block_end(scan->region[0]);
  for (uint32_t k = 0; k < end->n_in; k++) {
    if (end->in[k] == old[k]) continue;
    sq_node_remove(end->in[k]->def);
    end->in[k] = old[k];
  }
}

// ---- wrapping ----------------------------------------------------------------------------------
// Moves n, in block order, to the end of the sweep's block, before its yield.
static void move_inside(sweeper *w, sq_node *n) {
  sq_block *b = w->sweep->region[0];
  sq_node_remove(n);
  if (sq_block_end(b))
    sq_node_insert_before(sq_block_end(b), n);
  else {
    n->block = b;
    sq_push(w->g->arena, &b->nodes, n);
  }
}

// A result of the sweep for what `inside` gives; uses outside are replaced.
static void give(sweeper *w, sq_value *inside) {
  sq_graph *g = w->g;
  sq_value *out = sq_node_result(g, w->sweep, inside->type, inside->name);
  sq_block *b = w->sweep->region[0];
  sq_replace_uses(w->f, inside, out);
  for (uint32_t k = 0; k < b->nodes.n; k++) // but not those inside
    for (uint32_t j = 0; j < b->nodes.v[k]->n_in; j++)
      if (b->nodes.v[k]->in[j] == out) b->nodes.v[k]->in[j] = inside;
  sq_node *end = sq_block_end(b);
  sq_value **in = SQ_ARRAY(g->arena, sq_value *, end->n_in + 1);
  if (end->n_in) memcpy(in, end->in, end->n_in * sizeof *in);
  in[end->n_in++] = inside;
  end->in = in;
}

static void wrap(sweeper *w, sq_node *scan, const uint32_t *uses) {
  sq_graph *g = w->g;
  w->sweep = sq_node_new(g, NULL, SQ_OP_SWEEP, scan->span, 0, NULL);
  sq_node_insert_before(scan, w->sweep);
  sq_node_region(g, w->sweep, w->f);
  move_inside(w, scan);
  sq_node_new(g, w->sweep->region[0], SQ_OP_YIELD, scan->span, 0, NULL);
  for (uint32_t k = 0; k < scan->n_out; k++)
    if (uses[scan->out[k]->id]) give(w, scan->out[k]);
}

// ---- what follows ------------------------------------------------------------------------------
typedef struct search {
  const sq_value *v;
  sq_node *user;
  uint32_t n;
} search;
static void find_user(sq_node *n, void *user) {
  search *s = user;
  bool uses = false;
  for (uint32_t k = 0; k < n->n_in; k++) uses |= n->in[k] == s->v;
  if (!uses) return;
  s->user = n;
  s->n++;
}

static bool defined_before(const sq_value *v, const sq_node *at) {
  const sq_block *b = at->block;
  sq_node *def = v->def ? sq_node_in_block(v->def, b) : NULL;
  if (!def) return true; // from further outside
  for (uint32_t k = 0; k < b->nodes.n; k++) {
    if (b->nodes.v[k] == at) return false;
    if (b->nodes.v[k] == def) return true;
  }
  return false;
}

static void find_param_write(sq_node *n, void *user) {
  if (n->op == SQ_OP_PARAM_WRITE) *(bool *)user = true;
}

// Parameters that n reads may stand before the sweep, if nothing writes to any.
static void raise_params(sweeper *w, const sq_node *n) {
  bool written = false;
  sq_walk(w->f->body, find_param_write, &written);
  for (uint32_t k = 0; k < n->n_in && !written; k++) {
    sq_node *def = n->in[k]->def;
    if (!def || def->op != SQ_OP_PARAM || def->n_in || def->block != w->sweep->block) continue;
    if (defined_before(n->in[k], w->sweep)) continue;
    sq_node_remove(def);
    sq_node_insert_before(w->sweep, def);
  }
}

static bool from_sweep(const sweeper *w, const sq_value *v) { return v->def == w->sweep; }

static bool is_turn_read(const sq_sweep_nest *x, const sq_scalar *r) {
  for (uint32_t i = 0; i < r->n_pos; i++) {
    const sq_scalar *p = &x->n->g->s.v[r->pos[i]];
    if (p->kind == SQ_SC_INDEX && p->axis == x->time) return true;
  }
  return false;
}

// Is what the scan emits larger than all that its turns read, as an outer product is? `rank`: its axes,
// the turn one of them.
static bool expands(const sweeper *w, uint32_t rank) {
  const sq_sweep *s = sq_sweep_make(w->g, w->sweep);
  for (uint32_t k = 0; k < s->n_member; k++) {
    const sq_sweep_nest *x = &s->member[k];
    for (uint32_t j = 0; j < x->n->g->s.n; j++) {
      const sq_scalar *r = &x->n->g->s.v[j];
      if (r->kind == SQ_SC_READ && x->inner[r->operand] == SQ_SWEEP_NONE && r->n_pos >= rank &&
          is_turn_read(x, r))
        return false;
    }
  }
  return !s->why;
}

// Sums over an axis of what the scan emits: they need not be stored, only summed, if that is smaller.
static bool is_read_out(const sweeper *w, const sq_node *n) {
  if (n->op != SQ_OP_GENERIC || !n->g->n_red || n->g->keyed || n->g->pos) return false;
  const sq_generic *k = n->g;
  for (uint32_t j = 0; j < k->s.n; j++) {
    const sq_scalar *r = &k->s.v[j];
    if (r->kind != SQ_SC_READ || !from_sweep(w, n->in[r->operand])) continue;
    uint32_t axes = 0;
    for (uint32_t i = 0; i < r->n_pos; i++)
      if (k->s.v[r->pos[i]].kind == SQ_SC_INDEX) axes |= 1u << k->s.v[r->pos[i]].axis;
    if (axes != (1u << (k->n_par + k->n_red)) - 1 || !expands(w, r->n_pos)) return false;
  }
  return true;
}

// May n, which stands below the sweep in its block, stand in it?
static bool may_follow(sweeper *w, const sq_node *n) {
  const sq_block *b = w->sweep->block;
  if (n->block != b || sq_node_may_fail(n)) return false;
  if (!sq_node_is_elementwise(n) && !is_read_out(w, n)) return false;
  raise_params(w, n);
  for (uint32_t k = 0; k < n->n_in; k++)
    if (!from_sweep(w, n->in[k]) && !defined_before(n->in[k], w->sweep)) return false;
  bool between = false;
  for (uint32_t k = 0; k < b->nodes.n && b->nodes.v[k] != n; k++) {
    if (between && sq_node_sized_inside(w->g, n, b->nodes.v[k])) return false;
    between |= b->nodes.v[k] == w->sweep;
  }
  return true;
}

static void drop_result(sweeper *w, uint32_t k) {
  sq_node *n = w->sweep, *end = sq_block_end(n->region[0]);
  for (uint32_t j = k; j + 1 < n->n_out; j++) {
    n->out[j] = n->out[j + 1];
    n->out[j]->index = j;
    end->in[j] = end->in[j + 1];
  }
  n->n_out--;
  end->n_in--;
}

static uint32_t count_lanes(const sq_sweep *s) {
  uint32_t lanes = 0;
  for (uint32_t c = 0; c < s->n_class; c++) lanes += s->lane[c];
  return lanes;
}

// Takes n into the sweep when that makes a sweep: the values that it alone used are results no more.
static bool take(sweeper *w, sq_node *n) {
  sq_block *home = w->sweep->block, *b = w->sweep->region[0];
  uint32_t at = 0, lanes = count_lanes(sq_sweep_make(w->g, w->sweep));
  while (home->nodes.v[at] != n) at++;
  sq_node *next = home->nodes.v[at + 1], *end = sq_block_end(b);
  sq_value **in = SQ_ARRAY(w->g->arena, sq_value *, n->n_in + 1), **old = n->in;
  for (uint32_t k = 0; k < n->n_in; k++)
    in[k] = from_sweep(w, old[k]) ? end->in[old[k]->index] : old[k];
  n->in = in;
  move_inside(w, n);
  const sq_sweep *s = sq_sweep_make(w->g, w->sweep);
  if (n->g->n_red && lanes) lanes = 1; // less is written
  bool mapless = !s->why && w->sweep->flag & 1 && sq_prefix_make(sq_sweep_make(w->g, w->sweep)).why;
  if (s->why || mapless || count_lanes(s) < lanes) {
    sq_node_remove(n);
    sq_node_insert_before(next, n);
    n->in = old;
    return false;
  }
  give(w, n->out[0]);
  return true;
}

void sq_sweeper_drop_unused(sq_sweeper *w) {
  for (uint32_t k = w->sweep->n_out; k-- > 0;) {
    search s = {.v = w->sweep->out[k]};
    sq_walk(w->f->body, find_user, &s);
    if (!s.n) drop_result(w, k);
  }
}

bool sq_sweeper_take_follower(sq_sweeper *w) {
  for (uint32_t k = 0; k < w->sweep->n_out; k++) {
    search s = {.v = w->sweep->out[k]};
    sq_walk(w->f->body, find_user, &s);
    if (s.n != 1 || !may_follow(w, s.user) || !take(w, s.user)) continue;
    sq_sweeper_drop_unused(w);
    return true;
  }
  return false;
}

// ", lanes over C x 8": what is done side by side.
static const char *say_lanes(sq_graph *g, const sq_sweep *s) {
  sq_text t = {.arena = g->arena};
  for (uint32_t c = 0; c < s->n_class; c++)
    if (s->lane[c])
      sq_text_add(&t, "%s%s", t.n ? " x " : ", lanes over ", sq_dim_text(g->dims, s->size[c]));
  return t.n ? t.v : "";
}

uint32_t sq_sweeper_vector_bytes(const sq_sweeper *w) {
  return w->o->machine.vector_bytes ? w->o->machine.vector_bytes : 32;
}

static sq_newton_cost newton_costs(const sweeper *w) {
  sq_sweep *s = sq_sweep_make(w->g, w->sweep);
  return w->o->device ? sq_newton_device_costs(s, SQ_NEWTON_ITERATIONS)
                      : sq_newton_costs(s, sq_sweeper_vector_bytes(w));
}

// Would Newton's method be the faster way?
static bool newton_gains(const sweeper *w) {
  if (w->o->sequential_scans) return false;
  sq_newton_cost c = newton_costs(w);
  return c.newton * SQ_SWEEPER_GAIN < c.turns;
}

// ---- turns by maps -----------------------------------------------------------------------------
bool sq_sweeper_long_enough(sq_graph *g, const sq_sweep *s, uint32_t bytes) {
  int64_t n;
  return !sq_dim_is_const(g->dims, s->extent, &n) || n * 4 >= FEW_TURNS * (int64_t)bytes;
}

// Has the source, or the command line, asked for what rounds otherwise?
static bool parallel_asked(const sweeper *w, const sq_node *scan) {
  return (scan->flag & 2 || w->o->parallel_rnn) && !w->o->sequential_scans;
}

sq_machine sq_sweeper_machine(const sq_sweeper *w) {
  sq_machine m = w->o->machine;
  m.vector_bytes = sq_sweeper_vector_bytes(w);
  sq_machine_complete(&m);
  return m;
}

// On how many cores.
static const char *say_sections(sweeper *w, const sq_machine *m) {
  sq_arena *a = w->g->arena;
  const sq_sections c = sq_sections_make(sq_sweep_make(w->g, w->sweep), m);
  if (m->cores < 2) return "";
  if (c.why) return sq_arena_fmt(a, "; on one core: %s", c.why);
  return sq_arena_fmt(a,
                      "; from %lld turns on in up to %u sections on %u cores, %.2f of the time, on "
                      "one %.2f",
                      2 * (long long)c.least, c.most + 1, c.most * c.lanes, c.together, c.alone);
}

// Marks the sweep where that is better; says so in what is returned, and why not in a remark. `linear`:
// maps of turns can be put together.
static const char *choose_prefix(sweeper *w, sq_node *scan, bool *linear) {
  sq_graph *g = w->g;
  sq_sweep *s = sq_sweep_make(g, w->sweep);
  uint32_t bytes = sq_sweeper_vector_bytes(w);
  sq_machine m = sq_sweeper_machine(w);
  sq_prefix f = sq_prefix_make(s);
  *linear = !f.why;
  const char *dense = f.why ? sq_sweeper_dense(w, &f) : "";
  if (*dense) return *linear = true, dense;
  if (f.why && parallel_asked(w, scan)) return "";
  if (f.why) f.solved = scan->n_carried; // what it would be
  sq_prefix_cost cost = sq_prefix_costs(s, &f, &m);
  if (f.large || cost.maps * SQ_SWEEPER_GAIN >= cost.turns || !sq_sweeper_long_enough(g, s, bytes))
    return "";
  const char *why = w->o->sequential_scans ? "--sequential-scans" : f.why;
  if (why) {
    sq_remark_add(g->ctx, "sweep", false, scan->span, sq_pass_entry(w->f),
                  "turns wait for each other: %s%s", why,
                  f.why && newton_gains(w) ? "; `parallel scan` allows Newton's method" : "");
    return "";
  }
  w->sweep->flag |= 1;
  return sq_arena_fmt(g->arena, ", vectors of turns by their maps (%.1f cycles a turn, not %.1f%s)",
                      cost.maps, cost.turns, say_sections(w, &m));
}

// ---- turns in blocks ---------------------------------------------------------------------------
// The sweep as one whose turns go in blocks, in which lanes are others than turn by turn.
static sq_sweep *as_blocks(sweeper *w, sq_chunk *c) {
  sq_graph *g = w->g;
  w->sweep->extent = sq_dim_const(g->dims, FEW_TURNS * 4);
  sq_sweep *s = sq_sweep_make(g, w->sweep);
  *c = s->why ? (sq_chunk){.why = s->why} : sq_chunk_make(s);
  w->sweep->extent = (sq_dim){0};
  return s;
}

// Says why a matrix goes turn by turn.
static const char *no_blocks(sweeper *w, const sq_node *scan, const sq_chunk *c, const char *why) {
  if (c->matrix)
    sq_remark_add(w->g->ctx, "sweep", false, scan->span, sq_pass_entry(w->f),
                  "a matrix turn by turn, not in blocks: %s", why);
  return "";
}

static const char *choose_chunk(sweeper *w, sq_node *scan) {
  sq_graph *g = w->g;
  if (w->sweep->flag & 5) return "";
  sq_chunk c;
  sq_sweep *s = as_blocks(w, &c);
  sq_chunk_cost cost = {0};
  int64_t n;
  if (!c.why) cost = sq_chunk_costs(&c, scan->n_carried, sq_sweeper_vector_bytes(w));
  if (!c.why && cost.blocks * SQ_SWEEPER_GAIN >= cost.turns)
    c.why =
        sq_arena_fmt(g->arena, "they gain too little (about %.0f cycles a turn, turn by turn %.0f)",
                     cost.blocks, cost.turns);
  if (!c.why && sq_dim_is_const(g->dims, s->extent, &n) && n < 2 * cost.length)
    c.why = "too few turns";
  if (!c.why && w->o->sequential_scans) c.why = "--sequential-scans";
  if (c.why) return no_blocks(w, scan, &c, c.why);
  w->sweep->extent = sq_dim_const(g->dims, cost.length);
  const char *guess = "";
  if (!c.rows || !c.columns)
    guess = sq_arena_fmt(g->arena, " where rows and columns are %d; turn by turn below %d elements",
                         SQ_CHUNK_GUESS, SQ_CHUNK_LEAST);
  return sq_arena_fmt(g->arena, ", in blocks of %u turns%s (%.0f cycles a turn, not %.0f%s)",
                      cost.length, c.n_solved ? ", solved for what they add" : "", cost.blocks,
                      cost.turns, guess);
}

// ---- turns as unknowns -------------------------------------------------------------------------
// Says why there is no Newton's method where it was asked for.
static const char *no_newton(sweeper *w, const sq_node *scan, sq_span at, const char *why) {
  sq_ctx *ctx = w->g->ctx;
  sq_remark_add(ctx, "sweep", false, scan->span, sq_pass_entry(w->f), "not by Newton's method: %s",
                why);
  ctx->remarks.v[ctx->remarks.n - 1].obstacle = at;
  return "";
}

static const char *choose_newton(sweeper *w, const sq_node *scan) {
  sq_graph *g = w->g;
  uint32_t bytes = sq_sweeper_vector_bytes(w);
  sq_sweep *s = sq_sweep_make(g, w->sweep);
  sq_newton f = sq_newton_make(s);
  const char *large = f.why || !w->o->device ? NULL : sq_newton_too_large(s, &f);
  if (f.why || large)
    return no_newton(w, scan, f.why ? f.where : scan->span, f.why ? f.why : large);
  if (!sq_sweeper_long_enough(g, s, 2 * bytes))
    return no_newton(w, scan, scan->span, "too few turns");
  sq_newton_cost cost = newton_costs(w);
  bool known = cost.turns > 0, better = cost.newton * SQ_SWEEPER_GAIN < cost.turns;
  const char *text = !known
                         ? ""
                         : sq_arena_fmt(g->arena, " (about %.0f cycles a turn, turn by turn %.0f)",
                                        cost.newton, cost.turns);
  if (!(scan->flag & 2) && !better)
    return no_newton(
        w, scan, scan->span,
        sq_arena_fmt(g->arena, "%s%s; `parallel scan` asks for it",
                     known ? "turn by turn is as fast" : "how many lanes there are is not known",
                     text));
  w->sweep->flag |= 2;
  const char *threads =
      !w->o->device ? "" : sq_arena_fmt(g->arena, ", %d threads each", SQ_NEWTON_THREADS);
  return sq_arena_fmt(g->arena, ", by Newton's method%s, %u unknown%s a turn%s%s", threads, f.n,
                      f.n == 1 ? "" : "s", text,
                      known && !better ? ": slower, as `parallel` asks" : "");
}

// ---- powers ------------------------------------------------------------------------------------
// Powers of which turns share a factor of the exponent; says why others are not.
static const char *find_powers(sweeper *w, const sq_node *scan) {
  sq_graph *g = w->g;
  sq_sweep *s = sq_sweep_make(g, w->sweep);
  sq_sweep_power power[SQ_SWEEP_POWERS];
  uint32_t n = 0;
  for (uint32_t k = 0; k < s->n_member; k++) {
    const char *why = sq_sweep_no_power(s, &s->member[k]);
    if (why)
      sq_remark_add(g->ctx, "sweep", false, scan->span, sq_pass_entry(w->f),
                    "a power for each row in each turn, in full: %s", why);
    n += sq_sweep_powers(s, &s->member[k], power);
  }
  return n ? sq_arena_fmt(g->arena,
                          ", the base of %u power%s 2: a factor of the exponent is made once", n,
                          n == 1 ? "" : "s")
           : "";
}

// ---- the pass ----------------------------------------------------------------------------------
static const char *join_reads(sweeper *w, sq_node *scan) {
  uint32_t n = sq_sweeper_join_reads(w, scan);
  if (!n) return "";
  return n == 1 ? ", a matrix of a turn made where it is read"
                : sq_arena_fmt(w->g->arena, ", %u matrices of a turn made where they are read", n);
}

// Blocks of turns as products of a block of threads, where states are large enough.
static const char *choose_tiles(sweeper *w, sq_node *scan) {
  sq_graph *g = w->g;
  sq_chunk c;
  sq_sweep *s = as_blocks(w, &c);
  sq_sweep_tiles p = {.why = c.why};
  int64_t n;
  if (!c.why) p = sq_sweep_tiles_best(&c, scan->n_carried);
  if (!p.why && sq_dim_is_const(g->dims, s->extent, &n) && n < 2 * p.length)
    p.why = "too few turns";
  if (!p.why && w->o->sequential_scans) p.why = "--sequential-scans";
  if (p.why) return no_blocks(w, scan, &c, p.why);
  w->sweep->extent = sq_dim_const(g->dims, p.length);
  const sq_sweep_cores t =
      sq_sweep_cores_make(s, &c, scan->n_carried, w->sweep->out, w->sweep->n_out);
  return sq_arena_fmt(g->arena,
                      ", in blocks of %u turns%s%s, a block of %d threads for each %u columns",
                      t.why ? p.length : t.length, t.why ? "" : " on tensor cores",
                      c.n_solved ? ", solved for what they add" : "", SQ_TILES_THREADS,
                      t.why ? p.columns : SQ_CORES_COLUMNS);
}

// Turns by their maps, a block of threads for each lane, where lanes are few: a thread for each would wait
// for memory and for itself in every turn.
static const char *choose_maps(sweeper *w, sq_node *scan, bool newton) {
  sq_graph *g = w->g;
  sq_sweep *s = sq_sweep_make(g, w->sweep);
  double lanes = 1;
  int64_t n;
  for (uint32_t c = 0; c < s->n_class; c++) {
    if (!s->lane[c]) continue;
    if (!sq_dim_is_const(g->dims, s->size[c], &n)) return "";
    lanes *= (double)n;
  }
  if (lanes > SQ_PREFIX_LANES || sq_prefix_tiles(s)) return "";
  if (sq_dim_is_const(g->dims, s->extent, &n) && n < SQ_PREFIX_THREADS / 2) return "";
  sq_prefix f = sq_prefix_make(s);
  if (f.large || f.solved > SQ_PREFIX_SOLVED) return "";
  const char *all = f.why ? sq_sweeper_dense(w, &f) : "";
  if (*all) return all;
  if (f.why && newton) return "";
  const char *why = w->o->sequential_scans ? "--sequential-scans" : f.why;
  if (why) {
    sq_remark_add(g->ctx, "sweep", false, scan->span, sq_pass_entry(w->f),
                  "turns wait for each other: %s%s", why,
                  f.why && newton_gains(w) ? "; `parallel scan` allows Newton's method" : "");
    return "";
  }
  w->sweep->flag |= 1;
  return sq_arena_fmt(g->arena, ", turns by their maps, %d threads each", SQ_PREFIX_THREADS);
}

// A block of threads takes turns in blocks, or their maps, or solves for a stretch of them; a team of
// threads takes them one by one, and all of a lane; unwrap undoes what fits none.
static void end_on_device(sweeper *w, sq_node *scan, uint32_t taken) {
  sq_graph *g = w->g;
  bool newton = parallel_asked(w, scan) && sq_prefix_make(sq_sweep_make(g, w->sweep)).why;
  const char *how = choose_tiles(w, scan);
  if (!*how) how = choose_maps(w, scan, newton);
  if (!*how && newton) how = choose_newton(w, scan);
  const char *made = *how ? "" : join_reads(w, scan);
  const sq_sweep *s = sq_sweep_make(g, w->sweep);
  sq_sweep_team t = sq_sweep_team_make(s);
  if (t.why && !*how) return;
  if (!*how)
    how =
        t.threads == 1 ? ", a thread each" : sq_arena_fmt(g->arena, ", %u threads each", t.threads);
  sq_remark_add(g->ctx, "sweep", true, scan->span, sq_pass_entry(w->f),
                "all turns in one kernel%s%s%s%s", taken ? ", with the work on what it emits" : "",
                say_lanes(g, s), how, made);
}

static void do_scan(sweeper *w, sq_node *scan) {
  sq_graph *g = w->g;
  const sq_node *end = sq_block_end(scan->region[0]);
  sq_value **old = SQ_ARRAY(g->arena, sq_value *, end->n_in + 1);
  if (end->n_in) memcpy(old, end->in, end->n_in * sizeof *old);
  own_yields(w, scan);
  sq_sweep *s = sq_sweep_make(g, scan);
  const sq_node *at = s->at;
  const char *why = s->why ? s->why : unwanted(g, s, &at);
  if (why) {
    disown_yields(scan, old);
    sq_pass_missed(g, w->f, "sweep", scan, NULL, at,
                   sq_arena_fmt(g->arena, "runs turn by turn: %s", why));
    if (parallel_asked(w, scan) && !s->why) {
      sq_newton f = sq_newton_make(s);
      if (f.why) no_newton(w, scan, f.where, f.why);
    }
    return;
  }
  wrap(w, scan, sq_count_uses(w->f, g->arena));
  uint32_t taken = 0;
  while (sq_sweeper_take_follower(w)) taken++;
  w->changed = true;
  bool linear;
  if (w->o->device) {
    end_on_device(w, scan, taken);
    return;
  }
  const char *maps = choose_prefix(w, scan, &linear), *blocks = choose_chunk(w, scan);
  if (!linear && !w->sweep->extent.i && parallel_asked(w, scan)) maps = choose_newton(w, scan);
  const char *made = w->sweep->flag || w->sweep->extent.i ? "" : join_reads(w, scan);
  const char *powers = w->sweep->flag || w->sweep->extent.i ? "" : find_powers(w, scan);
  const char *lanes = say_lanes(g, sq_sweep_make(g, w->sweep));
  sq_remark_add(g->ctx, "sweep", true, scan->span, sq_pass_entry(w->f),
                "all turns in one kernel%s%s%s%s%s%s",
                taken ? ", with the work on what it emits" : "", lanes, maps, blocks, made, powers);
}

static void do_block(sweeper *w, sq_block *b) {
  for (uint32_t k = 0; k < b->nodes.n; k++) {
    sq_node *n = b->nodes.v[k];
    if (sq_node_is_kernel(n)) continue;
    for (uint32_t r = 0; r < n->n_region; r++) do_block(w, n->region[r]);
    if (n->op == SQ_OP_SCAN) do_scan(w, n);
  }
  sq_sweeper_join(w, b);
}

bool sq_pass_sweep(sq_graph *g, const sq_pass_options *o) {
  sweeper w = {.g = g, .o = o};
  for (uint32_t k = 0; k < g->func.n; k++) {
    w.f = g->func.v[k];
    do_block(&w, w.f->body);
  }
  return w.changed;
}
