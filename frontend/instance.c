// Instances: a module's text with its arguments. All members of an array `sub x[i < n]` with equal
// arguments are one class, declared once; only the names of their parameters are made n times.
#include "frontend/lower.h"

enum { MAX_INSTANCES = 65536, MAX_NAMES = 64, MAX_DEPTH = 64 };

// ---- names in the checkpoint -------------------------------------------------------------------

typedef struct piece { // of an `as` string: text, or an expression in braces
  const char *text;
  const sq_expr *e;
} piece;
typedef SQ_VEC(piece) pieces;

// Places in a text made up here are those of the string that it was taken from.
static void move_spans(sq_expr *e, sq_span begin, uint32_t prefix) {
  if (!e) return;
  e->span.file = begin.file;
  e->span.begin += begin.begin - prefix;
  e->span.end += begin.begin - prefix;
  for (uint32_t k = 0; k < e->n; k++) move_spans(e->arg[k], begin, prefix);
  move_spans(e->where, begin, prefix);
  move_spans(e->body, begin, prefix);
}

static const sq_expr *brace_expr(sq_low *L, const char *text, size_t n, sq_span span) {
  static const char prefix[] = "x = ";
  char *src = sq_arena_fmt(L->a, "%s%.*s", prefix, (int)n, text);
  uint32_t before = L->ds->errors, listed = L->ds->list.n;
  uint32_t file = sq_diags_source(L->ds, "a name", src, strlen(src));
  sq_ast *ast = sq_parse(L->ctx, file);
  if (L->ds->errors == before && ast && ast->decls.n == 1 && ast->decls.v[0]->kind == SQ_D_DEFINE) {
    move_spans(ast->decls.v[0]->value, span, sizeof prefix - 1);
    return ast->decls.v[0]->value;
  }
  L->ds->list.n = listed; // said in the user's own text instead
  L->ds->errors = before;
  sq_low_error(L, span, "`{%.*s}` in a name is no expression", (int)n, text);
  return NULL;
}

static bool split_name(sq_low *L, const sq_expr *s, pieces *out) {
  const char *p = s->name;
  while (*p) {
    const char *open = strchr(p, '{');
    if (!open) {
      sq_push(L->a, out, (piece){p, NULL});
      return true;
    }
    if (open > p) sq_push(L->a, out, (piece){sq_arena_str(L->a, p, (size_t)(open - p)), NULL});
    const char *close = strchr(open, '}');
    if (!close) {
      sq_low_error(L, s->span, "`{` without `}` in a name");
      return false;
    }
    uint32_t at = s->span.begin + 1 + (uint32_t)(open + 1 - s->name); // behind the quote: raw text
    size_t n = (size_t)(close - open) - 1;
    const sq_expr *e = brace_expr(L, open + 1, n, (sq_span){s->span.file, at, at + (uint32_t)n, 0});
    if (!e) return false;
    sq_push(L->a, out, (piece){NULL, e});
    p = close + 1;
  }
  return true;
}

static bool join_name(sq_low *L, const pieces *ps, sq_scope *scope, sq_text *t) {
  for (uint32_t k = 0; k < ps->n; k++) {
    if (ps->v[k].text) {
      sq_text_add(t, "%s", ps->v[k].text);
      continue;
    }
    sq_val v = sq_eval_size_expr(L, scope, ps->v[k].e);
    if (v.kind == SQ_V_POISON) return false;
    int64_t i;
    if (v.kind != SQ_V_STRING && v.kind != SQ_V_WORD && !sq_val_const_int(L, &v, &i)) {
      sq_low_error(L, ps->v[k].e->span, "`{..}` in a name is %s; an integer or a string is needed",
                   sq_val_what(L, &v));
      return false;
    }
    sq_text_add(t, "%s", sq_val_text(L, &v));
  }
  return true;
}

// prefix + own, by the rules of paths.
static const char *join_path(sq_low *L, const char *prefix, const char *own) {
  if (*own == '/') return own + 1;
  if (!*own) return prefix;
  return *prefix ? sq_arena_fmt(L->a, "%s.%s", prefix, own) : own;
}

