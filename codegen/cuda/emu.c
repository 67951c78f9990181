// The device of the emulation. In: launches of an entry. Out: every thread of every block has run, or a
// fault of the kernel in words.
//
// Blocks run one after another. Threads of a kernel without barriers run one after another too; others
// are fibers that take turns at barriers and exchanges (emu_fiber.c). Memory is the host's.
#include "codegen/cuda/emu.h"
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// ---- what kernels call -------------------------------------------------------------------------
void sq_emu_stop(sq_emu_fiber *f, const char *fmt, ...) {
  sq_emu_module *m = f->m;
  va_list ap;
  int n = snprintf(m->trouble, sizeof m->trouble,
                   "kernel %s, block %lld, thread %d: ", m->now->name, f->t.block, f->t.thread);
  va_start(ap, fmt);
  vsnprintf(m->trouble + n, sizeof m->trouble - (size_t)n, fmt, ap);
  va_end(ap);
  if (!m->now->syncs) longjmp(m->stop, 1);
  sq_emu_leave(f);
}
static sq_emu_fiber *fiber(sq_emu_thread *t) { return (sq_emu_fiber *)t; }

static void sync(sq_emu_thread *t) {
  if (!fiber(t)->m->now->syncs) sq_emu_stop(fiber(t), "a barrier in a kernel that has none");
  sq_emu_wait(fiber(t), SQ_EMU_BARRIER);
}
// Nobody votes on the epoch after the next before all have read this one's result.
static int any(sq_emu_thread *t, int p) {
  sq_emu_module *m = fiber(t)->m;
  sq_emu_vote *v = &m->vote[m->epoch & 1];
  if (v->epoch != m->epoch) *v = (sq_emu_vote){m->epoch, false};
  v->any |= p != 0;
  sync(t);
  return v->any;
}
static void touch(sq_emu_thread *t, const void *at, int bytes, int kind) {
  sq_emu_touch(fiber(t), at, bytes, kind);
}
static void outside(sq_emu_thread *t, const char *name, long long index, long long count) {
  sq_emu_stop(fiber(t), "%s[%lld] is outside: it has %lld elements", name, index, count);
}
static void *shared(sq_emu_thread *t, const char *name, long long bytes, int align) {
  return sq_emu_shared(fiber(t), name, bytes, (uint32_t)align);
}
static void *dynamic(sq_emu_thread *t, const char *name, long long at, long long bytes) {
  return sq_emu_dynamic(fiber(t), name, at, bytes);
}
static unsigned address(sq_emu_thread *t, const void *at) { return sq_emu_address(fiber(t), at); }
static const void *behind(sq_emu_thread *t, unsigned at) { return sq_emu_behind(fiber(t), at); }
static void touch_shared(sq_emu_thread *t, const char *name, const void *at, int bytes, int kind) {
  sq_emu_touch_shared(fiber(t), name, at, bytes, kind);
}
static const void *exchange(sq_emu_thread *t, const void *mine, int bytes, int mask) {
  sq_emu_fiber *f = fiber(t);
  unsigned side = f->turn++ & 1;
  if (bytes > SQ_EMU_WIDTH) sq_emu_stop(f, "an exchange of %d bytes", bytes);
  memcpy(f->slot[side], mine, (size_t)bytes);
  sq_emu_wait(f, SQ_EMU_WARP);
  int other = t->thread ^ mask;
  if (other >= t->threads) sq_emu_stop(f, "an exchange with lane %d, which is not there", other);
  return f->m->fiber[other].slot[side];
}
static const void *posted(sq_emu_thread *t, int lane) {
  sq_emu_fiber *f = fiber(t);
  int other = t->thread / 32 * 32 + lane;
  if (lane < 0 || lane > 31 || other >= t->threads) sq_emu_stop(f, "lane %d is not there", lane);
  return f->m->fiber[other].slot[(f->turn - 1) & 1];
}
static void copy(sq_emu_thread *t, const char *name, void *to, const void *from) {
  sq_emu_copy_begins(fiber(t), name, to, from);
}
static void fence(sq_emu_thread *t) { sq_emu_fence(fiber(t)); }
static void group(sq_emu_thread *t) { fiber(t)->group++; }
static void copied(sq_emu_thread *t, int but) { sq_emu_copies_end(fiber(t), but); }
static void gate(sq_emu_thread *t, const void *at, int what, long long n) {
  sq_emu_gate_do(fiber(t), at, what, n);
}
static void bulk(sq_emu_thread *t, const char *name, void *to, const void *at, const void *map,
                 int rank, const int *place) {
  sq_emu_bulk_begins(fiber(t), name, to, at, map, rank, place);
}
static void failed(sq_emu_thread *t, unsigned site, long long value, long long limit) {
  sq_emu_module *m = fiber(t)->m;
  uint64_t mine = (uint64_t)site + 1;
  if (mine - 1 >= m->error - 1) return; // 0, no error, is the largest
  m->error = mine;
  m->error_value = value;
  m->error_limit = limit;
}
static int has_failed(sq_emu_thread *t) { return fiber(t)->m->error != 0; }

