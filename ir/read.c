// Reads IR text (README.md describes it) into a graph. Hand-written recursive descent over an array
// of tokens; a mistake ends the present item, reading goes on at the next one. Whatever the text,
// the result is a graph on which the verifier and the printer are safe, or none.
#include "ir/read_inner.h"

static bool few_errors(const reader *r) { return r->ctx->diags.errors <= r->ctx->diags.max_errors; }

// ---- values ------------------------------------------------------------------------------------

static uint32_t hash_pointer(const void *p) {
  uint64_t x = (uint64_t)(uintptr_t)p * 0x9E3779B97F4A7C15u;
  return (uint32_t)(x >> 32);
}

static struct sq_entry *entry_of(const reader *r, const char *name) {
  uint32_t at = hash_pointer(name) & (r->cap_entry - 1);
  while (r->entry[at].name && r->entry[at].name != name) at = (at + 1) & (r->cap_entry - 1);
  return &r->entry[at];
}

static void clear_values(reader *r) {
  r->cap_entry = 64;
  r->n_entry = 0;
  r->entry = SQ_ARRAY(r->g->arena, struct sq_entry, r->cap_entry);
}

static bool define(reader *r, const tok *at, sq_value *v) {
  const char *name = at->text;
  if ((r->n_entry + 1) * 2 > r->cap_entry) {
    struct sq_entry *old = r->entry;
    uint32_t n = r->cap_entry;
    r->cap_entry *= 2;
    r->entry = SQ_ARRAY(r->g->arena, struct sq_entry, r->cap_entry);
    for (uint32_t k = 0; k < n; k++)
      if (old[k].name) *entry_of(r, old[k].name) = old[k];
  }
  struct sq_entry *e = entry_of(r, name);
  if (e->name) {
    r->at = (uint32_t)(at - r->tok);
    return sq_read_fail(r, "`%%%.60s` is defined twice", name);
  }
  *e = (struct sq_entry){name, v};
  r->n_entry++;
  return true;
}

sq_value *sq_read_value(reader *r) {
  const tok *t = here(r);
  if (t->kind != TOK_VALUE) {
    sq_read_fail(r, "expected a value instead of `%.60s`", t->text);
    return NULL;
  }
  sq_value *v = entry_of(r, t->text)->value;
  if (!v) sq_read_fail(r, "no value `%%%.60s` above", t->text);
  return v;
}

static const char *hint_of(const char *name) { // numbers are given anew by the printer
  return sq_ir_name_plain(name) ? name : NULL;
}

// ---- small things ------------------------------------------------------------------------------

static bool want_type_name(reader *r, sq_dtype *out) {
  if (here(r)->kind != TOK_NAME || !sq_read_dtype(here(r)->text, out))
    return sq_read_fail(r, "expected a type instead of `%.60s`", here(r)->text);
  r->at++;
  return true;
}

static bool read_type(reader *r, sq_type *out) {
  sq_dim dim[SQ_MAX_RANK];
  uint32_t rank = 0;
  sq_dtype t;
  if (!want_type_name(r, &t)) return false;
  if (sq_read_take(r, "[")) {
    do {
      if (rank == SQ_MAX_RANK) return sq_read_fail(r, "more than %d axes", SQ_MAX_RANK);
      if (!sq_read_dim(r, &dim[rank])) return false;
      rank++;
    } while (sq_read_take(r, ","));
    if (!sq_read_want(r, "]")) return false;
  }
  *out = sq_type_make(r->g, t, rank, dim);
  return true;
}

typedef struct typed {
  sq_type type;
  sq_store store;
  uint32_t store_index;
  sq_value *origin;
} typed;

static bool read_typed(reader *r, typed *out) {
  *out = (typed){.store = SQ_STORE_NONE};
  if (!read_type(r, &out->type)) return false;
  if (here(r)->kind != TOK_REF) return true;
  for (int k = 1; k <= SQ_STORE_INNER; k++)
    if (!strcmp(here(r)->text, sq_store_names[k])) out->store = (sq_store)k;
  if (!out->store) return sq_read_fail(r, "no storage class `@%.40s`", here(r)->text);
  r->at++;
  if (!sq_read_u32(r, "the number of a place", &out->store_index)) return false;
  if (out->store != SQ_STORE_STATE || !sq_read_take(r, "of")) return true;
  out->origin = sq_read_value(r);
  if (!out->origin) return false;
  r->at++;
  return true;
}

