// The frontend's driver: files, the model, its instances, its entries, in this order.
#include "frontend/lower.h"

static sq_decl *find_model(sq_low *L, const sq_file *f) {
  sq_decl *model = NULL;
  for (uint32_t k = 0; f->ast && k < f->ast->decls.n; k++) {
    sq_decl *d = f->ast->decls.v[k];
    if (d->kind != SQ_D_MODEL) continue;
    if (model) {
      sq_diag *e = sq_low_error(L, d->name_span, "a file holds one model");
      sq_label(e, model->name_span, "the first is here");
      break;
    }
    model = d;
  }
  if (!model && L->ds->errors == 0)
    sq_hint(sq_low_error(L, (sq_span){.file = f->source}, "the file holds no `model`"),
            "what can be run is declared as `model name(constants) { ... entry ... }`");
  return model;
}

static sq_graph *compile(sq_low *L, sq_file *f, sq_front_info *info) {
  for (uint32_t k = 0; info && k < L->files.n; k++)
    sq_push(L->a, &info->files, L->ds->sources.v[L->files.v[k]->source]);
  sq_decl *model = L->ds->errors ? NULL : find_model(L, f);
  if (!model) return NULL;
  L->model = model;
  L->g = sq_graph_new(L->ctx, L->a, model->name);
  L->g->float_type = L->o->float_type;
  uint32_t parse_errors = L->ds->errors;
  sq_inst *root = sq_inst_model(L, model, f, info);
  if (L->ds->errors > parse_errors) { // with wrong config nothing else is right
    sq_low_flush(L);
    return NULL;
  }
  sq_inst_decls(L, root, &model->decls);
  for (uint32_t k = 0; k < L->entries.n; k++) sq_lower_entry(L, root, L->entries.v[k]);
  L->f = NULL;
  L->b = NULL;
  if (!L->entries.n && L->ds->errors == 0)
    sq_hint(sq_low_error(L, model->name_span, "model `%s` has no `entry`", model->name),
            "what can be called is declared as `entry forward(x[N]) -> y[N] { ... }`");
  sq_lower_reset_entry(L, root);
  if (!L->ds->errors) sq_low_sizes(L);
  sq_low_flush(L);
  return L->ds->errors ? NULL : L->g;
}

static sq_low *begin(sq_ctx *ctx, const sq_front_options *o) {
  sq_low *L = SQ_NEW(&ctx->arena, sq_low);
  static const sq_front_options none = {.float_type = SQ_F32};
  L->ctx = ctx;
  L->a = &ctx->arena;
  L->had = L->a->total;
  L->ds = &ctx->diags;
  L->o = o ? o : &none;
  return L;
}

sq_graph *sq_front_compile(sq_ctx *ctx, const char *path, const sq_front_options *o,
                           sq_front_info *info) {
  sq_low *L = begin(ctx, o);
  sq_file *f = NULL;
  if (!sq_load_file(L, sq_arena_str(L->a, path, strlen(path)), (sq_span){0}, &f)) return NULL;
  return compile(L, f, info);
}

sq_graph *sq_front_compile_text(sq_ctx *ctx, const char *name, const char *text, size_t size,
                                const sq_front_options *o, sq_front_info *info) {
  sq_low *L = begin(ctx, o);
  sq_file *f = NULL;
  if (!sq_load_text(L, name, text, size, &f)) return NULL;
  return compile(L, f, info);
}
