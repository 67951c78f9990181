// Loops that the device goes round by itself, on a driver that is none: what comes out, how often the host
// asks, drivers that lack such nodes, calls that are refused, errors inside.
#include "tests/unit/gpu_check.h"

// `act` turns while y[0] is above `stop`; `greedy` tests first that there is room, and writes at a position;
// `twice` has two loops, of which one cannot be repeated by the device.
static const char source[] =
    "model m(d = 4) {\n"
    "  param w[d, d]\n"
    "  state total[d] = 0\n"
    "  state steps: i32 = 0\n"
    "  entry act(x: f32[d], stop) -> y: f32[d], t: i32 {\n"
    "    y = x; t = 0\n"
    "    while y[0] > stop limit 12 {\n"
    "      y = [i: 0.75 * y[i] + 0.001 * (sum(j) w[i, j] * y[j])]\n"
    "      t = t + 1\n"
    "    }\n"
    "    return y, t\n"
    "  }\n"
    "  entry greedy(x: f32[d], stop, n: i32, at: i32) -> ids: i32[n] {\n"
    "    ids[k < n] = -1\n"
    "    y = x; k = 0\n"
    "    while k < n and (k == 0 or y[0] > stop) {\n"
    "      y = [i: 0.75 * y[(i + 1) % d] + 0.1 * (sum(j) w[i, j] * y[j])]\n"
    "      best = argmax(i) y[i]\n"
    "      ids[k + at] <- best\n"
    "      total <- total + y\n"
    "      steps <- steps + 1\n"
    "      k = k + 1\n"
    "    }\n"
    "    return ids\n"
    "  }\n"
    "  entry twice(x: f32[d], stop) -> y: f32[d], t: i32 {\n"
    "    y = x; t = 0\n"
    "    while y[0] > stop limit 5 {\n"
    "      z = y\n"
    "      while z[1] > stop limit 3 { z = [i: 0.5 * z[i]]; t = t + 1 }\n"
    "      y = [i: 0.75 * y[i] + 0.01 * z[i]]\n"
    "    }\n"
    "    return y, t\n"
    "  }\n"
    "  entry added() -> y: f32[d] {\n"
    "    check steps < 1000, \"too many\"\n"
    "    return total + f32(steps)\n"
    "  }\n"
    "}\n";
TestSuite(gpu_loop, .init = start, .fini = stop);

typedef struct outcome {
  float y[4], z[4], sum[4];
  int32_t t, u, ids[8];
} outcome;

static void act(session *s, const char *entry, float stop_at, float *y, int32_t *t) {
  float x[4] = {1, 0.5f, 0.25f, 2};
  seqm_tensor in[2] = {{.dtype = SEQM_F32, .rank = 1, .dim = {4}, .data = x},
                       {.dtype = SEQM_F32, .data = &stop_at}};
  seqm_tensor out[2] = {{.dtype = SEQM_F32, .rank = 1, .dim = {4}, .data = y},
                        {.dtype = SEQM_I32, .data = t}};
  for (int status; (status = seqm_call(s->m, seqm_model_entry(s->m, entry), in, 2, out, 2));)
    refuse(s, status);
}
static int greedy(session *s, float stop_at, int32_t n, int32_t at, int32_t *ids) {
  float x[4] = {1, 0.5f, 0.25f, 2};
  seqm_tensor in[4] = {{.dtype = SEQM_F32, .rank = 1, .dim = {4}, .data = x},
                       {.dtype = SEQM_F32, .data = &stop_at},
                       {.dtype = SEQM_I32, .data = &n},
                       {.dtype = SEQM_I32, .data = &at}};
  seqm_tensor out = {.dtype = SEQM_I32, .rank = 1, .dim = {n}, .data = ids};
  return seqm_call(s->m, seqm_model_entry(s->m, "greedy"), in, 4, &out, 1);
}
static outcome all(session *s, float stop_at) {
  outcome r = {0};
  seqm_tensor sum = {.dtype = SEQM_F32, .rank = 1, .dim = {4}, .data = r.sum};
  act(s, "act", stop_at, r.y, &r.t);
  act(s, "twice", stop_at, r.z, &r.u);
  for (int status; (status = greedy(s, stop_at, 8, 0, r.ids));) refuse(s, status);
  call(s, "added", NULL, 0, &sum);
  return r;
}
static void same(const outcome *a, const outcome *b) {
  cr_assert_eq(a->t, b->t, "%d, %d", a->t, b->t);
  cr_assert_eq(a->u, b->u, "%d, %d", a->u, b->u);
  cr_assert_arr_eq(a->ids, b->ids, sizeof a->ids);
  for (int k = 0; k < 4; k++) {
    cr_assert_float_eq(a->y[k], b->y[k], 1e-6);
    cr_assert_float_eq(a->z[k], b->z[k], 1e-6);
    cr_assert_float_eq(a->sum[k], b->sum[k], 1e-5);
  }
}

