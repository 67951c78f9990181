// The frame of a kernel function: closure, loops, conditions, launching, failure.
// In: the entry under construction (sq_cg). Out: an outlined function and the call of it.
#include "codegen/cpu/kernel.h"

LLVMTypeRef sq_k_vec(LLVMTypeRef t, uint32_t w) { return w == 1 ? t : LLVMVectorType(t, w); }
bool sq_k_is_vec(sq_lv v) { return LLVMGetTypeKind(LLVMTypeOf(v)) == LLVMVectorTypeKind; }
uint32_t sq_k_lanes(sq_lv v) { return sq_k_is_vec(v) ? LLVMGetVectorSize(LLVMTypeOf(v)) : 1; }

static sq_lv splat_const(sq_arena *a, LLVMTypeRef t, sq_lv c) {
  (void)a;
  sq_lv v[64];
  uint32_t w = LLVMGetVectorSize(t);
  SQ_ASSERT(w <= 64, "a vector of %u lanes", w);
  for (uint32_t i = 0; i < w; i++) v[i] = c;
  return LLVMConstVector(v, w);
}
sq_lv sq_k_int(sq_kern *k, int64_t v) { return LLVMConstInt(k->i64, (uint64_t)v, 1); }
sq_lv sq_k_like(sq_kern *k, LLVMTypeRef t, int64_t v) {
  if (LLVMGetTypeKind(t) != LLVMVectorTypeKind) return LLVMConstInt(t, (uint64_t)v, 1);
  return splat_const(k->a, t, LLVMConstInt(LLVMGetElementType(t), (uint64_t)v, 1));
}
sq_lv sq_k_flike(LLVMTypeRef t, double v) {
  if (LLVMGetTypeKind(t) != LLVMVectorTypeKind) return LLVMConstReal(t, v);
  return splat_const(NULL, t, LLVMConstReal(LLVMGetElementType(t), v));
}
sq_lv sq_k_splat(sq_kern *k, sq_lv v, uint32_t w) {
  if (w == 1 || sq_k_is_vec(v)) return v;
  LLVMTypeRef t = LLVMVectorType(LLVMTypeOf(v), w);
  if (LLVMIsConstant(v) && !LLVMIsUndef(v)) return splat_const(k->a, t, v);
  sq_lv one = LLVMBuildInsertElement(k->b, LLVMGetPoison(t), v, LLVMConstInt(k->i32, 0, 0), "");
  return LLVMBuildShuffleVector(k->b, one, LLVMGetPoison(t),
                                LLVMConstNull(LLVMVectorType(k->i32, w)), "");
}
sq_lv sq_k_lane_index(sq_kern *k, uint32_t w, LLVMTypeRef t) {
  (void)k;
  sq_lv v[64];
  for (uint32_t i = 0; i < w; i++) v[i] = LLVMConstInt(t, i, 0);
  return LLVMConstVector(v, w);
}
sq_lv sq_k_min(sq_kern *k, sq_lv a, sq_lv b) {
  return LLVMBuildSelect(k->b, LLVMBuildICmp(k->b, LLVMIntSLT, a, b, ""), a, b, "");
}
sq_lv sq_k_max(sq_kern *k, sq_lv a, sq_lv b) {
  return LLVMBuildSelect(k->b, LLVMBuildICmp(k->b, LLVMIntSGT, a, b, ""), a, b, "");
}
sq_lv sq_k_ceil_div(sq_kern *k, LLVMBuilderRef b, sq_lv a, sq_lv by) {
  sq_lv up = LLVMBuildSub(b, LLVMBuildAdd(b, a, by, ""), sq_k_int(k, 1), "");
  return LLVMBuildUDiv(b, up, by, "");
}
sq_lv sq_k_and(sq_kern *k, sq_lv a, sq_lv b) {
  if (!a) return b;
  if (!b) return a;
  uint32_t w = sq_k_lanes(a) > sq_k_lanes(b) ? sq_k_lanes(a) : sq_k_lanes(b);
  return LLVMBuildAnd(k->b, sq_k_splat(k, a, w), sq_k_splat(k, b, w), "");
}
sq_lv sq_k_any(sq_kern *k, sq_lv mask) {
  if (!sq_k_is_vec(mask)) return mask;
  LLVMTypeRef t = LLVMIntTypeInContext(k->c, sq_k_lanes(mask));
  sq_lv bits = LLVMBuildBitCast(k->b, mask, t, "");
  return LLVMBuildICmp(k->b, LLVMIntNE, bits, LLVMConstInt(t, 0, 0), "");
}
sq_lv sq_k_offset(sq_kern *k, sq_lv base, sq_lv index, sq_dtype t) {
  LLVMTypeRef bytes = LLVMIntTypeInContext(k->c, 8u * (unsigned)sq_dtype_table[t].bytes);
  return LLVMBuildGEP2(k->b, bytes, base, &index, 1, "");
}
sq_lv sq_k_alloca(sq_kern *k, LLVMTypeRef t, uint32_t n) {
  sq_lv v = LLVMBuildArrayAlloca(k->pb, t, LLVMConstInt(k->i32, n, 0), "");
  LLVMSetAlignment(v, 64);
  return v;
}
sq_lv sq_k_intrinsic(sq_kern *k, const char *name, LLVMTypeRef *overload, unsigned n_overload,
                     sq_lv *arg, unsigned n_arg) {
  unsigned id = LLVMLookupIntrinsicID(name, strlen(name));
  SQ_ASSERT(id, "no intrinsic %s", name);
  sq_lv f = LLVMGetIntrinsicDeclaration(k->m, id, overload, n_overload);
  LLVMTypeRef t = LLVMIntrinsicGetType(k->c, id, overload, n_overload);
  return LLVMBuildCall2(k->b, t, f, arg, n_arg, "");
}

