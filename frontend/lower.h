// What the files of the lowering share: values at compile time, trees of scalars over indices,
// scopes, instances of modules, and the state of one compilation. Nothing here is seen outside
// frontend/.
//
// How an expression is lowered. `sq_eval_expr` turns syntax into a value (sq_val). Work per element
// is a tree (sq_sx) over index variables (sq_ivar), held in a value of kind SQ_V_EX together with
// the variables that stand for axes of its own: `x + y` of two matrices is a tree with two such
// axes, `x[n]` inside `y[n] = ...` one with one, in which n stays free. A definition makes a tree
// into an operation `generic`; reductions and axis operators inside it become operations of their
// own, whose axes are the free indices that they use. Whatever is bound to a name is computed at
// that point.
#pragma once
#include "frontend/ast.h"
#include "frontend/frontend.h"
#include "ir/ir.h"

typedef struct sq_sx sq_sx;
typedef struct sq_low sq_low;
typedef struct sq_scope sq_scope;
typedef struct sq_inst sq_inst;
typedef struct sq_val sq_val;

// ---- index variables ---------------------------------------------------------------------------
// Counts from 0 to its extent, which is written, or taken from the first axis that it reads alone.
typedef struct sq_ivar {
  const char *name;   // NULL: an axis of a value without a name of its own
  sq_span span;       // where it is bound
  sq_dim extent;      // {0}: not known yet
  bool fixed;         // the range was written: plain reads are checked against it, not compared
  bool bad;           // a fault was reported
  bool guarded;       // a read with `else` has it
  const char *limit;  // what was written behind its name and is no size; NULL: nothing
  sq_span from;       // where the extent comes from
  struct sq_ivar *is; // the variable that it was made equal to
  uint32_t id;        // order of creation: the order of axes
} sq_ivar;

// ---- trees -------------------------------------------------------------------------------------
typedef enum sq_sx_kind {
  SQ_SX_FLOAT,  // f
  SQ_SX_INT,    // i
  SQ_SX_DIM,    // dim
  SQ_SX_IVAR,   // iv
  SQ_SX_READ,   // v at pos
  SQ_SX_EWISE,  // ew of a
  SQ_SX_SELECT, // a[0] ? a[1] : a[2]
  SQ_SX_CAST,   // a[0]
  SQ_SX_REDUCE, // monoid over red where .. of a[0]
  SQ_SX_AXIS,   // axis operator over iv where .. of a[0]
} sq_sx_kind;
typedef enum sq_axis_op { SQ_AX_SOFTMAX, SQ_AX_CUMULATE, SQ_AX_SORT, SQ_AX_ARGSORT } sq_axis_op;

// Integers that are indices or sizes are computed in 64 bits (dtype I64, idx set) and are i32 once
// they become a value. A literal (lit) takes the other side's type.
struct sq_sx {
  sq_sx_kind kind;
  sq_dtype dtype;
  bool idx, lit;
  sq_span span;
  double f;
  int64_t i;
  sq_dim dim;
  sq_ivar *iv;
  sq_ewise ew;
  sq_sx *a[3];
  sq_value *v; // READ
  uint32_t n_pos;
  sq_sx **pos;
  sq_sx *other;     // the value outside, or NULL
  sq_monoid monoid; // REDUCE; AXIS: of a cumulation
  sq_axis_op op;
  uint32_t n_red;
  sq_ivar **red;
  uint32_t n_where;
  sq_sx **where;
  uint32_t mark;           // of walks
  uint32_t memo, memo_gen; // emission: scalar id, valid for one generic ..
  const void *memo_guard;  // .. under these guards
  sq_value *made;          // REDUCE, AXIS: already computed, over ..
  uint32_t n_made;
  sq_ivar **made_axis;
};

// A tree with axes of its own.
typedef struct sq_ex {
  sq_sx *root;
  uint32_t n_own;
  sq_ivar **own;
} sq_ex;

