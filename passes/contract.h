// What the two files of the pass `contract` share: a sum of products as it was found.
#pragma once
#include "passes/questions.h"
#include "passes/scalars.h"

enum { SQ_CONTRACT_FACTORS = 8 };
typedef struct sq_contract {
  sq_graph *g;
  const sq_node *n, *scan;                        // scan: the innermost one around it
  uint32_t factor[SQ_CONTRACT_FACTORS], n_factor; // scalars of n
  uint32_t axes[SQ_CONTRACT_FACTORS];             // on which each depends, a bit set, ascending
  sq_text t;
} sq_contract;

// False: n is none.
bool sq_contract_find(sq_graph *g, const sq_node *n, sq_contract *w);
// ", where j <= i": the domain of a generic, appended to w->t.
void sq_contract_say_domain(sq_contract *w, const sq_node *of);
// Says so if one factor is computed, along the sum, from another contraction: attention.
void sq_contract_tell_attention(const sq_contract *w, const sq_func *f);
