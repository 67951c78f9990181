// Tensors on their own: freed, and copied from one place to another. In: a tensor of the host or of the
// device. Out: the same elsewhere, owned.
#include "runtime/cuda.h"
#include <string.h>

void seqm_tensor_free(seqm_context *ctx, seqm_tensor *t) {
  if (!t) return;
  if (t->owned && t->device == SEQM_CUDA && ctx->gpu)
    sq_gpu_drop(ctx->gpu, t->data);
  else if (t->owned && t->device == SEQM_HOST)
    sq_mem_drop_aligned(ctx, t->data);
  t->data = NULL;
  t->owned = 0;
}

static void *room(seqm_context *ctx, seqm_device where, size_t bytes) {
  return where == SEQM_CUDA ? sq_gpu_get(ctx->gpu, bytes) : sq_mem_get_aligned(ctx, bytes);
}

static int move(seqm_context *ctx, const seqm_tensor *from, seqm_tensor *to, size_t bytes) {
  sq_gpu *d = ctx->gpu;
  if (from->device == SEQM_CUDA && to->device == SEQM_CUDA)
    return sq_gpu_move(d, to->data, from->data, bytes);
  if (from->device == SEQM_CUDA) return sq_gpu_take(d, to->data, from->data, bytes);
  if (to->device == SEQM_CUDA) return sq_gpu_put(d, to->data, from->data, bytes);
  if (bytes) memcpy(to->data, from->data, bytes);
  return 0;
}

static int fail(seqm_context *ctx, seqm_device where, size_t bytes) {
  if (where == SEQM_HOST)
    return sq_rt_fail(ctx, SQ_EWORLD, "out of memory: a tensor needs %zu bytes", bytes);
  return sq_rt_fail(ctx, SQ_EWORLD, "a tensor of %zu bytes: %s", bytes, ctx->gpu->trouble);
}

int seqm_tensor_copy(seqm_context *ctx, const seqm_tensor *t, seqm_device where, seqm_tensor *out) {
  size_t bytes = 0;
  sq_gpu *d;
  sq_message_clear(ctx);
  *out = (seqm_tensor){0};
  SQ_TRY((sq_status)sq_rt_given(ctx, t, "the tensor"));
  bool known = where <= SEQM_CUDA && t->device <= SEQM_CUDA && t->rank <= SEQM_MAX_RANK;
  if (!known || !seqm_dtype_size(t->dtype) || !sq_shape_bytes(t->dtype, t->rank, t->dim, &bytes) ||
      (bytes && !t->data))
    return sq_rt_fail(ctx, SQ_EUSAGE, "not a tensor that can be copied");
  if (where == SEQM_CUDA || t->device == SEQM_CUDA) SQ_TRY((sq_status)sq_gpu_open(ctx, &d));
  seqm_tensor copy = *t;
  copy.device = where;
  copy.owned = 1;
  copy.data = room(ctx, where, bytes);
  if (!copy.data) return fail(ctx, where, bytes);
  if (move(ctx, t, &copy, bytes)) {
    seqm_tensor_free(ctx, &copy);
    return fail(ctx, SEQM_CUDA, bytes);
  }
  *out = copy;
  return SQ_OK;
}
