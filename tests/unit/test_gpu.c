// The CUDA target to the last call of the driver, on a driver that is none (tests/cuda): each call
// refused in turn, memory that ends, tensors on the device, what a machine may lack.
#include "tests/unit/gpu_check.h"
#include <math.h>

static const char source[] =
    "model m(d = 4) {\n"
    "  param w[d, d]\n"
    "  state total[d] = 0\n"
    "  state cache[2, grow, d] = 0.5\n"
    "  state len: i32 = 0\n"
    "  entry forward(x: f32[N, d]) -> y: f32[N, d] {\n"
    "    return [n, j: sum(k) x[n, k] * w[j, k]]\n"
    "  }\n"
    "  entry at(x: f32[N, d], i: i32) -> y: f32[d] { return x[i] }\n"
    "  entry sized(n: i32) -> y: f32[n] { return [i < n: i] }\n"
    "  entry step(x: f32[d]) -> y: f32[d] {\n"
    "    total <- total + x\n"
    "    reserve cache, len + 1\n"
    "    cache[1, len] <- total\n"
    "    len <- len + 1\n"
    "    return [j: sum(t < size(cache, 1)) (cache[1, t, j] + cache[0, t, j])]\n"
    "  }\n"
    "  entry last() -> y: f32[d] { return cache[1, len - 1] }\n"
    "}\n";
// A decoder: positions, lengths, caches of fixed and of growing room.
static const char decoder[] =
    "module Layer(d, ctx) {\n"
    "  param w[d, d]\n"
    "  state k[ctx, d] = 0\n"
    "  state v[grow, d] = 0\n"
    "  proc extend(x[N, d], len: i32) -> [N, d] {\n"
    "    T = len + N\n"
    "    y[n, j] = sum(i) x[n, i] * w[i, j]\n"
    "    k[len + n, j] <- y[n, j]\n"
    "    reserve v, T\n"
    "    v[len + n, j] <- x[n, j]\n"
    "    s[n, t < T limit ctx] = sum(j) x[n, j] * k[t, j]\n"
    "    a[n, t] = softmax(t where t <= len + n) s[n, t]\n"
    "    return [n, j: sum(t < T) a[n, t] * v[t, j]]\n"
    "  }\n"
    "}\n"
    "model m(d = 4, ctx = 16, layers = 3, vocab = 8) {\n"
    "  param e[vocab, d]\n"
    "  sub layer[i < layers] = Layer(d, ctx)\n"
    "  state len: i32 = 0\n"
    "  entry step(id: i32) -> y: f32[d] {\n"
    "    check len + 1 <= ctx, \"the context is full\"\n"
    "    x[n < 1, j] = e[id, j]\n"
    "    for i < layers { x = layer[i].extend(x, len) }\n"
    "    len <- len + 1\n"
    "    return x[0]\n"
    "  }\n"
    "  entry grown() -> y: i32[2] { return [i < 2: select(i == 0, len, size(layer[0].v, 0))] }\n"
    "}\n";
TestSuite(gpu, .init = start, .fini = stop);