static void place_value(sq_value *v, const typed *t) {
  v->store = t->store;
  v->store_index = t->store_index;
  v->origin = t->origin;
}

static bool want_symbol(reader *r, sq_sym *out) {
  const tok *t = here(r);
  if (t->kind != TOK_NAME && t->kind != TOK_STRING)
    return sq_read_fail(r, "expected a symbol instead of `%.60s`", t->text);
  *out = sq_sym_find(r->g->dims, t->text);
  if (!out->i) return sq_read_fail(r, "no symbol `%.60s`", t->text);
  r->at++;
  return true;
}

static bool want_string(reader *r, const char **out) {
  if (here(r)->kind != TOK_STRING)
    return sq_read_fail(r, "expected a string instead of `%.60s`", here(r)->text);
  *out = here(r)->text;
  r->at++;
  return true;
}

static bool want_name(reader *r, const char **out) {
  if (here(r)->kind != TOK_STRING && here(r)->kind != TOK_NAME)
    return sq_read_fail(r, "expected a name instead of `%.60s`", here(r)->text);
  *out = here(r)->text;
  r->at++;
  return true;
}

static uint32_t source_number(reader *r, const char *name) {
  sq_diags *ds = &r->ctx->diags;
  for (uint32_t k = 1; k < ds->sources.n; k++)
    if (!strcmp(ds->sources.v[k].name, name)) return k;
  return sq_diags_source(ds, name, "", 0); // known by name alone
}

// `word "file"[begin..end]`, if it is next.
static bool read_place(reader *r, const char *word, sq_span *out) {
  const char *file = NULL;
  uint32_t begin, end;
  if (!sq_read_take(r, word)) return true;
  if (!want_string(r, &file) || !sq_read_want(r, "[") || !sq_read_u32(r, "a place", &begin) ||
      !sq_read_want(r, "..") || !sq_read_u32(r, "a place", &end) || !sq_read_want(r, "]"))
    return false;
  *out = (sq_span){source_number(r, file), begin, end, 0};
  return true;
}

// Without `places` in the head of the text, things are where they stand in it.
static bool read_loc(reader *r, uint32_t from, sq_span *out) {
  if (!r->places) *out = r->tok[from].span;
  return read_place(r, "loc", out);
}

// @name or @name!3: the number of a parameter, state or function.
static bool read_ref(reader *r, uint32_t count, const char *(*name_of)(const reader *r, uint32_t k),
                     const char *what, uint32_t *out) {
  const tok *t = here(r);
  if (t->kind != TOK_REF) return sq_read_fail(r, "expected the name of %s", what);
  uint32_t k = 0;
  if (r->tok[r->at + 1].kind == TOK_MARK && !strcmp(r->tok[r->at + 1].text, "!")) {
    r->at += 2;
    if (!sq_read_u32(r, "a number", &k)) return false;
    if (k >= count) return sq_read_fail(r, "%s %u does not exist", what, (unsigned)k);
    *out = k;
    return true;
  }
  while (k < count && strcmp(name_of(r, k), t->text) != 0) k++;
  if (k == count) return sq_read_fail(r, "no %s `@%.60s`", what, t->text);
  r->at++;
  *out = k;
  return true;
}

static const char *param_name(const reader *r, uint32_t k) { return r->g->param.v[k].name; }
static const char *state_name(const reader *r, uint32_t k) { return r->g->state.v[k].name; }
static const char *func_name(const reader *r, uint32_t k) { return r->g->func.v[k]->name; }

// ---- nodes -------------------------------------------------------------------------------------

static bool read_block(reader *r, sq_block *b);

typedef struct arg_list {
  SQ_VEC(const tok *) name;
  SQ_VEC(sq_value *) value;
} arg_list;

