// States to and from a safetensors file. Saved are all states but derived ones, and the parameters
// that entries write, as far as they are loaded (so a training run resumes, and the file serves as
// a weight file too). Loading is strict: every state must be there with its dtype and shape,
// nothing unknown may be; growing axes may have any extent, one for all instances. A file that does
// not fit changes nothing.
#include "runtime/model.h"
#include <stdio.h>
#include <string.h>

// One tensor of a snapshot: instance `k` of state `s`, or of parameter `p`.
typedef struct item {
  const char *name;
  const char *prefix; // tells a parameter from a state of the same name
  uint32_t dtype, rank;
  int64_t dim[SEQM_MAX_RANK];
  size_t bytes;
  const void *data;
} item;

static void item_of_state(const seqm_model *m, uint32_t s, uint32_t k, item *i) {
  const sq_abi_state *a = &m->abi->state[s];
  *i = (item){.name = a->names[k],
              .prefix = "",
              .dtype = a->dtype,
              .rank = a->rank,
              .bytes = sq_rt_state_size(m, s),
              .data = m->cell[a->row + k].data};
  for (uint32_t d = 0; d < a->rank; d++)
    i->dim[d] = (int32_t)d == a->grow_axis ? m->state[s].extent : a->dim[d];
}

static bool state_is_named(const seqm_model *m, const char *name) {
  for (uint32_t s = 0; s < m->abi->n_state; s++)
    for (uint32_t k = 0; k < m->abi->state[s].count; k++)
      if (!strcmp(m->abi->state[s].names[k], name)) return true;
  return false;
}

static bool item_of_param(const seqm_model *m, uint32_t p, uint32_t k, item *i) {
  const sq_abi_param *a = &m->abi->param[p];
  if (!a->written || !a->n_alt) return false;
  *i = (item){.name = a->names[(size_t)k * a->n_alt],
              .dtype = a->dtype,
              .rank = a->rank,
              .data = m->param[a->row + k]};
  i->prefix = state_is_named(m, i->name) ? "param:" : "";
  for (uint32_t d = 0; d < a->rank; d++) i->dim[d] = a->dim[d];
  return sq_shape_bytes(a->dtype, a->rank, a->dim, &i->bytes);
}

// Calls `visit` for every tensor that there is to save.
typedef int (*visit)(void *user, const item *i);
static int for_each(const seqm_model *m, visit fn, void *user) {
  item i;
  for (uint32_t s = 0; s < m->abi->n_state; s++)
    for (uint32_t k = 0; !m->abi->state[s].derived && k < m->abi->state[s].count; k++) {
      item_of_state(m, s, k, &i);
      SQ_TRY((sq_status)fn(user, &i));
    }
  for (uint32_t p = 0; p < m->abi->n_param; p++)
    for (uint32_t k = 0; k < m->abi->param[p].count; k++)
      if (item_of_param(m, p, k, &i) && i.data) SQ_TRY((sq_status)fn(user, &i));
  return SQ_OK;
}

// --- writing ------------------------------------------------------------------------------------
enum { PART = 4 << 20 };
typedef struct writer {
  seqm_context *ctx;
  seqm_model *m;
  char *part; // of a device's memory, on its way to the file
  char *text;
  size_t n, cap;
  uint64_t at;
  bool failed, first;
  sq_output file;
} writer;

static void put(writer *w, const char *s, size_t n) {
  if (w->n + n > w->cap) {
    size_t cap = (w->n + n) * 2 + 256;
    char *t = sq_mem_resize(w->ctx, w->text, cap);
    if (!t) {
      w->failed = true;
      return;
    }
    w->text = t;
    w->cap = cap;
  }
  memcpy(w->text + w->n, s, n);
  w->n += n;
}

static void put_text(writer *w, const char *s) { put(w, s, strlen(s)); }

static void put_number(writer *w, uint64_t v) {
  char t[24];
  put(w, t, (size_t)snprintf(t, sizeof t, "%llu", (unsigned long long)v));
}

static void put_escaped(writer *w, const char *s) {
  char t[8];
  for (; *s; s++)
    if (*s == '"' || *s == '\\')
      put(w, (char[]){'\\', *s}, 2);
    else if ((unsigned char)*s < 0x20)
      put(w, t, (size_t)snprintf(t, sizeof t, "\\u%04x", (unsigned)*s));
    else
      put(w, s, 1);
}

static int put_header(void *user, const item *i) {
  writer *w = user;
  put_text(w, ",\"");
  put_escaped(w, i->prefix);
  put_escaped(w, i->name);
  put_text(w, "\":{\"dtype\":\"");
  put_text(w, sq_st_dtype_name(i->dtype));
  put_text(w, "\",\"shape\":[");
  for (uint32_t d = 0; d < i->rank; d++) {
    if (d) put_text(w, ",");
    put_number(w, (uint64_t)i->dim[d]);
  }
  put_text(w, "],\"data_offsets\":[");
  put_number(w, w->at);
  put_text(w, ",");
  put_number(w, w->at += i->bytes);
  put_text(w, "]}");
  return w->failed ? sq_rt_no_memory(w->ctx) : SQ_OK;
}

