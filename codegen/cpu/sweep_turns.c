// Vectors whose lanes are consecutive turns: which lane is which turn, and moves between them.
// In a sweep that runs backwards memory order and turn order are opposite.
#include "codegen/cpu/sweep.h"

// Which lane holds the p-th turn of a vector.
static uint32_t lane(const sq_semit *e, uint32_t p) {
  return e->s->reversed ? e->turns - 1 - p : p;
}

static sq_lv shuffle(const sq_semit *e, sq_lv a, sq_lv b, const uint32_t *from) {
  sq_lv at[64];
  for (uint32_t i = 0; i < e->turns; i++) at[i] = LLVMConstInt(e->k->i32, from[i], 0);
  return LLVMBuildShuffleVector(e->k->b, a, b, LLVMConstVector(at, e->turns), "");
}

sq_lv sq_sturn_last(const sq_semit *e, sq_lv v) {
  uint32_t from[64];
  for (uint32_t i = 0; i < e->turns; i++) from[i] = lane(e, e->turns - 1);
  return shuffle(e, v, LLVMGetPoison(LLVMTypeOf(v)), from);
}

sq_lv sq_sturn_before(const sq_semit *e, sq_lv v, sq_lv earlier) {
  uint32_t from[64];
  for (uint32_t p = 0; p < e->turns; p++)
    from[lane(e, p)] = p ? lane(e, p - 1) : e->turns + lane(e, e->turns - 1);
  return shuffle(e, v, earlier, from);
}

sq_lv sq_sturn_first_half(const sq_semit *e, sq_lv v, sq_lv neutral, uint32_t half) {
  uint32_t from[64];
  for (uint32_t p = 0; p < e->turns; p++)
    from[lane(e, p)] = p & half ? lane(e, (p & ~(2 * half - 1)) + half - 1) : e->turns;
  return shuffle(e, v, neutral, from);
}
