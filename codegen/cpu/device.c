// An entry whose kernels run on a device. In: what the driver wants of values there. Out: calls of the
// device's functions (sq_device in runtime/abi.h).
//
//   c->device->read(c, &word, at, 4); if (failed) stop; load word
#include "codegen/cpu/driver.h"
#include <stddef.h>

bool sq_cg_on_device(const sq_cg *cg) { return cg->target->device != SQ_DEVICE_HOST; }

void sq_cg_device_call(sq_cg *cg, size_t hook, LLVMValueRef *arg, unsigned n) {
  LLVMValueRef all[8] = {cg->call};
  LLVMTypeRef types[8], ptr = sq_cg_type_ptr(cg), i32 = LLVMInt32TypeInContext(cg->ctx);
  SQ_ASSERT(n < 8, "too many arguments");
  for (unsigned k = 0; k < n; k++) all[k + 1] = arg[k];
  for (unsigned k = 0; k <= n; k++) types[k] = LLVMTypeOf(all[k]);
  LLVMValueRef device = sq_cg_field(cg, offsetof(sq_call, device), ptr, "device");
  LLVMValueRef at = sq_cg_add_bytes(cg, device, sq_cg_i64(cg, (int64_t)hook));
  LLVMValueRef fn = LLVMBuildLoad2(cg->builder, ptr, at, "hook");
  LLVMTypeRef type = LLVMFunctionType(i32, types, n + 1, 0);
  LLVMValueRef status = LLVMBuildCall2(cg->builder, type, fn, all, n + 1, "");
  sq_control_go_on_if(cg, LLVMBuildICmp(cg->builder, LLVMIntEQ, status, LLVMConstNull(i32), ""));
}

LLVMValueRef sq_cg_word(sq_cg *cg) {
  sq_driver *dr = sq_cg_driver(cg);
  if (!dr->word) dr->word = LLVMBuildAlloca(dr->head, sq_cg_type_i64(cg), "word");
  return dr->word;
}

LLVMValueRef sq_cg_fetch(sq_cg *cg, LLVMValueRef from, int64_t bytes) {
  LLVMValueRef arg[3] = {sq_cg_word(cg), from, sq_cg_i64(cg, bytes)};
  sq_cg_device_call(cg, offsetof(sq_device, read), arg, 3);
  return arg[0];
}

void sq_cg_device_write(sq_cg *cg, LLVMValueRef to, LLVMValueRef from, int64_t bytes) {
  LLVMValueRef arg[3] = {to, from, sq_cg_i64(cg, bytes)};
  sq_cg_device_call(cg, offsetof(sq_device, write), arg, 3);
}

void sq_cg_device_copy(sq_cg *cg, LLVMValueRef to, LLVMValueRef from, LLVMValueRef bytes) {
  LLVMValueRef arg[3] = {to, from, bytes};
  sq_cg_device_call(cg, offsetof(sq_device, copy), arg, 3);
}

void sq_cg_device_clear(sq_cg *cg, LLVMValueRef to, LLVMValueRef bytes) {
  LLVMValueRef arg[2] = {to, bytes};
  sq_cg_device_call(cg, offsetof(sq_device, clear), arg, 2);
}
