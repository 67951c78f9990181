// What the kernel files share: the kernel under construction, its loops, values and the nest of one
// generic. Values in registers: f16 and bf16 are f32, bool is i1, all else itself; a value is either
// uniform (a scalar) or a vector of as many lanes as its nest is wide.
#pragma once
#include "codegen/cpu/kernels.h"

typedef LLVMValueRef sq_lv;

// One kernel function `void (ptr closure, i64 task, i64 worker)`. The closure is an array of 8-byte
// fields on the entry's stack; field 0 is the call.
typedef struct sq_kfield {
  sq_lv outside; // value in the entry: i64 or ptr
  sq_lv inside;  // the same in the kernel, loaded in its prologue
} sq_kfield;
typedef struct sq_kpointer {
  const sq_value *v;
  sq_lv inside;
} sq_kpointer;
typedef struct sq_kern {
  sq_cg *cg;
  sq_graph *g;
  sq_arena *a;
  LLVMContextRef c;
  LLVMModuleRef m;
  LLVMBuilderRef b;  // in the body
  LLVMBuilderRef pb; // at the end of the prologue
  bool here;         // no function: code of the entry itself
  LLVMValueRef fn, task, worker, call;
  LLVMBasicBlockRef prologue, body;
  SQ_VEC(sq_kfield) field;
  SQ_VEC(sq_kpointer) pointer; // asked for so far: the same one, so that equal loads are seen to be
  LLVMTypeRef i1, i8, i16, i32, i64, half, f32, f64, ptr;
} sq_kern;

// ---- kernel_base.c -----------------------------------------------------------------------------
void sq_kern_begin(sq_kern *k, sq_cg *cg, const char *what);
// The same interface for code at the entry's place: work on single elements, not worth a function.
void sq_kern_begin_here(sq_kern *k, sq_cg *cg);
// Ends the function and emits at the entry's place: run tasks 0 .. n_tasks-1, directly when n_tasks
// (i64, in the entry) is 1.
void sq_kern_launch(sq_kern *k, sq_lv n_tasks);
// A function of the module made once: inner->fn is NULL when it is there already, else its body is to be
// emitted with *inner and ended by sq_kern_shared_end.
sq_lv sq_kern_shared(sq_kern *k, const char *name, LLVMTypeRef type, sq_kern *inner);
void sq_kern_shared_end(sq_kern *inner);
// A value of the entry (i64 or ptr), inside the kernel.
sq_lv sq_kern_pass(sq_kern *k, sq_lv outside);
sq_lv sq_kern_entry_alloca(sq_kern *k, uint32_t n); // n words on the entry's stack
sq_lv sq_kern_dim(sq_kern *k, sq_dim d);
// Elements are numbered over the extents and stored over the room of each axis. How many there are; whether
// the numbers are also the places in memory; where element number e is.
sq_dim sq_k_elements(sq_dims *ds, const sq_type *t);
bool sq_k_numbered_by_place(sq_dims *ds, const sq_type *t);
sq_lv sq_k_place(sq_kern *k, const sq_type *t, sq_lv e);
sq_lv sq_kern_pointer(sq_kern *k, const sq_value *v);
// A zeroed constant of 64 bytes: where reads go that must not happen.
sq_lv sq_kern_zeros(sq_kern *k);
// Records a failure at `site` with the offending value (i64).
void sq_kern_fail(sq_kern *k, uint32_t site, sq_lv value, sq_lv limit); // 0 <= value < limit failed
sq_lv sq_k_intrinsic(sq_kern *k, const char *name, LLVMTypeRef *overload, unsigned n_overload,
                     sq_lv *arg, unsigned n_arg);

sq_lv sq_k_int(sq_kern *k, int64_t v);                 // i64
sq_lv sq_k_like(sq_kern *k, LLVMTypeRef t, int64_t v); // integer (or vector of) constant of type t
sq_lv sq_k_flike(LLVMTypeRef t, double v);             // float (or vector of) constant of type t
LLVMTypeRef sq_k_vec(LLVMTypeRef t, uint32_t w);       // w == 1: t
bool sq_k_is_vec(sq_lv v);
uint32_t sq_k_lanes(sq_lv v);
sq_lv sq_k_splat(sq_kern *k, sq_lv v, uint32_t w); // a vector stays
sq_lv sq_k_min(sq_kern *k, sq_lv a, sq_lv b);      // signed
sq_lv sq_k_max(sq_kern *k, sq_lv a, sq_lv b);
sq_lv sq_k_ceil_div(sq_kern *k, LLVMBuilderRef b, sq_lv a, sq_lv by); // non-negative
sq_lv sq_k_and(sq_kern *k, sq_lv a, sq_lv b);                         // i1; NULL is true; splats
sq_lv sq_k_any(sq_kern *k, sq_lv mask);                               // i1 of a mask or an i1
sq_lv sq_k_lane_index(sq_kern *k, uint32_t w, LLVMTypeRef t);         // <0, 1, 2, ...>
sq_lv sq_k_offset(sq_kern *k, sq_lv base, sq_lv index, sq_dtype t);   // base + index elements
sq_lv sq_k_alloca(sq_kern *k, LLVMTypeRef t, uint32_t n);             // in the prologue

