// Reading .npy from memory; files are read and written by seqm_npy_read and seqm_npy_write.
#pragma once
#include "runtime/internal.h"

// `path` is for messages. On success `t` owns a copy of the data.
int sq_npy_parse(seqm_context *ctx, const char *path, const void *bytes, size_t size,
                 seqm_tensor *t);
