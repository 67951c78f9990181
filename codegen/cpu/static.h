// The descriptor as data of an LLVM module.
#pragma once
#include "codegen/cpu/driver.h"

// Adds the constant `seqm_model` (weak, so that several models can be linked into one program) and
// its alias `seqm_model_NAME` to the unit's module; entry[k] and init[k] are the functions of
// m->entry[k] and m->init[k].
void sq_static_model(sq_unit *u, const sq_abi_model *m, LLVMValueRef *entry, LLVMValueRef *init);
