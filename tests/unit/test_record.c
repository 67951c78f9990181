// Records of models: what goes in comes out, and nothing that a file may hold is taken amiss.
#include "codegen/codegen.h"
#include "tools/record.h"
#include <criterion/criterion.h>
#include <unistd.h>

static const char source[] = "model m(d = 3) {\n"
                             "  param w[d]\n"
                             "  state total[d] = 1 kept\n"
                             "  entry forward(x[N, d], k: i32) -> y[N], z[d] {\n"
                             "    total <- total + x[k]\n"
                             "    return [n: sum(c) x[n, c] * w[c]], total\n"
                             "  }\n"
                             "}\n";
static sq_ctx *ctx;
static sq_target target;
static sq_front_info info;
static sq_abi_model *model;
static char dir[] = "/tmp/seqm-record-XXXXXX";
static const sq_build options = {.pass = {.bisect_limit = -1}, .front = {.float_type = SQ_F32}};

static void start(void) {
  const char *message = "";
  sq_graph *g;
  ctx = sq_ctx_new(sq_alloc_libc());
  cr_assert_not_null(mkdtemp(dir));
  cr_assert_eq(setjmp(ctx->guard.jmp), 0);
  cr_assert_eq(
      sq_build_text(ctx, "m.seqm", source, sizeof source - 1, &options, &g, &info, &message), SQ_OK,
      "%s", message);
  cr_assert_eq(sq_build_plan(g, &options, &target, &message), SQ_OK, "%s", message);
  model = sq_codegen_describe(g, &target);
}
static void stop(void) {
  char line[64];
  sq_ctx_free(ctx);
  snprintf(line, sizeof line, "rm -r %s", dir);
  cr_assert_eq(system(line), 0);
}
TestSuite(record, .init = start, .fini = stop);

static sq_text bytes_of(sq_abi_model *m) {
  sq_text t = {.arena = &ctx->arena};
  sq_abi_bytes(&(sq_bytes){.out = &t}, m);
  return t;
}

static bool read_back(const char *data, size_t size, sq_abi_model *m) {
  char *own = sq_arena_take(&ctx->arena, size + 1); // so that a read behind the end is seen
  memcpy(own, data, size);
  sq_bytes b = {.arena = &ctx->arena, .at = own, .end = own + size};
  *m = (sq_abi_model){0};
  sq_abi_bytes(&b, m);
  return !b.bad && b.at == b.end;
}

Test(record, descriptor_comes_back) {
  sq_text t = bytes_of(model);
  sq_abi_model back;
  cr_assert(read_back(t.v, t.n, &back));
  sq_text again = bytes_of(&back);
  cr_assert_eq(t.n, again.n);
  cr_assert_arr_eq(t.v, again.v, t.n);
  cr_assert_str_eq(back.entry[0].in[1].name, "k");
  cr_assert_str_eq(back.param[0].names[0], "w");
  cr_assert_eq(back.state[0].kept, 1);
  cr_assert_eq(back.n_init, 1);
}

Test(record, damaged_descriptors_are_refused) {
  sq_text t = bytes_of(model);
  sq_abi_model back;
  for (size_t n = 0; n < t.n; n++) cr_assert_not(read_back(t.v, n, &back));
  for (size_t k = 0; k < t.n; k++) {
    char saved = t.v[k];
    for (int bit = 0; bit < 8; bit++) {
      t.v[k] = (char)(saved ^ (1 << bit));
      (void)read_back(t.v, t.n, &back); // a number may be another; no read is outside
    }
    t.v[k] = saved;
  }
}

Test(record, found_when_nothing_changed) {
  sq_record r, found;
  cr_assert(sq_record_begin(ctx, dir, "m.seqm", &options, &target, &r));
  cr_assert_not(sq_record_find(ctx, "m.seqm", source, sizeof source - 1, &r));
  sq_record_fill(ctx, &info, "careful\n", model, &r);
  sq_record_add(ctx, &r, 1, 0, (sq_cache_key){3, 4});
  sq_record empty = r; // another process, which knows nothing of that
  empty.object[1] = SQ_ARRAY(&ctx->arena, sq_cache_key, 2);
  sq_record_add(ctx, &empty, 0, 0, (sq_cache_key){1, 2});
  cr_assert(sq_record_begin(ctx, dir, "m.seqm", &options, &target, &found));
  cr_assert(sq_record_find(ctx, "m.seqm", source, sizeof source - 1, &found));
  cr_assert_str_eq(found.warnings, "careful\n");
  sq_cache_key key;
  cr_assert(sq_record_known(&found, 0, 0, &key) && sq_cache_key_same(key, (sq_cache_key){1, 2}));
  cr_assert(sq_record_known(&found, 1, 0, &key) && sq_cache_key_same(key, (sq_cache_key){3, 4}));
  cr_assert_not(sq_record_find(ctx, "m.seqm", source, sizeof source - 2, &found));
}

Test(record, options_tell_records_apart) {
  sq_record a, b;
  sq_build o = options;
  static const char *const one[] = {"d=4"};
  cr_assert(sq_record_begin(ctx, dir, "m.seqm", &o, &target, &a));
  o.front.defines = one;
  o.front.n_defines = 1;
  cr_assert(sq_record_begin(ctx, dir, "m.seqm", &o, &target, &b));
  cr_assert_not(sq_cache_key_same(a.name, b.name));
  sq_target other = target;
  other.features = "+x";
  cr_assert(sq_record_begin(ctx, dir, "m.seqm", &o, &other, &a));
  cr_assert_not(sq_cache_key_same(a.maker, b.maker));
  o.pass.verify_each = true;
  cr_assert_not(sq_record_begin(ctx, dir, "m.seqm", &o, &target, &a));
  cr_assert_not(sq_record_begin(ctx, NULL, "m.seqm", &options, &target, &a));
}

Test(record, another_compiler_finds_nothing) {
  sq_record r;
  cr_assert(sq_record_begin(ctx, dir, "m.seqm", &options, &target, &r));
  sq_record_fill(ctx, &info, "", model, &r);
  sq_record_add(ctx, &r, 0, 0, (sq_cache_key){1, 2});
  r.maker.low ^= 1;
  cr_assert_not(sq_record_find(ctx, "m.seqm", source, sizeof source - 1, &r));
}
