// Names: scopes, files and what they `use`, members of instances; diagnostics of the lowering.
#include "frontend/lower.h"
#include <ctype.h>
#include <stdarg.h>

// ---- diagnostics -------------------------------------------------------------------------------

static const sq_diag *said_before(const sq_diags *ds, sq_span span, const char *text) {
  for (uint32_t k = 0; k < ds->list.n; k++) {
    const sq_diag *d = ds->list.v[k];
    if (d->labels.n && !memcmp(&d->labels.v[0].span, &span, sizeof span) &&
        !strcmp(d->message, text))
      return d;
  }
  return NULL;
}

sq_diag *sq_low_error(sq_low *L, sq_span span, const char *fmt, ...) {
  char text[1024];
  va_list ap;
  va_start(ap, fmt);
  vsnprintf(text, sizeof text, fmt, ap);
  va_end(ap);
  if (said_before(L->ds, span, text)) { // the same text inlined twice
    sq_diag *d = SQ_NEW(L->a, sq_diag);
    d->owner = L->ds;
    return d;
  }
  sq_diag *d = sq_error(L->ds, span, "%s", text);
  sq_low_flush(L);
  L->last = d;
  uint32_t shown = 0;
  for (const sq_call_note *c = L->calls; c && shown < 3; c = c->next, shown++) {
    uint32_t line = 0, column = 0;
    sq_span_line(L->ds, c->span, &line, &column);
    if (line)
      sq_push(L->a, &L->chain,
              sq_arena_fmt(L->a, "in `%s`, called by `%s` at %s:%u", c->decl->name,
                           sq_low_text(L, c->span), L->ds->sources.v[c->span.file].name, line));
  }
  return d;
}

// The chain of calls stands behind an error's own hints, so it is added when the next one comes.
void sq_low_flush(sq_low *L) {
  for (uint32_t k = 0; L->last && k < L->chain.n; k++) sq_note(L->last, "%s", L->chain.v[k]);
  L->chain.n = 0;
  L->last = NULL;
}

void sq_low_suggest(sq_low *L, sq_diag *d, const char *word, const char *const *names, uint32_t n) {
  enum { MAX_LISTED = 12 };
  const char *like = sq_nearest(word, names, n);
  if (like) sq_hint(d, "did you mean `%s`?", like);
  if (like || n > MAX_LISTED) return;
  sq_text t = {.arena = L->a};
  for (uint32_t k = 0; k < n; k++) sq_text_add(&t, "%s`%s`", k ? ", " : "", names[k]);
  sq_hint(d, n ? "there %s %s" : "there are none", n == 1 ? "is only" : "are", t.v);
}

void sq_low_effect(sq_low *L, sq_span span) {
  L->effects++;
  L->effect_at = span;
}

const char *sq_low_text(sq_low *L, sq_span span) {
  if (!span.file || span.file >= L->ds->sources.n) return "";
  const sq_source *src = &L->ds->sources.v[span.file];
  size_t n = span.end > span.begin ? span.end - span.begin : 0;
  if (span.begin + n > src->size) return "";
  bool cut = n > 60;
  if (cut) n = 57;
  char *s = sq_arena_str(L->a, src->text + span.begin, n + 3);
  s[n] = 0;
  for (char *p = s; *p; p++)
    if (*p == '\n' || *p == '\t' || *p == '\r') *p = ' ';
  if (cut) strcpy(s + n, "..");
  return s;
}

const char *sq_dim_str(sq_low *L, sq_dim d) {
  return d.i ? sq_dim_source_text(L->g->dims, d) : "?";
}

// ---- scopes ------------------------------------------------------------------------------------

sq_scope *sq_scope_new(sq_low *L, sq_scope_kind kind, sq_scope *parent) {
  sq_scope *s = SQ_NEW(L->a, sq_scope);
  s->kind = kind;
  s->parent = parent;
  return s;
}

