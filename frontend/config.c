// The model's arguments: defaults, presets and values given from outside.
#include "frontend/lower.h"
#include <ctype.h>
#include <math.h>
#include <stdlib.h>

// ---- values as text ----------------------------------------------------------------------------

typedef struct text_in {
  sq_low *L;
  const char *p;
  const char *why;
  uint32_t depth;
} text_in;

static bool parse_item(text_in *t, sq_val *out);

static void skip_space(text_in *t) {
  while (isspace((unsigned char)*t->p)) t->p++;
}

static bool parse_items(text_in *t, char end, sq_val *out) {
  SQ_VEC(sq_val) items = {0};
  for (;;) {
    skip_space(t);
    if (*t->p == end && !items.n) break;
    sq_val v;
    if (!parse_item(t, &v)) return false;
    sq_push(t->L->a, &items, v);
    skip_space(t);
    if (*t->p == ',') {
      t->p++;
      continue;
    }
    if (*t->p == end) break;
    t->why = end ? "`,` or `]` is expected" : "`,` is expected";
    return false;
  }
  *out = (sq_val){.kind = SQ_V_LIST, .n = items.n, .item = items.v};
  return true;
}

static bool parse_item(text_in *t, sq_val *out) {
  skip_space(t);
  if (*t->p == '[') {
    if (++t->depth > 100) {
      t->why = "lists are nested too deeply";
      return false;
    }
    t->p++;
    if (!parse_items(t, ']', out)) return false;
    t->p++;
    t->depth--;
    return true;
  }
  const char *from = t->p;
  if (isdigit((unsigned char)*from) || ((*from == '-' || *from == '+' || *from == '.') &&
                                        (isdigit((unsigned char)from[1]) || from[1] == '.'))) {
    char *end;
    double f = strtod(from, &end);
    bool whole = true;
    for (const char *p = from + (*from == '-' || *from == '+'); p < end; p++)
      whole &= isdigit((unsigned char)*p) != 0;
    t->p = end;
    if (isalnum((unsigned char)*end) || *end == '_') {
      t->why = "this is no number";
      return false;
    }
    if (whole && fabs(f) < 9e18) {
      *out = sq_val_int(t->L, strtoll(from, NULL, 10));
    } else {
      *out = sq_val_float(f);
    }
    return true;
  }
  bool minus = *from == '-';
  const char *word = from + minus, *p = word;
  while (isalnum((unsigned char)*p) || *p == '_') p++;
  if (p == word) {
    t->why = *p ? "this is neither a number, a name nor a list" : "the value is missing";
    return false;
  }
  const char *name = sq_intern(&t->L->ctx->names, word, (size_t)(p - word));
  t->p = p;
  if (!strcmp(name, "inf")) {
    *out = sq_val_float(minus ? -INFINITY : INFINITY);
  } else if (minus) {
    t->why = "this is no number";
    return false;
  } else if (!strcmp(name, "true") || !strcmp(name, "false")) {
    *out = sq_val_bool(*name == 't');
  } else {
    *out = (sq_val){.kind = SQ_V_WORD, .s = name};
  }
  return true;
}

static const char *kind_word(const sq_val *v) {
  switch ((int)v->kind) {
  case SQ_V_DIM:
    return "an integer";
  case SQ_V_FLOAT:
    return "a number";
  case SQ_V_BOOL:
    return "true or false";
  case SQ_V_WORD:
    return "a name";
  case SQ_V_LIST:
    return "a list";
  default:
    return "a value";
  }
}

