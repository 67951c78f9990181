// What the parts of the reader share: tokens (read_lex.c), sizes and the scalar part of generics
// (read_body.c), everything else (read.c). Not for others.
#pragma once
#include "ir/ir_text.h"

typedef enum tok_kind {
  TOK_END,
  TOK_NAME,   // plain name or word
  TOK_STRING, // decoded
  TOK_VALUE,  // %name, without the %
  TOK_REF,    // @name or @"name", without the @
  TOK_INT,    // no dot, no exponent; `suffix` may name a type
  TOK_FLOAT,
  TOK_MARK, // punctuation
} tok_kind;

typedef struct tok {
  tok_kind kind;
  const char *text;   // interned; of a number: its digits
  const char *suffix; // of a number: the type after `_`, or NULL
  sq_span span;
  uint32_t depth; // of braces, outside of itself
} tok;

typedef struct reader {
  sq_ctx *ctx;
  sq_graph *g;
  const tok *tok; // ends with TOK_END
  uint32_t n, at;
  uint32_t nest; // recursion
  bool failed;   // in the present item; the rest of it is skipped
  bool places;   // the text gives source places
  sq_func *func;
  // Values of the present function by name: open addressing, keys interned.
  struct sq_entry {
    const char *name;
    sq_value *value;
  } * entry;
  uint32_t n_entry, cap_entry;
} reader;
enum { READ_MAX_NEST = 200 };

bool sq_read_lex(reader *r, const char *file, const char *text, size_t n);

static inline const tok *here(const reader *r) { return &r->tok[r->at]; }
// Reports at the present token (once an item) and gives false.
bool sq_read_fail(reader *r, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
bool sq_read_is(const reader *r, const char *mark_or_word);
bool sq_read_take(reader *r, const char *mark_or_word); // if it is next
bool sq_read_want(reader *r, const char *mark_or_word); // fails otherwise
bool sq_read_u32(reader *r, const char *what, uint32_t *out);
bool sq_read_i64(reader *r, int64_t *out); // with an optional minus
bool sq_read_dtype(const char *name, sq_dtype *out);
bool sq_read_enter(reader *r); // fails when too deep; pair with r->nest--
// The value that the present TOK_VALUE names, without taking the token; NULL: failed.
sq_value *sq_read_value(reader *r);

bool sq_read_dim(reader *r, sq_dim *out);
// Axes, reduction and scalar part of n->g, after the inputs; `n` has its inputs.
bool sq_read_generic(reader *r, sq_node *n);
