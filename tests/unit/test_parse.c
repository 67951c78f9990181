// The syntax part of the frontend: what parses and into what, messages for mistakes, hostile text,
// and allocations that fail at any place.
#include "frontend/ast.h"
#include <criterion/criterion.h>
#include <stdlib.h>

// An allocator that counts what is held and fails after `left` requests (-1: never).
typedef struct counter {
  long held, left;
} counter;

static void *count_fn(void *user, void *p, size_t size) {
  counter *c = user;
  if (!size) {
    c->held -= p != NULL;
    free(p);
    return NULL;
  }
  if (c->left == 0) return NULL;
  if (c->left > 0) c->left--;
  void *q = realloc(p, size);
  c->held += !p && q;
  return q;
}

// Parses and returns the printed tree followed by the rendered mistakes, as malloc'ed text; NULL
// when memory ran out.
static char *parsed(counter *c, const char *text, size_t size, uint32_t *errors) {
  sq_ctx *ctx = sq_ctx_new((sq_alloc){count_fn, c});
  if (!ctx) return NULL;
  if (setjmp(ctx->guard.jmp)) {
    sq_ctx_free(ctx);
    return NULL;
  }
  uint32_t file = sq_diags_source(&ctx->diags, "t", text, size);
  sq_ast *ast = sq_parse(ctx, file);
  cr_assert(ast || ctx->diags.errors, "nothing came out and nothing was said");
  sq_text t = {.arena = &ctx->arena};
  if (ast && !ctx->diags.errors) sq_ast_print(ast, &t);
  sq_text_add(&t, "%s", sq_diags_render(&ctx->diags));
  if (errors) *errors = ctx->diags.errors;
  char *copy = strdup(t.v);
  sq_ctx_free(ctx);
  return copy;
}

static void tree(const char *text, const char *want) {
  counter c = {0, -1};
  uint32_t errors;
  char *got = parsed(&c, text, strlen(text), &errors);
  cr_expect(!errors && strstr(got, want), "%s\ngives\n%s\nwithout\n%s", text, got, want);
  cr_expect(c.held == 0);
  free(got);
}

// `errors` mistakes; the messages hold `a` and `b`.
static void fault_n(const char *text, size_t size, uint32_t errors, const char *a, const char *b) {
  counter c = {0, -1};
  uint32_t n;
  char *got = parsed(&c, text, size, &n);
  cr_expect(n == errors, "%.200s\n%u mistakes, not %u:\n%s", text, n, errors, got);
  cr_expect(strstr(got, a) && strstr(got, b), "%.200s\ngives\n%s\nwithout `%s` or `%s`", text, got,
            a, b);
  cr_expect(c.held == 0);
  free(got);
}
static void fault(const char *text, uint32_t errors, const char *a, const char *b) {
  fault_n(text, strlen(text), errors, a, b);
}

#define IN_FN(s) "fn f(x) {\n" s "\n}"

Test(parse, precedence) {
  tree("y = -a ^ 2 ^ b * c", "(define (y) (* (- (^ a (^ 2 b))) c))");
  tree("y = sum(k) a[k] * b[k] + c", "(+ (sum [k] (* (at a k) (at b k))) c)");
  tree("y = 2 * sum(k where k < n) a[k] / 3", "(* 2 (sum [k] where (k < n) (/ (at a k) 3)))");
  tree("y = a - b - c", "(- (- a b) c)");
  tree("y = not a and b or c", "(or (and (not a) b) c)");
  tree("y = 0 <= i - j < w", "(0 <= (- i j) < w)");
  tree("y = x[i - 1] else -1", "(else (at x (- i 1)) (- 1))");
  tree("y = a + x[i] else 0 * b", "(+ a (* (else (at x i) 0) b))");
  tree("y = - - a // b % c", "(% (// (- (- a)) b) c)");
}

Test(parse, atoms) {
  tree("y = t.0.1", "(. (. t 0) 1)");
  tree("y = [i, j: a[i] * b[j]]", "(array [i j] (* (at a i) (at b j)))");
  tree("y = [1, 2.5, []]", "(list 1 2.5 (list))");
  tree("y = (a, (b), f())", "(tuple a (paren b) (call f))");
  tree("y = i32(x) + `scan`(a, n = 2)", "(+ (i32 x) (call scan a (= n 2)))");
  tree("y = f(\"{i}.{ a # b\")", "(call f \"{i}.{ a # b\")");
  tree("y[n in 1 .. 5, .., j < n limit 3] = 1e-5", "(y [(in n 1 5) .. (limit (j < n) 3)]) 1e-05");
  tree("\xef\xbb\xbfy = 9223372036854775807", "(y) 9223372036854775807");
}