// As the default's kind, where that loses nothing.
static bool adapt(sq_low *L, sq_val *v, const sq_val *like, const char **why) {
  int64_t i;
  if (like->kind == SQ_V_LIST && v->kind != SQ_V_LIST) {
    sq_val one = *v;
    *v = (sq_val){.kind = SQ_V_LIST, .n = 1, .item = SQ_ARRAY(L->a, sq_val, 1)};
    v->item[0] = one;
  }
  if (like->kind == SQ_V_LIST) {
    for (uint32_t k = 0; k < v->n && like->n; k++) {
      const sq_val *e = &like->item[k < like->n ? k : like->n - 1];
      if (e->kind == SQ_V_LIST && v->item[k].kind != SQ_V_LIST) {
        *why = "a list of lists is expected";
        return false;
      }
      if (!adapt(L, &v->item[k], e, why)) return false;
    }
    return true;
  }
  if (like->kind == SQ_V_DIM) {
    if (v->kind == SQ_V_FLOAT && v->f == floor(v->f) && fabs(v->f) < 9e15)
      *v = sq_val_int(L, (int64_t)v->f);
    if (v->kind == SQ_V_BOOL) *v = sq_val_int(L, v->i);
    if (v->kind == SQ_V_FLOAT || v->kind == SQ_V_DIM) return true;
  } else if (like->kind == SQ_V_FLOAT) {
    if (sq_val_const_int(L, v, &i)) *v = sq_val_float((double)i);
    if (v->kind == SQ_V_FLOAT) return true;
  } else if (like->kind == SQ_V_BOOL) {
    if (sq_val_const_int(L, v, &i) && (i == 0 || i == 1)) *v = sq_val_bool(i);
    if (v->kind == SQ_V_BOOL) return true;
  } else if (like->kind == SQ_V_WORD) {
    if (v->kind == SQ_V_WORD) {
      const sq_formal *f = like->choices;
      SQ_VEC(const char *) words = {0};
      if (f && f->value && f->value->kind == SQ_E_NAME) sq_push(L->a, &words, f->value->name);
      for (uint32_t k = 0; f && k < f->choices.n; k++) sq_push(L->a, &words, f->choices.v[k]);
      v->choices = f;
      for (uint32_t k = 0; k < words.n; k++)
        if (words.v[k] == v->s) return true;
      if (!f || !f->choices.n) return true;
      sq_text t = {.arena = L->a};
      for (uint32_t k = 0; k < words.n; k++)
        sq_text_add(&t, "%s`%s`", k ? ", " : "it is one of ", words.v[k]);
      *why = t.v;
      return false;
    }
  } else {
    return true;
  }
  *why = sq_arena_fmt(L->a, "%s is expected, not %s", kind_word(like), kind_word(v));
  return false;
}

bool sq_config_value(sq_low *L, const char *text, const sq_val *like, sq_val *out,
                     const char **why) {
  text_in t = {.L = L, .p = text};
  sq_val list;
  if (!parse_items(&t, 0, &list) || !list.n) {
    *why = t.why ? t.why : "the value is missing";
    return false;
  }
  *out = list.n == 1 ? list.item[0] : list;
  return adapt(L, out, like, why);
}

// ---- the model ---------------------------------------------------------------------------------

static const sq_decl *find_preset(sq_low *L, const sq_decl *model, const char *name,
                                  sq_front_info *info) {
  const sq_decl *found = NULL;
  SQ_VEC(const char *) all = {0};
  for (uint32_t k = 0; k < model->decls.n; k++) {
    const sq_decl *d = model->decls.v[k];
    if (d->kind != SQ_D_PRESET) continue;
    for (uint32_t j = 0; j < k; j++)
      if (model->decls.v[j]->kind == SQ_D_PRESET && model->decls.v[j]->name == d->name) {
        sq_diag *e = sq_low_error(L, d->name_span, "preset `%s` is declared twice", d->name);
        sq_label(e, model->decls.v[j]->name_span, "first here");
      }
    sq_push(L->a, &all, d->name);
    if (info) sq_push(L->a, &info->presets, d->name);
    if (name && !strcmp(d->name, name)) found = d;
  }
  if (!name || found) return found;
  sq_diag *d =
      sq_low_error(L, (sq_span){0}, "the model `%s` has no preset `%s`", model->name, name);
  sq_low_suggest(L, d, name, all.v, all.n);
  return NULL;
}

static const char *given_value(sq_low *L, const char *name) {
  const char *found = NULL;
  size_t n = strlen(name);
  for (uint32_t k = 0; k < L->o->n_defines; k++) {
    const char *d = L->o->defines[k];
    if (!strncmp(d, name, n) && d[n] == '=') found = d + n + 1;
  }
  return found;
}

static void unknown_defines(sq_low *L, const sq_decl *model) {
  for (uint32_t k = 0; k < L->o->n_defines; k++) {
    const char *d = L->o->defines[k], *eq = strchr(d, '=');
    if (!eq || eq == d) {
      sq_diag *e = sq_low_error(L, (sq_span){0}, "-D %s: `name=value` is expected", d);
      (void)e;
      continue;
    }
    size_t n = (size_t)(eq - d);
    SQ_VEC(const char *) near = {0};
    bool found = false;
    for (uint32_t j = 0; j < model->formals.n; j++) {
      const char *f = model->formals.v[j]->name;
      sq_push(L->a, &near, f);
      found |= strlen(f) == n && !strncmp(f, d, n);
    }
    if (found) continue;
    const char *name = sq_arena_str(L->a, d, n);
    sq_diag *e = sq_low_error(L, (sq_span){0}, "-D %s: the model `%s` has no config `%s`", d,
                              model->name, name);
    sq_low_suggest(L, e, name, near.v, near.n);
  }
}

