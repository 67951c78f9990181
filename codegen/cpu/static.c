// The descriptor as data. In: an sq_abi_model in memory and the functions of its entries. Out: LLVM
// constants with the same layout as the C structures of runtime/abi.h:
//
//   { i32 version, ptr name, ... } seqm_model -> [n x { ptr, i32, ... }] entries -> [n x i64] sizes
//
// Structures are written field by field in the order of abi.h; LLVM pads unpacked structures as C.
#include "codegen/cpu/static.h"

typedef struct writer {
  sq_unit *u;
  LLVMTypeRef ptr, i32, i64;
} writer;

static LLVMValueRef u32(const writer *w, uint32_t v) { return LLVMConstInt(w->i32, v, 0); }

static LLVMValueRef global(const writer *w, LLVMValueRef content) {
  LLVMValueRef g = LLVMAddGlobal(w->u->module, LLVMTypeOf(content), "");
  LLVMSetInitializer(g, content);
  LLVMSetGlobalConstant(g, 1);
  LLVMSetLinkage(g, LLVMPrivateLinkage);
  LLVMSetUnnamedAddress(g, LLVMGlobalUnnamedAddr);
  return g;
}

static LLVMValueRef text(const writer *w, const char *s) {
  if (!s) return LLVMConstNull(w->ptr);
  return global(w, LLVMConstStringInContext2(w->u->ctx, s, strlen(s), 0));
}

// An array of equal things as a global; NULL when there are none.
static LLVMValueRef array(const writer *w, LLVMValueRef *v, uint32_t n) {
  if (n == 0) return LLVMConstNull(w->ptr);
  return global(w, LLVMConstArray2(LLVMTypeOf(v[0]), v, n));
}

static LLVMValueRef *values(const writer *w, uint32_t n) {
  return SQ_ARRAY(&w->u->scratch, LLVMValueRef, n + 1);
}

static LLVMValueRef record(const writer *w, LLVMValueRef *fields, uint32_t n) {
  return LLVMConstStructInContext(w->u->ctx, fields, n, 0);
}
#define RECORD(w, ...)                                                                             \
  record((w), (LLVMValueRef[]){__VA_ARGS__},                                                       \
         sizeof((LLVMValueRef[]){__VA_ARGS__}) / sizeof(LLVMValueRef))

static LLVMValueRef texts(const writer *w, const char *const *s, uint32_t n) {
  LLVMValueRef *v = values(w, n);
  for (uint32_t k = 0; k < n; k++) v[k] = text(w, s[k]);
  return array(w, v, n);
}

static LLVMValueRef words(const writer *w, const int64_t *word, uint32_t n) {
  LLVMValueRef *v = values(w, n);
  for (uint32_t k = 0; k < n; k++) v[k] = LLVMConstInt(w->i64, (unsigned long long)word[k], 1);
  return array(w, v, n);
}

static LLVMValueRef numbers(const writer *w, const uint32_t *number, uint32_t n) {
  LLVMValueRef *v = values(w, n);
  for (uint32_t k = 0; k < n; k++) v[k] = u32(w, number[k]);
  return array(w, v, n);
}

static LLVMValueRef expr(const writer *w, const sq_abi_expr *e) {
  return RECORD(w, words(w, e->code, e->n), u32(w, e->n));
}

static LLVMValueRef tensors(const writer *w, const sq_abi_tensor *t, uint32_t n) {
  LLVMValueRef *v = values(w, n);
  for (uint32_t k = 0; k < n; k++) {
    LLVMValueRef *dim = values(w, t[k].rank);
    for (uint32_t j = 0; j < t[k].rank; j++) dim[j] = expr(w, &t[k].dim[j]);
    v[k] = RECORD(w, text(w, t[k].name), u32(w, t[k].dtype), u32(w, t[k].rank),
                  array(w, dim, t[k].rank), u32(w, t[k].binds));
  }
  return array(w, v, n);
}

static LLVMValueRef requires_(const writer *w, const sq_abi_require *r, uint32_t n) {
  LLVMValueRef *v = values(w, n);
  for (uint32_t k = 0; k < n; k++)
    v[k] = RECORD(w, expr(w, &r[k].a), expr(w, &r[k].b), u32(w, r[k].equal), u32(w, r[k].site));
  return array(w, v, n);
}

static LLVMValueRef entries(const writer *w, const sq_abi_entry *e, uint32_t n,
                            LLVMValueRef *code) {
  LLVMValueRef *v = values(w, n);
  for (uint32_t k = 0; k < n; k++)
    v[k] = RECORD(w, text(w, e[k].name), u32(w, e[k].n_in), u32(w, e[k].n_out),
                  tensors(w, e[k].in, e[k].n_in), tensors(w, e[k].out, e[k].n_out),
                  u32(w, e[k].n_require), requires_(w, e[k].require, e[k].n_require),
                  expr(w, &e[k].arena), u32(w, e[k].n_param), u32(w, e[k].n_state),
                  numbers(w, e[k].param, e[k].n_param), numbers(w, e[k].state, e[k].n_state),
                  u32(w, e[k].writes), code[k]);
  return array(w, v, n);
}

