// The CUDA target without a graphics processor: the emulation finds what is wrong with a kernel; NVRTC
// takes the kernels of every operation's test for three architectures.
#include "base/context.h"
#include "codegen/cuda/cuda.h"
#include "codegen/cuda/emu.h"
#include "codegen/cuda/nvrtc.h"
#include "tools/build.h"
#include <criterion/criterion.h>
#include <dirent.h>
#include <math.h>
#include <stdlib.h>
#include <unistd.h>

// ---- the emulation -----------------------------------------------------------------------------
// Runs a kernel `k`, whose launch brings `room` bytes of shared memory, over x, 64 floats in memory with room for `bytes`; what the device says, or NULL.
static char said[600];
static uint32_t room;
static const char *emulate(const char *body, int threads, int syncs, int64_t blocks, float *x,
                           int64_t bytes) {
  sq_ctx *ctx = sq_ctx_new(sq_alloc_libc());
  sq_guard saved = ctx->guard;
  if (setjmp(ctx->guard.jmp)) cr_assert_fail("out of memory");
  sq_cuda *c = sq_cuda_new(&ctx->arena);
  sq_text_add(&c->text,
              "struct k_args { sq_err err; sq_ptr<float> x; sq_int n; };\n"
              "SQ_KERNEL(k, %d) {\n%s\n}\n",
              threads, body);
  sq_push(c->arena, &c->kernel,
          (sq_cuda_kernel_info){.name = "k",
                                .threads = (uint32_t)threads,
                                .n_arg = 3,
                                .syncs = syncs,
                                .room = {room, room}});
  sq_text unit = {.arena = &ctx->arena};
  sq_cuda_unit(c, true, &unit);
  sq_emu_module *m = NULL;
  const char *message = "";
  sq_status s = sq_emu_build(&ctx->arena, unit.v, unit.n, NULL, &m, &message);
  cr_assert_eq(s, SQ_OK, "%s", message);
  sq_call call = {.device = &sq_emu_device, .kernels = m};
  sq_device_arg arg[3] = {{0, 0}, {(int64_t)(uintptr_t)x, bytes}, {64, -1}};
  sq_emu_device.begin(&call);
  int32_t failed = sq_emu_device.launch(&call, 0, blocks, arg, 3);
  cr_assert_eq(failed != 0, call.trouble != NULL);
  snprintf(said, sizeof said, "%s", call.trouble ? call.trouble : "");
  sq_emu_free(m);
  ctx->guard = saved;
  sq_ctx_free(ctx);
  return *said ? said : NULL;
}
static void expect_fault(const char *body, int threads, int syncs, int64_t blocks,
                         const char *part) {
  float x[64] = {0};
  const char *got = emulate(body, threads, syncs, blocks, x, sizeof x);
  cr_assert(got && strstr(got, part), "expected `%s`, got `%s`", part, got ? got : "nothing");
}

