// Contractions: finding them, and the plan of a call in the entry:
//
//   B in panels since load   tiles of A times panels
//   few rows, known          direct: operands read where they are
//   else                     for each block of columns: pack B into panels, then tiles
#include "codegen/cpu/gemm.h"

// ---- finding -----------------------------------------------------------------------------------
static uint32_t scalar_deps(const sq_generic *g, uint32_t *deps, uint32_t s) {
  const sq_scalar *x = &g->s.v[s];
  uint32_t d = 0;
  if (x->kind == SQ_SC_INDEX) return 1u << x->axis;
  if (x->kind == SQ_SC_ACC) return SQ_K_ACC;
  if (x->kind == SQ_SC_READ) {
    for (uint32_t i = 0; i < x->n_pos; i++) d |= deps[x->pos[i]];
    if (x->guard != SQ_NO_SCALAR) d |= deps[x->guard];
    if (x->other != SQ_NO_SCALAR) d |= deps[x->other];
    return d;
  }
  uint32_t n = x->kind == SQ_SC_EWISE    ? (uint32_t)sq_ewise_table[x->ew].arity
               : x->kind == SQ_SC_SELECT ? 3
               : x->kind == SQ_SC_CAST   ? 1
                                         : 0;
  for (uint32_t i = 0; i < n; i++) d |= deps[x->a[i]];
  return d;
}
static void add_axis(sq_graph *g, const sq_generic *k, sq_gemm_axes *x, uint32_t axis) {
  x->axis[x->n++] = axis;
  x->size = sq_dim_mul(g->dims, x->size, k->axis[axis].extent);
}
// A product of many factors may be taken apart in several ways: one side is one factor.
static bool sides(const sq_generic *k, const uint32_t *deps, uint32_t *a, uint32_t *b) {
  const sq_scalar *x = &k->s.v[k->body];
  if (x->kind != SQ_SC_EWISE || x->ew != SQ_EW_MUL) return false;
  *a = x->a[0];
  *b = x->a[1];
  (void)deps;
  return *a != *b;
}
// May fail: then the order of its test and the sums would matter.
static bool has_site(const sq_generic *k, uint32_t s, uint32_t *left) {
  const sq_scalar *x = &k->s.v[s];
  if (!*left) return true;
  --*left;
  if (x->kind == SQ_SC_READ) {
    if (x->site != SQ_NO_SITE) return true;
    for (uint32_t i = 0; i < x->n_pos; i++)
      if (has_site(k, x->pos[i], left)) return true;
    if (x->guard != SQ_NO_SCALAR && has_site(k, x->guard, left)) return true;
    return x->other != SQ_NO_SCALAR && has_site(k, x->other, left);
  }
  uint32_t n = x->kind == SQ_SC_EWISE    ? (uint32_t)sq_ewise_table[x->ew].arity
               : x->kind == SQ_SC_SELECT ? 3
               : x->kind == SQ_SC_CAST   ? 1
                                         : 0;
  for (uint32_t i = 0; i < n; i++)
    if (has_site(k, x->a[i], left)) return true;
  return false;
}
// Is it the flattened index of the axes x?
static bool is_flat(sq_graph *g, const sq_generic *k, sq_affine a, const sq_gemm_axes *x) {
  int64_t step = 1, e, zero;
  if (!a.ok || !sq_dim_is_const(g->dims, a.offset, &zero) || zero) return false;
  for (uint32_t i = x->n; i-- > 0;) {
    if (a.coef[x->axis[i]] != step) return false;
    a.coef[x->axis[i]] = 0;
    if (i && !sq_dim_is_const(g->dims, k->axis[x->axis[i]].extent, &e)) return false;
    if (i) step *= e;
  }
  for (uint32_t i = 0; i < k->n_par + k->n_red; i++)
    if (a.coef[i]) return false;
  return true;
}
// What is divided by nr, or NULL.
static const sq_scalar *split(const sq_generic *k, uint32_t s, sq_ewise e, int64_t nr) {
  const sq_scalar *x = &k->s.v[s];
  if (x->kind != SQ_SC_EWISE || x->ew != e) return NULL;
  const sq_scalar *y = &k->s.v[x->a[1]];
  return y->kind == SQ_SC_INT && y->i == nr ? x : NULL;
}
// The column that lies at [panel, lane], where these are inside the array: n of [n // nr, n % nr], or
// the sum panel * nr + lane that has been taken apart already.
static sq_affine column_of(sq_graph *g, const sq_generic *k, uint32_t panel, uint32_t lane,
                           int64_t nr) {
  const sq_scalar *whole = split(k, panel, SQ_EW_FLOORDIV, nr);
  const sq_scalar *rest = split(k, lane, SQ_EW_MOD, nr);
  if (whole || rest) {
    bool same = whole && rest && whole->a[0] == rest->a[0];
    return same ? sq_scalar_affine(g, k, whole->a[0]) : (sq_affine){.ok = false};
  }
  sq_affine p = sq_scalar_affine(g, k, panel), l = sq_scalar_affine(g, k, lane);
  if (!p.ok || !l.ok) return (sq_affine){.ok = false};
  for (uint32_t i = 0; i < SQ_MAX_RANK * 2; i++) l.coef[i] += p.coef[i] * nr;
  l.offset =
      sq_dim_add(g->dims, l.offset, sq_dim_mul(g->dims, p.offset, sq_dim_const(g->dims, nr)));
  return l;
}
// Is k the row of the panel, or row and place in a pair?
static bool is_row(const sq_gemm *x, const sq_scalar *b, int64_t have) {
  sq_graph *g = x->g;
  const sq_generic *k = x->node->g;
  int64_t depth, pair = b->n_pos == 4 ? 2 : 1;
  sq_affine at =
      pair == 2 ? column_of(g, k, b->pos[1], b->pos[3], 2) : sq_scalar_affine(g, k, b->pos[1]);
  return is_flat(g, k, at, &x->k) && sq_dim_is_const(g->dims, x->k.size, &depth) &&
         have * pair == depth;
}
// B read at [n // nr, k, n % nr] of a whole array of panels, or at [n // nr, k // 2, n % nr, k % 2]?
static bool is_packed(sq_gemm *x) {
  sq_graph *g = x->g;
  const sq_generic *k = x->node->g;
  const sq_scalar *b = &k->s.v[x->b];
  if (b->kind == SQ_SC_CAST && b->dtype == x->type) b = &k->s.v[b->a[0]];
  if (b->kind != SQ_SC_READ || b->n_pos < 3 || b->n_pos > 4 || b->guard != SQ_NO_SCALAR ||
      b->other != SQ_NO_SCALAR || b->site != SQ_NO_SITE || x->batch.n)
    return false;
  const sq_type *t = &x->node->in[b->operand]->type;
  int64_t nr, have, panels, columns, two = 2;
  bool narrow = t->dtype == SQ_BF16 || t->dtype == SQ_F16 || t->dtype == SQ_I8;
  if ((t->dtype != x->type && (!narrow || x->type != SQ_F32)) ||
      !sq_dim_is_const(g->dims, t->dim[2], &nr) || nr != x->nr)
    return false;
  bool pairs = b->n_pos == 4;
  if (pairs && (t->dtype != SQ_BF16 || !sq_dim_is_const(g->dims, t->dim[3], &two) || two != 2))
    return false;
  if (!is_flat(g, k, column_of(g, k, b->pos[0], b->pos[2], nr), &x->n)) return false;
  if (!sq_dim_is_const(g->dims, x->n.size, &columns) ||
      !sq_dim_is_const(g->dims, t->dim[0], &panels) || !sq_dim_is_const(g->dims, t->dim[1], &have))
    return false;
  if (panels * nr < columns || !is_row(x, b, have)) return false;
  x->panels = b->operand;
  x->panel = t->dtype;
  x->pairs = pairs;
  return true;
}
// Where A is of bf16 as well, wider only for the arithmetic, pairs of both are multiplied at once.
static void take_dots(sq_gemm *x) {
  const sq_generic *k = x->node->g;
  const sq_scalar *a = &k->s.v[x->a];
  if (a->kind == SQ_SC_CAST && a->dtype == SQ_F32 && k->s.v[a->a[0]].dtype == SQ_BF16)
    x->a = a->a[0];
  x->dots = k->s.v[x->a].dtype == SQ_BF16;
}
static bool worthwhile(const sq_gemm *x) {
  int64_t n, k;
  if (sq_dim_is_const(x->g->dims, x->n.size, &n) && n < x->w) return false;
  return !sq_dim_is_const(x->g->dims, x->k.size, &k) || k >= 4;
}
static void take_cut(sq_gemm *x, const sq_machine *m, sq_gemm_cut c) {
  int64_t depth, extent, columns;
  x->cut = c;
  x->nv = c.nv;
  x->mr = c.mr;
  x->nr = x->nv * x->w;
  x->block_n = 0;
  if (sq_dim_is_const(x->g->dims, x->k.size, &depth) && depth > 0) {
    if (sq_dim_is_const(x->g->dims, x->n.size, &columns))
      x->cut.hidden_rows = sq_machine_hidden_rows(m, (double)columns * (double)depth * x->bytes);
    columns = c.block_bytes / (depth * x->bytes);
    columns = columns < 256 ? 256 : columns > 1 << 20 ? 1 << 20 : columns;
    x->block_n = (uint32_t)(columns / x->nr * x->nr);
  }
  x->tiles = !sq_dim_is_const(x->g->dims, x->n.size, &extent) || extent >= c.few_columns;
}
static void add_size(const sq_gemm *x, const char *name, sq_dim d, char *to) {
  size_t n = strlen(to);
  int64_t v;
  if (sq_dim_is_const(x->g->dims, d, &v))
    snprintf(to + n, SQ_CLASS_SIZE - n, " %s %lld", name, (long long)v);
  else
    snprintf(to + n, SQ_CLASS_SIZE - n, " %s *", name);
}
void sq_gemm_class(const sq_gemm *x, char class[SQ_CLASS_SIZE]) {
  snprintf(class, SQ_CLASS_SIZE, "contraction %s %s %s,", sq_dtype_table[x->type].name,
           x->packed ? "packed" : "unpacked", sq_dtype_table[x->panel].name);
  add_size(x, "batch", x->batch.size, class);
  add_size(x, "rows", x->m.size, class);
  add_size(x, "columns", x->n.size, class);
  add_size(x, "depth", x->k.size, class);
}
static void take_tuned(sq_gemm *x, const sq_target *t) {
  char class[SQ_CLASS_SIZE];
  sq_gemm_cut c = x->cut;
  sq_gemm_class(x, class);
  const sq_tuned_row *r = sq_tuned_find(t, class);
  if (!r || !sq_tuned_gemm(&t->machine, r, &c) || (x->packed && c.nv != x->nv)) return;
  take_cut(x, &t->machine, c);
  x->tuned = r;
}
void sq_gemm_recut(sq_gemm *x, const sq_target *t, sq_dim columns) {
  sq_dim own = x->n.size;
  x->n.size = columns;
  x->tuned = NULL;
  take_cut(x, &t->machine, sq_gemm_cut_of(&t->machine));
  if (t->tuned) take_tuned(x, t);
  x->n.size = own;
}
bool sq_gemm_find(sq_graph *g, const sq_target *t, const sq_node *node, sq_gemm *out) {
  const sq_generic *k = node->g;
  if (node->op != SQ_OP_GENERIC || k->keyed || k->pos || k->domain.n || k->monoid != SQ_SUM)
    return false;
  if (!k->n_red || !k->n_par || !sq_is_float(k->s.v[k->body].dtype)) return false;
  uint32_t deps[1024], n_axes = k->n_par + k->n_red;
  if (k->s.n > 1024) return false;
  for (uint32_t s = 0; s < k->s.n; s++) deps[s] = scalar_deps(k, deps, s);
  sq_gemm x = {.g = g, .node = node};
  if (!sides(k, deps, &x.a, &x.b)) return false;
  uint32_t last = 1u << (k->n_par - 1);
  if ((deps[x.a] & last) && !(deps[x.b] & last)) { // the last axis belongs to b
    uint32_t swap = x.a;
    x.a = x.b;
    x.b = swap;
  }
  if ((deps[x.a] & last) || !(deps[x.b] & last)) return false;
  uint32_t of_a = SQ_K_MOST_PLACES, of_b = SQ_K_MOST_PLACES;
  if (has_site(k, x.a, &of_a) || has_site(k, x.b, &of_b)) return false;
  x.batch.size = x.m.size = x.n.size = x.k.size = sq_dim_const(g->dims, 1);
  for (uint32_t i = 0; i < n_axes; i++) {
    bool in_a = deps[x.a] >> i & 1, in_b = deps[x.b] >> i & 1;
    if (i >= k->n_par && !(in_a && in_b)) return false;
    if (!in_a && !in_b) return false;
    add_axis(g, k, i >= k->n_par ? &x.k : in_a && in_b ? &x.batch : in_a ? &x.m : &x.n, i);
  }
  x.type = k->s.v[k->body].dtype == SQ_F64 ? SQ_F64 : SQ_F32;
  x.bytes = x.type == SQ_F64 ? 8 : 4;
  x.w = t->machine.vector_bytes / x.bytes;
  int64_t extent;
  if (x.n.n > 1) { // lanes must not go from one row of the last axis into the next
    if (!sq_dim_is_const(g->dims, k->axis[k->n_par - 1].extent, &extent)) return false;
    while (x.w > 2 && extent % x.w) x.w /= 2;
    if (extent % x.w) return false;
  }
  take_cut(&x, &t->machine, sq_gemm_cut_of(&t->machine));
  if (!worthwhile(&x)) return false;
  x.packed = is_packed(&x);
  if (!x.packed) x.panel = x.type;
  if (x.pairs && t->machine.bf16) take_dots(&x);
  if (t->tuned) take_tuned(&x, t);
  *out = x;
  return true;
}