static bool read_inputs(reader *r, arg_list *l) {
  if (!sq_read_take(r, "(")) return true;
  while (!sq_read_take(r, ")")) {
    if (l->value.n && !sq_read_want(r, ",")) return false;
    sq_value *v = sq_read_value(r);
    if (!v) return false;
    sq_push(r->g->arena, &l->value, v);
    r->at++;
  }
  return true;
}

static bool read_attributes(reader *r, sq_node *n, sq_value **instance) {
  const sq_op_form *form = &sq_op_forms[n->op];
  sq_graph *g = r->g;
  if ((form->attrs & SQ_FORM_PARAM) && !read_ref(r, g->param.n, param_name, "parameter", &n->ref))
    return false;
  if ((form->attrs & SQ_FORM_STATE) && !read_ref(r, g->state.n, state_name, "state", &n->ref))
    return false;
  if ((form->attrs & (SQ_FORM_PARAM | SQ_FORM_STATE)) && sq_read_take(r, "[")) {
    *instance = sq_read_value(r);
    if (!*instance) return false;
    r->at++;
    n->has_instance = true;
    if (!sq_read_want(r, "]")) return false;
  }
  if (form->attrs & SQ_FORM_FUNC) {
    uint32_t k = 0;
    if (!read_ref(r, g->func.n, func_name, "function", &k)) return false;
    n->func = g->func.v[k];
  }
  if ((form->attrs & SQ_FORM_SYM) && !want_symbol(r, &n->sym)) return false;
  if (form->attrs & SQ_FORM_MONOID) {
    int k = 0;
    while (k < SQ_MONOID_COUNT && !sq_read_is(r, sq_monoid_names[k])) k++;
    if (k == SQ_MONOID_COUNT) return sq_read_fail(r, "expected a reduction, such as `sum`");
    n->monoid = (sq_monoid)k;
    r->at++;
  }
  if ((form->attrs & SQ_FORM_AXIS) &&
      (!sq_read_want(r, "axis") || !sq_read_u32(r, "the axis", &n->axis)))
    return false;
  if (form->attrs & SQ_FORM_EXTENT) {
    bool there = sq_read_take(r, form->extent);
    if (!there && !(form->attrs & SQ_FORM_OPTIONAL_EXTENT)) return sq_read_want(r, form->extent);
    if (there && !sq_read_dim(r, &n->extent)) return false;
  }
  if (form->flag_none && !sq_read_take(r, form->flag_none) && !sq_read_is(r, form->flag[0]))
    return sq_read_fail(r, "expected `%s` or `%s`", form->flag_none, form->flag[0]);
  for (int k = 0; k < SQ_FORM_FLAGS; k++)
    if (form->flag[k] && sq_read_take(r, form->flag[k])) n->flag |= 1u << k;
  if ((form->attrs & SQ_FORM_CARRIED) &&
      (!sq_read_want(r, "carried") || !sq_read_u32(r, "the number carried", &n->n_carried)))
    return false;
  if ((form->attrs & SQ_FORM_OUTER) &&
      (!sq_read_want(r, "outer") || !sq_read_u32(r, "the number of axes", &n->n_outer)))
    return false;
  return true;
}

static bool read_region(reader *r, sq_node *n) {
  sq_block *b = sq_node_region(r->g, n, r->func);
  if (!sq_read_want(r, "{")) return false;
  if (sq_read_take(r, "(")) {
    while (!sq_read_take(r, ")")) {
      typed t;
      if (b->args.n && !sq_read_want(r, ",")) return false;
      const tok *name = here(r);
      if (name->kind != TOK_VALUE) return sq_read_fail(r, "expected an argument, as in `%%x: f32`");
      r->at++;
      if (!sq_read_want(r, ":") || !read_typed(r, &t)) return false;
      sq_value *v = sq_block_arg(b, t.type, hint_of(name->text));
      place_value(v, &t);
      if (!define(r, name, v)) return false;
    }
  }
  return read_block(r, b);
}

static bool read_results(reader *r, sq_node *n, const arg_list *names) {
  for (uint32_t k = 0; k < names->name.n; k++) {
    typed t;
    if (!sq_read_want(r, k ? "," : ":") || !read_typed(r, &t)) return false;
    const tok *name = names->name.v[k];
    sq_value *v = sq_node_result(r->g, n, t.type, hint_of(name->text));
    place_value(v, &t);
    if (!define(r, name, v)) return false;
  }
  return true;
}

