// What the files of CUDA code generation share: the text of an entry's kernels, the kernel under
// construction, the scalar part of one loop nest.
//
//   operation --nest.c, group.c, write.c, order.c--> text of kernels, launches in the entry
//   text of an entry --source.c--> a translation unit --nvrtc.c | emu_build.c--> code
#pragma once
#include "codegen/cuda/kernels.h"
#include "codegen/cuda/nvrtc.h"

// ---- the text of an entry (source.c) -----------------------------------------------------------
typedef struct sq_cuda_kernel_info {
  const char *name;
  uint32_t threads, n_arg, n_map;
  bool syncs;       // its threads wait for one another
  uint32_t room[2]; // bytes of shared memory that a launch brings: elsewhere, on sm_90a
  sq_cache_key key; // of its text but for the name: equal ones are one
} sq_cuda_kernel_info;
typedef struct sq_cuda {
  sq_arena *arena;
  sq_text text; // of the kernels
  SQ_VEC(sq_cuda_kernel_info) kernel;
} sq_cuda;
sq_cuda *sq_cuda_new(sq_arena *a);
// A whole translation unit: for the emulation, or for NVRTC.
void sq_cuda_unit(const sq_cuda *c, bool emulated, sq_text *out);

// The kernels compiled for each architecture of `arch`, n of them: "sm_90a" a cubin, "compute_80" PTX;
// from the cache in cache_dir (NULL: none) or by NVRTC (build.c). All is in the arena.
sq_status sq_cuda_build(sq_arena *a, const sq_cuda *c, sq_nvrtc *nvrtc, const char *const *arch,
                        uint32_t n, const char *cache_dir, sq_abi_kernels **out,
                        const char **message);
// What a device should get: its own architecture, or PTX where NVRTC does not know that.
sq_status sq_cuda_arch_of(sq_arena *a, sq_nvrtc *nvrtc, const sq_abi_gpu *gpu, const char **arch,
                          const char **message);
// "sm_80,sm_90a" to these and the PTX of the lowest; at most SQ_CUDA_ARCHS of them.
enum { SQ_CUDA_ARCHS = 16 };
#define SQ_CUDA_ARCH_LIST "sm_80,sm_90a" // where nothing is said
sq_status sq_cuda_arch_list(sq_arena *a, const char *list, const char **arch, uint32_t *n,
                            const char **message);

// The words that kernels are written in, from device/ (words.c).
extern const char sq_cuda_types[], sq_cuda_common[], sq_cuda_gpu[], sq_cuda_emu[],
    sq_cuda_emu_thread[];