Test(cuda_emu, threads_blocks_barriers) {
  float x[64];
  for (int k = 0; k < 64; k++) x[k] = (float)k;
  // Each block turns its 32 elements around, through shared memory.
  const char *turn = "SQ_SHARED(float, s, 32);\n"
                     "SQ_SST(s, SQ_TID, SQ_LD(a.x, SQ_BLOCK * 32 + SQ_TID));\n"
                     "SQ_SYNC();\n"
                     "SQ_ST(a.x, SQ_BLOCK * 32 + SQ_TID, SQ_SLD(s, 31 - SQ_TID));\n";
  const char *got = emulate(turn, 32, 1, 2, x, sizeof x);
  cr_assert_null(got, "%s", got);
  for (int k = 0; k < 64; k++) cr_assert_eq(x[k], (float)(k / 32 * 32 + 31 - k % 32));
}
// To 11 bits: halves go away from 0, and what has no neighbours stays.
Test(cuda_emu, tf32_rounds) {
  const float ulp = 0x1p-10f;
  float x[64] = {
      1,        1 + ulp,   1 + ulp / 2, 1 + ulp / 2 - 0x1p-23f, -1 - ulp / 2, 1 - ulp / 4, 0, -0.0f,
      INFINITY, -INFINITY, NAN,         0x1.fffffep127f};
  const float want[] = {1, 1 + ulp, 1 + ulp,  1,         -1 - ulp, 1,
                        0, -0.0f,   INFINITY, -INFINITY, NAN,      INFINITY};
  const char *got = emulate("SQ_ST(a.x, SQ_TID, sq_of_bits(sq_tf32_bits(SQ_LD(a.x, SQ_TID))));\n",
                            32, 0, 1, x, sizeof x);
  cr_assert_null(got, "%s", got);
  for (size_t k = 0; k < sizeof want / sizeof *want; k++)
    cr_assert(isnan(want[k]) ? isnan(x[k]) : x[k] == want[k] && signbit(x[k]) == signbit(want[k]),
              "%zu: %a, want %a", k, x[k], want[k]);
}
Test(cuda_emu, warps_exchange) {
  float x[64];
  for (int k = 0; k < 64; k++) x[k] = (float)(k * k);
  const char *sum = "sq_acc_sum<float> s; s.begin(); s.step(SQ_LD(a.x, SQ_TID), 0);\n"
                    "SQ_SHARED(sq_acc_sum<float>, room, 2);\n"
                    "sq_acc_sum<float> w = sq_warp_reduce(SQ_ME s);\n"
                    "s = sq_block_reduce(SQ_ME s, room);\n"
                    "SQ_SYNC();\n"
                    "SQ_ST(a.x, SQ_TID, SQ_TID % 2 ? s.result() : w.result());\n";
  const char *got = emulate(sum, 64, 1, 1, x, sizeof x);
  cr_assert_null(got, "%s", got);
  float half[2] = {0, 0};
  for (int k = 0; k < 64; k++) half[k / 32] += (float)(k * k);
  for (int k = 0; k < 64; k++)
    cr_assert_eq(x[k], k % 2 ? half[0] + half[1] : half[k / 32], "%d: %g", k, (double)x[k]);
}
Test(cuda_emu, faults) {
  expect_fault("SQ_ST(a.x, SQ_TID + 1, 1.0f);", 64, 0, 1, "a.x[64] is outside: it has 64 elements");
  expect_fault("SQ_LD(a.x, -1);", 1, 0, 1, "a.x[-1] is outside");
  expect_fault("SQ_ST(a.x, SQ_TID / 2, 1.0f);", 64, 0, 1, "race: writes memory");
  expect_fault("SQ_ST(a.x, SQ_TID, SQ_LD(a.x, (SQ_TID + 1) % 64));", 64, 0, 1, "race: ");
  expect_fault("SQ_ST(a.x, SQ_TID, 1.0f);", 64, 0, 2, "that block 0 touches too");
  expect_fault("SQ_SHARED(float, s, 8); SQ_SST(s, SQ_TID, 1.0f);", 16, 1, 1, "s[8] is outside");
  expect_fault("SQ_SHARED(float, s, 8); SQ_ST(a.x, SQ_TID, SQ_SLD(s, SQ_TID));", 8, 1, 1,
               "s is read before it is written");
  expect_fault("SQ_SHARED(float, s, 8); SQ_SST(s, SQ_TID, 1.0f); SQ_SLD(s, 0);", 8, 1, 1, "race: ");
  expect_fault("SQ_ST(a.x, 0, SQ_LD_STEADY(a.x, 0));", 1, 0, 1,
               "that is read as what nothing changes");
  expect_fault("SQ_ST(a.x, 0, 1.0f); SQ_LD_STEADY(a.x, 0);", 1, 0, 1, "as what nothing changes");
  expect_fault("if (SQ_TID < 5) SQ_SYNC();", 8, 1, 1,
               "5 wait at a barrier, 0 in a warp, 0 at a gate, 3 have ended");
  expect_fault("if (SQ_TID < 5) { float f = sq_shuffle_xor(SQ_ME 1.0f, 1); }", 32, 1, 1,
               "0 wait at a barrier, 5 in a warp, 0 at a gate, 27 have ended");
}
Test(cuda_emu, shared_memory_of_a_launch) {
  const char *last = "SQ_DYNAMIC(float, s, 0, 16384); SQ_DYNAMIC(float, t, 65536, 16);\n"
                     "SQ_SST(t, SQ_TID, (float)SQ_TID); SQ_SYNC();\n"
                     "SQ_ST(a.x, SQ_TID, SQ_SLD(t, 15 - SQ_TID));\n";
  float x[64] = {0};
  room = 65536 + 64;
  const char *got = emulate(last, 16, 1, 2, x, sizeof x);
  cr_assert(got && strstr(got, "that block 0 touches too")); // memory, not what each block has
  got = emulate(last, 16, 1, 1, x, sizeof x);
  cr_assert_null(got, "%s", got);
  cr_assert(x[0] == 15 && x[15] == 0);
  room -= 1;
  expect_fault(last, 16, 1, 1, "t ends at byte 65600, but a launch brings 65599 of shared memory");
  room += 1;
  expect_fault("SQ_DYNAMIC(float, s, 0, 8); SQ_SST(s, SQ_TID, 1.0f);", 16, 1, 1, "s[8] is outside");
  expect_fault("SQ_DYNAMIC(float, s, 0, 8); SQ_ST(a.x, SQ_TID, SQ_SLD(s, SQ_TID));", 8, 1, 1,
               "s is read before it is written");
  expect_fault("SQ_DYNAMIC(float, s, 0, 8); SQ_SST(s, SQ_TID, 1.0f); SQ_SLD(s, 0);", 8, 1, 1,
               "race: ");
  expect_fault("SQ_DYNAMIC(float, s, 0, 8); SQ_DYNAMIC(float, t, 28, 8);", 8, 1, 1,
               "t and s overlap");
  got = emulate("SQ_DYNAMIC(float, s, 0, 8); SQ_SHARED(float, t, 8); SQ_SST(t, SQ_TID, 2.0f);\n"
                "SQ_SST(s, SQ_TID, 1.0f); SQ_SYNC(); SQ_ST(a.x, SQ_TID, SQ_SLD(t, 7 - SQ_TID));",
                8, 1, 1, x, sizeof x);
  cr_assert_null(got, "%s", got);
  cr_assert(x[0] == 2 && x[7] == 2);
  expect_fault("SQ_SHARED(float, s, 12288); SQ_SHARED(float, t, 8);", 8, 1, 1,
               "t: more than 49152 bytes of shared memory are declared");
  room = 0;
}
// Products of 64 x 16 by 128 x 16 in rows of 64 elements, swizzled; how many results are wrong, of some
// threads. `a` and `b`: the descriptors, from good_a and good_b, which are as they ought to be.
static float wrong_products(const char *a, const char *b, const char *place) {
  char body[2600];
  float x[64] = {0}, bad = 0;
  snprintf(body, sizeof body,
           "%s(sq_u32, s, 6144);\n"
           "for (int e = (int)SQ_TID; e < 6144; e += 128) {\n"
           "  const int r = e / 32, w = e %% 32;\n"
           "  const sq_u32 low = sq_bits((float)((r * 3 + w) %% 5 - 2)) >> 16;\n"
           "  const sq_u32 high = sq_bits((float)((r + w * 2) %% 7 - 3)) & 0xffff0000u;\n"
           "  SQ_SST(s, r * 32 + ((w / 4 ^ r %% 8) * 4 + w %% 4), low | high);\n"
           "}\n"
           "SQ_ASYNC_FENCE();\nSQ_SYNC();\n"
           "float c[64] = {0};\nsq_wgmma_list flying;\n"
           "SQ_WGMMA_BEGIN();\n"
           "for (int d = 0; d < 32; d += 8) {\n"
           "  const sq_u64 good_a = SQ_TILE(s, d), good_b = SQ_TILE(s, 2048 + d);\n"
           "  sq_wgmma<sq_bf16>(SQ_ME flying, c, %s, %s);\n"
           "}\n"
           "SQ_WGMMA_END(flying);\nsq_wgmma_wait<sq_bf16>(SQ_ME flying);\n"
           "int bad = 0;\n"
           "for (int i = 0; i < 64; i++) {\n"
           "  const int row = (int)SQ_TID / 32 * 16 + i / 2 %% 2 * 8 + (int)SQ_TID %% 32 / 4;\n"
           "  const int col = 64 + i / 4 * 8 + (int)SQ_TID %% 4 * 2 + i %% 2;\n"
           "  float want = 0;\n"
           "  for (int w = 0; w < 32; w++)\n"
           "    want += (float)((row * 3 + w) %% 5 - 2) * (float)((col * 3 + w) %% 5 - 2) +\n"
           "            (float)((row + w * 2) %% 7 - 3) * (float)((col + w * 2) %% 7 - 3);\n"
           "  bad += want != c[i];\n"
           "}\n"
           "if (SQ_TID %% 2) SQ_ST(a.x, SQ_TID / 2, (float)bad);\n",
           place, a, b);
  const char *got = emulate(body, 128, 1, 1, x, sizeof x);
  cr_assert_null(got, "%s", got);
  for (int k = 0; k < 64; k++) bad += x[k];
  return bad;
}
Test(cuda_emu, descriptors_are_read) {
  setenv("SEQM_EMU_ARCH", "sm_90a", 1);
  cr_assert_eq(wrong_products("good_a", "good_b", "SQ_SHARED_TILE"), 0);
  cr_assert_gt(wrong_products("good_a ^ 3ull << 62", "good_b", "SQ_SHARED_TILE"), 0); // swizzle 64
  cr_assert_gt(wrong_products("good_a", "good_b ^ 1ull << 62", "SQ_SHARED_TILE"), 0); // none
  cr_assert_gt(wrong_products("good_a", "good_b - (16ull << 32)", "SQ_SHARED_TILE"), 0); // stride
  cr_assert_gt(wrong_products("good_a + 1", "good_b", "SQ_SHARED_TILE"), 0);             // place
  cr_assert_gt(wrong_products("good_a", "good_b", "SQ_SHARED"), 0); // alignment
}
// What is said of a product of words that threads have written: `before` it, and while it is `under_way`.
static const char *product(const char *before, const char *under_way) {
  static float x[64];
  char body[1200];
  snprintf(
      body, sizeof body,
      "SQ_SHARED_TILE(sq_u32, s, 6144);\nfloat c[64] = {0};\nsq_wgmma_list flying;\n%s\n"
      "SQ_WGMMA_BEGIN();\nsq_wgmma<sq_bf16>(SQ_ME flying, c, SQ_TILE(s, 0), SQ_TILE(s, 2048));\n"
      "SQ_WGMMA_END(flying);\n%s\nsq_wgmma_wait<sq_bf16>(SQ_ME flying);\n"
      "SQ_COPIED();\n",
      before, under_way);
  return emulate(body, 128, 1, 1, x, sizeof x);
}
#define FILL "for (int e = (int)SQ_TID; e < 6144; e += 128) SQ_SST(s, e, 0u);\n"
#define COPY                                                                                       \
  "sq_ptr<sq_bf16> h = {(sq_bf16 *)a.x.p, a.x.bytes}; SQ_COPY(s, SQ_TID * 4, h, 0, true);\n"
