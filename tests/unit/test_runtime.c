// Calls on a model made by hand: binding of sizes, messages, outputs, weights, entries.
#include "tests/unit/toy_model.h"
#include <criterion/criterion.h>
#include <unistd.h>

static seqm_context *ctx;
static seqm_model *model;
static char weights_path[64];

static void open_model(void) {
  snprintf(weights_path, sizeof weights_path, "seqm-test-%d.safetensors", (int)getpid());
  toy_weights(weights_path);
  ctx = seqm_context_new(&(seqm_options){.allocate = toy_allocate, .threads = 3});
  cr_assert(ctx);
  cr_assert_eq(seqm_model_linked(ctx, &toy_model, &model), 0, "%s", seqm_message(ctx));
}
static void close_model(void) {
  seqm_model_free(model);
  seqm_context_free(ctx);
  unlink(weights_path);
}
TestSuite(runtime, .init = open_model, .fini = close_model);

static void load(void) {
  cr_assert_eq(seqm_model_weights(model, weights_path), 0, "%s", seqm_message(ctx));
}

static seqm_tensor ints(int32_t *v, int64_t n) {
  return (seqm_tensor){.dtype = SEQM_I32, .rank = 1, .dim = {n}, .data = v};
}
static int call(const char *entry, seqm_tensor *in, size_t n_in, seqm_tensor *out, size_t n_out) {
  const seqm_entry *e = seqm_model_entry(model, entry);
  cr_assert(e, "%s", seqm_message(ctx));
  return seqm_call(model, e, in, n_in, out, n_out);
}
#define says(text)                                                                                 \
  cr_assert_str_eq(seqm_message(ctx), text, "the message is\n%s", seqm_message(ctx))
#define mentions(text)                                                                             \
  cr_assert(strstr(seqm_message(ctx), text), "the message is\n%s", seqm_message(ctx))

Test(runtime, forward) {
  load();
  int32_t ids[] = {4, 0, 2}, mask[] = {1, 1, 1};
  seqm_tensor in[] = {ints(ids, 3), ints(mask, 3)}, out[1] = {{0}};
  cr_assert_eq(call("forward", in, 2, out, 1), 0, "%s", seqm_message(ctx));
  const float want[] = {40.75f, 41.75f, 42.75f, 0.75f, 1.75f, 2.75f, 20.75f, 21.75f, 22.75f};
  cr_assert_eq(out[0].rank, 2);
  cr_assert_eq(out[0].dim[0], 3);
  cr_assert_eq(out[0].dim[1], 3);
  cr_assert_eq((uintptr_t)out[0].data % 64, 0);
  cr_assert_arr_eq(out[0].data, want, sizeof want);
  // Into the caller's buffer.
  float own[9] = {0};
  seqm_tensor mine[1] = {{.dtype = SEQM_F32, .rank = 2, .dim = {3, 3}, .data = own}};
  cr_assert_eq(call("forward", in, 2, mine, 1), 0);
  cr_assert_arr_eq(own, want, sizeof want);
  mine[0].dim[0] = 2;
  cr_assert_eq(call("forward", in, 2, mine, 1), 2);
  says("forward: output `out` is f32[3, 3], but the buffer given is f32[2, 3]");
  seqm_tensor_free(ctx, &out[0]);
  seqm_tensor_free(ctx, &out[0]);
}

Test(runtime, empty_input) {
  load();
  seqm_tensor in[] = {ints(NULL, 0), ints(NULL, 0)}, out[1] = {{0}};
  cr_assert_eq(call("forward", in, 2, out, 1), 0, "%s", seqm_message(ctx));
  cr_assert_eq(out[0].dim[0], 0);
  cr_assert(out[0].owned);
  seqm_tensor_free(ctx, &out[0]);
}

