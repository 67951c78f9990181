// What attention does with each score, row by row, whichever way products are made. In: scores s of a tile
// of rows and the block of keys at k0. Out: weights in their place, statistics brought along; at last
// results.
//
//   score = end of the sum; -inf where a condition fails; new maxima over the team
//   results and sums *= 2^(c (old max - new max))
//   weight = 2^(c (score - max)); sums += their elements; s = what values are multiplied by
//
// Without maxima the score's end is the weight. Conditions are tested only where `sure` does not say
// that all rows of the tile see all keys of the block.
#include "codegen/cuda/stream.h"

bool sq_cu_stream_has_max(const sq_cu_attend *x) { return x->s->p.max.n != NULL; }
static bool reduces(const sq_cu_attend *x, uint32_t i) { return x->s->p.sum[i].n->g->n_red != 0; }
static const char *lowest(const sq_cu_attend *x) {
  return sq_arena_fmt(x->k->a, "(-(%s)SQ_INF)", x->s->type);
}
static const char *scale(const sq_cu_attend *x) {
  return sq_arena_fmt(x->k->a, "((%s)%.17g)", x->s->type, x->s->p.scale);
}

// ---- before the first key ----------------------------------------------------------------------
void sq_cu_rows_begin(sq_cu_attend *x) {
  sq_cu *k = x->k;
  const char *t = x->s->type;
  if (sq_cu_stream_has_max(x)) sq_cu_line(k, "%s most[%d];", t, x->rt);
  for (uint32_t i = 0; i < x->s->p.n_sum; i++)
    if (reduces(x, i)) sq_cu_line(k, "%s sum%u[%d];", t, i, x->rt);
  sq_cu_line(k, "%s o[%d];", t, x->rt * x->ct);
  sq_cu_line(k, "#pragma unroll");
  sq_cu_open(k, "for (int r = 0; r < %d; r++) {", x->rt);
  if (sq_cu_stream_has_max(x)) sq_cu_line(k, "most[r] = %s;", lowest(x));
  for (uint32_t i = 0; i < x->s->p.n_sum; i++)
    if (reduces(x, i)) sq_cu_line(k, "sum%u[r] = 0;", i);
  sq_cu_close(k);
  sq_cu_line(k, "#pragma unroll");
  sq_cu_line(k, "for (int i = 0; i < %d; i++) o[i] = 0;", x->rt * x->ct);
}

