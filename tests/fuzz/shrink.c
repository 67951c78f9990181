// Makes a failing graph smaller: one edit at a time, kept when the check still fails in the same
// stage. Edits: an entry, output, input or carried value goes; an operation gives way to zeros, to
// an input of the entry, to an operand of its type; parts of a loop nest go or become constants.
#include "tests/fuzz/differ.h"
#include <time.h>

typedef struct editor {
  sq_graph *g;
  uint32_t at, want; // number of the edit; the one to make
  bool done;
} editor;

// True once: when it is this edit's turn.
static bool mine(editor *e) {
  if (e->done || e->at++ != e->want) return false;
  e->done = true;
  return true;
}

static bool used_in(const sq_block *b, const sq_value *v, const sq_node *except) {
  for (uint32_t k = 0; k < b->nodes.n; k++) {
    const sq_node *n = b->nodes.v[k];
    for (uint32_t j = 0; j < n->n_in; j++)
      if (n->in[j] == v && n != except) return true;
    for (uint32_t j = 0; j < n->n_region; j++)
      if (used_in(n->region[j], v, except)) return true;
  }
  return false;
}

static void cut_values(sq_value **v, uint32_t *n, uint32_t at) {
  for (uint32_t k = at; k + 1 < *n; k++) v[k] = v[k + 1];
  --*n;
}

// ---- dead code ---------------------------------------------------------------------------------
static bool sweep(sq_func *f, sq_block *b) {
  bool any = false;
  for (uint32_t k = b->nodes.n; k-- > 0;) {
    sq_node *n = b->nodes.v[k];
    for (uint32_t j = 0; j < n->n_region; j++) any |= sweep(f, n->region[j]);
    bool used = n->op == SQ_OP_YIELD || sq_node_has_effect(n);
    for (uint32_t j = 0; j < n->n_out && !used; j++) used = used_in(f->body, n->out[j], NULL);
    if (used) continue;
    sq_node_remove(n);
    any = true;
  }
  return any;
}

// Operands that no scalar reads.
static void drop_operands(sq_node *n, void *user) {
  (void)user;
  if (!n->g || n->op == SQ_OP_MAP) return;
  uint32_t first = n->op == SQ_OP_UPDATE, last = n->n_in - n->has_instance;
  for (uint32_t k = last; k-- > first;) {
    bool read = false;
    for (uint32_t s = 0; s < n->g->s.n; s++)
      read |= n->g->s.v[s].kind == SQ_SC_READ && n->g->s.v[s].operand == k;
    if (read) continue;
    for (uint32_t s = 0; s < n->g->s.n; s++)
      if (n->g->s.v[s].kind == SQ_SC_READ && n->g->s.v[s].operand > k) n->g->s.v[s].operand--;
    cut_values(n->in, &n->n_in, k);
  }
}

// Scalars that nothing uses, so that their operands go too.
static void drop_scalars(sq_node *n, void *user) {
  sq_graph *g = user;
  if (!n->g || !n->g->s.n) return;
  sq_generic *k = n->g;
  bool *used = SQ_ARRAY(g->arena, bool, k->s.n + 1);
#define USE(x)                                                                                     \
  do {                                                                                             \
    if ((x) != SQ_NO_SCALAR) used[x] = true;                                                       \
  } while (0)
  USE(k->body);
  USE(k->post);
  USE(k->write_guard);
  for (uint32_t i = 0; i < k->domain.n; i++) USE(k->domain.v[i]);
  for (uint32_t i = 0; i < k->n_pos; i++) USE(k->pos[i]);
  for (uint32_t i = k->s.n; i-- > 0;) {
    sq_scalar *s = &k->s.v[i];
    if (!used[i]) { // a constant stands in its place; the printer leaves it out
      *s = (sq_scalar){.kind = SQ_SC_INT,
                       .dtype = SQ_I64,
                       .guard = SQ_NO_SCALAR,
                       .other = SQ_NO_SCALAR,
                       .site = SQ_NO_SITE};
      continue;
    }
    int arity = s->kind == SQ_SC_EWISE    ? sq_ewise_table[s->ew].arity
                : s->kind == SQ_SC_SELECT ? 3
                                          : s->kind == SQ_SC_CAST;
    for (int j = 0; j < arity; j++) USE(s->a[j]);
    if (s->kind != SQ_SC_READ) continue;
    for (uint32_t j = 0; j < s->n_pos; j++) USE(s->pos[j]);
    USE(s->guard);
    USE(s->other);
  }
#undef USE
}

