// Calls: a function's text is lowered where it is used, with the shapes of the caller.
#include "frontend/lower.h"

enum { MAX_CALLS = 100 };

typedef struct args {
  uint32_t n;
  sq_val *v;
  const char **name; // NULL: by position
  sq_span *span;
  sq_span *whole; // with the name, where there is one; NULL: none has
} args;

// ---- binding arguments to a signature ----------------------------------------------------------

static const char *kind_name(const sq_decl *d) {
  return d->kind == SQ_D_FN ? "fn" : d->kind == SQ_D_PROC ? "proc" : "entry";
}

static bool match_args(sq_low *L, const sq_decl *d, const args *a, sq_scope *s, sq_span span,
                       sq_val *out, sq_span *spans) {
  uint32_t n = d->in.n, by_place = 0;
  bool *have = SQ_ARRAY(L->a, bool, n + 1);
  for (uint32_t k = 0; k < a->n; k++) {
    uint32_t at = n;
    sq_span here = a->whole ? a->whole[k] : a->span[k];
    if (!a->name[k]) {
      at = by_place++;
    } else {
      for (uint32_t j = 0; j < n; j++)
        if (d->in.v[j]->name == a->name[k]) at = j;
    }
    if (at >= n) {
      sq_diag *e;
      if (a->name[k]) {
        SQ_VEC(const char *) near = {0};
        for (uint32_t j = 0; j < n; j++) sq_push(L->a, &near, d->in.v[j]->name);
        e = sq_low_error(L, here, "`%s` has no argument `%s`", d->name, a->name[k]);
        sq_low_suggest(L, e, a->name[k], near.v, near.n);
      } else {
        e = sq_low_error(L, here, "`%s` takes %u argument%s, but %u %s given", d->name, n,
                         n == 1 ? "" : "s", a->n, a->n == 1 ? "is" : "are");
      }
      sq_label(e, d->name_span, "declared here");
      return false;
    }
    if (have[at]) {
      sq_diag *e = sq_low_error(L, here, "argument `%s` is given twice", d->in.v[at]->name);
      sq_label(e, spans[at], "first here");
      return false;
    }
    have[at] = true;
    out[at] = a->v[k];
    spans[at] = a->span[k];
  }
  for (uint32_t k = 0; k < n; k++) {
    if (have[k]) continue;
    if (!d->in.v[k]->value) {
      sq_diag *e =
          sq_low_error(L, span, "argument `%s` of `%s` is missing", d->in.v[k]->name, d->name);
      sq_label(e, d->in.v[k]->span, "declared here");
      return false;
    }
    out[k] = sq_eval_expr(L, s, d->in.v[k]->value);
    spans[k] = d->in.v[k]->span;
  }
  return true;
}

static bool is_size(const sq_val *v) { return v->kind == SQ_V_DIM; }

static bool is_array(sq_low *L, const sq_val *v) {
  uint32_t rank = 0;
  sq_dim dim[SQ_MAX_RANK];
  sq_dtype t;
  return sq_val_shape(L, v, &rank, dim, &t) && rank;
}

// A size that a name in a signature stands for, if it is visible.
static bool visible_size(sq_low *L, sq_scope *s, const char *name, sq_span span, sq_dim *out) {
  sq_val v;
  sq_bind *b = sq_lookup(L, s, name, &v);
  // In `x[N, x]` the array does not hide the size of the same name.
  if (b && b == sq_lookup_here(s, name) && b->kind == SQ_B_LOCAL && is_array(L, &v))
    b = sq_lookup(L, s->parent, name, &v);
  if (!b || b->kind == SQ_B_INDEX || b->kind == SQ_B_LOOP) return false;
  if (is_size(&v)) return *out = v.dim, true;
  if (b->kind == SQ_B_CONFIG && v.kind != SQ_V_POISON) { // `-D d=2.5`
    *out = sq_val_size(L, &v, span, "an extent");
    return true;
  }
  return v.kind == SQ_V_TENSOR && sq_val_try_size(L, &v, out);
}

static uint32_t count_dots(const sq_lhs *l) {
  uint32_t n = 0;
  for (uint32_t k = 0; k < l->n; k++) n += l->item[k]->kind == SQ_E_DOTS;
  return n;
}

static const char *extent_text(sq_low *L, sq_span span, sq_dim d) {
  const char *source = sq_low_text(L, span), *value = sq_dim_str(L, d);
  return strcmp(source, value) ? sq_arena_fmt(L->a, "%s = %s", source, value) : value;
}

