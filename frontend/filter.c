// Between scanner and parser: makes newlines into SEP, pairs brackets, and skips what is left of a
// statement after a mistake in it.
//
//   x = f(a,      # inside ( and [ a newline is a blank
//         b)      -> SEP
//     + c         # no SEP before a binary operator
//
// The parser always sees paired brackets: what is missing or wrong is reported here, naming the
// place where the bracket was opened, and put right.
#include "frontend/syntax.h"

static bool one_of(int token, const int *set) {
  for (; *set >= 0; set++)
    if (*set == token) return true;
  return false;
}

// May a statement end after this token?
static bool ends(int token) {
  static const int set[] = {NAME, INT, FLOAT, STRING, TYPE,   TRUE,     FALSE, FROZEN,
                            KEPT, ')', ']',   '}',    RETURN, REVERSED, -1};
  return one_of(token, set);
}

// Does a line that begins with this token continue the one before?
static bool continues(int token) {
  static const int set[] = {'+', '-', '*', '/',  '%',   '^',  '=', ',',   '.',   '|',      ')',
                            ']', '}', ':', '<',  '>',   EQ,   NE,  LE,    GE,    FDIV,     AND,
                            OR,  IN,  SET, ELSE, WHERE, WITH, AS,  LIMIT, ARROW, END_FILE, -1};
  return one_of(token, set);
}

// Words that begin a statement or declaration and never stand inside ( or [.
static bool begins(int token) {
  static const int set[] = {USE,      MODULE,  MODEL, PRESET, PARAM,   SUB, STATE, FN,
                            PROC,     ENTRY,   FOR,   UNROLL, WHILE,   IF,  EMIT,  CHECK,
                            PARALLEL, RESERVE, SCAN,  RETURN, REQUIRE, -1};
  return one_of(token, set);
}

static int closer(int open) { return open == '(' ? ')' : open == '[' ? ']' : '}'; }

static sq_token scan(sq_syntax *ps) {
  sq_token t = {.span.file = ps->file};
  ps->newline = false;
  t.kind = sq_scan(&t.value, &t.span, ps->scanner);
  if (t.kind == END_FILE || ps->fatal) {
    t.kind = END_FILE;
    t.span.begin = t.span.end = ps->size;
  }
  t.first = ps->newline;
  return t;
}

static void put(sq_syntax *ps, sq_token t) {
  if (t.kind == SEP && ps->last == SEP) return;
  ps->queue[ps->queue_n++] = t;
  ps->last = t.kind;
  ps->last_end = t.span.end;
}

static void put_made(sq_syntax *ps, int kind) {
  put(ps, (sq_token){.kind = kind, .span = {ps->file, ps->last_end, ps->last_end, 0}});
}

// Columns of blanks at the beginning of the line that holds `at`; -1: something else stands before.
static int indent(const sq_syntax *ps, uint32_t at, bool alone) {
  uint32_t line = at, k;
  while (line && ps->text[line - 1] != '\n') line--;
  for (k = line; ps->text[k] == ' ' || ps->text[k] == '\t'; k++) continue;
  return alone && k != at ? -1 : (int)(k - line);
}

static void close_top(sq_syntax *ps) {
  put_made(ps, closer(ps->open[ps->n_open - 1].token));
  ps->n_open--;
}

// Closes all that is open above `keep`, because of `t`.
static void close_above(sq_syntax *ps, uint32_t keep, const sq_token *t) {
  if (ps->n_open <= keep) return;
  const sq_bracket *b = &ps->open[ps->n_open - 1];
  if (!b->excused && !ps->fatal) {
    sq_diag *d = sq_syntax_error(ps, b->span, "`%c` is not closed", b->token);
    if (t->kind == END_FILE)
      sq_hint(d, "the file ends before its `%c`", closer(b->token));
    else
      sq_label(d, t->span, "`%c` is missing before this", closer(b->token));
    if (t->kind == END_FILE && ps->odd.file)
      sq_label(d, ps->odd,
               "this `}` is indented unlike the line of its `{`: is one missing before?");
    ps->bad_at = t->span.begin;
  }
  while (ps->n_open > keep) close_top(ps);
}

