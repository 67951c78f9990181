// Reads dimension expressions, and the axes and scalar part of generics.
#include "ir/read_inner.h"
#include <math.h>
#include <stdlib.h>

// ---- sizes -------------------------------------------------------------------------------------

static bool dim_atom(reader *r, sq_dim *out) {
  static const struct {
    const char *name;
    sq_dim (*fn)(sq_dims *ds, sq_dim a, sq_dim b);
  } function[] = {
      {"floordiv", sq_dim_floordiv}, {"mod", sq_dim_mod}, {"min", sq_dim_min}, {"max", sq_dim_max}};
  const tok *t = here(r);
  if (t->kind == TOK_INT) {
    int64_t v;
    if (t->suffix) return sq_read_fail(r, "a size has no type");
    if (!sq_read_i64(r, &v)) return false;
    *out = sq_dim_const(r->g->dims, v);
    return true;
  }
  if (sq_read_take(r, "(")) return sq_read_dim(r, out) && sq_read_want(r, ")");
  if (t->kind != TOK_NAME && t->kind != TOK_STRING)
    return sq_read_fail(r, "expected a size instead of `%.60s`", t->text);
  for (size_t k = 0; t->kind == TOK_NAME && k < sizeof function / sizeof *function; k++) {
    sq_dim a, b;
    if (strcmp(t->text, function[k].name) != 0) continue;
    r->at++;
    if (!sq_read_want(r, "(") || !sq_read_dim(r, &a) || !sq_read_want(r, ",") ||
        !sq_read_dim(r, &b) || !sq_read_want(r, ")"))
      return false;
    *out = function[k].fn(r->g->dims, a, b);
    return true;
  }
  sq_sym s = sq_sym_find(r->g->dims, t->text);
  if (!s.i) return sq_read_fail(r, "no symbol `%.60s`", t->text);
  r->at++;
  *out = sq_dim_sym(r->g->dims, s);
  return true;
}

static bool dim_product(reader *r, sq_dim *out) {
  bool negative = sq_read_take(r, "-");
  int64_t v;
  sq_dim b;
  if (negative && here(r)->kind == TOK_INT) { // the lowest integer has no positive counterpart
    r->at--;
    if (!sq_read_i64(r, &v)) return false;
    *out = sq_dim_const(r->g->dims, v);
    negative = false;
  } else if (!dim_atom(r, out)) {
    return false;
  }
  while (sq_read_take(r, "*")) {
    if (!dim_atom(r, &b)) return false;
    *out = sq_dim_mul(r->g->dims, *out, b);
  }
  if (negative) *out = sq_dim_sub(r->g->dims, sq_dim_const(r->g->dims, 0), *out);
  return true;
}

bool sq_read_dim(reader *r, sq_dim *out) {
  if (!sq_read_enter(r)) return false;
  bool ok = dim_product(r, out);
  while (ok && (sq_read_is(r, "+") || sq_read_is(r, "-"))) {
    bool minus = sq_read_is(r, "-");
    sq_dim b;
    r->at++;
    ok = dim_product(r, &b);
    if (ok) *out = (minus ? sq_dim_sub : sq_dim_add)(r->g->dims, *out, b);
  }
  r->nest--;
  return ok;
}

// ---- scalars -----------------------------------------------------------------------------------

typedef struct body {
  reader *r;
  sq_node *node;
  sq_generic *g;
  struct {
    const char *name;
    uint32_t scalar;
  } * temp;
  uint32_t n_temp, cap_temp;
  sq_dtype acc;
  bool has_acc; // the body has been read
} body;

static bool expr(body *b, int level, uint32_t *out);

static sq_scalar blank(sq_scalar_kind kind, sq_dtype t) {
  return (sq_scalar){.kind = kind,
                     .dtype = t,
                     .a = {SQ_NO_SCALAR, SQ_NO_SCALAR, SQ_NO_SCALAR},
                     .guard = SQ_NO_SCALAR,
                     .other = SQ_NO_SCALAR,
                     .site = SQ_NO_SITE};
}

