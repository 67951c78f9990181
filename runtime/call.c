// Calls. In: an entry, inputs, places for outputs. Out: outputs, or a message that names the place
// in the source and the value that failed there:
//
//   gpt2.seqm:55:18: index out of range: `wte[ids[n], c]`, axis 0: 70000 is not below 50257
//      55 |     x[n, c] = wte[ids[n], c]
//         |                   ^
//
// An output whose shape mentions the extent of a growing state has a buffer that follows it, and
// its shape is looked at when the call is done.
//
// Steps: inputs bind sizes (bind.c) | code and parameters | outputs | states | arena | run.
#include "runtime/model.h"
#include <string.h>

// --- messages -----------------------------------------------------------------------------------
void sq_rt_site_begin(seqm_model *m, uint32_t site) {
  if (site >= m->abi->n_site) {
    sq_message_add(m->ctx, "%s: a test failed", m->abi->name);
    return;
  }
  const sq_abi_site *s = &m->abi->site[site];
  if (s->file && *s->file) sq_message_add(m->ctx, "%s:%u:%u: ", s->file, s->line, s->column);
  sq_message_add(m->ctx, "%s", s->message);
}

void sq_rt_site_end(seqm_model *m, uint32_t site) {
  if (site >= m->abi->n_site) return;
  const sq_abi_site *s = &m->abi->site[site];
  if (!s->source || !*s->source) return;
  sq_message_add(m->ctx, "\n%5u | %s\n      | ", s->line, s->source);
  uint32_t column = 1;
  for (const char *p = s->source; *p && column < s->column; p++) {
    if (((unsigned char)*p & 0xc0) == 0x80) continue; // inside a character
    sq_message_add(m->ctx, "%s", *p == '\t' ? "\t" : " ");
    column++;
  }
  sq_message_add(m->ctx, "^");
}

static int fail_site(sq_rt_call *r) {
  seqm_model *m = r->m;
  uint32_t site = (uint32_t)(r->c.error - 1);
  long long v = r->c.error_value, limit = r->c.error_limit;
  sq_message_clear(m->ctx);
  sq_rt_site_begin(m, site);
  if (v != INT64_MIN && limit >= 0)
    sq_message_add(m->ctx, v < 0 ? ": %lld is below 0" : ": %lld is not below %lld", v, limit);
  else if (v != INT64_MIN && v != 0) // 0: a test of a truth, which has no value to show
    sq_message_add(m->ctx, ": the value is %lld", v);
  sq_rt_site_end(m, site);
  return SQ_EMODEL;
}

// --- running ------------------------------------------------------------------------------------
static void mark_kernel(sq_call *c, const char *label) {
  const seqm_model *m = ((sq_rt_call *)c)->m;
  m->trace(m->trace_user, label, false);
}

void seqm_model_trace(seqm_model *m, seqm_mark mark, void *user) {
  m->trace = mark;
  m->trace_user = user;
}

// On a device: what the code asks for is kept back, unless a trace wants the time of each kernel.
static int32_t run_there(seqm_model *m, seqm_entry *e, sq_call *c) {
  sq_gpu_record *r = &e->record;
  r->replayed = r->alone = r->built = r->changed = 0;
  sq_gpu_record *outer = sq_gpu_record_begin(m->gpu, c->mark ? NULL : r);
  int32_t failed = e->code(c);
  if (sq_gpu_record_end(m->gpu, outer) && !c->trouble) c->trouble = m->gpu->trouble;
  m->graphs = (seqm_graphs){r->replayed, r->alone, r->built, r->changed};
  return failed || c->trouble;
}

