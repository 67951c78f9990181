// The safetensors format, read strictly from a mapping.
//
//   u64 little-endian n | n bytes of JSON | data
//   {"__metadata__": {"k": "v"}, "name": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0,
//   24]}}
//
// Refused: a header longer than the file or 100 MB, anything but `{` at its start or spaces after
// it, unknown or missing or repeated keys, repeated names, numbers that are not whole or exceed 63
// bits, names that are empty or hold U+0000, ranks above 12, unknown dtypes, a byte count that is
// not product(shape) * size, data that overlap, leave a hole, or do not end with the file.
#pragma once
#include "runtime/file.h"

typedef struct sq_st_tensor {
  const char *name;
  const char *dtype_name; // "BF16"
  int dtype;              // a seqm_dtype, or -1: a type that parameters cannot have
  uint32_t rank;
  int64_t dim[SEQM_MAX_RANK];
  const unsigned char *data; // not aligned beyond what the file gives
  size_t bytes;
  uint64_t begin, end;
  const char *file; // whose it is, for messages
  bool used;
} sq_st_tensor;

typedef struct sq_safetensors {
  char *path;
  sq_map map;
  char *names;          // decoded strings
  sq_st_tensor *tensor; // sorted by name
  size_t n;
} sq_safetensors;

// 0, SQ_EMODEL (malformed: the message has path, offset and fault) or SQ_EWORLD. Nothing is held
// after a failure.
int sq_safetensors_open(seqm_context *ctx, const char *path, sq_safetensors *f);
// The same of bytes in memory, which must outlive `f`.
int sq_safetensors_parse(seqm_context *ctx, const char *path, const void *data, size_t size,
                         sq_safetensors *f);
void sq_safetensors_close(seqm_context *ctx, sq_safetensors *f);
sq_st_tensor *sq_st_find(sq_st_tensor *sorted, size_t n, const char *name);
// By name: in place, no memory, never worse than n log n.
void sq_st_sort(sq_st_tensor *t, size_t n);
const char *sq_st_dtype_name(uint32_t dtype); // "F32"

// The shards of NAME.safetensors.index.json: {"metadata": {...}, "weight_map": {"tensor": "file"}}.
// Files are named relative to the index and may not leave its folder.
typedef struct sq_st_index_row {
  const char *name, *file;
} sq_st_index_row;
typedef struct sq_st_index {
  char *names;
  sq_st_index_row *row; // sorted by name
  size_t n;
} sq_st_index;
int sq_st_index_parse(seqm_context *ctx, const char *path, const void *data, size_t size,
                      sq_st_index *x);
void sq_st_index_close(seqm_context *ctx, sq_st_index *x);
