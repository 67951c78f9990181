// States: room, first values, growth, reset.
//
// A first value is computed by the model's init function when an entry that touches the state is
// called for the first time, and after a reset likewise; a derived one once. The instances of a
// growing state share one extent; each is dense, outer x extent x inner, so a growth along an inner
// axis moves what is there:
//
//   heads x 2 x d   a a | b b          ->  heads x 3 x d   a a r | b b r        r: from the init
//   row
//
// Room doubles, extents are exact.
#include "runtime/file.h"
#include "runtime/model.h"
#include <string.h>

// --- making -------------------------------------------------------------------------------------
static bool measure(const sq_abi_state *a, sq_rt_state *s) {
  int64_t dim[SEQM_MAX_RANK];
  s->outer = 1;
  s->inner = seqm_dtype_size((seqm_dtype)a->dtype);
  for (uint32_t k = 0; k < a->rank; k++) dim[k] = (int32_t)k == a->grow_axis ? 1 : a->dim[k];
  if (!sq_shape_bytes(a->dtype, a->rank, dim, &s->bytes)) return false;
  for (uint32_t k = 0; k < a->rank && a->grow_axis >= 0; k++)
    if ((int32_t)k < a->grow_axis)
      s->outer *= (size_t)dim[k];
    else
      s->inner *= (size_t)dim[k];
  return true;
}

static bool sees_written(const sq_abi_model *d, const sq_abi_entry *init) {
  for (uint32_t k = 0; k < init->n_param; k++)
    if (d->param[init->param[k]].written) return true;
  return false;
}

int sq_rt_states_new(seqm_model *m) {
  const sq_abi_model *d = m->abi;
  m->state = sq_mem_get_array(m->ctx, d->n_state, sizeof *m->state);
  if (!m->state) return sq_rt_no_memory(m->ctx);
  for (uint32_t k = 0; k < d->n_state; k++) {
    uint32_t end = d->state[k].row + d->state[k].count;
    if (end > m->n_cell) m->n_cell = end;
  }
  m->cell = sq_mem_get_array(m->ctx, m->n_cell, sizeof *m->cell);
  m->scalar = sq_mem_get_array(m->ctx, m->n_cell, sizeof *m->scalar);
  if (!m->cell || !m->scalar) return sq_rt_no_memory(m->ctx);
  for (uint32_t k = 0; k < d->n_state; k++) {
    sq_rt_state *s = &m->state[k];
    if (!measure(&d->state[k], s))
      return sq_rt_fail(m->ctx, SQ_EMODEL, "%s: state `%s` is too large", d->name,
                        d->state[k].name);
    s->sees_written = sees_written(d, &d->init[d->state[k].init]);
    m->n_pending++;
    if (d->state[k].grow_axis < 0) continue;
    s->row = sq_mem_get_array(m->ctx, d->state[k].count, sizeof *s->row);
    s->capacity = sq_mem_get_array(m->ctx, d->state[k].count, sizeof *s->capacity);
    if (!s->row || !s->capacity) return sq_rt_no_memory(m->ctx);
  }
  return SQ_OK;
}

void sq_rt_states_free(seqm_model *m) {
  for (uint32_t k = 0; m->state && m->cell && k < m->abi->n_state; k++) {
    sq_rt_state *s = &m->state[k];
    for (uint32_t j = 0; !s->block && j < m->abi->state[k].count; j++)
      sq_rt_room_drop(m, m->cell[m->abi->state[k].row + j].data);
    sq_rt_room_drop(m, s->block);
    for (uint32_t j = 0; s->row && j < m->abi->state[k].count; j++) sq_rt_room_drop(m, s->row[j]);
    sq_mem_drop(m->ctx, s->row);
    sq_mem_drop(m->ctx, s->capacity);
  }
  sq_mem_drop(m->ctx, m->state);
  sq_mem_drop(m->ctx, m->cell);
  sq_mem_drop(m->ctx, m->scalar);
}

void sq_rt_scalars_forget(seqm_model *m) {
  for (uint32_t k = 0; k < m->n_cell; k++) m->scalar[k].valid = 0;
}

