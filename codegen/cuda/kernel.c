// The frame of a kernel. In: lines of its body, what it wants of the entry. Out: its text, and its
// launch in the entry.
//
//   struct step_2_generic_y_args {       the entry:  arg[0] = {0, 0}
//     sq_err err;                                    arg[1] = {address of x, bytes of x}
//     sq_ptr<float> x;                               arg[2] = {N, -1}
//     sq_int n0;                                     c->device->launch(c, 2, blocks, arg, 3)
//   };
//   SQ_KERNEL(step_2_generic_y, 128) { ... SQ_LD(a.x, i) ... }
#include "codegen/cpu/driver.h"
#include "codegen/cuda/cuda.h"
#include <ctype.h>
#include <stdarg.h>
#include <stddef.h>

// ---- text --------------------------------------------------------------------------------------
static void put_line(sq_cu *k, const char *fmt, va_list ap) {
  char small[512];
  va_list again;
  va_copy(again, ap);
  int n = vsnprintf(small, sizeof small, fmt, ap);
  char *text = small;
  if (n >= (int)sizeof small) {
    text = SQ_ARRAY(k->a, char, n + 1);
    vsnprintf(text, (size_t)n + 1, fmt, again);
  }
  va_end(again);
  for (uint32_t i = 0; i < k->indent; i++) sq_text_put(&k->body, "  ", 2);
  sq_text_put(&k->body, text, (size_t)n);
  sq_text_put(&k->body, "\n", 1);
}
void sq_cu_line(sq_cu *k, const char *fmt, ...) {
  va_list ap;
  va_start(ap, fmt);
  put_line(k, fmt, ap);
  va_end(ap);
}
void sq_cu_open(sq_cu *k, const char *fmt, ...) {
  va_list ap;
  va_start(ap, fmt);
  put_line(k, fmt, ap);
  va_end(ap);
  k->indent++;
}
void sq_cu_close(sq_cu *k) {
  k->indent--;
  sq_cu_line(k, "}");
}
const char *sq_cu_temp(sq_cu *k, const char *prefix) {
  return sq_arena_fmt(k->a, "%s%u", prefix, k->n_temp++);
}

void sq_cu_dynamic(sq_cu *k, bool sm_90a, const char *type, const char *name, uint32_t n,
                   uint32_t bytes, uint32_t align) {
  uint32_t *end = &k->room[sm_90a], at = (*end + align - 1) / align * align;
  sq_cu_line(k, "SQ_DYNAMIC(%s, %s, %u, %u);", type, name, at, n);
  *end = at + bytes;
}

static const struct {
  const char *reg, *mem;
} types[SQ_DTYPE_COUNT] = {
    [SQ_F64] = {"double", "double"}, [SQ_F32] = {"float", "float"},
    [SQ_F16] = {"float", "sq_f16"},  [SQ_BF16] = {"float", "sq_bf16"},
    [SQ_I64] = {"sq_i64", "sq_i64"}, [SQ_I32] = {"sq_i32", "sq_i32"},
    [SQ_I8] = {"sq_i8", "sq_i8"},    [SQ_U8] = {"sq_u8", "sq_u8"},
    [SQ_BOOL] = {"bool", "sq_b8"},
};
const char *sq_cu_type(sq_dtype t) { return types[t].reg; }
const char *sq_cu_mem_type(sq_dtype t) { return types[t].mem; }

