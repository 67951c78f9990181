// The syntax tree as text, for `seqm dump --stage ast`: S-expressions, one declaration or statement
// a line, blocks indented.
//
//   (fn norm ((x [.. d])) -> ((_ [.. d]))
//     (define (at y n) (/ (at x n) (call sqrt d)))
//     (return y))
#include "frontend/ast.h"

static const char *const ops[] = {
    [SQ_B_ADD] = "+",       [SQ_B_SUB] = "-", [SQ_B_MUL] = "*", [SQ_B_DIV] = "/",
    [SQ_B_FLOORDIV] = "//", [SQ_B_MOD] = "%", [SQ_B_POW] = "^", [SQ_B_AND] = "and",
    [SQ_B_OR] = "or",       [SQ_B_LT] = "<",  [SQ_B_LE] = "<=", [SQ_B_GT] = ">",
    [SQ_B_GE] = ">=",       [SQ_B_EQ] = "==", [SQ_B_NE] = "!=", [SQ_B_NEG] = "-",
    [SQ_B_NOT] = "not",
};

// What stands in front of a node's children; NULL: printed in its own way.
static const char *const heads[] = {
    [SQ_E_TUPLE] = "tuple", [SQ_E_PAREN] = "paren", [SQ_E_LIST] = "list",   [SQ_E_INDEX] = "at",
    [SQ_E_CALL] = "call",   [SQ_E_ELSE] = "else",   [SQ_E_LIMIT] = "limit",
};

static void expr(sq_text *t, const sq_expr *e);

static void exprs(sq_text *t, uint32_t n, sq_expr *const *v) {
  for (uint32_t k = 0; k < n; k++) {
    sq_text_add(t, " ");
    expr(t, v[k]);
  }
}

static void items(sq_text *t, uint32_t n, sq_expr *const *v) {
  sq_text_add(t, "[");
  for (uint32_t k = 0; k < n; k++) {
    if (k) sq_text_add(t, " ");
    expr(t, v[k]);
  }
  sq_text_add(t, "]");
}

static void node(sq_text *t, const char *head, const sq_expr *e) {
  sq_text_add(t, "(%s", head);
  exprs(t, e->n, e->arg);
  sq_text_add(t, ")");
}

static void expr(sq_text *t, const sq_expr *e) {
  switch (e->kind) {
  case SQ_E_NAME:
    sq_text_add(t, "%s", e->name);
    break;
  case SQ_E_INT:
    sq_text_add(t, "%lld", (long long)e->i);
    break;
  case SQ_E_FLOAT:
    sq_text_double(t, e->f);
    break;
  case SQ_E_STRING:
    sq_text_add(t, "\"%s\"", e->name);
    break;
  case SQ_E_BOOL:
    sq_text_add(t, "%s", e->i ? "true" : "false");
    break;
  case SQ_E_CAST:
    node(t, e->name, e);
    break;
  case SQ_E_ARRAY:
    sq_text_add(t, "(array ");
    items(t, e->n, e->arg);
    sq_text_add(t, " ");
    expr(t, e->body);
    sq_text_add(t, ")");
    break;
  case SQ_E_FIELD:
    sq_text_add(t, "(. ");
    expr(t, e->arg[0]);
    sq_text_add(t, " %s)", e->name);
    break;
  case SQ_E_PART:
    sq_text_add(t, "(. ");
    expr(t, e->arg[0]);
    sq_text_add(t, " %lld)", (long long)e->i);
    break;
  case SQ_E_NAMED:
    sq_text_add(t, "(= %s ", e->name);
    expr(t, e->arg[0]);
    sq_text_add(t, ")");
    break;
  case SQ_E_UNARY:
  case SQ_E_BINARY:
    node(t, ops[e->op], e);
    break;
  case SQ_E_COMPARE:
    sq_text_add(t, "(");
    expr(t, e->arg[0]);
    for (uint32_t k = 1; k < e->n; k++) {
      sq_text_add(t, " %s ", ops[e->ops[k - 1]]);
      expr(t, e->arg[k]);
    }
    sq_text_add(t, ")");
    break;
  case SQ_E_IN:
    sq_text_add(t, "(in %s", e->name);
    exprs(t, e->n, e->arg);
    sq_text_add(t, ")");
    break;
  case SQ_E_REDUCE:
    sq_text_add(t, "(%s ", e->name);
    items(t, e->n, e->arg);
    if (e->where) {
      sq_text_add(t, " where ");
      expr(t, e->where);
    }
    sq_text_add(t, " ");
    expr(t, e->body);
    sq_text_add(t, ")");
    break;
  case SQ_E_DOTS:
    sq_text_add(t, "..");
    break;
  case SQ_E_GROW:
    sq_text_add(t, "grow");
    break;
  case SQ_E_TUPLE:
  case SQ_E_PAREN:
  case SQ_E_LIST:
  case SQ_E_INDEX:
  case SQ_E_CALL:
  case SQ_E_ELSE:
  case SQ_E_LIMIT:
    node(t, heads[e->kind], e);
    break;
  }
}

static void lhs(sq_text *t, const sq_lhs *l) {
  sq_text_add(t, "(%s", l->name ? l->name : "_");
  if (l->type) sq_text_add(t, " %s", l->type);
  if (l->has_items) {
    sq_text_add(t, " ");
    items(t, l->n, l->item);
  }
  if (l->value) {
    sq_text_add(t, " = ");
    expr(t, l->value);
  }
  sq_text_add(t, ")");
}

static void lhss(sq_text *t, const sq_lhss *v) {
  for (uint32_t k = 0; k < v->n; k++) {
    sq_text_add(t, " ");
    lhs(t, v->v[k]);
  }
}

