// Memory where a model's kernels run: the host's, or a CUDA device's. In: what the runtime asks for.
// Out: memory there, and data from, to and within it.
//
//   model on the host      the context's allocator, memcpy
//   model on a device      the device's allocator; copies through cuda.c
//
// A device is opened when a model that needs it is first called, checked, saved or loaded, so that
// all that needs none (sizes, plans, lists) works on any machine.
#include "runtime/model.h"
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

// --- the device ---------------------------------------------------------------------------------
static int make_errors(seqm_model *m) {
  size_t bytes = (SQ_GPU_ERROR_WORDS(m->abi->n_site) + SQ_GPU_MARKS) * 8;
  const uint64_t none[SQ_GPU_HEAD] = {0};
  m->errors.words = sq_gpu_get(m->gpu, bytes);
  if (!m->errors.words) return sq_rt_fail_room(m, "%zu bytes for what may fail", bytes);
  int status = sq_rt_put(m, m->errors.words, none, sizeof none);
  if (!status) return SQ_OK;
  sq_gpu_drop(m->gpu, m->errors.words);
  m->errors.words = NULL;
  return status;
}

int sq_rt_device(seqm_model *m) {
  if (m->gpu || m->abi->device == SQ_ABI_HOST) return SQ_OK;
  if (m->abi->device != SQ_ABI_CUDA)
    return sq_rt_fail(m->ctx, SQ_EMODEL, "%s: made for a device that is not known here",
                      m->abi->name);
  SQ_TRY((sq_status)sq_gpu_open(m->ctx, &m->gpu));
  int status = make_errors(m);
  if (status) {
    m->gpu = NULL;
    return status;
  }
  sq_gpu_hold(m->gpu);
  if (m->hooks.gpu) m->hooks.gpu(m->hooks.user, &m->gpu->gpu);
  return SQ_OK;
}

static void unload(seqm_model *m, seqm_entry *e, uint32_t n) {
  for (uint32_t k = 0; e && k < n; k++) sq_gpu_record_drop(m->gpu, &e[k].record);
  for (uint32_t k = 0; e && k < n; k++)
    if (e[k].kernels != m->kernels) sq_gpu_unload(m->ctx, e[k].kernels);
}

void sq_rt_device_close(seqm_model *m) {
  if (!m->gpu) return;
  sq_rt_arena *room[] = {&m->in_room, &m->instance_room, &m->spread_room};
  for (size_t k = 0; k < sizeof room / sizeof *room; k++) sq_rt_room_drop(m, room[k]->p);
  for (uint32_t k = 0; m->mirror && k < m->n_out; k++) sq_rt_room_drop(m, m->mirror[k].p);
  unload(m, m->entry, m->abi->n_entry);
  unload(m, m->init, m->abi->n_init);
  sq_gpu_unload(m->ctx, m->kernels);
  sq_gpu_drop(m->gpu, m->errors.words);
  sq_gpu_release(m->gpu);
  m->gpu = NULL;
}

// --- memory -------------------------------------------------------------------------------------
void *sq_rt_room(seqm_model *m, size_t bytes) {
  return m->gpu ? sq_gpu_get(m->gpu, bytes) : sq_mem_get_aligned(m->ctx, bytes);
}

void sq_rt_room_drop(seqm_model *m, void *p) {
  if (m->gpu)
    sq_gpu_drop(m->gpu, p);
  else
    sq_mem_drop_aligned(m->ctx, p);
}

int sq_rt_fail_room(seqm_model *m, const char *fmt, ...) {
  char what[400];
  va_list ap;
  va_start(ap, fmt);
  vsnprintf(what, sizeof what, fmt, ap);
  va_end(ap);
  if (!m->gpu) return sq_rt_fail(m->ctx, SQ_EWORLD, "out of memory: %s", what);
  return sq_rt_fail(m->ctx, SQ_EWORLD, "no memory on %s: %s (%s)", m->gpu->name, what,
                    m->gpu->trouble);
}

static int done(seqm_model *m, int e) {
  return e ? sq_rt_fail(m->ctx, SQ_EWORLD, "%s: %s", m->gpu->name, m->gpu->trouble) : SQ_OK;
}

