// Expressions: syntax to values.
#include "frontend/lower.h"
#include <math.h>

enum { MAX_DEPTH = 1000 };

static sq_val eval_name(sq_low *L, sq_scope *s, const sq_expr *e) {
  sq_val v;
  if (sq_lookup(L, s, e->name, &v)) return v;
  static const struct {
    const char *name;
    double f;
  } constants[] = {{"inf", INFINITY}, {"pi", M_PI}, {"nan", NAN}};
  for (size_t k = 0; k < sizeof constants / sizeof *constants; k++)
    if (!strcmp(e->name, constants[k].name)) return sq_val_float(constants[k].f);
  const sq_builtin *b = sq_builtin_find(e->name);
  if (b && !strcmp(e->name, "params")) {
    sq_low_error(L, e->span, "trees of parameters (`params`) are not built yet");
    return sq_poison();
  }
  if (b) return (sq_val){.kind = SQ_V_BUILTIN, .i = b - sq_builtin_table};
  sq_unknown_name(L, s, e->span, e->name, "name");
  return sq_poison();
}

static sq_val eval_list(sq_low *L, sq_scope *s, const sq_expr *e) {
  sq_val v = {.kind = SQ_V_LIST, .n = e->n, .item = SQ_ARRAY(L->a, sq_val, e->n + 1)};
  for (uint32_t k = 0; k < e->n; k++) {
    v.item[k] = sq_eval_expr(L, s, e->arg[k]);
    if (v.item[k].kind == SQ_V_POISON) return sq_poison();
    sq_dim size;
    if (L->size_mode && !sq_val_is_static(&v.item[k]) && sq_val_try_size(L, &v.item[k], &size))
      v.item[k] = sq_val_dim(size); // a scalar input in a shape
    if (!sq_val_is_static(&v.item[k])) {
      sq_diag *d = sq_low_error(L, e->arg[k]->span,
                                "a list holds what is known at compile time, but "
                                "`%s` is %s",
                                sq_low_text(L, e->arg[k]->span), sq_val_what(L, &v.item[k]));
      sq_hint(d, "an array is written by its element: `[i < n: ...]`; a tuple in parentheses");
      return sq_poison();
    }
  }
  return v;
}

static sq_val eval_field(sq_low *L, sq_scope *s, const sq_expr *e) {
  sq_val v = sq_eval_expr(L, s, e->arg[0]);
  if (v.kind == SQ_V_POISON) return v;
  if (v.kind == SQ_V_INST) {
    if (!strcmp(e->name, "params") && !sq_lookup_here(v.inst->scope, e->name)) {
      sq_low_error(L, e->span, "trees of parameters (`params`) are not built yet");
      return sq_poison();
    }
    return sq_member(L, &v, e->name, e->span);
  }
  sq_diag *d = sq_low_error(L, e->span, "`%s` is %s and has no member `%s`",
                            sq_low_text(L, e->arg[0]->span), sq_val_what(L, &v), e->name);
  if (v.kind == SQ_V_INSTS)
    sq_hint(d, "choose one: `%s[i].%s`", sq_low_text(L, e->arg[0]->span), e->name);
  return sq_poison();
}

static sq_val eval_part(sq_low *L, sq_scope *s, const sq_expr *e) {
  sq_val v = sq_eval_expr(L, s, e->arg[0]);
  if (v.kind == SQ_V_POISON) return v;
  if (v.kind == SQ_V_TUPLE && e->i >= 0 && e->i < v.n) return v.item[e->i];
  sq_diag *d = sq_low_error(L, e->span, "`%s` is %s and has no part %lld",
                            sq_low_text(L, e->arg[0]->span), sq_val_what(L, &v), (long long)e->i);
  if (v.kind == SQ_V_TUPLE) sq_hint(d, "parts are numbered from 0");
  return sq_poison();
}

// `a and b`: b is not looked at where a decides.
static sq_val eval_logic(sq_low *L, sq_scope *s, const sq_expr *e) {
  bool is_and = e->op == SQ_B_AND;
  sq_val a = sq_eval_expr(L, s, e->arg[0]);
  if (a.kind == SQ_V_POISON) return a;
  if (a.kind == SQ_V_BOOL) {
    if (!a.i == is_and) return a;
    sq_val b = sq_eval_expr(L, s, e->arg[1]);
    if (b.kind == SQ_V_BOOL || b.kind == SQ_V_POISON) return b;
    return sq_eval_binary(L, e->op, &a, &b, e, e->arg[0], e->arg[1]);
  }
  const sq_guard_list *guards = L->guards;
  sq_ex x;
  if (!sq_val_to_ex(L, &a, e->arg[0]->span, &x)) return sq_poison();
  L->guards = sq_guard_add(L, guards, x.root, !is_and);
  sq_val b = sq_eval_expr(L, s, e->arg[1]);
  L->guards = guards;
  sq_ex y;
  if (b.kind == SQ_V_POISON || !sq_val_to_ex(L, &b, e->arg[1]->span, &y)) return sq_poison();
  if (!sq_ex_align(L, &x, &y, e->arg[0]->span, e->arg[1]->span)) return sq_poison();
  return sq_val_ex(L, sq_sx_binary(L, e->op, x.root, y.root, e->span), x.n_own, x.own);
}

