// split: products with weights that need nothing carried leave a scan, for all turns at once.
//
//   %h, %y = scan extent T carried 1 (%h0) { (%t, %a)
//     %z = generic (%w, %x, %t) [o < 8] sum [k < 4] { %w[o, k] * %x[i64(%t), k] }
//     %b = ...(%a, %z)
//     %o = generic (%v, %b) [o < 2] sum [k < 8] { %v[o, k] * %b[k] }
//     yield %b, %o }
//   ->
//   %Z = map [t < T] { (%t) %z = ...; yield %z }
//   %h, %B = scan extent T carried 1 (%h0) { (%t, %a)
//     %z = generic (%t, %Z) [o < 8] { %Z[i64(%t), o] }
//     %b = ...(%a, %z)
//     yield %b, %b }
//   %y = map [t < T] { (%t) %b = generic (%t, %B) ...; %o = ...; yield %o }
//
// `batch` then makes each map one product of matrices, in which a weight is read once for many
// turns. In front go products that depend on the turn alone, behind go products that are emitted.
// What is kept for all turns must not be larger in kind than what was there: its sizes are
// constants, or sizes of what the weight is multiplied with.
#include "passes/questions.h"
#include "passes/maker.h"

enum { BY_TURN = 1, BY_CARRIED = 2 }; // what a value inside the scan depends on

typedef struct splitter {
  sq_graph *g;
  sq_func *f;
  sq_node *scan;
  uint8_t *by;   // by value id
  bool *carried; // by node id: a carried value needs it
  bool *chosen;  // by node id: goes into the map
  uint32_t n_values, n_nodes;
  bool changed;
} splitter;

// ---- what depends on what ----------------------------------------------------------------------

static uint8_t depends(const splitter *w, const sq_node *n) {
  uint8_t by = 0;
  for (uint32_t k = 0; k < n->n_in; k++) by |= w->by[n->in[k]->id];
  for (uint32_t r = 0; r < n->n_region; r++)
    for (uint32_t k = 0; k < n->region[r]->nodes.n; k++) by |= depends(w, n->region[r]->nodes.v[k]);
  return by;
}

static void mark_needed(splitter *w, sq_node *n) {
  for (uint32_t k = 0; k < n->n_in; k++) {
    sq_node *d = n->in[k]->def;
    if (d && d->block == w->scan->region[0]) w->carried[d->id] = true;
  }
  for (uint32_t r = 0; r < n->n_region; r++)
    for (uint32_t k = 0; k < n->region[r]->nodes.n; k++) mark_needed(w, n->region[r]->nodes.v[k]);
}

static void analyse(splitter *w) {
  const sq_block *b = w->scan->region[0];
  const sq_node *end = sq_block_end(b);
  for (uint32_t k = 0; k < b->args.n; k++) w->by[b->args.v[k]->id] = k ? BY_CARRIED : BY_TURN;
  for (uint32_t k = 0; k + 1 < b->nodes.n; k++) {
    const sq_node *n = b->nodes.v[k];
    w->carried[n->id] = w->chosen[n->id] = false;
    for (uint32_t o = 0; o < n->n_out; o++) w->by[n->out[o]->id] = depends(w, n);
  }
  for (uint32_t k = 0; k < w->scan->n_carried; k++) {
    sq_node *d = end->in[k]->def;
    if (d && d->block == b) w->carried[d->id] = true;
  }
  for (uint32_t k = b->nodes.n - 1; k-- > 0;)
    if (w->carried[b->nodes.v[k]->id]) mark_needed(w, b->nodes.v[k]);
}

static bool inside(const splitter *w, const sq_value *v) {
  return v->def ? v->def->block == w->scan->region[0] : v->block == w->scan->region[0];
}

static void mark(uint32_t id, void *user) { ((bool *)user)[id] = true; }

