// Scalars that the host knows, in an entry whose kernels run on a device (host_find.c says which): as words
// of the entry's code, so that nothing is read back; kernels get them as numbers.
//
//   %len = state_read @len          word = mirror valid? its value : read from the device, once
//   check (%len + 1 <= 48)          on the host, without waiting for the device
//   repeat (0, 12) { (%i) ...       %i is the loop's own word
//   state_write @len (%len) { + 1 } the mirror gets it, and a kernel writes the state
#include "codegen/cpu/driver.h"
#include <stddef.h>

void sq_host_find(sq_cg *cg) {
  sq_driver *dr = sq_cg_driver(cg);
  uint32_t n = cg->graph->n_values + 1;
  dr->on_host = sq_host_search(cg->graph, cg->func, cg->scratch, &dr->loops);
  dr->known = SQ_ARRAY(cg->scratch, LLVMValueRef, n);
  dr->variable = SQ_ARRAY(cg->scratch, LLVMValueRef, n);
}

bool sq_host_has(const sq_cg *cg, const sq_value *v) {
  const sq_driver *dr = cg->driver;
  return dr->on_host && dr->on_host[v->id];
}

// ---- words ---------------------------------------------------------------------------------------
LLVMValueRef sq_host_word(sq_cg *cg, const sq_value *v) {
  LLVMValueRef word = sq_cg_driver(cg)->known[v->id];
  SQ_ASSERT(word, "value %u is not known yet", v->id);
  return word;
}
void sq_host_set(sq_cg *cg, const sq_value *v, LLVMValueRef word) {
  sq_cg_driver(cg)->known[v->id] = word;
}

static LLVMValueRef variable(sq_cg *cg, const sq_value *v) {
  sq_driver *dr = sq_cg_driver(cg);
  LLVMValueRef *at = &dr->variable[v->id];
  if (!*at) *at = LLVMBuildAlloca(dr->head, sq_cg_type_i64(cg), v->name ? v->name : "");
  return *at;
}
void sq_host_carry(sq_cg *cg, const sq_value *to, const sq_value *from) {
  LLVMBuildStore(cg->builder, sq_host_word(cg, from), variable(cg, to));
}
void sq_host_arrive(sq_cg *cg, sq_value *const *v, uint32_t n) {
  for (uint32_t k = 0; k < n; k++)
    if (sq_host_has(cg, v[k]))
      sq_host_set(cg, v[k],
                  LLVMBuildLoad2(cg->builder, sq_cg_type_i64(cg), variable(cg, v[k]), ""));
}

void sq_host_settle(sq_cg *cg, const sq_value *v, LLVMValueRef at) {
  int bytes = sq_dtype_table[v->type.dtype].bytes;
  LLVMTypeRef type = LLVMIntTypeInContext(cg->ctx, (unsigned)bytes * 8);
  LLVMValueRef x = sq_host_word(cg, v);
  if (bytes < 8) x = LLVMBuildTrunc(cg->builder, x, type, "");
  LLVMBuildStore(cg->builder, x, sq_cg_word(cg));
  sq_cg_device_write(cg, at, sq_cg_word(cg), bytes);
}

// ---- scalar expressions: every value an i64, in the range of its type ---------------------------
static LLVMValueRef fit(sq_cg *cg, LLVMValueRef v, sq_dtype t) {
  LLVMTypeRef i64 = sq_cg_type_i64(cg);
  unsigned bits = (unsigned)sq_dtype_table[t].bytes * 8;
  if (bits == 64) return v;
  v = LLVMBuildTrunc(cg->builder, v, LLVMIntTypeInContext(cg->ctx, bits), "");
  return sq_dtype_table[t].cls == 'I' ? LLVMBuildSExt(cg->builder, v, i64, "")
                                      : LLVMBuildZExt(cg->builder, v, i64, "");
}
static LLVMValueRef truth(sq_cg *cg, LLVMValueRef bit) {
  return LLVMBuildZExt(cg->builder, bit, sq_cg_type_i64(cg), "");
}
static LLVMValueRef is_true(sq_cg *cg, LLVMValueRef v) {
  return LLVMBuildICmp(cg->builder, LLVMIntNE, v, sq_cg_i64(cg, 0), "");
}
static LLVMValueRef compare(sq_cg *cg, LLVMIntPredicate p, LLVMValueRef a, LLVMValueRef b) {
  return LLVMBuildICmp(cg->builder, p, a, b, "");
}

