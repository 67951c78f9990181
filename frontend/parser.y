/* The grammar: tokens of filter.c to the tree of ast.h. LALR(1) without conflicts or precedences; one
   builder call an action. lang/grammar.md has the same rules to read. A mistake is reported by
   syntax_error.c; the parser then resumes at the end of the statement or declaration (`error` below),
   to which filter.c skips. */
%require "3.8"
%define api.pure full
%define api.prefix {sq_yy}
%define api.location.type {sq_span}
%define parse.error custom
%define parse.lac full
%locations
%expect 0
%param {sq_syntax *ps}
%initial-action { @$ = (sq_span){.file = ps->file}; }

%code top {
#include "frontend/syntax.h"
}
%code {
#define A ps->arena
// The token at fault goes unless it ends the statement; an error at a further token is news again.
#define RESUME                                                                                     \
  do {                                                                                             \
    if (ps->fatal) YYABORT;                                                                        \
    if (ps->skip) yyclearin;                                                                       \
    if (ps->fault != ps->tokens) yyerrok;                                                          \
    ps->fault = ps->tokens;                                                                        \
  } while (0)
#define YYLLOC_DEFAULT(cur, rhs, n)                                                                \
  do {                                                                                             \
    int first = 1; /* what is left out in front has no place */                                    \
    while (first < (n) && YYRHSLOC(rhs, first).begin == YYRHSLOC(rhs, first).end) first++;         \
    (cur) = (n) ? YYRHSLOC(rhs, first)                                                             \
                : (sq_span){ps->file, YYRHSLOC(rhs, 0).end, YYRHSLOC(rhs, 0).end, 0};              \
    if (n) (cur).end = YYRHSLOC(rhs, n).end;                                                       \
  } while (0)

// The parser's stacks grow in the arena. What asks for more than this is hostile.
enum { MAX_STACK = 20000 };
static bool stack_grows(sq_syntax *ps, sq_span at, ptrdiff_t *size) {
  if (*size >= MAX_STACK) {
    sq_syntax_give_up(ps, at, "the text is nested too deeply");
    return false;
  }
  *size *= 2;
  return true;
}
static void *stack_moved(sq_syntax *ps, const void *from, ptrdiff_t used, size_t size) {
  return memcpy(sq_arena_take(ps->arena, size), from, (size_t)used);
}
#define MOVE(p, used, n) (*(p) = stack_moved(ps, *(p), used, sizeof **(p) * (size_t)(n)))
#define yyoverflow(msg, ss, ss_used, vs, vs_used, ls, ls_used, n)                                  \
  do {                                                                                             \
    if (stack_grows(ps, yylloc, n))                                                                \
      MOVE(ss, ss_used, *(n)), MOVE(vs, vs_used, *(n)), MOVE(ls, ls_used, *(n));                   \
  } while (0)
// Only the look-ahead correction would use these, beyond the 20 entries that it has of its own; no
// chain of reductions here pushes so many.
#define YYMALLOC(n) ((void)(n), (void *)0)
#define YYFREE(p) ((void)(p))

static void sq_yyerror(const sq_span *at, sq_syntax *ps, const char *message) {
  sq_syntax_give_up(ps, *at, "the text is nested too deeply (%s)", message);
}
}

%union {
  const char *name;
  int64_t integer;
  double real;
  bool flag;
  sq_binop op;
  sq_expr *expr;
  sq_exprs exprs;
  sq_lhs *lhs;
  sq_lhss lhss;
  sq_stmt *stmt;
  sq_stmts stmts;
  sq_decl *decl;
  sq_decls decls;
  sq_formal *formal;
  sq_formals formals;
  sq_type type;
  sq_range range;
  sq_sig sig;
  sq_mods mods;
}