static void expect_of_product(const char *before, const char *under_way, const char *part) {
  const char *got = product(before, under_way);
  cr_assert(got && strstr(got, part), "expected `%s`, got `%s`", part, got ? got : "nothing");
}
Test(cuda_emu, fences_between_proxies) {
  const char *unfenced = "with no fence.proxy.async and barrier since";
  setenv("SEQM_EMU_ARCH", "sm_90a", 1);
  const char *got = product(FILL "SQ_ASYNC_FENCE(); SQ_SYNC();", "");
  cr_assert_null(got, "%s", got);
  expect_of_product(FILL "SQ_SYNC();", "", unfenced);
  expect_of_product("SQ_ASYNC_FENCE();\n" FILL "SQ_SYNC();", "", unfenced);
  expect_of_product(FILL "SQ_SYNC(); SQ_ASYNC_FENCE();", "",
                    unfenced); // others may not be there yet
  expect_of_product(FILL "SQ_ASYNC_FENCE(); SQ_SYNC();\n" FILL "SQ_ASYNC_FENCE();", "",
                    "race: writes s");
  // A copy by cp.async is a thread's write, made when it is waited for.
  got = product(FILL "SQ_SYNC();\n" COPY "SQ_COPIED(); SQ_ASYNC_FENCE(); SQ_SYNC();", "");
  cr_assert_null(got, "%s", got);
  expect_of_product(FILL "SQ_SYNC();\n" COPY "SQ_ASYNC_FENCE(); SQ_COPIED(); SQ_SYNC();", "",
                    unfenced);
  expect_of_product(FILL "SQ_ASYNC_FENCE(); SQ_SYNC();\n" COPY "SQ_SYNC();", "",
                    "a tile is touched where a copy is under way");
}
// From its begin to its end a product's factors stay as they are.
Test(cuda_emu, factors_stay) {
  setenv("SEQM_EMU_ARCH", "sm_90a", 1);
  const char *fill = FILL "SQ_ASYNC_FENCE(); SQ_SYNC();";
  expect_of_product(fill, "if (SQ_TID == 127) SQ_SST(s, 0, 0u);", "race: writes s");
  expect_of_product(fill, COPY, "a tile is touched where a copy is under way");
  expect_of_product(fill, "SQ_SYNC();\n" COPY, "a tile is touched where a copy is under way");
}
// A box of 64 x 8 elements of x, of which 20 x 6 are there, through a gate, by two blocks of code.
static const char *boxes(const char *before, const char *after) {
  static float x[64];
  char body[2000];
  for (int k = 0; k < 64; k++)
    ((uint16_t *)(void *)x)[k] = (uint16_t)k, ((uint16_t *)(void *)x)[k + 64] = (uint16_t)(k + 64);
  snprintf(body, sizeof body,
           "SQ_DYNAMIC(sq_u32, s, 0, 512); SQ_DYNAMIC(sq_u64, g, 2048, 1);\n"
           "const sq_map map = {{{(sq_i64)(unsigned long long)a.x.p, a.x.bytes}, {9}, {2}, {20}, "
           "{6}, {1},\n"
           "  {1}, {40}, {0}, {0}, {64}, {8}, {1}, {1}, {3}, {0}}};\n"
           "if (SQ_TID == 0) SQ_GATE_INIT(g, 0);\n"
           "SQ_GATES_READY(); SQ_SYNC();\n%s\nSQ_SYNC();\n%s\n",
           before, after);
  room = 2048 + 2 * 8;
  const char *got = emulate(body, 32, 1, 1, x, sizeof x);
  room = 0;
  return got;
}
#define ASK(bytes)                                                                                 \
  "if (SQ_TID == 0) { SQ_GATE_EXPECT(g, 0, " bytes "); SQ_BULK(2, s, 0, g, 0, map, 0, 0, 0, 0); "  \
  "}\n"
