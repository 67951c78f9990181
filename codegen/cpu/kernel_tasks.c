// Outer loops split into tasks: units numbered in row-major order of the outer axes, tasks of equal
// numbers of units. How many depends on sizes alone.
#include "codegen/cpu/kernel.h"

// i64 sq.tasks(i64 units, i64 work): units per task; less than two tasks' worth is done by the caller
// itself.
static sq_lv tasks_function(sq_kern *k) {
  LLVMTypeRef in[2] = {k->i64, k->i64};
  sq_kern f;
  sq_lv fn = sq_kern_shared(k, "sq.tasks", LLVMFunctionType(k->i64, in, 2, 0), &f);
  if (!f.fn) return fn;
  sq_lv units = LLVMGetParam(fn, 0), one = sq_k_int(k, 1);
  sq_lv work = sq_k_max(&f, LLVMGetParam(fn, 1), one);
  sq_lv per = LLVMBuildUDiv(f.b, sq_k_int(k, SQ_TASK_CYCLES), work, "");
  sq_lv least = sq_k_ceil_div(&f, f.b, units, sq_k_int(k, SQ_MOST_TASKS));
  per = sq_k_max(&f, sq_k_max(&f, per, least), one);
  sq_lv twice = LLVMBuildAdd(f.b, per, per, "");
  sq_lv small = LLVMBuildICmp(f.b, LLVMIntSLE, units, twice, "");
  // One heavy unit or two are worth a task each.
  sq_lv light = LLVMBuildICmp(f.b, LLVMIntSLE, work, sq_k_int(k, SQ_TASK_CYCLES), "");
  small = LLVMBuildAnd(f.b, small, light, "");
  LLVMBuildRet(f.b, LLVMBuildSelect(f.b, small, sq_k_max(&f, units, one), per, ""));
  sq_kern_shared_end(&f);
  return fn;
}
static sq_lv at_least(sq_kern *k, sq_lv a, sq_lv b) {
  return LLVMBuildICmp(k->b, LLVMIntSGE, a, b, "");
}
sq_ktasks sq_ktasks_of(sq_kern *k, sq_lv units, sq_lv work, const sq_kblocks *blocks) {
  LLVMBuilderRef inside = k->b;
  k->b = k->cg->builder; // what follows is code of the entry
  units = sq_k_max(k, units, sq_k_int(k, 0));
  LLVMTypeRef in[2] = {k->i64, k->i64};
  sq_lv arg[2] = {units, work}, fn = tasks_function(k);
  sq_lv per = LLVMBuildCall2(k->b, LLVMFunctionType(k->i64, in, 2, 0), fn, arg, 2, "");
  sq_ktasks t = {units, NULL, sq_k_ceil_div(k, k->b, units, per), NULL};
  if (blocks) {
    sq_lv cores = sq_k_int(k, k->cg->target->machine.cores);
    sq_lv many = at_least(k, blocks->n, sq_k_min(k, cores, t.n_tasks));
    many = LLVMBuildAnd(k->b, many, blocks->whole, "");
    per = LLVMBuildSelect(k->b, many, blocks->units, per, "");
    t.n_tasks = LLVMBuildSelect(k->b, many, sq_k_int(k, 0), t.n_tasks, "");
    t.inside = LLVMBuildZExt(k->b, many, k->i64, "");
  }
  k->b = inside;
  t.per_task = sq_kern_pass(k, per);
  t.units = sq_kern_pass(k, units);
  return t;
}
sq_ktasks sq_ktasks_make(sq_kern *k, sq_lv units, sq_lv work) {
  return sq_ktasks_of(k, units, work, NULL);
}
void sq_kouter_begin(sq_kern *k, sq_kouter *o, const sq_ktasks *tasks) {
  sq_lv at = LLVMBuildMul(k->b, k->task, tasks->per_task, "");
  o->end = sq_k_min(k, LLVMBuildAdd(k->b, at, tasks->per_task, ""), tasks->units);
  sq_lv init[SQ_K_AXES + 2];
  init[o->n] = at;
  for (uint32_t i = o->n; i-- > 0;) {
    init[i] = i ? LLVMBuildURem(k->b, at, o->extent[i], "") : at;
    if (i) at = LLVMBuildUDiv(k->b, at, o->extent[i], "");
  }
  sq_kwhile_begin(k, &o->loop, o->n + 1, init);
  for (uint32_t i = 0; i < o->n; i++) o->index[i] = o->loop.phi[i];
  sq_kwhile_test(k, &o->loop, LLVMBuildICmp(k->b, LLVMIntSLT, o->loop.phi[o->n], o->end, ""));
}
void sq_kouter_end(sq_kern *k, sq_kouter *o) {
  sq_lv next[SQ_K_AXES + 2], carry = LLVMConstInt(k->i1, 1, 0);
  next[o->n] = LLVMBuildAdd(k->b, o->loop.phi[o->n], sq_k_int(k, 1), "");
  for (uint32_t i = o->n; i-- > 0;) {
    sq_lv up = LLVMBuildAdd(k->b, o->index[i], LLVMBuildZExt(k->b, carry, k->i64, ""), "");
    next[i] = up;
    if (i == 0) break;
    carry = LLVMBuildICmp(k->b, LLVMIntEQ, up, o->extent[i], "");
    next[i] = LLVMBuildSelect(k->b, carry, sq_k_int(k, 0), up, "");
  }
  sq_kwhile_end(k, &o->loop, next);
}