static LLVMValueRef params(const writer *w, const sq_abi_param *p, uint32_t n) {
  LLVMValueRef *v = values(w, n);
  for (uint32_t k = 0; k < n; k++)
    v[k] = RECORD(w, text(w, p[k].name), u32(w, p[k].dtype), u32(w, p[k].rank),
                  words(w, p[k].dim, p[k].rank), u32(w, p[k].count), u32(w, p[k].n_alt),
                  texts(w, p[k].names, p[k].count * p[k].n_alt), u32(w, p[k].row),
                  u32(w, p[k].written), u32(w, p[k].frozen));
  return array(w, v, n);
}

static LLVMValueRef states(const writer *w, const sq_abi_state *s, uint32_t n) {
  LLVMValueRef *v = values(w, n);
  for (uint32_t k = 0; k < n; k++)
    v[k] = RECORD(w, text(w, s[k].name), u32(w, s[k].dtype), u32(w, s[k].rank),
                  words(w, s[k].dim, s[k].rank), u32(w, s[k].count),
                  texts(w, s[k].names, s[k].count), u32(w, s[k].row),
                  u32(w, (uint32_t)s[k].grow_axis), u32(w, s[k].grow_sym), u32(w, s[k].kept),
                  u32(w, s[k].derived), u32(w, s[k].init), u32(w, s[k].has_instances));
  return array(w, v, n);
}

static LLVMValueRef sites(const writer *w, const sq_abi_site *s, uint32_t n) {
  LLVMValueRef *v = values(w, n);
  for (uint32_t k = 0; k < n; k++)
    v[k] = RECORD(w, text(w, s[k].file), u32(w, s[k].line), u32(w, s[k].column),
                  text(w, s[k].message), text(w, s[k].source));
  return array(w, v, n);
}

// An image is data, aligned as the driver likes it.
static LLVMValueRef image(const writer *w, const sq_abi_image *i, uint32_t n_kernel) {
  LLVMValueRef content =
      LLVMConstStringInContext2(w->u->ctx, (const char *)i->data, (size_t)i->size, 1);
  LLVMValueRef data = global(w, content);
  LLVMSetAlignment(data, 64);
  LLVMValueRef *room = values(w, n_kernel);
  for (uint32_t k = 0; k < n_kernel; k++) room[k] = u32(w, i->room[k]);
  return RECORD(w, text(w, i->arch), data, LLVMConstInt(w->i64, i->size, 0),
                array(w, room, n_kernel), u32(w, i->maps));
}

static LLVMValueRef kernels(const writer *w, const sq_abi_kernels *k) {
  if (!k) return LLVMConstNull(w->ptr);
  LLVMValueRef *kernel = values(w, k->n_kernel), *images = values(w, k->n_image);
  for (uint32_t i = 0; i < k->n_kernel; i++)
    kernel[i] = RECORD(w, text(w, k->kernel[i].name), u32(w, k->kernel[i].threads),
                       u32(w, k->kernel[i].n_arg), u32(w, k->kernel[i].n_map));
  for (uint32_t i = 0; i < k->n_image; i++) images[i] = image(w, &k->image[i], k->n_kernel);
  return global(w, RECORD(w, u32(w, k->n_kernel), u32(w, k->n_image), array(w, kernel, k->n_kernel),
                          array(w, images, k->n_image)));
}

void sq_static_model(sq_unit *u, const sq_abi_model *m, LLVMValueRef *entry, LLVMValueRef *init) {
  writer w = {.u = u,
              .ptr = LLVMPointerTypeInContext(u->ctx, 0),
              .i32 = LLVMInt32TypeInContext(u->ctx),
              .i64 = LLVMInt64TypeInContext(u->ctx)};
  LLVMValueRef content = RECORD(
      &w, u32(&w, m->version), text(&w, m->name), u32(&w, m->float_dtype), u32(&w, m->n_sym),
      texts(&w, m->sym_names, m->n_sym), u32(&w, m->n_entry), u32(&w, m->n_init),
      u32(&w, m->n_param), u32(&w, m->n_state), u32(&w, m->n_site),
      entries(&w, m->entry, m->n_entry, entry), entries(&w, m->init, m->n_init, init),
      params(&w, m->param, m->n_param), states(&w, m->state, m->n_state),
      sites(&w, m->site, m->n_site), text(&w, m->config), text(&w, m->cpu), u32(&w, m->n_feature),
      texts(&w, m->feature, m->n_feature), u32(&w, m->device), kernels(&w, m->kernels));
  LLVMValueRef model = LLVMAddGlobal(u->module, LLVMTypeOf(content), "seqm_model");
  LLVMSetInitializer(model, content);
  LLVMSetGlobalConstant(model, 1);
  LLVMSetLinkage(model, LLVMWeakAnyLinkage);
  LLVMAddAlias2(u->module, LLVMTypeOf(content), 0, model, sq_c_descriptor(&u->scratch, m->name));
}
