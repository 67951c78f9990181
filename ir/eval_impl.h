// What the files of the interpreter share; nobody else includes it.
//   eval.c          tensors, failing, parameters, calling an entry
//   eval_state.c    states: first value, growing, writes as a whole, reset
//   eval_control.c  blocks, regions, calls: which node runs when
//   eval_ops.c      cumulate, sort, topk, random and the nodes around states
//   eval_generic.c  `generic`: a loop nest
//   eval_program.c  its scalar part as a flat program over vectors of elements
//   eval_scalar.c   scalar functions and casts on vectors
//
// Failing leaves by longjmp to sq_eval.guard. What is alive then is found by marking: tensors
// reachable from parameters, states and outputs stay, all others are freed (sq_eval.all lists every
// tensor).
#pragma once
#include "ir/eval.h"

typedef union sq_cell {
  double f;
  int64_t i;
} sq_cell;

// A tensor and its data, shared by counting: whoever writes does so only when it is the sole owner.
typedef struct sq_ten sq_ten;
struct sq_ten {
  sq_ten *prev, *next;
  uint32_t refs;
  int64_t count;
  sq_tensor64 t; // f or i points to data
  sq_cell data[];
};

typedef struct sq_state64 {
  sq_ten **value; // [count], NULL: not yet given its init
  sq_ten **row;   // [count], growing: what new rows hold, NULL: not yet known
  uint32_t count;
  int64_t extent; // growing: rows now
} sq_state64;

typedef struct sq_param64 {
  sq_ten **value; // [count], NULL: not loaded
  uint32_t count;
} sq_param64;

typedef struct sq_work sq_work; // a piece of scratch memory
struct sq_eval {
  sq_graph *g;
  sq_alloc alloc;
  sq_guard guard;
  sq_arena text; // for parts of messages; emptied at each call
  sq_eval_load load;
  void *user;
  sq_ten *all;
  // By value id; by node id the first value that dies after the node, then by value id the next
  // one.
  sq_ten **val;
  uint32_t n_val, n_node;
  uint32_t *die_first, *die_next;
  // Values in flight between blocks: yielded, carried, arguments.
  sq_ten **stack;
  uint32_t n_stack, cap_stack;
  int64_t *saved; // symbol values to restore after calls
  uint32_t n_saved, cap_saved;
  int64_t *sym; // [n_sym + 1]
  uint32_t n_sym;
  sq_param64 *param;
  uint32_t n_param;
  sq_state64 *state;
  uint32_t n_state;
  sq_work *work, *work_at;
  sq_tensor64 *out;
  sq_ten **out_held;
  uint32_t n_out, cap_out;
  uint32_t depth;
  sq_status status;
  sq_span where;
  char message[1024];
};

// ---- eval.c
_Noreturn void sq_eval_fail(sq_eval *e, sq_status s, sq_span where, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
// At a site: its place and message, followed by what fmt says.
_Noreturn void sq_eval_fail_site(sq_eval *e, uint32_t site, sq_span otherwise, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
// A value that must lie in 0 .. limit - 1.
_Noreturn void sq_eval_fail_outside(sq_eval *e, uint32_t site, sq_span otherwise, int64_t value,
                                    int64_t limit);
void *sq_eval_mem(sq_eval *e, void *p, size_t size); // realloc that fails the call
// Scratch memory, uninitialised, until the next reset (one per node).
void *sq_eval_take(sq_eval *e, size_t n, size_t size);
void sq_eval_work_reset(sq_eval *e);
// A new tensor, zero, one reference.
sq_ten *sq_ten_new(sq_eval *e, sq_span where, sq_dtype t, uint32_t rank, const int64_t *dim);
sq_ten *sq_ten_of_type(sq_eval *e, sq_span where, const sq_type *t); // shape by present symbols
sq_ten *sq_ten_keep(sq_ten *t);
void sq_ten_drop(sq_eval *e, sq_ten *t); // NULL is allowed
// The same data with one owner: t itself, or a copy (t dropped).
sq_ten *sq_ten_own(sq_eval *e, sq_span where, sq_ten *t);
int64_t sq_eval_dim(sq_eval *e, sq_dim d, sq_span where);
int64_t sq_eval_extent(sq_eval *e, sq_dim d, sq_span where); // fails below 0
sq_ten *sq_eval_get(sq_eval *e, const sq_value *v, sq_span where);
int64_t sq_eval_int(sq_eval *e, const sq_value *v, sq_span where); // an integer scalar
void sq_eval_set(sq_eval *e, const sq_value *v, sq_ten *t);        // takes the reference
void sq_eval_push(sq_eval *e, sq_ten *t);                          // takes the reference
sq_ten **sq_eval_param_slot(sq_eval *e, uint32_t param, int64_t instance, sq_span where);
// Binds the symbols of f from its arguments (the last `n` of the stack) and compares all sizes.
// Old values of the symbols are left on `saved` for sq_eval_unbind.
void sq_eval_bind(sq_eval *e, sq_func *f, uint32_t first);
void sq_eval_unbind(sq_eval *e, uint32_t saved);

// ---- eval_state.c
sq_ten **sq_eval_state_slot(sq_eval *e, uint32_t state, int64_t instance, sq_span where);
void sq_eval_state_extent(sq_eval *e, uint32_t state, int64_t n, sq_span where);
void sq_eval_state_reset(sq_eval *e);

// ---- eval_control.c
// Runs a block; its yielded values are pushed to the stack. Returns how many.
uint32_t sq_eval_block(sq_eval *e, const sq_block *b, sq_span where);
// Calls f with the values from stack[first] on as arguments; they are replaced by its results.
uint32_t sq_eval_function(sq_eval *e, sq_func *f, uint32_t first, sq_span where);

// ---- eval_ops.c
void sq_eval_cumulate(sq_eval *e, const sq_node *n);
void sq_eval_sort(sq_eval *e, const sq_node *n); // sort and argsort
void sq_eval_topk(sq_eval *e, const sq_node *n);
void sq_eval_random(sq_eval *e, const sq_node *n);
void sq_eval_update(sq_eval *e, const sq_node *n);
void sq_eval_param(sq_eval *e, const sq_node *n);
void sq_eval_param_write(sq_eval *e, const sq_node *n);
void sq_eval_state_read(sq_eval *e, const sq_node *n);
void sq_eval_state_write(sq_eval *e, const sq_node *n);
void sq_eval_reserve(sq_eval *e, const sq_node *n);

// ---- eval_generic.c
sq_ten *sq_eval_generic(sq_eval *e, const sq_node *n);
// The elements that a node with g->pos writes into `target`: their values and their places as
// linear offsets (-1: not written), in index order. Nothing is written yet.
void sq_eval_elements(sq_eval *e, const sq_node *n, const sq_ten *target, sq_ten **values,
                      sq_ten **places);

// ---- eval_scalar.c
int64_t sq_wrap(sq_dtype t, int64_t v);
int64_t sq_int_low(sq_dtype t);
int64_t sq_int_high(sq_dtype t);
// r[l] = ew(a[l * sa], b[l * sb]) for l < n; t is the operands' type. Unary: b = a.
void sq_cells_ewise(sq_ewise ew, sq_dtype t, size_t n, sq_cell *r, const sq_cell *a, size_t sa,
                    const sq_cell *b, size_t sb);
void sq_cells_cast(sq_dtype from, sq_dtype to, size_t n, sq_cell *r, const sq_cell *a, size_t sa);