// ---- function and closure ----------------------------------------------------------------------
static LLVMTypeRef kernel_type(sq_kern *k) {
  LLVMTypeRef arg[3] = {k->ptr, k->i64, k->i64};
  return LLVMFunctionType(LLVMVoidTypeInContext(k->c), arg, 3, 0);
}
static sq_lv closure_field(sq_kern *k, LLVMBuilderRef b, sq_lv closure, uint32_t i) {
  sq_lv at = sq_k_int(k, i);
  return LLVMBuildInBoundsGEP2(b, k->i64, closure, &at, 1, "");
}
static void add_attribute(sq_kern *k, sq_lv fn, const char *name) {
  unsigned id = LLVMGetEnumAttributeKindForName(name, strlen(name));
  LLVMAddAttributeAtIndex(fn, LLVMAttributeFunctionIndex, LLVMCreateEnumAttribute(k->c, id, 0));
}
static void kern_types(sq_kern *k, sq_cg *cg) {
  memset(k, 0, sizeof *k);
  k->cg = cg;
  k->g = cg->graph;
  k->a = cg->scratch;
  k->c = cg->ctx;
  k->m = cg->module;
  k->i1 = LLVMInt1TypeInContext(k->c);
  k->i8 = LLVMInt8TypeInContext(k->c);
  k->i16 = LLVMInt16TypeInContext(k->c);
  k->i32 = LLVMInt32TypeInContext(k->c);
  k->i64 = LLVMInt64TypeInContext(k->c);
  k->half = LLVMHalfTypeInContext(k->c);
  k->f32 = LLVMFloatTypeInContext(k->c);
  k->f64 = LLVMDoubleTypeInContext(k->c);
  k->ptr = LLVMPointerTypeInContext(k->c, 0);
}
void sq_kern_begin_here(sq_kern *k, sq_cg *cg) {
  kern_types(k, cg);
  k->here = true;
  k->fn = cg->entry;
  k->b = k->pb = cg->builder;
  k->task = k->worker = sq_k_int(k, 0);
  k->call = cg->call;
}
void sq_kern_begin(sq_kern *k, sq_cg *cg, const char *what) {
  kern_types(k, cg);
  const char *name = sq_arena_fmt(k->a, "%s.%s.%u", cg->func->name, what, cg->n_kernel++);
  k->fn = LLVMAddFunction(k->m, name, kernel_type(k));
  LLVMSetLinkage(k->fn, LLVMLinkOnceODRLinkage);
  add_attribute(k, k->fn, "noinline");
  add_attribute(k, k->fn, "nounwind");
  k->task = LLVMGetParam(k->fn, 1);
  k->worker = LLVMGetParam(k->fn, 2);
  k->prologue = LLVMAppendBasicBlockInContext(k->c, k->fn, "prologue");
  k->body = LLVMAppendBasicBlockInContext(k->c, k->fn, "body");
  k->pb = sq_cg_builder_take(cg);
  k->b = sq_cg_builder_take(cg);
  LLVMPositionBuilderAtEnd(k->pb, k->prologue);
  LLVMPositionBuilderAtEnd(k->b, k->body);
  k->call = sq_kern_pass(k, cg->call);
}
sq_lv sq_kern_pass(sq_kern *k, sq_lv outside) {
  if (k->here || LLVMIsConstant(outside)) return outside;
  for (uint32_t i = 0; i < k->field.n; i++)
    if (k->field.v[i].outside == outside) return k->field.v[i].inside;
  sq_lv at = closure_field(k, k->pb, LLVMGetParam(k->fn, 0), k->field.n);
  sq_lv in = LLVMBuildLoad2(k->pb, LLVMTypeOf(outside), at, "");
  sq_push(k->a, &k->field, (sq_kfield){.outside = outside, .inside = in});
  return in;
}
sq_lv sq_kern_dim(sq_kern *k, sq_dim d) {
  int64_t v;
  if (sq_dim_is_const(k->g->dims, d, &v)) return sq_k_int(k, v);
  return sq_kern_pass(k, sq_cg_dim(k->cg, d));
}
sq_dim sq_k_elements(sq_dims *ds, const sq_type *t) {
  sq_dim n = sq_dim_const(ds, 1);
  for (uint32_t i = 0; i < t->rank; i++) n = sq_dim_mul(ds, n, t->dim[i]);
  return n;
}
bool sq_k_numbered_by_place(sq_dims *ds, const sq_type *t) {
  for (uint32_t i = 1; i < t->rank; i++)
    if (!sq_dim_same(t->dim[i], sq_dim_storage(ds, t->dim[i]))) return false;
  return true;
}
sq_lv sq_k_place(sq_kern *k, const sq_type *t, sq_lv e) {
  sq_dim stride = sq_dim_const(k->g->dims, 1);
  sq_lv place = sq_k_int(k, 0);
  for (uint32_t i = t->rank; i-- > 0;) {
    sq_lv live = sq_kern_dim(k, t->dim[i]), index = e;
    if (i) index = LLVMBuildURem(k->b, e, live, "");
    place = LLVMBuildAdd(k->b, place, LLVMBuildMul(k->b, index, sq_kern_dim(k, stride), ""), "");
    if (i) e = LLVMBuildUDiv(k->b, e, live, "");
    stride = sq_dim_mul(k->g->dims, stride, sq_dim_storage(k->g->dims, t->dim[i]));
  }
  return place;
}
sq_lv sq_kern_pointer(sq_kern *k, const sq_value *v) {
  for (uint32_t i = 0; i < k->pointer.n; i++)
    if (k->pointer.v[i].v == v) return k->pointer.v[i].inside;
  sq_lv p = sq_kern_pass(k, sq_cg_pointer(k->cg, v));
  if (!k->here) sq_push(k->a, &k->pointer, (sq_kpointer){v, p});
  return p;
}