// ---- one score ---------------------------------------------------------------------------------
// `early`: key is one that there is, `at` is tested.
static void open_keys(sq_cu_attend *x, bool early) {
  sq_cu_line(x->k, "#pragma unroll");
  sq_cu_open(x->k, "for (int j = 0; j < %d; j++) {", x->kt);
  sq_cu_line(x->k, "const sq_i64 %s = k0 + %s;", early ? "at" : "key", x->key);
  if (early) sq_cu_line(x->k, "const sq_i64 key = at < hi ? at : hi - 1;");
}
// What the sum of products becomes.
static const char *ended(sq_cu_attend *x) {
  sq_cu_nest *t = &x->score;
  t->acc = x->at_s;
  return t->g->post == SQ_NO_SCALAR ? x->at_s : sq_cu_nest_value(t, t->g->post);
}
// Where products are under way their results may be touched in no branch, or the compiler waits for all of
// them: a score then ends before its conditions are tested.
static bool ends_early(const sq_cu_attend *x, bool tests) { return tests && x->settle; }
static void end_early(sq_cu_attend *x) {
  sq_cu_line(x->k, "float ended = %s;", ended(x));
  sq_cu_line(x->k, "sq_hold<1>(&ended);");
}
static bool is_bare(const sq_cu_attend *x, const sq_cu_nest *t, uint32_t id) {
  const sq_scalar *s = &t->g->s.v[id];
  return s->kind == SQ_SC_READ && sq_cu_stream_has_max(x) &&
         t->n->in[s->operand]->def == x->s->p.weight.n;
}
// `to` += scalar `id`, or = where it is s, if the conditions that are not common hold. A weight is 0
// where a common one fails; what else is computed there may be no number.
static void add(sq_cu_attend *x, sq_cu_nest *t, uint32_t id, const char *to, const char *how) {
  sq_cu *k = x->k;
  bool bare = is_bare(x, t, id);
  uint32_t mark = sq_cu_nest_enter(t), opened = 0;
  if (!bare && sq_cu_stream_has_max(x)) {
    sq_cu_open(k, "if (score != %s) {", lowest(x));
    opened++;
  }
  opened += sq_cu_nest_where(t, x->s->p.n_common, t->g->domain.n);
  sq_cu_line(k, "%s %s %s;", to, how, sq_cu_nest_value(t, id));
  while (opened--) sq_cu_close(k);
  sq_cu_nest_leave(t, mark);
}
// Sums, and what values are multiplied by, from `score` and `weight`.
static void use_score(sq_cu_attend *x) {
  sq_cu *k = x->k;
  for (uint32_t i = 0; i < x->s->p.n_sum; i++)
    if (reduces(x, i))
      add(x, &x->sum[i], x->sum[i].g->body, sq_arena_fmt(k->a, "sum%u[r]", i), "+=");
  sq_cu_line(k, "%s w = 0;", x->s->type);
  add(x, &x->value, x->s->p.w, "w", "=");
  sq_cu_line(k, "%s = w;", x->at_s);
}

// ---- weights that do not compete ---------------------------------------------------------------
static void weigh_alone(sq_cu_attend *x, bool tests) {
  sq_cu *k = x->k;
  bool early = ends_early(x, tests);
  sq_cu_rows_open(x);
  open_keys(x, early);
  sq_cu_mark mark = sq_cu_members_enter(x);
  uint32_t opened = 0;
  if (early)
    end_early(x);
  else if (tests)
    sq_cu_line(k, "const %s before = %s;", x->s->type, x->at_s);
  if (tests) {
    sq_cu_line(k, "%s = 0;", x->at_s);
    sq_cu_open(k, "if (%s < hi) {", early ? "at" : "key");
    opened = 1 + sq_cu_nest_where(&x->value, 0, x->s->p.n_common);
    if (!early) sq_cu_line(k, "%s = before;", x->at_s);
  }
  sq_cu_line(k, "const %s score = %s;", x->s->type, early ? "ended" : ended(x));
  sq_cu_members_let(x, &x->s->p.score, "score");
  use_score(x);
  while (opened--) sq_cu_close(k);
  sq_cu_members_leave(x, mark);
  sq_cu_close(k);
  sq_cu_close(k);
}

