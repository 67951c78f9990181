// Verifies loop nests: axes, scalars and their types, reductions, where elements go.
#include "ir/verify_inner.h"

enum { USES_ACC = 1, USES_RED = 2 };

static bool is_integer(sq_dtype t) {
  return sq_dtype_table[t].cls == 'I' || sq_dtype_table[t].cls == 'U';
}
static const char *name(sq_dtype t) { return sq_dtype_table[t].name; }

static void check_read(verifier *v, const sq_node *n, const sq_scalar *s, uint32_t id) {
  const sq_scalar *all = n->g->s.v;
  if (s->operand >= n->n_in) {
    sq_verify_fault(v, "scalar.operand", "scalar %u reads input %u of %u", id, s->operand, n->n_in);
    return;
  }
  sq_type t = n->in[s->operand]->type;
  if (s->dtype != t.dtype)
    sq_verify_fault(v, "scalar.read-type", "scalar %u is %s, its operand %s", id, name(s->dtype),
                    name(t.dtype));
  if (s->n_pos != t.rank)
    sq_verify_fault(v, "scalar.read-rank", "scalar %u has %u positions for %u axes", id, s->n_pos,
                    t.rank);
  for (uint32_t k = 0; k < s->n_pos; k++)
    if (!is_integer(all[s->pos[k]].dtype))
      sq_verify_fault(v, "scalar.position", "position %u of scalar %u is %s, not an integer", k, id,
                      name(all[s->pos[k]].dtype));
  if (s->guard != SQ_NO_SCALAR && all[s->guard].dtype != SQ_BOOL)
    sq_verify_fault(v, "scalar.guard", "the guard of scalar %u is not bool", id);
  if (s->other != SQ_NO_SCALAR && all[s->other].dtype != s->dtype)
    sq_verify_fault(v, "scalar.else", "the value of scalar %u outside is %s instead of %s", id,
                    name(all[s->other].dtype), name(s->dtype));
  if (!sq_verify_site_ok(v, s->site))
    sq_verify_fault(v, "scalar.site", "scalar %u has site %u of %u", id, s->site, v->g->site.n);
}

static void check_ewise(verifier *v, const sq_generic *g, const sq_scalar *s, uint32_t id) {
  if ((unsigned)s->ew >= SQ_EW_COUNT) {
    sq_verify_fault(v, "scalar.function", "scalar %u has no scalar function", id);
    return;
  }
  const sq_ewise_info *info = &sq_ewise_table[s->ew];
  sq_dtype t = g->s.v[s->a[0]].dtype;
  if (info->arity > 1 && g->s.v[s->a[1]].dtype != t)
    sq_verify_fault(v, "scalar.operands", "scalar %u: %s of %s and %s", id, info->name, name(t),
                    name(g->s.v[s->a[1]].dtype));
  bool ok = true;
  switch (info->kind) {
  case 'A':
    ok = t != SQ_BOOL;
    break;
  case 'F':
    ok = sq_is_float(t);
    break;
  case 'L':
    ok = t == SQ_BOOL;
    break;
  case 'I':
    ok = is_integer(t);
    break;
  default:
    ok = s->ew != SQ_EW_ISNAN || sq_is_float(t);
    break;
  }
  if (!ok) sq_verify_fault(v, "scalar.kind", "scalar %u: %s of %s", id, info->name, name(t));
  if (s->dtype != (info->kind == 'C' ? SQ_BOOL : t))
    sq_verify_fault(v, "scalar.result", "scalar %u: %s of %s is not %s", id, info->name, name(t),
                    name(s->dtype));
}

static void check_scalar(verifier *v, const sq_node *n, uint32_t id) {
  const sq_generic *g = n->g;
  const sq_scalar *s = &g->s.v[id];
  switch (s->kind) {
  case SQ_SC_FLOAT:
    if (!sq_is_float(s->dtype))
      sq_verify_fault(v, "scalar.constant", "scalar %u: a real constant of type %s", id,
                      name(s->dtype));
    return;
  case SQ_SC_INT:
    if (sq_is_float(s->dtype))
      sq_verify_fault(v, "scalar.constant", "scalar %u: an integer constant of type %s", id,
                      name(s->dtype));
    return;
  case SQ_SC_INDEX:
    if (s->axis >= g->n_par + g->n_red || s->dtype != SQ_I64)
      sq_verify_fault(v, "scalar.index", "scalar %u: index of axis %u of %u, %s", id, s->axis,
                      g->n_par + g->n_red, name(s->dtype));
    return;
  case SQ_SC_DIM:
    if (!sq_verify_dim_ok(v, s->dim) || s->dtype != SQ_I64)
      sq_verify_fault(v, "scalar.dim", "scalar %u: a size must be an expression, as i64", id);
    return;
  case SQ_SC_READ:
    check_read(v, n, s, id);
    return;
  case SQ_SC_EWISE:
    check_ewise(v, g, s, id);
    return;
  case SQ_SC_SELECT:
    if (g->s.v[s->a[0]].dtype != SQ_BOOL || g->s.v[s->a[1]].dtype != s->dtype ||
        g->s.v[s->a[2]].dtype != s->dtype)
      sq_verify_fault(v, "scalar.select", "scalar %u: select(%s, %s, %s) is not %s", id,
                      name(g->s.v[s->a[0]].dtype), name(g->s.v[s->a[1]].dtype),
                      name(g->s.v[s->a[2]].dtype), name(s->dtype));
    return;
  case SQ_SC_CAST:
    return;
  case SQ_SC_ACC:
    if (!g->monoid)
      sq_verify_fault(v, "scalar.acc", "scalar %u is the accumulator of no reduction", id);
    return;
  }
  sq_verify_fault(v, "scalar.kind", "scalar %u is of no kind", id);
}