// The names of all copies of `inst` itself: list[copy * n + j].
static bool inst_paths(sq_low *L, sq_inst *inst, const char ***list, uint32_t *n) {
  if (inst->paths) {
    *list = inst->paths;
    *n = inst->n_paths;
    return true;
  }
  if (!inst->parent) {
    static const char *const root[] = {""};
    *list = inst->paths = (const char **)root;
    *n = inst->n_paths = 1;
    return true;
  }
  const char **up;
  uint32_t n_up;
  if (!inst_paths(L, inst->parent, &up, &n_up)) return false;
  uint32_t n_own = inst->names.n ? inst->names.n : 1;
  if ((uint64_t)n_up * n_own > MAX_NAMES) {
    sq_low_error(L, inst->span, "more than %d names to try", MAX_NAMES);
    return false;
  }
  pieces *own = SQ_ARRAY(L->a, pieces, n_own);
  for (uint32_t j = 0; j < inst->names.n; j++)
    if (!split_name(L, inst->names.v[j], &own[j])) return false;
  const char **out = SQ_ARRAY(L->a, const char *, (uint64_t)inst->count *n_up *n_own);
  const char **text = SQ_ARRAY(L->a, const char *, n_own);
  for (int64_t c = 0; c < inst->count; c++) {
    int64_t member = c % inst->n_index, parent = c / inst->n_index;
    if (c < inst->n_index || inst->in_array)
      for (uint32_t j = 0; j < n_own; j++) {
        sq_scope *scope = inst->names_scope;
        if (inst->in_array) {
          scope = sq_scope_new(L, SQ_SC_BLOCK, scope);
          sq_bind_add(L, scope, inst->index_name, SQ_B_LOCAL, inst->span,
                      sq_val_int(L, inst->index[member]));
        }
        sq_text t = {.arena = L->a};
        if (!inst->names.n) {
          sq_text_add(&t, "%s", inst->name);
          if (inst->in_array) sq_text_add(&t, ".%lld", (long long)inst->index[member]);
        } else if (!join_name(L, &own[j], scope, &t)) {
          return false;
        }
        text[j] = t.v ? t.v : "";
      }
    for (uint32_t u = 0; u < n_up; u++)
      for (uint32_t j = 0; j < n_own; j++)
        out[(uint64_t)c * n_up * n_own + u * n_own + j] =
            join_path(L, up[parent * n_up + u], text[j]);
  }
  *list = inst->paths = out;
  *n = inst->n_paths = n_up * n_own;
  return true;
}

static bool param_names(sq_low *L, sq_inst *inst, const sq_decl *d, const char ***names,
                        uint32_t *n_alt) {
  const char **up;
  uint32_t n_up, n_own = d->names.n ? d->names.n : 1;
  if (!inst_paths(L, inst, &up, &n_up)) return false;
  if ((uint64_t)n_up * n_own > MAX_NAMES) {
    sq_low_error(L, d->span, "more than %d names to try", MAX_NAMES);
    return false;
  }
  const char **text = SQ_ARRAY(L->a, const char *, n_own);
  text[0] = d->lhs->name;
  for (uint32_t j = 0; j < d->names.n; j++) {
    pieces ps = {0};
    sq_text t = {.arena = L->a};
    if (!split_name(L, d->names.v[j], &ps) || !join_name(L, &ps, inst->scope, &t)) return false;
    text[j] = t.v ? t.v : "";
  }
  const char **out = SQ_ARRAY(L->a, const char *, (uint64_t)inst->count *n_up *n_own);
  for (int64_t c = 0; c < inst->count; c++)
    for (uint32_t u = 0; u < n_up; u++)
      for (uint32_t j = 0; j < n_own; j++)
        out[(uint64_t)c * n_up * n_own + u * n_own + j] = join_path(L, up[c * n_up + u], text[j]);
  *names = out;
  *n_alt = n_up * n_own;
  return true;
}