size_t sq_rt_states_bytes(const seqm_model *m) {
  size_t n = 0;
  for (uint32_t k = 0; k < m->abi->n_state; k++)
    for (uint32_t j = 0; j < m->abi->state[k].count; j++) {
      const sq_rt_state *s = &m->state[k];
      if (m->cell[m->abi->state[k].row + j].data) n += s->capacity ? s->capacity[j] : s->bytes;
      if (s->row && s->row[j]) n += s->bytes;
    }
  return n;
}

size_t sq_rt_state_size(const seqm_model *m, uint32_t s) {
  const sq_rt_state *t = &m->state[s];
  return m->abi->state[s].grow_axis < 0 ? t->bytes : t->outer * (size_t)t->extent * t->inner;
}

// --- first values -------------------------------------------------------------------------------
static int fail_state(seqm_model *m, const sq_abi_state *a, size_t bytes) {
  return sq_rt_fail_room(m, "state `%s` needs %zu bytes", a->name, bytes);
}

// What is computed once lies together: large pages, few faults.
static int block_room(seqm_model *m, const sq_abi_state *a, sq_rt_state *t) {
  size_t each = (t->bytes + SQ_ALIGN - 1) & ~(size_t)(SQ_ALIGN - 1), all;
  if (t->block) return SQ_OK;
  if (__builtin_mul_overflow(each, (size_t)a->count, &all)) return sq_rt_no_memory(m->ctx);
  t->block = sq_rt_room(m, all);
  if (!t->block) return fail_state(m, a, all);
  for (uint32_t k = 0; k < a->count; k++) m->cell[a->row + k].data = t->block + k * each;
  return SQ_OK;
}

int sq_rt_state_room(seqm_model *m, uint32_t s) {
  const sq_abi_state *a = &m->abi->state[s];
  sq_rt_state *t = &m->state[s];
  if (a->derived && !t->row) return block_room(m, a, t);
  for (uint32_t k = 0; k < a->count; k++) {
    char **p = t->row ? &t->row[k] : &m->cell[a->row + k].data;
    if (!*p) *p = sq_rt_room(m, t->bytes);
    if (!*p) return fail_state(m, a, t->bytes);
    if (t->row && !m->cell[a->row + k].data) {
      m->cell[a->row + k].data = sq_rt_room(m, 0);
      if (!m->cell[a->row + k].data) return fail_state(m, a, 0);
    }
  }
  return SQ_OK;
}

void sq_rt_state_set_ready(seqm_model *m, uint32_t s) {
  if (m->state[s].phase != SQ_STATE_READY) m->n_pending--;
  m->state[s].phase = SQ_STATE_READY;
}

static int init_params(seqm_model *m, const sq_abi_entry *init, const char *who) {
  bool bound = true;
  memset(m->mark, 0, m->abi->n_param);
  for (uint32_t k = 0; k < init->n_param; k++) {
    const sq_abi_param *p = &m->abi->param[init->param[k]];
    m->mark[init->param[k]] = 1;
    for (uint32_t j = 0; j < p->count; j++) bound &= m->param[p->row + j] != NULL;
  }
  return bound ? SQ_OK : sq_rt_bind_params(m, who);
}

static int check_init(seqm_model *m, uint32_t s, const seqm_entry *init) {
  const sq_abi_state *a = &m->abi->state[s];
  seqm_tensor t;
  size_t bytes = 0;
  sq_rt_start_symbols(m, m->init_sym);
  bool fits = init->abi->n_out == 1 && init->abi->n_in == (a->has_instances ? 1u : 0u);
  if (fits) SQ_TRY((sq_status)sq_rt_output_shape(m, init, 0, m->init_sym, &t, &bytes));
  if (fits && bytes == m->state[s].bytes) return SQ_OK;
  return sq_rt_fail(m->ctx, SQ_EMODEL, "%s: damaged: the first value of state `%s`", m->abi->name,
                    a->name);
}

// The init of a derived state runs once: the pages of files that it read need not stay.
static void forget_params(seqm_model *m, const sq_abi_entry *init, uint32_t instance) {
  for (uint32_t k = 0; k < init->n_param; k++) {
    const sq_abi_param *p = &m->abi->param[init->param[k]];
    uint32_t row = p->row + (p->count > instance ? instance : 0);
    size_t bytes;
    if (m->gpu || p->written || m->param_owned[row] || !m->param[row]) continue;
    if (sq_shape_bytes(p->dtype, p->rank, p->dim, &bytes)) sq_map_forget(m->param[row], bytes);
  }
}

