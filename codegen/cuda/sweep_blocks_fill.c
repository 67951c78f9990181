// Scans in blocks of turns: between memory and the arrays of a block.
//
//   decays     a[t], then products over ranges: a thread for each s, one for those from the begin
//   vectors    of each turn and column of the slice; 0 beyond the ends
//   rows       of each turn and some rows: keys and factors, 0 beyond the ends, decays, 1 there
//   solved     vectors that are made of sums: of 8 turns one after another, a thread a column; then all
//              threads add these to the sums of the turns behind
//   after      a thread for each turn and column: what follows the sums, stores
//
// Each scalar is a line of its own in the loop over what is brought; members that are free of the states
// are done where they are read.
#include "codegen/cuda/sweep_cores.h"

enum { SOLVED = 8 }; // turns at once

typedef struct part {
  const sq_sweep_nest *x;
  const char *to, *at; // shared array and place there
  const char *by;      // times that, or NULL
  int other;           // beyond the ends
} part;
enum { MOST = 32 };
typedef struct parts {
  uint32_t n;
  part v[MOST];
} parts;

static void add(sq_cu_blocks *b, parts *l, uint32_t member, uint32_t scalar, part p) {
  SQ_ASSERT(l->n < MOST, "a turn of many parts");
  p.x = sq_chunk_part(b->s, b->c.type, member, scalar);
  l->v[l->n++] = p;
}
static const char *named(sq_cu_blocks *b, const char *what, uint32_t i) {
  return sq_arena_fmt(b->k->a, "%s%u", what, i);
}
static const char *at_row(sq_cu_blocks *b) { return sq_arena_fmt(b->k->a, "e * %u + t", b->pitch); }
static const char *at_column(sq_cu_blocks *b) {
  return sq_arena_fmt(b->k->a, "t * %u + j", b->wide);
}
static const char *turn_count(sq_cu_blocks *b) { return sq_cu_dim(b->k, b->s->extent); }
static void name_turn(sq_cu_blocks *b) {
  sq_cu_line(b->k, "const sq_i64 turn = %s;", sq_cu_sweep_turn_of(&b->w, "i0 + t"));
}

// ---- members that are read ---------------------------------------------------------------------
static void mark(uint32_t id, void *user) { ((bool *)user)[id] = true; }
static void need_value(sq_cu_blocks *b, uint32_t value, bool *member);
static void need_nest(sq_cu_blocks *b, const sq_sweep_nest *x, bool *member) {
  const sq_generic *g = x->n->g;
  bool *used = SQ_ARRAY(b->k->a, bool, g->s.n + 1);
  used[g->post != SQ_NO_SCALAR ? g->post : g->body] = used[g->body] = true;
  for (uint32_t j = g->s.n; j-- > 0;) {
    const sq_scalar *r = &g->s.v[j];
    if (!used[j]) continue;
    sq_scalar_refs(r, mark, used);
    if (r->kind == SQ_SC_READ && x->inner[r->operand] != SQ_SWEEP_NONE)
      need_value(b, x->inner[r->operand], member);
  }
}
static void need_value(sq_cu_blocks *b, uint32_t value, bool *member) {
  uint32_t i = value - b->n_state;
  if (value < b->n_state || member[i] || b->c.role[i] != SQ_CHUNK_FREE) return;
  member[i] = true;
  need_nest(b, &b->s->member[i], member);
}
static void member(sq_cu_blocks *b, uint32_t i) {
  const sq_sweep_nest *x = &b->s->member[i];
  sq_cu_sweep_declare(&b->w, x->value, b->w.value[x->value].base);
  sq_cu_sweep_emit(&b->w, x, &b->w.value[x->value]);
}
static const char *value_of(sq_cu_blocks *b, const sq_sweep_nest *x) {
  sq_cu_nest t;
  sq_cu_sweep_begin(&b->w, &t, x);
  for (uint32_t a = 0; a < t.n_axes; a++)
    if (x->cls[a] == b->c.row) t.index[a] = "row";
  return sq_cu_nest_value(&t, t.g->body);
}
void sq_cu_blocks_values(sq_cu_blocks *b, const sq_sweep_nest *const *x, const int *other,
                         uint32_t n, const char *where) {
  sq_cu *k = b->k;
  bool *needed = SQ_ARRAY(k->a, bool, b->s->n_member + 1);
  for (uint32_t i = 0; i < n; i++) {
    need_nest(b, x[i], needed);
    sq_cu_line(k, "%s b%u = %d;", b->type, i, other ? other[i] : 0);
  }
  sq_cu_open(k, "if (%s) {", where);
  name_turn(b);
  for (uint32_t i = 0; i < b->s->n_member; i++)
    if (needed[i]) member(b, i);
  for (uint32_t i = 0; i < n; i++) sq_cu_line(k, "b%u = %s;", i, value_of(b, x[i]));
  sq_cu_close(k);
}
// All parts at one element, where the condition holds.
static void bring(sq_cu_blocks *b, const parts *l, const char *where) {
  const sq_sweep_nest *x[MOST];
  int other[MOST];
  for (uint32_t i = 0; i < l->n; i++) {
    x[i] = l->v[i].x;
    other[i] = l->v[i].other;
  }
  sq_cu_blocks_values(b, x, other, l->n, where);
  for (uint32_t i = 0; i < l->n; i++) {
    sq_cu_line(b->k, "SQ_SST(%s, %s, %sb%u);", l->v[i].to, l->v[i].at, l->v[i].by ? l->v[i].by : "",
               i);
    if (b->cores) sq_cu_cores_watch(b, sq_arena_fmt(b->k->a, "b%u", i));
  }
}
static void by_turns(sq_cu_blocks *b, const parts *l) {
  sq_cu_open(b->k, "for (int t = (int)SQ_TID; t < %u; t += %d) {", b->p.length, SQ_TILES_THREADS);
  bring(b, l, sq_arena_fmt(b->k->a, "i0 + t < %s", turn_count(b)));
  sq_cu_close(b->k);
}

