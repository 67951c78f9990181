// Loading a model: from a shared object, a descriptor linked into the program, or a JIT. In: an
// sq_abi_model. Out: a seqm_model whose arrays stand ready; weights and states are looked at when
// an entry needs them.
#define _GNU_SOURCE
#include "runtime/model.h"
#include "runtime/file.h"
#include <dlfcn.h>
#include <elf.h>
#include <string.h>

// --- is it for this runtime and this machine? ---------------------------------------------------
static int check_descriptor(seqm_context *ctx, const sq_abi_model *d, const char *name) {
  if (d->version != SQ_ABI_VERSION)
    return sq_rt_fail(ctx, SQ_EMODEL,
                      "%s: made for version %u of the runtime's interface, this is version %u: "
                      "compile the model again",
                      name, d->version, SQ_ABI_VERSION);
  const char *lacks = sq_rt_missing_feature(d->feature, d->n_feature);
  if (lacks)
    return sq_rt_fail(ctx, SQ_EMODEL,
                      "%s: compiled for %s, but this machine has no `%s`: compile it for a lesser "
                      "--target-cpu",
                      name, d->cpu ? d->cpu : "another CPU", lacks);
  for (uint32_t k = 0; k < d->n_param; k++)
    if (d->param[k].rank > SEQM_MAX_RANK)
      return sq_rt_fail(ctx, SQ_EMODEL, "%s: damaged: parameter `%s` has %u axes", name,
                        d->param[k].name, d->param[k].rank);
  for (uint32_t k = 0; k < d->n_state; k++)
    if (d->state[k].rank > SEQM_MAX_RANK || d->state[k].init >= d->n_init)
      return sq_rt_fail(ctx, SQ_EMODEL, "%s: damaged: state `%s`", name, d->state[k].name);
  return SQ_OK;
}

// --- making and freeing -------------------------------------------------------------------------
static const sq_abi_entry builtin_reset_entry = {.name = "reset", .writes = 1};

static bool mentions_growing(const sq_abi_model *d, const sq_abi_expr *e) {
  for (uint32_t k = 0; k + 1 < e->n; k++) {
    if (e->code[k] != SQ_X_CONST && e->code[k] != SQ_X_SYM) continue;
    for (uint32_t s = 0; e->code[k] == SQ_X_SYM && s < d->n_state; s++)
      if (d->state[s].grow_axis >= 0 && d->state[s].grow_sym == e->code[k + 1]) return true;
    k++;
  }
  return false;
}

bool sq_rt_output_grows(const sq_abi_model *d, const sq_abi_tensor *o) {
  for (uint32_t a = 0; a < o->rank; a++)
    if (mentions_growing(d, &o->dim[a])) return true;
  return false;
}

static void fill_entries(seqm_model *m) {
  const sq_abi_model *d = m->abi;
  bool own = false;
  for (uint32_t k = 0; k < d->n_entry; k++) {
    const sq_abi_entry *e = &d->entry[k];
    m->entry[k] = (seqm_entry){.abi = e, .model = m, .number = k, .code = e->code};
    for (uint32_t o = 0; o < e->n_out; o++)
      m->entry[k].out_grows |= sq_rt_output_grows(d, &e->out[o]);
    own |= !strcmp(e->name, "reset");
  }
  if (!own && d->n_state) m->builtin_reset = &builtin_reset_entry;
  m->entry[d->n_entry] =
      (seqm_entry){.abi = &builtin_reset_entry, .model = m, .number = d->n_entry, .bound = true};
  for (uint32_t k = 0; k < d->n_init; k++)
    m->init[k] = (seqm_entry){
        .abi = &d->init[k], .model = m, .number = k, .is_init = true, .code = d->init[k].code};
}