// Pairs a closing bracket; false when it is to be dropped.
static bool pair(sq_syntax *ps, sq_token *t) {
  int open = t->kind == ')' ? '(' : t->kind == ']' ? '[' : '{';
  uint32_t k = ps->n_open;
  while (k && ps->open[k - 1].token != open && (open == '{' || ps->open[k - 1].token != '{')) k--;
  bool found = k && ps->open[k - 1].token == open;
  sq_bracket *top = ps->n_open ? &ps->open[ps->n_open - 1] : NULL;
  if (found) {
    close_above(ps, k, t);
    top = &ps->open[k - 1];
    if (open == '{' && !ps->odd.file) {
      int at = indent(ps, t->span.begin, true);
      if (at >= 0 && at != indent(ps, top->span.begin, false))
        ps->odd = t->span, ps->odd_open = top->span;
    }
    ps->n_open--;
    return true;
  }
  if (top && top->token != '{') {
    if (!top->excused) {
      sq_diag *d =
          sq_syntax_error(ps, t->span, "`%c` where `%c` is needed", t->kind, closer(top->token));
      sq_label(d, top->span, "`%c` opened here", top->token);
    }
    t->kind = closer(top->token);
    ps->n_open--;
    return true;
  }
  if (!ps->skip) {
    sq_diag *d = sq_syntax_error(ps, t->span, "`%c` closes nothing", t->kind);
    if (ps->odd.file)
      sq_label(d, ps->odd, "this `}` is indented unlike the line of its `{`: is it one too many?");
  }
  return false;
}

static uint32_t innermost_block(const sq_syntax *ps) {
  uint32_t k = ps->n_open;
  while (k && ps->open[k - 1].token != '{') k--;
  return k;
}

// `f(a; b)`: the bracket that is open at `at` is closed behind it, on the same line.
static bool closed_on_line(const sq_syntax *ps, uint32_t at) {
  uint32_t depth = 1;
  for (; ps->text[at] && ps->text[at] != '\n' && ps->text[at] != '#'; at++) {
    if (strchr("([{", ps->text[at])) depth++;
    if (strchr(")]}", ps->text[at]) && !--depth) return ps->text[at] != '}';
  }
  return false;
}

static bool stray_separator(sq_syntax *ps, sq_token *t) {
  if (t->kind != SEP || !ps->n_open || ps->open[ps->n_open - 1].token == '{' ||
      !closed_on_line(ps, t->span.end))
    return false;
  const sq_bracket *b = &ps->open[ps->n_open - 1];
  if (!ps->skip) {
    sq_diag *d = sq_syntax_error(ps, t->span, "`;` inside `%c`", b->token);
    sq_label(d, b->span, "opened here");
    sq_hint(d, "what stands in brackets is separated by `,`");
  }
  t->kind = ',';
  return true;
}

static void fill(sq_syntax *ps) {
  ps->queue_at = ps->queue_n = 0;
  while (!ps->queue_n) {
    sq_token t = scan(ps);
    if (t.kind == END_FILE) close_above(ps, 0, &t);
    stray_separator(ps, &t);
    if (t.kind == SEP || t.kind == '{' || (t.first && begins(t.kind)))
      close_above(ps, innermost_block(ps), &t);
    bool head = t.kind == ')' && ps->n_open && ps->open[ps->n_open - 1].head;
    bool in_block = !ps->n_open || ps->open[ps->n_open - 1].token == '{';
    if (t.kind == ')' || t.kind == ']' || t.kind == '}') {
      if (!pair(ps, &t)) continue;
    } else if (t.first && in_block && ends(ps->last) && !continues(t.kind)) {
      if (t.kind == '{' && !ps->skip)
        sq_hint(sq_syntax_error(ps, t.span, "`{` begins a line"),
                "it stands on the line of what it belongs to, as in `for i < n {`");
      else if (t.kind != '{')
        put_made(ps, SEP);
    }
    if (t.kind == '(' || t.kind == '[' || t.kind == '{') {
      if (ps->n_open == SQ_MAX_BLOCK_DEPTH) {
        sq_syntax_give_up(ps, t.span, "brackets are nested deeper than %d", SQ_MAX_BLOCK_DEPTH);
        t = (sq_token){.kind = END_FILE, .span = t.span};
      } else {
        ps->open[ps->n_open++] = (sq_bracket){t.kind, t.span, ps->skip, ps->last == RED};
      }
    }
    put(ps, t);
    if (head) ps->last = WHERE; // one that ends nothing
  }
}

static sq_token next(sq_syntax *ps) {
  if (ps->queue_at == ps->queue_n) fill(ps);
  if (ps->fatal) return (sq_token){.kind = END_FILE, .span = {ps->file, ps->size, ps->size, 0}};
  return ps->queue[ps->queue_at++];
}

int sq_yylex(SQ_YYSTYPE *value, sq_span *span, sq_syntax *ps) {
  sq_token t = next(ps);
  while (ps->skip && t.kind != END_FILE) {
    if (!ps->skip_depth && (t.kind == SEP || t.kind == '}')) break;
    if (t.kind == '{') ps->skip_depth++;
    if (t.kind == '}') ps->skip_depth--;
    t = next(ps);
  }
  ps->skip = false;
  ps->prev = ps->token;
  ps->prev_span = ps->token_span;
  if (ps->prev == SEP || ps->prev == '}' || ps->prev == '{') ps->begin = ps->prev_span.end;
  ps->tokens++;
  ps->token = t.kind;
  ps->token_span = t.span;
  *value = t.value;
  *span = t.span;
  return t.kind;
}
