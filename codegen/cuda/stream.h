// Attention in one pass (ir/stream.h) as a kernel: how it is cut, and what its files share.
//
//   stream.c         rows of a tile, shapes; the kernel: tiles of rows, blocks of keys; launches
//   stream_range.c   conditions -> the first and last key of a tile, and where none needs a test
//   stream_row.c     scores of a block become weights; maxima, sums; the end of a row
//   stream_fma.c     products in multiply-adds
//   stream_mma.c     products on tensor cores
//   stream_wgmma.c   the same by groups of four warps, on sm_90a
//   stream_bulk.c    its keys and values by tensor maps
//
// A block of threads has a tile of rows, which share keys; each warp 16 of them, or twice 16. Scores of a
// tile and a block of keys, and results, are in registers; both engines say which row, key and column
// a thread's element is, all else is the same for both.
#pragma once
#include "codegen/cuda/cuda.h"
#include "ir/stream.h"

typedef struct sq_cu_stream {
  sq_graph *g;
  sq_stream p;
  sq_dtype half;                      // on tensor cores, of this type; SQ_DTYPE_COUNT: not
  const char *type;                   // of scores and sums
  uint32_t n_tile, tile[SQ_MAX_RANK]; // rows that are taken together; the last runs fastest
  int64_t share;                      // so many indices of the last share keys; 0: all
  uint32_t n_batch,
      batch[SQ_MAX_RANK]; // the other rows, and the last of the tile's where share is set
  int64_t width;          // to whole steps; 0: not known
  int64_t columns;        // of a block, to whole steps
  bool chunks;            // several blocks of columns
} sq_cu_stream;

typedef struct sq_cu_stream_map {
  const char *name;
  uint32_t rank;
} sq_cu_stream_map;
typedef struct sq_cu_attend { // a kernel under construction
  const sq_cu_stream *s;
  sq_cu *k;
  sq_cu_nest score, max, value, sum[SQ_STREAM_SUMS];
  int warps, tall;                                    // rows of 16 that each warp has
  int rows, keys;                                     // of a tile
  int rt, kt, ct;                                     // rows, keys, columns of a thread
  int team;                                           // lanes, neighbours, that have the same rows
  void (*settle)(struct sq_cu_attend *x);             // of the engine
  bool split;                                         // keys may be split among blocks
  bool bulk;                                          // keys and values come by tensor maps
  sq_cu_stream_map map[2];                            // of keys, of values
  const char *row, *key, *column;                     // in the tile: of r, of j, of j
  const char *at_s, *at_o;                            // element (r, j) of scores and results
  const char *n_rows, *n_tiles;                       // of one set of rows that share keys
  const char *n_splits, *part;                        // part: memory for what splits leave
  LLVMValueRef entry_rows, entry_tiles, entry_splits; // in the entry; splits NULL: 1
} sq_cu_attend;

// ---- stream.c
sq_kernel_scratch sq_cuda_stream_need(sq_graph *g, const sq_node *n);
void sq_cuda_stream(sq_cg *cg, sq_node *n);
typedef struct sq_cu_mark {
  uint32_t at[3 + SQ_STREAM_SUMS];
} sq_cu_mark;
sq_cu_mark sq_cu_members_enter(sq_cu_attend *x);
void sq_cu_members_leave(sq_cu_attend *x, sq_cu_mark m);
// What the member is, for those that read it, until its scope is left.
void sq_cu_members_let(sq_cu_attend *x, const sq_stream_member *of, const char *name);
void sq_cu_rows_index(sq_cu_attend *x, const char *row); // indices of the tile's axes from `row`
// Opens the rows of this thread, r; `row` is one that there is.
void sq_cu_rows_open(sq_cu_attend *x);
bool sq_cu_stream_has_max(const sq_cu_attend *x);
// Does memory run along the axis, by `n` elements at a time?
bool sq_cu_stream_runs(const sq_cu_stream *s, const sq_stream_member *m, uint32_t read,
                       uint32_t axis, int64_t n);
uint32_t sq_cu_stream_read(const sq_stream_member *m, uint32_t factor); // behind casts

// ---- stream_range.c: names lo, hi, sure_lo, sure_hi
void sq_cu_stream_range(sq_cu_attend *x);

// ---- stream_row.c
void sq_cu_rows_begin(sq_cu_attend *x);       // statistics and results of no key
void sq_cu_rows_weigh(sq_cu_attend *x);       // scores in s become weights, o is rescaled
void sq_cu_rows_end(sq_cu_attend *x);         // results stored, or what a split has
void sq_cu_rows_combine(sq_cu_attend *x);     // by one thread, for element (row, c)
int sq_cu_stream_part(const sq_cu_attend *x); // numbers of a row that a split leaves

// ---- the engines
typedef struct sq_cu_engine {
  // What a tile is, and where in it the elements of a thread are.
  void (*shape)(sq_cu_attend *x, bool few);
  void (*begin)(sq_cu_attend *x);   // shared memory, the place of the thread
  void (*queries)(sq_cu_attend *x); // of a tile, and what comes before its first block of keys
  // Of the block of keys at k0, into s. NULL: `queries` makes s and those of the first block,
  // `values` those of the next.
  void (*scores)(sq_cu_attend *x);
  void (*values)(sq_cu_attend *x); // o += s times values; `holes`: but where s is 0
  void (*settle)(sq_cu_attend *x); // o may be touched from here on; NULL: always
  int together;                    // warps that a multiprocessor has registers for; 0: as may be
} sq_cu_engine;
extern const sq_cu_engine sq_cu_stream_fma, sq_cu_stream_mma, sq_cu_stream_wgmma;
bool sq_cu_stream_wgmma_fits(
    const sq_cu_stream *s); // sm_90a has a better body than sq_cu_stream_mma

// ---- stream_bulk.c
bool sq_cu_stream_maps(sq_cu_attend *x); // false: keys or values are no boxes of their memory
void sq_cu_stream_gates(sq_cu_attend *x);
void sq_cu_stream_ask(sq_cu_attend *x, bool values, const char *number, const char *first);
void sq_cu_stream_await(sq_cu_attend *x, bool values, const char *number);

// ---- what those of 16 bits share (stream_mma.c)
typedef struct sq_cu_lines { // keys or values of a block
  const sq_stream_member *m;
  sq_cu_nest *t;
  uint32_t role, factor;
  const char *tile, *to;            // shared memory; word of element d of line m in it
  const char *index, *first, *from; // name of the index along the line; key; index
  sq_dim n;
  int64_t length;
} sq_cu_lines;
const char *sq_cu_stream_half(const sq_cu_attend *x); // the type
sq_cu_lines sq_cu_stream_keys(sq_cu_attend *x, const char *first, const char *tile, const char *to);
sq_cu_lines sq_cu_stream_values(sq_cu_attend *x, const char *first, const char *tile,
                                const char *to);
void sq_cu_stream_bring(sq_cu_attend *x, const sq_cu_lines *l);
// Operands a of 16 of the width, from word d on, for each 16 rows, to element i of `to`.
void sq_cu_stream_queries(sq_cu_attend *x, const char *to);
// o += s times the values from word `from` of tile_v on, but where s is 0.
void sq_cu_stream_one_by_one(sq_cu_attend *x, const char *from, int pitch);