static int fill(seqm_model *m) {
  seqm_context *ctx = m->ctx;
  const sq_abi_model *d = m->abi;
  uint32_t most_in = 1, most_out = 1;
  for (uint32_t k = 0; k < d->n_entry; k++) {
    if (d->entry[k].n_in > most_in) most_in = d->entry[k].n_in;
    if (d->entry[k].n_out > most_out) most_out = d->entry[k].n_out;
  }
  for (uint32_t k = 0; k < d->n_param; k++) {
    uint32_t end = d->param[k].row + d->param[k].count;
    if (end > m->n_row) m->n_row = end;
  }
  m->entry = sq_mem_get_array(ctx, (size_t)d->n_entry + 1, sizeof *m->entry);
  m->init = sq_mem_get_array(ctx, d->n_init, sizeof *m->init);
  m->param = sq_mem_get_array(ctx, m->n_row, sizeof *m->param);
  m->param_owned = sq_mem_get_array(ctx, m->n_row, sizeof *m->param_owned);
  m->sym = sq_mem_get_array(ctx, (size_t)d->n_sym + 1, sizeof *m->sym);
  m->init_sym = sq_mem_get_array(ctx, (size_t)d->n_sym + 1, sizeof *m->init_sym);
  m->bound_by = sq_mem_get_array(ctx, (size_t)d->n_sym + 1, sizeof *m->bound_by);
  m->in = sq_mem_get_array(ctx, most_in, sizeof *m->in);
  m->host_in = sq_mem_get_array(ctx, most_in, sizeof *m->host_in);
  m->out = sq_mem_get_array(ctx, most_out, sizeof *m->out);
  m->out_made = sq_mem_get_array(ctx, most_out, sizeof *m->out_made);
  m->out_room = sq_mem_get_array(ctx, most_out, sizeof *m->out_room);
  m->mark = sq_mem_get_array(ctx, d->n_param, sizeof *m->mark);
  m->n_out = most_out;
  m->mirror = sq_mem_get_array(ctx, most_out, sizeof *m->mirror);
  m->out_mirrored = sq_mem_get_array(ctx, most_out, sizeof *m->out_mirrored);
  if (!m->entry || !m->init || !m->param || !m->param_owned || !m->sym || !m->init_sym ||
      !m->bound_by || !m->in || !m->host_in || !m->out || !m->out_made || !m->out_room ||
      !m->mark || !m->mirror || !m->out_mirrored)
    return sq_rt_no_memory(ctx);
  fill_entries(m);
  SQ_TRY((sq_status)sq_weights_new(ctx, &m->weights));
  return sq_rt_states_new(m);
}

// Takes the library and the hooks only when it succeeds.
static int model_new(seqm_context *ctx, const sq_abi_model *d, const char *name, void *library,
                     const sq_abi_hooks *hooks, seqm_model **out) {
  *out = NULL;
  SQ_TRY((sq_status)check_descriptor(ctx, d, name));
  seqm_model *m = sq_mem_get(ctx, sizeof *m);
  if (!m) return sq_rt_no_memory(ctx);
  m->ctx = ctx;
  m->abi = d;
  int status = fill(m);
  if (status) {
    seqm_model_free(m);
    return status;
  }
  m->library = library;
  if (hooks) m->hooks = *hooks;
  *out = m;
  return SQ_OK;
}

void seqm_model_free(seqm_model *m) {
  if (!m) return;
  seqm_context *ctx = m->ctx;
  sq_rt_states_free(m);
  for (uint32_t k = 0; m->param_owned && k < m->n_row; k++) sq_rt_room_drop(m, m->param_owned[k]);
  sq_weights_free(m->weights);
  sq_rt_room_drop(m, m->arena.p);
  sq_rt_room_drop(m, m->init_arena.p);
  sq_rt_device_close(m);
  void *plain[] = {m->entry,    m->init,     m->param, m->param_owned, m->sym,
                   m->init_sym, m->bound_by, m->in,    m->host_in,     m->out,
                   m->out_made, m->out_room, m->mark,  m->mirror,      m->out_mirrored};
  for (size_t k = 0; k < sizeof plain / sizeof *plain; k++) sq_mem_drop(ctx, plain[k]);
  if (m->hooks.release) m->hooks.release(m->hooks.user);
  if (m->library) dlclose(m->library);
  sq_mem_drop(ctx, m);
}

int seqm_model_linked(seqm_context *ctx, const struct sq_abi_model *desc, seqm_model **m) {
  sq_message_clear(ctx);
  *m = NULL;
  SQ_TRY((sq_status)sq_rt_given(ctx, desc, "the description of the model"));
  return model_new(ctx, desc, desc->name ? desc->name : "model", NULL, NULL, m);
}

int seqm_model_jit(seqm_context *ctx, const sq_abi_model *desc, const sq_abi_hooks *hooks,
                   seqm_model **m) {
  sq_message_clear(ctx);
  return model_new(ctx, desc, desc->name ? desc->name : "model", NULL, hooks, m);
}

// --- shared objects -----------------------------------------------------------------------------
#if defined(__x86_64__)
#define MACHINE EM_X86_64
#elif defined(__aarch64__)
#define MACHINE EM_AARCH64
#else
#define MACHINE EM_NONE
#endif

static const char *machine_text(unsigned machine) {
  return machine == EM_X86_64 ? "x86-64" : machine == EM_AARCH64 ? "aarch64" : "another machine";
}

