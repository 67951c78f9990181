// The strict JSON reader; see json.h. No recursion, no memory of its own.
#include "runtime/json.h"
#include <string.h>

bool sq_json_fail(sq_json *j, const char *fault) {
  if (!j->fault) {
    j->fault = fault;
    j->at = (size_t)(j->p - j->begin);
  }
  j->p = j->end;
  return false;
}

// Length of the well-formed sequence at s, 0 for none (overlong, surrogate, cut short, > U+10FFFF).
static size_t utf8_length(const unsigned char *s, size_t n) {
  unsigned c = s[0];
  if (c < 0x80) return 1;
  size_t k = c >= 0xf0 ? 4 : c >= 0xe0 ? 3 : 2;
  if (c < 0xc2 || c > 0xf4 || n < k) return 0;
  for (size_t i = 1; i < k; i++)
    if ((s[i] & 0xc0) != 0x80) return 0;
  if ((c == 0xe0 && s[1] < 0xa0) || (c == 0xed && s[1] > 0x9f)) return 0;
  if ((c == 0xf0 && s[1] < 0x90) || (c == 0xf4 && s[1] > 0x8f)) return 0;
  return k;
}

bool sq_utf8_valid(const char *s, size_t n, size_t *bad) {
  for (size_t i = 0; i < n;) {
    size_t k = utf8_length((const unsigned char *)s + i, n - i);
    if (!k) {
      *bad = i;
      return false;
    }
    i += k;
  }
  return true;
}

void sq_json_start(sq_json *j, const char *text, size_t n, char *room) {
  *j = (sq_json){.begin = text, .p = text, .end = text + n, .room = room};
  size_t bad;
  if (!sq_utf8_valid(text, n, &bad)) {
    j->p = text + bad;
    sq_json_fail(j, "not UTF-8");
  }
}

static void space(sq_json *j) {
  while (j->p < j->end && (*j->p == ' ' || *j->p == '\t' || *j->p == '\n' || *j->p == '\r')) j->p++;
}

bool sq_json_take(sq_json *j, char c) {
  space(j);
  if (j->p == j->end || *j->p != c) return false;
  j->p++;
  return true;
}

bool sq_json_need(sq_json *j, char c) {
  if (sq_json_take(j, c)) return true;
  switch (c) {
  case '{':
    return sq_json_fail(j, "an object `{` is wanted here");
  case '[':
    return sq_json_fail(j, "a list `[` is wanted here");
  case ':':
    return sq_json_fail(j, "`:` is wanted here");
  default:
    return sq_json_fail(j, "a string is wanted here");
  }
}

bool sq_json_more(sq_json *j, bool *first, char close) {
  if (j->fault) return false;
  bool was_first = *first;
  *first = false;
  if (sq_json_take(j, close)) return false;
  if (was_first || sq_json_take(j, ',')) return true;
  return sq_json_fail(j, close == '}' ? "`,` or `}` is wanted here" : "`,` or `]` is wanted here");
}

static bool hex4(sq_json *j, uint32_t *v) {
  if (j->end - j->p < 4) return sq_json_fail(j, "the text ends inside a string");
  *v = 0;
  for (int k = 0; k < 4; k++, j->p++) {
    char c = *j->p;
    uint32_t d;
    if (c >= '0' && c <= '9')
      d = (uint32_t)(c - '0');
    else if ((c | 32) >= 'a' && (c | 32) <= 'f')
      d = (uint32_t)((c | 32) - 'a' + 10);
    else
      return sq_json_fail(j, "a hexadecimal digit is wanted here");
    *v = *v << 4 | d;
  }
  return true;
}

static bool unicode_escape(sq_json *j) {
  uint32_t u, low;
  if (!hex4(j, &u)) return false;
  if (u >= 0xd800 && u < 0xdc00) {
    if (j->end - j->p < 2 || j->p[0] != '\\' || j->p[1] != 'u')
      return sq_json_fail(j, "half of a surrogate pair");
    j->p += 2;
    if (!hex4(j, &low)) return false;
    if (low < 0xdc00 || low > 0xdfff) return sq_json_fail(j, "half of a surrogate pair");
    u = 0x10000 + ((u - 0xd800) << 10) + (low - 0xdc00);
  } else if (u >= 0xdc00 && u < 0xe000) {
    return sq_json_fail(j, "half of a surrogate pair");
  }
  if (!u) return sq_json_fail(j, "U+0000 in a string");
  char *o = j->room;
  if (u < 0x80) {
    *o++ = (char)u;
  } else if (u < 0x800) {
    *o++ = (char)(0xc0 | u >> 6);
    *o++ = (char)(0x80 | (u & 63));
  } else if (u < 0x10000) {
    *o++ = (char)(0xe0 | u >> 12);
    *o++ = (char)(0x80 | (u >> 6 & 63));
    *o++ = (char)(0x80 | (u & 63));
  } else {
    *o++ = (char)(0xf0 | u >> 18);
    *o++ = (char)(0x80 | (u >> 12 & 63));
    *o++ = (char)(0x80 | (u >> 6 & 63));
    *o++ = (char)(0x80 | (u & 63));
  }
  j->room = o;
  return true;
}

