// Entries: inputs with their shapes, the body, the results.
#include "frontend/lower.h"

static const sq_expr *unbound_name(sq_low *L, sq_scope *s, const sq_expr *e, uint32_t depth) {
  if (depth > 100) return NULL;
  if (e->kind == SQ_E_NAME)
    return sq_lookup(L, s, e->name, NULL) || sq_builtin_find(e->name) ? NULL : e;
  if (e->kind != SQ_E_BINARY && e->kind != SQ_E_PAREN && e->kind != SQ_E_CALL) return NULL;
  for (uint32_t k = e->kind == SQ_E_CALL; k < e->n; k++) {
    const sq_expr *x = unbound_name(L, s, e->arg[k], depth + 1);
    if (x) return x;
  }
  return NULL;
}

// A size made of names that the shapes bind.
static sq_dim input_extent(sq_low *L, sq_scope *s, const sq_lhs *l, const sq_expr *e) {
  if (e->kind == SQ_E_DOTS || e->kind == SQ_E_GROW) {
    sq_low_error(L, e->span, "the shape of an input is written axis by axis: `%s`", l->name);
    return (sq_dim){0};
  }
  if (e->kind == SQ_E_NAME) {
    sq_val v;
    sq_bind *b = sq_lookup(L, s, e->name, &v);
    if (b && v.kind == SQ_V_POISON) return (sq_dim){0};
    if (b && (v.kind == SQ_V_DIM || v.kind == SQ_V_TENSOR || b->kind == SQ_B_CONFIG))
      return sq_val_size(L, &v, e->span, "the extent of an input");
    sq_sym sym = sq_sym_new(L->g->dims, e->name, SQ_SYM_SIZE);
    sq_dim d = sq_dim_sym(L->g->dims, sym);
    sq_bind_add(L, s, e->name, SQ_B_SIZE, e->span, sq_val_dim(d));
    return d;
  }
  const sq_expr *unknown = unbound_name(L, s, e, 0);
  if (unknown) {
    sq_diag *d = sq_low_error(L, unknown->span,
                              "size `%s` is not known: no input has it as an axis by "
                              "itself",
                              unknown->name);
    sq_hint(d, "give the axis a name and compare: `%s[M]`, check M == %s, \"...\"", l->name,
            sq_low_text(L, e->span));
    return (sq_dim){0};
  }
  return sq_eval_size(L, s, e, "the extent of an input");
}

static bool declare_inputs(sq_low *L, sq_scope *s, const sq_decl *d) {
  sq_graph *g = L->g;
  bool ok = true;
  sq_dim(*dims)[SQ_MAX_RANK] = sq_arena_take(L->a, sizeof *dims * (d->in.n + 1));
  sq_dtype *type = SQ_ARRAY(L->a, sq_dtype, d->in.n + 1);
  // Scalars first, so that they can be sizes; then names alone; then sizes made of these.
  for (uint32_t k = 0; k < d->in.n; k++) {
    const sq_lhs *l = d->in.v[k];
    type[k] = g->float_type;
    if (l->type && !sq_dtype_named(l->type, &type[k])) {
      sq_low_error(L, l->type_span, "unknown type `%s`", l->type);
      ok = false;
    }
    if (l->value) {
      sq_low_error(L, l->value->span, "an input of an entry has no default");
      ok = false;
    }
    if (l->n > SQ_MAX_RANK) {
      sq_low_error(L, l->span, "%u axes are more than the %u that are possible", l->n, SQ_MAX_RANK);
      return false;
    }
    for (uint32_t j = 0; j < k; j++)
      if (d->in.v[j]->name == l->name) {
        sq_diag *e = sq_low_error(L, l->span, "input `%s` is declared twice", l->name);
        sq_label(e, d->in.v[j]->span, "first here");
        ok = false;
      }
  }
  for (uint32_t k = 0; k < d->out.n; k++)
    for (uint32_t j = 0; j < k; j++)
      if (d->out.v[k]->name && d->out.v[j]->name == d->out.v[k]->name) {
        sq_diag *e =
            sq_low_error(L, d->out.v[k]->span, "output `%s` is declared twice", d->out.v[k]->name);
        sq_label(e, d->out.v[j]->span, "first here");
      }
  // Arguments are made in order; shapes may name scalars that come later.
  sq_value **arg = SQ_ARRAY(L->a, sq_value *, d->in.n + 1);
  for (uint32_t k = 0; k < d->in.n; k++) {
    const sq_lhs *l = d->in.v[k];
    arg[k] = sq_block_arg(L->f->body, sq_type_scalar(type[k]), l->name);
    sq_push(L->a, &L->f->in_names, l->name);
    sq_push(L->a, &L->f->in_sym, (sq_sym){0});
    if (l->n) continue;
    if (!sq_is_float(type[k]) && type[k] != SQ_BOOL)
      sq_push(L->a, &L->scalar_in,
              (sq_scalar_in){.v = arg[k], .arg = k, .name = l->name, .span = l->span});
    sq_bind_add(L, s, l->name, SQ_B_LOCAL, l->span, sq_val_tensor(arg[k]));
  }
  for (int pass = 0; pass < 2; pass++)
    for (uint32_t k = 0; k < d->in.n; k++)
      for (uint32_t j = 0; j < d->in.v[k]->n; j++) {
        const sq_expr *e = d->in.v[k]->item[j];
        if ((e->kind == SQ_E_NAME) != (pass == 0)) continue;
        dims[k][j] = input_extent(L, s, d->in.v[k], e);
        ok &= dims[k][j].i != 0;
      }
  if (!ok) return false;
  for (uint32_t k = 0; k < d->in.n; k++) {
    const sq_lhs *l = d->in.v[k];
    if (!l->n) continue;
    arg[k]->type = sq_type_make(g, type[k], l->n, dims[k]);
    sq_bind_add(L, s, l->name, SQ_B_LOCAL, l->span, sq_val_tensor(arg[k]));
  }
  return true;
}

