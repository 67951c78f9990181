// Launches that bring shared memory, beyond the 48 KiB that kernels may declare, and tensor maps: products of
// factors of 16 bits and attention on sm_90a. Ahead of time and just in time, one by one and as graphs, and on devices that have less.
#include "tests/unit/gpu_check.h"

TestSuite(gpu_room, .init = start, .fini = stop);

// Whole numbers: sums are exact. Five operations that wait for nothing, so that they become a graph.
static const char source[] = "model m(d = 72, e = 40) {\n"
                             "  entry forward(x: bf16[N, d], w: bf16[e, d]) -> y: f32[N, e] {\n"
                             "    a[n, j] = sum(k) f32(x[n, k]) * f32(w[j, k])\n"
                             "    s[n] = sum(j) a[n, j]\n"
                             "    t[n] = s[n] + cumsum(n) s[n]\n"
                             "    u[n] = cumsum(n) t[n]\n"
                             "    return [n, j: a[n, j] + u[n] * 0]\n"
                             "  }\n"
                             "}\n";
enum { N = 33, K = 72, M = 40 };
static int value(int row, int k) { return (row * 3 + k * 7) % 5 - 2; }
static uint16_t bits(float f) {
  uint32_t u;
  memcpy(&u, &f, 4);
  return (uint16_t)(u >> 16);
}
static int call_forward(session *s) {
  uint16_t x[N * K], w[M * K];
  float y[N * M];
  for (int i = 0; i < N * K; i++) x[i] = bits((float)value(i / K, i % K));
  for (int i = 0; i < M * K; i++) w[i] = bits((float)value(i / K + 1, i % K));
  seqm_tensor in[2] = {{.dtype = SEQM_BF16, .rank = 2, .dim = {N, K}, .data = x},
                       {.dtype = SEQM_BF16, .rank = 2, .dim = {M, K}, .data = w}};
  seqm_tensor out = {.dtype = SEQM_F32, .rank = 2, .dim = {N, M}, .data = y};
  int status = seqm_call(s->m, seqm_model_entry(s->m, "forward"), in, 2, &out, 1);
  for (int i = 0; !status && i < N * M; i++) {
    int sum = 0;
    for (int k = 0; k < K; k++) sum += value(i / M, k) * value(i % M + 1, k);
    cr_assert_eq(y[i], (float)sum, "row %d, column %d: %g, not %d", i / M, i % M, (double)y[i],
                 sum);
  }
  return status;
}
static void begin(session *s, const char *set, bool aot) {
  setenv("SEQM_FAKE_GPU", set, 1);
  gpu->reset();
  if (aot) {
    open_model(s);
    return;
  }
  s->ctx = seqm_context_new(NULL);
  const seqm_compile_options o = {.target = "cuda", .cache_dir = ""};
  cr_assert_eq(seqm_compile_text(s->ctx, "m.seqm", source, strlen(source), &o, &s->m), 0, "%s",
               seqm_message(s->ctx));
}
static void both(const char *set, const char *part, long told) {
  for (int aot = 0; aot < 2; aot++) {
    session s = {0};
    begin(&s, set, aot);
    for (int k = 0; k < 3; k++) {
      int status = call_forward(&s);
      cr_assert_eq(status != 0, part != NULL, "%s", seqm_message(s.ctx));
      if (part) cr_assert(strstr(seqm_message(s.ctx), part), "%s", seqm_message(s.ctx));
    }
    cr_assert_eq(gpu->calls("cuFuncSetAttribute"), told);
    if (!part) cr_assert_gt(gpu->calls("cuGraphLaunch"), 0);
    cr_assert_eq(gpu->calls("cuTensorMapEncodeTiled"), part ? 0 : 3 * 2 * told);
    close_model(&s);
    nothing_left();
  }
}
Test(gpu_room, is_brought) {
  compile_text("cuda", source);
  both("capability=90", NULL, 1);
  both("capability=86", NULL, 0); // another body
}
Test(gpu_room, is_not_there) {
  compile_text("cuda", source);
  both("capability=90 shared=60000",
       " wants 98328 bytes of shared memory for a block, the device has 60000", 0);
}

