// What the pass `factor` does to one operation.
#pragma once
#include "ir/ir.h"

// Takes factors that the sum n does not run over out of it; true: there were some.
bool sq_factor_sum(sq_graph *g, sq_func *f, sq_node *n);
// factor_matrix.c: takes a sum over a matrix of a diagonal and products of vectors apart; true: it did.
bool sq_factor_matrix(sq_graph *g, sq_func *f, sq_node *n);
