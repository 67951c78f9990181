// Weight files and random weights behind one question: the data of a name, in a type; see
// weights.h.
#include "runtime/weights.h"
#include "runtime/convert.h"
#include <string.h>

// One file, or one index with its shards; `tensor` is sorted by name.
typedef struct source {
  sq_safetensors *file;
  size_t n_file;
  sq_st_tensor *tensor; // of file[0] for a single file, else own
  size_t n;
  sq_st_index index;
} source;

struct sq_weights {
  seqm_context *ctx;
  source *source;
  size_t n_source;
  bool random;
  uint64_t seed;
};

int sq_weights_new(seqm_context *ctx, sq_weights **w) {
  *w = sq_mem_get(ctx, sizeof **w);
  if (!*w) return sq_rt_no_memory(ctx);
  (*w)->ctx = ctx;
  return SQ_OK;
}

static void source_close(seqm_context *ctx, source *s) {
  if (s->index.names) sq_mem_drop(ctx, s->tensor);
  for (size_t k = 0; k < s->n_file; k++) sq_safetensors_close(ctx, &s->file[k]);
  sq_mem_drop(ctx, s->file);
  sq_st_index_close(ctx, &s->index);
  *s = (source){0};
}

void sq_weights_free(sq_weights *w) {
  if (!w) return;
  for (size_t k = 0; k < w->n_source; k++) source_close(w->ctx, &w->source[k]);
  sq_mem_drop(w->ctx, w->source);
  sq_mem_drop(w->ctx, w);
}

static bool ends_with(const char *s, const char *end) {
  size_t n = strlen(s), m = strlen(end);
  return n >= m && !strcmp(s + n - m, end);
}

static int open_single(seqm_context *ctx, const char *path, source *s) {
  s->file = sq_mem_get(ctx, sizeof *s->file);
  if (!s->file) return sq_rt_no_memory(ctx);
  SQ_TRY((sq_status)sq_safetensors_open(ctx, path, s->file));
  s->n_file = 1;
  s->tensor = s->file->tensor;
  s->n = s->file->n;
  return SQ_OK;
}

static char *beside(seqm_context *ctx, const char *path, const char *name) {
  const char *slash = strrchr(path, '/');
  size_t n = slash ? (size_t)(slash - path) + 1 : 0;
  char *p = sq_mem_get(ctx, n + strlen(name) + 1);
  if (p) {
    memcpy(p, path, n);
    strcpy(p + n, name);
  }
  return p;
}

// The shard called `name`, opened when it is the first time; they are few, so a plain search.
static int shard(seqm_context *ctx, const char *index, source *s, const char *name,
                 sq_safetensors **out) {
  char *path = beside(ctx, index, name);
  if (!path) return sq_rt_no_memory(ctx);
  int status = SQ_OK;
  *out = NULL;
  for (size_t k = 0; k < s->n_file; k++)
    if (!strcmp(s->file[k].path, path)) *out = &s->file[k];
  if (!*out) {
    sq_safetensors *f = sq_mem_resize(ctx, s->file, (s->n_file + 1) * sizeof *f);
    if (!f) {
      status = sq_rt_no_memory(ctx);
    } else {
      s->file = f;
      status = sq_safetensors_open(ctx, path, &f[s->n_file]);
      if (!status) *out = &f[s->n_file++];
    }
  }
  sq_mem_drop(ctx, path);
  return status;
}

static int open_index(seqm_context *ctx, const char *path, source *s) {
  sq_map map;
  SQ_TRY((sq_status)sq_map_open(ctx, path, &map));
  int status = sq_st_index_parse(ctx, path, map.data, map.size, &s->index);
  sq_map_close(&map);
  if (status) return status;
  s->tensor = sq_mem_get_array(ctx, s->index.n, sizeof *s->tensor);
  if (!s->tensor) return sq_rt_no_memory(ctx);
  for (size_t k = 0; k < s->index.n; k++) {
    sq_st_index_row *row = &s->index.row[k];
    sq_safetensors *f;
    SQ_TRY((sq_status)shard(ctx, path, s, row->file, &f));
    sq_st_tensor *t = sq_st_find(f->tensor, f->n, row->name);
    if (!t)
      return sq_rt_fail(ctx, SQ_EMODEL, "%s: `%s` is said to be in %s, which does not have it",
                        path, row->name, row->file);
    s->tensor[s->n++] = *t;
  }
  return SQ_OK;
}

int sq_weights_add(sq_weights *w, const char *path) {
  seqm_context *ctx = w->ctx;
  source *all = sq_mem_resize(ctx, w->source, (w->n_source + 1) * sizeof *all);
  if (!all) return sq_rt_no_memory(ctx);
  w->source = all;
  source *s = &all[w->n_source];
  *s = (source){0};
  int status =
      ends_with(path, ".index.json") ? open_index(ctx, path, s) : open_single(ctx, path, s);
  if (status)
    source_close(ctx, s);
  else
    w->n_source++;
  return status;
}

void sq_weights_random(sq_weights *w, uint64_t seed) {
  w->random = true;
  w->seed = seed;
}

