// The pass `sweep`, how the turns of a sweep go: one by one, by their maps, in blocks, or as unknowns of Newton's
// method; on a device also what a block of threads is for. Each form is asked for its cost and marks the sweep
// where it is the better way; remarks say which it is, and why others are not.
#include "ir/sweep_chunk.h"
#include "ir/sweep_cores.h"
#include "ir/sweep_newton.h"
#include "ir/sweep_sections.h"
#include "ir/sweep_team.h"
#include "passes/sweep_inner.h"

enum { FEW_TURNS = 4 }; // vectors of turns: less is not worth it

typedef sq_sweeper sweeper;

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
  const char *to =
      c.up_to < INT64_MAX ? sq_arena_fmt(a, "to %lld turns", (long long)c.up_to) : "turns on";
  return sq_arena_fmt(a,
                      "; from %lld %s in up to %u sections on %u cores, %.2f of the time, on "
                      "one %.2f",
                      2 * (long long)c.least, to, c.most + 1, c.most * c.lanes, c.together,
                      c.alone);
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

// ---- on a device -------------------------------------------------------------------------------
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

// ---- all of them -------------------------------------------------------------------------------
static const char *join_reads(sweeper *w, sq_node *scan) {
  uint32_t n = sq_sweeper_join_reads(w, scan);
  if (!n) return "";
  return n == 1 ? ", a matrix of a turn made where it is read"
                : sq_arena_fmt(w->g->arena, ", %u matrices of a turn made where they are read", n);
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

void sq_sweeper_choose(sq_sweeper *w, sq_node *scan, uint32_t taken) {
  sq_graph *g = w->g;
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

void sq_sweeper_no_newton(sq_sweeper *w, const sq_node *scan, sq_sweep *s) {
  if (!parallel_asked(w, scan)) return;
  sq_newton f = sq_newton_make(s);
  if (f.why) no_newton(w, scan, f.where, f.why);
}
