// Tensor maps of the driver that is none: what cuTensorMapEncodeTiled makes, and what a launch reads.
#pragma once
#include <stdint.h>

typedef struct fake_map { // its arguments, but for places
  int type, interleave, swizzle, promotion, fill;
  unsigned rank;
  const void *at;
  const unsigned long long *dim, *stride;
  const unsigned *box, *step;
} fake_map;
// What is wrong with it, by the rules of the driver's manual, or NULL.
const char *fake_map_wrong(const void *map, const fake_map *m);
// The 16 words: the map of m; back to a description for the emulation. 0: they are no map.
void fake_map_encode(uint64_t *word, const fake_map *m);
int fake_map_decode(uint64_t *word);
