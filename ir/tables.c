// The tables of the IR, made from the .def files.
#include "ir/ir.h"

enum { E = SQ_OPF_E, S = SQ_OPF_S, M = SQ_OPF_M };
const sq_op_info sq_op_table[SQ_OP_COUNT] = {
#define OP(e, name, lo, hi, res, reg, flags) [SQ_OP_##e] = {name, lo, hi, res, reg, flags},
#include "ir/ops.def"
#undef OP
};
const sq_dtype_info sq_dtype_table[SQ_DTYPE_COUNT] = {
#define DTYPE(e, name, bytes, cls, npy) [SQ_##e] = {name, bytes, #cls[0], npy},
#include "ir/dtypes.def"
#undef DTYPE
};
const sq_ewise_info sq_ewise_table[SQ_EW_COUNT] = {
#define EWISE(e, name, arity, kind, expr) [SQ_EW_##e] = {name, arity, #kind[0]},
#include "ir/ewise.def"
#undef EWISE
};
const char *const sq_monoid_names[SQ_MONOID_COUNT] = {
    [SQ_MONOID_NONE] = "none",
#define MONOID(e, name) [SQ_##e] = name,
#include "ir/monoids.def"
#undef MONOID
};
