// A planned function becomes `i32 symbol(sq_call *c)`: where values live, the first and last lines.
//
//   start:  arena, offsets, sizes          (computed once; dr->head stands at its end)
//   body:   the operations                 (control.c, kernels)
//           outputs that are not in place yet are copied
//           ret error != 0
//   stop:   ret 1                          (a failing hook, or an error before a write)
#include "codegen/cpu/driver.h"
#include <stddef.h>

// ---- small pieces ------------------------------------------------------------------------------
LLVMTypeRef sq_cg_type_i64(sq_cg *cg) { return LLVMInt64TypeInContext(cg->ctx); }
LLVMTypeRef sq_cg_type_ptr(sq_cg *cg) { return LLVMPointerTypeInContext(cg->ctx, 0); }
LLVMValueRef sq_cg_i64(sq_cg *cg, int64_t v) {
  return LLVMConstInt(sq_cg_type_i64(cg), (unsigned long long)v, 1);
}
LLVMValueRef sq_cg_i32(sq_cg *cg, int32_t v) {
  return LLVMConstInt(LLVMInt32TypeInContext(cg->ctx), (unsigned long long)(int64_t)v, 1);
}
LLVMBasicBlockRef sq_cg_block(sq_cg *cg, const char *name) {
  return LLVMAppendBasicBlockInContext(cg->ctx, cg->entry, name);
}
LLVMValueRef sq_cg_add_bytes(sq_cg *cg, LLVMValueRef p, LLVMValueRef bytes) {
  return LLVMBuildGEP2(cg->builder, LLVMInt8TypeInContext(cg->ctx), p, &bytes, 1, "");
}
LLVMValueRef sq_cg_field_at(sq_cg *cg, size_t offset) {
  return sq_cg_add_bytes(cg, cg->call, sq_cg_i64(cg, (int64_t)offset));
}
LLVMValueRef sq_cg_field(sq_cg *cg, size_t offset, LLVMTypeRef type, const char *name) {
  return LLVMBuildLoad2(cg->builder, type, sq_cg_field_at(cg, offset), name);
}

uint32_t *sq_rows_param(const sq_graph *g, sq_arena *a) {
  uint32_t *row = SQ_ARRAY(a, uint32_t, g->param.n + 1), next = 0;
  for (uint32_t k = 0; k < g->param.n; next += g->param.v[k++].count) row[k] = next;
  return row;
}
uint32_t *sq_rows_state(const sq_graph *g, sq_arena *a) {
  uint32_t *row = SQ_ARRAY(a, uint32_t, g->state.n + 1), next = 0;
  for (uint32_t k = 0; k < g->state.n; next += g->state.v[k++].count) row[k] = next;
  return row;
}

// ---- scalars in memory -------------------------------------------------------------------------
static LLVMTypeRef integer_type(sq_cg *cg, sq_dtype t) {
  return LLVMIntTypeInContext(cg->ctx, (unsigned)sq_dtype_table[t].bytes * 8);
}

// The scalar where the host can read it.
static LLVMValueRef scalar_at(sq_cg *cg, const sq_value *v) {
  LLVMValueRef at = sq_cg_pointer(cg, v);
  return sq_cg_on_device(cg) ? sq_cg_fetch(cg, at, sq_dtype_table[v->type.dtype].bytes) : at;
}

LLVMValueRef sq_cg_integer(sq_cg *cg, const sq_value *v) {
  sq_dtype t = v->type.dtype;
  SQ_ASSERT(!sq_is_float(t), "an integer scalar was expected");
  if (sq_host_has(cg, v)) return sq_host_word(cg, v);
  LLVMValueRef x = LLVMBuildLoad2(cg->builder, integer_type(cg, t), scalar_at(cg, v), "");
  if (sq_dtype_table[t].bytes == 8) return x;
  return sq_dtype_table[t].cls == 'I' ? LLVMBuildSExt(cg->builder, x, sq_cg_type_i64(cg), "")
                                      : LLVMBuildZExt(cg->builder, x, sq_cg_type_i64(cg), "");
}