#define SQ_K_CARRIED 160
typedef struct sq_kloop {
  LLVMBasicBlockRef head, exit;
  sq_lv i, step;
  uint32_t n;
  sq_lv phi[SQ_K_CARRIED];
} sq_kloop;
// for (i = lo; i < hi; i += step), carrying n values; after the end, phi[] are the last values.
void sq_kloop_begin(sq_kern *k, sq_kloop *l, sq_lv lo, sq_lv hi, int64_t step, uint32_t n,
                    const sq_lv *init);
void sq_kloop_end(sq_kern *k, sq_kloop *l, const sq_lv *next);
// A loop while a condition holds: begin; compute the condition; _test(c); body; _end(next).
void sq_kwhile_begin(sq_kern *k, sq_kloop *l, uint32_t n, const sq_lv *init);
void sq_kwhile_test(sq_kern *k, sq_kloop *l, sq_lv cond);
void sq_kwhile_end(sq_kern *k, sq_kloop *l, const sq_lv *next);
typedef struct sq_kif {
  LLVMBasicBlockRef from, other, join, then_end;
  bool has_else;
} sq_kif;
void sq_kif_begin(sq_kern *k, sq_kif *f, sq_lv cond);
void sq_kif_else(sq_kern *k, sq_kif *f);
// out[i] is then_v[i] where the condition held, else else_v[i]. n may be 0.
void sq_kif_end(sq_kern *k, sq_kif *f, uint32_t n, const sq_lv *then_v, const sq_lv *else_v,
                sq_lv *out);

// ---- kernel_dtype.c: memory and register forms, casts, scalar functions ------------------------
LLVMTypeRef sq_k_type(sq_kern *k, sq_dtype t);     // in registers
LLVMTypeRef sq_k_mem_type(sq_kern *k, sq_dtype t); // in memory
sq_lv sq_k_from_mem(sq_kern *k, sq_dtype t, sq_lv v);
sq_lv sq_k_to_mem(sq_kern *k, sq_dtype t, sq_lv v);
sq_lv sq_k_load(sq_kern *k, sq_dtype t, sq_lv ptr);          // one element
void sq_k_store(sq_kern *k, sq_dtype t, sq_lv ptr, sq_lv v); // one element
// w elements in a row; mask NULL: all. Lanes masked off are 0.
sq_lv sq_k_load_row(sq_kern *k, sq_dtype t, sq_lv ptr, uint32_t w, sq_lv mask);
void sq_k_store_row(sq_kern *k, sq_dtype t, sq_lv ptr, sq_lv v, sq_lv mask);
sq_lv sq_k_const(sq_kern *k, sq_dtype t, double f, int64_t i);
sq_lv sq_k_cast(sq_kern *k, sq_lv v, sq_dtype from, sq_dtype to);
// Scalar functions on registers of dtype t (the operands'); `nonneg`: integers known not negative.
sq_lv sq_k_ewise(sq_kern *k, sq_ewise e, sq_dtype t, sq_lv a, sq_lv b, bool nonneg, bool tail);
sq_lv sq_k_lowest(sq_kern *k, sq_dtype t);  // -inf or the lowest integer
sq_lv sq_k_highest(sq_kern *k, sq_dtype t); // inf or the highest integer
// Signed or unsigned a < b, false when either is NaN.
sq_lv sq_k_less(sq_kern *k, sq_dtype t, sq_lv a, sq_lv b);
sq_lv sq_k_fadd(sq_kern *k, sq_lv a, sq_lv b); // with `contract`
sq_lv sq_k_fsub(sq_kern *k, sq_lv a, sq_lv b);
sq_lv sq_k_fmul(sq_kern *k, sq_lv a, sq_lv b);
sq_lv sq_k_fma(sq_kern *k, sq_lv a, sq_lv b, sq_lv c); // fused where the target has it

