// Verifies a graph: one small check for each operation, every fault a line
//   @forward: %y = generic: generic.extent: axis 0 runs to N, the result's extent is M
// It reports and never repairs. It is safe on whatever the reader or a broken pass can make, as
// long as pointers that are set point to something.
#include "ir/contraction.h"
#include "ir/dims_inner.h"
#include "ir/stream.h"
#include "ir/sweep_chunk.h"
#include "ir/sweep_dense.h"
#include "ir/sweep_newton.h"
#include "ir/sweep_prefix.h"
#include "ir/verify_inner.h"
#include <stdarg.h>
#include <stdlib.h>

enum { MAX_FAULTS = 100, MAX_CALL_DEPTH = 1000 };

static bool is_integer(sq_dtype t) {
  return sq_dtype_table[t].cls == 'I' || sq_dtype_table[t].cls == 'U';
}

void sq_verify_fault(verifier *v, const char *rule, const char *fmt, ...) {
  if (++v->n_faults > MAX_FAULTS) return;
  if (v->func) sq_text_add(v->out, "@%s: ", v->func->name ? v->func->name : "?");
  if (v->node) {
    const sq_node *n = v->node;
    if (n->n_out) sq_text_add(v->out, "%%%s = ", n->out[0]->name ? n->out[0]->name : "");
    sq_text_add(v->out, "%s (operation %u", sq_op_table[n->op].name, (unsigned)n->id);
    uint32_t line, column;
    sq_span_line(&v->g->ctx->diags, n->span, &line, &column);
    if (line) {
      sq_text_add(v->out, ", %s:%u:%u", v->g->ctx->diags.sources.v[n->span.file].name,
                  (unsigned)line, (unsigned)column);
    }
    sq_text_add(v->out, "): ");
  }
  char text[512];
  va_list ap;
  va_start(ap, fmt);
  vsnprintf(text, sizeof text, fmt, ap);
  va_end(ap);
  sq_text_add(v->out, "%s: %s\n", rule, text);
}

const char *sq_verify_dim(const verifier *v, sq_dim d) {
  sq_text t = {.arena = v->out->arena};
  sq_text_put(&t, "", 0);
  sq_dim_print(v->g->dims, d, &t);
  return t.v;
}

bool sq_verify_dim_ok(const verifier *v, sq_dim d) { return d.i && d.i < v->g->dims->rec.n; }

bool sq_verify_dim_agree(const verifier *v, sq_dim a, sq_dim b) {
  if (a.i == b.i) return true;
  if (sq_prove_eq(v->g->dims, a, b) > 0) return true;
  for (uint32_t k = 0; v->func && k < v->func->requires_.n; k++) {
    const sq_require *q = &v->func->requires_.v[k];
    if (!q->equal || !sq_verify_dim_ok(v, q->a) || !sq_verify_dim_ok(v, q->b)) continue;
    if ((q->a.i == a.i && q->b.i == b.i) || (q->a.i == b.i && q->b.i == a.i)) return true;
  }
  return false;
}

bool sq_verify_agree(const verifier *v, sq_type a, sq_type b) {
  if (a.dtype != b.dtype || a.rank != b.rank) return false;
  for (uint32_t k = 0; k < a.rank; k++)
    if (!sq_verify_dim_agree(v, a.dim[k], b.dim[k])) return false;
  return true;
}

bool sq_verify_site_ok(const verifier *v, uint32_t site) {
  return site == SQ_NO_SITE || site < v->g->site.n;
}

static const char *type_text(const verifier *v, sq_type t) {
  sq_text s = {.arena = v->out->arena};
  sq_text_add(&s, "%s", sq_dtype_table[t.dtype].name);
  for (uint32_t k = 0; k < t.rank; k++)
    sq_text_add(&s, "%s%s", k ? ", " : "[", sq_verify_dim(v, t.dim[k]));
  if (t.rank) sq_text_add(&s, "]");
  return s.v;
}

// Type exists and its extents have a bound to store by.
static void check_type(verifier *v, sq_type t, const char *what) {
  if ((unsigned)t.dtype >= SQ_DTYPE_COUNT || t.rank > SQ_MAX_RANK) {
    sq_verify_fault(v, "type", "%s has no element type or more than %d axes", what, SQ_MAX_RANK);
    return;
  }
  for (uint32_t k = 0; k < t.rank; k++) {
    int64_t c;
    if (!sq_verify_dim_ok(v, t.dim[k]) ||
        (sq_dim_is_const(v->g->dims, t.dim[k], &c) && (c < 0 || dim_is_infinite(c))))
      sq_verify_fault(v, "type.extent", "axis %u of %s has no extent", k, what);
    else if (sq_dim_same(sq_dim_storage(v->g->dims, t.dim[k]), v->g->dims->none))
      sq_verify_fault(v, "type.storage", "axis %u of %s, %s, has no bound to store it by", k, what,
                      sq_verify_dim(v, t.dim[k]));
  }
}

static bool scalar_integer(sq_type t) { return t.rank == 0 && is_integer(t.dtype); }
static bool scalar_bool(sq_type t) { return t.rank == 0 && t.dtype == SQ_BOOL; }

static void want_type(verifier *v, const char *rule, const char *what, uint32_t k, sq_type have,
                      sq_type want) {
  if (!sq_verify_agree(v, have, want))
    sq_verify_fault(v, rule, "%s %u is %s instead of %s", what, k, type_text(v, have),
                    type_text(v, want));
}

