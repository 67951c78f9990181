// The graph IR: the one thing that frontend, passes and codegen share. The map of the program.
//
// A graph holds parameters, states, functions. A function has one block of operations (nodes) in
// order; values are tensors with symbolic shapes, defined once. Operations with effects (states,
// checks) take effect in the order in which they stand; all others may be moved subject to their
// operands and to the states that they read.
//
//   func @forward(%ids: i32[N]) -> (logits: f32[N, 64]) {
//     %0 = param @wte : f32[64, 32]
//     %x = generic [n < N, c < 32] = %0[%ids[n] ! 3, c] : f32[N, 32]
//     ...
//     yield %y
//   }
#pragma once
#include "ir/dims.h"

typedef enum sq_dtype {
#define DTYPE(E, name, bytes, cls, npy) SQ_##E,
#include "ir/dtypes.def"
#undef DTYPE
  SQ_DTYPE_COUNT
} sq_dtype;
typedef enum sq_opcode {
#define OP(E, name, lo, hi, res, reg, flags) SQ_OP_##E,
#include "ir/ops.def"
#undef OP
  SQ_OP_COUNT
} sq_opcode;
typedef enum sq_ewise {
#define EWISE(E, name, arity, kind, expr) SQ_EW_##E,
#include "ir/ewise.def"
#undef EWISE
  SQ_EW_COUNT
} sq_ewise;
typedef enum sq_monoid {
  SQ_MONOID_NONE,
#define MONOID(E, name) SQ_##E,
#include "ir/monoids.def"
#undef MONOID
  SQ_MONOID_COUNT
} sq_monoid;
// (SQ_MAX and SQ_MIN above are monoids; the scalar functions are SQ_EW_MAX and SQ_EW_MIN.)

#define SQ_MAX_RANK 12

enum { SQ_OPF_E = 1, SQ_OPF_S = 2, SQ_OPF_M = 4 };
typedef struct sq_op_info {
  const char *name;
  int min_in, max_in, results, regions, flags;
} sq_op_info;
typedef struct sq_dtype_info {
  const char *name;
  int bytes;
  char cls; // 'F' 'I' 'U' 'B'
  const char *npy;
} sq_dtype_info;
typedef struct sq_ewise_info {
  const char *name;
  int arity;
  char kind; // 'A' 'F' 'C' 'L' 'I'
} sq_ewise_info;
extern const sq_op_info sq_op_table[SQ_OP_COUNT];
extern const sq_dtype_info sq_dtype_table[SQ_DTYPE_COUNT];
extern const sq_ewise_info sq_ewise_table[SQ_EW_COUNT];
extern const char *const sq_monoid_names[SQ_MONOID_COUNT]; // "none", "sum", ...
static inline bool sq_is_float(sq_dtype t) { return sq_dtype_table[t].cls == 'F'; }

typedef struct sq_type {
  sq_dtype dtype;
  uint32_t rank;
  const sq_dim *dim; // `rank` of them
} sq_type;

typedef struct sq_node sq_node;
typedef struct sq_block sq_block;
typedef struct sq_func sq_func;
typedef struct sq_graph sq_graph;

// Where a value lives; set by the pass `plan`, printed as `@slot 3`.
typedef enum sq_store {
  SQ_STORE_NONE,   // not planned
  SQ_STORE_SLOT,   // func->slot[store_index] of the call's arena
  SQ_STORE_INPUT,  // the caller's input
  SQ_STORE_OUTPUT, // the caller's output buffer
  SQ_STORE_PARAM,  // the weights: of node def (op param)
  SQ_STORE_STATE,  // the state's own buffer: of node def (op state_read), or of that of `origin`
  SQ_STORE_INNER,  // inside a group: func->scratch[store_index], one per worker, without outer axes
} sq_store;

typedef struct sq_value {
  uint32_t id; // dense in its graph: for side tables
  sq_type type;
  const char *name; // a hint for printing; may be NULL
  sq_node *def;     // the operation, or NULL for a block argument
  sq_block *block;  // block argument: of which block
  uint32_t index;   // which result or argument
  sq_store store;
  uint32_t store_index;
  struct sq_value *origin; // STATE: in the place of this state_read; NULL: it is one
} sq_value;