int sq_rt_run(seqm_model *m, seqm_entry *e, int64_t *sym, sq_rt_arena *arena, const void **in,
              const void **host_in, void **out) {
  size_t bytes = 0;
  SQ_TRY((sq_status)sq_rt_arena_bytes(m, e->abi, sym, &bytes));
  SQ_TRY((sq_status)sq_rt_arena_fit(m, arena, bytes, false));
  for (uint32_t k = 1; k <= m->abi->n_sym; k++)
    if (sym[k] == SQ_UNBOUND) sym[k] = 0;
  sq_rt_call r = {.c = {.sym = sym,
                        .in = (void *const *)in,
                        .out = out, // of outputs that follow an extent, the hooks change the rows
                        .arena = arena->p ? arena->p : m->empty,
                        .param = (void *const *)m->param,
                        .cell = m->cell,
                        .pool = m->ctx->pool,
                        .parallel = m->ctx->parallel,
                        .reserve = sq_rt_reserve,
                        .resize = sq_rt_resize,
                        .reset = sq_rt_reset,
                        .error_value = INT64_MIN,
                        .error_limit = -1,
                        .host_in = host_in,
                        .mirror = m->scalar,
                        .device = m->gpu ? &sq_gpu_device : m->hooks.device,
                        .kernels = e->kernels},
                  .m = m,
                  .e = e,
                  .arena = arena};
  if (m->trace) r.c.mark = mark_kernel;
  if (m->trace) m->trace(m->trace_user, e->abi->name, true);
  if (m->gpu && sq_gpu_enter(m->gpu)) return sq_rt_fail(m->ctx, SQ_EWORLD, "%s", m->gpu->trouble);
  int32_t failed = m->gpu ? run_there(m, e, &r.c) : e->code(&r.c);
  if (m->gpu) sq_gpu_leave(m->gpu);
  if (m->trace) m->trace(m->trace_user, NULL, false);
  // Kernels that write look at the device's error word, the host did not.
  if (failed && r.c.device) sq_rt_scalars_forget(m);
  if (failed && r.n_reserved && !r.c.trouble) SQ_TRY((sq_status)sq_rt_reserve_undo(&r));
  m->newton = (seqm_newton){r.c.newton_stretches, r.c.newton_iterations, r.c.newton_redone,
                            r.c.newton_residual};
  if (r.hook_status) return r.hook_status;
  if (r.c.trouble)
    return sq_rt_fail(m->ctx, SQ_EWORLD, "%s: %s: %s", e->abi->name,
                      r.c.device ? r.c.device->name : "the device", r.c.trouble);
  if (r.c.error) return fail_site(&r);
  return failed ? sq_rt_fail(m->ctx, SQ_EMODEL, "%s: failed", e->abi->name) : SQ_OK;
}

// --- outputs ------------------------------------------------------------------------------------
static int use_buffer(seqm_model *m, const seqm_entry *e, size_t k, const seqm_tensor *want,
                      const seqm_tensor *given) {
  bool same = given->dtype == want->dtype && given->rank == want->rank;
  for (uint32_t a = 0; same && a < want->rank; a++) same = given->dim[a] == want->dim[a];
  bool aligned = (uintptr_t)given->data % seqm_dtype_size(want->dtype) == 0;
  if (same && aligned) {
    m->out[k] = given->data;
    return SQ_OK;
  }
  sq_rt_fail(m->ctx, SQ_EUSAGE, "%s: output `%s` is ", e->abi->name, e->abi->out[k].name);
  sq_message_shape(m->ctx, (int)want->dtype, want->rank, want->dim);
  if (same) {
    sq_message_add(m->ctx, ", but the buffer given is not aligned");
  } else {
    sq_message_add(m->ctx, ", but the buffer given is ");
    sq_message_shape(m->ctx, (int)given->dtype, given->rank < SEQM_MAX_RANK ? given->rank : 0,
                     given->dim);
  }
  return SQ_EUSAGE;
}

static int fail_output(seqm_model *m, const seqm_entry *e, size_t k, size_t bytes) {
  return sq_rt_fail(m->ctx, SQ_EWORLD, "out of memory: output `%s` needs %zu bytes",
                    e->abi->out[k].name, bytes);
}
static int fail_output_room(seqm_model *m, const seqm_entry *e, size_t k, size_t bytes) {
  return sq_rt_fail_room(m, "output `%s` needs %zu bytes", e->abi->out[k].name, bytes);
}