static bool want_count(verifier *v, const char *rule, const char *what, uint32_t have,
                       uint32_t want) {
  if (have != want) sq_verify_fault(v, rule, "%u %s instead of %u", have, what, want);
  return have == want;
}

static sq_type type_in_front(verifier *v, sq_type t, const sq_dim *dim, uint32_t n) {
  sq_dim *d = SQ_ARRAY(v->out->arena, sq_dim, t.rank + n + 1);
  for (uint32_t k = 0; k < n; k++) d[k] = dim[k];
  for (uint32_t k = 0; k < t.rank; k++) d[n + k] = t.dim[k];
  return (sq_type){t.dtype, t.rank + n, d};
}

// ---- one check for each operation --------------------------------------------------------------

static void check_generic(verifier *v, const sq_node *n) {
  sq_verify_generic(v, n, n->out[0]->type);
}

static void check_update(verifier *v, const sq_node *n) {
  want_type(v, "update.type", "result", 0, n->out[0]->type, n->in[0]->type);
  sq_verify_generic(v, n, n->in[0]->type);
}

static bool axis_ok(verifier *v, const sq_node *n) {
  if (n->axis < n->in[0]->type.rank) return true;
  sq_verify_fault(v, "axis", "axis %u of %u", n->axis, n->in[0]->type.rank);
  return false;
}

static void check_along(verifier *v, const sq_node *n) {
  sq_type want = n->in[0]->type;
  axis_ok(v, n);
  if (n->op == SQ_OP_ARGSORT) want.dtype = SQ_I32;
  want_type(v, "along.type", "result", 0, n->out[0]->type, want);
  if (n->op == SQ_OP_CUMULATE &&
      (n->in[0]->type.dtype == SQ_BOOL || n->monoid < SQ_SUM || n->monoid > SQ_MIN))
    sq_verify_fault(v, "cumulate.monoid", "wants numbers and sum, prod, max or min");
}

static void check_topk(verifier *v, const sq_node *n) {
  sq_type t = n->in[0]->type;
  if (!axis_ok(v, n)) return;
  if (!sq_verify_dim_ok(v, n->extent)) {
    sq_verify_fault(v, "topk.k", "no extent");
    return;
  }
  sq_dim d[SQ_MAX_RANK];
  memcpy(d, t.dim, t.rank * sizeof *d);
  d[n->axis] = n->extent;
  sq_type want = {t.dtype, t.rank, d};
  want_type(v, "topk.type", "result", 0, n->out[0]->type, want);
  want.dtype = SQ_I32;
  want_type(v, "topk.type", "result", 1, n->out[1]->type, want);
  t.dtype = SQ_BOOL;
  if (n->n_in > 1) want_type(v, "topk.valid", "input", 1, n->in[1]->type, t);
}

static void check_random(verifier *v, const sq_node *n) {
  if (!scalar_integer(n->in[0]->type)) sq_verify_fault(v, "random.key", "the key is an integer");
  if (!sq_is_float(n->out[0]->type.dtype)) sq_verify_fault(v, "random.type", "results are floats");
  if (n->flag > 1) sq_verify_fault(v, "random.flag", "distribution %u", n->flag);
}

static void check_instance(verifier *v, const sq_node *n, bool wanted) {
  if (n->has_instance != wanted)
    sq_verify_fault(v, "instance", wanted ? "which instance?" : "it has no instances");
  else if (wanted && (!n->n_in || !scalar_integer(n->in[n->n_in - 1]->type)))
    sq_verify_fault(v, "instance", "the instance is the last input, an integer");
}

static void check_param(verifier *v, const sq_node *n) {
  if (n->ref >= v->g->param.n) {
    sq_verify_fault(v, "ref", "parameter %u of %u", n->ref, v->g->param.n);
    return;
  }
  const sq_param *p = &v->g->param.v[n->ref];
  check_instance(v, n, p->has_instances);
  if (n->op == SQ_OP_PARAM) {
    want_count(v, "param.inputs", "inputs", n->n_in, n->has_instance);
    want_type(v, "param.type", "result", 0, n->out[0]->type, p->type);
    return;
  }
  if (!p->written) sq_verify_fault(v, "param.written", "@%s is not marked as written", p->name);
  sq_verify_generic(v, n, p->type);
}

static void check_state(verifier *v, const sq_node *n) {
  if (n->ref >= v->g->state.n) {
    sq_verify_fault(v, "ref", "state %u of %u", n->ref, v->g->state.n);
    return;
  }
  const sq_state *s = &v->g->state.v[n->ref];
  check_instance(v, n, s->has_instances);
  if (n->op == SQ_OP_STATE_READ) {
    want_count(v, "state.inputs", "inputs", n->n_in, n->has_instance);
    want_type(v, "state.type", "result", 0, n->out[0]->type, s->type);
  } else if (n->op == SQ_OP_STATE_WRITE) {
    sq_verify_generic(v, n, s->type);
  } else {
    if (want_count(v, "reserve.inputs", "inputs", n->n_in, 1u + n->has_instance) &&
        !scalar_integer(n->in[0]->type))
      sq_verify_fault(v, "reserve.length", "the length is an integer");
    if (!s->grow.i) sq_verify_fault(v, "reserve.grow", "@%s does not grow", s->name);
  }
}

static void check_reset(verifier *v, const sq_node *n) { (void)v, (void)n; }

static void check_live(verifier *v, const sq_node *n) {
  if (!scalar_integer(n->in[0]->type)) sq_verify_fault(v, "live.value", "it is an integer");
  if (!n->sym.i || n->sym.i > sq_sym_count(v->g->dims) ||
      sq_sym_at(v->g->dims, n->sym)->kind != SQ_SYM_LIVE)
    sq_verify_fault(v, "live.symbol", "it names no live symbol");
}