LLVMValueRef sq_cg_bool(sq_cg *cg, const sq_value *v) {
  LLVMTypeRef type = integer_type(cg, v->type.dtype);
  if (sq_host_has(cg, v))
    return LLVMBuildICmp(cg->builder, LLVMIntNE, sq_host_word(cg, v), sq_cg_i64(cg, 0), "");
  LLVMValueRef x = LLVMBuildLoad2(cg->builder, type, scalar_at(cg, v), "");
  return LLVMBuildICmp(cg->builder, LLVMIntNE, x, LLVMConstNull(type), "");
}

void sq_cg_set_integer(sq_cg *cg, const sq_value *v, LLVMValueRef i) {
  if (sq_host_has(cg, v)) {
    sq_host_set(cg, v, i);
    return;
  }
  LLVMTypeRef type = integer_type(cg, v->type.dtype);
  if (sq_dtype_table[v->type.dtype].bytes < 8) i = LLVMBuildTrunc(cg->builder, i, type, "");
  LLVMBuildStore(cg->builder, i, sq_cg_pointer(cg, v));
}

// ---- places ------------------------------------------------------------------------------------
static LLVMValueRef arena_base(sq_cg *cg) {
  sq_driver *dr = sq_cg_driver(cg);
  return dr->arena ? dr->arena
                   : sq_cg_field(cg, offsetof(sq_call, arena), sq_cg_type_ptr(cg), "arena");
}

static LLVMValueRef segment_size(sq_cg *cg, LLVMBuilderRef b, const sq_segment *s) {
  LLVMValueRef most = sq_cg_dim(cg, s->size[0]);
  for (uint32_t k = 1; k < s->n_size; k++) {
    LLVMValueRef x = sq_cg_dim(cg, s->size[k]);
    most = LLVMBuildSelect(b, LLVMBuildICmp(b, LLVMIntSGT, x, most, ""), x, most, "");
  }
  return most;
}

static LLVMValueRef segment_bytes(sq_cg *cg, LLVMBuilderRef b, const sq_segment *s) {
  LLVMValueRef size = segment_size(cg, b, s);
  if (s->parts == 1) return size;
  return LLVMBuildMul(b, size, s->parts ? sq_cg_i64(cg, s->parts) : sq_cg_driver(cg)->workers, "");
}

static LLVMValueRef segment_at(sq_cg *cg, uint32_t k) {
  sq_driver *dr = sq_cg_driver(cg);
  if (!dr->layout.seg[k].grows) return sq_cg_add_bytes(cg, arena_base(cg), dr->offset[k]);
  LLVMValueRef offset = dr->grow_base;
  for (uint32_t j = 0; j < k; j++)
    if (dr->layout.seg[j].grows)
      offset =
          LLVMBuildAdd(cg->builder, offset, segment_bytes(cg, cg->builder, &dr->layout.seg[j]), "");
  return sq_cg_add_bytes(cg, arena_base(cg), offset);
}

LLVMValueRef sq_cg_inner(sq_cg *cg, uint32_t k, LLVMValueRef *stride) {
  sq_driver *dr = sq_cg_driver(cg);
  uint32_t s = sq_layout_find(&dr->layout, SQ_SEG_INNER, k);
  *stride = segment_size(cg, cg->builder, &dr->layout.seg[s]);
  return segment_at(cg, s);
}
LLVMValueRef sq_cg_shared(sq_cg *cg) {
  return segment_at(cg, sq_layout_find(&sq_cg_driver(cg)->layout, SQ_SEG_SHARED, 0));
}
LLVMValueRef sq_cg_private(sq_cg *cg, LLVMValueRef *stride) {
  sq_driver *dr = sq_cg_driver(cg);
  uint32_t s = sq_layout_find(&dr->layout, SQ_SEG_PRIVATE, 0);
  *stride = segment_size(cg, cg->builder, &dr->layout.seg[s]);
  return segment_at(cg, s);
}