// An output on the host, or that lies as the code cannot read it: the code writes beside it.
static int mirror_output(seqm_model *m, size_t k, size_t bytes) {
  SQ_TRY((sq_status)sq_rt_arena_fit(m, &m->mirror[k], bytes ? bytes : 1, false));
  m->out[k] = m->mirror[k].p;
  m->out_mirrored[k] = true;
  return SQ_OK;
}

// Its data in the place that it names: memory of the host, or where the code runs.
static int make_data(seqm_model *m, const seqm_entry *e, size_t k, size_t bytes, seqm_tensor *t) {
  t->owned = 1;
  if (t->device == SEQM_CUDA) {
    t->data = sq_rt_room(m, bytes);
    return t->data ? SQ_OK : fail_output_room(m, e, k, bytes);
  }
  t->data = sq_mem_get_aligned(m->ctx, bytes);
  return t->data ? SQ_OK : fail_output(m, e, k, bytes);
}

static int make_output(seqm_model *m, const seqm_entry *e, size_t k, seqm_tensor *out) {
  seqm_tensor want;
  size_t bytes = 0;
  SQ_TRY((sq_status)sq_rt_output_shape(m, e, k, m->sym, &want, &bytes));
  if (out->device != SEQM_HOST && !m->gpu)
    return sq_rt_fail(m->ctx, SQ_EUSAGE,
                      "%s: output `%s` is wanted on a CUDA device, but the model runs on the host",
                      e->abi->name, e->abi->out[k].name);
  if (e->out_grows && sq_rt_output_grows(m->abi, &e->abi->out[k])) {
    m->out[k] = sq_rt_room(m, bytes);
    if (!m->out[k]) return fail_output_room(m, e, k, bytes);
    m->out_room[k] = bytes ? bytes : 1;
    return SQ_OK;
  }
  if (out->data) {
    SQ_TRY((sq_status)use_buffer(m, e, k, &want, out));
  } else {
    want.device = out->device;
    SQ_TRY((sq_status)make_data(m, e, k, bytes, &want));
    m->out[k] = want.data;
    *out = want;
    m->out_made[k] = true;
  }
  bool beside = m->gpu && (out->device == SEQM_HOST || !sq_rt_aligned(out));
  return beside ? mirror_output(m, k, bytes) : SQ_OK;
}

static int make_outputs(seqm_model *m, const seqm_entry *e, seqm_tensor *out) {
  for (uint32_t k = 0; k < e->abi->n_out; k++) SQ_TRY((sq_status)make_output(m, e, k, &out[k]));
  return SQ_OK;
}

static bool overlap(const seqm_tensor *x, const seqm_tensor *y) {
  size_t nx = 0, ny = 0;
  if (x->device != y->device || !x->data || !y->data ||
      !sq_shape_bytes(x->dtype, x->rank, x->dim, &nx) ||
      !sq_shape_bytes(y->dtype, y->rank, y->dim, &ny))
    return false;
  uintptr_t a = (uintptr_t)x->data, b = (uintptr_t)y->data;
  return nx && ny && (a < b ? b - a < nx : a - b < ny);
}

// An output is written while inputs are read: a buffer given for one may share no byte with these,
// nor with another output.
static int check_apart(seqm_model *m, const seqm_entry *e, const seqm_tensor *in,
                       const seqm_tensor *out) {
  static const char text[] = "%s: the buffer given for output `%s` overlaps %s `%s`";
  for (uint32_t k = 0; k < e->abi->n_out; k++) {
    if (m->out_made[k] || m->out_room[k]) continue;
    for (uint32_t i = 0; i < e->abi->n_in; i++)
      if (overlap(&out[k], &in[i]))
        return sq_rt_fail(m->ctx, SQ_EUSAGE, text, e->abi->name, e->abi->out[k].name, "input",
                          e->abi->in[i].name);
    for (uint32_t o = 0; o < k; o++)
      if (!m->out_made[o] && !m->out_room[o] && overlap(&out[k], &out[o]))
        return sq_rt_fail(m->ctx, SQ_EUSAGE, text, e->abi->name, e->abi->out[k].name, "output",
                          e->abi->out[o].name);
  }
  return SQ_OK;
}