static void check_check(verifier *v, const sq_node *n) {
  if (!scalar_bool(n->in[0]->type)) sq_verify_fault(v, "check.value", "it is a bool");
  if (n->site == SQ_NO_SITE) sq_verify_fault(v, "check.site", "a check without a site");
}

static uint32_t yields(const sq_block *b) {
  const sq_node *end = sq_block_end(b);
  return end ? end->n_in : 0;
}
static sq_type yielded(const sq_block *b, uint32_t k) { return sq_block_end(b)->in[k]->type; }

// Block `b` takes `extra` integers, then the values in[from..]; results of these types.
static void check_carried(verifier *v, const sq_node *n, const sq_block *b, uint32_t extra,
                          uint32_t from) {
  if (!want_count(v, "region.arguments", "arguments", b->args.n, extra + n->n_in - from)) return;
  for (uint32_t k = 0; k < extra; k++)
    if (!scalar_integer(b->args.v[k]->type))
      sq_verify_fault(v, "region.index", "argument %u is an integer", k);
  for (uint32_t k = from; k < n->n_in; k++)
    want_type(v, "region.carried", "argument", extra + k - from, b->args.v[extra + k - from]->type,
              n->in[k]->type);
}

// What `b` yields from `from` on are the types of n's results from there on.
static void check_yields(verifier *v, const sq_node *n, const sq_block *b, uint32_t from,
                         const sq_dim *front, uint32_t n_front) {
  if (!want_count(v, "region.yields", "values yielded", yields(b), n->n_out)) return;
  for (uint32_t k = from; k < n->n_out; k++)
    want_type(v, "region.result", "result", k, n->out[k]->type,
              type_in_front(v, yielded(b, k), front, n_front));
}

static void check_repeat(verifier *v, const sq_node *n) {
  for (uint32_t k = 0; k < 2; k++)
    if (!scalar_integer(n->in[k]->type)) sq_verify_fault(v, "repeat.range", "bounds are integers");
  check_carried(v, n, n->region[0], 1, 2);
  check_yields(v, n, n->region[0], 0, NULL, 0);
  for (uint32_t k = 0; k < n->n_out && k + 2 < n->n_in; k++)
    want_type(v, "repeat.carried", "result", k, n->out[k]->type, n->in[k + 2]->type);
}

static void check_while(verifier *v, const sq_node *n) {
  check_carried(v, n, n->region[0], 0, 0);
  check_carried(v, n, n->region[1], 0, 0);
  if (want_count(v, "while.condition", "conditions", yields(n->region[0]), 1) &&
      !scalar_bool(yielded(n->region[0], 0)))
    sq_verify_fault(v, "while.condition", "the condition is a bool");
  check_yields(v, n, n->region[1], 0, NULL, 0);
  for (uint32_t k = 0; k < n->n_out && k < n->n_in; k++)
    want_type(v, "while.carried", "result", k, n->out[k]->type, n->in[k]->type);
  if (n->extent.i && !sq_verify_dim_ok(v, n->extent)) sq_verify_fault(v, "while.limit", "no size");
}

static void check_if(verifier *v, const sq_node *n) {
  if (!scalar_bool(n->in[0]->type)) sq_verify_fault(v, "if.condition", "the condition is a bool");
  for (uint32_t k = 0; k < 2; k++) {
    want_count(v, "region.arguments", "arguments", n->region[k]->args.n, 0);
    check_yields(v, n, n->region[k], 0, NULL, 0);
  }
}

static void check_scan(verifier *v, const sq_node *n) {
  if (!sq_verify_dim_ok(v, n->extent)) {
    sq_verify_fault(v, "scan.extent", "no extent");
    return;
  }
  if (n->flag > 3) sq_verify_fault(v, "scan.flag", "flags %u", n->flag);
  if (!want_count(v, "scan.carried", "inputs", n->n_in, n->n_carried)) return;
  check_carried(v, n, n->region[0], 1, 0);
  check_yields(v, n, n->region[0], n->n_carried, &n->extent, 1);
  for (uint32_t k = 0; k < n->n_carried && k < n->n_out && k < yields(n->region[0]); k++) {
    want_type(v, "scan.carried", "result", k, n->out[k]->type, n->in[k]->type);
    want_type(v, "scan.carried", "value yielded", k, yielded(n->region[0], k), n->in[k]->type);
  }
}

static void check_map(verifier *v, const sq_node *n) {
  const sq_generic *g = n->g;
  sq_dim d[SQ_MAX_RANK];
  if (g->n_par > SQ_MAX_RANK || g->n_red) {
    sq_verify_fault(v, "map.axes", "%u axes, %u reduced", g->n_par, g->n_red);
    return;
  }
  for (uint32_t k = 0; k < g->n_par; k++) {
    d[k] = g->axis[k].extent;
    if (!sq_verify_dim_ok(v, d[k])) {
      sq_verify_fault(v, "map.extent", "axis %u has no extent", k);
      return;
    }
  }
  check_carried(v, n, n->region[0], g->n_par, 0);
  check_yields(v, n, n->region[0], 0, d, g->n_par);
}

static int by_address(const void *a, const void *b) {
  const sq_func *x = *(const sq_func *const *)a, *y = *(const sq_func *const *)b;
  return x < y ? -1 : x > y;
}

