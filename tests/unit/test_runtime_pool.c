// The thread pool: every task once, worker numbers, nesting, jobs in quick succession, and what a
// call costs. Meant to be run under ThreadSanitizer too.
#include "tests/unit/toy_model.h"
#include <criterion/criterion.h>
#include <stdatomic.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static void *plain(void *user, void *p, size_t size) {
  (void)user;
  if (size) return realloc(p, size);
  free(p);
  return NULL;
}
static const sq_alloc heap = {plain, NULL};

typedef struct job {
  sq_pool *pool;
  int threads;
  int *hits; // not atomic: a task is one thread's, and the end of the job is seen by the caller
  _Atomic int bad_worker, inside[16];
} job;

static void count(void *closure, int64_t task, int64_t worker) {
  job *j = closure;
  if (worker < 0 || worker >= j->threads) j->bad_worker = 1;
  if (atomic_fetch_add(&j->inside[worker], 1)) j->bad_worker = 1; // one task at a time
  j->hits[task]++;
  atomic_fetch_sub(&j->inside[worker], 1);
}

Test(pool, every_task_once) {
  static int hits[3000];
  for (int threads = 1; threads <= 7; threads += 2) {
    sq_pool *p = sq_pool_new(heap, threads);
    job j = {.pool = p, .threads = threads, .hits = hits};
    for (int64_t n = 0; n < 300; n++) {
      memset(hits, 0, sizeof hits);
      sq_pool_run(p, n, count, &j);
      for (int64_t k = 0; k < 300; k++) cr_assert_eq(hits[k], k < n);
    }
    for (int turn = 0; turn < 3000; turn++) sq_pool_run(p, 1 + turn % 5, count, &j);
    cr_assert_eq(j.bad_worker, 0);
    sq_pool_free(p);
  }
}

static void nest(void *closure, int64_t task, int64_t worker) {
  job *j = closure;
  (void)worker;
  int hits[10] = {0};
  job inner = {.threads = j->threads, .hits = hits};
  sq_pool_run(j->pool, 10, count, &inner);
  for (int k = 0; k < 10; k++)
    if (hits[k] != 1) j->bad_worker = 1;
  if (inner.bad_worker) j->bad_worker = 1;
  j->hits[task]++;
}

Test(pool, nested) {
  int hits[50] = {0};
  sq_pool *p = sq_pool_new(heap, 4);
  job j = {.pool = p, .threads = 4, .hits = hits};
  sq_pool_run(p, 50, nest, &j);
  for (int k = 0; k < 50; k++) cr_assert_eq(hits[k], 1);
  cr_assert_eq(j.bad_worker, 0);
  sq_pool_free(p);
}

static void nap(void *closure, int64_t task, int64_t worker) {
  (void)worker;
  if (task == 0) usleep(300);
  count(closure, task, worker);
}

// Threads fall asleep between these jobs, and the caller waits for one that is late.
Test(pool, sleeping_and_waking) {
  int hits[8] = {0};
  sq_pool *p = sq_pool_new(heap, 3);
  job j = {.pool = p, .threads = 3, .hits = hits};
  for (int turn = 0; turn < 100; turn++) {
    sq_pool_run(p, 8, nap, &j);
    usleep(turn % 7 * 50);
  }
  for (int k = 0; k < 8; k++) cr_assert_eq(hits[k], 100);
  sq_pool_free(p);
}

Test(pool, unused_and_forked) {
  sq_pool_free(sq_pool_new(heap, 5));
  sq_pool_free(NULL);
  int hits[8] = {0};
  sq_pool *p = sq_pool_new(heap, 3);
  job j = {.pool = p, .threads = 3, .hits = hits};
  sq_pool_run(p, 8, count, &j);
  pid_t child = fork();
  if (!child) { // no other thread lives here: the caller does it all, and nothing hangs
    alarm(20);
    sq_pool_run(p, 8, count, &j);
    sq_pool_free(p);
    _exit(hits[7] == 2 ? 0 : 1);
  }
  int status = 1;
  cr_assert_eq(waitpid(child, &status, 0), child);
  cr_assert_eq(status, 0);
  sq_pool_free(p);
}

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

// The median of many calls of an entry that does almost nothing; sanitizers and a busy machine are
// allowed for.
Test(pool, a_call_is_cheap) {
  seqm_context *ctx = seqm_context_new(NULL);
  seqm_model *m;
  cr_assert_eq(seqm_model_linked(ctx, &toy_model, &m), 0);
  const seqm_entry *e = seqm_model_entry(m, "fill");
  int32_t n = 4;
  float y[4];
  seqm_tensor in = {.dtype = SEQM_I32, .data = &n};
  seqm_tensor out = {.dtype = SEQM_F32, .rank = 1, .dim = {4}, .data = y};
  double best = 1;
  for (int turn = 0; turn < 20; turn++) {
    double begin = now();
    for (int k = 0; k < 1000; k++) cr_assert_eq(seqm_call(m, e, &in, 1, &out, 1), 0);
    double each = (now() - begin) / 1000;
    if (each < best) best = each;
  }
  cr_log_info("a call of a tiny entry: %.0f ns", best * 1e9);
  cr_assert(best < 20e-6, "%.0f ns", best * 1e9);
  seqm_model_free(m);
  seqm_context_free(ctx);
}
