// `seqm compile`: a model file to a shared object (or an object) and a C header.
#include "tools/model.h"
#include "tools/object.h"
#include "tools/progress.h"
#include "tools/tune.h"

sq_status sq_cmd_compile(sq_cli *cli) {
  sq_build b;
  const char *message = "";
  SQ_TRY(sq_cli_build(cli, &b));
  if (b.device == SQ_DEVICE_CUDA_EMU || (cli->target && !strcmp(cli->target, "interp")))
    return sq_complain(SQ_EUSAGE, "`seqm compile` makes code for cpu or cuda, not for `%s`",
                       cli->target);
  if (!cli->output) return sq_complain(SQ_EUSAGE, "`seqm compile` needs -o out.so (or out.o)");
  if (!cli->tune && (cli->sizes.n || cli->calls.n))
    return sq_complain(SQ_EUSAGE, "--size and --call of `seqm compile` say what --tune times");
  if (cli->tune) {
    cli->random_weights = true;
    SQ_TRY(sq_tune(cli));
  }
  sq_progress line;
  sq_progress_begin(&line, "compiling");
  sq_status s = sq_build_object(cli->ctx, cli->model, &b, cli->output, cli->header, &message);
  sq_progress_end(&line);
  return s ? sq_print_failure(s, message) : SQ_OK;
}