static int put_data(void *user, const item *i) {
  writer *w = user;
  if (!w->m->gpu) return sq_output_write(&w->file, i->data, i->bytes);
  for (size_t at = 0; at < i->bytes;) {
    size_t n = i->bytes - at < PART ? i->bytes - at : PART;
    SQ_TRY((sq_status)sq_rt_take(w->m, w->part, (const char *)i->data + at, n));
    SQ_TRY((sq_status)sq_output_write(&w->file, w->part, n));
    at += n;
  }
  return SQ_OK;
}

static int write_all(seqm_model *m, writer *w) {
  put_text(w, "{\"__metadata__\":{\"format\":\"seqm state\",\"model\":\"");
  put_escaped(w, m->abi->name);
  put_text(w, "\"}");
  SQ_TRY((sq_status)for_each(m, put_header, w));
  put_text(w, "}");
  while (w->n % 64 != 56 && !w->failed) put_text(w, " "); // the data begin at a multiple of 64
  if (w->failed) return sq_rt_no_memory(w->ctx);
  unsigned char size[8];
  for (int k = 0; k < 8; k++) size[k] = (unsigned char)((uint64_t)w->n >> (8 * k));
  SQ_TRY((sq_status)sq_output_write(&w->file, size, 8));
  SQ_TRY((sq_status)sq_output_write(&w->file, w->text, w->n));
  return for_each(m, put_data, w);
}

int seqm_save_state(seqm_model *m, const char *path) {
  sq_message_clear(m->ctx);
  SQ_TRY((sq_status)sq_rt_given(m->ctx, path, "the path of the state"));
  SQ_TRY((sq_status)sq_rt_device(m));
  for (uint32_t s = 0; s < m->abi->n_state; s++)
    if (!m->abi->state[s].derived) SQ_TRY((sq_status)sq_rt_state_ready(m, s));
  writer w = {.ctx = m->ctx, .m = m};
  SQ_TRY((sq_status)sq_output_open(m->ctx, path, &w.file));
  if (m->gpu) w.part = sq_mem_get_aligned(m->ctx, PART);
  int status = m->gpu && !w.part ? sq_rt_no_memory(m->ctx) : write_all(m, &w);
  if (status)
    sq_output_drop(&w.file);
  else
    status = sq_output_done(&w.file);
  sq_mem_drop_aligned(m->ctx, w.part);
  sq_mem_drop(m->ctx, w.text);
  return status;
}

// --- reading ------------------------------------------------------------------------------------
typedef struct loader {
  seqm_model *m;
  sq_safetensors f;
  size_t used;
} loader;

static int fail_item(const loader *l, const item *i, const sq_st_tensor *t) {
  seqm_context *ctx = l->m->ctx;
  sq_rt_fail(ctx, SQ_EMODEL, "%s: `%s%s` should be ", l->f.path, i->prefix, i->name);
  sq_message_shape(ctx, (int)i->dtype, i->rank, i->dim);
  sq_message_add(ctx, ", but is %s", t->dtype < 0 ? t->dtype_name : "");
  sq_message_shape(ctx, t->dtype, t->rank, t->dim);
  return SQ_EMODEL;
}

static bool fits(const item *i, const sq_st_tensor *t, int32_t free_axis) {
  bool ok = t->dtype == (int)i->dtype && t->rank == i->rank;
  for (uint32_t d = 0; ok && d < i->rank; d++)
    ok = (int32_t)d == free_axis || t->dim[d] == i->dim[d];
  return ok;
}

static sq_st_tensor *find_state(const loader *l, uint32_t s, uint32_t k) {
  return sq_st_find(l->f.tensor, l->f.n, l->m->abi->state[s].names[k]);
}

static sq_st_tensor *find_param(const loader *l, const item *i) {
  char name[512];
  if ((size_t)snprintf(name, sizeof name, "%s%s", i->prefix, i->name) >= sizeof name) return NULL;
  return sq_st_find(l->f.tensor, l->f.n, name);
}

static int check_state(loader *l, uint32_t s) {
  const sq_abi_state *a = &l->m->abi->state[s];
  int64_t extent = -1;
  for (uint32_t k = 0; k < a->count; k++) {
    item i;
    item_of_state(l->m, s, k, &i);
    sq_st_tensor *t = find_state(l, s, k);
    if (!t)
      return sq_rt_fail(l->m->ctx, SQ_EMODEL, "%s: state `%s` of `%s` is missing", l->f.path,
                        i.name, l->m->abi->name);
    if (extent >= 0 && a->grow_axis >= 0) i.dim[a->grow_axis] = extent;
    if (!fits(&i, t, extent < 0 ? a->grow_axis : -1)) return fail_item(l, &i, t);
    if (a->grow_axis >= 0) extent = t->dim[a->grow_axis];
    l->used++;
  }
  return SQ_OK;
}

