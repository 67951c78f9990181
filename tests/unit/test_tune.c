// The search of --tune as the command runs it: what it leaves in the machine's table.
#include "codegen/cpu/cut.h"
#include "tools/tune.h"
#include <criterion/criterion.h>
#include <stdlib.h>
#include <unistd.h>

// A parameter that no call reads needs no weights.
static const char model[] = "model two() {\n"
                            "  param v[200, 300]\n"
                            "  entry one(x: f32[N, 300]) -> [N, 200] {\n"
                            "    return [n, m: sum(k) x[n, k] * v[m, k]]\n  }\n"
                            "  entry other(x: f32[N, 130], w: f32[96, 130]) -> [N, 96] {\n"
                            "    return [n, m: sum(k) x[n, k] * w[m, k]]\n  }\n"
                            "  entry none(x: f32[N]) -> [N] { return [n: x[n] + 1.0] }\n}\n";

typedef struct finder {
  sq_graph *g;
  const sq_target *t;
  const char *class;
} finder;
static void look(sq_node *n, void *user) {
  finder *f = user;
  sq_cut_info c;
  if (n->g && sq_cut_explain(f->g, f->t, n, NULL, &c) && strstr(n->block->func->name, "one"))
    f->class = sq_arena_fmt(f->g->arena, "%s", c.class);
}

static const char *class_of_one(sq_ctx *ctx, const char *path, sq_target *t) {
  sq_build b = {.pass = {.bisect_limit = -1}, .front = {.float_type = SQ_F32}, .cache_dir = ""};
  sq_graph *g;
  const char *message = "", *note;
  cr_assert_eq(sq_build_target(ctx, &b, t, &note, &message), SQ_OK, "%s", message);
  cr_assert_eq(sq_build_graph(ctx, path, &b, &g, NULL, &message), SQ_OK, "%s", message);
  cr_assert_eq(sq_build_plan(g, &b, t, &message), SQ_OK, "%s", message);
  finder f = {g, t, NULL};
  for (uint32_t k = 0; k < g->func.n; k++) sq_walk(g->func.v[k]->body, look, &f);
  cr_assert(f.class);
  return f.class;
}

static void tune(const char *path, char *entry) {
  sq_cli cli = {.ctx = sq_ctx_new(sq_alloc_libc())};
  bool help = false;
  char *argv[] = {(char *)(uintptr_t)path,
                  "--random-weights",
                  "1",
                  "--tune",
                  "--size",
                  "N=64",
                  "--call",
                  entry};
  cr_assert_eq(sq_cli_parse(&cli, SQ_CMD_BENCH, 8, argv, &help), SQ_OK);
  cr_assert_eq(sq_tune(&cli), SQ_OK);
  sq_ctx_free(cli.ctx);
}

// A class that the calls do not reach keeps what was found for it.
Test(tune, what_was_found_for_others_stays) {
  sq_ctx *ctx = sq_ctx_new(sq_alloc_libc());
  sq_arena *a = &ctx->arena;
  char home[] = "/tmp/seqm-tune-XXXXXX";
  cr_assert(mkdtemp(home));
  setenv("XDG_CACHE_HOME", home, 1);
  const char *dir = sq_arena_fmt(a, "%s/seqm", home), *path = sq_arena_fmt(a, "%s/two.seqm", home);
  FILE *f = fopen(path, "w");
  cr_assert(f && fputs(model, f) >= 0 && fclose(f) == 0);
  sq_target t;
  const char *class = class_of_one(ctx, path, &t);
  sq_gemm_cut c = sq_gemm_cut_of(&t.machine);
  sq_tuned_row row = sq_tuned_of_gemm(class, &c, 1.25f);
  cr_assert_eq(system(sq_arena_fmt(a, "mkdir %s", dir)), 0);
  cr_assert(sq_tuned_store(a, dir, &t, sq_tuned_with(a, NULL, &row)));
  char *calls[] = {"none", "other"};
  for (int k = 0; k < 2; k++) {
    bool broken;
    tune(path, calls[k]);
    t.tuned = sq_tuned_load(a, dir, &t, &broken);
    cr_assert(t.tuned && !broken);
    const sq_tuned_row *r = sq_tuned_find(&t, class);
    cr_expect(r && r->gain == 1.25f, "after %s", calls[k]);
  }
  cr_assert_eq(system(sq_arena_fmt(a, "rm -r %s", home)), 0);
  sq_ctx_free(ctx);
}