// States are named by the source: "block.0.ck".
const char **sq_inst_state_names(sq_low *L, sq_inst *inst, const char *name) {
  int64_t count = inst ? inst->count : 1;
  const char **out = SQ_ARRAY(L->a, const char *, count);
  for (int64_t c = 0; c < count; c++) {
    const char *path = name;
    int64_t k = c;
    for (sq_inst *i = inst; i && i->parent; i = i->parent) {
      path = i->in_array ? sq_arena_fmt(L->a, "%s.%lld.%s", i->name,
                                        (long long)i->index[k % i->n_index], path)
                         : sq_arena_fmt(L->a, "%s.%s", i->name, path);
      k /= i->n_index;
    }
    out[c] = path;
  }
  return out;
}

// ---- declarations ------------------------------------------------------------------------------

static bool declare_once(sq_low *L, sq_inst *inst, const char *name, sq_span span) {
  sq_bind *old = sq_lookup_here(inst->scope, name);
  if (!old || old->kind == SQ_B_CONFIG) return true;
  sq_diag *d = sq_low_error(L, span, "`%s` is declared twice", name);
  sq_label(d, old->span, "first here");
  return false;
}

static void declare_param(sq_low *L, sq_inst *inst, sq_decl *d) {
  const sq_lhs *l = d->lhs;
  sq_val v = sq_poison();
  if (!declare_once(L, inst, l->name, l->span)) return;
  sq_dtype t = L->g->float_type;
  bool ok = true;
  if (l->type && !sq_dtype_named(l->type, &t)) {
    sq_low_error(L, l->type_span, "unknown type `%s`", l->type);
    ok = false;
  }
  if (l->n > SQ_MAX_RANK) {
    sq_low_error(L, l->span, "%u axes are more than the %u that are possible", l->n, SQ_MAX_RANK);
    ok = false;
  }
  sq_dim dim[SQ_MAX_RANK];
  if (d->kept) {
    sq_diag *e = sq_low_error(L, d->span, "`kept` belongs to a `state`, not to a `param`");
    sq_hint(e, "`reset` leaves parameters alone");
  }
  for (uint32_t k = 0; k < l->n && k < SQ_MAX_RANK; k++) {
    int64_t c;
    const sq_expr *e = l->item[k];
    if (e->kind == SQ_E_NAME && !sq_lookup(L, inst->scope, e->name, NULL)) {
      sq_diag *u = sq_unknown_name(L, inst->scope, e->span, e->name, "size");
      sq_hint(u, "the axes of a parameter are config");
      ok = false;
      continue;
    }
    dim[k] = sq_eval_size(L, inst->scope, l->item[k], "the extent of a parameter");
    if (dim[k].i && sq_dim_is_const(L->g->dims, dim[k], &c) && c > INT32_MAX) {
      sq_low_error(L, l->item[k]->span, "the extent of a parameter is larger than %d", INT32_MAX);
      dim[k].i = 0;
    } else if (dim[k].i && (!sq_dim_is_const(L->g->dims, dim[k], &c) || c < 0)) {
      sq_low_error(L, l->item[k]->span,
                   "the extent of a parameter is %s; it must be a fixed number",
                   sq_dim_str(L, dim[k]));
      dim[k].i = 0;
    }
    ok &= dim[k].i != 0;
  }
  sq_param p = {.span = l->span,
                .frozen = d->frozen,
                .count = (uint32_t)inst->count,
                .has_instances = inst->many};
  if (ok && param_names(L, inst, d, &p.names, &p.n_alt)) {
    p.name = *inst->path ? sq_arena_fmt(L->a, "%s.%s", inst->path, l->name) : l->name;
    p.type = sq_type_make(L->g, t, l->n, dim);
    sq_push(L->a, &L->g->param, p);
    v = (sq_val){.kind = SQ_V_PARAM, .ref = L->g->param.n - 1};
  }
  sq_bind_add(L, inst->scope, l->name, SQ_B_DECL, l->span, v);
}

// ---- arguments of modules ----------------------------------------------------------------------

// `"_l{l}"`: the braces of a string are replaced where it is given, so that the module gets a name.
static sq_val string_arg(sq_low *L, sq_scope *s, const sq_expr *e) {
  pieces ps = {0};
  sq_text t = {.arena = L->a};
  if (!split_name(L, e, &ps) || !join_name(L, &ps, s, &t)) return sq_poison();
  return (sq_val){.kind = SQ_V_STRING, .s = t.v ? t.v : ""};
}

