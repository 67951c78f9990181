// Attention in one pass over the keys: how it is cut, the nests of its members, dispatch.
//
//   sq_stream (planned) -> sq_kstream: the row along which rows are taken together, what is read where
//   it lies, sizes of blocks and of each worker's memory -> kernels of stream_row.c
#include "codegen/cpu/stream.h"

enum { BLOCK = 64, SET = 8, FEW = 5, LINE = 64 };

// ---- finding -----------------------------------------------------------------------------------
// A nest outside of any function's code, to ask about reads.
static void ask_nest(sq_knest *t, sq_kern *k, sq_cg *cg, const sq_kstream *s, const sq_node *n) {
  memset(k, 0, sizeof *k);
  memset(cg, 0, sizeof *cg);
  cg->graph = s->g;
  cg->target = s->target;
  k->cg = cg;
  k->g = s->g;
  k->a = s->g->arena;
  sq_knest_begin(t, k, (sq_node *)(uintptr_t)n, NULL);
}

// Contiguous along `run`, a constant step from key to key, always inside?
static bool is_regular(const sq_kstream *s, const sq_stream_member *m, uint32_t read,
                       uint32_t run) {
  sq_knest t;
  sq_kern k;
  sq_cg cg;
  int64_t c;
  const sq_scalar *x = &m->n->g->s.v[read];
  if (x->kind != SQ_SC_READ || x->guard != SQ_NO_SCALAR || x->other != SQ_NO_SCALAR) return false;
  ask_nest(&t, &k, &cg, s, m->n);
  for (uint32_t i = 0; i < x->n_pos; i++) {
    if (!sq_knest_linear(&t, x->pos[i], sq_stream_axis(m, SQ_STREAM_KEY), &c)) return false;
    if (m->n->g->domain.n && !sq_knest_inside(&t, x->pos[i], m->n->in[x->operand]->type.dim[i]))
      return false;
  }
  t.va = sq_stream_axis(m, run);
  return sq_knest_read_stride(&t, x) == SQ_K_UNIT;
}

// Tiles read elements, which would each have to be converted for every vector of rows.
static sq_kstream_lines lines(const sq_kstream *s, const sq_stream_member *m, uint32_t read,
                              uint32_t run) {
  sq_kstream_lines packed = {SQ_KSTREAM_PACKED, s->type};
  if (!is_regular(s, m, read, run)) return packed;
  sq_dtype lies = m->n->in[m->n->g->s.v[read].operand]->type.dtype;
  if (lies == s->type) return (sq_kstream_lines){SQ_KSTREAM_DIRECT, lies};
  if (lies != SQ_BF16 || s->type != SQ_F32) return packed;
  if (s->tile) return (sq_kstream_lines){SQ_KSTREAM_WIDENED, s->type};
  return (sq_kstream_lines){SQ_KSTREAM_DIRECT, lies};
}

// ACC, or the product or quotient of it with what does not depend on the key, is what the post begins
// with: then the factor goes into the queries.
static void find_entry(sq_kstream *s) {
  const sq_generic *k = s->p.score.n->g;
  s->entry = s->factor = SQ_NO_SCALAR;
  uint32_t acc = SQ_NO_SCALAR, uses = 0, user = 0;
  for (uint32_t id = 0; id < k->s.n; id++) {
    const sq_scalar *x = &k->s.v[id];
    if (x->kind == SQ_SC_ACC) acc = id;
    if (x->kind == SQ_SC_READ) continue;
    for (int a = 0; a < 3; a++)
      if (acc != SQ_NO_SCALAR && x->a[a] == acc) uses++, user = id;
  }
  s->entry = acc;
  if (acc == SQ_NO_SCALAR || uses != 1 || s->dots) return; // pairs: queries stay what they are
  const sq_scalar *x = &k->s.v[user];
  bool product = x->kind == SQ_SC_EWISE && x->ew == SQ_EW_MUL;
  bool quotient = x->kind == SQ_SC_EWISE && x->ew == SQ_EW_DIV && x->a[0] == acc;
  uint32_t other = x->a[0] == acc ? x->a[1] : x->a[0];
  if (!product && !quotient) return;
  uint32_t axes = sq_scalar_axis_set(s->g, k, other);
  if (axes >> sq_stream_axis(&s->p.score, SQ_STREAM_KEY) & 1) return;
  s->entry = user;
  s->factor = other;
  s->divides = quotient;
}