static uint32_t add(body *b, sq_scalar s) { return sq_scalar_add(b->r->g, b->g, s); }

// Numbers from text t0, t1, ...: `temp` is indexed by the number when dense, so look-ups are quick.
static bool temp_number(const char *name, uint32_t *k) {
  if (name[0] != 't' || !name[1] || name[1 + strspn(name + 1, "0123456789")]) return false;
  unsigned long v = strtoul(name + 1, NULL, 10);
  *k = v < UINT32_MAX ? (uint32_t)v : UINT32_MAX;
  return true;
}

static bool typed_word(const char *text, const char *word, sq_dtype usual, sq_dtype *out) {
  size_t n = strlen(word);
  if (strncmp(text, word, n) != 0) return false;
  *out = usual;
  return !text[n] || (text[n] == '_' && sq_read_dtype(text + n + 1, out));
}

static bool number(body *b, bool negative, uint32_t *out) {
  reader *r = b->r;
  const tok *t = here(r);
  bool is_int = t->kind == TOK_INT;
  sq_dtype type = is_int ? SQ_I64 : r->g->float_type;
  sq_scalar s;
  if (t->kind == TOK_NAME) {
    double v = !strncmp(t->text, "inf", 3) ? (double)INFINITY : (double)NAN;
    if (!typed_word(t->text, "inf", type, &type) && !typed_word(t->text, "nan", type, &type))
      return sq_read_fail(r, "expected a number after `-`");
    s = blank(SQ_SC_FLOAT, type);
    s.f = negative ? -v : v;
    r->at++;
    *out = add(b, s);
    return true;
  }
  if (t->suffix && !sq_read_dtype(t->suffix, &type))
    return sq_read_fail(r, "no type `%.40s`", t->suffix);
  s = blank(is_int ? SQ_SC_INT : SQ_SC_FLOAT, type);
  if (is_int) {
    if (negative) r->at--;
    if (!sq_read_i64(r, &s.i)) return false;
  } else {
    s.f = strtod(t->text, NULL);
    if (negative) s.f = -s.f;
    r->at++;
  }
  *out = add(b, s);
  return true;
}

static bool read_mods(body *b, sq_scalar *s) {
  reader *r = b->r;
  while (sq_read_take(r, ";")) {
    if (sq_read_take(r, "if")) {
      if (!expr(b, 0, &s->guard)) return false;
    } else if (sq_read_take(r, "else")) {
      if (!expr(b, 0, &s->other)) return false;
    } else if (!sq_read_want(r, "site") || !sq_read_u32(r, "a site", &s->site)) {
      return false;
    }
  }
  return true;
}

// Expressions separated by commas up to `;` or `]`.
static bool positions(body *b, uint32_t *pos, uint32_t *n) {
  reader *r = b->r;
  *n = 0;
  if (sq_read_is(r, ";") || sq_read_is(r, "]")) return true;
  do {
    if (*n == SQ_MAX_RANK) return sq_read_fail(r, "more than %d positions", SQ_MAX_RANK);
    if (!expr(b, 0, &pos[*n])) return false;
    ++*n;
  } while (sq_read_take(r, ","));
  return true;
}

static bool read_operand(body *b, uint32_t operand, uint32_t *out) {
  reader *r = b->r;
  if (operand >= b->node->n_in) return sq_read_fail(r, "no input %u", (unsigned)operand);
  r->at++;
  sq_scalar s = blank(SQ_SC_READ, b->node->in[operand]->type.dtype);
  s.operand = operand;
  uint32_t pos[SQ_MAX_RANK];
  if (sq_read_take(r, "[")) {
    if (!positions(b, pos, &s.n_pos) || !read_mods(b, &s) || !sq_read_want(r, "]")) return false;
    if (s.n_pos) {
      uint32_t *p = SQ_ARRAY(r->g->arena, uint32_t, s.n_pos);
      memcpy(p, pos, s.n_pos * sizeof *p);
      s.pos = p;
    }
  }
  *out = add(b, s);
  return true;
}