%token END_FILE 0 "the end of the file"
%token SEP "the end of the line"
%token <name> NAME "a name" STRING "a string" TYPE "a type" RED "a reduction"
%token <integer> INT "an integer"
%token <real> FLOAT "a number"
%token <name> USE "use" MODULE "module" MODEL "model" PRESET "preset" PARAM "param" SUB "sub"
  STATE "state" FN "fn" PROC "proc" ENTRY "entry" FROZEN "frozen" KEPT "kept" AS "as" GROW "grow"
  PARALLEL "parallel" SCAN "scan" FOR "for" UNROLL "unroll" WHILE "while" IF "if" ELSE "else"
  WITH "with" REVERSED "reversed" EMIT "emit" RETURN "return" CHECK "check" RESERVE "reserve"
  LIMIT "limit" WHERE "where" AND "and" OR "or" NOT "not" IN "in" TRUE "true" FALSE "false"
%token REQUIRE "require fused" ARROW "->" SET "<-" DOTS ".." FDIV "//" EQ "==" NE "!=" LE "<=" GE ">="

%type <name> path as_text
%type <decl> top decl
%type <decls> decls block_d
%type <formal> formal
%type <formals> formals formal_list
%type <lhs> lhs in out init bind typed
%type <lhss> ins inits binds block_b result outs
%type <mods> mods mod
%type <exprs> names items exprs args
%type <type> type
%type <sig> sig
%type <stmt> stmt work if
%type <stmts> block stmts
%type <range> range
%type <flag> par rev
%type <op> rel addop mul
%type <expr> limit expr and not cmp sum term prod red redhead unary guard postfix arg atom item
%%
/* Lists begin without an empty rule, so that a mistake in their first token can be recovered from. */
file: %empty | SEP | tops sep_opt | SEP tops sep_opt ;
sep_opt: %empty | SEP ;
tops: top       { if ($1) sq_push(A, &ps->ast->decls, $1); }
    | tops SEP top { if ($3) sq_push(A, &ps->ast->decls, $3); } ;
top: USE path   { $$ = sq_ast_decl(ps, SQ_D_USE, @$, $2, @2); $$->text = $2; }
   | MODULE NAME formals block_d {
       $$ = sq_ast_decl(ps, SQ_D_MODULE, @$, $2, @2); $$->formals = $3; $$->decls = $4; }
   | MODEL NAME formals block_d {
       $$ = sq_ast_decl(ps, SQ_D_MODEL, @$, $2, @2); $$->formals = $3; $$->decls = $4; }
   | decl ;
path: NAME
    | path '.' NAME { $$ = sq_ast_path(ps, @$, $1, $3); } ;

formals: '(' ')' { $$ = (sq_formals){0}; } | '(' formal_list ')' { $$ = $2; } ;
formal_list: formal { $$ = (sq_formals){0}; sq_push(A, &$$, $1); }
           | formal_list ',' formal { $$ = $1; sq_push(A, &$$, $3); } ;
formal: NAME    { $$ = SQ_NEW(A, sq_formal); $$->name = $1; $$->span = @1; }
      | NAME '=' expr { $$ = SQ_NEW(A, sq_formal); $$->name = $1; $$->span = @1; $$->value = $3; }
      | formal '|' NAME {
          $$ = $1; sq_push(A, &$$->choices, $3);
          if (!$1->value)
            sq_hint(sq_syntax_error(ps, @2, "choices follow a default"), "write `%s = %s | ...`", $1->name, $3);
        } ;

block_d: '{' '}' { $$ = (sq_decls){0}; } | '{' SEP '}' { $$ = (sq_decls){0}; }
       | '{' decls sep_opt '}' { $$ = $2; } | '{' SEP decls sep_opt '}' { $$ = $3; } ;
decls: decl     { $$ = (sq_decls){0}; if ($1) sq_push(A, &$$, $1); }
     | decls SEP decl { $$ = $1; if ($3) sq_push(A, &$$, $3); } ;
