// Tokens of IR text. Comments run from `#` to the end of the line. `%` begins a value's name when a
// letter, digit, `_` or `?` follows at once and is the remainder operator otherwise.
#include "ir/read_inner.h"
#include <stdarg.h>

typedef struct lexer {
  reader *r;
  const char *text;
  size_t n, at;
  uint32_t file, depth;
  SQ_VEC(tok) out;
} lexer;

static bool is_digit(char c) { return c >= '0' && c <= '9'; }
static bool is_letter(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}
static char ahead(const lexer *x, size_t k) { return x->at + k < x->n ? x->text[x->at + k] : 0; }

static void emit(lexer *x, tok_kind kind, size_t begin, const char *text, const char *suffix) {
  tok t = {.kind = kind,
           .text = text,
           .suffix = suffix,
           .span = {x->file, (uint32_t)begin, (uint32_t)x->at, 0},
           .depth = x->depth};
  sq_push(x->r->ctx->diags.arena, &x->out, t);
}

static const char *intern(lexer *x, size_t begin, size_t end) {
  return sq_intern(&x->r->ctx->names, x->text + begin, end - begin);
}

static size_t name_end(const lexer *x, size_t at) {
  while (at < x->n && (is_letter(x->text[at]) || is_digit(x->text[at]) || x->text[at] == '.')) at++;
  return at;
}

static int hex(char c) { return is_digit(c) ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1; }

static bool lex_fault(lexer *x, size_t begin, const char *what) {
  sq_error(&x->r->ctx->diags, (sq_span){x->file, (uint32_t)begin, (uint32_t)x->at, 0}, "%s", what);
  return false;
}

// At the opening quote.
static bool string(lexer *x, tok_kind kind, size_t begin) {
  sq_text t = {.arena = x->r->ctx->diags.arena};
  sq_text_put(&t, "", 0);
  for (x->at++; x->at < x->n && x->text[x->at] != '"'; x->at++) {
    char c = x->text[x->at];
    if (c == '\n' || c == 0) return lex_fault(x, begin, "a string does not end on its line");
    if (c == '\\') {
      c = ahead(x, 1);
      x->at++;
      if (c == 'n') {
        c = '\n';
      } else if (c == 'x') {
        int h = hex(ahead(x, 1)), l = hex(ahead(x, 2));
        if (h < 0 || l < 0 || h + l == 0)
          return lex_fault(x, begin, "`\\x` wants two hexadecimal digits, not 00");
        c = (char)(h * 16 + l);
        x->at += 2;
      } else if (c != '"' && c != '\\') {
        return lex_fault(x, begin, "unknown escape in a string");
      }
    }
    sq_text_put(&t, &c, 1);
  }
  if (x->at >= x->n) return lex_fault(x, begin, "a string does not end");
  x->at++;
  emit(x, kind, begin, sq_intern(&x->r->ctx->names, t.v, t.n), NULL);
  return true;
}

static void number(lexer *x, size_t begin) {
  tok_kind kind = TOK_INT;
  while (is_digit(ahead(x, 0))) x->at++;
  if (ahead(x, 0) == '.' && is_digit(ahead(x, 1))) {
    kind = TOK_FLOAT;
    for (x->at++; is_digit(ahead(x, 0));) x->at++;
  }
  size_t sign = ahead(x, 1) == '+' || ahead(x, 1) == '-';
  if (ahead(x, 0) == 'e' && is_digit(ahead(x, 1 + sign))) {
    kind = TOK_FLOAT;
    for (x->at += 1 + sign; is_digit(ahead(x, 0));) x->at++;
  }
  size_t end = x->at;
  const char *suffix = NULL;
  if (ahead(x, 0) == '_') {
    x->at = name_end(x, x->at);
    suffix = intern(x, end + 1, x->at);
  }
  emit(x, kind, begin, intern(x, begin, end), suffix);
}

static bool mark(lexer *x, size_t begin) {
  static const char *const marks[] = {"->", "<=", "==", "!=", "//", "..", "<", "(", ")",
                                      "[",  "]",  "{",  "}",  ",",  ":",  ";", "=", "+",
                                      "-",  "*",  "/",  "%",  "!",  "|",  "?"};
  for (size_t k = 0; k < sizeof marks / sizeof *marks; k++) {
    size_t len = strlen(marks[k]);
    if (x->n - x->at < len || memcmp(x->text + x->at, marks[k], len) != 0) continue;
    x->at += len;
    if (*marks[k] == '}' && x->depth) x->depth--;
    emit(x, TOK_MARK, begin, sq_intern_z(&x->r->ctx->names, marks[k]), NULL);
    if (*marks[k] == '{') x->depth++;
    return true;
  }
  x->at++;
  return lex_fault(x, begin, "a character that means nothing here");
}