// Place in v->sorted, or UINT32_MAX.
static uint32_t func_place(const verifier *v, const sq_func *f) {
  const sq_func **at = bsearch(&f, v->sorted, v->g->func.n, sizeof *v->sorted, by_address);
  return at ? (uint32_t)(at - v->sorted) : UINT32_MAX;
}

// The callee's symbols stand for the sizes of the arguments; what that leaves open is not judged.
static void check_call(verifier *v, const sq_node *n) {
  if (!n->func || func_place(v, n->func) == UINT32_MAX) {
    sq_verify_fault(v, "call.function", "it calls no function of this graph");
    return;
  }
  const sq_block *b = n->func->body;
  if (!want_count(v, "call.arguments", "arguments", n->n_in, b->args.n) ||
      !want_count(v, "call.results", "results", n->n_out, yields(b)))
    return;
  sq_dims *ds = v->g->dims;
  uint32_t n_with = sq_sym_count(ds) + 1;
  sq_dim *with = SQ_ARRAY(v->out->arena, sq_dim, n_with);
  for (int pass = 0; pass < 2; pass++)
    for (uint32_t k = 0; k < n->n_in + n->n_out; k++) {
      bool in = k < n->n_in;
      sq_type have = in ? n->in[k]->type : n->out[k - n->n_in]->type;
      sq_type want = in ? b->args.v[k]->type : yielded(b, k - n->n_in);
      if (have.dtype != want.dtype || have.rank != want.rank) {
        if (!pass)
          sq_verify_fault(v, "call.type", "%s %u is %s instead of %s", in ? "argument" : "result",
                          in ? k : k - n->n_in, type_text(v, have), type_text(v, want));
        continue;
      }
      for (uint32_t j = 0; j < have.rank; j++) {
        if (!sq_verify_dim_ok(v, want.dim[j]) || !sq_verify_dim_ok(v, have.dim[j])) continue;
        const sq_dim_node *d = sq_dim_at(ds, want.dim[j]);
        if (!pass && in && d->kind == SQ_DIM_SYM && !with[d->sym.i].i) with[d->sym.i] = have.dim[j];
        sq_dim put = pass ? sq_dim_subst(ds, want.dim[j], with, n_with) : want.dim[j];
        if (pass && sq_prove_eq(ds, put, have.dim[j]) < 0)
          sq_verify_fault(v, "call.extent", "axis %u of %s %u is %s instead of %s", j,
                          in ? "argument" : "result", in ? k : k - n->n_in,
                          sq_verify_dim(v, have.dim[j]), sq_verify_dim(v, put));
      }
    }
}

// Every value of the group is read at exactly the outer indices.
static void check_member(verifier *v, const sq_node *group, const sq_node *n) {
  const sq_generic *g = n->g, *first = group->region[0]->nodes.v[0]->g;
  uint32_t outer = group->n_outer;
  if (n->op != SQ_OP_GENERIC || !g || !first || g->n_par < outer || first->n_par < outer) {
    sq_verify_fault(v, "group.member", "operation %u is no generic with %u outer axes", n->id,
                    outer);
    return;
  }
  for (uint32_t k = 0; k < outer; k++)
    if (sq_verify_dim_ok(v, g->axis[k].extent) && sq_verify_dim_ok(v, first->axis[k].extent) &&
        !sq_verify_dim_agree(v, g->axis[k].extent, first->axis[k].extent))
      sq_verify_fault(v, "group.axes", "axis %u of operation %u runs to %s, the group's to %s", k,
                      n->id, sq_verify_dim(v, g->axis[k].extent),
                      sq_verify_dim(v, first->axis[k].extent));
  for (uint32_t k = 0; k < g->s.n; k++) {
    const sq_scalar *s = &g->s.v[k];
    if (s->kind != SQ_SC_READ || s->operand >= n->n_in) continue;
    const sq_node *def = n->in[s->operand]->def;
    if (!def || def->block != group->region[0]) continue;
    for (uint32_t j = 0; j < outer; j++) {
      const sq_scalar *p = j < s->n_pos && s->pos[j] < g->s.n ? &g->s.v[s->pos[j]] : NULL;
      if (!p || p->kind != SQ_SC_INDEX || p->axis != j)
        sq_verify_fault(v, "group.read", "operation %u reads a value of the group elsewhere",
                        n->id);
    }
  }
}

static void check_group(verifier *v, const sq_node *n) {
  const sq_block *b = n->region[0];
  want_count(v, "region.arguments", "arguments", b->args.n, 0);
  check_yields(v, n, b, 0, NULL, 0);
  uint32_t before = v->n_faults;
  for (uint32_t k = 0; k + 1 < b->nodes.n; k++) check_member(v, n, b->nodes.v[k]);
  if (n->n_outer || v->n_faults > before) return;
  const char *why = sq_siblings_check((sq_graph *)v->g, n);
  if (why) sq_verify_fault(v, "group.siblings", "%s", why);
}

// What a scan in a sweep yields is made by a loop nest of its body, or carried.
static void check_swept(verifier *v, const sq_node *scan) {
  const sq_block *b = scan->region[0];
  const sq_node *end = sq_block_end(b);
  for (uint32_t k = 0; k + 1 < b->nodes.n; k++)
    if (b->nodes.v[k]->op != SQ_OP_GENERIC)
      sq_verify_fault(v, "sweep.body", "operation %u is no generic", b->nodes.v[k]->id);
  for (uint32_t k = 0; end && k < end->n_in; k++) {
    const sq_value *y = end->in[k];
    if (y->def ? y->def->block != b : y->block != b || !y->index)
      sq_verify_fault(v, "sweep.yield", "yields %u from elsewhere", k);
  }
}

