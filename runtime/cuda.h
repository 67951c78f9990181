// A CUDA device as the runtime uses it: memory, copies, kernels; one stream, in the order of the calls.
// The models of a context share it.
//
//   sq_gpu *d;
//   if (sq_gpu_open(ctx, &d)) ...            // the message says what is missing
//   void *p = sq_gpu_get(d, bytes);          // NULL: d->trouble says why
//   if (sq_gpu_put(d, p, data, bytes)) ...   // data may change at once
//
// What fails says so in `trouble`, in the driver's words. One thread at a time; other contexts of the
// driver, and what a host program has made current, are left as they are.
#pragma once
#include "runtime/cuda_driver.h"
#include "runtime/internal.h"

// ---- what a call asks for, and graphs of it (cuda_graph.c) -------------------------------------
typedef struct sq_gpu_rows { // `height` rows of `width` bytes; a clear has one
  char *to;
  const char *from;
  size_t to_pitch, from_pitch, width, height;
} sq_gpu_rows;
typedef struct sq_gpu_op {
  enum { SQ_GPU_LAUNCH, SQ_GPU_ROWS, SQ_GPU_CLEAR, SQ_GPU_LOOP } kind;
  void *function; // of a launch: the driver's
  const char *name;
  unsigned blocks, threads, room; // room: bytes of shared memory that it brings
  uint32_t n_arg;
  size_t arg; // where its words begin, in the list
  sq_gpu_rows
      rows; // of a loop: `height` operations before it are a turn; while the truth `from` holds,
            // the word `to` is 0 and at most `width` turns are done, that one among them
} sq_gpu_op;
typedef struct sq_gpu_list {
  sq_gpu_op *op;
  int64_t *word; // arguments
  size_t n, room, n_word, room_word;
} sq_gpu_list;
typedef struct sq_gpu_graph {
  sq_gpu_list list; // as it was last launched
  void *graph, *exec, **node;
  bool failed; // not built again
} sq_gpu_graph;
// The stretches of an entry, and how often: operations in graphs, alone; graphs built; nodes changed.
enum { SQ_GPU_KEPT = 4 };
typedef struct sq_gpu_record {
  sq_gpu_graph kept[SQ_GPU_KEPT];
  unsigned next;
  uint64_t replayed, alone, built, changed;
} sq_gpu_record;

enum { SQ_GPU_SLOTS = 8, SQ_GPU_SLOT_BYTES = 1 << 20 };
struct sq_gpu {
  sq_nv_driver cu;
  sq_alloc alloc; // of the structure itself: it may outlive the context
  int count;      // of those who hold it
  int ordinal;
  void *ctx, *stream;
  sq_abi_gpu gpu;
  char name[64];
  // Pinned memory between the host's and the device's: a ring of slots.
  char *pinned;
  void *free_again[SQ_GPU_SLOTS]; // events
  unsigned next_slot;
  void *spare; // for copies within that overlap
  size_t spare_bytes;
  // What the call in progress has asked for since the last wait; NULL record: it is done at once.
  bool graphs;
  sq_gpu_list now;
  sq_gpu_record *record;
  int broken; // what the driver said to what was kept back, until the call has ended
  bool flushing;
  // Loops that the device repeats (cuda_loop.c).
  bool in_turn; // all of `now` is the first turn of one
  void *setter_module, *setter;
  bool no_setter;

  char trouble[512];
};

// The device of the context, opened when first asked for; it stays with the context. SQ_EWORLD.
int sq_gpu_open(seqm_context *ctx, sq_gpu **out);
void sq_gpu_hold(sq_gpu *d);
void sq_gpu_release(sq_gpu *d); // NULL is none

void *sq_gpu_get(sq_gpu *d, size_t bytes); // 256-byte aligned; size 0 gives a valid address too
void sq_gpu_drop(sq_gpu *d, void *p);
// 0, or nonzero with `trouble`. `take` waits; the others return at once.
int sq_gpu_put(sq_gpu *d, void *to, const void *from, size_t bytes);
int sq_gpu_take(sq_gpu *d, void *to, const void *from, size_t bytes);
int sq_gpu_move(sq_gpu *d, void *to, const void *from, size_t bytes); // they may overlap
// `height` rows of `width` bytes, which lie to_pitch and from_pitch apart; they may not overlap.
int sq_gpu_move_rows(sq_gpu *d, void *to, size_t to_pitch, const void *from, size_t from_pitch,
                     size_t width, size_t height);

