// The pass `sweep`, where states of a lane read each other linearly: vectors of turns, or threads of a device, by
// maps of all states together, where that is the better way.
#include "ir/sweep_dense.h"
#include "passes/sweep_inner.h"

static const char *refuse(sq_sweeper *w, sq_prefix *f, const char *why) {
  if (f->coupled)
    f->why = sq_arena_fmt(w->g->arena, "the next states wait for each other: %s", why);
  return "";
}

static const char *maps_of(sq_sweeper *w, const sq_dense *d) {
  if (d->f.n == 1) return "their maps";
  return sq_arena_fmt(w->g->arena, "maps of %u states together", d->f.n);
}

// Marks the sweep, unless it may not be or gains too little; text: what both ways cost.
static const char *mark(sq_sweeper *w, sq_prefix *f, const sq_dense *d, sq_newton_cost cost,
                        const char *text) {
  sq_arena *a = w->g->arena;
  const char *maps = maps_of(w, d), *threads = "";
  f->why = cost.newton * SQ_SWEEPER_GAIN >= cost.turns
               ? sq_arena_fmt(a, "%s gain too little (%s)", maps, text)
           : w->o->sequential_scans ? "--sequential-scans"
                                    : NULL;
  if (f->why) return "";
  w->sweep->flag |= 4;
  if (w->o->device) threads = sq_arena_fmt(a, ", %d threads each", SQ_NEWTON_THREADS);
  return sq_arena_fmt(a, ", %sturns by %s%s (%s)", w->o->device ? "" : "vectors of ", maps, threads,
                      text);
}

static sq_sweep *again(sq_sweeper *w) { return sq_sweep_make(w->g, w->sweep); }

const char *sq_sweeper_dense(sq_sweeper *w, sq_prefix *f) {
  sq_sweep *s = again(w);
  sq_dense d = sq_dense_make(s);
  if (d.why) return refuse(w, f, d.why);
  if (w->o->device) {
    sq_newton_cost cost = sq_newton_device_costs(again(w), 1);
    return mark(w, f, &d, cost,
                sq_arena_fmt(w->g->arena, "about %.0f cycles a turn, turn by turn %.0f",
                             cost.newton, cost.turns));
  }
  sq_machine m = sq_sweeper_machine(w);
  if (!sq_sweep_unrolls(s) || !sq_dense_turns(s, &m) ||
      !sq_sweeper_long_enough(w->g, s, 4 * m.vector_bytes))
    return "";
  sq_newton_cost cost = {.turns = sq_newton_costs(again(w), m.vector_bytes).turns,
                         .newton = sq_dense_cost(again(w), &m)};
  return mark(w, f, &d, cost,
              sq_arena_fmt(w->g->arena, "%.1f cycles a turn, not %.1f", cost.newton, cost.turns));
}