static const char *axes_text(sq_low *L, uint32_t n, const sq_dim *dim) {
  sq_text t = {.arena = L->a};
  if (!n) return "no axes";
  for (uint32_t k = 0; k < n; k++) sq_text_add(&t, "%s%s", k ? ", " : "[", sq_dim_str(L, dim[k]));
  return sq_text_add(&t, "]"), t.v;
}

static const char *signature_text(sq_low *L, const sq_lhs *l) { return sq_low_text(L, l->span); }

// First names alone (bound or compared), then sizes made of them.
static bool bind_shape(sq_low *L, sq_scope *s, const sq_lhs *l, const sq_val *v, sq_span span,
                       bool second) {
  uint32_t rank, n = l->n, dots = count_dots(l);
  sq_dim dim[SQ_MAX_RANK];
  sq_dtype t;
  if (!sq_val_shape(L, v, &rank, dim, &t)) {
    if (v->kind == SQ_V_POISON || second) return v->kind != SQ_V_POISON;
    sq_diag *d = sq_low_error(L, span, "argument `%s` needs an array, but `%s` is %s", l->name,
                              sq_low_text(L, span), sq_val_what(L, v));
    sq_label(d, l->span, "declared here");
    return false;
  }
  if (dots ? rank + 1 < n : rank != n) {
    if (second) return false;
    sq_diag *d = sq_low_error(L, span, "argument `%s` has %u ax%s, but `%s` needs %s%u", l->name,
                              rank, rank == 1 ? "is" : "es", signature_text(L, l),
                              dots ? "at least " : "", n - dots);
    sq_label(d, span, "%s", sq_val_what(L, v));
    sq_label(d, l->span, "declared here");
    return false;
  }
  bool ok = true;
  uint32_t axis = 0;
  for (uint32_t k = 0; k < n; k++) {
    const sq_expr *e = l->item[k];
    if (e->kind == SQ_E_DOTS) {
      uint32_t m = rank - (n - 1);
      if (!second && s->dots && s->dots->known) {
        bool same = s->dots->n == m;
        for (uint32_t j = 0; same && j < m; j++)
          same = sq_prove_eq(L->g->dims, s->dots->dim[j], dim[axis + j]) == 1;
        if (!same) {
          sq_diag *d = sq_low_error(L, span, "`..` stands for %s in `%s`, but for %s before",
                                    axes_text(L, m, dim + axis), l->name,
                                    axes_text(L, s->dots->n, s->dots->dim));
          sq_label(d, span, "%s", sq_val_what(L, v));
          sq_label(d, s->dots->span, "before");
          ok = false;
        }
      } else if (!second) {
        s->dots = SQ_NEW(L->a, sq_dots);
        sq_dim *copy = SQ_ARRAY(L->a, sq_dim, m + 1);
        memcpy(copy, dim + axis, m * sizeof *copy);
        *s->dots = (sq_dots){.known = true, .n = m, .dim = copy, .span = e->span};
      }
      axis += m;
      continue;
    }
    sq_dim want = {0};
    if (e->kind == SQ_E_NAME && !second) {
      if (!visible_size(L, s, e->name, e->span, &want)) {
        sq_bind_add(L, s, e->name, SQ_B_SIZE, span, sq_val_dim(dim[axis]));
        axis++;
        continue;
      }
    } else if (e->kind != SQ_E_NAME && second) {
      want = sq_eval_size(L, s, e, "an extent");
      ok &= want.i != 0;
    }
    if (want.i && sq_prove_eq(L->g->dims, want, dim[axis]) != 1) {
      sq_diag *d = sq_low_error(L, span, "axis %u of argument `%s` is %s, but %s is needed", axis,
                                l->name, sq_dim_str(L, dim[axis]), extent_text(L, e->span, want));
      sq_label(d, span, "%s", sq_val_what(L, v));
      sq_label(d, e->span, "%s here", sq_dim_str(L, want));
      int64_t c;
      if (!sq_dim_is_const(L->g->dims, want, &c) || !sq_dim_is_const(L->g->dims, dim[axis], &c))
        sq_hint(d, "if they are equal, say so before: check %s == %s, \"...\"",
                sq_dim_str(L, dim[axis]), sq_dim_str(L, want));
      ok = false;
    }
    axis++;
  }
  return ok;
}

