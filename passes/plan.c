// plan: every value gets a place in memory.
//
//   %y = generic [n < N, c < 8] = exp(%x[n, c]) : f32[N, 8]     %x dies here
//   %u = update %y, ...
// becomes
//   %y = ... @slot 0                                            the slot of %x
//   %u = ... @slot 0
//
// First values that must be in one place are joined: an update and its target, a carried value, its
// arguments, what is yielded for it and the result. Where that would clobber something that is
// still read, a copy goes in between and the work starts again. Then what may share is joined where
// nothing is lost: results of `if` with what its sides yield, elementwise results with operands
// that die. What is left, sets of values with their joint live range, is laid into slots in order
// of begin.
#include "passes/plan.h"

typedef struct member {
  sq_range r;
  sq_value *v;
} member;
typedef struct home { // values in one place
  SQ_VEC(member) m;
  uint32_t from, to; // hull
  bool fixed;        // an input, a parameter, a state: not to be written
  sq_value *state;   // in the place of this state_read
  uint32_t output;   // number + 1 of the function's output, 0: none
  uint32_t slot;
} home;
typedef struct remark { // of a copy
  const sq_node *copy;
  sq_span span;
  const char *text;
} remark;
typedef struct planner {
  sq_graph *g;
  sq_func *f;
  sq_live *live;
  home **of;                // by value id
  uint8_t *copy;            // by node id: a copy made here, see below
  uint32_t n_copy, n_known; // values when the round began
  bool again;
  SQ_VEC(remark) said;
} planner;

// ---- joining -----------------------------------------------------------------------------------
static void new_home(planner *p, sq_value *v) {
  home *h = SQ_NEW(p->g->arena, home);
  const sq_ranges *s = &p->live->of[v->id];
  h->from = UINT32_MAX;
  for (uint32_t k = 0; k < s->r.n; k++) {
    sq_push(p->g->arena, &h->m, (member){s->r.v[k], v});
    if (s->r.v[k].from < h->from) h->from = s->r.v[k].from;
    if (s->r.v[k].to > h->to) h->to = s->r.v[k].to;
  }
  bool input = !v->def && !v->block->owner;
  h->fixed = input || (v->def && (v->def->op == SQ_OP_PARAM || v->def->op == SQ_OP_STATE_READ));
  h->slot = UINT32_MAX;
  p->of[v->id] = h;
}

static bool collide(const planner *p, const home *a, const home *b) {
  for (uint32_t j = 0; j < a->m.n; j++) {
    const member *x = &a->m.v[j];
    if (x->r.to < b->from || x->r.from > b->to) continue;
    for (uint32_t k = 0; k < b->m.n; k++) {
      const member *y = &b->m.v[k];
      if (sq_ranges_collide(p->live, x->r, x->v, y->r, y->v)) return true;
    }
  }
  return false;
}

// False: they would collide. What was copied in this round is looked at in the next.
static bool join(planner *p, sq_value *a, sq_value *b) {
  if (a->id >= p->n_known || b->id >= p->n_known) return true;
  home *x = p->of[a->id], *y = p->of[b->id];
  if (x == y) return true;
  if (x->fixed || y->fixed || (x->output && y->output) || collide(p, x, y)) return false;
  if (x->m.n < y->m.n) {
    home *t = x;
    x = y;
    y = t;
  }
  for (uint32_t k = 0; k < y->m.n; k++) {
    sq_push(p->g->arena, &x->m, y->m.v[k]);
    p->of[y->m.v[k].v->id] = x;
  }
  if (y->from < x->from) x->from = y->from;
  if (y->to > x->to) x->to = y->to;
  if (y->output) x->output = y->output;
  return true;
}

// ---- copies ------------------------------------------------------------------------------------
static const char *name_of(const sq_value *v) { return v->name ? v->name : "a value"; }

