// Contractions: result[batch, m, n] = post( sum over k of A(batch, m, k) * B(batch, n, k) ).
//
// A and B are any scalar expressions of these axes; each of batch, m, n, k stands for any number of
// axes, flattened. The axis in which the result is contiguous is the last of n; the vector lanes
// run along it.
#pragma once
#include "codegen/cpu/cut.h"
#include "codegen/cpu/kernel.h"

typedef struct sq_gemm_axes {
  uint32_t n, axis[SQ_K_AXES]; // outermost first
  sq_dim size;                 // product of the extents
} sq_gemm_axes;
typedef struct sq_gemm {
  sq_graph *g;
  const sq_node *node;
  uint32_t a, b; // scalars; b spans the n axes
  sq_gemm_axes batch, m, n, k;
  sq_dtype type;  // of the arithmetic: F32 or F64
  uint32_t bytes; // of its elements
  uint32_t w;     // lanes
  sq_gemm_cut cut;
  const sq_tuned_row *tuned; // where the cut comes from; NULL: it is the model's
  uint32_t nv, mr;           // the tile: mr rows of nv vectors
  uint32_t nr;               // nv * w columns
  uint32_t block_n;          // columns packed at a time, a multiple of nr; 0: all
  // B lies in panels already: an input read at [n // nr, k, n % nr], of which nothing is to be packed.
  bool packed;
  bool tiles;      // blocks of rows of A are laid out as tiles [k][mr] before they are used
  uint32_t panels; // the input's number
  sq_dtype panel;  // the type of the panels' elements: that of the arithmetic, or of 16 or 8 bits
  bool
      pairs; // panels of bf16 at [n // nr, k // 2, n % nr, k % 2]: two k beside each other in 32 bits
  bool dots; // A is bf16 too: one instruction for a pair; depth and elements of A count in pairs
} sq_gemm;

// ---- gemm.c
bool sq_gemm_find(sq_graph *g, const sq_target *t, const sq_node *n, sq_gemm *out);
// What distinguishes it for --tune: "contraction f32 packed bf16, rows * columns 1536 depth 384".
enum { SQ_CLASS_SIZE = 192 };
void sq_gemm_class(const sq_gemm *x, char class[SQ_CLASS_SIZE]);
// Another choice of x's cut, as if it had so many columns: the model's, or what --tune found.
void sq_gemm_recut(sq_gemm *x, const sq_target *t, sq_dim columns);
typedef struct sq_gemm_shape {
  int64_t direct; // rows up to which the direct form is taken, when their number is known; 0: never
  bool never_packed; // it is taken
  bool copies;       // A is copied, since its rows are not in memory as the tiles want them
} sq_gemm_shape;
sq_gemm_shape sq_gemm_shape_of(const sq_gemm *x, const sq_target *t);
// Scratch for x by itself, and in it the place of the copy of A, in the entry.
sq_kernel_scratch sq_gemm_scratch(const sq_gemm *x, const sq_target *t);
sq_lv sq_gemm_copy_at(sq_cg *cg, const sq_gemm *x);
bool sq_gemm_in_one(const sq_gemm *x); // all columns in one launch
// Opens the axes of one kind at a flattened index.
void sq_gemm_open(sq_knest *t, const sq_gemm_axes *x, sq_lv flat);
void sq_gemm_close(sq_knest *t, const sq_gemm_axes *x);
sq_lv sq_gemm_size(sq_kern *k, const sq_gemm_axes *x);      // in the kernel, >= 0
sq_lv sq_gemm_entry_size(sq_cg *cg, const sq_gemm_axes *x); // in the entry, >= 0
sq_lv sq_gemm_depth(sq_kern *k,
                    const sq_gemm *x); // of the panels' rows: that of k, or of its pairs
sq_lv sq_gemm_entry_depth(sq_cg *cg, const sq_gemm *x);
sq_dim sq_gemm_depth_dim(const sq_gemm *x);
sq_lv sq_gemm_load(sq_kern *k, const sq_gemm *x, sq_lv at, uint32_t w); // of the arithmetic's type
void sq_gemm_store(sq_kern *k, const sq_gemm *x, sq_lv at, sq_lv v);
sq_lv sq_gemm_at(sq_kern *k, const sq_gemm *x, sq_lv base, sq_lv index);
// Rows k of a packed panel: k rounded up, so that whole blocks of lanes may be written.
sq_lv sq_gemm_padded(sq_kern *k, const sq_gemm *x, sq_lv rows);
// Sums in `buffer` (rows of `stride` elements) of rows m0 .. m0+rows-1, columns n0 .. n0+columns-1:
// post and store. Batch axes are open.
void sq_gemm_finish(sq_knest *t, const sq_gemm *x, const sq_kplace *to, sq_lv buffer,
                    int64_t stride, sq_lv m0, sq_lv rows, sq_lv n0, sq_lv columns);