Test(parse, declarations) {
  tree("use std.nn", "(use std.nn)");
  tree("model m(a = 1, cell = gru | lstm) { preset s { a = 2; cell = lstm } }",
       "(model m ((a = 1) (cell = gru | lstm))\n  (preset s (a = 2) (cell = lstm)))");
  tree("module M() { param w[2, 3]: f32 as \"a.{i}\" | \"b\" frozen; state s: i32 = 0 kept }",
       "(param (w f32 [2 3]) as \"a.{i}\" | \"b\" frozen)\n  (state (s i32) 0 kept)");
  tree("module M() { if a == 1 { sub x = L() } else { sub y = L() as \"\" } }",
       "(sub (y) (call L) as \"\")");
  tree("entry `scan`(a: i32[N], b[.., d], c = 1) -> `state`: f32[2], i32, [N], r {}",
       "(entry scan ((a i32 [N]) (b [.. d]) (c = 1)) -> (state f32 [2]) (_ i32) (_ [N]) (r))");
}

Test(parse, statements) {
  tree(IN_FN("(a, b[i]) = g(x); s[len + n] <- x; g()"),
       "(define (tuple a (at b i)) (call g x))\n  (write");
  tree(IN_FN("for i < n { unroll for j in 1 .. 3 { x = j } }"),
       "(for i < n\n    (unroll-for j in 1 .. 3");
  tree(IN_FN("parallel scan t < N reversed with h[c < d] = 0, k = x { emit y[t] = h, z = 1 }"),
       "(parallel-scan t < N reversed with (h [(c < d)] = 0) (k = x)\n    (emit (y [t] = h) (z = "
       "1)))");
  tree(IN_FN("while any(i) r[i] limit 3 { x = 1 }"), "(while (any [i] (at r i)) limit 3");
  tree(IN_FN("if a { x = 1 } else if b { x = 2 } else { x = 3 }"), "else\n    (if b");
  tree(IN_FN("check a < b, \"no\"; reserve s, n + 1; return a, b"),
       "(check (a < b) \"no\")\n  (reserve s (+ n 1))\n  (return a b)");
}

Test(parse, require_fused) {
  tree(IN_FN("require fused y[i] = x[i]; require\tfused s <- x; require  fused g(x)"),
       "(require-fused define (at y i) (at x i))\n  (require-fused write s x)\n"
       "  (require-fused do (call g x)");
  tree(IN_FN("require fused parallel scan t < N { emit y[t] = x }"),
       "(require-fused parallel-scan t < N");
  tree(IN_FN("require fused for i < n { require fused while x { y = 1 } }"),
       "(require-fused for i < n\n    (require-fused while x");
  tree(IN_FN("require = fused + 1; fused = require; require.fused(1)"),
       "(define require (+ fused 1))\n  (define fused require)");
  tree(IN_FN("require\n= x\nx = require # fused"), "(define require x)\n  (define x require)");
  fault(IN_FN("require fused return x"), 1, "`return` cannot stand here", "return that");
  fault(IN_FN("require fused require fused y = x"), 1, "`require fused` cannot", "or a loop");
  fault(IN_FN("require fusedly = x"), 1, "before `fusedly`", "");
  fault(IN_FN("require fused if x { y = 1 }"), 1, "`if` cannot stand", "or a loop");
  fault(IN_FN("require\nfused = x"), 1, "nothing uses", "");
  fault("require fused y = 1", 1, "`require fused`", "a declaration");
}

Test(parse, ends_of_lines) {
  tree("a = 1\n\n; ;\nb = 2", "(define (a) 1)\n(define (b) 2)");
  tree("a = f(1,\n 2\n)\n + 3\n - 4\nb = a", "(- (+ (call f 1 2) 3) 4))\n(define (b) a)");
  tree("a =\n b # text\n  # more\n and\n c", "(define (a) (and b c))");
  tree("a = max(i)\n sum(j where (b))\n (c)\ne = f(g)\nh = 1",
       "(max [i] (sum [j] where (paren b) (paren c))))\n(define (e) (call f g))\n(define (h)");
  tree("fn f(x)\n  -> [N] {\n a = 1\r\n\r\n if a { b = 1 }\n else { b = 2 }; }",
       "(fn f ((x)) -> (_ [N])");
}

