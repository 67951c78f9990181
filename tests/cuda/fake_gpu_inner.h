// What the files of the driver that is none share: settings, counts, contexts, memory, the queue.
#pragma once
#include "codegen/cuda/emu.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define EXPORT __attribute__((visibility("default")))
typedef unsigned long long address;
enum {
  OK,
  INVALID_VALUE = 1,
  OUT_OF_MEMORY = 2,
  NOT_INITIALIZED = 3,
  NO_DEVICE = 100,
  INVALID_IMAGE = 200,
  INVALID_CONTEXT = 201,
  NO_BINARY = 209,
  NOT_FOUND = 500,
  ILLEGAL_ADDRESS = 700
};

// ---- fake_gpu.c: settings, counts, contexts ----------------------------------------------------
extern struct fg_settings {
  long devices, capability, driver, nvrtc, memory, shared, count;
  char fail_name[64];
  long fail_nth;
  int fail_code;
  long calls;
  char faults[4096];
  bool read;
} fg_set;
void fg_read_settings(void);
void fg_fault(const char *fmt, ...);
extern long fg_alive;             // what is not given back yet
extern int fg_context, fg_stream; // their addresses are the handles
long fg_most_shared(void);        // bytes of shared memory that a block may have
int fg_enter(const char *name);
int fg_need_context(const char *who);
int fg_need_stream(void *s, const char *who);
// Each function that can fail begins with ENTER: counted, refused when it is its turn.
#define ENTER()                                                                                    \
  do {                                                                                             \
    int refused_ = fg_enter(__func__);                                                             \
    if (refused_) return refused_;                                                                 \
  } while (0)
#define NEED_CONTEXT()                                                                             \
  do {                                                                                             \
    int lacks_ = fg_need_context(__func__);                                                        \
    if (lacks_) return lacks_;                                                                     \
  } while (0)
#define NEED_STREAM(s)                                                                             \
  do {                                                                                             \
    NEED_CONTEXT();                                                                                \
    int other_ = fg_need_stream(s, __func__);                                                      \
    if (other_) return other_;                                                                     \
    if (fg_sticky) return fg_sticky;                                                               \
  } while (0)

// ---- fake_gpu_memory.c -------------------------------------------------------------------------
bool fg_in_range(address at);
// Where the bytes of an address are, and where its allocation ends; NULL: it is of none.
char *fg_place(address at, char **end);
// Where a range of the device is, or NULL with a fault.
char *fg_span(address at, size_t bytes, const char *who);
int fg_allocate(address *at, size_t bytes);
int fg_free(address at);

// ---- fake_gpu_kernels.c: code, the queue -------------------------------------------------------
typedef struct module module;
typedef struct function {
  module *m;
  uint32_t number;
  long long allowed; // bytes of shared memory that a launch may bring
} function;
struct module {
  sq_ctx *ctx;
  sq_emu_module *code;
  function *function;
  bool groups; // for sm_90a
};
typedef enum kind { TO_DEVICE, TO_HOST, WITHIN, ROWS, SET, LAUNCH, CONDITION, REPEAT } kind;
typedef struct condition { // of a node that repeats a graph
  unsigned value;
} condition;
typedef struct job {
  kind kind;
  char *to;
  const char *from;
  size_t bytes, to_pitch, from_pitch, height;
  int value;
  function *f;
  int64_t blocks;
  uint32_t n_arg;
  sq_device_arg *arg;
  uint64_t *error; // words that kernels fail into
  condition *condition;
  int64_t limit, first;
  struct graph *body; // of a REPEAT
} job;
extern int fg_sticky; // the error that all calls give from now on
void fg_add(job j);
void fg_run(job *j);
int fg_flush(void);
// The job of a launch.
int fg_check_launch(function *f, unsigned x, unsigned y, unsigned z, unsigned bx, unsigned by,
                    unsigned bz, unsigned shared, void **params, void **extra, job *out);

// ---- fake_gpu_graphs.c -------------------------------------------------------------------------
void fg_repeat(const job *j); // while the condition holds
