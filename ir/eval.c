// The interpreter: its memory, its tensors, how it fails, and calling an entry.
// In: a verified graph, a loader of parameters, inputs. Out: outputs, or a status, a message, a
// place.
#include "ir/eval_impl.h"
#include <stdarg.h>

// ---- failing and memory ------------------------------------------------------------------------

static void set_message(sq_eval *e, sq_status s, sq_span where, const char *fmt, va_list ap) {
  e->status = s;
  e->where = where;
  vsnprintf(e->message, sizeof e->message, fmt, ap);
}

_Noreturn void sq_eval_fail(sq_eval *e, sq_status s, sq_span where, const char *fmt, ...) {
  va_list ap;
  va_start(ap, fmt);
  set_message(e, s, where, fmt, ap);
  va_end(ap);
  longjmp(e->guard.jmp, 1);
}

_Noreturn void sq_eval_fail_site(sq_eval *e, uint32_t site, sq_span otherwise, const char *fmt,
                                 ...) {
  char more[512];
  va_list ap;
  va_start(ap, fmt);
  vsnprintf(more, sizeof more, fmt, ap);
  va_end(ap);
  if (site >= e->g->site.n) sq_eval_fail(e, SQ_EMODEL, otherwise, "%s", more);
  const sq_site *at = &e->g->site.v[site];
  sq_eval_fail(e, SQ_EMODEL, at->span.file ? at->span : otherwise, "%s%s%s", at->message,
               *more ? ": " : "", more);
}

_Noreturn void sq_eval_fail_outside(sq_eval *e, uint32_t site, sq_span otherwise, int64_t value,
                                    int64_t limit) {
  if (value < 0) sq_eval_fail_site(e, site, otherwise, "%lld is below 0", (long long)value);
  sq_eval_fail_site(e, site, otherwise, "%lld is not below %lld", (long long)value,
                    (long long)limit);
}

void *sq_eval_mem(sq_eval *e, void *p, size_t size) {
  void *q = e->alloc.fn(e->alloc.user, p, size);
  if (!q && size) sq_eval_fail(e, SQ_EWORLD, (sq_span){0}, "no memory for %zu bytes", size);
  return q;
}

static void release(sq_eval *e, void *p) {
  if (p) e->alloc.fn(e->alloc.user, p, 0);
}

struct sq_work {
  sq_work *next;
  size_t size, used;
  _Alignas(16) char data[];
};

void *sq_eval_take(sq_eval *e, size_t n, size_t size) {
  size_t bytes;
  if (__builtin_mul_overflow(n, size, &bytes) || bytes > SIZE_MAX / 4)
    sq_eval_fail(e, SQ_EMODEL, (sq_span){0}, "a work area of %zu elements is too large", n);
  bytes = (bytes + 15) & ~(size_t)15;
  while (e->work_at && e->work_at->size - e->work_at->used < bytes) {
    if (!e->work_at->next) break;
    e->work_at = e->work_at->next;
  }
  sq_work *w = e->work_at;
  if (!w || w->size - w->used < bytes) {
    size_t room = bytes > 1 << 16 ? bytes : 1 << 16;
    sq_work *fresh = sq_eval_mem(e, NULL, sizeof *fresh + room);
    *fresh = (sq_work){.next = w ? w->next : NULL, .size = room};
    if (w)
      w->next = fresh;
    else
      e->work = fresh;
    e->work_at = w = fresh;
  }
  void *p = w->data + w->used;
  w->used += bytes;
  return p;
}

void sq_eval_work_reset(sq_eval *e) {
  for (sq_work *w = e->work; w; w = w->next) w->used = 0;
  e->work_at = e->work;
}

// ---- tensors -----------------------------------------------------------------------------------

int64_t sq_tensor64_count(const sq_tensor64 *t) {
  int64_t n = 1;
  for (uint32_t k = 0; k < t->rank; k++) n *= t->dim[k];
  return n;
}

static void dims_text(char *out, size_t size, uint32_t rank, const int64_t *dim) {
  size_t n = (size_t)snprintf(out, size, "[");
  for (uint32_t k = 0; k < rank && n < size; k++)
    n += (size_t)snprintf(out + n, size - n, "%s%lld", k ? ", " : "", (long long)dim[k]);
  if (n < size) snprintf(out + n, size - n, "]");
}