// What `plan` promises (verified by sq_plan_verify in passes/plan.c; codegen relies on it):
// - every value used outside its group has a store; two values in one slot are never live together,
//   unless they are the same data in place;
// - the result of `update` has the store of in[0]; a carried value, its block arguments, the values
//   yielded for it and the region's result all have one store (copies, generics that move a value
//   unchanged, are inserted where that would clobber something);
// - values inside a sweep have no store: they live in its kernel, which reads what comes from outside
//   and writes the sweep's results; where it begins (scan->in) may be the place of where it ends if
//   every lane has a part of its own (sq_sweep_has_lanes);
// - the k-th result of a function has store OUTPUT k; results of `if` and `map` and emits of `scan`
//   are written by their regions' yields: the yielded value has its own slot and is copied to the
//   result's place by the code of the region operation (emit t goes to row t);
// - param and state_read results alias the parameter or state; the value is not used after a write
//   to that state (a copy is inserted where the source asks for the old value);
// - what a loop carries may lie in the state itself (`origin`) when the state is read before the loop
//   and the result is written to it behind: nothing between reads it, writes it or can fail, and that
//   state_write has nothing left to do.

// ---- generic: one loop nest --------------------------------------------------------------------
// result[p...] = post( monoid over r... where all domain of body )     (no r: post(body))
// Axes are the parallel ones first (they are the result's axes, in order), then the reduced ones.
// The scalar part is a list of scalar operations in topological order.
// The conditions of a domain hold in any order: what one of them reads need not be read where another
// fails, nor what the body reads where the domain fails or the key is dropped.

typedef enum sq_scalar_kind {
  SQ_SC_FLOAT,  // constant f, of a float type
  SQ_SC_INT,    // constant i, of an integer type or bool
  SQ_SC_INDEX,  // the index of axis `axis`, i64
  SQ_SC_DIM,    // a dimension expression's value, i64
  SQ_SC_READ,   // an element of operand `operand` at `pos`
  SQ_SC_EWISE,  // scalar function `ew` of a[0..arity)
  SQ_SC_SELECT, // a[0] ? a[1] : a[2]
  SQ_SC_CAST,   // a[0] converted to dtype (float to int truncates and saturates, NaN gives 0)
  SQ_SC_ACC,    // the reduction's result; only in what `post` is made of
} sq_scalar_kind;

#define SQ_NO_SCALAR UINT32_MAX
#define SQ_NO_SITE UINT32_MAX
typedef struct sq_scalar {
  sq_scalar_kind kind;
  sq_dtype dtype;
  sq_ewise ew;
  double f;
  int64_t i;
  sq_dim dim;
  uint32_t axis;
  uint32_t a[3]; // scalar ids
  // READ: position `pos[k]` (an integer scalar) for each axis of the operand.
  uint32_t operand; // index into the node's inputs
  uint32_t n_pos;
  const uint32_t *pos;
  // The read happens only where scalar `guard` (bool) holds; else the value is 0. NO_SCALAR: always.
  // In a reduction body all reads are also guarded by the domain.
  uint32_t guard;
  // Bounds. With `other` (a scalar of the same type): a position outside gives it. Otherwise with
  // `site`: a position outside fails the call there. With neither: proved inside.
  uint32_t other;
  uint32_t site;
} sq_scalar;

typedef struct sq_axis {
  sq_dim extent;
  const char *name; // hint
} sq_axis;

typedef struct sq_generic {
  uint32_t n_par, n_red;
  sq_axis *axis; // n_par + n_red
  sq_monoid monoid;
  SQ_VEC(sq_scalar) s;
  uint32_t body;           // scalar: the element
  SQ_VEC(uint32_t) domain; // bool scalars, a conjunction; with no reduced axes: none
  uint32_t post; // scalar of the result's type; SQ_NO_SCALAR: the accumulator (or body) itself
  // Where the element goes. NULL: its parallel axes. Otherwise (update, state_write, param_write and
  // keyed generics) one integer scalar per axis of the target. `pos_site`: see sq_scalar.site; in a
  // keyed generic a position outside the result is dropped.
  uint32_t n_pos;
  uint32_t *pos;
  uint32_t pos_site;
  // keyed: result[pos...] = monoid over all axes (n_par == 0) of body, in index order
  bool keyed;
  // The write happens (update, state_write, param_write) only where this bool scalar holds.
  uint32_t write_guard;
} sq_generic;

