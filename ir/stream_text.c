// What a `stream` is, in words for `seqm explain`: weights, which keys a row sees, what is shared.
//
//   softmax of rows over keys, causal, window of 128; 4 rows in a row share keys; gives max too
#include "ir/stream.h"
#include <string.h>

// A scalar as  key * keys + sum row[r] * rows + offset; reads that do not vary are part of the offset.
typedef struct line {
  bool ok;
  bool known;               // the offset is a number
  int64_t key, row, offset; // row: sum over all rows
  uint32_t rows;            // which
} line;

enum { DEEP = 12 }; // scalars share operands: what is deeper could be as many places as 2 to its depth

static line constant(int64_t v) { return (line){.ok = true, .known = true, .offset = v}; }

static line added(line a, line b, int64_t sign) {
  return (line){.ok = a.ok && b.ok,
                .known = a.known && b.known,
                .key = a.key + sign * b.key,
                .row = a.row + sign * b.row,
                .offset = a.offset + sign * b.offset,
                .rows = a.rows | b.rows};
}

static line line_of(const sq_stream_member *m, uint32_t id, int depth) {
  const sq_scalar *s = &m->n->g->s.v[id];
  if (depth > DEEP) return (line){0};
  if (s->kind == SQ_SC_INT && s->i > -(1ll << 40) && s->i < 1ll << 40) return constant(s->i);
  if (s->kind == SQ_SC_INDEX) {
    uint8_t role = m->role[s->axis];
    if (role == SQ_STREAM_KEY) return (line){.ok = true, .known = true, .key = 1};
    if (role < SQ_STREAM_KEY)
      return (line){.ok = true, .known = true, .row = 1, .rows = 1u << role};
    return (line){0};
  }
  if (s->kind == SQ_SC_DIM || (s->kind == SQ_SC_READ && !s->n_pos)) return (line){.ok = true};
  if (s->kind == SQ_SC_CAST) return line_of(m, s->a[0], depth + 1);
  if (s->kind != SQ_SC_EWISE || (s->ew != SQ_EW_ADD && s->ew != SQ_EW_SUB)) return (line){0};
  return added(line_of(m, s->a[0], depth + 1), line_of(m, s->a[1], depth + 1),
               s->ew == SQ_EW_ADD ? 1 : -1);
}

typedef enum kind { OTHER, CAUSAL, AFTER, WINDOW, LENGTH, START, BLOCKS, MASK, MASK2, PREFIX } kind;
typedef struct seen {
  kind kind;
  bool known;
  int64_t size;
} seen;

static void find_reads(const sq_stream_member *m, uint32_t id, uint32_t *axes, bool *reads,
                       int depth) {
  const sq_scalar *s = &m->n->g->s.v[id];
  if (depth > DEEP) return;
  if (s->kind == SQ_SC_INDEX) *axes |= 1u << s->axis;
  if (s->kind == SQ_SC_READ) {
    *reads |= s->n_pos != 0;
    for (uint32_t k = 0; k < s->n_pos; k++) find_reads(m, s->pos[k], axes, reads, depth + 1);
  }
  int n = s->kind == SQ_SC_EWISE    ? sq_ewise_table[s->ew].arity
          : s->kind == SQ_SC_SELECT ? 3
          : s->kind == SQ_SC_CAST   ? 1
                                    : 0;
  for (int k = 0; k < n; k++) find_reads(m, s->a[k], axes, reads, depth + 1);
}

static seen by_reads(const sq_stream_member *m, uint32_t id) {
  uint32_t axes = 0, lane = sq_stream_axis(m, 0);
  bool reads = false;
  find_reads(m, id, &axes, &reads, 0);
  (void)lane;
  if (!reads) return (seen){OTHER, false, 0};
  uint32_t key = 1u << sq_stream_axis(m, SQ_STREAM_KEY), last = 0;
  for (uint32_t a = 0; a < m->n->g->n_par; a++)
    if (m->role[a] < SQ_STREAM_KEY) last = 1u << a; // the last row: the queries
  return (seen){(axes & key) && !(axes & last) ? MASK : MASK2, false, 0};
}

// lhs <= rhs (+ plus)
static seen bound(const sq_stream_member *m, uint32_t lhs, uint32_t rhs, int64_t plus) {
  line d = added(line_of(m, lhs, 0), line_of(m, rhs, 0), -1); // d <= plus
  if (!d.ok) return (seen){OTHER, false, 0};
  int64_t off = plus - d.offset;
  if (d.key == 1 && d.row == -1) return (seen){CAUSAL, d.known, off};
  if (d.key == -1 && d.row == 1) return (seen){WINDOW, d.known, off + 1};
  if (d.key == 1 && !d.rows) return (seen){LENGTH, d.known, off + 1};
  if (d.key == -1 && !d.rows) return (seen){START, d.known, -off};
  return (seen){OTHER, false, 0};
}

