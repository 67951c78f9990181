// Prints a graph as text that reads back to the same graph (read.c); README.md describes the
// syntax.
//
// Names: a value is printed by its hint where that is free in its function, else with `.1`, `.2`
// after it; values without a hint are numbered in order. What was printed once and read therefore
// prints alike. A scalar that is used once stands where it is used; others are named t0, t1, ...
#include "ir/ir_text.h"

typedef struct printer {
  const sq_graph *g;
  sq_text *t;
  bool places;
  const char **name; // by value id
  const char **key;  // hash table of the names taken in this function
  uint32_t n_key, cap_key, n_plain;
} printer;

#define ADD(...) sq_text_add(p->t, __VA_ARGS__)

static void put(printer *p, const char *s) { sq_text_put(p->t, s, strlen(s)); }
static void pad(printer *p, int depth) {
  for (int k = 0; k < depth; k++) put(p, "  ");
}
static void dim(printer *p, sq_dim d) { sq_dim_print(p->g->dims, d, p->t); }

// ---- names -------------------------------------------------------------------------------------

static uint32_t hash_text(const char *s) {
  uint32_t h = 2166136261u;
  for (; *s; s++) h = (h ^ (unsigned char)*s) * 16777619u;
  return h ^ (h >> 15);
}

// Takes the name; false when somebody has it.
static bool take_name(printer *p, const char *s) {
  sq_arena *a = p->t->arena;
  if ((p->n_key + 1) * 2 > p->cap_key) {
    const char **old = p->key;
    uint32_t cap = p->cap_key;
    p->cap_key = cap ? cap * 2 : 64;
    p->key = SQ_ARRAY(a, const char *, p->cap_key);
    p->n_key = 0;
    for (uint32_t k = 0; k < cap; k++)
      if (old[k]) take_name(p, old[k]);
  }
  uint32_t at = hash_text(s) & (p->cap_key - 1);
  for (; p->key[at]; at = (at + 1) & (p->cap_key - 1))
    if (!strcmp(p->key[at], s)) return false;
  p->key[at] = s;
  p->n_key++;
  return true;
}

static const char *value_name(printer *p, const sq_value *v) {
  if (!v || v->id >= p->g->n_values) return "?";
  if (p->name[v->id]) return p->name[v->id];
  sq_arena *a = p->t->arena;
  const char *s;
  if (!v->name || !sq_ir_name_plain(v->name)) {
    s = sq_arena_fmt(a, "%u", (unsigned)p->n_plain++);
  } else {
    s = v->name;
    for (uint32_t k = 1; !take_name(p, s); k++) s = sq_arena_fmt(a, "%s.%u", v->name, (unsigned)k);
  }
  return p->name[v->id] = s;
}

// Names of parameters, states and functions refer by their first bearer; of others by number.
#define REF_NAME(p, vec, at, name_of)                                                              \
  do {                                                                                             \
    uint32_t k_ = 0;                                                                               \
    while (k_ < (vec).n && strcmp(name_of((vec).v[k_]), name_of((vec).v[at])) != 0) k_++;          \
    put(p, "@");                                                                                   \
    sq_ir_name_print((p)->t, name_of((vec).v[at]));                                                \
    if (k_ != (at)) sq_text_add((p)->t, "!%u", (unsigned)(at));                                    \
  } while (0)
#define BY_VALUE(x) ((x).name ? (x).name : "")
#define BY_POINTER(x) ((x)->name ? (x)->name : "")

static void func_ref(printer *p, const sq_func *f) {
  uint32_t at = 0;
  while (at < p->g->func.n && p->g->func.v[at] != f) at++;
  if (at < p->g->func.n)
    REF_NAME(p, p->g->func, at, BY_POINTER);
  else
    put(p, "@?");
}

static void place(printer *p, const char *word, sq_span s) {
  const sq_diags *ds = &p->g->ctx->diags;
  if (!s.file || s.file >= ds->sources.n) return;
  ADD(" %s ", word);
  sq_ir_string_print(p->t, ds->sources.v[s.file].name);
  ADD("[%u..%u]", (unsigned)s.begin, (unsigned)s.end);
}

static void loc(printer *p, sq_span s) {
  if (p->places) place(p, "loc", s);
}

