// What a call's inputs say: symbols are bound by the axes that are one and by the integer inputs
// that stand for one, then every axis is compared with its expression and every stated relation of
// sizes is tested. In: tensors. Out: m->sym complete, m->in; or a message that names both places.
//
//   forward: input `mask` has shape [2, 7], but N = 8 from input `ids`
#include "runtime/model.h"
#include <string.h>

enum { NOT_INPUT = UINT32_MAX };

typedef struct binder {
  seqm_model *m;
  const seqm_entry *e;
  const seqm_tensor *in;
  bool plan;
} binder;

// --- messages -----------------------------------------------------------------------------------
static const char *input_name(const binder *b, uint32_t k) { return b->e->abi->in[k].name; }

static void add_input_shape(const binder *b, uint32_t k) {
  sq_message_add(b->m->ctx, "%s: input `%s` has shape ", b->e->abi->name, input_name(b, k));
  sq_message_shape(b->m->ctx, -1, b->in[k].rank, b->in[k].dim);
}

static void add_declared_shape(const binder *b, uint32_t k) {
  const sq_abi_tensor *t = &b->e->abi->in[k];
  sq_message_add(b->m->ctx, "%s[", sq_rt_dtype(t->dtype));
  for (uint32_t a = 0; a < t->rank; a++) {
    if (a) sq_message_add(b->m->ctx, ", ");
    sq_message_expr(b->m->ctx, b->m->abi, &t->dim[a]);
  }
  sq_message_add(b->m->ctx, "]");
}

// ", N = 8 from input `ids`" for every symbol of the expression, once; `said` has those of earlier
// expressions of the same message (of the first 64).
static void add_symbols_once(const binder *b, const sq_abi_expr *e, const char *before,
                             uint64_t *said) {
  const sq_abi_model *d = b->m->abi;
  for (uint32_t k = 0; k < e->n; k++) {
    if (e->code[k] == SQ_X_CONST) k++;
    if (e->code[k] != SQ_X_SYM || k + 1 >= e->n) continue;
    int64_t s = e->code[++k];
    if (s < 1 || s > d->n_sym || b->m->sym[s] == SQ_UNBOUND) continue;
    uint64_t bit = s < 64 ? (uint64_t)1 << s : 0;
    if (*said & bit) continue;
    *said |= bit;
    const char *name = d->sym_names && d->sym_names[s - 1] ? d->sym_names[s - 1] : "a size";
    uint32_t by = b->m->bound_by[s];
    sq_message_add(b->m->ctx, "%s%s = %lld", before, name, (long long)b->m->sym[s]);
    if (by != NOT_INPUT) sq_message_add(b->m->ctx, " from input `%s`", input_name(b, by));
    before = ", ";
  }
}
static void add_symbols(const binder *b, const sq_abi_expr *e, const char *before) {
  uint64_t said = 0;
  add_symbols_once(b, e, before, &said);
}

static int fail_axis(const binder *b, uint32_t k, uint32_t axis, int64_t want) {
  seqm_context *ctx = b->m->ctx;
  const sq_abi_expr *x = &b->e->abi->in[k].dim[axis];
  sq_message_clear(ctx);
  add_input_shape(b, k);
  if (sq_expr_symbol(x)) {
    add_symbols(b, x, ", but ");
    return SQ_EMODEL;
  }
  sq_message_add(ctx, ", but its axis %u must be ", axis);
  if (sq_expr_constant(x)) {
    sq_message_add(ctx, "%lld: it is ", (long long)want);
    add_declared_shape(b, k);
    return SQ_EMODEL;
  }
  sq_message_expr(ctx, b->m->abi, x);
  sq_message_add(ctx, " = %lld", (long long)want);
  add_symbols(b, x, ", where ");
  return SQ_EMODEL;
}

// --- binding ------------------------------------------------------------------------------------
void sq_rt_start_symbols(seqm_model *m, int64_t *sym) {
  const sq_abi_model *d = m->abi;
  sym[0] = m->ctx->threads;
  for (uint32_t k = 1; k <= d->n_sym; k++) sym[k] = SQ_UNBOUND;
  for (uint32_t s = 0; s < d->n_state; s++)
    if (d->state[s].grow_axis >= 0) sym[d->state[s].grow_sym] = m->state[s].extent;
}

static int64_t read_integer(const seqm_tensor *t) {
  int64_t i8;
  int32_t i4;
  switch (t->dtype) {
  case SEQM_I64:
    memcpy(&i8, t->data, 8);
    return i8;
  case SEQM_I32:
    memcpy(&i4, t->data, 4);
    return i4;
  case SEQM_I8:
    return *(const int8_t *)t->data;
  case SEQM_U8:
  case SEQM_BOOL:
    return *(const uint8_t *)t->data;
  case SEQM_F64:
  case SEQM_F32:
  case SEQM_F16:
  case SEQM_BF16:
    break;
  }
  return 0;
}