Test(runtime, shapes_that_disagree) {
  load();
  int32_t v[8] = {0};
  seqm_tensor in[] = {ints(v, 8), ints(v, 7)}, out[1] = {{0}};
  cr_assert_eq(call("forward", in, 2, out, 1), 1);
  says("forward: input `mask` has shape [7], but N = 8 from input `ids`");
  cr_assert_null(out[0].data);
  in[1] = (seqm_tensor){.dtype = SEQM_I64, .rank = 2, .dim = {2, 4}, .data = v};
  cr_assert_eq(call("forward", in, 2, out, 1), 1);
  says("forward: input `mask` is i64[2, 4], but should be i32[N]");
  cr_assert_eq(call("forward", in, 1, out, 1), 2);
  says("forward takes 2 inputs (`ids`, `mask`), not 1");
  cr_assert_eq(call("forward", in, 2, out, 0), 2);
  says("forward gives 1 output, not 0");
  cr_assert_eq(call("forward", NULL, 2, out, 1), 2);
  says("the array of inputs is NULL");
  cr_assert_eq(call("forward", in, 2, NULL, 1), 2);
  says("the array of outputs is NULL");
  in[0].dim[0] = -1;
  cr_assert_eq(call("forward", in, 2, out, 1), 1);
  in[0].dim[0] = INT64_MAX;
  cr_assert_eq(call("forward", in, 2, out, 1), 1);
  mentions("negative or too large");
  in[0] = ints(NULL, 3);
  cr_assert_eq(call("forward", in, 2, out, 1), 1);
  says("forward: input `ids` has no data");
  float x[8] = {0};
  seqm_tensor pair[] = {{.dtype = SEQM_F32, .rank = 1, .dim = {7}, .data = x},
                        {.dtype = SEQM_F32, .rank = 1, .dim = {3}, .data = x}};
  cr_assert_eq(call("pairs", pair, 2, NULL, 0), 1);
  says("pairs: input `pairs` has shape [3], but its axis 0 must be (N + 1) // 2 = 4, where N = 7 "
       "from "
       "input `x`");
  pair[1].dim[0] = 4;
  cr_assert_eq(call("pairs", pair, 2, NULL, 0), 0);
  cr_assert_eq(call("step", pair, 1, out, 1), 1);
  says("step: input `x` has shape [7], but its axis 0 must be 3: it is f32[3]");
}

Test(runtime, buffers_apart) {
  load();
  int32_t v[30] = {0};
  seqm_tensor in[] = {ints(v, 4), ints(v, 4)};
  seqm_tensor out = {.dtype = SEQM_F32, .rank = 2, .dim = {4, 3}, .data = v + 3};
  cr_assert_eq(call("forward", in, 2, &out, 1), 2);
  says("forward: the buffer given for output `out` overlaps input `ids`");
  in[0].data = v + 14;
  in[1].data = v + 18;
  cr_assert_eq(call("forward", in, 2, &out, 1), 2);
  says("forward: the buffer given for output `out` overlaps input `ids`");
  in[0].data = in[1].data = v + 15;
  cr_assert_eq(call("forward", in, 2, &out, 1), 0, "%s", seqm_message(ctx));
}

Test(runtime, what_must_be_given) {
  load();
  int32_t v[4] = {0};
  seqm_tensor in[] = {ints(v, 4), ints(v, 4)}, out[1] = {{0}}, t;
  seqm_model *m = model;
  cr_assert_eq(call("forward", NULL, 2, out, 1), 2);
  says("the array of inputs is NULL");
  cr_assert_eq(call("forward", in, 2, NULL, 1), 2);
  says("the array of outputs is NULL");
  cr_assert_null(seqm_model_entry(model, NULL));
  says("the name of the entry is NULL");
  cr_assert_eq(seqm_model_open(ctx, NULL, &m), 2);
  cr_assert_null(m);
  cr_assert_eq(seqm_model_linked(ctx, NULL, &m), 2);
  cr_assert_eq(seqm_model_weights(model, NULL), 2);
  says("the path of the weights is NULL");
  cr_assert_eq(seqm_save_state(model, NULL), 2);
  cr_assert_eq(seqm_load_state(model, NULL), 2);
  cr_assert_eq(seqm_npy_read(ctx, NULL, &t), 2);
  cr_assert_eq(seqm_npy_write(ctx, NULL, in), 2);
  cr_assert_eq(seqm_npy_write(ctx, "none.npy", NULL), 2);
  cr_assert_eq(seqm_tensor_copy(ctx, NULL, SEQM_HOST, &t), 2);
  says("the tensor is NULL");
  in[0].dtype = (seqm_dtype)77;
  cr_assert_eq(call("forward", in, 2, out, 1), 1);
  says("forward: input `ids` has the dtype 77, which is none");
}