// ---- a session of all its entries -----------------------------------------------------------------
static void run(session *s) {
  float x[8] = {1, 2, 3, 4, 5, 6, 7, 8};
  seqm_tensor in = {.dtype = SEQM_F32, .rank = 2, .dim = {2, 4}, .data = x};
  seqm_tensor out = {.dtype = SEQM_F32, .rank = 2, .dim = {2, 4}, .data = s->y};
  call(s, "forward", &in, 1, &out);
  seqm_tensor row = {.dtype = SEQM_F32, .rank = 1, .dim = {4}, .data = x}, sum = {0};
  call(s, "step", &row, 1, &sum);
  memcpy(s->y + 8, sum.data, 16);
  seqm_tensor_free(s->ctx, &sum);
  for (int status; (status = seqm_save_state(s->m, saved));) refuse(s, status);
  for (int status; (status = seqm_load_state(s->m, saved));) refuse(s, status);
  seqm_tensor all = {0};
  call(s, "last", NULL, 0, &all);
  memcpy(s->y + 16, all.data, 16);
  seqm_tensor_free(s->ctx, &all);
}
static void compile_to(const char *target) { compile_text(target, source); }
static void expected(session *s) {
  compile_to("cpu");
  s->word = "";
  open_model(s);
  run(s);
  close_model(s);
  compile_to("cuda");
}
static void same(const session *a, const session *b) {
  for (int k = 0; k < 24; k++)
    cr_assert_float_eq(a->y[k], b->y[k], 1e-5, "%d: %g, %g", k, (double)a->y[k], (double)b->y[k]);
}
// Every call of the driver that can fail fails once: a message with its name, nothing lost, and the next
// try gives what it should. An entry that was half done may have written its state, so those two that
// write are compared where no call was refused.
static long refuse_each(const char *function, int code, const char *word, const session *want) {
  long n = 0, found = 0;
  for (bool more = true; more; found += more) {
    session s = {.word = word};
    gpu->reset();
    gpu->fail(function, ++n, code);
    open_model(&s);
    run(&s);
    close_model(&s);
    more = s.refused > 0;
    if (!more) same(&s, want);
    for (int k = 0; k < 8; k++) cr_assert_float_eq(s.y[k], want->y[k], 1e-5);
    nothing_left();
    // A pitch that is refused is no failure; and opening for a message is none either.
    if (!more && n < gpu->calls(function)) more = true, found--;
  }
  return found;
}
Test(gpu, each_call_refused) {
  session want = {0};
  expected(&want);
  cr_assert_gt(refuse_each(NULL, 999, "cu", &want), 60);
}
Test(gpu, memory_ends) {
  session want = {0};
  expected(&want);
  cr_assert_gt(refuse_each("cuMemAlloc_v2", 2, "no memory on fake GPU 0", &want), 8);
}
Test(gpu, too_little_memory) {
  session s = {.word = ""};
  compile_to("cuda");
  setenv("SEQM_FAKE_GPU", "memory=20000", 1);
  gpu->reset();
  open_model(&s);
  const seqm_entry *e = seqm_model_entry(s.m, "forward");
  float x[8] = {0}, *large = calloc(4000, sizeof *large);
  seqm_tensor in = {.dtype = SEQM_F32, .rank = 2, .dim = {1000, 4}, .data = large}, out = {0};
  cr_assert_eq(seqm_call(s.m, e, &in, 1, &out, 1), 3);
  cr_assert(strstr(seqm_message(s.ctx), "CUDA_ERROR_OUT_OF_MEMORY (2): out of memory"), "%s",
            seqm_message(s.ctx));
  cr_assert_null(out.data);
  in.dim[0] = 2;
  in.data = x;
  cr_assert_eq(seqm_call(s.m, e, &in, 1, &out, 1), 0, "%s", seqm_message(s.ctx));
  seqm_tensor_free(s.ctx, &out);
  free(large);
  close_model(&s);
  nothing_left();
}

// ---- calls -------------------------------------------------------------------------------------
Test(gpu, the_host_may_forget_and_a_call_allocates_nothing) {
  session s = {.word = ""};
  compile_to("cuda");
  gpu->reset();
  open_model(&s);
  float x[4] = {1, 1, 1, 1}, y[4];
  seqm_tensor in = {.dtype = SEQM_F32, .rank = 2, .dim = {1, 4}, .data = x};
  seqm_tensor out = {.dtype = SEQM_F32, .rank = 2, .dim = {1, 4}, .data = y};
  call(&s, "forward", &in, 1, &out);
  long before = gpu->calls("cuMemAlloc_v2");
  for (int k = 0; k < 20; k++) call(&s, "forward", &in, 1, &out);
  cr_assert_eq(gpu->calls("cuMemAlloc_v2"), before);
  close_model(&s);
  nothing_left();
}
Test(gpu, a_step_brings_home_its_outputs_alone) {
  session s = {.word = ""};
  compile_text("cuda", decoder);
  gpu->reset();
  open_model(&s);
  const seqm_entry *step = seqm_model_entry(s.m, "step");
  for (int32_t id = 0; id < 8; id++) {
    seqm_tensor in = {.dtype = SEQM_I32, .data = &id}, out = {0};
    long down = gpu->calls("cuMemcpyDtoHAsync_v2"), up = gpu->calls("cuMemcpyHtoDAsync_v2");
    cr_assert_eq(seqm_call(s.m, step, &in, 1, &out, 1), 0, "%s", seqm_message(s.ctx));
    seqm_tensor_free(s.ctx, &out);
    // The output and the error word; where the cache moves also a look at the error word before. The
    // first step computes what states begin with.
    long home = gpu->calls("cuMemcpyDtoHAsync_v2") - down;
    if (id) cr_assert_leq(home, id & (id - 1) ? 2 : 3, "step %d: %ld copies", id, home);
    if (id) cr_assert_eq(gpu->calls("cuMemcpyHtoDAsync_v2"), up + 1);
  }
  close_model(&s);
  nothing_left();
}