int sq_rt_outputs_follow(sq_rt_call *r) {
  seqm_model *m = r->m;
  if (r->c.out != m->out || !r->e->out_grows) return SQ_OK;
  for (uint32_t k = 0; k < r->e->abi->n_out; k++) {
    seqm_tensor t;
    size_t bytes = 0;
    if (!m->out_room[k]) continue;
    SQ_TRY((sq_status)sq_rt_output_shape(m, r->e, k, r->c.sym, &t, &bytes));
    if (bytes <= m->out_room[k]) continue;
    char *p = sq_rt_room(m, bytes);
    if (!p) return fail_output_room(m, r->e, k, bytes);
    int status = sq_rt_move(m, p, m->out[k], m->out_room[k]);
    sq_rt_room_drop(m, status ? p : m->out[k]);
    SQ_TRY((sq_status)status);
    m->out[k] = p;
    m->out_room[k] = bytes;
  }
  return SQ_OK;
}

// A buffer that followed an extent becomes the output, where that is to be where it is.
static int finish_grown(seqm_model *m, const seqm_entry *e, size_t k, seqm_tensor *out) {
  seqm_tensor t;
  size_t bytes = 0;
  SQ_TRY((sq_status)sq_rt_output_shape(m, e, k, m->sym, &t, &bytes));
  void *made = m->out[k];
  t.device = out->device;
  if (out->data) {
    SQ_TRY((sq_status)use_buffer(m, e, k, &t, out));
    m->out[k] = made; // dropped below, or when this fails
  } else if (m->gpu && out->device == SEQM_HOST) {
    SQ_TRY((sq_status)make_data(m, e, k, bytes, &t));
    *out = t;
    m->out_made[k] = true;
  } else {
    t.data = made;
    t.owned = 1;
    *out = t;
    m->out_made[k] = true;
    m->out_room[k] = 0;
    return SQ_OK;
  }
  if (out->device == SEQM_HOST)
    SQ_TRY((sq_status)sq_rt_take(m, out->data, made, bytes));
  else
    SQ_TRY((sq_status)sq_rt_move(m, out->data, made, bytes));
  sq_rt_room_drop(m, made);
  m->out_room[k] = 0;
  return SQ_OK;
}

static int finish_mirrored(seqm_model *m, size_t k, seqm_tensor *out) {
  size_t bytes = 0;
  sq_shape_bytes(out->dtype, out->rank, out->dim, &bytes);
  SQ_TRY((sq_status)(out->device == SEQM_HOST ? sq_rt_take(m, out->data, m->out[k], bytes)
                                              : sq_rt_move(m, out->data, m->out[k], bytes)));
  m->out_mirrored[k] = false;
  return SQ_OK;
}

static int finish_outputs(seqm_model *m, const seqm_entry *e, seqm_tensor *out) {
  if (!e->out_grows && !m->gpu) return SQ_OK;
  for (uint32_t k = 0; k < e->abi->n_out; k++) {
    if (m->out_room[k]) SQ_TRY((sq_status)finish_grown(m, e, k, &out[k]));
    if (m->out_mirrored[k]) SQ_TRY((sq_status)finish_mirrored(m, k, &out[k]));
  }
  return SQ_OK;
}

static void drop_outputs(seqm_model *m, const seqm_entry *e, seqm_tensor *out) {
  for (uint32_t k = 0; k < e->abi->n_out; k++) {
    if (m->out_room[k]) sq_rt_room_drop(m, m->out[k]);
    if (m->out_made[k]) seqm_tensor_free(m->ctx, &out[k]);
    m->out_room[k] = 0;
    m->out_mirrored[k] = false;
  }
}

static int check_request(seqm_model *m, const seqm_entry *e, const seqm_tensor *out, size_t n_out) {
  sq_message_clear(m->ctx);
  if (!e || e->model != m) return sq_rt_fail(m->ctx, SQ_EUSAGE, "the entry is not of this model");
  if (m->calling) return sq_rt_fail(m->ctx, SQ_EUSAGE, "%s: called inside a call", e->abi->name);
  if (n_out != e->abi->n_out)
    return sq_rt_fail(m->ctx, SQ_EUSAGE, "%s gives %u output%s, not %zu", e->abi->name,
                      e->abi->n_out, e->abi->n_out == 1 ? "" : "s", n_out);
  return n_out ? sq_rt_given(m->ctx, out, "the array of outputs") : SQ_OK;
}

