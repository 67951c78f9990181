// Scans as kernels of a device against the interpreter, under the emulation of CUDA: a thread for each
// lane, teams that share out what is summed over, what lacks lanes, turns backwards.
#define CHECK_TARGETS "cuda-emu"
#include "tests/unit/kernel_check.h"

static const char *const lengths[] = {"N=1 M=3 K=1", "N=7 M=5 K=1", "N=0 M=2 K=1", "N=9 M=0 K=1",
                                      "N=3 M=150 K=1"};
static void run(const char *name, const char *text) {
  slack = 8;
  check_many(name, text, lengths, sizeof lengths / sizeof *lengths, PLAIN);
}

Test(sweep, a_thread_a_lane) {
  run("selective", HEAD
      "entry @f(%x: f32[N, M], %a: f32[M, 5], %b: f32[N, 5], %s0: f32[M, 5]) -> (y: f32[N, M], s: "
      "f32[M, 5]) {\n"
      "  %s, %y = sweep {\n"
      "    %s.1, %y.1 = scan extent N carried 1 (%s0) { (%n: i32, %s.2: f32[M, 5])\n"
      "      %s.3 = generic (%s.2, %n, %x, %a, %b) [c < M, k < 5] { t0 = i64(%n); "
      "exp(neg(abs(%x[t0, "
      "c] * %a[c, k]))) * %s.2[c, k] + %x[t0, c] * %b[t0, k] } : f32[M, 5]\n"
      "      %y.2 = generic (%n, %b, %s.3) [c < M] sum [k < 5] { %b[i64(%n), k] * %s.3[c, k] } : "
      "f32[M]\n"
      "      yield %s.3, %y.2\n    } : f32[M, 5], f32[N, M]\n"
      "    %z = generic (%y.1, %x) [n < N, c < M] { %y.1[n, c] * sigmoid(%x[n, c]) } : f32[N, M]\n"
      "    yield %s.1, %z\n  } : f32[M, 5], f32[N, M]\n"
      "  yield %y, %s\n}\n");
  run("backwards", HEAD
      "entry @f(%x: f32[N, M]) -> (y: f32[N, M]) {\n"
      "  %z = generic () [c < M] { 0.5 } : f32[M]\n"
      "  %y = sweep {\n"
      "    %h, %y.1 = scan extent N reversed carried 1 (%z) { (%n: i32, %h.2: f32[M])\n"
      "      %h.3 = generic (%h.2, %n, %x) [c < M] { %h.2[c] * 0.5 + %x[i64(%n), c] } : f32[M]\n"
      "      yield %h.3, %h.3\n    } : f32[M], f32[N, M]\n"
      "    yield %y.1\n  } : f32[N, M]\n"
      "  yield %y\n}\n");
}
// 66 rows of a matrix are more than a thread holds; the second result lacks the lanes.
Test(sweep, a_team_a_lane) {
  // What is not shared out is read at an index that is: 4 gates of 10 channels.
  run("gates", HEAD
      "entry @f(%x: f32[N, M], %w: f32[40, 10], %h0: f32[M, 10]) -> (y: f32[N, M, 10], h: f32[M, "
      "10]) "
      "{\n"
      "  %h, %y = sweep {\n"
      "    %h.1, %c.1, %y.1 = scan extent N carried 2 (%h0, %h0) { (%n: i32, %h.2: f32[M, 10], "
      "%c.2: "
      "f32[M, 10])\n"
      "      %z = generic (%h.2, %w, %x, %n) [c < M, o < 40] sum [i < 10] { %w[o, i] * %h.2[c, i]; "
      "post acc + %x[i64(%n), c] } : f32[M, 40]\n"
      "      %c.3 = generic (%z, %c.2) [c < M, i < 10] { sigmoid(%z[c, i + 10]) * %c.2[c, i] + "
      "sigmoid(%z[c, i]) * tanh(%z[c, i + 20]) } : f32[M, 10]\n"
      "      %h.3 = generic (%z, %c.3) [c < M, i < 10] { sigmoid(%z[c, i + 30]) * tanh(%c.3[c, i]) "
      "} "
      ": f32[M, 10]\n"
      "      %y.2 = generic (%h.3, %c.2) [c < M, i < 10] { %h.3[c, i] + 0.5 * %c.2[c, i] } : "
      "f32[M, 10]\n"
      "      yield %h.3, %c.3, %y.2\n    } : f32[M, 10], f32[M, 10], f32[N, M, 10]\n"
      "    yield %h.1, %y.1\n  } : f32[M, 10], f32[N, M, 10]\n"
      "  yield %y, %h\n}\n");
  run("delta", HEAD
      "entry @f(%q: f32[N, 66], %v: f32[N, 70], %s0: f32[66, 70], %c0: f32) -> (y: f32[N, 70], t: "
      "f32[N], s: f32[66, 70], e: f32) {\n"
      "  %s, %e, %y, %t = sweep {\n"
      "    %s.1, %e.1, %y.1, %t.1 = scan extent N carried 2 (%s0, %c0) { (%n: i32, %s.2: f32[66, "
      "70], %e.2: f32)\n"
      "      %r = generic (%n, %v, %q, %s.2) [c < 70] sum [k < 66] { %s.2[k, c] * %q[i64(%n), k]; "
      "post %v[i64(%n), c] - acc * 0.03125 } : f32[70]\n"
      "      %s.3 = generic (%s.2, %n, %q, %r) [k < 66, c < 70] { %s.2[k, c] + %q[i64(%n), k] * "
      "%r[c] * 0.03125 } : f32[66, 70]\n"
      "      %y.2 = generic (%n, %q, %s.3) [c < 70] sum [k < 66] { %q[i64(%n), k] * %s.3[k, c] } : "
      "f32[70]\n"
      "      %e.3 = generic (%e.2, %n, %q) [] { %e.2 * 0.5 + %q[i64(%n), 3] } : f32\n"
      "      yield %s.3, %e.3, %y.2, %e.3\n    } : f32[66, 70], f32, f32[N, 70], f32[N]\n"
      "    yield %s.1, %e.1, %y.1, %t.1\n  } : f32[66, 70], f32, f32[N, 70], f32[N]\n"
      "  yield %y, %t, %s, %e\n}\n");
}
