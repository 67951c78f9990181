// The thread pool under ThreadSanitizer. A program of its own, since Criterion's processes and that
// sanitizer's memory do not go together:
//   clang -std=gnu17 -g -O1 -fsanitize=thread -I. tests/unit/stress_pool.c runtime/*.c -lm -ldl
//   -lpthread
// Exit status 0: every task of every job ran once, on a worker that ran nothing else meanwhile.
#include "runtime/internal.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MOST = 64 };

typedef struct job {
  seqm_context *ctx;
  int threads, depth;
  int *hits, busy[8]; // plain: a race on them is what the sanitizer is to find
  int faults;
} job;

static void task(void *closure, int64_t t, int64_t worker) {
  job *j = closure;
  if (worker < 0 || worker >= j->threads) abort();
  if (j->busy[worker]++) abort();
  j->hits[t]++;
  if (t % 7 == 3) usleep(20);
  if (j->depth) {
    int hits[5] = {0};
    job inner = {.ctx = j->ctx, .threads = j->threads, .hits = hits};
    sq_context_parallel(j->ctx, 5, task, &inner);
    for (int k = 0; k < 5; k++)
      if (hits[k] != 1) abort();
  }
  j->busy[worker]--;
}

static int stress(int threads, int turns) {
  int hits[MOST];
  seqm_context *ctx = seqm_context_new(&(seqm_options){.threads = threads});
  if (!ctx) return 1;
  job j = {.ctx = ctx, .threads = threads, .hits = hits};
  for (int turn = 0; turn < turns; turn++) {
    int64_t n = turn * 7919 % MOST;
    j.depth = turn % 5 == 0;
    memset(hits, 0, sizeof hits);
    sq_context_parallel(ctx, n, task, &j);
    for (int64_t k = 0; k < MOST; k++)
      if (hits[k] != (k < n)) return 1;
    if (turn % 50 == 0) usleep(500); // let them fall asleep
    if (turn % 400 == 399) {
      j.threads = 1 + (j.threads + 1) % 5;
      if (seqm_set_threads(ctx, j.threads)) return 1;
    }
  }
  seqm_context_free(ctx);
  return 0;
}

int main(void) {
  for (int threads = 1; threads < 6; threads++)
    if (stress(threads, 2000)) {
      fprintf(stderr, "a task ran twice or never with %d threads\n", threads);
      return 1;
    }
  return 0;
}