// What the reads of a factor depend on.
static uint8_t factor_by(const splitter *w, const sq_node *n, uint32_t root) {
  const sq_generic *k = n->g;
  bool *seen = SQ_ARRAY(w->g->arena, bool, root + 1);
  uint8_t by = 0;
  seen[root] = true;
  for (uint32_t id = root + 1; id-- > 0;) {
    if (!seen[id]) continue;
    if (k->s.v[id].kind == SQ_SC_READ) by |= w->by[n->in[k->s.v[id].operand]->id];
    sq_scalar_refs(&k->s.v[id], mark, seen);
  }
  return by;
}

// ---- which products ----------------------------------------------------------------------------

static bool dim_among(sq_graph *g, sq_dim d, const sq_generic *k, uint32_t axes) {
  int64_t c;
  if (sq_dim_is_const(g->dims, d, &c)) return true;
  for (uint32_t a = 0; a < k->n_par + k->n_red; a++)
    if (axes >> a & 1 && sq_dim_same(k->axis[a].extent, d)) return true;
  return false;
}

static bool small(sq_graph *g, sq_type t, const sq_generic *k, uint32_t axes) {
  for (uint32_t a = 0; a < t.rank; a++)
    if (!dim_among(g, t.dim[a], k, axes)) return false;
  return true;
}

// A product with a weight, the same in every turn, of something that is not. *axes: those of the
// result that are not the weight's own.
static bool is_product(const splitter *w, const sq_node *n, uint32_t *axes) {
  sq_contraction c;
  if (n->op != SQ_OP_GENERIC || n->n_out != 1 || !sq_is_contraction(w->g, n, &c)) return false;
  uint8_t a = factor_by(w, n, c.a), b = factor_by(w, n, c.b);
  if ((a && b) || (!a && !b) || !(a ? c.n : c.m)) return false;
  *axes = c.batch | (a ? c.m : c.n);
  for (uint32_t k = 0; k < n->g->n_par; k++)
    if (!dim_among(w->g, n->g->axis[k].extent, n->g, *axes)) return false;
  return !sq_node_sized_inside(w->g, n, w->scan);
}

// What a product in front is made from, as far as it depends on the turn.
static bool choose(splitter *w, sq_node *n, const sq_generic *product, uint32_t axes) {
  if (w->chosen[n->id]) return true;
  if (n->op != SQ_OP_GENERIC || w->by[n->out[0]->id] & BY_CARRIED ||
      !small(w->g, n->out[0]->type, product, axes) || sq_node_sized_inside(w->g, n, w->scan))
    return false;
  for (uint32_t k = 0; k < n->n_in; k++)
    if (inside(w, n->in[k]) && n->in[k]->def && !choose(w, n->in[k]->def, product, axes))
      return false;
  return w->chosen[n->id] = true;
}

typedef SQ_VEC(sq_node *) nodes;
typedef SQ_VEC(sq_value *) values;

static bool listed(const values *l, const sq_value *v) {
  for (uint32_t k = 0; k < l->n; k++)
    if (l->v[k] == v) return true;
  return false;
}

static bool keep(const splitter *w, sq_value *v, sq_type emitted, values *kept) {
  if (!inside(w, v) || v == w->scan->region[0]->args.v[0] || listed(kept, v)) return true;
  for (uint32_t k = 0; k < v->type.rank; k++) {
    int64_t c;
    bool ok = sq_dim_is_const(w->g->dims, v->type.dim[k], &c);
    for (uint32_t j = 0; j < emitted.rank; j++) ok |= sq_dim_same(v->type.dim[k], emitted.dim[j]);
    if (!ok) return false;
  }
  if (v->type.rank + 1 > SQ_MAX_RANK) return false;
  sq_push(w->g->arena, kept, v);
  return true;
}

// What an emitted value is made from, back to products: elementwise work. `kept`: what these read,
// and the scan must emit.
static bool choose_behind(splitter *w, sq_value *v, sq_type emitted, values *kept, bool *found) {
  sq_node *n = inside(w, v) ? v->def : NULL;
  if (!n && v == w->scan->region[0]->args.v[0]) return true; // the turn itself
  uint32_t axes;
  bool product = n && !w->carried[n->id] && is_product(w, n, &axes);
  if (product || (n && !w->carried[n->id] && sq_node_is_elementwise(n) && !sq_node_may_fail(n) &&
                  w->by[v->id] & BY_CARRIED && !sq_node_sized_inside(w->g, n, w->scan))) {
    *found |= product;
    if (w->chosen[n->id]) return true;
    w->chosen[n->id] = true;
    for (uint32_t k = 0; k < n->n_in; k++) {
      if (!product && !choose_behind(w, n->in[k], emitted, kept, found)) return false;
      if (product && !keep(w, n->in[k], emitted, kept)) return false;
    }
    return true;
  }
  return keep(w, v, emitted, kept);
}