// ---- kernel_pairs.c: pairs of bf16 in 32 bits, typed f32
bool sq_k_has_pairs(sq_kern *k, uint32_t w);                  // an instruction for w pairs
sq_lv sq_k_pair_half(sq_kern *k, sq_lv pair, bool high);      // as f32
sq_lv sq_k_pair_dot(sq_kern *k, sq_lv acc, sq_lv a, sq_lv b); // acc + both products

// ---- kernel_nest.c: one generic's scalars at a place in a loop nest ----------------------------
#define SQ_K_AXES (SQ_MAX_RANK * 2)
#define SQ_K_NO_AXIS UINT32_MAX
#define SQ_K_ACC (1u << 31) // in a set of axes: the reduction's result
// Where the elements of an operand or result are.
typedef struct sq_kplace {
  sq_lv base;
  sq_type type;
  uint32_t skip; // leading axes that the storage leaves out (inside a group)
} sq_kplace;
struct sq_knest;
typedef struct sq_kgroup {
  sq_node *n; // group or sweep
  sq_kern *k;
  sq_lv outer[SQ_K_AXES]; // present indices of the outer axes
  // By value id: the element of a value without inner axes, once it is computed.
  sq_lv *element;
  // Or asked of each read: the element, NULL: it is in memory.
  sq_lv (*find)(struct sq_knest *t, const sq_scalar *read);
} sq_kgroup;
// Of an expression so many places are looked at: scalars share operands.
enum { SQ_K_MOST_PLACES = 1000 };
typedef struct sq_knest {
  sq_kern *k;
  sq_node *n;
  sq_generic *g;
  sq_kgroup *group; // in which it stands, or NULL
  uint32_t n_axes;
  uint32_t *deps;          // per scalar: set of axes
  bool *used;              // per scalar: reachable from body, domain, post, pos, guard
  bool *hoistable;         // per scalar: may be emitted before it is known to be wanted
  sq_lv idx[SQ_K_AXES];    // index of each open axis; of the vector axis: that of lane 0
  sq_lv extent[SQ_K_AXES]; // NULL until asked
  uint32_t open;           // set of axes that have an index
  uint32_t va;             // vector axis or NO_AXIS
  uint32_t w;              // lanes, 1 when there is no vector axis
  bool aligned;            // idx[va] is a multiple of w
  bool tail;               // code that runs once per row: call functions, do not inline them
  bool hoisting;
  sq_lv mask;    // active lanes (or i1 when w is 1), NULL: all
  sq_lv *u, *v;  // per scalar: value at lane 0, value of all lanes; NULL: not emitted
  sq_lv *inside; // per read: are its uniform positions inside
  SQ_VEC(sq_lv *) trail;
  sq_lv acc; // the value of ACC
  bool acc_varies;
  sq_kplace **place; // per input, NULL until asked
} sq_knest;

void sq_knest_begin(sq_knest *t, sq_kern *k, sq_node *n, sq_kgroup *group);
uint32_t sq_knest_enter(sq_knest *t); // a scope: values emitted after are forgotten by leave
void sq_knest_leave(sq_knest *t, uint32_t mark);
void sq_knest_open(sq_knest *t, uint32_t axis, sq_lv index);
sq_lv sq_knest_extent(sq_knest *t, uint32_t axis);
// Emits what depends on open axes alone, so that inner loops need not.
void sq_knest_hoist(sq_knest *t);
sq_lv sq_knest_uniform(sq_knest *t, uint32_t s); // at lane 0
sq_lv sq_knest_lanes(sq_knest *t, uint32_t s);   // a vector of w lanes
// The scalar is v (a vector or not) until the scope is left.
void sq_knest_put(sq_knest *t, uint32_t s, sq_lv v);
sq_lv sq_knest_value(sq_knest *t, uint32_t s);       // a scalar where it does not vary
bool sq_knest_varies(const sq_knest *t, uint32_t s); // with the vector axis
// s as coef * axis + rest, the rest free of the axis (for the vector axis: within the w lanes).
bool sq_knest_linear(const sq_knest *t, uint32_t s, uint32_t axis, int64_t *coef);
bool sq_knest_nonneg(const sq_knest *t, uint32_t s);
bool sq_knest_const(const sq_knest *t, uint32_t s, int64_t *v);