// What fails comes before the caches grow: they are as long as before, and the next step goes on.
static void step(session *s, int32_t id, int32_t status, int32_t length) {
  seqm_tensor in = {.dtype = SEQM_I32, .data = &id}, out = {0}, n = {0};
  const seqm_entry *e = seqm_model_entry(s->m, "step");
  cr_assert_eq(seqm_call(s->m, e, &in, 1, &out, 1), status, "%s", seqm_message(s->ctx));
  if (status) cr_assert(strstr(seqm_message(s->ctx), "e[id, j]"), "%s", seqm_message(s->ctx));
  if (!status && length <= 6) memcpy(s->y + 4 * (length - 1), out.data, 16);
  seqm_tensor_free(s->ctx, &out);
  call(s, "grown", NULL, 0, &n);
  cr_assert_eq(((int32_t *)n.data)[0], length);
  cr_assert_eq(((int32_t *)n.data)[1], length);
  seqm_tensor_free(s->ctx, &n);
}
static void steps_of_which_some_fail(session *s) {
  open_model(s);
  step(s, 3, 0, 1);
  step(s, -1, 1, 1);
  step(s, 4, 0, 2);
  step(s, 0, 0, 3);
  step(s, 8, 1, 3); // there is room for what it would have added
  step(s, 1, 0, 4);
  step(s, 2, 0, 5);
  step(s, 99, 1, 5);
  step(s, 6, 0, 6);
  close_model(s);
}
Test(gpu, a_failing_step_leaves_no_rows) {
  session want = {.word = ""}, s = {.word = ""};
  compile_text("cpu", decoder);
  steps_of_which_some_fail(&want);
  compile_text("cuda", decoder);
  gpu->reset();
  steps_of_which_some_fail(&s);
  same(&s, &want);
  nothing_left();
}
// What the kernels count of Newton's method comes home with the error word, call by call.
Test(gpu, newton_is_counted) {
  static const char cell[] = "model m() {\n"
                             "  entry f(x[N], a) -> y[N] {\n"
                             "    parallel scan t < N with h = 0.3 {\n"
                             "      h = select(a < 1, 0.5 * h + tanh(x[t] - h), a * h * (1 - h))\n"
                             "      emit y[t] = h\n"
                             "    }\n    return y\n  }\n}\n";
  static float x[600], y[600];
  session s = {.word = ""};
  float a = 0.5f;
  compile_text("cuda", cell);
  gpu->reset();
  open_model(&s);
  seqm_tensor in[2] = {{.dtype = SEQM_F32, .rank = 1, .dim = {600}, .data = x},
                       {.dtype = SEQM_F32, .data = &a}};
  seqm_tensor out = {.dtype = SEQM_F32, .rank = 1, .dim = {600}, .data = y};
  seqm_newton n;
  for (int k = 0; k < 600; k++) x[k] = (float)(k * 37 % 101) / 50 - 1;
  for (int turn = 0; turn < 4; turn++) {
    a = turn == 2 ? 3.9f : 0.5f;
    call(&s, "f", in, 2, &out);
    cr_assert_eq(seqm_newton_count(s.m, &n), 0);
    cr_assert_eq(n.stretches, 3);
    cr_assert(turn == 2 ? n.redone >= 2 : n.redone == 0, "%lu", (unsigned long)n.redone);
    cr_assert(n.iterations >= 2 && n.iterations <= 30, "%lu", (unsigned long)n.iterations);
    cr_assert(n.residual <= 1e-6, "%g", n.residual);
    float h = 0.3f;
    for (int k = 0; k < 600 && turn != 2; k++) {
      h = 0.5f * h + tanhf(x[k] - h);
      cr_assert_float_eq(y[k], h, 4e-6);
    }
  }
  close_model(&s);
  nothing_left();
}
// Steps that are alike become a graph, of which positions and lengths are changed.
static void steps(session *s, const char *graphs) {
  setenv("SEQM_CUDA_GRAPH", graphs, 1);
  open_model(s);
  for (int32_t id = 0; id < 6; id++) {
    seqm_tensor in = {.dtype = SEQM_I32, .data = &id};
    seqm_tensor out = {.dtype = SEQM_F32, .rank = 1, .dim = {4}, .data = s->y + 4 * id};
    call(s, "step", &in, 1, &out);
  }
}
Test(gpu, steps_are_graphs) {
  session one = {.word = ""}, s = {.word = ""};
  compile_text("cuda", decoder);
  gpu->reset();
  steps(&one, "0");
  cr_assert_eq(gpu->calls("cuGraphLaunch"), 0);
  close_model(&one);
  gpu->reset();
  steps(&s, "1");
  cr_assert_arr_eq(s.y, one.y, sizeof s.y);
  int32_t id = 7;
  float y[4];
  seqm_tensor in = {.dtype = SEQM_I32, .data = &id},
              out = {.dtype = SEQM_F32, .rank = 1, .dim = {4}, .data = y};
  long alone = gpu->calls("cuLaunchKernel"), graphs = gpu->calls("cuGraphLaunch");
  call(&s, "step", &in, 1, &out);
  cr_assert_eq(gpu->calls("cuLaunchKernel"), alone);
  cr_assert_eq(gpu->calls("cuGraphLaunch"), graphs + 1);
  seqm_graphs g;
  cr_assert_eq(seqm_graph_count(s.m, &g), 0);
  cr_assert_eq(g.alone, 0);
  cr_assert_gt(g.replayed, 10);
  cr_assert_gt(g.changed, 0);
  cr_assert_lt(g.changed, g.replayed);
  close_model(&s);
  nothing_left();
}
// A graph that cannot be made or changed is done without; one that is not launched fails the call.
Test(gpu, graphs_refused) {
  static const char *const functions[] = {
      "cuGraphCreate",  "cuGraphAddKernelNode_v2",           "cuGraphInstantiateWithFlags",
      "cuGraphLaunch",  "cuGraphExecKernelNodeSetParams_v2", "cuGraphAddMemcpyNode",
      "cuLaunchKernel", "cuGraphExecMemcpyNodeSetParams",
  };
  session want = {.word = ""};
  compile_text("cuda", decoder);
  steps(&want, "0");
  close_model(&want);
  for (size_t k = 0; k < sizeof functions / sizeof *functions; k++)
    for (long n = 1; n <= 40; n += n < 6 ? 1 : 7) {
      session s = {.word = "cu"};
      gpu->reset();
      gpu->fail(functions[k], n, 999);
      steps(&s, "1");
      close_model(&s);
      bool needed =
          !strcmp(functions[k], "cuGraphLaunch") || !strcmp(functions[k], "cuLaunchKernel");
      if (!needed) cr_assert_eq(s.refused, 0, "%s", functions[k]);
      if (!s.refused) cr_assert_arr_eq(s.y, want.y, sizeof s.y);
      nothing_left();
    }
}
Test(gpu, failing_tests_have_their_place) {
  session s = {.word = ""};
  compile_to("cuda");
  open_model(&s);
  const seqm_entry *e = seqm_model_entry(s.m, "at");
  float x[8] = {1, 2, 3, 4, 5, 6, 7, 8};
  for (int32_t i = 5; i >= -1; i -= 2) {
    seqm_tensor in[2] = {{.dtype = SEQM_F32, .rank = 2, .dim = {2, 4}, .data = x},
                         {.dtype = SEQM_I32, .data = &i}};
    seqm_tensor out = {0};
    int status = seqm_call(s.m, e, in, 2, &out, 1);
    cr_assert_eq(status, i == 1 ? 0 : 1, "%d: %s", i, seqm_message(s.ctx));
    const char *says = i < 0    ? "-1 is below 0"
                       : i == 5 ? "5 is not below 2"
                       : i == 3 ? "3 is not"
                                : "";
    cr_assert(strstr(seqm_message(s.ctx), says), "%s", seqm_message(s.ctx));
    if (!status) cr_assert_eq(((float *)out.data)[2], 7);
    seqm_tensor_free(s.ctx, &out);
  }
  close_model(&s);
  nothing_left();
}
// A kernel that touches what it may not: the driver says so when it is waited for.
Test(gpu, a_fault_on_the_device) {
  session s = {.word = ""};
  compile_to("cuda");
  gpu->reset();
  gpu->fail("cuEventSynchronize", 3, 700);
  open_model(&s);
  float x[4] = {0};
  seqm_tensor in = {.dtype = SEQM_F32, .rank = 2, .dim = {1, 4}, .data = x}, out = {0};
  cr_assert_eq(seqm_call(s.m, seqm_model_entry(s.m, "forward"), &in, 1, &out, 1), 3);
  cr_assert(
      strstr(seqm_message(s.ctx), "CUDA_ERROR_ILLEGAL_ADDRESS (700): an illegal memory access"),
      "%s", seqm_message(s.ctx));
  close_model(&s);
  nothing_left();
}

