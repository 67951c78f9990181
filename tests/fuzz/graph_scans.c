// Random scans, as text: a matrix state that turns decay and add products to, in many spellings, the
// delta rule among them, states that move by maps (affine, max-plus, online softmax), with resets, states that read
// each other, and two scans of states that are alike.
// Where the form is one that blocks of turns or maps must take, the scan stands in such a sweep at once
// half of the time: what the analysis refuses then is a fault.
//
//   entry @f(%q: f32[N, 2, 9], ...) -> (y: ..., l: ...) {
//     %y, %l = sweep chunk 16 { %p, %e = scan extent N carried 1 (%h) { (%t: i32, %s: f32[2, 9, 33]) ...
//
// Decays are at most 1 and steps of the delta rule at most 2 / |k|^2, so nothing grows; an infinity comes
// now and then.
#include "tests/fuzz/graph_gen.h"
#include <math.h>

typedef struct gs {
  gn r;
  sq_arena *a;
  int heads, rows, columns; // heads 0: there is no such axis
  const char *type;
  bool strict; // of a form that blocks take
} gs;

static uint32_t below(gs *w, uint32_t n) { return gn_next(&w->r, n); }
static bool one_in(gs *w, uint32_t n) { return gn_one_in(&w->r, n); }
#define PICK(w, ...)                                                                               \
  ((const char *const[]){                                                                          \
      __VA_ARGS__})[below(w, sizeof((const char *const[]){__VA_ARGS__}) / sizeof(const char *))]
#define FMT(...) sq_arena_fmt(w->a, __VA_ARGS__)

// ---- pieces ------------------------------------------------------------------------------------
// Letters behind @ stand for reads: at the turn q k p a by rows, v x by columns, g by heads; of this
// turn s m n by both, y z by rows, w f by columns.
static const char *piece(gs *w, const char *text) {
  sq_text t = {.arena = w->a};
  const char *b = w->heads ? "b, " : "", *last = w->heads ? ", b" : "";
  sq_text_put(&t, "", 0);
  for (const char *s = text; *s; s++) {
    if (*s != '@') {
      sq_text_put(&t, s, 1);
      continue;
    }
    char c = *++s;
    if (strchr("qkpa", c)) sq_text_add(&t, "%%%c[t0, %si]", c, b);
    if (strchr("vx", c)) sq_text_add(&t, "%%%c[t0, %sj]", c, b);
    if (c == 'g') sq_text_add(&t, "%%g[t0%s]", last);
    if (strchr("snm", c)) sq_text_add(&t, "%%%c[%si, j]", c, b);
    if (strchr("yz", c)) sq_text_add(&t, "%%%c[%si]", c, b);
    if (strchr("wf", c)) sq_text_add(&t, "%%%c[%sj]", c, b);
  }
  return t.v;
}

static const char *axes(gs *w, bool rows, bool columns) {
  sq_text t = {.arena = w->a};
  sq_text_put(&t, "", 0);
  if (w->heads) sq_text_add(&t, "b < %d", w->heads);
  if (rows) sq_text_add(&t, "%si < %d", t.n ? ", " : "", w->rows);
  if (columns) sq_text_add(&t, "%sj < %d", t.n ? ", " : "", w->columns);
  return t.v;
}

static const char *shape(gs *w, const char *front, bool rows, bool columns) {
  sq_text t = {.arena = w->a};
  sq_text_add(&t, "%s[%s", w->type, front);
  bool comma = *front;
  if (w->heads) sq_text_add(&t, "%s%d", comma ? ", " : "", w->heads), comma = true;
  if (rows) sq_text_add(&t, "%s%d", comma ? ", " : "", w->rows), comma = true;
  if (columns) sq_text_add(&t, "%s%d", comma ? ", " : "", w->columns);
  sq_text_put(&t, "]", 1);
  return t.n == strlen(w->type) + 2 ? w->type : t.v;
}

