// Tensor maps of the driver that is none. In: the arguments of cuTensorMapEncodeTiled. Out: what the driver's manual
// (CUDA driver API, "Tensor Map Object Management") says against them; an opaque map, of which a launch takes the
// fields that the emulation reads (runtime/cuda_map.c has their order).
#include "fake_gpu_map.h"
#include <string.h>

enum { F16 = 6, BF16 = 9, AXES = 4 };
static const uint64_t mark = 0x70616d726f736e65u; // a map, and no description of one

const char *fake_map_wrong(const void *map, const fake_map *m) {
  static const unsigned span[] = {0, 32, 64, 128};
  if ((uintptr_t)map % 64) return "the map is not at a multiple of 64";
  if (m->type != F16 && m->type != BF16) return "the type is none of 16 bits";
  if (m->rank < 2 || m->rank > AXES) return "the rank";
  if (!m->at) return "there is no address"; // the manual says nothing of it
  if ((uintptr_t)m->at % 16) return "the address is not a multiple of 16";
  if (m->interleave || m->promotion < 0 || m->promotion > 3 || m->fill) return "an option";
  if (m->swizzle < 0 || m->swizzle > 3) return "the swizzle";
  for (unsigned k = 0; k < m->rank; k++) {
    if (m->dim[k] < 1 || m->dim[k] > 1ull << 32) return "the size of an axis";
    if (m->box[k] < 1 || m->box[k] > 256) return "the size of a box";
    if (m->step[k] != 1) return "a step";
    if (k && (m->stride[k - 1] % 16 || m->stride[k - 1] >= 1ull << 40)) return "a stride";
    if (k > 1 && (!m->stride[k - 2] || m->stride[k - 1] % m->stride[k - 2]))
      return "a stride is no multiple of the one before";
  }
  if (m->box[0] * 2 % 16) return "the row of a box is not a multiple of 16";
  if (m->swizzle && m->box[0] * 2 > span[m->swizzle])
    return "the row of a box is wider than the swizzle";
  return NULL;
}
void fake_map_encode(uint64_t *word, const fake_map *m) {
  unsigned n = 0;
  word[n++] = (uint64_t)(uintptr_t)m->at;
  word[n++] = (uint64_t)m->type;
  word[n++] = m->rank;
  for (unsigned k = 0; k < AXES; k++) word[n++] = k < m->rank ? m->dim[k] : 1;
  for (unsigned k = 0; k + 1 < AXES; k++) word[n++] = k + 1 < m->rank ? m->stride[k] : 0;
  for (unsigned k = 0; k < AXES; k++) word[n++] = k < m->rank ? m->box[k] : 1;
  word[n++] = (uint64_t)m->swizzle;
  word[n] = mark;
}
int fake_map_decode(uint64_t *word) {
  if (word[15] != mark) return 0;
  word[15] = 0;
  return 1;
}