decl: PARAM typed mods          { $$ = sq_ast_bind(ps, SQ_D_PARAM, @$, $2, NULL, $3); }
    | SUB lhs '=' expr mods     { $$ = sq_ast_bind(ps, SQ_D_SUB, @$, $2, $4, $5); }
    | STATE typed '=' expr mods { $$ = sq_ast_bind(ps, SQ_D_STATE, @$, $2, $4, $5); }
    | FN sig block       { $$ = sq_ast_fn(ps, SQ_D_FN, @$, $2, &$3, NULL); }
    | FN sig '=' expr    { $$ = sq_ast_fn(ps, SQ_D_FN, @$, $2, NULL, $4); }
    | PROC sig block     { $$ = sq_ast_fn(ps, SQ_D_PROC, @$, $2, &$3, NULL); }
    | ENTRY sig block    { $$ = sq_ast_fn(ps, SQ_D_ENTRY, @$, $2, &$3, NULL); }
    | PRESET NAME block_b { $$ = sq_ast_decl(ps, SQ_D_PRESET, @$, $2, @2); $$->binds = $3; }
    | IF expr block_d    { $$ = sq_ast_decl(ps, SQ_D_IF, @$, NULL, @1); $$->value = $2; $$->decls = $3; }
    | IF expr block_d ELSE block_d {
        $$ = sq_ast_decl(ps, SQ_D_IF, @$, NULL, @1); $$->value = $2; $$->decls = $3;
        $$->else_ = $5; $$->has_else = true; }
    | CHECK expr ',' STRING {
        $$ = sq_ast_decl(ps, SQ_D_CHECK, @$, NULL, @1); $$->value = $2; $$->text = $4; }
    | lhs '=' expr       { $$ = sq_ast_bind(ps, SQ_D_DEFINE, @$, $1, $3, (sq_mods){0}); }
    | error              { $$ = NULL; RESUME; } ;
block_b: '{' '}' { $$ = (sq_lhss){0}; } | '{' SEP '}' { $$ = (sq_lhss){0}; }
       | '{' binds sep_opt '}' { $$ = $2; } | '{' SEP binds sep_opt '}' { $$ = $3; } ;
binds: bind     { $$ = (sq_lhss){0}; if ($1) sq_push(A, &$$, $1); }
     | binds SEP bind { $$ = $1; if ($3) sq_push(A, &$$, $3); } ;
bind: NAME '=' expr { $$ = sq_ast_init(@$, sq_ast_lhs(ps, @1, $1, NULL), $3); }
    | error     { $$ = NULL; RESUME; } ;
mods: %empty    { $$ = (sq_mods){0}; } | mods mod { $$ = sq_ast_mod(ps, @2, $1, $2); } ;
mod: AS names   { $$ = (sq_mods){.names = $2}; }
   | FROZEN     { $$ = (sq_mods){.frozen = true}; }
   | KEPT       { $$ = (sq_mods){.kept = true}; } ;
names: as_text  { $$ = (sq_exprs){0}; sq_push(A, &$$, sq_ast_string(ps, @1, $1)); }
     | names '|' as_text { $$ = $1; sq_push(A, &$$, sq_ast_string(ps, @3, $3)); } ;
as_text: STRING ;

lhs: NAME       { $$ = sq_ast_lhs(ps, @$, $1, NULL); }
   | NAME '[' items ']' { $$ = sq_ast_lhs(ps, @$, $1, &$3); } ;
typed: lhs | lhs ':' type { $$ = sq_ast_typed(ps, @$, $1, $3); } ;
type: TYPE      { $$ = (sq_type){.name = $1, .span = @$}; }
    | TYPE '[' items ']' { $$ = (sq_type){$1, @$, true, $3}; } ;
sig: NAME '(' ')' result { $$ = (sq_sig){$1, @1, {0}, $4, @4.end > @4.begin}; }
   | NAME '(' ins ')' result { $$ = (sq_sig){$1, @1, $3, $5, @5.end > @5.begin}; } ;
ins: in         { $$ = (sq_lhss){0}; sq_push(A, &$$, $1); } | ins ',' in { $$ = $1; sq_push(A, &$$, $3); } ;
in: typed | typed '=' expr { $$ = sq_ast_init(@$, $1, $3); } ;
result: %empty  { $$ = (sq_lhss){0}; } | ARROW outs { $$ = $2; } ;
outs: out       { $$ = (sq_lhss){0}; sq_push(A, &$$, $1); } | outs ',' out { $$ = $1; sq_push(A, &$$, $3); } ;
out: NAME       { $$ = sq_ast_lhs(ps, @$, $1, NULL); }
   | NAME ':' type { $$ = sq_ast_typed(ps, @$, sq_ast_lhs(ps, @1, $1, NULL), $3); }
   | NAME '[' items ']' { $$ = sq_ast_lhs(ps, @$, $1, &$3); }
   | '[' items ']' { $$ = sq_ast_lhs(ps, @$, NULL, &$2); }
   | type       { $$ = sq_ast_typed(ps, @$, sq_ast_lhs(ps, @1, NULL, NULL), $1); } ;