// An operation whose operands are those that its scalar names; `red`: "i < 9" or NULL.
static const char *node(gs *w, const char *name, const char *par, const char *red,
                        const char *scalar, const char *type) {
  sq_text t = {.arena = w->a}, in = {.arena = w->a};
  sq_text_put(&in, "", 0);
  if (strstr(scalar, "[t0")) scalar = FMT("t0 = i64(%%t); %s", scalar);
  for (const char *s = scalar; (s = strchr(s, '%'));) {
    size_t n = 1;
    while (strchr("abcdefghijklmnopqrstuvwxyz0123456789", s[n]) && s[n]) n++;
    const char *one = FMT("%.*s, ", (int)n, s);
    if (!strstr(in.v, one)) sq_text_put(&in, one, n + 2);
    s += n;
  }
  sq_text_add(&t, "%%%s = generic (%.*s) [%s]%s%s%s { %s } : %s\n", name, in.n ? (int)in.n - 2 : 0,
              in.v, par, red ? " sum [" : "", red ? red : "", red ? "]" : "", scalar, type);
  return t.v;
}

static const char *decay(gs *w) {
  if (one_in(w, 12)) { // not of a form that blocks take
    w->strict = false;
    return PICK(w, "sigmoid(@v)", "sigmoid(@a) * sigmoid(@x)");
  }
  return PICK(w, "1.0", "0.9", "0.0", "1e-30", "sigmoid(@g)", "exp(neg(exp(@g)))", "sigmoid(@a)",
              "sigmoid(@g) * sigmoid(@a)", "select(@g < 0.0, 0.0, 1.0)", "neg(sigmoid(@g))",
              "select(@a < -1.9, 0.0, 0.99)", "(1.0 - sigmoid(@g))", "(1.0 / (1.0 + exp(@a)))");
}

static const char *key(gs *w) {
  return PICK(w, "0.3 * @k", "exp(0.3 * @k)", "@k / 4.0", "(1.0 - sigmoid(@a))", "1.0",
              "select(@k < 0.0, 0.2, @k)", "neg(@k) * 0.25", "(0.1 * @k + 0.1 * @p)");
}

static const char *column(gs *w) {
  if (one_in(w, 25)) return "select(1.995 < @v, inf, @v)";
  return PICK(w, "@v", "0.5 * @v", "@v * sigmoid(@g)", "(@v - @x)", "tanh(@v)", "1.0", "0.0",
              "select(0.0 < @g, @v, 0.0)");
}

// The next state in one of many spellings: of decay d, key k, column c.
static const char *plain_step(gs *w) {
  const char *d = decay(w), *k = key(w), *c = column(w);
  switch (below(w, 8)) {
  case 0:
    return FMT("%s * @s + %s * (%s)", d, k, c);
  case 1:
    return FMT("%s * (%s) + @s * (%s)", c, k, d);
  case 2:
    return FMT("@s * (%s) - neg(%s) * (%s)", d, k, c);
  case 3:
    return FMT("@s - (1.0 - (%s)) * @s + %s * (%s)", d, k, c);
  case 4:
    return FMT("select(1.0 < @g, @s, %s * @s + %s * (%s))", d, k, c);
  case 5:
    return FMT("@s + (1.0 - (%s)) * (%s * (%s) - @s)", d, k, c);
  case 6:
    return FMT("neg(neg(@s) * (%s)) + (%s) / 2.0 * (%s)", d, c, k);
  default:
    return FMT("%s * (%s) * 0.5 + (%s) * @s + 0.5 * (%s) * (%s)", c, k, d, c, k);
  }
}

// ---- the delta rule ----------------------------------------------------------------------------
// Keys are at most 1 long: elements of %k at most 2, of 0.5 / sqrt(rows).
static const char *short_key(gs *w) {
  double by = 0.5 / sqrt(w->rows);
  return one_in(w, 2) ? FMT("%.4f * @k", by) : FMT("@k * (%.4f)", by);
}

// The state times a matrix of a diagonal and a product of the key with itself.
static const char *matrix_step(gs *w, const char *d, const char *b, const char *k, const char *c) {
  sq_text other = {.arena = w->a};
  for (const char *s = piece(w, k); *s; s++)
    sq_text_put(&other, s[0] == 'i' && s[1] == ']' ? "l" : s, 1);
  const char *step = piece(w, FMT("(select(i == l, %s, 0.0) - (%s) * (%s) * (%s)) * %%s[%sl, j]; "
                                  "post acc + (%s) * (%s) * (%s)",
                                  d, b, k, other.v, w->heads ? "b, " : "", b, k, c));
  w->strict = false;
  return node(w, "n", axes(w, true, true), FMT("l < %d", w->rows), step, shape(w, "", true, true));
}