// One scan, and generics.
static void check_sweep(verifier *v, const sq_node *n) {
  const sq_block *b = n->region[0];
  uint32_t scans = 0;
  want_count(v, "region.arguments", "arguments", b->args.n, 0);
  check_yields(v, n, b, 0, NULL, 0);
  for (uint32_t k = 0; k + 1 < b->nodes.n; k++) {
    bool scan = b->nodes.v[k]->op == SQ_OP_SCAN;
    scans += scan;
    if (scan && b->nodes.v[k]->n_region == 1) check_swept(v, b->nodes.v[k]);
    if (!scan && b->nodes.v[k]->op != SQ_OP_GENERIC)
      sq_verify_fault(v, "sweep.member", "operation %u is neither a scan nor a generic",
                      b->nodes.v[k]->id);
  }
  want_count(v, "sweep.scan", "scans", scans, 1);
}

static void check_stream(verifier *v, const sq_node *n) {
  const sq_block *b = n->region[0];
  sq_stream s;
  const char *why;
  want_count(v, "region.arguments", "arguments", b->args.n, 0);
  check_yields(v, n, b, 0, NULL, 0);
  if (!sq_stream_parts((sq_graph *)v->g, n, &s, &why)) sq_verify_fault(v, "stream.body", "%s", why);
}

static void (*const checks[SQ_OP_COUNT])(verifier *v, const sq_node *n) = {
    [SQ_OP_GENERIC] = check_generic,   [SQ_OP_UPDATE] = check_update,
    [SQ_OP_CUMULATE] = check_along,    [SQ_OP_SORT] = check_along,
    [SQ_OP_ARGSORT] = check_along,     [SQ_OP_TOPK] = check_topk,
    [SQ_OP_RANDOM] = check_random,     [SQ_OP_PARAM] = check_param,
    [SQ_OP_PARAM_WRITE] = check_param, [SQ_OP_STATE_READ] = check_state,
    [SQ_OP_STATE_WRITE] = check_state, [SQ_OP_RESERVE] = check_state,
    [SQ_OP_RESET] = check_reset,       [SQ_OP_LIVE] = check_live,
    [SQ_OP_CHECK] = check_check,       [SQ_OP_REPEAT] = check_repeat,
    [SQ_OP_WHILE] = check_while,       [SQ_OP_IF] = check_if,
    [SQ_OP_SCAN] = check_scan,         [SQ_OP_MAP] = check_map,
    [SQ_OP_CALL] = check_call,         [SQ_OP_GROUP] = check_group,
    [SQ_OP_SWEEP] = check_sweep,       [SQ_OP_STREAM] = check_stream,
    [SQ_OP_YIELD] = check_reset, // what it yields is checked where it goes
};

// ---- structure ---------------------------------------------------------------------------------

static void define(verifier *v, const sq_value *x, const char *what) {
  if (x->id >= v->g->n_values || v->seen[x->id])
    sq_verify_fault(v, "value.once", "%s has the number %u of another", what, x->id);
  if (x->id < v->g->n_values) v->seen[x->id] = 1;
  check_type(v, x->type, what);
  if ((unsigned)x->store > SQ_STORE_INNER)
    sq_verify_fault(v, "value.store", "%s has no storage class", what);
  if (x->origin &&
      (x->store != SQ_STORE_STATE || !x->origin->def || x->origin->def->op != SQ_OP_STATE_READ))
    sq_verify_fault(v, "value.store", "%s lies in the place of what is no state", what);
  if (!v->func->planned) return;
  if ((x->store == SQ_STORE_SLOT && x->store_index >= v->func->slot.n) ||
      (x->store == SQ_STORE_INNER && x->store_index >= v->func->scratch.n))
    sq_verify_fault(v, "value.store", "%s lies in place %u, which does not exist", what,
                    x->store_index);
}

static bool writes_state(const verifier *v, const sq_node *n) {
  if (n->op == SQ_OP_CALL) {
    uint32_t at = n->func ? func_place(v, n->func) : UINT32_MAX;
    return at != UINT32_MAX && v->writes[at];
  }
  return n->op == SQ_OP_STATE_WRITE || n->op == SQ_OP_PARAM_WRITE || n->op == SQ_OP_RESERVE ||
         n->op == SQ_OP_RESET;
}

// Operands exist and can be seen, counts fit the table; false: no closer look.
static bool check_shape(verifier *v, const sq_node *n, const sq_block *b) {
  if ((unsigned)n->op >= SQ_OP_COUNT) return false;
  const sq_op_info *info = &sq_op_table[n->op];
  bool ok = true;
  if (n->block != b) sq_verify_fault(v, "node.block", "it does not know where it stands");
  if ((int)n->n_in < info->min_in || (info->max_in >= 0 && (int)n->n_in > info->max_in))
    ok = false, sq_verify_fault(v, "node.inputs", "%u inputs", n->n_in);
  if (info->results >= 0 && (int)n->n_out != info->results)
    ok = false, sq_verify_fault(v, "node.results", "%u results", n->n_out);
  if ((int)n->n_region != info->regions)
    ok = false, sq_verify_fault(v, "node.regions", "%u regions", n->n_region);
  for (uint32_t k = 0; k < n->n_in; k++) {
    const sq_value *x = n->in[k];
    if (!x || x->id >= v->g->n_values) {
      ok = false, sq_verify_fault(v, "node.input", "input %u is no value", k);
    } else if (v->seen[x->id] != 1) {
      ok = false;
      sq_verify_fault(v, "value.order", "input %u, %%%s, is %s", k, x->name ? x->name : "?",
                      v->seen[x->id] ? "inside a region that has ended"
                                     : "defined later or nowhere");
    }
  }
  bool wants_g = sq_op_forms[n->op].attrs & (SQ_FORM_GENERIC | SQ_FORM_AXES);
  if (wants_g && !n->g) ok = false, sq_verify_fault(v, "node.generic", "no loop nest");
  if (!sq_verify_site_ok(v, n->site))
    sq_verify_fault(v, "node.site", "site %u of %u", n->site, v->g->site.n);
  if (n->has_instance && !(sq_op_forms[n->op].attrs & (SQ_FORM_PARAM | SQ_FORM_STATE)))
    sq_verify_fault(v, "instance", "only parameters and states have instances");
  for (uint32_t k = 0; k < n->n_region; k++)
    if (!n->region[k] || n->region[k]->owner != n || n->region[k]->func != v->func)
      ok = false, sq_verify_fault(v, "region.owner", "region %u belongs elsewhere", k);
  return ok;
}

