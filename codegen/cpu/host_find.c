// Which scalars the host knows, in an entry whose kernels run on a device: what bounds of loops, conditions,
// checks, live extents and instances are made of. In: a planned function. Out: such values, by id; and of
// each `while` whether the device can repeat it by itself.
//
// Known are integers and truths of rank 0 made of constants, sizes, indices of loops, inputs, states,
// and what loops carry of them. Inputs and states only where the host needs them: a token that the
// device has chosen stays there.
//
// A `while` whose condition the device computes would cost a round trip a turn. Where each turn launches the
// same kernels with the same arguments, a graph can repeat them (runtime/cuda_loop.c). So what such a loop
// carries is not the host's, though it could be: a position is then a number in the device's memory.
#include "codegen/cpu/driver.h"

typedef struct search {
  sq_graph *g;
  sq_func *f;
  bool *known, *wanted; // by value id
  bool *apart;          // by value id: carried by a loop that the device repeats
  bool leaves;          // all inputs and states count as known
  bool changed;
  sq_arena *a;
  sq_loops *loops;
} search;

// ---- which -------------------------------------------------------------------------------------
static bool is_candidate(const sq_value *v) {
  return v->type.rank == 0 && !sq_is_float(v->type.dtype);
}

static bool can_ewise(const sq_generic *g, const sq_scalar *x) {
  sq_dtype t = g->s.v[x->a[0]].dtype;
  switch ((int)x->ew) {
  case SQ_EW_ADD:
  case SQ_EW_SUB:
  case SQ_EW_MUL:
  case SQ_EW_FLOORDIV:
  case SQ_EW_MOD:
  case SQ_EW_NEG:
  case SQ_EW_ABS:
    return t != SQ_BOOL;
  case SQ_EW_AND:
  case SQ_EW_OR:
  case SQ_EW_NOT:
    return t == SQ_BOOL;
  case SQ_EW_MIN:
  case SQ_EW_MAX:
  case SQ_EW_LT:
  case SQ_EW_LE:
  case SQ_EW_EQ:
  case SQ_EW_NE:
  case SQ_EW_BITAND:
  case SQ_EW_BITOR:
  case SQ_EW_BITXOR:
    return true;
  default:
    return false;
  }
}

static bool can_scalar(const bool *known, const sq_node *n, const sq_scalar *x) {
  if (sq_is_float(x->dtype)) return false;
  switch (x->kind) {
  case SQ_SC_INT:
  case SQ_SC_DIM:
  case SQ_SC_SELECT:
    return true;
  case SQ_SC_CAST:
    return !sq_is_float(n->g->s.v[x->a[0]].dtype);
  case SQ_SC_READ:
    return x->n_pos == 0 && known[n->in[x->operand]->id];
  case SQ_SC_EWISE:
    return !sq_is_float(n->g->s.v[x->a[0]].dtype) && can_ewise(n->g, x);
  case SQ_SC_FLOAT:
  case SQ_SC_INDEX:
  case SQ_SC_ACC:
    return false;
  }
  return false;
}

// Is the element of n, which has no axes, made of what the host knows?
bool sq_host_can(const bool *known, const sq_node *n) {
  const sq_generic *g = n->g;
  if (g->n_par || g->n_red || g->keyed || g->domain.n || g->post != SQ_NO_SCALAR) return false;
  for (uint32_t s = 0; s < g->s.n; s++)
    if (!can_scalar(known, n, &g->s.v[s])) return false;
  return true;
}

static void set(search *h, const sq_value *v, bool known) {
  known = known && is_candidate(v) && !h->apart[v->id];
  h->changed |= h->known[v->id] != known;
  h->known[v->id] = known;
}

// ---- regions: what is carried in, round and out --------------------------------------------------
// Value k of a loop is carried from `from` and `back` into the arguments `arg`, and out as `out`.
typedef struct carried {
  sq_value *from, *back, *arg[2], *out;
  uint32_t n_arg;
} carried;