// ---- the map -----------------------------------------------------------------------------------

static sq_type with_turns(const splitter *w, sq_type t) {
  sq_dim d[SQ_MAX_RANK + 1] = {w->scan->extent};
  for (uint32_t k = 0; k < t.rank; k++) d[k + 1] = t.dim[k];
  return sq_type_make(w->g, t.dtype, t.rank + 1, d);
}

// %all[i64(%t), ...]: the part of turn t.
static sq_node *turn_of(const splitter *w, sq_block *to, sq_value *t, sq_value *all, sq_span span) {
  sq_value *in[] = {t, all};
  uint32_t rank = all->type.rank - 1, pos[SQ_MAX_RANK];
  sq_node *n = sq_node_new(w->g, to, SQ_OP_GENERIC, span, 2, in);
  n->g = sq_generic_new(w->g, rank, 0);
  uint32_t at = sq_sc_read(w->g, n->g, SQ_I32, 0, 0, NULL);
  pos[0] = sq_sc_cast(w->g, n->g, at, SQ_I64);
  for (uint32_t k = 0; k < rank; k++) {
    n->g->axis[k].extent = all->type.dim[k + 1];
    pos[k + 1] = sq_sc_index(w->g, n->g, k);
  }
  n->g->body = sq_sc_read(w->g, n->g, all->type.dtype, 1, rank + 1, pos);
  sq_type part = sq_type_make(w->g, all->type.dtype, rank, all->type.dim + 1);
  sq_node_result(w->g, n, part, all->name);
  return n;
}

static sq_node *map_before(splitter *w, sq_node *at, sq_value **t) {
  sq_node *m = sq_node_new(w->g, NULL, SQ_OP_MAP, w->scan->span, 0, NULL);
  m->g = sq_generic_new(w->g, 1, 0);
  m->g->axis[0] = (sq_axis){w->scan->extent, w->scan->region[0]->args.v[0]->name};
  sq_block *body = sq_node_region(w->g, m, w->f);
  *t = sq_block_arg(body, sq_type_scalar(SQ_I32), w->scan->region[0]->args.v[0]->name);
  sq_node_insert_before(at, m);
  return m;
}

static void clone_chosen(splitter *w, sq_block *to, sq_value **map) {
  const sq_block *b = w->scan->region[0];
  for (uint32_t k = 0; k + 1 < b->nodes.n; k++)
    if (w->chosen[b->nodes.v[k]->id]) sq_node_clone(w->g, b->nodes.v[k], to, map, NULL, 0);
}

// ---- in front ----------------------------------------------------------------------------------

static bool reads_any(const sq_node *n, const sq_value *v) {
  for (uint32_t k = 0; k < n->n_in; k++)
    if (n->in[k] == v) return true;
  for (uint32_t r = 0; r < n->n_region; r++)
    for (uint32_t k = 0; k < n->region[r]->nodes.n; k++)
      if (reads_any(n->region[r]->nodes.v[k], v)) return true;
  return false;
}

// By something in the scan that is not chosen.
static bool used_by_others(const splitter *w, const sq_value *v) {
  const sq_block *b = w->scan->region[0];
  for (uint32_t k = 0; k < b->nodes.n; k++)
    if (!w->chosen[b->nodes.v[k]->id] && reads_any(b->nodes.v[k], v)) return true;
  return false;
}