static sq_val typed_argument(sq_low *L, const sq_lhs *l, const sq_val *v, sq_span span,
                             bool entry) {
  sq_dtype t = L->g->float_type;
  if (v->kind == SQ_V_POISON) return *v;
  if (l->type && !sq_dtype_named(l->type, &t)) {
    sq_low_error(L, l->type_span, "unknown type `%s`", l->type);
    return sq_poison();
  }
  if (!l->type && !l->has_items && !entry) return *v; // anything
  const char *what = sq_arena_fmt(L->a, "argument `%s`", l->name);
  if (!l->has_items) {
    uint32_t rank;
    sq_dim dim[SQ_MAX_RANK];
    sq_dtype from;
    if (!sq_val_shape(L, v, &rank, dim, &from) || rank) {
      sq_diag *d = sq_low_error(L, span, "argument `%s` is a scalar %s, but `%s` is %s", l->name,
                                sq_dtype_table[t].name, sq_low_text(L, span), sq_val_what(L, v));
      sq_label(d, l->span, "declared here");
      return sq_poison();
    }
  } else if (v->kind == SQ_V_TUPLE || v->kind == SQ_V_LIST || v->kind == SQ_V_FN ||
             v->kind == SQ_V_INST || v->kind == SQ_V_NONE) {
    return *v; // said by bind_shape
  }
  return sq_val_convert(L, v, t, span, what, false);
}

// ---- the call ----------------------------------------------------------------------------------

static bool check_depth(sq_low *L, const sq_val *fn, sq_span span) {
  const sq_call_note *c = L->calls;
  if (c && c->depth >= MAX_CALLS) {
    sq_low_error(L, span, "calls are nested more than %d deep", MAX_CALLS);
    return false;
  }
  for (; c; c = c->next) {
    if (c->decl != fn->decl || c->scope != fn->scope) continue;
    sq_diag *d = sq_low_error(L, span, "`%s` calls itself", fn->decl->name);
    sq_label(d, fn->decl->name_span, "declared here");
    sq_hint(d, "there is no recursion; use `for`, `while` or `scan`");
    return false;
  }
  return true;
}

static sq_val one_result(sq_low *L, sq_scope *s, const sq_lhs *l, const sq_val *v, sq_span span,
                         const sq_decl *d, uint32_t at) {
  if (v->kind == SQ_V_POISON) return *v;
  bool bare = !l->type && !l->has_items;
  if (bare && d->kind != SQ_D_ENTRY) return *v;
  sq_dtype t = L->g->float_type;
  if (l->type && !sq_dtype_named(l->type, &t)) {
    sq_low_error(L, l->type_span, "unknown type `%s`", l->type);
    return sq_poison();
  }
  const char *what = l->name         ? sq_arena_fmt(L->a, "result `%s`", l->name)
                     : d->out.n == 1 ? sq_arena_fmt(L->a, "the result of `%s`", d->name)
                                     : sq_arena_fmt(L->a, "result %u of `%s`", at + 1, d->name);
  if (v->kind == SQ_V_TUPLE) {
    if (!l->type && d->kind != SQ_D_ENTRY) return *v;
    sq_diag *e = sq_low_error(L, span, "%s is one array, but `%s` is %s", what,
                              sq_low_text(L, span), sq_val_what(L, v));
    sq_label(e, l->span, "declared here");
    sq_hint(e, "take it apart: `(a, b) = ...`, or return a part: `.0`");
    return sq_poison();
  }
  sq_val r = sq_val_convert(L, v, t, span, what, d->kind == SQ_D_ENTRY);
  if (r.kind == SQ_V_POISON) return r;
  uint32_t rank, dots = count_dots(l), axis = 0;
  sq_dim dim[SQ_MAX_RANK];
  sq_dtype from;
  if (!sq_val_shape(L, &r, &rank, dim, &from)) return r;
  uint32_t n_dots = dots && s->dots ? s->dots->n : 0;
  if (dots && !s->dots) n_dots = rank + 1 > l->n ? rank + 1 - l->n : 0;
  if (rank != l->n - dots + n_dots) {
    sq_diag *e = sq_low_error(L, span, "%s has %u ax%s, but %u are declared", what, rank,
                              rank == 1 ? "is" : "es", l->n - dots + n_dots);
    sq_label(e, span, "%s", sq_val_what(L, v));
    sq_label(e, l->span, "declared here");
    return sq_poison();
  }
  for (uint32_t k = 0; k < l->n; k++) {
    const sq_expr *e = l->item[k];
    if (e->kind == SQ_E_DOTS) {
      for (uint32_t j = 0; s->dots && j < n_dots; j++)
        if (sq_prove_eq(L->g->dims, s->dots->dim[j], dim[axis + j]) != 1)
          sq_low_error(L, span, "%s: `..` is %s in the arguments and %s here", what,
                       sq_dim_str(L, s->dots->dim[j]), sq_dim_str(L, dim[axis + j]));
      axis += n_dots;
      continue;
    }
    sq_dim want;
    if (e->kind == SQ_E_NAME && !visible_size(L, s, e->name, e->span, &want)) {
      sq_bind_add(L, s, e->name, SQ_B_SIZE, e->span, sq_val_dim(dim[axis++]));
      continue;
    }
    if (e->kind != SQ_E_NAME) want = sq_eval_size(L, s, e, "an extent");
    if (want.i && sq_prove_eq(L->g->dims, want, dim[axis]) != 1) {
      sq_diag *g = sq_low_error(L, span, "axis %u of %s is %s, but %s is declared", axis, what,
                                sq_dim_str(L, dim[axis]), extent_text(L, e->span, want));
      sq_label(g, span, "%s", sq_val_what(L, v));
      sq_label(g, e->span, "%s here", sq_dim_str(L, want));
      return sq_poison();
    }
    axis++;
  }
  return r;
}

