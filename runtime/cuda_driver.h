// The CUDA driver, found when a model first needs it: no header of the toolkit and no library of it is
// wanted to build or to install the runtime.
//
//   $SEQM_CUDA_DRIVER, else libcuda.so.1 --dlopen--> a table of its functions
//   "null" or "null:86"                             a table of ours, without a device
#pragma once
#include <stdbool.h>
#include <stddef.h>

typedef unsigned long long sq_nv_address; // of a device's memory
// A copy of rows, by the driver's layout (CUDA_MEMCPY2D, version 2).
typedef struct sq_nv_side {
  size_t x, y;
  int kind; // SQ_NV_DEVICE
  const void *host;
  sq_nv_address device;
  void *array;
  size_t pitch;
} sq_nv_side;
typedef struct sq_nv_rows {
  sq_nv_side from, to;
  size_t width, height;
} sq_nv_rows;
// A copy as a node of a graph (CUDA_MEMCPY3D, version 2): layers of rows.
typedef struct sq_nv_solid {
  size_t x, y, z, level;
  int kind;
  const void *host;
  sq_nv_address device;
  void *array, *reserved;
  size_t pitch, height;
} sq_nv_solid;
typedef struct sq_nv_box {
  sq_nv_solid from, to;
  size_t width, height, depth;
} sq_nv_box;
// A launch (CUDA_KERNEL_NODE_PARAMS, version 2), a clear (CUDA_MEMSET_NODE_PARAMS, version 1).
typedef struct sq_nv_node {
  void *function;
  unsigned grid[3], block[3], shared;
  void **params, **extra;
  void *kernel, *context;
} sq_nv_node;
typedef struct sq_nv_fill {
  sq_nv_address to;
  size_t pitch;
  unsigned value, element;
  size_t width, height;
} sq_nv_fill;
// A node of any kind (CUgraphNodeParams), of which one is used here: a part that is repeated.
typedef struct sq_nv_any_node {
  int type, reserved[3];
  union {
    long long room[29];
    struct { // CUDA_CONDITIONAL_NODE_PARAMS
      unsigned long long handle;
      int type;
      unsigned size; // of body, which the driver sets
      void **body;
      void *context;
    } conditional;
  };
  long long reserved2;
} sq_nv_any_node;
_Static_assert(sizeof(sq_nv_any_node) == 256, "as the driver has it");
enum { SQ_NV_NODE_CONDITIONAL = 13, SQ_NV_WHILE = 1 };
enum { SQ_NV_INVALID_VALUE = 1 };
enum { SQ_NV_DEVICE = 2, SQ_NV_OUT_OF_MEMORY = 2, SQ_NV_NO_DEVICE = 100 };
enum { SQ_NV_CAPABILITY_MAJOR = 75, SQ_NV_CAPABILITY_MINOR = 76 }; // attributes of a device
enum { SQ_NV_MOST_SHARED = 97, SQ_NV_FUNCTION_MOST_SHARED = 8 };   // of a block; for a function
enum { SQ_NV_EVENT_NO_TIMING = 2, SQ_NV_JIT_ERROR_LOG = 5, SQ_NV_JIT_ERROR_LOG_BYTES = 6 };