// ---- nodes -------------------------------------------------------------------------------------
// op           inputs                      attributes              results / meaning
// generic      operands                    g                       one
// update       target, operands            g                       target with elements at g->pos replaced,
//                                                                  in index order; operand k is in[k]: in[0],
//                                                                  the old target, may be read too
// cumulate     x                           monoid, axis            inclusive cumulative sum|prod|max|min
// sort         x                           axis                    ascending, stable; NaN last
// argsort      x                           axis                    i32
// topk         x [valid: bool]             axis, k (dim)           values descending, i32 indices; missing:
//                                                                  lowest value of the type and -1
// random       key (i64 or i32 scalar)     flag: 0 uniform 1 normal
// param        [instance: integer scalar]  ref: param              the weights, not copied
// param_write  operands [instance last]    ref, g                  elements of the parameter replaced
// state_read   [instance]                  ref: state              the state's present value
// state_write  operands [instance last]    ref, g                  elements replaced at g->pos (NULL: whole;
//                                                                  then a grow axis takes the extent of axis 0..)
// reserve      n [instance]                ref: state              grow axis at least n long
// reset                                                            every state not kept gets its init
// live         i32 scalar                  sym                     sym = value; fails at site unless 0 <= v <= limit
// check        bool scalar                 site
// repeat       lo, hi, carried...          region: (i, carried...) -> carried...   `for i in lo .. hi`
// while        carried...                  regions: (carried...) -> bool; (carried...) -> carried...
//                                          limit (dim, {0} none): stops after so many turns
// if           cond                        regions: () -> results; () -> results
// scan         carried...                  extent, flag 1 = reversed, 2 = parallel allowed, n_carried;
//                                          region: (t, carried...) -> carried..., emits...
//                                          results: last carried..., emits with `extent` in front
// map          -                           axes (g->axis, n_par); region: (indices...) -> elements
//                                          results: elements with the axes in front
// call         arguments                   func
// group        -                           n_outer; region () -> results. Means its body; made by `fuse`:
//                                          every node inside is a generic whose first n_outer parallel
//                                          axes are the group's, and which reads values of the group at
//                                          exactly these indices: one pass over the outer axes computes
//                                          all, with inner values in per-thread scratch. n_outer 0: products
//                                          of the same rows, each a result, which read of another at most
//                                          the element where their own goes: see ir/contraction.h
// sweep        -                           region () -> results. Means its body, a scan and elementwise work
//                                          on what it emits; runs as one kernel: see ir/sweep.h;
//                                          flag 1: by maps of turns, see ir/sweep_prefix.h;
//                                          flag 2: by Newton's method, see ir/sweep_newton.h;
//                                          flag 4: by maps of all states together, see ir/sweep_dense.h;
//                                          extent ({0} none): in blocks of so many, see ir/sweep_chunk.h
// stream       -                           region () -> results. Means its body, attention in a form that
//                                          ir/stream.h describes: scores, what is taken of them over
//                                          the keys, the weighted sum of values. Made by `stream`;
//                                          one pass over the keys, no score is stored
// yield        values                      ends every block
// In `instance` the flag has_instance is set and the instance is the LAST input.
struct sq_node {
  uint32_t id;
  sq_opcode op;
  sq_span span;
  sq_block *block; // where it stands
  uint32_t n_in, n_out, n_region;
  sq_value **in;
  sq_value **out;
  sq_block **region;
  sq_generic *g;
  uint32_t ref; // param or state
  bool has_instance;
  sq_monoid monoid;
  uint32_t axis;
  sq_dim extent; // scan extent, topk k, while limit, sweep chunk
  uint32_t flag;
  uint32_t n_carried;
  uint32_t n_outer;
  sq_sym sym;
  uint32_t site;
  sq_func *func;
};

struct sq_block {
  sq_func *func;
  sq_node *owner; // NULL: the function's own
  SQ_VEC(sq_value *) args;
  SQ_VEC(sq_node *) nodes; // in order; the last is the yield
};

typedef enum sq_func_kind {
  SQ_FUNC_ENTRY,
  SQ_FUNC_INIT, // computes the initial value of a state (graph->state[k].init)
  SQ_FUNC_INNER,
} sq_func_kind;

// A comparison of sizes tested at a call's start.
typedef struct sq_require {
  sq_dim a, b;
  bool equal; // a == b, otherwise a <= b
  uint32_t site;
} sq_require;

struct sq_func {
  const char *name;
  sq_func_kind kind;
  sq_graph *graph;
  sq_block *body; // args are the inputs; its yield gives the results
  SQ_VEC(const char *) in_names;
  SQ_VEC(const char *) out_names;
  SQ_VEC(sq_require) requires_;
  // For a scalar integer input that binds a size symbol: in_sym[k].i != 0.
  SQ_VEC(sq_sym) in_sym;
  sq_span span;
  bool writes; // has effects on states or parameters
  // Set by `plan`: sizes in bytes. The arena holds the slots one after another, each aligned to 64.
  SQ_VEC(sq_dim) slot;
  SQ_VEC(sq_dim) scratch; // per worker
  bool planned;
};