// An alloca belongs to the entry's first block, else a loop in the entry would grow the stack.
sq_lv sq_kern_entry_alloca(sq_kern *k, uint32_t n) {
  LLVMBasicBlockRef first = LLVMGetEntryBasicBlock(k->cg->entry);
  LLVMBuilderRef b = LLVMCreateBuilderInContext(k->c);
  sq_lv at = LLVMGetFirstInstruction(first);
  if (at)
    LLVMPositionBuilderBefore(b, at);
  else
    LLVMPositionBuilderAtEnd(b, first);
  sq_lv v = LLVMBuildAlloca(b, LLVMArrayType2(k->i64, n), "closure");
  LLVMDisposeBuilder(b);
  return v;
}
sq_lv sq_kern_shared(sq_kern *k, const char *name, LLVMTypeRef type, sq_kern *inner) {
  sq_lv fn = LLVMGetNamedFunction(k->m, name);
  inner->fn = NULL;
  if (fn) return fn;
  fn = LLVMAddFunction(k->m, name, type);
  LLVMSetLinkage(fn, LLVMLinkOnceODRLinkage);
  add_attribute(k, fn, "noinline");
  add_attribute(k, fn, "nounwind");
  *inner = *k;
  inner->fn = fn;
  inner->b = inner->pb = sq_cg_builder_take(k->cg);
  LLVMPositionBuilderAtEnd(inner->b, LLVMAppendBasicBlockInContext(k->c, fn, ""));
  return fn;
}
void sq_kern_shared_end(sq_kern *inner) { sq_cg_builder_give(inner->cg, inner->b); }

