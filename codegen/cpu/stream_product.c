// Products of attention with rows along the lanes: functions that all streams of a module share.
//
//   scores   out[j][rows] = sum over e of q[e][rows] k[j, e]       some keys by some vectors of rows
//   values   o[c][rows] = o[c][rows] by[rows] + sum over j of p[j][rows] v[j, c]      columns by rows
//   turn     a matrix transposed, in squares of vectors
//
// Sums stay in registers; q and p come from the first-level cache, keys and values element by element.
// For each number of vectors of rows that a set may have there is one function.
#include "codegen/cpu/stream.h"

static sq_lv add(sq_kern *k, sq_lv a, int64_t b) {
  return LLVMBuildAdd(k->b, a, sq_k_int(k, b), "");
}
static sq_lv plus(sq_kern *k, sq_lv a, sq_lv b) { return LLVMBuildAdd(k->b, a, b, ""); }
static sq_lv mul(sq_kern *k, sq_lv a, sq_lv b) { return LLVMBuildMul(k->b, a, b, ""); }
static sq_lv at(sq_kern *k, const sq_kstream *s, sq_lv base, sq_lv i) {
  return sq_k_offset(k, base, i, s->type);
}
static sq_lv load(sq_kern *k, const sq_kstream *s, sq_lv base, sq_lv i) {
  return sq_k_load_row(k, s->type, at(k, s, base, i), s->w, NULL);
}
static void store(sq_kern *k, const sq_kstream *s, sq_lv base, sq_lv i, sq_lv v) {
  sq_k_store_row(k, s->type, at(k, s, base, i), v, NULL);
}
static sq_lv splat(sq_kern *k, const sq_kstream *s, sq_lv base, sq_lv i) {
  return sq_k_splat(k, sq_k_load(k, s->type, at(k, s, base, i)), s->w);
}
static LLVMTypeRef function_type(sq_kern *k, const char *args) {
  LLVMTypeRef in[8];
  unsigned n = 0;
  for (; args[n]; n++) in[n] = args[n] == 'p' ? k->ptr : k->i64;
  return LLVMFunctionType(LLVMVoidTypeInContext(k->c), in, n, 0);
}
static sq_lv shared(sq_kern *k, const sq_kstream *s, const char *what, LLVMTypeRef type,
                    sq_kern *f) {
  const char *name = sq_arena_fmt(k->a, "sq.stream.%s.f%ux%ux%u", what, 8 * s->bytes, s->w, s->set);
  return sq_kern_shared(k, name, type, f);
}

// ---- a tile ------------------------------------------------------------------------------------
// Lines (keys, columns) by nv vectors of rows.
typedef struct tile {
  sq_kern *k;
  const sq_kstream *s;
  bool dots; // elements and lanes are pairs
  uint32_t lines, nv;
  sq_lv acc[SQ_K_CARRIED];
} tile;

// As many lines as leave registers for a vector of each row set and one element.
static uint32_t lines_for(const sq_kstream *s, uint32_t nv) {
  uint32_t sums = s->target->machine.vector_registers >= 32 ? 24 : s->target->machine.fma ? 12 : 8;
  uint32_t n = sums / nv;
  return n > 16 ? 16 : n;
}

// acc += element x vectors; `where`: per vector, or NULL.
static void multiply(tile *t, uint32_t line, sq_lv element, const sq_lv *b, const sq_lv *where) {
  for (uint32_t v = 0; v < t->nv; v++) {
    sq_lv *sum = &t->acc[line * t->nv + v];
    sq_lv more =
        t->dots ? sq_k_pair_dot(t->k, *sum, element, b[v]) : sq_k_fma(t->k, element, b[v], *sum);
    *sum = where ? LLVMBuildSelect(t->k->b, where[v], more, *sum, "") : more;
  }
}
static void load_vectors(tile *t, sq_lv base, sq_lv line, sq_lv *b) {
  sq_lv first = mul(t->k, line, sq_k_int(t->k, t->s->set));
  for (uint32_t v = 0; v < t->nv; v++)
    b[v] = load(t->k, t->s, base, add(t->k, first, (int64_t)v * t->s->w));
}
static void store_tile(tile *t, sq_lv base, sq_lv line) {
  for (uint32_t r = 0; r < t->lines; r++) {
    sq_lv first = mul(t->k, add(t->k, line, r), sq_k_int(t->k, t->s->set));
    for (uint32_t v = 0; v < t->nv; v++)
      store(t->k, t->s, base, add(t->k, first, (int64_t)v * t->s->w), t->acc[r * t->nv + v]);
  }
}