static void newton(sq_emu_thread *t, unsigned long long stretches, unsigned long long iterations,
                   unsigned long long redone, double left) {
  sq_emu_module *m = fiber(t)->m;
  m->newton_stretches += stretches;
  m->newton_iterations += iterations;
  m->newton_redone += redone;
  if (left > m->newton_residual) m->newton_residual = left;
}

const sq_emu_calls sq_emu_functions = {
    sync,   any,  touch, outside, shared, dynamic, address, behind, touch_shared, exchange,
    posted, copy, group, copied,  fence,  gate,    bulk,    failed, has_failed,   newton};

// ---- launches ----------------------------------------------------------------------------------
static void run_in_turn(sq_emu_module *m) {
  sq_emu_fiber *f = m->fiber; // each in its turn
  if (setjmp(m->stop)) return;
  for (f->t.thread = 0; f->t.thread < m->now->threads; f->t.thread++) m->now->run(m->args, &f->t);
}

static bool prepare(sq_emu_module *m, int64_t blocks) {
  if (!m->fiber) m->fiber = calloc(SQ_EMU_THREADS, sizeof *m->fiber);
  if (!m->fiber) return false;
  for (int t = 0; t < (m->now->syncs ? m->now->threads : 1); t++) {
    m->fiber[t].t = (sq_emu_thread){&sq_emu_functions, t, m->now->threads, 0, blocks};
    m->fiber[t].m = m;
  }
  return true;
}

static int32_t launch(sq_call *c, uint32_t kernel, int64_t blocks, const sq_device_arg *arg,
                      uint32_t n_arg) {
  sq_emu_module *m = c->kernels;
  m->now = &m->kernel[kernel];
  m->args = arg; // rows of 16 bytes, as the kernel's structure has them
  m->launch++;
  m->n_used = 0;
  bool fits = kernel < m->n_kernel && m->now->n_args == n_arg && m->now->threads <= SQ_EMU_THREADS;
  if (!fits) snprintf(m->trouble, sizeof m->trouble, "kernel %u does not fit its launch", kernel);
  if (fits && !prepare(m, blocks)) snprintf(m->trouble, sizeof m->trouble, "out of memory");
  for (int64_t b = 0; b < blocks && !*m->trouble; b++) {
    m->epoch++;
    for (int t = 0; t < (m->now->syncs ? m->now->threads : 1); t++) m->fiber[t].t.block = b;
    sq_emu_block_begins(m);
    if (m->now->syncs)
      sq_emu_fibers_run(m);
    else
      run_in_turn(m);
  }
  c->trouble = *m->trouble ? m->trouble : NULL;
  return c->trouble != NULL;
}

// ---- the rest ----------------------------------------------------------------------------------
static int32_t begin(sq_call *c) {
  sq_emu_module *m = c->kernels;
  m->error = 0;
  m->newton_stretches = m->newton_iterations = m->newton_redone = 0;
  m->newton_residual = 0;
  *m->trouble = 0;
  return 0;
}
static int32_t move(sq_call *c, void *to, const void *from, int64_t bytes) {
  (void)c;
  if (bytes > 0) memmove(to, from, (size_t)bytes);
  return 0;
}
static int32_t clear(sq_call *c, void *to, int64_t bytes) {
  (void)c;
  if (bytes > 0) memset(to, 0, (size_t)bytes);
  return 0;
}
static int32_t test(sq_call *c) {
  sq_emu_module *m = c->kernels;
  c->newton_stretches = m->newton_stretches;
  c->newton_iterations = m->newton_iterations;
  c->newton_redone = m->newton_redone;
  c->newton_residual = m->newton_residual;
  if (m->error - 1 < c->error - 1) {
    c->error = m->error;
    c->error_value = m->error_value;
    c->error_limit = m->error_limit;
  }
  return c->error != 0;
}
static int32_t turn(sq_call *c, int64_t *goes_on, const void *flag, int64_t k, int64_t limit) {
  (void)k, (void)limit;
  *goes_on = *(const uint8_t *)flag != 0;
  return test(c);
}
const sq_device sq_emu_device = {"cuda-emu", begin, launch, move, move, move, clear, test, turn};