static bool returns_early(const sq_stmts *body) {
  for (uint32_t k = 0; k < body->n; k++)
    if (body->v[k]->kind == SQ_S_RETURN || returns_early(&body->v[k]->body) ||
        returns_early(&body->v[k]->else_))
      return true;
  return false;
}

sq_val sq_check_results(sq_low *L, sq_scope *s, const sq_decl *d, const sq_val *v, sq_span span) {
  if (L->gave_up) return sq_poison();
  if (v->kind == SQ_V_POISON || !d->has_out) {
    if (!d->has_out && v->kind != SQ_V_NONE && v->kind != SQ_V_POISON && d->kind == SQ_D_ENTRY) {
      sq_diag *e = sq_low_error(L, span, "`%s` declares no result, but returns one", d->name);
      sq_label(e, d->name_span, "declared here");
      sq_hint(e, "a result is declared behind `->`: `%s(...) -> y`", d->name);
      return sq_poison();
    }
    return *v;
  }
  uint32_t n = v->kind == SQ_V_NONE ? 0 : v->kind == SQ_V_TUPLE ? v->n : 1;
  if (d->out.n == 1 && v->kind == SQ_V_TUPLE && d->out.v[0]->has_items) n = v->n;
  if (d->out.n == 1 && v->kind == SQ_V_TUPLE && !d->out.v[0]->has_items) n = 1;
  bool elsewhere = !n && returns_early(&d->body);
  if (elsewhere && L->ds->errors) return sq_poison(); // said there
  if (n != d->out.n) {
    sq_diag *e = sq_low_error(L, span, "`%s` declares %u result%s, but returns %u", d->name,
                              d->out.n, d->out.n == 1 ? "" : "s", n);
    if (v->kind == SQ_V_TUPLE) sq_label(e, span, "%s", sq_val_what(L, v));
    sq_label(e, d->name_span, "declared here");
    if (elsewhere)
      sq_hint(e, "the side of `if` that the constants choose has no `return`");
    else if (!n)
      sq_hint(e, "`return` stands last in the body");
    return sq_poison();
  }
  if (d->out.n == 1) return one_result(L, s, d->out.v[0], v, span, d, 0);
  sq_val r = sq_val_tuple(L, n, v->item);
  for (uint32_t k = 0; k < n; k++)
    r.item[k] = one_result(L, s, d->out.v[k], &v->item[k], span, d, k);
  return r;
}

static sq_span body_span(const sq_decl *d) {
  if (d->value) return d->value->span;
  for (uint32_t k = d->body.n; k-- > 0;) {
    const sq_stmt *st = d->body.v[k];
    if (st->kind == SQ_S_RETURN && st->values.n)
      return sq_span_join(st->values.v[0]->span, st->values.v[st->values.n - 1]->span);
  }
  return d->name_span;
}

// A state that is returned is read here, where the rules of this function hold.
static sq_val states_read(sq_low *L, const sq_val *v, sq_span span) {
  if (v->kind == SQ_V_STATE) return sq_val_settle(L, v, span, NULL);
  if (v->kind != SQ_V_TUPLE) return *v;
  sq_val r = sq_val_tuple(L, v->n, v->item);
  for (uint32_t k = 0; k < v->n; k++) r.item[k] = states_read(L, &v->item[k], span);
  return r;
}

