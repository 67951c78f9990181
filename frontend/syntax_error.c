// Messages of the parser: what was expected before what, in words of the language rather than of
// the grammar, and hints for the mistakes that people make.
#include "frontend/syntax.h"
#include <stdarg.h>

enum { MAX_MISTAKES = 100, MAX_LISTED = 4 };

static sq_diag *report(sq_syntax *ps, sq_span span, const char *fmt, va_list ap) {
  char text[1024];
  vsnprintf(text, sizeof text, fmt, ap);
  if (span.begin >= ps->bad_at) ps->bad_at = span.begin + 1;
  sq_diag *d = sq_error(&ps->ctx->diags, span, "%s", text);
  if (++ps->mistakes == MAX_MISTAKES) ps->fatal = true;
  return d;
}

sq_diag *sq_syntax_error(sq_syntax *ps, sq_span span, const char *fmt, ...) {
  va_list ap;
  va_start(ap, fmt);
  sq_diag *d = report(ps, span, fmt, ap);
  va_end(ap);
  return d;
}

void sq_syntax_give_up(sq_syntax *ps, sq_span span, const char *fmt, ...) {
  if (ps->fatal) return;
  if (ps->skip) { // a mistake of this statement was said
    ps->fatal = true;
    return;
  }
  va_list ap;
  va_start(ap, fmt);
  sq_hint(report(ps, span, fmt, ap), "write it in smaller parts with names of their own");
  va_end(ap);
  ps->fatal = true;
}

const char *sq_span_text(const sq_syntax *ps, sq_span span) {
  uint32_t n = span.end - span.begin, most = 40;
  const char *s = ps->text + span.begin;
  if (n <= most) return sq_arena_str(ps->arena, s, n);
  while (most && ((unsigned char)s[most] & 0xc0) == 0x80) most--;
  return sq_arena_fmt(ps->arena, "%.*s...", (int)most, s);
}

// ---- what was expected -------------------------------------------------------------------------
static bool has(const int *set, int n, int token) {
  for (int k = 0; k < n; k++)
    if (set[k] == token) return true;
  return false;
}

static int without(int *set, int n, const int *gone) {
  int kept = 0;
  for (int k = 0; k < n; k++) {
    bool drop = false;
    for (const int *g = gone; *g >= 0; g++) drop |= *g == set[k];
    if (!drop) set[kept++] = set[k];
  }
  return kept;
}

static const int expr_start[] = {NAME, INT, FLOAT, STRING, TRUE, FALSE, TYPE,
                                 RED,  NOT, '(',   '[',    '-',  -1};
static const int index_start[] = {DOTS, GROW, -1};
static const int stmt_start[] = {EMIT, RETURN,   CHECK, RESERVE, FOR,     UNROLL,
                                 SCAN, PARALLEL, WHILE, IF,      REQUIRE, -1};
static const int decl_start[] = {PARAM, SUB,   STATE, FN,  PROC,   ENTRY, PRESET,
                                 IF,    CHECK, NAME,  USE, MODULE, MODEL, -1};
static const int operators[] = {'+', '-', '*', '/', FDIV, '%', '^', '<',  '>', LE, GE,
                                EQ,  NE,  AND, OR,  '.',  '(', '[', ELSE, IN,  -1};
static const int after_line[] = {'}', END_FILE, AS, FROZEN, KEPT, '|', -1};
static const int after_comma[] = {LIMIT, WHERE, -1};

