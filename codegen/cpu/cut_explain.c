// How contractions and attention are cut, in words, and the time that is expected of them.
//
//   multiplications   tiles times steps of k: mr * nv at two a cycle, or the reading of mr + nv
//   reading           what is not in the first-level cache, at the rate of where it lies
//   packing           of an operand that does not lie in panels: read and written once
//
// Multiplications and reading overlap; packing comes before.
#include "codegen/cpu/gemm.h"
#include "codegen/cpu/stream.h"
#include <math.h>

static double at_least(double a, double b) { return a > b ? a : b; }
static double size_of(sq_graph *g, const int64_t *sym, sq_dim d) {
  int64_t v;
  if (!sq_dim_eval(g->dims, d, sym, &v) &&
      !sq_dim_eval(g->dims, sq_dim_storage(g->dims, d), sym, &v))
    return 1;
  return v > 0 ? (double)v : 0;
}
static double kib(double bytes) { return bytes / 1024; }

// ---- contractions ------------------------------------------------------------------------------
static int64_t depth_block(const sq_gemm *x, int64_t depth) {
  int64_t most = (int64_t)x->cut.depth_bytes / (x->nr * x->bytes) / 8 * 8;
  int64_t blocks = (depth + most - 1) / most;
  return blocks < 1 ? 0 : ((depth + blocks - 1) / blocks + 7) / 8 * 8;
}
static int64_t row_block(const sq_gemm *x, int64_t depth) {
  int64_t rows = x->cut.rows_bytes / x->bytes / (depth > 0 ? depth : 1);
  int64_t least = x->cut.least_tiles * x->mr, most = x->cut.most_tiles * x->mr;
  return rows < least ? least : rows > most ? most : rows / x->mr * x->mr;
}
static bool is_direct(const sq_gemm *x, const sq_target *t) {
  int64_t m, most = sq_gemm_shape_of(x, t).direct;
  return !x->packed && sq_dim_is_const(x->g->dims, x->m.size, &m) && m <= most;
}
static const char *gemm_words(const sq_gemm *x, const sq_target *t) {
  sq_arena *a = x->g->arena;
  const sq_machine *m = &t->machine;
  int64_t depth;
  if (is_direct(x, t)) return "few rows: both operands are read where they are";
  sq_text w = {.arena = a};
  sq_text_add(&w, "tiles of %u rows by %u columns in registers, %s in panels of %u columns%s",
              x->mr, x->nr, x->packed ? "the weights" : "the second operand laid out", x->nr,
              x->packed ? " since load" : " at each call");
  if (!sq_dim_is_const(x->g->dims, x->k.size, &depth)) depth = 0;
  if (depth) {
    double part = (double)depth_block(x, depth) * x->nr * x->bytes;
    bool near = part <= m->l1_bytes;
    sq_text_add(&w, "; %lld of %lld products at a time (%.0f KiB of the %s-level cache's %.0f)",
                (long long)(depth_block(x, depth) < depth ? depth_block(x, depth) : depth),
                (long long)depth, kib(part), near ? "first" : "second",
                kib(near ? m->l1_bytes : m->l2_bytes));
  }
  if (depth)
    sq_text_add(&w, ", up to %lld rows (%.0f KiB of the second-level cache's %.0f)",
                (long long)row_block(x, depth), kib((double)row_block(x, depth) * depth * x->bytes),
                kib(m->l2_bytes));
  sq_text_add(&w, "; in %u units of work at most", x->cut.most_units);
  if (!x->tiles) sq_text_add(&w, "; rows are read where they are");
  return w.v;
}

// What of a product for all turns and of one in each turn is made at once.
static const char *beside_words(sq_graph *g, const sq_target *t, const sq_node *n) {
  sq_gemm_pair p;
  if (sq_gemm_pair_of_turn(g, t, n, &p))
    return "; where a turn is one row, tiles of the product for later turns are made beside it";
  if (sq_gemm_pair_of_first(g, t, n, &p))
    return "; where a turn is one row, all but the first tiles are made beside the turns before";
  return "";
}

// Where a group's rows are made: nothing for a product without a group behind it.
static const char *rows_words(sq_graph *g, const sq_target *t, const sq_node *n) {
  sq_gemm_rows r;
  uint32_t line, column;
  if (!sq_gemm_rows_behind(g, t, n, &r)) return "";
  const sq_diags *ds = &g->ctx->diags;
  sq_span_line(ds, r.group->span, &line, &column);
  const char *file = line ? ds->sources.v[r.group->span.file].name : "", *base = strrchr(file, '/');
  const char *at = line ? sq_arena_fmt(g->arena, " at %s:%u", base ? base + 1 : file, line) : "";
  if (r.why) return sq_arena_fmt(g->arena, "; the group%s stays apart: %s", at, r.why);
  return sq_arena_fmt(g->arena,
                      "; a unit that has all columns of its rows runs the group%s on them", at);
}