static bool arguments(body *b, uint32_t *a, int n) {
  if (!sq_read_want(b->r, "(")) return false;
  for (int k = 0; k < n; k++)
    if ((k && !sq_read_want(b->r, ",")) || !expr(b, 0, &a[k])) return false;
  return sq_read_want(b->r, ")");
}

static bool is_call(const reader *r) {
  return r->tok[r->at + 1].kind == TOK_MARK && !strcmp(r->tok[r->at + 1].text, "(");
}

static bool call(body *b, uint32_t *out) {
  reader *r = b->r;
  const char *name = here(r)->text;
  sq_scalar s = blank(SQ_SC_EWISE, SQ_F32);
  if (!strcmp(name, "dim")) {
    s = blank(SQ_SC_DIM, SQ_I64);
    r->at += 2;
    if (!sq_read_dim(r, &s.dim) || !sq_read_want(r, ")")) return false;
    *out = add(b, s);
    return true;
  }
  if (!strcmp(name, "select")) {
    s.kind = SQ_SC_SELECT;
    r->at++;
    if (!arguments(b, s.a, 3)) return false;
    s.dtype = b->g->s.v[s.a[1]].dtype;
    *out = add(b, s);
    return true;
  }
  if (sq_read_dtype(name, &s.dtype)) {
    s.kind = SQ_SC_CAST;
    r->at++;
    if (!arguments(b, s.a, 1)) return false;
    *out = add(b, s);
    return true;
  }
  for (int k = 0; k < SQ_EW_COUNT; k++) {
    if (strcmp(sq_ewise_table[k].name, name) != 0) continue;
    s.ew = (sq_ewise)k;
    r->at++;
    if (!arguments(b, s.a, sq_ewise_table[k].arity)) return false;
    s.dtype = sq_ewise_table[k].kind == 'C' ? SQ_BOOL : b->g->s.v[s.a[0]].dtype;
    *out = add(b, s);
    return true;
  }
  return sq_read_fail(r, "no scalar function `%.60s`", name);
}

static bool word(body *b, uint32_t *out) {
  reader *r = b->r;
  const char *name = here(r)->text;
  uint32_t k;
  sq_dtype type;
  if (is_call(r)) return call(b, out);
  if (!strcmp(name, "true") || !strcmp(name, "false")) {
    sq_scalar s = blank(SQ_SC_INT, SQ_BOOL);
    s.i = name[0] == 't';
    r->at++;
    *out = add(b, s);
    return true;
  }
  if (typed_word(name, "inf", SQ_F32, &type) || typed_word(name, "nan", SQ_F32, &type))
    return number(b, false, out);
  if (typed_word(name, "acc", b->acc, &type)) {
    if (!b->has_acc && !name[3])
      return sq_read_fail(r, "`acc` stands before the element that it accumulates");
    r->at++;
    *out = sq_sc_acc(r->g, b->g, type);
    return true;
  }
  if (temp_number(name, &k)) {
    if (k >= b->cap_temp || b->temp[k].name != name)
      return sq_read_fail(r, "no scalar `%.40s` above", name);
    r->at++;
    *out = b->temp[k].scalar;
    return true;
  }
  if (name[0] == 'i' && name[1] == 'n' && name[2] && !name[2 + strspn(name + 2, "0123456789")]) {
    unsigned long v = strtoul(name + 2, NULL, 10);
    return read_operand(b, v < UINT32_MAX ? (uint32_t)v : UINT32_MAX, out);
  }
  for (k = 0; k < b->g->n_par + b->g->n_red; k++)
    if (b->g->axis[k].name == name) {
      r->at++;
      *out = sq_sc_index(r->g, b->g, k);
      return true;
    }
  return sq_read_fail(r, "no index `%.60s` here", name);
}