block: '{' '}' { $$ = (sq_stmts){0}; } | '{' SEP '}' { $$ = (sq_stmts){0}; }
     | '{' stmts sep_opt '}' { $$ = $2; } | '{' SEP stmts sep_opt '}' { $$ = $3; } ;
stmts: stmt     { $$ = (sq_stmts){0}; if ($1) sq_push(A, &$$, $1); }
     | stmts SEP stmt { $$ = $1; if ($3) sq_push(A, &$$, $3); } ;
stmt: work
    | REQUIRE work     { $$ = $2; $$->mark = @1; }
    | EMIT inits       { $$ = sq_ast_stmt(ps, SQ_S_EMIT, @$); $$->inits = $2; }
    | RETURN exprs     { $$ = sq_ast_stmt(ps, SQ_S_RETURN, @$); $$->values = $2; }
    | CHECK expr ',' STRING { $$ = sq_ast_stmt(ps, SQ_S_CHECK, @$); $$->cond = $2; $$->text = $4; }
    | RESERVE postfix ',' expr { $$ = sq_ast_assign(ps, SQ_S_RESERVE, @$, $2, $4); }
    | if
    | error            { $$ = NULL; RESUME; } ;
work: postfix '=' expr { $$ = sq_ast_assign(ps, SQ_S_DEFINE, @$, $1, $3); }
    | postfix SET expr { $$ = sq_ast_assign(ps, SQ_S_WRITE, @$, $1, $3); }
    | postfix          { $$ = sq_ast_call(ps, @$, $1); }
    | FOR NAME range block { $$ = sq_ast_loop(ps, SQ_S_FOR, @$, $2, @2, $3, $4); }
    | UNROLL FOR NAME range block {
        $$ = sq_ast_loop(ps, SQ_S_FOR, @$, $3, @3, $4, $5); $$->unroll = true; }
    | par SCAN NAME range rev block {
        $$ = sq_ast_loop(ps, SQ_S_SCAN, @$, $3, @3, $4, $6); $$->parallel = $1; $$->reversed = $5; }
    | par SCAN NAME range rev WITH inits block {
        $$ = sq_ast_loop(ps, SQ_S_SCAN, @$, $3, @3, $4, $8);
        $$->parallel = $1; $$->reversed = $5; $$->inits = $7; }
    | WHILE expr limit block {
        $$ = sq_ast_stmt(ps, SQ_S_WHILE, @$); $$->cond = $2; $$->limit = $3; $$->body = $4;
        sq_ast_bounds(ps, $$); } ;
if: IF expr block      { $$ = sq_ast_if(ps, @$, $2, $3, NULL); }
  | IF expr block ELSE block { $$ = sq_ast_if(ps, @$, $2, $3, &$5); }
  | IF expr block ELSE if { sq_stmts s = {0}; sq_push(A, &s, $5); $$ = sq_ast_if(ps, @$, $2, $3, &s); } ;
limit: %empty   { $$ = NULL; } | LIMIT expr { $$ = $2; } ;
range: '<' sum  { $$ = (sq_range){NULL, $2}; } | IN sum DOTS sum { $$ = (sq_range){$2, $4}; } ;
par: %empty     { $$ = false; } | PARALLEL { $$ = true; } ;
rev: %empty     { $$ = false; } | REVERSED { $$ = true; } ;
inits: init     { $$ = (sq_lhss){0}; sq_push(A, &$$, $1); }
     | inits ',' init { $$ = $1; sq_push(A, &$$, $3); } ;
init: lhs '=' expr { $$ = sq_ast_init(@$, $1, $3); } ;