static void clean(sq_graph *g) {
  for (uint32_t k = 0; k < g->func.n; k++) {
    sq_func *f = g->func.v[k];
    do {
      sq_walk(f->body, drop_scalars, g);
      sq_walk(f->body, drop_operands, g);
    } while (sweep(f, f->body));
  }
}

// ---- edits of one loop nest --------------------------------------------------------------------
static uint32_t constant(sq_graph *g, sq_generic *k, uint32_t at, sq_dtype t) {
  (void)g;
  k->s.v[at] = (sq_scalar){.kind = sq_is_float(t) ? SQ_SC_FLOAT : SQ_SC_INT,
                           .dtype = t,
                           .f = 1,
                           .i = 1,
                           .guard = SQ_NO_SCALAR,
                           .other = SQ_NO_SCALAR,
                           .site = SQ_NO_SITE};
  return at;
}

static void redirect(sq_generic *k, uint32_t from, uint32_t to) {
#define TO(x)                                                                                      \
  do {                                                                                             \
    if ((x) == from) (x) = to;                                                                     \
  } while (0)
  for (uint32_t i = from + 1; i < k->s.n; i++) {
    sq_scalar *s = &k->s.v[i];
    for (int j = 0; j < 3; j++)
      if (s->kind == SQ_SC_EWISE || s->kind == SQ_SC_SELECT || s->kind == SQ_SC_CAST) TO(s->a[j]);
    if (s->kind != SQ_SC_READ) continue;
    uint32_t *pos = (uint32_t *)(uintptr_t)s->pos;
    for (uint32_t j = 0; j < s->n_pos; j++) TO(pos[j]);
    TO(s->guard);
    TO(s->other);
  }
  TO(k->body);
  TO(k->post);
  TO(k->write_guard);
  for (uint32_t i = 0; i < k->domain.n; i++) TO(k->domain.v[i]);
  for (uint32_t i = 0; i < k->n_pos; i++) TO(k->pos[i]);
#undef TO
}

static void edit_nest(editor *e, sq_node *n) {
  sq_generic *k = n->g;
  for (uint32_t i = 0; i < k->domain.n; i++)
    if (mine(e)) {
      k->domain.v[i] = k->domain.v[--k->domain.n];
      return;
    }
  if (k->write_guard != SQ_NO_SCALAR && mine(e)) k->write_guard = SQ_NO_SCALAR;
  if (k->post != SQ_NO_SCALAR && mine(e)) k->post = SQ_NO_SCALAR;
  for (uint32_t i = k->s.n; i-- > 0;) {
    sq_scalar *s = &k->s.v[i];
    if (s->kind == SQ_SC_FLOAT || s->kind == SQ_SC_INT || s->kind == SQ_SC_ACC) continue;
    if (mine(e)) {
      constant(e->g, k, i, s->dtype);
      return;
    }
    if (s->kind == SQ_SC_READ) {
      if (s->guard != SQ_NO_SCALAR && mine(e)) s->guard = SQ_NO_SCALAR;
      continue;
    }
    int arity = s->kind == SQ_SC_EWISE    ? sq_ewise_table[s->ew].arity
                : s->kind == SQ_SC_SELECT ? 3
                                          : s->kind == SQ_SC_CAST;
    for (int j = 0; j < arity; j++)
      if (k->s.v[s->a[j]].dtype == s->dtype && mine(e)) {
        redirect(k, i, s->a[j]);
        return;
      }
  }
}

