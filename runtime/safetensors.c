// Strict reader of safetensors headers and of shard indices; see safetensors.h.
#include "runtime/safetensors.h"
#include "runtime/json.h"
#include <string.h>

enum { MAX_HEADER = 100000000 };

static const struct {
  const char *name;
  int dtype;
  uint32_t bytes;
} types[] = {
    {"F64", SEQM_F64, 8},   {"F32", SEQM_F32, 4}, {"F16", SEQM_F16, 2}, {"BF16", SEQM_BF16, 2},
    {"I64", SEQM_I64, 8},   {"I32", SEQM_I32, 4}, {"I8", SEQM_I8, 1},   {"U8", SEQM_U8, 1},
    {"BOOL", SEQM_BOOL, 1}, {"I16", -1, 2},       {"U16", -1, 2},       {"U32", -1, 4},
    {"U64", -1, 8},         {"C64", -1, 8},       {"F8_E4M3", -1, 1},   {"F8_E5M2", -1, 1},
    {"F8_E8M0", -1, 1},
};
enum { N_TYPES = sizeof types / sizeof types[0] };

const char *sq_st_dtype_name(uint32_t dtype) {
  for (int k = 0; k < N_TYPES; k++)
    if (types[k].dtype == (int)dtype) return types[k].name;
  return "?";
}

// --- heap sort: the order of `less` over rows of any size, at most n log n whatever the input ---
typedef struct sorter {
  char *v;
  size_t size;
  int (*compare)(const void *a, const void *b);
} sorter;

static void swap_rows(char *a, char *b, size_t n) {
  while (n--) {
    char t = *a;
    *a++ = *b;
    *b++ = t;
  }
}

static void sift(const sorter *s, size_t k, size_t n) {
  for (size_t child; (child = 2 * k + 1) < n; k = child) {
    if (child + 1 < n && s->compare(s->v + child * s->size, s->v + (child + 1) * s->size) < 0)
      child++;
    if (s->compare(s->v + k * s->size, s->v + child * s->size) >= 0) return;
    swap_rows(s->v + k * s->size, s->v + child * s->size, s->size);
  }
}

static void sort(void *v, size_t n, size_t size, int (*compare)(const void *, const void *)) {
  sorter s = {v, size, compare};
  for (size_t k = n / 2; k--;) sift(&s, k, n);
  for (size_t k = n; k-- > 1;) {
    swap_rows(s.v, s.v + k * size, size);
    sift(&s, 0, k);
  }
}

static int by_name(const void *a, const void *b) {
  return strcmp(((const sq_st_tensor *)a)->name, ((const sq_st_tensor *)b)->name);
}
static int by_offset(const void *a, const void *b) {
  const sq_st_tensor *x = a, *y = b;
  if (x->begin != y->begin) return x->begin < y->begin ? -1 : 1;
  return (x->end > y->end) - (x->end < y->end);
}
static int row_by_name(const void *a, const void *b) {
  return strcmp(((const sq_st_index_row *)a)->name, ((const sq_st_index_row *)b)->name);
}

void sq_st_sort(sq_st_tensor *t, size_t n) { sort(t, n, sizeof *t, by_name); }

sq_st_tensor *sq_st_find(sq_st_tensor *t, size_t n, const char *name) {
  size_t lo = 0, hi = n;
  while (lo < hi) {
    size_t mid = lo + (hi - lo) / 2;
    int c = strcmp(t[mid].name, name);
    if (!c) return &t[mid];
    if (c < 0)
      lo = mid + 1;
    else
      hi = mid;
  }
  return NULL;
}

// --- the header ---------------------------------------------------------------------------------
typedef struct reader {
  seqm_context *ctx;
  sq_json j;
  const char **key; // of __metadata__
  size_t n_key, cap_key;
  sq_safetensors *f;
  size_t cap;
  bool no_memory;
} reader;

// Room for one more row of *v.
static bool room_for(reader *r, void **v, size_t n, size_t *cap, size_t size) {
  if (n < *cap) return true;
  size_t more = *cap ? *cap * 2 : 32, bytes;
  void *p = __builtin_mul_overflow(more, size, &bytes) ? NULL : sq_mem_resize(r->ctx, *v, bytes);
  if (!p) {
    r->no_memory = true;
    return sq_json_fail(&r->j, "out of memory");
  }
  *v = p;
  *cap = more;
  return true;
}