// dlopen's own messages for these are obscure.
static int check_elf(seqm_context *ctx, const char *path) {
  sq_map map;
  SQ_TRY((sq_status)sq_map_open(ctx, path, &map));
  Elf64_Ehdr h = {0};
  bool elf = map.size >= sizeof h;
  if (elf) memcpy(&h, map.data, sizeof h);
  elf = elf && !memcmp(h.e_ident, ELFMAG, SELFMAG) && h.e_ident[EI_CLASS] == ELFCLASS64 &&
        h.e_type == ET_DYN;
  // The section headers stand at the end: a file cut short lacks them.
  bool whole = elf && (!h.e_shoff || (h.e_shoff <= map.size &&
                                      (uint64_t)h.e_shnum * h.e_shentsize <= map.size - h.e_shoff));
  sq_map_close(&map);
  if (!elf) return sq_rt_fail(ctx, SQ_EMODEL, "%s: not a shared object", path);
  if (!whole) return sq_rt_fail(ctx, SQ_EMODEL, "%s: a shared object cut short", path);
  if (MACHINE != EM_NONE && h.e_machine != MACHINE)
    return sq_rt_fail(ctx, SQ_EMODEL, "%s: made for %s, but this machine is %s", path,
                      machine_text(h.e_machine), machine_text(MACHINE));
  return SQ_OK;
}

// A name without a slash would be looked for in the system's folders.
static void *open_library(seqm_context *ctx, const char *path) {
  if (strchr(path, '/')) return dlopen(path, RTLD_NOW | RTLD_LOCAL);
  char *here = sq_mem_get(ctx, strlen(path) + 3);
  if (!here) return NULL;
  here[0] = '.';
  here[1] = '/';
  strcpy(here + 2, path);
  void *library = dlopen(here, RTLD_NOW | RTLD_LOCAL);
  sq_mem_drop(ctx, here);
  return library;
}

int seqm_model_open(seqm_context *ctx, const char *path, seqm_model **m) {
  sq_message_clear(ctx);
  *m = NULL;
  SQ_TRY((sq_status)sq_rt_given(ctx, path, "the path of the model"));
  SQ_TRY((sq_status)check_elf(ctx, path));
  dlerror();
  void *library = open_library(ctx, path);
  if (!library) {
    const char *why = dlerror();
    return why ? sq_rt_fail(ctx, SQ_EMODEL, "%s: cannot be loaded: %s", path, why)
               : sq_rt_no_memory(ctx);
  }
  const sq_abi_model *d = dlsym(library, "seqm_model");
  int status = d ? model_new(ctx, d, path, library, NULL, m)
                 : sq_rt_fail(ctx, SQ_EMODEL, "%s: not made by `seqm compile`", path);
  if (status) dlclose(library);
  return status;
}

// --- weights ------------------------------------------------------------------------------------
int seqm_model_weights(seqm_model *m, const char *path) {
  sq_message_clear(m->ctx);
  SQ_TRY((sq_status)sq_rt_given(m->ctx, path, "the path of the weights"));
  return sq_weights_add(m->weights, path);
}

int seqm_model_random_weights(seqm_model *m, uint64_t seed) {
  sq_message_clear(m->ctx);
  sq_weights_random(m->weights, seed);
  return SQ_OK;
}

static sq_weight_ask ask_for(const sq_abi_param *p, uint32_t instance) {
  return (sq_weight_ask){.names = p->names + (size_t)instance * p->n_alt,
                         .n_names = p->n_alt,
                         .dtype = p->dtype,
                         .rank = p->rank,
                         .dim = p->dim,
                         .own = p->written};
}

static void describe_faults(seqm_model *m, const char *who, uint32_t faults) {
  sq_message_clear(m->ctx);
  sq_message_add(m->ctx, "%s: %s%u parameter%s %s missing or %s not fit", who,
                 sq_weights_any(m->weights) ? "" : "no weights were given: ", faults,
                 faults == 1 ? "" : "s", faults == 1 ? "is" : "are", faults == 1 ? "does" : "do");
  if (m->abi->config && *m->abi->config)
    sq_message_add(m->ctx, " (the model has %s)", m->abi->config);
}

// To the device, once; the host keeps nothing, and the pages of a file need not stay.
static int upload(seqm_model *m, uint32_t row, sq_weight *got) {
  size_t bytes = got->bytes;
  void *p = sq_rt_room(m, bytes);
  int status = p ? sq_rt_put(m, p, got->data, bytes)
                 : sq_rt_fail_room(m, "a parameter needs %zu bytes", bytes);
  if (!got->owned) sq_map_forget(got->data, bytes);
  sq_weights_drop(m->weights, got);
  if (status) {
    sq_rt_room_drop(m, p);
    return status;
  }
  sq_rt_room_drop(m, m->param_owned[row]); // room that a failed load left
  m->param[row] = m->param_owned[row] = p;
  m->owned_bytes += bytes;
  m->n_loaded++;
  return SQ_OK;
}

