// Structures as bytes and back.
#include "base/bytes.h"

void sq_bytes_raw(sq_bytes *b, void *p, size_t size) {
  if (b->out) {
    sq_text_put(b->out, p, size);
    return;
  }
  if (b->bad || size > (size_t)(b->end - b->at)) {
    b->bad = true;
    memset(p, 0, size);
    return;
  }
  memcpy(p, b->at, size);
  b->at += size;
}

// u32 length and the text with its NUL; UINT32_MAX for NULL.
void sq_bytes_text(sq_bytes *b, const char **s) {
  uint32_t n = b->out && *s ? (uint32_t)strlen(*s) : UINT32_MAX;
  sq_bytes_u32(b, &n);
  if (b->out) {
    if (*s) sq_text_put(b->out, *s, (size_t)n + 1);
    return;
  }
  *s = NULL;
  if (b->bad || n == UINT32_MAX) return;
  if (n >= (size_t)(b->end - b->at) || strnlen(b->at, (size_t)n + 1) != n) {
    b->bad = true;
    return;
  }
  *s = b->at;
  b->at += (size_t)n + 1;
}

void *sq_bytes_array(sq_bytes *b, const void *there, uint32_t n, size_t element, size_t least) {
  if (b->out) return (void *)(uintptr_t)there;
  if (n > (size_t)(b->end - b->at) / least) b->bad = true;
  if (b->bad || n == 0) return NULL;
  return sq_arena_take(b->arena, element * n);
}