// Entry `row` of a table of `stride`-byte rows that begin with a pointer.
static LLVMValueRef table_row(sq_cg *cg, size_t table, int64_t stride, LLVMValueRef row) {
  LLVMValueRef base = sq_cg_field(cg, table, sq_cg_type_ptr(cg), "");
  LLVMValueRef bytes = LLVMBuildMul(cg->builder, row, sq_cg_i64(cg, stride), "");
  return LLVMBuildLoad2(cg->builder, sq_cg_type_ptr(cg), sq_cg_add_bytes(cg, base, bytes), "");
}

// `first` plus the instance that the node names, kept inside the table.
static LLVMValueRef instance_row(sq_cg *cg, const sq_node *n, uint32_t first, uint32_t count) {
  LLVMValueRef row = sq_cg_i64(cg, first);
  if (!n->has_instance) return row;
  LLVMValueRef k = sq_cg_integer(cg, n->in[n->n_in - 1]), last = sq_cg_i64(cg, (int64_t)count - 1);
  k = LLVMBuildSelect(cg->builder, LLVMBuildICmp(cg->builder, LLVMIntULE, k, last, ""), k, last,
                      "");
  return LLVMBuildAdd(cg->builder, row, k, "");
}

static LLVMValueRef param_data(sq_cg *cg, const sq_node *n) {
  uint32_t first = sq_cg_driver(cg)->param_row[n->ref];
  LLVMValueRef row = instance_row(cg, n, first, cg->graph->param.v[n->ref].count);
  return table_row(cg, offsetof(sq_call, param), sizeof(void *), row);
}

LLVMValueRef sq_cg_state_row(sq_cg *cg, const sq_node *n) {
  uint32_t first = sq_cg_driver(cg)->state_row[n->ref];
  return instance_row(cg, n, first, cg->graph->state.v[n->ref].count);
}

static LLVMValueRef state_data(sq_cg *cg, const sq_node *n) {
  return table_row(cg, offsetof(sq_call, cell), sizeof(sq_abi_cell), sq_cg_state_row(cg, n));
}

LLVMValueRef sq_cg_target(sq_cg *cg, const sq_node *n) {
  return n->op == SQ_OP_PARAM_WRITE ? param_data(cg, n) : state_data(cg, n);
}

static LLVMValueRef local(sq_cg *cg, const sq_value *v) {
  sq_driver *dr = sq_cg_driver(cg);
  SQ_ASSERT(v->type.rank == 0, "value %u has no place", v->id);
  if (!dr->local[v->id]) {
    LLVMValueRef at = LLVMBuildAlloca(dr->head, sq_cg_type_i64(cg), v->name ? v->name : "");
    LLVMSetAlignment(at, 16);
    dr->local[v->id] = at;
  }
  return dr->local[v->id];
}

// The node that says whose parameter or state a value is.
static const sq_node *owner(const sq_value *v) { return v->origin ? v->origin->def : v->def; }

LLVMValueRef sq_cg_pointer(sq_cg *cg, const sq_value *v) {
  switch (v->store) {
  case SQ_STORE_NONE:
    if (v->def && v->def->op == SQ_OP_PARAM) return param_data(cg, v->def);
    if (v->def && v->def->op == SQ_OP_STATE_READ) return state_data(cg, v->def);
    return local(cg, v);
  case SQ_STORE_SLOT:
    return segment_at(cg, sq_layout_find(&sq_cg_driver(cg)->layout, SQ_SEG_SLOT, v->store_index));
  case SQ_STORE_INPUT:
    return table_row(cg, offsetof(sq_call, in), sizeof(void *), sq_cg_i64(cg, v->store_index));
  case SQ_STORE_OUTPUT:
    return table_row(cg, offsetof(sq_call, out), sizeof(void *), sq_cg_i64(cg, v->store_index));
  case SQ_STORE_PARAM:
    return param_data(cg, v->def);
  case SQ_STORE_STATE:
    return state_data(cg, owner(v));
  case SQ_STORE_INNER:
    break;
  }
  SQ_ASSERT(false, "value %u belongs to a group", v->id);
  return NULL;
}