// ---- parts of all ------------------------------------------------------------------------------
void sq_gemm_open(sq_knest *t, const sq_gemm_axes *x, sq_lv flat) {
  sq_kern *k = t->k;
  for (uint32_t i = x->n; i-- > 0;) {
    if (i == 0) {
      sq_knest_open(t, x->axis[0], flat);
      return;
    }
    sq_lv extent = sq_knest_extent(t, x->axis[i]);
    sq_knest_open(t, x->axis[i], LLVMBuildURem(k->b, flat, extent, ""));
    flat = LLVMBuildUDiv(k->b, flat, extent, "");
  }
}
void sq_gemm_close(sq_knest *t, const sq_gemm_axes *x) {
  for (uint32_t i = 0; i < x->n; i++) t->open &= ~(1u << x->axis[i]);
}
static sq_lv at_least_0(LLVMBuilderRef b, sq_lv v) {
  sq_lv zero = LLVMConstNull(LLVMTypeOf(v));
  return LLVMBuildSelect(b, LLVMBuildICmp(b, LLVMIntSGT, v, zero, ""), v, zero, "");
}
sq_lv sq_gemm_size(sq_kern *k, const sq_gemm_axes *x) {
  return at_least_0(k->pb, sq_kern_dim(k, x->size));
}
sq_lv sq_gemm_entry_size(sq_cg *cg, const sq_gemm_axes *x) {
  return at_least_0(cg->builder, sq_cg_dim(cg, x->size));
}
sq_dim sq_gemm_depth_dim(const sq_gemm *x) {
  sq_dims *ds = x->g->dims;
  return x->dots ? sq_dim_floordiv(ds, x->k.size, sq_dim_const(ds, 2)) : x->k.size;
}
sq_lv sq_gemm_depth(sq_kern *k, const sq_gemm *x) {
  return at_least_0(k->pb, sq_kern_dim(k, sq_gemm_depth_dim(x)));
}
sq_lv sq_gemm_entry_depth(sq_cg *cg, const sq_gemm *x) {
  return at_least_0(cg->builder, sq_cg_dim(cg, sq_gemm_depth_dim(x)));
}
sq_lv sq_gemm_at(sq_kern *k, const sq_gemm *x, sq_lv base, sq_lv index) {
  return sq_k_offset(k, base, index, x->type);
}
sq_lv sq_gemm_panel_at(sq_kern *k, const sq_gemm *x, sq_lv base, sq_lv index) {
  return sq_k_offset(k, base, index, x->dots ? x->type : x->panel);
}
sq_lv sq_gemm_load(sq_kern *k, const sq_gemm *x, sq_lv at, uint32_t w) {
  sq_lv v = LLVMBuildLoad2(k->b, sq_k_vec(sq_k_type(k, x->type), w), at, "");
  LLVMSetAlignment(v, x->dots ? x->bytes / 2 : x->bytes); // a row of pairs begins anywhere
  return v;
}
void sq_gemm_store(sq_kern *k, const sq_gemm *x, sq_lv at, sq_lv v) {
  LLVMSetAlignment(LLVMBuildStore(k->b, v, at), x->bytes);
}
sq_lv sq_gemm_padded(sq_kern *k, const sq_gemm *x, sq_lv rows) {
  // With several axes, the last block of the last stretch may reach beyond by nearly a vector.
  sq_lv up = LLVMBuildAdd(k->b, rows, sq_k_int(k, x->k.n > 1 ? 2 * x->w : x->w - 1), "");
  return LLVMBuildAnd(k->b, up, sq_k_int(k, -(int64_t)x->w), "");
}

