// The n-th allocation fails, for every n until all goes well: a clean status 3 each time, nothing
// leaked, nothing half-made; and calls in steady state allocate nothing.
#include "tests/unit/toy_model.h"
#include <criterion/criterion.h>
#include <stdlib.h>
#include <unistd.h>

typedef struct counting {
  long live, calls, fail_at; // fail_at: the call that gets nothing, 0 for none
} counting;

static void *allocate(void *user, void *p, size_t size) {
  counting *c = user;
  if (!size) {
    c->live -= p != NULL;
    free(p);
    return NULL;
  }
  if (++c->calls == c->fail_at) return NULL;
  c->live += p == NULL;
  return realloc(p, size);
}

static char weights_path[64], state_path[64], npy_path[64];
static void paths(void) {
  int pid = (int)getpid();
  snprintf(weights_path, sizeof weights_path, "seqm-memory-%d.safetensors", pid);
  snprintf(state_path, sizeof state_path, "seqm-memory-%d.saved", pid);
  snprintf(npy_path, sizeof npy_path, "seqm-memory-%d.npy", pid);
  toy_weights(weights_path);
}
static void remove_files(void) {
  unlink(weights_path);
  unlink(state_path);
  unlink(npy_path);
}
TestSuite(memory, .init = paths, .fini = remove_files);

static int simple(seqm_model *m, const char *name, const seqm_tensor *in, size_t n_in) {
  seqm_tensor out[2] = {{0}};
  const seqm_entry *e = seqm_model_entry(m, name);
  int s = seqm_call(m, e, in, n_in, out, seqm_entry_outputs(e));
  for (int k = 0; k < 2; k++) {
    cr_assert(s == 0 || !out[k].data, "half-owned output");
    seqm_tensor_free(seqm_model_context(m), &out[k]);
  }
  return s;
}

static int session(seqm_model *m, seqm_context *ctx) {
  static int32_t ids[] = {1, 2, 3};
  static float x[3] = {1, 2, 3};
  seqm_tensor v = {.dtype = SEQM_I32, .rank = 1, .dim = {3}, .data = ids};
  seqm_tensor in[] = {v, v}, f = {.dtype = SEQM_F32, .rank = 1, .dim = {3}, .data = x};
  SQ_TRY((sq_status)seqm_model_weights(m, weights_path));
  SQ_TRY((sq_status)simple(m, "forward", in, 2));
  for (int k = 0; k < 3; k++) SQ_TRY((sq_status)simple(m, "step", &f, 1));
  SQ_TRY((sq_status)simple(m, "restart", NULL, 0));
  SQ_TRY((sq_status)simple(m, "step", &f, 1));
  SQ_TRY((sq_status)seqm_save_state(m, state_path));
  SQ_TRY((sq_status)seqm_load_state(m, state_path));
  SQ_TRY((sq_status)simple(m, "read1", NULL, 0));
  static int32_t rows = 9;
  seqm_tensor grow = {.dtype = SEQM_I32, .data = &rows};
  SQ_TRY((sq_status)simple(m, "grown", &grow, 1));
  seqm_tensor t;
  SQ_TRY((sq_status)seqm_npy_write(ctx, npy_path, &f));
  SQ_TRY((sq_status)seqm_npy_read(ctx, npy_path, &t));
  struct DLManagedTensor *dl;
  int s = seqm_to_dlpack(ctx, &t, &dl);
  if (s)
    seqm_tensor_free(ctx, &t);
  else
    ((void (**)(struct DLManagedTensor *))dl)[8 - 1](dl);
  SQ_TRY((sq_status)s);
  return seqm_set_threads(ctx, 3);
}

Test(memory, every_failing_allocation) {
  int status = 3;
  long n = 0;
  while (status) {
    counting c = {.fail_at = ++n};
    seqm_context *ctx =
        seqm_context_new(&(seqm_options){.allocate = allocate, .user = &c, .threads = 2});
    status = 3;
    if (ctx) {
      seqm_model *m;
      status = seqm_model_linked(ctx, &toy_model, &m);
      if (!status) {
        status = session(m, ctx);
        seqm_model_free(m);
      }
      cr_assert(status == 0 || status == 3, "allocation %ld: %d, %s", n, status, seqm_message(ctx));
      if (status) cr_assert(*seqm_message(ctx));
      seqm_context_free(ctx);
    }
    cr_assert_eq(c.live, 0, "allocation %ld: %ld blocks are left", n, c.live);
    cr_assert(n < 10000);
  }
  cr_assert(n > 35, "only %ld", n);
}

// A failed call can be repeated when there is memory again.
Test(memory, goes_on_after_a_failure) {
  counting c = {0};
  seqm_context *ctx =
      seqm_context_new(&(seqm_options){.allocate = allocate, .user = &c, .threads = 1});
  seqm_model *m;
  cr_assert_eq(seqm_model_linked(ctx, &toy_model, &m), 0);
  for (long n = 1;; n++) {
    c.fail_at = c.calls + n;
    int s = session(m, ctx);
    c.fail_at = 0;
    cr_assert(s == 0 || s == 3);
    if (!s) break;
  }
  cr_assert_eq(session(m, ctx), 0, "%s", seqm_message(ctx));
  seqm_model_free(m);
  seqm_context_free(ctx);
  cr_assert_eq(c.live, 0);
}

Test(memory, steady_state_allocates_nothing) {
  counting c = {0};
  seqm_context *ctx =
      seqm_context_new(&(seqm_options){.allocate = allocate, .user = &c, .threads = 2});
  seqm_model *m;
  cr_assert_eq(seqm_model_linked(ctx, &toy_model, &m), 0);
  cr_assert_eq(seqm_model_weights(m, weights_path), 0);
  float x[3] = {0};
  int32_t n;
  seqm_tensor in = {.dtype = SEQM_F32, .rank = 1, .dim = {3}, .data = x};
  seqm_tensor out = {.dtype = SEQM_I32, .data = &n};
  const seqm_entry *step = seqm_model_entry(m, "step");
  long growths = 0;
  for (int k = 0; k < 300; k++) {
    long before = c.calls;
    cr_assert_eq(seqm_call(m, step, &in, 1, &out, 1), 0, "%s", seqm_message(ctx));
    growths += c.calls != before;
  }
  cr_assert(growths < 25, "%ld of 300 steps allocated", growths);
  // All the room is there: a second run allocates nothing, its reset included.
  long before = c.calls;
  cr_assert_eq(seqm_reset(m), 0);
  for (int k = 0; k < 300; k++) cr_assert_eq(seqm_call(m, step, &in, 1, &out, 1), 0);
  cr_assert_eq(c.calls, before);
  size_t weights, states, arena;
  seqm_memory(m, &weights, &states, &arena);
  cr_assert(states >= 300 * 24 * 2);
  cr_assert(arena >= 300);
  seqm_model_free(m);
  seqm_context_free(ctx);
  cr_assert_eq(c.live, 0);
}
