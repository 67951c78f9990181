// The interpreter at the command line: weights tested before a call; states, and the parameters
// that entries write, to and from safetensors files.
#include "tools/interp.h"
#include "runtime/internal.h"

// ---- weights -----------------------------------------------------------------------------------
static int look(sq_weights *w, const sq_abi_param *p, uint32_t *faults, bool describe) {
  for (uint32_t k = 0; k < p->count; k++) {
    sq_weight_ask ask = {
        p->names + (size_t)k * p->n_alt, p->n_alt, p->dtype, p->rank, p->dim, false};
    sq_weight got;
    int s = sq_weights_get(w, &ask, &got);
    if (s) return s;
    *faults += got.fault != SQ_WEIGHT_OK;
    if (got.fault && describe) sq_weights_describe(w, &ask, &got);
    sq_weights_drop(w, &got);
  }
  return SQ_OK;
}

int sq_interp_check(seqm_context *rt, sq_weights *w, const sq_abi_model *m, const sq_abi_entry *e) {
  uint32_t faults = 0;
  for (int describe = 0; describe < 2; describe++) {
    for (uint32_t k = 0; k < e->n_param; k++)
      SQ_TRY((sq_status)look(w, &m->param[e->param[k]], &faults, describe));
    if (!faults) return SQ_OK;
    if (describe) break;
    sq_rt_fail(rt, SQ_EMODEL, "%s: %s%u parameter%s missing or not fitting", e->name,
               sq_weights_any(w) ? "" : "no weights were given: ", faults,
               faults == 1 ? " is" : "s are");
    if (m->config && *m->config) sq_message_add(rt, " (the model has %s)", m->config);
  }
  return SQ_EMODEL;
}

// ---- saving ------------------------------------------------------------------------------------
typedef struct saver {
  sq_ctx *ctx;
  const sq_graph *g;
  sq_text header, data;
  bool params; // parameters are visited, not states
} saver;

static bool state_is_named(const sq_graph *g, const char *name) {
  for (uint32_t s = 0; s < g->state.n; s++)
    for (uint32_t k = 0; k < g->state.v[s].count; k++) {
      const sq_state *st = &g->state.v[s];
      if (!strcmp(st->names ? st->names[k] : st->name, name)) return true;
    }
  return false;
}

// A parameter that has the name of a state is told from it by a prefix.
static const char *param_name(sq_ctx *ctx, const sq_graph *g, const char *name) {
  return state_is_named(g, name) ? sq_arena_fmt(&ctx->arena, "param:%s", name) : name;
}

static void put_name(sq_text *out, const char *s) {
  for (; *s; s++)
    if ((unsigned char)*s < 0x20)
      sq_text_add(out, "\\u%04x", (unsigned)*s);
    else
      sq_text_add(out, *s == '"' || *s == '\\' ? "\\%c" : "%c", *s);
}

static sq_status save_one(void *user, const char *name, sq_tensor64 *t) {
  saver *w = user;
  seqm_tensor narrow;
  if (!sq_value_from64(w->ctx, t, &narrow)) return SQ_EMODEL;
  sq_text_add(&w->header, ",\"");
  put_name(&w->header, w->params ? param_name(w->ctx, w->g, name) : name);
  sq_text_add(&w->header, "\":{\"dtype\":\"%s\",\"shape\":[", sq_st_dtype_name(narrow.dtype));
  for (uint32_t d = 0; d < t->rank; d++)
    sq_text_add(&w->header, d ? ",%lld" : "%lld", (long long)t->dim[d]);
  size_t bytes = (size_t)sq_value_count(&narrow) * seqm_dtype_size(narrow.dtype);
  sq_text_add(&w->header, "],\"data_offsets\":[%zu,%zu]}", (size_t)w->data.n,
              (size_t)w->data.n + bytes);
  sq_text_put(&w->data, narrow.data, bytes);
  return SQ_OK;
}

sq_status sq_interp_save(sq_ctx *ctx, sq_graph *g, sq_eval *e, const char *path,
                         const char **message) {
  saver w = {.ctx = ctx, .g = g, .header = {.arena = &ctx->arena}, .data = {.arena = &ctx->arena}};
  sq_text_add(&w.header, "{\"__metadata__\":{\"format\":\"seqm state\"}");
  sq_status s = sq_eval_states(e, save_one, &w);
  w.params = true;
  if (!s) s = sq_eval_params(e, save_one, &w);
  if (s) {
    *message = sq_eval_message(e);
    return s;
  }
  sq_text_add(&w.header, "}");
  while (w.header.n % 64 != 56) sq_text_add(&w.header, " ");
  sq_text out = {.arena = &ctx->arena};
  for (int k = 0; k < 8; k++)
    sq_text_put(&out, (char[]){(char)((uint64_t)w.header.n >> (8 * k))}, 1);
  sq_text_put(&out, w.header.v, w.header.n);
  if (w.data.n) sq_text_put(&out, w.data.v, w.data.n);
  return sq_file_write(&ctx->arena, path, out.v, out.n, message);
}

