// contract: says of each contraction what is summed, for what, and where.
//
//   %s = generic (%q, %k) [h < 4, i < N, j < N] sum [e < 64] { where j <= i; %q[h, i, e] * %k[h, j, e] }
// ->
//   found contract: matrix product for each h < 4, i < N, j < N: sums over e < 64 the product of what
//   depends on h, i, e and what depends on h, j, e, where j <= i
//
// Changes nothing. Axes are named as in the source; operands are told apart by what they depend on, so
// that neither their names nor their order matter. Those that weigh by scores: contract_attention.c.
#include "passes/contract.h"

typedef sq_contract site;

static uint32_t n_axes(const sq_generic *k) { return k->n_par + k->n_red; }

// ---- factors -----------------------------------------------------------------------------------
enum { MAX_DEPTH = 64 }; // of a product of products

// False: more than can be told apart.
static bool add_factor(site *w, uint32_t id, int depth) {
  const sq_generic *k = w->n->g;
  const sq_scalar *s = &k->s.v[id];
  if (depth++ == MAX_DEPTH) return false;
  if (s->kind == SQ_SC_EWISE && (s->ew == SQ_EW_MUL || s->ew == SQ_EW_DIV))
    return add_factor(w, s->a[0], depth) && add_factor(w, s->a[1], depth);
  if (s->kind == SQ_SC_EWISE && s->ew == SQ_EW_NEG) return add_factor(w, s->a[0], depth);
  if (s->kind == SQ_SC_CAST && sq_is_float(s->dtype) && sq_is_float(k->s.v[s->a[0]].dtype))
    return add_factor(w, s->a[0], depth);
  uint32_t axes = sq_scalar_axes(k, id);
  if (!axes) return true;
  if (w->n_factor == SQ_CONTRACT_FACTORS || axes == UINT32_MAX) return false;
  uint32_t at = w->n_factor++;
  for (; at && w->axes[at - 1] > axes; at--) { // in an order that the source does not decide
    w->factor[at] = w->factor[at - 1];
    w->axes[at] = w->axes[at - 1];
  }
  w->factor[at] = id;
  w->axes[at] = axes;
  return true;
}

// Two or more factors, each varying along the sum, and not all of them one and the same: squares and
// weighted sums of a single array are plain reductions.
bool sq_contract_find(sq_graph *g, const sq_node *n, site *w) {
  *w = (site){.g = g, .n = n, .t = {.arena = g->arena}};
  const sq_generic *k = w->n->g;
  if (w->n->op != SQ_OP_GENERIC || !k->n_red || k->keyed || k->monoid != SQ_SUM) return false;
  if (!sq_is_float(k->s.v[k->body].dtype) || n_axes(k) > 31 || !add_factor(w, k->body, 0))
    return false;
  uint32_t summed = ((1u << n_axes(k)) - 1) & ~((1u << k->n_par) - 1), varying = 0;
  bool differ = false;
  for (uint32_t j = 0; j < w->n_factor; j++) {
    if (!(w->axes[j] & summed)) continue;
    varying++;
    differ |= w->factor[j] != w->factor[0];
  }
  return varying >= 2 && differ;
}

// ---- words -------------------------------------------------------------------------------------
static const char *axis_name(const site *w, uint32_t a) {
  const char *name = w->n->g->axis[a].name;
  return name ? name : sq_arena_fmt(w->t.arena, "axis %u", (unsigned)a);
}

static void say_axes(site *w, uint32_t axes, bool extents) {
  const char *comma = "";
  for (uint32_t a = 0; a < n_axes(w->n->g); a++) {
    if (!(axes >> a & 1)) continue;
    sq_text_add(&w->t, "%s%s", comma, axis_name(w, a));
    if (extents)
      sq_text_add(&w->t, " < %s", sq_dim_source_text(w->g->dims, w->n->g->axis[a].extent));
    comma = ", ";
  }
}

// What it is called: by the axes that some factors have and others lack.
static const char *kind(const site *w) {
  const sq_generic *k = w->n->g;
  if (w->n_factor > 2) return "contraction";
  uint32_t par = (1u << k->n_par) - 1, a = w->axes[0] & par, b = w->axes[1] & par;
  bool rows = a & ~b, columns = b & ~a;
  return rows && columns   ? "matrix product"
         : rows || columns ? "matrix-vector product"
                           : "dot product";
}

