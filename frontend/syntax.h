// What the scanner, the separator filter, the grammar and the builders share: the state of parsing
// one file. Nothing here is seen outside the syntax part of frontend/.
//
//   lexer.l (flex)  ->  filter.c: newlines to SEP, brackets paired, recovery  ->  parser.y (bison)
//                                                                              ->  ast.c (builders)
// All memory comes from the context's arena, the scanner's and the parser's stacks too, so that an
// allocation that fails may leave by the guard at any place without a leak.
#pragma once
#include "frontend/ast.h"

// A left side's type as written after `:` or `->`.
typedef struct sq_type {
  const char *name;
  sq_span span;
  bool has_items;
  sq_exprs items;
} sq_type;
typedef struct sq_range {
  sq_expr *lo, *hi;
} sq_range;
typedef struct sq_sig {
  const char *name;
  sq_span name_span;
  sq_lhss in, out;
  bool has_out;
} sq_sig;
typedef struct sq_mods {
  sq_exprs names;
  bool frozen, kept;
} sq_mods;

typedef struct sq_bracket {
  int token; // '(' '[' '{'
  sq_span span;
  bool excused; // a mistake inside was reported: if it is never closed, say nothing
  bool head;    // of a reduction: no statement ends behind its `)`
} sq_bracket;

typedef struct sq_syntax sq_syntax;
#include "sq_parser.h"

typedef struct sq_token {
  int kind;
  SQ_YYSTYPE value;
  sq_span span;
  bool first; // of its line
} sq_token;

#define SQ_MAX_QUEUE (SQ_MAX_BLOCK_DEPTH + 8)
struct sq_syntax {
  sq_ctx *ctx;
  sq_arena *arena;
  uint32_t file;
  const char *text; // as it was read
  const char *buf;  // the scanner's copy, which it writes to
  uint32_t size;
  void *scanner;
  sq_ast *ast;
  bool newline; // the scanner passed a newline before this token
  bool fatal;   // give up: nothing but the end follows, and nothing more is said
  uint32_t mistakes;
  int token, prev; // kinds of the token given last to the parser and of the one before it
  sq_span token_span, prev_span;
  // A syntax error behind another mistake of its statement (which begins here) is not reported.
  uint32_t begin, bad_at;
  const sq_expr *reduction; // the last one whose head was read
  uint32_t tokens, fault;   // tokens given to the parser so far, and at its last error
  // filter
  int last; // kind of the token queued last, and where it ends
  uint32_t last_end;
  sq_bracket open[SQ_MAX_BLOCK_DEPTH + 2];
  uint32_t n_open;
  sq_span odd, odd_open; // first `}` indented unlike the line of its `{`, and that `{`
  sq_token queue[SQ_MAX_QUEUE];
  uint32_t queue_at, queue_n;
  // recovery
  bool skip; // drop tokens to the end of the statement in which the error is
  uint32_t skip_depth;
};

