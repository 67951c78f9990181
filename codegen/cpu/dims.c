// Sizes in compiled code. In: dimension expressions of the graph. Out: LLVM values at the builder's
// place, postfix programs for the descriptor, and the layout of an entry's arena.
//
//   4 * N * d + 8   ->   %0 = mul i64 %N, 1536; %1 = add i64 %0, 8
//                   ->   SYM 1, CONST 1536, MUL, CONST 8, ADD
//
// Expressions of sizes alone are computed once, in the function's first block; those that mention a
// live symbol or a growing extent are computed where they are asked for.
#include "codegen/cpu/driver.h"
#include "codegen/cuda/kernels.h"
#include <stddef.h>

// ---- questions ---------------------------------------------------------------------------------
typedef bool (*sym_test)(const sq_sym_info *s);
static bool is_grow(const sq_sym_info *s) { return s->kind == SQ_SYM_GROW; }
static bool is_late(const sq_sym_info *s) { return s->kind != SQ_SYM_SIZE; }

static bool any_symbol(const sq_dims *ds, sq_dim d, sym_test test) {
  if (d.i == 0) return false;
  const sq_dim_node *n = sq_dim_at(ds, d);
  switch (n->kind) {
  case SQ_DIM_CONST:
    return false;
  case SQ_DIM_SYM:
    return test(sq_sym_at(ds, n->sym));
  case SQ_DIM_SUM:
    for (uint32_t k = 0; k < n->n; k++)
      if (any_symbol(ds, n->term[k].prod, test)) return true;
    return false;
  case SQ_DIM_PROD:
    for (uint32_t k = 0; k < n->n; k++)
      if (any_symbol(ds, n->factor[k], test)) return true;
    return false;
  case SQ_DIM_FLOORDIV:
  case SQ_DIM_MOD:
  case SQ_DIM_MIN:
  case SQ_DIM_MAX:
    return any_symbol(ds, n->a, test) || any_symbol(ds, n->b, test);
  }
  return false;
}

bool sq_dim_grows(const sq_dims *ds, sq_dim d) { return any_symbol(ds, d, is_grow); }
bool sq_dim_fixed(const sq_dims *ds, sq_dim d) { return !any_symbol(ds, d, is_late); }

// ---- LLVM values -------------------------------------------------------------------------------
static LLVMValueRef symbol(sq_cg *cg, LLVMBuilderRef b, sq_sym s) {
  sq_driver *dr = sq_cg_driver(cg);
  if (dr->frozen.i && dr->frozen.i == s.i) return dr->frozen_value;
  const sq_sym_info *info = sq_sym_at(cg->graph->dims, s);
  LLVMTypeRef i64 = sq_cg_type_i64(cg), ptr = sq_cg_type_ptr(cg);
  LLVMValueRef at = LLVMConstInt(i64, offsetof(sq_call, sym), 0);
  at = LLVMBuildGEP2(b, LLVMInt8TypeInContext(cg->ctx), cg->call, &at, 1, "");
  LLVMValueRef table = LLVMBuildLoad2(b, ptr, at, "sym");
  LLVMValueRef k = sq_cg_i64(cg, s.i);
  return LLVMBuildLoad2(b, i64, LLVMBuildGEP2(b, i64, table, &k, 1, ""), info->name);
}

