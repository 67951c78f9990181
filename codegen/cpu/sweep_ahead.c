// What a sweep will need in later turns is asked for now: a unit takes a few lines of each turn,
// a page or more from the last one, which no processor sees coming.
//
//   in turn t:  prefetch &%u[t + 8, d] .. for what turns read and write in lanes side by side
#include "codegen/cpu/sweep.h"

enum { AHEAD = 8, LINE = 64 }; // turns; bytes

static void prefetch(sq_semit *e, sq_lv at, sq_lv step, sq_dtype type, bool write) {
  sq_kern *k = e->k;
  sq_lv far = LLVMBuildMul(k->b, step, sq_k_int(k, e->s->reversed ? -AHEAD : AHEAD), "");
  sq_lv arg[4] = {sq_k_offset(k, at, far, type), LLVMConstInt(k->i32, write, 0),
                  LLVMConstInt(k->i32, 2, 0),
                  LLVMConstInt(k->i32, 1, 0)}; // second-level cache, data
  sq_k_intrinsic(k, "llvm.prefetch", &k->ptr, 1, arg, 4);
}

// Does the set begin a line?
static bool begins(const sq_semit *e, uint32_t set, sq_dtype type) {
  return (uint64_t)set * e->p->w * (uint64_t)sq_dtype_table[type].bytes % LINE == 0;
}

void sq_sahead_reads(sq_semit *e, sq_selement **el, const sq_sweep_nest *x) {
  for (uint32_t set = 0; set < e->sets && x->time != SQ_SWEEP_NONE; set++) {
    sq_knest *t = &el[set]->t;
    uint32_t turn = 1u << x->time;
    for (uint32_t j = 0; j < t->g->s.n; j++) {
      const sq_scalar *r = &t->g->s.v[j];
      if (r->kind != SQ_SC_READ || x->inner[r->operand] != SQ_SWEEP_NONE || !t->used[j]) continue;
      bool plain = r->guard == SQ_NO_SCALAR && r->other == SQ_NO_SCALAR && r->site == SQ_NO_SITE;
      if (!plain || !(t->deps[j] & turn) || t->deps[j] & ~t->open) continue;
      if (!sq_knest_varies(t, j) || sq_knest_read_stride(t, r) != SQ_K_UNIT) continue;
      if (begins(e, set, r->dtype))
        prefetch(e, sq_knest_read_pointer(t, j), sq_knest_read_step(t, j, x->time), r->dtype,
                 false);
    }
  }
}

void sq_sahead_writes(sq_semit *e, sq_selement **el, const sq_sweep_nest *x) {
  sq_value *v = x->n->out[0];
  sq_kplace to = {.base = sq_kern_pointer(e->k, v), .type = v->type};
  for (uint32_t set = 0; set < e->sets && x->time != SQ_SWEEP_NONE; set++) {
    sq_knest *t = &el[set]->t;
    for (uint32_t a = 0; a < t->g->n_par; a++)
      if (!(t->open >> a & 1)) return;
    sq_ktarget at = sq_knest_target(t, &to);
    if (at.kind != SQ_K_UNIT || !begins(e, set, v->type.dtype)) continue;
    sq_lv ptr = sq_k_offset(e->k, to.base, at.first, v->type.dtype);
    prefetch(e, ptr, sq_kplace_stride(e->k, &to, x->time), v->type.dtype, true);
  }
}