static const char *kind_text(int token) {
  static const struct {
    int token;
    const char *text;
  } table[] = {
      {END_FILE, "the end of the file"},
      {SEP, "the end of the line"},
      {NAME, "a name"},
      {STRING, "a string in quotes"},
      {TYPE, "a type"},
      {RED, "a reduction"},
      {INT, "an integer"},
      {FLOAT, "a number"},
      {USE, "`use`"},
      {MODULE, "`module`"},
      {MODEL, "`model`"},
      {PRESET, "`preset`"},
      {PARAM, "`param`"},
      {SUB, "`sub`"},
      {STATE, "`state`"},
      {FN, "`fn`"},
      {PROC, "`proc`"},
      {ENTRY, "`entry`"},
      {FROZEN, "`frozen`"},
      {KEPT, "`kept`"},
      {AS, "`as`"},
      {GROW, "`grow`"},
      {PARALLEL, "`parallel`"},
      {SCAN, "`scan`"},
      {FOR, "`for`"},
      {UNROLL, "`unroll`"},
      {WHILE, "`while`"},
      {IF, "`if`"},
      {ELSE, "`else`"},
      {WITH, "`with`"},
      {REVERSED, "`reversed`"},
      {EMIT, "`emit`"},
      {RETURN, "`return`"},
      {CHECK, "`check`"},
      {RESERVE, "`reserve`"},
      {LIMIT, "`limit`"},
      {WHERE, "`where`"},
      {AND, "`and`"},
      {OR, "`or`"},
      {NOT, "`not`"},
      {IN, "`in`"},
      {TRUE, "`true`"},
      {FALSE, "`false`"},
      {REQUIRE, "`require fused`"},
      {ARROW, "`->`"},
      {SET, "`<-`"},
      {DOTS, "`..`"},
      {FDIV, "`//`"},
      {EQ, "`==`"},
      {NE, "`!=`"},
      {LE, "`<=`"},
      {GE, "`>=`"},
      {'(', "`(`"},
      {')', "`)`"},
      {'[', "`[`"},
      {']', "`]`"},
      {'{', "`{`"},
      {'}', "`}`"},
      {',', "`,`"},
      {'.', "`.`"},
      {':', "`:`"},
      {'=', "`=`"},
      {'<', "`<`"},
      {'>', "`>`"},
      {'+', "`+`"},
      {'-', "`-`"},
      {'*', "`*`"},
      {'/', "`/`"},
      {'%', "`%`"},
      {'^', "`^`"},
      {'|', "`|`"},
  };
  for (size_t k = 0; k < sizeof table / sizeof *table; k++)
    if (table[k].token == token) return table[k].text;
  return "something else";
}

// "an expression", "`,` or `)`": NULL when nothing short can be said.
static const char *expected_text(sq_syntax *ps, const int *expected, int n) {
  const char *part[8];
  int parts = 0, set[128], m = n < 128 ? n : 128;
  if (n) memcpy(set, expected, sizeof *set * (size_t)m);
  if (has(set, m, FLOAT) && has(set, m, NAME)) {
    part[parts++] = has(set, m, RETURN) ? "a statement"
                    : has(set, m, DOTS) ? "an index"
                                        : "an expression";
    if (has(set, m, RETURN)) m = without(set, m, stmt_start);
    m = without(set, without(set, m, expr_start), index_start);
  } else if (has(set, m, PARAM)) {
    part[parts++] = "a declaration";
    m = without(set, m, decl_start);
  } else if (has(set, m, '*') && has(set, m, '+')) {
    m = without(set, m, operators);
    if (!m) part[parts++] = "an operator";
  } else if (has(set, m, '^') || has(set, m, '.')) {
    m = without(set, m, operators);
  }
  static const int line[] = {SEP, -1};
  if (has(set, m, SEP)) m = without(set, m, after_line);
  if (has(expected, n, RETURN) || has(expected, n, PARAM)) m = without(set, m, line);
  if (has(set, m, ',')) m = without(set, m, after_comma);
  if (m + parts > MAX_LISTED) return NULL;
  for (int k = 0; k < m; k++) part[parts++] = kind_text(set[k]);
  if (!parts) return NULL;
  sq_text t = {.arena = ps->arena};
  for (int k = 0; k < parts; k++)
    sq_text_add(&t, "%s%s", k == 0 ? "" : k + 1 < parts ? ", " : " or ", part[k]);
  return t.v;
}

static const char *found_text(sq_syntax *ps, int token, sq_span span) {
  if (token == SEP && span.end == span.begin + 1) return "`;`";
  if (token == SEP || token == END_FILE || span.begin == span.end) return kind_text(token);
  if (token == STRING) return sq_arena_fmt(ps->arena, "the string %s", sq_span_text(ps, span));
  return sq_arena_fmt(ps->arena, "`%s`", sq_span_text(ps, span));
}