Test(parse, mistakes_and_hints) {
  fault(IN_FN("if a = b { c = 1 }"), 1, "expected `{` before `=`", "write `==`");
  fault(IN_FN("y == 3"), 1, "before `==`", "write `=`");
  fault(IN_FN("y += 3"), 1, "there is no `+=`", "");
  fault("a <- 3", 1, "before `<-`", "here it is `=`");
  fault(IN_FN("if x <-1 { y = 1 }"), 1, "before `<-`", "x < -1");
  fault("y = [i, j sum(k) a]", 1, "before `sum`", "with `:` after its indices");
  fault("entry scan(x) {}", 1, "expected a name before `scan`", "in backquotes: `scan`");
  fault(IN_FN("limit = 3"), 1, "before `limit`", "in backquotes: `limit`");
  fault(IN_FN("sum = 3"), 1, "before `sum`", "in backquotes: `sum`");
  fault(IN_FN("let a = 3"), 1, "before `a`", "there is no `let`");
  fault("y = {1, 2}", 1, "before `{`", "`[1, 2]`");
  fault("y = a ** 2", 1, "before `*`", "x ^ 2");
  fault("y = 1.", 1, "", "`1.0`");
  fault("// text", 1, "before `//`", "begins with `#`");
  fault("x[2]: f32[2] = 1", 1, "before `:`", "");
  fault("param x[2]: f32[2]", 1, "the shape stands twice", "");
  fault("y = a && b", 1, "`&&` is not part", "`and`");
  fault("y = a @ b", 1, "`@` is not part", "sum(k)");
  fault("y = a \xe2\x88\x92 b", 1, "\xe2\x88\x92", "write `-`");
  fault(IN_FN("g(x) = 3"), 1, "cannot be bound", "[ ]");
  fault(IN_FN("x.a = 3"), 1, "cannot be bound", "`<-`");
  fault(IN_FN("3 <- x"), 1, "cannot be written", "");
  fault(IN_FN("x + 1"), 1, "before `+`", "");
  fault(IN_FN("x"), 1, "nothing uses", "");
  fault("y =", 1, "expected an expression before the end of the file", "");
}

Test(parse, brackets) {
  fault("y = f(a[1)\nz = 2", 1, "`[` is not closed", "`]` is missing before this");
  fault("y = f(a]\nz = 2", 1, "`]` where `)` is needed", "`(` opened here");
  fault("y = a)\nz = 2", 1, "`)` closes nothing", "");
  fault("fn f(x) {\n y = (a\n return y\n}", 1, "`(` is not closed", "t:2:6");
  fault("module M() {\n fn f(x) {\n  a = 1\n \n}\nfn g(x) = x", 1, "t:1:12", "indented unlike");
  fault("y = (1; z = 2", 1, "`(` is not closed", "");
  fault("fn f(x)\n{ y = 1 }", 1, "`{` begins a line", "");
}

Test(parse, several_mistakes) {
  fault("a = 1 2\nfn f( { b = 1; c = 2 }\nd = 3\nfn g(x) { e = ; f = 1 ( ; return }\nh = *", 6,
        "t:1:7", "t:5:5");
}

Test(parse, words) {
  fault("y = 9223372036854775808", 1, "larger than 9223372036854775807", "");
  fault("y = 1e999", 1, "larger than a float64", "`inf`");
  fault("y = 12abc", 1, "neither a number nor a name", "");
  fault("y = \"abc\nz = 1", 1, "not closed on its line", "t:1:5");
  fault("`a = 1", 1, "backquote is not closed", "");
  fault("`a b` = 1", 1, "a name in backquotes", "");
  fault_n("a = 1\n\0b", 8, 1, "NUL", "t:2:1");
  fault("a = 1\nb = \xc3(", 1, "0xc3 is not UTF-8", "t:2:5");
  fault("a = \x01 1", 1, "byte 0x01", "");
  tree("a = \"\xc3\xa9\" # \xe2\x82\xac", "\"\xc3\xa9\"");
}

static char *repeated(const char *before, const char *unit, const char *mid, const char *unit2,
                      const char *after, int times) {
  size_t n = strlen(before) + strlen(mid) + strlen(after) + 1 +
             (strlen(unit) + strlen(unit2)) * (size_t)times;
  char *s = malloc(n), *p = stpcpy(s, before);
  for (int k = 0; k < times; k++) p = stpcpy(p, unit);
  p = stpcpy(p, mid);
  for (int k = 0; k < times; k++) p = stpcpy(p, unit2);
  stpcpy(p, after);
  return s;
}

