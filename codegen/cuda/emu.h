// The emulation of CUDA's execution model: kernels in CUDA C, compiled for the host, run with blocks,
// warps, barriers and shared memory, and tested while they run.
#pragma once
#include "codegen/codegen.h"

typedef struct sq_emu_module sq_emu_module; // the kernels of an entry
// Compiles a translation unit (sq_cuda_unit) by $CXX or c++ and loads it; what was compiled before is
// taken from cache_dir (NULL: none). SQ_EWORLD with *message in the arena when there is no compiler or
// it fails.
sq_status sq_emu_build(sq_arena *a, const char *source, size_t n, const char *cache_dir,
                       sq_emu_module **m, const char **message);
void sq_emu_free(sq_emu_module *m);
extern const sq_device sq_emu_device; // sq_call.kernels is an sq_emu_module

// ---- inside: emu.c, emu_build.c, emu_memory.c, emu_bulk.c, emu_fiber.c -------------------------------
#include "codegen/cuda/device/emu_thread.h"
#include <setjmp.h>

// What was done to an element of memory since a launch began: who wrote it last and who has read it
// since, with the barriers that the block had passed.
typedef struct sq_emu_cell {
  uint64_t key; // address
  uint64_t launch;
  int64_t w_block, r_block;
  uint64_t w_epoch, r_epoch; // 0: none
  int w_thread, r_thread;
  bool many_blocks, many_threads; // readers
  bool steady;                    // read as what nothing changes
  bool coming;                    // a copy is under way here
  bool by_thread;                 // the last write; else by a box, of which a gate has told
  uint64_t w_fences;              // which its thread had passed then
  uint32_t gate;
  uint64_t phase;
} sq_emu_cell;
typedef struct sq_emu_array { // in shared memory
  const char *name;
  char *data;
  sq_emu_cell *cell; // per byte
  int64_t bytes;
  uint32_t address; // in shared memory
} sq_emu_array;

enum { SQ_EMU_THREADS = 1024, SQ_EMU_ARRAYS = 512, SQ_EMU_WIDTH = 64, SQ_EMU_STACK = 128 << 10 };
enum { SQ_EMU_GATES = 32, SQ_EMU_BULKS = 64 };
typedef enum sq_emu_state {
  SQ_EMU_READY,
  SQ_EMU_BARRIER,
  SQ_EMU_WARP,
  SQ_EMU_GATE,
  SQ_EMU_DONE
} sq_emu_state;
typedef struct sq_emu_copy { // under way to shared memory
  const char *name;
  unsigned *to, word[4];
  uint64_t group;
} sq_emu_copy;
typedef struct sq_emu_gate { // an mbarrier
  const void *at;
  int64_t count, left, bytes; // arrivals of a phase, those to come, bytes to come
  uint64_t phase;
} sq_emu_gate;
typedef struct sq_emu_bulk { // a box under way
  const char *name;
  char *to;
  sq_emu_gate *gate;
  const sq_device_arg *map;
  int at[4];
} sq_emu_bulk;
typedef struct sq_emu_vote { // at the barrier that ends an epoch
  uint64_t epoch;
  bool any;
} sq_emu_vote;
typedef struct sq_emu_fiber {
  sq_emu_thread t; // first
  struct sq_emu_module *m;
  sq_emu_state state;
  void *stack;
  unsigned turn; // exchanges so far
  char slot[2][SQ_EMU_WIDTH];
  sq_emu_copy *copy;
  uint32_t n_copy, room;
  uint64_t group; // of the next copies
  // Of what is written for the other proxy: so far, before the epoch of the last one.
  uint64_t fences, fences_before, fence_epoch;
  const sq_emu_gate *gate; // waited for, until a phase of this parity ends
  uint64_t parity;
  uint64_t seen[SQ_EMU_GATES]; // phases whose end the thread knows of
} sq_emu_fiber;
struct sq_emu_module {
  void *library;
  const sq_emu_kernel *kernel;
  uint32_t n_kernel;
  // The launch in progress.
  const sq_emu_kernel *now;
  const void *args;
  sq_emu_fiber *fiber;
  char *stacks;
  void *scheduler; // its stack pointer while a fiber runs
  jmp_buf stop;    // while threads run one after another
  uint64_t launch, epoch;
  sq_emu_vote vote[2]; // of this epoch, and of the last, which some may not have read
  int64_t block;
  sq_emu_array array[SQ_EMU_ARRAYS];
  uint32_t n_array, declared; // bytes
  sq_emu_gate gate[SQ_EMU_GATES];
  sq_emu_bulk bulk[SQ_EMU_BULKS];
  uint32_t n_gate, n_bulk;
  const sq_emu_gate *comes; // told by the box that comes now
  sq_emu_cell *table;
  uint64_t n_table, n_used;
  // The error word, and what it says.
  uint64_t error;
  int64_t error_value, error_limit;
  // How scans by Newton's method went, as in sq_call.
  uint64_t newton_stretches, newton_iterations, newton_redone;
  double newton_residual;
  char trouble[512]; // a fault of the kernel itself; empty: none
};
// A fault of the kernel that runs: says what and never returns.
_Noreturn void sq_emu_stop(sq_emu_fiber *f, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
extern const sq_emu_calls sq_emu_functions;
// emu_memory.c
void sq_emu_touch(sq_emu_fiber *f, const void *at, int bytes, int kind);
void *sq_emu_shared(sq_emu_fiber *f, const char *name, int64_t bytes, uint32_t align);
void *sq_emu_dynamic(sq_emu_fiber *f, const char *name, int64_t at, int64_t bytes);
uint32_t sq_emu_address(sq_emu_fiber *f, const void *at);
const void *sq_emu_behind(sq_emu_fiber *f, uint32_t address);
void sq_emu_fence(sq_emu_fiber *f);
void sq_emu_touch_shared(sq_emu_fiber *f, const char *name, const void *at, int bytes, int kind);
void sq_emu_copy_begins(sq_emu_fiber *f, const char *name, void *to, const void *from);
void sq_emu_copies_end(sq_emu_fiber *f, int but); // all but so many groups; -1: all
void sq_emu_block_begins(sq_emu_module *m);       // shared memory is undefined again
void sq_emu_memory_free(sq_emu_module *m);
// emu_bulk.c
void sq_emu_gate_do(sq_emu_fiber *f, const void *at, int what, int64_t n);
void sq_emu_bulk_begins(sq_emu_fiber *f, const char *name, void *to, const void *gate,
                        const void *map, int rank, const int *at);
bool sq_emu_gate_opens(const sq_emu_fiber *f); // a fiber that waits for one may look again
// emu_fiber.c: threads that wait for one another
void sq_emu_fibers_run(sq_emu_module *m); // the threads of a block until all are done or one stops
void sq_emu_wait(sq_emu_fiber *f, sq_emu_state for_what);
_Noreturn void sq_emu_leave(sq_emu_fiber *f); // for good
void sq_emu_fibers_free(sq_emu_module *m);
