// The thread pool. A job is published by opening the gate, a word that holds an OPEN bit and the
// number of threads inside; a thread enters only while it is open, so the caller, when no task is
// left, closes it and waits for those inside and for nobody else:
//
//   caller   set job, gate = OPEN, epoch++, wake sleepers | claim tasks | close, wait for inside ==
//   0 thread   spin or sleep until epoch changes            | enter, claim tasks, leave
//
// The job's fields are written only while the gate is shut and empty.
//
// Of the tasks each worker has a share, neighbours in number, which it claims first; then it claims of
// others' shares. So a kernel that runs again and again finds in a core's caches what it left there.
#define _GNU_SOURCE
#include "runtime/pool.h"
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>
#ifdef __linux__
#include <linux/futex.h>
#include <sys/syscall.h>
#endif

enum { SPIN = 2000 };
#define GATE_OPEN 0x80000000u
#define GATE_WAIT 0x40000000u // the caller sleeps until the last one leaves
#define GATE_INSIDE 0x3fffffffu

typedef struct pool_thread { // the first is the caller
  pthread_t thread;
  sq_pool *pool;
  int64_t number;
  char pad0[64];
  _Atomic int64_t next; // of its share
  char pad1[64];
} pool_thread;

struct sq_pool {
  sq_alloc alloc;
  int threads, started, spin;
  pid_t pid; // the threads live in this process only, not in one forked from it
  sq_task fn;
  void *closure;
  int64_t n, shares;
  char pad0[64];
  _Atomic uint32_t gate;
  char pad1[64];
  _Atomic uint32_t epoch;
  _Atomic uint32_t sleepers;
  _Atomic bool stop;
#ifndef __linux__
  pthread_mutex_t lock;
  pthread_cond_t changed;
#endif
  pool_thread thread[];
};

static void relax(void) {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  __asm__ volatile("yield");
#endif
}

// Sleeps while *word == value; may return early.
static void sleep_while(sq_pool *p, _Atomic uint32_t *word, uint32_t value) {
#ifdef __linux__
  (void)p;
  syscall(SYS_futex, (uint32_t *)word, FUTEX_WAIT_PRIVATE, value, NULL, NULL, 0);
#else
  pthread_mutex_lock(&p->lock);
  while (atomic_load(word) == value) pthread_cond_wait(&p->changed, &p->lock);
  pthread_mutex_unlock(&p->lock);
#endif
}

static void wake(sq_pool *p, _Atomic uint32_t *word, int count) {
#ifdef __linux__
  (void)p;
  syscall(SYS_futex, (uint32_t *)word, FUTEX_WAKE_PRIVATE, count, NULL, NULL, 0);
#else
  (void)word;
  (void)count;
  pthread_mutex_lock(&p->lock);
  pthread_cond_broadcast(&p->changed);
  pthread_mutex_unlock(&p->lock);
#endif
}

// The first task of a share, and behind the last one that of the next.
static int64_t share_begin(const sq_pool *p, int64_t share) {
  int64_t each = p->n / p->shares, rest = p->n % p->shares;
  return share * each + (share < rest ? share : rest);
}

static void work(sq_pool *p, int64_t worker) {
  for (int64_t k = 0; k < p->shares; k++) {
    int64_t share = (worker + k) % p->shares, end = share_begin(p, share + 1);
    _Atomic int64_t *next = &p->thread[share].next;
    if (k && atomic_load_explicit(next, memory_order_relaxed) >= end) continue;
    for (;;) {
      int64_t t = atomic_fetch_add_explicit(next, 1, memory_order_relaxed);
      if (t >= end) break;
      p->fn(p->closure, t, worker);
    }
  }
}

static bool enter(sq_pool *p) {
  uint32_t g = atomic_load_explicit(&p->gate, memory_order_relaxed);
  while (g & GATE_OPEN)
    if (atomic_compare_exchange_weak_explicit(&p->gate, &g, g + 1, memory_order_acquire,
                                              memory_order_relaxed))
      return true;
  return false;
}

static void leave(sq_pool *p) {
  uint32_t was = atomic_fetch_sub_explicit(&p->gate, 1, memory_order_release);
  if (was == (GATE_WAIT | 1)) wake(p, &p->gate, 1);
}

static void await_job(sq_pool *p, uint32_t seen) {
  for (int k = 0; k < p->spin; k++) {
    if (atomic_load_explicit(&p->epoch, memory_order_acquire) != seen) return;
    relax();
  }
  atomic_fetch_add(&p->sleepers, 1);
  while (atomic_load(&p->epoch) == seen) sleep_while(p, &p->epoch, seen);
  atomic_fetch_sub(&p->sleepers, 1);
}

