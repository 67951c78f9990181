// The sites marked `require fused`: what became of them, and with --require-fused an error where that is
// less than was asked. In: a graph after its passes, and their remarks. Out: a remark for each site.
//
//   require fused o[i, c] = sum(j) p[i, j] * v[j, c]
//
// A site is fused when something of it was joined, and nothing that passes looked for in it was missed.
// What stays apart from work of other statements counts only where nothing else was joined. A miss
// that a later pass made up for is none: its operations are gone, or in one kernel.
#include "passes/pipeline.h"
#include "passes/questions.h"

typedef SQ_VEC(const sq_remark *) remarks;
typedef struct site {
  remarks missed, beside;
  bool fused;
  const sq_node *alone; // work of it that is a kernel by itself
  const sq_func *f;
} site;
typedef struct inquiry {
  sq_graph *g;
  site *site;     // by mark
  sq_node **node; // by id: what is left
  sq_func *f;
  sq_diags faults;
} inquiry;

// ---- what is left ------------------------------------------------------------------------------
static const sq_node *kernel_of(const sq_node *n) {
  const sq_node *k = n;
  for (const sq_block *b = n->block; b && b->owner; b = b->owner->block)
    if (sq_node_is_kernel(b->owner)) k = b->owner;
  return k;
}

static bool is_alone(const sq_node *n) {
  if (n->n_region || n->op == SQ_OP_CHECK || n->op == SQ_OP_LIVE) return false;
  return !n->g || n->g->n_par + n->g->n_red > 0; // scalars are no kernels
}

static void note_node(sq_node *n, void *user) {
  inquiry *q = user;
  q->node[n->id] = n;
  bool inside = sq_node_is_kernel(kernel_of(n));
  for (uint32_t m = n->span.mark; m; m = q->g->mark.v[m - 1].outer) {
    site *s = &q->site[m];
    s->f = q->f;
    s->fused |= inside;
    if (!inside && is_alone(n) && (!s->alone || sq_node_is_copy(q->g, s->alone))) s->alone = n;
  }
}

// ---- what was said -----------------------------------------------------------------------------
// Passes that put several operations into one kernel, and those whose misses make more kernels of what
// belongs together; products of the same rows are one by one what was asked for.
static bool joins(const char *pass) {
  return !strcmp(pass, "fuse") || !strcmp(pass, "sweep") || !strcmp(pass, "stream") ||
         !strcmp(pass, "group") || !strcmp(pass, "siblings");
}
static bool parts(const char *pass) {
  bool beside = !strcmp(pass, "siblings");
  return (joins(pass) && !beside) || !strcmp(pass, "batch") || !strcmp(pass, "unwrap");
}

static const sq_node *left(const inquiry *q, uint32_t number) {
  return number && number <= q->g->n_nodes ? q->node[number - 1] : NULL;
}

static bool still_true(const inquiry *q, const sq_remark *r) {
  const sq_node *n = left(q, r->subject), *from = left(q, r->apart);
  if (!n || (r->apart && !from)) return false;
  return !r->apart || kernel_of(n) != kernel_of(from);
}

static bool is_in(const sq_graph *g, uint32_t mark, uint32_t outer) {
  while (mark && mark != outer) mark = g->mark.v[mark - 1].outer;
  return mark != 0;
}

static void note_remark(inquiry *q, const sq_remark *r) {
  if (r->found || r->span.mark > q->g->mark.n) return;
  bool miss = !r->fired && parts(r->pass) && still_true(q, r);
  for (uint32_t m = r->span.mark; m; m = q->g->mark.v[m - 1].outer) {
    site *s = &q->site[m];
    s->fused |= r->fired && joins(r->pass);
    if (!miss) continue;
    bool beside = r->apart && !is_in(q->g, left(q, r->apart)->span.mark, m);
    sq_push(q->g->arena, beside ? &s->beside : &s->missed, r);
  }
}

// ---- the answer --------------------------------------------------------------------------------
// The misses of whole scans and attention say more than those of their parts.
static const sq_remark *gravest(const remarks *all) {
  static const char *const order[] = {"stream", "sweep", "unwrap", "batch"};
  for (unsigned o = 0; o < sizeof order / sizeof *order; o++)
    for (uint32_t k = 0; k < all->n; k++)
      if (!strcmp(all->v[k]->pass, order[o])) return all->v[k];
  return all->n ? all->v[0] : NULL;
}