static sq_st_tensor *find(const sq_weights *w, const char *const *names, uint32_t n) {
  for (size_t s = 0; s < w->n_source; s++)
    for (uint32_t k = 0; k < n; k++) {
      sq_st_tensor *t = sq_st_find(w->source[s].tensor, w->source[s].n, names[k]);
      if (t) return t;
    }
  return NULL;
}

static bool shape_equal(const sq_weight_ask *ask, const sq_st_tensor *t) {
  return ask->rank == t->rank && (!t->rank || !memcmp(ask->dim, t->dim, t->rank * sizeof *t->dim));
}

static bool is_float(int dtype) { return dtype >= SEQM_F64 && dtype <= SEQM_BF16; }

static sq_weight_fault fault_of(const sq_weights *w, const sq_weight_ask *ask,
                                const sq_st_tensor *t) {
  if (!t) return w->random ? SQ_WEIGHT_OK : SQ_WEIGHT_MISSING;
  if (!shape_equal(ask, t)) return SQ_WEIGHT_SHAPE;
  bool fits = t->dtype == (int)ask->dtype || (is_float(t->dtype) && is_float((int)ask->dtype));
  return fits ? SQ_WEIGHT_OK : SQ_WEIGHT_DTYPE;
}

int sq_weights_get(sq_weights *w, const sq_weight_ask *ask, sq_weight *got) {
  sq_st_tensor *t = find(w, ask->names, ask->n_names);
  *got = (sq_weight){.found = t, .fault = fault_of(w, ask, t)};
  if (got->fault) return SQ_OK;
  if (t) t->used = true;
  size_t size = seqm_dtype_size((seqm_dtype)ask->dtype);
  if (!sq_shape_bytes(ask->dtype, ask->rank, ask->dim, &got->bytes)) return sq_rt_no_memory(w->ctx);
  bool same = t && t->dtype == (int)ask->dtype, truth = ask->dtype == SEQM_BOOL;
  if (same && !ask->own && !truth && got->bytes && (uintptr_t)t->data % size == 0) {
    got->data = t->data;
    return SQ_OK;
  }
  got->owned = sq_mem_get_aligned(w->ctx, got->bytes);
  if (!got->owned) return sq_rt_no_memory(w->ctx);
  got->data = got->owned;
  if (!t)
    sq_random_weight(w->ctx, w->seed, ask->names[0], ask->dtype, ask->rank, ask->dim, got->owned);
  else if (same && got->bytes)
    memcpy(got->owned, t->data, got->bytes);
  else if (got->bytes)
    sq_convert(w->ctx, (uint32_t)t->dtype, t->data, ask->dtype, got->owned,
               (int64_t)(got->bytes / size));
  unsigned char *b = got->owned;
  for (size_t k = 0; truth && k < got->bytes; k++) b[k] = b[k] != 0; // code counts on 0 and 1
  return SQ_OK;
}

void sq_weights_drop(sq_weights *w, sq_weight *got) {
  sq_mem_drop_aligned(w->ctx, got->owned);
  *got = (sq_weight){0};
}

void sq_weights_describe(sq_weights *w, const sq_weight_ask *ask, const sq_weight *got) {
  seqm_context *ctx = w->ctx;
  sq_message_add(ctx, "\n  ");
  for (uint32_t k = 0; k < ask->n_names; k++)
    sq_message_add(ctx, "%s`%s`", k ? " or " : "", ask->names[k]);
  sq_message_add(ctx, " ");
  sq_message_shape(ctx, (int)ask->dtype, ask->rank, ask->dim);
  const sq_st_tensor *t = got->found;
  if (!t) {
    sq_message_add(ctx, w->n_source ? ": no file has it" : ": missing");
    return;
  }
  bool other = strcmp(t->name, ask->names[0]) != 0;
  sq_message_add(ctx, ": %s has %s%s%s%s", t->file, other ? "`" : "", other ? t->name : "",
                 other ? "` as " : "", t->dtype < 0 ? t->dtype_name : "");
  sq_message_shape(ctx, t->dtype, t->rank, t->dim);
}

const sq_st_tensor *sq_weights_use(sq_weights *w, const char *const *names, uint32_t n) {
  sq_st_tensor *t = find(w, names, n);
  if (t) t->used = true;
  return t;
}

void sq_weights_forget_use(sq_weights *w) {
  for (size_t s = 0; s < w->n_source; s++)
    for (size_t k = 0; k < w->source[s].n; k++) w->source[s].tensor[k].used = false;
}

size_t sq_weights_unused(const sq_weights *w, const char **names, size_t cap) {
  size_t n = 0;
  for (size_t s = 0; s < w->n_source; s++)
    for (size_t k = 0; k < w->source[s].n; k++) {
      const sq_st_tensor *t = &w->source[s].tensor[k];
      const sq_st_tensor *first = find(w, &t->name, 1);
      if (t->used || first->used) continue;
      if (n < cap) names[n] = t->name;
      n++;
    }
  return n;
}

bool sq_weights_any(const sq_weights *w) { return w->n_source || w->random; }

size_t sq_weights_mapped(const sq_weights *w) {
  size_t n = 0;
  for (size_t s = 0; s < w->n_source; s++)
    for (size_t k = 0; k < w->source[s].n_file; k++) n += w->source[s].file[k].map.size;
  return n;
}
