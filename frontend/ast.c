// Builders of the syntax tree, one for a grammar action. They keep the tree shallow enough to be
// walked by recursion, and check what the grammar leaves open: what may stand on the left of `=`
// and `<-`.
#include "frontend/syntax.h"

// A node whose children are complete. One that is too deep ends the parse.
static sq_expr *sealed(sq_syntax *ps, sq_expr *e) {
  uint32_t depth = 0;
  for (uint32_t k = 0; k < e->n; k++)
    if (e->arg[k]->depth > depth) depth = e->arg[k]->depth;
  if (e->where && e->where->depth > depth) depth = e->where->depth;
  if (e->body && e->body->depth > depth) depth = e->body->depth;
  e->depth = depth + 1;
  if (e->depth > SQ_MAX_EXPR_DEPTH)
    sq_syntax_give_up(ps, e->span, "an expression of more than %d levels or operators in a row",
                      SQ_MAX_EXPR_DEPTH);
  return e;
}

static sq_expr *bare(sq_syntax *ps, sq_expr_kind kind, sq_span span) {
  sq_expr *e = SQ_NEW(ps->arena, sq_expr);
  e->kind = kind;
  e->span = span;
  e->depth = 1;
  return e;
}

static void children(sq_syntax *ps, sq_expr *e, uint32_t n) {
  e->n = n;
  e->arg = SQ_ARRAY(ps->arena, sq_expr *, n);
}

sq_expr *sq_ast_expr(sq_syntax *ps, sq_expr_kind kind, sq_span span) {
  return bare(ps, kind, span);
}

sq_expr *sq_ast_name(sq_syntax *ps, sq_span span, const char *name) {
  sq_expr *e = bare(ps, SQ_E_NAME, span);
  e->name = name;
  return e;
}

sq_expr *sq_ast_word(sq_syntax *ps, sq_expr_kind kind, sq_span span, const char *name, sq_expr *a) {
  sq_expr *e = sq_ast_one(ps, span, kind, a);
  e->name = name;
  return e;
}

sq_expr *sq_ast_string(sq_syntax *ps, sq_span span, const char *text) {
  sq_expr *e = bare(ps, SQ_E_STRING, span);
  e->name = text;
  return e;
}

sq_expr *sq_ast_int(sq_syntax *ps, sq_span span, sq_expr_kind kind, int64_t i) {
  sq_expr *e = bare(ps, kind, span);
  e->i = i;
  return e;
}

sq_expr *sq_ast_float(sq_syntax *ps, sq_span span, double f) {
  sq_expr *e = bare(ps, SQ_E_FLOAT, span);
  e->f = f;
  return e;
}

sq_expr *sq_ast_one(sq_syntax *ps, sq_span span, sq_expr_kind kind, sq_expr *a) {
  sq_expr *e = bare(ps, kind, span);
  children(ps, e, 1);
  e->arg[0] = a;
  return sealed(ps, e);
}

sq_expr *sq_ast_two(sq_syntax *ps, sq_span span, sq_expr_kind kind, sq_expr *a, sq_expr *b) {
  sq_expr *e = bare(ps, kind, span);
  children(ps, e, 2);
  e->arg[0] = a;
  e->arg[1] = b;
  return sealed(ps, e);
}

sq_expr *sq_ast_many(sq_syntax *ps, sq_span span, sq_expr_kind kind, sq_expr *first,
                     sq_exprs rest) {
  sq_expr *e = bare(ps, kind, span);
  uint32_t at = first ? 1 : 0;
  children(ps, e, rest.n + at);
  if (first) e->arg[0] = first;
  if (rest.n) memcpy(e->arg + at, rest.v, sizeof *rest.v * rest.n);
  return sealed(ps, e);
}

sq_expr *sq_ast_unary(sq_syntax *ps, sq_span span, sq_binop op, sq_expr *a) {
  sq_expr *e = sq_ast_one(ps, span, SQ_E_UNARY, a);
  e->op = op;
  return e;
}

sq_expr *sq_ast_binary(sq_syntax *ps, sq_span span, sq_binop op, sq_expr *a, sq_expr *b) {
  sq_expr *e = sq_ast_two(ps, span, SQ_E_BINARY, a, b);
  e->op = op;
  return e;
}

sq_expr *sq_ast_compare(sq_syntax *ps, sq_span span, sq_binop op, sq_expr *a, sq_expr *b) {
  enum { MAX_CHAIN = 64 };
  bool chain = a->kind == SQ_E_COMPARE;
  if (chain && a->n > MAX_CHAIN) {
    sq_syntax_give_up(ps, span, "more than %d comparisons in a row", MAX_CHAIN);
    return a;
  }
  sq_expr *e = bare(ps, SQ_E_COMPARE, span);
  uint32_t n = chain ? a->n : 1;
  children(ps, e, n + 1);
  e->ops = SQ_ARRAY(ps->arena, sq_binop, n);
  if (chain) {
    memcpy(e->arg, a->arg, sizeof *e->arg * n);
    memcpy(e->ops, a->ops, sizeof *e->ops * (n - 1));
  } else {
    e->arg[0] = a;
  }
  e->arg[n] = b;
  e->ops[n - 1] = op;
  return sealed(ps, e);
}