static sq_value *copy_value(planner *p, sq_node *at, sq_value *v, const char *why) {
  sq_node *n = sq_copy_before(p->g, at, v);
  const char *quote = v->name ? "`" : "";
  if (v->type.rank)
    sq_push(
        p->g->arena, &p->said,
        (remark){n, v->def ? v->def->span : at->span,
                 sq_arena_fmt(p->g->arena, "copies %s%s%s: %s", quote, name_of(v), quote, why)});
  p->again = true;
  return n->out[0];
}

// Copies before a loop's yield: FINAL moves into a carried place, STAGED is read by a final one.
// OWN: before a loop, for it alone.
enum { FINAL = 1, STAGED = 2, OWN = 3 };
static uint8_t copy_kind(const planner *p, const sq_value *v) {
  return v->def && v->def->id < p->n_copy ? p->copy[v->def->id] : 0;
}

static void mark_copy(planner *p, const sq_value *v, uint8_t kind) {
  if (v->def->id >= p->n_copy) {
    uint32_t n = 2 * p->g->n_nodes + 16;
    uint8_t *more = SQ_ARRAY(p->g->arena, uint8_t, n);
    if (p->n_copy) memcpy(more, p->copy, p->n_copy * sizeof *more);
    p->copy = more;
    p->n_copy = n;
  }
  p->copy[v->def->id] = kind;
}

// What is yielded for a carried value is moved to the carried place by a copy before the yield.
// When such a copy would clobber what another one reads, all of them read copies made before any.
static void copy_yield(planner *p, sq_node *end, uint32_t k, const sq_value *arg) {
  sq_value *v = end->in[k];
  if (copy_kind(p, v) != FINAL || v->def->block != end->block) {
    end->in[k] = copy_value(p, end, v, "its place in the loop still holds the value of this turn");
    mark_copy(p, end->in[k], FINAL);
    return;
  }
  const sq_block *b = end->block;
  uint32_t first = b->nodes.n - 1;
  while (first && b->nodes.v[first - 1]->n_out == 1 &&
         copy_kind(p, b->nodes.v[first - 1]->out[0]) == FINAL)
    first--;
  for (uint32_t j = first; j + 1 < b->nodes.n; j++) {
    sq_node *move = b->nodes.v[j];
    if (copy_kind(p, move->in[0]) == STAGED) continue;
    move->in[0] = copy_value(p, b->nodes.v[first], move->in[0], "carried values change places");
    mark_copy(p, move->in[0], STAGED);
    first++;
    j++;
  }
  for (uint32_t j = 0; j < end->n_in; j++) { // emits of what this turn began with
    sq_value *emit = end->in[j];
    if (emit == v || emit->id >= p->n_known || p->of[emit->id] != p->of[arg->id]) continue;
    end->in[j] = copy_value(p, b->nodes.v[first], emit, "it is emitted after its place is written");
    mark_copy(p, end->in[j], STAGED);
    first++;
  }
  SQ_ASSERT(p->again, "a carried value finds no place");
}

// The result of a loop, which is to be elsewhere, is moved there after the loop. When that was done
// and they still collide, the place of what comes in belongs to another value too: the loop gets
// its own.
static void copy_result(planner *p, sq_node *n, uint32_t k) {
  sq_value *v = n->out[k], **in = &n->in[sq_carried_first_in(n) + k];
  const sq_block *b = n->block;
  uint32_t at = 0;
  while (b->nodes.v[at] != n) at++;
  sq_node *next = b->nodes.v[at + 1];
  if (sq_node_is_copy(p->g, next) && next->in[0] == v) {
    SQ_ASSERT(copy_kind(p, *in) != OWN, "the result of a loop has no place");
    *in = copy_value(p, n, *in, "the loop's place is not where it was");
    mark_copy(p, *in, OWN);
    return;
  }
  sq_value *moved = copy_value(p, next, v, "the loop's place is not where its result must be");
  sq_replace_uses(p->f, v, moved);
  moved->def->in[0] = v;
}