// ---- kernel_read.c -----------------------------------------------------------------------------
sq_lv sq_knest_read_uniform(sq_knest *t, uint32_t s);
sq_lv sq_knest_read_lanes(sq_knest *t, uint32_t s);
// The step from lane to lane in the flattened position.
typedef enum sq_kstride { SQ_K_UNIFORM, SQ_K_UNIT, SQ_K_STRIDED, SQ_K_GATHER } sq_kstride;
sq_kstride sq_knest_stride(const sq_knest *t, const sq_type *type, uint32_t skip, uint32_t n_pos,
                           const uint32_t *pos);
// A read without guard and bounds: where its element is, and the distance in elements to that of the
// next index of an axis in which it is linear.
sq_lv sq_knest_read_pointer(sq_knest *t, uint32_t s);
sq_lv sq_knest_read_step(sq_knest *t, uint32_t s, uint32_t axis);
sq_kstride sq_knest_read_stride(sq_knest *t, const sq_scalar *read);
// Where the element under the present indices goes: g->pos, or the parallel axes where that is NULL.
typedef struct sq_ktarget {
  sq_lv first; // flattened position at lane 0
  sq_lv index; // of all lanes, where these are no steps of a constant
  sq_lv step;
  sq_kstride kind;
  sq_lv inside; // NULL: proved
} sq_ktarget;
sq_ktarget sq_knest_target(sq_knest *t, const sq_kplace *to);
// Stores v at g->pos, or at the parallel axes where that is NULL. `where`: i1 or mask, NULL always.
// A position outside fails at g->pos_site if there is one, else drops the element.
void sq_knest_store(sq_knest *t, const sq_kplace *to, sq_lv v, sq_lv where);
// Is `pos` proved to be inside 0 .. dim-1 for all indices of the axes' ranges?
bool sq_knest_inside(const sq_knest *t, uint32_t pos, sq_dim dim);
void sq_knest_inside_hoist(sq_knest *t, uint32_t s);
sq_kplace sq_kplace_of(sq_kern *k, sq_kgroup *group, const sq_value *v);
sq_lv sq_kplace_stride(sq_kern *k, const sq_kplace *p, uint32_t axis); // in elements

// ---- kernel_reduce.c: accumulators -------------------------------------------------------------
#define SQ_K_PARTS 2
typedef struct sq_kacc {
  sq_monoid m;
  sq_dtype elem;   // of the body
  sq_dtype result; // of the accumulator as ACC sees it
  uint32_t parts;  // values carried
  bool counted;    // mean: the second part counts
} sq_kacc;
sq_kacc sq_kacc_of(const sq_generic *g, bool counted);
void sq_kacc_init(sq_kern *k, const sq_kacc *a, uint32_t w, sq_lv *part);
// part <- part (+) x where `where` (NULL: always). index: i64, for argmax and argmin.
void sq_kacc_step(sq_kern *k, const sq_kacc *a, sq_lv *part, sq_lv x, sq_lv index, sq_lv where,
                  bool tail);
// part <- part (+) other; `other` may come from higher or interleaved indices.
void sq_kacc_merge(sq_kern *k, const sq_kacc *a, sq_lv *part, const sq_lv *other);
void sq_kacc_across(sq_kern *k, const sq_kacc *a, sq_lv *part); // lanes into one, fixed tree
// The result; `count`: number of elements as i64 for a mean that does not count.
sq_lv sq_kacc_result(sq_kern *k, const sq_kacc *a, const sq_lv *part, sq_lv count);

// ---- kernel_loops.c: which axis is vectorised, loops, reductions, elements ---------------------
typedef struct sq_kplan {
  uint32_t va, w; // vector axis (NO_AXIS, 1: none) and lanes
  uint32_t sets;  // vectors of elements or of accumulators in flight
  double cost;    // per element of the axes' product, in cycles
  // A parallel axis along which memory runs that the lanes cross: it is taken in stretches, inside the
  // loop over vectors, so that what a vector touches is used while it is near. NO_AXIS: none.
  uint32_t inner;
  sq_lv inner_lo, inner_hi;
} sq_kplan;
// The best way to run the axes of the nest that are not open; `allowed`: which of them may be the
// vector axis.
sq_kplan sq_kplan_choose(sq_knest *t, uint32_t allowed);
// What one element leads to; gets the value (uniform or lanes).
typedef void (*sq_kemit)(sq_knest *t, sq_lv v, void *user);
// Loops over all axes that are not open and emits the elements. lo, hi: the range of the vector axis
// when that is a parallel one (NULL: all of it); lo is a multiple of w.
void sq_knest_run(sq_knest *t, const sq_kplan *p, sq_lv lo, sq_lv hi, sq_kemit emit, void *user);