static int check_form(const binder *b, uint32_t k) {
  seqm_context *ctx = b->m->ctx;
  const sq_abi_tensor *want = &b->e->abi->in[k];
  const seqm_tensor *t = &b->in[k];
  size_t bytes = 0;
  if (t->rank > SEQM_MAX_RANK)
    return sq_rt_fail(ctx, SQ_EMODEL, "%s: input `%s` has %u axes, more than %d", b->e->abi->name,
                      want->name, t->rank, SEQM_MAX_RANK);
  if (!seqm_dtype_size(t->dtype))
    return sq_rt_fail(ctx, SQ_EMODEL, "%s: input `%s` has the dtype %d, which is none",
                      b->e->abi->name, want->name, (int)t->dtype);
  if ((uint32_t)t->dtype != want->dtype || t->rank != want->rank) {
    sq_rt_fail(ctx, SQ_EMODEL, "%s: input `%s` is ", b->e->abi->name, want->name);
    sq_message_shape(ctx, (int)t->dtype, t->rank, t->dim);
    sq_message_add(ctx, ", but should be ");
    add_declared_shape(b, k);
    return SQ_EMODEL;
  }
  if (!sq_shape_bytes(want->dtype, t->rank, t->dim, &bytes)) {
    sq_message_clear(ctx);
    add_input_shape(b, k);
    sq_message_add(ctx, ", which is negative or too large");
    return SQ_EMODEL;
  }
  bool needed = !b->plan || want->binds;
  if (bytes && !t->data && needed)
    return sq_rt_fail(ctx, SQ_EMODEL, "%s: input `%s` has no data", b->e->abi->name, want->name);
  if (t->device > SEQM_CUDA || (t->device && b->m->abi->device != SQ_ABI_CUDA))
    return sq_rt_fail(ctx, SQ_EUSAGE,
                      "%s: input `%s` is on a CUDA device, but the model runs on the host",
                      b->e->abi->name, want->name);
  if (t->device && want->binds)
    return sq_rt_fail(ctx, SQ_EUSAGE,
                      "%s: input `%s` stands for a size: give it in the host's memory",
                      b->e->abi->name, want->name);
  if ((uintptr_t)t->data % seqm_dtype_size(t->dtype))
    return sq_rt_fail(ctx, SQ_EMODEL, "%s: the data of input `%s` is not aligned to its %zu bytes",
                      b->e->abi->name, want->name, seqm_dtype_size(t->dtype));
  return SQ_OK;
}

static int bind_symbol(const binder *b, uint32_t k, uint32_t s, int64_t value) {
  seqm_model *m = b->m;
  if (s > m->abi->n_sym) return SQ_OK;
  if (m->sym[s] == SQ_UNBOUND) {
    m->sym[s] = value;
    m->bound_by[s] = k;
  }
  return SQ_OK;
}

static int bind_scalar(const binder *b, uint32_t k) {
  seqm_model *m = b->m;
  uint32_t s = b->e->abi->in[k].binds;
  int64_t value = read_integer(&b->in[k]);
  if (value < 0)
    return sq_rt_fail(m->ctx, SQ_EMODEL, "%s: input `%s` is %lld, but a size cannot be negative",
                      b->e->abi->name, input_name(b, k), (long long)value);
  bind_symbol(b, k, s, value);
  if (s > m->abi->n_sym || m->sym[s] == value) return SQ_OK;
  const sq_abi_expr x = {.code = (const int64_t[]){SQ_X_SYM, s}, .n = 2};
  sq_rt_fail(m->ctx, SQ_EMODEL, "%s: input `%s` is %lld", b->e->abi->name, input_name(b, k),
             (long long)value);
  add_symbols(b, &x, ", but ");
  return SQ_EMODEL;
}

static int bind_input(const binder *b, uint32_t k) {
  const sq_abi_tensor *want = &b->e->abi->in[k];
  SQ_TRY((sq_status)check_form(b, k));
  for (uint32_t a = 0; a < want->rank; a++) {
    uint32_t s = sq_expr_symbol(&want->dim[a]);
    if (s) bind_symbol(b, k, s, b->in[k].dim[a]);
  }
  return want->binds ? bind_scalar(b, k) : SQ_OK;
}

static int check_axes(const binder *b, uint32_t k) {
  const sq_abi_tensor *want = &b->e->abi->in[k];
  for (uint32_t a = 0; a < want->rank; a++) {
    int64_t value;
    if (!sq_expr_value(&want->dim[a], b->m->sym, &value)) {
      sq_message_clear(b->m->ctx);
      add_input_shape(b, k);
      sq_message_add(b->m->ctx, ", but axis %u cannot be computed: ", a);
      sq_message_expr(b->m->ctx, b->m->abi, &want->dim[a]);
      add_symbols(b, &want->dim[a], " with ");
      return SQ_EMODEL;
    }
    if (value != b->in[k].dim[a]) return fail_axis(b, k, a, value);
  }
  return SQ_OK;
}