Test(runtime, sizes_from_scalars) {
  int32_t n = 4;
  seqm_tensor in = {.dtype = SEQM_I32, .data = &n}, out = {0};
  cr_assert_eq(call("fill", &in, 1, &out, 1), 0, "%s", seqm_message(ctx));
  cr_assert_eq(out.dim[0], 4);
  cr_assert_eq(((float *)out.data)[3], 3);
  seqm_tensor_free(ctx, &out);
  n = -2;
  cr_assert_eq(call("fill", &in, 1, &out, 1), 1);
  says("fill: input `max_new` is -2, but a size cannot be negative");
  n = INT32_MAX;
  cr_assert_eq(call("huge", &in, 1, &out, 1), 1);
  says("huge: output `y` would be negative or too large: [max_new, max_new, max_new], max_new = "
       "2147483647 from input `max_new`");
  n = 1200000; // fits into 64 bits, not into the machine
  cr_assert_eq(call("huge", &in, 1, &out, 1), 3);
  mentions("out of memory: output `y` needs");
  cr_assert_null(out.data);
}

Test(runtime, tests_of_sizes) {
  load();
  static int32_t v[5000];
  seqm_tensor in[] = {ints(v, 5000), ints(v, 5000)}, out[1] = {{0}};
  cr_assert_eq(call("forward", in, 2, out, 1), 1);
  says("toy.seqm:3:3: the text is too long: 5000 is more than 4096; N = 5000 from input `ids`\n"
       "    3 |   check N <= 4096, \"the text is too long\"\n"
       "      |   ^");
}

Test(runtime, failing_gather) {
  load();
  int32_t ids[] = {1, 70000}, mask[] = {1, 1};
  seqm_tensor in[] = {ints(ids, 2), ints(mask, 2)}, out[1] = {{0}};
  cr_assert_eq(call("forward", in, 2, out, 1), 1);
  says("toy.seqm:4:11: index out of range: `table[ids[n], c]`, axis 0: 70000 is not below 5\n"
       "    4 |   x[n, c] = table[ids[n], c]\n"
       "      |           ^");
  cr_assert_null(out[0].data);
  cr_assert_eq(out[0].owned, 0);
  ids[1] = -3;
  cr_assert_eq(call("forward", in, 2, out, 1), 1);
  mentions("axis 0: -3 is below 0\n");
  ids[1] = 3;
  cr_assert_eq(call("forward", in, 2, out, 1), 0);
  cr_assert_str_eq(seqm_message(ctx), "");
  seqm_tensor_free(ctx, out);
}

Test(runtime, failing_check) {
  seqm_tensor out = {0};
  cr_assert_eq(call("check", NULL, 0, &out, 1), 1);
  says("toy.seqm:9:5: the context is full\n    9 | \t\xc3\xa9 ! check\n      | \t   ^");
}

Test(runtime, missing_weights_are_listed) {
  int32_t v[1] = {0};
  seqm_tensor in[] = {ints(v, 1), ints(v, 1)}, out[1] = {{0}};
  cr_assert_eq(call("forward", in, 2, out, 1), 1);
  says("forward: no weights were given: 3 parameters are missing or do not fit (the model has d=3 "
       "vocab=5)\n"
       "  `model.table` or `table` f32[5, 3]: missing\n"
       "  `layer.0.w` f32[3]: missing\n"
       "  `layer.1.w` f32[3]: missing");
  char file[512], data[80] = {0};
  size_t n =
      toy_safetensors(file,
                      "{\"table\":{\"dtype\":\"F32\",\"shape\":[3,5],\"data_offsets\":[0,60]},"
                      "\"layer.1.w\":{\"dtype\":\"I32\",\"shape\":[3],\"data_offsets\":[60,72]}}",
                      data, 72);
  toy_write_file(weights_path, file, n);
  load();
  cr_assert_eq(call("forward", in, 2, out, 1), 1);
  char want[700];
  snprintf(want, sizeof want,
           "forward: 3 parameters are missing or do not fit (the model has d=3 vocab=5)\n"
           "  `model.table` or `table` f32[5, 3]: %s has `table` as f32[3, 5]\n"
           "  `layer.0.w` f32[3]: no file has it\n"
           "  `layer.1.w` f32[3]: %s has i32[3]",
           weights_path, weights_path);
  says(want);
  cr_assert_eq(seqm_model_check(model, NULL), 1);
  mentions("toy: 4 parameters");
  // A later file that has what the first lacks does not help where the first has it wrong.
  toy_weights(weights_path);
  load();
  cr_assert_eq(call("forward", in, 2, out, 1), 1);
}