static void *help(void *arg) {
  pool_thread *h = arg;
  sq_pool *p = h->pool;
  for (;;) {
    uint32_t seen = atomic_load(&p->epoch);
    if (atomic_load(&p->stop)) return NULL;
    if (enter(p)) {
      work(p, h->number);
      leave(p);
    }
    await_job(p, seen);
  }
}

// Makes threads until `want` help. A refusal by the system leaves fewer, which changes no result.
static void start(sq_pool *p, int want) {
  sigset_t all, old;
  sigfillset(&all); // signals are the host's affair
  pthread_sigmask(SIG_SETMASK, &all, &old);
  p->pid = getpid();
  while (p->started < want) {
    pool_thread *h = &p->thread[p->started + 1];
    h->pool = p;
    h->number = p->started + 1;
    if (pthread_create(&h->thread, NULL, help, h)) break;
    p->started++;
  }
  pthread_sigmask(SIG_SETMASK, &old, NULL);
}

static int64_t worker_of_self(const sq_pool *p) {
  pthread_t self = pthread_self();
  for (int k = 1; k <= p->started; k++)
    if (pthread_equal(p->thread[k].thread, self)) return k;
  return 0;
}

static void close_gate(sq_pool *p) {
  uint32_t g = atomic_fetch_and_explicit(&p->gate, ~GATE_OPEN, memory_order_acquire) & ~GATE_OPEN;
  for (int k = 0; g & GATE_INSIDE; k++) {
    if (k < p->spin) {
      relax();
    } else if (!(g & GATE_WAIT)) {
      atomic_fetch_or(&p->gate, GATE_WAIT);
    } else {
      sleep_while(p, &p->gate, g);
    }
    g = atomic_load_explicit(&p->gate, memory_order_acquire);
  }
  atomic_store_explicit(&p->gate, 0, memory_order_relaxed);
}

void sq_pool_run(void *pool, int64_t n, sq_task fn, void *closure) {
  sq_pool *p = pool;
  bool nested = atomic_load_explicit(&p->gate, memory_order_relaxed) != 0;
  if (n <= 1 || p->threads == 1 || nested) {
    int64_t worker = nested ? worker_of_self(p) : 0;
    for (int64_t t = 0; t < n; t++) fn(closure, t, worker);
    return;
  }
  int want = n < p->threads ? (int)n - 1 : p->threads - 1;
  if (p->started < want) start(p, want);
  p->fn = fn;
  p->closure = closure;
  p->n = n;
  p->shares = want + 1;
  for (int64_t k = 0; k < p->shares; k++)
    atomic_store_explicit(&p->thread[k].next, share_begin(p, k), memory_order_relaxed);
  atomic_store_explicit(&p->gate, GATE_OPEN, memory_order_release);
  atomic_fetch_add(&p->epoch, 1);
  if (atomic_load(&p->sleepers)) wake(p, &p->epoch, want);
  work(p, 0);
  close_gate(p);
}

int sq_pool_cores(void) {
#ifdef __linux__
  cpu_set_t set;
  if (!sched_getaffinity(0, sizeof set, &set) && CPU_COUNT(&set) > 0) return CPU_COUNT(&set);
#endif
  long n = sysconf(_SC_NPROCESSORS_ONLN);
  return n < 1 ? 1 : n > 1024 ? 1024 : (int)n;
}

sq_pool *sq_pool_new(sq_alloc alloc, int threads) {
  size_t size = sizeof(sq_pool) + (size_t)threads * sizeof(pool_thread);
  sq_pool *p = alloc.fn(alloc.user, NULL, size);
  if (!p) return NULL;
  memset(p, 0, size);
  p->alloc = alloc;
  p->threads = threads;
  p->spin = threads > sq_pool_cores() ? 0 : SPIN; // never spin on a core that another thread needs
#ifndef __linux__
  pthread_mutex_init(&p->lock, NULL);
  pthread_cond_init(&p->changed, NULL);
#endif
  return p;
}

void sq_pool_free(sq_pool *p) {
  if (!p) return;
  if (p->started && p->pid == getpid()) {
    atomic_store(&p->stop, true);
    atomic_fetch_add(&p->epoch, 1);
    wake(p, &p->epoch, p->started);
    for (int k = 1; k <= p->started; k++) pthread_join(p->thread[k].thread, NULL);
  }
#ifndef __linux__
  pthread_mutex_destroy(&p->lock);
  pthread_cond_destroy(&p->changed);
#endif
  p->alloc.fn(p->alloc.user, p, 0);
}
