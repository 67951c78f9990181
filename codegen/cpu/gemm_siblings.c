// Products of the same rows as one kernel (ir/contraction.h; the pass `siblings` finds them):
//
//   panels   | q: 0 .. 11 | k: 12 .. 23 | v: 24 .. 35 |      numbered through
//   units    |     0     |     1     |     2     | 3 ..      cut like those of one product
//
// A unit lays out its rows once, then goes through its panels, each with the weights, epilogue and result
// of its own member. Members that read one another's elements share their numbers, see gemm.h, so that
// who makes an element has made what it reads. Sums are added as in a kernel of each member's own.
//
// Where members turn out to be cut in different ways, which the pass does not make, they run one after
// another.
#include "codegen/cpu/gemm.h"

bool sq_kernel_is_siblings(const sq_node *n) { return n->op == SQ_OP_GROUP && !n->n_outer; }

// ---- finding -----------------------------------------------------------------------------------
static const char *differ(const sq_gemm_sibling *a, const sq_gemm_sibling *b) {
  const sq_gemm *x = &a->x, *y = &b->x;
  if (x->type != y->type || x->w != y->w) return "their vectors differ";
  if (x->packed != y->packed) return "one has its weights in panels, one has not";
  if (x->packed && (x->panel != y->panel || x->dots != y->dots || x->nr != y->nr))
    return "their panels differ";
  return NULL;
}
static void join_lanes(sq_gemm_siblings *s, uint32_t a, uint32_t b) {
  uint32_t x = s->v[a].first, y = s->v[b].first;
  for (uint32_t k = 0; k < s->n; k++)
    if (s->v[k].first == (x < y ? y : x)) s->v[k].first = x < y ? x : y;
}
static void find_lanes(sq_gemm_siblings *s, const sq_block *b) {
  for (uint32_t k = 0; k < s->n; k++) s->v[k].first = k;
  for (uint32_t k = 0; k < s->n; k++)
    for (uint32_t i = 0; i < b->nodes.v[k]->n_in; i++)
      for (uint32_t j = 0; j < k; j++)
        if (b->nodes.v[k]->in[i]->def == b->nodes.v[j]) join_lanes(s, j, k);
  for (uint32_t k = 0; k < s->n; k++)
    for (uint32_t j = 0; j < s->n; j++) s->v[k].in_lane += s->v[j].first == s->v[k].first;
}
static bool along_k(const sq_gemm *x, const sq_target *t) {
  sq_kern k;
  sq_cg cg;
  sq_knest nest;
  sq_gemm_ask(&nest, &k, x->g, x->g->arena, t, &cg, x->node);
  return sq_gemm_along_k(&nest, x, x->b, &x->n);
}
bool sq_gemm_siblings_find(sq_graph *g, const sq_target *t, const sq_node *n,
                           sq_gemm_siblings *out) {
  if (!sq_kernel_is_siblings(n)) return false;
  const sq_block *b = n->region[0];
  sq_dim columns = sq_dim_const(g->dims, 0);
  *out = (sq_gemm_siblings){.n = b->nodes.n - 1};
  out->v = SQ_ARRAY(g->arena, sq_gemm_sibling, out->n);
  for (uint32_t k = 0; k < out->n; k++) {
    sq_gemm_sibling *s = &out->v[k];
    if (!sq_gemm_find(g, t, sq_kernel_collapse(g, b->nodes.v[k]), &s->x)) {
      out->apart = "one is too small for tiles";
      return true;
    }
    if (!out->apart) out->apart = differ(&out->v[0], s);
    columns = sq_dim_add(g->dims, columns, s->x.n.size);
  }
  find_lanes(out, b);
  sq_gemm_shape first = sq_gemm_shape_of(&out->v[0].x, t);
  out->direct = first.never_packed;
  out->copies = first.copies;
  for (uint32_t k = 0; k < out->n; k++) {
    sq_gemm_sibling *s = &out->v[k], *lane = &out->v[s->first];
    sq_gemm_shape own = sq_gemm_shape_of(&s->x, t);
    if (own.never_packed != first.never_packed || own.copies != first.copies)
      out->apart = "they read their operands in different ways";
    if (!s->x.packed && !own.never_packed)
      out->apart = "what they multiply is laid out at each call";
    if (!sq_dim_same(s->x.n.size, lane->x.n.size) ||
        (out->direct && along_k(&s->x, t) != along_k(&lane->x, t)))
      out->apart = "they are not made in the same parts";
    sq_gemm_recut(&s->x, t, columns);
  }
  return true;
}

// ---- numbers -----------------------------------------------------------------------------------
sq_lv sq_gemm_sibling_numbers(sq_cg *cg, const sq_gemm_sibling *s, uint32_t n, const sq_lv *have,
                              sq_lv *from) {
  LLVMBuilderRef b = cg->builder;
  sq_lv all = LLVMConstInt(LLVMInt64TypeInContext(cg->ctx), 0, 0);
  for (uint32_t k = 0; k < n; k++) {
    from[k] = from[s[k].first];
    if (s[k].first != k) continue;
    from[k] = all;
    sq_lv times = LLVMConstInt(LLVMTypeOf(all), s[k].in_lane, 0);
    all = LLVMBuildAdd(b, all, LLVMBuildMul(b, have[k], times, ""), "");
  }
  return all;
}
void sq_gemm_sibling_part(sq_kern *k, const sq_gemm_sibling *s, sq_lv from, sq_lv have, sq_lv *lo,
                          sq_lv *hi) {
  sq_lv *end[2] = {lo, hi}, share = sq_k_int(k, s->in_lane);
  for (int i = 0; i < 2; i++) {
    sq_lv v = sq_k_max(k, LLVMBuildSub(k->b, *end[i], from, ""), sq_k_int(k, 0));
    *end[i] = sq_k_min(k, sq_k_ceil_div(k, k->b, v, share), have);
  }
}

// ---- the kernel --------------------------------------------------------------------------------
sq_kernel_scratch sq_siblings_need(sq_graph *g, const sq_target *t, const sq_node *n) {
  sq_gemm_siblings s;
  sq_gemm_siblings_find(g, t, n, &s);
  if (!s.apart) return sq_gemm_scratch(&s.v[0].x, t);
  sq_kernel_scratch all = {0};
  for (uint32_t k = 0; k < s.n; k++) {
    sq_kernel_scratch one = sq_gemm_need(g, t, n->region[0]->nodes.v[k]);
    sq_dim *to[2] = {&all.shared, &all.per_worker}, own[2] = {one.shared, one.per_worker};
    for (int i = 0; i < 2; i++)
      if (own[i].i) *to[i] = to[i]->i ? sq_dim_max(g->dims, *to[i], own[i]) : own[i];
  }
  return all;
}
void sq_kernel_siblings(sq_cg *cg, sq_node *n) {
  sq_gemm_siblings s;
  sq_gemm_siblings_find(cg->graph, cg->target, n, &s);
  for (uint32_t k = 0; s.apart && k < s.n; k++) sq_kernel_generic(cg, n->region[0]->nodes.v[k]);
  if (s.apart) return;
  if (s.direct) {
    sq_gemm_direct(cg, s.v, s.n);
    return;
  }
  const sq_gemm *x = &s.v[0].x;
  sq_gemm_tiles_call c = {.siblings = &s};
  if (s.copies) {
    c.copy = sq_gemm_copy_at(cg, x);
    sq_gemm_copy_a(cg, x, c.copy);
  }
  sq_gemm_tiles(cg, x, &c);
}