// Lowers the body in scope s, whose names are bound.
sq_val sq_lower_body(sq_low *L, sq_scope *s, const sq_decl *d) {
  sq_val result = {.kind = SQ_V_NONE};
  const sq_decl *outer = L->text;
  L->text = d;
  if (d->value) {
    L->effect_ok = d->kind == SQ_D_FN ? NULL : d->value;
    result = sq_eval_expr(L, s, d->value);
    L->effect_ok = NULL;
  } else {
    sq_lower_stmts(L, s, &d->body, &result);
  }
  L->text = outer;
  result = states_read(L, &result, body_span(d));
  return sq_check_results(L, s, d, &result, body_span(d));
}

static sq_val call_fn(sq_low *L, const sq_val *fn, const args *a, sq_span span, bool effect_ok) {
  const sq_decl *d = fn->decl;
  if (!sq_low_work(L, span) || !check_depth(L, fn, span)) return sq_poison();
  if (d->kind == SQ_D_PROC && (L->pure || L->at_load)) {
    bool load = L->at_load && !L->calls;
    sq_diag *e = sq_low_error(L, span, "%s cannot call the proc `%s`",
                              load ? "what is computed at load" : "a `fn`", d->name);
    sq_label(e, d->name_span, "declared here");
    if (!load) sq_hint(e, "a `fn` is pure; make the caller a `proc`");
    return sq_poison();
  }
  sq_scope *s = sq_scope_new(L, SQ_SC_CALL, fn->scope);
  s->at = fn->at;
  sq_val *v = SQ_ARRAY(L->a, sq_val, d->in.n + 1);
  sq_span *spans = SQ_ARRAY(L->a, sq_span, d->in.n + 1);
  if (!match_args(L, d, a, s, span, v, spans)) return sq_poison();
  bool ok = true;
  for (uint32_t k = 0; k < d->in.n; k++) {
    const sq_lhs *l = d->in.v[k];
    v[k] = typed_argument(L, l, &v[k], spans[k], d->kind == SQ_D_ENTRY);
    v[k] = sq_val_bindable(L, &v[k], spans[k], l->name);
    if (v[k].kind == SQ_V_DIM) v[k].lit = false;
    ok &= v[k].kind != SQ_V_POISON;
    sq_bind_add(L, s, l->name, SQ_B_LOCAL, l->span, v[k]);
  }
  if (!ok) return sq_poison();
  for (int pass = 0; pass < 2; pass++)
    for (uint32_t k = 0; k < d->in.n; k++)
      if (d->in.v[k]->has_items) ok &= bind_shape(L, s, d->in.v[k], &v[k], spans[k], pass == 1);
  if (!ok) return sq_poison();
  sq_call_note note = {.next = L->calls,
                       .span = span,
                       .decl = d,
                       .scope = fn->scope,
                       .depth = L->calls ? L->calls->depth + 1 : 1};
  bool pure = L->pure;
  uint32_t mode = L->size_mode;
  uint64_t effects = L->effects;
  L->calls = &note;
  L->pure = pure || d->kind == SQ_D_FN;
  L->size_mode = 0;
  const sq_expr *keep = L->effect_ok;
  uint32_t errors = L->ds->errors, listed = L->ds->list.n;
  sq_val r = sq_lower_body(L, s, d);
  L->effect_ok = keep;
  L->size_mode = mode;
  L->pure = pure;
  L->calls = note.next;
  if (effects != L->effects && !effect_ok) {
    if (L->ds->errors > errors) { // consequences of the place
      sq_low_flush(L);
      L->ds->errors = errors;
      L->ds->list.n = listed;
    }
    sq_diag *e = sq_low_error(L, span,
                              "`%s` has effects, so its call must stand alone or be a whole "
                              "right side",
                              d->name);
    sq_label(e, d->name_span, "%s, declared here", kind_name(d));
    sq_hint(e, "give it a name first: `z = %s`", sq_low_text(L, span));
  }
  return r;
}

sq_val sq_call_fn(sq_low *L, const sq_val *fn, uint32_t n, const sq_val *arg,
                  const char *const *names, const sq_span *spans, sq_span span) {
  args a = {n, (sq_val *)arg, (const char **)names, (sq_span *)spans, NULL};
  if (!names) a.name = SQ_ARRAY(L->a, const char *, n + 1);
  return call_fn(L, fn, &a, span, true);
}