// ---- values ------------------------------------------------------------------------------------
// Which instance of a class: a constant, a scalar value, or (ix) a tree over indices of a
// definition,
// `[l: layer[l].weight]`. `many`: the class has instance numbers. `base`: c counts within one
// instance of that class; a declaration in it does not know which.
typedef struct sq_at {
  bool many;
  sq_inst *base;
  int64_t c;
  sq_value *v;
  sq_sx *ix;
} sq_at;

typedef enum sq_val_kind {
  SQ_V_POISON, // a fault was reported: says nothing more
  SQ_V_NONE,   // a call without results
  SQ_V_DIM,    // a size or an integer known at compile time
  SQ_V_FLOAT,
  SQ_V_BOOL,
  SQ_V_WORD, // a name as config
  SQ_V_STRING,
  SQ_V_LIST,
  SQ_V_TENSOR, // a value of the IR
  SQ_V_EX,     // a tree
  SQ_V_PARAM,
  SQ_V_STATE,
  SQ_V_TUPLE,
  SQ_V_FN, // fn, proc or entry, with the instance that owns it
  SQ_V_BUILTIN,
  SQ_V_MODULE,
  SQ_V_INST,
  SQ_V_INSTS, // an array of instances, not yet indexed
} sq_val_kind;

typedef struct sq_insts sq_insts;
struct sq_val {
  sq_val_kind kind;
  bool lit;  // DIM: written as a literal
  bool real; // DIM: the result of an exact `/`
  sq_dim dim;
  double f;
  int64_t i;                // BOOL; BUILTIN: number
  const char *s;            // WORD, STRING
  const sq_formal *choices; // WORD: of which argument
  sq_value *v;
  sq_ex *ex;
  uint32_t ref; // PARAM, STATE
  sq_at at;     // PARAM, STATE, INST, INSTS, FN
  uint32_t n;
  sq_val *item; // LIST, TUPLE
  sq_decl *decl;
  sq_scope *scope; // FN, MODULE: where its text stands
  sq_inst *inst;
  sq_insts *insts;
};

// ---- scopes ------------------------------------------------------------------------------------
typedef enum sq_bind_kind {
  SQ_B_LOCAL,  // bound by `=`, an argument
  SQ_B_CONFIG, // argument of a module or model
  SQ_B_SIZE,   // a size bound by a signature
  SQ_B_LOOP,   // the index of a loop
  SQ_B_INDEX,  // an index of a definition, reduction
  SQ_B_DECL,   // declared: param, sub, state, fn
  SQ_B_SHARED, // `sub` of an instance that exists
  SQ_B_LAZY,   // a definition outside functions, not yet evaluated
} sq_bind_kind;
typedef struct sq_bind {
  const char *name;
  sq_bind_kind kind;
  sq_span span;
  sq_val val;
  sq_decl *decl; // LAZY
  bool busy;     // LAZY: being evaluated
  sq_value *now; // of a size that a state's growth changes: what it is here
  uint32_t read; // the newest value when it was last read as that size
} sq_bind;
// The axes that `..` stands for.
typedef struct sq_dots {
  bool known;
  uint32_t n;
  sq_ivar **iv;      // of a definition or reduction
  const sq_dim *dim; // of a signature
  sq_span span;
} sq_dots;
typedef enum sq_scope_kind {
  SQ_SC_FILE,
  SQ_SC_INST,
  SQ_SC_CALL,
  SQ_SC_BLOCK,
  SQ_SC_INDICES
} sq_scope_kind;
struct sq_scope {
  sq_scope_kind kind;
  sq_scope *parent;
  SQ_VEC(sq_bind) bind;
  sq_inst *inst;           // INST
  sq_at at;                // CALL: the instance of the module whose scope is the parent
  sq_dots *dots;           // INDICES, CALL
  SQ_VEC(sq_scope *) uses; // FILE
};