// ---- scores ------------------------------------------------------------------------------------
enum { UNROLL = 2 };
typedef struct args {
  sq_lv a, b, step, length, n, out, by;
  bool dots;
} args;
static sq_dtype key_type(const tile *t) { return t->dots ? SQ_BF16 : t->s->type; }
// Two neighbours of BF16 in all lanes; `single`: 0 beside it.
static sq_lv splat_pair(tile *t, sq_lv key, sq_lv e, bool single) {
  sq_kern *k = t->k;
  sq_lv i = mul(k, e, sq_k_int(k, 2));
  sq_lv v = LLVMBuildLoad2(k->b, single ? k->i16 : k->i32, sq_k_offset(k, key, i, SQ_BF16), "");
  LLVMSetAlignment(v, 2);
  if (single) v = LLVMBuildZExt(k->b, v, k->i32, "");
  return sq_k_splat(k, LLVMBuildBitCast(k->b, v, sq_k_type(k, t->s->type), ""), t->s->w);
}
static void odd_of_width(tile *t, const args *x, const sq_lv *key) {
  sq_kern *k = t->k;
  uint32_t n = t->lines * t->nv;
  sq_kif f;
  sq_lv e = LLVMBuildLShr(k->b, x->length, sq_k_int(k, 1), ""), had[SQ_K_CARRIED], b[8];
  memcpy(had, t->acc, n * sizeof *had);
  sq_lv odd = LLVMBuildAnd(k->b, x->length, sq_k_int(k, 1), "");
  sq_kif_begin(k, &f, LLVMBuildICmp(k->b, LLVMIntNE, odd, sq_k_int(k, 0), ""));
  load_vectors(t, x->a, e, b);
  for (uint32_t r = 0; r < t->lines; r++) multiply(t, r, splat_pair(t, key[r], e, true), b, NULL);
  sq_kif_end(k, &f, n, t->acc, had, t->acc);
}

static void sum_width(tile *t, const args *x, const sq_lv *key) {
  sq_kern *k = t->k;
  uint32_t n = t->lines * t->nv;
  sq_lv length = t->dots ? LLVMBuildLShr(k->b, x->length, sq_k_int(k, 1), "") : x->length, b[8];
  sq_lv whole = LLVMBuildAnd(k->b, length, sq_k_int(k, -UNROLL), "");
  sq_kloop l;
  for (int turn = 0; turn < 2; turn++) {
    uint32_t unroll = turn ? 1 : UNROLL;
    sq_kloop_begin(k, &l, turn ? whole : sq_k_int(k, 0), turn ? length : whole, unroll, n, t->acc);
    memcpy(t->acc, l.phi, n * sizeof *t->acc);
    for (uint32_t u = 0; u < unroll; u++) {
      sq_lv e = add(k, l.i, u);
      load_vectors(t, x->a, e, b);
      for (uint32_t r = 0; r < t->lines; r++)
        multiply(t, r, t->dots ? splat_pair(t, key[r], e, false) : splat(k, t->s, key[r], e), b,
                 NULL);
    }
    sq_kloop_end(k, &l, t->acc);
    memcpy(t->acc, l.phi, n * sizeof *t->acc);
  }
  if (t->dots) odd_of_width(t, x, key);
}
// Keys j .. j + lines - 1; `last`: those beyond it repeat it, NULL: there are none.
static void scores_tile(sq_kern *k, const sq_kstream *s, const args *x, uint32_t nv, sq_lv j,
                        sq_lv last) {
  tile t = {.k = k, .s = s, .dots = x->dots, .nv = nv, .lines = lines_for(s, nv)};
  sq_lv key[SQ_K_CARRIED];
  for (uint32_t r = 0; r < t.lines; r++) {
    sq_lv i = add(k, j, r);
    sq_lv line = mul(k, last ? sq_k_min(k, i, last) : i, x->step);
    key[r] = sq_k_offset(k, x->b, line, key_type(&t));
  }
  for (uint32_t i = 0; i < t.lines * nv; i++)
    t.acc[i] = LLVMConstNull(sq_k_vec(sq_k_type(k, s->type), s->w));
  sum_width(&t, x, key);
  store_tile(&t, x->out, j);
}
static void scores_body(sq_kern *k, const sq_kstream *s, const args *x, uint32_t nv) {
  int64_t lines = lines_for(s, nv);
  sq_kloop whole;
  sq_kif rest;
  sq_kloop_begin(k, &whole, sq_k_int(k, 0), add(k, x->n, 1 - lines), lines, 0, NULL);
  scores_tile(k, s, x, nv, whole.i, NULL);
  sq_kloop_end(k, &whole, NULL);
  sq_kif_begin(k, &rest, LLVMBuildICmp(k->b, LLVMIntSLT, whole.i, x->n, ""));
  scores_tile(k, s, x, nv, whole.i, add(k, x->n, -1));
  sq_kif_end(k, &rest, 0, NULL, NULL, NULL);
}