// ---- a kernel under construction (kernel.c) ----------------------------------------------------
typedef struct sq_cu_arg {
  LLVMValueRef value, bytes; // i64 or ptr; bytes NULL: a number
  const char *name;
} sq_cu_arg;
// A tensor map: 16 rows of the arguments, as runtime/cuda_map.c has them.
enum { SQ_CU_MAP_ROWS = 16, SQ_CU_MAP_AXES = 4 };
typedef struct sq_cu_map {
  LLVMValueRef at, bytes; // where the element 0, 0, ... is, and how much is behind it
  sq_dtype type;          // f16 or bf16
  uint32_t rank;
  LLVMValueRef dim[SQ_CU_MAP_AXES], stride[SQ_CU_MAP_AXES - 1]; // elements; bytes
  uint32_t box[SQ_CU_MAP_AXES];
} sq_cu_map;
typedef struct sq_cu {
  sq_cg *cg;
  sq_graph *g;
  sq_arena *a;
  const char *name;
  sq_text args, body;
  SQ_VEC(sq_cu_arg) arg;
  SQ_VEC(sq_cu_arg) map;               // rows of tensor maps
  SQ_VEC(const char *) dim;            // by dim id: its name in the kernel
  SQ_VEC(const char *) pointer, inner; // by value id
  uint32_t indent, threads, n_temp;
  uint32_t blocks; // that a multiprocessor has registers for; 0: as the compiler likes
  bool syncs;
  uint32_t room[2]; // bytes of shared memory that a launch brings: elsewhere, on sm_90a
} sq_cu;
// `what`: "generic"; the name of `v` is added.
void sq_cu_begin(sq_cu *k, sq_cg *cg, const char *what, const sq_value *v, uint32_t threads);
// Ends the kernel and launches it at the entry's place: `units` (i64 in the entry) of which a block
// takes per_block; at most `most` blocks (0: as many as there may be).
void sq_cu_launch(sq_cu *k, LLVMValueRef units, int64_t per_block, int64_t most);
void sq_cu_line(sq_cu *k, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
// The same, one deeper or one less deep after or before it.
void sq_cu_open(sq_cu *k, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void sq_cu_close(sq_cu *k);
// Shared memory for a body that wants more than the 48 KiB which may be declared: the array `name` of n
// elements of `type`, `bytes` in all, that begins at a multiple of `align`, 1024 at most. It lies in what
// a launch brings: of the body for sm_90a, or of that for others. Tiles of a body with such arrays are all of this kind.
void sq_cu_dynamic(sq_cu *k, bool sm_90a, const char *type, const char *name, uint32_t n,
                   uint32_t bytes, uint32_t align);
const char *sq_cu_temp(sq_cu *k, const char *prefix); // a new name
const char *sq_cu_dim(sq_cu *k, sq_dim d);            // a number or an argument
// Elements are numbered over the extents and stored over the room of each axis: how many there are, and
// where the one of this number is.
sq_dim sq_cu_elements(sq_cu *k, const sq_type *t);
const char *sq_cu_where_numbered(sq_cu *k, const sq_type *t, const char *number);
const char *sq_cu_number(sq_cu *k, LLVMValueRef v); // an i64 of the entry
// A scalar that the host knows as a number, always an argument: kernels of equal layers are one. Or NULL.
const char *sq_cu_host(sq_cu *k, const sq_value *v);
// Memory of the entry as an argument: elements of type t, `bytes` of them all.
const char *sq_cu_memory(sq_cu *k, LLVMValueRef at, LLVMValueRef bytes, const char *type);
const char *sq_cu_pointer(sq_cu *k, const sq_value *v);
const char *sq_cu_map_add(sq_cu *k, const sq_cu_map *map);                // its name in the kernel
LLVMValueRef sq_cu_units(sq_cu *k, const sq_generic *g, uint32_t n_axes); // product, none below 0
LLVMValueRef sq_cu_mul(sq_cu *k, LLVMValueRef a, LLVMValueRef b);
LLVMValueRef sq_cu_some(sq_cu *k, LLVMValueRef n); // at least 1, which an axis of a map has

const char *sq_cu_type(sq_dtype t);     // in registers
const char *sq_cu_mem_type(sq_dtype t); // in memory

// ---- the scalar part of a nest (scalar.c) ------------------------------------------------------
#define SQ_CU_AXES (SQ_MAX_RANK * 2)
// Where the elements of an operand or result are; `skip` leading axes the storage leaves out.
typedef struct sq_cu_place {
  const char *base;
  sq_type type;
  uint32_t skip;
  bool local;         // an array of the thread
  const bool *shared; // then, per axis: threads have a part of it each
} sq_cu_place;
typedef struct sq_cu_nest {
  sq_cu *k;
  sq_node *n, *group; // group: in which it stands, or NULL
  sq_generic *g;
  uint32_t n_axes;
  const char *index[SQ_CU_AXES]; // names of the axes' indices
  const char *local[SQ_CU_AXES]; // those in arrays of the thread, where they are others
  const char **value;            // per scalar: a name or a number, NULL: not emitted
  SQ_VEC(uint32_t) trail;
  const char *acc;
  bool safe;          // positions may be outside where the domain fails: such reads give 0
  sq_cu_place *place; // per input; base NULL until asked
  const bool *steady; // NULL, or per input: nothing changes it while the kernel runs
} sq_cu_nest;
void sq_cu_nest_begin(sq_cu_nest *t, sq_cu *k, sq_node *n, sq_node *group);
uint32_t sq_cu_nest_enter(sq_cu_nest *t); // values emitted after are forgotten by leave
void sq_cu_nest_leave(sq_cu_nest *t, uint32_t mark);
const char *sq_cu_nest_value(sq_cu_nest *t, uint32_t s);
// Where a read that is neither guarded nor tested has its element: the arguments of SQ_LD.
const char *sq_cu_nest_place(sq_cu_nest *t, uint32_t s);
sq_cu_place sq_cu_place_of(sq_cu *k, sq_node *group, const sq_value *v);
// Names for the indices of `n` axes from `first` on, from the flat index `flat`.
void sq_cu_nest_unflatten(sq_cu_nest *t, const uint32_t *axis, uint32_t n, const char *flat);
// The condition under which the positions of a read are inside; NULL: they are.
const char *sq_cu_nest_inside(sq_cu_nest *t, uint32_t s);
// Opens a brace for each condition of the domain, or for those from `first` to before `end`; closed by
// as many sq_cu_close as it returns.
uint32_t sq_cu_nest_domain(sq_cu_nest *t);
uint32_t sq_cu_nest_where(sq_cu_nest *t, uint32_t first, uint32_t end);
// The element goes to g->pos, or to the parallel axes where that is NULL.
void sq_cu_nest_store(sq_cu_nest *t, const sq_cu_place *to, const char *v);
// The flat place of g->pos in `to`, in *flat; opens braces where it is tested, and returns how many.
uint32_t sq_cu_nest_target(sq_cu_nest *t, const sq_cu_place *to, const char **flat);
const char *sq_cu_flat(sq_cu *k, const sq_cu_place *p, const char *const *pos, uint32_t n);
// Axes (a set) that have a position of their own: no two elements that differ there meet.
uint32_t sq_cu_own_axes(sq_graph *g, const sq_generic *k, uint32_t n_axes);

// ---- operations --------------------------------------------------------------------------------
const char *sq_cu_acc(sq_cu *k, const sq_generic *g); // "sq_acc_sum<float>"
// Emits the reduction of one element by the threads `lanes` of which this one is `lane`; afterwards
// t->acc names the result in each of them. lanes NULL: by this thread alone.
typedef enum sq_cu_team { SQ_CU_THREAD, SQ_CU_WARP, SQ_CU_BLOCK } sq_cu_team;
void sq_cu_reduce(sq_cu_nest *t, sq_cu_team team);
sq_cu_team sq_cu_choose_team(sq_cu_nest *t);
void sq_cuda_generic(sq_cg *cg, sq_node *n);
void sq_cuda_group(sq_cg *cg, sq_node *n);
void sq_cuda_write(sq_cg *cg, sq_node *n);
void sq_cuda_keyed(sq_cg *cg, sq_node *n);
void sq_cuda_cumulate(sq_cg *cg, sq_node *n);
void sq_cuda_sort(sq_cg *cg, sq_node *n);
void sq_cuda_topk(sq_cg *cg, sq_node *n);
void sq_cuda_random(sq_cg *cg, sq_node *n);
void sq_cuda_sweep(sq_cg *cg, sq_node *n);
sq_kernel_scratch sq_cuda_sweep_need(sq_graph *g, const sq_node *n);
// False: the scan is none in blocks.
bool sq_cuda_blocks_need(sq_graph *g, const sq_node *n, sq_kernel_scratch *need);
