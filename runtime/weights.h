// Where weights come from: safetensors files, shard indices, a random seed; for a model and, on its
// own, for tools (the interpreter is given the same weights).
//
//   sq_weights *w;
//   if (sq_weights_new(ctx, &w) || sq_weights_add(w, "model.safetensors")) die(seqm_message(ctx));
//   sq_weight_ask ask = {names, n_names, SEQM_F32, 2, dim, .own = false};
//   sq_weight got;
//   if (sq_weights_get(w, &ask, &got)) die(...);               // no memory
//   if (got.fault) sq_weights_describe(w, &ask, &got);           // one line more in the message
//   ... got.data ...; sq_weights_drop(w, &got);
//
// Mapped data live as long as the sq_weights; `got.owned` data until dropped. Calls are for one
// thread at a time.
#pragma once
#include "runtime/safetensors.h"

typedef struct sq_weights sq_weights;

typedef enum sq_weight_fault {
  SQ_WEIGHT_OK,
  SQ_WEIGHT_MISSING, // no file has any of the names, and there is no seed
  SQ_WEIGHT_SHAPE,
  SQ_WEIGHT_DTYPE, // floats convert to any float; the others must be equal
} sq_weight_fault;

typedef struct sq_weight_ask {
  const char *const *names; // tried in turn
  uint32_t n_names;
  uint32_t dtype, rank;
  const int64_t *dim;
  bool own; // a copy to write to
} sq_weight_ask;

typedef struct sq_weight {
  sq_weight_fault fault;
  const void *data;          // NULL with a fault
  void *owned;               // equals data when it is a copy, else NULL
  size_t bytes;              // in the asked type
  const sq_st_tensor *found; // NULL: missing or random
} sq_weight;

int sq_weights_new(seqm_context *ctx, sq_weights **w);
void sq_weights_free(sq_weights *w);
// A .safetensors or a .index.json file, tried after those added before. Nothing changes on failure.
int sq_weights_add(sq_weights *w, const char *path);
// For all that no file has.
void sq_weights_random(sq_weights *w, uint64_t seed);
// 0 (look at got->fault) or SQ_EWORLD.
int sq_weights_get(sq_weights *w, const sq_weight_ask *ask, sq_weight *got);
void sq_weights_drop(sq_weights *w, sq_weight *got);
// Appends "\n  `name` f32[64, 32]: no file has it" to the context's message.
void sq_weights_describe(sq_weights *w, const sq_weight_ask *ask, const sq_weight *got);
// The tensor that these names stand for, or NULL; marks it as used.
const sq_st_tensor *sq_weights_use(sq_weights *w, const char *const *names, uint32_t n);
void sq_weights_forget_use(sq_weights *w);
// Names that were not marked, of all files in order; returns how many there are.
size_t sq_weights_unused(const sq_weights *w, const char **names, size_t cap);
bool sq_weights_any(const sq_weights *w);      // a file or a seed
size_t sq_weights_mapped(const sq_weights *w); // bytes
