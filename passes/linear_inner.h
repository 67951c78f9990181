// What the two files of linear forms share.
#pragma once
#include "passes/linear.h"

sq_linear sq_lin_free(uint32_t id);
sq_linear sq_lin_none(const sq_lspace *w, const sq_node *n, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
sq_linear sq_lin_state(sq_lspace *w, uint32_t state, uint32_t n, const uint32_t *pos);
// The states of the form, for messages.
const char *sq_lin_names(const sq_lspace *w, const sq_linear *f);
void sq_lin_push(sq_lspace *w, sq_linear *f, sq_lterm t);
uint32_t sq_lin_constant(sq_lspace *w, sq_dtype t, double v);
sq_linear sq_lin_as_sum(sq_lspace *w, const sq_linear *f);
// A sum of one state term and of free ones as a maximum or minimum of one term.
sq_linear sq_lin_as_extreme(sq_lspace *w, const sq_node *n, const sq_linear *f, sq_algebra alg);
sq_linear sq_lin_add(sq_lspace *w, const sq_node *n, const sq_linear *a, const sq_linear *b,
                     sq_dtype dtype);
sq_linear sq_lin_negated(sq_lspace *w, const sq_linear *f, sq_dtype t);
sq_linear sq_lin_scaled(sq_lspace *w, const sq_node *n, const sq_linear *f, uint32_t c);
sq_linear sq_lin_extreme(sq_lspace *w, const sq_node *n, const sq_linear *a, const sq_linear *b,
                         sq_algebra alg);
// The term where c holds (or does not), neutral elsewhere.
void sq_lin_push_where(sq_lspace *w, sq_linear *to, const sq_lterm *t, uint32_t c, bool holds,
                       sq_dtype type);
sq_linear sq_lin_chosen(sq_lspace *w, const sq_node *n, uint32_t c, const sq_linear *a,
                        const sq_linear *b, sq_dtype type);
sq_linear sq_lin_converted(sq_lspace *w, const sq_node *n, const sq_linear *f, sq_dtype from,
                           sq_dtype to);
