// The calls of a command line, ready to be made again and again: `seqm bench`, `--tune`.
// In: entries, --size, --in. Out: tensors for each call.
#pragma once
#include "tools/model.h"

typedef struct sq_timed { // a call: its entry, sizes and tensors
  sq_entry_info e;
  const sq_abi_entry *abi;
  const sq_cli_call *given;
  int64_t *sym;
  seqm_tensor *in, *out;
} sq_timed;
typedef struct sq_calls {
  sq_cli *cli;
  sq_model *m;
  sq_timed *call; // the last is timed, the others come before
  uint32_t n;
  bool there; // kernels run on a CUDA device, and so are inputs and outputs there
} sq_calls;
// cli and m are set. SQ_EUSAGE, with a message, for what is not bound or not known.
sq_status sq_calls_make(sq_calls *b);
// All calls, the last one timed. States are as at the start before each timed call; behind calls that
// come first, such as a prompt, they grow on for some of them, by number.
sq_status sq_calls_once(sq_calls *b, uint32_t number, double *seconds);
void sq_calls_drop(sq_calls *b);