bool sq_read_lex(reader *r, const char *file, const char *text, size_t n) {
  lexer x = {.r = r, .text = text, .n = n};
  x.file = sq_diags_source(&r->ctx->diags, file, text, n);
  bool ok = true;
  if (n >= UINT32_MAX) {
    sq_error(&r->ctx->diags, (sq_span){0}, "%s is longer than 4 GiB", file);
    return false;
  }
  while (x.at < n && r->ctx->diags.errors <= r->ctx->diags.max_errors) {
    char c = text[x.at];
    size_t begin = x.at;
    if (c == ' ' || c == '\n' || c == '\t' || c == '\r') {
      x.at++;
    } else if (c == '#') {
      while (x.at < n && text[x.at] != '\n') x.at++;
    } else if (is_letter(c)) {
      x.at = name_end(&x, x.at);
      emit(&x, TOK_NAME, begin, intern(&x, begin, x.at), NULL);
    } else if (is_digit(c)) {
      number(&x, begin);
    } else if (c == '"') {
      ok &= string(&x, TOK_STRING, begin);
    } else if (c == '%' && (is_letter(ahead(&x, 1)) || is_digit(ahead(&x, 1)))) {
      x.at = name_end(&x, x.at + 1);
      emit(&x, TOK_VALUE, begin, intern(&x, begin + 1, x.at), NULL);
    } else if (c == '@' && ahead(&x, 1) == '"') {
      x.at++;
      ok &= string(&x, TOK_REF, begin);
    } else if (c == '@' && is_letter(ahead(&x, 1))) {
      x.at = name_end(&x, x.at + 1);
      emit(&x, TOK_REF, begin, intern(&x, begin + 1, x.at), NULL);
    } else {
      ok &= mark(&x, begin);
    }
  }
  x.at = n;
  x.depth = 0;
  emit(&x, TOK_END, n, sq_intern_z(&r->ctx->names, "the end"), NULL);
  r->tok = x.out.v;
  r->n = x.out.n;
  return ok;
}

// ---- taking tokens -----------------------------------------------------------------------------

bool sq_read_fail(reader *r, const char *fmt, ...) {
  if (r->failed) return false;
  r->failed = true;
  char text[512];
  va_list ap;
  va_start(ap, fmt);
  vsnprintf(text, sizeof text, fmt, ap);
  va_end(ap);
  sq_error(&r->ctx->diags, here(r)->span, "%s", text);
  return false;
}

bool sq_read_is(const reader *r, const char *s) {
  const tok *t = here(r);
  return (t->kind == TOK_MARK || t->kind == TOK_NAME) && !strcmp(t->text, s);
}

bool sq_read_take(reader *r, const char *s) {
  if (!sq_read_is(r, s)) return false;
  r->at++;
  return true;
}

bool sq_read_want(reader *r, const char *s) {
  return sq_read_take(r, s) ||
         sq_read_fail(r, "expected `%s` instead of `%.60s`", s, here(r)->text);
}

static bool digits(const char *s, uint64_t *out) {
  uint64_t v = 0;
  for (; *s; s++)
    if (__builtin_mul_overflow(v, 10u, &v) || __builtin_add_overflow(v, (uint64_t)(*s - '0'), &v))
      return false;
  *out = v;
  return true;
}

bool sq_read_u32(reader *r, const char *what, uint32_t *out) {
  uint64_t v;
  if (here(r)->kind != TOK_INT || here(r)->suffix)
    return sq_read_fail(r, "expected %s (a number) instead of `%.60s`", what, here(r)->text);
  if (!digits(here(r)->text, &v) || v >= UINT32_MAX)
    return sq_read_fail(r, "%s is too large", what);
  r->at++;
  *out = (uint32_t)v;
  return true;
}

bool sq_read_i64(reader *r, int64_t *out) {
  bool negative = sq_read_take(r, "-");
  uint64_t v;
  if (here(r)->kind != TOK_INT)
    return sq_read_fail(r, "expected an integer instead of `%.60s`", here(r)->text);
  if (!digits(here(r)->text, &v) || v > (uint64_t)INT64_MAX + negative)
    return sq_read_fail(r, "the integer is too large");
  r->at++;
  *out = negative ? (int64_t)(0 - v) : (int64_t)v;
  return true;
}

bool sq_read_dtype(const char *name, sq_dtype *out) {
  for (int k = 0; k < SQ_DTYPE_COUNT; k++)
    if (!strcmp(sq_dtype_table[k].name, name)) {
      *out = (sq_dtype)k;
      return true;
    }
  return false;
}

bool sq_read_enter(reader *r) {
  if (r->nest >= READ_MAX_NEST) return sq_read_fail(r, "nested too deeply");
  r->nest++;
  return true;
}