// ---- hints -------------------------------------------------------------------------------------
typedef struct mistake {
  sq_syntax *ps;
  sq_diag *d;
  int token;
  sq_span span;
  const int *expected;
  int n;
} mistake;

static bool wants(const mistake *m, int token) { return has(m->expected, m->n, token); }
static bool touches(const mistake *m) { return m->ps->prev_span.end == m->span.begin; }
static bool in_bracket(const mistake *m, int open) {
  const sq_syntax *ps = m->ps;
  uint32_t k = ps->n_open;
  if (k && ps->open[k - 1].span.begin == m->span.begin) k--;
  return k && ps->open[k - 1].token == open;
}

static bool hint_fused(const mistake *m) {
  if (m->token != REQUIRE && m->ps->prev != REQUIRE) return false;
  sq_hint(m->d,
          "`require fused` stands before a definition, a write, a call or a loop of a function%s",
          m->token == RETURN ? ": give the value a name and return that" : "");
  return true;
}

static bool hint_reserved(const mistake *m) {
  static const int used_as_name[] = {'=', SET, '[', ',', ')', '.', ':', ']', SEP, -1};
  sq_span at = {0};
  if (wants(m, NAME) && sq_word_is_reserved(m->token)) at = m->span;
  bool name_like = false;
  for (const int *t = used_as_name; *t >= 0; t++) name_like |= *t == m->token;
  if (!at.file && name_like && sq_word_is_reserved(m->ps->prev) && m->ps->prev != TRUE &&
      m->ps->prev != FALSE && m->ps->prev != RETURN && m->ps->prev != ELSE && m->ps->prev != AND &&
      m->ps->prev != OR && m->ps->prev != NOT)
    at = m->ps->prev_span;
  if (!at.file) return false;
  const char *word = sq_span_text(m->ps, at);
  if (*word == '`') return false;
  sq_hint(m->d, "`%s` is a reserved word; as a name it is written in backquotes: `%s`", word, word);
  return true;
}

static void hint_head(sq_diag *d, const sq_expr *r) {
  bool max = !strcmp(r->name, "max");
  if (r->n > 1 && (max || !strcmp(r->name, "min")))
    sq_hint(d, "of two values the %s is `%s(a, b)`; `%s(i) x[i]` is that of all elements",
            max ? "larger" : "smaller", max ? "maximum" : "minimum", r->name);
  else
    sq_hint(d, "a reduction names its indices, then the element: `%s(i) x[i]`", r->name);
}

// Is what is read here the element of a reduction that was to have none?
static bool hint_reduction(const mistake *m) {
  const sq_syntax *ps = m->ps;
  const sq_expr *r = ps->reduction;
  if (!r || r->span.begin < ps->begin || r->span.end > m->span.begin) return false;
  bool at_once = ps->prev == ')' && ps->prev_span.end == r->span.end;
  bool next_line = m->token == '=' && ps->prev == NAME && wants(m, SEP) &&
                   memchr(ps->text + r->span.end, '\n', ps->prev_span.begin - r->span.end);
  if (!at_once && !next_line) return false;
  sq_label(m->d, r->span, "this reduces; what follows is its element");
  hint_head(m->d, r);
  return true;
}

void sq_syntax_check_head(sq_syntax *ps, const sq_expr *r) {
  bool counts = !strcmp(r->name, "top"); // top(i, count)
  for (uint32_t k = 0; k < r->n; k++) {
    const sq_expr *e = r->arg[k];
    if ((counts && k) || e->kind == SQ_E_NAME || e->kind == SQ_E_IN || e->kind == SQ_E_COMPARE ||
        e->kind == SQ_E_DOTS || e->kind == SQ_E_LIMIT)
      continue; // or nearly so: said when it is bound
    if (ps->bad_at && ps->bad_at > ps->begin) return;
    hint_head(sq_syntax_error(ps, e->span, "the name of an index is expected here"), r);
    return;
  }
}