static uint32_t carried_count(const sq_node *n) {
  return n->op == SQ_OP_REPEAT  ? n->n_in - 2
         : n->op == SQ_OP_WHILE ? n->n_in
         : n->op == SQ_OP_SCAN  ? n->n_carried
                                : 0;
}
static carried carried_of(const sq_node *n, uint32_t k) {
  bool whiles = n->op == SQ_OP_WHILE;
  sq_block *first = n->region[0], *body = n->region[n->n_region - 1];
  carried c = {.from = n->in[n->op == SQ_OP_REPEAT ? k + 2 : k],
               .back = sq_block_end(body)->in[k],
               .arg = {first->args.v[whiles ? k : k + 1], body->args.v[whiles ? k : k + 1]},
               .out = n->out[k]};
  c.n_arg = whiles ? 2 : 1;
  return c;
}
static bool is_loop(const sq_node *n) {
  return n->op == SQ_OP_REPEAT || n->op == SQ_OP_WHILE || n->op == SQ_OP_SCAN;
}
static bool is_control(const sq_node *n) {
  return is_loop(n) || n->op == SQ_OP_IF || n->op == SQ_OP_MAP;
}

static void walk(search *h, sq_block *b, void (*fn)(search *h, sq_node *n)) {
  for (uint32_t k = 0; k < b->nodes.n; k++) {
    sq_node *n = b->nodes.v[k];
    fn(h, n);
    for (uint32_t r = 0; is_control(n) && r < n->n_region; r++) walk(h, n->region[r], fn);
  }
}

// ---- known: the most that may be -----------------------------------------------------------------
static void assume(search *h, sq_node *n) {
  for (uint32_t k = 0; k < n->n_out; k++) set(h, n->out[k], true);
  for (uint32_t r = 0; is_control(n) && r < n->n_region; r++)
    for (uint32_t k = 0; k < n->region[r]->args.n; k++) set(h, n->region[r]->args.v[k], true);
}

static void restrict_node(search *h, sq_node *n) {
  const sq_value *v = n->n_out ? n->out[0] : NULL;
  if (n->op == SQ_OP_GENERIC) {
    set(h, v, h->known[v->id] && sq_host_can(h->known, n));
  } else if (n->op == SQ_OP_STATE_READ) {
    set(h, v, h->leaves || h->wanted[v->id]);
  } else if (is_loop(n)) {
    for (uint32_t k = 0; k < carried_count(n); k++) {
      carried c = carried_of(n, k);
      bool all = h->known[c.from->id] && h->known[c.back->id];
      for (uint32_t j = 0; j < c.n_arg; j++) all = all && h->known[c.arg[j]->id];
      for (uint32_t j = 0; j < c.n_arg; j++) set(h, c.arg[j], all);
      set(h, c.out, all);
    }
  } else if (n->op == SQ_OP_IF) {
    for (uint32_t k = 0; k < n->n_out; k++)
      set(h, n->out[k],
          h->known[sq_block_end(n->region[0])->in[k]->id] &&
              h->known[sq_block_end(n->region[1])->in[k]->id]);
  } else if (n->op != SQ_OP_MAP) {
    for (uint32_t k = 0; k < n->n_out; k++) set(h, n->out[k], false);
  }
}

static void find_known(search *h, bool leaves) {
  h->leaves = leaves;
  for (uint32_t k = 0; k < h->f->body->args.n; k++) {
    const sq_value *v = h->f->body->args.v[k];
    bool size = k < h->f->in_sym.n && h->f->in_sym.v[k].i;
    set(h, v, leaves || size || h->wanted[v->id]);
  }
  walk(h, h->f->body, assume);
  do {
    h->changed = false;
    walk(h, h->f->body, restrict_node);
  } while (h->changed);
}

// ---- wanted: what the host goes by ---------------------------------------------------------------
static void want(search *h, const sq_value *v) {
  if (!h->known[v->id] || h->wanted[v->id]) return;
  h->wanted[v->id] = h->changed = true;
}