// Binds formals to the arguments of a call; false after a message.
static bool module_args(sq_low *L, const sq_decl *m, const sq_expr *call, sq_scope *s, sq_val *out,
                        sq_scope *own) {
  uint32_t n = m->formals.n, place = 0;
  bool *have = SQ_ARRAY(L->a, bool, n + 1), ok = true;
  for (uint32_t k = 1; k < call->n; k++) {
    const sq_expr *x = call->arg[k];
    uint32_t at = n;
    if (x->kind == SQ_E_NAMED) {
      for (uint32_t j = 0; j < n; j++)
        if (m->formals.v[j]->name == x->name) at = j;
    } else {
      at = place++;
    }
    if (at >= n) {
      sq_diag *d;
      if (x->kind == SQ_E_NAMED) {
        SQ_VEC(const char *) near = {0};
        for (uint32_t j = 0; j < n; j++) sq_push(L->a, &near, m->formals.v[j]->name);
        d = sq_low_error(L, x->span, "module `%s` has no argument `%s`", m->name, x->name);
        sq_low_suggest(L, d, x->name, near.v, near.n);
      } else {
        d = sq_low_error(L, x->span, "module `%s` takes %u argument%s, but %u %s given", m->name, n,
                         n == 1 ? "" : "s", call->n - 1, call->n == 2 ? "is" : "are");
      }
      sq_label(d, m->name_span, "declared here");
      return false;
    }
    if (have[at]) {
      sq_low_error(L, x->span, "argument `%s` is given twice", m->formals.v[at]->name);
      return false;
    }
    have[at] = true;
    const sq_expr *e = x->kind == SQ_E_NAMED ? x->arg[0] : x;
    out[at] = e->kind == SQ_E_STRING ? string_arg(L, s, e) : sq_eval_size_expr(L, s, e);
    if (out[at].kind == SQ_V_POISON) {
      ok = false;
    } else if (!sq_val_is_static(&out[at])) {
      sq_diag *d = sq_low_error(L, e->span,
                                "an argument of a module must be known at compile time, but "
                                "`%s` is %s",
                                sq_low_text(L, e->span), sq_val_what(L, &out[at]));
      (void)d;
      ok = false;
    }
  }
  for (uint32_t k = 0; k < n; k++) {
    const sq_formal *f = m->formals.v[k];
    if (!have[k]) {
      if (!f->value) {
        sq_diag *d = sq_low_error(L, call->span, "argument `%s` of module `%s` is missing", f->name,
                                  m->name);
        sq_label(d, f->span, "declared here");
        return false;
      }
      if (f->value->kind == SQ_E_NAME && f->choices.n) {
        out[k] = (sq_val){.kind = SQ_V_WORD, .s = f->value->name, .choices = f};
      } else {
        out[k] = sq_eval_size_expr(L, own, f->value);
      }
      ok &= out[k].kind != SQ_V_POISON;
    }
    if (out[k].kind == SQ_V_DIM) out[k].lit = false;
    if (out[k].kind == SQ_V_WORD && !out[k].choices) out[k].choices = f;
    sq_bind_add(L, own, f->name, SQ_B_CONFIG, f->span, out[k]);
  }
  return ok;
}

static bool mentions(const sq_expr *e, const char *name, uint32_t depth) {
  if (!e || depth > 500) return e != NULL;
  if ((e->kind == SQ_E_NAME || e->kind == SQ_E_IN) && e->name == name) return true;
  if (e->kind == SQ_E_STRING && strchr(e->name, '{')) return true; // perhaps: classes are compared
  for (uint32_t k = 0; k < e->n; k++)
    if (mentions(e->arg[k], name, depth + 1)) return true;
  return mentions(e->where, name, depth + 1) || mentions(e->body, name, depth + 1);
}

