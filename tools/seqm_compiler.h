// seqm compiler: `.seqm` files to running models in a host program (JIT), or to objects.
// Links libseqm (which needs LLVM); everything else is in seqm.h.
#pragma once
#include "seqm.h"
#ifdef __cplusplus
extern "C" {
#endif

typedef struct seqm_compile_options {
  const char *preset;         // NULL: none
  const char *const *defines; // "name=value"
  size_t n_defines;
  seqm_dtype float_type; // SEQM_F32 when `set_float` is 0
  int set_float;
  const char *target_cpu; // NULL: native
  const char *cache_dir;  // NULL: $XDG_CACHE_HOME/seqm; "": no cache
  const char *std_path;   // NULL: found beside the library or in its install prefix
  const char *quantize;   // NULL: none; "int8": weights of products in 8 bits, a scale a column
  // Not 0: a statement behind `require fused` that is not fused, or a fall-back, is an error (1).
  int require_fused;
  // Where kernels run: NULL or "cpu"; "cuda" (status 3 at the first call without a device or NVRTC);
  // "cuda-emu", the emulation (just in time only).
  const char *target;
  const char *arch; // ahead of time for cuda: "sm_80,sm_90a"; NULL: those two
  // Not 0: nonlinear scans of few channels are solved by Newton's method where that is faster, which
  // rounds otherwise; seqm_newton_count tells how it went.
  int parallel_rnn;
  // Not 0: on CUDA the factors of f32 products are rounded to tf32, 11 bits, for tensor cores.
  int tf32;
} seqm_compile_options;

// Compiles a model file; entries are compiled when first called. Diagnostics are the message.
int seqm_compile(seqm_context *ctx, const char *path, const seqm_compile_options *o,
                 seqm_model **m);
int seqm_compile_text(seqm_context *ctx, const char *name, const char *text, size_t size,
                      const seqm_compile_options *o, seqm_model **m);
// Ahead of time: a shared object (path ends in .so) or an object (.o), and a header when not NULL.
int seqm_compile_to(seqm_context *ctx, const char *path, const seqm_compile_options *o,
                    const char *output, const char *header);
#ifdef __cplusplus
}
#endif