// Of a panel.
sq_lv sq_gemm_panel_at(sq_kern *k, const sq_gemm *x, sq_lv base, sq_lv index);

// A nest outside of any function's code, to ask about reads.
void sq_gemm_ask(sq_knest *t, sq_kern *k, sq_graph *g, sq_arena *a, const sq_target *target,
                 sq_cg *cg, const sq_node *n);

// ---- gemm_pack.c
// Kernel: columns n0 .. n0+columns-1 of B into panels at `panels` (all in the entry): for each
// batch element and each nr columns an array [padded k][nr].
void sq_gemm_pack_b(sq_cg *cg, const sq_gemm *x, sq_lv panels, sq_lv n0, sq_lv columns);
// Kernel: A as an array [batch][m][k] at `copy`.
void sq_gemm_copy_a(sq_cg *cg, const sq_gemm *x, sq_lv copy);
// Is A in memory such that a row's elements are a constant step apart?
bool sq_gemm_a_direct(sq_knest *t, const sq_gemm *x);
bool sq_gemm_a_dense(sq_knest *t, const sq_gemm *x); // beside each other
// Rows of A, at their pointers, into tiles [rows / mr][length][mr] at `out`, as many as are full.
// Writes up to a vector beyond.
void sq_gemm_interleave(sq_kern *k, const sq_gemm *x, sq_lv row, sq_lv rows, sq_lv length,
                        sq_lv step, sq_lv out);
// Does the memory of operand s run along k rather than along the axes of `other`?
bool sq_gemm_along_k(sq_knest *t, const sq_gemm *x, uint32_t s, const sq_gemm_axes *other);

// ---- gemm_micro.c
const uint32_t *sq_gemm_micro_rows(const sq_gemm *x);
typedef struct sq_gemm_micro_call {
  bool tiles;             // A is a tile
  sq_lv rows, from, step; // A: a tile, or pointers to rows; first k; distance of a row's elements
  sq_lv panel, depth;     // at that k
  sq_lv out, more;        // sums [rows][nr]; nonzero: added to
  sq_lv ahead;            // memory that will be wanted
} sq_gemm_micro_call;
void sq_gemm_micro(sq_kern *k, const sq_gemm *x, uint32_t rows, const sq_gemm_micro_call *call);
// Steps of a tile, its rows whole, and between them as many of the single row as fit: i64, how many.
// The row's sums are kept in two sets, of even and of odd k, until sq_gemm_micro_row ends them.
typedef struct sq_gemm_micro_pair {
  sq_lv tile, b, steps, sums,
      more;           // A and the panel at the first k; sums [mr][nr], added to if `more`
  sq_lv row, w, left; // the row and its panel at an even k; how much is left of them
  sq_lv out, some;    // sums [2][nr], added to if `some`
} sq_gemm_micro_pair;
sq_lv sq_gemm_micro_beside(sq_kern *k, const sq_gemm *x, const sq_gemm *y,
                           const sq_gemm_micro_pair *call);
void sq_gemm_micro_row(sq_kern *k, const sq_gemm *y, const sq_gemm_micro_pair *call);