static LLVMTypeRef launch_type(sq_kern *k) {
  LLVMTypeRef in[4] = {k->ptr, k->i64, k->ptr, k->ptr};
  return LLVMFunctionType(LLVMVoidTypeInContext(k->c), in, 4, 0);
}
// void sq.launch(ptr call, i64 tasks, ptr kernel, ptr closure): one task without the pool.
static sq_lv launch_function(sq_kern *k) {
  sq_kern in;
  sq_lv fn = sq_kern_shared(k, "sq.launch", launch_type(k), &in);
  if (!in.fn) return fn;
  LLVMBuilderRef b = in.b;
  sq_lv call = LLVMGetParam(fn, 0), n = LLVMGetParam(fn, 1), kernel = LLVMGetParam(fn, 2);
  sq_lv closure = LLVMGetParam(fn, 3), zero = sq_k_int(k, 0);
  LLVMBasicBlockRef one = LLVMAppendBasicBlockInContext(k->c, fn, "direct");
  LLVMBasicBlockRef many = LLVMAppendBasicBlockInContext(k->c, fn, "parallel");
  LLVMBasicBlockRef test = LLVMAppendBasicBlockInContext(k->c, fn, "tasks");
  LLVMBasicBlockRef done = LLVMAppendBasicBlockInContext(k->c, fn, "done");
  LLVMBuildCondBr(b, LLVMBuildICmp(b, LLVMIntEQ, n, sq_k_int(k, 1), ""), one, test);
  LLVMPositionBuilderAtEnd(b, one);
  sq_lv direct[3] = {closure, zero, zero};
  LLVMBuildCall2(b, kernel_type(k), kernel, direct, 3, "");
  LLVMBuildRetVoid(b);
  LLVMPositionBuilderAtEnd(b, test);
  LLVMBuildCondBr(b, LLVMBuildICmp(b, LLVMIntSGT, n, zero, ""), many, done);
  LLVMPositionBuilderAtEnd(b, many);
  sq_lv at = sq_k_int(k, offsetof(sq_call, pool));
  sq_lv pool = LLVMBuildLoad2(b, k->ptr, LLVMBuildGEP2(b, k->i8, call, &at, 1, ""), "");
  at = sq_k_int(k, offsetof(sq_call, parallel));
  sq_lv run = LLVMBuildLoad2(b, k->ptr, LLVMBuildGEP2(b, k->i8, call, &at, 1, ""), "");
  sq_lv arg[4] = {pool, n, kernel, closure};
  LLVMBuildCall2(b, launch_type(k), run, arg, 4, "");
  LLVMBuildRetVoid(b);
  LLVMPositionBuilderAtEnd(b, done);
  LLVMBuildRetVoid(b);
  sq_kern_shared_end(&in);
  return fn;
}
// Kernels run one after another: their closures share memory, but for very large ones.
static sq_lv closure_of(sq_kern *k, uint32_t n) {
  enum { USUAL = 40 };
  if (n > USUAL) return sq_kern_entry_alloca(k, n);
  if (!k->cg->kernels) k->cg->kernels = sq_kern_entry_alloca(k, USUAL);
  return k->cg->kernels;
}
static void end_function(sq_kern *k) {
  LLVMBuildRetVoid(k->b);
  LLVMBuildBr(k->pb, k->body);
  sq_cg_builder_give(k->cg, k->b);
  sq_cg_builder_give(k->cg, k->pb);
  k->b = k->cg->builder;
}
static void fill(sq_kern *k, sq_lv closure) {
  for (uint32_t i = 0; i < k->field.n; i++)
    LLVMBuildStore(k->b, k->field.v[i].outside, closure_field(k, k->b, closure, i));
}
static void launch(sq_kern *k, sq_lv fn, sq_lv closure, sq_lv n_tasks) {
  if (LLVMIsConstant(n_tasks) && LLVMConstIntGetSExtValue(n_tasks) == 1) {
    sq_lv direct[3] = {closure, sq_k_int(k, 0), sq_k_int(k, 0)};
    LLVMBuildCall2(k->b, kernel_type(k), fn, direct, 3, "");
    return;
  }
  sq_lv arg[4] = {k->cg->call, n_tasks, fn, closure};
  LLVMBuildCall2(k->b, launch_type(k), launch_function(k), arg, 4, "");
}
void sq_kern_launch(sq_kern *k, sq_lv n_tasks) {
  if (k->here) return;
  end_function(k);
  sq_lv closure = closure_of(k, k->field.n);
  fill(k, closure);
  launch(k, k->fn, closure, n_tasks);
}
sq_kready sq_kern_ready(sq_kern *k, const sq_ktasks *tasks) {
  end_function(k);
  sq_lv closure = sq_kern_entry_alloca(k, k->field.n);
  fill(k, closure);
  return (sq_kready){NULL, k->fn, closure, tasks->n_tasks, tasks->inside};
}
void sq_kready_launch(sq_cg *cg, const sq_kready *r) {
  sq_kern k;
  sq_kern_begin_here(&k, cg);
  launch(&k, r->fn, r->closure, r->n_tasks);
}
void sq_kready_task(sq_kern *k, const sq_kready *r, sq_lv number) {
  sq_lv inside = sq_kern_pass(k, r->inside), closure = sq_kern_pass(k, r->closure);
  sq_kif f;
  sq_kif_begin(k, &f, LLVMBuildICmp(k->b, LLVMIntNE, inside, sq_k_int(k, 0), ""));
  sq_lv arg[3] = {closure, number, k->worker};
  LLVMBuildCall2(k->b, kernel_type(k), r->fn, arg, 3, "");
  sq_kif_end(k, &f, 0, NULL, NULL, NULL);
}