static bool read_yield(reader *r, sq_block *b) {
  arg_list in = {.value = {0}};
  uint32_t from = r->at - 1;
  while (here(r)->kind == TOK_VALUE) {
    sq_value *v = sq_read_value(r);
    if (!v) return false;
    sq_push(r->g->arena, &in.value, v);
    r->at++;
    if (!sq_read_take(r, ",")) break;
  }
  sq_node *n = sq_node_new(r->g, b, SQ_OP_YIELD, (sq_span){0}, in.value.n, in.value.v);
  return read_loc(r, from, &n->span);
}

static bool read_marked(reader *r, uint32_t *mark) {
  if (!sq_read_take(r, "marked")) return true;
  if (!sq_read_u32(r, "the number of a mark", mark)) return false;
  if (*mark && *mark <= r->g->mark.n) return true;
  r->at--;
  return sq_read_fail(r, "mark %u does not exist", (unsigned)*mark);
}

static bool read_node(reader *r, sq_block *b) {
  arg_list in = {.value = {0}};
  uint32_t from = r->at;
  while (here(r)->kind == TOK_VALUE) {
    sq_push(r->g->arena, &in.name, here(r));
    r->at++;
    if (sq_read_take(r, ",")) continue;
    if (!sq_read_want(r, "=")) return false;
    break;
  }
  int op = 0;
  while (op < SQ_OP_COUNT && !sq_read_is(r, sq_op_table[op].name)) op++;
  if (op == SQ_OP_COUNT)
    return sq_read_fail(r, "expected an operation instead of `%.60s`", here(r)->text);
  if (op == SQ_OP_YIELD && in.name.n) return sq_read_fail(r, "`yield` has no results");
  r->at++;
  if (op == SQ_OP_YIELD) return read_yield(r, b);
  sq_node *n = sq_node_new(r->g, b, (sq_opcode)op, (sq_span){0}, 0, NULL);
  sq_value *instance = NULL;
  if (!read_attributes(r, n, &instance) || !read_inputs(r, &in)) return false;
  if (instance) sq_push(r->g->arena, &in.value, instance);
  n->in = in.value.v;
  n->n_in = in.value.n;
  if ((sq_op_forms[op].attrs & (SQ_FORM_GENERIC | SQ_FORM_AXES)) && !sq_read_generic(r, n))
    return false;
  if (sq_read_take(r, "site") && !sq_read_u32(r, "a site", &n->site)) return false;
  for (int k = 0; k < sq_op_table[op].regions; k++)
    if (!read_region(r, n)) return false;
  uint32_t mark = 0;
  if (!read_results(r, n, &in) || !read_marked(r, &mark) || !read_loc(r, from, &n->span))
    return false;
  n->span.mark = sq_op_is_work(n->op) ? mark : 0;
  return true;
}

// After the opening brace, through the closing one.
static bool read_block(reader *r, sq_block *b) {
  if (!sq_read_enter(r)) return false;
  bool ok = true;
  while (ok && !sq_read_take(r, "}")) ok = read_node(r, b);
  r->nest--;
  return ok;
}

// ---- functions ---------------------------------------------------------------------------------

static bool read_func_inputs(reader *r, sq_func *f) {
  sq_graph *g = r->g;
  if (!sq_read_want(r, "(")) return false;
  while (!sq_read_take(r, ")")) {
    typed t;
    sq_sym sym = {0};
    if (f->body->args.n && !sq_read_want(r, ",")) return false;
    const tok *name = here(r);
    if (name->kind != TOK_VALUE) return sq_read_fail(r, "expected an input, as in `%%x: f32[N]`");
    r->at++;
    const char *public = name->text;
    if (here(r)->kind == TOK_STRING && !want_string(r, &public)) return false;
    if (!sq_read_want(r, ":") || !read_typed(r, &t)) return false;
    if (sq_read_take(r, "binds") && !want_symbol(r, &sym)) return false;
    sq_value *v = sq_block_arg(f->body, t.type, hint_of(name->text));
    place_value(v, &t);
    sq_push(g->arena, &f->in_names, public);
    sq_push(g->arena, &f->in_sym, sym);
    if (!define(r, name, v)) return false;
  }
  return true;
}