// `pure`: inside something that may be reordered or run at once.
static void check_block(verifier *v, const sq_block *b, bool pure) {
  for (uint32_t k = 0; k < b->args.n; k++) define(v, b->args.v[k], "an argument");
  for (uint32_t k = 0; k < b->nodes.n; k++) {
    const sq_node *n = b->nodes.v[k];
    v->node = n;
    bool ok = check_shape(v, n, b);
    if (n->span.mark > v->g->mark.n)
      sq_verify_fault(v, "mark", "mark %u does not exist", (unsigned)n->span.mark);
    if ((n->op == SQ_OP_YIELD) != (k + 1 == b->nodes.n))
      ok = false, sq_verify_fault(v, "block.yield", "a block ends with its only yield");
    if (pure && writes_state(v, n))
      sq_verify_fault(v, "effect", "no effects inside a scan, a map or an initial value");
    bool inside = pure || n->op == SQ_OP_SCAN || n->op == SQ_OP_MAP || n->op == SQ_OP_GROUP ||
                  n->op == SQ_OP_SWEEP || n->op == SQ_OP_STREAM;
    for (uint32_t r = 0; r < n->n_region; r++) {
      if (!n->region[r]) continue;
      uint32_t before = v->n_faults;
      check_block(v, n->region[r], inside);
      v->node = n;
      if (v->n_faults > before) ok = false;
    }
    for (uint32_t r = 0; r < n->n_out; r++) define(v, n->out[r], "a result");
    for (uint32_t r = 0; r < n->n_out; r++)
      if (n->out[r]->def != n || n->out[r]->index != r)
        sq_verify_fault(v, "value.owner", "result %u does not know its operation", r);
    if (ok) checks[n->op](v, n);
  }
  v->node = NULL;
  if (!sq_block_end(b)) sq_verify_fault(v, "block.yield", "a block without a yield");
  for (uint32_t k = 0; k < b->args.n; k++)
    if (b->args.v[k]->id < v->g->n_values) v->seen[b->args.v[k]->id] = 2;
  for (uint32_t k = 0; k < b->nodes.n; k++)
    for (uint32_t r = 0; r < b->nodes.v[k]->n_out; r++)
      if (b->nodes.v[k]->out[r]->id < v->g->n_values) v->seen[b->nodes.v[k]->out[r]->id] = 2;
}

typedef struct live_scan {
  verifier *v;
  uint8_t *defined; // by symbol
} live_scan;
static void check_live_once(sq_node *n, void *user) {
  live_scan *s = user;
  if (n->op != SQ_OP_LIVE || !n->sym.i || n->sym.i > sq_sym_count(s->v->g->dims)) return;
  s->v->node = n;
  if (s->defined[n->sym.i]++) sq_verify_fault(s->v, "live.once", "the symbol is defined twice");
}

static void check_func(verifier *v, sq_func *f) {
  v->func = f;
  v->node = NULL;
  if (f->graph != v->g || f->body->func != f || f->body->owner)
    sq_verify_fault(v, "func.owner", "it belongs to another graph");
  for (uint32_t k = 0; k < f->requires_.n; k++) {
    const sq_require *q = &f->requires_.v[k];
    if (!sq_verify_dim_ok(v, q->a) || !sq_verify_dim_ok(v, q->b) || !sq_verify_site_ok(v, q->site))
      sq_verify_fault(v, "func.require", "requirement %u lacks a size or its site", k);
  }
  for (uint32_t k = 0; k < f->slot.n + f->scratch.n; k++)
    if (!sq_verify_dim_ok(v, k < f->slot.n ? f->slot.v[k] : f->scratch.v[k - f->slot.n]))
      sq_verify_fault(v, "func.slot", "a slot without a size");
  check_block(v, f->body, f->kind == SQ_FUNC_INIT);
  v->node = NULL;
  live_scan s = {v, SQ_ARRAY(v->out->arena, uint8_t, sq_sym_count(v->g->dims) + 1)};
  sq_walk(f->body, check_live_once, &s);
  v->node = NULL;
  for (uint32_t k = 0; k < f->in_sym.n; k++) {
    sq_sym sym = f->in_sym.v[k];
    if (!sym.i) continue;
    if (k >= f->body->args.n || sym.i > sq_sym_count(v->g->dims) ||
        sq_sym_at(v->g->dims, sym)->kind != SQ_SYM_SIZE ||
        !scalar_integer(f->body->args.v[k]->type))
      sq_verify_fault(v, "func.binds", "input %u cannot bind a size", k);
  }
  if (f->kind == SQ_FUNC_INIT) want_count(v, "init.result", "results", yields(f->body), 1);
  if (f->kind != SQ_FUNC_ENTRY) return;
  want_count(v, "entry.inputs", "names of inputs", f->in_names.n, f->body->args.n);
  want_count(v, "entry.outputs", "names of outputs", f->out_names.n, yields(f->body));
  if (v->writes[func_place(v, f)] && !f->writes)
    sq_verify_fault(v, "entry.writes", "it writes and is not marked so");
  if (sq_func_find(v->g, f->name ? f->name : "") != f)
    sq_verify_fault(v, "entry.name", "another function has this name");
}