// floor(x / y) and x - floor(x / y) * y; a divisor that would trap is replaced by 1.
static LLVMValueRef divide(sq_cg *cg, LLVMBuilderRef b, LLVMValueRef x, LLVMValueRef y, bool modulo,
                           bool positive) {
  LLVMValueRef zero = sq_cg_i64(cg, 0), one = sq_cg_i64(cg, 1);
  if (!LLVMIsConstant(y)) {
    LLVMValueRef bad = LLVMBuildOr(b, LLVMBuildICmp(b, LLVMIntEQ, y, zero, ""),
                                   LLVMBuildICmp(b, LLVMIntEQ, y, sq_cg_i64(cg, -1), ""), "");
    y = LLVMBuildSelect(b, bad, one, y, "");
  } else if (LLVMConstIntGetSExtValue(y) == 0 || LLVMConstIntGetSExtValue(y) == -1) {
    y = one;
  }
  if (positive) return modulo ? LLVMBuildURem(b, x, y, "") : LLVMBuildUDiv(b, x, y, "");
  LLVMValueRef q = LLVMBuildSDiv(b, x, y, ""), r = LLVMBuildSRem(b, x, y, "");
  LLVMValueRef uneven = LLVMBuildICmp(b, LLVMIntNE, r, zero, "");
  LLVMValueRef differ = LLVMBuildICmp(b, LLVMIntSLT, LLVMBuildXor(b, r, y, ""), zero, "");
  LLVMValueRef down = LLVMBuildAnd(b, uneven, differ, "");
  if (modulo) return LLVMBuildAdd(b, r, LLVMBuildSelect(b, down, y, zero, ""), "");
  return LLVMBuildSub(b, q, LLVMBuildZExt(b, down, sq_cg_type_i64(cg), ""), "");
}

static LLVMValueRef value_at(sq_cg *cg, LLVMBuilderRef b, sq_dim d);

static LLVMValueRef pair(sq_cg *cg, LLVMBuilderRef b, const sq_dim_node *n) {
  const sq_dims *ds = cg->graph->dims;
  LLVMValueRef x = value_at(cg, b, n->a), y = value_at(cg, b, n->b);
  if (n->kind == SQ_DIM_FLOORDIV || n->kind == SQ_DIM_MOD) {
    bool positive = sq_dim_low(ds, n->a) >= 0 && sq_dim_low(ds, n->b) >= 1;
    return divide(cg, b, x, y, n->kind == SQ_DIM_MOD, positive);
  }
  LLVMIntPredicate less = n->kind == SQ_DIM_MIN ? LLVMIntSLT : LLVMIntSGT;
  return LLVMBuildSelect(b, LLVMBuildICmp(b, less, x, y, ""), x, y, "");
}

static LLVMValueRef value_at(sq_cg *cg, LLVMBuilderRef b, sq_dim d) {
  const sq_dims *ds = cg->graph->dims;
  const sq_dim_node *n = sq_dim_at(ds, d);
  switch (n->kind) {
  case SQ_DIM_CONST:
    return sq_cg_i64(cg, n->value);
  case SQ_DIM_SYM:
    return symbol(cg, b, n->sym);
  case SQ_DIM_SUM: {
    LLVMValueRef sum = n->value ? sq_cg_i64(cg, n->value) : NULL;
    for (uint32_t k = 0; k < n->n; k++) {
      LLVMValueRef v = value_at(cg, b, n->term[k].prod);
      if (n->term[k].coef != 1) v = LLVMBuildMul(b, v, sq_cg_i64(cg, n->term[k].coef), "");
      sum = sum ? LLVMBuildAdd(b, sum, v, "") : v;
    }
    return sum ? sum : sq_cg_i64(cg, 0);
  }
  case SQ_DIM_PROD: {
    LLVMValueRef prod = NULL;
    for (uint32_t k = 0; k < n->n; k++) {
      LLVMValueRef v = value_at(cg, b, n->factor[k]);
      prod = prod ? LLVMBuildMul(b, prod, v, "") : v;
    }
    return prod ? prod : sq_cg_i64(cg, 1);
  }
  case SQ_DIM_FLOORDIV:
  case SQ_DIM_MOD:
  case SQ_DIM_MIN:
  case SQ_DIM_MAX:
    return pair(cg, b, n);
  }
  return sq_cg_i64(cg, 0);
}

LLVMValueRef sq_cg_dim(sq_cg *cg, sq_dim d) {
  sq_driver *dr = sq_cg_driver(cg);
  SQ_ASSERT(d.i != 0, "a size is missing");
  if (!sq_dim_fixed(cg->graph->dims, d)) return value_at(cg, cg->builder, d);
  while (dr->fixed.n <= d.i) sq_push(cg->scratch, &dr->fixed, NULL);
  if (!dr->fixed.v[d.i]) dr->fixed.v[d.i] = value_at(cg, dr->head, d);
  return dr->fixed.v[d.i];
}