// ---- copies ------------------------------------------------------------------------------------
bool sq_cg_same_place(const sq_value *to, const sq_value *from) {
  if (to == from) return true;
  if (to->store != from->store) return false;
  switch (to->store) {
  case SQ_STORE_SLOT:
  case SQ_STORE_INPUT:
  case SQ_STORE_OUTPUT:
    return to->store_index == from->store_index;
  case SQ_STORE_PARAM:
  case SQ_STORE_STATE:
    return sq_cell_same(owner(to), owner(from));
  case SQ_STORE_NONE:
  case SQ_STORE_INNER:
    break;
  }
  return false;
}

LLVMValueRef sq_cg_bytes(sq_cg *cg, const sq_value *v) {
  sq_dims *ds = cg->graph->dims;
  sq_dim n = sq_dim_const(ds, sq_dtype_table[v->type.dtype].bytes);
  for (uint32_t k = 0; k < v->type.rank; k++)
    n = sq_dim_mul(ds, n, sq_dim_storage(ds, v->type.dim[k]));
  return sq_cg_dim(cg, n);
}

void sq_cg_move(sq_cg *cg, const sq_value *to, LLVMValueRef at, const sq_value *from) {
  if (sq_host_has(cg, from)) {
    sq_host_settle(cg, from, at ? at : sq_cg_pointer(cg, to));
    return;
  }
  if (!at && sq_cg_same_place(to, from)) return;
  LLVMValueRef source = sq_cg_pointer(cg, from);
  if (!at) at = sq_cg_pointer(cg, to);
  if (sq_cg_on_device(cg)) {
    sq_cg_device_copy(cg, at, source, sq_cg_bytes(cg, from));
    return;
  }
  if (from->type.rank == 0) {
    LLVMTypeRef type = integer_type(cg, from->type.dtype);
    LLVMBuildStore(cg->builder, LLVMBuildLoad2(cg->builder, type, source, ""), at);
    return;
  }
  LLVMBuildMemMove(cg->builder, at, 1, source, 1, sq_cg_bytes(cg, from));
}

// ---- the function ------------------------------------------------------------------------------
static void find_moves(sq_node *n, void *user) {
  if (n->op == SQ_OP_RESERVE || n->op == SQ_OP_RESET || n->op == SQ_OP_STATE_WRITE)
    *(bool *)user = true;
}

// The first block: what every later line may use.
static void emit_start(sq_cg *cg, sq_func *f) {
  sq_driver *dr = sq_cg_driver(cg);
  bool moves = false;
  sq_walk(f->body, find_moves, &moves);
  LLVMBuilderRef body = cg->builder;
  cg->builder = dr->head;
  LLVMTypeRef ptr = sq_cg_type_ptr(cg), i64 = sq_cg_type_i64(cg);
  LLVMValueRef sym = sq_cg_field(cg, offsetof(sq_call, sym), ptr, "sym");
  dr->workers = LLVMBuildLoad2(cg->builder, i64, sym, "workers");
  if (!moves) dr->arena = sq_cg_field(cg, offsetof(sq_call, arena), ptr, "arena");
  LLVMValueRef at = sq_cg_i64(cg, 0);
  dr->offset = SQ_ARRAY(cg->scratch, LLVMValueRef, dr->layout.n + 1);
  for (uint32_t k = 0; k < dr->layout.n && !dr->layout.seg[k].grows; k++) {
    dr->offset[k] = at;
    at = LLVMBuildAdd(cg->builder, at, segment_bytes(cg, cg->builder, &dr->layout.seg[k]), "");
  }
  dr->grow_base = at;
  cg->builder = body;
}

// Beyond a live extent an output is 0.
static void clear_outputs(sq_cg *cg, sq_func *f) {
  const sq_node *end = sq_block_end(f->body);
  LLVMValueRef zero = LLVMConstNull(LLVMInt8TypeInContext(cg->ctx));
  for (uint32_t k = 0; end && k < end->n_in; k++) {
    const sq_value *v = end->in[k];
    bool live = false;
    for (uint32_t j = 0; j < v->type.rank; j++)
      live = live || !sq_dim_same(v->type.dim[j], sq_dim_storage(cg->graph->dims, v->type.dim[j]));
    if (!live) continue;
    LLVMValueRef out = table_row(cg, offsetof(sq_call, out), sizeof(void *), sq_cg_i64(cg, k));
    if (sq_cg_on_device(cg))
      sq_cg_device_clear(cg, out, sq_cg_bytes(cg, v));
    else
      LLVMBuildMemSet(cg->builder, out, zero, sq_cg_bytes(cg, v), 1);
  }
}