static int bind_one(seqm_model *m, const sq_abi_param *p, uint32_t k, uint32_t *faults,
                    bool describe) {
  uint32_t row = p->row + k;
  if (m->param[row]) return SQ_OK;
  sq_weight_ask ask = ask_for(p, k);
  sq_weight got;
  SQ_TRY((sq_status)sq_weights_get(m->weights, &ask, &got));
  if (got.fault) {
    if (describe) sq_weights_describe(m->weights, &ask, &got);
    ++*faults;
    return SQ_OK;
  }
  if (m->gpu) return upload(m, row, &got);
  sq_rt_room_drop(m, m->param_owned[row]); // room that a failed load left
  m->param[row] = got.data;
  m->param_owned[row] = got.owned;
  if (got.owned) m->owned_bytes += got.bytes;
  m->n_loaded++;
  return SQ_OK;
}

static void count_wanted(seqm_model *m) {
  size_t wanted = 0, loaded = 0;
  for (uint32_t p = 0; p < m->abi->n_param; p++)
    for (uint32_t k = 0; m->mark[p] && k < m->abi->param[p].count; k++, wanted++)
      loaded += m->param[m->abi->param[p].row + k] != NULL;
  m->n_loaded = loaded;
  m->n_wanted = wanted;
}

void seqm_model_loading(const seqm_model *m, size_t *loaded, size_t *wanted) {
  *loaded = m->n_loaded;
  *wanted = m->n_wanted;
}

// All that can be had is bound; faults are counted in a first turn, told in a second.
int sq_rt_bind_params(seqm_model *m, const char *who) {
  const sq_abi_model *d = m->abi;
  uint32_t faults = 0;
  count_wanted(m);
  for (int describe = 0; describe < 2; describe++) {
    if (describe && !faults) return SQ_OK;
    if (describe) describe_faults(m, who, faults);
    for (uint32_t p = 0; p < d->n_param; p++)
      for (uint32_t k = 0; m->mark[p] && k < d->param[p].count; k++)
        SQ_TRY((sq_status)bind_one(m, &d->param[p], k, &faults, describe));
  }
  return SQ_EMODEL;
}

// What entries list covers the inits of their states too; the inits' own lists are added all the
// same, so a descriptor that does not is served as well.
void sq_rt_mark_params(seqm_model *m, const sq_abi_entry *e) {
  const sq_abi_model *d = m->abi;
  for (uint32_t k = 0; k < e->n_param; k++) m->mark[e->param[k]] = 1;
  for (uint32_t k = 0; k < e->n_state; k++) {
    const sq_abi_entry *init = &d->init[d->state[e->state[k]].init];
    for (uint32_t j = 0; j < init->n_param; j++) m->mark[init->param[j]] = 1;
  }
}

int seqm_model_check(seqm_model *m, const seqm_entry *entry) {
  sq_message_clear(m->ctx);
  SQ_TRY((sq_status)sq_rt_device(m));
  memset(m->mark, 0, m->abi->n_param);
  if (entry) sq_rt_mark_params(m, entry->abi);
  for (uint32_t k = 0; !entry && k < m->abi->n_entry; k++) sq_rt_mark_params(m, &m->abi->entry[k]);
  return sq_rt_bind_params(m, entry ? entry->abi->name : m->abi->name);
}

size_t seqm_model_unused(seqm_model *m, const char **names, size_t cap) {
  const sq_abi_model *d = m->abi;
  sq_weights_forget_use(m->weights);
  for (uint32_t p = 0; p < d->n_param; p++)
    for (uint32_t k = 0; k < d->param[p].count; k++)
      sq_weights_use(m->weights, d->param[p].names + (size_t)k * d->param[p].n_alt,
                     d->param[p].n_alt);
  return sq_weights_unused(m->weights, names, cap);
}

int sq_rt_param_room(seqm_model *m, uint32_t row, size_t bytes) {
  if (m->param_owned[row]) return SQ_OK;
  m->param_owned[row] = sq_rt_room(m, bytes);
  return m->param_owned[row] ? SQ_OK : sq_rt_fail_room(m, "a parameter needs %zu bytes", bytes);
}

int sq_rt_param_set(seqm_model *m, uint32_t row, const void *data, size_t bytes) {
  if (m->param[row] != m->param_owned[row]) m->owned_bytes += bytes;
  m->param[row] = m->param_owned[row];
  return sq_rt_put(m, m->param_owned[row], data, bytes);
}