static void type(printer *p, sq_type t) {
  put(p, sq_dtype_table[t.dtype].name);
  for (uint32_t k = 0; k < t.rank; k++) {
    put(p, k ? ", " : "[");
    dim(p, t.dim[k]);
  }
  if (t.rank) put(p, "]");
}

static void typed(printer *p, const sq_value *v) {
  type(p, v->type);
  if (v->store) ADD(" @%s %u", sq_store_names[v->store], (unsigned)v->store_index);
  if (v->origin) ADD(" of %%%s", value_name(p, v->origin));
}

// ---- the scalar part of a generic --------------------------------------------------------------

typedef struct body {
  const sq_node *node;
  const sq_generic *g;
  const char **axis;
  uint32_t *uses;
  uint8_t *height; // of the expression as printed in place
  bool *acc;       // depends on the accumulator
  uint32_t *temp;  // number + 1 of a named scalar
  sq_dtype acc_type;
} body;
enum { MAX_HEIGHT = 16 };

static void name_axes(printer *p, body *b) {
  sq_arena *a = p->t->arena;
  uint32_t n = b->g->n_par + b->g->n_red;
  b->axis = SQ_ARRAY(a, const char *, n + 1);
  for (uint32_t k = 0; k < n; k++) {
    const char *hint = b->g->axis[k].name;
    bool good = hint && sq_ir_name_plain(hint) && !sq_scalar_word(hint);
    if (!good) hint = sq_arena_fmt(a, "i%u", (unsigned)k);
    const char *s = hint;
    for (uint32_t j = 0, suffix = 1; j < k;) {
      if (strcmp(b->axis[j++], s) != 0) continue;
      s = sq_arena_fmt(a, "%s.%u", hint, (unsigned)suffix++);
      j = 0;
    }
    b->axis[k] = s;
  }
}

static bool is_leaf(const sq_scalar *s) {
  return s->kind == SQ_SC_FLOAT || s->kind == SQ_SC_INT || s->kind == SQ_SC_INDEX ||
         s->kind == SQ_SC_DIM || s->kind == SQ_SC_ACC;
}

// Calls fn on every scalar that s is made of.
static void each_child(const sq_scalar *s, void (*fn)(body *b, uint32_t c, uint32_t user), body *b,
                       uint32_t user) {
  int arity = s->kind == SQ_SC_EWISE    ? sq_ewise_table[s->ew].arity
              : s->kind == SQ_SC_SELECT ? 3
                                        : s->kind == SQ_SC_CAST;
  for (int k = 0; k < arity; k++)
    if (s->a[k] != SQ_NO_SCALAR) fn(b, s->a[k], user);
  if (s->kind != SQ_SC_READ) return;
  for (uint32_t k = 0; k < s->n_pos; k++) fn(b, s->pos[k], user);
  if (s->guard != SQ_NO_SCALAR) fn(b, s->guard, user);
  if (s->other != SQ_NO_SCALAR) fn(b, s->other, user);
}

static void count_use(body *b, uint32_t c, uint32_t user) {
  if (c < user) b->uses[c]++;
}

static void measure(body *b, uint32_t c, uint32_t user) {
  if (c >= user) return;
  if (b->acc[c]) b->acc[user] = true;
  if (!b->temp[c] && b->height[c] >= b->height[user]) b->height[user] = b->height[c] + 1;
}

// Which scalars are alive, which are named, which follow the reduction.
static void plan_body(printer *p, body *b) {
  const sq_generic *g = b->g;
  uint32_t n = g->s.n;
  sq_arena *a = p->t->arena;
  b->uses = SQ_ARRAY(a, uint32_t, n + 1);
  b->height = SQ_ARRAY(a, uint8_t, n + 1);
  b->acc = SQ_ARRAY(a, bool, n + 1);
  b->temp = SQ_ARRAY(a, uint32_t, n + 1);
  count_use(b, g->body, n);
  count_use(b, g->post, n);
  count_use(b, g->write_guard, n);
  for (uint32_t k = 0; k < g->domain.n; k++) count_use(b, g->domain.v[k], n);
  for (uint32_t k = 0; k < g->n_pos; k++) count_use(b, g->pos[k], n);
  for (uint32_t k = n; k-- > 0;)
    if (b->uses[k]) each_child(&g->s.v[k], count_use, b, k);
  for (uint32_t k = 0; k < n; k++) {
    const sq_scalar *s = &g->s.v[k];
    if (!b->uses[k]) continue;
    b->acc[k] = s->kind == SQ_SC_ACC;
    each_child(s, measure, b, k);
    if (is_leaf(s) || (b->uses[k] == 1 && b->height[k] < MAX_HEIGHT)) continue;
    b->temp[k] = UINT32_MAX; // numbered when it is printed
  }
  b->acc_type = g->body < n ? sq_monoid_result(g->monoid, g->s.v[g->body].dtype) : SQ_F32;
}