sq_lv sq_kern_zeros(sq_kern *k) {
  sq_lv v = LLVMGetNamedGlobal(k->m, "sq.zeros");
  if (v) return v;
  LLVMTypeRef t = LLVMArrayType2(k->i8, 512);
  v = LLVMAddGlobal(k->m, t, "sq.zeros");
  LLVMSetInitializer(v, LLVMConstNull(t));
  LLVMSetGlobalConstant(v, 1);
  LLVMSetLinkage(v, LLVMInternalLinkage);
  LLVMSetAlignment(v, 64);
  return v;
}

// void sq.fail(ptr call, i64 site + 1, i64 value, i64 limit): lowers call->error unless it is lower
// already.
static sq_lv fail_function(sq_kern *k) {
  sq_lv fn = LLVMGetNamedFunction(k->m, "sq.fail");
  if (fn) return fn;
  LLVMTypeRef in[4] = {k->ptr, k->i64, k->i64, k->i64};
  fn = LLVMAddFunction(k->m, "sq.fail", LLVMFunctionType(LLVMVoidTypeInContext(k->c), in, 4, 0));
  LLVMSetLinkage(fn, LLVMLinkOnceODRLinkage);
  add_attribute(k, fn, "noinline");
  add_attribute(k, fn, "nounwind");
  add_attribute(k, fn, "cold");
  LLVMBuilderRef b = LLVMCreateBuilderInContext(k->c);
  LLVMBasicBlockRef start = LLVMAppendBasicBlockInContext(k->c, fn, "");
  LLVMBasicBlockRef test = LLVMAppendBasicBlockInContext(k->c, fn, "test");
  LLVMBasicBlockRef swap = LLVMAppendBasicBlockInContext(k->c, fn, "swap");
  LLVMBasicBlockRef won = LLVMAppendBasicBlockInContext(k->c, fn, "won");
  LLVMBasicBlockRef end = LLVMAppendBasicBlockInContext(k->c, fn, "end");
  sq_lv call = LLVMGetParam(fn, 0), site = LLVMGetParam(fn, 1);
  LLVMPositionBuilderAtEnd(b, start);
  sq_lv at = sq_k_int(k, offsetof(sq_call, error));
  sq_lv word = LLVMBuildGEP2(b, k->i8, call, &at, 1, "");
  sq_lv first = LLVMBuildLoad2(b, k->i64, word, "");
  LLVMSetOrdering(first, LLVMAtomicOrderingMonotonic);
  LLVMSetAlignment(first, 8);
  LLVMBuildBr(b, test);
  LLVMPositionBuilderAtEnd(b, test);
  sq_lv old = LLVMBuildPhi(b, k->i64, "");
  // 0, no error, is the highest once 1 is taken off.
  sq_lv low = LLVMBuildICmp(b, LLVMIntULT, LLVMBuildSub(b, site, sq_k_int(k, 1), ""),
                            LLVMBuildSub(b, old, sq_k_int(k, 1), ""), "");
  LLVMBuildCondBr(b, low, swap, end);
  LLVMPositionBuilderAtEnd(b, swap);
  sq_lv pair = LLVMBuildAtomicCmpXchg(b, word, old, site, LLVMAtomicOrderingMonotonic,
                                      LLVMAtomicOrderingMonotonic, 0);
  sq_lv now = LLVMBuildExtractValue(b, pair, 0, "");
  LLVMBuildCondBr(b, LLVMBuildExtractValue(b, pair, 1, ""), won, test);
  LLVMPositionBuilderAtEnd(b, won);
  const size_t field[2] = {offsetof(sq_call, error_value), offsetof(sq_call, error_limit)};
  for (unsigned j = 0; j < 2; j++) {
    at = sq_k_int(k, (int64_t)field[j]);
    sq_lv st =
        LLVMBuildStore(b, LLVMGetParam(fn, 2 + j), LLVMBuildGEP2(b, k->i8, call, &at, 1, ""));
    LLVMSetOrdering(st, LLVMAtomicOrderingMonotonic);
    LLVMSetAlignment(st, 8);
  }
  LLVMBuildBr(b, end);
  LLVMPositionBuilderAtEnd(b, end);
  LLVMBuildRetVoid(b);
  sq_lv from[2] = {first, now};
  LLVMBasicBlockRef block[2] = {start, swap};
  LLVMAddIncoming(old, from, block, 2);
  LLVMDisposeBuilder(b);
  return fn;
}
void sq_kern_fail(sq_kern *k, uint32_t site, sq_lv value, sq_lv limit) {
  sq_lv arg[4] = {k->call, sq_k_int(k, (int64_t)site + 1), value, limit};
  sq_lv fn = fail_function(k);
  LLVMBuildCall2(k->b, LLVMGlobalGetValueType(fn), fn, arg, 4, "");
}