// ---- arguments ---------------------------------------------------------------------------------
static const char *add_arg(sq_cu *k, LLVMValueRef value, LLVMValueRef bytes, const char *type,
                           const char *prefix) {
  for (uint32_t i = 0; i < k->arg.n; i++)
    if (k->arg.v[i].value == value && k->arg.v[i].bytes == bytes && bytes == NULL)
      return k->arg.v[i].name;
  const char *name = sq_arena_fmt(k->a, "a.%s%u", prefix, k->arg.n);
  sq_push(k->a, &k->arg, (sq_cu_arg){value, bytes, name});
  sq_text_add(&k->args, "  %s %s;\n", type, name + 2);
  return name;
}
const char *sq_cu_number(sq_cu *k, LLVMValueRef v) {
  if (LLVMIsAConstantInt(v))
    return sq_arena_fmt(k->a, "%lldll", (long long)LLVMConstIntGetSExtValue(v));
  return add_arg(k, v, NULL, "sq_int", "n");
}
const char *sq_cu_host(sq_cu *k, const sq_value *v) {
  if (!sq_host_has(k->cg, v)) return NULL;
  return add_arg(k, sq_host_word(k->cg, v), NULL, "sq_int", "n");
}
const char *sq_cu_dim(sq_cu *k, sq_dim d) {
  int64_t c;
  if (sq_dim_is_const(k->g->dims, d, &c))
    return c == INT64_MIN ? "(-9223372036854775807ll - 1)"
                          : sq_arena_fmt(k->a, "%lld", (long long)c);
  while (k->dim.n <= d.i) sq_push(k->a, &k->dim, NULL);
  if (!k->dim.v[d.i]) k->dim.v[d.i] = sq_cu_number(k, sq_cg_dim(k->cg, d));
  return k->dim.v[d.i];
}
const char *sq_cu_memory(sq_cu *k, LLVMValueRef at, LLVMValueRef bytes, const char *type) {
  return add_arg(k, at, bytes, sq_arena_fmt(k->a, "sq_ptr<%s>", type), "p");
}
const char *sq_cu_pointer(sq_cu *k, const sq_value *v) {
  while (k->pointer.n <= v->id) sq_push(k->a, &k->pointer, NULL);
  bool elsewhere = v->store == SQ_STORE_STATE || v->store == SQ_STORE_INPUT;
  if (!k->pointer.v[v->id] && sq_host_has(k->cg, v) && !elsewhere)
    sq_host_settle(k->cg, v, sq_cg_pointer(k->cg, v));
  if (!k->pointer.v[v->id])
    k->pointer.v[v->id] = sq_cu_memory(k, sq_cg_pointer(k->cg, v), sq_cg_bytes(k->cg, v),
                                       sq_cu_mem_type(v->type.dtype));
  return k->pointer.v[v->id];
}

const char *sq_cu_map_add(sq_cu *k, const sq_cu_map *map) {
  enum { F16 = 6, BF16 = 9, SWIZZLE_128 = 3 };
  sq_cg *cg = k->cg;
  LLVMValueRef row[SQ_CU_MAP_ROWS];
  uint32_t n = 0, axis;
  row[n++] = map->at;
  row[n++] = sq_cg_i64(cg, map->type == SQ_F16 ? F16 : BF16);
  row[n++] = sq_cg_i64(cg, map->rank);
  for (axis = 0; axis < SQ_CU_MAP_AXES; axis++)
    row[n++] = axis < map->rank ? map->dim[axis] : sq_cg_i64(cg, 1);
  for (axis = 0; axis + 1 < SQ_CU_MAP_AXES; axis++)
    row[n++] = axis + 1 < map->rank ? map->stride[axis] : sq_cg_i64(cg, 0);
  for (axis = 0; axis < SQ_CU_MAP_AXES; axis++)
    row[n++] = sq_cg_i64(cg, axis < map->rank ? map->box[axis] : 1);
  row[n++] = sq_cg_i64(cg, SWIZZLE_128);
  row[n++] = sq_cg_i64(cg, 0);
  const char *name = sq_arena_fmt(k->a, "a.map%u", k->map.n / SQ_CU_MAP_ROWS);
  for (uint32_t i = 0; i < SQ_CU_MAP_ROWS; i++)
    sq_push(k->a, &k->map, (sq_cu_arg){row[i], i ? NULL : map->bytes, NULL});
  return name;
}

