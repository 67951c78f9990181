// Decoding in a host program: what a step allocates, a long generation in one call, state that is
// saved in the middle, memory known beforehand.
#include "tests/exec/host.h"

static void steps(seqm_context *ctx, seqm_model *m, int from, int to, float *logits) {
  const seqm_entry *step = entry(m, ctx, "step");
  for (int32_t t = from; t < to; t++) {
    int32_t id = t * 7 % 64;
    seqm_tensor in = scalar(&id), out = row(logits, 64, SEQM_F32);
    OK(ctx, seqm_call(m, step, &in, 1, &out, 1));
  }
}

// A cache with a bound: nothing at all after the first step.
Test(decoding, a_step_allocates_nothing) {
  counting c;
  seqm_context *ctx = counted_context(&c, 2);
  seqm_model *m = compile_example(ctx, "gpt2", DEFINES("ctx=300"));
  float logits[64];
  steps(ctx, m, 0, 1, logits);
  long before = c.calls;
  steps(ctx, m, 1, 300, logits);
  cr_assert_eq(c.calls, before, "299 steps made %ld allocations", c.calls - before);
  OK(ctx, seqm_reset(m)); // makes its own code ready, once
  before = c.calls;
  OK(ctx, seqm_reset(m));
  steps(ctx, m, 0, 300, logits);
  cr_assert_eq(c.calls, before, "a second text made %ld allocations", c.calls - before);
  seqm_model_free(m);
  seqm_context_free(ctx);
  cr_assert_eq(c.live, 0);
}

// A cache that grows: only at growths, which are geometric, so their number is logarithmic.
static long growths(const char *define) {
  counting c;
  seqm_context *ctx = counted_context(&c, 2);
  seqm_model *m = compile_example(ctx, "llama", DEFINES(define));
  float logits[64];
  steps(ctx, m, 0, 1, logits);
  long grown = 0;
  for (int t = 1; t < 400; t++) {
    long before = c.calls;
    steps(ctx, m, t, t + 1, logits);
    grown += c.calls != before;
  }
  OK(ctx, seqm_reset(m)); // all the room is there
  long before = c.calls;
  steps(ctx, m, 0, 400, logits);
  cr_assert_eq(c.calls, before, "a second text made %ld allocations", c.calls - before);
  seqm_model_free(m);
  seqm_context_free(ctx);
  cr_assert_eq(c.live, 0);
  return grown;
}

Test(decoding, a_growing_cache_allocates_at_growths_only) {
  long grown = growths("max_len=0");
  cr_assert(grown < 30, "%ld of 399 steps allocated", grown);
  grown = growths("max_len=400");
  cr_assert_eq(grown, 0, "with a bound %ld of 399 steps allocated", grown);
}

// A state of constant size: after 10,000 steps not a byte more than after 10.
static void constant_memory(const char *example, const char *name, int width) {
  counting c;
  seqm_context *ctx = counted_context(&c, 2);
  seqm_model *m = compile_example(ctx, example, NULL);
  const seqm_entry *step = entry(m, ctx, name);
  float logits[64];
  long calls = 0;
  size_t state[2], arena[2];
  for (int32_t t = 0; t < 10000; t++) {
    int32_t id = t * 7 % width;
    seqm_tensor in = scalar(&id), out = row(logits, width, SEQM_F32);
    OK(ctx, seqm_call(m, step, &in, 1, &out, 1));
    if (t == 9) calls = c.calls;
    if (t == 9 || t == 9999) OK(ctx, seqm_memory(m, NULL, &state[t != 9], &arena[t != 9]));
  }
  cr_assert_eq(c.calls, calls, "%s: %ld allocations after the tenth step", example,
               c.calls - calls);
  cr_assert_eq(state[0], state[1], "%s: %zu bytes of state, then %zu", example, state[0], state[1]);
  cr_assert_eq(arena[0], arena[1], "%s: %zu bytes of arena, then %zu", example, arena[0], arena[1]);
  seqm_model_free(m);
  seqm_context_free(ctx);
  cr_assert_eq(c.live, 0);
}
Test(decoding, recurrent_models_keep_their_size) {
  constant_memory("mamba", "step", 64);
  constant_memory("rwkv", "step", 64);
  constant_memory("spikegpt", "step", 64);
  constant_memory("transnormerllm", "step", 64);
  constant_memory("pararnn", "lm_step", 40);
  constant_memory("miras", "yaad_step", 32);
  constant_memory("titans", "lmm_step", 32);
}

// 512 tokens in one call, equal to a host's own loop over steps.
static void long_generation(const char *example, const char *bound) {
  counting c;
  seqm_context *ctx = counted_context(&c, 2);
  seqm_model *m = compile_example(ctx, example, DEFINES(bound, "vocab=64"));
  enum { NEW = 512 };
  int32_t prompt[] = {3, 1, 4, 1, 5}, max_new = NEW;
  static int32_t ids[NEW];
  seqm_tensor in[] = {row(prompt, 5, SEQM_I32), scalar(&max_new)}, out = row(ids, NEW, SEQM_I32);
  const seqm_entry *generate = entry(m, ctx, "generate");
  OK(ctx, seqm_call(m, generate, in, 2, &out, 1));
  long before = c.calls;
  OK(ctx, seqm_call(m, generate, in, 2, &out, 1));
  cr_assert_eq(c.calls, before, "the second generation made %ld allocations", c.calls - before);

  seqm_model *by_hand = compile_example(ctx, example, DEFINES(bound, "vocab=64"));
  const seqm_entry *step = entry(by_hand, ctx, "step");
  float logits[64];
  seqm_tensor z = row(logits, 64, SEQM_F32);
  for (int k = 0; k < 5 + NEW - 1; k++) {
    int32_t id = k < 5 ? prompt[k] : ids[k - 5];
    seqm_tensor one = scalar(&id);
    OK(ctx, seqm_call(by_hand, step, &one, 1, &z, 1));
    if (k < 4) continue;
    float best = logits[0];
    for (int w = 1; w < 64; w++) best = logits[w] > best ? logits[w] : best;
    // A prompt in one go and in steps may round differently.
    cr_assert_float_eq(logits[ids[k - 4]], best, 1e-3f, "token %d", k - 4);
  }
  seqm_model_free(by_hand);
  seqm_model_free(m);
  seqm_context_free(ctx);
  cr_assert_eq(c.live, 0);
}
Test(decoding, generates_512_in_one_call) { long_generation("gpt2", "ctx=516"); }
Test(decoding, generates_512_with_a_growing_cache) { long_generation("llama", "max_len=0"); }