static bool contains_itself(sq_low *L, const sq_inst *parent, const sq_decl *m, const sq_val *args,
                            sq_span span) {
  uint32_t depth = 0;
  for (const sq_inst *p = parent; p; p = p->parent, depth++) {
    if (p->decl != m) continue;
    bool same = true;
    for (uint32_t k = 0; k < m->formals.n && same; k++) {
      sq_bind *b = sq_lookup_here(p->scope, m->formals.v[k]->name);
      same = b && (b->kind != SQ_B_CONFIG || sq_val_equal(L, &b->val, &args[k]));
    }
    if (!same) continue;
    sq_diag *d = sq_low_error(L, span, "module `%s` contains itself", m->name);
    sq_label(d, m->name_span, "declared here");
    for (const sq_inst *q = parent; q && q != p; q = q->parent)
      sq_hint(d, "through `%s`, an instance of `%s`", q->name, q->decl->name);
    return true;
  }
  if (depth <= MAX_DEPTH) return false;
  sq_low_error(L, span, "modules are nested more than %d deep", MAX_DEPTH);
  return true;
}

static sq_inst *make_class(sq_low *L, sq_inst *parent, const sq_decl *d, const sq_val *module,
                           sq_scope *args_scope, uint32_t n_index, const int64_t *index,
                           bool array) {
  sq_inst *c = SQ_NEW(L->a, sq_inst);
  c->decl = module->decl;
  c->parent = parent;
  c->name = d->lhs->name;
  c->path = *parent->path ? sq_arena_fmt(L->a, "%s.%s", parent->path, c->name) : c->name;
  c->scope = args_scope;
  c->scope->inst = c;
  c->count = parent->count * n_index;
  c->many = parent->many || array;
  c->n_index = n_index;
  c->index = index;
  c->in_array = array;
  for (uint32_t k = 0; k < d->names.n; k++) sq_push(L->a, &c->names, d->names.v[k]);
  c->names_scope = parent->scope;
  c->span = d->lhs->span;
  return c;
}

// Equal arguments make equal classes; names of parameters may still use the index.
static bool same_args(sq_low *L, uint32_t n, const sq_val *a, const sq_val *b) {
  for (uint32_t k = 0; k < n; k++)
    if (!sq_val_equal(L, &a[k], &b[k])) return false;
  return true;
}

// Without instances there is a class, but nothing is declared in it.
static sq_val sub_array(sq_low *L, sq_inst *parent, sq_decl *d, const sq_val *m, int64_t count,
                        const char *index_name) {
  const sq_expr *call = d->value;
  uint32_t n_formals = m->decl->formals.n;
  bool uniform = true;
  int64_t n = count ? count : 1;
  for (uint32_t k = 1; k < call->n; k++) uniform &= !mentions(call->arg[k], index_name, 0);
  sq_insts *a = SQ_NEW(L->a, sq_insts);
  a->name = d->lhs->name;
  a->n = count;
  a->span = d->lhs->span;
  int64_t tried = uniform ? 1 : n;
  sq_val **args = SQ_ARRAY(L->a, sq_val *, tried);
  sq_scope **scope = SQ_ARRAY(L->a, sq_scope *, tried);
  uint32_t *klass = SQ_ARRAY(L->a, uint32_t, n), n_class = 0;
  uint32_t *first = SQ_ARRAY(L->a, uint32_t, tried);
  for (int64_t i = 0; i < tried; i++) {
    sq_scope *s = parent->scope;
    if (!uniform) {
      s = sq_scope_new(L, SQ_SC_BLOCK, s);
      sq_bind_add(L, s, index_name, SQ_B_LOCAL, d->lhs->span, sq_val_int(L, i));
    }
    scope[i] = sq_scope_new(L, SQ_SC_INST, m->scope);
    args[i] = SQ_ARRAY(L->a, sq_val, n_formals + 1);
    if (!module_args(L, m->decl, call, s, args[i], scope[i])) return sq_poison();
    uint32_t c = 0;
    while (c < n_class && !same_args(L, n_formals, args[first[c]], args[i])) c++;
    if (c == n_class) first[n_class++] = (uint32_t)i;
    klass[i] = c;
  }
  if (contains_itself(L, parent, m->decl, args[0], call->span)) return sq_poison();
  a->n_class = n_class;
  a->klass = SQ_ARRAY(L->a, sq_inst *, n_class);
  if (n_class > 1) {
    a->klass_of = klass;
    a->place_of = SQ_ARRAY(L->a, uint32_t, n);
  }
  for (uint32_t c = 0; c < n_class; c++) {
    int64_t *index = SQ_ARRAY(L->a, int64_t, n);
    uint32_t members = 0;
    for (int64_t i = 0; i < n; i++)
      if (uniform || klass[i] == c) {
        if (a->place_of) a->place_of[i] = members;
        index[members++] = i;
      }
    a->klass[c] = make_class(L, parent, d, m, scope[first[c]], members, index, true);
    a->klass[c]->index_name = index_name;
    if (n_class > 1)
      a->klass[c]->path = sq_arena_fmt(L->a, "%s.%lld", a->klass[c]->path, (long long)index[0]);
    if (count) sq_inst_decls(L, a->klass[c], &m->decl->decls);
  }
  return (sq_val){.kind = SQ_V_INSTS, .insts = a};
}