static void finish_vector(sq_knest *t, const sq_gemm *x, const sq_kplace *to, sq_lv sums, sq_lv n,
                          sq_lv mask) {
  uint32_t mark = sq_knest_enter(t);
  sq_gemm_open(t, &x->n, n);
  t->mask = mask;
  t->acc = sums;
  uint32_t post = t->g->post;
  sq_lv v = post != SQ_NO_SCALAR ? sq_knest_value(t, post) : sums;
  sq_knest_store(t, to, v, mask);
  t->mask = NULL;
  sq_knest_leave(t, mark);
  sq_gemm_close(t, &x->n);
}
void sq_gemm_finish(sq_knest *t, const sq_gemm *x, const sq_kplace *to, sq_lv buffer,
                    int64_t stride, sq_lv m0, sq_lv rows, sq_lv n0, sq_lv columns) {
  sq_kern *k = t->k;
  t->va = x->n.axis[x->n.n - 1];
  t->w = x->w;
  t->aligned = true;
  t->acc_varies = true;
  sq_kloop row, column;
  sq_kloop_begin(k, &row, sq_k_int(k, 0), rows, 1, 0, NULL);
  uint32_t mark = sq_knest_enter(t);
  sq_gemm_open(t, &x->m, LLVMBuildAdd(k->b, m0, row.i, ""));
  sq_knest_hoist(t);
  sq_lv line = LLVMBuildMul(k->b, row.i, sq_k_int(k, stride), "");
  sq_lv whole = LLVMBuildSub(k->b, columns, sq_k_int(k, x->w - 1), "");
  sq_kloop_begin(k, &column, sq_k_int(k, 0), whole, x->w, 0, NULL);
  sq_lv at = sq_gemm_at(k, x, buffer, LLVMBuildAdd(k->b, line, column.i, ""));
  sq_lv n = LLVMBuildAdd(k->b, n0, column.i, "");
  finish_vector(t, x, to, sq_gemm_load(k, x, at, x->w), n, NULL);
  sq_kloop_end(k, &column, NULL);
  int64_t size;
  bool exact = sq_dim_is_const(x->g->dims, x->n.size, &size) && size % x->w == 0;
  sq_kif rest;
  if (!exact) sq_kif_begin(k, &rest, LLVMBuildICmp(k->b, LLVMIntSLT, column.i, columns, ""));
  if (!exact) {
    at = sq_gemm_at(k, x, buffer, LLVMBuildAdd(k->b, line, column.i, ""));
    n = LLVMBuildAdd(k->b, n0, column.i, "");
    sq_lv left = LLVMBuildTrunc(k->b, LLVMBuildSub(k->b, columns, column.i, ""), k->i32, "");
    sq_lv mask = LLVMBuildICmp(k->b, LLVMIntSLT, sq_k_lane_index(k, x->w, k->i32),
                               sq_k_splat(k, left, x->w), "");
    bool tail = t->tail;
    t->tail = true;
    finish_vector(t, x, to, sq_gemm_load(k, x, at, x->w), n, mask);
    t->tail = tail;
    sq_kif_end(k, &rest, 0, NULL, NULL, NULL);
  }
  sq_knest_leave(t, mark);
  sq_gemm_close(t, &x->m);
  sq_kloop_end(k, &row, NULL);
  t->va = SQ_K_NO_AXIS;
  t->w = 1;
  t->acc_varies = false;
}