static seen look(const sq_stream_member *m, uint32_t id, int depth) {
  const sq_scalar *s = &m->n->g->s.v[id];
  seen r = {OTHER, false, 0};
  if (s->kind == SQ_SC_EWISE && depth < 10) {
    if (s->ew == SQ_EW_LE || s->ew == SQ_EW_LT)
      r = bound(m, s->a[0], s->a[1], s->ew == SQ_EW_LE ? 0 : -1);
    if (s->ew == SQ_EW_NOT) {
      const sq_scalar *x = &m->n->g->s.v[s->a[0]];
      if (x->kind == SQ_SC_EWISE && (x->ew == SQ_EW_LE || x->ew == SQ_EW_LT))
        r = bound(m, x->a[1], x->a[0], x->ew == SQ_EW_LE ? -1 : 0);
    }
    if (s->ew == SQ_EW_OR) {
      seen a = look(m, s->a[0], depth + 1), b = look(m, s->a[1], depth + 1);
      if ((a.kind == CAUSAL && b.kind == LENGTH) || (b.kind == CAUSAL && a.kind == LENGTH))
        r.kind = PREFIX;
    }
    if (s->ew == SQ_EW_EQ) {
      const sq_scalar *x = &m->n->g->s.v[s->a[0]], *y = &m->n->g->s.v[s->a[1]];
      if (x->kind == SQ_SC_EWISE && y->kind == SQ_SC_EWISE && x->ew == SQ_EW_FLOORDIV &&
          y->ew == SQ_EW_FLOORDIV)
        r.kind = BLOCKS;
    }
  }
  return r.kind == OTHER ? by_reads(m, id) : r;
}

void sq_stream_condition(const sq_stream_member *m, uint32_t id, sq_text *t) {
  static const char *const words[] = {
      [OTHER] = "under a condition of their own",
      [CAUSAL] = "causal",
      [AFTER] = "from a place on",
      [WINDOW] = "in a window",
      [LENGTH] = "up to a length",
      [START] = "from a start on",
      [BLOCKS] = "in blocks",
      [MASK] = "by a mask of keys",
      [MASK2] = "by a mask of rows and keys",
      [PREFIX] = "causal after a prefix",
  };
  seen s = look(m, id, 0);
  sq_text_add(t, ", %s", words[s.kind]);
  if (s.known && (s.kind == WINDOW || s.kind == LENGTH))
    sq_text_add(t, " of %lld", (long long)s.size);
}

static const char *weights(const sq_stream *s) {
  if (s->max.n) return "softmax";
  const sq_generic *k = s->value.n->g;
  uint32_t id = s->w;
  if (k->s.v[id].kind == SQ_SC_READ) {
    k = s->score.n->g;
    if (k->post == SQ_NO_SCALAR) return "linear";
    id = k->post;
  }
  const sq_scalar *x = &k->s.v[id];
  if (x->kind != SQ_SC_EWISE) return "pointwise";
  if (x->ew == SQ_EW_MUL || x->ew == SQ_EW_DIV || x->ew == SQ_EW_ADD) {
    bool scaled = k == s->score.n->g && k->s.v[x->a[0]].kind == SQ_SC_ACC &&
                  line_of(&s->score, x->a[1], 0).ok;
    return scaled || (k->s.v[x->a[0]].kind == SQ_SC_ACC && k->s.v[x->a[1]].kind == SQ_SC_FLOAT)
               ? "linear"
               : "pointwise";
  }
  if (x->ew == SQ_EW_MAX) return "ReLU";
  if (sq_ewise_table[x->ew].arity == 1) return sq_ewise_table[x->ew].name;
  return "pointwise";
}

void sq_stream_describe(sq_graph *g, const sq_stream *s, sq_text *t) {
  const sq_stream_member *m = s->max.n ? &s->max : &s->value;
  sq_text_add(t, "%s attention", weights(s));
  for (uint32_t k = 0; k < m->n->g->domain.n; k++) sq_stream_condition(m, m->n->g->domain.v[k], t);
  for (uint32_t r = 0; r < s->n_rows; r++)
    if (sq_stream_shared(g, s, r) > 1)
      sq_text_add(t, ", %lld heads share keys", (long long)sq_stream_shared(g, s, r));
  uint32_t sums = 0;
  for (uint32_t k = 0; k < s->n_sum; k++) sums += s->sum[k].n->g->n_red != 0;
  sq_text_add(t, "; over the keys: %s", s->max.n ? "max, " : "");
  if (sums) sq_text_add(t, "%u %s, ", (unsigned)sums, sums > 1 ? "sums" : "sum");
  sq_text_add(t, "values");
  const sq_node *end = sq_block_end(s->node->region[0]);
  if (end->n_in > 1)
    sq_text_add(t, ", %u statistic%s of the rows too", (unsigned)(end->n_in - 1),
                end->n_in > 2 ? "s" : "");
}