// A name that is not visible, beside a config name: `cell == gru`.
static bool word_beside(sq_low *L, sq_scope *s, const sq_expr *e, const sq_val *other,
                        sq_val *out) {
  if (e->kind != SQ_E_NAME || other->kind != SQ_V_WORD) return false;
  *out = (sq_val){.kind = SQ_V_WORD, .s = e->name, .choices = other->choices};
  const sq_formal *f = other->choices;
  if (!f || !f->value) return true;
  SQ_VEC(const char *) words = {0};
  if (f->value->kind == SQ_E_NAME) sq_push(L->a, &words, f->value->name);
  for (uint32_t k = 0; k < f->choices.n; k++) sq_push(L->a, &words, f->choices.v[k]);
  for (uint32_t k = 0; k < words.n; k++)
    if (words.v[k] == e->name) return true;
  (void)s;
  sq_diag *d = sq_low_error(L, e->span, "`%s` is none of the choices of `%s`", e->name, f->name);
  sq_low_suggest(L, d, e->name, words.v, words.n);
  *out = sq_poison();
  return true;
}

static sq_val compare_pair(sq_low *L, sq_scope *s, const sq_expr *e, sq_binop op, const sq_expr *ea,
                           const sq_val *a, const sq_expr *eb, const sq_val *b) {
  (void)s;
  if (a->kind == SQ_V_WORD || b->kind == SQ_V_WORD) {
    if (a->kind == SQ_V_POISON || b->kind == SQ_V_POISON) return sq_poison();
    if (a->kind != b->kind || (op != SQ_B_EQ && op != SQ_B_NE)) {
      sq_low_error(L, e->span, "a name is compared with a name, by == or !=");
      return sq_poison();
    }
  }
  return sq_eval_binary(L, op, a, b, e, ea, eb);
}

sq_val sq_eval_compare(sq_low *L, sq_scope *s, const sq_expr *e) {
  sq_val *v = SQ_ARRAY(L->a, sq_val, e->n);
  for (uint32_t k = 0; k < e->n; k++) {
    bool late = e->arg[k]->kind == SQ_E_NAME && !sq_lookup(L, s, e->arg[k]->name, NULL) &&
                !sq_builtin_find(e->arg[k]->name);
    if (!late) v[k] = sq_eval_expr(L, s, e->arg[k]);
    if (late) v[k].kind = SQ_V_NONE;
  }
  for (uint32_t k = 0; k < e->n; k++) {
    if (v[k].kind != SQ_V_NONE || e->arg[k]->kind != SQ_E_NAME) continue;
    if (k > 0 && word_beside(L, s, e->arg[k], &v[k - 1], &v[k])) continue;
    if (k + 1 < e->n && word_beside(L, s, e->arg[k], &v[k + 1], &v[k])) continue;
    v[k] = sq_eval_expr(L, s, e->arg[k]);
  }
  sq_val r = sq_val_bool(true);
  for (uint32_t k = 0; k + 1 < e->n; k++) {
    sq_val c = compare_pair(L, s, e, e->ops[k], e->arg[k], &v[k], e->arg[k + 1], &v[k + 1]);
    r = k ? sq_eval_binary(L, SQ_B_AND, &r, &c, e, e, e) : c;
  }
  return r;
}

static sq_val eval_in(sq_low *L, sq_scope *s, const sq_expr *e) {
  sq_expr name = {.kind = SQ_E_NAME, .span = e->span, .name = e->name};
  sq_val x = eval_name(L, s, &name), lo = sq_eval_expr(L, s, e->arg[0]),
         hi = sq_eval_expr(L, s, e->arg[1]);
  sq_val a = sq_eval_binary(L, SQ_B_LE, &lo, &x, e, e->arg[0], &name);
  sq_val b = sq_eval_binary(L, SQ_B_LT, &x, &hi, e, &name, e->arg[1]);
  return sq_eval_binary(L, SQ_B_AND, &a, &b, e, e, e);
}

static sq_val eval_tuple(sq_low *L, sq_scope *s, const sq_expr *e) {
  sq_val v = {.kind = SQ_V_TUPLE, .n = e->n, .item = SQ_ARRAY(L->a, sq_val, e->n + 1)};
  for (uint32_t k = 0; k < e->n; k++) v.item[k] = sq_eval_expr(L, s, e->arg[k]);
  return v;
}