// ---- tensors on the device ---------------------------------------------------------------------
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
Test(gpu, tensors_stay_on_the_device) {
  session s = {.word = ""};
  compile_to("cuda");
  gpu->reset();
  open_model(&s);
  float x[4] = {1, 2, 3, 4}, y[4];
  seqm_tensor in = {.dtype = SEQM_F32, .rank = 2, .dim = {1, 4}, .data = x},
              there = {.device = SEQM_CUDA};
  seqm_tensor host = {.dtype = SEQM_F32, .rank = 2, .dim = {1, 4}, .data = y};
  call(&s, "forward", &in, 1, &there);
  cr_assert_eq(there.device, SEQM_CUDA);
  cr_assert_eq(there.owned, 1);
  call(&s, "forward", &in, 1, &host);
  const float *seen = gpu->look((unsigned long long)(uintptr_t)there.data);
  cr_assert_arr_eq(seen, y, sizeof y);
  // To another library and back.
  struct DLManagedTensor *given;
  cr_assert_eq(seqm_to_dlpack(s.ctx, &there, &given), 0, "%s", seqm_message(s.ctx));
  cr_assert_eq(given->device_type, 2);
  seqm_tensor back;
  cr_assert_eq(seqm_from_dlpack(s.ctx, given, &back), 0, "%s", seqm_message(s.ctx));
  cr_assert_eq(back.device, SEQM_CUDA);
  seqm_tensor out = {.dtype = SEQM_F32, .rank = 2, .dim = {1, 4}, .device = SEQM_CUDA};
  unsigned long long room = gpu->allocate(16);
  out.data = (void *)(uintptr_t)room;
  call(&s, "forward", &back, 1, &out);
  long up = gpu->calls("cuMemcpyHtoDAsync_v2"), down = gpu->calls("cuMemcpyDtoHAsync_v2");
  call(&s, "forward", &back, 1, &out);
  cr_assert_eq(gpu->calls("cuMemcpyHtoDAsync_v2"), up);
  cr_assert_eq(gpu->calls("cuMemcpyDtoHAsync_v2"), down + 1); // the error word
  seqm_tensor again = {.dtype = SEQM_F32, .rank = 2, .dim = {1, 4}, .data = y};
  seqm_tensor from_host = {.dtype = SEQM_F32, .rank = 2, .dim = {1, 4}, .data = x};
  memcpy(x, seen, sizeof x);
  call(&s, "forward", &from_host, 1, &again);
  cr_assert_arr_eq(gpu->look(room), y, sizeof y);
  // Where the code could not read by vectors, it gets and gives copies.
  unsigned long long odd = gpu->allocate(64);
  seqm_tensor from_odd = back, to_odd = out;
  from_odd.data = (void *)(uintptr_t)(odd + 4);
  to_odd.data = (void *)(uintptr_t)(odd + 36);
  memcpy((void *)(uintptr_t)gpu->look(odd + 4), x, sizeof x);
  call(&s, "forward", &from_odd, 1, &to_odd);
  cr_assert_arr_eq(gpu->look(odd + 36), y, sizeof y);
  gpu->free(odd);
  // Copies from place to place.
  seqm_tensor up_there, down_here;
  cr_assert_eq(seqm_tensor_copy(s.ctx, &from_host, SEQM_CUDA, &up_there), 0);
  cr_assert_eq(seqm_tensor_copy(s.ctx, &up_there, SEQM_HOST, &down_here), 0);
  cr_assert_arr_eq(down_here.data, x, sizeof x);
  cr_assert_eq(seqm_npy_write(s.ctx, saved, &up_there), 2);
  cr_assert(strstr(seqm_message(s.ctx), "seqm_tensor_copy"), "%s", seqm_message(s.ctx));
  seqm_tensor_free(s.ctx, &up_there);
  seqm_tensor_free(s.ctx, &down_here);
  // A size is read on the host.
  int64_t n = 3;
  seqm_tensor size = {.dtype = seqm_input_dtype(seqm_model_entry(s.m, "sized"), 0), .data = &n};
  size.device = SEQM_CUDA;
  seqm_tensor none = {0};
  cr_assert_eq(seqm_call(s.m, seqm_model_entry(s.m, "sized"), &size, 1, &none, 1), 2);
  cr_assert(strstr(seqm_message(s.ctx), "give it in the host's memory"), "%s", seqm_message(s.ctx));
  gpu->free(room);
  close_model(&s);
  cr_assert_gt(gpu->alive(), 0); // the tensor holds the device
  given->deleter(given);
  nothing_left();
}