static void scalar(printer *p, const body *b, uint32_t id, uint32_t user, int level, bool naming);

static void read_mod(printer *p, bool *any, const char *word) {
  ADD("; %s ", word);
  *any = true;
}

static void read_scalar(printer *p, const body *b, const sq_scalar *s, uint32_t id) {
  uint32_t first = 0;
  const sq_node *n = b->node;
  while (s->operand < n->n_in && n->in[first] != n->in[s->operand]) first++;
  if (s->operand < n->n_in && first == s->operand)
    ADD("%%%s", value_name(p, n->in[first]));
  else
    ADD("in%u", (unsigned)s->operand);
  bool mods = s->guard != SQ_NO_SCALAR || s->other != SQ_NO_SCALAR || s->site != SQ_NO_SITE;
  if (!s->n_pos && !mods) return;
  put(p, "[");
  for (uint32_t k = 0; k < s->n_pos; k++) {
    if (k) put(p, ", ");
    scalar(p, b, s->pos[k], id, 0, false);
  }
  bool any = false;
  if (s->guard != SQ_NO_SCALAR) {
    read_mod(p, &any, "if");
    scalar(p, b, s->guard, id, 0, false);
  }
  if (s->other != SQ_NO_SCALAR) {
    read_mod(p, &any, "else");
    scalar(p, b, s->other, id, 0, false);
  }
  if (s->site != SQ_NO_SITE) {
    read_mod(p, &any, "site");
    ADD("%u", (unsigned)s->site);
  }
  put(p, "]");
}

static void ewise(printer *p, const body *b, const sq_scalar *s, uint32_t id, int level) {
  sq_infix op = sq_ewise_infix[s->ew];
  if (!op.text && s->ew != SQ_EW_NOT) {
    ADD("%s(", sq_ewise_table[s->ew].name);
    for (int k = 0; k < sq_ewise_table[s->ew].arity; k++) {
      if (k) put(p, ", ");
      scalar(p, b, s->a[k], id, 0, false);
    }
    put(p, ")");
    return;
  }
  int own = op.text ? op.level : SQ_LEVEL_NOT;
  bool paren = own < level;
  if (paren) put(p, "(");
  if (!op.text) {
    put(p, "not ");
    scalar(p, b, s->a[0], id, SQ_LEVEL_NOT, false);
  } else {
    scalar(p, b, s->a[0], id, own == SQ_LEVEL_CMP ? own + 1 : own, false);
    ADD(" %s ", op.text);
    scalar(p, b, s->a[1], id, own + 1, false);
  }
  if (paren) put(p, ")");
}

static void constant(printer *p, const sq_scalar *s) {
  sq_dtype usual = SQ_I64;
  if (s->kind == SQ_SC_FLOAT) {
    sq_text_double(p->t, s->f);
    usual = p->g->float_type;
  } else if (s->dtype == SQ_BOOL && (s->i == 0 || s->i == 1)) {
    put(p, s->i ? "true" : "false");
    return;
  } else {
    ADD("%lld", (long long)s->i);
  }
  if (s->dtype != usual) ADD("_%s", sq_dtype_table[s->dtype].name);
}