// ---- sizes in the entry ------------------------------------------------------------------------
LLVMValueRef sq_cu_mul(sq_cu *k, LLVMValueRef a, LLVMValueRef b) {
  return LLVMBuildMul(k->cg->builder, a, b, "");
}
static LLVMValueRef at_least_0(sq_cu *k, LLVMValueRef v) {
  LLVMValueRef zero = sq_cg_i64(k->cg, 0);
  LLVMBuilderRef b = k->cg->builder;
  return LLVMBuildSelect(b, LLVMBuildICmp(b, LLVMIntSLT, v, zero, ""), zero, v, "");
}
// Where there are no elements nothing is copied.
LLVMValueRef sq_cu_some(sq_cu *k, LLVMValueRef n) {
  LLVMValueRef one = sq_cg_i64(k->cg, 1);
  LLVMBuilderRef b = k->cg->builder;
  return LLVMBuildSelect(b, LLVMBuildICmp(b, LLVMIntSLT, n, one, ""), one, n, "");
}
LLVMValueRef sq_cu_units(sq_cu *k, const sq_generic *g, uint32_t n_axes) {
  LLVMValueRef n = sq_cg_i64(k->cg, 1);
  for (uint32_t i = 0; i < n_axes; i++)
    n = sq_cu_mul(k, n, at_least_0(k, sq_cg_dim(k->cg, g->axis[i].extent)));
  return n;
}

// ---- begin and end -----------------------------------------------------------------------------
static const char err_line[] = "  sq_err err;\n";
static void put_name(sq_text *t, const char *s) {
  for (; *s; s++) sq_text_add(t, "%c", isalnum((unsigned char)*s) ? *s : '_');
}
void sq_cu_begin(sq_cu *k, sq_cg *cg, const char *what, const sq_value *v, uint32_t threads) {
  *k = (sq_cu){.cg = cg, .g = cg->graph, .a = cg->scratch, .threads = threads, .indent = 1};
  sq_text name = {.arena = k->a};
  put_name(&name, cg->func->name);
  sq_text_add(&name, "_%u_", ((const sq_cuda *)cg->kernels)->kernel.n);
  put_name(&name, what);
  if (v && v->name) {
    sq_text_put(&name, "_", 1);
    put_name(&name, v->name);
  }
  k->name = name.v;
  k->args.arena = k->body.arena = k->a;
  sq_text_put(&k->args, err_line, sizeof err_line - 1);
  sq_text_put(&k->body, "", 0);
  sq_push(k->a, &k->arg, (sq_cu_arg){sq_cg_i64(cg, 0), sq_cg_i64(cg, 0), "a.err"});
}

static LLVMValueRef block_count(sq_cu *k, LLVMValueRef units, int64_t per_block, int64_t most) {
  LLVMBuilderRef b = k->cg->builder;
  LLVMValueRef n = LLVMBuildAdd(b, units, sq_cg_i64(k->cg, per_block - 1), "");
  n = LLVMBuildSDiv(b, n, sq_cg_i64(k->cg, per_block), "");
  LLVMValueRef top = sq_cg_i64(k->cg, most ? most : 1 << 20);
  return LLVMBuildSelect(b, LLVMBuildICmp(b, LLVMIntSGT, n, top, ""), top, n, "");
}

