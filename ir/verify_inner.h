// What the parts of the verifier share. Not for others.
#pragma once
#include "ir/ir_text.h"

typedef struct verifier {
  const sq_graph *g;
  sq_text *out;
  uint32_t n_faults;
  const sq_func *func; // present function and operation, NULL outside
  const sq_node *node;
  // By value id: 1 visible here, 2 visible once, 0 not yet.
  uint8_t *seen;
  const sq_func **sorted; // functions by address, for membership
  bool *writes;           // by place in `sorted`: writes state or parameters, itself or in calls
} verifier;

// One line: where, which rule, what is wrong.
void sq_verify_fault(verifier *v, const char *rule, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
const char *sq_verify_dim(const verifier *v, sq_dim d); // text
bool sq_verify_dim_ok(const verifier *v, sq_dim d);     // an expression of this graph
// Equal, or proved equal, or required equal by the present function.
bool sq_verify_dim_agree(const verifier *v, sq_dim a, sq_dim b);
bool sq_verify_agree(const verifier *v, sq_type a, sq_type b);
bool sq_verify_site_ok(const verifier *v, uint32_t site); // or none
// The loop nest of a generic, update, state_write or param_write. `target`: the type written to.
void sq_verify_generic(verifier *v, const sq_node *n, sq_type target);