// Lines of the body that make %n of %s; %w is what the key reads of the state.
static const char *delta_step(gs *w) {
  sq_text t = {.arena = w->a};
  const char *d = one_in(w, 4) ? "sigmoid(@a)" : PICK(w, "1.0", "0.9", "0.0", "sigmoid(@g)");
  const char *b = PICK(w, "1.0", "2.0", "0.0", "(1.0 + tanh(@g))", "sigmoid(@g)", "sigmoid(@v)");
  const char *k = short_key(w), *c = column(w), *red = FMT("i < %d", w->rows), *step;
  const char *matrix = shape(w, "", true, true), *vector = shape(w, "", false, true);
  const char *par = axes(w, false, true), *all = axes(w, true, true);
  uint32_t how = below(w, 9);
  if (how == 8) return matrix_step(w, d, b, k, c);
  bool first = how == 1 || how == 4; // decays before it reads
  if (first) sq_text_add(&t, "%s", node(w, "m", all, NULL, piece(w, FMT("(%s) * @s", d)), matrix));
  const char *read = first ? FMT("(%s) * @m", k) : FMT("@s * (%s)", k);
  sq_text_add(&t, "%s", node(w, "w", par, red, piece(w, read), vector));
  const char *s = first ? "@m" : FMT("(%s) * @s", d);
  switch (how) {
  case 0:
  case 1:
    step = FMT("%s + (%s) * (%s) * ((%s) - @w)", s, b, k, c);
    break;
  case 2:
    step = FMT("%s - (%s) * @w * (%s) + (%s) * (%s) * (%s)", s, k, b, b, k, c);
    break;
  case 3: // with a decay of rows two keys
    w->strict &= strstr(d, "@a") == NULL;
    step = FMT("(%s) * (@s - (%s) * (@w * (%s))) + (%s) * ((%s) * (%s))", d, b, k, c, b, k);
    break;
  case 4:
    step = FMT("%s - (%s) * @w + (%s) * ((%s) * (%s) + (1.0 - (%s)) * @w)", s, k, k, b, c, b);
    break;
  case 5:
    step = FMT("%s + (%s) * tanh((%s) - @w)", s, k, c);
    break;
  case 6:
    step = FMT("select(1.0 < @g, @s, %s + (%s) * ((%s) * ((%s) - @w)))", s, k, b, c);
    break;
  default:
    sq_text_add(&t, "%s",
                node(w, "f", par, NULL, piece(w, FMT("(%s) * ((%s) - @w)", b, c)), vector));
    step = FMT("%s - neg(%s) * @f", s, k);
  }
  sq_text_add(&t, "%s", node(w, "n", all, NULL, piece(w, step), matrix));
  return t.v;
}

// ---- scans of a matrix -------------------------------------------------------------------------
static int width(gs *w) {
  static const int odd[] = {1, 2, 3, 5, 8, 9, 16, 17, 24, 31, 32, 33, 40, 64, 65, 70};
  return one_in(w, 2) ? 1 + (int)below(w, 9) : odd[below(w, 16)];
}

// Sums that read the state before and after; gives how many.
static uint32_t add_reads(gs *w, sq_text *t, bool norm) {
  uint32_t n = 1 + below(w, 2);
  const char *red = FMT("i < %d", w->rows);
  for (uint32_t k = 0; k < n; k++) {
    char from = one_in(w, 3) ? 's' : 'n';
    const char *by =
        PICK(w, "0.1 * @q", "@q / 8.0", "exp(0.2 * @q) * 0.1", "(0.1 * @q + 0.05 * @p)", "0.1");
    const char *body = one_in(w, 2) ? FMT("(%s) * @%c", by, from) : FMT("@%c * (%s)", from, by);
    if (one_in(w, 5)) body = FMT("0.1 * @q * @s - (%s) * @n", by);
    if (one_in(w, 4)) body = FMT("%s; post acc * 0.5", body);
    sq_text_add(t, "%s",
                node(w, FMT("r%u", k), axes(w, false, true), red, piece(w, body),
                     shape(w, "", false, true)));
  }
  const char *sum = one_in(w, 3) ? "exp(0.1 * @q) * @z * 0.1" : "0.1 * @y * exp(0.1 * @q)";
  if (norm)
    sq_text_add(
        t, "%s",
        node(w, "r9", axes(w, false, false), red, piece(w, sum), shape(w, "", false, false)));
  return n;
}