static void want_instance(sq_node *n, void *user) {
  if (n->has_instance) want(user, n->in[n->n_in - 1]);
}

static void want_used(search *h, sq_node *n) {
  switch ((int)n->op) {
  case SQ_OP_REPEAT:
    want(h, n->in[1]);
    want(h, n->in[0]);
    return;
  case SQ_OP_CHECK:
  case SQ_OP_LIVE:
  case SQ_OP_RESERVE:
  case SQ_OP_IF:
    want(h, n->in[0]);
    return;
  case SQ_OP_WHILE:
    want(h, sq_block_end(n->region[0])->in[0]);
    return;
  default:
    return;
  }
}

static void want_sources(search *h, sq_node *n) {
  if (n->op == SQ_OP_GENERIC && h->wanted[n->out[0]->id])
    for (uint32_t k = 0; k < n->n_in; k++) want(h, n->in[k]);
  for (uint32_t k = 0; k < carried_count(n); k++) {
    carried c = carried_of(n, k);
    bool any = h->wanted[c.out->id];
    for (uint32_t j = 0; j < c.n_arg; j++) any = any || h->wanted[c.arg[j]->id];
    if (!any) continue;
    for (uint32_t j = 0; j < c.n_arg; j++) want(h, c.arg[j]);
    want(h, c.from);
    want(h, c.back);
  }
  for (uint32_t k = 0; n->op == SQ_OP_IF && k < n->n_out; k++)
    for (uint32_t r = 0; r < 2 && h->wanted[n->out[k]->id]; r++)
      want(h, sq_block_end(n->region[r])->in[k]);
}

// Which the host knows when these loops are the device's.
static void find(search *h) {
  size_t bytes = (h->g->n_values + 1) * sizeof *h->known;
  memset(h->known, 0, bytes);
  memset(h->wanted, 0, bytes);
  find_known(h, true);
  sq_walk(h->f->body, want_instance, h);
  walk(h, h->f->body, want_used);
  do {
    h->changed = false;
    walk(h, h->f->body, want_sources);
  } while (h->changed);
  find_known(h, false);
}

// ---- loops that the device can repeat ----------------------------------------------------------
static bool knows(const search *h, const sq_value *v) { return h->known[v->id]; }

// A number of the host would be written to the device in every turn.
static bool is_written(const search *h, const sq_value *to, const sq_value *from) {
  return knows(h, from) && !knows(h, to);
}

static const char *in_block(const search *h, const sq_block *b);

static const char *in_loop(const search *h, const sq_node *n) {
  for (uint32_t k = 0; k < carried_count(n); k++) {
    carried c = carried_of(n, k);
    if (is_written(h, c.arg[0], c.from) || is_written(h, c.arg[0], c.back))
      return "a loop inside it carries what the host knows now and then";
  }
  for (uint32_t r = 0; r < n->n_region; r++) {
    const char *why = in_block(h, n->region[r]);
    if (why) return why;
  }
  return NULL;
}

static const char *in_if(const search *h, const sq_node *n) {
  if (!knows(h, n->in[0])) return "a choice inside it goes by what the device knows";
  for (uint32_t r = 0; r < 2; r++) {
    for (uint32_t k = 0; k < n->n_out; k++)
      if (is_written(h, n->out[k], sq_block_end(n->region[r])->in[k]))
        return "a choice inside it gives what the host knows now and then";
    const char *why = in_block(h, n->region[r]);
    if (why) return why;
  }
  return NULL;
}

// A number that is written is made of what stays as it is, or not known to the host.
static const char *in_state(const search *h, const sq_node *n) {
  if (n->op == SQ_OP_STATE_READ)
    return knows(h, n->out[0]) ? "it reads a number that the host keeps too" : NULL;
  return h->g->state.v[n->ref].grow.i ? "it writes a state that grows" : NULL;
}