// `user`: the scalar that uses it (ids of parts are smaller); `naming`: print a named one in full.
static void scalar(printer *p, const body *b, uint32_t id, uint32_t user, int level, bool naming) {
  if (id >= user || id >= b->g->s.n) {
    put(p, "?"); // a graph that is not well-formed
    return;
  }
  const sq_scalar *s = &b->g->s.v[id];
  if (b->temp[id] && !naming) {
    if (b->temp[id] == UINT32_MAX)
      put(p, "?");
    else
      ADD("t%u", (unsigned)(b->temp[id] - 1));
    return;
  }
  switch (s->kind) {
  case SQ_SC_FLOAT:
  case SQ_SC_INT:
    constant(p, s);
    return;
  case SQ_SC_INDEX:
    put(p, s->axis < b->g->n_par + b->g->n_red ? b->axis[s->axis] : "?");
    return;
  case SQ_SC_DIM:
    put(p, "dim(");
    dim(p, s->dim);
    put(p, ")");
    return;
  case SQ_SC_READ:
    read_scalar(p, b, s, id);
    return;
  case SQ_SC_EWISE:
    ewise(p, b, s, id, level);
    return;
  case SQ_SC_SELECT:
    put(p, "select(");
    for (int k = 0; k < 3; k++) {
      if (k) put(p, ", ");
      scalar(p, b, s->a[k], id, 0, false);
    }
    put(p, ")");
    return;
  case SQ_SC_CAST:
    ADD("%s(", sq_dtype_table[s->dtype].name);
    scalar(p, b, s->a[0], id, 0, false);
    put(p, ")");
    return;
  case SQ_SC_ACC:
    put(p, "acc");
    if (s->dtype != b->acc_type) ADD("_%s", sq_dtype_table[s->dtype].name);
    return;
  }
}

static void temps(printer *p, body *b, bool after, uint32_t *next, int depth) {
  for (uint32_t k = 0; k < b->g->s.n; k++) {
    if (!b->temp[k] || b->acc[k] != after) continue;
    pad(p, depth);
    ADD("t%u = ", (unsigned)*next);
    scalar(p, b, k, k + 1, 0, true);
    put(p, ";\n");
    b->temp[k] = ++*next;
  }
}

static void axes(printer *p, const body *b, uint32_t from, uint32_t to) {
  put(p, " [");
  for (uint32_t k = from; k < to; k++) {
    ADD("%s%s < ", k > from ? ", " : "", b->axis[k]);
    dim(p, b->g->axis[k].extent);
  }
  put(p, "]");
}

static void statement(printer *p, const body *b, const char *word, uint32_t id, int depth) {
  pad(p, depth);
  put(p, word);
  scalar(p, b, id, UINT32_MAX, 0, false);
  put(p, ";\n");
}

static void generic(printer *p, const sq_node *n, int depth) {
  const sq_generic *g = n->g;
  body b = {.node = n, .g = g};
  name_axes(p, &b);
  axes(p, &b, 0, g->n_par);
  if (g->monoid || g->n_red) {
    ADD(" %s", sq_monoid_names[g->monoid]);
    axes(p, &b, g->n_par, g->n_par + g->n_red);
  }
  if (!(sq_op_forms[n->op].attrs & SQ_FORM_GENERIC)) return;
  if (g->keyed) put(p, " keyed");
  plan_body(p, &b);
  bool named = false, at = g->n_pos || g->pos_site != SQ_NO_SITE;
  for (uint32_t k = 0; k < g->s.n; k++) named |= b.temp[k] != 0;
  if (!named && !g->domain.n && !at && g->write_guard == SQ_NO_SCALAR && g->post == SQ_NO_SCALAR) {
    put(p, " { ");
    scalar(p, &b, g->body, UINT32_MAX, 0, false);
    put(p, " }");
    return;
  }
  put(p, " {\n");
  uint32_t next = 0;
  temps(p, &b, false, &next, depth + 1);
  if (g->domain.n) {
    pad(p, depth + 1);
    for (uint32_t k = 0; k < g->domain.n; k++) {
      put(p, k ? ", " : "where ");
      scalar(p, &b, g->domain.v[k], UINT32_MAX, 0, false);
    }
    put(p, ";\n");
  }
  if (at) {
    pad(p, depth + 1);
    put(p, "at [");
    for (uint32_t k = 0; k < g->n_pos; k++) {
      if (k) put(p, ", ");
      scalar(p, &b, g->pos[k], UINT32_MAX, 0, false);
    }
    if (g->pos_site != SQ_NO_SITE) ADD("; site %u", (unsigned)g->pos_site);
    put(p, "];\n");
  }
  if (g->write_guard != SQ_NO_SCALAR) statement(p, &b, "guard ", g->write_guard, depth + 1);
  statement(p, &b, "", g->body, depth + 1);
  temps(p, &b, true, &next, depth + 1);
  if (g->post != SQ_NO_SCALAR) statement(p, &b, "post ", g->post, depth + 1);
  pad(p, depth);
  put(p, "}");
}