static const char *rest(gs *w, uint32_t reads, bool norm) {
  const char *b = w->heads ? "b, " : "";
  sq_text t = {.arena = w->a};
  sq_text_add(&t, "%s(%%r0[%sj]", PICK(w, "", "tanh", "0.5 * "), b);
  if (reads > 1) sq_text_add(&t, " + %%r1[%sj]", b);
  if (norm) sq_text_add(&t, " / (1.0 + abs(%%r9%s))", w->heads ? "[b]" : "");
  sq_text_add(&t, ")");
  if (one_in(w, 3)) sq_text_add(&t, " * %s", piece(w, "sigmoid(@v)"));
  return node(w, "e0", axes(w, false, true), NULL, t.v, shape(w, "", false, true));
}

// The scan, and work on what it emits: %fo and %la.
static const char *matrix_scan(gs *w) {
  sq_text t = {.arena = w->a};
  bool norm = one_in(w, 3);
  const char *state = shape(w, "", true, true), *z = shape(w, "", true, false);
  const char *every = shape(w, "N", false, true), *b = w->heads ? "b, " : "";
  sq_text_add(&t, "%%la, %s%%em = scan extent N %scarried %d (%%h%s) { (%%t: i32, %%s: %s%s%s)\n",
              norm ? "%lz, " : "", one_in(w, 3) ? "reversed " : "", 1 + norm, norm ? ", %c" : "",
              state, norm ? ", %y: " : "", norm ? z : "");
  if (one_in(w, 2))
    sq_text_add(&t, "%s", delta_step(w));
  else
    sq_text_add(&t, "%s", node(w, "n", axes(w, true, true), NULL, piece(w, plain_step(w)), state));
  const char *sum = PICK(w, "@y + 0.1 * exp(0.3 * @k)", "0.9 * @y + 0.3 * @k",
                         "sigmoid(@g) * @y + 1.0", "sigmoid(@a) * @y - 0.1 * @k");
  if (norm) sq_text_add(&t, "%s", node(w, "z", axes(w, true, false), NULL, piece(w, sum), z));
  uint32_t reads = add_reads(w, &t, norm);
  sq_text_add(&t, "%syield %%n, %s%%e0\n} : %s, %s%s%s\n", rest(w, reads, norm), norm ? "%z, " : "",
              state, norm ? z : "", norm ? ", " : "", every);
  const char *follow = FMT("%%em[t, %sj]", b);
  if (one_in(w, 3)) follow = FMT("%s + 0.5 * %%v[t, %sj]", follow, b);
  sq_text_add(&t, "%s", node(w, "fo", FMT("t < N, %s", axes(w, false, true)), NULL, follow, every));
  return t.v;
}

static const char *matrix(gs *w) {
  sq_text t = {.arena = w->a};
  w->heads = one_in(w, 2) ? 0 : 1 + (int)below(w, 3);
  w->rows = width(w);
  w->columns = width(w);
  w->type = one_in(w, 6) ? "f64" : "f32";
  w->strict = true;
  const char *scan = matrix_scan(w), *state = shape(w, "", true, true);
  const char *row = shape(w, "N", true, false), *every = shape(w, "N", false, true);
  bool wrap = w->strict && one_in(w, 2);
  sq_text_add(&t,
              "graph scans %s\nsym N size\nentry @run(%%q: %s, %%k: %s, %%p: %s, %%a: %s, %%v: %s, "
              "%%x: %s, %%g: %s, %%h: %s, %%c: %s) -> (y: %s, l: %s) {\n",
              w->type, row, row, row, row, every, every, shape(w, "N", false, false), state,
              shape(w, "", true, false), every, state);
  if (wrap)
    sq_text_add(&t,
                "%%e, %%l = sweep chunk %s {\n%syield %%fo, %%la\n} : %s, %s\nyield %%e, %%l\n}\n",
                PICK(w, "16", "16", "32", "64"), scan, every, state);
  else
    sq_text_add(&t, "%syield %%fo, %%la\n}\n", scan);
  return t.v;
}

