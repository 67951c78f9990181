// A model made by hand, for testing the runtime without the compiler: descriptors as the compiler
// would write them, entries as C functions. It has one of everything: sizes bound by shapes and by
// a scalar, a test of sizes, a gather that can fail, parameters per instance with alternative names
// and one that is written, states that are fixed, growing along an inner axis, kept, derived, or
// made from a parameter.
//
//   param table[5, 3] as "model.table" | "table"; layer[i < 2].w[3]; learn[2] (written)
//   state len: i32 = 0; cache[i < 2][2, grow, 3] = i + 0.5; steps: i32 = 100 kept; copy = learn
//   sums[c] = sum(v) table[v, c]                               # derived
#pragma once
#include "runtime/internal.h"
#include "runtime/jit.h"
#include "runtime/model.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TOY_V = 5, TOY_D = 3 };
enum { SYM_N = 1, SYM_M, SYM_G, N_SYM = 3 };
enum { P_TABLE, P_LAYER, P_LEARN, N_PARAM };
enum { ROW_TABLE, ROW_LAYER, ROW_LEARN = 3 };
enum { S_LEN, S_CACHE, S_STEPS, S_SUMS, S_COPY, N_STATE };
enum { CELL_LEN, CELL_CACHE, CELL_STEPS = 3, CELL_SUMS, CELL_COPY };
enum { SITE_GATHER, SITE_LIMIT, SITE_CHECK, N_SITE };

#define TOY_X(...)                                                                                 \
  { (const int64_t[]){__VA_ARGS__}, sizeof((const int64_t[]){__VA_ARGS__}) / 8 }
#define TOY_C(v) TOY_X(SQ_X_CONST, v)
#define TOY_S(s) TOY_X(SQ_X_SYM, s)
#define TOY_COUNT(a) (sizeof(a) / sizeof *(a))

static void toy_fail(sq_call *c, uint32_t site, int64_t value, int64_t limit) {
  c->error = site + 1;
  c->error_value = value;
  c->error_limit = limit;
}

// --- forward(ids: i32[N], mask: i32[N]) -> out[N, 3] = table[ids[n], c] + sum over layers of w[c] ---
typedef struct toy_rows {
  sq_call *c;
  _Atomic int64_t bad;
} toy_rows;

static void toy_row(void *closure, int64_t n, int64_t worker) {
  toy_rows *r = closure;
  sq_call *c = r->c;
  const int32_t *ids = c->in[0];
  const float *table = c->param[ROW_TABLE];
  float *scratch = (float *)c->arena + worker * 16, *out = (float *)c->out[0] + n * TOY_D;
  int64_t id = ids[n];
  if (id < 0 || id >= TOY_V) {
    r->bad = id;
    return;
  }
  for (int d = 0; d < TOY_D; d++) scratch[d] = table[id * TOY_D + d];
  for (int l = 0; l < 2; l++)
    for (int d = 0; d < TOY_D; d++) scratch[d] += ((const float *)c->param[ROW_LAYER + l])[d];
  memcpy(out, scratch, TOY_D * sizeof *out);
}

static int32_t toy_forward(sq_call *c) {
  toy_rows r = {c, INT64_MIN};
  c->parallel(c->pool, c->sym[SYM_N], toy_row, &r);
  if (r.bad != INT64_MIN) toy_fail(c, SITE_GATHER, r.bad, TOY_V);
  return c->error != 0;
}

// --- the small ones -----------------------------------------------------------------------------
static int32_t toy_fill(sq_call *c) {
  for (int64_t k = 0; k < c->sym[SYM_M]; k++) ((float *)c->out[0])[k] = (float)k;
  return 0;
}

// x[3] -> n: appends x to both caches, in every one of the 2 outer rows.
static int32_t toy_step(sq_call *c) {
  int32_t *len = (int32_t *)c->cell[CELL_LEN].data, *steps = (int32_t *)c->cell[CELL_STEPS].data;
  if (c->reserve(c, S_CACHE, *len + 1)) return 1;
  int64_t g = c->sym[SYM_G];
  for (int i = 0; i < 2; i++)
    for (int o = 0; o < 2; o++)
      memcpy((float *)c->cell[CELL_CACHE + i].data + (o * g + *len) * 3, c->in[0], 12);
  ++*len;
  ++*steps;
  *(int32_t *)c->out[0] = *len;
  ((char *)c->arena)[g - 1] = 1; // its size follows the extent
  return 0;
}