static void find_lane(sq_kstream *s) {
  uint32_t taken = sq_stream_key_rows(s->g, &s->p);
  int64_t best = 1, extent;
  s->lane = SQ_NO_AXIS;
  for (uint32_t r = 0; r < s->p.n_rows; r++) { // the longest, else the last
    if (taken >> r & 1) continue;
    if (!sq_dim_is_const(s->g->dims, s->p.row[r], &extent)) extent = INT64_MAX;
    if (extent < best || extent < 2) continue;
    best = extent;
    s->lane = r;
  }
  s->share = 0;
  for (uint32_t r = 0; s->lane == SQ_NO_AXIS && r < s->p.n_rows; r++) {
    int64_t by = sq_stream_shared(s->g, &s->p, r);
    if (by < 2) continue;
    s->lane = r;
    s->share = by;
  }
}

static void add_size(const sq_kstream *s, const char *name, sq_dim d, char *to) {
  size_t n = strlen(to);
  int64_t v;
  if (sq_dim_is_const(s->g->dims, d, &v))
    snprintf(to + n, SQ_STREAM_CLASS - n, " %s %lld", name, (long long)v);
  else
    snprintf(to + n, SQ_STREAM_CLASS - n, " %s *", name);
}
void sq_kstream_class(const sq_kstream *s, char class[SQ_STREAM_CLASS]) {
  const sq_stream *p = &s->p;
  snprintf(class, SQ_STREAM_CLASS, "attention %s %s%u conditions,", sq_dtype_table[s->type].name,
           p->max.n ? "softmax " : "", p->n_common);
  add_size(s, "rows", p->row[s->lane], class);
  add_size(s, "keys", p->keys, class);
  add_size(s, "width", p->width, class);
  add_size(s, "columns", p->columns, class);
}
// Rows along the lanes: vectors of them, and as many keys as have scores in the first-level cache.
static void cut_tile(sq_kstream *s) {
  const sq_machine *m = &s->target->machine;
  char class[SQ_STREAM_CLASS];
  sq_stream_cut c = sq_stream_cut_of(m);
  if (s->target->tuned) {
    sq_kstream_class(s, class);
    const sq_tuned_row *r = sq_tuned_find(s->target, class);
    s->tuned = r && sq_tuned_stream(m, r, &c) ? r : NULL;
  }
  s->nv = c.nv;
  s->set = c.nv * s->w;
  s->block = c.score_bytes / (s->set * s->bytes) / 8 * 8;
}

bool sq_kstream_find(sq_graph *g, const sq_target *t, const sq_node *n, sq_kstream *out) {
  sq_kstream s = {.g = g, .target = t};
  const char *why;
  if (n->op != SQ_OP_STREAM || !sq_stream_parts(g, n, &s.p, &why)) return false;
  const sq_generic *k = s.p.score.n->g;
  s.type = k->s.v[k->body].dtype == SQ_F64 ? SQ_F64 : SQ_F32;
  s.bytes = s.type == SQ_F64 ? 8 : 4;
  s.w = t->machine.vector_bytes / s.bytes;
  find_lane(&s);
  s.block = BLOCK;
  s.set = s.lane == SQ_NO_AXIS ? 1 : SET;
  int64_t rows = INT64_MAX;
  if (s.lane != SQ_NO_AXIS) sq_dim_is_const(g->dims, s.p.row[s.lane], &rows);
  s.tile = s.lane != SQ_NO_AXIS && !s.share && rows >= FEW && s.w > 1;
  if (s.tile) cut_tile(&s);
  if (s.share && s.share < s.set) s.set = (uint32_t)s.share;
  s.keys = lines(&s, &s.p.score, s.p.k, SQ_STREAM_WIDTH);
  s.values = lines(&s, &s.p.value, s.p.v, SQ_STREAM_COLUMN);
  s.dots =
      t->machine.bf16 && s.keys.how == SQ_KSTREAM_WIDENED && s.values.how == SQ_KSTREAM_WIDENED;
  find_entry(&s);
  *out = s;
  return true;
}

// ---- memory ------------------------------------------------------------------------------------
sq_dim sq_kstream_padded(const sq_kstream *s, sq_dim d) {
  sq_dims *ds = s->g->dims;
  sq_dim unit = sq_dim_const(ds, LINE / s->bytes);
  d = sq_dim_add(ds, sq_dim_storage(ds, d), sq_dim_const(ds, LINE / s->bytes - 1));
  return sq_dim_mul(ds, sq_dim_floordiv(ds, d, unit), unit);
}
sq_lv sq_kstream_pad(sq_kern *k, const sq_kstream *s, sq_lv n) {
  int64_t unit = LINE / s->bytes;
  return LLVMBuildAnd(k->pb, LLVMBuildAdd(k->pb, n, sq_k_int(k, unit - 1), ""), sq_k_int(k, -unit),
                      "");
}
sq_kernel_scratch sq_kstream_need(sq_graph *g, const sq_target *t, const sq_node *n) {
  sq_kstream s;
  if (!sq_kstream_find(g, t, n, &s)) return (sq_kernel_scratch){0};
  return sq_kstream_attend_need(&s);
}

