// inline: every call becomes the body of what it calls.
//
//   func @row(%x: f32[M]) -> ...           %a = ... f32[N]
//     %y = generic [i < M] = ...           %z = call @row(%a)
// becomes, M replaced by N,
//   %a = ... f32[N]
//   %y' = generic [i < N] = ...
//
// Sizes that the callee takes from its arguments are replaced by the caller's; each copy of a
// `live` operation defines a symbol of its own. Tests that the callee makes at its start join those
// of the caller, or become a `check` in place where they depend on what is known only there.
// Afterwards no call is left, and functions that were only called are gone.
#include "passes/internal.h"

enum { MAX_NODES = 4000000 };

typedef struct inliner {
  sq_graph *g;
  sq_value **map; // by value id
  uint32_t cap;
  uint8_t *state; // by function: 0 not done, 1 being done, 2 done
  bool changed, stop;
} inliner;

static uint32_t func_number(const sq_graph *g, const sq_func *f) {
  for (uint32_t k = 0; k < g->func.n; k++)
    if (g->func.v[k] == f) return k;
  return UINT32_MAX;
}

static void fault(inliner *w, sq_span span, const char *what, const char *name) {
  sq_error(&w->g->ctx->diags, span, what, name);
  w->stop = true;
}

// ---- sizes -------------------------------------------------------------------------------------
static sq_sym plain_symbol(const sq_graph *g, sq_dim d) {
  const sq_dim_node *n = sq_dim_at(g->dims, d);
  return n->kind == SQ_DIM_SYM ? n->sym : (sq_sym){0};
}

// The size that an integer value is, {0} when it is not known as one.
static sq_dim value_as_size(sq_graph *g, const sq_func *f, const sq_value *v) {
  int64_t c;
  if (sq_value_const_int(v, &c)) return sq_dim_const(g->dims, c);
  if (!v->def && v->block == f->body && v->index < f->in_sym.n && f->in_sym.v[v->index].i)
    return sq_dim_sym(g->dims, f->in_sym.v[v->index]);
  const sq_node *n = v->def;
  if (!n || n->op != SQ_OP_GENERIC || n->g->n_par || n->g->n_red) return (sq_dim){0};
  uint32_t at = n->g->post != SQ_NO_SCALAR ? n->g->post : n->g->body;
  const sq_scalar *s = &n->g->s.v[at];
  while (s->kind == SQ_SC_CAST) s = &n->g->s.v[s->a[0]];
  if (s->kind == SQ_SC_DIM) return s->dim;
  if (s->kind == SQ_SC_READ && !s->n_pos) return value_as_size(g, f, n->in[s->operand]);
  return (sq_dim){0};
}

typedef struct lives {
  inliner *w;
  sq_dim *with;
  bool any;
} lives;
static void fresh_live(sq_node *n, void *user) {
  lives *l = user;
  if (n->op != SQ_OP_LIVE) return;
  sq_dims *ds = l->w->g->dims;
  sq_sym s = sq_sym_new(ds, sq_sym_at(ds, n->sym)->name, SQ_SYM_LIVE);
  l->with[n->sym.i] = sq_dim_sym(ds, s);
  l->any = true;
}
static void patch_live(sq_node *n, void *user) {
  lives *l = user;
  if (n->op == SQ_OP_LIVE && l->with[n->sym.i].i) n->sym = plain_symbol(l->w->g, l->with[n->sym.i]);
}

// Does the size depend on more than a call's start knows?
static bool is_late(const sq_graph *g, sq_dim d) {
  for (uint32_t k = 1; k <= sq_sym_count(g->dims); k++)
    if (sq_sym_at(g->dims, (sq_sym){k})->kind != SQ_SYM_SIZE &&
        sq_dim_mentions(g->dims, d, (sq_sym){k}))
      return true;
  return false;
}

static void add_require(inliner *w, sq_node *call, sq_dim a, sq_dim b, bool equal, uint32_t site) {
  sq_graph *g = w->g;
  if ((equal ? sq_prove_eq(g->dims, a, b) : sq_prove_le(g->dims, a, b)) > 0) return;
  sq_func *f = call->block->func;
  if (!is_late(g, a) && !is_late(g, b)) {
    for (uint32_t k = 0; k < f->requires_.n; k++) {
      const sq_require *r = &f->requires_.v[k];
      if (sq_dim_same(r->a, a) && sq_dim_same(r->b, b) && r->equal == equal) return;
    }
    sq_push(g->arena, &f->requires_, (sq_require){a, b, equal, site});
    return;
  }
  sq_node *test = sq_node_new(g, NULL, SQ_OP_GENERIC, call->span, 0, NULL);
  test->g = sq_generic_new(g, 0, 0);
  uint32_t x = sq_sc_dim(g, test->g, a), y = sq_sc_dim(g, test->g, b);
  test->g->body = sq_sc_ewise(g, test->g, equal ? SQ_EW_EQ : SQ_EW_LE, x, y);
  sq_value *holds = sq_node_result(g, test, sq_type_scalar(SQ_BOOL), NULL);
  sq_node_insert_before(call, test);
  sq_node *check = sq_node_new(g, NULL, SQ_OP_CHECK, call->span, 1, &holds);
  check->site = site;
  sq_node_insert_before(call, check);
}

