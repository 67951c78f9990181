// `seqm dump --stage ast`: one file read, parsed and printed, the files that it uses left alone.
#include "frontend/ast.h"
#include "frontend/frontend.h"

bool sq_front_dump_ast(sq_ctx *ctx, const char *path, sq_text *out) {
  char *text;
  size_t size;
  const char *why = "";
  if (sq_file_read(&ctx->arena, path, &text, &size, &why) != SQ_OK) {
    sq_error(&ctx->diags, (sq_span){0}, "cannot read `%s`: %s", path, why);
    return false;
  }
  uint32_t before = ctx->diags.errors;
  sq_ast *ast = sq_parse(ctx, sq_diags_source(&ctx->diags, path, text, size));
  if (!ast || ctx->diags.errors != before) return false;
  sq_ast_print(ast, out);
  return true;
}