// Cycles of a step of k for all rows times a panel.
static double step_cycles(const sq_gemm *x, double rows, double ports) {
  double sum = 0;
  for (const uint32_t *r = sq_gemm_micro_rows(x); *r; r++) {
    double n = floor(rows / *r), multiply = *r * x->nv / ports, read = (*r + x->nv) / 2.0;
    sum += n * at_least(multiply, read);
    rows -= n * *r;
  }
  return sum;
}
static void gemm_time(const sq_gemm *x, const sq_target *t, const int64_t *sym, sq_cut_info *out) {
  const sq_machine *m = &t->machine;
  double batch = size_of(x->g, sym, x->batch.size), rows = size_of(x->g, sym, x->m.size);
  double columns = size_of(x->g, sym, x->n.size), depth = size_of(x->g, sym, x->k.size);
  double panels = ceil(columns / x->nr), ports = m->fma ? 2 : 1;
  double width = (double)sq_dtype_table[x->panel].bytes, b = batch * depth * columns * width;
  double cycles = batch * panels * depth * step_cycles(x, rows, ports);
  double blocks =
      is_direct(x, t) ? 1 : at_least(ceil(rows / (double)row_block(x, (int64_t)depth)), 1);
  double multiply = cycles / sq_machine_clock(m) / m->cores, pack = 0;
  const char *where;
  double read = blocks * b / sq_machine_reads(m, b, &where);
  if (!x->packed && !is_direct(x, t)) pack = 2 * b / sq_machine_reads(m, 2 * b, NULL);
  out->seconds = at_least(multiply, read) + pack;
  out->bound = "multiplications";
  if (read > multiply)
    out->bound = sq_arena_fmt(x->g->arena, "reading the second operand from %s", where);
  if (pack > multiply && pack > read) out->bound = "laying out the second operand";
}

// ---- attention ---------------------------------------------------------------------------------
static const char *stream_words(const sq_kstream *s) {
  sq_text w = {.arena = s->g->arena};
  if (s->tile)
    sq_text_add(&w,
                "%u rows at a time along the lanes of %u vectors, %u keys at a time (%.0f KiB of "
                "scores in the first-level cache's %.0f)",
                s->set, s->nv, s->block, kib((double)s->set * s->block * s->bytes),
                kib(s->target->machine.l1_bytes));
  else
    sq_text_add(&w, "%u row%s at a time, %u keys at a time", s->set, s->set > 1 ? "s" : "",
                s->block);
  static const char *const how[] = {[SQ_KSTREAM_PACKED] = "laid out",
                                    [SQ_KSTREAM_WIDENED] = "widened",
                                    [SQ_KSTREAM_DIRECT] = NULL};
  if (how[s->keys.how]) sq_text_add(&w, "; keys are %s", how[s->keys.how]);
  if (how[s->values.how]) sq_text_add(&w, "; values are %s", how[s->values.how]);
  return w.v;
}
static void stream_time(const sq_kstream *s, const int64_t *sym, sq_cut_info *out) {
  const sq_machine *m = &s->target->machine;
  double rows = 1, keys = size_of(s->g, sym, s->p.keys), ports = m->fma ? 2 : 1;
  for (uint32_t r = 0; r < s->p.n_rows; r++) rows *= size_of(s->g, sym, s->p.row[r]);
  double width = size_of(s->g, sym, s->p.width) + size_of(s->g, sym, s->p.columns);
  double pairs = rows * keys, seen = s->p.n_common ? 0.5 : 1; // of a usual condition, causal
  double products = seen * pairs * width / s->w / ports;
  double weights = seen * pairs / s->w * (s->p.max.n ? 2 + sq_ewise_cycles(SQ_EW_EXP2) / 2.0 : 4);
  out->seconds = (products + weights) / sq_machine_clock(m) / m->cores;
  out->bound = products > weights ? "multiplications" : "weights of scores";
  double bytes = keys * width * s->bytes, few = rows * width / s->w;
  const char *where;
  double read = bytes / sq_machine_reads(m, bytes, &where);
  if (read <= out->seconds || few <= 0) return;
  out->seconds = read;
  out->bound = sq_arena_fmt(s->g->arena, "reading keys and values from %s", where);
}

// Siblings as one product of all their columns: how it is cut and what --tune looks for.
static bool as_one(sq_graph *g, const sq_target *t, const sq_node *n, sq_gemm *x,
                   sq_gemm_siblings *s) {
  if (!sq_gemm_siblings_find(g, t, n, s) || s->apart) return false;
  *x = s->v[0].x;
  x->n.size = sq_dim_const(g->dims, 0);
  for (uint32_t k = 0; k < s->n; k++) x->n.size = sq_dim_add(g->dims, x->n.size, s->v[k].x.n.size);
  return true;
}
static const char *sibling_words(const sq_gemm_siblings *s) {
  sq_graph *g = s->v[0].x.g;
  return sq_arena_fmt(g->arena, "; %u products of the same rows in turn", s->n);
}