Test(runtime, first_file_wins_and_unused_names) {
  char other[80], file[512];
  snprintf(other, sizeof other, "%s.other", weights_path);
  float w[3] = {100, 100, 100};
  size_t n = toy_safetensors(
      file, "{\"layer.1.w\":{\"dtype\":\"F32\",\"shape\":[3],\"data_offsets\":[0,12]}}", w, 12);
  toy_write_file(other, file, n);
  cr_assert_eq(seqm_model_weights(model, other), 0);
  load();
  unlink(other);
  int32_t v[1] = {0};
  seqm_tensor in[] = {ints(v, 1), ints(v, 1)}, out[1] = {{0}};
  cr_assert_eq(call("forward", in, 2, out, 1), 0, "%s", seqm_message(ctx));
  cr_assert_eq(((float *)out[0].data)[0], 100.25f);
  seqm_tensor_free(ctx, out);
  const char *names[4];
  cr_assert_eq(seqm_model_unused(model, names, 4), 1);
  cr_assert_str_eq(names[0], "unused.mask");
  cr_assert_eq(seqm_model_check(model, NULL), 0);
}

static void loading(size_t want_loaded, size_t want) {
  size_t loaded, wanted;
  seqm_model_loading(model, &loaded, &wanted);
  cr_assert_eq(loaded, want_loaded, "%zu of %zu", loaded, wanted);
  cr_assert_eq(wanted, want, "%zu of %zu", loaded, wanted);
}

Test(runtime, how_many_parameters_are_loaded) {
  int32_t v[1] = {0};
  seqm_tensor in[] = {ints(v, 1), ints(v, 1)}, out[1] = {{0}};
  loading(0, 0);
  cr_assert_eq(call("forward", in, 2, out, 1), 1); // no weights were given
  loading(0, 3);
  cr_assert_eq(seqm_model_random_weights(model, 7), 0);
  cr_assert_eq(call("forward", in, 2, out, 1), 0, "%s", seqm_message(ctx));
  loading(3, 3);
  cr_assert_eq(seqm_model_check(model, NULL), 0);
  loading(4, 4);
  seqm_tensor_free(ctx, out);
}

Test(runtime, random_weights) {
  cr_assert_eq(seqm_model_random_weights(model, 7), 0);
  int32_t v[5] = {0, 1, 2, 3, 4};
  seqm_tensor in[] = {ints(v, 5), ints(v, 5)}, a[1] = {{0}}, b[1] = {{0}};
  cr_assert_eq(call("forward", in, 2, a, 1), 0, "%s", seqm_message(ctx));
  seqm_model *again;
  cr_assert_eq(seqm_model_linked(ctx, &toy_model, &again), 0);
  seqm_model_random_weights(again, 7);
  cr_assert_eq(seqm_call(again, seqm_model_entry(again, "forward"), in, 2, b, 1), 0);
  cr_assert_arr_eq(a[0].data, b[0].data, 60);
  seqm_model_free(again);
  seqm_tensor_free(ctx, a);
  seqm_tensor_free(ctx, b);
}

Test(runtime, entries) {
  cr_assert_eq(seqm_entry_count(model), TOY_COUNT(toy_entries));
  cr_assert_null(seqm_entry_at(model, TOY_COUNT(toy_entries)));
  const seqm_entry *e = seqm_entry_at(model, 0);
  cr_assert_str_eq(seqm_entry_name(e), "forward");
  cr_assert_eq(seqm_entry_inputs(e), 2);
  cr_assert_str_eq(seqm_input_name(e, 1), "mask");
  cr_assert_null(seqm_input_name(e, 2));
  cr_assert_eq(seqm_input_dtype(e, 0), SEQM_I32);
  cr_assert_str_eq(seqm_output_name(e, 0), "out");
  cr_assert_eq(seqm_output_rank(e, 0), 2);
  cr_assert_null(seqm_model_entry(model, "backward"));
  mentions("`toy` has no entry `backward`; it has `forward`, `fill`, ");
  seqm_model *other;
  seqm_model_linked(ctx, &toy_model, &other);
  cr_assert_eq(seqm_call(other, e, NULL, 0, NULL, 0), 2);
  seqm_model_free(other);
}