// Rounds down; by 0 it gives 0. Never traps: by 0 and by -1 is done apart.
static LLVMValueRef divide(sq_cg *cg, LLVMValueRef a, LLVMValueRef b, bool rest) {
  LLVMBuilderRef bl = cg->builder;
  LLVMValueRef zero = sq_cg_i64(cg, 0), one = sq_cg_i64(cg, 1);
  LLVMValueRef by0 = compare(cg, LLVMIntEQ, b, zero);
  LLVMValueRef by_minus = compare(cg, LLVMIntEQ, b, sq_cg_i64(cg, -1));
  LLVMValueRef plain = LLVMBuildNot(bl, LLVMBuildOr(bl, by0, by_minus, ""), "");
  LLVMValueRef d = LLVMBuildSelect(bl, plain, b, one, "");
  LLVMValueRef q = LLVMBuildSDiv(bl, a, d, ""), r = LLVMBuildSRem(bl, a, d, "");
  LLVMValueRef other_sign = compare(cg, LLVMIntSLT, LLVMBuildXor(bl, r, d, ""), zero);
  LLVMValueRef down = LLVMBuildAnd(bl, compare(cg, LLVMIntNE, r, zero), other_sign, "");
  if (rest) {
    r = LLVMBuildAdd(bl, r, LLVMBuildSelect(bl, down, d, zero, ""), "");
    return LLVMBuildSelect(bl, plain, r, zero, "");
  }
  q = LLVMBuildSub(bl, q, truth(cg, down), "");
  q = LLVMBuildSelect(bl, by_minus, LLVMBuildNeg(bl, a, ""), q, "");
  return LLVMBuildSelect(bl, by0, zero, q, "");
}

static LLVMValueRef ewise(sq_cg *cg, sq_ewise e, LLVMValueRef a, LLVMValueRef b) {
  LLVMBuilderRef bl = cg->builder;
  switch ((int)e) {
  case SQ_EW_ADD:
    return LLVMBuildAdd(bl, a, b, "");
  case SQ_EW_SUB:
    return LLVMBuildSub(bl, a, b, "");
  case SQ_EW_MUL:
    return LLVMBuildMul(bl, a, b, "");
  case SQ_EW_FLOORDIV:
  case SQ_EW_MOD:
    return divide(cg, a, b, e == SQ_EW_MOD);
  case SQ_EW_NEG:
    return LLVMBuildNeg(bl, a, "");
  case SQ_EW_ABS:
    return LLVMBuildSelect(bl, compare(cg, LLVMIntSLT, a, sq_cg_i64(cg, 0)),
                           LLVMBuildNeg(bl, a, ""), a, "");
  case SQ_EW_MIN:
    return LLVMBuildSelect(bl, compare(cg, LLVMIntSLT, b, a), b, a, "");
  case SQ_EW_MAX:
    return LLVMBuildSelect(bl, compare(cg, LLVMIntSGT, b, a), b, a, "");
  case SQ_EW_LT:
    return truth(cg, compare(cg, LLVMIntSLT, a, b));
  case SQ_EW_LE:
    return truth(cg, compare(cg, LLVMIntSLE, a, b));
  case SQ_EW_EQ:
    return truth(cg, compare(cg, LLVMIntEQ, a, b));
  case SQ_EW_NE:
    return truth(cg, compare(cg, LLVMIntNE, a, b));
  case SQ_EW_NOT:
    return truth(cg, compare(cg, LLVMIntEQ, a, sq_cg_i64(cg, 0)));
  case SQ_EW_AND:
  case SQ_EW_BITAND:
    return LLVMBuildAnd(bl, a, b, "");
  case SQ_EW_OR:
  case SQ_EW_BITOR:
    return LLVMBuildOr(bl, a, b, "");
  case SQ_EW_BITXOR:
    return LLVMBuildXor(bl, a, b, "");
  default:
    SQ_ASSERT(false, "no code for %s on the host", sq_ewise_table[e].name);
    return a;
  }
}

