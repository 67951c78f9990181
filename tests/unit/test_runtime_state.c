// States: first values, growth along an inner axis, reset, derived values, saving and loading.
#include "tests/unit/toy_model.h"
#include <criterion/criterion.h>
#include <unistd.h>

static seqm_context *ctx;
static seqm_model *model;
static char weights_path[64], state_path[64];

static seqm_model *fresh(void) {
  seqm_model *m;
  cr_assert_eq(seqm_model_linked(ctx, &toy_model, &m), 0);
  cr_assert_eq(seqm_model_weights(m, weights_path), 0);
  return m;
}
static void open_model(void) {
  snprintf(weights_path, sizeof weights_path, "seqm-state-%d.safetensors", (int)getpid());
  snprintf(state_path, sizeof state_path, "seqm-state-%d.saved", (int)getpid());
  toy_weights(weights_path);
  ctx = seqm_context_new(&(seqm_options){.allocate = toy_allocate, .threads = 2});
  model = fresh();
}
static void close_model(void) {
  seqm_model_free(model);
  seqm_context_free(ctx);
  unlink(weights_path);
  unlink(state_path);
}
TestSuite(state, .init = open_model, .fini = close_model);

static int call(seqm_model *m, const char *entry, const seqm_tensor *in, size_t n_in,
                seqm_tensor *out, size_t n_out) {
  const seqm_entry *e = seqm_model_entry(m, entry);
  cr_assert(e, "%s", seqm_message(ctx));
  return seqm_call(m, e, in, n_in, out, n_out);
}

static int step(seqm_model *m, float x) {
  float v[3] = {x, x + 0.1f, x + 0.2f};
  int32_t n = -1;
  seqm_tensor in = {.dtype = SEQM_F32, .rank = 1, .dim = {3}, .data = v};
  seqm_tensor out = {.dtype = SEQM_I32, .data = &n};
  cr_assert_eq(call(m, "step", &in, 1, &out, 1), 0, "%s", seqm_message(ctx));
  return n;
}

static void counts(seqm_model *m, int32_t *len, int32_t *steps) {
  seqm_tensor out[2] = {{.dtype = SEQM_I32, .data = len}, {.dtype = SEQM_I32, .data = steps}};
  cr_assert_eq(call(m, "counts", NULL, 0, out, 2), 0, "%s", seqm_message(ctx));
}

static seqm_tensor rows(seqm_model *m, int instance) {
  seqm_tensor out = {0};
  cr_assert_eq(call(m, instance ? "read1" : "read0", NULL, 0, &out, 1), 0, "%s", seqm_message(ctx));
  return out;
}

static void check_rows(seqm_model *m, int64_t n) {
  for (int i = 0; i < 2; i++) {
    seqm_tensor t = rows(m, i);
    cr_assert_eq(t.dim[1], n);
    const float *v = t.data;
    for (int o = 0; o < 2; o++)
      for (int64_t r = 0; r < n; r++)
        cr_assert_eq(v[(o * n + r) * 3 + 1], (float)r + 0.1f, "instance %d, row %d", i, (int)r);
    seqm_tensor_free(ctx, &t);
  }
}

Test(state, grows_and_resets) {
  int32_t len, n;
  for (int k = 0; k < 9; k++) {
    cr_assert_eq(step(model, (float)k), k + 1);
    check_rows(model, k + 1);
  }
  counts(model, &len, &n);
  cr_assert_eq(len, 9);
  cr_assert_eq(n, 109);
  cr_assert_eq(seqm_reset(model), 0);
  counts(model, &len, &n);
  cr_assert_eq(len, 0);
  cr_assert_eq(n, 109, "a kept state outlives reset");
  check_rows(model, 0);
  cr_assert_eq(step(model, 0), 1);
  check_rows(model, 1);
  // The model has no entry `reset` of its own: one is there all the same.
  cr_assert_eq(call(model, "reset", NULL, 0, NULL, 0), 0);
  check_rows(model, 0);
}