static bool count_of(uint32_t rank, const int64_t *dim, int64_t *count) {
  int64_t n = 1;
  bool empty = false, ok = true;
  for (uint32_t k = 0; k < rank; k++) {
    if (dim[k] < 0) return false;
    if (dim[k] == 0) empty = true;
    if (ok && __builtin_mul_overflow(n, dim[k], &n)) ok = false;
  }
  *count = empty ? 0 : n;
  return empty || (ok && n < INT64_MAX / 64);
}

sq_ten *sq_ten_new(sq_eval *e, sq_span where, sq_dtype t, uint32_t rank, const int64_t *dim) {
  int64_t count;
  char shape[256];
  if (rank > SQ_MAX_RANK) sq_eval_fail(e, SQ_EMODEL, where, "a tensor of %u axes", rank);
  if (!count_of(rank, dim, &count)) {
    dims_text(shape, sizeof shape, rank, dim);
    sq_eval_fail(e, SQ_EMODEL, where, "a tensor of shape %s is not possible", shape);
  }
  size_t size = sizeof(sq_ten) + (size_t)count * sizeof(sq_cell);
  sq_ten *x = e->alloc.fn(e->alloc.user, NULL, size);
  if (!x) {
    dims_text(shape, sizeof shape, rank, dim);
    sq_eval_fail(e, SQ_EWORLD, where, "no memory for a tensor of shape %s", shape);
  }
  memset(x, 0, size);
  x->refs = 1;
  x->count = count;
  x->next = e->all;
  if (e->all) e->all->prev = x;
  e->all = x;
  x->t.dtype = t;
  x->t.rank = rank;
  for (uint32_t k = 0; k < rank; k++) x->t.dim[k] = dim[k];
  if (sq_is_float(t))
    x->t.f = &x->data->f;
  else
    x->t.i = &x->data->i;
  return x;
}

sq_ten *sq_ten_of_type(sq_eval *e, sq_span where, const sq_type *t) {
  int64_t dim[SQ_MAX_RANK];
  for (uint32_t k = 0; k < t->rank && k < SQ_MAX_RANK; k++)
    dim[k] = sq_eval_extent(e, t->dim[k], where);
  return sq_ten_new(e, where, t->dtype, t->rank, dim);
}

sq_ten *sq_ten_keep(sq_ten *t) {
  t->refs++;
  return t;
}

static void free_tensor(sq_eval *e, sq_ten *t) {
  if (t->prev)
    t->prev->next = t->next;
  else
    e->all = t->next;
  if (t->next) t->next->prev = t->prev;
  release(e, t);
}

void sq_ten_drop(sq_eval *e, sq_ten *t) {
  if (t && --t->refs == 0) free_tensor(e, t);
}

sq_ten *sq_ten_own(sq_eval *e, sq_span where, sq_ten *t) {
  if (t->refs == 1) return t;
  sq_ten *copy = sq_ten_new(e, where, t->t.dtype, t->t.rank, t->t.dim);
  memcpy(copy->data, t->data, (size_t)t->count * sizeof(sq_cell));
  sq_ten_drop(e, t);
  return copy;
}

// After a failure: what parameters, states and outputs do not hold is freed.
static void sweep(sq_eval *e) {
  for (uint32_t k = 0; k < e->n_val; k++) e->val[k] = NULL;
  e->n_stack = e->n_saved = e->depth = 0;
  for (sq_ten *t = e->all; t; t = t->next) t->refs = 0;
  for (uint32_t p = 0; p < e->n_param; p++)
    for (uint32_t k = 0; k < e->param[p].count; k++)
      if (e->param[p].value[k]) e->param[p].value[k]->refs++;
  for (uint32_t s = 0; s < e->n_state; s++)
    for (uint32_t k = 0; k < e->state[s].count; k++) {
      if (e->state[s].value[k]) e->state[s].value[k]->refs++;
      if (e->state[s].row[k]) e->state[s].row[k]->refs++;
    }
  for (uint32_t k = 0; k < e->n_out; k++) e->out_held[k]->refs++;
  for (sq_ten *t = e->all, *next; t; t = next) {
    next = t->next;
    if (!t->refs) free_tensor(e, t);
  }
}

// ---- sizes and values --------------------------------------------------------------------------