static bool hint_equals(const mistake *m) {
  if ((m->token == ':' && m->ps->text[m->span.end] == '=') ||
      (m->token == '=' && m->ps->prev == ':' && touches(m))) {
    sq_hint(m->d, "a name is bound by `=`");
    return true;
  }
  bool sum = m->token == '+' || m->token == '-' || m->token == '*' || m->token == '/';
  if (sum && m->ps->text[m->span.end] == '=') {
    sq_hint(m->d, "there is no `%c=`: write `x = x %c ...`", m->token, m->token);
    return true;
  }
  if (m->token == '=' && wants(m, EQ)) {
    sq_hint(m->d, "`=` binds a name; to compare, write `==`");
    return true;
  }
  if (m->token == EQ && wants(m, '=')) {
    sq_hint(m->d, "`==` compares; to bind a name, write `=`");
    return true;
  }
  return false;
}

static bool hint_write(const mistake *m) {
  if (m->token == SET && wants(m, '=')) {
    sq_hint(m->d, "`<-` writes in place and is a statement of its own; here it is `=`");
    return true;
  }
  if (m->token == SET && wants(m, '<')) {
    sq_hint(m->d, "`<-` is always one token: to compare with a negative number, write `x < -1`");
    return true;
  }
  if (m->token == ARROW && wants(m, SET)) {
    sq_hint(m->d, "`->` names the results of a signature; to write in place, use `<-`");
    return true;
  }
  return false;
}

static bool hint_bracket(const mistake *m) {
  static const int element[] = {NAME, INT, FLOAT, RED, TYPE, '-', TRUE, FALSE, NOT, -1};
  bool starts = false;
  for (const int *t = element; *t >= 0; t++) starts |= *t == m->token;
  if (starts && wants(m, ':') && in_bracket(m, '[')) {
    sq_hint(m->d, "an array by its element is `[i, j: element]`, with `:` after its indices");
    return true;
  }
  if (m->token == '{' && wants(m, INT) && wants(m, '[')) {
    sq_hint(m->d, "a list is written `[1, 2]`");
    return true;
  }
  if (m->token == '|' && wants(m, ':') && in_bracket(m, '[')) {
    sq_hint(m->d, "between indices and element stands `:`");
    return true;
  }
  return false;
}

// Declarations among statements, statements among declarations.
static bool hint_place(const mistake *m) {
  static const int top[] = {USE, MODULE, MODEL, -1};
  static const int statement[] = {FOR, UNROLL, WHILE, SCAN, PARALLEL, EMIT, RETURN, RESERVE, -1};
  static const int declaration[] = {PARAM, SUB, STATE, FN, PROC, ENTRY, PRESET, -1};
  bool is_top = false, is_statement = false, is_declaration = false;
  for (const int *t = top; *t >= 0; t++) is_top |= *t == m->token;
  for (const int *t = statement; *t >= 0; t++) is_statement |= *t == m->token;
  for (const int *t = declaration; *t >= 0; t++) is_declaration |= *t == m->token;
  const char *word = sq_span_text(m->ps, m->span);
  if (wants(m, PARAM) && is_top)
    sq_hint(m->d, "`%s` stands at the top of a file, outside the braces of others", word);
  else if (wants(m, PARAM) && is_statement)
    sq_hint(m->d, "statements stand inside `fn`, `proc` and `entry`");
  else if (wants(m, RETURN) && (is_top || is_declaration))
    sq_hint(m->d, "`%s` stands beside functions, not inside: is a `}` missing before?", word);
  else
    return false;
  return true;
}

// Words of other languages that stand where a statement begins.
static bool hint_foreign(const mistake *m) {
  static const struct {
    const char *word, *hint;
  } table[] = {
      {"let", "a name is bound by `x = ...` alone"},
      {"var", "a name is bound by `x = ...` alone"},
      {"const", "a name is bound by `x = ...` alone"},
      {"def", "a function begins with `fn`"},
      {"func", "a function begins with `fn`"},
      {"function", "a function begins with `fn`"},
      {"elif", "write `else if`"},
      {"class", "write `module`"},
      {"struct", "write `module`"},
      {"import", "write `use`"},
      {"include", "write `use`"},
      {"from", "write `use`"},
  };
  if (m->ps->prev != NAME) return false;
  const char *word = sq_span_text(m->ps, m->ps->prev_span);
  for (size_t k = 0; k < sizeof table / sizeof *table; k++)
    if (!strcmp(word, table[k].word)) {
      sq_hint(m->d, "there is no `%s`: %s", word, table[k].hint);
      return true;
    }
  return false;
}