// ---- nodes -------------------------------------------------------------------------------------

static void block(printer *p, const sq_block *b, int depth);

static void region(printer *p, const sq_block *b, int depth) {
  put(p, " {");
  for (uint32_t k = 0; k < b->args.n; k++) {
    ADD("%s%%%s: ", k ? ", " : " (", value_name(p, b->args.v[k]));
    typed(p, b->args.v[k]);
  }
  put(p, b->args.n ? ")\n" : "\n");
  block(p, b, depth + 1);
  pad(p, depth);
  put(p, "}");
}

static void attributes(printer *p, const sq_node *n) {
  const sq_graph *g = p->g;
  const sq_op_form *form = &sq_op_forms[n->op];
  if (form->attrs & SQ_FORM_PARAM) {
    put(p, " ");
    if (n->ref < g->param.n)
      REF_NAME(p, g->param, n->ref, BY_VALUE);
    else
      put(p, "@?");
  }
  if (form->attrs & SQ_FORM_STATE) {
    put(p, " ");
    if (n->ref < g->state.n)
      REF_NAME(p, g->state, n->ref, BY_VALUE);
    else
      put(p, "@?");
  }
  if (n->has_instance && n->n_in) ADD("[%%%s]", value_name(p, n->in[n->n_in - 1]));
  if (form->attrs & SQ_FORM_FUNC) {
    put(p, " ");
    func_ref(p, n->func);
  }
  if (form->attrs & SQ_FORM_SYM) {
    put(p, " ");
    if (n->sym.i && n->sym.i <= sq_sym_count(g->dims))
      sq_ir_symbol_print(p->t, sq_sym_at(g->dims, n->sym)->name);
    else
      put(p, "?");
  }
  if (form->attrs & SQ_FORM_MONOID) ADD(" %s", sq_monoid_names[n->monoid]);
  if (form->attrs & SQ_FORM_AXIS) ADD(" axis %u", (unsigned)n->axis);
  if ((form->attrs & SQ_FORM_EXTENT) && n->extent.i) {
    ADD(" %s ", form->extent);
    dim(p, n->extent);
  }
  if (form->flag_none && !n->flag) ADD(" %s", form->flag_none);
  for (int k = 0; k < SQ_FORM_FLAGS; k++)
    if (form->flag[k] && (n->flag >> k & 1)) ADD(" %s", form->flag[k]);
  if (form->attrs & SQ_FORM_CARRIED) ADD(" carried %u", (unsigned)n->n_carried);
  if (form->attrs & SQ_FORM_OUTER) ADD(" outer %u", (unsigned)n->n_outer);
}

static void node(printer *p, const sq_node *n, int depth) {
  const sq_op_info *info = &sq_op_table[n->op];
  pad(p, depth);
  if (n->op == SQ_OP_YIELD) {
    put(p, "yield");
    for (uint32_t k = 0; k < n->n_in; k++) ADD("%s%%%s", k ? ", " : " ", value_name(p, n->in[k]));
    loc(p, n->span);
    put(p, "\n");
    return;
  }
  for (uint32_t k = 0; k < n->n_out; k++) ADD("%s%%%s", k ? ", " : "", value_name(p, n->out[k]));
  if (n->n_out) put(p, " = ");
  put(p, info->name);
  attributes(p, n);
  uint32_t n_in = n->n_in - (n->has_instance && n->n_in);
  if (n_in || (sq_op_forms[n->op].attrs & (SQ_FORM_GENERIC | SQ_FORM_FUNC))) {
    put(p, " (");
    for (uint32_t k = 0; k < n_in; k++) ADD("%s%%%s", k ? ", " : "", value_name(p, n->in[k]));
    put(p, ")");
  }
  if (n->g && (sq_op_forms[n->op].attrs & (SQ_FORM_GENERIC | SQ_FORM_AXES))) generic(p, n, depth);
  if (n->site != SQ_NO_SITE) ADD(" site %u", (unsigned)n->site);
  for (uint32_t k = 0; k < n->n_region; k++) region(p, n->region[k], depth);
  for (uint32_t k = 0; k < n->n_out; k++) {
    put(p, k ? ", " : " : ");
    typed(p, n->out[k]);
  }
  if (n->span.mark) ADD(" marked %u", (unsigned)n->span.mark);
  loc(p, n->span);
  put(p, "\n");
}