// ---- weights that do ---------------------------------------------------------------------------
static void end_scores(sq_cu_attend *x, bool tests) {
  sq_cu *k = x->k;
  bool early = ends_early(x, tests);
  sq_cu_rows_open(x);
  open_keys(x, early);
  sq_cu_mark mark = sq_cu_members_enter(x);
  uint32_t opened = 0;
  if (early) end_early(x);
  sq_cu_line(k, "%s x = %s;", x->s->type, lowest(x));
  if (tests) {
    sq_cu_open(k, "if (%s < hi) {", early ? "at" : "key");
    opened = 1 + sq_cu_nest_where(&x->max, 0, x->s->p.n_common);
  }
  sq_cu_line(k, "x = %s;", early ? "ended" : ended(x));
  while (opened--) sq_cu_close(k);
  sq_cu_line(k, "%s = x;", x->at_s);
  sq_cu_line(k, "top[r] = sq_top(top[r], x);");
  sq_cu_members_leave(x, mark);
  sq_cu_close(k);
  sq_cu_close(k);
}
static void scale_of_row(sq_cu_attend *x) {
  sq_stream_large large = sq_stream_large_scores(&x->s->p);
  const char *t = x->s->type;
  sq_cu_line(x->k, "const %s c = sq_abs(most[r]) >= (%s)%.17g ? (%s)%.17g : %s;", t, t, large.from,
             t, large.by, scale(x));
}
static void raise_max(sq_cu_attend *x) {
  sq_cu *k = x->k;
  const char *t = x->s->type;
  sq_cu_line(k, "#pragma unroll");
  sq_cu_open(k, "for (int r = 0; r < %d; r++) {", x->rt);
  sq_cu_line(k, "#pragma unroll");
  sq_cu_line(k,
             "for (int m = 1; m < %d; m *= 2) top[r] = sq_top(top[r], sq_shuffle_xor(SQ_ME top[r], "
             "m));",
             x->team);
  sq_cu_line(k, "const %s before = most[r];", t);
  sq_cu_line(k, "most[r] = sq_top(most[r], top[r]);");
  sq_cu_line(k, "const %s now = most[r] == %s ? 0 : most[r];", t, lowest(x));
  scale_of_row(x);
  sq_cu_line(k, "shift[r] = now * c;");
  sq_cu_line(k, "by[r] = sq_power((before - now) * c);");
  for (uint32_t i = 0; i < x->s->p.n_sum; i++)
    if (reduces(x, i)) sq_cu_line(k, "sum%u[r] *= by[r];", i);
  sq_cu_close(k);
}
static void rescale(sq_cu_attend *x) {
  sq_cu *k = x->k;
  sq_cu_line(k, "#pragma unroll");
  sq_cu_line(k, "for (int r = 0; r < %d; r++)", x->rt);
  sq_cu_line(k, "#pragma unroll");
  sq_cu_line(k, "  for (int j = 0; j < %d; j++) %s *= by[r];", x->ct, x->at_o);
}
static void weigh_scores(sq_cu_attend *x) {
  sq_cu *k = x->k;
  sq_cu_rows_open(x);
  scale_of_row(x);
  open_keys(x, false);
  sq_cu_mark mark = sq_cu_members_enter(x);
  sq_cu_line(k, "const %s score = %s;", x->s->type, x->at_s);
  sq_cu_line(k, "const %s weight = sq_power(sq_c_fma(score, c, -shift[r]));", x->s->type);
  sq_cu_members_let(x, &x->s->p.score, "score");
  sq_cu_members_let(x, &x->s->p.weight, "weight");
  use_score(x);
  sq_cu_members_leave(x, mark);
  sq_cu_close(k);
  sq_cu_close(k);
}

// A kernel for few rows waits for memory: it tests always, and is half as long.
static void either(sq_cu_attend *x, void (*emit)(sq_cu_attend *x, bool tests)) {
  if (x->split) {
    emit(x, true);
    return;
  }
  sq_cu_open(x->k, "if (sure) {");
  emit(x, false);
  sq_cu_close(x->k);
  sq_cu_open(x->k, "else {");
  emit(x, true);
  sq_cu_close(x->k);
}
void sq_cu_rows_weigh(sq_cu_attend *x) {
  sq_cu *k = x->k;
  if (!sq_cu_stream_has_max(x)) {
    either(x, weigh_alone);
    if (x->settle) x->settle(x);
    return;
  }
  sq_cu_line(k, "%s top[%d], shift[%d], by[%d];", x->s->type, x->rt, x->rt, x->rt);
  sq_cu_line(k, "#pragma unroll");
  sq_cu_line(k, "for (int r = 0; r < %d; r++) top[r] = %s;", x->rt, lowest(x));
  either(x, end_scores);
  raise_max(x);
  if (!x->settle) rescale(x);
  weigh_scores(x);
  if (!x->settle) return;
  x->settle(x);
  rescale(x);
}