Test(state, new_rows_hold_the_init) {
  int32_t n = 3;
  step(model, 0);
  seqm_tensor in = {.dtype = SEQM_I32, .data = &n};
  cr_assert_eq(call(model, "resize", &in, 1, NULL, 0), 0);
  for (int i = 0; i < 2; i++) {
    seqm_tensor t = rows(model, i);
    const float *v = t.data, fill = (float)i + 0.5f;
    const float want[] = {0, 0.1f, 0.2f, fill, fill, fill, fill, fill, fill};
    for (int k = 0; k < 18; k++) cr_assert_eq(v[k], want[k % 9]);
    seqm_tensor_free(ctx, &t);
  }
  n = 1;
  cr_assert_eq(call(model, "resize", &in, 1, NULL, 0), 0);
  check_rows(model, 1);
  n = -1;
  cr_assert_eq(call(model, "resize", &in, 1, NULL, 0), 3);
  n = INT32_MAX;
  cr_assert_eq(call(model, "resize", &in, 1, NULL, 0), 3);
  cr_assert_str_eq(seqm_message(ctx), "state `cache` cannot have 2147483647 rows: out of memory");
  check_rows(model, 1);
}

// An output whose shape is the state's as the call leaves it.
Test(state, output_follows_the_extent) {
  int32_t n = 5;
  seqm_tensor in = {.dtype = SEQM_I32, .data = &n}, out = {0};
  cr_assert_eq(call(model, "grown", &in, 1, &out, 1), 0, "%s", seqm_message(ctx));
  cr_assert_eq(out.dim[1], 5);
  for (int k = 0; k < 30; k++) cr_assert_eq(((float *)out.data)[k], 1.5f);
  // The same into a buffer of that shape; one of another is refused.
  memset(out.data, 0, 30 * sizeof(float));
  cr_assert_eq(call(model, "grown", &in, 1, &out, 1), 0, "%s", seqm_message(ctx));
  cr_assert_eq(((float *)out.data)[29], 1.5f);
  n = 6;
  cr_assert_eq(call(model, "grown", &in, 1, &out, 1), 2);
  cr_assert_str_eq(seqm_message(ctx),
                   "grown: output `rows` is f32[2, 6, 3], but the buffer given is f32[2, 5, 3]");
  seqm_tensor_free(ctx, &out);
  n = INT32_MAX;
  cr_assert_eq(call(model, "grown", &in, 1, &out, 1), 3);
  cr_assert_null(out.data);
}

Test(state, reset_inside_a_call) {
  int32_t n = -1;
  seqm_tensor out = {.dtype = SEQM_I32, .data = &n};
  step(model, 0);
  cr_assert_eq(call(model, "restart", NULL, 0, &out, 1), 0, "%s", seqm_message(ctx));
  cr_assert_eq(n, 0);
  check_rows(model, 0);
}

Test(state, derived_once) {
  float s[3];
  seqm_tensor out = {.dtype = SEQM_F32, .rank = 1, .dim = {3}, .data = s};
  cr_assert_eq(call(model, "sums", NULL, 0, &out, 1), 0, "%s", seqm_message(ctx));
  cr_assert_eq(s[0], 100);
  cr_assert_eq(s[2], 110);
}

// `copy` is what `learn` was at the reset, not what training made of it before the first look.
Test(state, init_from_a_written_parameter) {
  float d[2] = {10, 20}, c[2];
  seqm_tensor in = {.dtype = SEQM_F32, .rank = 1, .dim = {2}, .data = d};
  seqm_tensor out = {.dtype = SEQM_F32, .rank = 1, .dim = {2}, .data = c};
  cr_assert_eq(call(model, "train", &in, 1, NULL, 0), 0, "%s", seqm_message(ctx));
  cr_assert_eq(call(model, "copied", NULL, 0, &out, 1), 0);
  cr_assert_eq(c[0], 1);
  cr_assert_eq(c[1], 2);
  cr_assert_eq(seqm_reset(model), 0);
  cr_assert_eq(call(model, "copied", NULL, 0, &out, 1), 0);
  cr_assert_eq(c[0], 11);
  cr_assert_eq(c[1], 22);
}