// `a <= b + plus` with the axes that count upwards on the left, those that count downwards on the right.
static bool say_order(site *w, uint32_t lhs, uint32_t rhs, int64_t plus) {
  sq_dims *ds = w->g->dims;
  sq_affine a = sq_scalar_affine(w->g, w->n->g, lhs), b = sq_scalar_affine(w->g, w->n->g, rhs);
  if (!a.ok || !b.ok) return false;
  sq_dim off = sq_dim_add(ds, sq_dim_sub(ds, b.offset, a.offset), sq_dim_const(ds, plus));
  int64_t c;
  bool known = sq_dim_is_const(ds, off, &c);
  for (int side = 0; side < 2; side++) {
    const char *sign = "";
    if (side) sq_text_add(&w->t, " <= ");
    for (uint32_t x = 0; x < n_axes(w->n->g); x++) {
      int64_t by = side ? b.coef[x] - a.coef[x] : a.coef[x] - b.coef[x];
      if (by <= 0) continue;
      sq_text_add(&w->t, "%s", sign);
      if (by != 1) sq_text_add(&w->t, "%lld ", (long long)by);
      sq_text_add(&w->t, "%s", axis_name(w, x));
      sign = " + ";
    }
    if (!side && !*sign) sq_text_add(&w->t, "0");
    if (!side || (known && !c && *sign)) continue;
    if (known && c < 0 && *sign)
      sq_text_add(&w->t, " - %lld", (long long)-c);
    else
      sq_text_add(&w->t, "%s%s", sign, sq_dim_source_text(ds, off));
  }
  return true;
}

static void say_condition(site *w, uint32_t id) {
  const sq_scalar *s = &w->n->g->s.v[id], *x = s;
  bool no = s->kind == SQ_SC_EWISE && s->ew == SQ_EW_NOT;
  if (no) x = &w->n->g->s.v[s->a[0]];
  if (x->kind == SQ_SC_EWISE && (x->ew == SQ_EW_LE || x->ew == SQ_EW_LT)) {
    bool strict = (x->ew == SQ_EW_LT) != no; // not (a < b) is b <= a
    if (say_order(w, x->a[no], x->a[!no], strict ? -1 : 0)) return;
  }
  uint32_t axes = sq_scalar_axes(w->n->g, id);
  if (!axes || axes == UINT32_MAX) {
    sq_text_add(&w->t, "a condition holds");
    return;
  }
  sq_text_add(&w->t, "a condition on ");
  say_axes(w, axes, false);
  sq_text_add(&w->t, " holds");
}

void sq_contract_say_domain(site *w, const sq_node *of) {
  const sq_node *own = w->n;
  w->n = of;
  for (uint32_t j = 0; j < of->g->domain.n; j++) {
    sq_text_add(&w->t, j ? " and " : ", where ");
    say_condition(w, of->g->domain.v[j]);
  }
  w->n = own;
}

static void tell(site *w, const sq_func *f) {
  const sq_generic *k = w->n->g;
  uint32_t par = (1u << k->n_par) - 1, all = (1u << n_axes(k)) - 1;
  sq_text_add(&w->t, "%s", kind(w));
  if (par) sq_text_add(&w->t, " for each ");
  say_axes(w, par, true);
  sq_text_add(&w->t, ": sums over ");
  say_axes(w, all & ~par, true);
  sq_text_add(&w->t, " the product of what depends on ");
  for (uint32_t j = 0; j < w->n_factor; j++) {
    if (j) sq_text_add(&w->t, j + 1 == w->n_factor ? " and what depends on " : "; on ");
    say_axes(w, w->axes[j], false);
  }
  sq_contract_say_domain(w, w->n);
  if (w->scan)
    sq_text_add(&w->t, ", in each turn of a scan over %s",
                sq_dim_source_text(w->g->dims, w->scan->extent));
  sq_remark_found(w->g->ctx, "contract", w->n->span, sq_pass_entry(f), w->t.v);
}

static void do_block(sq_graph *g, const sq_func *f, sq_block *b, const sq_node *scan) {
  for (uint32_t k = 0; k < b->nodes.n; k++) {
    sq_node *n = b->nodes.v[k];
    site w;
    if (sq_contract_find(g, n, &w)) {
      w.scan = scan;
      tell(&w, f);
      sq_contract_tell_attention(&w, f);
    }
    for (uint32_t r = 0; r < n->n_region; r++)
      do_block(g, f, n->region[r], n->op == SQ_OP_SCAN ? n : scan);
  }
}

bool sq_pass_contract(sq_graph *g, const sq_pass_options *o) {
  (void)o;
  for (uint32_t k = 0; k < g->func.n; k++) do_block(g, g->func.v[k], g->func.v[k]->body, NULL);
  return false;
}
