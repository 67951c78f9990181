// Ahead of time: model file -> object or shared object, and header.
#pragma once
#include "tools/build.h"

// `output` ends in .so (linked with libseqm_rt, self-contained) or .o. `header` may be NULL.
sq_status sq_build_object(sq_ctx *ctx, const char *path, const sq_build *b, const char *output,
                          const char *header, const char **message);