// ---- decays ------------------------------------------------------------------------------------
static void ranges(sq_cu_blocks *b, uint32_t st) {
  sq_cu *k = b->k;
  uint32_t n = b->p.length;
  sq_cu_open(k, "if (SQ_TID < %u) {", n);
  sq_cu_line(k, "const int s = (int)SQ_TID;");
  sq_cu_line(k, "%s r = 0;", b->type);
  if (b->cores) sq_cu_line(k, "large%u = 0;", st);
  sq_cu_line(k, "SQ_SST(range%u, s, r);", st);
  sq_cu_line(k, "#pragma unroll 4");
  sq_cu_open(k, "for (int t = 0; t < %u; t++) {", n);
  sq_cu_line(k, "const %s by = SQ_SLD(decay%u, t);", b->type, st);
  sq_cu_line(k, "r = t == s ? 1 : t > s ? r * by : 0;");
  sq_cu_line(k, "SQ_SST(range%u, (t + 1) * %u + s, r);", st, n);
  if (b->cores) sq_cu_line(k, "if (!(sq_abs(r) <= %s)) large%u = SQ_NANF;", SQ_CU_CORES_DECAY, st);
  sq_cu_close(k);
  sq_cu_close(k);
  sq_cu_open(k, "if (SQ_TID == %d) {", SQ_TILES_THREADS - 1);
  sq_cu_line(k, "%s r = 1;", b->type);
  sq_cu_line(k, "SQ_SST(begin%u, 0, r);", st);
  sq_cu_open(k, "for (int t = 0; t < %u; t++) {", n);
  sq_cu_line(k, "r *= SQ_SLD(decay%u, t);", st);
  sq_cu_line(k, "SQ_SST(begin%u, t + 1, r);", st);
  sq_cu_close(k);
  sq_cu_close(k);
}
void sq_cu_blocks_decays(sq_cu_blocks *b) {
  sq_cu *k = b->k;
  for (uint32_t st = 0; st < b->n_state; st++) {
    const sq_chunk_state *c = &b->c.state[st];
    if (c->by_rows) continue;
    parts l = {0};
    add(b, &l, c->member, c->by, (part){.to = named(b, "decay", st), .at = "t", .other = 1});
    if (!c->by_turns) // as before, but for the ends
      sq_cu_open(k, "if (i0 == %s || i0 + %u > %s) {", b->cores ? "from" : "0", b->p.length,
                 turn_count(b));
    by_turns(b, &l);
    sq_cu_line(k, "SQ_SYNC();");
    ranges(b, st);
    if (!c->by_turns) sq_cu_close(k);
  }
}

// ---- vectors -----------------------------------------------------------------------------------
static void zeros(sq_cu_blocks *b, uint32_t st) {
  sq_cu_blocks_open(b, "t", b->p.length, "j", b->p.columns);
  sq_cu_line(b->k, "SQ_SST(vector%u, %s, 0);", st, at_column(b));
  sq_cu_close(b->k);
}
void sq_cu_blocks_vectors(sq_cu_blocks *b) {
  sq_cu *k = b->k;
  parts wide = {0}, plain = {0};
  for (uint32_t st = 0; st < b->n_state; st++) {
    const sq_chunk_state *c = &b->c.state[st];
    part p = {.to = named(b, "vector", st), .at = c->has_columns ? at_column(b) : "t"};
    if (b->c.add[st].solved)
      zeros(b, st);
    else if (!b->cores || !sq_cu_cores_vectors(b, st))
      add(b, c->has_columns ? &wide : &plain, c->member, b->c.add[st].column, p);
  }
  if (plain.n) by_turns(b, &plain);
  if (!wide.n) return;
  sq_cu_blocks_open(b, "t", b->p.length, "j", b->p.columns);
  sq_cu_line(k, "const sq_i64 l%u = c0 + j;", b->c.column);
  bring(b, &wide,
        sq_arena_fmt(k->a, "i0 + t < %s && l%u < %s", turn_count(b), b->c.column,
                     sq_cu_dim(k, b->s->size[b->c.column])));
  sq_cu_close(k);
}