// ---- attention: with queries of 0 all keys up to a row weigh the same
static const char attends[] = "model m() {\n"
                              "  entry forward(q: bf16[4, N, 64], k: bf16[M, 2, 64], v: bf16[M, 2, "
                              "64]) -> y: f32[4, N, 64] {\n"
                              "    a[h < 4, i < N, j] = softmax(j where j <= i) sum(e) f32(q[h, i, "
                              "e]) * f32(k[j, h // 2, e])\n"
                              "    return [h, i, c: sum(j) a[h, i, j] * v[j, h // 2, c]]\n"
                              "  }\n"
                              "}\n";
enum { ROWS = 70, KEYS = 150, WIDE = 64 };
Test(gpu_room, attention) {
  static uint16_t q[4 * ROWS * WIDE], k[KEYS * 2 * WIDE], v[KEYS * 2 * WIDE];
  static float y[4 * ROWS * WIDE];
  for (int i = 0; i < KEYS * 2 * WIDE; i++) {
    k[i] = bits((float)value(i / WIDE, i % WIDE));
    v[i] = bits((float)value(i / WIDE, i % WIDE));
  }
  seqm_tensor in[3] = {{.dtype = SEQM_BF16, .rank = 3, .dim = {4, ROWS, WIDE}, .data = q},
                       {.dtype = SEQM_BF16, .rank = 3, .dim = {KEYS, 2, WIDE}, .data = k},
                       {.dtype = SEQM_BF16, .rank = 3, .dim = {KEYS, 2, WIDE}, .data = v}};
  seqm_tensor out = {.dtype = SEQM_F32, .rank = 3, .dim = {4, ROWS, WIDE}, .data = y};
  compile_text("cuda", attends);
  session s = {0};
  begin(&s, "capability=90", true);
  cr_assert_eq(seqm_call(s.m, seqm_model_entry(s.m, "forward"), in, 3, &out, 1), 0, "%s",
               seqm_message(s.ctx));
  for (int h = 0; h < 4; h++)
    for (int c = 0; c < WIDE; c++) {
      float sum = 0;
      for (int i = 0; i < ROWS; i++) {
        sum += (float)value(i * 2 + h / 2, c);
        cr_assert_float_eq(y[(h * ROWS + i) * WIDE + c], sum / (float)(i + 1), 0.01);
      }
    }
  cr_assert_eq(gpu->calls("cuTensorMapEncodeTiled"), 2);
  cr_assert_eq(gpu->calls("cuFuncSetAttribute"), 1);
  // No keys: their maps are of nothing.
  in[1].dim[0] = in[2].dim[0] = 0;
  in[1].data = in[2].data = NULL;
  cr_assert_eq(seqm_call(s.m, seqm_model_entry(s.m, "forward"), in, 3, &out, 1), 0, "%s",
               seqm_message(s.ctx));
  close_model(&s);
  nothing_left();
}
static void refused(session *s, const char *function, const char *part) {
  gpu->fail(function, 1, 1);
  cr_assert_neq(call_forward(s), 0);
  cr_assert(strstr(seqm_message(s->ctx), part), "%s", seqm_message(s->ctx));
}
Test(gpu_room, is_refused) {
  compile_text("cuda", source);
  session s = {0};
  begin(&s, "", true);
  refused(&s, "cuFuncSetAttribute", "cuFuncSetAttribute: CUDA_ERROR_INVALID_VALUE");
  refused(&s, "cuTensorMapEncodeTiled",
          "cuTensorMapEncodeTiled for forward_0_contract_a: CUDA_ERR");
  cr_assert_eq(call_forward(&s), 0, "%s", seqm_message(s.ctx));
  close_model(&s);
  nothing_left();
}
