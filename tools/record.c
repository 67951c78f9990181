// Records of models in the cache: DIR/NAME.model (codegen/cpu/cache.c) holds
//
//   maker | files: name, key of the content | warnings | descriptor | keys of objects
//
// It fits when the maker is this compiler and every file has the content it had. An edit is thus
// seen however it came about, by time stamps or without; the objects are found by the hash of their
// module as before, so an edit that changes no code compiles none.
#include "tools/record.h"
#include <unistd.h>

static const char suffix[] = ".model";

// ---- as bytes ----------------------------------------------------------------------------------
static void key_bytes(sq_bytes *b, sq_cache_key *k) { sq_bytes_raw(b, k, sizeof *k); }
static void file_bytes(sq_bytes *b, sq_source *s) { sq_bytes_text(b, &s->name); }

static void record_bytes(sq_bytes *b, sq_record *r) {
  key_bytes(b, &r->maker);
  sq_bytes_u32(b, &r->n_files);
  SQ_BYTES_EACH(b, r->files, r->n_files, file_bytes);
  SQ_BYTES_PLAIN(b, r->content, r->n_files);
  sq_bytes_text(b, &r->warnings);
  if (!b->out) r->model = SQ_NEW(b->arena, sq_abi_model);
  sq_abi_bytes(b, r->model);
  SQ_BYTES_PLAIN(b, r->object[0], r->model->n_entry);
  SQ_BYTES_PLAIN(b, r->object[1], r->model->n_init);
}

// What stands in the cache under r's name, by the same maker.
static bool load(sq_ctx *ctx, sq_record *r) {
  const char *data;
  size_t size;
  sq_cache_key maker = r->maker;
  if (!sq_cache_get(&ctx->arena, r->dir, r->name, suffix, &data, &size)) return false;
  sq_bytes b = {.arena = &ctx->arena, .at = data, .end = data + size};
  record_bytes(&b, r);
  return !b.bad && b.at == b.end && sq_cache_key_same(maker, r->maker) && r->n_files > 0;
}

// ---- which record ------------------------------------------------------------------------------
static sq_cache_key key_of(const sq_text *t) { return sq_cache_key_of(t->v, t->n); }

static void add(sq_text *t, const char *s) { // told apart from others, also when NULL
  sq_text_put(t, s ? s : "\1", s ? strlen(s) + 1 : 2);
}

static bool name_of(sq_ctx *ctx, const char *path, const sq_build *b, sq_text *t) {
  char here[4096] = "";
  if (*path != '/' && !getcwd(here, sizeof here)) return false;
  const char *std = b->front.std_path ? b->front.std_path : sq_build_std_path(ctx);
  const char *const text[] = {here, path, std, b->front.preset, b->cpu};
  for (unsigned k = 0; k < sizeof text / sizeof *text; k++) add(t, text[k]);
  sq_text_add(t, "float %d, %u defines", (int)b->front.float_type, b->front.n_defines);
  for (uint32_t k = 0; k < b->front.n_defines; k++) add(t, b->front.defines[k]);
  return true;
}

static bool maker_of(const sq_build *b, const sq_target *t, sq_text *out) {
  sq_pass_options o = b->pass;
  o.machine = t->machine;
  o.device = b->device != 0;
  sq_text_add(out, "tf32 %d;", b->tf32);
  add(out, t->triple);
  add(out, t->cpu);
  add(out, t->features);
  sq_machine_key(&t->machine, out);
  sq_tuned_key(t->tuned, out);
  return sq_pass_options_plain(&o, out) && sq_codegen_identity(out);
}

bool sq_record_begin(sq_ctx *ctx, const char *dir, const char *path, const sq_build *b,
                     const sq_target *t, sq_record *r) {
  sq_text name = {.arena = &ctx->arena}, maker = {.arena = &ctx->arena};
  if (!dir || !*dir || !name_of(ctx, path, b, &name) || !maker_of(b, t, &maker)) return false;
  *r = (sq_record){.dir = sq_arena_str(&ctx->arena, dir, strlen(dir)),
                   .name = key_of(&name),
                   .maker = key_of(&maker)};
  return true;
}

// ---- finding, filling --------------------------------------------------------------------------
static bool unchanged(sq_ctx *ctx, sq_source *s, sq_cache_key content) {
  if (!s->text) {
    char *text;
    const char *why;
    if (!s->name || sq_file_read(&ctx->arena, s->name, &text, &s->size, &why)) return false;
    s->text = text;
  }
  return sq_cache_key_same(sq_cache_key_of(s->text, s->size), content);
}

bool sq_record_find(sq_ctx *ctx, const char *path, const char *text, size_t size, sq_record *r) {
  sq_record found = *r;
  if (!load(ctx, &found)) return false;
  found.files[0] = (sq_source){path, text, size};
  for (uint32_t k = 0; k < found.n_files; k++)
    if (!unchanged(ctx, &found.files[k], found.content[k])) return false;
  *r = found;
  return true;
}

void sq_record_fill(sq_ctx *ctx, const sq_front_info *info, const char *warnings,
                    sq_abi_model *model, sq_record *r) {
  sq_arena *a = &ctx->arena;
  r->files = info->files.v;
  r->n_files = info->files.n;
  r->content = SQ_ARRAY(a, sq_cache_key, r->n_files + 1);
  for (uint32_t k = 0; k < r->n_files; k++)
    r->content[k] = sq_cache_key_of(r->files[k].text, r->files[k].size);
  r->warnings = sq_arena_str(a, warnings, strlen(warnings));
  r->model = model;
  r->object[0] = SQ_ARRAY(a, sq_cache_key, model->n_entry + 1);
  r->object[1] = SQ_ARRAY(a, sq_cache_key, model->n_init + 1);
}

// ---- objects -----------------------------------------------------------------------------------
static bool is_set(sq_cache_key k) { return k.low || k.high; }

bool sq_record_known(const sq_record *r, int is_init, uint32_t k, sq_cache_key *object) {
  *object = r->object[is_init][k];
  return is_set(*object);
}

// Another process may have compiled other entries of the same model meanwhile.
static void merge(sq_ctx *ctx, sq_record *r) {
  sq_record other = *r;
  if (!load(ctx, &other) || other.n_files != r->n_files ||
      memcmp(other.content, r->content, r->n_files * sizeof *r->content) != 0)
    return;
  const uint32_t n[2] = {r->model->n_entry, r->model->n_init};
  const uint32_t m[2] = {other.model->n_entry, other.model->n_init};
  for (int i = 0; i < 2; i++)
    for (uint32_t k = 0; k < n[i] && k < m[i]; k++)
      if (!is_set(r->object[i][k])) r->object[i][k] = other.object[i][k];
}

void sq_record_add(sq_ctx *ctx, sq_record *r, int is_init, uint32_t k, sq_cache_key object) {
  merge(ctx, r);
  r->object[is_init][k] = object;
  sq_text out = {.arena = &ctx->arena};
  record_bytes(&(sq_bytes){.out = &out}, r);
  (void)sq_cache_put(r->dir, r->name, suffix, out.v, out.n); // whoever cannot write starts cold
}