static void split_update(planner *p, sq_node *n) {
  sq_value *old = n->in[0];
  sq_value *fresh = copy_value(p, n, old, "it is still used after the update");
  n->in[0] = fresh;
  bool reads = false;
  for (uint32_t j = 0; j < n->g->s.n; j++)
    reads |= n->g->s.v[j].kind == SQ_SC_READ && n->g->s.v[j].operand == 0;
  if (!reads || sq_write_reads_in_place(p->g, n, fresh)) return;
  uint32_t at = sq_node_add_in(p->g, n, old);
  for (uint32_t j = 0; j < n->g->s.n; j++)
    if (n->g->s.v[j].kind == SQ_SC_READ && n->g->s.v[j].operand == 0) n->g->s.v[j].operand = at;
}

// ---- what must be in one place -----------------------------------------------------------------
static void join_carried(planner *p, sq_node *n) {
  uint32_t first_in = sq_carried_first_in(n), first_arg = sq_carried_first_arg(n);
  sq_block *body = sq_carried_body(n);
  sq_node *end = sq_block_end(body);
  for (uint32_t k = 0; k < sq_carried_count(n); k++) {
    sq_value *arg = body->args.v[first_arg + k];
    sq_value *first = n->op == SQ_OP_WHILE ? n->region[0]->args.v[k] : arg;
    bool ok = join(p, first, arg);
    SQ_ASSERT(ok, "the arguments of a loop collide");
    if (!join(p, n->in[first_in + k], first))
      n->in[first_in + k] = copy_value(p, n, n->in[first_in + k],
                                       "the loop changes it and it is still used, or is not ours");
    else if (!join(p, end->in[k], arg))
      copy_yield(p, end, k, arg);
    else if (!join(p, arg, n->out[k]))
      copy_result(p, n, k);
  }
}

static void join_required(planner *p, sq_block *b) {
  for (uint32_t k = 0; k < b->nodes.n; k++) {
    sq_node *n = b->nodes.v[k];
    uint32_t before = b->nodes.n;
    if (n->op == SQ_OP_UPDATE) {
      if (!join(p, n->in[0], n->out[0])) split_update(p, n);
    } else if (sq_carried_count(n)) {
      join_carried(p, n);
    }
    k += b->nodes.n - before; // copies went in before n
    if (sq_node_is_kernel(n)) continue;
    for (uint32_t r = 0; r < n->n_region; r++) join_required(p, n->region[r]);
  }
}

static void take_outputs(planner *p) {
  sq_node *end = sq_block_end(p->f->body);
  for (uint32_t k = 0; k < end->n_in; k++) {
    home *h = p->of[end->in[k]->id];
    if (h->fixed || h->output) {
      end->in[k] =
          copy_value(p, end, end->in[k],
                     h->fixed ? "it is an output, and not computed here" : "it is two outputs");
      continue;
    }
    h->output = k + 1;
  }
}

// Old values of states and parameters that are read after a write.
static void save_old(planner *p) {
  for (uint32_t k = 0; k < p->live->value.n; k++) {
    sq_value *v = p->live->value.v[k];
    if (!v->def || (v->def->op != SQ_OP_STATE_READ && v->def->op != SQ_OP_PARAM)) continue;
    if (!sq_alias_clobber(p->live, v)) continue;
    sq_block *b = v->def->block;
    uint32_t at = 0;
    while (b->nodes.v[at] != v->def) at++;
    sq_value *kept =
        copy_value(p, b->nodes.v[at + 1], v, "its old value is used after it is written");
    sq_replace_uses(p->f, v, kept);
    kept->def->in[0] = v;
  }
}

// ---- what may be in one place ------------------------------------------------------------------
static void join_sides(planner *p, sq_block *b) {
  for (uint32_t k = 0; k < b->nodes.n; k++) {
    sq_node *n = b->nodes.v[k];
    if (sq_node_is_kernel(n)) continue;
    for (uint32_t r = 0; r < n->n_region; r++) join_sides(p, n->region[r]);
    if (n->op != SQ_OP_IF) continue;
    for (uint32_t r = 0; r < 2; r++)
      for (uint32_t j = 0; j < n->n_out; j++) join(p, sq_block_end(n->region[r])->in[j], n->out[j]);
  }
}