static void block(printer *p, const sq_block *b, int depth) {
  for (uint32_t k = 0; k < b->nodes.n; k++) node(p, b->nodes.v[k], depth);
}

// ---- functions and tables ----------------------------------------------------------------------

static void func_head(printer *p, const sq_func *f) {
  static const char *const kind[] = {
      [SQ_FUNC_ENTRY] = "entry", [SQ_FUNC_INIT] = "init", [SQ_FUNC_INNER] = "func"};
  const sq_block *b = f->body;
  put(p, kind[f->kind]);
  put(p, " ");
  func_ref(p, f);
  put(p, "(");
  for (uint32_t k = 0; k < b->args.n; k++) {
    const char *name = value_name(p, b->args.v[k]);
    ADD("%s%%%s", k ? ", " : "", name);
    if (k < f->in_names.n && f->in_names.v[k] && strcmp(f->in_names.v[k], name) != 0) {
      put(p, " ");
      sq_ir_string_print(p->t, f->in_names.v[k]);
    }
    put(p, ": ");
    typed(p, b->args.v[k]);
    if (k < f->in_sym.n && f->in_sym.v[k].i) {
      put(p, " binds ");
      sq_ir_symbol_print(p->t, sq_sym_at(p->g->dims, f->in_sym.v[k])->name);
    }
  }
  put(p, ")");
  const sq_node *end = sq_block_end(b);
  for (uint32_t k = 0; k < f->out_names.n; k++) {
    put(p, k ? ", " : " -> (");
    sq_ir_name_print(p->t, f->out_names.v[k] ? f->out_names.v[k] : "");
    if (end && k < end->n_in) {
      put(p, ": ");
      type(p, end->in[k]->type);
    }
  }
  if (f->out_names.n) put(p, ")");
  if (f->writes) put(p, " writes");
  if (f->planned) put(p, " planned");
  loc(p, f->span);
}

static void func(printer *p, const sq_func *f) {
  p->key = NULL;
  p->n_key = p->cap_key = p->n_plain = 0;
  func_head(p, f);
  put(p, " {\n");
  for (uint32_t k = 0; k < f->requires_.n; k++) {
    const sq_require *r = &f->requires_.v[k];
    put(p, "  require ");
    dim(p, r->a);
    put(p, r->equal ? " == " : " <= ");
    dim(p, r->b);
    if (r->site != SQ_NO_SITE) ADD(" site %u", (unsigned)r->site);
    put(p, "\n");
  }
  for (uint32_t k = 0; k < f->slot.n; k++) {
    put(p, "  slot ");
    dim(p, f->slot.v[k]);
    put(p, "\n");
  }
  for (uint32_t k = 0; k < f->scratch.n; k++) {
    put(p, "  scratch ");
    dim(p, f->scratch.v[k]);
    put(p, "\n");
  }
  block(p, f->body, 1);
  put(p, "}\n");
}

static void symbols(printer *p) {
  static const char *const kind[] = {
      [SQ_SYM_SIZE] = "size", [SQ_SYM_LIVE] = "live", [SQ_SYM_GROW] = "grow"};
  const sq_dims *ds = p->g->dims;
  for (uint32_t k = 1; k <= sq_sym_count(ds); k++) {
    const sq_sym_info *s = sq_sym_at(ds, (sq_sym){k});
    put(p, "sym ");
    sq_ir_symbol_print(p->t, s->name);
    ADD(" %s", kind[s->kind]);
    if (s->limit.i) {
      put(p, " limit ");
      dim(p, s->limit);
    }
    if (s->low) ADD(" low %lld", (long long)s->low);
    if (s->scalar) put(p, " scalar");
    put(p, "\n");
  }
  for (uint32_t k = 0; k < sq_fact_count(ds); k++) {
    sq_dim a, b;
    bool equal = sq_fact_at(ds, k, &a, &b);
    put(p, "fact ");
    dim(p, a);
    put(p, equal ? " == " : " <= ");
    dim(p, b);
    put(p, "\n");
  }
}