// A place that can fail at run time: a gather out of range, a `check`.
typedef struct sq_site {
  sq_span span;
  const char *message; // "the context is full", "index out of range: wte[ids[n], c], axis 0"
} sq_site;

// A statement marked `require fused`: operations belong to mark k + 1 of the graph by the mark of
// their span (those that do work: sq_op_is_work), and to the marks around it.
typedef struct sq_mark {
  sq_span span;   // of the words
  uint32_t outer; // the mark around it, a smaller number; 0: none
} sq_mark;

// A parameter: `count` instances (1 unless it belongs to an array of modules; then has_instances).
typedef struct sq_param {
  const char *name; // as printed in IR: "block.attn.c_attn.weight"
  sq_type type;     // constant dims
  uint32_t count;
  bool has_instances;
  // names[k * n_alt + j]: j-th name to try in the checkpoint for instance k
  uint32_t n_alt;
  const char **names;
  bool written; // by some entry: owned, not mapped
  bool frozen;
  sq_span span;
} sq_param;

typedef struct sq_state {
  const char *name;
  sq_type type; // dims constant, or the symbol of the growing axis
  uint32_t count;
  bool has_instances;
  const char **names; // [count] for saved state: "block.0.ck"
  sq_sym grow;        // {0}: fixed shape. Instances of one growing state share the extent.
  uint32_t grow_axis;
  sq_func *init; // () -> value, or (instance i32) -> value when has_instances; a growing axis
                 // has extent 1 in it: the row that new rows hold
  bool kept;     // reset leaves it
  bool derived;  // a definition at model or module level: computed once at load, never reset
  sq_span span;
} sq_state;

struct sq_graph {
  sq_ctx *ctx;
  sq_arena *arena;
  sq_dims *dims;
  const char *name;
  sq_dtype float_type; // the model's float
  SQ_VEC(sq_param) param;
  SQ_VEC(sq_state) state;
  SQ_VEC(sq_func *) func;
  SQ_VEC(sq_site) site;
  SQ_VEC(sq_mark) mark;
  uint32_t n_values, n_nodes;
};

// ---- building (graph.c) ------------------------------------------------------------------------
sq_graph *sq_graph_new(sq_ctx *ctx, sq_arena *arena, const char *name);
sq_func *sq_func_new(sq_graph *g, const char *name, sq_func_kind kind, sq_span span);
sq_func *sq_func_find(const sq_graph *g, const char *name);
sq_block *sq_block_new(sq_func *f, sq_node *owner);
sq_value *sq_block_arg(sq_block *b, sq_type t, const char *name);
sq_type sq_type_make(sq_graph *g, sq_dtype dt, uint32_t rank, const sq_dim *dim); // copies dims
sq_type sq_type_scalar(sq_dtype dt);
bool sq_type_same(sq_type a, sq_type b);
// A node appended to b (b may be NULL: not placed yet). Results are added by sq_node_result.
sq_node *sq_node_new(sq_graph *g, sq_block *b, sq_opcode op, sq_span span, uint32_t n_in,
                     sq_value *const *in);
sq_value *sq_node_result(sq_graph *g, sq_node *n, sq_type t, const char *name);
sq_block *sq_node_region(sq_graph *g, sq_node *n, sq_func *f); // adds one
uint32_t sq_node_add_in(sq_graph *g, sq_node *n,
                        sq_value *v);     // index of v among inputs, added once
sq_node *sq_block_end(const sq_block *b); // its yield, or NULL
sq_generic *sq_generic_new(sq_graph *g, uint32_t n_par, uint32_t n_red);
uint32_t sq_scalar_add(sq_graph *g, sq_generic *k, sq_scalar s);
// Shorthands for scalars; types are taken from operands.
uint32_t sq_sc_float(sq_graph *g, sq_generic *k, sq_dtype t, double v);
uint32_t sq_sc_int(sq_graph *g, sq_generic *k, sq_dtype t, int64_t v);
uint32_t sq_sc_index(sq_graph *g, sq_generic *k, uint32_t axis);
uint32_t sq_sc_dim(sq_graph *g, sq_generic *k, sq_dim d);
uint32_t sq_sc_ewise(sq_graph *g, sq_generic *k, sq_ewise e, uint32_t a, uint32_t b);
uint32_t sq_sc_select(sq_graph *g, sq_generic *k, uint32_t c, uint32_t a, uint32_t b);
uint32_t sq_sc_cast(sq_graph *g, sq_generic *k, uint32_t a, sq_dtype t);
uint32_t sq_sc_acc(sq_graph *g, sq_generic *k, sq_dtype t);
// A read proved inside, unguarded; change the scalar afterwards for others.
uint32_t sq_sc_read(sq_graph *g, sq_generic *k, sq_dtype t, uint32_t operand, uint32_t n_pos,
                    const uint32_t *pos);