sq_bind *sq_lookup_here(sq_scope *s, const char *name) {
  for (uint32_t k = s->bind.n; k-- > 0;)
    if (s->bind.v[k].name == name) return &s->bind.v[k];
  return NULL;
}

// The extent of a state that grows, bound to a name, as the number that it is now.
static sq_value *extent_now(sq_low *L, sq_bind_kind kind, const sq_val *v, sq_span span) {
  if (!L->b || L->pure || (kind != SQ_B_LOCAL && kind != SQ_B_SIZE) || v->kind != SQ_V_DIM)
    return NULL;
  for (uint32_t k = 0; k < L->g->state.n; k++) {
    sq_sym s = L->g->state.v[k].grow;
    if (s.i && sq_dim_mentions(L->g->dims, v->dim, s))
      return sq_emit_value(L, sq_sx_value_type(L, sq_sx_dim(L, v->dim)), 0, NULL, span, NULL);
  }
  return NULL;
}

sq_bind *sq_bind_add(sq_low *L, sq_scope *s, const char *name, sq_bind_kind kind, sq_span span,
                     sq_val v) {
  sq_bind b = {.name = name, .kind = kind, .span = span, .val = v};
  b.now = extent_now(L, kind, &v, span);
  sq_bind *old = sq_lookup_here(s, name);
  if (old) {
    *old = b;
    return old;
  }
  sq_push(L->a, &s->bind, b);
  return &s->bind.v[s->bind.n - 1];
}

sq_inst *sq_scope_inst(sq_scope *s) {
  for (; s; s = s->parent)
    if (s->kind == SQ_SC_INST) return s->inst;
  return NULL;
}

// The copy number of an ancestor, from that of a class below it.
static sq_at at_of_ancestor(sq_low *L, sq_inst *from, sq_at at, const sq_inst *to) {
  if (!to->many) return (sq_at){.many = false};
  for (; from && from != to && from->parent; from = from->parent) {
    at = sq_at_divide(L, at, from->n_index, from->span);
    at.many = from->parent->many;
  }
  return at;
}

// The class whose copy numbers the value's `at` holds.
static const sq_inst *numbered(const sq_val *v) {
  return v->kind == SQ_V_INST    ? v->inst
         : v->kind == SQ_V_INSTS ? v->insts->klass[0]->parent
                                 : sq_scope_inst(v->scope);
}

// An instance or function that was passed on or shared by a declaration, seen from copy `at` of
// `inst`, which stands in the class `base` of the declaration.
static sq_at at_of_passed(sq_low *L, const sq_val *v, sq_inst *inst, sq_at at) {
  sq_inst *base = v->at.base;
  const sq_inst *own = numbered(v);
  if (!base || !own || at.base) return v->at;
  at = at_of_ancestor(L, inst, at, base);
  return sq_at_combine(L, at, own->count / base->count, (sq_at){.many = true, .c = v->at.c},
                       inst->span);
}

static void attach(sq_low *L, sq_val *v, sq_bind_kind kind, sq_inst *inst, sq_at at) {
  switch ((int)v->kind) {
  case SQ_V_TUPLE: {
    sq_val *item = SQ_ARRAY(L->a, sq_val, v->n);
    for (uint32_t k = 0; k < v->n; k++) {
      item[k] = v->item[k];
      attach(L, &item[k], kind, inst, at);
    }
    v->item = item;
    break;
  }
  case SQ_V_PARAM:
    v->at = (sq_at){L->g->param.v[v->ref].has_instances, at.base, at.c, at.v, at.ix};
    break;
  case SQ_V_STATE:
    v->at = (sq_at){L->g->state.v[v->ref].has_instances, at.base, at.c, at.v, at.ix};
    break;
  case SQ_V_INST:
  case SQ_V_FN:
  case SQ_V_INSTS:
    if (kind == SQ_B_CONFIG || kind == SQ_B_SHARED) {
      v->at = at_of_passed(L, v, inst, at);
      break;
    }
    v->at = at;
    if (v->kind == SQ_V_INST) v->at.many = v->inst->many;
    break;
  default:
    break;
  }
}