// From begin to end what is asked for is kept back, and given as graphs where it has come before. `end`
// gets what `begin` returned. The device's context is current.
sq_gpu_record *sq_gpu_record_begin(sq_gpu *d, sq_gpu_record *r);
int sq_gpu_record_end(sq_gpu *d, sq_gpu_record *outer);
void sq_gpu_record_drop(sq_gpu *d, sq_gpu_record *r);

// Where kernels of a model say what has failed. On the device:
// [0]: the lowest failing site + 1; [1] to [4]: the counts of scans by Newton's method, as in sq_call;
// [5]: turns of a loop that the device repeats; [6 + 2 s], [7 + 2 s]: a value that failed at site s, its limit.
typedef struct sq_gpu_errors {
  void *words;
  bool pending; // kernels were launched since [0] was looked at
} sq_gpu_errors;
enum { SQ_GPU_HEAD = 6 }; // words that are 0 when a call begins, but for the turns
#define SQ_GPU_ERROR_WORDS(n_site) (SQ_GPU_HEAD + 2 * (size_t)(n_site))
// Behind them: what [0] was at some points of a call.
enum { SQ_GPU_MARKS = 32 };

// Kernels on the device: the image that fits it best.
typedef struct sq_gpu_code sq_gpu_code;
int sq_gpu_load(seqm_context *ctx, sq_gpu *d, const sq_abi_kernels *k, sq_gpu_errors *errors,
                sq_gpu_code **code);
void sq_gpu_unload(seqm_context *ctx, sq_gpu_code *code);
// The image for a device of this capability, or NULL.
const sq_abi_image *sq_gpu_choose(const sq_abi_kernels *k, uint32_t capability);
extern const sq_device sq_gpu_device; // sq_call.kernels is an sq_gpu_code

// --- inside -------------------------------------------------------------------------------------
// In `trouble`: what the function said. Returns `code`.
int sq_gpu_failed(sq_gpu *d, int code, const char *function);
// An operation, now or when the call waits; `word`: its arguments.
int sq_gpu_ask(sq_gpu *d, const sq_gpu_op *op, int64_t *word);
// A tensor map among the words of a launch: from its description to what the driver makes of it (cuda_map.c).
enum { SQ_GPU_MAP_WORDS = 16, SQ_GPU_MAP_FIRST = 8 };
int sq_gpu_encode_map(sq_gpu *d, int64_t *word,
                      const char *kernel); // word: at a multiple of 64 bytes
int sq_gpu_flush(sq_gpu *d);               // what was kept back is given to the driver
int sq_gpu_run(sq_gpu *d, const sq_gpu_op *op, int64_t *word); // now; not a loop
// The operation as a node behind `before` (NULL: it is the first).
int sq_gpu_node_add(sq_gpu *d, void *graph, void **before, void **node, const sq_gpu_op *op,
                    int64_t *word);
void sq_gpu_list_drop(sq_gpu *d);
// The device's context is current between the two, on this thread.
int sq_gpu_enter(sq_gpu *d);
void sq_gpu_leave(sq_gpu *d);

// ---- loops (cuda_loop.c) -----------------------------------------------------------------------
// What is asked for from now on is the first turn of a loop; it comes again while the truth `flag` of the
// device holds, up to `limit` turns. False: it has been waited for meanwhile, the caller goes round.
void sq_gpu_turn_begins(sq_gpu *d);
bool sq_gpu_turns(sq_gpu *d, void *head, const void *flag, int64_t limit);
// Operation k of the list, a loop: as nodes, the last of them *node; by reading the truth in each turn.
int sq_gpu_loop_add(sq_gpu *d, void *graph, const sq_gpu_list *l, size_t k, void **before,
                    void **node);
int sq_gpu_loop_run(sq_gpu *d, const sq_gpu_list *l, size_t k);
void sq_gpu_loop_close(sq_gpu *d);