// Where the kernels run.
static int instance_there(seqm_model *m, int32_t instance, const void **in) {
  SQ_TRY((sq_status)sq_rt_arena_fit(m, &m->instance_room, sizeof instance, false));
  *in = m->instance_room.p;
  return sq_rt_put(m, m->instance_room.p, &instance, sizeof instance);
}

static int compute(seqm_model *m, uint32_t s) {
  const sq_abi_state *a = &m->abi->state[s];
  sq_rt_state *t = &m->state[s];
  seqm_entry *init = &m->init[a->init];
  for (uint32_t k = 0; k < init->abi->n_state; k++)
    if (init->abi->state[k] != s) SQ_TRY((sq_status)sq_rt_state_ready(m, init->abi->state[k]));
  SQ_TRY((sq_status)init_params(m, init->abi, a->name));
  SQ_TRY((sq_status)sq_rt_prepare_code(m, init));
  SQ_TRY((sq_status)sq_rt_state_room(m, s));
  SQ_TRY((sq_status)check_init(m, s, init));
  for (uint32_t k = 0; k < a->count; k++) {
    int32_t instance = (int32_t)k;
    const void *in[1] = {&instance}, *host_in[1] = {&instance};
    if (m->gpu) SQ_TRY((sq_status)instance_there(m, instance, in));
    void *out[1] = {t->row ? t->row[k] : m->cell[a->row + k].data};
    sq_rt_start_symbols(m, m->init_sym);
    SQ_TRY((sq_status)sq_rt_run(m, init, m->init_sym, &m->init_arena, in, host_in, out));
    if (a->derived) forget_params(m, init->abi, k);
  }
  t->extent = 0;
  sq_rt_scalars_forget(m);
  return SQ_OK;
}

int sq_rt_state_ready(seqm_model *m, uint32_t s) {
  sq_rt_state *t = &m->state[s];
  if (t->phase == SQ_STATE_READY) return SQ_OK;
  if (t->phase == SQ_STATE_BUSY)
    return sq_rt_fail(m->ctx, SQ_EMODEL, "%s: the first value of state `%s` needs itself",
                      m->abi->name, m->abi->state[s].name);
  t->phase = SQ_STATE_BUSY;
  int status = compute(m, s);
  t->phase = SQ_STATE_PENDING;
  if (!status) sq_rt_state_set_ready(m, s);
  return status;
}

static bool writes_under(const seqm_model *m, const sq_abi_entry *e, const sq_abi_entry *init) {
  for (uint32_t k = 0; k < init->n_param; k++)
    for (uint32_t j = 0; j < e->n_param; j++)
      if (init->param[k] == e->param[j] && m->abi->param[e->param[j]].written) return true;
  return false;
}

int sq_rt_states_ready(seqm_model *m, const sq_abi_entry *e) {
  if (!m->n_pending) return SQ_OK;
  for (uint32_t k = 0; k < e->n_state; k++) SQ_TRY((sq_status)sq_rt_state_ready(m, e->state[k]));
  // What counts as the first value is what the parameters give at the reset, not after training.
  for (uint32_t s = 0; e->writes && m->n_pending && s < m->abi->n_state; s++)
    if (m->state[s].phase == SQ_STATE_PENDING && m->state[s].sees_written &&
        writes_under(m, e, &m->abi->init[m->abi->state[s].init]))
      SQ_TRY((sq_status)sq_rt_state_ready(m, s));
  return SQ_OK;
}

// --- growth -------------------------------------------------------------------------------------
static int fail_rows(seqm_model *m, uint32_t s, int64_t n, bool memory) {
  const char *name = m->abi->state[s].name;
  if (memory && m->gpu)
    return sq_rt_fail_room(m, "state `%s` cannot have %lld rows", name, (long long)n);
  return sq_rt_fail(m->ctx, SQ_EWORLD, "state `%s` cannot have %lld rows%s", name, (long long)n,
                    memory ? ": out of memory" : "");
}

