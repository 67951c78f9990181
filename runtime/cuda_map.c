// Tensor maps: what a copy by box takes instead of addresses. In: a description of 16 words, as the compiled
// code puts it among the arguments of a launch. Out: the driver's opaque 128 bytes, in the same place.
//
//   word 0        address of the element 0, 0, ...: a multiple of 16
//        1        type: 6 f16, 9 bf16 (CUtensorMapDataType)
//        2        rank, 2 to 4
//        3 to 6   elements along each axis, the first runs along memory; beyond them zeros are read
//        7 to 9   bytes from one to the next along the second axis and on: multiples of 16, each of the one before
//        10 to 13 the box: up to 256 each, 128 bytes along the first
//        14       swizzle: 3 for 128 bytes (CUtensorMapSwizzle)
//
// They depend on addresses and sizes alone, so that a launch that comes again has the same words, and its node
// in a graph is left as it is.
#include "runtime/cuda.h"
#include <stdio.h>
#include <string.h>

enum {
  AXES = 4,
  TYPE = 1,
  RANK,
  DIM,
  STRIDE = DIM + AXES,
  BOX = STRIDE + AXES - 1,
  SWIZZLE = BOX + AXES
};
enum {
  PLAIN = 0,
  LINES_OF_128 = 2,
  ZEROS = 0
}; // no interleaving; what L2 fetches; what is outside

int sq_gpu_encode_map(sq_gpu *d, int64_t *word, const char *kernel) {
  const unsigned step[AXES] = {1, 1, 1, 1};
  unsigned long long dim[AXES], stride[AXES - 1];
  unsigned box[AXES];
  int64_t told[SQ_GPU_MAP_WORDS];
  char what[200];
  memcpy(told, word, sizeof told);
  for (int k = 0; k < AXES; k++) {
    dim[k] = (unsigned long long)told[DIM + k];
    box[k] = (unsigned)told[BOX + k];
    if (k) stride[k - 1] = (unsigned long long)told[STRIDE + k - 1];
    if (told[DIM + k] <= INT32_MAX) continue; // places are numbers of 32 bits
    snprintf(d->trouble, sizeof d->trouble, "%s: an axis of %lld elements is too long", kernel,
             (long long)told[DIM + k]);
    return SQ_NV_INVALID_VALUE;
  }
  int e =
      d->cu.TensorMapEncode(word, (int)told[TYPE], (unsigned)told[RANK], (void *)(uintptr_t)told[0],
                            dim, stride, box, step, PLAIN, (int)told[SWIZZLE], LINES_OF_128, ZEROS);
  if (!e) return 0;
  snprintf(what, sizeof what, "cuTensorMapEncodeTiled for %s", kernel);
  return sq_gpu_failed(d, e, what);
}