static LLVMValueRef scalar(sq_cg *cg, const sq_node *n, LLVMValueRef *v, const sq_scalar *x) {
  switch (x->kind) {
  case SQ_SC_INT:
    return sq_cg_i64(cg, x->i);
  case SQ_SC_DIM:
    return fit(cg, sq_cg_dim(cg, x->dim), x->dtype);
  case SQ_SC_SELECT:
    return LLVMBuildSelect(cg->builder, is_true(cg, v[x->a[0]]), v[x->a[1]], v[x->a[2]], "");
  case SQ_SC_CAST:
    return x->dtype == SQ_BOOL ? truth(cg, is_true(cg, v[x->a[0]])) : fit(cg, v[x->a[0]], x->dtype);
  case SQ_SC_EWISE: {
    bool two = sq_ewise_table[x->ew].arity > 1;
    return fit(cg, ewise(cg, x->ew, v[x->a[0]], two ? v[x->a[1]] : NULL), x->dtype);
  }
  case SQ_SC_READ: {
    LLVMValueRef word = sq_host_word(cg, n->in[x->operand]);
    if (x->guard == SQ_NO_SCALAR) return word;
    return LLVMBuildSelect(cg->builder, is_true(cg, v[x->guard]), word, sq_cg_i64(cg, 0), "");
  }
  case SQ_SC_FLOAT:
  case SQ_SC_INDEX:
  case SQ_SC_ACC:
    break;
  }
  SQ_ASSERT(false, "not a scalar of the host");
  return NULL;
}

static LLVMValueRef element(sq_cg *cg, const sq_node *n) {
  LLVMValueRef *v = SQ_ARRAY(cg->scratch, LLVMValueRef, n->g->s.n + 1);
  for (uint32_t s = 0; s < n->g->s.n; s++) v[s] = scalar(cg, n, v, &n->g->s.v[s]);
  return v[n->g->body];
}

// ---- states and their mirrors --------------------------------------------------------------------
static LLVMValueRef word_at(sq_cg *cg, LLVMValueRef at, sq_dtype t) {
  LLVMTypeRef type = LLVMIntTypeInContext(cg->ctx, (unsigned)sq_dtype_table[t].bytes * 8);
  LLVMValueRef x = LLVMBuildLoad2(cg->builder, type, at, "");
  LLVMSetAlignment(x, 1); // an input lies where the caller has it
  if (t == SQ_BOOL)
    return truth(cg, LLVMBuildICmp(cg->builder, LLVMIntNE, x, LLVMConstNull(type), ""));
  return sq_dtype_table[t].cls == 'I' ? LLVMBuildSExt(cg->builder, x, sq_cg_type_i64(cg), "")
                                      : LLVMBuildZExt(cg->builder, x, sq_cg_type_i64(cg), "");
}

// The state's row in the table of mirrors.
static LLVMValueRef mirror_of(sq_cg *cg, const sq_node *n) {
  LLVMValueRef table = sq_cg_field(cg, offsetof(sq_call, mirror), sq_cg_type_ptr(cg), "mirrors");
  LLVMValueRef bytes = LLVMBuildMul(cg->builder, sq_cg_state_row(cg, n),
                                    sq_cg_i64(cg, (int64_t)sizeof(sq_abi_mirror)), "");
  return sq_cg_add_bytes(cg, table, bytes);
}
static LLVMValueRef valid_at(sq_cg *cg, LLVMValueRef mirror) {
  return sq_cg_add_bytes(cg, mirror, sq_cg_i64(cg, offsetof(sq_abi_mirror, valid)));
}
static void set_mirror(sq_cg *cg, LLVMValueRef mirror, LLVMValueRef value) {
  if (value) LLVMBuildStore(cg->builder, value, mirror);
  LLVMBuildStore(cg->builder, sq_cg_i64(cg, value != NULL), valid_at(cg, mirror));
}