static int check_require(const binder *b, const sq_abi_require *r) {
  seqm_context *ctx = b->m->ctx;
  int64_t x, y;
  bool known = sq_expr_value(&r->a, b->m->sym, &x) && sq_expr_value(&r->b, b->m->sym, &y);
  if (known && (r->equal ? x == y : x <= y)) return SQ_OK;
  if (r->site == UINT32_MAX) {
    sq_rt_fail(ctx, SQ_EMODEL, "%s: the size ", b->e->abi->name);
    sq_message_expr(ctx, b->m->abi, &r->b);
    if (known)
      sq_message_add(ctx, " is %lld, but at least %lld is needed", (long long)y, (long long)x);
    return SQ_EMODEL;
  }
  sq_message_clear(ctx);
  sq_rt_site_begin(b->m, r->site);
  if (!known)
    sq_message_add(ctx, ": a size overflows or divides by zero");
  else if (r->equal || !sq_expr_constant(&r->a))
    sq_message_add(ctx, ": %lld %s %lld", (long long)x, r->equal ? "is not" : "is more than",
                   (long long)y);
  add_symbols(b, &r->a, "; ");
  add_symbols(b, &r->b, "; ");
  sq_rt_site_end(b->m, r->site);
  return SQ_EMODEL;
}

static int all_inputs(const binder *b) {
  const sq_abi_entry *e = b->e->abi;
  for (uint32_t k = 0; k < e->n_in; k++) SQ_TRY((sq_status)bind_input(b, k));
  for (uint32_t k = 0; k < e->n_in; k++) SQ_TRY((sq_status)check_axes(b, k));
  for (uint32_t k = 0; k < e->n_require; k++) SQ_TRY((sq_status)check_require(b, &e->require[k]));
  for (uint32_t k = 0; k < e->n_in; k++) {
    b->m->in[k] = b->in[k].data ? b->in[k].data : b->m->empty;
    b->m->host_in[k] = b->in[k].device == SEQM_HOST ? b->m->in[k] : NULL;
  }
  return SQ_OK;
}

int sq_rt_bind(seqm_model *m, const seqm_entry *e, const seqm_tensor *in, size_t n_in, bool plan) {
  const sq_abi_entry *a = e->abi;
  if (n_in != a->n_in) {
    sq_rt_fail(m->ctx, SQ_EUSAGE, "%s takes %u input%s", a->name, a->n_in, a->n_in == 1 ? "" : "s");
    for (uint32_t k = 0; k < a->n_in; k++)
      sq_message_add(m->ctx, "%s`%s`", k ? ", " : " (", a->in[k].name);
    sq_message_add(m->ctx, "%s, not %zu", a->n_in ? ")" : "", n_in);
    return SQ_EUSAGE;
  }
  if (n_in) SQ_TRY((sq_status)sq_rt_given(m->ctx, in, "the array of inputs"));
  sq_rt_start_symbols(m, m->sym);
  memset(m->bound_by, 0xff, ((size_t)m->abi->n_sym + 1) * sizeof *m->bound_by);
  binder b = {m, e, in, plan};
  return all_inputs(&b);
}

// --- what follows from the sizes ----------------------------------------------------------------
int sq_rt_output_shape(seqm_model *m, const seqm_entry *e, size_t k, const int64_t *sym,
                       seqm_tensor *t, size_t *bytes) {
  const sq_abi_tensor *o = &e->abi->out[k];
  *t = (seqm_tensor){.dtype = (seqm_dtype)o->dtype, .rank = o->rank};
  bool ok = o->rank <= SEQM_MAX_RANK;
  for (uint32_t a = 0; ok && a < o->rank; a++) ok = sq_expr_value(&o->dim[a], sym, &t->dim[a]);
  if (ok && sq_shape_bytes(o->dtype, o->rank, t->dim, bytes)) return SQ_OK;
  sq_rt_fail(m->ctx, SQ_EMODEL, "%s: output `%s` would be negative or too large: [", e->abi->name,
             o->name);
  for (uint32_t a = 0; a < o->rank; a++) {
    if (a) sq_message_add(m->ctx, ", ");
    sq_message_expr(m->ctx, m->abi, &o->dim[a]);
  }
  sq_message_add(m->ctx, "]");
  binder b = {m, e, NULL, false};
  uint64_t said = 0;
  for (uint32_t a = 0; a < o->rank; a++) add_symbols_once(&b, &o->dim[a], ", ", &said);
  return SQ_EMODEL;
}

int sq_rt_arena_bytes(seqm_model *m, const sq_abi_entry *e, const int64_t *sym, size_t *bytes) {
  int64_t n = 0;
  if (e->arena.n && (!sq_expr_value(&e->arena, sym, &n) || n < 0))
    return sq_rt_fail(m->ctx, SQ_EMODEL,
                      "%s: inputs of this size need more memory than can be addressed", e->name);
  *bytes = (size_t)n;
  return SQ_OK;
}
