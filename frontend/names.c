// What is said about names: unknown ones with what was perhaps meant, and names declared twice.
//
// An unknown name is looked for among those that are visible, in the text of the function around it
// (bound later, bound inside a loop, a reduction's index behind its product), in the standard
// library, and among words of other languages.
#include "frontend/lower.h"
#include <dirent.h>
#include <stdlib.h>

void sq_check_formals(sq_low *L, const sq_decl *d) {
  bool module = d->kind == SQ_D_MODULE;
  uint32_t n = module ? d->formals.n : d->in.n;
  for (uint32_t k = 0; k < n; k++)
    for (uint32_t j = 0; j < k; j++) {
      const char *a = module ? d->formals.v[k]->name : d->in.v[k]->name;
      if (a != (module ? d->formals.v[j]->name : d->in.v[j]->name)) continue;
      sq_diag *e = sq_low_error(L, module ? d->formals.v[k]->span : d->in.v[k]->span,
                                "argument `%s` of `%s` is declared twice", a, d->name);
      sq_label(e, module ? d->formals.v[j]->span : d->in.v[j]->span, "first here");
    }
}

// The files of the standard library, at most 32, without their ending.
typedef struct std_files {
  uint32_t n;
  char name[32][64];
} std_files;

static int by_name(const void *a, const void *b) { return strcmp(a, b); }

static void list_std(sq_low *L, std_files *out) {
  out->n = 0;
  if (!L->o->std_path) return;
  DIR *d = opendir(sq_arena_fmt(L->a, "%s/std", L->o->std_path));
  for (struct dirent *e; d && (e = readdir(d)) && out->n < 32;) {
    size_t n = strlen(e->d_name);
    if (n < 6 || n > 60 || strcmp(e->d_name + n - 5, ".seqm")) continue;
    memcpy(out->name[out->n], e->d_name, n - 5);
    out->name[out->n++][n - 5] = 0;
  }
  if (d) closedir(d);
  qsort(out->name, out->n, sizeof *out->name, by_name);
}

const char *sq_std_names(sq_low *L) {
  std_files f;
  sq_text t = {.arena = L->a};
  list_std(L, &f);
  for (uint32_t k = 0; k < f.n; k++) sq_text_add(&t, "%s`std.%s`", k ? ", " : "", f.name[k]);
  return t.v ? t.v : "nothing";
}

// The file of the standard library that declares this name, or NULL.
static const char *std_home(sq_low *L, const char *name) {
  std_files f;
  list_std(L, &f);
  for (uint32_t k = 0; k < f.n; k++) {
    char *text;
    size_t n;
    const char *why;
    const char *path = sq_arena_fmt(L->a, "%s/std/%s.seqm", L->o->std_path, f.name[k]);
    if (sq_file_read(L->a, path, &text, &n, &why) != SQ_OK) continue;
    if (strstr(text, sq_arena_fmt(L->a, "\nfn %s(", name)) ||
        strstr(text, sq_arena_fmt(L->a, "\nmodule %s(", name)))
      return sq_arena_str(L->a, f.name[k], strlen(f.name[k]));
  }
  return NULL;
}

static bool holds(sq_span outer, sq_span inner) {
  return outer.file == inner.file && outer.begin <= inner.begin && inner.end <= outer.end;
}

static bool binds(const sq_expr *t, const char *name, sq_span *at) {
  if (t->kind == SQ_E_TUPLE || t->kind == SQ_E_PAREN) {
    for (uint32_t k = 0; k < t->n; k++)
      if (binds(t->arg[k], name, at)) return true;
    return false;
  }
  if (t->kind == SQ_E_INDEX) t = t->arg[0];
  if (t->kind != SQ_E_NAME || t->name != name) return false;
  *at = t->span;
  return true;
}

// The first statement that binds the name.
static const sq_stmt *binder(const sq_stmts *list, const char *name, sq_span *at) {
  for (uint32_t k = 0; k < list->n; k++) {
    const sq_stmt *st = list->v[k], *inner;
    if (st->kind == SQ_S_DEFINE && binds(st->target, name, at)) return st;
    for (uint32_t j = 0; j < st->inits.n; j++)
      if (st->inits.v[j]->name == name) return *at = st->inits.v[j]->span, st;
    if ((inner = binder(&st->body, name, at)) || (inner = binder(&st->else_, name, at)))
      return inner;
  }
  return NULL;
}

// A reduction over this index that ends before the place of use: `sum(c) x[c] + b[c]`.
static const sq_expr *ended(const sq_expr *e, const char *name, sq_span use, uint32_t depth) {
  if (!e || depth > SQ_MAX_EXPR_DEPTH) return NULL;
  if (e->kind == SQ_E_REDUCE && e->span.end <= use.begin)
    for (uint32_t k = 0; k < e->n; k++) {
      const sq_expr *i = e->arg[k];
      const char *word = i->kind == SQ_E_COMPARE && i->n ? i->arg[0]->name : i->name;
      if ((i->kind == SQ_E_NAME || i->kind == SQ_E_IN || i->kind == SQ_E_COMPARE) && word == name)
        return e;
    }
  const sq_expr *found = NULL;
  for (uint32_t k = 0; k < e->n && !found; k++) found = ended(e->arg[k], name, use, depth + 1);
  if (!found) found = ended(e->body, name, use, depth + 1);
  return found;
}