static void join_sweep(planner *p, sq_node *n) {
  const sq_node *end = sq_block_end(n->region[0]);
  for (uint32_t o = 0; o < n->n_out; o++) {
    const sq_node *scan = end->in[o]->def;
    uint32_t k = end->in[o]->index;
    if (scan->op != SQ_OP_SCAN || k >= scan->n_carried || !scan->in[k]->type.rank) continue;
    if (sq_place_shared(p->g, n, scan->in[k], n->out[o])) join(p, scan->in[k], n->out[o]);
  }
}

static void join_elements(planner *p, sq_block *b) {
  for (uint32_t k = 0; k < b->nodes.n; k++) {
    sq_node *n = b->nodes.v[k];
    if (n->op == SQ_OP_GENERIC || n->op == SQ_OP_GROUP) {
      for (uint32_t o = 0; o < n->n_out; o++) {
        bool done = false;
        // outer values that a group reads are inputs of its members
        sq_block *g = n->op == SQ_OP_GROUP ? n->region[0] : NULL;
        for (uint32_t m = 0; m < (g ? g->nodes.n : 1) && !done; m++) {
          sq_node *reader = g ? g->nodes.v[m] : n;
          for (uint32_t j = 0; j < reader->n_in && !done; j++) {
            sq_value *v = reader->in[j];
            if ((g && v->def && v->def->block == g) || v->type.rank == 0) continue;
            done = sq_place_shared(p->g, n, v, n->out[o]) && join(p, v, n->out[o]);
          }
        }
      }
      continue;
    }
    if (n->op == SQ_OP_SWEEP) {
      join_sweep(p, n);
      continue;
    }
    if (n->op == SQ_OP_STREAM) continue;
    for (uint32_t r = 0; r < n->n_region; r++) join_elements(p, n->region[r]);
  }
}

// ---- loops in the place of a state ----
static bool has_site(const sq_node *n) {
  if (n->op == SQ_OP_RESERVE || n->site != SQ_NO_SITE) return true;
  if (!n->g) return false;
  for (uint32_t k = 0; k < n->g->s.n; k++)
    if (n->g->s.v[k].kind == SQ_SC_READ && n->g->s.v[k].site != SQ_NO_SITE) return true;
  return n->g->pos && n->g->pos_site != SQ_NO_SITE;
}

static bool has_inner_site(const sq_node *n) {
  if (has_site(n)) return true;
  for (uint32_t r = 0; r < n->n_region; r++)
    for (uint32_t k = 0; k < n->region[r]->nodes.n; k++)
      if (has_inner_site(n->region[r]->nodes.v[k])) return true;
  return false;
}

// May this run when the state is written already, before its text's turn?
static bool stands_apart(const sq_node *n, uint32_t state) {
  if (n->op == SQ_OP_RESET || (sq_node_is_kernel(n) ? has_inner_site(n) : has_site(n)))
    return false;
  return n->op != SQ_OP_STATE_WRITE || n->ref != state;
}

static bool nothing_between(const planner *p, const home *h, const sq_node *loop,
                            const sq_node *write) {
  const sq_live *l = p->live;
  uint32_t to = l->begin[write->id];
  if (h->to > 2 * to + 1) return false;
  for (uint32_t q = l->begin[loop->id]; q < to; q++)
    if (l->point.v[q].node && !stands_apart(l->point.v[q].node, write->ref)) return false;
  for (uint32_t k = 0; k < l->value.n; k++) {
    const sq_value *v = l->value.v[k];
    bool reads = v->def && v->def->op == SQ_OP_STATE_READ && v->def->ref == write->ref;
    if (reads && collide(p, h, p->of[v->id])) return false;
  }
  return true;
}