// ---- values ------------------------------------------------------------------------------------
// Columns c .. c + lines - 1.
static void values_tile(sq_kern *k, const sq_kstream *s, const args *x, uint32_t nv, uint32_t lines,
                        sq_lv c, bool holes) {
  tile t = {.k = k, .s = s, .dots = x->dots, .nv = nv, .lines = lines};
  uint32_t n = lines * nv;
  sq_lv b[8], where[8], by[8];
  sq_kloop j;
  if (x->by) load_vectors(&t, x->by, sq_k_int(k, 0), by);
  for (uint32_t r = 0; r < lines; r++) {
    load_vectors(&t, x->out, add(k, c, r), &t.acc[r * nv]);
    for (uint32_t v = 0; x->by && v < nv; v++)
      t.acc[r * nv + v] = LLVMBuildFMul(k->b, t.acc[r * nv + v], by[v], "");
  }
  sq_lv column = at(k, s, x->b, c);
  sq_kloop_begin(k, &j, sq_k_int(k, 0), x->n, 1, n, t.acc);
  memcpy(t.acc, j.phi, n * sizeof *t.acc);
  load_vectors(&t, x->a, j.i, b);
  for (uint32_t v = 0; holes && v < nv; v++)
    where[v] = LLVMBuildFCmp(k->b, LLVMRealUNE, b[v], LLVMConstNull(LLVMTypeOf(b[v])), "");
  sq_lv line = at(k, s, column, mul(k, j.i, x->step));
  for (uint32_t r = 0; r < lines; r++)
    multiply(&t, r, splat(k, s, line, sq_k_int(k, r)), b, holes ? where : NULL);
  sq_kloop_end(k, &j, t.acc);
  memcpy(t.acc, j.phi, n * sizeof *t.acc);
  store_tile(&t, x->out, c);
}
static void values_body(sq_kern *k, const sq_kstream *s, const args *x, uint32_t nv, bool holes) {
  uint32_t most = lines_for(s, nv);
  sq_lv c = sq_k_int(k, 0);
  sq_kloop l;
  if (most > 8) most = 8;
  for (uint32_t lines = most; lines; lines = lines > 1 ? 1 : 0) {
    sq_kloop_begin(k, &l, c, add(k, x->length, 1 - (int64_t)lines), lines, 0, NULL);
    values_tile(k, s, x, nv, lines, l.i, holes);
    sq_kloop_end(k, &l, NULL);
    c = l.i;
  }
}

// ---- one function for each number of vectors ---------------------------------------------------
typedef struct product {
  const char *name, *args;
  bool values, by, holes, dots;
} product;

static sq_lv function_for(sq_kern *k, const sq_kstream *s, const product *p, uint32_t nv) {
  LLVMTypeRef type = function_type(k, p->args);
  sq_kern f;
  sq_lv fn = shared(k, s, sq_arena_fmt(k->a, "%s%u", p->name, nv), type, &f);
  if (!f.fn) return fn;
  args x = {.a = LLVMGetParam(fn, 0),
            .b = LLVMGetParam(fn, 1),
            .step = LLVMGetParam(fn, 2),
            .length = LLVMGetParam(fn, 3),
            .n = LLVMGetParam(fn, 4),
            .out = LLVMGetParam(fn, 5),
            .dots = p->dots};
  if (p->by) x.by = LLVMGetParam(fn, 6);
  if (p->values)
    values_body(&f, s, &x, nv, p->holes);
  else
    scores_body(&f, s, &x, nv);
  LLVMBuildRetVoid(f.b);
  sq_kern_shared_end(&f);
  return fn;
}
static void call(sq_kern *k, const sq_kstream *s, const product *p, sq_lv *arg, sq_lv vectors) {
  LLVMTypeRef type = function_type(k, p->args);
  unsigned n_arg = (unsigned)strlen(p->args);
  sq_kif f[8];
  for (uint32_t nv = 1; nv <= s->nv; nv++) {
    if (nv < s->nv)
      sq_kif_begin(k, &f[nv], LLVMBuildICmp(k->b, LLVMIntSLE, vectors, sq_k_int(k, nv), ""));
    LLVMBuildCall2(k->b, type, function_for(k, s, p, nv), arg, n_arg, "");
    if (nv < s->nv) sq_kif_else(k, &f[nv]);
  }
  for (uint32_t nv = s->nv - 1; nv; nv--) sq_kif_end(k, &f[nv], 0, NULL, NULL, NULL);
}
void sq_kstream_scores(sq_kern *k, const sq_kstream *s, sq_lv q, sq_lv keys, sq_lv step,
                       sq_lv width, sq_lv n, sq_lv out, sq_lv vectors) {
  static const product p = {.name = "scores", .args = "ppiiip"};
  call(k, s, &p, (sq_lv[]){q, keys, step, width, n, out}, vectors);
}
void sq_kstream_values(sq_kern *k, const sq_kstream *s, sq_lv p, sq_lv values, sq_lv step,
                       sq_lv columns, sq_lv n, sq_lv o, sq_lv by, sq_lv vectors, bool holes) {
  static const product kind[] = {
      {.name = "sums", .args = "ppiiip", .values = true},
      {.name = "sums.holes", .args = "ppiiip", .values = true, .holes = true},
      {.name = "values", .args = "ppiiipp", .values = true, .by = true},
      {.name = "values.holes", .args = "ppiiipp", .values = true, .by = true, .holes = true},
  };
  call(k, s, &kind[2 * (by != NULL) + holes], (sq_lv[]){p, values, step, columns, n, o, by},
       vectors);
}