// ---- instances ---------------------------------------------------------------------------------
// All instances of a module text with equal arguments at one place are one class: `count` copies.
struct sq_inst {
  sq_decl *decl;
  sq_inst *parent;
  const char *name; // as declared
  const char *path; // "block.attn", for printing
  sq_scope *scope;
  bool many;
  int64_t count;
  // Which members of the array at the parent: copy k is member index[k % n_index] of parent copy
  // k / n_index.
  uint32_t n_index;
  const int64_t *index;
  bool in_array;
  const char *index_name;
  SQ_VEC(sq_expr *) names; // `as`
  sq_scope *names_scope;   // where these are evaluated
  const char **paths;      // of the copies, n_paths each, once asked for
  uint32_t n_paths;
  sq_span span;
};
struct sq_insts {
  const char *name;
  int64_t n;
  uint32_t n_class;
  sq_inst **klass;
  uint32_t *klass_of, *place_of; // per member; NULL when there is one class
  sq_span span;
};

// ---- facts and guards --------------------------------------------------------------------------
// Conditions that hold where something is computed; newest first.
typedef struct sq_guard_list {
  const struct sq_guard_list *next;
  sq_sx *cond;
  bool negated;
  uint32_t born; // how many values there were
} sq_guard_list;

typedef struct sq_call_note {
  const struct sq_call_note *next;
  sq_span span;
  const sq_decl *decl;
  const sq_scope *scope;
  uint32_t depth;
} sq_call_note;

// A scalar integer input: its value, and the size symbol once it is used as a size.
typedef struct sq_scalar_in {
  sq_value *v;
  sq_sym sym;
  uint32_t arg;
  const char *name;
  sq_span span;
} sq_scalar_in;
typedef struct sq_file {
  const char *path;
  uint32_t source;
  sq_ast *ast;
  sq_scope *scope;
  bool busy;
} sq_file;
typedef struct sq_range_note { // the range of a scalar value
  sq_dim lo, hi;               // lo <= v < hi
  bool data;                   // it is made of data; else a loop's index
} sq_range_note;

typedef struct sq_unknown { // a name that was reported
  const char *name;
  const sq_decl *text;
} sq_unknown;

struct sq_low {
  sq_ctx *ctx;
  sq_arena *a;
  sq_diags *ds;
  sq_graph *g;
  const sq_front_options *o;
  SQ_VEC(sq_file *) files;
  sq_inst *root;
  sq_decl *model;
  sq_decls entries;
  // the function being lowered
  sq_func *f;
  sq_block *b;                 // where operations go; NULL: only compile-time values are possible
  uint32_t conditional;        // > 0: what stands here may not run in every call
  bool pure;                   // inside a fn
  bool at_load;                // inside an initial value or a load-time definition
  const sq_call_note *calls;   // innermost first
  const sq_guard_list *guards; // conditions under which the present expression is evaluated
  const sq_guard_list *branch; // conditions of the enclosing run-time branches
  struct sq_scan *scan;        // innermost `scan`
  uint32_t mark;               // innermost statement marked `require fused`; 0: none
  const sq_expr *effect_ok;    // the expression that may be a call with effects
  SQ_VEC(sq_scalar_in) scalar_in;
  SQ_VEC(sq_range_note) range; // by value id
  SQ_VEC(sq_sx *) size_tree;   // by value id: what a scalar is made of, if of sizes
  SQ_VEC(uint32_t) grown;      // by growing symbol: values below this id are older
  uint32_t next_ivar, walk, next_gen;
  uint32_t depth;      // of nested expressions
  uint32_t size_mode;  // > 0: in a size or position, where `/` must be exact
  const sq_decl *text; // the function whose text is being lowered, or NULL
  SQ_VEC(sq_unknown) unknown;
  uint32_t stale_said; // 1 + the id of the value last reported by sq_low_stale
  uint64_t effects;    // writes and other effects so far
  sq_span effect_at;   // the newest
  uint64_t work;       // statements lowered: a bound against runaway unrolling
  size_t had;          // bytes of the arena before the model, which are others'
  bool gave_up, said_large;
  sq_diag *last; // the newest error, and the calls around it
  SQ_VEC(const char *) chain;
};