static const char *lonely(const inquiry *q, const sq_node *n) {
  const char *what = sq_op_table[n->op].name;
  if (n->op == SQ_OP_GENERIC)
    what = sq_is_product(q->g, n) ? "a matrix product"
           : n->g->n_red          ? "a reduction"
                                  : "one loop nest";
  return sq_arena_fmt(q->g->arena, "nothing was joined: %s by itself is left", what);
}

static void accuse(inquiry *q, const site *s, const sq_mark *m, const char *why,
                   const remarks *all) {
  sq_diag *d = sq_error(&q->faults, m->span, "not fused: %s", why);
  const sq_remark *first = gravest(all);
  if (first) {
    const sq_node *apart = left(q, first->apart);
    sq_label(d, first->span, "this");
    if (apart) sq_label(d, apart->span, "apart from this");
    if (first->obstacle.file) sq_label(d, first->obstacle, "because of this");
  } else {
    sq_label(d, s->alone->span, "this");
  }
  for (uint32_t k = 0; k < all->n && k < 8; k++)
    if (all->v[k] != first) sq_label(d, all->v[k]->span, "%s", all->v[k]->text);
  if (sq_pass_entry(s->f)) sq_note(d, "in entry `%s`", s->f->name);
}

static void answer(inquiry *q, uint32_t mark) {
  const site *s = &q->site[mark];
  const sq_mark *m = &q->g->mark.v[mark - 1];
  const char *entry = sq_pass_entry(s->f);
  static const remarks none;
  const remarks *all = s->missed.n ? &s->missed : s->alone ? &s->beside : &none;
  bool good = !s->missed.n && (s->fused || !s->alone);
  if (good) {
    sq_remark_found(q->g->ctx, "require", m->span, entry,
                    s->fused ? "fused" : "nothing of it is left by itself");
    return;
  }
  const sq_remark *r = gravest(all);
  const char *why = r ? r->text : lonely(q, s->alone);
  sq_remark_found(q->g->ctx, "require", m->span, entry,
                  sq_arena_fmt(q->g->arena, "not fused: %s", why));
  accuse(q, s, m, why, all);
}

// What runs otherwise than was asked, marked or not: weights that stay as they are although 8 bits were
// wanted, and what a device has no kernel for.
static void fall_back(inquiry *q, const sq_remark *r, const sq_pass_options *o) {
  if (r->fired || r->found) return;
  if (o->int8 && !strcmp(r->pass, "pack"))
    sq_error(&q->faults, r->span, "not in 8 bits: %s", r->text);
  if (o->device && !strcmp(r->pass, "unwrap") && !r->span.mark)
    sq_error(&q->faults, r->span, "%s", r->text);
}

sq_status sq_require_fused(sq_graph *g, const sq_pass_options *o, uint32_t first,
                           const char **message) {
  sq_ctx *ctx = g->ctx;
  inquiry q = {.g = g};
  if (!g->mark.n && !o->require_fused) return SQ_OK;
  sq_diags_init(&q.faults, &ctx->arena);
  q.faults.sources.v = ctx->diags.sources.v;
  q.faults.sources.n = ctx->diags.sources.n;
  q.site = SQ_ARRAY(g->arena, site, g->mark.n + 1);
  q.node = SQ_ARRAY(g->arena, sq_node *, g->n_nodes + 1);
  for (uint32_t k = 0; k < g->func.n; k++) {
    q.f = g->func.v[k];
    sq_walk(q.f->body, note_node, &q);
  }
  uint32_t last = ctx->remarks.n;
  for (uint32_t k = first; k < last; k++) {
    note_remark(&q, &ctx->remarks.v[k]);
    fall_back(&q, &ctx->remarks.v[k], o);
  }
  for (uint32_t m = 1; m <= g->mark.n; m++) answer(&q, m);
  if (!o->require_fused || !q.faults.errors) return SQ_OK;
  *message = sq_diags_render(&q.faults);
  return SQ_EMODEL;
}