// ---- kernel_collapse.c
sq_node *sq_kernel_collapse(sq_graph *g, sq_node *n);

// ---- kernel_tasks.c: outer loops split into tasks ----------------------------------------------
typedef struct sq_kouter {
  uint32_t n;
  sq_lv extent[SQ_K_AXES + 1]; // inside the kernel
  sq_lv index[SQ_K_AXES + 1];  // during the body
  sq_kloop loop;
  sq_lv end;
} sq_kouter;
// In the entry: the product of extents; how many tasks for `units` of `work` cycles each; and passed
// into the kernel, how many units per task.
typedef struct sq_ktasks {
  sq_lv units, per_task, n_tasks;
  sq_lv inside; // of sq_ktasks_of; NULL: there are no blocks
} sq_ktasks;
sq_ktasks sq_ktasks_make(sq_kern *k, sq_lv units, sq_lv work);
// The same where another kernel may run each task as soon as it has made what that reads: task i then
// takes the `units` of block i. It does where it makes a block as a `whole` (i1) and there are blocks for
// all cores, or for all tasks; then `inside` is not 0 and no task is left to launch. All in the entry.
typedef struct sq_kblocks {
  sq_lv n, units, whole;
} sq_kblocks;
sq_ktasks sq_ktasks_of(sq_kern *k, sq_lv units, sq_lv work, const sq_kblocks *blocks);
// Inside the kernel: for each unit of this task, its indices. n may be 0.
void sq_kouter_begin(sq_kern *k, sq_kouter *o, const sq_ktasks *tasks);
void sq_kouter_end(sq_kern *k, sq_kouter *o);
// A kernel made and not launched yet, its closure filled (kernel_base.c); in the entry.
typedef struct sq_kready {
  const sq_node *n;
  sq_lv fn, closure, n_tasks, inside;
} sq_kready;
sq_kready sq_kern_ready(sq_kern *k, const sq_ktasks *tasks); // in place of sq_kern_launch
void sq_kready_launch(sq_cg *cg, const sq_kready *r);
void sq_kready_task(sq_kern *k, const sq_kready *r, sq_lv number); // inside kernel k, if `inside`

// ---- kernel_generic.c --------------------------------------------------------------------------
void sq_kernel_generic(sq_cg *cg, sq_node *n);
// Runs the nest of n and emits its elements to `to`. in_order: one task, loops in the order of the
// axes but for a vector axis of `allowed`.
void sq_kernel_elements(sq_kern *k, sq_knest *t, uint32_t allowed, bool in_order, sq_kemit emit,
                        void *user);
void sq_kernel_group(sq_cg *cg, sq_node *n);
// Its kernel, made ahead of the one that may run its tasks; sq_kernel_group launches it. Of the outer
// axes the first n_row number the rows, of which a block has `rows`.
typedef struct sq_krows {
  uint32_t n_row;
  sq_lv blocks, rows, whole;
} sq_krows;
const sq_kready *sq_kernel_group_ready(sq_cg *cg, const sq_node *n, const sq_krows *rows);

// ---- kernel_update.c, kernel_order.c, kernel_random.c, gemm.c ----------------------------------
void sq_kernel_update(sq_cg *cg, sq_node *n);
void sq_kernel_keyed(sq_cg *cg, sq_node *n);
sq_kernel_scratch sq_kernel_keyed_need(sq_graph *g, const sq_node *n);
void sq_kernel_cumulate(sq_cg *cg, sq_node *n);
void sq_kernel_sort(sq_cg *cg, sq_node *n);
sq_kernel_scratch sq_kernel_sort_need(sq_graph *g, const sq_node *n);
void sq_kernel_topk(sq_cg *cg, sq_node *n);
void sq_kernel_random(sq_cg *cg, sq_node *n);
// Is it a contraction that the tiled kernel takes?
bool sq_gemm_is(sq_graph *g, const sq_target *t, const sq_node *n); // of joined axes
void sq_kernel_gemm(sq_cg *cg, sq_node *n);
sq_kernel_scratch sq_gemm_need(sq_graph *g, const sq_target *t, const sq_node *n);

// ---- gemm_siblings.c: products of the same rows
bool sq_kernel_is_siblings(const sq_node *n); // a `group outer 0`
void sq_kernel_siblings(sq_cg *cg, sq_node *n);
sq_kernel_scratch sq_siblings_need(sq_graph *g, const sq_target *t, const sq_node *n);