static int check_params(loader *l) {
  item i;
  for (uint32_t p = 0; p < l->m->abi->n_param; p++)
    for (uint32_t k = 0; k < l->m->abi->param[p].count; k++) {
      if (!item_of_param(l->m, p, k, &i)) continue;
      sq_st_tensor *t = find_param(l, &i);
      if (!t) continue;
      if (!fits(&i, t, -1)) return fail_item(l, &i, t);
      t->used = true;
      l->used++;
    }
  return SQ_OK;
}

static int fail_unknown(const loader *l) {
  for (size_t k = 0; k < l->f.n; k++) {
    const char *name = l->f.tensor[k].name;
    if (!l->f.tensor[k].used && !state_is_named(l->m, name))
      return sq_rt_fail(l->m->ctx, SQ_EMODEL, "%s: `%s` is no state of `%s`", l->f.path, name,
                        l->m->abi->name);
  }
  return sq_rt_fail(l->m->ctx, SQ_EMODEL, "%s: has a state that is not saved", l->f.path);
}

static bool grows(const seqm_model *m, uint32_t s) {
  return !m->abi->state[s].derived && m->abi->state[s].grow_axis >= 0 && m->abi->state[s].count;
}

static int64_t extent_in_file(const loader *l, uint32_t s) {
  return find_state(l, s, 0)->dim[l->m->abi->state[s].grow_axis];
}

// All that can fail.
static int make_room(loader *l) {
  seqm_model *m = l->m;
  for (uint32_t s = 0; s < m->abi->n_state; s++) {
    if (grows(m, s)) {
      SQ_TRY((sq_status)sq_rt_state_ready(m, s)); // computes what new rows will be
      SQ_TRY((sq_status)sq_rt_state_rows_room(m, s, extent_in_file(l, s)));
    } else if (!m->abi->state[s].derived) {
      SQ_TRY((sq_status)sq_rt_state_room(m, s));
    }
  }
  item i;
  for (uint32_t p = 0; p < m->abi->n_param; p++)
    for (uint32_t k = 0; k < m->abi->param[p].count; k++)
      if (item_of_param(m, p, k, &i) && find_param(l, &i))
        SQ_TRY((sq_status)sq_rt_param_room(m, m->abi->param[p].row + k, i.bytes));
  return SQ_OK;
}

// On the host nothing here can fail.
static int take(loader *l) {
  seqm_model *m = l->m;
  sq_rt_scalars_forget(m);
  for (uint32_t s = 0; s < m->abi->n_state; s++) {
    const sq_abi_state *a = &m->abi->state[s];
    if (a->derived) continue;
    if (grows(m, s)) SQ_TRY((sq_status)sq_rt_state_rows(m, s, extent_in_file(l, s)));
    for (uint32_t k = 0; k < a->count; k++) {
      const sq_st_tensor *t = find_state(l, s, k);
      SQ_TRY((sq_status)sq_rt_put(m, m->cell[a->row + k].data, t->data, t->bytes));
    }
    sq_rt_state_set_ready(m, s);
  }
  item i;
  for (uint32_t p = 0; p < m->abi->n_param; p++)
    for (uint32_t k = 0; k < m->abi->param[p].count; k++) {
      const sq_st_tensor *t = item_of_param(m, p, k, &i) ? find_param(l, &i) : NULL;
      if (t) SQ_TRY((sq_status)sq_rt_param_set(m, m->abi->param[p].row + k, t->data, t->bytes));
    }
  return SQ_OK;
}

static int load(loader *l) {
  for (uint32_t s = 0; s < l->m->abi->n_state; s++)
    if (!l->m->abi->state[s].derived) SQ_TRY((sq_status)check_state(l, s));
  SQ_TRY((sq_status)check_params(l));
  if (l->used != l->f.n) return fail_unknown(l);
  SQ_TRY((sq_status)make_room(l));
  return take(l);
}

int seqm_load_state(seqm_model *m, const char *path) {
  sq_message_clear(m->ctx);
  SQ_TRY((sq_status)sq_rt_given(m->ctx, path, "the path of the state"));
  SQ_TRY((sq_status)sq_rt_device(m));
  loader l = {.m = m};
  SQ_TRY((sq_status)sq_safetensors_open(m->ctx, path, &l.f));
  int status = load(&l);
  sq_safetensors_close(m->ctx, &l.f);
  return status;
}