// Ids of a scalar's parts are below its own, types exist; false: nothing more can be said.
static bool check_parts(verifier *v, const sq_generic *g, uint32_t id, uint8_t *uses) {
  const sq_scalar *s = &g->s.v[id];
  uint32_t n = 0, part[SQ_MAX_RANK + 3];
  if ((unsigned)s->dtype >= SQ_DTYPE_COUNT || (unsigned)s->kind > SQ_SC_ACC ||
      (s->kind == SQ_SC_EWISE && (unsigned)s->ew >= SQ_EW_COUNT)) {
    sq_verify_fault(v, "scalar.kind", "scalar %u is of no kind or type", id);
    return false;
  }
  int arity = s->kind == SQ_SC_EWISE    ? sq_ewise_table[s->ew].arity
              : s->kind == SQ_SC_SELECT ? 3
                                        : s->kind == SQ_SC_CAST;
  for (int k = 0; k < arity; k++) part[n++] = s->a[k];
  if (s->kind == SQ_SC_READ) {
    if (s->n_pos > SQ_MAX_RANK) {
      sq_verify_fault(v, "scalar.read-rank", "scalar %u has %u positions", id, s->n_pos);
      return false;
    }
    for (uint32_t k = 0; k < s->n_pos; k++) part[n++] = s->pos[k];
    if (s->guard != SQ_NO_SCALAR) part[n++] = s->guard;
    if (s->other != SQ_NO_SCALAR) part[n++] = s->other;
  }
  if (s->kind == SQ_SC_ACC) uses[id] |= USES_ACC;
  if (s->kind == SQ_SC_INDEX && s->axis >= g->n_par) uses[id] |= USES_RED;
  for (uint32_t k = 0; k < n; k++) {
    if (part[k] >= id) {
      sq_verify_fault(v, "scalar.order", "scalar %u is made of scalar %u", id, part[k]);
      return false;
    }
    uses[id] |= uses[part[k]];
  }
  return true;
}

static void check_root(verifier *v, const sq_generic *g, const uint8_t *uses, uint32_t id,
                       const char *what, uint8_t forbidden) {
  (void)g;
  if (uses[id] & forbidden & USES_ACC)
    sq_verify_fault(v, "generic.acc", "%s uses the accumulator", what);
  if (uses[id] & forbidden & USES_RED)
    sq_verify_fault(v, "generic.reduced", "%s uses a reduced index", what);
}

static bool monoid_takes(sq_monoid m, sq_dtype t) {
  if (m == SQ_ANY || m == SQ_ALL) return t == SQ_BOOL;
  if (m == SQ_MEAN || m == SQ_LOGSUMEXP) return sq_is_float(t);
  if (m == SQ_SUM || m == SQ_PROD) return t != SQ_BOOL;
  return true;
}

static void check_axes(verifier *v, const sq_generic *g) {
  for (uint32_t k = 0; k < g->n_par + g->n_red; k++)
    if (!sq_verify_dim_ok(v, g->axis[k].extent))
      sq_verify_fault(v, "generic.extent", "axis %u has no extent", k);
  if (g->n_red && !g->monoid)
    sq_verify_fault(v, "generic.monoid", "reduced axes without a reduction");
  if (g->monoid && !g->n_red)
    sq_verify_fault(v, "generic.monoid", "a reduction without reduced axes");
  if (g->domain.n && !g->n_red)
    sq_verify_fault(v, "generic.domain", "a domain without reduced axes");
}