Test(runtime, plan) {
  seqm_tensor in[] = {ints(NULL, 6), ints(NULL, 6)}, out[1] = {{0}};
  size_t scratch = 0;
  const seqm_entry *e = seqm_model_entry(model, "forward");
  cr_assert_eq(seqm_plan(model, e, in, 2, out, 1, &scratch), 0, "%s", seqm_message(ctx));
  cr_assert_eq(out[0].dim[0], 6);
  cr_assert_eq(out[0].dim[1], 3);
  cr_assert_null(out[0].data);
  cr_assert_eq(scratch, 3 * 64);
  seqm_set_threads(ctx, 2);
  cr_assert_eq(seqm_plan(model, e, in, 2, out, 1, &scratch), 0);
  cr_assert_eq(scratch, 2 * 64);
  cr_assert_eq(seqm_set_threads(ctx, -1), 2);
}

Test(runtime, wrong_descriptors) {
  seqm_model *m;
  sq_abi_model d = toy_model;
  d.version = 99;
  cr_assert_eq(seqm_model_linked(ctx, &d, &m), 1);
  mentions("version 99");
  d = toy_model;
  d.n_feature = 1;
  d.feature = (const char *const[]){"warp_drive"};
  cr_assert_eq(seqm_model_linked(ctx, &d, &m), 1);
  says("toy: compiled for x86-64-v2, but this machine has no `warp_drive`: compile it for a lesser "
       "--target-cpu");
#ifdef __x86_64__
  d.feature = (const char *const[]){"sse2"};
  cr_assert_eq(seqm_model_linked(ctx, &d, &m), 0);
  seqm_model_free(m);
#endif
}

Test(runtime, not_a_model) {
  seqm_model *m;
  cr_assert_eq(seqm_model_open(ctx, "/nonexistent/model.so", &m), 3);
  mentions("cannot be opened: No such file");
  cr_assert_null(m);
  cr_assert_eq(seqm_model_open(ctx, weights_path, &m), 1);
  mentions("not a shared object");
  cr_assert_eq(seqm_model_open(ctx, ".", &m), 3);
}

// --- a JIT --------------------------------------------------------------------------------------
typedef struct fake_jit {
  int compiled, released;
} fake_jit;
static sq_entry_code fake_compile(void *user, int is_init, uint32_t k, const char **message) {
  fake_jit *j = user;
  j->compiled++;
  if (!is_init && k == 1) {
    *message = "no such instruction";
    return NULL;
  }
  return is_init ? toy_inits[k].code : toy_entries[k].code;
}
static void fake_release(void *user) { ((fake_jit *)user)->released++; }

Test(runtime, code_is_made_when_first_called) {
  static sq_abi_entry entry[TOY_COUNT(toy_entries)], init[TOY_COUNT(toy_inits)];
  memcpy(entry, toy_entries, sizeof entry);
  memcpy(init, toy_inits, sizeof init);
  for (size_t k = 0; k < TOY_COUNT(entry); k++) entry[k].code = NULL;
  for (size_t k = 0; k < TOY_COUNT(init); k++) init[k].code = NULL;
  sq_abi_model d = toy_model;
  d.entry = entry;
  d.init = init;
  fake_jit jit = {0};
  sq_abi_hooks hooks = {.user = &jit, .compile = fake_compile, .release = fake_release};
  seqm_model *m;
  cr_assert_eq(seqm_model_jit(ctx, &d, &hooks, &m), 0);
  cr_assert_eq(jit.compiled, 0);
  cr_assert_eq(seqm_call(m, seqm_model_entry(m, "nothing"), NULL, 0, NULL, 0), 0);
  cr_assert_eq(seqm_call(m, seqm_model_entry(m, "nothing"), NULL, 0, NULL, 0), 0);
  cr_assert_eq(jit.compiled, 1);
  int32_t n = 1;
  seqm_tensor in = {.dtype = SEQM_I32, .data = &n}, out = {0};
  cr_assert_eq(seqm_call(m, seqm_model_entry(m, "fill"), &in, 1, &out, 1), 3);
  says("fill: cannot be compiled: no such instruction");
  seqm_tensor counts[2] = {{0}};
  cr_assert_eq(seqm_call(m, seqm_model_entry(m, "counts"), NULL, 0, counts, 2), 0);
  cr_assert_eq(jit.compiled, 6);
  seqm_tensor_free(ctx, &counts[0]);
  seqm_tensor_free(ctx, &counts[1]);
  seqm_model_free(m);
  cr_assert_eq(jit.released, 1);
}