static const char *dim_text(sq_eval *e, sq_dim d) {
  sq_text t = {.arena = &e->text};
  sq_dim_print(e->g->dims, d, &t);
  if (!t.v) return "";
  char *to = t.v; // symbols as in the source: `N.1` is another entry's N
  for (const char *s = t.v; *s;) {
    const char *end = s + 1;
    while (*end >= '0' && *end <= '9') end++;
    if (*s == '.' && end > s + 1)
      s = end;
    else
      *to++ = *s++;
  }
  *to = 0;
  return t.v;
}

int64_t sq_eval_dim(sq_eval *e, sq_dim d, sq_span where) {
  int64_t v;
  if (!sq_dim_eval(e->g->dims, d, e->sym, &v))
    sq_eval_fail(e, SQ_EMODEL, where,
                 "the size %s has no value: a symbol is unbound, or it divides by 0 or overflows",
                 dim_text(e, d));
  return v;
}

int64_t sq_eval_extent(sq_eval *e, sq_dim d, sq_span where) {
  int64_t v = sq_eval_dim(e, d, where);
  if (v < 0) sq_eval_fail(e, SQ_EMODEL, where, "the size %s is %lld", dim_text(e, d), (long long)v);
  return v;
}

sq_ten *sq_eval_get(sq_eval *e, const sq_value *v, sq_span where) {
  sq_ten *t = v->id < e->n_val ? e->val[v->id] : NULL;
  if (!t) sq_eval_fail(e, SQ_EMODEL, where, "value %u is used where it has no value", v->id);
  return t;
}

int64_t sq_eval_int(sq_eval *e, const sq_value *v, sq_span where) {
  sq_ten *t = sq_eval_get(e, v, where);
  if (!t->t.i || t->count < 1)
    sq_eval_fail(e, SQ_EMODEL, where, "an integer scalar is expected as value %u", v->id);
  return t->t.i[0];
}

void sq_eval_set(sq_eval *e, const sq_value *v, sq_ten *t) {
  sq_ten_drop(e, e->val[v->id]);
  e->val[v->id] = t;
}

void sq_eval_push(sq_eval *e, sq_ten *t) {
  if (e->n_stack == e->cap_stack) {
    uint32_t cap = e->cap_stack ? 2 * e->cap_stack : 64;
    e->stack = sq_eval_mem(e, e->stack, cap * sizeof *e->stack);
    e->cap_stack = cap;
  }
  e->stack[e->n_stack++] = t;
}

// ---- tables ------------------------------------------------------------------------------------

static void last_uses(sq_block *b, uint32_t *last) {
  for (uint32_t k = 0; k < b->nodes.n; k++) {
    sq_node *n = b->nodes.v[k];
    for (uint32_t r = 0; r < n->n_region; r++) last_uses(n->region[r], last);
    for (uint32_t j = 0; j < n->n_in; j++) {
      const sq_value *v = n->in[j];
      const sq_block *home = v->def ? v->def->block : v->block;
      const sq_node *at = n;
      while (at && at->block != home) at = at->block ? at->block->owner : NULL;
      if (at) last[v->id] = at->id;
    }
    for (uint32_t j = 0; j < n->n_out; j++)
      if (last[n->out[j]->id] == UINT32_MAX) last[n->out[j]->id] = n->id;
  }
}