static sq_val call_builtin(sq_low *L, sq_scope *s, const sq_expr *e, const sq_builtin *b) {
  int n = (int)e->n - 1;
  for (uint32_t k = 1; k < e->n && b->max_args < 100; k++)
    if (e->arg[k]->kind == SQ_E_NAMED) {
      sq_low_error(L, e->arg[k]->span, "`%s` takes its arguments by position", b->name);
      return sq_poison();
    }
  if (n < b->min_args || n > b->max_args) {
    sq_low_error(L, e->span, "`%s` takes %d%s argument%s, but %d %s given", b->name, b->min_args,
                 b->max_args > b->min_args ? " or more" : "", b->min_args == 1 ? "" : "s", n,
                 n == 1 ? "is" : "are");
    return sq_poison();
  }
  return b->run(L, s, e, b);
}

static sq_val call_value(sq_low *L, sq_scope *s, const sq_expr *e, sq_val f, bool effect_ok) {
  if (f.kind == SQ_V_INST) {
    const char *apply = sq_intern_z(&L->ctx->names, "apply");
    sq_val m;
    if (!sq_lookup_here(f.inst->scope, apply)) {
      sq_diag *d = sq_low_error(L, e->span, "module `%s` has no `apply`, so it cannot be called",
                                f.inst->decl->name);
      sq_label(d, f.inst->decl->name_span, "declared here");
      return sq_poison();
    }
    m = sq_member(L, &f, apply, e->span);
    f = m;
  }
  if (f.kind == SQ_V_FN && f.decl->kind == SQ_D_ENTRY && !strcmp(f.decl->name, "reset")) {
    const sq_builtin *reset = sq_builtin_find("reset");
    if (effect_ok) return call_builtin(L, s, e, reset);
    sq_low_error(L, e->span, "`reset` stands alone as a statement");
    return sq_poison();
  }
  if (f.kind == SQ_V_FN) {
    args a = {.n = e->n - 1};
    a.v = SQ_ARRAY(L->a, sq_val, e->n);
    a.name = SQ_ARRAY(L->a, const char *, e->n);
    a.span = SQ_ARRAY(L->a, sq_span, e->n);
    a.whole = SQ_ARRAY(L->a, sq_span, e->n);
    uint32_t mode = L->size_mode;
    L->size_mode = 0;
    for (uint32_t k = 0; k < a.n; k++) {
      const sq_expr *x = e->arg[k + 1];
      a.whole[k] = x->span;
      if (x->kind == SQ_E_NAMED) {
        a.name[k] = x->name;
        x = x->arg[0];
      }
      a.v[k] = sq_eval_expr(L, s, x);
      a.span[k] = x->span;
    }
    L->size_mode = mode;
    return call_fn(L, &f, &a, e->span, effect_ok);
  }
  if (f.kind == SQ_V_POISON) { // arguments may have faults of their own
    for (uint32_t k = 1; k < e->n; k++)
      if (e->arg[k]->kind != SQ_E_NAMED) sq_eval_expr(L, s, e->arg[k]);
    return f;
  }
  sq_diag *d = sq_low_error(L, e->span, "`%s` is %s and cannot be called",
                            sq_low_text(L, e->arg[0]->span), sq_val_what(L, &f));
  if (f.kind == SQ_V_MODULE)
    sq_hint(d, "a module is made into an instance by `sub name = %s(...)`", f.decl->name);
  if (f.kind == SQ_V_INSTS) sq_hint(d, "choose one: `%s[i](...)`", sq_low_text(L, e->arg[0]->span));
  return sq_poison();
}

sq_val sq_lower_call(sq_low *L, sq_scope *s, const sq_expr *e) {
  bool effect_ok = L->effect_ok == e;
  const sq_expr *callee = e->arg[0];
  L->effect_ok = NULL;
  sq_val f = sq_eval_expr(L, s, callee);
  if (f.kind == SQ_V_BUILTIN) {
    const sq_builtin *b = &sq_builtin_table[f.i];
    if (b->effect && !effect_ok) {
      sq_low_error(L, e->span, "`%s` stands alone as a statement", b->name);
      return sq_poison();
    }
    return call_builtin(L, s, e, b);
  }
  return call_value(L, s, e, f, effect_ok);
}