static const char *result_name(sq_low *L, const sq_decl *d, uint32_t k) {
  const sq_lhs *l = d->out.v[k];
  if (l->name) return l->name;
  return d->out.n == 1 ? "out" : sq_arena_fmt(L->a, "out%u", k);
}

void sq_lower_entry(sq_low *L, sq_inst *root, sq_decl *d) {
  sq_graph *g = L->g;
  uint32_t errors = L->ds->errors;
  L->f = sq_func_new(g, d->name, SQ_FUNC_ENTRY, d->name_span);
  L->b = L->f->body;
  L->conditional = L->size_mode = 0;
  L->pure = L->at_load = false;
  L->calls = NULL;
  L->guards = L->branch = NULL;
  L->effect_ok = NULL;
  L->scan = NULL;
  L->scalar_in.n = 0;
  L->effects = 0;
  L->work = 0;
  L->gave_up = false;
  sq_grown_begin(L);
  sq_scope *s = sq_scope_new(L, SQ_SC_CALL, root->scope);
  if (!declare_inputs(L, s, d)) return;
  bool is_reset = !strcmp(d->name, "reset");
  if (is_reset) {
    if (d->in.n || d->out.n)
      sq_low_error(L, d->name_span, "`reset` takes no input and gives no result");
    sq_node_new(g, L->b, SQ_OP_RESET, d->name_span, 0, NULL);
    sq_low_effect(L, d->name_span);
  }
  sq_val r = sq_lower_body(L, s, d);
  sq_carry_values out = {0};
  if (d->has_out && r.kind != SQ_V_POISON && r.kind != SQ_V_NONE) {
    for (uint32_t k = 0; k < d->out.n; k++) {
      sq_val item = d->out.n == 1 ? r : r.item[k];
      if (item.kind == SQ_V_TUPLE || item.kind == SQ_V_NONE) {
        sq_low_error(L, d->out.v[k]->span, "a result of an entry is one array, not %s",
                     sq_val_what(L, &item));
        continue;
      }
      sq_value *v = sq_val_value(L, &item, d->out.v[k]->span, d->out.v[k]->name);
      if (v) sq_push(L->a, &out, v);
    }
  }
  if (L->ds->errors > errors) return;
  for (uint32_t k = 0; k < d->out.n && d->has_out; k++)
    sq_push(L->a, &L->f->out_names, result_name(L, d, k));
  sq_node_new(g, L->b, SQ_OP_YIELD, d->span, out.n, out.v);
  L->f->writes = L->effects > 0;
}

// `reset` can be called in every model, also where none is written.
void sq_lower_reset_entry(sq_low *L, sq_inst *root) {
  for (uint32_t k = 0; k < L->entries.n; k++)
    if (!strcmp(L->entries.v[k]->name, "reset")) return;
  const char *name = sq_intern_z(&L->ctx->names, "reset");
  L->f = sq_func_new(L->g, name, SQ_FUNC_ENTRY, root->span);
  L->b = L->f->body;
  sq_node_new(L->g, L->b, SQ_OP_RESET, root->span, 0, NULL);
  sq_node_new(L->g, L->b, SQ_OP_YIELD, root->span, 0, NULL);
  L->f->writes = true;
}