static bool atom(body *b, uint32_t *out) {
  reader *r = b->r;
  const tok *t = here(r);
  if (t->kind == TOK_INT || t->kind == TOK_FLOAT) return number(b, false, out);
  if (sq_read_take(r, "-")) {
    if (here(r)->kind == TOK_INT || here(r)->kind == TOK_FLOAT || here(r)->kind == TOK_NAME)
      return number(b, true, out);
    return sq_read_fail(r, "`-` before something that is not a number: write neg(x)");
  }
  if (sq_read_take(r, "(")) return expr(b, 0, out) && sq_read_want(r, ")");
  if (t->kind == TOK_VALUE) {
    sq_value *v = sq_read_value(r);
    for (uint32_t k = 0; v && k < b->node->n_in; k++)
      if (v == b->node->in[k]) return read_operand(b, k, out);
    return sq_read_fail(r, "`%%%.60s` is not among the inputs", t->text);
  }
  if (t->kind == TOK_NAME) return word(b, out);
  return sq_read_fail(r, "expected a scalar instead of `%.60s`", t->text);
}

// Operators that bind at least as strongly as `level`.
static bool expr(body *b, int level, uint32_t *out) {
  reader *r = b->r;
  if (!sq_read_enter(r)) return false;
  bool ok;
  if (level <= SQ_LEVEL_NOT && sq_read_take(r, "not")) {
    sq_scalar s = blank(SQ_SC_EWISE, SQ_BOOL);
    s.ew = SQ_EW_NOT;
    ok = expr(b, SQ_LEVEL_NOT, &s.a[0]);
    if (ok) {
      s.dtype = b->g->s.v[s.a[0]].dtype;
      *out = add(b, s);
    }
  } else {
    ok = atom(b, out);
  }
  for (int top = SQ_LEVEL_ATOM; ok;) {
    int k = 0;
    while (k < SQ_EW_COUNT && !(sq_ewise_infix[k].text && sq_read_is(r, sq_ewise_infix[k].text)))
      k++;
    if (k == SQ_EW_COUNT || sq_ewise_infix[k].level < level || sq_ewise_infix[k].level >= top)
      break;
    int own = sq_ewise_infix[k].level;
    sq_scalar s = blank(SQ_SC_EWISE, b->g->s.v[*out].dtype);
    s.ew = (sq_ewise)k;
    if (sq_ewise_table[k].kind == 'C') s.dtype = SQ_BOOL;
    s.a[0] = *out;
    r->at++;
    ok = expr(b, own + 1, &s.a[1]);
    if (ok) *out = add(b, s);
    if (own == SQ_LEVEL_CMP) top = SQ_LEVEL_CMP; // a < b < c is nothing
  }
  r->nest--;
  return ok;
}

// ---- generics ----------------------------------------------------------------------------------

typedef struct axis_list {
  sq_axis v[2 * SQ_MAX_RANK];
  uint32_t n;
} axis_list;

static bool axes(reader *r, axis_list *l) {
  uint32_t from = l->n;
  if (!sq_read_want(r, "[")) return false;
  while (!sq_read_take(r, "]")) {
    const tok *t = here(r);
    if (l->n > from && !sq_read_want(r, ",")) return false;
    t = here(r);
    if (l->n == 2 * SQ_MAX_RANK) return sq_read_fail(r, "more than %d axes", 2 * SQ_MAX_RANK);
    if (t->kind != TOK_NAME || sq_scalar_word(t->text))
      return sq_read_fail(r, "expected the name of an axis instead of `%.60s`", t->text);
    for (uint32_t k = 0; k < l->n; k++)
      if (l->v[k].name == t->text) return sq_read_fail(r, "two axes `%.60s`", t->text);
    l->v[l->n].name = t->text;
    r->at++;
    if (!sq_read_want(r, "<") || !sq_read_dim(r, &l->v[l->n].extent)) return false;
    l->n++;
  }
  return true;
}