Test(parse, hostile) {
  static const struct {
    const char *before, *unit, *mid, *unit2, *after, *message;
    uint32_t errors;
  } t[] = {
      {"y = ", "(", "x", ")", "", "brackets are nested deeper than 200", 1},
      {"y = ", "[", "x", "]", "", "brackets are nested deeper than 200", 1},
      {"fn f(x) ", "{ if a ", "{ }", "}", "", "", 1},
      {"", "(", "", "", "", "", 1},
      {"", "}", "", "", "", "closes nothing", 100},
      {"y = ", "-", "x", "", "", "more than 400 levels", 1},
      {"y = ", "not ", "x", "", "", "more than 400 levels", 1},
      {"y = ", "x ^ ", "x", "", "", "more than 400 levels", 1},
      {"y = ", "x + ", "x", "", "", "more than 400 levels", 1},
      {"y = ", "sum(i) ", "x", "", "", "more than 400 levels", 1},
      {"y = ", "x < ", "x", "", "", "more than 64 comparisons", 1},
      {"y = x", "[0]", "", "", "", "more than 400 levels", 1},
      {"y = x", ".0", "", "", "", "more than 400 levels", 1},
      {"fn f(x) {", "if a { b = 1 } else ", "{ }", "", "}", "nested", 1},
      {"x", "yyyyyyyyyy", " = 1", "", "", "a name of 100001 bytes", 1},
      {"y = ", "1234567890", "", "", "", "larger than", 1},
      {"use a", ".b", "", "", "", "a path of more than", 1},
      {"", "a b\n", "", "", "", "before `b`", 100},
      {"y = \"", "aaaa", "\"", "", "", "(define (y)", 0},
      {"y = [1", ", 1", "]", "", "", "(define (y)", 0},
      {"", "y = 1;", "", "", "", "(define (y) 1)", 0},
  };
  for (size_t k = 0; k < sizeof t / sizeof *t; k++) {
    char *s = repeated(t[k].before, t[k].unit, t[k].mid, t[k].unit2, t[k].after, 10000);
    counter c = {0, -1};
    uint32_t n;
    char *got = parsed(&c, s, strlen(s), &n);
    cr_expect(n == t[k].errors && strstr(got, t[k].message), "%s%s...: %u mistakes\n%.500s",
              t[k].before, t[k].unit, n, got);
    free(got);
    free(s);
  }
}

Test(parse, memory_runs_out) {
  static const char text[] =
      "model m(a = 1) {\n fn f(x[N]) -> [N] = [i: sum(j) x[i] * x[j]]\n bad = = \n}";
  char *s = repeated("y = f(", "x, (", "x", ")", ")\n", 150);
  const char *texts[] = {text, s};
  for (int k = 0; k < 2; k++) {
    bool whole = false;
    for (long left = 0; !whole; left++) {
      cr_assert(left < 10000);
      counter c = {0, left};
      char *got = parsed(&c, texts[k], strlen(texts[k]), NULL);
      whole = got != NULL;
      cr_expect(c.held == 0, "%ld pieces of memory lost", c.held);
      free(got);
    }
  }
  free(s);
}

// Every prefix, and every text with one byte less, ends without a crash.
Test(parse, cut_text) {
  static const char text[] =
      "use std.nn\nmodel m(a = 1, c = x | y) {\n preset p { a = 2 }\n param w[a, 2]: f32 as \"q\" "
      "| \"r\"\n"
      " entry f(x: i32[N]) -> y[N] {\n  scan t < N with h = 0 { h = h + x[t] else -1; emit y[t] = "
      "h }\n"
      "  if a == 1 { (u, v) = g(x, n = 2) } else { u[i] <- [i: `in`.0] }\n  return y }\n}\n";
  char cut[sizeof text];
  size_t n = sizeof text - 1;
  for (size_t k = 0; k <= n; k++) {
    counter c = {0, -1};
    free(parsed(&c, text, k, NULL));
    if (k == n) break;
    memcpy(cut, text, k);
    memcpy(cut + k, text + k + 1, n - k);
    free(parsed(&c, cut, n - 1, NULL));
    cr_expect(c.held == 0);
  }
}
