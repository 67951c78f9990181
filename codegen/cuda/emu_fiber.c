// Threads that wait for one another. In: a kernel and a block. Out: its threads have run to their ends,
// each on a stack of its own, taking turns where they wait.
//
//   all wait at the barrier            -> all go on, the epoch counts up
//   all lanes of a warp wait           -> they go on
//   some wait for threads that ended   -> a fault of the kernel
#include "codegen/cuda/emu.h"
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { WARP = 32 };

// ---- changing stacks ---------------------------------------------------------------------------
// Saves the registers that a callee keeps, stores the stack pointer at *from, goes on at `to`.
void sq_emu_switch(void **from, void *to);
#if defined(__x86_64__)
__asm__(".text\n.hidden sq_emu_switch\n.globl sq_emu_switch\n.type sq_emu_switch,@function\n"
        "sq_emu_switch:\n"
        "  push %rbp\n  push %rbx\n  push %r12\n  push %r13\n  push %r14\n  push %r15\n"
        "  mov %rsp, (%rdi)\n  mov %rsi, %rsp\n"
        "  pop %r15\n  pop %r14\n  pop %r13\n  pop %r12\n  pop %rbx\n  pop %rbp\n"
        "  ret\n.size sq_emu_switch, .-sq_emu_switch\n");
enum { SAVED = 8, RETURN = 6 }; // words; the last is where the caller's frame would be
#elif defined(__aarch64__)
__asm__(".text\n.hidden sq_emu_switch\n.globl sq_emu_switch\n.type sq_emu_switch,@function\n"
        "sq_emu_switch:\n"
        "  sub sp, sp, #160\n"
        "  stp x19, x20, [sp]\n  stp x21, x22, [sp, #16]\n  stp x23, x24, [sp, #32]\n"
        "  stp x25, x26, [sp, #48]\n  stp x27, x28, [sp, #64]\n  stp x29, x30, [sp, #80]\n"
        "  stp d8, d9, [sp, #96]\n  stp d10, d11, [sp, #112]\n  stp d12, d13, [sp, #128]\n"
        "  stp d14, d15, [sp, #144]\n"
        "  mov x9, sp\n  str x9, [x0]\n  mov sp, x1\n"
        "  ldp x19, x20, [sp]\n  ldp x21, x22, [sp, #16]\n  ldp x23, x24, [sp, #32]\n"
        "  ldp x25, x26, [sp, #48]\n  ldp x27, x28, [sp, #64]\n  ldp x29, x30, [sp, #80]\n"
        "  ldp d8, d9, [sp, #96]\n  ldp d10, d11, [sp, #112]\n  ldp d12, d13, [sp, #128]\n"
        "  ldp d14, d15, [sp, #144]\n"
        "  add sp, sp, #160\n  ret\n.size sq_emu_switch, .-sq_emu_switch\n");
enum { SAVED = 20, RETURN = 11 };
#else
#error "the emulation of CUDA changes stacks by hand on x86-64 and aarch64"
#endif

// A fiber begins here: who it is stands in a variable of the thread that schedules.
static _Thread_local sq_emu_fiber *starting;
static void fiber_main(void) {
  sq_emu_fiber *f = starting;
  f->m->now->run(f->m->args, &f->t);
  if (f->n_copy) sq_emu_stop(f, "ends with copies under way");
  sq_emu_leave(f);
}
void sq_emu_wait(sq_emu_fiber *f, sq_emu_state for_what) {
  f->state = for_what;
  sq_emu_switch(&f->stack, f->m->scheduler);
}
void sq_emu_leave(sq_emu_fiber *f) {
  sq_emu_wait(f, SQ_EMU_DONE);
  abort(); // nobody goes back to it
}

static bool make_stacks(sq_emu_module *m) {
  size_t size = (size_t)SQ_EMU_THREADS * SQ_EMU_STACK;
  if (!m->stacks) {
    void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
                   -1, 0);
    if (p == MAP_FAILED) return false;
    m->stacks = p;
  }
  for (int t = 0; t < m->now->threads; t++) {
    void **top = (void **)(void *)(m->stacks + (size_t)(t + 1) * SQ_EMU_STACK) - SAVED;
    memset(top, 0, SAVED * sizeof *top);
    top[RETURN] = (void *)(uintptr_t)fiber_main;
    m->fiber[t].stack = top;
    m->fiber[t].state = SQ_EMU_READY;
    m->fiber[t].turn = 0;
    m->fiber[t].n_copy = 0;
    memset(m->fiber[t].seen, 0, sizeof m->fiber[t].seen);
  }
  return true;
}
void sq_emu_fibers_free(sq_emu_module *m) {
  if (m->stacks) munmap(m->stacks, (size_t)SQ_EMU_THREADS * SQ_EMU_STACK);
  for (int t = 0; m->fiber && t < SQ_EMU_THREADS; t++) free(m->fiber[t].copy);
  free(m->fiber);
}

// ---- scheduling --------------------------------------------------------------------------------
static int count(const sq_emu_module *m, int from, int to, sq_emu_state s) {
  int n = 0;
  for (int t = from; t < to; t++) n += m->fiber[t].state == s;
  return n;
}
static void release(sq_emu_module *m, int from, int to) {
  for (int t = from; t < to; t++) m->fiber[t].state = SQ_EMU_READY;
}
// Lets those go on that have met; false when nobody can, or some never will.
static bool meet(sq_emu_module *m) {
  int n = m->now->threads, waiting = count(m, 0, n, SQ_EMU_BARRIER);
  bool any = false;
  if (waiting == n) {
    m->epoch++;
    release(m, 0, n);
    return true;
  }
  for (int t = 0; t < n; t++) {
    if (m->fiber[t].state != SQ_EMU_GATE || !sq_emu_gate_opens(&m->fiber[t])) continue;
    m->fiber[t].state = SQ_EMU_READY;
    any = true;
  }
  for (int w = 0; w < n; w += WARP) {
    int end = w + WARP < n ? w + WARP : n;
    if (count(m, w, end, SQ_EMU_WARP) != end - w) continue;
    release(m, w, end);
    any = true;
  }
  return any;
}
static void say_stuck(sq_emu_module *m) {
  int n = m->now->threads;
  snprintf(m->trouble, sizeof m->trouble,
           "kernel %s, block %lld: of %d threads %d wait at a barrier, %d in a warp, %d at a gate, "
           "%d have ended",
           m->now->name, m->fiber[0].t.block, n, count(m, 0, n, SQ_EMU_BARRIER),
           count(m, 0, n, SQ_EMU_WARP), count(m, 0, n, SQ_EMU_GATE), count(m, 0, n, SQ_EMU_DONE));
}
void sq_emu_fibers_run(sq_emu_module *m) {
  int n = m->now->threads;
  if (!make_stacks(m)) {
    snprintf(m->trouble, sizeof m->trouble, "out of memory");
    return;
  }
  while (!*m->trouble) {
    for (int t = 0; t < n && !*m->trouble; t++) {
      if (m->fiber[t].state != SQ_EMU_READY) continue;
      starting = &m->fiber[t];
      sq_emu_switch(&m->scheduler, m->fiber[t].stack);
    }
    if (!*m->trouble && count(m, 0, n, SQ_EMU_DONE) == n && m->n_bulk)
      snprintf(m->trouble, sizeof m->trouble, "kernel %s, block %lld: ends with copies under way",
               m->now->name, m->fiber[0].t.block);
    if (*m->trouble || count(m, 0, n, SQ_EMU_DONE) == n) return;
    if (!meet(m)) say_stuck(m);
  }
}