// --- DLPack -------------------------------------------------------------------------------------
// DLPack's own structures, spelled out.
struct DLManagedTensor {
  void *data;
  int32_t device_type, device_id, ndim;
  uint8_t code, bits;
  uint16_t lanes;
  int64_t *shape, *strides;
  uint64_t byte_offset;
  void *manager_ctx;
  void (*deleter)(struct DLManagedTensor *self);
};

Test(runtime, dlpack) {
  float x[8] = {0};
  int64_t shape[] = {2, 1, 3}, strides[] = {3, 77, 1};
  struct DLManagedTensor dl = {.data = x,
                               .device_type = 1,
                               .ndim = 3,
                               .code = 2,
                               .bits = 32,
                               .lanes = 1,
                               .shape = shape,
                               .strides = strides,
                               .byte_offset = 4};
  seqm_tensor t;
  cr_assert_eq(seqm_from_dlpack(ctx, &dl, &t), 0, "%s", seqm_message(ctx));
  cr_assert_eq(t.data, x + 1);
  cr_assert_eq(t.dtype, SEQM_F32);
  cr_assert_eq(t.dim[2], 3);
  cr_assert_eq(t.owned, 0);
  strides[2] = 2;
  cr_assert_eq(seqm_from_dlpack(ctx, &dl, &t), 1);
  mentions("not dense");
  dl.strides = NULL;
  dl.device_type = 4;
  cr_assert_eq(seqm_from_dlpack(ctx, &dl, &t), 1);
  mentions("neither in the CPU's memory nor on a CUDA device");
  dl.device_type = 2;
  cr_assert_eq(seqm_from_dlpack(ctx, &dl, &t), 0, "%s", seqm_message(ctx));
  cr_assert_eq(t.device, SEQM_CUDA);
  dl.device_id = 1;
  cr_assert_eq(seqm_from_dlpack(ctx, &dl, &t), 1);
  mentions("CUDA_VISIBLE_DEVICES");
  dl.device_type = 1;
  dl.bits = 128;
  cr_assert_eq(seqm_from_dlpack(ctx, &dl, &t), 1);

  int32_t n = 3;
  seqm_tensor in = {.dtype = SEQM_I32, .data = &n}, out = {.device = SEQM_CUDA};
  cr_assert_eq(call("fill", &in, 1, &out, 1), 2);
  mentions("output `y` is wanted on a CUDA device, but the model runs on the host");
  out.device = SEQM_HOST;
  in.device = SEQM_CUDA;
  cr_assert_eq(call("fill", &in, 1, &out, 1), 2);
  mentions("is on a CUDA device, but the model runs on the host");
  in.device = SEQM_HOST;
  cr_assert_eq(call("fill", &in, 1, &out, 1), 0);
  struct DLManagedTensor *given;
  cr_assert_eq(seqm_to_dlpack(ctx, &out, &given), 0);
  cr_assert_null(out.data);
  cr_assert_eq(given->shape[0], 3);
  cr_assert_eq(given->strides[0], 1);
  cr_assert_eq(((float *)given->data)[2], 2);
  given->deleter(given);
  cr_assert_eq(seqm_to_dlpack(ctx, &in, &given), 2);
}

// A host's own pool, which counts.
static int host_jobs;
static void host_parallel(void *pool, int64_t n, void (*fn)(void *, int64_t, int64_t), void *c) {
  ++*(int *)pool;
  for (int64_t t = n; t-- > 0;) fn(c, t, t & 1);
}

Test(runtime, host_pool) {
  seqm_context *host = seqm_context_new(
      &(seqm_options){.threads = 2, .parallel = host_parallel, .pool = &host_jobs});
  seqm_model *m;
  cr_assert_eq(seqm_model_linked(host, &toy_model, &m), 0);
  seqm_model_weights(m, weights_path);
  int32_t v[3] = {1, 2, 3};
  seqm_tensor in[] = {ints(v, 3), ints(v, 3)}, out[1] = {{0}};
  cr_assert_eq(seqm_call(m, seqm_model_entry(m, "forward"), in, 2, out, 1), 0);
  cr_assert_eq(host_jobs, 1);
  cr_assert_eq(((float *)out[0].data)[6], 30.75f);
  seqm_tensor_free(host, out);
  seqm_model_free(m);
  seqm_context_free(host);
}