// What the loop carries then begins and ends in the state: the copy before it and the write behind
// it have nothing to do. Code generation tests for failures at the head of each turn.
static void work_in_state(planner *p, sq_node *write) {
  sq_graph *g = p->g;
  uint32_t at = sq_generic_moves(g, write->g);
  if (at >= write->n_in || g->state.v[write->ref].grow.i) return;
  sq_value *v = write->in[at];
  const sq_node *loop = v->def;
  if (!loop || v->index >= sq_carried_count(loop) || loop->block != write->block) return;
  if (!v->type.rank || !sq_type_same(v->type, g->state.v[write->ref].type)) return;
  const sq_node *copy = loop->in[sq_carried_first_in(loop) + v->index]->def;
  if (!copy || copy->block != loop->block || !sq_node_is_copy(g, copy)) return;
  sq_value *old = copy->in[0];
  if (!old->def || old->def->op != SQ_OP_STATE_READ || !sq_cell_same(old->def, write)) return;
  home *h = p->of[v->id];
  if (h->fixed || h->output || h->from != 2 * p->live->begin[copy->id] + 1) return;
  if (!nothing_between(p, h, loop, write)) return;
  h->fixed = true;
  h->state = old;
}

static void use_states(planner *p, sq_block *b) {
  for (uint32_t k = 0; k < b->nodes.n; k++) {
    sq_node *n = b->nodes.v[k];
    if (n->op == SQ_OP_STATE_WRITE) work_in_state(p, n);
    if (sq_node_is_kernel(n)) continue;
    for (uint32_t r = 0; r < n->n_region; r++) use_states(p, n->region[r]);
  }
}

// ---- slots -------------------------------------------------------------------------------------
typedef struct slot {
  sq_dim size;
  uint32_t busy_to; // last point of the set that it holds
  bool used;
  int kind;         // sizes of one kind share slots
  uint32_t widened; // how often its size became a maximum
} slot;
typedef struct slots {
  SQ_VEC(slot) v;
} slots;

// Constant sizes, sizes of the call, sizes that a growing state changes during it.
static int size_kind(const sq_graph *g, sq_dim d) {
  if (sq_dim_is_const(g->dims, d, NULL)) return 0;
  return sq_size_grows(g, d) ? 2 : 1;
}

// A free slot for a set that begins at `from`: of the same size, else the first that is large
// enough, else one that can be widened.
static uint32_t take_slot(sq_graph *g, slots *s, sq_dim size, uint32_t from, uint32_t to) {
  uint32_t best = UINT32_MAX, rank = 4;
  int kind = size_kind(g, size);
  for (uint32_t k = 0; k < s->v.n; k++) {
    slot *x = &s->v.v[k];
    if ((x->used && x->busy_to >= from) || x->kind != kind) continue;
    uint32_t r = sq_dim_same(x->size, size)                ? 0
                 : sq_prove_le(g->dims, size, x->size) > 0 ? 1
                 : sq_prove_le(g->dims, x->size, size) > 0 ? 2
                 : x->widened < 3                          ? 3
                                                           : 4;
    if (r < rank) {
      rank = r;
      best = k;
    }
  }
  if (best == UINT32_MAX) {
    sq_push(g->arena, &s->v, (slot){.size = size, .kind = kind});
    best = s->v.n - 1;
  }
  slot *x = &s->v.v[best];
  if (rank == 2) x->size = size;
  if (rank == 3) {
    x->size = sq_dim_max(g->dims, x->size, size);
    x->widened++;
  }
  x->used = true;
  x->busy_to = to;
  return best;
}

static void sort_homes(home **h, uint32_t n) { // by begin; stable merge sort in place of qsort
  for (uint32_t width = 1; width < n; width *= 2)
    for (uint32_t lo = 0; lo + width < n; lo += 2 * width) {
      uint32_t mid = lo + width, hi = mid + width < n ? mid + width : n;
      for (uint32_t i = lo, j = mid; i < j && j < hi;) {
        if (h[i]->from <= h[j]->from) {
          i++;
          continue;
        }
        home *t = h[j];
        memmove(h + i + 1, h + i, (j - i) * sizeof *h);
        h[i++] = t;
        j++;
      }
    }
}

