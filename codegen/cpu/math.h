// Elementary functions as inline vector arithmetic, for f32 and f64 of any number of lanes.
//
// Largest error found against MPFR (ulp), over random arguments of the whole range and the points
// where methods meet (tests/unit/test_math.c holds these bounds):
//   function            f32    f64
//   exp exp2            1.5    1.5
//   expm1               2.5    2.5
//   log log2 log1p      1.5    1.5     (log2, log1p 2.5)
//   sigmoid             2.5    2.5
//   tanh                4.5    3.5
//   erf                 4.5    2.5
//   sin cos             1.5    1.5     any finite argument
//   tan                 3.5    3.5
//   pow                 1.0    2.5
//   atan2               2.5    2.5
//   rsqrt               1.5    1.5
// sqrt is correctly rounded. Infinities, NaN, signed zeros and subnormals follow C's functions.
#pragma once
#include "codegen/cpu/kernel.h"

// The function `e` of a (and b), floats or vectors of floats. `call`: as a call of a function
// shared by the module instead of inline, for code that runs seldom.
sq_lv sq_math_emit(sq_kern *k, sq_ewise e, sq_lv a, sq_lv b, bool call);

// Files of the family: math.c dispatches; each of these gives the inline form.
sq_lv sq_math_exp(sq_kern *k, sq_lv x); // math_exp.c
sq_lv sq_math_exp2(sq_kern *k, sq_lv x);
sq_lv sq_math_expm1(sq_kern *k, sq_lv x);
sq_lv sq_math_sigmoid(sq_kern *k, sq_lv x);
sq_lv sq_math_tanh(sq_kern *k, sq_lv x);
sq_lv sq_math_erf(sq_kern *k, sq_lv x);
sq_lv sq_math_log(sq_kern *k, sq_lv x); // math_log.c
sq_lv sq_math_log2(sq_kern *k, sq_lv x);
sq_lv sq_math_log1p(sq_kern *k, sq_lv x);
sq_lv sq_math_pow(sq_kern *k, sq_lv x, sq_lv y);
sq_lv sq_math_sin(sq_kern *k, sq_lv x); // math_trig.c
sq_lv sq_math_cos(sq_kern *k, sq_lv x);
sq_lv sq_math_tan(sq_kern *k, sq_lv x);
sq_lv sq_math_atan2(sq_kern *k, sq_lv y, sq_lv x);

// Shared small parts (math.c).
bool sq_math_is_f64(sq_lv x);
LLVMTypeRef sq_math_int_type(sq_kern *k, sq_lv x); // integers as wide as x's lanes, as many
sq_lv sq_math_const(sq_lv like, double v);
// sum c[i] x^i, i = 0 .. n-1, by Horner.
sq_lv sq_math_poly(sq_kern *k, sq_lv x, const double *c, uint32_t n);
sq_lv sq_math_call1(sq_kern *k, const char *intrinsic, sq_lv x);
sq_lv sq_math_copysign(sq_kern *k, sq_lv mag, sq_lv sign);
sq_lv sq_math_select(sq_kern *k, sq_lv c, sq_lv a, sq_lv b);
sq_lv sq_math_bits(sq_kern *k, sq_lv x); // float to integer bits
sq_lv sq_math_float(sq_kern *k, sq_lv bits, sq_lv like);
// Nearest integer of x (times `by`, if not NULL), below 2^22 (f32), 2^51 (f64): as float, and as
// integer in *n.
sq_lv sq_math_nearest(sq_kern *k, sq_lv x, sq_lv by, sq_lv *n);
// f32: 2^f on [-1/2, 1/2], 0.8 ulp, exactly 1 at 0.
sq_lv sq_math_exp2_near(sq_kern *k, sq_lv f);
// f32: 2^(a b) where |a b| < 126, with the constants c, which _begin loads in front of a loop: made so that
// LLVM holds them in registers and does not make them again in each turn of the loop. 1.1 ulp and what
// rounding the product does; vectors of 16 with AVX-512 by a table in a register, others by exp2_near.
enum { SQ_MATH_POWER = 12 };
void sq_math_power_begin(sq_kern *k, sq_lv *c);
sq_lv sq_math_power(sq_kern *k, sq_lv a, sq_lv b, const sq_lv *scalar);
// y * 2^n for |n| < 300 (f32), 2100 (f64), rounded once more in the subnormal range.
sq_lv sq_math_scale(sq_kern *k, sq_lv y, sq_lv n);