// ---- loading -----------------------------------------------------------------------------------
typedef struct loader {
  sq_ctx *ctx;
  sq_graph *g;
  sq_eval *e;
  sq_safetensors f;
  const char *path, *message;
  size_t used;
} loader;

static sq_status wrong(loader *l, const char *fmt, const char *name) {
  if (!l->message)
    l->message =
        sq_arena_fmt(&l->ctx->arena, "%s: %s", l->path, sq_arena_fmt(&l->ctx->arena, fmt, name));
  return SQ_EMODEL;
}

static bool fits(const sq_st_tensor *t, const sq_tensor64 *want, uint32_t free_axis) {
  bool ok = t->dtype == (int)want->dtype && t->rank == want->rank;
  for (uint32_t d = 0; ok && d < t->rank; d++) ok = d == free_axis || t->dim[d] == want->dim[d];
  return ok;
}

static void copy(const sq_st_tensor *from, sq_tensor64 *to, sq_arena *a) {
  void *data = sq_arena_take(a, from->bytes + 1); // aligned, which the file's are not
  memcpy(data, from->data, from->bytes);
  seqm_tensor t = {.dtype = (seqm_dtype)to->dtype, .rank = to->rank, .data = data};
  memcpy(t.dim, to->dim, sizeof(int64_t) * to->rank);
  for (int64_t k = 0, n = sq_tensor64_count(to); k < n; k++)
    if (to->f)
      to->f[k] = sq_value_float(&t, k);
    else
      to->i[k] = sq_value_int(&t, k);
}

static sq_status load_state(void *user, const char *name, sq_tensor64 *t) {
  loader *l = user;
  sq_st_tensor *from = sq_st_find(l->f.tensor, l->f.n, name);
  if (!from) return wrong(l, "the state `%s` is missing", name);
  if (!fits(from, t, UINT32_MAX)) return wrong(l, "`%s` has another dtype or shape", name);
  copy(from, t, &l->ctx->arena);
  from->used = true;
  l->used++;
  return SQ_OK;
}

// Growing states get the extents of the file first.
static sq_status grow(loader *l) {
  for (uint32_t s = 0; s < l->g->state.n; s++) {
    const sq_state *st = &l->g->state.v[s];
    if (!st->grow.i || st->derived || !st->count) continue;
    const char *name = st->names ? st->names[0] : st->name;
    const sq_st_tensor *from = sq_st_find(l->f.tensor, l->f.n, name);
    if (!from) return wrong(l, "the state `%s` is missing", name);
    if (from->rank <= st->grow_axis) return wrong(l, "`%s` has another dtype or shape", name);
    SQ_TRY(sq_eval_grow(l->e, s, from->dim[st->grow_axis]));
  }
  return SQ_OK;
}

static sq_status load_params(loader *l) {
  for (uint32_t p = 0; p < l->g->param.n; p++) {
    const sq_param *pa = &l->g->param.v[p];
    for (uint32_t k = 0; pa->written && pa->n_alt && k < pa->count; k++) {
      const char *name = param_name(l->ctx, l->g, pa->names[(size_t)k * pa->n_alt]);
      sq_st_tensor *from = sq_st_find(l->f.tensor, l->f.n, name);
      if (!from) continue;
      sq_tensor64 t = {.dtype = pa->type.dtype, .rank = pa->type.rank};
      for (uint32_t d = 0; d < t.rank; d++)
        if (!sq_dim_is_const(l->g->dims, pa->type.dim[d], &t.dim[d])) t.dim[d] = -1;
      if (!fits(from, &t, UINT32_MAX)) return wrong(l, "`%s` has another dtype or shape", name);
      int64_t n = sq_tensor64_count(&t) + 1;
      if (sq_is_float(t.dtype))
        t.f = SQ_ARRAY(&l->ctx->arena, double, n);
      else
        t.i = SQ_ARRAY(&l->ctx->arena, int64_t, n);
      copy(from, &t, &l->ctx->arena);
      SQ_TRY(sq_eval_param_set(l->e, p, k, &t));
      from->used = true;
      l->used++;
    }
  }
  return SQ_OK;
}

static sq_status load(loader *l) {
  SQ_TRY(grow(l));
  SQ_TRY(sq_eval_states(l->e, load_state, l));
  SQ_TRY(load_params(l));
  for (size_t k = 0; k < l->f.n && l->used < l->f.n; k++)
    if (!l->f.tensor[k].used)
      return wrong(l, "`%s` is no state of this model", l->f.tensor[k].name);
  return SQ_OK;
}

sq_status sq_interp_load(sq_ctx *ctx, seqm_context *rt, sq_graph *g, sq_eval *e, const char *path,
                         const char **message) {
  loader l = {.ctx = ctx, .g = g, .e = e, .path = path};
  int s = sq_safetensors_open(rt, path, &l.f);
  if (s) {
    *message = sq_arena_fmt(&ctx->arena, "%s", seqm_message(rt));
    return (sq_status)s;
  }
  sq_status status = load(&l);
  *message = l.message ? l.message : sq_eval_message(e);
  sq_safetensors_close(rt, &l.f);
  return status;
}
