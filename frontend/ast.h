// The syntax tree of a `.seqm` file, as parser.y builds it. Plain data in the context's arena.
#pragma once
#include "base/context.h"

typedef struct sq_expr sq_expr;
typedef struct sq_stmt sq_stmt;
typedef struct sq_decl sq_decl;

// Trees are no deeper than this, so walking them by recursion is safe on any input.
#define SQ_MAX_EXPR_DEPTH 400
#define SQ_MAX_BLOCK_DEPTH 200 // also of open brackets
#define SQ_MAX_NAME 255        // bytes

typedef enum sq_expr_kind {
  SQ_E_NAME,     // name
  SQ_E_INT,      // i
  SQ_E_FLOAT,    // f
  SQ_E_STRING,   // name (arguments may be strings)
  SQ_E_BOOL,     // i = 0, 1
  SQ_E_CAST,     // TYPE(expr): name = type name, arg[0]
  SQ_E_TUPLE,    // (a, b, ..): arg; a parenthesised single name `(n)` is SQ_E_PAREN of it
  SQ_E_PAREN,    // arg[0]; kept because `(name)` on the left of `<-` is a position
  SQ_E_LIST,     // [a, b] or []: arg
  SQ_E_ARRAY,    // [items: e]: arg = items, body = e
  SQ_E_INDEX,    // arg[0] [ items arg[1..] ]
  SQ_E_FIELD,    // arg[0] . name
  SQ_E_PART,     // arg[0] . i
  SQ_E_CALL,     // arg[0] ( arg[1..] ), each may be SQ_E_NAMED
  SQ_E_NAMED,    // name = arg[0], only as a call's argument
  SQ_E_UNARY,    // op: '-' or SQ_OP_WORD_NOT
  SQ_E_BINARY,   // op
  SQ_E_COMPARE,  // chained: arg[0] ops[0] arg[1] ops[1] arg[2] ...
  SQ_E_IN,       // name in arg[0] .. arg[1]
  SQ_E_ELSE,     // guarded read: arg[0] else arg[1]
  SQ_E_REDUCE,   // name = reduction or axis operator, items = arg[0..n-1], where = cond, body
  SQ_E_DOTS,     // `..` as an item
  SQ_E_GROW,     // `grow` as an item
  SQ_E_LIMIT,    // arg[0] limit arg[1], as an item
} sq_expr_kind;

typedef enum sq_binop {
  SQ_B_ADD, SQ_B_SUB, SQ_B_MUL, SQ_B_DIV, SQ_B_FLOORDIV, SQ_B_MOD, SQ_B_POW, SQ_B_AND, SQ_B_OR,
  SQ_B_LT, SQ_B_LE, SQ_B_GT, SQ_B_GE, SQ_B_EQ, SQ_B_NE, SQ_B_NEG, SQ_B_NOT,
} sq_binop;

struct sq_expr {
  sq_expr_kind kind;
  sq_span span;
  const char *name; // interned
  int64_t i;
  double f;
  sq_binop op;    // UNARY, BINARY
  sq_binop *ops;  // COMPARE: n - 1
  uint32_t n;     // children
  sq_expr **arg;
  sq_expr *where; // REDUCE
  sq_expr *body;  // REDUCE, ARRAY
  uint32_t depth; // 1 + the deepest child's; at most SQ_MAX_EXPR_DEPTH
};

// name [items] : type   — a left side, an input, a parameter. Items are expressions: `n`, `n < N`
// (COMPARE), `n in a .. b` (IN), DOTS, GROW, LIMIT.
typedef struct sq_lhs {
  const char *name; // NULL in an unnamed result
  sq_span span;
  bool has_items;
  uint32_t n;
  sq_expr **item;
  const char *type; // "f32" or NULL
  sq_span type_span;
  bool type_items;  // the shape stands after the type: `x: f32[N]`
  sq_expr *value;   // default or initial value, or NULL
} sq_lhs;

typedef enum sq_stmt_kind {
  SQ_S_DEFINE,  // target = value   (target: NAME, INDEX of a NAME, TUPLE of such)
  SQ_S_WRITE,   // target <- value
  SQ_S_CALL,    // value, for its effect
  SQ_S_FOR,     // name range body; flag unroll
  SQ_S_SCAN,    // name range, inits, body; flags parallel, reversed
  SQ_S_WHILE,   // cond [limit] body
  SQ_S_IF,      // cond body else_
  SQ_S_EMIT,    // inits
  SQ_S_RETURN,  // values
  SQ_S_CHECK,   // cond, text
  SQ_S_RESERVE, // target, value
} sq_stmt_kind;
typedef SQ_VEC(sq_stmt *) sq_stmts;
typedef SQ_VEC(sq_expr *) sq_exprs;
typedef SQ_VEC(sq_lhs *) sq_lhss;

struct sq_stmt {
  sq_stmt_kind kind;
  sq_span span;
  sq_expr *target, *value, *cond, *limit;
  const char *name;
  sq_span name_span;
  sq_expr *lo, *hi; // range: `< hi` has lo NULL
  sq_lhss inits;
  sq_exprs values;
  sq_stmts body, else_;
  bool has_else, unroll, parallel, reversed;
  const char *text;
  sq_span mark;   // of `require fused` before it; file 0: none
  uint32_t depth; // 1 + the deepest inner statement's; at most SQ_MAX_BLOCK_DEPTH
};

typedef enum sq_decl_kind {
  SQ_D_PARAM, SQ_D_SUB, SQ_D_STATE, SQ_D_FN, SQ_D_PROC, SQ_D_ENTRY, SQ_D_PRESET, SQ_D_IF, SQ_D_CHECK,
  SQ_D_DEFINE, SQ_D_MODULE, SQ_D_MODEL, SQ_D_USE,
} sq_decl_kind;
typedef SQ_VEC(sq_decl *) sq_decls;

typedef SQ_VEC(const char *) sq_words;
typedef struct sq_formal {
  const char *name;
  sq_span span;
  sq_expr *value;   // default or NULL
  sq_words choices; // `cell = gru | lstm`: the words after the first
} sq_formal;
typedef SQ_VEC(sq_formal *) sq_formals;

struct sq_decl {
  sq_decl_kind kind;
  sq_span span;
  const char *name;
  sq_span name_span;
  sq_lhs *lhs;         // PARAM SUB STATE DEFINE
  sq_expr *value;      // SUB, STATE, DEFINE; FN `= expr`; IF, CHECK: condition
  sq_exprs names;      // `as` strings (kind STRING), tried in order
  bool frozen, kept;
  sq_lhss in, out;     // FN PROC ENTRY
  bool has_out;
  sq_stmts body;       // FN PROC ENTRY with a block
  bool has_body;
  sq_formals formals;  // MODULE MODEL
  sq_decls decls;      // MODULE MODEL; IF: then
  sq_decls else_;      // IF
  bool has_else;
  sq_lhss binds;       // PRESET: name = value
  const char *text;    // CHECK: message; USE: "std.nn"
};

typedef struct sq_ast {
  uint32_t file;
  sq_decls decls;
} sq_ast;

// Parses one file already registered as source `file` of ctx->diags. Mistakes are reported there
// and parsing goes on behind them; NULL only when nothing could be made of the text.
sq_ast *sq_parse(sq_ctx *ctx, uint32_t file);
void sq_ast_print(const sq_ast *ast, sq_text *t);