static void grow_tables(sq_eval *e) {
  sq_graph *g = e->g;
  if (e->n_val != g->n_values || e->n_node != g->n_nodes || !e->die_first) {
    uint32_t nv = g->n_values, nn = g->n_nodes;
    e->n_val = 0;
    e->n_node = UINT32_MAX; // until all are made
    e->val = sq_eval_mem(e, e->val, (nv + 1) * sizeof *e->val);
    memset(e->val, 0, (nv + 1) * sizeof *e->val);
    e->die_first = sq_eval_mem(e, e->die_first, (nn + 1) * sizeof *e->die_first);
    e->die_next = sq_eval_mem(e, e->die_next, (nv + 1) * sizeof *e->die_next);
    sq_eval_work_reset(e);
    uint32_t *last = sq_eval_take(e, nv + 1, sizeof *last);
    memset(last, 0xff, (nv + 1) * sizeof *last);
    memset(e->die_first, 0xff, (nn + 1) * sizeof *e->die_first);
    for (uint32_t k = 0; k < g->func.n; k++) last_uses(g->func.v[k]->body, last);
    for (uint32_t v = 0; v < nv; v++)
      if (last[v] != UINT32_MAX) {
        e->die_next[v] = e->die_first[last[v]];
        e->die_first[last[v]] = v;
      }
    e->n_val = nv;
    e->n_node = nn;
  }
  uint32_t syms = sq_sym_count(g->dims);
  if (e->n_sym < syms || !e->sym) {
    e->sym = sq_eval_mem(e, e->sym, (syms + 1) * sizeof *e->sym);
    e->n_sym = syms;
  }
  if (e->n_param < g->param.n) {
    e->param = sq_eval_mem(e, e->param, g->param.n * sizeof *e->param);
    for (uint32_t k = e->n_param; k < g->param.n; e->n_param = ++k) {
      uint32_t count = g->param.v[k].count;
      e->param[k].value = sq_eval_mem(e, NULL, (count + 1) * sizeof(sq_ten *));
      e->param[k].count = count;
      memset(e->param[k].value, 0, (count + 1) * sizeof(sq_ten *));
    }
  }
  if (e->n_state < g->state.n) {
    e->state = sq_eval_mem(e, e->state, g->state.n * sizeof *e->state);
    for (uint32_t k = e->n_state; k < g->state.n; e->n_state = ++k) {
      uint32_t count = g->state.v[k].count;
      sq_ten **both = sq_eval_mem(e, NULL, (2 * (size_t)count + 1) * sizeof *both);
      memset(both, 0, (2 * (size_t)count + 1) * sizeof *both);
      e->state[k] = (sq_state64){both, both + count, count, 0};
    }
  }
}

static void begin(sq_eval *e) {
  grow_tables(e);
  for (uint32_t k = 0; k <= e->n_sym; k++) e->sym[k] = INT64_MIN;
  for (uint32_t k = 0; k < e->n_state; k++) {
    sq_sym s = e->g->state.v[k].grow;
    if (s.i) e->sym[s.i] = e->state[k].extent;
  }
}

sq_eval *sq_eval_new(sq_graph *g, sq_eval_load load, void *user) {
  sq_alloc alloc = g->ctx->alloc;
  sq_eval *e = alloc.fn(alloc.user, NULL, sizeof *e);
  if (!e) return NULL;
  memset(e, 0, sizeof *e);
  e->g = g;
  e->alloc = alloc;
  e->load = load;
  e->user = user;
  sq_arena_init(&e->text, alloc, &e->guard);
  return e;
}

void sq_eval_free(sq_eval *e) {
  if (!e) return;
  for (sq_ten *t = e->all, *next; t; t = next) {
    next = t->next;
    release(e, t);
  }
  for (sq_work *w = e->work, *next; w; w = next) {
    next = w->next;
    release(e, w);
  }
  for (uint32_t k = 0; k < e->n_param; k++) release(e, e->param[k].value);
  for (uint32_t k = 0; k < e->n_state; k++) release(e, e->state[k].value);
  void *const tables[] = {e->val, e->die_first, e->die_next, e->stack, e->saved,
                          e->sym, e->param,     e->state,    e->out,   e->out_held};
  for (size_t k = 0; k < sizeof tables / sizeof *tables; k++) release(e, tables[k]);
  sq_arena_free(&e->text);
  e->alloc.fn(e->alloc.user, e, 0);
}

const char *sq_eval_message(const sq_eval *e) { return e->message; }
sq_span sq_eval_where(const sq_eval *e) { return e->where; }

// ---- parameters --------------------------------------------------------------------------------

sq_ten **sq_eval_param_slot(sq_eval *e, uint32_t param, int64_t instance, sq_span where) {
  const sq_param *p = &e->g->param.v[param];
  if (instance < 0 || instance >= p->count)
    sq_eval_fail(e, SQ_EMODEL, where, "parameter `%s`: instance %lld of %u", p->name,
                 (long long)instance, p->count);
  sq_ten **slot = &e->param[param].value[instance];
  if (*slot) return slot;
  sq_ten *t = sq_ten_of_type(e, p->span, &p->type);
  sq_status s = e->load ? e->load(e->user, param, (uint32_t)instance, &t->t) : SQ_EMODEL;
  if (s != SQ_OK) {
    if (p->has_instances)
      sq_eval_fail(e, s, p->span, "parameter `%s` (instance %lld) has no data", p->name,
                   (long long)instance);
    sq_eval_fail(e, s, p->span, "parameter `%s` has no data", p->name);
  }
  *slot = t;
  return slot;
}