static bool escape(sq_json *j) {
  static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
  if (j->p == j->end) return sq_json_fail(j, "the text ends inside a string");
  char c = *j->p;
  if (c == 'u') {
    j->p++;
    return unicode_escape(j);
  }
  const char *k = c ? strchr(from, c) : NULL;
  if (!k) return sq_json_fail(j, "an unknown escape in a string");
  j->p++;
  *j->room++ = to[k - from];
  return true;
}

bool sq_json_string(sq_json *j, const char **s) {
  if (j->fault || !sq_json_need(j, '"')) return false;
  *s = j->room;
  for (;;) {
    if (j->p == j->end) return sq_json_fail(j, "the text ends inside a string");
    char c = *j->p;
    if ((unsigned char)c < 0x20) return sq_json_fail(j, "a control character in a string");
    j->p++;
    if (c == '"') break;
    if (c != '\\')
      *j->room++ = c;
    else if (!escape(j))
      return false;
  }
  *j->room++ = 0;
  return true;
}

static bool digit(const sq_json *j) { return j->p < j->end && *j->p >= '0' && *j->p <= '9'; }

bool sq_json_integer(sq_json *j, int64_t *v) {
  if (j->fault) return false;
  space(j);
  const char *from = j->p;
  if (!digit(j)) return sq_json_fail(j, "a whole number, not negative, is wanted here");
  *v = 0;
  for (; digit(j); j->p++)
    if (__builtin_mul_overflow(*v, (int64_t)10, v) ||
        __builtin_add_overflow(*v, (int64_t)(*j->p - '0'), v))
      return sq_json_fail(j, "the number does not fit into 63 bits");
  if (*from == '0' && j->p - from > 1) return sq_json_fail(j, "a number with a leading zero");
  if (j->p < j->end && (*j->p == '.' || *j->p == 'e' || *j->p == 'E'))
    return sq_json_fail(j, "a whole number is wanted here");
  return true;
}

static bool skip_digits(sq_json *j) {
  if (!digit(j)) return sq_json_fail(j, "a digit is wanted here");
  while (digit(j)) j->p++;
  return true;
}

static bool skip_number(sq_json *j) {
  if (j->p < j->end && *j->p == '-') j->p++;
  const char *from = j->p;
  if (!skip_digits(j)) return false;
  if (*from == '0' && j->p - from > 1) return sq_json_fail(j, "a number with a leading zero");
  if (j->p < j->end && *j->p == '.') {
    j->p++;
    if (!skip_digits(j)) return false;
  }
  if (j->p < j->end && (*j->p | 32) == 'e') {
    j->p++;
    if (j->p < j->end && (*j->p == '+' || *j->p == '-')) j->p++;
    return skip_digits(j);
  }
  return true;
}

static bool skip_atom(sq_json *j) {
  static const char *const words[] = {"true", "false", "null"};
  const char *s;
  space(j);
  if (j->p < j->end && *j->p == '"') {
    char *room = j->room;
    bool ok = sq_json_string(j, &s);
    j->room = room;
    return ok;
  }
  for (int k = 0; k < 3; k++) {
    size_t n = strlen(words[k]);
    if ((size_t)(j->end - j->p) >= n && !memcmp(j->p, words[k], n)) {
      j->p += n;
      return true;
    }
  }
  if (j->p < j->end && (*j->p == '-' || digit(j))) return skip_number(j);
  return sq_json_fail(j, "a value is wanted here");
}

static bool skip_key(sq_json *j) {
  const char *s;
  char *room = j->room;
  bool ok = sq_json_string(j, &s) && sq_json_need(j, ':');
  j->room = room;
  return ok;
}

bool sq_json_skip(sq_json *j) {
  char close[SQ_JSON_DEPTH];
  int depth = 0;
  bool first = false; // just after an opening bracket
  for (;;) {
    if (j->fault) return false;
    if (depth && !sq_json_more(j, &first, close[depth - 1])) {
      if (j->fault) return false;
      if (!--depth) return true;
      continue;
    }
    if (depth && close[depth - 1] == '}' && !skip_key(j)) return false;
    bool object = sq_json_take(j, '{');
    if (object || sq_json_take(j, '[')) {
      if (depth == SQ_JSON_DEPTH) return sq_json_fail(j, "nested too deeply");
      close[depth++] = object ? '}' : ']';
      first = true;
      continue;
    }
    if (!skip_atom(j)) return false;
    if (!depth) return true;
  }
}

bool sq_json_end(sq_json *j) {
  space(j);
  if (!j->fault && j->p != j->end) return sq_json_fail(j, "something follows the value");
  return !j->fault;
}