// Whether the elements fit the target: by position, or axis by axis.
static void check_place(verifier *v, const sq_node *n, sq_type target, const uint8_t *uses) {
  const sq_generic *g = n->g;
  bool writes = n->op != SQ_OP_GENERIC;
  bool growing = n->op == SQ_OP_STATE_WRITE && v->g->state.v[n->ref].grow.i;
  uint32_t grow_axis = growing ? v->g->state.v[n->ref].grow_axis : UINT32_MAX;
  if (!sq_verify_site_ok(v, g->pos_site))
    sq_verify_fault(v, "generic.site", "site %u of %u", g->pos_site, v->g->site.n);
  for (uint32_t k = 0; k < g->n_pos; k++) {
    check_root(v, g, uses, g->pos[k], "a position", USES_ACC | (g->keyed ? 0 : USES_RED));
    if (!is_integer(g->s.v[g->pos[k]].dtype))
      sq_verify_fault(v, "generic.position", "position %u is %s, not an integer", k,
                      name(g->s.v[g->pos[k]].dtype));
  }
  if (g->keyed && (writes || g->n_par || !g->monoid))
    sq_verify_fault(v, "generic.keyed", "keyed wants a generic, a reduction and no other axes");
  if (!writes && !g->keyed && (g->pos || g->n_pos))
    sq_verify_fault(v, "generic.position", "positions in what is neither keyed nor a write");
  if (!writes && g->write_guard != SQ_NO_SCALAR)
    sq_verify_fault(v, "generic.write-guard", "a write guard in what writes nothing");
  if (g->keyed || g->pos) {
    if (g->n_pos != target.rank)
      sq_verify_fault(v, "generic.rank", "%u positions for %u axes", g->n_pos, target.rank);
    return;
  }
  if (g->n_par != target.rank) {
    sq_verify_fault(v, "generic.rank", "%u axes for a result of %u", g->n_par, target.rank);
    return;
  }
  for (uint32_t k = 0; k < g->n_par; k++) {
    sq_dim have = g->axis[k].extent, want = target.dim[k];
    if (k == grow_axis || !sq_verify_dim_ok(v, have) || !sq_verify_dim_ok(v, want)) continue;
    bool ok = n->op == SQ_OP_UPDATE || n->op == SQ_OP_PARAM_WRITE
                  ? sq_prove_le(v->g->dims, have, want) >= 0
                  : sq_verify_dim_agree(v, have, want);
    if (!ok)
      sq_verify_fault(v, "generic.extent", "axis %u runs to %s, the result's extent is %s", k,
                      sq_verify_dim(v, have), sq_verify_dim(v, want));
  }
}

void sq_verify_generic(verifier *v, const sq_node *n, sq_type target) {
  const sq_generic *g = n->g;
  if (g->n_par > SQ_MAX_RANK || g->n_red > SQ_MAX_RANK || (unsigned)g->monoid >= SQ_MONOID_COUNT) {
    sq_verify_fault(v, "generic.axes", "more than %d axes, or no such reduction", SQ_MAX_RANK);
    return;
  }
  uint8_t *uses = SQ_ARRAY(v->out->arena, uint8_t, g->s.n + 1);
  for (uint32_t k = 0; k < g->s.n; k++)
    if (!check_parts(v, g, k, uses)) return;
  uint32_t root[3] = {g->body, g->post, g->write_guard};
  bool ok = g->body < g->s.n;
  for (int k = 1; k < 3; k++) ok &= root[k] == SQ_NO_SCALAR || root[k] < g->s.n;
  for (uint32_t k = 0; k < g->domain.n; k++) ok &= g->domain.v[k] < g->s.n;
  ok &= g->n_pos <= SQ_MAX_RANK;
  for (uint32_t k = 0; ok && k < g->n_pos; k++) ok &= g->pos[k] < g->s.n;
  if (!ok) {
    sq_verify_fault(v, "generic.scalars", "the body or another part is no scalar of it");
    return;
  }
  check_axes(v, g);
  for (uint32_t k = 0; k < g->s.n; k++) check_scalar(v, n, k);
  sq_dtype t = g->s.v[g->body].dtype;
  check_root(v, g, uses, g->body, "the element", USES_ACC | (g->monoid ? 0 : USES_RED));
  if (g->monoid) {
    if (!monoid_takes(g->monoid, t))
      sq_verify_fault(v, "generic.monoid-type", "%s of %s", sq_monoid_names[g->monoid], name(t));
    t = sq_monoid_result(g->monoid, t);
  }
  for (uint32_t k = 0; k < g->s.n; k++)
    if (g->s.v[k].kind == SQ_SC_ACC && g->s.v[k].dtype != t && g->monoid)
      sq_verify_fault(v, "scalar.acc", "scalar %u: the accumulator is %s, not %s", k, name(t),
                      name(g->s.v[k].dtype));
  for (uint32_t k = 0; k < g->domain.n; k++) {
    check_root(v, g, uses, g->domain.v[k], "the domain", USES_ACC);
    if (g->s.v[g->domain.v[k]].dtype != SQ_BOOL)
      sq_verify_fault(v, "generic.domain", "condition %u is not bool", k);
  }
  if (g->post != SQ_NO_SCALAR) {
    t = g->s.v[g->post].dtype;
    check_root(v, g, uses, g->post, "what follows the reduction", USES_RED);
  }
  if (g->write_guard != SQ_NO_SCALAR) {
    check_root(v, g, uses, g->write_guard, "the write guard", USES_ACC | USES_RED);
    if (g->s.v[g->write_guard].dtype != SQ_BOOL)
      sq_verify_fault(v, "generic.write-guard", "the write guard is not bool");
  }
  if (t != target.dtype)
    sq_verify_fault(v, "generic.type", "elements are %s, the result is %s", name(t),
                    name(target.dtype));
  check_place(v, n, target, uses);
}