static int32_t toy_rows_of(sq_call *c, int instance) {
  size_t bytes = (size_t)c->sym[SYM_G] * 2 * 3 * 4;
  memcpy(c->out[0], c->cell[CELL_CACHE + instance].data, bytes);
  return 0;
}
static int32_t toy_read0(sq_call *c) { return toy_rows_of(c, 0); }
static int32_t toy_read1(sq_call *c) { return toy_rows_of(c, 1); }

// Grows the caches to n rows and gives what then is there.
static int32_t toy_grown(sq_call *c) {
  if (c->reserve(c, S_CACHE, *(const int32_t *)c->in[0])) return 1;
  return toy_rows_of(c, 1);
}
static int32_t toy_resize(sq_call *c) { return c->resize(c, S_CACHE, *(const int32_t *)c->in[0]); }
static int32_t toy_restart(sq_call *c) {
  *(int32_t *)c->cell[CELL_LEN].data = 77;
  if (c->reset(c)) return 1;
  *(int32_t *)c->out[0] = *(int32_t *)c->cell[CELL_LEN].data;
  return 0;
}
static int32_t toy_counts(sq_call *c) {
  memcpy(c->out[0], c->cell[CELL_LEN].data, 4);
  memcpy(c->out[1], c->cell[CELL_STEPS].data, 4);
  return 0;
}
static int32_t toy_train(sq_call *c) {
  float *p = c->param[ROW_LEARN];
  for (int k = 0; k < 2; k++) p[k] += ((const float *)c->in[0])[k];
  return 0;
}
static int32_t toy_copied(sq_call *c) {
  memcpy(c->out[0], c->cell[CELL_COPY].data, 8);
  return 0;
}
static int32_t toy_sums(sq_call *c) {
  memcpy(c->out[0], c->cell[CELL_SUMS].data, 12);
  return 0;
}
static int32_t toy_check(sq_call *c) {
  toy_fail(c, SITE_CHECK, 0, -1);
  return 1;
}
static int32_t toy_nothing(sq_call *c) {
  (void)c;
  return 0;
}

// --- first values -------------------------------------------------------------------------------
static int32_t toy_init_zero(sq_call *c) {
  memset(c->out[0], 0, 4);
  return 0;
}
static int32_t toy_init_cache(sq_call *c) {
  for (int k = 0; k < 6; k++) ((float *)c->out[0])[k] = (float)*(const int32_t *)c->in[0] + 0.5f;
  return 0;
}
static int32_t toy_init_steps(sq_call *c) {
  *(int32_t *)c->out[0] = 100;
  return 0;
}
static int32_t toy_init_sums(sq_call *c) {
  float *out = c->out[0];
  memset(out, 0, 12);
  for (int k = 0; k < TOY_V * TOY_D; k++) out[k % TOY_D] += ((float *)c->param[ROW_TABLE])[k];
  return 0;
}
static int32_t toy_init_copy(sq_call *c) {
  memcpy(c->out[0], c->param[ROW_LEARN], 8);
  return 0;
}

// --- descriptors --------------------------------------------------------------------------------
static const sq_abi_expr toy_n[] = {TOY_S(SYM_N)}, toy_m[] = {TOY_S(SYM_M)},
                         toy_n3[] = {TOY_S(SYM_N), TOY_C(3)}, toy_3[] = {TOY_C(3)},
                         toy_2[] = {TOY_C(2)},
                         toy_half[] = {TOY_X(SQ_X_SYM, SYM_N, SQ_X_CONST, 1, SQ_X_ADD, SQ_X_CONST,
                                             2, SQ_X_FLOORDIV)},
                         toy_g[] = {TOY_C(2), TOY_S(SYM_G), TOY_C(3)},
                         toy_row_dim[] = {TOY_C(2), TOY_C(1), TOY_C(3)},
                         toy_huge[] = {TOY_S(SYM_M), TOY_S(SYM_M), TOY_S(SYM_M)};