// --- calling ------------------------------------------------------------------------------------
static int prepare(seqm_model *m, seqm_entry *e) {
  SQ_TRY((sq_status)sq_rt_device(m));
  SQ_TRY((sq_status)sq_rt_prepare_code(m, e));
  if (!e->bound) {
    memset(m->mark, 0, m->abi->n_param);
    sq_rt_mark_params(m, e->abi);
    SQ_TRY((sq_status)sq_rt_bind_params(m, e->abi->name));
    e->bound = true;
  }
  return sq_rt_states_ready(m, e->abi);
}

static bool is_reset(const seqm_entry *e) {
  return !e->abi->n_in && !e->abi->n_out && !strcmp(e->abi->name, "reset");
}

static int call(seqm_model *m, seqm_entry *e, const seqm_tensor *in, size_t n_in,
                seqm_tensor *out) {
  if (e->abi->n_in == n_in && is_reset(e)) {
    sq_rt_states_reset(m);
    if (e->number == m->abi->n_entry) return SQ_OK;
  }
  SQ_TRY((sq_status)sq_rt_bind(m, e, in, n_in, false));
  SQ_TRY((sq_status)prepare(m, e));
  if (m->gpu) SQ_TRY((sq_status)sq_rt_inputs(m, e, in));
  SQ_TRY((sq_status)make_outputs(m, e, out));
  SQ_TRY((sq_status)check_apart(m, e, in, out));
  SQ_TRY((sq_status)sq_rt_run(m, e, m->sym, &m->arena, m->in, m->host_in, m->out));
  return finish_outputs(m, e, out);
}

int seqm_call(seqm_model *m, const seqm_entry *entry, const seqm_tensor *in, size_t n_in,
              seqm_tensor *out, size_t n_out) {
  SQ_TRY((sq_status)check_request(m, entry, out, n_out));
  seqm_entry *e = &m->entry[entry->number];
  memset(m->out_made, 0, n_out * sizeof *m->out_made);
  m->calling = true;
  int status = call(m, e, in, n_in, out);
  m->calling = false;
  if (status) drop_outputs(m, e, out);
  return status;
}

int seqm_newton_count(const seqm_model *m, seqm_newton *n) {
  *n = m->newton;
  return SQ_OK;
}

int seqm_graph_count(const seqm_model *m, seqm_graphs *g) {
  *g = m->graphs;
  return SQ_OK;
}

int seqm_plan(seqm_model *m, const seqm_entry *e, const seqm_tensor *in, size_t n_in,
              seqm_tensor *out, size_t n_out, size_t *scratch_bytes) {
  SQ_TRY((sq_status)check_request(m, e, out, n_out));
  SQ_TRY((sq_status)sq_rt_bind(m, e, in, n_in, true));
  for (uint32_t k = 0; k < e->abi->n_out; k++) {
    seqm_tensor t;
    size_t bytes;
    SQ_TRY((sq_status)sq_rt_output_shape(m, e, k, m->sym, &t, &bytes));
    t.data = out[k].data;
    t.owned = out[k].owned;
    t.device = out[k].device;
    out[k] = t;
  }
  size_t bytes = 0;
  SQ_TRY((sq_status)sq_rt_arena_bytes(m, e->abi, m->sym, &bytes));
  if (scratch_bytes) *scratch_bytes = bytes;
  return SQ_OK;
}

int seqm_reset(seqm_model *m) {
  sq_message_clear(m->ctx);
  for (uint32_t k = 0; k < m->abi->n_entry; k++)
    if (is_reset(&m->entry[k])) return seqm_call(m, &m->entry[k], NULL, 0, NULL, 0);
  sq_rt_states_reset(m);
  return SQ_OK;
}