// No turn, one, some, up to the limit.
static const float stops[] = {1.5f, 0.8f, 0.3f, -1, 0.3f, 0.01f};
enum { STOPS = sizeof stops / sizeof *stops };
static outcome want[STOPS];
static void expect_all(void) {
  session s = {.word = ""};
  compile_text("cpu", source);
  open_model(&s);
  for (int k = 0; k < STOPS; k++) want[k] = all(&s, stops[k]);
  close_model(&s);
  cr_assert_eq(want[0].t, 0);
  cr_assert_eq(want[1].t, 1);
  cr_assert_eq(want[3].t, 12);
  compile_text("cuda", source);
}
static void run_all(void) {
  session s = {.word = ""};
  open_model(&s);
  for (int k = 0; k < STOPS; k++) {
    outcome r = all(&s, stops[k]);
    same(&r, &want[k]);
  }
  close_model(&s);
  nothing_left();
}
Test(gpu_loop, turns) {
  expect_all();
  gpu->reset();
  run_all();
  cr_assert_gt(gpu->calls("cuGraphAddNode_v2"), 0);
}
// Before CUDA 12.4, and without graphs.
Test(gpu_loop, older_drivers) {
  expect_all();
  setenv("SEQM_FAKE_GPU", "driver=12030", 1);
  gpu->reset();
  run_all();
  cr_assert_eq(gpu->calls("cuGraphAddNode_v2"), 0);
  setenv("SEQM_FAKE_GPU", "driver=13000", 1);
  setenv("SEQM_CUDA_GRAPH", "0", 1);
  gpu->reset();
  run_all();
  cr_assert_eq(gpu->calls("cuGraphAddNode_v2"), 0);
}
// What the host reads does not depend on how many turns there are, and the second call makes no graph.
Test(gpu_loop, the_host_asks_once) {
  session s = {.word = ""};
  float y[4];
  int32_t t;
  compile_text("cuda", source);
  gpu->reset();
  open_model(&s);
  long asked[3], made = 0;
  for (int k = 0; k < 3; k++) {
    long before = gpu->calls("cuMemcpyDtoHAsync_v2");
    made = gpu->calls("cuGraphInstantiateWithFlags");
    act(&s, "act", k ? 0.01f : 0.5f, y, &t);
    cr_assert(k ? t == 12 : t > 1 && t < 5, "%d", t);
    asked[k] = gpu->calls("cuMemcpyDtoHAsync_v2") - before;
  }
  cr_assert_eq(asked[0], asked[1]);
  cr_assert_eq(asked[1], asked[2]);
  cr_assert_leq(asked[2], 6);
  cr_assert_eq(gpu->calls("cuGraphInstantiateWithFlags"), made);
  close_model(&s);
  nothing_left();
}
Test(gpu_loop, each_call_refused) {
  expect_all();
  for (long n = 1;; n++) {
    session s = {.word = "cu"};
    gpu->reset();
    gpu->fail(NULL, n, 999);
    open_model(&s);
    outcome r = {0};
    act(&s, "act", 0.3f, r.y, &r.t);
    cr_assert_eq(r.t, want[2].t);
    for (int k = 0; k < 4; k++) cr_assert_float_eq(r.y[k], want[2].y[k], 1e-6);
    close_model(&s);
    nothing_left();
    if (n > gpu->calls(NULL)) break;
  }
}
// A position outside in the third turn: the loop ends there, and the call says where.
Test(gpu_loop, errors_end_it) {
  session s = {.word = ""};
  int32_t ids[8];
  compile_text("cuda", source);
  gpu->reset();
  open_model(&s);
  for (int turn = 0; turn < 2; turn++) {
    cr_assert_neq(greedy(&s, -1, 8, 6, ids), 0);
    cr_assert(strstr(seqm_message(s.ctx), "8 is not below 8"), "%s", seqm_message(s.ctx));
    cr_assert_eq(greedy(&s, -1, 8, 0, ids), 0, "%s", seqm_message(s.ctx));
    for (int k = 0; k < 8; k++) cr_assert(ids[k] >= 0 && ids[k] < 4);
  }
  close_model(&s);
  nothing_left();
}