bool sq_cut_explain(sq_graph *g, const sq_target *t, const sq_node *n, const int64_t *sym,
                    sq_cut_info *out) {
  sq_gemm x;
  sq_gemm_siblings all = {0};
  sq_kstream s;
  char class[SQ_CLASS_SIZE];
  *out = (sq_cut_info){0};
  if (sq_kstream_find(g, t, n, &s)) {
    sq_kstream_class(&s, class);
    out->words = stream_words(&s);
    out->tuned = s.tuned;
    if (sym) stream_time(&s, sym, out);
  } else if (as_one(g, t, n, &x, &all) || sq_gemm_find(g, t, n, &x)) {
    sq_gemm_class(&x, class);
    out->words = sq_arena_fmt(g->arena, "%s%s%s", gemm_words(&x, t),
                              all.n ? sibling_words(&all) : beside_words(g, t, n),
                              all.n ? "" : rows_words(g, t, n));
    out->tuned = x.tuned;
    if (sym) gemm_time(&x, t, sym, out);
  } else {
    return false;
  }
  out->class = sq_arena_str(g->arena, class, strlen(class));
  return true;
}

// ---- candidates --------------------------------------------------------------------------------
typedef struct tries {
  const sq_machine *m;
  const char *class;
  sq_tuned_row *row;
  uint32_t n;
} tries;
static void try_gemm(tries *c, const sq_gemm_cut *cut) {
  sq_tuned_row r = sq_tuned_of_gemm(c->class, cut, 1);
  for (uint32_t k = 0; k < c->n; k++)
    if (!memcmp(c->row[k].number, r.number, sizeof r.number)) return;
  if (c->n < SQ_CUT_TRIES && sq_gemm_cut_fits(c->m, cut)) c->row[c->n++] = r;
}
static void gemm_tries(tries *c, const sq_gemm *x) {
  const sq_gemm_cut best = x->cut;
  sq_gemm_cut t = best;
  try_gemm(c, &best);
  const uint32_t tile[][2] = {{4, 3}, {8, 3}, {8, 2}, {4, 2}};
  for (unsigned k = 0; k < 4; k++) {
    t.mr = tile[k][0];
    t.nv = tile[k][1];
    if (!x->packed || t.nv == best.nv) try_gemm(c, &t);
  }
  const uint32_t times[] = {1, 4}; // of half
  for (unsigned k = 0; k < 2; k++) {
    t = best, t.depth_bytes = best.depth_bytes / 2 * (k ? 3 : 1), try_gemm(c, &t);
    t = best, t.rows_bytes = best.rows_bytes / 2 * (k ? 3 : 1), try_gemm(c, &t);
    t = best, t.most_units = best.most_units * times[k] / 2, try_gemm(c, &t);
  }
  t = best, t.most_tiles = best.most_tiles * 2, t.rows_bytes = best.rows_bytes / 2 * 3;
  try_gemm(c, &t);
  t = best, t.few_columns = x->tiles ? 1u << 30 : 0, try_gemm(c, &t);
}
static void stream_tries(tries *c, const sq_machine *m) {
  const sq_stream_cut best = sq_stream_cut_of(m);
  for (uint32_t k = 0; k < 9; k++) { // the model's choice first
    static const uint32_t eighths[] = {8, 4, 12};
    sq_stream_cut t = {.nv = 1 + (best.nv - 1 + k / 3) % 3,
                       .score_bytes = best.score_bytes / 8 * eighths[k % 3]};
    if (sq_stream_cut_fits(m, &t)) c->row[c->n++] = sq_tuned_of_stream(c->class, &t, 1);
  }
}
uint32_t sq_cut_candidates(sq_graph *g, const sq_target *target, const sq_node *n,
                           sq_tuned_row row[SQ_CUT_TRIES]) {
  sq_target t = *target;
  sq_gemm x;
  sq_gemm_siblings all;
  sq_kstream s;
  char class[SQ_CLASS_SIZE];
  tries c = {.m = &t.machine, .class = class, .row = row};
  t.tuned = NULL;
  if (sq_kstream_find(g, &t, n, &s) && s.tile) {
    sq_kstream_class(&s, class);
    stream_tries(&c, &t.machine);
  } else if ((as_one(g, &t, n, &x, &all) || sq_gemm_find(g, &t, n, &x)) && !is_direct(&x, &t)) {
    sq_gemm_class(&x, class);
    gemm_tries(&c, &x);
  }
  return c.n;
}