static bool comment_before(const mistake *m) {
  uint32_t at = m->ps->prev_span.begin;
  while (at && strchr(" \t", m->ps->text[at - 1])) at--;
  return at >= 2 && !memcmp(m->ps->text + at - 2, "//", 2);
}

static bool hint_operator(const mistake *m) {
  if (m->token == '*' && m->ps->prev == '*' && touches(m))
    sq_hint(m->d, "a power is written `x ^ 2`");
  else if ((m->token == FDIV || m->token == '/') && !wants(m, '*'))
    sq_hint(m->d, "a comment begins with `#`");
  else if (m->token == NAME && m->ps->prev == NAME && comment_before(m))
    sq_hint(m->d, "a comment begins with `#`; `//` divides integers");
  else if (m->token == '.' && m->ps->prev == INT)
    sq_hint(m->d, "a number has digits on both sides of its point: `1.0`");
  else if (m->token == '.' && wants(m, INT))
    sq_hint(m->d, "a number has digits on both sides of its point: `0.5`");
  else if (m->ps->prev == '.')
    sq_hint(m->d, "a number has digits on both sides of its point: `1.0`");
  else if (m->token == IF && wants(m, SEP) && wants(m, '*'))
    sq_hint(m->d, "a choice between two values is `select(condition, a, b)`");
  else if (m->token == ',' && wants(m, SEP))
    sq_hint(m->d, "here `;` or a new line separates");
  else if (m->token == NAME && wants(m, SEP) && wants(m, '*'))
    sq_hint(m->d, "a statement begins on a new line or behind `;`; a product is written `a * b`");
  else if (wants(m, SET) && wants(m, '=') && wants(m, SEP))
    sq_hint(m->d, "a statement binds (`x = ...`), writes (`x <- ...`), returns or calls");
  else if (m->token == NAME && wants(m, TYPE) && !wants(m, NAME))
    sq_hint(m->d, "the types are f64, f32, f16, bf16, i64, i32, i8, u8, bool");
  else if (m->token == ELSE && wants(m, SEP))
    sq_hint(m->d, "`else` follows the `}` of its `if`, or a plain read: `x[i] else 0`");
  else if (m->token == IF && m->ps->prev == ELSE)
    sq_hint(m->d, "among declarations write `else { if ... }`");
  else if (m->token == ':' && wants(m, '{'))
    sq_hint(m->d, "a block stands in `{ ... }`");
  else
    return false;
  return true;
}

void sq_syntax_unexpected(sq_syntax *ps, int token, sq_span span, const int *expected, int n) {
  bool ends = token == SEP || token == '}' || token == END_FILE;
  ps->skip = !ends;
  ps->skip_depth = token == '{';
  uint32_t block = ps->n_open; // what is open in this statement may stay so
  while (block && ps->open[block - 1].token != '{') ps->open[--block].excused = true;
  if (ps->fatal || (ps->bad_at && ps->bad_at > ps->begin)) return;

  const char *what = expected_text(ps, expected, n), *found = found_text(ps, token, span);
  sq_diag *d = what ? sq_syntax_error(ps, span, "expected %s before %s", what, found)
                    : sq_syntax_error(ps, span, "%s cannot stand here", found);
  for (uint32_t k = ps->n_open; k-- > block;) {
    const sq_bracket *b = &ps->open[k];
    if (b->span.begin >= span.begin) continue;
    if (memchr(ps->text + b->span.begin, '\n', span.begin - b->span.begin))
      sq_label(d, b->span, "inside this `%c`: is it closed?", b->token);
    break;
  }
  mistake m = {ps, d, token, span, expected, n};
  static bool (*const hints[])(const mistake *) = {hint_fused,   hint_reduction, hint_equals,
                                                   hint_write,   hint_bracket,   hint_place,
                                                   hint_foreign, hint_reserved,  hint_operator};
  for (size_t k = 0; k < sizeof hints / sizeof *hints; k++)
    if (hints[k](&m)) break;
}