// ---- control flow ------------------------------------------------------------------------------
static LLVMBasicBlockRef block_new(sq_kern *k, const char *name) {
  LLVMBasicBlockRef here = LLVMGetInsertBlock(k->b), next = LLVMGetNextBasicBlock(here);
  return next ? LLVMInsertBasicBlockInContext(k->c, next, name)
              : LLVMAppendBasicBlockInContext(k->c, k->fn, name);
}
void sq_kwhile_begin(sq_kern *k, sq_kloop *l, uint32_t n, const sq_lv *init) {
  SQ_ASSERT(n <= SQ_K_CARRIED, "%u values carried by a loop", n);
  LLVMBasicBlockRef from = LLVMGetInsertBlock(k->b);
  l->exit = block_new(k, "exit");
  l->head = block_new(k, "head");
  l->i = l->step = NULL;
  l->n = n;
  LLVMBuildBr(k->b, l->head);
  LLVMPositionBuilderAtEnd(k->b, l->head);
  for (uint32_t j = 0; j < n; j++) {
    l->phi[j] = LLVMBuildPhi(k->b, LLVMTypeOf(init[j]), "");
    sq_lv v = init[j];
    LLVMAddIncoming(l->phi[j], &v, &from, 1);
  }
}
void sq_kwhile_test(sq_kern *k, sq_kloop *l, sq_lv cond) {
  LLVMBasicBlockRef body = block_new(k, "loop");
  LLVMBuildCondBr(k->b, cond, body, l->exit);
  LLVMPositionBuilderAtEnd(k->b, body);
}
void sq_kwhile_end(sq_kern *k, sq_kloop *l, const sq_lv *next) {
  LLVMBasicBlockRef from = LLVMGetInsertBlock(k->b);
  for (uint32_t j = 0; j < l->n; j++) {
    sq_lv v = next[j];
    LLVMAddIncoming(l->phi[j], &v, &from, 1);
  }
  LLVMBuildBr(k->b, l->head);
  LLVMPositionBuilderAtEnd(k->b, l->exit);
}
void sq_kloop_begin(sq_kern *k, sq_kloop *l, sq_lv lo, sq_lv hi, int64_t step, uint32_t n,
                    const sq_lv *init) {
  SQ_ASSERT(n < SQ_K_CARRIED, "%u values carried by a loop", n);
  sq_lv all[SQ_K_CARRIED];
  for (uint32_t j = 0; j < n; j++) all[j] = init[j];
  all[n] = lo;
  sq_kwhile_begin(k, l, n + 1, all);
  l->n = n;
  l->i = l->phi[n];
  l->step = sq_k_int(k, step);
  sq_kwhile_test(k, l, LLVMBuildICmp(k->b, LLVMIntSLT, l->i, hi, ""));
}
void sq_kloop_end(sq_kern *k, sq_kloop *l, const sq_lv *next) {
  sq_lv all[SQ_K_CARRIED];
  for (uint32_t j = 0; j < l->n; j++) all[j] = next[j];
  all[l->n] = LLVMBuildNSWAdd(k->b, l->i, l->step, "");
  l->n++;
  sq_kwhile_end(k, l, all);
  l->n--;
}
void sq_kif_begin(sq_kern *k, sq_kif *f, sq_lv cond) {
  f->from = LLVMGetInsertBlock(k->b);
  f->has_else = false;
  f->join = block_new(k, "join");
  f->other = block_new(k, "else");
  LLVMBasicBlockRef then = block_new(k, "then");
  LLVMBuildCondBr(k->b, cond, then, f->other);
  LLVMPositionBuilderAtEnd(k->b, then);
}
void sq_kif_else(sq_kern *k, sq_kif *f) {
  f->then_end = LLVMGetInsertBlock(k->b);
  LLVMBuildBr(k->b, f->join);
  LLVMPositionBuilderAtEnd(k->b, f->other);
  f->has_else = true;
}
void sq_kif_end(sq_kern *k, sq_kif *f, uint32_t n, const sq_lv *then_v, const sq_lv *else_v,
                sq_lv *out) {
  if (!f->has_else) sq_kif_else(k, f);
  LLVMBasicBlockRef from[2] = {f->then_end, LLVMGetInsertBlock(k->b)};
  LLVMBuildBr(k->b, f->join);
  LLVMPositionBuilderAtEnd(k->b, f->join);
  for (uint32_t i = 0; i < n; i++) {
    sq_lv v[2] = {then_v[i], else_v[i]};
    sq_lv phi = LLVMBuildPhi(k->b, LLVMTypeOf(v[0]), "");
    LLVMAddIncoming(phi, v, from, 2);
    out[i] = phi;
  }
}