static bool read_func_outputs(reader *r, sq_func *f, sq_type *type, bool *has_type) {
  if (!sq_read_take(r, "->")) return true;
  if (!sq_read_want(r, "(")) return false;
  while (!sq_read_take(r, ")")) {
    const char *name = NULL;
    uint32_t k = f->out_names.n;
    if (k && !sq_read_want(r, ",")) return false;
    if (k == 256) return sq_read_fail(r, "more than 256 results");
    if (!want_name(r, &name)) return false;
    sq_push(r->g->arena, &f->out_names, name);
    has_type[k] = sq_read_take(r, ":");
    if (has_type[k] && !read_type(r, &type[k])) return false;
  }
  return true;
}

static bool read_requires(reader *r, sq_func *f) {
  sq_require q = {.site = SQ_NO_SITE};
  if (!sq_read_dim(r, &q.a)) return false;
  q.equal = sq_read_take(r, "==");
  if (!q.equal && !sq_read_want(r, "<=")) return false;
  if (!sq_read_dim(r, &q.b)) return false;
  if (sq_read_take(r, "site") && !sq_read_u32(r, "a site", &q.site)) return false;
  sq_push(r->g->arena, &f->requires_, q);
  return true;
}

static bool read_func(reader *r, sq_func *f) {
  sq_type *type = SQ_ARRAY(r->g->arena, sq_type, 256);
  bool *has_type = SQ_ARRAY(r->g->arena, bool, 256);
  uint32_t from = r->at;
  r->func = f;
  clear_values(r);
  uint32_t number;
  r->at += 2; // kind and name were seen before
  if (sq_read_take(r, "!") && !sq_read_u32(r, "a number", &number)) return false;
  if (!read_func_inputs(r, f) || !read_func_outputs(r, f, type, has_type)) return false;
  for (;;) {
    if (sq_read_take(r, "writes"))
      f->writes = true;
    else if (sq_read_take(r, "planned"))
      f->planned = true;
    else
      break;
  }
  if (!read_loc(r, from, &f->span) || !sq_read_want(r, "{")) return false;
  for (;;) {
    sq_dim d;
    if (sq_read_take(r, "require")) {
      if (!read_requires(r, f)) return false;
    } else if (sq_read_take(r, "slot")) {
      if (!sq_read_dim(r, &d)) return false;
      sq_push(r->g->arena, &f->slot, d);
    } else if (sq_read_take(r, "scratch")) {
      if (!sq_read_dim(r, &d)) return false;
      sq_push(r->g->arena, &f->scratch, d);
    } else {
      break;
    }
  }
  if (!read_block(r, f->body)) return false;
  const sq_node *end = sq_block_end(f->body);
  for (uint32_t k = 0; k < f->out_names.n; k++)
    if (has_type[k] && (!end || k >= end->n_in || !sq_type_same(end->in[k]->type, type[k]))) {
      r->at = from;
      return sq_read_fail(r, "result `%.60s` is not what the function yields", f->out_names.v[k]);
    }
  return true;
}

// ---- tables ------------------------------------------------------------------------------------

static bool read_head(reader *r) {
  if (!want_name(r, &r->g->name) || !want_type_name(r, &r->g->float_type)) return false;
  r->places = sq_read_take(r, "places");
  return true;
}

static bool read_sym(reader *r) {
  static const char *const kind[] = {
      [SQ_SYM_SIZE] = "size", [SQ_SYM_LIVE] = "live", [SQ_SYM_GROW] = "grow"};
  sq_sym s;
  if (!want_symbol(r, &s)) return false; // declared before
  sq_sym_info *info = sq_sym_at(r->g->dims, s);
  for (int k = 0; k < 3; k++)
    if (sq_read_take(r, kind[k])) info->kind = (sq_sym_kind)k;
  if (sq_read_take(r, "limit") && !sq_read_dim(r, &info->limit)) return false;
  if (sq_read_take(r, "low") && !sq_read_i64(r, &info->low)) return false;
  info->scalar = sq_read_take(r, "scalar");
  return true;
}