// ---- postfix programs --------------------------------------------------------------------------
typedef SQ_VEC(int64_t) program;

static void put(sq_arena *a, program *p, int64_t word) { sq_push(a, p, word); }
static void put_const(sq_arena *a, program *p, int64_t v) {
  put(a, p, SQ_X_CONST);
  put(a, p, v);
}

static void put_dim(const sq_dims *ds, sq_dim d, sq_arena *a, program *p) {
  const sq_dim_node *n = sq_dim_at(ds, d);
  switch (n->kind) {
  case SQ_DIM_CONST:
    put_const(a, p, n->value);
    return;
  case SQ_DIM_SYM:
    put(a, p, SQ_X_SYM);
    put(a, p, n->sym.i);
    return;
  case SQ_DIM_SUM:
    for (uint32_t k = 0; k < n->n; k++) {
      put_dim(ds, n->term[k].prod, a, p);
      if (n->term[k].coef != 1) {
        put_const(a, p, n->term[k].coef);
        put(a, p, SQ_X_MUL);
      }
      if (k) put(a, p, SQ_X_ADD);
    }
    if (n->n == 0 || n->value != 0) {
      put_const(a, p, n->value);
      if (n->n) put(a, p, SQ_X_ADD);
    }
    return;
  case SQ_DIM_PROD:
    for (uint32_t k = 0; k < n->n; k++) {
      put_dim(ds, n->factor[k], a, p);
      if (k) put(a, p, SQ_X_MUL);
    }
    return;
  case SQ_DIM_FLOORDIV:
  case SQ_DIM_MOD:
  case SQ_DIM_MIN:
  case SQ_DIM_MAX: {
    static const int64_t code[] = {[SQ_DIM_FLOORDIV] = SQ_X_FLOORDIV,
                                   [SQ_DIM_MOD] = SQ_X_MOD,
                                   [SQ_DIM_MIN] = SQ_X_MIN,
                                   [SQ_DIM_MAX] = SQ_X_MAX};
    put_dim(ds, n->a, a, p);
    put_dim(ds, n->b, a, p);
    put(a, p, code[n->kind]);
    return;
  }
  }
}

sq_abi_expr sq_expr_make(const sq_dims *ds, sq_dim d, sq_arena *a) {
  program p = {0};
  put_dim(ds, d, a, &p);
  return (sq_abi_expr){p.v, p.n};
}

sq_abi_expr sq_expr_arena(const sq_dims *ds, const sq_layout *l, sq_arena *a) {
  program p = {0};
  if (l->n == 0) put_const(a, &p, 0);
  for (uint32_t k = 0; k < l->n; k++) {
    const sq_segment *s = &l->seg[k];
    for (uint32_t i = 0; i < s->n_size; i++) {
      put_dim(ds, s->size[i], a, &p);
      if (i) put(a, &p, SQ_X_MAX);
    }
    if (s->parts == 0) {
      put(a, &p, SQ_X_SYM);
      put(a, &p, 0);
    } else if (s->parts > 1) {
      put_const(a, &p, s->parts);
    }
    if (s->parts != 1) put(a, &p, SQ_X_MUL);
    if (k) put(a, &p, SQ_X_ADD);
  }
  return (sq_abi_expr){p.v, p.n};
}

// ---- layout ------------------------------------------------------------------------------------
enum { ALIGN = 64 };

static bool is_multiple(const sq_dims *ds, sq_dim d) {
  const sq_dim_node *n = sq_dim_at(ds, d);
  if (n->kind == SQ_DIM_CONST) return n->value % ALIGN == 0;
  if (n->kind != SQ_DIM_SUM || n->value % ALIGN) return false;
  for (uint32_t k = 0; k < n->n; k++)
    if (n->term[k].coef % ALIGN) return false;
  return true;
}

