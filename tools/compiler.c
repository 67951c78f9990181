// The compiler's C API (seqm_compiler.h) over the same steps as the command.
#include "runtime/internal.h"
#include "tools/jit_model.h"
#include "tools/object.h"
#include "tools/seqm_compiler.h"
#include <string.h>

typedef struct request {
  const char *path;
  const char *text; // NULL: read the file
  size_t size;
  const seqm_compile_options *o;
  const char *output, *header; // ahead of time
  seqm_model **m;              // just in time
} request;

static bool set_target(const char *name, sq_device_kind *device) {
  static const char *const names[] = {
      [SQ_DEVICE_HOST] = "cpu", [SQ_DEVICE_CUDA_EMU] = "cuda-emu", [SQ_DEVICE_CUDA] = "cuda"};
  for (unsigned k = 0; k < sizeof names / sizeof *names; k++)
    if (!name || !strcmp(name, names[k])) {
      *device = (sq_device_kind)k;
      return true;
    }
  return false;
}

static sq_status fill(sq_ctx *ctx, const seqm_compile_options *o, sq_build *b,
                      const char **message) {
  *b = (sq_build){.pass = {.bisect_limit = -1}, .front = {.float_type = SQ_F32}};
  if (!o) return SQ_OK;
  b->front.preset = o->preset;
  b->front.defines = o->defines;
  b->front.n_defines = (uint32_t)o->n_defines;
  b->front.std_path = o->std_path;
  if (o->set_float) {
    if ((unsigned)o->float_type >= SQ_DTYPE_COUNT || !sq_is_float((sq_dtype)o->float_type)) {
      *message = "float_type must be a float type";
      return SQ_EUSAGE;
    }
    b->front.float_type = (sq_dtype)o->float_type;
  }
  if (o->quantize && strcmp(o->quantize, "int8")) {
    *message = sq_arena_fmt(&ctx->arena, "quantize takes int8, not `%s`", o->quantize);
    return SQ_EUSAGE;
  }
  b->pass.int8 = o->quantize != NULL;
  b->pass.require_fused = o->require_fused;
  b->pass.parallel_rnn = o->parallel_rnn;
  b->cpu = o->target_cpu;
  b->arch = o->arch;
  if (!set_target(o->target, &b->device)) {
    *message = sq_arena_fmt(&ctx->arena, "target takes cpu, cuda or cuda-emu, not `%s`", o->target);
    return SQ_EUSAGE;
  }
  if (o->tf32 && (!b->device || b->front.float_type != SQ_F32)) {
    *message = "tf32 goes with float_type f32 and the target cuda or cuda-emu";
    return SQ_EUSAGE;
  }
  b->tf32 = o->tf32;
  b->cache_dir = o->cache_dir;
  return SQ_OK;
}

static sq_status just_in_time(sq_ctx *ctx, seqm_context *rt, const request *r, const sq_build *b,
                              const char **message) {
  const sq_live_ask ask = {
      .path = r->path, .text = r->text, .size = r->size, .build = b, .own_ctx = true};
  sq_live *live;
  return sq_live_open(ctx, rt, &ask, &live, r->m, message);
}

static sq_status guarded(sq_ctx *ctx, seqm_context *rt, const request *r, const char **message) {
  if (setjmp(ctx->guard.jmp)) {
    *message = "out of memory while compiling";
    return SQ_EWORLD;
  }
  sq_build b;
  SQ_TRY(fill(ctx, r->o, &b, message));
  if (r->output && b.device == SQ_DEVICE_CUDA_EMU) {
    *message = "the emulation is just in time only";
    return SQ_EUSAGE;
  }
  if (r->output) return sq_build_object(ctx, r->path, &b, r->output, r->header, message);
  return just_in_time(ctx, rt, r, &b, message);
}

static int compile(seqm_context *rt, const request *r) {
  sq_message_clear(rt);
  SQ_TRY((sq_status)sq_rt_given(rt, r->path, r->text ? "the name of the text" : "the path"));
  sq_ctx *ctx = sq_ctx_new(rt->alloc);
  if (!ctx) return sq_rt_no_memory(rt);
  const char *message = NULL;
  sq_status s = guarded(ctx, rt, r, &message);
  if (s == SQ_OK && !r->output) return SQ_OK; // the model owns ctx
  if (s && message) sq_rt_fail(rt, s, "%s", message);
  sq_ctx_free(ctx);
  return s;
}

int seqm_compile(seqm_context *ctx, const char *path, const seqm_compile_options *o,
                 seqm_model **m) {
  *m = NULL;
  return compile(ctx, &(request){.path = path, .o = o, .m = m});
}

int seqm_compile_text(seqm_context *ctx, const char *name, const char *text, size_t size,
                      const seqm_compile_options *o, seqm_model **m) {
  *m = NULL;
  SQ_TRY((sq_status)sq_rt_given(ctx, text, "the text"));
  return compile(ctx, &(request){.path = name, .text = text, .size = size, .o = o, .m = m});
}

int seqm_compile_to(seqm_context *ctx, const char *path, const seqm_compile_options *o,
                    const char *output, const char *header) {
  SQ_TRY((sq_status)sq_rt_given(ctx, output, "the output"));
  return compile(ctx, &(request){.path = path, .o = o, .output = output, .header = header});
}