static bool read_fact(reader *r) {
  sq_dim a, b;
  if (!sq_read_dim(r, &a)) return false;
  bool equal = sq_read_take(r, "==");
  if (!equal && !sq_read_want(r, "<=")) return false;
  if (!sq_read_dim(r, &b)) return false;
  (equal ? sq_fact_eq : sq_fact_le)(r->g->dims, a, b);
  return true;
}

static bool read_site(reader *r) {
  uint32_t k;
  sq_site s = {{0}, NULL};
  if (!sq_read_u32(r, "the number of a site", &k)) return false;
  if (k != r->g->site.n) {
    r->at--;
    return sq_read_fail(r, "sites are numbered in order: this one is %u", (unsigned)r->g->site.n);
  }
  if (!want_string(r, &s.message) || !read_place(r, "at", &s.span)) return false;
  sq_push(r->g->arena, &r->g->site, s);
  return true;
}

static bool read_mark(reader *r) {
  uint32_t k, outer = 0, from = r->at - 1;
  sq_span span;
  if (!sq_read_u32(r, "the number of a mark", &k)) return false;
  if (k != r->g->mark.n + 1) {
    r->at--;
    return sq_read_fail(r, "marks are numbered in order: this one is %u",
                        (unsigned)r->g->mark.n + 1);
  }
  if (sq_read_take(r, "in")) {
    if (!sq_read_u32(r, "the number of a mark", &outer)) return false;
    if (!outer || outer >= k) {
      r->at--;
      return sq_read_fail(r, "a mark is in one with a smaller number");
    }
  }
  if (!read_loc(r, from, &span)) return false;
  sq_mark_new(r->g, span, outer);
  return true;
}

// `x 4`, then `as ...`: one list of alternatives, or one for each instance in brackets.
static bool read_names(reader *r, bool *instances, uint32_t *count, const char ***names,
                       uint32_t *n_alt) {
  SQ_VEC(const char *) all = {0};
  *count = 1;
  *n_alt = 0;
  *instances = sq_read_take(r, "x");
  if (*instances && !sq_read_u32(r, "the number of instances", count)) return false;
  if (!sq_read_take(r, "as")) return true;
  uint32_t rows = 0;
  if (*instances && !sq_read_want(r, "[")) return false;
  do {
    uint32_t from = all.n;
    do {
      const char *s = NULL;
      if (!want_string(r, &s)) return false;
      sq_push(r->g->arena, &all, s);
    } while (sq_read_take(r, "|"));
    if (!rows) *n_alt = all.n;
    if (all.n - from != *n_alt) return sq_read_fail(r, "as many names for each instance, please");
    rows++;
  } while (*instances && sq_read_take(r, ","));
  if (*instances && !sq_read_want(r, "]")) return false;
  if (rows != *count)
    return sq_read_fail(r, "names for %u instances of %u", (unsigned)rows, (unsigned)*count);
  *names = all.v;
  return true;
}

static bool read_owner_name(reader *r, const char **name) {
  if (here(r)->kind != TOK_REF) return sq_read_fail(r, "expected a name, as in `@weight`");
  *name = here(r)->text;
  r->at++;
  return true;
}

static bool read_param(reader *r) {
  sq_param q = {.count = 1};
  uint32_t from = r->at - 1;
  if (!read_owner_name(r, &q.name) || !sq_read_want(r, ":") || !read_type(r, &q.type) ||
      !read_names(r, &q.has_instances, &q.count, &q.names, &q.n_alt))
    return false;
  q.written = sq_read_take(r, "written");
  q.frozen = sq_read_take(r, "frozen");
  if (!read_loc(r, from, &q.span)) return false;
  sq_push(r->g->arena, &r->g->param, q);
  return true;
}