static void read_state(sq_cg *cg, sq_node *n) {
  LLVMBuilderRef b = cg->builder;
  LLVMTypeRef i64 = sq_cg_type_i64(cg);
  const sq_value *v = n->out[0];
  LLVMValueRef mirror = mirror_of(cg, n);
  LLVMValueRef valid = is_true(cg, LLVMBuildLoad2(b, i64, valid_at(cg, mirror), "valid"));
  LLVMBasicBlockRef unknown = sq_cg_block(cg, "unknown"), known = sq_cg_block(cg, "known");
  LLVMBuildCondBr(b, valid, known, unknown);
  LLVMPositionBuilderAtEnd(b, unknown);
  LLVMValueRef at = sq_cg_fetch(cg, sq_cg_target(cg, n), sq_dtype_table[v->type.dtype].bytes);
  set_mirror(cg, mirror, word_at(cg, at, v->type.dtype));
  LLVMBuildBr(b, known);
  LLVMPositionBuilderAtEnd(b, known);
  sq_host_set(cg, v, LLVMBuildLoad2(b, i64, mirror, v->name ? v->name : ""));
}

bool sq_host_emit(sq_cg *cg, sq_node *n) {
  bool mine = n->op == SQ_OP_GENERIC || n->op == SQ_OP_STATE_READ;
  if (!mine || !sq_host_has(cg, n->out[0])) return false;
  if (n->op == SQ_OP_STATE_READ)
    read_state(cg, n);
  else
    sq_host_set(cg, n->out[0], element(cg, n));
  return true;
}

bool sq_host_write(sq_cg *cg, sq_node *n) {
  const bool *known = sq_cg_driver(cg)->on_host;
  if (!known || n->op != SQ_OP_STATE_WRITE) return false;
  const sq_type *t = &cg->graph->state.v[n->ref].type;
  if (t->rank || sq_is_float(t->dtype)) return false;
  bool whole = n->g->write_guard == SQ_NO_SCALAR && sq_host_can(known, n);
  LLVMValueRef value = whole ? element(cg, n) : NULL;
  set_mirror(cg, mirror_of(cg, n), value);
  return whole;
}

// ---- inputs --------------------------------------------------------------------------------------
// The caller's own memory, or what the device has.
static void read_input(sq_cg *cg, const sq_value *v) {
  LLVMBuilderRef b = cg->builder;
  sq_dtype t = v->type.dtype;
  LLVMTypeRef ptr = sq_cg_type_ptr(cg), i64 = sq_cg_type_i64(cg);
  LLVMValueRef table = sq_cg_field(cg, offsetof(sq_call, host_in), ptr, "");
  LLVMValueRef k = sq_cg_i64(cg, v->index);
  LLVMValueRef at = LLVMBuildLoad2(b, ptr, LLVMBuildGEP2(b, ptr, table, &k, 1, ""), "");
  LLVMBasicBlockRef here = sq_cg_block(cg, "here"), there = sq_cg_block(cg, "there");
  LLVMBasicBlockRef done = sq_cg_block(cg, "input");
  LLVMBuildCondBr(b, LLVMBuildIsNotNull(b, at, ""), here, there);
  LLVMPositionBuilderAtEnd(b, here);
  LLVMBuildStore(b, word_at(cg, at, t), variable(cg, v));
  LLVMBuildBr(b, done);
  LLVMPositionBuilderAtEnd(b, there);
  LLVMValueRef from = sq_cg_fetch(cg, sq_cg_pointer(cg, v), sq_dtype_table[t].bytes);
  LLVMBuildStore(b, word_at(cg, from, t), variable(cg, v));
  LLVMBuildBr(b, done);
  LLVMPositionBuilderAtEnd(b, done);
  sq_host_set(cg, v, LLVMBuildLoad2(b, i64, variable(cg, v), v->name ? v->name : ""));
}

void sq_host_inputs(sq_cg *cg) {
  for (uint32_t k = 0; k < cg->func->body->args.n; k++)
    if (sq_host_has(cg, cg->func->body->args.v[k])) read_input(cg, cg->func->body->args.v[k]);
}