static sq_val eval(sq_low *L, sq_scope *s, const sq_expr *e) {
  switch (e->kind) {
  case SQ_E_NAME:
    return eval_name(L, s, e);
  case SQ_E_INT: {
    sq_val v = sq_val_int(L, e->i);
    v.lit = true;
    return v;
  }
  case SQ_E_FLOAT:
    return sq_val_float(e->f);
  case SQ_E_STRING:
    return (sq_val){.kind = SQ_V_STRING, .s = e->name};
  case SQ_E_BOOL:
    return sq_val_bool(e->i != 0);
  case SQ_E_CAST: {
    sq_val v = sq_eval_expr(L, s, e->arg[0]);
    sq_dtype t;
    if (!sq_dtype_named(e->name, &t)) {
      sq_low_error(L, e->span, "unknown type `%s`", e->name);
      return sq_poison();
    }
    return sq_val_cast(L, &v, t, e->arg[0]->span);
  }
  case SQ_E_TUPLE:
    return eval_tuple(L, s, e);
  case SQ_E_PAREN:
    return sq_eval_expr(L, s, e->arg[0]);
  case SQ_E_LIST:
    return eval_list(L, s, e);
  case SQ_E_ARRAY:
    return sq_eval_array(L, s, e);
  case SQ_E_INDEX:
    return sq_eval_index(L, s, e, NULL);
  case SQ_E_FIELD:
    return eval_field(L, s, e);
  case SQ_E_PART:
    return eval_part(L, s, e);
  case SQ_E_CALL:
    return sq_lower_call(L, s, e);
  case SQ_E_UNARY: {
    sq_val v = sq_eval_expr(L, s, e->arg[0]);
    return sq_eval_unary(L, e->op, &v, e->arg[0]->span);
  }
  case SQ_E_BINARY: {
    if (e->op == SQ_B_AND || e->op == SQ_B_OR) return eval_logic(L, s, e);
    sq_val a = sq_eval_expr(L, s, e->arg[0]), b = sq_eval_expr(L, s, e->arg[1]);
    return sq_eval_binary(L, e->op, &a, &b, e, e->arg[0], e->arg[1]);
  }
  case SQ_E_COMPARE:
    return sq_eval_compare(L, s, e);
  case SQ_E_IN:
    return eval_in(L, s, e);
  case SQ_E_ELSE:
    if (e->arg[0]->kind != SQ_E_INDEX) {
      sq_low_error(L, e->arg[0]->span,
                   "`else` gives the value of a read that leaves its range: "
                   "`x[i - 1] else 0`");
      return sq_poison();
    }
    return sq_eval_index(L, s, e->arg[0], e->arg[1]);
  case SQ_E_REDUCE:
    return sq_eval_reduce(L, s, e);
  case SQ_E_NAMED:
    sq_low_error(L, e->span, "`name = value` stands only in the arguments of a call");
    return sq_poison();
  case SQ_E_DOTS:
    sq_low_error(L, e->span, "`..` stands only in a list of indices");
    return sq_poison();
  case SQ_E_GROW:
    sq_low_error(L, e->span, "`grow` stands only in the shape of a state");
    return sq_poison();
  case SQ_E_LIMIT:
    sq_low_error(L, e->span, "`limit` stands only on the left of a definition");
    return sq_poison();
  }
  return sq_poison();
}

sq_val sq_eval_expr(sq_low *L, sq_scope *s, const sq_expr *e) {
  if (L->depth > MAX_DEPTH) {
    sq_low_error(L, e->span, "this is nested too deeply");
    return sq_poison();
  }
  L->depth++;
  const sq_expr *effect_ok = L->effect_ok;
  if (effect_ok != e) L->effect_ok = NULL;
  sq_val v = eval(L, s, e);
  L->effect_ok = effect_ok;
  L->depth--;
  return v;
}

sq_val sq_eval_size_expr(sq_low *L, sq_scope *s, const sq_expr *e) {
  L->size_mode++;
  sq_val v = sq_eval_expr(L, s, e);
  L->size_mode--;
  return v;
}

sq_dim sq_eval_size(sq_low *L, sq_scope *s, const sq_expr *e, const char *what) {
  sq_val v = sq_eval_size_expr(L, s, e);
  sq_dim d = sq_val_size(L, &v, e->span, what);
  if (d.i && sq_prove_le(L->g->dims, d, sq_dim_const(L->g->dims, -1)) == 1) {
    sq_low_error(L, e->span, "%s is negative: %s", what, sq_dim_str(L, d));
    d = (sq_dim){0};
  }
  return d;
}

sq_sx *sq_eval_cond(sq_low *L, sq_scope *s, const sq_expr *e) {
  sq_val v = sq_eval_expr(L, s, e);
  sq_ex x;
  if (v.kind == SQ_V_POISON || !sq_val_to_ex(L, &v, e->span, &x)) return NULL;
  if (x.n_own) {
    sq_diag *d = sq_low_error(L, e->span, "a condition must be single, but `%s` is %s",
                              sq_low_text(L, e->span), sq_val_what(L, &v));
    sq_hint(d, "index it, or reduce it by `any(i) ...` or `all(i) ...`");
    return NULL;
  }
  if (x.root->dtype != SQ_BOOL) {
    sq_diag *d = sq_low_error(L, e->span, "a condition must be bool, but `%s` is %s",
                              sq_low_text(L, e->span), sq_val_what(L, &v));
    sq_hint(d, "compare with something: `%s != 0`", sq_low_text(L, e->span));
    return NULL;
  }
  return x.root;
}