// with[s] for every symbol that the callee binds by its arguments.
static void bind_sizes(inliner *w, sq_node *call, sq_dim *with) {
  sq_graph *g = w->g;
  sq_func *f = call->func, *home = call->block->func;
  for (uint32_t k = 0; k < call->n_in; k++) {
    const sq_type *t = &f->body->args.v[k]->type;
    for (uint32_t a = 0; a < t->rank && a < call->in[k]->type.rank; a++) {
      sq_sym s = plain_symbol(g, t->dim[a]);
      if (s.i && !with[s.i].i && sq_sym_at(g->dims, s)->kind == SQ_SYM_SIZE)
        with[s.i] = call->in[k]->type.dim[a];
    }
  }
  for (uint32_t k = 0; k < call->n_in && k < f->in_sym.n; k++) {
    sq_sym s = f->in_sym.v[k];
    if (!s.i || with[s.i].i) continue;
    with[s.i] = value_as_size(g, home, call->in[k]);
    if (!with[s.i].i)
      fault(w, call->span, "the size that argument `%s` sets is not known when the call starts",
            sq_sym_at(g->dims, s)->name);
  }
}

static void require_sizes(inliner *w, sq_node *call, const sq_dim *with, uint32_t n_with) {
  sq_graph *g = w->g;
  sq_func *f = call->func;
  for (uint32_t k = 0; k < call->n_in; k++) {
    const sq_type *t = &f->body->args.v[k]->type;
    for (uint32_t a = 0; a < t->rank && a < call->in[k]->type.rank; a++) {
      sq_dim want = sq_dim_subst(g->dims, t->dim[a], with, n_with), have = call->in[k]->type.dim[a];
      if (sq_prove_eq(g->dims, want, have) <= 0)
        add_require(w, call, want, have, true,
                    sq_site_new(g, call->span, "`%s`: argument %u, axis %u", f->name, k, a));
    }
  }
  for (uint32_t k = 0; k < f->requires_.n; k++) {
    const sq_require r = f->requires_.v[k];
    add_require(w, call, sq_dim_subst(g->dims, r.a, with, n_with),
                sq_dim_subst(g->dims, r.b, with, n_with), r.equal, r.site);
  }
}

// ---- bodies ------------------------------------------------------------------------------------
static bool fits(const sq_node *call) {
  const sq_func *f = call->func;
  const sq_node *end = sq_block_end(f->body);
  if (!end || f->body->args.n != call->n_in || end->n_in != call->n_out) return false;
  for (uint32_t k = 0; k < call->n_in; k++)
    if (f->body->args.v[k]->type.rank != call->in[k]->type.rank) return false;
  return true;
}

// What the callee does for a marked call belongs to its mark.
static void take_mark(sq_node *n, void *user) {
  const uint32_t *mark = user;
  if (!n->span.mark && sq_op_is_work(n->op)) n->span.mark = *mark;
}

// The callee's nodes go to `out`, in place of the call.
static void expand(inliner *w, sq_node *call, sq_block *out) {
  sq_graph *g = w->g;
  sq_func *f = call->func;
  if (!fits(call)) {
    fault(w, call->span, "the call does not fit `%s`", f->name);
    return;
  }
  uint32_t known = sq_sym_count(g->dims) + 1;
  sq_dim *with = SQ_ARRAY(g->arena, sq_dim, known);
  bind_sizes(w, call, with);
  if (w->stop) return;
  lives l = {w, with, false};
  sq_walk(f->body, fresh_live, &l);
  if (l.any) // limits, once all symbols are bound
    for (uint32_t k = 1; k < known; k++)
      if (with[k].i && sq_sym_at(g->dims, (sq_sym){k})->kind == SQ_SYM_LIVE) {
        const sq_sym_info *from = sq_sym_at(g->dims, (sq_sym){k});
        sq_sym s = plain_symbol(g, with[k]);
        if (s.i && s.i >= known) {
          sq_sym_at(g->dims, s)->limit = sq_dim_subst(g->dims, from->limit, with, known);
          sq_sym_at(g->dims, s)->low = from->low;
        }
      }
  require_sizes(w, call, with, known);
  if (g->n_values + 1 > w->cap) {
    uint32_t cap = 2 * g->n_values + 64;
    sq_value **more = SQ_ARRAY(g->arena, sq_value *, cap);
    memcpy(more, w->map, w->cap * sizeof *more);
    w->map = more;
    w->cap = cap;
  }
  for (uint32_t k = 0; k < call->n_in; k++) w->map[f->body->args.v[k]->id] = call->in[k];
  sq_node *end = sq_block_end(f->body);
  uint32_t mark = call->span.mark;
  for (uint32_t k = 0; k < f->body->nodes.n; k++) {
    sq_node *n = f->body->nodes.v[k];
    if (n == end) break;
    sq_node *copy = sq_node_clone(g, n, out, w->map, with, known);
    if (l.any) {
      patch_live(copy, &l);
      for (uint32_t r = 0; r < copy->n_region; r++) sq_walk(copy->region[r], patch_live, &l);
    }
    if (!copy->span.file) copy->span = call->span;
    take_mark(copy, &mark);
    for (uint32_t r = 0; r < copy->n_region; r++) sq_walk(copy->region[r], take_mark, &mark);
  }
  for (uint32_t k = 0; k < call->n_out; k++) {
    sq_value *v = w->map[end->in[k]->id];
    w->map[call->out[k]->id] = v ? v : end->in[k];
  }
}

