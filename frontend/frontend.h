// The frontend: `.seqm` text -> graph IR. The one header that others see.
#pragma once
#include "base/context.h"
#include "ir/ir.h"

typedef struct sq_front_options {
  const char *preset;         // or NULL
  const char *const *defines; // "name=value"
  uint32_t n_defines;
  sq_dtype float_type;  // SQ_F32 by default
  const char *std_path; // folder that holds std/ (`use std.nn` is std_path/std/nn.seqm)
  // Files that were read already: `use` takes the text from here when the name is here.
  const sq_source *files;
  uint32_t n_files;
} sq_front_options;

// What was read, the model's file first; what it declares, for `check`: config with present values
// and presets.
typedef struct sq_front_config {
  const char *name;
  const char *value; // as text
} sq_front_config;
typedef struct sq_front_info {
  SQ_VEC(sq_front_config) config;
  SQ_VEC(const char *) presets;
  SQ_VEC(sq_source) files;
} sq_front_info;

// Reads, checks and lowers a model file. Entries with faults are reported in ctx->diags; the result
// is NULL when there was any error. `info` may be NULL.
sq_graph *sq_front_compile(sq_ctx *ctx, const char *path, const sq_front_options *o,
                           sq_front_info *info);
// The same from text in memory; `name` stands for the file's name, `use`s resolve against its folder.
sq_graph *sq_front_compile_text(sq_ctx *ctx, const char *name, const char *text, size_t size,
                                const sq_front_options *o, sq_front_info *info);
// Printed syntax tree (`seqm dump --stage ast`); false when it does not parse.
bool sq_front_dump_ast(sq_ctx *ctx, const char *path, sq_text *out);
