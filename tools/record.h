// What is known of a model file from an earlier start, so that an unchanged one is neither read by
// the frontend nor planned nor compiled again. In: path and options, the present content of the
// files. Out: the descriptor, the warnings, and the keys of the entries' objects in the cache.
#pragma once
#include "tools/build.h"

typedef struct sq_record {
  const char *dir;    // the cache
  sq_cache_key name;  // of the path, where it was given, and the options
  sq_cache_key maker; // of the compiler, the target and how passes run
  sq_source *files;   // all that was read, the model itself first, with the text of now
  sq_cache_key *content;
  uint32_t n_files;
  const char *warnings;
  sq_abi_model *model;
  sq_cache_key *object[2]; // of entries, of inits; zeros: not known
} sq_record;

// Which record it is. False when there can be none: no cache, an unknown compiler, options that print
// or check.
bool sq_record_begin(sq_ctx *ctx, const char *dir, const char *path, const sq_build *b,
                     const sq_target *t, sq_record *r);
// Looks for it. False when there is none, or when one of its files is not as it was; `text` is what
// the model file holds now.
bool sq_record_find(sq_ctx *ctx, const char *path, const char *text, size_t size, sq_record *r);
// Fills it from what was made anew.
void sq_record_fill(sq_ctx *ctx, const sq_front_info *info, const char *warnings,
                    sq_abi_model *model, sq_record *r);
bool sq_record_known(const sq_record *r, int is_init, uint32_t k, sq_cache_key *object);
// Adds the object of an entry and writes the record, with what others have added since.
void sq_record_add(sq_ctx *ctx, sq_record *r, int is_init, uint32_t k, sq_cache_key object);