// ---- diagnostics (resolve.c) -------------------------------------------------------------------
// As sq_error, without repeating what was said at the same place; adds the chain of calls.
sq_diag *sq_low_error(sq_low *L, sq_span span, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
void sq_low_flush(sq_low *L);                     // after the last error
const char *sq_low_text(sq_low *L, sq_span span); // source text, shortened
// A hint: the nearest of these names, or all of them when they are few.
void sq_low_suggest(sq_low *L, sq_diag *d, const char *word, const char *const *names, uint32_t n);
const char *sq_dim_str(sq_low *L, sq_dim d);
const char *sq_val_what(sq_low *L, const sq_val *v); // "a list", "an array [N, 32]"

// Sizes of everything in the graph (sizes.c).
void sq_low_sizes(sq_low *L);

// ---- scopes (resolve.c) ------------------------------------------------------------------------
sq_scope *sq_scope_new(sq_low *L, sq_scope_kind kind, sq_scope *parent);
sq_bind *sq_bind_add(sq_low *L, sq_scope *s, const char *name, sq_bind_kind kind, sq_span span,
                     sq_val v);
// The binding of a name and its value (lazy ones are evaluated, members get their instance).
// NULL: not visible. No message.
sq_bind *sq_lookup(sq_low *L, sq_scope *s, const char *name, sq_val *v);
sq_bind *sq_lookup_here(sq_scope *s, const char *name);
sq_diag *sq_unknown_name(sq_low *L, sq_scope *s, sq_span span, const char *name, const char *what);
const char *sq_std_names(sq_low *L);                // "`std.nn`, ..."
void sq_check_formals(sq_low *L, const sq_decl *d); // of a function or module: each name once
sq_val sq_member(sq_low *L, const sq_val *inst, const char *name, sq_span span);
bool sq_load_file(sq_low *L, const char *path, sq_span from, sq_file **out);
bool sq_load_text(sq_low *L, const char *name, const char *text, size_t n, sq_file **out);
sq_inst *sq_scope_inst(sq_scope *s);

// ---- values (value.c) --------------------------------------------------------------------------
static inline sq_val sq_poison(void) { return (sq_val){.kind = SQ_V_POISON}; }
sq_val sq_val_dim(sq_dim d);
sq_val sq_val_int(sq_low *L, int64_t v);
sq_val sq_val_float(double f);
sq_val sq_val_bool(bool b);
sq_val sq_val_tensor(sq_value *v);
sq_val sq_val_ex(sq_low *L, sq_sx *root, uint32_t n_own, sq_ivar *const *own);
sq_val sq_val_tuple(sq_low *L, uint32_t n, const sq_val *item);
bool sq_val_const_int(sq_low *L, const sq_val *v, int64_t *out);
bool sq_val_is_static(const sq_val *v); // known at compile time (or a size)
bool sq_val_equal(sq_low *L, const sq_val *a, const sq_val *b);
// A value as a tree; false after a message.
bool sq_val_to_ex(sq_low *L, const sq_val *v, sq_span span, sq_ex *out);
// The IR value of a parameter or state, read here; not for an instance chosen by indices.
sq_value *sq_val_load(sq_low *L, const sq_val *v, sq_span span);
// A size: of constants, sizes, integer scalar inputs. {0} after a message.
sq_dim sq_val_size(sq_low *L, const sq_val *v, sq_span span, const char *what);
bool sq_val_try_size(sq_low *L, const sq_val *v, sq_dim *out); // without a message
bool sq_sx_size(sq_low *L, const sq_sx *e, sq_dim *out);       // a tree made of sizes only
// Computed now: tensors for trees; static values, instances, functions stay what they are.
sq_val sq_val_settle(sq_low *L, const sq_val *v, sq_span span, const char *name);
// What a name may be bound to: as settle, but cheap trees over bound indices stay trees.
sq_val sq_val_bindable(sq_low *L, const sq_val *v, sq_span span, const char *name);
// One tensor, whatever it was; NULL after a message.
sq_value *sq_val_value(sq_low *L, const sq_val *v, sq_span span, const char *name);
// rank and extents, for tensors, trees, parameters, states; false for others.
bool sq_val_shape(sq_low *L, const sq_val *v, uint32_t *rank, sq_dim *dim, sq_dtype *dt);
sq_value *sq_at_value(sq_low *L, sq_at at, sq_span span); // NULL when not `many`
sq_at sq_at_combine(sq_low *L, sq_at parent, int64_t n, sq_at member,
                    sq_span span); // parent * n + member
sq_at sq_at_divide(sq_low *L, sq_at at, int64_t n, sq_span span);
bool sq_dtype_named(const char *name, sq_dtype *out);

// ---- trees (tree.c) ----------------------------------------------------------------------------
sq_ivar *sq_ivar_new(sq_low *L, const char *name, sq_span span, sq_dim extent);
sq_ivar *sq_ivar_root(sq_ivar *v);
sq_sx *sq_sx_float(sq_low *L, double f, sq_dtype t, bool lit);
sq_sx *sq_sx_int(sq_low *L, int64_t i, sq_dtype t, bool idx, bool lit);
sq_sx *sq_sx_dim(sq_low *L, sq_dim d);
sq_sx *sq_sx_ivar(sq_low *L, sq_ivar *v);
sq_sx *sq_sx_read(sq_low *L, sq_value *v, uint32_t n, sq_sx *const *pos, sq_span span);
sq_sx *sq_sx_ewise(sq_low *L, sq_ewise ew, sq_sx *a, sq_sx *b, sq_dtype t, bool idx);
sq_sx *sq_sx_select(sq_low *L, sq_sx *c, sq_sx *a, sq_sx *b); // of one type
sq_sx *sq_sx_cast(sq_low *L, sq_sx *a, sq_dtype t, bool idx); // folds, removes what does nothing
// Makes two operands of one type by the rules of promotion.
void sq_sx_promote(sq_low *L, sq_sx **a, sq_sx **b);
// Arithmetic, comparison, logic with promotion; NULL after a message.
sq_sx *sq_sx_binary(sq_low *L, sq_binop op, sq_sx *a, sq_sx *b, sq_span span);
sq_sx *sq_sx_float_of(sq_low *L, sq_sx *a);   // integers become the model's float
sq_sx *sq_sx_value_type(sq_low *L, sq_sx *a); // an index becomes i32
// An integer written in the text fits the type that it takes; else says so.
bool sq_sx_fits(sq_low *L, const sq_sx *literal, sq_dtype t, sq_span span);
// Substitution: own variables `from` by trees `to` (shared parts are kept shared).
sq_sx *sq_sx_subst(sq_low *L, sq_sx *e, uint32_t n, sq_ivar *const *from, sq_sx *const *to);
// A copy with fresh own axes.
sq_ex sq_ex_fresh(sq_low *L, const sq_ex *e);
// Makes the axes of b those of a, aligned at the end; the result's axes are left in a (and b).
bool sq_ex_align(sq_low *L, sq_ex *a, sq_ex *b, sq_span span_a, sq_span span_b);
typedef SQ_VEC(sq_ivar *) sq_ivars;
// The same where `to` depends on `inner`: what uses none of `inner` and can be computed before, is,
// for all of `from`, and read.
bool sq_sx_goes_first(sq_low *L, sq_sx *e, const sq_ivars *inner);
sq_sx *sq_sx_subst_first(sq_low *L, sq_sx *e, uint32_t n, sq_ivar *const *from, sq_sx *const *to,
                         const sq_ivars *inner);
void sq_sx_free(sq_low *L, sq_sx *e, sq_ivars *out); // adds free variables, each once
bool sq_sx_uses(sq_low *L, sq_sx *e, sq_ivar *v);
void sq_ivars_sort(sq_ivars *v);
bool sq_sx_cheap(sq_low *L, sq_sx *e); // worth computing again at each use
bool sq_sx_same(const sq_sx *a, const sq_sx *b);
void sq_sx_conjuncts(sq_low *L, sq_sx *c, sq_sx ***out, uint32_t *n); // splits `and`
bool sq_sx_is_true(const sq_sx *c);
bool sq_sx_is_false(const sq_sx *c);

// ---- ranges and proofs (prove.c) ---------------------------------------------------------------
// The index reads an axis of this extent alone.
void sq_ivar_reads(sq_low *L, sq_ivar *v, sq_dim extent, sq_span span);
bool sq_ivar_known(sq_low *L, sq_ivar *v); // has a range; else says so
// Are two sizes equal? Otherwise an error with both places.
typedef enum sq_proof { SQ_UNKNOWN, SQ_PROVED, SQ_WRONG } sq_proof;
sq_proof sq_prove_inside(sq_low *L, sq_sx *pos, sq_dim extent, const sq_guard_list *facts);
// For a position made of indices and sizes only: its bounds as sizes; false if data is in it.
bool sq_sx_bounds(sq_low *L, sq_sx *e, sq_dim *lo, sq_dim *hi);
const sq_guard_list *sq_guard_add(sq_low *L, const sq_guard_list *l, sq_sx *cond, bool negated);
void sq_require_size(sq_low *L, sq_dim a, sq_dim b, bool equal, sq_span span, const char *message);
void sq_range_note_set(sq_low *L, sq_value *v, sq_dim lo, sq_dim hi);

// ---- emission (emit.c, emit_axis.c, scalar.c) --------------------------------------------------
// The tree over these axes as an operation; its result.
sq_value *sq_emit_value(sq_low *L, sq_sx *root, uint32_t n, sq_ivar *const *axis, sq_span span,
                        const char *name);
// A write: target op (UPDATE, STATE_WRITE, PARAM_WRITE), axes, position per axis of the target.
typedef struct sq_write {
  sq_opcode op;
  sq_value *target; // UPDATE
  uint32_t ref;
  sq_at at;
  sq_type type; // of the target
  uint32_t n_axis;
  sq_ivar **axis;
  bool whole; // pos are the axes, the whole target is replaced
  sq_sx **pos;
  sq_sx *body;
  sq_span span;
  sq_span pos_span;
} sq_write;
sq_value *sq_emit_write(sq_low *L, const sq_write *w);
typedef struct sq_gen { // a generic being made
  sq_node *node;
  sq_generic *k;
  uint32_t id;
  uint32_t n_axis;
  sq_ivar *axis[2 * SQ_MAX_RANK];
  const sq_guard_list *domain; // hold wherever the body is evaluated
} sq_gen;
void sq_gen_start(sq_low *L, sq_gen *G, sq_opcode op, sq_span span, uint32_t n_par, uint32_t n_red,
                  sq_ivar *const *axis);
void sq_gen_place(sq_low *L, sq_gen *G);
uint32_t sq_gen_scalar(sq_low *L, sq_gen *G, sq_sx *e, const sq_guard_list *guards);
uint32_t sq_gen_operand(sq_low *L, sq_gen *G, sq_value *v);
bool sq_write_needs_site(sq_low *L, sq_sx *pos, sq_dim extent, const sq_guard_list *guards,
                         uint32_t axis, sq_span span);
sq_sx *sq_emit_inner(sq_low *L, sq_sx *e, const sq_ivars *order, const sq_guard_list *guards);
sq_value *sq_emit_reduce(sq_low *L, sq_sx *e, uint32_t n, sq_ivar *const *axis,
                         const sq_guard_list *guards, const char *name);
sq_value *sq_emit_axis(sq_low *L, sq_sx *e, uint32_t n, sq_ivar *const *axis,
                       const sq_guard_list *guards, const char *name);
bool sq_needs_guards(sq_low *L, sq_sx *e, const sq_guard_list *inner);
sq_type sq_axes_type(sq_low *L, sq_dtype t, uint32_t n, sq_ivar *const *axis);

// ---- expressions (expr.c, access.c, reduce.c, arith.c) -----------------------------------------
sq_val sq_eval_expr(sq_low *L, sq_scope *s, const sq_expr *e);
sq_val sq_eval_size_expr(sq_low *L, sq_scope *s, const sq_expr *e); // in size mode
sq_dim sq_eval_size(sq_low *L, sq_scope *s, const sq_expr *e, const char *what);
sq_val sq_eval_binary(sq_low *L, sq_binop op, const sq_val *a, const sq_val *b, const sq_expr *e,
                      const sq_expr *ea, const sq_expr *eb);
sq_val sq_eval_unary(sq_low *L, sq_binop op, const sq_val *a, sq_span span);
sq_val sq_eval_compare(sq_low *L, sq_scope *s, const sq_expr *e);
sq_val sq_eval_index(sq_low *L, sq_scope *s, const sq_expr *e, const sq_expr *other);
sq_val sq_eval_reduce(sq_low *L, sq_scope *s, const sq_expr *e);
sq_val sq_eval_array(sq_low *L, sq_scope *s, const sq_expr *e);
sq_sx *sq_eval_cond(sq_low *L, sq_scope *s, const sq_expr *e); // a bool tree without own axes
sq_val sq_apply_ewise(sq_low *L, sq_ewise ew, uint32_t n, const sq_val *arg, sq_span span);
sq_val sq_val_cast(sq_low *L, const sq_val *v, sq_dtype t, sq_span span);
sq_val sq_val_part(sq_low *L, const sq_val *v, uint32_t n_lead, sq_sx *const *pos, sq_span span,
                   sq_sx *other);

// ---- index lists (indices.c) -------------------------------------------------------------------
// The left side of a definition, or the head of an array or reduction: fresh indices in a scope.
typedef struct sq_axes {
  sq_scope *scope; // where the indices are visible
  uint32_t n;      // items
  sq_ivar **iv;    // per item; NULL for `..`
  sq_sx **first;   // `n in a .. b`: a, else NULL
  sq_sx **cond;    // reductions: `n < data`, else NULL
  int32_t dots_at; // item that is `..`, or -1
  sq_dots *dots;
  bool bad;
} sq_axes;
sq_axes sq_bind_axes(sq_low *L, sq_scope *s, uint32_t n, sq_expr *const *item, bool reduction);
// All indices in order, `..` expanded; ranges must be known by now.
bool sq_axes_list(sq_low *L, sq_axes *x, sq_ivars *out, sq_span span);
sq_val sq_axes_array(sq_low *L, sq_axes *x, const sq_val *v, sq_span span); // own axes in front

// ---- definitions, calls, statements ------------------------------------------------------------
sq_val sq_define(sq_low *L, sq_scope *s, uint32_t n, sq_expr *const *item, const sq_expr *value,
                 sq_span span, const char *name);
void sq_lower_define(sq_low *L, sq_scope *s, const sq_stmt *st);
void sq_lower_write(sq_low *L, sq_scope *s, const sq_stmt *st);
// Places on the left of `<-`, of a value with `rank` axes (places.c).
typedef struct sq_places {
  uint32_t n; // items
  sq_expr *const *item;
  sq_scope *scope;  // of all parts of the left side: an index means the same in each
  sq_ivars binders; // in order of appearance
} sq_places;
bool sq_places_bind(sq_low *L, sq_places *p, sq_scope *s, uint32_t rank);
sq_sx *sq_place_of(sq_low *L, sq_scope *s, const sq_expr *e); // one position; NULL after a message
sq_val sq_lower_call(sq_low *L, sq_scope *s, const sq_expr *e);
sq_val sq_call_fn(sq_low *L, const sq_val *fn, uint32_t n, const sq_val *arg,
                  const char *const *names, const sq_span *spans, sq_span span);
typedef struct sq_builtin {
  const char *name;
  int min_args, max_args;
  sq_val (*run)(sq_low *L, sq_scope *s, const sq_expr *e, const struct sq_builtin *b);
  bool effect;
  int ew; // scalar function; random: 1 normal
} sq_builtin;
extern const sq_builtin sq_builtin_table[];
extern const uint32_t sq_builtin_count;
const sq_builtin *sq_builtin_find(const char *name);

// The body of d in a scope where its arguments are bound; results checked against the signature.
sq_val sq_lower_body(sq_low *L, sq_scope *s, const sq_decl *d);
void sq_low_effect(sq_low *L, sq_span span); // a write, or another effect, happens here
sq_val sq_check_results(sq_low *L, sq_scope *s, const sq_decl *d, const sq_val *v, sq_span span);

// Values that loops and branches carry (carry.c).
typedef struct sq_carry_name {
  const char *name;
  sq_span span;
} sq_carry_name;
typedef SQ_VEC(sq_carry_name) sq_carry_names;
typedef SQ_VEC(sq_value *) sq_carry_values;
void sq_carry_assigned(sq_low *L, const sq_stmts *st, sq_carry_names *out);
bool sq_carry_local(sq_scope *s, const char *name, sq_val *v); // of the present function
bool sq_carry_flatten(sq_low *L, const sq_val *v, sq_span span, const char *name,
                      sq_carry_values *out);
sq_val sq_carry_rebuild(sq_low *L, const sq_val *like, sq_value *const *leaf, uint32_t *at);
sq_val sq_carry_convert(sq_low *L, const sq_val *v, const sq_val *like, sq_span span,
                        sq_span like_span, const char *name, bool branch);

// Lowers statements; `result` gets what `return` gave (NONE without).
void sq_lower_stmts(sq_low *L, sq_scope *s, const sq_stmts *st, sq_val *result);
void sq_lower_for(sq_low *L, sq_scope *s, const sq_stmt *st);
void sq_lower_while(sq_low *L, sq_scope *s, const sq_stmt *st);
void sq_lower_if(sq_low *L, sq_scope *s, const sq_stmt *st, sq_val *result);
void sq_lower_scan(sq_low *L, sq_scope *s, const sq_stmt *st);
void sq_lower_emit(sq_low *L, sq_scope *s, const sq_stmt *st);
void sq_assign(sq_low *L, sq_scope *s, const char *name, sq_span span, const sq_val *v);
void sq_lower_check(sq_low *L, sq_scope *s, const sq_expr *cond, const char *text, sq_span span);
void sq_lower_reserve(sq_low *L, sq_scope *s, const sq_stmt *st);
bool sq_low_work(sq_low *L, sq_span span); // false: enough
void sq_lower_reset(sq_low *L, sq_scope *s, sq_span span);
// The value converted to a declared type; poison after a message.
sq_val sq_val_convert(sq_low *L, const sq_val *v, sq_dtype t, sq_span span, const char *what,
                      bool narrow_floats);

// ---- sizes that change during a call (grown.c) ---------------------------------------------------
// Not what it is at the call's start: an extent that data choose, or that of a state that has grown.
bool sq_size_moves(const sq_low *L, sq_dim d);
void sq_grown_begin(sq_low *L); // an entry begins: nothing has grown
void sq_low_grown(sq_low *L, sq_sym s);
bool sq_low_has_grown(sq_low *L, sq_dim d, uint32_t since);    // a value's id
bool sq_low_stale(sq_low *L, const sq_value *v, sq_span span); // says so
// Has a size in the condition changed since the guard was added?
bool sq_guard_stale(const sq_low *L, const sq_guard_list *g);
// Values from before `first` that the loop uses and whose extents it changes, for its next turn.
bool sq_loop_fresh(sq_low *L, const sq_node *loop, uint32_t first); // else says so

// ---- instances, states, config, entries --------------------------------------------------------
sq_inst *sq_inst_model(sq_low *L, sq_decl *model, sq_file *file, sq_front_info *info);
void sq_inst_sub(sq_low *L, sq_inst *parent, sq_decl *d);
void sq_inst_decls(sq_low *L, sq_inst *inst, const sq_decls *decls);
const char **sq_inst_state_names(sq_low *L, sq_inst *inst, const char *name); // per copy
void sq_state_declare(sq_low *L, sq_inst *inst, sq_decl *d);
sq_val sq_state_derived(sq_low *L, sq_scope *s, sq_decl *d, const char *name);
void sq_lower_entry(sq_low *L, sq_inst *root, sq_decl *d);
void sq_lower_reset_entry(sq_low *L, sq_inst *root);
bool sq_config_value(sq_low *L, const char *text, const sq_val *like, sq_val *out,
                     const char **why);
const char *sq_val_text(sq_low *L, const sq_val *v); // as -D would take it