int sq_rt_put(seqm_model *m, void *to, const void *from, size_t bytes) {
  if (m->gpu) return done(m, sq_gpu_put(m->gpu, to, from, bytes));
  if (bytes) memcpy(to, from, bytes);
  return SQ_OK;
}

int sq_rt_take(seqm_model *m, void *to, const void *from, size_t bytes) {
  if (m->gpu) return done(m, sq_gpu_take(m->gpu, to, from, bytes));
  if (bytes) memcpy(to, from, bytes);
  return SQ_OK;
}

int sq_rt_move(seqm_model *m, void *to, const void *from, size_t bytes) {
  if (m->gpu) return done(m, sq_gpu_move(m->gpu, to, from, bytes));
  if (bytes) memmove(to, from, bytes);
  return SQ_OK;
}

int sq_rt_move_rows(seqm_model *m, void *to, size_t to_pitch, const void *from, size_t from_pitch,
                    size_t width, size_t height) {
  if (m->gpu)
    return done(m, sq_gpu_move_rows(m->gpu, to, to_pitch, from, from_pitch, width, height));
  for (size_t k = 0; k < height && width; k++)
    memcpy((char *)to + k * to_pitch, (const char *)from + k * from_pitch, width);
  return SQ_OK;
}

// --- arenas -------------------------------------------------------------------------------------
// Never shrinks. A second, larger size grows it by half as much again, so that sizes that creep up
// from call to call settle.
int sq_rt_arena_fit(seqm_model *m, sq_rt_arena *a, size_t bytes, bool keep) {
  if (bytes <= a->size) return SQ_OK;
  size_t more = a->size + a->size / 2;
  char *p = NULL;
  if (!keep) {
    sq_rt_room_drop(m, a->p);
    a->p = NULL;
  }
  if (more > bytes) p = sq_rt_room(m, more);
  if (!p) {
    more = bytes;
    p = sq_rt_room(m, more);
  }
  if (!p) {
    if (!keep) a->size = 0;
    return sq_rt_fail_room(m, "this call needs %zu bytes of scratch memory", bytes);
  }
  if (keep && a->p) {
    int status = sq_rt_move(m, p, a->p, a->size);
    sq_rt_room_drop(m, status ? p : a->p);
    SQ_TRY((sq_status)status);
  }
  a->p = p;
  a->size = more;
  return SQ_OK;
}

// --- inputs -------------------------------------------------------------------------------------
enum { APART = 256 };
static size_t input_bytes(const seqm_tensor *t) {
  size_t bytes = 0;
  sq_shape_bytes(t->dtype, t->rank, t->dim, &bytes);
  return bytes;
}

// The code may read by 16 bytes.
bool sq_rt_aligned(const seqm_tensor *t) { return (uintptr_t)t->data % 16 == 0; }

static bool is_copied(const seqm_tensor *t) { return t->device == SEQM_HOST || !sq_rt_aligned(t); }

int sq_rt_inputs(seqm_model *m, const seqm_entry *e, const seqm_tensor *in) {
  size_t all = APART, at = APART; // an input without elements points to the beginning
  for (uint32_t k = 0; k < e->abi->n_in; k++)
    if (is_copied(&in[k]) &&
        __builtin_add_overflow(all, (input_bytes(&in[k]) + APART - 1) & -(size_t)APART, &all))
      return sq_rt_no_memory(m->ctx);
  SQ_TRY((sq_status)sq_rt_arena_fit(m, &m->in_room, all, false));
  for (uint32_t k = 0; k < e->abi->n_in; k++) {
    size_t bytes = input_bytes(&in[k]);
    char *to = m->in_room.p + at;
    if (!bytes) m->in[k] = m->in_room.p;
    if (!bytes || !is_copied(&in[k])) continue;
    SQ_TRY((sq_status)(in[k].device == SEQM_HOST ? sq_rt_put(m, to, in[k].data, bytes)
                                                 : sq_rt_move(m, to, in[k].data, bytes)));
    m->in[k] = to;
    at += (bytes + APART - 1) & -(size_t)APART;
  }
  return SQ_OK;
}