static int room_for(seqm_model *m, uint32_t s, uint32_t k, size_t bytes, int64_t n) {
  sq_rt_state *t = &m->state[s];
  if (bytes <= t->capacity[k]) return SQ_OK;
  size_t more;
  char *p = NULL;
  if (!__builtin_mul_overflow(t->capacity[k], (size_t)2, &more) && more > bytes)
    p = sq_rt_room(m, more);
  if (!p) p = sq_rt_room(m, more = bytes);
  if (!p) return fail_rows(m, s, n, true);
  char **data = &m->cell[m->abi->state[s].row + k].data;
  int status = sq_rt_move(m, p, *data, sq_rt_state_size(m, s));
  sq_rt_room_drop(m, status ? p : *data);
  if (status) return status;
  *data = p;
  t->capacity[k] = more;
  return SQ_OK;
}

// On the host, from the end that is away from what is yet to be moved.
static void spread(const sq_rt_state *t, char *data, size_t n) {
  size_t have = (size_t)t->extent, inner = t->inner, keep = have < n ? have : n;
  for (size_t turn = 0; turn < t->outer && keep && inner && n != have; turn++) {
    size_t o = n > have ? t->outer - 1 - turn : turn;
    memmove(data + o * n * inner, data + o * have * inner, keep * inner);
  }
}

// On a device: beside, and back.
static int spread_there(seqm_model *m, const sq_rt_state *t, char *data, size_t n) {
  size_t have = (size_t)t->extent, inner = t->inner, keep = have < n ? have : n;
  if (!keep || !inner || t->outer < 2 || n == have) return SQ_OK;
  size_t width = keep * inner;
  SQ_TRY((sq_status)sq_rt_arena_fit(m, &m->spread_room, width * t->outer, false));
  char *p = m->spread_room.p;
  SQ_TRY((sq_status)sq_rt_move_rows(m, p, width, data, have * inner, width, t->outer));
  return sq_rt_move_rows(m, data, n * inner, p, width, width, t->outer);
}

static int lay_out(seqm_model *m, const sq_rt_state *t, char *data, const char *row, size_t n) {
  size_t have = (size_t)t->extent, inner = t->inner;
  if (m->gpu)
    SQ_TRY((sq_status)spread_there(m, t, data, n));
  else
    spread(t, data, n);
  for (size_t r = have; r < n; r++)
    SQ_TRY((sq_status)sq_rt_move_rows(m, data + r * inner, n * inner, row, inner, inner, t->outer));
  return SQ_OK;
}

int sq_rt_state_rows_room(seqm_model *m, uint32_t s, int64_t n) {
  const sq_abi_state *a = &m->abi->state[s];
  sq_rt_state *t = &m->state[s];
  size_t bytes = 0;
  bool ok = n >= 0 && !__builtin_mul_overflow(t->outer, (size_t)n, &bytes) &&
            !__builtin_mul_overflow(bytes, t->inner, &bytes) && bytes <= PTRDIFF_MAX;
  if (!ok) return fail_rows(m, s, n, n >= 0);
  for (uint32_t k = 0; k < a->count; k++) SQ_TRY((sq_status)room_for(m, s, k, bytes, n));
  return SQ_OK;
}

int sq_rt_state_rows(seqm_model *m, uint32_t s, int64_t n) {
  const sq_abi_state *a = &m->abi->state[s];
  sq_rt_state *t = &m->state[s];
  for (uint32_t k = 0; k < a->count && n != t->extent; k++)
    SQ_TRY((sq_status)lay_out(m, t, m->cell[a->row + k].data, t->row[k], (size_t)n));
  t->extent = n;
  return SQ_OK;
}

// --- hooks of compiled code ---------------------------------------------------------------------
static int32_t hook_done(sq_rt_call *r, int status) {
  r->hook_status = status;
  return status;
}

// The arena and the outputs follow the extents.
static int follow(sq_rt_call *r) {
  seqm_model *m = r->m;
  size_t bytes = 0;
  SQ_TRY((sq_status)sq_rt_arena_bytes(m, r->e->abi, r->c.sym, &bytes));
  SQ_TRY((sq_status)sq_rt_arena_fit(m, r->arena, bytes, true));
  if (r->arena->p) r->c.arena = r->arena->p;
  return sq_rt_outputs_follow(r);
}