void sq_kstream_dot_scores(sq_kern *k, const sq_kstream *s, sq_lv q2, sq_lv keys, sq_lv step,
                           sq_lv width, sq_lv n, sq_lv out, sq_lv vectors) {
  static const product p = {.name = "dot.scores", .args = "ppiiip", .dots = true};
  call(k, s, &p, (sq_lv[]){q2, keys, step, width, n, out}, vectors);
}
void sq_kstream_dot_values(sq_kern *k, const sq_kstream *s, sq_lv p2, sq_lv v2, sq_lv step,
                           sq_lv columns, sq_lv n, sq_lv o, sq_lv by, sq_lv vectors) {
  static const product kind[] = {
      {.name = "dot.sums", .args = "ppiiip", .values = true, .dots = true},
      {.name = "dot.values", .args = "ppiiipp", .values = true, .by = true, .dots = true},
  };
  sq_lv pairs = LLVMBuildLShr(k->b, add(k, n, 1), sq_k_int(k, 1), "");
  call(k, s, &kind[by != NULL], (sq_lv[]){p2, v2, step, columns, pairs, o, by}, vectors);
}

// ---- turn --------------------------------------------------------------------------------------
// The square of v[0] .. v[w-1] transposed: blocks of n change places, n = 1, 2, 4 ...
static void transpose(sq_kern *k, sq_lv *v, uint32_t w) {
  for (uint32_t n = 1; n < w; n *= 2)
    for (uint32_t i = 0; i < w; i++) {
      if (i & n) continue;
      sq_lv lo[64], hi[64], a = v[i], b = v[i + n];
      for (uint32_t l = 0; l < w; l++) {
        lo[l] = LLVMConstInt(k->i32, l & n ? w + l - n : l, 0);
        hi[l] = LLVMConstInt(k->i32, l & n ? w + l : l + n, 0);
      }
      v[i] = LLVMBuildShuffleVector(k->b, a, b, LLVMConstVector(lo, w), "");
      v[i + n] = LLVMBuildShuffleVector(k->b, a, b, LLVMConstVector(hi, w), "");
    }
}
static void turn_body(sq_kern *k, const sq_kstream *s, sq_lv fn) {
  sq_lv from = LLVMGetParam(fn, 0), from_step = LLVMGetParam(fn, 1), to = LLVMGetParam(fn, 4);
  sq_lv to_step = LLVMGetParam(fn, 5), zero = sq_k_int(k, 0), v[64];
  sq_kloop r, c;
  sq_kloop_begin(k, &r, zero, LLVMGetParam(fn, 2), s->w, 0, NULL);
  sq_kloop_begin(k, &c, zero, LLVMGetParam(fn, 3), s->w, 0, NULL);
  for (uint32_t i = 0; i < s->w; i++)
    v[i] = load(k, s, from, plus(k, mul(k, add(k, r.i, i), from_step), c.i));
  transpose(k, v, s->w);
  for (uint32_t i = 0; i < s->w; i++)
    store(k, s, to, plus(k, mul(k, add(k, c.i, i), to_step), r.i), v[i]);
  sq_kloop_end(k, &c, NULL);
  sq_kloop_end(k, &r, NULL);
  LLVMBuildRetVoid(k->b);
}
void sq_kstream_turn(sq_kern *k, const sq_kstream *s, sq_lv from, sq_lv from_step, sq_lv rows,
                     sq_lv columns, sq_lv to, sq_lv to_step) {
  LLVMTypeRef type = function_type(k, "piiipi");
  sq_kern f;
  sq_lv fn = shared(k, s, "turn", type, &f);
  if (f.fn) {
    turn_body(&f, s, fn);
    sq_kern_shared_end(&f);
  }
  LLVMBuildCall2(k->b, type, fn, (sq_lv[]){from, from_step, rows, columns, to, to_step}, 6, "");
}