static void do_function(inliner *w, sq_func *f);

static void replace_inputs(inliner *w, sq_node *n) {
  for (uint32_t k = 0; k < n->n_in; k++) {
    sq_value *v = n->in[k];
    // A result may be replaced by a value that was itself the result of a call.
    for (int hops = 0; v->def && v->def->op == SQ_OP_CALL && hops < 1000; hops++) {
      if (v->id >= w->cap || !w->map[v->id] || w->map[v->id] == v) break;
      v = w->map[v->id];
    }
    n->in[k] = v;
  }
}

static bool has_call(const sq_block *b) {
  for (uint32_t k = 0; k < b->nodes.n; k++) {
    if (b->nodes.v[k]->op == SQ_OP_CALL) return true;
    for (uint32_t r = 0; r < b->nodes.v[k]->n_region; r++)
      if (has_call(b->nodes.v[k]->region[r])) return true;
  }
  return false;
}

static void do_block(inliner *w, sq_block *b) {
  sq_graph *g = w->g;
  sq_node **old = b->nodes.v;
  uint32_t n_old = b->nodes.n;
  b->nodes.v = NULL;
  b->nodes.n = b->nodes.cap = 0;
  for (uint32_t k = 0; k < n_old; k++) {
    sq_node *n = old[k];
    replace_inputs(w, n);
    if (n->op != SQ_OP_CALL || !n->func || w->stop) {
      sq_push(g->arena, &b->nodes, n);
      for (uint32_t r = 0; r < n->n_region; r++) do_block(w, n->region[r]);
      continue;
    }
    do_function(w, n->func);
    // add_require places tests before the call, so it stands in the block meanwhile
    sq_push(g->arena, &b->nodes, n);
    sq_block *side = sq_block_new(b->func, b->owner);
    if (!w->stop) expand(w, n, side);
    if (w->stop) continue;
    b->nodes.n--;
    for (uint32_t j = 0; j < side->nodes.n; j++) {
      side->nodes.v[j]->block = b;
      sq_push(g->arena, &b->nodes, side->nodes.v[j]);
    }
    w->changed = true;
    if (g->n_nodes > MAX_NODES)
      fault(w, n->span, "calls of `%s` make the program too large", n->func->name);
  }
}

static void do_function(inliner *w, sq_func *f) {
  uint32_t k = func_number(w->g, f);
  if (k == UINT32_MAX || w->state[k] == 2 || w->stop) return;
  if (w->state[k] == 1) {
    fault(w, f->span, "`%s` calls itself", f->name);
    return;
  }
  w->state[k] = 1;
  if (has_call(f->body)) do_block(w, f->body);
  w->state[k] = 2;
}

bool sq_pass_inline(sq_graph *g, const sq_pass_options *o) {
  (void)o;
  inliner w = {.g = g};
  w.state = SQ_ARRAY(g->arena, uint8_t, g->func.n + 1);
  w.cap = 2 * g->n_values + 64;
  w.map = SQ_ARRAY(g->arena, sq_value *, w.cap);
  for (uint32_t k = 0; k < g->func.n && !w.stop; k++) do_function(&w, g->func.v[k]);
  if (w.stop) return w.changed;
  uint32_t kept = 0;
  for (uint32_t k = 0; k < g->func.n; k++)
    if (g->func.v[k]->kind != SQ_FUNC_INNER) g->func.v[kept++] = g->func.v[k];
  w.changed |= kept != g->func.n;
  g->func.n = kept;
  return w.changed;
}