sq_expr *sq_ast_in(sq_syntax *ps, sq_span span, const char *name, sq_expr *lo, sq_expr *hi) {
  sq_expr *e = sq_ast_two(ps, span, SQ_E_IN, lo, hi);
  e->name = name;
  return e;
}

sq_expr *sq_ast_array(sq_syntax *ps, sq_span span, sq_exprs items, sq_expr *body) {
  sq_expr *e = sq_ast_many(ps, span, SQ_E_ARRAY, NULL, items);
  e->body = body;
  return sealed(ps, e);
}

sq_expr *sq_ast_reduce(sq_syntax *ps, sq_span span, const char *name, sq_exprs items,
                       sq_expr *where) {
  sq_expr *e = sq_ast_many(ps, span, SQ_E_REDUCE, NULL, items);
  e->name = name;
  e->where = where;
  ps->reduction = e;
  sq_syntax_check_head(ps, e);
  return sealed(ps, e);
}

sq_expr *sq_ast_over(sq_syntax *ps, sq_span span, sq_expr *reduce, sq_expr *body) {
  reduce->span = span;
  reduce->body = body;
  return sealed(ps, reduce);
}

// ---- left sides --------------------------------------------------------------------------------
sq_lhs *sq_ast_lhs(sq_syntax *ps, sq_span span, const char *name, const sq_exprs *items) {
  sq_lhs *l = SQ_NEW(ps->arena, sq_lhs);
  l->name = name;
  l->span = span;
  if (items) {
    l->has_items = true;
    l->n = items->n;
    l->item = items->v;
  }
  return l;
}

sq_lhs *sq_ast_typed(sq_syntax *ps, sq_span span, sq_lhs *l, sq_type type) {
  l->type = type.name;
  l->type_span = type.span;
  if (type.has_items) {
    if (l->has_items)
      sq_hint(sq_syntax_error(ps, span, "the shape stands twice"),
              "write `%s[...]: %s` or `%s: %s[...]`", l->name, type.name, l->name, type.name);
    l->has_items = l->type_items = true;
    l->n = type.items.n;
    l->item = type.items.v;
  }
  l->span = span;
  return l;
}

sq_lhs *sq_ast_init(sq_span span, sq_lhs *l, sq_expr *value) {
  (void)span; // the place of a left side is without its value
  l->value = value;
  return l;
}

// ---- statements --------------------------------------------------------------------------------
sq_stmt *sq_ast_stmt(sq_syntax *ps, sq_stmt_kind kind, sq_span span) {
  sq_stmt *s = SQ_NEW(ps->arena, sq_stmt);
  s->kind = kind;
  s->span = span;
  s->depth = 1;
  return s;
}

sq_stmt *sq_ast_bounds(sq_syntax *ps, sq_stmt *s) {
  uint32_t depth = 0;
  for (uint32_t k = 0; k < s->body.n; k++)
    if (s->body.v[k]->depth > depth) depth = s->body.v[k]->depth;
  for (uint32_t k = 0; k < s->else_.n; k++)
    if (s->else_.v[k]->depth > depth) depth = s->else_.v[k]->depth;
  s->depth = depth + 1;
  if (s->depth > SQ_MAX_BLOCK_DEPTH)
    sq_syntax_give_up(ps, s->span, "statements are nested deeper than %d", SQ_MAX_BLOCK_DEPTH);
  return s;
}

// What `=` may bind: a name, a name with indices, a tuple of these.
static bool binds(const sq_expr *e) {
  if (e->kind == SQ_E_NAME) return true;
  if (e->kind == SQ_E_INDEX) return e->arg[0]->kind == SQ_E_NAME;
  if (e->kind != SQ_E_TUPLE) return false;
  for (uint32_t k = 0; k < e->n; k++)
    if (!binds(e->arg[k])) return false;
  return true;
}

// What `<-` may write: a name, a slice or a part of what may be written, a tuple of these.
static bool writes(const sq_expr *e) {
  while (e->kind == SQ_E_INDEX || e->kind == SQ_E_FIELD || e->kind == SQ_E_PART) e = e->arg[0];
  if (e->kind == SQ_E_NAME) return true;
  if (e->kind == SQ_E_CALL) // `params("*.weight") <- ...`
    return e->arg[0]->kind == SQ_E_NAME || e->arg[0]->kind == SQ_E_FIELD;
  if (e->kind != SQ_E_TUPLE) return false;
  for (uint32_t k = 0; k < e->n; k++)
    if (!writes(e->arg[k])) return false;
  return true;
}

static void check_items(sq_syntax *ps, const sq_expr *e, const char *where) {
  for (uint32_t k = 1; k < e->n; k++)
    if (e->arg[k]->kind == SQ_E_GROW)
      sq_hint(sq_syntax_error(ps, e->arg[k]->span, "`grow` cannot stand %s", where),
              "it is an axis of a state: `state s[grow, d] = 0`");
}