static int set_extent(sq_rt_call *r, uint32_t s, int64_t n) {
  seqm_model *m = r->m;
  SQ_TRY((sq_status)sq_rt_state_rows_room(m, s, n));
  SQ_TRY((sq_status)sq_rt_state_rows(m, s, n));
  r->c.sym[m->abi->state[s].grow_sym] = n;
  return follow(r);
}

// On a device a kernel before may have failed, or may yet. Waiting for it would cost each step of a
// decoder a round trip, so the error word is noted there, in order, and looked at if the call fails.
static char *mark_at(const seqm_model *m, uint32_t k) {
  return (char *)m->errors.words + (SQ_GPU_ERROR_WORDS(m->abi->n_site) + k) * 8;
}

static bool has_room(const seqm_model *m, uint32_t s, int64_t n) {
  const sq_rt_state *t = &m->state[s];
  size_t bytes = 0;
  bool ok = n >= 0 && !__builtin_mul_overflow(t->outer, (size_t)n, &bytes) &&
            !__builtin_mul_overflow(bytes, t->inner, &bytes);
  for (uint32_t k = 0; ok && k < m->abi->state[s].count; k++) ok = bytes <= t->capacity[k];
  return ok;
}

static int32_t note(sq_rt_call *r, uint32_t s, int64_t n) {
  seqm_model *m = r->m;
  if (!m->gpu) return r->c.device ? r->c.device->test(&r->c) : 0;
  if (!m->errors.pending) return 0;
  // Where it moves, freeing waits anyway.
  if (r->n_reserved == SQ_GPU_MARKS || !has_room(m, s, n)) return r->c.device->test(&r->c);
  SQ_TRY((sq_status)hook_done(r, sq_rt_move(m, mark_at(m, r->n_reserved), m->errors.words, 8)));
  r->reserved[r->n_reserved].state = s;
  r->reserved[r->n_reserved++].before = m->state[s].extent;
  return 0;
}

int sq_rt_reserve_undo(sq_rt_call *r) {
  while (r->n_reserved-- > 0) {
    uint64_t failed = 0;
    uint32_t s = r->reserved[r->n_reserved].state;
    SQ_TRY((sq_status)sq_rt_take(r->m, &failed, mark_at(r->m, r->n_reserved), sizeof failed));
    if (failed) SQ_TRY((sq_status)sq_rt_state_rows(r->m, s, r->reserved[r->n_reserved].before));
  }
  r->n_reserved = 0;
  return SQ_OK;
}

int32_t sq_rt_reserve(sq_call *c, uint32_t state, int64_t n) {
  sq_rt_call *r = (sq_rt_call *)c;
  if (n <= r->m->state[state].extent) return 0;
  int32_t failed = note(r, state, n);
  return failed ? failed : hook_done(r, set_extent(r, state, n));
}

int32_t sq_rt_resize(sq_call *c, uint32_t state, int64_t n) {
  sq_rt_call *r = (sq_rt_call *)c;
  return n == r->m->state[state].extent ? 0 : hook_done(r, set_extent(r, state, n));
}

// --- reset --------------------------------------------------------------------------------------
void sq_rt_states_reset(seqm_model *m) {
  for (uint32_t s = 0; s < m->abi->n_state; s++) {
    if (m->abi->state[s].kept || m->abi->state[s].derived) continue;
    if (m->state[s].phase == SQ_STATE_READY) m->n_pending++;
    m->state[s].phase = SQ_STATE_PENDING;
    m->state[s].extent = 0;
  }
}

// Inside a call what the entry touches is needed at once.
int32_t sq_rt_reset(sq_call *c) {
  sq_rt_call *r = (sq_rt_call *)c;
  seqm_model *m = r->m;
  sq_rt_states_reset(m);
  for (uint32_t s = 0; s < m->abi->n_state; s++)
    if (m->abi->state[s].grow_axis >= 0) c->sym[m->abi->state[s].grow_sym] = m->state[s].extent;
  int status = sq_rt_states_ready(m, r->e->abi);
  return hook_done(r, status ? status : follow(r));
}