// ---- the call ----------------------------------------------------------------------------------
void sq_gemm_ask(sq_knest *t, sq_kern *k, sq_graph *g, sq_arena *a, const sq_target *target,
                 sq_cg *cg, const sq_node *n) {
  memset(k, 0, sizeof *k);
  memset(cg, 0, sizeof *cg);
  cg->graph = g;
  cg->target = target;
  k->cg = cg;
  k->g = g;
  k->a = a;
  sq_knest_begin(t, k, (sq_node *)(uintptr_t)n, NULL);
}
static sq_dim round_up(sq_dims *ds, sq_dim d, int64_t to) {
  sq_dim up = sq_dim_add(ds, d, sq_dim_const(ds, to - 1));
  return sq_dim_mul(ds, sq_dim_floordiv(ds, up, sq_dim_const(ds, to)), sq_dim_const(ds, to));
}
static sq_dim storage(const sq_gemm *x, sq_dim d) { return sq_dim_storage(x->g->dims, d); }
static sq_dim panels_size(const sq_gemm *x) {
  sq_dims *ds = x->g->dims;
  if (x->packed) return sq_dim_const(ds, 0);
  sq_dim columns = storage(x, x->n.size);
  if (x->block_n) columns = sq_dim_min(ds, columns, sq_dim_const(ds, x->block_n));
  sq_dim rows = storage(x, x->k.size); // as in sq_gemm_padded
  if (x->k.n > 1) rows = sq_dim_add(ds, rows, sq_dim_const(ds, x->w + 1));
  sq_dim d = sq_dim_mul(ds, round_up(ds, columns, x->nr), round_up(ds, rows, x->w));
  d = sq_dim_mul(ds, d, storage(x, x->batch.size));
  return sq_dim_add(ds, sq_dim_mul(ds, d, sq_dim_const(ds, x->bytes)), sq_dim_const(ds, 64));
}
static sq_dim copy_size(const sq_gemm *x) {
  sq_dims *ds = x->g->dims;
  sq_dim d = sq_dim_mul(ds, storage(x, x->m.size), storage(x, sq_gemm_depth_dim(x)));
  d = sq_dim_mul(ds, d, storage(x, x->batch.size));
  return sq_dim_mul(ds, d, sq_dim_const(ds, x->bytes));
}
sq_gemm_shape sq_gemm_shape_of(const sq_gemm *x, const sq_target *target) {
  sq_kern k;
  sq_cg cg;
  sq_knest t;
  int64_t m;
  sq_gemm_ask(&t, &k, x->g, x->g->arena, target, &cg, x->node);
  sq_gemm_shape s = {.direct = sq_gemm_direct_rows(&t, x), .copies = !sq_gemm_a_direct(&t, x)};
  s.never_packed =
      !x->packed && s.direct > 0 && sq_dim_is_const(x->g->dims, x->m.size, &m) && m <= s.direct;
  return s;
}
sq_kernel_scratch sq_gemm_scratch(const sq_gemm *x, const sq_target *t) {
  sq_gemm_shape s = sq_gemm_shape_of(x, t);
  sq_kernel_scratch need = {0};
  if (s.never_packed) return need;
  if (x->tiles) need.per_worker = sq_gemm_tiles_size(x);
  if (x->packed && !s.copies) return need;
  need.shared = panels_size(x);
  if (s.copies)
    need.shared = sq_dim_add(x->g->dims, round_up(x->g->dims, need.shared, 64), copy_size(x));
  return need;
}
sq_kernel_scratch sq_gemm_need(sq_graph *g, const sq_target *t, const sq_node *from) {
  sq_gemm x;
  sq_gemm_pair pair;
  const sq_node *n = sq_kernel_collapse(g, (sq_node *)(uintptr_t)from);
  if (!sq_gemm_find(g, t, n, &x)) return (sq_kernel_scratch){0};
  sq_kernel_scratch need = sq_gemm_scratch(&x, t);
  if (!need.shared.i && sq_gemm_pair_of_turn(g, t, from, &pair))
    need.shared = sq_gemm_beside_size(&pair);
  return need;
}
sq_lv sq_gemm_copy_at(sq_cg *cg, const sq_gemm *x) {
  sq_lv at = sq_cg_dim(cg, round_up(x->g->dims, panels_size(x), 64));
  LLVMTypeRef i8 = LLVMInt8TypeInContext(cg->ctx);
  return LLVMBuildGEP2(cg->builder, i8, sq_cg_shared(cg), &at, 1, "");
}
bool sq_gemm_in_one(const sq_gemm *x) {
  int64_t n;
  if (x->packed || !x->block_n) return true;
  return sq_dim_is_const(x->g->dims, x->n.size, &n) && n <= x->block_n;
}
static void emit_packed(sq_cg *cg, const sq_gemm *x, const sq_node *node, bool copies) {
  LLVMBuilderRef b = cg->builder;
  LLVMTypeRef i64 = LLVMInt64TypeInContext(cg->ctx);
  sq_lv copy = copies ? sq_gemm_copy_at(cg, x) : NULL, zero = LLVMConstInt(i64, 0, 0);
  sq_lv panels = x->packed ? NULL : sq_cg_shared(cg);
  if (copies) sq_gemm_copy_a(cg, x, copy);
  sq_lv n = sq_gemm_entry_size(cg, &x->n);
  sq_gemm_rows rows, *behind = NULL;
  if (sq_gemm_rows_behind(x->g, cg->target, node, &rows) && !rows.why) behind = &rows;
  if (x->packed) {
    panels = sq_cg_pointer(cg, x->node->in[x->panels]);
    sq_gemm_tiles_call c = {panels, copy, zero, n, NULL, NULL, NULL, behind};
    sq_gemm_pair pair;
    if (sq_gemm_pair_of_turn(cg->graph, cg->target, node, &pair))
      c.beside = &pair;
    else if (sq_gemm_pair_of_first(cg->graph, cg->target, node, &pair))
      c.rows = sq_gemm_first_rows(cg, &pair);
    sq_gemm_tiles(cg, x, &c);
    return;
  }
  if (sq_gemm_in_one(x)) {
    sq_gemm_pack_b(cg, x, panels, zero, n);
    sq_gemm_tiles(cg, x, &(sq_gemm_tiles_call){panels, copy, zero, n, NULL, NULL, NULL, behind});
    return;
  }
  LLVMBasicBlockRef from = LLVMGetInsertBlock(b);
  LLVMBasicBlockRef head = LLVMAppendBasicBlockInContext(cg->ctx, cg->entry, "columns");
  LLVMBasicBlockRef body = LLVMAppendBasicBlockInContext(cg->ctx, cg->entry, "block");
  LLVMBasicBlockRef done = LLVMAppendBasicBlockInContext(cg->ctx, cg->entry, "done");
  LLVMBuildBr(b, head);
  LLVMPositionBuilderAtEnd(b, head);
  sq_lv n0 = LLVMBuildPhi(b, i64, ""), block = LLVMConstInt(i64, x->block_n, 0);
  LLVMAddIncoming(n0, &zero, &from, 1);
  LLVMBuildCondBr(b, LLVMBuildICmp(b, LLVMIntSLT, n0, n, ""), body, done);
  LLVMPositionBuilderAtEnd(b, body);
  sq_lv left = LLVMBuildSub(b, n, n0, "");
  sq_lv columns =
      LLVMBuildSelect(b, LLVMBuildICmp(b, LLVMIntSLT, left, block, ""), left, block, "");
  sq_gemm_pack_b(cg, x, panels, n0, columns);
  sq_gemm_tiles(cg, x, &(sq_gemm_tiles_call){panels, copy, n0, columns, NULL, NULL, NULL, NULL});
  sq_lv next = LLVMBuildAdd(b, n0, block, "");
  LLVMBasicBlockRef end = LLVMGetInsertBlock(b);
  LLVMAddIncoming(n0, &next, &end, 1);
  LLVMBuildBr(b, head);
  LLVMPositionBuilderAtEnd(b, done);
}
bool sq_gemm_is(sq_graph *g, const sq_target *t, const sq_node *n) {
  sq_gemm x;
  return sq_gemm_find(g, t, n, &x);
}
void sq_kernel_gemm(sq_cg *cg, sq_node *from) {
  sq_gemm x;
  const sq_node *n = sq_kernel_collapse(cg->graph, from);
  if (!sq_gemm_find(cg->graph, cg->target, n, &x)) return;
  sq_gemm_shape s = sq_gemm_shape_of(&x, cg->target);
  if (s.never_packed) {
    sq_gemm_direct(cg, &(sq_gemm_sibling){.x = x, .in_lane = 1}, 1);
    return;
  }
  emit_packed(cg, &x, from, s.copies);
}