static const sq_expr *ended_in(const sq_stmts *list, const char *name, sq_span use) {
  for (uint32_t k = 0; k < list->n; k++) {
    const sq_stmt *st = list->v[k];
    const sq_expr *e = NULL;
    if (!holds(st->span, use)) continue;
    if (!e) e = ended(st->value, name, use, 0);
    if (!e) e = ended(st->cond, name, use, 0);
    for (uint32_t j = 0; j < st->values.n && !e; j++) e = ended(st->values.v[j], name, use, 0);
    for (uint32_t j = 0; j < st->inits.n && !e; j++) e = ended(st->inits.v[j]->value, name, use, 0);
    if (!e) e = ended_in(&st->body, name, use);
    return e ? e : ended_in(&st->else_, name, use);
  }
  return NULL;
}

// What the text of the function tells about a name that is not visible.
static bool explain_name(sq_low *L, sq_diag *d, sq_span use, const char *name) {
  if (!L->text || !holds(L->text->span, use)) return false;
  const sq_expr *e =
      L->text->value ? ended(L->text->value, name, use, 0) : ended_in(&L->text->body, name, use);
  if (e) {
    sq_label(d, e->arg[0]->span, "bound here, for the product that follows");
    sq_hint(d, "a reduction takes one product; a sum stands in parentheses: `%s(%s) (... + ...)`",
            e->name, name);
    return true;
  }
  sq_span at;
  const sq_stmt *st = binder(&L->text->body, name, &at);
  if (!st) return false;
  if (at.begin > use.end) {
    sq_label(d, at, "bound only here");
    return true;
  }
  sq_label(d, at, "bound here");
  if (L->scan && holds(st->span, use))
    sq_hint(d, "a `scan` carries what `with` names: `with %s = ...`", name);
  else if (holds(st->span, use))
    sq_hint(d, "its own definition sees the value from before, and there is none");
  else
    sq_hint(d, "what is first bound inside a loop or branch stays inside; bind `%s` before it",
            name);
  return true;
}

static const char *meant(const char *name) {
  static const struct {
    const char *name, *meant;
  } table[] = {
      {"float", "f32(x)"},       {"double", "f64(x)"},
      {"int", "i32(x)"},         {"long", "i64(x)"},
      {"True", "true"},          {"False", "false"},
      {"shape", "size(x, 0)"},   {"dim", "size(x, 0)"},
      {"zeros", "[i < n: 0.0]"}, {"ones", "[i < n: 1.0]"},
      {"arange", "[i < n: i]"},  {"clamp", "minimum(maximum(x, a), b)"},
      {"power", "x ^ y"},        {"where", "select(c, a, b)"},
      {"ln", "log(x)"},
  };
  for (size_t k = 0; k < sizeof table / sizeof *table; k++)
    if (!strcmp(table[k].name, name)) return table[k].meant;
  return NULL;
}

sq_diag *sq_unknown_name(sq_low *L, sq_scope *s, sq_span span, const char *name, const char *what) {
  for (uint32_t k = 0; k < L->unknown.n; k++) // once a function
    if (L->unknown.v[k].name == name && L->unknown.v[k].text == L->text) {
      sq_diag *said = SQ_NEW(L->a, sq_diag);
      said->owner = L->ds;
      return said;
    }
  sq_push(L->a, &L->unknown, (sq_unknown){name, L->text});
  SQ_VEC(const char *) near = {0};
  for (sq_scope *p = s; p; p = p->parent) {
    for (uint32_t k = 0; k < p->bind.n; k++) sq_push(L->a, &near, p->bind.v[k].name);
    for (uint32_t u = 0; u < p->uses.n; u++)
      for (uint32_t k = 0; k < p->uses.v[u]->bind.n; k++)
        sq_push(L->a, &near, p->uses.v[u]->bind.v[k].name);
  }
  for (uint32_t k = 0; k < sq_builtin_count; k++) sq_push(L->a, &near, sq_builtin_table[k].name);
  sq_diag *d = sq_low_error(L, span, "unknown %s `%s`", what, name);
  if (explain_name(L, d, span, name)) return d;
  const char *home = std_home(L, name), *other = meant(name);
  const char *like = home || other ? NULL : sq_nearest(name, near.v, near.n);
  if (home) sq_hint(d, "the standard library has it: `use std.%s` at the top of the file", home);
  if (other && !home) sq_hint(d, "write `%s`", other);
  if (like) sq_hint(d, "did you mean `%s`?", like);
  return d;
}