static sq_dim home_bytes(planner *p, const home *h) {
  sq_dim bytes = sq_storage_of(p->g, h->m.v[0].v);
  for (uint32_t k = 1; k < h->m.n; k++)
    if (!sq_dim_same(bytes, sq_storage_of(p->g, h->m.v[k].v)))
      return sq_storage_bytes(p->g, h->m.v[0].v->type, 0);
  return bytes;
}

static void lay_out(planner *p) {
  uint32_t n = 0;
  home **all = SQ_ARRAY(p->g->arena, home *, p->live->value.n + 1);
  for (uint32_t k = 0; k < p->live->value.n; k++) {
    home *h = p->of[p->live->value.v[k]->id];
    if (h->fixed || h->output || h->slot != UINT32_MAX) continue;
    h->slot = 0;
    all[n++] = h;
  }
  sort_homes(all, n);
  slots s = {0};
  for (uint32_t k = 0; k < n; k++)
    all[k]->slot = take_slot(p->g, &s, home_bytes(p, all[k]), all[k]->from, all[k]->to);
  p->f->slot.n = 0;
  for (uint32_t k = 0; k < s.v.n; k++) sq_push(p->g->arena, &p->f->slot, s.v.v[k].size);
}

static void store_values(planner *p) {
  for (uint32_t k = 0; k < p->live->value.n; k++) {
    sq_value *v = p->live->value.v[k];
    const home *h = p->of[v->id];
    if (!v->def && !v->block->owner) {
      v->store = SQ_STORE_INPUT;
      v->store_index = v->index;
    } else if (h->state) {
      v->store = SQ_STORE_STATE;
      v->store_index = h->state->def->ref;
      v->origin = h->state;
    } else if (h->fixed) {
      v->store = v->def->op == SQ_OP_PARAM ? SQ_STORE_PARAM : SQ_STORE_STATE;
      v->store_index = v->def->ref;
    } else if (h->output) {
      v->store = SQ_STORE_OUTPUT;
      v->store_index = h->output - 1;
    } else {
      v->store = SQ_STORE_SLOT;
      v->store_index = h->slot;
    }
  }
}

// ---- inside groups -----------------------------------------------------------------------------
static uint32_t last_reader(const sq_block *b, const sq_value *v) {
  uint32_t last = 0;
  for (uint32_t k = 0; k < b->nodes.n; k++)
    for (uint32_t j = 0; j < b->nodes.v[k]->n_in; j++)
      if (b->nodes.v[k]->in[j] == v) last = k;
  return last;
}

static void place_group(planner *p, sq_node *n, slots *s) {
  sq_block *b = n->region[0];
  sq_node *end = sq_block_end(b);
  for (uint32_t k = 0; k < s->v.n; k++) s->v.v[k].used = false;
  for (uint32_t k = 0; k < b->nodes.n; k++)
    for (uint32_t o = 0; o < b->nodes.v[k]->n_out; o++)
      b->nodes.v[k]->out[o]->store = SQ_STORE_NONE;
  for (uint32_t k = 0; k < end->n_in; k++) {
    end->in[k]->store = n->out[k]->store;
    end->in[k]->store_index = n->out[k]->store_index;
    end->in[k]->origin = n->out[k]->origin;
  }
  for (uint32_t k = 0; k + 1 < b->nodes.n; k++) {
    sq_node *m = b->nodes.v[k];
    sq_value *v = m->out[0];
    if (v->store != SQ_STORE_NONE) continue;
    uint32_t last = last_reader(b, v);
    v->store = SQ_STORE_INNER;
    v->store_index = UINT32_MAX;
    for (uint32_t j = 0; j < m->n_in; j++) { // over an inner operand that dies here
      const sq_value *x = m->in[j];
      if (x->store != SQ_STORE_INNER || x->def->block != b || last_reader(b, x) != k) continue;
      if (s->v.v[x->store_index].busy_to != k || !sq_place_shared(p->g, m, x, v)) continue;
      v->store_index = x->store_index;
      s->v.v[v->store_index].busy_to = last;
      break;
    }
    if (v->store_index == UINT32_MAX)
      v->store_index =
          take_slot(p->g, s, sq_storage_bytes(p->g, v->type, n->n_outer), k, last < k ? k : last);
  }
}