// ---- what a machine may lack -------------------------------------------------------------------
static void expect_open(const char *set, const char *driver, const char *nvrtc, bool aot,
                        const char *part) {
  setenv("SEQM_FAKE_GPU", set, 1);
  setenv("SEQM_CUDA_DRIVER", driver, 1);
  setenv("SEQM_NVRTC", nvrtc, 1);
  gpu->reset();
  session s = {.word = ""};
  if (aot) {
    open_model(&s);
  } else {
    s.ctx = seqm_context_new(NULL);
    const seqm_compile_options o = {.target = "cuda", .cache_dir = ""};
    cr_assert_eq(seqm_compile_text(s.ctx, "m.seqm", source, strlen(source), &o, &s.m), 0, "%s",
                 seqm_message(s.ctx));
    seqm_model_random_weights(s.m, 1);
  }
  float x[4] = {0};
  seqm_tensor in = {.dtype = SEQM_F32, .rank = 2, .dim = {1, 4}, .data = x}, out = {0};
  const seqm_entry *e = seqm_model_entry(s.m, "forward");
  size_t scratch;
  cr_assert_eq(seqm_plan(s.m, e, &in, 1, &out, 1, &scratch), 0); // wants no device
  int status = seqm_call(s.m, e, &in, 1, &out, 1);
  cr_assert_eq(status != 0, part != NULL, "%s", seqm_message(s.ctx));
  if (part) cr_assert(strstr(seqm_message(s.ctx), part), "%s: %s", set, seqm_message(s.ctx));
  size_t loaded, wanted;
  seqm_model_loading(s.m, &loaded, &wanted);
  cr_assert_eq(loaded, wanted);
  if (!part) cr_assert_gt(wanted, 0);
  seqm_tensor_free(s.ctx, &out);
  close_model(&s);
  nothing_left();
}
Test(gpu, what_is_missing) {
  const char *fake = SEQM_FAKE_GPU;
  compile_to("cuda"); // sm_80, sm_90a and PTX
  expect_open("", "/no/driver.so", fake, true, "no CUDA driver on this machine");
  expect_open("", "libm.so.6", fake, true, "the CUDA driver has no function cuInit");
  expect_open("devices=0", fake, fake, true, "finds no device that it can use");
  expect_open("devices=-1", fake, fake, true, "finds no device that it can use");
  expect_open("driver=11080", fake, fake, true, "knows CUDA 11.8, but 12.0 or newer is needed");
  expect_open("capability=75", fake, fake, true,
              "fake GPU 0 has capability 7.5, but the kernels are for sm_80, sm_90a, compute_80: "
              "compile with --arch sm_75");
  expect_open("capability=90", fake, "/no/nvrtc.so", true, NULL);
  expect_open("capability=86", fake, "/no/nvrtc.so", true, NULL);
  expect_open("capability=120", fake, "/no/nvrtc.so", true, NULL);
  expect_open("", "null:120", "/no/nvrtc.so", true, NULL);
  expect_open("", "null:70", "/no/nvrtc.so", true, "the null device has capability 7.0");
  expect_open("", fake, "/no/nvrtc.so", false, "NVRTC is not here");
  expect_open("", fake, "libm.so.6", false, "libm.so.6 is not NVRTC");
  expect_open("nvrtc=11080", fake, fake, false, "NVRTC 11.8 is too old: 12 or newer");
  expect_open("driver=12040", fake, fake, false,
              "NVRTC 13.0 makes code that the driver, which knows CUDA 12.4, does not take");
  expect_open("capability=75", fake, fake, false,
              "NVRTC 13.0 makes no code for a device of capability 7.5");
  expect_open("capability=103", fake, fake, false, NULL); // by PTX for 10.0
}