// ---- rows --------------------------------------------------------------------------------------
static void bring_rows(sq_cu_blocks *b, const parts *l) {
  sq_cu *k = b->k;
  sq_cu_blocks_open(b, "t", b->p.length, "e", b->p.depth);
  sq_cu_line(k, "const sq_i64 row = d0 + e;");
  bring(b, l, sq_arena_fmt(k->a, "i0 + t < %s && row < %u", turn_count(b), b->c.rows));
  sq_cu_close(k);
}
static void add_decay_rows(sq_cu_blocks *b, parts *l, uint32_t st) {
  const sq_chunk_state *c = &b->c.state[st];
  if (!c->by_rows) return;
  add(b, l, c->member, c->by, (part){.to = named(b, "decay", st), .at = at_row(b), .other = 1});
}
void sq_cu_blocks_rows(sq_cu_blocks *b) {
  parts l = {0};
  for (uint32_t st = 0; st < b->n_state; st++) {
    const sq_chunk_state *c = &b->c.state[st];
    add(b, &l, c->member, b->c.add[st].key, (part){.to = named(b, "key", st), .at = at_row(b)});
    add_decay_rows(b, &l, st);
  }
  for (uint32_t q = 0; q < b->n_pair; q++)
    add(b, &l, b->c.read[b->pair[q].read].member, b->pair[q].factor,
        (part){.to = named(b, "factor", q), .at = at_row(b)});
  bring_rows(b, &l);
}
// Keys come times the decay to the block's end.
void sq_cu_blocks_keys(sq_cu_blocks *b) {
  sq_cu *k = b->k;
  parts l = {0};
  uint32_t n = b->p.length;
  for (uint32_t st = 0; st < b->n_state; st++) {
    const sq_chunk_state *c = &b->c.state[st];
    const char *by =
        c->by_rows ? NULL : sq_arena_fmt(k->a, "SQ_SLD(range%u, %u + t) * ", st, n * n);
    add(b, &l, c->member, b->c.add[st].key,
        (part){.to = named(b, "key", st), .at = at_row(b), .by = by});
    add_decay_rows(b, &l, st);
  }
  bring_rows(b, &l);
}