// ---- the call graph ----------------------------------------------------------------------------

typedef struct call_scan {
  verifier *v;
  uint32_t caller;
  SQ_VEC(uint32_t) edge; // pairs: caller, callee
} call_scan;

static void note_call(sq_node *n, void *user) {
  call_scan *s = user;
  if (n->op == SQ_OP_CALL) {
    uint32_t to = n->func ? func_place(s->v, n->func) : UINT32_MAX;
    if (to == UINT32_MAX) return;
    sq_push(s->v->out->arena, &s->edge, s->caller);
    sq_push(s->v->out->arena, &s->edge, to);
  } else if (writes_state(s->v, n)) {
    s->v->writes[s->caller] = true;
  }
}

// No recursion; who writes, through calls too. False when there is a cycle.
static bool check_calls(verifier *v) {
  uint32_t n = v->g->func.n;
  call_scan s = {.v = v};
  for (uint32_t k = 0; k < n; k++) {
    s.caller = k;
    sq_walk(v->sorted[k]->body, note_call, &s);
  }
  // Edges stand in order of callers: first[k] .. first[k + 1].
  sq_arena *a = v->out->arena;
  uint32_t *first = SQ_ARRAY(a, uint32_t, n + 2), *callers = SQ_ARRAY(a, uint32_t, n + 1);
  uint32_t *order = SQ_ARRAY(a, uint32_t, n + 1), *depth = SQ_ARRAY(a, uint32_t, n + 1), done = 0;
  for (uint32_t e = 0; e < s.edge.n; e += 2) {
    first[s.edge.v[e] + 1]++;
    callers[s.edge.v[e + 1]]++;
  }
  for (uint32_t k = 0; k < n; k++) first[k + 1] += first[k];
  for (uint32_t k = 0; k < n; k++)
    if (!callers[k]) order[done++] = k;
  for (uint32_t at = 0; at < done; at++)
    for (uint32_t e = first[order[at]]; e < first[order[at] + 1]; e++) {
      uint32_t to = s.edge.v[2 * e + 1];
      if (depth[to] <= depth[order[at]]) depth[to] = depth[order[at]] + 1;
      if (depth[to] > MAX_CALL_DEPTH) {
        sq_verify_fault(v, "call.depth", "calls nest more than %d deep", MAX_CALL_DEPTH);
        return false;
      }
      if (--callers[to] == 0) order[done++] = to;
    }
  if (done < n) {
    sq_verify_fault(v, "call.recursion", "a function calls itself, directly or through others");
    return false;
  }
  for (uint32_t at = done; at-- > 0;)
    for (uint32_t e = first[order[at]]; e < first[order[at] + 1]; e++)
      if (v->writes[s.edge.v[2 * e + 1]]) v->writes[order[at]] = true;
  return true;
}

// ---- tables ------------------------------------------------------------------------------------

static void check_symbols(verifier *v) {
  const sq_dims *ds = v->g->dims;
  for (uint32_t k = 1; k <= sq_sym_count(ds); k++) {
    const sq_sym_info *s = sq_sym_at(ds, (sq_sym){k});
    if ((s->kind == SQ_SYM_LIVE) != (s->limit.i != 0))
      sq_verify_fault(v, "symbol.limit", "`%s`: live symbols and no others have limits", s->name);
    if (!s->limit.i) continue;
    if (!sq_verify_dim_ok(v, s->limit)) {
      sq_verify_fault(v, "symbol.limit", "the limit of `%s` is no size", s->name);
      continue;
    }
    for (uint32_t j = k; j <= sq_sym_count(ds); j++)
      if (sq_sym_at(ds, (sq_sym){j})->kind == SQ_SYM_LIVE &&
          sq_dim_mentions(ds, s->limit, (sq_sym){j}))
        sq_verify_fault(v, "symbol.limit", "the limit of `%s` mentions `%s`", s->name,
                        sq_sym_at(ds, (sq_sym){j})->name);
  }
}

static void check_params(verifier *v) {
  for (uint32_t k = 0; k < v->g->param.n; k++) {
    const sq_param *p = &v->g->param.v[k];
    check_type(v, p->type, p->name);
    for (uint32_t j = 0; j < p->type.rank; j++)
      if (sq_verify_dim_ok(v, p->type.dim[j]) && !sq_dim_is_const(v->g->dims, p->type.dim[j], NULL))
        sq_verify_fault(v, "param.extent", "@%s: axis %u is not constant", p->name, j);
    if (!p->count || (p->count > 1 && !p->has_instances))
      sq_verify_fault(v, "param.count", "@%s: %u instances", p->name, p->count);
  }
}