// The rest of a text is the same, bit for bit, in another instance that took the state over.
static void save_in_the_middle(const char *example) {
  char folder[64], path[128];
  make_folder(folder, sizeof folder);
  snprintf(path, sizeof path, "%s/state.safetensors", folder);
  seqm_context *ctx = seqm_context_new(NULL);
  seqm_model *m = compile_example(ctx, example, NULL);
  float whole[64], again[64];
  steps(ctx, m, 0, 17, whole);
  OK(ctx, seqm_save_state(m, path));
  steps(ctx, m, 17, 40, whole);

  seqm_model *other = compile_example(ctx, example, NULL);
  steps(ctx, other, 30, 35, again); // to be forgotten
  OK(ctx, seqm_load_state(other, path));
  steps(ctx, other, 17, 40, again);
  cr_assert_arr_eq(whole, again, sizeof whole);
  // Into the first one too, and from there on twice.
  for (int turn = 0; turn < 2; turn++) {
    OK(ctx, seqm_load_state(m, path));
    steps(ctx, m, 17, 40, again);
    cr_assert_arr_eq(whole, again, sizeof whole);
  }
  seqm_model_free(other);
  seqm_model_free(m);
  seqm_context_free(ctx);
  remove_folder(folder);
}
Test(decoding, saved_in_the_middle_gpt2) { save_in_the_middle("gpt2"); }
Test(decoding, saved_in_the_middle_llama) { save_in_the_middle("llama"); }

// What seqm_plan says is what the call takes.
static size_t planned(seqm_context *ctx, seqm_model *m, int64_t n) {
  seqm_tensor in = row(NULL, n, SEQM_I32), out = {0};
  size_t bytes = 0;
  OK(ctx, seqm_plan(m, entry(m, ctx, "forward"), &in, 1, &out, 1, &bytes));
  cr_assert_eq(out.rank, 2);
  cr_assert_eq(out.dim[0], n);
  cr_assert_eq(out.dim[1], 64);
  return bytes;
}

static void plan_and_call(const char *example, const char *bound) {
  seqm_context *ctx = seqm_context_new(NULL);
  seqm_model *m = compile_example(ctx, example, DEFINES(bound));
  size_t want = planned(ctx, m, 300), arena = 0;
  int32_t ids[300] = {0};
  seqm_tensor in = row(ids, 300, SEQM_I32), out = {0};
  OK(ctx, seqm_call(m, entry(m, ctx, "forward"), &in, 1, &out, 1));
  OK(ctx, seqm_memory(m, NULL, NULL, &arena));
  cr_assert_eq(arena, want, "%zu bytes were planned, %zu taken", want, arena);
  seqm_tensor_free(ctx, &out);
  seqm_model_free(m);
  seqm_context_free(ctx);
}
Test(decoding, plan_is_what_a_call_takes) {
  plan_and_call("gpt2", "ctx=300");
  plan_and_call("llama", "max_len=0");
}

// Attention over N rows and N keys takes memory in proportion to N: scores are not stored.
static size_t attention_memory(const char *const *defines, int64_t n) {
  counting c;
  seqm_context *ctx = counted_context(&c, 2);
  seqm_model *m = compile_example(ctx, "sigmoid_attention", defines);
  const seqm_entry *attention = entry(m, ctx, "attention");
  int64_t shape[] = {4, n, 8};
  size_t bytes = (size_t)(4 * n * 8) * sizeof(float), arena;
  float *data = malloc(4 * bytes);
  seqm_tensor t[4];
  for (int k = 0; k < 4; k++) {
    t[k] = (seqm_tensor){.dtype = SEQM_F32, .rank = 3, .data = (char *)data + (size_t)k * bytes};
    memcpy(t[k].dim, shape, sizeof shape);
  }
  for (size_t k = 0; k < 3 * bytes / sizeof *data; k++) data[k] = (float)(k * 37 % 101) / 50 - 1;
  OK(ctx, seqm_call(m, attention, t, 3, t + 3, 1));
  OK(ctx, seqm_memory(m, NULL, NULL, &arena));
  free(data);
  seqm_model_free(m);
  seqm_context_free(ctx);
  return arena;
}

Test(decoding, attention_takes_memory_linear_in_its_rows) {
  const char *const *const kinds[] = {DEFINES("kind=0", "causal=1"), DEFINES("kind=0", "causal=0"),
                                      DEFINES("kind=1", "causal=1"), DEFINES("kind=1", "causal=0")};
  for (int k = 0; k < 4; k++) {
    size_t at_500 = attention_memory(kinds[k], 500), at_4000 = attention_memory(kinds[k], 4000);
    cr_assert(at_4000 <= 8 * at_500 + 65536, "%zu bytes for 4000 rows, %zu for 500", at_4000,
              at_500);
    cr_assert(at_4000 < 4 * 4000 * 64 * sizeof(float), "%zu bytes for 4000 rows", at_4000);
  }
}