expr: and       | expr OR and { $$ = sq_ast_binary(ps, @$, SQ_B_OR, $1, $3); } ;
and: not        | and AND not { $$ = sq_ast_binary(ps, @$, SQ_B_AND, $1, $3); } ;
not: cmp        | NOT not { $$ = sq_ast_unary(ps, @$, SQ_B_NOT, $2); } ;
cmp: sum        | cmp rel sum { $$ = sq_ast_compare(ps, @$, $2, $1, $3); }
   | NAME IN sum DOTS sum { $$ = sq_ast_in(ps, @$, $1, $3, $5); } ;
rel: '<' { $$ = SQ_B_LT; } | '>' { $$ = SQ_B_GT; } | LE { $$ = SQ_B_LE; } | GE { $$ = SQ_B_GE; }
   | EQ { $$ = SQ_B_EQ; } | NE { $$ = SQ_B_NE; } ;
sum: term       | sum addop term { $$ = sq_ast_binary(ps, @$, $2, $1, $3); } ;
addop: '+' { $$ = SQ_B_ADD; } | '-' { $$ = SQ_B_SUB; } ;
term: prod | red | prod mul red { $$ = sq_ast_binary(ps, @$, $2, $1, $3); } ;
prod: unary     | prod mul unary { $$ = sq_ast_binary(ps, @$, $2, $1, $3); } ;
mul: '*' { $$ = SQ_B_MUL; } | '/' { $$ = SQ_B_DIV; } | FDIV { $$ = SQ_B_FLOORDIV; } | '%' { $$ = SQ_B_MOD; } ;
red: redhead term { $$ = sq_ast_over(ps, @$, $1, $2); }
   | '-' red    { $$ = sq_ast_unary(ps, @$, SQ_B_NEG, $2); } ;
redhead: RED '(' items ')' { $$ = sq_ast_reduce(ps, @$, $1, $3, NULL); }
       | RED '(' items WHERE expr ')' { $$ = sq_ast_reduce(ps, @$, $1, $3, $5); } ;
unary: guard    | guard '^' unary { $$ = sq_ast_binary(ps, @$, SQ_B_POW, $1, $3); }
     | '-' unary { $$ = sq_ast_unary(ps, @$, SQ_B_NEG, $2); } ;
guard: postfix
     | postfix ELSE postfix { $$ = sq_ast_two(ps, @$, SQ_E_ELSE, $1, $3); }
     | postfix ELSE '-' postfix {
         sq_span s = @3; s.end = @4.end;
         $$ = sq_ast_two(ps, @$, SQ_E_ELSE, $1, sq_ast_unary(ps, s, SQ_B_NEG, $4)); } ;
postfix: atom
       | postfix '[' items ']' { $$ = sq_ast_many(ps, @$, SQ_E_INDEX, $1, $3); }
       | postfix '.' NAME   { $$ = sq_ast_word(ps, SQ_E_FIELD, @$, $3, $1); }
       | postfix '.' INT    { $$ = sq_ast_one(ps, @$, SQ_E_PART, $1); $$->i = $3; }
       | postfix '(' ')'    { $$ = sq_ast_one(ps, @$, SQ_E_CALL, $1); }
       | postfix '(' args ')' { $$ = sq_ast_many(ps, @$, SQ_E_CALL, $1, $3); } ;
