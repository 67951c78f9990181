// Size expressions (abi.h) as values and as text.
#pragma once
#include "runtime/abi.h"
#include <stdbool.h>

struct seqm_context;

#define SQ_UNBOUND INT64_MIN // the value of a symbol that nothing has bound

// False when it overflows, divides by zero, or meets an unbound symbol.
bool sq_expr_value(const sq_abi_expr *e, const int64_t *sym, int64_t *value);
// The number of the symbol that the expression is, or 0.
uint32_t sq_expr_symbol(const sq_abi_expr *e);
bool sq_expr_constant(const sq_abi_expr *e);
// Appends the expression to the message, "(N + 1) // 2".
void sq_message_expr(struct seqm_context *ctx, const sq_abi_model *m, const sq_abi_expr *e);