// ---- vectors that are made of sums -------------------------------------------------------------
// What the turns from `first` to before `end` add to a sum of turn t, column j.
static void add_turns(sq_cu_blocks *b, uint32_t read, const char *sum, const char *first,
                      const char *end) {
  sq_cu *k = b->k;
  for (uint32_t q = 0; q < b->n_pair; q++) {
    if (b->pair[q].read != read) continue;
    bool now = end == NULL && !b->pair[q].before;
    sq_cu_line(k, "for (int s = %s; s < %s%s; s++)", first, end ? end : "t", now ? " + 1" : "");
    sq_cu_line(k, "  %s = sq_c_fma(SQ_SLD(score%u, s * %u + t), SQ_SLD(vector%u, s * %u + j), %s);",
               sum, q, b->pitch, b->pair[q].state, b->wide, sum);
  }
}
// A member that sums, with the sum at hand.
static void take(sq_cu_blocks *b, uint32_t i, const char *sum) {
  const sq_sweep_nest *x = &b->s->member[i];
  const char *base = b->w.value[x->value].base;
  sq_cu_nest t;
  sq_cu_sweep_declare(&b->w, x->value, base);
  sq_cu_open(b->k, "{");
  sq_cu_sweep_begin(&b->w, &t, x);
  t.acc = sum;
  sq_cu_line(b->k, "%s[0] = %s;", base,
             t.g->post != SQ_NO_SCALAR ? sq_cu_nest_value(&t, t.g->post) : sum);
  sq_cu_close(b->k);
}
static void solve_read(sq_cu_blocks *b, uint32_t read, uint32_t i) {
  sq_cu *k = b->k;
  bool wide = sq_cu_read_wide(b, read);
  const char *at = wide ? at_column(b) : "t", *sum = sq_cu_temp(k, "sum");
  sq_cu_line(k, "%s %s = SQ_SLD(sum%u, %s);", b->type, sum, read, at);
  if (wide) {
    add_turns(b, read, sum, "t0", NULL);
    sq_cu_line(k, "SQ_SST(sum%u, %s, %s);", read, at, sum);
    sq_cu_line(k, "bad = sq_c_fma(%s, (%s)0, bad);", sum, b->type);
  }
  take(b, i, sum);
}
static void solve_turn(sq_cu_blocks *b) {
  sq_cu *k = b->k;
  uint32_t read = 0;
  for (uint32_t i = 0; i < b->s->n_member; i++) {
    bool sums = b->c.role[i] == SQ_CHUNK_READ;
    if (sums && b->c.solve[i]) solve_read(b, read, i);
    read += sums;
    for (uint32_t st = 0; st < b->n_state; st++)
      if (b->c.add[st].solved && b->c.state[st].member == i)
        sq_cu_line(k, "SQ_SST(vector%u, %s, %s);", st, at_column(b),
                   value_of(b, sq_chunk_part(b->s, b->c.type, i, b->c.add[st].column)));
    if (b->c.solve[i] && !sums) member(b, i);
  }
}
static void add_behind(sq_cu_blocks *b) {
  sq_cu *k = b->k;
  sq_cu_open(k, "for (int f = (int)SQ_TID; f < (%u - t1) * %u; f += %d) {", b->p.length,
             b->p.columns, SQ_TILES_THREADS);
  sq_cu_line(k, "const int t = t1 + f / %u, j = f %% %u;", b->p.columns, b->p.columns);
  for (uint32_t r = 0; r < b->c.n_read; r++) {
    if (!sq_cu_read_solved(b, r)) continue;
    sq_cu_open(k, "{");
    sq_cu_line(k, "%s sum = SQ_SLD(sum%u, %s);", b->type, r, at_column(b));
    add_turns(b, r, "sum", "t0", "t1");
    sq_cu_line(k, "SQ_SST(sum%u, %s, sum);", r, at_column(b));
    sq_cu_close(k);
  }
  sq_cu_close(k);
}
void sq_cu_blocks_solve(sq_cu_blocks *b) {
  sq_cu *k = b->k;
  if (!b->c.n_solved) return;
  sq_cu_line(k, "#pragma unroll 1");
  sq_cu_open(k, "for (int t0 = 0; t0 < %u; t0 += %d) {", b->p.length, SOLVED);
  sq_cu_line(k, "const int t1 = t0 + %d;", SOLVED);
  sq_cu_line(k, "SQ_SYNC();");
  sq_cu_line(k, "const sq_i64 l%u = c0 + SQ_TID;", b->c.column);
  sq_cu_open(k, "if (SQ_TID < %u && l%u < %s) {", b->p.columns, b->c.column,
             sq_cu_dim(k, b->s->size[b->c.column]));
  sq_cu_line(k, "const int j = (int)SQ_TID;");
  sq_cu_open(k, "for (int t = t0; t < t1 && i0 + t < %s; t++) {", turn_count(b));
  name_turn(b);
  solve_turn(b);
  sq_cu_close(k);
  sq_cu_close(k);
  sq_cu_line(k, "SQ_SYNC();");
  add_behind(b);
  sq_cu_close(k);
  sq_cu_line(k, "SQ_SYNC();");
}

// ---- what follows ------------------------------------------------------------------------------
void sq_cu_blocks_after(sq_cu_blocks *b) {
  sq_cu *k = b->k;
  const sq_sweep *s = b->s;
  uint32_t read = 0;
  sq_cu_blocks_open(b, "t", b->p.length, "j", b->p.columns);
  sq_cu_line(k, "const sq_i64 l%u = c0 + j;", b->c.column);
  sq_cu_line(k, "const bool live = i0 + t < %s && l%u < %s;", turn_count(b), b->c.column,
             sq_cu_dim(k, s->size[b->c.column]));
  sq_cu_open(k, "if (live%s) {", b->cut ? " && i0 >= first" : "");
  name_turn(b);
  for (uint32_t i = 0; i < s->n_member; i++) {
    if (b->c.role[i] == SQ_CHUNK_READ) {
      const char *x = sq_arena_fmt(k->a, "sum%u", read), *at = at_column(b);
      const char *sum = sq_cu_temp(k, "sum");
      sq_cu_line(k, "const %s %s = SQ_SLD(%s, %s);", b->type, sum, x,
                 sq_cu_read_wide(b, read) ? at : "t");
      take(b, i, sum);
      read++;
    }
    if (b->c.role[i] == SQ_CHUNK_FREE || b->c.role[i] == SQ_CHUNK_AFTER) member(b, i);
  }
  for (uint32_t i = 0; i < s->n_store; i++) sq_cu_sweep_write(&b->w, &s->store[i]);
  sq_cu_close(k);
  sq_cu_close(k);
}