static void emit_end(sq_cg *cg, sq_func *f) {
  const sq_node *end = sq_block_end(f->body);
  LLVMTypeRef i64 = sq_cg_type_i64(cg);
  for (uint32_t k = 0; end && k < end->n_in; k++) {
    const sq_value *v = end->in[k];
    if (v->store == SQ_STORE_OUTPUT && v->store_index == k && !sq_host_has(cg, v)) continue;
    LLVMValueRef out = table_row(cg, offsetof(sq_call, out), sizeof(void *), sq_cg_i64(cg, k));
    sq_cg_move(cg, v, out, v);
  }
  if (sq_cg_on_device(cg)) sq_control_test(cg);
  LLVMValueRef error = sq_cg_field(cg, offsetof(sq_call, error), i64, "error");
  LLVMValueRef failed = LLVMBuildICmp(cg->builder, LLVMIntNE, error, LLVMConstNull(i64), "failed");
  LLVMBuildRet(cg->builder,
               LLVMBuildZExt(cg->builder, failed, LLVMInt32TypeInContext(cg->ctx), ""));
}

const char *sq_symbol_of(sq_arena *a, const char *model, bool is_init, const char *name) {
  return sq_arena_fmt(a, "%s.%s%s", model, is_init ? "init." : "", name);
}

const char *sq_entry_symbol(sq_graph *g, const sq_func *f) {
  return sq_symbol_of(g->arena, g->name ? g->name : "model", f->kind == SQ_FUNC_INIT, f->name);
}

LLVMValueRef sq_entry_emit(sq_unit *u, sq_func *f, const char *symbol, bool external) {
  sq_graph *g = u->graph;
  SQ_ASSERT(f->planned, "function %s is not planned", f->name);
  sq_driver dr = {.unit = u, .head = u->head};
  sq_cg cg = {.graph = g,
              .func = f,
              .target = u->target,
              .scratch = &u->scratch,
              .ctx = u->ctx,
              .module = u->module,
              .builder = u->builder,
              .driver = &dr,
              .kernels = u->cuda};
  dr.layout = sq_layout_make(g, u->target, f, cg.scratch);
  dr.local = SQ_ARRAY(cg.scratch, LLVMValueRef, g->n_values + 1);
  if (sq_cg_on_device(&cg)) sq_host_find(&cg);
  dr.param_row = sq_rows_param(g, cg.scratch);
  dr.state_row = sq_rows_state(g, cg.scratch);

  LLVMTypeRef ptr = sq_cg_type_ptr(&cg), i32 = LLVMInt32TypeInContext(cg.ctx);
  cg.entry = LLVMAddFunction(cg.module, symbol, LLVMFunctionType(i32, &ptr, 1, 0));
  LLVMSetLinkage(cg.entry, external ? LLVMExternalLinkage : LLVMInternalLinkage);
  cg.call = LLVMGetParam(cg.entry, 0);
  LLVMSetValueName2(cg.call, "c", 1);

  LLVMBasicBlockRef start = sq_cg_block(&cg, "start"), body = sq_cg_block(&cg, "body");
  dr.stop = sq_cg_block(&cg, "stop");
  LLVMPositionBuilderAtEnd(dr.head, start);
  LLVMPositionBuilderBefore(dr.head, LLVMBuildBr(dr.head, body));
  LLVMPositionBuilderAtEnd(cg.builder, dr.stop);
  LLVMBuildRet(cg.builder, sq_cg_i32(&cg, 1));
  LLVMPositionBuilderAtEnd(cg.builder, body);
  emit_start(&cg, f);
  if (sq_cg_on_device(&cg)) sq_cg_device_call(&cg, offsetof(sq_device, begin), NULL, 0);
  clear_outputs(&cg, f);
  sq_host_inputs(&cg);
  sq_control_block(&cg, f->body);
  emit_end(&cg, f);
  return cg.entry;
}