void sq_inst_sub(sq_low *L, sq_inst *parent, sq_decl *d) {
  const sq_lhs *l = d->lhs;
  const sq_expr *call = d->value;
  if (!declare_once(L, parent, l->name, l->span)) return;
  sq_val v = sq_poison();
  sq_bind_kind kind = SQ_B_DECL;
  int64_t n = 1;
  const char *index = NULL;
  if (l->has_items) {
    const sq_expr *e = l->n == 1 ? l->item[0] : NULL;
    if (!e || e->kind != SQ_E_COMPARE || e->n != 2 || e->ops[0] != SQ_B_LT ||
        e->arg[0]->kind != SQ_E_NAME) {
      sq_low_error(L, l->span, "an array of instances is declared with one index: `sub %s[i < n]`",
                   l->name);
      goto done;
    }
    index = e->arg[0]->name;
    sq_dim dim = sq_eval_size(L, parent->scope, e->arg[1], "the number of instances");
    if (!dim.i) goto done;
    if (!sq_dim_is_const(L->g->dims, dim, &n) || n < 0 || n * parent->count > MAX_INSTANCES) {
      sq_low_error(L, e->arg[1]->span, "the number of instances is %s; 0 to %d are possible",
                   sq_dim_str(L, dim), MAX_INSTANCES);
      goto done;
    }
  }
  if (call->kind != SQ_E_CALL) {
    v = sq_eval_expr(L, parent->scope, call);
    kind = SQ_B_SHARED;
    if (v.kind == SQ_V_INST || v.kind == SQ_V_INSTS || v.kind == SQ_V_POISON) goto done;
    sq_diag *e = sq_low_error(L, call->span, "`sub` makes an instance of a module, but `%s` is %s",
                              sq_low_text(L, call->span), sq_val_what(L, &v));
    if (v.kind == SQ_V_MODULE)
      sq_hint(e, "give it arguments: `%s(...)`", sq_low_text(L, call->span));
    v = sq_poison();
    goto done;
  }
  sq_val m = sq_eval_expr(L, parent->scope, call->arg[0]);
  if (m.kind == SQ_V_POISON) goto done;
  if (m.kind != SQ_V_MODULE) {
    sq_low_error(L, call->arg[0]->span, "`sub` makes an instance of a module, but `%s` is %s",
                 sq_low_text(L, call->arg[0]->span), sq_val_what(L, &m));
    goto done;
  }
  if (index) {
    v = sub_array(L, parent, d, &m, n, index);
    goto done;
  }
  sq_scope *own = sq_scope_new(L, SQ_SC_INST, m.scope);
  sq_val *args = SQ_ARRAY(L->a, sq_val, m.decl->formals.n + 1);
  if (!module_args(L, m.decl, call, parent->scope, args, own) ||
      contains_itself(L, parent, m.decl, args, call->span))
    goto done;
  int64_t *zero = SQ_ARRAY(L->a, int64_t, 1);
  sq_inst *c = make_class(L, parent, d, &m, own, 1, zero, false);
  v = (sq_val){.kind = SQ_V_INST, .inst = c};
  sq_inst_decls(L, c, &m.decl->decls);
done:
  sq_bind_add(L, parent->scope, l->name, kind, l->span, v);
}

// ---- the declarations of a module --------------------------------------------------------------