static const sq_abi_tensor toy_forward_in[] = {{"ids", SEQM_I32, 1, toy_n, 0},
                                               {"mask", SEQM_I32, 1, toy_n, 0}},
                           toy_forward_out[] = {{"out", SEQM_F32, 2, toy_n3, 0}},
                           toy_scalar_m[] = {{"max_new", SEQM_I32, 0, NULL, SYM_M}},
                           toy_out_m[] = {{"y", SEQM_F32, 1, toy_m, 0}},
                           toy_out_huge[] = {{"y", SEQM_F32, 3, toy_huge, 0}},
                           toy_in_3[] = {{"x", SEQM_F32, 1, toy_3, 0}},
                           toy_in_half[] = {{"x", SEQM_F32, 1, toy_n, 0},
                                            {"pairs", SEQM_F32, 1, toy_half, 0}},
                           toy_in_2[] = {{"d", SEQM_F32, 1, toy_2, 0}},
                           toy_scalar[] = {{"n", SEQM_I32, 0, NULL, 0},
                                           {"steps", SEQM_I32, 0, NULL, 0}},
                           toy_out_g[] = {{"rows", SEQM_F32, 3, toy_g, 0}},
                           toy_out_row[] = {{"row", SEQM_F32, 3, toy_row_dim, 0}};
static const sq_abi_require toy_limit[] = {{TOY_S(SYM_N), TOY_C(4096), 0, SITE_LIMIT}};
static const uint32_t toy_list[] = {0, 1, 2, 3, 4};

#define TOY_ALL_STATES .n_state = N_STATE, .state = toy_list, .n_param = N_PARAM, .param = toy_list
static const sq_abi_entry toy_entries[] = {
    {"forward", 2, 1, toy_forward_in, toy_forward_out, 1, toy_limit,
     TOY_X(SQ_X_SYM, 0, SQ_X_CONST, 64, SQ_X_MUL), 2, 0, toy_list, NULL, 0, toy_forward},
    {"fill", .n_in = 1, .in = toy_scalar_m, .n_out = 1, .out = toy_out_m, .code = toy_fill},
    {"huge", .n_in = 1, .in = toy_scalar_m, .n_out = 1, .out = toy_out_huge, .code = toy_nothing},
    {"step", .n_in = 1, .in = toy_in_3, .n_out = 1, .out = toy_scalar, .arena = TOY_S(SYM_G),
     .n_state = 3, .state = toy_list, .writes = 1, .code = toy_step},
    {"read0", .n_out = 1, .out = toy_out_g, .n_state = 2, .state = toy_list, .code = toy_read0},
    {"read1", .n_out = 1, .out = toy_out_g, .n_state = 2, .state = toy_list, .code = toy_read1},
    {"grown", .n_in = 1, .in = toy_scalar, .n_out = 1, .out = toy_out_g, .n_state = 2,
     .state = toy_list, .writes = 1, .code = toy_grown},
    {"resize", .n_in = 1, .in = toy_scalar, .n_state = 2, .state = toy_list, .writes = 1,
     .code = toy_resize},
    {"restart", .n_out = 1, .out = toy_scalar, TOY_ALL_STATES, .writes = 1, .code = toy_restart},
    {"counts", .n_out = 2, .out = toy_scalar, .n_state = 3, .state = toy_list, .code = toy_counts},
    {"train", .n_in = 1, .in = toy_in_2, .n_param = 1, .param = toy_list + P_LEARN, .writes = 1,
     .code = toy_train},
    {"copied", .n_out = 1, .out = toy_in_2, .n_state = 1, .state = toy_list + S_COPY,
     .code = toy_copied},
    {"sums", .n_out = 1, .out = toy_in_3, .n_state = 1, .state = toy_list + S_SUMS,
     .code = toy_sums},
    {"pairs", .n_in = 2, .in = toy_in_half, .code = toy_nothing},
    {"check", .n_out = 1, .out = toy_in_3, .code = toy_check},
    {"nothing", .code = toy_nothing},
};
static const sq_abi_entry toy_inits[] = {
    {"len", .n_out = 1, .out = toy_scalar, .code = toy_init_zero},
    {"cache", .n_in = 1, .in = toy_scalar, .n_out = 1, .out = toy_out_row, .code = toy_init_cache},
    {"steps", .n_out = 1, .out = toy_scalar, .code = toy_init_steps},
    {"sums", .n_out = 1, .out = toy_in_3, .n_param = 1, .param = toy_list + P_TABLE,
     .code = toy_init_sums},
    {"copy", .n_out = 1, .out = toy_in_2, .n_param = 1, .param = toy_list + P_LEARN,
     .code = toy_init_copy},
};
static const sq_abi_param toy_params[] = {
    {"table", SEQM_F32, 2, (const int64_t[]){TOY_V, TOY_D}, 1, 2,
     (const char *const[]){"model.table", "table"}, ROW_TABLE, 0, 0},
    {"layer.w", SEQM_F32, 1, (const int64_t[]){TOY_D}, 2, 1,
     (const char *const[]){"layer.0.w", "layer.1.w"}, ROW_LAYER, 0, 0},
    {"learn", SEQM_F32, 1, (const int64_t[]){2}, 1, 1, (const char *const[]){"learn"}, ROW_LEARN, 1,
     0},
};
static const sq_abi_state toy_states[] = {
    {"len", SEQM_I32, 0, NULL, 1, (const char *const[]){"len"}, CELL_LEN, -1, 0, 0, 0, 0, 0},
    {"cache", SEQM_F32, 3, (const int64_t[]){2, -1, 3}, 2,
     (const char *const[]){"block.0.cache", "block.1.cache"}, CELL_CACHE, 1, SYM_G, 0, 0, 1, 1},
    {"steps", SEQM_I32, 0, NULL, 1, (const char *const[]){"steps"}, CELL_STEPS, -1, 0, 1, 0, 2, 0},
    {"sums", SEQM_F32, 1, (const int64_t[]){3}, 1, (const char *const[]){"sums"}, CELL_SUMS, -1, 0,
     0, 1, 3, 0},
    {"copy", SEQM_F32, 1, (const int64_t[]){2}, 1, (const char *const[]){"copy"}, CELL_COPY, -1, 0,
     0, 0, 4, 0},
};
static const sq_abi_site toy_sites[] = {
    {"toy.seqm", 4, 11, "index out of range: `table[ids[n], c]`, axis 0",
     "  x[n, c] = table[ids[n], c]"},
    {"toy.seqm", 3, 3, "the text is too long", "  check N <= 4096, \"the text is too long\""},
    {"toy.seqm", 9, 5, "the context is full", "\t\xc3\xa9 ! check"},
};
static const sq_abi_model toy_model = {
    .version = SQ_ABI_VERSION,
    .name = "toy",
    .float_dtype = SEQM_F32,
    .n_sym = N_SYM,
    .sym_names = (const char *const[]){"N", "max_new", "grown"},
    .n_entry = TOY_COUNT(toy_entries),
    .n_init = TOY_COUNT(toy_inits),
    .n_param = N_PARAM,
    .n_state = N_STATE,
    .n_site = N_SITE,
    .entry = toy_entries,
    .init = toy_inits,
    .param = toy_params,
    .state = toy_states,
    .site = toy_sites,
    .config = "d=3 vocab=5",
    .cpu = "x86-64-v2",
};