// With tensor maps, words of 8 bytes: the error word, 7 of nothing, the maps at multiples of 64, the rest, and
// nothing up to the structure's own multiple of 64.
static void place_maps(sq_cu *k) {
  const uint32_t n_map = k->map.n / SQ_CU_MAP_ROWS, old = k->arg.n;
  const sq_cu_arg nothing = {sq_cg_i64(k->cg, 0), NULL, NULL}, *given = k->arg.v;
  if (!n_map) return;
  sq_text text = {.arena = k->a};
  sq_text_add(&text, "%s  sq_int before[7];\n  sq_map map0", err_line);
  for (uint32_t i = 1; i < n_map; i++) sq_text_add(&text, ", map%u", i);
  sq_text_add(&text, ";\n%s", k->args.v + sizeof err_line - 1);
  k->arg.v = NULL;
  k->arg.n = k->arg.cap = 0;
  sq_push(k->a, &k->arg, given[0]);
  for (uint32_t i = 1; i < 8; i++) sq_push(k->a, &k->arg, nothing);
  for (uint32_t i = 0; i < k->map.n; i++) sq_push(k->a, &k->arg, k->map.v[i]);
  for (uint32_t i = 1; i < old; i++) sq_push(k->a, &k->arg, given[i]);
  const uint32_t after = (8 - k->arg.n % 8) % 8;
  if (after) sq_text_add(&text, "  sq_int after[%u];\n", after);
  for (uint32_t i = 0; i < after; i++) sq_push(k->a, &k->arg, nothing);
  k->args = text;
}
// The arguments as rows of sq_device_arg on the entry's stack: a launch is done with them when it
// returns, so that small kernels share their place.
static LLVMValueRef args_room(sq_cu *k) {
  enum { SHARED = 64 };
  sq_driver *dr = sq_cg_driver(k->cg);
  bool small = k->arg.n <= SHARED;
  if (small && dr->args) return dr->args;
  LLVMValueRef n = sq_cg_i64(k->cg, 2 * (int64_t)(small ? SHARED : k->arg.n));
  LLVMValueRef at = LLVMBuildArrayAlloca(dr->head, sq_cg_type_i64(k->cg), n, "arg");
  if (small) dr->args = at;
  return at;
}
static LLVMValueRef put_args(sq_cu *k) {
  sq_cg *cg = k->cg;
  LLVMValueRef at = args_room(k);
  for (uint32_t i = 0; i < k->arg.n; i++) {
    LLVMValueRef v = k->arg.v[i].value, bytes = k->arg.v[i].bytes;
    LLVMValueRef row = sq_cg_add_bytes(cg, at, sq_cg_i64(cg, 16 * (int64_t)i));
    LLVMBuildStore(cg->builder, v, row);
    LLVMBuildStore(cg->builder, bytes ? bytes : sq_cg_i64(cg, -1),
                   sq_cg_add_bytes(cg, row, sq_cg_i64(cg, 8)));
  }
  return at;
}
// What launches bring, where the kernel has room: for sm_90a, for the rest, or for all.
static void put_room(const sq_cu *k, sq_text *to) {
  const bool other = k->room[0] != 0, sm_90a = k->room[1] != 0;
  if (!other && !sm_90a) return;
  if (other != sm_90a) sq_text_add(to, "#if %sSQ_WGMMA\n", sm_90a ? "" : "!");
  sq_text_add(to, "SQ_ROOM(%u, %u)\n", k->room[0], k->room[1]);
  if (other != sm_90a) sq_text_put(to, "#endif\n", 7);
}
// The number of the kernel: that of an equal one, or a new one's. Layers that are not a loop have the
// same kernels again and again, and compiling is what takes long.
static uint32_t kernel_number(sq_cu *k, sq_cuda *c) {
  sq_text t = {.arena = k->a};
  sq_text_add(&t, "%s%u %u %d %u %u\n", k->args.v, k->threads, k->blocks, k->syncs, k->room[0],
              k->room[1]);
  sq_text_put(&t, k->body.v, k->body.n);
  sq_cache_key key = sq_cache_key_of(t.v, t.n);
  for (uint32_t i = 0; i < c->kernel.n; i++)
    if (sq_cache_key_same(c->kernel.v[i].key, key)) return i;
  sq_text_add(&c->text, "struct %s_args {\n%s};\n", k->name, k->args.v);
  put_room(k, &c->text);
  if (k->blocks)
    sq_text_add(&c->text, "SQ_KERNEL_OF(%s, %u, %u) {\n", k->name, k->threads, k->blocks);
  else
    sq_text_add(&c->text, "SQ_KERNEL(%s, %u) {\n", k->name, k->threads);
  sq_text_put(&c->text, k->body.v, k->body.n);
  sq_text_put(&c->text, "}\n\n", 3);
  const char *name = sq_arena_str(c->arena, k->name, strlen(k->name));
  sq_push(c->arena, &c->kernel,
          (sq_cuda_kernel_info){name,
                                k->threads,
                                k->arg.n,
                                k->map.n / SQ_CU_MAP_ROWS,
                                k->syncs,
                                {k->room[0], k->room[1]},
                                key});
  return c->kernel.n - 1;
}
void sq_cu_launch(sq_cu *k, LLVMValueRef units, int64_t per_block, int64_t most) {
  sq_cg *cg = k->cg;
  sq_cuda *c = cg->kernels;
  place_maps(k);
  LLVMValueRef arg[4] = {sq_cg_i32(cg, (int32_t)kernel_number(k, c)),
                         block_count(k, units, per_block, most), put_args(k),
                         sq_cg_i32(cg, (int32_t)k->arg.n)};
  sq_cg_device_call(cg, offsetof(sq_device, launch), arg, 4);
}