static void evaluate_lazy(sq_low *L, sq_scope *s, const char *name) {
  sq_bind *b = sq_lookup_here(s, name);
  sq_decl *d = b->decl;
  if (b->busy) {
    sq_low_error(L, d->name_span, "`%s` is defined by itself", name);
    b->val = sq_poison();
    b->kind = SQ_B_DECL;
    return;
  }
  b->busy = true;
  sq_val v = sq_state_derived(L, s, d, name);
  b = sq_lookup_here(s, name); // the list may have moved
  b->busy = false;
  if (b->kind == SQ_B_LAZY) {
    b->val = v;
    b->kind = SQ_B_DECL;
  }
}

static sq_bind *found(sq_low *L, sq_scope *s, const char *name, sq_at at, sq_val *v) {
  sq_bind *b = sq_lookup_here(s, name);
  if (!b) return NULL;
  if (b->kind == SQ_B_LAZY) {
    evaluate_lazy(L, s, name);
    b = sq_lookup_here(s, name);
  }
  if (v) {
    *v = b->val;
    if (b->now && sq_low_has_grown(L, v->dim, b->now->id)) {
      *v = sq_val_tensor(b->now);
    } else {
      b->read = L->g->n_values;
    }
    if (s->kind == SQ_SC_INST) {
      if (s->inst->many && !at.many) at = (sq_at){.many = true, .base = s->inst};
      attach(L, v, b->kind, s->inst, at);
    }
  }
  return b;
}

sq_bind *sq_lookup(sq_low *L, sq_scope *s, const char *name, sq_val *v) {
  sq_at at = {0};
  for (; s; s = s->parent) {
    if (s->kind == SQ_SC_CALL) at = s->at;
    sq_bind *b = found(L, s, name, at, v);
    if (b) return b;
    if (s->kind == SQ_SC_FILE)
      for (uint32_t k = 0; k < s->uses.n; k++) {
        b = found(L, s->uses.v[k], name, at, v);
        if (b) return b;
      }
  }
  return NULL;
}

sq_val sq_member(sq_low *L, const sq_val *inst, const char *name, sq_span span) {
  sq_val v = sq_poison();
  if (found(L, inst->inst->scope, name, inst->at, &v)) return v;
  SQ_VEC(const char *) near = {0};
  sq_scope *s = inst->inst->scope;
  for (uint32_t k = 0; k < s->bind.n; k++) sq_push(L->a, &near, s->bind.v[k].name);
  sq_diag *d =
      sq_low_error(L, span, "module `%s` has no member `%s`", inst->inst->decl->name, name);
  sq_low_suggest(L, d, name, near.v, near.n);
  return v;
}

// ---- files -------------------------------------------------------------------------------------

static const char *folder_of(sq_low *L, const char *path) {
  const char *slash = strrchr(path, '/');
  return slash ? sq_arena_str(L->a, path, (size_t)(slash - path) + 1) : "";
}

static void declare(sq_low *L, sq_file *f, sq_decl *d) {
  sq_val v = {.decl = d, .scope = f->scope};
  switch ((int)d->kind) {
  case SQ_D_FN:
  case SQ_D_PROC:
    v.kind = SQ_V_FN;
    sq_check_formals(L, d);
    break;
  case SQ_D_MODULE:
    v.kind = SQ_V_MODULE;
    sq_check_formals(L, d);
    break;
  case SQ_D_DEFINE: {
    const char *name = d->lhs->name;
    if (sq_lookup_here(f->scope, name)) break;
    sq_bind_add(L, f->scope, name, SQ_B_LAZY, d->name_span, v)->decl = d;
    return;
  }
  case SQ_D_MODEL:
    return;
  case SQ_D_USE:
    return;
  default:
    sq_hint(sq_low_error(L, d->span,
                         "only `use`, `module`, `model`, `fn` and definitions stand at the top of "
                         "a file"),
            "put it inside the `model` or a `module`");
    return;
  }
  sq_bind *old = sq_lookup_here(f->scope, d->name);
  if (old) {
    sq_diag *e = sq_low_error(L, d->name_span, "`%s` is declared twice", d->name);
    sq_label(e, old->span, "first here");
    return;
  }
  sq_bind_add(L, f->scope, d->name, SQ_B_DECL, d->name_span, v);
}

