// From a model file to a graph, checked or planned: the steps that every subcommand and the
// compiler library share.
#pragma once
#include "base/context.h"
#include "codegen/codegen.h"
#include "frontend/frontend.h"
#include "passes/passes.h"

typedef struct sq_build {
  sq_front_options front;
  sq_pass_options pass;
  const char *cpu;         // NULL: native
  sq_device_kind device;   // where kernels run
  const char *arch;        // of kernels ahead of time: "sm_80,sm_90a"; NULL: a list of ours
  bool tf32;              // on CUDA factors of f32 products are rounded to tf32
  const char *cache_dir;   // "": none; NULL: the user's cache folder
  const sq_target *target; // found before; NULL: sq_build_target finds it
} sq_build;

// Options of the front, from a preset, defines and the name of a float type (NULL: f32).
sq_status sq_build_float(const char *name, sq_dtype *t);
// The folder of the running command, or of the library; NULL when unknown.
const char *sq_build_folder(sq_ctx *ctx);
// The folder that holds `std/`: beside the command or library, in the install prefix, or the source
// tree it was built from. NULL when there is none.
const char *sq_build_std_path(sq_ctx *ctx);
// $XDG_CACHE_HOME/seqm or ~/.cache/seqm; NULL when neither is known.
const char *sq_build_cache_dir(sq_ctx *ctx);

// A model file, or textual IR (.sir), to a graph. On failure `*message` holds all rendered
// diagnostics or the system's reason.
sq_status sq_build_graph(sq_ctx *ctx, const char *path, const sq_build *b, sq_graph **g,
                         sq_front_info *info, const char **message);
sq_status sq_build_text(sq_ctx *ctx, const char *name, const char *text, size_t size,
                        const sq_build *b, sq_graph **g, sq_front_info *info, const char **message);
// The text of the file s->name.
sq_status sq_build_read(sq_ctx *ctx, sq_source *s, const char **message);
bool sq_build_is_ir(const char *path);
// The target that b asks for, with what is known of this machine when it is that: what `bench
// --calibrate` measured and --tune found. *note: a file of the cache that cannot be used; else NULL.
sq_status sq_build_target(sq_ctx *ctx, const sq_build *b, sq_target *target, const char **note,
                          const char **message);
// The whole pipeline of the CPU target on the graph, in place.
sq_status sq_build_plan(sq_graph *g, const sq_build *b, sq_target *target, const char **message);