static const char *in_node(const search *h, const sq_node *n) {
  if (n->has_instance && !knows(h, n->in[n->n_in - 1]))
    return "it reads or writes an instance that the device chooses";
  switch ((int)n->op) {
  case SQ_OP_RESERVE:
  case SQ_OP_RESET:
  case SQ_OP_LIVE:
    return "it changes sizes";
  case SQ_OP_CALL:
    return "it calls a function";
  case SQ_OP_CHECK:
    return knows(h, n->in[0]) ? NULL : "it checks what the device knows";
  case SQ_OP_STATE_READ:
  case SQ_OP_STATE_WRITE:
    return in_state(h, n);
  case SQ_OP_UPDATE:
    return knows(h, n->in[0]) ? "it changes a number of the host" : NULL;
  case SQ_OP_REPEAT:
    if (!knows(h, n->in[0]) || !knows(h, n->in[1]))
      return "how often a loop inside it turns is known to the device alone";
    return in_loop(h, n);
  case SQ_OP_WHILE:
    if (!knows(h, sq_block_end(n->region[0])->in[0]))
      return "a loop inside it goes by what the device knows";
    return in_loop(h, n);
  case SQ_OP_SCAN:
  case SQ_OP_MAP:
    return in_loop(h, n);
  case SQ_OP_IF:
    return in_if(h, n);
  default:
    return NULL;
  }
}

static const char *in_block(const search *h, const sq_block *b) {
  for (uint32_t k = 0; k < b->nodes.n; k++) {
    const char *why = in_node(h, b->nodes.v[k]);
    if (why) return why;
  }
  return NULL;
}

// Why the host has to go round, although what each turn launches is the same.
static const char *obstacle(const search *h, const sq_node *n) {
  for (uint32_t k = 0; k < n->n_in; k++)
    if (knows(h, carried_of(n, k).back)) return "it carries on what the host knows";
  const char *why = in_block(h, n->region[0]);
  return why ? why : in_block(h, n->region[1]);
}

static void collect(search *h, sq_node *n) {
  if (n->op != SQ_OP_WHILE) return;
  bool host = knows(h, sq_block_end(n->region[0])->in[0]);
  sq_push(h->a, h->loops, ((sq_loop){n, NULL, host ? SQ_LOOP_HOST : SQ_LOOP_DEVICE}));
}

static void set_apart(search *h) {
  memset(h->apart, 0, (h->g->n_values + 1) * sizeof *h->apart);
  for (uint32_t i = 0; i < h->loops->n; i++) {
    const sq_loop *l = &h->loops->v[i];
    for (uint32_t k = 0; l->form == SQ_LOOP_DEVICE && k < l->node->n_in; k++) {
      carried c = carried_of(l->node, k);
      h->apart[c.arg[0]->id] = h->apart[c.arg[1]->id] = h->apart[c.out->id] = true;
    }
  }
}

// All that may be at first, then without those that cannot.
static void find_loops(search *h) {
  walk(h, h->f->body, collect);
  for (bool again = h->loops->n > 0; again;) {
    again = false;
    set_apart(h);
    find(h);
    for (uint32_t i = 0; i < h->loops->n; i++) {
      sq_loop *l = &h->loops->v[i];
      if (l->form != SQ_LOOP_DEVICE || !(l->why = obstacle(h, l->node))) continue;
      l->form = SQ_LOOP_READS;
      again = true;
    }
  }
}

bool *sq_host_search(sq_graph *g, sq_func *f, sq_arena *a, sq_loops *loops) {
  uint32_t n = g->n_values + 1;
  search h = {.g = g, .f = f, .a = a, .loops = loops};
  *loops = (sq_loops){0};
  h.known = SQ_ARRAY(a, bool, n);
  h.wanted = SQ_ARRAY(a, bool, n);
  h.apart = SQ_ARRAY(a, bool, n);
  find(&h);
  find_loops(&h);
  return h.known;
}

sq_loops sq_codegen_loops(sq_graph *g, sq_func *f, sq_arena *a) {
  sq_loops loops;
  sq_host_search(g, f, a, &loops);
  return loops;
}