static void expect_of_boxes(const char *before, const char *after, const char *part) {
  const char *got = boxes(before, after);
  cr_assert(got && strstr(got, part), "expected `%s`, got `%s`", part, got ? got : "nothing");
}
Test(cuda_emu, boxes) {
  // Element 4 of row 3 is the 64th of x; its piece of 16 bytes lies where 0 ^ 3 is. Element 20 is outside.
  const char *wait = "SQ_GATE_WAIT(g, 0, 0);";
  const char *got =
      boxes(ASK("1024") "SQ_GATE_WAIT(g, 0, 0);",
            "if (SQ_SLD(s, 3 * 32 + 3 * 4 + 2) != (64 | 65 << 16)) SQ_ST(a.x, 99, 0.0f);\n"
            "if (SQ_SLD(s, 3 * 32 + (2 ^ 3) * 4 + 2)) SQ_ST(a.x, 98, 0.0f);\n"
            "if (SQ_SLD(s, 6 * 32 + 6 * 4)) SQ_ST(a.x, 97, 0.0f);\n");
  cr_assert_null(got, "%s", got);
  expect_of_boxes(ASK("1024"), "SQ_SLD(s, 0);", "s is touched where a copy is under way");
  got = boxes(ASK("1024") "SQ_GATE_WAIT(g, 0, 0); SQ_SLD(s, SQ_TID);", "");
  cr_assert_null(got, "%s", got);
  expect_of_boxes(ASK("1024") "if (SQ_TID < 31) SQ_GATE_WAIT(g, 0, 0); SQ_SLD(s, SQ_TID);", "",
                  "race: reads s");
  expect_of_boxes(ASK("1024"), "", "ends with copies under way");
  expect_of_boxes(ASK("1020"), wait, "more bytes come to a gate than it expects");
  expect_of_boxes(ASK("1028"), wait, "32 at a gate");
  expect_of_boxes("", wait, "32 at a gate");
  expect_of_boxes(ASK("1024") ASK("1024"), wait, "a gate has more arrivals than were said");
  expect_of_boxes(ASK("1024") "SQ_SST(s, SQ_TID, 1u);\n", wait,
                  "s is touched where a copy is under way");
  expect_of_boxes("SQ_SST(s, SQ_TID, 1u); SQ_SYNC();\n" ASK("1024"), wait,
                  "s is where a box comes, but thread 0 wrote it with no fence.proxy.async");
  got = boxes("SQ_SST(s, SQ_TID, 1u); SQ_ASYNC_FENCE(); SQ_SYNC();\n" ASK("1024"), wait);
  cr_assert_null(got, "%s", got);
  expect_of_boxes(
      "SQ_DYNAMIC(sq_u64, h, 2056, 1); if (SQ_TID == 0) SQ_GATE_INIT(h, 0); SQ_SYNC();\n"
      "if (SQ_TID == 0) { SQ_GATE_EXPECT(h, 0, 1024); SQ_BULK(2, s, 0, h, 0, map, 0, 0, 0, 0); }",
      "SQ_GATE_WAIT(h, 0, 0);", "a gate is read by a product or a copy, but thread 0");
  expect_of_boxes("SQ_DYNAMIC(sq_u64, h, 2056, 1); if (SQ_TID == 0) SQ_GATE_INIT(h, 0);\n"
                  "SQ_GATE_WAIT(h, 0, 0);",
                  "", "race: reads a gate");
  expect_of_boxes("SQ_SST(s, 31 - SQ_TID, 1u); SQ_ASYNC_FENCE(); SQ_SYNC(); SQ_SLD(s, SQ_TID); "
                  "sq_shuffle_xor(SQ_ME 1, 1);" ASK("1024"),
                  wait, "race: writes s");
  expect_of_boxes("if (SQ_TID == 0) SQ_BULK(3, s, 0, g, 0, map, 0, 0, 0, 0);", wait,
                  "a tensor map of rank 2 is used as one of 3");
  expect_of_boxes("if (SQ_TID == 0) SQ_BULK(2, s, 128, g, 0, map, 0, 0, 0, 0);", wait,
                  "s: a box does not begin at a multiple of 1024");
  expect_of_boxes("if (SQ_TID == 0) SQ_BULK(2, s, 0, s, 0, map, 0, 0, 0, 0);", wait,
                  "a gate is used that was not made");
}
Test(cuda_emu, no_compiler) {
  sq_ctx *ctx = sq_ctx_new(sq_alloc_libc());
  if (setjmp(ctx->guard.jmp)) cr_assert_fail("out of memory");
  sq_emu_module *m = NULL;
  const char *message = "";
  setenv("CXX", "/no/such/compiler -v", 1);
  cr_assert_eq(sq_emu_build(&ctx->arena, "", 0, NULL, &m, &message), SQ_EWORLD);
  cr_assert(strstr(message, "needs a C++ compiler"), "%s", message);
  setenv("CXX", "false", 1);
  cr_assert_eq(sq_emu_build(&ctx->arena, "", 0, NULL, &m, &message), SQ_EWORLD);
  cr_assert(strstr(message, "does not compile the kernels"), "%s", message);
  unsetenv("CXX");
  sq_ctx_free(ctx);
}