static void declare(sq_low *L, sq_inst *inst, sq_decl *d, sq_decls *states);

// Functions and definitions are visible before the text comes to them.
static void declare_list(sq_low *L, sq_inst *inst, const sq_decls *list, sq_decls *states) {
  for (int later = 0; later < 2; later++)
    for (uint32_t k = 0; k < list->n; k++) {
      sq_decl_kind kind = list->v[k]->kind;
      bool early = kind == SQ_D_FN || kind == SQ_D_PROC || kind == SQ_D_DEFINE;
      if (early != (later != 0)) declare(L, inst, list->v[k], states);
    }
}

static void declare(sq_low *L, sq_inst *inst, sq_decl *d, sq_decls *states) {
  switch (d->kind) {
  case SQ_D_PARAM:
    declare_param(L, inst, d);
    break;
  case SQ_D_SUB:
    sq_inst_sub(L, inst, d);
    break;
  case SQ_D_STATE:
    if (declare_once(L, inst, d->lhs->name, d->lhs->span)) sq_push(L->a, states, d);
    break;
  case SQ_D_ENTRY:
    if (inst->parent) {
      sq_diag *e = sq_low_error(L, d->name_span,
                                "`entry` stands in a model; in a module use `fn` or "
                                "`proc`");
      (void)e;
      break;
    }
    for (uint32_t k = 0; k < L->entries.n; k++)
      if (L->entries.v[k]->name == d->name) {
        sq_diag *e = sq_low_error(L, d->name_span, "entry `%s` is declared twice", d->name);
        sq_label(e, L->entries.v[k]->name_span, "first here");
        return;
      }
    sq_push(L->a, &L->entries, d);
    if (!sq_lookup_here(inst->scope, d->name)) // a config, parameter of this name keeps it
      sq_bind_add(L, inst->scope, d->name, SQ_B_DECL, d->name_span,
                  (sq_val){.kind = SQ_V_FN, .decl = d, .scope = inst->scope});
    break;
  case SQ_D_FN:
  case SQ_D_PROC:
    sq_check_formals(L, d);
    if (declare_once(L, inst, d->name, d->name_span))
      sq_bind_add(L, inst->scope, d->name, SQ_B_DECL, d->name_span,
                  (sq_val){.kind = SQ_V_FN, .decl = d, .scope = inst->scope});
    break;
  case SQ_D_DEFINE:
    if (declare_once(L, inst, d->lhs->name, d->lhs->span))
      sq_bind_add(L, inst->scope, d->lhs->name, SQ_B_LAZY, d->lhs->span, sq_poison())->decl = d;
    break;
  case SQ_D_IF: {
    sq_val c = sq_eval_expr(L, inst->scope, d->value);
    if (c.kind == SQ_V_POISON) break;
    if (c.kind != SQ_V_BOOL) {
      sq_diag *e =
          sq_low_error(L, d->value->span, "declarations depend on config only, but `%s` is %s",
                       sq_low_text(L, d->value->span), sq_val_what(L, &c));
      if (c.kind == SQ_V_DIM)
        sq_hint(e, "compare with something: `%s == 1`", sq_low_text(L, d->value->span));
      break;
    }
    declare_list(L, inst, c.i ? &d->decls : &d->else_, states);
    break;
  }
  case SQ_D_CHECK:
    sq_lower_check(L, inst->scope, d->value, d->text, d->value->span);
    break;
  case SQ_D_PRESET:
    if (inst->parent) sq_low_error(L, d->span, "`preset` stands in a model");
    break;
  case SQ_D_MODULE:
  case SQ_D_MODEL:
  case SQ_D_USE:
    sq_low_error(L, d->span, "this stands at the top of a file");
    break;
  }
}

void sq_inst_decls(sq_low *L, sq_inst *inst, const sq_decls *decls) {
  sq_decls states = {0};
  declare_list(L, inst, decls, &states);
  for (uint32_t k = 0; k < states.n; k++) {
    const sq_lhs *l = states.v[k]->lhs; // names that were bound after its turn, other states' too
    if (declare_once(L, inst, l->name, l->span)) sq_state_declare(L, inst, states.v[k]);
  }
}