// ---- scans by maps -----------------------------------------------------------------------------
static const char *map_step(gs *w, const char *s, const char *free) {
  const char *a = PICK(w, "sigmoid(%a[t0])", "0.5", "0.0", "1.0", "neg(sigmoid(%a[t0]))",
                       "select(%a[t0] < 0.0, 0.0, 1.0)", "1e-30", "exp(neg(exp(%a[t0])))");
  const char *p = PICK(w, "sigmoid(%a[t0])", "0.5", "0.0", "1.0", "(1.0 / (1.0 + exp(%a[t0])))");
  switch (below(w, 12)) {
  case 0:
    return FMT("(%s) * %s + %s", a, s, free);
  case 1:
    return FMT("%s + (%s) * (%s - %s)", s, p, free, s);
  case 2:
    return FMT("select(1.2 < %%g[t0], %s, (%s) * %s + %s)", free, a, s, free);
  case 3:
    return FMT("(%s) / (2.0 + %%a[t0] * %%a[t0]) - neg(%s)", s, free);
  case 4:
    return FMT("maximum(%s + %%a[t0], %s)", s, free);
  case 5:
    return FMT("minimum(%s, maximum(%s - %%g[t0], %s)) ", s, free, s); // not by maps
  case 6:
    return FMT("minimum(%s, minimum(%s + %%a[t0], %s))", free, s, free);
  case 7:
    return FMT("maximum(%%g[t0], %s) - 0.25", s);
  case 8:
    return FMT("select(1.2 < %%g[t0], 0.0, %s) + %s", s, free);
  case 9:
    return FMT("(%s) * (%s + %s)", a, s, free);
  case 10:
    return FMT("tanh(%s + %s)", s, free); // not by maps
  default:
    return FMT("(1.0 - (%s)) * %s + (%s) * %s", p, s, p, free);
  }
}

// `#` in the text stands for the lane's index: "[c]", and "[t0#" for what comes behind the turn.
static const char *laned(gs *w, const char *text) {
  sq_text t = {.arena = w->a};
  sq_text_put(&t, "", 0);
  for (const char *s = text; *s; s++) {
    if (*s != '#')
      sq_text_put(&t, s, 1);
    else if (s > text && s[-1] == '0')
      sq_text_add(&t, w->columns ? ", c]" : "]");
    else if (w->columns)
      sq_text_add(&t, "[c]");
  }
  return t.v;
}

static void add_vector(gs *w, sq_text *t, const char *name, const char *text, const char *type) {
  const char *par = w->columns ? FMT("c < %d", w->columns) : "";
  sq_text_add(t, "%s", node(w, name, par, NULL, laned(w, text), type));
}

// ---- states that read each other -----------------------------------------------------------------
// At most 0.4.
static const char *factor(gs *w) {
  return PICK(w, "0.3", "neg(0.4)", "0.4 * sigmoid(%a[t0])", "0.3 * tanh(%g[t0])", "1e-30",
              "select(%g[t0] < 0.0, 0.0, 0.4)", "(0.4 / (1.0 + %a[t0] * %a[t0]))");
}

static const char *coupled_step(gs *w, const char *s, const char *z, const char *free) {
  const char *a = factor(w), *b = factor(w);
  if (one_in(w, 15)) { // not by maps
    w->strict = false;
    return FMT("tanh((%s) * %s + %s) - (%s) * %s", a, s, free, b, z);
  }
  switch (below(w, 7)) {
  case 0:
    return FMT("%s - (%s) * (%s - %s)", free, a, s, z);
  case 1:
    return FMT("select(1.2 < %%g[t0], %s, (%s) * %s - (%s) * %s)", free, a, z, b, s);
  case 2:
    return FMT("%s + 0.5 * ((%s) * %s + %s - %s)", s, a, z, free, s);
  case 3:
    return FMT("%s - neg(neg(%s) * (%s) - (%s) * %s)", free, s, a, b, z);
  case 4:
    return FMT("(%s + %s) / 2.5", s, z);
  case 5:
    return FMT("select(%%g[t0] < neg(1.2), %s, (%s) * (%s) + (%s) * %s)", s, free, a, b, z);
  default:
    return FMT("(%s) * %s + %s * (%s) + %s", a, s, z, b, free);
  }
}