// ---- edits of one operation --------------------------------------------------------------------
static sq_value *zeros(editor *e, sq_node *before, sq_type t) {
  sq_node *m = sq_node_new(e->g, NULL, SQ_OP_GENERIC, (sq_span){0}, 0, NULL);
  m->g = sq_generic_new(e->g, t.rank, 0);
  for (uint32_t a = 0; a < t.rank; a++) m->g->axis[a].extent = t.dim[a];
  m->g->body = sq_is_float(t.dtype) ? sq_sc_float(e->g, m->g, t.dtype, 1)
                                    : sq_sc_int(e->g, m->g, t.dtype, 1);
  sq_value *v = sq_node_result(e->g, m, t, NULL);
  sq_node_insert_before(before, m);
  return v;
}

static bool is_zeros(const sq_node *n) {
  return n->op == SQ_OP_GENERIC && n->g->s.n == 1 && n->n_in == 0;
}

static sq_value *new_input(editor *e, sq_func *f, sq_type t) {
  sq_push(e->g->arena, &f->in_names, sq_arena_fmt(e->g->arena, "in%u", f->body->args.n));
  return sq_block_arg(f->body, t, NULL);
}

static bool input_type(editor *e, sq_type t) {
  for (uint32_t k = 1; k <= sq_sym_count(e->g->dims); k++)
    for (uint32_t a = 0; a < t.rank; a++)
      if (sq_sym_at(e->g->dims, (sq_sym){k})->kind != SQ_SYM_SIZE &&
          sq_dim_mentions(e->g->dims, t.dim[a], (sq_sym){k}))
        return false;
  return true;
}

static void edit_carried(editor *e, sq_func *f, sq_node *n) {
  bool loop = n->op == SQ_OP_REPEAT || n->op == SQ_OP_WHILE || n->op == SQ_OP_SCAN;
  uint32_t carried = n->op == SQ_OP_SCAN ? n->n_carried : n->n_out;
  uint32_t first_in = n->op == SQ_OP_REPEAT ? 2 : 0, first_arg = n->op != SQ_OP_WHILE;
  for (uint32_t k = 0; k < n->n_out; k++) {
    bool is_carried = loop && k < carried;
    if (used_in(f->body, n->out[k], NULL) || n->op == SQ_OP_TOPK || !n->n_region) continue;
    bool inside = false;
    for (uint32_t j = 0; is_carried && j < n->n_region; j++) {
      sq_block *b = n->region[j];
      bool last = j + 1 == n->n_region;
      inside |= used_in(b, b->args.v[first_arg + k], last ? sq_block_end(b) : NULL);
      for (uint32_t i = 0; last && i < n->n_out; i++)
        inside |= i != k && sq_block_end(b)->in[i] == b->args.v[first_arg + k];
    }
    if (inside || !mine(e)) continue;
    for (uint32_t j = 0; j < n->n_region; j++) {
      sq_block *b = n->region[j];
      if (is_carried) {
        cut_values(b->args.v, &b->args.n, first_arg + k);
        for (uint32_t i = 0; i < b->args.n; i++) b->args.v[i]->index = i;
      }
      if (n->op != SQ_OP_WHILE || j + 1 == n->n_region)
        cut_values(sq_block_end(b)->in, &sq_block_end(b)->n_in, k);
    }
    if (is_carried) cut_values(n->in, &n->n_in, first_in + k);
    if (is_carried && n->op == SQ_OP_SCAN) n->n_carried--;
    cut_values(n->out, &n->n_out, k);
    for (uint32_t i = 0; i < n->n_out; i++) n->out[i]->index = i;
    return;
  }
}