args: arg       { $$ = (sq_exprs){0}; sq_push(A, &$$, $1); } | args ',' arg { $$ = $1; sq_push(A, &$$, $3); } ;
arg: expr       | NAME '=' expr { $$ = sq_ast_word(ps, SQ_E_NAMED, @$, $1, $3); } ;
atom: NAME      { $$ = sq_ast_name(ps, @$, $1); }
    | INT       { $$ = sq_ast_int(ps, @$, SQ_E_INT, $1); }
    | FLOAT     { $$ = sq_ast_float(ps, @$, $1); }
    | STRING    { $$ = sq_ast_string(ps, @$, $1); }
    | TRUE      { $$ = sq_ast_int(ps, @$, SQ_E_BOOL, 1); }
    | FALSE     { $$ = sq_ast_int(ps, @$, SQ_E_BOOL, 0); }
    | TYPE '(' expr ')' { $$ = sq_ast_word(ps, SQ_E_CAST, @$, $1, $3); }
    | '(' expr ')' { $$ = sq_ast_one(ps, @$, SQ_E_PAREN, $2); }
    | '(' expr ',' exprs ')' { $$ = sq_ast_many(ps, @$, SQ_E_TUPLE, $2, $4); }
    | '[' ']'   { $$ = sq_ast_expr(ps, SQ_E_LIST, @$); }
    | '[' items ']' { $$ = sq_ast_many(ps, @$, SQ_E_LIST, NULL, $2); }
    | '[' items ':' expr ']' { $$ = sq_ast_array(ps, @$, $2, $4); } ;
exprs: expr     { $$ = (sq_exprs){0}; sq_push(A, &$$, $1); } | exprs ',' expr { $$ = $1; sq_push(A, &$$, $3); } ;
items: item     { $$ = (sq_exprs){0}; sq_push(A, &$$, $1); } | items ',' item { $$ = $1; sq_push(A, &$$, $3); } ;
item: expr
    | DOTS      { $$ = sq_ast_expr(ps, SQ_E_DOTS, @$); }
    | GROW      { $$ = sq_ast_expr(ps, SQ_E_GROW, @$); }
    | expr LIMIT expr { $$ = sq_ast_two(ps, @$, SQ_E_LIMIT, $1, $3); } ;
%%
static int yyreport_syntax_error(const yypcontext_t *c, sq_syntax *ps) {
  enum { MAX = 100 };
  yysymbol_kind_t kinds[MAX];
  int n = yypcontext_expected_tokens(c, kinds, MAX);
  int tokens[MAX], token = -1, count = n < 0 ? 0 : n;
  for (int t = 0; t < 400; t++) {
    yysymbol_kind_t k = YYTRANSLATE(t);
    if (k == YYSYMBOL_YYUNDEF) continue;
    if (k == yypcontext_token(c)) token = t;
    for (int j = 0; j < count; j++)
      if (kinds[j] == k) tokens[j] = t;
  }
  sq_syntax_unexpected(ps, token, *yypcontext_location(c), tokens, count);
  return 0;
}

sq_ast *sq_parse(sq_ctx *ctx, uint32_t file) {
  sq_arena *a = &ctx->arena;
  const sq_source *src = &ctx->diags.sources.v[file];
  sq_syntax *ps = SQ_NEW(a, sq_syntax);
  ps->ctx = ctx;
  ps->arena = a;
  ps->file = file;
  ps->token = ps->prev = ps->last = SEP;
  ps->ast = SQ_NEW(a, sq_ast);
  ps->ast->file = file;
  ps->text = src->text;
  size_t size = src->size, bad = 0;
  if (size > INT32_MAX) {
    sq_error(&ctx->diags, (sq_span){.file = file}, "the file is larger than 2 GiB");
    return NULL;
  }
  const char *nul = memchr(src->text, 0, size);
  if (nul) {
    bad = (size_t)(nul - src->text);
    sq_error(&ctx->diags, (sq_span){file, (uint32_t)bad, (uint32_t)bad + 1, 0},
             "a NUL byte stands here: this is not a text file");
    return NULL;
  }
  if (!sq_is_utf8(src->text, size, &bad)) {
    sq_diag *d = sq_error(&ctx->diags, (sq_span){file, (uint32_t)bad, (uint32_t)bad + 1, 0},
                          "byte 0x%02x is not UTF-8 text", (unsigned char)src->text[bad]);
    sq_hint(d, "save the file in the encoding UTF-8");
    return NULL;
  }
  char *text = sq_arena_take(a, size + 2); // two NULs end the scanner's buffer
  memcpy(text, src->text, size);
  if (size >= 3 && !memcmp(text, "\xef\xbb\xbf", 3)) memset(text, ' ', 3); // a byte order mark
  sq_scan_open(ps, text, size);
  sq_yyparse(ps);
  return ps->fatal ? NULL : ps->ast;
}