static int key_order(const void *a, const void *b) {
  return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static bool read_metadata(reader *r) {
  const char *key, *value;
  bool first = true;
  if (!sq_json_need(&r->j, '{')) return false;
  while (sq_json_more(&r->j, &first, '}')) {
    if (!sq_json_string(&r->j, &key) || !sq_json_need(&r->j, ':') ||
        !sq_json_string(&r->j, &value) ||
        !room_for(r, (void **)&r->key, r->n_key, &r->cap_key, sizeof *r->key))
      return false;
    r->key[r->n_key++] = key;
  }
  if (r->j.fault) return false;
  if (r->n_key) sort(r->key, r->n_key, sizeof *r->key, key_order);
  for (size_t k = 1; k < r->n_key; k++)
    if (!strcmp(r->key[k], r->key[k - 1]))
      return sq_json_fail(&r->j, "a key stands twice in __metadata__");
  return true;
}

static bool read_dtype(reader *r, sq_st_tensor *t, uint32_t *size) {
  const char *name;
  if (!sq_json_string(&r->j, &name)) return false;
  for (int k = 0; k < N_TYPES; k++)
    if (!strcmp(types[k].name, name)) {
      t->dtype_name = types[k].name;
      t->dtype = types[k].dtype;
      *size = types[k].bytes;
      return true;
    }
  return sq_json_fail(&r->j, "an unknown dtype");
}

static bool read_shape(reader *r, sq_st_tensor *t) {
  bool first = true;
  if (!sq_json_need(&r->j, '[')) return false;
  while (sq_json_more(&r->j, &first, ']')) {
    if (t->rank == SEQM_MAX_RANK) return sq_json_fail(&r->j, "more than 12 axes");
    if (!sq_json_integer(&r->j, &t->dim[t->rank++])) return false;
  }
  return !r->j.fault;
}

static bool read_offsets(reader *r, sq_st_tensor *t) {
  int64_t v[2];
  int n = 0;
  bool first = true;
  if (!sq_json_need(&r->j, '[')) return false;
  while (sq_json_more(&r->j, &first, ']')) {
    if (n == 2) return sq_json_fail(&r->j, "more than two data_offsets");
    if (!sq_json_integer(&r->j, &v[n++])) return false;
  }
  if (r->j.fault) return false;
  if (n != 2) return sq_json_fail(&r->j, "two data_offsets are wanted");
  t->begin = (uint64_t)v[0];
  t->end = (uint64_t)v[1];
  return t->begin <= t->end || sq_json_fail(&r->j, "data_offsets that end before they begin");
}

static bool shape_fits(reader *r, sq_st_tensor *t, uint32_t size) {
  uint64_t n = size;
  bool empty = false;
  for (uint32_t k = 0; k < t->rank; k++) empty |= t->dim[k] == 0;
  for (uint32_t k = 0; k < t->rank && !empty; k++)
    if (__builtin_mul_overflow(n, (uint64_t)t->dim[k], &n))
      return sq_json_fail(&r->j, "a shape with more bytes than 64 bits can count");
  if (empty) n = 0;
  t->bytes = (size_t)n;
  return n == t->end - t->begin ||
         sq_json_fail(&r->j, "data_offsets that do not hold as many bytes as the shape says");
}

static bool read_tensor(reader *r, const char *name) {
  enum { DTYPE = 1, SHAPE = 2, OFFSETS = 4 };
  sq_st_tensor t = {.name = name, .file = r->f->path};
  const char *key;
  uint32_t seen = 0, size = 0;
  bool first = true;
  if (!sq_json_need(&r->j, '{')) return false;
  while (sq_json_more(&r->j, &first, '}')) {
    char *room = r->j.room;
    if (!sq_json_string(&r->j, &key) || !sq_json_need(&r->j, ':')) return false;
    uint32_t which = !strcmp(key, "dtype")          ? DTYPE
                     : !strcmp(key, "shape")        ? SHAPE
                     : !strcmp(key, "data_offsets") ? OFFSETS
                                                    : 0;
    if (!which) return sq_json_fail(&r->j, "an unknown key in a tensor");
    if (seen & which) return sq_json_fail(&r->j, "a key stands twice in a tensor");
    seen |= which;
    if (which == DTYPE   ? !read_dtype(r, &t, &size)
        : which == SHAPE ? !read_shape(r, &t)
                         : !read_offsets(r, &t))
      return false;
    r->j.room = room;
  }
  if (r->j.fault) return false;
  if (seen != (DTYPE | SHAPE | OFFSETS))
    return sq_json_fail(&r->j, "a tensor without dtype, shape or data_offsets");
  if (!shape_fits(r, &t, size) || !room_for(r, (void **)&r->f->tensor, r->f->n, &r->cap, sizeof t))
    return false;
  r->f->tensor[r->f->n++] = t;
  return true;
}

static bool read_header(reader *r) {
  bool first = true, metadata = false;
  const char *name;
  if (r->j.fault || r->j.p == r->j.end || *r->j.p != '{')
    return sq_json_fail(&r->j, "an object `{` is wanted here");
  sq_json_take(&r->j, '{');
  while (sq_json_more(&r->j, &first, '}')) {
    if (!sq_json_string(&r->j, &name) || !sq_json_need(&r->j, ':')) return false;
    if (!strcmp(name, "__metadata__")) {
      if (metadata) return sq_json_fail(&r->j, "__metadata__ stands twice");
      metadata = true;
      if (!read_metadata(r)) return false;
    } else {
      if (!*name) return sq_json_fail(&r->j, "an empty name");
      if (!read_tensor(r, name)) return false;
    }
  }
  if (r->j.fault) return false;
  while (r->j.p < r->j.end && *r->j.p == ' ') r->j.p++;
  return r->j.p == r->j.end || sq_json_fail(&r->j, "something follows the header's object");
}

// The data must be covered exactly once.
static int place_data(reader *r, const unsigned char *data, uint64_t size) {
  sq_safetensors *f = r->f;
  uint64_t at = 0;
  if (f->n) sort(f->tensor, f->n, sizeof *f->tensor, by_offset);
  for (size_t k = 0; k < f->n; k++) {
    sq_st_tensor *t = &f->tensor[k];
    if (t->begin != at || t->end > size)
      return sq_rt_fail(r->ctx, SQ_EMODEL, "%s: `%s` has the bytes %llu to %llu of %llu, but %s",
                        f->path, t->name, (unsigned long long)t->begin, (unsigned long long)t->end,
                        (unsigned long long)size,
                        t->begin < at   ? "they overlap those of another tensor"
                        : t->begin > at ? "nothing has the bytes before them"
                                        : "the file ends before that (is it cut short?)");
    t->data = data + t->begin;
    at = t->end;
  }
  if (at != size)
    return sq_rt_fail(r->ctx, SQ_EMODEL, "%s: %llu bytes follow the data of the last tensor",
                      f->path, (unsigned long long)(size - at));
  if (f->n) sq_st_sort(f->tensor, f->n);
  for (size_t k = 1; k < f->n; k++)
    if (!strcmp(f->tensor[k].name, f->tensor[k - 1].name))
      return sq_rt_fail(r->ctx, SQ_EMODEL, "%s: `%s` stands twice in the header", f->path,
                        f->tensor[k].name);
  return SQ_OK;
}

static int parse(seqm_context *ctx, const unsigned char *data, size_t size, sq_safetensors *f) {
  uint64_t n = 0;
  if (size < 8)
    return sq_rt_fail(ctx, SQ_EMODEL, "%s: not a safetensors file: %zu bytes are too few", f->path,
                      size);
  for (int k = 8; k--;) n = n << 8 | data[k];
  if (n > MAX_HEADER || n > size - 8)
    return sq_rt_fail(
        ctx, SQ_EMODEL,
        "%s: not a safetensors file, or cut short: a header of %llu bytes in a file of "
        "%zu",
        f->path, (unsigned long long)n, size);
  f->names = sq_mem_resize(ctx, NULL, (size_t)n + 1);
  if (!f->names) return sq_rt_no_memory(ctx);
  reader r = {.ctx = ctx, .f = f};
  sq_json_start(&r.j, (const char *)data + 8, (size_t)n, f->names);
  bool ok = read_header(&r);
  sq_mem_drop(ctx, r.key);
  if (r.no_memory) return sq_rt_no_memory(ctx);
  if (!ok)
    return sq_rt_fail(ctx, SQ_EMODEL, "%s: safetensors header, byte %zu: %s", f->path, r.j.at + 8,
                      r.j.fault);
  return place_data(&r, data + 8 + n, size - 8 - n);
}

int sq_safetensors_parse(seqm_context *ctx, const char *path, const void *data, size_t size,
                         sq_safetensors *f) {
  *f = (sq_safetensors){.path = sq_mem_text(ctx, path)};
  int status = f->path ? parse(ctx, data, size, f) : sq_rt_no_memory(ctx);
  if (status) sq_safetensors_close(ctx, f);
  return status;
}

int sq_safetensors_open(seqm_context *ctx, const char *path, sq_safetensors *f) {
  sq_map map;
  *f = (sq_safetensors){0};
  int status = sq_map_open(ctx, path, &map);
  if (status) return status;
  status = sq_safetensors_parse(ctx, path, map.data, map.size, f);
  if (status)
    sq_map_close(&map);
  else
    f->map = map;
  return status;
}

void sq_safetensors_close(seqm_context *ctx, sq_safetensors *f) {
  sq_map_close(&f->map);
  sq_mem_drop(ctx, f->path);
  sq_mem_drop(ctx, f->names);
  sq_mem_drop(ctx, f->tensor);
  *f = (sq_safetensors){0};
}

// --- shard indices ------------------------------------------------------------------------------
static bool path_stays_inside(const char *s) {
  if (!*s || *s == '/' || strchr(s, '\\')) return false;
  for (const char *p = s; p; p = strchr(p, '/')) {
    if (*p == '/') p++;
    if (p[0] == '.' && p[1] == '.' && (!p[2] || p[2] == '/')) return false;
  }
  return true;
}

static bool read_weight_map(reader *r, sq_st_index *x) {
  bool first = true;
  if (!sq_json_need(&r->j, '{')) return false;
  while (sq_json_more(&r->j, &first, '}')) {
    sq_st_index_row row;
    if (!sq_json_string(&r->j, &row.name) || !sq_json_need(&r->j, ':') ||
        !sq_json_string(&r->j, &row.file) ||
        !room_for(r, (void **)&x->row, x->n, &r->cap, sizeof row))
      return false;
    if (!*row.name) return sq_json_fail(&r->j, "an empty name");
    if (!path_stays_inside(row.file))
      return sq_json_fail(&r->j, "a file outside the folder of the index");
    x->row[x->n++] = row;
  }
  if (r->j.fault) return false;
  if (x->n) sort(x->row, x->n, sizeof *x->row, row_by_name);
  for (size_t k = 1; k < x->n; k++)
    if (!strcmp(x->row[k].name, x->row[k - 1].name))
      return sq_json_fail(&r->j, "a name stands twice in weight_map");
  return true;
}

static bool read_index(reader *r, sq_st_index *x) {
  bool first = true, map = false, metadata = false;
  const char *key;
  if (!sq_json_need(&r->j, '{')) return false;
  while (sq_json_more(&r->j, &first, '}')) {
    if (!sq_json_string(&r->j, &key) || !sq_json_need(&r->j, ':')) return false;
    bool *seen = !strcmp(key, "weight_map") ? &map : !strcmp(key, "metadata") ? &metadata : NULL;
    if (!seen) return sq_json_fail(&r->j, "an unknown key: weight_map and metadata are known");
    if (*seen) return sq_json_fail(&r->j, "a key stands twice");
    *seen = true;
    if (seen == &map ? !read_weight_map(r, x) : !sq_json_skip(&r->j)) return false;
  }
  if (r->j.fault || !sq_json_end(&r->j)) return false;
  return map || sq_json_fail(&r->j, "no weight_map");
}

int sq_st_index_parse(seqm_context *ctx, const char *path, const void *data, size_t size,
                      sq_st_index *x) {
  *x = (sq_st_index){0};
  if (size > MAX_HEADER)
    return sq_rt_fail(ctx, SQ_EMODEL, "%s: %zu bytes are too many for an index", path, size);
  x->names = sq_mem_resize(ctx, NULL, size + 1);
  if (!x->names) return sq_rt_no_memory(ctx);
  reader r = {.ctx = ctx};
  sq_json_start(&r.j, size ? data : "", size, x->names);
  bool ok = !r.j.fault && read_index(&r, x);
  int status = SQ_OK;
  if (r.no_memory)
    status = sq_rt_no_memory(ctx);
  else if (!ok)
    status = sq_rt_fail(ctx, SQ_EMODEL, "%s: byte %zu: %s", path, r.j.at, r.j.fault);
  if (status) sq_st_index_close(ctx, x);
  return status;
}

void sq_st_index_close(seqm_context *ctx, sq_st_index *x) {
  sq_mem_drop(ctx, x->names);
  sq_mem_drop(ctx, x->row);
  *x = (sq_st_index){0};
}