static void add_coupled(gs *w, sq_text *t, const char *type) {
  const char *free =
      PICK(w, "%x[t0#", "0.5 * %x[t0#", "1.0", "0.0", "select(1.995 < %x[t0#, inf, %x[t0#)");
  add_vector(w, t, "n", coupled_step(w, "%s#", "%z#", free), type);
  add_vector(w, t, "m", coupled_step(w, "%z#", PICK(w, "%s#", "%s#", "%n#"), free), type);
}

static const char *vector_scan(gs *w, const char *type, const char *all) {
  sq_text t = {.arena = w->a};
  sq_text_add(&t,
              "%%l, %%lz, %%em = scan extent N %scarried 2 (%%h, %%k) { (%%t: i32, %%s: %s, %%z: "
              "%s)\n",
              one_in(w, 3) ? "reversed " : "", type, type);
  bool coupled = one_in(w, 3);
  w->strict = true;
  if (coupled) {
    add_coupled(w, &t, type);
  } else if (one_in(w, 5)) { // online softmax
    add_vector(w, &t, "n", "maximum(%s#, %x[t0#)", type);
    add_vector(w, &t, "m", "%z# * exp(%s# - %n#) + exp(%x[t0# - %n#)", type);
  } else {
    const char *free = PICK(w, "%x[t0#", "0.5 * %x[t0#", "1.0", "tanh(%x[t0#) * %a[t0]",
                            "select(1.995 < %x[t0#, inf, %x[t0#)");
    add_vector(w, &t, "n", map_step(w, "%s#", free), type);
    add_vector(w, &t, "m", map_step(w, "%z#", PICK(w, "0.5 * %s#", "0.5 * %n#", "%x[t0#")), type);
  }
  add_vector(
      w, &t, "e",
      PICK(w, "%n# - %m#", "%s# * 0.5 + %m#", "tanh(%n#) + %z#", "select(0.0 < %g[t0], %n#, %z#)"),
      type);
  sq_text_add(&t, "yield %%n, %%m, %%e\n} : %s, %s, %s\nyield %%em, %%l, %%lz\n}", type, type, all);
  if (!coupled || !w->strict || one_in(w, 2)) return FMT("%s\n", t.v);
  return FMT("%%y, %%u, %%v = sweep dense {\n%s : %s, %s, %s\nyield %%y, %%u, %%v\n}\n", t.v, all,
             type, type);
}

static const char *vector(gs *w) {
  static const int many[] = {1, 1, 2, 3, 4, 7, 8, 9, 17, 33, 70};
  w->columns = one_in(w, 3) ? 0 : many[below(w, 11)];
  w->type = one_in(w, 6) ? "f64" : "f32";
  const char *type = w->columns ? FMT("%s[%d]", w->type, w->columns) : w->type;
  const char *all = w->columns ? FMT("%s[N, %d]", w->type, w->columns) : FMT("%s[N]", w->type);
  return FMT(
      "graph scans %s\nsym N size\nentry @run(%%x: %s, %%a: %s[N], %%g: %s[N], %%h: %s, %%k: "
      "%s) -> (y: %s, l: %s, m: %s) {\n%s",
      w->type, all, w->type, w->type, type, type, all, type, type, vector_scan(w, type, all));
}

// ---- two scans beside each other ---------------------------------------------------------------
// The names that a scan defines, as those of the second one.
static const char *of_second(gs *w, const char *text) {
  sq_text t = {.arena = w->a};
  for (const char *s = text; *s; s++) {
    sq_text_put(&t, s, 1);
    if (*s != '%' || !strchr("tsnel", s[1]) || (s[2] >= 'a' && s[2] <= 'z')) continue;
    sq_text_add(&t, "%c2", *++s);
  }
  return t.v;
}