static bool temp_define(body *b) {
  reader *r = b->r;
  uint32_t k, value;
  const char *name = here(r)->text;
  if (!temp_number(name, &k) || k > b->n_temp)
    return sq_read_fail(r, "named scalars are t0, t1, ... in order");
  r->at += 2;
  if (!expr(b, 0, &value)) return false;
  if (k >= b->cap_temp) {
    uint32_t cap = b->cap_temp ? 2 * b->cap_temp : 16;
    void *v = sq_arena_take(r->g->arena, cap * sizeof *b->temp);
    if (b->cap_temp) memcpy(v, b->temp, b->cap_temp * sizeof *b->temp);
    b->temp = v;
    b->cap_temp = cap;
  }
  b->temp[k].name = name;
  b->temp[k].scalar = value;
  if (k == b->n_temp) b->n_temp++;
  return true;
}

static bool statement(body *b) {
  reader *r = b->r;
  sq_generic *g = b->g;
  uint32_t id;
  const tok *next = &r->tok[r->at + (here(r)->kind != TOK_END)];
  if (here(r)->kind == TOK_NAME && next->kind == TOK_MARK && !strcmp(next->text, "="))
    return temp_define(b);
  if (sq_read_take(r, "where")) {
    do {
      if (!expr(b, 0, &id)) return false;
      sq_push(r->g->arena, &g->domain, id);
    } while (sq_read_take(r, ","));
    return true;
  }
  if (sq_read_take(r, "at")) {
    uint32_t pos[SQ_MAX_RANK];
    if (g->pos) return sq_read_fail(r, "a second `at`");
    if (!sq_read_want(r, "[") || !positions(b, pos, &g->n_pos)) return false;
    g->pos = SQ_ARRAY(r->g->arena, uint32_t, g->n_pos + 1);
    memcpy(g->pos, pos, g->n_pos * sizeof *pos);
    if (sq_read_take(r, ";") &&
        (!sq_read_want(r, "site") || !sq_read_u32(r, "a site", &g->pos_site)))
      return false;
    return sq_read_want(r, "]");
  }
  if (sq_read_take(r, "guard")) return expr(b, 0, &g->write_guard);
  if (sq_read_take(r, "post")) return expr(b, 0, &g->post);
  if (b->has_acc) return sq_read_fail(r, "a second element");
  if (!expr(b, 0, &g->body)) return false;
  b->has_acc = true;
  b->acc = sq_monoid_result(g->monoid, g->s.v[g->body].dtype);
  return true;
}

bool sq_read_generic(reader *r, sq_node *n) {
  axis_list l = {.n = 0};
  if (!axes(r, &l)) return false;
  uint32_t n_par = l.n;
  sq_monoid monoid = SQ_MONOID_NONE;
  for (int k = 0; k < SQ_MONOID_COUNT && here(r)->kind == TOK_NAME; k++) {
    if (strcmp(sq_monoid_names[k], here(r)->text) != 0) continue;
    r->at++;
    monoid = (sq_monoid)k;
    if (!axes(r, &l)) return false;
    break;
  }
  n->g = sq_generic_new(r->g, n_par, l.n - n_par);
  if (l.n) memcpy(n->g->axis, l.v, l.n * sizeof *l.v);
  n->g->monoid = monoid;
  if (!(sq_op_forms[n->op].attrs & SQ_FORM_GENERIC)) return true;
  n->g->keyed = sq_read_take(r, "keyed");
  body b = {.r = r, .node = n, .g = n->g};
  if (!sq_read_want(r, "{")) return false;
  while (!sq_read_take(r, "}")) {
    if (!statement(&b)) return false;
    if (!sq_read_is(r, "}") && !sq_read_want(r, ";")) return false;
  }
  if (!b.has_acc) {
    r->at--;
    return sq_read_fail(r, "the element is missing");
  }
  return true;
}