// As libc's, but refuses what no test needs, so that sanitizers see no absurd request.
static inline void *toy_allocate(void *user, void *p, size_t size) {
  (void)user;
  if (size > (size_t)1 << 28) return NULL;
  if (size) return realloc(p, size);
  free(p);
  return NULL;
}

// --- files --------------------------------------------------------------------------------------
static inline void toy_write_file(const char *path, const void *data, size_t n) {
  FILE *f = fopen(path, "wb");
  fwrite(data, 1, n, f);
  fclose(f);
}

// A safetensors file: `header` and `n` bytes of data.
static inline size_t toy_safetensors(char *out, const char *header, const void *data, size_t n) {
  size_t h = strlen(header);
  for (int k = 0; k < 8; k++) out[k] = (char)(h >> (8 * k));
  memcpy(out + 8, header, h);
  if (n) memcpy(out + 8 + h, data, n);
  return 8 + h + n;
}

// table[v, c] = 10 v + c, layer 0: 0.25, layer 1: 0.5, learn: 1, 2
static inline void toy_weights(const char *path) {
  static const char header[] =
      "{\"__metadata__\":{\"format\":\"pt\"},"
      "\"table\":{\"dtype\":\"F32\",\"shape\":[5,3],\"data_offsets\":[0,60]},"
      "\"layer.0.w\":{\"dtype\":\"F32\",\"shape\":[3],\"data_offsets\":[60,72]},"
      "\"layer.1.w\":{\"dtype\":\"F32\",\"shape\":[3],\"data_offsets\":[72,84]},"
      "\"learn\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[84,92]},"
      "\"unused.mask\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[92,96]}}   ";
  float v[24] = {0};
  for (int k = 0; k < 15; k++) v[k] = (float)(10 * (k / 3) + k % 3);
  for (int k = 0; k < 3; k++) v[15 + k] = 0.25f;
  for (int k = 0; k < 3; k++) v[18 + k] = 0.5f;
  v[21] = 1;
  v[22] = 2;
  char file[4096];
  toy_write_file(path, file, toy_safetensors(file, header, v, 96));
}