// ---- calling -----------------------------------------------------------------------------------

static void save_symbol(sq_eval *e, sq_sym s) {
  if (e->n_saved + 2 > e->cap_saved) {
    uint32_t cap = e->cap_saved ? 2 * e->cap_saved : 64;
    e->saved = sq_eval_mem(e, e->saved, cap * sizeof *e->saved);
    e->cap_saved = cap;
  }
  e->saved[e->n_saved++] = s.i;
  e->saved[e->n_saved++] = e->sym[s.i];
  e->sym[s.i] = INT64_MIN;
}

void sq_eval_unbind(sq_eval *e, uint32_t saved) {
  while (e->n_saved > saved) {
    e->n_saved -= 2;
    e->sym[e->saved[e->n_saved]] = e->saved[e->n_saved + 1];
  }
}

// The size symbol that a dimension is, {0} if it is none.
static sq_sym plain_symbol(const sq_eval *e, sq_dim d) {
  const sq_dim_node *n = sq_dim_at(e->g->dims, d);
  if (n->kind != SQ_DIM_SYM || sq_sym_at(e->g->dims, n->sym)->kind != SQ_SYM_SIZE)
    return (sq_sym){0};
  return n->sym;
}

static sq_sym scalar_symbol(const sq_func *f, uint32_t k) {
  return k < f->in_sym.n ? f->in_sym.v[k] : (sq_sym){0};
}

static const char *in_name(const sq_func *f, uint32_t k) {
  if (k < f->in_names.n && f->in_names.v[k]) return f->in_names.v[k];
  return f->body->args.v[k]->name ? f->body->args.v[k]->name : "?";
}

static void bind_symbol(sq_eval *e, sq_func *f, uint32_t k, sq_sym s, int64_t value) {
  const sq_sym_info *info = sq_sym_at(e->g->dims, s);
  if (e->sym[s.i] != INT64_MIN && e->sym[s.i] != value)
    sq_eval_fail(e, SQ_EMODEL, f->span, "input `%s` of `%s` makes %s = %lld, another makes it %lld",
                 in_name(f, k), f->name, info->name, (long long)value, (long long)e->sym[s.i]);
  if (value < 0)
    sq_eval_fail(e, SQ_EMODEL, f->span, "input `%s` of `%s` is %lld, but a size cannot be negative",
                 in_name(f, k), f->name, (long long)value);
  if (value < info->low)
    sq_eval_fail(e, SQ_EMODEL, f->span,
                 "input `%s` of `%s` makes %s = %lld, at least %lld is needed", in_name(f, k),
                 f->name, info->name, (long long)value, (long long)info->low);
  e->sym[s.i] = value;
}

static void compare_input(sq_eval *e, sq_func *f, uint32_t k, const sq_ten *x) {
  const sq_type *t = &f->body->args.v[k]->type;
  char shape[256];
  dims_text(shape, sizeof shape, x->t.rank, x->t.dim);
  for (uint32_t a = 0; a < t->rank; a++) {
    int64_t want = sq_eval_dim(e, t->dim[a], f->span);
    if (want == x->t.dim[a]) continue;
    const char *from = sq_dim_is_const(e->g->dims, t->dim[a], NULL) ? "" : dim_text(e, t->dim[a]);
    sq_eval_fail(e, SQ_EMODEL, f->span,
                 "input `%s` of `%s` has the shape %s: axis %u must be %s%s%lld", in_name(f, k),
                 f->name, shape, a, from, *from ? " = " : "", (long long)want);
  }
}