sq_stmt *sq_ast_assign(sq_syntax *ps, sq_stmt_kind kind, sq_span span, sq_expr *target,
                       sq_expr *value) {
  if (kind == SQ_S_DEFINE && !binds(target)) {
    sq_diag *d = sq_syntax_error(ps, target->span, "this cannot be bound by `=`");
    if (target->kind == SQ_E_CALL)
      sq_hint(
          d, "a function is declared by `fn` outside of this one; an array has its indices in [ ]");
    else if (target->kind == SQ_E_FIELD || target->kind == SQ_E_PART)
      sq_hint(d, "`<-` writes into what already is");
    else
      sq_hint(d, "on the left of `=` stands a name, `x[i, j]`, or a tuple of such, `(a, b[i])`");
  }
  if (kind != SQ_S_DEFINE && !writes(target))
    sq_hint(sq_syntax_error(ps, target->span,
                            kind == SQ_S_RESERVE ? "this cannot be reserved"
                                                 : "this cannot be written by `<-`"),
            "a state, a parameter or a local can, and slices of these");
  if (target->kind == SQ_E_INDEX) check_items(ps, target, "on the left of a statement");
  sq_stmt *s = sq_ast_stmt(ps, kind, span);
  s->target = target;
  s->value = value;
  return s;
}

sq_stmt *sq_ast_call(sq_syntax *ps, sq_span span, sq_expr *call) {
  if (call->kind != SQ_E_CALL)
    sq_hint(sq_syntax_error(ps, span, "a value stands here that nothing uses"),
            "a statement binds (`x = ...`), writes (`x <- ...`), returns or calls");
  sq_stmt *s = sq_ast_stmt(ps, SQ_S_CALL, span);
  s->value = call;
  return s;
}

sq_stmt *sq_ast_loop(sq_syntax *ps, sq_stmt_kind kind, sq_span span, const char *name,
                     sq_span name_span, sq_range range, sq_stmts body) {
  sq_stmt *s = sq_ast_stmt(ps, kind, span);
  s->name = name;
  s->name_span = name_span;
  s->lo = range.lo;
  s->hi = range.hi;
  s->body = body;
  return sq_ast_bounds(ps, s);
}

sq_stmt *sq_ast_if(sq_syntax *ps, sq_span span, sq_expr *cond, sq_stmts body,
                   const sq_stmts *else_) {
  sq_stmt *s = sq_ast_stmt(ps, SQ_S_IF, span);
  s->cond = cond;
  s->body = body;
  if (else_) {
    s->else_ = *else_;
    s->has_else = true;
  }
  return sq_ast_bounds(ps, s);
}

// ---- declarations ------------------------------------------------------------------------------
const char *sq_ast_path(sq_syntax *ps, sq_span span, const char *folder, const char *name) {
  enum { MAX_PATH = 1000 };
  if (strlen(folder) + strlen(name) > MAX_PATH) {
    sq_syntax_give_up(ps, span, "a path of more than %d bytes", MAX_PATH);
    return folder;
  }
  return sq_intern_z(&ps->ctx->names, sq_arena_fmt(ps->arena, "%s.%s", folder, name));
}

sq_decl *sq_ast_decl(sq_syntax *ps, sq_decl_kind kind, sq_span span, const char *name,
                     sq_span name_span) {
  sq_decl *d = SQ_NEW(ps->arena, sq_decl);
  d->kind = kind;
  d->span = span;
  d->name = name;
  d->name_span = name_span;
  return d;
}

sq_decl *sq_ast_bind(sq_syntax *ps, sq_decl_kind kind, sq_span span, sq_lhs *lhs, sq_expr *value,
                     sq_mods mods) {
  sq_span name = lhs->span;
  name.end = name.begin;
  while (name.end < lhs->span.end && !memchr("[: \t\n", ps->text[name.end], 5)) name.end++;
  sq_decl *d = sq_ast_decl(ps, kind, span, lhs->name, name);
  d->lhs = lhs;
  d->value = value;
  d->names = mods.names;
  d->frozen = mods.frozen;
  d->kept = mods.kept;
  return d;
}

sq_decl *sq_ast_fn(sq_syntax *ps, sq_decl_kind kind, sq_span span, sq_sig sig, const sq_stmts *body,
                   sq_expr *value) {
  sq_decl *d = sq_ast_decl(ps, kind, span, sig.name, sig.name_span);
  d->in = sig.in;
  d->out = sig.out;
  d->has_out = sig.has_out;
  d->value = value;
  if (body) {
    d->body = *body;
    d->has_body = true;
  }
  return d;
}

sq_mods sq_ast_mod(sq_syntax *ps, sq_span span, sq_mods all, sq_mods one) {
  if ((one.names.n && all.names.n) || (one.frozen && all.frozen) || (one.kept && all.kept))
    sq_hint(sq_syntax_error(ps, span, "this was said already"),
            "further names stand behind `|`: `as \"a\" | \"b\"`");
  if (one.names.n) all.names = one.names;
  all.frozen |= one.frozen;
  all.kept |= one.kept;
  return all;
}