static bool read_state(reader *r) {
  sq_state s = {.count = 1};
  uint32_t from = r->at - 1, n_alt = 0, k = 0;
  if (!read_owner_name(r, &s.name) || !sq_read_want(r, ":") || !read_type(r, &s.type) ||
      !read_names(r, &s.has_instances, &s.count, &s.names, &n_alt))
    return false;
  if (n_alt > 1) return sq_read_fail(r, "a state has one name for each instance");
  if (sq_read_take(r, "grow") && (!want_symbol(r, &s.grow) || !sq_read_want(r, "axis") ||
                                  !sq_read_u32(r, "the axis", &s.grow_axis)))
    return false;
  if (sq_read_take(r, "=")) {
    if (!read_ref(r, r->g->func.n, func_name, "function", &k)) return false;
    s.init = r->g->func.v[k];
  }
  s.kept = sq_read_take(r, "kept");
  s.derived = sq_read_take(r, "derived");
  if (!read_loc(r, from, &s.span)) return false;
  sq_push(r->g->arena, &r->g->state, s);
  return true;
}

// ---- the whole ---------------------------------------------------------------------------------

static const char *const func_words[] = {
    [SQ_FUNC_ENTRY] = "entry", [SQ_FUNC_INIT] = "init", [SQ_FUNC_INNER] = "func"};
static const struct {
  const char *word;
  bool (*read)(reader *r);
} items[] = {{"graph", read_head}, {"sym", read_sym},     {"fact", read_fact},  {"site", read_site},
             {"mark", read_mark},  {"param", read_param}, {"state", read_state}};

static int func_kind_here(const reader *r) {
  for (int k = 0; k < 3; k++)
    if (sq_read_is(r, func_words[k]) && r->tok[r->at + 1].kind == TOK_REF) return k;
  return -1;
}

static bool item_here(const reader *r) {
  if (here(r)->depth) return false;
  for (size_t k = 0; k < sizeof items / sizeof *items; k++)
    if (sq_read_is(r, items[k].word)) return true;
  return func_kind_here(r) >= 0;
}

// Symbols and functions may be used above the place where they stand.
static bool declare(reader *r) {
  uint32_t before = r->ctx->diags.errors;
  for (r->at = 0; r->at + 1 < r->n; r->at++) {
    if (here(r)->depth) continue;
    const tok *next = &r->tok[r->at + 1];
    int kind = func_kind_here(r);
    if (kind >= 0) {
      sq_func_new(r->g, next->text, (sq_func_kind)kind, (sq_span){0});
    } else if (sq_read_is(r, "sym") && (next->kind == TOK_NAME || next->kind == TOK_STRING)) {
      r->at++;
      if (sq_sym_find(r->g->dims, next->text).i) {
        r->failed = false;
        sq_read_fail(r, "two symbols `%.60s`", next->text);
      } else {
        sq_sym_new(r->g->dims, next->text, SQ_SYM_SIZE);
      }
    }
  }
  r->at = 0;
  return r->ctx->diags.errors == before;
}

static void read_items(reader *r) {
  uint32_t n_func = 0;
  while (here(r)->kind != TOK_END && few_errors(r)) {
    uint32_t from = r->at;
    int kind = func_kind_here(r);
    r->failed = false;
    r->nest = 0;
    if (kind >= 0 && n_func < r->g->func.n) {
      read_func(r, r->g->func.v[n_func++]);
    } else {
      size_t k = 0;
      while (k < sizeof items / sizeof *items && !sq_read_take(r, items[k].word)) k++;
      if (k < sizeof items / sizeof *items)
        items[k].read(r);
      else
        sq_read_fail(r,
                     "expected `sym`, `site`, `mark`, `param`, `state`, `entry`, `init` or `func`");
    }
    if (!r->failed) continue;
    r->at = from + 1;
    while (here(r)->kind != TOK_END && !item_here(r)) r->at++;
  }
}

sq_graph *sq_graph_read(sq_ctx *ctx, sq_arena *arena, const char *file, const char *text,
                        size_t n) {
  reader r = {.ctx = ctx};
  uint32_t before = ctx->diags.errors;
  r.g = sq_graph_new(ctx, arena, "graph");
  if (sq_read_lex(&r, file, text, n) && declare(&r)) read_items(&r);
  return ctx->diags.errors == before ? r.g : NULL;
}