static void names(printer *p, const char *const *name, uint32_t count, uint32_t n_alt,
                  bool instances) {
  if (!name || !n_alt) return;
  put(p, instances ? " as [\n" : " as ");
  for (uint32_t k = 0; k < count; k++) {
    if (instances) put(p, "  ");
    for (uint32_t j = 0; j < n_alt; j++) {
      if (j) put(p, " | ");
      const char *s = name[(size_t)k * n_alt + j];
      sq_ir_string_print(p->t, s ? s : "");
    }
    if (instances) put(p, k + 1 < count ? ",\n" : "\n");
  }
  if (instances) put(p, "]");
}

static void tables(printer *p) {
  const sq_graph *g = p->g;
  for (uint32_t k = 0; k < g->site.n; k++) {
    ADD("site %u ", (unsigned)k);
    sq_ir_string_print(p->t, g->site.v[k].message ? g->site.v[k].message : "");
    place(p, "at", g->site.v[k].span);
    put(p, "\n");
  }
  for (uint32_t k = 0; k < g->mark.n; k++) {
    ADD("mark %u", (unsigned)(k + 1));
    if (g->mark.v[k].outer) ADD(" in %u", (unsigned)g->mark.v[k].outer);
    loc(p, g->mark.v[k].span);
    put(p, "\n");
  }
  for (uint32_t k = 0; k < g->param.n; k++) {
    const sq_param *q = &g->param.v[k];
    put(p, "param @");
    sq_ir_name_print(p->t, q->name ? q->name : "");
    put(p, " : ");
    type(p, q->type);
    if (q->has_instances) ADD(" x %u", (unsigned)q->count);
    names(p, q->names, q->count, q->n_alt, q->has_instances);
    if (q->written) put(p, " written");
    if (q->frozen) put(p, " frozen");
    loc(p, q->span);
    put(p, "\n");
  }
  for (uint32_t k = 0; k < g->state.n; k++) {
    const sq_state *s = &g->state.v[k];
    put(p, "state @");
    sq_ir_name_print(p->t, s->name ? s->name : "");
    put(p, " : ");
    type(p, s->type);
    if (s->has_instances) ADD(" x %u", (unsigned)s->count);
    names(p, s->names, s->count, 1, s->has_instances);
    if (s->grow.i) {
      put(p, " grow ");
      sq_ir_symbol_print(p->t, sq_sym_at(g->dims, s->grow)->name);
      ADD(" axis %u", (unsigned)s->grow_axis);
    }
    if (s->init) {
      put(p, " = ");
      func_ref(p, s->init);
    }
    if (s->kept) put(p, " kept");
    if (s->derived) put(p, " derived");
    loc(p, s->span);
    put(p, "\n");
  }
}

static void whole(const sq_graph *g, sq_text *t, bool places) {
  printer pr = {.g = g, .t = t, .places = places}, *p = &pr;
  p->name = SQ_ARRAY(t->arena, const char *, g->n_values + 1);
  put(p, "graph ");
  sq_ir_name_print(t, g->name ? g->name : "");
  ADD(" %s%s\n", sq_dtype_table[g->float_type].name, places ? " places" : "");
  symbols(p);
  tables(p);
  for (uint32_t k = 0; k < g->func.n; k++) {
    put(p, "\n");
    func(p, g->func.v[k]);
  }
}

void sq_graph_print(const sq_graph *g, sq_text *t) { whole(g, t, false); }
void sq_graph_print_places(const sq_graph *g, sq_text *t) { whole(g, t, true); }

void sq_func_print(const sq_func *f, sq_text *t) {
  printer p = {.g = f->graph, .t = t};
  p.name = SQ_ARRAY(t->arena, const char *, f->graph->n_values + 1);
  func(&p, f);
}