static void place_groups(planner *p, sq_block *b, slots *s) {
  for (uint32_t k = 0; k < b->nodes.n; k++) {
    sq_node *n = b->nodes.v[k];
    if (n->op == SQ_OP_GROUP)
      place_group(p, n, s);
    else if (n->op != SQ_OP_SWEEP && n->op != SQ_OP_STREAM) // their values have no places
      for (uint32_t r = 0; r < n->n_region; r++) place_groups(p, n->region[r], s);
  }
}

static bool one_place(const sq_value *a, const sq_value *b) {
  if (a->store != b->store || a->store_index != b->store_index) return false;
  if (a->store == SQ_STORE_STATE) return (a->origin ? a->origin : a) == (b->origin ? b->origin : b);
  return a->store == SQ_STORE_SLOT || a->store == SQ_STORE_OUTPUT;
}

// A copy whose source dies there may have got its source's place: nothing is left to do.
static void drop_copies(planner *p, sq_block *b) {
  uint32_t kept = 0;
  for (uint32_t k = 0; k < b->nodes.n; k++) {
    sq_node *n = b->nodes.v[k];
    const sq_value *v = n->n_in ? n->in[0] : NULL;
    if (v && sq_node_is_copy(p->g, n) && one_place(v, n->out[0])) {
      sq_replace_uses(p->f, n->out[0], n->in[0]);
      n->block = NULL;
      continue;
    }
    b->nodes.v[kept++] = n;
    if (sq_node_is_kernel(n)) continue;
    for (uint32_t r = 0; r < n->n_region; r++) drop_copies(p, n->region[r]);
  }
  b->nodes.n = kept;
}

// ---- the pass ----------------------------------------------------------------------------------
static void start(planner *p) {
  p->again = false;
  p->n_known = p->g->n_values;
  p->live = sq_live_make(p->f, p->g->arena);
  p->of = SQ_ARRAY(p->g->arena, home *, p->g->n_values + 1);
  for (uint32_t k = 0; k < p->live->value.n; k++) new_home(p, p->live->value.v[k]);
}

static void plan_function(sq_graph *g, sq_func *f) {
  planner p = {.g = g, .f = f};
  for (uint32_t round = 0;; round++) {
    SQ_ASSERT(round < 10000, "planning of %s does not end", f->name);
    start(&p);
    save_old(&p);
    if (p.again) continue;
    join_required(&p, f->body);
    if (p.again) continue;
    take_outputs(&p);
    if (!p.again) break;
  }
  use_states(&p, f->body);
  join_sides(&p, f->body);
  join_elements(&p, f->body);
  lay_out(&p);
  store_values(&p);
  drop_copies(&p, f->body);
  for (uint32_t k = 0; k < p.said.n; k++)
    if (p.said.v[k].copy->block)
      sq_remark_add(g->ctx, "plan", false, p.said.v[k].span, sq_pass_entry(f), "%s",
                    p.said.v[k].text);
  slots inner = {0};
  place_groups(&p, f->body, &inner);
  f->scratch.n = 0;
  for (uint32_t k = 0; k < inner.v.n; k++) sq_push(g->arena, &f->scratch, inner.v.v[k].size);
  f->planned = true;
}

bool sq_pass_plan(sq_graph *g, const sq_pass_options *o) {
  (void)o;
  for (uint32_t k = 0; k < g->func.n; k++) plan_function(g, g->func.v[k]);
  return true;
}