// Name in the library, field, types. 0 is success everywhere. Handles are pointers, a device a number.
#define SQ_NV_FUNCTIONS(F)                                                                         \
  F(cuInit, Init, (unsigned))                                                                      \
  F(cuDriverGetVersion, DriverGetVersion, (int *))                                                 \
  F(cuDeviceGetCount, DeviceGetCount, (int *))                                                     \
  F(cuDeviceGet, DeviceGet, (int *, int))                                                          \
  F(cuDeviceGetName, DeviceGetName, (char *, int, int))                                            \
  F(cuDeviceGetAttribute, DeviceGetAttribute, (int *, int, int))                                   \
  F(cuDevicePrimaryCtxRetain, CtxRetain, (void **, int))                                           \
  F(cuDevicePrimaryCtxRelease_v2, CtxRelease, (int))                                               \
  F(cuCtxPushCurrent_v2, CtxPush, (void *))                                                        \
  F(cuCtxPopCurrent_v2, CtxPop, (void **))                                                         \
  F(cuStreamCreate, StreamCreate, (void **, unsigned))                                             \
  F(cuStreamDestroy_v2, StreamDestroy, (void *))                                                   \
  F(cuStreamSynchronize, StreamSynchronize, (void *))                                              \
  F(cuEventCreate, EventCreate, (void **, unsigned))                                               \
  F(cuEventDestroy_v2, EventDestroy, (void *))                                                     \
  F(cuEventRecord, EventRecord, (void *, void *))                                                  \
  F(cuEventSynchronize, EventSynchronize, (void *))                                                \
  F(cuMemAlloc_v2, MemAlloc, (sq_nv_address *, size_t))                                            \
  F(cuMemFree_v2, MemFree, (sq_nv_address))                                                        \
  F(cuMemAllocHost_v2, MemAllocHost, (void **, size_t))                                            \
  F(cuMemFreeHost, MemFreeHost, (void *))                                                          \
  F(cuMemcpyHtoDAsync_v2, MemcpyHtoD, (sq_nv_address, const void *, size_t, void *))               \
  F(cuMemcpyDtoHAsync_v2, MemcpyDtoH, (void *, sq_nv_address, size_t, void *))                     \
  F(cuMemcpyDtoDAsync_v2, MemcpyDtoD, (sq_nv_address, sq_nv_address, size_t, void *))              \
  F(cuMemcpy2DAsync_v2, MemcpyRows, (const sq_nv_rows *, void *))                                  \
  F(cuMemsetD8Async, Memset, (sq_nv_address, unsigned char, size_t, void *))                       \
  F(cuModuleLoadDataEx, ModuleLoad, (void **, const void *, unsigned, const int *, void **))       \
  F(cuModuleUnload, ModuleUnload, (void *))                                                        \
  F(cuModuleGetFunction, ModuleGetFunction, (void **, void *, const char *))                       \
  F(cuFuncSetAttribute, FuncSetAttribute, (void *, int, int))                                      \
  F(cuTensorMapEncodeTiled, TensorMapEncode,                                                       \
    (void *, int, unsigned, void *, const unsigned long long *, const unsigned long long *,        \
     const unsigned *, const unsigned *, int, int, int, int))                                      \
  F(cuLaunchKernel, LaunchKernel,                                                                  \
    (void *, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, void *,         \
     void **, void **))                                                                            \
  F(cuGraphCreate, GraphCreate, (void **, unsigned))                                               \
  F(cuGraphDestroy, GraphDestroy, (void *))                                                        \
  F(cuGraphAddKernelNode_v2, GraphAddKernel,                                                       \
    (void **, void *, void **, size_t, const sq_nv_node *))                                        \
  F(cuGraphAddMemcpyNode, GraphAddMemcpy,                                                          \
    (void **, void *, void **, size_t, const sq_nv_box *, void *))                                 \
  F(cuGraphAddMemsetNode, GraphAddMemset,                                                          \
    (void **, void *, void **, size_t, const sq_nv_fill *, void *))                                \
  F(cuGraphInstantiateWithFlags, GraphInstantiate, (void **, void *, unsigned long long))          \
  F(cuGraphExecDestroy, ExecDestroy, (void *))                                                     \
  F(cuGraphExecKernelNodeSetParams_v2, ExecSetKernel, (void *, void *, const sq_nv_node *))        \
  F(cuGraphExecMemcpyNodeSetParams, ExecSetMemcpy, (void *, void *, const sq_nv_box *, void *))    \
  F(cuGraphExecMemsetNodeSetParams, ExecSetMemset, (void *, void *, const sq_nv_fill *, void *))   \
  F(cuGraphLaunch, GraphLaunch, (void *, void *))                                                  \
  F(cuGetErrorName, GetErrorName, (int, const char **))                                            \
  F(cuGetErrorString, GetErrorString, (int, const char **))

// Those that older drivers lack: NULL there.
#define SQ_NV_NEWER(F)                                                                             \
  F(cuGraphConditionalHandleCreate, ConditionalCreate,                                             \
    (unsigned long long *, void *, void *, unsigned, unsigned))                                    \
  F(cuGraphAddNode_v2, GraphAddNode,                                                               \
    (void **, void *, void **, const void *, size_t, sq_nv_any_node *))

typedef struct sq_nv_driver {
  void *library;
  int version; // 12040
#define SQ_NV_FIELD(symbol, field, types) int(*field) types;
  SQ_NV_FUNCTIONS(SQ_NV_FIELD)
  SQ_NV_NEWER(SQ_NV_FIELD)
} sq_nv_driver;
// False with what is wrong in `why`: no library, a function that it lacks, a driver that is too old, none
// that works. Nothing is left open then.
bool sq_nv_open(sq_nv_driver *d, char *why, size_t size);
void sq_nv_close(sq_nv_driver *d);
// cuda_null.c: false when `name` asks for another.
bool sq_nv_null(sq_nv_driver *d, const char *name);
// "cuMemAlloc_v2: CUDA_ERROR_OUT_OF_MEMORY: out of memory".
void sq_nv_explain(const sq_nv_driver *d, int code, const char *function, char *why, size_t size);