static void check_state_init(verifier *v, const sq_state *s) {
  if (!s->init || func_place(v, s->init) == UINT32_MAX || s->init->kind != SQ_FUNC_INIT) {
    sq_verify_fault(v, "state.init", "@%s has no initial value", s->name);
    return;
  }
  const sq_block *b = s->init->body;
  if (b->args.n != s->has_instances || (b->args.n && !scalar_integer(b->args.v[0]->type)))
    sq_verify_fault(v, "state.init", "@%s: its initial value wants %s", s->name,
                    s->has_instances ? "the instance" : "no inputs");
  if (yields(b) != 1) return;
  sq_dim d[SQ_MAX_RANK];
  for (uint32_t k = 0; k < s->type.rank; k++) d[k] = s->type.dim[k];
  if (s->grow.i && s->grow_axis < s->type.rank) d[s->grow_axis] = sq_dim_const(v->g->dims, 1);
  sq_type want = {s->type.dtype, s->type.rank, d};
  if (!sq_verify_agree(v, yielded(b, 0), want))
    sq_verify_fault(v, "state.init", "@%s: its initial value is %s instead of %s", s->name,
                    type_text(v, yielded(b, 0)), type_text(v, want));
}

static void check_states(verifier *v) {
  for (uint32_t k = 0; k < v->g->state.n; k++) {
    const sq_state *s = &v->g->state.v[k];
    uint32_t before = v->n_faults;
    check_type(v, s->type, s->name);
    if (v->n_faults > before) continue;
    if (!s->count || (s->count > 1 && !s->has_instances))
      sq_verify_fault(v, "state.count", "@%s: %u instances", s->name, s->count);
    if (s->grow.i && (s->grow.i > sq_sym_count(v->g->dims) || s->grow_axis >= s->type.rank ||
                      sq_sym_at(v->g->dims, s->grow)->kind != SQ_SYM_GROW)) {
      sq_verify_fault(v, "state.grow", "@%s: no growing symbol or axis", s->name);
      continue;
    }
    for (uint32_t j = 0; j < s->type.rank; j++) {
      bool grows = s->grow.i && j == s->grow_axis;
      bool ok = grows ? sq_dim_same(s->type.dim[j], sq_dim_sym(v->g->dims, s->grow))
                      : sq_dim_is_const(v->g->dims, s->type.dim[j], NULL);
      if (!ok)
        sq_verify_fault(v, "state.extent", "@%s: axis %u is %s", s->name, j,
                        sq_verify_dim(v, s->type.dim[j]));
    }
    check_state_init(v, s);
  }
}

// Of a graph without faults: do sweeps by maps have maps, those by Newton's method derivatives, those in
// blocks the form for it?
static void check_turns(verifier *v, sq_block *b) {
  for (uint32_t k = 0; k < b->nodes.n; k++) {
    sq_node *n = b->nodes.v[k];
    int64_t length;
    for (uint32_t r = 0; r < n->n_region; r++) check_turns(v, n->region[r]);
    bool prefix = n->flag & 1, newton = n->flag & 2, dense = n->flag & 4, chunk = n->extent.i;
    if (n->op != SQ_OP_SWEEP || !(prefix || newton || dense || chunk)) continue;
    v->node = n;
    if (prefix + newton + dense + chunk > 1) {
      sq_verify_fault(v, "sweep.ways", "its turns go one way at a time");
      continue;
    }
    sq_sweep *s = sq_sweep_make((sq_graph *)(uintptr_t)v->g, n);
    if (prefix) {
      const char *why = s->why ? s->why : sq_prefix_make(s).why;
      if (why) sq_verify_fault(v, "sweep.prefix", "no maps: %s", why);
    } else if (newton) {
      const char *why = s->why ? s->why : sq_newton_make(s).why;
      if (why) sq_verify_fault(v, "sweep.newton", "not by Newton's method: %s", why);
    } else if (dense) {
      const char *why = s->why ? s->why : sq_dense_make(s).why;
      if (why) sq_verify_fault(v, "sweep.dense", "no maps of all states: %s", why);
    } else {
      bool ok = sq_dim_is_const(v->g->dims, n->extent, &length) && sq_chunk_length_ok(length);
      const char *why = !ok ? "their length" : s->why ? s->why : sq_chunk_make(s).why;
      if (why) sq_verify_fault(v, "sweep.chunk", "no blocks: %s", why);
    }
  }
}

bool sq_graph_verify(const sq_graph *g, sq_text *faults) {
  verifier ver = {.g = g, .out = faults}, *v = &ver;
  sq_arena *a = faults->arena;
  sq_text_put(faults, "", 0);
  v->seen = SQ_ARRAY(a, uint8_t, g->n_values + 1);
  v->sorted = SQ_ARRAY(a, const sq_func *, g->func.n + 1);
  v->writes = SQ_ARRAY(a, bool, g->func.n + 1);
  if (g->func.n) memcpy(v->sorted, g->func.v, g->func.n * sizeof *v->sorted);
  qsort(v->sorted, g->func.n, sizeof *v->sorted, by_address);
  check_symbols(v);
  if (v->n_faults == 0 && check_calls(v)) {
    check_params(v);
    for (uint32_t k = 0; k < g->func.n; k++) check_func(v, g->func.v[k]);
    v->func = NULL;
    v->node = NULL;
    if (v->n_faults == 0) check_states(v);
    uint32_t sound = v->n_faults == 0 ? g->func.n : 0;
    for (uint32_t k = 0; k < sound; k++) {
      v->func = g->func.v[k];
      check_turns(v, g->func.v[k]->body);
    }
  }
  if (v->n_faults > MAX_FAULTS)
    sq_text_add(faults, "... and %u more\n", (unsigned)(v->n_faults - MAX_FAULTS));
  return v->n_faults == 0;
}