static void use_file(sq_low *L, sq_file *f, const sq_decl *d) {
  const char *dots = d->text, *base;
  char *rel = sq_arena_fmt(L->a, "%s.seqm", dots);
  for (char *p = rel; *p && strcmp(p, ".seqm"); p++)
    if (*p == '.') *p = '/';
  bool is_std = !strncmp(dots, "std.", 4);
  if (is_std && !L->o->std_path) {
    sq_low_error(L, d->span, "the standard library is not found: `use %s`", dots);
    return;
  }
  base = is_std ? sq_arena_fmt(L->a, "%s/", L->o->std_path) : folder_of(L, f->path);
  sq_file *used = NULL;
  if (!sq_load_file(L, sq_arena_fmt(L->a, "%s%s", base, rel), d->span, &used)) return;
  sq_push(L->a, &f->scope->uses, used->scope);
}

static bool load(sq_low *L, sq_file *f) {
  f->busy = true;
  f->scope = sq_scope_new(L, SQ_SC_FILE, NULL);
  f->ast = sq_parse(L->ctx, f->source);
  if (f->ast) {
    for (uint32_t k = 0; k < f->ast->decls.n; k++)
      if (f->ast->decls.v[k]->kind == SQ_D_USE) use_file(L, f, f->ast->decls.v[k]);
    for (uint32_t k = 0; k < f->ast->decls.n; k++) declare(L, f, f->ast->decls.v[k]);
  }
  f->busy = false;
  return f->ast != NULL;
}

bool sq_load_text(sq_low *L, const char *name, const char *text, size_t n, sq_file **out) {
  sq_file *f = SQ_NEW(L->a, sq_file);
  f->path = sq_arena_str(L->a, name, strlen(name));
  f->source = sq_diags_source(L->ds, name, text, n);
  sq_push(L->a, &L->files, f);
  *out = f;
  return load(L, f);
}

// A file's text: given, or read.
static sq_status read_file(sq_low *L, const char *path, const char **text, size_t *n,
                           const char **why) {
  for (uint32_t k = 0; k < L->o->n_files; k++) {
    const sq_source *s = &L->o->files[k];
    if (strcmp(s->name, path)) continue;
    *text = s->text;
    *n = s->size;
    return SQ_OK;
  }
  char *read;
  SQ_TRY(sq_file_read(L->a, path, &read, n, why));
  *text = read;
  return SQ_OK;
}

bool sq_load_file(sq_low *L, const char *path, sq_span from, sq_file **out) {
  for (uint32_t k = 0; k < L->files.n; k++) {
    sq_file *f = L->files.v[k];
    if (strcmp(f->path, path)) continue;
    if (f->busy) {
      sq_low_error(L, from, "`%s` uses itself, through this `use`", path);
      return false;
    }
    *out = f;
    return f->ast != NULL;
  }
  const char *text;
  size_t n;
  const char *why = "";
  if (L->files.n > 500) {
    sq_low_error(L, from, "more than 500 files are used");
    return false;
  }
  if (read_file(L, path, &text, &n, &why) != SQ_OK) {
    sq_diag *d = sq_low_error(L, from, "cannot read %s", why);
    const char *std = L->o->std_path;
    if (from.file && std && !strncmp(path, std, strlen(std)))
      sq_hint(d, "std has %s", sq_std_names(L));
    else if (from.file)
      sq_hint(d, "`use a.b` reads a/b.seqm beside the file that says so");
    return false;
  }
  return sq_load_text(L, path, text, n, out);
}