static void line(sq_text *t, uint32_t level) { sq_text_add(t, "\n%*s", (int)(2 * level), ""); }

static void stmt(sq_text *t, const sq_stmt *s, uint32_t level);
static void body(sq_text *t, const sq_stmts *v, uint32_t level) {
  for (uint32_t k = 0; k < v->n; k++) stmt(t, v->v[k], level);
}

static void part(sq_text *t, const char *before, const sq_expr *e) {
  if (!e) return;
  sq_text_add(t, "%s", before);
  expr(t, e);
}

static void stmt(sq_text *t, const sq_stmt *s, uint32_t level) {
  static const char *const words[] = {
      [SQ_S_DEFINE] = "define", [SQ_S_WRITE] = "write",     [SQ_S_CALL] = "do",
      [SQ_S_FOR] = "for",       [SQ_S_SCAN] = "scan",       [SQ_S_WHILE] = "while",
      [SQ_S_IF] = "if",         [SQ_S_EMIT] = "emit",       [SQ_S_RETURN] = "return",
      [SQ_S_CHECK] = "check",   [SQ_S_RESERVE] = "reserve",
  };
  line(t, level);
  sq_text_add(t, "(%s%s%s%s", s->mark.file ? "require-fused " : "", s->unroll ? "unroll-" : "",
              s->parallel ? "parallel-" : "", words[s->kind]);
  if (s->name) sq_text_add(t, " %s", s->name);
  part(t, s->lo ? " in " : " < ", s->lo ? s->lo : s->hi);
  if (s->lo) part(t, " .. ", s->hi);
  if (s->reversed) sq_text_add(t, " reversed");
  if (s->kind == SQ_S_SCAN && s->inits.n) sq_text_add(t, " with");
  lhss(t, &s->inits);
  part(t, " ", s->target);
  part(t, " ", s->cond);
  part(t, " ", s->value);
  part(t, " limit ", s->limit);
  exprs(t, s->values.n, s->values.v);
  if (s->text) sq_text_add(t, " \"%s\"", s->text);
  body(t, &s->body, level + 1);
  if (s->has_else) {
    line(t, level + 1);
    sq_text_add(t, "else");
    body(t, &s->else_, level + 1);
  }
  sq_text_add(t, ")");
}

static void decls(sq_text *t, const sq_decls *v, uint32_t level);
static void decl(sq_text *t, const sq_decl *d, uint32_t level) {
  static const char *const words[] = {
      [SQ_D_PARAM] = "param",   [SQ_D_SUB] = "sub",       [SQ_D_STATE] = "state",
      [SQ_D_FN] = "fn",         [SQ_D_PROC] = "proc",     [SQ_D_ENTRY] = "entry",
      [SQ_D_PRESET] = "preset", [SQ_D_IF] = "if",         [SQ_D_CHECK] = "check",
      [SQ_D_DEFINE] = "define", [SQ_D_MODULE] = "module", [SQ_D_MODEL] = "model",
      [SQ_D_USE] = "use",
  };
  line(t, level);
  sq_text_add(t, "(%s", words[d->kind]);
  bool is_fn = d->kind == SQ_D_FN || d->kind == SQ_D_PROC || d->kind == SQ_D_ENTRY;
  bool has_formals = d->kind == SQ_D_MODULE || d->kind == SQ_D_MODEL;
  if (d->lhs) {
    sq_text_add(t, " ");
    lhs(t, d->lhs);
  } else if (d->name) {
    sq_text_add(t, " %s", d->name);
  }
  if (is_fn) {
    sq_text_add(t, " (");
    for (uint32_t k = 0; k < d->in.n; k++) {
      if (k) sq_text_add(t, " ");
      lhs(t, d->in.v[k]);
    }
    sq_text_add(t, ")");
    if (d->has_out) sq_text_add(t, " ->");
    lhss(t, &d->out);
  }
  if (has_formals) {
    sq_text_add(t, " (");
    for (uint32_t k = 0; k < d->formals.n; k++) {
      const sq_formal *f = d->formals.v[k];
      sq_text_add(t, "%s(%s", k ? " " : "", f->name);
      part(t, " = ", f->value);
      for (uint32_t j = 0; j < f->choices.n; j++) sq_text_add(t, " | %s", f->choices.v[j]);
      sq_text_add(t, ")");
    }
    sq_text_add(t, ")");
  }
  part(t, " ", d->value);
  lhss(t, &d->binds);
  if (d->kind == SQ_D_CHECK) sq_text_add(t, " \"%s\"", d->text);
  for (uint32_t k = 0; k < d->names.n; k++) part(t, k ? " | " : " as ", d->names.v[k]);
  if (d->frozen) sq_text_add(t, " frozen");
  if (d->kept) sq_text_add(t, " kept");
  body(t, &d->body, level + 1);
  decls(t, &d->decls, level + 1);
  if (d->has_else) {
    line(t, level + 1);
    sq_text_add(t, "else");
    decls(t, &d->else_, level + 1);
  }
  sq_text_add(t, ")");
}

static void decls(sq_text *t, const sq_decls *v, uint32_t level) {
  for (uint32_t k = 0; k < v->n; k++) decl(t, v->v[k], level);
}

void sq_ast_print(const sq_ast *ast, sq_text *t) {
  sq_text whole = {.arena = t->arena};
  decls(&whole, &ast->decls, 0);
  if (whole.n > 1) sq_text_put(t, whole.v + 1, whole.n - 1); // without the first newline
  sq_text_add(t, "\n");
}