static void edit_node(editor *e, sq_func *f, sq_node *n) {
  if (n->op == SQ_OP_YIELD) return;
  if (!n->n_out) {
    if (mine(e)) sq_node_remove(n);
    return;
  }
  for (uint32_t k = 0; k < n->n_out && !is_zeros(n); k++) {
    sq_type t = n->out[k]->type;
    if (!used_in(f->body, n->out[k], NULL)) continue;
    if (mine(e)) {
      sq_replace_uses(f, n->out[k], zeros(e, n, t));
      return;
    }
    if (f->kind == SQ_FUNC_ENTRY && input_type(e, t) && f->in_sym.n == 0 && mine(e)) {
      sq_replace_uses(f, n->out[k], new_input(e, f, t));
      return;
    }
    for (uint32_t j = 0; j < n->n_in; j++)
      if (sq_type_same(n->in[j]->type, t) && mine(e)) {
        sq_replace_uses(f, n->out[k], n->in[j]);
        return;
      }
  }
  if (n->op == SQ_OP_IF) // one side in its place
    for (uint32_t side = 0; side < 2; side++)
      if (mine(e)) {
        sq_block *b = n->region[side];
        sq_node *end = sq_block_end(b);
        while (b->nodes.n > 1) {
          sq_node *m = b->nodes.v[0];
          sq_node_remove(m);
          sq_node_insert_before(n, m);
        }
        for (uint32_t k = 0; k < n->n_out; k++) sq_replace_uses(f, n->out[k], end->in[k]);
        sq_node_remove(n);
        return;
      }
  edit_carried(e, f, n);
  if (!e->done && n->g && n->op != SQ_OP_MAP) edit_nest(e, n);
}

static void edit_block(editor *e, sq_func *f, sq_block *b) {
  for (uint32_t k = b->nodes.n; k-- > 0 && !e->done;) {
    sq_node *n = b->nodes.v[k];
    edit_node(e, f, n);
    for (uint32_t j = 0; j < n->n_region && !e->done; j++) edit_block(e, f, n->region[j]);
  }
}

static void edit_signature(editor *e, sq_func *f) {
  sq_node *end = sq_block_end(f->body);
  for (uint32_t k = 0; k < f->out_names.n && end->n_in > 0; k++)
    if (mine(e)) {
      cut_values(end->in, &end->n_in, k);
      for (uint32_t j = k; j + 1 < f->out_names.n; j++) f->out_names.v[j] = f->out_names.v[j + 1];
      f->out_names.n--;
      return;
    }
  for (uint32_t k = 0; k < f->body->args.n; k++) {
    if (used_in(f->body, f->body->args.v[k], NULL) || !mine(e)) continue;
    cut_values(f->body->args.v, &f->body->args.n, k);
    for (uint32_t j = k; j + 1 < f->in_names.n; j++) f->in_names.v[j] = f->in_names.v[j + 1];
    f->in_names.n--;
    for (uint32_t j = k; j + 1 < f->in_sym.n; j++) f->in_sym.v[j] = f->in_sym.v[j + 1];
    if (f->in_sym.n > k) f->in_sym.n--;
    for (uint32_t j = 0; j < f->body->args.n; j++) f->body->args.v[j]->index = j;
    return;
  }
}

static void find_call(sq_node *n, void *user) {
  const sq_func **f = user;
  if (n->op == SQ_OP_CALL && n->func == *f) *f = NULL;
}

static bool called(sq_graph *g, const sq_func *f) {
  for (uint32_t k = 0; k < g->func.n; k++) sq_walk(g->func.v[k]->body, find_call, &f);
  return f == NULL;
}

static void find_ref(sq_node *n, void *user) {
  uint32_t *r = user; // [0]: which table, [1]: number, [2]: found; then [3]: numbers above go down
  bool state = n->op == SQ_OP_STATE_READ || n->op == SQ_OP_STATE_WRITE || n->op == SQ_OP_RESERVE;
  bool param = n->op == SQ_OP_PARAM || n->op == SQ_OP_PARAM_WRITE;
  if (!(r[0] ? param : state)) return;
  if (r[3] && n->ref > r[1]) n->ref--;
  if (n->ref == r[1]) r[2] = 1;
}

static void drop_func(sq_graph *g, uint32_t at) {
  for (uint32_t k = at; k + 1 < g->func.n; k++) g->func.v[k] = g->func.v[k + 1];
  g->func.n--;
}

