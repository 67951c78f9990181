// A strict reader of JSON text, pulled value by value by whoever knows the schema.
//
// Stricter than RFC 8259 in this: the text must be UTF-8 (tested by sq_json_start), strings hold no
// U+0000, numbers that are read are integers 0 .. 2^63-1, nesting ends at SQ_JSON_DEPTH. After the
// first fault every function fails; `fault` says what, `at` where.
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { SQ_JSON_DEPTH = 64 };

typedef struct sq_json {
  const char *begin, *p, *end;
  const char *fault;
  size_t at;  // offset of the fault
  char *room; // decoded strings are put here, one after another, NUL-terminated; at least as many
              // bytes as the text
} sq_json;

void sq_json_start(sq_json *j, const char *text, size_t n, char *room);
bool sq_json_fail(sq_json *j, const char *fault); // false
// Takes `c` when it is the next token's character; nothing happens otherwise.
bool sq_json_take(sq_json *j, char c);
bool sq_json_need(sq_json *j, char c);
// In an array or object: another element? `*first` is true at the start; `close` is taken.
bool sq_json_more(sq_json *j, bool *first, char close);
bool sq_json_string(sq_json *j, const char **s);
bool sq_json_integer(sq_json *j, int64_t *v);
bool sq_json_skip(sq_json *j); // any one value
bool sq_json_end(sq_json *j);  // nothing but white space is left
bool sq_utf8_valid(const char *s, size_t n, size_t *bad);