// ---- NVRTC -------------------------------------------------------------------------------------
// The kernels of a file for the first n_arch architectures; how many there are.
static uint32_t compile_file(sq_nvrtc *n, const char *path, size_t n_arch) {
  static const char *const arch[] = {"sm_90a", "sm_80", "sm_100"};
  sq_ctx *ctx = sq_ctx_new(sq_alloc_libc());
  if (setjmp(ctx->guard.jmp)) cr_assert_fail("out of memory");
  sq_build b = {.pass = {.bisect_limit = -1}, .device = SQ_DEVICE_CUDA};
  sq_graph *g;
  sq_target target;
  const char *message = "";
  sq_status s = sq_build_graph(ctx, path, &b, &g, NULL, &message);
  if (!s) s = sq_build_plan(g, &b, &target, &message);
  sq_text unit = {.arena = &ctx->arena};
  if (!s) s = sq_codegen_cuda(g, &target, NULL, true, &unit, &message);
  cr_assert_eq(s, SQ_OK, "%s: %s", path, message);
  uint32_t kernels = 0;
  for (const char *p = unit.v; (p = strstr(p, "\nSQ_KERNEL")); p++) kernels++;
  for (size_t k = 0; k < n_arch; k++) {
    sq_nvrtc_result r;
    s = sq_nvrtc_compile(n, &ctx->arena, unit.v, arch[k], &r, &message);
    cr_assert_eq(s, SQ_OK, "%s for %s: %s", path, arch[k], message);
    cr_assert_gt(r.size, 0);
  }
  sq_ctx_free(ctx);
  return kernels;
}
// Few files and one architecture, or with SEQM_NVRTC_ALL all of them.
static bool is_wanted(const char *name) {
  static const char *const few[] = {"generic.sir", "group.sir",      "keyed.sir",
                                    "topk.sir",    "arithmetic.sir", "contract16.sir"};
  size_t size = strlen(name);
  if (size < 5 || strcmp(name + size - 4, ".sir")) return false;
  if (getenv("SEQM_NVRTC_ALL")) return true;
  for (size_t k = 0; k < sizeof few / sizeof *few; k++)
    if (!strcmp(name, few[k])) return true;
  return false;
}
Test(cuda_nvrtc, compiles_every_operation) {
  sq_ctx *ctx = sq_ctx_new(sq_alloc_libc());
  sq_nvrtc *n = NULL;
  const char *message = "";
  if (sq_nvrtc_open(&ctx->arena, 0, &n, &message)) {
    cr_log_warn("%s", message);
    cr_assert(!getenv("CI"), "%s", message); // where nobody reads what was skipped
    cr_skip_test("%s", message);
  }
  const char *folder = SEQM_SOURCE_DIR "/tests/ops";
  DIR *d = opendir(folder);
  cr_assert_not_null(d);
  uint32_t kernels = 0, files = 0;
  for (struct dirent *e; (e = readdir(d));) {
    char path[1024];
    if (!is_wanted(e->d_name)) continue;
    snprintf(path, sizeof path, "%s/%s", folder, e->d_name);
    kernels += compile_file(n, path, getenv("SEQM_NVRTC_ALL") ? 3 : 1);
    files++;
  }
  closedir(d);
  cr_log_info("%u kernels of %u files", kernels, files);
  cr_assert_gt(kernels, getenv("SEQM_NVRTC_ALL") ? 200 : 30);
  sq_nvrtc_close(n);
  sq_ctx_free(ctx);
}