static void drop_unused_tables(sq_graph *g) {
  for (uint32_t which = 0; which < 2; which++)
    for (uint32_t k = which ? g->param.n : g->state.n; k-- > 0;) {
      uint32_t r[4] = {which, k, 0, 0};
      for (uint32_t f = 0; f < g->func.n; f++) sq_walk(g->func.v[f]->body, find_ref, r);
      if (r[2]) continue;
      if (!which && g->state.v[k].grow.i) continue; // its symbol stays in the table
      r[3] = 1;
      for (uint32_t f = 0; f < g->func.n; f++) sq_walk(g->func.v[f]->body, find_ref, r);
      if (which) {
        for (uint32_t j = k; j + 1 < g->param.n; j++) g->param.v[j] = g->param.v[j + 1];
        g->param.n--;
        continue;
      }
      for (uint32_t f = 0; f < g->func.n; f++)
        if (g->func.v[f] == g->state.v[k].init) drop_func(g, f);
      for (uint32_t j = k; j + 1 < g->state.n; j++) g->state.v[j] = g->state.v[j + 1];
      g->state.n--;
    }
}

static void edit(editor *e) {
  sq_graph *g = e->g;
  for (uint32_t k = 0; k < g->func.n && !e->done; k++) {
    sq_func *f = g->func.v[k];
    if (f->kind == SQ_FUNC_INIT) continue;
    if ((f->kind == SQ_FUNC_ENTRY || !called(g, f)) && mine(e)) {
      drop_func(g, k);
      break;
    }
    edit_signature(e, f);
    if (!e->done) edit_block(e, f, f->body);
  }
  if (!e->done) return;
  for (uint32_t k = g->func.n; k-- > 0;)
    if (g->func.v[k]->kind == SQ_FUNC_INNER && !called(g, g->func.v[k])) drop_func(g, k);
  clean(g);
  drop_unused_tables(g);
}

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static bool same_stage(const char *a, const char *b) {
  if (!strncmp(a, "cpu", 3)) return !strncmp(b, "cpu", 3);
  if (!strncmp(a, "pipeline", 8)) return !strncmp(b, "pipeline", 8);
  return !strcmp(a, b);
}

// The text after edit number `at`; NULL: there are no so many.
static const char *edited(sq_arena *a, const char *text, uint32_t at) {
  sq_ctx *ctx = sq_ctx_new(sq_alloc_libc());
  if (!ctx || setjmp(ctx->guard.jmp)) return NULL;
  editor e = {.g = sq_graph_read(ctx, &ctx->arena, "shrink", text, strlen(text)), .want = at};
  const char *smaller = NULL;
  if (e.g) edit(&e);
  if (e.done) {
    sq_text t = {.arena = &ctx->arena};
    sq_graph_print(e.g, &t);
    smaller = sq_arena_str(a, t.v, t.n);
  }
  sq_ctx_free(ctx);
  return smaller;
}

// The reduced graph must go wrong in the same way, not fail for lack of what was cut off.
static bool same_kind(const char *a, const char *b) {
  static const char *const kinds[] = {"crash",      "should fail",   "fails now",  "fails with",
                                      "bit by bit", "another shape", "instead of", "is gone",
                                      "has no value"};
  for (unsigned k = 0; k < sizeof kinds / sizeof *kinds; k++)
    if ((strstr(a, kinds[k]) != NULL) != (strstr(b, kinds[k]) != NULL)) return false;
  return true;
}

const char *fz_shrink(sq_arena *a, const char *text, const fz_how *how, const char *stage,
                      unsigned seconds) {
  double end = now() + seconds;
  fz_how one = *how;
  one.only = stage;
  fz_report *report = fz_report_new();
  if (!report || fz_check(text, &one, report) != FZ_DIFFERS || !same_stage(stage, report->stage))
    return text; // it needs more than that
  const char *kind = sq_arena_fmt(a, "%s", report->message);
  bool again = true;
  while (again) {
    again = false;
    for (uint32_t at = 0; now() < end;) {
      const char *smaller = edited(a, text, at);
      if (!smaller) break;
      bool fails = strcmp(smaller, text) != 0 && fz_check(smaller, &one, report) == FZ_DIFFERS &&
                   same_stage(stage, report->stage) && same_kind(kind, report->message);
      if (fails) {
        text = smaller;
        again = true;
      } else {
        at++;
      }
    }
  }
  return text;
}