// lexer.l
int sq_scan(SQ_YYSTYPE *value, sq_span *span, void *scanner);
void sq_scan_open(sq_syntax *ps, char *text, size_t size);
bool sq_word_is_reserved(int token);
// filter.c
int sq_yylex(SQ_YYSTYPE *value, sq_span *span, sq_syntax *ps);
// syntax_error.c: reported with what the scanner knows; both end parsing after too many mistakes.
sq_diag *sq_syntax_error(sq_syntax *ps, sq_span span, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
void sq_syntax_give_up(sq_syntax *ps, sq_span span, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
// The text of a span, shortened for messages.
const char *sq_span_text(const sq_syntax *ps, sq_span span);
// The head of a reduction names indices; else an error, with what was meant.
void sq_syntax_check_head(sq_syntax *ps, const sq_expr *reduction);
// An unexpected token where one of the `n` kinds `expected` could stand; starts recovery.
void sq_syntax_unexpected(sq_syntax *ps, int token, sq_span span, const int *expected, int n);

// ast.c: one builder for a grammar action.
sq_expr *sq_ast_expr(sq_syntax *ps, sq_expr_kind kind, sq_span span);
sq_expr *sq_ast_name(sq_syntax *ps, sq_span span, const char *name);
sq_expr *sq_ast_word(sq_syntax *ps, sq_expr_kind kind, sq_span span, const char *name, sq_expr *a);
sq_expr *sq_ast_string(sq_syntax *ps, sq_span span, const char *text);
sq_expr *sq_ast_int(sq_syntax *ps, sq_span span, sq_expr_kind kind, int64_t i);
sq_expr *sq_ast_float(sq_syntax *ps, sq_span span, double f);
sq_expr *sq_ast_one(sq_syntax *ps, sq_span span, sq_expr_kind kind, sq_expr *a);
sq_expr *sq_ast_two(sq_syntax *ps, sq_span span, sq_expr_kind kind, sq_expr *a, sq_expr *b);
sq_expr *sq_ast_many(sq_syntax *ps, sq_span span, sq_expr_kind kind, sq_expr *first, sq_exprs rest);
sq_expr *sq_ast_unary(sq_syntax *ps, sq_span span, sq_binop op, sq_expr *a);
sq_expr *sq_ast_binary(sq_syntax *ps, sq_span span, sq_binop op, sq_expr *a, sq_expr *b);
sq_expr *sq_ast_compare(sq_syntax *ps, sq_span span, sq_binop op, sq_expr *a, sq_expr *b);
sq_expr *sq_ast_in(sq_syntax *ps, sq_span span, const char *name, sq_expr *lo, sq_expr *hi);
sq_expr *sq_ast_array(sq_syntax *ps, sq_span span, sq_exprs items, sq_expr *body);
// The head of a reduction; its body follows.
sq_expr *sq_ast_reduce(sq_syntax *ps, sq_span span, const char *name, sq_exprs items,
                       sq_expr *where);
sq_expr *sq_ast_over(sq_syntax *ps, sq_span span, sq_expr *reduce, sq_expr *body);

sq_lhs *sq_ast_lhs(sq_syntax *ps, sq_span span, const char *name, const sq_exprs *items);
sq_lhs *sq_ast_typed(sq_syntax *ps, sq_span span, sq_lhs *lhs, sq_type type);
sq_lhs *sq_ast_init(sq_span span, sq_lhs *lhs, sq_expr *value);

sq_stmt *sq_ast_stmt(sq_syntax *ps, sq_stmt_kind kind, sq_span span);
sq_stmt *sq_ast_assign(sq_syntax *ps, sq_stmt_kind kind, sq_span span, sq_expr *target,
                       sq_expr *value);
sq_stmt *sq_ast_call(sq_syntax *ps, sq_span span, sq_expr *call);
sq_stmt *sq_ast_loop(sq_syntax *ps, sq_stmt_kind kind, sq_span span, const char *name,
                     sq_span name_span, sq_range range, sq_stmts body);
sq_stmt *sq_ast_if(sq_syntax *ps, sq_span span, sq_expr *cond, sq_stmts body,
                   const sq_stmts *else_);
sq_stmt *sq_ast_bounds(sq_syntax *ps, sq_stmt *s); // sets the depth; every statement with a body

const char *sq_ast_path(sq_syntax *ps, sq_span span, const char *folder, const char *name);
sq_decl *sq_ast_decl(sq_syntax *ps, sq_decl_kind kind, sq_span span, const char *name,
                     sq_span name_span);
sq_decl *sq_ast_bind(sq_syntax *ps, sq_decl_kind kind, sq_span span, sq_lhs *lhs, sq_expr *value,
                     sq_mods mods);
sq_decl *sq_ast_fn(sq_syntax *ps, sq_decl_kind kind, sq_span span, sq_sig sig, const sq_stmts *body,
                   sq_expr *value);
sq_mods sq_ast_mod(sq_syntax *ps, sq_span span, sq_mods all, sq_mods one);