// A rank-0 constant value as a generic.
sq_value *sq_const_int(sq_graph *g, sq_block *b, sq_dtype t, int64_t v);
uint32_t sq_site_new(sq_graph *g, sq_span span, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
uint32_t sq_mark_new(sq_graph *g, sq_span span, uint32_t outer);
// May an operation carry a mark: does it more than name, read or end?
bool sq_op_is_work(sq_opcode op);
// The type of a monoid's accumulator result for elements of type t (argmax: i32; mean of ints: error).
sq_dtype sq_monoid_result(sq_monoid m, sq_dtype t);
// Is v the result of a generic that is an integer constant?
bool sq_value_const_int(const sq_value *v, int64_t *out);

// ---- walking and editing (graph.c) -------------------------------------------------------------
// Calls fn for every node of the block and of nested regions, in order.
void sq_walk(sq_block *b, void (*fn)(sq_node *n, void *user), void *user);
void sq_replace_uses(sq_func *f, sq_value *old, sq_value *with);
// How often each value is used, by value id (arena of the caller).
uint32_t *sq_count_uses(sq_func *f, sq_arena *scratch);
void sq_node_remove(sq_node *n); // from its block
void sq_node_insert_before(sq_node *at, sq_node *n);
// Deep copy of a node and its regions into block `to`; `map` (by value id, NULL entries: keep) gives
// and receives replacements; `with`: dimension symbols replaced (NULL: none).
sq_node *sq_node_clone(sq_graph *g, sq_node *n, sq_block *to, sq_value **map, const sq_dim *with,
                       uint32_t n_with);
bool sq_node_has_effect(const sq_node *n); // itself or anything in its regions
// States that it reads or writes, itself or in its regions: bit sets by state id (n_words each).
void sq_node_states(const sq_node *n, uint64_t *reads, uint64_t *writes);

// ---- text (print.c, read.c), checking (verify.c), Graphviz (dot.c) -----------------------------
void sq_graph_print(const sq_graph *g, sq_text *t);
void sq_func_print(const sq_func *f, sq_text *t);
// The same with the source place of every operation, parameter, state and function.
void sq_graph_print_places(const sq_graph *g, sq_text *t);
// Parses printed IR. Errors are diagnostics; NULL then.
sq_graph *sq_graph_read(sq_ctx *ctx, sq_arena *arena, const char *file, const char *text, size_t n);
// All structural faults are reported in `faults` (one line each); true when there are none.
bool sq_graph_verify(const sq_graph *g, sq_text *faults);
void sq_graph_dot(const sq_graph *g, const char *entry, sq_text *t);

// ---- affine questions (affine.c) ---------------------------------------------------------------
// scalar s of k as  sum coef[a] * axis a + offset  (offset: dims and constants only).
typedef struct sq_affine {
  bool ok;
  int64_t coef[SQ_MAX_RANK * 2]; // per axis
  sq_dim offset;
} sq_affine;
sq_affine sq_scalar_affine(sq_graph *g, const sq_generic *k, uint32_t s);
// Number of leading positions of the read that are axis 0, 1, ... themselves.
uint32_t sq_read_leading(sq_graph *g, const sq_generic *k, const sq_scalar *read);
// Calls fn for each id that scalar s refers to.
typedef void (*sq_scalar_ref_fn)(uint32_t id, void *user);
void sq_scalar_refs(const sq_scalar *s, sq_scalar_ref_fn fn, void *user);
// Is every position of the read exactly one distinct axis index (no offset), guards and checks aside?
bool sq_read_is_plain(sq_graph *g, const sq_generic *k, const sq_scalar *read,
                      uint32_t *axis_of_pos);
// The operand whose elements go unchanged to their own positions; SQ_NO_OPERAND: it does more.
#define SQ_NO_OPERAND UINT32_MAX
uint32_t sq_generic_moves(sq_graph *g, const sq_generic *k);
// Do the nodes (state_read, state_write; param, param_write) name one state or parameter of one instance?
bool sq_cell_same(const sq_node *a, const sq_node *b);
// Does the state_write find what it writes in its place already (see sq_value.origin)?
bool sq_write_is_done(sq_graph *g, const sq_node *n);
