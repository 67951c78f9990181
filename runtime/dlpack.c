// Tensors to and from DLPack without copies. The structures below are the public DLPack ABI
// (version 0.8's DLManagedTensor), written out here so that the runtime needs no header of it.
#include "runtime/cuda.h"

typedef struct device {
  int32_t type, id;
} device;
typedef struct data_type {
  uint8_t code, bits;
  uint16_t lanes;
} data_type;
struct DLManagedTensor {
  struct {
    void *data;
    device device;
    int32_t rank;
    data_type dtype;
    int64_t *shape, *strides;
    uint64_t byte_offset;
  } tensor;
  void *manager;
  void (*deleter)(struct DLManagedTensor *self);
};

enum { INT, UINT, FLOAT, BFLOAT = 4, BOOL = 6 };
enum { ON_CPU = 1, ON_CUDA = 2, ON_CUDA_HOST = 3 }; // the last: pinned memory of the host

static const data_type types[] = {
    [SEQM_F64] = {FLOAT, 64, 1},   [SEQM_F32] = {FLOAT, 32, 1}, [SEQM_F16] = {FLOAT, 16, 1},
    [SEQM_BF16] = {BFLOAT, 16, 1}, [SEQM_I64] = {INT, 64, 1},   [SEQM_I32] = {INT, 32, 1},
    [SEQM_I8] = {INT, 8, 1},       [SEQM_U8] = {UINT, 8, 1},    [SEQM_BOOL] = {BOOL, 8, 1},
};
enum { N_TYPES = sizeof types / sizeof types[0] };

// Axes of extent 1 may have any stride; nothing has one when there is no element.
static bool dense(const int64_t *shape, const int64_t *strides, int32_t rank) {
  int64_t step = 1;
  for (int32_t k = 0; k < rank; k++)
    if (shape[k] == 0) return true;
  for (int32_t k = rank; k-- > 0; step *= shape[k])
    if (shape[k] != 1 && strides[k] != step) return false;
  return true;
}

int seqm_from_dlpack(seqm_context *ctx, struct DLManagedTensor *dl, seqm_tensor *t) {
  sq_message_clear(ctx);
  *t = (seqm_tensor){0};
  int32_t rank = dl->tensor.rank;
  device where = dl->tensor.device;
  if (where.type != ON_CPU && where.type != ON_CUDA && where.type != ON_CUDA_HOST)
    return sq_rt_fail(ctx, SQ_EMODEL,
                      "DLPack: the tensor is neither in the CPU's memory nor on a CUDA device "
                      "(device type %d)",
                      where.type);
  if (where.type == ON_CUDA && where.id != 0)
    return sq_rt_fail(ctx, SQ_EMODEL,
                      "DLPack: the tensor is on CUDA device %d, but models run on device 0: "
                      "CUDA_VISIBLE_DEVICES says which that is",
                      where.id);
  if (rank < 0 || rank > SEQM_MAX_RANK)
    return sq_rt_fail(ctx, SQ_EMODEL, "DLPack: %d axes, but at most %d are taken", rank,
                      SEQM_MAX_RANK);
  uint32_t k = 0;
  data_type d = dl->tensor.dtype;
  while (k < N_TYPES && (types[k].code != d.code || types[k].bits != d.bits || d.lanes != 1)) k++;
  if (k == N_TYPES)
    return sq_rt_fail(ctx, SQ_EMODEL, "DLPack: no such dtype here: code %u, %u bits, %u lanes",
                      d.code, d.bits, d.lanes);
  seqm_tensor r = {.dtype = (seqm_dtype)k, .rank = (uint32_t)rank};
  if (where.type == ON_CUDA) r.device = SEQM_CUDA;
  for (int32_t a = 0; a < rank; a++) r.dim[a] = dl->tensor.shape[a];
  size_t bytes = 0;
  if (!sq_shape_bytes(k, r.rank, r.dim, &bytes))
    return sq_rt_fail(ctx, SQ_EMODEL, "DLPack: the shape is negative or too large");
  if (dl->tensor.strides && !dense(r.dim, dl->tensor.strides, rank))
    return sq_rt_fail(ctx, SQ_EMODEL,
                      "DLPack: the tensor is not dense and row-major: copy it first");
  if (dl->tensor.data) r.data = (char *)dl->tensor.data + dl->tensor.byte_offset;
  if (bytes && !r.data) return sq_rt_fail(ctx, SQ_EMODEL, "DLPack: the tensor has no data");
  *t = r;
  return SQ_OK;
}

// What the deleter needs; the allocator is copied, since the context may be gone by then.
typedef struct given {
  struct DLManagedTensor dl;
  sq_alloc alloc;
  void *data;  // as sq_mem_get_aligned made it, or
  sq_gpu *gpu; // not NULL: as sq_gpu_get did
  int64_t shape[SEQM_MAX_RANK], strides[SEQM_MAX_RANK];
} given;

static void drop(struct DLManagedTensor *self) {
  given *g = self->manager;
  sq_alloc a = g->alloc;
  seqm_context with_allocator = {.alloc = a};
  if (g->gpu)
    sq_gpu_drop(g->gpu, g->data);
  else
    sq_mem_drop_aligned(&with_allocator, g->data);
  sq_gpu_release(g->gpu);
  a.fn(a.user, g, 0);
}

int seqm_to_dlpack(seqm_context *ctx, seqm_tensor *t, struct DLManagedTensor **dl) {
  sq_message_clear(ctx);
  *dl = NULL;
  if (!t->owned)
    return sq_rt_fail(ctx, SQ_EUSAGE,
                      "DLPack: the tensor's data are not the library's to give away");
  if ((uint32_t)t->dtype >= N_TYPES || t->rank > SEQM_MAX_RANK)
    return sq_rt_fail(ctx, SQ_EUSAGE, "DLPack: not a tensor");
  bool on_device = t->device == SEQM_CUDA;
  if (on_device && !ctx->gpu)
    return sq_rt_fail(ctx, SQ_EUSAGE, "DLPack: not this context's tensor");
  given *g = sq_mem_get(ctx, sizeof *g);
  if (!g) return sq_rt_no_memory(ctx);
  g->alloc = ctx->alloc;
  g->data = t->data;
  if (on_device) sq_gpu_hold(g->gpu = ctx->gpu);
  int64_t step = 1;
  for (uint32_t k = t->rank; k-- > 0;) {
    g->shape[k] = t->dim[k];
    g->strides[k] = step;
    // An empty tensor may have extents whose product overflows; its strides mean nothing.
    if (__builtin_mul_overflow(step, t->dim[k], &step)) step = 0;
  }
  g->dl.tensor.data = t->data;
  g->dl.tensor.device = (device){on_device ? ON_CUDA : ON_CPU, 0};
  g->dl.tensor.rank = (int32_t)t->rank;
  g->dl.tensor.dtype = types[t->dtype];
  g->dl.tensor.shape = g->shape;
  g->dl.tensor.strides = g->strides;
  g->dl.manager = g;
  g->dl.deleter = drop;
  *dl = &g->dl;
  t->data = NULL;
  t->owned = 0;
  t->device = SEQM_HOST;
  return SQ_OK;
}