static void front_products(splitter *w, nodes *products) {
  const sq_block *b = w->scan->region[0];
  bool *before = SQ_ARRAY(w->g->arena, bool, w->n_nodes);
  for (uint32_t k = 0; k + 1 < b->nodes.n; k++) {
    sq_node *n = b->nodes.v[k];
    uint32_t axes;
    if (!n->n_out || w->by[n->out[0]->id] != BY_TURN || n->out[0]->type.rank == SQ_MAX_RANK ||
        !is_product(w, n, &axes))
      continue;
    memcpy(before, w->chosen, w->n_nodes * sizeof *before);
    if (choose(w, n, n->g, axes))
      sq_push(w->g->arena, products, n);
    else
      memcpy(w->chosen, before, w->n_nodes * sizeof *before);
  }
  uint32_t kept = 0;
  for (uint32_t k = 0; k < products->n; k++)
    if (used_by_others(w, products->v[k]->out[0])) products->v[kept++] = products->v[k];
  products->n = kept;
}

static bool move_front(splitter *w) {
  const sq_block *b = w->scan->region[0];
  nodes products = {0};
  front_products(w, &products);
  if (!products.n) return false;
  sq_value **map = SQ_ARRAY(w->g->arena, sq_value *, w->n_values);
  sq_node *m = map_before(w, w->scan, &map[b->args.v[0]->id]);
  clone_chosen(w, m->region[0], map);
  sq_value **out = SQ_ARRAY(w->g->arena, sq_value *, products.n);
  for (uint32_t k = 0; k < products.n; k++) out[k] = map[products.v[k]->out[0]->id];
  sq_node_new(w->g, m->region[0], SQ_OP_YIELD, w->scan->span, products.n, out);
  for (uint32_t k = 0; k < products.n; k++) {
    sq_node *n = products.v[k];
    sq_value *all = sq_node_result(w->g, m, with_turns(w, n->out[0]->type), n->out[0]->name);
    sq_node *read = turn_of(w, NULL, b->args.v[0], all, n->span);
    sq_node_insert_before(n, read);
    sq_replace_uses(w->f, n->out[0], read->out[0]);
    sq_node_remove(n);
    sq_remark_add(w->g->ctx, "split", true, n->span, sq_pass_entry(w->f),
                  "a product with a weight, for all turns of the scan at once before it");
  }
  return true;
}

// ---- behind ------------------------------------------------------------------------------------

// Emitted values that move, as bits of `moved`, and what is emitted in their place.
static bool choose_emitted(splitter *w, bool *moved, values *kept) {
  const sq_node *end = sq_block_end(w->scan->region[0]);
  bool *before = SQ_ARRAY(w->g->arena, bool, w->n_nodes), any = false;
  for (uint32_t e = w->scan->n_carried; e < end->n_in; e++) {
    uint32_t n_kept = kept->n;
    bool found = false;
    memcpy(before, w->chosen, w->n_nodes * sizeof *before);
    moved[e] = choose_behind(w, end->in[e], end->in[e]->type, kept, &found) && found;
    any |= moved[e];
    if (moved[e]) continue;
    memcpy(w->chosen, before, w->n_nodes * sizeof *before);
    kept->n = n_kept;
  }
  const sq_block *b = w->scan->region[0];
  for (uint32_t k = 0; any && k + 1 < b->nodes.n; k++) { // nothing is computed twice
    const sq_node *n = b->nodes.v[k];
    for (uint32_t j = 0; w->chosen[n->id] && j + 1 < b->nodes.n; j++)
      if (!w->chosen[b->nodes.v[j]->id] && reads_any(b->nodes.v[j], n->out[0])) return false;
    for (uint32_t e = 0; w->chosen[n->id] && e < end->n_in; e++)
      if (!moved[e] && end->in[e] == n->out[0]) return false;
  }
  return any;
}