// ---- the end of a row --------------------------------------------------------------------------
static bool is_result(const sq_cu_attend *x, const sq_stream_member *m, const sq_value **out) {
  const sq_node *n = x->s->p.node, *end = sq_block_end(n->region[0]);
  for (uint32_t i = 0; i < end->n_in; i++)
    if (end->in[i] == m->n->out[0]) return *out = n->out[i], true;
  return false;
}
// Results that are yielded twice are written twice.
static void store(sq_cu_attend *x, const sq_stream_member *m, sq_cu_nest *t, const char *v) {
  const sq_node *n = x->s->p.node, *end = sq_block_end(n->region[0]);
  for (uint32_t i = 0; i < end->n_in; i++) {
    if (end->in[i] != m->n->out[0]) continue;
    sq_cu_place to = sq_cu_place_of(x->k, NULL, n->out[i]);
    sq_cu_nest_store(t, &to, v);
  }
}
static void statistic(sq_cu_attend *x, const sq_stream_member *m, sq_cu_nest *t, const char *acc,
                      const char *who) {
  const sq_value *out;
  t->acc = acc;
  uint32_t s = t->g->n_red ? t->g->post : t->g->body;
  const char *v = s == SQ_NO_SCALAR ? acc : sq_cu_nest_value(t, s);
  sq_cu_members_let(x, m, v);
  if (!is_result(x, m, &out)) return;
  sq_cu_open(x->k, "if (%s) {", who);
  store(x, m, t, v);
  sq_cu_close(x->k);
}
// Statistics of the row from `most` and `sum` (printf forms of the sum's number); who: condition under
// which this thread stores them.
static void statistics(sq_cu_attend *x, const char *suffix, const char *who) {
  const sq_stream *p = &x->s->p;
  sq_arena *a = x->k->a;
  if (p->max.n) statistic(x, &p->max, &x->max, sq_arena_fmt(a, "most%s", suffix), who);
  for (uint32_t i = 0; i < p->n_sum; i++)
    statistic(x, &p->sum[i], &x->sum[i], sq_arena_fmt(a, "sum%u%s", i, suffix), who);
}
static void value(sq_cu_attend *x, const char *acc) {
  const sq_value *out;
  sq_cu_nest *t = &x->value;
  if (!is_result(x, &x->s->p.value, &out)) return;
  uint32_t mark = sq_cu_nest_enter(t);
  t->acc = acc;
  store(x, &x->s->p.value, t, t->g->post == SQ_NO_SCALAR ? acc : sq_cu_nest_value(t, t->g->post));
  sq_cu_nest_leave(t, mark);
}
static const char *columns(const sq_cu_attend *x) { return sq_cu_dim(x->k, x->s->p.columns); }