// %e of it is what it emits, %l its last state.
static const char *one_scan(gs *w, const char *input, const char *start, bool reversed,
                            const char *type, const char *all) {
  sq_text t = {.arena = w->a};
  sq_text_add(&t, "%%l, %%e = scan extent N %scarried 1 (%%%s) { (%%t: i32, %%s: %s)\n",
              reversed ? "reversed " : "", start, type);
  const char *free = PICK(w, "%%%s[t0#", "0.5 * %%%s[t0#", "tanh(%%%s[t0#) * %%a[t0]");
  add_vector(w, &t, "n", map_step(w, "%s#", FMT(free, input)), type);
  sq_text_add(&t, "yield %%n, %s\n} : %s, %s\n", PICK(w, "%n", "%n", "%s"), type, all);
  return t.v;
}

// Of elements of all turns, at their places; `turn`: of the first one's.
static void add_all(gs *w, sq_text *t, const char *name, const char *form, const char *turn,
                    const char *all) {
  const char *c = w->columns ? ", c" : "";
  sq_text_add(t, "%s",
              node(w, name, w->columns ? FMT("t < N, c < %d", w->columns) : "t < N", NULL,
                   FMT(form, turn, c, c), all));
}

static const char *beside(gs *w) {
  static const int many[] = {1, 2, 7, 16, 33, 64, 70};
  sq_text t = {.arena = w->a};
  w->columns = one_in(w, 3) ? 0 : many[below(w, 7)];
  w->type = one_in(w, 6) ? "f64" : "f32";
  const char *type = w->columns ? FMT("%s[%d]", w->type, w->columns) : w->type;
  const char *all = w->columns ? FMT("%s[N, %d]", w->type, w->columns) : FMT("%s[N]", w->type);
  bool reversed = one_in(w, 3), depends = one_in(w, 6), between = one_in(w, 3);
  sq_text_add(&t,
              "graph scans %s\nsym N size\nentry @run(%%x: %s, %%y: %s, %%a: %s[N], %%g: %s[N], "
              "%%h: %s, %%k: %s) -> (y: %s, u: %s, l: %s, m: %s) {\n",
              w->type, all, all, w->type, w->type, type, type, all, all, type, type);
  sq_text_add(&t, "%s", one_scan(w, "x", "h", reversed, type, all));
  if (between) add_all(w, &t, "q", "%%e[%s%s] * 2.0", one_in(w, 2) ? "t" : "dim(N - 1) - t", all);
  const char *input = depends ? between ? "q" : "e" : one_in(w, 2) ? "x" : "y";
  const char *from = one_in(w, 3) && !depends ? "h" : "k";
  const char *second = one_scan(w, "i", from, one_in(w, 6) ? !reversed : reversed, type, all);
  second = of_second(w, second);
  for (const char *s = second; *s; s++) { // the input, which keeps its name
    bool read = s[0] == '%' && s[1] == 'i' && s[2] == '[';
    bool operand = s[0] == '%' && s[1] == 'i' && (s[2] == ',' || s[2] == ')');
    if (!read && !operand) {
      sq_text_put(&t, s, 1);
      continue;
    }
    sq_text_add(&t, "%%%s", input);
    s++;
  }
  bool follows = one_in(w, 2);
  if (follows)
    add_all(w, &t, "f", PICK(w, "%%e[%s%s] - 0.5 * %%e2[t%s]", "%%e[%s%s] * tanh(%%e2[t%s])"), "t",
            all);
  sq_text_add(&t, "yield %%%s, %%%s, %%l, %%l2\n}\n", follows ? "f" : "e", between ? "q" : "e2");
  return t.v;
}

const char *gn_scans(sq_arena *a, uint64_t seed, fz_how *how) {
  gs w = {.a = a, .r = {.a = a, .rng = fz_mix(seed ^ 0x5ca5)}};
  how->exact = false;
  if (one_in(&w, 4)) return beside(&w);
  return one_in(&w, 3) ? vector(&w) : matrix(&w);
}