// ---- members -----------------------------------------------------------------------------------
// What depends on a member is not computed before the member is.
static void hold_back(sq_kmembers *m, sq_knest *t) {
  const sq_stream *p = &m->s->p;
  for (uint32_t id = 0; id < t->g->s.n; id++) {
    const sq_scalar *x = &t->g->s.v[id];
    bool ok = t->hoistable[id];
    if (x->kind == SQ_SC_READ) {
      ok = ok && !sq_stream_member_of(p, t->n->in[x->operand]);
      for (uint32_t i = 0; i < x->n_pos; i++) ok = ok && t->hoistable[x->pos[i]];
    } else {
      for (int a = 0; a < 3; a++)
        if (x->a[a] != SQ_NO_SCALAR) ok = ok && t->hoistable[x->a[a]];
    }
    t->hoistable[id] = ok;
  }
}
// Is the read inside for all indices, or else tested?
static bool is_safe(sq_knest *t, const sq_scalar *x) {
  if (x->kind != SQ_SC_READ || x->other != SQ_NO_SCALAR || x->site != SQ_NO_SITE) return true;
  for (uint32_t i = 0; i < x->n_pos; i++)
    if (!sq_knest_inside(t, x->pos[i], t->n->in[x->operand]->type.dim[i])) return false;
  return true;
}
static uint32_t moved(uint32_t id, uint32_t by) { return id == SQ_NO_SCALAR ? id : id + by; }
// The scalars of `old` behind a zero of each type; reads that are not safe give 0 outside.
static void add_zeros(sq_kern *k, sq_knest *t, const sq_generic *old, sq_generic *g) {
  enum { BY = SQ_DTYPE_COUNT };
  g->s.v = SQ_ARRAY(k->a, sq_scalar, old->s.n + BY);
  g->s.n = old->s.n + BY;
  for (uint32_t d = 0; d < BY; d++) {
    sq_scalar *z = &g->s.v[d];
    *z = (sq_scalar){.kind = sq_is_float((sq_dtype)d) ? SQ_SC_FLOAT : SQ_SC_INT,
                     .dtype = (sq_dtype)d,
                     .a = {SQ_NO_SCALAR, SQ_NO_SCALAR, SQ_NO_SCALAR},
                     .guard = SQ_NO_SCALAR,
                     .other = SQ_NO_SCALAR,
                     .site = SQ_NO_SITE};
  }
  for (uint32_t id = 0; id < old->s.n; id++) {
    sq_scalar *x = &g->s.v[id + BY];
    *x = old->s.v[id];
    for (int a = 0; a < 3; a++) x->a[a] = moved(x->a[a], BY);
    x->guard = moved(x->guard, BY);
    x->other = is_safe(t, &old->s.v[id]) ? moved(x->other, BY) : (uint32_t)x->dtype;
    uint32_t *pos = SQ_ARRAY(k->a, uint32_t, x->n_pos + 1);
    for (uint32_t i = 0; i < x->n_pos; i++) pos[i] = x->pos[i] + BY;
    x->pos = pos;
  }
  g->body = moved(old->body, BY);
  g->post = moved(old->post, BY);
  g->domain.v = SQ_ARRAY(k->a, uint32_t, old->domain.n + 1);
  for (uint32_t c = 0; c < old->domain.n; c++) g->domain.v[c] = old->domain.v[c] + BY;
}
// The nest of a member. Reads that only its domain keeps inside are tested: keys outside the domain are
// looked at too. Returns by how much its scalars have moved.
static uint32_t begin_nest(sq_kmembers *m, sq_knest *t, const sq_stream_member *of) {
  sq_kern *k = m->k;
  sq_node *n = (sq_node *)(uintptr_t)of->n;
  sq_knest_begin(t, k, n, &m->group);
  bool safe = true;
  for (uint32_t id = 0; n->g->domain.n && id < n->g->s.n; id++)
    safe = safe && is_safe(t, &n->g->s.v[id]);
  if (!safe) {
    sq_node *copy = SQ_NEW(k->a, sq_node);
    sq_generic *g = SQ_NEW(k->a, sq_generic);
    *copy = *n;
    *g = *n->g;
    add_zeros(k, t, n->g, g);
    copy->g = g;
    sq_knest_begin(t, k, copy, &m->group);
  }
  hold_back(m, t);
  return safe ? 0 : SQ_DTYPE_COUNT;
}
void sq_kmembers_begin(sq_kmembers *m, sq_kern *k, const sq_kstream *s) {
  const sq_stream *p = &s->p;
  *m = (sq_kmembers){.k = k, .s = s};
  m->group = (sq_kgroup){.n = (sq_node *)(uintptr_t)p->node, .k = k};
  m->group.element = SQ_ARRAY(k->a, sq_lv, k->g->n_values + 1);
  begin_nest(m, &m->score, &p->score);
  if (p->max.n) begin_nest(m, &m->max, &p->max);
  uint32_t by = begin_nest(m, &m->value, &p->value);
  m->w = p->w + by;
  m->v = p->v + by;
  for (uint32_t i = 0; i < p->n_sum; i++) begin_nest(m, &m->sum[i], &p->sum[i]);
}
static uint32_t count(const sq_kmembers *m) { return 2 + (m->s->p.max.n != NULL) + m->s->p.n_sum; }
static sq_knest *nest_at(sq_kmembers *m, uint32_t i, const sq_stream_member **of) {
  const sq_stream *p = &m->s->p;
  sq_knest *const nest[] = {&m->score, &m->value, &m->max};
  const sq_stream_member *const member[] = {&p->score, &p->value, &p->max};
  uint32_t fixed = 2 + (p->max.n != NULL);
  *of = i < fixed ? member[i] : &p->sum[i - fixed];
  return i < fixed ? nest[i] : &m->sum[i - fixed];
}
void sq_kmembers_open(sq_kmembers *m, uint32_t role, sq_lv index) {
  const sq_stream_member *of;
  for (uint32_t i = 0; i < count(m); i++) {
    sq_knest *t = nest_at(m, i, &of);
    uint32_t axis = sq_stream_axis(of, role);
    if (axis != SQ_NO_AXIS) sq_knest_open(t, axis, index);
  }
}
void sq_kmembers_close(sq_kmembers *m, uint32_t role) {
  const sq_stream_member *of;
  for (uint32_t i = 0; i < count(m); i++) {
    sq_knest *t = nest_at(m, i, &of);
    uint32_t axis = sq_stream_axis(of, role);
    if (axis != SQ_NO_AXIS) t->open &= ~(1u << axis);
  }
}
void sq_kmembers_lanes(sq_kmembers *m, uint32_t role, uint32_t w, sq_lv mask) {
  const sq_stream_member *of;
  for (uint32_t i = 0; i < count(m); i++) {
    sq_knest *t = nest_at(m, i, &of);
    uint32_t axis = w > 1 ? sq_stream_axis(of, role) : SQ_NO_AXIS;
    t->va = axis == SQ_NO_AXIS ? SQ_K_NO_AXIS : axis;
    t->w = axis == SQ_NO_AXIS ? 1 : w;
    t->aligned = false;
    t->mask = axis == SQ_NO_AXIS ? NULL : mask;
    t->acc_varies = t->w > 1;
  }
}
sq_kmark sq_kmembers_enter(sq_kmembers *m) {
  const sq_stream_member *of;
  sq_kmark mark;
  for (uint32_t i = 0; i < count(m); i++) mark.at[i] = sq_knest_enter(nest_at(m, i, &of));
  return mark;
}
void sq_kmembers_leave(sq_kmembers *m, sq_kmark mark) {
  const sq_stream_member *of;
  for (uint32_t i = 0; i < count(m); i++) sq_knest_leave(nest_at(m, i, &of), mark.at[i]);
}
void sq_kmembers_hoist(sq_kmembers *m) {
  const sq_stream_member *of;
  for (uint32_t i = 0; i < count(m); i++) sq_knest_hoist(nest_at(m, i, &of));
}
void sq_kmembers_let(sq_kmembers *m, const sq_stream_member *of, sq_lv v) {
  m->group.element[of->n->out[0]->id] = v;
}
sq_lv sq_kstream_conditions(sq_knest *t, uint32_t first, uint32_t end) {
  sq_lv all = NULL;
  for (uint32_t c = first; c < end; c++)
    all = sq_k_and(t->k, all, sq_knest_value(t, t->g->domain.v[c]));
  return all;
}

void sq_kernel_stream(sq_cg *cg, sq_node *n) {
  sq_kstream s;
  bool ok = sq_kstream_find(cg->graph, cg->target, n, &s);
  SQ_ASSERT(ok, "stream %u has no known body", n->id);
  sq_kstream_attend(cg, &s);
}