Test(state, saved_and_loaded) {
  float d[2] = {10, 20}, c[2];
  seqm_tensor in = {.dtype = SEQM_F32, .rank = 1, .dim = {2}, .data = d};
  for (int k = 0; k < 5; k++) step(model, (float)k);
  cr_assert_eq(call(model, "train", &in, 1, NULL, 0), 0);
  cr_assert_eq(seqm_save_state(model, state_path), 0, "%s", seqm_message(ctx));
  seqm_model *other = fresh();
  for (int k = 0; k < 7; k++) step(other, 50); // more rows than are loaded
  cr_assert_eq(seqm_load_state(other, state_path), 0, "%s", seqm_message(ctx));
  int32_t len, n;
  counts(other, &len, &n);
  cr_assert_eq(len, 5);
  cr_assert_eq(n, 105);
  check_rows(other, 5);
  cr_assert_eq(step(other, 5), 6);
  check_rows(other, 6);
  cr_assert_eq(call(other, "train", &in, 1, NULL, 0), 0);
  seqm_reset(other);
  seqm_tensor out = {.dtype = SEQM_F32, .rank = 1, .dim = {2}, .data = c};
  cr_assert_eq(call(other, "copied", NULL, 0, &out, 1), 0);
  cr_assert_eq(c[1], 42, "the written parameter is part of the state");
  seqm_model_free(other);
}

static void check_refused(const char *header, size_t data, const char *why) {
  static char file[4096], zero[1024];
  toy_write_file(state_path, file, toy_safetensors(file, header, zero, data));
  step(model, 0);
  cr_assert_eq(seqm_load_state(model, state_path), 1);
  cr_assert(strstr(seqm_message(ctx), why), "%s", seqm_message(ctx));
  check_rows(model, 1); // nothing changed
  seqm_reset(model);
}

#define LEN "\"len\":{\"dtype\":\"I32\",\"shape\":[],\"data_offsets\":[0,4]}"
#define STEPS ",\"steps\":{\"dtype\":\"I32\",\"shape\":[],\"data_offsets\":[4,8]}"
#define COPY ",\"copy\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[8,16]}"
#define CACHE0 ",\"block.0.cache\":{\"dtype\":\"F32\",\"shape\":[2,1,3],\"data_offsets\":[16,40]}"
#define CACHE1 ",\"block.1.cache\":{\"dtype\":\"F32\",\"shape\":[2,1,3],\"data_offsets\":[40,64]}"
#define CACHE2 ",\"block.1.cache\":{\"dtype\":\"F32\",\"shape\":[2,2,3],\"data_offsets\":[40,88]}"

Test(state, files_that_do_not_fit) {
  check_refused("{" LEN "}", 4, "state `block.0.cache` of `toy` is missing");
  check_refused("{" LEN STEPS COPY CACHE0 CACHE2 "}", 88,
                "`block.1.cache` should be f32[2, 1, 3], but is f32[2, 2, 3]");
  check_refused("{" LEN STEPS COPY CACHE0 CACHE1
                ",\"x\":{\"dtype\":\"U8\",\"shape\":[],\"data_offsets\":[64,65]}}",
                65, "`x` is no state of `toy`");
  check_refused("{" LEN STEPS COPY CACHE0 CACHE1
                ",\"learn\":{\"dtype\":\"F64\",\"shape\":[2],\"data_offsets\":[64,80]}}",
                80, "`learn` should be f32[2], but is f64[2]");
  check_refused("{\"len\":{\"dtype\":\"I64\",\"shape\":[],\"data_offsets\":[0,8]}}", 8,
                "`len` should be i32[], but is i64[]");
  cr_assert_eq(seqm_load_state(model, "/nonexistent"), 3);
  cr_assert_eq(seqm_save_state(model, "/nonexistent/state"), 3);
}
