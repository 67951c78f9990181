// What the files of the pass `factor` share.
#pragma once
#include "ir/ir.h"

// factor_matrix.c: takes a sum over a matrix of a diagonal and products of vectors apart; true: it did.
bool sq_factor_matrix(sq_graph *g, sq_func *f, sq_node *n);
