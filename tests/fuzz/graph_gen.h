// Random well-typed graphs. What the files of the generator share.
//
// In an exact graph all floats are whole numbers small enough for every float type, so compiled
// code must give the very numbers of the interpreter, and floats may decide (comparisons, sorting,
// conversions to integers). In the others functions round, and only indices, integers and booleans,
// which never come from floats, decide.
#pragma once
#include "tests/fuzz/differ.h"

typedef struct gn {
  sq_graph *g;
  sq_func *f;
  sq_block *b;
  sq_arena *a;
  uint64_t rng;
  bool exact, may_fail, attention, chains;
  SQ_VEC(sq_value *) mixed; // with `attention`: its results, to be outputs
  SQ_VEC(sq_value *) live;  // values in scope
  SQ_VEC(sq_dim) size;      // sizes in scope
  SQ_VEC(sq_func *) callee;
  int depth, pure, quiet; // quiet: no growing states change, for values of their extent are in use
  int nodes, max_nodes;
  double turns; // how often the present block runs, at the sizes of `nominal`
  int64_t nominal[64];
  uint32_t n_lives;
} gn;

// A float scalar and what its absolute value cannot exceed.
typedef struct gn_num {
  uint32_t id;
  double bound;
} gn_num;

uint32_t gn_next(gn *r, uint32_t below);
bool gn_one_in(gn *r, uint32_t n);
int64_t gn_nominal(gn *r, sq_dim d);
// A value in scope of the dtype (SQ_DTYPE_COUNT: any) and of rank at least min_rank, or NULL.
sq_value *gn_pick(gn *r, sq_dtype t, uint32_t min_rank);

// graph_scalar.c: scalars of the loop nest of n. `red`: reduced axes may be used.
typedef struct gn_nest {
  sq_node *n;
  uint32_t n_axes; // that may be used now
} gn_nest;
gn_num gn_float(gn *r, gn_nest w, sq_dtype t, int depth);
uint32_t gn_int(gn *r, gn_nest w, sq_dtype t, int depth);
uint32_t gn_bool(gn *r, gn_nest w, int depth);
uint32_t gn_any(gn *r, gn_nest w, sq_dtype t, int depth); // floats within gn_stored of their type
uint32_t gn_squash(gn *r, gn_nest w, sq_dtype t, gn_num x, double to);
uint32_t gn_read(gn *r, gn_nest w, sq_value *v);
// A position inside an axis of extent d, or SQ_NO_SCALAR when none is at hand. `once`: different
// for every index of the axes used.
uint32_t gn_inside(gn *r, gn_nest w, sq_dim d);
uint32_t gn_site(gn *r);
enum { GN_STORED = 8 };

// What the generator's other files use of graph_gen.c.
#define GN_MAX_STEPS 60000.0           // of a loop nest in all, at the sizes of `nominal`
sq_node *gn_node(gn *r, sq_opcode op); // at the end of the present block
sq_value *gn_live(gn *r, sq_value *v); // comes into scope
sq_value *gn_of_type(gn *r, sq_type t);
sq_dim gn_size(gn *r);             // one in scope
double gn_count(gn *r, sq_type t); // elements at the sizes of `nominal`

sq_value *gn_nest_result(gn *r, sq_node *n, sq_dtype t);
void gn_finish(gn *r, gn_nest w, sq_dtype acc); // `post` of a reduction
sq_value *gn_int_const(gn *r, int64_t x);
sq_value *gn_small_int(gn *r, uint32_t below);
bool gn_may_grow(gn *r);
void gn_block(gn *r, uint32_t n); // n operations

// graph_regions.c
void gn_nested(gn *r); // an operation with regions
void gn_call(gn *r);

// graph_rows.c
void gn_rows(gn *r);
void gn_attention(gn *r);

// graph_chains.c: long chains of shared expressions
gn_num gn_float_chain(gn *r, gn_nest w, sq_dtype t, gn_num x);
uint32_t gn_int_chain(gn *r, gn_nest w, uint32_t x);
uint32_t gn_bool_chain(gn *r, gn_nest w, uint32_t x, const uint32_t with[2]);
uint32_t gn_place_chain(gn *r, gn_nest w, uint32_t p);
void gn_chain(gn *r);
void gn_chained_attention(gn *r);

// graph_scans.c: scans of a matrix, and by maps, as text.
const char *gn_scans(sq_arena *a, uint64_t seed, fz_how *how);

// graph_gen.c
const char *gn_make(sq_ctx *ctx, sq_arena *a, uint64_t seed, fz_how *how, const char **source);