static sq_dim align_up(sq_dims *ds, sq_dim d) {
  d = sq_dim_storage(ds, d);
  if (is_multiple(ds, d)) return d;
  sq_dim unit = sq_dim_const(ds, ALIGN);
  d = sq_dim_floordiv(ds, sq_dim_add(ds, d, sq_dim_const(ds, ALIGN - 1)), unit);
  return sq_dim_mul(ds, d, unit);
}

// Sizes of which none is seen to be below another: what is needed is the largest.
typedef SQ_VEC(sq_dim) sizes;
typedef struct need {
  sq_graph *g;
  const sq_target *t;
  sq_arena *a;
  sizes shared, private;
} need;

static void add_size(need *w, sizes *s, sq_dim d) {
  sq_dims *ds = w->g->dims;
  if (!d.i) return;
  d = align_up(ds, d);
  for (uint32_t k = 0; k < s->n; k++) {
    sq_dim most = sq_dim_max(ds, s->v[k], d);
    if (sq_dim_same(most, s->v[k])) return;
    if (sq_dim_same(most, d)) s->v[k--] = s->v[--s->n];
  }
  sq_push(w->a, s, d);
}

static void gather_need(sq_node *n, void *user) {
  need *w = user;
  if (!sq_kernel_is(n)) return;
  for (const sq_node *o = n->block->owner; o; o = o->block->owner)
    if (sq_kernel_is(o)) return; // a part of that kernel
  sq_kernel_scratch s = sq_kernel_need(w->g, w->t, n);
  add_size(w, &w->shared, s.shared);
  add_size(w, &w->private, s.per_worker);
}

static void add_segment(sq_graph *g, sq_layout *l, sq_segment_kind kind, uint32_t index,
                        const sizes *size, int64_t blocks) {
  sq_segment s = {.kind = kind, .index = index, .size = size->v, .n_size = size->n, .parts = 1};
  if (kind == SQ_SEG_INNER || kind == SQ_SEG_PRIVATE) s.parts = blocks;
  for (uint32_t k = 0; k < size->n; k++) s.grows |= sq_dim_grows(g->dims, size->v[k]);
  l->seg[l->n++] = s;
}

static void add_planned(need *w, sq_layout *l, sq_segment_kind kind, uint32_t index, sq_dim size,
                        int64_t blocks) {
  sizes one = {0};
  add_size(w, &one, size);
  add_segment(w->g, l, kind, index, &one, blocks);
}

sq_layout sq_layout_make(sq_graph *g, const sq_target *t, sq_func *f, sq_arena *a) {
  need w = {.g = g, .t = t, .a = a};
  int64_t blocks = t->device ? SQ_CUDA_BLOCKS : 0; // one part for each that a kernel may have
  sq_walk(f->body, gather_need, &w);
  uint32_t most = f->slot.n + f->scratch.n + 2;
  sq_layout all = {0, SQ_ARRAY(a, sq_segment, most)}, l = {0, SQ_ARRAY(a, sq_segment, most)};
  for (uint32_t k = 0; k < f->slot.n; k++)
    add_planned(&w, &all, SQ_SEG_SLOT, k, f->slot.v[k], blocks);
  for (uint32_t k = 0; k < f->scratch.n; k++)
    add_planned(&w, &all, SQ_SEG_INNER, k, f->scratch.v[k], blocks);
  if (w.shared.n) add_segment(g, &all, SQ_SEG_SHARED, 0, &w.shared, blocks);
  if (w.private.n) add_segment(g, &all, SQ_SEG_PRIVATE, 0, &w.private, blocks);
  for (int growing = 0; growing < 2; growing++)
    for (uint32_t k = 0; k < all.n; k++)
      if (all.seg[k].grows == (growing == 1)) l.seg[l.n++] = all.seg[k];
  return l;
}

uint32_t sq_layout_find(const sq_layout *l, sq_segment_kind kind, uint32_t index) {
  for (uint32_t k = 0; k < l->n; k++)
    if (l->seg[k].kind == kind && l->seg[k].index == index) return k;
  SQ_ASSERT(false, "the arena has no segment %d %u", (int)kind, index);
  return 0;
}
