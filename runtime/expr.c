// Postfix size expressions: evaluated exactly in 64 bits, or printed.
#include "runtime/expr.h"
#include "runtime/internal.h"
#include <stdio.h>

enum { STACK = 256 };

static bool apply(int64_t op, int64_t a, int64_t b, int64_t *out) {
  switch (op) {
  case SQ_X_ADD:
    return !__builtin_add_overflow(a, b, out);
  case SQ_X_MUL:
    return !__builtin_mul_overflow(a, b, out);
  case SQ_X_MIN:
    *out = a < b ? a : b;
    return true;
  case SQ_X_MAX:
    *out = a > b ? a : b;
    return true;
  case SQ_X_FLOORDIV:
  case SQ_X_MOD: {
    if (b == 0 || (a == INT64_MIN && b == -1)) return false;
    int64_t q = a / b, r = a % b;
    if (r && (r < 0) != (b < 0)) {
      q--;
      r += b;
    }
    *out = op == SQ_X_MOD ? r : q;
    return true;
  }
  default:
    return false;
  }
}

bool sq_expr_value(const sq_abi_expr *e, const int64_t *sym, int64_t *value) {
  int64_t stack[STACK];
  uint32_t n = 0;
  for (uint32_t k = 0; k < e->n; k++) {
    int64_t op = e->code[k];
    if (op == SQ_X_CONST || op == SQ_X_SYM) {
      if (n == STACK || ++k == e->n) return false;
      stack[n] = op == SQ_X_CONST ? e->code[k] : sym[e->code[k]];
      if (op == SQ_X_SYM && stack[n] == SQ_UNBOUND) return false;
      n++;
    } else {
      if (n < 2 || !apply(op, stack[n - 2], stack[n - 1], &stack[n - 2])) return false;
      n--;
    }
  }
  if (n != 1) return false;
  *value = stack[0];
  return true;
}

uint32_t sq_expr_symbol(const sq_abi_expr *e) {
  return e->n == 2 && e->code[0] == SQ_X_SYM ? (uint32_t)e->code[1] : 0;
}

bool sq_expr_constant(const sq_abi_expr *e) {
  for (uint32_t k = 0; k < e->n; k++)
    if (e->code[k] == SQ_X_SYM)
      return false;
    else if (e->code[k] == SQ_X_CONST)
      k++;
  return true;
}

// Prints the operand that ends before word `end`; where each begins is in `from`.
typedef struct printer {
  seqm_context *ctx;
  const sq_abi_model *m;
  const int64_t *code;
  const uint16_t *left, *op; // per step: the step of the left operand; the word's index
} printer;

static int strength(int64_t op) {
  return op == SQ_X_ADD ? 1 : op == SQ_X_MUL || op == SQ_X_FLOORDIV || op == SQ_X_MOD ? 2 : 3;
}

static void print(const printer *p, uint32_t step, int outer, int depth) {
  static const char *const sign[] = {
      [SQ_X_ADD] = " + ", [SQ_X_MUL] = " * ", [SQ_X_FLOORDIV] = " // ",
      [SQ_X_MOD] = " % ", [SQ_X_MIN] = ", ",  [SQ_X_MAX] = ", "};
  const int64_t *w = p->code + p->op[step];
  if (w[0] == SQ_X_CONST) {
    sq_message_add(p->ctx, "%lld", (long long)w[1]);
  } else if (w[0] == SQ_X_SYM) {
    const char *name =
        w[1] > 0 && w[1] <= p->m->n_sym && p->m->sym_names ? p->m->sym_names[w[1] - 1] : NULL;
    sq_message_add(p->ctx, "%s", name ? name : w[1] ? "size" : "workers");
  } else if (depth == 32) {
    sq_message_add(p->ctx, "...");
  } else {
    bool call = w[0] == SQ_X_MIN || w[0] == SQ_X_MAX;
    int own = call ? 0 : strength(w[0]);
    bool paren = call || own < outer;
    sq_message_add(p->ctx, "%s%s",
                   w[0] == SQ_X_MIN   ? "min"
                   : w[0] == SQ_X_MAX ? "max"
                                      : "",
                   paren ? "(" : "");
    print(p, p->left[step], own, depth + 1);
    sq_message_add(p->ctx, "%s", sign[w[0]]);
    print(p, step - 1, call ? 0 : own + 1, depth + 1);
    sq_message_add(p->ctx, "%s", paren ? ")" : "");
  }
}

void sq_message_expr(seqm_context *ctx, const sq_abi_model *m, const sq_abi_expr *e) {
  uint16_t left[STACK], op[STACK], begin[STACK];
  uint32_t steps = 0, n = 0; // begin[]: the last step of each value on the stack
  for (uint32_t k = 0; k < e->n && steps < STACK; k++, steps++) {
    op[steps] = (uint16_t)k;
    int64_t code = e->code[k];
    if (code == SQ_X_CONST || code == SQ_X_SYM) {
      k++;
      begin[n++] = (uint16_t)steps;
    } else {
      if (n < 2 || code < SQ_X_CONST || code > SQ_X_MAX) break;
      left[steps] = begin[n - 2];
      begin[--n - 1] = (uint16_t)steps;
    }
  }
  if (n != 1 || !steps) {
    sq_message_add(ctx, "a size");
    return;
  }
  printer p = {ctx, m, e->code, left, op};
  print(&p, steps - 1, 0, 0);
}
