// What a kernel under emulation sees of the emulator: one sq_emu_thread for each thread of a block.
// C and C++: the emulator includes it, and its text stands before the kernels.
#ifndef SQ_EMU_THREAD
#define SQ_EMU_THREAD

typedef struct sq_emu_thread sq_emu_thread;
// What is done to an element of memory: of the device, or shared. Tensor maps' copies and products of groups of
// warps belong to another proxy, which sees what threads have written before their fence.
enum {
  SQ_EMU_READS,
  SQ_EMU_WRITES,
  SQ_EMU_READS_STEADY, // what is never written in this launch
  SQ_EMU_READS_ASYNC,  // a product's operand, a copy's gate
  SQ_EMU_COPY_BEGINS,  // cp.async
  SQ_EMU_COPY_COMES,
  SQ_EMU_BOX_BEGINS, // by a tensor map
  SQ_EMU_BOX_COMES
};
typedef struct sq_emu_calls {
  // All threads of the block arrive before any goes on.
  void (*sync)(sq_emu_thread *t);
  // The same, and whether p is not 0 in any of them.
  int (*any)(sq_emu_thread *t, int p);
  // Memory of the device is read or written.
  void (*touch)(sq_emu_thread *t, const void *at, int bytes, int kind);
  void (*outside)(sq_emu_thread *t, const char *name, long long index, long long count);
  // The block's shared array of this name: made when first asked for.
  void *(*shared)(sq_emu_thread *t, const char *name, long long bytes, int align);
  // That from byte `at` on of what the launch brings.
  void *(*dynamic)(sq_emu_thread *t, const char *name, long long at, long long bytes);
  // Where it is in the block's shared memory; what is at such an address.
  unsigned (*address)(sq_emu_thread *t, const void *at);
  const void *(*behind)(sq_emu_thread *t, unsigned address);
  void (*touch_shared)(sq_emu_thread *t, const char *name, const void *at, int bytes, int kind);
  // Puts `bytes` at `mine` where lane `lane` ^ `mask` of the warp finds them, and returns its.
  const void *(*exchange)(sq_emu_thread *t, const void *mine, int bytes, int mask);
  // What lane `lane` of the warp gave to its last exchange.
  const void *(*posted)(sq_emu_thread *t, int lane);
  // 16 bytes for shared memory, there when the thread has called `copied`: all but the newest `but` of
  // what `group` has made one group each; -1: all.
  void (*copy)(sq_emu_thread *t, const char *name, void *to, const void *from);
  void (*group)(sq_emu_thread *t);
  void (*copied)(sq_emu_thread *t, int but);
  // What the thread has written to shared memory is there for the other proxy: behind the next barrier for all.
  void (*fence)(sq_emu_thread *t);
  // A gate in shared memory. what 0: it is made, for n arrivals a phase; 1: an arrival, n bytes are to come;
  // 2: waits until a phase of parity n has ended.
  void (*gate)(sq_emu_thread *t, const void *at, int what, long long n);
  // A box of a tensor map, 16 rows (runtime/cuda_map.c), to shared memory; the gate hears of its bytes.
  void (*bulk)(sq_emu_thread *t, const char *name, void *to, const void *gate, const void *map,
               int rank, const int *at);
  void (*failed)(sq_emu_thread *t, unsigned site, long long value, long long limit);
  int (*has_failed)(sq_emu_thread *t);
  // How a scan by Newton's method went: stretches, iterations, stretches done turn by turn, residual.
  void (*newton)(sq_emu_thread *t, unsigned long long stretches, unsigned long long iterations,
                 unsigned long long redone, double left);
} sq_emu_calls;

struct sq_emu_thread {
  const sq_emu_calls *call;
  int thread, threads; // in the block
  long long block, blocks;
};

// A kernel as the compiled object lists it: the last row has no name.
typedef struct sq_emu_kernel {
  const char *name;
  void (*run)(const void *args, sq_emu_thread *t);
  int threads;
  int syncs;        // its threads wait for one another
  long long n_args; // 16-byte rows that it reads
  long long room;   // bytes of shared memory that a launch brings
  long long n_map;  // tensor maps, of 16 rows each, from row 8 on
} sq_emu_kernel;
#endif