void sq_eval_bind(sq_eval *e, sq_func *f, uint32_t first) {
  uint32_t n = f->body->args.n;
  for (uint32_t k = 0; k < n; k++) {
    const sq_type *t = &f->body->args.v[k]->type;
    const sq_ten *x = e->stack[first + k];
    if (x->t.dtype != t->dtype)
      sq_eval_fail(e, SQ_EMODEL, f->span, "input `%s` of `%s` is %s, %s is needed", in_name(f, k),
                   f->name, sq_dtype_table[x->t.dtype].name, sq_dtype_table[t->dtype].name);
    if (x->t.rank != t->rank)
      sq_eval_fail(e, SQ_EMODEL, f->span, "input `%s` of `%s` has %u axes, %u are needed",
                   in_name(f, k), f->name, x->t.rank, t->rank);
    for (uint32_t a = 0; a < t->rank; a++) {
      sq_sym s = plain_symbol(e, t->dim[a]);
      if (s.i) save_symbol(e, s);
    }
    if (scalar_symbol(f, k).i) save_symbol(e, scalar_symbol(f, k));
  }
  for (uint32_t k = 0; k < n; k++) {
    const sq_type *t = &f->body->args.v[k]->type;
    const sq_ten *x = e->stack[first + k];
    for (uint32_t a = 0; a < t->rank; a++) {
      sq_sym s = plain_symbol(e, t->dim[a]);
      if (s.i && e->sym[s.i] == INT64_MIN) bind_symbol(e, f, k, s, x->t.dim[a]);
    }
    sq_sym s = scalar_symbol(f, k);
    if (s.i && x->t.i && x->count == 1) bind_symbol(e, f, k, s, x->t.i[0]);
  }
  for (uint32_t k = 0; k < n; k++) compare_input(e, f, k, e->stack[first + k]);
  for (uint32_t k = 0; k < f->requires_.n; k++) {
    const sq_require *r = &f->requires_.v[k];
    int64_t a = sq_eval_dim(e, r->a, f->span), b = sq_eval_dim(e, r->b, f->span);
    if (r->equal ? a == b : a <= b) continue;
    if (!r->equal && sq_dim_is_const(e->g->dims, r->a, NULL))
      sq_eval_fail_site(e, r->site, f->span, "%s is %lld", dim_text(e, r->b), (long long)b);
    sq_eval_fail_site(e, r->site, f->span, "%s is %lld, %s %lld", dim_text(e, r->a), (long long)a,
                      r->equal ? "not" : "more than", (long long)b);
  }
}

static sq_ten *input_copy(sq_eval *e, const sq_tensor64 *in, sq_span where) {
  sq_ten *x = sq_ten_new(e, where, in->dtype, in->rank, in->dim);
  const void *from = sq_is_float(in->dtype) ? (const void *)in->f : (const void *)in->i;
  if (x->count) memcpy(x->data, from, (size_t)x->count * sizeof(sq_cell));
  if (!sq_is_float(in->dtype))
    for (int64_t k = 0; k < x->count; k++) x->data[k].i = sq_wrap(in->dtype, x->data[k].i);
  return x;
}

// Definitions at model level are computed before the entry that uses them begins.
typedef struct want_derived {
  sq_eval *e;
  uint32_t depth;
} want_derived;

static void compute_derived(sq_node *n, void *user) {
  want_derived *w = user;
  sq_eval *e = w->e;
  if (n->op == SQ_OP_CALL && w->depth < 64) {
    w->depth++;
    sq_walk(n->func->body, compute_derived, user);
    w->depth--;
  }
  if (n->op != SQ_OP_STATE_READ || !e->g->state.v[n->ref].derived) return;
  for (uint32_t k = 0; k < e->state[n->ref].count; k++) sq_eval_state_slot(e, n->ref, k, n->span);
}

static bool derived_missing(const sq_eval *e) {
  for (uint32_t s = 0; s < e->n_state; s++)
    for (uint32_t k = 0; e->g->state.v[s].derived && k < e->state[s].count; k++)
      if (!e->state[s].value[k]) return true;
  return false;
}

static void drop_outputs(sq_eval *e) {
  while (e->n_out) sq_ten_drop(e, e->out_held[--e->n_out]);
}

static void hold_outputs(sq_eval *e, uint32_t n) {
  if (n > e->cap_out) {
    e->out = sq_eval_mem(e, e->out, n * sizeof *e->out);
    e->out_held = sq_eval_mem(e, e->out_held, n * sizeof *e->out_held);
    e->cap_out = n;
  }
  for (uint32_t k = 0; k < n; k++) {
    e->out_held[k] = e->stack[k];
    e->out[k] = e->stack[k]->t;
  }
  e->n_out = n;
  e->n_stack = 0;
}