// --- entries ------------------------------------------------------------------------------------
// Those of all entries together, or those that the JIT has made for this one.
static int load_kernels(seqm_model *m, seqm_entry *e) {
  const sq_abi_kernels *k = m->abi->kernels;
  sq_gpu_code *code = m->kernels;
  if (!k && m->hooks.images) k = m->hooks.images(m->hooks.user, e->is_init, e->number);
  if (!k) return sq_rt_fail(m->ctx, SQ_EMODEL, "%s: damaged: it has no kernels", e->abi->name);
  if (!code) SQ_TRY((sq_status)sq_gpu_load(m->ctx, m->gpu, k, &m->errors, &code));
  if (m->abi->kernels) m->kernels = code;
  e->kernels = code;
  return SQ_OK;
}

int sq_rt_prepare_code(seqm_model *m, seqm_entry *e) {
  if (e->code && (!m->gpu || e->kernels)) return SQ_OK;
  const char *why = NULL;
  if (!e->code && m->hooks.compile)
    e->code = m->hooks.compile(m->hooks.user, e->is_init, e->number, &why);
  if (e->code && m->gpu) return load_kernels(m, e);
  if (e->code && m->hooks.kernels)
    e->kernels = m->hooks.kernels(m->hooks.user, e->is_init, e->number);
  if (e->code) return SQ_OK;
  return sq_rt_fail(m->ctx, SQ_EWORLD, "%s: cannot be compiled: %s", e->abi->name,
                    why ? why : "it has no code");
}

size_t seqm_entry_count(const seqm_model *m) { return m->abi->n_entry; }

const seqm_entry *seqm_entry_at(const seqm_model *m, size_t k) {
  return k < m->abi->n_entry ? &m->entry[k] : NULL;
}

const seqm_entry *seqm_model_entry(seqm_model *m, const char *name) {
  sq_message_clear(m->ctx);
  if (sq_rt_given(m->ctx, name, "the name of the entry")) return NULL;
  for (uint32_t k = 0; k < m->abi->n_entry; k++)
    if (!strcmp(m->abi->entry[k].name, name)) return &m->entry[k];
  if (m->builtin_reset && !strcmp(name, "reset")) return &m->entry[m->abi->n_entry];
  sq_message_add(m->ctx, "`%s` has no entry `%s`; it has", m->abi->name, name);
  for (uint32_t k = 0; k < m->abi->n_entry; k++)
    sq_message_add(m->ctx, "%s `%s`", k ? "," : "", m->abi->entry[k].name);
  if (!m->abi->n_entry) sq_message_add(m->ctx, " none");
  return NULL;
}

const char *seqm_entry_name(const seqm_entry *e) { return e->abi->name; }
size_t seqm_entry_inputs(const seqm_entry *e) { return e->abi->n_in; }
size_t seqm_entry_outputs(const seqm_entry *e) { return e->abi->n_out; }
const char *seqm_input_name(const seqm_entry *e, size_t k) {
  return k < e->abi->n_in ? e->abi->in[k].name : NULL;
}
const char *seqm_output_name(const seqm_entry *e, size_t k) {
  return k < e->abi->n_out ? e->abi->out[k].name : NULL;
}
seqm_dtype seqm_input_dtype(const seqm_entry *e, size_t k) {
  return k < e->abi->n_in ? (seqm_dtype)e->abi->in[k].dtype : SEQM_F32;
}
seqm_dtype seqm_output_dtype(const seqm_entry *e, size_t k) {
  return k < e->abi->n_out ? (seqm_dtype)e->abi->out[k].dtype : SEQM_F32;
}
uint32_t seqm_input_rank(const seqm_entry *e, size_t k) {
  return k < e->abi->n_in ? e->abi->in[k].rank : 0;
}
uint32_t seqm_output_rank(const seqm_entry *e, size_t k) {
  return k < e->abi->n_out ? e->abi->out[k].rank : 0;
}

seqm_context *seqm_model_context(const seqm_model *m) { return m->ctx; }
const sq_abi_model *seqm_model_descriptor(const seqm_model *m) { return m->abi; }

void seqm_context_parallel(seqm_context *ctx, int64_t n, sq_task fn, void *closure) {
  sq_context_parallel(ctx, n, fn, closure);
}

int seqm_memory(const seqm_model *m, size_t *weights, size_t *states, size_t *arena) {
  if (weights) *weights = sq_weights_mapped(m->weights) + m->owned_bytes;
  if (states) *states = sq_rt_states_bytes(m);
  if (arena) *arena = m->arena.size + m->init_arena.size;
  return SQ_OK;
}
