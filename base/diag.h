// Diagnostics: the user's mistakes, collected with source spans and rendered with carets.
//
//   sq_diag *d = sq_error(ctx->diags, span, "index `%s` has two ranges", name);
//   sq_label(d, other_span, "e < 8 here");      // a further place
//   sq_hint(d, "`split_heads(key(x), heads)` at line 12 makes the second");
//
// renders as
//   model.seqm:14:32: error: index `e` has two ranges
//      14 |     s[h, i, j] = sum(e) q[h, i, e] * k[h, j, e]
//         |                           ^^^^^^^^^   ^^^^^^^^^ e < 16 here
//         |                           e < 8 here
//      hint: ...
#pragma once
#include "base/arena.h"
#include <stdbool.h>
#include <stdio.h>

// A byte range [begin, end) of source `file` (an index into sq_diags.sources; 0 = nowhere).
// Places go with what is made of them, and so does `mark`: the marked statement (sq_mark in ir/ir.h)
// that an operation belongs to; 0: none.
typedef struct sq_span {
  uint32_t file, begin, end, mark;
} sq_span;

typedef struct sq_source {
  const char *name; // as the user gave it
  const char *text; // NUL-terminated, `size` bytes
  size_t size;
} sq_source;

typedef enum sq_severity { SQ_ERROR, SQ_WARNING, SQ_NOTE } sq_severity;
typedef struct sq_label_rec {
  sq_span span;
  const char *text; // may be ""
} sq_label_rec;
typedef struct sq_diag {
  sq_severity severity;
  const char *message;
  SQ_VEC(sq_label_rec) labels; // [0] is the main place
  SQ_VEC(const char *) hints;
  SQ_VEC(const char *) notes; // how one got there, behind the hints
  struct sq_diags *owner;
} sq_diag;

typedef struct sq_diags {
  sq_arena *arena;
  SQ_VEC(sq_source) sources; // [0] is unused
  SQ_VEC(sq_diag *) list;
  uint32_t errors;
  uint32_t max_errors; // further ones are counted, not kept; default 20
} sq_diags;

void sq_diags_init(sq_diags *ds, sq_arena *arena);
// The text is copied. Returns the file's number.
uint32_t sq_diags_source(sq_diags *ds, const char *name, const char *text, size_t size);
sq_diag *sq_error(sq_diags *ds, sq_span span, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
sq_diag *sq_warn(sq_diags *ds, sq_span span, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
void sq_label(sq_diag *d, sq_span span, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
void sq_hint(sq_diag *d, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void sq_note(sq_diag *d, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

// 1-based line and column (in characters, not bytes) of a span's begin; 0,0 for no span.
void sq_span_line(const sq_diags *ds, sq_span s, uint32_t *line, uint32_t *column);
// All collected diagnostics as text, in the arena.
const char *sq_diags_render(const sq_diags *ds);
sq_span sq_span_join(sq_span a, sq_span b);
// The candidate nearest to `word` by edit distance, or NULL when none is near: "did you mean".
const char *sq_nearest(const char *word, const char *const *candidates, uint32_t n);