// The scan anew, with the results that stay and one for each value of `kept`, in all[].
static sq_node *scan_again(splitter *w, const bool *moved, const values *kept, sq_value **all) {
  sq_node *old = w->scan, *end = sq_block_end(old->region[0]);
  sq_node *n = sq_node_new(w->g, NULL, SQ_OP_SCAN, old->span, old->n_in, old->in);
  n->extent = old->extent;
  n->flag = old->flag;
  n->n_carried = old->n_carried;
  n->n_region = 1;
  n->region = old->region;
  n->region[0]->owner = n;
  values yield = {0};
  for (uint32_t k = 0; k < end->n_in; k++) {
    if (moved[k]) continue;
    sq_push(w->g->arena, &yield, end->in[k]);
    sq_value *v = sq_node_result(w->g, n, old->out[k]->type, old->out[k]->name);
    sq_replace_uses(w->f, old->out[k], v);
  }
  for (uint32_t k = 0; k < kept->n; k++) {
    sq_push(w->g->arena, &yield, kept->v[k]);
    all[k] = sq_node_result(w->g, n, with_turns(w, kept->v[k]->type), kept->v[k]->name);
  }
  sq_node_remove(end);
  sq_node_new(w->g, n->region[0], SQ_OP_YIELD, end->span, yield.n, yield.v);
  return n;
}

static bool move_behind(splitter *w) {
  sq_node *old = w->scan, *end = sq_block_end(old->region[0]);
  bool *moved = SQ_ARRAY(w->g->arena, bool, end->n_in + 1);
  values kept = {0}, given = {0};
  if (!choose_emitted(w, moved, &kept)) return false;
  sq_value **map = SQ_ARRAY(w->g->arena, sq_value *, w->n_values);
  sq_value **all = SQ_ARRAY(w->g->arena, sq_value *, kept.n + 1);
  sq_value **t = &map[old->region[0]->args.v[0]->id];
  sq_node *m = map_before(w, old, t);
  for (uint32_t k = 0; k + 1 < old->region[0]->nodes.n; k++)
    if (w->chosen[old->region[0]->nodes.v[k]->id])
      sq_remark_add(w->g->ctx, "split", true, old->region[0]->nodes.v[k]->span, sq_pass_entry(w->f),
                    "for all turns of the scan at once, behind it");
  sq_node *scan = scan_again(w, moved, &kept, all);
  sq_node_insert_before(m, scan);
  for (uint32_t k = 0; k < kept.n; k++)
    map[kept.v[k]->id] = turn_of(w, m->region[0], *t, all[k], old->span)->out[0];
  clone_chosen(w, m->region[0], map);
  for (uint32_t e = old->n_carried; e < end->n_in; e++) {
    if (!moved[e]) continue;
    sq_push(w->g->arena, &given, map[end->in[e]->id]);
    sq_value *v = sq_node_result(w->g, m, old->out[e]->type, old->out[e]->name);
    sq_replace_uses(w->f, old->out[e], v);
  }
  sq_node_new(w->g, m->region[0], SQ_OP_YIELD, old->span, given.n, given.v);
  sq_node_remove(old);
  w->scan = scan;
  return true;
}

// ---- the pass ----------------------------------------------------------------------------------

static void start(splitter *w, sq_node *scan) {
  w->scan = scan;
  w->n_values = w->g->n_values;
  w->n_nodes = w->g->n_nodes;
  w->by = SQ_ARRAY(w->g->arena, uint8_t, w->n_values);
  w->carried = SQ_ARRAY(w->g->arena, bool, w->n_nodes);
  w->chosen = SQ_ARRAY(w->g->arena, bool, w->n_nodes);
  analyse(w);
}

static void do_block(splitter *w, sq_block *b) {
  for (uint32_t k = 0; k < b->nodes.n; k++) {
    sq_node *n = b->nodes.v[k];
    if (sq_node_is_kernel(n)) continue; // one loop, whose body stays as it is
    for (uint32_t r = 0; r < n->n_region; r++) do_block(w, n->region[r]); // innermost first
    if (n->op != SQ_OP_SCAN) continue;
    uint32_t before = b->nodes.n;
    start(w, n);
    w->changed |= move_front(w);
    start(w, n);
    w->changed |= move_behind(w);
    k += b->nodes.n - before;
  }
}

bool sq_pass_split(sq_graph *g, const sq_pass_options *o) {
  (void)o;
  splitter w = {.g = g};
  for (uint32_t k = 0; k < g->func.n; k++) {
    w.f = g->func.v[k];
    do_block(&w, w.f->body);
  }
  return w.changed;
}
