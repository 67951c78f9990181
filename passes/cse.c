// cse: what is computed twice from the same values is computed once.
//
//   %a = generic (%x) [n < N] { exp(%x[n]) } : f32[N]
//   %b = generic (%x) [m < N] { exp(%x[m]) } : f32[N]      uses of %b become uses of %a
//
// A value computed in a block serves the regions inside. Reads of a state or a written parameter
// are the same while nothing writes it; a region that writes begins and ends anew.
#include "passes/maker.h"

typedef struct entry {
  sq_node *n;
  uint32_t hash;
  uint32_t version; // of the state or parameter that it reads
} entry;
typedef struct cse {
  sq_graph *g;
  sq_value **with;
  SQ_VEC(entry) seen; // the innermost scope last
  uint32_t *version;  // by state, then by parameter
  uint32_t next_version;
  uint32_t *bucket, *chain, cap; // hash -> index + 1 of the newest entry; older ones
  bool changed;
} cse;

static uint32_t blend(uint32_t h, uint64_t x) {
  uint64_t v = (h ^ x) * 0x9e3779b97f4a7c15ull;
  return (uint32_t)(v ^ v >> 32);
}

static uint32_t hash_node(const sq_node *n) {
  uint32_t h = blend(17, (uint64_t)n->op);
  for (uint32_t k = 0; k < n->n_in; k++) h = blend(h, n->in[k]->id);
  h = blend(blend(h, n->ref), n->axis);
  if (!n->g) return h;
  h = blend(blend(blend(h, n->g->n_par), n->g->n_red), (uint64_t)n->g->monoid);
  for (uint32_t k = 0; k < n->g->s.n; k++)
    h = blend(h, (uint64_t)n->g->s.v[k].kind * 64 + (uint64_t)n->g->s.v[k].ew);
  return h;
}

static bool can_share(const sq_node *n) {
  switch ((int)n->op) {
  case SQ_OP_GENERIC:
  case SQ_OP_CUMULATE:
  case SQ_OP_SORT:
  case SQ_OP_ARGSORT:
  case SQ_OP_TOPK:
  case SQ_OP_RANDOM:
  case SQ_OP_PARAM:
  case SQ_OP_STATE_READ:
    return true;
  default:
    return false; // an update would only be copied again
  }
}

static bool same_node(const sq_node *a, const sq_node *b) {
  if (a->op != b->op || a->n_in != b->n_in || a->n_out != b->n_out || a->ref != b->ref ||
      a->axis != b->axis || a->monoid != b->monoid || a->flag != b->flag ||
      a->has_instance != b->has_instance || !sq_dim_same(a->extent, b->extent))
    return false;
  for (uint32_t k = 0; k < a->n_in; k++)
    if (a->in[k] != b->in[k]) return false;
  for (uint32_t k = 0; k < a->n_out; k++)
    if (!sq_type_same(a->out[k]->type, b->out[k]->type)) return false;
  return !a->g || sq_generic_same(a->g, b->g);
}

// What else the result depends on: the state or parameter read, the extents of growing states.
static uint32_t version_of(const cse *c, const sq_node *n) {
  uint32_t v = 0;
  for (uint32_t s = 0; s < c->g->state.n; s++) {
    sq_sym grow = c->g->state.v[s].grow;
    if (grow.i && sq_node_mentions(c->g, n, grow)) v = blend(v, c->version[s]);
  }
  if (n->op == SQ_OP_STATE_READ) return blend(v, c->version[n->ref]);
  if (n->op == SQ_OP_PARAM) return blend(v, c->version[c->g->state.n + n->ref]);
  return v;
}

static void bump(sq_node *n, void *user) {
  cse *c = user;
  if (n->op == SQ_OP_STATE_WRITE || n->op == SQ_OP_RESERVE) c->version[n->ref] = ++c->next_version;
  if (n->op == SQ_OP_PARAM_WRITE) c->version[c->g->state.n + n->ref] = ++c->next_version;
  if (n->op == SQ_OP_RESET)
    for (uint32_t k = 0; k < c->g->state.n; k++) c->version[k] = ++c->next_version;
}

static void bump_regions(cse *c, sq_node *n) {
  bump(n, c);
  for (uint32_t r = 0; r < n->n_region; r++) sq_walk(n->region[r], bump, c);
}

// Which of two reports a failing test is the first anyway; the earlier operation stays.
static sq_node *find(cse *c, sq_node *n, uint32_t hash) {
  for (uint32_t k = c->bucket[hash & (c->cap - 1)]; k; k = c->chain[k - 1]) {
    const entry *e = &c->seen.v[k - 1];
    if (e->hash == hash && e->version == version_of(c, n) && same_node(e->n, n)) return e->n;
  }
  return NULL;
}

static void remember(cse *c, sq_node *n, uint32_t hash) {
  uint32_t k = c->seen.n;
  sq_push(c->g->arena, &c->seen, (entry){n, hash, version_of(c, n)});
  c->chain[k] = c->bucket[hash & (c->cap - 1)];
  c->bucket[hash & (c->cap - 1)] = k + 1;
}

static void forget(cse *c, uint32_t down_to) {
  while (c->seen.n > down_to) {
    const entry *e = &c->seen.v[--c->seen.n];
    c->bucket[e->hash & (c->cap - 1)] = c->chain[c->seen.n];
  }
}

static void do_block(cse *c, sq_block *b) {
  uint32_t scope = c->seen.n;
  for (uint32_t k = 0; k < b->nodes.n; k++) {
    sq_node *n = b->nodes.v[k];
    for (uint32_t j = 0; j < n->n_in; j++)
      while (c->with[n->in[j]->id]) n->in[j] = c->with[n->in[j]->id];
    if (n->g && n->op != SQ_OP_MAP) sq_scalars_tidy(c->g, n); // operands may have become equal
    if (sq_node_is_kernel(n)) continue;
    if (n->n_region) {
      bump_regions(c, n); // a turn sees what an earlier one wrote
      for (uint32_t r = 0; r < n->n_region; r++) do_block(c, n->region[r]);
    }
    bump_regions(c, n);
    if (!can_share(n)) continue;
    uint32_t hash = hash_node(n);
    sq_node *same = find(c, n, hash);
    if (!same) {
      remember(c, n, hash);
      continue;
    }
    for (uint32_t j = 0; j < n->n_out; j++) c->with[n->out[j]->id] = same->out[j];
    if (!same->span.mark) same->span.mark = n->span.mark;
    c->changed = true;
  }
  forget(c, scope);
}

bool sq_pass_cse(sq_graph *g, const sq_pass_options *o) {
  (void)o;
  cse c = {.g = g};
  c.with = SQ_ARRAY(g->arena, sq_value *, g->n_values + 1);
  c.version = SQ_ARRAY(g->arena, uint32_t, g->state.n + g->param.n + 1);
  c.cap = 64;
  while (c.cap < g->n_nodes) c.cap *= 2;
  c.bucket = SQ_ARRAY(g->arena, uint32_t, c.cap);
  c.chain = SQ_ARRAY(g->arena, uint32_t, g->n_nodes + 1);
  for (uint32_t k = 0; k < g->func.n; k++) do_block(&c, g->func.v[k]->body);
  if (c.changed) sq_pass_dce(g, o);
  return c.changed;
}
