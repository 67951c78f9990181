// A small pool of threads: one job at a time, tasks claimed one by one, the caller works too.
//
// Threads are made when the first job wants them and joined by sq_pool_free. Between jobs they spin
// for some microseconds, then sleep. A job never waits for a thread that has not begun to help.
#pragma once
#include "base/alloc.h"
#include "runtime/abi.h"

typedef struct sq_pool sq_pool;
// `threads` >= 1, the caller included. NULL when there is no memory.
sq_pool *sq_pool_new(sq_alloc alloc, int threads);
void sq_pool_free(sq_pool *p);
// Runs fn(closure, t, worker) for 0 <= t < n, 0 <= worker < threads; the caller is worker 0. Called
// from inside a task it runs the tasks in turn on that task's worker. `pool` is a sq_pool.
void sq_pool_run(void *pool, int64_t n, sq_task fn, void *closure);
// Cores that this process may use, at least 1.
int sq_pool_cores(void);