static sq_status failed(sq_eval *e) {
  if (e->status == SQ_OK) { // the arena of texts found no memory
    e->status = SQ_EWORLD;
    snprintf(e->message, sizeof e->message, "out of memory");
  }
  sweep(e);
  return e->status;
}

static void fresh(sq_eval *e) {
  e->status = SQ_OK;
  e->message[0] = 0;
  e->where = (sq_span){0};
  sq_arena_free(&e->text);
  sq_arena_init(&e->text, e->alloc, &e->guard);
}

sq_status sq_eval_call(sq_eval *e, sq_func *f, const sq_tensor64 *in, uint32_t n_in,
                       sq_tensor64 **out, uint32_t *n_out) {
  *out = NULL;
  *n_out = 0;
  drop_outputs(e);
  fresh(e);
  if (setjmp(e->guard.jmp)) return failed(e);
  begin(e);
  if (n_in != f->body->args.n)
    sq_eval_fail(e, SQ_EMODEL, f->span, "`%s` takes %u inputs, %u are given", f->name,
                 f->body->args.n, n_in);
  if (derived_missing(e)) sq_walk(f->body, compute_derived, &(want_derived){e, 0});
  for (uint32_t k = 0; k < n_in; k++) sq_eval_push(e, input_copy(e, &in[k], f->span));
  uint32_t n = sq_eval_function(e, f, 0, f->span);
  hold_outputs(e, n);
  for (uint32_t k = 0; k < e->n_val; k++) {
    sq_ten_drop(e, e->val[k]);
    e->val[k] = NULL;
  }
  *out = e->out;
  *n_out = n;
  return SQ_OK;
}

sq_status sq_eval_reset(sq_eval *e) {
  fresh(e);
  if (setjmp(e->guard.jmp)) return failed(e);
  begin(e);
  sq_eval_state_reset(e);
  return SQ_OK;
}

sq_status sq_eval_grow(sq_eval *e, uint32_t state, int64_t n) {
  fresh(e);
  if (setjmp(e->guard.jmp)) return failed(e);
  begin(e);
  if (state >= e->n_state || !e->g->state.v[state].grow.i)
    sq_eval_fail(e, SQ_EMODEL, (sq_span){0}, "state %u has no growing axis", state);
  sq_eval_state_extent(e, state, n, e->g->state.v[state].span);
  return SQ_OK;
}

sq_status sq_eval_states(sq_eval *e, sq_eval_visit visit, void *user) {
  fresh(e);
  if (setjmp(e->guard.jmp)) return failed(e);
  begin(e);
  for (uint32_t s = 0; s < e->n_state; s++) {
    const sq_state *st = &e->g->state.v[s];
    for (uint32_t k = 0; !st->derived && k < st->count; k++) {
      sq_ten **slot = sq_eval_state_slot(e, s, k, st->span);
      *slot = sq_ten_own(e, st->span, *slot);
      sq_status r = visit(user, st->names ? st->names[k] : st->name, &(*slot)->t);
      if (r != SQ_OK)
        sq_eval_fail(e, r, st->span, "state `%s`", st->names ? st->names[k] : st->name);
    }
  }
  return SQ_OK;
}

sq_status sq_eval_params(sq_eval *e, sq_eval_visit visit, void *user) {
  fresh(e);
  if (setjmp(e->guard.jmp)) return failed(e);
  begin(e);
  for (uint32_t p = 0; p < e->n_param; p++) {
    const sq_param *pa = &e->g->param.v[p];
    for (uint32_t k = 0; pa->written && pa->n_alt && k < pa->count; k++) {
      if (!e->param[p].value[k]) continue;
      const char *name = pa->names[(size_t)k * pa->n_alt];
      sq_status r = visit(user, name, &e->param[p].value[k]->t);
      if (r != SQ_OK) sq_eval_fail(e, r, pa->span, "parameter `%s`", name);
    }
  }
  return SQ_OK;
}

sq_status sq_eval_param_set(sq_eval *e, uint32_t param, uint32_t instance, const sq_tensor64 *t) {
  fresh(e);
  if (setjmp(e->guard.jmp)) return failed(e);
  begin(e);
  sq_ten **slot = &e->param[param].value[instance];
  sq_ten *copy = input_copy(e, t, e->g->param.v[param].span);
  sq_ten_drop(e, *slot);
  *slot = copy;
  return SQ_OK;
}
