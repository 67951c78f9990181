// Structures as bytes and back, by one description for both directions:
//
//   static void pair(sq_bytes *b, pair *p) { sq_bytes_u32(b, &p->n); sq_bytes_text(b, &p->name); }
//   sq_bytes b = {.out = &text};                           pair(&b, &p);   // p is read
//   sq_bytes b = {.arena = a, .at = data, .end = data + n}; pair(&b, &p);   // p is filled
//
// Reading tests every length: what is no such structure leaves `bad` set and zeros in the rest.
#pragma once
#include "base/text.h"

typedef struct sq_bytes {
  sq_text *out; // NULL: reading
  sq_arena *arena;
  const char *at, *end;
  bool bad;
} sq_bytes;

void sq_bytes_raw(sq_bytes *b, void *p, size_t size);
static inline void sq_bytes_u32(sq_bytes *b, uint32_t *v) { sq_bytes_raw(b, v, sizeof *v); }
// NULL or text. What is read stays in the bytes, which must outlive it.
void sq_bytes_text(sq_bytes *b, const char **s);
// An array of n elements: writing, the one that is there; reading, a new one of zeros (NULL for
// none). What follows takes at least `least` bytes for each element.
void *sq_bytes_array(sq_bytes *b, const void *there, uint32_t n, size_t element, size_t least);
// Its elements one by one, and arrays of plain numbers.
#define SQ_BYTES_EACH(b, field, n, each)                                                           \
  do {                                                                                             \
    __typeof__(*(field)) *list_ = sq_bytes_array((b), (field), (n), sizeof *(field), 1);           \
    for (uint32_t k_ = 0; k_ < (n) && !(b)->bad; k_++) each((b), (void *)(uintptr_t)&list_[k_]);   \
    (field) = list_;                                                                               \
  } while (0)
#define SQ_BYTES_PLAIN(b, field, n)                                                                \
  do {                                                                                             \
    void *list_ = sq_bytes_array((b), (field), (n), sizeof *(field), sizeof *(field));             \
    if (list_) sq_bytes_raw((b), list_, sizeof *(field) * (size_t)(n));                            \
    (field) = list_;                                                                               \
  } while (0)