// ---- gemm_beside.c
// A product in every turn of a scan, and one for all turns that can be made beside it.
typedef struct sq_gemm_pair {
  const sq_node *first, *scan, *turn;
  sq_gemm all, one;
  uint32_t tiles; // of rows of the first product, that are made together
} sq_gemm_pair;
bool sq_gemm_pair_of_first(sq_graph *g, const sq_target *t, const sq_node *n, sq_gemm_pair *out);
bool sq_gemm_pair_of_turn(sq_graph *g, const sq_target *t, const sq_node *n, sq_gemm_pair *out);
sq_dim sq_gemm_beside_size(const sq_gemm_pair *p); // shared scratch
// In the entry: rows of the first product that are made in front of the scan.
sq_lv sq_gemm_first_rows(sq_cg *cg, const sq_gemm_pair *p);
// What a turn's kernel is told, in the entry; after sq_gemm_beside_pass inside the kernel.
typedef struct sq_gemm_beside {
  const sq_gemm_pair *pair;
  sq_lv is;           // nonzero: a turn is one row
  sq_lv part;         // which part of the steps, of as many as there are rows in these tiles
  sq_lv depth;        // of the tiles; 0: there is nothing left to do
  sq_lv tile, panels; // A laid out, B
  sq_lv sums, out;    // of each unit; the place of the tile's first row in the result
} sq_gemm_beside;
sq_gemm_beside sq_gemm_beside_begin(sq_cg *cg, const sq_gemm_pair *p);
void sq_gemm_beside_pass(sq_kern *k, sq_gemm_beside *s);
typedef struct sq_gemm_beside_at {
  sq_lv unit, units, panel, panels; // of work; of the unit's panels
  sq_lv row, w, out;                // the state, the panel, sums [2][nr]
} sq_gemm_beside_at;
// The row times a panel, the sums in out[0], and a part of the tile.
void sq_gemm_beside_panel(sq_kern *k, const sq_gemm_beside *s, const sq_gemm_beside_at *at);

// ---- gemm_siblings.c
// Products of the same rows, side by side (`group outer 0`): panels, or stretches of columns where nothing
// is packed, are numbered through. Members that read one another are a lane, equally wide: for each panel
// of one it has as many numbers as members, and who has the first of them makes that panel of all.
typedef struct sq_gemm_sibling {
  sq_gemm x;
  uint32_t first, in_lane; // the lane: its first member; how many there are
} sq_gemm_sibling;
typedef struct sq_gemm_siblings {
  sq_gemm_sibling *v;
  uint32_t n;
  bool direct;       // nothing is packed
  bool copies;       // the rows are copied first
  const char *apart; // NULL, or why they run one after another
} sq_gemm_siblings;
bool sq_gemm_siblings_find(sq_graph *g, const sq_target *t, const sq_node *n,
                           sq_gemm_siblings *out);
// In the entry: have[k], panels or stretches of member k -> from[k], the number of its lane's first one.
// Returns how many there are in all.
sq_lv sq_gemm_sibling_numbers(sq_cg *cg, const sq_gemm_sibling *s, uint32_t n, const sq_lv *have,
                              sq_lv *from);
// In the kernel: those of a member, numbered by itself, that belong to lo .. hi-1 of all.
void sq_gemm_sibling_part(sq_kern *k, const sq_gemm_sibling *s, sq_lv from, sq_lv have, sq_lv *lo,
                          sq_lv *hi);

// ---- gemm_rows.c
// A group behind a product, whose rows may be run in the product's units of work.
typedef struct sq_gemm_rows {
  const sq_node *group;
  uint32_t n_row;  // its first outer axes number the product's rows
  const char *why; // they may not; NULL: they may
} sq_gemm_rows;
// False: no group reads the product's rows.
bool sq_gemm_rows_behind(sq_graph *g, const sq_target *t, const sq_node *n, sq_gemm_rows *out);
// Makes the group's kernel, in the entry before the product's launch.
const sq_kready *sq_gemm_rows_begin(sq_cg *cg, const sq_gemm_rows *r, sq_lv row_blocks, sq_lv rows,
                                    sq_lv panel_blocks);

// ---- gemm_tile.c
// Kernel: all rows times the packed columns. copy: NULL when A is read where it is.
// rows: the first ones alone; NULL: all. beside: NULL, or what is done beside it. siblings: NULL, or all
// of them, x the first one and columns their sum; their panels are what they read. behind: NULL, or a
// group that its units may run.
typedef struct sq_gemm_tiles_call {
  sq_lv panels, copy, n0, columns, rows;
  const sq_gemm_pair *beside;
  const sq_gemm_siblings *siblings;
  const sq_gemm_rows *behind;
} sq_gemm_tiles_call;
void sq_gemm_tiles(sq_cg *cg, const sq_gemm *x, const sq_gemm_tiles_call *call);

sq_dim sq_gemm_tiles_size(const sq_gemm *x); // scratch of a worker

// ---- gemm_direct.c
// How few rows can be done without packing; 0: never.
int64_t sq_gemm_direct_rows(sq_knest *t, const sq_gemm *x);
void sq_gemm_direct(sq_cg *cg, const sq_gemm_sibling *x, uint32_t n);