int sq_cu_stream_part(const sq_cu_attend *x) { return 1 + (int)x->s->p.n_sum + (int)x->s->columns; }
static void leave_part(sq_cu_attend *x) {
  sq_cu *k = x->k;
  sq_cu_line(k, "const sq_i64 to = (t * %d + row - row0) * %d;", x->rows, sq_cu_stream_part(x));
  sq_cu_open(k, "if (SQ_TID %% %d == 0) {", x->team);
  if (sq_cu_stream_has_max(x)) sq_cu_line(k, "SQ_ST(%s, to, most[r]);", x->part);
  for (uint32_t i = 0; i < x->s->p.n_sum; i++)
    if (reduces(x, i)) sq_cu_line(k, "SQ_ST(%s, to + %u, sum%u[r]);", x->part, i + 1, i);
  sq_cu_close(k);
  sq_cu_line(k, "#pragma unroll");
  sq_cu_line(k, "for (int j = 0; j < %d; j++) SQ_ST(%s, to + %u + %s, %s);", x->ct, x->part,
             x->s->p.n_sum + 1, x->column, x->at_o);
}
static void leave_row(sq_cu_attend *x) {
  sq_cu *k = x->k;
  sq_cu_mark mark = sq_cu_members_enter(x);
  sq_cu_rows_index(x, "row");
  statistics(x, "[r]", sq_arena_fmt(k->a, "column0 == 0 && SQ_TID %% %d == 0", x->team));
  sq_cu_line(k, "#pragma unroll");
  sq_cu_open(k, "for (int j = 0; j < %d; j++) {", x->ct);
  sq_cu_line(k, "const sq_i64 c = column0 + %s;", x->column);
  sq_cu_open(k, "if (c < %s) {", columns(x));
  value(x, x->at_o);
  sq_cu_close(k);
  sq_cu_close(k);
  sq_cu_members_leave(x, mark);
}
void sq_cu_rows_end(sq_cu_attend *x) {
  sq_cu *k = x->k;
  sq_cu_line(k, "#pragma unroll");
  sq_cu_open(k, "for (int r = 0; r < %d; r++) {", x->rt);
  for (uint32_t i = 0; i < x->s->p.n_sum; i++) {
    if (!reduces(x, i)) continue;
    sq_cu_line(k, "#pragma unroll");
    sq_cu_line(k, "for (int m = 1; m < %d; m *= 2) sum%u[r] += sq_shuffle_xor(SQ_ME sum%u[r], m);",
               x->team, i, i);
  }
  sq_cu_line(k, "const sq_i64 row = row0 + %s;", x->row);
  sq_cu_open(k, "if (row <= last) {");
  if (x->split) {
    sq_cu_open(k, "if (%s > 1) {", x->n_splits);
    leave_part(x);
    sq_cu_close(k);
    sq_cu_open(k, "else {");
  }
  leave_row(x);
  if (x->split) sq_cu_close(k);
  sq_cu_close(k);
  sq_cu_close(k);
}

// ---- what splits have left ---------------------------------------------------------------------
// By one thread, for element (row, c) of a tile whose first part is number `first`.
void sq_cu_rows_combine(sq_cu_attend *x) {
  sq_cu *k = x->k;
  const char *t = x->s->type, *by = "1";
  bool has_max = sq_cu_stream_has_max(x);
  uint32_t n = x->s->p.n_sum;
  const char *chunks = x->s->chunks ? "chunks" : "1";
  const char *at = sq_arena_fmt(k->a, "((first + s * %s) * %d + row - row0) * %d", chunks, x->rows,
                                sq_cu_stream_part(x));
  const char *loop = sq_arena_fmt(k->a, "for (sq_i64 s = 0; s < %s; s++)", x->n_splits);
  if (has_max) {
    sq_cu_line(k, "%s most = %s;", t, lowest(x));
    sq_cu_line(k, "%s most = sq_top(most, SQ_LD(%s, %s));", loop, x->part, at);
    sq_cu_line(k, "const %s from = most == %s ? 0 : most;", t, lowest(x));
    by = "by";
  }
  for (uint32_t i = 0; i < n; i++)
    if (reduces(x, i)) sq_cu_line(k, "%s sum%u = 0;", t, i);
  sq_cu_line(k, "%s acc = 0;", t);
  sq_cu_open(k, "%s {", loop);
  sq_cu_line(k, "const sq_i64 at = %s;", at);
  if (has_max)
    sq_cu_line(k, "const %s by = sq_power((SQ_LD(%s, at) - from) * %s);", t, x->part, scale(x));
  for (uint32_t i = 0; i < n; i++)
    if (reduces(x, i)) sq_cu_line(k, "sum%u += SQ_LD(%s, at + %u) * %s;", i, x->part, i + 1, by);
  sq_cu_line(k, "acc += SQ_LD(%s, at + %u + c - column0) * %s;", x->part, n + 1, by);
  sq_cu_close(k);
  sq_cu_mark mark = sq_cu_members_enter(x);
  sq_cu_rows_index(x, "row");
  statistics(x, "", "c == 0");
  value(x, "acc");
  sq_cu_members_leave(x, mark);
}