static void check_presets(sq_low *L, const sq_decl *model) {
  SQ_VEC(const char *) near = {0};
  for (uint32_t j = 0; j < model->formals.n; j++) sq_push(L->a, &near, model->formals.v[j]->name);
  for (uint32_t k = 0; k < model->decls.n; k++) {
    const sq_decl *p = model->decls.v[k];
    for (uint32_t j = 0; p->kind == SQ_D_PRESET && j < p->binds.n; j++) {
      const sq_lhs *b = p->binds.v[j];
      bool found = false;
      for (uint32_t i = 0; i < near.n; i++) found |= near.v[i] == b->name;
      if (found) continue;
      sq_diag *d = sq_low_error(L, b->span, "the model has no config `%s`", b->name);
      sq_low_suggest(L, d, b->name, near.v, near.n);
    }
  }
}

// The value of one constant in a preset; poison after a message.
static sq_val preset_value(sq_low *L, sq_scope *s, const sq_lhs *b, const sq_val *like) {
  const char *why = NULL;
  sq_val v = {.kind = SQ_V_WORD, .s = b->value->name};
  if (like->kind != SQ_V_WORD || b->value->kind != SQ_E_NAME) v = sq_eval_size_expr(L, s, b->value);
  if (v.kind == SQ_V_POISON || adapt(L, &v, like, &why)) return v;
  sq_diag *d = sq_low_error(L, b->value->span, "config `%s`: %s", b->name, why);
  sq_hint(d, "the default is %s", sq_val_text(L, like));
  return sq_poison();
}

sq_inst *sq_inst_model(sq_low *L, sq_decl *model, sq_file *file, sq_front_info *info) {
  sq_inst *root = SQ_NEW(L->a, sq_inst);
  root->decl = model;
  root->name = model->name;
  root->path = "";
  root->count = 1;
  root->n_index = 1;
  root->index = SQ_ARRAY(L->a, int64_t, 1);
  root->scope = sq_scope_new(L, SQ_SC_INST, file->scope);
  root->scope->inst = root;
  root->span = model->name_span;
  L->root = root;
  const sq_decl *preset = find_preset(L, model, L->o->preset, info);
  unknown_defines(L, model);
  check_presets(L, model);
  for (uint32_t k = 0; k < model->formals.n; k++) {
    const sq_formal *f = model->formals.v[k];
    sq_val v;
    const sq_bind *old = sq_lookup_here(root->scope, f->name);
    if (old) {
      sq_diag *d = sq_low_error(L, f->span, "config `%s` is declared twice", f->name);
      sq_label(d, old->span, "first here");
      continue;
    }
    if (!f->value) {
      sq_diag *d = sq_low_error(L, f->span, "config `%s` has no default", f->name);
      sq_hint(d, "`%s = ...`: a model runs without arguments", f->name);
      v = sq_poison();
    } else if (f->value->kind == SQ_E_NAME &&
               (f->choices.n || !sq_lookup(L, root->scope, f->value->name, NULL))) {
      v = (sq_val){.kind = SQ_V_WORD, .s = f->value->name, .choices = f};
    } else {
      v = sq_eval_size_expr(L, root->scope, f->value);
    }
    sq_val like = v;
    for (uint32_t p = 0; p < model->decls.n; p++) {
      const sq_decl *d = model->decls.v[p];
      for (uint32_t j = 0; d->kind == SQ_D_PRESET && j < d->binds.n; j++) {
        const sq_lhs *b = d->binds.v[j];
        if (!b || b->name != f->name || like.kind == SQ_V_POISON) continue;
        sq_val own = preset_value(L, root->scope, b, &like);
        if (d == preset) v = own;
      }
    }
    const char *text = given_value(L, f->name), *why = NULL;
    if (text && v.kind != SQ_V_POISON && !sq_config_value(L, text, &like, &v, &why)) {
      sq_diag *d = sq_low_error(L, (sq_span){0}, "-D %s=%s: %s", f->name, text, why);
      sq_hint(d, "the default is %s", sq_val_text(L, &like));
      v = sq_poison();
    }
    v.lit = false;
    if (v.kind != SQ_V_POISON && !sq_val_is_static(&v)) {
      sq_low_error(L, f->span, "config must be known at compile time");
      v = sq_poison();
    }
    sq_bind_add(L, root->scope, f->name, SQ_B_CONFIG, f->span, v);
    if (info) sq_push(L->a, &info->config, (sq_front_config){f->name, sq_val_text(L, &v)});
  }
  return root;
}
