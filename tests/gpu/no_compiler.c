// The command without the compiler: `run`, `bench` and `dump` of shared objects, for a machine that has a
// graphics processor but no LLVM. What would compile says so.
#include "tools/jit_model.h"
#include "tools/model.h"
#include "tools/peak.h"
#include "tools/tune.h"

static sq_status none(void) {
  return sq_complain(SQ_EWORLD, "this command has no compiler: it runs shared objects alone");
}
sq_status sq_cmd_check(sq_cli *cli) { return cli ? none() : SQ_OK; }
sq_status sq_cmd_compile(sq_cli *cli) { return cli ? none() : SQ_OK; }
sq_status sq_cmd_explain(sq_cli *cli) { return cli ? none() : SQ_OK; }
sq_status sq_cmd_graph(sq_cli *cli) { return cli ? none() : SQ_OK; }
sq_status sq_cmd_opt(sq_cli *cli) { return cli ? none() : SQ_OK; }
sq_status sq_tune(sq_cli *cli) { return cli ? none() : SQ_OK; }
sq_status sq_cmd_dump(sq_cli *cli) {
  return sq_is_object(cli->model) ? sq_dump_object(cli) : none();
}

sq_status sq_cli_pass(const char *name) { return name ? none() : SQ_OK; }
sq_status sq_build_float(const char *name, sq_dtype *t) {
  *t = SQ_F32;
  return name ? SQ_EUSAGE : SQ_OK;
}
sq_status sq_build_graph(sq_ctx *ctx, const char *path, const sq_build *b, sq_graph **g,
                         sq_front_info *info, const char **message) {
  (void)ctx, (void)path, (void)b, (void)g, (void)info;
  *message = "this command has no compiler: it runs shared objects alone";
  return SQ_EWORLD;
}
sq_status sq_live_open(sq_ctx *ctx, seqm_context *rt, const sq_live_ask *ask, sq_live **live,
                       seqm_model **m, const char **message) {
  (void)rt, (void)live, (void)m;
  return sq_build_graph(ctx, ask->path, NULL, NULL, NULL, message);
}
sq_graph *sq_live_graph(sq_live *live, const char **message) {
  (void)live;
  *message = "no graph";
  return NULL;
}
bool sq_live_recalled(const sq_live *live) { return !live; }
sq_abi_model *sq_codegen_describe(sq_graph *g, const sq_target *t) {
  (void)g, (void)t;
  return NULL;
}

sq_peak sq_peak_find(sq_ctx *ctx, int threads) {
  (void)ctx, (void)threads;
  return (sq_peak){.flops = 1, .bytes = 1};
}
sq_status sq_peak_calibrate(sq_ctx *ctx, int threads) {
  (void)ctx, (void)threads;
  return none();
}
